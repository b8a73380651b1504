"""Which strategy runs a call, and on which tiles: decided once for calls that are alike.

Where rounding may depend on the cuts, these depend on shapes, dtypes, scalars and the cache alone: not on threads,
clocks, data, or what ran before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpdispatch.arrays.scalars import coarse, scalars_key
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.machine.hardware import cache_bytes, processors
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.plan import Plan, rounded
from xpdispatch.planning.tiles import is_empty
from xpdispatch.planning.windows import WHOLE, Bounds, Layout, borders, sizes_of
from xpdispatch.running import costs
from xpdispatch.running.costs import Cost, Volumes
from xpdispatch.running.executor import ByTile, Strategy, Whole, Work
from xpdispatch.running.learned import CALLED, Learned
from xpdispatch.running.ownership import AT_ONCE, Known
from xpdispatch.running.results import Taking
from xpdispatch.running.site import Site

if TYPE_CHECKING:
    from xpdispatch.running.counting import Measured
    from xpdispatch.running.traced import Studied, Traced

forced = 0
"""Where it is not 0, calls are cut into tiles that fill so many bytes at most, whatever that costs; checks set it."""

_STUDIED = 1 << 15
"""Bytes of arrays from which on a dry run tells how much a body computes."""

_NUMBERS = float, complex, np.inexact
"""Scalars whose values do not decide how much a body does."""

_STREAMED = 2
"""A body that makes nothing but its results reads nothing twice, so its tiles may be so many times larger."""

_THIN = 2
"""A body that makes no more than so many times its results goes through memory about as fast as through the cache: what
one thread gains by tiles it loses where it puts new results together."""

_SHARED = 8
"""A call that moves so many times what a cache holds, or more, is worth a second thread for that alone; twice as many,
if it does one thing with each element."""

_MANY = 8
"""Tiles from which on it pays, where it is traced in each call: that takes as long as the Python of a few tiles."""

_FETCHED = 32 << 20
"""Bytes of an operand from which on a body in one piece is run by its trace: what it makes would take as much, and the
system hands that out page by page."""

_FEWEST, _SAVED = 1 << 11, 24_000
"""Elements of a call, and steps of single elements that are saved, from which on a body in one piece is run by its
trace: it takes some 4 us longer to find that than to call the body."""

_STEPS = 4
"""Of a body that may be traced one day, as long as nobody knows."""

_STRIP = 3 << 17
"""A strip along a border takes some 60 us beside what its body calls: that long it takes to pad so many bytes."""


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
    spare : bool
        The tiles are of use for several threads alone, and have the same bits.
    """

    tile: tuple[int, ...] | None
    thin: bool
    shared: bool
    steps: int
    spare: bool = False

    def on(self, threads: int, *, new: bool) -> tuple[Cuts, int]:
        """The cuts in this process, and how many of the threads work; `new` says that the results are new arrays."""
        workers = threads if self.shared else 1
        # A trace of one step has nothing that would keep to the cache.
        as_well = self.spare or self.steps == 1 or (self.thin and new and not (self.steps and self.shared))
        return self._replace(tile=None) if as_well and workers == 1 else self, workers

    def regions(self, domain: Bounds) -> Sequence[Bounds]:
        """The tiles."""
        if self.tile is None:
            return (domain,)
        return costs.regions(domain, self.tile)


class Choice(NamedTuple):
    """How a call runs.

    Attributes
    ----------
    strategy : Strategy
    work : Work
    steps : int
        Of single elements, about, where many of them would be a reason to trace the body.
    """

    strategy: Strategy
    work: Work
    steps: int = 0


class _Inside(NamedTuple):
    """What of a domain may be cut, and the strips along its borders that run alone."""

    domain: Bounds
    strips: Sequence[Bounds]


def can_be_traced(definition: Definition, plan: Plan) -> bool:
    """Whether a body may turn out to do arithmetic on single elements alone."""
    if not definition.fuse or definition.body.wants_tile or plan.images or plan.least:
        return False
    return not any(layout.op or layout.concatenated for layout in plan.results)


def on_the_whole(definition: Definition, site: Site, taking: Taking, learned: Learned) -> Strategy:
    """The strategy that runs calls in one piece."""
    if site.library == "cupy" and can_be_traced(definition, site.plan):
        from xpdispatch.running.generated import Generated  # which others need not import

        return Generated(site, taking, learned)
    return Whole(site, taking)


