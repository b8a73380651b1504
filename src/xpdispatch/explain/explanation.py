"""What :meth:`xpdispatch.Kernel.explain` gives: how a call's arrays are cut, and what moves. No body runs on them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

from xpdispatch.errors import ArgumentError
from xpdispatch.explain.cuts import Cuts, Rule, edges
from xpdispatch.explain.question import Question, ask, check_variant, whole_of
from xpdispatch.legate.recipe import THRESHOLDS
from xpdispatch.machine.threads import thread_count
from xpdispatch.planning.definition import Call
from xpdispatch.planning.tiles import is_empty, shown
from xpdispatch.planning.windows import WHOLE, Layout, Region
from xpdispatch.running import costs

Kind = Literal["cpu", "omp", "gpu"]
_Pieces = tuple[tuple[tuple[int, int], ...], ...]
How = Literal["cut", "whole", "halo", "pointed", "sent", "joined"]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a call runs.

    Parameters
    ----------
    engine : {"local", "legate"}
    processors : int
        Legate's processors, or threads of this process.
    kind : {"cpu", "omp", "gpu"}
    overdecompose_factor : int
    partitioning_threshold : int
    predicted : bool
        It is not the machine that the call would run on as things are.
    """

    engine: str
    processors: int
    kind: str
    overdecompose_factor: int = 1
    partitioning_threshold: int = 0
    predicted: bool = False

    def __str__(self) -> str:
        if self.engine == "local":
            return f"in this process, {_count(self.processors, 'thread')}"
        what = {"cpu": "CPU", "omp": "OpenMP processor", "gpu": "GPU"}[self.kind]
        return f"on Legate, {_count(self.processors, what)}{' (predicted)' if self.predicted else ''}"


@dataclass(frozen=True, slots=True)
class ArrayCut:
    """How one array of a call is cut.

    Parameters
    ----------
    name : str
    notation : str
        Its part of the notation.
    role : {"operand", "result"}
    shape : tuple of (int or None)
        None for an extent that only the body knows.
    dtype : str
    nbytes : int
        Of the whole array; at most, where an extent is not known.
    how : {"cut", "whole", "halo", "pointed", "sent", "joined"}
        Cut; whole in every tile; cut with a halo; cut where another array points; sent with the call; or made of parts
        of unknown size.
    pieces : tuple of int
        Into how many pieces each axis is cut; empty ones do not count.
    part : tuple of (int or None)
        The shape of a tile's part at its largest, halo included.
    part_bytes : int
    shared_by : int
        How many tiles have the same part, or make partial results of it.
    shared_over : tuple of str
        The indices in which those tiles differ.
    op : str or None
        How partial results are combined.
    halo : tuple of (int, int)
        Cells below and above, for each axis.
    halo_bytes : int
        Of cells in the halo that are other tiles' own, at most.
    boundary : str
        What lies outside; empty without a halo.
    received : int
        Bytes that a processor gets of it from others, at most.
    held : int
        Bytes of it in a processor's memory, at most.
    """

    name: str
    notation: str
    role: str
    shape: tuple[int | None, ...]
    dtype: str
    nbytes: int
    how: How
    pieces: tuple[int, ...]
    part: tuple[int | None, ...]
    part_bytes: int
    shared_by: int
    shared_over: tuple[str, ...]
    op: str | None
    halo: tuple[tuple[int, int], ...]
    halo_bytes: int
    boundary: str
    received: int
    held: int

    @property
    def partials(self) -> int:
        """How many partial results make each part of a result; 1 where nothing is combined."""
        return self.shared_by if self.op else 1


@dataclass(frozen=True, slots=True)
class Share:
    """What one processor does, in bytes.

    Parameters
    ----------
    tiles : int
    reads, writes : int
        What bodies read and write, halos and partial results included.
    receives : int
        What of it other processors have: the array's own cells lie spread over all that share a part.
    memory : int
        Its parts of all arrays and what bodies need besides; copies that Legate still keeps do not count.
    """

    tiles: int = 0
    reads: int = 0
    writes: int = 0
    receives: int = 0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class CacheCut:
    """How a tile, or a call in this process, is cut further for the cache.

    Parameters
    ----------
    sizes : tuple of int
        Cells of each index in one of the tiles; empty where it is not cut.
    count : int
    why : str
        Why it is not cut; empty where it is.
    """

    sizes: tuple[int, ...]
    count: int
    why: str = ""


