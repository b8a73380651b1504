"""Scans: the answer is that of NumPy's accumulate, whole and in tiles, in both directions and on every engine."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xpdispatch as xd
from conftest import Engine, forced_cuts, run_tiles
from xpdispatch import Signature, folds, kernel
from xpdispatch.testing import check_partitioning, forced_tiles, suggest

rng = np.random.default_rng(20261130)

WAYS = ["..i", "i.."]
UFUNCS = {
    "sum": (np.add, "add"),
    "prod": (np.multiply, "multiply"),
    "max": (np.maximum, "maximum"),
    "min": (np.minimum, "minimum"),
    "any": (np.logical_or, "logical_or"),
    "all": (np.logical_and, "logical_and"),
    "xor": (np.bitwise_xor, "bitwise_xor"),
}


def numbers(op: str, *shape: int) -> np.ndarray:
    """Numbers whose scan is exact."""
    if op in ("any", "all"):
        return rng.random(shape) < (0.1 if op == "any" else 0.9)
    if op == "prod":
        return rng.choice([1.0, -1.0, 2.0], shape)
    if op in ("max", "min"):
        x = rng.normal(size=shape)
        x.flat[-2:] = np.inf, np.nan
        return x
    return rng.integers(-99, 99, shape)


def accumulated(op: str, x: np.ndarray, way: str, axis: int = 0) -> np.ndarray:
    """What NumPy's accumulate gives, up to each element or from it on."""
    if way.startswith(".."):
        return UFUNCS[op][0].accumulate(x, axis=axis)
    return np.flip(UFUNCS[op][0].accumulate(np.flip(x, axis), axis=axis), axis)


def doubling(xp: Any, combine: Any, x: Any, way: str = "..i", axis: int = 0) -> Any:
    """A scan by Hillis and Steele's doubling steps, which needs nothing that some library lacks."""
    x = xp.moveaxis(x, axis, 0)
    step = 1
    while step < x.shape[0]:
        if way.startswith(".."):
            x = xp.concat([x[:step, ...], combine(x[:-step, ...], x[step:, ...])])
        else:
            x = xp.concat([combine(x[:-step, ...], x[step:, ...]), x[-step:, ...]])
        step *= 2
    return xp.moveaxis(x, 0, axis)


def scan_of(op: str, way: str, **options: Any) -> xd.Kernel:
    return kernel(f"x[i] -> {op} y[{way}]", **options)(lambda xp, x: doubling(xp, getattr(xp, UFUNCS[op][1]), x, way))


def merge(xp: Any, a: Any, b: Any) -> Any:
    """Of a recurrence y = m * y + c the coefficients of a stretch."""
    return a[0] * b[0], b[0] * a[1] + b[1]


def recurrence(way: str) -> xd.Kernel:
    """A linear recurrence of first order, as a scan of pairs."""

    def solve(xp: Any, m: Any, c: Any) -> Any:
        products, values = m, c
        step = 1
        while step < m.shape[0]:
            if way.startswith(".."):
                p, v = merge(xp, (products[:-step], values[:-step]), (products[step:], values[step:]))
                products, values = xp.concat([products[:step], p]), xp.concat([values[:step], v])
            else:
                p, v = merge(xp, (products[:-step], values[:-step]), (products[step:], values[step:]))
                products, values = xp.concat([p, products[-step:]]), xp.concat([v, values[-step:]])
            step *= 2
        return products, values

    return kernel(f"m[i], c[i] -> fold p[{way}], fold y[{way}]", fold=merge)(solve)


# -- the answer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("op", UFUNCS)
def test_each_operator_means_accumulate(op: str, way: str, engine: Engine) -> None:
    for n in (1, 2, 41):
        x = numbers(op, max(n, 2))[:n]
        got = engine.get(scan_of(op, way)(engine.put(x)))
        np.testing.assert_array_equal(got, accumulated(op, x, way), strict=True)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("op", [*UFUNCS, "fold"])
def test_no_element_gives_none(op: str, way: str, engine: Engine) -> None:
    made = recurrence(way) if op == "fold" else scan_of(op, way)
    nothing = engine.put(numbers("any" if op in ("any", "all") else "sum", 0))
    results = made(nothing, nothing) if op == "fold" else (made(nothing),)
    assert [engine.get(y).shape for y in results] == [(0,)] * len(results)


