"""Every planted bug must be found and every right kernel pass, for many seeds: python benchmarks/checker_campaign.py.

A seed draws both the arguments and the tilings. Prints the misses and the false alarms, and a line of figures.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from planted import PLANTED
from right import RIGHT
from xpdispatch import PartitionError, PartitionWarning
from xpdispatch.machine.progress import progress_bar
from xpdispatch.testing import check_partitioning, checking


def planted(seeds: range) -> int:
    """How many planted bugs were missed."""
    missed, times = 0, []
    with progress_bar() as progress:
        for n, (bug, seed) in enumerate(product(PLANTED, seeds)):
            progress(n, len(PLANTED) * len(seeds), bug.name)
            made, args, kwargs = bug.make(np.random.default_rng(seed))
            start = time.perf_counter()
            try:
                with checking(seed=seed):
                    check_partitioning(made, *args, **kwargs)
                problem = "not found"
            except PartitionError as error:
                problem = "" if all(word in str(error) for word in bug.words) else f"found without {bug.words}"
            times.append((time.perf_counter() - start, bug.name))
            if problem:
                missed += 1
                print(f"planted {bug.name!r}, seed {seed}: {problem}", flush=True)
    slowest, name = max(times)
    print(f"{len(PLANTED)} planted bugs, {len(seeds)} seeds each: {missed} missed; ", end="")
    print(f"median {np.median([t for t, _ in times]):.3f} s, slowest {slowest:.2f} s ({name})", flush=True)
    return missed


def right(seeds: range) -> int:
    """How many right kernels raised an alarm."""
    alarms, times = 0, []
    with progress_bar() as progress:
        for n, (good, seed) in enumerate(product(RIGHT, seeds)):
            progress(n, len(RIGHT) * len(seeds), good.name)
            made, args, kwargs = good.make(np.random.default_rng(seed))
            start = time.perf_counter()
            try:
                with checking(seed=seed), warnings.catch_warnings():
                    warnings.simplefilter("error", PartitionWarning)
                    check_partitioning(made, *args, **kwargs)
            except (PartitionError, PartitionWarning) as error:
                alarms += 1
                print(f"right {good.name!r}, seed {seed}: {error}", flush=True)
            times.append((time.perf_counter() - start, good.name))
    slowest, name = max(times)
    print(f"{len(RIGHT)} right kernels, {len(seeds)} seeds each: {alarms} false alarms; ", end="")
    print(f"median {np.median([t for t, _ in times]):.3f} s, slowest {slowest:.2f} s ({name})", flush=True)
    return alarms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planted", type=int, default=20, help="seeds for each planted bug")
    parser.add_argument("--right", type=int, default=200, help="seeds for each right kernel")
    options = parser.parse_args()
    sys.exit(bool(planted(range(options.planted)) + right(range(options.right))))


if __name__ == "__main__":
    main()
