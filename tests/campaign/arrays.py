"""The arrays of random programs: values that no order of adding rounds, in every dtype and memory layout."""

from __future__ import annotations

from typing import Any

import numpy as np

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
LONG = ("longdouble", "clongdouble")
"""Which NumPy has and Legate has not."""
DTYPES = ("bool", *INTEGERS, *FLOATS, *COMPLEX)

LAYOUTS = (
    "plain",
    "fortran",
    "reversed",
    "holes",
    "transposed",
    "broadcast",
    "unaligned",
    "read-only",
    "swapped",
    "inside",
)

SUBCLASS = "subclass"
"""A layout as well: arrays of NumPy's whose own arithmetic is another, which no body may meet."""


class Odd(np.ndarray):
    """An array with which nothing can be computed."""

    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("a body got what it must not get")


def values(seed: int, dtype: str, shape: tuple[int, ...], *, special: bool = False) -> np.ndarray:
    """Small integers in any dtype; with `special`, floats have NaN, infinities, -0.0 and subnormals among them."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    low, high = (0, 2) if kind.kind in "bu" else (-2, 3)
    found = rng.integers(low, high, shape)
    if kind.kind == "c":
        return np.asarray(found + 1j * rng.integers(low, high, shape)).astype(kind)
    found = np.asarray(found).astype(kind)
    if special and kind.kind == "f":
        tiny = np.finfo(kind).smallest_subnormal
        odd = np.array([np.nan, np.inf, -np.inf, -0.0, tiny, -tiny], kind)
        found = np.where(rng.random(shape) < 0.2, rng.choice(odd, shape), found).astype(kind)
    return found


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """The same values, but for ``"broadcast"``, in another memory layout; 0-d arrays have few."""
    last = array.ndim - 1
    if layout == SUBCLASS:
        return array.copy().view(np.matrix if array.ndim == 2 else Odd)
    if layout == "swapped":
        return array.astype(array.dtype.newbyteorder())
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
        return array
    if layout == "unaligned" and array.dtype.itemsize > 1:
        room = np.zeros(array.nbytes + 1, np.uint8)
        found = room[1:].view(array.dtype).reshape(array.shape)
        found[...] = array
        return found
    if not array.ndim:
        return array.copy()
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "reversed":
        return np.ascontiguousarray(np.flip(array)).copy()[(slice(None, None, -1),) * array.ndim]
    if layout == "holes":
        wide = np.zeros((*array.shape[:last], 2 * array.shape[last]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "transposed":
        return np.ascontiguousarray(array.T).copy().T
    if layout == "inside":
        wide = np.zeros([n + 2 for n in array.shape], array.dtype)
        inner = (slice(1, -1),) * array.ndim
        wide[inner] = array
        return wide[inner]
    if layout == "broadcast" and array.shape[0] > 1:
        return np.broadcast_to(array[:1], array.shape)
    return array.copy()


def make(seed: int, dtype: str, shape: tuple[int, ...], layout: str = "plain", special: bool = False) -> np.ndarray:
    """An array of a program."""
    return laid_out(values(seed, dtype, shape, special=special), layout)


def make_keys(seed: int, dtype: str, shape: tuple[int, ...], layout: str, extent: int) -> np.ndarray:
    """Places among so many cells, in any order, some of them often."""
    found = np.random.default_rng(seed).integers(0, extent, shape) if extent else np.zeros(shape)
    return laid_out(np.asarray(found).astype(dtype), layout)


def on_legate(array: Any, how: str) -> Any:
    """A NumPy array as Legate gets it: as it is, as a cuPyNumeric array, or as a view of one.

    As it is also where cuPyNumeric has no such dtype or not as many axes.
    """
    if not isinstance(array, np.ndarray) or how == "numpy" or array.dtype.char in "gGOUSVMm" or array.ndim > 6:
        return array
    import cupynumeric

    native = np.array(array, array.dtype.newbyteorder("="))
    if how == "transposed":
        return cupynumeric.array(native.T.copy()).T
    if how == "inside" and native.ndim and native.size:
        wide = cupynumeric.array(np.pad(native, 1, constant_values=native.flat[0]))
        return wide[(slice(1, -1),) * native.ndim]
    if how == "broadcast" and native.ndim and native.shape[0] > 1 and (native == native[:1]).all():
        return cupynumeric.broadcast_to(cupynumeric.array(native[:1]), native.shape)
    return cupynumeric.array(native)


PLACES = ("cupynumeric", "cupynumeric", "numpy", "transposed", "inside", "broadcast")
