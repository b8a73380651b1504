"""What cuts for the cache, and threads, bring to calls in this process.

    python benchmarks/cutting.py [--rounds 9] [--only saxpy fft ...] [--plain]

Each round runs the raw NumPy body, the kernel with one thread, the kernel with ``cut=False``, and the kernel with two
threads, in an order that is drawn anew: what ran before has its say in the next one's time. Printed are ratios of
medians; the first column is the raw body's time. `small` is the time of a call on ten elements over the body by hand.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time

import array_api_compat.numpy as compat
import numpy as np

from xpdispatch import kernel, namespace_for, register_namespace, threads
from xpdispatch.machine import cache_bytes


def saxpy(xp, x, y, a):
    return a * x + y


def histogram(xp, data, bins):
    return xp.astype(np.histogram(data, bins=bins, range=(0.0, 1.0))[0], xp.int64)


def matmul(xp, a, b):
    return a @ b


def fft(xp, src):
    return xp.fft.fftn(src, axes=(1, 2))


def black_scholes(xp, spot, strike, years):
    root = 0.3 * xp.sqrt(years)
    d1 = (xp.log(spot / strike) + (0.02 + 0.5 * 0.09) * years) / root
    d2 = d1 - root
    n1, n2 = 1 / (1 + xp.exp(-1.702 * d1)), 1 / (1 + xp.exp(-1.702 * d2))
    call = spot * n1 - strike * xp.exp(-0.02 * years) * n2
    return call, call - spot + strike * xp.exp(-0.02 * years)


def stencil(xp, u):
    return 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]) - u[1:-1, 1:-1]


def softmax(xp, x):
    e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


def distances(xp, x, y):
    return xp.sqrt(xp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1))


def arguments(name):
    draw = np.random.default_rng(1).random
    return {
        "saxpy": lambda: (draw(10**7), draw(10**7), 2.0),
        "saxpy out": lambda: (draw(10**7), draw(10**7), 2.0),
        "histogram": lambda: (draw(10**7), 100),
        "matmul": lambda: (draw((1000, 1000)), draw((1000, 1000))),
        "fft": lambda: (draw((128, 256, 256)) + 0j,),
        "black_scholes": lambda: (draw(5 * 10**6) + 0.5, draw(5 * 10**6) + 0.5, draw(5 * 10**6) + 0.1),
        "stencil": lambda: (draw((4002, 4002)),),
        "softmax": lambda: (draw((4000, 2000)),),
        "distances": lambda: (draw((3000, 3)), draw((3000, 3))),
    }[name]()


CASES = {
    "saxpy": (saxpy, "x[i], y[i] -> z[i]", None),
    "saxpy out": (saxpy, "x[i], y[i] -> z[i]", None),
    "histogram": (histogram, "data[i] -> sum counts[:bins]", None),
    "matmul": (matmul, "a[m,k], b[k,n] -> sum c[m,n]", None),
    "fft": (fft, "src[b,:,:] -> dst[b,:,:]", None),
    "black_scholes": (black_scholes, "spot[i], strike[i], years[i] -> call[i], put[i]", None),
    "stencil": (stencil, "u[i-1..i+1,j-1..j+1] -> v[i,j]", "valid"),
    "softmax": (softmax, "x[i,:] -> s[i,:]", None),
    "distances": (distances, "x[i,:], y[j,:] -> d[i,j]", None),
}


def timed(call):
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    del result
    return seconds


def ways(name):
    body, notation, boundary = CASES[name]
    cut, uncut = (kernel(notation, boundary=boundary, cut=c)(body) for c in (True, False))
    values = arguments(name)
    out = {"out": np.ones(10**7)} if name == "saxpy out" else {}

    def on(count, made):
        def call():
            with threads(count):
                return made(*values, **out)

        return call

    return {
        "raw": lambda: body(namespace_for("CPU"), *values),
        "cut 1": on(1, cut),
        "uncut": on(1, uncut),
        "cut 2": on(2, cut),
    }


def small():
    """Microseconds of a small call over the body by hand."""
    made = kernel("x[i], y[i] -> z[i]")(saxpy)
    x, y = np.ones(10), np.ones(10)
    over = []
    for _ in range(31):
        start = time.perf_counter()
        for _ in range(1000):
            made(x, y, 2.0)
        middle = time.perf_counter()
        for _ in range(1000):
            saxpy(compat, x, y, 2.0)
        over.append((2 * middle - start - time.perf_counter()) * 1e3)
    return statistics.median(over)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--plain", action="store_true", help="NumPy's own FFT, even where scipy is installed")
    args = parser.parse_args()
    if args.plain:
        register_namespace("CPU", compat)
    print(f"cache {cache_bytes() >> 10} KiB, numpy {np.__version__}, {platform.machine()}, {args.rounds} rounds")
    print(f"{'':14} {'raw ms':>8} {'cut/raw':>8} {'cut/uncut':>9} {'2/raw':>8} {'2/cut':>8} {'2/uncut':>8}")
    found = {}
    for name in args.only:
        calls = ways(name)
        for call in calls.values():
            call()
        times = {way: [] for way in calls}
        order = list(calls)
        for _ in range(args.rounds):
            random.shuffle(order)
            for way in order:
                times[way].append(timed(calls[way]))
        raw, cut, uncut, two = (statistics.median(times[w]) for w in calls)
        found[name] = [round(v, 3) for v in (raw * 1e3, cut / raw, cut / uncut, two / raw, two / cut, two / uncut)]
        print(f"{name:14} {raw * 1e3:8.1f} " + " ".join(f"{v:8.2f}" for v in found[name][1:]), flush=True)
    found["small_us"] = round(small(), 2)
    print(f"small call: {found['small_us']} us over the body")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
