"""What differs between Legate 25.10, 26.1, 26.6 and its development branch; no other file knows of releases.

Every difference is looked at on what is there, never told from a version's number.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import legate.core as lg

from xpdispatch.errors import UnsupportedError
from xpdispatch.legate import startup
from xpdispatch.legate.alignment import THRESHOLDS
from xpdispatch.legate.companions import CHUNK

STORES: tuple[type, ...] = tuple(getattr(lg, name) for name in ("LogicalStore", "LogicalArray") if hasattr(lg, name))
"""What a caller can pass without cuPyNumeric; the development branch has stores alone."""


MOST_UNBOUND = 99 if hasattr(lg, "StreamingMode") else 1
"""How many results of unknown size a launch in several tiles may have: with two, Legate 25.10 can stand still."""


IMAGES_OF_ANY_RANK = hasattr(lg, "min_extents")
"""Whether tasks get the right part of an array of another rank than that by which it is an image, however that is cut.

Before 26.6 the first coordinate of a task says which part of such an array it gets, whatever dimension is cut.
"""


@lru_cache
def type_of_bytes(count: int) -> Any:
    """Legate's type for so many bytes, which it finds out anew where none is given; None where it has no name here."""
    make = getattr(lg.types, "binary_type", None)
    return None if make is None else make(count)


def interface_of(name: str, array: Any) -> Any:
    """What an argument says of itself by Legate's data interface.

    Raises
    ------
    UnsupportedError
        CuPyNumeric before 26.6 holds small arrays in NumPy, and cannot hand one over that was sliced with a step.
    """
    try:
        return array.__legate_data_interface__
    except (NotImplementedError, AssertionError) as error:  # the latter from the second try on
        raise UnsupportedError(
            f"argument {name!r}, or an array that shares its memory, was sliced with a step, "
            f"and this release of cuPyNumeric cannot hand it to a task",
            hint="index with an array of positions instead, or install cuPyNumeric 26.6 or later",
        ) from error


def plain_store(column: Any) -> Any:
    """The store of one column of the data interface, which is an array or the store itself; None for a masked one."""
    if isinstance(column, lg.LogicalStore):
        return column
    return None if column.nullable else column.data


def data_of(argument: Any) -> Any:
    """The store of a task's argument, which is an array of one store or the store itself."""
    return argument.data() if hasattr(argument, "data") else argument


def task_info(library: Any, task: Any, name: str, variants: Sequence[tuple[Any, Any]]) -> Any:
    """The description of a task under which a library registers it."""
    if hasattr(lg.TaskInfo, "from_variants"):
        return lg.TaskInfo.from_variants(task, name, list(variants))
    return lg.TaskInfo.from_variants_config(
        config=lg.TaskConfig(task), library=library, name=name, variants=list(variants)
    )


def cutting(factor: int) -> Any:
    """A scope in which Legate cuts arrays into so many tiles to a processor, however small they are.

    Raises
    ------
    UnsupportedError
        Before Legate 26.3 the least size of a tile is fixed when Legate starts, and here it was not set to 1.
    """
    targets = [lg.TaskTarget.CPU, lg.TaskTarget.GPU]
    if hasattr(lg.ParallelPolicy, "partitioning_threshold"):
        policy = lg.ParallelPolicy(overdecompose_factor=factor, partitioning_threshold=dict.fromkeys(targets, 1))
    elif os.environ.get("LEGATE_MIN_CPU_CHUNK") == "1":
        policy = lg.ParallelPolicy(overdecompose_factor=factor)
    else:
        raise UnsupportedError(
            "this release of Legate cuts small arrays only where it was started with LEGATE_MIN_CPU_CHUNK=1",
            hint="set that in the environment, or install Legate 26.6 or later",
        )
    return lg.Scope(parallel_policy=policy)


def cutting_cells(share: float) -> Any:
    """A scope for launches over stores with this share of the elements that they stand for.

    Legate's least size of a tile counts for what they stand for; before Legate 26.3 it cannot be set.
    """
    policy = lg.Scope.parallel_policy()
    if share == 1 or not hasattr(policy, "set_partitioning_threshold"):
        return nullcontext()
    for target in (lg.TaskTarget.CPU, lg.TaskTarget.OMP, lg.TaskTarget.GPU):
        policy.set_partitioning_threshold(target, max(1, int(policy.partitioning_threshold(target) * share)))
    return lg.Scope(parallel_policy=policy)


def streams_strictly() -> bool:
    """Whether Legate keeps launches back, so that to wait for them is an error."""
    modes = getattr(lg, "StreamingMode", None)  # since 26.01
    return modes is not None and lg.Scope.parallel_policy().streaming_mode == modes.STRICT


def least_size(policy: Any, target: Any) -> int:
    """Elements below which Legate cuts nothing; its own default before Legate 26.3, which does not tell."""
    if hasattr(policy, "partitioning_threshold"):
        return int(policy.partitioning_threshold(target))
    return int(os.environ.get(f"LEGATE_MIN_{target.name}_CHUNK", THRESHOLDS[target.name.lower()]))


def cuts_as_usual() -> bool:
    """Whether nobody wants CPUs to have smaller tiles, or more of them, than they have by default.

    Before Legate 26.3 several processes have smaller ones by default (:mod:`~xpdispatch.legate.companions`).
    """
    policy = lg.Scope.parallel_policy()
    return policy.overdecompose_factor == 1 and least_size(policy, lg.TaskTarget.CPU) >= int(CHUNK)


def fewest_cells() -> int:
    """How many elements the axes that may be cut must have for Legate to cut any; since 26.3 it counts all axes."""
    if hasattr(lg.ParallelPolicy, "partitioning_threshold"):
        return 0
    machine = lg.get_legate_runtime().machine
    there = (lg.TaskTarget[kind] for kind in ("GPU", "OMP", "CPU"))
    return 1 + least_size(None, next(target for target in there if machine.count(target)))


def least_extents(variable: Any, extents: Sequence[int]) -> Any:
    """The constraint that no tile has fewer elements along an axis than these; 0 where it may have any.

    Before Legate 26.6, which has no such constraint, those axes are kept whole.
    """
    if hasattr(lg, "min_extents"):
        return lg.min_extents(variable, tuple(extents))
    return lg.broadcast(variable, [axis for axis, least in enumerate(extents) if least])


def memory(flag: str) -> int:
    """Bytes that a process has of a kind of memory, by Legate's flag for it; 0 where it is not known.

    Before Legate 26.6 the runtime does not tell, and only what ``LEGATE_CONFIG`` says is known.
    """
    runtime = lg.get_legate_runtime()
    if hasattr(runtime, "realm_config"):
        return int(getattr(runtime.realm_config(), flag) or 0)
    said = startup.flag_values(shlex.split(os.environ.get("LEGATE_CONFIG", "")), f"--{flag}")
    return int(said[-1]) * 2**20 if said else 0


def abilities() -> dict[str, bool]:
    """What this release of Legate can do and another cannot."""
    return {
        "small arrays are cut in a Scope": hasattr(lg.ParallelPolicy, "partitioning_threshold"),
        "min_extents is Legate's own": hasattr(lg, "min_extents"),
        "several results of unknown size in tiles": MOST_UNBOUND > 1,
        "memory is known at run time": hasattr(lg.get_legate_runtime(), "realm_config"),
    }
