"""Dtypes across libraries, and what ``dtype=`` on the decorator may say."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpdispatch.errors import ArgumentError, DTypeError

Rule = Callable[[Sequence[Any], Any], Any]
"""From the operands' dtypes and a namespace to the dtype of a result in that namespace's terms."""


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


def rules(entry: Any, operands: Sequence[str], count: int) -> tuple[Rule | None, ...]:
    """Read ``dtype=``: one rule for each result, or None where the body decides.

    Parameters
    ----------
    entry : dtype, str, callable, None, or a tuple of these
    operands : sequence of str
        Names whose dtype may be taken.
    count : int
        How many results there are.

    Raises
    ------
    ArgumentError
    """
    entries = entry if isinstance(entry, tuple) else (entry,) * count
    if len(entries) != count:
        raise ArgumentError(
            f"dtype= got {len(entries)} entries, expected {count}", hint="give one, or None, for each result"
        )
    return tuple(None if e is None else _rule(e, operands) for e in entries)


def _rule(entry: Any, operands: Sequence[str]) -> Rule:
    if isinstance(entry, str) and entry in operands:
        position = list(operands).index(entry)
        return lambda dtypes, xp: own_dtype(dtypes[position], xp)
    if callable(entry) and not isinstance(entry, type):
        _check_takes(entry, len(operands))
        return lambda dtypes, xp: own_dtype(entry(*dtypes), xp)
    try:
        fixed = np.dtype(entry) if isinstance(entry, str | type) else np_dtype(entry)
    except (TypeError, DTypeError) as error:
        raise ArgumentError(
            f"dtype={entry!r} is not a dtype",
            hint="give a dtype, a function of the operands' dtypes, or the name of an operand: " + ", ".join(operands),
        ) from error
    return lambda dtypes, xp: own_dtype(fixed, xp)


def _check_takes(function: Callable[..., Any], count: int) -> None:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError as error:
        raise ArgumentError(
            f"dtype= got a function that does not take {count} dtypes: {error}",
            hint="let it take the dtype of each operand, in the notation's order",
        ) from error
    except ValueError:
        pass  # a function written in C tells no parameters


def casts(found: Sequence[Rule | None], dtypes: Sequence[Any], xp: Any) -> tuple[Any, ...]:
    """For each result the dtype that ``dtype=`` asks for, in the namespace's own terms, or None."""
    return tuple(rule and rule(dtypes, xp) for rule in found)
