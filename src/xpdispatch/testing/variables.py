"""What a body reads besides its arguments: closures and globals. What varies must be an argument."""

from __future__ import annotations

import dis
import pickle
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from xpdispatch.calling.kernel import Kernel


def variables_of(function: Callable[..., Any]) -> dict[str, bytes]:
    """Data in closures and globals that a function reads, by name, as a fingerprint.

    Modules, functions and classes do not count; functions of the same module are followed.
    """
    found: dict[str, bytes] = {}
    for name, value in _read_by(function, set()):
        with suppress(Exception):  # whatever cannot be pickled cannot be watched
            found[name] = pickle.dumps(value)
    return found


def _read_by(function: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    code = getattr(function, "__code__", None)
    if code is None or id(function) in seen:
        return
    seen.add(id(function))
    named: list[tuple[str, Any]] = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # an empty cell
            named.append((f"closure variable {name!r}", cell.cell_contents))
    names = {step.argval for c in _codes(code) for step in dis.get_instructions(c) if step.opname == "LOAD_GLOBAL"}
    named += [(f"global {n!r}", function.__globals__[n]) for n in sorted(names) if n in function.__globals__]
    for name, value in named:
        if isinstance(value, types.FunctionType):
            if value.__module__ == function.__module__:
                yield from _read_by(value, seen)
        elif not isinstance(value, types.ModuleType | type | types.BuiltinFunctionType | np.ufunc | Kernel):
            yield name, value


def rebound_elsewhere(function: Callable[..., Any], variables: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The variables that some other function of the module binds anew, each with that function's name."""
    namespace = getattr(function, "__globals__", {}) if variables else {}
    for value in list(namespace.values()):
        owner = value.__wrapped__ if isinstance(value, Kernel) else value
        if isinstance(owner, types.FunctionType) and owner.__module__ == function.__module__:
            for code in _codes(owner.__code__):
                for step in dis.get_instructions(code):
                    found = ""
                    if step.opname == "STORE_GLOBAL":
                        found = f"global {step.argval!r}"
                    elif step.opname == "STORE_DEREF" and step.argval in code.co_freevars:
                        outer = getattr(function, "__qualname__", "").split(".<locals>")[0]
                        found = f"closure variable {step.argval!r}" if outer == owner.__qualname__ else ""
                    if found in variables:
                        yield found, f"{code.co_name}()"


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and all that are defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
