"""Kernels that are right however their arrays are cut, some of which look as if they were not.

``make(rng)`` makes the kernel and its arguments anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from xpdispatch import In, InOut, Kernel, Out, Reduce, align, broadcast, kernel

Call = tuple[Kernel, tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Right:
    """A right kernel with arguments: ``make(rng)`` returns kernel, args and kwargs."""

    name: str
    make: Callable[[np.random.Generator], Call]


RIGHT: list[Right] = []


def right(make: Callable[[np.random.Generator], Call]) -> Callable[[np.random.Generator], Call]:
    RIGHT.append(Right(make.__name__.replace("_", " "), make))
    return make


def size(rng: np.random.Generator, low: int = 7, high: int = 48) -> int:
    return int(rng.integers(low, high))


def vector(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=size(rng))


def table(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(size(rng, 5, 20), size(rng, 5, 20)))


def uniform(xp, position, seed):
    """Numbers in [0, 1) from global positions alone: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    h = xp.astype(position, xp.uint64) + xp.asarray(seed, dtype=xp.uint64)
    h = h * xp.asarray(0x9E3779B97F4A7C15, dtype=xp.uint64)
    h = (h ^ (h >> 30)) * xp.asarray(0xBF58476D1CE4E5B9, dtype=xp.uint64)
    h = (h ^ (h >> 27)) * xp.asarray(0x94D049BB133111EB, dtype=xp.uint64)
    return xp.astype((h ^ (h >> 31)) >> 11, xp.float64) / 2.0**53


# -- the five programs ----------------------------------------------------------------------------------------------


@right
def copy(rng):
    @kernel("src[...] -> dst[...]")
    def copy(xp, src):
        return xp.asarray(src, copy=True)

    return copy, (rng.normal(size=(size(rng, 5, 9), 4, 3)),), {}


@right
def saxpy(rng):
    @kernel("x[i], y[i] -> z[i]")
    def saxpy(xp, x, y, a):
        return a * x + y

    x = vector(rng)
    return saxpy, (x, rng.normal(size=x.size), 2.0), {}


@right
def histogram(rng):
    @kernel("data[i] -> sum hist[:bins]")
    def histogram(xp, data, bins):
        return xp.sum(xp.astype(data[:, None] == xp.arange(bins)[None, :], xp.int64), axis=0)

    return histogram, (rng.integers(0, 9, size(rng)), 9), {}


@right
def matmul(rng):
    @kernel("A[m, k], B[k, n] -> sum C[m, n]")
    def matmul(xp, A, B):
        return A @ B

    A = table(rng)
    return matmul, (A, rng.normal(size=(A.shape[1], size(rng)))), {}


@right
def fft2(rng):
    @kernel("src[b, :, :] -> dst[b, :, :]")
    def fft2(xp, src):
        return xp.fft.fftn(src, axes=(1, 2))

    return fft2, (rng.normal(size=(size(rng), 4, 6)) + 0j,), {}


# -- every form of axis ---------------------------------------------------------------------------------------------


@right
def broadcast_operands(rng):
    @kernel("x[...], y[...] -> z[...]")
    def hypot(xp, x, y):
        return xp.sqrt(x * x + y * y)

    n = size(rng, 5, 12)
    return hypot, (rng.normal(size=(4, 1, n)), rng.normal(size=(5, 1))), {}


@right
def outer_product(rng):
    @kernel("x[i], y[j] -> z[i, j]")
    def outer(xp, x, y):
        return x[:, None] * y[None, :]

    return outer, (vector(rng), vector(rng)), {}


@right
def indices_in_mixed_order(rng):
    @kernel("A[i, j], B[j, i], v[i] -> sum z[i]")
    def rows_of_product(xp, A, B, v):
        return xp.sum(A * B.T, axis=1) * v

    A = table(rng)
    return rows_of_product, (A, rng.normal(size=A.shape[::-1]), rng.normal(size=A.shape[0])), {}


