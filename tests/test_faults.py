"""Bodies that fail on real Legate, in every way and at every place that a program has for it.

Each test ends with the same three questions: the process lives, the first exception arrived, and later results are
right.
"""

from __future__ import annotations

import contextlib
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import run_python
from xpdispatch import KernelError, Out, Reduce, broadcast, kernel
from xpdispatch.testing import forced_tiles

import cupynumeric  # isort: skip  after xpdispatch, which makes it importable without a driver
import legate.core as lg  # isort: skip

from xpdispatch.legate import failures, fences, releases  # isort: skip

CELLS = 37


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("never")


class TwoArguments(Exception):
    """Pickle calls it with what ``args`` holds, which is not what it needs."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


class Textless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Nothing(Exception):
    """Raises whatever is done with it."""

    def __reduce__(self) -> Any:
        raise SystemExit(3)

    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


class Slotted(Exception):
    """Takes no notes."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


class Own(BaseException):
    pass


def local_class() -> Exception:
    class Local(Exception):
        pass

    return Local("made here")


def chained() -> Exception:
    error = ValueError("outer")
    error.__cause__ = Unpicklable("inner")
    return error


MAKERS: dict[str, tuple[Callable[[], BaseException], type, str]] = {
    "as itself": (lambda: ValueError("plain"), ValueError, "plain"),
    "huge": (lambda: ValueError("x" * 2_000_000), ValueError, "x{1000}"),
    "memory": (lambda: MemoryError("no room"), MemoryError, "no room"),
    "recursion": (lambda: RecursionError("too deep"), RecursionError, "too deep"),
    "stop iteration": (lambda: StopIteration(7), StopIteration, "7"),
    "generator exit": (GeneratorExit, KernelError, "raised GeneratorExit"),
    "group": (lambda: ExceptionGroup("several", [ValueError("a"), KeyError("b")]), ExceptionGroup, "several"),
    "unicode": (lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), UnicodeDecodeError, "bad"),
    "surrogate": (lambda: ValueError("\udcff"), ValueError, "\udcff"),
    "interrupt": (lambda: KeyboardInterrupt("stop"), KernelError, "raised KeyboardInterrupt: stop"),
    "exit": (lambda: SystemExit(3), KernelError, "raised SystemExit: 3"),
    "base": (lambda: Own("own"), KernelError, "raised Own: own"),
    "unpicklable": (lambda: Unpicklable("mine"), KernelError, "raised Unpicklable: mine"),
    "two arguments": (lambda: TwoArguments(1, "a"), KernelError, "raised TwoArguments: 1: a"),
    "local class": (local_class, KernelError, "raised Local: made here"),
    "holds a lambda": (lambda: ValueError(lambda: 1), KernelError, "raised ValueError: <function"),
    "textless": (Textless, Textless, ""),
    "nothing works": (Nothing, KernelError, "the body raised Nothing, and describing it failed"),
    "slotted": (lambda: Slotted("no notes"), KernelError, "Slotted"),
    "of ours": (lambda: xd.ShapeError("mine", hint="this"), xd.ShapeError, "mine\n.*\nHint: this"),
    "a cause": (chained, ValueError, "outer"),
}


@kernel("x[i] -> y[i]", dtype="x")
def failing(xp, tile, x, maker, where):
    """Raise in the tile that has this cell; in all where it is -1, in none where it is None."""
    first = tile.start("i")
    if where is not None and (where == -1 or first <= where < first + x.shape[0]):
        raise MAKERS[maker][0]()
    return x + 1


@kernel("x[i] -> y[i]", dtype="x")
def plain_failing(xp, x, limit):
    """As plain as a kernel can be."""
    if x[-1] > limit:
        raise ValueError(f"above {limit}")
    return x + 1


def raised() -> BaseException:
    with pytest.raises(BaseException) as caught:
        xd.synchronize()
    return caught.value


def later_results_are_right() -> None:
    xd.synchronize()
    got = failing(cupynumeric.arange(float(CELLS)), "as itself", None)
    xd.synchronize()
    np.testing.assert_array_equal(np.asarray(got), np.arange(1.0, CELLS + 1))


@pytest.fixture(params=[1, 2], ids=["1 CPU", "2 CPUs"])
def cpus(request: pytest.FixtureRequest) -> Any:
    """One processor out of two, and both; four tiles to each."""
    with lg.Scope(machine=lg.get_machine().only(lg.TaskTarget.CPU)[: request.param]), forced_tiles(4):
        yield request.param
        xd.synchronize()


@pytest.mark.parametrize("where", [0, CELLS - 1, -1], ids=["first tile", "last tile", "all tiles"])
@pytest.mark.parametrize("maker", MAKERS)
def test_every_exception_in_one_tile_and_in_all(maker: str, where: int, cpus: int) -> None:
    _, kind, text = MAKERS[maker]
    failing(cupynumeric.arange(float(CELLS)), maker, where)
    got = raised()
    assert type(got) is kind
    if text:
        assert re.search(text, str(got), re.DOTALL)
    notes = "\n".join(got.__notes__)
    assert "kernel 'failing'" in notes
    assert ("altogether" in notes) == (where == -1)
    later_results_are_right()


