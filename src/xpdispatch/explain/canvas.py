"""A drawing on matplotlib's canvas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpdispatch.errors import MissingError
from xpdispatch.explain.scene import LIGHT, Label, Line, Scene, Shape, arrow_head

_INCH = 96.0
"""Units of a drawing to an inch."""


def draw(scene: Scene, file: str | Path | None = None, colors: dict[str, str] | None = None) -> Any:
    """Draw, and save where a file is named.

    Parameters
    ----------
    scene : Scene
    file : str or Path, optional
    colors : dict, optional
        Of the page; by default what matplotlib's style says of text, so that its dark styles work.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingError
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.patches import Polygon
    except ModuleNotFoundError as error:
        raise MissingError(
            f"package {error.name!r} is not installed, and it draws pictures", hint="pip install 'xpdispatch[plot]'"
        ) from error
    if colors is None:
        colors = dict.fromkeys(LIGHT, mpl.colors.to_hex(mpl.rcParams["text.color"]))
    figure = Figure(figsize=(scene.width / _INCH, scene.height / _INCH), dpi=150)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, scene.width), ylim=(scene.height, 0))
    axes.axis("off")
    point = 72 / _INCH
    for z, item in enumerate(scene.items):
        if isinstance(item, Shape):
            fill = mpl.colors.to_rgba(colors.get(item.fill, item.fill), item.opacity) if item.fill else "none"
            axes.add_patch(
                Polygon(
                    item.points,
                    closed=True,
                    facecolor=fill,
                    edgecolor=colors.get(item.edge, item.edge) if item.edge else "none",
                    linewidth=item.width * point,
                    linestyle=(0, (4, 3)) if item.dashed else "solid",
                    joinstyle="round",
                    zorder=z,
                )
            )
        elif isinstance(item, Line):
            color = colors.get(item.color, item.color)
            (x1, y1), (x2, y2) = item.start, item.end
            axes.plot([x1, x2], [y1, y2], color=color, linewidth=item.width * point, alpha=item.opacity, zorder=z)
            if item.arrow:
                axes.add_patch(Polygon(arrow_head(item.start, item.end), facecolor=color, edgecolor="none", zorder=z))
        elif isinstance(item, Label):
            axes.text(
                *item.at,
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
