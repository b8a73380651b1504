"""Columns of data: their moments, counts, prices and distances."""

import numpy as np

from suite_programs import loops
from suite_programs.program import program
from table import black_scholes as price
from table import counted
from table import histogram as counts_of_bins
from xpdispatch import kernel


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape) + 1


def uniform(n, *ranges):
    rng = np.random.default_rng(0)
    return tuple(rng.uniform(low, high, n) for low, high in ranges)


# -- moments --------------------------------------------------------------------------------------------------------


@kernel("x[i] -> sum s[]")
def total(xp, x):
    return xp.sum(x)


@kernel("x[i], mean[] -> sum s[]")
def squares_about(xp, x, mean):
    return xp.sum((x - mean) ** 2)


@program(
    total,
    squares_about,
    arguments=lambda n: (normal(n),),
    small=(40_000,),
    middle=(1_000_000,),
    large=(12_000_000,),
)
def variance(call, x):
    return call.squares_about(x, call.total(x) / len(x)) / len(x)


@kernel("x[i] -> max m[]")
def largest(xp, x):
    return xp.max(x)


@kernel("x[i], m[] -> sum s[]")
def exponentials(xp, x, m):
    return xp.sum(xp.exp(x - m))


@kernel("m[], s[] -> l[]")
def put_together(xp, m, s):
    return m + xp.log(s)


@program(
    largest,
    exponentials,
    put_together,
    arguments=lambda n: (normal(n),),
    small=(20_000,),
    middle=(500_000,),
    large=(6_000_000,),
)
def logsumexp(call, x):
    m = call.largest(x)
    return call.put_together(m, call.exponentials(x, m))


@kernel("x[i,:k] -> sum s[:k], sum q[:k]")
def moments(xp, x):
    return xp.sum(x, axis=0), xp.sum(x * x, axis=0)


@kernel("x[i,:k], mean[:k], spread[:k] -> z[i,:k]")
def standardized(xp, x, mean, spread):
    return (x - mean) / spread


def mean_and_spread(call, x):
    s, q = call.moments(x)
    mean = s / len(x)
    return mean, (q / len(x) - mean**2) ** 0.5


@program(
    moments,
    standardized,
    arguments=lambda n, k: (normal(n, k),),
    small=(800, 8),
    middle=(20_000, 16),
    large=(400_000, 16),
)
def z_score(call, x):
    return call.standardized(x, *mean_and_spread(call, x))


@kernel("x[i,:k] -> sum s[:k]")
def column_sums(xp, x):
    return xp.sum(x, axis=0)


@kernel("x[i,:k], mean[:k] -> sum c[:k,:k]")
def products_about(xp, x, mean):
    away = x - mean
    return away.T @ away


@program(
    column_sums,
    products_about,
    arguments=lambda n, k: (normal(n, k),),
    small=(1000, 8),
    middle=(20_000, 32),
    large=(150_000, 64),
    blas=True,
)
def covariance(call, x):
    return call.products_about(x, call.column_sums(x) / len(x)) / (len(x) - 1)


@kernel("x[i,:k], mean[:k], spread[:k] -> sum c[:k,:k]")
def standardized_products(xp, x, mean, spread):
    away = (x - mean) / spread
    return away.T @ away


@program(
    moments,
    standardized_products,
    arguments=lambda n, k: (normal(n, k),),
    small=(800, 8),
    middle=(20_000, 32),
    large=(100_000, 64),
    blas=True,
)
def correlation(call, x):
    return call.standardized_products(x, *mean_and_spread(call, x)) / len(x)


# -- counts ---------------------------------------------------------------------------------------------------------


def integers(n, bins):
    return np.random.default_rng(0).integers(0, bins, n), bins


def plain_histogram(xp, data, bins):
    return counts_of_bins.__wrapped__(xp, data, bins).astype(np.int64, copy=False)  # cuPyNumeric counts in uint64


@program(
    counts_of_bins,
    by_hand={"histogram": plain_histogram},
    arguments=integers,
    small=(8000, 8),
    middle=(500_000, 8),
    large=(12_000_000, 8),
    loop=loops.histogram,
)
def histogram(call, data, bins):
    return call.histogram(data, bins)


def plain_bincount(xp, data, bins):
    return xp.bincount(data, minlength=bins)


@program(
    counted,
    by_hand={"histogram": plain_bincount},
    arguments=integers,
    small=(30_000, 100),
    middle=(1_000_000, 100),
    large=(20_000_000, 100),
    loop=loops.histogram,
)
def histogram_by_bincount(call, data, bins):
    return call.histogram(data, bins)


# -- one element at a time ------------------------------------------------------------------------------------------


@program(
    price,
    arguments=lambda n: uniform(n, (0.5, 1.5), (0.5, 1.5), (0.1, 1.1)),
    small=(3000,),
    middle=(150_000,),
    large=(3_000_000,),
)
def black_scholes(call, spot, strike, years):
    return call.black_scholes(spot, strike, years)


@kernel("latitude[i], longitude[i], other_latitude[i], other_longitude[i] -> distance[i]")
def along_the_earth(xp, latitude, longitude, other_latitude, other_longitude):
    up = xp.sin((other_latitude - latitude) / 2)
    across = xp.sin((other_longitude - longitude) / 2)
    chord = up**2 + xp.cos(latitude) * xp.cos(other_latitude) * across**2
    return 2 * 6371.0 * xp.asin(xp.sqrt(chord))


@program(
    along_the_earth,
    arguments=lambda n: uniform(n, (-1.5, 1.5), (-3, 3), (-1.5, 1.5), (-3, 3)),
    small=(1000,),
    middle=(50_000,),
    large=(1_500_000,),
    loop=loops.great_circle,
)
def great_circle(call, latitude, longitude, other_latitude, other_longitude):
    return call.along_the_earth(latitude, longitude, other_latitude, other_longitude)


@kernel("x[i,j], y[i,j] -> z[i,j]")
def clip_and_add(xp, x, y, low, high, a, b, c):
    return xp.clip(x, low, high) * a + y * b + c


def integer_grids(n):
    rng = np.random.default_rng(0)
    return rng.integers(0, 1000, (n, n)), rng.integers(0, 1000, (n, n)), 2, 10, 4, 3, 9


@program(
    clip_and_add,
    arguments=integer_grids,
    small=(150,),
    middle=(700,),
    large=(3500,),
    loop=loops.clipped,
)
def clipping(call, x, y, low, high, a, b, c):
    return call.clip_and_add(x, y, low, high, a, b, c)


@kernel("d[i] -> sum t[]")
def sum_of_tanh(xp, d):
    return xp.sum(xp.tanh(d))


@kernel("a[i,j], t[] -> b[i,j]")
def plus_number(xp, a, t):
    return a + t


@program(
    sum_of_tanh,
    plus_number,
    arguments=lambda n: (normal(n, n),),
    small=(300,),
    middle=(1500,),
    large=(5000,),
    loop=loops.trace,
)
def go_fast(call, a):
    return call.plus_number(a, call.sum_of_tanh(a.diagonal()))
