"""The explicit spelling: parameter roles and constraints become the same Signature as index notation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union, get_args, get_origin

from xpdispatch.errors import ArgumentError
from xpdispatch.language.constraints import BESIDE, Constraint, checked_constraints
from xpdispatch.language.signature import Role, Signature, check_images, check_named, in_roles
from xpdispatch.language.terms import OPERATORS, Axis, Term

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
                raise ArgumentError(
                    f"Reduce[{op!r}] does not name an operator", hint="use one of " + ", ".join(OPERATORS)
                )
            return Annotated[Any, Role("reduce", op)]


def roles_of(function: Callable[..., Any]) -> dict[str, Role]:
    """The array parameters of a body that spells its roles out, in order."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except Exception as error:
        raise ArgumentError(
            f"an annotation cannot be evaluated: {error}",
            hint="import In, Out, InOut and Reduce from xpdispatch at module level",
        ) from error
    found: dict[str, Role] = {}
    for name, parameter in parameters.items():
        annotation = parameter.annotation
        for option in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,):
            if option is Reduce:
                raise ArgumentError(
                    f"parameter {name!r} is a Reduce without an operator",
                    hint='write Reduce["sum"]; the operators are ' + ", ".join(OPERATORS),
                )
            found.update((name, extra) for extra in get_args(option)[1:] if isinstance(extra, Role))
    return found


def signature_of(roles: dict[str, Role], constraints: Iterable[Constraint], taken: Collection[str] = ()) -> Signature:
    """Build the one :class:`~xpdispatch.Signature` from roles and constraints.

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
        Where all arrays are aligned and nothing is broadcast, the very value of
        ``"x[...], y[...] -> z[...]"``; where scale and bloat say it all, that of ``"u[i-1..i+1] -> y[i]"``.

    Raises
    ------
    ArgumentError
        A constraint names something else than the roles do, contradicts another, or says too little.
    """
    constraints = checked_constraints(constraints)
    try:
        signature = _signature_of(roles, constraints, taken)
        check_images(signature)
    except ArgumentError as error:
        error.notation, error.column = "; ".join([in_roles(roles), *map(str, constraints)]), None
        raise
    return signature


def _signature_of(roles: dict[str, Role], constraints: Sequence[Constraint], taken: Collection[str]) -> Signature:
    for constraint in constraints:
        check_named(constraint, roles)
    groups = _groups(roles, constraints)
    whole = {name: axes for c in constraints for name, axes in c.kept_whole.items()}
    _check_results(roles, groups, whole)
    axes = _ranked_axes(roles, groups, constraints, whole, taken)
    one_group = len(set(groups.values())) <= 1 and whole.keys() <= axes.keys()
    terms = {
        n: Term(n, axes.get(n, (Axis("ellipsis", "" if one_group else groups[n]),)), r.op, r.kind == "reduce")
        for n, r in roles.items()
    }
    operands = tuple(terms[n] for n, r in roles.items() if r.kind in ("in", "inout"))
    results = tuple(terms[n] for n, r in roles.items() if r.kind != "in")
    told = {a.name for t in operands for a in t.axes}
    for term in results:
        if any(a.kind in ("split", "whole") and a.name not in told for a in term.axes):
            raise ArgumentError(
                f"no operand gives the extents of {term.name!r}", hint="annotate one of its arrays with In or InOut"
            )
    return Signature(operands, results, tuple(c for c in constraints if c.kind in BESIDE or not one_group))


def _groups(roles: dict[str, Role], constraints: Sequence[Constraint]) -> dict[str, str]:
    """Name of the first parameter of each set of aligned parameters."""
    group = {name: name for name in roles}
    for constraint in constraints:
        if constraint.kind in ("align", "scale", "bloat"):
            merged = {group[n] for n in constraint.names}
            first = next(n for n in roles if group[n] in merged)
            group = {n: (group[first] if g in merged else g) for n, g in group.items()}
    return group


