"""A signature and the shapes of one call make a :class:`Plan`. Pure: no arrays, no engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from types import MappingProxyType
from typing import NamedTuple

from xpdispatch.errors import ShapeError
from xpdispatch.language.boundaries import Boundary
from xpdispatch.language.signature import Signature
from xpdispatch.language.terms import Axis, Term, check_extent, in_digits
from xpdispatch.planning.windows import PLAIN, WHOLE, Layout, Reach

Shape = tuple[int, ...]


class Image(NamedTuple):
    """Operands of which a tile gets the part that its elements of another operand point to.

    Parameters
    ----------
    function : int
        Position of the operand with the pointers.
    ranges : tuple of int
        Positions of the operands that it points to, along their first axis.
    borders : bool
        The pointers are borders of ranges, each where the one before ends, and no elements themselves.
    hint : str
        Legate's name for the way to find the elements.
    """

    function: int
    ranges: tuple[int, ...]
    borders: bool
    hint: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One call with its shapes settled.

    Parameters
    ----------
    indices : tuple of str
        The split indices; those of ``...`` are called ``...-1``, ``...-2`` from the right.
    extents : tuple of int
        One for each index.
    operands, results : tuple of Layout
    spaces : tuple of tuple of int
        Indices that are cut together; more than one set only where the explicit spelling leaves
        arrays unaligned.
    windowed : bool
        Some operand has a halo or blocks.
    images : tuple of Image
        In an order in which those that follow from others come later.
    least : tuple of int
        For each index how many elements a tile has at least, where the index has as many; empty where any number does.
    """

    indices: tuple[str, ...]
    extents: Shape
    operands: tuple[Layout, ...]
    results: tuple[Layout, ...]
    spaces: tuple[tuple[int, ...], ...]
    windowed: bool = False
    images: tuple[Image, ...] = ()
    least: tuple[int, ...] = ()

    @property
    def fewest(self) -> Shape:
        """The fewest elements of each index that a tile has, an empty one aside."""
        return tuple(map(min, self.least, self.extents)) if self.least else (1,) * len(self.indices)

    @property
    def empty(self) -> bool:
        """Whether some index has no element, so that no body runs."""
        return 0 in self.extents

    @property
    def complete(self) -> bool:
        """Whether every extent is known without running the body, but for those of ``?``."""
        return all(None not in layout.shape[layout.concatenated :] for layout in self.results)

    def with_extents(self, extents: Sequence[int]) -> Plan:
        """The same plan for arrays that have so many elements to each index."""

        def other(layout: Layout) -> Layout:
            shape = tuple(
                n if a == WHOLE else layout.array_extent(axis, extents[a])
                for axis, (a, n) in enumerate(zip(layout.axes, layout.shape, strict=True))
            )
            return replace(layout, shape=shape)

        operands, results = tuple(map(other, self.operands)), tuple(map(other, self.results))
        return replace(self, extents=tuple(extents), operands=operands, results=results)

    def with_result_shapes(self, shapes: Sequence[tuple[int | None, ...]]) -> Plan:
        """The same plan with the extents that only the body knew."""
        results = tuple(replace(r, shape=s) for r, s in zip(self.results, shapes, strict=True))
        return replace(self, results=results)