@given(st.data())
def test_any_tiling_of_any_axis(data: Any) -> None:
    op = data.draw(st.sampled_from(list(UFUNCS)))
    axis, backward = data.draw(st.integers(0, 2)), data.draw(st.booleans())
    names = ["i", "j", "k"]
    names[axis] = f"{names[axis]}.." if backward else f"..{names[axis]}"
    x = numbers(op, *(data.draw(st.integers(1, 6)) for _ in range(3))) if op not in ("max", "min") else None
    x = numbers(op, 3, 4, 5) if x is None else x
    way = names[axis]
    made = kernel(f"x[i, j, k] -> {op} y[{', '.join(names)}]")(
        lambda xp, x: doubling(xp, getattr(xp, UFUNCS[op][1]), x, way, axis)
    )
    cuts = {n: data.draw(st.lists(st.integers(0, e), max_size=3)) for n, e in zip("ijk", x.shape, strict=True)}
    got = run_tiles(made, [x], order=data.draw(st.integers(0, 9)), **cuts)[0]
    np.testing.assert_array_equal(got, accumulated(op, x, way, axis), strict=True)


@pytest.mark.parametrize("axis", [0, 1])
def test_one_axis_of_several(axis: int, engine: Engine) -> None:
    axes = ["..i, j", "i, j.."][axis]
    way = ["..i", "j.."][axis]
    made = kernel(f"x[i, j] -> max y[{axes}]")(lambda xp, x: doubling(xp, xp.maximum, x, way, axis))
    for shape in ((17, 5), (5, 17)):
        x = rng.normal(size=shape)
        np.testing.assert_array_equal(engine.get(made(engine.put(x))), accumulated("max", x, way, axis))


def test_an_axis_after_an_ellipsis(engine: Engine) -> None:
    made = kernel("x[..., i] -> sum y[..., ..i]")(lambda xp, x: xp.cumulative_sum(x, axis=-1))
    for shape in ((9,), (3, 9), (2, 3, 9)):
        x = rng.integers(0, 9, shape)
        np.testing.assert_array_equal(engine.get(made(engine.put(x))), x.cumsum(-1))


