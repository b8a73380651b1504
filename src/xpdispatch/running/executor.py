"""The tile executor: runs a body on the arrays of one call, in this process.

Calls on arrays of this process, Legate's leaf tasks (on the tile that Legate gave), dask's (on a block) and the checks
share it. There are three strategies, each made once for calls that are alike:

- :class:`Whole` runs the body once, and what it returns is the result;
- :class:`ByTile` runs it on one tile after another, or on several threads, and puts the results together;
- :class:`~xpdispatch.running.traced.Traced` does the same with NumPy's functions in place of the body, as far as its
  trace holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Lock
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from numpy import generic, ndarray

from xpdispatch.arrays.namespaces import device_of
from xpdispatch.arrays.reductions import combine
from xpdispatch.machine.blas import one_thread_each
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.machine.thread_pool import run_in_order
from xpdispatch.planning.tiles import Tile, is_empty
from xpdispatch.planning.windows import Bounds, Layout, sizes_of, slices_of
from xpdispatch.running.gathered import Gathered, carry_on
from xpdispatch.running.images import follow
from xpdispatch.running.keys import Keyed
from xpdispatch.running.parts import Seam, Window, allocated, buffer, part_of
from xpdispatch.running.results import Taking, apart, note, values_of, write
from xpdispatch.running.site import Site, inside_body

NOWHERE: Mapping[Any, Any] = MappingProxyType({})
NOTHING: tuple[Any, ...] = ()


class Work(NamedTuple):
    """How a call is cut, and where it lies.

    Attributes
    ----------
    domain : Bounds
        What the arrays span.
    regions : sequence of Bounds
        Tiles inside `domain`; empty ones are skipped.
    workers : int
        Threads for several tiles. The results are the same for any number, to the last bit.
    origins : mapping of int to tuple of int
        By operand, the first elements along its axes that are there, where these are others than `domain` says: of
        windows with all that stands in for what is outside, and of what is pointed to.
    seams : mapping of int to Seam
        By operand, what wraps around along an axis, where that is not among the elements that are there.
    cells : mapping of int to (tuple of int, tuple of int)
        By result with keys, the first of its cells that are there, and the shape of these, where that is not all.
    place : callable or None
        Looks up where the domain lies, where it begins at 0 for the body does the same wherever it lies.
    """

    domain: Bounds
    regions: Sequence[Bounds]
    workers: int = 1
    origins: Mapping[int, Sequence[int]] = NOWHERE
    seams: Mapping[int, Seam] = NOWHERE
    cells: Mapping[int, tuple[Sequence[int], Sequence[int]]] = NOWHERE
    place: Callable[[], Bounds] | None = None

    def placed(self, region: Bounds) -> Bounds:
        """Where a tile lies."""
        if self.place is None:
            return region
        return tuple((o + a, o + b) for (o, _), (a, b) in zip(self.place(), region, strict=True))


class Strategy(Protocol):
    """A way to run a body."""

    def run(self, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> list[Any]:
        """Run the body on the arrays of one call.

        Parameters
        ----------
        arguments : sequence of object
            One for each parameter of the body: of each operand its part of the domain, or all of it where it has a
            boundary.
        targets : sequence of (array or None)
            For each result without an operator where to write its part of the domain; None allocates. A result with
            an operator is never written but returned, for the caller to fold.
        work : Work

        Returns
        -------
        list of (array or None)
            One for each result, over the domain; None where every region was empty.
        """


class Runs:
    """What runs of a site's body have in common: how arguments are made ready, and what comes back is checked."""

    def __init__(self, site: Site, taking: Taking) -> None:
        plan, body = site.plan, site.body
        self.site = site
        self.checks, self.unshared = taking.checks, taking.unshared
        self.function, self.xp = body.positional(site.function), site.xp
        self.body = partial(self.function, self.xp)
        numpy = site.library == "numpy"
        places = list(enumerate(body.operand_at))
        self.plain = [at for p, at in places if p not in body.in_place] if numpy else []
        self.read_only = body.read_only
        self.windowed = [(p, at, plan.operands[p]) for p, at in places if plan.operands[p].reaches]
        self._windows = BoundedCache()
        """Of operands with halos or blocks, by the bounds of a tile, and what the arrays hold."""
        layouts = enumerate((*plan.operands, *plan.results)) if plan.keyed else ()
        self._latest: tuple[Bounds | None, list[tuple[int, int, Window]]] = None, []
        """The latest domain that was taken in one piece, and its windows."""
        found = [(n, o, Keyed(site, o, o.keys)) for n, o in layouts if o.keys]
        self.gathers = [(n, body.operand_at[n], keyed) for n, o, keyed in found if o.op is None]
        self.scatters = [(n - len(plan.operands), o, keyed) for n, o, keyed in found if o.op is not None]
        pointing = [keyed.pointing for _, _, keyed in self.scatters]
        self.same_keys = [pointing.index(keys) for keys in pointing]
        """For each of these the first whose keys are the same."""
        self.takes = bool(self.windowed or self.gathers)
        """Whether some operand's part of a tile is more than a slice."""
        self.seen = plan.seen
        self.writable = [(r, at, plan.results[r].op) for r, at in body.buffer_at.items()]
        self.wants_tile, self.images = body.wants_tile, bool(plan.images)
        self.places = not numpy  # arrays have a device
        self.single = body.results == 1

    def ready(self, arguments: Sequence[Any]) -> list[Any]:
        """The arguments, of which a body that writes an input fails instead of changing the caller's array."""
        found = [*arguments]
        for at in self.plain:
            view = found[at] = found[at].view(ndarray)
            if self.read_only:
                view.setflags(False)  # noqa: FBT003  to write; by name it takes twice as long
        return found

    def take(self, arguments: list[Any], region: Bounds, work: Work) -> None:
        """Put a region's parts of operands with halos, blocks or keys in their places."""
        origins, seams = work.origins, work.seams
        if self.gathers:
            try:
                sizes = sizes_of(region)
                for p, at, keyed in self.gathers:
                    arguments[at] = keyed.gather(arguments, arguments[at], sizes, origins.get(p))
            except Exception as error:
                note(error, self.site, work.placed(region))
                raise
        if not self.windowed:
            return
        last, windows = self._latest
        if origins or region is not last or region is not work.domain:
            windows = self._windows_of(region, work)
            if region is work.domain and not origins:
                self._latest = region, windows
        for p, at, window in windows:
            arguments[at] = window(self.site, arguments[at], seams.get(p))

    def _windows_of(self, region: Bounds, work: Work) -> list[tuple[int, int, Window]]:
        origins, seams = work.origins, work.seams
        key: tuple[Any, ...] = (region, work.domain)
        if origins:
            key = (*key, *origins.items(), *[seam.first for seam in seams.values()])
        found: list[tuple[int, int, Window]] | None = self._windows.get(key)
        if found is None:
            windows = [
                (p, at, Window(layout, region, work.domain, origins.get(p), seams.get(p)))
                for p, at, layout in self.windowed
            ]
            found = self._windows[key] = [w for w in windows if not w[2].is_all]
        return found

    def call(
        self,
        arguments: list[Any],
        work: Work,
        region: Bounds,
        shapes: Sequence[tuple[Any, ...]],
        targets: Sequence[Any],
        before: Callable[[], Sequence[Any]] | None = None,
        wait: Callable[[], None] | None = None,
    ) -> tuple[Sequence[Any], Mapping[int, Any]]:
        """Run the body on one tile: its values of all results, checked, and what it could write.

        `shapes` are those that the values must have; `before` gives the results of earlier tiles, once `wait` returns.
        """
        site = self.site
        buffers: Mapping[int, Any] = NOWHERE
        into: Sequence[tuple[int, Keyed, Any, Sequence[int]]] = NOTHING
        try:
            if self.writable:
                buffers = self._buffers(arguments, region, targets)
            if self.scatters:
                into = self._places(arguments, region, work)
            windows = follow(site, arguments, work.origins) if self.images else None
            if self.wants_tile:
                arguments = [self._tile(arguments, region, windows, targets), *arguments]
            returned = self.body(*arguments)
            if wait is not None:
                wait()
            earlier = None if before is None else before()
            if self.single:
                plain = type(returned) is ndarray or isinstance(returned, generic)
                value = returned if plain else values_of(site, returned, buffers)[0]
                value = self.checks[0](value, shapes[0], None if earlier is None else earlier[0], targets[0])
                for _, keyed, places, shape in into:
                    value = keyed.scatter(places, value, sizes_of(region), shape)
                return (value,), buffers
            returned = values_of(site, returned, buffers)
            values = []
            for r, check in enumerate(self.checks):  # a comprehension would make all that it names slower
                value = check(returned[r], shapes[r], None if earlier is None else earlier[r], targets[r])
                values.append(value)
            for r, keyed, places, shape in into:
                values[r] = keyed.scatter(places, values[r], sizes_of(region), shape)
        except Exception as error:
            note(error, site, work.placed(region))
            raise
        for target in targets:
            if target is not None:
                return apart(site, values, buffers, targets), buffers
        return values, buffers

    def _buffers(self, arguments: list[Any], region: Bounds, targets: Sequence[Any]) -> Mapping[int, Any]:
        """What the body may write, by result; put in the places of its parameters."""
        beside = self._arrays(arguments, targets) if self.places else NOTHING
        found = {}
        for r, at, op in self.writable:
            made = targets[r] if op is None else buffer(self.site, r, targets[r], region, beside)
            arguments[at] = found[r] = made
        return found

    def _tile(self, arguments: Sequence[Any], region: Bounds, windows: Any, targets: Sequence[Any]) -> Tile:
        device = device_of(self._arrays(arguments, targets)) if self.places else None
        return Tile(self.seen, region, self.xp, self.site.variant, windows, device)

    def _places(
        self, arguments: Sequence[Any], region: Bounds, work: Work
    ) -> Sequence[tuple[int, Keyed, Any, Sequence[int]]]:
        """For each result with keys the places of its values, and the shape that these are in.

        They are found before the body runs, which may ask for keys itself.
        """
        sizes = sizes_of(region)
        found: list[tuple[int, Keyed, Any, Sequence[int]]] = []
        for n, (r, layout, keyed) in enumerate(self.scatters):
            origin, shape = work.cells.get(r) or (None, layout.tile_shape(sizes))
            first = n if work.cells else self.same_keys[n]
            places = keyed.places(arguments, shape, sizes, origin) if first == n else found[first][2]
            found.append((r, keyed, places, shape))
        return found

    def _arrays(self, arguments: Sequence[Any], targets: Sequence[Any]) -> Sequence[Any]:
        """The arrays of the call, beside which others are made."""
        return [*(arguments[at] for at in self.site.body.operand_at), *targets]

    def shapes(self, region: Bounds) -> tuple[tuple[Any, ...], ...]:
        """The shapes that the body's values must have on a tile; None where only it knows."""
        return tuple([layout.tile_shape(sizes_of(region)) for layout in self.seen.results])


