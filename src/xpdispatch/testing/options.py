"""What a check may spend, and on what; chosen around the call, since its arguments are the kernel's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xpdispatch.errors import ArgumentError
from xpdispatch.machine.progress import Progress, progress_bar
from xpdispatch.proving.search import DATA, Data
from xpdispatch.proving.tilings import Tiling


@dataclass(frozen=True, slots=True)
class Options:
    """How checks are made inside ``with checking(...)``."""

    seed: int | None = None
    examples: int = 40
    seconds: float = 2.0
    tiling: Tiling | None = None
    data: Data | None = None
    engines: tuple[str, ...] | None = None
    progress: Progress | None = field(default=None, compare=False)

    @property
    def chosen_seed(self) -> int:
        """The seed, or that of the environment variable ``XPDISPATCH_SEED``, or 0."""
        if self.seed is not None:
            return self.seed
        text = os.environ.get("XPDISPATCH_SEED") or "0"
        if not text.isdigit():
            raise ArgumentError(f"XPDISPATCH_SEED={text!r} is not a seed", hint="set it to an integer, 0 or more")
        return int(text)


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 0)


_EXPECTED: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "seed": (_is_count, "not a seed", "an integer, 0 or more: seed=3"),
    "examples": (_is_count, "not a number of tilings", "an integer, 0 or more: examples=40"),
    "seconds": (
        lambda v: isinstance(v, int | float | np.number) and bool(v >= 0),
        "not a time",
        "a number, 0 or more: seconds=2.0",
    ),
    "tiling": (lambda v: isinstance(v, Tiling), "not a tiling", 'tiling="i: 5 11; backward"'),
    "data": (lambda v: v in DATA, "unknown", f"data= and one of {', '.join(map(repr, DATA))}"),
    "engines": (
        lambda v: isinstance(v, tuple | list) and all(isinstance(n, str) for n in v),
        "not a tuple of names",
        'engines=("numpy",), with the comma, or engines=("numpy", "legate")',
    ),
    "progress": (callable, "not a function", "def progress(done, of, what), and progress=progress"),
}
"""For each option whether a value is right, what a wrong one is not, and what to write."""

_DEFAULTS = Options()
_options: ContextVar[Options] = ContextVar("options", default=_DEFAULTS)


def current() -> Options:
    """The options that are in force."""
    return _options.get()


@contextmanager
def checking(**changes: Any) -> Iterator[Options]:
    """Choose how the checks inside the ``with`` block are made.

    Parameters
    ----------
    seed : int
        Of the data and of the tilings; by default that of the environment variable ``XPDISPATCH_SEED``, or 0.
    examples : int
        Random tilings, beside the fixed ones.
    seconds : float
        After so much work no further tiling is tried; time in which the machine works for others does not count.
    tiling : Tiling or str
        Try this tiling alone, such as ``"i: 5 11; backward"``.
    data : {"small integers", "the arguments", "a NaN"}
        Run on these values alone.
    engines : tuple of str
        The engines and array libraries on which :func:`check_kernel` runs: ``"numpy"``, ``"array_api_strict"``,
        ``"torch"``, ``"jax.numpy"``, ``"cupy"`` and ``"legate"``; by default all that are installed, but Legate.
    progress : callable
        Called before each tiling with how many were tried, how many there are, and the data; by default a bar for
        checks that take longer than two seconds, on terminals and in notebooks.

    Raises
    ------
    ArgumentError
        An option is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import kernel
    >>> from xpdispatch.testing import check_partitioning, checking
    >>> @kernel("x[i] -> y[i]")
    ... def double(xp, x):
    ...     return 2 * x
    >>> with checking(tiling="i: 1 4; backward", data="the arguments"):
    ...     check_partitioning(double, np.arange(6.0)).tilings
    1
    """
    if isinstance(changes.get("tiling"), str):
        changes["tiling"] = Tiling.parse(changes["tiling"])
    changes = {name: value for name, value in changes.items() if value is not None}
    for name, value in changes.items():
        if name not in _EXPECTED:
            raise ArgumentError(
                f"checking() has no option {name!r}", hint=f"its options are {', '.join(Options.__slots__)}"
            )
        is_right, expected, example = _EXPECTED[name]
        if not is_right(value):
            raise ArgumentError(f"{name}={value!r} is {expected}", hint=f"write {example}")
    chosen = replace(_options.get(), **changes)
    token = _options.set(chosen)
    try:
        yield chosen
    finally:
        _options.reset(token)


@contextmanager
def telling() -> Iterator[Progress]:
    """Where checks tell how far they are: what ``checking(progress=...)`` gave, or a bar."""
    given = current().progress
    if given is not None:
        yield given
        return
    with progress_bar() as progress:
        yield progress
