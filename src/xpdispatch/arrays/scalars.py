"""Scalars: copies, for runs whose effects nobody is to see, and what of them decides a dtype."""

from __future__ import annotations

import enum
import pickle
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np


def copied(scalars: Sequence[Any]) -> Sequence[Any]:
    """The scalars as a task would get them, so that what a sample does to them is not seen outside."""
    try:
        copies: Sequence[Any] = pickle.loads(pickle.dumps(tuple(scalars)))
    except Exception:  # noqa: BLE001  whatever a user's __reduce__ raises; in this process anything may be a scalar
        return scalars
    return copies


# Tuples: a union is made anew each time.
_INTEGERS = (int, np.integer)
_INEXACT = (float, complex, np.inexact)
_NUMBERS = (int, float, complex, np.number)
_FLAGS = (bool, enum.Enum)
_PLAIN = (str, bytes, int, np.number, np.bool)
_NUMBERS_AND_TEXTS = (bool, int, float, complex, str, bytes, type(None))


def state_of(scalars: Sequence[Any]) -> Any:
    """What differs after something changed a scalar; nothing of what cannot change, or cannot be pickled."""
    able = [v for v in scalars if type(v) not in _NUMBERS_AND_TEXTS and not isinstance(v, np.generic)]
    try:
        return pickle.dumps(able) if able else None
    except Exception:  # noqa: BLE001  as above
        return None


def scalars_key(scalars: Sequence[Any], *, integers: bool) -> tuple[Any, ...]:
    """What of the scalars can decide a dtype or an extent that only the body knows.

    Numbers count by type, for they change from call to call; bools and enumerations, which are flags, and all else
    by value, and so do integers where the body decides an extent.
    """
    numbers = _INEXACT if integers else _NUMBERS
    found: list[Any] = []
    for v in scalars:
        kind = type(v)
        if kind is int and integers:
            found.append((kind, v))  # as below, in less time
        elif isinstance(v, numbers) and not isinstance(v, _FLAGS):
            found.append(kind)
        else:
            found.append((kind, _by_value(v)))
    return tuple(found)


def coarse(scalars: Sequence[Any], exact: Collection[int]) -> tuple[Any, ...]:
    """The scalars, but that integers above 8 become the power of two below them.

    So what dry runs tell follows from the call alone, and a counter that grows with each call has few of them. Those at
    the positions in `exact` stay.
    """
    return tuple([v if n in exact else _rounded_down(v) for n, v in enumerate(scalars)])


def _rounded_down(value: Any) -> Any:
    kind = type(value)
    if kind is float or (kind is not int and (not isinstance(value, _INTEGERS) or isinstance(value, _FLAGS))):
        return value
    if -9 < value < 9:
        return value
    size = 1 << (abs(int(value)).bit_length() - 1)
    return kind(size if value > 0 else -size)


def _by_value(value: Any) -> Any:
    if isinstance(value, _PLAIN) or value is None:
        return value
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001  whatever a user's __reduce__ raises: equal only to itself, then
        return object()
