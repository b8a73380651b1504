"""The long campaign: ``cd tests && python -m campaign --local 20000 --legate 2000 --seed 0``.

Every program is checked against plain NumPy in one tile, in random tiles, in small tiles on two threads, and, as many
as ``--legate`` says, on Legate with tiles forced; all in this process. ``--only SEED`` shows one program and runs it.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from .outcomes import ENGINES, Failure, check
from .programs import Program, program
from .shrinking import shrunk
from .stress import stress


def main() -> int:
    """Run the campaign; 1 where a program failed."""
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("--local", type=int, default=20_000, help="programs in this process")
    parser.add_argument("--legate", type=int, default=2_000, help="how many of them also run on Legate")
    parser.add_argument("--stress", type=int, default=20, help="chains of launches on Legate, failing ones among them")
    parser.add_argument("--seed", type=int, default=0, help="of the first program; the others follow")
    parser.add_argument("--only", type=int, help="one program: show its source and run it")
    parser.add_argument("--most", type=int, default=10, help="failures after which to stop")
    parser.add_argument("--log", type=Path, help="a file that names the program under way, for when the process dies")
    options = parser.parse_args()
    faulthandler.enable()
    if options.only is not None:
        return _show(options.only)
    covered: Counter[tuple[str, str]] = Counter()
    failures = []
    began = time.monotonic()
    every = max(1, options.local // options.legate) if options.legate else 0
    for n in range(options.local):
        seed = options.seed + n
        made = program(seed)
        engines = ENGINES if every and n % every == 0 else ENGINES[:-1]
        if options.log:
            options.log.write_text(f"{seed}\n")
        faulthandler.dump_traceback_later(60, exit=True)  # a hang
        covered.update(made.features())
        try:
            failure = check(made, engines, lambda *what: covered.update([what]))
        except Exception as error:
            print(made.snippet())
            raise RuntimeError(f"program {seed} is none") from error
        faulthandler.cancel_dump_traceback_later()
        if failure is not None:
            failures.append((seed, failure))
            _tell(made, failure, engines)
            if len(failures) >= options.most:
                break
        if (n + 1) % 1000 == 0:
            print(f"{n + 1} programs, {len(failures)} failures, {time.monotonic() - began:.0f} s", flush=True)
    for n in range(options.stress if options.legate else 0):
        faulthandler.dump_traceback_later(120, exit=True)
        covered.update([("stress on Legate", stress(options.seed + n))])
        faulthandler.cancel_dump_traceback_later()
    _table(covered)
    print(f"{len(failures)} failures in {time.monotonic() - began:.0f} s: {[seed for seed, _ in failures]}")
    return 1 if failures else 0


def _show(seed: int) -> int:
    made = program(seed)
    print(made.snippet())
    failure = check(made)
    print(failure)
    return 1 if failure else 0


def _tell(made: Program, failure: Failure, engines: tuple[str, ...]) -> None:
    small, again = shrunk(made, failure, engines)
    print(
        f"\n==== program {made.seed}: {again.kind} on {again.engine}\n{again.text}\n\n{small.snippet()}\n", flush=True
    )


def _table(covered: Counter[tuple[str, str]]) -> None:
    groups: dict[str, list[str]] = {}
    for (group, what), count in sorted(covered.items()):
        groups.setdefault(group, []).append(f"{what} {count}")
    for group, entries in groups.items():
        print(f"{group:18} {', '.join(entries)}")


_ = replace
if __name__ == "__main__":
    sys.exit(main())
