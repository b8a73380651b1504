"""How sides are measured against each other, in this process and on Legate, and how the figures are shown."""

from __future__ import annotations

import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from xpdispatch import threads
from xpdispatch.machine.packages import version_of
from xpdispatch.machine.progress import Progress

Sides = dict[str, Callable[[], Any]]
Scopes = Mapping[str, Callable[[], AbstractContextManager[Any]]]
Row = dict[str, Any]
Tell = Callable[[str, str], None]

WARM = 0.08
"""Seconds for which a side is called before it is timed."""

# -- sides ------------------------------------------------------------------------------------------------------


def on_threads(count: int, own: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    with threads(count):
        return own(*values)


def copy_of(*sizes: int) -> Callable[[], None]:
    """Copies, one after the other, each of which reads and writes so many bytes together."""
    source, target = np.ones(max(sizes) // 16), np.ones(max(sizes) // 16)
    pairs = [(target[: size // 16], source[: size // 16]) for size in sizes]

    def copy() -> None:
        for there, here in pairs:
            np.copyto(there, here)

    return copy


def settled(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call, and all of its work on Legate."""
    from legate.core import get_legate_runtime

    def run() -> Any:
        result = call()
        get_legate_runtime().issue_execution_fence(block=True)
        return result

    return run


# -- measuring --------------------------------------------------------------------------------------------------


def seconds_of(side: Callable[[], Any], times: int = 1) -> float:
    """Of one call, where so many are made; the result is let go within the time of the next."""
    start = perf_counter()
    for _ in range(times - 1):
        side()
    result = side()
    spent = perf_counter() - start
    del result
    return spent / times


def medians(
    sides: Sides,
    rounds: int,
    *,
    within: float = 0.0,
    least: float = 0.0,
    scopes: Scopes | None = None,
) -> dict[str, float]:
    """Seconds of each side, in turns, in an order drawn anew in each round, after each has been called for a while.

    By then loops are compiled, and caches and the processor's clock are as they stay.

    Parameters
    ----------
    sides : dict
    rounds : int
        At least so many, and at most twenty times as many.
    within : float
        More rounds are made as long as they fit into so many seconds.
    least : float
        A side that takes less is called several times in a turn, so that the turn takes so many seconds.
    scopes : mapping, optional
        What a side's turn stands in, outside of the time.
    """
    scopes = scopes or {}
    times: dict[str, list[float]] = {name: [] for name in sides}
    repeats = dict.fromkeys(sides, 1)
    spent = 0.0
    for name, side in sides.items():
        with scopes.get(name, nullcontext)():
            begun = perf_counter()
            while perf_counter() - begun < WARM:
                side()
            if within or least:
                once = seconds_of(side)
                repeats[name] = max(1, math.ceil(least / once))
                spent += once * repeats[name]
    rounds = min(max(rounds, int(within / spent)), 20 * rounds) if within else rounds
    names = list(sides)
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            with scopes.get(name, nullcontext)():
                times[name].append(seconds_of(sides[name], repeats[name]))
    return {name: statistics.median(found) for name, found in times.items()}


# -- in a process of Legate's own -------------------------------------------------------------------------------


def print_row(row: Row) -> None:
    print("ROW", json.dumps(row), flush=True)


def rows_of_child(
    script: str, arguments: Sequence[str], cpus: int, names: Sequence[str], tell: Tell, sysmem: int = 6000
) -> list[Row]:
    """What a script prints by `print_row`, a row for each of the names, in a process on so many CPUs of Legate."""
    command = [sys.executable, script, "--cpus", str(cpus), *arguments]
    config = f"--cpus {cpus} --gpus 0 --sysmem {sysmem}"
    rows: list[Row] = []
    said: list[str] = []
    with subprocess.Popen(
        command,
        env=os.environ | {"LEGATE_CONFIG": config},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        tell(names[0], "on Legate")
        for line in child.stdout or ():
            if line.startswith("ROW "):
                rows.append(json.loads(line.removeprefix("ROW ")))
                if len(rows) < len(names):
                    tell(names[len(rows)], "on Legate")
            else:
                said.append(line)
    if child.returncode or len(rows) < len(names):
        raise SystemExit(f"on Legate with {config}:\n{''.join(said)[-4000:]}")
    return rows


# -- what is shown ----------------------------------------------------------------------------------------------


def tell(progress: Progress, names: list[str], name: str, where: str) -> None:
    progress(names.index(name), len(names), f"{name}, {where}")


def show(rows: list[Row], title: str, formats: Mapping[str, str] | None = None) -> None:
    """Rows as a table; figures have two digits after the point unless the column has a format of its own."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=title)
    for column in columns:
        text = any(isinstance(row.get(column), str) for row in rows)
        table.add_column(column, justify="left" if text else "right")
    for row in rows:
        table.add_row(*(cell(row.get(column), (formats or {}).get(column, ".2f")) for column in columns))
    Console(width=150).print(table)


def cell(value: Any, how: str) -> str:
    return value if isinstance(value, str) else "" if value is None else format(value, how)


def about_this_machine() -> dict[str, Any]:
    """When and where it is measured."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.machine()
    libraries = {"NumPy": "numpy", "scipy": "scipy", "Legate": "legate", "cuPyNumeric": "nvidia-cupynumeric"}
    versions = {"Python": platform.python_version()} | {n: version_of(name) for n, name in libraries.items()}
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return {"date": today, "processor": processor, "cores": os.cpu_count(), "versions": versions}
