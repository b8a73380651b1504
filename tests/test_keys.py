"""Gather and scatter by key: the answer is that of NumPy's take and ufunc.at, whole and in tiles."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xpdispatch as xd
from conftest import Engine, make_engine, run_tiles
from xpdispatch import Signature, kernel
from xpdispatch.arrays.reductions import scattered
from xpdispatch.language.words import in_words
from xpdispatch.legate import alignment
from xpdispatch.running.keys import Keyed
from xpdispatch.testing import arguments, check_kernel, check_on_legate, check_partitioning, checking, forced_tiles

rng = np.random.default_rng(20261130)
UFUNCS = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "any": np.logical_or,
    "all": np.logical_and,
}
IDENTITIES = {"sum": 0, "prod": 1, "max": -np.inf, "min": np.inf, "any": False, "all": True}


def scattered_at(op: str, shape: Any, places: Any, values: Any, start: Any = None) -> np.ndarray:
    """What NumPy says."""
    found = np.full(shape, IDENTITIES[op] if start is None else start, values.dtype)
    with np.errstate(invalid="ignore"):  # of NaN, for which max and min themselves do not warn
        UFUNCS[op].at(found, places, values)
    return found


def same(*notation: str, **options: Any) -> xd.Kernel:
    """A kernel that returns its first operand."""
    return kernel(*notation, **options)(lambda xp, x, g, n: x)


# -- scatter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", UFUNCS)
def test_each_operator(op: str, engine: Engine) -> None:
    x, g = rng.normal(size=23), rng.integers(0, 5, 23)
    values = x > 0 if op in ("any", "all") else x
    made = same(f"x[i], g[i] -> {op} y[@g=n]")
    got = engine.get(made(engine.put(values), engine.put(g), 8))
    np.testing.assert_allclose(got, scattered_at(op, 8, g, values))
    assert got.dtype == values.dtype


@pytest.mark.parametrize(
    ("op", "dtype", "start"),
    [
        ("sum", "int32", 0),
        ("prod", "int64", 1),
        ("max", "int32", np.iinfo("int32").min),
        ("min", "int64", 2**63 - 1),
        ("sum", "float32", 0),
        ("sum", "complex128", 0),
        ("prod", "complex128", 1),
    ],
)
def test_each_kind_of_values(op: str, dtype: str, start: Any, engine: Engine) -> None:
    x, g = rng.integers(1, 4, 23).astype(dtype), rng.integers(1, 5, 23)
    made = same(f"x[i], g[i] -> {op} y[@g=n]")
    got = engine.get(made(engine.put(x), engine.put(g), 6))
    np.testing.assert_allclose(got, scattered_at(op, 6, g, x, start))
    assert got.dtype == dtype


@pytest.mark.parametrize("op", ["max", "min", "sum"])
def test_nan_reaches_its_own_cell_alone(op: str, engine: Engine) -> None:
    x, g = rng.normal(size=12), np.repeat(np.arange(4), 3)
    x[4] = np.nan
    got = engine.get(same(f"x[i], g[i] -> {op} y[@g=n]")(engine.put(x), engine.put(g), 4))
    np.testing.assert_allclose(got, scattered_at(op, 4, g, x))
    assert list(np.isnan(got)) == [False, True, False, False]


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "uint64"])
def test_keys_of_any_integers(dtype: str, engine: Engine) -> None:
    g = rng.integers(0, 5, 17)
    got = engine.get(same("x[i], g[i] -> sum y[@g=n]")(engine.put(np.ones(17)), engine.put(g.astype(dtype)), 5))
    np.testing.assert_array_equal(got, np.bincount(g, minlength=5))
    with pytest.raises(xd.PointerError, match="holds the key 5"):
        engine.get(
            same("x[i], g[i] -> sum y[@g=n]")(engine.put(np.ones(17)), engine.put((g + 5).astype(dtype) // 5 * 5), 5)
        )


@kernel("x[i, j], g[i] -> sum y[@g=n, j]")
def rows(xp, x, g, n):
    return x


@kernel("x[i, j], g[i] -> max y[j, @g=n]")
def columns(xp, x, g, n):
    return xp.permute_dims(x, (1, 0))


@kernel("x[i, j], g[i, j] -> sum y[@g=n]")
def everything(xp, x, g, n):
    return x


@kernel("x[i, j], g[i, j] -> sum y[@g=n, j]")
def in_columns(xp, x, g, n):
    return x


@kernel("x[i, :k], g[i, :k] -> sum y[i, @g=n]")
def in_rows(xp, x, g, n):
    return x


@kernel("x[...], g[...] -> sum y[@g=n]")
def any_axes(xp, x, g, n):
    return x


@kernel("x[..., i], g[..., i] -> min y[..., @g=n]")
def batched(xp, x, g, n):
    return x


@kernel("x[i, :k], g[i] -> sum y[:k, @g=n]")
def whole_rest(xp, x, g, n):
    return xp.permute_dims(x, (1, 0))


def test_where_the_axes_of_keys_stand(engine: Engine) -> None:
    x, g = rng.normal(size=(9, 4)), rng.integers(0, 3, 9)
    each = rng.integers(0, 3, (9, 4))
    i, j = np.ogrid[:9, :4]
    cases = [
        (rows, g, scattered_at("sum", (5, 4), g, x)),
        (columns, g, scattered_at("max", (5, 4), g, x).T),
        (everything, each, scattered_at("sum", 5, each, x)),
        (in_columns, each, scattered_at("sum", (5, 4), (each, j), x)),
        (in_rows, each, scattered_at("sum", (9, 5), (i, each), x)),
        (any_axes, each, scattered_at("sum", 5, each, x)),
        (any_axes, each[:1], scattered_at("sum", 5, np.broadcast_to(each[:1], x.shape), x)),
        (any_axes, each[0], scattered_at("sum", 5, np.broadcast_to(each[0], x.shape), x)),
        (batched, each, scattered_at("min", (9, 5), (i, each), x)),
        (batched, each[:1], scattered_at("min", (9, 5), (i, np.broadcast_to(each[:1], x.shape)), x)),
        (whole_rest, g, scattered_at("sum", (5, 4), g, x).T),
    ]
    for made, keys, expected in cases:
        got = engine.get(made(engine.put(x), engine.put(keys), 5))
        np.testing.assert_allclose(got, expected, err_msg=made.notation)


@given(st.data())
def test_any_tiling_gives_the_same(data: Any) -> None:
    made, keys_of = data.draw(
        st.sampled_from([(rows, 1), (columns, 1), (everything, 2), (in_columns, 2), (in_rows, 2)])
    )
    shape = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 4)))
    n = data.draw(st.integers(1, 5))
    x = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(-9, 9)))
    g = data.draw(hnp.arrays(np.int64, shape[:keys_of], elements=st.integers(0, n - 1)))
    cuts = {
        name: data.draw(st.lists(st.integers(0, extent), max_size=3))
        for name, extent in zip(made.signature.indices, shape, strict=False)
    }
    found = run_tiles(made, [x, g], [n], order=1, **cuts)[0]
    np.testing.assert_array_equal(found, run_tiles(made, [x, g], [n])[0])


def test_several_keys(engine: Engine) -> None:
    @kernel("x[i], a[i], b[i] -> sum both[@a=n, @b=2*n], sum first[@a=n], max last[@b=2*n]")
    def counts(xp, x, a, b, n):
        return x, x, x

    @kernel("x[i, j], a[i], b[j] -> sum y[@a=n, @b=n]")
    def outer(xp, x, a, b, n):
        return x

    @kernel("a[i, :k], b[i, :k], w[i, :k] -> sum y[@a=n, @b=n]")
    def corners(xp, a, b, w, n):
        return w

    x, a, b = rng.normal(size=19), rng.integers(0, 3, 19), rng.integers(0, 6, 19)
    both, first, last = map(engine.get, counts(engine.put(x), engine.put(a), engine.put(b), 3))
    np.testing.assert_allclose(both, scattered_at("sum", (3, 6), (a, b), x))
    np.testing.assert_allclose(first, scattered_at("sum", 3, a, x))
    np.testing.assert_allclose(last, scattered_at("max", 6, b, x))

    table = rng.normal(size=(19, 7))
    got = engine.get(outer(engine.put(table), engine.put(a), engine.put(b[:7]), 6))
    np.testing.assert_allclose(got, scattered_at("sum", (6, 6), (a[:, None], b[None, :7]), table))
    near, far = rng.integers(0, 4, (19, 2)), rng.integers(0, 4, (19, 2))
    got = engine.get(corners(*map(engine.put, (near, far, table[:, :2])), 4))
    np.testing.assert_allclose(got, scattered_at("sum", (4, 4), (near, far), table[:, :2]))


def test_extents_of_none_and_one(engine: Engine) -> None:
    put, get = engine.put, engine.get
    nothing = put(np.zeros(0)), put(np.zeros(0, np.int64))
    for op in ("sum", "max", "min", "prod"):
        made = same(f"x[i], g[i] -> {op} y[@g=n]")
        np.testing.assert_array_equal(get(made(*nothing, 3)), np.full(3, IDENTITIES[op]))
        assert get(made(*nothing, 0)).shape == (0,)
        np.testing.assert_array_equal(get(made(put(np.ones(1)), put(np.zeros(1, np.int64)), 1)), [1.0])
    with pytest.raises(ValueError, match="it has no element"):
        get(made(put(np.ones(2)), put(np.zeros(2, np.int64)), 0))
    gather = kernel("p[i], t[@p] -> y[i]", dtype="float64")(lambda xp, p, t: t)
    assert get(gather(nothing[1], nothing[0])).shape == (0,)
    np.testing.assert_array_equal(get(gather(put(np.zeros(3, np.int64)), put(np.ones(1)))), np.ones(3))
    alone = kernel("x[], g[] -> sum y[@g=n]")(lambda xp, x, g, n: x)
    np.testing.assert_array_equal(get(alone(put(np.asarray(2.0)), put(np.asarray(1)), 3)), [0, 2, 0])


def test_max_over_an_index_that_no_key_has_needs_an_element() -> None:
    made = kernel("x[i, j], g[i] -> max y[@g=n]")(lambda xp, x, g, n: xp.max(x, axis=1))
    with pytest.raises(xd.ShapeError, match="max of result 'y' over no element: j has extent 0"):
        made(np.ones((3, 0)), np.zeros(3, int), 2)
    np.testing.assert_array_equal(made(np.ones((0, 3)), np.zeros(0, int), 2), [-np.inf, -np.inf])


def test_dtype_and_out(engine: Engine) -> None:
    x, g = rng.normal(size=11), rng.integers(0, 4, 11)
    made = same("x[i], g[i] -> sum y[@g=n]", dtype="float32")
    got = engine.get(made(engine.put(x), engine.put(g), 4))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, scattered_at("sum", 4, g, x.astype(np.float32)), rtol=1e-5)
    if engine.mutable:
        out = engine.put(np.full(4, 7.0))
        assert made(engine.put(x), engine.put(g), 4, out=out) is out
        np.testing.assert_allclose(engine.get(out), got, rtol=1e-5)


def test_a_body_that_reads_its_keys_and_its_place(engine: Engine) -> None:
    @kernel("x[i], g[i] -> sum y[@g=n], z[i]")
    def body(xp, tile, x, g, n):
        assert tile.size(("y", 0)) == tile.size("i") == x.shape[0]
        return x * xp.astype(g, x.dtype), x + xp.astype(tile.coords("i"), x.dtype)

    x, g = rng.normal(size=11), rng.integers(0, 4, 11)
    y, z = map(engine.get, body(engine.put(x), engine.put(g), 4))
    np.testing.assert_allclose(y, scattered_at("sum", 4, g, x * g))
    np.testing.assert_allclose(z, x + np.arange(11))


# -- gather -------------------------------------------------------------------------------------------------------


@kernel("p[i], t[@p] -> y[i]")
def look_up(xp, p, t):
    return 2 * t


@kernel("p[i], t[@p, :] -> y[i]")
def row_sums(xp, p, t):
    return xp.sum(t, axis=1)


@kernel("p[i], t[:, @p] -> y[i]")
def column_sums(xp, p, t):
    return xp.sum(t, axis=0)


@kernel("p[i], t[i, @p] -> y[i]")
def pick(xp, p, t):
    return t


@kernel("p[i], t[j, @p] -> y[i, j]")
def turned(xp, p, t):
    return xp.permute_dims(t, (1, 0))


@kernel("p[i, :3], t[@p] -> y[i]")
def near(xp, p, t):
    return xp.sum(t, axis=1)


@kernel("p[...], t[@p] -> y[...]")
def each(xp, p, t):
    return t


@kernel("p[i], q[i], t[@p, :, @q] -> y[i]")
def points(xp, p, q, t):
    return xp.sum(t, axis=1)


@kernel("p[i], q[j], t[@p, @q] -> y[i, j]")
def mesh(xp, p, q, t):
    return t


def test_gathers(engine: Engine) -> None:
    t, p, q = rng.normal(size=(9, 9)), rng.integers(0, 9, 9), rng.integers(0, 9, 9)
    cube, several = rng.normal(size=(9, 2, 9)), rng.integers(0, 9, (9, 3))
    cases: list[tuple[xd.Kernel, tuple[Any, ...], Any]] = [
        (look_up, (p, t[0]), 2 * t[0][p]),
        (row_sums, (p, t), t[p].sum(1)),
        (column_sums, (p, t), t[:, p].sum(0)),
        (pick, (p, t), t[np.arange(9), p]),
        (turned, (p, t), t[:, p].T),
        (near, (several, t[0]), t[0][several].sum(1)),
        (each, (several, t[0]), t[0][several]),
        (points, (p, q, cube), cube[p, :, q].sum(1)),
        (mesh, (p, q, t), t[np.ix_(p, q)]),
    ]
    for made, args, expected in cases:
        np.testing.assert_allclose(engine.get(made(*map(engine.put, args))), expected, err_msg=made.notation)


@given(st.data())
def test_any_tiling_of_a_gather_gives_the_same(data: Any) -> None:
    p = data.draw(hnp.arrays(np.int64, st.integers(1, 8), elements=st.integers(0, 5)))
    t = data.draw(hnp.arrays(np.int64, (len(p), 6), elements=st.integers(-9, 9)))
    cuts = data.draw(st.lists(st.integers(0, len(p)), max_size=3))
    for made, table, expected in ((pick, t, t[np.arange(len(p)), p]), (look_up, t[0], 2 * t[0][p])):
        np.testing.assert_array_equal(run_tiles(made, [p, table], order=2, i=cuts)[0], expected)


def test_deposit_and_gather_in_one_kernel(engine: Engine) -> None:
    @kernel("p[i], t[@p], x[i] -> sum y[@p=n]")
    def weighted(xp, p, t, x, n):
        return t * x

    p, t, x = rng.integers(0, 6, 21), rng.normal(size=6), rng.normal(size=21)
    got = engine.get(weighted(*map(engine.put, (p, t, x)), 6))
    np.testing.assert_allclose(got, scattered_at("sum", 6, p, t[p] * x))


def test_what_is_gathered_cannot_be_written() -> None:
    @kernel("p[i], t[@p] -> y[i]")
    def writes(xp, p, t):
        t *= 2
        return t

    with pytest.raises(ValueError, match="read-only"):
        writes(np.zeros(3, int), np.ones(3))


def test_out_may_be_what_is_gathered_from(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays cannot be written")
    t, p = rng.normal(size=31), rng.permutation(31)
    array = engine.put(t.copy())
    look_up(engine.put(p), array, out=array)
    np.testing.assert_allclose(engine.get(array), 2 * t[p])
    both = engine.put(p)
    np.testing.assert_array_equal(engine.get(look_up(both, both)), 2 * p[p])


def test_large_gathers_are_cut_and_traced() -> None:
    t, p = rng.normal(size=1000), rng.integers(0, 1000, 2_000_000)
    with xd.threads(2):
        assert look_up.explain(p, t).count > 1
        np.testing.assert_array_equal(look_up(p, t), 2 * t[p])


# -- inside others, and any number of operands ----------------------------------------------------------------------


def test_called_inside_a_body(engine: Engine) -> None:
    scatter, gather = same("x[i], g[i] -> sum y[@g=n]"), kernel("p[i], t[@p] -> y[i]")(lambda xp, p, t: t)

    @kernel("x[i], g[i] -> sum y[:n]", dtype="x")
    def outer(xp, x, g, n):
        return scatter(x, g, n) + 0 * gather(g, x[:1] * xp.ones((n,), dtype=x.dtype))[0]

    x, g = rng.normal(size=17), rng.integers(0, 5, 17)
    np.testing.assert_allclose(engine.get(outer(engine.put(x), engine.put(g), 5)), scattered_at("sum", 5, g, x))


def test_any_number_of_tables(engine: Engine) -> None:
    @kernel("p[i], *ts[@p] -> y[i]")
    def total(xp, p, *ts):
        return sum(ts)

    p, a, b = rng.integers(0, 4, 13), rng.normal(size=4), rng.normal(size=6)
    np.testing.assert_allclose(engine.get(total(*map(engine.put, (p, a, b)))), a[p] + b[p])


# -- keys that name nothing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "first"), [([2, 9, -3], 9), ([-1], -1), ([5], 5)])
def test_keys_outside(wrong: list[int], first: int, engine: Engine) -> None:
    if engine.name == "legate-tiles":
        wrong = wrong[:1] if wrong[0] == first else wrong[1:2]  # several tiles fail, of which the first is told
    x, g = np.ones(len(wrong)), np.asarray(wrong)
    for raised in (ValueError, IndexError, xd.PointerError):
        with pytest.raises(
            raised, match=rf"(?s)'<lambda>': argument 'g' holds the key {first}, .*'y': its keys are 0 to 4"
        ):
            engine.get(same("x[i], g[i] -> sum y[@g=n]")(engine.put(x), engine.put(g), 5))
    with pytest.raises(xd.PointerError, match=rf"argument 'p' holds the key {first}, .*'t': its keys are 0 to 4"):
        engine.get(look_up(engine.put(g), engine.put(np.ones(5))))


def test_integers_they_must_be(engine: Engine) -> None:
    for keys in (np.zeros(3), np.zeros(3, bool)):
        with pytest.raises(xd.DTypeError, match="argument 'g' points to elements of 'y' and has dtype"):
            same("x[i], g[i] -> sum y[@g=n]")(engine.put(np.ones(3)), engine.put(keys), 5)


def test_a_number_is_a_key(engine: Engine) -> None:
    made = same("x[], g[] -> sum y[@g=n]")
    for x in (np.asarray(2.0), np.asarray(2.0, np.float32)):
        got = engine.get(made(engine.put(x), 1, 3))
        np.testing.assert_array_equal(got, np.asarray([0, 2, 0], x.dtype), strict=True)
    with pytest.raises(xd.DTypeError, match="argument 'g' points to elements of 'y' and has dtype"):
        made(engine.put(x), 1.5, 3)


def test_keys_have_no_part_in_promotion(engine: Engine) -> None:
    made = kernel("x[i], a[], g[i] -> sum y[@g=n]")(lambda xp, x, a, g, n: x + a)
    x, g = np.arange(3, dtype=np.uint8), np.asarray([0, 1, 1])
    got = engine.get(made(engine.put(x), 2, engine.put(g), 2))
    np.testing.assert_array_equal(got, np.asarray([2, 7], np.uint8), strict=True)


def test_no_element_beside_keys_that_do_not_promote(engine: Engine) -> None:
    """As torch's unsigned integers, which it adds to nothing."""
    made = kernel("x[i, j], g[] -> sum y[i, @g=n]")(lambda xp, x, g, n: xp.sum(x, axis=1))
    g = np.asarray(1, np.uint16)
    for shape in ((0, 2), (2, 0)):
        assert engine.get(made(engine.put(np.ones(shape, complex)), engine.put(g), 3)).shape == (shape[0], 3)


