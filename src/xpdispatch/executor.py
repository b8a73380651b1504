"""The tile executor: runs a plan's tiles, one after another, in this process.

Calls on arrays of this process, Legate's leaf tasks (on the tile that Legate gave) and the checks share it. What is
true of one is then true of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import numpy as np

from xpdispatch.gathered import Gathered
from xpdispatch.images import NOWHERE, follow
from xpdispatch.namespaces import share_memory
from xpdispatch.parts import allocated, buffer, operand_part, part_of, protected
from xpdispatch.reductions import combine
from xpdispatch.returned import add_notes, checked, unshared, values_of, write
from xpdispatch.site import Site
from xpdispatch.tiling import Region, Tile, describe, is_empty

inside_body: ContextVar[bool] = ContextVar("inside_body", default=False)
"""True while a body runs: kernels called there stay in this process, on whole arrays."""


def run(
    site: Site,
    operands: Sequence[Any],
    targets: Sequence[Any],
    scalars: Sequence[Any],
    domain: Region,
    regions: Sequence[Region],
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
        results = [None if layout.op else t for layout, t in zip(site.plan.results, targets, strict=True)]
        gathered = Gathered()
        for region in regions:
            if not is_empty(region):
                _run_tile(site, operands, targets, results, gathered, scalars, domain, region, origins)
        gathered.finish(site, results, domain)
        return results
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
    buffers = {r: buffer(site, r, targets[r], region) for r in site.body.buffers} if site.body.buffers else {}
    if site.plan.windowed and not site.cut:
        operands = [operand_part(site, a, o, region, region) for a, o in zip(operands, site.plan.operands, strict=True)]
    values = _call(site, operands, buffers, scalars, region, targets, (None,) * len(targets), origins)
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


def _run_tile(
    site: Site,
    operands: Sequence[Any],
    targets: Sequence[Any],
    results: list[Any],
    gathered: Gathered,
    scalars: Sequence[Any],
    domain: Region,
    region: Region,
    origins: Mapping[int, int],
) -> None:
    """One tile of several: take its part of every array, and store or combine what the body returns."""
    layouts = site.plan.results
    parts = [operand_part(site, a, o, region, domain) for a, o in zip(operands, site.plan.operands, strict=True)]
    written = [None if t is None else part_of(t, o, region, domain) for t, o in zip(targets, layouts, strict=True)]
    buffers = {r: buffer(site, r, written[r], region) for r in site.body.buffers}
    values = _call(site, parts, buffers, scalars, region, written, gathered.before(results), origins)
    for r, (layout, value) in enumerate(zip(layouts, values, strict=True)):
        if layout.joined or layout.op == "fold":
            gathered.add(r, region, value)
            continue
        if results[r] is None:
            results[r] = allocated(site, layout, value, domain)
        if layout.op:
            combine(layout.op, part_of(results[r], layout, region, domain), value)
        elif value is not buffers.get(r):
            write(site, part_of(results[r], layout, region, domain), value)


def _call(
    site: Site,
    operands: Sequence[Any],
    buffers: dict[int, Any],
    scalars: Sequence[Any],
    region: Region,
    targets: Sequence[Any],
    before: Sequence[Any],
    origins: Mapping[int, int],
) -> Sequence[Any]:
    """Call the body and check what it returns; `before` has the results of earlier tiles."""
    try:
        operands, windows = follow(site, operands, origins) if site.plan.images else (operands, None)
        tile = Tile(site.plan, region, site.xp, site.variant, windows) if site.body.wants_tile else None
        returned = site.body.call(site.function, site.xp, tile, operands, buffers, scalars)
        sizes = [stop - start for start, stop in region]
        if site.body.results == 1 and type(returned) is np.ndarray:
            return (checked(site, 0, returned, sizes, before[0], targets[0]),)
        values = [
            checked(site, r, got, sizes, before[r], targets[r])
            for r, got in enumerate(values_of(site, returned, buffers))
        ]
    except Exception as error:
        _note(error, site, region)
        raise
    return _apart(site, values, buffers, targets) if len(values) > 1 else values


def _note(error: Exception, site: Site, region: Region) -> None:
    """Say where the exception comes from."""
    notes = []
    with suppress(Exception):  # an exception whose text cannot be had
        if isinstance(error, ValueError) and "read-only" in str(error):
            notes.append("Operands are read-only in a body: copy first, or write x[i] -> x[i] to update in place")
    notes.append(f"in kernel {site.body.name!r}, tile {describe(site.plan, region)}, variant {site.variant}")
    add_notes(error, notes)


def _apart(site: Site, values: Sequence[Any], buffers: dict[int, Any], targets: Sequence[Any]) -> list[Any]:
    """The values, copied where writing one result would change another before it is written itself."""
    written = [t for t, layout in zip(targets, site.plan.results, strict=True) if t is not None and layout.op is None]
    return [
        site.xp.asarray(v, copy=True)
        if v is not buffers.get(r) and any(share_memory(site.library, v, t) for t in written)
        else v
        for r, v in enumerate(values)
    ]