@pytest.mark.parametrize("way", WAYS)
def test_a_recurrence_is_a_fold_of_pairs(way: str, engine: Engine) -> None:
    m, c = rng.integers(-2, 3, 40) / 2, rng.integers(-9, 9, 40) * 1.0
    places = range(40) if way == "..i" else range(39, -1, -1)
    products, values = np.empty(40), np.empty(40)
    p, y = 1.0, 0.0
    for n in places:  # the pairs in the order of the index: from the end a new one comes before the others
        p, y = (p * m[n], m[n] * y + c[n]) if way == "..i" else (m[n] * p, p * c[n] + y)
        products[n], values[n] = p, y
    got = [engine.get(a) for a in recurrence(way)(engine.put(m), engine.put(c))]
    np.testing.assert_allclose(got[0], products)
    np.testing.assert_allclose(got[1], values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_pairs_are_merged_in_the_order_of_the_index(way: str, engine: Engine) -> None:
    """Products of matrices, which do not commute."""

    def products(xp: Any, a: Any) -> Any:
        return doubling(xp, xp.matmul, a, way)

    made = kernel(f"a[i, :, :] -> fold p[{way}, :, :]", fold=lambda xp, a, b: xp.matmul(a, b))(products)
    a = rng.integers(-1, 2, (23, 2, 2))
    expected = [np.linalg.multi_dot([np.eye(2, dtype=int)] * 2 + list(part)) for part in _parts(a, way)]
    np.testing.assert_array_equal(engine.get(made(engine.put(a))), expected)


def _parts(a: np.ndarray, way: str) -> list[np.ndarray]:
    return [a[: n + 1] if way == "..i" else a[n:] for n in range(len(a))]


@pytest.mark.parametrize("way", WAYS)
def test_folds_scan_gives_a_tiles_part(way: str, engine: Engine) -> None:
    """Of one result and of several, whose merges do not commute."""
    multiplied = kernel(f"a[i, :2, :2] -> fold p[{way}, :2, :2]", fold=lambda xp, a, b: xp.matmul(a, b))(
        lambda xp, a: folds.scan(xp, lambda xp, a, b: xp.matmul(a, b), a, backward=way == "i..")
    )
    solved = kernel(f"m[i], c[i] -> fold p[{way}], fold y[{way}]", fold=merge)(
        lambda xp, m, c: folds.scan(xp, merge, (m, c), backward=way == "i..")
    )
    m, c = rng.integers(-2, 3, 40) / 2, rng.integers(-9, 9, 40) * 1.0
    for n in (1, 2, 40):
        a = rng.integers(-1, 2, (n, 2, 2))
        expected = [np.linalg.multi_dot([np.eye(2, dtype=int)] * 2 + list(part)) for part in _parts(a, way)]
        np.testing.assert_array_equal(engine.get(multiplied(engine.put(a))), expected)
        pairs = solved(engine.put(m[:n]), engine.put(c[:n]))
        for got, other in zip(pairs, recurrence(way)(m[:n], c[:n]), strict=True):
            np.testing.assert_allclose(engine.get(got), other, rtol=1e-9, atol=1e-9)


def test_ready_made_folds_do_for_scans(engine: Engine) -> None:
    """The largest so far, and its place."""

    @kernel("x[i] -> fold best[..i], fold place[..i]", fold=folds.argmax)
    def records(xp, tile, x):
        return folds.scan(xp, folds.argmax, (x, tile.coords("i")))

    x = rng.integers(0, 20, 41) * 1.0
    best, place = (engine.get(a) for a in records(engine.put(x)))
    np.testing.assert_array_equal(best, np.maximum.accumulate(x))
    np.testing.assert_array_equal(place, [np.argmax(x[: n + 1]) for n in range(41)])


def test_a_merge_may_hand_on_what_stands_before(engine: Engine) -> None:
    @kernel("x[i] -> fold first[..i]", fold=folds.first)
    def first(xp, x):
        return xp.zeros_like(x) + x[:1]

    np.testing.assert_array_equal(engine.get(first(engine.put(np.arange(3.0, 40.0)))), np.full(37, 3.0))


def test_a_merge_may_swap_what_it_gets() -> None:
    """A value that shares memory with what is still to be merged is copied before that is written."""
    made = kernel("x[i] -> fold a[..i], fold b[..i]", fold=lambda xp, a, b: (b[1], b[0]))(lambda xp, x: (x, -x))
    got = run_tiles(made, [np.arange(4.0)], i=[2])
    np.testing.assert_array_equal(got, [[0, 1, -2, -3], [-0, -1, 2, 3]])


def test_beside_other_results(engine: Engine) -> None:
    @kernel("x[i, j] -> sum up[..i, j], min down[i, j..], double[i, j], sum total[], max high[j]")
    def all_at_once(xp, x):
        down = doubling(xp, xp.minimum, x, "j..", 1)
        return xp.cumulative_sum(x, axis=0), down, 2 * x, xp.sum(x), xp.max(x, axis=0)

    for shape in ((12, 7), (7, 12)):
        x = rng.integers(-99, 99, shape)
        up, down, double, total, high = (engine.get(a) for a in all_at_once(engine.put(x)))
        np.testing.assert_array_equal(up, x.cumsum(0))
        np.testing.assert_array_equal(down, accumulated("min", x, "j..", 1))
        np.testing.assert_array_equal(double, 2 * x)
        np.testing.assert_array_equal(high, x.max(0))
        assert total == x.sum()


def test_beside_a_result_of_unknown_size_and_a_fold_of_another_kernel(engine: Engine) -> None:
    if engine.name in ("jax", "torch"):
        pytest.skip("boolean masks are another test's business")

    @kernel("x[i] -> sum y[..i], z[?]")
    def both(xp, x):
        return xp.cumulative_sum(x), x[x > 0]

    x = rng.integers(-9, 9, 31)
    y, z = both(engine.put(x))
    np.testing.assert_array_equal(engine.get(y), x.cumsum())
    np.testing.assert_array_equal(engine.get(z), x[x > 0])


def test_both_ways_at_once(engine: Engine) -> None:
    made = kernel("x[i] -> sum y[..i], sum z[i..], max w[i..]")(
        lambda xp, x: (xp.cumulative_sum(x), doubling(xp, xp.add, x, "i.."), doubling(xp, xp.maximum, x, "i.."))
    )
    x = rng.integers(-9, 9, 31)
    y, z, w = (engine.get(a) for a in made(engine.put(x)))
    np.testing.assert_array_equal(y, x.cumsum())
    np.testing.assert_array_equal(z, accumulated("sum", x, "i.."))
    np.testing.assert_array_equal(w, accumulated("max", x, "i.."))


def test_with_a_halo(engine: Engine) -> None:
    made = kernel("x[i..i+1] -> sum y[..i]", boundary="valid")(lambda xp, x: xp.cumulative_sum((x[1:] + x[:-1]) / 2))
    x = rng.integers(-9, 9, 40) * 1.0
    np.testing.assert_array_equal(engine.get(made(engine.put(x))), np.cumsum((x[1:] + x[:-1]) / 2))


def test_over_an_index_space(engine: Engine) -> None:
    if engine.name in ("strict", "torch", "jax"):
        pytest.skip("without an array there is no library to choose")
    made = kernel("[i=n] -> sum y[..i]")(lambda xp, tile, n: xp.cumulative_sum(tile.coords("i")))
    with xd.engine("legate" if engine.on_legate else "local"):
        np.testing.assert_array_equal(engine.get(made(30)), np.arange(30).cumsum())


# -- how results come back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_out_overwrites(dtype: Any, engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    x = rng.integers(-9, 9, 33) * 1.0
    out = engine.put(np.full(33, 7, dtype))
    assert scan_of("sum", "..i")(engine.put(x), out=out) is out
    np.testing.assert_array_equal(engine.get(out), x.cumsum().astype(dtype), strict=True)


def test_elements_are_combined_in_the_dtype_of_the_body(engine: Engine) -> None:
    """And not in that of ``out=``, in which these would overflow."""
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    x = np.zeros(20, np.int64)
    x[[0, 10]] = 2**40, 2**40 + 5
    out = engine.put(np.zeros(20, np.int32))
    scan_of("max", "..i")(engine.put(x), out=out)
    np.testing.assert_array_equal(engine.get(out), np.maximum.accumulate(x).astype(np.int32))


def test_out_may_be_the_operand(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    x = rng.integers(-9, 9, 33)
    same = engine.put(x.copy())
    scan_of("sum", "i..")(same, out=same)
    np.testing.assert_array_equal(engine.get(same), accumulated("sum", x, "i.."))


def test_dtype_casts_before_combining(engine: Engine) -> None:
    made = scan_of("sum", "..i", dtype="float64")
    x = np.full(40, 0.1, np.float32)
    got = engine.get(made(engine.put(x)))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, np.cumsum(x, dtype=float), rtol=1e-6)


def test_a_buffer_enters_as_the_identity(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel("x[i] -> prod y[..i]", dtype="float64")
    def products(xp, x, y):
        y *= xp.cumulative_prod(x)

    x = numbers("prod", 30)
    np.testing.assert_array_equal(engine.get(products(engine.put(x))), x.cumprod())
    out = engine.put(np.full(30, 5.0))
    products(engine.put(x), out=out)
    np.testing.assert_array_equal(engine.get(out), x.cumprod())


def test_the_answer_has_the_same_bits_on_any_number_of_threads() -> None:
    m, c = rng.normal(size=(2, 1000)) / 2
    answers = []
    for threads in (1, 2, 3):
        with forced_cuts(threads, 1024):
            answers.append([scan_of("sum", "..i")(c), scan_of("prod", "i..")(m), *recurrence("..i")(m, c)])
    for others in answers[1:]:
        for a, b in zip(answers[0], others, strict=True):
            assert a.tobytes() == b.tobytes()


def test_with_one_tile_nothing_is_merged() -> None:
    def never(xp: Any, a: Any, b: Any) -> Any:
        raise AssertionError

    made = kernel("x[i] -> fold y[..i]", fold=never)(lambda xp, x: x)
    x = np.arange(5)
    np.testing.assert_array_equal(made(x), x)
    np.testing.assert_array_equal(run_tiles(made, [x], i=[0, 5])[0], x)


def test_what_is_merged_cannot_be_written() -> None:
    def add(xp: Any, a: Any, b: Any) -> Any:
        b += a
        return b

    made = kernel("x[i] -> fold y[..i]", fold=add)(lambda xp, x: xp.cumulative_sum(x))
    with pytest.raises(ValueError, match="read-only") as caught:
        run_tiles(made, [np.arange(5)], i=[2])
    assert "return new arrays" in caught.value.__notes__[0]


# -- what is said of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["x[i] -> sum y[..i]", "x[i, j] -> max y[i, j..]", "x[..., i] -> fold y[..., ..i]"])
def test_a_signature_prints_as_it_is_written(line: str) -> None:
    signature = Signature.parse(line)
    assert str(signature) == line
    assert Signature.parse(str(signature)) == signature
    assert pickle.loads(pickle.dumps(signature)) == signature
    assert signature.results[0].scan in signature.results[0].axes


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x[i] -> sum y[..i]", "y is a scan along i: what a tile gives and the last element before it are summed."),
        (
            "x[i] -> max y[i..]",
            "y is a scan along i: what a tile gives and the first element after it are combined by their maximum.",
        ),
        (
            "x[i] -> fold y[..i]",
            "what a tile gives and the last element before it are merged by the kernel's own fold=.",
        ),
    ],
)
def test_help_says_it_in_words(line: str, said: str) -> None:
    made = kernel(line, fold=merge if "fold" in line else None)(lambda xp, x: x)
    assert said in made.__doc__