def test_libraries_that_lack_what_it_takes() -> None:
    rows = np.ones((3, 1))
    with pytest.raises(xd.UnsupportedError, match="dask has no argsort"):
        scattered("dask", SimpleNamespace(), "sum", np.zeros(3, int), rows, 2)


# -- JAX's and torch's own transformations ----------------------------------------------------------------------------


def test_under_jit_and_grad() -> None:
    make_engine("jax")
    import jax
    import jax.numpy as jnp

    made = same("x[i], g[i] -> sum y[@g=n]")
    x, g = jnp.asarray([1.0, 2.0, 3.0]), jnp.asarray([0, 2, 2])
    assert jax.jit(lambda x, g: made(x, g, 4))(x, g).tolist() == [1, 0, 5, 0]
    assert jax.grad(lambda x: made(x, g, 4)[2])(x).tolist() == [0, 1, 1]
    assert jax.jit(lambda g: look_up(g, x))(g).tolist() == [2, 6, 6]


def test_gradients_in_torch() -> None:
    make_engine("torch")
    import torch

    x = torch.asarray([1.0, 2.0, 3.0], requires_grad=True)
    same("x[i], g[i] -> sum y[@g=n]")(x, torch.asarray([0, 2, 2]), 4)[2].backward()
    assert x.grad.tolist() == [0, 1, 1]


