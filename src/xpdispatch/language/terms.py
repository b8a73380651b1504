"""The parts of a signature as plain values that print as they are written: extents, axes, and terms."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from xpdispatch.errors import ShapeError

Operator: TypeAlias = Literal["sum", "prod", "max", "min", "any", "all", "xor", "fold"]
OPERATORS: tuple[Operator, ...] = ("sum", "prod", "max", "min", "any", "all", "xor", "fold")

_MOST_BITS = 4096
"""Of a number on the way to an extent, so that none takes long to compute."""
ARITHMETIC = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "//": (2, operator.floordiv),
    "%": (2, operator.mod),
}
"""By symbol: how strongly it binds, and what it does."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Integer arithmetic on extents and scalar parameters, such as ``n//2+1``.

    Parameters
    ----------
    text : str
        The expression without spaces; it decides equality.
    code : tuple of (str or int)
        The same in postfix order; names are variables, ``"-neg"`` negates.
    """

    text: str
    code: tuple[str | int, ...] = field(compare=False, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The variables, each once, in order of appearance."""
        return tuple(dict.fromkeys(c for c in self.code if isinstance(c, str) and c.isidentifier()))

    def value(self, variables: Mapping[str, int]) -> int:
        """Evaluate with integers for the names; no ``eval`` is involved.

        Raises
        ------
        ShapeError
            The arithmetic divides by zero, or gives an extent that no array can have.
        """
        found = self.computed(variables)
        check_extent(self.text, found)
        return found

    def computed(self, variables: Mapping[str, int]) -> int:
        """The same, where it need not be an extent.

        Raises
        ------
        ShapeError
            The arithmetic divides by zero, or takes numbers that are too large.
        """
        stack: list[int] = []
        for step in self.code:
            if isinstance(step, int):
                stack.append(step)
            elif step == "-neg":
                stack.append(-stack.pop())
            elif step in ARITHMETIC:
                right, left = stack.pop(), stack.pop()
                if step in ("//", "%") and right == 0:
                    raise ShapeError(
                        f"extent {self.text!r} divides by zero", hint="pass other scalars, or fix the arithmetic"
                    )
                stack.append(ARITHMETIC[step][1](left, right))
            else:
                stack.append(variables[step])
            if stack[-1].bit_length() > _MOST_BITS:
                check_extent(self.text, stack[-1])
        return stack[0]

    def __str__(self) -> str:
        return self.text


def check_extent(text: str, value: int) -> None:
    """Refuse an extent that no array can have.

    Raises
    ------
    ShapeError
    """
    if not 0 <= value < 2**63:
        raise ShapeError(
            f"extent {text!r} is {in_digits(value)}, expected 0 or more, and less than 2**63",
            hint="pass other scalars, or fix the arithmetic",
        )


def in_digits(value: int) -> str:
    """An integer as messages show it; Python does not print one of thousands of digits."""
    return str(value) if abs(value) < 2**64 else f"an integer of {value.bit_length()} bits"


Size: TypeAlias = int | Extent
"""A number, or arithmetic on scalar parameters and named whole axes, which a call makes one."""


