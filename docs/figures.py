"""The tables of docs/performance.rst, from what was measured: ``.. figures:: NAME``.

Sphinx loads this as an extension. Each figure is told once, in benchmarks/results: in table.json, programs of many
kinds in suite.json, what a mechanism is worth in ablations.json, and how kernels scale in scaling.json. Of the latter
there is a picture, which is drawn by

    python docs/figures.py
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS.parent / "benchmarks" / "results"
PICTURES = DOCS / "_static" / "pictures"

KERNELS = {
    "copy": "copy",
    "saxpy": "SAXPY",
    "histogram": "histogram, standard's calls",
    "counted": "histogram, CPU body",
    "matmul": "matrix product",
    "fft2": "batched FFT",
    "black_scholes": "Black-Scholes",
    "stencil": "5-point stencil",
    "softmax": "softmax of rows",
    "distances": "pairwise distances",
}

Cells = list[list[str]]


def ratio(value: float | None) -> str:
    """Two digits after the point; nothing for what does not apply."""
    return "" if value is None else f"{value:.2f}"


def by_way(found: dict[str, Any], *ways: str) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    """Each kernel, with its rows of these ways."""
    rows = {(row["kernel"], row["way"]): row for row in found["rows"]}
    for kernel, name in KERNELS.items():
        yield name, [rows[kernel, way] for way in ways]


def here(found: dict[str, Any]) -> Cells:
    """In this process."""
    columns = ("NumPy body, 1 thread", "`cut=False`, 1 thread", "NumPy body, 2 threads", "our 1 thread, 2")
    cells = [["", *columns, "dask, 2", "numexpr, 2", "numba, 1 (our 1)", "limit, 2"]]
    for name, (one, two) in by_way(found, "1 thread", "2 threads"):
        values = [one["NumPy"], one["uncut"], two["NumPy"], two["1 thread"], two.get("dask, 2")]
        values += [two.get("numexpr, 2"), one.get("numba, 1"), two["limit"]]
        cells.append([name, *map(ratio, values)])
    return cells


def on_legate(found: dict[str, Any]) -> Cells:
    """On one and on two CPUs."""
    sides = {"tutorial": "tutorial", "tutorial, cast": "with the cast", "cuPyNumeric": "cuPyNumeric"}
    heads = [
        f"{name}, {cpus}" if key == "tutorial" else name for cpus in ("1 CPU", "2 CPUs") for key, name in sides.items()
    ]
    cells = [["", *heads]]
    for name, rows in by_way(found, "Legate, 1 CPU", "Legate, 2 CPUs"):
        cells.append([name, *(ratio(row.get(side)) for row in rows for side in sides)])
    return cells


def calls(found: dict[str, Any]) -> Cells:
    """What calls cost."""
    rows = found["overheads"]["rows"]
    names = {
        "prepare a launch": ("Prepare a launch of three arrays and a float", "Legate's decorator"),
        "issue 1,000 launches": ("1,000 launches, one after the other, until they are issued", "Legate's decorator"),
        "finish 1,000 launches": ("The same, until they are done", "Legate's decorator"),
        "leaf to the body": (
            "From a task's entry to the body's first line",
            "Legate's decorator and `np.asarray`",
        ),
    }
    cells = [["", "ours", "other side", "ratio"]]
    for key, (name, side) in names.items():
        unit = "ms" if "1,000" in key else "us"
        row = rows[key]
        told = [f"{row['ours_us']:.1f} {unit}", f"{row['decorator_us']:.1f} {unit}, {side}", ratio(row["ratio"])]
        cells.append([name, *told])
    row = rows["call in this process"]
    last = [
        f"{row['call_us']:.1f} us",
        f"{row['body_us']:.1f} us, the body by hand",
        f"{row['overhead_us']:.1f} us more",
    ]
    return [*cells, ["Call in this process, ten elements", *last]]


def elements(found: dict[str, Any]) -> Cells:
    """By elements, over NumPy."""
    rows = found["growth"]["with elements"]
    kernels = list(dict.fromkeys(row["kernel"] for row in rows))
    ways = ("1 thread", "2 threads")
    cells = [["elements", *(f"{KERNELS[kernel]}, {way}" for kernel in kernels for way in ways)]]
    for count in dict.fromkeys(row["elements"] for row in rows):
        own = {row["kernel"]: row for row in rows if row["elements"] == count}
        cells.append([f"{count:,}", *(ratio(own[k][f"over NumPy, {way}"]) for k in kernels for way in ways)])
    return cells


def tiles(found: dict[str, Any]) -> Cells:
    """By tiles, on Legate."""
    cells = [["tiles", "us a launch", "us a tile", "over the decorator"]]
    for row in found["growth"]["with Legate's tiles"]:
        times = [f"{row[name]:,.0f}" for name in ("us a launch", "us a tile")]
        cells.append([str(row["tiles"]), *times, ratio(row["over the decorator"])])
    return cells


def memory(found: dict[str, Any]) -> Cells:
    """Over the arrays."""
    rows = found["growth"]["in memory, over the arrays"]
    ways = ("1 thread", "2 threads", "NumPy")
    return [["", *ways], *([KERNELS[row["kernel"]], *(ratio(row[way]) for way in ways)] for row in rows)]


def ablations(found: dict[str, Any]) -> Cells:
    """Without one mechanism each."""
    mechanisms = [key for key in dict.fromkeys(k for row in found["rows"] for k in row) if key.startswith("without ")]
    names = {**KERNELS, "kmeans": "k-means"}
    rows = [[f"{names[r['kernel']]}, {r['way']}", *(ratio(r.get(m)) for m in mechanisms)] for r in found["rows"]]
    return [["", *mechanisms], *rows]


def amount(count: float) -> str:
    """Bytes, with three digits."""
    for unit in ("bytes", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def between(counts: list[int]) -> str:
    """The least and the most of several processes, or one number where they look the same."""
    return " to ".join(dict.fromkeys(amount(count) for count in (min(counts), max(counts))))


def suite(found: dict[str, Any]) -> Cells:
    """Geometric means of the suite, by group of programs and size."""
    columns = {
        "over NumPy, 1 thread": "over NumPy, 1",
        "over NumPy, 2 threads": "over NumPy, 2",
        "over numba, 1 thread": "over numba",
        "limit, 1 thread": "limit",
    }
    groups = {"arrays": "programs of arrays", "loops": "programs that are loops"}
    cells = [["", "size", "programs", *columns, "over cuPyNumeric, 2 CPUs"]]
    for group, name in groups.items():
        for size in ("small", "middle", "large"):
            own, there = [[r for r in found[w] if (r["group"], r["size"]) == (group, size)] for w in ("rows", "legate")]
            means = [_mean([r[c] for r in own if c in r]) for c in columns.values()]
            cells.append([name, size, str(len(own)), *means, _mean([r["over cuPyNumeric"] for r in there])])
    return cells


def _mean(values: list[float]) -> str:
    return ratio(geometric_mean(values) if values else None)


def scaling(found: dict[str, Any]) -> Cells:
    """Received on several processes, beside what was foretold."""
    several = sorted({row["processes"] for row in found["rows"]} - {1})
    columns = [f"{what}, {n} processes" for n in several for what in ("foretold", "received")]
    cells = [["", "elements", *columns]]
    rows = {(row["program"], row["elements"], row["processes"]): row for row in found["rows"]}
    for program, elements in dict.fromkeys((name, count) for name, count, _ in rows):
        own = [rows[program, elements, n] for n in several]
        numbers = [between(row[key]) for row in own for key in ("foretold", "received")]
        cells.append([program, f"{elements:,}", *numbers])
    return cells


def predicted(found: dict[str, Any]) -> Cells:
    """By the fewest and the most processors that explain was asked about."""
    rows = {(row["scaling"], row["program"], row["processors"]): row for row in found["predicted"]}
    few, many = (pick(n for *_, n in rows) for pick in (min, max))
    heads = [f"{what}, {n:,} processors" for what in ("receives", "holds") for n in (few, many)]
    cells = [["", *heads, f"all as on {few}: receives, {many:,}", "its share of the arrays"]]
    for name in dict.fromkeys(name for _, name, _ in rows):
        numbers = [rows["weak", name, n][key] for key in ("receives", "holds") for n in (few, many)]
        numbers += [rows["strong", name, many][key] for key in ("receives", "share of the arrays")]
        cells.append([name, *map(amount, numbers)])
    return cells


TABLES: dict[str, Callable[[dict[str, Any]], Cells]] = {
    "here": here,
    "legate": on_legate,
    "calls": calls,
    "elements": elements,
    "tiles": tiles,
    "memory": memory,
    "ablations": ablations,
    "suite": suite,
    "scaling": scaling,
    "predicted": predicted,
}
SOURCES = {"suite": "suite.json", "ablations": "ablations.json", "scaling": "scaling.json", "predicted": "scaling.json"}
"""Where a table's figures are, if not in table.json."""