# -- Legate's images ----------------------------------------------------------------------------------------------


def test_tasks_get_what_keys_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import cupynumeric as cn

    monkeypatch.setattr(alignment, "least_pointed", 1)
    seen = []
    recipe_of = alignment.make_recipe
    monkeypatch.setattr(alignment, "make_recipe", lambda *a, **k: seen.append(recipe_of(*a, **k)) or seen[-1])

    @kernel("p[i], t[@p], x[i] -> y[i]")
    def scaled(xp, p, t, x):
        return t * x

    for size in (1, 5, 40):
        t, x = rng.normal(size=size), rng.normal(size=37)
        for p in (rng.integers(0, size, 37), np.sort(rng.integers(0, size, 37)), np.full(37, size - 1)):
            with forced_tiles(4):
                found = scaled(cn.array(p), cn.array(t), cn.array(x))
                xd.synchronize()
            np.testing.assert_array_equal(np.asarray(found), t[p] * x)
            with forced_tiles(4), pytest.raises(xd.PointerError, match=f"holds the key {size}"):
                scaled(cn.array(np.append(p[1:], size)), cn.array(t), cn.array(x))
                xd.synchronize()
    assert any(recipe.images for recipe in seen)
    with checking(seconds=1):
        check_on_legate(scaled, p, t, x)


