"""``check_on_legate``: the same check on real Legate, in this process, and ``forced_tiles``, which makes it cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from xpdispatch.arrays.reductions import identity
from xpdispatch.calling.engines import get_engine
from xpdispatch.calling.kernel import Kernel
from xpdispatch.calling.runtime import synchronize
from xpdispatch.errors import EngineError, PartitionError, UnsupportedError, XPDispatchError
from xpdispatch.machine.clock import Clock
from xpdispatch.machine.progress import Progress
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.tiles import describe, whole
from xpdispatch.planning.windows import Bounds
from xpdispatch.proving.comparison import Arrays, compare
from xpdispatch.proving.report import LOOK
from xpdispatch.proving.search import reruns_of
from xpdispatch.proving.trial import Trial
from xpdispatch.testing.options import current, telling
from xpdispatch.testing.partitioning import PartitionReport, check_alone, check_trial
from xpdispatch.testing.trials import make_trial

FACTORS = (1, 2, 4, 7)
"""Tiles to a processor."""


def check_on_legate(kernel: Kernel, /, *args: Any, **kwargs: Any) -> PartitionReport:
    """Run a kernel on real Legate, whole and in forced tiles, and compare with NumPy.

    Every launch is compared with one tile on NumPy, and with a run on NumPy of the very tiles that Legate made.

    Parameters
    ----------
    kernel : Kernel
    *args, **kwargs
        Of a call, with NumPy arrays; they are not changed.

    Returns
    -------
    PartitionReport

    Raises
    ------
    PartitionError
        The answer depends on the tiles, here and on NumPy. A change of the notation that it proposes was tried on
        Legate, too, in the same tiles to a processor; a program of several processes proposes none.
    EngineError
        Legate's answer is not NumPy's on the same tiles: a defect of xpdispatch, please report it.
    MissingError
        Legate is not installed.
    """
    clock = Clock(0)
    trial = make_trial(kernel, args, kwargs)
    skipped = []
    launches = cut = 0
    try:
        expected = check_alone(trial)  # a body that writes where it must not never reaches Legate's memory
        with telling() as progress:
            for n, factor in enumerate(FACTORS):
                progress(n, len(FACTORS), "on Legate")
                try:
                    tiles, got = _on_legate(trial, factor)
                except UnsupportedError as error:
                    skipped.append(f"Legate: {error.problem}")
                    break
                launches += 1
                cut += len(tiles) > 1
                _compare(trial, expected, tiles, got, progress)
    except XPDispatchError as error:
        error.complete(kernel.name, kernel.notation)
        raise
    if launches and not cut:
        skipped.append(f"all tilings: Legate made one tile in each of {launches} launches")
    return PartitionReport(cut, ("the arguments on Legate",) if launches else (), tuple(skipped), clock.spent)


@contextmanager
def forced_tiles(factor: int = 4) -> Iterator[list[tuple[str, Bounds]]]:
    """Let Legate cut arrays into so many tiles to a processor, however small the arrays are, and note the tiles.

    Parameters
    ----------
    factor : int
        Tiles to a processor.

    Yields
    ------
    list of (str, tuple of (int, int))
        The name of the kernel, and for each of its split indices where the tile begins and ends. A tile is in the
        list when its task has ended, all tiles, those of other processes too, at the next synchronisation. Kernels
        that the library launches for its own work are left out.

    Raises
    ------
    MissingError
        Legate is not installed.
    UnsupportedError
        This release of Legate cuts small arrays only where it was started with ``LEGATE_MIN_CPU_CHUNK=1``.

    Examples
    --------
    ::

        with forced_tiles(4) as tiles, xpdispatch.engine("legate"):
            saxpy(x, y, 2.0)
            xpdispatch.synchronize()
        assert len(tiles) > 2  # ("saxpy", ((0, 3),)), ("saxpy", ((3, 6),)), ...
    """
    with get_engine("legate").forced_tiles(factor) as tiles:
        yield tiles


def _on_legate(trial: Trial, factor: int) -> tuple[list[Bounds], Arrays | Exception]:
    """The tiles that Legate made, and the answer or what was raised."""
    given = tuple(  # what an array held takes no part in what is compared
        np.full_like(g, identity(layout.op, g.dtype)) if g is not None and layout.accumulate and layout.op else g
        for g, layout in zip(trial.given, trial.plan.results, strict=True)
    )
    call = replace(trial.call(), given=given)

    def own() -> list[Bounds]:
        return sorted({rect for name, rect in tiles if name == trial.definition.name})

    synchronize()
    with forced_tiles(factor) as tiles:
        try:
            results = get_engine("legate").prepare(call)(call.values)(call.values)
            synchronize()
        except UnsupportedError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a body raises
            return own(), error
    return own() or [whole(trial.plan)], [np.asarray(v) for v in results]


def _right_there(trial: Trial, expected: Arrays, definition: Definition) -> bool:
    """Whether the call is right on Legate in another notation, launched as the check launches it."""
    if get_engine("legate").several:
        return False  # each process tries for as long as it has time, and all must launch the same
    try:
        changed = trial.under(definition)
        answers = (_on_legate(changed, factor)[1] for factor in FACTORS)
        return not any(isinstance(a, Exception) or compare(expected, a, reruns_of(changed, a)) for a in answers)
    except XPDispatchError:
        return False


def _compare(
    trial: Trial, expected: Arrays, tiles: Sequence[Bounds], got: Arrays | Exception, progress: Progress
) -> None:
    try:
        simulated: Arrays | Exception = trial.run(tiles)
    except Exception as error:  # noqa: BLE001  whatever a body raises
        simulated = error
    shown = "; ".join(describe(trial.plan, r) for r in tiles[:8]) + (" ..." if len(tiles) > 8 else "")
    hint = "this is a defect of xpdispatch, not of the kernel: please report it with the kernel and its arguments"

    def elsewhere(definition: Definition) -> bool:
        return _right_there(trial, expected, definition)

    if isinstance(got, PartitionError) and got.kernel is None and not tiles:
        check_trial(trial, current(), progress, elsewhere)  # which says more than the guard, whose error this is
        if got.remedy and not elsewhere(trial.definition.with_signature(got.remedy)):
            got.hint = LOOK
        raise got
    if isinstance(got, Exception) and (not tiles or type(got) is type(simulated)):
        raise got
    problem = ""
    if isinstance(got, Exception) or isinstance(simulated, Exception):
        problem = f"on the tiles that Legate made, Legate gave {_shown(got)} and NumPy gave {_shown(simulated)}"
    else:
        for answer, what in ((simulated, "on the same tiles"), (expected, "in one tile")):
            if found := compare(answer, got, reruns_of(trial, got)):
                problem = f"{found.element(trial.plan)} = {found.expected} with NumPy {what}, and {found.got} on Legate"
                break
    if problem:
        check_trial(trial, current(), progress, elsewhere)  # which says more if the kernel is wrong
        raise EngineError(problem, details=f"  tiles: {shown}", hint=hint)


def _shown(answer: Arrays | Exception) -> str:
    return f"{type(answer).__name__}: {answer}" if isinstance(answer, Exception) else "an answer"
