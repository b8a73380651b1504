"""``check_portable``: whether a body keeps to the array API standard, and gives one answer on all array libraries."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import unwrap
from pathlib import Path
from typing import Any

import numpy as np

from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import PortabilityError, XPDispatchError
from xpdispatch.planning.definition import Definition
from xpdispatch.proving.comparison import Array, Arrays, compare
from xpdispatch.proving.search import reruns_of
from xpdispatch.proving.trial import Trial, quiet
from xpdispatch.testing.libraries import LIBRARIES, Skip, answer_on, chosen_libraries
from xpdispatch.testing.options import current, telling
from xpdispatch.testing.portable_spellings import spelling_for
from xpdispatch.testing.trials import make_trial


@dataclass(frozen=True, slots=True)
class PortabilityReport:
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
class _Failure:
    """What went wrong on one library."""

    library: str
    problem: str
    remedy: str
    lines: tuple[str, ...]
    cause: BaseException | None = None


def check_portable(kernel: Kernel, /, *args: Any, **kwargs: Any) -> PortabilityReport:
    """Show that a kernel's body keeps to the array API standard and gives NumPy's answer on every library.

    The kernel runs under array-api-strict, which has what is in the standard and nothing else, and on NumPy, torch,
    JAX and CuPy where they are installed; where the kernel says ``libraries=``, on these alone. Masks as indices and
    shapes that depend on values are refused, but in a kernel whose notation has a ``?``. Results must have the kind of
    dtype, the shape and, within half of the dtype's digits, the values that they have on NumPy.

    Parameters
    ----------
    kernel : Kernel
    *args, **kwargs
        Of a call, with NumPy arrays; they are not changed. Small arrays are enough.

    Returns
    -------
    PortabilityReport
        What ran, and what was skipped and why.

    Raises
    ------
    PortabilityError
        With what failed on each library, the line of the body and, where there is one, the standard's way to say it.
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
    trial = make_trial(kernel, args, kwargs)
    ran: list[str] = []
    skipped: list[tuple[str, str]] = []
    failures: list[_Failure] = []
    chosen = current().engines
    libraries = chosen_libraries(None if chosen is None else [n for n in chosen if n != "legate"])
    on_numpy = _on_numpy(trial)
    if isinstance(on_numpy, _Failure):
        failures.append(on_numpy)
    expected = None if isinstance(on_numpy, _Failure) else on_numpy
    with telling() as progress:
        for n, (name, reason) in enumerate(libraries.items()):
            progress(n, len(libraries), name)
            if name == "numpy":
                ran.append(name)
                continue
            try:
                if reason:
                    raise Skip(reason)
                wanted = trial.definition.libraries
                if wanted and name.split(".")[0] not in wanted:
                    raise Skip(f"the kernel is for {' and '.join(wanted)}")
                if trial.plan.empty:
                    raise Skip("the body does not run over extent 0; give it an element")
                failure = _failure_on(name, trial, expected)
            except Skip as skip:
                skipped.append((name, str(skip)))
                continue
            ran.append(name)
            failures += [failure] if failure else []
    if failures:
        raise _error(trial.definition, sorted(failures, key=lambda f: LIBRARIES.index(f.library)))
    return PortabilityReport(tuple(ran), tuple(skipped))


# -- one library: run and compare --------------------------------------------------------------------------


def _on_numpy(trial: Trial) -> Arrays | _Failure:
    """The answer to compare with; what even NumPy's arrays do not have is a failure as on any library."""
    try:
        with quiet():
            return answer_on("numpy", trial)
    except Exception as error:
        if isinstance(error, XPDispatchError):
            error.complete(trial.definition.name, trial.definition.notation)
        if isinstance(error, AttributeError) or (isinstance(error, ValueError) and "read-only" in str(error)):
            return _raised(trial.definition, "numpy", error)
        raise