@right
def named_extents(rng):
    @kernel("A[b, :n, :] -> spectrum[b, :n//2+1, :], total[b]")
    def spectrum(xp, A):
        return xp.fft.rfft(A, axis=1), xp.sum(A, axis=(1, 2))

    return spectrum, (rng.normal(size=(size(rng), 6, 3)),), {}


@right
def reductions_by_axis(rng):
    @kernel("x[i, j] -> max hi[j], min lo[i], sum s[j]")
    def by_axis(xp, x):
        return xp.max(x, axis=0), xp.min(x, axis=1), xp.sum(x, axis=0)

    return by_axis, (table(rng),), {}


@right
def transposed_axes(rng):
    @kernel("x[i, :n, j] -> y[j, :n, i]")
    def turn(xp, x):
        return xp.permute_dims(xp.cumulative_sum(x, axis=1), (2, 1, 0))

    return turn, (rng.normal(size=(size(rng), 3, size(rng, 5, 12))),), {}


@right
def batched_products(rng):
    @kernel("A[..., m, :k], B[..., :k, n] -> C[..., m, n]")
    def products(xp, A, B):
        return A @ B

    n = size(rng)
    return products, (rng.normal(size=(n, 3, 4)), rng.normal(size=(4, 2))), {}


@right
def zero_dimensional_operands(rng):
    @kernel("x[i], lo[], hi[] -> y[i]")
    def clamp(xp, x, lo, hi):
        return xp.where(x < lo, lo, xp.where(x > hi, hi, x))

    return clamp, (vector(rng), np.asarray(-0.5), np.asarray(0.5)), {}


@right
def several_axes_without_operands(rng):
    @kernel("-> z[i=n, j=m]")
    def ramp(xp, tile, n, m):
        return tile.coords("i")[:, None] * 100 + tile.coords("j")[None, :]

    return ramp, (size(rng), size(rng, 5, 12)), {}


@right
def results_cast_before_combining(rng):
    @kernel("x[i] -> sum s[]", dtype="int64")
    def positive(xp, x):
        return xp.sum(xp.astype(x > 0, xp.int8))

    return positive, (rng.normal(size=400),), {}


# -- numbers --------------------------------------------------------------------------------------------------------


@right
def sum_with_cancellation(rng):
    @kernel("x[i] -> sum s[]")
    def total(xp, x):
        return xp.sum(x)

    large = rng.choice([1e16, -1e16], size=size(rng))
    return total, (np.concatenate([large, rng.normal(size=size(rng)), -large]),), {}


@right
def product_with_cancellation(rng):
    @kernel("A[i, k], x[k] -> sum y[i]")
    def matvec(xp, A, x):
        return A @ x

    half = rng.normal(size=(5, size(rng)))
    A = np.concatenate([1e9 * half, rng.normal(size=(5, 3)), -1e9 * half], axis=1)
    return matvec, (A, np.ones(A.shape[1])), {}


@right
def badly_scaled_columns(rng):
    @kernel("x[i, j] -> sum s[j], max hi[j]")
    def columns(xp, x):
        return xp.sum(x, axis=0), xp.max(x, axis=0)

    return columns, (rng.normal(size=(size(rng), 9)) * 10.0 ** np.linspace(-200, 200, 9),), {}


@right
def badly_scaled_rows(rng):
    @kernel("x[i, :n] -> y[i, :n], norm[i]")
    def normalise(xp, x):
        high = xp.max(xp.abs(x), axis=1)
        norm = high * xp.sqrt(xp.sum((x / high[:, None]) ** 2, axis=1))
        return x / norm[:, None], norm

    n = size(rng)
    return normalise, (rng.normal(size=(n, 5)) * 10.0 ** np.linspace(-200, 200, n)[:, None],), {}


@right
def half_precision(rng):
    @kernel("x[i] -> y[i]")
    def gelu(xp, x):
        return x / (1 + xp.exp(-1.702 * x))

    return gelu, (vector(rng).astype(np.float16),), {}


@right
def half_precision_sum(rng):
    @kernel("x[i] -> sum s[]")
    def total(xp, x):
        return xp.sum(x)

    return total, (vector(rng).astype(np.float16),), {}


