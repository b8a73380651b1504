"""An answer in words: tables, facts and what it rests on, ready to be set in any form."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xpdispatch.explain.answer import Answer
from xpdispatch.explain.arrays import ArrayCut
from xpdispatch.explain.tiling import Pieces
from xpdispatch.language.words import parallel
from xpdispatch.legate.stretches import stays_whole
from xpdispatch.machine.settings import settings
from xpdispatch.planning.tiles import shown
from xpdispatch.proving.guard import few

_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; `right` are the columns with numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()


def size(nbytes: int) -> str:
    """Bytes for people, in powers of 1024."""
    for unit, name in _UNITS:
        if nbytes >= unit:
            return f"{nbytes / unit:.1f} {name}"
    return f"{nbytes} B"


def shape_of(shape: Sequence[int | None]) -> str:
    """A shape, with ? for what only the body knows."""
    return " x ".join("?" if n is None else f"{n:,}" for n in shape) or "0-d"


def tables_of(answer: Answer) -> Iterator[Table]:
    """How indices are cut, and how arrays are."""
    indices = tuple(
        (shown(name), f"{cut.extent:,}", f"{cut.filled:,}", _sizes(cut))
        for name, cut in zip(answer.tiling.indices, answer.tiling.cuts, strict=True)
    )
    if indices:
        yield Table(("index", "extent", "pieces", "elements in each"), indices, (1, 2))
    arrays = tuple(
        (
            array.notation,
            shape_of(array.shape),
            str(array.dtype),
            size(array.nbytes),
            how(array),
            f"{shape_of(array.part)}, {'at most ' * (None in array.part)}{size(array.part_bytes)}",
            size(array.received),
        )
        for array in answer.arrays.values()
    )
    yield Table(("array", "shape", "dtype", "bytes", "how", "a tile's part", "received"), arrays, (3, 6))


def where_of(answer: Answer) -> str:
    """Where the call runs, and in how many tiles."""
    if answer.question.plan.empty:
        return f"{answer.machine}: no element, so no body runs"
    tiles = "1 tile" if answer.count == 1 else f"{answer.count:,} tiles"
    if answer.count > 1 < len(answer.counts):
        tiles += f" ({' x '.join(map(str, answer.counts))})"
    left = answer.tiling.launched - answer.count
    empty = f" and {left:,} empty" if left else ""
    idle = sum(not share.tiles for share in answer.shares)
    rest = f"; {idle:,} without one" if idle else ""
    return f"{answer.machine}: {tiles}{empty}{rest}; {parallel(answer.question.definition.signature)}"


def _sizes(cut: Pieces) -> str:
    last = cut.extent - (cut.filled - 1) * cut.size if cut.filled else 0
    return f"{cut.largest:,}" if last == cut.largest else f"{cut.largest:,}, the last {last:,}"


def how(array: ArrayCut) -> str:
    """How an array is cut, in words."""
    if array.tiling.count <= 1:
        return "in one piece"
    if array.how == "concatenated":
        return "tiles' parts are concatenated"
    if array.how == "pointed":
        return "cut where pointers say"
    pieces = " x ".join(map(str, array.pieces))
    said = "full" if max(array.pieces, default=1) == 1 else f"cut {pieces}"
    if array.partials > 1:
        return f"{said}; {array.op} of {array.partials:,} partial results, over {' and '.join(array.shared_over)}"
    if array.how == "sent":
        return "sent with the call"
    if array.how == "halo":
        reach = ", ".join(f"{below} below and {above} above" for below, above in array.halo if below or above)
        said = f"{said}, halo {reach}"
    if array.carries:
        said = f"{said}; {array.op} with what stands {'after' if array.carries.backward else 'before'} each"
    return f"{said}, shared by {array.shared_by:,}" if array.shared_by > 1 else said


def facts_of(answer: Answer) -> Iterator[tuple[str, str]]:
    """What else is to be said, each with what it is about."""
    if answer.question.plan.empty:
        return
    most, arrays = answer.largest, answer.arrays.values()
    yield (
        f"{'a thread' if answer.machine.engine == 'local' else 'a processor'}, at most",
        f"reads {size(most.reads)}, writes {size(most.writes)}, receives {size(most.receives)}, "
        f"holds {size(most.memory)}",
    )
    yield "body", _body(answer)
    needs = answer.temporaries
    yield "temporaries", "not measured" if needs is None else f"{size(needs)} at once, by a dry run in NumPy"
    if answer.question.sample and answer.machine.engine == "legate":
        yield "sample", f"{answer.question.sample}: on them the body runs once, to tell the results' dtypes"
    yield "cache", _cache(answer)
    yield "guard", _guard(answer)
    for a in arrays:
        if a.how == "halo":
            around = f"{size(a.halo_bytes)} of other tiles' elements around a tile"
            yield "halo", f"{a.name}: {around}; boundary {_modes(a.layout.boundaries)}"
    for a in arrays:
        if a.copied:
            yield (
                "copied",
                f"{a.name}: {size(a.copied)} by a launch before, for it is a view, which Legate cannot cut so",
            )
    for a in arrays:
        if a.layout.keys is not None:
            yield "keys", _keys(a, answer.machine.engine)
    unknown = [a.name for a in arrays if a.how == "concatenated"]
    if unknown:
        here = "at most as said here" if answer.question.plan.indices else "and not counted here"
        yield "unknown size", f"{', '.join(unknown)}: known when the body has returned, {here}"


def _modes(boundaries: Sequence[object]) -> str:
    """One where all are alike, else one for each axis with a halo."""
    return ", ".join(map(str, boundaries[: 1 if len(set(boundaries)) == 1 else None]))


def _keys(array: ArrayCut, engine: str) -> str:
    if array.is_result:
        return f"{array.name}: every tile has all cells, into which what the body returns is put"
    if engine == "local":
        return f"{array.name}: the body gets the elements that the keys of its tile name, which are copied"
    there = "all from the lowest to the highest" if array.how == "pointed" else "all"
    return f"{array.name}: a task has {there}, and the body gets the elements that its keys name"


def _body(answer: Answer) -> str:
    machine = answer.machine
    own = "a body of its own" if machine.variant in answer.question.definition.body.variants else "the one body"
    if machine.engine == "local":
        return f"{own}, on {answer.question.library} arrays"
    return f"{own}, variant {machine.variant}, on {'CuPy' if machine.kind == 'gpu' else 'NumPy'} arrays"


def _cache(answer: Answer) -> str:
    cache = answer.cache
    apart = f"; {cache.strips} strips along borders run apart" if cache.strips else ""
    if not cache.sizes:
        return f"not cut for the cache: {cache.why}{apart}"
    sizes = ", ".join(f"{shown(n)} {s:,}" for n, s in zip(answer.tiling.indices, cache.sizes, strict=True))
    inside = "the call" if answer.machine.engine == "local" else "each task"
    return f"{inside} is cut into {cache.count:,} tiles of {sizes} elements{apart}"


def _guard(answer: Answer) -> str:
    question, machine = answer.question, answer.machine
    local = machine.engine == "local"
    if local and question.library != "numpy":
        return f"not needed: {question.library} arrays are not cut"
    if answer.count == 1 and not (answer.cache.sizes or answer.cache.strips):
        return "not needed: the call is not cut"
    if not settings.guard:
        return "none: settings.guard is False"
    found = few(question.definition, question.cutter(machine.variant, planned=not local), question.scalars, timed=local)
    if isinstance(found, str):
        return f"none: {found}"
    elements = ", ".join(f"{shown(n)} {s:,}" for n, s in zip(question.plan.indices, found, strict=True))
    return f"tried whole and in tiles on {elements} elements, before the first call of its kind that is cut"


def assumptions(answer: Answer) -> tuple[str, ...]:
    """What an answer rests on, in sentences."""
    if answer.cuts is None:
        return (
            "Threads of one process share their memory, so that nothing is sent.",
            "Sizes of tiles are the library's own decision for this machine's cache.",
        )
    found, arrays = list(answer.cuts.notes), answer.arrays.values()
    if answer.machine.predicted:
        found.append(
            "The grid is predicted by Legate 26.6's rule for automatic tasks, which the tests compare with real "
            "launches on 1 to 8 CPUs, and on 2 and 4 hosts that are network namespaces. On GPUs nothing was run."
        )
    found.append(
        "Received is what lies with other processors where each array is spread over those that read it; what moves "
        "because an array was cut otherwise before is not in it. CPUs of one node share their memory, and read it "
        "there; between GPUs and nodes it is copied."
    )
    uncut = [array for array in arrays if array.how == "halo" and array.axis is None]
    views = [array.name for array in uncut if array.is_view and stays_whole(array.layout.shape)]
    if views and answer.count > 1:
        found.append(f"Each processor gets all of {', '.join(views)}: to be cut with its halo a view must be copied.")
    haloed = [array.name for array in uncut if array.name not in views]
    if haloed and answer.count > 1:
        wraps = any("wrap" in array.layout.boundaries for array in uncut)
        found.append(
            f"The body reads {', '.join(haloed)} with its halo alone, but each processor gets all of it: it "
            + ("wraps around, and other indices are cut too." if wraps else "is small, or pointers say how it is cut.")
        )
    partly = [a.name for a in arrays if a.axis is not None and math.prod(a.pieces) > a.pieces[a.axis]]
    if partly:
        found.append(
            f"Of {', '.join(partly)} each processor gets its own elements and the halo along one axis, and all along "
            "the others."
        )
    if any(array.how == "pointed" for array in arrays):
        found.append("What pointers select depends on their values, so that those arrays count in full.")
    scans = [array.name for array in arrays if array.carries]
    if scans:
        found.append(
            f"{', '.join(scans)}: when all tiles have their own scan, a second task for each combines it with what "
            "stands before, of which it gets one element along the index from each other tile."
        )
    if any(array.fit == "gathered" for array in arrays):
        found.append("Partial results are put together by one processor, in the order of the tiles.")
    return tuple(found)
