"""Halos, blocks, results of unknown size, folds and index spaces: the answer is NumPy's, whole and in tiles."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xpdispatch as xd
from conftest import Engine
from xpdispatch import Kernel, kernel
from xpdispatch.executor import run
from xpdispatch.namespaces import namespace_for
from xpdispatch.site import Site
from xpdispatch.tiling import grid, whole

rng = np.random.default_rng(20261124)


def run_in_tiles(made: Kernel, args: list[Any], cuts: dict[str, list[int]], scalars: tuple = ()) -> list[Any]:
    """The results of a kernel that allocates them, its tiles run in random order."""
    count = made.body.results
    plan = made.plan([a.shape for a in args], scalars, [None] * count)
    regions = list(grid(plan, cuts))
    order = np.random.default_rng(len(regions)).permutation(len(regions))
    site = Site(plan, made.body, made.body.function, namespace_for("CPU"), "numpy", "CPU", (None,) * count)
    return run(site, args, [None] * count, scalars, whole(plan), [regions[n] for n in order])


MODES = ["edge", "reflect", "symmetric", "wrap", 2.5]


def pad(x: np.ndarray, widths: list[tuple[int, int]], mode: Any) -> np.ndarray:
    return np.pad(x, widths, mode=mode) if isinstance(mode, str) else np.pad(x, widths, constant_values=mode)


def windows(u: Any, extents: tuple[int, ...], reach: tuple[int, ...]) -> Any:
    """A weighted sum over every offset of a halo that is there in full."""
    total = 0
    for n, offsets in enumerate(product(*(range(r + 1) for r in reach))):
        total = total + u[tuple(slice(o, o + e) for o, e in zip(offsets, extents, strict=True))] * (n + 1)
    return total


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("shape", [(9, 7), (2, 1), (1, 3)], ids=str)
def test_padded_halos(mode: Any, shape: tuple[int, int], engine: Engine) -> None:
    @kernel("u[i-2..i+1, j-1..j+3] -> v[i, j]", boundary=mode)
    def stencil(xp, tile, u):
        assert tile.halo("u", 0) == (2, 1)
        return windows(u, (tile.size("i"), tile.size("j")), (3, 4))

    x = rng.normal(size=shape)
    expected = windows(pad(x, [(2, 1), (1, 3)], mode), shape, (3, 4))
    np.testing.assert_allclose(engine.get(stencil(engine.put(x))), expected)
    cuts = {"i": [1, shape[0] // 2], "j": [1, 1]}
    np.testing.assert_allclose(run_in_tiles(stencil, [x], cuts)[0], expected)


@given(st.data())
def test_any_halo_under_any_tiling(data: Any) -> None:
    low, high = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))
    x = data.draw(hnp.arrays(np.int64, st.integers(1, 8), elements=st.integers(-9, 9)))
    mode = data.draw(st.sampled_from(["edge", "reflect", "symmetric", "wrap", 7, "valid"]))
    if low + high == 0:
        return
    made = kernel(f"u[i-{low}..i+{high}] -> v[i]", boundary=mode)(
        lambda xp, tile, u: windows(u, (tile.size("i"),), (low + high,))
    )
    wide = x if mode == "valid" else pad(x, [(low, high)], mode)
    n = len(wide) - low - high
    if n < 1:
        return
    expected = windows(wide, (n,), (low + high,))
    np.testing.assert_array_equal(made(x), expected)
    cuts = data.draw(st.lists(st.integers(0, n), max_size=3))
    np.testing.assert_array_equal(run_in_tiles(made, [x], {"i": cuts})[0], expected)


def test_clipped_halo(engine: Engine) -> None:
    @kernel("x[i-2..i+1] -> y[i]", boundary="clip")
    def neighbours(xp, tile, x):
        low, high = tile.halo("x", 0)
        return xp.asarray([x.shape[0] - low - high] * tile.size("i")) + 0 * tile.coords("i")

    @kernel("x[i-1..i+1] -> y[i]", boundary="clip")
    def highest(xp, tile, x):
        low, high = tile.halo("x", -1)
        wide = xp.concat([x[:1]] * (1 - low) + [x] + [x[-1:]] * (1 - high))
        return xp.maximum(xp.maximum(wide[:-2], wide[1:-1]), wide[2:])

    x = rng.normal(size=9)
    wide = np.pad(x, 1, mode="edge")
    expected = np.maximum(np.maximum(wide[:-2], wide[1:-1]), wide[2:])
    np.testing.assert_array_equal(engine.get(highest(engine.put(x))), expected)
    np.testing.assert_array_equal(run_in_tiles(highest, [x], {"i": [1, 2, 2, 8]})[0], expected)
    assert list(run_in_tiles(neighbours, [x], {"i": [1, 4]})[0]) == [1, 3, 3, 3, 5, 5, 5, 5, 5]


def test_interior_tiles_are_views() -> None:
    seen = []

    @kernel("x[i-1..i+1] -> y[i]", boundary="edge")
    def body(xp, x):
        seen.append(np.shares_memory(x, source))
        return x[1:-1]

    source = rng.normal(size=9)
    run_in_tiles(body, [source], {"i": [3, 6]})
    assert sorted(seen) == [False, False, True]


def test_boundaries_by_operand(engine: Engine) -> None:
    @kernel("u[i-1..i], v[i..i+1] -> w[i]", boundary={"u": "wrap", "v": 0})
    def both(xp, u, v):
        return u[:-1] + v[1:]

    u, v = rng.normal(size=5), rng.normal(size=5)
    np.testing.assert_allclose(engine.get(both(engine.put(u), engine.put(v))), np.roll(u, 1) + np.append(v[1:], 0))


def test_blocks(engine: Engine) -> None:
    @kernel("x[2*i, 3*j] -> y[i, j]")
    def pool(xp, x):
        return xp.max(xp.reshape(x, (x.shape[0] // 2, 2, x.shape[1] // 3, 3)), axis=(1, 3))

    @kernel("x[i] -> y[2*i]")
    def repeat(xp, tile, x):
        assert tile.size(("y", 0)) == 2 * tile.size("i")
        assert tile.start(("y", -1)) == 2 * tile.start("i")
        assert tile.total(("y", 0)) == 2 * tile.total("i")
        return xp.reshape(xp.stack([x, x], axis=1), (-1,))

    x = rng.normal(size=(8, 9))
    expected = x.reshape(4, 2, 3, 3).max((1, 3))
    np.testing.assert_array_equal(engine.get(pool(engine.put(x))), expected)
    np.testing.assert_array_equal(run_in_tiles(pool, [x], {"i": [1, 3], "j": [2]})[0], expected)
    np.testing.assert_array_equal(engine.get(repeat(engine.put(x[0]))), np.repeat(x[0], 2))
    np.testing.assert_array_equal(run_in_tiles(repeat, [x[0]], {"i": [1, 5, 5]})[0], np.repeat(x[0], 2))


def test_unknown_extents(engine: Engine) -> None:
    @kernel("x[i], w[i, :] -> y[?], rows[?, :], n[i], sum kept[]")
    def positive(xp, x, w):
        chosen = xp.nonzero(x > 0)[0]
        return x[x > 0], xp.take(w, chosen, axis=0), x * 2, xp.sum(xp.astype(x > 0, xp.int64))

    x, w = rng.normal(size=11), rng.normal(size=(11, 2))
    expected = x[x > 0], w[x > 0], x * 2, np.sum(x > 0)
    for got in (positive(engine.put(x), engine.put(w)), run_in_tiles(positive, [x, w], {"i": [1, 2, 2, 7]})):
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_array_equal(engine.get(g), e)
    none = positive(engine.put(-np.abs(x)), engine.put(w))
    assert tuple(none[0].shape) == (0,)
    assert tuple(none[1].shape) == (0, 2)
    empty = positive(engine.put(x[:0]), engine.put(w[:0]))
    assert [tuple(a.shape) for a in empty] == [(0,), (0, 2), (0,), ()]
    assert engine.get(empty[0]).dtype == x.dtype


def test_an_unknown_extent_after_a_failure(on_legate: Engine) -> None:
    @kernel("x[i] -> y[?]")
    def picky(xp, x):
        if xp.any(x > 8):
            raise KeyError("more than eight")
        return x[x > 4]

    for _ in range(3):
        with pytest.raises(KeyError, match="more than eight"):
            picky(on_legate.put(np.arange(10.0)))
        np.testing.assert_array_equal(on_legate.get(picky(on_legate.put(np.arange(8.0)))), [5.0, 6.0, 7.0])


def test_halos_and_blocks_are_cut_on_legate(on_legate: Engine) -> None:
    """Not in one piece: several tiles, a view of the halo in each, and the answer of NumPy."""
    from xpdispatch.engines.legate import engine as legate

    x = rng.normal(size=(24, 9))
    halo = kernel("u[i-2..i+1, j-1..j] -> v[i, j]", boundary="reflect")(
        lambda xp, tile, u: windows(u, (tile.size("i"), tile.size("j")), (3, 1))
    )
    alone = kernel("u[i-1..i+1] -> sum s[]", boundary=0.0)(lambda xp, u: xp.sum(u[:-2] * u[2:]))
    block = kernel("x[2*i, 3*j] -> y[3*i, j]")(
        lambda xp, x: xp.repeat(xp.reshape(x[::2], (-1, x.shape[1] // 3, 3))[..., 0], 3, axis=0)
    )
    for made, data in ((halo, x), (alone, x[:, 0].copy()), (block, x)):
        xd.synchronize()
        with legate.forced_tiles(4) as tiles:
            got = on_legate.get(made(on_legate.put(data)))
        np.testing.assert_allclose(got, made(data), rtol=1e-12)
        assert len([1 for k, _ in tiles if k is made]) > 2


def later(xp, a, b):
    (value, place), (other, there) = a, b
    better = other > value
    return xp.where(better, other, value), xp.where(better, there, place)


def test_fold_of_several_results(engine: Engine) -> None:
    @kernel("x[i, j] -> fold best[i], fold place[i]", fold=later)
    def argmax(xp, tile, x):
        return xp.max(x, axis=1), xp.argmax(x, axis=1) + tile.start("j")

    x = rng.integers(0, 4, size=(5, 9)).astype(float)
    best, place = argmax(engine.put(x))
    np.testing.assert_array_equal(engine.get(place), x.argmax(1))
    for cuts in ({"j": [2, 5]}, {"i": [2], "j": [1, 1, 8]}, {"i": [1, 3]}):
        best, place = run_in_tiles(argmax, [x], cuts)
        np.testing.assert_array_equal(place, x.argmax(1))
        np.testing.assert_array_equal(best, x.max(1))
    with pytest.raises(ValueError, match="fold of result 'best' over no cell: j has extent 0"):
        argmax(engine.put(x[:, :0]))


def test_fold_keeps_the_order_of_tiles() -> None:
    @kernel("x[i] -> fold ends[:2]", fold=lambda xp, a, b: xp.stack([a[0], b[1]]))
    def ends(xp, x):
        return xp.stack([x[0], x[-1]])

    x = rng.normal(size=12)
    assert list(run_in_tiles(ends, [x], {"i": [1, 4, 5, 9]})[0]) == [x[0], x[-1]]


def test_index_spaces(engine: Engine) -> None:
    @kernel("[i=n] -> sum hits[]")
    def thirds(xp, tile, n):
        return xp.sum(tile.coords("i") % 3)

    @kernel("[j=n], x[i] -> y[i, j]")
    def table(xp, tile, x, n):
        return x[:, None] + xp.astype(tile.coords("j"), x.dtype)[None, :]

    assert thirds(100) == 99
    assert run_in_tiles(thirds, [], {"i": [1, 50, 50]}, (100,))[0] == 99
    x = rng.normal(size=4)
    np.testing.assert_array_equal(engine.get(table(engine.put(x), 3)), x[:, None] + np.arange(3))
    np.testing.assert_array_equal(run_in_tiles(table, [x], {"j": [1]}, (3,))[0], x[:, None] + np.arange(3))


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_grid_read_and_written_a_thousand_times(mode: Any) -> None:
    @kernel("u[i-1..i+1, j-1..j+1] -> u[i, j]", boundary=mode)
    def smooth(xp, u):
        return (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]) / 4

    u = rng.normal(size=(8, 6))
    expected = u.copy()
    for _ in range(1000):
        assert smooth(u) is u
        wide = pad(expected, [(1, 1), (1, 1)], mode)
        expected = (wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]) / 4
    np.testing.assert_array_equal(u, expected)


def test_a_body_does_not_write_what_it_reads_with_a_halo() -> None:
    @kernel("u[i-1..i+1] -> u[i]", boundary="wrap")
    def in_place(xp, u):
        u[1:-1] = 0

    with pytest.raises(ValueError, match="read-only"):
        in_place(np.ones(5))


def test_the_sample_of_a_clipped_halo_is_an_inner_tile() -> None:
    @kernel("x[i-1..i+2] -> y[i, :]", boundary="clip")
    def stacked(xp, tile, x):
        assert tile.halo("x", 0) == (1, 2)
        return xp.stack([x[:-3], x[3:]], axis=1)

    plan = stacked.plan([(9,)], (), [None])
    ((dtype, shape),) = stacked.result_types(plan, [np.dtype("f4")], (), [None])
    assert dtype == np.float32
    assert shape == (9, 2)
