"""Values that follow from those before them, and iterations that do much on few bytes."""

import numpy as np

from suite_programs import loops
from suite_programs.program import assigned, program
from xpdispatch import kernel


def uniform(*shape, low=0.0, high=1.0):
    return np.random.default_rng(0).uniform(low, high, shape)


# -- along an axis --------------------------------------------------------------------------------------------------


@kernel("x[:n,c], y[:n,c] -> y[:n,c]")
def recursive_filter(xp, x, y, b, a1, a2):
    y[0, :] = b * x[0, :]
    y[1, :] = b * x[1, :] + a1 * y[0, :]
    for n in range(2, x.shape[0]):
        y[n, :] = b * x[n, :] + a1 * y[n - 1, :] + a2 * y[n - 2, :]


@program(
    recursive_filter,
    arguments=lambda n, channels: (uniform(n, channels), 0.1, 1.2, -0.4),
    small=(20, 100),
    middle=(200, 4000),
    large=(200, 30_000),
    group="loops",
    loop=loops.iir,
)
def iir(call, x, b, a1, a2):
    y = x.copy()
    call.recursive_filter(x, y, b, a1, a2)
    return y


@kernel("a[:n,j], b[:n,j], c[:n,j], d[:n,j], x[:n,j] -> x[:n,j]")
def tridiagonal(xp, a, b, c, d, x):
    """Thomas' method: down with the ratios, and up again."""
    ratios = [c[0, :] / b[0, :]]
    x[0, :] = d[0, :] / b[0, :]
    for k in range(1, d.shape[0]):
        left = b[k, :] - a[k, :] * ratios[-1]
        ratios.append(c[k, :] / left)
        x[k, :] = (d[k, :] - a[k, :] * x[k - 1, :]) / left
    for k in range(d.shape[0] - 2, -1, -1):
        x[k, :] -= ratios[k] * x[k + 1, :]


@program(
    tridiagonal,
    arguments=lambda n, columns: (
        uniform(n, columns),
        uniform(n, columns, low=3.0, high=4.0),
        uniform(n, columns),
        uniform(n, columns),
    ),
    small=(15, 100),
    middle=(80, 6000),
    large=(80, 60_000),
    group="loops",
    loop=loops.thomas,
)
def vertical_advection(call, a, b, c, d):
    x = d.copy()
    call.tridiagonal(a, b, c, d, x)
    return x


@kernel("d[i,j], column[i], row[j] -> shorter[i,j]")
def by_way_of(xp, d, column, row):
    return xp.minimum(d, column[:, None] + row[None, :])


@program(
    by_way_of,
    by_hand={"by_way_of": assigned(by_way_of)},
    arguments=lambda n: (uniform(n, n, low=1.0, high=100.0),),
    small=(20,),
    middle=(150,),
    large=(450,),
    group="loops",
    loop=loops.floyd_warshall,
)
def floyd_warshall(call, d):
    d = d.copy()
    for k in range(len(d)):
        call.by_way_of(d, d[:, k], d[k, :], out=d)
    return d


# -- much work on few bytes -----------------------------------------------------------------------------------------


@kernel("c[i,j] -> counts[i,j]")
def steps_until_far(xp, c, steps):
    z, counts = c, xp.zeros(c.shape, dtype=xp.int64)
    for _ in range(steps):
        near = xp.real(z) * xp.real(z) + xp.imag(z) * xp.imag(z) < 4
        counts = counts + xp.where(near, 1, 0)
        z = xp.where(near, z * z + c, z)
    return counts


def plane(n, steps):
    x, y = np.linspace(-2, 0.6, n), np.linspace(-1.2, 1.2, n)
    return x[None, :] + 1j * y[:, None], steps


@program(
    steps_until_far,
    arguments=plane,
    small=(20, 5),
    middle=(150, 50),
    large=(400, 100),
    loop=loops.mandelbrot,
)
def mandelbrot(call, c, steps):
    return call.steps_until_far(c, steps)


@kernel("z[i], weight[i], h[:n,:n], y[:n,:m] -> sum p0[:n,:m], sum p1[:n,:m]")
def resolvents(xp, z, weight, h, y):
    """Of h at each point z, applied to y: the sums with a weight, and with the weight times z."""
    shifted = z[:, None, None] * xp.eye(h.shape[0], dtype=h.dtype) - h
    x = weight[:, None, None] * xp.linalg.solve(shifted, xp.broadcast_to(y, (len(z), *y.shape)))
    return xp.sum(x, axis=0), xp.sum(z[:, None, None] * x, axis=0)


def contour(points, n, m):
    z = np.exp(2j * np.pi * (np.arange(points) + 0.5) / points)
    return z, z / points, uniform(n, n).astype(complex) / n, uniform(n, m).astype(complex)


@program(
    resolvents,
    arguments=contour,
    small=(4, 10, 4),
    middle=(32, 60, 10),
    large=(100, 160, 20),
    blas=True,
    on_legate=False,  # cuPyNumeric's solve is wrong for a right side that is broadcast
)
def contour_integral(call, z, weight, h, y):
    return call.resolvents(z, weight, h, y)