@right
def single_precision_matmul(rng):
    @kernel("A[m, k], B[k, n] -> sum C[m, n]")
    def matmul(xp, A, B):
        return A @ B

    k = size(rng)
    return matmul, (rng.normal(size=(6, k)).astype(np.float32), rng.normal(size=(k, 5)).astype(np.float32)), {}


@right
def complex_elementwise(rng):
    @kernel("z[i], c[i] -> w[i], escaped[i]")
    def julia(xp, z, c):
        for _ in range(3):
            z = z * z + c
        return z, xp.abs(z) > 2

    n = size(rng)
    return julia, (rng.normal(size=n) + 1j * rng.normal(size=n), rng.normal(size=n) * 0.1j), {}


@right
def complex_sum_and_product(rng):
    @kernel("z[i] -> sum s[], prod p[]")
    def both(xp, z):
        return xp.sum(z), xp.prod(z)

    return both, (np.exp(1j * vector(rng)),), {}


@right
def long_sum(rng):
    @kernel("x[i] -> sum s[], sum squares[]")
    def sums(xp, x):
        return xp.sum(x), xp.sum(x * x)

    return sums, (rng.normal(size=10**6),), {}


@right
def long_sum_of_floats(rng):
    @kernel("x[i] -> sum s[]")
    def total(xp, x):
        return xp.sum(x)

    return total, (rng.random(10**6, dtype=np.float32),), {}


@right
def extremes_with_nan(rng):
    @kernel("x[i] -> max hi[], min lo[]")
    def extremes(xp, x):
        return xp.max(x), xp.min(x)

    x = vector(rng)
    x[rng.integers(x.size, size=2)] = np.nan
    return extremes, (x,), {}


@right
def largest_of_what_is_no_nan(rng):
    @kernel("x[i] -> max hi[], sum count[]")
    def largest(xp, x):
        missing = xp.isnan(x)
        return xp.max(xp.where(missing, -xp.inf, x)), xp.count_nonzero(~missing)

    x = vector(rng)
    x[rng.integers(x.size, size=3)] = np.nan
    return largest, (x,), {}


@right
def any_and_all(rng):
    @kernel("x[i, j] -> any some[j], all every[i]")
    def truth(xp, x):
        return xp.any(x, axis=0), xp.all(x, axis=1)

    return truth, (rng.random((size(rng, 5, 20), 6)) < 0.7,), {}


@right
def exclusive_or(rng):
    @kernel("x[i] -> xor bits[]")
    def parity(xp, x):
        bits = xp.zeros((), dtype=x.dtype)
        for n in range(x.shape[0]):
            bits = bits ^ x[n]
        return bits

    return parity, (rng.integers(0, 1000, size(rng)),), {}


@right
def integers_that_wrap(rng):
    @kernel("x[i] -> sum s[]")
    def checksum(xp, x):
        return xp.sum(x * x, dtype=xp.uint8)

    return checksum, (rng.integers(0, 256, size(rng)).astype(np.uint8),), {}


# -- positions ------------------------------------------------------------------------------------------------------


@right
def global_coordinates(rng):
    @kernel("x[i] -> y[i]")
    def detrend(xp, tile, x, slope):
        return x - slope * xp.astype(tile.coords("i"), x.dtype)

    return detrend, (vector(rng), 0.25), {}


@right
def window_over_the_whole(rng):
    @kernel("x[i] -> y[i]")
    def hann(xp, tile, x):
        phase = 2 * math.pi * xp.astype(tile.coords("i"), x.dtype) / tile.total("i")
        return x * (0.5 - 0.5 * xp.cos(phase))

    return hann, (vector(rng),), {}


@right
def mean_by_the_total(rng):
    @kernel("x[i, j] -> sum mean[j]")
    def mean(xp, tile, x):
        return xp.sum(x, axis=0) / tile.total("i")

    return mean, (table(rng),), {}


@right
def alternating_sum(rng):
    @kernel("x[i] -> sum s[]")
    def alternate(xp, tile, x):
        return xp.sum(xp.where(tile.coords("i") % 2 == 0, x, -x))

    return alternate, (vector(rng),), {}


