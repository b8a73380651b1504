"""Calls that are like an earlier one run what was prepared for it, here and on Legate; nothing else may change."""

from __future__ import annotations

import gc
import re
import traceback
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import Engine
from xpdispatch import kernel
from xpdispatch.testing import forced_tiles

import cupynumeric  # isort: skip  after xpdispatch, which makes it importable without a driver
import legate.core as lg  # isort: skip

ARRAYS = pytest.mark.parametrize("engine", ["numpy", "legate"], indirect=True)
SHARED = np.arange(5.0)


class Odd(ValueError):
    pass


def fails(xp, x):
    raise Odd("odd")


def writes(xp, x):
    x[0] = 1.0
    return x


def keeps(xp, x):
    kept.append(x + 1)
    return kept[-1]


kept: list[Any] = []
BODIES = {
    "fresh": lambda xp, x: x + 1,
    "itself": lambda xp, x: x,
    "a view": lambda xp, x: x[::-1],
    "a view of a fresh array": lambda xp, x: (x + 1)[::-1],
    "a shared array": lambda xp, x: SHARED,
    "a kept array": keeps,
    "one number for all": lambda xp, x: xp.broadcast_to(xp.asarray(2.0), x.shape),
    "fails": fails,
    "writes": writes,
    "nothing": lambda xp, x: None,
    "a list": lambda xp, x: [1.0] * 5,
    "two arrays": lambda xp, x: (x, x),
    "another shape": lambda xp, x: x[:1],
    "another dtype": lambda xp, x: xp.astype(x, xp.float32) if float(x[0]) else x,
    "warns": lambda xp, x: x / 0,
}


def outcome(call: Any, *args: Any) -> str:
    """The values, or all that is told of an exception but where our own code is."""
    try:
        with np.errstate(all="ignore"):
            got = call(*args)
            xd.synchronize()
        return f"{np.asarray(got)!r} {np.asarray(got).dtype}"
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        told = [n for n in notes if not n.startswith("called at")]
        lines = [f.name for f in traceback.extract_tb(error.__traceback__) if __file__ == f.filename]
        text = re.sub(r"In the task:.*?(?=', '|'\]|\")", "", re.sub("line [0-9]+", "", str(told)), flags=re.DOTALL)
        return f"{type(error).__name__} {error} {text} {lines}"


@ARRAYS
@pytest.mark.parametrize("body", BODIES)
def test_the_third_call_is_as_the_first(body: str, engine: Engine) -> None:
    made = kernel("x[i] -> y[i]", dtype=None if body not in ("fails", "writes") else "x")(BODIES[body])
    x = engine.put(np.arange(5.0) + 1)
    found = [outcome(made, x) for _ in range(3)]
    assert found[0] == found[1] == found[2]
    np.testing.assert_array_equal(SHARED, np.arange(5.0))


@ARRAYS
def test_calls_that_are_alike_are_prepared_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    saxpy = kernel("x[i], y[i] -> z[i]")(lambda xp, x, y, a: a * x + y)
    prepared: list[Any] = []
    prepare = saxpy._prepare
    monkeypatch.setattr(saxpy, "_prepare", lambda *call: prepared.append(call) or prepare(*call))
    x, y = engine.put(np.arange(5.0)), engine.put(np.ones(5))
    for a in (2.0, 3.0, 0.5):
        np.testing.assert_array_equal(engine.get(saxpy(x, y, a)), a * np.arange(5.0) + 1)
    assert len(prepared) == 1
    for other in ((y, x, 2), (x, engine.put(np.ones(5, np.float32)), 2.0), (x[:3], y[:3], 2.0)):
        for _ in range(2):
            saxpy(*other)
    assert len(prepared) == 4


