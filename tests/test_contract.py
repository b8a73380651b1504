"""One contract on every engine: the answer is NumPy's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from conftest import Engine, make_engine
from xpdispatch import In, InOut, Out, Reduce, align, broadcast, kernel

rng = np.random.default_rng(20261122)


@kernel("src[...] -> dst[...]")
def copy(xp, src):
    return xp.asarray(src, copy=True)


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("data[i] -> sum hist[:bins]")
def histogram(xp, data, bins):
    return xp.sum(xp.astype(data[:, None] == xp.arange(bins)[None, :], xp.int64), axis=0)


@kernel("A[m,k], B[k,n] -> sum C[m,n]")
def matmul(xp, A, B):
    return A @ B


@kernel("src[b, :, :] -> dst[b, :, :]")
def fft2(xp, src):
    return xp.fft.fftn(src, axes=(1, 2))


@kernel("x[...], y[...] -> z[...]")
def hypot(xp, x, y):
    return xp.sqrt(x * x + y * y)


@kernel("x[i], y[j] -> z[i,j]")
def outer(xp, x, y):
    return x[:, None] * y[None, :]


@kernel("A[i,j], B[j,i], v[i] -> sum z[i]")
def rows_of_product(xp, A, B, v):
    return xp.sum(A * B.T, axis=1) * v


@kernel("A[..., :k] -> y[..., :k]")
def doubled_rows(xp, A):
    return 2 * A


@kernel("A[i,:k], w[:k] -> y[i]")
def matvec(xp, A, w):
    return A @ w


@kernel("A[b,:n,:] -> spectrum[b,:n//2+1,:], total[b]")
def spectrum(xp, A):
    return xp.fft.rfft(A, axis=1), xp.sum(A, axis=(1, 2))


@kernel("x[...] -> sum s[], prod p[], max hi[], min lo[]")
def statistics(xp, x):
    return xp.sum(x), xp.prod(x), xp.max(x), xp.min(x)


@kernel("x[i,j] -> max hi[j], min lo[i], sum s[j]")
def by_axis(xp, x):
    return xp.max(x, axis=0), xp.min(x, axis=1), xp.sum(x, axis=0)


@kernel("x[i,j] -> any some[j], all every[i]")
def truth(xp, x):
    return xp.any(x, axis=0), xp.all(x, axis=1)


@kernel("x[i] -> xor bits[]")
def parity(xp, x):
    total = xp.asarray(0, dtype=x.dtype)
    for n in range(x.shape[0]):
        total = total ^ x[n]
    return total


@kernel("x[i], lo[], hi[] -> y[i]")
def clamp(xp, x, lo, hi):
    return xp.where(x < lo, lo, xp.where(x > hi, hi, x))


@kernel("x[i,j] -> y[j,i]")
def transpose(xp, x):
    return x.T


@kernel("-> z[i=n, j=m]")
def ramp(xp, tile, n, m):
    return tile.coords("i")[:, None] * 100 + tile.coords("j")[None, :]


@kernel("x[i] -> y[i]")
def where_am_i(xp, tile, x):
    return tile.coords("i") * 1000 + tile.total("i") + 0 * x


@kernel("x[i,:,j] -> y[j,:,i]")
def turn(xp, x):
    return xp.permute_dims(x, (2, 1, 0))


@kernel("x[..., i] -> sum s[...]")
def sum_last(xp, x):
    return xp.sum(x, axis=-1)


@kernel("x[i], w[j,:3] -> sum y[i,:3]")
def spread(xp, x, w):
    return x[:, None] * xp.sum(w, axis=0)[None, :]


@kernel("x[i,:] -> y[i,:]", dtype="float32")
def narrowed(xp, x):
    return x / 3


@kernel("x[i] -> sum s[]", dtype=lambda x: "int64")
def counted(xp, x):
    return xp.sum(xp.astype(x > 0, xp.int8))


@kernel("x[i], y[i] -> z[i]", dtype="y")
def like_y(xp, x, y):
    return x + y


class Case(NamedTuple):
    name: str
    kernel: Any
    args: tuple
    expected: Any


def floats(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


A, B, v17, w17 = floats(7, 5), floats(5, 6), floats(17), floats(17)
grid = floats(5, 6)
batch = floats(6, 4, 3)
bools = rng.random((5, 6)) < 0.6
ints = rng.integers(0, 9, 50)
STATISTICS = [
    floats(4, 5),
    floats(17) - 50.0,
    np.array([np.nan, 1.0, -2.0]),
    np.array([-np.inf, -np.inf, -3.0]),
    np.array([np.inf, -1.0]),
    np.full(9, -np.inf),
    floats(3).astype(np.float32),
    rng.integers(-9, -1, 12),
    rng.integers(1, 3, 12).astype(np.int8),
]


def stats(x: np.ndarray) -> tuple:
    return x.sum(), x.prod(), x.max(), x.min()


CASES = [
    Case("copy 3-d", copy, (batch,), batch),
    Case("copy 0-d", copy, (np.array(3.5),), np.array(3.5)),
    Case("copy bool", copy, (bools,), bools),
    Case("saxpy", saxpy, (v17, w17, 2.0), 2.0 * v17 + w17),
    Case("saxpy same array", saxpy, (v17, v17, 2.0), 3.0 * v17),
    Case("saxpy one cell", saxpy, (v17[:1], w17[:1], 2.0), 2.0 * v17[:1] + w17[:1]),
    Case("saxpy no cell", saxpy, (v17[:0], w17[:0], 2.0), v17[:0]),
    Case("histogram", histogram, (ints, 9), np.bincount(ints, minlength=9)),
    Case("matmul", matmul, (A, B), A @ B),
    Case("matmul k = 0", matmul, (A[:, :0], B[:0]), np.zeros((7, 6))),
    Case("fft2", fft2, (batch + 0j,), np.fft.fftn(batch, axes=(1, 2))),
    Case("broadcast", hypot, (floats(4, 1, 3), floats(5, 1)), None),
    Case("broadcast ranks", hypot, (floats(6), floats(2, 4, 6)), None),
    Case("broadcast 0-d", hypot, (floats(6), np.array(2.0)), None),
    Case("number operand", hypot, (floats(6), 2.0), None),
    Case("outer", outer, (v17, floats(5)), None),
    Case("mixed order", rows_of_product, (A, np.ascontiguousarray(A.T), floats(7)), None),
    Case("matvec", matvec, (A, floats(5)), None),
    Case("several results", spectrum, (batch,), (np.fft.rfft(batch, axis=1), batch.sum((1, 2)))),
    *(Case(f"statistics {n}", statistics, (x,), stats(x)) for n, x in enumerate(STATISTICS)),
    Case("by axis", by_axis, (grid,), (grid.max(0), grid.min(1), grid.sum(0))),
    Case("truth", truth, (bools,), (bools.any(0), bools.all(1))),
    Case("xor", parity, (ints,), np.bitwise_xor.reduce(ints)),
    Case("0-d operands", clamp, (v17, np.array(-0.5), np.array(0.5)), np.clip(v17, -0.5, 0.5)),
    Case("transpose", transpose, (grid,), grid.T),
    Case("no inputs", ramp, (7, 5), np.arange(7)[:, None] * 100 + np.arange(5)),
    Case("coordinates", where_am_i, (np.zeros(17, int),), np.arange(17) * 1000 + 17),
    Case("turn", turn, (batch,), batch.transpose(2, 1, 0)),
    Case("ellipsis and index", sum_last, (batch,), batch.sum(-1)),
    Case("ellipsis of no axis", sum_last, (v17,), v17.sum()),
    Case("fixed extent", spread, (v17, floats(4, 3)), None),
    Case("dtype of results", narrowed, (grid,), (grid / 3).astype(np.float32)),
    Case("dtype before combining", counted, (floats(400),), None),
    Case("dtype of an operand", like_y, (v17.astype(np.float32), w17), None),
    Case("whole axis of extent 0", matvec, (A[:, :0], np.zeros(0)), np.zeros(7)),
    Case("whole axis of extent 0 in all arrays", doubled_rows, (A[:, :0],), A[:, :0]),
]


def oracle(case: Case) -> tuple:
    """What NumPy says; by the body over the whole arrays where no formula is given."""
    if case.expected is not None:
        return case.expected if isinstance(case.expected, tuple) else (case.expected,)
    result = case.kernel(*case.args)
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_contract(case: Case, engine: Engine) -> None:
    expected = oracle(case)
    for _ in range(3):  # what is known of the first call makes the others shorter
        got = case.kernel(*map(engine.put, case.args))
        got = got if isinstance(got, tuple) else (got,)
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            g, e = engine.get(g), np.asarray(e)
            assert g.shape == e.shape
            assert g.dtype == e.dtype or engine.name in ("torch", "jax", "strict")
            np.testing.assert_allclose(g, e, rtol=1e-6 if e.dtype == np.float32 else 1e-12, atol=1e-12)


def test_out_overwrites_and_is_returned(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    x, y = engine.put(v17), engine.put(w17)
    z, total = engine.put(np.full(17, 9.0)), engine.put(np.array(9.0))
    assert saxpy(x, y, 2.0, out=z) is z
    np.testing.assert_allclose(engine.get(z), 2.0 * v17 + w17)
    s = kernel("x[i] -> sum s[]")(lambda_sum)
    assert s(x, out=total) is total
    np.testing.assert_allclose(engine.get(total), v17.sum())


def lambda_sum(xp, x):
    return xp.sum(x)


def test_out_for_several_results(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    hi, s = engine.put(np.zeros(6)), engine.put(np.zeros(6))
    got = by_axis(engine.put(grid), out=(hi, None, s))
    assert got[0] is hi
    assert got[2] is s
    for g, e in zip(got, (grid.max(0), grid.min(1), grid.sum(0)), strict=True):
        np.testing.assert_allclose(engine.get(g), e)


def test_out_that_overlaps_an_input(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    x = engine.put(v17.copy())
    saxpy(x, x, 2.0, out=x)
    np.testing.assert_allclose(engine.get(x), 3 * v17)
    x = engine.put(v17.copy())
    saxpy(x[:-1], engine.put(w17[:16].copy()), 2.0, out=x[1:])
    np.testing.assert_allclose(engine.get(x)[1:], 2 * v17[:16] + w17[:16])
    square = engine.put(floats(6, 6))
    before = engine.get(square).copy()
    transpose(square, out=square)
    np.testing.assert_allclose(engine.get(square), before.T)


def test_read_and_written_in_place(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel("u[i,j], v[j] -> u[i,j]")
    def add_row(xp, u, v):
        u += v

    @kernel("u[i] -> u[i], sum s[]")
    def halve(xp, u):
        return u / 2, xp.sum(u)

    u = engine.put(grid.copy())
    assert add_row(u, engine.put(floats(6) * 0 + 1)) is u
    np.testing.assert_allclose(engine.get(u), grid + 1)
    x = engine.put(v17.copy())
    same, total = halve(x)
    assert same is x
    np.testing.assert_allclose(engine.get(x), v17 / 2)
    np.testing.assert_allclose(engine.get(total), v17.sum())


def test_buffers(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel("x[i] -> z[i], sum s[]", dtype="float64")
    def write(xp, x, z, s):
        z[...] = 2 * x
        s += xp.sum(x)

    x = engine.put(v17)
    z, s = write(x)
    np.testing.assert_allclose(engine.get(z), 2 * v17)
    np.testing.assert_allclose(engine.get(s), v17.sum())
    mine, total = engine.put(np.full(17, 5.0)), engine.put(np.array(5.0))
    assert write(x, mine, total)[0] is mine
    np.testing.assert_allclose(engine.get(mine), 2 * v17)
    np.testing.assert_allclose(engine.get(total), v17.sum())


def test_explicit_spelling(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel(constraints=[align("x", "y", "z")])
    def saxpy_explicit(xp, x: In, y: In, z: Out, a: float):
        z[...] = a * x + y

    @kernel(constraints=[align("src", "dst"), broadcast("src", (1, 2))])
    def fft_explicit(xp, dst: Out, src: In):
        dst[...] = xp.fft.fftn(src, axes=(1, 2))

    @kernel(constraints=[broadcast("hist")])
    def histogram_explicit(xp, data: In, hist: Reduce["sum"], bins: int):
        hist += xp.sum(xp.astype(data[:, None] == xp.arange(bins)[None, :], xp.int64), axis=0)

    @kernel(constraints=[align("u", "x")])
    def add(xp, u: InOut, x: In):
        u += x

    z = engine.put(np.zeros(17))
    saxpy_explicit(engine.put(v17), engine.put(w17), z, 2.0)
    np.testing.assert_allclose(engine.get(z), 2 * v17 + w17)
    dst = engine.put(np.zeros((6, 4, 3), complex))
    fft_explicit(dst, engine.put(batch + 0j))
    np.testing.assert_allclose(engine.get(dst), np.fft.fftn(batch, axes=(1, 2)), atol=1e-12)
    hist = engine.put(np.full(9, 100))
    histogram_explicit(engine.put(ints), hist, 9)
    np.testing.assert_array_equal(engine.get(hist), 100 + np.bincount(ints, minlength=9))
    add(z, engine.put(v17))
    np.testing.assert_allclose(engine.get(z), 3 * v17 + w17)


def test_reduce_accumulates_maxima(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel(constraints=[broadcast("hi"), broadcast("x", (1,))])
    def running_max(xp, x: In, hi: Reduce["max"]):
        return xp.max(x, axis=0)

    hi = engine.put(np.array([5.0, -np.inf, np.nan]))
    running_max(engine.put(np.array([[1.0, 2.0, 3.0], [7.0, -np.inf, 1.0]])), hi)
    np.testing.assert_array_equal(engine.get(hi), [7.0, 2.0, np.nan])


def test_calls_inside_a_body(engine: Engine) -> None:
    @kernel("x[i] -> y[i]")
    def twice(xp, x):
        return saxpy(x, x, 1.0)

    np.testing.assert_allclose(engine.get(twice(engine.put(v17))), 2 * v17)


@pytest.mark.parametrize(
    "scalar",
    [2, 2.0, True, np.float32(1.5), "text", None, (1, (2, "x")), [1, 2], {"a": [1]}, b"\0\1", 10**30, 3j],
    ids=lambda s: type(s).__name__,
)
def test_scalars_keep_their_type(engine: Engine, scalar: Any) -> None:
    @kernel("x[i] -> y[i]")
    def look(xp, x, s, kind, value):
        if type(s).__name__ != kind or s != value:
            raise TypeError(f"got {s!r}")
        return x

    x = engine.put(np.arange(5.0))
    np.testing.assert_array_equal(engine.get(look(x, scalar, type(scalar).__name__, scalar)), np.arange(5.0))


class Settings:
    """An object that has an array's attributes, and is none."""

    dtype, shape = ["float32", "float64"], [[1, 2], [3]]


