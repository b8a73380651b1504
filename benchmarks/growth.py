"""How time grows with tiles and with elements, and what a call needs in memory besides its arrays.

    python benchmarks/growth.py [--rounds 15] [--json FILE]

Ratios are of medians, taken in turns in one process. Tiles on Legate are forced on one CPU, and the launches are the
same for both sides. Memory is the peak of what NumPy allocates during a call, as Python's tracemalloc sees it, without
the results, over the bytes of operands and results.
"""

from __future__ import annotations

import argparse
import json
import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("LEGATE_CONFIG", "--cpus 1 --gpus 0 --sysmem 2000")

import numpy as np

from measuring import medians, on_threads
from table import ARGUMENTS, KERNELS, saxpy
from xpdispatch import namespace_for

Rows = list[dict[str, Any]]


def with_elements(rounds: int) -> Rows:
    """Black-Scholes and SAXPY over the raw body, from a thousand elements to thirty million."""
    rows = []
    for name in ("saxpy", "black_scholes"):
        made, xp = KERNELS[name], namespace_for("CPU")
        body, values = made.definition.body.function_for("CPU"), ARGUMENTS[name]()
        for count in (10**3, 10**4, 10**5, 10**6, 3 * 10**6, 10**7, 3 * 10**7):
            given = [np.resize(v, count) if isinstance(v, np.ndarray) else v for v in values]

            sides = {f"ours, {n}": partial(on_threads, n, made, given) for n in (1, 2)} | {
                "NumPy": partial(body, xp, *given)
            }
            found = medians(sides, rounds if count > 10**5 else 20 * rounds)
            rows.append(
                {
                    "kernel": name,
                    "elements": count,
                    "ns an element, 1 thread": found["ours, 1"] / count * 1e9,
                    "over NumPy, 1 thread": found["ours, 1"] / found["NumPy"],
                    "over NumPy, 2 threads": found["ours, 2"] / found["NumPy"],
                }
            )
    return rows


def with_tiles(rounds: int) -> Rows:
    """A small SAXPY in more and more of Legate's tiles, ours and the decorator's."""
    import cupynumeric as cn
    from legate.core import ParallelPolicy, Scope, TaskTarget, get_legate_runtime

    from by_decorator import saxpy as by_decorator

    x, y, z = cn.ones(4096).copy(), cn.ones(4096).copy(), cn.zeros(4096)

    def settled(call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> None:
            for _ in range(20):
                call()
            get_legate_runtime().issue_execution_fence(block=True)

        return run

    rows: Rows = []
    for tiles in (1, 2, 4, 8, 16, 64, 256):
        policy = ParallelPolicy(overdecompose_factor=tiles, partitioning_threshold={TaskTarget.CPU: 1})
        with Scope(parallel_policy=policy):
            sides = {
                "ours": settled(lambda: saxpy(x, y, 2.0, out=z)),
                "theirs": settled(lambda: by_decorator(x, y, z, 2.0)),
            }
            found = medians(sides, rounds)
        rows.append(
            {
                "tiles": tiles,
                "us a launch": found["ours"] / 20 * 1e6,
                "us a tile": found["ours"] / 20 / tiles * 1e6,
                "over the decorator": found["ours"] / found["theirs"],
            }
        )
    return rows


def in_memory() -> Rows:
    """The peak besides operands and results, as a part of them."""
    rows = []
    for name in ("copy", "saxpy", "histogram", "matmul", "fft2", "black_scholes", "stencil", "softmax", "distances"):
        made, values, xp = KERNELS[name], ARGUMENTS[name](), namespace_for("CPU")
        body = made.definition.body.function_for("CPU")

        row: dict[str, Any] = {"kernel": name}
        sides = {f"{n} thread{'s' * (n > 1)}": partial(on_threads, n, made, values) for n in (1, 2)} | {
            "NumPy": partial(body, xp, *values)
        }
        for side, call in sides.items():
            call()  # the first call also measures the body
            tracemalloc.start()
            result = call()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            # Memory of large results is used again, so that the result may not have been allocated under its eyes.
            fresh = result.nbytes if result.base is None else 0
            arrays = sum(v.nbytes for v in values if isinstance(v, np.ndarray)) + result.nbytes
            row[side] = (peak - fresh) / arrays
            del result
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", help="write the figures to this file as well")
    args = parser.parse_args()
    rows = {"with elements": with_elements(args.rounds), "in memory, over the arrays": in_memory()}
    if find_spec("cupynumeric"):
        rows["with Legate's tiles"] = with_tiles(args.rounds)
    for title, found in rows.items():
        print(title)
        for row in found:
            print("  ", "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
