"""What a call's shapes, dtypes and scalars decide of its launch, worked out once; and the launch itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import itemgetter
from typing import Any

import legate.core as lg
import numpy as np

from xpdispatch.arrays.dtypes import check_cast
from xpdispatch.arrays.reductions import check_dtype, needs_sort_keys
from xpdispatch.errors import EngineError, ShapeError
from xpdispatch.language.constraints import HINTS
from xpdispatch.legate.alignment import (
    Fit,
    Images,
    Recipe,
    Rects,
    recipe_of_call,
)
from xpdispatch.legate.fences import runtime, submit
from xpdispatch.legate.leaf import Header, packed_header
from xpdispatch.legate.rects import rects_of, rects_of_windows
from xpdispatch.legate.releases import (
    IMAGES_OF_ANY_RANK,
    MOST_UNBOUND,
    cutting_cells,
    fewest_cells,
    least_extents,
    type_of_bytes,
)
from xpdispatch.legate.stores import Held, grid_store, memory_limit, store_behind
from xpdispatch.legate.stretches import bytes_of_rects, stays_whole, windows_of
from xpdispatch.legate.tasks import carrier_of, joiner_of, library, task_of
from xpdispatch.planning.arguments import plan_of, refuse_empty
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.plan import Plan, Shape, show_shape
from xpdispatch.planning.tiles import whole
from xpdispatch.planning.windows import Layout
from xpdispatch.running.calls import site_on_numpy
from xpdispatch.running.cutting import Cutter, same_elements
from xpdispatch.running.dry_run import result_types
from xpdispatch.running.learned import Learned

_LARGEST_SCALAR = 1_000_000
_REDUCTIONS = {"sum": "ADD", "prod": "MUL", "max": "MAX", "min": "MIN", "any": "MAX", "all": "MIN", "xor": "XOR"}
"""Legate's operator for each of ours. On bool, any and all are MAX and MIN: OR ends the process there."""

_HINTS = {name: lg.ImageComputationHint[name] for name in HINTS}
_HINTS["NO_HINT"] = lg.ImageComputationHint.MIN_MAX
"""Bodies get all from the first to the last element; and along a promoted store Legate's exact image is wrong."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a call's shapes, dtypes and scalars decide of its launch.

    Parameters
    ----------
    definition : Definition
    plan : Plan
    recipe : Recipe
    types : tuple of (numpy.dtype, tuple of int)
        Dtype and shape of each result.
    keyed : tuple of bool
        For each result whether it is reduced over integers that sort as its floats do.
    header : object
        The part that the leaf needs, as a scalar of Legate's.
    task : object
        The kernel's task as Legate knows it, or None where nothing is to be computed.
    tight : bool
        Whether the arrays fit in memory only as far as some are the same, so that each call is to be looked at.
    unlike : tuple of (int, int)
        The pairs of operands that are not cut alike, and so must not share memory.
    written : tuple of (int, int, bool)
        The operands that must not share memory with an array that is given for a result, whose place is counted after
        all operands; and whether a task reads of the operand just what it writes, if both are one array.
    pointed : tuple of int
        The operands to which others point, and which must not be views.
    mixed : bool
        Operands may have to be copied, for any of these three.
    full : tuple of (int, tuple of int)
        The stores that every task gets in full, or along some dimensions: in the order of variables.
    free : tuple of int
        Those of 0-d arrays.
    first : int
        The first that Legate cuts, and not by another.
    second : bool
        Whether a second task puts together what the tasks tell.
    to_finish : tuple of (int, (tuple of int, numpy.dtype) or None)
        The results that tasks do not just write to the array that is given; and shape and dtype of those that are new.
    alike : bool
        All stores are cut alike, so that one that comes twice needs no partition of its own.
    aligned : tuple of callable
        What takes the variables that are aligned with one another from all of them.
    """

    definition: Definition
    plan: Plan
    recipe: Recipe
    types: tuple[tuple[np.dtype[Any], Shape], ...]
    keyed: tuple[bool, ...]
    header: Any
    task: Any
    tight: bool
    unlike: tuple[tuple[int, int], ...]
    written: tuple[tuple[int, int, bool], ...]
    pointed: tuple[int, ...]
    mixed: bool
    full: tuple[tuple[int, tuple[int, ...]], ...]
    free: tuple[int, ...]
    first: int
    second: bool
    to_finish: tuple[tuple[int, tuple[Shape, np.dtype[Any]] | None], ...]
    alike: bool
    aligned: tuple[Callable[[Sequence[Any]], Sequence[Any]], ...]


