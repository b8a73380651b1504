"""Kernels on dask arrays: the answer is NumPy's whatever the chunks, and no block is computed at the call."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xpdispatch as xd
from right import RIGHT, Right
from test_contract import CASES, Case, histogram, matmul
from xpdispatch import folds, kernel
from xpdispatch.machine.settings import settings

da = pytest.importorskip("dask.array", reason="pip install 'dask[array]'")
import dask  # noqa: E402  where it is installed

SOURCE = Path(xd.__file__).parent.parent
rng = np.random.default_rng(20261130)


@pytest.fixture(autouse=True)
def in_this_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


def odd(array: Any, seed: int = 0) -> Any:
    """The array in chunks of one to five elements, or of a few fifths of it."""
    if not isinstance(array, np.ndarray):
        return array
    draw = np.random.default_rng(seed)
    chunks = []
    for n in array.shape:
        parts = [0] if n == 0 else []
        while sum(parts) < n:
            parts.append(min(n - sum(parts), int(draw.integers(1, max(6, n // 5)))))
        chunks.append(tuple(parts))
    return da.from_array(array, chunks=tuple(chunks))


def agree(got: Any, expected: Any, rtol: float = 1e-6) -> None:
    got, expected = (v if isinstance(v, tuple) else (v,) for v in (got, expected))
    for g, e in zip(got, expected, strict=True):
        assert type(g) is da.Array
        found, e = g.compute(), np.asarray(e)
        assert g.dtype == found.dtype == e.dtype
        assert found.shape == e.shape
        assert all(isnan(n) or n == m for n, m in zip(g.shape, e.shape, strict=True))
        np.testing.assert_allclose(found, e, rtol=rtol, atol=1e-5 if e.dtype == np.float32 else 1e-9)


def like_numpy(made: xd.Kernel, *args: Any, seed: int = 0, **kwargs: Any) -> Any:
    """The call on dask arrays in odd chunks, after it is compared with NumPy's."""
    got = made(*[odd(a, seed + p) for p, a in enumerate(args)], **kwargs)
    agree(got, made(*args, **kwargs))
    return got


# -- every kind of notation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_contract(case: Case, seed: int) -> None:
    if not any(isinstance(a, np.ndarray) for a in case.args):
        pytest.skip("without an array there is no dask array")
    like_numpy(case.kernel, *case.args, seed=seed)


ROUNDS = {"sum with cancellation", "product with cancellation", "half precision sum"}


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)
def test_right_kernels_are_right(case: Right) -> None:
    """So the guard raises no alarm either."""
    made, args, kwargs = case.make(np.random.default_rng(7))
    body = made.definition.body
    if kwargs.get("out") is not None or body.buffers or any(u is not None for u in body.updated):
        pytest.skip("writes to arrays, which dask's cannot be")
    if not any(isinstance(a, np.ndarray) for a in (*args, *kwargs.values())):
        pytest.skip("without an array there is no dask array")
    expected = made(*args, **kwargs)
    with np.errstate(all="ignore"):
        got = made(*[odd(a, p) for p, a in enumerate(args)], **{name: odd(a) for name, a in kwargs.items()})
        if case.name in ROUNDS:  # more than any tolerance by which a bug would show
            dask.compute(got)
        else:
            agree(got, expected, rtol=1e-4)


@pytest.mark.parametrize("op", ["sum", "prod", "max", "min", "any", "all", "xor"])
@pytest.mark.parametrize("kind", ["some", "all", "scan"])
def test_each_operator(op: str, kind: str) -> None:
    x = rng.integers(1, 4, (13, 9)).astype(np.int32)
    if op in ("any", "all"):
        x = x > 2
    ufunc = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}.get(op)
    ufunc = ufunc or {"any": np.logical_or, "all": np.logical_and, "xor": np.bitwise_xor}[op]
    if kind == "scan":
        made = kernel(f"x[i,j] -> {op} y[..i,j]")(lambda xp, x: ufunc.accumulate(x, axis=0, dtype=x.dtype))
    elif kind == "some":
        made = kernel(f"x[i,j] -> {op} y[j]")(lambda xp, x: ufunc.reduce(x, axis=0, dtype=x.dtype))
    else:
        made = kernel(f"x[i,j] -> {op} y[]")(lambda xp, x: ufunc.reduce(x, axis=None, dtype=x.dtype))
    like_numpy(made, x)


