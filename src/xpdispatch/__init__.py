"""Write a kernel once over ``xp``; run it on NumPy, on any array library, and as Legate tasks."""

from xpdispatch import folds as folds
from xpdispatch.arrays.namespaces import namespace_for, register_namespace
from xpdispatch.calling.decorator import kernel
from xpdispatch.calling.engines import engine
from xpdispatch.calling.kernel import Kernel
from xpdispatch.calling.runtime import array_module, synchronize, timed, to_numpy
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
from xpdispatch.legate import startup as _startup
from xpdispatch.machine.settings import settings
from xpdispatch.machine.thread_pool import threads
from xpdispatch.planning.tiles import Tile

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "DTypeError",
    "EngineError",
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
    "engine",
    "image",
    "kernel",
    "min_extents",
    "namespace_for",
    "register_namespace",
    "scale",
    "settings",
    "synchronize",
    "threads",
    "timed",
    "to_numpy",
]

_startup.install_import_hook()
