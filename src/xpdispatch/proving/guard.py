"""The guard: a kernel on a few elements, whole and in tiles, before its first call that is cut."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xpdispatch.arrays import namespaces
from xpdispatch.machine.settings import settings
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.windows import PLAIN, WHOLE, Layout, sizes_of
from xpdispatch.proving.comparison import Arrays, compare
from xpdispatch.proving.search import Experiment
from xpdispatch.proving.tilings import Tiling
from xpdispatch.proving.trial import Fault, Trial, jittered, trial_at
from xpdispatch.running import costs
from xpdispatch.running.cutting import Cutter
from xpdispatch.running.site import pass_over

_FEW = (7, 4, 3, 2)
"""Elements of each index that are tried, beside its halo; the next number where one costs too much."""

_SECONDS, _PART = 0.0015, 0.008
"""What a guard may take by this account: so long, or such a part of the call, whichever is more."""

_BYTES = 4e9
"""What goes through the cache in a second, and is computed meanwhile."""

_RUN, _CALL = 60e-6, 2e-6
"""What a run of a body takes before it computes anything, and each call of an array function."""

_GROSS, _SINGLE = 1e-3, 1e-5
"""What differs by less than such a part of itself, or of the largest element of a result, is taken for rounding."""

_FLAGS = bool, np.bool, enum.Enum, str
"""Scalars of which each value may lead a body another way."""

_LARGE_SCALARS = 1 << 16
"""Bytes of pickled scalars above which to give each run a copy of them takes too long."""


class Guard:
    """Tries one kind of call, once: that is, one definition on operands of these dtypes."""

    def __init__(self, definition: Definition, cutter: Cutter) -> None:
        self.definition, self.cutter = definition, cutter
        self.waits = definition.guard
        """Whether it may still have something to do."""

    def before(self, scalars: Sequence[Any], operands: Sequence[Any] | None = None) -> None:
        """Before a call that is cut; of `operands` a few elements are taken, numbers are made where there are none.

        Raises
        ------
        PartitionError
            The answer on these elements depends on how they are cut.
        """
        if not settings.guard:
            return
        cutter = self.cutter
        if not was_tried(self.definition, cutter.dtypes, cutter.given, scalars):
            sizes = few(self.definition, cutter, scalars, timed=operands is not None)
            if isinstance(sizes, tuple):
                self._try(sizes, scalars, operands)
                self.definition.guarded[_kind_of(cutter.dtypes, cutter.given, scalars)] = True
        self.waits = any(isinstance(v, _FLAGS) for v in scalars)

    def _try(self, sizes: Sequence[int], scalars: Sequence[Any], operands: Sequence[Any] | None) -> None:
        cutter = self.cutter
        whole, plan = cutter.site.plan, cutter.site.plan.with_extents(sizes)
        below = plan.key_limits
        parts = [
            _made(small, np.dtype(dtype), p, below.get(p))
            if operands is None
            else operands[p][_spread(full, small, whole, plan)]
            for p, (full, small, dtype) in enumerate(zip(whole.operands, plan.operands, cutter.dtypes, strict=True))
        ]
        given = [
            None if d is None or u is not None else np.empty([1 if n is None else n for n in layout.shape], d)
            for layout, d, u in zip(plan.results, cutter.given, self.definition.body.updated, strict=True)
        ]
        site = cutter.site._replace(plan=plan)
        trial = trial_at(site, self.definition, [np.asarray(p) for p in parts], given, scalars, watched=False)
        if sum(len(p or b"") for p in trial.pickled) > _LARGE_SCALARS:
            return
        expected = _answer(trial)
        for tilings in tilings_of(plan) if expected else ():
            for tiling in tilings:
                if got := _answer(trial, tiling):
                    if _is_gross(trial, expected, got) and compare(expected, got):
                        _look_closer(Experiment("a few elements", trial, expected), tiling)
                    break


def was_tried(definition: Definition, dtypes: Sequence[Any], given: Sequence[Any], scalars: Sequence[Any]) -> bool:
    """Whether calls with these dtypes of operands and given arrays, and with scalars of such kinds, were tried."""
    return _kind_of(dtypes, given, scalars) in definition.guarded


def _kind_of(dtypes: Sequence[Any], given: Sequence[Any], scalars: Sequence[Any]) -> tuple[Any, ...]:
    kinds = [(type(v), v) if isinstance(v, _FLAGS) else type(v) for v in scalars]
    return (namespaces.registered, tuple(dtypes), tuple(given), *kinds)


def _answer(trial: Trial, tiling: Tiling | None = None) -> Arrays:
    """The results; none where the body raises, which proves nothing."""
    try:
        return trial.run(tiling)
    except Fault as fault:
        from xpdispatch.proving import report  # which a kernel that is right need not load

        raise report.fault_error(trial.definition, fault) from None
    except BaseException as error:  # noqa: BLE001  see there
        pass_over(error)
        return []


def _look_closer(experiment: Experiment, tiling: Tiling) -> None:
    """Raise, if a difference is more than rounding; this takes longer."""
    from xpdispatch.proving import diagnosis, report  # which a kernel that is right need not load

    trial = experiment.trial
    if unsteady := compare(experiment.expected, trial.run()):
        raise report.unsteady_error(trial, unsteady)
    found = experiment.attempt(tiling)
    if found is None or found.difference is None:
        return
    r = found.difference.result
    rounds = experiment.expected[r].dtype.kind in "fc"
    if rounds and not _shows_on_other_numbers(trial, tiling):
        return
    if not rounds and trial.inexact:
        moved = [_answer(jittered(trial, seed, coarse=coarse)) for seed in range(3) for coarse in (False, True)]
        if any(other and not np.array_equal(other[r], experiment.expected[r]) for other in moved):
            return  # a comparison of floats that rounding decides
    raise diagnosis.partition_error(experiment, experiment.smallest(found), [experiment], seed=0)


def _shows_on_other_numbers(trial: Trial, tiling: Tiling) -> bool:
    """Whether numbers that are made differ as well, where the call's own are no floats, which could be moved a little.

    Equal numbers, such as those of an even picture, can leave nothing but rounding.
    """
    if trial.inexact or not trial.operands:
        return True
    below = trial.plan.key_limits
    arrays = zip(trial.plan.operands, trial.operands, strict=True)
    made = [_made(o, a.dtype, p, below.get(p)) for p, (o, a) in enumerate(arrays)]
    other = trial.with_operands(made)
    expected, got = _answer(other), _answer(other, tiling)
    return not (expected and got) or _is_gross(other, expected, got)


def _is_gross(trial: Trial, expected: Arrays, got: Arrays) -> bool:
    """Whether two answers differ by more than a body can that computes in single precision, whatever it is given."""
    largest = 0.0
    if not trial.inexact:  # then nothing can be made more precise, nor moved a little
        largest = max(
            (float(np.max(np.abs(a), initial=0)) for a in trial.operands if a.dtype.kind in "iu"), default=1.0
        )
    for e, g in zip(expected, got, strict=True):
        if e.dtype != g.dtype or e.shape != g.shape:
            return True
        if e.dtype.kind not in "fc":
            if not np.array_equal(e, g):
                return True
            continue
        with np.errstate(all="ignore"):
            finite = np.isfinite(e) & np.isfinite(g)
            if not np.array_equal(e[~finite], g[~finite], equal_nan=True):
                return True
            sizes, eps = np.maximum(np.abs(e), np.abs(g))[finite], float(np.finfo(e.dtype).eps)
            least = max(_SINGLE, 64 * eps) * float(np.max(sizes, initial=0)) + 64 * eps * largest
            off = np.abs(e - g)[finite]
        if ((off > _GROSS * sizes) & (off > least)).any():
            return True
    return False


# -- on how few elements, and what that costs ----------------------------------------------------------------------


def few(definition: Definition, cutter: Cutter, scalars: Sequence[Any], *, timed: bool) -> tuple[int, ...] | str:
    """How many elements of each index are tried, or in words why none are.

    Where it is `timed`, what a dry run took counts as well; on Legate all processes must come to the same.
    """
    plan = cutter.site.plan
    if not definition.guard:
        return "guard=False"
    if plan.images:
        return "operands are pointed to"
    if max(plan.extents, default=1) < 2:
        return "no index has two elements"
    measured = cutter.measured(scalars)
    cost = costs.guess(cutter.volumes) if measured is None else measured.cost
    allowed = max(_SECONDS, _PART * costs.traffic(cutter.volumes, plan.extents, cost) / _BYTES)
    each = measured.seconds if measured is not None and timed else 0.0
    longest = max(_SECONDS, _PART * each * math.prod(plan.extents))
    for count in _FEW:
        sizes = _sizes(plan, count)
        took = each * math.prod(sizes) * (1 + sum(n > 1 for n in sizes))
        if _seconds(cutter.volumes, plan.with_extents(sizes), cost) <= allowed and took <= longest:
            return sizes
    return "even a few elements cost more than 2 ms and 1 % of the call"


def _sizes(plan: Plan, count: int) -> tuple[int, ...]:
    halos = [0] * len(plan.extents)
    for layout in plan.operands:
        for a, reach in zip(layout.axes, layout.reaches, strict=False):
            if a != WHOLE:
                halos[a] = max(halos[a], -(-(reach.below + reach.above) // reach.scale))
    least = plan.fewest
    return tuple(min(n, max(count, 2 * least[i]) + halos[i]) for i, n in enumerate(plan.extents))


def _seconds(volumes: costs.Volumes, plan: Plan, cost: costs.Cost) -> float:
    """What the guard takes: the body on all of it, and on the tiles."""
    regions = [tuple((0, n) for n in plan.extents)]
    for tiling, *_ in tilings_of(plan):
        regions += tiling.regions(plan)
    bytes_ = sum(costs.traffic(volumes, sizes_of(region), cost) for region in regions)
    return bytes_ / _BYTES + len(regions) * (_RUN + cost.calls * _CALL)


def tilings_of(plan: Plan) -> Iterator[list[Tiling]]:
    """A ragged tiling along each index, and one in halves for bodies that need more elements than one.

    The last tile comes first: what a body keeps from tile to tile shows.
    """
    for name, n in zip(plan.indices, plan.extents, strict=True):
        cuts = [(n // 3, n // 3 + 1)] if n > 2 else []
        if n > 1:
            yield [Tiling(((name, places),), "backward") for places in (*cuts, (n // 2,))]


# -- the elements ------------------------------------------------------------------------------------------------------


def _spread(full: Layout, small: Layout, whole: Plan, plan: Plan) -> tuple[slice, ...]:
    """The elements of an operand that are tried: spread over an index, or from its middle where operands have halos."""
    near = {a for o in whole.operands for a, r in zip(o.axes, o.reaches, strict=False) if a != WHOLE and r != PLAIN}
    slices = []
    for axis, (a, n) in enumerate(zip(full.axes, small.shape, strict=True)):
        count = int(n or 0)
        step = 1 if a == WHOLE or a in near else whole.extents[a] // plan.extents[a]
        first = 0
        if a in near:
            scale = full.reaches[axis].scale if full.reaches else 1
            first = (whole.extents[a] - plan.extents[a]) // 2 * scale
        slices.append(slice(first, first + count * step, step))
    return tuple(slices)


def _made(layout: Layout, dtype: np.dtype[Any], seed: int, below: int | None = None) -> np.ndarray[Any, Any]:
    """Numbers that are the same in every process: from 0 to 1, or integers below 8, and keys below their limit.

    What no index splits may be a table to search in, or positions: it rises, and integers are those from 0 on.
    """
    extents = [int(n or 0) for n in layout.shape]
    values = np.random.default_rng([seed, *extents]).random((*extents, 2))
    real, table = values[..., 0], bool(extents) and all(a == WHOLE for a in layout.axes)
    if dtype.kind == "c":
        return np.asarray(real + 1j * values[..., 1]).astype(dtype)
    if dtype.kind == "b":
        return np.asarray(real >= 0.5)
    if dtype.kind in "iu":
        counted = np.broadcast_to(np.arange(extents[-1]) % 100, extents) if table else real * 8
        return np.asarray(counted if below is None else np.floor(counted) % max(1, below)).astype(dtype)
    return np.asarray(np.sort(real, axis=-1) if table else real).astype(dtype)
