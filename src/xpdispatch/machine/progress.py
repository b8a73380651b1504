"""A progress bar for work that takes long: on a terminal and in notebooks, and nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any, TypeAlias

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with how much is done, of how much, and what is being done."""

elsewhere = False
"""Whether another process of the same program shows the bars."""

_AFTER, _EVERY = 2.0, 0.1
_shown: ContextVar[bool] = ContextVar("shown", default=False)


@contextmanager
def progress_bar(after: float | None = None) -> Iterator[Progress]:
    """A bar for work that takes longer than `after` seconds (2), and is not a part of work that has one.

    Where standard error is not a terminal, and no notebook can show a bar, or without rich, nothing is shown.
    """
    if _shown.get() or not _can_show():
        yield _nowhere
        return
    from rich import progress
    from rich.console import Console

    # A thread that draws may collect garbage, and must not find Legate's stores in it: the thread that works draws it.
    bar = progress.Progress(
        console=Console(stderr=True), transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    )
    task = bar.add_task("")
    start = drawn = time.monotonic()

    def show(done: int, of: int, what: str) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - start < (_AFTER if after is None else after) or now - drawn < _EVERY:
            return
        drawn = now
        bar.update(task, completed=done, total=of, description=what)
        bar.start()
        bar.refresh()

    token = _shown.set(True)
    try:
        yield show
    finally:
        _shown.reset(token)
        bar.stop()


def _nowhere(done: int, of: int, what: str) -> None:
    pass


def _can_show() -> bool:
    if elsewhere or find_spec("rich") is None:
        return False
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell" and find_spec("ipywidgets") is not None
