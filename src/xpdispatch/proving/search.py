"""Look for a tiling under which a trial's answer is another one, and make it small."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal, get_args

import numpy as np

from xpdispatch.machine.clock import Clock
from xpdispatch.machine.progress import Progress
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.windows import WHOLE
from xpdispatch.proving.comparison import Array, Arrays, Difference, Reruns, compare
from xpdispatch.proving.tilings import MOST_TILES, Tiling, adversarial, random_tiling, simpler
from xpdispatch.proving.trial import Trial, jittered, with_nan

Data = Literal["small integers", "the arguments", "a NaN", "a few elements"]
"""The values on which a check runs: small integers in place of the inexact operands, the caller's own, or the
caller's with a NaN; and the few that the guard takes."""
DATA: tuple[Data, ...] = get_args(Data)[:3]

_LEAST = 12
"""So many tilings are tried however long they take."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A tiling under which the answer is another one, or there is none.

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
    """A trial on one set of values, with its answer on one tile, and how many tilings it ran under.

    Parameters
    ----------
    data : str
    trial : Trial
    expected : sequence of numpy.ndarray
    tried, cut : int
        How many tilings were tried, and how many of them made more than one tile with elements.
    """

    data: Data
    trial: Trial
    expected: Arrays
    tried: int = 0
    cut: int = 0

    @cached_property
    def precise(self) -> tuple[Trial, Arrays] | None:
        """The trial in higher precision with its answer on one tile."""
        return _answered(self.trial.precise())

    def attempt(self, tiling: Tiling) -> Failure | None:
        """Run under a tiling by every strategy, and compare."""
        self.tried += 1
        self.cut += tiling.divides(self.trial.plan)
        for strategy in self.trial.strategies:
            try:
                got = self.trial.run(tiling, strategy=strategy)
            except Exception as error:  # noqa: BLE001  whatever a body raises is what is looked for
                return None if self.data == "a NaN" else Failure(self.data, tiling, error=error)
            if strategy not in self.trial.strategies:  # it has found no trace, and so ran by tile once more
                continue
            if found := compare(self.expected, got, self._reruns(tiling, strategy)):
                return Failure(self.data, tiling, found)
        return None

    def _reruns(self, tiling: Tiling, strategy: str) -> Reruns:
        def both(pair: tuple[Trial, Arrays] | None) -> tuple[Arrays, Arrays] | None:
            if pair is not None:
                trial, answer = pair
                with suppress(Exception):  # a body that refuses the precision
                    got = trial.run(tiling, strategy=strategy)
                    if strategy in trial.strategies:  # and was not found to have no trace in it
                        return answer, got
            return None

        def moved(seed: int, *, coarse: bool = False) -> tuple[Arrays, Arrays, tuple[Arrays, Arrays] | None] | None:
            trial = jittered(self.trial, seed, coarse=coarse)
            low = both(_answered(trial))
            return None if low is None else (*low, both(_answered(trial.precise())))

        return Reruns(lambda: both(self.precise), moved, self._magnitude)

    def _magnitude(self, r: int) -> Array | None:
        """The sum of the sizes of many small parts of a result that is a sum; of a scan those that stand before."""
        plan = self.trial.plan
        layout = plan.results[r]
        if layout.op != "sum":
            return None
        if layout.scan:
            axis, own = layout.scan.axis, self.expected[r]
            own = np.flip(own, axis) if layout.scan.backward else own
            with np.errstate(all="ignore"):
                sizes = np.cumsum(np.abs(np.diff(own, axis=axis, prepend=0)), axis=axis)
            return np.asarray(np.flip(sizes, axis) if layout.scan.backward else sizes)
        pieces = max(2, int(MOST_TILES ** (1 / max(1, len(plan.indices)))))
        cuts = tuple(
            (name, tuple(range(step, n, step)))
            for name, n in zip(plan.indices, plan.extents, strict=True)
            for step in [-(-n // pieces)]
        )
        with suppress(Exception):  # a body that does not run on such a part
            return np.asarray(sum(np.abs(self.trial.run([region])[r]) for region in Tiling(cuts).regions(plan)))
        return None

    def search(self, seed: int, clock: Clock, examples: int = 0, progress: Progress | None = None) -> Failure | None:
        """Try the adversarial tilings, some of them whatever the clock says, and then so many random ones."""
        fixed = list(adversarial(self.trial.plan, seed, special_places(self.trial)))
        rng = np.random.default_rng(seed)
        drawn = (random_tiling(self.trial.plan, rng) for _ in range(examples))
        for n, tiling in enumerate(chain(fixed, drawn)):
            if self.tried >= _LEAST and clock.over:
                return None
            if progress:
                progress(n, len(fixed) + examples, self.data)
            if found := self.attempt(tiling):
                return found
        return None

    def smallest(self, found: Failure) -> Failure:
        """The same failure with as few cuts, as near to the beginning, as a short search finds."""
        clock = Clock(0.4)
        smaller: Failure | None = found
        while smaller:
            found = smaller
            tilings = (t for t in simpler(found.tiling) if not clock.over)
            smaller = next(filter(None, map(self.attempt, tilings)), None)
        return found


def _answered(trial: Trial | None) -> tuple[Trial, Arrays] | None:
    if trial is not None:
        with suppress(Exception):  # a body that refuses the precision
            return trial, trial.run()
    return None


def special_places(trial: Trial) -> dict[str, list[int]]:
    """By index the places around the elements of operands that are not finite, where they stand on a split axis."""
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


def is_right(definition: Definition, experiments: Sequence[Experiment], seed: int, seconds: float) -> bool:
    """Whether a kernel of the same body, in another notation, gives the same answers under all tilings tried.

    Under max and min that is asked for with a NaN, too, of which the notation that failed may have had no need.

    Parameters
    ----------
    definition : Definition
    experiments : sequence of Experiment
        With the values, and the answers that are right.
    seed : int
    seconds : float
        How long each may take.
    """
    return is_right_on(definition, [*experiments, *_beside_a_nan(definition, experiments, seed)], seed, seconds)


def _beside_a_nan(definition: Definition, experiments: Sequence[Experiment], seed: int) -> list[Experiment]:
    """One on values with a NaN, where the answer may hang on it and none of the experiments has one."""
    trial = experiments[-1].trial
    combines = any(term.op in ("max", "min") for term in definition.signature.results)
    if not (combines and trial.inexact) or any(e.data == "a NaN" for e in experiments):
        return []
    answered = _answered(with_nan(trial, seed))  # a body may refuse what is not its caller's data
    return [] if answered is None else [Experiment("a NaN", *answered)]


def is_right_on(definition: Definition, experiments: Sequence[Experiment], seed: int, seconds: float) -> bool:
    """The same on these values alone."""
    for experiment in experiments:
        try:
            trial = experiment.trial.under(definition)
            answer = trial.run()
        except Exception:  # noqa: BLE001  whatever a body raises: then it is not right
            return False
        if trial.plan.empty or compare(experiment.expected, answer):
            return False
        if Experiment(experiment.data, trial, answer).search(seed, Clock(seconds)):
            return False
    return True


def reruns_of(trial: Trial, got: Arrays) -> Reruns:
    """What tells rounding from mistakes where the other answer comes from another engine or library, and stays."""

    def moved(seed: int, *, coarse: bool = False) -> tuple[Arrays, Arrays, None] | None:
        answered = _answered(jittered(trial, seed, coarse=coarse))
        return None if answered is None else (answered[1], got, None)

    return Reruns(moved=moved)
