"""The picture of an explanation: every array cut into tiles, and the common space of three indices as a cube.

What one tile needs and makes has its color in every array. A part that several tiles need whole has the colors of all
of them and is hatched; a part to which several tiles add has them too, and a plus sign.
"""

from __future__ import annotations

import colorsys
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from xpdispatch.explain.scene import FAINT, INK, Item, Label, Line, Point, Scene, Shape, hatching, rectangle
from xpdispatch.explain.words import how, shape_of, where_of
from xpdispatch.planning.tiles import shown
from xpdispatch.planning.windows import WHOLE, Layout

if TYPE_CHECKING:
    from xpdispatch.explain.explanation import ArrayCut, Explanation

PALETTE = ("#4c86b8", "#e39a3b", "#5d9b6b", "#c0567a", "#8671b5", "#3a9fa0", "#a9803f", "#7d8a99")
NOBODY = "#9aa4b0"
"""Of what stands for many tiles."""

_SHORTEST, _LONGEST = 42.0, 140.0
_BAR = 30.0
_MOST = 10
"""Pieces of an axis that are drawn; of more the first and the last ones."""
_BANDS = 8
"""Colors that a shared part shows."""
_PAD, _EDGE = 26.0, 14.0
_COUNTED = 24
"""Extents up to which each cell is drawn."""

Span = tuple[float, float, int | None]
"""Where a piece of an axis is drawn, from and to, and its number; None for those left out."""


def colors_of(tiles: int) -> list[str]:
    """A color for each tile."""
    if tiles <= len(PALETTE):
        return list(PALETTE[:tiles])
    found = []
    for t in range(tiles):
        rgb = colorsys.hsv_to_rgb(0.57 + 0.9 * t / tiles, 0.52, 0.76 if t % 2 else 0.66)
        found.append("#" + "".join(f"{round(255 * c):02x}" for c in rgb))
    return found


class _Sizes:
    """How long an axis is drawn, the same for equal extents."""

    def __init__(self, told: Explanation) -> None:
        extents = [n for cut in told.arrays.values() for n in cut.shape if n] + list(told.extents)
        self.most = max(extents, default=1)

    @property
    def cell(self) -> float:
        """The length of one cell where cells can be told apart; else 0."""
        return min(18.0, 200.0 / self.most) if self.most <= _COUNTED else 0.0

    def of(self, extent: int | None) -> float:
        if extent is None:
            return _SHORTEST + 30
        if self.cell:
            return self.cell * max(1, extent)
        return _SHORTEST + (_LONGEST - _SHORTEST) * math.sqrt(extent / max(1, self.most))


def _spans(length: float, bounds: Sequence[tuple[int, int]], extent: int) -> list[Span]:
    """Where the pieces of an axis are drawn."""
    count = len(bounds)
    if count <= _MOST:
        total = max(1, extent)
        return [(a / total * length, b / total * length, n) for n, (a, b) in enumerate(bounds)]
    shown_ones: list[int | None] = [*range(4), None, *range(count - 3, count)]
    width = length / len(shown_ones)
    return [(n * width, (n + 1) * width, piece) for n, piece in enumerate(shown_ones)]


