"""What a program of the suite is: one driver, called with kernels or with what somebody writes with NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from xpdispatch import Kernel

Group = Literal["arrays", "loops"]
SIZES = ("small", "middle", "large")
ROUNDING = 1e-9
PROGRAMS: dict[str, Program] = {}
"""By name, in the order in which they are written."""


@dataclass(frozen=True)
class Program:
    """One program, at any size.

    Attributes
    ----------
    name : str
    drive : callable
        ``drive(call, *values)``, where `call` has a callable for each kernel, under its name. It leaves the values as
        they are.
    kernels : dict of str to Kernel
    by_hand : dict of str to callable
        The same with NumPy alone, ``function(xp, *values)``, of the kernels whose body alone is not the same.
    arguments : callable
        The values, from the numbers that make a size.
    sizes : dict of str to tuple of int
        These numbers, for small, middle and large.
    group : str
        Of programs that call functions on whole arrays, or that are a loop over an axis written in Python.
    loop : callable or None
        ``loop(*values)``: the same as a plain loop over elements, which numba can compile.
    limit : callable or None
        ``limit(*values)``: what no program can do without; None for a copy of what the calls read and write.
    blas : bool
        Whether BLAS does a part of the work, on threads of its own.
    on_legate : bool
        Whether cuPyNumeric has the functions.
    """

    name: str
    drive: Callable[..., Any]
    kernels: Mapping[str, Kernel]
    arguments: Callable[..., tuple[Any, ...]]
    sizes: Mapping[str, tuple[int, ...]]
    by_hand: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    group: Group = "arrays"
    loop: Callable[..., Any] | None = None
    limit: Callable[..., Any] | None = None
    blas: bool = False
    on_legate: bool = True

    def __post_init__(self) -> None:
        if unknown := sorted(self.by_hand.keys() - self.kernels.keys()):
            raise TypeError(f"program {self.name!r}: there is no kernel {unknown} to write by hand")

    @property
    def ours(self) -> SimpleNamespace:
        """The kernels."""
        return SimpleNamespace(**self.kernels)

    def plain(self, xp: Any) -> SimpleNamespace:
        """Their bodies by hand, on a namespace."""
        bodies = {name: made.__wrapped__ for name, made in self.kernels.items()} | dict(self.by_hand)
        return SimpleNamespace(**{name: partial(body, xp) for name, body in bodies.items()})


def several(answer: Any) -> tuple[Any, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def check(found: Any, expected: Any, what: str) -> None:
    """Fail where two answers differ by more than rounding, or in their dtypes."""
    for value, wanted in zip(map(np.asarray, several(found)), map(np.asarray, several(expected)), strict=True):
        if (value.dtype, value.shape) != (wanted.dtype, wanted.shape):
            kinds = [f"{array.dtype} {array.shape}" for array in (value, wanted)]
            raise AssertionError(f"{what}: the answer is {kinds[0]}, and not {kinds[1]}")
        most = np.max(np.abs(wanted), initial=0)
        np.testing.assert_allclose(value, wanted, rtol=ROUNDING, atol=ROUNDING * most, err_msg=what)


def program(
    *kernels: Kernel,
    arguments: Callable[..., tuple[Any, ...]],
    small: tuple[int, ...],
    middle: tuple[int, ...],
    large: tuple[int, ...],
    **options: Any,
) -> Callable[[Callable[..., Any]], Program]:
    """Make a program of a driver, which has the name of the function; the rest is as in `Program`."""

    def make(drive: Callable[..., Any]) -> Program:
        made = Program(
            name=drive.__name__,
            drive=drive,
            kernels={k.name: k for k in kernels},
            arguments=arguments,
            sizes=dict(zip(SIZES, (small, middle, large), strict=True)),
            **options,
        )
        PROGRAMS[made.name] = made
        return made

    return make


def assigned(made: Kernel) -> Callable[..., Any]:
    """A body by hand whose value is assigned to `out`, as ``out[...] = body(...)``."""
    body = made.__wrapped__

    def by_hand(xp: Any, *values: Any, out: Any) -> None:
        out[...] = body(xp, *values)

    return by_hand
