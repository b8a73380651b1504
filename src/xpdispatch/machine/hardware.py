"""What the machine has: its cache, its processors, and the collector that must keep off worker threads."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import sys
import threading
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from xpdispatch.errors import ArgumentError

_LEVELS = 2
"""A tile may fill the second level so many times. Operands and results only stream through it, and operations that are
longer seldom make one thread wait for the lock that another has for Python."""
_LONG = 4 << 20
"""So much a tile may fill where it is half of what a core has of the third level, for the lock's sake."""
_UNKNOWN = 1 << 20
_CACHES = "/sys/devices/system/cpu/cpu0/cache"
_MEMORY, _GROUPS, _LIMITS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def cache_bytes() -> int:
    """Bytes that a tile may fill: ``XPDISPATCH_CACHE``, or what suits the cache that one core has.

    That is twice its second level, and more where that is small and the third level is large.

    Raises
    ------
    ArgumentError
        The variable is no number of bytes.
    """
    text = os.environ.get("XPDISPATCH_CACHE")
    return _fitting() if text is None else _number("XPDISPATCH_CACHE", text, least=0)


def processors() -> int:
    """How many threads a call may use here: ``XPDISPATCH_NUM_THREADS``, or the processors of this process.

    Raises
    ------
    ArgumentError
        The variable is no number of threads.
    """
    text = os.environ.get("XPDISPATCH_NUM_THREADS")
    if text is not None:
        return _number("XPDISPATCH_NUM_THREADS", text, least=1)
    return cores()


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of memory that this process could take now: what is free, and what its control groups leave; 0 if unknown.

    What the system keeps of files it gives back when it is asked, so that counts as free.
    """
    try:
        known = dict(line.split(":") for line in _MEMORY.read_text().splitlines())
        free = [int(known["MemAvailable"].split()[0]) << 10]
    except (OSError, KeyError, ValueError):
        return 0
    try:
        groups = [line.split(":", 2) for line in _GROUPS.read_text().splitlines()]
    except (OSError, ValueError):
        groups = []
    for _, controllers, path in groups:
        if controllers in ("", "memory"):  # version 2, version 1
            names = ("memory.max", "memory.current", "inactive_file")
            if controllers:
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            own = _LIMITS / controllers / path.lstrip("/")
            free += [left for place in (own, *own.parents) if (left := _left(place, *names)) is not None]
    return max(0, min(free))


def _left(group: Path, limit: str, used: str, of_files: str) -> int | None:
    """Bytes that a control group leaves; None where it sets no limit."""
    try:
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int((group / limit).read_text()) - int((group / used).read_text()) + int(kept[of_files])
    except (OSError, KeyError, ValueError):  # "max" is no number
        return None


def _number(variable: str, text: str, *, least: int) -> int:
    if not text.strip().isdecimal() or int(text) < least:
        raise ArgumentError(
            f"the environment has {variable}={text!r}, expected an integer >= {least}",
            hint=f"set {variable} to an integer, or unset it",
        )
    return int(text)


@lru_cache(maxsize=1)
def _fitting() -> int:
    second = _level("2") or _UNKNOWN
    return max(_LEVELS * second, min(_LONG, _level("3") // 2))


def _level(wanted: str) -> int:
    """What a core has of a level of the cache, which more than two may share; 0 where that is unknown."""
    for index in sorted(Path(_CACHES).glob("index*")):
        try:
            level, kind, size, shared = (
                (index / name).read_text().strip() for name in ("level", "type", "size", "shared_cpu_map")
            )
            if level == wanted and kind != "Instruction":
                sharers = int(shared.replace(",", ""), 16).bit_count()
                unit = {"K": 1 << 10, "M": 1 << 20}[size[-1]]
                return int(size[:-1]) * unit * 2 // max(2, sharers)
        except (OSError, ValueError, KeyError):
            continue  # not every kernel tells all of it
    return 0


class _Collector:
    """Python's cyclic garbage collector, switched off while anybody holds it.

    A collection may drop Legate stores, and dropping one on another thread than Legate's own ends the process.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._lock = threading.Lock()
        self._holds = 0
        self.was_on = False

    def hold(self) -> None:
        with self._lock:
            if self._holds == 0:
                self.was_on = gc.isenabled()
                gc.disable()
            self._holds += 1

    def release(self) -> None:
        with self._lock:
            self._holds -= 1
            if self._holds == 0 and self.was_on:
                gc.enable()

    def after_fork(self) -> None:
        """In the child, which has none of the threads that held it."""
        if self._holds and self.was_on:
            gc.enable()
        self.renew()


collector = _Collector()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=collector.after_fork)


def legate_runs() -> bool:
    """Whether this process may hold Legate stores."""
    return "legate.core" in sys.modules


@lru_cache(maxsize=1)
def keep_small_blocks() -> None:
    """Let malloc keep what tiles free, which it would give back to the system and fetch anew for each tile.

    glibc learns from the largest block that was mapped and then freed, up to 32 MiB, what to keep from then on. So it
    is shown one, of which no page is ever touched.
    """
    np.empty(min(4 * cache_bytes(), 31 << 20), np.uint8)


_MAPPINGS = Path("/proc/self/maps")
_ROOM = 64 << 20
"""Bytes of a mapping from which on it is thought of as room for arrays."""


def mappings() -> set[tuple[int, int]]:
    """Where this process has large memory of its own that is no file's: first address and the one after the last."""
    try:
        lines = _MAPPINGS.read_text().splitlines()
    except OSError:  # not on Linux
        return set()
    found = set()
    for line in lines:
        place, mode, *_, inode = line.split()[:5]
        start, stop = (int(end, 16) for end in place.split("-"))
        if mode == "rw-p" and inode == "0" and stop - start >= _ROOM:
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


def version_of(distribution: str) -> str:
    """The version of an installed distribution; empty where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # not before it is asked for: it takes 10 ms

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
