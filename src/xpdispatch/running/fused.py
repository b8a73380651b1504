"""Steps of a trace that become one loop, which LLVM compiles.

NumPy's functions go through arrays once for each operation. Of the steps of a
:class:`~xpdispatch.running.tracing.Program`, those whose numbers nothing else needs are put together here, and become
one ufunc (:mod:`xpdispatch.machine.llvm`). To NumPy that is a function like its own: broadcasting, strides, arrays that
overlap and floating-point errors are its business.

Only operations take part that have one right answer to the last bit. What a loop computes is compared on random numbers
with what NumPy's functions compute, before it takes their place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpdispatch.machine.llvm import can_compile, compiled, compiling
from xpdispatch.running.instructions import has_instructions, instructions
from xpdispatch.running.tracing import Constant, Input, Program, Step

Dtype = np.dtype[Any]

_ARGUMENTS = 24
"""Of a loop at most: NumPy's functions have up to 32."""

_MOST = 512
"""Loops in a process at most: machine code stays."""

_loops: dict[tuple[Any, ...], np.ufunc | None] = {}
"""Loops by what they compute; None where that is not to the last bit what NumPy's functions compute."""

_NAMES = {"cast": "cast", "choose": "where"}
"""What NumPy calls steps that are none of its universal functions."""


class Fused(NamedTuple):
    """A program in which loops took the place of several steps.

    Attributes
    ----------
    program : Program
    constants : list of (int, numpy.dtype or None)
        For each of its constants, in order: the position among those of the program that it is made of, and the dtype
        that it is to be given in.
    """

    program: Program
    constants: list[tuple[int, Dtype | None]]


class _Group(NamedTuple):
    """Steps that become one: as a program of their own, the values that this takes, and which constants."""

    program: Program
    arrays: list[int]
    constants: list[int]


def saved(program: Program) -> int:
    """How many times less NumPy goes through arrays, with loops."""
    return sum(len(members) - 1 for members in _members(program).values())


def fused(program: Program, loop_of: Callable[[Program], np.ufunc | None]) -> Fused:
    """The program with a loop in the place of each group of steps for which there is one."""
    numbers = _numbered(program)
    loops: dict[int, tuple[_Group, np.ufunc]] = {}
    inside: set[int] = set()
    for root, members in _members(program).items():
        group = _group(program, members, numbers)
        loop = loop_of(group.program)
        if loop is not None:
            loops[root] = group, loop
            inside.update(members[:-1])
    values: list[Input | Step] = []
    constants: list[tuple[int, Dtype | None]] = []
    moved: dict[int, int] = {}
    arguments: tuple[int | Constant, ...]
    for n, value in enumerate(program.values):
        if n in inside:
            continue
        moved[n] = len(values)
        if isinstance(value, Input):
            values.append(value)
        elif n in loops:
            group, loop = loops[n]
            arguments = (*[moved[a] for a in group.arrays], *map(Constant, group.program.constants))
            values.append(Step("apply", loop, arguments, (), value.shape, value.dtype, value.errors))
            constants += zip(group.constants, constant_dtypes(group.program), strict=True)
        else:
            arguments = tuple(moved[a] if isinstance(a, int) else a for a in value.arguments)
            values.append(value._replace(arguments=arguments))
            constants += [(numbers[n, k], None) for k, a in enumerate(arguments) if isinstance(a, Constant)]
    return Fused(Program(tuple(values), tuple(moved[n] for n in program.results), program.looked), constants)


def _numbered(program: Program) -> dict[tuple[int, int], int]:
    """Positions of constants, by the step and the argument."""
    steps = [(n, v) for n, v in enumerate(program.values) if isinstance(v, Step)]
    places = [(n, k) for n, step in steps for k, a in enumerate(step.arguments) if isinstance(a, Constant)]
    return {place: position for position, place in enumerate(places)}


def _members(program: Program) -> dict[int, list[int]]:
    """Groups of steps, in order, by the last of each, which alone is needed outside."""
    values = program.values
    users: dict[int, list[int]] = {}
    for n, value in enumerate(values):
        for a in value.needs if isinstance(value, Step) else ():
            users.setdefault(a, []).append(n)
    last_of: dict[int, int] = {}
    found: dict[int, list[int]] = {}
    for n, step in reversed([*enumerate(values)]):
        if not isinstance(step, Step) or program.is_broadcast(step) or not has_instructions(program, step):
            continue
        lasts = {last_of.get(user) for user in users.get(n, ())} if n not in program.results else set()
        last = lasts.pop() if len(lasts) == 1 else None
        if last is None or not _joins(program, step, [n, *found[last]]):
            last = n
        last_of[n] = last
        found[last] = [n, *found.get(last, ())]
    return {last: members for last, members in found.items() if len(members) > 1}


def _joins(program: Program, step: Step, members: Sequence[int]) -> bool:
    """Whether a step can be one with others."""
    last = program.values[members[-1]]
    alike = isinstance(last, Step) and (last.shape, last.errors) == (step.shape, step.errors)
    steps = [v for n in members if isinstance(v := program.values[n], Step)]
    arrays = {a for s in steps for a in s.needs}.difference(members)
    return alike and len(arrays) + sum(isinstance(a, Constant) for s in steps for a in s.arguments) <= _ARGUMENTS


def _group(program: Program, members: Sequence[int], numbers: dict[tuple[int, int], int]) -> _Group:
    steps = [(n, v) for n in members if isinstance(v := program.values[n], Step)]
    arrays = sorted({a for _, step in steps for a in step.needs}.difference(members))
    places = {n: k for k, n in enumerate([*arrays, *members])}
    inputs = [Input((0, j), None, (), program.values[a].dtype) for j, a in enumerate(arrays)]
    inner = [
        step._replace(
            arguments=tuple(places[a] if isinstance(a, int) else a for a in step.arguments), shape=(), errors=None
        )
        for _, step in steps
    ]
    constants = [numbers[n, k] for n, s in steps for k, a in enumerate(s.arguments) if isinstance(a, Constant)]
    return _Group(Program((*inputs, *inner), (len(places) - 1,), looked=False), arrays, constants)


def constant_dtypes(program: Program) -> list[Dtype]:
    """What the constants of a program are computed in."""
    steps = [value for value in program.values if isinstance(value, Step)]
    return [d for s in steps for a, d in zip(s.arguments, s.loop, strict=False) if isinstance(a, Constant)]


def loop(program: Program, does_the_same: Callable[[Program, np.ufunc], bool]) -> np.ufunc | None:
    """The compiled loop of a group; None where it does not do the same."""
    arrays = [v.dtype for v in program.values if isinstance(v, Input)]
    steps = [v for v in program.values if isinstance(v, Step)]
    constants, lines, dtype = constant_dtypes(program), instructions(program), steps[-1].dtype
    key = *arrays, *constants, dtype, *lines
    with compiling:  # a loop that several threads want, once
        if key not in _loops and len(_loops) < _MOST:
            name = ", ".join(dict.fromkeys(s.ufunc.__name__ if s.ufunc is not None else _NAMES[s.kind] for s in steps))
            made = compiled(name, arrays, constants, lines, dtype) if can_compile() else None
            _loops[key] = made if made is not None and does_the_same(program, made) else None
    return _loops.get(key)