@right
def diagonal(rng):
    @kernel("A[i, j] -> B[i, j], sum trace[]")
    def ridge(xp, tile, A, strength):
        on = tile.coords("i")[:, None] == tile.coords("j")[None, :]
        return xp.where(on, A + strength, A), xp.sum(xp.where(on, A, xp.zeros_like(A)))

    n = size(rng, 5, 20)
    return ridge, (rng.normal(size=(n, n)), 10.0), {}


@right
def first_and_last_cell(rng):
    @kernel("u[i] -> v[i]")
    def pin_the_ends(xp, tile, u):
        v = xp.asarray(2 * u, copy=True)
        if tile.start("i") == 0:
            v[0] = 0.0
        if tile.start("i") + tile.size("i") == tile.total("i"):
            v[-1] = 0.0
        return v

    return pin_the_ends, (vector(rng),), {}


@right
def gather_from_a_whole_table(rng):
    @kernel("place[i], weights[:n] -> y[i]")
    def gather(xp, tile, place, weights):
        return xp.take(weights, place, axis=0) * xp.take(weights, tile.coords("i") % weights.shape[0], axis=0)

    return gather, (rng.integers(0, 7, size(rng)), rng.normal(size=7)), {}


@right
def noise_by_position(rng):
    @kernel("x[i, j] -> y[i, j]")
    def jitter(xp, tile, x, seed):
        place = tile.coords("i")[:, None] * tile.total("j") + tile.coords("j")[None, :]
        return x + uniform(xp, place, seed)

    return jitter, (table(rng), int(rng.integers(1000))), {}


@right
def dropout_by_position(rng):
    @kernel("x[i] -> y[i]")
    def dropout(xp, tile, x, seed):
        return xp.where(uniform(xp, tile.coords("i"), seed) < 0.5, xp.zeros_like(x), 2 * x)

    return dropout, (vector(rng), int(rng.integers(1000))), {}


@right
def monte_carlo_pi(rng):
    @kernel("[i=n] -> sum hits[]")
    def darts(xp, tile, n, seed):
        place = 2 * tile.coords("i")
        x, y = uniform(xp, place, seed), uniform(xp, place + 1, seed)
        return xp.count_nonzero(x * x + y * y < 1)

    return darts, (size(rng, 300, 600), int(rng.integers(1000))), {}


# -- programs -------------------------------------------------------------------------------------------------------


@right
def black_scholes(rng):
    def cdf(xp, d):
        # Abramowitz and Stegun, 26.2.17: seven digits.
        t = 1 / (1 + 0.2316419 * xp.abs(d))
        series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
        tail = xp.exp(-d * d / 2) / math.sqrt(2 * math.pi) * series
        return xp.where(d < 0, tail, 1 - tail)

    @kernel("spot[i], strike[i], years[i] -> call[i], put[i]")
    def black_scholes(xp, spot, strike, years, rate, volatility):
        spread = volatility * xp.sqrt(years)
        d1 = (xp.log(spot / strike) + (rate + volatility**2 / 2) * years) / spread
        discounted = strike * xp.exp(-rate * years)
        call = spot * cdf(xp, d1) - discounted * cdf(xp, d1 - spread)
        return call, call - spot + discounted

    n = size(rng)
    spot, strike = rng.uniform(5, 30, n), rng.uniform(5, 30, n)
    return black_scholes, (spot, strike, rng.uniform(0.25, 10, n), 0.02, 0.3), {}


@right
def softmax_over_whole_rows(rng):
    @kernel("x[i, :] -> p[i, :]")
    def softmax(xp, x):
        e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        return e / xp.sum(e, axis=1, keepdims=True)

    return softmax, (table(rng),), {}


@right
def scaled_by_a_given_maximum(rng):
    @kernel("x[i, j], high[i] -> y[i, j]")
    def normalise(xp, x, high):
        return x / high[:, None]

    x = table(rng)
    return normalise, (x, np.max(np.abs(x), axis=1)), {}


