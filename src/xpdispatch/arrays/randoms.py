"""Random numbers that come from a seed and a place alone, and so are the same however arrays are cut.

The bits are mixed as in SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014,
https://doi.org/10.1145/2660193.2660195), once for each coordinate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpdispatch.arrays.cpu import namespace
from xpdispatch.arrays.dtypes import is_numpy_like, nearest
from xpdispatch.arrays.namespaces import device_of

_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = 2**64 - 1


def uniform(xp: Any, seed: int, places: Sequence[range], coordinates: Sequence[Any]) -> Any:
    """Numbers from 0 to before 1, in steps of 2**-53.

    Parameters
    ----------
    xp : namespace
    seed : int
        Its lowest 64 bits count.
    places : sequence of range
        Coordinates along each axis.
    coordinates : sequence of array
        The same, as 1-D arrays of integers.

    Returns
    -------
    array
        One axis for each range. Dtype float64; where there are no 64-bit numbers, which only JAX can do without,
        float32 with the first 24 of the same bits.
    """
    device = device_of(coordinates)
    if nearest(coordinates[0].dtype).itemsize < 8:
        long = uniform(namespace(), seed, places, [np.arange(p.start, p.stop) for p in places])
        return xp.asarray((np.floor(long * 2.0**24) * 2.0**-24).astype(np.float32), **device)
    words = _Words(xp, device)
    bits = words.mixed(xp.reshape(words.number(seed & _WORD), (1,) * len(places)) + words.step)
    for axis, along in enumerate(coordinates):
        shape = tuple(-1 if a == axis else 1 for a in range(len(places)))
        bits = words.mixed(bits + (xp.astype(xp.reshape(along, shape), words.dtype) + 1) * words.step)
    return xp.astype(words.shifted(bits, 11), xp.float64) * 2.0**-53


class _Words:
    """Words of 64 bits: of uint64 on NumPy and CuPy, else of int64, whose products have the same bits.

    torch has no arithmetic on uint64.
    """

    def __init__(self, xp: Any, device: Mapping[str, Any]) -> None:
        self.xp, self.unsigned, self.device = xp, is_numpy_like(xp), device
        self.dtype = xp.uint64 if self.unsigned else xp.int64
        self.step, self.first, self.second = (self.number(n) for n in (_STEP, _FIRST, _SECOND))

    def number(self, bits: int) -> Any:
        """A 0-d array of these bits."""
        value = bits if self.unsigned or bits < 2**63 else bits - 2**64
        return self.xp.asarray(value, dtype=self.dtype, **self.device)

    def shifted(self, bits: Any, by: int) -> Any:
        """To the right, from the left come zeros."""
        return bits >> by if self.unsigned else (bits >> by) & (_WORD >> by)

    def mixed(self, bits: Any) -> Any:
        """Each bit of a number spread over all of them; products wrap at 2**64."""
        bits = (bits ^ self.shifted(bits, 30)) * self.first
        bits = (bits ^ self.shifted(bits, 27)) * self.second
        return bits ^ self.shifted(bits, 31)
