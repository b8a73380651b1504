"""What a body returns, known before it runs on tiles: from ``dtype=`` and the notation, or from a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import Rule, casts, np_dtype, unknown_dtype
from xpdispatch.arrays.namespaces import namespace_for
from xpdispatch.arrays.scalars import copied, scalars_key
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.planning.body import Body
from xpdispatch.planning.plan import WHOLE, Layout, Plan, Shape
from xpdispatch.planning.tiles import Region
from xpdispatch.running.executor import run
from xpdispatch.running.site import Site

ResultTypes = list[tuple[np.dtype[Any], Shape]]
"""NumPy dtype and full shape of every result."""


def result_types(
    body: Body,
    rules: Sequence[Rule | None],
    cache: BoundedCache,
    plan: Plan,
    dtypes: Sequence[np.dtype[Any]],
    scalars: Sequence[Any],
    given: Sequence[np.dtype[Any] | None],
) -> ResultTypes:
    """Dtype and shape of every result of a call.

    Where ``dtype=`` and the notation do not say it all, the body runs once on a sample of ones with one cell
    per split index.

    Parameters
    ----------
    body : Body
    rules : sequence of (Rule or None)
        What ``dtype=`` says.
    cache : BoundedCache
        Samples by dtypes, extents of whole axes and scalars (see :func:`scalars_key`).
    plan : Plan
    dtypes : sequence of numpy.dtype
        The operands'.
    scalars : sequence of object
    given : sequence of (numpy.dtype or None)
        Of the arrays that the caller passes to be written.

    Raises
    ------
    DTypeError
        A buffer's dtype is not known.
    Exception
        What the body raised on the sample, with a note that asks for ``dtype=``.
    """
    wanted = casts(rules, dtypes, np)
    if plan.complete and all(c is not None for c in wanted):
        return [(np.dtype(c), _full(layout, layout.shape)) for c, layout in zip(wanted, plan.results, strict=True)]
    ones = plan.fewest
    shapes = tuple(layout.tile_shape(ones) for layout in (*plan.operands, *plan.results))
    key = (tuple(dtypes), shapes, scalars_key(scalars, integers=not plan.complete), tuple(given))
    sampled = cache.get(key)
    if sampled is None:
        sampled = cache[key] = _run_sample(body, plan, wanted, dtypes, scalars, given)
    return [(dtype, _full(layout, shape)) for layout, (dtype, shape) in zip(plan.results, sampled, strict=True)]


def _full(layout: Layout, sampled: Sequence[int | None]) -> Shape:
    """The shape of a result; the sample tells what only the body knows, and 0 stands for the extent of ``?``."""
    full = [s if n is None else n for n, s in zip(layout.shape, sampled, strict=True)]
    return tuple(0 if layout.joined and axis == 0 else int(n or 0) for axis, n in enumerate(full))


def _one_cell(plan: Plan) -> tuple[Plan, Region]:
    """The plan for arrays that have one cell to each index and all of its halo, and the region of that cell."""
    halos = [(0, 0)] * len(plan.indices)
    for layout in plan.operands:
        for a, reach in zip(layout.axes, layout.reaches, strict=False):
            if a != WHOLE and layout.boundary != "valid":
                halos[a] = max(halos[a][0], reach.below), max(halos[a][1], reach.above)
    extents = tuple(below + cells + above for (below, above), cells in zip(halos, plan.fewest, strict=True))

    def small(layout: Layout) -> Layout:
        shape = tuple(
            n if a == WHOLE else layout.array_extent(axis, extents[a])
            for axis, (a, n) in enumerate(zip(layout.axes, layout.shape, strict=True))
        )
        return replace(layout, shape=shape)

    operands, results = tuple(map(small, plan.operands)), tuple(map(small, plan.results))
    region = tuple((below, below + cells) for (below, _), cells in zip(halos, plan.fewest, strict=True))
    return replace(plan, extents=extents, operands=operands, results=results), region


def _run_sample(
    body: Body,
    plan: Plan,
    wanted: tuple[Any, ...],
    dtypes: Sequence[np.dtype[Any]],
    scalars: Sequence[Any],
    given: Sequence[np.dtype[Any] | None],
) -> ResultTypes:
    plan, region = _one_cell(plan)
    ones = [stop - start for start, stop in region]
    site = Site(plan, body, body.function_for("CPU"), namespace_for("CPU"), "numpy", "CPU", wanted)
    operands = [np.ones(o.tile_shape(ones), d) for o, d in zip(plan.operands, dtypes, strict=True)]
    for image in plan.images:
        operands[image.function][...] = 0  # a pointer to the first cell; or no cell between the borders
    targets: list[Any] = [None] * len(plan.results)
    for r in body.buffers:
        updated = body.updated[r]
        kind = wanted[r] if wanted[r] is not None else given[r]
        if updated is not None:
            targets[r] = operands[updated]  # a buffer has no halo, so that both are one array
        elif kind is not None:
            targets[r] = np.ones(plan.results[r].tile_shape(ones), kind)
        else:
            raise unknown_dtype(plan.results[r].name)
    try:
        with np.errstate(all="ignore"):
            results = run(site, operands, targets, copied(scalars), region, [region])
    except Exception as error:
        error.add_note(
            "The body was running on a sample: ones, one cell per split index, to learn the results' dtypes. "
            "If it fails on the sample only, pass dtype= to the decorator and name all extents: then there is none"
        )
        raise
    return [(np_dtype(v.dtype), v.shape) for v in results]
