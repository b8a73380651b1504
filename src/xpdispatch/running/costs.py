"""Where one call is cut into tiles that a core's cache holds. Pure: plans and bytes, no arrays and no clock.

A tile's arrays and the body's temporaries should stay in the cache from the body's first line to its last. All costs
are compared in bytes that go through memory, so that the answer follows from shapes, dtypes and the size of the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from xpdispatch.planning.plan import Plan
from xpdispatch.planning.windows import WHOLE, Bounds, Layout

_LEAST, _HELD = 3, 7
"""A call that fits so many caches is not cut, since it gains less than cuts cost: where its body runs by its trace, and
where it does not, since the last level of the cache holds as much."""

_UNKNOWN = 16
"""Bytes that a body makes for each element at least, while nobody knows."""

_TILE = 1 << 18
"""What a tile costs beside its work, some 20 us of Python, in bytes that memory moves meanwhile."""

_STEP, _START, _COPIED = 1 << 19, 1 << 20, 3 / 4
"""The same where tiles are so large that the cache holds none of that Python from one to the next; what it costs to
have several; and for each byte of results that are put together."""

_CALL = 1 << 14
"""The same for each call of an array function, which takes a microsecond before it computes anything."""

_CACHED, _READ = 1 / 4, 1 / 8
"""What a byte of an array costs in the cache, where one in memory costs 1: if it is made and read again, and if it is
read or written once."""

_WORSE = 1.1
"""What cutting may cost, by this account, and still be worth while for the threads that it makes possible."""

_SECOND, _WAITS = 3 << 20, 1 << 15
"""What a second thread costs, some 120 us, and for each array function, before which it waits for Python's lock. The
bytes are more than that, since estimates of what a body computes can be wrong by a factor of two."""

_WORTH = 2.5
"""A call that is shared costs so many times what the second thread costs, at least."""

PIECES = 16
"""Tiles of such a call at most."""

FOR_SEVERAL = 8 << 20
"""What a call takes at least that becomes several of Legate's tasks, which cost half a millisecond more than one."""

_LOST, _LOST_ALONE = 0.3, 0.04
"""What tiles of such a call may cost, as a part of it; and where one thread must make them too, for the same bits."""

_MOSTLY, _FEW = 0.8, 8
"""A body does little else than products of matrices if they are such a part of all that it does, or if what it makes is
less than such a part of them."""

_HALOS = 8
"""A tile is so many times as long as its halo, or the halo is what it mostly reads."""


_PAGE, _PAGES = 512, 8
"""Tiles of so many pages, or more, begin with one: loads that straddle two lines of the cache are slower."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How a number of bytes grows with the sizes of a tile: a sum of products of some of them.

    Parameters
    ----------
    terms : tuple of (tuple of int, float)
        Indices, and what is multiplied with the product of their sizes. Without an index it is the same for all tiles.
    """

    terms: tuple[tuple[tuple[int, ...], float], ...] = ()

    def __call__(self, sizes: Sequence[int]) -> float:
        """The bytes for a tile of these sizes."""
        return sum(factor * math.prod([sizes[i] for i in indices]) for indices, factor in self.terms)


@dataclass(frozen=True, slots=True)
class Products:
    """What products of matrices take where BLAS shares them among threads of its own, which it does with large ones.

    Parameters
    ----------
    terms : tuple of (Growth, Growth)
        Of each kind of product what all of them take, and the multiplications of one, as a part of what BLAS shares.
    """

    terms: tuple[tuple[Growth, Growth], ...] = ()

    def __call__(self, sizes: Sequence[int]) -> float:
        """The same as of :class:`Growth`, of those that are large on a tile of these sizes."""
        return sum(all_of_them(sizes) for all_of_them, one in self.terms if one(sizes) >= 1)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a body needs besides its operands and results, in bytes.

    Parameters
    ----------
    peaks : tuple of Growth
        Of arrays that the body makes and that are there at once, where that may be most.
    kept : Growth
        Of its results among them.
    made : Growth
        Of all arrays that the body makes.
    work : Growth
        Computing beyond making arrays, such as products of matrices, in the bytes that memory would move meanwhile.
    products : Products
        Of that, what BLAS shares among threads of its own.
    rounds : bool
        Results may depend on the cuts to the last bits: something is done neither to single elements nor to lines of
        elements, each by itself.
    rows : bool
        Rows are added up, each by itself: results do not depend on the cuts where operands lie in rows.
    calls : int
        Of array functions, in each tile.
    """

    peaks: tuple[Growth, ...] = ()
    kept: Growth = Growth()
    made: Growth = Growth()
    work: Growth = Growth()
    products: Products = Products()
    rounds: bool = True
    rows: bool = False
    calls: int = 0

    def live(self, sizes: Sequence[int]) -> float:
        """Bytes of temporaries that are there at once, on a tile of these sizes."""
        return max(0.0, max((peak(sizes) for peak in self.peaks), default=0.0) - self.kept(sizes))


class Volumes:
    """The arrays of a call, to be asked how large a tile's part of them is.

    Parameters
    ----------
    plan : Plan
    itemsizes : sequence of int
        Of each operand and each result.

    Attributes
    ----------
    per_cell : int
        Bytes of an element of each array that has indices, were all of them broadcast to all.
    """

    def __init__(self, plan: Plan, itemsizes: Sequence[int]) -> None:
        self.plan = plan
        self.layouts: tuple[Layout, ...] = (*plan.seen.operands, *plan.results)
        self.per_cell = 0
        self._shares: list[tuple[Layout, int, list[int]]] = []
        """Each array, the bytes of its unsplit axes, and the indices of the others."""
        for layout, itemsize in zip(self.layouts, itemsizes, strict=True):
            whole, split = itemsize, []
            for a, n in zip(layout.axes, layout.shape, strict=True):
                if a != WHOLE:
                    split.append(a)
                elif n is not None:
                    whole *= n
            self._shares.append((layout, whole, split))
            if split:
                self.per_cell += whole

    def parts(self, sizes: Sequence[int]) -> list[int]:
        """Bytes of each array's part of a tile."""
        found = []
        for layout, whole, split in self._shares:
            part = whole
            if layout.reaches:
                part *= math.prod(_windows(layout, sizes))
            elif layout.concatenated:  # at most all elements of the one index
                part *= sizes[0]
            else:
                for a in split:
                    part *= sizes[a]
            found.append(part)
        return found


