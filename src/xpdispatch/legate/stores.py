"""Between arrays and Legate stores."""

from __future__ import annotations

import math
import re
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import legate.core as lg
import numpy as np

from xpdispatch.arrays.namespaces import load
from xpdispatch.errors import ArgumentError, DTypeError, MissingError, ShapeError, read_only
from xpdispatch.language.terms import Term
from xpdispatch.legate import collective, fences
from xpdispatch.legate.fences import runtime
from xpdispatch.legate.releases import STORES, interface_of, memory, plain_store
from xpdispatch.machine.packages import install_command
from xpdispatch.planning.arguments import moved_to
from xpdispatch.planning.plan import Shape

_IS_ARRAY = hasattr(lg, "LogicalArray")
"""Whether what cuPyNumeric hands over is a LogicalArray; on the development branch it is the store."""

_VERSIONS = (1, 2)
"""Of Legate's data interface: a field is a LogicalArray in the first, a LogicalStore in the second."""


class Held(NamedTuple):
    """One array of a call.

    Attributes
    ----------
    store : LogicalStore or None
        None where `value` is sent with the scalars instead.
    value : numpy.ndarray or None
    shape : tuple of int
    dtype : numpy.dtype
    entry : LogicalArray or LogicalStore or None
        What is added to a task: the store, or the LogicalArray that it is of, which is quicker.
    """

    store: Any
    value: Any
    shape: Shape
    dtype: np.dtype[Any]
    entry: Any = None

    @property
    def inline(self) -> bool:
        """Whether an operand is sent with the scalars: it is 0-d from NumPy, or has no element."""
        return self.store is None or 0 in self.shape

    @property
    def followable(self) -> bool:
        """Whether Legate can take the elements for pointers; a single one can lie where it makes no image by it."""
        return (
            self.store is not None
            and self.dtype == np.int64
            and math.prod(self.shape) != 1
            and not self.store.transformed
        )

    def to_send(self) -> Any:
        """What goes with the scalars; None for a store."""
        if not self.inline:
            return None
        return self.value if self.store is None else np.empty(self.shape, self.dtype)


@cache
def legate_type(dtype: np.dtype[Any]) -> Any:
    """Legate's type of a NumPy dtype.

    Raises
    ------
    DTypeError
        Legate has none.
    """
    name = "bool_" if dtype.kind == "b" else dtype.name
    found = getattr(lg, name, None) if dtype.kind in "biufc" else None
    if found is None:
        raise DTypeError(
            f"Legate has no type for dtype {dtype}",
            hint="use bool, integers of 8 to 64 bits, float16 to float64, complex64 or complex128",
        )
    return found


@cache
def _numpy_type(code: Any) -> np.dtype[Any] | None:
    name = code.name.lower()
    return np.dtype(name) if hasattr(lg, "bool_" if name == "bool" else name) else None


def hold(term: Term, array: Any, *, written: bool = False) -> Held:
    """An array as Legate takes it: the store behind it, or a copy of a NumPy array made now.

    What tasks write, or update in place, is `written`.

    Raises
    ------
    DTypeError, ArgumentError, ShapeError, ResultError
    """
    name = str(term.name)
    if isinstance(array, np.ndarray | np.generic):
        return _hold_numpy(name, np.asarray(array), written=written)
    store = store_of(name, array)
    if stretched(store):
        if written:
            raise read_only(name, "it is read-only")
        array = _spread(array)
        if isinstance(array, np.ndarray):
            return _hold_numpy(name, array, written=False)
        store = store_of(name, array)
    dtype = _numpy_type(store.type.code)
    if dtype is None:
        raise DTypeError(
            f"argument {name!r} has Legate type {store.type}, which arrays cannot have",
            hint="use bool, integers, floats or complex numbers",
        )
    shape = tuple(store.shape)
    held = _in_region(store)
    return Held(held, None, shape, dtype, held)


def own_store(array: Any) -> tuple[Any, Any] | None:
    """The store behind a cuPyNumeric array, and what is added to a task; None for views, of which `hold` asks more."""
    try:
        (column,) = array.__legate_data_interface__["data"].values()
    except (NotImplementedError, AssertionError):  # other releases, of some views
        return None
    store = column.data if _IS_ARRAY else column
    return None if store.transformed else (store, column)