def _failure_on(name: str, trial: Trial, expected: Arrays | None) -> _Failure | None:
    with quiet():
        try:
            got = answer_on(name, trial)
        except Skip:
            raise
        except Exception as error:  # noqa: BLE001  whatever a body or a library raises
            return _raised(trial.definition, name, error)
        return None if expected is None else _difference(name, trial, expected, got)


def _difference(name: str, trial: Trial, expected: Arrays, got: Arrays) -> _Failure | None:
    for e, g, layout in zip(expected, got, trial.plan.results, strict=True):
        where = f"result {layout.name!r}"
        if e.dtype.kind != g.dtype.kind:
            problem = f"{where} has dtype {g.dtype} on {name}, and {e.dtype} on NumPy"
            return _Failure(name, problem, "pass dtype= where the body makes arrays and sums, or to the decorator", ())
        if e.shape != g.shape:
            problem = f"{where} has shape {g.shape} on {name}, and {e.shape} on NumPy"
            return _Failure(name, problem, "look for functions whose shapes differ, such as sums without axis=", ())
    alike = [_in_one_dtype(e, g) for e, g in zip(expected, got, strict=True)]
    answers, others = [e for e, _ in alike], [g for _, g in alike]
    found = compare(answers, others, reruns_of(trial, others), half=True)
    if found is None:
        return None
    return _Failure(
        name,
        f"result {trial.plan.results[found.result].name!r} has other values on {name} than on NumPy",
        "libraries have default dtypes, promotions and orders of equal keys of their own: pass dtype=, and leave "
        "nothing to them",
        (f"{found.element(trial.plan)} = {found.got}, and {found.expected} on NumPy",),
    )


def _in_one_dtype(e: Array, g: Array) -> tuple[Array, Array]:
    """Both in the coarser dtype of floats, or in one that holds all integers of both."""
    exact = e.dtype.kind not in "fc"
    dtype = np.result_type(e, g) if exact else min(e.dtype, g.dtype, key=lambda d: d.itemsize)
    with np.errstate(all="ignore"):
        return e.astype(dtype), g.astype(dtype)


# -- the error -----------------------------------------------------------------------------------------------------


def _raised(definition: Definition, name: str, error: Exception) -> _Failure:
    """A failure from what a body raised: the call, the line, and the standard's way to say it."""
    text = str(error).splitlines()[0] if str(error) else ""
    what, remedy = spelling_for(error)
    if isinstance(error, XPDispatchError):
        what, remedy = "", error.hint
        text = error.problem
    standard = what if name in ("array_api_strict", "numpy") else ""
    shown = f"{what} is not in the array API standard" if standard else f"the body fails on {name}: {text}"
    lines = [f"{type(error).__name__}: {text}", *_place(definition, name, error)]
    return _Failure(name, shown, remedy, tuple(lines), error)


def _place(definition: Definition, name: str, error: Exception) -> list[str]:
    """The line of the body that raised, with the failing part of it marked."""
    variant = {"numpy": "CPU", "cupy": "GPU"}.get(name)
    code = getattr(unwrap(definition.body.function_for(variant)), "__code__", None)
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


def _error(definition: Definition, failures: Sequence[_Failure]) -> PortabilityError:
    """One error for all libraries, the strictest first."""
    details: list[str] = []
    for failure in failures:
        first, *more = failure.lines or (failure.problem,)
        details += [f"  {failure.library}: {first}", *(f"    {line}" for line in more)]
    # Several libraries stumble over one line: the strictest knows best what to write there.
    places: dict[tuple[str, ...], str] = {}
    for failure in failures:
        places.setdefault(failure.lines[1:2], failure.remedy)
    remedies = dict.fromkeys(remedy for remedy in places.values() if remedy)
    hint = "; ".join(remedies)
    if "the array API standard" in failures[0].problem:
        hint += "; the page 'From np to xp' of the documentation has more" if hint else ""
    error = PortabilityError(failures[0].problem, hint=hint, details="\n".join(details))
    error.complete(definition.name, definition.notation)
    error.__cause__ = failures[0].cause
    return error
