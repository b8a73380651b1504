"""``xpdispatch run``: a script under Legate's launcher, or with NumPy alone in this process."""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn

from xpdispatch.calling import engines
from xpdispatch.errors import ArgumentError, MissingError
from xpdispatch.legate import companions, startup
from xpdispatch.legate import nvidia_libraries as driver
from xpdispatch.machine.packages import install_command

_HELP = """\
usage: xpdispatch run [--engine legate] [Legate's flags] script.py [its flags]
       xpdispatch run [--engine legate] [Legate's flags] -m module [its flags]
       xpdispatch run --engine local script.py [its flags]

Run a script under Legate's launcher (the default), or with NumPy alone in this process.

  --engine legate  Legate's launcher, with all of its flags. On a machine without an NVIDIA driver, what neither the
                   flags nor LEGATE_CONFIG say is chosen: --gpus 0, --sysmem (three quarters of the free memory, shared
                   by the processes), and for several processes, or on one or two cores, --cpus. Two processes on this
                   machine: --ranks-per-node 2 --launcher mpirun. What MPI, UCX and Realm need for that is set, too.
  --engine local   Without Legate. Arrays are NumPy's, engine("legate") means this process too, and cupynumeric
                   cannot be imported.
"""
_NO_CODE = "put the program in a file, or name a module by -m"


def main(words: Sequence[str]) -> int:
    """Become Legate's launcher, or run the script here and return its status."""
    engine, rest = engine_of(words)
    if rest[:1] in (["-h"], ["--help"]):
        print(_HELP)
        if engine == "legate" and find_spec("legate") is not None:
            with _legates_parser() as parser:
                parser.print_help()
        return 0
    if engine == "legate":
        line, environment = legate_command(rest)
        sys.stdout.flush()
        os.execve(line[0], line, environment)  # noqa: S606  to become it is the point
    return run_here(rest)


def engine_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """The engine that ``--engine`` says before the script, and the words without it."""
    for place, word in enumerate(words):
        if word.endswith(".py") or word in ("-m", "--module"):
            break
        flag, equals, name = word.partition("=")
        if flag == "--engine":
            after = place + 1 if equals else place + 2
            name = name if equals else "".join(words[place + 1 : after])
            if name not in engines.ENGINES:
                said = f"there is no engine {name!r}" if name else "'--engine' needs the name of an engine"
                raise ArgumentError(said, hint=f"--engine is one of {', '.join(engines.ENGINES)}")
            return name, [*words[:place], *words[after:]]
    return "legate", list(words)


# -- under Legate's launcher --------------------------------------------------------------------------------


