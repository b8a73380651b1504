"""The tile executor: runs a plan's tiles, one after another, in this process.

Calls on arrays of this process and Legate's leaf tasks (on the tile that Legate gave) share it. What is true of
one is then true of the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpdispatch.body import Body
from xpdispatch.boundaries import padded
from xpdispatch.dtypes import check_cast, np_dtype
from xpdispatch.errors import ResultError
from xpdispatch.namespaces import library_of, share_memory
from xpdispatch.plan import WHOLE, Layout, Plan, show_shape
from xpdispatch.reductions import check_dtype, combine, identity
from xpdispatch.tiling import Region, Tile, describe, is_empty, selection

inside_body: ContextVar[bool] = ContextVar("inside_body", default=False)
"""True while a body runs: kernels called there stay in this process, on whole arrays."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where tiles run: what stays the same for all tiles of one run.

    Parameters
    ----------
    plan : Plan
    body : Body
    function : callable
        The body's function for this variant.
    xp : namespace
    library : str
        Whose arrays these are (:func:`xpdispatch.namespaces.library_of`).
    variant : str
    casts : tuple
        For each result the dtype that ``dtype=`` asks for, in the library's own terms, or None.
    dtypes : tuple
        For each result the dtype that was planned; empty where nothing was.
    """

    plan: Plan
    body: Body
    function: Callable[..., Any]
    xp: Any
    library: str
    variant: str
    casts: tuple[Any, ...]
    dtypes: tuple[Any, ...] = ()


def run(
    site: Site,
    operands: Sequence[Any],
    targets: Sequence[Any],
    scalars: Sequence[Any],
    domain: Region,
    regions: Sequence[Region],
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

    Returns
    -------
    list of (array or None)
        One for each result, over `domain`; None where every region was empty.
    """
    token = inside_body.set(True)
    try:
        operands = _protected(site, operands)
        if len(regions) == 1 and regions[0] == domain:
            return _run_whole(site, operands, targets, scalars, domain)
        results = [None if layout.op else t for layout, t in zip(site.plan.results, targets, strict=True)]
        gathered = _Gathered()
        for region in regions:
            if not is_empty(region):
                _run_tile(site, operands, targets, results, gathered, scalars, domain, region)
        gathered.finish(site, results, domain)
        return results
    finally:
        inside_body.reset(token)


def _run_whole(
    site: Site, operands: Sequence[Any], targets: Sequence[Any], scalars: Sequence[Any], region: Region
) -> list[Any]:
    """The one tile that is the whole domain: what the body returns is the result, without another copy."""
    if is_empty(region):
        return [None if layout.op else t for layout, t in zip(site.plan.results, targets, strict=True)]
    buffers = {r: _buffer(site, r, targets[r], region) for r in site.body.buffers} if site.body.buffers else {}
    parts = [
        _operand_part(site, a, o, region, region) if o.reaches else a
        for a, o in zip(operands, site.plan.operands, strict=True)
    ]
    values = _call(site, parts, buffers, scalars, region, targets, (None,) * len(targets))
    results: list[Any] = []
    for r, (layout, value) in enumerate(zip(site.plan.results, values, strict=True)):
        if buffers and value is buffers.get(r):
            results.append(value)
        elif layout.op or targets[r] is None:
            results.append(_unshared(site, value, (*operands, *buffers.values(), *results)))
        else:
            write(site, targets[r], value)
            results.append(targets[r])
    return results


def _run_tile(
    site: Site,
    operands: Sequence[Any],
    targets: Sequence[Any],
    results: list[Any],
    gathered: _Gathered,
    scalars: Sequence[Any],
    domain: Region,
    region: Region,
) -> None:
    """One tile of several: take its part of every array, and store or combine what the body returns."""
    layouts = site.plan.results
    parts = [_operand_part(site, a, o, region, domain) for a, o in zip(operands, site.plan.operands, strict=True)]
    written = [None if t is None else _part(t, o, region, domain) for t, o in zip(targets, layouts, strict=True)]
    buffers = {r: _buffer(site, r, written[r], region) for r in site.body.buffers}
    values = _call(site, parts, buffers, scalars, region, written, gathered.before(results))
    for r, (layout, value) in enumerate(zip(layouts, values, strict=True)):
        if layout.joined or layout.op == "fold":
            gathered.add(r, region, value)
            continue
        if results[r] is None:
            results[r] = _allocated(site, layout, value, domain)
        if layout.op:
            combine(layout.op, _part(results[r], layout, region, domain), value)
        elif value is not buffers.get(r):
            write(site, _part(results[r], layout, region, domain), value)


