"""Bodies of arithmetic on single elements, traced: the same bits, and no trace where there is more."""

from __future__ import annotations

import copy
import math
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpdispatch as xd
from conftest import forced_cuts
from xpdispatch import In, InOut, Out, align, kernel
from xpdispatch.calling.kernel import Kernel
from xpdispatch.running import traced
from xpdispatch.running.learned import Learned
from xpdispatch.running.ownership import Known
from xpdispatch.running.site import Site
from xpdispatch.running.traced import Traced

recorded: list[Traced] = []
"""The tracers of a test, in the order in which they were made."""


class Recorded(Traced):
    def __init__(self, site: Site, known: Known, learned: Learned) -> None:
        super().__init__(site, known, learned)
        recorded.append(self)


@pytest.fixture(autouse=True)
def recording(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded.clear()
    monkeypatch.setattr(traced, "Traced", Recorded)


def fusing_of_all(made: Kernel) -> list[Learned]:
    """What is known of each kind of the kernel's calls."""
    found = {id(traced.learned): traced.learned for traced in recorded if traced.site.body is made.definition.body}
    return list(found.values())


def fusing(made: Kernel) -> Learned:
    """What is known of the kernel's one kind of calls."""
    (found,) = fusing_of_all(made)
    return found


def tiles_of(made: Kernel, *args: Any, **kwargs: Any) -> tuple[Any, int]:
    """What a second call answers, in tiles, and in how many of them the body ran."""
    ran = 0
    body = made.definition.body.function

    def counting(xp, *values, **named):
        nonlocal ran
        ran += 1
        return body(xp, *values, **named)

    object.__setattr__(made.definition.body, "function", counting)
    try:
        with forced_cuts(2):
            made(*args, **kwargs)
            ran = 0
            return made(*args, **kwargs), ran
    finally:
        object.__setattr__(made.definition.body, "function", body)


def like(n: int = 1000, dtype: Any = float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(n) * 20 - 5).astype(dtype)


FUSED: dict[str, Callable[..., Any]] = {
    "saxpy": lambda xp, x, y, a: a * x + y,
    "all operators": lambda xp, x, y, a: -x + y - a * (x / (y + 30)) // 2 % 3,
    "comparison": lambda xp, x, y, a: (x < y) | ~(x >= a),
    "where": lambda xp, x, y, a: xp.where(x < y, x, a),
    "where of numbers": lambda xp, x, y, a: xp.where(x < y, 1, 0),
    "clip": lambda xp, x, y, a: xp.clip(x, 0, 10) + xp.clip(y, max=3.5),
    "powers": lambda xp, x, y, a: x**2 + xp.abs(y) ** 0.5 + abs(x) ** 1.5,
    "functions": lambda xp, x, y, a: xp.exp(x) + xp.maximum(x, y) * xp.sqrt(abs(y)),
    "casts": lambda xp, x, y, a: xp.astype(x, xp.float32) * 2 + xp.astype(y > 0, xp.int64),
    "own name": lambda xp, x, y, a: np.hypot(x, y),
    "a copy": lambda xp, x, y, a: xp.asarray(x, copy=True),
    "nothing": lambda xp, x, y, a: x,
    "the namespace of an array": lambda xp, x, y, a: x.__array_namespace__().exp(x),
    "shapes": lambda xp, x, y, a: x * (2 if x.shape[0] == len(y) and x.ndim == 1 and x.size else 3),
    "whole views": lambda xp, x, y, a: x[...] + y[:],
    "a scalar decides": lambda xp, x, y, a: x if a > 1 else y,
    "reused": lambda xp, x, y, a: (x + y) * (x + y) + (x + y),
    "a choice of what is over": lambda xp, x, y, a: xp.where(x + 1 > y, x + 1, (x + 1) * y),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FUSED)
def test_programs_have_the_bits_of_the_body(name: str, dtype: str) -> None:
    x, y = like(dtype=dtype), like(dtype=dtype, seed=1)
    made = kernel("x[i], y[i] -> z[i]")(FUSED[name])
    with np.errstate(all="ignore"):
        found, ran = tiles_of(made, x, y, 2.0)
        expected = np.asarray(FUSED[name](xd.namespace_for("CPU"), x, y, 2.0))
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()
    assert not np.shares_memory(found, x)
    assert ran < 10, "the body ran to be written down alone"


REFUSED: dict[str, Callable[..., Any]] = {
    "a sum": lambda xp, x: x - xp.sum(x * 0),
    "an order": lambda xp, x: xp.sort(x) * 0,
    "a decision": lambda xp, x: x if x[0] > -100 else -x,
    "a number": lambda xp, x: x * float(x[0] * 0 + 1),
    "another array": lambda xp, x: x + np.ones(len(x)),
    "what is indexed": lambda xp, x: (x + 1)[::-1][::-1],
    "cells": lambda xp, x: x + sum(0 * v for v in x[:1]),
    "a method": lambda xp, x: x.clip(0, 1),
    "an array": lambda xp, x: np.asarray(x) + 1,
    "a mask": lambda xp, x: x[x < np.inf],
    "a type": lambda xp, x: x + 1 if isinstance(x, np.ndarray) else x.nothing,
    "outer": lambda xp, x: np.add.outer(x, np.zeros(1))[:, 0],
    "something long": lambda xp, x: sum((x for _ in range(300)), x),
    "what it catches": lambda xp, x: caught(x),
    "two results of a ufunc": lambda xp, x: np.modf(x)[0],
    "a constant": lambda xp, x: xp.ones(x.shape),
    "objects": lambda xp, x: x + np.frompyfunc(float, 1, 1)(x).astype(float),
}


def caught(x: Any) -> Any:
    try:
        return x + float(x[0] * 0)
    except Exception:
        return x + 1


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_more_than_single_cells_is_left_to_the_body(name: str) -> None:
    x = like()
    made = kernel("x[i] -> z[i]")(REFUSED[name])
    found, ran = tiles_of(made, x)
    assert ran > 10
    xp = xd.namespace_for("CPU")
    np.testing.assert_array_equal(found, [REFUSED[name](xp, x[i : i + 1])[0] for i in range(len(x))])


def test_why_a_body_is_not_written_down() -> None:
    made = kernel("x[i] -> z[i]", guard=False)(lambda xp, x: x - xp.mean(x))
    with forced_cuts(1):
        made(like())
        assert fusing(made).why_not == "numpy.mean works on more than single elements"


def test_a_program_is_trusted_when_it_does_what_the_body_did() -> None:
    made = kernel("x[i] -> z[i]")(lambda xp, x: x + 1 if type(x) is np.ndarray else x + 2)
    with forced_cuts(1):
        for _ in range(3):
            np.testing.assert_array_equal(made(like()), like() + 1)
        assert fusing(made).why_not == "the trace does not do what the body does"
        assert not any(fusing(made).trusted.values())


@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble, np.float16, np.complex64])
def test_programs_are_trusted_in_every_precision(dtype: Any) -> None:
    made = kernel("x[i] -> z[i]")(lambda xp, x: x * 3 + 1)
    x = like(dtype=dtype)
    with forced_cuts(1):
        np.testing.assert_array_equal(made(x), x * 3 + 1)
    assert any(fusing(made).trusted.values())


