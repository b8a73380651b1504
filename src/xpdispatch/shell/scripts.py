"""A script in this process with NumPy alone, as if Legate were not there."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import NoReturn

from xpdispatch.calling import engines
from xpdispatch.errors import ArgumentError, MissingError
from xpdispatch.shell.launcher import NO_CODE

_LEGATES = ("legate", "cupynumeric")


def run_here(words: Sequence[str]) -> int:
    """Run a script, or a module, in this process and without Legate; return its status.

    ``engine("legate")`` stands for this process as well, :func:`~xpdispatch.array_module` is NumPy, and the packages
    of Legate cannot be imported.

    Parameters
    ----------
    words : sequence of str
        A script, or ``-m`` and a module; then the script's flags.

    Raises
    ------
    ArgumentError
        There are other flags before the script, or there is no script.
    MissingError
        There is no such file.
    """
    _check(words)
    os.environ.pop("LEGATE_CONFIG", None)  # by which a program knows that Legate's launcher started it
    engines.instead["legate"] = "local"
    sys.meta_path.insert(0, _NoLegate())
    module = words[0] in ("-m", "--module")
    sys.argv[:] = words[module:]
    if not sys.flags.safe_path:
        sys.path[0] = str(Path.cwd()) if module else str(Path(words[0]).resolve().parent)
    try:
        if module:
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    except Exception as error:  # noqa: BLE001  shown as Python shows it, but for our own frames
        error.__traceback__ = _below_ours(error.__traceback__)
        if module and error.__traceback__ is None and isinstance(error, ImportError):
            hint = "run from the folder that holds it, and name what python -m can run"
            raise MissingError(str(error), hint=hint) from None
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _check(words: Sequence[str]) -> None:
    word = next(iter(words), "")
    if not word or list(words) in (["-m"], ["--module"]):
        raise ArgumentError(
            "'xpdispatch run --engine local' names no script",
            hint="xpdispatch run --engine local script.py [its flags]",
        )
    if word == "-c":
        raise ArgumentError("'xpdispatch run' takes no -c", hint=NO_CODE)
    if word.startswith("-") and word not in ("-m", "--module"):
        raise ArgumentError(
            f"{word!r} before the script is a flag of Legate's launcher, and '--engine local' runs without Legate",
            hint="leave it out; XPDISPATCH_NUM_THREADS says how many threads a call uses",
        )
    if not word.startswith("-") and not Path(word).exists():
        raise MissingError(f"there is no file {word!r}", hint="give the script's path from this folder")


def _below_ours(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback from the script's first line on, as Python itself would show it; None if it never began."""
    ours = (__file__, runpy.__file__, "<frozen runpy>")
    while traceback is not None and traceback.tb_frame.f_code.co_filename in ours:
        traceback = traceback.tb_next
    return traceback


class _NoLegate:
    """A finder that refuses to import Legate's packages, with the remedy; looking for them finds them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in _LEGATES else None  # type: ignore[arg-type]  # a loader by its methods

    def create_module(self, spec: ModuleSpec) -> NoReturn:
        raise MissingError(
            f"the program imports {spec.name!r}, and 'xpdispatch run --engine local' runs programs without Legate",
            hint="build the arrays with numpy, or with xpdispatch.array_module(), which is cupynumeric under Legate; "
            "or run the program with --engine legate",
        )

    def exec_module(self, module: ModuleType) -> None:
        """Never reached."""
