"""The engine ``dask``: dask's blocks are the tiles, in a graph that is computed when dask is told to.

A call settles dtypes and shapes, tries the body on a few elements as every call does that is cut, and reads no block.
Each operand is chunked so that a block is what a tile gets of it: along an index where the tiles end, with its halo and
what stands in for elements outside, and in one chunk along whole axes. One task for each tile then runs the body by the
executor that all calls share, and gives one *cell*: the tile and the values of all results. Where an operator combines
tiles, cells are merged in a tree, a few neighbors at a time, so that the order of the tiles stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial, reduce
from itertools import pairwise
from math import nan
from typing import Any, NamedTuple
from uuid import uuid4

import dask.array as da
import numpy as np
from dask import config
from dask.array.core import normalize_chunks
from dask.array.overlap import overlap

from xpdispatch.arrays.dtypes import unknown_dtype
from xpdispatch.arrays.namespaces import library_of
from xpdispatch.arrays.reductions import check_dtype, combined, identity
from xpdispatch.arrays.scalars import copied
from xpdispatch.errors import ArgumentError, UnsupportedError, XPDispatchError
from xpdispatch.planning.arguments import as_arrays, refuse_empty
from xpdispatch.planning.definition import Call, Definition, call_of
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.windows import PLAIN, WHOLE, Bounds, Layout, Reach, sizes_of
from xpdispatch.proving.guard import Guard
from xpdispatch.running.calls import site_of, site_on_numpy
from xpdispatch.running.cutting import Choice, Cutter
from xpdispatch.running.dry_run import ResultTypes, result_types
from xpdispatch.running.executor import Work
from xpdispatch.running.gathered import apply_carry, carries, fold, scanned_together
from xpdispatch.running.learned import Learned
from xpdispatch.running.ownership import known_to
from xpdispatch.running.parts import source_elements
from xpdispatch.running.site import Site, inside_body

Runner = Callable[[Sequence[Any]], list[Any]]


def prepare(call: Call) -> Callable[[Sequence[Any]], Runner]:
    """Where chunks end is no part of what calls have in common, so that each makes its graph anew."""
    definition = call.definition
    return lambda _: lambda values: _run(call_of(definition, values))


def _run(call: Call) -> list[Any]:
    """The results, of which no block is computed."""
    definition = call.definition
    _check(call)
    on_numpy = replace(call, operands=tuple(map(_stand_in, call.operands)))
    site = site_of(on_numpy)
    plan = site.plan
    _check_plan(definition, plan)
    operands = as_arrays(on_numpy, "numpy", site.xp)
    dtypes = [a.dtype for a in operands]
    types, _ = result_types(definition, plan, dtypes, call.scalars, [None] * len(plan.results))
    for layout, (dtype, _) in zip(plan.results, types, strict=True):
        if layout.op and layout.op != "fold":
            check_dtype(layout.op, layout.name, dtype)
    if plan.empty:
        return _empty(plan, types)
    lazy = [v if library_of(v) == "dask" else None for v in call.operands]
    edges = list(_edges(plan, lazy))
    if any(len(places) > 2 for places in edges):
        learned = Learned(dtypes, [None] * len(plan.results))
        Guard(definition, Cutter(definition, site, None, learned)).before(call.scalars)
    shapes = [(None, *s[1:]) if o.concatenated else s for o, (_, s) in zip(plan.results, types, strict=True)]
    plan = plan.with_result_shapes(shapes)
    arrays = [
        _in_windows(da.from_array(np.array(a), chunks=-1, name=False) if x is None else x, layout, edges)
        for x, a, layout in zip(lazy, operands, plan.operands, strict=True)
    ]
    body = _Body(definition, _with_all_there(plan), tuple(dtypes), tuple(d for d, _ in types), copied(call.scalars))
    return _results(body, _cells(body, arrays, edges), types, edges)


# -- what is refused -------------------------------------------------------------------------------------------------


def _check(call: Call) -> None:
    """Refuse arrays beside dask's and NumPy's, what is to be written, and blocks of other libraries."""
    for term, value in zip(call.definition.operands, call.operands, strict=True):
        library, name = library_of(value), term.name
        if library not in ("dask", "numpy", "number"):
            raise ArgumentError(
                f"argument {name!r} is a {library} array beside a dask array",
                hint="pass arrays of one library; NumPy arrays may stand beside dask's",
            )
        if library == "dask":
            if any(n != n for n in value.shape):  # noqa: PLR0124  NaN
                raise ArgumentError(
                    f"argument {name!r} is a dask array of shape {value.shape}, of which some extent is not known",
                    hint=f"call {name}.compute_chunk_sizes() first",
                )
            if type(value._meta) is not np.ndarray:
                kind = type(value._meta)
                raise ArgumentError(
                    f"argument {name!r} is a dask array with blocks of {kind.__module__}.{kind.__qualname__}, expected "
                    "blocks of NumPy's",
                    hint=f"convert them: masked ones by dask.array.ma.filled({name}, ...), others by "
                    f"{name}.map_blocks(numpy.asarray) or a function of their own library",
                )
    results = call.definition.signature.results
    written = [str(t.name) for t, given in zip(results, call.given, strict=True) if given is not None]
    written += [str(results[r].name) for r, p in enumerate(call.definition.body.updated) if p is not None]
    if written:
        raise UnsupportedError(
            f"result {written[0]!r} is to be written to an array, and dask arrays cannot be written",
            hint="leave it out and take the returned one, or pass NumPy arrays, of dask's by .compute()",
        )


def _check_plan(definition: Definition, plan: Plan) -> None:
    if plan.images or len(plan.spaces) > 1:
        raise UnsupportedError(
            "its constraints cut arrays in ways that blocks of dask's cannot be: "
            f"{'image' if plan.images else 'arrays that no align ties together'}",
            hint="pass NumPy arrays, of dask's by .compute()",
        )
    for r in definition.body.buffers:
        if definition.rules[r] is None:
            raise unknown_dtype(plan.results[r].name)


def _stand_in(value: Any) -> Any:
    """For a dask array one of NumPy's with its shape and dtype, and the memory of one element."""
    return np.broadcast_to(np.zeros((), value.dtype), value.shape) if library_of(value) == "dask" else value


