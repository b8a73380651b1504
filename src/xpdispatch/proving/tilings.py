"""Ways to cut a plan: the awkward ones that Legate really makes, and random ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product
from math import prod
from typing import Any

import numpy as np

from xpdispatch.errors import ArgumentError, ShapeError
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.tiles import is_empty, whole
from xpdispatch.planning.windows import Bounds, borders

MOST_TILES = 64
"""How many tiles one of our own tilings has at the most."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """Where to cut each index, and in which order to run the tiles.

    Parameters
    ----------
    cuts : tuple of (str, tuple of int)
        For each index that is cut the places, between 0 and its extent; a place named twice makes an empty tile.
    order : {"forward", "backward"} or int
        The order of the tiles; an int is the seed of a random one.

    Examples
    --------
    >>> from xpdispatch.testing import Tiling
    >>> print(Tiling((("i", (5, 11)), ("j", (2,))), "backward"))
    i: 5 11, j: 2; backward
    >>> Tiling.parse("i: 5 11, j: 2; backward").cuts
    (('i', (5, 11)), ('j', (2,)))
    """

    cuts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    order: str | int = "forward"

    def __str__(self) -> str:
        cuts = ", ".join(f"{name}: {' '.join(map(str, places))}" for name, places in self.cuts)
        return (cuts or "one tile") + (f"; {self.order}" if self.order != "forward" else "")

    @classmethod
    def parse(cls, text: str) -> Tiling:
        """Read what ``str`` wrote.

        Raises
        ------
        ArgumentError
        """
        cuts, _, order = (part.strip() for part in text.partition(";"))
        found = []
        for part in filter(None, (p.strip() for p in cuts.split(","))) if cuts != "one tile" else ():
            match = re.fullmatch(r"(\S+)\s*:\s*(\d+(?:\s+\d+)*)", part)
            if match is None:
                raise ArgumentError(
                    f"tiling {text!r}: {part!r} is not a cut of an index", hint="write 'i: 5 11, j: 2; backward'"
                )
            found.append((match[1], tuple(map(int, match[2].split()))))
        if order not in ("", "forward", "backward") and not order.isdigit():
            raise ArgumentError(
                f"tiling {text!r}: {order!r} is not an order of tiles",
                hint="write ; forward, ; backward or ; and a seed",
            )
        return cls(tuple(found), int(order) if order.isdigit() else order or "forward")

    @property
    def indices(self) -> tuple[str, ...]:
        """The indices that are cut."""
        return tuple(name for name, places in self.cuts if places)

    def divides(self, plan: Plan) -> bool:
        """Whether it makes more than one tile that has elements."""
        return sum(not is_empty(region) for region in self.regions(plan)) > 1

    def regions(self, plan: Plan) -> list[Bounds]:
        """The tiles, in the order in which they run.

        Arrays that nothing aligns are cut independently of each other: tile n of one goes with tile n of the other,
        as when Legate launches a task over them.

        Raises
        ------
        ShapeError
            A cut lies outside its index.
        """
        cuts = dict(self.cuts)
        for name, places in self.cuts:
            if name not in plan.indices:
                raise ShapeError(
                    f"the tiling cuts {name!r}, which is not an index",
                    hint=f"the indices are {', '.join(plan.indices)}",
                )
            extent = plan.extents[plan.indices.index(name)]
            if not all(0 <= p <= extent for p in places):
                raise ShapeError(
                    f"the tiling cuts {name} at {places}, which has extent {extent}",
                    hint=f"cut at places from 0 to {extent}",
                )
        spaces = [[_parts(plan, cuts, index) for index in space] for space in plan.spaces]
        tiles = [list(product(*parts)) for parts in spaces]
        rows = (
            list(zip(*_as_many(tiles), strict=True)) if len(tiles) > 1 else [(t,) for t in tiles[0]] if tiles else [()]
        )
        regions = []
        for row in rows:
            region = [(0, 0)] * len(plan.indices)
            for space, part in zip(plan.spaces, row, strict=True):
                for index, ends in zip(space, part, strict=True):
                    region[index] = ends
            regions.append(tuple(region))
        if self.order == "backward":
            return regions[::-1]
        if isinstance(self.order, int):
            return [regions[n] for n in np.random.default_rng(self.order).permutation(len(regions))]
        return regions


def _parts(plan: Plan, cuts: Mapping[str, Sequence[int]], index: int) -> list[tuple[int, int]]:
    """The parts of one index; those of fewer elements than a tile has at least go with the next one, or the last."""
    places = sorted(cuts.get(plan.indices[index], ()))
    if plan.least and plan.least[index] > 1:
        kept, extent = [0], plan.extents[index]
        for place in places:
            if place - kept[-1] >= plan.least[index] and extent - place >= plan.least[index]:
                kept.append(place)
        places = kept[1:]
    return list(pairwise([0, *places, plan.extents[index]]))


def _as_many(tiles: list[list[Any]]) -> list[list[Any]]:
    """As many tiles for every space; one that has a single tile gives it to all, as a broadcast store does."""
    most = max(map(len, tiles))
    return [found * most if len(found) == 1 else (found * most)[:most] for found in tiles]


def adversarial(plan: Plan, seed: int, special: Mapping[str, Sequence[int]]) -> Iterator[Tiling]:
    """Tilings that find most mistakes, from the simple to the strange; the same ones for the same seed.

    Parameters
    ----------
    plan : Plan
    seed : int
    special : mapping of str to sequence of int
        By index, places that the data make worth cutting at.
    """
    rng = np.random.default_rng(seed)
    inside, _ = borders(whole(plan), plan.operands)
    kinds = [
        _kinds(n, special.get(name, ()), ends) for name, n, ends in zip(plan.indices, plan.extents, inside, strict=True)
    ]
    cuttable = [d for d, k in enumerate(kinds) if k]

    def tiling(chosen: Mapping[int, str], order: str | int = "forward") -> Tiling:
        return Tiling(tuple((plan.indices[d], kinds[d][kind]) for d, kind in chosen.items()), order)

    for kind in ("halves", "borders", "first", "last", "thirds"):
        for d in cuttable:
            if kind in kinds[d]:
                yield tiling({d: kind})
    for d in cuttable:
        yield tiling({d: "halves"}, "backward")
        for kind in ("special", "ragged", "ones", "empty"):
            if kind in kinds[d]:
                yield tiling({d: kind})
                yield tiling({d: kind}, int(rng.integers(1000)))
    for d, e in combinations(cuttable, 2):
        yield tiling({d: "halves", e: "halves"})
        yield tiling({d: "halves", e: "last"}, "backward")
    if len(cuttable) > 2:
        yield tiling(dict.fromkeys(cuttable, "halves"), int(rng.integers(1000)))
    if len(cuttable) < 2 and len(plan.spaces) < 2:
        return
    for _ in range(12):
        chosen = {d: str(rng.choice(list(kinds[d]))) for d in cuttable}
        if prod(len(kinds[d][k]) + 1 for d, k in chosen.items()) <= MOST_TILES:
            yield tiling(chosen, int(rng.integers(1000)))


def _kinds(extent: int, special: Sequence[int], inside: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """The ways to cut one index alone; none where it has fewer than two elements.

    Windows of the elements `inside` lie within their arrays.
    """
    n = extent
    if n < 2:
        return {}
    found = {"halves": (n // 2,), "first": (1,), "last": (n - 1,), "empty": (0, n // 2, n // 2, n)}
    if n > 2:
        found["thirds"] = (n // 3, n - n // 3)
        step = -(-n // 4)  # as Legate cuts
        found["ragged"] = tuple(range(step, n, step))
        ones = range(1, n) if n <= MOST_TILES else (1, 2, 3, n // 2, n // 2 + 1, n - 3, n - 2, n - 1)
        found["ones"] = tuple(sorted(set(ones)))
    found["borders"] = tuple(p for p in inside if 0 < p < n)
    if special:
        found["special"] = tuple(sorted({p for p in special if 0 < p < n}))[: MOST_TILES - 1]
    return {kind: places for kind, places in found.items() if places}


def random_tiling(plan: Plan, rng: np.random.Generator) -> Tiling:
    """Any tiling of a plan, in any order, with empty tiles too."""
    most = most_places(len(plan.indices))
    places = [np.sort(rng.integers(0, n + 1, rng.integers(0, most + 1))).tolist() for n in plan.extents]
    order = ("forward", "backward", int(rng.integers(100)))[rng.integers(3)]
    return Tiling(tuple((name, tuple(p)) for name, p in zip(plan.indices, places, strict=True) if p), order)


def most_places(indices: int) -> int:
    """How many places each of several indices may be cut at."""
    return min(6, max(1, int(MOST_TILES ** (1 / max(1, indices))) - 1))


def simpler(tiling: Tiling) -> Iterator[Tiling]:
    """Tilings with fewer cuts, cuts nearer to the beginning or a plainer order, the greatest steps first."""
    if tiling.order != "forward":
        yield replace(tiling, order="forward")
    for n, (name, places) in enumerate(tiling.cuts):
        before, after = tiling.cuts[:n], tiling.cuts[n + 1 :]
        if before or after:
            yield replace(tiling, cuts=(*before, *after))
        fewer: list[tuple[int, ...]] = [(place,) for place in places] if len(places) > 2 else []
        fewer += [places[:k] + places[k + 1 :] for k in range(len(places))] if len(places) > 1 else []
        for k, place in enumerate(places):
            least = places[k - 1] + 1 if k else 1
            fewer += [
                (*places[:k], nearer, *places[k + 1 :])
                for nearer in sorted({least, least + 1, least + 2, (least + place) // 2, place - 1})
                if least <= nearer < place
            ]
        for changed in fewer:
            yield replace(tiling, cuts=(*before, (name, changed), *after))
