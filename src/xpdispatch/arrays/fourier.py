"""The namespace of bodies on CPUs: array-api-compat's for NumPy, with the best Fourier transforms installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from xpdispatch.machine.thread_pool import in_pool

_TRANSFORMS = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
_TRANSFORMS_N = ("fftn", "ifftn", "rfftn", "irfftn")
_TYPES = ("f", "d", "F", "D")
"""Single and double precision, in which scipy's results have the dtypes of NumPy's."""


def namespace() -> ModuleType:
    """``array_api_compat.numpy``, or where scipy is installed a copy of it whose ``fft`` is scipy's.

    Scipy is not imported before a body asks for ``xp.fft``.
    """
    import array_api_compat.numpy as compat

    return compat if find_spec("scipy") is None else _with_scipy(compat)


@lru_cache(maxsize=1)
def _with_scipy(compat: Any) -> ModuleType:
    module = ModuleType(compat.__name__, compat.__doc__)
    module.__dict__.update({name: value for name, value in vars(compat).items() if name != "fft"})

    def missing(name: str) -> Any:
        if name != "fft":
            raise AttributeError(f"module {compat.__name__!r} has no attribute {name!r}")
        module.__dict__["fft"] = _fft(compat)
        return module.__dict__["fft"]

    module.__dict__["__getattr__"] = missing
    return module


def _fft(compat: Any) -> ModuleType:
    import scipy.fft

    module = ModuleType(compat.fft.__name__, compat.fft.__doc__)
    module.__dict__.update(vars(compat.fft))
    for name in _TRANSFORMS:
        module.__dict__[name] = _one(getattr(compat.fft, name), getattr(scipy.fft, name))
    for name in _TRANSFORMS_N:
        module.__dict__[name] = _several(getattr(compat.fft, name), getattr(scipy.fft, name))
    return module


def _takes(array: Any) -> bool:
    return type(array) is np.ndarray and array.dtype.char in _TYPES


def _one(own: Callable[..., Any], fast: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(own)
    def transform(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
        if _takes(x):
            return fast(x, n, axis, norm, workers=_workers())
        return own(x, n=n, axis=axis, norm=norm)

    return transform


def _several(own: Callable[..., Any], fast: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(own)
    def transform(
        x: Any, /, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward"
    ) -> Any:
        if _takes(x) and (axes is None or len({*axes}) == len(axes)):
            return fast(x, s, axes, norm, workers=_workers())
        return own(x, s=s, axes=axes, norm=norm)

    return transform


def _workers() -> int | None:
    """One thread where several share a call; else what ``scipy.fft.set_workers`` says."""
    return 1 if in_pool.get() else None
