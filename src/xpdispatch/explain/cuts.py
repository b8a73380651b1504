"""Where Legate will cut the arrays of a launch. Pure: numbers alone, for machines that are not here too.

This is what Legate 26.6 does with an automatic task, as its sources have it (``PartitionManager``, ``Partitioner`` and
``Restrictions`` of github.com/nv-legate/legate) and as tests/test_explain.py compares with the tiles of real launches:

1. Aligned arrays are cut alike, in the one space that they were fitted into. An axis is kept whole where one of them
   wants it whole, or where a result that is written does not have it.
2. The array with the most bytes leads. Of equal ones that is one which an earlier operation has cut, then a result.
3. If an earlier operation cut the leading array for as many processors, and no axis that must be whole, it stays so.
4. Otherwise the space is cut anew: not at all below a number of cells; one axis into as many pieces as there are
   processors; two axes into a grid whose tiles are about square; three and more by the prime factors of the number of
   processors, from 11 down, each on the axis that is longest by then. Larger primes are not used.
5. All pieces of an axis have the same number of cells, rounded up, so that the last ones can be short, or empty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

_PRIMES = (11, 7, 5, 3, 2)
_LEAST_ROW = 32
"""Cells that Legate likes to leave on the last axis of three or more."""

READ, REDUCE, WRITE = range(3)

Pieces = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """How many pieces Legate is to make, and of how many cells at least.

    Parameters
    ----------
    processors : int
    factor : int
        Tiles to a processor: ``overdecompose_factor`` of the ParallelPolicy.
    threshold : int
        ``partitioning_threshold`` of the ParallelPolicy.
    """

    processors: int
    factor: int
    threshold: int

    def cut(self, extents: Sequence[int], whole: frozenset[int] = frozenset(), least: Sequence[int] = ()) -> Pieces:
        """Into how many pieces each axis is cut; nothing where the space stays in one piece without a grid.

        Parameters
        ----------
        extents : sequence of int
        whole : frozenset of int
            Axes that stay whole.
        least : sequence of int
            Cells that a tile must have along each axis; empty where any number does.
        """
        most = self.processors * self.factor
        if most == 1 or math.prod(extents) < self.threshold:
            return ()
        free = [d for d, n in enumerate(extents) if n != 1 and d not in whole]
        if not free:
            return ()
        sizes = [extents[d] for d in free]
        if len(free) == 1:
            found = [min(sizes[0], most)]
        elif len(free) == 2:
            found = sizes if math.prod(sizes) < most else _square(most, sizes[0], sizes[1])
        else:
            found = self._by_factors(sizes)
        pieces = [1] * len(extents)
        for d, n in zip(free, found, strict=True):
            pieces[d] = n
        return tuple(pieces) if wide_enough(extents, pieces, least) else ()

    def _by_factors(self, sizes: Sequence[int]) -> list[int]:
        found, product, last = [1] * len(sizes), 1, len(sizes) - 1
        for factor in _factors(self.processors):
            if factor * product > self.processors * self.factor:
                break
            product *= factor
            left = [-(-n // pieces) for n, pieces in zip(sizes, found, strict=True)]
            longest = left.index(max(left))
            if longest == last and left[last] // factor < _LEAST_ROW:
                other = left.index(max(left[:last]))
                longest = other if left[other] // factor > 0 else last
            found[longest] *= factor
        return found


def _square(most: int, first: int, second: int) -> list[int]:
    """A grid of so many pieces whose tiles are about square."""
    short, long = sorted((first, second))
    ideal = math.sqrt(most * short / long)
    below = max(1, math.floor(ideal + 1e-12))
    while most % below:
        below -= 1
    above = max(1, math.floor(ideal - 1e-12))
    while most % above:
        above += 1
    sides = [max(short // n, long // (most // n)) for n in (below, above)]
    n = below if sides[0] <= sides[1] else above
    pair = [min(n, short), min(most // n, long)]
    return pair[::-1] if first > second else pair


def _factors(processors: int) -> list[int]:
    found = []
    for prime in _PRIMES:
        while processors % prime == 0:
            found.append(prime)
            processors //= prime
    return found


def wide_enough(extents: Sequence[int], pieces: Sequence[int], least: Sequence[int]) -> bool:
    """Whether no tile has fewer cells along an axis than these, an empty one included."""
    return all(
        max(0, extent - (n - 1) * -(-extent // n)) >= fewest
        for extent, n, fewest in zip(extents, pieces, least, strict=False)
    )


def edges(extent: int, pieces: int) -> tuple[tuple[int, int], ...]:
    """First cell and the one after the last of each piece of an axis; the last ones can be empty."""
    size = -(-extent // pieces) if extent else 0
    return tuple((min(n * size, extent), min((n + 1) * size, extent)) for n in range(pieces))


@dataclass(frozen=True, slots=True)
class Turned:
    """Stands for a store that a recipe turns: only where its axes go.

    Parameters
    ----------
    shape : tuple of int
    origin : tuple of (int or None)
        For each axis that of the array; None where the array has none.
    splits : bool
        An axis was split in two, which Legate cannot do with what it knows of earlier cuts.
    """

    shape: tuple[int, ...]
    origin: tuple[int | None, ...]
    splits: bool = False

    def delinearize(self, axis: int, extents: tuple[int, int]) -> Turned:
        """Split an axis in two."""
        shape, origin = list(self.shape), list(self.origin)
        shape[axis : axis + 1], origin[axis : axis + 1] = extents, (origin[axis], None)
        return Turned(tuple(shape), tuple(origin), splits=True)

    def project(self, axis: int, _: int) -> Turned:
        """Drop an axis."""
        keep = [a for a in range(len(self.shape)) if a != axis]
        return self.transpose(keep)

    def transpose(self, order: Sequence[int]) -> Turned:
        """Reorder the axes."""
        return replace(self, shape=tuple(self.shape[a] for a in order), origin=tuple(self.origin[a] for a in order))

    def promote(self, dim: int, extent: int) -> Turned:
        """Insert an axis that the array does not have."""
        shape, origin = list(self.shape), list(self.origin)
        shape.insert(dim, extent)
        origin.insert(dim, None)
        return replace(self, shape=tuple(shape), origin=tuple(origin))


@dataclass(frozen=True, slots=True)
class Member:
    """One of the aligned arrays of a launch.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Its own.
    nbytes : int
    mode : int
        ``READ``, ``REDUCE`` or ``WRITE``.
    turned : Turned
    own : tuple of int
        The pieces of its axes where an earlier operation of Legate's has cut it; else empty.
    """

    name: str
    shape: tuple[int, ...]
    nbytes: int
    mode: int
    turned: Turned
    own: Pieces = ()

    def as_before(self, rule: Rule) -> Pieces:
        """The pieces of the common space's axes where this array stays as it was cut; nothing where it was not."""
        plain = self.turned.origin == tuple(range(len(self.shape)))
        # What Legate knows of the memory behind a view it keeps by the number of processors, and not of tiles.
        if not self.own or self.turned.splits or (rule.factor > 1 and not plain):
            return ()
        return tuple(1 if a is None else self.own[a] for a in self.turned.origin)

    @property
    def missing(self) -> frozenset[int]:
        """Axes of the common space that the array does not have."""
        return frozenset(d for d, a in enumerate(self.turned.origin) if a is None)


