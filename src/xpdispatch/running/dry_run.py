"""A dry run: the body on stand-ins for its arrays, to learn what it returns.

A *sample* has one element for each index, and tells the dtypes and the extents that only the body knows
(:func:`result_types`). A body that raises on ones, as an inverse of such matrices does, gets identities
(:func:`samples`). Other dry runs tell what a body makes (:mod:`xpdispatch.running.counting`), and whether its
trace does the same (:mod:`xpdispatch.running.traced`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpdispatch.arrays import namespaces
from xpdispatch.arrays.dtypes import np_dtype, unknown_dtype
from xpdispatch.arrays.reductions import check_dtype, identity
from xpdispatch.arrays.scalars import copied, scalars_key
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.plan import Plan, Shape
from xpdispatch.planning.windows import WHOLE, Bounds, Layout, sizes_of
from xpdispatch.running.calls import site_on_numpy
from xpdispatch.running.executor import Whole, Work
from xpdispatch.running.ownership import AT_ONCE
from xpdispatch.running.results import Taking, values_of
from xpdispatch.running.site import Site, inside_body, pass_over

Fill = Callable[[tuple[int, ...], Any, int], Any]
"""Makes a stand-in of a shape and a dtype; the number tells arrays apart."""

ResultTypes = list[tuple[np.dtype[Any], Shape]]
"""NumPy dtype and full shape of every result."""


class Told(NamedTuple):
    """What is known of results before any tile runs, and the sample that told it: empty where none was needed."""

    types: ResultTypes
    sample: str = ""


def samples(plan: Plan, xp: Any, device: Mapping[str, Any] = {}) -> Iterator[tuple[str, Fill]]:
    """The stand-ins that are tried one after the other, until the body does not raise, and what they are of.

    After ones come identities, if some operand has square matrices.
    """
    squares = [_square(layout) for layout in plan.operands]

    def ones(shape: tuple[int, ...], dtype: Any, _: int) -> Any:
        return xp.ones(shape, dtype=dtype, **device)

    def identities(shape: tuple[int, ...], dtype: Any, number: int) -> Any:
        square = squares[number] if number >= 0 else ()
        if not square:
            return xp.zeros(shape, dtype=dtype, **device)
        one = xp.eye(shape[square[0]], dtype=dtype, **device)
        one = xp.reshape(one, tuple(n if axis in square else 1 for axis, n in enumerate(shape)))
        return xp.asarray(xp.broadcast_to(one, shape), copy=True)  # which the body may write

    yield "ones", ones
    if any(squares):
        yield "ones on diagonals and zeros elsewhere", identities


def _square(layout: Layout) -> tuple[int, ...]:
    """The last two whole axes of an operand, if they are as long as each other."""
    axes = tuple(axis for axis, a in enumerate(layout.axes) if a == WHOLE)[-2:]
    return axes if len(axes) == 2 and len({layout.shape[axis] for axis in axes}) == 1 else ()


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
            check_dtype(layout.op, layout.name, dtype)
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
) -> Told:
    """Dtype and shape of every result of a call, before any tile runs.

    Where ``dtype=`` and the notation do not say it all, the body runs once on a sample with one element for each split
    index: ones, and if it raises there, ones on the diagonals of square whole axes and zeros elsewhere.

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
        What the body raised on ones, with a note that asks for ``dtype=``.
    """
    wanted = definition.casts(dtypes, np)
    if plan.complete and all(c is not None for c in wanted):
        return Told(
            [(np.dtype(c), _full(layout, layout.shape)) for c, layout in zip(wanted, plan.results, strict=True)]
        )
    seen, least = plan.seen, plan.fewest
    shapes = tuple(layout.tile_shape(least) for layout in (*seen.operands, *seen.results))
    key = (namespaces.registered, tuple(dtypes), shapes, scalars_key(scalars, integers=not plan.complete), tuple(given))
    sampled = definition.samples.get(key)
    if sampled is None:
        results, sample = _on_samples(site_on_numpy(definition, seen, dtypes), np, dtypes, scalars, given)
        sampled = definition.samples[key] = Told([(np_dtype(v.dtype), v.shape) for v in results], sample)
    types = [(dtype, _full(layout, shape)) for layout, (dtype, shape) in zip(plan.results, sampled.types, strict=True)]
    return Told(types, sampled.sample)


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
    results, _ = _on_samples(site.seen, site.xp, dtypes, scalars, given, device)
    return [(v.dtype, _full(layout, v.shape)) for layout, v in zip(layouts, results, strict=True)]


def _full(layout: Layout, sampled: Sequence[int | None]) -> Shape:
    """The shape of a result; the sample tells what only the body knows, and 0 stands for the extent of ``?``."""
    if None not in layout.shape:  # what keys make of a result has other axes than what the body returns
        return tuple(int(n or 0) for n in layout.shape)
    full = [s if n is None else n for n, s in zip(layout.shape, sampled, strict=True)]
    return tuple(0 if layout.concatenated and axis == 0 else int(n or 0) for axis, n in enumerate(full))


def _on_samples(
    site: Site,
    xp: Any,
    dtypes: Sequence[Any],
    scalars: Sequence[Any],
    given: Sequence[Any],
    device: Mapping[str, Any] = {},
) -> tuple[list[Any], str]:
    """The results of a body on the first sample of a call at this site on which it does not raise, and which it is.

    `xp` and `device` make the samples.
    """
    plan, region = _one_element(site.plan)
    site = site._replace(plan=plan)
    # What stands in for an operand with a halo is its part of the region already.
    origins = {p: o.held_from(region) for p, o in enumerate(plan.operands) if o.reaches}
    work = Work(region, (region,), origins=origins)
    raised: list[tuple[str, Exception]] = []
    for sample, fill in samples(plan, xp, device):
        arguments, targets = stand_ins(site, region, dtypes, given, scalars, fill)
        try:
            with np.errstate(all="ignore"):
                found = Whole(site, Taking(site, AT_ONCE)).run(arguments, targets, work)
            for _, error in raised:
                pass_over(error)
            return found, sample
        except Exception as error:  # noqa: BLE001  whatever a body raises; the first of them is raised below
            raised.append((sample, error))
    (_, first), *others = raised
    also = "".join(f" On {sample} it raised {type(e).__name__}: {e}." for sample, e in others if str(e) != str(first))
    first.add_note(
        "The body was running on a sample: ones, one element per split index, to learn the results' dtypes."
        f"{also} If it fails on the sample only, pass dtype= to the decorator and name all extents: then there is none"
    )
    raise first


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
