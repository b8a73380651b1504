"""The array libraries that kernels are checked on: which are there, and what a kernel answers on each."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import array_api_compat
import numpy as np

from xpdispatch.arrays.dtypes import LackingDTypeError, np_dtype
from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import ArgumentError, DTypeError, MissingError
from xpdispatch.planning.definition import Call
from xpdispatch.running import local

INSTALL = {
    "array_api_strict": "pip install 'xpdispatch[testing]'",
    "numpy": "pip install numpy",
    "torch": "pip install torch",
    "jax.numpy": "pip install jax",
    "cupy": "pip install 'xpdispatch[cuda]'",
}

Answer = list[np.ndarray[Any, Any]]


def backends() -> dict[str, str]:
    """The array libraries that kernels are checked on, by array-api-extra's ids; imports none of them.

    Returns
    -------
    dict of str to str
        For each library why it cannot be used, and the command that installs it; empty where it can be.

    Examples
    --------
    >>> from xpdispatch.testing.portability import backends
    >>> list(backends())
    ['array_api_strict', 'numpy', 'torch', 'jax.numpy', 'cupy']
    >>> backends()["numpy"]
    ''
    """
    return {
        name: "" if find_spec(name.split(".")[0]) else f"{name.split('.')[0]} is not installed: {command}"
        for name, command in INSTALL.items()
    }


class Skip(Exception):  # noqa: N818  it never leaves this package
    """A library cannot run this call, which is no fault of the body."""


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
            raise MissingError(f"package {name.split('.')[0]!r} is not installed", hint=INSTALL[name])
    return {name: "" for name in known if name in names}


def answer_on(name: str, kernel: Kernel, call: Call) -> Answer:
    """A kernel's results on a library, as NumPy arrays; the arguments are NumPy's, and copied.

    Raises
    ------
    Skip
    Exception
        Whatever the body or the library raises.
    """
    _check_usable(name)
    if name == "jax.numpy":
        if kernel.definition.body.buffers or any(u is not None for u in kernel.definition.body.updated):
            raise Skip("JAX arrays are immutable, and the kernel writes to what it is given")
        call = replace(call, given=(None,) * len(call.given))  # the body never sees out=
    with _mode(name, kernel):
        try:
            results = _run(_converted(call, name), name)
        except TypeError as error:
            if name == "jax.numpy" and "immutable" in str(error):
                raise Skip("JAX arrays are immutable, and the body assigns to cells: array_api_extra.at") from None
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
def _mode(name: str, kernel: Kernel) -> Iterator[None]:
    """The library's strictest settings, and 64 bits in JAX."""
    context: AbstractContextManager[Any] = nullcontext()
    if name == "array_api_strict":
        unknown = any(axis.kind == "unknown" for term in kernel.signature.results for axis in term.axes)
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


def _converted(call: Call, name: str) -> Call:
    """A copy of the arguments in a library; one array that is given twice stays one, and numbers stay numbers."""
    made: dict[int, Any] = {}

    def put(value: Any) -> Any:
        if not isinstance(value, np.ndarray | np.generic):
            return value
        if id(value) not in made:
            made[id(value)] = _from_numpy(name, np.array(value, order="C"))
        return made[id(value)]

    scalars = tuple(_own_copy(value) for value in call.scalars)
    return replace(call, operands=tuple(map(put, call.operands)), given=tuple(map(put, call.given)), scalars=scalars)


def _own_copy(scalar: Any) -> Any:
    try:
        return pickle.loads(pickle.dumps(scalar))
    except Exception:  # noqa: BLE001  whatever a user's __reduce__ raises
        return scalar


def _from_numpy(name: str, array: np.ndarray[Any, Any]) -> Any:
    array = np.asarray(array, dtype=array.dtype.newbyteorder("="))
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
        site = local.site_of(call)
    except LackingDTypeError as error:
        raise Skip(str(error).splitlines()[0]) from error
    if name != "numpy" and not any(True for _ in call.arrays()):
        # Nothing tells the library where no array is passed, and the kernel would run on NumPy.
        xp: Any = import_module(name)
        xp = array_api_compat.array_namespace(xp.asarray(0))
        library = name.split(".", maxsplit=1)[0]
        function = definition.body.function_for("GPU" if name == "cupy" else None)
        site = replace(site, xp=xp, library=library, function=function, casts=definition.casts([], xp))
    return local.prepare_at(call, site)(call.values)