def test_each_call_writes_its_body_down_anew() -> None:
    factor = 1.0
    made = kernel("x[i] -> z[i]")(lambda xp, x, way: x * factor if way == "times" else x + factor)
    with forced_cuts(2):
        for factor in (1.0, 2.0, 3.0):
            for _ in range(2):
                np.testing.assert_array_equal(made(like(), "times"), like() * factor)
                np.testing.assert_array_equal(made(like(), "plus"), like() + factor)


# -- traces of earlier calls --------------------------------------------------------------------------------

SHARED = {"offset": 1.0}
OFFSET = 1.0
RNG = np.random.default_rng(0)


def helped(x):
    return x + OFFSET


def counts(value=[0]):  # noqa: B006
    value[0] += 1
    return float(value[0])


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One entry for each time that a body is traced."""
    found: list[Any] = []
    trace = Traced.trace
    monkeypatch.setattr(Traced, "trace", lambda self, *args: found.append(self) or trace(self, *args))
    return found


STEADY: dict[str, Callable[..., Any]] = {
    "arithmetic": lambda xp, x, a: a * x + 1,
    "functions": lambda xp, x, a: xp.exp(-xp.abs(x)) * xp.pi + math.sqrt(a) * np.hypot(x, x),
    "a global number": lambda xp, x, a: x * OFFSET + a,
    "another function": lambda xp, x, a: helped(x) * a,
    "a loop": lambda xp, x, a: sum((x**n for n in range(3)), x) * a,
    "a cast": lambda xp, x, a: xp.astype(xp.where(x > a, x, -x), xp.float32),
}


@pytest.mark.parametrize("name", STEADY)
def test_a_body_that_must_do_the_same_is_traced_once(name: str, traces: list[Any]) -> None:
    made = kernel("x[i] -> z[i]")(STEADY[name])
    with forced_cuts(2):
        made(like(), 2.0)
        before = len(traces)
        for n in (1000, 1000, 998):
            np.testing.assert_array_equal(made(like(n), 2.0), STEADY[name](xd.namespace_for("CPU"), like(n), 2.0))
        assert len(traces) == before
        made(like(), 3.0)
        assert len(traces) == before + 1


UNSTEADY: dict[str, Callable[..., Any]] = {
    "an object": lambda xp, x: x + SHARED["offset"],
    "random numbers": lambda xp, x: x + np.random.random() * 0,
    "a generator": lambda xp, x: x + RNG.random() * 0,
    "a distribution named as a function": lambda xp, x: x + np.random.power(2) * 0,
    "a counter": lambda xp, x: x + counts() * 0,
    "a clock": lambda xp, x: x + time.time() * 0,
    "what it prints": lambda xp, x: x + len(repr(print)) * 0,
    "an import": lambda xp, x: x + __import__("math").pi * 0,
}


@pytest.mark.parametrize("name", UNSTEADY)
def test_a_body_that_may_do_something_else_is_traced_in_each_call(name: str, traces: list[Any]) -> None:
    made = kernel("x[i] -> z[i]", guard=False)(UNSTEADY[name])
    with forced_cuts(2):
        made(like())
        before = len(traces)
        for _ in range(3):
            made(like())
    assert len(traces) == before + 3


@pytest.mark.parametrize("name", ["a global number", "another function"])
def test_variables_around_a_body_may_change(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kernel("x[i] -> z[i]")(STEADY[name])
    with forced_cuts(2):
        for offset in (1.0, 2.0, 1.0, -0.0, 0.0, 2, True):
            monkeypatch.setitem(globals(), "OFFSET", offset)
            for _ in range(2):
                found, expected = made(like(), 2.0), STEADY[name](xd.namespace_for("CPU"), like(), 2.0)
                assert found.tobytes() == expected.tobytes()


def test_functions_around_a_body_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    made = kernel("x[i] -> z[i]")(STEADY["another function"])
    with forced_cuts(2):
        for step in (1, 2, 1):
            monkeypatch.setitem(globals(), "helped", lambda x, step=step: x * step)
            for _ in range(2):
                np.testing.assert_array_equal(made(like(), 2.0), like() * step * 2.0)


@pytest.mark.parametrize(
    "other",
    [lambda x, by=3, *, plus=5: x / by + plus, lambda x, by=4, *, plus=5: x * by - plus],
    ids=["code", "defaults"],
)
def test_functions_around_a_body_may_get_new_code(other: Any) -> None:
    """As tools do that reload modules."""

    def steps(x, by=3, *, plus=1):
        return x * by - plus

    made = kernel("x[i] -> z[i]")(lambda xp, x: steps(x))
    with forced_cuts(2):
        made(like())
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            setattr(steps, name, getattr(other, name))
            np.testing.assert_array_equal(made(like()), steps(like()))


def test_scalars_count_by_all_their_bits() -> None:
    made = kernel("x[i] -> z[i]")(lambda xp, x, a: xp.copysign(x, a) * a)
    values = [0.0, -0.0, 0, False, True, 1, 1.0, np.float32(1), np.float64(1), np.int8(1), float("nan"), -float("nan")]
    with forced_cuts(2), np.errstate(all="ignore"):
        for a in values * 2:
            expected = np.copysign(like(dtype="float32"), a) * a
            found = made(like(dtype="float32"), a)
            assert (found.dtype, found.tobytes()) == (expected.dtype, expected.tobytes()), a


def test_fuse_false_runs_the_body_for_each_tile() -> None:
    made = kernel("x[i] -> z[i]", fuse=False)(lambda xp, x: x + 1)
    assert not made.definition.fuse
    found, ran = tiles_of(made, like())
    np.testing.assert_array_equal(found, like() + 1)
    assert ran > 10


# -- what differs where nobody looks --------------------------------------------------------------------

SAME_ZEROS = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="NumPy 2.0 takes zeros of two signs now so, now so"
)

RARE = np.array([0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 1e-310, np.inf, -np.inf, np.nan] * 20)


def assert_as_without(body: Callable[..., Any], *calls: tuple[Any, ...], notation: str = "x[i] -> z[i]") -> Kernel:
    """Compare calls, in order, with those of a kernel that runs its body: bits, errors and warnings."""
    fused, plain = kernel(notation)(body), kernel(notation, fuse=False)(body)
    for args in calls:
        told = []
        for made in (fused, plain):
            with forced_cuts(2), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    found = made(*args)
                    answer: Any = found.dtype, np.where(np.isnan(found), np.nan, found).tobytes()
                except Exception as error:
                    answer = type(error), str(error)
            told.append((answer, {str(w.message) for w in caught}))
        assert told[0] == told[1]
    return fused


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "int32", "bool"])
@pytest.mark.parametrize(
    "exponent", [2, 2.0, 1, 1.0, 0.5, -1, -1.0, 0, 0.0, 3, True, np.float64(0.5), np.int8(2), np.array(0.5)]
)
def test_powers_are_those_of_numpys_arrays(exponent: Any, dtype: str) -> None:
    with np.errstate(all="ignore"):
        x = RARE.astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_as_without(lambda xp, x: x**exponent, (x,), (x,))


@SAME_ZEROS
@pytest.mark.parametrize(
    "bounds", [(0, 10), (0.0, None), (-0.0, None), (-0.0, 5), (-3, 0), (-3, -0.0), (None, 0), (None, -0.0), (3, 1)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
def test_clips_are_numpys_where_zeros_have_two_signs(bounds: tuple[Any, Any], dtype: str) -> None:
    with np.errstate(all="ignore"):
        x = RARE.astype(dtype)
    made = assert_as_without(lambda xp, x: xp.clip(x, *bounds), (x,))
    assert dtype == "int32" or any(fusing_of_last(made).trusted.values())


def fusing_of_last(made: Kernel) -> Learned:
    """What is known of the kernel's latest kind of calls."""
    return fusing_of_all(made)[-1]


