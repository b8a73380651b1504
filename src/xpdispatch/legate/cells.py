"""In IPython and Jupyter: a cell whose launches failed ends with their exception, and not quietly."""

from __future__ import annotations

import sys
from typing import Any

from xpdispatch.legate import fences

_watched: Any = None
"""The shell whose cells are watched."""


def watch() -> None:
    """Have the shell, where there is one, look for failures at the end of each cell, the present one too."""
    global _watched  # noqa: PLW0603
    shell = _shell()
    if shell is None or shell is _watched:
        return
    shell.events.register("post_run_cell", _after_cell)
    _watched = shell


def _shell() -> Any:
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def _after_cell(result: Any) -> None:
    """Wait for what the cell launched, and show the first failure as the cell's own exception."""
    interrupted = result is None or isinstance(result.error_in_exec, KeyboardInterrupt)
    if interrupted or not fences.may_have_failed():
        return
    try:
        fences.synchronize()
    except Exception as error:  # noqa: BLE001  whatever a body raised
        shell = _shell()
        if result.success:  # what runs cell by cell stops here, and ends with status 1
            result.error_in_exec = error
            shell.last_execution_succeeded = False
        # Without the frames of this module: the notes say where the body raised, and in which call.
        shell.showtraceback((type(error), error, None))