def _empty(plan: Plan, types: ResultTypes) -> list[Any]:
    """Results over no element: operators give their identity."""
    refuse_empty(plan)
    return [
        da.full(shape, identity(o.op, dtype) if o.op and o.combined else 0, dtype=dtype)
        for o, (dtype, shape) in zip(plan.results, types, strict=True)
    ]


# -- operands, of which each block is what a tile gets ----------------------------------------------------------------


def _edges(plan: Plan, operands: Sequence[Any]) -> Iterator[list[int]]:
    """For each index the places where tiles begin, and its extent: where chunks of the operands end.

    That is of those without a halo or blocks along the index, if they are in several chunks. Tiles have as many
    elements as the halos of their neighbors.
    """
    for a, n in enumerate(plan.extents):
        plain, others = set[int](), set[int]()
        least, chunked = plan.fewest[a], False
        for array, layout in zip(operands, plan.operands, strict=True):
            for axis in [axis for axis, b in enumerate(layout.axes) if b == a]:
                reach = layout.reaches[axis] if layout.reaches else PLAIN
                least = max(least, -(-max(reach.below, reach.above) // reach.scale))
                if array is not None:
                    chunked = True
                    first = reach.below if reach.boundary == "valid" else 0
                    ends = np.cumsum(array.chunks[axis])[:-1]
                    (plain if reach == PLAIN else others).update(((ends - first) // reach.scale).tolist())
        if not chunked:
            others.update(np.cumsum(normalize_chunks("auto", (n,), dtype=np.float64)[0])[:-1].tolist())
        found = [0]
        for place in sorted(plain - {0, n} or others):
            if found[-1] + least <= place <= n - least and place not in (0, n):
                found.append(place)
        yield [*found, n]


def _in_windows(x: Any, layout: Layout, edges: Sequence[Sequence[int]]) -> Any:
    """The operand in blocks that hold what tiles get of it; neighbors share their halos."""
    chunks: list[tuple[int, ...]] = []
    depths: dict[int, tuple[int, int]] = {}
    for axis, a in enumerate(layout.axes):
        if a == WHOLE:
            chunks.append((x.shape[axis],))
            continue
        reach = layout.reaches[axis] if layout.reaches else PLAIN
        sizes = [reach.scale * (stop - start) for start, stop in pairwise(edges[a])]
        if reach.boundary not in (None, "clip"):
            if reach.boundary != "valid":
                x = _padded(x, axis, reach)
            sizes[0] += reach.below
            sizes[-1] += reach.above
        chunks.append(tuple(sizes))
        if len(sizes) > 1 and (reach.below or reach.above):
            depths[axis] = (reach.below, reach.above)
    x = x.rechunk(tuple(chunks))
    return overlap(x, depths, dict.fromkeys(depths, "none"), allow_rechunk=False) if depths else x


def _padded(x: Any, axis: int, reach: Reach) -> Any:
    """The array with what stands in for elements before and behind it along an axis."""
    extent, before_axis = x.shape[axis], (slice(None),) * axis

    def made_up(low: int, high: int) -> Any:
        if isinstance(reach.boundary, str):
            sources = source_elements(low, high, extent, reach.boundary)
            near = x[(*before_axis, slice(sources.min(), sources.max() + 1))].rechunk({axis: -1})
            return da.take(near, sources - sources.min(), axis=axis)
        shape, chunks = list(x.shape), list(x.chunks)
        shape[axis], chunks[axis] = high - low, (high - low,)
        return da.full(shape, np.asarray(reach.boundary).astype(x.dtype)[()], dtype=x.dtype, chunks=tuple(chunks))

    ends = [(-reach.below, 0), (extent, extent + reach.above)]
    before, behind = [[made_up(*end)] if end[0] < end[1] else [] for end in ends]
    return da.concatenate([*before, x, *behind], axis=axis)


def _with_all_there(plan: Plan) -> Plan:
    """The plan for operands that hold what stands in for elements outside, too: as under ``"valid"``."""

    def other(layout: Layout) -> Layout:
        if not layout.is_padded:
            return layout
        reaches = [r if r.boundary in (None, "clip") else r._replace(boundary="valid") for r in layout.reaches]
        return layout._replace(reaches=tuple(reaches))

    return plan._replace(operands=tuple(map(other, plan.operands))).with_extents(plan.extents)


# -- tiles -----------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """What a tile gave: where it lies, and its values of all results, or neighbors' merged."""

    region: Bounds
    values: tuple[Any, ...]


def _block_of(cell: Any, rank: int) -> Any:
    """The one element of a block of cells."""
    block = np.empty(1, object)
    block[0] = cell
    return block.reshape((1,) * rank)


class _Body:
    """Runs a kernel's body on one tile, in whatever process a pickle of it takes it to."""

    def __init__(
        self, definition: Definition, plan: Plan, dtypes: tuple[Any, ...], planned: tuple[Any, ...], scalars: Any
    ) -> None:
        self.definition, self.plan, self.dtypes, self.planned = definition, plan, dtypes, planned
        self.scalars = scalars

    def __reduce__(self) -> Any:
        return _Body, (self.definition, self.plan, self.dtypes, self.planned, self.scalars)

    def __dask_tokenize__(self) -> str:
        return uuid4().hex  # what a body reads from around it may have changed

    @cached_property
    def site(self) -> Site:
        """Where the body runs."""
        return site_on_numpy(self.definition, self.plan, self.dtypes)._replace(dtypes=self.planned)

    @cached_property
    def cutter(self) -> Cutter:
        """What cuts tiles further, for the cache."""
        known = known_to(self.site.function, self.scalars, self.site.xp)
        return Cutter(self.definition, self.site, known, Learned(self.dtypes, self.planned), threaded=False)

    def __call__(self, *parts: Any) -> Any:
        """The cell of a tile, from the ends of the tile along each index and its part of each operand."""
        body, plan = self.definition.body, self.plan
        count = len(plan.extents)
        region = tuple([(int(ends[0, 0]), int(ends[0, 1])) for ends in parts[:count]])
        operands = [np.asarray(part) for part in parts[count:]]
        if not body.read_only:  # blocks of dask's own may be, such as those of ones
            operands = [o if o.flags.writeable else o.copy() for o in operands]
        scalars = copied(self.scalars)
        targets: list[Any] = [None] * len(plan.results)
        for r in body.buffers:
            if plan.results[r].op is None:
                targets[r] = np.empty(plan.results[r].tile_shape(sizes_of(region)), self.planned[r])
        chosen = self._choice(region, operands, scalars)
        origins = {p: o.held_from(region) for p, o in enumerate(plan.operands) if o.reaches}
        with self.inside():
            work = chosen.work._replace(origins=origins)
            values = chosen.strategy.run(body.arguments(operands, scalars), targets, work)
        return _block_of(Cell(region, tuple(values)), count)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """While functions of the kernel run: what fails is told with the kernel's name."""
        token = inside_body.set(True)
        try:
            yield
        except XPDispatchError as error:
            raise error.complete(self.definition.name, self.definition.notation)  # noqa: B904  it is the same
        finally:
            inside_body.reset(token)

    def _choice(self, region: Bounds, operands: Sequence[Any], scalars: Sequence[Any]) -> Choice:
        cutter, new = self.cutter, not self.definition.body.buffers
        if cutter.fixed(region, operands, scalars):
            return Choice(cutter.whole, Work(region, (region,)))
        return cutter.choose(region, operands, scalars, 1, new=new)


def _cells(body: _Body, arrays: Sequence[Any], edges: Sequence[Sequence[int]]) -> Any:
    """An array with one element for each tile, each a block of its own."""
    rank, name = len(edges), body.definition.name
    pairs: list[Any] = []
    fresh = rank  # labels that no other axis has: of whole axes
    for a, places in enumerate(edges):
        ends = da.from_array(np.asarray(list(pairwise(places))), chunks=(1, 2), name=False)
        pairs += [ends, (a, fresh)]
        fresh += 1
    for x, layout in zip(arrays, body.plan.operands, strict=True):
        labels = []
        for a in layout.axes:
            labels.append(fresh if a == WHOLE else a)
            fresh += a == WHOLE
        pairs += [x, tuple(labels)]
    ones = {a: (1,) * (len(places) - 1) for a, places in enumerate(edges)}
    return _blockwise(f"{name}-tiles", body, range(rank), pairs, adjust_chunks=ones, meta=np.empty((0,) * rank, object))


def _blockwise(name: str, function: Any, out: Sequence[int], pairs: Sequence[Any], **keywords: Any) -> Any:
    return da.blockwise(
        function,
        tuple(out),
        *pairs,
        name=f"{name}-{uuid4().hex}",
        concatenate=True,
        align_arrays=False,
        dtype=keywords["meta"].dtype,
        **keywords,
    )


# -- results -----------------------------------------------------------------------------------------------------------


def _results(body: _Body, cells: Any, types: ResultTypes, edges: Sequence[Sequence[int]]) -> list[Any]:
    name, layouts = body.definition.name, body.plan.results
    carried = _carried(body, cells) if any(layout.scan for layout in layouts) else cells
    merged: dict[tuple[int, ...], Any] = {(): carried}
    results = []
    for r, layout in enumerate(layouts):
        gone = _gone(layout, len(edges))
        if gone not in merged:
            merged[gone] = _merged(body, cells, gone)
        results.append(_result(name, merged[gone], r, layout, types[r], edges))
    return results


def _result(
    name: str, cells: Any, r: int, layout: Layout, kind: tuple[np.dtype[Any], Any], edges: Sequence[Sequence[int]]
) -> Any:
    """One result, taken out of the cells."""
    rank = len(edges)
    labels, new, sizes = [], {}, {}
    for axis, a in enumerate(layout.axes):
        if layout.concatenated and axis == 0 and rank:
            labels.append(0)
            sizes[0] = (nan,) * (len(edges[0]) - 1)
        elif a == WHOLE:
            labels.append(rank + axis)
            new[rank + axis] = nan if layout.shape[axis] is None else layout.shape[axis]
        else:
            labels.append(a)
            scale = layout.reaches[axis].scale if layout.reaches else 1
            sizes[a] = tuple([scale * (stop - start) for start, stop in pairwise(edges[a])])
    meta = np.empty((0,) * len(labels), kind[0])
    taken = partial(_value_of, r)
    pairs = (cells, tuple(range(rank)))
    return _blockwise(name, taken, labels, pairs, new_axes=new, adjust_chunks=sizes, meta=meta)


def _value_of(r: int, cells: Any) -> Any:
    return np.asarray(cells.item().values[r])


def _gone(layout: Layout, rank: int) -> tuple[int, ...]:
    """The indices along which tiles are combined."""
    return tuple([a for a in range(rank) if a not in layout.axes]) if layout.combined else ()


def _merged(body: _Body, cells: Any, gone: tuple[int, ...]) -> Any:
    """The cells merged along indices that some results leave out, neighbors first."""
    wanted = config.get("split_every", 4)  # which dask takes as a number, or by axis
    every = max(2, wanted) if isinstance(wanted, int) else 4
    for a in gone:
        while cells.shape[a] > 1:
            cells = cells.rechunk({a: every})
            ones = tuple((1,) * count for count in cells.numblocks)
            cells = _each(f"{body.definition.name}-merge", partial(_merge, body, gone), cells, ones)
    return cells


def _each(name: str, function: Any, cells: Any, chunks: Any) -> Any:
    """A function of each block of cells."""
    meta = np.empty((0,) * cells.ndim, object)
    return cells.map_blocks(function, name=f"{name}-{uuid4().hex}", dtype=object, chunks=chunks, meta=meta)


def _merge(body: _Body, gone: tuple[int, ...], cells: Any) -> Any:
    """One cell of a few neighbors, with the values of the results that leave just these indices out."""
    found: list[Cell] = cells.ravel().tolist()
    values: list[Any] = [None] * len(body.plan.results)
    folds = []
    for r, layout in enumerate(body.plan.results):
        if layout.op is not None and layout.combined and _gone(layout, cells.ndim) == gone:
            if layout.op == "fold":
                folds.append(r)
            else:
                values[r] = reduce(partial(combined, np, layout.op), [cell.values[r] for cell in found])
    if folds:
        with body.inside():
            folded = fold(body.site, folds, [tuple([cell.values[r] for r in folds]) for cell in found])
        for r, value in zip(folds, folded, strict=True):
            values[r] = value
    return _block_of(Cell(found[0].region, tuple(values)), cells.ndim)


# -- scans -------------------------------------------------------------------------------------------------------------


def _carried(body: _Body, cells: Any) -> Any:
    """The cells, of which scans go on from what stands before each tile; one task finds that for all, from the ends."""
    name = body.definition.name
    ends = _each(f"{name}-ends", partial(_ends, body), cells, cells.chunks).rechunk(-1)
    before = _each(f"{name}-carries", partial(_carries, body), ends, ends.chunks).rechunk(cells.chunks)
    labels = tuple(range(cells.ndim))
    pairs, meta = (cells, labels, before, labels), np.empty((0,) * cells.ndim, object)
    return _blockwise(f"{name}-scans", partial(_carry_on, body), labels, pairs, meta=meta)


def _ends(body: _Body, cells: Any) -> Any:
    cell: Cell = cells.item()
    scans = [(o.scan, value) for o, value in zip(body.plan.results, cell.values, strict=True)]
    return _block_of(Cell(cell.region, tuple([s and np.array(s.end(value)) for s, value in scans])), cells.ndim)


def _carries(body: _Body, ends: Any) -> Any:
    """For each tile, by the results that are scanned together, what stands before it."""
    found = np.frompyfunc(lambda cell: dict[tuple[int, ...], Any](), 1, 1)(ends)
    places = {cell.region: place for place, cell in np.ndenumerate(ends)}
    with body.inside():
        for scans in scanned_together(body.plan):
            own = [(cell.region, tuple([cell.values[r] for r in scans])) for cell in ends.flat]
            for region, carry in carries(body.site, scans, own):
                found[places[region]][scans] = carry
    return found


def _carry_on(body: _Body, cells: Any, before: Any) -> Any:
    cell: Cell = cells.item()
    values = list(cell.values)
    with body.inside():
        for scans, carry in before.item().items():
            parts = tuple([np.array(values[r]) for r in scans])  # the cell may be used again
            apply_carry(body.site, scans, carry, parts)
            for r, part in zip(scans, parts, strict=True):
                values[r] = part
    return _block_of(Cell(cell.region, tuple(values)), cells.ndim)