def test_numbers_that_do_not_fit_are_numpys_business() -> None:
    x, i = np.arange(100, dtype="u1"), np.arange(100)

    def assigned(xp, x, a):
        t = x * 2
        t[...] = a
        return t + x

    def caught(xp, x, a):
        try:
            return x + a
        except OverflowError:
            return x - x

    def for_nothing(xp, x, a):
        x + a
        return x * 2

    assert_as_without(assigned, (x, 3), (x, 300), (x, -1), notation="x[i] -> z[i]")
    assert_as_without(assigned, (i, 2.5), (i, float("nan")), (i, float("inf")))
    assert_as_without(lambda xp, x, a: xp.where(x > 2, x, a) + x, (x, 3), (x, 300), (x, -1), (x, 2.5), (x, 2**70))
    assert_as_without(lambda xp, x, a: (x < a) | (a == x), (x, 3), (x, 300), (x, -1))
    for body in (caught, for_nothing):
        assert_as_without(body, (x, 3), (x, 300), (x, 3))


def test_powers_of_integers_that_fail() -> None:
    def body(xp, x, y):
        try:
            x**y
        except ValueError:
            return x * 0
        return x * 2

    x, y = np.arange(100), np.ones(100, int)
    assert_as_without(body, (x, y), (x, y - 2), (x, y), notation="x[i], y[i] -> z[i]")


