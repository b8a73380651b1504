"""The engine ``dask``: dask's blocks are the tiles, in a graph that is computed when dask is told to.

A call settles dtypes and shapes, tries the body on a few elements as every call does that is cut, and reads no block.
Each operand is chunked so that a block is what a tile gets of it: along an index where the tiles end, with its halo and
what stands in for elements outside, and in one chunk along whole axes. One task for each tile then runs the body by the
executor that all calls share (:mod:`xpdispatch.calling.cells`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
from dask.array.core import normalize_chunks
from dask.array.overlap import overlap

from xpdispatch.arrays.dtypes import unknown_dtype
from xpdispatch.arrays.namespaces import library_of
from xpdispatch.arrays.reductions import check_dtype, identity
from xpdispatch.arrays.scalars import copied
from xpdispatch.calling.cells import Body, cells_of, results_of
from xpdispatch.errors import ArgumentError, UnsupportedError
from xpdispatch.planning.arguments import as_arrays, refuse_empty
from xpdispatch.planning.definition import Call, Definition, call_of
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.windows import PLAIN, WHOLE, Layout, Reach
from xpdispatch.proving.guard import Guard
from xpdispatch.running.calls import site_of
from xpdispatch.running.cutting import Cutter
from xpdispatch.running.dry_run import ResultTypes, result_types
from xpdispatch.running.learned import Learned
from xpdispatch.running.parts import source_elements

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
    types, sample = result_types(definition, plan, dtypes, call.scalars, [None] * len(plan.results))
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
    plan = plan.with_result_shapes([shape for _, shape in types])
    arrays = [
        _in_windows(da.from_array(np.array(a), chunks=-1, name=False) if x is None else x, layout, edges)
        for x, a, layout in zip(lazy, operands, plan.operands, strict=True)
    ]
    planned = tuple(dtype for dtype, _ in types)
    body = Body(definition, _with_all_there(plan), tuple(dtypes), planned, sample, copied(call.scalars))
    return results_of(body, cells_of(body, arrays, edges), types, edges)


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
