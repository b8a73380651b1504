"""A bar for work that takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def progress_bar(after: float = 2.0) -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar on a terminal for work that takes longer than `after` seconds; nothing elsewhere, or without rich."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("")
    start = time.monotonic()

    def show(done: int, of: int, what: str) -> None:
        if time.monotonic() - start > after and not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=of, description=what)

    try:
        yield show
    finally:
        bar.stop()
