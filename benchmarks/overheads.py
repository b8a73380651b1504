"""What a call costs besides its body: preparing a Legate launch, a chain of launches, a leaf, and a call here.

python benchmarks/overheads.py [--rounds 2000] [--json FILE]

Each row is the ratio of two medians, measured in turns in one process. On Legate the other side is Legate's own
decorator with the same arrays: its prepare_call against our call without the launch itself; 1,000 launches of each; and
in a task, from its entry to the body's first line, with one np.asarray a store on their side. In this process the other
side is the body, called by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

os.environ.setdefault("LEGATE_CONFIG", "--cpus 1 --gpus 0 --sysmem 2000")

import numpy as np

import xpdispatch as xd
from xpdispatch import kernel

# isort: split
import cupynumeric as cn
import legate.core as lg
from legate.core.task import InputArray, OutputArray, PyTask, VariantInvoker

from by_decorator import saxpy as by_decorator
from xpdispatch.legate import launch as launches
from xpdispatch.legate import tasks


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp: Any, x: Any, y: Any, a: float) -> Any:
    return a * x + y


def in_turns(rounds: int, *sides: Callable[[], object]) -> list[float]:
    """The median time of each in microseconds."""
    times: list[list[int]] = [[] for _ in sides]
    for n in range(rounds + 50):
        for side, found in zip(sides, times, strict=True):
            start = perf_counter_ns()
            side()
            end = perf_counter_ns()
            if n >= 50:
                found.append(end - start)
    return [statistics.median(found) / 1e3 for found in times]


def launch(rounds: int) -> tuple[float, float]:
    """Ours and Legate's time to prepare one launch, which is then dropped."""
    x, y, z = cn.ones(10), cn.ones(10), cn.zeros(10)
    submit = launches.submit
    launches.submit = lambda task: None
    try:
        ours, theirs = in_turns(
            rounds, lambda: saxpy(x, y, 2.0, out=z), lambda: by_decorator.prepare_call(x, y, z, 2.0)
        )
    finally:
        launches.submit = submit
    xd.synchronize()
    return ours, theirs


def chain(rounds: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds for 1,000 small launches, each of which waits for the one before, in turns: until issued, until done.

    Tasks run while others are issued, and Python's lock lets one of both go on at a time.
    """
    x, y = cn.ones(10), cn.ones(10)

    def run(step: Callable[[Any, Any], object]) -> tuple[float, float]:
        xd.synchronize()
        a, b = x, y
        start = perf_counter()
        for _ in range(1000):
            step(a, b)
            a, b = b, a
        issued = perf_counter() - start
        xd.synchronize()
        return issued, perf_counter() - start

    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run(lambda a, b: saxpy(a, a, 0.5, out=b)))
        theirs.append(run(lambda a, b: by_decorator(a, a, b, 0.5)))
    issued, done = ([statistics.median(found) for found in zip(*side, strict=True)] for side in (ours, theirs))
    return tuple(zip(issued, done, strict=True))  # type: ignore[return-value]


def leaf(rounds: int) -> tuple[float, float]:
    """Ours and Legate's microseconds from the entry of a task to the first line of its body, in turns."""
    spent: dict[str, list[int]] = {"ours": [], "theirs": []}
    entered: list[int] = []

    def on_entry(function: Callable[..., None]) -> Callable[..., None]:
        def enter(context: Any) -> None:
            entered[:] = [perf_counter_ns()]
            function(context)

        return enter

    class Timed(VariantInvoker):  # type: ignore[misc]
        def __call__(self, context: Any, function: Any) -> None:
            entered[:] = [perf_counter_ns()]
            super().__call__(context, function)

    @kernel("x[i], y[i] -> z[i]", dtype="x")
    def ours(xp: Any, x: Any, y: Any, a: float) -> Any:
        spent["ours"].append(perf_counter_ns() - entered[0])
        return x

    def theirs(x: InputArray, y: InputArray, z: OutputArray, a: float) -> None:
        np.asarray(x), np.asarray(y), np.asarray(z)
        spent["theirs"].append(perf_counter_ns() - entered[0])

    make = tasks.make_leaf
    tasks.make_leaf = lambda k, v: on_entry(make(k, v))
    try:
        other = PyTask(func=theirs, variants=(lg.VariantCode.CPU,), invoker=Timed(theirs))
        x, y, z = cn.ones(10), cn.ones(10), cn.zeros(10)
        for _ in range(rounds // 10):
            for call in (lambda: ours(x, y, 2.0, out=z), lambda: other(x, y, z, 2.0)):
                for _ in range(10):
                    call()
                xd.synchronize()
    finally:
        tasks.make_leaf = make
    return tuple(statistics.median(spent[side][50:]) / 1e3 for side in ("ours", "theirs"))  # type: ignore[return-value]


def local(rounds: int) -> tuple[float, float]:
    x, y = np.ones(10), np.ones(10)
    body = saxpy.__wrapped__
    xp = xd.namespace_for("CPU")
    return tuple(in_turns(rounds, lambda: saxpy(x, y, 2.0), lambda: body(xp, x, y, 2.0)))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--json", help="write the figures to this file as well")
    args = parser.parse_args()
    ours, theirs = launch(args.rounds)
    rows = {"prepare a launch": {"ours_us": ours, "decorator_us": theirs, "ratio": ours / theirs}}
    for name, (ours, theirs) in zip(("issue", "finish"), chain(max(5, args.rounds // 100)), strict=True):
        rows[f"{name} 1,000 launches"] = {"ours_us": ours * 1e3, "decorator_us": theirs * 1e3, "ratio": ours / theirs}
    ours, theirs = leaf(args.rounds)
    rows["leaf to the body"] = {"ours_us": ours, "decorator_us": theirs, "ratio": ours / theirs}
    call, body = local(args.rounds * 10)
    rows["call in this process"] = {"call_us": call, "body_us": body, "overhead_us": call - body}
    for name, row in rows.items():
        print(f"{name:22}", "  ".join(f"{key} {value:8.2f}" for key, value in row.items()))
    if args.json:
        found = {"machine": platform.processor() or platform.machine(), "rows": rows}
        Path(args.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
