"""From a plan to a launch: how each store is turned so that Legate can align all of them. Pure.

Legate aligns stores of equal shape only. So the arrays of a call are fitted into one common space: its
dimensions are the split indices and the whole axes (axes of equal extent share one). An axis of extent 1
that stays whole is projected away, the rest is put in the common order, and missing dimensions are
promoted, which copies nothing. Whole dimensions are then broadcast, and all stores aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from xpdispatch.plan import WHOLE, Layout, Plan


@dataclass(frozen=True, slots=True)
class Fit:
    """How one store enters a launch, and how its part is turned back in the leaf.

    Parameters
    ----------
    how : {"align", "broadcast", "free", "inline"}
        Fitted and aligned; whole in every tile; 0-d, which needs no constraint; or not a store at all but
        sent with the scalars (0-d NumPy arrays, arrays without a cell).
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
    """

    how: Literal["align", "broadcast", "free", "inline"]
    project: tuple[int, ...] = ()
    transpose: tuple[int, ...] = ()
    promote: tuple[tuple[int, int], ...] = ()
    keep_whole: tuple[int, ...] = ()
    take: tuple[Any, ...] = ()
    restore: tuple[int, ...] = ()
    expand: tuple[Any, ...] = ()
    dims: tuple[int, ...] = ()

    def turn(self, store: Any) -> Any:
        """The store as the launch sees it; every step is a view."""
        for axis in self.project:
            store = store.project(axis, 0)
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
        return array[self.expand] if self.expand else array


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
        For each index the array (operands first), its axis and its dimension that tell a tile's size
        and start; None where no store has the index.
    """

    operands: tuple[Fit, ...]
    results: tuple[Fit, ...]
    aligned: tuple[tuple[int, ...], ...]
    one_piece: bool
    sources: tuple[tuple[int, int, int] | None, ...]


def make_recipe(plan: Plan, inline: Sequence[bool], max_dim: int, *, one_piece: bool) -> Recipe:
    """Fit every array of a plan.

    Parameters
    ----------
    plan : Plan
        Complete and with a cell on every index.
    inline : sequence of bool
        For each operand and then each result whether it is sent with the scalars.
    max_dim : int
        Legate's greatest number of dimensions.
    one_piece : bool
        Run a single task whatever the plan allows.
    """
    layouts = (*plan.operands, *plan.results)
    # Only the explicit spelling can leave arrays unaligned, or let every tile write a whole result. What tiles would
    # mean there depends on how Legate cuts; one piece means what it means in this process.
    indices = set(range(len(plan.indices)))
    loose = any(layout.op is None and not indices <= set(layout.axes) for layout in plan.results)
    one_piece = one_piece or loose or len(plan.spaces) > 1
    fits = [_simple(layout, inline=apart) for layout, apart in zip(layouts, inline, strict=True)]
    aligned: list[tuple[int, ...]] = []
    for space in plan.spaces:
        members = [p for p, fit in enumerate(fits) if fit is None and set(layouts[p].axes) & set(space)]
        fitted = _fit_space([layouts[p] for p in members], plan.extents, max_dim)
        one_piece = one_piece or fitted is None
        for position, fit in zip(members, fitted or (), strict=False):
            fits[position] = fit
        aligned.append(tuple(members))
    if one_piece:
        aligned = []
        fits = [
            fit if fit and fit.how != "align" else Fit("broadcast", dims=_natural(layout))
            for fit, layout in zip(fits, layouts, strict=True)
        ]
    done = tuple(fit for fit in fits if fit is not None)
    count = len(plan.operands)
    return Recipe(
        done[:count],
        done[count:],
        tuple(a for a in aligned if len(a) > 1),
        one_piece,
        tuple(_source(i, layouts, done, count) for i in range(len(plan.indices))),
    )


def _natural(layout: Layout) -> tuple[int, ...]:
    return tuple(range(len(layout.axes)))


def _simple(layout: Layout, *, inline: bool) -> Fit | None:
    """The fit of an array that no index cuts, or None."""
    if inline:
        return Fit("inline")
    if not layout.axes:
        return Fit("free")
    if set(layout.axes) == {WHOLE}:
        return Fit("broadcast", dims=_natural(layout))
    return None


def _fit_space(layouts: Sequence[Layout], extents: Sequence[int], max_dim: int) -> list[Fit] | None:
    """Fit arrays into their common space, or None where Legate has too few dimensions for it."""
    keys = [_keys(layout) for layout in layouts]
    widest = max(keys, key=lambda k: sum(key is not None for key in k), default=())
    space: dict[tuple[str, int, int], int] = {}
    for key in (k for ks in (widest, *keys) for k in ks if k is not None):
        space.setdefault(key, len(space))
    if len(space) > max_dim:
        return None
    sizes = [extents[key[1]] if key[0] == "index" else key[1] for key in space]
    whole = tuple(d for key, d in space.items() if key[0] == "whole")
    return [_fit(ks, space, sizes, whole) for ks in keys]


def _keys(layout: Layout) -> tuple[tuple[str, int, int] | None, ...]:
    """For each axis its dimension's key: an index, or an extent and how many axes had it before."""
    keys: list[tuple[str, int, int] | None] = []
    for axis, extent in zip(layout.axes, layout.shape, strict=True):
        if axis != WHOLE:
            keys.append(("index", axis, 0))
        elif extent == 1:
            keys.append(None)
        else:
            before = sum(k is not None and k[:2] == ("whole", extent) for k in keys)
            keys.append(("whole", int(extent or 0), before))
    return tuple(keys)


def _fit(
    keys: Sequence[tuple[str, int, int] | None],
    space: dict[tuple[str, int, int], int],
    sizes: Sequence[int],
    whole: tuple[int, ...],
) -> Fit:
    dims = tuple(-1 if k is None else space[k] for k in keys)
    kept = [d for d in dims if d >= 0]
    order = tuple(sorted(range(len(kept)), key=kept.__getitem__))
    missing = tuple((d, sizes[d]) for d in range(len(sizes)) if d not in kept)
    natural = order == tuple(range(len(order)))
    restore = () if natural else tuple(order.index(a) for a in range(len(order)))
    return Fit(
        "align",
        project=tuple(a for a in reversed(range(len(dims))) if dims[a] < 0),
        transpose=() if natural else order,
        promote=missing,
        keep_whole=whole,
        take=tuple(slice(None) if d in kept else 0 for d in range(len(sizes))) if missing else (),
        restore=restore,
        expand=tuple(None if d < 0 else slice(None) for d in dims) if -1 in dims else (),
        dims=dims,
    )


def _source(index: int, layouts: Sequence[Layout], fits: Sequence[Fit], count: int) -> tuple[int, int, int] | None:
    # Results first: a halo makes an operand's part larger than the tile. Plain ones before reductions.
    order = sorted(range(len(layouts)), key=lambda p: (p < count, layouts[p].op is not None))
    for position in order:
        if index in layouts[position].axes and fits[position].how != "inline":
            axis = layouts[position].axes.index(index)
            return position, axis, fits[position].dims[axis]
    return None