@dataclass(frozen=True, slots=True)
class Cuts:
    """What the rule says of the aligned arrays.

    Parameters
    ----------
    extents : tuple of int
        Of the common space.
    pieces : tuple of int
        For each of its axes; empty where there is one tile.
    leader : str
        The array that leads.
    kept : bool
        It stays as an earlier operation cut it.
    """

    extents: tuple[int, ...]
    pieces: Pieces
    leader: str
    kept: bool


def cuts_of(members: Sequence[Member], whole: frozenset[int], least: Sequence[int], rule: Rule) -> Cuts:
    """How the aligned arrays of a launch are cut.

    Parameters
    ----------
    members : sequence of Member
        Operands before results; at least one.
    whole : frozenset of int
        Axes of the common space that constraints keep whole.
    least : sequence of int
        Cells that a tile must have along each axis.
    rule : Rule
    """
    for member in members:
        if member.mode == WRITE:
            whole |= member.missing

    def before(member: Member) -> Pieces:
        pieces = member.as_before(rule)
        fits = all(pieces[d] == 1 for d in whole) if pieces else False
        return pieces if fits and wide_enough(member.turned.shape, pieces, least) else ()

    leader = max(members, key=lambda m: (m.nbytes, bool(before(m)), m.mode))
    kept = before(leader)
    extents = leader.turned.shape
    return Cuts(extents, kept or rule.cut(extents, whole, least), leader.name, bool(kept))
