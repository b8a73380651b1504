"""What a call's shapes, dtypes and scalars decide of its launch, worked out once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import legate.core as lg
import numpy as np

from xpdispatch.arrays.dtypes import check_cast
from xpdispatch.arrays.reductions import check_dtype, needs_sort_keys
from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import EngineError, ShapeError
from xpdispatch.language.boundaries import check_constant
from xpdispatch.legate.leaf import Header, packed_header
from xpdispatch.legate.recipe import Recipe, recipe_of_call, with_results
from xpdispatch.legate.releases import MOST_UNBOUND
from xpdispatch.legate.stores import Held, memory_limit
from xpdispatch.legate.tasks import task_of
from xpdispatch.planning.plan import Plan, Shape, show_shape
from xpdispatch.running.images import check_pointers
from xpdispatch.running.local import refuse_empty


@dataclass(frozen=True, slots=True)
class Launch:
    """What a call's shapes, dtypes and scalars decide of its launch.

    Parameters
    ----------
    plan : Plan
    recipe : Recipe
    types : tuple of (numpy.dtype, tuple of int)
        Dtype and shape of each result.
    keyed : tuple of bool
        For each result whether it is reduced over integers that sort as its floats do.
    header : bytes
        The part that the leaf needs.
    task : object
        The kernel's task as Legate knows it, or None where nothing is to be computed.
    tight : bool
        Whether the arrays fit in memory only as far as some are the same, so that each call is to be looked at.
    unlike : tuple of (int, int)
        The pairs of operands that are not cut alike, and so must not share memory.
    """

    plan: Plan
    recipe: Recipe
    types: tuple[tuple[np.dtype[Any], Shape], ...]
    keyed: tuple[bool, ...]
    header: bytes
    task: Any
    tight: bool
    unlike: tuple[tuple[int, int], ...]


def make_launch(
    kernel: Kernel, operands: Sequence[Held], given: Sequence[Held | None], scalars: Sequence[Any]
) -> Launch:
    """Plan a call, learn what its results are, and fit its arrays together.

    Raises
    ------
    XPDispatchError
        Whatever of shapes, dtypes or memory does not fit.
    """
    dtypes = [h.dtype for h in operands]
    for term, dtype in zip(kernel.operands, dtypes, strict=True):
        if term.name in kernel.boundaries:
            check_constant(str(term.name), kernel.boundaries[term.name], dtype)
    plan = kernel.plan([h.shape for h in operands], scalars, [None if g is None else g.shape for g in given])
    check_pointers(plan, dtypes)
    if plan.empty:
        refuse_empty(plan)
    types = kernel.result_types(plan, dtypes, scalars, [None if g is None else g.dtype for g in given])
    _check_ranks(types)
    tight = check_room(plan, types, operands, given)
    for layout, (dtype, _), g in zip(plan.results, types, given, strict=True):
        if layout.op and layout.op != "fold":
            check_dtype(layout.op, layout.name, dtype)
        if g is not None:
            check_cast(layout.name, dtype, g.dtype)
    plan = with_results(plan, types)
    _check_rows(plan)
    recipe = recipe_of_call(
        plan,
        types,
        [h.inline for h in operands],
        lg.LEGATE_MAX_DIM,
        deterministic=kernel.deterministic,
        most_unbound=MOST_UNBOUND,
        pointers=[p for p, h in enumerate(operands) if h.followable],
    )
    # What goes to a buffer is cast to its dtype, and the sample saw that dtype alone.
    cast = tuple(layout.op is None and r in kernel.body.buffers for r, layout in enumerate(plan.results))
    planned = tuple(dtype for dtype, _ in types)
    header = packed_header(Header(plan, recipe, tuple(dtypes), planned, cast))
    keyed = tuple(
        layout.op is not None and not recipe.one_piece and needs_sort_keys(layout.op, dtype)
        for layout, (dtype, _) in zip(plan.results, types, strict=True)
    )
    task = None if plan.empty else task_of(kernel, recipe)
    cuts = [(fit, layout.shape) for fit, layout in zip(recipe.operands, plan.operands, strict=True)]
    unlike = tuple((p, q) for p, q in combinations(range(len(cuts)), 2) if cuts[p] != cuts[q])
    return Launch(plan, recipe, tuple(types), keyed, header, task, tight, unlike)


def _check_rows(plan: Plan) -> None:
    """Refuse a result of unknown size whose rows have no cell: then nothing would tell how many there are."""
    for layout in plan.results:
        if layout.joined and 0 in layout.shape[1:]:
            raise ShapeError(
                f"result {layout.name!r} has shape {show_shape(layout.shape)}: Legate cannot count rows without a cell",
                hint="call the kernel on NumPy arrays, or return rows with a cell",
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
        Whether they fit only since some are views of the same cells.

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
