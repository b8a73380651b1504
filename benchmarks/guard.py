"""What the guard costs: the first call that is cut with it and without it, in turns: python benchmarks/guard.py.

Each first call is that of a kernel made anew, so that nothing but the guard differs; least times of `--rounds` turns. A
guard may take 2 ms or 1 % of the call, whichever is more.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from xpdispatch import Kernel, kernel, threads

N = 2_000_000
x, grid, rows = np.ones(N), np.ones((1000, 2000)), np.ones((20_000, 100))

CASES: dict[str, tuple[str, Any, dict[str, Any], tuple[Any, ...]]] = {
    "SAXPY": ("x[i], y[i] -> z[i]", lambda xp, x, y: 2.0 * x + y, {}, (x, x)),
    "sum of roots": ("x[i] -> sum s[]", lambda xp, x: xp.sum(xp.sqrt(x)), {}, (x,)),
    "Jacobi": (
        "u[i-1..i+1,j-1..j+1] -> v[i,j]",
        lambda xp, u: 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]),
        {"boundary": "edge"},
        (grid,),
    ),
    "softmax": (
        "x[i,:] -> y[i,:]",
        lambda xp, x: xp.exp(x - xp.max(x, axis=1, keepdims=True)),
        {},
        (rows,),
    ),
    "distances": (
        "x[i,:k], c[:m,:k] -> d[i,:m]",
        lambda xp, x, c: xp.sum((x[:, None, :] - c[None, :, :]) ** 2, axis=2),
        {},
        (rows, rows[:16]),
    ),
    "FFT of images": (
        "x[b,:,:] -> y[b,:,:]",
        lambda xp, x: xp.fft.fftn(x, axes=(1, 2)),
        {},
        (np.ones((64, 256, 256)),),
    ),
}


def first_call(made: Kernel, args: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    made(*args)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(f"{'first call':16} {'without':>10} {'with':>10} {'guard':>9} {'part':>7}")
    for name, (notation, body, more, args) in CASES.items():
        least = {True: np.inf, False: np.inf}
        for _ in range(options.rounds):
            for guard in (True, False):
                made = kernel(notation, guard=guard, **more)(body)
                with threads(1):
                    least[guard] = min(least[guard], first_call(made, args))
        extra = least[True] - least[False]
        print(
            f"{name:16} {least[False] * 1e3:7.2f} ms {least[True] * 1e3:7.2f} ms {extra * 1e3:6.2f} ms "
            f"{extra / least[False]:7.1%}"
        )


if __name__ == "__main__":
    main()
