"""Traces as loops that LLVM compiles: the bits, the warnings and errors of NumPy's functions, and when it happens."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import array_api_compat.numpy
import numpy as np
import pytest

from conftest import forced_cuts
from xpdispatch import kernel
from xpdispatch.machine import llvm
from xpdispatch.running import code, cutting, fused, instructions, learned
from xpdispatch.running.bits import random_numbers, same_bits
from xpdispatch.running.executor import Whole
from xpdispatch.running.traced import Traced
from xpdispatch.running.tracing import Step

pytestmark = pytest.mark.skipif(
    find_spec("llvmlite") is None, reason="llvmlite is not installed: pip install 'xpdispatch[fast]'"
)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Any, Any]]:
    """Every call of a body that can be traced uses loops at once; what was compiled."""
    monkeypatch.setattr(learned, "WORTH", 0)
    monkeypatch.setattr(cutting, "_SAVED", 0)
    monkeypatch.setattr(cutting, "_FEWEST", 0)
    monkeypatch.setattr(fused, "_loops", {})
    yield fused._loops


def made(notation: str, body: Callable[..., Any], **options: Any) -> Any:
    return kernel(notation, **options)(body)


def layouts(values: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    """The same elements, as they may lie in memory."""
    yield values
    yield np.repeat(values, 3)[::3]
    yield values[::-1].copy()[::-1]
    room = np.empty(values.nbytes + 1, np.uint8)[1:].view(values.dtype)
    room[:] = values
    yield room


FLOATS = {
    "arithmetic": lambda xp, x, y: (x + y) * (x - y) / y,
    "roots": lambda xp, x, y: xp.sqrt(xp.abs(x)) - xp.sqrt(y),
    "signs": lambda xp, x, y: -x + xp.square(y) + xp.reciprocal(x),
    "rounding": lambda xp, x, y: xp.floor(x) + xp.ceil(y) * xp.trunc(x) - np.rint(y),
    "comparisons": lambda xp, x, y: xp.where((x < y) | (x >= 2 * y), x, -y) + xp.where(x == y, x, y),
    "orders": lambda xp, x, y: xp.where((x > y) & (x <= y + 1) ^ (x != y), x + 1, y),
    "not a number": lambda xp, x, y: xp.where(xp.isnan(x) | ~(x > y), y, x + 1),
    "limits": lambda xp, x, y: xp.maximum(x, y) - xp.minimum(x + 1, y),
    "powers": lambda xp, x, y: x**2 + y**0.5 - x**-1,
    "other dtypes": lambda xp, x, y: xp.astype(x, xp.float64) * 3 + xp.astype(y > 1, xp.float32),
    "in between": lambda xp, x, y: xp.exp(x * 2 + 1) * y + x,
    "clips": lambda xp, x, y: xp.clip(x * 2 + y, 0.5, 3.5) * 2,
}

INTEGERS = {
    "arithmetic": lambda xp, x, y: (x + y) * (x - y) - x * 3,
    "bits": lambda xp, x, y: ((x & y) | (x ^ 5)) + ~x,
    "signs": lambda xp, x, y: xp.abs(x - y) + xp.square(x) - xp.positive(y),
    "comparisons": lambda xp, x, y: xp.where((x < y) | (x + 1 == y), x, y + 1),
    "limits": lambda xp, x, y: xp.maximum(x, y) - xp.minimum(x + 1, y),
    "quotients": lambda xp, x, y: x / y + 0.5 * x,
    "other dtypes": lambda xp, x, y: xp.astype(xp.astype(x, xp.int16) + xp.astype(y, xp.int16), xp.float32) * 2,
    "truth": lambda xp, x, y: xp.astype(x, xp.bool) & xp.logical_not(y > 3) ^ (x >= y),
}


def check(body: Callable[..., Any], arrays: Sequence[np.ndarray[Any, Any]], loops: dict[Any, Any]) -> None:
    """In one piece and in tiles, however arrays lie in memory."""
    of = made("x[i], y[i] -> z[i]", body)
    xp = array_api_compat.numpy
    with np.errstate(all="ignore"):
        for x, y in itertools.product(*map(layouts, arrays)):
            expected = body(xp, x, y)
            assert same_bits(of(x, y), expected)
            with forced_cuts(1, cache=x.nbytes):
                assert same_bits(of(x, y), expected)
    assert loops
    assert None not in loops.values()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FLOATS)
def test_floats(loops: dict[Any, Any], name: str, dtype: Any) -> None:
    check(FLOATS[name], [random_numbers((1037,), np.dtype(dtype), seed) for seed in range(2)], loops)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("name", INTEGERS)
def test_integers(loops: dict[Any, Any], name: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    limits = np.iinfo(dtype)
    check(INTEGERS[name], [rng.integers(limits.min, limits.max, 1037, dtype, endpoint=True) for _ in range(2)], loops)


def test_truth_values_of_any_byte(loops: dict[Any, Any]) -> None:
    bits = np.random.default_rng(0).integers(0, 3, (2, 300)).astype(np.uint8).view(bool)
    check(lambda xp, x, y: xp.logical_and(x, y) ^ xp.logical_not(x | y), [*bits], loops)


def test_truth_values_with_numbers(loops: dict[Any, Any]) -> None:
    check(lambda xp, x, y: xp.logical_and(x > 2, 0.5) ^ np.logical_or(y > x, 0), [np.arange(300.0)] * 2, loops)


def test_rows_columns_and_numbers_are_spread(loops: dict[Any, Any]) -> None:
    @kernel("u[i,j], row[j], column[i], one[] -> v[i,j]")
    def scaled(xp, u, row, column, one, power):
        return (u - row) * column[:, None] + one * u - power

    u, row, column = random_numbers((41, 67), np.dtype(float), 0), np.arange(67.0), np.arange(41.0)
    with np.errstate(all="ignore"):
        for one, power in ((2.0, 1), (3.0, 7.5)):
            expected = (u - row) * column[:, None] + one * u - power
            assert same_bits(scaled(u, row, column, np.array(one), power), expected)
            assert same_bits(scaled(u.T.copy().T, row, column, np.array(one), power), expected)
    assert len(loops) == 1  # whatever the numbers are


def test_a_loop_does_for_kernels_that_do_the_same(loops: dict[Any, Any]) -> None:
    x = np.arange(100.0)
    for factor in range(5):
        again = made("x[i] -> y[i]", lambda xp, x, factor: x * factor + 1)
        assert np.array_equal(again(x, float(factor)), x * factor + 1)
    assert len(loops) == 1


def test_what_several_steps_need_is_made_once(loops: dict[Any, Any]) -> None:
    @kernel("x[i] -> y[i], z[i]")
    def both(xp, x):
        t = xp.exp(x * 2 - 1)
        u = t + x
        return u * u - t, u * 3 + 1

    x = np.linspace(-1, 1, 500)
    t = np.exp(x * 2 - 1)
    u = t + x
    y, z = both(x)
    assert same_bits(y, u * u - t)
    assert same_bits(z, u * 3 + 1)
    # The argument of exp(), and the two results; `t` and `u` are needed twice.
    assert sorted(made.__name__ for made in loops.values()) == ["multiply, add", *["multiply, subtract"] * 2]


@pytest.mark.parametrize("shift", [0, 1, -1])
def test_results_over_operands(loops: dict[Any, Any], shift: int) -> None:
    shifted = made("x[i], y[i] -> z[i]", lambda xp, x, y: x * y + 0.5 * x)
    room = np.arange(1002.0)
    x, out = room[1:-1], room[1 + shift : 1001 + shift]
    expected = x * np.arange(1000.0) + 0.5 * x
    assert shifted(x, np.arange(1000.0), out=out) is out
    assert same_bits(out, expected)


def test_results_are_in_the_order_of_the_operands(loops: dict[Any, Any]) -> None:
    of = made("x[i,j], y[i,j] -> z[i,j]", lambda xp, x, y: x * y + 1)
    x = np.arange(600.0).reshape(20, 30)
    for a, b, order in ((x, x, "C"), (np.asfortranarray(x), np.asfortranarray(x), "F"), (x, np.asfortranarray(x), "C")):
        z = of(a, b)
        assert same_bits(z, x * x + 1)
        assert z.flags.f_contiguous == (order == "F")


def test_arrays_that_are_written(loops: dict[Any, Any]) -> None:
    @kernel("x[i], y[i] -> x[i], z[i]", dtype="float64")
    def update(xp, x, y, z):
        x += y * 2
        x *= y - 1
        z[:] = x + y * 3

    x, y = np.arange(300.0), np.arange(300.0)[::-1]
    expected = (x + y * 2) * (y - 1)
    _, z = update(x, y)
    assert same_bits(x, expected)
    assert same_bits(z, expected + y * 3)


ERRORS = {
    "divide by zero": lambda xp, x: (x - x) * 0 + (x + 1) / (x - x),
    "overflow": lambda xp, x: x * 1e308 * 10 + 1,
    "invalid value": lambda xp, x: xp.sqrt(-x - 1) * 2,
}


@pytest.mark.parametrize("name", ERRORS)
def test_floating_point_errors_are_told_as_numpy_has_it(loops: dict[Any, Any], name: str) -> None:
    of = made("x[i] -> y[i]", ERRORS[name])
    x = np.arange(1.0, 300.0)
    with pytest.warns(RuntimeWarning, match=f"{name} encountered in .*(divide|multiply|sqrt)"):
        of(x)
    assert loops
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        of(x)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match=name):
        of(x)


def test_casts_are_named_where_they_fail(loops: dict[Any, Any]) -> None:
    of = made("x[i] -> y[i]", lambda xp, x: xp.where(x > 0, xp.astype(x, xp.float32), 0))
    with pytest.warns(RuntimeWarning, match="overflow encountered in greater, cast, where"):
        of(np.full(300, 1e300))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_comparisons_with_nan_are_not_told(loops: dict[Any, Any], dtype: Any) -> None:
    @kernel("x[i], y[i] -> z[i]")
    def chosen(xp, x, y):
        low = xp.where(x < y, x, y) + xp.where(x >= y, x, y)
        return xp.maximum(low, x) - xp.minimum(low, y) + xp.where((x <= y) | (x > 2 * y) | (x == y), x, y)

    x, y = (np.where(np.arange(999) % 3 == n, np.nan, np.arange(999)).astype(dtype) for n in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen(x, y)
        chosen(y[::-1], x)
    assert loops


def test_a_body_that_catches_errors_is_left_alone(loops: dict[Any, Any]) -> None:
    @kernel("x[i] -> y[i]")
    def quotients(xp, x):
        with np.errstate(divide="ignore"):
            return 1 / x + x * 2

    with warnings.catch_warnings(), forced_cuts(1, cache=200):
        warnings.simplefilter("error")
        assert np.isinf(quotients(np.zeros(300))).all()
    assert loops


def test_numbers_that_overflow_are_told_as_the_body_has_it(
    loops: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @kernel("x[i] -> y[i]")
    def huge(xp, x, factor):
        with np.errstate(over="ignore"):
            return x * factor + 1

    monkeypatch.setattr(cutting, "_FETCHED", 0)  # a trace for a body that may do as it likes
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert np.isinf(huge(np.ones(300, np.float32), 1e300)).all()
    assert not told
    assert loops


def test_a_loop_that_is_wrong_is_not_used(loops: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(instructions._TEMPLATES, (np.add, "f"), "{r} = fsub {t} {x}, {y}")
    of = made("x[i] -> y[i]", lambda xp, x: xp.exp(x * 2 + 1) * 3 - x)
    x = np.linspace(0, 1, 200)
    assert same_bits(of(x), np.exp(x * 2 + 1) * 3 - x)
    assert sorted(type(loop).__name__ for loop in loops.values()) == ["NoneType", "ufunc"]


def test_it_waits_until_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies run as they are for the first calls in one piece, and their traces by NumPy's functions in tiles."""
    traces = 0

    def body(xp, x):
        nonlocal traces
        traces += not isinstance(x, np.ndarray)
        return x * 2 + 1

    def plain(xp, x):
        return x * 2 + 1

    for size, counted in ((400_000, cutting._STEPS * (400_000 + learned.CALLED)), (5_000_000, 2 * 5_000_000)):
        monkeypatch.setattr(fused, "_loops", {})
        monkeypatch.setattr(learned, "WORTH", 3 * counted)
        of, seen = made("x[i] -> y[i]", plain), made("x[i] -> y[i]", body)
        x = np.arange(float(size))
        for call in range(5):
            assert same_bits(of(x), x * 2 + 1)
            assert bool(fused._loops) == (call >= (3 if size < 10**6 else 2))
            if call < 3 and size < 10**6:
                seen(x)
                assert not traces


