"""How operands with a halo are cut: the rects that Legate's image follows, and what each is for. Pure.

A store of rects has for each element of an index, or for each stretch of it, all that a body sees of the operand for
it. Each element has a rect of its own where there are not too many of them. Else each is for a stretch of the index,
all are of equal length, and the call is cut between stretches. Where no such length fits, the operand is whole in every
tile. A view is copied first, if it is large, for Legate has no image of one.

Where an operand wraps around, one rect with all that the first element needs, or the last, would be the whole operand.
So such an operand enters a launch twice, with two stores of rects: one has what lies within the array, the other what
wraps around, the seam. Tiles away from the ends get nothing by it. That is done where the index is the only one that is
cut; else such an operand is whole in every tile.

Legate 26.6 has a constraint for halos, bloat, but a task can then run before its elements have been copied;
``benchmarks/legate_bloat.py`` shows it. The same happens where one store, or a slice of it, enters a launch both whole
and cut: what is whole Legate has Legion register once for all tasks, in the name of one of them, and Legion lets a task
start before copies for another requirement of that same one. What is cut by an image each task registers for itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xpdispatch.planning.plan import Plan
from xpdispatch.planning.windows import PLAIN, WHOLE, Layout

_RECTS = 2**17
"""How many rects there are at most, as nearly as the length of stretches divides the index. Each takes 16 bytes for
each axis of the operand, and when they are first made and followed 0.05 us."""

_FEWEST_RECTS = 2**8
"""Where they are for stretches: so that tiles are of about equal size."""

_MOST_RECTS = 2**22
"""By the axes of the operand: where no other number fits there may be so many, which take 64 MiB, or more of arrays
that have ``_LEAST_ROW`` elements for each."""

_LEAST_ROW = 2**3

_SMALL = 64
"""Elements of an operand that is whole in every tile: with rects a call takes 15 us longer."""

least_copied = 1 << 20
"""Elements of a view with a halo from which on it is copied, to be cut: Legate has no image of a view. Smaller ones are
whole in every tile, which on two CPUs of one node takes as long or less."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How an operand with a halo is cut: along the axis of an index, with a rect for each stretch of the index.

    Those of a `seam` have what wraps around, and come after those of the elements that lie within the operand.
    """

    operand: int
    axis: int
    index: int
    count: int
    stretch: int
    seam: bool = False


def windows_of(plan: Plan, *, stretched: bool, fewest: int = 0) -> list[Cut]:
    """How operands with a halo are cut: along the longest index of each, as Legate cuts it.

    Those are left out for which no number of rects is suitable: rects may have to be for single elements, and `fewest`
    is how many there are at least.
    """
    pointed = {p for image in plan.images for p in (image.function, *image.ranges)}
    found: dict[int, list[tuple[int, int]]] = {}
    for p, layout in enumerate(plan.operands):
        if layout.haloed and p not in pointed and _elements(layout.shape) >= _SMALL:
            axes = [axis for axis, a in enumerate(layout.axes) if a != WHOLE]
            axis = max(axes, key=lambda axis: (plan.extents[layout.axes[axis]], -layout.axes[axis]))
            found.setdefault(layout.axes[axis], []).append((p, axis))
    cuts = []
    for index, operands in found.items():
        extent = plan.extents[index]
        most = min(_most_rects(plan.operands[p]) for p, _ in operands)
        counts = _counts(extent) if stretched and _divides(plan, index) else [extent]
        possible = [n for n in counts if fewest <= n <= most]
        if possible:
            count = min(possible, key=lambda n: abs(n - _RECTS))
            cuts += [
                Cut(p, axis, index, count, extent // count, seam)
                for p, axis in operands
                for seam in ((False, True) if plan.operands[p].wraps(axis) else (False,))
            ]
    return sorted(cuts, key=lambda cut: cut.operand)


def stays_whole(shape: Sequence[int | None]) -> bool:
    """Whether a view of this shape is not worth a copy by which it could be cut with its halo."""
    return _elements(shape) < least_copied


def _elements(shape: Sequence[int | None]) -> int:
    return math.prod(int(n or 0) for n in shape)


def _most_rects(layout: Layout) -> int:
    return max(_MOST_RECTS // len(layout.axes), _elements(layout.shape) // _LEAST_ROW)


def _counts(extent: int) -> list[int]:
    """How many elements an index has, or stretches of equal length, where these are not few."""
    small = [n for n in range(1, math.isqrt(extent) + 1) if extent % n == 0]
    return [extent, *(n for k in small for n in (k, extent // k) if n >= _FEWEST_RECTS)]


def _divides(plan: Plan, index: int) -> bool:
    """Whether an index can be divided into stretches: no array that is cut with it has blocks of its own."""
    layouts = [*(o for o in plan.operands if not o.haloed), *plan.results]
    return all(r.scale == 1 for o in layouts for a, r in zip(o.axes, o.reaches, strict=False) if a == index)


def in_stretches(layout: Layout, stretches: Mapping[int, int]) -> Layout:
    """An array in blocks: the elements of stretches of indices."""
    if layout.haloed or not stretches.keys() & {*layout.axes}:
        return layout
    reaches = layout.reaches or (PLAIN,) * len(layout.axes)
    made = [r._replace(scale=r.scale * stretches.get(a, 1)) for a, r in zip(layout.axes, reaches, strict=True)]
    return layout._replace(reaches=tuple(made))


def bytes_of_rects(layout: Layout, count: int) -> int:
    """Of a store of so many rects of an array."""
    return 16 * len(layout.axes) * count
