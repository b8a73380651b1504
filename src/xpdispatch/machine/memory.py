"""Memory for large results, used again once nobody holds it.

The system hands out fresh memory page by page, zeroed: for a kernel that does little else that takes longer than its
work, and threads wait for each other over it.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

_SMALLEST = 1 << 20
"""Bytes below which malloc keeps what is freed by itself."""

_MOST = 1 << 28
"""Bytes that are kept at most while nobody uses them."""

_LOOSE = 1.25
"""A block serves what needs at least its size divided by this."""


class _Blocks:
    """Blocks that are free, the latest last."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._lock = threading.RLock()  # a collection inside may give one back
        self.free: list[np.ndarray[Any, Any]] = []

    def take(self, size: int) -> np.ndarray[Any, Any]:
        with self._lock:
            for n in range(len(self.free) - 1, -1, -1):
                if size <= self.free[n].nbytes <= _LOOSE * size:
                    return self.free.pop(n)
        return np.empty(size, np.uint8)

    def give(self, block: np.ndarray[Any, Any]) -> None:
        with self._lock:
            self.free.append(block)
            kept = sum(b.nbytes for b in self.free)
            while kept > _MOST:
                kept -= self.free.pop(0).nbytes


blocks = _Blocks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=blocks.renew)


class _Lease:
    """A block in use: what a result and all views of it hold, so that it goes when the last of them does.

    It is no array, for NumPy lets a view hold the array at the end of a chain of them, and drop those between.
    """

    def __init__(self, size: int) -> None:
        self.block: np.ndarray[Any, Any] | None = None  # there may be no memory for it
        self.block = blocks.take(size)
        self.__array_interface__ = self.block.__array_interface__

    def __del__(self, give: Callable[[np.ndarray[Any, Any]], None] = blocks.give) -> None:
        if self.block is not None:
            give(self.block)  # bound above, for at exit modules lose their names


def empty(shape: tuple[int, ...], dtype: Any, order: Any = "C") -> np.ndarray[Any, Any]:
    """As :func:`numpy.empty`, of memory that an earlier result may have had."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _SMALLEST or dtype.hasobject:
        return np.empty(shape, dtype, order)
    return np.ndarray(shape, dtype, np.asarray(_Lease(size)), order=order)