_STRETCHED = re.compile(r"(?:Promote|Broadcast)\([a-z_]*dim: \d+, dim_size: (\d+)\)")


def stretched(store: Any) -> bool:
    """Whether some axis shows the same elements again and again, as in a broadcast view.

    Legate hands such an axis to every task in full, however the array is cut. It tells of it in the store's text alone.
    """
    return bool(store.transformed) and any(int(n) > 1 for n in _STRETCHED.findall(str(store)))


def _spread(array: Any) -> Any:
    """A copy of a stretched array in which every element is there; without cuPyNumeric this waits."""
    if not _has_cupynumeric():
        return np.array(array.get_physical_store())
    cupynumeric = load("cupynumeric")
    return cupynumeric.array(array if isinstance(array, cupynumeric.ndarray) else cupynumeric.asarray(array))


def _in_region(store: Any) -> Any:
    # A 0-d store outside scalar storage ends the process when a leaf reads it; as (1,) it does not.
    return store.promote(0, 1) if store.ndim == 0 and not store.has_scalar_storage else store


def store_of(name: str, array: Any) -> Any:
    """The store behind a cuPyNumeric array, a LogicalArray or a LogicalStore."""
    store = array if isinstance(array, lg.LogicalStore) else _column_of(name, array)
    if store.unbound:
        raise ArgumentError(
            f"argument {name!r} is a store of unknown size that nothing has written",
            hint="run the task that writes it first",
        )
    return store


def _column_of(name: str, array: Any) -> Any:
    """The store of the one field that an object with Legate's data interface has."""
    interface = interface_of(name, array)
    try:
        version, columns = interface["version"], list(interface["data"].values())
    except (AttributeError, KeyError, TypeError):
        version, columns = None, []
    if version not in _VERSIONS:
        raise ArgumentError(
            f"argument {name!r} has the Legate data interface {interface!r}, "
            f"expected one of version {' or '.join(map(str, _VERSIONS))} with 'data'",
            hint="pass the LogicalStore itself",
        )
    if not all(isinstance(c, STORES) for c in columns):
        raise ArgumentError(
            f"argument {name!r} has the fields {columns!r}, expected a store", hint="pass the LogicalStore itself"
        )
    found = plain_store(columns[0]) if len(columns) == 1 else None
    if found is None:
        what = "masked" if len(columns) == 1 else f"made of {len(columns)} fields"
        raise ArgumentError(
            f"argument {name!r} is {what}, expected one plain array", hint="pass one field without a mask"
        )
    return found


def is_view(array: Any) -> bool:
    """Whether an operand's store shows the elements of another, so that Legate makes no image of it."""
    store = store_of("array", array)
    return bool(store.transformed) and not stretched(store)


def _hold_numpy(name: str, array: np.ndarray[Any, Any], *, written: bool) -> Held:
    native = array.dtype.newbyteorder("=")
    kind = legate_type(native)
    if array.ndim == 0 and written:
        scalar = new_store((), native)
        fill(scalar, array.astype(native)[()])
        return Held(scalar, None, (), native, scalar)
    if array.ndim == 0 or array.size == 0:
        return Held(None, np.array(array, dtype=native), array.shape, native)
    if array.ndim > lg.LEGATE_MAX_DIM:
        raise ShapeError(
            f"argument {name!r} has {array.ndim} axes, and Legate takes at most {lg.LEGATE_MAX_DIM}",
            hint="reshape it before the call",
        )
    # Legate reads the buffer when the task runs; only a copy keeps the values of this moment. A fresh
    # array is also aligned, without which Legate ends the process.
    own = np.array(array, dtype=native, order="C", copy=True)
    store = runtime.create_store_from_buffer(kind, own.shape, own, read_only=not written)
    return Held(store, None, own.shape, native, store)


def store_behind(entry: Any) -> Any:
    """The store of what is added to a task."""
    return entry if isinstance(entry, lg.LogicalStore) else entry.data


def new_store(shape: Shape, dtype: np.dtype[Any]) -> Any:
    """A fresh store; a 0-d one in scalar storage, so that nobody waits for it."""
    return runtime.create_store(legate_type(dtype), shape, optimize_scalar=not shape)


def like(store: Any) -> Any:
    """A fresh store of the same type and shape."""
    shape = tuple(store.shape)
    return runtime.create_store(store.type, shape, optimize_scalar=not shape)


