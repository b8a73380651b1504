"""From a plan to a launch: how each store is turned so that Legate can align all of them. Pure.

Legate aligns stores of equal shape only. So the arrays of a call are fitted into one common space: its
dimensions are the split indices and the whole axes (axes of equal extent share one). An axis of extent 1
that stays whole is projected away, the rest is put in the common order, and missing dimensions are
promoted, which copies nothing. Whole dimensions are then broadcast, and all stores aligned.

An axis in blocks is split in two by a view: the index, and the elements of a block, which stay whole.

An operand with a halo is cut by Legate's image (:mod:`xpdispatch.legate.stretches`). Where that is along stretches of
an index, the rects are fitted into a coarse space, and Legate scales the tiles of that to those of all other arrays.

An index that no store is cut along gets a grid, a store of its own, so that Legate has something to cut. Each of its
cells stands for a stretch of the index, and nothing of the index' extent is allocated.

An operand that another points to is cut by Legate's image, along the pointers: the elements of the other store itself
where they are int64 and it has one axis to point to, else rects (Legate's rects) that a task makes of them. What keys
name, elements of an operand or cells of a result, is cut so where it is large and its keys need no rects: a task gets
all from the lowest of its keys to the highest. Else it is whole in every tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from xpdispatch.legate.stretches import Cut, windows_of
from xpdispatch.planning.plan import Image, Plan, Shape
from xpdispatch.planning.windows import WHOLE, Layout

_LARGEST_GRID = 2**16
"""Cells, one byte each."""

least_pointed = 1 << 20
"""Elements of an array with keys from which on it is cut where they say: Legate takes 2 ms for that in a launch."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How one store enters a launch, and how its part is turned back in the leaf.

    Parameters
    ----------
    how : {"align", "broadcast", "free", "inline", "unbound", "gathered", "image", "window"}
        Fitted and aligned; whole in every tile; 0-d, which needs no constraint; not a store at all but
        sent with the scalars (0-d NumPy arrays, arrays without an element); a store whose size the tiles tell; such a
        store of partial results, that a second task puts together in the order of the tiles; cut where pointers say; or
        cut with a halo.
    project : tuple of int
        Axes of extent 1 to drop, last first.
    transpose : tuple of int
        Order of the remaining axes; empty where it is the natural one.
    promote : tuple of (int, int)
        Dimensions to insert, with their extents, first one first.
    keep_whole : tuple of int
        Dimensions that stay whole.
    take : tuple
        Index that drops the promoted dimensions of the leaf's array.
    restore : tuple of int
        Order that undoes `transpose`; empty where there is nothing to undo.
    expand : tuple
        Index that puts the projected axes back; empty where there are none.
    dims : tuple of int
        For each axis of the array its dimension in the common space, or -1.
    blocks : tuple of (int, tuple of int)
        Axes to split into the index and the elements of a block, once those are dropped, with both extents, last first.
    merge : tuple of bool
        For each axis, once `blocks` are split, whether it holds the elements of a block; empty where none does.
    """

    how: Literal["align", "broadcast", "free", "inline", "unbound", "gathered", "image", "window"]
    project: tuple[int, ...] = ()
    transpose: tuple[int, ...] = ()
    promote: tuple[tuple[int, int], ...] = ()
    keep_whole: tuple[int, ...] = ()
    take: tuple[Any, ...] = ()
    restore: tuple[int, ...] = ()
    expand: tuple[Any, ...] = ()
    dims: tuple[int, ...] = ()
    blocks: tuple[tuple[int, tuple[int, int]], ...] = ()
    merge: tuple[bool, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the store enters a launch as it is."""
        return self.how in ("align", "broadcast") and not (
            self.blocks or self.project or self.transpose or self.promote
        )

    def turn(self, store: Any) -> Any:
        """The store as the launch sees it; every step is a view."""
        for axis in self.project:  # first: a store of more dimensions than Legate has ends the process in the leaf
            store = store.project(axis, 0)
        for axis, extents in self.blocks:
            store = store.delinearize(axis, extents)
        if self.transpose:
            store = store.transpose(self.transpose)
        for dim, extent in self.promote:
            store = store.promote(dim, extent)
        return store

    def turn_back(self, array: Any) -> Any:
        """The leaf's array with the axes that the body knows."""
        if self.how == "free":
            return array.reshape(())
        if self.take:
            array = array[self.take]
        if self.restore:
            array = array.transpose(self.restore)
        if self.expand:
            array = array[self.expand]
        if not self.merge:
            return array
        shape: list[int] = []
        for extent, inner in zip(array.shape, self.merge, strict=True):
            if inner:
                shape[-1] *= extent
            else:
                shape.append(extent)
        return array.reshape(shape)  # a view: the elements of a block follow each other