@pytest.mark.parametrize("maker", ["as itself", "exit", "unpicklable", "nothing works"])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_kernel_in_a_body_fails(maker: str, depth: int, cpus: int) -> None:
    @kernel("x[i] -> y[i]", dtype="x")
    def outer(xp, x, depth):
        return outer(x, depth - 1) if depth else failing(x, maker, -1)

    outer(cupynumeric.ones(CELLS), depth)
    got = raised()
    assert type(got) is MAKERS[maker][1]
    if maker == "as itself":
        notes = "\n".join(got.__notes__)
        assert "in kernel 'failing', tile i = " in notes
        assert notes.count("in kernel 'outer', tile i = ") == depth + 1
    later_results_are_right()


def test_a_body_that_never_ends_its_recursion(cpus: int) -> None:
    def deeper(n: int) -> int:
        return deeper(n + 1) + 1

    kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: x + deeper(0))(cupynumeric.ones(CELLS))
    assert isinstance(raised(), RecursionError)
    later_results_are_right()


def test_one_exception_object_raised_again_and_again(cpus: int) -> None:
    shared = ValueError("the same")

    @kernel("x[i] -> y[i]", dtype="x")
    def again(xp, x):
        raise shared

    for _ in range(50):
        again(cupynumeric.ones(CELLS))
    got = raised()
    assert str(got) == "the same"
    assert len(got.__notes__) < 15, "notes of 50 calls do not pile up; tiles that run at once share them"
    later_results_are_right()


# -- order, and what depends on what failed ------------------------------------------------------------


def test_the_first_call_s_exception_arrives_though_another_fails_sooner(cpus: int) -> None:
    @kernel("x[i] -> y[i]", dtype="x")
    def late(xp, x):
        time.sleep(0.05)
        raise ValueError("the first call")

    late(cupynumeric.ones(CELLS))
    failing(cupynumeric.ones(CELLS), "exit", -1)
    got = raised()
    assert str(got) == "the first call"
    assert "2 calls altogether" in got.__notes__[-1]
    later_results_are_right()


def test_an_exception_while_the_caller_has_one_of_his_own(cpus: int) -> None:
    x = cupynumeric.ones(CELLS)
    with pytest.raises(ValueError, match="plain") as caught:
        try:
            failing(x, "as itself", -1)
            raise KeyError("the caller's")
        except KeyError:
            xd.synchronize()
    assert isinstance(caught.value.__context__, KeyError)
    with pytest.raises(KeyError, match="the caller's"), xd.timed():
        failing(x, "as itself", -1)
        raise KeyError("the caller's")
    assert str(raised()) == "plain"
    later_results_are_right()


def test_what_depends_on_a_failed_launch(cpus: int) -> None:
    """It runs, on whatever is there; the failure is told all the same, and first."""
    x = failing(cupynumeric.ones(CELLS), "as itself", 0)
    for _ in range(20):
        x = failing(x, "as itself", None)
    assert str(raised()) == "plain"
    later_results_are_right()


def test_where_results_are_copied_to_numpy_a_failure_is_told_before(cpus: int) -> None:
    out = np.full(CELLS, -1.0)
    with pytest.raises(ValueError, match="plain"):
        failing(cupynumeric.ones(CELLS), "as itself", 0, out=out)
    np.testing.assert_array_equal(out, np.full(CELLS, -1.0))
    parts = kernel("x[i] -> y[?]", dtype="x")(lambda xp, x: {}["no part"])
    with pytest.raises(KeyError, match="no part"):
        parts(cupynumeric.ones(CELLS))
    later_results_are_right()


@pytest.mark.parametrize("notation", ["x[i] -> y[i]", "x[i] -> sum y[]", "x[i] -> fold y[]", "x[i] -> y[?]"])
def test_with_immediate_errors_no_failed_result_is_returned(notation: str, cpus: int) -> None:
    @kernel(notation, dtype="x", on_error="immediate", fold=(lambda xp, a, b: a + b) if "fold" in notation else None)
    def body(xp, x, bad):
        if bad:
            raise ValueError("at once")
        return x if "y[]" not in notation else xp.sum(x)

    x = cupynumeric.ones(CELLS)
    for n in range(6):  # the first call, and the prepared ones
        if n % 2:
            with pytest.raises(ValueError, match="at once"):
                body(x, True)
        else:
            body(x, False)
    later_results_are_right()


# -- plain kernels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 1, 2, 3, 100, 250])
def test_a_failure_after_so_many_successes(before: int, cpus: int) -> None:
    x = cupynumeric.arange(float(CELLS))
    good = [plain_failing(x, 1e9) for _ in range(before)]
    plain_failing(x, 5.0)
    after = plain_failing(x, 1e9)
    got = raised()
    assert str(got) == "above 5.0"
    assert "in kernel 'plain_failing', tile i = " in got.__notes__[0]
    for y in (*good, after):
        np.testing.assert_array_equal(np.asarray(y), np.arange(1.0, CELLS + 1))
    xd.synchronize()


