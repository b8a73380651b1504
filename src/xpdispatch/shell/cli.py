"""``xpdispatch`` in the shell: finds the subcommand, and prints what is raised without the frames of the library."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import xpdispatch
from xpdispatch.errors import XPDispatchError

COMMANDS = {
    "doctor": "say what works here, and what fixes the rest",
    "run": "run a script under Legate's launcher, or without Legate",
    "explain": "say how a kernel's arrays will be cut, which are shared, what is reduced, and what moves",
    "check": "check that a kernel does not depend on how its arrays are cut",
}
"""By the name of the module in ``xpdispatch.shell``: what its ``main(words)`` does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="xpdispatch", description=xpdispatch.__doc__)
    parser.add_argument("--version", action="version", version=f"xpdispatch {xpdispatch.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        commands.add_parser(name, add_help=False, help=purpose)
    command = parser.parse_args(words[:1]).command
    try:
        return int(import_module(f"xpdispatch.shell.{command}").main(words[1:]))
    except XPDispatchError as error:
        print(f"xpdispatch: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        shown = _without_own_frames(error)
        if not shown:
            raise
        print("xpdispatch: the body raises on these arguments", *shown, sep="\n", file=sys.stderr)
        return 1


def _without_own_frames(error: Exception) -> list[str]:
    """The traceback of what a body raises, from its own lines on; nothing where no line of a user's is in it."""
    own = str(Path(xpdispatch.__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(own)]
    users = [f for f in frames if "site-packages" not in f.filename and f.name != "<module>"]
    if not users:
        return []
    text = [*traceback.format_list(frames[frames.index(users[0]) :]), *traceback.format_exception_only(error)]
    return "".join(text).rstrip().splitlines()
