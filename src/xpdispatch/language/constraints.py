"""Legate's partitioning constraints as plain values.

Names and meanings are Legate's own (https://docs.nvidia.com/legate, "Partitioning constraints").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from xpdispatch.errors import ArgumentError

Kind: TypeAlias = Literal["align", "broadcast", "scale", "bloat", "image", "min_extents"]

BESIDE = ("image", "min_extents")
"""The constraints that index notation cannot express, and that are given beside it."""
HINTS = ("NO_HINT", "MIN_MAX", "FIRST_LAST")
"""Legate's names for the ways in which it finds the elements that are pointed to."""


@dataclass(frozen=True, slots=True, repr=False)
class Constraint:
    """One of Legate's partitioning constraints; prints as the call that makes it.

    Parameters
    ----------
    kind : {"align", "broadcast", "scale", "bloat", "image", "min_extents"}
        Legate's own name.
    names : tuple of str
        The parameters. First comes, in ``scale`` the one that is not in blocks, in ``bloat`` the one without a
        halo, in ``image`` the one with the pointers.
    axes : tuple of (tuple of int or None)
        For each parameter of ``broadcast`` the axes that stay whole; None means all.
    factors, low_offsets, high_offsets, extents : tuple of int
        Of ``scale``, ``bloat`` and ``min_extents``: one for each axis.
    hint : {"NO_HINT", "MIN_MAX", "FIRST_LAST"}
        Of ``image``: how Legate finds the elements.
    """

    kind: Kind
    names: tuple[str, ...]
    axes: tuple[tuple[int, ...] | None, ...] = ()
    factors: tuple[int, ...] = ()
    low_offsets: tuple[int, ...] = ()
    high_offsets: tuple[int, ...] = ()
    extents: tuple[int, ...] = ()
    hint: str = "NO_HINT"

    def __repr__(self) -> str:
        shown: list[object] = [*self.names]
        if self.kind == "broadcast":
            shown = [(n,) if axes is None else (n, axes) for n, axes in zip(self.names, self.axes, strict=True)]
            # One parameter is not in parentheses: broadcast('x', (1, 2)).
            shown = [*shown[0]] if len(shown) == 1 else [p if len(p) > 1 else p[0] for p in shown]  # type: ignore
        counts = [n for n in (self.low_offsets, self.high_offsets, self.extents) if n]
        hint = [self.hint] if self.hint != "NO_HINT" else []
        arguments = [*([self.factors] if self.factors else []), *shown, *counts, *hint]
        return f"{self.kind}({', '.join(map(repr, arguments))})"

    @property
    def kept_whole(self) -> Mapping[str, tuple[int, ...] | None]:
        """The axes that it keeps whole, or of which a tile gets an image, by parameter; None means all."""
        if self.kind == "image":
            return dict.fromkeys(self.names[1:])
        return dict(zip(self.names, self.axes, strict=False))

    def renamed(self, names: Mapping[str, Sequence[str]]) -> Constraint | None:
        """The same where some parameters have other names, or are none or several; None where nothing is left."""
        function, *others = [tuple(names.get(name, (name,))) for name in self.names]
        kept = (*function, *(name for new in others for name in new))
        if not kept or (self.kind == "image" and not (function and len(kept) > 1)):
            return None
        return replace(self, names=kept)