@pytest.mark.parametrize("maker", MAKERS)
def test_every_exception_of_a_plain_kernel(maker: str, cpus: int) -> None:
    @kernel("x[i] -> y[i]", dtype="x")
    def body(xp, x, bad):
        if bad:
            raise MAKERS[maker][0]()
        return x + 1

    x = cupynumeric.arange(float(CELLS))
    for _ in range(3):
        body(x, 0)
    xd.synchronize()
    body(x, 1)
    assert type(raised()) is MAKERS[maker][1]
    after = body(x, 0)
    xd.synchronize()
    np.testing.assert_array_equal(np.asarray(after), np.arange(1.0, CELLS + 1))


@pytest.mark.parametrize("wrong", ["shape", "dtype", "kind", "none"])
def test_wrong_results_of_a_plain_kernel(wrong: str, cpus: int) -> None:
    returned = {
        0: lambda xp, x: x + 1,
        "shape": lambda xp, x: x[:-1],
        "dtype": lambda xp, x: xp.astype(x, xp.float32),
        "kind": lambda xp, x: "text",
        "none": lambda xp, x: None,
    }
    body = kernel("x[i] -> y[i]")(lambda xp, x, bad: returned[wrong if bad else 0](xp, x))
    x = cupynumeric.arange(float(CELLS))
    for _ in range(3):
        body(x, 0)
    xd.synchronize()
    body(x, 1)
    assert isinstance(raised(), xd.ResultError)
    after = body(x, 0)
    xd.synchronize()
    np.testing.assert_array_equal(np.asarray(after), np.arange(1.0, CELLS + 1))


@pytest.mark.parametrize("maker", MAKERS)
def test_every_exception_of_a_plain_kernel_in_this_process(maker: str) -> None:
    @kernel("x[i] -> y[i]")
    def body(xp, x, bad):
        if bad:
            raise error
        return x + 1

    x = np.arange(float(CELLS))
    for n in range(200):
        error = MAKERS[maker][0]()
        if n in (0, 1, 2, 3, 100, 199):
            with pytest.raises(BaseException) as caught:
                body(x, 1)
            assert caught.value is error
        np.testing.assert_array_equal(body(x, 0), x + 1)


# -- all the functions of the user's that run somewhere ---------------------------------------------------


def test_a_variant_s_own_body_fails(cpus: int) -> None:
    own = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: x)
    own.cpu_variant(lambda xp, x: {}["in the variant"])
    own(cupynumeric.ones(CELLS))
    assert str(raised()) == "'in the variant'"
    later_results_are_right()


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.skipif(releases.MOST_UNBOUND == 1, reason="this release runs folds in one piece, which merges nothing")
def test_a_merge_fails_with_every_exception(maker: str, cpus: int) -> None:
    def merge(xp, a, b):
        raise MAKERS[maker][0]()

    kernel("x[i] -> fold y[]", fold=merge, dtype="x")(lambda xp, x: xp.sum(x))(cupynumeric.ones(CELLS))
    assert type(raised()) is MAKERS[maker][1]
    later_results_are_right()


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("where", [0, -1])
@pytest.mark.parametrize("notation", ["x[i] -> y[?]", "x[i] -> y[?, :2], sum s[]", "x[i] -> fold y[]"])
def test_tiles_without_a_part_after_every_exception(notation: str, where: int, maker: str, cpus: int) -> None:
    """Legate ends the process where a tile gives no part of a result of unknown size."""

    @kernel(notation, dtype=("x", "x") if "sum" in notation else "x", fold=_first if "fold" in notation else None)
    def body(xp, tile, x):
        if where == -1 or tile.start("i") == 0:
            raise MAKERS[maker][0]()
        return (xp.stack([x, x], axis=1), xp.sum(x)) if "sum" in notation else xp.sum(x) if "fold" in notation else x

    with pytest.raises(BaseException) as caught:
        body(cupynumeric.ones(CELLS))
        xd.synchronize()
    assert type(caught.value) is MAKERS[maker][1]
    later_results_are_right()


def _first(xp: Any, a: Any, b: Any) -> Any:
    return a


@pytest.mark.parametrize("maker", ["as itself", "unpicklable", "interrupt"])
def test_functions_that_run_before_the_launch(maker: str, cpus: int) -> None:
    """Their exceptions are the caller's at once, as they are, and nothing is launched."""
    make, _, _ = MAKERS[maker]
    error = make()

    def dtype(*_: Any) -> Any:
        raise error

    class Scalar:
        def __getstate__(self) -> Any:
            raise error

    x = cupynumeric.ones(CELLS)
    with pytest.raises(type(error)) as caught:
        kernel("x[i] -> y[i]", dtype=dtype)(lambda xp, x: x)(x)
    assert caught.value is error
    with pytest.raises(BaseException) as caught:
        failing(x, Scalar(), None)
    assert isinstance(caught.value, xd.ArgumentError if isinstance(error, Exception) else type(error))
    with pytest.raises(BaseException) as caught:
        kernel("x[i] -> y[i]")(lambda xp, x: dtype())(x)  # on a sample, which needs the dtype
    assert caught.value is error or "dtype=" in str(caught.value)
    later_results_are_right()