class _Gathered:
    """Partial results that are put together when all tiles have run, in the order of the tiles' places.

    These are the parts of ``?`` results and of folds, for which the order matters.
    """

    def __init__(self) -> None:
        self.parts: dict[int, list[tuple[Region, Any]]] = {}

    def add(self, r: int, region: Region, value: Any) -> None:
        self.parts.setdefault(r, []).append((region, value))

    def before(self, results: Sequence[Any]) -> Sequence[Any]:
        """The results so far, for checks: here a part of an earlier tile stands for the result."""
        if not self.parts:
            return results
        return [self.parts[r][0][1] if r in self.parts else value for r, value in enumerate(results)]

    def finish(self, site: Site, results: list[Any], domain: Region) -> None:
        layouts = site.plan.results
        for r in [r for r in self.parts if layouts[r].joined]:
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
        groups: dict[Region, list[tuple[Region, tuple[Any, ...]]]] = {}
        for region, *values in zip(places, *columns, strict=True):
            key = tuple(r for a, r in enumerate(region) if a in kept)
            groups.setdefault(key, []).append((region, tuple(values)))
        for members in groups.values():
            region = members[0][0]
            folded = fold(site, folds, [values for _, values in sorted(members, key=_place)])
            for r, value in zip(folds, folded, strict=True):
                if results[r] is None:
                    shape = _full_shape(layouts[r], value, domain)
                    results[r] = site.xp.empty(shape, dtype=value.dtype)
                write(site, _part(results[r], layouts[r], region, domain), value)


def _place(part: tuple[Region, Any]) -> Region:
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
                    hint="merge(xp, a, b) gets and returns a tuple where several results are folded",
                )
            total = tuple(
                _merged(site, site.plan.results[r], value, like)
                for r, value, like in zip(folds, values, total, strict=True)
            )
        except Exception as error:
            _add_notes(error, [f"in fold= of kernel {site.body.name!r}, variant {site.variant}"])
            raise
    return total


def _merged(site: Site, layout: Layout, value: Any, like: Any) -> Any:
    value = _as_array(site, layout, value)
    if value.shape != like.shape or value.dtype != like.dtype:
        raise ResultError(
            f"fold= returned shape {tuple(value.shape)} and dtype {value.dtype} for result {layout.name!r}, "
            f"expected {tuple(like.shape)} and {like.dtype}, as what it was given",
            hint="merge(xp, a, b) returns what it gets: two partial results made one",
        )
    return value


def _call(
    site: Site,
    operands: Sequence[Any],
    buffers: dict[int, Any],
    scalars: Sequence[Any],
    region: Region,
    targets: Sequence[Any],
    before: Sequence[Any],
) -> Sequence[Any]:
    """Call the body and check what it returns; `before` has the results of earlier tiles."""
    tile = Tile(site.plan, region, site.xp, site.variant) if site.body.wants_tile else None
    try:
        returned = site.body.call(site.function, site.xp, tile, operands, buffers, scalars)
        sizes = [stop - start for start, stop in region]
        if site.body.results == 1 and type(returned) is np.ndarray:
            return (_checked(site, 0, returned, sizes, before[0], targets[0]),)
        values = [
            _checked(site, r, got, sizes, before[r], targets[r])
            for r, got in enumerate(_values(site, returned, buffers))
        ]
    except Exception as error:
        _note(error, site, region)
        raise
    return _apart(site, values, buffers, targets) if len(values) > 1 else values


def write(site: Site, target: Any, value: Any) -> None:
    """Assign a result to an array that the caller gave, whose dtype can take it."""
    if site.library != "numpy":
        # NumPy alone casts in an assignment of any two dtypes, and minds overlaps.
        if value.dtype != target.dtype:
            value = site.xp.astype(value, target.dtype)
        elif share_memory(site.library, value, target):
            value = site.xp.asarray(value, copy=True)
    target[...] = value