def _windows(layout: Layout, sizes: Sequence[int]) -> list[int]:
    """The extents of a tile's window along the split axes, which is no larger than the array."""
    found = zip(layout.tile_shape(sizes), layout.axes, layout.shape, strict=True)
    return [f if n is None else min(f, n) for f, a, n in found if a != WHOLE]


def guess(volumes: Volumes) -> Cost:
    """What a body that nobody knows may need: as much as its arrays, each broadcast to all elements."""
    every_index = tuple(range(len(volumes.plan.extents)))
    return Cost(peaks=(Growth(((every_index, max(_UNKNOWN, volumes.per_cell)),)),))


def order_of(volumes: Volumes, sizes: Sequence[int], *, fortran: bool) -> list[int]:
    """The indices from the one whose elements lie farthest apart in memory, by the largest array.

    Indices that it does not have come last.
    """
    parts = volumes.parts(sizes)
    lead = max(
        zip(parts, volumes.layouts, strict=True),
        key=lambda p: (sum(a != WHOLE for a in p[1].axes), p[0]),
        default=(0, None),
    )[1]
    axes = [a for a in lead.axes if a != WHOLE] if lead is not None else []
    if fortran:
        axes.reverse()
    return [*axes, *(a for a in range(len(sizes)) if a not in axes)]