class Cutter:
    """Chooses for calls of one plan and one set of dtypes.

    Parameters
    ----------
    definition : Definition
    site : Site
    taking : Taking or None
        How results are taken; None where results are used up before it runs again.
    learned : Learned
        What calls with these dtypes have told.
    threaded : bool
        Several threads may share a call.
    """

    def __init__(
        self, definition: Definition, site: Site, taking: Taking | None, learned: Learned, *, threaded: bool = True
    ) -> None:
        self.site, self.learned, self.threaded = site, learned, threaded
        self._computes = definition.cut == "work"
        self._sized = bool(definition.patterns.sizes)
        self._exact = [position for _, position in definition.sized]
        self.dtypes, self.given = learned.dtypes, learned.given
        self._taking = taking
        plan = site.plan
        plain = site.library == "numpy"
        self._may_be_traced = plain and can_be_traced(definition, plan)
        self.cut = bool(definition.cut) and plain and not (len(plan.spaces) > 1 or plan.images or plan.least)
        self._ranked = any(len(layout.axes) > 1 for layout in plan.operands)
        self._combines = any(layout.op for layout in plan.results)
        self.cache = forced or cache_bytes()
        self.volumes = Volumes(plan, learned.itemsizes or self._itemsizes())
        self._choices = BoundedCache()  # by all that decides them; at most 256

    # Most calls are too small to need these, or to import what these import.

    @cached_property
    def traced(self) -> Traced | None:
        """The strategy that runs the body's trace, if it may have one."""
        from xpdispatch.running.traced import Traced

        return Traced(self.site, self._kept, self.learned) if self._may_be_traced else None

    @cached_property
    def whole(self) -> Whole:
        """The strategy that runs the body once."""
        return Whole(self.site, self._taking or Taking(self.site, AT_ONCE))

    @cached_property
    def by_tile(self) -> ByTile:
        """The strategy that runs the body on tiles."""
        return ByTile(self.site, self._kept)

    @property
    def _kept(self) -> Taking:
        return self._taking or Taking(self.site, Known(keeps=True))  # from one tile to the next

    @cached_property
    def bordered(self) -> bool:
        """Whether strips along borders may run alone."""
        plan = self.site.plan
        if not self.cut or any(layout.op or layout.concatenated for layout in plan.results):
            return False
        return any(layout.is_padded for layout in plan.operands)

    def _itemsizes(self) -> Sequence[int]:
        """Those of the operands, and of the results' dtypes as far as they are known, else of the widest usual one."""
        known = self.site.dtypes or (None,) * len(self.given)
        results = [
            next((d for d in found if d is not None), np.float64)
            for found in zip(self.site.casts, known, self.given, strict=True)
        ]
        self.learned.itemsizes = [np.dtype(d).itemsize for d in (*self.dtypes, *results)]
        return self.learned.itemsizes

    def choose(
        self,
        domain: Bounds,
        operands: Sequence[Any],
        scalars: Sequence[Any],
        threads: Callable[[], int],
        *,
        new: bool,
    ) -> Choice:
        """The strategy, the tiles and the threads for a call on these arrays.

        `threads` is asked how many there are, where something is cut: the environment may say so, which takes a while.
        """
        by_value = scalars_key(coarse(scalars, self._exact), integers=True) if scalars else ()
        order = order_of(operands) if self._ranked else "C"
        learned = self.learned
        key: tuple[Any, ...] = (domain, order, new, learned.why_not, learned.restless, learned.busy, by_value)
        found: Choice | _Inside | None = self._choices.get(key)
        if found is None:
            inside = _Inside(*self.borders(domain, scalars))
            cut = self.candidate(inside.domain) or self.dear(inside.domain, scalars)
            found = inside if cut else self._choose(domain, inside, operands, scalars, 0, new=new)
            self._choices[key] = found
        if isinstance(found, Choice):
            if found.steps:
                learned.does(found.steps)
            return found
        count = threads()
        key = (*key, count)
        choice: Choice | None = self._choices.get(key)
        if choice is None:
            choice = self._choices[key] = self._choose(domain, found, operands, scalars, count, new=new)
        if choice.steps:
            learned.does(choice.steps)
        return choice

    def _choose(
        self,
        domain: Bounds,
        found: _Inside,
        operands: Sequence[Any],
        scalars: Sequence[Any],
        threads: int,
        *,
        new: bool,
    ) -> Choice:
        """For so many threads; 0 where nothing is cut."""
        inside, strips = found
        regions: Sequence[Bounds] = (inside,)
        workers = 1
        if threads:
            cuts, workers = self.cuts(inside, operands, scalars, threads).on(threads, new=new and not strips)
            regions = cuts.regions(inside)
        count = len(regions)
        work = Work(domain, (*regions, *strips), workers)
        if self._by_trace(count, inside, operands, scalars) and self.traced is not None:
            return Choice(self.traced, work)
        if len(work.regions) > 1:
            return Choice(self.by_tile, work)
        steps = _STEPS * (math.prod(sizes_of(domain)) + CALLED) if self._may_pay_one_day(domain) else 0
        return Choice(self.whole, work, steps)

    def _by_trace(self, count: int, domain: Bounds, operands: Sequence[Any], scalars: Sequence[Any]) -> bool:
        """Whether so many tiles are run by the body's trace."""
        if not self._may_be_traced or self.learned.why_not:
            return False
        if count == 1:
            return _holds_large(operands) or (self.learned.busy and self._pays_in_one(domain, scalars))
        return count >= (2 if self.learned.repeats(self.site.function) else _MANY)

    def _may_pay_one_day(self, domain: Bounds) -> bool:
        """Whether the trace of a call in one piece may save more than it takes to find it, once there were many."""
        learned = self.learned
        if not self._may_be_traced or learned.busy or learned.why_not or math.prod(sizes_of(domain)) < _FEWEST:
            return False
        return learned.repeats(self.site.function)

    def _pays_in_one(self, domain: Bounds, scalars: Sequence[Any]) -> bool:
        """Whether it does."""
        elements = math.prod(sizes_of(domain))
        if elements < _FEWEST or self.learned.restless or not self.learned.repeats(self.site.function):
            return False
        studied, _ = self._dry_run(scalars)
        # One step less saves little: what goes through the cache is mostly operands and results.
        return studied is not None and studied.saves(elements) >= _SAVED * (1 + (studied.saved == 1))

    def fixed(self, domain: Bounds, operands: Sequence[Any], scalars: Sequence[Any]) -> bool:
        """Whether all calls over this domain run the body on the whole."""
        if self.candidate(domain) or self._may_pay_one_day(domain) or self._by_trace(1, domain, operands, scalars):
            return False
        if self.site.plan.windowed and self.bordered and (forced or self._copied(domain) >= _STRIP):
            return False
        if self.may_be_dear(domain) and not all(isinstance(v, _NUMBERS) for v in scalars):
            return False  # another value may be a number of steps
        return not self.dear(domain, scalars)

    def for_one_task(self, domain: Bounds, scalars: Sequence[Any]) -> bool:
        """Whether a call does so little that one of Legate's tasks takes less time for it than several."""
        sizes, volumes = sizes_of(domain), self.volumes
        if self._computes or not sizes or 0 in sizes:
            return False
        moved = sum(volumes.parts(sizes))
        if moved >= costs.FOR_SEVERAL:
            return False
        if not all(isinstance(v, _NUMBERS) for v in scalars):
            return False  # another value may be a number of steps
        if moved < _STUDIED:
            return True
        cost = self._cost_about(scalars)
        return cost is not None and costs.for_one_task(volumes, sizes, cost)

    def borders(self, domain: Bounds, scalars: Sequence[Any]) -> tuple[Bounds, Sequence[Bounds]]:
        """What is cut further, and strips of it that run alone, so that only their windows are padded."""
        if not self.bordered:
            return domain, ()
        inside, strips = borders(domain, self.site.plan.operands)
        if not forced:
            measured = self.measured(scalars)
            if measured is None or not self._pays(domain, inside, strips, measured.cost):
                return domain, ()
        return inside, strips

    def _pays(self, domain: Bounds, inside: Bounds, strips: Sequence[Bounds], cost: Cost) -> bool:
        """Whether strips save more copies than they cost, with all that is made anew in each of them."""
        at_once, *apart = [costs.traffic(self.volumes, sizes_of(r), cost) for r in (domain, inside, *strips)]
        saved = self._copied(domain) - sum(map(self._copied, strips))
        return saved - (sum(apart) - at_once) >= (_STRIP + costs.python(cost)) * len(strips)

    def _copied(self, region: Bounds) -> int:
        """The bytes of a tile's windows that go beyond their arrays."""
        return sum(
            np.dtype(dtype).itemsize * math.prod(layout.held_shape(region))
            for layout, dtype in zip(self.site.plan.operands, self.dtypes, strict=True)
            if layout.cut(region, region)[1]
        )

    def candidate(self, domain: Bounds) -> bool:
        """Whether calls over this domain may be cut; says no to small ones at little cost."""
        sizes, volumes, cache = sizes_of(domain), self.volumes, self.cache
        if not self.cut or not sizes or is_empty(domain):
            return False
        if not (forced or costs.large_enough(volumes, sizes, cache)):
            return False
        order = costs.order_of(volumes, sizes, fortran=False)
        return costs.count(sizes, costs.tile_sizes(volumes, sizes, costs.guess(volumes), cache, order)) > 1

    def dear(self, domain: Bounds, scalars: Sequence[Any]) -> bool:
        """Whether it pays to cut a call on few bytes: for all that it makes of them, or computes."""
        if not self.may_be_dear(domain):
            return False
        return self._spills(domain, scalars) or self._for_threads(domain, scalars).tile is not None

    def _spills(self, domain: Bounds, scalars: Sequence[Any]) -> bool:
        """Whether the last level of the cache does not hold what the body makes."""
        cost = self._cost_about(scalars) if self.may_be_dear(domain) else None
        return cost is not None and costs.spills(self.volumes, sizes_of(domain), cost, self.cache)

    def _for_threads(
        self, domain: Bounds, scalars: Sequence[Any], threads: int = costs.PIECES, *, order: str = "C"
    ) -> Cuts:
        """The cuts of a call that gains nothing by the cache."""
        cost = self._cost_about(scalars) if self.threaded else None
        exact = cost is not None and not rounds(cost, order) and not self._combines
        tile = None
        # What does not depend on the cuts to the last bits can stay whole for a single thread.
        if self.threaded and (self._computes or (cost is not None and (not exact or processors() > 1))):
            told, most = None if self._computes else cost, max(2, threads) if exact else costs.PIECES
            tile = costs.tile_for_threads(self.volumes, sizes_of(domain), told, most, fortran=order == "F")
        return Cuts(tile, thin=False, shared=True, steps=0, spare=exact)

    def may_be_dear(self, domain: Bounds) -> bool:
        """Whether a dry run is to tell that."""
        sizes = sizes_of(domain)
        if not (self.cut and sizes) or 0 in sizes:
            return False
        return self._computes or sum(self.volumes.parts(sizes)) >= _STUDIED

    def _cost_about(self, scalars: Sequence[Any]) -> Cost | None:
        """What the body costs on arrays of about these extents, so that not every one of many shapes has a dry run."""
        plan, kept = self.site.plan, self.learned.dry_runs
        scalars = coarse(scalars, self._exact)
        whole = [n or 0 for o in self.volumes.layouts for a, n in zip(o.axes, o.shape, strict=True) if a == WHOLE]
        about = whole if self._sized else map(rounded, whole)
        key = "about", *map(rounded, plan.extents), *about, scalars_key(scalars, integers=True)
        if key not in kept:
            site = self.site._replace(plan=plan.about(unsplit=not self._sized))
            kept[key] = self._measured_on(site, scalars)
        measured: Measured | None = kept[key] or self.measured(scalars)  # extents may have to fit each other
        return None if measured is None else measured.cost

    def cuts(
        self, domain: Bounds, operands: Sequence[Any], scalars: Sequence[Any], threads: int = costs.PIECES
    ) -> Cuts:
        """How a call on these arrays is cut, if it is for threads alone, for so many."""
        sizes, volumes, cache = sizes_of(domain), self.volumes, self.cache
        order = order_of(operands)
        if not (self.candidate(domain) or self._spills(domain, scalars)):
            return self._for_threads(domain, scalars, threads, order=order)
        studied, measured = self._dry_run(scalars)
        cost, steps = costs.guess(volumes), 0
        if measured is not None:
            itemsizes = [np.dtype(d).itemsize for d in (*self.dtypes, *measured.dtypes)]
            volumes, cost = Volumes(self.site.plan, itemsizes), measured.cost
        if studied is not None:
            cost, steps = studied.cost, studied.steps
        indices = costs.order_of(volumes, sizes, fortran=order == "F")
        made = self._made(volumes, sizes, cost)
        tile = costs.tile_sizes(volumes, sizes, cost, cache if made > 1 else _STREAMED * cache, indices)
        tiles = costs.count(sizes, tile)
        pays = (steps and self._by_trace(tiles, domain, operands, scalars)) or costs.spills(volumes, sizes, cost, cache)
        if tiles == 1 or not (forced or (pays and costs.worth_while(volumes, sizes, tile, cost))):
            return self._for_threads(domain, scalars, threads, order=order)
        calls = cost.calls * -(-tiles // 2)
        shared = costs.traffic(volumes, sizes, cost) >= _SHARED * (1 + (steps == 1)) * cache
        shared = shared or costs.worth_threads(costs.computing(sizes, cost), calls) > 1
        return Cuts(tile, thin=made <= _THIN and not rounds(cost, order), shared=bool(forced) or shared, steps=steps)

    def measured(self, scalars: Sequence[Any]) -> Measured | None:
        """What the body makes besides its arrays; None where it does not run on stand-ins."""
        return self._dry_run(scalars)[1]

    def _made(self, volumes: Volumes, sizes: Sequence[int], cost: Cost) -> float:
        """What the body makes, as a multiple of its results."""
        results = sum(volumes.parts(sizes)[len(self.dtypes) :])
        return cost.made(sizes) / max(1, results)

    def _dry_run(self, scalars: Sequence[Any]) -> tuple[Studied | None, Measured | None]:
        """What a dry run tells, of a trace and else; the same for all calls with the same stand-ins."""
        scalars = coarse(scalars, self._exact)
        kept, alike = self.learned.dry_runs, (*self._stand_ins, scalars_key(scalars, integers=True))
        found: tuple[Studied | None, Measured | None] | None = kept.get(alike)
        if found is None:
            studied = self.traced.study(scalars) if self.traced is not None else None
            measured = self._measured_on(self.site, scalars) if studied is None else studied.measured
            found = kept[alike] = studied, measured
        return found

    @cached_property
    def _stand_ins(self) -> tuple[Any, ...]:
        """What decides what a dry run sees."""
        from xpdispatch.running.counting import counted_region

        plan = self.site.plan.seen
        region = counted_region(plan)
        sizes = sizes_of(region)
        shapes = [*[o.held_shape(region) for o in plan.operands], *[r.tile_shape(sizes) for r in plan.results]]
        return region, *shapes, plan.extents if self.site.body.wants_tile else ()

    def _measured_on(self, site: Site, scalars: Sequence[Any]) -> Measured | None:
        from xpdispatch.running.counting import measure

        return measure(site, self.dtypes, self.given, scalars)


def _holds_large(operands: Sequence[Any]) -> bool:
    """Whether some operand is so large that it pays to trace the body."""
    for operand in operands:  # noqa: SIM110  any() of a generator takes four times as long, in every task
        if operand.nbytes >= _FETCHED:
            return True
    return False


def order_of(operands: Sequence[Any]) -> str:
    """How elements lie: "C" in rows, "F" in columns, "" otherwise."""
    rows = columns = True
    for operand in operands:
        if getattr(operand, "ndim", 0) > 1:
            flags = operand.flags
            rows, columns = rows and flags.c_contiguous, columns and flags.fnc
    return "C" if rows else "F" if columns else ""


def rounds(cost: Cost, order: str) -> bool:
    """Whether results may depend on the cuts to the last bits."""
    return cost.rounds or (cost.rows and order != "C")


def same_elements(operand: Layout, result: Layout) -> bool:
    """Whether a tile reads of an operand just the elements that it writes of a result with the same memory."""
    return (
        operand.axes == result.axes
        and operand.shape == result.shape
        and (operand.reaches == result.reaches or not any(r.below or r.above for r in operand.reaches))
    )
