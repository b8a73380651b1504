"""``XPDISPATCH_CHECK_PROCESSES=1``: a check that the processes of a program make the same calls.

Legate runs one program in several processes and trusts that all of them do the same. Random numbers without a seed, the
order of a set, a clock, or a file that only one machine has can make them differ, and then the program stands still or
computes something else. With the variable set all processes compare each call before it is launched, which takes some
25 ms: the kernel, the line, scalars, shapes, dtypes, and the elements of NumPy arrays; and synchronisations, and the
program's end. What a program asks of cuPyNumeric itself between the calls is not seen.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpdispatch.errors import EngineError
from xpdispatch.legate import collective

wanted = collective.several and os.environ.get("XPDISPATCH_CHECK_PROCESSES", "") not in ("", "0")
"""Whether calls are compared; no longer once they differed, for the processes have gone separate ways."""


class Step(NamedTuple):
    """What a process is about to do.

    Attributes
    ----------
    what : str
    place : str
        File and line; empty for the end of the program.
    arguments : mapping of str to str
        What is compared of each argument.
    """

    what: str
    place: str
    arguments: Mapping[str, str]


def check(what: str, site: tuple[str, int] | None, names: Sequence[str] = (), values: Sequence[Any] = ()) -> None:
    """Compare what this process is about to do with what the others are.

    Raises
    ------
    EngineError
        In all processes, if one differs from the first.
    """
    global wanted  # noqa: PLW0603
    arguments = {name: _shown(value) for name, value in zip(names, values, strict=True)}
    steps = collective.of_all(Step(what, "" if site is None else " at {}:{}".format(*site), arguments))
    first = min(steps)
    for process in sorted(steps):
        if steps[process] != steps[first]:
            wanted = False
            raise EngineError(
                _difference(f"process {first}", steps[first], f"process {process}", steps[process]),
                hint="all processes run one program and must make the same calls: give random numbers a seed, sort "
                "sets, and let no process take a way of its own",
            )


def _shown(value: Any) -> str:
    """What is compared of an argument: all of a scalar or NumPy array, and the shape and dtype of what Legate holds."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None:
        return repr(value)
    text = f"an array of shape {tuple(shape)}" + (f" and dtype {dtype}" if dtype is not None else "")
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        digest = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=4).hexdigest()
        text += f" with elements that begin with {value.ravel()[:3].tolist()} (checksum {digest})"
    return text


def _difference(one: str, left: Step, other: str, right: Step) -> str:
    if (left.what, left.place) != (right.what, right.place):
        return f"{one} comes to {left.what}{left.place}, and {other} to {right.what}{right.place}"
    names = [*dict.fromkeys([*left.arguments, *right.arguments])]
    name = next(n for n in names if left.arguments.get(n) != right.arguments.get(n))
    given = f"{left.arguments.get(name)} in {one}, and {right.arguments.get(name)} in {other}"
    return f"argument {name!r} is {given}{left.place}"
