"""The operators that combine partial results: which dtypes they take, identities, and NumPy's ufunc.

"Combine" means ``ufunc.reduce`` over the bodies' partial results, in their own dtype: max and min
propagate NaN, and start from the infinities or the integer limits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import name_of, nearest
from xpdispatch.arrays.namespaces import device_of, new_beside
from xpdispatch.errors import DTypeError, UnsupportedError
from xpdispatch.language.terms import Operator

_UFUNCS = {
    "sum": "add",
    "prod": "multiply",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
    "xor": "bitwise_xor",
}
_KINDS = {"sum": "iufc", "prod": "iufc", "max": "biuf", "min": "biuf", "any": "b", "all": "b", "xor": "biu"}
_NAMES = {"b": "bool", "i": "integers", "u": "integers", "f": "floats", "c": "complex numbers"}

_QUIET: dict[str, Any] = {"max": {"invalid": "ignore"}, "min": {"invalid": "ignore"}}
"""NumPy's ``maximum.at`` warns of NaN, which ``maximum`` does not."""

_NAN = {"f": np.nan, "c": complex(np.nan, np.nan)}


def check_dtype(op: Operator, name: str, dtype: Any) -> None:
    """Refuse a dtype, of any library, that the operator does not combine.

    Raises
    ------
    DTypeError
    """
    kind = nearest(dtype).kind
    if kind in _KINDS[op]:
        return
    takes = ", ".join(dict.fromkeys(_NAMES[k] for k in _KINDS[op]))
    raise DTypeError(
        f"{op} of result {name!r} got partial results of dtype {name_of(dtype)}, expected {takes}",
        hint=_hint(op, kind),
    )


def _hint(op: Operator, kind: str) -> str:
    if op in ("sum", "prod") and kind == "b":
        return f"count with xp.astype(..., xp.int64), or use {'any' if op == 'sum' else 'all'}"
    if op in ("any", "all"):
        return "return a comparison, such as xp.any(x != 0)"
    return "return another dtype, or pass dtype= to the decorator"


def identity(op: Operator, dtype: Any) -> Any:
    """The value that changes nothing under the operator, as a scalar of the dtype; of float16 for bfloat16."""
    dtype = nearest(dtype)
    if op in ("sum", "any", "xor"):
        return dtype.type(0)
    if op in ("prod", "all"):
        return dtype.type(1)
    if dtype.kind == "b":
        return dtype.type(op == "min")
    if dtype.kind == "f":
        return dtype.type(-np.inf if op == "max" else np.inf)
    limits = np.iinfo(dtype)
    return dtype.type(limits.min if op == "max" else limits.max)


def combine(op: Operator, total: Any, partial: Any) -> None:
    """Fold a partial result into `total` in place. CuPy arrays answer to NumPy's ufuncs."""
    getattr(np, _UFUNCS[op])(total, partial, out=total)


def combined(xp: Any, op: Operator, total: Any, partial: Any) -> Any:
    """Both folded into a new array of any array library."""
    return getattr(xp, _UFUNCS[op])(total, partial)


def scattered(library: str, xp: Any, op: Operator, places: Any, rows: Any, count: int) -> Any:
    """So many rows: the identity, and folded into each those of `rows` whose place it is.

    Parameters
    ----------
    library : str
        Whose arrays these are.
    xp : namespace
    op : Operator
    places : array of int, shape (k,)
    rows : array, shape (k, width)
    count : int

    Returns
    -------
    array, shape (count, width)

    Raises
    ------
    UnsupportedError
        The library lacks what it takes.
    """
    start = identity(op, rows.dtype).item()
    if library == "numpy":
        # On single elements ``at`` takes 1 to 6 ns for each, on rows 10 to 20; a sort takes 80.
        width = rows.shape[1]
        found = np.full(count * width, start, rows.dtype)
        elements = places if width == 1 else (places[:, None] * width + np.arange(width)).ravel()
        with np.errstate(**_QUIET.get(op, {})):
            getattr(np, _UFUNCS[op]).at(found, elements, np.ascontiguousarray(rows).ravel())
        return found.reshape(count, width)
    for name in ("argsort", "searchsorted", "take"):
        if not hasattr(xp, name):
            raise UnsupportedError(
                f"{library} has no {name}, without which no result with keys can be put together",
                hint="pass arrays of another library, such as NumPy, torch or JAX",
            )
    nothing = new_beside(xp, [rows, places], (count, rows.shape[1]), rows.dtype, start)
    return nothing if 0 in rows.shape or not count else _by_sorting(xp, op, places, rows, nothing)


