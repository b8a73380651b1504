"""What a body must not touch inside a task, found before Legate ends the process over it."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from xpdispatch.arrays.namespaces import library_of
from xpdispatch.errors import ArgumentError
from xpdispatch.planning.closures import variables_read
from xpdispatch.planning.definition import Definition


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
    for variable, held in variables_read(function):
        value, path = held, variable.name
        for attribute in variable.attributes:
            if isinstance(value, ModuleType):
                value, path = getattr(value, attribute, None), f"{path}.{attribute}"
        yield path, value
