"""What a right program gives, by the oracle over whole arrays."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xpdispatch import ShapeError

from . import source
from .arrays import make, make_keys
from .programs import Program, Result, dtypes_of

IDENTITIES = {"sum": 0, "prod": 1, "any": False, "all": True, "xor": 0}


class Expected(NamedTuple):
    """Arrays and how far each may be off, infinitely where a sum can overflow; or the type of an exception."""

    results: list[np.ndarray]
    slack: list[float]
    error: type[Exception] | None = None


def arguments(program: Program) -> dict[str, Any]:
    """The operands and scalars, anew."""
    return {
        name: eval(text, {"make": make, "make_keys": make_keys}) for name, text in source.arguments(program).items()
    }


def expected(program: Program) -> Expected:
    """The results; where there is no cell those of one cell give the dtypes, and the rest are shapes and identities."""
    if program.empty and any(_needs_an_element(program, r) for r in program.results):
        return Expected([], [], ShapeError)
    right = program
    if program.empty:
        keys = tuple(replace(k, extent=max(1, k.extent)) for k in program.keys)
        right = replace(program, indices=tuple((i, max(1, e)) for i, e in program.indices), keys=keys)
    given = {k: np.asarray(v) if isinstance(v, np.generic | np.ndarray) else v for k, v in arguments(right).items()}
    for o, dtype in zip(right.operands, dtypes_of(right.operands), strict=True):
        if o.kind == "number":
            given[o.name] = np.asarray(given[o.name], dtype)
    given |= {k.name: np.asarray(given[k.name]) for k in right.keys}
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
            np.full(program.result_shape(r), _identity(r.op, x.dtype), x.dtype)
            for r, x in zip(program.results, results, strict=True)
        ]
    return Expected(results, slack)


def _needs_an_element(program: Program, r: Result) -> bool:
    """Whether max, min or fold of nothing is asked for; cells without keys hold the identity."""
    kept = {*r.order, *(i for k in program.keys if f"@{k.name}" in r.order for i in k.axes)} if r.keyed else set()
    gone = [i for i, extent in program.indices if not extent and i not in kept]
    return r.op in ("max", "min", "fold") and not r.scan and bool(gone)


def _identity(op: str, dtype: np.dtype) -> Any:
    if op not in ("max", "min"):
        return IDENTITIES.get(op, 0)
    lowest = {"f": -np.inf, "b": False}.get(dtype.kind)
    highest = {"f": np.inf, "b": True}.get(dtype.kind)
    if lowest is None:
        lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
    return lowest if op == "max" else highest


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
