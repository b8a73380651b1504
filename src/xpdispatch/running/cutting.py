"""Which strategy runs a call, and on which tiles: decided once for calls that are alike.

Where rounding may depend on the cuts, these depend on shapes, dtypes, scalars and the cache alone: not on threads,
clocks, data, or what ran before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpdispatch.arrays.scalars import scalars_key
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.machine.hardware import cache_bytes
from xpdispatch.machine.memory import keep_small_blocks
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.tiles import is_empty
from xpdispatch.planning.windows import Bounds, Layout, borders
from xpdispatch.running import costs
from xpdispatch.running.costs import Cost, Volumes
from xpdispatch.running.counting import Measured, measure
from xpdispatch.running.executor import ByTile, Strategy, Whole
from xpdispatch.running.ownership import AT_ONCE, Known
from xpdispatch.running.site import Site
from xpdispatch.running.traced import Traced, can_be_traced

forced = 0
"""Where it is not 0, calls are cut into tiles that fill so many bytes at most, whatever that costs; checks set it."""

_STREAMED = 2
"""A body that makes nothing but its results reads nothing twice, so its tiles may be so many times larger."""

_THIN = 2
"""A body that makes no more than so many times its results goes through memory about as fast as through the cache: what
one thread gains by tiles it loses where it puts new results together."""

_SHARED = 16
"""A call that costs less than so many caches through memory is done before a second thread is of use."""

_LARGE = 1 << 20
"""Bytes of an operand from which on it pays to trace the body, where that saves a copy of the result."""

_MANY = 8
"""Tiles from which on it pays: it takes as long as the Python of a few tiles."""

_FETCHED = 32 << 20
"""The same where results are new: the system hands out so much, or more, page by page, and results have their own."""

_STRIP = 3 << 17
"""A call of the body on a strip along a border takes some 60 us: that long it takes to pad windows of so many bytes."""


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
        Of its trace; 0 where there is none.
    """

    tile: tuple[int, ...] | None
    thin: bool
    shared: bool
    steps: int

    def on(self, threads: int, *, new: bool) -> tuple[Cuts, int]:
        """The cuts in this process, and how many of the threads work; `new` says that the results are new arrays."""
        workers = threads if self.shared else 1
        # A trace of one step has nothing that would keep to the cache.
        as_well = self.steps == 1 or (self.thin and new and not (self.steps and self.shared))
        return self._replace(tile=None) if as_well and workers == 1 else self, workers

    def regions(self, domain: Bounds) -> Sequence[Bounds]:
        """The tiles."""
        if self.tile is None:
            return (domain,)
        keep_small_blocks()
        return costs.regions(domain, self.tile)


class Choice(NamedTuple):
    """How a call runs."""

    strategy: Strategy
    regions: Sequence[Bounds]
    workers: int


def on_the_whole(definition: Definition, site: Site, known: Known) -> Strategy:
    """The strategy that runs calls in one piece."""
    if site.library == "cupy" and can_be_traced(definition, site.plan):
        from xpdispatch.running.generated import Generated  # which others need not import

        return Generated(site, known)
    return Whole(site, known)


