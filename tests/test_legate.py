"""What only real Legate can show: tiles, values at the call, stores, failures and the end of the process."""

from __future__ import annotations

import gc
import inspect
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import Engine, cuts_rows_for_parts, run_python, tiles_of
from xpdispatch import In, Out, align, broadcast, kernel
from xpdispatch.legate import nvidia_libraries as driver
from xpdispatch.legate.alignment import Recipe
from xpdispatch.testing import check_on_legate, forced_tiles

import cupynumeric  # isort: skip  after xpdispatch, which makes it importable without a driver
import legate.core as lg  # isort: skip
from xpdispatch.legate import releases  # isort: skip


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("x[i] -> y[i]", dtype="x")
def fail_above(xp, x, limit):
    if xp.any(x > limit):
        raise ValueError(f"above {limit}")
    return x


def raised() -> Exception:
    with pytest.raises(Exception) as caught:
        xd.synchronize()
    return caught.value


# -- tiles ---------------------------------------------------------------------------------------


def test_tiles_are_many_and_ragged() -> None:
    seen: list[int] = []

    @kernel("x[i] -> y[i]", dtype="x", guard=False)
    def spy(xp, x):
        seen.append(x.shape[0])
        return x

    with forced_tiles():
        spy(cupynumeric.arange(17.0))
        xd.synchronize()
    assert len(seen) >= 4
    assert sum(seen) == 17
    assert len(set(seen)) > 1
    assert min(seen) > 0


def test_empty_tiles_are_launched_and_bodies_never_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.legate import leaf

    regions: list[Any] = []
    real = leaf.Task.run

    def run(*args: Any) -> Any:
        region, results = real(*args)
        regions.append(region)
        return region, results

    monkeypatch.setattr(leaf.Task, "run", run)

    @kernel("x[i,:] -> y[i,:], max hi[]", dtype=("x", "x"))
    def body(xp, x):
        assert x.shape[0] > 0
        return x, xp.max(x)

    rows = np.arange(68.0).reshape(17, 4)
    with forced_tiles(4):
        y, hi = body(cupynumeric.array(rows))
        xd.synchronize()
    assert any(stop <= start for region in regions for start, stop in region)
    np.testing.assert_array_equal(np.asarray(y), rows)
    assert float(hi) == 67.0


def test_three_dimensional_tiles_of_a_product() -> None:
    starts: set[tuple] = set()

    @kernel("A[m,k], B[k,n] -> sum C[m,n]")
    def matmul(xp, tile, A, B):
        starts.add(tuple(tile.start(i) for i in "mkn"))
        return A @ B

    rng = np.random.default_rng(0)
    A, B = rng.integers(0, 9, (6, 40)), rng.integers(0, 9, (40, 7))
    with forced_tiles():
        C = np.asarray(matmul(cupynumeric.array(A), cupynumeric.array(B)))
    xd.synchronize()
    np.testing.assert_array_equal(C, A @ B)
    assert len({k for _, k, _ in starts}) > 1, "k is cut, so that partial products are really summed"


def test_more_dimensions_than_legate_has() -> None:
    @kernel("a[i,:p,:q,:r], b[j,:s,:t] -> c[i,j,:q,:r]")
    def body_of_seven(xp, a, b):
        return xp.sum(a, axis=1)[:, None] + xp.sum(b, axis=(1, 2))[None, :, None, None]

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 2, 3, 4)), rng.normal(size=(6, 7, 8))
    with forced_tiles():
        got = body_of_seven(cupynumeric.array(a), cupynumeric.array(b))
        np.testing.assert_allclose(np.asarray(got), body_of_seven(a, b))
    xd.synchronize()


def test_products_of_complex128_and_deterministic_sums() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=40) + 1j * rng.normal(size=40)
    product = kernel("x[i] -> prod p[]")(lambda xp, x: xp.prod(x))
    total = kernel("x[i] -> sum s[]", deterministic=True)(lambda xp, x: xp.sum(x))
    x = cupynumeric.array(rng.normal(size=1000))
    with forced_tiles():
        np.testing.assert_allclose(complex(product(cupynumeric.array(z))), z.prod())
        assert len({float(total(x)) for _ in range(10)}) == 1
    xd.synchronize()


def test_a_fold_over_one_axis_is_cut_where_tasks_can_have_two_results_of_unknown_size() -> None:
    total = kernel("x[i] -> fold s[]", fold=lambda xp, a, b: a + b)(lambda xp, x: xp.sum(x))
    with forced_tiles() as noted:
        assert float(total(cupynumeric.arange(37.0))) == 666.0
        xd.synchronize()
    assert (len(noted) > 2) == (releases.MOST_UNBOUND > 1)


