"""Dtypes across libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpdispatch.arrays.namespaces import load
from xpdispatch.errors import DTypeError

_BFLOAT16 = "bfloat16"
_FLOAT16 = np.dtype(np.float16)


class LackingDTypeError(DTypeError):
    """A library has no such dtype."""


def np_dtype(dtype: Any) -> np.dtype[Any]:
    """NumPy's dtype of the same name as another library's."""
    if isinstance(dtype, np.dtype):
        return dtype
    if isinstance(dtype, type):
        return np.dtype(dtype)
    name = name_of(dtype)
    try:
        return np.dtype(name)
    except TypeError:
        raise DTypeError(f"NumPy has no dtype {name!r}", hint="use a dtype of the array API standard") from None


def name_of(dtype: Any) -> str:
    """A dtype's name without its library's."""
    return np.dtype(dtype).name if isinstance(dtype, type) else str(dtype).rsplit(".", maxsplit=1)[-1]


def nearest(dtype: Any) -> np.dtype[Any]:
    """NumPy's dtype that is combined and cast by the rules of this one: of the same name, but float16 for bfloat16.

    bfloat16 is a dtype of NumPy's only where ml_dtypes is imported, and no kind of float even there.
    """
    if isinstance(dtype, np.dtype):
        return _FLOAT16 if dtype.kind == "V" and dtype.name == _BFLOAT16 else dtype
    return _FLOAT16 if name_of(dtype) == _BFLOAT16 else np_dtype(dtype)


def own_dtype(dtype: Any, xp: Any) -> Any:
    """The namespace's own dtype of the same name; NumPy-like namespaces take NumPy's.

    Raises
    ------
    LackingDTypeError
    MissingError
        NumPy's bfloat16 is that of ml_dtypes, which is not installed.
    """
    if name_of(dtype) == _BFLOAT16:
        return _own_bfloat16(xp)
    wanted = np_dtype(dtype).newbyteorder("=")
    if xp is np:
        return wanted
    own = getattr(xp, "bool" if wanted.kind == "b" else wanted.name, None)
    if own is None and not is_numpy_like(xp):
        raise _lacking(xp, wanted)
    own = wanted if own is None else own
    return np.dtype(own) if isinstance(own, type) and issubclass(own, np.generic) else own


def _own_bfloat16(xp: Any) -> Any:
    own = getattr(xp, _BFLOAT16, None)
    if own is not None:
        return own
    if not is_numpy_like(xp):
        raise _lacking(xp, _BFLOAT16)
    return np.dtype(load("ml_dtypes").bfloat16)


def is_numpy_like(xp: Any) -> bool:
    """Whether the namespace's dtypes are NumPy's: of NumPy and CuPy."""
    return getattr(xp, "float64", np.float64) is np.float64


def _lacking(xp: Any, wanted: Any) -> LackingDTypeError:
    return LackingDTypeError(
        f"{xp.__name__} has no dtype {wanted}", hint="use a dtype of the array API standard, such as float32"
    )


def check_cast(name: str, source: Any, target: Any) -> None:
    """Refuse to write a result to an array whose dtype cannot take it (NumPy's casting ``same_kind``).

    Raises
    ------
    DTypeError
    """
    if source != target and not np.can_cast(nearest(source), nearest(target), "same_kind"):
        raise DTypeError(
            f"result {name!r} has dtype {source}, which cannot be written to {target} (casting same_kind)",
            hint="pass an array of another dtype, or dtype= to the decorator",
        )


def no_promotion(name: str, value: Any, reason: Exception) -> DTypeError:
    """The error for a Python number that promotion with the other operands cannot take."""
    return DTypeError(
        f"argument {name!r} = {value!r} does not go with the other operands: {reason}",
        hint=f"pass {name!r} as a 0-d array of the dtype you want",
    )


def unknown_dtype(name: str) -> DTypeError:
    """The error for a buffer that the caller leaves out and ``dtype=`` does not mention."""
    return DTypeError(
        f"result {name!r} is written by the body and was left out, so its dtype is not known",
        hint=f"pass an array as {name!r} or out=, or dtype= to the decorator",
    )
