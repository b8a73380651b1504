"""Whether what a body returns may be handed on as it is: only where nothing but the body's own call can reach it.

That is decided by what a body can see: its arguments, and what its code reads from around it. A body that reads only
modules, functions and constants from there, and gets only numbers and texts beside its arrays, has nowhere to keep an
array. Where that cannot be known, results are copied.
"""

from __future__ import annotations

import builtins
import dis
import enum
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodDescriptorType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpdispatch.arrays.namespaces import REFUSED, library_of, share_memory

_CONSTANTS = frozenset({bool, int, float, complex, str, bytes, type(None), type(...), slice, range})
"""Types whose values have no place for an array; those made of them may have."""
_LIBRARIES = frozenset(
    "array_api_compat array_api_extra array_api_strict builtins cmath cupy functools itertools jax math numba numpy "  # noqa: SIM905
    "operator scipy torch typing xpdispatch _operator".split()
)
"""Packages whose functions keep no array that they return."""
_PLAIN = (np.finfo, np.iinfo, np.random.Generator, np.random.RandomState)
_STORES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "STORE_NAME"})
_ANYTHING = frozenset({"globals", "vars", "setattr", "exec", "eval", "__import__"})

Look = Callable[[], Any]
"""Looks up what a variable holds now; None where it holds nothing."""


class Known(NamedTuple):
    """What a body can reach besides its arguments.

    Attributes
    ----------
    keeps : bool
        It may keep what it returns, somewhere that is not looked into.
    reads : tuple of (callable, object, bool)
        How to look up each variable around it that it reads, what was there, and whether that is an array; all else
        keeps nothing.
    """

    keeps: bool
    reads: tuple[tuple[Look, Any, bool], ...] = ()

    def shares(self, library: str, value: Any) -> bool:
        """Whether a value may be reached again, or may share memory with what can."""
        if self.keeps:
            return True
        for look, seen, is_array in self.reads:
            now = look()
            if now is not seen:
                if not is_constant(now):
                    return True
            elif is_array and (value is now or library_of(now) != library or share_memory(library, value, now)):
                return True
        return False


AT_ONCE = Known(keeps=False)
"""Where what a body returns is used up before it runs again, it does not matter who can reach it."""


def known_to(function: Callable[..., Any], scalars: Sequence[Any], xp: Any) -> Known:
    """What a body can reach, given scalars of these types."""
    if not is_of_library(getattr(xp, "__name__", "")) or not all(map(is_constant, scalars)):
        return Known(keeps=True)
    reads: list[tuple[Look, Any]] = []
    if not _is_harmless(None, function, reads, set()):
        return Known(keeps=True)
    return Known(keeps=False, reads=tuple([(look, seen, _is_array(seen)) for look, seen in reads]))


def is_constant(value: Any) -> bool:
    """Whether no value of this type has a place for an array."""
    kind = type(value)
    if issubclass(kind, enum.Enum):
        own = [v for member in kind for name, v in vars(member).items() if name not in ("__objclass__", "_inverted_")]
        return all(type(v) in _CONSTANTS for v in own)
    return kind in _CONSTANTS or (issubclass(kind, np.generic | np.dtype) and not issubclass(kind, np.void))


def _is_array(value: Any) -> bool:
    return library_of(value) not in ("object", "number", *REFUSED)


