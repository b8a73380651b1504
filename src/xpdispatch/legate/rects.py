"""Stores of rects, Legate's rects: what pointers stand for, in the form that Legate's image follows."""

from __future__ import annotations

from functools import cache
from typing import Any

import legate.core as lg
import numpy as np
from legate.core.types import int64, rect_type

from xpdispatch.legate.alignment import Rects
from xpdispatch.legate.releases import data_of, task_info
from xpdispatch.legate.tasks import library


def rects_of(store: Any, kind: Rects) -> Any:
    """Launch the task that makes rects of pointers; those without an element end before they begin."""
    count = store.shape[0] - 1
    ends = [store.slice(0, slice(0, count)), store.slice(0, slice(1, count + 1))] if kind.borders else [store]
    runtime = lg.get_legate_runtime()
    rects = runtime.create_store(rect_type(1 + len(kind.tail)), tuple(ends[0].shape))
    task = runtime.create_auto_task(library, _registered())
    variables = [task.add_input(end, task.declare_partition()) for end in ends]
    variables.append(task.add_output(rects))
    task.add_constraint(lg.align(*variables))
    task.add_scalar_arg(kind.tail or (0,), (int64,))
    task.execute()
    return rects


@cache
def _registered() -> Any:
    task = library.get_new_task_id()
    # No task for GPUs: CuPy has no type for rects.
    library.register_task(task_info(library, task, "xpdispatch.rects", [(lg.VariantCode.CPU, _leaf)]))
    return task


def _leaf(context: Any) -> None:
    inputs = [np.asarray(data_of(a)) for a in context.inputs]
    filled = np.asarray(data_of(context.outputs[0]))
    if not filled.size:
        return
    tail = [int(n) for n in context.scalars[0].value()]
    rank = filled.dtype.itemsize // 16
    ends = np.empty((*filled.shape, 2 * rank), np.int64)
    ends[..., 0] = inputs[0]
    ends[..., rank] = inputs[-1]
    if len(inputs) == 2:
        ends[..., rank] -= 1
    for axis in range(1, rank):
        ends[..., axis], ends[..., rank + axis] = 0, tail[axis - 1] - 1
    filled[...] = ends.view(filled.dtype)[..., 0]
