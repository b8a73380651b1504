"""How operands with a halo are cut: the rects that Legate's image follows, and what each is for. Pure.

A store of rects has for each element of an index, or for each stretch of it, all that a body sees of the operand for
it. Each element has a rect of its own where there are not too many of them. Else each is for a stretch of the index, of
which the last can be shorter, and the call is cut between stretches: Legate cuts the rects, and all other arrays by its
constraint scale at as many times the stretch. A view is copied first, if it is large, for Legate has no image of one.

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
from collections.abc import Sequence
from dataclasses import dataclass

from xpdispatch.planning.plan import Plan
from xpdispatch.planning.windows import WHOLE, Layout

_RECTS = 2**16
"""How many rects there are at least where they are for stretches. Each takes 16 bytes for each axis of the operand, and
when they are first made and followed 0.05 us."""

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
    stretch: int
    seam: bool = False


def windows_of(plan: Plan, *, fewest: int = 0) -> list[Cut]:
    """How operands with a halo are cut: along the longest index of each, as Legate cuts it.

    Those are left out of which there are not `fewest` rects, which Legate may want.
    """
    pointed = {p for image in plan.images for p in (image.function, *image.ranges)}
    cuts = []
    for p, layout in enumerate(plan.operands):
        if not layout.haloed or p in pointed or _elements(layout.shape) < _SMALL:
            continue
        axes = [axis for axis, a in enumerate(layout.axes) if a != WHOLE]
        axis = max(axes, key=lambda axis: (plan.extents[layout.axes[axis]], -layout.axes[axis]))
        index = layout.axes[axis]
        extent = plan.extents[index]
        if extent >= fewest:
            stretch = _stretch(extent, fewest)
            seams = (False, True) if layout.wraps(axis) else (False,)
            cuts += [Cut(p, axis, index, stretch, seam) for seam in seams]
    return cuts


def _stretch(extent: int, fewest: int) -> int:
    """The longest that leaves so many rects, or one more than half as long that divides the index."""
    longest = max(1, extent // max(_RECTS, fewest))
    return next((n for n in range(longest, longest // 2, -1) if extent % n == 0), longest)


def stays_whole(shape: Sequence[int | None]) -> bool:
    """Whether a view of this shape is not worth a copy by which it could be cut with its halo."""
    return _elements(shape) < least_copied


def _elements(shape: Sequence[int | None]) -> int:
    return math.prod(int(n or 0) for n in shape)


def bytes_of_rects(layout: Layout, count: int) -> int:
    """Of a store of so many rects of an array."""
    return 16 * len(layout.axes) * count
