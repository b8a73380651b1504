"""``check_partitioning``: does a kernel's answer depend on how its arrays are cut? With NumPy alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from xpdispatch.arrays.dtypes import np_dtype
from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import PartitionWarning, XPDispatchError
from xpdispatch.machine.clock import Clock
from xpdispatch.machine.progress import Progress
from xpdispatch.planning.definition import Definition
from xpdispatch.proving import report
from xpdispatch.proving.comparison import Arrays, compare
from xpdispatch.proving.diagnosis import QUICK, Elsewhere, partition_error
from xpdispatch.proving.notation_changes import freer
from xpdispatch.proving.search import DATA, Data, Experiment, is_right
from xpdispatch.proving.trial import POISONS, Fault, Trial, same_bits, small_integers, with_nan
from xpdispatch.running.calls import all_given
from xpdispatch.running.dry_run import result_types
from xpdispatch.testing.options import Options, current, telling
from xpdispatch.testing.trials import make_trial
from xpdispatch.testing.variables import rebound_elsewhere, variables_of

_seen: WeakKeyDictionary[Definition, dict[str, bytes]] = WeakKeyDictionary()
"""The variables that each kernel's body read when it was last checked."""


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """What a check that passed has done.

    Parameters
    ----------
    tilings : int
        How many tilings with at least two tiles that have elements ran, on all data together. If it is 0, nothing was
        cut, and the check has shown nothing about tilings.
    data : tuple of str
        The values on which they ran.
    skipped : tuple of str
        What was left out, and why.
    seconds : float
    """

    tilings: int
    data: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: float

    def __repr__(self) -> str:
        left = "".join(f"; skipped {s}" for s in self.skipped)
        if not self.tilings:
            return f"<nothing was cut{left}>"
        return f"<right under {self.tilings} tilings on {', '.join(self.data)}, in {self.seconds:.1f} s{left}>"


def check_partitioning(kernel: Kernel, /, *args: Any, **kwargs: Any) -> PartitionReport:
    """Show with NumPy alone that a kernel's answer does not depend on how its arrays are cut.

    The kernel runs in one tile, and then in many: halves, thirds, single elements, empty tiles, grids, in any order,
    and at random. Operands that nothing aligns are cut independently of each other. Integers and
    bools must be equal; floats may differ by rounding, which a rerun in higher precision tells from mistakes. The
    body must not write its operands, change its scalars or variables outside, leave elements of a buffer unwritten
    or write outside of its tile.

    Parameters
    ----------
    kernel : Kernel
    *args, **kwargs
        Of a call, with NumPy arrays; they are not changed. Small arrays are enough.

    Returns
    -------
    PartitionReport

    Raises
    ------
    PartitionError
        With the smallest tiling that was found, the first element that differs, what is to blame and, where there
        is one, the change of the notation that makes the kernel right.
    Exception
        What the body raises on the whole arrays.

    Warns
    -----
    PartitionWarning
        An axis is kept whole that could be split.

    See Also
    --------
    checking : choose seed, time and tilings.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import kernel
    >>> from xpdispatch.testing import check_partitioning
    >>> @kernel("x[i] -> y[i]")
    ... def ranks(xp, x):
    ...     return xp.argsort(xp.argsort(x))
    >>> check_partitioning(ranks, np.asarray([3.0, 1.0, 2.0]))
    Traceback (most recent call last):
      ...
    xpdispatch.errors.PartitionError: kernel 'ranks': the answer depends on how the arrays are cut along i
    ...
    """
    options = current()
    trial = make_trial(kernel, args, kwargs)
    try:
        with telling() as progress:
            return check_trial(trial, options, progress)
    except XPDispatchError as error:
        error.complete(kernel.name, kernel.notation)
        raise


def check_trial(
    trial: Trial, options: Options, progress: Progress, elsewhere: Elsewhere | None = None
) -> PartitionReport:
    """The check of one call; a change of the notation is proposed if it is right `elsewhere`, too."""
    clock, seed = Clock(options.seconds), options.chosen_seed
    if trial.plan.empty:
        return PartitionReport(0, (), ("all tilings: an index has no element, so that no body runs",), 0.0)
    whole = check_alone(trial)
    skipped: list[str] = []
    experiments = list(_experiments(trial, whole, seed, options.data, skipped))
    for experiment in experiments:
        if options.tiling is not None:
            found = experiment.attempt(options.tiling)
        elif found := experiment.search(seed, clock, options.examples, progress):
            found = experiment.smallest(found)
        if found:
            raise partition_error(experiment, found, experiments, seed, elsewhere)
    _check_sample(trial, whole, skipped)
    if options.tiling is None and experiments:
        for words in _too_strict(trial.definition, experiments, seed):
            warnings.warn(f"kernel {trial.definition.name!r}: {words}", PartitionWarning, stacklevel=4)
    cut = sum(e.cut for e in experiments)
    if not cut:
        skipped.insert(0, f"all tilings: {_why_nothing_was_cut(trial, options, experiments)}")
    return PartitionReport(cut, tuple(e.data for e in experiments), tuple(skipped), clock.spent)


