"""The namespace of bodies on CPUs: array-api-compat's for NumPy, with quicker functions in the place of some."""

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

_PASSED_ON = frozenset(
    "all any argmax argmin broadcast_to e expand_dims inf isdtype max mean min nan newaxis pi prod result_type squeeze "  # noqa: SIM905
    "stack sum take where".split()
)
"""What array-api-compat takes from NumPy as it is, beside dtypes and most universal functions."""

_REPLACED = ("ceil", "floor", "matmul", "sign", "trunc")
"""The universal functions in whose place it has its own."""

_COPYING = ("argmax", "argmin", "bincount", "convolve", "correlate", "repeat", "take", "tile")
"""The functions of NumPy's that copy arrays which may not be written, though they write none."""

_LARGE = 1 << 14
"""Bytes of an array from which on that costs more than to prevent it."""


@lru_cache(maxsize=1)
def namespace() -> ModuleType:
    """What ``array_api_compat.numpy`` has, but that ``clip`` is NumPy's, and ``fft`` scipy's where it is installed.

    Some functions of NumPy's get operands as arrays that may be written.
    """
    return _Namespace("array_api_compat.numpy")


class _Namespace(ModuleType):
    """It is filled when a body asks for a name that array-api-compat does not pass on from NumPy as it is.

    To import ``array_api_compat.numpy`` loads all of NumPy, f2py and the tools for tests too. That takes longer than
    all else in a first call. Scipy is imported when a body asks for ``xp.fft``.
    """

    def __getattr__(self, name: str) -> Any:
        names = vars(self)
        if "linalg" not in names and _is_passed_on(name):
            found = getattr(np, name)
            return names.setdefault(name, _uncopied(found) if name in _COPYING else found)
        import array_api_compat.numpy as compat

        if "linalg" not in names:
            scipy_s = {"fft"} if find_spec("scipy") else set()
            names.update({n: value for n, value in vars(compat).items() if n not in scipy_s})
            names["clip"] = _clip(compat.clip)
            names.update({n: _uncopied(names[n]) for n in _COPYING})
        if name == "fft" and name not in names:
            names[name] = _fft(compat)
        if name not in names:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return names[name]

    def __dir__(self) -> list[str]:
        import array_api_compat.numpy as compat

        return dir(compat)

    def __reduce__(self) -> Any:
        """A body may have kept it, and go to another process."""
        return namespace, ()


def _is_passed_on(name: str) -> bool:
    found = vars(np).get(name)
    if isinstance(found, np.ufunc):
        return name not in _REPLACED
    return name in _PASSED_ON or (isinstance(found, type) and issubclass(found, np.generic))


def writable(array: Any) -> Any:
    """The same memory as an array that may be written, where the memory may be."""
    if type(array) is np.ndarray and array.nbytes >= _LARGE and not array.flags.writeable:
        view = array.view()
        try:
            view.flags.writeable = True
        except ValueError:  # it is read-only for whoever passed it, too
            return array
        return view
    return array


def _uncopied(own: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(own)
    def function(*args: Any, **options: Any) -> Any:
        if options:
            options = {name: value if name == "out" else writable(value) for name, value in options.items()}
        return own(*[writable(value) for value in args[:2]], *args[2:], **options)  # the third may be out

    return function


def _clip(own: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's, which takes a third of the time, where it is the same: between Python's numbers that promote nothing."""

    @wraps(own)
    def clip(x: Any, /, min: Any = None, max: Any = None, **options: Any) -> Any:  # noqa: A002  the standard's names
        if type(x) is np.ndarray and not options and x.dtype.isnative:
            allowed = _BOUNDS.get(x.dtype.kind, ())
            bounds = [type(bound) for bound in (min, max) if bound is not None]
            if bounds and all([kind in allowed for kind in bounds]):  # noqa: C419  a list is quicker
                return np.clip(x, min, max)
        return own(x, min, max, **options)

    return clip


_BOUNDS: dict[str, tuple[type, ...]] = {"i": (int,), "u": (int,), "f": (int, float)}


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
