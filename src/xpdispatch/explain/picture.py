"""The picture of an answer: every array cut into tiles, and the common space of three indices as blocks.

What one tile needs and makes has its color in every array. A part that several tiles need has the colors of all of them
and is hatched; a part to which several tiles add has them too, and a plus sign.
"""

from __future__ import annotations

import colorsys
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product

from xpdispatch.explain.answer import Answer
from xpdispatch.explain.arrays import ArrayCut
from xpdispatch.explain.drawing import FAINT, INK, Label, Point, Scene, Shape, arrow, hatching, rectangle
from xpdispatch.explain.report import how, shape_of, where_of
from xpdispatch.explain.tiling import Pieces
from xpdispatch.planning.plan import WHOLE
from xpdispatch.planning.tiles import shown

PALETTE = ("#4c86b8", "#e39a3b", "#5d9b6b", "#c0567a", "#8671b5", "#3a9fa0", "#a9803f", "#7d8a99")
MANY = "#9aa4b0"
"""Of what stands for many tiles."""

_SHORTEST, _LONGEST = 42.0, 140.0
_BAR = 30.0
_MOST = 10
"""Pieces of an axis that are drawn; of more the first and the last ones."""
_BANDS = 8
"""Colors that a shared part shows."""
_PAD, _EDGE, _GAP = 48.0, 14.0, 7.0
_COUNTED = 24
"""Extents up to which each element is drawn."""

_OBLIQUE = ((0.0, 0.8), (0.8, 0.0), (-0.43, 0.3))
_ISOMETRIC = ((0.0, 1.0), (0.866, 0.5), (-0.866, 0.5))
"""Where three axes go that are down, to the right, and towards the reader."""

Item = Shape | Label
Span = tuple[float, float, int | None]
"""Where a piece of an axis is drawn, from and to, and its number; None for those left out."""


def picture(answer: Answer, *, titled: bool = True) -> Scene:
    """The picture of an answer, with the kernel's name and notation on top where it is `titled`."""
    drawing, arrays = _Drawing(answer), list(answer.arrays.values())
    x, y = _EDGE, 64.0 if titled else 8.0
    tallest = 0.0
    items: list[Item] = []
    blocks = drawing.blocks(arrays)
    if blocks:
        items += _moved(blocks, x + 18, y + 20)
        wide, high = _far_corner(blocks)
        x, tallest = x + wide + 70, high + 40
    for n, array in enumerate(arrays):
        if n and array.is_result and not arrays[n - 1].is_result:
            items += arrow((x - 14, y + 59), 36)
            x += 50
        panel, wide, high = drawing.panel(array)
        items += _moved(panel, x, y)
        x, tallest = x + wide + _PAD, max(tallest, high)
    title, where, bottom = ": ".join(answer.question.title), where_of(answer), y + tallest + 12
    texts = [Label((_EDGE, bottom + 16 * n), t, 11, "start", color=FAINT) for n, t in enumerate(drawing.legend)]
    height = bottom + 16 * len(texts) + 8
    if titled:
        texts.append(Label((_EDGE, 22), title, 14, "start", mono=True, bold=True))
        texts.append(Label((_EDGE, 42), where, 12, "start", color=FAINT))
    widths = [2 * _EDGE + (0.6 if t.mono else 0.56) * t.size * len(t.text) for t in texts]
    return Scene(max([x - 10, *widths]), height, (*items, *texts), f"{title}; {where}")


def colors_of(tiles: int) -> list[str]:
    """A color for each tile."""
    if tiles <= len(PALETTE):
        return list(PALETTE[:tiles])
    found = []
    for t in range(tiles):
        rgb = colorsys.hsv_to_rgb(0.57 + 0.9 * t / tiles, 0.52, 0.76 if t % 2 else 0.66)
        found.append("#" + "".join(f"{round(255 * c):02x}" for c in rgb))
    return found


