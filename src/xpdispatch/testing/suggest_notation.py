"""``suggest``: the freest notation under which a body is right, found by running it on parts of its arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np

from xpdispatch.arrays.reductions import check_dtype, combined
from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import ArgumentError, PartitionError, XPDispatchError
from xpdispatch.language.signature import Signature
from xpdispatch.language.terms import OPERATORS, Axis, Operator, Term
from xpdispatch.machine.clock import Clock
from xpdispatch.machine.progress import Progress
from xpdispatch.planning.body import parameters_of, spelling_of
from xpdispatch.planning.definition import Call
from xpdispatch.planning.windows import Scan
from xpdispatch.proving.notation_changes import with_axis
from xpdispatch.proving.search import Experiment, is_right, is_right_on
from xpdispatch.proving.trial import Fault, Trial, quiet, small_integers, trial_of
from xpdispatch.testing.options import current, telling
from xpdispatch.testing.suggest_doubts import MOST, why_whole, with_keys
from xpdispatch.testing.suggest_runs import INDEX, Parts, alike, boundary_of, recorded, several
from xpdispatch.testing.trials import make_trial

_OPERATORS: tuple[Operator, ...] = tuple(op for op in OPERATORS if op != "fold")
_WAYS: tuple[Literal["up to"], Literal["from"]] = ("up to", "from")
_LETTERS = "ijklmnpqrstuvwabcdefgh"


class Suggestion(str):
    """A notation, as text, with what the search could not decide.

    Attributes
    ----------
    boundary : str or None
        What to pass as ``boundary=``.
    undecided : tuple of str
        What could not be settled: why axes stay whole, and on what little the answer rests.
    keys : tuple of str
        Notations with keys, for a body that leaves to the library what this one does itself: it gets what is gathered,
        and returns for each element what is scattered.
    """

    boundary: str | None
    undecided: tuple[str, ...]
    keys: tuple[str, ...]

    def __new__(
        cls, text: str, boundary: str | None = None, undecided: Sequence[str] = (), keys: Sequence[str] = ()
    ) -> Suggestion:
        """Make one."""
        made = super().__new__(cls, text)
        made.boundary, made.undecided, made.keys = boundary, tuple(undecided), tuple(keys)
        return made


@dataclass(frozen=True, slots=True)
class _Split:
    """One index: the operands' axes that it splits, and what becomes of each result."""

    axes: tuple[tuple[int, int, Axis], ...]
    results: tuple[_How, ...]


@dataclass(frozen=True, slots=True)
class _How:
    """What becomes of a result: an axis is split or scanned, or there is no such axis and it is combined."""

    axis: Axis | None = None
    op: Operator | None = None


def suggest(body: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Suggestion:
    """Find the freest notation under which a body gives the same answer however its arrays are cut.

    Every set of axes of equal extents is cut, and the body runs on the parts: the results of the parts, joined along
    an axis or combined by an operator, must be the whole result. What is found together is then checked as
    :func:`check_partitioning` does.

    Parameters
    ----------
    body : callable
        ``body(xp[, tile], ...)`` that returns its results, or a kernel.
    *args, **kwargs
        Of a call, with NumPy arrays. Extents that differ from each other leave less to be tried.

    Returns
    -------
    Suggestion
        A ``str``, ready for ``@kernel(...)``; its ``undecided`` says what could not be settled.

    Raises
    ------
    ArgumentError
        The arguments do not fit, or the body returns nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch.testing import suggest
    >>> rng = np.random.default_rng(0)
    >>> print(suggest(lambda xp, A, B: A @ B, rng.random((4, 5)), rng.random((5, 6))))
    A[i, j], B[j, k] -> sum y[i, k]
    >>> print(suggest(lambda xp, x: x / xp.sum(x, axis=1, keepdims=True), rng.random((4, 5))))
    x[i, :] -> y[i, :]
    """
    try:
        with telling() as progress:
            return _suggest(body, args, kwargs, progress)
    except Fault as fault:
        error = PartitionError(str(fault), hint=fault.hint)
        raise error.complete(getattr(body, "__name__", "body"), "") from fault.__cause__


def _suggest(body: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], progress: Progress) -> Suggestion:
    options = current()
    clock = Clock(5 * options.seconds)
    base = _all_whole(body, args, kwargs)
    given = make_trial(base, args, kwargs)
    trials = [small_integers(given, options.chosen_seed)] if given.inexact else []
    experiments = []
    for trial in (*trials, given):
        try:
            experiments.append(Experiment("the arguments", trial, trial.run()))
        except Exception:
            if trial is given:
                raise
    undecided = []
    taken = {s.name for s in base.definition.body.slots} | {str(t.name) for t in base.signature.results}
    signature = base.signature
    splits = _splits(base, experiments, clock, progress)
    for n, split in enumerate(splits):
        progress(n, len(splits), "sets of axes, together")
        larger = _joined(signature, split, f"_{len(signature.indices)}")
        if larger is None:
            continue
        if _is_right(is_right, base, larger, experiments, options.chosen_seed):
            signature = larger
        elif _is_right(is_right_on, base, larger, experiments, options.chosen_seed):
            undecided.append(f"{_renamed(larger, taken)} would be right but for NaN, which does not reach its result")
    if clock.over:
        undecided.append("time ran out: some sets of axes were not tried")
    for term, array in zip(base.signature.operands, given.operands, strict=True):
        undecided += [
            f"axis {a} of {term.name!r} has extent {n}: nothing can be said of it"
            for a, n in enumerate(array.shape)
            if n < 2
        ]
    boundary = boundary_of(signature)
    if boundary is not None:
        undecided.append("the halo is right with boundary='valid'; pass that to the decorator")
    named = _name_extents(base, _renamed(signature, taken), experiments[-1].trial)
    open_ended, doubts = _open_extents(named, experiments)
    if not given.inexact:
        undecided.append("integers and bools are not varied: this was seen on these values alone")
    undecided += [*doubts, *why_whole(base, signature, experiments)]
    return Suggestion(str(open_ended), boundary, undecided, [*with_keys(base, open_ended, experiments)])


