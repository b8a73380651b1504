"""Hypothesis strategies that draw the arguments of a kernel from its notation, and the tilings of a call."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import ArgumentError
from xpdispatch.language.terms import Axis, Term, wrong_sizes
from xpdispatch.proving.tilings import Tiling, most_places
from xpdispatch.testing.trials import check_is_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hypothesis.strategies import SearchStrategy

    from xpdispatch.language.boundaries import Boundary
    from xpdispatch.planning.plan import Plan


def arguments(
    kernel: Kernel,
    /,
    *,
    dtype: Any = "float64",
    least: int = 1,
    most: int = 8,
    elements: SearchStrategy[Any] | None = None,
    **scalars: Any,
) -> SearchStrategy[dict[str, Any]]:
    """Draw the arguments of a call, by name: arrays whose shapes fit the notation.

    Parameters
    ----------
    kernel : Kernel
    dtype : dtype or mapping of str to dtype
        Of the operands, or of each by name. Keys are int64 where their name does not say else.
    least, most : int
        Bounds of the extents of indices, named and whole axes.
    elements : strategy, optional
        For the elements of the arrays; by default small integers, which no sum rounds. Keys are those that there are.
    **scalars : object
        Values of the scalar arguments, or strategies for them; those that are extents are drawn where they are left
        out.

    Returns
    -------
    SearchStrategy of dict

    Raises
    ------
    ArgumentError
        A scalar argument is left out.

    Examples
    --------
    >>> import warnings
    >>> from xpdispatch import kernel
    >>> from xpdispatch.testing import arguments
    >>> outer = kernel("x[i], y[j] -> z[i, j]")(lambda xp, x, y: x[:, None] * y[None, :])
    >>> from hypothesis import find
    >>> drawn = find(arguments(outer, least=2), lambda values: True)
    >>> drawn["x"].shape, drawn["y"].shape
    ((2,), (2,))
    """
    from hypothesis import strategies as st

    check_is_kernel(kernel)
    extents = {name for term in kernel.signature.operands for name in _names(term)}
    extents |= set(kernel.signature.free_names)
    for slot in kernel.definition.body.slots:
        has_default = kernel.__signature__.parameters[slot.name].default is not kernel.__signature__.empty
        if slot.scalar is not None and slot.name not in scalars and slot.name not in extents and not has_default:
            raise ArgumentError(
                f"scalar argument {slot.name!r} is left out", hint=f"pass {slot.name}=value, or a strategy for it"
            ).complete(kernel.name, kernel.notation)

    @st.composite
    def drawn(draw: Any) -> dict[str, Any]:
        return _draw(draw, kernel, dtype, (least, most), elements, scalars)

    return drawn()


def _names(term: Term) -> list[str]:
    return [a.name for a in term.axes if a.kind in ("split", "whole") and a.name]


def _draw(
    draw: Any, kernel: Kernel, dtype: Any, bounds: tuple[int, int], elements: Any, scalars: dict[str, Any]
) -> dict[str, Any]:
    from hypothesis import assume
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp

    size = st.integers(*bounds)
    values = {n: draw(v) if isinstance(v, st.SearchStrategy) else v for n, v in scalars.items()}
    known = {n: v for n, v in values.items() if type(v) is int}

    def extent(axis: Axis, mode: Boundary | None) -> int:
        if axis.extent:
            return axis.extent.value(known)
        drawn = known.setdefault(axis.name, draw(size)) if axis.name else draw(size)
        if axis.kind != "split":
            return drawn
        below, above, scale = axis.sized(known)
        return drawn * scale + (below + above if mode == "valid" else 0)

    for name in (*kernel.signature.size_names, *kernel.signature.free_names):
        known.setdefault(name, draw(size))
    for term in (*kernel.signature.operands, *kernel.signature.results):
        assume(not any(wrong_sizes(*axis.sized(known)) for axis in term.axes))
    named = [t for t in kernel.signature.operands if t.name]
    open_ended = [t for t in named if t.ellipsis]
    leads: dict[str | None, tuple[int, ...]] = {}
    if open_ended:
        shapes = draw(
            hnp.mutually_broadcastable_shapes(
                num_shapes=len(open_ended), max_dims=3, min_side=max(1, bounds[0]), max_side=max(1, bounds[1])
            )
        )
        leads = {t.name: s for t, s in zip(open_ended, shapes.input_shapes, strict=True)}
    result = dict(values)
    shapes = {}
    for term in named:
        modes = kernel.definition.boundaries.get(str(term.name), repeat(None))
        own = [*map(extent, term.named, modes)]
        for first, second in term.diagonals:
            own.insert(second, own[first])
        shapes[term.name] = (*leads.get(term.name, ()), *own)
    limits = _key_limits(kernel, shapes, known)
    for term in named:
        shape, below = shapes[term.name], limits.get(str(term.name))
        kind = np.dtype(dtype[term.name] if isinstance(dtype, dict) else "int64" if below is not None else dtype)
        if below is not None:
            assume(below or 0 in shape)  # where there is no cell there can be no key
            keys = st.integers(0, max(0, below - 1))
            result[str(term.name)] = draw(hnp.arrays(np.int64, shape, elements=keys)).astype(kind)
        elif elements is not None:
            result[str(term.name)] = draw(hnp.arrays(kind, shape, elements=elements))
        else:
            low = 0 if kind.kind in "bu" else -9
            small = st.integers(low, 1 if kind.kind == "b" else 9)
            result[str(term.name)] = draw(hnp.arrays(np.int64, shape, elements=small)).astype(kind)
    for slot in kernel.definition.body.slots:
        if slot.scalar is not None and slot.name not in result and slot.name in known:
            result[slot.name] = known[slot.name]
    return result


def _key_limits(
    kernel: Kernel, shapes: Mapping[str | None, tuple[int, ...]], known: Mapping[str, int]
) -> dict[str, int]:
    """By operand with keys the number below which all of its keys are."""
    found: dict[str, int] = {}
    for term in (*kernel.signature.operands, *kernel.signature.results):
        for axis in term.keys:
            place = term.axes.index(axis) - len(term.axes)
            count = axis.extent.value(known) if axis.extent else shapes[term.name][place]
            found[str(axis.key)] = min(count, found.get(str(axis.key), count))
    return found


def tilings(plan: Plan, indices: Sequence[str] | None = None) -> SearchStrategy[Tiling]:
    """A Hypothesis strategy for any tiling of a plan, which shrinks to few cuts near the beginning.

    Parameters
    ----------
    plan : Plan
    indices : sequence of str, optional
        The indices that may be cut; by default all.
    """
    from hypothesis import strategies as st

    extents = dict(zip(plan.indices, plan.extents, strict=True))
    names = [n for n in (plan.indices if indices is None else indices) if extents[n] > 0]
    most = most_places(len(names))
    cuts = st.tuples(*(st.lists(st.integers(0, extents[n]), max_size=most).map(sorted) for n in names))
    order = st.sampled_from(("forward", "backward")) | st.integers(0, 99)
    return st.builds(
        lambda places, how: Tiling(tuple((n, tuple(p)) for n, p in zip(names, places, strict=True) if p), how),
        cuts,
        order,
    )
