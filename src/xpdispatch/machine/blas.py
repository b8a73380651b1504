"""The threads that BLAS and its like start themselves: one for each of ours while any call runs in tiles.

Beside several processors of Legate's it is one for each of them, from the first launch on.

Needs threadpoolctl; without it they start as many as they like.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib.util import find_spec
from typing import Any


class _OneThreadEach:
    """A context in which BLAS starts no threads, entered by any number of calls at once."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit: Any = None
        self._controller: Any = None
        self._modules = 0
        self._held = False

    def hold(self) -> None:
        """Enter for good. Again, it is for libraries that were loaded since."""
        with self._lock:
            if self._held and len(sys.modules) == self._modules:
                return
            self._users += not self._held
            self._held = True
            limit = self._limited()
            self._limit = self._limit or limit

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._limit = self._limited()
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._limit is not None:
                self._limit.restore_original_limits()
                self._limit = None

    def _limited(self) -> Any:
        if len(sys.modules) != self._modules:  # a module may have brought a library: looking takes 2 ms
            self._controller = _controller()
            self._modules = len(sys.modules)
        return None if self._controller is None else self._controller.limit(limits=1)

    def after_fork(self) -> None:
        """In the child, which has none of the threads that limited them."""
        limit = self._limit
        self.renew()
        if limit is not None:
            limit.restore_original_limits()


def _controller() -> Any:
    if "threadpoolctl" not in sys.modules and find_spec("threadpoolctl") is None:
        return None
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()


one_thread_each = _OneThreadEach()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=one_thread_each.after_fork)
