"""What a body must not touch inside a task, found before Legate ends the process over it."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from xpdispatch.arrays.namespaces import library_of
from xpdispatch.errors import ArgumentError
from xpdispatch.planning.definition import Definition

_LOADS = ("LOAD_GLOBAL", "LOAD_DEREF")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")


def check_bodies(definition: Definition) -> None:
    """Refuse bodies that name Legate's arrays or cuPyNumeric's functions: no task can use them.

    Only what a body itself reads from globals and from around its definition is seen.

    Raises
    ------
    ArgumentError
    """
    functions = {definition.body.function_for(variant) for variant in definition.variants}
    for function in (*functions, definition.body.merge):
        if not isinstance(function, FunctionType):
            continue
        for name, value in _read_by(function):
            if library_of(value) == "legate":
                raise ArgumentError(
                    f"the body reads {name!r}, a Legate array of the surrounding program, which no task can touch",
                    hint=f"pass {name!r} as an argument, with a place in the notation",
                )
            # Its universal functions are objects.
            made_by = f"{getattr(value, '__module__', '')} {type(value).__module__}"
            if callable(value) and not isinstance(value, type) and "cupynumeric" in made_by:
                raise ArgumentError(
                    f"the body calls {name}, and no task can call cuPyNumeric",
                    hint="use xp, the namespace that the body is given",
                )


def _read_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Name and value of what a function's code reads from outside; of a module the attribute that it reads."""
    around: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not assigned yet
            around[name] = cell.cell_contents
    for is_global, name, *attributes in _names_in(function.__code__):
        value, path = (function.__globals__ if is_global else around).get(name), name
        for attribute in attributes:
            if isinstance(value, ModuleType):
                value, path = getattr(value, attribute, None), f"{path}.{attribute}"
        yield path, value


@lru_cache(maxsize=1000)
def _names_in(code: CodeType) -> tuple[tuple[Any, ...], ...]:
    """What code, and functions that it makes, read from outside: whether it is global, name, attributes of it."""
    found: list[tuple[Any, ...]] = []
    open_chain = False
    for word in dis.get_instructions(code):
        if word.opname in _LOADS:
            found.append((word.opname == "LOAD_GLOBAL", word.argval))
            open_chain = True
        elif open_chain and word.opname in _ATTRIBUTES:
            found[-1] += (word.argval,)
        else:
            open_chain = False
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += [n for n in _names_in(constant) if n[0] or n[1] not in code.co_cellvars]
    return tuple(dict.fromkeys(n for n in found if n[0] or n[1] in code.co_freevars))
