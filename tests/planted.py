"""Bugs on purpose: each body is right in one tile that is run once, and wrong or raising once its arrays are cut.

``make(rng)`` makes the kernel anew, so that nothing that a body remembers outlives one use.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpdispatch import In, InOut, Kernel, Out, align, broadcast, kernel

Call = tuple[Kernel, tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Planted:
    """A wrong kernel with arguments: ``make(rng)`` returns kernel, args and kwargs.

    Parameters
    ----------
    name : str
    make : callable
    words : tuple of str
        What a good error message has in it: the index, array or variable to blame.
    """

    name: str
    make: Callable[[np.random.Generator], Call]
    words: tuple[str, ...]


PLANTED: list[Planted] = []


def planted(*words: str) -> Callable[[Callable[[np.random.Generator], Call]], Callable[[np.random.Generator], Call]]:
    def add(make: Callable[[np.random.Generator], Call]) -> Callable[[np.random.Generator], Call]:
        PLANTED.append(Planted(make.__name__.replace("_", " "), make, words))
        return make

    return add


def size(rng: np.random.Generator, low: int = 12, high: int = 48) -> int:
    return int(rng.integers(low, high))


def vector(rng: np.random.Generator, low: int = 12, high: int = 48) -> np.ndarray:
    return rng.normal(size=size(rng, low, high))


def table(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(size(rng, 8, 24), size(rng, 8, 24)))


# -- what the tile's values decide for all ---------------------------------------------------------------------------


@planted("i")
def histogram_with_edges_of_the_tile(rng):
    @kernel("data[i] -> sum counts[:bins]")
    def histogram(xp, data, bins):
        edges = xp.linspace(float(xp.min(data)), float(xp.max(data)), bins + 1)  # the range of this tile
        place = xp.searchsorted(edges[1:-1], data, side="right")
        return xp.sum(xp.astype(place[:, None] == xp.arange(bins)[None, :], xp.int64), axis=0)

    return histogram, (vector(rng, 30, 60), 6), {}


@planted("i")
def scaled_by_the_largest_of_the_tile(rng):
    @kernel("x[i] -> y[i]")
    def normalise(xp, x):
        return x / xp.max(xp.abs(x))  # the largest of this tile

    return normalise, (vector(rng),), {}


@planted("i")
def stretched_to_the_range_of_the_tile(rng):
    @kernel("image[i, j] -> stretched[i, j]")
    def stretch(xp, image):
        low, high = xp.min(image), xp.max(image)  # of this tile
        return (image - low) / (high - low + 1e-9)

    return stretch, (table(rng),), {}


@planted("i")
def standard_scores(rng):
    @kernel("x[i] -> z[i]")
    def scores(xp, x):
        return (x - xp.mean(x)) / (xp.std(x) + 1e-9)  # mean and deviation of this tile

    return scores, (vector(rng),), {}


@planted("b")
def batch_norm(rng):
    @kernel("x[b, :c], gamma[:c], beta[:c] -> y[b, :c]")
    def norm(xp, x, gamma, beta):
        mean, var = xp.mean(x, axis=0), xp.var(x, axis=0)  # of the batch in this tile
        return gamma * (x - mean) / xp.sqrt(var + 1e-5) + beta

    return norm, (rng.normal(size=(size(rng), 4)), rng.normal(size=4), rng.normal(size=4)), {}


@planted("j")
def rows_scaled_by_their_largest(rng):
    @kernel("x[i, j] -> y[i, j]")
    def normalise(xp, x):
        return x / xp.max(xp.abs(x), axis=1, keepdims=True)  # a row is cut along j

    return normalise, (table(rng),), {}


@planted("i")
def branch_on_all_values(rng):
    @kernel("x[i] -> y[i]")
    def log_if_positive(xp, x):
        return xp.log(x) if xp.all(x > 0) else x  # one tile takes the logarithm, another does not

    x = np.abs(vector(rng)) + 0.1
    x[int(rng.integers(x.size))] = -1.0
    return log_if_positive, (x,), {}


@planted("i")
def iterated_until_the_tile_converges(rng):
    @kernel("x[i] -> root[i]")
    def newton(xp, x):
        root = 0 * x + 1
        while xp.max(xp.abs(root * root - x)) > 0.5:  # the worst of this tile decides for all of it
            root = (root + x / root) / 2
        return root

    return newton, (np.exp(2 * vector(rng)),), {}


@planted("dtype")
def dtype_from_the_values(rng):
    @kernel("x[i] -> root[i]")
    def root(xp, x):
        return xp.sqrt(x) if xp.all(x >= 0) else xp.sqrt(xp.astype(x, xp.complex128))  # real or complex by tile

    x = np.abs(vector(rng))
    x[0] = -x[0]
    return root, (x,), {}


@planted("onehot")
def extent_from_the_values(rng):
    @kernel("labels[i] -> onehot[i, :]")
    def encode(xp, labels):
        classes = int(xp.max(labels)) + 1  # as many as this tile has
        return xp.astype(labels[:, None] == xp.arange(classes)[None, :], xp.int8)

    labels = rng.integers(0, 5, size(rng))
    labels[0] = 5
    return encode, (labels,), {}


@planted("i")
def codes_of_the_labels_in_the_tile(rng):
    @kernel("labels[i] -> codes[i]")
    def encode(xp, labels):
        return xp.unique_inverse(labels).inverse_indices  # numbered within this tile

    return encode, (rng.integers(0, 20, size(rng)),), {}


# -- local lengths and positions ------------------------------------------------------------------------------------


@planted("i")
def divided_by_the_length_of_the_tile(rng):
    @kernel("x[i] -> y[i]")
    def weigh(xp, x):
        return x / x.shape[0]  # tile.total("i") was meant

    return weigh, (vector(rng),), {}


@planted("i")
def window_of_the_length_of_the_tile(rng):
    @kernel("x[i] -> y[i]")
    def hann(xp, tile, x):
        return x * (0.5 - 0.5 * xp.cos(2 * xp.pi * tile.coords("i") / tile.size("i")))  # total was meant

    return hann, (vector(rng),), {}


@planted("i")
def total_in_place_of_size(rng):
    @kernel("x[i] -> sum s[]")
    def shifted_sum(xp, tile, x, offset):
        return xp.sum(x) + offset * tile.total("i")  # every tile counts all cells

    return shifted_sum, (vector(rng), 0.5), {}


@planted("i")
def position_within_the_tile(rng):
    @kernel("x[i] -> y[i]")
    def detrend(xp, x, slope):
        return x - slope * xp.arange(x.shape[0])  # starts at 0 in every tile

    return detrend, (vector(rng), 0.25), {}


@planted("j")
def column_within_the_tile(rng):
    @kernel("x[i, j] -> y[i, j]")
    def ramp(xp, tile, x):
        return x + 10 * tile.coords("i")[:, None] + xp.arange(x.shape[1])[None, :]  # rows are right, columns not

    return ramp, (table(rng),), {}


@planted("i")
def checksum_by_local_position(rng):
    @kernel("x[i] -> sum checksum[]")
    def checksum(xp, x):
        return xp.sum(x * (31 * xp.arange(x.shape[0]) + 7))  # local positions

    return checksum, (rng.integers(0, 256, size(rng)),), {}


@planted("i")
def alternating_sum(rng):
    @kernel("x[i] -> sum s[]")
    def alternate(xp, x):
        return xp.sum(x[::2]) - xp.sum(x[1::2])  # right as long as tiles start at even places

    return alternate, (vector(rng),), {}


@planted("i")
def groups_of_four(rng):
    @kernel("x[i] -> y[i]")
    def centre_groups(xp, x):
        groups = xp.reshape(x, (-1, 4))  # right as long as tiles start and end at multiples of 4
        return xp.reshape(groups - xp.mean(groups, axis=1, keepdims=True), (-1,))

    return centre_groups, (rng.normal(size=4 * size(rng, 4, 12)),), {}


@planted("ridge")
def diagonal_of_the_tile(rng):
    @kernel("A[i, j] -> ridge[i, j]")
    def add_ridge(xp, A, strength):
        return A + strength * xp.eye(A.shape[0], A.shape[1])  # the tile's own diagonal

    n = size(rng, 6, 20)
    return add_ridge, (rng.normal(size=(n, n)), 10.0), {}


@planted("trace")
def trace_of_the_tile(rng):
    @kernel("A[i, j] -> sum trace[]")
    def trace(xp, A):
        return xp.sum(A * xp.eye(A.shape[0], A.shape[1]))  # the tile's own diagonal

    n = size(rng, 6, 20)
    return trace, (rng.normal(size=(n, n)),), {}


@planted("lower")
def triangle_of_the_tile(rng):
    @kernel("A[i, j] -> lower[i, j]")
    def lower(xp, A):
        return xp.tril(A)  # below the tile's own diagonal

    return lower, (table(rng),), {}


@planted("i")
def whole_operand_indexed_by_local_position(rng):
    @kernel("x[i], w[:n] -> y[i]")
    def weigh(xp, x, w):
        return x * w[: x.shape[0]]  # every tile takes the first weights

    x = vector(rng)
    return weigh, (x, rng.normal(size=x.size)), {}


@planted("i")
def samples_between_the_ends_of_the_tile(rng):
    @kernel("-> z[i=n]")
    def samples(xp, tile, n):
        return xp.linspace(0.0, 1.0, tile.size("i"))  # every tile goes from 0 to 1

    return samples, (size(rng),), {}


@planted("i")
def returns_more_than_its_tile(rng):
    @kernel("-> z[i=n]")
    def squares(xp, n):
        return xp.arange(n) ** 2  # all n cells, whatever the tile

    return squares, (size(rng),), {}


@planted("place")
def smallest_place_in_the_tile(rng):
    @kernel("x[i] -> fold low[], fold place[]", fold=_lower)
    def argmin(xp, x):
        return xp.min(x), xp.argmin(x)  # tile.start("i") is missing

    return argmin, (vector(rng),), {}


def _lower(xp, a, b):
    first = a[0] <= b[0]
    return xp.where(first, a[0], b[0]), xp.where(first, a[1], b[1])


@planted("i")
def positions_found_in_the_tile(rng):
    @kernel("x[i] -> places[?]")
    def find(xp, x):
        return xp.nonzero(x > 0)[0]  # tile.start("i") is missing

    return find, (vector(rng),), {}


# -- whole-axis operations along a split axis -----------------------------------------------------------------------


@planted("i")
def sort_along_a_split_axis(rng):
    @kernel("x[i] -> y[i]")
    def in_order(xp, x):
        return xp.sort(x)  # each tile by itself

    return in_order, (vector(rng),), {}


@planted("i")
def ranks_along_a_split_axis(rng):
    @kernel("x[i] -> rank[i]")
    def ranks(xp, x):
        return xp.argsort(xp.argsort(x))  # ranks within the tile

    return ranks, (vector(rng),), {}


@planted("i")
def cumulative_sum_along_a_split_axis(rng):
    @kernel("x[i] -> y[i]")
    def walk(xp, x):
        return xp.cumulative_sum(x)  # begins anew in every tile

    return walk, (vector(rng),), {}


@planted("j")
def cumulative_sum_along_rows(rng):
    @kernel("x[i, j] -> y[i, j]")
    def walk(xp, x):
        return xp.cumulative_sum(x, axis=1)  # begins anew where j is cut

    return walk, (table(rng),), {}


@planted("i")
def fft_along_a_split_axis(rng):
    @kernel("signal[i] -> power[i]")
    def power(xp, signal):
        return xp.abs(xp.fft.fft(signal + 0j)) ** 2  # the spectrum of the tile

    return power, (vector(rng),), {}


@planted("j")
def softmax_along_a_split_axis(rng):
    @kernel("x[i, j] -> p[i, j]")
    def softmax(xp, x):
        e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        return e / xp.sum(e, axis=1, keepdims=True)  # sums to one in every tile

    return softmax, (table(rng),), {}


@planted("j")
def attention_over_split_keys(rng):
    @kernel("q[i, :d], k[j, :d], v[j, :d] -> sum out[i, :d]")
    def attention(xp, q, k, v):
        e = xp.exp(q @ k.T / 2)
        return (e / xp.sum(e, axis=1, keepdims=True)) @ v  # the weights of the keys in this tile sum to one

    n = size(rng, 8, 24)
    return attention, (rng.normal(size=(7, 4)), rng.normal(size=(n, 4)), rng.normal(size=(n, 4))), {}


@planted("i")
def median_along_a_split_axis(rng):
    @kernel("x[i] -> y[i]")
    def centre(xp, x):
        return x - xp.sort(x)[x.shape[0] // 2]  # the median of the tile

    return centre, (vector(rng),), {}


@planted("j")
def largest_median_for_a_median(rng):
    @kernel("x[i, j] -> max median[i]")
    def medians(xp, x):
        return xp.sort(x, axis=1)[:, x.shape[1] // 2]  # the largest of medians is no median

    return medians, (table(rng),), {}


@planted("i")
def flip_along_a_split_axis(rng):
    @kernel("x[i] -> y[i]")
    def backwards(xp, x):
        return xp.flip(x)  # each tile by itself

    return backwards, (vector(rng),), {}


@planted("src")
def fft_without_broadcast(rng):
    # Nothing keeps the transformed axis whole: broadcast("src", (1,)) is missing.
    @kernel(constraints=[align("src", "dst")])
    def transform(xp, src: In, dst: Out):
        dst[...] = xp.fft.fft(src, axis=1)

    src = table(rng) + 0j
    return transform, (src, np.zeros_like(src)), {}


# -- neighbours -----------------------------------------------------------------------------------------------------


@planted("i")
def stencil_without_halo(rng):
    @kernel("u[i] -> v[i]")
    def smooth(xp, u):
        p = xp.concat([u[:1], u, u[-1:]])  # repeats the ends of every tile
        return (p[:-2] + p[1:-1] + p[2:]) / 3

    return smooth, (vector(rng),), {}


@planted("alive")
def game_of_life_without_halo(rng):
    @kernel("board[i, j] -> alive[i, j]")
    def life(xp, board):
        near = [xp.roll(board, (a, b), axis=(0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
        n = sum(near[1:], start=near[0])  # the torus of the tile
        return xp.astype((n == 3) | ((n == 2) & (board == 1)), xp.int8)

    board = rng.integers(0, 2, (size(rng, 8, 24), size(rng, 8, 24))).astype(np.int8)
    return life, (board,), {}


@planted("j")
def halo_along_one_axis_of_two(rng):
    @kernel("u[i-1..i+1, j] -> v[i, j]", boundary="wrap")
    def laplace(xp, u):
        inner = u[1:-1, :]
        # j has no halo, and rolls within the tile.
        return u[:-2, :] + u[2:, :] + xp.roll(inner, 1, axis=1) + xp.roll(inner, -1, axis=1) - 4 * inner

    return laplace, (table(rng),), {}


@planted("i")
def halo_too_narrow(rng):
    @kernel("u[i-1..i+1] -> v[i]", boundary="clip")
    def smooth(xp, tile, u):
        below, above = tile.halo("u", 0)
        p = xp.concat([u[:1]] * (2 - below) + [u] + [u[-1:]] * (2 - above))  # the second neighbour is made up
        return (p[:-4] + p[1:-3] + p[2:-2] + p[3:-1] + p[4:]) / 5

    return smooth, (vector(rng),), {}


@planted("i")
def two_steps_in_a_halo_of_one(rng):
    @kernel("u[i-1..i+1] -> v[i]", boundary="edge")
    def smooth_twice(xp, u):
        once = (u[:-2] + u[1:-1] + u[2:]) / 3
        p = xp.concat([once[:1], once, once[-1:]])  # the ends of the tile are taken for those of the array
        return (p[:-2] + p[1:-1] + p[2:]) / 3

    return smooth_twice, (vector(rng),), {}


@planted("i")
def constant_outside_where_edge_was_meant(rng):
    @kernel("u[i-1..i+1] -> v[i]", boundary=0.0)
    def smooth(xp, u):
        p = xp.concat([u[1:2], u[1:-1], u[-2:-1]])  # puts the edge in place of zeros, and of true neighbours
        return (p[:-2] + p[1:-1] + p[2:]) / 3

    return smooth, (vector(rng),), {}


@planted("i")
def boundary_value_in_every_tile(rng):
    @kernel("u[i] -> v[i]")
    def pin_the_ends(xp, u):
        v = xp.asarray(2 * u, copy=True)
        v[0] = v[-1] = 0.0  # the ends of the tile
        return v

    return pin_the_ends, (vector(rng),), {}


@planted("i")
def differences_without_halo(rng):
    @kernel("x[i] -> d[i]")
    def differences(xp, x):
        return xp.concat([x[:1], x[1:] - x[:-1]])  # the first of every tile

    return differences, (vector(rng),), {}


@planted("i")
def trapezoids_without_halo(rng):
    @kernel("y[i] -> sum area[]")
    def integrate(xp, y, dx):
        return dx * xp.sum((y[1:] + y[:-1]) / 2)  # misses what lies between tiles

    return integrate, (vector(rng), 0.1), {}


@planted("i")
def total_variation_with_a_clipped_halo(rng):
    @kernel("x[i-1..i+1] -> sum tv[]", boundary="clip")
    def variation(xp, x):
        return xp.sum(xp.abs(x[1:] - x[:-1]))  # what lies between tiles is counted twice or three times

    return variation, (vector(rng),), {}


@planted("i")
def neighbours_in_place(rng):
    @kernel("u[i] -> u[i]")
    def upwind(xp, u, c):
        u[1:] += c * (u[:-1] - u[1:])  # the first cell of every tile has no neighbour

    return upwind, (vector(rng), 0.3), {}


@planted("i")
def drop_repeats_without_halo(rng):
    @kernel("x[i] -> y[?]")
    def drop_repeats(xp, x):
        return xp.concat([x[:1], x[1:][x[1:] != x[:-1]]])  # keeps the first of every tile

    return drop_repeats, (np.repeat(rng.integers(0, 9, 8), 4),), {}


@planted("i")
def recursive_filter(rng):
    @kernel("x[i] -> y[i]")
    def smooth(xp, x, alpha):
        y = xp.asarray(x, copy=True)
        for n in range(1, x.shape[0]):  # what came before the tile is forgotten
            y[n] = alpha * y[n] + (1 - alpha) * y[n - 1]
        return y

    return smooth, (vector(rng), 0.2), {}


# -- scans ------------------------------------------------------------------------------------------------------------


def _one_after_the_other(xp, a, b):
    return a[0] * b[0], b[0] * a[1] + b[1]


def _smoothed(xp, x, weight):
    """The elements of a filter of first order."""
    y = [weight * x[:1]]
    for n in range(1, x.shape[0]):
        y.append((1 - weight) * y[-1] + weight * x[n : n + 1])
    return xp.concat(y)


@planted("y")
def scan_by_means_of_means(rng):
    @kernel("x[i] -> fold y[..i]", fold=lambda xp, a, b: (a + b) / 2)  # of stretches of different lengths
    def running_mean(xp, x):
        return xp.cumulative_sum(x) / xp.astype(xp.arange(1, x.shape[0] + 1), x.dtype)

    return running_mean, (vector(rng),), {}


@planted("i")
def scan_whose_merge_loses_the_carry(rng):
    def merge(xp, a, b):
        return b[0], b[0] * a[1] + b[1]  # the factors before are forgotten

    @kernel("m[i], c[i] -> fold factor[..i], fold y[..i]", fold=merge)
    def recurrence(xp, m, c):
        y = [c[:1]]
        for n in range(1, c.shape[0]):
            y.append(m[n : n + 1] * y[-1] + c[n : n + 1])
        return xp.cumulative_prod(m), xp.concat(y)

    n = size(rng)
    return recurrence, (rng.uniform(0.5, 1.5, n), rng.normal(size=n)), {}


@planted("i")
def scan_whose_body_loses_the_carry(rng):
    @kernel("x[i] -> fold factor[..i], fold y[..i]", fold=_one_after_the_other)
    def smooth(xp, x, weight):
        return xp.full_like(x, 1 - weight), _smoothed(xp, x, weight)  # and not its powers

    return smooth, (vector(rng), 0.3), {}


@planted("i")
def scan_that_begins_with_nothing(rng):
    @kernel("x[i] -> sum y[..i]")
    def exclusive(xp, x):
        return xp.concat([xp.zeros_like(x[:1]), xp.cumulative_sum(x)[:-1]])  # its end lacks the last element

    return exclusive, (vector(rng),), {}


@planted("i")
def scan_the_other_way(rng):
    @kernel("x[i] -> sum y[i..]")
    def forward(xp, x):
        return xp.cumulative_sum(x)  # up to each element, and not from it on

    return forward, (vector(rng),), {}


@planted("j")
def scan_along_both_axes(rng):
    @kernel("x[i, j] -> sum y[..i, j]")
    def integral_image(xp, x):
        return xp.cumulative_sum(xp.cumulative_sum(x, axis=0), axis=1)  # rows are cut as well

    return integral_image, (table(rng),), {}


# -- keys -------------------------------------------------------------------------------------------------------------


def keys(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(0, 4, n)


@planted("i")
def scatter_off_by_one(rng):
    @kernel("x[i], g[i] -> sum y[@g=n]")
    def scatter(xp, x, g, n):
        return xp.concat([x[1:], x[:1]])  # each key gets the next element's value

    x = vector(rng)
    return scatter, (x, rng.permutation(x.size), x.size), {}


@planted("i")
def group_means_summed(rng):
    @kernel("x[i], g[i] -> sum mean[@g=n]")
    def means(xp, x, g, n):
        alike = xp.sum(xp.astype(g[:, None] == g[None, :], x.dtype), axis=1)
        return x / alike  # the elements of a group in this tile

    x = vector(rng)
    return means, (x, keys(rng, x.size), 4), {}


@planted("i")
def first_of_a_group_in_every_tile(rng):
    @kernel("x[i], g[i] -> sum y[@g=n]")
    def firsts(xp, x, g, n):
        alike = xp.astype(g[:, None] == g[None, :], xp.int64)
        return xp.where(xp.argmax(alike, axis=1) == xp.arange(g.shape[0]), x, xp.zeros_like(x))

    x = rng.uniform(1, 2, size(rng))
    return firsts, (x, keys(rng, x.size), 4), {}


@planted("i")
def differences_of_what_is_gathered(rng):
    @kernel("p[i], t[@p] -> y[i]")
    def steps(xp, p, t):
        return t - xp.concat([t[:1], t[:-1]])  # the element before may be another tile's

    return steps, (keys(rng, size(rng)), rng.normal(size=4)), {}


# -- windows of other sizes, strides, diagonals and boundaries --------------------------------------------------------


@planted("i")
def window_one_short(rng):
    @kernel("x[i..i+w-2] -> y[i]", boundary="edge")
    def moving_average(xp, x, w):
        x = xp.concat([x, x[-1:]])  # stands in for the last element, of which a tile has the next one
        count = x.shape[0] - w + 1
        return sum(x[k : k + count] for k in range(w)) / w

    return moving_average, (vector(rng), int(rng.integers(3, 6))), {}


@planted("i")
def stride_from_the_length_of_the_tile(rng):
    @kernel("x[b*i] -> y[i]")
    def thinned(xp, x, b):
        count = x.shape[0] // b
        return xp.take(x, xp.arange(count) * (x.shape[0] - 1) // max(1, count - 1))  # from its first to its last

    b = int(rng.integers(2, 4))
    return thinned, (rng.normal(size=b * size(rng, 6, 24)), b), {}


@planted("i")
def stride_that_begins_in_the_halo(rng):
    @kernel("x[2*i-1..2*i+2] -> y[i]", boundary="clip")
    def halve(xp, tile, x):
        return x[::2][: tile.size("i")]  # from the second tile on the first element is another's

    return halve, (rng.normal(size=2 * size(rng, 6, 24)),), {}


@planted("i")
def strided_window_without_halo(rng):
    @kernel("x[2*i] -> y[i]")
    def convolve(xp, x):
        return x[::2] + x[1::2] - xp.concat([x[2::2], x[:1]])  # the third element may be another tile's

    return convolve, (rng.normal(size=2 * size(rng, 6, 24)),), {}


@planted("i")
def diagonal_from_the_other_end(rng):
    @kernel("A[i, i] -> d[i]")
    def other(xp, A):
        return xp.flip(A)  # of this tile

    n = size(rng)
    return other, (rng.normal(size=(n, n)),), {}


@planted("i")
def superdiagonal_for_a_diagonal(rng):
    @kernel("A[i, i], B[i, :n] -> y[i]")
    def above(xp, A, B):
        return A - xp.linalg.diagonal(B)  # which begins in the first column in every tile

    n = size(rng)
    return above, (rng.normal(size=(n, n)), rng.normal(size=(n, n))), {}


@planted("i")
def boundary_on_the_wrong_axis(rng):
    @kernel("u[i-1..i+1, j-1..j+1] -> v[i, j]", boundary=("clip", "wrap"))
    def torus(xp, tile, u):
        below, above = tile.halo("u", 0)
        rows = xp.roll(u, 1, axis=0) + xp.roll(u, -1, axis=0)  # rows wrap as well, around the tile
        return rows[below : u.shape[0] - above, 1:-1] + u[below : u.shape[0] - above, 2:]

    return torus, (table(rng),), {}


@planted("i")
def boundary_by_hand_on_the_axis_that_wraps(rng):
    @kernel("u[i-1..i+1, j-1..j+1] -> v[i, j]", boundary=("wrap", "edge"))
    def laplacian(xp, u):
        closed = xp.concat([u[1:2, :], u[1:-1, :], u[-2:-1, :]])  # the edge of this tile
        return closed[:-2, 1:-1] + closed[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * u[1:-1, 1:-1]

    return laplacian, (table(rng),), {}


@planted("i")
def counted_from_the_end_of_the_tile(rng):
    @kernel("x[i] -> y[i]")
    def remaining(xp, tile, x):
        return x * xp.astype(tile.stop("i") - tile.coords("i"), x.dtype)  # and not from tile.total("i")

    return remaining, (vector(rng),), {}


# -- blocks and results of unknown size -----------------------------------------------------------------------------


@planted("i")
def off_by_one_in_a_block(rng):
    @kernel("x[2*i] -> y[i]")
    def between(xp, x):
        after = xp.concat([x[2::2], x[-1:]])  # the next pair may be another tile's
        return (x[1::2] + after) / 2

    return between, (rng.normal(size=2 * size(rng, 6, 24)),), {}


@planted("i")
def first_half_for_a_block(rng):
    @kernel("x[2*i] -> y[i]")
    def first_half(xp, x):
        return x[: x.shape[0] // 2]  # of every tile

    return first_half, (rng.normal(size=2 * size(rng, 6, 24)),), {}


@planted("i")
def evens_before_odds(rng):
    @kernel("x[2*i] -> y[2*i]")
    def deinterleave(xp, x):
        return xp.concat([x[::2], x[1::2]])  # in every tile

    return deinterleave, (rng.normal(size=2 * size(rng, 6, 24)),), {}


@planted("i")
def unique_in_every_tile(rng):
    @kernel("x[i] -> values[?]")
    def distinct(xp, x):
        return xp.unique_values(x)  # a value may be in several tiles

    return distinct, (rng.integers(0, 9, size(rng)),), {}


@planted("i")
def largest_in_every_tile(rng):
    @kernel("x[i] -> top[?]")
    def above_mean(xp, x):
        return x[x > xp.mean(x)]  # the mean of this tile

    return above_mean, (vector(rng),), {}


# -- operators and folds --------------------------------------------------------------------------------------------


@planted("i")
def mean_for_a_sum(rng):
    @kernel("x[i] -> sum m[]")
    def mean(xp, x):
        return xp.mean(x)  # the sum of means is no mean

    return mean, (1 + vector(rng),), {}


@planted("i")
def norm_for_a_sum(rng):
    @kernel("x[i] -> sum norm[]")
    def norm(xp, x):
        return xp.sqrt(xp.sum(x * x))  # the root belongs after the sum

    return norm, (vector(rng),), {}


@planted("i")
def variances_summed(rng):
    @kernel("x[i] -> sum v[]")
    def scatter(xp, x):
        return xp.sum((x - xp.mean(x)) ** 2)  # about the mean of this tile

    return scatter, (vector(rng),), {}


@planted("i")
def covariance_of_centred_tiles(rng):
    @kernel("X[i, :k] -> sum G[:k, :k]")
    def covariance(xp, X):
        X = X - xp.mean(X, axis=0)  # the mean of this tile
        return X.T @ X

    return covariance, (rng.normal(size=(size(rng), 3)) + 1,), {}


@planted("i")
def maximum_declared_as_sum(rng):
    @kernel("x[i] -> sum hi[]")
    def largest(xp, x):
        return xp.max(x)

    return largest, (np.abs(vector(rng)),), {}


@planted("i")
def sum_declared_as_maximum(rng):
    @kernel("x[i] -> max total[]")
    def total(xp, x):
        return xp.sum(x)

    return total, (np.abs(vector(rng)),), {}


@planted("i")
def all_declared_as_any(rng):
    @kernel("x[i] -> any sound[]")
    def sound(xp, x):
        return xp.all(x > -1)

    x = np.abs(vector(rng))
    x[int(rng.integers(x.size))] = -3.0
    return sound, (x,), {}


@planted("k")
def bias_in_every_tile(rng):
    @kernel("A[m, k], B[k, n], bias[n] -> sum C[m, n]")
    def dense(xp, A, B, bias):
        return A @ B + bias[None, :]  # once for every tile along k

    k = size(rng, 6, 20)
    return dense, (rng.normal(size=(5, k)), rng.normal(size=(k, 6)), rng.normal(size=6)), {}


@planted("k")
def activation_before_the_sum(rng):
    @kernel("A[m, k], B[k, n] -> sum C[m, n]")
    def layer(xp, A, B):
        C = A @ B
        return xp.where(C > 0, C, 0 * C)  # of partial products

    k = size(rng, 6, 20)
    return layer, (rng.normal(size=(5, k)), rng.normal(size=(k, 6))), {}


@planted("i")
def tiles_counted(rng):
    @kernel("x[i] -> sum s[], sum count[]")
    def count(xp, x):
        return xp.sum(x), xp.asarray(1)  # counts tiles

    return count, (vector(rng),), {}


@planted("i")
def zero_padding_under_a_maximum(rng):
    @kernel("x[i] -> max hi[]")
    def largest(xp, x):
        if x.shape[0] % 2:
            x = xp.concat([x, xp.zeros(1, dtype=x.dtype)])  # 0 is above all that there is
        return xp.max(xp.where(x[::2] > x[1::2], x[::2], x[1::2]))

    return largest, (-np.abs(rng.normal(size=2 * size(rng, 6, 24))) - 0.5,), {}


@planted("i")
def zero_where_a_tile_has_no_hit(rng):
    @kernel("x[i], mask[i] -> max hi[]")
    def largest(xp, x, mask):
        hits = x[mask]
        return xp.max(hits) if hits.shape[0] else xp.zeros((), dtype=x.dtype)  # -inf was meant

    x = -np.abs(vector(rng)) - 0.5
    return largest, (x, np.arange(x.size) % 5 == 1), {}


@planted("i")
def zero_product_where_a_tile_has_no_hit(rng):
    @kernel("x[i], mask[i] -> prod p[]")
    def product(xp, x, mask):
        hits = x[mask]
        return xp.prod(hits) if hits.shape[0] else xp.zeros((), dtype=x.dtype)  # 1 was meant

    x = np.abs(vector(rng)) + 0.5
    return product, (x, np.arange(x.size) % 5 == 1), {}


@planted("i")
def maximum_that_loses_nan(rng):
    @kernel("x[i] -> max hi[]")
    def largest(xp, x):
        kept = x[~xp.isnan(x)]
        return xp.max(kept) if kept.shape[0] else xp.asarray(xp.nan, dtype=x.dtype)  # a tile of NaN alone keeps it

    x = vector(rng)
    x[int(rng.integers(x.size))] = np.nan
    return largest, (x,), {}


@planted("hi")
def fold_that_loses_nan(rng):
    @kernel("x[i] -> fold hi[]", fold=lambda xp, a, b: xp.where(a > b, a, b))  # False where a is NaN
    def largest(xp, x):
        return xp.max(x)

    x = vector(rng)
    x[int(rng.integers(x.size // 2))] = np.nan
    return largest, (x,), {}


@planted("m")
def fold_by_means_of_means(rng):
    @kernel("x[i] -> fold m[]", fold=lambda xp, a, b: (a + b) / 2)  # tiles have different sizes
    def mean(xp, x):
        return xp.mean(x)

    return mean, (vector(rng),), {}


@planted("s")
def fold_by_difference(rng):
    @kernel("x[i] -> fold s[]", fold=lambda xp, a, b: a - b)  # not associative, and no sum
    def total(xp, x):
        return xp.sum(x)

    return total, (vector(rng),), {}


@planted("i")
def fold_of_variances_without_the_means(rng):
    def merge(xp, a, b):
        n = a[0] + b[0]
        return n, (a[0] * a[1] + b[0] * b[1]) / n, a[2] + b[2]  # forgets how far the means are apart

    @kernel("x[i] -> fold n[], fold mean[], fold scatter[]", fold=merge)
    def moments(xp, x):
        return xp.asarray(x.shape[0], dtype=x.dtype), xp.mean(x), xp.sum((x - xp.mean(x)) ** 2)

    return moments, (np.sort(vector(rng)),), {}


@planted("i")
def fold_that_takes_the_last_of_ties(rng):
    def merge(xp, a, b):
        later = b[0] >= a[0]  # the body takes the first of ties, this the last
        return xp.where(later, b[0], a[0]), xp.where(later, b[1], a[1])

    @kernel("x[i] -> fold best[], fold place[]", fold=merge)
    def argmax(xp, tile, x):
        return xp.max(x), tile.start("i") + xp.argmax(x)

    x = rng.integers(0, 4, size(rng))
    x[:2] = x[-2:] = 4
    return argmax, (x,), {}


@planted("i")
def fold_that_overflows(rng):
    @kernel("x[i] -> fold lse[]", fold=lambda xp, a, b: xp.log(xp.exp(a) + xp.exp(b)))  # exp(1000) is inf
    def logsumexp(xp, x):
        high = xp.max(x)
        return high + xp.log(xp.sum(xp.exp(x - high)))

    return logsumexp, (vector(rng) + 1000,), {}


@planted("i")
def fold_that_keeps_the_first(rng):
    @kernel("x[i] -> fold top[:k]", fold=lambda xp, a, b: xp.concat([a, b])[: a.shape[0]])  # sorts nothing
    def top(xp, x, k):
        fill = xp.full((k,), -xp.inf, dtype=x.dtype)
        return xp.flip(xp.sort(xp.concat([fill, x])))[:k]

    return top, (np.sort(vector(rng)), 3), {}


@planted("i")
def fewer_cells_than_are_kept(rng):
    @kernel("x[i] -> fold top[:k]", fold=lambda xp, a, b: xp.sort(xp.concat([a, b]))[-a.shape[0] :])
    def top(xp, x, k):
        return xp.sort(x)[-k:]  # fewer than k in a small tile

    return top, (vector(rng), 4), {}


# -- tiles of one cell ----------------------------------------------------------------------------------------------


@planted("i")
def squeezed_to_nothing(rng):
    @kernel("A[i, :k], w[:k] -> y[i]")
    def matvec(xp, A, w):
        return np.squeeze(A @ w[:, None])  # in a tile of one row the row goes too

    return matvec, (rng.normal(size=(size(rng), 4)), rng.normal(size=4)), {}


@planted("i")
def two_cells_needed(rng):
    @kernel("x[i] -> y[i]")
    def spread(xp, x):
        if x.shape[0] < 2:  # tiles may have one cell
            raise ValueError("two points are needed")
        return 2 * x

    return spread, (vector(rng),), {}


# -- explicit spelling ----------------------------------------------------------------------------------------------


@planted("'y'")
def missing_align(rng):
    @kernel(constraints=[align("x", "z")])  # y is cut elsewhere
    def add(xp, x: In, y: In, z: Out):
        z[...] = x + y

    x = vector(rng)
    return add, (x, rng.normal(size=x.size), np.zeros_like(x)), {}


@planted("'row'")
def missing_align_of_a_row(rng):
    @kernel(constraints=[align("x", "z")])  # row is cut by itself
    def add(xp, x: In, row: In, z: Out):
        z[...] = x * row

    x = table(rng)
    return add, (x, rng.normal(size=(1, x.shape[1])), np.zeros_like(x)), {}


@planted("'u'")
def missing_align_in_place(rng):
    @kernel(constraints=[])  # u and x are cut apart from each other
    def add(xp, u: InOut, x: In):
        u += x

    u = vector(rng)
    return add, (u, rng.normal(size=u.size)), {}


@planted("'s'")
def reduction_that_overwrites(rng):
    @kernel(constraints=[broadcast("s")])
    def total(xp, x: In, s: Out):
        s[...] = xp.sum(x)  # the last tile wins; Reduce["sum"] was meant

    return total, (vector(rng), np.zeros(1)), {}


@planted("'counts'")
def whole_result_written_by_every_tile(rng):
    @kernel(constraints=[broadcast("counts")])
    def histogram(xp, data: In, counts: Out, bins: int):
        counts[...] = 0
        for n in range(bins):
            counts[n] = xp.count_nonzero(data == n)  # of this tile

    return histogram, (rng.integers(0, 5, size(rng)), np.zeros(5, dtype=np.int64), 5), {}


# -- writing --------------------------------------------------------------------------------------------------------


@planted("'y'")
def first_cell_never_written(rng):
    @kernel("x[i] -> y[i]")
    def differences(xp, x, y):
        y[1:] = x[1:] - x[:-1]  # y[0] keeps whatever was there

    x = vector(rng)
    return differences, (x,), {"out": np.zeros_like(x)}


@planted("'z'")
def written_where_positive(rng):
    @kernel(constraints=[align("x", "z")])
    def root(xp, x: In, z: Out):
        positive = x > 0
        z[positive] = xp.sqrt(x[positive])  # the others keep whatever was there

    x = vector(rng)
    return root, (x, np.zeros_like(x)), {}


@planted("'y'")
def rebound_in_place_of_written(rng):
    @kernel("x[i] -> y[i]")
    def double(xp, x, y):
        y = 2 * x  # noqa: F841  gives a new value to the name alone

    x = vector(rng)
    return double, (x,), {"out": np.zeros_like(x)}


@planted("'x'")
def input_written(rng):
    @kernel("x[i] -> y[i]")
    def double(xp, x):
        x *= 2
        return x

    return double, (vector(rng),), {}


@planted("'x'")
def input_sorted_in_place(rng):
    @kernel("x[i, :n] -> low[i]")
    def lowest(xp, x):
        x.sort(axis=1)
        return x[:, 0]

    return lowest, (table(rng),), {}


@planted("'x'")
def input_written_through_its_base(rng):
    @kernel("x[i] -> y[i]")
    def double(xp, x):
        own = x if x.base is None else x.base  # the caller's array, which may be written
        own *= 2
        return own[: x.shape[0]]

    return double, (vector(rng),), {}


@planted("'x'")
def input_written_through_its_interface(rng):
    class Writable:
        def __init__(self, x: np.ndarray) -> None:
            self.__array_interface__ = {**x.__array_interface__, "data": (x.ctypes.data, False)}

    @kernel("x[i] -> y[i]")
    def double(xp, x):
        own = np.asarray(Writable(x))  # the same memory without the read-only flag
        own *= 2
        return own + 0

    return double, (vector(rng),), {}


@planted("'x'")
def input_cleared_by_pointer(rng):
    @kernel("x[i] -> sum s[]")
    def drain(xp, x):
        s = xp.sum(x)
        ctypes.memset(x.ctypes.data, 0, x.nbytes)  # takes what it has counted
        return s

    return drain, (vector(rng),), {}


@planted("'z'")
def base_of_a_result_cleared(rng):
    @kernel("x[i] -> z[i]")
    def double(xp, x, z):
        whole = z if z.base is None else z.base
        whole[...] = 0  # wipes out what other tiles have written
        z[...] = 2 * x

    x = vector(rng)
    return double, (x,), {"out": np.zeros_like(x)}


@planted("'z'")
def one_cell_beyond_the_tile(rng):
    @kernel("x[i] -> z[i]")
    def double(xp, tile, x, z):
        z[...] = 2 * x
        if tile.start("i") + tile.size("i") < tile.total("i"):  # the next tile's first cell
            np.lib.stride_tricks.as_strided(z, (z.shape[0] + 1,))[-1] = x[-1]

    x = vector(rng)
    return double, (x,), {"out": np.zeros_like(x)}


# -- chance, state, order -------------------------------------------------------------------------------------------


@planted("y")
def unseeded_noise(rng):
    @kernel("x[i] -> y[i]")
    def jitter(xp, x):
        return x + np.random.default_rng().normal(size=x.shape)  # other numbers at every call

    return jitter, (vector(rng),), {}


@planted("y")
def noise_of_the_global_generator(rng):
    @kernel("x[i] -> y[i]")
    def jitter(xp, x):
        return x + np.random.random(x.shape)  # other numbers at every call

    return jitter, (vector(rng),), {}


@planted("i")
def noise_seeded_in_every_tile(rng):
    @kernel("x[i] -> y[i]")
    def jitter(xp, x):
        return x + np.random.default_rng(0).normal(size=x.shape)  # the same numbers in every tile

    return jitter, (vector(rng),), {}


@planted("i")
def samples_seeded_in_every_tile(rng):
    @kernel("[i=n] -> sum hits[]")
    def darts(xp, tile, n, seed):
        p = np.random.default_rng(seed).random((tile.size("i"), 2))  # the same darts in every tile
        return xp.count_nonzero(p[:, 0] ** 2 + p[:, 1] ** 2 < 1)

    return darts, (size(rng, 100, 200), int(rng.integers(100))), {}


@planted("'noise'")
def generator_in_a_closure(rng):
    noise = np.random.default_rng(7)

    @kernel("x[i] -> y[i]")
    def jitter(xp, x):
        return x + noise.normal(size=x.shape)  # goes on where the last tile stopped

    return jitter, (vector(rng),), {}


@planted("'noise'")
def generator_as_a_scalar(rng):
    @kernel("x[i] -> y[i]")
    def jitter(xp, x, noise):
        return x + noise.normal(size=x.shape)  # every task gets a copy, and draws the same

    return jitter, (vector(rng), np.random.default_rng(7)), {}


@planted("y")
def reads_the_clock(rng):
    @kernel("x[i] -> y[i]")
    def stamp(xp, x):
        return x + time.perf_counter()

    return stamp, (vector(rng),), {}


@planted("'calls'")
def counter_in_a_closure(rng):
    calls = 0

    @kernel("x[i] -> y[i]")
    def step(xp, x):
        nonlocal calls
        calls += 1  # counts tiles, and goes on with the next call
        return calls * x

    return step, (vector(rng),), {}


@planted("'seen'")
def mutable_default(rng):
    @kernel("x[i] -> y[i]")
    def step(xp, x, seen=[]):  # noqa: B006  the bug
        seen.append(x.shape[0])  # one list for all calls
        return len(seen) * x

    return step, (vector(rng),), {}


@planted("'cache'")
def cache_of_the_first_tile(rng):
    cache = {}

    @kernel("x[i] -> y[i]")
    def normalise(xp, x):
        if "scale" not in cache:
            cache["scale"] = float(xp.max(xp.abs(x)))  # of the first tile that ran
        return x / cache["scale"]

    return normalise, (vector(rng),), {}


@planted("'acc'")
def accumulator_in_a_closure(rng):
    acc = np.zeros(3)

    @kernel("x[i, :3] -> sum s[:3]")
    def columns(xp, x):
        acc[...] = acc + xp.sum(x, axis=0)  # what other tiles have added is added once more
        return xp.asarray(acc, copy=True)

    return columns, (rng.normal(size=(size(rng), 3)),), {}


@planted("'total'")
def running_sum_in_the_order_of_tiles(rng):
    total = 0.0

    @kernel("x[i] -> y[i]")
    def walk(xp, tile, x):
        nonlocal total
        if tile.start("i") == 0:
            total = 0.0
        y = total + xp.cumulative_sum(x)  # right where tiles run one after another
        total = y[-1]
        return y

    return walk, (vector(rng),), {}


@planted("'last'")
def difference_to_the_last_tile(rng):
    last = [0.0]

    @kernel("x[i] -> d[i]")
    def differences(xp, tile, x):
        before = last[0] if tile.start("i") else 0.0  # the tile that ran before need not lie before
        last[0] = float(x[-1])
        return x - xp.concat([xp.full((1,), before, dtype=x.dtype), x[:-1]])

    return differences, (vector(rng),), {}


@planted("'shifts'")
def list_popped(rng):
    @kernel("x[i] -> y[i]")
    def shift(xp, x, shifts):
        return x + shifts.pop()  # other tiles get the next, or their own copy

    return shift, (vector(rng), list(range(100))), {}


@planted("'log'")
def list_appended(rng):
    @kernel("x[i] -> sum s[]")
    def total(xp, x, log):
        log.append(float(xp.max(x)))  # tells the caller nothing on Legate, and several values here
        return xp.sum(x)

    return total, (vector(rng), []), {}


@planted("'stats'")
def dict_changed(rng):
    @kernel("x[i] -> y[i]")
    def normalise(xp, x, stats):
        stats["high"] = max(stats["high"], float(xp.max(x)))  # so far
        return x / stats["high"]

    return normalise, (vector(rng), {"high": 0.5}), {}


gain = 1.5


def set_gain(value: float) -> None:
    global gain  # noqa: PLW0603  the bug
    gain = value


@planted("'gain'")
def global_that_changes(rng):
    @kernel("x[i] -> y[i]")
    def amplify(xp, x):
        return gain * x  # the value when the body runs, and not at the call

    return amplify, (vector(rng),), {}


def amplified(x: Any) -> Any:
    return gain * x


@planted("'gain'")
def global_that_changes_behind_a_function(rng):
    @kernel("x[i] -> sum s[]")
    def total(xp, x):
        return xp.sum(amplified(x))

    return total, (vector(rng),), {}


@planted("'rate'")
def closure_variable_that_changes(rng):
    rate = 0.1

    def faster():
        nonlocal rate
        rate *= 2

    @kernel("u[i] -> v[i]")
    def grow(xp, u):
        return u * (1 + rate)  # the value when the body runs, and not at the call

    grow.faster = faster
    return grow, (vector(rng),), {}