@pytest.mark.parametrize("size", [3000, 40_000])
def test_a_result_may_lie_on_operands_before_and_after(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "WORTH", 2 * cutting._STEPS * (size + learned.CALLED))
    smooth = made("u[i-1..i+1] -> v[i]", lambda xp, u: (u[:-2] + u[1:-1] + u[2:]) / 3, boundary="edge")
    random = np.random.default_rng(0)
    for _ in range(6):
        u = random.random(size + 1)
        padded = np.pad(u[:-1], 1, mode="edge")
        expected = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
        smooth(u[:-1], out=u[1:])
        assert same_bits(u[1:], expected)


def test_there_is_an_end_to_what_is_compiled(loops: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_MOST", 1)
    x = np.arange(100.0)
    first, second = (made("x[i] -> y[i]", body) for body in (lambda xp, x: x * 2 + 1, lambda xp, x: x + 2 - 1))
    assert same_bits(first(x), x * 2 + 1)
    assert same_bits(second(x), x + 2 - 1)
    assert len(loops) == 1


def test_without_llvmlite_numpy_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvm, "is_there", lambda: False)
    monkeypatch.setattr(learned, "WORTH", 0)
    monkeypatch.setattr(fused, "_loops", {})
    of = made("x[i] -> y[i]", lambda xp, x: x * 2 + 1)
    x = np.arange(5_000_000.0)
    assert same_bits(of(x), x * 2 + 1)
    assert not fused._loops


