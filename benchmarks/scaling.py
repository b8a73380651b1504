"""Five kernels of examples/ on 1, 2 and 4 processes: the bytes that each receives, beside those that explain foretells.

    python benchmarks/scaling.py [--json FILE]

It needs what benchmarks/two_hosts.py needs, and measures the same way: each process is on a host of its own, which is a
network namespace (hosts.py). Where each process has a core of its own the time of a call is measured too.

A kernel is called once to set things up. Then its operands are written anew, by Legate and over whole arrays, and one
call is measured between two waits, with the first use of its result where that is added up of partial results. For the
sweep of Jacobi's method the grid is what another sweep made, as it is in a loop. Each process compares its results with
NumPy's, and the tiles that were made with those foretold. The status is 1 where a result is wrong. The time is the
least of ten more such calls, of the process that takes longest.

Then it asks explain about more processors than there are, up to 1,024: what each of them receives and holds. Nothing of
that is run.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hosts import Meter, filled, is_close, main, seconds_of, write_anew
from xpdispatch import Kernel

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))

from histogram import histogram
from jacobi import sweep
from kmeans import assign
from matmul import matmul
from saxpy import saxpy

PROCESSES = (1, 2, 4)
ELEMENTS = (250_000, 1_000_000, 4_000_000)  # of the largest array, in all
PROCESSORS = tuple(2**n for n in range(3, 11))
ELEMENTS_OF_EACH = 16_000_000  # of the largest array, for each of these processors
BINS, CENTERS = 10, 8
ROUNDS = 10
Arrays = Callable[..., Any]
"""Makes an array of a shape and a dtype."""


def sweep_by_numpy(u: Any, f: Any, h: float) -> Any:
    p = np.pad(u, 1)
    return (p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] + h**2 * f) / 4


def assign_by_numpy(points: Any, centers: Any) -> Any:
    distance = np.stack([((points - center) ** 2).sum(axis=1) for center in centers], axis=1)
    nearest = distance.argmin(axis=1)
    counts = np.bincount(nearest, minlength=len(centers))
    sums = [np.bincount(nearest, weights=column, minlength=len(centers)) for column in points.T]
    return np.stack(sums, axis=1), counts, distance.min(axis=1).sum()


def written(step: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    write_anew(arguments)
    return arguments


def swept(step: Callable[..., Any], u: Any, f: Any, h: float) -> tuple[Any, ...]:
    return step(u, f, h), f, h


@dataclass(frozen=True)
class Program:
    """A kernel, its arguments for a number of elements, the same by NumPy, and what comes before the call measured.

    ``before`` is given the kernel, or what does the same by NumPy, and the arguments, and returns the call's.
    """

    kernel: Kernel
    arguments: Callable[[Arrays, int], tuple[Any, ...]]
    by_numpy: Callable[..., Any]
    before: Callable[..., tuple[Any, ...]] = written


def squares(array: Arrays, count: int, dtype: str) -> tuple[Any, Any]:
    n = math.isqrt(count)
    return array(n, n, dtype=dtype), array(n, n, dtype=dtype)


PROGRAMS = {
    "SAXPY": Program(
        saxpy,
        lambda array, n: (array(n, dtype="f4"), array(n, dtype="f4"), 2.0),
        lambda x, y, a: np.float32(a) * x + y,
    ),
    "histogram": Program(
        histogram,
        lambda array, n: (array(n, dtype="i8"), BINS),
        lambda data, bins: np.bincount(data, minlength=bins)[:bins],
    ),
    "Jacobi sweep": Program(sweep, lambda array, n: (*squares(array, n, "f8"), 0.5), sweep_by_numpy, swept),
    "matmul": Program(matmul, lambda array, n: squares(array, n, "i8"), lambda a, b: a.astype(float) @ b.astype(float)),
    "k-means step": Program(
        assign, lambda array, n: (array(n // 2, 2, dtype="f8"), array(CENTERS, 2, dtype="f8")), assign_by_numpy
    ),
}


def several(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


# -- in each of the processes -----------------------------------------------------------------------------------


def measured(program: Program, elements: int, meter: Meter, tiles: list[Any]) -> dict[str, Any]:
    """What one program takes in this process, and what was foretold for it."""
    import cupynumeric as cn

    arguments = program.arguments(partial(filled, cn), elements)
    foretold = program.kernel.explain(*arguments).on(meter.count, partitioning_threshold=1)
    added_up = [array.partials > 1 for array in foretold.arrays.values() if array.is_result]

    def call() -> tuple[Any, ...]:
        results = several(program.kernel(*arguments))
        for result, partials in zip(results, added_up, strict=True):
            if partials:
                result + 0
        return results

    call()
    arguments = program.before(program.kernel, *arguments)
    _, idle = meter.bytes_of(lambda: None)
    tiles.clear()
    results, bytes_of_call = meter.bytes_of(call)
    made = sorted({rect for _, rect in tiles})

    times = []
    for _ in range(ROUNDS if meter.count <= (os.cpu_count() or 1) else 0):
        arguments = program.before(program.kernel, *arguments)
        times.append(seconds_of(call))

    own = program.before(program.by_numpy, *program.arguments(partial(filled, np), elements))
    expected = several(program.by_numpy(*own))
    return {
        "tiles": made,
        "tiles foretold": sorted(foretold.tiles()),
        "foretold": foretold.shares[meter.rank].receives,
        "received": bytes_of_call["in"],
        "nothing": idle["in"],
        "seconds": min(times, default=None),
        "right": all(is_close(np.asarray(f), np.asarray(e)) for f, e in zip(results, expected, strict=True)),
    }


def measure(meter: Meter, tiles: list[Any]) -> dict[str, Any]:
    """Measure all programs at all sizes."""
    found = {}
    for name, program in PROGRAMS.items():
        for elements in ELEMENTS:
            found[f"{name}, {elements}"] = measured(program, elements, meter, tiles)
            if meter.rank == 0:
                print(f"measured: {name}, {elements:,} elements, {meter.count} processes", file=sys.stderr)
    return found


# -- for more processors than there are -------------------------------------------------------------------------


def unreal(*shape: int, dtype: str) -> Any:
    """A shape and a dtype, in the memory of one element."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def predictions() -> Iterator[dict[str, Any]]:
    """What each of many processors receives and holds at most: with as many elements each, and with as many in all."""
    for name, program in PROGRAMS.items():
        for processors in PROCESSORS:
            for scaling, elements in (
                ("weak", ELEMENTS_OF_EACH * processors),
                ("strong", ELEMENTS_OF_EACH * PROCESSORS[0]),
            ):
                answer = program.kernel.explain(*program.arguments(unreal, elements)).on(processors)
                yield {
                    "program": name,
                    "scaling": scaling,
                    "processors": processors,
                    "tiles": answer.counts,
                    "receives": answer.largest.receives,
                    "holds": answer.largest.memory,
                    "share of the arrays": sum(array.nbytes for array in answer.arrays.values()) // processors,
                }


