"""Runs a program on every engine and says what went wrong: a wrong answer, or an exception that is nobody's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xpdispatch import DTypeError, KernelError, ResultError, ShapeError, UnsupportedError, XPDispatchError
from xpdispatch.proving.trial import Fault

from .calls import ENGINES, arrays_for_results, can_run_on, make_kernel, run_on, spoil_arguments
from .expected import Expected, arguments, expected
from .programs import Program
from .raised import Boom, Gone, Stuck

MUST_RAISE: dict[str, type[BaseException]] = {
    "raises everywhere": Boom,
    "raises in one tile": Boom,
    "raises no Exception": Gone,
    "cannot be pickled": Stuck,
    "returns text": ResultError,
    "returns a list": ResultError,
    "returns another shape": ResultError,
    "returns nothing": ResultError,
    "returns an object": ResultError,
}
"""Where anything else than this exception is a failure; other wrong programs can be right by chance."""

Count = Callable[[str, str], None]


class Failure(NamedTuple):
    """What a program showed."""

    engine: str
    kind: str
    text: str


def check(program: Program, engines: tuple[str, ...] = ENGINES, count: Count = lambda *_: None) -> Failure | None:
    """Run a program everywhere, twice with other numbers; the first failure, if there is one."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            kernel = make_kernel(program)
        except Exception as error:
            count("refused", type(error).__name__)
            fits = program.wrong in ("letters", "boundary", "operator") and isinstance(error, XPDispatchError)
            return None if fits else Failure("decorator", type(error).__name__, str(error))
        calls = [(p, expected(p)) for p in (program, program.with_other_values())]  # the second is prepared already
        for engine in (e for e in engines if can_run_on(e, program)):
            earlier: list[tuple[np.ndarray, np.ndarray]] = []
            for same, answer in calls:
                failure = _check_on(engine, same, kernel, answer, count, earlier)
                if failure is not None:
                    return failure
            if not all(np.array_equal(x, before, equal_nan=x.dtype.kind in "fc") for x, before in earlier):
                return Failure(engine, "changed result", "a later call changed what an earlier one had returned")
    return None


def _check_on(
    engine: str,
    program: Program,
    kernel: Any,
    answer: Expected,
    count: Count,
    earlier: list[tuple[np.ndarray, np.ndarray]],
) -> Failure | None:
    args = arguments(program)
    given = arrays_for_results(program, args, answer)
    if program.wrong:
        spoil_arguments(program, args)
    before = {k: v.copy() for k, v in args.items() if isinstance(v, np.ndarray)}
    try:
        got = run_on(engine, program, kernel, args, given)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        count(f"raised, {engine}", type(error).__name__)
        fits = _fits(engine, program, answer, error)
        text = f"{error}\n{getattr(error, '__notes__', '')}"  # which must not fail
        return None if fits else Failure(engine, type(error).__name__, text)
    count("answered", engine)
    must = _must_raise(program)
    if must is not None or (answer.error is not None and not program.wrong):
        return Failure(engine, "no exception", f"expected {must or answer.error}, got {got}")
    if program.wrong:
        return None
    problem = _difference(program, answer, got)
    earlier += [(x, x.copy()) for x in got if isinstance(x, np.ndarray)]
    if problem:
        return Failure(engine, "wrong answer", problem)
    for name, array in before.items():
        written = name == program.update or any(args[name] is g for g in given.values())
        if not written and not np.array_equal(args[name], array, equal_nan=array.dtype.kind in "fc"):
            return Failure(engine, "changed operand", name)
    if engine in ("one tile", "two threads"):
        for r, x in zip(program.results, got, strict=True):
            wanted = args[r.name] if r.name == program.update else given.get(r.name)
            if wanted is not None and x is not wanted:
                return Failure(engine, "another array", r.name)
    return None


def _must_raise(program: Program) -> type[BaseException] | None:
    nowhere = program.wrong == "raises in one tile" and not program.indices
    by_chance = program.wrong == "returns a list" and len(program.results) == 4
    return None if program.empty or nowhere or by_chance else MUST_RAISE.get(program.wrong)


def _fits(engine: str, program: Program, answer: Expected, error: BaseException) -> bool:
    """Whether an exception is one that the program may end with."""
    limits: tuple[type[BaseException], ...] = ()
    if engine == "legate":
        kinds = {o.dtype for o in program.operands} | {str(x.dtype) for x in answer.results}
        limits = (UnsupportedError,)
        limits += (DTypeError,) if any(np.dtype(k).char in "gG" for k in kinds) else ()
        limits += (ShapeError,) if "Legate takes at most" in str(error) else ()
    if isinstance(error, limits):
        return True
    if answer.error is not None and not program.wrong:
        # Before it is seen that there is no cell: a buffer's dtype is not known.
        return isinstance(error, answer.error | DTypeError)
    must = _must_raise(program)
    if must is not None and answer.error is None:
        return isinstance(error, must) or (engine == "legate" and isinstance(error, KernelError))
    if not program.wrong:
        return False
    notes = getattr(error, "__notes__", ())
    of_the_body = any(n.startswith(("in kernel", "in fold=")) for n in notes)
    return of_the_body or isinstance(error, XPDispatchError | Fault | Boom | Gone | Stuck)


def _difference(program: Program, answer: Expected, got: list[Any]) -> str:
    """What differs; empty where nothing does."""
    if len(got) != len(answer.results):
        return f"{len(got)} results, expected {len(answer.results)}"
    for r, x, wanted, slack in zip(program.results, got, answer.results, answer.slack, strict=True):
        if not isinstance(x, np.ndarray | np.generic) or x.shape != wanted.shape:
            return f"{r.name} is {x!r}, expected shape {wanted.shape}"
        given = bool(r.out) or program.buffers or r.name == program.update
        if not given and x.dtype.newbyteorder("=") != wanted.dtype.newbyteorder("="):
            return f"{r.name} has dtype {x.dtype}, expected {wanted.dtype}"
        if slack == np.inf:
            continue
        wanted = wanted.astype(x.dtype)
        same = np.array_equal(x, wanted, equal_nan=x.dtype.kind in "fc")
        if not same and not (slack and np.allclose(x, wanted, rtol=1e-12, atol=slack, equal_nan=True)):
            return f"{r.name} is\n{x!r}, expected\n{wanted!r}"
    return ""
