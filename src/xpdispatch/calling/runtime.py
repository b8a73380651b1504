"""Waiting and measuring across engines, and the array module that scripts build their arrays with."""

from __future__ import annotations

import os
import sys
import time
from types import ModuleType, TracebackType
from typing import Any, overload

import array_api_compat
import numpy

from xpdispatch.arrays.namespaces import REFUSED, conversion_of, library_of, load
from xpdispatch.calling.engines import get_engine
from xpdispatch.errors import ArgumentError, InShort


def synchronize() -> None:
    """Wait until all work issued so far is done, on Legate and on GPUs.

    Raises
    ------
    Exception
        The first exception that a body raised in a Legate task since the last synchronisation point, as
        its own type.

    Examples
    --------
    >>> import xpdispatch
    >>> xpdispatch.synchronize()
    """
    with InShort():
        _wait()


def _wait() -> None:
    legate = sys.modules.get("xpdispatch.legate.engine")
    if legate is not None:
        legate.synchronize()
    cupy: Any = sys.modules.get("cupy")
    if cupy is not None:
        cupy.cuda.get_current_stream().synchronize()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


@overload
def to_numpy(arrays: tuple[Any, ...]) -> tuple[numpy.ndarray[Any, Any], ...]: ...


@overload
def to_numpy(arrays: Any) -> numpy.ndarray[Any, Any]: ...


def to_numpy(arrays: Any) -> Any:
    """Results as NumPy arrays, handed over only after failures were looked at.

    ``numpy.asarray`` of a cuPyNumeric array waits for the array, and does not see that a body failed; this raises what
    the body raised.

    Parameters
    ----------
    arrays : array or tuple of array
        One result of a call, or all of them: of NumPy, cuPyNumeric or another array library, or Legate stores.

    Returns
    -------
    numpy.ndarray or tuple of numpy.ndarray
        NumPy's own are handed back as they are, and nothing is waited for; of all others copies.

    Raises
    ------
    Exception
        What :func:`synchronize` raises, which is called first unless all arrays are NumPy's.
    ArgumentError
        Something is not an array.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import kernel, to_numpy
    >>> @kernel("x[i] -> low[i], high[i]")
    ... def around(xp, x):
    ...     return x - 1, x + 1
    >>> low, high = to_numpy(around(np.arange(3)))
    >>> high
    array([1, 2, 3])
    """
    several = arrays if isinstance(arrays, tuple) else (arrays,)
    libraries = [library_of(a) for a in several]
    for array, library in zip(several, libraries, strict=True):
        if library in ("number", "object", *REFUSED):
            of, remedy = conversion_of(array) if library not in REFUSED else ("", REFUSED[library])
            raise ArgumentError(
                f"to_numpy got an object of type {type(array).__name__}{of}, expected an array or a tuple of arrays",
                hint=remedy,
            )
    if any(library != "numpy" for library in libraries):
        with InShort():
            _wait()
    found = tuple(_on_host(a, library) for a, library in zip(several, libraries, strict=True))
    return found if isinstance(arrays, tuple) else found[0]


def _on_host(array: Any, library: str) -> Any:
    if library == "numpy":
        return array
    if library == "legate":
        return get_engine("legate").copied(array)
    if library == "torch":
        array = array.detach()  # or it would refuse, lest a gradient be lost
    if library in ("torch", "cupy"):
        array = array_api_compat.to_device(array, "cpu")
    if library == "array_api_strict":
        return numpy.from_dlpack(array).copy()
    return numpy.asarray(array).copy()


class timed:  # noqa: N801  a context manager reads like a verb: with timed() as t
    """Measure the wall time of a ``with`` block, waiting for all work before and after it.

    Attributes
    ----------
    seconds : float
        Wall time; 0.0 until the block is left.

    Examples
    --------
    >>> with timed() as t:
    ...     total = sum(range(1000))
    >>> t.seconds > 0
    True
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = 0.0

    @property
    def milliseconds(self) -> float:
        """Wall time in milliseconds."""
        return self.seconds * 1e3

    def __enter__(self) -> timed:
        synchronize()
        self._start = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            with InShort():
                _wait()
        self.seconds = time.perf_counter() - self._start


def array_module() -> ModuleType:
    """CuPyNumeric in a program that a Legate launcher started, NumPy in any other.

    So one script runs as ``python script.py``, ``xpdispatch run script.py`` and ``legate script.py``.

    Returns
    -------
    module
        ``cupynumeric`` where the environment has ``LEGATE_CONFIG`` (which Legate's launchers set) or
        Legate already runs; otherwise ``numpy``.

    Raises
    ------
    MissingError
        A launcher started the program, but cuPyNumeric is not installed.
    """
    if "LEGATE_CONFIG" in os.environ or "legate.core" in sys.modules:
        module = load("cupynumeric")
        if "XPDISPATCH_CHECK_PROCESSES" in os.environ:
            get_engine("legate")  # or a process that calls no kernel would not be compared with the others
        return module
    return numpy
