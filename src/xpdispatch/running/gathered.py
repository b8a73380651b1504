"""Partial results for which the order of tiles matters: parts of ``?`` results, folds, and tiles of scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from xpdispatch.arrays.namespaces import copy_of, share_memory
from xpdispatch.arrays.reductions import combine, combined
from xpdispatch.errors import ResultError
from xpdispatch.machine.thread_pool import run_in_order
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.windows import WHOLE, Bounds, Layout
from xpdispatch.running.parts import full_shape, part_of, read_only
from xpdispatch.running.results import add_notes, as_array, write
from xpdispatch.running.site import Site


class Gathered:
    """Partial results that are put together when all tiles have run, in the order of the tiles' places.

    These are the parts of ``?`` results and of folds, for which the order matters.
    """

    def __init__(self) -> None:
        self.parts: dict[int, list[tuple[Bounds, Any]]] = {}

    def add(self, r: int, region: Bounds, value: Any) -> None:
        """Keep what a tile gave for a result."""
        self.parts.setdefault(r, []).append((region, value))

    def before(self, results: Sequence[Any]) -> Sequence[Any]:
        """The results so far, for checks: here a part of an earlier tile stands for the result."""
        if not self.parts:
            return results
        return [self.parts[r][0][1] if r in self.parts else value for r, value in enumerate(results)]

    def finish(self, site: Site, results: list[Any], domain: Bounds) -> None:
        """Put together what was kept, into `results`."""
        layouts = site.plan.results
        for r in [r for r in self.parts if layouts[r].concatenated]:
            values = [value for _, value in sorted(self.parts.pop(r), key=_place)]
            joined = site.xp.concat(values, axis=0)
            if results[r] is None:
                results[r] = joined
            else:
                write(site, results[r], joined)
        if not self.parts:
            return
        folds = list(self.parts)
        columns = [[value for _, value in self.parts[r]] for r in folds]
        places = [region for region, _ in self.parts[folds[0]]]
        kept = {a for a in layouts[folds[0]].axes if a != WHOLE}
        groups: dict[Bounds, list[tuple[Bounds, tuple[Any, ...]]]] = {}
        for region, *values in zip(places, *columns, strict=True):
            key = tuple(r for a, r in enumerate(region) if a in kept)
            groups.setdefault(key, []).append((region, tuple(values)))
        for members in groups.values():
            region = members[0][0]
            folded = fold(site, folds, [values for _, values in sorted(members, key=_place)])
            for r, value in zip(folds, folded, strict=True):
                if results[r] is None:
                    shape = full_shape(layouts[r], value.shape, domain)
                    results[r] = site.xp.empty(shape, dtype=value.dtype)
                write(site, part_of(results[r], layouts[r], region, domain), value)


def _place(part: tuple[Bounds, Any]) -> Bounds:
    return part[0]


def fold(site: Site, folds: Sequence[int], parts: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Merge partial results, from the first to the last, by the user's ``merge``.

    Parameters
    ----------
    site : Site
    folds : sequence of int
        Positions of the folded results.
    parts : sequence of tuple of array
        For each tile its value of each folded result.

    Raises
    ------
    ResultError
        What ``merge`` returns is not of the shape and dtype of what it was given.
    """
    total = parts[0]
    for part in parts[1:]:
        total = _merge(site, folds, total, part, total)
    return total