def make_launch(
    definition: Definition,
    operands: Sequence[Held],
    given: Sequence[Held | None],
    scalars: Sequence[Any],
    learned: Learned,
    *,
    cut: bool,
) -> Launch:
    """Plan a call, learn what its results are, and fit its arrays together.

    `learned` keeps what dry runs tell; `cut` says that there are to be several tasks, however little they do.

    Raises
    ------
    XPDispatchError
        Whatever of shapes, dtypes or memory does not fit.
    """
    body = definition.body
    dtypes = [h.dtype for h in operands]
    plan = plan_of(definition, operands, scalars, given)
    if plan.empty:
        refuse_empty(plan)
    types, sample = result_types(definition, plan, dtypes, scalars, [None if g is None else g.dtype for g in given])
    _check_ranks(types)
    tight = check_room(plan, types, operands, given)
    for layout, (dtype, _), g in zip(plan.results, types, given, strict=True):
        if layout.op and layout.op != "fold":
            check_dtype(layout.op, layout.name, dtype)
        if g is not None:
            check_cast(layout.name, dtype, g.dtype)
    plan = plan.with_result_shapes([shape for _, shape in types])
    _check_rows(plan)
    cutter = Cutter(definition, site_on_numpy(definition, plan, dtypes), None, learned)
    recipe = recipe_of_call(
        plan,
        types,
        [h.inline for h in operands],
        lg.LEGATE_MAX_DIM,
        deterministic=definition.deterministic,
        most_unbound=MOST_UNBOUND,
        possible=_possible(operands),
        small=not cut and cutter.for_one_task(whole(plan), scalars),
    )
    # What goes to a buffer is cast to its dtype, and the sample saw that dtype alone.
    cast = tuple(layout.op is None and r in body.buffers for r, layout in enumerate(plan.results))
    planned = tuple(dtype for dtype, _ in types)
    header = packed_header(Header(plan, recipe, tuple(dtypes), planned, cast, sample))
    keyed = tuple(
        layout.op is not None and layout.combined and not recipe.one_piece and needs_sort_keys(layout.op, dtype)
        for layout, (dtype, _) in zip(plan.results, types, strict=True)
    )
    cuts = [
        (fit, layout.shape, layout.outline.reaches if fit.how == "window" else ())
        for fit, layout in zip(recipe.operands, plan.operands, strict=True)
    ]
    held = [p for p, h in enumerate(operands) if not h.inline]
    unlike = tuple((p, q) for p, q in combinations(held, 2) if cuts[p] != cuts[q])
    alone = len(plan.results) == 1 and not body.buffers and plan.results[0].op is None
    written = tuple(
        (
            p,
            len(operands) + r,
            alone and recipe.operands[p] == recipe.results[r] and same_elements(plan.operands[p], plan.results[r]),
        )
        for r, g in enumerate(given)
        if g is not None and g.store is not None
        for p in held
        if not (r in body.buffers and body.updated[r] == p)
    )
    pointed = tuple(p for _, ranges, _ in recipe.images for p in ranges if p < len(operands))  # rects are none
    once = [not (layout.op or layout.concatenated or r in recipe.gathered) for r, layout in enumerate(plan.results)]
    fits = (*recipe.operands, *recipe.results)
    grid = () if recipe.grid is None else (recipe.grid[1],)
    entering = (*fits, *grid, *(b.fit for b in recipe.rects if not b.instead))
    more = recipe.second or recipe.rects or recipe.images or recipe.grid
    return Launch(
        definition,
        plan,
        recipe,
        tuple(types),
        keyed,
        lg.Scalar(header),
        None if plan.empty else task_of(definition, recipe),
        tight,
        unlike,
        written,
        pointed,
        bool(unlike or written or pointed),
        tuple((n, fit.keep_whole) for n, fit in enumerate(entering) if fit.how == "broadcast" or fit.keep_whole),
        tuple(n for n, fit in enumerate(fits) if fit.how == "free"),
        next(iter(recipe.scaled), next((n for n, fit in enumerate(entering) if fit.how == "align"), 0)),
        second=recipe.second and not plan.empty,
        to_finish=tuple(
            (r, (shape, dtype) if own and g is None else None)
            for r, (own, (dtype, shape), g) in enumerate(zip(once, types, given, strict=True))
            if not own or g is None or g.value is not None
        ),
        alike=not more
        and all(fit == fits[0] and fit.is_plain for fit in fits)
        and all(o.op is None and not o.accumulate for o in plan.results),
        aligned=tuple(itemgetter(*group) for group in recipe.aligned),
    )


