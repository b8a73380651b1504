"""A script under Legate's launcher, on machines without an NVIDIA driver too."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from xpdispatch.errors import ArgumentError, MissingError
from xpdispatch.legate import driver

NO_CODE = "put the program in a file, or name a module by -m"


@dataclass(frozen=True, slots=True)
class Launch:
    """What becomes of ``xpdispatch run``: a command line, and the environment that it gets.

    Parameters
    ----------
    line : tuple of str
        Python, Legate's launcher, and the words that were given, as they were.
    environment : mapping
    """

    line: tuple[str, ...]
    environment: Mapping[str, str]

    def start(self) -> NoReturn:
        """Become that program."""
        sys.stdout.flush()
        os.execve(self.line[0], self.line, dict(self.environment))  # noqa: S606  to become it is the point


def prepare(words: Sequence[str]) -> Launch:
    """How Legate's launcher is to be started.

    What the words and ``LEGATE_CONFIG`` leave open is settled in ``LEGATE_CONFIG``, which Legate's launcher reads
    before its command line. Several processes, on this machine or others, are left to Legate.

    Parameters
    ----------
    words : sequence of str
        Legate's own flags, a script, and the script's flags.

    Raises
    ------
    ArgumentError
        Legate's launcher does not know a flag.
    MissingError
        There is no such script, Legate is not installed, or the driver's stand-in cannot be made.
    """
    spec = find_spec("legate")
    if spec is None:
        raise MissingError(
            "package 'legate' is not installed",
            hint="pip install 'xpdispatch[legate]', or leave Legate out: xpdispatch run --engine local script.py",
        )
    config = shlex.split(os.environ.get("LEGATE_CONFIG", ""))
    options, flags = _read([*config, *words])
    environment = dict(os.environ)
    # Legate's launcher starts "python": let that be this one.
    environment["PATH"] = _prepend(str(Path(sys.executable).parent), environment.get("PATH"))
    gpus = True  # as far as anybody here can know
    if options.launcher == "none" and options.nodes * options.ranks_per_node == 1:
        _check_program(options)
        # The script may import cupynumeric before xpdispatch, so the linker must find these by itself.
        package = driver.package_of(spec)
        runtime = driver.cuda_runtime(package) if package else None
        if runtime is not None:
            environment["LD_LIBRARY_PATH"] = _prepend(str(runtime.parent), environment.get("LD_LIBRARY_PATH"))
        gpus = driver.has_driver()
        if not gpus:
            environment["LD_LIBRARY_PATH"] = _prepend(str(driver.shim().parent), environment.get("LD_LIBRARY_PATH"))
            environment["LEGATE_CONFIG"] = shlex.join([*config, *driver.missing_flags(flags)])
    environment["LEGION_DEFAULT_ARGS"] = driver.legion_arguments(flags, gpus=gpus)
    return Launch((sys.executable, "-m", "legate.driver.driver_exec", *words), environment)


def print_help() -> None:
    """Print the flags that Legate's own launcher has."""
    with driver.unprepared():
        parser: Any = import_module("legate.driver.args").parser
        parser.prog = "legate"
        parser.print_help()


def _read(words: Sequence[str]) -> tuple[Any, list[str]]:
    """What Legate's own parser makes of the words, and those that are flags of Legate's."""

    def refuse(message: str) -> NoReturn:
        hint = NO_CODE if "-c" in words else "'xpdispatch run --help' lists its flags; --engine goes first"
        raise ArgumentError(f"Legate's launcher says: {message}", hint=hint)

    with driver.unprepared():
        parser: Any = import_module("legate.driver.args").parser
        parser.error = refuse  # which would print all its flags
        options = parser.parse_args(list(words))
    program = [*(options.module or ()), *options.command]
    return options, list(words[: len(words) - len(program)])


def _check_program(options: Any) -> None:
    """Say so where there is no such script, or no such program; none at all is a Python prompt."""
    if options.module or not options.command:
        return
    program = options.command[0]
    if program.endswith(".py") or options.run_mode == "python":
        if not Path(program).exists():
            raise MissingError(f"there is no file {program!r}", hint="give the script's path from this folder")
    elif shutil.which(program) is None:
        raise MissingError(
            f"there is no program {program!r}", hint="a script's name ends in .py; a module is run by -m"
        )


def _prepend(directory: str, path: str | None) -> str:
    return directory + (os.pathsep + path if path else "")