def test_a_scalar_that_cannot_be_read_in_the_task(cpus: int) -> None:
    failing(cupynumeric.ones(CELLS), Poisoned(), None)
    assert str(raised()) == "poisoned"
    for notation in ("x[i] -> y[?]", "x[i] -> fold y[]"):
        body = kernel(notation, dtype="x", fold=_first if "fold" in notation else None)(lambda xp, x, s: x)
        with pytest.raises(ValueError, match="poisoned"):
            body(cupynumeric.ones(CELLS), Poisoned())
            xd.synchronize()
    later_results_are_right()


class Poisoned:
    def __reduce__(self) -> Any:
        return poison, ()


def poison() -> Any:
    raise ValueError("poisoned")


def test_several_results_and_accumulation(cpus: int) -> None:
    @kernel(constraints=[broadcast("s")], dtype="float64")
    def adds(xp, y: Out, s: Reduce["sum"], bad):
        y[...] = 1.0
        s[...] = 5.0
        if bad:
            raise ValueError("after writing")

    y, s = cupynumeric.zeros(CELLS), cupynumeric.full(2, 3.0)
    adds(y, s, 1)
    assert str(raised()) == "after writing"
    s.fill(3.0)
    adds(y, s, 0)
    xd.synchronize()
    assert np.asarray(y).tolist() == [1.0] * CELLS
    assert (float(s[0]) - 3.0) % 5.0 == 0
    assert float(s[0]) > 3.0


# -- what a failed task was to write ---------------------------------------------------------------------


def fails_in_the_first_tile(tile: xd.Tile, index: str = "i") -> None:
    """Not on a sample, which has one element."""
    if tile.start(index) == 0 and tile.total(index) > 1:
        raise ValueError("the first tile")


def holds_nothing_plausible(got: np.ndarray) -> bool:
    """Whether each element is NaN, or the limit of its integers."""
    if got.dtype.kind == "c":
        return bool(np.all(np.isnan(got.real) & np.isnan(got.imag)))
    if got.dtype.kind == "f":
        return bool(np.all(np.isnan(got)))
    limits = np.iinfo(got.dtype)
    return bool(np.all(got == (limits.min if got.dtype.kind == "i" else limits.max)))


def failed_to_numpy(result: Any) -> Any:
    """What is there after the failure, which is told first."""
    with pytest.raises(ValueError, match="the first tile"):
        xd.to_numpy(result)
    return xd.to_numpy(result)


def split(got: np.ndarray, right: Any) -> tuple[int, int]:
    """How many elements from the first one on are marked, and how many there are; the others are right."""
    got = np.atleast_1d(got)
    first = next((n for n, element in enumerate(got) if not holds_nothing_plausible(element)), len(got))
    np.testing.assert_array_equal(got[first:], np.broadcast_to(right, got.shape)[first:])
    return first, len(got)


NUMBERS = "float16 float32 float64 complex64 complex128 int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()  # noqa: SIM905


@pytest.mark.parametrize("dtype", NUMBERS)
def test_the_part_of_a_failed_tile_holds_no_plausible_number(dtype: str, cpus: int) -> None:
    @kernel("x[i] -> y[i]")
    def body(xp, tile, x):
        fails_in_the_first_tile(tile)
        return x

    marked, count = split(failed_to_numpy(body(cupynumeric.ones(CELLS, dtype=dtype))), 1)
    assert 0 < marked < count, "the other tiles are right"


def test_the_array_of_out_and_one_that_is_updated(cpus: int) -> None:
    @kernel("x[i] -> y[i]")
    def body(xp, tile, x):
        fails_in_the_first_tile(tile)
        return x

    @kernel("u[i] -> u[i]")
    def update(xp, tile, u):
        u += 1
        fails_in_the_first_tile(tile)
        return u

    for dtype, given in [("float64", "float32"), ("int64", "int8"), ("float64", "complex64")]:
        out = cupynumeric.full(CELLS, 5, dtype=given)
        body(cupynumeric.ones(CELLS, dtype=dtype), out=out)
        marked, count = split(failed_to_numpy(out), 1)
        assert 0 < marked < count
    u = cupynumeric.ones(CELLS)
    update(u)
    marked, count = split(failed_to_numpy(u), 2)
    assert 0 < marked < count, "nor what a tile was before it failed"