@pytest.mark.parametrize("way", ["..i", "i.."])
def test_scans_carry_on_from_block_to_block(way: str) -> None:
    x = rng.random((4, 23))
    if way == "..i":
        like_numpy(kernel("x[b,i] -> sum y[b,..i], max top[]")(
            lambda xp, x: (xp.cumulative_sum(x, axis=1), xp.max(x))), x)  # fmt: skip
    else:
        like_numpy(kernel("x[b,i] -> sum y[b,i..]")(
            lambda xp, x: xp.flip(xp.cumulative_sum(xp.flip(x, axis=1), axis=1), axis=1)), x)  # fmt: skip


def test_folds_merge_neighbors_in_the_order_of_the_tiles() -> None:
    @kernel("a[i,:,:] -> fold p[:,:]", fold=lambda xp, a, b: a @ b)
    def product(xp, a):
        total = a[0, :, :]
        for n in range(1, a.shape[0]):
            total = total @ a[n, :, :]
        return total

    turns = rng.normal(size=(30, 2, 2))
    like_numpy(product, turns / np.linalg.norm(turns, axis=(1, 2))[:, None, None] * 1.5)

    @kernel("x[i] -> fold hi[], fold at[]", fold=folds.argmax)
    def highest(xp, tile, x):
        n = xp.argmax(x)
        return x[n], n + tile.start("i")

    like_numpy(highest, rng.random(50))


BOUNDARIES = ["clip", "valid", "edge", "reflect", "symmetric", "wrap", 2.5]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("chunks", [40, 11, 3, 1, (1, 38, 1), (17, 1, 22)])
def test_halos(boundary: Any, chunks: Any) -> None:
    @kernel("u[i-2..i+1] -> v[i], low[i]", boundary=boundary)
    def weighted(xp, tile, u):
        below, above = tile.halo("u", 0)
        low = xp.zeros(2 - below)
        u = xp.concat([low, u, xp.zeros(1 - above)])
        return u[:-3] + 10 * u[1:-2] + 100 * u[2:-1] + 1000 * u[3:], tile.coords("i") + 0 * below

    u = rng.random(40)
    agree(weighted(da.from_array(u, chunks=chunks)), weighted(u))


@pytest.mark.parametrize("first", BOUNDARIES)
@pytest.mark.parametrize("second", ["wrap", "reflect", -1.0])
def test_halos_along_two_axes_meet_in_the_corners(first: Any, second: Any) -> None:
    if first == "clip":
        made = kernel("u[i-1..i+1, j-2..j] -> hi[i,j]", boundary=("valid", second))
    else:
        made = kernel("u[i-1..i+1, j-2..j] -> hi[i,j]", boundary=(first, second))
    corners = made(lambda xp, u: u[:-2, :-2] + 3 * u[2:, :-2] + 7 * u[2:, 2:] + 9 * u[1:-1, 1:-1])
    like_numpy(corners, rng.random((13, 17)))


@pytest.mark.parametrize("boundary", BOUNDARIES[1:])
def test_halos_of_arrays_with_empty_chunks(boundary: Any) -> None:
    made = kernel("x[i-1..i+1] -> y[i]", boundary=boundary)(lambda xp, x: x[2:] - x[1:-1] * x[:-2])
    x = np.arange(5.0)
    agree(made(da.from_array(x, chunks=((1, 1, 0, 1, 1, 1, 0),))), made(x))


def test_blocks_and_windows_with_a_stride_need_no_chunks_of_their_own() -> None:
    like_numpy(kernel("x[2*i] -> y[i]")(lambda xp, x: x[::2] - x[1::2]), rng.random(34))
    like_numpy(kernel("x[i] -> y[3*i]")(lambda xp, x: xp.repeat(x, 3)), rng.random(11))
    like_numpy(kernel("x[2*i], w[i] -> y[i]")(lambda xp, x, w: w * x[::2]), rng.random(34), rng.random(17))

    @kernel("x[2*i-1..2*i+2] -> y[i]", boundary="edge")
    def coarse(xp, x):
        return x[:-3:2] + 2 * x[1:-2:2] + 2 * x[2:-1:2] + x[3::2]

    like_numpy(coarse, rng.random(30))


