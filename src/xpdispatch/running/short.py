"""Short ways for what is plain: they do what the executor does of it, with nothing left to decide.

A small call is over before the executor has looked at all that a kernel may be, and a large tile drives Python out of
the cache, so that each line costs several times what it does elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpdispatch.planning.body import inside_body
from xpdispatch.planning.tiles import Region, slices_of
from xpdispatch.running.returned import checked, note, unshared, values_of
from xpdispatch.running.site import Site

COLD = object()
"""What a warm way answers where a call is not as plain as it thought."""


def make_warm(site: Site, region: Region) -> Callable[[Sequence[Any], Any], Any] | None:
    """A short way for calls on NumPy arrays with one tile and one result; None where the site is not plain."""
    plan, body, layout = site.plan, site.body, site.plan.results[0]
    shape = layout.tile_shape([stop - start for start, stop in region])
    plain = (
        site.library == "numpy"
        and body.is_plain
        and not (plan.windowed or plan.images)
        and not (layout.op or layout.joined or None in shape)
        and site.casts[0] is None
    )
    if not plain:
        return None
    function, xp = site.function, site.xp
    arrays = [p for p, (where, _) in enumerate(body.places) if where == 0]
    sizes = [stop - start for start, stop in region]

    def warm(args: Sequence[Any], out: Any) -> Any:
        if out is not None and not out.flags.writeable:
            return COLD
        values = list(args)
        for p in arrays:
            view = values[p] = values[p].view()
            view.setflags(False)  # noqa: FBT003  to write; by name it takes twice as long, and by .flags three times
        token = inside_body.set(True)
        try:
            value = function(xp, *values)
            held = sys.getrefcount(value) > 2  # by more than this line
            as_said = type(value) is np.ndarray and value.shape == shape
            if out is None and as_said and not held and value.flags.owndata:
                return value
            if not (as_said and out is not None and value.dtype == out.dtype):
                value = checked(site, 0, values_of(site, value, {})[0], sizes, None, out)
        except Exception as error:
            note(error, site, region)
            raise
        finally:
            inside_body.reset(token)
        if out is not None:
            out[...] = value
            return out
        return site.xp.asarray(value, copy=True) if held else unshared(site, value, [values[p] for p in arrays])

    return warm


Quick = Callable[[int, Callable[[], None] | None], Sequence[Any]]
"""Computes a tile after the first; its second argument waits until the first is computed."""


def make_quick(
    site: Site,
    operands: Sequence[Any],
    scalars: Sequence[Any],
    results: list[Any],
    target: Any,
    domain: Region,
    regions: Sequence[Region],
) -> Quick | None:
    """A short way for tiles after the first, of calls on NumPy arrays with one result and no halo; None for others.

    `results` has the one result, or its identity, once the first tile is computed.
    """
    plan, body, layout = site.plan, site.body, site.plan.results[0]
    plain = (
        site.library == "numpy"
        and body.is_plain
        and not plan.images
        and not (layout.joined or layout.op == "fold")
        and not any(o.reaches for o in (*plan.operands, layout))
    )
    if not plain:
        return None
    function, xp, planned, op = site.function, site.xp, site.dtypes[0] if site.dtypes else None, layout.op
    template = [(operands, (), scalars)[where][p] for where, p in body.places]
    cut: dict[tuple[int, ...], list[int]] = {}  # the places in the template of the operands that are cut alike
    for n, (where, p) in enumerate(body.places):
        if where == 0 and plan.operands[p].axes:
            cut.setdefault(plan.operands[p].axes, []).append(n)
    if layout.axes:
        cut.setdefault(layout.axes, [])
    starts = [start for start, _ in domain]

    def quick(k: int, wait: Callable[[], None] | None) -> Sequence[Any]:
        region, values = regions[k], list(template)
        mine: tuple[slice, ...] = ()
        slices = slices_of(region, starts)
        for axes, places in cut.items():
            chosen = tuple([slices[a] for a in axes])
            if axes == layout.axes:
                mine = chosen
            for n in places:
                values[n] = values[n][chosen]
        try:
            value = function(xp, *values)
            if wait is not None:
                wait()
            whole: Any = results[0]
            part = whole[mine] if mine else whole
            expected = type(value) is np.ndarray and value.dtype == whole.dtype and value.shape == part.shape
            if not expected or (planned is not None and planned != whole.dtype):
                sizes = [stop - start for start, stop in region]
                value = checked(site, 0, values_of(site, value, {})[0], sizes, whole, target)
        except Exception as error:
            note(error, site, region)
            raise
        if op is None:
            part[...] = value
        return (value,)

    return quick
