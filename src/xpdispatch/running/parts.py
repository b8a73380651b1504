"""What goes into a body: an array's part of a tile with its halo, and room for what the body writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from xpdispatch.arrays.dtypes import np_dtype
from xpdispatch.arrays.reductions import check_dtype, identity
from xpdispatch.language.boundaries import Boundary, padded
from xpdispatch.machine import memory as blocks
from xpdispatch.planning.plan import WHOLE, Layout
from xpdispatch.planning.tiles import Region, selection
from xpdispatch.running.site import Site


def part_of(array: Any, layout: Layout, region: Region, domain: Region) -> Any:
    """A view of an array's part of `region`, where the array holds its part of `domain`."""
    # Indexing a 0-d array with () would give a scalar.
    return array[selection(layout, region, domain)] if layout.axes else array


def operand_part(site: Site, array: Any, layout: Layout, region: Region, domain: Region) -> Any:
    """An operand's part with its halo: a view, but where cells outside the array are made up."""
    if not layout.reaches:
        return part_of(array, layout, region, domain)
    origin = [0 if a == WHOLE else max(0, layout.window(k, *domain[a])[0]) for k, a in enumerate(layout.axes)]
    chosen: list[slice] = []
    outside: list[tuple[int, int, int, Boundary]] = []
    boundary = layout.boundary
    for axis, a in enumerate(layout.axes):
        if a == WHOLE:
            chosen.append(slice(None))
            continue
        low, high = layout.window(axis, *region[a])
        extent = int(layout.shape[axis] or 0)
        if (low < 0 or high > extent) and boundary is not None and boundary not in ("clip", "valid"):
            # Any cell can be the one that stands in, so that all that are here are taken.
            outside.append((axis, low, high, boundary))
            chosen.append(slice(None))
        else:
            chosen.append(slice(max(0, low) - origin[axis], min(high, extent) - origin[axis]))
    part = array[tuple(chosen)]
    for axis, low, high, mode in outside:
        part = padded(site.xp, part, axis, low, high, int(layout.shape[axis] or 0), mode, origin[axis])
    return read_only(part) if outside and site.library == "numpy" else part


def window_part(site: Site, array: Any, layout: Layout, region: Region, domain: Region) -> Any:
    """An operand's part with its halo, of an array that is `domain`'s own window: always a view."""
    if not layout.reaches:
        return part_of(array, layout, region, domain)
    chosen: list[slice] = []
    for axis, a in enumerate(layout.axes):
        if a == WHOLE:
            chosen.append(slice(None))
            continue
        (low, high), origin = layout.window(axis, *region[a]), layout.window(axis, *domain[a])[0]
        if layout.boundary in (None, "clip"):
            extent = int(layout.shape[axis] or 0)
            low, high, origin = max(0, low), min(high, extent), max(0, origin)
        chosen.append(slice(low - origin, high - origin))
    return array[tuple(chosen)]


def protected(site: Site, operands: Sequence[Any]) -> Sequence[Any]:
    """Read-only views, so that a body that writes an input fails instead of changing the caller's array."""
    if site.library != "numpy":
        return operands
    in_place = site.body.in_place
    return [array if p in in_place else read_only(array) for p, array in enumerate(operands)]


def read_only(array: Any) -> Any:
    """A view that cannot be written."""
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
    """Room for a result over the whole domain, of which this is a tile's: empty, or the identity of its operator."""
    if layout.op is None and site.library == "numpy":  # tiles and all in one order of axes
        return room(layout, value.shape, value.dtype, domain, "F" if value.flags.fnc else "C")
    shape = full_shape(layout, value.shape, domain)
    if layout.op is None:
        return site.xp.empty(shape, dtype=value.dtype)
    return site.xp.full(shape, identity(layout.op, np_dtype(value.dtype)).item(), dtype=value.dtype)


def room(layout: Layout, part: Sequence[int], dtype: Any, domain: Region, order: Literal["C", "F"]) -> Any:
    """Room for a result of NumPy's over the whole domain, where a tile's part has this shape."""
    return blocks.empty(full_shape(layout, part, domain), dtype, order)


def full_shape(layout: Layout, part: Sequence[int], domain: Region) -> tuple[int, ...]:
    """The shape of a result over the whole domain; extents that only the body knows are those of a tile's part."""
    wanted = layout.tile_shape([stop - start for start, stop in domain])
    return tuple(p if n is None else n for n, p in zip(wanted, part, strict=True))


def window_shape(layout: Layout, region: Region) -> tuple[int, ...]:
    """The shape of an operand's part with its halo, where no cell is made up."""
    shape = []
    for axis, (a, n) in enumerate(zip(layout.axes, layout.shape, strict=True)):
        extent = int(n or 0)
        if a == WHOLE:
            shape.append(extent)
            continue
        low, high = layout.window(axis, *region[a])
        if layout.boundary in (None, "clip"):
            low, high = max(0, low), min(high, extent)
        shape.append(high - low)
    return tuple(shape)
