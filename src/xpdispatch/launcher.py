"""Legate's launcher, on machines without an NVIDIA driver too."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import NoReturn

from xpdispatch import driver
from xpdispatch.errors import MissingError


def run(words: Sequence[str]) -> NoReturn:
    """Become Legate's launcher, on machines without an NVIDIA driver too.

    Parameters
    ----------
    words : sequence of str
        Legate's own flags, a script, and the script's flags.

    Raises
    ------
    MissingError
        Legate is not installed, or the driver's stand-in cannot be made.
    """
    spec = find_spec("legate")
    if spec is None:
        raise MissingError("package 'legate' is not installed", hint="pip install 'xpdispatch[legate]'")
    driver.widen_window()
    environment = dict(os.environ)
    # Legate's launcher starts "python": let that be this one.
    environment["PATH"] = _prepend(str(Path(sys.executable).parent), environment.get("PATH"))
    flags: list[str] = []
    # The script may import cupynumeric before xpdispatch, so the linker must find these by itself.
    package = driver.package_of(spec)
    runtime = driver.cuda_runtime(package) if package else None
    if runtime is not None:
        environment["LD_LIBRARY_PATH"] = _prepend(str(runtime.parent), environment.get("LD_LIBRARY_PATH"))
    if not driver.has_driver():
        environment["LD_LIBRARY_PATH"] = _prepend(str(driver.shim().parent), environment.get("LD_LIBRARY_PATH"))
        flags = driver.missing_flags(list(takewhile(lambda word: not word.endswith(".py"), words)))
    # The last of two equal flags counts, so what the user says wins.
    line = [sys.executable, "-m", "legate.driver.driver_exec", *flags, *words]
    sys.stdout.flush()
    os.execve(sys.executable, line, environment)  # noqa: S606  to become the launcher is the point


def _prepend(directory: str, path: str | None) -> str:
    return directory + (os.pathsep + path if path else "")
