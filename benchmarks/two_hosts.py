"""Two hosts on one machine: the bytes that cross between two processes of Legate, beside those that explain foretells.

    python benchmarks/two_hosts.py [--json FILE]

It needs root on Linux, iproute2, Open MPI 4, and a Legate with UCX; the wheels of Legate 26.1 have it. Each host is a
network namespace (hosts.py), with one process of one CPU, on cores of its own where there are two.

A program is called once to set things up. Then its operands are written anew, by Legate and over whole arrays, which is
what an explanation takes for granted, and the call is measured between two waits. It is measured again without writing
them: Legion keeps what it has brought to a host, so that nothing is to be brought twice. Partial results are sent when
somebody reads their sum, which has a line of its own. Each process compares its results with NumPy's, and the tiles
that it made with those foretold. The status is 1 where a result is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hosts import Meter, filled, is_close, main, write_anew
from xpdispatch import Kernel, array_module, kernel, synchronize

MESSAGES = 200_000
"""Bytes besides elements that Legion may send for a call: 4,000 to 20,000; up to 125,000 after arrays were dropped."""

# -- the programs -----------------------------------------------------------------------------------------------


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("data[i] -> sum hist[:bins]")
def histogram(xp, data, bins):
    borders = xp.searchsorted(xp.sort(data), xp.arange(bins + 1))
    return borders[1:] - borders[:-1]


@kernel("u[i-1..i+1] -> v[i]", boundary="edge")
def stencil_of_line(xp, u):
    return u[:-2] + u[1:-1] + u[2:]


@kernel("u[i-16..i+16, j] -> v[i, j]", boundary="edge")
def stencil(xp, u):
    return u[:-32] + u[16:-16] + u[32:]


@kernel("a[m,k], b[k,n] -> sum c[m,n]")
def matmul(xp, a, b):
    return a @ b


@kernel("src[b, :, :] -> dst[b, :, :]")
def fft2(xp, src):
    return xp.fft.fftn(src, axes=(1, 2))


# The solution is zero on the boundary, one step outside of the grid.
@kernel("u[i-1..i+1, j-1..j+1], f[i, j] -> v[i, j]", boundary={"u": 0.0})
def sweep(xp, u, f):
    return (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] + f) / 4


SWEEPS = 20


def jacobi(u: Any, f: Any) -> Any:
    buffers = [array_module().zeros_like(u) for _ in range(2)]
    for n in range(SWEEPS):
        u = sweep(u, f, out=buffers[n % 2])
    return u


def stencil_by_numpy(u: Any, reach: int) -> Any:
    padded = np.pad(u, [(reach, reach)] + [(0, 0)] * (u.ndim - 1), mode="edge")
    return padded[: -2 * reach] + u + padded[2 * reach :]


def jacobi_by_numpy(u: Any, f: Any) -> Any:
    for _ in range(SWEEPS):
        p = np.pad(u, 1)
        u = (p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] + f) / 4
    return u


@dataclass(frozen=True)
class Program:
    """A kernel, its arguments from a module of arrays, the same by NumPy, and why its bytes may not be those foretold.

    ``call`` makes ``launches`` launches of the kernel, each on arrays such as the arguments are.
    """

    kernel: Kernel
    arguments: Callable[[Any], tuple[Any, ...]]
    expected: Callable[..., Any]
    why: str = ""
    call: Callable[..., Any] | None = None
    launches: int = 1


SMALL = partial(filled, dtype="f4")
IMAGES = partial(filled, dtype="c8")
CUT_ANEW = (
    "Legate cut the operand along another axis when it was written, and an explanation does not count what is "
    "brought for that: a quarter of the array to each of two processors."
)
PROGRAMS = {
    "saxpy": Program(saxpy, lambda xp: (SMALL(xp, 8_000_000), SMALL(xp, 8_000_000), 2), lambda x, y, a: a * x + y),
    "saxpy, x of NumPy": Program(
        saxpy,
        lambda xp: (SMALL(np, 8_000_000), SMALL(xp, 8_000_000), 2),
        lambda x, y, a: a * x + y,
    ),
    "histogram, 10 bins": Program(
        histogram,
        lambda xp: (filled(xp, 4_000_000, dtype="i8", below=10), 10),
        lambda data, bins: np.bincount(data)[:bins],
    ),
    "histogram, 1,000,000 bins": Program(
        histogram,
        lambda xp: (filled(xp, 4_000_000, dtype="i8", below=10**6), 10**6),
        lambda data, bins: np.bincount(data)[:bins],
    ),
    "stencil of a line": Program(
        stencil_of_line, lambda xp: (SMALL(xp, 8_000_000),), partial(stencil_by_numpy, reach=1)
    ),
    "stencil, 2,100 x 2,000": Program(
        stencil, lambda xp: (filled(xp, 2100, 2000),), partial(stencil_by_numpy, reach=16)
    ),
    # As wide as it is long: along which axis it is cut is a matter of rules, Legate's and ours for halos.
    "stencil, 2,000 x 2,000": Program(
        stencil, lambda xp: (filled(xp, 2000, 2000),), partial(stencil_by_numpy, reach=16), CUT_ANEW
    ),
    "matmul, 2,000 x 2,000 x 2,000": Program(
        matmul, lambda xp: (filled(xp, 2000, 2000), filled(xp, 2000, 2000)), np.matmul
    ),
    "matmul, 1,000 x 3,000 x 1,000": Program(
        matmul, lambda xp: (filled(xp, 1000, 3000), filled(xp, 3000, 1000)), np.matmul
    ),
    "fft, 65,536 x 8 x 8": Program(fft2, lambda xp: (IMAGES(xp, 65536, 8, 8),), partial(np.fft.fftn, axes=(1, 2))),
    "fft, 64 x 256 x 256": Program(
        fft2,
        lambda xp: (IMAGES(xp, 64, 256, 256),),
        partial(np.fft.fftn, axes=(1, 2)),
        CUT_ANEW,
    ),
    f"jacobi, 4,000 x 3,600, {SWEEPS} sweeps": Program(
        sweep,
        lambda xp: (filled(xp, 4000, 3600), filled(xp, 4000, 3600)),
        jacobi_by_numpy,
        call=jacobi,
        launches=SWEEPS,
    ),
}

# -- in each of the two processes -------------------------------------------------------------------------------


def measured(program: Program, meter: Meter, tiles: list[Any]) -> dict[str, Any]:
    """What one program takes in this process, and what was foretold for it."""
    import cupynumeric as cn

    arguments, own = program.arguments(cn), program.arguments(np)
    call = partial(program.call or program.kernel, *arguments)
    call() + 0
    synchronize()
    write_anew(arguments + own)

    _, idle = meter.bytes_of(lambda: None)
    tiles.clear()
    result, bytes_of_call = meter.bytes_of(call)
    made = sorted({rect for _, rect in tiles})
    _, bytes_of_use = meter.bytes_of(lambda: result + 0)
    result_again, bytes_again = meter.bytes_of(call)

    foretold = program.kernel.explain(*arguments).on(2, partitioning_threshold=1)
    partials = sum(array.received for array in foretold.arrays.values() if array.is_result)
    receives = foretold.shares[meter.rank].receives
    expected = program.expected(*own)
    return {
        "bytes of arrays": sum(array.nbytes for array in foretold.arrays.values()),
        "tiles": made,
        "tiles foretold": sorted(foretold.tiles()),
        "foretold": (receives - partials) * program.launches,
        "foretold of partial results": partials,
        "call": bytes_of_call,
        "first use of the result": bytes_of_use,
        "call again": bytes_again,
        "nothing": idle,
        "right": all(is_close(np.asarray(found), expected) for found in (result, result_again)),
    }


def measure(meter: Meter, tiles: list[Any]) -> dict[str, Any]:
    """Measure all programs."""
    found = {}
    for name, program in PROGRAMS.items():
        found[name] = measured(program, meter, tiles)
        if meter.rank == 0:
            print(f"measured: {name}", file=sys.stderr)
    return found


# -- around them ------------------------------------------------------------------------------------------------


def rows_of(name: str, sides: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A program's call, and the first use of its result where that is a sum of partial results."""
    partials = [side["foretold of partial results"] for side in sides]
    received = [side["call"]["in"] for side in sides]
    row = {
        "program": name,
        "bytes of arrays": sides[0]["bytes of arrays"],
        "tiles": len(sides[0]["tiles"]),
        "tiles as foretold": all(side["tiles"] == side["tiles foretold"] for side in sides),
        "foretold": [side["foretold"] for side in sides],
        "received": received,
        "received again": [side["call again"]["in"] for side in sides],
        "sent": [side["call"]["out"] for side in sides],
        "received by waits alone": [side["nothing"]["in"] for side in sides],
        "right": all(side["right"] for side in sides),
    }
    yield row | {"agrees": agrees(row["foretold"], received)}
    if any(partials):
        received = [side["first use of the result"]["in"] for side in sides]
        first_use = {"program": f"{name}: first use", "foretold": partials, "received": received}
        yield first_use | {"agrees": agrees(partials, received)}