def issue(launch: Launch, entries: Sequence[Any], results: Sequence[Any], told: Sequence[Any], payload: bytes) -> None:
    """Launch the task of a call over these stores.

    `told` are those of unknown size for a second task: where tiles lie, and the ends of their scans.
    """
    recipe, options = launch.recipe, launch.definition.options
    task = runtime.create_auto_task(library, launch.task)
    if options:
        task.set_concurrent(options.get("concurrent", False))
        task.set_side_effect(options.get("has_side_effect", False))
    variables: list[Any] = []
    if launch.alike:
        for entry in entries:  # in less time than in a comprehension
            variables.append(task.add_input(entry))  # noqa: PERF401
        for store in results:
            variables.append(task.add_output(store))  # noqa: PERF401
    else:
        variables = _add_arrays(task, launch, entries, results, told)
    for n, axes in launch.full:
        task.add_constraint(lg.broadcast(variables[n], axes) if axes else lg.broadcast(variables[n]))
    for pick in launch.aligned:
        task.add_constraint(lg.align(*pick(variables)))
    for n in recipe.scaled[1:]:
        task.add_constraint(lg.scale(recipe.factors, variables[launch.first], variables[n]))
    if recipe.least:
        task.add_constraint(least_extents(variables[launch.first], recipe.least))
    task.add_scalar_arg(launch.header)
    if len(payload) <= _LARGEST_SCALAR:
        task.add_scalar_arg(lg.Scalar(payload, type_of_bytes(len(payload))))  # the task takes twice as long to make one
    else:
        task.add_scalar_arg(payload, (lg.uint8,))
    if recipe.share == 1:
        submit(task)
        return
    with cutting_cells(recipe.share):
        submit(task)


def _add_arrays(
    task: Any, launch: Launch, entries: Sequence[Any], results: Sequence[Any], told: Sequence[Any]
) -> list[Any]:
    """Give a task its stores, as the recipe says, and the constraints that are not the same for all calls."""
    recipe = launch.recipe
    rects = [(b, _rects(launch.plan, b, entries[b.operand])) for b in recipe.rects]
    instead = {b.operand: store for b, store in rects if b.instead}
    extra = [] if recipe.grid is None else [(grid_store(recipe.grid[0]), recipe.grid[1])]
    extra += [(s, b.fit) for b, s in rects if not b.instead]
    variables: list[Any] = []
    for p, (entry, fit) in enumerate(zip(entries, recipe.operands, strict=True)):
        if fit.how == "inline":
            variables.append(None)
            continue
        entering = instead.get(p, entry)
        if not fit.is_plain:
            entering = fit.turn(store_behind(entering))
        variables.append(task.add_input(entering, task.declare_partition()))
    for store, layout, fit in zip(results, launch.plan.results, recipe.results, strict=True):
        variables.append(
            None if fit.how == "inline" else _add_result(task, store, layout, fit, one_piece=recipe.one_piece)
        )
    for store in told:
        task.add_output(store)
    for store, fit in extra:
        variables.append(task.add_input(fit.turn(store), task.declare_partition()))
    again = [store_behind(entries[b.operand]) for b in recipe.seams]
    variables += [task.add_input(store, task.declare_partition()) for store in again]
    for n, store in enumerate((*entries, *results)):
        if n in launch.free and store_behind(store).ndim:
            task.add_constraint(lg.broadcast(variables[n]))
    for function, ranges, hint in recipe.images:
        for p in ranges:
            task.add_constraint(lg.image(variables[function], variables[p], _HINTS[hint]))
    return variables


def _possible(operands: Sequence[Held]) -> Images:
    """The images that Legate can make: none with a halo where no CPU could make rects, and of views by a copy."""
    cpus = runtime.machine.count(lg.TaskTarget.CPU)
    return Images(
        pointers=tuple(p for p, h in enumerate(operands) if h.followable),
        uncut=tuple(
            p
            for p, h in enumerate(operands)
            if not cpus or h.store is None or (h.store.transformed and stays_whole(h.shape))
        ),
        any_rank=IMAGES_OF_ANY_RANK,
        fewest=fewest_cells(),
    )


def _rects(plan: Plan, kind: Rects, entry: Any) -> Any:
    if kind.axis is None:
        return rects_of(store_behind(entry), kind)
    layout = plan.operands[kind.operand]
    extent = plan.extents[layout.axes[kind.axis]]
    return rects_of_windows(layout, kind.axis, extent, kind.stretch, seam=kind.seam)


def _add_result(task: Any, store: Any, layout: Layout, fit: Fit, *, one_piece: bool) -> Any:
    if fit.how in ("unbound", "gathered"):
        return task.add_output(store)
    turned = fit.turn(store_behind(store))
    if layout.op and layout.combined and not one_piece:
        return task.add_reduction(turned, int(lg.ReductionOpKind[_REDUCTIONS[layout.op]]), task.declare_partition())
    variable = task.add_output(turned, task.declare_partition())
    if layout.accumulate:
        task.add_input(turned, variable)
    return variable


