"""Write a kernel once over ``xp``; run it on NumPy, on any array library, and as Legate tasks."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from xpdispatch.arrays.namespaces import namespace_for, register_namespace
from xpdispatch.calling.decorator import kernel
from xpdispatch.calling.engines import engine
from xpdispatch.calling.kernel import Kernel
from xpdispatch.calling.runtime import array_module, synchronize, timed
from xpdispatch.errors import (
    ArgumentError,
    DTypeError,
    EngineError,
    KernelError,
    MissingError,
    NotationError,
    PartitionError,
    PartitionWarning,
    PointerError,
    PortabilityError,
    ResultError,
    ShapeError,
    UnsupportedError,
    XPDispatchError,
)
from xpdispatch.language.constraints import align, bloat, broadcast, image, min_extents, scale
from xpdispatch.language.explicit import In, InOut, Out, Reduce
from xpdispatch.language.signature import Signature
from xpdispatch.legate import driver as _driver
from xpdispatch.machine.threads import threads
from xpdispatch.planning.tiles import Tile

if _TYPE_CHECKING:
    from xpdispatch.explain import Explanation
    from xpdispatch.shell.diagnosis import doctor

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "DTypeError",
    "EngineError",
    "Explanation",
    "In",
    "InOut",
    "Kernel",
    "KernelError",
    "MissingError",
    "NotationError",
    "Out",
    "PartitionError",
    "PartitionWarning",
    "PointerError",
    "PortabilityError",
    "Reduce",
    "ResultError",
    "ShapeError",
    "Signature",
    "Tile",
    "UnsupportedError",
    "XPDispatchError",
    "align",
    "array_module",
    "bloat",
    "broadcast",
    "doctor",
    "engine",
    "image",
    "kernel",
    "min_extents",
    "namespace_for",
    "register_namespace",
    "scale",
    "synchronize",
    "threads",
    "timed",
]

_LATER = {"Explanation": "xpdispatch.explain", "doctor": "xpdispatch.shell.diagnosis"}
"""What is imported when it is asked for, for kernels run without it."""


def __getattr__(name: str) -> _Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


_driver.install_import_hook()
