"""``check_portable``: does a body keep to the array API standard, and give one answer on every array library?"""

from __future__ import annotations

import linecache
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from inspect import unwrap
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np

from xpdispatch.dtypes import np_dtype
from xpdispatch.engines import local
from xpdispatch.errors import ArgumentError, DTypeError, MissingError, PortabilityError, XPDispatchError
from xpdispatch.kernel import Arguments, Kernel
from xpdispatch.testing.options import current
from xpdispatch.testing.remedies import remedy_of
from xpdispatch.testing.trial import Trial, jittered, make_trial, quiet

_INSTALL = {
    "array_api_strict": "pip install 'xpdispatch[testing]'",
    "numpy": "pip install numpy",
    "torch": "pip install torch",
    "jax.numpy": "pip install jax",
    "cupy": "pip install 'xpdispatch[cuda]'",
}
_NOISE = 64

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
        for name, command in _INSTALL.items()
    }


@dataclass(frozen=True, slots=True)
class Portability:
    """What a check that passed has done.

    Parameters
    ----------
    ran : tuple of str
        The libraries that gave NumPy's answer.
    skipped : tuple of (str, str)
        Libraries that were left out, and why.
    """

    ran: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        left = "".join(f"; skipped {name}: {reason}" for name, reason in self.skipped)
        return f"<portable: {', '.join(self.ran) or 'nothing ran'}{left}>"


@dataclass(frozen=True, slots=True)
class _Fault:
    """What went wrong on one library."""

    library: str
    problem: str
    remedy: str
    lines: tuple[str, ...]
    cause: BaseException | None = None


class _Skip(Exception):  # noqa: N818  it never leaves this file
    """A library cannot run this call, which is no fault of the body."""


def check_portable(kernel: Kernel, /, *args: Any, **kwargs: Any) -> Portability:
    """Show that a kernel's body keeps to the array API standard and gives NumPy's answer on every library.

    The kernel runs under array-api-strict, which has what is in the standard and nothing else, and on NumPy, torch,
    JAX and CuPy where they are installed. Masks as indices and shapes that depend on values are refused, but in a
    kernel whose notation has a ``?``. Results must have the kind of dtype, the shape and, within half of the
    dtype's digits, the values that they have on NumPy.

    Parameters
    ----------
    kernel : Kernel
    *args, **kwargs
        Of a call, with NumPy arrays; they are not changed. Small arrays are enough.

    Returns
    -------
    Portability
        What ran, and what was skipped and why.

    Raises
    ------
    PortabilityError
        With every library's fault, the line of the body and, where there is one, the standard's way to say it.
    MissingError
        A library that ``checking(engines=...)`` asks for is not installed.
    Exception
        What the body raises on NumPy.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import kernel
    >>> from xpdispatch.testing import check_portable, checking
    >>> @kernel("x[i] -> sum s[]")
    ... def total(xp, x):
    ...     return xp.sum(x)
    >>> with checking(engines=("numpy",)):
    ...     check_portable(total, np.arange(6.0))
    <portable: numpy>
    """
    chosen = current().engines
    return portability_of(kernel, args, kwargs, backends=chosen and tuple(n for n in chosen if n != "legate"))


def portability_of(
    kernel: Kernel, args: Sequence[Any], kwargs: dict[str, Any], *, backends: Sequence[str] | None = None
) -> Portability:
    """:func:`check_portable` on chosen libraries.

    Parameters
    ----------
    kernel : Kernel
    args : sequence of object
    kwargs : dict
    backends : sequence of str, optional
        Ids of libraries, which must be installed; by default all that are.

    Raises
    ------
    ArgumentError
        There is no such library.
    MissingError
        A library that is asked for is not installed.
    PortabilityError
    """
    ran, skipped, faults = [], [], []
    trial = make_trial(kernel, args, kwargs)
    keywords = dict(kwargs)
    arguments = kernel.bind(tuple(args), keywords, keywords.pop("out", None))
    expected: Answer | None = None
    found = _on_numpy(kernel, arguments)
    if isinstance(found, _Fault):
        faults.append(found)
    else:
        expected = found
    for name, reason in _chosen(backends).items():
        if name == "numpy":
            ran.append(name)
            continue
        try:
            if reason:
                raise _Skip(reason)
            fault = _fault_on(name, trial, arguments, expected)
        except _Skip as skip:
            skipped.append((name, str(skip)))
            continue
        ran.append(name)
        faults += [fault] if fault else []
    if faults:
        raise _error(kernel, sorted(faults, key=lambda f: list(_INSTALL).index(f.library)))
    return Portability(tuple(ran), tuple(skipped))


