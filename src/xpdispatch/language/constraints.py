"""Legate's partitioning constraints as plain values, and what a signature says with them.

Names and meanings are Legate's own (https://docs.nvidia.com/legate, "Partitioning constraints").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xpdispatch.errors import SignatureError
from xpdispatch.language.notation import Constraint, Signature


def align(*names: str) -> Constraint:
    """Cut the named arrays at the same places.

    Parameters
    ----------
    *names : str
        Two parameters or more. Extents are equal; as under ``...`` an extent of 1 broadcasts.

    Examples
    --------
    >>> align("x", "y", "z")
    Constraint(kind='align', args=('x', 'y', 'z'))
    """
    _names("align", names, least=2)
    return Constraint("align", names)


_BROADCAST = 'write broadcast("a"), broadcast("a", (0, 1)) or broadcast("a", ("b", (0, 1)))'


def broadcast(name: str, *rest: str | Sequence[int] | tuple[str, Sequence[int]]) -> Constraint:
    """Keep arrays, or chosen axes of them, whole in every tile.

    Parameters
    ----------
    name : str
        A parameter.
    *rest : sequence of int, str, or (str, sequence of int)
        The axes of `name` to keep whole (all when left out), then further parameters, each alone or
        with its axes.

    Examples
    --------
    >>> broadcast("src", (1, 2))
    Constraint(kind='broadcast', args=(('src', (1, 2)),))
    >>> broadcast("a", "b")
    Constraint(kind='broadcast', args=(('a', None), ('b', None)))
    """
    first: tuple[str, tuple[int, ...] | None] = (name, None)
    others: list[tuple[str, tuple[int, ...] | None]] = []
    for position, item in enumerate(rest):
        if isinstance(item, str):
            others.append((item, None))
        elif not isinstance(item, Sequence):
            raise SignatureError(f"broadcast of {name!r} got {item!r}, expected axes or a parameter", hint=_BROADCAST)
        elif len(item) == 2 and isinstance(item[0], str) and not isinstance(item[1], int | str):
            others.append((item[0], _axes(item[0], item[1])))
        elif position == 0:
            first = (name, _axes(name, item))
        else:
            raise SignatureError(f"broadcast got {item!r} where a parameter was expected", hint=_BROADCAST)
    _names("broadcast", [n for n, _ in (first, *others)], least=1)
    return Constraint("broadcast", (first, *others))


def scale(factors: Sequence[int], var_smaller: str, var_bigger: str, *more: str) -> Constraint:
    """Cut arrays in blocks of `factors` cells to each cell of `var_smaller`: ``x[2*i] -> y[i]`` in index notation.

    Parameters
    ----------
    factors : sequence of int
        One for each axis; an extent that they do not divide is refused at the call.
    var_smaller : str
        The parameter with one cell to a block.
    var_bigger, *more : str
        The parameters in blocks.

    Examples
    --------
    >>> scale((2, 2), "y", "x")
    Constraint(kind='scale', args=((2, 2), 'y', 'x'))
    """
    _names("scale", (var_smaller, var_bigger, *more), least=2)
    return Constraint("scale", (_counts("scale", "factors", factors, least=1), var_smaller, var_bigger, *more))


def bloat(var_source: str, *rest: Any, low_offsets: Any = None, high_offsets: Any = None) -> Constraint:
    """Give tiles of arrays more cells below and above than `var_source` has: ``u[i-1..i+1] -> y[i]`` in index notation.

    Parameters
    ----------
    var_source : str
        The parameter whose tiles are the inner ones.
    *rest : str, then two sequences of int
        The parameters with the halo, and its widths below and above, one for each axis; the widths may also be given
        as `low_offsets` and `high_offsets`.

    Examples
    --------
    >>> bloat("y", "u", (1,), (1,))
    Constraint(kind='bloat', args=('y', 'u', (1,), (1,)))
    """
    names = list(rest)
    if high_offsets is None and names and not isinstance(names[-1], str):
        high_offsets = names.pop()
    if low_offsets is None and names and not isinstance(names[-1], str):
        low_offsets = names.pop()
    _names("bloat", (var_source, *names), least=2)
    low = _counts("bloat", "low_offsets", low_offsets, least=0)
    high = _counts("bloat", "high_offsets", high_offsets, least=0)
    if len(low) != len(high):
        raise SignatureError(
            f"bloat got {len(low)} low_offsets and {len(high)} high_offsets", hint="give one of each for each axis"
        )
    return Constraint("bloat", (var_source, *names, low, high))


HINTS = ("NO_HINT", "MIN_MAX", "FIRST_LAST")
"""Legate's names for the ways in which it finds the cells that are pointed to."""