@pytest.mark.parametrize("op", ["sum", "max", "any"])
def test_tasks_hold_the_cells_that_keys_name(monkeypatch: pytest.MonkeyPatch, op: str) -> None:
    import cupynumeric as cn

    monkeypatch.setattr(alignment, "least_pointed", 1)
    held: list[int] = []
    scatter = Keyed.scatter

    def seen(self: Keyed, places: Any, value: Any, sizes: Any, shape: tuple[int]) -> Any:
        held.extend(shape)
        return scatter(self, places, value, sizes, shape)

    monkeypatch.setattr(Keyed, "scatter", seen)
    made = kernel(f"x[i], g[i] -> {op} y[@g=n], {op} m[]", guard=False)(lambda xp, x, g, n: (x, getattr(xp, op)(x)))
    for size in (1, 5, 40):
        x = rng.normal(size=37) > 0 if op == "any" else rng.normal(size=37)
        for g in (rng.integers(0, size, 37), np.sort(rng.integers(0, size, 37)), np.full(37, size - 1)):
            wanted = scattered_at(op, size, g, x)
            target = cn.zeros(2 * size, dtype=wanted.dtype)
            with forced_tiles(4):
                made(cn.array(x), cn.array(g), size)  # has a dry run
                xd.synchronize()
                held.clear()
                found, whole = made(cn.array(x), cn.array(g), size)
                xd.synchronize()
                tiles, cells = len(held), sum(held)
                same(f"x[i], g[i] -> {op} y[@g=n]")(cn.array(x), cn.array(g), size, out=target[size:])  # a view
                xd.synchronize()
            np.testing.assert_allclose(np.asarray(found), wanted)
            np.testing.assert_allclose(np.asarray(target), np.append(np.zeros(size, wanted.dtype), wanted))
            np.testing.assert_allclose(np.asarray(whole), getattr(np, op)(x))
            assert tiles > 4
            assert cells < size + tiles or any(g[1:] < g[:-1])  # tiles have the cell at their border in common
            with forced_tiles(4), pytest.raises(xd.PointerError, match=f"holds the key {size}"):
                made(cn.array(x), cn.array(np.append(g[1:], size)), size)
                xd.synchronize()
    with checking(seconds=1):
        check_on_legate(made, x, g, size)


