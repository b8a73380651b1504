"""Operands that are left out, and any number of them: on every engine, in checks, and in messages."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from conftest import Engine
from xpdispatch import kernel
from xpdispatch.testing import check_partitioning, check_portable

rng = np.random.default_rng(20261125)
x, y, w = rng.normal(size=(3, 11))


@kernel("x[i], w[i], scale[] -> y[i], sum total[]")
def weighted(xp, x, w=None, scale=None, *, offset=0.0):
    """Weigh."""
    if w is not None:
        x = x * w
    if scale is not None:
        x = x * scale
    return x + offset, xp.sum(x)


@kernel("*xs[...] -> y[...]")
def mean(xp, *xs):
    total = xs[0]
    for other in xs[1:]:
        total = total + other
    return total / len(xs)


@kernel("w[], *xs[i-1..i+1] -> sum s[:2], y[i]", boundary={"xs": "wrap"})
def mixed(xp, tile, w, *xs, power=1):
    assert tile.halo("xs0", 0) == (1, 1)
    total = xp.stack([xp.sum(x[1:-1]) for x in xs[:2]])
    return total, w * sum(x[:-2] ** power for x in xs)


def test_operands_left_out(engine: Engine) -> None:
    put, get = engine.put, engine.get
    cases = [
        ((x,), {}, x),
        ((x, w), {}, x * w),
        ((x, None, np.asarray(2.0)), {}, 2 * x),
        ((x,), {"scale": np.asarray(3.0), "offset": 1.0}, 3 * x + 1),
        ((x, w, np.asarray(2.0)), {"offset": 1}, 2 * x * w + 1),
    ]
    for args, kwargs, expected in cases:
        got, _ = weighted(*map(put, args), **{n: put(v) for n, v in kwargs.items()})
        np.testing.assert_allclose(get(got), expected)


def test_any_number_of_operands(engine: Engine) -> None:
    put, get = engine.put, engine.get
    np.testing.assert_allclose(get(mean(put(x))), x)
    np.testing.assert_allclose(get(mean(put(x), put(y), put(w))), (x + y + w) / 3)
    table = rng.normal(size=(4, 1))
    np.testing.assert_allclose(get(mean(put(x), put(table))), (x + table) / 2)
    sums, shifted = mixed(put(np.asarray(2.0)), put(x), put(y), power=2)
    np.testing.assert_allclose(get(sums), [x.sum(), y.sum()])
    np.testing.assert_allclose(get(shifted), 2 * (np.roll(x, 1) ** 2 + np.roll(y, 1) ** 2))
    if engine.mutable:
        out = put(np.zeros(11))
        assert mean(put(x), put(y), out=out) is out
        np.testing.assert_allclose(get(out), (x + y) / 2)


def test_own_bodies_of_variants_follow() -> None:
    made = kernel("*xs[...] -> y[...]")(lambda xp, *xs: xs[0])
    assert made(x)[0] == x[0]
    made.cpu_variant(lambda xp, *xs: xs[-1] * 2)
    assert made(x, y)[0] == 2 * y[0]
    made = kernel("x[i], w[i] -> y[i]")(lambda xp, x, w=None: x)
    made.cpu_variant(lambda xp, x, w=None: x * 3 if w is None else w)
    assert made(x)[0] == 3 * x[0]
    assert made(x, w)[0] == w[0]


def test_they_show_as_written() -> None:
    assert repr(mean).startswith(
        "<kernel mean: *xs[...] -> y[...]; parallel along the axes under '...'; CPU, OMP, GPU; "
    )
    assert str(inspect.signature(mean)) == "(*xs, out=None)"
    assert str(inspect.signature(weighted)) == "(x, w=None, scale=None, *, offset=0.0, out=None)"
    assert "\n\nWeigh.\n\n" in weighted.__doc__
    assert mean.__name__ == "mean"
    with pytest.raises(ValueError, match="kernel 'mean': argument 'xs1' has extent 3 on axis -1") as caught:
        mean(x, x[:3])
    assert "xs0[...], xs1[...] -> y[...]" in str(caught.value)


def test_checks_take_them() -> None:
    check_partitioning(mean, x, y, w)
    check_partitioning(weighted, x, offset=2.0)
    check_partitioning(weighted, x, w)
    check_partitioning(mixed, np.asarray(2.0), x, y)
    check_portable(mean, x, y)
    bad = kernel("*xs[i] -> y[i]")(lambda xp, *xs: xs[0] - xp.max(xs[-1]))
    with pytest.raises(AssertionError, match="cut along i"):
        check_partitioning(bad, x, y)


def test_misuse() -> None:
    with pytest.raises(TypeError, match="kernel 'mean': no array is given for '\\*xs', expected one or more"):
        mean()
    with pytest.raises(TypeError, match="unexpected argument 'z'"):
        weighted(x, z=3)
    with pytest.raises(TypeError, match="argument 'x' is missing"):
        weighted()
    only = kernel("x[i], w[j] -> y[i, j]")(lambda xp, x, w=None: x)
    with pytest.raises(TypeError, match="kernel '<lambda>': 'w' left out: nothing says how long j of result 'y' is"):
        only(x)
    free = kernel("x[i], w[..., i] -> y[...], z[i]")
    with pytest.raises(ValueError, match="leaves out 'i'"):
        free(lambda xp, x, w=None: x)


def test_few_plain_kernels_are_kept() -> None:
    made = kernel("*xs[...] -> y[...]")(lambda xp, *xs: xs[0])
    made._plain.bound = 20
    for n in range(1, 30):
        made(*[x[:1]] * n)
    assert 10 <= len(made._plain) <= 20
