"""A drawing as plain values; as SVG, which is the same on every machine; and on matplotlib's canvas."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from xpdispatch.errors import MissingError
from xpdispatch.machine.packages import install_command

Point = complex
"""To the right, and 1j times down."""

INK, FAINT = "ink", "faint"
"""Colors that the page decides: dark on a light one, light on a dark one."""

LIGHT = {INK: "#22272e", FAINT: "#6b7480"}
DARK = {INK: "#e6e9ed", FAINT: "#9aa4b0"}
OWN = {INK: "currentColor", FAINT: "currentColor"}
"""For a page in which the drawing stands as text, and whose color it takes."""

_MONO = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
_SANS = "system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif"
_INCH = 96.0
"""Units of a drawing to an inch."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A polygon, or a line between two points."""

    points: tuple[Point, ...]
    fill: str | None = None
    edge: str | None = "white"
    width: float = 1.0
    dashed: bool = False
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text, about the point where it says `anchor`: start, middle or end."""

    at: Point
    text: str
    size: float = 12.0
    anchor: str = "middle"
    mono: bool = False
    bold: bool = False
    color: str = INK


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawing; x goes right and y goes down.

    Parameters
    ----------
    width, height : float
    items : tuple of Shape or Label
        The last ones lie on top.
    title : str
        What it shows, for those who cannot see it.
    """

    width: float
    height: float
    items: tuple[Shape | Label, ...]
    title: str = ""


def rectangle(start: Point, end: Point) -> tuple[Point, ...]:
    """The corners of a rectangle, from the upper left and the lower right one."""
    return start, complex(end.real, start.imag), end, complex(start.real, end.imag)


def arrow(start: Point, length: float) -> tuple[Shape, Shape]:
    """An arrow to the right."""
    end = start + length
    return Shape((start, end), edge=INK, width=1.6), Shape((end, end - 8 + 4j, end - 8 - 4j), fill=INK, edge=None)


def hatching(points: Sequence[Point], step: float = 6.0) -> Iterator[Shape]:
    """White lines across a convex polygon, from the lower left to the upper right."""
    sums = [p.real + p.imag for p in points]
    at = math.floor(min(sums) / step) * step + step
    while at < max(sums):
        ends = [
            p + (at - a) / (b - a) * (q - p)
            for p, q, a, b in zip(points, (*points[1:], points[0]), sums, (*sums[1:], sums[0]), strict=True)
            if (a < at) != (b < at)
        ]
        if len(ends) == 2:
            yield Shape(tuple(ends), width=0.9, opacity=0.6)
        at += step


# -- as SVG -----------------------------------------------------------------------------------------


def svg(scene: Scene, colors: dict[str, str] = OWN) -> str:
    """The drawing as an SVG element, on no background."""
    width, height = _n(scene.width), _n(scene.height)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    lines = [f'{head} role="img">', f"<title>{escape(scene.title)}</title>"]
    lines += [_polygon(i, colors) if isinstance(i, Shape) else _text(i, colors) for i in scene.items]
    return "\n".join([*lines, "</svg>", ""])


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _polygon(shape: Shape, colors: dict[str, str]) -> str:
    points = " ".join(f"{_n(p.real)},{_n(p.imag)}" for p in shape.points)
    how = f'fill="{colors.get(shape.fill, shape.fill)}"' if shape.fill else 'fill="none"'
    if shape.edge:
        how += f' stroke="{colors.get(shape.edge, shape.edge)}" stroke-width="{_n(shape.width)}"'
    how += ' stroke-dasharray="4 3"' if shape.dashed else ""
    how += f' opacity="{_n(shape.opacity)}"' if shape.opacity < 1 else ""
    return f'<polygon points="{points}" {how} stroke-linejoin="round"/>'


def _text(label: Label, colors: dict[str, str]) -> str:
    family, weight = _MONO if label.mono else _SANS, ' font-weight="600"' if label.bold else ""
    return (
        f'<text x="{_n(label.at.real)}" y="{_n(label.at.imag + 0.35 * label.size)}" '
        f'font-family="{family}" font-size="{_n(label.size)}"{weight} text-anchor="{label.anchor}" '
        f'fill="{colors.get(label.color, label.color)}">{escape(label.text)}</text>'
    )


# -- on matplotlib's canvas -------------------------------------------------------------------------


def draw(scene: Scene, file: str | Path | None = None) -> Any:
    """Draw in the colors of matplotlib's style, and save where a file is named.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingError
        Matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.patches import Polygon
    except ModuleNotFoundError as error:
        raise MissingError(
            f"package {error.name!r} is not installed, and it draws pictures", hint=install_command("matplotlib")
        ) from error
    colors = dict.fromkeys(LIGHT, mpl.rcParams["text.color"])
    figure = Figure(figsize=(scene.width / _INCH, scene.height / _INCH), dpi=150)
    axes, point = figure.add_axes((0, 0, 1, 1)), 72 / _INCH
    axes.set(xlim=(0, scene.width), ylim=(scene.height, 0))
    axes.axis("off")
    for z, item in enumerate(scene.items):
        if isinstance(item, Shape):
            patch = Polygon(
                [(p.real, p.imag) for p in item.points],
                facecolor=colors.get(item.fill, item.fill) if item.fill else "none",
                edgecolor=colors.get(item.edge, item.edge) if item.edge else "none",
                linewidth=item.width * point,
                linestyle=(0, (4, 3)) if item.dashed else "solid",
                joinstyle="round",
                alpha=item.opacity,
                zorder=z,
            )
            axes.add_patch(patch)
        else:
            axes.text(
                item.at.real,
                item.at.imag,
                item.text,
                fontsize=item.size * point,
                ha={"middle": "center", "start": "left", "end": "right"}[item.anchor],
                va="center",
                color=colors.get(item.color, item.color),
                family="monospace" if item.mono else "sans-serif",
                weight="bold" if item.bold else "normal",
                parse_math=False,
                zorder=z,
            )
    if file is not None:
        figure.savefig(file)
    return figure