def test_whole_axes_are_one_chunk_and_indices_are_cut_where_chunks_end() -> None:
    made = kernel("x[i,:] -> y[i,:]")(lambda xp, x: xp.sort(x, axis=1))
    x = rng.random((10, 8))
    y = made(da.from_array(x, chunks=((3, 3, 4), 2)))
    assert y.chunks == ((3, 3, 4), (8,))
    agree(y, np.sort(x, axis=1))
    both = kernel("x[i], y[i] -> z[i]")(lambda xp, x, y: x + y)
    assert both(da.ones(10, chunks=((4, 6),)), da.ones(10, chunks=((5, 5),))).chunks == ((4, 1, 5),)
    halo = kernel("x[i-3..i] -> z[i]", boundary="wrap")(lambda xp, x: x[3:])
    assert halo(da.ones(10, chunks=((1, 2, 1, 5, 1),))).chunks == ((3, 7),), "a tile has as much as its neighbors' halo"


def test_the_place_of_a_tile_is_the_global_one() -> None:
    @kernel("x[i,j] -> y[i,j], max n[i]")
    def place(xp, tile, x):
        return tile.coords("i")[:, None] * 100 + tile.coords("j")[None, :] + 0 * x, tile.coords(("x", 0))

    like_numpy(place, np.zeros((9, 7)))
    noise = kernel("x[i] -> y[i]")(lambda xp, tile, x: x + tile.random("i", seed=5))
    like_numpy(noise, np.zeros(30))


def test_an_index_that_no_dask_array_has() -> None:
    made = kernel("p[], [i=n] -> sum s[]")(lambda xp, tile, p, n: xp.sum(p * tile.coords("i")))
    agree(made(da.from_array(np.asarray(2.0)), n=12), np.asarray(132.0))
    outer = kernel("x[i], y[j] -> z[i,j]")(lambda xp, x, y: x[:, None] * y)
    x, y = rng.random(7), rng.random(5)
    z, expected = outer(odd(x), y), outer(x, y)
    y[:] = 0  # a NumPy array means its values at the call
    agree(z, expected)


def test_lengths_that_only_the_body_knows() -> None:
    x = rng.random((40, 2))
    some = like_numpy(kernel("x[i,:] -> y[?,:], sum n[]")(
        lambda xp, x: (x[x[:, 0] > 0.5], xp.sum(xp.astype(x[:, 0] > 0.5, xp.int64)))), x)  # fmt: skip
    assert isnan(some[0].shape[0]) and some[0].shape[1] == 2
    one_piece = kernel("x[:] -> y[?]")(lambda xp, x: xp.unique_values(x))
    like_numpy(one_piece, np.asarray([3.0, 1.0, 3.0]))
    like_numpy(kernel("x[i] -> y[i,:]")(lambda xp, x: x[:, None] * xp.ones((1, 3))), x[:, 0])


def test_keys_and_diagonals() -> None:
    n, g, x = 6, rng.integers(0, 6, 30), rng.random(30)
    binned = kernel("x[i], g[i] -> sum y[@g=n]")(lambda xp, x, g, n: x)
    agree(binned(odd(x), odd(g, 1), n=n), np.bincount(g, x, n))
    like_numpy(kernel("t[@p], p[i] -> y[i]")(lambda xp, t, p: t), rng.random(6), g)
    like_numpy(kernel("A[i,i], x[i] -> y[i]")(lambda xp, A, x: A * x), rng.random((9, 9)), rng.random(9))


def test_no_element() -> None:
    none = da.zeros((0, 3), chunks=(1, 2))
    add = kernel("x[i,j] -> y[i,j], sum s[j], prod p[]")(lambda xp, x: (x, xp.sum(x, axis=0), xp.prod(x)))
    agree(add(none), add(np.zeros((0, 3))))
    with pytest.raises(ValueError, match="max of result 'm' over no element"):
        kernel("x[i,j] -> max m[]")(lambda xp, x: xp.max(x))(none)
    holes = da.concatenate([da.ones(3), da.ones(0), da.ones(2)])
    agree(kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(x))(holes), 5.0)