def test_parts_are_put_together_in_the_order_of_the_tiles() -> None:
    """Folds, deterministic sums and products of complex128: cut, asynchronous, and the bits of a run on these tiles."""
    from xpdispatch.testing.trials import make_trial

    rng = np.random.default_rng(1)
    x = rng.normal(size=(37, 3)) * 10.0 ** rng.integers(-8, 8, (37, 3))
    # The ends depend on how columns are cut, which no guard lets pass.
    fold = {"fold": lambda xp, a, b: xp.stack([a[0], b[1]]), "guard": False}
    ends = kernel("x[i, j] -> fold ends[:2], sum s[j]", **fold)(
        lambda xp, x: (xp.stack([xp.sum(x[0]), xp.sum(x[-1])]), xp.sum(x, axis=0))
    )
    exact = kernel("x[i, j] -> sum s[], sum t[j]", deterministic=True)(lambda xp, x: (xp.sum(x), xp.sum(x, axis=0)))
    for made in (ends, exact):
        xd.synchronize()
        with forced_tiles() as noted:
            got = made(cupynumeric.array(x))
            out = tuple(cupynumeric.zeros(a.shape, dtype=np.float32) for a in got)
            cast = made(cupynumeric.array(x), out=out)
            xd.synchronize()
        tiles = tiles_of(made, noted)
        assert (len(tiles) > 2) == cuts_rows_for_parts()
        expected = make_trial(made, (x,), {}).run(tiles)
        for g, c, o, e in zip(got, cast, out, expected, strict=True):
            if made is exact:
                np.testing.assert_array_equal(np.asarray(g), e)
            np.testing.assert_allclose(np.asarray(g), e)
            assert c is o
            np.testing.assert_allclose(np.asarray(c), e, rtol=1e-6)


@pytest.mark.skipif(releases.MOST_UNBOUND == 1, reason="this release runs folds in one piece, which merges nothing")
def test_a_merge_that_fails(on_legate: Engine) -> None:
    bad = kernel("x[i] -> fold y[]", fold=lambda xp, a, b: 1 / 0)(lambda xp, x: xp.sum(x))
    with forced_tiles(4):
        bad(on_legate.put(np.ones(17)))
        with pytest.raises(ZeroDivisionError) as caught:
            xd.synchronize()
    assert "in fold= of kernel '<lambda>', variant CPU" in caught.value.__notes__
    failing = kernel("x[i] -> fold y[]", fold=lambda xp, a, b: a + b, dtype="x")(lambda xp, x: {}["no such key"])
    failing(on_legate.put(np.ones(17)))
    with pytest.raises(KeyError, match="no such key"):
        xd.synchronize()


@kernel("[i=n] -> sum s[]", dtype="int64")
def total_of(xp, tile, n):
    return xp.sum(cells_of(xp, tile))


@kernel("x[j], [i=n] -> sum y[j]", dtype="x")
def weighted(xp, tile, x, n):
    return x * xp.sum(cells_of(xp, tile))


@kernel("[i=n, k=m] -> max y[]", dtype="int64")
def corner(xp, tile, n, m):
    return xp.asarray((tile.start("i") + tile.size("i")) * m + tile.start("k") + tile.size("k"))


@kernel("[i=n] -> y[?]", dtype="int64")
def multiples(xp, tile, n):
    cells = cells_of(xp, tile)
    return cells[cells % 97 == 0]


def cells_of(xp, tile):
    return xp.arange(tile.start("i"), tile.start("i") + tile.size("i"))


@pytest.mark.parametrize("n", [1, 5, 1000, 10**6 + 7])
@pytest.mark.parametrize("each", [total_of, weighted, corner, multiples], ids=lambda k: k.name)
def test_an_index_that_no_array_has_is_cut(each: xd.Kernel, n: int) -> None:
    args = {total_of: (n,), weighted: (np.arange(3.0), n), corner: (n, 50), multiples: (n,)}[each]
    with xd.engine("legate"), forced_tiles() as noted:
        got = each(*args)
        xd.synchronize()
    np.testing.assert_array_equal(np.asarray(got), each(*args))
    assert len(tiles_of(each, noted)) > 2 or n == 1


