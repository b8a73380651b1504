"""``xpdispatch`` in the shell: finds the subcommand, and prints errors of ours without a traceback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

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