def agrees(foretold: list[int], received: list[int]) -> bool:
    """Whether each process received what was foretold within a factor of two, Legion's messages aside."""
    return all(f / 2 <= r <= 2 * f + MESSAGES for f, r in zip(foretold, received, strict=True))


def show(rows: list[dict[str, Any]]) -> None:
    what = "bytes that each process receives"
    print(f"{what:42} {'foretold':>23} {'received':>23} {'ratio':>6} {'called again':>15}  tiles")
    for row in rows:
        pairs = [" ".join(f"{n:>11,}" for n in row[key]) for key in ("foretold", "received")]
        ratio = sum(row["received"]) / sum(row["foretold"]) if sum(row["foretold"]) > MESSAGES else None
        again = " ".join(f"{n:>7,}" for n in row.get("received again", ()))
        tiles = str(row.get("tiles", ""))
        tiles += "" if row.get("tiles as foretold", True) else ", not as foretold"
        print(f"{row['program']:42}", *pairs, f"{f'{ratio:.2f}' if ratio else '':>6} {again:>15}  {tiles}")
    waits = max(n for row in rows for n in row.get("received by waits alone", ()))
    print(f"Two waits with nothing between them: {waits:,} at most")
    for row in rows:
        if not row["agrees"]:
            why = PROGRAMS[row["program"]].why if row["program"] in PROGRAMS else ""
            print(f"{row['program']}: not within a factor of two. {why}".rstrip())
        if not row.get("right", True):
            print(f"{row['program']}: WRONG, the result is not NumPy's")


def gather(on_hosts: Callable[[int], list[dict[str, Any]]]) -> dict[str, Any]:
    sides = on_hosts(2)
    rows = [row for name in PROGRAMS for row in rows_of(name, [side[name] for side in sides])]
    show(rows)
    return {"rows": rows}


if __name__ == "__main__":
    main(__doc__, __file__, measure, gather)