def _all_whole(body: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Kernel:
    """A kernel of the body with every axis whole, which runs in one tile."""
    function = body.__wrapped__ if isinstance(body, Kernel) else body
    if not callable(function):
        raise ArgumentError(f"got {body!r}, expected a function", hint="write suggest(body, x, y): its arguments too")
    parameters_of(function)  # which has words for what is not a body
    parameters = list(spelling_of(function).parameters.values())
    skip = 2 if [p.name for p in parameters[1:2]] == ["tile"] else 1
    try:
        bound = inspect.Signature(parameters[skip:]).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"the arguments do not fit the body: {error}", hint="pass all but xp and tile") from None
    bound.apply_defaults()
    arrays = {n: v for n, v in bound.arguments.items() if isinstance(v, np.ndarray)}
    if not arrays:
        raise ArgumentError("no argument is a NumPy array", hint="pass the arrays of a typical call")
    operands = tuple(Term(n, tuple(Axis("whole") for _ in v.shape)) for n, v in arrays.items())
    # One call shows how many results there are, and of which rank.
    recording, returned = recorded(function)
    make_trial(Kernel(recording, Signature(operands, (Term("_", ()),))), args, kwargs).run()
    if returned[0] is None:
        raise ArgumentError("the body returned None", hint="let it return its results")
    results = several(returned[0])
    taken = {p.name for p in parameters}
    letter = next(c for c in "yzrwv" if not taken & {c, f"{c}0"})
    names = [letter] if len(results) == 1 else [f"{letter}{n}" for n in range(len(results))]
    terms = tuple(Term(n, tuple(Axis("whole") for _ in np.shape(v))) for n, v in zip(names, results, strict=True))
    return Kernel(function, Signature(operands, terms))


# -- which axes can be split together --------------------------------------------------------------------------


def _splits(base: Kernel, experiments: Sequence[Experiment], clock: Clock, progress: Progress) -> list[_Split]:
    """Every set of operands' axes that can be split together, the largest sets first."""
    trial = experiments[0].trial
    shapes = [a.shape for a in trial.operands]
    extents = sorted({n for shape in shapes for n in shape if n > 1}, reverse=True)
    results = {n for e in experiments for a in e.expected for n in a.shape if n > 1}
    found: list[_Split] = []
    for extent in sorted({*extents, *results}, reverse=True):
        options = [[None, *_axes_for(extent, shape)] for shape in shapes]
        chosen = [c for c in product(*options) if any(c)]
        for n, choice in enumerate(sorted(chosen, key=lambda c: (_oddness(c), c.count(None)))):
            if clock.over:
                break
            progress(n, len(chosen), f"axes of {extent} elements")
            axes = tuple((p, a[0], a[1]) for p, a in enumerate(choice) if a)
            results_of = _relation(base, experiments, axes, extent)
            if results_of is not None:
                found.append(_Split(axes, results_of))
    # Results that keep the index leave more to be done side by side than those that combine it.
    return sorted(found, key=lambda s: (_oddness_of(s), sum(r.op is not None for r in s.results)))


