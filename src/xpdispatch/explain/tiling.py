"""Where the tiles of a call lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from xpdispatch.planning.windows import Bounds


class Pieces(NamedTuple):
    """An index in pieces of one size, of which the last ones can be shorter or empty.

    Parameters
    ----------
    extent : int
    number : int
    size : int
    """

    extent: int
    number: int
    size: int

    @property
    def borders(self) -> Any:
        """Where pieces begin, and where the last one ends: an int64 array of ``number + 1``."""
        return np.minimum(np.arange(self.number + 1) * self.size, self.extent)

    @property
    def filled(self) -> int:
        """How many pieces have elements."""
        return min(self.number, -(-self.extent // self.size)) if self.size else 0

    @property
    def largest(self) -> int:
        """The elements of the largest piece."""
        return min(self.size, self.extent)


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles of a call.

    Parameters
    ----------
    indices : tuple of str
        The split indices; those of ``...`` are called ``...-1``, ``...-2`` from the right.
    cuts : tuple of Pieces
        One for each index.
    order : tuple of int
        The indices in the order in which tiles are launched, the one that changes last first.
    """

    indices: tuple[str, ...]
    cuts: tuple[Pieces, ...]
    order: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Into how many pieces each index is cut, empty ones aside."""
        return tuple(cut.filled for cut in self.cuts)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The elements of each index in the largest tile."""
        return tuple(cut.largest for cut in self.cuts)

    @property
    def count(self) -> int:
        """How many tiles have elements."""
        return math.prod(self.counts)

    @property
    def launched(self) -> int:
        """How many tiles there are, those without elements included."""
        return math.prod(cut.number for cut in self.cuts)

    @property
    def pieces(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """For each index where its pieces begin and end, empty ones aside."""
        spans = (pairwise(cut.borders[: cut.filled + 1].tolist()) for cut in self.cuts)
        return {name: tuple(found) for name, found in zip(self.indices, spans, strict=True)}

    def regions(self) -> Iterator[Bounds]:
        """The tiles that have elements, in the order in which they are launched."""
        spans = list(self.pieces.values())
        back = [self.order.index(i) for i in range(len(self.order))]
        for found in product(*(spans[i] for i in self.order)):
            yield tuple(found[b] for b in back)

    @cached_property
    def borders(self) -> tuple[Any, ...]:
        """:attr:`Pieces.borders` of each index."""
        return tuple(cut.borders for cut in self.cuts)

    @cached_property
    def filled(self) -> tuple[Any, ...]:
        """For each piece of each index 1.0, or 0.0 where it has no element."""
        return tuple((np.diff(b) > 0).astype(float) for b in self.borders)

    def over_tiles(self, factor: float, by_index: Sequence[Any]) -> Any:
        """For each tile, as they are launched, the product of `factor` and a number for each of its pieces.

        An array of float64, which does not overflow, and is exact for less than 8 PiB.
        """
        found = np.array([float(factor)])
        for i in self.order:
            found = np.multiply.outer(found, by_index[i])
        return found.ravel()
