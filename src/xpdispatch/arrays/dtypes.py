"""Dtypes across libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpdispatch.errors import DTypeError


class LackingDTypeError(DTypeError):
    """A library has no such dtype."""


def np_dtype(dtype: Any) -> np.dtype[Any]:
    """NumPy's dtype of the same name as another library's."""
    if isinstance(dtype, np.dtype):
        return dtype
    if isinstance(dtype, type):
        return np.dtype(dtype)
    name = str(dtype).split(".")[-1]
    try:
        return np.dtype(name)
    except TypeError:
        raise DTypeError(f"NumPy has no dtype {name!r}", hint="use a dtype of the array API standard") from None


def own_dtype(dtype: Any, xp: Any) -> Any:
    """The namespace's own dtype of the same name; NumPy-like namespaces take NumPy's."""
    wanted = np_dtype(dtype).newbyteorder("=")
    if xp is np:
        return wanted
    own = getattr(xp, "bool" if wanted.kind == "b" else wanted.name, None)
    if own is None and getattr(xp, "float64", np.float64) is not np.float64:
        raise LackingDTypeError(
            f"{xp.__name__} has no dtype {wanted}", hint="use a dtype of the array API standard, such as float32"
        )
    own = wanted if own is None else own
    return np.dtype(own) if isinstance(own, type) and issubclass(own, np.generic) else own


def check_cast(name: str, source: Any, target: Any) -> None:
    """Refuse to write a result to an array whose dtype cannot take it (NumPy's casting ``same_kind``).

    Raises
    ------
    DTypeError
    """
    if source != target and not np.can_cast(np_dtype(source), np_dtype(target), "same_kind"):
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
