"""Programs of many kinds: kernels of ours against the same bodies called by hand, at three sizes.

    python benchmarks/suite.py [--only gemm life] [--sizes small middle large] [--rounds 3]
                               [--numba-bodies] [--no-legate]

Each program is one driver (``suite_programs``), called with kernels and with what somebody writes with NumPy alone;
answers are compared before anything is timed. A ratio is one of medians, our time over another side's, taken in turns,
in an order drawn anew in each round: below 1 we are faster.

`over NumPy, 1` holds NumPy's BLAS to one thread as well, `over NumPy, 2` gives two to both. `over numba` is over a
plain loop that numba compiles, on one thread each; with --numba-bodies, which takes some seconds for each body, over
the fastest of that and the bodies by hand as numba compiles them. `limit` is what no program can do without, on one
thread, over our time on one: a copy of as many bytes as its calls read and write or, where that takes more, the
products of its matrices alone. `us a call` is what a call of ours takes more than its body, where a body takes less
than 0.1 ms.

On Legate, in a process with two CPUs, the other side are cuPyNumeric's own functions. Without --sizes the small sizes
are left out there: they would measure launches alone, which overheads.py does.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from measuring import (
    Row,
    Scopes,
    Sides,
    Tell,
    about_this_machine,
    copy_of,
    medians,
    print_row,
    rows_of_child,
    settled,
    show,
    tell,
)
from suite_programs import PROGRAMS, SIZES, Program
from suite_programs.program import check, several
from xpdispatch import synchronize, threads
from xpdispatch.machine.progress import progress_bar

RESULTS = Path(__file__).with_name("results") / "suite.json"
CPUS = 2
WITHIN, LEAST = 0.4, 1e-3
"""Seconds for the rounds of a program that is short, and for a turn of a side that is shorter still."""

PART, OVERHEAD = 1.05, 4.5e-6
"""A call may take so many times what its body takes, or so many seconds more."""

COLUMNS = ("program", "size", "ms", "over NumPy, 1", "over NumPy, 2", "over numba", "limit", "us a call")
FORMATS = {"ms": ".3f", "us a call": ".1f"}

BY_NUMBA = ("numba", "numba, bodies", "numba, parallel")
"""A plain loop, bodies by hand, and these with `parallel=True`, which puts loops together; all on one thread."""

Case = tuple[Program, str]


def label(program: Program, size: str) -> str:
    return f"{program.name}, {size}"


# -- in this process ------------------------------------------------------------------------------------------------


def traffic(program: Program, values: tuple[Any, ...]) -> list[int]:
    """Bytes that each call of the program reads and writes."""
    sizes: list[int] = []

    def noted(made: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            results = made(*args, **kwargs)
            operands = {id(value): value for value in args}.values()
            sizes.append(sum(value.nbytes for value in (*operands, *several(results)) if hasattr(value, "nbytes")))
            return results

        return call

    program.drive(SimpleNamespace(**{name: noted(made) for name, made in program.kernels.items()}), *values)
    return sizes


@cache
def blas() -> Any:
    """What holds BLAS to a number of threads."""
    if find_spec("threadpoolctl") is None:
        raise SystemExit('BLAS must be held to one thread: pip install "xpdispatch[fast]"')
    from threadpoolctl import ThreadpoolController

    if find_spec("scipy"):
        import scipy.linalg  # noqa: F401  numba's products are done by its BLAS
    return ThreadpoolController()


@contextmanager
def limited(count: int) -> Iterator[None]:
    """So many threads at most, of BLAS and of ours."""
    with blas().limit(limits=count), threads(count):
        yield


def sides_here(program: Program, values: tuple[Any, ...]) -> Sides:
    """NumPy, ours, and numba where it is installed and the program is written as a plain loop."""
    ours, plain = (partial(program.drive, call, *values) for call in (program.ours, program.plain(np)))
    sides: Sides = {"NumPy, 1": plain, "ours, 1": ours, "ours, 2": ours}
    if program.blas:
        sides["NumPy, 2"] = plain
    if program.loop and find_spec("numba"):
        from suite_programs.compiled import njit

        sides["numba"] = partial(njit(program.loop), *values)
    return sides


def numba_bodies(program: Program, values: tuple[Any, ...]) -> tuple[Sides, list[str]]:
    """The driver with bodies that numba compiles, if there are any, and the kernels whose bodies it cannot compile."""
    from suite_programs.compiled import bodies_of

    sides: Sides = {}
    left_out: list[str] = []
    for side, parallel in (("numba, parallel", True), ("numba, bodies", False)):
        call, left_out = bodies_of(program, values, parallel=parallel)
        if len(left_out) < len(program.kernels):
            sides[side] = partial(program.drive, call, *values)
    return sides, left_out


SCOPES: Scopes = {f"{side}, {count}": partial(limited, count) for side in ("NumPy", "ours") for count in (1, 2)} | {
    side: partial(limited, 1) for side in (*BY_NUMBA, "limit")
}


def checked(sides: Sides, what: str) -> Sides:
    """The same sides; all of them answer as the first does."""
    expected = None
    for name, side in sides.items():
        with SCOPES.get(name, nullcontext)():
            found = side()
        expected = found if expected is None else expected
        check(found, expected, f"{what}, {name}")
    return sides


def row_here(program: Program, size: str, rounds: int, *, bodies: bool = False) -> Row:
    values = program.arguments(*program.sizes[size])
    compiled, left_out = numba_bodies(program, values) if bodies else ({}, [])
    sides = checked(sides_here(program, values) | compiled, label(program, size))
    sizes = traffic(program, values)
    sides["limit"] = program.limit(*values) if program.limit else copy_of(*sizes)
    found = medians(sides, rounds, within=WITHIN, least=LEAST, scopes=SCOPES)
    row = figures(program, size, len(sizes), found)
    return row | {"numba leaves out": left_out} if left_out else row


def figures(program: Program, size: str, calls: int, found: dict[str, float]) -> Row:
    """What is told of one program at one size, from the seconds of its sides."""
    seconds = {"NumPy, 2": found["NumPy, 1"]} | found
    body, ours = seconds["NumPy, 1"], seconds["ours, 1"]
    row = {
        "program": program.name,
        "group": program.group,
        "size": size,
        "numbers": list(program.sizes[size]),
        "calls": calls,
        "seconds": seconds,
        "ms": ours * 1e3,
        "limit": seconds["limit"] / ours,
    }
    row |= {f"over NumPy, {count}": seconds[f"ours, {count}"] / seconds[f"NumPy, {count}"] for count in (1, 2)}
    if by_numba := [seconds[side] for side in BY_NUMBA if side in seconds]:
        row["over numba"] = ours / min(by_numba)
    row |= {"us a call": (ours - body) / calls * 1e6} if body / calls < 1e-4 else {}
    return row


def rows_here(cases: Sequence[Case], rounds: int, tell: Tell, *, bodies: bool) -> list[Row]:
    rows = []
    for program, size in cases:
        tell(label(program, size), "here")
        rows.append(row_here(program, size, rounds, bodies=bodies))
    return rows


# -- on Legate ------------------------------------------------------------------------------------------------------


def row_on_legate(program: Program, size: str, rounds: int) -> Row:
    import cupynumeric as cn

    # In memory of Legate's own: what lies in NumPy's is copied for each launch, on both sides.
    values = program.arguments(*program.sizes[size])
    values = tuple(cn.array(v).copy() if isinstance(v, np.ndarray) else v for v in values)
    calls = {"cuPyNumeric": program.plain(cn), "ours": program.ours}
    sides: Sides = {name: settled(partial(program.drive, call, *values)) for name, call in calls.items()}
    found = medians(checked(sides, f"{label(program, size)}, on Legate"), rounds, within=WITHIN)
    synchronize()
    return {
        "program": program.name,
        "group": program.group,
        "size": size,
        "numbers": list(program.sizes[size]),
        "seconds": found,
        "ms": found["ours"] * 1e3,
        "over cuPyNumeric": found["ours"] / found["cuPyNumeric"],
    }


def rows_on_legate(cases: Sequence[Case], rounds: int, tell: Tell) -> list[Row]:
    names, sizes = dict.fromkeys(p.name for p, _ in cases), dict.fromkeys(size for _, size in cases)
    arguments = ["--rounds", str(rounds), "--only", *names, "--sizes", *sizes]
    return rows_of_child(__file__, arguments, CPUS, [label(*case) for case in cases], tell)


# -- what is told -----------------------------------------------------------------------------------------------------


def geometric_means(rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """Of each column, by group and size."""
    kinds = dict.fromkeys((row["group"], row["size"]) for row in rows)
    means = []
    for group, size in kinds:
        own = [row for row in rows if (row["group"], row["size"]) == (group, size)]
        mean: Row = {"group": group, "size": size, "programs": str(len(own))}
        for column in columns:
            if there := [row[column] for row in own if column in row]:
                mean[column] = statistics.geometric_mean(there)
        means.append(mean)
    return means


def threads_in_words(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def slower(rows: Iterable[Row]) -> list[str]:
    """The rows in which a call takes more than it may."""
    found = []
    for row in rows:
        seconds = row["seconds"]
        for count in (1, 2):
            body, ours = seconds[f"NumPy, {count}"], seconds[f"ours, {count}"]
            if ours > max(PART * body, body + OVERHEAD * row["calls"]):
                where = f"{row['program']}, {row['size']}, {threads_in_words(count)}"
                found.append(f"{where}: {ours / body:.2f}")
    return found


def tell_here(rows: list[Row]) -> None:
    show([{c: row.get(c) for c in COLUMNS} for row in rows], "our time over theirs; below 1 we are faster", FORMATS)
    ratios = [column for column in COLUMNS if column.startswith(("over", "limit"))]
    show(geometric_means(rows, ratios), "geometric means")
    late = slower(rows)
    print(f"{len(late)} of {2 * len(rows)} take more than {PART} times the body and {OVERHEAD * 1e6} us a call more:")
    print("".join(f"  {line}\n" for line in late), end="")
    if left_out := {row["program"]: ", ".join(row["numba leaves out"]) for row in rows if "numba leaves out" in row}:
        print("bodies that numba cannot compile, and leaves to NumPy:")
        print("".join(f"  {name}: {kernels}\n" for name, kernels in left_out.items()), end="")


def tell_on_legate(rows: list[Row]) -> None:
    columns = ("program", "size", "ms", "over cuPyNumeric")
    show([{c: row[c] for c in columns} for row in rows], f"on Legate, {CPUS} CPUs", FORMATS)
    show(geometric_means(rows, ["over cuPyNumeric"]), f"geometric means on Legate, {CPUS} CPUs")


# -- the command ------------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--only", nargs="+", choices=list(PROGRAMS), metavar="NAME", help=", ".join(PROGRAMS))
    made.add_argument("--sizes", nargs="+", choices=SIZES)
    made.add_argument("--rounds", type=int, default=3, help="at least so many; short programs get up to 20 times more")
    made.add_argument("--numba-bodies", action="store_true", help="compile the bodies by hand with numba as well")
    made.add_argument("--json", type=Path, default=RESULTS, help="write the figures to this file")
    made.add_argument("--no-legate", action="store_true", help="in this process alone")
    made.add_argument("--cpus", type=int, help=argparse.SUPPRESS)  # the process on Legate
    return made


def main() -> None:
    args = parser().parse_args()
    programs = [PROGRAMS[name] for name in args.only or PROGRAMS]

    def cases(sizes: Sequence[str]) -> list[Case]:
        return [(program, size) for program in programs for size in SIZES if size in sizes]

    if args.cpus:
        for case in cases(args.sizes):
            print_row(row_on_legate(*case, args.rounds))
        return
    here = cases(args.sizes or SIZES)
    with progress_bar() as progress:
        rows = rows_here(
            here, args.rounds, partial(tell, progress, [label(*case) for case in here]), bodies=args.numba_bodies
        )
    tell_here(rows)
    there = [case for case in cases(args.sizes or SIZES[1:]) if case[0].on_legate]
    on_legate: list[Row] = []
    if there and not args.no_legate and find_spec("cupynumeric"):
        with progress_bar() as progress:
            on_legate = rows_on_legate(there, args.rounds, partial(tell, progress, [label(*case) for case in there]))
        tell_on_legate(on_legate)
    about = {**about_this_machine(), "rounds": args.rounds}
    args.json.write_text(json.dumps({"about": about, "rows": rows, "legate": on_legate}, indent=1) + "\n")


if __name__ == "__main__":
    main()