def image(var_function: str, var_range: str, *more: str, hint: str = "NO_HINT") -> Constraint:
    """Give each tile the part of other arrays that its cells of `var_function` point to.

    The cells of `var_function` are integers: places on the first axis of the others. Where it is read under a halo of
    one cell above, ``starts[i..i+1]`` with ``boundary="valid"``, they are the borders of ranges, as in compressed
    sparse rows. A body gets the first to the last cell that its tile points to, and pointers that count from there, so
    that it is written as for the whole arrays. A pointer to no cell is an IndexError.

    Parameters
    ----------
    var_function : str
        The parameter with the pointers.
    var_range, *more : str
        The parameters that it points to; all of their axes are whole in the notation.
    hint : {"NO_HINT", "MIN_MAX", "FIRST_LAST"}, optional
        How Legate finds the cells; ``"FIRST_LAST"`` is for pointers in ascending order. Also taken as last argument.

    Examples
    --------
    >>> image("columns", "x")
    Constraint(kind='image', args=('columns', 'x', 'NO_HINT'))
    """
    names = [var_range, *more]
    given = getattr(names[-1], "name", names[-1])  # Legate's own enumeration as well
    if len(names) > 1 and given in HINTS:
        hint = names.pop()
    hint = getattr(hint, "name", hint)
    _names("image", (var_function, *names), least=2)
    if hint not in HINTS:
        raise SignatureError(f"image got hint={hint!r}", hint=f"write hint= and one of {', '.join(map(repr, HINTS))}")
    return Constraint("image", (var_function, *names, hint))


def min_extents(name: str, *rest: Any, minimum_extents: Any = None) -> Constraint:
    """Cut no tile of the arrays smaller than these extents; a smaller array is one tile.

    Parameters
    ----------
    name, *rest : str, then a sequence of int
        Parameters, and the least extents of a tile, one for each axis; these may also be given as `minimum_extents`.

    Examples
    --------
    >>> min_extents("x", (64,))
    Constraint(kind='min_extents', args=('x', (64,)))
    """
    names = [name, *rest]
    if minimum_extents is None and not isinstance(names[-1], str):
        minimum_extents = names.pop()
    _names("min_extents", names, least=1)
    return Constraint("min_extents", (*names, _counts("min_extents", "minimum_extents", minimum_extents, least=0)))


def _counts(kind: str, what: str, given: Any, *, least: int) -> tuple[int, ...]:
    counts = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
    if not counts or not all(isinstance(n, int) and n >= least for n in counts):
        raise SignatureError(
            f"{kind} got {what}={given!r}, expected integers >= {least}, one for each axis",
            hint=f"write {what}=({least + 1},)",
        )
    return counts


def _names(kind: str, names: Sequence[object], *, least: int) -> None:
    wrong = [n for n in names if not isinstance(n, str)]
    if wrong or len(names) < least:
        raise SignatureError(
            f"{kind} takes {least} or more names of parameters, got {', '.join(map(repr, names)) or 'none'}",
            hint=f'write {kind}("x", "y")'
            if least > 1
            else _BROADCAST
            if kind == "broadcast"
            else f'write {kind}("x")',
        )


def _axes(name: str, axes: Iterable[object]) -> tuple[int, ...]:
    given = tuple(axes)
    checked = tuple(a for a in given if isinstance(a, int) and a >= 0)
    if checked != given:
        raise SignatureError(f"broadcast of {name!r} takes axes as integers >= 0, got {given!r}", hint=_BROADCAST)
    return checked


BESIDE = ("image", "min_extents")
"""The constraints that the notation has no words for, and that stand beside it."""


def checked_constraints(constraints: Iterable[object]) -> tuple[Constraint, ...]:
    """Refuse what are no constraints of ours.

    Raises
    ------
    SignatureError
    """
    found = []
    for constraint in constraints:
        if not isinstance(constraint, Constraint):
            raise SignatureError(
                f"constraints= holds {constraint!r}, expected align, broadcast, ...",
                hint="use xpdispatch.align and its like, not legate.core's own",
            )
        found.append(constraint)
    return tuple(found)


def beside(signature: Signature, constraints: Iterable[Constraint]) -> Signature:
    """Index notation with the constraints that it has no words for.

    Raises
    ------
    SignatureError
        A constraint that the notation has words for, or that does not fit its operands.
    """
    constraints = checked_constraints(constraints)
    arrays = dict.fromkeys(str(t.name) for t in (*signature.operands, *signature.results) if t.name)
    for constraint in constraints:
        if constraint.kind not in BESIDE:
            raise SignatureError(
                f"{constraint} stands beside a notation, which says such things itself",
                hint=f"{_IN_NOTATION[constraint.kind]}; only {' and '.join(BESIDE)} stand beside it",
            )
        for name in names_in(constraint):
            known(name, arrays)
    combined = replace(signature, constraints=constraints)
    check_images(combined)
    return combined


_IN_NOTATION = {
    "align": "give the arrays the same indices: x[i], y[i] -> z[i]",
    "broadcast": "write ':' for an axis that stays whole",
    "scale": "write 2*i for blocks of two",
    "bloat": "write i-1..i+1 for a halo",
}