@pytest.mark.skipif("LEGATE_MIN_CPU_CHUNK" in os.environ, reason="small tiles are forced on all of this run")
def test_such_an_index_is_cut_when_it_is_long_without_being_forced() -> None:
    for n, tiles in ((10**4, 1), (10**8, 2)):
        starts = set()

        @kernel("[i=n] -> sum s[]", dtype="int64")
        def size(xp, tile, n):
            starts.add(tile.start("i"))  # noqa: B023
            return xp.asarray(tile.size("i"))

        with xd.engine("legate"):
            assert int(size(n)) == n
        assert len(starts) == tiles


# -- values at the call --------------------------------------------------------------------------------


def test_arguments_mean_their_values_at_the_call(on_legate: Engine) -> None:
    @kernel("x[i], y[i] -> z[i]", dtype="x")
    def slow(xp, x, y, names, table):
        import time

        time.sleep(0.05)
        return x + y + len(names) + table["k"]

    y, names, table = np.ones(17), ["a"], {"k": 1}
    z = slow(cupynumeric.zeros(17), y, names, table)
    y[:] = 100
    names += ["b", "c"]
    table["k"] = 50
    np.testing.assert_array_equal(on_legate.get(z), np.full(17, 3.0))


def test_large_scalars(on_legate: Engine) -> None:
    look = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x, text: x + len(text))
    np.testing.assert_array_equal(on_legate.get(look(cupynumeric.zeros(3), "x" * 3_000_000)), np.full(3, 3e6))


# -- arrays and stores -----------------------------------------------------------------------------------


def test_raw_stores(on_legate: Engine) -> None:
    runtime = lg.get_legate_runtime()
    store = runtime.create_store(lg.float64, (9,))
    store.fill(3.0)
    z = saxpy(store, np.arange(9.0), 2.0)
    assert isinstance(z, cupynumeric.ndarray)
    np.testing.assert_array_equal(on_legate.get(z), 6.0 + np.arange(9.0))
    target = runtime.create_store(lg.float64, (9,))
    assert saxpy(store, store, 1.0, out=target) is target
    xd.synchronize()
    np.testing.assert_array_equal(np.asarray(target.get_physical_store()), np.full(9, 6.0))
    array = runtime.create_array(lg.float64, (9,))
    array.fill(1.0) if hasattr(array, "fill") else runtime.issue_fill(array, 1.0)
    np.testing.assert_array_equal(on_legate.get(saxpy(array, store, 1.0)), np.full(9, 4.0))


def test_a_zero_dimensional_store_outside_scalar_storage(on_legate: Engine) -> None:
    add = kernel("x[i], s[] -> y[i]", dtype="x")(lambda xp, x, s: x + s)
    total = kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(x))
    region = lg.get_legate_runtime().create_store(lg.float64, ())
    region.fill(2.0)
    assert not region.has_scalar_storage
    np.testing.assert_array_equal(on_legate.get(add(cupynumeric.zeros(17), region)), np.full(17, 2.0))
    assert total(cupynumeric.ones(17), out=region) is region
    np.testing.assert_array_equal(on_legate.get(add(cupynumeric.zeros(17), region)), np.full(17, 17.0))


def test_zero_dimensional_results_stay_on_legate(on_legate: Engine) -> None:
    total = kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(x))
    scale = kernel("x[i], s[] -> y[i]")(lambda xp, x, s: x / s)
    x = cupynumeric.array(np.arange(1.0, 18.0))
    s = total(x)
    assert isinstance(s, cupynumeric.ndarray)
    assert s.shape == ()
    np.testing.assert_allclose(on_legate.get(scale(x, s)).sum(), 1.0)


def test_numpy_out_and_numpy_updated_in_place(on_legate: Engine) -> None:
    inc = kernel("u[i] -> u[i]")(lambda xp, u: u + 1)
    z, u = np.empty(17), np.arange(17.0)
    assert saxpy(cupynumeric.ones(17), np.ones(17), 2.0, out=z) is z
    np.testing.assert_array_equal(z, np.full(17, 3.0))
    with xd.engine("legate"):
        assert inc(u) is u
        zero = np.array(4.0)
        assert kernel("s[] -> s[]")(lambda xp, s: s * 2)(zero) is zero
    np.testing.assert_array_equal(u, np.arange(1.0, 18.0))
    assert zero == 8.0


def test_views_of_cupynumeric_arrays(on_legate: Engine) -> None:
    base = np.arange(48.0).reshape(6, 8)
    x = cupynumeric.array(base)
    double = kernel("x[...] -> y[...]")(lambda xp, x: 2 * x)
    for view, expected in [(x.T, base.T), (x[1:4, 2:5], base[1:4, 2:5]), (x[2], base[2]), (x[:, None], base[:, None])]:
        np.testing.assert_array_equal(on_legate.get(double(view)), 2 * expected)
    double(x[:3], out=x[3:])
    np.testing.assert_array_equal(on_legate.get(x)[3:], 2 * base[:3])


