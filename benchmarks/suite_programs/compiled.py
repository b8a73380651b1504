"""The bodies of programs as numba compiles them: without their decorator, and with NumPy in place of `xp`."""

import ast
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from inspect import getsource, signature
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from numba.core.errors import NumbaError, NumbaWarning

from suite_programs.program import Program
from xpdispatch import Kernel

njit = partial(numba.njit, error_model="numpy")
"""Which divides by zero as NumPy does: a test in each step would keep LLVM from vectors."""

numba.set_num_threads(1)


def bodies_of(program: Program, values: Sequence[Any], *, parallel: bool) -> tuple[SimpleNamespace, list[str]]:
    """What to drive the program with, compiled for such values, and the kernels that numba cannot compile.

    With `parallel` expressions of arrays that follow each other become one loop, on one thread as well.
    """
    made = {name: by_numba(program, name, parallel=parallel) for name in program.kernels}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaWarning)  # of slow products, and of what is not parallel
        program.drive(SimpleNamespace(**made), *values)
    run = SimpleNamespace(**{name: own.run for name, own in made.items()})
    return run, [name for name, own in made.items() if not own.is_compiled]


class Compiled:
    """A function of `xp` and values as one of the values: compiled in its first call, or as it is where that fails.

    One that calls bodies of kernels is left as it is, and they are compiled.
    """

    def __init__(self, function: Callable[..., Any], *, assigns: bool, parallel: bool) -> None:
        named = {name: function.__globals__.get(name) for name in function.__code__.co_names}
        own = partial(compiled, assigns=False, parallel=parallel)
        self.inner = {n: own(v.__wrapped__) for n, v in named.items() if isinstance(v, Kernel)}
        self.plain = without_xp(function, self.inner, assigns=assigns)
        self.run = self.plain if self.inner else njit(self.plain, parallel=parallel)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.run(*args, **kwargs)
        except (NumbaError, AssertionError):  # one of sizes, where `parallel` is wrong of what is broadcast
            self.run = self.plain
            return self.run(*args, **kwargs)

    def __wrapped__(self, _xp: Any, *args: Any) -> Any:
        """In the place of a kernel's body."""
        return self(*args)

    @property
    def is_compiled(self) -> bool:
        return all(own.is_compiled for own in self.inner.values()) if self.inner else self.run is not self.plain


compiled = cache(Compiled)


def by_numba(program: Program, name: str, *, parallel: bool) -> Compiled:
    """What somebody writes for a kernel; its value is assigned to `out` where the driver gives one."""
    body, by_hand = program.kernels[name].__wrapped__, program.by_hand.get(name)
    if by_hand is not None and "out" in signature(by_hand).parameters:
        return compiled(body, assigns=True, parallel=parallel)
    return compiled(by_hand or body, assigns=False, parallel=parallel)


def without_xp(function: Callable[..., Any], names: Mapping[str, Any], *, assigns: bool) -> Callable[..., Any]:
    """The function made anew of its source, without its first parameter."""
    tree = ast.parse(dedent(getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    del definition.args.args[0]
    if assigns:
        definition.args.args.append(ast.arg("out"))
        returned = definition.body[-1]
        assert isinstance(returned, ast.Return)
        (assigned,) = ast.parse("out[...] = 0").body
        assigned.value = returned.value
        definition.body[-1] = assigned
    scope = {**function.__globals__, **names, "xp": np}
    exec(compile(ast.fix_missing_locations(tree), function.__code__.co_filename, "exec"), scope)
    return scope[definition.name]
