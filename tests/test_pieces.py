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
from conftest import Engine, run_tiles, tiles_of
from xpdispatch import In, Out, align, kernel
from xpdispatch.language.signature import Signature
from xpdispatch.running.dry_run import result_types
from xpdispatch.testing import Tiling, check_partitioning, forced_tiles

rng = np.random.default_rng(20261124)


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
    np.testing.assert_allclose(run_tiles(stencil, [x], order=1, **cuts)[0], expected)


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
    np.testing.assert_array_equal(run_tiles(made, [x], order=1, i=cuts)[0], expected)


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
    np.testing.assert_array_equal(run_tiles(highest, [x], order=1, i=[1, 2, 2, 8])[0], expected)
    assert list(run_tiles(neighbours, [x], order=1, i=[1, 4])[0]) == [1, 3, 3, 3, 5, 5, 5, 5, 5]


def test_interior_tiles_are_views() -> None:
    seen = []

    @kernel("x[i-1..i+1] -> y[i]", boundary="edge")
    def body(xp, x):
        seen.append(np.shares_memory(x, source))
        return x[1:-1]

    source = rng.normal(size=9)
    run_tiles(body, [source], order=1, i=[3, 6])
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
    np.testing.assert_array_equal(run_tiles(pool, [x], order=1, i=[1, 3], j=[2])[0], expected)
    np.testing.assert_array_equal(engine.get(repeat(engine.put(x[0]))), np.repeat(x[0], 2))
    np.testing.assert_array_equal(run_tiles(repeat, [x[0]], order=1, i=[1, 5, 5])[0], np.repeat(x[0], 2))


def test_unknown_extents(engine: Engine) -> None:
    @kernel("x[i], w[i, :] -> y[?], rows[?, :], n[i], sum kept[]")
    def positive(xp, x, w):
        chosen = xp.nonzero(x > 0)[0]
        return x[x > 0], xp.take(w, chosen, axis=0), x * 2, xp.sum(xp.astype(x > 0, xp.int64))

    x, w = rng.normal(size=11), rng.normal(size=(11, 2))
    expected = x[x > 0], w[x > 0], x * 2, np.sum(x > 0)
    for got in (positive(engine.put(x), engine.put(w)), run_tiles(positive, [x, w], order=1, i=[1, 2, 2, 7])):
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
        with forced_tiles() as tiles:
            got = on_legate.get(made(on_legate.put(data)))
        np.testing.assert_allclose(got, made(data), rtol=1e-12)
        assert len(tiles_of(made, tiles)) > 2


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
        best, place = run_tiles(argmax, [x], order=1, **cuts)
        np.testing.assert_array_equal(place, x.argmax(1))
        np.testing.assert_array_equal(best, x.max(1))
    with pytest.raises(ValueError, match="fold of result 'best' over no element: j has extent 0"):
        argmax(engine.put(x[:, :0]))


def test_fold_keeps_the_order_of_tiles() -> None:
    @kernel("x[i] -> fold ends[:2]", fold=lambda xp, a, b: xp.stack([a[0], b[1]]))
    def ends(xp, x):
        return xp.stack([x[0], x[-1]])

    x = rng.normal(size=12)
    assert list(run_tiles(ends, [x], order=1, i=[1, 4, 5, 9])[0]) == [x[0], x[-1]]


def test_index_spaces(engine: Engine) -> None:
    @kernel("[i=n] -> sum hits[]")
    def thirds(xp, tile, n):
        return xp.sum(tile.coords("i") % 3)

    @kernel("[j=n], x[i] -> y[i, j]")
    def table(xp, tile, x, n):
        return x[:, None] + xp.astype(tile.coords("j"), x.dtype)[None, :]

    assert thirds(100) == 99
    assert run_tiles(thirds, [], (100,), order=1, i=[1, 50, 50])[0] == 99
    x = rng.normal(size=4)
    np.testing.assert_array_equal(engine.get(table(engine.put(x), 3)), x[:, None] + np.arange(3))
    np.testing.assert_array_equal(run_tiles(table, [x], (3,), order=1, j=[1])[0], x[:, None] + np.arange(3))


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

    plan = stacked.definition.plan([(9,)], (), [None])
    ((dtype, shape),), _ = result_types(stacked.definition, plan, [np.dtype("f4")], (), [None])
    assert dtype == np.float32
    assert shape == (9, 2)


