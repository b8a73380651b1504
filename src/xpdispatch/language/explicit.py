"""The explicit spelling: parameter roles and constraints become the same Signature as index notation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union, get_args, get_origin

from xpdispatch.errors import SignatureError
from xpdispatch.language.constraints import BESIDE, check_images, checked_constraints, kept_whole, known, names_in
from xpdispatch.language.notation import OPERATORS, Axis, Constraint, Operator, Signature, Term


@dataclass(frozen=True, slots=True)
class Role:
    """What a body does with an array parameter: in, out, inout or reduce."""

    kind: str
    op: Operator | None = None


In: TypeAlias = Annotated[Any, Role("in")]
"""Annotation of a parameter whose array the body reads."""

Out: TypeAlias = Annotated[Any, Role("out")]
"""Annotation of a parameter whose array the body writes."""

InOut: TypeAlias = Annotated[Any, Role("inout")]
"""Annotation of a parameter whose array the body reads and writes."""

if TYPE_CHECKING:
    Reduce: TypeAlias = list  # type checkers cannot follow Reduce["sum"]; this at least takes a subscript
else:

    class Reduce:
        """Annotation of a parameter into which tiles are combined: ``Reduce["sum"]``.

        As in Legate the content before the call takes part in the result.
        """

        def __class_getitem__(cls, op: Any) -> Any:
            # Linters take the quotes off where annotations are not evaluated: Reduce[sum] is meant then.
            op = getattr(op, "__name__", op)
            if op not in OPERATORS:
                raise SignatureError(f"Reduce[{op!r}] names no operator", hint="use one of " + ", ".join(OPERATORS))
            return Annotated[Any, Role("reduce", op)]


def roles_of(function: Callable[..., Any]) -> dict[str, Role]:
    """The array parameters of a body that spells its roles out, in order."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except Exception as error:
        raise SignatureError(
            f"an annotation cannot be evaluated: {error}",
            hint="import In, Out, InOut and Reduce from xpdispatch at module level",
        ) from error
    found: dict[str, Role] = {}
    for name, parameter in parameters.items():
        annotation = parameter.annotation
        for option in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,):
            if option is Reduce:
                raise SignatureError(
                    f"parameter {name!r} is a Reduce that names no operator",
                    hint='write Reduce["sum"]; the operators are ' + ", ".join(OPERATORS),
                )
            found.update((name, extra) for extra in get_args(option)[1:] if isinstance(extra, Role))
    return found


def signature_of(roles: dict[str, Role], constraints: Iterable[Constraint], taken: Collection[str] = ()) -> Signature:
    """Build the one :class:`~xpdispatch.language.notation.Signature` from roles and constraints.

    Parameters
    ----------
    roles : dict of str to Role
        Array parameters in order.
    constraints : iterable of Constraint
    taken : collection of str
        Names that indices must not have.

    Returns
    -------
    Signature
        Where all arrays are aligned and nothing is broadcast, the very value that
        ``"x[...], y[...] -> z[...]"`` parses to; where scale and bloat say it all, that of ``"u[i-1..i+1] -> y[i]"``.
    """
    constraints = checked_constraints(constraints)
    for constraint in constraints:
        for name in names_in(constraint):
            known(name, roles)
    groups = _groups(roles, constraints)
    whole: dict[str, tuple[int, ...] | None] = {n: axes for c in constraints for n, axes in kept_whole(c)}
    _check_results(roles, groups, whole)
    axes = _ranked_axes(roles, groups, constraints, whole, taken)
    loose = whole.keys() - axes.keys()
    one_group = len(set(groups.values())) <= 1 and not loose
    terms = {
        n: Term(n, axes.get(n, (Axis("ellipsis", "" if one_group else groups[n]),)), r.op, r.kind == "reduce")
        for n, r in roles.items()
    }
    operands = tuple(terms[n] for n, r in roles.items() if r.kind in ("in", "inout"))
    results = tuple(terms[n] for n, r in roles.items() if r.kind != "in")
    _check_extents(operands, results)
    own = [c for c in constraints if c.kind in BESIDE] if one_group else constraints
    signature = Signature(operands, results, tuple(own))
    check_images(signature)
    return signature