def test_failed_parts_of_other_axes(cpus: int) -> None:
    @kernel("x[i], y[j] -> z[i,j], t[j,i]")
    def outer(xp, tile, x, y):
        fails_in_the_first_tile(tile)
        z = x[:, None] * y[None, :]
        return z, z.T

    @kernel("u[i-1..i+1, :] -> v[i, :]", boundary="edge")
    def halo(xp, tile, u):
        fails_in_the_first_tile(tile)
        return u[1:-1]

    @kernel("x[i] -> y[3*i]")
    def blocks(xp, tile, x):
        fails_in_the_first_tile(tile)
        return xp.repeat(x, 3)

    ones = cupynumeric.ones(CELLS)
    z, t = failed_to_numpy(outer(ones, ones))
    np.testing.assert_array_equal(z, t.T)
    found = [split(row, 1)[0] > 0 for row in t.T]
    assert found == sorted(found, reverse=True)
    assert found[0]
    got = failed_to_numpy(halo(cupynumeric.ones((CELLS, 3))))
    assert 0 < split(got[:, 0], 1)[0] < CELLS
    marked, count = split(failed_to_numpy(blocks(ones)), 1)
    assert 0 < marked < count
    assert marked % 3 == 0


REDUCED = [
    *[(op, dtype) for op in ("sum", "prod") for dtype in NUMBERS[:5]],
    *[(op, dtype) for op in ("max", "min") for dtype in NUMBERS[:3]],
]


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(("op", "dtype"), REDUCED)
def test_a_failed_tile_makes_a_reduction_of_floats_nan(op: str, dtype: str, deterministic: bool, cpus: int) -> None:
    @kernel(f"A[i, j] -> {op} r[i], {op} s[]", dtype=("A", "A"), deterministic=deterministic)
    def body(xp, tile, A):
        fails_in_the_first_tile(tile)
        part = getattr(xp, op)(A, axis=1)
        return part, getattr(xp, op)(part)

    r, s = failed_to_numpy(body(cupynumeric.ones((CELLS, 2), dtype=dtype)))
    assert holds_nothing_plausible(np.asarray(s))
    marked, count = split(r, 2 if op == "sum" else 1)
    assert 0 < marked < count


def test_a_failed_tile_and_what_accumulates(cpus: int) -> None:
    @kernel(constraints=[broadcast("s", "m")])
    def adds(xp, tile, x: xd.In, s: Reduce["sum"], m: Reduce["max"]):
        s[...], m[...] = xp.sum(x), xp.max(x)
        if tile.start(("x", 0)) == 0 and tile.total(("x", 0)) > 1:
            raise ValueError("the first tile")

    s, m = cupynumeric.full(2, 3.0), cupynumeric.full(2, 7.0)
    adds(cupynumeric.ones(CELLS), s, m)
    for got in failed_to_numpy((s, m)):
        assert holds_nothing_plausible(got)


@pytest.mark.parametrize(("dtype", "other"), [("float64", "int32"), ("complex64", "uint8")])
def test_folds_of_which_a_tile_is_missing(dtype: str, other: str, cpus: int) -> None:
    @kernel("A[i, :k] -> fold r[:k], fold t[:k]", fold=lambda xp, a, b: b, dtype=(dtype, other))
    def body(xp, tile, A):
        fails_in_the_first_tile(tile)
        return A[0], A[0]

    for got in failed_to_numpy(body(cupynumeric.ones((CELLS, 3)))):
        assert holds_nothing_plausible(got)


def test_a_fold_whose_merge_fails_and_a_body_that_did_not_run(cpus: int) -> None:
    def merge(xp, a, b):
        raise ValueError("the first tile")

    y = kernel("x[i] -> fold y[]", fold=merge, dtype="x")(lambda xp, x: xp.sum(x))(cupynumeric.ones(CELLS))
    if releases.MOST_UNBOUND > 1:
        assert holds_nothing_plausible(failed_to_numpy(y))
    three = kernel("x[i] -> y[i], max m[], sum s[]", dtype=("x",) * 3)(lambda xp, x, p: (x, xp.max(x), xp.sum(x)))
    made = three(cupynumeric.ones(CELLS), Poisoned())
    with pytest.raises(ValueError, match="poisoned"):
        xd.synchronize()
    for got in xd.to_numpy(made):
        assert holds_nothing_plausible(got)


def test_a_kernel_in_one_piece_and_results_without_axes(cpus: int) -> None:
    @kernel("x[:n] -> s[], k[], y[:n]", dtype=("float64", "int64", "x"))
    def body(xp, x):
        raise ValueError("the first tile")

    for got in failed_to_numpy(body(cupynumeric.ones(3))):
        assert holds_nothing_plausible(got)


def test_failures_that_a_scope_carries_or_forgets(cpus: int) -> None:
    @kernel("x[i] -> y[i], max m[], fold f[]", fold=lambda xp, a, b: b, dtype=("x",) * 3)
    def body(xp, tile, x):
        fails_in_the_first_tile(tile)
        return x, xp.max(x), xp.sum(x)

    for mode in (lg.ExceptionMode.DEFERRED, lg.ExceptionMode.IGNORED):
        deferred = mode == lg.ExceptionMode.DEFERRED
        with (
            pytest.raises(ValueError, match="the first tile") if deferred else contextlib.nullcontext(),
            lg.Scope(exception_mode=mode),
        ):
            y, m, f = body(cupynumeric.ones(CELLS))
        y, m, f = xd.to_numpy((y, m, f))
        marked, count = split(y, 1)
        assert 0 < marked < count
        assert holds_nothing_plausible(m)
        assert holds_nothing_plausible(f)