def _why_nothing_was_cut(trial: Trial, options: Options, experiments: Sequence[Experiment]) -> str:
    if not trial.plan.indices:
        return "the notation splits no axis"
    if all(n < 2 for n in trial.plan.extents):
        return "no index has two elements; pass larger arrays"
    if not experiments:
        return "the body runs on none of the data"
    return f"checking(tiling={str(options.tiling)!r}) makes one tile"


# -- one tile: what is wrong however the arrays are cut ---------------------------------------------------------


def check_alone(trial: Trial) -> Arrays:
    """The answer on one tile, once it is shown to be a function of the arguments alone.

    Raises
    ------
    PartitionError
        The body breaks a rule that holds however the arrays are cut.
    """
    definition = trial.definition
    body = definition.body
    before = variables_of(body.function)
    for name, value in _seen.get(definition, {}).items():
        if before.get(name, value) != value:
            raise report.outside_error(name, "has changed since the last check")
    _seen[definition] = before
    for name, by in rebound_elsewhere(body.function, before):
        raise report.outside_error(name, f"is bound anew by {by}")
    try:
        first = trial.run(poison=POISONS[0])
        second = trial.run(poison=POISONS[1])
    except Fault as fault:
        raise report.fault_error(definition, fault) from fault.__cause__
    after = variables_of(body.function)
    for name, value in before.items():
        if after.get(name, value) != value:
            raise report.outside_error(name, "is changed by the body")
    for r, (a, b) in enumerate(zip(first, second, strict=True)):
        if same_bits(a, b):
            continue
        if r in body.buffers and trial.plan.results[r].op is None:
            again = trial.run(poison=POISONS[0])[r]
            if same_bits(a, again):
                raise report.unwritten_error(definition, r, a, b)
        if found := compare([a], [b]):
            raise report.unsteady_error(trial, replace(found, result=r))
    return first


def _experiments(trial: Trial, whole: Arrays, seed: int, only: Data | None, skipped: list[str]) -> Iterator[Experiment]:
    """The values to run on, each with the answer on one tile."""
    small, given, nan = DATA
    makers = {small: small_integers, nan: with_nan}
    wanted = [given]
    if trial.inexact:
        wanted.insert(0, small)
        if any(r.op in ("max", "min") for r in trial.plan.results):
            wanted.append(nan)
    for data in wanted if only is None else [only]:
        if data == given:
            yield Experiment(data, trial, whole)
            continue
        other = makers[data](trial, seed)
        try:
            answer = other.run()
        except Exception as error:  # noqa: BLE001  a body may refuse what is not its caller's data
            skipped.append(f"{data}: the body raised {type(error).__name__} on them")
            continue
        if data == small and all(a.dtype.kind in "fc" and a.size and np.isnan(a).all() for a in answer):
            skipped.append(f"{data}: all results are NaN on them")
            continue
        yield Experiment(data, other, answer)


def _check_sample(trial: Trial, whole: Arrays, skipped: list[str]) -> None:
    """On Legate dtypes and open extents are learnt on a sample: they must be those of the answer."""
    arrays = all_given(trial.definition, trial.operands, trial.given)
    given = [None if g is None else np_dtype(g.dtype) for g in arrays]
    try:
        dtypes = [a.dtype for a in trial.operands]
        types, sample = result_types(trial.definition, trial.plan, dtypes, trial.scalars, given)
    except Exception as error:  # noqa: BLE001  whatever a body raises
        skipped.append(
            f"the sample that Legate would need: the body raised {type(error).__name__} on ones, so pass dtype="
        )
        return
    for layout, (dtype, shape), answer, target in zip(trial.plan.results, types, whole, given, strict=True):
        if target is None and dtype != answer.dtype:
            raise report.sample_error(layout, f"dtype {answer.dtype}", f"dtype {dtype}", sample)
        if not layout.concatenated and shape != answer.shape:
            raise report.sample_error(layout, f"shape {answer.shape}", f"shape {shape}", sample)


# -- what could be split more -------------------------------------------------------------------------------------


def _too_strict(definition: Definition, experiments: Sequence[Experiment], seed: int) -> Iterator[str]:
    """In words, the axes that are whole and could be split."""
    if not experiments[0].trial.inexact:
        return  # integers are not varied, and prove little
    clock = Clock(3 * QUICK)
    for change in freer(definition):
        if clock.over:
            return
        if _cuts_more(change.definition, experiments[0]) and is_right(change.definition, experiments, seed, QUICK):
            yield f"{change.words}: {change.definition.notation}"
            return


def _cuts_more(definition: Definition, experiment: Experiment) -> bool:
    """Whether a notation has an index more that can be cut on this data: one element cannot."""
    try:
        plan = experiment.trial.under(definition).plan
    except XPDispatchError:
        return False
    return sum(n > 1 for n in plan.extents) > sum(n > 1 for n in experiment.trial.plan.extents)