def test_dtype_of_out_is_cast_same_kind(on_legate: Engine) -> None:
    z = cupynumeric.zeros(17, dtype=np.float32)
    s = cupynumeric.zeros((), dtype=np.float32)
    saxpy(cupynumeric.ones(17), np.ones(17), 0.5, out=z)
    np.testing.assert_array_equal(on_legate.get(z), np.full(17, 1.5, np.float32))
    top = kernel("x[i] -> max s[]")(lambda xp, x: xp.max(x))
    top(cupynumeric.arange(17.0), out=s)
    assert float(s) == 16.0


def test_every_kernel_has_all_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.legate import tasks

    class Library:
        def __init__(self) -> None:
            self.infos: list[Any] = []

        def get_new_task_id(self) -> Any:
            return real.get_new_task_id()

        def register_task(self, info: Any) -> None:
            self.infos.append(info)

    real, fake = tasks.library, Library()
    monkeypatch.setattr(tasks, "library", fake)
    made = kernel("x[i] -> y[i]")(lambda xp, x: x)
    tasks.task_of(made.definition, Recipe((), (), (), True, ()))
    del tasks._tasks[made.definition]
    assert all(fake.infos[0].has_variant(lg.VariantCode[v]) for v in ("CPU", "OMP", "GPU"))


def test_a_variant_body_runs_in_its_tasks(on_legate: Engine) -> None:
    @kernel("x[i] -> y[i]")
    def which(xp, x):
        return x * 0

    @which.cpu_variant
    def which_on_cpu(xp, x):
        return x * 0 + 1

    assert which_on_cpu is which
    np.testing.assert_array_equal(on_legate.get(which(cupynumeric.zeros(5))), np.ones(5))
    np.testing.assert_array_equal(which(np.zeros(5)), np.ones(5))


# -- failures ------------------------------------------------------------------------------------


def test_failures_are_deferred_and_come_in_order(on_legate: Engine) -> None:
    x = cupynumeric.arange(17.0)
    fail_above(x, 3)
    fail_above(x, 5)
    good = saxpy(x, x, 1.0)
    error = raised()
    assert type(error) is ValueError
    assert str(error) == "above 3"
    assert "kernel 'fail_above', tile i = " in "\n".join(error.__notes__)
    assert "2 calls altogether" in error.__notes__[-1]
    xd.synchronize()
    np.testing.assert_array_equal(np.asarray(good), 2 * np.arange(17.0))


def test_timed_raises_what_failed_inside() -> None:
    with pytest.raises(ValueError, match="above 3"), xd.timed():
        fail_above(cupynumeric.arange(17.0), 3)


def test_immediate_errors() -> None:
    strict = kernel("x[i] -> y[i]", dtype="x", on_error="immediate")(body_that_fails)
    with pytest.raises(ZeroDivisionError, match="at once"):
        strict(cupynumeric.arange(17.0))
    xd.synchronize()


def body_that_fails(xp, x):
    raise ZeroDivisionError("at once")


class Stubborn(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("stubborn")

    def __reduce__(self) -> Any:
        raise TypeError("never")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Stubborn(1, 2), "the body raised Stubborn: stubborn"),
        (Mute(), "the body raised Mute, and describing it failed"),
        (KeyboardInterrupt("stop"), "the body raised KeyboardInterrupt: stop"),
        (SystemExit(3), "the body raised SystemExit: 3"),
        (ValueError("x" * 100_000), None),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_cannot_leave_a_task(on_legate: Engine, error: BaseException, text: str | None) -> None:
    guard = not isinstance(error, KeyboardInterrupt)  # which would end the call itself
    kernel("x[i] -> y[i]", dtype="x", guard=guard)(raiser(error))(cupynumeric.zeros(9))
    got = raised()
    if text is None:
        assert type(got) is ValueError
        assert len(str(got)) == 100_000
    elif isinstance(error, Mute):
        assert isinstance(got, xd.KernelError | Mute)
    else:
        assert isinstance(got, xd.KernelError)
        assert text in str(got)


