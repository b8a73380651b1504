"""Random programs with halos on Legate, in forced tiles: how many of them go wrong.

    python benchmarks/legate_halos.py [--programs 2000] [--seed 0] [--steps 10]

Each program applies one kernel to its own result again and again, without a wait in between, and is compared with the
same steps on NumPy. The axes of its line (``LINES``), halos, boundaries, shapes, dtypes, the number of tiles, and
whether the array lies in memory of NumPy's or of Legate's are drawn anew; a third of the programs work on a view.
LEGATE_CONFIG says on how many CPUs; two, where it says nothing. Before Legate 26.3 set LEGATE_MIN_CPU_CHUNK=1.
``legate_bloat.py`` shows what Legate's own constraint for halos does.
"""

from __future__ import annotations

import argparse
import math
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("LEGATE_CONFIG", "--cpus 2 --gpus 0 --sysmem 2000")

import numpy as np

import xpdispatch as xd
from xpdispatch import Kernel, kernel
from xpdispatch.legate import launch, rects, stretches
from xpdispatch.machine.progress import progress_bar
from xpdispatch.testing import forced_tiles

# isort: split
import cupynumeric as cn

stretches._RECTS = 64  # so that small arrays have rects of stretches, as large ones have
stretches.least_copied = 1
cut = Counter[str]()
"""How many launches there were with rects of elements or of stretches, and with others of what wraps around."""


def rects_of_windows(layout: Any, axis: int, extent: int, stretch: int, *, seam: bool) -> Any:
    cut[
        "and once more for what wraps around" if seam else "between elements" if stretch == 1 else "between stretches"
    ] += 1
    return rects.rects_of_windows(layout, axis, extent, stretch, seam=seam)


launch.rects_of_windows = rects_of_windows


LINES = {
    "one axis": "u[{first}] -> v[i]",
    "narrow rows": "u[{first},:] -> v[i,:]",
    "rows": "u[{first},:] -> v[i,:]",
    "long rows": "u[:,{first}] -> v[:,i]",
    "both axes": "u[{first},{second}] -> v[i,j]",
    "beside others": "u[{first}], w[j,k] -> max v[i]",
}


def drawn(rng: np.random.Generator) -> tuple[str, Callable[[Any], Any], np.ndarray[Any, Any]]:
    """The line of a kernel and a shape, a call of the kernel, and its first argument."""
    kind = str(rng.choice([*LINES]))
    below, above = (tuple(int(n) for n in rng.integers(0, 4, 2)) for _ in range(2))
    if kind != "both axes":
        below, above = (below[0] or 1, 0), (above[0], 0)
    elif not any(below + above):
        below = (1, 0)
    boundary = ["edge", "reflect", "symmetric", "wrap", 3][rng.integers(5)]
    first, second = (f"{i}-{b}..{i}+{a}" if b or a else i for i, b, a in zip("ij", below, above, strict=True))
    line = LINES[kind].format(first=first, second=second)

    def body(xp: Any, u: Any, w: Any = None) -> Any:
        u = u.T if kind == "long rows" else u
        rows = u.shape[0] - below[0] - above[0]
        total: Any = 0
        for k in range(below[0] + above[0] + 1):
            for m in range(below[1] + above[1] + 1):
                part = u[k : k + rows]
                if kind == "both axes":
                    part = part[:, m : m + u.shape[1] - below[1] - above[1]]
                total = total + (k + 2 * m + 1) * part
        if w is not None:
            return xp.max((total[:, None] + xp.reshape(w, (1, -1))) % 97, axis=1)
        return (total.T if kind == "long rows" else total) % 97

    shape: tuple[int, ...] = tuple(map(int, (rng.integers(5, 60), rng.integers(5, 80))))
    if kind not in ("rows", "both axes"):
        # Half of the lengths are the product of two numbers.
        length, few = math.prod(shape) if rng.random() < 0.5 else int(rng.integers(25, 4000)), int(rng.integers(1, 4))
        shape = {"narrow rows": (length, few), "long rows": (few, length)}.get(kind, (length,))
    array = rng.integers(0, 97, shape).astype(["int32", "int64", "float32", "float64"][rng.integers(4)])
    beside = [array[: 3 * (len(array) // 3)].reshape(3, -1)[:, :5].copy()] if kind == "beside others" else []
    made: Kernel = kernel(line, boundary={"u": boundary}, dtype="u")(body if beside else partial(body, w=None))
    return f"{line}, boundary {boundary!r}, shape {shape}", lambda u: made(u, *beside), array


def part(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The slices of a view with almost all elements, or none."""
    if rng.random() < 2 / 3:
        return ()
    return tuple(slice(int(rng.integers(0, 3)), n - int(rng.integers(0, 2))) if n > 4 else slice(None) for n in shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    wrong = []
    with progress_bar() as tell:
        for n in range(args.programs):
            tell(n, args.programs, "programs")
            line, step, expected = drawn(rng)
            inside = part(rng, expected.shape)
            array = cn.array(expected.copy())
            if rng.random() < 0.5:
                array = array.copy()
            with forced_tiles(int(rng.integers(1, 5))):
                for _ in range(args.steps):
                    if inside:
                        array[inside] = step(array[inside])
                    else:
                        array = step(array)
            for _ in range(args.steps):
                if inside:
                    expected[inside] = step(expected[inside])
                else:
                    expected = step(expected)
            xd.synchronize()
            if not np.array_equal(np.asarray(array), expected):
                wrong.append(line)
    for line in wrong:
        print("wrong:", line)
    print(
        f"{len(wrong)} of {args.programs} programs of {args.steps} steps are wrong, with {os.environ['LEGATE_CONFIG']}"
    )
    print(*(f"{n:,} launches were cut {how}" for how, n in sorted(cut.items())), sep="; ")


if __name__ == "__main__":
    main()
