"""Write a kernel once over ``xp``; run it on NumPy, on any array library, and as Legate tasks."""

from xpdispatch import driver as _driver
from xpdispatch.constraints import align, bloat, broadcast, image, min_extents, scale
from xpdispatch.decorator import kernel
from xpdispatch.diagnosis import doctor
from xpdispatch.engines import engine
from xpdispatch.errors import (
    ArgumentError,
    DisagreementError,
    DTypeError,
    EngineError,
    KernelError,
    MemoryLimitError,
    MissingError,
    NotationError,
    PartitionError,
    PartitionWarning,
    PointerError,
    PortabilityError,
    ReadOnlyError,
    ResultError,
    ShapeError,
    SignatureError,
    UnsupportedError,
    XPDispatchError,
)
from xpdispatch.explain import Explanation
from xpdispatch.explicit import In, InOut, Out, Reduce
from xpdispatch.kernel import Kernel
from xpdispatch.namespaces import namespace_for, register_namespace
from xpdispatch.notation import Signature, parse
from xpdispatch.pool import threads
from xpdispatch.runtime import array_module, synchronize, timed
from xpdispatch.tiling import Tile

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "DTypeError",
    "DisagreementError",
    "EngineError",
    "Explanation",
    "In",
    "InOut",
    "Kernel",
    "KernelError",
    "MemoryLimitError",
    "MissingError",
    "NotationError",
    "Out",
    "PartitionError",
    "PartitionWarning",
    "PointerError",
    "PortabilityError",
    "ReadOnlyError",
    "Reduce",
    "ResultError",
    "ShapeError",
    "Signature",
    "SignatureError",
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
    "parse",
    "register_namespace",
    "scale",
    "synchronize",
    "threads",
    "timed",
]

_driver.install_import_hook()
