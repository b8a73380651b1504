"""The tables of docs/performance.rst, from what was measured: ``.. figures:: NAME``.

Sphinx loads this as an extension. Each figure is told once, in benchmarks/results: in table.json, programs of many
kinds in suite.json, what a mechanism is worth in ablations.json, from where on Legate pays in curve.json, and how
kernels scale in scaling.json. The pictures, ``.. chart:: NAME``, are drawn of the same files by charts.py.
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


SIDES = {"here": "ours, in this process", "Legate, 1": "on Legate, 1 CPU", "Legate, 2": "on Legate, 2 CPUs"}
"""The sides of curve.json."""


def curve(found: dict[str, Any]) -> Cells:
    """In this process and on Legate, by powers of ten."""
    cells = [["", "elements", "NumPy, ms", *SIDES.values()]]
    for row in found["rows"]:
        if str(row["elements"]).strip("0") == "1":
            times = f"{row['NumPy, ms']:.3g}" if row["NumPy, ms"] < 100 else f"{row['NumPy, ms']:,.0f}"
            cells.append([KERNELS[row["kernel"]], f"{row['elements']:,}", times, *(ratio(row[side]) for side in SIDES)])
    return cells


def pays(found: dict[str, Any]) -> Cells:
    """The number of elements from which on a side is quicker than NumPy."""
    kernels = list(dict.fromkeys(row["kernel"] for row in found["rows"]))
    cells = [["quicker than NumPy from", *SIDES.values()]]
    for kernel in kernels:
        own = [row for row in found["rows"] if row["kernel"] == kernel]
        cells.append([KERNELS[kernel], *(_first_of_all(own, side) for side in SIDES)])
    return cells


def _first_of_all(rows: list[dict[str, Any]], side: str) -> str:
    slower = [n for n, row in enumerate(rows) if row[side] >= 1]
    first = slower[-1] + 1 if slower else 0
    return f"{rows[first]['elements']:,}" if first < len(rows) else "never"


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
    cells = [["", "size", *columns, "over cuPyNumeric, 2 CPUs"]]
    for group, name in groups.items():
        for size in ("small", "middle", "large"):
            own, there = [[r for r in found[w] if (r["group"], r["size"]) == (group, size)] for w in ("rows", "legate")]
            means = [_mean([r[c] for r in own if c in r]) for c in columns.values()]
            cells.append([f"{len(own)} {name}", size, *means, _mean([r["over cuPyNumeric"] for r in there])])
    return cells


def _mean(values: list[float]) -> str:
    return ratio(geometric_mean(values) if values else None)


def scaling(found: dict[str, Any]) -> Cells:
    """Received on several processes, beside what was foretold, and their time over that of one where it is known."""
    several = sorted({row["processes"] for row in found["rows"]} - {1})
    columns = [f"{what}, {n} processes" for n in several for what in ("foretold", "received")]
    columns += [
        f"time of {n} over 1" for n in several if any("seconds" in r for r in found["rows"] if r["processes"] == n)
    ]
    cells = [["", "elements", *columns]]
    rows = {(row["program"], row["elements"], row["processes"]): row for row in found["rows"]}
    for program, elements in dict.fromkeys((name, count) for name, count, _ in rows):
        own = [rows[program, elements, n] for n in several]
        numbers = [between(row[key]) for row in own for key in ("foretold", "received")]
        times = [row["seconds"] / rows[program, elements, 1]["seconds"] for row in own if "seconds" in row]
        cells.append([program, f"{elements:,}", *numbers, *map(ratio, times)])
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
    "curve": curve,
    "pays": pays,
    "scaling": scaling,
    "predicted": predicted,
}
SOURCES = {name: f"{name}.json" for name in ("suite", "ablations", "scaling", "curve")}
SOURCES |= {"predicted": "scaling.json", "pays": "curve.json"}
"""Where a table's figures are, if not in table.json."""


def table(cells: Cells) -> list[str]:
    """The lines of a table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :class: figures", ""]
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


class Chart(Directive):
    """A picture of charts.py by its name, for light pages and for dark ones; the content says what is to be seen."""

    required_arguments, has_content = 1, True

    def run(self) -> list[nodes.Node]:
        """Its nodes."""
        lines = []
        for mode in ("light", "dark"):
            lines += [f".. image:: _static/pictures/{self.arguments[0]}-{mode}.svg", f"   :class: only-{mode}"]
            lines += [f"   :alt: {' '.join(self.content)}", ""]
        into = nodes.Element()
        self.state.nested_parse(StringList(lines, "figures.py"), self.content_offset, into)
        return into.children


def setup(app: Any) -> dict[str, bool]:
    """Give Sphinx the directives."""
    app.add_directive("figures", Figures)
    app.add_directive("chart", Chart)
    return {"parallel_read_safe": True}
