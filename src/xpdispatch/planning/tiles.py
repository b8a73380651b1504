"""Tiles: the parts of the index space that bodies see. Pure: no arrays.

A :data:`Bounds` is what an executor loops over; a :class:`Tile` is the same thing as the body sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np

from xpdispatch.arrays.randoms import uniform
from xpdispatch.errors import ArgumentError
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.windows import WHOLE, Bounds, Layout


def whole(plan: Plan) -> Bounds:
    """The region that holds every element."""
    return tuple((0, n) for n in plan.extents)


def grid(plan: Plan, cuts: Mapping[str, Sequence[int]]) -> Iterator[Bounds]:
    """Cut every index at the given places and yield the regions in row-major order.

    Parameters
    ----------
    plan : Plan
    cuts : mapping of str to sequence of int
        Places between 0 and the index' extent, by index; a place named twice makes an empty tile.
        Indices that are left out stay whole.
    """
    edges = [[0, *sorted(cuts.get(name, ())), size] for name, size in zip(plan.indices, plan.extents, strict=True)]
    yield from product(*(list(pairwise(e)) for e in edges))


def is_empty(region: Bounds) -> bool:
    """Whether the region holds no element; a body never sees such a tile."""
    for start, stop in region:  # noqa: SIM110  any() of a generator takes four times as long, at every tile
        if stop <= start:
            return True
    return False


def describe(plan: Plan, region: Bounds) -> str:
    """The region in words for error messages, such as ``i = 4:8 of 17``."""
    parts = [f"{shown(n)} = {a}:{b} of {t}" for n, (a, b), t in zip(plan.indices, region, plan.extents, strict=True)]
    return ", ".join(parts) or "the whole"


def shown(index: str) -> str:
    """The name of an index in words; those of ``...`` have none of their own."""
    group, dots, place = index.partition("...")
    return f"axis {place} of {group or dots}" if dots else index


@dataclass(frozen=True, slots=True, repr=False)
class Tile:
    """Where a body stands: passed as its second parameter when that is called ``tile``.

    Every method takes the name of an index, or an operand's or result's name and an axis:
    ``tile.start("i")``, ``tile.start(("x", -1))``.
    """

    _plan: Plan
    _region: Bounds
    _xp: Any
    variant: str
    """``"CPU"``, ``"OMP"`` or ``"GPU"``: the Legate variant whose body runs."""
    _windows: Mapping[str, tuple[int, int]] | None = None
    """First element and number of elements of the operands that are pointed to, by name."""
    _device: Mapping[str, Any] | None = None
    """``device=`` of arrays that are made here, where they need it."""

    def start(self, index: str | tuple[str, int]) -> int:
        """The first global coordinate of this tile along the index, or along an array's axis without its halo."""
        place, scale = self._place(index)
        return self._region[place][0] * scale if place != WHOLE else self._window(index)[0]

    def stop(self, index: str | tuple[str, int]) -> int:
        """One past the last global coordinate of this tile along the index, or along an axis without its halo."""
        return self.start(index) + self.size(index)

    def size(self, index: str | tuple[str, int]) -> int:
        """Elements of this tile along the index, or along an array's axis without its halo."""
        place, scale = self._place(index)
        return (self._region[place][1] - self._region[place][0]) * scale if place != WHOLE else self._window(index)[1]

    def total(self, index: str | tuple[str, int]) -> int:
        """Elements of all tiles together along the index, or along an array's axis without its halo."""
        place, scale = self._place(index)
        if place != WHOLE:
            return self._plan.extents[place] * scale
        layout, axis = self._axis(index)
        extent = layout.shape[axis]
        if extent is None:
            raise ArgumentError(
                f"the extent of axis {axis} of {layout.name!r} is what the body returns",
                hint="name it in the notation, y[:n]",
            )
        return extent

    def coords(self, index: str | tuple[str, int]) -> Any:
        """Global coordinates of this tile's elements along the index, a 1-d array of ``xp``.

        Of dtype int64; of int32 on JAX without its 64-bit numbers.
        """
        return self._xp.arange(self.start(index), self.stop(index), **(self._device or {}))

    def random(self, *indices: str | tuple[str, int], seed: int) -> Any:
        """Random numbers for this tile's elements, the same for each on every engine and however arrays are cut.

        Parameters
        ----------
        *indices : str or (str, int)
            One for each axis of what is returned.
        seed : int
            Another seed gives other numbers; its lowest 64 bits count.

        Returns
        -------
        array
            Uniform from 0 to before 1, of dtype float64. On JAX without its 64-bit numbers these are cut to what
            float32 holds, 24 bits.
        """
        if not indices or not isinstance(seed, int | np.integer):
            raise ArgumentError(
                f"tile.random got indices {indices} and seed {seed!r}, expected an index and an int",
                hint='write tile.random("i", seed=7)',
            )
        places = [range(self.start(index), self.stop(index)) for index in indices]
        return uniform(self._xp, int(seed), places, [self.coords(index) for index in indices])

    def halo(self, operand: str, axis: int) -> tuple[int, int]:
        """Elements of the operand's halo really present below and above this tile along the axis.

        All of them, but at the edges of the array under ``boundary="clip"``.
        """
        layout, axis = self._axis((operand, axis))
        axis %= len(layout.axes)
        a = layout.axes[axis]
        return (0, 0) if a == WHOLE else layout.halo(axis, *self._region[a])

    def __repr__(self) -> str:
        return f"<Tile {describe(self._plan, self._region)}, variant {self.variant}>"

    def _place(self, index: str | tuple[str, int]) -> tuple[int, int]:
        """Position of the index, and elements of the axis to each of its elements."""
        if isinstance(index, str):
            if index not in self._plan.indices:
                known = (
                    f"expected one of {', '.join(self._plan.indices)}" if self._plan.indices else "and none is split"
                )
                raise ArgumentError(
                    f"tile got index {index!r}, {known}",
                    hint='name a split index, or an array and its axis: tile.start(("x", -1))',
                )
            return self._plan.indices.index(index), 1
        layout, axis = self._axis(index)
        return layout.axes[axis], layout.reaches[axis].scale if layout.reaches else 1

    def _window(self, index: str | tuple[str, int]) -> tuple[int, int]:
        """First element and number of elements of an axis that is not split."""
        layout, axis = self._axis(index)
        pointed = self._windows and axis % len(layout.axes) == 0 and self._windows.get(layout.name)
        return pointed or (0, self.total(index))

    def _axis(self, index: str | tuple[str, int]) -> tuple[Layout, int]:
        if not isinstance(index, tuple) or len(index) != 2:
            raise ArgumentError(
                f"tile got {index!r}", hint='name an index, or an array and its axis: tile.start(("x", -1))'
            )
        name, axis = index
        for layout in (*self._plan.operands, *self._plan.results):
            if layout.name == name:
                if not -len(layout.axes) <= axis < len(layout.axes):
                    raise ArgumentError(
                        f"tile got axis {axis} of {name!r}, which has {len(layout.axes)} axes",
                        hint="count axes from 0, or from -1 backwards",
                    )
                return layout, axis
        raise ArgumentError(
            f"tile got array {name!r}, which the notation does not name", hint="name an operand or a result"
        )
