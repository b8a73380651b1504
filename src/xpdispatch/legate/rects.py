"""Stores of rects, Legate's rects: what pointers and halos stand for, in the form that Legate's image follows."""

from __future__ import annotations

import pickle
from typing import Any

import legate.core as lg
import numpy as np
from legate.core.types import int64, rect_type

from xpdispatch.legate.alignment import Rects
from xpdispatch.legate.fences import runtime
from xpdispatch.legate.releases import data_of
from xpdispatch.legate.stretches import bytes_of_rects
from xpdispatch.legate.tasks import library, own_task
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.planning.windows import Layout
from xpdispatch.running.parts import source_elements

_CPU = ("CPU",)
"""CuPy has no type for rects."""

_windows = BoundedCache()
_windows.bound = 16
"""Rects of halos, by layout, axis, extent of the index, stretch and whether they are of what wraps around: as long as
Legate has them it keeps the partitions made by them."""

_MOST = 1 << 26
"""Bytes of all of them, but where the latest alone have more."""
runtime.add_shutdown_callback(_windows.clear)


def rects_of_windows(layout: Layout, axis: int, extent: int, stretch: int, *, seam: bool) -> Any:
    """The store that has for each stretch of an index of this extent all that a body sees of an operand for it.

    That is its window along the axis, with what stands in for elements outside, and all along the other axes. What
    wraps around is not among it, but in rects of its own, those of the `seam`, of which most are empty.
    """
    key = layout.outline, axis, extent, stretch, seam
    found = _windows.get(key)
    if found is None:
        count = -(-extent // stretch)
        held = bytes_of_rects(layout, count) + sum(bytes_of_rects(k[0], s.shape[0]) for k, s in _windows.items())
        if held > _MOST:
            _windows.clear()
        found = _windows[key] = runtime.create_store(rect_type(len(layout.shape)), (count,))
        task = runtime.create_auto_task(library, own_task("rects", _fill_windows, _CPU))
        task.add_output(found)
        task.add_scalar_arg(pickle.dumps(key))
        task.execute()
    return found


def _fill_windows(context: Any) -> None:
    store = data_of(context.outputs[0])
    filled = np.asarray(store)
    if not filled.size:
        return
    layout, axis, elements, stretch, seam = pickle.loads(context.scalars[0].value())
    shape = tuple(int(n) for n in layout.shape)
    extent = shape[axis]
    first = (np.arange(filled.size) + store.domain.lo[0]) * stretch
    low, high = layout.window(axis, first, np.minimum(first + stretch, elements))
    ends = np.empty((filled.size, 2, len(shape)), np.int64)
    ends[:, 0], ends[:, 1] = 0, np.subtract(shape, 1)
    if seam:  # the last elements for those below the first, the first ones for those above the last
        low, high = np.where(high > extent, 0, extent + np.minimum(low, 0)), np.where(low < 0, extent, high - extent)
    ends[:, 0, axis] = np.clip(low, 0, extent - 1)
    ends[:, 1, axis] = np.clip(high - 1, 0, extent - 1)
    boundary = layout.reaches[axis].boundary
    if boundary in ("reflect", "symmetric"):
        for k in np.flatnonzero((low < 0) | (high > extent)):
            sources = source_elements(int(low[k]), int(high[k]), extent, boundary)
            ends[k, :, axis] = sources.min(), sources.max()
    filled[...] = ends.reshape(filled.size, -1).view(filled.dtype)[:, 0]


def rects_of(store: Any, kind: Rects) -> Any:
    """Launch the task that makes rects of pointers; those without an element end before they begin."""
    count = store.shape[0] - 1
    ends = [store.slice(0, slice(0, count)), store.slice(0, slice(1, count + 1))] if kind.borders else [store]
    rects = runtime.create_store(rect_type(1 + len(kind.tail)), tuple(ends[0].shape))
    task = runtime.create_auto_task(library, own_task("rects", _leaf, _CPU))
    variables = [task.add_input(end, task.declare_partition()) for end in ends]
    variables.append(task.add_output(rects))
    task.add_constraint(lg.align(*variables))
    task.add_scalar_arg(kind.tail or (0,), (int64,))
    task.execute()
    return rects


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