@right
def sorted_and_summed_along_whole_rows(rng):
    @kernel("x[i, :n] -> y[i, :n], walk[i, :n], median[i]")
    def rows(xp, x):
        y = xp.sort(x, axis=1)
        return y, xp.cumulative_sum(x, axis=1), y[:, x.shape[1] // 2]

    return rows, (table(rng),), {}


@right
def pairwise_distances(rng):
    @kernel("a[i, :d], b[j, :d] -> distance[i, j]")
    def distances(xp, a, b):
        return xp.sqrt(xp.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=2))

    return distances, (rng.normal(size=(size(rng), 3)), rng.normal(size=(size(rng), 3))), {}


@right
def k_means_step(rng):
    @kernel("points[i, :d], centers[:k, :d] -> sum sums[:k, :d], sum counts[:k]")
    def step(xp, points, centers):
        distance = xp.sum((points[:, None, :] - centers[None, :, :]) ** 2, axis=2)
        nearest = xp.argmin(distance, axis=1)
        member = xp.astype(nearest[:, None] == xp.arange(centers.shape[0])[None, :], points.dtype)
        return member.T @ points, xp.sum(member, axis=0)

    points = rng.normal(size=(size(rng, 20, 60), 2))
    return step, (points, points[:4].copy()), {}


@right
def gram_matrix(rng):
    @kernel("X[i, :k], mean[:k] -> sum G[:k, :k]")
    def gram(xp, X, mean):
        return (X - mean).T @ (X - mean)

    X = rng.normal(size=(size(rng), 4)) + 3
    return gram, (X, X.mean(axis=0)), {}


@right
def scores_by_a_library_of_kernels(rng):
    @kernel("x[i] -> y[i]")
    def halved(xp, x):
        return x / 2

    @kernel("x[i], mean[], std[] -> z[i]")
    def scores(xp, x, mean, std):
        return 2 * halved(x - mean) / std

    x = vector(rng)
    return scores, (x, np.asarray(x.mean()), np.asarray(x.std())), {}


@right
def branch_that_changes_nothing(rng):
    @kernel("x[i] -> y[i]")
    def magnitude(xp, x):
        if not xp.any(x < 0):  # only a short cut
            return x
        return xp.where(x < 0, -x, x)

    return magnitude, (vector(rng),), {}


@right
def rows_one_by_one(rng):
    @kernel("x[i, :] -> y[i, :]")
    def rows(xp, x):
        y = xp.zeros_like(x)
        for n in range(x.shape[0]):
            y[n, :] = x[n, :] - xp.mean(x[n, :])
        return y

    return rows, (table(rng),), {}


@lru_cache
def taps(count: int) -> tuple[float, ...]:
    return tuple(1 / (n + 1) for n in range(count))


@right
def constants_in_closures_and_scalars(rng):
    gain = np.asarray([0.5, 2.0, 4.0])

    @kernel("x[i, :3] -> y[i]")
    def mix(xp, x, settings, names=("a", "b", "c")):
        weights = xp.asarray(taps(len(names)), dtype=x.dtype) * xp.asarray(gain, dtype=x.dtype)
        return xp.sum(x * weights, axis=1) * settings["scale"] + settings["steps"][-1]

    return mix, (rng.normal(size=(size(rng), 3)), {"scale": 2.0, "steps": [1, 2, 3]}), {}


# -- halos ----------------------------------------------------------------------------------------------------------


@right
def game_of_life(rng):
    @kernel("board[i-1..i+1, j-1..j+1] -> alive[i, j]", boundary="wrap")
    def life(xp, board):
        m, n = board.shape[0] - 2, board.shape[1] - 2
        near = [board[a : a + m, b : b + n] for a in range(3) for b in range(3) if (a, b) != (1, 1)]
        count = sum(near[1:], start=near[0])
        return xp.astype((count == 3) | ((count == 2) & (board[1:-1, 1:-1] == 1)), xp.int8)

    return life, (rng.integers(0, 2, (size(rng, 5, 20), size(rng, 5, 20))).astype(np.int8),), {}