def legate_command(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The command line that starts Legate's launcher, and the environment that it gets.

    What the words and ``LEGATE_CONFIG`` leave open is settled in ``LEGATE_CONFIG``, which Legate's launcher reads
    before its command line. Machines beside this one may be others: for them Legate chooses.
    """
    spec = find_spec("legate")
    if spec is None:
        local = "xpdispatch run --engine local script.py"
        raise MissingError(
            "package 'legate' is not installed", hint=f"{install_command('legate')}, or leave Legate out: {local}"
        )
    config = shlex.split(os.environ.get("LEGATE_CONFIG", ""))
    options, flags = _read([*config, *words])
    environment = dict(os.environ)

    def prepend(variable: str, folder: Path) -> None:
        environment[variable] = os.pathsep.join(filter(None, (str(folder), environment.get(variable))))

    prepend("PATH", Path(sys.executable).parent)  # Legate's launcher starts "python": let that be this one
    here, more = int(options.ranks_per_node), list[str]()
    several = options.nodes * here > 1
    if several:
        if options.launcher == "none" and companions.place() == companions.ALONE:
            raise ArgumentError(
                f"nothing starts {options.nodes * here} processes: the line has no --launcher",
                hint="add --launcher mpirun, or srun in a batch job",
            )
        companions.check(options.launcher, networks())
        environment |= companions.settings(environment, here if options.nodes == 1 else 0)
        if options.nodes == 1 and options.launcher == "mpirun" and is_open_mpi():
            more = ["--launcher-extra=--oversubscribe"]  # as many as are asked for, whatever the number of cores
    gpus = True  # as far as anybody here can know
    if options.nodes == 1:
        _check_program(options)
        # The script may import cupynumeric before xpdispatch, so the linker must find these by itself.
        package = startup.package_of(spec)
        runtime = driver.cuda_runtime(package) if package else None
        if runtime is not None:
            prepend("LD_LIBRARY_PATH", runtime.parent)
        gpus = driver.has_driver()
        if not gpus:
            prepend("LD_LIBRARY_PATH", driver.shim().parent)
            environment["LEGATE_CONFIG"] = shlex.join([*config, *startup.missing_flags(flags, here)])
    environment["LEGION_DEFAULT_ARGS"] = startup.legion_arguments(flags, gpus=gpus)
    return [sys.executable, "-m", "legate.driver.driver_exec", *more, *words], environment


def networks() -> list[str]:
    """The networks that Legate was built with; it must be installed."""
    with startup.unprepared():
        info: Any = import_module("legate.install_info")
        return list(info.networks)


def is_open_mpi() -> bool:
    """Whether ``mpirun`` is Open MPI's."""
    said = subprocess.run(["mpirun", "--version"], capture_output=True, text=True, check=False)  # noqa: S607
    return "open mpi" in said.stdout.lower() or "openrte" in said.stdout.lower()


@contextmanager
def _legates_parser() -> Iterator[Any]:
    with startup.unprepared():
        parser: Any = import_module("legate.driver.args").parser
        parser.prog = "legate"
        yield parser


def _read(words: Sequence[str]) -> tuple[Any, list[str]]:
    """What Legate's own parser makes of the words, and those that are flags of Legate's."""

    def refuse(message: str) -> NoReturn:
        hint = _NO_CODE if "-c" in words else "'xpdispatch run --help' lists its flags; --engine goes first"
        raise ArgumentError(f"Legate's launcher says: {message}", hint=hint)

    with _legates_parser() as parser:
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
        _check_file(program)
    elif shutil.which(program) is None:
        raise MissingError(
            f"there is no program {program!r}", hint="a script's name ends in .py; a module is run by -m"
        )


def _check_file(path: str) -> None:
    if not Path(path).exists():
        raise MissingError(f"there is no file {path!r}", hint="give the script's path from this folder")


# -- with NumPy alone ---------------------------------------------------------------------------------------


def run_here(words: Sequence[str]) -> int:
    """Run a script, or a module, in this process and without Legate; return its status.

    ``engine("legate")`` stands for this process as well, :func:`~xpdispatch.array_module` is NumPy, and the packages
    of Legate cannot be imported.
    """
    first = next(iter(words), "")
    module = first in ("-m", "--module")
    _check_words(words, first, module=module)
    os.environ.pop("LEGATE_CONFIG", None)  # by which a program knows that Legate's launcher started it
    engines.instead["legate"] = "local"
    sys.meta_path.insert(0, _NoLegate())
    sys.argv[:] = words[module:]
    if not sys.flags.safe_path:
        sys.path[0] = str(Path.cwd()) if module else str(Path(first).resolve().parent)
    try:
        if module:
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(first, run_name="__main__")
    except Exception as error:  # noqa: BLE001  shown as Python shows it, but for our own frames
        error.__traceback__ = _below_ours(error.__traceback__)
        if module and error.__traceback__ is None and isinstance(error, ImportError):
            hint = "run from the folder that holds it, and name what python -m can run"
            raise MissingError(str(error), hint=hint) from None
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _check_words(words: Sequence[str], first: str, *, module: bool) -> None:
    if not first or (module and len(words) == 1):
        raise ArgumentError(
            "'xpdispatch run --engine local' needs a script",
            hint="xpdispatch run --engine local script.py [its flags]",
        )
    if first == "-c":
        raise ArgumentError("'xpdispatch run' does not take -c", hint=_NO_CODE)
    if first.startswith("-") and not module:
        raise ArgumentError(
            f"{first!r} before the script is a flag of Legate's launcher, and '--engine local' runs without Legate",
            hint="leave it out; XPDISPATCH_NUM_THREADS says how many threads a call uses",
        )
    if not module:
        _check_file(first)


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
        if name not in ("legate", "cupynumeric"):
            return None
        return ModuleSpec(name, self)  # type: ignore[arg-type]  # a loader by its methods

    def create_module(self, spec: ModuleSpec) -> NoReturn:
        raise MissingError(
            f"the program imports {spec.name!r}, and 'xpdispatch run --engine local' runs programs without Legate",
            hint="build the arrays with numpy, or with xpdispatch.array_module(), which is cupynumeric under Legate; "
            "or run the program with --engine legate",
        )

    def exec_module(self, module: ModuleType) -> None:
        """Never reached."""
