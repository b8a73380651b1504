"""The picture of an answer: every array cut into tiles, and the common space of three indices as blocks.

What one tile needs and makes has its color in every array. A part that several tiles need has the colors of all of them
and is hatched; a part to which several tiles add has them too, and a plus sign.
"""

from __future__ import annotations

import colorsys
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise, product
from typing import NamedTuple

from xpdispatch.explain.answer import Answer
from xpdispatch.explain.arrays import ArrayCut
from xpdispatch.explain.canvas import FAINT, INK, Label, Point, Scene, Shape, arrow, hatching, rectangle
from xpdispatch.explain.sentences import how, shape_of, where_of
from xpdispatch.explain.tiling import Pieces
from xpdispatch.planning.tiles import shown
from xpdispatch.planning.windows import WHOLE

PALETTE = ("#4c86b8", "#e39a3b", "#5d9b6b", "#c0567a", "#8671b5", "#3a9fa0", "#a9803f", "#7d8a99")
MANY = "#9aa4b0"
"""Of what stands for many tiles."""

_SHORTEST, _LONGEST, _BAR = 42.0, 140.0, 30.0
_PAD, _EDGE, _GAP = 48.0, 14.0, 7.0
_MOST = 10
"""Pieces of an axis that are drawn; of more the first and the last ones."""
_BANDS = 8
"""Colors that a shared part shows."""
_COUNTED = 24
"""Extents up to which each element is drawn."""

_FLAT = 1j, 1.0, 0.0
_OBLIQUE = 0.8j, 0.8, -0.43 + 0.3j
_ISOMETRIC = 1j, 0.866 + 0.5j, -0.866 + 0.5j
"""Where three axes go that are down, to the right, and towards the reader."""
_FRONT = 2
"""The face that does not have the third of them."""

Item = Shape | Label
At = Sequence[int | None]
"""The numbers of a part's pieces, by axis; None for pieces that are left out."""


class _Span(NamedTuple):
    """Where a piece of an axis is drawn, and its number."""

    start: float
    end: float
    piece: int | None


def picture(answer: Answer, *, titled: bool = True) -> Scene:
    """The picture of an answer, with the kernel's name and notation on top where it is `titled`."""
    drawing, arrays = _Drawing(answer), list(answer.arrays.values())
    items: list[Item] = []
    x, top, tallest = _EDGE, 64j if titled else 8j, 0.0
    blocks = drawing.blocks(arrays)
    if blocks:
        items += _moved(blocks, x + 18 + top + 20j)
        corner = _corner(blocks)
        x, tallest = x + corner.real + 70, corner.imag + 40
    for n, array in enumerate(arrays):
        if n and array.is_result and not arrays[n - 1].is_result:
            items += arrow(x - 14 + top + 59j, 36)
            x += 50
        panel, size = drawing.panel(array)
        items += _moved(panel, x + top)
        x, tallest = x + size.real + _PAD, max(tallest, size.imag)
    bottom = top.imag + tallest + 12
    lines = [Label(complex(_EDGE, bottom + 16 * n), t, 11, "start", color=FAINT) for n, t in enumerate(drawing.legend)]
    height, title, where = bottom + 16 * len(lines) + 8, ": ".join(answer.question.title), where_of(answer)
    if titled:
        lines.append(Label(_EDGE + 22j, title, 14, "start", mono=True, bold=True))
        lines.append(Label(_EDGE + 42j, where, 12, "start", color=FAINT))
    widths = [2 * _EDGE + (0.6 if line.mono else 0.56) * line.size * len(line.text) for line in lines]
    return Scene(max([x - 10, *widths]), height, (*items, *lines), f"{title}; {where}")


def color_of(tile: int, tiles: int) -> str:
    """The color of one of so many tiles."""
    if tiles <= len(PALETTE):
        return PALETTE[tile]
    rgb = colorsys.hsv_to_rgb(0.57 + 0.9 * tile / tiles, 0.52, 0.76 if tile % 2 else 0.66)
    return "#" + "".join(f"{round(255 * c):02x}" for c in rgb)