# -- checks -------------------------------------------------------------------------------------------------------


def test_right_kernels_are_found_right() -> None:
    x, g, t = rng.normal(size=23), rng.integers(0, 5, 23), rng.normal(size=5)
    with checking(seconds=2, engines=("numpy", "array_api_strict")):
        for made in (same("x[i], g[i] -> sum y[@g=n]"), same("x[i], g[i] -> max y[@g=n]")):
            assert check_kernel(made, x, g, 5)[0].tilings > 10
        check_kernel(look_up, g, t)
    with checking(seconds=2):
        assert check_on_legate(same("x[i], g[i] -> sum y[@g=n]"), x, g, 5).tilings
        assert check_on_legate(pick, g, rng.normal(size=(23, 5))).tilings


def test_a_planted_bug_is_found() -> None:
    @kernel("x[i], g[i] -> sum y[@g=n]")
    def normalized(xp, x, g, n):
        return x / xp.sum(x)

    @kernel("p[i], t[@p] -> y[i]")
    def centered(xp, p, t):
        return t - xp.mean(t)

    x, g = rng.uniform(1, 2, 23), rng.integers(0, 5, 23)
    with pytest.raises(xd.PartitionError, match=r"keep i whole: x\[:i\], g\[:i\] -> sum y\[@g=n\] \(checked"):
        check_partitioning(normalized, x, g, 5)
    with pytest.raises(xd.PartitionError, match=r"keep i whole: p\[:i\], t\[@p\] -> y\[:i\]"):
        check_partitioning(centered, g, rng.normal(size=5))