def _ranked_axes(
    roles: dict[str, Role],
    groups: dict[str, str],
    constraints: Sequence[Constraint],
    whole: dict[str, tuple[int, ...] | None],
    taken: Collection[str],
) -> dict[str, tuple[Axis, ...]]:
    """The axes of every array in a group whose number of axes scale or bloat tell."""
    cells, ranks = _cells(roles, groups, constraints)
    fresh = iter(n for n in "ijklmnpqrstuvwabcdefgh" if n not in {*roles, *taken})
    indices = {group: [next(fresh) for _ in range(rank)] for group, rank in ranks.items()}
    kept = {
        indices[groups[name]][axis]
        for name, axes in whole.items()
        if groups[name] in indices
        for axis in (range(ranks[groups[name]]) if axes is None else axes)
        if axis < ranks[groups[name]]
    }

    def axis(name: str, index: str, below: int, above: int, scale: int) -> Axis:
        if index not in kept:
            return Axis("split", index, below=below, above=above, scale=scale)
        if below or above or scale != 1:
            raise SignatureError(
                f"an axis of {name!r} has a halo or blocks and is kept whole as well",
                hint="leave out the broadcast: what is whole needs no halo and no blocks",
            )
        return Axis("whole", index)

    return {
        name: tuple(
            axis(name, index, *cell)
            for index, cell in zip(indices[group], cells.get(name) or repeat((0, 0, 1)), strict=False)
        )
        for name, group in groups.items()
        if group in indices
    }


def _cells(
    roles: dict[str, Role], groups: dict[str, str], constraints: Sequence[Constraint]
) -> tuple[dict[str, list[tuple[int, int, int]]], dict[str, int]]:
    """By array the halo below and above and the cells of a block, for each axis; and the number of axes by group."""
    cells: dict[str, list[tuple[int, int, int]]] = {}
    ranks: dict[str, int] = {}
    for constraint in constraints:
        if constraint.kind not in ("scale", "bloat"):
            continue
        args: tuple[Any, ...] = constraint.args
        reach = (
            [(0, 0, n) for n in args[0]]
            if constraint.kind == "scale"
            else [(below, above, 1) for below, above in zip(args[-2], args[-1], strict=True)]
        )
        source, *names = names_in(constraint)
        if ranks.setdefault(groups[source], len(reach)) != len(reach):
            raise SignatureError(
                f"{constraint} is for {len(reach)} axes, and another constraint on these arrays for "
                f"{ranks[groups[source]]}",
                hint="give all of them equally many axes: scale and bloat cut these arrays together",
            )
        for name in names:
            if name in cells or name == source:
                raise SignatureError(
                    f"{constraint} gives {name!r} a second reach",
                    hint="say for each array once how its cells go with another's",
                )
            if constraint.kind == "bloat" and roles[name].kind != "in":
                raise SignatureError(
                    f"{constraint} gives {name!r} a halo, which the body writes", hint=f"annotate {name!r} with In"
                )
            cells[name] = reach
    for constraint in constraints:
        base = () if constraint.kind in BESIDE else names_in(constraint)
        for name in base[:1] if constraint.kind in ("scale", "bloat") else base:
            if name in cells:
                raise SignatureError(
                    f"{constraint} starts from {name!r}, which has a halo or blocks of its own",
                    hint="start from the array that has neither; scale and bloat take several arrays at once",
                )
    return cells, ranks


def _check_extents(operands: Sequence[Term], results: Sequence[Term]) -> None:
    """Where scale or bloat name the axes, an operand must have each of them, to tell its extent."""
    told = {a.name for t in operands for a in t.axes}
    for term in results:
        if any(a.kind in ("split", "whole") and a.name not in told for a in term.axes):
            raise SignatureError(
                f"no operand tells the extents of {term.name!r}", hint="annotate one of the arrays with In or InOut"
            )


def _check_results(roles: dict[str, Role], groups: dict[str, str], whole: dict[str, tuple[int, ...] | None]) -> None:
    if not any(r.kind != "in" for r in roles.values()):
        raise SignatureError("no parameter is written", hint='annotate one with Out, InOut or Reduce["sum"]')
    for name, role in roles.items():
        alone = sum(g == groups[name] for g in groups.values()) == 1
        if role.kind == "reduce" and alone and name not in whole:
            raise SignatureError(
                f"Reduce parameter {name!r} is neither aligned nor broadcast, so tiles would reduce into parts of it",
                hint=f'add broadcast("{name}"), or align("{name}", ...) with the array it goes with',
            )


def _groups(roles: dict[str, Role], constraints: tuple[Constraint, ...]) -> dict[str, str]:
    """Name of the first parameter of each set of aligned parameters."""
    group = {name: name for name in roles}
    for constraint in constraints:
        if constraint.kind not in ("align", "scale", "bloat"):
            continue
        names = names_in(constraint)
        merged = {group[n] for n in names}
        first = next(n for n in roles if group[n] in merged)
        group = {n: (group[first] if g in merged else g) for n, g in group.items()}
    return group
