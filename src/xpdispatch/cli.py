"""``xpdispatch`` in the shell: each subcommand is one library call."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import NoReturn

import xpdispatch
from xpdispatch import driver
from xpdispatch.errors import MissingError, PartitionWarning, XPDispatchError
from xpdispatch.explain import command as explain


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
    checks = commands.add_parser(
        "check",
        help="check that a kernel does not depend on how its arrays are cut",
        description="Check a kernel: xpdispatch check package.module:kernel x=1000,3:float32 data=50:int64:0..8 bins=9",
    )
    checks.add_argument("kernel", help="package.module:kernel, or path/to/file.py:kernel")
    checks.add_argument("arguments", nargs="*", metavar="NAME=...", help="extents and dtype of an array, or a value")
    checks.add_argument("--engines", metavar="IDS", help="numpy (the default), array_api_strict, torch, ..., legate")
    checks.add_argument("--seed", type=int, default=0, help="of the data and the tilings (default: 0)")
    checks.add_argument("--seconds", type=float, default=10.0, help="how long to look (default: 10)")
    checks.add_argument("--tiling", help='try this tiling alone, such as "i: 5 11; backward"')
    checks.add_argument("--data", help="'small integers', 'the arguments' or 'a NaN' alone")
    explain.add_to(commands)
    try:
        if words[:1] == ["run"]:
            run(words[1:])
        options = parser.parse_args(words)
        return explain.run(options) if options.command == "explain" else check(options)
    except XPDispatchError as error:
        print(f"xpdispatch: {error}", file=sys.stderr)
        return 1


def check(options: argparse.Namespace) -> int:
    """Check one kernel, and print what was done; the status is 1 where a check failed."""
    from xpdispatch.shell import load_kernel, make_arguments
    from xpdispatch.testing import check_kernel, checking

    kernel = load_kernel(options.kernel)
    arguments = make_arguments(kernel, options.arguments, options.seed)
    with progress_bar() as progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PartitionWarning)
        with checking(
            seed=options.seed,
            seconds=options.seconds,
            tiling=options.tiling,
            data=options.data,
            engines=tuple((options.engines or "numpy").split(",")),
            progress=progress,
        ):
            done = check_kernel(kernel, **arguments)
    for warning in caught:
        print(f"xpdispatch: {warning.message}", file=sys.stderr)
    print(f"{kernel!r}:", *(repr(result) for result in done), sep="\n  ")
    return 0


@contextmanager
def progress_bar(after: float = 2.0) -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar on a terminal for work that takes longer than `after` seconds; nothing elsewhere, or without rich."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("")
    start = time.monotonic()

    def show(done: int, of: int, what: str) -> None:
        if time.monotonic() - start > after and not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=of, description=what)

    try:
        yield show
    finally:
        bar.stop()


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


if __name__ == "__main__":
    sys.exit(main())