@pytest.mark.skipif("LEGATE_MIN_CPU_CHUNK" in os.environ, reason="small tiles are forced on all of this run")
def test_what_does_little_is_one_task_until_somebody_wants_tiles() -> None:
    seen: list[int] = []

    @kernel("x[i] -> y[i]", dtype="x", cut=False)
    def spy(xp, x):
        seen.append(x.shape[0])
        return x + 1

    def parts(size: int) -> list[int]:
        x = cupynumeric.ones(size)
        spy(x)
        xd.synchronize()
        seen.clear()
        spy(x)
        xd.synchronize()
        return sorted(seen)

    assert parts(100_000) == [100_000]
    with forced_tiles(2):
        assert len(parts(100_000)) >= 2
    assert parts(100_000) == [100_000]
    assert len(parts(4_000_000)) == lg.get_legate_runtime().machine.count(lg.TaskTarget.CPU)


def test_a_thousand_failures_in_a_row() -> None:
    x = cupynumeric.ones(3)
    for n in range(1000):
        fail_above(x, -n)
    assert str(raised()) == "above 0"
    xd.synchronize()


def raiser(error: BaseException) -> Any:
    def body(xp, x):
        raise error

    return body


def test_another_thread_is_refused() -> None:
    x = cupynumeric.ones(3)
    found: list[Exception] = []

    def work() -> None:
        try:
            saxpy(x, x, 1.0)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work, name="other")
    gc.disable()  # a collection on that thread could drop stores of earlier tests, which ends the process
    try:
        thread.start()
        thread.join()
    finally:
        gc.enable()
    assert isinstance(found[0], xd.EngineError)
    assert "Legate is used from thread 'other'" in str(found[0])


def test_no_thread_of_legates_collects_garbage() -> None:
    """Cycles that hold stores pile up while tasks overlap on two processors; a collection there would abort."""
    collected: list[int] = []
    gc.callbacks.append(lambda phase, info: collected.append(threading.get_ident()))
    main = threading.get_ident()

    @kernel("x[i] -> y[i]", dtype="x")
    def litter(xp, x):
        for _ in range(300):
            cycle: list[Any] = [x]
            cycle.append(cycle)
        return x

    try:
        with forced_tiles():
            for _ in range(200):
                trap: list[Any] = [litter(cupynumeric.ones(17))]
                trap.append(trap)
            assert not gc.isenabled()
            xd.synchronize()
    finally:
        gc.callbacks.pop()
    assert gc.isenabled()
    assert collected
    assert set(collected) == {main}


def test_a_program_that_runs_far_ahead_does_not_stand_still() -> None:
    """Dropping results while thousands of tasks wait for Python's lock; each part of this hung before."""
    code = (
        "import time, xpdispatch as xd, cupynumeric as cn\n"
        "def body(xp, x, n):\n    time.sleep(0.0002)\n    return x\n"
        "k = xd.kernel('x[i] -> z[i]', dtype='x')(body)\n"
        "x = cn.ones(3)\n"
        "for n in range(2500): z = k(x, n)\n"
        "xd.synchronize(); print('done')\n"
    )
    done = run_python(code, keep_config=False)
    assert "done" in done.stdout, done.stderr


def test_a_task_that_one_thread_prepares_while_another_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.legate import leaf

    made = kernel("x[i] -> y[i]")(lambda xp, x: x + 1)
    made(cupynumeric.ones(3))
    xd.synchronize()
    (runner,) = made._runners.values()
    (launch,) = runner.launches.values()
    task = leaf.Task(leaf.header_of(launch.header.value()))
    task.prepare(made.definition, "CPU")
    ready: list[bool] = []

    class Spy(leaf.Cutter):
        def __init__(self, *args: Any, **options: Any) -> None:
            ready.append(task.cutter is not None)
            super().__init__(*args, **options)

    monkeypatch.setattr(leaf, "Cutter", Spy)
    task.site = None  # as the second thread found it
    task.prepare(made.definition, "CPU")
    assert ready == [True]


def test_a_kernel_that_is_dropped_when_the_program_was_too_far_ahead() -> None:
    """To wait before a launch drops the kernels that were kept, and must not drop the one that is launched."""
    code = (
        "import time, xpdispatch as xd, cupynumeric as cn, numpy as np\n"
        "from xpdispatch.legate import fences\n"
        "def body(xp, x):\n    time.sleep(0.3)\n    return x + 1\n"
        "k = xd.kernel('x[i] -> z[i]', dtype='x')(body)\n"
        "x = cn.ones(3)\n"
        "fences._ahead = fences._MOST_AHEAD\n"
        "z = k(x); del k\n"
        "xd.synchronize(); print(np.asarray(z).tolist())\n"
    )
    done = run_python(code, keep_config=False)
    assert "[2.0, 2.0, 2.0]" in done.stdout, done.stderr


