"""Draw the charts of docs/performance.rst from benchmarks/results: _static/pictures/NAME-light.svg and NAME-dark.svg.

    python docs/charts.py [NAME ...]

They are narrow, so that their letters are as large as those of the page on a telephone too.
"""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import matplotlib as mpl
import numpy as np
from figures import DOCS, KERNELS, RESULTS, SIDES, amount, by_way
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from xpdispatch.explain.canvas import DARK, FAINT, INK, LIGHT

PICTURES = DOCS / "_static" / "pictures"
COLORS = ("#4c86b8", "#e39a3b", "#5d9b6b", "#c05a5a", "#8a6fb0")
"""Each can be told on a light page and on a dark one."""

BARS = {
    "ours, 1 thread": "#9cbfdd",
    "ours, 2 threads": COLORS[0],
    "ours, 1 CPU": "#9cbfdd",
    "ours, 2 CPUs": COLORS[0],
    "dask, 2 threads": COLORS[1],
    "numexpr, 2 threads": COLORS[2],
    "numba, 1 thread": COLORS[3],
    "tutorial's way, 2 CPUs": COLORS[1],
    "cuPyNumeric, 2 CPUs": COLORS[4],
}
"""The color of each side."""

LINES = {"here": COLORS[0], "Legate, 1": "#ecc08a", "Legate, 2": COLORS[1]}
"""The colors of the sides of curve.json."""

WIDTH = 5.2
OVER = "time over NumPy's; below 1 it is faster"
Times = dict[str, float | None]
"""Of each side, over NumPy's; of the limit as well."""


def read(name: str) -> Any:
    """What a benchmark wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text())


# -- bars --------------------------------------------------------------------------------------------------------------


def times_here(found: dict[str, Any]) -> dict[str, Times]:
    """In this process, by kernel."""
    rivals = {"dask, 2 threads": "dask, 2", "numexpr, 2 threads": "numexpr, 2"}
    times = {}
    for name, (one, two) in by_way(found, "1 thread", "2 threads"):
        own: Times = {"ours, 1 thread": one["NumPy"], "ours, 2 threads": two["NumPy"]}
        own["limit"] = two["NumPy"] * two["limit"]
        own |= {shown: two["NumPy"] / two[rival] for shown, rival in rivals.items() if rival in two}
        if "numba, 1" in one:
            own["numba, 1 thread"] = one["NumPy"] / one["numba, 1"]
        times[name] = own
    return times


def times_on_legate(found: dict[str, Any]) -> dict[str, Times]:
    """On Legate, by kernel, over the time of NumPy's body on one thread of another process."""
    times = {}
    for name, (here, one, two) in by_way(found, "1 thread", "Legate, 1 CPU", "Legate, 2 CPUs"):
        numpy = here["ms"] / here["NumPy"]
        own: Times = {"ours, 1 CPU": one["ms"] / numpy, "ours, 2 CPUs": two["ms"] / numpy}
        for shown, ratio in (
            ("tutorial's way, 2 CPUs", two.get("tutorial, cast", two.get("tutorial"))),
            ("cuPyNumeric, 2 CPUs", two.get("cuPyNumeric")),
        ):
            own[shown] = None if ratio is None else two["ms"] / ratio / numpy
        times[name] = own
    return times


def times_of_suite(rows: Sequence[dict[str, Any]]) -> dict[str, Times]:
    """Of one size, by program."""
    return {
        row["program"].replace("_", " "): {
            "ours, 1 thread": row["over NumPy, 1"],
            "ours, 2 threads": row["over NumPy, 2"],
            "limit": row["seconds"]["limit"] / row["seconds"]["NumPy, 1"],
        }
        for row in rows
    }


def means_of_suite(found: dict[str, Any]) -> dict[str, Times]:
    """Geometric means, by group of programs and size."""
    means: dict[str, Times] = {}
    for group in ("arrays", "loops"):
        for size in ("small", "middle", "large"):
            own = times_of_suite([r for r in found["rows"] if (r["group"], r["size"]) == (group, size)])
            sides = next(iter(own.values()))
            means[f"{group}, {size}"] = {side: geometric_mean(t[side] or 0 for t in own.values()) for side in sides}
    return means


def draw_bars(axes: Axes, times: dict[str, Times], ink: str, faint: str, *, most: float, numbers: bool) -> None:
    """A bar for each side of each group, with its number beside it if wanted; those longer than `most` end there.

    Without `numbers` a group says how long the longest of these is.
    """
    top, places = 0.0, {}
    for name, own in times.items():
        sides = [side for side in own if side != "limit" and own[side] is not None]
        for place, side in enumerate(sides):
            value = own[side] or 0
            axes.barh(top + place, min(value, most), height=0.9, color=BARS[side], label=side)
            if numbers:
                axes.text(1.02 * most, top + place, f"{value:.2f}", va="center_baseline", fontsize=8, color=ink)
        if (limit := own.get("limit")) is not None:
            axes.vlines(limit, top - 0.6, top + len(sides) - 0.4, color=ink, linewidth=1.4, label="limit")
        places[name] = top + (len(sides) - 1) / 2
        if not numbers and (longest := max(own[side] or 0 for side in sides)) > most:
            axes.text(
                most, places[name], f"{longest:.1f} ", va="center_baseline", ha="right", fontsize=8, color="black"
            )
        top += len(sides) + 0.9
    axes.axvline(1, color=faint, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
    axes.set_yticks([*places.values()], [*places], color=ink)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, most), ylim=(top - 0.9, -0.9))


