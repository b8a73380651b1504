"""From an array, or from a Legate variant, to the array namespace ``xp`` that a body gets.

Like array-api-compat this never imports a library to ask whether an object belongs to it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import array_api_compat
import numpy as np

from xpdispatch.arrays import cpu
from xpdispatch.errors import ArgumentError, MissingError, UnsupportedError
from xpdispatch.machine.packages import install_command

VARIANTS = ("CPU", "OMP", "GPU")
"""Legate's variant kinds."""

_DEFAULTS: dict[str, str | ModuleType | Callable[[], ModuleType]] = {
    "CPU": cpu.namespace,
    "OMP": cpu.namespace,
    "GPU": "array_api_compat.cupy",
}


@dataclass(frozen=True, slots=True, eq=False)
class Registry:
    """The namespace of each variant, or what makes it. It never changes, so that calls can be kept by it."""

    entries: Mapping[str, Any]


registered = Registry(_DEFAULTS)
"""The one in force."""


def check_variants(names: Sequence[str]) -> tuple[str, ...]:
    """Some of Legate's variants, each once and in Legate's order.

    Raises
    ------
    ArgumentError
    """
    if not isinstance(names, Sequence) or isinstance(names, str) or not names or any(n not in VARIANTS for n in names):
        raise ArgumentError(
            f"variants={names!r} are not some of Legate's",
            hint="write variants=('CPU',) or several of 'CPU', 'OMP' and 'GPU'",
        )
    return tuple(v for v in VARIANTS if v in names)


def refuse_variant(have: Sequence[str], wanted: Sequence[str]) -> UnsupportedError:
    """The error for a kernel that has no variant for where it would run."""
    return UnsupportedError(
        f"the kernel has variants for {', '.join(have)} alone, and here it would run on {' or '.join(wanted)}",
        hint="write the body with xp and leave out variants=, or move the arrays or the machine's scope to the others",
    )


def register_namespace(variant: str, namespace: str | ModuleType) -> None:
    """Choose the namespace that bodies of a Legate variant get, here and in Legate tasks.

    Parameters
    ----------
    variant : {"CPU", "OMP", "GPU"}
        CPU also serves NumPy arrays in this process, GPU serves CuPy arrays.
    namespace : str or module
        An array-API namespace over NumPy arrays (CPU, OMP) or CuPy arrays (GPU), or its import path,
        which is imported when first needed. Call it at import time, so that every process of a
        Legate program agrees.

    Raises
    ------
    ArgumentError
        The variant is none of Legate's.

    Examples
    --------
    >>> register_namespace("CPU", "array_api_compat.numpy")
    >>> namespace_for("CPU").__name__
    'array_api_compat.numpy'
    """
    if variant not in VARIANTS:
        raise ArgumentError(f"variant {variant!r} is none of Legate's", hint="use 'CPU', 'OMP' or 'GPU'")
    global registered  # noqa: PLW0603  the registry is one for the process
    registered = Registry({**registered.entries, variant: namespace})
    namespace_for.cache_clear()


@lru_cache(maxsize=len(VARIANTS))
def namespace_for(variant: str) -> Any:
    """The namespace of a Legate variant.

    Parameters
    ----------
    variant : {"CPU", "OMP", "GPU"}

    Returns
    -------
    module
        By default ``array_api_compat.numpy`` (CPU, OMP) or ``array_api_compat.cupy`` (GPU). Where scipy is
        installed the former's ``fft`` is scipy's.
    """
    entry = registered.entries[variant]
    if isinstance(entry, str):
        return load(entry)
    return cpu.namespace() if entry is cpu.namespace else entry


def is_default(variant: str) -> bool:
    """Whether a Legate variant has the namespace that it has from the start."""
    return bool(registered.entries[variant] == _DEFAULTS[variant])


def load(name: str) -> ModuleType:
    """Import a module by path; a package that is missing is answered with the command that installs it.

    Raises
    ------
    MissingError
    """
    found = sys.modules.get(name)  # which takes a tenth of the time
    if found is not None:
        return found
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).split(".")[0]
        raise MissingError(f"package {missing!r} is not installed", hint=install_command(missing)) from error


REFUSED = {
    "masked array": "fill it first (x.filled(...)), or pass data and mask as two operands",
    "list": "convert it first, with numpy.asarray or your library's own asarray",
    "tuple": "convert it first, with numpy.asarray or your library's own asarray",
}
"""What :func:`library_of` calls things that look like arrays and that no kernel takes, and what to do instead."""

_TYPES = {"dask.array.core.Array": "dask", "xarray.core.dataarray.DataArray": "xarray"}
"""Types that are no array-API library's, and that kernels take all the same."""

_CONVERSIONS = {
    "dask": "pass a dask array: x.to_dask_array(lengths=True) of a data frame, dask.array.from_delayed of a task",
    "pandas": "pass its values, x.to_numpy()",
    "polars": "pass its values, x.to_numpy()",
    "xarray": "pass a DataArray: ds['name'] of a Dataset, or ds.map(kernel) for each of its variables",
    "scipy": "pass x.toarray(), or x.data, x.indices and x.indptr as operands of their own",
    "h5py": "read it first, x[...]",
    "zarr": "read it first, x[...]",
}


def conversion_of(value: Any) -> tuple[str, str]:
    """Of which package an object is that is not an array, and what to do with it."""
    root = type(value).__module__.split(".")[0]
    if root in _CONVERSIONS:
        return f" of {root}", _CONVERSIONS[root]
    if any(hasattr(value, name) for name in ("__array__", "__array_interface__", "__getitem__")):
        return "", "convert it first, with numpy.asarray or your library's own asarray"
    return "", "pass an array of NumPy, cuPyNumeric, CuPy, torch, JAX or another array-API library"


