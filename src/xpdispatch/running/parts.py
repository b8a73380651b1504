"""What goes into a body: an array's part of a tile with its halo, and room for what the body writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from xpdispatch.arrays.namespaces import device_of, new_beside
from xpdispatch.arrays.reductions import check_dtype, identity
from xpdispatch.language.boundaries import Boundary
from xpdispatch.machine import memory
from xpdispatch.planning.windows import WHOLE, Bounds, Layout, Outside, sizes_of
from xpdispatch.running.site import Site


def part_of(array: Any, layout: Layout, region: Bounds, domain: Bounds) -> Any:
    """A view of a result's part of `region`, where the array holds its part of `domain`."""
    # Indexing a 0-d array with () would give a scalar.
    return array[layout.cut(region, domain)[0]] if layout.axes else array


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


class Seam(NamedTuple):
    """The elements of an operand that wrap around along an axis, where an array holds a tile's own and no others.

    Attributes
    ----------
    axis : int
    first : int
        The first of them.
    array : array
        All of them, and all along the other axes.
    """

    axis: int
    first: int
    array: Any


def padded(xp: Any, array: Any, beyond: Outside, origin: int = 0, seam: Seam | None = None) -> Any:
    """The elements of a window along one axis, some of which lie outside of its extent; a copy.

    `array` holds the elements from `origin` on: all that stand in for those outside, but where these are in `seam`.
    """
    source, source_origin = (array, origin) if seam is None else (seam.array, seam.first)
    axis, low, high, extent, boundary = beyond
    device = device_of([array])

    def made_up(first: int, last: int) -> Any:
        if isinstance(boundary, str):
            elements = _elements_of_strip(first, last, extent, cast(Boundary, boundary), source_origin)
            return xp.take(source, xp.asarray(elements, **device), axis=axis)
        shape = (*array.shape[:axis], last - first, *array.shape[axis + 1 :])
        return xp.broadcast_to(xp.asarray(boundary, dtype=array.dtype, **device), shape)

    start, stop = max(low, 0), min(high, extent)
    pieces = [array[(slice(None),) * axis + (slice(start - origin, stop - origin), ...)]] if start < stop else []
    if low < 0:
        pieces.insert(0, made_up(low, min(high, 0)))
    if high > extent:
        pieces.append(made_up(max(low, extent), high))
    return xp.concat(pieces, axis=axis)


class Window:
    """How a region's part of an operand with its halo is taken out: settled once for a region.

    Parameters
    ----------
    layout : Layout
    region, domain : Bounds
        The tile, and what the array holds; all of it along axes with a boundary.
    origin : sequence of int, optional
        The first element of the array along each axis, where these are others than usual.
    seam : Seam, optional
        Where what wraps around lies, if not in the array. Each call brings its own.
    """

    def __init__(
        self,
        layout: Layout,
        region: Bounds,
        domain: Bounds,
        origin: Sequence[int] | None = None,
        seam: Seam | None = None,
    ) -> None:
        slices, outside = layout.cut(region, domain, origin)
        whole = all(s in (_ALL, slice(0, n)) for s, n in zip(slices, layout.shape, strict=True))
        self._slices = None if origin is None and whole else slices
        self._seam = None if seam is None else (seam.axis, seam.first)
        # Numbers last, where the order of the axes matters: the last of them is in the corners. What stands in along
        # other axes is in the seam too, and what stands in for a seam is not in the array.
        outside.sort(key=lambda b: (not isinstance(b.boundary, str), self._from_seam(b)))
        firsts = [layout.origin(b.axis, domain) if origin is None else origin[b.axis] for b in outside]
        self._outside = list(zip(outside, firsts, strict=True))
        self._alike = len({b.boundary for b in outside}) == 1
        self._shape = layout.held_shape(region)
        self._steps: list[Callable[[Any, Any], None]] = []
        if outside:
            self._compile()

    def _from_seam(self, beyond: Outside) -> bool:
        return self._seam is not None and beyond.axis == self._seam[0]

    @property
    def is_all(self) -> bool:
        """Whether it is the array itself."""
        return not (self._slices or self._outside)

    def __call__(self, site: Site, array: Any, seam: Seam | None = None) -> Any:
        """The part: a view, but where elements outside the array are made up."""
        if self._slices:
            array = array[self._slices]
        if not self._outside:
            return array
        if seam is not None and self._slices:
            seam = seam._replace(array=seam.array[self._slices])
        if site.library == "numpy":
            window = np.empty(self._shape, array.dtype, "F" if array.flags.fnc else "C")
            for step in self._steps:
                step(window, (array, None if seam is None else seam.array))
            return as_operand(site, window)
        outside = self._outside
        if self._alike:  # what makes it smaller first
            outside = sorted(outside, key=lambda o: (o[0].high - o[0].low) / array.shape[o[0].axis])
        for beyond, first in sorted(outside, key=lambda o: not self._from_seam(o[0])):
            array = padded(site.xp, array, beyond, first, seam if self._from_seam(beyond) else None)
        return array

    def _compile(self) -> None:
        """What fills a window of NumPy's: first what is there, then what stands in for the rest, axis by axis.

        What stands in along one axis does not depend on the others, so that most of it can be copied from what is
        filled already.
        """
        here = [_ALL] * len(self._shape)
        there = list(here)
        for (axis, low, high, extent, _), first in self._outside:
            start, stop = max(low, 0), max(low, 0, min(high, extent))
            here[axis], there[axis] = slice(start - low, stop - low), slice(start - first, stop - first)
        self._steps.append(partial(_copy, tuple(here), tuple(there)))
        for n, (beyond, _) in enumerate(self._outside):
            axis, low, high, extent, _ = beyond
            filled = {b.axis for b, _ in self._outside[:n]}
            into = [_ALL if a in filled else part for a, part in enumerate(here)]
            for first, last in ((low, min(high, 0)), (max(low, extent), high)):
                if first < last:
                    into[axis] = slice(first - low, last - low)
                    self._steps.append(self._fill(beyond, (first, last), tuple(into), filled))

    def _fill(
        self, beyond: Outside, strip: tuple[int, int], into: tuple[slice, ...], filled: Collection[int]
    ) -> Callable[[Any, Any], None]:
        """What fills a strip that lies outside along an axis."""
        if not isinstance(beyond.boundary, str):
            return partial(_set, into, beyond.boundary)
        elements: list[Any] = list(into)
        seam = self._seam if self._from_seam(beyond) else None
        for (a, low, high, extent, mode), first in self._outside:
            boundary = cast(Boundary, mode)
            if a == beyond.axis:
                sources = source_elements(*strip, extent, boundary)
                near = _as_slice(sources - low)
                if near is not None and sources.min() >= max(low, 0) and sources.max() < min(high, extent):
                    return partial(_copy_within, into, (*into[:a], near, *into[a + 1 :]))
                elements[a] = sources - (first if seam is None else seam[1])
            elif a in filled:
                elements[a] = source_elements(low, high, extent, boundary) - first
            else:
                start, stop = into[a].start + low, into[a].stop + low
                elements[a] = slice(start - first, stop - first)
        return partial(_take, into, tuple(elements), 0 if seam is None else 1)