# -- all of it --------------------------------------------------------------------------------------------------


def gather(on_hosts: Callable[[int], list[dict[str, Any]]]) -> dict[str, Any]:
    rows = []
    for count in PROCESSES:
        sides = on_hosts(count)
        for name in PROGRAMS:
            for elements in ELEMENTS:
                found = [side[f"{name}, {elements}"] for side in sides]
                rows.append({"program": name, "elements": elements, "processes": count} | as_row(found))
    rows.sort(key=lambda row: (list(PROGRAMS).index(row["program"]), row["elements"]))
    predicted = list(predictions())
    show(rows)
    show_predictions(predicted)
    return {"rows": rows, "elements of each processor": ELEMENTS_OF_EACH, "predicted": predicted}


def as_row(sides: list[dict[str, Any]]) -> dict[str, Any]:
    """What the processes found, put together."""
    row: dict[str, Any] = {key: [side[key] for side in sides] for key in ("foretold", "received")}
    if sides[0]["seconds"]:
        row["seconds"] = max(side["seconds"] for side in sides)
    return row | {
        "received by waits alone": [side["nothing"] for side in sides],
        "tiles": len(sides[0]["tiles"]),
        "tiles as foretold": all(side["tiles"] == side["tiles foretold"] for side in sides),
        "right": all(side["right"] for side in sides),
    }


def show(rows: list[dict[str, Any]]) -> None:
    print("Bytes that each process receives for one call: at least and at most")
    heads = f"{'foretold':>23} {'received':>23} {'waits alone':>12} {'ms':>8}"
    print(f"{'':13} {'elements':>9} {'processes':>9} {heads}  tiles")
    for row in rows:
        pairs = [f"{min(row[key]):>11,} {max(row[key]):>11,}" for key in ("foretold", "received")]
        counts = f"{row['elements']:>9,} {row['processes']:>9}"
        tiles = f"{row['tiles']}{'' if row['tiles as foretold'] else ', not as foretold'}"
        wrong = "" if row["right"] else "  WRONG, the result is not NumPy's"
        more = f"{max(row['received by waits alone']):>12,} {1e3 * row.get('seconds', math.nan):>8.3f}  {tiles}{wrong}"
        print(f"{row['program']:13} {counts}", *pairs, more)


def show_predictions(rows: list[dict[str, Any]]) -> None:
    print("Predicted, bytes of a processor at most")
    print(f"{'':13} {'':6} {'processors':>10} {'receives':>15} {'holds':>15} {'its share':>15}  tiles")
    for row in rows:
        numbers = " ".join(f"{row[key]:>15,}" for key in ("receives", "holds", "share of the arrays"))
        tiles = " x ".join(map(str, row["tiles"]))
        print(f"{row['program']:13} {row['scaling']:6} {row['processors']:>10,} {numbers}  {tiles}")


if __name__ == "__main__":
    main(__doc__, __file__, measure, gather)