def legend(figure: Figure, axes: Axes) -> None:
    """Each side once."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    order = [label for label in (*BARS, "limit") if label in once]
    figure.legend([once[o] for o in order], order, loc="outside upper left", ncols=3, fontsize=9)


def one_panel(times_of: Callable[[Any], dict[str, Times]], results: str, most: float, ink: str, faint: str) -> Figure:
    """Bars one below the other."""
    times = times_of(read(results))
    figure = Figure(figsize=(WIDTH, 1.2 + 0.118 * sum(len(own) + 0.9 for own in times.values())), layout="constrained")
    axes = figure.subplots()
    draw_bars(axes, times, ink, faint, most=most, numbers=True)
    figure.supxlabel(OVER, fontsize=10, color=faint)
    legend(figure, axes)
    return figure


def programs(ink: str, faint: str) -> Figure:
    """The programs of the suite, a panel for each size."""
    rows = read("suite")["rows"]
    names = list(dict.fromkeys(row["program"] for row in rows))
    figure = Figure(figsize=(WIDTH, 1.0 + 0.2 * len(names)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, size in zip(panels, ("small", "middle", "large"), strict=True):
        own = {row["program"]: row for row in rows if row["size"] == size}
        draw_bars(axes, times_of_suite([own[name] for name in names]), ink, faint, most=2, numbers=False)
        axes.set_title(size, loc="left", fontsize=10)
        axes.set_xticks([0, 1, 2])
        axes.tick_params(axis="y", labelsize=8)
    figure.supxlabel(OVER, fontsize=10, color=faint)
    legend(figure, panels[0])
    return figure


# -- lines -------------------------------------------------------------------------------------------------------------


def scaling(ink: str, faint: str) -> Figure:
    """What a processor receives and holds as arrays and processors grow together."""
    found = read("scaling")
    rows = [row for row in found["predicted"] if row["scaling"] == "weak"]
    kernels = list(dict.fromkeys(row["program"] for row in rows))
    processors = sorted({row["processors"] for row in rows})
    figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axes, key in zip(panels, ("receives", "holds"), strict=True):
        for program, color in zip(kernels, COLORS, strict=True):
            own = [row[key] for row in rows if row["program"] == program]
            axes.plot(processors, own, color=color, marker="o", markersize=4, label=program, clip_on=False)
        axes.set_title(f"A processor {key}, at most", loc="left", fontsize=12)
        axes.set_xscale("log", base=2)
        axes.grid(axis="y", color=faint, alpha=0.25, linewidth=0.6)
    most = max(rows, key=lambda row: row["receives"])
    share, label = most["share of the arrays"], f"its share of {most['program']}'s arrays"
    panels[0].set_yscale("symlog", linthresh=10)
    panels[0].set_yticks([0, 1e2, 1e4, 1e6, 1e8, 1e10])
    panels[0].set_ylim(-2, 2e10)
    panels[0].axhline(share, color=faint, linewidth=1, linestyle=(0, (4, 3)))
    panels[0].text(processors[-1], share / 1.5, label, color=faint, ha="right", va="top")
    panels[1].set_yscale("log")
    panels[1].set_yticks([1e8, 1e9, 1e10])
    for axes in panels:
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: amount(count) if count else "0"))
    panels[1].set_xticks(processors, [f"{n:,}" for n in processors])
    panels[1].xaxis.set_minor_locator(NullLocator())
    panels[1].set_xlabel(f"processors, with {found['elements of each processor'] / 1e6:.0f} million elements each")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def curve(ink: str, faint: str) -> Figure:
    """By elements, in this process and on Legate."""
    rows = read("curve")["rows"]
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    kernels = list(dict.fromkeys(row["kernel"] for row in rows))
    panels = figure.subplots(len(kernels), 1, sharex=True, sharey=True)
    for axes, kernel in zip(panels, kernels, strict=True):
        own = [row for row in rows if row["kernel"] == kernel]
        elements = [row["elements"] for row in own]
        for side, color in LINES.items():
            axes.plot(elements, [row[side] for row in own], color=color, marker="o", markersize=3, label=SIDES[side])
        axes.axhline(1, color=ink, linewidth=1, linestyle=(0, (4, 3)), label="NumPy by hand")
        axes.set_title(KERNELS[kernel], loc="left", fontsize=12)
        axes.set(xscale="log", yscale="log")
        axes.grid(color=faint, alpha=0.25, linewidth=0.6)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda times, _: f"{times:,g}"))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"$10^{round(np.log10(count))}$"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
    figure.supxlabel("elements", fontsize=10, color=faint)
    figure.supylabel(OVER, fontsize=10, color=faint)
    legend = panels[0].get_legend_handles_labels()
    figure.legend(*legend, loc="outside upper left", ncols=2, fontsize=9)
    return figure


CHARTS: dict[str, Callable[[str, str], Figure]] = {
    "here": partial(one_panel, times_here, "table", 3),
    "legate": partial(one_panel, times_on_legate, "table", 6),
    "suite": partial(one_panel, means_of_suite, "suite", 2.2),
    "programs": programs,
    "curve": curve,
    "scaling": scaling,
}


def save(name: str, folder: Path) -> None:
    """One chart for both modes, as SVG without a background, and the same file from every run."""
    for mode, colors in ("light", LIGHT), ("dark", DARK):
        ink, faint = colors[INK], colors[FAINT]
        style = {"axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": faint, "axes.linewidth": 0.6}
        style |= {"font.size": 11, "xtick.color": faint, "ytick.color": faint, "axes.labelcolor": faint}
        with mpl.rc_context(style | {"text.color": ink, "legend.frameon": False, "svg.hashsalt": name}):
            figure = CHARTS[name](ink, faint)
            figure.savefig(folder / f"{name}-{mode}.svg", transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    for wanted in sys.argv[1:] or CHARTS:
        save(wanted, PICTURES)
