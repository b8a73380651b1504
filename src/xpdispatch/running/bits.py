"""Numbers on which two ways to compute something show that they differ, and the comparison of all bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_RARE = (0.0, -0.0, -1.0, -2.5, 0.5, 1e-310, 1e300, -1e300, np.inf, -np.inf, np.nan)
"""Numbers that functions which are the same elsewhere may take in different ways."""


def random_numbers(shape: Sequence[int], dtype: np.dtype[Any], seed: int) -> Any:
    """Numbers that no two arrays have in common: between 1 and 8, and of floats one in four out of the ordinary."""
    rng = np.random.default_rng(seed % 2**32)
    drawn = rng.random(tuple(shape)) * 7 + 1
    if dtype.kind == "b":
        return drawn > 4
    with np.errstate(all="ignore"):
        if dtype.kind in "fc":
            drawn = np.where(rng.random(drawn.shape) < 0.25, rng.choice(_RARE, drawn.shape), drawn)
        return (drawn * (1 + 0.5j) if dtype.kind == "c" else drawn).astype(dtype)


def same_bits(left: Any, right: Any) -> bool:
    """All bits, but that one NaN is as good as another, and those of long doubles that mean nothing do not count."""
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    if left.dtype.kind == "c":
        return same_bits(left.real, right.real) and same_bits(left.imag, right.imag)
    if left.dtype.kind != "f":
        return bool(left.tobytes() == right.tobytes())
    nan = np.isnan(left)
    signs = np.array_equal(np.signbit(left) | nan, np.signbit(right) | nan)
    return signs and np.array_equal(left, right, equal_nan=True)