@dataclass(frozen=True, slots=True)
class Rects:
    """A store of rects to be made for an operand with pointers, or with a halo.

    Parameters
    ----------
    operand : int
        Position of the operand.
    fit : Fit
    borders : bool
        It holds borders of ranges.
    instead : bool
        The rects take the operand's place, for its values can be read off them.
    tail : tuple of int
        Extents of the other axes of the arrays that it points to, or of the operand with a halo.
    axis : int or None
        Along which an operand with a halo is cut; None for pointers.
    stretch : int
        How many elements of the index each rect is for.
    seam : bool
        They are of what wraps around, for which the operand enters once more.
    """

    operand: int
    fit: Fit
    borders: bool = False
    instead: bool = False
    tail: tuple[int, ...] = ()
    axis: int | None = None
    stretch: int = 1
    seam: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole launch.

    Parameters
    ----------
    operands, results : tuple of Fit
    aligned : tuple of tuple of int
        Positions, operands first, of the arrays to align with each other.
    one_piece : bool
        Everything is broadcast, so that a single task runs.
    sources : tuple of (int, int, int) or None
        For each index the array (operands, results, the grid, rects) and its dimension that tell a tile's size and
        start, and for how many elements of the index each of its own is; None where no store has the index.
    gathered : tuple of int
        The results that a second task puts together.
    carried : tuple of int
        The scans along the index that is cut: a second task combines each tile of them with what stands before it.
    rects : tuple of Rects
    images : tuple of (int, tuple of int, str)
        The array with the pointers, those that it points to (operands first, then results, rects that stand for no
        operand, and operands once more) and Legate's hint.
    least : tuple of int
        The least extents of a tile in the common space; empty where there are none.
    grid : (tuple of int, Fit) or None
        Shape and fit of a store for the indices that no other has. It comes after the results.
    stretches : tuple of int
        For each index for how many of its elements one of rects or of the grid is; empty where that is 1 for all.
    scaled : tuple of int
        Positions of an array of a coarse space, and of those to whose tiles its own are scaled.
    factors : tuple of int
        By which they are scaled, for each dimension.
    share : float
        Elements of the space that Legate cuts for each that it stands for: less than 1 where that is coarse.
    """

    operands: tuple[Fit, ...]
    results: tuple[Fit, ...]
    aligned: tuple[tuple[int, ...], ...]
    one_piece: bool
    sources: tuple[tuple[int, int, int] | None, ...]
    gathered: tuple[int, ...] = ()
    carried: tuple[int, ...] = ()
    rects: tuple[Rects, ...] = ()
    images: tuple[tuple[int, tuple[int, ...], str], ...] = ()
    least: tuple[int, ...] = ()
    grid: tuple[Shape, Fit] | None = None
    stretches: tuple[int, ...] = ()
    scaled: tuple[int, ...] = ()
    factors: tuple[int, ...] = ()
    share: float = 1.0

    @property
    def replaced(self) -> tuple[int, ...]:
        """The operands whose place rects take."""
        return tuple(b.operand for b in self.rects if b.instead)

    @property
    def seams(self) -> tuple[Rects, ...]:
        """The rects of what wraps around: their operands enter once more, after all others."""
        return tuple(b for b in self.rects if b.seam)

    @property
    def second(self) -> bool:
        """Whether a second task needs to know where the tiles lie."""
        return bool(self.gathered or self.carried)


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a call's operands that Legate can make.

    Parameters
    ----------
    pointers : tuple of int
        Operands whose own store it can follow.
    uncut : tuple of int
        Operands that are not cut if they have a halo.
    any_rank : bool
        Whether it has images of arrays of any rank, or of the rank of what they are images by alone where more than
        that one's first dimension may be cut.
    leading : bool
        The one index that is cut is the first dimension for that.
    full : tuple of int
        Operands that are in full in every tile for that.
    fewest : int
        How many rects there are at least, if Legate is to cut anything.
    """

    pointers: tuple[int, ...] = ()
    uncut: tuple[int, ...] = ()
    any_rank: bool = True
    leading: bool = False
    full: tuple[int, ...] = ()
    fewest: int = 0