@right
def jacobi_step(rng):
    @kernel("u[i-1..i+1, j-1..j+1], f[i, j] -> v[i, j]", boundary=0.0)
    def jacobi(xp, u, f, h):
        return (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - h**2 * f) / 4

    u = table(rng)
    return jacobi, (u, rng.normal(size=u.shape), 0.5), {}


@right
def five_point_mean(rng):
    @kernel("u[i-1..i+1, j-1..j+1] -> v[i, j]", boundary="edge")
    def smooth(xp, u):
        return (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] + u[1:-1, 1:-1]) / 5

    return smooth, (table(rng),), {}


@right
def two_smoothing_steps(rng):
    @kernel("u[i-2..i+2] -> v[i]", boundary="wrap")
    def smooth_twice(xp, u):
        once = (u[:-2] + u[1:-1] + u[2:]) / 3
        return (once[:-2] + once[1:-1] + once[2:]) / 3

    return smooth_twice, (vector(rng),), {}


@right
def clipped_neighbourhood(rng):
    @kernel("u[i-2..i+1] -> v[i]", boundary="clip")
    def highest(xp, tile, u):
        below, above = tile.halo("u", 0)
        fill = xp.full((1,), -xp.inf, dtype=u.dtype)
        p = xp.concat([fill] * (2 - below) + [u] + [fill] * (1 - above))
        return xp.max(xp.stack([p[:-3], p[1:-2], p[2:-1], p[3:]]), axis=0)

    return highest, (vector(rng),), {}


@right
def wave_equation(rng):
    @kernel("u[i-1..i+1], before[i] -> after[i]", boundary=0.0)
    def step(xp, u, before, courant):
        return 2 * u[1:-1] - before + courant**2 * (u[2:] - 2 * u[1:-1] + u[:-2])

    u = vector(rng)
    return step, (u, 0.9 * u, 0.5), {}


@right
def differences(rng):
    @kernel("x[i..i+1] -> d[i]", boundary="valid")
    def differences(xp, x):
        return x[1:] - x[:-1]

    return differences, (vector(rng),), {}


@right
def moving_average(rng):
    @kernel("x[i..i+6] -> mean[i]", boundary="valid")
    def average(xp, x):
        n = x.shape[0] - 6
        return sum((x[k : k + n] for k in range(1, 7)), start=x[:n]) / 7

    return average, (rng.normal(size=size(rng, 12, 48)),), {}


@right
def total_variation(rng):
    @kernel("x[i..i+1] -> sum tv[]", boundary="valid")
    def variation(xp, x):
        return xp.sum(xp.abs(x[1:] - x[:-1]))

    return variation, (vector(rng),), {}


@right
def trapezoids(rng):
    @kernel("x[i..i+1], y[i..i+1] -> sum area[]", boundary="valid")
    def integrate(xp, x, y):
        return xp.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2)

    x = np.sort(vector(rng))
    return integrate, (x, np.sin(x)), {}


@right
def hillshade(rng):
    @kernel("height[i-1..i+1, j-1..j+1] -> slope[i, j], shade[i, j]", boundary="edge")
    def relief(xp, height, dy, dx, azimuth, altitude):
        down = (height[2:, 1:-1] - height[:-2, 1:-1]) / (2 * dy)
        right = (height[1:-1, 2:] - height[1:-1, :-2]) / (2 * dx)
        steep = xp.sqrt(down * down + right * right)
        # The surface's normal times the direction of the sun.
        sun = math.cos(altitude) * (math.sin(azimuth) * -right + math.cos(azimuth) * down) + math.sin(altitude)
        lit = sun / xp.sqrt(1 + steep * steep)
        return xp.atan(steep), xp.where(lit < 0, xp.zeros_like(lit), lit)

    height = 500 + 20 * np.cumsum(table(rng), axis=0)
    return relief, (height, 30.0, 25.0, math.radians(315), math.radians(45)), {}


@right
def histogram_with_given_edges(rng):
    @kernel("height[i, j], edges[:n] -> sum counts[:n-1]")
    def histogram(xp, height, edges):
        below = xp.searchsorted(xp.sort(xp.reshape(height, (-1,))), edges)
        return below[1:] - below[:-1]

    return histogram, (table(rng), np.linspace(-3.0, 3.0, 9)), {}


