"""Look for a tiling under which a trial's answer is another one, and make it small."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import MissingError
from xpdispatch.machine.progress import Progress
from xpdispatch.planning.windows import WHOLE
from xpdispatch.testing.comparison import Difference, Reruns, compare
from xpdispatch.testing.options import Clock, Data, OwnClock
from xpdispatch.testing.tilings import MOST_TILES, Tiling, adversarial, tilings
from xpdispatch.testing.trial import Trial, jittered, make_trial, quiet

_LEAST = 12
"""So many tilings are tried however long they take."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One tiling under which the answer is another one, or there is none.

    Parameters
    ----------
    data : str
    tiling : Tiling
    difference : Difference or None
    error : Exception or None
        What was raised on the tiles, and not on one tile.
    """

    data: Data
    tiling: Tiling
    difference: Difference | None = None
    error: Exception | None = None


@dataclass
class Experiment:
    """A trial on one set of values, with its answer on one tile."""

    data: Data
    trial: Trial
    expected: Sequence[np.ndarray[Any, Any]]
    tried: int = field(default=0)

    @cached_property
    def precise(self) -> tuple[Trial, Sequence[np.ndarray[Any, Any]]] | None:
        """The trial in higher precision with its answer on one tile."""
        return _answered(self.trial.precise())

    def attempt(self, tiling: Tiling) -> Finding | None:
        """Run under a tiling by every strategy, and compare."""
        self.tried += 1
        for strategy in self.trial.strategies:
            try:
                got = self.trial.run(tiling, strategy=strategy)
            except Exception as error:  # noqa: BLE001  whatever a body raises is what is looked for
                return None if self.data == "a NaN" else Finding(self.data, tiling, error=error)
            found = compare(self.expected, got, self._reruns(tiling, strategy))
            if found is not None:
                return Finding(self.data, tiling, found)
        return None

    def _reruns(self, tiling: Tiling, strategy: str) -> Reruns:
        def both(pair: tuple[Trial, Any] | None) -> tuple[Any, Any] | None:
            if pair is not None:
                with suppress(Exception):  # a body that refuses the precision
                    return pair[1], pair[0].run(tiling, strategy=strategy)
            return None

        def moved(seed: int, *, coarse: bool = False) -> tuple[Any, Any, tuple[Any, Any] | None]:
            trial = jittered(self.trial, seed, coarse=coarse)
            low = both(_answered(trial))
            if low is None:
                return self.expected, self.expected, None
            return *low, both(_answered(trial.precise()))

        return Reruns(lambda: both(self.precise), moved, self._magnitude)

    def _magnitude(self, r: int) -> np.ndarray[Any, Any] | None:
        """The sum of the sizes of many small parts of a result that is a sum."""
        plan = self.trial.plan
        if plan.results[r].op != "sum":
            return None
        pieces = max(2, int(MOST_TILES ** (1 / max(1, len(plan.indices)))))
        cuts = tuple(
            (name, tuple(range(step, n, step)))
            for name, n in zip(plan.indices, plan.extents, strict=True)
            for step in [-(-n // pieces)]
        )
        with suppress(Exception):  # a body that does not run on such a part
            return np.asarray(sum(np.abs(self.trial.run([region])[r]) for region in Tiling(cuts).regions(plan)))
        return None

    def search(self, seed: int, examples: int, clock: Clock, progress: Progress | None = None) -> Finding | None:
        """Try the adversarial tilings and then drawn ones; what is found is made small."""
        found = self.first(seed, clock, examples, progress)
        if found is not None:
            return self.smallest(found, seed)
        if not examples or clock.over:
            return None
        return self._find(self.trial.plan.indices, seed, examples, clock, progress)

    def first(self, seed: int, clock: Clock, examples: int = 0, progress: Progress | None = None) -> Finding | None:
        """Try the adversarial tilings, some of them whatever the clock says; so many examples come after them."""
        fixed = list(adversarial(self.trial.plan, seed, special_places(self.trial)))
        for n, tiling in enumerate(fixed):
            if self.tried >= _LEAST and clock.over:
                return None
            if progress:
                progress(n, len(fixed) + examples, self.data)
            if found := self.attempt(tiling):
                return found
        return None

    def smallest(self, found: Finding, seed: int) -> Finding:
        """The simplest tiling that Hypothesis finds for the same failure, or the same finding."""
        indices = found.tiling.indices
        if not indices:
            return found
        smaller = self._find(indices, seed, 100, OwnClock(0.4)) or found
        return min(smaller, found, key=_size)

    def _find(
        self, indices: Sequence[str], seed: int, examples: int, clock: Clock, progress: Progress | None = None
    ) -> Finding | None:
        try:
            import hypothesis
        except ModuleNotFoundError:
            raise MissingError(
                "checks search tilings with hypothesis, which is not installed",
                hint="pip install 'xpdispatch[testing]'",
            ) from None

        if hypothesis.currently_in_test_context():  # which takes no other search inside
            return self._draw(indices, seed, examples, clock)
        settings = hypothesis.settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
        )
        findings: dict[str, Finding] = {}
        before = self.tried

        def fails(tiling: Tiling) -> bool:
            key = str(tiling)
            if progress and self.tried - before < examples:
                progress(self.tried, before + examples, self.data)
            if key not in findings and not clock.over and (found := self.attempt(tiling)):
                findings[key] = found
            return key in findings

        strategy = tilings(self.trial.plan, indices)
        # Legate warns when hypothesis seeds numpy.random, which no kernel may draw from.
        with quiet(), suppress(hypothesis.errors.NoSuchExample, hypothesis.errors.Unsatisfiable):
            return findings[str(hypothesis.find(strategy, fails, settings=settings, random=random.Random(seed)))]  # noqa: S311
        return None

    def _draw(self, indices: Sequence[str], seed: int, examples: int, clock: Clock) -> Finding | None:
        """Random tilings without Hypothesis."""
        rng = np.random.default_rng(seed)
        extents = dict(zip(self.trial.plan.indices, self.trial.plan.extents, strict=True))
        for _ in range(examples):
            if clock.over:
                break
            cuts = tuple(
                (n, tuple(sorted(rng.integers(0, extents[n] + 1, rng.integers(1, 4)).tolist()))) for n in indices
            )
            if found := self.attempt(Tiling(cuts, int(rng.integers(100)))):
                return found
        return None


def _size(found: Finding) -> tuple[int, bool]:
    return sum(len(places) for _, places in found.tiling.cuts), found.tiling.order != "forward"


def _answered(trial: Trial | None) -> tuple[Trial, Sequence[np.ndarray[Any, Any]]] | None:
    if trial is not None:
        with suppress(Exception):  # a body that refuses the precision
            return trial, trial.run()
    return None


def special_places(trial: Trial) -> dict[str, list[int]]:
    """By index the places around the cells of operands that are not finite, where they stand on a split axis."""
    found: dict[str, list[int]] = {}
    for layout, array in zip(trial.plan.operands, trial.operands, strict=True):
        if array.dtype.kind not in "fc":
            continue
        odd = np.argwhere(~np.isfinite(array))[:8]
        for axis, a in enumerate(layout.axes):
            if a != WHOLE:
                places = found.setdefault(trial.plan.indices[a], [])
                scale = layout.reaches[axis].scale if layout.reaches else 1
                places += [int(c[axis]) // scale + step for c in odd for step in (0, 1)]
    return found


def is_right(kernel: Kernel, experiments: Sequence[Experiment], seed: int, seconds: float) -> bool:
    """Whether a kernel of the same body, in another notation, gives the same answers under all tilings tried.

    Parameters
    ----------
    kernel : Kernel
    experiments : sequence of Experiment
        With the values, and the answers that are right.
    seed : int
    seconds : float
        How long each may take.
    """
    for experiment in experiments:
        try:
            trial = make_trial(kernel, (), by_name(experiment.trial))
            answer = trial.run()
        except Exception:  # noqa: BLE001  whatever a body raises: then it is not right
            return False
        still = Reruns(lambda: None, lambda _, **__: (answer, answer, None))  # noqa: B023  called at once
        if trial.plan.empty or compare(experiment.expected, answer, still):
            return False
        if Experiment(experiment.data, trial, answer).first(seed, OwnClock(seconds)):
            return False
    return True


def by_name(trial: Trial) -> dict[str, Any]:
    """The call of a trial, every argument by its name."""
    values: dict[str, Any] = {}
    for slot in trial.kernel.definition.body.slots:
        if slot.operand is not None:
            values[slot.name] = np.array(trial.operands[slot.operand])
        elif slot.scalar is not None:
            values[slot.name] = trial.scalars[slot.scalar]
        elif slot.result is not None and trial.given[slot.result] is not None:
            values[slot.name] = trial.given[slot.result]
    return values