_ALL = slice(None)


def _as_slice(places: np.ndarray[Any, Any]) -> slice | None:
    """Places one after the other, or all the same, as a slice, which broadcasts; None for others."""
    first, last = int(places[0]), int(places[-1])
    steps = np.diff(places)
    if not steps.any():
        return slice(first, first + 1)
    if (steps == 1).all():
        return slice(first, last + 1)
    if (steps == -1).all():
        return slice(first, last - 1 if last else None, -1)
    return None


def _copy(here: tuple[slice, ...], there: tuple[slice, ...], window: Any, sources: Any) -> None:
    window[here] = sources[0][there]


def _copy_within(here: tuple[slice, ...], there: tuple[slice, ...], window: Any, _: Any) -> None:
    window[here] = window[there]


def _set(here: tuple[slice, ...], value: Any, window: Any, _: Any) -> None:
    window[here] = value


def _take(here: tuple[slice, ...], elements: tuple[Any, ...], n: int, window: Any, sources: Any) -> None:
    """Of each axis of a source a slice or positions."""
    array = sources[n]
    for axis, wanted in enumerate(elements):
        array = array[(_ALL,) * axis + (wanted,)] if isinstance(wanted, slice) else np.take(array, wanted, axis=axis)
    window[here] = array


def as_operand(site: Site, array: Any) -> Any:
    """An array that was made for the body, such that it fails where it writes it as it does with other operands."""
    if site.library == "numpy" and site.body.read_only:
        array.setflags(False)  # noqa: FBT003  to write; by name it takes twice as long
    return array


def read_only(array: Any) -> Any:
    """A view of a NumPy array that cannot be written: a body that writes an input fails."""
    view = array.view(np.ndarray) if type(array) is not np.ndarray else array.view()
    view.setflags(False)  # type: ignore[call-arg]  # noqa: FBT003  to write; by name it takes twice as long
    return view


def buffer(site: Site, r: int, target: Any, region: Bounds, beside: Sequence[Any]) -> Any:
    """What the body may write under an operator: a fresh identity, beside the call's arrays."""
    layout = site.plan.results[r]
    assert layout.op is not None  # noqa: S101  see above
    shape = layout.tile_shape(sizes_of(region))
    dtype = site.casts[r]
    if dtype is None:  # a Legate target may hold sort keys, so the plan comes first
        dtype = site.dtypes[r] if site.dtypes else target.dtype
    check_dtype(layout.op, layout.name, dtype)
    return new_beside(site.xp, beside, shape, dtype, identity(layout.op, dtype).item())


def allocated(site: Site, layout: Layout, value: Any, domain: Bounds) -> Any:
    """Room for a result over the domain, of which this is a tile's: empty, or the identity of its operator."""
    if not layout.combined and site.library == "numpy":  # tiles and all in one order of axes
        return room(layout, value.shape, value.dtype, domain, "F" if value.flags.fnc else "C")
    shape = full_shape(layout, value.shape, domain)
    if layout.op is None or layout.scan:
        return site.xp.empty(shape, dtype=value.dtype)
    return site.xp.full(shape, identity(layout.op, value.dtype).item(), dtype=value.dtype)


def room(layout: Layout, part: Sequence[int], dtype: Any, domain: Bounds, order: Literal["C", "F"]) -> Any:
    """Room for a result of NumPy's over the domain, where a tile's part has this shape."""
    return memory.empty(full_shape(layout, part, domain), dtype, order)


def full_shape(layout: Layout, part: Sequence[int], domain: Bounds) -> tuple[int, ...]:
    """The shape of a result over the domain; along whole axes it has what a tile's part has."""
    wanted = layout.tile_shape(sizes_of(domain))
    return tuple(p if n is None or a == WHOLE else n for a, n, p in zip(layout.axes, wanted, part, strict=True))
