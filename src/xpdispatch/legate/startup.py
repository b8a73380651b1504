"""How Legate is started: the flags that it gets, and what is done when a program imports it.

``import xpdispatch`` installs a hook and nothing else. Where ``legate`` is imported, at any later time, the hook
loads what the machine lacks (``nvidia_libraries.py``) and completes ``LEGATE_CONFIG`` and ``LEGION_DEFAULT_ARGS``,
which Legate reads when it starts. What the user has set there stays.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from xpdispatch.legate import companions
from xpdispatch.legate import nvidia_libraries as driver
from xpdispatch.machine import exits, hardware, memory


def prepare(package: Path | None = None) -> None:
    """Make ``import legate`` work where there is no driver, and safe everywhere.

    Everywhere it completes ``LEGION_DEFAULT_ARGS``, what several processes need (``companions.py``), and loads the
    CUDA runtime that Legate, in the folder `package`, does not find. Without a driver it loads the stand-in and
    completes ``LEGATE_CONFIG``, for the share of the machine that this process has.
    """
    exits.watch()
    runtime = driver.cuda_runtime(package) if package else None
    if runtime is not None:
        ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
    config = shlex.split(os.environ.get("LEGATE_CONFIG", ""))
    gpus = driver.has_driver() or not sys.platform.startswith("linux")
    place = companions.place()
    if not gpus:
        driver.load_stand_in()
        config += missing_flags(config, place.here)
        os.environ["LEGATE_CONFIG"] = shlex.join(config)
    if place.processes > 1:
        os.environ.update(companions.settings(os.environ, place.here))
        companions.take_share(place)
    os.environ["LEGION_DEFAULT_ARGS"] = legion_arguments(config, gpus=gpus)


def legion_arguments(config: Sequence[str], *, gpus: bool) -> str:
    """``LEGION_DEFAULT_ARGS`` for a program with these flags of Legate's: as they are, with a wide window, and quiet.

    Dropping an array is an operation for Legion too, and Python drops it with its lock held: a program that has to
    wait there, while a task in Python waits for the lock, hangs for ever. So Legion may take more operations before
    it makes the program wait.

    Lines that say what is known are left out: that there is no GPU, and that there are fewer cores than threads of
    Legate's. What the user sets for these two loggers, or for all, stays.
    """
    words = os.environ.get("LEGION_DEFAULT_ARGS", "").split()
    if "-lg:window" not in words:
        words += ["-lg:window", "65536"]
    levels = ",".join([*flag_values(words, "-level"), *flag_values(config, "--logging")])
    said = {level.rpartition("=")[0] for level in levels.split(",") if level}
    wanted = [] if gpus else ["gpu=6"]  # no message at all
    if all(int(n) <= hardware.cores() for n in flag_values(config, "--cpus") if n.isdecimal()):
        wanted.append("threads=5")  # errors alone
    wanted = [level for level in wanted if not said & {"", level.split("=")[0]}]
    return " ".join(words + (["-level", ",".join(wanted)] if wanted else []))


def flag_values(words: Sequence[str], flag: str) -> list[str]:
    """What words such as ``--cpus 2`` and ``--cpus=2`` set a flag to, the last one last."""
    parts = [part for word in words for part in (word.split("=", 1) if word.startswith(f"{flag}=") else [word])]
    return [value for name, value in pairwise(parts) if name == flag]


def window() -> int:
    """How many operations Legion takes at once, as far as its environment tells; its default is 1,024."""
    words = os.environ.get("LEGION_DEFAULT_ARGS", "").split()
    said = [value for value in flag_values(words, "-lg:window") if value.isdecimal()]
    return int(said[-1]) if said else 1024


def missing_flags(words: Sequence[str], here: int = 1) -> list[str]:
    """Legate's flags that a machine without a driver needs and `words` do not have, for one of so many processes on it.

    Legate's automatic configuration fails without ``--gpus 0``, and on two cores or fewer, or for several processes,
    without ``--cpus``. Its memory is a share of the machine's, whatever this process may have of it, or 256 MB without
    the automatic configuration; here it is a share of what is free.
    """
    flags = {word.split("=")[0] for word in words}
    missing = [] if "--gpus" in flags else ["--gpus", "0"]
    cores = max(1, hardware.cores() // here)
    if not flags & {"--cpus", "--omps"} and (here > 1 or cores <= 2):
        missing += ["--cpus", str(cores if cores <= 2 else cores - 1)]  # one for what watches the network
    free = hardware.free_memory()
    if free and not flags & {"--sysmem", "--numamem", "--omps"}:
        # The rest is for Python and the temporaries of bodies.
        missing += ["--sysmem", str(free * 3 // 4 // here >> 20)]
    return missing


class _BeforeLegate:
    """A finder that hands on what the others find for ``legate``, with :func:`prepare` before its first line.

    What ``legate.core`` reserves, when it starts the runtime, is asked for in huge pages where there is no GPU, whose
    driver would have a say in it. Looking for a package (``importlib.util.find_spec``) does nothing; importing it does.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in ("legate", "legate.core"):
            return None
        others = (f for f in sys.meta_path if f is not self)
        spec = next((s for s in (f.find_spec(name, path, target) for f in others) if s is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute, package = spec.loader.exec_module, package_of(spec)

        def exec_module(module: ModuleType) -> None:
            if name == "legate":
                prepare(package)
                execute(module)
                return
            before = memory.mappings()
            execute(module)
            if not driver.has_driver():
                memory.ask_for_huge_pages(memory.mappings() - before)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # this loader's alone
        return spec


def package_of(spec: ModuleSpec) -> Path | None:
    """The folder of a package."""
    return next(map(Path, spec.submodule_search_locations or ()), None)


@contextmanager
def unprepared() -> Iterator[None]:
    """Import parts of Legate that start nothing, such as its launcher's parser; they are forgotten afterwards."""
    before, finders = set(sys.modules), sys.meta_path[:]
    sys.meta_path[:] = [finder for finder in finders if not isinstance(finder, _BeforeLegate)]
    try:
        yield
    finally:
        sys.meta_path[:] = finders
        for name in set(sys.modules) - before:
            if name.split(".")[0] == "legate":
                del sys.modules[name]


def install_import_hook() -> None:
    """Prepare for Legate when, and only when, it is imported."""
    if "legate" not in sys.modules:
        sys.meta_path.insert(0, _BeforeLegate())
