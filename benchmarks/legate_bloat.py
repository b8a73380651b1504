"""Legate's bloat, raw: how often does a task read elements that were not copied yet?

    python benchmarks/legate_bloat.py [--runs 1000]

Each run gives a task an array with a halo of one element, on two CPUs and in eight tiles, and compares with NumPy. For
``bloat`` Legate makes a partition whose tiles overlap. But it tells Legion of each tiling that its tiles are disjoint
(``Tiling::construct`` in Legate's sources, in all releases up to 26.6), and of what is disjoint Legion does not put the
copies of one tile before the tasks of another. So a task can read the elements that it shares with its neighbor before
they are there, mostly where the array was attached from NumPy's memory. ``image`` is not affected: its partitions are
computed by Legion, which finds out that they overlap. Operands of ours with a halo are cut by images, which
``legate_halos.py`` tries, or are full in every tile.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from itertools import product

os.environ["LEGATE_CONFIG"] = "--cpus 2 --gpus 0 --sysmem 2000"

import numpy as np

import xpdispatch  # noqa: F401  Legate without an NVIDIA driver

# isort: split
import cupynumeric as cn
import legate.core as lg
from legate.core.task import InputStore, OutputStore, task


def weigh(x: InputStore, y: OutputStore) -> None:
    """Each element and its neighbors, of those that the task got."""
    elements, out = np.asarray(x), np.asarray(y)
    first, last = x.domain.lo[0], 8
    for n in range(out.size):
        i = y.domain.lo[0] + n
        out[n] = elements[max(0, i - 1) - first] + 10 * elements[i - first] + 100 * elements[min(last, i + 1) - first]


@task(variants=(lg.VariantCode.CPU,), constraints=(lg.bloat("y", "x", (1,), (1,)),))
def by_bloat(x: InputStore, y: OutputStore) -> None:
    weigh(x, y)


@task(variants=(lg.VariantCode.CPU,), constraints=(lg.broadcast("x"),))
def by_broadcast(x: InputStore, y: OutputStore) -> None:
    weigh(x, y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    policy = lg.ParallelPolicy(overdecompose_factor=4, partitioning_threshold={lg.TaskTarget.CPU: 1})
    runtime = lg.get_legate_runtime()
    rng = np.random.default_rng(0)
    wrong = Counter[str]()
    for _ in range(runs):
        x = rng.normal(size=9)
        wide = np.pad(x, 1, mode="edge")
        expected = wide[:-2] + 10 * wide[1:-1] + 100 * wide[2:]
        for (name, run), owner in product({"bloat": by_bloat, "broadcast": by_broadcast}.items(), ("NumPy", "Legate")):
            with lg.Scope(parallel_policy=policy):
                array = cn.array(x) if owner == "NumPy" else cn.array(x).copy()
                (column,) = array.__legate_data_interface__["data"].values()
                y = runtime.create_store(lg.float64, (9,))
                run(column.data, y)
            runtime.issue_execution_fence(block=True)
            right = np.array_equal(np.asarray(y.get_physical_store()), expected)
            wrong[f"{name}, in memory of {owner}'s"] += not right
    for name, count in wrong.items():
        print(f"{name}: {count} of {runs} runs were wrong")


if __name__ == "__main__":
    main()
