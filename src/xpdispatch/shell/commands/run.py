"""``xpdispatch run``: a script under Legate's launcher, or with NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from xpdispatch.calling import engines
from xpdispatch.errors import ArgumentError
from xpdispatch.shell import launcher
from xpdispatch.shell.scripts import run_here

_HELP = """\
usage: xpdispatch run [--engine legate] [Legate's flags] script.py [its flags]
       xpdispatch run [--engine legate] [Legate's flags] -m module [its flags]
       xpdispatch run --engine local script.py [its flags]

Run a script under Legate's launcher (the default), or with NumPy alone in this process.

  --engine legate  Legate's launcher, with all of its flags. On a machine without an NVIDIA driver, what neither the
                   flags nor LEGATE_CONFIG say is chosen: --gpus 0, --sysmem (three quarters of the free memory), and
                   on one or two cores --cpus.
  --engine local   Without Legate. Arrays are NumPy's, engine("legate") means this process too, and cupynumeric
                   cannot be imported.
"""


def main(words: Sequence[str]) -> int:
    """Become Legate's launcher, or run the script here and return its status."""
    engine, rest = engine_of(words)
    if rest[:1] in (["-h"], ["--help"]):
        print(_HELP)
        if engine == "legate" and find_spec("legate") is not None:
            launcher.print_help()
        return 0
    if engine == "local":
        return run_here(rest)
    return launcher.prepare(rest).start()


def engine_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """The engine that ``--engine`` says before the script, and the words without it.

    Raises
    ------
    ArgumentError
        There is no such engine.
    """
    for place, word in enumerate(words):
        if word.endswith(".py") or word in ("-m", "--module"):
            break
        flag, equals, name = word.partition("=")
        if flag == "--engine":
            after = place + 1 if equals else place + 2
            name = name if equals else "".join(words[place + 1 : after])
            if name not in engines.ENGINES:
                said = f"there is no engine {name!r}" if name else "'--engine' names no engine"
                raise ArgumentError(said, hint=f"--engine is one of {', '.join(engines.ENGINES)}")
            return name, [*words[:place], *words[after:]]
    return "legate", list(words)
