"""A program's kernel, and its call on each engine: right, or spoiled as the program says."""

from __future__ import annotations

from importlib.util import find_spec
from random import Random
from typing import Any

import numpy as np

import xpdispatch as xd
from conftest import Engine, forced_cuts
from xpdispatch.proving.tilings import Tiling
from xpdispatch.testing import forced_tiles
from xpdispatch.testing.trials import make_trial

from . import source
from .arrays import laid_out, on_legate
from .expected import Expected
from .programs import Program
from .raised import Boom, Gone, Stuck

LIBRARIES = tuple(name for name in ("torch", "torch.vmap", "jax", "jax.jit") if find_spec(name.split(".")[0]))
"""Which need not be installed, as they are and under a transformation."""
ENGINES = ("one tile", "random tiles", "two threads", *LIBRARIES, "legate")
PROMOTED_ALIKE = ("bool", "int64", "float64", "complex128")
"""Dtypes whose sums and products have the same dtype on every library."""
LETTERS = ("", ":", "...", "?", "i", "sum ", "[", "]", ",", "->", "2*", "=n", "x")
WIDER = {"i": "int64", "u": "float64", "f": "float64", "c": "complex128"}


def make_kernel(program: Program) -> Any:
    """The kernel; wrong notations and options are refused here."""
    scope: dict[str, Any] = {"np": np, "kernel": xd.kernel, "Boom": Boom, "Gone": Gone, "Stuck": Stuck, "kept": {}}
    exec(source.body(program) + source.merge(program), scope)
    text, notation = source.kernel(program), program.notation
    rng = Random(program.place)
    changed = notation
    if program.wrong == "letters":
        letters = list(notation)
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(len(letters) + 1)
            letters[at : at + rng.choice((0, 1))] = rng.choice(LETTERS)
        changed = "".join(letters)
    elif program.wrong == "boundary":
        text = text.replace("boundary=", "boundary=" + rng.choice(("'no mode' or ", "None and ", "{'q': 1} or ")), 1)
    elif program.wrong == "operator":
        left, arrow, right = notation.partition(" -> ")
        operators = ("sum ", "prod ", "max ", "min ", "any ", "all ", "xor ")
        for operator in operators:
            right = right.replace(operator, rng.choice(("", *operators)), 1)
        changed = left + arrow + right
    return eval(text.replace(repr(notation), repr(changed), 1), scope)


def spoil_arguments(program: Program, args: dict[str, Any]) -> None:
    """Make the arguments those of a wrong call."""
    rng = Random(program.place)
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


def arrays_for_results(program: Program, args: dict[str, Any], answer: Expected) -> dict[str, np.ndarray]:
    """Arrays for the results that are given, full of garbage; one of them can be an operand."""
    found: dict[str, np.ndarray] = {}
    for r, x in zip(program.results, answer.results, strict=bool(answer.results)):
        if r.name == program.update or r.unknown or not (r.out or program.buffers):
            continue
        kind = x.dtype.newbyteorder("=")
        if r.out == "wider" and not program.buffers:
            kind = np.dtype(WIDER.get(kind.kind, kind))
        if r.out == "operand" and not any(f is a for f in found.values() for a in args.values()):
            fitting = [a for k, a in args.items() if k != program.update and _fits(a, x.shape, kind)]
            if fitting:
                found[r.name] = fitting[0]
                continue
        found[r.name] = laid_out(np.full(x.shape, 99).astype(kind), r.layout)
    if found:
        _spoil_results(program, found)
    return found


