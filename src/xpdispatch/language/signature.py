"""How a kernel's arrays relate to each other: the one value that both spellings become."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from xpdispatch.errors import ArgumentError
from xpdispatch.language.constraints import BESIDE, Constraint, checked_constraints
from xpdispatch.language.notation import read
from xpdispatch.language.terms import Operator, Term, indices_of, names_of

Access: TypeAlias = Literal["in", "out", "inout", "reduce"]


@dataclass(frozen=True, slots=True)
class Role:
    """What a body does with an array parameter; prints as the annotation that says so."""

    kind: Access
    op: Operator | None = None

    def __str__(self) -> str:
        return {"in": "In", "out": "Out", "inout": "InOut", "reduce": f"Reduce[{self.op!r}]"}[self.kind]


def in_roles(roles: Mapping[str, Role]) -> str:
    """Array parameters as a body annotates them."""
    return ", ".join(f"{name}: {role}" for name, role in roles.items())


_IN_NOTATION = {
    "align": "give the arrays the same indices: x[i], y[i] -> z[i]",
    "broadcast": "write ':' for an axis that stays whole",
    "scale": "write 2*i for blocks of two",
    "bloat": "write i-1..i+1 for a halo",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """How a kernel's arrays relate to each other, axis by axis; it prints as the line that says so.

    Parameters
    ----------
    operands, results : tuple of Term
        Their columns are set to where they stand in the printed line.
    constraints : tuple of Constraint
        What the notation cannot express.
    """

    operands: tuple[Term, ...]
    results: tuple[Term, ...]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def parse(cls, text: str, constraints: Iterable[Constraint] = ()) -> Signature:
        """Read one line of index notation.

        Parameters
        ----------
        text : str
            Such as ``"A[m, k], B[k, n] -> sum C[m, n]"``.
        constraints : iterable of Constraint, optional
            Those that the notation cannot express: image and min_extents.

        Returns
        -------
        Signature

        Raises
        ------
        NotationError
            With a caret under the column where the reading stopped.
        ArgumentError
            A constraint that the notation can express, or that does not fit its operands.

        Examples
        --------
        >>> signature = Signature.parse("x[i],y[i] -> z[i]")
        >>> signature.indices
        ('i',)
        >>> print(signature)
        x[i], y[i] -> z[i]
        """
        signature = cls(*read(text), checked_constraints(constraints))
        try:
            for constraint in signature.constraints:
                if constraint.kind not in BESIDE:
                    raise ArgumentError(
                        f"{constraint} is given beside a notation, which can express it",
                        hint=f"{_IN_NOTATION[constraint.kind]}; only {' and '.join(BESIDE)} are given beside it",
                    )
                check_named(constraint, [str(t.name) for t in (*signature.operands, *signature.results) if t.name])
            check_images(signature)
        except ArgumentError as error:
            error.notation = str(signature)
            raise
        return signature

    def __post_init__(self) -> None:
        if self._explicit:
            line = f", {self.line}"
            start = {t.name: line.index(f", {t.name}: ") for t in (*self.operands, *self.results)}
            for side in ("operands", "results"):
                terms = (replace(t, column=start[t.name]) for t in getattr(self, side))
                placed = [replace(t, axes=tuple(replace(a, column=t.column) for a in t.axes)) for t in terms]
                object.__setattr__(self, side, tuple(placed))
            return
        left = ", ".join(map(str, self.operands))
        for side, first in (("operands", 0), ("results", len(f"{left} -> ".lstrip()))):
            found: list[Term] = []
            for term in getattr(self, side):
                before = sum(len(f"{t}, ") for t in found)
                found.append(term.placed(first + before))
            object.__setattr__(self, side, tuple(found))

    def __str__(self) -> str:
        return "; ".join([self.line, *map(str, self.constraints)])

    @property
    def line(self) -> str:
        """The arrays without the constraints: index notation, or roles where it cannot express them."""
        if self._explicit:
            return in_roles(self.roles)
        return f"{', '.join(map(str, self.operands))} -> {', '.join(map(str, self.results))}".strip()

    @property
    def keys(self) -> frozenset[str]:
        """The operands whose elements are keys, by name."""
        return frozenset([str(axis.key) for term in (*self.operands, *self.results) for axis in term.keys])

    @property
    def roles(self) -> dict[str, Role]:
        """What the body does with each array, by name: the operands in order, then the other results."""
        found = {str(t.name): Role("in") for t in self.operands}
        for term in self.results:
            kind: Access = "reduce" if term.op else "inout" if term.name in found else "out"
            found[str(term.name)] = Role(kind, term.op)
        return found

    @property
    def _explicit(self) -> bool:
        ellipses = (t.ellipsis for t in (*self.operands, *self.results) if t.ellipsis)
        return any(t.accumulate for t in self.results) or any(axis.name for axis in ellipses)

    @property
    def indices(self) -> tuple[str, ...]:
        """The named split indices in order of appearance."""
        return indices_of((*self.operands, *self.results))

    @property
    def open_ended(self) -> bool:
        """Whether a result has an axis whose extent only the body knows."""
        return any(a.kind == "whole" and not (a.name or a.extent) for t in self.results for a in t.axes)

    @property
    def free_names(self) -> tuple[str, ...]:
        """Names in extents that no operand's axis defines: the body's scalar parameters."""
        known = {a.name for t in self.operands for a in t.axes if a.kind in ("split", "whole")}
        known |= {a.name for t in self.results for a in t.axes if a.kind == "split"}
        wanted: dict[str, None] = {}
        for term in (*self.operands, *self.results):
            for axis in term.axes:
                wanted.update(dict.fromkeys(names_of(axis.extent, *axis.sizes)))
                if not axis.extent and axis.kind == "whole" and axis.name:
                    wanted[axis.name] = None
        return tuple(name for name in wanted if name not in known)

    @property
    def size_names(self) -> tuple[str, ...]:
        """Names in the arithmetic of windows and blocks."""
        return names_of(*(size for t in (*self.operands, *self.results) for a in t.axes for size in a.sizes))

    @property
    def kept_whole(self) -> Mapping[str, tuple[int, ...] | None]:
        """The axes of ``...`` that constraints keep whole, by parameter; None means all."""
        ellipses = {t.name for t in (*self.operands, *self.results) if t.ellipsis}
        return {n: axes for c in self.constraints for n, axes in c.kept_whole.items() if n in ellipses}

    def with_operands(self, operands: Iterable[Term], names: Mapping[str, Sequence[str]]) -> Signature:
        """The same with other operands; `names` says what became of those that constraints may name."""
        found = (c.renamed(names) if c.kind in BESIDE else c for c in self.constraints)
        return replace(self, operands=tuple(operands), constraints=tuple(c for c in found if c))


def check_named(constraint: Constraint, arrays: Collection[str]) -> None:
    """Refuse a constraint that names something else than one of these arrays.

    Raises
    ------
    ArgumentError
    """
    for name in constraint.names:
        if name not in arrays:
            raise ArgumentError(
                f"{constraint} names {name!r}, which is not an array parameter of the body",
                hint=f"the array parameters are {', '.join(arrays)}",
            )


def check_images(signature: Signature) -> None:
    """Refuse images that no engine can cut, or that follow from themselves.

    Raises
    ------
    ArgumentError
    """
    owner: dict[str, str] = {}
    for constraint in signature.constraints:
        if constraint.kind == "image":
            _check_image(signature, constraint)
            function, *names = constraint.names
            for name in names:
                if owner.setdefault(name, function) != function or name == function:
                    raise ArgumentError(
                        f"{constraint} says a second time which part of {name!r} a tile gets",
                        hint="leave one of them out: one array points to another, and no array to itself",
                    )
    for name in owner:
        seen = [name]
        while seen[-1] in owner:
            seen.append(owner[seen[-1]])
            if seen[-1] == name:
                raise ArgumentError(
                    f"image constraints form a circle: {' follows '.join(map(repr, seen))}",
                    hint="leave one of them out: some array must be cut by an index",
                )


def _check_image(signature: Signature, constraint: Constraint) -> None:
    operands = {t.name: t for t in signature.operands}
    written = {t.name for t in signature.results}
    for name in constraint.names:
        if name not in operands or name in written:
            raise ArgumentError(
                f"{constraint} names {name!r}, which the body writes",
                hint="annotate it with In: images are of operands, from operands",
            )
        if operands[name].starred:
            raise ArgumentError(
                f"{constraint} names {name!r}, which stands for any number of arrays",
                hint="name the arrays one by one",
            )
    for name in constraint.names[1:]:
        term = operands[name]
        if name in signature.keys:
            raise ArgumentError(
                f"{constraint} cuts {name!r}, which holds keys",
                column=term.column,
                hint=f"leave it out: keys are an operand that is cut as it is, or whole, {name}[:]",
            )
        uncut = all(a.kind == "whole" and not a.key for a in term.axes)
        if not (term.axes and (name in signature.kept_whole or uncut)):
            raise ArgumentError(
                f"{constraint} cuts {name!r}, which has an axis that is cut otherwise",
                column=term.column,
                hint=f"write {name}[:]: all axes of an array that is pointed to are whole",
            )
    term = operands[constraint.names[0]]
    reaches = [(a.below, a.above, a.scale) for a in term.axes]
    if set(reaches) - {(0, 0, 1)} and reaches != [(0, 1, 1)]:
        raise ArgumentError(
            f"{constraint} follows {term.name!r}, which has a halo or blocks",
            column=term.column,
            hint=f"write {term.name}[i], or {term.name}[i..i+1] for the borders of ranges",
        )
