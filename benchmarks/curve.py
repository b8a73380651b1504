"""From how many elements on Legate pays: two kernels from a thousand elements to a hundred million.

    python benchmarks/curve.py [--rounds 5] [--most 8] [--json FILE] && python docs/charts.py curve

The sides are NumPy by hand, which is the kernel's body called on NumPy arrays; the kernel on the same arrays, in this
process; and the kernel on arrays of cuPyNumeric, until its task is done. All of them return new arrays. They are
measured in turns, in an order drawn anew in each round, in a process of Legate's with one CPU and then in one with two.
All arrays are float32. With a hundred million elements a process takes some 10 GB.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np

from measuring import Row, Tell, about_this_machine, medians, print_row, rows_of_child, settled, show, tell
from table import ARGUMENTS, KERNELS
from xpdispatch import namespace_for, synchronize
from xpdispatch.machine.progress import progress_bar

RESULTS = Path(__file__).with_name("results") / "curve.json"
NAMES = ("saxpy", "black_scholes")
WITHIN, LEAST = 1.0, 1e-3
"""Seconds for the rounds of a call that is short, and for a turn of a side that is shorter still."""


def counts(most: int) -> list[int]:
    """Three in each power of ten, up to that power."""
    return [n * 10**power for power in range(3, most) for n in (1, 2, 5)] + [10**most]


def print_rows(name: str, most: int, rounds: int) -> None:
    """In a process of Legate's."""
    import cupynumeric as cn

    made = KERNELS[name]
    body, xp = made.definition.body.function_for("CPU"), namespace_for("CPU")
    short = [v[: 10**6].astype(np.float32) if isinstance(v, np.ndarray) else v for v in ARGUMENTS[name]()]
    for count in counts(most):
        values = [np.resize(v, count) if isinstance(v, np.ndarray) else v for v in short]
        # In memory of Legate's own: what lies in NumPy's is copied for each launch.
        there = [cn.array(v).copy() if isinstance(v, np.ndarray) else v for v in values]
        np.testing.assert_allclose(np.asarray(made(*there)), body(xp, *values), rtol=1e-4, atol=1e-5)
        sides = {
            "NumPy": partial(body, xp, *values),
            "here": partial(made, *values),
            "Legate": settled(partial(made, *there)),
        }
        found = medians(sides, rounds, within=WITHIN, least=LEAST)
        synchronize()
        print_row({"kernel": name, "elements": count, "seconds": found})


def rows_on_legate(most: int, rounds: int, tell: Tell) -> list[Row]:
    """The rows of all kernels, on one CPU and on two."""
    rows = []
    for name in NAMES:
        for cpus in (1, 2):
            options = [name, "--most", str(most), "--rounds", str(rounds)]
            labels = [f"{name}, {cpus} CPUs, {count:,}" for count in counts(most)]
            own = rows_of_child(__file__, options, cpus, labels, tell)
            rows += [row | {"cpus": cpus} for row in own]
    return rows


def over_numpy(rows: list[Row]) -> list[Row]:
    """One row for each kernel and number of elements: times over NumPy's in the same process."""
    found: dict[tuple[str, int], Row] = {}
    for row in rows:
        seconds, cpus = row["seconds"], row["cpus"]
        own = found.setdefault((row["kernel"], row["elements"]), {k: row[k] for k in ("kernel", "elements")})
        if cpus == 1:
            own |= {"NumPy, ms": seconds["NumPy"] * 1e3, "here": seconds["here"] / seconds["NumPy"]}
        own[f"Legate, {cpus}"] = seconds["Legate"] / seconds["NumPy"]
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernel", nargs="?", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--cpus", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5, help="at least so many; short calls get up to 20 times more")
    parser.add_argument("--most", type=int, default=8, help="up to this power of ten elements")
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures to this file")
    args = parser.parse_args()
    if args.kernel:
        print_rows(args.kernel, args.most, args.rounds)
        return
    with progress_bar() as progress:
        labels = [f"{n}, {cpus} CPUs, {c:,}" for n in NAMES for cpus in (1, 2) for c in counts(args.most)]
        rows = over_numpy(rows_on_legate(args.most, args.rounds, partial(tell, progress, labels)))
    show(rows, "time over NumPy's, in the same process", {"elements": ",d", "NumPy, ms": ".3f"})
    args.json.write_text(
        json.dumps({"about": about_this_machine() | {"rounds": args.rounds}, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