def _check_results(roles: dict[str, Role], groups: dict[str, str], whole: Collection[str]) -> None:
    if all(r.kind == "in" for r in roles.values()):
        raise ArgumentError("the body writes no parameter", hint='annotate one with Out, InOut or Reduce["sum"]')
    for name, role in roles.items():
        alone = list(groups.values()).count(groups[name]) == 1
        if role.kind == "reduce" and alone and name not in whole:
            raise ArgumentError(
                f"Reduce parameter {name!r} is neither aligned nor broadcast, so tiles would reduce into parts of it",
                hint=f'add broadcast("{name}"), or align("{name}", ...) with the array it goes with',
            )


def _ranked_axes(
    roles: dict[str, Role],
    groups: dict[str, str],
    constraints: Sequence[Constraint],
    whole: dict[str, tuple[int, ...] | None],
    taken: Collection[str],
) -> dict[str, tuple[Axis, ...]]:
    """The axes of every array in a group whose number of axes scale or bloat give."""
    reaches, ranks = _reaches(roles, groups, constraints)
    fresh = iter(n for n in "ijklmnpqrstuvwabcdefgh" if n not in {*roles, *taken})
    indices = {group: [next(fresh) for _ in range(rank)] for group, rank in ranks.items()}
    kept = {
        indices[groups[name]][axis]
        for name, axes in whole.items()
        if groups[name] in indices
        for axis in (range(ranks[groups[name]]) if axes is None else axes)
        if axis < ranks[groups[name]]
    }
    found: dict[str, tuple[Axis, ...]] = {}
    for name, group in groups.items():
        if group in indices:
            reach = reaches.get(name, [(0, 0, 1)] * ranks[group])
            if any(i in kept and r != (0, 0, 1) for i, r in zip(indices[group], reach, strict=True)):
                raise ArgumentError(
                    f"an axis of {name!r} has a halo or blocks and is kept whole as well",
                    hint="leave out the broadcast: what is whole needs no halo and no blocks",
                )
            found[name] = tuple(
                Axis("whole", index) if index in kept else Axis("split", index, *sizes)
                for index, sizes in zip(indices[group], reach, strict=True)
            )
    return found


def _reaches(
    roles: dict[str, Role], groups: dict[str, str], constraints: Sequence[Constraint]
) -> tuple[dict[str, list[tuple[int, int, int]]], dict[str, int]]:
    """The halo below and above and the block of each axis, by array; and the number of axes, by group."""
    reaches: dict[str, list[tuple[int, int, int]]] = {}
    ranks: dict[str, int] = {}
    for constraint in constraints:
        if constraint.kind not in ("scale", "bloat"):
            continue
        halos = zip(constraint.low_offsets, constraint.high_offsets, strict=True)
        reach = [(0, 0, n) for n in constraint.factors] or [(below, above, 1) for below, above in halos]
        source, *names = constraint.names
        rank = ranks.setdefault(groups[source], len(reach))
        if rank != len(reach):
            raise ArgumentError(
                f"{constraint} is for {len(reach)} axes, and another constraint on these arrays for {rank}",
                hint="give all of them equally many axes: scale and bloat cut these arrays together",
            )
        for name in names:
            if name in reaches or name == source:
                raise ArgumentError(
                    f"{constraint} gives {name!r} a second halo or block",
                    hint="say once for each array how its elements go with another's",
                )
            if constraint.kind == "bloat" and roles[name].kind != "in":
                raise ArgumentError(
                    f"{constraint} gives {name!r} a halo, which the body writes", hint=f"annotate {name!r} with In"
                )
            reaches[name] = reach
    for constraint in constraints:
        if constraint.kind in BESIDE:
            continue
        for name in constraint.names[:1] if constraint.kind in ("scale", "bloat") else constraint.names:
            if name in reaches:
                raise ArgumentError(
                    f"{constraint} starts from {name!r}, which has a halo or blocks of its own",
                    hint="start from the array that has neither; scale and bloat take several arrays at once",
                )
    return reaches, ranks
