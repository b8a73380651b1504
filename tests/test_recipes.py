"""The recipes' kernels, as their page has them: against other means, on every engine, and under the checker."""

from __future__ import annotations

import ast
import doctest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, ndimage, signal, spatial, special, stats

from conftest import Engine
from xpdispatch import Kernel
from xpdispatch.testing import check_partitioning

PAGE = Path(__file__).parents[1] / "docs" / "recipes.rst"
Call = Callable[..., Any]
"""Calls the page's kernel of a name with NumPy arrays and scalars; gives NumPy arrays."""

rng = np.random.default_rng(20261130)
TABLE = rng.normal(5.0, 3.0, (41, 6))
ROW = TABLE[:, 0].copy()


def kernels() -> dict[str, Kernel]:
    """By name; of the page's examples only definitions run, and imports of what we have."""
    names: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(PAGE.read_text()):
        (node,) = ast.parse(example.source).body
        ours = isinstance(node, ast.FunctionDef) and all("kernel(" in ast.unparse(d) for d in node.decorator_list)
        if ours or example.source in ("import numpy as np\n", "from xpdispatch import folds, kernel\n"):
            assert not ours or node.name not in names, f"two recipes are called {node.name}"
            exec(example.source, names)
    return {name: value for name, value in names.items() if isinstance(value, Kernel)}


KERNELS = kernels()


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


# -- the tasks: each calls kernels of the page, and compares with another way to the same numbers -------------------


def scores_by_column(call: Call) -> None:
    var, mean, count = call("moments", TABLE)
    close(call("standardized", TABLE, mean, var), stats.zscore(TABLE))
    assert set(count) == {41}


def means_without_nan(call: Call) -> None:
    x = np.where(rng.random(TABLE.shape) < 0.3, np.nan, TABLE)
    total, count = call("without_nan", x)
    close(total / count, np.nanmean(x, axis=0))


def largest_k(call: Call) -> None:
    np.testing.assert_array_equal(call("largest", ROW, 5), np.sort(ROW)[:-6:-1])


def distinct_values(call: Call) -> None:
    x = rng.integers(0, 12, 41)
    expected = np.unique(x)
    np.testing.assert_array_equal(call("distinct", x), expected)
    values, count = call("distinct_few", x, 20)
    np.testing.assert_array_equal(values[: int(count)], expected)
    np.testing.assert_array_equal(np.flatnonzero(call("seen", x, 12)), expected)


def elements_that_pass(call: Call) -> None:
    np.testing.assert_array_equal(call("above", ROW, 5.0), [v for v in ROW if v > 5])


def symmetric_products(call: Call) -> None:
    apart = TABLE - TABLE.mean(axis=0)
    expected = np.cov(TABLE.T, bias=True) * len(TABLE)
    close(call("products", apart, apart), expected)
    blocks = np.ascontiguousarray(apart.reshape(-1, 3, 2).swapaxes(0, 1))
    first, second = np.triu_indices(3)
    for a, b, block in zip(first, second, call("block_products", first, second, blocks, blocks), strict=True):
        close(block, expected[2 * a : 2 * a + 2, 2 * b : 2 * b + 2])


def softmax(call: Call) -> None:
    for x in (TABLE, TABLE * 1000):
        close(call("softmax", x), special.softmax(x, axis=1))
        total = call("logsumexp", x)
        close(total, special.logsumexp(x, axis=1))
        close(call("weights", x, total), special.softmax(x, axis=1))


def batched_solves(call: Call) -> None:
    A, y = rng.random((13, 5, 5)) + 5 * np.eye(5), rng.random((13, 5))
    close(call("solved", A, y), [np.linalg.lstsq(a, b)[0] for a, b in zip(A, y, strict=True)])


def nearest_neighbors(call: Call) -> None:
    x, others = rng.random((17, 3)), rng.random((23, 3))
    distance, place = spatial.KDTree(others).query(x, 4)
    np.testing.assert_array_equal(call("nearest", x, others, 4), place)
    squares, found = call("nearest_of_many", x, others, 4)
    np.testing.assert_array_equal(found, place)
    close(squares, distance**2)


def recurrences(call: Call) -> None:
    close(call("smoothed", TABLE, 0.3), signal.lfilter([0.3], [1, -0.7], TABLE, axis=0, zi=0.7 * TABLE[:1])[0])
    m, c = rng.uniform(-1, 1, (2, 41))
    y = [0.0]
    for factor, added in zip(m, c, strict=True):
        y.append(factor * y[-1] + added)
    factor, value = call("recurrence", m, c)
    close(value, y[1:])
    close(factor, np.multiply.accumulate(m))


def two_of_three_axes(call: Call) -> None:
    cube, plane = rng.random((5, 6, 7)), rng.random((5, 7))
    close(call("weighted", cube, plane), np.einsum("ijk,ik->ijk", cube, plane))