def test_buffers_that_are_left_out() -> None:
    @kernel("x[i] -> z[i]", dtype="x")
    def doubled(xp, x, z):
        z[...] = 2 * x

    x = rng.random(12)
    agree(doubled(odd(x)), 2 * x)


@given(st.data())
def test_any_chunks(data: Any) -> None:
    m, k, n = (data.draw(st.integers(1, 9)) for _ in range(3))

    def chunked(array: Any) -> Any:
        parts = []
        for extent in array.shape:
            cuts = sorted({0, extent, *data.draw(st.lists(st.integers(0, extent), max_size=4))})
            parts.append(tuple(b - a for a, b in pairwise(cuts)))
        return da.from_array(array, chunks=tuple(parts))

    A, B = rng.random((m, k)), rng.random((k, n))
    agree(matmul(chunked(A), chunked(B)), A @ B)
    boundary = data.draw(st.sampled_from(["edge", "symmetric", "wrap", 1.0]))
    low, high = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    if low + high:
        line = f"u[i-{low}..i+{high}, j] -> v[i,j]".replace("-0", "").replace("+0", "")
        ends = kernel(line, boundary=boundary)(lambda xp, u: u[: u.shape[0] - low - high] + 2 * u[low + high :])
        agree(ends(chunked(A)), ends(A))
    running = kernel("x[i,j] -> sum y[..i,j]")(lambda xp, x: xp.cumulative_sum(x, axis=0))
    agree(running(chunked(A)), np.cumsum(A, axis=0))
    counts = rng.integers(0, 4, m)
    agree(histogram(chunked(counts), 4), np.bincount(counts, minlength=4))


# -- lazily ----------------------------------------------------------------------------------------------------------


def test_no_block_is_computed_at_the_call() -> None:
    computed = []

    def note(block: Any) -> Any:
        computed.append(block.shape)
        return block

    x = da.ones((120, 6), chunks=(40, 3)).map_blocks(note, dtype=float, meta=np.empty((0, 0)))
    ran: list[Any] = []

    @kernel("x[i-1..i+1,j], w[j] -> y[i,j], sum s[j]", boundary="wrap")
    def body(xp, x, w):
        ran.append(x.shape)
        return x[1:-1, :] * w, xp.sum(x[1:-1, :], axis=0)

    y, s = body(x, np.ones(6))
    z, _ = body(y, np.ones(6))
    assert not computed
    assert (42, 3) not in ran, "the guard and samples have few elements"
    assert (y.dtype, y.shape, s.dtype, s.shape) == (np.float64, (120, 6), np.float64, (6,))
    dask.compute(z, s)
    assert len(computed) == 6
    assert ran.count((42, 3)) == 12


def test_scalars_mean_their_values_at_the_call() -> None:
    scale = [2.0]
    made = kernel("x[i] -> y[i]")(lambda xp, x, scale: x * scale[0])
    y = made(da.ones(4, chunks=2), scale)
    scale[0] = 5.0
    assert y.compute().tolist() == [2.0] * 4


def test_what_a_body_reads_around_it_does_not_make_two_results_one() -> None:
    x = da.ones(4, chunks=2)
    made = kernel("x[i] -> y[i]", guard=False)(lambda xp, x: x * factor[0])
    factor = [1.0]
    first, second = made(x), made(x)
    assert first.name != second.name


def test_arrays_of_dask_are_cut_for_the_cache_too() -> None:
    from conftest import forced_cuts

    shapes = []

    @kernel("u[i-1..i+1] -> v[i]", boundary="wrap")
    def smooth(xp, tile, u):
        shapes.append(u.shape)
        return u[:-2] + u[2:]

    u = rng.random(600)
    expected = np.roll(u, 1) + np.roll(u, -1)
    with forced_cuts(1):
        agree(smooth(da.from_array(u, chunks=200)), expected)
    assert len(shapes) > 6