def tile_sizes(volumes: Volumes, sizes: Sequence[int], cost: Cost, cache: int, order: Sequence[int]) -> tuple[int, ...]:
    """The sizes of a tile that the cache holds: whole along the last indices of `order`, cut along the first."""
    tile = list(sizes)

    def holds(times: float = 1.0) -> bool:
        return sum(volumes.parts(tile)) + cost.live(tile) <= times * cache

    for index in order:
        if holds():
            break
        least = min(sizes[index], _least(volumes.plan, index))
        low, high = least, sizes[index]
        while low < high:  # the largest that the cache holds, or the least
            tile[index] = (low + high + 1) // 2
            if holds():
                low = tile[index]
            else:
                high = tile[index] - 1
        pieces = -(-sizes[index] // low)
        even = -(-sizes[index] // pieces)
        tile[index] = even if even < _PAGES * _PAGE else -(-even // _PAGE) * _PAGE
        if holds(2 if least > 1 else 1):
            break
    return tuple(tile)


def _least(plan: Plan, index: int) -> int:
    """Elements of an index that a tile has at least, for its halos' sake."""
    halo = 0
    for layout in plan.operands:
        for a, reach in zip(layout.axes, layout.reaches, strict=False):
            if a == index:
                halo = max(halo, -(-(reach.below + reach.above) // reach.scale))
    return max(1, _HALOS * halo)


def large_enough(volumes: Volumes, sizes: Sequence[int], cache: int) -> bool:
    """Whether a call moves enough bytes, its body's by :func:`guess`, for cuts to be thought of."""
    made = math.prod(sizes) * max(_UNKNOWN, volumes.per_cell)
    return sum(volumes.parts(sizes)) + made >= _LEAST * cache > 0


def spills(volumes: Volumes, sizes: Sequence[int], cost: Cost, cache: int) -> bool:
    """Whether it moves more than the last level holds, by what its body makes."""
    return sum(volumes.parts(sizes)) + cost.live(sizes) >= _HELD * cache > 0


def worth_threads(work: float, calls: int) -> int:
    """Among how many threads to share work at most, an even number, where each calls so many array functions; or 1."""
    count = work / (_SECOND + _WAITS * calls)
    return int(count / 2) * 2 if count >= _WORTH else 1


def traffic(volumes: Volumes, sizes: Sequence[int], cost: Cost) -> float:
    """What the call costs in one tile, in bytes that go through memory."""
    return sum(volumes.parts(sizes)) + cost.made(sizes) + cost.work(sizes)


def python(cost: Cost) -> float:
    """What the calls of array functions cost in a tile, whatever its size."""
    return _CALL * cost.calls


def for_one_task(volumes: Volumes, sizes: Sequence[int], cost: Cost) -> bool:
    """Whether a call does so little that one of Legate's tasks takes less time for it than several."""
    return traffic(volumes, sizes, cost) + python(cost) < FOR_SEVERAL


def gains(volumes: Volumes, sizes: Sequence[int], tile: Sequence[int], cost: Cost) -> float:
    """What the call costs in tiles, as a part of what it costs in one.

    Arrays that lack an index along which is cut are read, or made, anew in each tile. What is made once, or would be,
    is made in the cache.
    """
    each = sum(volumes.parts(tile)) + cost.made(tile) + cost.work(tile) + python(cost) + _TILE
    cut = each * count(sizes, tile) - (1 - _CACHED) * cost.made(sizes)
    return cut / max(1.0, traffic(volumes, sizes, cost) + python(cost))


def is_for_blas(volumes: Volumes, sizes: Sequence[int], cost: Cost) -> bool:
    """Whether it is mostly large products of matrices, also with vectors: BLAS has threads and tiles of its own."""
    products = cost.products(sizes)
    return products >= _MOSTLY * traffic(volumes, sizes, cost) or products >= max(1, _FEW * cost.made(sizes))


def tile_for_threads(
    volumes: Volumes, sizes: Sequence[int], cost: Cost | None, most: int, *, fortran: bool
) -> tuple[int, ...] | None:
    """The sizes of tiles for several threads, at most so many, of a call that the cache holds.

    None where that does not pay; without a cost it always does.
    """
    pieces, base, start, each, part = most, 0.0, 0.0, 0.0, 0.0
    if cost is not None:
        if is_for_blas(volumes, sizes, cost):
            return None
        base, start, each = _in_cache(volumes, sizes, cost), float(_START), python(cost) + _STEP
        part = _LOST
        if cost.rounds:
            part = _LOST_ALONE
            start += _COPIED * sum(volumes.parts(sizes)[len(volumes.plan.operands) :])
        pieces = min(most, 1 + max(0, int((part * base - start) / each)))
        pieces = min(pieces - (pieces > 1) * pieces % 2, worth_threads(base - cost.products(sizes), cost.calls))
    if pieces == 1:
        return None
    tile = list(sizes)
    for index in order_of(volumes, sizes, fortran=fortran):
        number = min(pieces, sizes[index] // _least(volumes.plan, index))
        if number > 1:
            tile[index] = -(-sizes[index] // number)
            pieces //= number
    tiles = count(sizes, tile)
    if tiles == 1:
        return None
    if cost is not None:
        full = math.prod(n / t for n, t in zip(sizes, tile, strict=True))  # the last ones are smaller
        if full * _in_cache(volumes, tile, cost) - base + (tiles - 1) * each + start > 2 * part * base:
            return None
    return tuple(tile)


def _in_cache(volumes: Volumes, sizes: Sequence[int], cost: Cost) -> float:
    """What a tile costs that the cache holds, in bytes that go through memory."""
    return _READ * sum(volumes.parts(sizes)) + computing(sizes, cost)


def computing(sizes: Sequence[int], cost: Cost) -> float:
    """What of that is not reading its operands and writing its results."""
    return _CACHED * cost.made(sizes) + cost.work(sizes)


def worth_while(volumes: Volumes, sizes: Sequence[int], tile: Sequence[int], cost: Cost) -> bool:
    """Whether to cut at all."""
    if is_for_blas(volumes, sizes, cost):
        return False
    return count(sizes, tile) > 1 and gains(volumes, sizes, tile, cost) <= _WORSE


def count(sizes: Sequence[int], tile: Sequence[int]) -> int:
    """How many tiles there are."""
    return math.prod(-(-n // t) for n, t in zip(sizes, tile, strict=True))


def regions(domain: Bounds, tile: Sequence[int]) -> list[Bounds]:
    """The tiles in row-major order."""
    return list(product(*(list(pieces(a, b, t)) for (a, b), t in zip(domain, tile, strict=True))))


def pieces(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the tiles along one index begin and end."""
    return pairwise([*range(start, stop, size), stop])