def issue_joiner(launch: Launch, results: list[Any], places: Any, into: Sequence[Any], payload: bytes) -> None:
    """Launch the task that makes results of partial ones, and put its stores in the place of theirs."""
    task = runtime.create_auto_task(library, joiner_of(launch.definition))
    gathered = launch.recipe.gathered
    for store in (places, *(results[r] for r in gathered)):
        task.add_constraint(lg.broadcast(task.add_input(store)))
    for r, store in zip(gathered, into, strict=True):
        results[r] = store
        variable = task.add_output(store)
        if store.ndim:
            task.add_constraint(lg.broadcast(variable))
    task.add_scalar_arg(launch.header)
    task.add_scalar_arg(payload)
    submit(task)


def issue_carrier(launch: Launch, results: Sequence[Any], told: Sequence[Any], payload: bytes) -> None:
    """Launch the task that combines each tile of scans with what stands before it."""
    task = runtime.create_auto_task(library, carrier_of(launch.definition))
    for store in told:
        task.add_constraint(lg.broadcast(task.add_input(store)))
    variables = []
    for r in launch.recipe.carried:
        fit = launch.recipe.results[r]
        turned, variable = fit.turn(store_behind(results[r])), task.declare_partition()
        task.add_output(turned, variable)
        task.add_input(turned, variable)
        if fit.keep_whole:
            task.add_constraint(lg.broadcast(variable, fit.keep_whole))
        variables.append(variable)
    if len(variables) > 1:
        task.add_constraint(lg.align(*variables))
    task.add_scalar_arg(launch.header)
    task.add_scalar_arg(payload)
    submit(task)


def _check_rows(plan: Plan) -> None:
    """Refuse a result of unknown size whose rows have no element: then nothing would tell how many there are."""
    for layout in plan.results:
        if layout.concatenated and 0 in layout.shape[1:]:
            raise ShapeError(
                f"result {layout.name!r} has shape {show_shape(layout.shape)}: Legate cannot count empty rows",
                hint="call the kernel on NumPy arrays, or return rows with an element",
            )


def _check_ranks(types: Sequence[tuple[np.dtype[Any], Shape]]) -> None:
    for _, shape in types:
        if len(shape) > lg.LEGATE_MAX_DIM:
            raise ShapeError(
                f"a result has {len(shape)} axes, and Legate takes at most {lg.LEGATE_MAX_DIM}",
                hint="merge axes of the result in the body and the notation",
            )


def check_room(
    plan: Plan, types: Sequence[tuple[np.dtype[Any], Shape]], operands: Sequence[Held], given: Sequence[Held | None]
) -> bool:
    """Refuse a call whose own arrays cannot be in memory together, before Legate ends the process over it.

    Legate brings all of them there, those that lie in memory of NumPy's too, and gives none up for another.

    Returns
    -------
    bool
        Whether they fit only since some are views of the same elements.

    Raises
    ------
    EngineError
    """
    limit, flag = memory_limit()
    if not limit or plan.empty:
        return False
    pointed_to = {p for image in plan.images for p in image.ranges}  # of which tasks get parts
    entering = [h for p, h in enumerate(operands) if h.store is not None and p not in pointed_to]
    written = [g for g in given if g is not None and g.store is not None]
    new = sum(
        math.prod(shape) * dtype.itemsize
        for (dtype, shape), g in zip(types, given, strict=True)
        if g is None or g.store is None
    )
    for w in windows_of(plan):
        held = operands[w.operand]
        new += bytes_of_rects(plan.operands[w.operand], -(-plan.extents[w.index] // w.stretch))
        if not w.seam and held.store is not None and held.store.transformed and not stays_whole(held.shape):
            new += _bytes(held)  # the copy
    needed = new + sum(map(_bytes, (*entering, *written)))
    if needed <= limit:
        return False
    apart: list[Held] = []
    for held in (*entering, *written):
        if not any(held.store.overlaps(other.store) for other in apart):
            apart.append(held)
    needed = new + sum(map(_bytes, apart))
    if needed > limit:
        raise EngineError(
            f"the call needs {needed / 2**20:,.0f} MiB for its arrays, {new / 2**20:,.0f} MiB of them for new ones, "
            f"and Legate has {limit / 2**20:,.0f} MiB in all",
            hint=f"start Legate with more memory (--{flag} takes MiB, in LEGATE_CONFIG or on the launcher's line), "
            "or work on smaller arrays",
        )
    return True


def _bytes(held: Held) -> int:
    return math.prod(held.shape) * held.dtype.itemsize
