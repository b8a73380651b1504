"""``xpdispatch`` in the shell: each subcommand is one library call."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import NoReturn

import xpdispatch
from xpdispatch import driver
from xpdispatch.errors import MissingError, XPDispatchError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="xpdispatch", description=xpdispatch.__doc__)
    parser.add_argument("--version", action="version", version=f"xpdispatch {xpdispatch.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser(
        "run",
        add_help=False,
        help="run a script under Legate's launcher: xpdispatch run [Legate's flags] script.py [its flags]",
    )
    parser.parse_known_args(words[:1])
    try:
        run(words[1:])
    except XPDispatchError as error:
        print(f"xpdispatch: {error}", file=sys.stderr)
        return 1


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
    if find_spec("legate") is None:
        raise MissingError("package 'legate' is not installed", hint="pip install 'xpdispatch[legate]'")
    driver.widen_window()
    environment = dict(os.environ)
    # Legate's launcher starts "python": let that be this one.
    environment["PATH"] = _prepend(str(Path(sys.executable).parent), environment.get("PATH"))
    flags: list[str] = []
    if not driver.has_driver():
        # The script may import cupynumeric before xpdispatch, so the linker must find the stand-in by itself.
        environment["LD_LIBRARY_PATH"] = _prepend(str(driver.shim().parent), environment.get("LD_LIBRARY_PATH"))
        flags = driver.missing_flags(list(takewhile(lambda word: not word.endswith(".py"), words)))
    # The last of two equal flags counts, so what the user says wins.
    line = [sys.executable, "-m", "legate.driver.driver_exec", *flags, *words]
    sys.stdout.flush()
    os.execve(sys.executable, line, environment)  # noqa: S606  to become the launcher is the point


def _prepend(directory: str, path: str | None) -> str:
    return directory + (os.pathsep + path if path else "")


if __name__ == "__main__":
    sys.exit(main())
