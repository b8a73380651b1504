"""How each array of a call is cut, and what a processor reads, writes, receives and holds of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from xpdispatch.explain.question import Machine
from xpdispatch.explain.tiling import Tiles
from xpdispatch.planning.tiles import shown
from xpdispatch.planning.windows import WHOLE, Layout, Scan

How = Literal["cut", "full", "halo", "pointed", "sent", "concatenated"]


@dataclass(frozen=True, eq=False, repr=False)
class ArrayCut:
    """How one array of a call is cut.

    Parameters
    ----------
    layout : Layout
        Its name, shape, operator, halos and boundaries, and which index each axis goes with.
    notation : str
        Its part of the notation.
    dtype : numpy.dtype
    is_result : bool
    fit : str
        How it enters a launch on Legate (:class:`xpdispatch.legate.alignment.Fit`); empty in this process.
    tiling : Tiles
    axis : int or None
        Along which an operand with a halo is cut on Legate, and full along the others; None where it is full.
    is_view : bool
        On Legate it shows the elements of another store.
    """

    layout: Layout
    notation: str
    dtype: np.dtype[Any]
    is_result: bool
    fit: str
    tiling: Tiles
    axis: int | None = None
    is_view: bool = False

    def __repr__(self) -> str:
        return f"<{self.notation} of {self.dtype}, shape {self.shape}, {self.how}, a tile's part {self.part}>"

    @property
    def name(self) -> str:
        """The parameter's name, or that of the result."""
        return self.layout.name

    @property
    def shape(self) -> tuple[int | None, ...]:
        """None for an extent that only the body knows."""
        return self.layout.shape

    @property
    def op(self) -> str | None:
        """How partial results are combined."""
        return self.layout.op

    @property
    def halo(self) -> tuple[tuple[int, int], ...]:
        """Elements below and above a tile's own, for each axis."""
        return tuple((r.below, r.above) for r in self.layout.reaches) or ((0, 0),) * len(self.shape)

    @property
    def how(self) -> How:
        """Cut; full in every tile; cut with a halo; cut where pointers say; sent with the call; or concatenated.

        Of what is concatenated only the body knows how large a tile's part is.
        """
        if self.layout.concatenated:
            return "concatenated"
        if self.fit in ("inline", "image"):
            return "sent" if self.fit == "inline" else "pointed"
        if self.layout.haloed:
            return "halo"
        return "cut" if max(self.pieces, default=1) > 1 or self.tiling.count <= 1 else "full"

    @property
    def pieces(self) -> tuple[int, ...]:
        """Into how many pieces each axis is cut; empty ones do not count."""
        return tuple(1 if a == WHOLE else self.tiling.counts[a] for a in self.layout.axes)

    @property
    def part(self) -> tuple[int | None, ...]:
        """The shape of a tile's part at its largest, halo included."""
        largest = (int(self._lengths(axis, halo=True).max(initial=0)) for axis in range(len(self.shape)))
        return tuple(None if n is None else part for n, part in zip(self.shape, largest, strict=True))

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array; at most, where an extent is not known."""
        return self.dtype.itemsize * math.prod(self._extent(axis) for axis in range(len(self.shape)))

    @property
    def part_bytes(self) -> int:
        """Bytes of a tile's part, at most."""
        return int(self.reads.max())

    @property
    def halo_bytes(self) -> int:
        """Bytes of a tile's part that are other tiles' own, at most."""
        return int((self.reads - self._owns).max()) if self.layout.haloed else 0

    @property
    def held(self) -> int:
        """Bytes in a processor's memory for a tile, at most."""
        return int(self.holds.max())

    @property
    def received(self) -> int:
        """Bytes that a processor gets from others for a tile, at most."""
        return int(self.receives.max())

    @property
    def copied(self) -> int:
        """Bytes that a launch of its own copies before: of a view that is cut with a halo, or where pointers say."""
        return self.nbytes if self.is_view and (self.axis is not None or self.fit == "image") else 0

    @property
    def shared_by(self) -> int:
        """How many tiles have the same part, or make partial results of it."""
        others = (n for i, n in enumerate(self.tiling.counts) if i not in self.layout.axes)
        return 1 if self.layout.concatenated else max(1, math.prod(others))

    @property
    def shared_over(self) -> tuple[str, ...]:
        """The indices in which those tiles differ."""
        differ = (i for i, n in enumerate(self.tiling.counts) if n > 1 and i not in self.layout.axes)
        return tuple(shown(self.tiling.indices[i]) for i in differ)

    @property
    def partials(self) -> int:
        """How many partial results make each part of a result; 1 where nothing is combined."""
        return self.shared_by if self.op else 1

    @property
    def carries(self) -> Scan | None:
        """The scan of a result whose tiles are combined with what stands before them."""
        scan = self.layout.scan
        return scan if scan and self.pieces[scan.axis] > 1 else None

    # -- bytes, for each tile as they are launched ----------------------------------------------------

    @cached_property
    def reads(self) -> Any:
        """What is read, or written."""
        return self._bytes(halo=True)

    @cached_property
    def holds(self) -> Any:
        """What lies in the memory of the tile's processor: of an array with a halo all along the axes but one."""
        if not self.fit or not self.layout.haloed or self.fit == "image":
            return self.reads
        if self.axis is None:
            return self.tiling.over_tiles(self.nbytes, self.tiling.filled)
        size, by_index = self._extent(self.axis), list(self.tiling.filled)
        by_index[self.index(self.axis)] = by_index[self.index(self.axis)] * self._there
        return self.tiling.over_tiles(self.nbytes // max(1, size), by_index)

    @property
    def _there(self) -> Any:
        """How much of the axis that is cut a tile gets: its window, and what stands in for elements outside."""
        assert self.axis is not None  # noqa: S101  asked for where there is one
        size, borders = self._extent(self.axis), self.tiling.borders[self.index(self.axis)]
        low, high = self.layout.window(self.axis, borders[:-1], borders[1:])
        lengths = self._lengths(self.axis, halo=True)
        return np.where((low < 0) & (high > size), size, lengths) if self.layout.wraps(self.axis) else lengths

    @cached_property
    def receives(self) -> Any:
        """What lies with other processors before, were each part spread over those that have it."""
        nothing = not self.fit or self.tiling.count <= 1 or self.fit in ("inline", "gathered", "unbound")
        if nothing or (self.is_result and not self.op):
            return np.zeros_like(self.reads)
        return self.holds - self._owns // self.shared_by

    @property
    def _owns(self) -> Any:
        return self._bytes(halo=False)

    def _bytes(self, *, halo: bool) -> Any:
        factor, by_index = self.dtype.itemsize, list(self.tiling.filled)
        for axis in range(len(self.shape)):
            index, lengths = self.index(axis), self._lengths(axis, halo=halo)
            if index == WHOLE:
                factor *= int(lengths[0])
            else:
                by_index[index] = by_index[index] * lengths
        return self.tiling.over_tiles(factor, by_index)

    def _lengths(self, axis: int, *, halo: bool) -> Any:
        """The elements of an axis inside the array that go with each piece of its index."""
        index, size = self.index(axis), self._extent(axis)
        if index == WHOLE:
            return np.array([size])
        borders = self.tiling.borders[index]
        low, high = self.layout.window(axis, borders[:-1], borders[1:])
        if not halo:
            return high - low - sum(self.halo[axis])
        inside = np.clip(high, 0, size) - np.clip(low, 0, size)
        return np.minimum(high - low, size) if self.layout.wraps(axis) else inside

    def index(self, axis: int) -> int:
        """The position of the index along which an axis is cut, or ``WHOLE``."""
        joined = self.layout.concatenated and axis == 0 and self.tiling.indices
        return 0 if joined else self.layout.axes[axis]

    def _extent(self, axis: int) -> int:
        """The extent of an axis; where only the body knows it, as many elements as the index has, if there is one."""
        extent, index = self.shape[axis], self.index(axis)
        if extent is None:
            return 0 if index == WHOLE else self.tiling.cuts[index].extent
        return extent


@dataclass(frozen=True, slots=True)
class Share:
    """What one processor does, in bytes.

    Parameters
    ----------
    tiles : int
    reads, writes : int
        What bodies read and write, halos and partial results included.
    receives : int
        What of it other processors have: the array's own elements lie spread over all that share a part.
    memory : int
        Its parts of all arrays and what bodies need besides; copies that Legate still keeps do not count.
    """

    tiles: int = 0
    reads: int = 0
    writes: int = 0
    receives: int = 0
    memory: int = 0


def shares_of(arrays: Sequence[ArrayCut], tiling: Tiles, machine: Machine, temporaries: int) -> tuple[Share, ...]:
    """What each processor does; those without a tile do nothing."""
    many, launched = machine.processors, tiling.launched
    ends = [min(p, launched) if launched <= many else -(-p * launched // many) for p in range(many + 1)]

    def by_processor(of_tiles: Sequence[Any]) -> list[int]:
        running = np.concatenate([[0.0], np.cumsum(sum(of_tiles, np.zeros(launched)))])
        return [int(b - a) for a, b in pairwise(running[ends].tolist())]

    tiles = by_processor([tiling.over_tiles(1, tiling.filled)])
    reads = by_processor([a.reads for a in arrays if not a.is_result])
    writes = by_processor([a.reads for a in arrays if a.is_result])
    receives = by_processor([a.receives for a in arrays])
    receives[0] += sum(int(a.reads[1:].sum()) for a in arrays if a.fit == "gathered")  # it puts them together
    if machine.engine == "legate":
        held = by_processor([a.holds for a in arrays])
    else:  # one tile after the other
        held = [sum(a.held for a in arrays)] * many
    memory = [n + temporaries if count else 0 for n, count in zip(held, tiles, strict=True)]
    return tuple(map(Share, tiles, reads, writes, receives, memory))