def align(*names: str) -> Constraint:
    """Cut the named arrays at the same places.

    Parameters
    ----------
    *names : str
        Two parameters or more. Extents are equal; as under ``...`` an extent of 1 broadcasts.

    Examples
    --------
    >>> align("x", "y", "z")
    align('x', 'y', 'z')
    """
    return Constraint("align", _names("align", names, least=2))


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
    broadcast('src', (1, 2))
    >>> broadcast("a", "b")
    broadcast('a', 'b')
    """
    usage = 'write broadcast("a"), broadcast("a", (0, 1)) or broadcast("a", ("b", (0, 1)))'
    chosen: list[tuple[Any, Any]] = [(name, None)]
    for position, item in enumerate(rest):
        if isinstance(item, str):
            chosen.append((item, None))
        elif isinstance(item, Sequence) and len(item) == 2 and isinstance(item[0], str):
            chosen.append((item[0], item[1]))
        elif position == 0:
            chosen[0] = (name, item)
        else:
            raise ArgumentError(f"broadcast got {item!r}, expected a parameter or (parameter, axes)", hint=usage)
    for one, axes in chosen:
        counts = axes is None or (isinstance(axes, Sequence) and all(isinstance(a, int) and a >= 0 for a in axes))
        if not counts:
            raise ArgumentError(f"broadcast of {one!r} got axes {axes!r}, expected integers >= 0", hint=usage)
    whole = tuple(None if axes is None else tuple(axes) for _, axes in chosen)
    return Constraint("broadcast", _names("broadcast", [one for one, _ in chosen], least=1), axes=whole)


def scale(factors: Sequence[int], var_smaller: str, var_bigger: str, *more: str) -> Constraint:
    """Cut arrays in blocks of `factors` elements for each element of `var_smaller`: ``x[2*i] -> y[i]``.

    Parameters
    ----------
    factors : sequence of int
        One for each axis; an extent that they do not divide is refused at the call.
    var_smaller : str
        The parameter with one element for each block.
    var_bigger, *more : str
        The parameters in blocks.

    Examples
    --------
    >>> scale((2, 2), "y", "x")
    scale((2, 2), 'y', 'x')
    """
    names = _names("scale", (var_smaller, var_bigger, *more), least=2)
    return Constraint("scale", names, factors=_counts("scale", "factors", factors, least=1))


def bloat(var_source: str, *rest: Any, low_offsets: Any = None, high_offsets: Any = None) -> Constraint:
    """Give tiles of arrays more elements below and above than `var_source` has: ``u[i-1..i+1] -> y[i]``.

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
    bloat('y', 'u', (1,), (1,))
    """
    given = [*rest]
    if high_offsets is None and given and not isinstance(given[-1], str):
        high_offsets = given.pop()
    if low_offsets is None and given and not isinstance(given[-1], str):
        low_offsets = given.pop()
    names = _names("bloat", (var_source, *given), least=2)
    low = _counts("bloat", "low_offsets", low_offsets, least=0)
    high = _counts("bloat", "high_offsets", high_offsets, least=0)
    if len(low) != len(high):
        raise ArgumentError(
            f"bloat got {len(low)} low_offsets and {len(high)} high_offsets, expected one of each for each axis",
            hint=f"write bloat({_USAGE['bloat']}) for one axis",
        )
    return Constraint("bloat", names, low_offsets=low, high_offsets=high)


def image(var_function: str, var_range: str, *more: str, hint: str = "NO_HINT") -> Constraint:
    """Give each tile the part of other arrays that its elements of `var_function` point to.

    The elements of `var_function` are integers: places on the first axis of the others. Where it is read under a halo
    of one element above, ``starts[i..i+1]`` with ``boundary="valid"``, they are the borders of ranges, as in compressed
    sparse rows. A body gets everything from the first to the last element that its tile points to, and pointers that
    count from there, so that it is written as for the whole arrays. A pointer outside of the array is an IndexError.

    Parameters
    ----------
    var_function : str
        The parameter with the pointers.
    var_range, *more : str
        The parameters that it points to; all of their axes are whole in the notation.
    hint : {"NO_HINT", "MIN_MAX", "FIRST_LAST"}, optional
        How Legate finds the elements; ``"FIRST_LAST"`` is for pointers in ascending order. Also taken as last argument.

    Examples
    --------
    >>> image("columns", "x")
    image('columns', 'x')
    """
    names = [var_range, *more]
    if len(names) > 1 and getattr(names[-1], "name", names[-1]) in HINTS:  # Legate's own enumeration as well
        hint = names.pop()
    hint = getattr(hint, "name", hint)
    if hint not in HINTS:
        raise ArgumentError(
            f"image got hint={hint!r}, which is unknown", hint=f"use one of {', '.join(map(repr, HINTS))}"
        )
    return Constraint("image", _names("image", (var_function, *names), least=2), hint=hint)


def min_extents(name: str, *rest: Any, minimum_extents: Any = None) -> Constraint:
    """Cut no tile of the arrays smaller than these extents; a smaller array is one tile.

    Parameters
    ----------
    name, *rest : str, then a sequence of int
        Parameters, and the least extents of a tile, one for each axis; these may also be given as `minimum_extents`.

    Examples
    --------
    >>> min_extents("x", (64,))
    min_extents('x', (64,))
    """
    given = [name, *rest]
    if minimum_extents is None and not isinstance(given[-1], str):
        minimum_extents = given.pop()
    names = _names("min_extents", given, least=1)
    return Constraint("min_extents", names, extents=_counts("min_extents", "minimum_extents", minimum_extents, least=0))


def _counts(kind: Kind, what: str, given: Any, *, least: int) -> tuple[int, ...]:
    counts = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
    if not counts or not all(isinstance(n, int) and n >= least for n in counts):
        raise ArgumentError(
            f"{kind} got {what}={given!r}, expected integers >= {least}, one for each axis",
            hint=f"write {what}=({least + 1},) for one axis",
        )
    return counts


def _names(kind: Kind, names: Sequence[Any], *, least: int) -> tuple[str, ...]:
    if len(names) < least or not all(isinstance(n, str) for n in names):
        raise ArgumentError(
            f"{kind} got {', '.join(map(repr, names)) or 'nothing'}, expected {least} or more names of parameters",
            hint=f"write the names of the body's parameters as strings: {kind}({_USAGE[kind]})",
        )
    return tuple(names)


_USAGE: Mapping[Kind, str] = {
    "align": '"x", "y"',
    "broadcast": '"x"',
    "scale": '(2,), "y", "x"',
    "bloat": '"y", "x", (1,), (1,)',
    "image": '"pointers", "x"',
    "min_extents": '"x", (64,)',
}


def checked_constraints(constraints: Iterable[object]) -> tuple[Constraint, ...]:
    """The constraints as a tuple.

    Raises
    ------
    ArgumentError
        Something among them is not a constraint of ours.
    """
    found = []
    for constraint in constraints:
        if not isinstance(constraint, Constraint):
            raise ArgumentError(
                f"constraints= holds {constraint!r}, expected a constraint such as align",
                hint="use xpdispatch.align and its like, not legate.core's own",
            )
        found.append(constraint)
    return tuple(found)
