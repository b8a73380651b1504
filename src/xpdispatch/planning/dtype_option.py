"""What ``dtype=`` on the decorator may say: rules that give the dtypes of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import name_of, np_dtype, own_dtype
from xpdispatch.errors import ArgumentError, DTypeError
from xpdispatch.planning.body import spelling_of

Rule = Callable[[Sequence[Any], Any], Any]
"""From the operands' dtypes and a namespace to the dtype of a result in that namespace's terms."""


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
        fixed = (
            entry if name_of(entry) == "bfloat16" else np.dtype(entry) if isinstance(entry, str) else np_dtype(entry)
        )
    except (TypeError, DTypeError) as error:
        raise ArgumentError(
            f"dtype={entry!r} is not a dtype",
            hint="give a dtype, a function of the operands' dtypes, or the name of an operand: " + ", ".join(operands),
        ) from error
    return lambda dtypes, xp: own_dtype(fixed, xp)


def _check_takes(function: Callable[..., Any], count: int) -> None:
    try:
        spelling_of(function).bind(*[None] * count)
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