def test_the_sample_of_operands_with_other_halos_along_later_axes() -> None:
    @kernel("x[j-2..j], y[:, j..j+1] -> z[j]", boundary="symmetric")
    def both(xp, x, y):
        assert (x.shape[0] - 2, y.shape[1] - 1) == (1, 1)
        return x[:-2] + xp.sum(y, axis=0)[1:]

    got = both(np.ones(0, np.float32), np.ones((3, 0), np.int32))
    assert (got.shape, got.dtype) == ((0,), np.float64)


def compressed(rows: int, columns: int, dtype: Any = np.int64) -> tuple[np.ndarray, ...]:
    """A sparse matrix with empty rows: borders, columns, values; and a vector."""
    counts = rng.integers(0, 4, rows) * (rng.random(rows) < 0.7)
    starts = np.concatenate([[0], np.cumsum(counts)])
    places = rng.integers(0, columns, starts[-1])
    return starts.astype(dtype), places.astype(dtype), rng.normal(size=starts[-1]), rng.normal(size=columns)


PRODUCT = [xd.image("starts", "columns", "values"), xd.image("columns", "x")]


@kernel("starts[i..i+1], columns[:], values[:], x[:] -> y[i]", boundary="valid", constraints=PRODUCT)
def product_of(xp, starts, columns, values, x):
    sums = xp.concat([xp.zeros(1, dtype=values.dtype), xp.cumulative_sum(values * xp.take(x, columns))])
    return xp.take(sums, starts[1:]) - xp.take(sums, starts[:-1])


@kernel("starts[i..i+1], columns[:], values[:], x[:, :] -> y[i, :]", boundary="valid", constraints=PRODUCT)
def products_of(xp, starts, columns, values, x):
    terms = values[:, None] * xp.take(x, columns, axis=0)
    sums = xp.concat([xp.zeros((1, x.shape[1]), dtype=values.dtype), xp.cumulative_sum(terms, axis=0)])
    return xp.take(sums, starts[1:], axis=0) - xp.take(sums, starts[:-1], axis=0)


@pytest.mark.parametrize("dtype", [np.int64, np.int32], ids=lambda d: d.__name__)
def test_compressed_rows(dtype: Any, engine: Engine) -> None:
    starts, columns, values, x = compressed(40, 23, dtype)
    rows = np.repeat(np.arange(40), np.diff(starts))
    expected = np.bincount(rows, values * x[columns], minlength=40)
    put = [engine.put(a) for a in (starts, columns, values)]
    np.testing.assert_allclose(engine.get(product_of(*put, engine.put(x))), expected, atol=1e-12)
    got = engine.get(products_of(*put, engine.put(np.stack([x, 2 * x, -x], axis=1))))
    np.testing.assert_allclose(got, np.stack([expected, 2 * expected, -expected], axis=1), atol=1e-12)