def plan(
    signature: Signature,
    shapes: Sequence[Shape],
    scalars: Mapping[str, int],
    given: Sequence[Shape | None],
    boundaries: Mapping[str, Boundary] = MappingProxyType({}),
) -> Plan:
    """Settle every extent of one call.

    Parameters
    ----------
    signature : Signature
    shapes : sequence of tuple of int
        One for each named operand.
    scalars : mapping of str to int
        The scalar parameters that extents use.
    given : sequence of (tuple of int or None)
        One for each result: the shape of the array that the caller passes to be written.
    boundaries : mapping of str to Boundary
        What lies outside each operand with a halo.

    Returns
    -------
    Plan

    Raises
    ------
    ShapeError
        Names both arrays where two extents disagree.
    """
    named = [t for t in signature.operands if t.name]
    whole = signature.kept_whole
    extents = _Extents(scalars)
    for term, shape in zip(named, shapes, strict=True):
        _check_rank(term, shape)
        _define(term, shape, extents, valid=boundaries.get(str(term.name)) == "valid")
    free = _broadcast(named, shapes)
    _own_shapes(signature.results, given, free)
    for name, value in scalars.items():
        if extents.known.get(name, value) != value:
            known = extents.known[name]
            raise ShapeError(
                f"scalar {name!r} = {in_digits(value)}, but {extents.owner[name]!r} fixed {name} = {known}",
                hint=f"pass {name}={known}, or give the extent another name",
            )
    for term in (*signature.operands, *signature.results):
        for axis in term.axes:
            if axis.kind == "split" and axis.extent:
                extents.define(str(axis.name), extents.value(axis.extent), "the notation", axis)

    order: dict[str, int] = {}
    ranks = {str(t.name): len(s) for t, s in zip(named, shapes, strict=True)}
    fixed = _whole_labels((*named, *signature.results), ranks, whole, free)
    for term in signature.operands:
        if term.name is None:
            for axis in term.axes:
                order.setdefault(str(axis.name), len(order))
    operands = tuple(
        Layout(
            str(t.name),
            _axes(t, shape, order, free, fixed),
            shape,
            reaches=_reaches(t, shape),
            boundary=boundaries.get(str(t.name)),
        )
        for t, shape in zip(named, shapes, strict=True)
    )
    results = []
    for term, shape_given in zip(signature.results, given, strict=True):
        wanted = _result_shape(term, extents, free)
        if shape_given is not None:
            _check_given(term, wanted, shape_given)
        filled = wanted if shape_given is None else shape_given
        axes = _axes(term, filled, order, free, fixed)
        joined = term.axes[:1] != () and term.axes[0].kind == "unknown"
        reaches = _reaches(term, filled)
        results.append(Layout(str(term.name), axes, filled, term.op, term.accumulate, reaches, None, joined))
    sizes = tuple(extents.known[n] if n in extents.known else free_extent(free, n) for n in order)
    return Plan(
        tuple(order),
        sizes,
        operands,
        tuple(results),
        _spaces(order),
        windowed=any(layout.reaches for layout in operands),
        images=_images(signature, [o.name for o in operands], boundaries),
        least=_least(signature, operands, results, len(sizes)),
    )


def _images(signature: Signature, names: Sequence[str], boundaries: Mapping[str, Boundary]) -> tuple[Image, ...]:
    waiting = []
    for constraint in signature.constraints:
        if constraint.kind == "image":
            function, *ranges = constraint.names
            borders = function in boundaries  # a function with a halo has the one of borders
            positions = tuple(map(names.index, ranges))
            waiting.append(Image(names.index(function), positions, borders, constraint.hint))
    found: list[Image] = []
    while waiting:
        cut = {p for image in waiting for p in image.ranges}
        found += [image for image in waiting if image.function not in cut]
        waiting = [image for image in waiting if image.function in cut]
    return tuple(found)