class _Drawing:
    """The parts of a picture, on one scale and in the same colors, and what is to be said of them."""

    def __init__(self, answer: Answer) -> None:
        self.tiling, self.legend = answer.tiling, dict[str, None]()
        extents = [n for array in answer.arrays.values() for n in array.shape if n]
        self.longest = max([*extents, *(cut.extent for cut in answer.tiling.cuts), 1])
        self.step = min(18.0, 200.0 / self.longest) if self.longest <= _COUNTED else 0.0  # 0: elements are too small

    def length(self, extent: int | None) -> float:
        """How long an axis is drawn, the same for equal extents."""
        if extent is None:
            return _SHORTEST + 30
        if self.step:
            return self.step * max(1, extent)
        return _SHORTEST + (_LONGEST - _SHORTEST) * math.sqrt(extent / self.longest)

    # -- one array ----------------------------------------------------------------------------------

    def panel(self, array: ArrayCut) -> tuple[list[Item], Point]:
        """An array with its notation and its shape, from the origin on, and the lower right corner of all that."""
        names = _axis_names(array)
        items = self._drawn(array, names)
        corner = _corner(items)
        texts = [shape_of(array.shape), *re.split(r"; |, (?=over|halo)", how(array))]
        lines = [line for t in texts for line in textwrap.wrap(t, 30, break_long_words=False, break_on_hyphens=False)]
        wide = max(corner.real, 7.6 * len(array.notation), *(6.2 * len(line) for line in lines))
        left = max((wide - corner.real) / 2, 8 + 6.8 * len(names[-2]) if len(names) > 1 else 0)
        middle, below = left + corner.real / 2, corner.imag + 62
        head = Label(middle + 8j, array.notation, 12.5, mono=True, bold=True)
        said = [
            Label(complex(middle, below + 15 * n), line, 11, color=INK if n else FAINT) for n, line in enumerate(lines)
        ]
        end = complex(max(wide, left + corner.real), below + 15 * len(lines))
        return [head, *_moved(items, left + 28j), *said], end

    def _drawn(self, array: ArrayCut, names: Sequence[str]) -> list[Item]:
        """An array's last two axes as a rectangle, or the last three as a box; what is before is said in words."""
        spans: list[list[_Span]] = []
        for axis, extent in enumerate(array.shape):
            index, length = array.index(axis), self.length(extent)
            spans.append([_Span(0.0, length, 0)] if index == WHOLE else _spans(length, self.tiling.cuts[index]))
        rank, missing = len(spans), [_Span(0.0, _BAR, 0)]
        depth, rows, columns = [missing, missing, missing, *spans][-3:]
        deep = depth[-1].end
        near = [_Span(deep - end, deep - start, piece) for start, end, piece in reversed(depth)]
        space, directions = (rows, columns, near), _OBLIQUE if rank > 2 else _FLAT
        items: list[Item] = []
        for corners, (r, c, d), face, outside in _blocks(space, directions):
            if outside and (face == _FRONT or rank > 2):
                at = (*[0] * (rank - 3), d, r, c)
                items += self._part(corners, array, at[len(at) - rank :])
                items += _shade(corners, face) if rank > 2 else []
        if rank < 3:
            items += self._elements(rank, complex(columns[-1].end, rows[-1].end))
            items += self._halo(array, rows, columns) if array.how == "halo" else []
        edges = ["", "", "", *names][-3:]
        return [*items, *_edge_labels(space, directions, (edges[1], edges[2], edges[0]))]

    def _elements(self, rank: int, end: Point) -> Iterator[Shape]:
        """A line around an array, and white ones between any two elements where these can be told apart."""
        for n in range(1, round(end.real / self.step) if self.step and rank else 0):
            yield Shape((self.step * n, complex(self.step * n, end.imag)), width=0.7, opacity=0.45)
        for n in range(1, round(end.imag / self.step) if self.step and rank == 2 else 0):
            yield Shape((self.step * n * 1j, complex(end.real, self.step * n)), width=0.7, opacity=0.45)
        yield Shape(rectangle(0, end), None, FAINT, 1.2)

    def _part(self, corners: tuple[Point, ...], array: ArrayCut, at: At) -> Iterator[Item]:
        """A part of an array in the colors of the tiles that have it."""
        middle = sum(corners) / 4
        if None in at:
            yield Shape(corners, MANY, "white", 0.8, opacity=0.35)
            yield Label(middle, "…", 14)
            return
        tiles = self._tiles_of(array, at)
        if len(tiles) > _BANDS:
            yield Shape(corners, MANY, "white", 0.8, opacity=0.55)
        else:
            a, b, c, d = corners
            along, across = (b - a) / len(tiles), (c - d) / len(tiles)
            for n, tile in enumerate(tiles):
                band = a + n * along, a + (n + 1) * along, d + (n + 1) * across, d + n * across
                yield Shape(band, color_of(tile, self.tiling.count), None)
        if len(tiles) > 1 and array.op:
            self.legend["+  tiles' partial results are combined"] = None
            yield from (Shape((middle - arm, middle + arm), width=3.0) for arm in (6, 6j))
        elif len(tiles) > 1:
            self.legend["hatched: every tile of these colors has the full part"] = None
            yield from hatching(corners)
        elif self.tiling.count <= 32 and _narrow(corners) > 15:
            yield Label(middle, str(tiles[0]), 10.5, color="white", bold=True)
        yield Shape(corners, None, "white", 1.4)

    def _tiles_of(self, array: ArrayCut, at: At) -> list[int]:
        """The numbers of the tiles that have this part, one more than can be shown at most."""
        fixed = {array.index(axis): piece for axis, piece in enumerate(at)}
        choices = [[fixed[i]] if i in fixed else range(n) for i, n in enumerate(self.tiling.counts)]
        return [self._number(pieces) for pieces in islice(product(*choices), _BANDS + 1)]

    def _number(self, pieces: At) -> int:
        """The number of a tile, in row-major order."""
        number = 0
        for n, piece in zip(self.tiling.counts, pieces, strict=True):
            number = number * n + (piece or 0)
        return number

    def _halo(self, array: ArrayCut, rows: list[_Span], columns: list[_Span]) -> Iterator[Shape]:
        """The window of a tile in the middle, with a halo that is drawn wide enough to be seen."""
        row, column = rows[len(rows) // 2], columns[len(columns) // 2]
        (above, below), (before, after) = ((0, 0), *array.halo)[-2:]

        def reach(elements: int, room: float) -> float:
            return min(room, elements * self.step or 6.0 + 2.0 * min(elements, 4)) if elements else 0.0

        left, top = column.start - reach(before, column.start), row.start - reach(above, row.start)
        right = column.end + reach(after, columns[-1].end - column.end)
        bottom = row.end + reach(below, rows[-1].end - row.end)
        yield Shape(rectangle(complex(left, top), complex(right, bottom)), None, INK, 2.0, dashed=True)
        larger = "" if self.step else " (drawn larger than it is)"
        self.legend[f"dashed: what one tile reads, with its halo{larger}"] = None

    # -- blocks -------------------------------------------------------------------------------------

    def blocks(self, arrays: Sequence[ArrayCut]) -> list[Item]:
        """The tiles as blocks of the space of three indices, with the arrays on its faces; empty for other spaces."""
        cuts = self.tiling.cuts
        indices = [{a for a in array.layout.axes if a != WHOLE} for array in arrays]
        if len(cuts) != 3 or not 2 <= self.tiling.count <= 64 or any(len(own) > 2 for own in indices):
            return []
        drawn = [_spans(self.length(cut.extent) * 0.85, cut) for cut in cuts]
        spans = [[_Span(a + _GAP * k, b + _GAP * k, n) for k, (a, b, n) in enumerate(axis)] for axis in drawn]
        items: list[Item] = []
        for corners, at, face, outside in _blocks(spans, _ISOMETRIC):
            if None in at:
                continue
            items.append(Shape(corners, color_of(self._number(at), self.tiling.count), "white", 1.2))
            items += _shade(corners, face)
            if outside:
                own = {0, 1, 2} - {face}
                names = " ".join(array.name for array, has in zip(arrays, indices, strict=True) if has == own)
                items.append(Label(sum(corners) / 4, names, 14, bold=True, color="white", mono=True))
        self.legend["each block is a tile, and its faces are the tile's parts of the arrays"] = None
        return [*items, *_edge_labels(spans, _ISOMETRIC, [shown(n) for n in self.tiling.indices])]


def _spans(length: float, cut: Pieces) -> list[_Span]:
    """Where the pieces of an axis are drawn."""
    if not cut.filled:
        return [_Span(0.0, length, None)]
    if cut.filled <= _MOST:
        places = [border / cut.extent * length for border in cut.borders[: cut.filled + 1].tolist()]
        return [_Span(start, end, n) for n, (start, end) in enumerate(pairwise(places))]
    chosen: list[int | None] = [*range(4), None, *range(cut.filled - 3, cut.filled)]
    width = length / len(chosen)
    return [_Span(n * width, (n + 1) * width, piece) for n, piece in enumerate(chosen)]


def _blocks(
    spans: Sequence[list[_Span]], directions: tuple[Point, Point, Point]
) -> Iterator[tuple[tuple[Point, ...], At, int, bool]]:
    """The visible faces of the blocks of three axes, those behind first.

    Each has its corners, the pieces, the axis that it does not have, and whether it lies on the outside of all blocks.
    """
    down, right, near = spans
    m, k, n = directions
    origin = _origin(spans, directions)
    for row, column, layer in product(reversed(down), right, near):
        lengths = [(span.end - span.start) * step for span, step in zip((row, column, layer), directions, strict=True)]
        first = origin + row.start * m + column.start * k + layer.start * n
        outside = row == down[0], column == right[-1], layer == near[-1]
        for face in range(3):
            a, b = lengths[:face] + lengths[face + 1 :]
            start = first + (lengths[face] if face else 0)  # a block shows its top, and the far ends of other axes
            corners = start, start + b, start + a + b, start + a
            yield corners, (row.piece, column.piece, layer.piece), face, outside[face]


def _origin(spans: Sequence[list[_Span]], directions: tuple[Point, Point, Point]) -> Point:
    """Where the corner lies from which three axes go, so that all lies right of and below 0."""
    ends = [axis[-1].end * step for axis, step in zip(spans, directions, strict=True)]
    return complex(-sum(min(0, end.real) for end in ends), -sum(min(0, end.imag) for end in ends))


def _shade(corners: tuple[Point, ...], face: int) -> list[Shape]:
    """What makes the side and the front of a block darker than its top."""
    return [Shape(corners, "#000000", None, opacity=(0.26, 0.12)[face - 1])] if face else []


def _edge_labels(
    spans: Sequence[list[_Span]], directions: tuple[Point, Point, Point], names: Sequence[str]
) -> list[Label]:
    m, k, n = (axis[-1].end * step for axis, step in zip(spans, directions, strict=True))
    origin = _origin(spans, directions)
    return [
        Label(origin + at, name, 11, anchor, mono=True)
        for at, name, anchor in (
            (m / 2 + n - 9, names[0], "end"),
            (m + k / 2 + n + 11j, names[1], "middle"),
            (m + k + n / 2 + 6 + 10j, names[2], "start"),
        )
        if name
    ]


def _axis_names(array: ArrayCut) -> list[str]:
    """For each axis what the notation says of it; those of ``...`` are dots."""
    inside = array.notation[array.notation.index("[") + 1 : -1]
    words = [w.strip() for w in inside.split(",")] if inside else []
    if words[:1] == ["..."]:
        words = ["..."] * (len(array.shape) - len(words) + 1) + words[1:]
    return words


def _corner(items: Sequence[Item]) -> Point:
    """The lower right corner of all shapes."""
    points = [p for item in items if isinstance(item, Shape) for p in item.points]
    return complex(max(p.real for p in points), max(p.imag for p in points))


def _moved(items: Sequence[Item], by: Point) -> list[Item]:
    return [
        replace(i, points=tuple(p + by for p in i.points)) if isinstance(i, Shape) else replace(i, at=i.at + by)
        for i in items
    ]


def _narrow(points: Sequence[Point]) -> float:
    """The lesser of width and height."""
    xs, ys = [p.real for p in points], [p.imag for p in points]
    return min(max(xs) - min(xs), max(ys) - min(ys))
