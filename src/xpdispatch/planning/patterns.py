"""What a signature says of arrays with so many axes: a :class:`Pattern`, which with their extents makes a plan.

Kernels meet few patterns and many shapes, so all that does not depend on extents is settled once. Pure: no arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import Any, NamedTuple, Never, TypeAlias

from xpdispatch.errors import ShapeError
from xpdispatch.language.boundaries import Boundaries, Boundary
from xpdispatch.language.signature import Signature
from xpdispatch.language.terms import WINDOWS, Axis, Extent, Term, check_extent, in_digits, names_of, wrong_sizes
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.planning.keys import Labels, keys_of
from xpdispatch.planning.plan import Image, Plan, Shape, show_shape
from xpdispatch.planning.windows import PLAIN, WHOLE, Layout, Reach, Scan


class Patterns:
    """The patterns of one signature.

    Parameters
    ----------
    signature : Signature
    boundaries : Boundaries
        What lies outside the operands with a halo.
    """

    def __init__(self, signature: Signature, boundaries: Boundaries = MappingProxyType({})) -> None:
        self._signature, self._boundaries = signature, boundaries
        self._elliptic = any(t.ellipsis for t in (*signature.operands, *signature.results))
        self.sizes = signature.size_names
        """What windows and blocks depend on."""
        # By the number of axes and, under ..., which of them have extent 1; and by what windows and blocks depend on.
        self._found = BoundedCache()

    def plan(self, shapes: Sequence[Shape], scalars: Mapping[str, int], given: Sequence[Shape | None]) -> Plan:
        """Settle every extent of one call.

        Parameters
        ----------
        shapes : sequence of tuple of int
            One for each named operand.
        scalars : mapping of str to int
            The scalar parameters that extents use.
        given : sequence of (tuple of int or None)
            One for each result: the shape of the array that the caller passes to be written.

        Raises
        ------
        ShapeError
            Names both arrays where two extents disagree.
        """
        key: Any = tuple([len(shape) for shape in shapes])
        if self._elliptic:
            key = tuple([None if s is None else tuple([n == 1 for n in s]) for s in (*shapes, *given)])
        variables = self._variables(shapes, scalars) if self.sizes else _NONE
        key = (key, *variables.values())
        pattern: Pattern | None = self._found.get(key)
        if pattern is None:
            pattern = self._found[key] = Pattern(self._signature, shapes, given, self._boundaries, variables)
        return pattern.plan(shapes, scalars, given)

    def _variables(self, shapes: Sequence[Shape], scalars: Mapping[str, int]) -> Mapping[str, int]:
        """What windows and blocks depend on: scalars, and named whole axes."""
        found = dict(scalars)
        for term, shape in zip([t for t in self._signature.operands if t.name], shapes, strict=True):
            check_rank(term, shape, len(term.named))
            whole = zip(term.named, shape[len(shape) - len(term.named) :], strict=True)
            found |= {axis.name: n for axis, n in whole if axis.kind == "whole" and axis.name}
        return {name: found[name] for name in self.sizes}


_NONE: Mapping[str, int] = MappingProxyType({})


class _Place(NamedTuple):
    """An axis of an operand that gives an index, or a named axis, its extent; or that must have one."""

    name: str | None
    operand: int
    axis: int
    term: Term
    of: Axis
    reach: Reach
    plain: bool
    """One element for each of the index."""

    def count(self, size: int) -> int:
        """The elements of the index, from the array's own extent."""
        term, axis, scale = self.term, self.of, self.reach.scale
        halo = self.reach.below + self.reach.above if self.reach.boundary == "valid" else 0
        if size >= halo and (size - halo) % scale:
            more = f", and {halo} more with boundary='valid'" if halo else ""
            raise ShapeError(
                f"argument {term.name!r} has extent {size} on axis {axis}, expected a multiple of {scale}{more}",
                column=axis.column,
                hint="pad or slice the array to whole blocks before the call",
            )
        if size < halo:
            raise ShapeError(
                f"argument {term.name!r} has extent {size} on axis {axis}, "
                f"expected at least {halo} with boundary='valid'",
                column=axis.column,
                hint="the operand is longer than its index by the halo: pass a longer array, or choose another "
                "boundary",
            )
        return (size - halo) // scale