def test_scalars_may_have_the_attributes_of_arrays(engine: Engine) -> None:
    @kernel("x[i] -> y[i]")
    def scale(xp, x, settings):
        return x * settings.shape[1][0]

    x = engine.put(np.arange(5.0))
    np.testing.assert_array_equal(engine.get(scale(x, Settings())), 3 * np.arange(5.0))


def test_results_share_no_memory_with_inputs(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel("x[i] -> y[i], z[i]")
    def same(xp, x):
        return x, x

    x = engine.put(v17.copy())
    y, z = same(x)
    engine.get(y)
    y[...] = 0
    np.testing.assert_array_equal(engine.get(x), v17)
    np.testing.assert_array_equal(engine.get(z), v17)


def test_exceptions_come_back_as_themselves(engine: Engine) -> None:
    @kernel("x[i] -> y[i]")
    def picky(xp, x):
        if xp.any(x > 2):
            raise ZeroDivisionError("x is too large")
        return x

    with pytest.raises(ZeroDivisionError, match="x is too large") as caught:
        engine.get(picky(engine.put(np.arange(9.0))))
    notes = "\n".join(caught.value.__notes__)
    assert "kernel 'picky'" in notes
    assert "tile i = " in notes
    assert "variant CPU" in notes
    np.testing.assert_array_equal(engine.get(picky(engine.put(np.zeros(9)))), np.zeros(9))


def test_max_over_no_cell_is_refused(engine: Engine) -> None:
    @kernel("x[i] -> max hi[]")
    def largest(xp, x):
        return xp.max(x)

    with pytest.raises(ValueError, match="max of result 'hi' over no element: i has extent 0"):
        largest(engine.put(np.zeros(0)))


def test_dtypes(engine: Engine) -> None:
    kinds = ["bool", "int8", "int32", "int64", "uint8", "float32", "float64", "complex64", "complex128"]
    if engine.name in ("numpy", "legate", "legate-tiles"):
        kinds += ["float16", "uint16", "uint32", "uint64", "int16"]
    for kind in kinds:
        x = (rng.integers(0, 5, 17) - (2 if kind[0] in "ifc" else 0)).astype(kind)
        got = engine.get(copy(engine.put(x)))
        np.testing.assert_array_equal(got, x)
        if kind == "bool":
            continue
        total = kernel("x[i] -> sum s[], prod p[]", dtype=("x", "x"))(sum_and_product)
        s, p = total(engine.put(x))
        np.testing.assert_allclose(engine.get(s), x.sum(dtype=kind), rtol=1e-2 if kind == "float16" else 1e-5)
        np.testing.assert_allclose(engine.get(p), x.prod(dtype=kind), rtol=1e-2 if kind == "float16" else 1e-5)


def sum_and_product(xp, x):
    return xp.sum(x), xp.prod(x)


def test_results_that_are_operands_of_each_other(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    u, v = engine.put(np.arange(5.0)), engine.put(np.arange(5.0) + 10)
    kernel("u[i], v[i] -> u[i], v[i]")(lambda xp, u, v: (v, u))(u, v)
    np.testing.assert_array_equal(engine.get(u), np.arange(5.0) + 10)
    np.testing.assert_array_equal(engine.get(v), np.arange(5.0))
    u = engine.put(np.arange(5.0))
    _, old = kernel("u[i] -> u[i], v[i]")(lambda xp, u: (u + 1, u))(u)
    np.testing.assert_array_equal(engine.get(u), np.arange(5.0) + 1)
    np.testing.assert_array_equal(engine.get(old), np.arange(5.0))


def test_reduce_accumulates_in_the_dtype_of_the_array(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel(constraints=[broadcast("s")])
    def small(xp, x: In, s: Reduce["sum"]):
        return xp.astype(xp.sum(x), xp.int8)

    s = engine.put(np.array([1000])[0:1].reshape(()).copy())
    small(engine.put(np.ones(5, np.int8)), s)
    assert int(engine.get(s)) == 1005


def test_max_buffers_written_in_place(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel("x[i, :c] -> max hi[:c]")
    def highest(xp, x, hi):
        hi[...] = xp.max(x, axis=0)

    @kernel(constraints=[broadcast("hi"), broadcast("x", (1,))])
    def running(xp, x: In, hi: Reduce["max"]):
        hi[...] = xp.max(x, axis=0)

    x = floats(17, 2)
    hi = engine.put(np.zeros(2))
    highest(engine.put(x), hi)
    np.testing.assert_array_equal(engine.get(hi), x.max(0))
    hi = engine.put(np.array([-9.0, 9.0]))
    running(engine.put(x), hi)
    np.testing.assert_array_equal(engine.get(hi), [x.max(0)[0], 9.0])


def test_broadcast_names_axes_of_the_array_itself(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")

    @kernel(constraints=[align("x", "y", "z"), broadcast("x", (0,))])
    def running_sum(xp, x: In, y: In, z: Out):
        z[...] = y + xp.cumulative_sum(x, axis=0)

    x, y, z = floats(4, 5), floats(3, 4, 5), engine.put(np.zeros((3, 4, 5)))
    running_sum(engine.put(x), engine.put(y), z)
    np.testing.assert_allclose(engine.get(z), y + x.cumsum(0))


def test_results_side_by_side_in_one_array(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    both = engine.put(np.zeros((5, 2)))
    kernel("x[i] -> y[i], z[i]")(lambda xp, x: (x, 2 * x))(engine.put(np.arange(5.0)), out=(both[:, 0], both[:, 1]))
    np.testing.assert_array_equal(engine.get(both), np.stack([np.arange(5.0), 2 * np.arange(5.0)], axis=1))


def test_jax_traces_through_a_kernel() -> None:
    engine = make_engine("jax")
    import jax

    x, y = engine.put(v17), engine.put(w17)
    jitted = jax.jit(lambda x, y: saxpy(x, y, 2.0))
    np.testing.assert_allclose(engine.get(jitted(x, y)), 2 * v17 + w17)
    total = kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(x * x))
    np.testing.assert_allclose(engine.get(jax.grad(total)(x)), 2 * v17)
    rows = jax.vmap(lambda row: saxpy(row, row, 1.0))(engine.put(grid))
    np.testing.assert_allclose(engine.get(rows), 2 * grid)


def test_torch_gradients_go_through_a_kernel() -> None:
    make_engine("torch")
    import torch

    x = torch.tensor(v17, requires_grad=True)
    kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(x * x))(x).backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * v17)


@pytest.mark.parametrize(("kind", "wider"), [("int32", "float64"), ("float64", "float32"), ("bool", "int64")])
def test_out_of_another_dtype(engine: Engine, kind: str, wider: str) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    x, z = np.asarray([0, 1, 1]).astype(kind), engine.put(np.zeros(3, wider))
    copy(engine.put(x), out=z)
    np.testing.assert_array_equal(engine.get(z), x.astype(wider))
    u = engine.put(np.asarray([0, 1, 1]).astype(wider))
    kernel("u[i], x[i] -> u[i]")(lambda xp, u, x: x)(u, engine.put(x))
    np.testing.assert_array_equal(engine.get(u), x.astype(wider))
