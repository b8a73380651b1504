"""Engines run a bound call. Each is a module with one function, loaded when first asked for.

===========  ========================================  ==========================================
name         module                                    runs
===========  ========================================  ==========================================
``local``    :mod:`xpdispatch.calling.local`           in this process, on any array library
``legate``   :mod:`xpdispatch.legate.engine`           as Legate tasks, on cuPyNumeric arrays
``dask``     :mod:`xpdispatch.calling.blocks`          in a graph of dask's, on its arrays alone
===========  ========================================  ==========================================

The function is ``prepare(call)``. It settles all that the arguments' types, dtypes and numbers of axes decide, and
returns a function that makes runners: of the values of any call that is alike in these. A runner is for calls that are
alike in their shapes as well; it takes the values of one, and returns the list of results. Kernels keep both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from xpdispatch.arrays.namespaces import library_of
from xpdispatch.errors import ArgumentError
from xpdispatch.planning.definition import Call
from xpdispatch.running.site import inside_body

ENGINES = {"local": "xpdispatch.calling.local", "legate": "xpdispatch.legate.engine"}
"""Those that ``with engine(...)`` can ask for."""
_OF_ARRAYS = {"dask": "xpdispatch.calling.blocks"}
"""Those that arrays alone ask for."""

chosen: ContextVar[str | None] = ContextVar("chosen", default=None)
"""The engine that ``with engine(...)`` asks for; None lets the arguments decide."""

instead: dict[str, str] = {}
"""Engines that stand in for others in this program: ``xpdispatch run --engine local`` puts one here."""


def get_engine(name: str) -> Any:
    """The engine's module.

    Raises
    ------
    ArgumentError
        There is no engine of that name.
    MissingError
        A package that it needs is not installed.
    """
    if not isinstance(name, str) or name not in ENGINES:
        raise ArgumentError(
            f"there is no engine {name!r}",
            hint="'local' runs kernels in this process, on NumPy's and all other arrays but cuPyNumeric's, "
            "and 'legate' runs them on Legate",
        )
    return import_module(ENGINES[name])


def prepare(call: Call) -> Callable[[Sequence[Any]], Callable[[Sequence[Any]], list[Any]]]:
    """What makes runners for a call, by the engine that runs it.

    Raises
    ------
    XPDispatchError
    """
    name = engine_for(call)
    found: Any = import_module(_OF_ARRAYS[name]) if name in _OF_ARRAYS else get_engine(name)
    prepared: Callable[[Sequence[Any]], Callable[[Sequence[Any]], list[Any]]] = found.prepare(call)
    return prepared


def engine_for(call: Call) -> str:
    """The name of the engine that runs a call.

    Raises
    ------
    ArgumentError
        There are cuPyNumeric arrays where they must not be.
    """
    if inside_body.get():
        return "local"
    wanted = chosen.get()
    libraries = {library_of(v) for _, v in call.arrays()}
    if "legate" in libraries:
        if wanted == "local":
            raise ArgumentError(
                "got a cuPyNumeric array under engine('local')",
                hint="convert with numpy.asarray(x), or leave the engine to the arguments",
            )
        return "legate"
    if "dask" in libraries:
        return "dask"
    return "legate" if wanted == "legate" and libraries <= {"numpy", "number"} else "local"


@contextmanager
def engine(name: str) -> Iterator[None]:
    """Choose the engine for the kernels called inside the ``with`` block.

    Parameters
    ----------
    name : {"local", "legate"}
        ``"legate"`` also sends NumPy arguments, and calls without arrays, to Legate; the results
        are cuPyNumeric arrays. ``"local"`` keeps all calls in this process and refuses cuPyNumeric arrays.

    Raises
    ------
    ArgumentError
        There is no engine of that name.
    MissingError
        Legate is not installed; the message has the command.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import engine, kernel
    >>> @kernel("-> z[i=n]")
    ... def ramp(xp, tile, n):
    ...     return 2 * tile.coords("i")
    >>> with engine("local"):
    ...     ramp(4)
    array([0, 2, 4, 6])
    """
    name = instead.get(name, name)
    get_engine(name)
    token = chosen.set(name)
    try:
        yield
    finally:
        chosen.reset(token)
