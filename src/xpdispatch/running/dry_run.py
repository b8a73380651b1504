"""A dry run: the body on stand-ins for its arrays, to learn what it returns.

A *sample* has one element for each index, and tells the dtypes and the extents that only the body knows
(:func:`result_types`). Other dry runs tell what a body makes (:mod:`xpdispatch.running.counting`), and whether its
trace does the same (:mod:`xpdispatch.running.traced`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xpdispatch.arrays import namespaces
from xpdispatch.arrays.dtypes import np_dtype, unknown_dtype
from xpdispatch.arrays.reductions import identity
from xpdispatch.arrays.scalars import copied, scalars_key
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.plan import Plan, Shape
from xpdispatch.planning.windows import WHOLE, Bounds, Layout, sizes_of
from xpdispatch.running.calls import site_on_numpy
from xpdispatch.running.executor import Whole, Work
from xpdispatch.running.ownership import AT_ONCE
from xpdispatch.running.results import values_of
from xpdispatch.running.site import Site, inside_body

Fill = Callable[[tuple[int, ...], Any, int], Any]
"""Makes a stand-in of a shape and a dtype; the number tells arrays apart."""

ResultTypes = list[tuple[np.dtype[Any], Shape]]
"""NumPy dtype and full shape of every result."""


def ones(shape: tuple[int, ...], dtype: np.dtype[Any], _: int) -> Any:
    """A stand-in of ones."""
    return np.ones(shape, dtype)


def stand_ins(
    site: Site, region: Bounds, dtypes: Sequence[Any], given: Sequence[Any], scalars: Sequence[Any], fill: Fill
) -> tuple[list[Any], list[Any]]:
    """Arguments of the body for a region of its plan, and where its results go: None, but for what the body may write.

    `given` has the dtype of each array that is to be written, or None; scalars are copied.
    """
    plan, body = site.plan, site.body
    operands = [fill(o.held_shape(region), d, p) for p, (o, d) in enumerate(zip(plan.operands, dtypes, strict=True))]
    for image in plan.images:
        operands[image.function] = operands[image.function] * 0  # to the first element; or none between the borders
    targets: list[Any] = [None] * len(plan.results)
    sizes = sizes_of(region)
    arguments = body.arguments(operands, copied(scalars))
    for r, at in body.buffer_at.items():
        layout, updated = plan.results[r], body.updated[r]
        dtype = site.casts[r] if site.casts[r] is not None else given[r]
        if updated is not None:
            targets[r] = operands[updated]  # a buffer has no halo, so that both are one array
        elif dtype is None:
            raise unknown_dtype(layout.name)
        elif layout.op:
            targets[r] = site.xp.full(layout.tile_shape(sizes), identity(layout.op, dtype).item(), dtype=dtype)
        else:
            targets[r] = fill(layout.tile_shape(sizes), dtype, -1 - r)
        arguments[at] = targets[r]
    return arguments, targets


# -- samples: dtypes and extents ------------------------------------------------------------------------------------


def result_types(
    definition: Definition,
    plan: Plan,
    dtypes: Sequence[np.dtype[Any]],
    scalars: Sequence[Any],
    given: Sequence[np.dtype[Any] | None],
) -> ResultTypes:
    """Dtype and shape of every result of a call, before any tile runs.

    Where ``dtype=`` and the notation do not say it all, the body runs once on a sample of ones with one element for
    each split index.

    Parameters
    ----------
    definition : Definition
        Keeps samples, by namespaces, dtypes, extents of unsplit axes and scalars (:func:`scalars_key`).
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
    wanted = definition.casts(dtypes, np)
    if plan.complete and all(c is not None for c in wanted):
        return [(np.dtype(c), _full(layout, layout.shape)) for c, layout in zip(wanted, plan.results, strict=True)]
    seen, least = plan.seen, plan.fewest
    shapes = tuple(layout.tile_shape(least) for layout in (*seen.operands, *seen.results))
    key = (namespaces.registered, tuple(dtypes), shapes, scalars_key(scalars, integers=not plan.complete), tuple(given))
    sampled = definition.samples.get(key)
    if sampled is None:
        results = _on_sample(site_on_numpy(definition, seen, dtypes), dtypes, scalars, given, ones)
        sampled = definition.samples[key] = [(np_dtype(v.dtype), v.shape) for v in results]
    return [(dtype, _full(layout, shape)) for layout, (dtype, shape) in zip(plan.results, sampled, strict=True)]


