"""Python's cyclic garbage collector, which must stay off while worker threads run beside Legate."""

from __future__ import annotations

import gc
import os
import sys
import threading


class _Collector:
    """The collector, switched off while anybody holds it.

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
