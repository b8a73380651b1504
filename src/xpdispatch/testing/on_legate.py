"""The same checks on real Legate, in this process and with tiles forced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpdispatch.arrays.reductions import identity
from xpdispatch.calling.engines import engine, get_engine
from xpdispatch.calling.kernel import Kernel
from xpdispatch.calling.runtime import synchronize
from xpdispatch.errors import DisagreementError, UnsupportedError, XPDispatchError
from xpdispatch.planning.tiles import describe, whole
from xpdispatch.planning.windows import Region
from xpdispatch.testing.comparison import Arrays, Difference, Reruns, compare
from xpdispatch.testing.options import Clock, telling
from xpdispatch.testing.partitioning import Checked, check_alone, check_partitioning
from xpdispatch.testing.search import by_name
from xpdispatch.testing.trial import Trial, jittered, make_trial

FACTORS = (1, 2, 4, 7)
"""Tiles to a processor."""


def check_on_legate(kernel: Kernel, /, *args: Any, **kwargs: Any) -> Checked:
    """Run a kernel on real Legate, whole and in forced tiles, and compare with NumPy.

    Every launch is compared with one tile on NumPy, and with a run on NumPy of the very tiles that Legate made.

    Parameters
    ----------
    kernel : Kernel
    *args, **kwargs
        Of a call, with NumPy arrays; they are not changed.

    Returns
    -------
    Checked

    Raises
    ------
    PartitionError
        The answer depends on the tiles, here and on NumPy.
    DisagreementError
        Legate's answer is not NumPy's on the same tiles: a defect of xpdispatch, please report it.
    MissingError
        Legate is not installed.
    """
    clock = Clock(0)
    trial = make_trial(kernel, args, kwargs)
    skipped = []
    launches = 0
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
                _compare(trial, expected, tiles, got)
    except XPDispatchError as error:
        error.complete(kernel.name, kernel.notation)
        raise
    return Checked(launches, ("the arguments on Legate",) if launches else (), tuple(skipped), clock.spent)


def _on_legate(trial: Trial, factor: int) -> tuple[list[Region], Arrays | Exception]:
    """The tiles that Legate made, and the answer or what was raised."""
    legate = get_engine("legate")
    arguments = by_name(trial)
    for layout in trial.plan.results:
        if layout.accumulate and layout.op:  # what the array held takes no part in what is compared
            held = arguments[layout.name]
            arguments[layout.name] = np.full_like(held, identity(layout.op, held.dtype))

    def own() -> list[Region]:
        return sorted({region for definition, region in tiles if definition is trial.kernel.definition})

    synchronize()
    with legate.forced_tiles(factor) as tiles:
        try:
            with engine("legate"):
                results = trial.kernel(**arguments)
                synchronize()
        except UnsupportedError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a body raises
            return own(), error
    values = results if isinstance(results, tuple) else (results,)
    return own() or [whole(trial.plan)], [np.asarray(v) for v in values]


def _compare(trial: Trial, expected: Arrays, tiles: Sequence[Region], got: Arrays | Exception) -> None:
    try:
        simulated: Arrays | Exception = trial.run(tiles)
    except Exception as error:  # noqa: BLE001  whatever a body raises
        simulated = error
    shown = "; ".join(describe(trial.plan, r) for r in tiles[:8]) + (" ..." if len(tiles) > 8 else "")
    hint = "this is a defect of xpdispatch, not of the kernel: please report it with the kernel and its arguments"
    if isinstance(got, Exception) and (not tiles or type(got) is type(simulated)):
        raise got
    problem = ""
    if isinstance(got, Exception) or isinstance(simulated, Exception):
        problem = f"on the tiles that Legate made, Legate gave {_told(got)} and NumPy gave {_told(simulated)}"
    else:
        for answer, what in ((simulated, "on the same tiles"), (expected, "in one tile")):
            if found := compare(answer, got, _reruns(trial, answer, got)):
                problem = f"{_where(trial, found)} = {found.expected} with NumPy {what}, and {found.got} on Legate"
                break
    if problem:
        check_partitioning(trial.kernel, **by_name(trial))  # if it is the kernel that is wrong, that is told better
        raise DisagreementError(problem, details=f"  tiles: {shown}", hint=hint)


def _told(answer: Arrays | Exception) -> str:
    return f"{type(answer).__name__}: {answer}" if isinstance(answer, Exception) else "an answer"


def _where(trial: Trial, found: Difference) -> str:
    name = trial.plan.results[found.result].name
    return name if found.where is None else f"{name}[{', '.join(map(str, found.where))}]"


def _reruns(trial: Trial, answer: Arrays, got: Arrays) -> Reruns:
    """Rounding by what a unit in the last place of the data does: Legate has no long doubles."""

    def moved(seed: int, *, coarse: bool = False) -> tuple[Arrays, Arrays, None]:
        try:
            return jittered(trial, seed, coarse=coarse).run(), got, None
        except Exception:  # noqa: BLE001  whatever a body raises
            return answer, got, None

    return Reruns(lambda: None, moved)
