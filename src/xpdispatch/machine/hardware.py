"""How much of the computer a call may use: cache, processors, free memory."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from xpdispatch.errors import ArgumentError

_CACHES = "/sys/devices/system/cpu/cpu0/cache"
_MEMORY, _GROUPS, _LIMITS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def cache_bytes() -> int:
    """Bytes that a tile may fill: ``XPDISPATCH_CACHE``, or what suits the cache that one core has.

    That is twice its second level, and more where that is small and the third level is large.

    Raises
    ------
    ArgumentError
        The variable is not a number of bytes.
    """
    wanted = _setting("XPDISPATCH_CACHE", least=0)
    return _fitting() if wanted is None else wanted


def processors() -> int:
    """How many threads a call may use here: ``XPDISPATCH_NUM_THREADS``, or the processors of this process.

    Raises
    ------
    ArgumentError
        The variable is not a number of threads.
    """
    wanted = _setting("XPDISPATCH_NUM_THREADS", least=1)
    return cores() if wanted is None else wanted


def _setting(variable: str, *, least: int) -> int | None:
    """An integer from the environment; None where the variable is unset or empty."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise ArgumentError(
            f"the environment has {variable}={text!r}, expected an integer >= {least}",
            hint=f"set {variable} to an integer, or unset it",
        )
    return int(text)


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
    except (OSError, KeyError, ValueError):  # a limit may be "max"
        return None


@lru_cache(maxsize=1)
def _fitting() -> int:
    # Operands and results only stream through the second level, so a tile may fill it twice. Where half of a core's
    # third level is more, a tile may fill that, up to 4 MiB: the longer operations are, the less often one thread
    # waits for the lock that another has for Python.
    second = _level("2") or 1 << 20
    return max(2 * second, min(4 << 20, _level("3") // 2))


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
