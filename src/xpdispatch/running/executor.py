"""The tile executor: runs a plan's tiles in this process, one after another or on several threads.

Calls on arrays of this process, Legate's leaf tasks (on the tile that Legate gave) and the checks share it. What is
true of one is then true of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from xpdispatch.arrays.namespaces import share_memory
from xpdispatch.arrays.reductions import combine
from xpdispatch.machine.threads import run_in_order
from xpdispatch.planning.body import inside_body
from xpdispatch.planning.plan import Layout
from xpdispatch.planning.tiles import Region, Tile, is_empty, selection
from xpdispatch.running.fusing import Programs, may_be_programs
from xpdispatch.running.gathered import Gathered
from xpdispatch.running.images import NOWHERE, follow
from xpdispatch.running.parts import allocated, buffer, operand_part, part_of, protected, window_part
from xpdispatch.running.returned import checked, note, unshared, values_of, write
from xpdispatch.running.short import make_quick
from xpdispatch.running.site import Site

_LARGE = 1 << 20
"""Bytes of an operand from which on it pays to write down what the body does, where that saves a copy of the result."""

_MANY = 8
"""Tiles from which on it pays: it takes as long as the Python of a few tiles."""

_FETCHED = 32 << 20
"""The same where results are new: the system hands out so much, or more, page by page, and results have their own."""


def run(
    site: Site,
    operands: Sequence[Any],
    targets: Sequence[Any],
    scalars: Sequence[Any],
    domain: Region,
    regions: Sequence[Region],
    workers: int = 1,
    origins: Mapping[int, int] = NOWHERE,
) -> list[Any]:
    """Run the body on every region and put the results together.

    Parameters
    ----------
    site : Site
    operands : sequence of array
        Each operand's part of `domain`, with its halo as far as the array goes.
    targets : sequence of (array or None)
        For each result without an operator where to write its part of `domain`; None allocates. A result
        with an operator is never written but returned, for the caller to fold.
    scalars : sequence of object
    domain : Region
        What the arrays span.
    regions : sequence of Region
        Tiles inside `domain`; empty ones are skipped.
    workers : int
        Threads for several tiles. The results are the same for any number, to the last bit.
    origins : mapping of int to int
        By position the first cell of the operands that are pointed to, where they are not whole.

    Returns
    -------
    list of (array or None)
        One for each result, over `domain`; None where every region was empty.
    """
    token = inside_body.set(True)
    try:
        operands = protected(site, operands)
        if len(regions) == 1 and regions[0] == domain:
            return _run_whole(site, operands, targets, scalars, domain, origins)
        tiles = _Tiles(site, operands, targets, scalars, domain, [r for r in regions if not is_empty(r)], origins)
        if workers > 1 and len(tiles.regions) > 1:
            run_in_order(len(tiles.regions), tiles.compute, tiles.combine if tiles.ordered else None, workers)
        else:
            for k in range(len(tiles.regions)):
                tiles.combine(k, tiles.compute(k))
        tiles.gathered.finish(site, tiles.results, domain)
        return tiles.results
    finally:
        inside_body.reset(token)


def _run_whole(
    site: Site,
    operands: Sequence[Any],
    targets: Sequence[Any],
    scalars: Sequence[Any],
    region: Region,
    origins: Mapping[int, int],
) -> list[Any]:
    """The one tile that is the whole domain: what the body returns is the result, without another copy."""
    if is_empty(region):
        return [None if layout.op else t for layout, t in zip(site.plan.results, targets, strict=True)]
    if _is_large(site, operands, targets) and may_be_programs(site, operands, targets):
        programs = Programs(site, operands, scalars, list(targets), region, (region,), Lock())
        if programs.run(0):
            return programs.results
    buffers = {r: buffer(site, r, targets[r], region) for r in site.body.buffers} if site.body.buffers else {}
    if site.plan.windowed and not site.cut:
        operands = [operand_part(site, a, o, region, region) for a, o in zip(operands, site.plan.operands, strict=True)]
    if site.library == "cupy":
        from xpdispatch.running.generated import results_of  # which others need not import

        generated = results_of(site, [b - a for a, b in region], operands, buffers, targets, scalars)
        if generated is not None:
            return generated
    values = _call(site, operands, buffers, scalars, region, targets, origins)
    results: list[Any] = []
    for r, (layout, value) in enumerate(zip(site.plan.results, values, strict=True)):
        if buffers and value is buffers.get(r):
            results.append(value)
        elif layout.op or targets[r] is None:
            results.append(unshared(site, value, (*operands, *buffers.values(), *results)))
        else:
            write(site, targets[r], value)
            results.append(targets[r])
    return results


def _is_large(site: Site, operands: Sequence[Any], targets: Sequence[Any]) -> bool:
    """Whether a program would save more than it takes to write it down."""
    if not site.may_fuse:
        return False
    least = _FETCHED if any(t is None for t in targets) else _LARGE
    return any(a.nbytes >= least for a in operands)


class _Tiles:
    """Several tiles of one call, and their results as far as they are put together.

    The first tile says what the others must agree with, and so comes before they are checked. Each tile writes its
    part of the results without an operator; what has an order is combined in the order of the tiles.
    """

    def __init__(
        self,
        site: Site,
        operands: Sequence[Any],
        targets: Sequence[Any],
        scalars: Sequence[Any],
        domain: Region,
        regions: Sequence[Region],
        origins: Mapping[int, int],
    ) -> None:
        self.site, self.operands, self.targets, self.scalars = site, operands, targets, scalars
        self.domain, self.regions, self.origins = domain, regions, origins
        layouts = site.plan.results
        self.results = [None if layout.op else t for layout, t in zip(layouts, targets, strict=True)]
        self.gathered = Gathered()
        self.ordered = any(layout.op or layout.joined for layout in layouts)
        self._part = window_part if site.cut else operand_part
        self._plain = [o for o in (*site.plan.operands, *layouts) if not o.reaches and o.axes]
        self._written = any(t is not None for t in targets)
        self._quick = make_quick(site, operands, scalars, self.results, targets[0], domain, regions)
        self._allocating = Lock()
        self._programs: Programs | None = None
        if len(regions) >= _MANY and may_be_programs(site, operands, targets):
            self._programs = Programs(site, operands, scalars, self.results, domain, regions, self._allocating)

    def compute(self, k: int, after_first: Callable[[], None] | None = None) -> Sequence[Any]:
        """Run the body on tile `k`, and write its part of the results without an operator."""
        # What holds Python's lock here is what other threads wait for, so every line is to be cheap.
        if self._programs is not None and self._programs.run(k):
            return ()
        wait = after_first if k else None
        return self._quick(k, wait) if k and self._quick is not None else self._by_body(k, wait)

    def _by_body(self, k: int, wait: Callable[[], None] | None) -> Sequence[Any]:
        site, region, domain = self.site, self.regions[k], self.domain
        layouts = site.plan.results
        chosen: dict[tuple[int, ...], tuple[slice, ...]] = {}  # most arrays of a call are cut alike
        for layout in self._plain:
            if layout.axes not in chosen:
                chosen[layout.axes] = selection(layout, region, domain)

        def part(array: Any, layout: Layout) -> Any:
            if not layout.axes:
                return array
            return part_of(array, layout, region, domain) if layout.reaches else array[chosen[layout.axes]]

        parts = [
            self._part(site, a, o, region, domain) if o.reaches else part(a, o)
            for a, o in zip(self.operands, site.plan.operands, strict=True)
        ]
        written: Sequence[Any] = self.targets
        if self._written:
            written = [None if t is None else part(t, o) for t, o in zip(self.targets, layouts, strict=True)]
        buffers = {r: buffer(site, r, written[r], region) for r in site.body.buffers} if site.body.buffers else {}
        values = _call(site, parts, buffers, self.scalars, region, written, self.origins, self._before, wait)
        for r, (layout, value) in enumerate(zip(layouts, values, strict=True)):
            if layout.joined or layout.op == "fold":
                continue
            with self._allocating:  # while the first tile runs here, others may be run as programs
                if self.results[r] is None:
                    self.results[r] = allocated(site, layout, value, domain)
            if not layout.op and value is not buffers.get(r):
                write(site, part(self.results[r], layout), value)
        if k == 0:
            self._combine(0, values)
        return values

    def _before(self) -> Sequence[Any]:
        return self.gathered.before(self.results)

    def combine(self, k: int, values: Sequence[Any]) -> None:
        """Take tile `k`'s values of the results whose order matters, when those before it are taken."""
        if k and self.ordered:
            self._combine(k, values)

    def _combine(self, k: int, values: Sequence[Any]) -> None:
        region = self.regions[k]
        for r, (layout, value) in enumerate(zip(self.site.plan.results, values, strict=True)):
            if layout.joined or layout.op == "fold":
                self.gathered.add(r, region, value)
            elif layout.op:
                combine(layout.op, part_of(self.results[r], layout, region, self.domain), value)


