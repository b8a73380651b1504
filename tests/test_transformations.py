"""Kernels under JAX's and torch's transformations: scans, windows, diagonals and keys are the library's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from conftest import make_engine
from xpdispatch import Kernel, kernel


class Case(NamedTuple):
    """A kernel of one array of floats, the same written with the library's functions alone, and the array's shape."""

    kernel: Callable[[Any], Any]
    plain: Callable[[Any, Any], Any]
    shape: tuple[int, ...]


KEYS = np.asarray([2, 0, 2, 3, 2, 0, 5])


def after(xp: Any, a: Any, b: Any) -> Any:
    return a[0] * b[0], b[0] * a[1] + b[1]


@kernel("x[i] -> sum y[..i]")
def scan(xp, x):
    return xp.cumulative_sum(x)


@kernel("x[i] -> fold f[i..], fold y[i..]", fold=after)
def recurrence(xp, x):
    f, y, step = xp.ones_like(x) / 2, x, 1
    while step < x.shape[0]:
        both = after(xp, (f[:-step], y[:-step]), (f[step:], y[step:]))
        f, y = (xp.concat([new, old[-step:]]) for new, old in zip(both, (f, y), strict=True))
        step *= 2
    return f, y


@kernel("x[2*i-1..2*i+3] -> y[i]", boundary="reflect")
def strided(xp, x):
    return x[:-4:2] * x[2:-2:2] + x[4::2]


@kernel("x[b*i..b*i+w-1] -> y[i]", boundary="valid")
def windowed(xp, x, b, w):
    count = x.shape[0] - w + 1
    return sum(x[k : k + count : b] ** 2 for k in range(w))


@kernel("A[i, i], u[i-1..i, j-1..j] -> y[i, j]", boundary=("wrap", 2.0))
def diagonal(xp, A, u):
    return A[:, None] * u[1:, 1:] + u[:-1, :-1]


def scatter(op: str) -> Kernel:
    return kernel(f"x[i], g[i] -> {op} y[@g=n]", dtype="x")(lambda xp, x, g, n: x * x)


@kernel("p[i], t[@p] -> y[i]")
def gather(xp, p, t):
    return t * t


def keys_like(x: Any) -> Any:
    """The keys in the library of an array."""
    if type(x).__module__.startswith("torch"):
        import torch

        return torch.asarray(KEYS)
    import jax.numpy as jnp

    return jnp.asarray(KEYS)


def by_hand(op: str) -> Callable[[Any, Any], Any]:
    """What a scatter gives, cell by cell."""

    def plain(xp: Any, x: Any) -> Any:
        least = {"sum": 0.0, "prod": 1.0, "max": -np.inf, "min": np.inf}[op]
        cells = []
        for c in range(7):
            places = np.flatnonzero(np.equal(KEYS, c))
            found = [x[int(k)] ** 2 for k in places]
            total = found[0] if found else 0 * x[0] + least
            for value in found[1:]:
                total = {
                    "sum": lambda a, b: a + b,
                    "prod": lambda a, b: a * b,
                    "max": lambda a, b: xp.where(b > a, b, a),
                    "min": lambda a, b: xp.where(b < a, b, a),
                }[op](total, value)
            cells.append(total)
        return xp.stack(cells)

    return plain


def halves(xp: Any, x: Any) -> Any:
    y = [x[-1]]
    for k in range(x.shape[0] - 2, -1, -1):
        y.insert(0, 0.5 ** (x.shape[0] - 1 - k) * x[k] + y[0])
    return xp.stack(y)


def reflected(xp: Any, x: Any) -> Any:
    padded = xp.concatenate([x[1:2], x, x[-2:-1], x[-3:-2]])
    return padded[:-4:2] * padded[2:-2:2] + padded[4::2]


def wrapped(xp: Any, x: Any) -> Any:
    above = xp.concatenate([x[-1:, :], x[:-1, :]])
    left = xp.concatenate([0 * x[:, :1] + 2.0, above[:, :-1]], axis=1)
    return xp.diagonal(x)[:, None] * x + left


CASES = {
    "scan": Case(scan, lambda xp, x: xp.cumsum(x, 0), (7,)),
    "recurrence": Case(lambda x: recurrence(x)[1], halves, (7,)),
    "strided window": Case(strided, reflected, (8,)),
    "windows of named sizes": Case(
        lambda x: windowed(x, 2, 3), lambda xp, x: x[:-2:2] ** 2 + x[1:-1:2] ** 2 + x[2::2] ** 2, (9,)
    ),
    "diagonal": Case(lambda x: diagonal(x, x), wrapped, (4, 4)),
    "gather": Case(lambda x: gather(keys_like(x), x), lambda xp, x: x[KEYS] ** 2, (7,)),
} | {
    f"scatter, {op}": Case(lambda x, op=op: scatter(op)(x, keys_like(x), 7), by_hand(op), (7,))
    for op in ("sum", "prod", "max", "min")
}


@pytest.mark.parametrize("name", CASES)
def test_jax(name: str) -> None:
    make_engine("jax")
    import jax
    import jax.numpy as jnp

    made, plain, shape = CASES[name]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, *shape)))

    def expected(x: Any) -> Any:
        return plain(jnp, x)

    def loss(function: Any) -> Any:
        def of(x: Any) -> Any:
            y = function(x)
            return jnp.sum(jnp.where(jnp.isfinite(y), y, 0.0) ** 2)

        return of

    np.testing.assert_allclose(jax.jit(made)(x[0]), expected(x[0]))
    np.testing.assert_allclose(jax.grad(loss(made))(x[0]), jax.grad(loss(expected))(x[0]))
    np.testing.assert_allclose(jax.vmap(made)(x), jax.vmap(expected)(x))
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(loss(made))))(x), jax.vmap(jax.grad(loss(expected)))(x))


@pytest.mark.parametrize("name", CASES)
def test_torch(name: str) -> None:
    make_engine("torch")
    import torch

    made, plain, shape = CASES[name]
    x = torch.asarray(np.random.default_rng(0).normal(size=(3, *shape)))

    def expected(x: Any) -> Any:
        return plain(torch, x)

    def loss(function: Any) -> Any:
        def of(x: Any) -> Any:
            y = function(x)
            return torch.sum(torch.where(torch.isfinite(y), y, 0.0) ** 2)

        return of

    slopes = torch.func.grad(loss(expected))
    np.testing.assert_allclose(torch.func.grad(loss(made))(x[0]), slopes(x[0]))
    np.testing.assert_allclose(torch.vmap(made)(x), torch.vmap(expected)(x))
    np.testing.assert_allclose(torch.vmap(torch.func.grad(loss(made)))(x), torch.vmap(slopes)(x))
    leaf = x[0].clone().requires_grad_()
    loss(made)(leaf).backward()
    np.testing.assert_allclose(leaf.grad, slopes(x[0]))
