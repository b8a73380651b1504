"""Random numbers that come from a seed and a place alone, and so are the same however arrays are cut.

The bits are mixed as in SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014,
https://doi.org/10.1145/2660193.2660195), once for each coordinate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = 2**64 - 1


def uniform(xp: Any, seed: int, coordinates: Sequence[Any]) -> Any:
    """Numbers from 0 to before 1, in steps of 2**-53.

    Parameters
    ----------
    xp : namespace
        With uint64.
    seed : int
        Its lowest 64 bits count.
    coordinates : sequence of array
        One 1-D array of integers for each axis.

    Returns
    -------
    array
        Dtype float64; one axis for each array of coordinates.
    """
    step = xp.asarray(_STEP, dtype=xp.uint64)
    bits = _mixed(xp, xp.full((1,) * len(coordinates), seed & _WORD, dtype=xp.uint64) + step)
    for axis, places in enumerate(coordinates):
        shape = tuple(-1 if a == axis else 1 for a in range(len(coordinates)))
        bits = _mixed(xp, bits + (xp.astype(xp.reshape(places, shape), xp.uint64) + 1) * step)
    return xp.astype(bits >> 11, xp.float64) * 2.0**-53


def _mixed(xp: Any, bits: Any) -> Any:
    """Each bit of a number spread over all of them; products wrap at 2**64."""
    bits = (bits ^ (bits >> 30)) * xp.asarray(_FIRST, dtype=xp.uint64)
    bits = (bits ^ (bits >> 27)) * xp.asarray(_SECOND, dtype=xp.uint64)
    return bits ^ (bits >> 31)