class Pattern:
    """All of a plan but the extents.

    Parameters
    ----------
    signature : Signature
    shapes : sequence of tuple of int
        One for each named operand: any of the pattern.
    given : sequence of (tuple of int or None)
        One for each result: the shape of the array that the caller passes to be written.
    boundaries : Boundaries
        What lies outside the operands with a halo.
    variables : mapping of str to int
        What windows and blocks depend on.

    Raises
    ------
    ShapeError
        An array does not have the axes that the signature says, or a window or a block cannot be.
    """

    def __init__(
        self,
        signature: Signature,
        shapes: Sequence[Shape],
        given: Sequence[Shape | None],
        boundaries: Boundaries,
        variables: Mapping[str, int],
    ) -> None:
        self.signature = signature
        named = self.named = [t for t in signature.operands if t.name]
        self.counts = [len(t.named) for t in named]
        for term, shape, count in zip(named, shapes, self.counts, strict=True):
            check_rank(term, shape, count)
        reached = [_reaches(t, boundaries, variables) for t in named]
        self.places, self.exact = _places(named, shapes, reached)
        self.elliptic = any(t.ellipsis for t in (*named, *signature.results))
        terms = (*signature.operands, *signature.results)
        self.said = [a for t in terms for a in t.axes if a.kind == "split" and a.extent]
        """Axes for which the notation says how long they are."""
        free = self._broadcast(shapes, given)
        order: dict[str, int] = {}
        ranks = {str(t.name): len(s) for t, s in zip(named, shapes, strict=True)}
        fixed = _whole_labels((*named, *signature.results), ranks, signature.kept_whole, free)
        for term in signature.operands:
            if term.name is None:
                for axis in term.axes:
                    order.setdefault(str(axis.name), len(order))
        self.operands = tuple(
            Layout(
                str(t.name),
                _axes(t, shape, order, free, fixed),
                shape,
                reaches=_after_ellipsis(reaches, len(shape)),
            )
            for t, shape, reaches in zip(named, shapes, reached, strict=True)
        )
        results = []
        self.sources: list[list[_Source]] = []
        """For each result and axis what gives its extent."""
        for term in signature.results:
            labels, own = _labels(term, free), _reaches(term, boundaries, variables)
            self.sources.append([*labels, *map(_source, term.named, own)])
            shape = tuple([free_extent(free, label) for label in labels] + [0] * len(term.named))
            axes = _axes(term, shape, order, free, fixed)
            joined = term.axes[:1] != () and term.axes[0].kind == "unknown"
            reaches = _after_ellipsis(own, len(shape))
            op, accumulate, scan = term.op, term.accumulate, _scan(term, len(shape))
            results.append(Layout(str(term.name), axes, shape, op, accumulate, reaches, joined, scan))
        if any(t.keys for t in terms):
            self.operands, results = self._with_keys(results, free, order)
        self.results = tuple(results)
        self.indices = tuple(order)
        self.spaces = _spaces(order)
        self.windowed = any(layout.reaches for layout in self.operands)
        self.images = _images(signature, [o.name for o in self.operands], boundaries)
        self.least = _least(signature, self.operands, results, len(order))

    def _with_keys(
        self, results: Sequence[Layout], free: Mapping[str, list[int]], order: Mapping[str, int]
    ) -> tuple[tuple[Layout, ...], list[Layout]]:
        """The arrays, those with keys told how their axes go with what the body sees."""
        terms, layouts = (*self.named, *self.signature.results), (*self.operands, *results)
        found = [_axis_labels(n, t, o, free, order) for n, (t, o) in enumerate(zip(terms, layouts, strict=True))]
        labels = dict(zip([str(t.name) for t in self.named], found, strict=False))
        made = [
            layout._replace(keys=keys_of(term, own, labels)) if term.keys else layout
            for term, layout, own in zip(terms, layouts, found, strict=True)
        ]
        count = len(self.operands)
        return tuple(made[:count]), made[count:]

    def plan(self, shapes: Sequence[Shape], scalars: Mapping[str, int], given: Sequence[Shape | None]) -> Plan:
        """Settle every extent of one call; see :meth:`Patterns.plan`."""
        known: dict[str, int] = {}
        for place in self.places:
            size = shapes[place.operand][place.axis]
            if not place.plain:
                size = place.count(size)
            if known.setdefault(place.name, size) != size:  # type: ignore[arg-type]
                self._disagree(place, size, known)
        for place in self.exact:
            _check_exact(place, shapes[place.operand][place.axis])
        if self.elliptic:
            for group, sizes in self._broadcast(shapes, given).items():
                known.update((f"{group}...{-1 - place}", size) for place, size in enumerate(sizes))
        for name, value in scalars.items():
            if known.get(name, value) != value:
                raise ShapeError(
                    f"scalar {name!r} = {in_digits(value)}, but {self._owner(name)!r} fixed {name} = {known[name]}",
                    hint=f"pass {name}={known[name]}, or give the extent another name",
                )
        for axis in self.said:
            self._say(axis, known, scalars)
        results: list[Layout] = []
        for layout, sources, shape in zip(self.results, self.sources, given, strict=True):
            wanted = tuple([known[s] if type(s) is str and s in known else _extent(s, known, scalars) for s in sources])
            if shape is not None:
                self._check_given(len(results), wanted, shape)
                wanted = shape
            results.append(_with_shape(layout, wanted))
        return Plan(
            self.indices,
            tuple([known[n] for n in self.indices]),
            tuple([_with_shape(layout, shape) for layout, shape in zip(self.operands, shapes, strict=True)]),
            tuple(results),
            self.spaces,
            self.windowed,
            self.images,
            self.least,
        )

    def _owner(self, name: str) -> str:
        """Whose axis gives an index its extent."""
        return next((str(p.term.name) for p in self.places if p.name == name), "the notation")

    def _disagree(self, place: _Place, size: int, known: Mapping[str, int]) -> Never:
        name, owner = place.name, str(place.term.name)
        raise ShapeError(
            f"argument {owner!r} has axis {name} = {size}, "
            f"but {self._owner(str(name))!r} fixed {name} = {known[str(name)]}",
            column=place.of.column,
            hint=f"indices and named extents never broadcast: transpose or slice {owner!r}, "
            "or check which array is passed first",
        )

    def _say(self, axis: Axis, known: dict[str, int], scalars: Mapping[str, int]) -> None:
        """An index has the extent that the notation says."""
        name, value = str(axis.name), axis.extent.value({**scalars, **known})  # type: ignore[union-attr]
        if known.setdefault(name, value) != value:
            raise ShapeError(
                f"the notation says {name} = {axis.extent} = {value}, "
                f"but {self._owner(name)!r} fixed {name} = {known[name]}",
                column=axis.column,
                hint=f"leave out '={axis.extent}': the operand already gives the extent",
            )

    def _broadcast(self, shapes: Sequence[Shape], given: Sequence[Shape | None]) -> dict[str, list[int]]:
        """Extents of each group of ellipses, from the right, broadcast as in NumPy."""
        free: dict[str, list[int]] = {}
        owner: dict[tuple[str, int], str] = {}
        for term, count, shape in zip(self.named, self.counts, shapes, strict=True):
            if not term.ellipsis:
                continue
            group = str(term.ellipsis.name)
            sizes = free.setdefault(group, [])
            for place, size in enumerate(reversed(shape[: len(shape) - count])):
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
        _own_shapes(self.signature.results, given, free)
        return free

    def _check_given(self, r: int, wanted: tuple[int | None, ...], given: Shape) -> None:
        term = self.signature.results[r]
        if self.results[r].concatenated:
            raise ShapeError(
                f"an array is given for result {term.name!r}, whose extent is known only when the body returns",
                column=term.column,
                hint="leave it out and take the returned array",
            )
        if wanted == given:
            return
        if len(wanted) == len(given) and all(w is None or w == g for w, g in zip(wanted, given, strict=True)):
            return
        raise ShapeError(
            f"the array given for result {term.name!r} has shape {given}, expected {show_shape(wanted)}",
            column=term.column,
            hint="pass an array of that shape, or leave it out and take the returned one",
        )