def _note(error: Exception, site: Site, region: Region) -> None:
    """Say where the exception comes from."""
    notes = []
    with suppress(Exception):  # an exception whose text cannot be had
        if isinstance(error, ValueError) and "read-only" in str(error):
            notes.append("Operands are read-only in a body: copy first, or write x[i] -> x[i] to update in place")
    notes.append(f"in kernel {site.body.name!r}, tile {describe(site.plan, region)}, variant {site.variant}")
    _add_notes(error, notes)


def _add_notes(error: Exception, more: Sequence[str]) -> None:
    notes = getattr(error, "__notes__", None)
    notes = [*notes] if isinstance(notes, list) else []  # anew: the list may be the class' own
    error.__notes__ = [*notes, *more]


def _apart(site: Site, values: Sequence[Any], buffers: dict[int, Any], targets: Sequence[Any]) -> list[Any]:
    """The values, copied where writing one result would change another before it is written itself."""
    written = [t for t, layout in zip(targets, site.plan.results, strict=True) if t is not None and layout.op is None]
    return [
        site.xp.asarray(v, copy=True)
        if v is not buffers.get(r) and any(share_memory(site.library, v, t) for t in written)
        else v
        for r, v in enumerate(values)
    ]


def _part(array: Any, layout: Layout, region: Region, domain: Region) -> Any:
    # Indexing a 0-d array with () would give a scalar.
    return array[selection(layout, region, domain)] if layout.axes else array


def _operand_part(site: Site, array: Any, layout: Layout, region: Region, domain: Region) -> Any:
    """An operand's part with its halo: a view, but where cells outside the array are made up."""
    part = _part(array, layout, region, domain)
    if layout.boundary in (None, "clip", "valid"):
        return part
    outside = [
        (axis, low, high)
        for axis, a in enumerate(layout.axes)
        if a != WHOLE
        for low, high in [layout.window(axis, *region[a])]
        if low < 0 or high > (layout.shape[axis] or 0)
    ]
    if not outside:
        return part
    # Along these axes any cell of the array can be the one that stands in, so that they are taken from it in full.
    chosen = list(selection(layout, region, domain))
    for axis, _, _ in outside:
        chosen[axis] = slice(None)
    part = array[tuple(chosen)]
    for axis, low, high in outside:
        part = padded(site.xp, part, axis, low, high, layout.boundary)
    return _read_only(part) if site.library == "numpy" else part


def _protected(site: Site, operands: Sequence[Any]) -> Sequence[Any]:
    """Read-only views, so that a body that writes an input fails instead of changing the caller's array."""
    if site.library != "numpy":
        return operands
    in_place = site.body.in_place
    return [array if p in in_place else _read_only(array) for p, array in enumerate(operands)]


def _read_only(array: Any) -> Any:
    view = array.view(np.ndarray)
    view.setflags(write=False)
    return view


def _buffer(site: Site, r: int, target: Any, region: Region) -> Any:
    """What the body may write: the target, or under an operator a fresh identity."""
    layout = site.plan.results[r]
    if layout.op is None:
        return target
    shape = layout.tile_shape([stop - start for start, stop in region])
    dtype = site.casts[r]
    if dtype is None:  # a Legate target may hold sort keys, so the plan comes first
        dtype = site.dtypes[r] if site.dtypes else target.dtype
    check_dtype(layout.op, layout.name, np_dtype(dtype))
    return site.xp.full(shape, identity(layout.op, np_dtype(dtype)).item(), dtype=dtype)


def _values(site: Site, returned: Any, buffers: dict[int, Any]) -> Sequence[Any]:
    count = site.body.results
    if returned is None:
        if len(buffers) == count:
            return [buffers[r] for r in range(count)]
        raise ResultError(
            f"the body returned None, expected {count} result{'s' if count > 1 else ''}",
            hint="return the results, in the order of the notation",
        )
    if count == 1:
        if not isinstance(returned, tuple | list):
            return (returned,)
        got = f"a {type(returned).__name__} of {len(returned)}, expected the array itself"
        raise ResultError(f"the body returned {got}", hint="return x, and not (x,) or [x]; make arrays with xp.asarray")
    if isinstance(returned, tuple | list):
        if len(returned) == count:
            return returned
        got = f"{len(returned)} results"
    else:
        got = f"one {type(returned).__name__}"
    raise ResultError(
        f"the body returned {got}, expected {count} result{'s' if count > 1 else ''}",
        hint="return as many arrays as the notation has results, in its order",
    )


