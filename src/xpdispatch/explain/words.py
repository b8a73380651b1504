"""An explanation in words: as plain text, and as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpdispatch.planning.tiles import shown

if TYPE_CHECKING:
    from xpdispatch.explain.explanation import ArrayCut, Explanation

_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; `right` are the columns with numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All that is said of a call, ready to be set in any form."""

    name: str
    notation: str
    where: str
    tables: tuple[Table, ...]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def size(nbytes: int) -> str:
    """Bytes for people, in powers of 1024."""
    for unit, name in _UNITS:
        if nbytes >= unit:
            return f"{nbytes / unit:.1f} {name}"
    return f"{nbytes} B"


def shape_of(shape: Sequence[int | None]) -> str:
    """A shape, with ? for what only the body knows."""
    return " x ".join("?" if n is None else f"{n:,}" for n in shape) or "0-d"


def report(told: Explanation) -> Report:
    """What is to be said of a call."""
    kernel = told.question.definition
    return Report(
        kernel.name,
        kernel.notation,
        where_of(told),
        (*_index_table(told), _array_table(told)),
        _facts(told),
        told.assumptions,
    )


def where_of(told: Explanation) -> str:
    """Where the call runs, and in how many tiles."""
    if told.question.plan.empty:
        return f"{told.machine}: no cell, so no body runs"
    cut = " x ".join(map(str, told.counts))
    tiles = "1 tile" if told.count == 1 else f"{told.count:,} tiles" + (f" ({cut})" if len(told.counts) > 1 else "")
    empty = f" and {told.empty_tiles:,} empty" if told.empty_tiles else ""
    idle = sum(not share.tiles for share in told.shares)
    rest = f"; {idle:,} without one" if idle else ""
    return f"{told.machine}: {tiles}{empty}{rest}"


def _index_table(told: Explanation) -> tuple[Table, ...]:
    rows = [
        (shown(name), f"{extent:,}", f"{len(spans):,}", _cells(spans))
        for (name, spans), extent in zip(told.pieces.items(), told.extents, strict=True)
    ]
    return (Table(("index", "extent", "pieces", "cells in each"), tuple(rows), (1, 2)),) if rows else ()


def _cells(spans: Sequence[tuple[int, int]]) -> str:
    sizes = [b - a for a, b in spans]
    if not sizes:
        return "0"
    if len(set(sizes)) == 1:
        return f"{sizes[0]:,}"
    if len(set(sizes[:-1])) == 1:
        return f"{sizes[0]:,}, the last {sizes[-1]:,}"
    return f"{min(sizes):,} to {max(sizes):,}"


def _array_table(told: Explanation) -> Table:
    rows = tuple(
        (
            cut.notation,
            shape_of(cut.shape),
            cut.dtype,
            size(cut.nbytes),
            how(cut, told.count),
            _part(cut),
            size(cut.received),
        )
        for cut in told.arrays.values()
    )
    return Table(("array", "shape", "dtype", "bytes", "how", "a tile's part", "received"), rows, (3, 6))


def _part(cut: ArrayCut) -> str:
    most = "at most " if None in cut.part else ""
    return f"{shape_of(cut.part)}, {most}{size(cut.part_bytes)}"


def how(cut: ArrayCut, count: int) -> str:
    """How an array is cut, in words."""
    if count <= 1:
        return "in one piece"
    pieces = " x ".join(map(str, cut.pieces))
    over = " and ".join(cut.shared_over)
    cells = "whole" if max(cut.pieces, default=1) == 1 else f"cut {pieces}"
    if cut.how == "joined":
        return "tiles' parts are joined"
    if cut.how == "pointed":
        return "cut where pointers say"
    if cut.op and cut.partials > 1:
        return f"{cells}; {cut.op} of {cut.partials:,} partial results, over {over}"
    if cut.how == "sent":
        return "sent with the call"
    if cut.how == "halo":
        reach = ", ".join(f"{below} below and {above} above" for below, above in cut.halo if below or above)
        cells = f"{cells}, halo {reach}"
    return f"{cells}, shared by {cut.shared_by:,}" if cut.shared_by > 1 else cells


def _facts(told: Explanation) -> tuple[tuple[str, str], ...]:
    if told.question.plan.empty:
        return ()
    most = told.largest
    what = "a thread" if told.machine.engine == "local" else "a processor"
    facts = [
        (
            f"{what}, at most",
            f"reads {size(most.reads)}, writes {size(most.writes)}, receives {size(most.receives)}, "
            f"holds {size(most.memory)}",
        ),
        ("body", _body(told)),
        (
            "temporaries",
            "not measured"
            if told.temporaries is None
            else f"{size(told.temporaries)} at once, by a run on ones in NumPy",
        ),
        ("cache", _cache(told)),
    ]
    facts += [
        ("halo", f"{cut.name}: {size(cut.halo_bytes)} of other tiles' cells around a tile; boundary {cut.boundary}")
        for cut in told.arrays.values()
        if cut.how == "halo"
    ]
    unknown = [cut.name for cut in told.arrays.values() if cut.how == "joined"]
    if unknown:
        facts.append(("unknown size", f"{', '.join(unknown)}: known when the body has returned, at most as said here"))
    return tuple(facts)