@ARRAYS
@pytest.mark.parametrize("body", BODIES)
def test_the_third_call_with_an_array_to_write_is_as_the_first(body: str, engine: Engine) -> None:
    made = kernel("x[i] -> y[i]", dtype=None if body not in ("fails", "writes") else "x")(BODIES[body])
    x = engine.put(np.arange(5.0) + 1)
    for out in (engine.put(np.zeros(5)), engine.put(np.zeros(5, np.int8)), x):
        found = []
        for n in range(4):
            x[...] = engine.put(np.arange(5.0) + 1)
            found.append(outcome(lambda x, n=n, out=out: made(x, out=out if n % 2 else (out,)), x))
        assert found[0] == found[1] == found[2] == found[3]
    np.testing.assert_array_equal(SHARED, np.arange(5.0))


@ARRAYS
def test_arrays_that_are_updated_stay_so(engine: Engine) -> None:
    def in_place(xp, u):
        u += 1

    for body in (lambda xp, u: u + 1, in_place):
        step = kernel("u[i] -> u[i]")(body)
        u = engine.put(np.zeros(5))
        for n in range(1, 5):
            assert step(u) is u
            np.testing.assert_array_equal(engine.get(u), np.full(5, float(n)))


def test_read_only_arrays_are_refused_in_later_calls() -> None:
    made = kernel("x[i] -> y[i]")(lambda xp, x: x + 1)
    x, out = np.ones(3), np.zeros(3)
    made(x, out=out)
    assert made(x, out=out) is out
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        made(x, out=out)


def test_results_share_nothing_in_later_calls() -> None:
    x = np.arange(5.0)
    for body in ("itself", "a view", "a shared array", "a kept array"):
        made = kernel("x[i] -> y[i]")(BODIES[body])
        for _ in range(3):
            got = made(x)
            assert not np.shares_memory(got, x)
            assert not np.shares_memory(got, SHARED)
            assert not any(np.shares_memory(got, k) for k in kept)
            assert got.flags.writeable


def test_new_settings_are_minded_in_later_calls() -> None:
    shown: list[Any] = []

    @kernel("x[i] -> y[i]")
    def show(xp, x):
        shown.append(xp)
        return x + 1

    x = np.ones(3)
    for _ in range(2):
        show(x)
    own = xd.namespace_for("CPU")
    xd.register_namespace("CPU", np)
    try:
        show(x)
    finally:
        xd.register_namespace("CPU", own)
    assert shown == [own, own, np]
    show.cpu_variant(lambda xp, x: x + 2)
    assert show(x).tolist() == [3.0] * 3
    with xd.engine("legate"):
        assert isinstance(show(x), cupynumeric.ndarray)
    xd.synchronize()


def test_kernels_in_bodies_stay_in_this_process() -> None:
    from xpdispatch.running.site import inside_body

    inner = kernel("x[i] -> y[i]")(lambda xp, x: x + float(inside_body.get()))
    outer = kernel("x[i] -> y[i]")(lambda xp, x: inner(x))
    for array in (np.zeros(4), cupynumeric.zeros(4)):
        for _ in range(3):
            got = outer(array)
        assert np.asarray(got).tolist() == [1.0] * 4
        xd.synchronize()
    assert not inside_body.get()


# -- Legate ---------------------------------------------------------------------------------------------------


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("x[i], y[j] -> z[i,j]")
def outer(xp, x, y):
    return x[:, None] * y[None, :]


def warmed() -> None:
    for _ in range(2):
        saxpy(cupynumeric.ones(6), cupynumeric.ones(6), 1.0, out=cupynumeric.ones(6))
        saxpy(cupynumeric.ones(6), cupynumeric.ones(6), 1.0)
        outer(cupynumeric.ones(6), cupynumeric.ones(6))
    xd.synchronize()
    assert len(saxpy._runners) == 2