def scans(call: Call) -> None:
    np.testing.assert_array_equal(call("peaks", ROW), np.maximum.accumulate(ROW))
    whole = rng.integers(-9, 9, (7, 11))
    y = call("summed", whole)
    np.testing.assert_array_equal(y, np.add.accumulate(whole, axis=1))
    np.testing.assert_array_equal(call("exclusive", y), y - whole)
    t = np.sort(ROW)
    close(call("path_length", t, ROW), integrate.cumulative_trapezoid(ROW, t))
    phase = np.angle(np.exp(1j * np.linspace(0, 40, 41)))
    close(phase + 2 * np.pi * call("turns", phase), np.unwrap(phase))
    key = np.repeat(rng.integers(0, 3, 9), [3, 1, 7, 9, 2, 5, 6, 4, 4])
    borders = np.flatnonzero(np.diff(key)) + 1
    expected = np.concatenate([np.cumsum(part) for part in np.split(np.arange(41), borders)])
    begins, total = call("by_runs", key, np.arange(41))
    np.testing.assert_array_equal(total, expected)
    np.testing.assert_array_equal(begins, np.arange(41) >= borders[0])


def moving_windows(call: Call) -> None:
    for w in (1, 2, 7):
        near = np.lib.stride_tricks.sliding_window_view(ROW, w)
        average, highest = call("moving", ROW, w)
        close(average, near.mean(axis=1))
        np.testing.assert_array_equal(highest, near.max(axis=1))
    np.testing.assert_array_equal(call("differences", ROW), np.diff(ROW))


def median_filter(call: Call) -> None:
    for r in (1, 2):
        np.testing.assert_array_equal(call("median", TABLE, r), ndimage.median_filter(TABLE, 2 * r + 1, mode="mirror"))


def strided_windows(call: Call) -> None:
    image = rng.normal(size=(22, 14))
    largest = ndimage.maximum_filter(image, 3, mode="constant", cval=-np.inf)[::2, ::2]
    np.testing.assert_array_equal(call("pooled", image), largest)
    for k, s in ((3, 2), (5, 3), (2, 2)):
        kept, f = image[: k + 3 * s, : k + 2 * s], rng.normal(size=(k, k))
        close(call("convolved", kept, f, s), signal.correlate2d(kept, f, mode="valid")[::s, ::s])


def scatter_add(call: Call) -> None:
    row = rng.integers(0, 9, 41)
    expected = np.zeros((9, 6))
    np.add.at(expected, row, TABLE)
    close(call("scattered", TABLE, row, 9), expected)


def histogram_with_outliers(call: Call) -> None:
    points, edges = rng.normal(size=(41, 3)), np.asarray([-1.0, 0.0, 0.4, 1.5])
    bins = call("digitized", points, edges)
    counts = call("histogram", *(np.ascontiguousarray(b) for b in bins.T), 5)
    open_edges = [np.concatenate([[-np.inf], edges, [np.inf]])] * 3
    np.testing.assert_array_equal(counts, stats.binned_statistic_dd(points, None, "count", open_edges).statistic)


def particles_in_cells(call: Call) -> None:
    x = rng.uniform(0, 16, 41)
    cell = call("beside", x, 16)
    np.testing.assert_array_equal(cell, np.stack([x.astype(int), (x.astype(int) + 1) % 16], axis=1))
    hats = np.maximum(0, 1 - abs((x[:, None] - np.arange(16) + 8) % 16 - 8))  # what each cell has of each particle
    charge = call("deposit", x, cell, 16)
    close(charge, hats.sum(axis=0))
    field = call("solve", charge)
    assert abs(field.mean()) < 1e-12
    waves = 2j * np.pi * np.fft.fftfreq(16)
    waves[8] = 0
    close(np.fft.ifft(waves * np.fft.fft(field)), _without_the_highest_wave(charge - charge.mean()))
    close(call("felt", x, cell, field), hats @ field)


def _without_the_highest_wave(x: np.ndarray) -> np.ndarray:
    signs = (-1.0) ** np.arange(len(x))
    return x - signs * (signs @ x) / len(x)


def numbers_by_place(call: Call) -> None:
    y = call("dropped", np.ones(41), 0.5, 7)
    assert 0 < y.sum() < 41
    np.testing.assert_array_equal(call("dropped", np.ones(20), 0.5, 7), y[:20])


TASKS = [
    scores_by_column,
    means_without_nan,
    largest_k,
    distinct_values,
    elements_that_pass,
    symmetric_products,
    softmax,
    batched_solves,
    nearest_neighbors,
    recurrences,
    two_of_three_axes,
    scans,
    moving_windows,
    median_filter,
    strided_windows,
    scatter_add,
    histogram_with_outliers,
    particles_in_cells,
    numbers_by_place,
]
by_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)


@by_task
def test_on_each_engine(task: Callable[[Call], None], engine: Engine) -> None:
    def call(name: str, *args: Any) -> Any:
        found = KERNELS[name](*map(engine.put, args))
        return tuple(map(engine.get, found)) if isinstance(found, tuple) else engine.get(found)

    task(call)


@by_task
def test_under_the_checker(task: Callable[[Call], None]) -> None:
    cut = []

    def call(name: str, *args: Any) -> Any:
        cut.append(check_partitioning(KERNELS[name], *args).tilings)
        return KERNELS[name](*args)

    task(call)
    assert max(cut) > 10


def test_every_recipe_has_a_task() -> None:
    called = set()

    def call(name: str, *args: Any) -> Any:
        called.add(name)
        return KERNELS[name](*args)

    for task in TASKS:
        task(call)
    assert called == set(KERNELS)