def _body(told: Explanation) -> str:
    variant = "CPU" if told.machine.engine == "local" and told.machine.kind == "cpu" else told.machine.kind.upper()
    own = "a body of its own" if variant in told.question.definition.body.variants else "the one body"
    if told.machine.engine == "local":
        return f"{own}, on {told.question.library} arrays"
    return f"{own}, variant {variant}, on {'CuPy' if variant == 'GPU' else 'NumPy'} arrays"


def _cache(told: Explanation) -> str:
    cache = told.cache
    if not cache.sizes:
        return f"not cut for the cache: {cache.why}"
    sizes = ", ".join(f"{shown(n)} {s:,}" for n, s in zip(told.indices, cache.sizes, strict=True))
    inside = "the call" if told.machine.engine == "local" else "each task"
    return f"{inside} is cut into {cache.count:,} tiles of {sizes} cells"


def assumptions(told: Explanation) -> tuple[str, ...]:
    """What an explanation rests on."""
    if told.machine.engine == "local":
        return (
            "Threads of one process share their memory, so that nothing is sent.",
            "Sizes of tiles are the library's own decision for this machine's cache.",
        )
    found = [*_why(told)]
    if told.machine.predicted:
        found.append(
            "The grid is predicted by Legate 26.6's rule for automatic tasks, which the tests compare with real "
            "launches on 1 to 8 CPUs. On GPUs and on several nodes nothing was run."
        )
    if told.cuts is not None:
        found.append(
            "Operands were written by Legate's own operations over whole arrays, with as many processors, and are no "
            "views; arrays copied from NumPy, or cut otherwise before, can lead to another grid."
        )
    found.append(
        "Received is what lies with other processors where each array is spread over those that read it. CPUs of one "
        "node share their memory, and read it there; between GPUs and nodes it is copied."
    )
    haloed = [cut.name for cut in told.arrays.values() if cut.how == "halo"]
    if haloed and told.count > 1:
        found.append(
            f"The body reads {', '.join(haloed)} with its halo alone, but Legate brings all of it to each processor: "
            "its own way to bring a halo, bloat, can start tasks too early."
        )
    if any(cut.how == "pointed" for cut in told.arrays.values()):
        found.append("What pointers select depends on their values, so that those arrays count in full.")
    if told._gathered:
        found.append("Partial results are put together by one processor, in the order of the tiles.")
    return tuple(found)


def _why(told: Explanation) -> list[str]:
    """Why the grid is as it is."""
    machine, cuts = told.machine, told.cuts
    if told.one_piece:
        return ["All runs in one tile: tiles would mean something else, or need more axes than Legate has."]
    if cuts is None:
        return ["No array is cut, so that there is one tile."]
    cells = " x ".join(f"{n:,}" for n in cuts.extents)
    if cuts.kept:
        return [f"{cuts.leader} has the most bytes and leads: it stays as Legate cut it when it was written."]
    if cuts.pieces:
        return [f"Legate cuts the common space of {cells} cells anew, for {machine.processors:,} processors."]
    if machine.processors * machine.overdecompose_factor == 1:
        return ["One processor, so that nothing is cut."]
    total = math.prod(cuts.extents)
    if total < machine.partitioning_threshold:
        return [
            f"The common space has {total:,} cells, and below {machine.partitioning_threshold:,} Legate cuts nothing."
        ]
    return ["No axis may be cut, or tiles would have fewer cells than min_extents asks for."]


# -- as text ----------------------------------------------------------------------------------------


def as_text(told: Explanation) -> str:
    """Plain text, aligned in columns."""
    said = report(told)
    lines = [f"{said.name}: {said.notation}", said.where]
    for table in said.tables:
        rows = [table.head, *table.rows]
        widths = [max(len(row[c]) for row in rows) for c in range(len(table.head))]
        lines.append("")
        for row in rows:
            cells = [
                text.rjust(w) if c in table.right else text.ljust(w)
                for c, (text, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  " + "  ".join(cells).rstrip())
    if said.facts:
        width = max(len(label) for label, _ in said.facts)
        lines += ["", *(f"  {label.ljust(width)}  {text}" for label, text in said.facts)]
    lines += ["", *(f"  - {note}" for note in said.notes)]
    return "\n".join(lines)


def as_rich(told: Explanation) -> Any:
    """The same for a terminal, by rich."""
    from rich import box
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table as Rich
    from rich.text import Text

    said = report(told)
    parts: list[Any] = [Text.assemble((said.name, "bold"), ": ", (said.notation, "cyan")), Text(said.where)]
    for table in said.tables:
        drawn = Rich(box=box.SIMPLE_HEAD, pad_edge=False)
        for c, head in enumerate(table.head):
            drawn.add_column(head, justify="right" if c in table.right else "left")
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        parts.append(drawn)
    facts = Rich.grid(padding=(0, 2))
    for label, text in said.facts:
        facts.add_row(Text(label, style="bold"), Text(text))
    parts.append(facts)
    parts += [Padding(Text(note, style="dim"), (1 if n == 0 else 0, 0, 0, 0)) for n, note in enumerate(said.notes)]
    return Group(*parts)
