"""Ready-made folds: for ``fold=`` on the decorator, and what a body returns for its tile.

Each is a pair of short functions over the array API, which also read as examples. ``fold=folds.argmax`` merges what
``folds.argmax_of(xp, x, ...)`` gives for each tile, along the first axis of `x`; other axes are kept. Results and
their order are those of the functions' tuples. NaN and ties are treated as NumPy's own functions do. :func:`scan` gives
a tile's part of a scan under any merge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpdispatch.errors import ResultError

__all__ = [
    "argmax",
    "argmax_of",
    "argmin",
    "argmin_of",
    "distinct",
    "distinct_of",
    "first",
    "first_of",
    "last",
    "last_of",
    "logsumexp",
    "logsumexp_of",
    "mean",
    "mean_of",
    "scan",
    "top_k",
    "top_k_of",
    "variance",
    "variance_of",
]

Pair = tuple[Any, Any]
Triple = tuple[Any, Any, Any]


def argmax(xp: Any, a: Pair, b: Pair) -> Pair:
    """The larger value and its place; of equal ones, and of NaN, the first."""
    (value, place), (other, there) = a, b
    better = (other > value) | (xp.isnan(other) & ~xp.isnan(value))
    return xp.where(better, other, value), xp.where(better, there, place)


def argmax_of(xp: Any, x: Any, start: int = 0) -> Pair:
    """The largest of a tile's values along its first axis, and its place, where the tile begins at `start`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import folds, kernel
    >>> @kernel("x[i] -> fold best[], fold place[]", fold=folds.argmax)
    ... def argmax(xp, tile, x):
    ...     return folds.argmax_of(xp, x, tile.start("i"))
    >>> argmax(np.asarray([2.0, 7.0, 7.0, 1.0]))
    (np.float64(7.0), np.int64(1))
    """
    return xp.max(x, axis=0), xp.argmax(x, axis=0) + start


def argmin(xp: Any, a: Pair, b: Pair) -> Pair:
    """The smaller value and its place; of equal ones, and of NaN, the first."""
    (value, place), (other, there) = a, b
    better = (other < value) | (xp.isnan(other) & ~xp.isnan(value))
    return xp.where(better, other, value), xp.where(better, there, place)


def argmin_of(xp: Any, x: Any, start: int = 0) -> Pair:
    """The smallest of a tile's values along its first axis, and its place, where the tile begins at `start`."""
    return xp.min(x, axis=0), xp.argmin(x, axis=0) + start


def mean(xp: Any, a: Pair, b: Pair) -> Pair:
    """The mean of two parts, and how many values they have."""
    (mean_a, count_a), (mean_b, count_b) = a, b
    count = count_a + count_b
    return _between(xp, mean_a, mean_b, _ratio(xp, count_b, count, mean_a)), count


def mean_of(xp: Any, x: Any) -> Pair:
    """The mean of a tile's values along its first axis, and how many there are, as an int64.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import folds, kernel
    >>> @kernel("x[i,j] -> fold mean[j], fold count[j]", fold=folds.mean)
    ... def mean(xp, x):
    ...     return folds.mean_of(xp, x)
    >>> mean(np.asarray([[1.0, 10.0], [3.0, 30.0]]))
    (array([ 2., 20.]), array([2, 2]))
    """
    found = xp.mean(x, axis=0)
    return found, xp.full(found.shape, x.shape[0], dtype=xp.int64)


def variance(xp: Any, a: Triple, b: Triple) -> Triple:
    """The variance and the mean of two parts, and how many values they have; exact, as by Chan's formula."""
    (var_a, mean_a, count_a), (var_b, mean_b, count_b) = a, b
    count = count_a + count_b
    part, apart = _ratio(xp, count_b, count, mean_a), mean_b - mean_a
    var = _between(xp, var_a, var_b, part) + apart * apart * part * (1 - part)
    return var, _between(xp, mean_a, mean_b, part), count