def test_a_body_gets_blocks_as_they_are_or_copies_where_it_asks_for_that() -> None:
    may_write: list[bool] = []

    def body(xp, x):
        may_write.append(x.flags.writeable)
        return x + 1

    for read_only in (True, False):
        kernel("x[i] -> y[i]", read_only=read_only, guard=False, dtype="x")(body)(da.ones(9, chunks=3)).compute()
    assert may_write == [False] * 3 + [True] * 3


def test_on_threads_and_with_halos_of_halos() -> None:
    smooth = kernel("u[i-1..i+1] -> v[i]", boundary="reflect")(lambda xp, u: (u[:-2] + u[1:-1] + u[2:]) / 3)
    u = rng.random(50)
    got, expected = odd(u), u
    for _ in range(5):
        got, expected = smooth(got), smooth(expected)
    with dask.config.set(scheduler="threads", num_workers=4):
        agree(got, expected)


@pytest.mark.parametrize("name", ["__main__", "a module"])
def test_graphs_go_to_other_processes(tmp_path: Path, name: str) -> None:
    program = (
        "from xpdispatch import kernel\n"
        "@kernel('u[i-1..i+1], w[] -> v[i], sum s[]', boundary='wrap')\n"
        "def smooth(xp, tile, u, w):\n"
        "    return w * (u[:-2] + u[2:]) + tile.coords('i'), xp.sum(u[1:-1])\n"
    )
    use = (
        "import dask, dask.array as da\n"
        "if __name__ == '__main__':\n"
        "    with dask.config.set(scheduler='processes', num_workers=1):\n"
        "        v, s = dask.compute(*smooth(da.arange(6., chunks=2), 0.5))\n"
        "        print(v, s)\n"
    )
    (tmp_path / "kernels.py").write_text(program)
    (tmp_path / "script.py").write_text((program if name == "__main__" else "from kernels import smooth\n") + use)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout == "[3. 2. 4. 6. 8. 7.] 15.0\n", done.stderr


def test_a_pickle_refers_to_the_kernel_of_a_module() -> None:
    cloudpickle = pytest.importorskip("cloudpickle", reason="pip install cloudpickle")
    from xpdispatch.calling.cells import Body

    body = Body(histogram.definition, None, (), (), "", ())
    assert pickle.loads(pickle.dumps(body)).definition is histogram.definition
    made = kernel("x[i-1..i+1] -> y[i]", boundary="wrap", dtype="x")(lambda xp, x: x[1:-1])
    again = pickle.loads(cloudpickle.dumps(made.definition))
    assert again.boundaries == {"x": ("wrap",)}
    assert again.casts([np.dtype("f4")], np) == (np.dtype("f4"),)


# -- what is refused -------------------------------------------------------------------------------------------------


def test_a_wrong_line_is_refused_before_anything_runs() -> None:
    x = da.ones(12, chunks=5)
    with pytest.raises(xd.PartitionError, match="the answer depends on how the arrays are cut along i"):
        kernel("x[i] -> sum m[]")(lambda xp, x: xp.mean(x))(x)
    with pytest.raises(xd.PartitionError, match="cut along i"):
        kernel("x[i] -> y[i]")(lambda xp, x: xp.cumulative_sum(x))(x)
    in_one_piece = kernel("x[i] -> y[i]")(lambda xp, x: xp.cumulative_sum(x))(x.rechunk(-1))
    agree(in_one_piece, np.arange(1.0, 13.0))
    settings.guard = False
    try:
        assert kernel("x[i] -> sum m[]")(lambda xp, x: xp.mean(x))(x).compute() == 3.0
    finally:
        settings.guard = True


def test_what_fails_in_a_block_is_told_with_its_place() -> None:
    @kernel("x[i] -> y[i]", guard=False)
    def fails(xp, tile, x):
        if tile.start("i") == 4:
            raise OverflowError("too much")
        return x if tile.start("i") < 8 else x[:1]

    y = fails(da.ones(11, chunks=4))
    with pytest.raises(OverflowError, match="too much") as caught:
        y[:8].compute()
    assert caught.value.__notes__ == ["in kernel 'fails', tile i = 4:8 of 11, variant CPU"]
    with pytest.raises(xd.ResultError, match="kernel 'fails': the body returned shape \\(1,\\) for result 'y'"):
        y[8:].compute()


