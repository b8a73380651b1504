"""The tiles of one call or task, decided once for all that are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpdispatch.arrays.scalars import scalars_key
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.machine.hardware import cache_bytes
from xpdispatch.machine.memory import keep_small_blocks
from xpdispatch.planning.plan import Layout
from xpdispatch.planning.tiles import Region, is_empty
from xpdispatch.running import blocking
from xpdispatch.running.blocking import Cost, Volumes
from xpdispatch.running.measure import Measured, measure
from xpdispatch.running.site import Site

_STREAMED = 2
"""A body that makes nothing but its results reads nothing twice, so its tiles may be so many times larger."""

_THIN = 2
"""A body that makes no more than so many times its results goes through memory about as fast as through the cache: what
one thread gains by tiles it loses where it puts new results together."""

_MEASURED = 16
"""A body is tried out on a tile whose arrays fill so many caches at most."""


class _Span(NamedTuple):
    """What is to be cut: how far it goes, for which cache, and whether its first axes lie closest in memory."""

    sizes: tuple[int, ...]
    cache: int
    fortran: bool


_SHARED = 16
"""A call that costs less than so many caches through memory is done before a second thread is of use."""


class Cuts(NamedTuple):
    """How a call is cut.

    Attributes
    ----------
    tile : tuple of int or None
        The sizes of a tile; None where cuts do not pay.
    thin : bool
        What the body does in tiles it does about as fast, and with the same bits, in one, where the results are new.
    shared : bool
        There is enough to do for several threads.
    steps : int
        Of the program that the body can be run as; 0 where it is none.
    """

    tile: tuple[int, ...] | None
    thin: bool
    shared: bool
    steps: int

    def on(self, threads: int, *, new: bool) -> tuple[Cuts, int]:
        """The cuts in this process, and how many of the threads work; `new` says that the results are new arrays."""
        workers = threads if self.shared else 1
        # A program of one step has nothing that would keep to the cache.
        as_well = self.steps == 1 or (self.thin and new and not (self.steps and self.shared))
        return self._replace(tile=None) if as_well and workers == 1 else self, workers

    def regions(self, domain: Region) -> Sequence[Region]:
        """The tiles."""
        if self.tile is None:
            return (domain,)
        keep_small_blocks()
        return blocking.regions(domain, self.tile)


class Cutter:
    """Cuts calls of one plan and one set of dtypes for the cache.

    Where rounding may depend on the cuts, these depend on shapes, dtypes, scalars and the cache alone: not on threads,
    clocks, data, or what ran before.

    Parameters
    ----------
    site : Site
    dtypes : sequence of dtype
        The operands'.
    given : sequence of (dtype or None)
        Of the arrays that are written.
    """

    def __init__(self, site: Site, dtypes: Sequence[Any], given: Sequence[Any]) -> None:
        self.site, self.dtypes, self.given = site, tuple(dtypes), tuple(given)
        # Bodies' costs by the sizes of the run and, where sums of floats depend on it, by scalars; tiles by that,
        # the sizes of what is cut and the order of its axes, and so what is tried out; candidates by sizes and cache;
        # at most 256 each.
        self._costs, self._tiles, self._trials, self._candidates = (BoundedCache() for _ in range(4))
        self._volumes = Volumes(site.plan, tuple(np.dtype(d).itemsize for d in (*self.dtypes, *self._expected())))

    def _expected(self) -> list[Any]:
        """The results' dtypes as far as they are known, else the widest usual one."""
        known = self.site.dtypes or (None,) * len(self.given)
        return [
            next((d for d in found if d is not None), np.float64)
            for found in zip(self.site.casts, known, self.given, strict=True)
        ]

    def candidate(self, domain: Region) -> bool:
        """Whether calls over this domain may be cut; says no to small ones at little cost."""
        key = (cache_bytes(), *(stop - start for start, stop in domain))
        found: bool | None = self._candidates.get(key)
        if found is None:
            found = self._candidates[key] = not is_empty(domain) and self._is_candidate(key[0], key[1:])
        return found

    def _is_candidate(self, cache: int, sizes: tuple[int, ...]) -> bool:
        plan = self.site.plan
        if not sizes or len(plan.spaces) > 1 or plan.images or plan.least or self.site.library != "numpy":
            return False
        cost = blocking.guess(self._volumes)
        if not blocking.large_enough(self._volumes, sizes, cost, cache):
            return False
        return blocking.count(sizes, self._first_guess(_Span(sizes, cache, fortran=False))) > 1

    def cuts(self, domain: Region, operands: Sequence[Any], scalars: Sequence[Any]) -> Cuts:
        """How a call on these arrays is cut."""
        span = self._span(domain, operands)
        measured = self._tried(span, scalars)
        found: Cuts | None = self._tiles.get((span, measured))
        if found is None:
            found = self._tiles[span, measured] = self._decide(span, measured)
        return found

    def cost(self, domain: Region, operands: Sequence[Any], scalars: Sequence[Any]) -> Cost | None:
        """What the body needs besides its arrays; None where it does not run on ones, or on a tile of this plan."""
        measured = self._tried(self._span(domain, operands), scalars)
        return None if measured is None else measured.cost

    def _span(self, domain: Region, operands: Sequence[Any]) -> _Span:
        return _Span(tuple([stop - start for start, stop in domain]), cache_bytes(), _is_fortran(operands))

    def _tried(self, span: _Span, scalars: Sequence[Any]) -> Measured | None:
        tried: tuple[tuple[int, ...] | None] | None = self._trials.get(span)
        if tried is None:
            tried = self._trials[span] = (self._trial(span),)
        return None if tried[0] is None else self._measured(tried[0], scalars)

    def _trial(self, span: _Span) -> tuple[int, ...] | None:
        """The sizes of a tile on which the body is tried out; None where that would cost as much as it may save."""
        trial = self._first_guess(span)
        return trial if sum(self._volumes.parts(trial)) <= _MEASURED * span.cache else None

    def _first_guess(self, span: _Span) -> tuple[int, ...]:
        order = blocking.order_of(self._volumes, span.sizes, fortran=span.fortran)
        return blocking.tile_sizes(self._volumes, span.sizes, blocking.guess(self._volumes), span.cache, order)

    def _decide(self, span: _Span, measured: Measured | None) -> Cuts:
        sizes, cache, fortran = span
        volumes = self._volumes
        cost = blocking.guess(volumes)
        if measured is not None:
            itemsizes = tuple(np.dtype(d).itemsize for d in (*self.dtypes, *measured.dtypes))
            volumes, cost = Volumes(self.site.plan, itemsizes), measured.cost
        order = blocking.order_of(volumes, sizes, fortran=fortran)
        made = self._made(volumes, sizes, cost)
        tile = blocking.tile_sizes(volumes, sizes, cost, cache if made > 1 else _STREAMED * cache, order)
        pays = blocking.worth_while(volumes, sizes, tile, cost)
        return Cuts(
            tile if pays else None,
            thin=made <= _THIN and not cost.rounds,
            shared=blocking.traffic(volumes, sizes, cost) >= _SHARED * cache,
            steps=0 if measured is None else measured.steps,
        )

    def _made(self, volumes: Volumes, sizes: Sequence[int], cost: Cost) -> float:
        """What the body makes, as a multiple of its results."""
        results = sum(volumes.parts(sizes)[len(self.dtypes) :])
        return cost.made(sizes) / max(1, results)

    def _measured(self, sizes: tuple[int, ...], scalars: Sequence[Any]) -> Measured | None:
        found = self._run(("types", sizes, tuple(type(v) for v in scalars)), sizes, scalars)
        if self._rounds(found):
            return self._run(("values", sizes, scalars_key(scalars, integers=True)), sizes, scalars)
        return found

    def _run(self, key: Any, sizes: Sequence[int], scalars: Sequence[Any]) -> Measured | None:
        known: tuple[Measured | None] | None = self._costs.get(key)
        if known is None:
            known = self._costs[key] = (measure(self.site, self.dtypes, self.given, scalars, sizes),)
        return known[0]

    def _rounds(self, measured: Measured | None) -> bool:
        """Whether some result depends on the cuts to the last bits."""
        dtypes = [None] * len(self.given) if measured is None else measured.dtypes
        return any(
            layout.op == "fold" or (layout.op in ("sum", "prod") and (d is None or d.kind in "fc"))
            for layout, d in zip(self.site.plan.results, dtypes, strict=True)
        )


def _is_fortran(operands: Sequence[Any]) -> bool:
    ranked = [a for a in operands if getattr(a, "ndim", 0) > 1]
    return bool(ranked) and all(a.flags.fnc for a in ranked)


def same_cells(operand: Layout, result: Layout) -> bool:
    """Whether a tile reads of an operand just the cells that it writes of a result with the same memory."""
    return (
        operand.axes == result.axes
        and operand.shape == result.shape
        and (operand.reaches == result.reaches or not any(r.below or r.above for r in operand.reaches))
    )