# -- blocks and results of unknown size -----------------------------------------------------------------------------


@right
def pooling(rng):
    @kernel("x[2*i, 2*j] -> y[i, j]")
    def pool(xp, x):
        m, n = x.shape
        return xp.max(xp.reshape(x, (m // 2, 2, n // 2, 2)), axis=(1, 3))

    return pool, (rng.normal(size=(2 * size(rng, 5, 12), 2 * size(rng, 5, 12))),), {}


@right
def upsampling(rng):
    @kernel("x[i] -> y[2*i]")
    def double(xp, x):
        return xp.repeat(x, 2)

    return double, (vector(rng),), {}


@right
def haar_wavelet(rng):
    @kernel("x[2*i] -> mean[i], detail[i]")
    def haar(xp, x):
        return (x[::2] + x[1::2]) / 2, (x[::2] - x[1::2]) / 2

    return haar, (rng.normal(size=2 * size(rng)),), {}


@right
def swapped_pairs(rng):
    @kernel("x[2*i] -> y[2*i]")
    def swap(xp, x):
        return xp.reshape(xp.flip(xp.reshape(x, (-1, 2)), axis=1), (-1,))

    return swap, (rng.normal(size=2 * size(rng)),), {}


@right
def stream_compaction(rng):
    @kernel("x[i] -> positive[?], negative[?]")
    def separate(xp, x):
        return x[x > 0], x[x < 0]

    return separate, (vector(rng),), {}


@right
def places_of_what_is_not_zero(rng):
    @kernel("x[i] -> places[?]")
    def nonzero(xp, tile, x):
        return tile.coords("i")[x != 0]

    return nonzero, (rng.integers(-1, 2, size(rng)),), {}


@right
def repeated_by_counts(rng):
    @kernel("x[i], count[i] -> y[?]")
    def decode(xp, x, count):
        return xp.repeat(x, count)

    x = vector(rng)
    return decode, (x, rng.integers(0, 4, x.size)), {}


# -- folds ----------------------------------------------------------------------------------------------------------


@right
def argmax(rng):
    def merge(xp, a, b):
        later = (b[0] > a[0]) | ((b[0] != b[0]) & (a[0] == a[0]))  # the first of ties, and the first NaN
        return xp.where(later, b[0], a[0]), xp.where(later, b[1], a[1])

    @kernel("x[i] -> fold best[], fold place[]", fold=merge)
    def argmax(xp, tile, x):
        return xp.max(x), tile.start("i") + xp.argmax(x)

    return argmax, (np.round(vector(rng)),), {}


@right
def logsumexp(rng):
    def merge(xp, a, b):
        high = xp.where((a[0] > b[0]) | (a[0] != a[0]), a[0], b[0])
        return high, a[1] * xp.exp(a[0] - high) + b[1] * xp.exp(b[0] - high)

    @kernel("x[i] -> fold high[], fold rest[]", fold=merge)
    def logsumexp(xp, x):
        high = xp.max(x)
        return high, xp.sum(xp.exp(x - high))

    return logsumexp, (vector(rng) + 1000,), {}


@right
def mean_and_variance(rng):
    def merge(xp, a, b):
        # Chan, Golub and LeVeque (1979).
        n, step = a[0] + b[0], b[1] - a[1]
        return n, a[1] + step * b[0] / n, a[2] + b[2] + step**2 * a[0] * b[0] / n

    @kernel("x[i, j] -> fold n[j], fold mean[j], fold scatter[j]", fold=merge)
    def moments(xp, x):
        mean = xp.mean(x, axis=0)
        return xp.full_like(mean, x.shape[0]), mean, xp.sum((x - mean) ** 2, axis=0)

    return moments, (table(rng) + 5,), {}


@right
def largest_few(rng):
    @kernel("x[i] -> fold top[:k]", fold=lambda xp, a, b: xp.sort(xp.concat([a, b]))[-a.shape[0] :])
    def top(xp, x, k):
        fill = xp.full((k,), -xp.inf, dtype=x.dtype)
        return xp.sort(xp.concat([fill, x]))[-k:]

    return top, (vector(rng), 4), {}


@right
def first_and_last(rng):
    @kernel("x[i] -> fold ends[:2]", fold=lambda xp, a, b: xp.stack([a[0], b[1]]))
    def ends(xp, x):
        return xp.stack([x[0], x[-1]])

    return ends, (vector(rng),), {}


# -- written arrays and the explicit spelling -----------------------------------------------------------------------


@right
def written_buffers(rng):
    @kernel("x[i] -> z[i], sum s[]", dtype="float64")
    def write(xp, x, z, s):
        z[...] = 2 * x
        s += xp.sum(x)

    return write, (vector(rng),), {}


@right
def given_output(rng):
    @kernel("x[i, j] -> max hi[j]")
    def highest(xp, x):
        return xp.max(x, axis=0)

    x = table(rng)
    return highest, (x,), {"out": np.zeros(x.shape[1])}


@right
def updated_in_place(rng):
    @kernel("u[i, j], v[j] -> u[i, j]")
    def add_row(xp, u, v):
        u += v

    u = table(rng)
    return add_row, (u, rng.normal(size=u.shape[1])), {}


@right
def updated_by_value(rng):
    @kernel("u[i] -> u[i], sum s[]")
    def halve(xp, u):
        return u / 2, xp.sum(u)

    return halve, (vector(rng),), {}


@right
def updated_with_a_halo(rng):
    @kernel("u[i-1..i+1] -> u[i]", boundary="edge")
    def diffuse(xp, u, rate):
        return u[1:-1] + rate * (u[2:] - 2 * u[1:-1] + u[:-2])

    return diffuse, (vector(rng), 0.25), {}


@right
def scratch_of_its_own(rng):
    @kernel("x[i] -> y[i]")
    def cube(xp, x):
        own = xp.asarray(x, copy=True)
        own *= x
        own *= x
        return own

    return cube, (vector(rng),), {}


@right
def explicit_saxpy(rng):
    @kernel(constraints=[align("x", "y", "z")])
    def saxpy(xp, x: In, y: In, z: Out, a: float):
        z[...] = a * x + y

    x = table(rng)
    return saxpy, (x, rng.normal(size=x.shape), np.zeros_like(x), 2.0), {}


@right
def explicit_fft(rng):
    @kernel(constraints=[align("src", "dst"), broadcast("src", (1, 2))])
    def fft2(xp, dst: Out, src: In):
        dst[...] = xp.fft.fftn(src, axes=(1, 2))

    src = rng.normal(size=(size(rng), 4, 3)) + 0j
    return fft2, (np.zeros_like(src), src), {}


@right
def explicit_histogram(rng):
    @kernel(constraints=[broadcast("hist")])
    def histogram(xp, data: In, hist: Reduce["sum"], bins: int):
        hist += xp.sum(xp.astype(data[:, None] == xp.arange(bins)[None, :], xp.int64), axis=0)

    return histogram, (rng.integers(0, 9, size(rng)), np.full(9, 100), 9), {}


@right
def explicit_maximum(rng):
    @kernel(constraints=[broadcast("hi"), broadcast("x", (1,))])
    def running_max(xp, x: In, hi: Reduce["max"]):
        return xp.max(x, axis=0)

    x = table(rng)
    return running_max, (x, np.zeros(x.shape[1])), {}


@right
def explicit_in_place(rng):
    @kernel(constraints=[align("u", "x")])
    def add(xp, u: InOut, x: In):
        u += x

    x = vector(rng)
    return add, (x, rng.normal(size=x.size)), {}


@right
def explicit_whole_rows(rng):
    @kernel(constraints=[align("x", "y", "z"), broadcast("x", (0,))])
    def running_sum(xp, x: In, y: In, z: Out):
        z[...] = y + xp.cumulative_sum(x, axis=0)

    n = size(rng, 5, 20)
    return running_sum, (rng.normal(size=(4, n)), rng.normal(size=(3, 4, n)), np.zeros((3, 4, n))), {}
