"""How one array of a call is cut: the only arithmetic of windows, halos and blocks. Pure: no arrays.

Along each axis an array belongs to an index of the call, or is unsplit (``WHOLE``). With the elements from `start` to
before `stop` of the index go those from ``scale * start - below`` to before ``scale * stop + above`` of the axis. What
of that lies outside of the array is made up, or left out, as the boundary says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from xpdispatch.language.boundaries import Boundary
from xpdispatch.language.terms import Operator
from xpdispatch.planning.keys import Keys

WHOLE = -1
"""Stands for the index of an axis that every tile holds in full."""

Bounds = tuple[tuple[int, int], ...]
"""For each index of a plan its first element and the one after its last."""


class Reach(NamedTuple):
    """What of an axis goes with each element of its index: a block of `scale` elements, and a halo around it.

    `boundary` is what lies outside of an axis with a halo, None for others.
    """

    below: int = 0
    above: int = 0
    scale: int = 1
    boundary: Boundary | None = None


PLAIN = Reach()

_ALL = slice(None)


class Scan(NamedTuple):
    """A result has for each element of an axis what all elements up to it give, or all from it on.

    Parameters
    ----------
    axis : int
    backward : bool
        From it on.
    """

    axis: int
    backward: bool

    def end(self, part: Any) -> Any:
        """Of a tile's scan what the next tile carries on from: one element along the axis, which stays."""
        return part[(_ALL,) * self.axis + (slice(0, 1) if self.backward else slice(-1, None),)]


class Outside(NamedTuple):
    """An axis along which a window goes beyond the array: from `low` to before `high`, where `low` may be negative.

    The array's own elements are those from 0 to before `extent`; `boundary` says what stands in for others.
    """

    axis: int
    low: int
    high: int
    extent: int
    boundary: Boundary | None