def _call(
    site: Site,
    operands: Sequence[Any],
    buffers: dict[int, Any],
    scalars: Sequence[Any],
    region: Region,
    targets: Sequence[Any],
    origins: Mapping[int, int],
    before: Callable[[], Sequence[Any]] | None = None,
    wait: Callable[[], None] | None = None,
) -> Sequence[Any]:
    """Call the body and check what it returns; `before` gives the results of earlier tiles, once `wait` returns."""
    try:
        operands, windows = follow(site, operands, origins) if site.plan.images else (operands, None)
        tile = Tile(site.plan, region, site.xp, site.variant, windows) if site.body.wants_tile else None
        returned = site.body.call(site.function, site.xp, tile, operands, buffers, scalars)
        sizes = [stop - start for start, stop in region]
        if wait is not None:
            wait()
        earlier = (None,) * len(targets) if before is None else before()
        if site.body.results == 1 and type(returned) is np.ndarray:
            return (checked(site, 0, returned, sizes, earlier[0], targets[0]),)
        values = [
            checked(site, r, got, sizes, earlier[r], targets[r])
            for r, got in enumerate(values_of(site, returned, buffers))
        ]
    except Exception as error:
        note(error, site, region)
        raise
    return _apart(site, values, buffers, targets) if len(values) > 1 else values


def _apart(site: Site, values: Sequence[Any], buffers: dict[int, Any], targets: Sequence[Any]) -> list[Any]:
    """The values, copied where writing one result would change another before it is written itself."""
    written = [t for t, layout in zip(targets, site.plan.results, strict=True) if t is not None and layout.op is None]
    return [
        site.xp.asarray(v, copy=True)
        if v is not buffers.get(r) and any(share_memory(site.library, v, t) for t in written)
        else v
        for r, v in enumerate(values)
    ]