def test_nothing_to_point_to(engine: Engine) -> None:
    empty = [engine.put(np.asarray(a)) for a in (np.zeros(6, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    np.testing.assert_array_equal(engine.get(product_of(*empty, engine.put(np.ones(3)))), np.zeros(5))


def test_neighbours_in_a_table(engine: Engine) -> None:
    @kernel("p[i, :], x[:] -> y[i]", constraints=[xd.image("p", "x")])
    def total(xp, p, x):
        return xp.sum(xp.reshape(xp.take(x, xp.reshape(p, (-1,))), p.shape), axis=1)

    p, x = rng.integers(0, 30, (17, 3)), rng.normal(size=30)
    np.testing.assert_allclose(engine.get(total(engine.put(p), engine.put(x))), x[p].sum(axis=1))


@given(st.data())
def test_any_image_under_any_tiling(data: Any) -> None:
    starts, columns, values, x = compressed(data.draw(st.integers(1, 12)), data.draw(st.integers(1, 9)))
    cuts = {"i": data.draw(st.lists(st.integers(0, len(starts) - 1), max_size=5))}
    expected = product_of(starts, columns, values, x)
    np.testing.assert_allclose(
        run_tiles(product_of, [starts, columns, values, x], order=1, **cuts)[0], expected, atol=1e-12
    )


def test_a_tile_gets_what_it_points_to() -> None:
    seen = []

    @kernel("p[i], x[:] -> y[i]", constraints=[xd.image("p", "x")])
    def gather(xp, tile, p, x):
        seen.append((tile.start(("x", 0)), tile.size(("x", 0)), tile.total(("x", 0)), x.base is not None, p.tolist()))
        return x[p]

    p, x = np.asarray([2, 4, 5, 5]), np.arange(8.0)
    np.testing.assert_array_equal(run_tiles(gather, [p, x], order=1, i=[2])[0], x[p])
    assert sorted(seen) == [(2, 3, 8, True, [0, 2]), (5, 1, 8, True, [0, 0])]


def test_images_are_cut_on_legate(on_legate: Engine) -> None:
    starts, columns, values, x = compressed(40, 23)
    sizes = kernel("s[i..i+1], c[:] -> n[i]", boundary="valid", constraints=[xd.image("s", "c")])(
        lambda xp, s, c: xp.full(s.shape[0] - 1, c.shape[0])
    )
    xd.synchronize()
    with forced_tiles():
        most = on_legate.get(sizes(on_legate.put(starts), on_legate.put(columns))).max()
    assert most < len(columns)
    doubled = on_legate.put(np.concatenate([x, x]))[23:]  # a view, of which Legate has no image
    got = on_legate.get(product_of(*map(on_legate.put, (starts, columns, values)), doubled))
    np.testing.assert_allclose(got, product_of(starts, columns, values, x), atol=1e-12)
    with pytest.raises(xd.PointerError, match="points to no element of 'x': there are 23"):
        product_of(*map(on_legate.put, (starts, columns + 23, values, x)))
        xd.synchronize()


CHAIN = [xd.image("p", "q"), xd.image("q", "x")]


@pytest.mark.parametrize("dtype", [np.int64, np.int32], ids=lambda d: d.__name__)
@pytest.mark.parametrize("some", [1, 2, 7], ids=lambda n: f"{n} in p")
def test_images_of_few_elements(some: int, dtype: Any, engine: Engine) -> None:
    """Legate keeps an array of a single element where no image can be made by it."""
    gather = kernel("p[i], x[:] -> y[i]", constraints=[xd.image("p", "x")])(lambda xp, p, x: xp.take(x, p))
    rows = kernel("p[i], x[:, :] -> y[i, :]", constraints=[xd.image("p", "x")])(lambda xp, p, x: xp.take(x, p, axis=0))
    chain = kernel("p[i], q[:], x[:] -> y[i]", constraints=CHAIN)(lambda xp, p, q, x: xp.take(x, xp.take(q, p)))
    for pointers, extent in product((1, 2, 7), (1, 2, 7)):
        x = np.arange(1.0, extent + 1)
        q = (np.arange(pointers) % extent).astype(dtype)
        p = (np.arange(some) % pointers).astype(dtype)
        got = chain(*map(engine.put, (p, q, x)))
        np.testing.assert_array_equal(engine.get(got), x[q[p]])
        if pointers == extent:
            np.testing.assert_array_equal(engine.get(gather(*map(engine.put, (p, x)))), x[p])
            table = np.stack([x, -x], axis=1)[:, : 1 + some % 2]
            np.testing.assert_array_equal(engine.get(rows(*map(engine.put, (p, table)))), table[p])


@pytest.mark.parametrize("elements", [1, 2, 4])
def test_compressed_rows_of_few_elements(elements: int, engine: Engine) -> None:
    for rows, columns in product((1, 2, 5), (1, 2, 5)):
        if elements > rows * columns:
            continue
        matrix = np.zeros((rows, columns))
        matrix.flat[rng.choice(rows * columns, elements, replace=False)] = rng.normal(size=elements)
        at, places = np.nonzero(matrix)
        starts = np.searchsorted(at, np.arange(rows + 1))
        x = rng.normal(size=columns)
        got = product_of(*map(engine.put, (starts, places, matrix[at, places], x)))
        np.testing.assert_allclose(engine.get(got), matrix @ x, atol=1e-12)


def test_one_pointer_in_a_view_or_not(on_legate: Engine) -> None:
    chain = kernel("p[i], q[:], x[:] -> y[i]", constraints=CHAIN)(lambda xp, p, q, x: x[q[p]])
    p, x = on_legate.put(np.zeros(7, np.int64)), on_legate.put(np.arange(7.0))
    several = on_legate.put(np.arange(7))
    for q in (on_legate.put(np.asarray([3])), several[3:4], on_legate.put(np.asarray([3]))):
        np.testing.assert_array_equal(on_legate.get(chain(p, q, x)), np.full(7, 3.0))


def test_an_image_that_the_checker_finds_wrong() -> None:
    @kernel("p[i], x[:] -> y[i]", constraints=[xd.image("p", "x")])
    def from_the_end(xp, p, x):
        return x[p - x.shape[0] // 2]  # only the whole array has this many cells

    with pytest.raises(xd.PartitionError, match="from_the_end"):
        check_partitioning(from_the_end, np.arange(12), np.arange(12.0))


@pytest.mark.parametrize("notation", ["x[i] -> size[i]", "x[2*i] -> size[i]"])
def test_the_smallest_tile(notation: str, engine: Engine) -> None:
    least = xd.min_extents("x", (4,))
    made = kernel(notation, constraints=[least], guard=False)(
        lambda xp, tile, x: xp.full(tile.size("i"), tile.size("i"))
    )
    cells = 40 * made.signature.operands[0].axes[0].scale
    sizes = engine.get(made(engine.put(np.zeros(cells))))
    assert sizes.min() >= 4 // made.signature.operands[0].axes[0].scale
    plan = made.definition.plan([(cells,)], (), [None])
    bound = 4 // made.signature.operands[0].axes[0].scale
    for tiling in (Tiling((("i", tuple(range(41))),)), Tiling((("i", (1, 2, 39)),))):
        assert all(b - a >= bound for ((a, b),) in tiling.regions(plan))


def test_the_sample_is_no_smaller_than_the_smallest_tile(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel(constraints=[xd.min_extents("y", (3, 0))])
    def least(xp, y: Out):
        assert y.shape[0] >= 3
        y[...] = xp.ones(y.shape, dtype=y.dtype)

    assert engine.get(least(engine.put(np.zeros((9, 2))))).sum() == 18


def test_halos_and_blocks_by_constraints(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel(constraints=[xd.bloat("v", "u", (1, 0), (1, 0)), xd.scale((2, 1), "v", "x")])
    def both(xp, tile, u: In, x: In, v: Out):
        below, above = tile.halo("u", 0)
        inner = u[below : u.shape[0] - above, :]
        v[...] = inner + x[::2, :] + (u.shape[0] - inner.shape[0])

    assert both.signature == Signature.parse("u[i-1..i+1, j], x[2*i, j] -> v[i, j]")
    u, x = rng.normal(size=(1, 5)), rng.normal(size=(2, 5))  # one row, so that all tiles clip both sides
    got = engine.get(both(engine.put(u), engine.put(x), out=engine.put(np.zeros((1, 5)))))
    np.testing.assert_allclose(got, u + x[::2])


def test_constraints_print() -> None:
    assert product_of.notation.endswith("; image('starts', 'columns', 'values'); image('columns', 'x')")

    @kernel(constraints=[align("p", "y"), xd.image("p", "x", "MIN_MAX"), xd.min_extents("y", (2,))])
    def gather(xp, p: In, x: In, y: Out):
        y[...] = xp.take(x, p)

    assert (
        gather.notation == "p: In, x: In, y: Out; align('p', 'y'); image('p', 'x', 'MIN_MAX'); min_extents('y', (2,))"
    )
    y = np.zeros(3)
    np.testing.assert_array_equal(gather(np.asarray([2, 0, 1]), np.asarray([1.0, 2.0, 3.0]), y), [3.0, 1.0, 2.0])


def test_images_of_operands_that_may_be_left_out() -> None:
    @kernel("p[i], x[:], w[:] -> y[i]", constraints=[xd.image("p", "x", "w")])
    def weighted(xp, p, x, w=None):
        return xp.take(x, p) * (1 if w is None else xp.take(w, p))

    p, x = np.asarray([5, 4]), np.arange(6.0)
    np.testing.assert_array_equal(weighted(p, x), [5.0, 4.0])
    np.testing.assert_array_equal(weighted(p, x, x), [25.0, 16.0])


def test_random_numbers_of_cells(engine: Engine) -> None:
    @kernel("[i=n, j=m] -> z[i, j]", dtype="float64")
    def noise(xp, tile, n, m, seed):
        return tile.random("i", "j", seed=seed)

    with xd.engine("legate" if engine.name.startswith("legate") else "local"):
        found = noise(40, 30, 7)
    z = np.asarray(found)
    plan = noise.definition.plan([], (40, 30, 7), [None])
    in_tiles = run_tiles(noise, [], (40, 30, 7), order=1, i=[3, 17], j=[11])
    np.testing.assert_array_equal(in_tiles[0], z)
    assert plan.extents == (40, 30)
    assert z.min() >= 0
    assert z.max() < 1
    assert len(np.unique(z)) == z.size
    assert abs(z.mean() - 0.5) < 0.03
    assert abs(np.corrcoef(z[:, :-1].ravel(), z[:, 1:].ravel())[0, 1]) < 0.1
    np.testing.assert_array_equal(noise(50, 31, 7)[:40, :30], z)  # of the place alone, not of the extents
    assert not np.array_equal(noise(40, 30, 8), z)


def test_random_numbers_need_a_seed_and_an_index() -> None:
    for wrong in ({"seed": 0.5}, {"seed": None}):
        made = kernel("x[i] -> y[i]")(lambda xp, tile, x, wrong=wrong: tile.random("i", **wrong))
        with pytest.raises(TypeError, match="expected an index and an int"):
            made(np.ones(3))
    with pytest.raises(TypeError, match="tile.random got indices \\(\\)"):
        kernel("x[i] -> y[i]")(lambda xp, tile, x: tile.random(seed=1))(np.ones(3))


def test_random_numbers_are_those_of_splitmix64() -> None:
    from xpdispatch.arrays.randoms import _Words

    words = _Words(np, {})
    # The first number of Vigna's splitmix64.c with the seed 1234567.
    assert words.mixed(words.number(1234567)[None] + words.step) == 6457827717110365317


def test_results_as_numpy_arrays(engine: Engine) -> None:
    double = kernel("x[i] -> y[i], sum s[]")(lambda xp, x: (2 * x, xp.sum(x)))
    y, s = xd.to_numpy(double(engine.put(np.arange(5.0))))
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, 2 * np.arange(5.0))
    assert s == 10


# -- operands as they are -----------------------------------------------------------------------------------------


def test_operands_can_be_written_where_a_body_asks_for_it(engine: Engine) -> None:
    if not (engine.on_legate or engine.name.startswith("numpy")):
        pytest.skip("arrays of NumPy's alone can be read-only")
    flags: list[bool] = []

    def seen(*arrays: Any) -> None:
        flags.extend(a.flags.writeable for a in arrays)

    @kernel("x[i], u[i-1..i+1], t[@p], p[i] -> y[i]", boundary="edge", read_only=False)
    def mixed(xp, x, u, t, p):
        seen(x, u, t, p)
        return x + u[:-2] + t

    @kernel("p[i, :], x[:] -> y[i]", constraints=[xd.image("p", "x")], read_only=False)
    def pointed(xp, p, x):
        seen(p, x)
        return x[p[:, 0]]

    x, p = np.arange(9.0), np.arange(9)[::-1].copy()
    got = engine.get(mixed(*map(engine.put, (x, x, x, p))))
    np.testing.assert_array_equal(got, x + np.append(x[0], x[:-1]) + x[p])
    np.testing.assert_array_equal(engine.get(pointed(engine.put(p[:, None]), engine.put(x))), x[p])
    assert flags
    assert all(flags)


def test_subclasses_are_plain_arrays_there_too_and_results_are_copies() -> None:
    class Named(np.ndarray):
        pass

    @kernel("x[i] -> y[i]", read_only=False)
    def same(xp, x):
        assert type(x) is np.ndarray
        return x

    x = np.ones(3).view(Named)
    assert not np.shares_memory(same(x), x)
    x.setflags(write=False)
    assert not np.shares_memory(same(x), x)


@pytest.mark.parametrize("size", [5, 5_000_000])
def test_a_body_that_writes_such_an_operand_is_found(size: int) -> None:
    @kernel("x[i], n[] -> y[i]", read_only=False)
    def shifted(xp, x, n):
        x += n
        return x

    x = np.zeros(size)
    with pytest.raises(xd.PartitionError, match="writes to its operand 'x'"):
        check_partitioning(shifted, x[:5], 2.0)
    if size > 5:  # calls that are cut are guarded
        with pytest.raises(xd.PartitionError, match="writes to its operand 'x'"):
            shifted(x, 2.0)
        assert not x.any()