class Layout(NamedTuple):
    """How one array of a call is cut.

    Parameters
    ----------
    name : str
    axes : tuple of int
        For each axis the position of its index in :attr:`Plan.indices`, or ``WHOLE``. An axis of
        extent 1 that broadcasts against a longer one is whole.
    shape : tuple of (int or None)
        None where only the body knows (a bare ``:`` of a result).
    op : Operator or None
        How partial results are combined (results only).
    accumulate : bool
        The content before the call takes part.
    reaches : tuple of Reach
        For each axis; empty where every reach is the plain one, so that it costs nothing.
    concatenated : bool
        The first axis is ``?``: tiles are concatenated along it, in the order of the one index.
    scan : Scan or None
        The operator scans an index, and leaves none out.
    keys : Keys or None
        Where another operand's elements say the places along some of its axes, which are whole. The body sees others.
    """

    name: str
    axes: tuple[int, ...]
    shape: tuple[int | None, ...]
    op: Operator | None = None
    accumulate: bool = False
    reaches: tuple[Reach, ...] = ()
    concatenated: bool = False
    scan: Scan | None = None
    keys: Keys | None = None

    @property
    def combined(self) -> bool:
        """Whether several tiles give partial results of one element."""
        return self.op is not None and self.scan is None

    @property
    def haloed(self) -> bool:
        """Whether it is an operand with a halo along some axis."""
        return any(r.boundary is not None for r in self.reaches)

    @property
    def is_padded(self) -> bool:
        """Whether something stands in for what is outside of an operand with a halo."""
        return any(map(_pads, self.reaches))

    @property
    def boundaries(self) -> tuple[Boundary, ...]:
        """What lies outside along the axes with a halo, in their order."""
        return tuple(r.boundary for r in self.reaches if r.boundary is not None)

    @property
    def outline(self) -> Layout:
        """The same for all arrays of which tiles need the same elements: whatever number lies outside."""
        reaches = (r if isinstance(r.boundary, str) else r._replace(boundary=None) for r in self.reaches)
        return self._replace(name="", reaches=tuple(reaches))

    def tile_shape(self, sizes: Sequence[int]) -> tuple[Any, ...]:
        """The shape of this array's part of a tile with these sizes of the indices; None as in `shape`.

        Halos count in full.
        """
        if not self.reaches:
            return tuple([n if a == WHOLE else sizes[a] for a, n in zip(self.axes, self.shape, strict=True)])
        return tuple(
            n if a == WHOLE else r.below + r.scale * sizes[a] + r.above
            for a, n, r in zip(self.axes, self.shape, self.reaches, strict=True)
        )

    def array_extent(self, axis: int, count: int) -> int:
        """The extent of an axis for so many elements of its index."""
        if not self.reaches:
            return count
        below, above, scale, boundary = self.reaches[axis]
        return scale * count + (below + above if boundary == "valid" else 0)

    def window(self, axis: int, start: int, stop: int) -> tuple[int, int]:
        """The elements of an axis that go with these of its index; outside the array where a halo is.

        Under ``"valid"`` the operand begins with the halo, so that nothing lies outside.
        """
        if not self.reaches:
            return start, stop
        below, above, scale, boundary = self.reaches[axis]
        if boundary == "valid":
            return start * scale, stop * scale + below + above
        return start * scale - below, stop * scale + above

    def held(self, axis: int, start: int, stop: int) -> tuple[int, int]:
        """The same, without what nothing stands in for: what a body gets."""
        low, high = self.window(axis, start, stop)
        if self.reaches and self.reaches[axis].boundary in (None, "clip"):
            return max(0, low), min(high, int(self.shape[axis] or 0))
        return low, high

    def held_shape(self, region: Bounds) -> tuple[int, ...]:
        """The shape of what a body gets of an operand on a tile."""
        ends = [
            (0, int(n or 0)) if a == WHOLE else self.held(axis, *region[a])
            for axis, (a, n) in enumerate(zip(self.axes, self.shape, strict=True))
        ]
        return tuple([high - low for low, high in ends])

    def held_from(self, region: Bounds) -> tuple[int, ...]:
        """The first elements along the axes that a body gets on a tile."""
        return tuple([0 if a == WHOLE else self.held(axis, *region[a])[0] for axis, a in enumerate(self.axes)])

    def wraps(self, axis: int) -> bool:
        """Whether what stands in for elements outside along an axis are those at its other end."""
        return bool(self.reaches) and self.reaches[axis].boundary == "wrap"

    def inside(self, axis: int) -> tuple[int, int]:
        """The elements of an axis' index whose windows lie in the array: the first, and the one after the last."""
        below, above, scale, _ = self.reaches[axis]
        return -(-below // scale), (int(self.shape[axis] or 0) - above) // scale

    def halo(self, axis: int, start: int, stop: int) -> tuple[int, int]:
        """Elements of the halo below and above that a body gets on a tile."""
        if not self.reaches:
            return 0, 0
        below, above, scale, boundary = self.reaches[axis]
        if boundary == "valid":
            return below, above
        low, high = self.held(axis, start, stop)
        return start * scale - low, high - stop * scale

    def origin(self, axis: int, domain: Bounds) -> int:
        """The first element along an axis of the array that holds a domain; arrays with a halo are held in full."""
        a = self.axes[axis]
        if a == WHOLE or self.haloed:
            return 0
        return domain[a][0] * (self.reaches[axis].scale if self.reaches else 1)

    def cut(
        self, region: Bounds, domain: Bounds, origin: Sequence[int] | None = None
    ) -> tuple[tuple[slice, ...], list[Outside]]:
        """The slices that cut the part of `region` out of an array that holds `domain`, and what is beyond them.

        Along an axis with something outside all is taken: any element may be the one that stands in. `origin` has the
        first element of the array along each axis, where these are others than usual.
        """
        slices: list[slice] = []
        outside: list[Outside] = []
        for axis, a in enumerate(self.axes):
            if a == WHOLE:
                slices.append(_ALL)
                continue
            low, high = self.held(axis, *region[a])
            extent = int(self.shape[axis] or 0)
            if self.reaches and (low < 0 or high > extent):
                outside.append(Outside(axis, low, high, extent, self.reaches[axis].boundary))
                slices.append(_ALL)
            else:
                first = self.origin(axis, domain) if origin is None else origin[axis]
                slices.append(slice(low - first, high - first))
        return tuple(slices), outside


def _pads(reach: Reach) -> bool:
    return reach.boundary not in (None, "clip", "valid")


def sizes_of(region: Bounds) -> tuple[int, ...]:
    """How many elements of each index are in a region."""
    return tuple([stop - start for start, stop in region])


def borders(domain: Bounds, operands: Sequence[Layout]) -> tuple[Bounds, list[Bounds]]:
    """The part of a domain for which no window goes beyond its array, and the strips around it.

    All of it, and none, where strips would leave nothing in between.
    """
    inside = list(domain)
    for layout in operands:
        for axis, a in enumerate(layout.axes):
            if a != WHOLE and layout.reaches and _pads(layout.reaches[axis]):
                (start, stop), (low, high) = inside[a], layout.inside(axis)
                inside[a] = max(start, low), min(stop, high)
    strips: list[Bounds] = []
    rest = domain
    for a, ((start, stop), (low, high)) in enumerate(zip(domain, inside, strict=True)):
        if low >= high:
            return domain, []
        strips += [(*rest[:a], ends, *rest[a + 1 :]) for ends in ((start, low), (high, stop)) if ends[0] < ends[1]]
        rest = (*rest[:a], (low, high), *rest[a + 1 :])
    return rest, strips


def slices_of(region: Bounds, starts: Sequence[int]) -> list[slice]:
    """By index the slice that cuts `region` out of an array that begins there, and last, where WHOLE points, all."""
    return [*[slice(a - o, b - o) for (a, b), o in zip(region, starts, strict=True)], _ALL]
