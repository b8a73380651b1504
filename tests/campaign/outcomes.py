"""Runs a program on every engine and says what went wrong: a wrong answer, or an exception that is nobody's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import numpy as np

import xpdispatch as xd
from conftest import forced_cuts, forced_tiles
from xpdispatch import DTypeError, KernelError, ResultError, ShapeError, UnsupportedError, XPDispatchError
from xpdispatch.testing.tilings import Tiling
from xpdispatch.testing.trial import Fault, make_trial

from .arrays import LONG, laid_out, make, on_legate
from .programs import Program, dtypes_of


class Boom(Exception):
    """What bodies raise."""


class Gone(BaseException):
    """What bodies raise that is no Exception."""


class Stuck(Exception):
    """What bodies raise that cannot be pickled."""


class Failure(NamedTuple):
    """What a program showed."""

    engine: str
    kind: str
    text: str


ENGINES = ("one tile", "random tiles", "two threads", "legate")
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
IDENTITIES = {"sum": 0, "prod": 1, "any": False, "all": True, "xor": 0}
GARBAGE = 99


def source(program: Program) -> dict[str, Any]:
    """The names that the program's source defines."""
    scope: dict[str, Any] = {"np": np, "Boom": Boom, "Gone": Gone, "Stuck": Stuck, "kernel": xd.kernel, "make": make}
    exec(program.body_source() + program.merge_source() + program.oracle_source(), scope)
    return scope


def made(program: Program, scope: dict[str, Any]) -> Any:
    """The kernel; wrong notations and options are refused here."""
    text = program.kernel_source()
    rng = Random(program.place)
    notation = program.notation
    if program.wrong == "letters":
        letters = list(notation)
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(len(letters) + 1)
            letters[at : at + rng.choice((0, 1))] = rng.choice(
                ("", ":", "...", "?", "i", "sum ", "[", "]", ",", "->", "2*", "=n", "x")
            )
        text = text.replace(repr(notation), repr("".join(letters)), 1)
    elif program.wrong == "boundary":
        text = text.replace("boundary=", "boundary=" + rng.choice(("'no mode' or ", "None and ", "{'q': 1} or ")), 1)
    elif program.wrong == "operator":
        head, arrow, tail = notation.partition(" -> ")
        ops = ("sum", "prod", "max", "min", "any", "all", "xor")
        changed = tail
        for op in ops:
            changed = changed.replace(f"{op} ", rng.choice(("", *(f"{o} " for o in ops))), 1)
        text = text.replace(repr(notation), repr(head + arrow + changed), 1)
    return eval(text, scope)


def arguments(program: Program) -> dict[str, Any]:
    """The operands and scalars, anew."""
    return {name: eval(text, {"make": make}) for name, text in program.argument_sources().items()}


def spoiled(program: Program, args: dict[str, Any]) -> dict[str, Any]:
    """The arguments as a wrong call has them."""
    rng = Random(program.place)
    args = dict(args)
    arrays = [k for k, v in args.items() if isinstance(v, np.ndarray)]
    name = rng.choice(arrays) if arrays else ""
    match program.wrong:
        case "missing" if args:
            del args[rng.choice(list(args))]
        case "unexpected":
            args["never"] = 1
        case "array for scalar" if "a" in args:
            args["a"] = np.ones(rng.choice(((), 1, 3)))
        case _ if not name:
            pass
        case "shape":
            shape = list(args[name].shape)
            how = rng.randrange(3)
            if how == 0 or not shape:
                shape.insert(0, rng.choice((0, 1, 2)))
            elif how == 1:
                shape[rng.randrange(len(shape))] += rng.choice((1, 2))
            else:
                shape.pop()
            args[name] = np.ones(shape, args[name].dtype)
        case "dtype":
            args[name] = np.ones(args[name].shape).astype(rng.choice(("U3", "S2", "V4", "m8[s]")))
        case "object dtype":
            args[name] = args[name].astype(object)
        case "datetime":
            args[name] = np.zeros(args[name].shape, "M8[s]")
        case "list":
            args[name] = args[name].tolist()
        case "none":
            args[name] = None
        case "text":
            args[name] = "text"
        case "masked":
            args[name] = np.ma.masked_array(args[name])
    return args


class Expected(NamedTuple):
    """What a right program gives: arrays, how far they may be off, or the type of its exception."""

    results: list[np.ndarray]
    slack: list[float]
    error: type[BaseException] | None


