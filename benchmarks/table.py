"""One table: kernels of ours against the same body by hand, against Legate's own decorator, and against others.

    python benchmarks/table.py [--rounds 15] [--only saxpy fft] [--json FILE]

Every figure is a ratio of medians: our time over another side's, taken in turns, in an order drawn anew in each round,
within one process. Below 1 we are faster. `ms` is our own time. `limit` is what this machine cannot beat: a copy of as
many bytes as the kernel reads and writes, or a product of matrices of floats, over our time (1 is the limit itself).

In this process the sides are the raw body on NumPy; the kernel with ``cut=False``; dask.array.map_blocks on two
threads, in the number of pieces that suits it best; numexpr and numba, where they apply, on as many threads. On Legate,
in a process for each number of CPUs, they are the tutorial's way, which is a body of NumPy calls under
legate.core.task, and cuPyNumeric's own functions. Sides that are not installed are left out.

With --all what overheads.py and growth.py measure comes after it, and goes to the same file.

With --ablate another table comes in its place, and goes to results/ablations.json: what each call in this process
takes with one of the library's mechanisms switched off, over what it takes with all of them. Above 1 it pays.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ablations import kmeans, points_and_centers, sides_of, without
from measuring import (
    Row,
    Sides,
    Tell,
    about_this_machine,
    copy_of,
    medians,
    on_threads,
    print_row,
    rows_of_child,
    settled,
    show,
    tell,
)
from xpdispatch import kernel, namespace_for, synchronize
from xpdispatch.machine.progress import progress_bar

# -- the kernels ------------------------------------------------------------------------------------------------


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("src[...] -> dst[...]")
def copy(xp, src):
    return xp.asarray(src, copy=True)


@kernel("data[i] -> sum hist[:bins]", dtype="int64")
def histogram(xp, data, bins):
    return xp.stack([xp.count_nonzero(data == b) for b in range(bins)])


counted = kernel("data[i] -> sum hist[:bins]", dtype="int64", read_only=False)(histogram.__wrapped__)


@counted.cpu_variant
def counted_on_cpus(xp, data, bins):
    return np.bincount(data, minlength=bins)


@kernel("a[m,k], b[k,n] -> sum c[m,n]")
def matmul(xp, a, b):
    return xp.astype(a, xp.float64) @ xp.astype(b, xp.float64)


@kernel("src[b,:,:] -> dst[b,:,:]")
def fft2(xp, src):
    return xp.fft.fftn(src, axes=(1, 2))


@kernel("spot[i], strike[i], years[i] -> call[i]")
def black_scholes(xp, spot, strike, years):
    root = 0.3 * xp.sqrt(years)
    d1 = (xp.log(spot / strike) + (0.02 + 0.5 * 0.09) * years) / root
    d2 = d1 - root
    n1, n2 = 1 / (1 + xp.exp(-1.702 * d1)), 1 / (1 + xp.exp(-1.702 * d2))
    return spot * n1 - strike * xp.exp(-0.02 * years) * n2


@kernel("u[i-1..i+1,j-1..j+1] -> v[i,j]", boundary="valid")
def stencil(xp, u):
    return 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])


@kernel("x[i,:] -> s[i,:]")
def softmax(xp, x):
    e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


@kernel("x[i,:], y[j,:] -> d[i,j]")
def distances(xp, x, y):
    return xp.sqrt(xp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1))


draw = np.random.default_rng(1).random
integers = np.random.default_rng(1).integers
ARGUMENTS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "copy": lambda: (draw(10**7),),
    "saxpy": lambda: (draw(10**7, dtype=np.float32), draw(10**7, dtype=np.float32), 2.0),
    "histogram": lambda: (integers(0, 10, 10**7), 10),
    "counted": lambda: (integers(0, 10, 10**7), 10),
    "matmul": lambda: (integers(1, 101, (1000, 1000)), integers(1, 101, (1000, 1000))),
    "fft2": lambda: (draw((128, 256, 256)).astype(np.complex64),),
    "black_scholes": lambda: (draw(10**7) + 0.5, draw(10**7) + 0.5, draw(10**7) + 0.1),
    "stencil": lambda: (draw((4002, 4002)),),
    "softmax": lambda: (draw((4000, 2000)),),
    "distances": lambda: (draw((3000, 3)), draw((3000, 3))),
}
KERNELS = {name: globals()[name] for name in ARGUMENTS}
SHAPES = {
    "copy": ((10**7,), "float64"),
    "saxpy": ((10**7,), "float32"),
    "histogram": ((10,), "int64"),
    "counted": ((10,), "int64"),
    "matmul": ((1000, 1000), "float64"),
    "fft2": ((128, 256, 256), "complex64"),
    "black_scholes": ((10**7,), "float64"),
    "stencil": ((4000, 4000), "float64"),
    "softmax": ((4000, 2000), "float64"),
    "distances": ((3000, 3000), "float64"),
}


# -- what cannot be beaten --------------------------------------------------------------------------------------


def limit_of(name: str, arguments: tuple[Any, ...]) -> Callable[[], Any]:
    """What the kernel cannot beat on one thread."""
    if name == "matmul":
        a, b = (np.asarray(v, dtype=np.float64) for v in arguments)
        return lambda: a @ b
    shape, dtype = SHAPES[name]
    size = sum(a.nbytes for a in arguments if isinstance(a, np.ndarray)) + np.empty(shape, dtype).nbytes
    return copy_of(size)


# -- in this process ----------------------------------------------------------------------------------------------


def local_sides(name: str) -> Sides:
    made, values = KERNELS[name], ARGUMENTS[name]()
    body, xp = made.definition.body.function_for("CPU"), namespace_for("CPU")

    uncut, _ = without("cutting", made)
    sides = {
        "1 thread": partial(on_threads, 1, made, values),
        "2 threads": partial(on_threads, 2, made, values),
        "NumPy": lambda: body(xp, *values),
        "uncut": partial(on_threads, 1, uncut, values),
        "limit": limit_of(name, values),
    }
    return sides | _dask(name, body, xp, values) | _numexpr(name, values) | _numba(name, values)


def _dask(name: str, body: Any, xp: Any, values: tuple[Any, ...]) -> Sides:
    if find_spec("dask") is None or name not in ("copy", "saxpy", "fft2", "black_scholes", "softmax"):
        return {}
    import dask
    import dask.array as da

    arrays = [v for v in values if isinstance(v, np.ndarray)]
    numbers = [v for v in values if not isinstance(v, np.ndarray)]

    def into(count: int) -> Callable[[], Any]:
        pieces = [da.from_array(v, chunks=(v.shape[0] // count, *v.shape[1:]), asarray=False) for v in arrays]
        whole = da.map_blocks(lambda *parts: body(xp, *parts, *numbers), *pieces, dtype=SHAPES[name][1])

        def call() -> Any:
            with dask.config.set(scheduler="threads", num_workers=2):
                return whole.compute()

        return call

    choices = {str(count): into(count) for count in (2, 4, 16, 64)}
    found = medians(choices, 5)
    return {"dask, 2": choices[min(found, key=found.__getitem__)]}


def _numexpr(name: str, values: tuple[Any, ...]) -> Sides:
    if find_spec("numexpr") is None or name not in ("saxpy", "black_scholes"):
        return {}
    import numexpr

    if name == "saxpy":
        x, y, a = values[0], values[1], np.float32(values[2])
        text, given = "a * x + y", {"x": x, "y": y, "a": a}
    else:
        d1 = "((log(s / k) + (0.02 + 0.5 * 0.09) * t) / (0.3 * sqrt(t)))"
        n1, n2 = f"1 / (1 + exp(-1.702 * {d1}))", f"1 / (1 + exp(-1.702 * ({d1} - 0.3 * sqrt(t))))"
        text, given = f"s * ({n1}) - k * exp(-0.02 * t) * ({n2})", dict(zip("skt", values, strict=True))

    def on(count: int) -> Callable[[], Any]:
        def call() -> Any:
            numexpr.set_num_threads(count)
            return numexpr.evaluate(text, local_dict=given)

        return call

    return {"numexpr, 1": on(1), "numexpr, 2": on(2)}


def _numba(name: str, values: tuple[Any, ...]) -> Sides:
    if find_spec("numba") is None or name not in ("saxpy", "stencil"):
        return {}
    import numba

    if name == "saxpy":

        @numba.guvectorize(["(f4[:],f4[:],f4,f4[:])"], "(n),(n),()->(n)", nopython=True)
        def compiled(x, y, a, z):
            for i in range(x.size):
                z[i] = a * x[i] + y[i]

        return {"numba, 1": lambda: compiled(*values)}

    @numba.njit
    def relax(u):
        v = np.empty((u.shape[0] - 2, u.shape[1] - 2))
        for i in range(v.shape[0]):
            for j in range(v.shape[1]):
                v[i, j] = 0.25 * (u[i, j + 1] + u[i + 2, j + 1] + u[i + 1, j] + u[i + 1, j + 2])
        return v

    return {"numba, 1": lambda: relax(*values)}


def rows_here(names: list[str], rounds: int, tell: Tell) -> list[Row]:
    rows = []
    for name in names:
        tell(name, "here")
        found = medians(local_sides(name), rounds)
        for way in ("1 thread", "2 threads"):
            row = ratios(name, way, found[way], {k: v for k, v in found.items() if k not in ("1 thread", "2 threads")})
            if way == "2 threads":
                row["1 thread"] = found[way] / found["1 thread"]
            rows.append(row)
    return rows


def ratios(name: str, way: str, own: float, others: dict[str, float]) -> Row:
    row = {"kernel": name, "way": way, "ms": own * 1e3}
    for other, seconds in others.items():
        row[other] = seconds / own if other == "limit" else own / seconds
    return row


# -- on Legate ------------------------------------------------------------------------------------------------------


def legate_sides(name: str, tasks: dict[str, Any]) -> Sides:
    import cupynumeric as cn

    made = KERNELS[name]
    # In memory of Legate's own: what lies in NumPy's is copied for each launch, on every side.
    values = tuple(cn.array(v).copy() if isinstance(v, np.ndarray) else v for v in ARGUMENTS[name]())
    shape, dtype = SHAPES[name]
    out = cn.zeros(shape, dtype=dtype)

    sides = {"ours": lambda: made(*values, out=out)}
    if name == "matmul":
        stores = [next(iter(a.__legate_data_interface__["data"].values())).data for a in (out, *values)]
        m, k, n = shape[0], values[0].shape[1], shape[1]
        turned = stores[0].promote(1, k), stores[1].promote(2, n), stores[2].promote(0, m)
        for which in ("matmul", "matmul, cast"):

            def product(which: str = which) -> None:
                out.fill(0)
                tasks[which](*turned)

            sides["tutorial" + which[6:]] = product
    elif name == "fft2":
        sides["tutorial"] = lambda: tasks[name](out, *values)
    elif name in ("histogram", "counted"):

        def tally() -> None:
            out.fill(0)
            tasks["histogram"](values[0], out, values[1])

        sides["tutorial"] = tally
    elif name in tasks:
        arrays, numbers = [v for v in values if hasattr(v, "shape")], [v for v in values if not hasattr(v, "shape")]
        sides["tutorial"] = lambda: tasks[name](*arrays, out, *numbers)
    own = {
        "copy": lambda x: x.copy(),
        "saxpy": lambda x, y, a: a * x + y,
        "histogram": lambda x, bins: cn.bincount(x, minlength=bins),
        "counted": lambda x, bins: cn.bincount(x, minlength=bins),
        "matmul": lambda a, b: cn.matmul(a.astype(float), b.astype(float)),
        "black_scholes": lambda *a: made.definition.body.function_for("CPU")(cn, *a),
        "softmax": lambda x: made.definition.body.function_for("CPU")(cn, x),
        "distances": lambda x, y: made.definition.body.function_for("CPU")(cn, x, y),
        "stencil": lambda u: made.definition.body.function_for("CPU")(cn, u),
    }
    if name in own:  # it has no Fourier transform on CPUs
        sides["cuPyNumeric"] = lambda: own[name](*values)
    return {side: settled(run) for side, run in sides.items()}


def print_rows_on_legate(names: list[str], rounds: int, cpus: int) -> None:
    from by_decorator import TASKS

    for name in names:
        found = medians(legate_sides(name, TASKS), rounds)
        synchronize()
        own = found.pop("ours")
        print_row(ratios(name, f"Legate, {cpus} CPU{'s' * (cpus > 1)}", own, found))


def rows_on_legate(names: list[str], rounds: int, cpus: int, tell: Tell) -> list[Row]:
    return rows_of_child(__file__, ["--rounds", str(rounds), "--only", *names], cpus, names, tell)


# -- without one mechanism ------------------------------------------------------------------------------------------


def ablations(names: list[str], rounds: int, tell: Tell) -> list[Row]:
    kernels, arguments = {**KERNELS, "kmeans": kmeans}, {**ARGUMENTS, "kmeans": points_and_centers}
    rows = []
    for name in names:
        made, values = kernels[name], arguments[name]()
        for count, way in ((1, "1 thread"), (2, "2 threads")):
            tell(name, way)
            found = medians(sides_of(name, made, values, count), rounds)
            own = found.pop("all")
            rows.append({"kernel": name, "way": way, "ms": own * 1e3} | {m: s / own for m, s in found.items()})
    return rows


# -- the table --------------------------------------------------------------------------------------------------------


def beside(script: str, rounds: int) -> Any:
    """Run another script of this folder, which prints its own rows."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "rows.json"
        rounds = 200 * rounds if script == "overheads" else rounds
        path = Path(__file__).with_name(f"{script}.py")
        subprocess.run([sys.executable, path, "--rounds", str(rounds), "--json", found], check=True)
        return json.loads(found.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="*", choices=[*KERNELS, "kmeans"], help="kmeans with --ablate alone")
    parser.add_argument("--json", help="write the figures to this file as well")
    parser.add_argument("--all", action="store_true", help="overheads, growth and memory as well")
    parser.add_argument("--ablate", action="store_true", help="without one mechanism each, in the place of all this")
    parser.add_argument("--cpus", type=int, help=argparse.SUPPRESS)  # one of the processes on Legate
    args = parser.parse_args()
    if "kmeans" in (args.only or ()) and not args.ablate:
        parser.error("kmeans is in the table of --ablate alone")
    args.only = args.only or [*KERNELS, *["kmeans"] * args.ablate]
    if args.cpus:
        print_rows_on_legate(args.only, args.rounds, args.cpus)
        return
    title, parts = "our time over theirs; below 1 we are faster", [rows_here]
    if args.ablate:
        title, parts = "time without a mechanism over the time with all; above 1 it pays", [ablations]
        args.json = args.json or Path(__file__).with_name("results") / "ablations.json"
    elif find_spec("cupynumeric"):
        parts += [partial(rows_on_legate, cpus=cpus) for cpus in (1, 2)]
    rows: list[Row] = []
    for part in parts:
        with progress_bar() as progress:
            found = part(args.only, args.rounds, tell=partial(tell, progress, args.only))
        show(found, title)
        rows += found
    more = {script: beside(script, args.rounds) for script in ("overheads", "growth")} if args.all else {}
    if args.json:
        found = {"about": {**about_this_machine(), "rounds": args.rounds}, "rows": rows, **more}
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
