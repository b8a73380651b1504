"""The guard: a kernel on a few elements, whole and in tiles, before its first call that is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xpdispatch.arrays import namespaces
from xpdispatch.machine.settings import settings
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.windows import PLAIN, WHOLE, Layout
from xpdispatch.proving.comparison import Arrays, compare
from xpdispatch.proving.search import Experiment
from xpdispatch.proving.tilings import Tiling
from xpdispatch.proving.trial import Trial, trial_at
from xpdispatch.running import costs
from xpdispatch.running.cutting import Cutter
from xpdispatch.running.site import is_interrupt

_FEW = (7, 4, 3, 2)
"""Elements of each index that are tried, beside its halo; the next number where one costs too much."""

_SECONDS, _PART = 0.0015, 0.008
"""What a guard may take by this account: so long, or such a part of the call, whichever is more."""

_BYTES = 4e9
"""What goes through the cache in a second, and is computed meanwhile."""

_RUN, _CALL = 60e-6, 2e-6
"""What a run of a body takes before it computes anything, and each call of an array function."""


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
        key = (namespaces.registered, cutter.dtypes, cutter.given, *map(type, scalars))
        if key not in self.definition.guarded:
            sizes = few(self.definition, cutter, scalars)
            if isinstance(sizes, tuple):
                self._try(sizes, scalars, operands)
            self.definition.guarded[key] = True
        self.waits = False

    def _try(self, sizes: Sequence[int], scalars: Sequence[Any], operands: Sequence[Any] | None) -> None:
        cutter = self.cutter
        whole, plan = cutter.site.plan, cutter.site.plan.with_extents(sizes)
        parts = [
            _made(small.shape, dtype, p) if operands is None else operands[p][_spread(full, small, whole, plan)]
            for p, (full, small, dtype) in enumerate(zip(whole.operands, plan.operands, cutter.dtypes, strict=True))
        ]
        given = [
            None if d is None or u is not None else np.empty([1 if n is None else n for n in layout.shape], d)
            for layout, d, u in zip(plan.results, cutter.given, self.definition.body.updated, strict=True)
        ]
        site = replace(cutter.site, plan=plan)
        trial = replace(trial_at(site, self.definition, [np.asarray(p) for p in parts], given, scalars), silent=False)
        expected = _answer(trial)
        for tiling in tilings_of(plan) if expected else ():
            got = _answer(trial, tiling)
            if got and compare(expected, got):
                _look_closer(Experiment("a few elements", trial, expected), tiling)


def _answer(trial: Trial, tiling: Tiling | None = None) -> Arrays:
    """The results; none where the body raises, which proves nothing."""
    try:
        return trial.run(tiling)
    except BaseException as error:
        if is_interrupt(error):
            raise
        error.__traceback__ = None  # a body may raise this very object in a task, which must not hold our frames
        return []


def _look_closer(experiment: Experiment, tiling: Tiling) -> None:
    """Raise, if a difference is more than rounding; this takes longer."""
    from xpdispatch.proving import diagnosis, report  # which a kernel that is right need not load

    if unsteady := compare(experiment.expected, experiment.trial.run()):
        raise report.unsteady_error(experiment.trial, unsteady)
    found = experiment.attempt(tiling)
    if found is not None and found.difference is not None:
        raise diagnosis.partition_error(experiment, experiment.smallest(found), [experiment], seed=0)


# -- on how few elements, and what that costs ----------------------------------------------------------------------


def few(definition: Definition, cutter: Cutter, scalars: Sequence[Any]) -> tuple[int, ...] | str:
    """How many elements of each index are tried, or in words why none are."""
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
    for count in _FEW:
        sizes = _sizes(plan, count)
        if _seconds(cutter.volumes, plan.with_extents(sizes), cost) <= allowed:
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
    for tiling in tilings_of(plan):
        regions += tiling.regions(plan)
    bytes_ = sum(costs.traffic(volumes, [b - a for a, b in region], cost) for region in regions)
    return bytes_ / _BYTES + len(regions) * (_RUN + cost.calls * _CALL)


def tilings_of(plan: Plan) -> Iterator[Tiling]:
    """One ragged tiling along each index, the last tile first: what a body keeps from tile to tile shows."""
    for name, n in zip(plan.indices, plan.extents, strict=True):
        if n > 1:
            yield Tiling(((name, (1,) if n == 2 else (n // 3, n // 3 + 1)),), "backward")


# -- the elements ------------------------------------------------------------------------------------------------------


def _spread(full: Layout, small: Layout, whole: Plan, plan: Plan) -> tuple[slice, ...]:
    """The elements of an operand that are tried: spread over an index, from its start where some operand has a halo."""
    near = {a for o in whole.operands for a, r in zip(o.axes, o.reaches, strict=False) if a != WHOLE and r != PLAIN}
    slices = []
    for a, n in zip(full.axes, small.shape, strict=True):
        step = 1 if a == WHOLE or a in near else whole.extents[a] // plan.extents[a]
        slices.append(slice(0, int(n or 0) * step, step))
    return tuple(slices)


def _made(shape: Sequence[int | None], dtype: Any, seed: int) -> np.ndarray[Any, Any]:
    """Numbers that are the same in every process: from 0 to before 8."""
    extents = [int(n or 0) for n in shape]
    values = np.random.default_rng([seed, *extents]).random((*extents, 2)) * 8
    real = values[..., 0]
    if np.dtype(dtype).kind == "c":
        return np.asarray(real + 1j * values[..., 1]).astype(dtype)
    return np.asarray(real >= 4 if np.dtype(dtype).kind == "b" else real).astype(dtype)
