"""Status 1 for a program that ends with a failure that nobody saw.

Nothing that runs in ``atexit`` can change the status of a process, except by ending it. So a handler does that.
Registered before Legate is imported it runs after Legate's own, when everything else is done. Where the
program imports Legate first, it runs before Legate's own, and shuts Legate down itself; of the program's
handlers, those that it registered before the first kernel ran on Legate are then left out.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress

_watching = False
_failed = False


def watch(report: Callable[[], None] | None = None, finish: Callable[[], None] | None = None) -> None:
    """Register the handler, once.

    `report` looks for a failure and calls :func:`fail`, and `finish` shuts Legate down; they are needed where
    Legate's own handler is registered already.
    """
    global _watching  # noqa: PLW0603  one process, one end
    if _watching:
        return
    _watching = True

    def leave() -> None:
        if report is not None:
            report()
        if not _failed:
            return
        if finish is not None:
            finish()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # closed, or None
                stream.flush()
        os._exit(1)

    atexit.register(leave)


def fail() -> None:
    """Let the process end with status 1."""
    global _failed  # noqa: PLW0603
    _failed = True