@pytest.mark.parametrize("how", ["ignore", "warn", "raise"])
def test_bodies_that_handle_floating_point_errors(how: Any) -> None:
    def body(xp, x):
        y = x + 0
        with np.errstate(divide=how):
            y = 1 / y
        return xp.sqrt(y)

    made = assert_as_without(body, (np.ones(100),), (np.zeros(100),), (-np.ones(100),))
    assert bool(fusing_of_last(made).why_not) == (how != "ignore")


def test_bodies_that_catch_warnings() -> None:
    def body(xp, x):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return 1 / x + 1

    made = assert_as_without(body, (np.ones(100),), (np.zeros(100),))
    assert not fusing_of_last(made).why_not, "another thread may have done it"


def test_bodies_that_catch_floating_point_errors() -> None:
    def body(xp, x):
        try:
            return 1 / x
        except FloatingPointError:
            return x + 7

    with np.errstate(all="raise"):
        assert_as_without(body, (np.ones(100),), (np.zeros(100),))
    made = kernel("x[i] -> z[i]")(body)
    out = np.zeros(100)
    with forced_cuts(1), warnings.catch_warnings():
        warnings.simplefilter("error")
        made(np.ones(100), out=out)
        assert any(fusing(made).trusted.values())
        with pytest.raises(RuntimeWarning, match="divide by zero") as caught:
            made(np.zeros(100), out=out)
    assert any(entry.name == "body" for entry in caught.traceback), "the body itself says where"