def test_arrays_larger_than_legates_memory_are_refused() -> None:
    fill = kernel("-> z[i=n]", dtype="float64")(lambda xp, tile, n: xp.zeros(tile.size("i")))
    with (
        xd.engine("legate"),
        pytest.raises(
            xd.EngineError,
            match="needs 76,294 MiB for its arrays, 76,294 MiB of them for new ones, and Legate has 2,000 MiB",
        ),
    ):
        fill(10**10)


def test_what_is_left_unaligned_runs_in_one_piece(on_legate: Engine) -> None:
    @kernel(constraints=[align("x", "y"), align("u", "v")])
    def two_groups(xp, x: In, y: Out, u: In, v: Out):
        y[...] = x + 1
        v[...] = u * 2

    @kernel(constraints=[broadcast("z")])
    def whole_result(xp, x: In, z: Out):
        z[...] = xp.sum(x)

    y, v, z = cupynumeric.zeros(17), cupynumeric.zeros((9, 2)), cupynumeric.zeros(2)
    two_groups(cupynumeric.arange(17.0), y, cupynumeric.arange(18.0).reshape(9, 2), v)
    whole_result(cupynumeric.ones(17), z)
    np.testing.assert_array_equal(on_legate.get(y), np.arange(1.0, 18.0))
    np.testing.assert_array_equal(on_legate.get(v), 2 * np.arange(18.0).reshape(9, 2))
    np.testing.assert_array_equal(on_legate.get(z), [17.0, 17.0])


def test_samples_use_up_no_scalars(on_legate: Engine) -> None:
    pop = kernel("x[i] -> y[i]")(lambda xp, x, numbers: x * numbers.pop())
    numbers = [1, 2, 3]
    np.testing.assert_array_equal(on_legate.get(pop(cupynumeric.ones(1), numbers)), [3.0])
    assert numbers == [1, 2, 3]


def test_extents_that_follow_a_scalar(on_legate: Engine) -> None:
    spread = kernel("x[i] -> y[i, :]")(lambda xp, x, n: x[:, None] * xp.arange(n))
    for n in (3, 5):
        assert on_legate.get(spread(cupynumeric.ones(17), n)).shape == (17, n)


def test_overlapping_numpy_results_are_refused(on_legate: Engine) -> None:
    two = kernel("x[i] -> y[i], z[i]")(lambda xp, x: (x, x))
    z = np.zeros(8)
    with pytest.raises(TypeError, match="given for results 'y' and 'z' share memory"):
        two(cupynumeric.arange(5.0), out=(z[:5], z[3:]))


def test_results_with_too_many_axes(on_legate: Engine) -> None:
    seven = kernel("x[i] -> y[i, :1, :1, :1, :1, :1, :1]")(lambda xp, x: xp.reshape(x, (-1, 1, 1, 1, 1, 1, 1)))
    with pytest.raises(ValueError, match="a result has 7 axes, and Legate takes at most 6"):
        seven(cupynumeric.ones(3))


def test_broadcast_views_as_operands(on_legate: Engine) -> None:
    """Legate hands every task the whole of a stretched axis; sums over it were wrong on two processors."""
    total = kernel("x[i,j] -> sum s[]")(lambda xp, x: xp.sum(x))
    ten = kernel("x[i,j] -> y[i,j]")(lambda xp, x: x + 10)
    row, column = cupynumeric.arange(200.0), cupynumeric.arange(300.0)[:, None]
    stretched = np.broadcast_to(np.arange(200.0), (300, 200))
    views = [
        (cupynumeric.broadcast_to(row, (300, 200)), stretched),
        (cupynumeric.broadcast_to(row, (300, 200))[1:, 2:], stretched[1:, 2:]),
        (cupynumeric.broadcast_to(column, (300, 200)), np.broadcast_to(np.arange(300.0)[:, None], (300, 200))),
        (cupynumeric.broadcast_to(cupynumeric.array(2.0), (30, 20)), np.full((30, 20), 2.0)),
    ]
    for view, expected in views:
        for _ in range(2):  # the second call is prepared
            assert float(total(view)) == expected.sum()
            np.testing.assert_array_equal(on_legate.get(ten(view)), expected + 10)
    store = lg.get_legate_runtime().create_store(lg.float64, (20,))
    store.fill(3.0)
    assert float(total(store.promote(0, 30))) == 1800.0
    plain = cupynumeric.array(stretched)
    assert float(total(plain)) == stretched.sum()
    with pytest.raises(ValueError, match="cannot be written: it is read-only"):
        ten(plain, out=cupynumeric.broadcast_to(row, (300, 200)))
    with pytest.raises(ValueError, match="cannot be written: it is read-only"):
        ten(plain[1:, 2:], out=views[1][0])