def test_explain_tells_of_what_stands_before() -> None:
    made = scan_of("sum", "..i")
    with forced_cuts(2):
        assert "sum with what stands before each" in str(made.explain(np.zeros(100)))
    told = str(scan_of("max", "i..").explain(np.zeros(1_000_000)).on(4, "cpu"))
    assert "max with what stands after each" in told
    assert "y: when all tiles have their own scan, a second task" in told


SUGGESTED = [
    (lambda xp, x: xp.cumulative_sum(x), (9,), "x[i] -> sum y[..i]"),
    (lambda xp, x: xp.flip(xp.cumulative_prod(xp.flip(x))), (9,), "x[i] -> prod y[i..]"),
    (lambda xp, x: np.maximum.accumulate(x, axis=1), (9, 7), "x[i, j] -> max y[i, ..j]"),
    (lambda xp, x: np.logical_or.accumulate(x > 1), (9,), "x[i] -> any y[..i]"),
    (lambda xp, x: (xp.cumulative_sum(x), xp.sum(x)), (9,), "x[i] -> sum y0[..i], sum y1[]"),
    (lambda xp, x: xp.cumulative_sum(x[1:] * x[:-1]), (9,), "x[i..i+1] -> sum y[..i]"),
]


@pytest.mark.parametrize(("body", "shape", "expected"), SUGGESTED, ids=[s[2] for s in SUGGESTED])
def test_suggest_finds_scans(body: Any, shape: tuple[int, ...], expected: str) -> None:
    assert suggest(body, rng.normal(size=shape)) == expected


