"""The GPU variant's stream and memory: CuPy on the stream of the Legate task.

All that a leaf does on a device is enqueued on its task's stream. Legate then need not synchronise the whole device
after the task (its option ``elide_device_ctx_sync``), and the next task on the same data waits on the device.

CuPy keeps freed blocks by the stream that they were allocated on. Realm hands its tasks a fixed set of streams in
turn, so there are as many stocks of blocks, each as large as the largest need on that stream. Where memory runs out
CuPy gives back the free blocks of all streams and tries again, so the stocks cannot exhaust it by themselves; the
limit set here leaves room for what does not go through CuPy, such as the workspaces of cuBLAS.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from xpdispatch.arrays import namespaces
from xpdispatch.arrays.namespaces import load
from xpdispatch.planning.definition import Definition

_SHARE = 0.75
"""How much of the memory that Legate left on a device CuPy may take."""

_streams: dict[int, Any] = {}
"""CuPy's stream for each of Realm's, which are few and live as long as the process."""
_nowhere = nullcontext()


def on_task_stream(variant: str, context: Any) -> AbstractContextManager[Any]:
    """Where the work of a task goes: on a GPU to the task's stream, elsewhere nothing changes."""
    if variant != "GPU":
        return _nowhere
    pointer = context.task_stream
    stream = _streams.get(pointer)
    if stream is None:
        cupy = load("cupy")
        stream = _streams[pointer] = _wrap(cupy, pointer)
        _limit_pool(cupy)
    found: AbstractContextManager[Any] = stream
    return found


def view(cupy: Any, memory: Any) -> Any:
    """The part of a store, or a new buffer, that a task holds, as an array without a copy.

    Not by DLPack: there Legate 26.6 calls float16 bfloat16, and CuPy refuses the host memory that GPUs can reach.
    """
    interface = dict(memory.__cuda_array_interface__)
    if 0 in interface["shape"]:
        return cupy.empty(interface["shape"], dtype=interface["typestr"])  # CuPy looks its pointer up, and it has none
    # It is the stream that the work goes to anyway. Told of it, CuPy would wait on the host until it is idle.
    interface.pop("stream", None)
    return cupy.asarray(_Memory(interface))


def ends_of(cupy: Any, boxes: Any) -> tuple[Any, Any]:
    """Where boxes begin and end along their first axis: views of a store of boxes, a type that CuPy does not have."""
    interface = boxes.__cuda_array_interface__
    pointer, read_only = interface["data"]
    half = np.dtype(interface["typestr"]).itemsize // 2
    found = []
    for start in (pointer, pointer + half):
        part = {**interface, "typestr": "<i8", "data": (start, read_only)}
        part.pop("descr", None)
        part.pop("stream", None)
        found.append(cupy.asarray(_Memory(part)))
    return found[0], found[1]


def keeps_to_stream(definition: Definition) -> bool:
    """Whether all that a kernel does on a GPU is known to be on the task's stream.

    A body for all variants works through CuPy, which uses the current stream. A body of its own for GPUs, or another
    namespace, may use streams of its own.
    """
    return "GPU" not in definition.body.variants and namespaces.is_default("GPU")


class _Memory:
    def __init__(self, interface: dict[str, Any]) -> None:
        self.__cuda_array_interface__ = interface


class _Pointer:
    """A stream in the terms of the CUDA stream protocol."""

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


def _wrap(cupy: Any, pointer: int) -> Any:
    # CuPy 14 has the protocol, and warns of the older spelling.
    if hasattr(cupy.cuda.Stream, "from_external"):
        return cupy.cuda.Stream.from_external(_Pointer(pointer))
    return cupy.cuda.ExternalStream(pointer)


def _limit_pool(cupy: Any) -> None:
    """Limit CuPy's pool on the current device, once, unless the user did."""
    pool = cupy.get_default_memory_pool()
    if pool.get_limit() == 0:
        free, _ = cupy.cuda.runtime.memGetInfo()
        pool.set_limit(size=int(_SHARE * free))
