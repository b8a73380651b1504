"""Keep Python's cyclic garbage collector on the main thread while tasks may run.

A collection may drop Legate stores, and dropping one on a thread of Legate's ends the process. Legate
switches the collector off inside a Python task, but by saving and restoring one global flag: of two tasks
that overlap, the first to end switches it on under the other. So it is off from a launch until the next
blocking fence, and launches collect when a collection is due.
"""

from __future__ import annotations

import gc

from xpdispatch.machine.collector import collector

_paused = False
_least = 0
"""The count over which a collection was due when the collector was switched off."""


def pause() -> None:
    """Before a launch, on the main thread: no automatic collection from here on."""
    global _paused, _least
    if not _paused:
        collector.hold()
        _paused, _least = True, gc.get_threshold()[0]
    elif gc.isenabled():  # somebody else switched it on
        gc.disable()
        collector.was_on = True
    elif collector.was_on and gc.get_count()[0] > _least:
        _collect_if_due()


def resume() -> None:
    """After a blocking fence: no task runs, so collections may happen by themselves again."""
    global _paused  # noqa: PLW0603
    if _paused:
        _paused = False
        collector.release()


def _collect_if_due() -> None:
    """What the collector would do by itself: the oldest generation whose count is over its threshold."""
    counts, thresholds = gc.get_count(), gc.get_threshold()
    if not 0 < thresholds[0] < counts[0]:
        return
    generation = 0
    while generation < 2 and counts[generation + 1] > thresholds[generation + 1]:
        generation += 1
    gc.collect(generation)