def library_of(value: Any) -> str:
    """Which library an object belongs to; decided by its type alone, and remembered for it.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
        ``"numpy"``, ``"legate"``, ``"number"`` for Python's own, the import name of another array
        library, a key of :data:`REFUSED`, or ``"object"``.
    """
    kind: Any = type(value)
    return _library_of_type(kind)


@lru_cache(maxsize=1024)
def _library_of_type(kind: Any) -> str:
    if issubclass(kind, np.ma.MaskedArray):
        return "masked array"
    if issubclass(kind, np.ndarray | np.generic):
        return "numpy"
    if hasattr(kind, "__legate_data_interface__"):
        return "legate"
    if issubclass(kind, bool | int | float | complex):
        return "number"
    if issubclass(kind, list | tuple):
        return "list" if issubclass(kind, list) else "tuple"
    return _array_library(kind)


def _array_library(kind: type) -> str:
    for base in kind.__mro__:
        if found := _TYPES.get(f"{base.__module__}.{base.__name__}"):
            return found
        root = base.__module__.split(".")[0]
        if root in ("torch", "cupy", "jax", "jaxlib", "array_api_strict", "ndonnx", "sparse"):
            return "jax" if root == "jaxlib" else root
    return kind.__module__.split(".")[0] if hasattr(kind, "__array_namespace__") else "object"


def namespace_of(library: str, array: Any) -> Any:
    """The namespace for one of the libraries of :func:`library_of`."""
    if library == "numpy":
        return namespace_for("CPU")
    if library == "cupy":
        return namespace_for("GPU")
    return array_api_compat.array_namespace(array)


def device_of(arrays: Sequence[Any]) -> dict[str, Any]:
    """What puts a new array on the device of the first of these: ``device=``, or nothing where it needs none.

    JAX's tracers and sharded arrays have no one device; JAX itself brings an array to where it is needed.
    """
    array = next((a for a in arrays if a is not None), None)
    library = library_of(array)
    if array is None or library == "numpy":
        return {}
    if library == "jax":
        device = getattr(array, "device", None)
        return {"device": device} if isinstance(device, sys.modules["jax"].Device) else {}
    # torch.compile of torch 2.6 fails in what array-api-compat asks of the array.
    return {"device": array.device if library == "torch" else array_api_compat.device(array)}


def new_beside(xp: Any, arrays: Sequence[Any], shape: Sequence[int | None], dtype: Any, value: Any = None) -> Any:
    """A new array on the device of others, and on torch in all of their transformations, so that it can be written.

    It is full of a value, if there is one.
    """
    first, *more = [a for a in arrays if a is not None] or [None]
    if library_of(first) == "torch":
        # In bool, since torch adds its other unsigned integers to nothing.
        like = sum((a.new_zeros((), dtype=xp.bool) for a in more), first.new_zeros((), dtype=xp.bool))
        return like.new_empty(shape, dtype=dtype) if value is None else like.new_full(shape, value, dtype=dtype)
    device = device_of([first])
    return xp.empty(shape, dtype=dtype, **device) if value is None else xp.full(shape, value, dtype=dtype, **device)


def copy_of(library: str, xp: Any, array: Any) -> Any:
    """A copy, through which gradients pass."""
    return array.clone() if library == "torch" else xp.asarray(array, copy=True)


def share_memory(library: str, left: Any, right: Any) -> bool:
    """Whether two arrays of one library may share memory; False where arrays are immutable."""
    if library == "numpy":
        return _numpy_share(left, right)
    if library == "cupy":
        return bool(sys.modules["cupy"].may_share_memory(left, right))
    if library == "torch":
        return _torch_share(left, right)
    if library == "jax":
        return False
    try:
        return _numpy_share(np.from_dlpack(left), np.from_dlpack(right))
    except (AttributeError, BufferError, RuntimeError, TypeError):
        return True  # no way to know, so a copy is the safe answer


_MOST_WORK = 1000
"""Of :func:`numpy.shares_memory`, which takes half as long where it gets it by position."""


def _numpy_share(left: Any, right: Any) -> bool:
    if left is not right and left.flags.owndata and right.flags.owndata:
        return False  # which is told in a third of the time
    try:
        return bool(np.shares_memory(left, right, _MOST_WORK))  # type: ignore[arg-type]  # the stubs know -1 and 0 alone
    except np.exceptions.TooHardError:
        return True


def _behind(array: Any) -> Any:
    """What a torch tensor stands for inside a transformation; elsewhere the tensor itself."""
    torch = sys.modules["torch"]
    if unwrap := getattr(torch.func, "debug_unwrap", None):
        return unwrap(array)
    inner = torch._C._functorch  # of which torch 2.7 makes the function
    return inner.get_unwrapped(array) if inner.is_functorch_wrapped_tensor(array) else array


def _torch_share(left: Any, right: Any) -> bool:
    if hasattr(left, "fake_mode"):
        return True  # torch.compile asks what would come out, and there are no data
    try:
        if left.untyped_storage().data_ptr() != right.untyped_storage().data_ptr():
            return False
        return _numpy_share(left.detach().numpy(), right.detach().numpy())
    except NotImplementedError:  # inside a transformation, or of a layout without such a storage
        behind = _behind(left), _behind(right)
        return (behind[0] is left and behind[1] is right) or _torch_share(*behind)
    except (RuntimeError, TypeError):
        return True  # on a device, or of a dtype that NumPy lacks