def _chosen(names: Sequence[str] | None) -> dict[str, str]:
    """The libraries to run on; the reason is that of :func:`backends`."""
    known = backends()
    if names is None:
        return known
    for name in names:
        if name not in known:
            raise ArgumentError(f"there is no array library {name!r} to check on", hint=f"one of {', '.join(known)}")
        if known[name]:
            raise MissingError(f"package {name.split('.')[0]!r} is not installed", hint=_INSTALL[name])
    return {name: "" for name in known if name in names}


# -- one library: convert, run, compare --------------------------------------------------------------------------


def _on_numpy(kernel: Kernel, arguments: Arguments) -> Answer | _Fault:
    """The answer to compare with; what even NumPy's arrays do not have is a fault as on any library."""
    try:
        with quiet():
            return [np.asarray(value) for value in _run(kernel, _converted(arguments, "numpy"), "numpy")]
    except Exception as error:
        if isinstance(error, XPDispatchError):
            error.complete(kernel.name, kernel.notation)
        if isinstance(error, AttributeError) or (isinstance(error, ValueError) and "read-only" in str(error)):
            return _raised(kernel, "numpy", error)
        raise


def _fault_on(name: str, trial: Trial, arguments: Arguments, expected: Answer | None) -> _Fault | None:
    kernel = trial.kernel
    if name == "jax.numpy":
        if kernel.body.buffers or any(u is not None for u in kernel.body.updated):
            raise _Skip("JAX arrays are immutable, and the kernel writes to what it is given")
        arguments = arguments._replace(given=[None] * len(arguments.given))  # the body never sees out=
    with quiet():
        _check_usable(name, trial)
        with _mode(name, kernel):
            try:
                converted = _converted(arguments, name)
                results = _run(kernel, converted, name)
            except _Skip:
                raise
            except Exception as error:  # noqa: BLE001  whatever a body or a library raises
                if name == "jax.numpy" and isinstance(error, TypeError) and "immutable" in str(error):
                    raise _Skip("JAX arrays are immutable, and the body assigns to cells: array_api_extra.at") from None
                return _raised(kernel, name, error)
            got = [_to_numpy(name, value) for value in results]
        return None if expected is None else _difference(name, trial, expected, got)


def _check_usable(name: str, trial: Trial) -> None:
    try:
        xp: Any = import_module(name)
        if name == "cupy" and not xp.cuda.runtime.getDeviceCount():
            raise _Skip("there is no CUDA device")
    except _Skip:
        raise
    except Exception as error:  # noqa: BLE001  a library that does not load, or a driver that is not there
        raise _Skip(f"it cannot be used here: {type(error).__name__}: {error}".splitlines()[0]) from error
    for cast in trial.site.casts:
        if cast is not None and not hasattr(xp, "bool" if np.dtype(cast).kind == "b" else np.dtype(cast).name):
            raise _Skip(f"it has no dtype {np.dtype(cast)}")


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
        context = jax.enable_x64(True) if hasattr(jax, "enable_x64") else import_module("jax.experimental").enable_x64()
    with context:
        yield


def _converted(arguments: Arguments, name: str) -> Arguments:
    """A copy of the arguments in a library; one array that is given twice stays one, and numbers stay numbers."""
    made: dict[int, Any] = {}

    def put(value: Any) -> Any:
        if not isinstance(value, np.ndarray | np.generic):
            return value
        if id(value) not in made:
            made[id(value)] = _from_numpy(name, np.array(value, order="C"))
        return made[id(value)]

    scalars = tuple(_own_copy(value) for value in arguments.scalars)
    return Arguments([put(v) for v in arguments.operands], [put(v) for v in arguments.given], scalars)


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
    raise _Skip(f"it has no dtype {array.dtype}")


def _to_numpy(name: str, value: Any) -> np.ndarray[Any, Any]:
    if name == "torch":
        return np.asarray(value.numpy(force=True))
    return np.asarray(value.get() if name == "cupy" else value)


def _run(kernel: Kernel, arguments: Arguments, name: str) -> list[Any]:
    """Call the kernel in this process, whatever engine is chosen."""
    call = local.prepare(kernel, arguments)
    if name != "numpy" and not any(True for _ in arguments.arrays(kernel)):
        # Nothing tells the library where no array is passed, and the kernel would run on NumPy.
        xp: Any = import_module(name)
        xp = array_api_compat.array_namespace(xp.asarray(0))
        library = name.split(".", maxsplit=1)[0]
        site = replace(
            call.site,
            xp=xp,
            library=library,
            function=kernel.body.function_for("GPU" if name == "cupy" else None),
            casts=kernel.casts([], xp),
        )
        call = replace(call, site=site)
    return call(arguments)


