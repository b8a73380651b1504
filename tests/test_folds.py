"""The ready-made folds against NumPy's functions, on odd numbers and in tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import Engine, run_tiles
from xpdispatch import folds, kernel
from xpdispatch.testing import check_partitioning, check_portable


@kernel("x[i,j] -> fold best[j], fold place[j]", fold=folds.argmax)
def argmax(xp, tile, x):
    return folds.argmax_of(xp, x, tile.start("i"))


@kernel("x[i,j] -> fold best[j], fold place[j]", fold=folds.argmin)
def argmin(xp, tile, x):
    return folds.argmin_of(xp, x, tile.start("i"))


@kernel("x[i,j] -> fold mean[j], fold count[j]", fold=folds.mean)
def mean(xp, x):
    return folds.mean_of(xp, x)


@kernel("x[i,j] -> fold var[j], fold mean[j], fold count[j]", fold=folds.variance)
def variance(xp, x):
    return folds.variance_of(xp, x)


@kernel("x[i,j] -> fold total[j]", fold=folds.logsumexp)
def logsumexp(xp, x):
    return folds.logsumexp_of(xp, x)


@kernel("x[i,j] -> fold best[:3,j]", fold=folds.top_k)
def top(xp, x):
    return folds.top_k_of(xp, x, 3)


@kernel("x[i,j] -> fold values[:9,j], fold count[j]", fold=folds.distinct)
def distinct(xp, x):
    return folds.distinct_of(xp, x, 9)


@kernel("x[i,j] -> fold y[j]", fold=folds.first)
def first(xp, x):
    return folds.first_of(xp, x)


@kernel("x[i,j] -> fold y[j]", fold=folds.last)
def last(xp, x):
    return folds.last_of(xp, x)


def of_three(x: np.ndarray) -> np.ndarray:
    missing = np.full((max(0, 3 - len(x)), x.shape[1]), -np.inf)
    return np.sort(np.concatenate([missing, x]), axis=0)[::-1][:3]


def of_nine(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = [np.unique(column) for column in x.T]
    padded = [np.concatenate([u, np.full(9 - len(u), u[-1])]) for u in found]
    return np.stack(padded, axis=1), np.asarray([len(u) for u in found])


CASES: list[tuple[xd.Kernel, Callable[..., Any], bool]] = [
    (argmax, lambda x: (x.max(axis=0), x.argmax(axis=0)), True),
    (argmin, lambda x: (x.min(axis=0), x.argmin(axis=0)), True),
    (mean, lambda x: (x.mean(axis=0), np.full(x.shape[1], len(x))), False),
    (variance, lambda x: (x.var(axis=0), x.mean(axis=0), np.full(x.shape[1], len(x))), False),
    (logsumexp, lambda x: np.logaddexp.reduce(x, axis=0), False),
    (top, of_three, True),
    (distinct, of_nine, True),
    (first, lambda x: x[0], True),
    (last, lambda x: x[-1], True),
]
BY_NAME = pytest.mark.parametrize(("made", "expected", "exact"), CASES, ids=lambda v: getattr(v, "name", ""))


def ordinary(n: int = 12) -> np.ndarray:
    """With ties, of the largest and the smallest too."""
    return np.random.default_rng(0).integers(0, 4, (n, 5)).astype(float)


def odd() -> np.ndarray:
    """Columns with NaN, infinities of one sign and of both, and zeros of two signs."""
    x = np.random.default_rng(1).normal(size=(9, 7))
    x[[2, 5], 1] = np.nan
    x[3, 2], x[4, 3] = np.inf, -np.inf
    x[:, 4] = -np.inf
    x[[0, 6], 5] = 0.0, -0.0
    x[1, 6], x[7, 6] = np.inf, np.nan
    return x


def compare(found: Any, expected: Any, *, exact: bool) -> None:
    found, expected = (v if isinstance(v, tuple) else (v,) for v in (found, expected))
    for f, e in zip(found, expected, strict=True):
        if exact:
            np.testing.assert_array_equal(f, e)
        else:
            np.testing.assert_allclose(f, e, rtol=1e-12, atol=1e-12)


@BY_NAME
def test_they_are_numpys(made: xd.Kernel, expected: Callable[..., Any], exact: bool, engine: Engine) -> None:
    for x in (ordinary(), ordinary(1), ordinary(2)):
        got = made(engine.put(x))
        values = got if isinstance(got, tuple) else (got,)
        compare(tuple(map(engine.get, values)), expected(x), exact=exact)


@BY_NAME
def test_odd_numbers_in_tiles(made: xd.Kernel, expected: Callable[..., Any], exact: bool) -> None:
    with np.errstate(all="ignore"):
        for cuts in ([], [1], [4], [1, 2, 3], [3, 6], list(range(1, 9))):
            found = run_tiles(made, [odd()], i=cuts)
            compare(tuple(found), expected(odd()), exact=exact)


@BY_NAME
def test_they_do_not_depend_on_tiles_nor_on_the_library(
    made: xd.Kernel, expected: Callable[..., Any], exact: bool
) -> None:
    check_partitioning(made, ordinary())
    check_portable(made, ordinary())


def test_integers() -> None:
    x = np.asarray([[3], [9], [-4], [9]])
    compare(argmax(x), (np.asarray([9]), np.asarray([1])), exact=True)
    compare(top(x[:2]), np.asarray([[9], [3], [np.iinfo(np.int64).min]]), exact=True)


def test_more_distinct_values_than_there_is_room_for(engine: Engine) -> None:
    """In one tile, and where none has too many."""
    made = kernel("x[i] -> fold values[:k], fold count[]", fold=folds.distinct)(folds.distinct_of)
    for x in (np.arange(40) % 5, np.arange(40) // 8):
        values, count = (engine.get(v) for v in made(engine.put(x), 5))
        np.testing.assert_array_equal(values, np.arange(5))
        assert count == 5
        with pytest.raises(ValueError, match="there are more than 4 distinct values"):
            engine.get(made(engine.put(x), 4)[1])


def test_single_precision_stays_single() -> None:
    for made, *_ in CASES:
        got = made(ordinary().astype(np.float32))
        for value in got if isinstance(got, tuple) else (got,):
            assert value.dtype in (np.float32, np.int64)