def make_recipe(
    plan: Plan,
    inline: Sequence[bool],
    max_dim: int,
    *,
    one_piece: bool,
    gathered: Sequence[int] = (),
    possible: Images = Images(),
) -> Recipe:
    """Fit every array of a plan.

    Parameters
    ----------
    plan : Plan
        Complete and with an element on every index.
    inline : sequence of bool
        For each operand and then each result whether it is sent with the scalars.
    max_dim : int
        Legate's greatest number of dimensions.
    one_piece : bool
        Run a single task whatever the plan allows.
    gathered : sequence of int
        Results whose partial results are to be put together in the order of the tiles. Then one index alone is cut:
        Legate gives stores of unknown size, in which they are kept, to launches of one dimension.
    possible : Images
    """
    # Only the explicit spelling can leave arrays unaligned, or let every tile write a whole result. What tiles would
    # mean there depends on how Legate cuts; one piece means what it means in this process.
    indices = set(range(len(plan.indices)))
    loose = any(
        layout.op is None and not layout.concatenated and not indices <= set(layout.axes) for layout in plan.results
    )
    one_piece = one_piece or loose or len(plan.spaces) > 1
    layouts = [*plan.operands, *plan.results]
    fits = [_simple(layout, inline=apart) for layout, apart in zip(layouts, inline, strict=True)]
    count, known = len(plan.operands), len(plan.operands) + len(plan.results)
    for r in gathered:
        fits[count + r] = Fit("gathered")
    followed = [
        p
        for p, layout in enumerate(layouts)
        if p not in possible.full and _how(fits[p]) == "broadcast" and (p < count or layout.keys)
    ]
    pointed = _pointed(plan, possible.pointers)
    found = [] if one_piece else windows_of(plan, fewest=possible.fewest)
    windows = _along_the_only_index(
        [w for w in found if w.operand in followed and w.operand not in possible.uncut], plan, gathered
    )
    stretches = {w.index: w.stretch for w in windows}
    alone = _alone(plan, gathered, [*stretches])
    grid = {} if one_piece else _grid(plan, _covered(layouts, fits) | {*stretches})
    stretches |= grid
    cells = [-(-extent // stretches.get(a, 1)) for a, extent in enumerate(plan.extents)]
    fine = [cells[a] if a in grid else extent for a, extent in enumerate(plan.extents)]
    if grid:
        layouts.append(Layout("grid", tuple(grid), tuple(cells[a] for a in grid)))
    first = len(layouts)
    layouts += [Layout("rects", (w.index,), (cells[w.index],)) for w in windows]
    coarse = range(known, len(layouts))
    fits += [None] * len(coarse)
    images, follows = (
        _follow(pointed, plan, layouts, fits, possible.pointers, followed) if pointed and not one_piece else ([], [])
    )
    cut = _cut(windows, layouts, fits)
    aligned: list[tuple[int, ...]] = []
    stretched = any(w.stretch > 1 for w in windows)
    for space in plan.spaces:
        members = [p for p, fit in enumerate(fits) if fit is None and set(layouts[p].axes) & set(space)]
        extents = [cells if p in coarse else fine for p in members]
        fitted = _fit_space([layouts[p] for p in members], extents, max_dim, alone, leading=possible.leading)
        one_piece = one_piece or fitted is None
        for position, fit in zip(members, fitted or (), strict=False):
            fits[position] = fit
        aligned.append(tuple(p for p in members if not stretched or p in coarse))
    if one_piece:
        aligned, gathered, images, follows, cut, stretches, grid, windows = [], (), [], [], [], {}, {}, []
        fits = [
            fit if fit and fit.how not in ("align", "gathered", "image", "window") else _whole(layout)
            for fit, layout in zip(fits[:known], layouts, strict=False)
        ]
    images = [*((first + n, [p], "FIRST_LAST") for n, p in enumerate(cut)), *images]
    done = tuple(fit for fit in fits if fit is not None)
    others = [p for by, members, _ in images for p in members if not _is_alike(layouts[by], done[by], layouts[p])]
    if others and not possible.any_rank:
        last = possible.leading or alone is None
        fewer = replace(possible, full=(*possible.full, *others)) if last else replace(possible, leading=True)
        return make_recipe(plan, inline, max_dim, one_piece=one_piece, gathered=gathered, possible=fewer)
    carried = () if one_piece else [r for r in scanned(plan) if done[count + r].how == "align"]
    by_index = [stretches.get(a, 1) for a in range(len(plan.indices))]
    sources = []
    for index, stretch in enumerate(by_index):
        source = None if one_piece else _source(index, layouts, done, count)
        sources.append(source and (*source, stretch if source[0] in coarse else 1))
    apart = [p for p, fit in enumerate(done) if fit.how == "align" and p not in coarse and stretched and windows]
    by_dim = {done[n].dims[0]: w.stretch for n, w in enumerate(windows, first)}
    return Recipe(
        done[:count],
        done[count:known],
        tuple(a for a in aligned if len(a) > 1),
        one_piece,
        tuple(sources),
        tuple(gathered),
        tuple(carried),
        (
            *(
                Rects(
                    w.operand,
                    done[first + n],
                    tail=_others(plan.operands[w.operand], w.axis),
                    axis=w.axis,
                    stretch=w.stretch,
                    seam=w.seam,
                )
                for n, w in enumerate(windows)
            ),
            *(Rects(p, done[at], borders=own, instead=at == p, tail=tail) for p, own, tail, at in follows),
        ),
        tuple((place, tuple(members), hint) for place, members, hint in images),
        () if one_piece else _least(plan, layouts, done, by_index),
        (tuple(cells[a] for a in grid), done[known]) if grid else None,
        tuple(by_index) if max(by_index, default=1) > 1 else (),
        (coarse[0], *apart) if apart else (),
        tuple(by_dim.get(d, 1) for d in range(_rank(layouts[first], done[first]))) if apart else (),
        1.0 if one_piece else math.prod(n / extent for n, extent in zip(cells, plan.extents, strict=True) if extent),
    )


THRESHOLDS = {"cpu": 1 << 14, "omp": 1 << 17, "gpu": 1 << 20}
"""Elements of the common space below which Legate cuts nothing, by the kind of processor, unless that is set."""

Types = Sequence[tuple[np.dtype[Any], Shape]]
"""Dtype and shape of each result."""


def recipe_of_call(
    plan: Plan,
    types: Types,
    inline: Sequence[bool],
    max_dim: int,
    *,
    deterministic: bool,
    most_unbound: int,
    possible: Images,
    small: bool,
) -> Recipe:
    """Fit the arrays of a call.

    Parameters
    ----------
    plan : Plan
        With the shapes of its results.
    types : sequence of (numpy.dtype, tuple of int)
    inline : sequence of bool
        For each operand whether it is sent with the scalars.
    max_dim : int
    deterministic : bool
        Sums of floats are put together in the order of the tiles.
    most_unbound : int
        How many stores of unknown size a launch in several tiles may have.
    possible : Images
    small : bool
        Several tasks would take longer than one.
    """
    apart = [*inline, *(0 in layout.shape for layout in plan.results)]
    ordered = _ordered(plan, types, deterministic=deterministic)
    second = len(ordered) + len(scanned(plan))
    unbound = sum(layout.concatenated for layout in plan.results) + (second + 1 if second else 0)  # and their places
    # What is there already has no place in the order; and where there is no index there is one tile.
    one_piece = small or not plan.indices or any(plan.results[r].accumulate for r in ordered) or unbound > most_unbound
    one_piece |= any(layout.scan and 0 in layout.shape for layout in plan.results)  # which are no stores
    gathered = () if one_piece else ordered
    return make_recipe(plan, apart, max_dim, one_piece=one_piece, gathered=gathered, possible=possible)


def _alone(plan: Plan, gathered: Sequence[int], by: Sequence[int]) -> int | None:
    """The one index that may be cut, if there is but one; operands with halos are cut along those in `by`."""
    if gathered or any(layout.scan for layout in plan.results):
        return _longest(plan)
    # Cut along another index too, tiles would get rows that only other tiles need.
    return by[0] if len(set(by)) == 1 else None


def _longest(plan: Plan) -> int:
    """The index that is cut where one alone is."""
    return max(range(len(plan.extents)), key=plan.extents.__getitem__, default=0)


def scanned(plan: Plan) -> list[int]:
    """The results that are scans along the index that is cut."""
    longest = _longest(plan)
    return [r for r, layout in enumerate(plan.results) if layout.scan and layout.axes[layout.scan.axis] == longest]


def _ordered(plan: Plan, types: Types, *, deterministic: bool) -> tuple[int, ...]:
    """The results that Legate's own reductions cannot give, and that are put together in the order of the tiles.

    It knows no fold, multiplies no complex128, and adds floats in an order that changes from run to run.
    """
    found = []
    for r, (layout, (dtype, shape)) in enumerate(zip(plan.results, types, strict=True)):
        inexact = layout.op in ("sum", "prod") and dtype.kind in "fc"
        product = (layout.op, dtype) == ("prod", np.dtype(np.complex128))
        if 0 not in shape and layout.combined and (layout.op == "fold" or product or (inexact and deterministic)):
            found.append(r)
    return tuple(found)


def _covered(layouts: Sequence[Layout], fits: Sequence[Fit | None]) -> set[int]:
    """The indices that some store to be aligned has."""
    return {a for layout, fit in zip(layouts, fits, strict=True) if fit is None for a in layout.axes}


def _grid(plan: Plan, covered: set[int]) -> dict[int, int]:
    """For each index that no store to be aligned has how many of its elements each one of a grid is for."""
    apart = [i for i in range(len(plan.indices)) if i not in covered]
    if not apart or plan.empty:
        return {}
    most = int(_LARGEST_GRID ** (1 / len(apart)) + 1e-9)
    return {i: -(-plan.extents[i] // most) for i in apart}


def _others(layout: Layout, axis: int) -> tuple[int, ...]:
    return tuple(int(n or 0) for a, n in enumerate(layout.shape) if a != axis)


def _along_the_only_index(found: Sequence[Cut], plan: Plan, gathered: Sequence[int]) -> list[Cut]:
    """Without operands that wrap around, but for those along the one index that is cut.

    They enter twice, and along another index would be whole in several tiles both times: see
    :mod:`xpdispatch.legate.stretches` on what is whole.
    """
    only = _alone(plan, gathered, [w.index for w in found])
    return [w for w in found if w.index == only or not plan.operands[w.operand].wraps(w.axis)]


def _cut(windows: Sequence[Cut], layouts: list[Layout], fits: list[Fit | None]) -> list[int]:
    """The arrays that are cut with a halo: operands, and those that wrap around once more, added to the arrays."""
    places = []
    for w in windows:
        fits[w.operand] = Fit("window", dims=_natural(layouts[w.operand]))
        places.append(len(layouts) if w.seam else w.operand)
        if w.seam:
            layouts.append(layouts[w.operand])
            fits.append(fits[w.operand])
    return places


def _pointed(plan: Plan, pointers: Sequence[int]) -> tuple[Image, ...]:
    """The images of a plan, and those of large arrays whose keys are pointers as they are."""
    taken = {p for image in plan.images for p in image.ranges}
    named = [
        Image(o.keys.operands[0], (p,), borders=False, hint="MIN_MAX")
        for p, o in enumerate((*plan.operands, *plan.results))
        if o.keys and o.axes == (WHOLE,) and p not in taken and int(o.shape[0] or 0) >= least_pointed
    ]
    return (*plan.images, *(image for image in named if image.function in pointers))


def _follow(
    pointed: Sequence[Image],
    plan: Plan,
    layouts: list[Layout],
    fits: list[Fit | None],
    pointers: Sequence[int],
    followed: Sequence[int],
) -> tuple[list[tuple[int, list[int], str]], list[tuple[int, bool, tuple[int, ...], int]]]:
    """The images of a launch, and the rects that some need: operand, kind, tail and place among the arrays.

    Rects that stand for no operand are added to the arrays.
    """
    images: list[tuple[int, list[int], str]] = []
    rects: list[tuple[int, bool, tuple[int, ...], int]] = []
    for function, ranges, borders, hint in pointed:
        fit = fits[function]
        tails: dict[tuple[int, ...], list[int]] = {}
        for p in ranges:
            if p in followed:
                tails.setdefault(tuple(int(n or 0) for n in layouts[p].shape[1:]), []).append(p)
        if not tails or not (fit is None or fit.how == "image" or (borders and fit.how == "broadcast")):
            continue
        if borders:
            extents = tuple(plan.extents[a] for a in layouts[function].axes)
            layouts[function] = layouts[function]._replace(shape=extents, reaches=())
            fits[function] = None
        for n, (tail, members) in enumerate(tails.items()):
            place = function
            if borders and n == 0:
                rects.append((function, borders, tail, place))
            elif borders or tail or function not in pointers:
                place = len(layouts)
                layouts.append(layouts[function])
                fits.append(fits[function])
                rects.append((function, borders, tail, place))
                for _, others, _ in images:
                    if function in others:
                        others.append(place)
            images.append((place, members, hint))
            for p in members:
                fits[p] = Fit("image", dims=_natural(layouts[p]))
    return images, rects


def _rank(layout: Layout, fit: Fit) -> int:
    """Of the store that a task is given."""
    return len(layout.axes) + len(fit.blocks) - len(fit.project) + len(fit.promote)


def _is_alike(by: Layout, fit: Fit, layout: Layout) -> bool:
    """Whether an array has the rank of what it is an image by, or that may be cut along its first dimension alone."""
    rank = _rank(by, fit)
    return rank == len(layout.axes) or {*range(rank)} - {*fit.keep_whole} == {0}


def _how(fit: Fit | None) -> str:
    return "align" if fit is None else fit.how


def _least(plan: Plan, layouts: Sequence[Layout], fits: Sequence[Fit], stretches: Sequence[int]) -> tuple[int, ...]:
    """The least extents of a tile in the common space; the last stretch of an index may be a single element."""
    if not plan.least:
        return ()
    fewest = [1 - (1 - least) // n for least, n in zip(plan.fewest, stretches, strict=True)]
    found: dict[int, int] = {}
    rank = 0
    for layout, fit in zip(layouts, fits, strict=True):
        if fit.how == "align":
            rank = _rank(layout, fit)
            found |= {d: fewest[a] for a, d in zip(layout.axes, fit.dims, strict=True) if a != WHOLE}
    return tuple(found.get(d, 1) for d in range(rank))


def _whole(layout: Layout) -> Fit:
    return Fit("broadcast", dims=_natural(layout)) if layout.axes else Fit("free")


def _natural(layout: Layout) -> tuple[int, ...]:
    return tuple(range(len(layout.axes)))


def _simple(layout: Layout, *, inline: bool) -> Fit | None:
    """The fit of an array that no index cuts, or None."""
    if layout.concatenated:
        return Fit("unbound")
    if inline:
        return Fit("inline")
    if not layout.axes:
        return Fit("free")
    if set(layout.axes) == {WHOLE} or layout.haloed:
        return _whole(layout)
    return None


Key = tuple[str, int, int]
"""A dimension of a common space: an index, or an extent and how many axes of an array had it before."""


def _fit_space(
    layouts: Sequence[Layout], extents: Sequence[Sequence[int]], max_dim: int, only: int | None, *, leading: bool
) -> list[Fit] | None:
    """Fit arrays into their common space, or None where Legate has too few dimensions for it.

    To each the indices may have other extents.

    Where `only` names an index the others are not cut; if it is `leading` it is the first dimension.
    """
    keys = [_keys(layout) for layout in layouts]
    widest = max(keys, key=lambda k: sum(key is not None for key in k), default=())
    order = dict.fromkeys(k for ks in (widest, *keys) for k in ks if k is not None)
    space = {key: d for d, key in enumerate(sorted(order, key=lambda k: leading and k != ("index", only, 0)))}
    if len(space) > max_dim:
        return None
    whole = tuple(d for key, d in space.items() if key[0] == "whole" or only not in (None, key[1]))
    found = []
    for layout, own, ks in zip(layouts, extents, keys, strict=True):
        sizes = [own[key[1]] if key[0] == "index" else key[1] for key in space]
        found.append(_fit(layout, ks, space, sizes, whole))
    return found


def _scales(layout: Layout) -> tuple[int, ...]:
    return tuple(r.scale for r in layout.reaches) or (1,) * len(layout.axes)


def _keys(layout: Layout) -> tuple[Key | None, ...]:
    """For each axis its dimension's key; for one in blocks that of the index and that of the elements of a block."""
    keys: list[Key | None] = []

    def whole(extent: int) -> Key:
        return ("whole", extent, sum(k is not None and k[:2] == ("whole", extent) for k in keys))

    for axis, extent, scale in zip(layout.axes, layout.shape, _scales(layout), strict=True):
        if axis != WHOLE:
            keys.append(("index", axis, 0))
            if scale != 1:
                keys.append(whole(scale))
        else:
            keys.append(None if extent == 1 else whole(int(extent or 0)))
    return tuple(keys)


def _fit(
    layout: Layout,
    keys: Sequence[Key | None],
    space: dict[Key, int],
    sizes: Sequence[int],
    whole: tuple[int, ...],
) -> Fit:
    dims = tuple(-1 if k is None else space[k] for k in keys)
    kept = [d for d in dims if d >= 0]
    order = tuple(sorted(range(len(kept)), key=kept.__getitem__))
    missing = tuple((d, sizes[d]) for d in range(len(sizes)) if d not in kept)
    natural = order == tuple(range(len(order)))
    restore = () if natural else tuple(order.index(a) for a in range(len(order)))
    scales = _scales(layout)
    inner = tuple(flag for s in scales for flag in ((False, True) if s != 1 else (False,)))
    own = tuple(d for d, block in zip(dims, inner, strict=True) if not block)
    stays = [a for a, d in enumerate(own) if d >= 0]
    return Fit(
        "align",
        project=tuple(a for a in reversed(range(len(own))) if own[a] < 0),
        transpose=() if natural else order,
        promote=missing,
        keep_whole=whole,
        take=tuple(slice(None) if d in kept else 0 for d in range(len(sizes))) if missing else (),
        restore=restore,
        expand=tuple(None if d < 0 else slice(None) for d in dims) if -1 in dims else (),
        dims=own,
        blocks=tuple(
            (place, (int(layout.shape[a] or 0) // scales[a], scales[a]))
            for place, a in reversed([*enumerate(stays)])
            if scales[a] != 1
        ),
        merge=inner if any(inner) else (),
    )


def _source(index: int, layouts: Sequence[Layout], fits: Sequence[Fit], count: int) -> tuple[int, int] | None:
    # Results first, and plain ones before reductions.
    order = sorted(range(len(layouts)), key=lambda p: (p < count, layouts[p].combined))
    for position in order:
        if index in layouts[position].axes and fits[position].how == "align":
            return position, fits[position].dims[layouts[position].axes.index(index)]
    return None
