"""Launch and call kernels very often on fresh arrays, and see that memory stays flat.

``python tests/long_run.py --calls 100000`` takes some minutes, ends with status 1 where memory grew, and prints what
docs/reliability.rst quotes.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("LEGATE_CONFIG", "--cpus 2 --gpus 0 --sysmem 300")

import numpy as np

import xpdispatch as xd
from xpdispatch import kernel

MOST_GROWTH = 32.0
"""MiB between the first fifth of a run and its end: what allocators take more, whatever the length."""


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("x[i] -> sum s[]")
def total(xp, x):
    return xp.sum(x)


@kernel("x[i] -> fold s[]", fold=lambda xp, a, b: xp.maximum(a, b))
def largest(xp, x):
    return xp.max(x)


@kernel("x[i-1..i+1] -> y[i]", boundary="edge")
def blur(xp, x):
    return x[:-2] + x[2:]


@kernel("x[i] -> y[?]")
def positive(xp, x):
    return x[x > 0]


@kernel("x[i] -> y[i]", dtype="x")
def failing(xp, x):
    raise ValueError("every time")


def resident() -> float:
    """MiB of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def local(n: int) -> None:
    x = np.full(100 + n % 7, float(n))
    assert saxpy(x, x, 2.0)[0] == 3.0 * n
    assert total(x) == x.sum()
    if n % 20 == 0:
        large = np.full(200_000, float(n))
        assert saxpy(large, large, 1.0)[-1] == 2.0 * n
        assert len(positive(x)) == (len(x) if n else 0)


def on_legate(n: int) -> None:
    import cupynumeric

    x = cupynumeric.full(100 + n % 7, float(n))
    y = (saxpy(x, x, 2.0), blur(x), x)[n % 3]
    s = total(y)
    if n % 100 == 0:
        assert float(y[50]) == n * (3.0, 2.0, 1.0)[n % 3]
        assert float(s) == float(y[50]) * len(y)


def of_unknown_size(n: int) -> None:
    import cupynumeric

    assert float(largest(cupynumeric.full(100, float(n)))) == n
    if n % 10 == 0:
        assert positive(cupynumeric.full(100, float(n))).shape[0] == (100 if n else 0)


def numpy_on_legate(n: int) -> None:
    with xd.engine("legate"):
        y = blur(np.full(100, float(n)))
    if n % 100 == 0:
        assert float(y[50]) == 2.0 * n


def failing_on_legate(n: int) -> None:
    import cupynumeric

    failing(cupynumeric.ones(10))
    if n % 50 == 49:
        try:
            xd.synchronize()
        except ValueError:
            return
        raise AssertionError("the failure was lost")


RUNS: dict[str, tuple[Callable[[int], None], float]] = {
    "calls in this process": (local, 0),
    "launches on Legate": (on_legate, 0),
    "failing launches on Legate": (failing_on_legate, 0),
    "folds and results of unknown size on Legate": (of_unknown_size, 60),
    "NumPy arrays on Legate": (numpy_on_legate, 6),
}
"""What one call does, and how many KiB it may leave behind: Legate 26.6 itself keeps 21 for each store of unknown size,
and 3 for each array of NumPy's, until the process ends."""


def run(name: str, count: int) -> float:
    """How many MiB memory grew after the first fifth of so many calls."""
    (step, _), start, early = RUNS[name], time.perf_counter(), 0.0
    fifth = max(50, count // 5 // 50 * 50)
    for n in range(count):
        step(n)
        if (n + 1) % fifth == 0:
            if name != "calls in this process":
                xd.synchronize()
            early = early or resident()
            print(f"{name}: {n + 1:>9,} {resident():8.1f} MiB {time.perf_counter() - start:8.1f} s", flush=True)
    return resident() - early


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000, help="how many of each kind (2000)")
    parser.add_argument("--only", choices=RUNS, help="one kind alone")
    options = parser.parse_args()
    growth = {name: run(name, options.calls) for name in RUNS if options.only in (None, name)}
    most = {name: MOST_GROWTH + RUNS[name][1] * options.calls / 1024 for name in growth}
    for name, mib in growth.items():
        print(f"{name}: {mib:+.1f} MiB after the first fifth, at most {most[name]:.1f}", flush=True)
    return int(any(mib > most[name] for name, mib in growth.items()))


if __name__ == "__main__":
    sys.exit(main())