def _fits(value: Any, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    return isinstance(value, np.ndarray) and value.shape == shape and value.dtype == dtype and value.flags.writeable


def _spoil_results(program: Program, given: dict[str, np.ndarray]) -> None:
    name, array = next(iter(given.items()))
    if program.wrong == "out shape":
        given[name] = np.zeros((*array.shape, 2), array.dtype)
    elif program.wrong == "out dtype":
        given[name] = np.zeros(array.shape, "U4" if program.place % 2 else "bool")
    elif program.wrong == "out twice":
        given.update(dict.fromkeys(given, array))


def call(program: Program, kernel: Any, args: dict[str, Any], given: dict[str, Any]) -> Any:
    """The call, in one of the ways in which arguments and results may be passed."""
    style = Random(program.place)
    keywords = dict(args)
    positional: list[Any] = []
    if style.random() < 0.5 and not program.wrong:
        for name in program.parameters:
            if name not in keywords:
                break
            positional.append(keywords.pop(name))
    if program.buffers and style.random() < 0.5:
        return kernel(*positional, **keywords, **given)
    if not given:
        return kernel(*positional, **keywords)
    out = tuple(given.get(r.name) for r in program.results)
    return kernel(*positional, **keywords, out=out if len(out) > 1 or style.random() < 0.3 else out[0])


def can_run_on(engine: str, program: Program) -> bool:
    """Whether a program means on an engine what it means on NumPy; on libraries only right ones do."""
    if engine not in LIBRARIES:
        return True
    alike = len({o.dtype for o in program.operands}) <= 1 and program.dtype in PROMOTED_ALIKE
    numbers = bool(program.operands) and all(o.kind == "number" for o in program.operands)
    if program.wrong or not alike or numbers or any(r.op == "xor" for r in program.results):
        return False
    writes = program.buffers or program.update or any(r.out for r in program.results)
    if "." in engine and (any(r.unknown for r in program.results) or not program.operands):
        return False
    if engine.startswith("torch"):  # NumPy's numbers of no axes are no arrays, and are not changed in place
        return bool(program.canonical) or "in place" not in program.cells
    subnormal = any(o.special for o in program.operands)  # which XLA takes for 0 on CPUs
    return not (writes or subnormal or {"in place", "assigned"} & {*program.cells})


def run_on(engine: str, program: Program, kernel: Any, args: dict[str, Any], given: dict[str, Any]) -> list[Any]:
    """The results of one call on one engine."""
    if engine == "legate":
        return _on_legate(program, kernel, args, given)
    if engine in LIBRARIES:
        return _in_library(engine, program, kernel, args, given)
    if engine == "random tiles":
        out = {"out": tuple(given.get(r.name) for r in program.results)} if given else {}
        trial = make_trial(kernel, (), args | out)
        if not trial.plan.empty:
            return trial.run(_tiling(program, trial.plan))
    with forced_cuts(2) if engine == "two threads" else xd.threads(1):
        return _several(call(program, kernel, args, given))


def _in_library(name: str, program: Program, kernel: Any, args: dict[str, Any], given: dict[str, Any]) -> list[Any]:
    library, _, transformation = name.partition(".")
    engine = Engine(library)
    native = {
        id(v): engine.put(np.array(v, v.dtype.newbyteorder("="), order="C"))
        for v in (*args.values(), *given.values())  # an operand may be given for a result
        if isinstance(v, np.ndarray | np.generic)
    }

    def run(arrays: dict[int, Any]) -> list[Any]:
        put = {k: arrays.get(id(v), v) for k, v in args.items()}
        return _several(call(program, kernel, put, {k: arrays[id(v)] for k, v in given.items()}))

    if transformation == "vmap":
        import torch

        got = [x[0] for x in torch.vmap(run)({k: v[None] for k, v in native.items()})]
    elif transformation == "jit":
        import jax

        got = jax.jit(run)(native)
    else:
        got = run(native)
    return [engine.get(x) for x in got]


def _several(got: Any) -> list[Any]:
    return list(got) if isinstance(got, tuple) else [got]


def _tiling(program: Program, plan: Any) -> Tiling:
    rng = Random(program.place)
    cuts = []
    for name, extent in zip(plan.indices, plan.extents, strict=True):
        if rng.random() < 0.8:
            cuts.append((name, tuple(sorted(rng.randint(0, extent) for _ in range(rng.randint(1, 4))))))
    return Tiling(tuple(cuts), rng.choice(("forward", "backward", rng.randrange(99))))


def _on_legate(program: Program, kernel: Any, args: dict[str, Any], given: dict[str, Any]) -> list[Any]:
    names = {id(a): name for name, a in args.items()}
    places = {o.name: o.place for o in (*program.operands, *program.keys)}
    for name in [program.update, *(names.get(id(a), "") for a in given.values())]:
        if places.get(name) == "broadcast":  # which cannot be written
            places[name] = "cupynumeric"
    put = {k: on_legate(v, places.get(k, "cupynumeric")) for k, v in args.items()}
    how = "inside" if program.seed % 2 else "cupynumeric"
    into = {k: put[names[id(v)]] if id(v) in names else on_legate(v, how) for k, v in given.items()}
    try:
        with forced_tiles(program.factor), xd.engine("legate"):
            return [np.asarray(x) for x in _waited(call(program, kernel, put, into))]
    finally:
        xd.synchronize()  # nothing of this program is left for the next


def _waited(got: Any) -> list[Any]:
    xd.synchronize()
    return _several(got)