class Cutter:
    """Chooses for calls of one plan and one set of dtypes.

    Parameters
    ----------
    definition : Definition
    site : Site
    known : Known or None
        What the body can reach; None where results are used up before it runs again.
    dtypes : sequence of dtype
        The operands'.
    given : sequence of (dtype or None)
        Of the arrays that are written.
    """

    def __init__(
        self, definition: Definition, site: Site, known: Known | None, dtypes: Sequence[Any], given: Sequence[Any]
    ) -> None:
        self.site, self.dtypes, self.given = site, tuple(dtypes), tuple(given)
        plain = site.library == "numpy"
        kept = Known(keeps=True) if known is None else known  # from one tile to the next
        self.traced = Traced(site, kept) if plain and can_be_traced(definition, site.plan) else None
        self.whole, self.by_tile = Whole(site, AT_ONCE if known is None else known), ByTile(site, kept)
        plan = site.plan
        self.cut = definition.cut and plain and not (len(plan.spaces) > 1 or plan.images or plan.least)
        ordered = any(layout.op or layout.concatenated for layout in plan.results)
        self.bordered = self.cut and not ordered and any(layout.is_padded for layout in plan.operands)
        self.cache = forced or cache_bytes()
        # What dry runs tell, by types of scalars or, where sums of floats depend on it, their values; cuts by that, the
        # sizes of what is cut and the order of its axes; candidates by sizes; strips by bounds and what dry runs tell.
        # At most 256 each.
        self._dry_runs, self._cuts = BoundedCache(), BoundedCache()
        self._candidates, self._borders = BoundedCache(), BoundedCache()
        self.volumes = Volumes(site.plan, tuple(np.dtype(d).itemsize for d in (*self.dtypes, *self._expected())))

    def _expected(self) -> list[Any]:
        """The results' dtypes as far as they are known, else the widest usual one."""
        known = self.site.dtypes or (None,) * len(self.given)
        return [
            next((d for d in found if d is not None), np.float64)
            for found in zip(self.site.casts, known, self.given, strict=True)
        ]

    def choose(
        self,
        domain: Bounds,
        operands: Sequence[Any],
        targets: Sequence[Any],
        scalars: Sequence[Any],
        threads: int,
        *,
        new: bool,
    ) -> Choice:
        """The strategy, the tiles and the threads for a call on these arrays."""
        inside, strips = self.borders(domain, scalars)
        regions: Sequence[Bounds] = (inside,)
        workers = 1
        if self.candidate(inside):
            cuts, workers = self.cuts(inside, operands, scalars).on(threads, new=new and not strips)
            regions = cuts.regions(inside)
        count, traced = len(regions), self.traced
        regions = (*regions, *strips)
        if traced is not None and not traced.why_not:
            least = _FETCHED if any([t is None for t in targets]) else _LARGE  # noqa: C419  a list is quicker
            if count >= _MANY or (count == 1 and _holds_large(operands, least)):
                return Choice(traced, regions, workers)
        return Choice(self.whole if len(regions) == 1 else self.by_tile, regions, workers)

    def fixed(self, domain: Bounds, operands: Sequence[Any]) -> bool:
        """Whether all calls over this domain run the body on the whole."""
        cut = self.candidate(domain) or (self.bordered and (forced or self._copied(domain) >= _STRIP))
        return not cut and (self.traced is None or not _holds_large(operands, _LARGE))

    def borders(self, domain: Bounds, scalars: Sequence[Any]) -> tuple[Bounds, Sequence[Bounds]]:
        """What is cut further, and strips of it that run alone, so that only their windows are padded."""
        if not self.bordered:
            return domain, ()
        key, measured, _ = self._dry_run(scalars)
        found: tuple[Bounds, Sequence[Bounds]] | None = self._borders.get((domain, key))
        if found is None:
            inside, strips = borders(domain, self.site.plan.operands)
            pays = bool(forced) or (measured is not None and self._pays(domain, inside, strips, measured.cost))
            found = self._borders[domain, key] = (inside, strips) if pays else (domain, ())
        return found

    def _pays(self, domain: Bounds, inside: Bounds, strips: Sequence[Bounds], cost: Cost) -> bool:
        """Whether strips save more copies than they cost, with all that is made anew in each of them."""
        at_once, *apart = [costs.traffic(self.volumes, _sizes(r), cost) for r in (domain, inside, *strips)]
        saved = self._copied(domain) - sum(map(self._copied, strips))
        return saved - (sum(apart) - at_once) >= _STRIP * len(strips)

    def _copied(self, region: Bounds) -> int:
        """The bytes of a tile's windows that go beyond their arrays."""
        return sum(
            np.dtype(dtype).itemsize * math.prod(layout.held_shape(region))
            for layout, dtype in zip(self.site.plan.operands, self.dtypes, strict=True)
            if layout.cut(region, region)[1]
        )

    def candidate(self, domain: Bounds) -> bool:
        """Whether calls over this domain may be cut; says no to small ones at little cost."""
        if not self.cut:
            return False
        sizes = _sizes(domain)
        found: bool | None = self._candidates.get(sizes)
        if found is None:
            found = self._candidates[sizes] = not is_empty(domain) and self._is_candidate(sizes)
        return found

    def _is_candidate(self, sizes: tuple[int, ...]) -> bool:
        cache = self.cache
        if not sizes:
            return False
        guess = costs.guess(self.volumes)
        if not (forced or costs.large_enough(self.volumes, sizes, guess, cache)):
            return False
        order = costs.order_of(self.volumes, sizes, fortran=False)
        return costs.count(sizes, costs.tile_sizes(self.volumes, sizes, guess, cache, order)) > 1

    def cuts(self, domain: Bounds, operands: Sequence[Any], scalars: Sequence[Any]) -> Cuts:
        """How a call on these arrays is cut."""
        sizes, fortran = _sizes(domain), _is_fortran(operands)
        key, measured, steps = self._dry_run(scalars)
        found: Cuts | None = self._cuts.get((sizes, fortran, key))
        if found is None:
            found = self._cuts[sizes, fortran, key] = self._decide(sizes, measured, steps, fortran=fortran)
        return found

    def measured(self, scalars: Sequence[Any]) -> Measured | None:
        """What the body makes besides its arrays; None where it does not run on ones."""
        return self._dry_run(scalars)[1]

    def _decide(self, sizes: tuple[int, ...], measured: Measured | None, steps: int, *, fortran: bool) -> Cuts:
        volumes, cache = self.volumes, self.cache
        cost = costs.guess(volumes)
        if measured is not None:
            itemsizes = tuple(np.dtype(d).itemsize for d in (*self.dtypes, *measured.dtypes))
            volumes, cost = Volumes(self.site.plan, itemsizes), measured.cost
        order = costs.order_of(volumes, sizes, fortran=fortran)
        made = self._made(volumes, sizes, cost)
        tile = costs.tile_sizes(volumes, sizes, cost, cache if made > 1 else _STREAMED * cache, order)
        pays = costs.count(sizes, tile) > 1 if forced else costs.worth_while(volumes, sizes, tile, cost)
        return Cuts(
            tile if pays else None,
            thin=made <= _THIN and not cost.rounds,
            shared=bool(forced) or costs.traffic(volumes, sizes, cost) >= _SHARED * cache,
            steps=steps,
        )

    def _made(self, volumes: Volumes, sizes: Sequence[int], cost: Cost) -> float:
        """What the body makes, as a multiple of its results."""
        results = sum(volumes.parts(sizes)[len(self.dtypes) :])
        return cost.made(sizes) / max(1, results)

    def _dry_run(self, scalars: Sequence[Any]) -> tuple[Any, Measured | None, int]:
        """What decides it, what the body costs, and the steps of its trace."""
        by_type: Any = ("types", *map(type, scalars))
        by_value: Any = ("values", scalars_key(scalars, integers=True))
        found: tuple[Measured | None, int] | None = self._dry_runs.get(by_type)
        if found is None:
            found = self._dry_runs[by_type] = self._dry_runs[by_value] = self._study(scalars)
        if not self._rounds(found[0]):
            return by_type, *found
        found = self._dry_runs.get(by_value)
        if found is None:
            found = self._dry_runs[by_value] = self._study(scalars)
        return by_value, *found

    def _study(self, scalars: Sequence[Any]) -> tuple[Measured | None, int]:
        studied = self.traced.study(self.dtypes, self.given, scalars) if self.traced is not None else None
        if studied is not None:
            program, measured = studied
            return measured, program.steps
        return measure(self.site, self.dtypes, self.given, scalars), 0

    def _rounds(self, measured: Measured | None) -> bool:
        """Whether some result depends on the cuts to the last bits."""
        dtypes = [None] * len(self.given) if measured is None else measured.dtypes
        return any(
            layout.op == "fold" or (layout.op in ("sum", "prod") and (d is None or d.kind in "fc"))
            for layout, d in zip(self.site.plan.results, dtypes, strict=True)
        )


def _holds_large(operands: Sequence[Any], least: int) -> bool:
    """Whether some operand has so many bytes."""
    for operand in operands:  # noqa: SIM110  any() of a generator takes four times as long, in every task
        if operand.nbytes >= least:
            return True
    return False


def _sizes(region: Bounds) -> tuple[int, ...]:
    return tuple([stop - start for start, stop in region])


def _is_fortran(operands: Sequence[Any]) -> bool:
    ranked = [a for a in operands if getattr(a, "ndim", 0) > 1]
    return bool(ranked) and all(a.flags.fnc for a in ranked)


def same_elements(operand: Layout, result: Layout) -> bool:
    """Whether a tile reads of an operand just the elements that it writes of a result with the same memory."""
    return (
        operand.axes == result.axes
        and operand.shape == result.shape
        and (operand.reaches == result.reaches or not any(r.below or r.above for r in operand.reaches))
    )
