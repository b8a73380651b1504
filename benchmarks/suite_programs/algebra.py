"""Products of matrices and vectors, and two factorizations that go from column to column."""

import numpy as np

from suite_programs import loops
from suite_programs.program import assigned, program
from xpdispatch import kernel


def draw(*shapes):
    rng = np.random.default_rng(0)
    return tuple(rng.random(shape) for shape in shapes)


@kernel("a[i,:n], x[:n] -> y[i]")
def forward(xp, a, x):
    return a @ x


@kernel("a[i,:n], x[i] -> sum y[:n]")
def backward(xp, a, x):
    return x @ a


@kernel("a[m,:k], b[:k,n] -> c[m,n]")
def product(xp, a, b):
    return a @ b


@kernel("a[m,:k], b[:k,n], c[m,n] -> d[m,n]")
def scaled_product(xp, a, b, c, alpha, beta):
    return alpha * (a @ b) + beta * c


def first_product(a, b, *_):
    return lambda: a @ b


# -- products of matrices -----------------------------------------------------------------------------------------


@program(
    scaled_product,
    arguments=lambda n: (*draw((n, n), (n, n), (n, n)), 1.5, 1.2),
    small=(80,),
    middle=(500,),
    large=(1200,),
    blas=True,
    limit=first_product,
)
def gemm(call, a, b, c, alpha, beta):
    return call.scaled_product(a, b, c, alpha, beta)


@program(
    product,
    scaled_product,
    arguments=lambda n: (*draw((n, n), (n, n), (n, n), (n, n)), 1.5, 1.2),
    small=(70,),
    middle=(400,),
    large=(1000,),
    blas=True,
    limit=lambda a, b, c, *_: lambda: a @ b @ c,
)
def two_products(call, a, b, c, d, alpha, beta):
    return call.scaled_product(call.product(a, b), c, d, alpha, beta)


@program(
    product,
    arguments=lambda n: draw((n, n), (n, n), (n, n), (n, n)),
    small=(60,),
    middle=(400,),
    large=(800,),
    blas=True,
    limit=lambda a, b, c, d: lambda: (a @ b) @ (c @ d),
)
def three_products(call, a, b, c, d):
    return call.product(call.product(a, b), call.product(c, d))


@kernel("a[i,:k], b[:n,:k], c[i,:n] -> d[i,:n]")
def rank_update(xp, a, b, c, alpha, beta):
    return alpha * (a @ b.T) + beta * c


@program(
    rank_update,
    arguments=lambda n: (*draw((n, n), (n, n)), 1.5, 1.2),
    small=(90,),
    middle=(500,),
    large=(1400,),
    blas=True,
    limit=lambda a, *_: lambda: a @ a.T,
)
def syrk(call, a, c, alpha, beta):
    return call.rank_update(a, a, c, alpha, beta)


# -- matrices and vectors -----------------------------------------------------------------------------------------


@kernel("a[i,:n], x[:n] -> sum y[:n]")
def normal_product(xp, a, x):
    return (a @ x) @ a


@program(
    normal_product,
    arguments=lambda n: draw((n, n), n),
    small=(400,),
    middle=(2000,),
    large=(6000,),
    blas=True,
)
def atax(call, a, x):
    return call.normal_product(a, x)


@kernel("a[i,:n], p[:n], r[i] -> sum s[:n], q[i]")
def both_products(xp, a, p, r):
    return r @ a, a @ p


@program(
    both_products,
    arguments=lambda n: draw((n, n), n, n),
    small=(400,),
    middle=(2000,),
    large=(6000,),
    blas=True,
)
def bicg(call, a, p, r):
    return call.both_products(a, p, r)


@kernel("x[i], a[i,:n], y[:n] -> z[i]")
def plus_forward(xp, x, a, y):
    return x + a @ y


@kernel("x[j], a[:n,j], y[:n] -> z[j]")
def plus_backward(xp, x, a, y):
    return x + y @ a