def _least(
    signature: Signature, operands: Sequence[Layout], results: Sequence[Layout], indices: int
) -> tuple[int, ...]:
    """For each index the least elements of a tile that the min_extents of all arrays ask for."""
    layouts = {layout.name: layout for layout in (*results, *operands)}
    least = [1] * indices
    for constraint in signature.constraints:
        if constraint.kind != "min_extents":
            continue
        extents = constraint.extents
        for name in constraint.names:
            layout = layouts[name]
            if len(extents) != len(layout.axes):
                raise ShapeError(
                    f"{constraint} is for {_axes_in_words(len(extents))}, and {name!r} has {len(layout.axes)}",
                    hint="give min_extents one integer for each axis",
                )
            for a, extent, reach in zip(layout.axes, extents, layout.reaches or repeat(PLAIN), strict=False):
                if a != WHOLE:
                    least[a] = max(least[a], -(-extent // reach.scale))
    return tuple(least) if max(least, default=1) > 1 else ()


class _Extents:
    """Extents by name, and which argument fixed each."""

    def __init__(self, scalars: Mapping[str, int]) -> None:
        self.known: dict[str, int] = {}
        self.owner: dict[str, str] = {}
        self.scalars = scalars

    def define(self, name: str, value: int, owner: str, axis: Axis) -> None:
        if axis.extent and self.known.get(name, value) != value:
            raise ShapeError(
                f"the notation says {name} = {axis.extent} = {value}, "
                f"but {self.owner[name]!r} fixed {name} = {self.known[name]}",
                column=axis.column,
                hint=f"leave out '={axis.extent}': the operand already gives the extent",
            )
        if self.known.setdefault(name, value) != value:
            raise ShapeError(
                f"argument {owner!r} has axis {name} = {value}, "
                f"but {self.owner[name]!r} fixed {name} = {self.known[name]}",
                column=axis.column,
                hint=f"indices and named extents never broadcast: transpose or slice {owner!r}, "
                "or check which array is passed first",
            )
        self.owner.setdefault(name, owner)

    def value(self, extent: object) -> int:
        return extent.value({**self.scalars, **self.known})  # type: ignore[attr-defined,no-any-return]


def _check_rank(term: Term, shape: Shape) -> None:
    if len(shape) == len(term.named) or (term.ellipsis and len(shape) >= len(term.named)):
        return
    count = len(term.named)
    least = "at least " if term.ellipsis else ""
    raise ShapeError(
        f"argument {term.name!r} has {_axes_in_words(len(shape))}, shape {shape}, expected {least}{count}",
        column=term.column,
        hint=f"pass an array with {least}{_axes_in_words(count)} as {term.name!r}, or change its axes in the notation",
    )


def _axes_in_words(count: int) -> str:
    return "1 axis" if count == 1 else f"{count} axes"


def _reaches(term: Term, shape: Sequence[int | None]) -> tuple[Reach, ...]:
    found = [Reach(a.below, a.above, a.scale) for a in term.named]
    if all(r == PLAIN for r in found):
        return ()
    return (PLAIN,) * (len(shape) - len(found)) + tuple(found)


def _define(term: Term, shape: Shape, extents: _Extents, *, valid: bool) -> None:
    named = term.named
    for axis, size in zip(named, shape[len(shape) - len(named) :], strict=True):
        if axis.kind == "split":
            extents.define(str(axis.name), _cells(term, axis, size, valid=valid), str(term.name), axis)
        elif axis.name:
            extents.define(axis.name, size, str(term.name), axis)
        elif axis.extent and axis.extent.value({}) != size:
            raise ShapeError(
                f"argument {term.name!r} has an axis of extent {size}, expected {axis.extent.text}",
                column=axis.column,
                hint=f"pass an array whose axis has extent {axis.extent.text}, or write ':' for any",
            )


def _cells(term: Term, axis: Axis, size: int, *, valid: bool) -> int:
    """The extent of a split axis' index, from the array's own."""
    if size % axis.scale:
        raise ShapeError(
            f"argument {term.name!r} has extent {size} on axis {axis}, expected a multiple of {axis.scale}",
            column=axis.column,
            hint="pad or slice the array to whole blocks before the call",
        )
    halo = axis.below + axis.above
    if valid and size < halo:
        raise ShapeError(
            f"argument {term.name!r} has extent {size} on axis {axis}, expected at least {halo} with boundary='valid'",
            column=axis.column,
            hint="the operand is longer than its index by the halo: pass a longer array, or choose another boundary",
        )
    return size // axis.scale - (halo if valid else 0)


def _broadcast(terms: Sequence[Term], shapes: Sequence[Shape]) -> dict[str, list[int]]:
    """Extents of each group of ellipses, from the right, broadcast as in NumPy."""
    free: dict[str, list[int]] = {}
    owner: dict[tuple[str, int], str] = {}
    for term, shape in zip(terms, shapes, strict=True):
        if not term.ellipsis:
            continue
        group = str(term.ellipsis.name)
        sizes = free.setdefault(group, [])
        for place, size in enumerate(reversed(shape[: len(shape) - len(term.named)])):
            if place == len(sizes):
                sizes.append(size)
            elif sizes[place] == 1:
                sizes[place] = size
            elif size not in (1, sizes[place]):
                raise ShapeError(
                    f"argument {term.name!r} has extent {size} on axis {-1 - place} of its '...', "
                    f"but {owner[group, place]!r} has {sizes[place]} there",
                    column=term.ellipsis.column,
                    hint="axes under '...' match from the right and are equal or 1, as in NumPy",
                )
            if sizes[place] == size:
                owner[group, place] = str(term.name)
    return free


def free_extent(free: Mapping[str, list[int]], label: str) -> int:
    """The extent of an ellipsis axis from its label."""
    group, place = label.split("...")
    return free[group][-int(place) - 1]


def _labels(term: Term, free: Mapping[str, list[int]]) -> list[str]:
    group = str(term.ellipsis.name) if term.ellipsis else ""
    return [f"{group}...{-1 - place}" for place in reversed(range(len(free.get(group, ()))))]


def _whole_labels(
    terms: Sequence[Term],
    ranks: Mapping[str, int],
    whole: Mapping[str, tuple[int, ...] | None],
    free: Mapping[str, list[int]],
) -> frozenset[str]:
    """Ellipsis axes that a broadcast constraint keeps whole, in every array aligned with it."""
    found: set[str] = set()
    for term in terms:
        if term.name not in whole:
            continue
        labels = _labels(term, free)
        # An array of a lower rank than those it is aligned with has their last axes.
        labels = labels[len(labels) - ranks.get(str(term.name), len(labels)) :]
        axes = whole[str(term.name)]
        for axis in range(len(labels)) if axes is None else axes:
            if axis >= len(labels):
                raise ShapeError(
                    f"broadcast names axis {axis} of {term.name!r}, which has {len(labels)} axes",
                    hint=f"name axes from 0 to {len(labels) - 1}",
                )
            found.add(labels[axis])
    return frozenset(found)


def _axes(
    term: Term,
    shape: Sequence[int | None],
    order: dict[str, int],
    free: Mapping[str, list[int]],
    fixed: frozenset[str],
) -> tuple[int, ...]:
    axes: list[int] = []
    lead = len(shape) - len(term.named)
    if term.ellipsis:
        labels = _labels(term, free)
        for label, size in zip(labels[len(labels) - lead :], shape, strict=False):
            if label in fixed or (size == 1 and free_extent(free, label) != 1):
                axes.append(WHOLE)
            else:
                axes.append(order.setdefault(label, len(order)))
    named = (order.setdefault(str(a.name), len(order)) if a.kind == "split" else WHOLE for a in term.named)
    return (*axes, *named)


def _own_shapes(results: Sequence[Term], given: Sequence[Shape | None], free: dict[str, list[int]]) -> None:
    """Only in the explicit spelling: a result that is aligned with no operand has the shape of its array."""
    for term, shape in zip(results, given, strict=True):
        group = term.ellipsis.name if term.ellipsis else ""
        if term.ellipsis is None or group in free:
            continue
        if shape is None:
            raise ShapeError(
                f"nothing says which shape {term.name!r} has",
                hint=f"pass an array as {term.name!r}, or align it with an operand",
            )
        free[str(group)] = list(reversed(shape))


def _result_shape(term: Term, extents: _Extents, free: Mapping[str, list[int]]) -> tuple[int | None, ...]:
    shape: list[int | None] = []
    if term.ellipsis:
        shape += reversed(free[str(term.ellipsis.name)])
    for axis in term.named:
        if axis.kind == "split":
            shape.append(extents.known[str(axis.name)] * axis.scale)
        elif axis.name:
            shape.append(extents.known[axis.name] if axis.name in extents.known else _scalar(extents, axis))
        else:
            shape.append(extents.value(axis.extent) if axis.extent else None)
    return tuple(shape)


def _scalar(extents: _Extents, axis: Axis) -> int:
    value = extents.scalars[str(axis.name)]
    check_extent(str(axis.name), value)
    return value


def _check_given(term: Term, wanted: tuple[int | None, ...], given: Shape) -> None:
    if any(a.kind == "unknown" for a in term.axes):
        raise ShapeError(
            f"an array is given for result {term.name!r}, whose extent is known only when the body returns",
            column=term.column,
            hint="leave it out and take the returned array",
        )
    if len(wanted) == len(given) and all(w is None or w == g for w, g in zip(wanted, given, strict=True)):
        return
    raise ShapeError(
        f"the array given for result {term.name!r} has shape {given}, expected {show_shape(wanted)}",
        column=term.column,
        hint="pass an array of that shape, or leave it out and take the returned one",
    )


def show_shape(shape: Sequence[int | None]) -> str:
    """A shape as Python prints it, with the word any where the extent is not known."""
    shown = ", ".join("any" if n is None else str(n) for n in shape)
    return f"({shown},)" if len(shape) == 1 else f"({shown})"


def _spaces(order: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
    """Indices by the group that they are cut with; named indices and the notation's ``...`` are one."""
    spaces: dict[str, list[int]] = {}
    for label, position in order.items():
        group = label.split("...")[0] if "..." in label else ""
        spaces.setdefault(group, []).append(position)
    return tuple(tuple(s) for s in spaces.values())