def test_a_variant_that_is_set_later(on_legate: Engine) -> None:
    scaled = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: 2 * x)
    assert on_legate.get(scaled(cupynumeric.ones(3))).tolist() == [2.0] * 3
    scaled.cpu_variant(lambda xp, x: 3 * x)
    assert on_legate.get(scaled(cupynumeric.ones(3))).tolist() == [3.0] * 3


def test_one_cell_of_an_array_as_operand_and_result(on_legate: Engine) -> None:
    store = lg.get_legate_runtime().create_store(lg.float64, (5,))
    store.fill(4.0)
    cell = store.project(0, 2)
    kernel("s[] -> z[]")(lambda xp, s: s + 1)(cell, out=cell)
    xd.synchronize()
    np.testing.assert_array_equal(np.asarray(store.get_physical_store()), [4.0, 4.0, 5.0, 4.0, 4.0])


def test_odd_scalars(on_legate: Engine) -> None:
    record = np.array([(1, 2.0)], dtype=[("a", int), ("b", float)])[0]
    pick = kernel("x[i] -> y[i]")(lambda xp, x, r: x + r["b"])
    assert on_legate.get(pick(cupynumeric.ones(3), record)).tolist() == [3.0] * 3


def test_a_program_with_much_cupynumeric_between_calls_does_not_stand_still() -> None:
    code = (
        "import time, xpdispatch as xd, cupynumeric as cn\n"
        "def body(xp, x):\n    time.sleep(0.1)\n    return x + 1\n"
        "slow = xd.kernel('x[i] -> y[i]', dtype='x')(body)\n"
        "u = cn.ones(64)\n"
        "for _ in range(5): u = slow(u)\n"
        "for _ in range(600): u = u * 0.5 + 1\n"
        "print('done', float(u[0]))\n"
    )
    done = run_python(code, keep_config=False)
    assert "done 2.0" in done.stdout, done.stderr


def test_legate_is_not_started_from_another_thread() -> None:
    code = (
        "import threading, xpdispatch as xd\n"
        "def work():\n"
        "    try:\n        with xd.engine('legate'): pass\n"
        "    except RuntimeError as error: print(error)\n"
        "t = threading.Thread(target=work, name='other'); t.start(); t.join()\n"
    )
    done = run_python(code, keep_config=False)
    assert done.returncode == 0, done.stderr
    assert "thread 'other' would start Legate, which must be started from the main thread\nHint: write" in done.stdout


def test_legate_that_is_not_there() -> None:
    code = (
        "import sys, xpdispatch as xd\n"
        "sys.modules['legate.core'] = None\n"
        "try:\n    xd.engine('legate').__enter__()\n"
        "except ImportError as error: print(type(error).__name__, error)\n"
    )
    done = run_python(code, keep_config=False)
    assert done.stdout == (
        "MissingError package 'legate.core' is not installed, so there is no Legate here\n"
        "Hint: pip install 'xpdispatch[legate]'\n"
    ), done.stderr


def test_status_1_even_when_nobody_can_read_why() -> None:
    done = run_python(
        SCRIPT.format(n=9, rest="import sys; print('last line', flush=True); sys.stdout = sys.stderr = None"),
        keep_config=False,
    )
    assert done.returncode == 1


SCRIPT = """
import xpdispatch as xd
import cupynumeric
@xd.kernel("x[i] -> y[i]", dtype="x")
def picky(xp, x):
    if xp.any(x > 3):
        raise ValueError("too large")
    return x
import atexit
atexit.register(lambda: print("user's own handler", flush=True))
y = picky(cupynumeric.arange({n}.0))
{rest}
print("last line")
"""


def test_an_unreported_failure_ends_the_program_with_status_1() -> None:
    done = run_python(SCRIPT.format(n=9, rest=""), keep_config=False)
    assert done.returncode == 1
    assert "last line" in done.stdout
    assert "user's own handler" in done.stdout
    assert "ValueError: too large" in done.stderr
    assert "kernel 'picky', tile i = 0:9 of 9, variant CPU" in done.stderr


