"""Calls whose explanation is compared with the tiles that Legate really makes: python tests/explained.py.

A program of its own, so that it can be run on another number of CPUs than the tests: LEGATE_CONFIG="--cpus 6 ...".
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

import xpdispatch as xd
from haloed import parts
from xpdispatch import In, Kernel, Out, image, kernel, min_extents


@kernel("src[...] -> dst[...]", dtype="src")
def copy(xp, src):
    return xp.asarray(src, copy=True)


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("data[i] -> sum hist[:bins]")
def histogram(xp, data, bins):
    return xp.sum(xp.astype(data[:, None] == xp.arange(bins), xp.int64), axis=0)


@kernel("A[m,k], B[k,n] -> sum C[m,n]")
def matmul(xp, A, B):
    return A @ B


@kernel("src[b,:,:] -> dst[b,:,:]", dtype="src")
def fft2(xp, src):
    return src * 2


@kernel("A[m,k], B[k,n] -> sum C[m,n]", deterministic=True)
def ordered_matmul(xp, A, B):
    return A @ B


@kernel("x[i] -> sum s[]", deterministic=True)
def ordered_sum(xp, x):
    return xp.sum(x)


@kernel("A[i,j], x[j] -> sum y[i]")
def matvec(xp, A, x):
    return A @ x


@kernel("x[i], y[j] -> sum s[]")
def all_pairs(xp, x, y):
    return xp.sum(x[:, None] * y[None, :])


@kernel("x[i], y[j] -> z[i,j]")
def outer(xp, x, y):
    return x[:, None] * y[None, :]


@kernel("a[i,j], b[j,i] -> c[i,j]")
def add_turned(xp, a, b):
    return a + b.T


@kernel("a[i,:k], b[:k,j] -> c[i,j]")
def whole_products(xp, a, b):
    return a @ b


@kernel("u[i-1..i+1] -> v[i]", boundary="edge")
def slopes(xp, u):
    return u[2:] - u[:-2]


@kernel("u[i..i+2] -> v[i]", boundary="valid")
def moving(xp, u):
    return u[2:] - u[:-2]


@kernel("u[2*i-3..2*i+4], x[i], w[i-1..i] -> v[i], sum s[]", boundary={"u": "wrap", "w": "reflect"})
def coarser(xp, u, x, w):
    v = u[: 2 * x.shape[0] : 2] + x + w[1:]
    return v, xp.sum(v)


@kernel("u[i-1..i+1,j-1..j+1] -> v[i,j]", boundary=0.0)
def smooth(xp, u):
    return u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]


@kernel("u[i-1..i+1,:] -> sum s[]", boundary="edge")
def roughness(xp, u):
    return xp.sum(xp.abs(u[2:] - u[:-2]))


@kernel("p[i], x[:] -> y[i]", constraints=[image("p", "x")])
def gather(xp, p, x):
    return xp.take(x, p, axis=0)


@kernel("u[2*i,2*j] -> v[i,j]")
def pool(xp, u):
    return u[::2, ::2]


@kernel("[i=n] -> sum s[]")
def samples(xp, tile, n):
    return xp.sum(tile.coords("i"))


@kernel("[i=n,j=m] -> sum s[]")
def grid_sum(xp, tile, n, m):
    return xp.sum(tile.coords("i")) * tile.size("j")


@kernel("x[i] -> y[?]")
def positive(xp, x):
    return x[x > 0]


@kernel("x[i,:] -> y[?,:]")
def some_rows(xp, x):
    return x[x[:, 0] > 0]


@kernel("x[...], y[...] -> z[...]")
def add(xp, x, y):
    return x + y


@kernel("x[i,j] -> y[i,j]", constraints=[min_extents("x", (64, 1))])
def in_long_tiles(xp, x):
    return x + 1


@kernel(constraints=[])
def loose(xp, x: In, y: Out):
    y[...] = xp.flip(x, axis=0)


Make = Callable[..., Callable[[], Any]]


def calls(make: Make) -> Iterator[tuple[Kernel, tuple[Any, ...]]]:
    """Kernels and arguments; arrays are made when they are needed, in the Scope of the launch."""
    for m, k, n in (300, 200, 400), (200, 200, 199), (64, 64, 1000), (1000, 64, 64), (64, 1000, 64):
        yield matmul, (make(m, k), make(k, n))
    yield ordered_matmul, (make(300, 200), make(200, 100))
    for shape in (1000, 10, 10), (10, 100, 100), (300, 200), (7, 5, 3, 400), (90_000,), (1, 50_000), (3,):
        yield copy, (make(*shape),)
    for size in (100_000, 1000, 21, 18):
        yield saxpy, (make(size), make(size), 2.0)
    yield histogram, (lambda: make(50_000)().astype(int), 9)
    yield histogram, (lambda: make(500)().astype(int), 9)
    yield fft2, (make(20, 100, 100),)
    yield fft2, (make(1000, 10, 10),)
    yield matvec, (make(400, 300), make(300))
    yield matvec, (make(30, 4000), make(4000))
    yield all_pairs, (make(1000), make(1000))
    yield outer, (make(1000), make(300))
    yield add_turned, (make(300, 1000), make(1000, 300))
    yield add_turned, (make(200, 200), make(200, 200))
    yield whole_products, (make(300, 200), make(200, 300))
    yield slopes, (make(100_000),)
    yield slopes, (make(262_147),)  # a prime number: rects are for stretches of four, the last is shorter
    yield moving, (make(100_002),)
    for n in (70_001, 196_613):
        yield coarser, (make(2 * n), make(n), make(n))
    yield roughness, (make(150_001, 2),)
    yield smooth, (make(300, 400),)
    yield roughness, (make(500, 300),)
    yield roughness, (make(40, 4000),)
    yield gather, (lambda: make(50_000)().astype(int), make(60_000))
    yield gather, (lambda: make(50_000)().astype("int32"), make(60_000))
    yield pool, (make(300, 400),)
    yield positive, (make(100_000),)
    yield some_rows, (make(1000, 400),)
    yield add, (make(300, 400), make(400))
    yield add, (make(300, 1), make(400))
    yield ordered_sum, (make(100_000),)
    yield in_long_tiles, (make(1000, 50),)
    yield loose, (make(40_000), make(40_000))


def spaces() -> Iterator[tuple[Kernel, tuple[Any, ...]]]:
    """Calls without cuPyNumeric arrays, which ``engine("legate")`` sends there."""
    yield samples, (10**6,)
    yield samples, (10**3,)
    yield samples, (17,)
    yield grid_sum, (1000, 700)
    yield matmul, (np.ones((200, 200)), np.ones((200, 199)))
    yield copy, (np.ones((300, 200)),)


def difference(body: Kernel, arguments: Any, factor: int | None, options: Any = None) -> str:
    """Where the tiles of a launch, or what each gets of a first operand with a halo, are not foretold; else empty."""
    from xpdispatch.legate import leaf
    from xpdispatch.legate.releases import cutting

    with nullcontext() if factor is None else cutting(factor), xd.engine("legate"):
        given = [a() if callable(a) else a for a in arguments]
        named = {name: a() if callable(a) else a for name, a in (options or {}).items()}
        answer = body.explain(*given, **named)
        before, leaf.recorder = leaf.recorder, leaf.Recorder()
        try:
            with parts() as held:
                body(*given, **named)
                xd.synchronize()
            tiles = leaf.recorder.tiles
        finally:
            leaf.recorder = before
    real = sorted(region for name, region in tiles if name == body.name)
    question = answer.question
    if answer.count > 1 and question.recipe().operands[:1] and question.recipe().operands[0].how == "window":
        size, foretold = given[0].dtype.itemsize, answer.arrays[question.plan.operands[0].name].holds
        same = sorted(size * part.elements for part in held) == sorted(int(n) for n in foretold if n)
    else:
        same = True
    if real == sorted(answer.tiles()) and same:
        return ""
    shapes = [getattr(a, "shape", a) for a in given]
    return f"{body!r} {shapes} factor {factor}: {real[:3]} of {len(real)}, but {answer.counts} foretold"


def compare(factor: int | None) -> tuple[int, list[str]]:
    """How many launches were compared, and those whose tiles are not as foretold."""
    import cupynumeric

    def filled(*shape: int) -> Callable[[], Any]:
        return lambda: cupynumeric.ones(shape)

    def computed(*shape: int) -> Callable[[], Any]:
        return lambda: cupynumeric.ones(shape) + 1

    all_calls = [*calls(filled), *calls(computed), *spaces()]
    return len(all_calls), [line for body, arguments in all_calls if (line := difference(body, arguments, factor))]


if __name__ == "__main__":
    done = [compare(factor) for factor in (None, 1, 4)]
    print(sum(n for n, _ in done), "compared")
    print(*(line for _, wrong in done for line in wrong), sep="\n")
    sys.exit(any(wrong for _, wrong in done))
