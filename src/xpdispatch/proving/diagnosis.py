"""What is to blame for a failure, and which change of the notation would mend it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from xpdispatch.errors import PartitionError
from xpdispatch.machine.clock import Clock
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.tiles import is_empty
from xpdispatch.proving import report
from xpdispatch.proving.notation_changes import Change, fixes
from xpdispatch.proving.search import Experiment, Failure, is_right
from xpdispatch.proving.trial import Fault, same_bits

QUICK = 0.25
"""Seconds that one change of the notation may be tried for."""

Elsewhere: TypeAlias = Callable[[Definition], bool]
"""Whether a kernel in another notation, which is right with NumPy, is right on another engine, too."""


def partition_error(
    experiment: Experiment,
    found: Failure,
    experiments: Sequence[Experiment],
    seed: int,
    elsewhere: Elsewhere | None = None,
) -> PartitionError:
    """What is to blame for a failure, and what would mend it, `elsewhere` as well, as an error."""
    if isinstance(found.error, Fault):
        return report.fault_error(experiment.trial.definition, found.error)
    ignored = found.difference is not None and _ignores_its_tile(experiment, found, found.difference.result)
    fixed = None if ignored else _fixed(experiment, found, experiments, seed, elsewhere)
    error = report.different(experiment.trial, found, fixed, seed, whole_from_each=ignored)
    error.__cause__ = found.error
    error.remedy = None if fixed is None else fixed.definition.signature
    return error


def _fixed(
    experiment: Experiment, found: Failure, experiments: Sequence[Experiment], seed: int, elsewhere: Elsewhere | None
) -> Change | None:
    """The first change of the notation under which the kernel gives the same answer, however it is cut."""
    result = found.difference.result if found.difference else None
    clock = Clock(3 * QUICK)
    for change in fixes(experiment.trial.definition, found.tiling.indices, result):
        if clock.over:
            break
        if not is_right(change.definition, experiments, seed, QUICK):
            continue
        if elsewhere is None or elsewhere(change.definition):
            return change
    return None


def _ignores_its_tile(experiment: Experiment, found: Failure, result: int) -> bool:
    """Whether two tiles alone each give the whole result, so that the body does not look at its tile."""
    trial = experiment.trial
    regions = [r for r in found.tiling.regions(trial.plan) if not is_empty(r)]
    if not trial.plan.results[result].combined or len(regions) < 2:
        return False
    try:
        return all(same_bits(trial.run([r])[result], experiment.expected[result]) for r in (regions[0], regions[-1]))
    except Exception:  # noqa: BLE001  whatever a body raises on a part
        return False
