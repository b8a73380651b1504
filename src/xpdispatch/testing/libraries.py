"""The array libraries that kernels are checked on: which are there, and what a kernel answers on each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import array_api_compat
import numpy as np

from xpdispatch.arrays.dtypes import LackingDTypeError, np_dtype
from xpdispatch.arrays.scalars import copied
from xpdispatch.calling import local
from xpdispatch.errors import ArgumentError, DTypeError, MissingError
from xpdispatch.machine.packages import install_command
from xpdispatch.planning.definition import Call, Definition
from xpdispatch.proving.trial import Trial
from xpdispatch.running.calls import site_of

LIBRARIES = ("array_api_strict", "numpy", "torch", "jax.numpy", "cupy")
"""The libraries, the strictest first, by the ids that the array API's own test tools use."""


def backends() -> dict[str, str]:
    """The array libraries that kernels are checked on, by array-api-extra's ids; imports none of them.

    Returns
    -------
    dict of str to str
        For each library why it cannot be used, and the command that installs it; empty where it can be.

    Examples
    --------
    >>> from xpdispatch.testing.libraries import backends
    >>> list(backends())
    ['array_api_strict', 'numpy', 'torch', 'jax.numpy', 'cupy']
    >>> backends()["numpy"]
    ''
    """
    packages = {name: name.split(".")[0] for name in LIBRARIES}
    return {
        name: "" if find_spec(package) else f"{package} is not installed: {install_command(package)}"
        for name, package in packages.items()
    }


class Skip(Exception):  # noqa: N818  it never leaves this package
    """A library cannot run this call, and the body is not to blame."""


def chosen_libraries(names: Sequence[str] | None) -> dict[str, str]:
    """The libraries to run on, as :func:`backends` has them: those that are named, or all.

    Raises
    ------
    ArgumentError
        There is no such library.
    MissingError
        One that is named is not installed.
    """
    known = backends()
    if names is None:
        return known
    for name in names:
        if name not in known:
            raise ArgumentError(
                f"there is no array library {name!r} to check on", hint=f"use one of {', '.join(known)}"
            )
        if known[name]:
            package = name.split(".")[0]
            raise MissingError(f"package {package!r} is not installed", hint=install_command(package))
    return {name: "" for name in known if name in names}


def answer_on(name: str, trial: Trial) -> list[np.ndarray[Any, Any]]:
    """A kernel's results on a library, as NumPy arrays; what it is given are copies.

    Raises
    ------
    Skip
    Exception
        Whatever the body or the library raises.
    """
    _check_usable(name)
    definition, body = trial.definition, trial.definition.body
    if name == "jax.numpy" and (body.buffers or body.updates):
        raise Skip("JAX arrays are immutable, and the kernel writes to what it is given")
    with _mode(name, definition):
        operands = tuple(_in_library(name, a) for a in trial.operands)
        # Results that only the caller could write are left out where arrays cannot be written.
        written = name != "jax.numpy"
        given = tuple(_in_library(name, g) if written and g is not None else None for g in trial.given)
        call = Call(definition, operands, given, tuple(copied(trial.scalars)))
        try:
            results = _run(call, name)
        except TypeError as error:
            if name == "jax.numpy" and "immutable" in str(error):
                raise Skip("JAX arrays are immutable, and the body assigns to elements: array_api_extra.at") from None
            raise
        return [_to_numpy(name, value) for value in results]


def _check_usable(name: str) -> None:
    try:
        xp: Any = import_module(name)
        if name == "cupy" and not xp.cuda.runtime.getDeviceCount():
            raise Skip("there is no CUDA device")
    except Skip:
        raise
    except Exception as error:  # it does not load, or has no driver
        raise Skip(f"it cannot be used here: {type(error).__name__}: {error}".splitlines()[0]) from error


@contextmanager
def _mode(name: str, definition: Definition) -> Iterator[None]:
    """The library's strictest settings, and 64 bits in JAX."""
    context: AbstractContextManager[Any] = nullcontext()
    if name == "array_api_strict":
        unknown = any(axis.kind == "unknown" for term in definition.signature.results for axis in term.axes)
        context = import_module(name).ArrayAPIStrictFlags(
            boolean_indexing=unknown, data_dependent_shapes=unknown, enabled_extensions=("linalg", "fft")
        )
    elif name == "jax.numpy":
        jax: Any = import_module("jax")
        # JAX 0.8 moved it out of jax.experimental.
        enable = jax.enable_x64 if hasattr(jax, "enable_x64") else import_module("jax.experimental").enable_x64
        context = enable(True)  # noqa: FBT003  the one parameter has had several names
    with context:
        yield


def _in_library(name: str, value: np.ndarray[Any, Any]) -> Any:
    """A copy of an array in a library."""
    array = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
    if name == "numpy":
        return array
    try:
        made = import_module(name).asarray(array)
        if np_dtype(made.dtype) == array.dtype:
            return made
    except (DTypeError, TypeError, ValueError):
        pass
    raise Skip(f"it has no dtype {array.dtype}")


def _to_numpy(name: str, value: Any) -> np.ndarray[Any, Any]:
    if name == "torch":
        return np.asarray(value.numpy(force=True))
    return np.asarray(value.get() if name == "cupy" else value)


def _run(call: Call, name: str) -> list[Any]:
    """Run a call in this process, whatever engine is chosen."""
    definition = call.definition
    try:
        site = site_of(call)
    except LackingDTypeError as error:
        raise Skip(str(error).splitlines()[0]) from error
    if name != "numpy" and not any(True for _ in call.arrays()):
        # Nothing tells the library where no array is passed, and the kernel would run on NumPy.
        xp: Any = import_module(name)
        xp = array_api_compat.array_namespace(xp.asarray(0))
        library = name.split(".", maxsplit=1)[0]
        function = definition.body.function_for("GPU" if name == "cupy" else None)
        site = site._replace(xp=xp, library=library, function=function, casts=definition.casts([], xp))
    return local.Prepared(call, site)(call.values)(call.values)