@program(
    plus_forward,
    plus_backward,
    arguments=lambda n: draw((n, n), n, n, n, n),
    small=(400,),
    middle=(2000,),
    large=(6000,),
    blas=True,
)
def mvt(call, a, x1, x2, y1, y2):
    return call.plus_forward(x1, a, y1), call.plus_backward(x2, a, y2)


@kernel("a[i,:n], b[i,:n], x[:n] -> y[i]")
def sum_of_products(xp, a, b, x, alpha, beta):
    return alpha * (a @ x) + beta * (b @ x)


@program(
    sum_of_products,
    arguments=lambda n: (*draw((n, n), (n, n), n), 1.5, 1.2),
    small=(350,),
    middle=(1500,),
    large=(4500,),
    blas=True,
)
def gesummv(call, a, b, x, alpha, beta):
    return call.sum_of_products(a, b, x, alpha, beta)


@kernel("a[i,j], u1[i], v1[j], u2[i], v2[j] -> b[i,j]")
def rank_two(xp, a, u1, v1, u2, v2):
    return a + u1[:, None] * v1[None, :] + u2[:, None] * v2[None, :]


@kernel("x[i], z[i] -> y[i]")
def scaled_sum(xp, x, z, beta):
    return beta * x + z


@program(
    rank_two,
    backward,
    forward,
    scaled_sum,
    arguments=lambda n: (*draw((n, n), n, n, n, n, n, n), 1.2 / n),
    small=(150,),
    middle=(1000,),
    large=(3000,),
    blas=True,
)
def gemver(call, a, u1, v1, u2, v2, y, z, beta):
    b = call.rank_two(a, u1, v1, u2, v2)
    x = call.scaled_sum(call.backward(b, y), z, beta)
    return b, x, call.forward(b, x)


# -- from column to column ------------------------------------------------------------------------------------------


@kernel("row[:j], d[] -> p[]")
def pivot(xp, row, d):
    return xp.sqrt(d - row @ row)


@kernel("a[i], left[i,:j], row[:j], p[] -> column[i]")
def next_column(xp, a, left, row, p):
    return (a - left @ row) / p


def positive_definite(n):
    (a,) = draw((n, n))
    return (a @ a.T + n * np.eye(n),)


@program(
    pivot,
    next_column,
    by_hand={"next_column": assigned(next_column)},
    arguments=positive_definite,
    small=(20,),
    middle=(250,),
    large=(1000,),
    blas=True,
    group="loops",
    loop=loops.cholesky,
    on_legate=False,  # tens of thousands of launches of a few elements each
)
def cholesky(call, a):
    low = np.zeros_like(a)
    for j in range(len(a)):
        p = call.pivot(low[j, :j], a[j, j])
        call.next_column(a[j:, j], low[j:, :j], low[j, :j], p, out=low[j:, j])
    return low


@kernel("r[i], y[i] -> sum s[]")
def dot(xp, r, y):
    return xp.sum(r * y)


@kernel("y[i], turned[i] -> z[i]")
def reflected(xp, y, turned, alpha):
    return y + alpha * turned


@program(
    dot,
    reflected,
    by_hand={"reflected": assigned(reflected)},
    arguments=lambda n: (0.5 ** np.arange(1.0, n + 1) + 1e-3 * draw(n)[0],),
    small=(20,),
    middle=(300,),
    large=(2000,),
    group="loops",
    loop=loops.durbin,
    on_legate=False,  # each step waits for a number
)
def durbin(call, r):
    y = np.empty_like(r)
    y[0] = alpha = -float(r[0])
    beta = 1.0
    for k in range(1, len(r)):
        beta *= 1 - alpha**2
        alpha = -(float(r[k]) + float(call.dot(r[:k], y[k - 1 :: -1]))) / beta
        call.reflected(y[:k], y[k - 1 :: -1], alpha, out=y[:k])
        y[k] = alpha
    return y