# -- the checker ---------------------------------------------------------------------------------------------------

x = rng.normal(size=33)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("op", UFUNCS)
def test_right_scans_raise_no_alarm(op: str, way: str) -> None:
    data = {"any": x > 1, "all": x < 1, "xor": rng.integers(0, 99, 33)}.get(op, x)
    check_partitioning(scan_of(op, way), data)
    if op in ("sum", "prod"):
        check_partitioning(scan_of(op, way), data.astype(np.float32))
        check_partitioning(scan_of(op, way), data + 0.1j)


def test_sums_that_cancel_raise_no_alarm() -> None:
    large = rng.normal(size=(40, 3)) * 10.0 ** rng.integers(-8, 9, (40, 3))
    check_partitioning(kernel("x[i, j] -> sum y[..i, j]")(lambda xp, x: xp.cumulative_sum(x, axis=0)), large)
    narrow = kernel("x[i] -> sum y[i..]")(lambda xp, x: xp.flip(xp.cumulative_sum(xp.flip(xp.astype(x, xp.float32)))))
    check_partitioning(narrow, large[:, 0])


@pytest.mark.parametrize("way", WAYS)
def test_right_recurrences_raise_no_alarm(way: str) -> None:
    check_partitioning(recurrence(way), rng.normal(size=33) / 2, x)