def _with_shape(layout: Layout, shape: tuple[int | None, ...]) -> Layout:
    return Layout(layout[0], layout[1], shape, *layout[3:])


def check_rank(term: Term, shape: Shape, count: int) -> None:
    """Refuse an array that does not have so many axes, or more where there is an ellipsis.

    Raises
    ------
    ShapeError
    """
    if len(shape) == count or (term.ellipsis and len(shape) >= count):
        return
    least = "at least " if term.ellipsis else ""
    raise ShapeError(
        f"argument {term.name!r} has {_axes_in_words(len(shape))}, shape {shape}, expected {least}{count}",
        column=term.column,
        hint=f"pass an array with {least}{_axes_in_words(count)} as {term.name!r}, or change its axes in the notation",
    )


def _axes_in_words(count: int) -> str:
    return "1 axis" if count == 1 else f"{count} axes"


def _places(
    terms: Sequence[Term], shapes: Sequence[Shape], reached: Sequence[Sequence[Reach]]
) -> tuple[list[_Place], list[_Place]]:
    """The axes of operands with a name, and those whose extent the notation says."""
    places: list[_Place] = []
    exact: list[_Place] = []
    for p, (term, shape, reaches) in enumerate(zip(terms, shapes, reached, strict=True)):
        for a, (axis, reach) in enumerate(zip(term.named, reaches, strict=True), len(shape) - len(term.named)):
            place = _Place(axis.name, p, a, term, axis, reach, reach.scale == 1 and reach.boundary != "valid")
            if axis.kind == "split" or axis.name:
                places.append(place)
            elif axis.extent:
                exact.append(place)
    return places, exact