def variance_of(xp: Any, x: Any) -> Triple:
    """The variance and the mean of a tile's values along its first axis, and how many there are, as an int64.

    The variance is over their number, as numpy.var's; times ``count / (count - 1)`` it is over one less.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import folds, kernel
    >>> @kernel("x[i] -> fold var[], fold mean[], fold count[]", fold=folds.variance)
    ... def variance(xp, x):
    ...     return folds.variance_of(xp, x)
    >>> variance(np.asarray([1.0, 2.0, 3.0, 6.0]))
    (np.float64(3.5), np.float64(3.0), np.int64(4))
    """
    found = xp.mean(x, axis=0)
    return xp.mean((x - found) ** 2, axis=0), found, xp.full(found.shape, x.shape[0], dtype=xp.int64)


def logsumexp(xp: Any, a: Any, b: Any) -> Any:
    """The logarithm of the sum of two parts, given as logarithms."""
    return xp.logaddexp(a, b)


def logsumexp_of(xp: Any, x: Any) -> Any:
    """The logarithm of the sum of the exponentials of a tile's values along its first axis, without overflow.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import folds, kernel
    >>> @kernel("x[i] -> fold total[]", fold=folds.logsumexp)
    ... def logsumexp(xp, x):
    ...     return folds.logsumexp_of(xp, x)
    >>> logsumexp(np.asarray([1000.0, 1000.0])) - np.log(2)
    np.float64(1000.0)
    """
    most = xp.max(x, axis=0)
    shift = xp.where(xp.isfinite(most), most, xp.zeros_like(most))
    total = xp.sum(xp.exp(x - shift), axis=0)
    some = xp.where(total == 0, xp.ones_like(total), total)
    return xp.where(total == 0, most, xp.log(some) + shift)


def scan(xp: Any, merge: Callable[[Any, Any, Any], Any], x: Any, *, backward: bool = False) -> Any:
    """A tile's scan along the first axis, by a merge of any kind: for ``fold=merge`` and a result ``y[..i]``.

    It takes log2(n) merges, each of the whole tile, and is W. D. Hillis and G. L. Steele's, Data Parallel Algorithms,
    Communications of the ACM 29 (12), 1986. Where a loop or a function of the library's own has the answer sooner, such
    as ``xp.cumulative_sum``, take that.

    Parameters
    ----------
    xp : namespace
    merge : callable
        ``merge(xp, a, b)``, as for ``fold=``: it gets stretches in the order of the index.
    x : array or tuple of arrays
        What single elements give; a tuple for several results.
    backward : bool
        For a result ``y[i..]``: from each element on.

    Returns
    -------
    array or tuple of arrays
        As `x`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import folds, kernel
    >>> def larger(xp, a, b):
    ...     return xp.maximum(a, b)
    >>> @kernel("x[i] -> max y[..i]")
    ... def highest(xp, x):
    ...     return folds.scan(xp, larger, x)
    >>> highest(np.asarray([1, 3, 2, 5]))
    array([1, 3, 3, 5])
    """
    if not isinstance(x, tuple):
        return scan(xp, lambda xp, a, b: (merge(xp, *a, *b),), (x,), backward=backward)[0]
    if backward:
        turned = scan(xp, lambda xp, a, b: merge(xp, b, a), tuple(xp.flip(part, axis=0) for part in x))
        return tuple(xp.flip(part, axis=0) for part in turned)
    reach = 1
    while reach < x[0].shape[0]:
        merged = merge(xp, tuple(part[:-reach, ...] for part in x), tuple(part[reach:, ...] for part in x))
        x = tuple(xp.concat([part[:reach, ...], rest], axis=0) for part, rest in zip(x, merged, strict=True))
        reach *= 2
    return x


def top_k(xp: Any, a: Any, b: Any) -> Any:
    """The largest of two parts, as many as each has."""
    return _largest(xp, xp.concat([a, b], axis=0), a.shape[0])


