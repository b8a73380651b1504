"""What :func:`suggest` says beside a notation: why axes stay whole, and what would do with keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xpdispatch.arrays.reductions import identity
from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import XPDispatchError
from xpdispatch.language.signature import Signature
from xpdispatch.language.terms import Axis, Term
from xpdispatch.proving.search import Experiment
from xpdispatch.proving.trial import quiet, trial_of
from xpdispatch.testing.suggest_runs import INDEX, Parts, alike

MOST = 8
"""Elements of a block, and of a halo, up to which windows are looked for."""
_MOST_TILES = 1000

_CAUSES = {
    "before": "what comes first there does not depend on what comes later, as in a recurrence, or a scan that begins "
    "with nothing; scans under fold= are not looked for",
    "after": "what comes last there does not depend on what comes before it, as in a recurrence from the end, or a "
    "scan that begins with nothing; scans under fold= are not looked for",
    "near": "parts differ near the cuts alone, as where a body makes up what lies outside itself: a halo with another "
    "boundary= than 'valid' is not looked for",
    "window": "parts gave another answer, and windows with a stride or a halo of more than "
    f"{MOST} elements are not looked for",
    "together": "it can be cut, but not together with the other indices",
    "": "parts gave another answer, whether joined, scanned or combined by an operator; fold= is not looked for",
}


def why_whole(base: Kernel, signature: Signature, experiments: Sequence[Experiment]) -> Iterator[str]:
    """For the axes of operands that stay whole what was seen when they were cut."""
    shapes = [array.shape for array in experiments[0].trial.operands]
    whole: dict[int, list[tuple[int, int]]] = {}
    for p, (term, shape) in enumerate(zip(signature.operands, shapes, strict=True)):
        for a, (axis, extent) in enumerate(zip(term.axes, shape, strict=True)):
            if axis.kind == "whole" and extent > 1:
                whole.setdefault(extent, []).append((p, a))
    for extent, places in whole.items():
        said = " and ".join(f"axis {a} of {signature.operands[p].name!r}" for p, a in places)
        verb = "stay" if len(places) > 1 else "stays"
        yield f"{said} {verb} whole: {_CAUSES[_cause(base, places, extent, experiments)]}"


def _cause(base: Kernel, places: Sequence[tuple[int, int]], extent: int, experiments: Sequence[Experiment]) -> str:
    if _wide(extent, experiments):
        return "window"
    cut = extent // 2
    try:
        parts = Parts(base, [(p, a, Axis("split", INDEX)) for p, a in places], experiments)
        runs = [parts.of(n, (cut,)) for n in range(len(experiments))]
    except Exception:  # noqa: BLE001  whatever the body raises on parts
        return ""
    found = [
        {_kind(e, a, b, cut, extent) for e, a, b in zip(experiment.expected, *run, strict=True)}
        for experiment, run in zip(experiments, runs, strict=True)
    ]
    kinds = set.union(*found) - {"equal"}
    return next(iter(kinds)) if len(kinds) == 1 else "" if kinds else "together"


def _wide(extent: int, experiments: Sequence[Experiment]) -> bool:
    """Whether a result is shorter, as under windows of a stride or a halo that is too large to be tried."""
    for n in (n for e in experiments[0].expected for n in e.shape if 1 < n < extent):
        scales = [s for s in range(1, extent // n + 1) if extent - s * n <= 2 * s + MOST or s == extent // n]
        if all(s > MOST or extent - s * n > MOST for s in scales):
            return True
    return False


def _kind(e: Any, a: Any, b: Any, cut: int, extent: int) -> str:
    """How the results of two parts differ from the whole one."""
    for axis in range(e.ndim):
        rest = {s[:axis] + s[axis + 1 :] for s in (e.shape, a.shape, b.shape)}
        at = a.shape[axis] if len(rest) == 1 else 0
        if not at or at + b.shape[axis] != e.shape[axis]:
            continue
        places = _differing(e, np.concatenate([a, b], axis=axis), axis)
        if not places.size:
            return "equal"
        if places.size <= e.shape[axis] // 4 + 1 and at - MOST <= places.min() <= places.max() < at + MOST:
            return "near"
        if (at, e.shape[axis]) == (cut, extent):
            return "before" if places.min() >= at else "after" if places.max() < at else ""
    return ""


def _differing(e: Any, g: Any, axis: int) -> np.ndarray[Any, Any]:
    """The places along an axis where two arrays differ by more than rounding."""
    ours, theirs = (
        np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1).astype(np.result_type(x, np.float32)) for x in (e, g)
    )
    with quiet():
        return np.flatnonzero(~np.isclose(ours, theirs, rtol=1e-4, atol=1e-6, equal_nan=True).all(axis=1))


# -- keys --------------------------------------------------------------------------------------------------------------


def with_keys(base: Kernel, signature: Signature, experiments: Sequence[Experiment]) -> Iterator[str]:
    """Notations in which the library looks up, or adds to cells, what this body does by itself."""
    trial = experiments[-1].trial
    for g, (term, array) in enumerate(zip(signature.operands, trial.operands, strict=True)):
        plain = all(axis == Axis("split", axis.name) for axis in term.axes)
        if array.dtype.kind not in "iu" or not array.size or not term.axes or not plain or array.min() < 0:
            continue
        for p, other in enumerate(signature.operands):
            for a, axis in enumerate(other.axes):
                if p != g and axis.kind == "whole" and _gathers(g, p, a, experiments):
                    operands = [
                        _keyed(t, a, f"@{term.name}") if n == p else str(t) for n, t in enumerate(signature.operands)
                    ]
                    yield from _valid(operands, [str(t) for t in signature.results])
        for r, result in enumerate(signature.results):
            for a, axis in enumerate(result.axes):
                if axis.kind == "whole" and _scatters(base, signature, g, r, a, experiments):
                    count = axis.name or (axis.extent.text if axis.extent else experiments[0].expected[r].shape[a])
                    results = [
                        _keyed(t, a, f"@{term.name}={count}") if n == r else str(t)
                        for n, t in enumerate(signature.results)
                    ]
                    yield from _valid([str(t) for t in signature.operands], results)


def _keyed(term: Term, place: int, key: str) -> str:
    axes = [key if a == place else str(axis) for a, axis in enumerate(term.axes)]
    return f"{term.op} {term.name}[{', '.join(axes)}]" if term.op else f"{term.name}[{', '.join(axes)}]"


def _valid(operands: Sequence[str], results: Sequence[str]) -> Iterator[str]:
    try:
        yield str(Signature.parse(f"{', '.join(operands)} -> {', '.join(results)}"))
    except XPDispatchError:
        return


def _gathers(g: int, p: int, a: int, experiments: Sequence[Experiment]) -> bool:
    """Whether a body sees of an operand's axis what another operand's elements name, and nothing else."""
    for experiment in experiments:
        operands = [*experiment.trial.operands]
        keys, array = operands[g], operands[p]
        if keys.max() >= array.shape[a]:
            return False
        others = list(operands)
        others[g] = np.where(keys > 0, keys - 1, np.asarray(array.shape[a] > 1, keys.dtype))
        operands[g] = (
            np.arange(keys.size).astype(np.result_type(keys, np.min_scalar_type(keys.size))).reshape(keys.shape)
        )
        operands[p] = np.take(array, keys.ravel(), axis=a)
        call = experiment.trial.call()
        try:
            answers = [trial_of(replace(call, operands=tuple(values))).run() for values in (operands, others)]
        except Exception:  # noqa: BLE001  whatever a body raises
            return False
        same, other = (all(map(alike, experiment.expected, answer)) for answer in answers)
        if not same or other:
            return False
    return True


def _scatters(base: Kernel, signature: Signature, g: int, r: int, a: int, experiments: Sequence[Experiment]) -> bool:
    """Whether each element changes that cell of a result alone which an operand's element names."""
    result, keys = signature.results[r], experiments[0].trial.operands[g]
    index = signature.operands[g].axes[0].name
    kept = {axis.name for axis in result.axes if axis.kind == "split"}
    if result.op in (None, "fold", "xor") or keys.ndim != 1 or index in kept or keys.size > _MOST_TILES:
        return False
    if keys.max() >= experiments[0].expected[r].shape[a]:
        return False
    places = [
        (p, at, Axis("split", INDEX, below=axis.below, above=axis.above, scale=axis.scale))
        for p, term in enumerate(signature.operands)
        for at, axis in enumerate(term.axes)
        if axis.kind == "split" and axis.name == index
    ]
    try:
        parts = Parts(base, places, experiments)
        for n in range(len(experiments)):
            for key, values in zip(keys, parts.of(n, range(1, keys.size)), strict=True):
                elsewhere = np.delete(values[r], int(key), axis=a)
                with quiet():
                    if not (elsewhere == identity(result.op, elsewhere.dtype)).all():
                        return False
    except Exception:  # noqa: BLE001  whatever a body raises
        return False
    return True