def expected(program: Program, scope: dict[str, Any], args: dict[str, Any]) -> Expected:
    """By the oracle, over whole arrays; where there is no cell by shapes and identities."""
    right = program
    if program.empty:
        right = replace(program, indices=tuple((i, max(1, e)) for i, e in program.indices))
        scope, args = source(right), arguments(right)
    named = {k: v for k, v in args.items() if k in right.parameters}
    for o, dtype in zip(right.operands, dtypes_of(right.operands), strict=True):
        if o.kind == "number":
            named[o.name] = np.asarray(named[o.name], dtype)
    named = {k: np.asarray(v) if isinstance(v, np.generic) else v for k, v in named.items()}
    given = {r.name: None for r in right.results if r.name not in named and right.buffers}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        v, results = scope["oracle"](np, **named, **given) if not right.empty else (None, [])
        slack = [_slack(r, v, x) for r, x in zip(right.results, results, strict=True)]
    if program.update:
        results = [
            x.astype(named[r.name].dtype) if r.name == program.update else x
            for r, x in zip(right.results, results, strict=True)
        ]
    if not program.empty:
        return Expected(results, slack, None)
    if any(r.op in ("max", "min", "fold") for r in program.results):
        return Expected([], [], ShapeError)
    found = []
    for r, x in zip(program.results, results, strict=True):
        shape = (
            [0]
            if r.unknown
            else [
                *(program.lead if r.lead else ()),
                *(program.extents[i] * (2 if i == r.block else 1) for i in r.order),
            ]
        )
        if r.tail:
            shape.append(program.n if r.tail == "named" else program.n // 2 + 1)
        found.append(np.full(shape, IDENTITIES.get(r.op, 0), x.dtype))
    return Expected(found, [0.0] * len(found), None)


def _slack(r: Any, v: np.ndarray, result: np.ndarray) -> float:
    """How far a sum may be off whose terms could be rounded; infinite where it could overflow."""
    kind = result.dtype
    if kind.kind not in "fc" or r.op not in ("sum", "fold", "prod", ""):
        return 0.0
    finite = np.abs(v[np.isfinite(v)]).astype(np.float64)
    limits = np.finfo(min(kind, v.dtype, key=lambda d: np.finfo(d).max) if v.dtype.kind in "fc" else kind)
    bound = float(finite.max(initial=0)) * max(1, v.size)
    if r.op == "prod":
        return 0.0
    if bound > float(limits.max) / 4:
        return np.inf
    return (
        0.0
        if bound < 1 / float(limits.eps) and not (0 < finite[finite > 0].min(initial=1) < 1)
        else bound * float(limits.eps) * 4
    )


def outs(program: Program, args: dict[str, Any], answer: Expected) -> dict[str, np.ndarray]:
    """Arrays for the results that are given, full of garbage; one can be an operand."""
    found: dict[str, np.ndarray] = {}
    if answer.error:
        return found
    taken = False
    for r, x in zip(program.results, answer.results, strict=True):
        if r.name == program.update or r.unknown or not (r.out or program.buffers):
            continue
        kind = x.dtype.newbyteorder("=")
        if r.out == "wider" and not program.buffers:
            kind = {
                "i": np.dtype("int64"),
                "f": np.dtype("float64"),
                "c": np.dtype("complex128"),
                "u": np.dtype("float64"),
            }.get(kind.kind, kind)
        operand = next(
            (
                a
                for k, a in args.items()
                if r.out == "operand"
                and isinstance(a, np.ndarray)
                and a.shape == x.shape
                and a.dtype == kind
                and a.flags.writeable
                and k != program.update
            ),
            None,
        )
        if operand is not None and not taken:
            taken, found[r.name] = True, operand
        else:
            found[r.name] = laid_out(np.full(x.shape, GARBAGE).astype(kind), r.layout)
    return found


def call(program: Program, kernel: Any, args: dict[str, Any], given: dict[str, Any]) -> Any:
    """The call, in one of the ways in which arguments and results may be passed."""
    style = Random(program.place)
    keywords = dict(args)
    positional: list[Any] = []
    if style.random() < 0.5 and not program.wrong:
        for name in program.parameters:
            if name in keywords:
                positional.append(keywords.pop(name))
            else:
                break
    names = [r.name for r in program.results]
    if program.buffers and style.random() < 0.5:
        return kernel(*positional, **keywords, **{k: v for k, v in given.items()})
    if not given:
        return kernel(*positional, **keywords)
    entries = tuple(given.get(name) for name in names)
    if program.update:
        entries = tuple(None if n == program.update else e for n, e in zip(names, entries, strict=True))
    return kernel(*positional, **keywords, out=entries if len(entries) > 1 or style.random() < 0.3 else entries[0])


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def run_on(engine: str, program: Program, kernel: Any, args: dict[str, Any], given: dict[str, Any]) -> list[np.ndarray]:
    """The results of one call on one engine, as NumPy arrays."""
    if engine == "one tile":
        with xd.threads(1):
            got = call(program, kernel, args, given)
    elif engine == "two threads":
        with forced_cuts(2):
            got = call(program, kernel, args, given)
    elif engine == "random tiles":
        return _in_random_tiles(program, kernel, args, given)
    else:
        return _on_legate(program, kernel, args, given)
    results = list(got) if isinstance(got, tuple) else [got]
    for r, x in zip(program.results, results, strict=False):
        wanted = args.get(r.name) if r.name == program.update else given.get(r.name)
        assert wanted is None or x is wanted, f"result {r.name} is not the array that was given"
    return results


def _in_random_tiles(program: Program, kernel: Any, args: dict[str, Any], given: dict[str, Any]) -> list[np.ndarray]:
    entries = tuple(given.get(r.name) for r in program.results)
    keywords = dict(args) | ({"out": entries} if given else {})
    trial = make_trial(kernel, (), keywords)
    if trial.plan.empty:
        with xd.threads(1):
            got = call(program, kernel, args, given)
        return list(got) if isinstance(got, tuple) else [got]
    rng = Random(program.place)
    cuts = []
    for name, extent in zip(trial.plan.indices, trial.plan.extents, strict=True):
        if rng.random() < 0.8:
            cuts.append((name, tuple(sorted(rng.randint(0, extent) for _ in range(rng.randint(1, 4))))))
    return trial.run(Tiling(tuple(cuts), rng.choice(("forward", "backward", rng.randrange(99)))))


def _on_legate(program: Program, kernel: Any, args: dict[str, Any], given: dict[str, Any]) -> list[np.ndarray]:
    places = {o.name: o.place for o in program.operands}
    same = {id(a): name for name, a in args.items()}
    put = {k: on_legate(v, places.get(k, "cupynumeric")) for k, v in args.items()}
    for name, array in given.items():
        aliased = same.get(id(array))
        if aliased is not None and places.get(aliased) == "broadcast":
            put[aliased] = on_legate(args[aliased], "cupynumeric")
    into = {
        k: put[same[id(v)]] if id(v) in same else on_legate(v, "inside" if program.seed % 2 else "cupynumeric")
        for k, v in given.items()
    }
    if program.update in args and places.get(program.update) == "broadcast":
        put[program.update] = on_legate(args[program.update], "cupynumeric")
    try:
        with forced_tiles(program.factor), xd.engine("legate"):
            got = call(program, kernel, put, into)
            xd.synchronize()
    except BaseException:
        xd.synchronize()  # nothing of this program is left for the next
        raise
    results = list(got) if isinstance(got, tuple) else [got]
    return [np.asarray(x) for x in results]


def compare(program: Program, answer: Expected, got: list[np.ndarray]) -> str:
    """What differs; empty where nothing does."""
    if len(got) != len(answer.results):
        return f"{len(got)} results, expected {len(answer.results)}"
    for r, x, wanted, slack in zip(program.results, got, answer.results, answer.slack, strict=True):
        if not isinstance(x, np.ndarray):
            return f"{r.name} is a {type(x).__name__}"
        if x.shape != wanted.shape:
            return f"{r.name} has shape {x.shape}, expected {wanted.shape}"
        given = bool(r.out) or program.buffers or r.name == program.update
        if not given and x.dtype.newbyteorder("=") != wanted.dtype.newbyteorder("="):
            return f"{r.name} has dtype {x.dtype}, expected {wanted.dtype}"
        if slack == np.inf:
            continue
        with np.errstate(all="ignore"):
            wanted = wanted.astype(x.dtype)
            same = (
                np.array_equal(x, wanted, equal_nan=x.dtype.kind in "fc")
                if not slack
                else np.allclose(x, wanted, rtol=1e-12, atol=slack, equal_nan=True)
            )
        if not same:
            return f"{r.name} is\n{x!r}, expected\n{wanted!r}"
    return ""


def own(error: BaseException) -> bool:
    """Whether an exception is xpdispatch's, or one of the body with a note that says so."""
    notes = getattr(error, "__notes__", ())
    return isinstance(error, XPDispatchError | Fault) or any(n.startswith(("in kernel", "in fold=")) for n in notes)


def check(
    program: Program, engines: tuple[str, ...] = ENGINES, count: Callable[[str, str], None] = lambda *_: None
) -> Failure | None:
    """Run a program everywhere; the first failure, if there is one."""
    scope = source(program)
    with quiet():
        try:
            kernel = made(program, scope)
        except XPDispatchError as error:
            count("refused", type(error).__name__)
            if program.wrong in ("letters", "boundary", "operator"):
                str(error)
                return None
            return Failure("decorator", type(error).__name__, str(error))
        except Exception as error:
            return Failure("decorator", type(error).__name__, repr(error))
        answers = [(p, expected(p, scope, arguments(p))) for p in (program, program.with_other_values())]
        for engine in engines:
            for same, answer in answers:  # the second call can be a shorter way
                failure = _check_on(engine, same, kernel, answer, count)
                if failure is not None:
                    return failure
    return None


def _check_on(
    engine: str, program: Program, kernel: Any, answer: Expected, count: Callable[[str, str], None]
) -> Failure | None:
    args = arguments(program)
    given = outs(program, args, answer)
    before = {k: v.copy() for k, v in args.items() if isinstance(v, np.ndarray)}
    wrong_out = program.wrong in ("out shape", "out dtype", "out twice") and given
    if wrong_out:
        name = next(iter(given))
        if program.wrong == "out shape":
            given[name] = np.zeros((*given[name].shape, 2), given[name].dtype)
        elif program.wrong == "out dtype":
            given[name] = np.zeros(given[name].shape, "U4" if program.place % 2 else "bool")
        elif len(given) > 1:
            given = dict.fromkeys(given, given[name])
    if program.wrong:
        args = spoiled(program, args)
    is_right = not program.wrong
    try:
        got = run_on(engine, program, kernel, args, given)
    except AssertionError as error:
        if not isinstance(error, XPDispatchError) and not own(error):
            return Failure(engine, "wrong array", str(error))
        return Failure(engine, type(error).__name__, str(error))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        count("exception", type(error).__name__)
        str(error)
        return _judge(engine, program, answer, error)
    count("engine", engine)
    must = MUST_RAISE.get(program.wrong)
    if must is not None and not program.empty and not (program.wrong == "raises in one tile" and not program.indices):
        if not (program.wrong == "returns a list" and len(program.results) == 4):
            return Failure(engine, "no exception", f"expected {must.__name__}")
    if not is_right:
        return None
    if answer.error is not None:
        return Failure(engine, "no exception", f"expected {answer.error.__name__}, got {got}")
    problem = compare(program, answer, got)
    if problem:
        return Failure(engine, "wrong answer", problem)
    for name, array in before.items():
        touched = name == program.update or any(v is args.get(name) for v in given.values())
        if not touched and not np.array_equal(args[name], array, equal_nan=array.dtype.kind in "fc"):
            return Failure(engine, "changed operand", name)
    return None


def _judge(engine: str, program: Program, answer: Expected, error: BaseException) -> Failure | None:
    failure = Failure(engine, type(error).__name__, f"{error}\n{getattr(error, '__notes__', '')}")
    must = MUST_RAISE.get(program.wrong)
    if must is not None and not program.empty:
        allowed = (must, KernelError) if engine == "legate" else (must,)
        limits = (DTypeError, UnsupportedError, ShapeError) if engine == "legate" else ()
        if (
            answer.error is not None
            or isinstance(error, (*allowed, *limits))
            or (isinstance(error, XPDispatchError) and program.buffers)
        ):
            return None
        return failure
    if program.wrong:
        return None if own(error) or isinstance(error, Boom | Gone | Stuck) else failure
    if answer.error is not None:
        # Before it is seen that there is no cell: a buffer's dtype is not known, or Legate has no such dtype.
        return None if isinstance(error, answer.error | DTypeError) else failure
    if engine == "legate":
        kinds = {o.dtype for o in program.operands} | {str(x.dtype) for x in answer.results}
        long = any(np.dtype(k).char in "gG" for k in kinds)
        if (isinstance(error, DTypeError) and long) or isinstance(error, UnsupportedError):
            return None
        if isinstance(error, ShapeError) and "Legate takes at most" in str(error):
            return None
    return failure


_ = LONG
