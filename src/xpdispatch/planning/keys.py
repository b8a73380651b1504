"""Axes along which another operand's elements say the places: ``t[@p]`` and ``y[@g=n]``. Pure: no arrays.

An array with keys has *cells*. Along some of its axes an operand's elements say where a cell is, and along indices that
this operand has as well, the cell is where its key is. What the body sees of the array has in their stead the axes of
the operands with the keys, each index and each name once, at its first place. So ``x[i, j], g[i] -> sum y[@g=n, j]`` is
seen as ``y[i, j]``, and ``A[i, @p]`` with ``p[i]`` as ``A[i]``. All other axes are the same on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xpdispatch.language.terms import Term

OWN = -1
"""Stands for the operand with the keys where elements of an index lie one after the other."""

Label = int | str
"""What axes have in common that are one: the position of an index, or the name of a whole axis."""


class Dim(NamedTuple):
    """An axis that keys have.

    Parameters
    ----------
    cut : int or None
        The position of its index; None where it is whole.
    operand, axis : int
        The operand, and which of its axes it is, if it is whole.
    """

    cut: int | None
    operand: int = OWN
    axis: int = 0


class Keys(NamedTuple):
    """How the axes of an array with keys go with those that the body sees.

    Parameters
    ----------
    cells : tuple of int
        The axes along which keys, or the indices that these have, say the place.
    sources : tuple of int
        For each of `cells` the position of the operand with the keys, or ``OWN``.
    places : tuple of tuple of int
        For each of `cells` where its source's axes, or its index, stand among `dims`.
    rest : tuple of int
        The other axes.
    dims : tuple of Dim
        The axes of keys, each once.
    order : tuple of int
        For each axis that the body sees its place among `dims`, and after them `rest`.
    """

    cells: tuple[int, ...]
    sources: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]
    rest: tuple[int, ...]
    dims: tuple[Dim, ...]
    order: tuple[int, ...]

    @property
    def operands(self) -> tuple[int, ...]:
        """Those with the keys."""
        return tuple([source for source in self.sources if source != OWN])


class Labels(NamedTuple):
    """What the axes of an array are called.

    Parameters
    ----------
    operand : int
        The array's position; of a result it does not count.
    all : tuple of Label
        Of an ellipsis all axes, those too that only other arrays have.
    own : tuple of Label
        Of the array's own axes, which are the last ones of these.
    """

    operand: int
    all: tuple[Label, ...]
    own: tuple[Label, ...]


def keys_of(term: Term, own: Labels, labels: Mapping[str, Labels]) -> Keys:
    """How an array's axes go with those that the body sees; `labels` are those of the operands, by name."""
    lead = [None] * (len(own.own) - len(term.named))
    keys = [None if axis is None or axis.key is None else labels[axis.key] for axis in (*lead, *term.named)]
    shared = {label for key in keys if key for label in key.all}
    dims: dict[Label, Dim] = {}
    cells: list[tuple[int, int, tuple[int, ...]]] = []
    rest: list[int] = []
    seen: list[tuple[bool, int]] = []
    for axis, (label, key) in enumerate(zip(own.own, keys, strict=True)):
        if not key and label not in shared:
            seen.append((True, len(rest)))
            rest.append(axis)
            continue
        for name in key.all if key else (label,):
            if name not in dims:
                seen.append((False, len(dims)))
                dims[name] = _dim(name, labels)
        places = tuple([*dims].index(name) for name in (key.own if key else (label,)))
        cells.append((axis, key.operand if key else OWN, places))
    return Keys(
        tuple(axis for axis, _, _ in cells),
        tuple(source for _, source, _ in cells),
        tuple(places for _, _, places in cells),
        tuple(rest),
        tuple(dims.values()),
        tuple(place + last * len(dims) for last, place in seen),
    )


def _dim(label: Label, labels: Mapping[str, Labels]) -> Dim:
    if isinstance(label, int):
        return Dim(label)
    owner = next(o for o in labels.values() if label in o.own)
    return Dim(None, owner.operand, owner.own.index(label))
