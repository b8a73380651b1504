"""What a call's shapes, dtypes and scalars decide of its launch, worked out once."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import legate.core as lg
import numpy as np

from xpdispatch.boundaries import check_constant
from xpdispatch.dtypes import check_cast
from xpdispatch.engines.legate.leaf import Header
from xpdispatch.engines.legate.recipe import Recipe, make_recipe
from xpdispatch.engines.legate.releases import MOST_UNBOUND
from xpdispatch.engines.legate.stores import Held, memory_limit
from xpdispatch.engines.legate.tasks import task_of
from xpdispatch.engines.local import refuse_empty
from xpdispatch.errors import MemoryLimitError, ShapeError
from xpdispatch.images import check_pointers
from xpdispatch.kernel import Kernel
from xpdispatch.plan import Plan, Shape, show_shape
from xpdispatch.reductions import check_dtype, needs_sort_keys


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
    """

    plan: Plan
    recipe: Recipe
    types: tuple[tuple[np.dtype[Any], Shape], ...]
    keyed: tuple[bool, ...]
    header: bytes
    task: Any


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
    _check_room(operands, given, types)
    for layout, (dtype, _), g in zip(plan.results, types, given, strict=True):
        if layout.op and layout.op != "fold":
            check_dtype(layout.op, layout.name, dtype)
        if g is not None:
            check_cast(layout.name, dtype, g.dtype)
    shapes = [(None, *s[1:]) if r.joined else s for r, (_, s) in zip(plan.results, types, strict=True)]
    plan = plan.with_result_shapes(shapes)
    _check_rows(plan)
    apart = [*(h.inline for h in operands), *(0 in shape for shape in shapes)]
    ordered = _ordered(kernel, plan, types)
    unbound = sum(layout.joined for layout in plan.results) + (len(ordered) + 1 if ordered else 0)  # and their places
    # What is there already has no place in the order; and where there is no index there is one tile.
    one_piece = not plan.indices or any(plan.results[r].accumulate for r in ordered) or unbound > MOST_UNBOUND
    recipe = make_recipe(
        plan,
        apart,
        lg.LEGATE_MAX_DIM,
        one_piece=one_piece,
        gathered=() if one_piece else ordered,
        pointers=[p for p, h in enumerate(operands) if h.followable],
    )
    # What goes to a buffer is cast to its dtype, and the sample saw that dtype alone.
    cast = tuple(layout.op is None and r in kernel.body.buffers for r, layout in enumerate(plan.results))
    planned = tuple(dtype for dtype, _ in types)
    header = pickle.dumps(Header(plan, recipe, tuple(dtypes), planned, cast), protocol=pickle.HIGHEST_PROTOCOL)
    keyed = tuple(
        layout.op is not None and not recipe.one_piece and needs_sort_keys(layout.op, dtype)
        for layout, (dtype, _) in zip(plan.results, types, strict=True)
    )
    task = None if plan.empty else task_of(kernel, recipe)
    return Launch(plan, recipe, tuple(types), keyed, header, task)


def _check_rows(plan: Plan) -> None:
    """Refuse a result of unknown size whose rows have no cell: then nothing would tell how many there are."""
    for layout in plan.results:
        if layout.joined and 0 in layout.shape[1:]:
            raise ShapeError(
                f"result {layout.name!r} has shape {show_shape(layout.shape)}: Legate cannot count rows without a cell",
                hint="call the kernel on NumPy arrays, or return rows with a cell",
            )


def _check_room(
    operands: Sequence[Held], given: Sequence[Held | None], types: Sequence[tuple[np.dtype[Any], Shape]]
) -> None:
    """Refuse a call whose new arrays cannot fit, before Legate ends the process over it."""
    for _, shape in types:
        if len(shape) > lg.LEGATE_MAX_DIM:
            raise ShapeError(
                f"a result has {len(shape)} axes, and Legate takes at most {lg.LEGATE_MAX_DIM}",
                hint="merge axes of the result in the body and the notation",
            )
    new = sum(math.prod(shape) * d.itemsize for (d, shape), g in zip(types, given, strict=True) if g is None)
    new += sum(math.prod(h.shape) * h.dtype.itemsize for h in operands if h.copied)
    limit, flag = memory_limit()
    if limit and new > limit:
        raise MemoryLimitError(
            f"the call needs {new / 2**20:,.0f} MiB for new arrays, and Legate has {limit / 2**20:,.0f} MiB in all",
            hint=f"start Legate with more memory (--{flag} takes MiB), or work on smaller arrays",
        )


def _ordered(kernel: Kernel, plan: Plan, types: Sequence[tuple[np.dtype[Any], Shape]]) -> tuple[int, ...]:
    """The results that Legate's own reductions cannot give, and that are put together in the order of the tiles.

    It knows no fold, multiplies no complex128, and adds floats in an order that changes from run to run.
    """
    found = []
    for r, (layout, (dtype, shape)) in enumerate(zip(plan.results, types, strict=True)):
        inexact = layout.op in ("sum", "prod") and dtype.kind in "fc"
        product = (layout.op, dtype) == ("prod", np.dtype(np.complex128))
        if 0 not in shape and (layout.op == "fold" or product or (inexact and kernel.deterministic)):
            found.append(r)
    return tuple(found)