def test_what_is_made_of_a_failed_result_is_nan_too(cpus: int) -> None:
    x = failing(cupynumeric.arange(float(CELLS)), "as itself", -1)
    for _ in range(3):
        x = failing(x, "as itself", None)
    total = kernel("x[i] -> max y[]")(lambda xp, x: xp.max(x))(x)
    assert str(raised()) == "plain"
    assert np.isnan(xd.to_numpy(total + 1))


# -- when failures are told, for all kernels ------------------------------------------------------------


def test_settings_say_when_failures_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cupynumeric.ones(3)
    strict = kernel("x[i] -> y[i]", dtype="x", on_error="immediate")(failing.__wrapped__)
    with xd.settings(on_error="immediate"):
        with pytest.raises(ValueError, match="plain"):
            failing(x, "as itself", -1)
        with xd.settings(on_error="deferred"):
            strict(x, "as itself", -1)
        assert str(raised()) == "plain"
    failing(x, "as itself", -1)
    assert str(raised()) == "plain"
    with pytest.raises(ValueError, match="plain"):
        strict(x, "as itself", -1)
    monkeypatch.setitem(xd.settings._process, "on_error", None)
    xd.settings.on_error = "immediate"
    with pytest.raises(ValueError, match="plain"):
        failing(x, "as itself", -1)
    xd.settings.on_error = "deferred"
    strict(x, "as itself", -1)
    assert str(raised()) == "plain"
    later_results_are_right()


def test_immediate_failures_of_calls_that_launch_several_tasks() -> None:
    """The library's own launches wait for nothing, and the call that failed is the one that raises."""

    @kernel("x[i] -> max y[], fold z[]", fold=lambda xp, a, b: a + b, dtype=("x", "x"))
    def body(xp, x, bad):
        if bad:
            raise ValueError("at once")
        return xp.max(x), xp.sum(x)

    x = cupynumeric.ones(CELLS)
    with forced_tiles(2), xd.settings(on_error="immediate"):
        body(x, False)
        with pytest.raises(ValueError, match="at once"):
            body(x, True)
        later_results_are_right()


@pytest.mark.parametrize("value", ["immediate", "deferred", ""])
def test_the_environment_says_when_failures_are_told(value: str) -> None:
    done = run_python(
        "import xpdispatch as xd, cupynumeric\n"
        "body = xd.kernel('x[i] -> y[i]', dtype='x')(lambda xp, x: 1 / 0)\n"
        "try:\n    body(cupynumeric.ones(3))\n    print('returned', flush=True)\n"
        "except ZeroDivisionError:\n    print('raised', flush=True)\n",
        XPDISPATCH_ON_ERROR=value,
    )
    assert done.stdout.split()[-1] == ("raised" if value == "immediate" else "returned"), done.stderr
    assert done.returncode == (value != "immediate")


# -- results as NumPy arrays ----------------------------------------------------------------------------


def test_to_numpy_looks_at_failures_first() -> None:
    good, bad = failing(cupynumeric.ones(3), "as itself", None), failing(cupynumeric.ones(3), "as itself", -1)
    with pytest.raises(ValueError, match="plain"):
        xd.to_numpy(good)
    assert np.isnan(xd.to_numpy(bad)).all()
    ours = np.ones(3)
    failing(cupynumeric.ones(3), "as itself", -1)
    assert xd.to_numpy(ours) is ours, "NumPy's own wait for nothing"
    with pytest.raises(ValueError, match="plain"):
        xd.to_numpy((ours, good))
    first, second = xd.to_numpy((ours, good))
    assert first is ours
    assert type(second) is np.ndarray
    assert second.tolist() == [2.0] * 3
    good[0] = 7.0
    assert second[0] == 2.0, "a copy"
    assert second.flags.writeable
    later_results_are_right()


def test_to_numpy_of_stores_views_and_numbers_without_axes() -> None:
    x = cupynumeric.arange(6.0).reshape(2, 3)
    (array,) = x.__legate_data_interface__["data"].values()
    expected = np.arange(6.0).reshape(2, 3)
    for given, wanted in [
        (array, expected),
        (getattr(array, "data", array), expected),
        (x.T, expected.T),
        (x[:, 1:], expected[:, 1:]),
        (cupynumeric.broadcast_to(cupynumeric.ones(3), (2, 3)), np.ones((2, 3))),
        (cupynumeric.zeros(()), np.zeros(())),
        (kernel("x[i, j] -> sum s[]")(lambda xp, x: xp.sum(x))(x), np.asarray(15.0)),
    ]:
        got = xd.to_numpy(given)
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, wanted)