def _by_sorting(xp: Any, op: Operator, places: Any, rows: Any, nothing: Any) -> Any:
    """The same with the functions that all libraries have: a scan in steps of 1, 2, 4 and so on of the sorted rows."""
    order = xp.argsort(places, stable=True)
    places, rows = xp.take(places, order), xp.take(rows, order, axis=0)
    last, step = places.shape[0] - 1, 1
    while step <= last:  # each row holds what is folded of itself and the `step` - 1 next ones of its place
        alike = (places[step:] == places[:-step])[:, None]
        folded = xp.where(alike, combined(xp, op, rows[:-step, :], rows[step:, :]), rows[:-step, :])
        rows, step = xp.concat([folded, rows[-step:, :]], axis=0), 2 * step
    wanted = xp.arange(nothing.shape[0], dtype=places.dtype, **device_of([places]))
    first = xp.searchsorted(places, wanted)
    first = xp.where(first > last, xp.asarray(last, dtype=first.dtype, **device_of([first])), first)
    return xp.where((xp.take(places, first) == wanted)[:, None], xp.take(rows, first, axis=0), nothing)


def needs_sort_keys(op: Operator, dtype: np.dtype[Any]) -> bool:
    """Whether Legate's own operator differs from NumPy's and :func:`sort_keys` stand in."""
    return op in ("max", "min") and dtype.kind == "f"


def sort_keys(op: Operator, values: Any) -> Any:
    """Integers that order as floats do under max or min, NaN winning.

    Legate's own MAX and MIN of floats lose NaN and start from the finite limits; over these integers
    they do neither. The sign-magnitude bits of a float become two's complement, and NaN is made the
    largest key (max) or the smallest (min).
    """
    integer = np.dtype(f"i{values.dtype.itemsize}")
    limits = np.iinfo(integer)
    bits = values.view(integer)
    keys = np.where(bits < 0, bits ^ limits.max, bits)
    return np.where(np.isnan(values), integer.type(limits.max if op == "max" else limits.min), keys)


def from_sort_keys(keys: Any, dtype: np.dtype[Any]) -> Any:
    """The floats that :func:`sort_keys` came from."""
    limits = np.iinfo(keys.dtype)
    bits = np.where(keys < 0, keys ^ limits.max, keys)
    nan = (keys == limits.max) | (keys == limits.min)
    return np.where(nan, dtype.type(np.nan), bits.view(dtype))


def failed_value(dtype: np.dtype[Any]) -> Any:
    """What a result holds whose body failed, as a scalar of the dtype; None for bool, which has no value for it."""
    if dtype.kind in "fc":
        return dtype.type(_NAN[dtype.kind])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return dtype.type(limits.min if dtype.kind == "i" else limits.max)
    return None


def failed_partial(op: Operator, dtype: np.dtype[Any], held: np.dtype[Any]) -> Any:
    """A partial result that makes the whole result NaN, None where there is none, in the dtype in which it is combined.

    Parameters
    ----------
    op : str
    dtype : numpy.dtype
        Of the partial results.
    held : numpy.dtype
        That of their :func:`sort_keys` where these are combined.
    """
    if dtype.kind not in "fc":
        return None
    nan = failed_value(dtype)
    return nan if held.kind in "fc" else sort_keys(op, np.asarray(nan))[()]