def own_result_types(
    site: Site, dtypes: Sequence[Any], scalars: Sequence[Any], given: Sequence[Any], device: Mapping[str, Any]
) -> list[tuple[Any, Shape]]:
    """The same in the terms of another library, on which the sample runs too.

    Nothing is kept, for libraries have settings that decide dtypes, such as torch's default one or JAX's 64 bits.

    Parameters
    ----------
    site : Site
    dtypes, given : sequence of dtype
        As above, of the site's library.
    scalars : sequence of object
    device : mapping
        ``device=`` of new arrays, or nothing.
    """
    layouts = site.plan.results
    if site.plan.complete and all(c is not None for c in site.casts):
        return [(c, _full(layout, layout.shape)) for c, layout in zip(site.casts, layouts, strict=True)]

    def own_ones(shape: tuple[int, ...], dtype: Any, _: int) -> Any:
        return site.xp.ones(shape, dtype=dtype, **device)

    results = _on_sample(site.seen, dtypes, scalars, given, own_ones)
    return [(v.dtype, _full(layout, v.shape)) for layout, v in zip(layouts, results, strict=True)]


def _full(layout: Layout, sampled: Sequence[int | None]) -> Shape:
    """The shape of a result; the sample tells what only the body knows, and 0 stands for the extent of ``?``."""
    if None not in layout.shape:  # what keys make of a result has other axes than what the body returns
        return tuple(int(n or 0) for n in layout.shape)
    full = [s if n is None else n for n, s in zip(layout.shape, sampled, strict=True)]
    return tuple(0 if layout.concatenated and axis == 0 else int(n or 0) for axis, n in enumerate(full))


def _on_sample(
    site: Site, dtypes: Sequence[Any], scalars: Sequence[Any], given: Sequence[Any], fill: Fill
) -> list[Any]:
    """The results of a body on a sample of a call at this site."""
    plan, region = _one_element(site.plan)
    site = site._replace(plan=plan)
    arguments, targets = stand_ins(site, region, dtypes, given, scalars, fill)
    # What stands in for an operand with a halo is its part of the region already.
    origins = {p: o.held_from(region) for p, o in enumerate(plan.operands) if o.reaches}
    try:
        with np.errstate(all="ignore"):
            work = Work(region, (region,), origins=origins)
            return Whole(site, AT_ONCE).run(arguments, targets, work)
    except Exception as error:
        error.add_note(
            "The body was running on a sample: ones, one element per split index, to learn the results' dtypes. "
            "If it fails on the sample only, pass dtype= to the decorator and name all extents: then there is none"
        )
        raise


def _one_element(plan: Plan) -> tuple[Plan, Bounds]:
    """The plan for arrays that have one element to each index and all of its halo, and the region of that element."""
    halos = [(0, 0)] * len(plan.indices)
    for layout in plan.operands:
        for a, reach in zip(layout.axes, layout.reaches, strict=False):
            if a != WHOLE and reach.boundary != "valid":
                below, above = (-(-n // reach.scale) for n in (reach.below, reach.above))
                halos[a] = max(halos[a][0], below), max(halos[a][1], above)
    extents = tuple(below + count + above for (below, above), count in zip(halos, plan.fewest, strict=True))
    region = tuple((below, below + count) for (below, _), count in zip(halos, plan.fewest, strict=True))
    return plan.with_extents(extents), region


def by_body(site: Site, arguments: Sequence[Any], targets: Sequence[Any]) -> list[Any]:
    """What the body, which has no ``tile``, gives on :func:`stand_ins`: one array for each result."""
    return body_values(site, (site.xp,), arguments, {r: targets[r] for r in site.body.buffer_at})


def body_values(site: Site, leading: Sequence[Any], arguments: Sequence[Any], buffers: dict[int, Any]) -> list[Any]:
    """What the body returns, as one NumPy array for each result; `leading` are its ``xp`` and ``tile``."""
    token = inside_body.set(True)
    try:
        with np.errstate(all="ignore"):
            returned = site.body.positional(site.function)(*leading, *arguments)
    finally:
        inside_body.reset(token)
    return [np.asanyarray(v) for v in values_of(site, returned, buffers)]