WRONG = {
    "one that begins with nothing": (
        "x[i] -> sum y[..i]",
        lambda xp, x: xp.concat([xp.zeros(1), xp.cumulative_sum(x)[:-1]]),
        "keep i whole",
    ),
    "the wrong way": ("x[i] -> sum y[i..]", lambda xp, x: xp.cumulative_sum(x), r"x\[i\] -> sum y\[..i\]"),
    "no scan": ("x[i] -> y[i]", lambda xp, x: xp.cumulative_sum(x), r"scan along i: x\[i\] -> sum y\[..i\]"),
    "another operator": (
        "x[i] -> sum y[..i]",
        lambda xp, x: np.maximum.accumulate(x),
        r"combine by max: x\[i\] -> max y\[..i\]",
    ),
    "a mean": ("x[i] -> sum y[..i]", lambda xp, x: xp.cumulative_sum(x - xp.mean(x)), "keep i whole"),
    "NaN lost": ("x[i] -> max y[..i]", lambda xp, x: np.fmax.accumulate(x), "keep i whole"),
    "elements themselves": ("x[i] -> sum y[..i]", lambda xp, x: x, "keep i whole"),
}


@pytest.mark.parametrize("name", WRONG)
def test_planted_bugs_are_found(name: str) -> None:
    line, body, advice = WRONG[name]
    with pytest.raises(xd.PartitionError, match=advice):
        check_partitioning(kernel(line)(body), x)


def test_a_global_scan_from_each_tile_is_found() -> None:
    """A body that looks up the scan of the whole, which it kept: right where it stands alone."""
    kept: dict[str, Any] = {}

    @kernel("x[i] -> sum y[..i]")
    def whole(xp, tile, x):
        if x.shape[0] == tile.total("i"):
            kept["y"] = xp.cumulative_sum(x)
        start = tile.start("i")
        return kept["y"][start : start + x.shape[0]] * 1

    with pytest.raises(xd.PartitionError):
        check_partitioning(whole, x)


def test_a_buffer_of_a_scan_is_watched() -> None:
    @kernel("x[i] -> sum y[..i]", dtype="float64")
    def beyond(xp, x, y):
        y[...] = xp.cumulative_sum(x)
        np.lib.stride_tricks.as_strided(y, (x.shape[0] + 1,))[-1] = 0

    with pytest.raises(xd.PartitionError, match="writes outside of its tile of result 'y'"):
        check_partitioning(beyond, x)


def test_buffers_of_reductions_are_watched() -> None:
    @kernel("x[i] -> sum total[], max high[:2]", dtype="float64")
    def beyond(xp, x, total, high, which):
        total += xp.sum(x)
        high[...] = xp.max(x)
        np.lib.stride_tricks.as_strided((total, high)[which], (3,), (8,))[-1] = 0

    for which, name in enumerate(("total", "high")):
        with pytest.raises(xd.PartitionError, match=f"writes outside of its tile of result '{name}'"):
            check_partitioning(beyond, x, which=which)


@pytest.mark.parametrize("combine", [lambda xp, a, b: a - b, lambda xp, a, b: (a + b) / 2])
def test_a_merge_that_is_not_associative_is_to_blame(combine: Any) -> None:
    made = kernel("x[i] -> fold y[..i]", fold=combine)(lambda xp, x: xp.cumulative_sum(x))
    with pytest.raises(xd.PartitionError, match="fold= must be associative"):
        check_partitioning(made, x)


def test_where_the_merge_is_right_the_body_is_to_blame() -> None:
    made = kernel("x[i] -> fold y[..i]", fold=lambda xp, a, b: a + b)(lambda xp, x: x)
    with pytest.raises(xd.PartitionError, match="its own tile's scan, whose last element"):
        check_partitioning(made, x)