# -- bodies that touch Legate ---------------------------------------------------------------------------

REBOUND = """
import types, functools, xpdispatch as xd, cupynumeric
w, here, made, listed = 2.0, types.ModuleType("here"), types.SimpleNamespace(w=2.0), [2.0]
here.w, keyed = 2.0, {{"w": 2.0, "other": cupynumeric.ones(4)}}
class Sim:
    def __init__(self): self.w, self.other = 2.0, cupynumeric.ones(4)
    def scaled(self, x): return x * self.w
    def __call__(self, x): return self.scaled(x)
sim = Sim()
def helper(x): return deeper(x)
def deeper(x): return x * w
def closure():
    v = 2.0
    def rebind(new):
        nonlocal v
        v = new
    return (lambda xp, x: x * v), rebind
around, rebind = closure()
body = xd.kernel("x[i] -> y[i]", dtype="x")({body})
y = body(cupynumeric.ones(4))
xd.synchronize()
assert float(y[0]) == 2.0
array = cupynumeric.ones(4)
w, here.w, made.w, listed[0], keyed["w"], sim.w = (array,) * 6
rebind(array)
body(cupynumeric.ones(4))
try:
    xd.synchronize()
except xd.ArgumentError as error:
    print(error, flush=True)
w = here.w = made.w = listed[0] = keyed["w"] = sim.w = 2.0
rebind(2.0)
assert float(body(cupynumeric.ones(4))[0]) == 2.0
xd.synchronize()
print("alive", flush=True)
"""


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("lambda xp, x: x * w", "w"),
        ("lambda xp, x: sum(x * w for _ in range(1))", "w"),
        ("around", "v"),
        ("lambda xp, x: x * here.w", "here.w"),
        ("lambda xp, x: x * made.w", "made.w"),
        ("lambda xp, x: x * listed[0]", "listed[0]"),
        ("lambda xp, x: x * keyed['w']", "keyed['w']"),
        ("lambda xp, x: helper(x)", "w"),
        ("lambda xp, x: sim.scaled(x)", "sim.scaled.__self__.w"),
        ("lambda xp, x: sim(x)", "sim.__call__.__self__.scaled.__self__.w"),
        ("functools.partial(lambda xp, x, s: x * s.w, s=sim)", "partial.keywords['s'].w"),
    ],
)
def test_a_variable_that_holds_a_legate_array_after_a_first_call(body: str, name: str) -> None:
    done = run_python(REBOUND.format(body=body))
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"the body reads {name!r}, a Legate array of the surrounding program" in done.stdout
    assert done.stdout.splitlines()[-1] == "alive"


def test_bodies_may_read_what_lies_beside_legate_arrays(cpus: int) -> None:
    """Of an object, or a dictionary, only that is looked at which the body names."""

    class Sim:
        def __init__(self) -> None:
            self.u, self.dt = cupynumeric.ones(CELLS), 2.0

        def step(self, x: Any) -> Any:
            return x * self.dt

    sim, both = Sim(), {"u": cupynumeric.ones(CELLS), "dt": 2.0}
    for body in (lambda xp, x: sim.step(x), lambda xp, x: x * sim.dt, lambda xp, x: x * both["dt"]):
        got = kernel("x[i] -> y[i]", dtype="x")(body)(cupynumeric.ones(CELLS))
        np.testing.assert_array_equal(xd.to_numpy(got), np.full(CELLS, 2.0))


def test_a_body_that_imports_cupynumeric_is_refused() -> None:
    def body(xp, x):
        import cupynumeric as inside

        return inside.sin(x)

    with pytest.raises(xd.ArgumentError, match="the body imports cupynumeric, and no task can call cuPyNumeric"):
        kernel("x[i] -> y[i]", dtype="x")(body)(cupynumeric.ones(3))


def test_a_merge_that_reads_a_legate_array_later(cpus: int) -> None:
    weights = [1.0]
    made = kernel("x[i] -> fold y[]", fold=lambda xp, a, b: a + b * weights[0], dtype="x")(lambda xp, x: xp.sum(x))
    assert xd.to_numpy(made(cupynumeric.ones(CELLS))) == CELLS
    weights[0] = cupynumeric.ones(())
    made(cupynumeric.ones(CELLS))
    if releases.MOST_UNBOUND > 1:
        assert "the body reads 'weights[0]', a Legate array" in str(raised())
    weights[0] = 1.0


# -- many ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [failing, plain_failing], ids=["with a tile", "plain"])
def test_a_thousand_failing_launches_in_a_row(body: xd.Kernel, cpus: int) -> None:
    x = cupynumeric.arange(float(CELLS))
    scalars = ("huge", -1) if body is failing else (1.0,)
    rounds = 50 if body is failing else 500
    for n in range(2):
        for _ in range(rounds):
            body(x, *scalars)
        got = raised()
        assert type(got) is ValueError
        assert "calls altogether" in got.__notes__[-1]
        if n == 0:
            before = resident()
    assert resident() - before < 50 << 20
    later_results_are_right()