@dataclass(frozen=True, eq=False)
class Explanation:
    """How one call is cut, shared, reduced and moved: ``kernel.explain(...)``.

    It shows itself: as text by `str`, as tables on a terminal by `rich.print` and in a notebook, as a picture by
    :meth:`plot`.

    Attributes
    ----------
    machine : Machine
        Engine, kind and number of processors.
    indices : tuple of str
    extents : tuple of int
    pieces : dict of str to tuple of (int, int)
        For each index where its pieces begin and end; empty ones do not count.
    arrays : dict of str to ArrayCut
        Operands, then results. A result of the same name as an operand is called ``name'``.
    shares : tuple of Share
        For each processor.
    cache : CacheCut
    temporaries : int or None
        Bytes that a body needs besides its arrays, measured on ones; None where that could not be measured.
    assumptions : tuple of str
        What the answer rests on.
    """

    question: Question = field(repr=False)
    machine: Machine
    _pieces: _Pieces = field(repr=False)
    _order: tuple[int, ...] = field(repr=False)
    cuts: Cuts | None = field(repr=False)
    _hows: tuple[str, ...] = field(repr=False)
    _gathered: tuple[int, ...] = field(repr=False)
    one_piece: bool = field(repr=False)

    def on(
        self,
        processors: int,
        kind: Kind = "cpu",
        *,
        overdecompose_factor: int = 1,
        partitioning_threshold: int | None = None,
    ) -> Explanation:
        """The same call on Legate with other processors, which need not be here.

        Parameters
        ----------
        processors : int
            In all, on however many nodes.
        kind : {"cpu", "omp", "gpu"}
        overdecompose_factor, partitioning_threshold : int
            As in Legate's ParallelPolicy; by default 1, and Legate's own threshold for the kind.

        Raises
        ------
        ArgumentError
            There is no such number or kind of processors.
        UnsupportedError
            The kernel has no variant for them.
        """
        name, notation = self.question.definition.name, self.question.definition.notation
        if kind not in THRESHOLDS:
            raise ArgumentError(
                f"kind={kind!r} is no kind of processor", hint=f"use one of {', '.join(map(repr, THRESHOLDS))}"
            ).complete(name, notation)
        threshold = THRESHOLDS[kind] if partitioning_threshold is None else partitioning_threshold
        for what, value in (
            ("processors", processors),
            ("overdecompose_factor", overdecompose_factor),
            ("partitioning_threshold", threshold),
        ):
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(
                    f"{what}={value!r}, expected an integer >= 1", hint=f"write an integer, 1 or more: {what}=8"
                ).complete(name, notation)
        return _on_legate(
            self.question, Machine("legate", processors, kind, overdecompose_factor, threshold, predicted=True)
        )

    # -- where it is cut ----------------------------------------------------------------------------

    @property
    def indices(self) -> tuple[str, ...]:
        """The split indices; those of ``...`` are called ``...-1``, ``...-2`` from the right."""
        return self.question.plan.indices

    @property
    def extents(self) -> tuple[int, ...]:
        """One for each index."""
        return self.question.plan.extents

    @property
    def pieces(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """For each index where its pieces begin and end."""
        kept = [tuple((a, b) for a, b in spans if a < b) for spans in self._pieces]
        return dict(zip(self.indices, kept, strict=True))

    @property
    def counts(self) -> tuple[int, ...]:
        """Into how many pieces each index is cut."""
        return tuple(len(spans) for spans in self.pieces.values())

    @property
    def count(self) -> int:
        """How many tiles there are, empty ones aside."""
        return 0 if self.question.plan.empty else math.prod(self.counts)

    @property
    def empty_tiles(self) -> int:
        """How many tiles have no cell; no body sees them."""
        return math.prod(map(len, self._pieces)) - self.count

    def tiles(self) -> Iterator[Region]:
        """The tiles that have cells, each with a first cell and the one after the last for each index."""
        for region in self._launched():
            if not is_empty(region):
                yield region

    def _launched(self) -> Iterator[Region]:
        order = self._order
        back = [order.index(i) for i in range(len(order))]
        for found in product(*(self._pieces[i] for i in order)):
            yield tuple(found[b] for b in back)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Cells of each index in the largest tile."""
        return tuple(max((b - a for a, b in spans), default=0) for spans in self.pieces.values())

    # -- arrays -------------------------------------------------------------------------------------

    @cached_property
    def arrays(self) -> dict[str, ArrayCut]:
        """How each array is cut, by name."""
        found: dict[str, ArrayCut] = {}
        for n in range(len(self._layouts)):
            cut = self._array(n)
            found[f"{cut.name}'" if cut.name in found else cut.name] = cut
        return found

    @property
    def _layouts(self) -> tuple[Layout, ...]:
        return (*self.question.plan.operands, *self.question.plan.results)

    def _array(self, n: int) -> ArrayCut:
        layout, itemsize = self._layouts[n], self.question.itemsizes[n]
        operand = n < len(self.question.operands)
        term = (*self.question.definition.operands, *self.question.definition.signature.results)[n]
        widest = max(self._edge_regions(), key=lambda region: self._read(n, region), default=whole_of(self.sizes))
        bounds = self._shape(n)
        counts = self.counts
        return ArrayCut(
            layout.name,
            str(term),
            "operand" if operand else "result",
            layout.shape,
            str(self._dtype(n)),
            itemsize * math.prod(bounds),
            self._how(n),
            tuple(1 if a == WHOLE else counts[a] for a in layout.axes),
            tuple(None if m is None else w for m, w in zip(layout.shape, self._window(n, widest), strict=True)),
            self._read(n, widest),
            self._sharing(layout),
            tuple(shown(name) for i, name in enumerate(self.indices) if i not in layout.axes and counts[i] > 1),
            layout.op,
            tuple((r.below, r.above) for r in layout.reaches) or ((0, 0),) * len(layout.axes),
            self._read(n, widest) - self._own(n, widest) if layout.boundary is not None else 0,
            "" if layout.boundary is None else str(layout.boundary),
            max((self._received(n, region) for region in self._edge_regions()), default=0),
            max((self._held(n, region) for region in self._edge_regions()), default=0),
        )

    def _dtype(self, n: int) -> Any:
        count = len(self.question.operands)
        return self.question.operands[n].dtype if n < count else self.question.types[n - count][0]

    def _how(self, n: int) -> How:
        layout, how = self._layouts[n], self._hows[n]
        if layout.joined:
            return "joined"
        if how in ("inline", "image"):
            return "sent" if how == "inline" else "pointed"
        if layout.boundary is not None:
            return "halo"
        counts = self.counts
        return "cut" if any(a != WHOLE and counts[a] > 1 for a in layout.axes) or self.count <= 1 else "whole"

    def _edge_regions(self) -> list[Region]:
        """The first and the last tile, and one from the middle: what they move bounds what any of them does."""
        if not self.count:
            return []
        chosen = [(spans[0], spans[len(spans) // 2], spans[-1]) for spans in self.pieces.values()]
        return list(zip(*chosen, strict=True)) if chosen else [()]

    def _shape(self, n: int) -> tuple[int, ...]:
        """The shape of an array; as many cells as the index has where only the body knows how many."""
        layout = self._layouts[n]
        return tuple(
            (self.extents[0] if layout.joined and axis == 0 and self.extents else 1) if size is None else size
            for axis, size in enumerate(layout.shape)
        )

    def _window(self, n: int, region: Region) -> tuple[int, ...]:
        """The shape of what a tile reads or writes of an array, inside the array."""
        layout = self._layouts[n]
        found = []
        for axis, (a, size) in enumerate(zip(layout.axes, self._shape(n), strict=True)):
            if layout.joined and axis == 0:
                found.append(region[0][1] - region[0][0])
            elif a == WHOLE:
                found.append(size)
            else:
                low, high = layout.window(axis, *region[a])
                around = layout.boundary == "wrap"
                found.append(min(high - low, size) if around else max(0, min(high, size) - max(0, low)))
        return tuple(found)

    def _sharing(self, layout: Layout) -> int:
        if layout.joined:
            return 1
        return max(1, math.prod(n for i, n in enumerate(self.counts) if i not in layout.axes))

    def _read(self, n: int, region: Region) -> int:
        return self.question.itemsizes[n] * math.prod(self._window(n, region))

    def _own(self, n: int, region: Region) -> int:
        """Bytes of a tile's part without its halo."""
        layout = self._layouts[n]
        cells = 1
        for axis, (a, size) in enumerate(zip(layout.axes, self._shape(n), strict=True)):
            scale = layout.reaches[axis].scale if layout.reaches else 1
            cells *= size if a == WHOLE else (region[a][1] - region[a][0]) * scale
        return self.question.itemsizes[n] * cells

    def _received(self, n: int, region: Region) -> int:
        layout = self._layouts[n]
        if self.machine.engine == "local" or self.count <= 1 or self._hows[n] == "inline" or layout.joined:
            return 0
        if n >= len(self.question.operands):  # partial results
            if n - len(self.question.operands) in self._gathered:
                return 0  # the one processor that puts them together is counted apart
            return self._read(n, region) - self._read(n, region) // self._sharing(layout) if layout.op else 0
        return max(0, self._held(n, region) - self._own(n, region) // self._sharing(layout))

    def _held(self, n: int, region: Region) -> int:
        layout = self._layouts[n]
        whole = self.machine.engine == "legate" and layout.boundary is not None and self._hows[n] != "image"
        return self.question.itemsizes[n] * math.prod(self._shape(n)) if whole else self._read(n, region)

    # -- processors ---------------------------------------------------------------------------------

    @cached_property
    def shares(self) -> tuple[Share, ...]:
        """What each processor does; those without a tile do nothing."""
        arrays = range(len(self._layouts))
        operands = len(self.question.operands)
        launched = math.prod(map(len, self._pieces))
        many = self.machine.processors
        sums = [[0] * 5 for _ in range(many)]
        for t, region in enumerate(self._launched() if self.count else ()):
            if is_empty(region):
                continue
            share = sums[t if launched <= many else t * many // launched]
            share[0] += 1
            share[1] += sum(self._read(n, region) for n in arrays[:operands])
            share[2] += sum(self._read(n, region) for n in arrays[operands:])
            share[3] += sum(self._received(n, region) for n in arrays)
            held = sum(self._held(n, region) for n in arrays)
            share[4] = held + (share[4] if self.machine.engine == "legate" else 0)
        for r in self._gathered:
            n = operands + r
            sums[0][3] += sum(self._read(n, region) for region in self.tiles()) - self._read(n, next(self.tiles()))
        for share in sums:
            share[4] += (self.temporaries or 0) if share[0] else 0
        return tuple(Share(*share) for share in sums)

    @property
    def largest(self) -> Share:
        """At most, of each number, what a processor does."""
        shares = self.shares
        return Share(*(max(getattr(s, name) for s in shares) for name in Share.__slots__))

    @cached_property
    def cache(self) -> CacheCut:
        """Whether the body is cut for the cache, as the library itself decides it."""
        if self.question.definition.cut is False:
            return CacheCut((), 1, "the kernel says cut=False")
        if self.machine.kind == "gpu":
            return CacheCut((), 1, "tiles on GPUs are not cut further")
        if self.machine.engine == "local" and self.question.library != "numpy":
            return CacheCut((), 1, f"{self.question.library} arrays are not cut")
        sizes = self.extents if self.machine.engine == "local" else self.sizes
        tile, why = _tile_for_cache(self.question, self.machine, sizes)
        if tile is None:
            return CacheCut((), 1, why)
        return CacheCut(tile, costs.count(sizes, tile))

    @cached_property
    def temporaries(self) -> int | None:
        """Bytes that a body needs besides its arrays, by a run on ones in NumPy."""
        plan = self.question.plan
        variant = "CPU" if self.machine.engine == "local" else self.machine.kind.upper()
        own = self.question.definition.body.variants.get("GPU") is not None and variant == "GPU"
        if plan.empty or plan.images or own or not self.sizes:
            return None
        cutter = self.question.cutter(variant, planned=self.machine.engine == "legate")
        cost = cutter.cost(self.question.scalars)
        if cost is None:
            return None
        return round(cost.live(self.cache.sizes or self.sizes))

    # -- what it looks like -------------------------------------------------------------------------

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the answer rests on, in sentences."""
        from xpdispatch.explain.words import assumptions

        return assumptions(self)

    def __str__(self) -> str:
        from xpdispatch.explain.words import as_text

        return as_text(self)

    def __rich__(self) -> Any:
        """Tables for a terminal."""
        from xpdispatch.explain.words import as_rich

        return as_rich(self)

    def _repr_html_(self) -> str:
        from xpdispatch.explain.page import as_html

        return as_html(self)

    def to_html(self, file: str | Path) -> None:
        """Write what a notebook shows as a page of its own, which needs no other file and no network."""
        from xpdispatch.explain.page import as_page

        Path(file).write_text(as_page(self), encoding="utf-8")

    def plot(self, file: str | Path | None = None) -> Any:
        """Draw every array cut into its tiles; what goes together has the same color.

        Parameters
        ----------
        file : str or Path, optional
            Where to save it, as PNG, SVG or PDF.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingError
            Matplotlib is not installed.
        """
        from xpdispatch.explain.canvas import draw
        from xpdispatch.explain.pictures import picture

        return draw(picture(self), file)


def explain_call(call: Call, engine: str) -> Explanation:
    """Explain a call on the machine that it would run on as things are."""
    question = ask(call, engine)
    if question.engine == "legate":
        from xpdispatch.legate.engine import machine_here  # which starts Legate

        count, kind, factor, threshold = machine_here(question.definition.variants)
        return _on_legate(question, Machine("legate", count, kind, factor, threshold))
    kind = "gpu" if question.library == "cupy" else "cpu"
    check_variant(question.definition, kind.upper())
    machine = Machine("local", thread_count() if question.library == "numpy" else 1, kind)
    plan = question.plan
    pieces: _Pieces = tuple(((0, n),) for n in plan.extents)
    layouts = (*plan.operands, *plan.results)
    hows = tuple("align" for _ in layouts)
    found = Explanation(question, machine, pieces, tuple(range(len(plan.extents))), None, hows, (), one_piece=False)
    sizes = found.cache.sizes
    if not sizes:
        return _settled(found)
    pieces = tuple(tuple(costs.pieces(0, n, size)) for n, size in zip(plan.extents, sizes, strict=True))
    return _settled(Explanation(question, machine, pieces, found._order, None, hows, (), one_piece=False))


def _on_legate(question: Question, machine: Machine) -> Explanation:
    check_variant(question.definition, machine.kind.upper())
    plan, recipe = question.plan, question.recipe()
    rule = Rule(machine.processors, machine.overdecompose_factor, machine.partitioning_threshold)
    cuts = question.cuts(recipe, rule)
    pieces: list[tuple[tuple[int, int], ...]] = []
    dims = []
    for source, extent, cells in zip(
        recipe.sources, plan.extents, recipe.cells or [0] * len(plan.extents), strict=True
    ):
        dim = len(plan.extents) if source is None else source[1]
        dims.append(dim)
        if source is None or cuts is None or not cuts.pieces:
            pieces.append(((0, extent),))
        elif cells:
            pieces.append(tuple((a * extent // cells, b * extent // cells) for a, b in edges(cells, cuts.pieces[dim])))
        else:
            pieces.append(edges(extent, cuts.pieces[dim]))
    order = tuple(sorted(range(len(dims)), key=dims.__getitem__))
    hows = tuple(fit.how for fit in (*recipe.operands, *recipe.results))
    told = Explanation(question, machine, tuple(pieces), order, cuts, hows, recipe.gathered, one_piece=recipe.one_piece)
    return _settled(told)


def _settled(told: Explanation) -> Explanation:
    """The explanation with all that the environment decides looked up now."""
    _ = told.cache, told.temporaries
    return told


def _tile_for_cache(question: Question, machine: Machine, sizes: tuple[int, ...]) -> tuple[tuple[int, ...] | None, str]:
    """The tile of the cache, or why there is none."""
    cutter = question.cutter(machine.kind.upper(), planned=machine.engine == "legate")
    region = whole_of(sizes)
    if question.plan.empty or not cutter.candidate(region):
        return None, "it is too small to gain by it, or its parts depend on each other"
    cuts = cutter.cuts(region, question.operands, question.scalars)
    if cuts.tile is None:
        return None, "tiles would cost more than the cache saves"
    body, here = question.definition.body, machine.engine == "local"
    new = here and not body.buffers and not body.updates and all(g is None for g in question.given)
    cuts, _ = cuts.on(machine.processors if here else 1 + (machine.kind == "omp"), new=new)
    return cuts.tile, "" if cuts.tile else "one thread does as well in one piece"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
