"""Partial results for which the order of tiles matters: parts of ``?`` results, and folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpdispatch.errors import ResultError
from xpdispatch.planning.windows import WHOLE, Bounds, Layout
from xpdispatch.running.parts import full_shape, part_of
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
    merge = site.body.merge
    assert merge is not None  # noqa: S101  a kernel with fold has one
    total = parts[0]
    for part in parts[1:]:
        single = len(folds) == 1
        try:
            merged = merge(site.xp, total[0], part[0]) if single else merge(site.xp, total, part)
            values = (merged,) if single else merged
            if not isinstance(values, tuple | list) or len(values) != len(folds):
                raise ResultError(
                    f"fold= returned a {type(merged).__name__}, expected a tuple of {len(folds)} arrays",
                    hint="return a tuple from merge(xp, a, b), as it gets them where several results are folded",
                )
            total = tuple(
                _merged(site, site.plan.results[r], value, like)
                for r, value, like in zip(folds, values, total, strict=True)
            )
        except Exception as error:
            add_notes(error, [f"in fold= of kernel {site.body.name!r}, variant {site.variant}"])
            raise
    return total


def _merged(site: Site, layout: Layout, value: Any, like: Any) -> Any:
    value = as_array(site, layout, value)
    if value.shape != like.shape or value.dtype != like.dtype:
        raise ResultError(
            f"fold= returned shape {tuple(value.shape)} and dtype {value.dtype} for result {layout.name!r}, "
            f"expected {tuple(like.shape)} and {like.dtype}, as what it was given",
            hint="let merge(xp, a, b) return what it gets: two partial results made one",
        )
    return value
