"""From a kernel and the arguments of a call to a trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpdispatch.arrays.namespaces import library_of
from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import ArgumentError, XPDispatchError
from xpdispatch.proving.trial import Trial, trial_of


def check_is_kernel(value: object) -> None:
    """Refuse what is not a kernel.

    Raises
    ------
    ArgumentError
    """
    if not isinstance(value, Kernel):
        hint = (
            "decorate the function with @kernel(...)"
            if callable(value)
            else "pass a kernel, and then the arguments of a call"
        )
        raise ArgumentError(f"got {value!r}, expected a kernel", hint=hint)


def make_trial(kernel: Kernel, args: Sequence[Any], kwargs: dict[str, Any]) -> Trial:
    """Bind a call's arguments as the kernel itself does.

    Raises
    ------
    XPDispatchError
        The call is not a right one, or its arrays are not NumPy's.
    """
    check_is_kernel(kernel)
    try:
        keywords = dict(kwargs)
        out = keywords.pop("out", None)
        kernel = kernel.plain_for(args, keywords)
        call = kernel.bind(args, keywords, out)
        for name, value in call.arrays():
            if library_of(value) not in ("numpy", "number"):
                raise ArgumentError(
                    f"argument {name!r} is a {type(value).__qualname__}, expected a NumPy array",
                    hint=f"checks run on NumPy: pass numpy.asarray({name})",
                )
        return trial_of(call)
    except XPDispatchError as error:
        error.complete(kernel.name, kernel.notation)
        raise
