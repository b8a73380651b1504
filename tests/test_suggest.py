"""suggest on scans, windows with strides and keys: what it finds is right, and what it declines it gives words to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from xpdispatch import PartitionError, kernel
from xpdispatch.testing import check_partitioning, checking, suggest

rng = np.random.default_rng(20261201)
X, LONG, TABLE = rng.normal(size=21), rng.normal(size=24), rng.normal(size=(12, 7))


class Case(NamedTuple):
    """A body with its arguments, the notation, and what is said beside it: of keys, or of what could not be decided."""

    body: Any
    args: tuple[Any, ...]
    notation: str
    said: str = ""


VALID = "the halo is right with boundary='valid'"
BEFORE = "what comes first there does not depend on what comes later"
AFTER = "what comes last there does not depend on what comes before it"
NOTHING = "parts gave another answer, whether joined, scanned or combined by an operator"
NEAR = "parts differ near the cuts alone"
WIDE = "windows with a stride or a halo of more than 8 elements are not looked for"


def accumulate(ufunc: Any, axis: int = 0) -> Any:
    return lambda xp, x: ufunc.accumulate(x, axis=axis)


def smoothed(xp: Any, x: Any) -> Any:
    y = [x[:1]]
    for n in range(1, x.shape[0]):
        y.append(0.5 * y[-1] + 0.5 * x[n : n + 1])
    return xp.concat(y)


SCANS = [
    Case(accumulate(np.add), (X,), "x[i] -> sum y[..i]"),
    Case(accumulate(np.multiply), (X,), "x[i] -> prod y[..i]"),
    Case(accumulate(np.maximum), (X,), "x[i] -> max y[..i]"),
    Case(accumulate(np.minimum, 1), (TABLE,), "x[i, j] -> min y[i, ..j]"),
    Case(lambda xp, x: np.logical_and.accumulate(x < 1), (X,), "x[i] -> all y[..i]"),
    Case(
        accumulate(np.bitwise_xor),
        (rng.integers(0, 99, 21),),
        "x[i] -> xor y[..i]",
        "integers and bools are not varied",
    ),
    Case(lambda xp, x: xp.flip(xp.cumulative_sum(xp.flip(x))), (X,), "x[i] -> sum y[i..]"),
    Case(lambda xp, x: xp.cumulative_sum(x, axis=0), (TABLE,), "x[i, j] -> sum y[..i, j]"),
    Case(lambda xp, x: (xp.cumulative_sum(x), xp.max(x)), (X,), "x[i] -> sum y0[..i], max y1[]"),
    Case(lambda xp, x: xp.cumulative_sum(x[1:] * x[:-1]), (X,), "x[i..i+1] -> sum y[..i]", VALID),
    Case(lambda xp, x, w: xp.cumulative_sum(x * w), (X, rng.normal(size=21)), "x[i], w[i] -> sum y[..i]"),
    Case(lambda xp, x: xp.concat([xp.zeros(1), xp.cumulative_sum(x)[:-1]]), (X,), "x[:] -> y[:]", BEFORE),
    Case(smoothed, (X,), "x[:] -> y[:]", BEFORE),
    Case(lambda xp, x: xp.flip(smoothed(xp, xp.flip(x))), (X,), "x[:] -> y[:]", AFTER),
    Case(lambda xp, x: xp.cumulative_sum(x) / xp.arange(1, x.shape[0] + 1), (X,), "x[:] -> y[:]", BEFORE),
    Case(lambda xp, x: xp.cumulative_sum(x) / xp.sum(x), (X,), "x[:] -> y[:]", NOTHING),
    Case(lambda xp, x: xp.cumulative_sum(x - xp.mean(x)), (X,), "x[:] -> y[:]", NOTHING),
    Case(accumulate(np.fmax), (X,), "x[:] -> y[:]", "x[i] -> max y[..i] would be right but for NaN"),
    Case(
        lambda xp, x: xp.cumulative_sum(xp.cumulative_sum(x, axis=0), axis=1),
        (TABLE,),
        "x[i, :] -> sum y[..i, :]",
        f"axis 1 of 'x' stays whole: {BEFORE}",
    ),
]


def windows(stride: int, width: int) -> Any:
    return lambda xp, x: sum((k + 1) * x[k : x.shape[0] - width + 1 + k : stride] for k in range(width))


STRIDES = [
    Case(windows(2, 3), (X,), "x[2*i..2*i+2] -> y[i]", VALID),
    Case(windows(2, 5), (X,), "x[2*i..2*i+4] -> y[i]", VALID),
    Case(windows(2, 4), (LONG,), "x[2*i..2*i+3] -> y[i]", VALID),
    Case(windows(3, 6), (LONG,), "x[3*i..3*i+5] -> y[i]", VALID),
    Case(windows(4, 7), (rng.normal(size=31),), "x[4*i..4*i+6] -> y[i]", VALID),
    Case(windows(3, 3), (LONG,), "x[3*i] -> y[i]"),
    Case(lambda xp, x: x[::2], (LONG,), "x[2*i] -> y[i]"),
    Case(lambda xp, x: xp.mean(xp.reshape(x, (-1, 3)), axis=1), (LONG,), "x[3*i] -> y[i]"),
    Case(lambda xp, x: x[:, :-2:2] + x[:, 2::2], (rng.normal(size=(5, 13)),), "x[i, 2*j..2*j+2] -> y[i, j]", VALID),
    Case(lambda xp, x: xp.max(xp.stack([x[:-2:2], x[1:-1:2], x[2::2]]), axis=0), (X,), "x[2*i..2*i+2] -> y[i]", VALID),
    Case(
        lambda xp, x, f: x[:-2:2] * f[0] + x[1:-1:2] * f[1] + x[2::2] * f[2],
        (X, rng.normal(size=3)),
        "x[2*i..2*i+2], f[:] -> y[i]",
        VALID,
    ),
    Case(lambda xp, x: windows(2, 4)(xp, xp.concat([x[:1], x, x[-1:]])), (LONG,), "x[:] -> y[:]", NEAR),
    Case(lambda xp, x: windows(1, 3)(xp, xp.concat([x[:1], x, x[-1:]])), (LONG,), "x[:] -> y[:]", NEAR),
    Case(windows(9, 12), (rng.normal(size=93),), "x[:] -> y[:]", WIDE),
    Case(windows(2, 12), (rng.normal(size=40),), "x[:] -> y[:]", WIDE),
    Case(lambda xp, x: windows(2, 3)(xp, x) / xp.sum(x), (X,), "x[:] -> y[:]", NOTHING),
]


def test_windows_that_are_too_wide_are_said_to_be() -> None:
    assert "axis 0 of 'x' stays whole" in suggest(windows(2, 12), rng.normal(size=40)).undecided[0]


def at(ufunc: Any, start: float) -> Any:
    def scatter(xp: Any, x: Any, g: Any, n: int) -> Any:
        y = xp.full(n, start, dtype=x.dtype)
        ufunc.at(y, g, x)
        return y

    return scatter


def group_means(xp: Any, x: Any, g: Any, n: int) -> Any:
    return at(np.add, 0)(xp, x, g, n) / xp.clip(at(np.add, 0)(xp, xp.ones_like(x), g, n), 1, None)


G, P, T, ROWS = rng.integers(0, 5, 21), rng.integers(0, 9, 21), rng.normal(size=9), rng.normal(size=(9, 4))
SCATTER = (lambda xp, x, g, n: x, "x[i], g[i] -> {} y[@g=n]")
LOOK_UP = (lambda xp, p, t: t, "p[i], t[@p] -> y[i]")
KEYS: list[tuple[Case, Any, str]] = [
    (Case(at(np.add, 0), (X, G, 5), "x[i], g[i] -> sum y[:n]"), SCATTER[0], SCATTER[1].format("sum")),
    (Case(at(np.maximum, -np.inf), (X, G, 5), "x[i], g[i] -> max y[:n]"), SCATTER[0], SCATTER[1].format("max")),
    (Case(at(np.minimum, np.inf), (X, G, 6), "x[i], g[i] -> min y[:n]"), SCATTER[0], SCATTER[1].format("min")),
    (Case(at(np.multiply, 1), (X, G, 5), "x[i], g[i] -> prod y[:n]"), SCATTER[0], SCATTER[1].format("prod")),
    (
        Case(lambda xp, g, n: np.bincount(g, minlength=n), (G, 6), "g[i] -> sum y[:n]", "integers and bools"),
        lambda xp, g, n: xp.ones_like(g),
        "g[i] -> sum y[@g=n]",
    ),
    (
        Case(lambda xp, x, g, n: np.bincount(g, x * x, n), (X, G, 5), "x[i], g[i] -> sum y[:n]"),
        lambda xp, x, g, n: x * x,
        SCATTER[1].format("sum"),
    ),
    (Case(lambda xp, p, t: xp.take(t, p), (P, T), "p[i], t[:] -> y[i]"), *LOOK_UP),
    (
        Case(lambda xp, p, t: xp.take(t, p, axis=0), (P, ROWS), "p[i], t[:, j] -> y[i, j]"),
        lambda xp, p, t: t,
        "p[i], t[@p, j] -> y[i, j]",
    ),
    (
        Case(lambda xp, p, t: xp.sum(xp.take(t, p, axis=0), axis=1), (P, ROWS), "p[i], t[:, j] -> sum y[i]"),
        lambda xp, p, t: xp.sum(t, axis=1),
        "p[i], t[@p, j] -> sum y[i]",
    ),
    (
        Case(lambda xp, p, t, x: xp.take(t, p) * x, (P, T, X), "p[i], t[:], x[i] -> y[i]"),
        lambda xp, p, t, x: t * x,
        "p[i], t[@p], x[i] -> y[i]",
    ),
    (
        Case(
            lambda xp, t, p: xp.take(t, p),
            (rng.normal(size=300), rng.integers(0, 256, 20).astype(np.uint8)),
            "t[:], p[i] -> y[i]",
            f"axis 0 of 't' stays whole: parts gave another answer, and {WIDE}",
        ),
        lambda xp, t, p: xp.asarray(t, copy=True),
        "t[@p], p[i] -> y[i]",
    ),
    (
        Case(lambda xp, p, t: t[xp.arange(p.shape[0]), p], (P, rng.normal(size=(21, 9))), "p[i], t[i, :] -> y[i]"),
        lambda xp, p, t: t,
        "p[i], t[i, @p] -> y[i]",
    ),
]
NO_KEYS = [
    Case(group_means, (X, G, 5), "x[:], g[:] -> y[:n]", NOTHING),
    Case(lambda xp, x, g, n: at(np.add, 0)(xp, x, g, n) / xp.sum(x), (X, G, 5), "x[:], g[:] -> y[:n]", NOTHING),
    Case(
        lambda xp, p, t: xp.take(t, p) - xp.mean(t),
        (P, T),
        "p[i], t[:] -> y[i]",
        f"axis 0 of 't' stays whole: {NOTHING}",
    ),
    Case(lambda xp, p, t: xp.take(t, p) - xp.mean(xp.take(t, p)), (P, T), "p[:], t[:] -> y[:]", NOTHING),
    Case(lambda xp, p, t: p - xp.mean(t), (P, T), "p[i], t[:] -> y[i]", f"axis 0 of 't' stays whole: {NOTHING}"),
    Case(at(np.add, 1), (X, G, 5), "x[:], g[:] -> y[:n]", NOTHING),
]


@pytest.mark.parametrize("case", [*SCANS, *STRIDES, *NO_KEYS], ids=lambda c: f"{c.notation}, {c.said[:30]}")
def test_scans_and_strides(case: Case) -> None:
    with checking(seconds=1):
        found = suggest(case.body, *case.args)
        assert found == case.notation
        assert case.said in "\n".join(found.undecided)
        assert bool(case.said) == bool(found.undecided)
        assert found.keys == ()
        check_partitioning(kernel(found, boundary=found.boundary)(case.body), *case.args)


@pytest.mark.parametrize(("case", "body", "keyed"), KEYS, ids=[k[2] for k in KEYS])
def test_keys(case: Case, body: Any, keyed: str) -> None:
    """A body that leaves it to the library gives the same under the notation with keys."""
    with checking(seconds=1):
        found = suggest(case.body, *case.args)
        assert found == case.notation
        assert case.said in "\n".join(found.undecided)
        assert found.keys == (keyed,)
        check_partitioning(kernel(found)(case.body), *case.args)
        made = kernel(keyed)(body)
        check_partitioning(made, *case.args)
        np.testing.assert_allclose(made(*case.args), case.body(np, *case.args))


@pytest.mark.parametrize(
    ("line", "ufunc", "advice"),
    [
        ("x[i] -> sum y[..i]", np.fmax.accumulate, "keep i whole"),
        ("x[i] -> y[i]", np.fmin.accumulate, "keep i whole"),
        ("x[i] -> sum y[]", np.fmax.reduce, "keep i whole"),
        ("x[i] -> sum y[..i]", np.maximum.accumulate, "combine by max: x[i] -> max y[..i] (checked: then it is right)"),
        ("x[i] -> sum y[]", np.maximum.reduce, "combine by max: x[i] -> max y[] (checked: then it is right)"),
    ],
)
def test_no_advice_that_loses_nan_is_said_to_be_right(line: str, ufunc: Any, advice: str) -> None:
    """Though the notation that failed has no max and no min, for which a NaN would matter."""
    with pytest.raises(PartitionError) as caught:
        check_partitioning(kernel(line)(lambda xp, x: ufunc(x)), X)
    assert advice in str(caught.value)