def test_numbers_made_of_0d_arrays_are_no_arrays() -> None:
    def body(xp, x, c, anew):
        t = c * 2
        u = t
        if anew:
            u = t = t + 1
        else:
            t += 1  # which is another number, and leaves u as it is
        return x * t + u

    x, c = like(), np.array(3.0)
    assert_as_without(body, (x, c, True), (x, c, False), (x, c, True), notation="x[i], c[] -> z[i]")


@pytest.mark.parametrize("asks", [lambda x: isinstance(x, np.ndarray), lambda x: type(x) is np.ndarray])
def test_bodies_that_look_at_cells_of_numpys_arrays_alone(asks: Callable[[Any], bool]) -> None:
    def body(xp, x):
        if asks(x) and bool(xp.any(x < 0)):
            raise ValueError("negative")
        return x + 1

    assert_as_without(body, (abs(like()),), (-np.ones(1000),))


def test_bodies_that_change_a_scalar_run_themselves() -> None:
    def body(xp, x, rng):
        return x + float(rng.random())

    made = kernel("x[i] -> z[i]")(body)
    with forced_cuts(1):
        rng, before = np.random.default_rng(1), np.random.default_rng(1)
        made(like(), rng)
        assert fusing(made).why_not == "the body changes a scalar"
        assert rng.random() != before.random()


def test_namespaces_of_users_have_their_own_functions() -> None:
    import array_api_compat.numpy as compat

    own = type(compat)("own")
    own.__dict__.update(vars(compat))
    own.__dict__["where"] = lambda condition, yes, no: np.where(condition, no, yes)
    xd.register_namespace("CPU", own)
    x = like()
    made = kernel("x[i] -> z[i]")(lambda xp, x: xp.where(x > 0, x, 0) + 1)
    with forced_cuts(1):
        np.testing.assert_array_equal(made(x), np.where(x > 0, 0, x) + 1)
        assert fusing(made).why_not == "the namespace is none of ours"


def test_arrays_that_a_body_keeps() -> None:
    kept: list[Any] = []

    def body(xp, x):
        kept.append(x)
        return x * kept[0]

    made = kernel("x[i] -> z[i]")(body)
    with forced_cuts(1), pytest.raises(TypeError, match="kept an array of an earlier call"):
        for _ in range(2):
            made(like())
            kept[:] = [k for k in kept if not isinstance(k, np.ndarray)]


def test_copies_by_way_of_pickle() -> None:
    def body(xp, x):
        t = copy.copy(x)
        t += 1
        return t

    made = assert_as_without(body, (like(),), (like(),))
    assert fusing_of_last(made).why_not == "an array is copied or pickled"


def test_programs_are_tried_in_the_dtypes_of_the_call() -> None:
    def body(xp, x, y):
        if y.dtype == xp.float32:
            return x + (1 if type(x) is np.ndarray else 2)
        return x + 2

    x, y = like(), like()
    assert_as_without(body, (x, y.astype("f4")), (x, y), notation="x[i], y[i] -> z[i]")


def test_programs_are_tried_on_what_the_body_does_in_this_tile() -> None:
    def body(xp, x):
        return x + 1 if len(x) <= 33 or type(x) is np.ndarray else x * 2

    made = kernel("x[i] -> z[i]")(body)
    with forced_cuts(1, cache=8000):
        for _ in range(2):
            np.testing.assert_array_equal(made(like(5000)), like(5000) + 1)


