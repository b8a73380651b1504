"""What the processes of one program tell one another, at a point of the program that all of them reach.

Legate runs the same program in every process and takes care of arrays alone; what a process keeps for itself, such as
the exceptions of its tasks, goes through here: by tasks, of which each process gets one at least. Inside a
``Scope(machine=...)`` those processes alone take part that have a processor in it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import legate.core as lg
import numpy as np
from legate.core import types

from xpdispatch.arrays.namespaces import load
from xpdispatch.legate.leaf import view
from xpdispatch.legate.releases import data_of
from xpdispatch.legate.tasks import library, own_task

runtime = lg.get_legate_runtime()
rank = int(runtime.node_id)
"""Which of the processes this is."""
several = runtime.node_count > 1
"""Whether there are others."""

_mine: Any = None
"""What this process has to tell; the first of its tasks takes it."""


def total(value: int) -> int:
    """The sum of what the processes give; takes 1 ms."""
    return _reduced(value, "ADD") if several else value


def of_all(value: Any) -> Mapping[int, Any]:
    """What the processes give, by rank; it is pickled, and arrives in all of them.

    Each task writes a row of one array.
    """
    if not several:
        return {rank: value}
    sent = pickle.dumps((rank, value))
    width = _reduced(len(sent), "MAX")
    store = runtime.create_store(types.uint8, (_points()[1], width))
    task = _ask(_tell, sent, axes=2)
    task.add_output(store.partition_by_tiling((1, width)))
    task.execute()
    rows = np.asarray(store.get_physical_store())
    return dict(pickle.loads(row) for row in rows if row[0])


def _reduced(value: int, op: str) -> int:
    """What the processes give, all of it positive or 0, in one number."""
    store = runtime.create_store(types.int64, (), optimize_scalar=True)
    store.fill(lg.Scalar(0, types.int64))
    task = _ask(_give, (value, op))
    task.add_reduction(store, int(lg.ReductionOpKind[op]))
    task.execute()
    return int(np.asarray(store.get_physical_store()))


def _points() -> tuple[Any, int]:
    """The kind of processors that tell, and how many tasks that is.

    Of a launch of one task every process would see its own sum.
    """
    machine = runtime.machine
    kind = lg.TaskTarget.CPU if machine.count(lg.TaskTarget.CPU) else machine.preferred_target
    return kind, max(2, machine.count(kind))


def _ask(leaf: Any, value: Any, *, axes: int = 1) -> Any:
    """A launch of so many axes with a task for each processor, in which this process has something to say."""
    global _mine  # noqa: PLW0603
    _mine = value
    kind, points = _points()
    with lg.Scope(machine=runtime.machine.only(kind)):
        return runtime.create_manual_task(library, own_task("collective", leaf), (points, 1)[:axes])


def _take() -> Any:
    global _mine
    mine, _mine = _mine, None
    return mine


def _give(context: Any) -> None:
    told = _take()
    if told is not None:
        value, op = told
        into = view(_arrays(context), data_of(context.reductions[0]))
        into[...] = into + value if op == "ADD" else max(int(into), value)


def _tell(context: Any) -> None:
    sent, arrays = _take() or b"", _arrays(context)
    row = view(arrays, data_of(context.outputs[0]))[0]
    row[...] = 0
    row[: len(sent)] = arrays.asarray(np.frombuffer(sent, np.uint8))


def fill(store: Any, value: np.generic) -> None:
    """Fill a store that several processes share, by a task.

    Of Legate's own fills, of stores of the same shape that are cut in other ways, one in some hundreds ends Legate 26.1
    there, with a segmentation fault in Legion.
    """
    task = runtime.create_auto_task(library, own_task("fill", _fill))
    task.add_output(store)
    task.add_scalar_arg(pickle.dumps(value))
    task.execute()


def _fill(context: Any) -> None:
    view(_arrays(context), data_of(context.outputs[0]))[...] = pickle.loads(context.scalars[0].value())


def _arrays(context: Any) -> Any:
    return load("cupy") if context.get_variant_kind() == lg.VariantCode.GPU else np
