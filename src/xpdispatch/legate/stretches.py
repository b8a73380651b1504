"""How operands with a halo are cut: the rects that Legate's image follows, and what each is for. Pure.

A store of rects has for each element of an index, or for each stretch of it, all that a body sees of the operand for
it. An element has a rect of its own where many of the operand go with it, as in a matrix that is cut into bands of
rows. Along a single axis the rects would then be larger than the operand. So each is for a stretch of the index, all
are of equal length, and the call is cut between stretches. Where no such length fits, the operand is whole in every
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

_LEAST_ROW = 64
"""Elements of an operand with a halo that a rect is for, at least: it takes 16 bytes for each axis of the operand."""

_FINE_ROW = 2048
"""Elements that a rect may always be for: tiles have 2**14 at least, and so are of about equal size."""

_RECTS = 2**12
"""How many rects there are of stretches, as nearly as their length divides the index: when they are first followed
Legate takes 8 us for each."""

_FEWEST_RECTS = 2**8
"""Where they are for more than that many elements."""

_MOST_ROWS = 2**17
"""Elements of an index from which on rects are for stretches of it, even where each could have its own."""

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


def windows_of(plan: Plan, *, stretched: bool) -> list[Cut]:
    """How operands with a halo are cut: along the longest index of each, as Legate cuts it.

    Those are left out of which rects would have few elements, where these may not be for stretches of the index.
    """
    pointed = {p for image in plan.images for p in (image.function, *image.ranges)}
    found: dict[int, list[tuple[int, int, int]]] = {}
    for p, layout in enumerate(plan.operands):
        if layout.haloed and p not in pointed:
            axes = [axis for axis, a in enumerate(layout.axes) if a != WHOLE]
            axis = max(axes, key=lambda axis: (plan.extents[layout.axes[axis]], -layout.axes[axis]))
            index = layout.axes[axis]
            row = _elements(layout.shape) // max(1, plan.extents[index])
            found.setdefault(index, []).append((p, axis, row))
    cuts = []
    for index, operands in found.items():
        extent = plan.extents[index]
        stretch = _stretch(extent, min(row for *_, row in operands)) if stretched and _divides(plan, index) else 0
        cuts += [
            Cut(p, axis, index, extent // (stretch or 1), stretch or 1, seam)
            for p, axis, row in operands
            if stretch or row >= _LEAST_ROW
            for seam in ((False, True) if plan.operands[p].wraps(axis) else (False,))
        ]
    return sorted(cuts, key=lambda cut: cut.operand)


def stays_whole(shape: Sequence[int | None]) -> bool:
    """Whether a view of this shape is not worth a copy by which it could be cut with its halo."""
    return _elements(shape) < least_copied


def _elements(shape: Sequence[int | None]) -> int:
    return math.prod(int(n or 0) for n in shape)


def _stretch(extent: int, row: int) -> int:
    """How many elements of an index a rect is for, if so many of an operand go with one; 0 if no number divides it."""
    if row >= _LEAST_ROW and extent <= _MOST_ROWS:
        return 1
    if not row:
        return 0
    least = -(-_LEAST_ROW // row)
    counts = [n for n in range(_FEWEST_RECTS, _RECTS + 1) if extent % n == 0 and extent // n >= least]
    fine = range(least, min(max(1, _FINE_ROW // row), extent // 2) + 1)
    counts = counts or [extent // k for k in fine if extent % k == 0]
    return extent // min(counts, key=lambda n: abs(n - _RECTS)) if counts else 0


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
