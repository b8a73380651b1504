"""Whether what a body reads besides its arguments varies: closures and globals. What varies must be an argument."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from xpdispatch.calling.kernel import Kernel
from xpdispatch.planning.closures import Variable, variables_bound, variables_read


def variables_of(function: Callable[..., Any]) -> dict[str, bytes]:
    """Data in closures and globals that a function reads, by name, as a fingerprint.

    Modules, functions and classes do not count; functions of the same module are followed.
    """
    found: dict[str, bytes] = {}
    for name, value in _data_read_by(function, set()):
        with suppress(Exception):  # whatever cannot be pickled cannot be watched
            found[name] = pickle.dumps(value)
    return found


def _data_read_by(function: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if not isinstance(function, FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    for name, value in {_shown(variable): value for variable, value in variables_read(function)}.items():
        if isinstance(value, FunctionType):
            if value.__module__ == function.__module__:
                yield from _data_read_by(value, seen)
        elif not isinstance(value, ModuleType | type | BuiltinFunctionType | np.ufunc | Kernel):
            yield name, value


def _shown(variable: Variable) -> str:
    return f"{'global' if variable.is_global else 'closure variable'} {variable.name!r}"


def rebound_elsewhere(function: Callable[..., Any], variables: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The variables that some other function of the module binds anew, each with that function's name."""
    outer = getattr(function, "__qualname__", "").split(".<locals>")[0]
    for value in list(getattr(function, "__globals__", {}).values()) if variables else ():
        owner = value.__wrapped__ if isinstance(value, Kernel) else value
        if isinstance(owner, FunctionType) and owner.__module__ == function.__module__:
            for variable, by in variables_bound(owner):
                if _shown(variable) in variables and (variable.is_global or outer == owner.__qualname__):
                    yield _shown(variable), f"{by}()"