class Drawing:
    """The parts of a picture, put together."""

    def __init__(self, told: Explanation) -> None:
        self.told, self.sizes = told, _Sizes(told)
        self.colors = colors_of(max(1, told.count))
        self.legend: dict[str, str] = {}

    def panel(self, layout: Layout, cut: ArrayCut) -> tuple[list[Item], float, float]:
        """One array with its name and its axes, from the origin on; then its width and height."""
        names = _axis_names(cut)[-3:]
        spans = [self._axis(layout, axis) for axis in range(len(layout.axes))]
        if len(spans) > 3:  # the last three; what comes before is said in words
            spans = spans[-3:]
        skipped = len(layout.axes) - len(spans)
        items: list[Item] = []
        if len(spans) == 3:
            width, height = self._box(items, layout, cut, spans, skipped, names)
        else:
            width, height = self._flat(items, layout, cut, spans, names)
        below = _wrapped([shape_of(cut.shape), *_in_lines(how(cut, self.told.count))])
        wide = max(width, 7.6 * len(cut.notation), *(6.2 * len(line) for line in below))
        left = 8 + 6.8 * max((len(name) for name in names[:-1]), default=-2)
        shift = max((wide - width) / 2, left)
        wide = max(wide, shift + width)
        middle = shift + width / 2
        head = Label((middle, 8), cut.notation, 12.5, mono=True, bold=True)
        moved = [_moved(item, shift, 44) for item in items]
        text = [
            Label((middle, height + 60 + 15 * n), line, 11, color=INK if n else FAINT) for n, line in enumerate(below)
        ]
        return [head, *moved, *text], wide, height + 60 + 15 * len(below)

    def _axis(self, layout: Layout, axis: int) -> list[Span]:
        a, extent = layout.axes[axis], layout.shape[axis]
        length = self.sizes.of(extent)
        if layout.joined and axis == 0:
            return _spans(length, self.told.pieces[self.told.indices[0]], self.told.extents[0])
        if a == WHOLE:
            return [(0.0, length, 0)]
        return _spans(length, tuple(self.told.pieces.values())[a], self.told.extents[a])

    def tiles_of(self, layout: Layout, at: Sequence[int | None]) -> list[int] | None:
        """The numbers of the tiles that have this part; None where it stands for many parts."""
        counts = self.told.counts
        fixed: dict[int, int] = {}
        for axis, piece in enumerate(at):
            a = 0 if layout.joined and axis == 0 else layout.axes[axis]
            if piece is None:
                return None
            if a != WHOLE:
                fixed[a] = piece
        found = []
        for pieces in product(*([fixed[i]] if i in fixed else range(n) for i, n in enumerate(counts))):
            number = 0
            for n, piece in zip(counts, pieces, strict=True):
                number = number * n + piece
            found.append(number)
            if len(found) > _BANDS:
                break
        return found

    def _flat(
        self, items: list[Item], layout: Layout, cut: ArrayCut, spans: list[list[Span]], names: list[str]
    ) -> tuple[float, float]:
        rows: list[Span] = spans[0] if len(spans) == 2 else [(0.0, _BAR, 0)]
        columns: list[Span] = spans[-1] if spans else [(0.0, _BAR, 0)]
        width, height = columns[-1][1], rows[-1][1]
        for (top, bottom, r), (left, right, c) in product(rows, columns):
            at = [r, c] if len(spans) == 2 else [c] if spans else []
            corners = rectangle(left, top, right - left, bottom - top)
            items += self._part(corners, self.tiles_of(layout, at), cut)
        if self.sizes.cell:
            self._cells(items, width, height, two=len(spans) == 2, one=len(spans) == 1)
        if cut.how == "halo":
            self._halo(items, cut, rows, columns, two=len(spans) == 2)
        items.append(Shape(rectangle(0, 0, width, height), None, FAINT, 1.2))
        if len(spans) == 2:
            items.append(Label((-8, height / 2), names[0], 11, anchor="end", mono=True))
        if spans:
            items.append(Label((width / 2, -10), names[-1], 11, mono=True))
        return width, height

    def _part(self, corners: tuple[Point, ...], tiles: list[int] | None, cut: ArrayCut) -> Iterator[Item]:
        """A parallelogram in the colors of its tiles."""
        if tiles is None:
            yield Shape(corners, NOBODY, "white", 0.8, opacity=0.35)
            yield Label(_middle(corners), "…", 14)
            return
        many = len(tiles) > _BANDS
        if many:
            yield Shape(corners, NOBODY, "white", 0.8, opacity=0.55)
        else:
            p0, p1, p2, p3 = corners
            for n, tile in enumerate(tiles):
                band = (
                    _between(p0, p1, n / len(tiles)),
                    _between(p0, p1, (n + 1) / len(tiles)),
                    _between(p3, p2, (n + 1) / len(tiles)),
                    _between(p3, p2, n / len(tiles)),
                )
                yield Shape(band, self.colors[tile], None)
        if len(tiles) > 1 and cut.op:
            self.legend["+"] = "+  tiles' partial results are combined"
            x, y = _middle(corners)
            for dx, dy in ((6, 0), (0, 6)):
                yield Line((x - dx, y - dy), (x + dx, y + dy), "white", 3.0)
        elif len(tiles) > 1:
            self.legend["hatch"] = "hatched: every tile of these colors has the whole part"
            yield from hatching(corners, "white")
        elif self.told.count <= 32 and min(_extent(corners)) > 15:
            yield Label(_middle(corners), str(tiles[0]), 10.5, color="white", bold=True)
        yield Shape(corners, None, "white", 1.4)

    def _halo(self, items: list[Item], cut: ArrayCut, rows: list[Span], columns: list[Span], *, two: bool) -> None:
        """The window of a tile in the middle, with a halo that is drawn wide enough to be seen."""
        sides = cut.halo if two else ((0, 0), *cut.halo)
        if len(cut.halo) > 2:
            sides = cut.halo[-2:]
        (top, bottom, _), (left, right, _) = rows[len(rows) // 2], columns[len(columns) // 2]
        (above, below), (before, after) = sides

        cell = self.sizes.cell

        def reach(cells: int, room: float) -> float:
            return min(room, cells * cell or 6.0 + 2.0 * min(cells, 4)) if cells else 0.0

        x0, x1 = left - reach(before, left), right + reach(after, columns[-1][1] - right)
        y0, y1 = top - reach(above, top), bottom + reach(below, rows[-1][1] - bottom)
        strips = (
            rectangle(x0, y0, x1 - x0, top - y0),
            rectangle(x0, bottom, x1 - x0, y1 - bottom),
            rectangle(x0, top, left - x0, bottom - top),
            rectangle(right, top, x1 - right, bottom - top),
        )
        items += [Shape(strip, "white", None, opacity=0.45) for strip in strips if min(_extent(strip)) > 0.5]
        items.append(Shape(rectangle(x0, y0, x1 - x0, y1 - y0), None, INK, 2.0, dashed=True))
        larger = "" if cell else " (drawn larger than it is)"
        self.legend["halo"] = f"dashed: what one tile reads, with its halo{larger}"

    def _cells(self, items: list[Item], width: float, height: float, *, two: bool, one: bool) -> None:
        """A line between any two cells."""
        step = self.sizes.cell
        if one or two:
            items += [
                Line((step * n, 0), (step * n, height), "white", 0.7, opacity=0.45)
                for n in range(1, round(width / step))
            ]
        if two:
            items += [
                Line((0, step * n), (width, step * n), "white", 0.7, opacity=0.45)
                for n in range(1, round(height / step))
            ]

    def _box(
        self, items: list[Item], layout: Layout, cut: ArrayCut, spans: list[list[Span]], skipped: int, names: list[str]
    ) -> tuple[float, float]:
        """A box: the last two axes in front, the one before them into the depth."""
        depth, rows, columns = spans
        deep, height, width = depth[-1][1] * 0.6, rows[-1][1] * 0.8, columns[-1][1] * 0.8
        dx, dy = deep * 0.72, deep * 0.5

        def at(d: float, r: float, c: float) -> Point:
            share = d / (depth[-1][1] or 1)
            return c * 0.8 + dx * share, r * 0.8 + dy * (1 - share)

        lead = [0] * skipped
        for (d0, d1, d), (c0, c1, c) in product(reversed(depth), columns):  # the top
            corners = (at(d0, 0, c0), at(d0, 0, c1), at(d1, 0, c1), at(d1, 0, c0))
            items += self._part(corners, self.tiles_of(layout, [*lead, d, rows[0][2], c]), cut)
        for (d0, d1, d), (r0, r1, r) in product(reversed(depth), rows):  # the right side
            end = columns[-1][1]
            corners = (at(d0, r0, end), at(d1, r0, end), at(d1, r1, end), at(d0, r1, end))
            items += self._part(corners, self.tiles_of(layout, [*lead, d, r, columns[-1][2]]), cut)
            items.append(Shape(corners, "#000000", None, opacity=0.14))
        for (r0, r1, r), (c0, c1, c) in product(rows, columns):  # the front
            corners = (at(0, r0, c0), at(0, r0, c1), at(0, r1, c1), at(0, r1, c0))
            items += self._part(corners, self.tiles_of(layout, [*lead, depth[0][2], r, c]), cut)
        items += [
            Label((-8, dy + height / 2), names[1], 11, anchor="end", mono=True),
            Label((width / 2, dy + height + 10), names[2], 11, mono=True),
            Label((dx / 2 - 8, dy / 2 - 6), names[0], 11, anchor="end", mono=True),
        ]
        return width + dx, height + dy + 14

    # -- the space of three indices -----------------------------------------------------------------

    def cube(self) -> tuple[list[Item], float, float] | None:
        """The tiles as blocks of the space of three indices, with the arrays on its faces; None where it is another."""
        told = self.told
        plan = told.question.plan
        layouts = (*plan.operands, *plan.results)
        flat = [{a for a in layout.axes if a != WHOLE} for layout in layouts]
        if len(plan.extents) != 3 or told.count < 2 or told.count > 64 or any(len(f) > 2 for f in flat):
            return None
        spans = [
            _spans(self.sizes.of(n) * 0.85, bounds, n)
            for n, bounds in zip(plan.extents, told.pieces.values(), strict=True)
        ]
        gap = 7.0
        down, right, left = ([(a + gap * k, b + gap * k, n) for k, (a, b, n) in enumerate(s)] for s in spans)
        # The first index goes down, the second to the lower right, the third to the lower left.
        x0, top = 0.866 * left[-1][1], 0.0

        def at(m: float, k: float, n: float) -> Point:
            return x0 + 0.866 * (k - n), top + m + 0.5 * (k + n)

        items: list[Item] = []
        for (m0, m1, m), (k0, k1, k), (n0, n1, n) in product(reversed(down), right, left):
            if None in (m, k, n):
                continue
            counts = told.counts
            color = self.colors[(int(m or 0) * counts[1] + int(k or 0)) * counts[2] + int(n or 0)]
            faces = (
                ((at(m0, k0, n0), at(m0, k1, n0), at(m0, k1, n1), at(m0, k0, n1)), 0.0, {1, 2}, m == 0),
                ((at(m0, k1, n0), at(m0, k1, n1), at(m1, k1, n1), at(m1, k1, n0)), 0.26, {0, 2}, k == right[-1][2]),
                ((at(m0, k0, n1), at(m0, k1, n1), at(m1, k1, n1), at(m1, k0, n1)), 0.12, {0, 1}, n == left[-1][2]),
            )
            for corners, shade, own, outside in faces:
                items.append(Shape(corners, color, "white", 1.2))
                if shade:
                    items.append(Shape(corners, "#000000", None, opacity=shade))
                if outside:
                    letters = [layout.name for layout, indices in zip(layouts, flat, strict=True) if indices == own]
                    items.append(Label(_middle(corners), " ".join(letters), 14, bold=True, color="white", mono=True))
        self.legend["cube"] = "each block is a tile, and its faces are the tile's parts of the arrays"
        height, high, wide = down[-1][1], left[-1][1], right[-1][1]
        names = [shown(n) for n in plan.indices]
        items += [
            Label((at(height / 2, 0, high)[0] - 9, at(height / 2, 0, high)[1]), names[0], 12, "end", mono=True),
            Label((at(height, wide / 2, high)[0] - 8, at(height, wide / 2, high)[1] + 12), names[1], 12, mono=True),
            Label((at(height, wide, high / 2)[0] + 8, at(height, wide, high / 2)[1] + 12), names[2], 12, mono=True),
        ]
        return items, 0.866 * (high + wide), height + 0.5 * (high + wide) + 20


def picture(told: Explanation, *, titled: bool = True) -> Scene:
    """The picture of an explanation, with the kernel's name and notation on top where it is `titled`."""
    drawing = Drawing(told)
    plan = told.question.plan
    cuts = list(told.arrays.values())
    panels = [drawing.panel(layout, cut) for layout, cut in zip((*plan.operands, *plan.results), cuts, strict=True)]
    cube = drawing.cube()
    operands = len(plan.operands)
    tallest = max((h for _, _, h in panels), default=0)
    x, top = _EDGE, 64.0 if titled else 8.0
    items: list[Item] = []
    if cube is not None:
        shapes, wide, high = cube
        items += [_moved(item, x + 18, top + 20) for item in shapes]
        x += wide + 70
        tallest = max(tallest, high + 20)
    for n, (shapes, wide, _) in enumerate(panels):
        if n == operands and n:
            items.append(Line((x - 14, top + 59), (x + 22, top + 59), INK, 1.6, arrow=True))
            x += _PAD + 24
        items += [_moved(item, x, top) for item in shapes]
        x += wide + _PAD + 22
    title = f"{told.question.definition.name}: {told.question.definition.notation}"
    where = where_of(told)
    bottom = top + tallest + 12
    said = drawing.legend.values()
    notes = [Label((_EDGE, bottom + 16 * n), text, 11, "start", color=FAINT) for n, text in enumerate(said)]
    head: tuple[Label, ...] = ()
    if titled:
        head = (
            Label((_EDGE, 22), title, 14, "start", mono=True, bold=True),
            Label((_EDGE, 42), where, 12, "start", color=FAINT),
        )
    texts = [2 * _EDGE + (0.6 if t.mono else 0.56) * t.size * len(t.text) for t in (*head, *notes)]
    width = max([x - 10, *texts])
    return Scene(width, bottom + 16 * len(notes) + 8, (*head, *items, *notes), f"{title}; {where}")


def _axis_names(cut: ArrayCut) -> list[str]:
    """For each axis what the notation says of it; those of ``...`` are dots."""
    inside = cut.notation[cut.notation.index("[") + 1 : -1]
    words = [w.strip() for w in inside.split(",")] if inside else []
    if words[:1] == ["..."]:
        words = ["..."] * (len(cut.shape) - len(words) + 1) + words[1:]
    return words


def _in_lines(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"; |, (?=over|halo)", text)]


def _wrapped(lines: Sequence[str], most: int = 30) -> list[str]:
    return [own for line in lines for own in textwrap.wrap(line, most, break_long_words=False, break_on_hyphens=False)]


def _moved(item: Item, dx: float, dy: float) -> Item:
    def to(point: Point) -> Point:
        return point[0] + dx, point[1] + dy

    if isinstance(item, Shape):
        return replace(item, points=tuple(map(to, item.points)))
    if isinstance(item, Line):
        return replace(item, start=to(item.start), end=to(item.end))
    return replace(item, at=to(item.at))


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _middle(points: Sequence[Point]) -> Point:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _extent(points: Sequence[Point]) -> tuple[float, float]:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return max(xs) - min(xs), max(ys) - min(ys)
