"""How arrays get their memory: large results reuse it, small temporaries keep it, and Legate's is in huge pages.

The system hands out fresh memory page by page, zeroed: for a kernel that does little else that takes longer than its
work, and threads wait for each other over it.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from xpdispatch.machine.hardware import cache_bytes

_SMALLEST = 1 << 20
"""Bytes below which malloc keeps what is freed by itself."""

_MOST = 1 << 28
"""Bytes that are kept at most while nobody uses them."""

_MAPPINGS = Path("/proc/self/maps")


class _Blocks:
    """Blocks that are free, the latest last."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._lock = threading.RLock()  # a collection inside may give one back
        self.free: list[np.ndarray[Any, Any]] = []

    def take(self, size: int) -> np.ndarray[Any, Any]:
        """A block of at least this size, and at most a quarter larger."""
        with self._lock:
            for n in range(len(self.free) - 1, -1, -1):
                if size <= self.free[n].nbytes <= 1.25 * size:
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

    It is not an array, for NumPy lets a view hold the array at the end of a chain of them, and drop those between.
    """

    def __init__(self, size: int) -> None:
        self.block: np.ndarray[Any, Any] | None = None  # there may be no memory for it
        self.block = blocks.take(size)
        self.__array_interface__ = self.block.__array_interface__

    def __del__(self, give: Callable[[np.ndarray[Any, Any]], None] = blocks.give) -> None:
        if self.block is not None:
            give(self.block)  # bound above, for at exit modules lose their names


def maker(shape: tuple[int, ...], dtype: Any, order: Any = "C") -> Callable[[], np.ndarray[Any, Any]]:
    """Makes arrays as :func:`numpy.empty` does, of memory that an earlier result may have had."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _SMALLEST or dtype.hasobject:
        return partial(np.empty, shape, dtype, order)
    return lambda: np.ndarray(shape, dtype, np.asarray(_Lease(size)), order=order)


def empty(shape: tuple[int, ...], dtype: Any, order: Any = "C") -> np.ndarray[Any, Any]:
    """One such array."""
    return maker(shape, dtype, order)()


@lru_cache(maxsize=1)
def keep_small_blocks() -> None:
    """Let malloc keep what bodies free, which it would give back to the system, and fetch anew page by page.

    glibc learns from the largest block that was mapped and then freed, up to 32 MiB, what to keep from then on. So it
    is shown one, of which no page is ever touched.
    """
    np.empty(min(4 * cache_bytes(), 31 << 20), np.uint8)


def mappings() -> set[tuple[int, int]]:
    """Where this process has memory of its own for arrays, 64 MiB or more: first address and the one after the last."""
    try:
        lines = _MAPPINGS.read_text().splitlines()
    except OSError:  # not on Linux
        return set()
    found = set()
    for line in lines:
        place, mode, *_, inode = line.split()[:5]
        start, stop = (int(end, 16) for end in place.split("-"))
        if mode == "rw-p" and inode == "0" and stop - start >= 64 << 20:
            found.add((start, stop))
    return found


def ask_for_huge_pages(places: Iterable[tuple[int, int]]) -> None:
    """Ask the system to hand out huge pages there, which NumPy does for its arrays; it may not have any.

    Pages that are in use already stay as they are.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return
    advise = ctypes.CDLL(None).madvise
    for start, stop in places:
        advise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_HUGEPAGE)
