"""CuPy arrays on a GPU: bodies that are run as one kernel, and the five programs of the tutorial.

    python benchmarks/on_gpu.py [--rounds 15] [--part 1.0] [--json benchmarks/results/on_gpu.json]

Times are medians by CUDA events, of sides that take turns in an order drawn anew in each round. `rate` is the bytes
that a kernel must read and write over its time, as a part of what copying from one array to another reaches on this
device (1 is the limit). `over` is a side's time over that of the first one. --part makes the arrays smaller.

Needs CuPy and a GPU with some 24 GB; with less of it free the arrays are made smaller. Without either, it says so and
ends with status 2.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from table import ARGUMENTS, KERNELS, black_scholes, saxpy
from xpdispatch import kernel
from xpdispatch.running import generated

Sides = dict[str, Callable[[], Any]]
RESULTS = Path(__file__).parent / "results" / "on_gpu.json"
PROGRAMS = ("copy", "saxpy", "histogram", "matmul", "fft2")


def load_cupy() -> Any:
    """CuPy, on a machine where it runs."""
    try:
        import cupy

        cupy.zeros(3).sum().item()
    except Exception as error:  # noqa: BLE001  whatever it is, there is nothing to measure
        first = str(error).strip().splitlines()
        print(f"CuPy does not run here: {type(error).__name__}: {first[0] if first else ''}", file=sys.stderr)
        raise SystemExit(2) from None
    return cupy


def about(cupy: Any) -> dict[str, Any]:
    """The device, and what runs on it."""
    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        driver = f"CUDA {cupy.cuda.runtime.driverGetVersion()}"
    return {
        "device": device["name"].decode(),
        "driver": driver,
        "runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
        "numpy": np.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def medians(cupy: Any, sides: Sides, rounds: int) -> dict[str, float]:
    """Milliseconds of each side on the device, in turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        for _ in range(2):  # the first call compiles, and fills CuPy's pool
            side()
    names = list(sides)
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            start, end = cupy.cuda.Event(), cupy.cuda.Event()
            cupy.cuda.get_current_stream().synchronize()
            start.record()
            result = sides[name]()
            end.record()
            end.synchronize()
            times[name].append(cupy.cuda.get_elapsed_time(start, end))
            del result
    return {name: statistics.median(found) for name, found in times.items()}


def cells_for(cupy: Any, wanted: int, bytes_each: int) -> int:
    """As many cells as wanted, or as fit into three quarters of the free memory."""
    cupy.get_default_memory_pool().free_all_blocks()
    free, _ = cupy.cuda.runtime.memGetInfo()
    return int(min(wanted, 0.75 * free // bytes_each))


def fused_sides(cupy: Any, made: Any, values: tuple[Any, ...], out: Any) -> Sides:
    """A kernel of ours as one generated kernel and as it is, and its body by cupy.fuse and by hand."""
    body = made.__wrapped__
    plain = kernel(str(made.signature), fuse=False)(body)
    sides: Sides = {
        "generated, out=": lambda: made(*values, out=out),
        "generated": lambda: made(*values),
        "fuse=False, out=": lambda: plain(*values, out=out),
        "fuse=False": lambda: plain(*values),
        "raw body": lambda: body(cupy, *values),
    }
    if hasattr(cupy, "fuse"):
        by_cupy = cupy.fuse()(lambda *args: body(cupy, *args))
        sides["cupy.fuse"] = lambda: by_cupy(*values)
    before = len(generated._kernels)
    found, expected = made(*values), plain(*values)
    if len(generated._kernels) == before:
        raise SystemExit("no kernel was generated")
    same = bool(cupy.array_equal(found, expected))
    near = same or bool(cupy.allclose(found, expected, rtol=1e-6))
    del found, expected
    print(
        f"{made.definition.body.name}: {'the same bits as' if same else 'near' if near else 'NOT'} what the body gives"
    )
    if not near:
        raise SystemExit(1)
    source, sides["copy"] = values[0], lambda: cupy.copyto(out, source)
    return sides


def rows_of(cupy: Any, name: str, cells: int, sides: Sides, moved: int, copied: int, rounds: int) -> list[dict]:
    """Rows of the table, of sides that must move so many bytes; one of them copies."""
    found = medians(cupy, sides, rounds)
    limit = copied / found["copy"]
    first = found[next(iter(sides))]
    return [
        {
            "kernel": name,
            "cells": cells,
            "side": side,
            "ms": ms,
            "GB/s": (copied if side == "copy" else moved) / ms / 1e6,
            "rate": (copied if side == "copy" else moved) / ms / limit,
            "over": ms / first,
        }
        for side, ms in found.items()
    ]


def saxpy_rows(cupy: Any, part: float, rounds: int) -> list[dict]:
    # Three arrays, and two more for what the plain body makes and returns.
    cells = cells_for(cupy, int(part * 10**9), 5 * 4)
    x, y, z = (cupy.full(cells, value, dtype=cupy.float32) for value in (0.1, 0.7, 0.0))
    sides = fused_sides(cupy, saxpy, (x, y, 2.0), z)
    return rows_of(cupy, "saxpy", cells, sides, 12 * cells, 8 * cells, rounds)


def black_scholes_rows(cupy: Any, part: float, rounds: int) -> list[dict]:
    cells = cells_for(cupy, int(part * 10**8), 12 * 8)
    spot, strike, years = (cupy.random.random(cells) + low for low in (0.5, 0.5, 0.1))
    sides = fused_sides(cupy, black_scholes, (spot, strike, years), cupy.empty(cells))
    return rows_of(cupy, "black_scholes", cells, sides, 32 * cells, 16 * cells, rounds)


def program_rows(cupy: Any, rounds: int) -> list[dict]:
    """The five programs, and the same bodies called with array-api-compat's namespace."""
    import array_api_compat.cupy as xp

    rows = []
    for name in PROGRAMS:
        made = KERNELS[name]
        values = tuple(cupy.asarray(v) if isinstance(v, np.ndarray) else v for v in ARGUMENTS[name]())
        body = made.definition.body.function_for("GPU")
        sides = {"ours": lambda m=made, v=values: m(*v), "raw body": lambda b=body, v=values: b(xp, *v)}
        found = medians(cupy, sides, rounds)
        rows += [{"kernel": name, "side": side, "ms": ms, "over": ms / found["ours"]} for side, ms in found.items()]
    return rows


def show(facts: dict[str, Any], rows: list[dict]) -> None:
    table = Table(title=", ".join(f"{key} {value}" for key, value in facts.items()))
    formats = {"kernel": "", "cells": ",", "side": "", "ms": ".3f", "GB/s": ".0f", "rate": ".3f", "over": ".2f"}
    for column in formats:
        table.add_column(column, justify="left" if column in ("kernel", "side") else "right")
    for row in rows:
        table.add_row(*(format(row[column], how) if column in row else "" for column, how in formats.items()))
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--part", type=float, default=1.0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    cupy = load_cupy()
    facts = about(cupy)
    rows = saxpy_rows(cupy, args.part, args.rounds)
    rows += black_scholes_rows(cupy, args.part, args.rounds)
    rows += program_rows(cupy, args.rounds)
    show(facts, rows)
    args.json.write_text(json.dumps({**facts, "rounds": args.rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
