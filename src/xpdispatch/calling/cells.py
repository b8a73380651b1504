"""The tasks of a graph of dask's: the body runs on each tile, and its results are put together.

A task gives one *cell*: the tile and the values of all results. Where an operator combines tiles, cells are merged in a
tree, a few neighbors at a time, so that the order of the tiles stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial, reduce
from itertools import pairwise
from math import nan
from typing import Any, NamedTuple
from uuid import uuid4

import dask.array as da
import numpy as np
from dask import config

from xpdispatch.arrays.reductions import combined
from xpdispatch.arrays.scalars import copied
from xpdispatch.errors import XPDispatchError
from xpdispatch.machine.thread_pool import alone
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.windows import WHOLE, Bounds, Layout, sizes_of
from xpdispatch.running.calls import site_on_numpy
from xpdispatch.running.cutting import Choice, Cutter
from xpdispatch.running.dry_run import ResultTypes
from xpdispatch.running.executor import Work
from xpdispatch.running.gathered import apply_carry, carries, fold, scanned_together
from xpdispatch.running.learned import Learned
from xpdispatch.running.results import Taking
from xpdispatch.running.site import Site, inside_body


class Cell(NamedTuple):
    """What a tile gave: where it lies, and its values of all results, or neighbors' merged."""

    region: Bounds
    values: tuple[Any, ...]


def _block_of(cell: Any, rank: int) -> Any:
    """The one element of a block of cells."""
    block = np.empty(1, object)
    block[0] = cell
    return block.reshape((1,) * rank)


class Body:
    """Runs a kernel's body on one tile, in whatever process a pickle of it takes it to."""

    def __init__(
        self,
        definition: Definition,
        plan: Plan,
        dtypes: tuple[Any, ...],
        planned: tuple[Any, ...],
        sample: str,
        scalars: Sequence[Any],
    ) -> None:
        self.definition, self.plan, self.dtypes, self.scalars = definition, plan, dtypes, scalars
        self.planned, self.sample = planned, sample

    def __reduce__(self) -> Any:
        return Body, (self.definition, self.plan, self.dtypes, self.planned, self.sample, self.scalars)

    def __dask_tokenize__(self) -> str:
        return uuid4().hex  # what a body reads from around it may have changed

    @cached_property
    def site(self) -> Site:
        """Where the body runs."""
        return site_on_numpy(self.definition, self.plan, self.dtypes)._replace(dtypes=self.planned, sample=self.sample)

    @cached_property
    def cutter(self) -> Cutter:
        """What cuts tiles further, for the cache."""
        taking = Taking.of(self.site, self.scalars)
        return Cutter(self.definition, self.site, taking, Learned(self.dtypes, self.planned), threaded=False)

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
        return cutter.choose(region, operands, scalars, alone, new=new)


def cells_of(body: Body, arrays: Sequence[Any], edges: Sequence[Sequence[int]]) -> Any:
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


def results_of(body: Body, cells: Any, types: ResultTypes, edges: Sequence[Sequence[int]]) -> list[Any]:
    """The results of a call as dask arrays, out of the cells of its tiles."""
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


def _merged(body: Body, cells: Any, gone: tuple[int, ...]) -> Any:
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


def _merge(body: Body, gone: tuple[int, ...], cells: Any) -> Any:
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


def _carried(body: Body, cells: Any) -> Any:
    """The cells, of which scans go on from what stands before each tile; one task finds that for all, from the ends."""
    name = body.definition.name
    ends = _each(f"{name}-ends", partial(_ends, body), cells, cells.chunks).rechunk(-1)
    before = _each(f"{name}-carries", partial(_carries, body), ends, ends.chunks).rechunk(cells.chunks)
    labels = tuple(range(cells.ndim))
    pairs, meta = (cells, labels, before, labels), np.empty((0,) * cells.ndim, object)
    return _blockwise(f"{name}-scans", partial(_carry_on, body), labels, pairs, meta=meta)


def _ends(body: Body, cells: Any) -> Any:
    cell: Cell = cells.item()
    scans = [(o.scan, value) for o, value in zip(body.plan.results, cell.values, strict=True)]
    return _block_of(Cell(cell.region, tuple([s and np.array(s.end(value)) for s, value in scans])), cells.ndim)


def _carries(body: Body, ends: Any) -> Any:
    """For each tile, by the results that are scanned together, what stands before it."""
    found = np.frompyfunc(lambda cell: dict[tuple[int, ...], Any](), 1, 1)(ends)
    places = {cell.region: place for place, cell in np.ndenumerate(ends)}
    with body.inside():
        for scans in scanned_together(body.plan):
            own = [(cell.region, tuple([cell.values[r] for r in scans])) for cell in ends.flat]
            for region, carry in carries(body.site, scans, own):
                found[places[region]][scans] = carry
    return found


def _carry_on(body: Body, cells: Any, before: Any) -> Any:
    cell: Cell = cells.item()
    values = list(cell.values)
    with body.inside():
        for scans, carry in before.item().items():
            parts = tuple([np.array(values[r]) for r in scans])  # the cell may be used again
            apply_carry(body.site, scans, carry, parts)
            for r, part in zip(scans, parts, strict=True):
                values[r] = part
    return _block_of(Cell(cell.region, tuple(values)), cells.ndim)