def test_of_very_many_failures_the_first_are_kept() -> None:
    x = cupynumeric.ones(3)
    plain_failing(x, -5.0)
    for _ in range(2 * failures._MOST_KEPT + 50):
        plain_failing(x, -1.0)
    fences.wait()
    assert len(failures._own) == failures._MOST_KEPT
    assert sum(bool(f.pickled) for f in failures._own) == 1
    assert str(raised()) == "above -5.0"
    later_results_are_right()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# -- the end of the program --------------------------------------------------------------------------------

CPUS = "--cpus 2 --gpus 0 --sysmem 200"
AT_EXIT = """
import xpdispatch as xd, cupynumeric
{setup}
@xd.kernel("x[i] -> {result}", dtype="x", fold={fold})
def body(xp, x):
    {body}
y = body(cupynumeric.arange(40000.0))
{rest}
print("last line", flush=True)
"""


@pytest.mark.parametrize(
    ("body", "told", "config"),
    [
        ("raise ValueError('left')", "ValueError: left", "--cpus 1 --gpus 0 --sysmem 200"),
        ("raise ValueError('left')", "ValueError: left", CPUS),
        ("raise KeyboardInterrupt('left')", "the body raised KeyboardInterrupt: left", CPUS),
        ("raise SystemExit(0)", "the body raised SystemExit: 0", CPUS),
        ("raise ValueError('left' * 5000)", "ValueError: leftleft", CPUS),
        ("raise ValueError(lambda: 1)", "the body raised ValueError: <function", CPUS),
        ("return x[:3]", "ResultError: kernel 'body': the body returned shape (3,)", CPUS),
    ],
)
def test_a_failure_that_nobody_saw_ends_the_program_with_status_1(body: str, told: str, config: str) -> None:
    code = AT_EXIT.format(setup="", result="y[i]", fold=None, body=body, rest="")
    done = run_python(code, LEGATE_CONFIG=config)
    assert done.returncode == 1, done.stderr
    assert "last line" in done.stdout
    assert told in done.stderr
    assert "kernel 'body', tile i = 0:" in done.stderr or "variant CPU" in done.stderr


@pytest.mark.parametrize(
    ("result", "body", "fold"),
    [("fold y[]", "return xp.sum(x)", "lambda xp, a, b: a + b"), ("y[?]", "return x[x > 5]", None)],
)
def test_a_program_may_end_right_after_a_result_of_unknown_size(result: str, body: str, fold: Any) -> None:
    """With Legate alone the end of such a process is a segmentation fault."""
    done = run_python(AT_EXIT.format(setup="", result=result, fold=fold, body=body, rest=""))
    assert done.returncode == 0, done.stderr
    assert "last line" in done.stdout


KEEPING = """
import sys, xpdispatch as xd, cupynumeric
from xpdispatch.testing import forced_tiles
kept = []
@xd.kernel("x[i] -> {result}", dtype="x", fold={fold})
def body({parameters}):
    {body}
with forced_tiles(2):
    body(cupynumeric.ones(5, dtype={dtype!r}), **{{"out": cupynumeric.ones(5)}} if "y" in "{parameters}" else {{}})
    xd.synchronize()
assert len(kept) >= 2
print("last line", flush=True)
"""


@pytest.mark.parametrize(
    "program",
    [
        {"body": "kept.append(x); return x + 1"},
        {"body": "kept.append(x); return x + 1", "dtype": "float16"},
        {"body": "kept.append(sys._getframe()); return x + 1"},
        {"body": "kept.append(sys._getframe()); return x[x > 0]", "result": "y[?]"},
        {"body": "kept.append(sys._getframe()); return xp.cumulative_sum(x)", "result": "sum y[..i]"},
        {"body": "kept.append(y); y[...] = x", "parameters": "xp, x, y"},
        {"body": "return xp.sum(x)", "result": "fold y[]", "fold": "lambda xp, a, b: kept.extend((a, b)) or a + b"},
    ],
)
def test_a_body_may_keep_its_arrays_until_the_program_ends(program: dict[str, str]) -> None:
    """NumPy drops them after Legate has ended, which Legate alone answers by the end of the process."""
    usual = {"parameters": "xp, x", "result": "y[i]", "fold": "None", "dtype": "float64"}
    done = run_python(KEEPING.format(**(usual | program)))
    assert done.returncode == 0, done.stderr
    assert "last line" in done.stdout


def test_a_failure_and_the_program_s_own_exception() -> None:
    code = AT_EXIT.format(setup="", result="y[i]", fold=None, body="raise ValueError('left')", rest="raise KeyError(1)")
    done = run_python(code)
    assert done.returncode == 1
    assert "KeyError: 1" in done.stderr
    assert "ValueError: left" in done.stderr
    assert done.stderr.index("KeyError") < done.stderr.index("ValueError: left")


def test_legate_itself_is_left_in_order(cpus: int) -> None:
    """None of the above leaves anything behind for the next test."""
    assert failures.take() is None