def test_an_old_llvmlite_compiles_nothing(loops: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvm, "_LEAST", 1000)
    monkeypatch.setattr(fused, "can_compile", llvm.can_compile.__wrapped__)
    of = made("x[i] -> y[i]", lambda xp, x: x * 2 + 1)
    x = np.arange(100.0)
    assert same_bits(of(x), x * 2 + 1)
    assert [*loops.values()] == [None]


def test_an_llvmlite_that_does_not_work_is_none(loops: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError("libLLVM cannot be loaded")

    monkeypatch.setattr(llvm, "_llvm", fails)

    @kernel("x[i] -> x[i]")
    def update(xp, x):
        x *= x
        x -= 3

    x = np.arange(300.0)
    expected = x * x - 3
    update(x)  # in place, so that there is nothing left for the body to begin again with
    assert same_bits(x, expected)
    assert not loops


def strategy_of(of: Any, monkeypatch: pytest.MonkeyPatch, *args: Any) -> type:
    """What runs a call."""
    found: list[type] = []
    for strategy in (Whole, Traced):

        def run(self: Any, *rest: Any, run: Any = strategy.run) -> Any:
            found.append(type(self))
            return run(self, *rest)

        monkeypatch.setattr(strategy, "run", run)
    monkeypatch.setattr(learned, "WORTH", 0)
    of(*args)
    monkeypatch.undo()
    return found[0]


def test_what_is_worth_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    @kernel("u[i-1..i+1, j-1..j+1] -> v[i,j]", boundary="valid")
    def mean(xp, u):
        return 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])

    assert strategy_of(mean, monkeypatch, np.ones((60, 60))) is Whole
    assert strategy_of(mean, monkeypatch, np.ones((300, 300))) is Traced
    one = made("x[i] -> y[i]", lambda xp, x: x * 2)
    assert strategy_of(one, monkeypatch, np.ones(90_000)) is Whole
    total = made("x[i] -> sum y[]", lambda xp, x: xp.sum(x * 2 + 1))
    assert strategy_of(total, monkeypatch, np.ones(90_000)) is Whole


