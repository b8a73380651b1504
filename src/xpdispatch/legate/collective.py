"""What the processes of one program tell one another, at a point of the program that all of them reach.

Legate runs the same program in every process and takes care of arrays alone; what a process keeps for itself, such as
the exceptions of its tasks, goes through here: by tasks, of which each process gets one at least. Inside a
``Scope(machine=...)`` those processes alone take part that have a processor in it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import cache
from typing import Any

import legate.core as lg
import numpy as np
from legate.core import types

from xpdispatch.arrays.namespaces import load
from xpdispatch.legate.leaf import bind, view
from xpdispatch.legate.releases import data_of
from xpdispatch.legate.tasks import library, register_with

runtime = lg.get_legate_runtime()
rank = int(runtime.node_id)
"""Which of the processes this is."""
several = runtime.node_count > 1
"""Whether there are others."""

_mine: Any = None
"""What this process has to tell; the first of its tasks takes it."""


def total(value: int) -> int:
    """The sum of what the processes give; takes 1 ms."""
    if not several:
        return value
    store = runtime.create_store(types.int64, (), optimize_scalar=True)
    store.fill(lg.Scalar(0, types.int64))
    task = _ask(_add, value)
    task.add_reduction(store, int(lg.ReductionOpKind.ADD))
    task.execute()
    return int(np.asarray(store.get_physical_store()))


def of_all(value: Any) -> Mapping[int, Any]:
    """What the processes give, by rank; it is pickled, and arrives in all of them."""
    if not several:
        return {rank: value}
    store = runtime.create_store(types.uint8)
    task = _ask(_tell, pickle.dumps((rank, value)))
    task.add_output(store)
    task.execute()
    runtime.issue_execution_fence(block=True)
    sent, found = bytes(np.asarray(store.get_physical_store())), {}
    while sent:
        size = int.from_bytes(sent[:8], "little")
        process, told = pickle.loads(sent[8 : 8 + size])
        found[process], sent = told, sent[8 + size :]
    return found


def _ask(leaf: Any, value: Any) -> Any:
    """A launch with a task for each processor, in which this process has something to say."""
    global _mine  # noqa: PLW0603
    _mine = value
    machine = runtime.machine
    kind = lg.TaskTarget.CPU if machine.count(lg.TaskTarget.CPU) else machine.preferred_target
    with lg.Scope(machine=machine.only(kind)):  # of a launch of one task, every process would see its own sum
        return runtime.create_manual_task(library, _registered(leaf), (max(2, machine.count(kind)),))


@cache
def _registered(leaf: Any) -> Any:
    counts, options = ((0, 1, 0, 0), ("has_allocations",)) if leaf is _tell else ((0, 0, 1, 0), ())
    return register_with("xpdispatch.collective", dict.fromkeys(lg.VariantCode, leaf), counts, options)


def _take() -> Any:
    global _mine
    mine, _mine = _mine, None
    return mine


def _add(context: Any) -> None:
    value = _take()
    if value:
        view(_arrays(context), data_of(context.reductions[0]))[...] += value


def _tell(context: Any) -> None:
    told = _take()
    sent = b"" if told is None else len(told).to_bytes(8, "little") + told
    bind(_arrays(context), data_of(context.outputs[0]), np.frombuffer(sent, np.uint8))


def _arrays(context: Any) -> Any:
    return load("cupy") if context.get_variant_kind() == lg.VariantCode.GPU else np