def test_the_guard_sees_a_wrong_scan() -> None:
    made = kernel("x[i] -> sum y[..i]")(lambda xp, x: xp.concat([xp.zeros(1), xp.cumulative_sum(x)[:-1]]))
    with forced_cuts(1), pytest.raises(xd.PartitionError, match="a few elements"):
        made(rng.normal(size=100))


# -- on Legate -----------------------------------------------------------------------------------------------------


def test_on_legate_both_tasks_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.legate import leaf

    lengths: list[int] = []
    real = leaf._carry_on

    def spy(header: Any, site: Any, inputs: Any, outputs: Any, parts: Any) -> None:
        lengths.append(leaf.view(np, outputs[0]).shape[0])
        real(header, site, inputs, outputs, parts)

    monkeypatch.setattr(leaf, "_carry_on", spy)
    engine, made = Engine("legate"), scan_of("sum", "..i")
    a = rng.integers(0, 9, 100)
    with forced_tiles(4) as tiles:
        np.testing.assert_array_equal(engine.get(made(engine.put(a))), a.cumsum())
    assert len(tiles) > 1
    assert len(lengths) > 1
    assert sum(lengths) == 100
    assert max(lengths) < 100


def test_on_legate_a_scan_along_an_axis_that_is_not_cut_needs_no_second_task(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.legate import engine as legate_engine

    monkeypatch.setattr(legate_engine, "issue_carrier", None)
    engine = Engine("legate")
    made = kernel("x[i, j] -> sum y[i, ..j]")(lambda xp, x: xp.cumulative_sum(x, axis=1))
    a = rng.integers(0, 9, (40, 5))
    with forced_tiles(4) as tiles:
        np.testing.assert_array_equal(engine.get(made(engine.put(a))), a.cumsum(1))
    assert len(tiles) > 1


@pytest.mark.parametrize(("way", "known"), [("..i", slice(0, 26)), ("i..", slice(39, 100))])
def test_on_legate_what_stands_behind_a_failed_tile_is_not_known(way: str, known: slice) -> None:
    engine = Engine("legate")

    @kernel(f"x[i] -> sum y[{way}]", guard=False)
    def fails(xp, tile, x):
        if tile.start("i") <= 30 < tile.start("i") + x.shape[0]:
            raise KeyError("thirty")
        return doubling(xp, xp.add, x, way)

    a = rng.integers(0, 9, 100) * 1.0
    with forced_tiles(4) as tiles:
        y = fails(engine.put(a))
        with pytest.raises(KeyError, match="thirty"):
            xd.synchronize()
    if ((26, 39),) not in [tile for _, tile in tiles] and ((0, 13),) not in [tile for _, tile in tiles]:
        pytest.skip("there are not two CPUs")
    got, expected = engine.get(y), accumulated("sum", a, way)
    np.testing.assert_array_equal(got[known], expected[known])
    rest = np.ones(100, bool)
    rest[known] = False
    assert np.isnan(got[rest]).all()


def test_on_legate_a_merge_that_fails_is_told() -> None:
    def fails(xp: Any, a: Any, b: Any) -> Any:
        raise KeyError("merge")

    engine = Engine("legate")
    made = kernel("x[i] -> fold y[..i]", fold=fails, guard=False)(lambda xp, x: xp.cumulative_sum(x))
    with forced_tiles(4):
        y = made(engine.put(np.arange(40.0)))
        with pytest.raises(KeyError, match="merge") as caught:
            xd.synchronize()
    assert any("in fold= of kernel" in note for note in caught.value.__notes__)
    assert np.isnan(np.asarray(y)).any()


def test_on_legate_sums_of_floats_are_the_same_each_time() -> None:
    engine = Engine("legate")
    a = engine.put(rng.normal(size=1000))
    with forced_tiles(4):
        answers = [np.array(engine.get(scan_of("sum", "..i", deterministic=True)(a))) for _ in range(5)]
    for other in answers[1:]:
        np.testing.assert_array_equal(answers[0], other)