class _Drawing:
    """The parts of a picture, on one scale and in the same colors, and what is to be said of them."""

    def __init__(self, answer: Answer) -> None:
        self.tiling, self.legend = answer.tiling, dict[str, None]()
        shapes = [array.shape for array in answer.arrays.values()]
        self.longest = max(
            [n for shape in (*shapes, [cut.extent for cut in answer.tiling.cuts]) for n in shape if n], default=1
        )
        self.colors = colors_of(answer.count) if answer.count <= 1 << 12 else []

    @property
    def step(self) -> float:
        """The length of one element where elements can be told apart; else 0."""
        return min(18.0, 200.0 / self.longest) if self.longest <= _COUNTED else 0.0

    def length(self, extent: int | None) -> float:
        """How long an axis is drawn, the same for equal extents."""
        if extent is None:
            return _SHORTEST + 30
        if self.step:
            return self.step * max(1, extent)
        return _SHORTEST + (_LONGEST - _SHORTEST) * math.sqrt(extent / self.longest)

    # -- one array ----------------------------------------------------------------------------------

    def panel(self, array: ArrayCut) -> tuple[list[Item], float, float]:
        """An array with its notation and its shape, from the origin on; then its width and height."""
        names, rank = _axis_names(array), len(array.shape)
        spans = [self._spans_of(array, axis) for axis in range(rank)]
        drawn = self._box(array, spans, names) if rank > 2 else self._flat(array, spans, names)
        width, height = _far_corner(drawn)
        height += 14 if rank > 2 else 0  # the name of an edge is below
        below = [
            line
            for text in (shape_of(array.shape), *re.split(r"; |, (?=over|halo)", how(array)))
            for line in textwrap.wrap(text, 30, break_long_words=False, break_on_hyphens=False)
        ]
        wide = max(width, 7.6 * len(array.notation), *(6.2 * len(line) for line in below))
        shift = max((wide - width) / 2, 8 + 6.8 * len(names[-2]) if rank > 1 else 0)
        wide, middle = max(wide, shift + width), shift + width / 2
        head = Label((middle, 8), array.notation, 12.5, mono=True, bold=True)
        text = [
            Label((middle, height + 60 + 15 * n), line, 11, color=INK if n else FAINT) for n, line in enumerate(below)
        ]
        return [head, *_moved(drawn, shift, 44), *text], wide, height + 60 + 15 * len(below)

    def _spans_of(self, array: ArrayCut, axis: int) -> list[Span]:
        index, length = array.index(axis), self.length(array.shape[axis])
        return [(0.0, length, 0)] if index == WHOLE else _spans(length, self.tiling.cuts[index])

    def _flat(self, array: ArrayCut, spans: list[list[Span]], names: Sequence[str]) -> list[Item]:
        """An array of two axes or fewer, as a rectangle."""
        one: list[Span] = [(0.0, _BAR, 0)]
        rows, columns = [*[one] * (2 - len(spans)), *spans]
        width, height = columns[-1][1], rows[-1][1]
        items: list[Item] = []
        for (top, bottom, r), (left, right, c) in product(rows, columns):
            at = (r, c)[2 - len(spans) :]
            items += self._part(rectangle(left, top, right, bottom), array, at)
        if self.step and spans:  # a line between any two elements
            across = [(self.step * n, 0.0, self.step * n, height) for n in range(1, round(width / self.step))]
            if len(spans) == 2:
                across += [(0.0, self.step * n, width, self.step * n) for n in range(1, round(height / self.step))]
            items += [Shape(((a, b), (c, d)), width=0.7, opacity=0.45) for a, b, c, d in across]
        if array.how == "halo":
            items += self._halo(array, rows, columns)
        items.append(Shape(rectangle(0, 0, width, height), None, FAINT, 1.2))
        if len(spans) == 2:
            items.append(Label((-8, height / 2), names[0], 11, "end", mono=True))
        if spans:
            items.append(Label((width / 2, -10), names[-1], 11, mono=True))
        return items

    def _part(self, corners: tuple[Point, ...], array: ArrayCut, at: Sequence[int | None]) -> Iterator[Item]:
        """A part of an array in the colors of the tiles that have it; `at` numbers the pieces of its axes."""
        if None in at:
            yield Shape(corners, MANY, "white", 0.8, opacity=0.35)
            yield Label(_middle(corners), "…", 14)
            return
        tiles = self._tiles_of(array, at)
        if len(tiles) > _BANDS:
            yield Shape(corners, MANY, "white", 0.8, opacity=0.55)
        else:
            p0, p1, p2, p3 = corners
            for n, tile in enumerate(tiles):
                low, high = n / len(tiles), (n + 1) / len(tiles)
                band = _between(p0, p1, low), _between(p0, p1, high), _between(p3, p2, high), _between(p3, p2, low)
                yield Shape(band, self.colors[tile] if self.colors else MANY, None)
        x, y = _middle(corners)
        if len(tiles) > 1 and array.op:
            self.legend["+  tiles' partial results are combined"] = None
            yield Shape(((x - 6, y), (x + 6, y)), width=3.0)
            yield Shape(((x, y - 6), (x, y + 6)), width=3.0)
        elif len(tiles) > 1:
            self.legend["hatched: every tile of these colors has the full part"] = None
            yield from hatching(corners)
        elif self.tiling.count <= 32 and min(_extent(corners)) > 15:
            yield Label((x, y), str(tiles[0]), 10.5, color="white", bold=True)
        yield Shape(corners, None, "white", 1.4)

    def _tiles_of(self, array: ArrayCut, at: Sequence[int | None]) -> list[int]:
        """The numbers of the tiles that have this part, one more than can be shown at most."""
        fixed = {array.index(axis): int(piece or 0) for axis, piece in enumerate(at)}
        counts, found = self.tiling.counts, list[int]()
        for pieces in product(*([fixed[i]] if i in fixed else range(n) for i, n in enumerate(counts))):
            found.append(_number(counts, pieces))
            if len(found) > _BANDS:
                break
        return found

    def _halo(self, array: ArrayCut, rows: list[Span], columns: list[Span]) -> Iterator[Shape]:
        """The window of a tile in the middle, with a halo that is drawn wide enough to be seen."""
        (above, below), (before, after) = ((0, 0), *array.halo)[-2:]
        (top, bottom, _), (left, right, _) = rows[len(rows) // 2], columns[len(columns) // 2]

        def reach(elements: int, room: float) -> float:
            return min(room, elements * self.step or 6.0 + 2.0 * min(elements, 4)) if elements else 0.0

        x0, x1 = left - reach(before, left), right + reach(after, columns[-1][1] - right)
        y0, y1 = top - reach(above, top), bottom + reach(below, rows[-1][1] - bottom)
        for strip in (
            rectangle(x0, y0, x1, top),
            rectangle(x0, bottom, x1, y1),
            rectangle(x0, top, left, bottom),
            rectangle(right, top, x1, bottom),
        ):
            if min(_extent(strip)) > 0.5:
                yield Shape(strip, "white", None, opacity=0.45)
        yield Shape(rectangle(x0, y0, x1, y1), None, INK, 2.0, dashed=True)
        larger = "" if self.step else " (drawn larger than it is)"
        self.legend[f"dashed: what one tile reads, with its halo{larger}"] = None

    # -- blocks -------------------------------------------------------------------------------------

    def _box(self, array: ArrayCut, spans: list[list[Span]], names: Sequence[str]) -> list[Item]:
        """An array's last three axes as a box, the first of them into the depth; what is before is said in words."""
        depth, rows, columns = spans[-3:]
        end = depth[-1][1]
        towards = [(end - b, end - a, n) for a, b, n in reversed(depth)]
        items: list[Item] = []
        for corners, (r, c, d), face, outside in _blocks((rows, columns, towards), _OBLIQUE):
            if outside:
                items += self._part(corners, array, [*[0] * (len(spans) - 3), d, r, c])
                items += _shade(corners, face)
        return _from_origin(items, _edge_labels((rows, columns, towards), _OBLIQUE, (names[-2], names[-1], names[-3])))

    def blocks(self, arrays: Sequence[ArrayCut]) -> list[Item]:
        """The tiles as blocks of the space of three indices, with the arrays on its faces; empty for other spaces."""
        tiling = self.tiling
        indices = [{a for a in array.layout.axes if a != WHOLE} for array in arrays]
        if len(tiling.cuts) != 3 or not 2 <= tiling.count <= 64 or any(len(own) > 2 for own in indices):
            return []
        spans = [
            [(a + _GAP * k, b + _GAP * k, n) for k, (a, b, n) in enumerate(_spans(self.length(c.extent) * 0.85, c))]
            for c in tiling.cuts
        ]
        items: list[Item] = []
        for corners, place, face, outside in _blocks(spans, _ISOMETRIC):
            if None in place:
                continue
            items.append(Shape(corners, self.colors[_number(tiling.counts, place)], "white", 1.2))
            items += _shade(corners, face)
            if outside:
                own = {0, 1, 2} - {face}
                names = " ".join(a.name for a, others in zip(arrays, indices, strict=True) if others == own)
                items.append(Label(_middle(corners), names, 14, bold=True, color="white", mono=True))
        self.legend["each block is a tile, and its faces are the tile's parts of the arrays"] = None
        return _from_origin(items, _edge_labels(spans, _ISOMETRIC, [shown(n) for n in tiling.indices]))


def _spans(length: float, cut: Pieces) -> list[Span]:
    """Where the pieces of an axis are drawn."""
    if 0 < cut.filled <= _MOST:
        borders = [border / max(1, cut.extent) * length for border in cut.borders[: cut.filled + 1].tolist()]
        return [(a, b, n) for n, (a, b) in enumerate(pairwise(borders))]
    if not cut.filled:
        return [(0.0, length, None)]
    chosen: list[int | None] = [*range(4), None, *range(cut.filled - 3, cut.filled)]
    width = length / len(chosen)
    return [(n * width, (n + 1) * width, piece) for n, piece in enumerate(chosen)]


def _blocks(
    spans: Sequence[list[Span]], directions: Sequence[Point]
) -> Iterator[tuple[tuple[Point, ...], tuple[int | None, ...], int, bool]]:
    """The visible faces of the blocks of three axes, those behind first.

    Each has its corners, the pieces, the axis that it does not have, and whether it lies on the outside of all blocks.
    """
    at = _projection(directions)
    down, right, near = spans
    for (m0, m1, m), (k0, k1, k), (n0, n1, n) in product(reversed(down), right, near):
        top = at(m0, k0, n0), at(m0, k1, n0), at(m0, k1, n1), at(m0, k0, n1)
        side = at(m0, k1, n0), at(m0, k1, n1), at(m1, k1, n1), at(m1, k1, n0)
        front = at(m0, k0, n1), at(m0, k1, n1), at(m1, k1, n1), at(m1, k0, n1)
        outside = m0 == down[0][0], k1 == right[-1][1], n1 == near[-1][1]
        for face, corners in enumerate((top, side, front)):
            yield corners, (m, k, n), face, outside[face]


def _shade(corners: tuple[Point, ...], face: int) -> list[Shape]:
    """What makes the side and the front of a block darker than its top."""
    return [Shape(corners, "#000000", None, opacity=(0.26, 0.12)[face - 1])] if face else []


def _edge_labels(spans: Sequence[list[Span]], directions: Sequence[Point], names: Sequence[str]) -> list[Label]:
    at = _projection(directions)
    m, k, n = (axis[-1][1] for axis in spans)
    places = (
        (at(m / 2, 0, n), (-9, 0), "end"),
        (at(m, k / 2, n), (-4, 12), "middle"),
        (at(m, k, n / 2), (6, 10), "start"),
    )
    return [
        Label((x + dx, y + dy), name, 12, anchor, mono=True)
        for ((x, y), (dx, dy), anchor), name in zip(places, names, strict=True)
    ]


def _projection(directions: Sequence[Point]) -> Callable[[float, float, float], Point]:
    def at(*place: float) -> Point:
        x, y = (sum(p * d[c] for p, d in zip(place, directions, strict=True)) for c in (0, 1))
        return x, y

    return at


def _number(counts: Sequence[int], pieces: Sequence[int | None]) -> int:
    """The number of a tile, in row-major order."""
    number = 0
    for n, piece in zip(counts, pieces, strict=True):
        number = number * n + int(piece or 0)
    return number


def _axis_names(array: ArrayCut) -> list[str]:
    """For each axis what the notation says of it; those of ``...`` are dots."""
    inside = array.notation[array.notation.index("[") + 1 : -1]
    words = [w.strip() for w in inside.split(",")] if inside else []
    if words[:1] == ["..."]:
        words = ["..."] * (len(array.shape) - len(words) + 1) + words[1:]
    return words


# -- geometry ---------------------------------------------------------------------------------------


def _far_corner(items: Sequence[Item]) -> Point:
    """How far the shapes go to the right and down."""
    points = [p for item in items if isinstance(item, Shape) for p in item.points]
    return max(x for x, _ in points), max(y for _, y in points)


def _from_origin(items: Sequence[Item], labels: Sequence[Label]) -> list[Item]:
    """All of them moved so that the shapes begin at the origin."""
    points = [p for item in items if isinstance(item, Shape) for p in item.points]
    return _moved([*items, *labels], -min(x for x, _ in points), -min(y for _, y in points))


def _moved(items: Sequence[Item], dx: float, dy: float) -> list[Item]:
    return [
        replace(i, points=tuple((x + dx, y + dy) for x, y in i.points))
        if isinstance(i, Shape)
        else replace(i, at=(i.at[0] + dx, i.at[1] + dy))
        for i in items
    ]


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _middle(points: Sequence[Point]) -> Point:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _extent(points: Sequence[Point]) -> tuple[float, float]:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return max(xs) - min(xs), max(ys) - min(ys)