def _difference(name: str, trial: Trial, expected: Answer, got: Answer) -> _Fault | None:
    for r, (e, g, layout) in enumerate(zip(expected, got, trial.plan.results, strict=True)):
        where = f"result {layout.name!r}"
        if e.dtype.kind != g.dtype.kind:
            problem = f"{where} has dtype {g.dtype} on {name}, and {e.dtype} on NumPy"
            return _Fault(name, problem, "pass dtype= where the body makes arrays and sums, or to the decorator", ())
        if e.shape != g.shape:
            problem = f"{where} has shape {g.shape} on {name}, and {e.shape} on NumPy"
            return _Fault(name, problem, "look for functions whose shapes differ, such as sums without axis=", ())
        differs = ~_close(e, g, lambda r=r: _noise(trial, r))
        if differs.any():
            first = tuple(int(n) for n in np.unravel_index(int(np.argmax(differs)), differs.shape))
            element = f"{layout.name}[{', '.join(map(str, first))}]"
            line = f"{element} = {g[first].item()!r}, and {e[first].item()!r} on NumPy"
            remedy = (
                "libraries have default dtypes, promotions and orders of equal keys of their own: pass dtype=, and "
            )
            remedy += "leave nothing to them"
            return _Fault(name, f"{where} has other values on {name} than on NumPy", remedy, (line,))
    return None


def _close(
    e: np.ndarray[Any, Any], g: np.ndarray[Any, Any], noise: Callable[[], np.ndarray[Any, Any]]
) -> np.ndarray[Any, Any]:
    """Equal, both NaN, or within half of the digits of the coarser dtype; more where the sum itself cancels."""
    with np.errstate(all="ignore"):
        same = np.asarray((e == g) | ((e != e) & (g != g)))  # noqa: PLR0124  NaN is what is not itself
        if e.dtype.kind not in "fc" or same.all():
            return same
        fine, coarse = sorted([float(np.finfo(e.dtype).eps), float(np.finfo(g.dtype).eps)])
        off = np.abs(e - g)
        same |= np.isfinite(off) & (off <= coarse**0.5 * np.abs(e))
        if same.all():
            return same
        return same | (np.isfinite(off) & (off <= _NOISE * coarse / fine * noise()))


def _noise(trial: Trial, r: int) -> np.ndarray[Any, Any]:
    """How far a unit in the last place of the arguments moves a result, which is what rounding may do."""
    still = trial.run()[r]
    noise = np.zeros(still.shape)
    for seed in range(3):
        moved = jittered(trial, seed).run()[r]
        if moved.shape == still.shape:
            noise = np.fmax(noise, np.abs(moved - still))
    return noise


# -- the error -----------------------------------------------------------------------------------------------------


def _raised(kernel: Kernel, name: str, error: Exception) -> _Fault:
    """A fault from what a body raised: the call, the line, and the standard's way to say it."""
    text = str(error).splitlines()[0] if str(error) else ""
    what, remedy = remedy_of(error)
    if isinstance(error, XPDispatchError):
        what, remedy = "", error.hint
        text = error.problem
    standard = what if name in ("array_api_strict", "numpy") else ""
    shown = f"{what} is not in the array API standard" if standard else f"the body fails on {name}: {text}"
    lines = [f"{type(error).__name__}: {text}", *_place(kernel, name, error)]
    return _Fault(name, shown, remedy, tuple(lines), error)


def _place(kernel: Kernel, name: str, error: Exception) -> list[str]:
    """The line of the body that raised, with the failing part of it marked."""
    variant = {"numpy": "CPU", "cupy": "GPU"}.get(name)
    code = getattr(unwrap(kernel.body.function_for(variant)), "__code__", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
    if not frames:
        return []
    frame = frames[-1]
    source = linecache.getline(frame.filename, frame.lineno or 0).rstrip()
    lines = [f"{Path(frame.filename).name}, line {frame.lineno}: {source.strip()}"]
    if source and frame.colno is not None and frame.end_colno is not None and frame.end_lineno == frame.lineno:
        indent = len(source) - len(source.lstrip())
        lead = len(lines[0]) - len(source.strip()) + frame.colno - indent
        lines.append(" " * lead + "^" * (frame.end_colno - frame.colno))
    return lines


def _error(kernel: Kernel, faults: Sequence[_Fault]) -> PortabilityError:
    """One error for all libraries, the strictest first."""
    details: list[str] = []
    for fault in faults:
        first, *more = fault.lines or (fault.problem,)
        details += [f"  {fault.library}: {first}", *(f"    {line}" for line in more)]
    remedies = dict.fromkeys(f.remedy for f in faults if f.remedy)
    error = PortabilityError(faults[0].problem, hint="; ".join(remedies), details="\n".join(details))
    error.complete(kernel.name, kernel.notation)
    error.__cause__ = faults[0].cause
    return error