def test_views_overlaps_and_arrays_that_come_twice() -> None:
    warmed()
    base = np.arange(12.0)
    with forced_tiles(4):
        held = cupynumeric.array(base)
        for x, y in ((slice(0, 6), slice(6, 12)), (slice(1, 7), slice(0, 6)), (slice(5, 11), slice(5, 11))):
            np.testing.assert_array_equal(np.asarray(saxpy(held[x], held[y], 2.0)), 2 * base[x] + base[y])
        for out, x in ((slice(0, 6), slice(1, 7)), (slice(2, 8), slice(2, 8)), (slice(6, 12), slice(5, 11))):
            held, own = cupynumeric.array(base), base.copy()
            y = cupynumeric.ones(6)
            saxpy(held[x], y, 2.0, out=held[out])
            own[out] = 2 * own[x] + 1
            np.testing.assert_array_equal(np.asarray(held), own)
        x = cupynumeric.array(base[:6])
        np.testing.assert_array_equal(np.asarray(saxpy(x, x, 2.0)), 3 * base[:6])
        np.testing.assert_array_equal(np.asarray(outer(x, x)), np.outer(base[:6], base[:6]))
        saxpy(x, x, 2.0, out=x)
        np.testing.assert_array_equal(np.asarray(x), 3 * base[:6])
        stretched = cupynumeric.broadcast_to(cupynumeric.array(base[:1] + 3), (6,))
        np.testing.assert_array_equal(np.asarray(saxpy(stretched, x, 1.0)), 3 + 3 * base[:6])
    xd.synchronize()


def test_an_array_that_must_not_be_written() -> None:
    warmed()
    out = cupynumeric.ones(6)
    out.flags["W"] = False
    with pytest.raises(ValueError, match="read-only"):
        saxpy(cupynumeric.ones(6), cupynumeric.ones(6), 1.0, out=out)


def test_numbers_of_other_types_and_by_name() -> None:
    warmed()
    x = cupynumeric.ones(6)
    for a in (3, np.float32(3), True, 3 + 0j, np.array(3.0)[()]):
        got = saxpy(x, a=a, y=x)
        expected = a * np.ones(6) + 1
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(np.asarray(got), expected)
    xd.synchronize()


@kernel("x[i] -> y[i]", dtype="x")
def picky(xp, x, bad):
    if bad:
        raise Odd(f"bad {float(x[0])}")
    return x


def test_failures_say_the_same_in_later_calls() -> None:
    x = cupynumeric.arange(8.0)
    with forced_tiles(1):
        for _ in range(2):
            picky(x, 0)
        xd.synchronize()
        picky(x, 1)
        with pytest.raises(Odd, match="bad 0") as caught:
            xd.synchronize()
        picky(x, 0)
        xd.synchronize()
    notes = "\n".join(caught.value.__notes__)
    assert "in kernel 'picky', tile i = 0:4 of 8, variant CPU" in notes
    assert re.search(rf"called at {re.escape(__file__)}:\d+", notes)
    assert "In the task:" in notes


def test_scopes_after_plain_calls() -> None:
    x = cupynumeric.arange(8.0)
    for _ in range(2):
        picky(x, 0)
    xd.synchronize()
    with pytest.raises(Odd), lg.Scope(exception_mode=lg.ExceptionMode.DEFERRED):
        picky(x, 1)
    with lg.Scope(exception_mode=lg.ExceptionMode.IGNORED):
        picky(x, 1)
    xd.synchronize()


def test_many_launches_whose_results_are_dropped_at_once() -> None:
    x, y = cupynumeric.ones(10), cupynumeric.zeros(10)
    for n in range(4_000):
        y = saxpy(x, y, 1.0)
        if n % 1000 == 0:
            gc.collect()
    xd.synchronize()
    assert np.asarray(y).tolist() == [4_000.0] * 10


def test_what_decides_how_a_call_is_prepared_is_type_dtype_and_shape() -> None:
    from xpdispatch.calling.binding import kind_of

    x = cupynumeric.ones((3, 4))
    arrays = (x, x.T, x[1], x[:, 1:3], x.astype("f4"), cupynumeric.zeros(()), cupynumeric.zeros((0, 3)), x > 0)
    for array in arrays:
        assert kind_of(array) == (cupynumeric.ndarray, array.dtype, array.shape)