def _check_exact(place: _Place, size: int) -> None:
    extent = place.of.extent
    if extent is not None and extent.value({}) != size:
        raise ShapeError(
            f"argument {place.term.name!r} has an axis of extent {size}, expected {extent.text}",
            column=place.of.column,
            hint=f"pass an array whose axis has extent {extent.text}, or write ':' for any",
        )


_Source: TypeAlias = str | tuple[str, int] | Extent | None
"""What gives the extent of a result's axis: a name; an index, and how many to each of its own; arithmetic; the body."""


def _source(axis: Axis, reach: Reach) -> _Source:
    if axis.kind in ("split", "whole") and axis.name:
        return axis.name if reach.scale == 1 else (axis.name, reach.scale)
    return axis.extent


def _extent(source: _Source, known: Mapping[str, int], scalars: Mapping[str, int]) -> int | None:
    """The extent of a result's axis, where it has to be computed."""
    if isinstance(source, str):
        check_extent(source, scalars[source])
        return scalars[source]
    if isinstance(source, tuple):
        index, scale = source
        check_extent(f"{scale}*{index}", known[index] * scale)
        return known[index] * scale
    return source.value({**scalars, **known}) if source else None


def _reaches(term: Term, boundaries: Boundaries, variables: Mapping[str, int]) -> list[Reach]:
    """What of each axis after the ellipsis goes with an element of its index."""
    modes = boundaries.get(str(term.name)) or repeat(None)
    return [_reach(term, axis, mode, variables) for axis, mode in zip(term.named, modes, strict=False)]


def _reach(term: Term, axis: Axis, boundary: Boundary | None, variables: Mapping[str, int]) -> Reach:
    below, above, scale = axis.sized(variables)
    names = names_of(*axis.sizes)
    why = wrong_sizes(below, above, scale) if names else ""
    if why:
        values = ", ".join(f"{name} = {in_digits(variables[name])}" for name in names)
        raise ShapeError(
            f"{term.name!r} has the axis {axis} with {values}: {why}",
            column=axis.column,
            hint=f"pass another {' or '.join(names)}, or change the notation: {WINDOWS}",
        )
    return Reach(below, above, scale, boundary if below or above else None)


def _after_ellipsis(found: Sequence[Reach], rank: int) -> tuple[Reach, ...]:
    """One for each axis of an array; none where all are plain."""
    if all(r == PLAIN for r in found):
        return ()
    return (PLAIN,) * (rank - len(found)) + tuple(found)


def _scan(term: Term, rank: int) -> Scan | None:
    axes = enumerate(term.named, rank - len(term.named))
    return next((Scan(n, a.scan == "from") for n, a in axes if a.scan), None)


def free_extent(free: Mapping[str, list[int]], label: str) -> int:
    """The extent of an ellipsis axis from its label."""
    group, place = label.split("...")
    return free[group][-int(place) - 1]


def _labels(term: Term, free: Mapping[str, list[int]]) -> list[str]:
    group = str(term.ellipsis.name) if term.ellipsis else ""
    return [f"{group}...{-1 - place}" for place in reversed(range(len(free.get(group, ()))))] if term.ellipsis else []


def _axis_labels(
    position: int, term: Term, layout: Layout, free: Mapping[str, list[int]], order: Mapping[str, int]
) -> Labels:
    """What the axes of an array are called: an index by its position, a whole axis by its name."""
    lead = [order[label] for label in _labels(term, free)]
    named = zip(term.named, layout.axes[len(layout.axes) - len(term.named) :], strict=True)
    own = [a if a != WHOLE else axis.name or f"{n} of {term.name}" for n, (axis, a) in enumerate(named)]
    every = (*lead, *own)
    return Labels(position, every, every[len(every) - len(layout.axes) :])


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


def _spaces(order: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
    """Indices by the group that they are cut with; named indices and the notation's ``...`` are one."""
    spaces: dict[str, list[int]] = {}
    for label, position in order.items():
        group = label.split("...")[0] if "..." in label else ""
        spaces.setdefault(group, []).append(position)
    return tuple(tuple(s) for s in spaces.values())


def _images(signature: Signature, names: Sequence[str], boundaries: Boundaries) -> tuple[Image, ...]:
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