def _axes_for(extent: int, shape: Sequence[int]) -> list[tuple[int, Axis]]:
    """The axes of one operand that an index of this extent can split: plainly, in blocks or with a halo."""
    found = []
    for a, n in enumerate(shape):
        if n == extent:
            found.append((a, Axis("split", INDEX)))
        elif 1 <= n // extent <= MOST and n % extent == 0:
            found.append((a, Axis("split", INDEX, scale=n // extent)))
        else:
            halos = ((scale, n - scale * extent) for scale in range(1, min(n // extent, MOST) + 1))
            found += [(a, Axis("split", INDEX, above=h, scale=scale)) for scale, h in halos if h <= MOST]
    return found


def _oddness(choice: Sequence[tuple[int, Axis] | None]) -> int:
    return sum(_more(c[1]) for c in choice if c)


def _more(axis: Axis) -> int:
    """Elements beyond the one that goes with each of the index."""
    _, above, scale = axis.sized({})
    return scale - 1 + above


def _oddness_of(split: _Split) -> int:
    own = sum(_more(axis) for _, _, axis in split.axes)
    return own + 8 * sum(r.axis is not None and r.axis.kind == "unknown" for r in split.results)


def _relation(
    base: Kernel, experiments: Sequence[Experiment], axes: Sequence[tuple[int, int, Axis]], extent: int
) -> tuple[_How, ...] | None:
    """What each result becomes when these axes are cut: an axis of it is split too, or it is combined; or None."""
    try:
        parts_of = Parts(base, axes, experiments)
    except XPDispatchError:  # a notation that contradicts itself
        return None
    possible: list[set[Any]] | None = None
    cuts = sorted({max(1, extent // 2), max(1, extent // 3), extent - 1})
    for n, experiment in enumerate(experiments):
        for cut in cuts if extent > 2 else cuts[:1]:
            try:
                parts = parts_of.of(n, (cut,))
            except Exception:  # noqa: BLE001  whatever the body raises, this is not a way to cut its arrays
                return None
            now = [set(_fits(e, a, b, cut, extent)) for e, a, b in zip(experiment.expected, *parts, strict=True)]
            possible = now if possible is None else [p & n for p, n in zip(possible, now, strict=True)]
            if not all(possible):
                return None
    return tuple(min(p, key=_preference) for p in possible or [])


def _preference(how: _How) -> tuple[int, int, str]:
    operator = -1 if how.op is None else _OPERATORS.index(how.op)
    if how.axis is None:
        return 2, operator, ""
    return 3 if how.axis.kind == "unknown" else int(how.op is not None), operator, f"{how.axis.name}{how.axis.scan}"


def _fits(e: Any, a: Any, b: Any, cut: int, extent: int) -> Iterator[_How]:
    """How two parts can make the whole result."""
    if a.ndim != e.ndim or b.ndim != e.ndim or a.dtype != e.dtype or b.dtype != e.dtype:
        return
    for axis in range(e.ndim):
        rest = [s[:axis] + s[axis + 1 :] for s in (e.shape, a.shape, b.shape)]
        if rest[0] != rest[1] or rest[1] != rest[2] or a.shape[axis] + b.shape[axis] != e.shape[axis]:
            continue
        if e.shape[axis] == extent and a.shape[axis] == cut:
            yield from _scans(e, a, b, axis)
        if not alike(e, np.concatenate([a, b], axis=axis)):
            continue
        if e.shape[axis] % extent == 0 and a.shape[axis] * extent == e.shape[axis] * cut:
            yield _How(Axis("split", f"{axis}", scale=e.shape[axis] // extent))
        if axis == 0:
            yield _How(Axis("unknown"))  # on other data the parts may be of any length
    if a.shape == b.shape == e.shape:
        for op in _operators(e.dtype):
            with quiet():
                if alike(e, np.asarray(combined(np, op, a, b))):
                    yield _How(op=op)


def _scans(e: Any, a: Any, b: Any, axis: int) -> Iterator[_How]:
    """Scans along an axis that two parts can make: one of them is combined with the end of the other."""
    last, first = Scan(axis, backward=False).end(a), Scan(axis, backward=True).end(b)
    for op in _operators(e.dtype):
        with quiet():
            carried = {"up to": (a, combined(np, op, last, b)), "from": (combined(np, op, a, first), b)}
        for way in _WAYS:
            if alike(e, np.concatenate(carried[way], axis=axis)):
                yield _How(Axis("split", f"{axis}", scan=way), op)


def _operators(dtype: np.dtype[Any]) -> Iterator[Operator]:
    """Those that a result of this dtype can have."""
    for op in _OPERATORS:
        if dtype.kind == "b" and op in ("max", "min"):
            continue  # any and all say it better
        with suppress(XPDispatchError):
            check_dtype(op, "y", dtype)
            yield op


# -- putting indices together ----------------------------------------------------------------------------------


def _joined(signature: Signature, split: _Split, name: str) -> Signature | None:
    """The signature with one more index, or None where it does not go with those that are there."""
    operands, results = list(signature.operands), list(signature.results)
    for p, a, axis in split.axes:
        if operands[p].axes[a].kind != "whole":
            return None
        operands[p] = with_axis(operands[p], a, replace(axis, name=name))
    for r, how in enumerate(split.results):
        term = results[r]
        if how.op and (term.op not in (None, how.op) or (term.op and how.axis)):
            return None
        if how.op:
            term = replace(term, op=how.op)
        if how.axis is None:
            results[r] = term
        elif how.axis.kind == "unknown":
            results[r] = with_axis(term, 0, how.axis)
        else:
            a = int(str(how.axis.name))
            if term.axes[a].kind != "whole":
                return None
            results[r] = with_axis(term, a, replace(how.axis, name=name))
    return replace(signature, operands=tuple(operands), results=tuple(results))


def _is_right(
    right: Callable[..., bool], base: Kernel, signature: Signature, experiments: Sequence[Experiment], seed: int
) -> bool:
    try:
        made = Kernel(base.__wrapped__, Signature.parse(str(signature)), boundary=boundary_of(signature))
    except XPDispatchError:  # the index contradicts those that are there
        return False
    return right(made.definition, experiments, seed, 0.5)


def _renamed(signature: Signature, taken: set[str]) -> Signature:
    """The indices called i, j, k and so on in the order in which they appear."""
    names = dict(zip(signature.indices, [c for c in _LETTERS if c not in taken], strict=False))

    def term_of(term: Term) -> Term:
        return replace(term, axes=tuple(replace(a, name=names.get(str(a.name), a.name)) for a in term.axes))

    return replace(
        signature,
        operands=tuple(map(term_of, signature.operands)),
        results=tuple(map(term_of, signature.results)),
    )


def _name_extents(base: Kernel, signature: Signature, trial: Trial) -> Signature:
    """Whole axes of results whose extent is an integer argument get its name."""
    slots = [s for s in base.definition.body.slots if s.scalar is not None]
    results = list(signature.results)
    for slot in slots:
        value = trial.scalars[int(slot.scalar or 0)]
        if type(value) is not int or value < 1:
            continue
        try:
            before, after = trial.run(), trial_of(_with_scalar(trial, int(slot.scalar or 0), value + 1)).run()
        except Exception:  # noqa: BLE001, S112  a body that takes no other value
            continue
        for r, (a, b) in enumerate(zip(before, after, strict=True)):
            for axis, (n, m) in enumerate(zip(a.shape, b.shape, strict=False)):
                if n == value and m == value + 1 and results[r].axes[axis] == Axis("whole"):
                    results[r] = with_axis(results[r], axis, Axis("whole", slot.name))
    return replace(signature, results=tuple(results))


def _open_extents(signature: Signature, experiments: Sequence[Experiment]) -> tuple[Signature, list[str]]:
    """Extents of results that are others on other values are written as '?', or told where that cannot be."""
    results, doubts = list(signature.results), []
    for r, term in enumerate(results):
        shapes = [e.expected[r].shape for e in experiments]
        for axis, extents in enumerate(zip(*shapes, strict=True)):
            if len(set(extents)) == 1 or term.axes[axis].kind != "whole":
                continue
            if axis == 0 and len(signature.indices) < 2 and term.op is None:
                results[r] = with_axis(term, 0, Axis("unknown"))
            else:
                doubts.append(f"axis {axis} of {term.name!r} has other extents on other values, which only '?' can say")
    return replace(signature, results=tuple(results)), doubts


def _with_scalar(trial: Trial, which: int, value: int) -> Call:
    call = trial.call()
    return replace(call, scalars=(*call.scalars[:which], value, *call.scalars[which + 1 :]))
