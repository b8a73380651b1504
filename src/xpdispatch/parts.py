"""What goes into a body: an array's part of a tile with its halo, and room for what the body writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpdispatch.boundaries import padded
from xpdispatch.dtypes import np_dtype
from xpdispatch.plan import WHOLE, Layout
from xpdispatch.reductions import check_dtype, identity
from xpdispatch.site import Site
from xpdispatch.tiling import Region, selection


def part_of(array: Any, layout: Layout, region: Region, domain: Region) -> Any:
    """A view of an array's part of `region`, where the array holds its part of `domain`."""
    # Indexing a 0-d array with () would give a scalar.
    return array[selection(layout, region, domain)] if layout.axes else array


def operand_part(site: Site, array: Any, layout: Layout, region: Region, domain: Region) -> Any:
    """An operand's part with its halo: a view, but where cells outside the array are made up."""
    part = part_of(array, layout, region, domain)
    if layout.boundary in (None, "clip", "valid"):
        return part
    outside = [
        (axis, low, high)
        for axis, a in enumerate(layout.axes)
        if a != WHOLE
        for low, high in [layout.window(axis, *region[a])]
        if low < 0 or high > (layout.shape[axis] or 0)
    ]
    if not outside:
        return part
    # Along these axes any cell of the array can be the one that stands in, so that they are taken from it in full.
    chosen = list(selection(layout, region, domain))
    for axis, _, _ in outside:
        chosen[axis] = slice(None)
    part = array[tuple(chosen)]
    for axis, low, high in outside:
        part = padded(site.xp, part, axis, low, high, layout.boundary)
    return _read_only(part) if site.library == "numpy" else part


def protected(site: Site, operands: Sequence[Any]) -> Sequence[Any]:
    """Read-only views, so that a body that writes an input fails instead of changing the caller's array."""
    if site.library != "numpy":
        return operands
    in_place = site.body.in_place
    return [array if p in in_place else _read_only(array) for p, array in enumerate(operands)]


def _read_only(array: Any) -> Any:
    view = array.view(np.ndarray)
    view.setflags(write=False)
    return view


def buffer(site: Site, r: int, target: Any, region: Region) -> Any:
    """What the body may write: the target, or under an operator a fresh identity."""
    layout = site.plan.results[r]
    if layout.op is None:
        return target
    shape = layout.tile_shape([stop - start for start, stop in region])
    dtype = site.casts[r]
    if dtype is None:  # a Legate target may hold sort keys, so the plan comes first
        dtype = site.dtypes[r] if site.dtypes else target.dtype
    check_dtype(layout.op, layout.name, np_dtype(dtype))
    return site.xp.full(shape, identity(layout.op, np_dtype(dtype)).item(), dtype=dtype)


def allocated(site: Site, layout: Layout, value: Any, domain: Region) -> Any:
    """Room for a result over the whole domain: empty, or the identity of its operator."""
    shape = full_shape(layout, value, domain)
    if layout.op is None:
        return site.xp.empty(shape, dtype=value.dtype)
    return site.xp.full(shape, identity(layout.op, np_dtype(value.dtype)).item(), dtype=value.dtype)


def full_shape(layout: Layout, value: Any, domain: Region) -> tuple[int, ...]:
    """The shape of a result over the whole domain; extents that only the body knows are those of one value."""
    wanted = layout.tile_shape([stop - start for start, stop in domain])
    return tuple(v if n is None else n for n, v in zip(wanted, value.shape, strict=True))
