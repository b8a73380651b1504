"""Odd numbers, overflow and rounding: tile by tile the same as NumPy's, to the last bit where the order is the same."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import warnings
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import Engine, forced_cuts, tiles_of
from xpdispatch import DTypeError, kernel
from xpdispatch.arrays.reductions import combine, identity
from xpdispatch.testing import Tiling, forced_tiles
from xpdispatch.testing.trials import make_trial

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]
NUMPY_ENGINES = ["numpy", "numpy-cut", "legate", "legate-tiles"]
"""Those whose bodies run on NumPy, so that even the bits are the same."""

only_numpy = pytest.mark.parametrize("engine", NUMPY_ENGINES, indirect=True)


def odd(dtype: str) -> np.ndarray:
    """Every odd number that a dtype has, 37 cells, so that tiles are ragged."""
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        numbers: list[Any] = [limits.min, limits.max, 0, 1, 2, limits.max - 1, limits.max // 2, limits.min + 1]
    elif kind.kind == "b":
        numbers = [True, False, False]
    else:
        limits = np.finfo(kind)
        tiny, small = limits.smallest_subnormal, limits.smallest_normal
        numbers = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.5, limits.max, limits.min]
        numbers += [tiny, -tiny, small, -small, small / 2, 3 * tiny, limits.eps]
        if kind.kind == "c":
            numbers = [complex(a, b) for a in numbers[:8] for b in numbers[3:12:2]]
    return np.resize(np.array(numbers, kind), 37)


def same_bits(got: Any, expected: np.ndarray) -> None:
    got = np.asarray(got)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    nan = np.isnan(expected) if expected.dtype.kind in "fc" else np.zeros(expected.shape, bool)
    np.testing.assert_array_equal(np.isnan(got) if expected.dtype.kind in "fc" else nan, nan)
    # Which NaN comes out of arithmetic is the processor's affair.
    assert got[~nan].tobytes() == expected[~nan].tobytes(), (got[~nan], expected[~nan])


@kernel("x[i] -> y[i]")
def copied(xp, x):
    return x


@kernel("x[i] -> y[i]")
def halved(xp, x):
    return x * xp.asarray(0.5, dtype=x.dtype)


@kernel("x[i], y[i] -> s[i], d[i], p[i]")
def arithmetic(xp, x, y):
    return x + y, x - y, x * y


@kernel("x[i] -> max hi[], min lo[]")
def extremes(xp, x):
    return xp.max(x), xp.min(x)


def by_ufunc(name: str) -> Any:
    """A kernel for one operator, its partial results by the ufunc in the dtype itself."""
    ufunc = getattr(
        np, {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum", "xor": "bitwise_xor"}[name]
    )

    def body(xp: Any, x: Any) -> Any:
        return ufunc.reduce(x, axis=1, dtype=x.dtype)

    return kernel(f"x[i,j] -> {name} s[i]")(body), ufunc


@only_numpy
@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS, *COMPLEX])
def test_values_pass_through_unchanged(dtype: str, engine: Engine) -> None:
    x = odd(dtype)
    got = engine.get(copied(engine.put(x)))
    assert got.dtype == x.dtype
    assert got.tobytes() == x.tobytes()


@only_numpy
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_arithmetic_wraps_overflows_and_underflows_as_numpy(dtype: str, engine: Engine) -> None:
    x, y = odd(dtype), odd(dtype)[::-1].copy()
    with np.errstate(all="ignore"):
        got = arithmetic(engine.put(x), engine.put(y))
        for g, expected in zip(got, (x + y, x - y, x * y), strict=True):
            same_bits(engine.get(g), expected)


@only_numpy
@pytest.mark.parametrize("dtype", FLOATS)
def test_subnormals_are_not_flushed_to_zero(dtype: str, engine: Engine) -> None:
    limits = np.finfo(dtype)
    x = np.full(37, limits.smallest_normal, dtype)
    got = engine.get(halved(engine.put(x)))
    assert (got > 0).all()
    np.testing.assert_array_equal(got, limits.smallest_normal / 2)
    tiny = np.full(37, limits.smallest_subnormal, dtype)
    total = kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(x, dtype=x.dtype))
    np.testing.assert_array_equal(engine.get(total(engine.put(tiny))), np.multiply(37, tiny[0], dtype=dtype))


@only_numpy
@pytest.mark.parametrize("dtype", COMPLEX)
def test_complex_arithmetic(dtype: str, engine: Engine) -> None:
    x = odd(dtype)
    with np.errstate(all="ignore"):
        s, d, _ = arithmetic(engine.put(x), engine.put(x[::-1].copy()))
        np.testing.assert_array_equal(engine.get(s), x + x[::-1])
        np.testing.assert_array_equal(engine.get(d), x - x[::-1])


@only_numpy
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("op", ["sum", "prod", "max", "min", "xor"])
def test_integers_are_combined_in_their_dtype(op: str, dtype: str, engine: Engine) -> None:
    made, ufunc = by_ufunc(op)
    x = np.stack([odd(dtype), odd(dtype)[::-1], np.full(37, 3, dtype)])
    same_bits(engine.get(made(engine.put(x))), ufunc.reduce(x, axis=1, dtype=x.dtype))


@only_numpy
@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_max_and_min_of_odd_numbers(dtype: str, engine: Engine) -> None:
    x = odd(dtype)
    alone = [x, x[x == x], np.full(9, x.max()), np.full(9, x.min())]
    if np.dtype(dtype).kind == "f":
        alone += [np.full(9, v, dtype) for v in (np.nan, np.inf, -np.inf, np.finfo(dtype).min, np.finfo(dtype).max)]
        alone += [np.array([-np.inf, np.nan, np.inf] * 5, dtype), np.array([np.inf, -np.inf], dtype)]
    for values in alone:
        hi, lo = extremes(engine.put(values))
        np.testing.assert_array_equal(engine.get(hi), np.max(values))
        np.testing.assert_array_equal(engine.get(lo), np.min(values))
        assert hi.dtype == values.dtype


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
@pytest.mark.parametrize("op", ["max", "min"])
def test_identities_change_nothing(op: str, dtype: str) -> None:
    for value in odd(dtype):
        total = np.asarray(identity(op, np.dtype(dtype)))
        combine(op, total, value)
        np.testing.assert_array_equal(total, value)


@only_numpy
@pytest.mark.parametrize("dtype", COMPLEX)
def test_complex_sums_and_products(dtype: str, engine: Engine) -> None:
    x = np.array([[1 + 2j, 2 - 1j, -1j, 1j] * 5, [np.inf, 1j, 1, 0] * 5, [complex(np.nan, 1), 1, 1, 1] * 5], dtype)
    total, _ = by_ufunc("sum")
    np.testing.assert_array_equal(engine.get(total(engine.put(x))), x.sum(axis=1))
    product, _ = by_ufunc("prod")
    np.testing.assert_array_equal(engine.get(product(engine.put(x[:1, :8]))), x[:1, :8].prod(axis=1))
    with pytest.raises(DTypeError, match="max of result 'hi' got partial results of dtype"):
        engine.get(extremes(engine.put(x[0]))[0])


@only_numpy
def test_bools(engine: Engine) -> None:
    x = np.array([[True, False] * 9, [False] * 18, [True] * 18])
    truth = kernel("x[i,j] -> any a[i], all b[i], xor c[i], max d[i], min e[i]")(
        lambda xp, x: (x.any(1), x.all(1), np.logical_xor.reduce(x, axis=1), x.max(1), x.min(1))
    )
    got = [engine.get(a) for a in truth(engine.put(x))]
    expected = x.any(1), x.all(1), np.logical_xor.reduce(x, axis=1), x.max(1), x.min(1)
    for g, e in zip(got, expected, strict=True):
        same_bits(g, e)


@only_numpy
@pytest.mark.parametrize(
    ("source", "target"), [("int8", "int64"), ("uint8", "int32"), ("float16", "float64"), ("float32", "complex128")]
)
def test_partial_sums_are_cast_before_they_are_added(source: str, target: str, engine: Engine) -> None:
    x = np.full(300, 100, source)
    total = kernel("x[i] -> sum s[]", dtype=target)(lambda xp, x: xp.sum(xp.astype(x, target)))
    got = engine.get(total(engine.put(x)))
    assert got.dtype == target
    assert got == 30_000


def rounded(dtype: str) -> np.ndarray:
    """Numbers whose sum depends on the order."""
    values = np.random.default_rng(7).normal(size=999) * 10.0 ** np.random.default_rng(8).integers(-3, 3, 999)
    return (values + 1j * values[::-1]).astype(dtype) if dtype.startswith("complex") else values.astype(dtype)


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX])
@pytest.mark.parametrize("op", ["sum", "prod"])
def test_tiles_are_combined_by_numpys_ufunc_in_their_order(op: str, dtype: str) -> None:
    made, ufunc = by_ufunc(op)
    x = rounded(dtype).reshape(1, -1)[:, : None if op == "sum" else 20]
    cuts = [3, 7, 7, 11] if op == "prod" else [1, 100, 101, 555, 998]
    with np.errstate(all="ignore"):
        (got,) = make_trial(made, (x,), {}).run(Tiling((("j", tuple(cuts)),), "forward"))
        expected = np.full(1, identity(op, x.dtype))
        for part in np.split(x, cuts, axis=1):
            if part.size:
                ufunc(expected, ufunc.reduce(part, axis=1, dtype=x.dtype), out=expected)
    assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX])
def test_sums_have_the_same_bits_on_any_number_of_threads(dtype: str) -> None:
    made, _ = by_ufunc("sum")
    x = np.stack([rounded(dtype)] * 3)
    found = set()
    for count in (1, 2, 3, 2, 1, 3):
        with forced_cuts(count), np.errstate(all="ignore"):
            found.add(made(x).tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX])
@pytest.mark.parametrize("op", ["sum", "prod"])
def test_deterministic_sums_on_legate_have_numpys_bits_on_the_same_tiles(op: str, dtype: str) -> None:
    ufunc = {"sum": np.add, "prod": np.multiply}[op]
    total = kernel(f"x[i] -> {op} s[]", deterministic=True)(lambda xp, x: ufunc.reduce(x, dtype=x.dtype))
    x = rounded(dtype)[: None if op == "sum" else 20]
    found = set()
    with np.errstate(all="ignore"):
        for _ in range(10):
            with forced_tiles() as tiles, xd.engine("legate"):
                got = np.asarray(total(x))
                xd.synchronize()
            regions = tiles_of(total, tiles)
            assert len(regions) > 1
            (expected,) = make_trial(total, (x,), {}).run(regions)
            assert got.tobytes() == expected.tobytes()
            found.add(got.tobytes())
    assert len(found) == 1


def test_errstate_reaches_bodies_on_every_thread() -> None:
    seen: dict[str, set[int]] = {"raise": set(), "ignore": set(), "call": set()}

    @kernel("x[i] -> y[i]")
    def divided(xp, x):
        seen[np.geterr()["divide"]].add(threading.get_ident())
        time.sleep(0.0005)  # so that other threads get a tile, too
        return 1 / x

    x = np.ones(400)
    x[390] = 0
    with forced_cuts(3):
        with np.errstate(divide="raise"), pytest.raises(FloatingPointError, match="divide by zero"):
            divided(x)
        with np.errstate(divide="ignore"):
            assert divided(x)[390] == np.inf
        calls: list[Any] = []
        with np.errstate(divide="call", call=lambda *what: calls.append(what)):
            assert divided(x)[390] == np.inf
    assert len(calls) == 1
    assert all(len(threads) > 1 for threads in seen.values())


def test_warnings_of_bodies_are_given_from_any_thread() -> None:
    x = np.ones(400)
    x[390] = 0
    inverse = kernel("x[i] -> y[i]")(lambda xp, x: 1 / x)
    with forced_cuts(3), warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        inverse(x)
    assert [str(w.message) for w in given] == ["divide by zero encountered in divide"]


@pytest.mark.parametrize("factor", [1, 4])
def test_bodies_on_legate_give_no_warnings(factor: int) -> None:
    inverse = kernel("x[i] -> y[i]", on_error="immediate")(lambda xp, x: 1 / x)
    with forced_tiles(factor), xd.engine("legate"), np.errstate(all="raise"):
        got = np.asarray(inverse(np.array([1.0, 0.0, -0.0, 2.0])))
    np.testing.assert_array_equal(got, [1.0, np.inf, -np.inf, 0.5])


# -- results without an axis -------------------------------------------------------------------------------------


@kernel("x[i] -> sum s[], max m[]")
def sum_and_largest(xp, x):
    return xp.sum(x), xp.max(x)


@kernel("x[...] -> y[...]")
def doubled(xp, x):
    return x * 2


@pytest.mark.parametrize("cuts", [0, 3])
def test_results_without_an_axis_are_numbers_of_numpys(cuts: int) -> None:
    x = np.arange(10.0)
    with forced_cuts(cuts) if cuts else contextlib.nullcontext():
        s, m = sum_and_largest(x)
    assert type(s) is type(m) is np.float64
    assert (json.dumps([s, m]), round(s, 1), f"{m:.1f}", {s: 1}[45.0]) == ("[45.0, 9.0]", 45.0, "9.0", 1)
    assert type(kernel("x[i] -> any y[]")(lambda xp, x: xp.any(x > 8))(x)) is np.bool
    assert (
        type(kernel("[i=n] -> sum hits[]", dtype="int64")(lambda xp, tile, n: xp.asarray(tile.size("i")))(5))
        is np.int64
    )
    assert type(doubled(np.asarray(2.0))) is type(doubled(3.0)) is np.float64


def test_a_given_array_stays_an_array() -> None:
    s, m = np.empty(()), np.empty(())
    found = sum_and_largest(np.arange(10.0), out=(s, None))
    assert found[0] is s
    assert type(found[1]) is np.float64
    assert sum_and_largest(np.arange(10.0), out=(s, m))[1] is m


def test_elsewhere_they_are_arrays() -> None:
    with xd.engine("legate"):
        s, _ = sum_and_largest(np.arange(10.0))
    assert s.shape == ()
    assert not isinstance(s, np.generic)
    xd.synchronize()
