"""Waiting and measuring across engines, and the array module that scripts build their arrays with."""

from __future__ import annotations

import os
import sys
import time
from types import ModuleType, TracebackType
from typing import Any

import numpy

from xpdispatch.arrays.namespaces import load


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
    legate = sys.modules.get("xpdispatch.legate.engine")
    if legate is not None:
        legate.synchronize()
    cupy: Any = sys.modules.get("cupy")
    if cupy is not None:
        cupy.cuda.get_current_stream().synchronize()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


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
            synchronize()
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
        return load("cupynumeric")
    return numpy
