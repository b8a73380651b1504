"""Many launches on Legate that depend on each other, failing ones among them, and few points at which one waits."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

import xpdispatch as xd
from xpdispatch.testing import forced_tiles

from .raised import Boom


@xd.kernel("x[...], y[...] -> z[...]")
def add(xp, x, y):
    return x + y


@xd.kernel("u[i-1..i+1] -> v[i]", boundary="wrap")
def neighbours(xp, u):
    return u[2:] - u[:-2]


@xd.kernel("x[i] -> sum s[], max m[]")
def totals(xp, x):
    return xp.sum(x), xp.max(x)


@xd.kernel("x[i], s[] -> y[i]")
def shifted(xp, x, s):
    return x - s


@xd.kernel("x[i] -> x[i]")
def grown(xp, x):
    x += 1


@xd.kernel("x[i] -> y[?]")
def odd(xp, x):
    return x[x % 2 == 1]


@xd.kernel("x[i] -> sum s[]")
def counted(xp, x):
    return xp.asarray(x.shape[0])


@xd.kernel("x[i] -> y[i]", dtype="x")
def failing(xp, tile, x, at):
    if tile.start("i") <= at < tile.start("i") + tile.size("i"):
        raise Boom(at)
    return x


@xd.kernel("x[i] -> y[i]", dtype="x")
def wrong_shape(xp, x):
    return x[:-1]


def stress(seed: int, launches: int = 100) -> int:
    """Launch, and compare at every synchronization with the same steps in NumPy; how many launches failed."""
    import cupynumeric

    rng = Random(seed)
    n = rng.choice((5, 17, 64))
    pool: list[tuple[Any, np.ndarray]] = []
    for _ in range(3):
        values = np.array([rng.randrange(-9, 9) for _ in range(n)])
        pool.append((cupynumeric.array(values), values))
    failed, failures = False, 0
    with forced_tiles(rng.choice((1, 2, 4))):
        for _ in range(launches):
            (x, a), (y, b) = rng.choice(pool), rng.choice(pool)
            step = rng.randrange(10)
            if step < 3:
                pool.append((add(x, y), a + b))
            elif step == 3:
                pool.append((neighbours(x), np.roll(a, -1) - np.roll(a, 1)))
            elif step == 4:
                total, most = totals(x)
                pool.append((shifted(y, total), b - a.sum()))
                pool.append((shifted(y, most), b - a.max()))
            elif step == 5:
                grown(x)
                a += 1
            elif step == 6:
                try:
                    found = odd(x)  # waits, and so tells of failures before
                except (Boom, xd.ResultError):
                    assert failed, "a failure that nothing caused"
                    failed = False
                else:
                    assert not failed, "a failure was lost"
                    pool.append((shifted(y, counted(found)), b - np.count_nonzero(a % 2 == 1)))
            elif step == 7 and rng.random() < 0.3:
                failed, failures = True, failures + 1
                failing(x, rng.randrange(n))
            elif step == 8 and rng.random() < 0.3:
                failed, failures = True, failures + 1
                wrong_shape(x)
            elif step == 9 and rng.random() < 0.3:
                _wait(pool, failed=failed)
                failed = False
            pool[:-8] = []
        _wait(pool, failed=failed)
    return failures


def _wait(pool: list[tuple[Any, np.ndarray]], *, failed: bool) -> None:
    try:
        xd.synchronize()
    except (Boom, xd.ResultError):
        assert failed, "a failure that nothing caused"
    else:
        assert not failed, "a failure was lost"
    for got, expected in pool:
        np.testing.assert_array_equal(np.asarray(got), expected)
