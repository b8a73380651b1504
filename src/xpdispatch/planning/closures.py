"""What a function reads and binds besides its arguments: globals, and variables of the functions around it."""

from __future__ import annotations

import builtins
import dis
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple


class Variable(NamedTuple):
    """A variable of another scope, as code reads it.

    Parameters
    ----------
    name : str
    is_global : bool
        False for a variable of a function around this one.
    attributes : tuple of str
        Read one after the other: ``("linalg", "inv")`` of ``np.linalg.inv``.
    """

    name: str
    is_global: bool
    attributes: tuple[str, ...] = ()


def variables_read(function: FunctionType) -> Iterator[tuple[Variable, Any]]:
    """The variables that a function, or one that it makes, reads from outside, each with its value.

    Names of builtins, and variables that hold nothing yet, are left out.
    """
    around: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # nothing was assigned yet
            around[name] = cell.cell_contents
    for variable in _read(function.__code__):
        scope = function.__globals__ if variable.is_global else around
        if variable.name in scope:
            yield variable, scope[variable.name]


def lookups(function: FunctionType) -> Iterator[tuple[Variable, Callable[[str], Any]]]:
    """The variables that a function reads from outside, each with what looks its name up: None where it holds nothing.

    Names of builtins are left out.
    """
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    around = function.__globals__
    for variable in _read(function.__code__):
        if not variable.is_global:
            yield variable, partial(_content, cells[variable.name])
        elif variable.name in around or not hasattr(builtins, variable.name):
            yield variable, around.get


def _content(cell: CellType, _: str) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was assigned yet
        return None


def variables_bound(function: FunctionType) -> Iterator[tuple[Variable, str]]:
    """The variables of other scopes that a function, or one that it makes, assigns, each with that function's name."""
    for code in _codes(function.__code__):
        for step in dis.get_instructions(code):
            if step.opname == "STORE_GLOBAL" or (step.opname == "STORE_DEREF" and step.argval in code.co_freevars):
                yield Variable(step.argval, is_global=step.opname == "STORE_GLOBAL"), code.co_name


@lru_cache(maxsize=1000)
def _read(code: CodeType) -> tuple[Variable, ...]:
    found: list[Variable] = []
    open_chain = False
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_DEREF"):
            found.append(Variable(step.argval, step.opname == "LOAD_GLOBAL"))
            open_chain = True
        elif open_chain and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            found[-1] = found[-1]._replace(attributes=(*found[-1].attributes, step.argval))
        else:
            open_chain = False
    for inner in _made_in(code):
        found += [v for v in _read(inner) if v.is_global or v.name not in code.co_cellvars]
    return tuple(dict.fromkeys(v for v in found if v.is_global or v.name in code.co_freevars))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in _made_in(code):
        yield from _codes(inner)


def _made_in(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


@lru_cache(maxsize=1000)
def names_in(code: CodeType) -> tuple[str, ...]:
    """The names of globals and attributes that code reads, and those of what it makes."""
    return tuple(dict.fromkeys(name for own in _codes(code) for name in own.co_names))


@lru_cache(maxsize=1000)
def constants_in(code: CodeType) -> tuple[str, ...]:
    """The texts in code, such as constant keys, and in what it makes."""
    return tuple(dict.fromkeys(c for own in _codes(code) for c in own.co_consts if isinstance(c, str)))


@lru_cache(maxsize=1000)
def imports_in(code: CodeType) -> tuple[str, ...]:
    """The modules that code imports."""
    steps = (step for own in _codes(code) for step in dis.get_instructions(own))
    return tuple(dict.fromkeys(step.argval for step in steps if step.opname == "IMPORT_NAME"))