def unbound_store(dtype: np.dtype[Any]) -> Any:
    """A store of one dimension whose extent the tasks that write it tell."""
    return runtime.create_store(legate_type(dtype))


def grid_store(shape: Shape) -> Any:
    """A store of bytes that is there to be cut, and of which no element is read."""
    store = new_store(shape, np.dtype(np.uint8))
    fill(store, np.uint8(0))
    return store


def bound(store: Any, rows: Shape, dtype: np.dtype[Any]) -> Any:
    """What tasks wrote to an unbound store, in rows of this shape; the tasks must have ended."""
    count = int(store.shape[0]) // math.prod(rows)
    if count == 0:
        return new_store((0, *rows), dtype)
    return store.delinearize(0, (count, *rows)) if rows else store


def fill(store: Any, value: Any) -> None:
    """Fill a store with a NumPy scalar."""
    if collective.several and not store.has_scalar_storage:
        collective.fill(store, value)
        return
    store.fill(value.item() if value.dtype.kind in "biu" else lg.Scalar(value, store.type))


def check_writable(term: Term, array: Any) -> None:
    """Refuse an array whose flags forbid to write it; :func:`hold` refuses those that only a store tells of.

    Raises
    ------
    ResultError
    """
    flags = getattr(array, "flags", None)
    if flags is not None and not flags["W"]:  # by its whole name it takes twice as long
        raise read_only(str(term.name), "it is read-only")


@cache
def _has_cupynumeric() -> bool:
    return find_spec("cupynumeric") is not None


def check_wrappable(kind: str) -> None:
    """Refuse, before the launch, results that could not be handed over.

    Raises
    ------
    MissingError
    """
    if kind == "numpy" and not _has_cupynumeric():
        raise MissingError(
            "a result on Legate is a cuPyNumeric array, and cuPyNumeric is not installed",
            hint=f"{install_command('cupynumeric')}; or pass out=, a NumPy array or a Legate store",
        )


def wrap(store: Any, kind: str) -> Any:
    """A fresh store as the caller's kind of array; a LogicalStore where cuPyNumeric is not installed."""
    if kind == "store" and not _has_cupynumeric():
        return store
    return load("cupynumeric").array(store, copy=False)  # of the same elements, as its asarray in more time


def diagonal(array: Any, first: int, second: int) -> Any:
    """A copy of the diagonal of two axes, at the first of them, as the caller's kind of array."""
    fences.check_thread()
    cupynumeric = load("cupynumeric")
    own = isinstance(array, cupynumeric.ndarray)
    whole = array if own else cupynumeric.asarray(array)
    if 0 in whole.shape:  # of which cuPyNumeric drops axes
        extents = [n for axis, n in enumerate(whole.shape) if axis != second]
        found = cupynumeric.zeros(tuple(extents), dtype=whole.dtype)
    else:
        found = cupynumeric.diagonal(whole, 0, first, second)
        found = cupynumeric.transpose(found, moved_to(first, found.ndim))
    return found if own else store_of("array", found)


def to_numpy(store: Any, shape: Shape) -> np.ndarray[Any, Any]:
    """A store's content as a NumPy array, to be read at once; waits."""
    return np.asarray(store.get_physical_store()).reshape(shape)


def copied(array: Any) -> np.ndarray[Any, Any]:
    """The elements of a cuPyNumeric array or a Legate store as a NumPy array of its own; waits."""
    if _has_cupynumeric() and isinstance(array, load("cupynumeric").ndarray):
        return np.asarray(array).copy()
    store = store_of("array", array)
    return to_numpy(store, tuple(store.shape)).copy()


def memory_limit() -> tuple[int, str]:
    """Bytes of memory that Legate has for the arrays of one task's kind, and the flag that sets it; 0 if unknown."""
    target = runtime.machine.preferred_target
    on_gpu = target == lg.TaskTarget.GPU
    flag, count = ("fbmem", runtime.machine.count(target)) if on_gpu else ("sysmem", runtime.node_count)
    return _least_memory(flag) * count, flag


@cache
def _least_memory(flag: str) -> int:
    """Bytes that every process has of a kind of memory: all must refuse a call, or none."""
    return min(int(least) for least in collective.of_all(memory(flag)).values())
