"""Layers of neural networks, forwards."""

import numpy as np

from suite_programs.program import program
from table import softmax as rows_softmax
from xpdispatch import kernel


def draw(*shapes):
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=shape) for shape in shapes)


@program(
    rows_softmax,
    arguments=lambda m, n: draw((m, n)),
    small=(100, 100),
    middle=(600, 700),
    large=(3000, 2500),
)
def softmax(call, x):
    return call.softmax(x)


@kernel("x[i,:n], scale[:n], shift[:n] -> y[i,:n]")
def normalized(xp, x, scale, shift):
    away = x - xp.mean(x, axis=1, keepdims=True)
    spread = xp.mean(away * away, axis=1, keepdims=True)
    return away / xp.sqrt(spread + 1e-5) * scale + shift


@program(
    normalized,
    arguments=lambda m, n: draw((m, n), n, n),
    small=(80, 60),
    middle=(700, 800),
    large=(3000, 2000),
)
def layer_norm(call, x, scale, shift):
    return call.normalized(x, scale, shift)


@kernel("x[i,:n], w[:n,:m], b[:m] -> y[i,:m]")
def dense(xp, x, w, b):
    return xp.maximum(x @ w + b, 0)


@program(
    dense,
    rows_softmax,
    arguments=lambda batch, n, hidden: draw(
        (batch, n), (n, hidden), hidden, (hidden, hidden), hidden, (hidden, 10), 10
    ),
    small=(30, 50, 40),
    middle=(800, 300, 300),
    large=(3000, 784, 400),
    blas=True,
    limit=lambda x, w1, b1, w2, *_: lambda: x @ w1 @ w2,
)
def network(call, x, w1, b1, w2, b2, w3, b3):
    hidden = call.dense(call.dense(x, w1, b1), w2, b2)
    return call.softmax(call.dense(hidden, w3, b3))


@kernel("q[i,:d], k[:n,:d], v[:n,:d] -> y[i,:d]")
def attend(xp, q, k, v):
    score = q @ k.T / k.shape[1] ** 0.5
    weight = xp.exp(score - xp.max(score, axis=1, keepdims=True))
    return weight @ v / xp.sum(weight, axis=1, keepdims=True)


@program(
    attend,
    arguments=lambda n, d: draw((n, d), (n, d), (n, d)),
    small=(60, 16),
    middle=(600, 64),
    large=(3000, 64),
    blas=True,
    limit=lambda q, k, v: lambda: (q @ k.T) @ v,
)
def attention(call, q, k, v):
    return call.attend(q, k, v)


@kernel("x[b,i..i+2,j..j+2,:c], w[:3,:3,:c,:o] -> y[b,i,j,:o]", boundary="valid")
def convolved(xp, x, w):
    rows, columns = x.shape[1] - 2, x.shape[2] - 2
    return sum(x[:, i : i + rows, j : j + columns, :] @ w[i, j] for i in range(3) for j in range(3))


@program(
    convolved,
    arguments=lambda batch, n, channels: draw((batch, n, n, channels), (3, 3, channels, channels)),
    small=(2, 8, 4),
    middle=(8, 48, 8),
    large=(16, 96, 16),
    blas=True,
)
def convolution(call, x, w):
    return call.convolved(x, w)
