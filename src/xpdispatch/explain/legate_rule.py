"""Where Legate will cut the arrays of a launch, for machines that are not here too.

This is what Legate 26.6 does with an automatic task, as its sources have it (``PartitionManager``, ``Partitioner`` and
``Restrictions`` of github.com/nv-legate/legate) and as tests/test_explain.py compares with the tiles of real launches:

1. Aligned arrays are cut alike, in the one space that they were fitted into. An axis stays uncut where one of them
   wants it in full, or where a result that is written does not have it. Arrays to whose tiles those of others are
   scaled have no say.
2. The array with the most bytes leads. Of equal ones that is one which an earlier operation has cut, then a result.
3. If an earlier operation cut the leading array for as many processors, and no axis that must stay uncut, it stays so.
4. Otherwise the space is cut anew: not at all below a number of elements; one axis into as many pieces as there are
   processors; two axes into a grid whose tiles are about square; three and more by the prime factors of the number of
   processors, from 11 down, each on the axis that is longest by then. Larger primes are not used.
5. All pieces of an axis have the same number of elements, rounded up, so that the last ones can be short, or empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from xpdispatch.explain.question import Machine, Question
from xpdispatch.legate.alignment import Recipe

_PRIMES = (11, 7, 5, 3, 2)
_LEAST_ROW = 32
"""Elements that Legate likes to leave on the last axis of three or more."""

READ, REDUCE, WRITE = range(3)

Counts = tuple[int, ...]
"""Into how many pieces each axis is cut; empty where nothing is."""


# -- the rule, on numbers ---------------------------------------------------------------------------


def count_pieces(
    machine: Machine, extents: Sequence[int], full: frozenset[int] = frozenset(), least: Sequence[int] = ()
) -> Counts:
    """Into how many pieces Legate cuts each axis of a space.

    Parameters
    ----------
    machine : Machine
    extents : sequence of int
    full : frozenset of int
        Axes that stay uncut.
    least : sequence of int
        Elements that a tile must have along each axis; empty where any number does.
    """
    most = machine.processors * machine.overdecompose_factor
    free = [d for d, n in enumerate(extents) if n != 1 and d not in full]
    if most == 1 or math.prod(extents) < machine.partitioning_threshold or not free:
        return ()
    sizes = [extents[d] for d in free]
    if len(free) == 1:
        found = [min(sizes[0], most)]
    elif len(free) == 2:
        found = sizes if math.prod(sizes) < most else _square(most, sizes[0], sizes[1])
    else:
        found = _by_factors(machine.processors, sizes)
    counts = [1] * len(extents)
    for d, n in zip(free, found, strict=True):
        counts[d] = n
    return tuple(counts) if _wide_enough(extents, counts, least) else ()


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


def _by_factors(processors: int, sizes: Sequence[int]) -> list[int]:
    found, last, rest = [1] * len(sizes), len(sizes) - 1, processors
    for factor in _PRIMES:
        while rest % factor == 0:
            rest //= factor
            left = [-(-n // pieces) for n, pieces in zip(sizes, found, strict=True)]
            longest = left.index(max(left))
            if longest == last and left[last] // factor < _LEAST_ROW:
                other = left.index(max(left[:last]))
                longest = other if left[other] // factor > 0 else last
            found[longest] *= factor
    return found


def _wide_enough(extents: Sequence[int], counts: Counts | list[int], least: Sequence[int]) -> bool:
    """Whether no tile has fewer elements along an axis than these, an empty one included."""
    return all(
        max(0, extent - (n - 1) * -(-extent // n)) >= fewest
        for extent, n, fewest in zip(extents, counts, least, strict=False)
    )


# -- the arrays of a launch -------------------------------------------------------------------------


class _Turned:
    """Stands for a store that a fit turns: the extent of each axis, and which axis of the array it is, or None."""

    def __init__(self, axes: Sequence[tuple[int, int | None]]) -> None:
        self.axes = tuple(axes)

    def delinearize(self, axis: int, extents: tuple[int, int]) -> _Turned:
        own = self.axes[axis][1]
        return _Turned([*self.axes[:axis], (extents[0], own), (extents[1], None), *self.axes[axis + 1 :]])

    def project(self, axis: int, _: int) -> _Turned:
        return _Turned([*self.axes[:axis], *self.axes[axis + 1 :]])

    def transpose(self, order: Sequence[int]) -> _Turned:
        return _Turned([self.axes[a] for a in order])

    def promote(self, dim: int, extent: int) -> _Turned:
        return _Turned([*self.axes[:dim], (extent, None), *self.axes[dim:]])


class _Member(NamedTuple):
    """One of the aligned arrays of a launch, in the common space."""

    name: str
    nbytes: int
    mode: int
    extents: tuple[int, ...]
    full: frozenset[int]
    """Axes that must stay uncut for its sake."""
    before: Counts
    """How an earlier operation cut it; empty where that does not count."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How Legate cuts the common space of a launch.

    Parameters
    ----------
    counts : tuple of int
        Into how many pieces each axis is cut; empty where there is one tile.
    notes : tuple of str
        Why, and what that rests on, in sentences.
    kept : bool
        The leading array stays as an earlier operation cut it.
    """

    counts: Counts
    notes: tuple[str, ...]
    kept: bool = False


def decide(question: Question, recipe: Recipe, machine: Machine, *, small: bool) -> Decision:
    """How Legate cuts the aligned arrays of a call; `small` says that it is to be one task."""
    if small:
        return Decision((), (_SMALL,))
    members = list(_members(question, recipe, machine))
    if recipe.one_piece:
        why = "All runs in one tile: tiles would mean something else, or need more axes than Legate has."
        return Decision((), (why,))
    if not members or question.plan.empty:
        return Decision((), ("No array is cut, so that there is one tile.",))
    # The least size of a tile counts for the elements that the common space stands for.
    threshold = max(1, int(machine.partitioning_threshold * recipe.share))
    machine = replace(machine, partitioning_threshold=threshold)
    full = frozenset[int]().union(*(m.full for m in members))

    def kept(member: _Member) -> Counts:
        fits = member.before and all(member.before[d] == 1 for d in full)
        return member.before if fits and _wide_enough(member.extents, member.before, recipe.least) else ()

    leader = max(members, key=lambda m: (m.nbytes, bool(kept(m)), m.mode))
    counts = kept(leader) or count_pieces(machine, leader.extents, full, recipe.least)
    why = _why_anew(machine, leader.extents, full, counts)
    if kept(leader) and max(counts) > 1:
        why = f"{leader.name} has the most bytes and leads: it stays as Legate cut it when it was written."
    return Decision(counts, (why, _EARLIER), bool(kept(leader)))


_SMALL = "There is so little to do that several tasks would take longer than one, so that there is one tile."

_EARLIER = (
    "Operands were written by Legate's own operations over whole arrays, with as many processors, and are not views; "
    "arrays copied from NumPy, or cut otherwise before, can lead to another grid."
)


def _why_anew(machine: Machine, extents: Sequence[int], full: frozenset[int], counts: Counts) -> str:
    many, total, least = machine.processors, math.prod(extents), machine.partitioning_threshold
    if counts and max(counts) == 1:
        return f"With three axes and more Legate uses the prime factors 2 to 11 alone, and {many:,} has none of them."
    if counts:
        space = " x ".join(f"{n:,}" for n in extents)
        return f"Legate cuts the common space of {space} elements anew, for {many:,} processors."
    if many * machine.overdecompose_factor == 1:
        return "One processor, so that nothing is cut."
    if total < least:
        return f"The common space has {total:,} elements, and below {least:,} Legate cuts nothing."
    if all(n == 1 or d in full for d, n in enumerate(extents)):
        return "No axis may be cut: each is full in every tile, or has one element."
    return "Tiles would have fewer elements than min_extents asks for."


def _members(question: Question, recipe: Recipe, machine: Machine) -> Iterator[_Member]:
    def member(name: str, shape: tuple[int, ...], itemsize: int, mode: int, fit: Any, *, known: bool) -> _Member:
        axes = fit.turn(_Turned([(n, a) for a, n in enumerate(shape)])).axes
        missing = [d for d, (_, own) in enumerate(axes) if own is None]
        full = frozenset([*fit.keep_whole, *(missing if mode == WRITE else ())])
        cut = count_pieces(machine, shape) if known else ()
        # Legate cannot follow earlier cuts where an axis is split in two; and what it knows of the memory behind a
        # view it keeps by the number of processors, and not of tiles.
        follows = not fit.blocks and (machine.overdecompose_factor == 1 or fit.is_plain)
        before = tuple(1 if own is None else cut[own] for _, own in axes) if cut and follows else ()
        return _Member(name, math.prod(shape) * itemsize, mode, tuple(n for n, _ in axes), full, before)

    plan, replaced = question.plan, {b.operand for b in recipe.rects if b.instead}
    for p, (a, layout, fit) in enumerate(zip(question.operands, plan.operands, recipe.operands, strict=True)):
        if fit.how == "align" and p not in (*replaced, *recipe.scaled[1:]):
            yield member(layout.name, a.shape, a.dtype.itemsize, READ, fit, known=not question.copied[p])
    results = zip(question.types, plan.results, question.given, recipe.results, strict=True)
    for r, ((dtype, shape), layout, given, fit) in enumerate(results, len(plan.operands)):
        if fit.how == "align" and r not in recipe.scaled[1:]:
            mode, known = REDUCE if layout.combined else WRITE, layout.combined or given is not None
            yield member(layout.name, shape, dtype.itemsize, mode, fit, known=known)
    if recipe.grid is not None:
        yield member("grid", recipe.grid[0], 1, READ, recipe.grid[1], known=True)
    for b in recipe.rects:
        layout = plan.operands[b.operand]
        axes = layout.axes if b.axis is None else layout.axes[b.axis : b.axis + 1]
        shape = tuple(-(-plan.extents[a] // b.stretch) for a in axes)
        yield member(f"the bounds of {layout.name}", shape, 16 * (1 + len(b.tail)), READ, b.fit, known=True)