def _merge(
    site: Site, folds: Sequence[int], left: tuple[Any, ...], right: tuple[Any, ...], like: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Both merged, with the shapes and dtypes of `like`."""
    merge = site.body.merge
    assert merge is not None  # noqa: S101  a kernel with fold has one
    single = len(folds) == 1
    try:
        merged = merge(site.xp, left[0], right[0]) if single else merge(site.xp, left, right)
        values = (merged,) if single else merged
        if not isinstance(values, tuple | list) or len(values) != len(folds):
            raise ResultError(
                f"fold= returned a {type(merged).__name__}, expected a tuple of {len(folds)} arrays",
                hint="return a tuple from merge(xp, a, b), as it gets them where several results are folded",
            )
        return tuple(
            _merged(site, site.plan.results[r], value, one) for r, value, one in zip(folds, values, like, strict=True)
        )
    except Exception as error:
        notes = [f"in fold= of kernel {site.body.name!r}, variant {site.variant}"]
        if isinstance(error, ValueError) and "read-only" in str(error):
            notes.insert(0, "What fold= gets of a scan is used again, and read-only: return new arrays")
        add_notes(error, notes)
        raise


def _merged(site: Site, layout: Layout, value: Any, like: Any) -> Any:
    value = as_array(site, layout, value)
    if layout.scan and value.ndim == like.ndim:  # a merge may hand on what stands before as it is
        with suppress(ValueError):
            value = site.xp.broadcast_to(value, like.shape)
    if value.shape != like.shape or value.dtype != like.dtype:
        raise ResultError(
            f"fold= returned shape {tuple(value.shape)} and dtype {value.dtype} for result {layout.name!r}, "
            f"expected {tuple(like.shape)} and {like.dtype}, as what it was given",
            hint="let merge(xp, a, b) return what it gets: two partial results made one",
        )
    return value


# -- scans: each tile's own, and what stands before it ------------------------------------------------------------

Part = tuple[Bounds, tuple[Any, ...]]
"""A tile, and something of each of the results that are scanned together."""


def scanned_together(plan: Plan) -> Iterator[tuple[int, ...]]:
    """The results that are scans: those under an operator one by one, all folds together."""
    scans = [r for r, layout in enumerate(plan.results) if layout.scan]
    yield from ((r,) for r in scans if plan.results[r].op != "fold")
    if folds := tuple([r for r in scans if plan.results[r].op == "fold"]):
        yield folds


def carry_on(site: Site, results: Sequence[Any], regions: Sequence[Bounds], domain: Bounds, workers: int) -> None:
    """Make scans of results in which each tile has its own: combine it with what stands before it.

    Parameters
    ----------
    site : Site
    results : sequence of array
        Those that are scans are changed in place.
    regions : sequence of Bounds
        The tiles, which form a grid.
    domain : Bounds
        What the results span.
    workers : int
        Threads; the answer is the same for any number.
    """
    for scans in scanned_together(site.plan):
        layouts = [site.plan.results[r] for r in scans]
        parts = {
            region: tuple([part_of(results[r], o, region, domain) for r, o in zip(scans, layouts, strict=True)])
            for region in regions
        }
        carried = carries(site, scans, [(region, _ends(site, layouts, own)) for region, own in parts.items()])
        apply = partial(_apply, site, scans, carried, parts)
        if workers > 1 and len(carried) > 1:
            run_in_order(len(carried), apply, None, workers)
        else:
            for n in range(len(carried)):
                apply(n)


def _apply(
    site: Site,
    scans: tuple[int, ...],
    carried: Sequence[Part],
    parts: Mapping[Bounds, tuple[Any, ...]],
    n: int,
    _: object = None,
) -> None:
    region, carry = carried[n]
    apply_carry(site, scans, carry, parts[region])


def _ends(site: Site, layouts: Sequence[Layout], parts: Sequence[Any]) -> tuple[Any, ...]:
    """Copies, for what they are taken from is changed."""
    return tuple([_copy(site, o.scan.end(p)) for o, p in zip(layouts, parts, strict=True) if o.scan])


def carries(site: Site, scans: tuple[int, ...], ends: Sequence[Part]) -> list[Part]:
    """What stands before each tile, but for those before which there is nothing.

    Parameters
    ----------
    site : Site
    scans : tuple of int
        Results that are scanned together.
    ends : sequence of (Bounds, tuple of array)
        For each tile, in any order, the ends of its own scans.
    """
    layout = site.plan.results[scans[0]]
    assert layout.scan is not None  # noqa: S101  see above
    index = layout.axes[layout.scan.axis]
    rows: dict[Bounds, list[Part]] = {}
    for region, own in ends:
        rows.setdefault((*region[:index], *region[index + 1 :]), []).append((region, own))
    found: list[Part] = []
    for row in rows.values():
        row.sort(key=_place, reverse=layout.scan.backward)
        total = row[0][1]
        for n, (region, own) in enumerate(row[1:], 2):
            found.append((region, total))
            if n < len(row):
                total = _carried(site, scans, total, own)
    return found


def apply_carry(site: Site, scans: tuple[int, ...], carry: tuple[Any, ...], parts: tuple[Any, ...]) -> None:
    """Combine a tile's own scans with what stands before it, in place."""
    op = site.plan.results[scans[0]].op
    if op is not None and op != "fold":
        combine(op, parts[0], carry[0])
        return
    for part, value in zip(parts, _carried(site, scans, carry, parts), strict=True):
        write(site, part, value)


def _carried(site: Site, scans: tuple[int, ...], before: tuple[Any, ...], own: tuple[Any, ...]) -> tuple[Any, ...]:
    """A tile's own scans, or their ends, combined with what stands before; in new arrays."""
    layout = site.plan.results[scans[0]]
    if layout.op is not None and layout.op != "fold":
        return (combined(np, layout.op, before[0], own[0]),)
    if site.library == "numpy":  # what is merged is used again
        before, own = tuple(map(read_only, before)), tuple(map(read_only, own))
    backward = layout.scan is not None and layout.scan.backward
    values = _merge(site, scans, own if backward else before, before if backward else own, own)
    return tuple([_copy(site, v) if any(share_memory(site.library, v, a) for a in own) else v for v in values])


def _copy(site: Site, array: Any) -> Any:
    # The namespace of a variant may be anything that bodies need.
    return np.array(array) if site.library == "numpy" else copy_of(site.library, site.xp, array)
