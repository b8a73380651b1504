"""A drawing as plain values, and as SVG that is the same on every machine: no library draws it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

INK, FAINT = "ink", "faint"
"""Colors that the page decides: dark on a light one, light on a dark one."""

LIGHT = {INK: "#22272e", FAINT: "#6b7480"}
DARK = {INK: "#e6e9ed", FAINT: "#9aa4b0"}
OWN = {INK: "currentColor", FAINT: "currentColor"}
"""For a page in which the drawing stands as text, and whose color it takes."""

_MONO = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
_SANS = "system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Shape:
    """A polygon.

    Parameters
    ----------
    points : tuple of (float, float)
    fill : str or None
    edge : str or None
    width : float
    dashed : bool
    opacity : float
        Of the filling.
    """

    points: tuple[Point, ...]
    fill: str | None = None
    edge: str | None = "white"
    width: float = 1.0
    dashed: bool = False
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line, with a head where it is an arrow."""

    start: Point
    end: Point
    color: str = INK
    width: float = 1.0
    arrow: bool = False
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text, about the point where it says `anchor`."""

    at: Point
    text: str
    size: float = 12.0
    anchor: str = "middle"
    mono: bool = False
    bold: bool = False
    color: str = INK


Item = Shape | Line | Label


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawing; x goes right and y goes down.

    Parameters
    ----------
    width, height : float
    items : tuple of Shape, Line or Label
        The last ones lie on top.
    title : str
        What it shows, for those who cannot see it.
    """

    width: float
    height: float
    items: tuple[Item, ...]
    title: str = ""


def rectangle(x: float, y: float, width: float, height: float) -> tuple[Point, ...]:
    """The corners of a rectangle."""
    return (x, y), (x + width, y), (x + width, y + height), (x, y + height)


def hatching(points: Sequence[Point], color: str, step: float = 6.0) -> Iterator[Line]:
    """Lines across a convex polygon, from the lower left to the upper right."""
    sums = [x + y for x, y in points]
    at = math.floor(min(sums) / step) * step + step
    while at < max(sums):
        ends: list[Point] = []
        for (x1, y1), (x2, y2) in zip(points, (*points[1:], points[0]), strict=True):
            a, b = x1 + y1 - at, x2 + y2 - at
            if (a < 0) != (b < 0):
                share = a / (a - b)
                ends.append((x1 + share * (x2 - x1), y1 + share * (y2 - y1)))
        if len(ends) == 2:
            yield Line(ends[0], ends[1], color, 0.9, opacity=0.6)
        at += step


def svg(scene: Scene, colors: dict[str, str] = OWN) -> str:
    """The drawing as an SVG element, on no background."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(scene.width)} {_n(scene.height)}" '
        f'width="{_n(scene.width)}" height="{_n(scene.height)}" role="img">',
        f"<title>{escape(scene.title)}</title>",
    ]
    lines += [_svg(item, colors) for item in scene.items]
    return "\n".join([*lines, "</svg>", ""])


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _svg(item: Item, colors: dict[str, str]) -> str:
    if isinstance(item, Shape):
        points = " ".join(f"{_n(x)},{_n(y)}" for x, y in item.points)
        fill = f'fill="{colors.get(item.fill, item.fill)}"' if item.fill else 'fill="none"'
        fill += f' fill-opacity="{_n(item.opacity)}"' if item.opacity < 1 and item.fill else ""
        edge = f' stroke="{colors.get(item.edge, item.edge)}" stroke-width="{_n(item.width)}"' if item.edge else ""
        dashes = ' stroke-dasharray="4 3"' if item.dashed else ""
        return f'<polygon points="{points}" {fill}{edge} stroke-linejoin="round"{dashes}/>'
    if isinstance(item, Line):
        color = colors.get(item.color, item.color)
        (x1, y1), (x2, y2) = item.start, item.end
        faint = f' stroke-opacity="{_n(item.opacity)}"' if item.opacity < 1 else ""
        text = (
            f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" stroke="{color}" '
            f'stroke-width="{_n(item.width)}"{faint}/>'
        )
        head = " ".join(f"{_n(x)},{_n(y)}" for x, y in arrow_head(item.start, item.end)) if item.arrow else ""
        return text + (f'<polygon points="{head}" fill="{color}"/>' if head else "")
    family = _MONO if item.mono else _SANS
    weight = ' font-weight="600"' if item.bold else ""
    x, y = item.at
    return (
        f'<text x="{_n(x)}" y="{_n(y + 0.35 * item.size)}" font-family="{family}" font-size="{_n(item.size)}"{weight} '
        f'text-anchor="{item.anchor}" fill="{colors.get(item.color, item.color)}">{escape(item.text)}</text>'
    )


def arrow_head(start: Point, end: Point, length: float = 8.0) -> tuple[Point, ...]:
    """The three corners of an arrow's head."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    norm = math.hypot(dx, dy) or 1.0
    dx, dy = dx / norm * length, dy / norm * length
    back = end[0] - dx, end[1] - dy
    return end, (back[0] - dy / 2, back[1] + dx / 2), (back[0] + dy / 2, back[1] - dx / 2)