def test_scalars_that_always_change_need_no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "WORTH", 0)
    traces = 0

    @kernel("x[i] -> y[i]")
    def scaled(xp, x, factor):
        nonlocal traces
        traces += not isinstance(x, np.ndarray)
        return x * factor + 1

    @kernel("x[i] -> y[i]")
    def plain(xp, x, factor):
        return x * factor + 1

    x = np.arange(90_000.0)
    for n in range(40):
        assert same_bits(plain(x, float(n)), x * n + 1)
    assert strategy_of(plain, monkeypatch, x, 0.5) is Whole
    for n in range(40):
        scaled(x, float(n))
    assert traces < 20


def test_a_body_that_may_do_as_it_likes_is_traced_in_each_call(
    loops: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "_FETCHED", 0)
    settings = {"factor": 1.0}
    of = made("x[i] -> y[i]", lambda xp, x: x * settings["factor"] + 1)
    x = np.arange(300.0)
    for factor in (1.0, 2.0, 3.0):
        settings["factor"] = factor
        assert same_bits(of(x), x * factor + 1)
    assert loops


def test_scalars_in_tuples_have_their_types(loops: dict[Any, Any]) -> None:
    of = made("x[i] -> y[i]", lambda xp, x, pair: x * pair[0] + pair[1])
    x = np.arange(300)
    for zero in (np.int64(0), np.float64(0), np.int64(0), 0, 0.0):
        assert same_bits(of(x, (zero, 1)), x * zero + 1)
    assert loops


