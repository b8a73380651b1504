"""Kernels with their arguments as cases for ``pytest.mark.parametrize``."""

from __future__ import annotations

from typing import Any

from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import ArgumentError
from xpdispatch.testing.checks import ENGINES, check_kernel
from xpdispatch.testing.options import checking
from xpdispatch.testing.trials import check_is_kernel


class KernelCase:
    """One kernel with the arguments of a call, on one engine.

    Parameters
    ----------
    kernel : Kernel
    *args, **kwargs
        Of a call, with NumPy arrays.

    Attributes
    ----------
    engine : str
        Where :meth:`check` runs.
    """

    def __init__(self, kernel: Kernel, /, *args: Any, **kwargs: Any) -> None:
        check_is_kernel(kernel)
        self.kernel, self.args, self.kwargs = kernel, args, kwargs
        self.engine = "numpy"

    def on(self, engine: str) -> KernelCase:
        """The same case on another engine."""
        case = KernelCase(self.kernel, *self.args, **self.kwargs)
        case.engine = engine
        return case

    def check(self) -> None:
        """Run the engine's check: tilings on NumPy and Legate, portability on the other libraries."""
        with checking(engines=(self.engine,)):
            check_kernel(self.kernel, *self.args, **self.kwargs)

    def __repr__(self) -> str:
        return f"<case {self.kernel.name} on {self.engine}>"


def kernel_cases(*cases: KernelCase | tuple[Any, ...]) -> list[Any]:
    """Each case on each engine, for ``pytest.mark.parametrize("case", kernel_cases(...))``.

    Parameters
    ----------
    *cases : KernelCase or tuple
        A kernel and its arguments.

    Returns
    -------
    list of pytest.param
        Each of a :class:`KernelCase`, with an id such as ``saxpy-torch``. What the option ``--xpdispatch-engines``
        leaves out, or is not installed, is skipped with the reason.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import kernel
    >>> from xpdispatch.testing import kernel_cases
    >>> double = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    >>> kernel_cases((double, np.ones(3)))[0].values[0]
    <case <lambda> on numpy>
    """
    import pytest

    for case in cases:
        if not isinstance(case, KernelCase | tuple):
            raise ArgumentError(
                f"got the case {case!r}, expected a tuple", hint="write (kernel, x, y): its arguments too"
            )
    made = [case if isinstance(case, KernelCase) else KernelCase(*case) for case in cases]
    engines = sorted(ENGINES, key=lambda name: name != "numpy")
    return [pytest.param(case.on(engine), id=f"{case.kernel.name}-{engine}") for case in made for engine in engines]