def _is_harmless(look: Look | None, value: Any, reads: list[tuple[Look, Any]], seen: set[int]) -> bool:
    """Whether nothing can be kept in a value that a body reads; arrays, and what may change, are noted down.

    Without `look` it is always the same.
    """
    if look is not None:
        reads.append((look, value))
    if is_constant(value) or id(value) in seen:
        return True
    seen.add(id(value))
    if isinstance(value, ModuleType):
        return is_of_library(value.__name__)
    if _is_array(value):
        if look is None:
            reads.append((lambda: value, value))
        return True
    if isinstance(value, partial):
        parts = [value.func, *value.args, *value.keywords.values()]
        return all(_is_harmless(None, part, reads, seen) for part in parts)
    if isinstance(value, FunctionType):
        # By where it was made: functools.wraps gives a function the module of another.
        if is_of_library(value.__globals__.get("__name__") or ""):
            return True
        return all(_is_harmless(*read, reads, seen) for read in read_by(value))
    if isinstance(value, type | np.ufunc | BuiltinFunctionType | MethodDescriptorType):
        bound = getattr(value, "__self__", None) if isinstance(value, BuiltinFunctionType) else None
        own = bound is None or isinstance(bound, ModuleType)  # and not a method of a list or an array
        if value.__name__ in _ANYTHING:
            return False
        return own and is_of_library(getattr(value, "__module__", None) or "numpy")
    if _root(type(value).__module__) == "xpdispatch" and type(value) is not _Unknown:
        # Kernels hand on nothing that they keep, but a body may call another one's body, or read what was put there.
        body = getattr(value, "__wrapped__", None)
        return not any(map(_is_array, getattr(value, "__dict__", {}).values())) and _is_harmless(
            None, body, reads, seen
        )
    return isinstance(value, _PLAIN)  # other objects of libraries may keep some, such as iterators and polynomials


class _Unknown:
    """Stands for what a function reaches in a way that is not looked into."""


def read_by(function: FunctionType) -> Iterator[tuple[Look | None, Any]]:
    """How to look up what a function reads from around it, and the value."""
    names, cells, _, stores, _ = reads_of(function.__code__)
    if stores or function.__dict__.keys() - {"__wrapped__", "__signature__"}:
        yield None, _Unknown()
    around = function.__globals__
    for name in names:
        if name in around or not hasattr(builtins, name):
            yield partial(around.get, name), around.get(name)
        elif name in _ANYTHING:
            yield None, _Unknown()
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name in cells:
            look = partial(_content, cell)
            yield look, look()
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield None, value


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet, or no more
        return None


class CodeReads(NamedTuple):
    """What code names.

    Attributes
    ----------
    names, cells : tuple of str
        Global names and the closure's cells that it reads.
    attributes : tuple of str
        Of anything.
    stores : bool
        It writes any of them, but for its own variables.
    imports : bool
    """

    names: tuple[str, ...]
    cells: tuple[str, ...]
    attributes: tuple[str, ...]
    stores: bool
    imports: bool


@lru_cache(maxsize=1000)
def reads_of(code: CodeType) -> CodeReads:
    """What code names, and that of the functions that are made in it."""
    names: dict[str, None] = {}
    cells: dict[str, None] = {}
    attributes: dict[str, None] = {}
    stores = imports = False
    for step in dis.get_instructions(code):
        name = step.opname
        if name in ("LOAD_GLOBAL", "LOAD_NAME"):
            names[step.argval] = None
        elif name == "IMPORT_NAME":
            imports = True
            stores |= not is_of_library(step.argval)
        elif name in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            attributes[step.argval] = None
        elif name.startswith(("LOAD_", "COPY_")) and step.argval in code.co_freevars:
            cells[step.argval] = None
        elif name == "STORE_DEREF":
            stores |= step.argval in code.co_freevars
        stores |= name in _STORES
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = reads_of(constant)
            names |= dict.fromkeys(inner.names)
            attributes |= dict.fromkeys(inner.attributes)
            cells |= dict.fromkeys(c for c in inner.cells if c in code.co_freevars)
            stores |= inner.stores
            imports |= inner.imports
    return CodeReads(tuple(names), tuple(cells), tuple(attributes), stores, imports)


def is_of_library(module: str) -> bool:
    """Whether a module is of a package whose functions keep no array that they return."""
    return _root(module) in _LIBRARIES


def _root(module: str) -> str:
    return module.split(".", maxsplit=1)[0]
