"""``check_kernel``: all checks of one kernel, on all engines that are asked for."""

from __future__ import annotations

from typing import Any

from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import ArgumentError
from xpdispatch.testing.libraries import LIBRARIES
from xpdispatch.testing.on_legate import check_on_legate
from xpdispatch.testing.options import current
from xpdispatch.testing.partitioning import PartitionReport, check_partitioning
from xpdispatch.testing.portability import PortabilityReport, check_portable

ENGINES = (*LIBRARIES, "legate")
"""What a check can run on, by the ids that the array API's own test tools use."""


def check_kernel(kernel: Kernel, /, *args: Any, **kwargs: Any) -> tuple[PartitionReport | PortabilityReport, ...]:
    """Check that a kernel is independent of tilings and portable: all checks in one.

    Parameters
    ----------
    kernel : Kernel
    *args, **kwargs
        Of a call, with NumPy arrays; they are not changed.

    Returns
    -------
    tuple
        What each check has done.

    Raises
    ------
    PartitionError, PortabilityError
        What the first check that failed has found.

    See Also
    --------
    checking : choose the engines, by ``with checking(engines=("numpy", "legate"))``.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import kernel
    >>> from xpdispatch.testing import check_kernel, checking
    >>> @kernel("x[i] -> y[i]")
    ... def double(xp, x):
    ...     return 2 * x
    >>> with checking(engines=("numpy",)):
    ...     results = check_kernel(double, np.arange(6.0))
    """
    chosen = current().engines
    for name in chosen or ():
        if name not in ENGINES:
            raise ArgumentError(f"there is no engine {name!r} to check on", hint=f"use one of {', '.join(ENGINES)}")
    done: list[PartitionReport | PortabilityReport] = []
    if chosen is None or "numpy" in chosen:
        done.append(check_partitioning(kernel, *args, **kwargs))
    if chosen is None or not {"numpy", "legate"}.issuperset(chosen):
        done.append(check_portable(kernel, *args, **kwargs))
    if chosen is not None and "legate" in chosen:
        done.append(check_on_legate(kernel, *args, **kwargs))
    return tuple(done)
