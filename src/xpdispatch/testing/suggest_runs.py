"""Runs of a body on the parts of its arrays, for :func:`suggest`: what it returns for each part is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from xpdispatch.calling.kernel import Kernel
from xpdispatch.language.signature import Signature
from xpdispatch.language.terms import Axis, Term
from xpdispatch.planning.body import spelling_of
from xpdispatch.proving.notation_changes import with_axis
from xpdispatch.proving.search import Experiment
from xpdispatch.proving.tilings import Tiling

INDEX = "_i"
Place = tuple[int, int, Axis]
"""The position of an operand, an axis of it, and how the one index stands there."""


class Parts:
    """A body whose arrays are cut along one index.

    Parameters
    ----------
    base : Kernel
        Of the body, with every axis whole.
    axes : sequence of (int, int, Axis)
    experiments : sequence of Experiment

    Raises
    ------
    XPDispatchError
        The notation contradicts itself.
    """

    def __init__(self, base: Kernel, axes: Sequence[Place], experiments: Sequence[Experiment]) -> None:
        terms = list(base.signature.operands)
        for p, a, axis in axes:
            terms[p] = with_axis(terms[p], a, axis)
        signature = Signature(tuple(terms), (Term("_", (), "sum"),))
        recording, self._returned = recorded(base.__wrapped__)
        kernel = Kernel(recording, signature, boundary=boundary_of(signature))
        self._trials = [e.trial.under(kernel.definition, given=(None,)) for e in experiments]

    def of(self, experiment: int, cuts: Sequence[int]) -> list[list[np.ndarray[Any, Any]]]:
        """For each part the results, as the body returned them; whatever it raises is raised."""
        self._returned.clear()
        self._trials[experiment].run(Tiling(((INDEX, tuple(cuts)),)))
        return [[np.asarray(v) for v in several(part)] for part in self._returned]


def boundary_of(signature: Signature) -> Literal["valid"] | None:
    """Halos are looked for in operands that are longer than their index."""
    return "valid" if any(t.haloed for t in signature.operands) else None


def recorded(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    """A body that keeps in a list what `function` returns, and hands on nothing of it."""
    returned: list[Any] = []

    def record(*args: Any, **kwargs: Any) -> Any:
        returned.append(function(*args, **kwargs))
        return 0

    record.__signature__ = spelling_of(function)  # type: ignore[attr-defined]
    return record, returned


def several(returned: Any) -> Sequence[Any]:
    """Results as a sequence."""
    return returned if isinstance(returned, tuple | list) else (returned,)


def alike(e: np.ndarray[Any, Any], g: np.ndarray[Any, Any]) -> bool:
    """Roughly: what is taken for equal here is checked in earnest later."""
    if e.dtype.kind not in "fc":
        return bool(np.array_equal(e, g))
    with np.errstate(all="ignore"):
        scale = float(np.max(np.abs(e[np.isfinite(e)]), initial=0.0))
        bound = np.sqrt(float(np.finfo(e.dtype).eps))
        return e.shape == g.shape and bool(np.allclose(e, g, rtol=bound, atol=bound * scale, equal_nan=True))
