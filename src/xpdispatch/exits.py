"""Status 1 for a program that ends with a failure that nobody saw.

Legate's shutdown callback finds the failure and prints it; but nothing that runs in ``atexit`` can change the
status of the process, except by ending it. So the last handler does that, when everything else is done.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable

_finish: Callable[[], None] | None = None
_watching = False


def watch() -> None:
    """Register the handler, once. Called before Legate is imported, it runs after Legate's own."""
    global _watching
    if not _watching:
        _watching = True
        atexit.register(_leave)


def fail(finish: Callable[[], None]) -> None:
    """End the process with status 1 in the end; `finish` shuts Legate down where that is still to be done."""
    global _finish
    _finish = finish


def _leave() -> None:
    if _finish is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
