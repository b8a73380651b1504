"""``check_portable``: whether a body keeps to the array API standard, and gives one answer on all array libraries."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import unwrap
from pathlib import Path
from typing import Any

import numpy as np

from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import PortabilityError, XPDispatchError
from xpdispatch.planning.definition import Call
from xpdispatch.testing.libraries import INSTALL, Answer, Skip, answer_on, backends, chosen_libraries
from xpdispatch.testing.options import current, telling
from xpdispatch.testing.remedies import remedy_of
from xpdispatch.testing.trial import Trial, jittered, make_trial, quiet

__all__ = ["Portability", "backends", "check_portable", "portability_of"]

_NOISE = 64
_ORDER = tuple(INSTALL)


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
    out = keywords.pop("out", None)
    kernel = kernel.plain_for(args, keywords)
    call = kernel.bind(args, keywords, out)
    expected: Answer | None = None
    found = _on_numpy(kernel, call)
    if isinstance(found, _Fault):
        faults.append(found)
    else:
        expected = found
    libraries = chosen_libraries(backends)
    with telling() as progress:
        for n, (name, reason) in enumerate(libraries.items()):
            progress(n, len(libraries), name)
            if name == "numpy":
                ran.append(name)
                continue
            try:
                if reason:
                    raise Skip(reason)
                if trial.plan.empty:
                    raise Skip("the body does not run over extent 0; give it a cell")
                fault = _fault_on(name, trial, call, expected)
            except Skip as skip:
                skipped.append((name, str(skip)))
                continue
            ran.append(name)
            faults += [fault] if fault else []
    if faults:
        raise _error(kernel, sorted(faults, key=lambda f: _ORDER.index(f.library)))
    return Portability(tuple(ran), tuple(skipped))


# -- one library: run and compare --------------------------------------------------------------------------


def _on_numpy(kernel: Kernel, call: Call) -> Answer | _Fault:
    """The answer to compare with; what even NumPy's arrays do not have is a fault as on any library."""
    try:
        with quiet():
            return answer_on("numpy", kernel, call)
    except Exception as error:
        if isinstance(error, XPDispatchError):
            error.complete(kernel.name, kernel.notation)
        if isinstance(error, AttributeError) or (isinstance(error, ValueError) and "read-only" in str(error)):
            return _raised(kernel, "numpy", error)
        raise


def _fault_on(name: str, trial: Trial, call: Call, expected: Answer | None) -> _Fault | None:
    with quiet():
        try:
            got = answer_on(name, trial.kernel, call)
        except Skip:
            raise
        except Exception as error:  # noqa: BLE001  whatever a body or a library raises
            return _raised(trial.kernel, name, error)
        return None if expected is None else _difference(name, trial, expected, got)


def _difference(name: str, trial: Trial, expected: Answer, got: Answer) -> _Fault | None:
    for r, (e, g, layout) in enumerate(zip(expected, got, trial.plan.results, strict=True)):
        where = f"result {layout.name!r}"
        if e.dtype.kind != g.dtype.kind:
            problem = f"{where} has dtype {g.dtype} on {name}, and {e.dtype} on NumPy"
            return _Fault(name, problem, "pass dtype= where the body makes arrays and sums, or to the decorator", ())
        if e.shape != g.shape:
            problem = f"{where} has shape {g.shape} on {name}, and {e.shape} on NumPy"
            return _Fault(name, problem, "look for functions whose shapes differ, such as sums without axis=", ())
        differs = ~_close(e, g, partial(_noise, trial, r))
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
        return np.asarray(same | (np.isfinite(off) & (off <= _NOISE * coarse / fine * noise())))


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
    code = getattr(unwrap(kernel.definition.body.function_for(variant)), "__code__", None)
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
    # Several libraries stumble over one line: the strictest knows best what to write there.
    places: dict[tuple[str, ...], str] = {}
    for fault in faults:
        places.setdefault(fault.lines[1:2], fault.remedy)
    remedies = dict.fromkeys(remedy for remedy in places.values() if remedy)
    error = PortabilityError(faults[0].problem, hint="; ".join(remedies), details="\n".join(details))
    error.complete(kernel.name, kernel.notation)
    error.__cause__ = faults[0].cause
    return error