def top_k_of(xp: Any, x: Any, k: int) -> Any:
    """The `k` largest of a tile's values along its first axis, from the largest on; NaN counts as the largest.

    Where there are fewer, what follows them is the smallest number that there is: minus infinity, or the least integer.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import folds, kernel
    >>> @kernel("x[i] -> fold best[:k]", fold=folds.top_k)
    ... def top(xp, x, k):
    ...     return folds.top_k_of(xp, x, k)
    >>> top(np.asarray([3, 9, 4, 1, 5]), 3)
    array([9, 5, 4])
    """
    least = -xp.inf if xp.isdtype(x.dtype, "real floating") else xp.iinfo(x.dtype).min
    missing = xp.full((max(0, k - x.shape[0]), *x.shape[1:]), least, dtype=x.dtype)
    return _largest(xp, xp.concat([x, missing], axis=0), k)


def distinct(xp: Any, a: Pair, b: Pair) -> Pair:
    """The distinct values of two parts, and how many there are."""
    (values, _), (others, _) = a, b
    return distinct_of(xp, xp.concat([values, others], axis=0), values.shape[0])


def distinct_of(xp: Any, x: Any, k: int) -> Pair:
    """The distinct values of a tile along its first axis, ascending, and how many there are, as an int64; NaN is one.

    What follows them, up to `k` values, is the last of them once more.

    Raises
    ------
    ResultError
        There are more than `k`. It is a ValueError.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import folds, kernel
    >>> @kernel("x[i] -> fold values[:k], fold count[]", fold=folds.distinct)
    ... def distinct(xp, x, k):
    ...     return folds.distinct_of(xp, x, k)
    >>> values, count = distinct(np.asarray([5, 2, 2, 7, 5]), 100)
    >>> values[:count]
    array([2, 5, 7])
    """
    x = xp.sort(x, axis=0, stable=False)
    lower, upper, last = x[:-1, ...], x[1:, ...], x[-1:, ...]
    differs = (lower != upper) & (lower == lower)  # noqa: PLR0124  NaN alone is not itself, and comes last
    new = xp.concat([xp.ones_like(last, dtype=xp.bool), differs], axis=0)
    count = xp.sum(xp.astype(new, xp.int64), axis=0)
    if xp.any(count > k):
        raise ResultError(f"there are more than {k} distinct values", hint=f"make room for more: k is {k}")
    values = xp.concat([xp.where(new, x, last), xp.broadcast_to(last, (k, *x.shape[1:]))], axis=0)
    return xp.sort(values, axis=0, stable=False)[:k, ...], count


def first(xp: Any, a: Any, b: Any) -> Any:
    """The part that comes first."""
    return a


def first_of(xp: Any, x: Any) -> Any:
    """The first of a tile's values along its first axis."""
    return x[0, ...]


def last(xp: Any, a: Any, b: Any) -> Any:
    """The part that comes last."""
    return b


def last_of(xp: Any, x: Any) -> Any:
    """The last of a tile's values along its first axis.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import folds, kernel
    >>> @kernel("x[i,j] -> fold y[j]", fold=folds.last)
    ... def last(xp, x):
    ...     return folds.last_of(xp, x)
    >>> last(np.asarray([[1, 2], [3, 4]]))
    array([3, 4])
    """
    return x[-1, ...]


def _ratio(xp: Any, count: Any, of: Any, like: Any) -> Any:
    """A part of a count, in the dtype of the numbers that it weights."""
    return xp.astype(count, like.dtype) / xp.astype(of, like.dtype)


def _between(xp: Any, a: Any, b: Any, part: Any) -> Any:
    """The mean of two numbers, of which the second has a part of the weight."""
    return xp.where(a == b, a, a * (1 - part) + b * part)


def _largest(xp: Any, x: Any, k: int) -> Any:
    return xp.flip(xp.sort(x, axis=0, stable=False), axis=0)[:k, ...]