def names_of(*sizes: Size | None) -> tuple[str, ...]:
    """The variables of these, each once."""
    return tuple(dict.fromkeys(name for size in sizes if isinstance(size, Extent) for name in size.names))


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of an operand or a result.

    Parameters
    ----------
    kind : {"split", "whole", "ellipsis", "unknown"}
        ``i``, ``:``, ``...`` and ``?``.
    name : str or None
        The index of a split axis, the name of a whole axis' extent, or the group of an
        ellipsis: ``""`` in the notation; in the explicit spelling operands with no ``align``
        between them have different groups.
    below, above : int or Extent
        Elements around the block of each element of the index. The text of an :class:`Extent` is what the line adds to
        the index at that end of the window, with its sign.
    scale : int or Extent
        Elements of this axis for each element of the index.
    written : bool
        A window of nothing more, ``i..i``.
    extent : Extent or None
        What the extent is computed from (``i=EXPR``, ``:EXPR``, ``@g=EXPR``).
    scan : {"up to", "from", None}
        A result has there, for each element, what all up to it give (``..i``), or all from it on (``i..``).
    key : str or None
        Of a whole axis: the operand whose elements say the places along it (``@g``).
    column : int
        Where it stands in the line; takes no part in equality.
    """

    kind: Literal["split", "whole", "ellipsis", "unknown"]
    name: str | None = None
    below: Size = 0
    above: Size = 0
    scale: Size = 1
    extent: Extent | None = None
    written: bool = False
    scan: Literal["up to", "from"] | None = None
    key: str | None = None
    column: int = field(default=0, compare=False, repr=False)

    @property
    def window(self) -> bool:
        """Whether it is written with ``..``, and may have a boundary."""
        return bool(self.written or self.below or self.above)

    def __str__(self) -> str:
        if self.scan:
            return f"..{self.name}" if self.scan == "up to" else f"{self.name}.."
        if self.kind == "ellipsis":
            return "..."
        if self.key:
            return f"@{self.key}" + (f"={self.extent.text}" if self.extent else "")
        if self.kind == "unknown":
            return "?"
        if self.kind == "whole":
            return ":" + (self.name or (self.extent.text if self.extent else ""))
        scaled = f"{self.scale}*{self.name}" if self.scale != 1 else str(self.name)
        if self.window:
            low, high = self._ends
            return f"{scaled}{low}..{scaled}{high}"
        return scaled + (f"={self.extent.text}" if self.extent else "")

    @property
    def sizes(self) -> tuple[Size, Size, Size]:
        """Elements below, above and to each element of the index."""
        return self.below, self.above, self.scale

    def sized(self, variables: Mapping[str, int]) -> tuple[int, int, int]:
        """The same as numbers.

        Raises
        ------
        ShapeError
            Their arithmetic divides by zero, or takes numbers that are too large.
        """
        below, above, scale = (n.computed(variables) if isinstance(n, Extent) else n for n in self.sizes)
        return below, above, scale

    @property
    def _ends(self) -> tuple[str, str]:
        """What is added to the index at both ends of its window, with signs."""
        low, high = self.below, self.above
        if isinstance(high, int) and isinstance(self.scale, int):
            high += self.scale - 1
        return _signed(low if isinstance(low, Extent) else -low), _signed(high)


def _signed(size: Size) -> str:
    return size.text if isinstance(size, Extent) else f"{size:+}" if size else ""


WINDOWS = "a window holds all that goes with its index: i-1..i+1, i..i+2 or 2*i-1..2*i+2; a block is 2*i"


def wrong_sizes(below: int, above: int, scale: int) -> str:
    """Why no window has these sizes, in words; empty where one has."""
    if scale < 1:
        return f"a block of {in_digits(scale)} elements, expected at least 1"
    if max(map(abs, (below, above, scale))) >= 2**62:
        return "a halo that is larger than an array can be"
    if below < 0 or above < 0:
        lost = "the index itself" if scale == 1 else "some of its block"
        return f"a halo from {-below:+} to {above + scale - 1:+} leaves out {lost}"
    return ""


@dataclass(frozen=True, slots=True)
class Term:
    """One operand, index space (no name) or result.

    Parameters
    ----------
    name : str or None
    axes : tuple of Axis
    op : Operator or None
        How partial results are combined.
    accumulate : bool
        The buffer's content before the call takes part (``Reduce`` of the explicit spelling).
    starred : bool
        The operand stands for any number of arrays with these axes.
    column : int
        Where its name stands in the line.
    separator : str
        What is printed between axes, as its author writes it. Column and separator take no part in equality.
    """

    name: str | None
    axes: tuple[Axis, ...]
    op: Operator | None = None
    accumulate: bool = False
    starred: bool = False
    column: int = field(default=0, compare=False, repr=False)
    separator: str = field(default=", ", compare=False, repr=False)

    @property
    def ellipsis(self) -> Axis | None:
        """The leading ``...``, if there is one."""
        return self.axes[0] if self.axes and self.axes[0].kind == "ellipsis" else None

    @property
    def written(self) -> tuple[Axis, ...]:
        """The axes after the ellipsis, as an array has them."""
        return self.axes[1:] if self.ellipsis else self.axes

    @property
    def diagonals(self) -> tuple[tuple[int, int], ...]:
        """The pairs of these that have the same index, of which a body gets the diagonal; by the second of each."""
        first: dict[str, int] = {}
        split = [(n, str(a.name)) for n, a in enumerate(self.written) if a.kind == "split"]
        return tuple((first[i], n) for n, i in split if first.setdefault(i, n) != n)

    @property
    def named(self) -> tuple[Axis, ...]:
        """The axes after the ellipsis, as a body sees them: a diagonal stands at the first of its two."""
        gone = {second for _, second in self.diagonals}
        return tuple(a for n, a in enumerate(self.written) if n not in gone) if gone else self.written

    @property
    def keys(self) -> tuple[Axis, ...]:
        """The axes along which another operand says the places."""
        return tuple(a for a in self.axes if a.key)

    @property
    def haloed(self) -> bool:
        """Whether some axis has a halo."""
        return any(a.below or a.above for a in self.axes)

    @property
    def scan(self) -> Axis | None:
        """The axis along which a result is scanned, if there is one."""
        return next((a for a in self.axes if a.scan), None)

    def placed(self, column: int) -> Term:
        """The same term where it is printed from this column on, with the columns of all its parts."""
        start = column + (len(self.op) + 1 if self.op else 0)
        inside = start + len(self.name or "") + self.starred + 1
        axes = []
        for axis in self.axes:
            axes.append(replace(axis, column=inside))
            inside += len(f"{axis}{self.separator}")
        return replace(self, axes=tuple(axes), column=start)

    def __str__(self) -> str:
        head = f"{self.op} " if self.op else "*" if self.starred else ""
        return f"{head}{self.name or ''}[{self.separator.join(map(str, self.axes))}]"


def indices_of(terms: tuple[Term, ...]) -> tuple[str, ...]:
    """The named split indices in order of appearance."""
    return tuple(dict.fromkeys(a.name for t in terms for a in t.axes if a.kind == "split" and a.name))