def test_the_guard_looks_at_keys(on_legate: Engine) -> None:
    @kernel("x[i], g[i] -> sum y[@g=n]")
    def normalized(xp, x, g, n):
        return x / xp.sum(x)

    if on_legate.name == "legate":
        pytest.skip("what is not cut needs no guard")
    with pytest.raises(xd.PartitionError, match="depends on how the arrays are cut along i"):
        normalized(on_legate.put(np.ones(23)), on_legate.put(rng.integers(0, 3, 23)), 3)


@given(arguments(rows, least=0))
def test_arguments_have_keys_in_range(values: dict[str, Any]) -> None:
    assert values["g"].dtype == np.int64
    if values["g"].size:
        assert 0 <= values["g"].min() <= values["g"].max() < values["n"]
        rows(**values)


@given(arguments(points, dtype={"p": "int32", "q": "int64", "t": "float64"}))
def test_arguments_have_keys_in_range_of_operands(values: dict[str, Any]) -> None:
    assert values["p"].dtype == np.int32
    points(**values)


def test_nothing_is_said_to_be_too_strict() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", xd.PartitionWarning)
        check_partitioning(look_up, rng.integers(0, 5, 23), rng.normal(size=5))


# -- in words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x[i], g[i] -> sum y[@g=n]", "goes to the cell of y that g names, and those of one cell are summed."),
        ("x[i], g[i] -> sum y[@g=n]", "Every tile has all n cells."),
        ("x[i], a[i], b[i] -> max y[@a=n, @b=2*n, :k]", "the cell of y that a and b name"),
        ("p[i], t[@p, :] -> y[i]", "A tile of t has the elements that p names along axis 0."),
        ("p[i], t[..., @p] -> y[i, ...]", "A tile of t has the elements that p names along axis -1."),
        ("p[i], t[@p] -> y[i]", "A tile of t has the elements that p names."),
    ],
)
def test_sentences(text: str, sentence: str) -> None:
    if "..." in text:
        text = "p[i], t[..., @p] -> y[..., i]"
    signature = Signature.parse(text)
    assert str(signature) == text
    assert Signature.parse(str(signature)) == signature
    assert sentence in " ".join(in_words(signature, scalars=signature.free_names))


def test_explain_says_what_keys_cost() -> None:
    x, g = np.ones(100), np.zeros(100, int)
    assert "every tile has all cells" in str(same("x[i], g[i] -> sum y[@g=n]").explain(x, g, 7))
    assert "the elements that the keys of its tile name" in str(look_up.explain(g, x))
    with xd.engine("legate"):
        assert "t: a task has all, and the body gets" in str(look_up.explain(g, x))
        large = np.broadcast_to(x[:1], (1 << 20,))
        assert "from the lowest to the highest" in str(look_up.explain(np.zeros(1 << 20, int), large))
