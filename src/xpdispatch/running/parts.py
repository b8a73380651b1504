"""What goes into a body: an array's part of a tile with its halo, and room for what the body writes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np

from xpdispatch.arrays.namespaces import device_of, new_beside
from xpdispatch.arrays.reductions import check_dtype, identity
from xpdispatch.language.boundaries import Boundary
from xpdispatch.machine import memory
from xpdispatch.planning.windows import Bounds, Layout, Outside
from xpdispatch.running.site import Site


def part_of(array: Any, layout: Layout, region: Bounds, domain: Bounds) -> Any:
    """A view of a result's part of `region`, where the array holds its part of `domain`."""
    # Indexing a 0-d array with () would give a scalar.
    return array[layout.cut(region, domain)[0]] if layout.axes else array


def operand_part(
    site: Site, array: Any, layout: Layout, region: Bounds, domain: Bounds, origin: Sequence[int] | None = None
) -> Any:
    """An operand's part with its halo: a view, but where elements outside the array are made up."""
    if not layout.axes:
        return array
    slices, outside = layout.cut(region, domain, origin)
    part = array[slices]
    if outside:
        memory.keep_small_blocks()  # else malloc would fetch what is made up anew at each call
    for beyond in sorted(outside, key=lambda b: (b.high - b.low) / part.shape[b.axis]):  # what makes it smaller first
        extent = int(layout.shape[beyond.axis] or 0)
        first = layout.origin(beyond.axis, domain) if origin is None else origin[beyond.axis]
        part = padded(site.xp, part, beyond, extent, layout.boundary, first)
    return read_only(part) if outside and site.library == "numpy" else part


def source_elements(low: int, high: int, extent: int, boundary: Boundary) -> np.ndarray[Any, np.dtype[np.int64]]:
    """For each of the coordinates from `low` to before `high` the element within the extent that stands in for it."""
    found = np.arange(low, high)
    if boundary == "wrap":
        return found % extent
    if boundary == "symmetric":
        found = found % (2 * extent)
        return np.minimum(found, 2 * extent - 1 - found)
    if boundary == "reflect" and extent > 1:
        found = found % (2 * extent - 2)
        return np.minimum(found, 2 * extent - 2 - found)
    return np.clip(found, 0, extent - 1)


@lru_cache(maxsize=256)
def _elements_of_strip(low: int, high: int, extent: int, boundary: Boundary, origin: int) -> Any:
    """The same for a strip outside an array that begins at `origin`; most calls have those of the call before."""
    return source_elements(low, high, extent, boundary) - origin


def padded(xp: Any, array: Any, beyond: Outside, extent: int, boundary: Any, origin: int = 0) -> Any:
    """The elements of a window along one axis, some of which lie outside of its extent; a copy.

    `array` holds the elements from `origin` on: all that stand in for those outside.
    """
    axis, low, high = beyond
    device = {} if isinstance(array, np.ndarray) else device_of([array])

    def made_up(first: int, last: int) -> Any:
        if isinstance(boundary, str):
            elements = _elements_of_strip(first, last, extent, cast(Boundary, boundary), origin)
            return xp.take(array, xp.asarray(elements, **device), axis=axis)
        shape = (*array.shape[:axis], last - first, *array.shape[axis + 1 :])
        return xp.broadcast_to(xp.asarray(boundary, dtype=array.dtype, **device), shape)

    start, stop = max(low, 0), min(high, extent)
    pieces = [array[(slice(None),) * axis + (slice(start - origin, stop - origin), ...)]] if start < stop else []
    if low < 0:
        pieces.insert(0, made_up(low, min(high, 0)))
    if high > extent:
        pieces.append(made_up(max(low, extent), high))
    return xp.concat(pieces, axis=axis)


def read_only(array: Any) -> Any:
    """A view of a NumPy array that cannot be written: a body that writes an input fails."""
    view = array.view(np.ndarray) if type(array) is not np.ndarray else array.view()
    view.setflags(False)  # type: ignore[call-arg]  # noqa: FBT003  to write; by name it takes twice as long
    return view


def buffer(site: Site, r: int, target: Any, region: Bounds, beside: Sequence[Any]) -> Any:
    """What the body may write: the target, or under an operator a fresh identity, beside the call's arrays."""
    layout = site.plan.results[r]
    if layout.op is None:
        return target
    shape = layout.tile_shape([stop - start for start, stop in region])
    dtype = site.casts[r]
    if dtype is None:  # a Legate target may hold sort keys, so the plan comes first
        dtype = site.dtypes[r] if site.dtypes else target.dtype
    check_dtype(layout.op, layout.name, dtype)
    return new_beside(site.xp, beside, shape, dtype, identity(layout.op, dtype).item())


def allocated(site: Site, layout: Layout, value: Any, domain: Bounds) -> Any:
    """Room for a result over the domain, of which this is a tile's: empty, or the identity of its operator."""
    if layout.op is None and site.library == "numpy":  # tiles and all in one order of axes
        return room(layout, value.shape, value.dtype, domain, "F" if value.flags.fnc else "C")
    shape = full_shape(layout, value.shape, domain)
    if layout.op is None:
        return site.xp.empty(shape, dtype=value.dtype)
    return site.xp.full(shape, identity(layout.op, value.dtype).item(), dtype=value.dtype)


def room(layout: Layout, part: Sequence[int], dtype: Any, domain: Bounds, order: Literal["C", "F"]) -> Any:
    """Room for a result of NumPy's over the domain, where a tile's part has this shape."""
    return memory.empty(full_shape(layout, part, domain), dtype, order)


def full_shape(layout: Layout, part: Sequence[int], domain: Bounds) -> tuple[int, ...]:
    """The shape of a result over the domain; extents that only the body knows are those of a tile's part."""
    wanted = layout.tile_shape([stop - start for start, stop in domain])
    return tuple(p if n is None else n for n, p in zip(wanted, part, strict=True))
