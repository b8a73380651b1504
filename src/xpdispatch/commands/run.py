"""``xpdispatch run``: a script under Legate's launcher."""

from __future__ import annotations

from collections.abc import Sequence

from xpdispatch.launcher import run


def main(words: Sequence[str]) -> int:
    """Become Legate's launcher."""
    run(words)
