"""Time that a piece of work may take."""

from __future__ import annotations

import time


class Clock:
    """Time that is left: what this thread works itself, so that a busy machine changes no answer.

    Of all time it takes ten times as much at most, as where the body waits or other threads work for it.
    """

    def __init__(self, seconds: float) -> None:
        self.start = time.monotonic()
        self.end = self.start + 10 * seconds
        self.last = time.thread_time() + seconds

    @property
    def over(self) -> bool:
        """Whether it has none left."""
        return time.thread_time() > self.last or time.monotonic() > self.end

    @property
    def spent(self) -> float:
        """Seconds since the start, of all time."""
        return time.monotonic() - self.start
