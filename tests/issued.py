"""Run programs on Legate, one after the other, and write down every operation that they issue.

``python tests/issued.py RECORD.json '[["examples/saxpy.py", "--size", "1000"], ...]'``

Legate's runtime and its tasks are classes in C. So what our engine and cuPyNumeric hold is a stand-in, which notes each
call, sleeps now and then, and passes the call on. What Legate does by itself, such as reclaiming stores, is not seen.
"""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import sys
import time
from enum import Enum
from pathlib import Path
from random import SystemRandom
from typing import Any

import numpy as np

import xpdispatch  # before Legate, for machines without a driver  # noqa: F401  # isort: skip
import legate.core as lg

issued: list[str] = []
unbound: list[Any] = []  # stores whose size a task is to tell
fence = lg.get_legate_runtime().issue_execution_fence
chance = SystemRandom()  # no seed can make it repeat itself


class Recorded:
    """Stands in for a runtime or a task of Legate."""

    def __init__(self, own: Any, word: str) -> None:
        self._own, self._word = own, word

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._own, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            if chance.random() < 0.2:
                time.sleep(chance.random() * 0.004)
            words = [describe(value) for value in args] + [f"{k}={describe(v)}" for k, v in kwargs.items()]
            issued.append(f"{self._word}.{name}({', '.join(words)})")
            result = attribute(*args, **kwargs)
            return Recorded(result, "task") if name in ("create_auto_task", "create_manual_task") else result

        return call


def describe(value: Any) -> str:
    """What decides an operation: contents by their digest, and nothing that has an address in it."""
    if value is None or isinstance(value, bool | int | float | complex | str | Enum | np.generic | np.dtype):
        return repr(value)
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes {hashlib.sha256(value).hexdigest()[:16]}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape} {describe(value.tobytes())}"
    if isinstance(value, tuple | list | set | frozenset):
        return f"{type(value).__name__}({', '.join(map(describe, value))})"
    if isinstance(value, lg.LogicalArray):
        return describe(value.data)
    if isinstance(value, lg.LogicalStore):
        if value.unbound:
            unbound.append(value)
        elif any(value is store for store in unbound):
            # Its text has its size, for which Legate waits with Python's lock held: then the task that tells it cannot.
            fence(block=True)
        # Which region of Legion's it lies in depends on what was reclaimed; the storage's number does not.
        return re.sub(r", region: \(.*\), field: \d+", "", str(value))
    if isinstance(value, lg.Scalar):
        own = value.value()
        return f"{value.type} {describe(bytes(own)) if isinstance(own, memoryview) else repr(own)}"
    if isinstance(value, lg.Variable | lg.Constraint | lg.Type | lg.Shape):
        return re.sub(r"0x[0-9a-f]+|\{\d+\}", "", str(value))
    return type(value).__name__


def main(record: str, programs: str) -> None:
    runtime = Recorded(lg.get_legate_runtime(), "runtime")
    lg.get_legate_runtime = lambda: runtime
    from xpdispatch.legate import engine, stores

    own_fill = stores.fill

    def fill(store: Any, value: Any) -> None:
        issued.append(f"fill({describe(store)}, {describe(value)})")
        own_fill(store, value)

    engine.fill = stores.fill = fill
    found = {}
    for program in json.loads(programs):
        issued.clear()
        sys.argv[:] = program
        runpy.run_path(program[0], run_name="__main__")
        found[Path(program[0]).stem] = list(issued)
    Path(record).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