def table(cells: Cells) -> list[str]:
    """The lines of a table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in cells:
        lines += [f"   {'* -' if n == 0 else '  -'} {cell}".rstrip() for n, cell in enumerate(row)]
    return lines


def machine(found: dict[str, Any]) -> list[str]:
    """A sentence on where and when it was measured."""
    about = found["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return [f"Measured on {about['date']} on {about['cores']} cores of {about['processor']}, with {versions}."]


class Figures(Directive):
    """A table by name, or ``machine``, for another table than those of table.json with its name."""

    required_arguments, optional_arguments = 1, 1

    def run(self) -> list[nodes.Node]:
        """Its nodes."""
        name = self.arguments[0]
        measured = RESULTS / SOURCES.get(self.arguments[-1], "table.json")
        found = json.loads(measured.read_text())
        lines = machine(found) if name == "machine" else table(TABLES[name](found))
        into = nodes.Element()
        self.state.nested_parse(StringList(lines, str(measured)), self.content_offset, into)
        return into.children


def setup(app: Any) -> dict[str, bool]:
    """Give Sphinx the directive."""
    app.add_directive("figures", Figures)
    return {"parallel_read_safe": True}


COLORS = ("#4c86b8", "#e39a3b", "#5d9b6b", "#c05a5a", "#8a6fb0")
"""Of the kernels; each can be told on a light page and on a dark one."""


def draw_scaling(ink: str, faint: str, file: Path) -> None:
    """What a processor receives and holds as arrays and processors grow together, as SVG without a background."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    found = json.loads((RESULTS / "scaling.json").read_text())
    rows = [row for row in found["predicted"] if row["scaling"] == "weak"]
    programs = list(dict.fromkeys(row["program"] for row in rows))
    processors = sorted({row["processors"] for row in rows})
    style = {"axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": faint, "axes.linewidth": 0.6}
    style |= {"font.size": 11, "xtick.color": faint, "ytick.color": faint, "axes.labelcolor": faint, "text.color": ink}
    # The same file from every run.
    with mpl.rc_context(style | {"svg.hashsalt": "scaling"}):
        figure = Figure(figsize=(5.2, 6.6), layout="constrained")
        panels = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for axes, key in zip(panels, ("receives", "holds"), strict=True):
            for program, color in zip(programs, COLORS, strict=True):
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
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False)
        figure.savefig(file, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    from xpdispatch.explain.canvas import DARK, FAINT, INK, LIGHT

    for mode, colors in ("light", LIGHT), ("dark", DARK):
        draw_scaling(colors[INK], colors[FAINT], PICTURES / f"scaling-{mode}.svg")
