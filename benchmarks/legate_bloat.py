"""Legate's bloat against broadcast, raw: how often does a task read cells that were not copied yet?

python benchmarks/legate_bloat.py [--runs 1000]

Each run gives a task an array with a halo of one element, on two CPUs and in eight tiles, and compares with NumPy. This
is why ours are cut by images (``legate_halos.py``) or full in every tile.
"""

from __future__ import annotations

import argparse
import os

os.environ["LEGATE_CONFIG"] = "--cpus 2 --gpus 0 --sysmem 2000"

import numpy as np

import xpdispatch  # noqa: F401  Legate without an NVIDIA driver

# isort: split
import cupynumeric as cn
import legate.core as lg
from legate.core.task import InputStore, OutputStore, task


def weigh(x: InputStore, y: OutputStore) -> None:
    """Each cell and its neighbours, of those that the task got."""
    cells, out = np.asarray(x), np.asarray(y)
    first, last = x.domain.lo[0], 8
    for n in range(out.size):
        i = y.domain.lo[0] + n
        out[n] = cells[max(0, i - 1) - first] + 10 * cells[i - first] + 100 * cells[min(last, i + 1) - first]


@task(variants=(lg.VariantCode.CPU,), constraints=(lg.bloat("y", "x", (1,), (1,)),))
def by_bloat(x: InputStore, y: OutputStore) -> None:
    weigh(x, y)


@task(variants=(lg.VariantCode.CPU,), constraints=(lg.broadcast("x"),))
def by_broadcast(x: InputStore, y: OutputStore) -> None:
    weigh(x, y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    policy = lg.ParallelPolicy(overdecompose_factor=4, partitioning_threshold={lg.TaskTarget.CPU: 1})
    runtime = lg.get_legate_runtime()
    rng = np.random.default_rng(0)
    wrong = {"bloat": 0, "broadcast": 0}
    for _ in range(runs):
        x = rng.normal(size=9)
        wide = np.pad(x, 1, mode="edge")
        expected = wide[:-2] + 10 * wide[1:-1] + 100 * wide[2:]
        for name, run in (("bloat", by_bloat), ("broadcast", by_broadcast)):
            with lg.Scope(parallel_policy=policy):
                (column,) = cn.array(x).__legate_data_interface__["data"].values()
                y = runtime.create_store(lg.float64, (9,))
                run(column.data, y)
            runtime.issue_execution_fence(block=True)
            wrong[name] += not np.array_equal(np.asarray(y.get_physical_store()), expected)
    for name, count in wrong.items():
        print(f"{name}: {count} of {runs} runs were wrong")


if __name__ == "__main__":
    main()