def test_a_block_of_another_dtype_than_the_sample_is_told() -> None:
    made = kernel("x[i] -> y[i]", guard=False)(lambda xp, x: x if x[0] == 1 else xp.astype(x, xp.float32))
    with pytest.raises(ValueError, match="returned dtype float32 for result 'y', but float64 on a sample of ones\n"):
        made(da.zeros(6, chunks=3)).compute()


def test_a_merge_that_fails_is_told() -> None:
    def merge(xp, a, b):
        return a[None]

    made = kernel("x[i] -> fold s[]", fold=merge, guard=False)(lambda xp, x: xp.sum(x))
    with pytest.raises(xd.ResultError, match="fold= returned shape \\(1,\\)"):
        made(da.ones(5, chunks=2)).compute()


def test_arrays_that_dask_has_and_kernels_do_not_take() -> None:
    add = kernel("x[i], y[i] -> z[i]")(lambda xp, x, y: x + y)
    x = da.ones(4, chunks=2)
    with pytest.raises(
        TypeError, match="'x' is a dask array of shape \\(nan,\\).*\n.*\nHint: call x.compute_chunk_sizes"
    ):
        add(x[x > 0], x)
    with pytest.raises(TypeError, match="blocks of numpy.ma.MaskedArray.*\n.*\nHint: convert them"):
        add(da.ma.masked_equal(x, 1), x)
    with pytest.raises(NotImplementedError, match="result 'z' is to be written .*\n.*\nHint: leave it out"):
        add(x, x, out=x)
    with pytest.raises(NotImplementedError, match="result 'u' is to be written"):
        kernel("u[i] -> u[i]")(lambda xp, u: u + 1)(x)
    with pytest.raises(TypeError, match="argument 'y' is a array_api_strict array beside a dask array"):
        add(x, pytest.importorskip("array_api_strict", reason="pip install 'xpdispatch[testing]'").ones(4))
    with pytest.raises(TypeError, match="argument 'a' is an array, but the notation does not name it"):
        kernel("x[i] -> y[i]")(lambda xp, x, a: x)(x, x)
    inner = kernel("x[i] -> y[i]")(lambda xp, x: x)
    outer = kernel("x[i] -> y[i]", dtype="x", guard=False)(lambda xp, x: inner(da.from_array(x)))
    with pytest.raises(RuntimeError, match="argument 'x' is a dask array in a call inside a kernel's body"):
        outer(np.ones(3))
    frame = type("DataFrame", (), {"__module__": "dask.dataframe"})()
    with pytest.raises(TypeError, match="is a DataFrame of dask, expected an array\n.*\nHint: pass a dask array"):
        add(frame, x)
    with pytest.raises(
        NotImplementedError, match="constraints cut arrays in ways that blocks of dask's cannot be: image"
    ):
        kernel("p[i], t[:] -> y[i]", constraints=[xd.image("p", "t")])(
            lambda xp, tile, p, t: t[p - tile.start(("t", 0))]
        )(da.arange(4, chunks=2), x)


def test_explain_takes_them_and_to_numpy_computes_them() -> None:
    add = kernel("x[i], y[i] -> z[i]")(lambda xp, x, y: x + y)
    x = da.ones(1000, chunks=100)
    assert add.explain(x, x).on(processors=4).arrays["x"].shape == (1000,)
    assert type(xd.to_numpy(add(x, x))) is np.ndarray
    with pytest.raises(TypeError, match="checks run on NumPy"):
        xd.testing.check_partitioning(add, x, x)


def test_dask_is_not_imported_to_ask() -> None:
    program = (
        "import sys, numpy as np\n"
        "from xpdispatch import kernel\n"
        "made = kernel('x[i] -> y[i]')(lambda xp, x: x + 1)\n"
        "made(np.ones(3))\n"
        "print('dask' in sys.modules, 'xarray' in sys.modules, 'pandas' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout == "False False False\n", done.stderr
