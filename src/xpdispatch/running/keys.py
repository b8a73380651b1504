"""Gather and scatter: the elements of an operand that keys name, and what a body returns, in the cells they name."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpdispatch.arrays.cpu import writable
from xpdispatch.arrays.namespaces import device_of
from xpdispatch.arrays.reductions import scattered
from xpdispatch.errors import PointerError
from xpdispatch.planning.keys import OWN, Keys
from xpdispatch.planning.windows import Layout
from xpdispatch.running.parts import as_operand
from xpdispatch.running.site import Site

_LAZY = ("ndonnx",)
"""Libraries whose arrays are computed when somebody asks for their values."""


class Keyed:
    """How an array with keys goes into a body or comes out of it, tile by tile.

    Parameters
    ----------
    site : Site
    layout : Layout
    keys : Keys
        The layout's.
    """

    def __init__(self, site: Site, layout: Layout, keys: Keys) -> None:
        self.site, self.layout, self.keys = site, layout, keys
        self.pointing = keys.sources, keys.places, keys.dims, [layout.shape[axis] for axis in keys.cells]
        """What the places of whole arrays depend on."""

    def gather(
        self, arguments: Sequence[Any], array: Any, sizes: Sequence[int], origin: Sequence[int] | None = None
    ) -> Any:
        """The elements of an operand for a tile of these sizes, a copy; its part begins with the element `origin`.

        Raises
        ------
        PointerError
            A key names no element.
        """
        keys, xp = self.keys, self.site.xp
        places, dims = self.places(arguments, array.shape, sizes, origin), self._dims(sizes)
        if len(keys.cells) == 1:
            (axis,) = keys.cells
            found = xp.take(array, places, axis=axis)
            found = xp.reshape(found, (*array.shape[:axis], *dims, *array.shape[axis + 1 :]))
        else:
            cells, rest = ([array.shape[axis] for axis in axes] for axes in (keys.cells, keys.rest))
            rows = xp.reshape(_permuted(xp, array, (*keys.cells, *keys.rest)), (math.prod(cells), math.prod(rest)))
            found = _permuted(xp, xp.reshape(xp.take(rows, places, axis=0), (*dims, *rest)), keys.order)
        return as_operand(self.site, found)

    def scatter(self, places: Any, value: Any, sizes: Sequence[int], shape: Sequence[int]) -> Any:
        """The part of a result that has cells of this shape, from what the body returned on a tile of these sizes."""
        keys, xp = self.keys, self.site.xp
        cells, rest = ([shape[axis] for axis in axes] for axes in (keys.cells, keys.rest))
        rows = xp.reshape(_permuted(xp, value, _inverse(keys.order)), (math.prod(self._dims(sizes)), math.prod(rest)))
        assert self.layout.op is not None  # noqa: S101  a result with keys has one
        part = scattered(self.site.library, xp, self.layout.op, places, rows, math.prod(cells))
        return _permuted(xp, xp.reshape(part, (*cells, *rest)), _inverse((*keys.cells, *keys.rest)))

    def places(
        self,
        arguments: Sequence[Any],
        shape: Sequence[int],
        sizes: Sequence[int],
        origin: Sequence[int] | None = None,
    ) -> Any:
        """For each key the number of its cell among those of a part of this shape, in a row.

        Raises
        ------
        PointerError
            A key names no cell.
        """
        xp, body, dims = self.site.xp, self.site.body, self._dims(sizes)
        device = device_of([arguments[body.operand_at[max(self.keys.sources)]]])
        found: Any = None
        for axis, source, places in zip(self.keys.cells, self.keys.sources, self.keys.places, strict=True):
            if source == OWN:
                own = xp.arange(shape[axis], **device)
            else:
                own = self._checked(axis, source, arguments[body.operand_at[source]])
            if origin is not None and origin[axis]:
                own = own - origin[axis]
            if places != tuple(range(len(dims))):
                own = _permuted(xp, own, _inverse(places))
                own = xp.reshape(own, _at(places, own.shape, len(dims)))
            found = own if found is None else found * shape[axis] + own
        found = found if found.shape == dims else xp.broadcast_to(found, dims)
        return writable(xp.reshape(found, (-1,)))  # for take

    def _dims(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """The extents of keys on a tile."""
        operands = self.site.plan.operands
        return tuple(
            [int(operands[d.operand].shape[d.axis] or 0) if d.cut is None else sizes[d.cut] for d in self.keys.dims]
        )

    def _checked(self, axis: int, source: int, keys: Any) -> Any:
        """The keys of a tile, as the library's usual integers."""
        xp, extent = self.site.xp, int(self.layout.shape[axis] or 0)
        usual = xp.arange(1).dtype
        found = keys if keys.dtype == usual else xp.astype(keys, usual)
        told = keys if self.site.library == "numpy" else found  # torch compares no unsigned integers
        if _some_outside(self.site, told, extent):
            flat = xp.reshape(told, (-1,))
            first = int(flat[int(xp.argmax(xp.astype((flat < 0) | (flat >= extent), xp.int8)))])
            raise PointerError(
                f"argument {self.site.plan.operands[source].name!r} holds the key {first}, "
                f"which names no element of {self.layout.name!r}: "
                + (f"its keys are 0 to {extent - 1}" if extent else "it has no element"),
                hint="clip keys before the call, or send those outside to an element of their own; "
                "no negative one counts from the end",
            )
        return found


def _some_outside(site: Site, keys: Any, extent: int) -> bool:
    """Whether a key is below 0 or beyond an extent; not of lazy arrays and tracers, which have no values yet."""
    compiled = site.library == "torch" and sys.modules["torch"].compiler.is_compiling()
    if compiled or site.library in _LAZY or not math.prod(keys.shape):
        return False
    if site.library == "numpy":  # seen without a sign, those below 0 are beyond all others
        above = np.iinfo(keys.dtype).max + 1
        unsigned = keys.view(f"u{keys.dtype.itemsize}")
        return min(extent, above) <= np.iinfo(unsigned.dtype).max and int(unsigned.max()) >= min(extent, above)
    try:
        return int(site.xp.min(keys)) < 0 or int(site.xp.max(keys)) >= extent
    except (RuntimeError, TypeError):  # torch's and JAX's own
        return False


def _permuted(xp: Any, array: Any, order: Sequence[int]) -> Any:
    return array if list(order) == sorted(order) else xp.permute_dims(array, tuple(order))


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def _at(places: Sequence[int], extents: Sequence[int], count: int) -> tuple[int, ...]:
    """The shape that puts axes of these extents at ascending places among so many dimensions."""
    found = dict(zip(sorted(places), extents, strict=True))
    return tuple([found.get(n, 1) for n in range(count)])
