"""The long campaign: ``cd tests && python -m campaign --local 20000 --legate 2000 --seed 0``.

Every program is checked against plain NumPy in one tile, in random tiles, in small tiles on two threads, on torch and
JAX where they are installed and the program suits them, and, as many as ``--legate`` says, on Legate with tiles forced;
all in this process. ``--only SEED`` shows one program and runs it.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from collections import Counter
from pathlib import Path

from . import source
from .calls import ENGINES
from .drawing import program
from .outcomes import Failure, check
from .programs import Program
from .shrinking import shrunk
from .stress import stress

HANGS = 120
"""Seconds after which a program is said to hang."""


def main() -> int:
    """Run the campaign; 1 where a program failed."""
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("--local", type=int, default=20_000, help="programs in this process")
    parser.add_argument("--legate", type=int, default=2_000, help="how many of them also run on Legate")
    parser.add_argument("--engine", choices=ENGINES, help="all programs, on this engine alone")
    parser.add_argument("--stress", type=int, default=100, help="chains of launches on Legate, failing ones among them")
    parser.add_argument("--seed", type=int, default=0, help="of the first program; the others follow")
    parser.add_argument("--only", type=int, metavar="SEED", help="one program: show its source and run it")
    parser.add_argument("--most", type=int, default=10, help="failures after which to stop")
    parser.add_argument("--log", type=Path, help="a file that names the program under way, for when the process dies")
    options = parser.parse_args()
    faulthandler.enable()
    if options.only is not None:
        print(source.snippet(program(options.only)))
        failure = check(program(options.only))
        print(failure or "no failure")
        return 1 if failure else 0
    covered: Counter[tuple[str, str]] = Counter()
    failed: list[int] = []
    began = time.monotonic()
    for n, seed in enumerate(range(options.seed, options.seed + options.local)):
        if options.log:
            options.log.write_text(f"{seed}\n")
        on_legate = n * options.legate // options.local < (n + 1) * options.legate // options.local
        engines = (options.engine,) if options.engine else ENGINES if on_legate else ENGINES[:-1]
        faulthandler.dump_traceback_later(HANGS, exit=True)
        made = program(seed)
        covered.update(made.features())
        failure = check(made, engines, lambda *what: covered.update([what]))
        faulthandler.cancel_dump_traceback_later()
        if failure is not None:
            failed.append(seed)
            _tell(made, failure, engines)
            if len(failed) >= options.most:
                break
        if (n + 1) % 1000 == 0:
            print(f"{n + 1} programs, {len(failed)} failures, {time.monotonic() - began:.0f} s", flush=True)
    for n in range(options.stress if options.legate and not options.engine else 0):
        faulthandler.dump_traceback_later(HANGS, exit=True)
        covered.update([("stress on Legate", f"{stress(options.seed + n)} failing launches")])
        faulthandler.cancel_dump_traceback_later()
    _table(covered)
    print(f"{len(failed)} failures in {time.monotonic() - began:.0f} s: {failed}")
    return 1 if failed else 0


def _tell(made: Program, failure: Failure, engines: tuple[str, ...]) -> None:
    small, again = shrunk(made, failure, engines)
    print(f"\n==== program {made.seed}: {again.kind} on {again.engine}\n{again.text}\n\n{source.snippet(small)}\n")


def _table(covered: Counter[tuple[str, str]]) -> None:
    groups: dict[str, list[str]] = {}
    for (group, what), count in sorted(covered.items()):
        groups.setdefault(group, []).append(f"{what} {count}")
    for group, entries in groups.items():
        print(f"{group:22} {', '.join(entries)}")


if __name__ == "__main__":
    sys.exit(main())