def test_programs_are_tried_on_few_cells() -> None:
    most = 0

    def body(xp, A):
        nonlocal most
        most = max(most, A.nbytes // A.itemsize if type(A) is np.ndarray else 0)
        return A * 2 + 1

    made = kernel("A[...] -> B[...]")(body)
    with forced_cuts(1, cache=1 << 16):
        A = like(4**10).reshape(4, 4, 4, 4, 4, 4, 4, 4, 4, 4)
        assert made(A).tobytes() == (A * 2 + 1).tobytes()
    assert any(fusing(made).trusted.values())
    assert most <= 1 << 17


def test_one_program_does_for_tiles_of_many_sizes() -> None:
    traced = 0

    def body(xp, x):
        nonlocal traced
        traced += type(x) is not np.ndarray
        return x * 2 + 1

    made = kernel("x[i] -> z[i]")(body)
    with forced_cuts(1, cache=1000):
        made(like(997))
        traced = 0
        assert made(like(997)).tobytes() == (like(997) * 2 + 1).tobytes()
    assert traced == 1


# -- assignments ---------------------------------------------------------------------------------------


def in_place(xp, x, y):
    t = x + y
    u = t
    t += 1
    t *= u
    t[...] = xp.sqrt(abs(t))
    u /= 2
    return t + u


def test_assignments_to_what_the_body_made() -> None:
    x, y = like(), like(seed=1)
    found, ran = tiles_of(kernel("x[i], y[i] -> z[i]")(in_place), x, y)
    assert ran < 10
    assert found.tobytes() == in_place(np, x, y).tobytes()


def test_assignments_cast_as_numpy_does() -> None:
    def body(xp, x):
        t = xp.astype(x, xp.float32)
        t += 0.1 * x
        t[...] = t * x
        return t

    x = like()
    found, ran = tiles_of(kernel("x[i] -> z[i]")(body), x)
    assert ran < 10
    assert found.tobytes() == body(xd.namespace_for("CPU"), x).tobytes()


@pytest.mark.parametrize("write", ["x += 1", "x[...] = 1", "np.add(x, 1, out=x)"])
def test_operands_stay_read_only(write: str) -> None:
    def body(xp, x):
        exec(write)
        return x

    with forced_cuts(1), pytest.raises(ValueError, match="read-only"):
        kernel("x[i] -> z[i]")(body)(like())


def test_buffers() -> None:
    def explicit(xp, x: In, y: InOut, z: Out):
        z[...] = x - y
        y += z * 2

    def axpy(xp, x, y, a):
        y += a * x

    x, y, z = like(), like(seed=1), np.zeros(1000)
    with forced_cuts(2):
        for _ in range(2):
            mine, own = y.copy(), y.copy()
            kernel("x[i], y[i] -> y[i]")(axpy)(x, mine, 2.0)
            own += 2.0 * x
            assert mine.tobytes() == own.tobytes()
        made = kernel(constraints=[align("x", "y", "z")])(explicit)
        for _ in range(2):
            mine = y.copy()
            made(x, mine, z)
            assert z.tobytes() == (x - y).tobytes()
            assert mine.tobytes() == (y + (x - y) * 2).tobytes()
        assert any(fusing(made).trusted.values())


def test_several_results_that_are_each_others_operands() -> None:
    u, v = like(), like(seed=1)
    made = kernel("u[i], v[i] -> u[i], v[i]")(lambda xp, u, v: (v + u, u - v))
    a, b = u.copy(), v.copy()
    with forced_cuts(2):
        for _ in range(3):
            made(a, b)
            u, v = v + u, u - v
        assert a.tobytes() == u.tobytes()
        assert b.tobytes() == v.tobytes()
        assert any(fusing(made).trusted.values())


def test_one_array_as_two_results() -> None:
    def body(xp, x):
        t = x * 3
        return t, t

    made = kernel("x[i] -> y[i], z[i]")(body)
    with forced_cuts(2):
        for _ in range(2):
            y, z = made(like())
            np.testing.assert_array_equal(y, like() * 3)
            np.testing.assert_array_equal(z, y)
            assert not np.shares_memory(y, z)


@SAME_ZEROS
@pytest.mark.parametrize(
    "body",
    [
        lambda xp, x: xp.where(x * 1.0 > 0, x, 0 * x),
        lambda xp, x: xp.where(x > 0, 0 * x, x),
        lambda xp, x: xp.where(x > 0, x, x),
        lambda xp, x: xp.clip(x, 0, 5),
    ],
)
def test_choices_in_place(body: Callable[..., Any]) -> None:
    made = kernel("x[i] -> x[i]")(body)
    with forced_cuts(2):
        for _ in range(2):
            x = like()
            expected = body(xd.namespace_for("CPU"), x)
            made(x)
            assert x.tobytes() == expected.tobytes()
        assert any(fusing(made).trusted.values())


def test_conditions_in_place() -> None:
    made = kernel("x[i], y[i] -> x[i]")(lambda xp, x, y: xp.where(x, y, xp.logical_not(y)))
    x, y = like() > 0, like(seed=1) > 0
    expected = np.where(x, y, ~y)
    with forced_cuts(1):
        made(x, y)
        assert any(fusing(made).trusted.values())
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("shift", [0, 1, -1, 7])
def test_out_that_overlaps_an_operand(shift: int) -> None:
    made = kernel("x[i], y[i] -> z[i]")(lambda xp, x, y: (x * 2 + y) * x)
    with forced_cuts(2):
        for _ in range(3):
            memory = like(1200)
            x, y = memory[100:1100], like(seed=1)
            z = memory[100 + shift : 1100 + shift]
            expected = (x * 2 + y) * x
            made(x, y, out=z)
            assert z.tobytes() == expected.tobytes()


@pytest.mark.parametrize("where", [np.s_[:, ::2], np.s_[:, 600::-1], np.s_[::-1, :601], np.s_[4:, 9:610]])
@pytest.mark.parametrize("body", [lambda xp, x: xp.isnan(x * 2), lambda xp, x: (x * 2) ** x], ids=["isnan", "a power"])
def test_out_whose_elements_lie_apart(body: Callable[..., Any], where: Any) -> None:
    """There NumPy's functions would write other numbers, and isnan even wrong ones."""
    x = np.random.default_rng(0).random((64, 601))
    x[x > 0.7] = np.nan
    made = kernel("x[i,j] -> y[i,j]")(body)
    out = np.zeros((68, 1202), bool if body(np, x).dtype == bool else float)[where][:64, :601]
    with forced_cuts(1, cache=x.nbytes // 4):
        np.testing.assert_array_equal(made(x, out=out), body(np, x))


@pytest.mark.parametrize("layout", [lambda a: a, lambda a: a[:, ::-1], lambda a: np.repeat(a, 2, axis=0)[::2]])
def test_powers_of_views_have_the_same_bits(layout: Callable[[Any], Any]) -> None:
    rng = np.random.default_rng(0)
    x, y = (layout(rng.random((640, 300))) for _ in range(2))
    made = kernel("x[i,j], y[i,j] -> z[i,j]")(lambda xp, x, y: x**y + 1)
    with forced_cuts(1, cache=x.nbytes):
        np.testing.assert_array_equal(made(x, y), x**y + 1)


def test_results_in_another_dtype() -> None:
    x = like()
    with forced_cuts(2):
        rounded = kernel("x[i] -> z[i]", dtype="float32")(lambda xp, x: x * 3)
        plain = kernel("x[i] -> z[i]")(lambda xp, x: x * 3)
        for _ in range(2):
            assert rounded(x).tobytes() == (x * 3).astype("f4").tobytes()
            out = np.zeros(1000, "f4")
            plain(x, out=out)
            assert out.tobytes() == (x * 3).astype("f4").tobytes()
            with pytest.raises(xd.DTypeError):
                plain(x, out=np.zeros(1000, int))


# -- shapes --------------------------------------------------------------------------------------------


def test_broadcasts_whole_axes_and_0d_arrays() -> None:
    made = kernel("A[i,j], b[j], c[] -> D[i,j]")(lambda xp, A, b, c: (A + b * c) * c - 1)
    A, b, c = like(900).reshape(30, 30), like(30), np.array(3.0)
    with forced_cuts(2):
        for _ in range(2):
            assert made(A, b, c).tobytes() == ((A + b * c) * c - 1).tobytes()
        assert any(fusing(made).trusted.values())


@pytest.mark.parametrize("boundary", ["valid", "clip", "edge", "wrap", 0.0])
def test_views_of_halos(boundary: Any) -> None:
    def body(xp, u):
        return u[2:] - 2 * u[1:-1] + u[:-2]

    whole = kernel("u[i-1..i+1] -> v[i]", boundary=boundary, cut=False)
    made = kernel("u[i-1..i+1] -> v[i]", boundary=boundary)
    if boundary == "clip":

        def body(xp, u):  # as long as the tile, its halo included
            return (u * 2 + 1)[-len(u) :]

        whole = kernel("u[i] -> v[i]", cut=False)
        made = kernel("u[i] -> v[i]")
    u = like()
    expected = whole(body)(u)
    cut = made(body)
    with forced_cuts(2):
        for _ in range(2):
            assert cut(u).tobytes() == expected.tobytes()
        assert any(fusing(cut).trusted.values())


def test_arrays_in_the_order_of_fortran() -> None:
    A = np.asfortranarray(like(900).reshape(30, 30))
    made = kernel("A[i,j] -> B[i,j]")(lambda xp, A: A * 2 + 1)
    with forced_cuts(2, cache=2000):
        for _ in range(2):
            found = made(A)
            np.testing.assert_array_equal(found, A * 2 + 1)
            assert found.flags.fnc


def test_bare_colons_take_what_the_body_gives() -> None:
    made = kernel("A[i,:] -> B[i,:]")(lambda xp, A: A[:, 1:] - A[:, :-1])
    A = like(900).reshape(30, 30)
    with forced_cuts(2):
        for _ in range(2):
            np.testing.assert_array_equal(made(A), np.diff(A))
        assert any(fusing(made).trusted.values())


# -- what goes wrong -----------------------------------------------------------------------------------


def test_errors_of_a_tile_say_which() -> None:
    made = kernel("x[i] -> z[i]")(lambda xp, x: 1 / x + 1)
    x = np.arange(1.0, 101.0)
    with forced_cuts(1), np.errstate(all="raise"):
        made(x)
        assert any(fusing(made).trusted.values())
        x[70] = 0
        with pytest.raises(FloatingPointError) as caught:
            made(x)
    assert re.search(r"in kernel '<lambda>', tile i = (6\d|70):7\d of 100, variant CPU", caught.value.__notes__[0])


def test_warnings_are_given() -> None:
    made = kernel("x[i] -> z[i]")(lambda xp, x: 1 / x)
    with forced_cuts(1):
        made(np.ones(100))
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            made(np.zeros(100))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error")
            made(np.zeros(100))


def test_a_number_that_does_not_fit() -> None:
    made = kernel("x[i] -> z[i]")(lambda xp, x, a: x + a)
    x = np.arange(100, dtype="u1")
    with forced_cuts(1):
        np.testing.assert_array_equal(made(x, 3), x + 3)
        for _ in range(2):
            with pytest.raises(OverflowError):
                made(x, 300)


# -- random expressions --------------------------------------------------------------------------------

DTYPES = ("bool", "int8", "uint16", "int64", "float32", "float64", "complex64")
UNARY = ("negative", "abs", "square", "exp", "sqrt", "logical_not", "isfinite", "sign", "positive", "conj")
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "less", "equal", "power", "logaddexp", "remainder")


@st.composite
def expressions(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    steps: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(1, 8))):
        place = st.integers(0, 1 + len(steps))
        kind = draw(st.sampled_from(["unary", "binary", "number", "where", "astype"]))
        if kind == "unary":
            steps.append((kind, draw(st.sampled_from(UNARY)), draw(place)))
        elif kind == "binary":
            steps.append((kind, draw(st.sampled_from(BINARY)), draw(place), draw(place)))
        elif kind == "number":
            number = draw(st.sampled_from([2, 0.5, -1, True, np.float32(3), np.int8(2), 1j, 2.0]))
            steps.append(
                (kind, draw(st.sampled_from(["__add__", "__rmul__", "__pow__", "__rsub__"])), draw(place), number)
            )
        elif kind == "where":
            steps.append((kind, draw(place), draw(place), draw(place)))
        else:
            steps.append((kind, draw(st.sampled_from(["float32", "int64", "complex128", "bool"])), draw(place)))
    return steps