def _checked(site: Site, r: int, value: Any, sizes: Sequence[int], before: Any, target: Any) -> Any:
    """The value as an array of the right library, shape and dtype, cast where ``dtype=`` says so."""
    layout = site.plan.results[r]
    if type(value) is not np.ndarray or site.library != "numpy":
        value = _as_array(site, layout, value)
    wanted = layout.tile_shape(sizes)
    shape = tuple(value.shape)
    if shape != wanted and (
        len(shape) != len(wanted) or any(w not in (None, s) for w, s in zip(wanted, shape, strict=True))
    ):
        raise ResultError(
            f"the body returned shape {shape} for result {layout.name!r}, expected {show_shape(wanted)} on this tile",
            hint="mend the body, or the result's axes in the notation",
        )
    if site.casts[r] is not None and value.dtype != site.casts[r]:
        value = site.xp.astype(value, site.casts[r])
    if layout.op and layout.op != "fold":
        check_dtype(layout.op, layout.name, np_dtype(value.dtype))
    if before is not None and len(shape) == len(before.shape):
        for axis, (w, s) in enumerate(zip(wanted, shape, strict=True)):
            if w is None and s != before.shape[axis] and not (layout.joined and axis == 0):
                raise ResultError(
                    f"the body returned extent {s} on axis {axis} of result {layout.name!r}, "
                    f"but {before.shape[axis]} on another tile",
                    hint="an extent that depends on the tile cannot be a whole axis",
                )
    planned = site.dtypes[r] if site.dtypes else None
    if planned is not None and planned != value.dtype:  # "in (None, ...)" would not do: float64 == None in NumPy
        raise ResultError(
            f"the body returned dtype {value.dtype} for result {layout.name!r}, but {planned} on a sample of ones",
            hint="return one dtype for all values, or pass dtype= to the decorator",
        )
    if before is not None and (layout.op or target is None) and before.dtype != value.dtype:
        raise ResultError(
            f"the body returned dtype {value.dtype} for result {layout.name!r}, but {before.dtype} on another tile",
            hint="return one dtype for all values, or pass dtype= to the decorator",
        )
    if target is not None and not layout.op:
        check_cast(layout.name, value.dtype, target.dtype)
    return value


def _as_array(site: Site, layout: Layout, value: Any) -> Any:
    library = library_of(value)
    if library == "number" or (library == "numpy" and site.library == "numpy"):
        return site.xp.asarray(value)
    if library != site.library:
        raise ResultError(
            f"the body returned a {type(value).__module__}.{type(value).__qualname__} for result {layout.name!r}, "
            f"expected a {site.library} array",
            hint="compute with xp alone, and return arrays",
        )
    return value


_OWN_REFERENCES = 5
"""What :func:`sys.getrefcount` says in :func:`_unshared` of an array that nobody else holds."""


def _unshared(site: Site, value: Any, others: Sequence[Any]) -> Any:
    """The value itself, or a copy where it may share memory with something that outlives the call.

    That is an operand, another result, or whatever else holds the very array: a scalar, a closure, a global.
    """
    if site.library == "jax":
        return value
    if sys.getrefcount(value) > _OWN_REFERENCES:
        return site.xp.asarray(value, copy=True)
    if site.library == "numpy":
        if value.flags.owndata:
            return value
        if not value.flags.writeable:
            return value.copy()
    if site.library == "torch" and 0 in value.stride() and value.numel() > 1:
        return site.xp.asarray(value, copy=True)
    if any(a is not None and share_memory(site.library, value, a) for a in others):
        return site.xp.asarray(value, copy=True)
    return value


def _allocated(site: Site, layout: Layout, value: Any, domain: Region) -> Any:
    """Room for a result over the whole domain: empty, or the identity of its operator."""
    shape = _full_shape(layout, value, domain)
    if layout.op is None:
        return site.xp.empty(shape, dtype=value.dtype)
    return site.xp.full(shape, identity(layout.op, np_dtype(value.dtype)).item(), dtype=value.dtype)


def _full_shape(layout: Layout, value: Any, domain: Region) -> tuple[int, ...]:
    """The shape of a result over the whole domain; extents that only the body knows are those of one value."""
    wanted = layout.tile_shape([stop - start for start, stop in domain])
    return tuple(v if n is None else n for n, v in zip(wanted, value.shape, strict=True))