def test_several_threads(loops: dict[Any, Any]) -> None:
    of = made("x[i] -> y[i]", lambda xp, x, factor: x * factor + 1)
    x = np.arange(1000.0)
    wrong: list[float] = []

    def work(factor: float) -> None:
        wrong.extend(factor for _ in range(100) if not np.array_equal(of(x, factor), x * factor + 1))

    threads = [threading.Thread(target=work, args=(float(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(loops) == 1


def test_what_several_threads_need_is_compiled_once(loops: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    compiles: list[Any] = []

    def compiled(*args: Any) -> Any:
        compiles.append(args)
        time.sleep(0.05)
        return llvm.compiled(*args)

    monkeypatch.setattr(fused, "compiled", compiled)
    kernels = [made("x[i] -> y[i]", lambda xp, x: x * 2 + 1) for _ in range(4)]
    x = np.arange(300.0)
    threads = [threading.Thread(target=of, args=(x,)) for of in kernels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(compiles) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork() here")
def test_a_child_does_not_wait_for_what_a_thread_compiled(
    loops: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling = threading.Event()

    def compiled(*args: Any) -> Any:
        compiling.set()
        time.sleep(0.2)
        return llvm.compiled(*args)

    monkeypatch.setattr(fused, "compiled", compiled)
    first, second = (made("x[i] -> y[i]", body) for body in (lambda xp, x: x * 2 + 1, lambda xp, x: x + 2 - 1))
    x = np.arange(300.0)
    thread = threading.Thread(target=lambda: first(x))
    thread.start()
    compiling.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of threads
        child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            os._exit(0 if same_bits(second(x), x + 2 - 1) and same_bits(first(x), x * 2 + 1) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()


def test_on_legate(loops: dict[Any, Any]) -> None:
    cupynumeric = pytest.importorskip("cupynumeric", reason="pip install 'xpdispatch[legate]'")
    of = made("x[i] -> y[i]", lambda xp, x: x * 2 + 1)
    x = cupynumeric.arange(200_000.0)
    assert np.array_equal(np.asarray(of(x)), np.arange(200_000.0) * 2 + 1)
    assert loops


def test_groups() -> None:
    """Steps of one shape, each needed by the next alone, up to what NumPy cannot do in one step."""
    found: list[list[str]] = []
    of = kernel("x[i,j], y[j] -> z[i,j]")(lambda xp, x, y: (x + (y * 2 - 1)) * xp.exp(x - 1 + x) * 2 + 1)

    def keep(program: Any) -> None:
        found.append([s.ufunc.__name__ for s in program.values if isinstance(s, Step)])

    original = fused.fused
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned, "WORTH", 0)
        patch.setattr(code, "fused", lambda program, loop_of: original(program, keep))
        with forced_cuts(1, cache=4000):
            of(np.ones((50, 40)), np.ones(40))
    assert sorted(found) == [["add", "multiply", "multiply", "add"], ["multiply", "subtract"], ["subtract", "add"]]