def body_of(steps: list[tuple[Any, ...]]) -> Callable[..., Any]:
    def body(xp, x, y):
        values = [x, y]
        for kind, *rest in steps:
            try:
                if kind in ("unary", "binary"):
                    values.append(getattr(xp, rest[0])(*[values[p] for p in rest[1:]]))
                elif kind == "number":
                    values.append(getattr(values[rest[1]], rest[0])(rest[2]))
                elif kind == "where":
                    values.append(xp.where(values[rest[0]] > 0, values[rest[1]], values[rest[2]]))
                else:
                    values.append(xp.astype(values[rest[1]], getattr(xp, rest[0])))
            except (TypeError, OverflowError, ValueError):  # not for these dtypes
                values.append(values[0])
        return values[-1]

    return body


@settings(max_examples=150, deadline=None)
@given(expressions(), st.sampled_from(DTYPES), st.sampled_from(DTYPES))
def test_random_expressions_have_the_same_bits(steps: Any, first: str, second: str) -> None:
    x, y = abs(like(60)).astype(first), like(60, seed=1).astype(second)
    body = body_of(steps)
    made = kernel("x[i], y[i] -> z[i]")(body)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(body(xd.namespace_for("CPU"), x, y))
        with forced_cuts(1):
            for _ in range(2):
                found = made(x, y)
                assert found.dtype == expected.dtype
                np.testing.assert_array_equal(found, expected)