class Whole(Runs):
    """The body runs once, on the domain: what it returns is the result, without another copy."""

    def __init__(self, site: Site, taking: Taking) -> None:
        super().__init__(site, taking)
        # JAX arrays cannot be written: a buffer that the caller left out only has the shape and the dtype.
        self.stays = [layout.op is not None or site.library == "jax" for layout in site.plan.results]
        self.last: tuple[Bounds | None, tuple[tuple[Any, ...], ...]] = None, ()
        """The latest domain and the shapes of results over it, none where it is empty: most calls have the same."""

    def run(self, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> list[Any]:
        """One value for each result, over the domain; None where that is empty."""
        site, domain = self.site, work.domain
        last, shapes = self.last
        if last is not domain and last != domain:
            shapes = () if is_empty(domain) else self.shapes(domain)
            self.last = domain, shapes
        if not shapes:
            return [None if op else t for op, t in zip(self.stays, targets, strict=True)]
        token = inside_body.set(True)
        try:
            arguments = self.ready(arguments)
            if self.takes:
                self.take(arguments, domain, work)
            values, buffers = self.call(arguments, work, domain, shapes, targets)
        finally:
            inside_body.reset(token)
        results: list[Any] = []
        for r, value in enumerate(values):
            target = targets[r]
            if target is not None and not self.stays[r]:
                if value is not target:
                    write(site, target, value)
                results.append(target)
            elif buffers and value is buffers.get(r):
                results.append(value)
            else:
                others = (*buffers.values(), *results) if buffers or results else NOTHING
                results.append(self.unshared(value, arguments, others))
        return results


class ByTile(Runs):
    """The body runs on one tile after another, or on several threads."""

    def __init__(self, site: Site, taking: Taking) -> None:
        super().__init__(site, taking)
        plan, body = site.plan, site.body
        self.kept = [not layout.op for layout in plan.results]
        self.ordered = any(layout.combined or layout.concatenated for layout in plan.results)
        self.scans = any(layout.scan for layout in plan.results)
        # Most arrays of a call are cut alike: positions of parameters, and of results, by the indices of their axes.
        self.alike: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}
        for p, at in enumerate(body.operand_at):
            layout = plan.operands[p]
            if layout.axes and not layout.reaches:
                self.alike.setdefault(layout.axes, ([], []))[0].append(at)
        for r, layout in enumerate(plan.results):
            if layout.axes and not layout.reaches:
                self.alike.setdefault(layout.axes, ([], []))[1].append(r)
        self.blocked = [(r, layout) for r, layout in enumerate(plan.results) if layout.reaches]

    def run(self, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> list[Any]:
        """One value for each result, over the domain; None where every region was empty."""
        token = inside_body.set(True)
        try:
            return self.tiles(arguments, targets, work).run(work.workers)
        finally:
            inside_body.reset(token)

    def tiles(self, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> Tiles:
        """The tiles of one call, and their results as far as they are put together."""
        return Tiles(self, arguments, targets, work)


class Tiles:
    """Several tiles of one call, and their results as far as they are put together.

    The first tile says what the others must agree with, and so comes before they are checked. Each tile writes its
    part of the results without an operator, and of scans; what has an order is combined in the order of the tiles.
    """

    def __init__(self, runs: ByTile, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> None:
        self.runs, self.targets, self.work = runs, targets, work
        self.regions = [r for r in work.regions if not is_empty(r)]
        self.arguments = runs.ready(arguments)
        self.results = [t if kept else None for kept, t in zip(runs.kept, targets, strict=True)]
        self.gathered = Gathered()
        self.allocating = Lock()
        self.starts = [start for start, _ in work.domain]
        self.written = any([t is not None for t in targets])  # noqa: C419  a list is quicker, at every call
        self.shapes: dict[tuple[int, ...], tuple[tuple[Any, ...], ...]] = {}  # of results, by the sizes of a tile

    def run(self, workers: int) -> list[Any]:
        """Compute all tiles, and put the results together."""
        count = len(self.regions)
        if workers > 1 and count > 1:
            run_in_order(count, self.compute, self.combine if self.runs.ordered else None, workers)
        elif count > 1:
            with one_thread_each:  # threads of BLAS would start and stop for each tile
                for k in range(count):
                    self.combine(k, self.compute(k))
        elif count:
            self.combine(0, self.compute(0))
        self.gathered.finish(self.runs.site, self.results, self.work.domain)
        if self.runs.scans and count > 1:
            carry_on(self.runs.site, self.results, self.regions, self.work.domain, workers)
        return self.results

    # What holds Python's lock in a tile is what other threads wait for, so that every line is to be cheap.

    def parts(self, region: Bounds) -> tuple[list[Any], dict[tuple[int, ...], tuple[slice, ...]]]:
        """The arguments of a tile, and the slices that cut arrays by the indices of their axes."""
        work = self.work
        arguments = list(self.arguments)
        chosen = {}
        if region is not work.domain:
            slices = slices_of(region, self.starts)
            for axes, (positions, _) in self.runs.alike.items():
                own = chosen[axes] = tuple([slices[a] for a in axes])
                for at in positions:
                    arguments[at] = arguments[at][own]
        if self.runs.takes:
            self.runs.take(arguments, region, work)
        return arguments, chosen

    def own(
        self, arrays: Sequence[Any], chosen: Mapping[tuple[int, ...], tuple[slice, ...]], region: Bounds
    ) -> list[Any]:
        """A tile's part of arrays that are results, or where they go; None where there is none."""
        found = list(arrays)
        if region is self.work.domain:
            return found
        for axes, (_, positions) in self.runs.alike.items():
            for r in positions:
                if found[r] is not None:
                    found[r] = found[r][chosen[axes]]
        for r, layout in self.runs.blocked:
            if found[r] is not None:
                found[r] = part_of(found[r], layout, region, self.work.domain)
        return found

    def compute(self, k: int, after_first: Callable[[], None] | None = None) -> Sequence[Any]:
        """Run the body on tile `k`, and write its part of the results without an operator."""
        site, region = self.runs.site, self.regions[k]
        arguments, chosen = self.parts(region)
        targets = self.own(self.targets, chosen, region) if self.written else self.targets
        values, buffers = self.runs.call(
            arguments, self.work, region, self._shapes(region), targets, self.before, after_first if k else None
        )
        layouts = site.plan.results
        if any([a is None for a in self.results]):  # noqa: C419  a list is quicker, at every tile
            self._allocate(layouts, values)
        parts = self.own(self.results, chosen, region)
        for r, layout in enumerate(layouts):
            if not (layout.combined or layout.concatenated) and (layout.scan or values[r] is not buffers.get(r)):
                write(site, parts[r], values[r])
        if k == 0:
            self._combine(0, values)
        return values

    def _shapes(self, region: Bounds) -> tuple[tuple[Any, ...], ...]:
        sizes = sizes_of(region)
        found = self.shapes.get(sizes)
        if found is None:
            found = self.shapes[sizes] = self.runs.shapes(region)
        return found

    def _allocate(self, layouts: Sequence[Layout], values: Sequence[Any]) -> None:
        with self.allocating:  # while the first tile runs here, others may have run by their trace
            for r, (layout, value) in enumerate(zip(layouts, values, strict=True)):
                if self.results[r] is None and not (layout.concatenated or (layout.op == "fold" and not layout.scan)):
                    self.results[r] = allocated(self.runs.site, layout, value, self.work.domain)

    def before(self) -> Sequence[Any]:
        """The results of earlier tiles, for checks."""
        return self.gathered.before(self.results)

    def combine(self, k: int, values: Sequence[Any]) -> None:
        """Take tile `k`'s values of the results whose order matters, when those before it are taken."""
        if k and self.runs.ordered:
            self._combine(k, values)

    def _combine(self, k: int, values: Sequence[Any]) -> None:
        region, runs = self.regions[k], self.runs
        for r, (layout, value) in enumerate(zip(runs.site.plan.results, values, strict=True)):
            if layout.scan:
                continue
            if layout.concatenated or layout.op == "fold":
                self.gathered.add(r, region, runs.unshared(value, self.arguments, values[:r]))
            elif layout.op:
                combine(layout.op, part_of(self.results[r], layout, region, self.work.domain), value)