def names_in(constraint: Constraint) -> tuple[str, ...]:
    """The parameters that a constraint names."""
    if constraint.kind == "broadcast":
        return tuple(name for name, _ in _broadcasts(constraint))
    ends = {"image": -1, "min_extents": -1, "bloat": -2}
    first = 1 if constraint.kind == "scale" else 0
    return tuple(map(str, constraint.args[first : ends.get(constraint.kind)]))


def renamed(signature: Signature, names: Mapping[str, Sequence[str]]) -> tuple[Constraint, ...]:
    """The constraints of a signature in which some operands have other names, or none, or are several."""
    found = []
    for constraint in signature.constraints:
        if constraint.kind not in BESIDE:
            found.append(constraint)
            continue
        function, *rest = [names.get(name, (name,)) for name in names_in(constraint)]
        kept = [*function, *(name for new in rest for name in new)]
        if len(kept) > (constraint.kind == "image") and (function or constraint.kind != "image"):
            found.append(replace(constraint, args=(*kept, constraint.args[-1])))
    return tuple(found)


def kept_whole(constraint: Constraint) -> Iterable[tuple[str, tuple[int, ...] | None]]:
    """The axes that a constraint keeps whole, or has an image of, by parameter; None means all."""
    if constraint.kind == "broadcast":
        return _broadcasts(constraint)
    return [(name, None) for name in names_in(constraint)[1:]] if constraint.kind == "image" else []


def default_boundaries(signature: Signature) -> dict[str, str]:
    """What lies outside the arrays that bloat gives a halo: nothing, as in Legate; borders of ranges are one more."""
    functions = {c.args[0] for c in signature.constraints if c.kind == "image"}
    return {str(t.name): "valid" if t.name in functions else "clip" for t in signature.operands if t.haloed}


def check_images(signature: Signature) -> None:
    """Refuse images that no engine can cut, or that would follow from themselves.

    Raises
    ------
    SignatureError
    """
    owner: dict[str, str] = {}
    for constraint in signature.constraints:
        if constraint.kind == "image":
            _check_image(signature, constraint)
            function, *names = names_in(constraint)
            for name in names:
                if owner.setdefault(name, function) != function or name == function:
                    raise SignatureError(
                        f"{constraint} says a second time which part of {name!r} a tile gets",
                        hint="leave one of them out: one array points to another, and no array to itself",
                    )
    for name in owner:
        seen = [name]
        while seen[-1] in owner:
            seen.append(owner[seen[-1]])
            if seen[-1] == name:
                raise SignatureError(
                    f"image goes round in a circle: {' of '.join(map(repr, seen))}",
                    hint="leave one of them out: some array must be cut by an index",
                )


def _check_image(signature: Signature, constraint: Constraint) -> None:
    function, *names = names_in(constraint)
    operands = {t.name: t for t in signature.operands}
    written = {t.name for t in signature.results}
    for name in (function, *names):
        if name not in operands or name in written:
            raise SignatureError(
                f"{constraint} names {name!r}, which the body writes",
                hint="annotate it with In: images are of operands, from operands",
            )
        if operands[name].starred:
            raise SignatureError(
                f"{constraint} names {name!r}, of which there is any number", hint="name the arrays one by one"
            )
    for name in names:
        term = operands[name]
        if not (term.axes and (name in whole_axes(signature) or all(a.kind == "whole" for a in term.axes))):
            raise SignatureError(
                f"{constraint} cuts {name!r}, of which an axis is cut otherwise",
                column=term.column,
                hint=f"write {name}[:]: all axes of an array that is pointed to are whole",
            )
    axes = operands[function].axes
    plain = all((a.below, a.above, a.scale) == (0, 0, 1) for a in axes)
    if not plain and [(a.below, a.above, a.scale) for a in axes] != [(0, 1, 1)]:
        raise SignatureError(
            f"{constraint} follows {function!r}, which has a halo or blocks",
            column=operands[function].column,
            hint=f"write {function}[i], or {function}[i..i+1] for the borders of ranges",
        )


def _broadcasts(constraint: Constraint) -> Iterable[tuple[str, tuple[int, ...] | None]]:
    return constraint.args  # type: ignore[return-value]


def whole_axes(signature: Signature) -> dict[str, tuple[int, ...] | None]:
    """The axes of ``...`` that constraints keep whole, by parameter; None means all."""
    ellipses = {t.name for t in (*signature.operands, *signature.results) if t.ellipsis}
    return {n: axes for c in signature.constraints for n, axes in kept_whole(c) if n in ellipses}


def known(name: str, arrays: Collection[str]) -> None:
    """Refuse a name that no array has.

    Raises
    ------
    SignatureError
    """
    if name not in arrays:
        raise SignatureError(
            f"a constraint names {name!r}, which is no array parameter of the body",
            hint=f"the array parameters are {', '.join(arrays)}",
        )
