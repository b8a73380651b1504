"""What a right program gives, by the oracle over whole arrays."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xpdispatch import ShapeError

from . import source
from .arrays import make
from .programs import Program, Result, dtypes_of

IDENTITIES = {"sum": 0, "prod": 1, "any": False, "all": True, "xor": 0}


class Expected(NamedTuple):
    """Arrays and how far each may be off, infinitely where a sum can overflow; or the type of an exception."""

    results: list[np.ndarray]
    slack: list[float]
    error: type[Exception] | None = None


def arguments(program: Program) -> dict[str, Any]:
    """The operands and scalars, anew."""
    return {name: eval(text, {"make": make}) for name, text in source.arguments(program).items()}


def expected(program: Program) -> Expected:
    """The results; where there is no cell those of one cell give the dtypes, and the rest are shapes and identities."""
    if program.empty and any(r.op in ("max", "min", "fold") for r in program.results):
        return Expected([], [], ShapeError)
    right = program
    if program.empty:
        right = replace(program, indices=tuple((i, max(1, e)) for i, e in program.indices))
    given = {k: np.asarray(v) if isinstance(v, np.generic | np.ndarray) else v for k, v in arguments(right).items()}
    for o, dtype in zip(right.operands, dtypes_of(right.operands), strict=True):
        if o.kind == "number":
            given[o.name] = np.asarray(given[o.name], dtype)
    buffers = {r.name: None for r in right.results if right.buffers and r.name not in given}
    scope: dict[str, Any] = {"np": np}
    exec(source.oracle(right), scope)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        v, results = scope["oracle"](np, **given, **buffers)
        # Where 4 and -4 are added to a subnormal number, it depends on the order whether that is lost.
        least = 1e-3 if any(o.special for o in right.operands) else 0.0
        slack = [max(least, _slack(r, v, x)) for r, x in zip(right.results, results, strict=True)]
    results = [
        x.astype(given[r.name].dtype) if r.name == program.update else x
        for r, x in zip(right.results, results, strict=True)
    ]
    if program.empty:
        results = [
            np.full(program.result_shape(r), IDENTITIES.get(r.op, 0), x.dtype)
            for r, x in zip(program.results, results, strict=True)
        ]
    return Expected(results, slack)


def _slack(r: Result, v: np.ndarray, result: np.ndarray) -> float:
    """How far a sum may be off whose terms can be rounded; infinite where it can overflow."""
    if result.dtype.kind not in "fc" or r.op not in ("sum", "fold", ""):
        return 0.0
    dtypes = [d for d in (v.dtype, result.dtype) if d.kind in "fc"]
    limits = min((np.finfo(d) for d in dtypes), key=lambda found: float(found.max))
    sizes = np.abs(v[np.isfinite(v)]).astype(np.float64)
    bound = float(sizes.max(initial=0)) * max(1, v.size)
    if bound > float(limits.max) / 4:
        return np.inf
    return 0.0 if bound < 1 / float(limits.eps) else bound * float(limits.eps) * 4