def test_legate_imported_first_does_not_change_that() -> None:
    maps = Path("/proc/self/maps").read_text().splitlines()
    runtimes = {line.split()[-1] for line in maps if "libcudart.so" in line}
    code = (
        "import ctypes, os, subprocess, sys\n"
        f"for path in {[str(driver.shim()), *runtimes]}: ctypes.CDLL(path, ctypes.RTLD_GLOBAL)\n"
        "os.environ['LEGATE_CONFIG'] = '--cpus 1 --gpus 0'\n"
        "import legate.core\n"
        "assert 'xpdispatch' not in sys.modules\n"
    )
    done = run_python(code + SCRIPT.format(n=9, rest=""), keep_config=False)
    assert done.returncode == 1
    assert "ValueError: too large" in done.stderr


@pytest.mark.parametrize(
    ("n", "rest"),
    [(3, ""), (9, "try:\n    xd.synchronize()\nexcept ValueError:\n    print('seen')")],
    ids=["none", "reported"],
)
def test_no_failure_or_a_reported_one_ends_with_status_0(n: int, rest: str) -> None:
    done = run_python(SCRIPT.format(n=n, rest=rest), keep_config=False)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr


def test_a_failure_tells_where_its_kernel_was_called(on_legate: Engine) -> None:
    failing = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: 1 / 0)
    failing(on_legate.put(np.ones(9)))
    line = inspect.currentframe().f_lineno - 1
    with pytest.raises(ZeroDivisionError) as caught:
        xd.synchronize()
    assert f"called at {__file__}:{line}" in caught.value.__notes__


def test_a_variant_that_is_not_there(on_legate: Engine) -> None:
    cpu = kernel("x[i] -> y[i]", variants=("CPU",))(lambda xp, x: 2 * x)
    assert on_legate.get(cpu(on_legate.put(np.ones(3)))).tolist() == [2.0, 2.0, 2.0]
    gpu = kernel("x[i] -> y[i]", variants=("GPU",))(lambda xp, x: 2 * x)
    for array in (np.ones(3), on_legate.put(np.ones(3))):
        with pytest.raises(NotImplementedError, match="has variants for GPU alone, and here it would run on CPU"):
            gpu(array)
    with pytest.raises(TypeError, match="the kernel has no GPU variant, only CPU"):
        cpu.gpu_variant(lambda xp, x: x)
    for wrong in ("CPU", (), ("TPU",)):
        with pytest.raises(TypeError, match="are not some of Legate's"):
            kernel("x[i] -> y[i]", variants=wrong)(lambda xp, x: x)


# -- releases -------------------------------------------------------------------------------------------------


def test_tiles_cannot_be_forced_where_legate_started_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lg, "ParallelPolicy", type("PolicyOf2510", (), {}))
    monkeypatch.delenv("LEGATE_MIN_CPU_CHUNK", raising=False)
    with pytest.raises(
        NotImplementedError, match="started with LEGATE_MIN_CPU_CHUNK=1(.|\n)*Hint: set that in the environment"
    ):
        releases.cutting(4)
    checked = check_on_legate(saxpy, np.ones(5), np.ones(5), 2.0)
    assert checked.skipped == (
        "Legate: this release of Legate cuts small arrays only where it was started with LEGATE_MIN_CPU_CHUNK=1",
    )
    assert checked.tilings == 0


def test_arrays_sliced_with_a_step() -> None:
    double = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    x = cupynumeric.arange(6.0)
    for _ in range(2):
        with pytest.raises(NotImplementedError):  # 26.6 refuses the slice, and we refuse what older releases make of it
            double(x[::2])

    class Held:
        @property
        def __legate_data_interface__(self) -> dict:
            raise NotImplementedError("Unsupported slice")

    with pytest.raises(
        NotImplementedError, match="argument 'x', or an array(.|\n)*sliced with a step(.|\n)*Hint: index with an array"
    ):
        double(Held())


def test_memory_as_far_as_old_releases_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lg, "get_legate_runtime", object)
    monkeypatch.setenv("LEGATE_CONFIG", "--sysmem 50 --cpus 2 --sysmem=100")
    assert releases.memory("sysmem") == 100 * 2**20
    assert releases.memory("fbmem") == 0


def test_a_body_keeps_what_it_makes_and_runs_again() -> None:
    """What it kept while it was traced is looked through before each task, as all that a body reads."""
    kept: dict[int, Any] = {}

    @kernel("x[i] -> y[i]")
    def squared(xp, x):
        y = x * x
        kept[id(y)] = y
        return kept[id(y)][...]

    for n in range(4):
        x = np.arange(40.0) + n
        with forced_tiles():
            got = squared(cupynumeric.array(x))
            xd.synchronize()
        np.testing.assert_array_equal(np.asarray(got), x * x)
