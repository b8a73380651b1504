"""The explicit spelling: parameter roles and Legate's constraints as plain values.

Both spellings end in one :class:`~xpdispatch.notation.Signature`. Names and meanings of the
constraints are Legate's own (https://docs.nvidia.com/legate, "Partitioning constraints").
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args

from xpdispatch.errors import SignatureError, UnsupportedError
from xpdispatch.notation import OPERATORS, Axis, Constraint, Operator, Signature, Term


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
                raise SignatureError(
                    f"Reduce[{op!r}] names no operator", hint="the operators are " + ", ".join(OPERATORS)
                )
            return Annotated[Any, Role("reduce", op)]


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
        elif len(item) == 2 and isinstance(item[0], str) and not isinstance(item[1], int | str):
            others.append((item[0], _axes(item[0], item[1])))
        elif position == 0:
            first = (name, _axes(name, item))
        else:
            raise SignatureError(
                f"broadcast got {item!r} where a parameter was expected", hint='broadcast("a", ("b", (0, 1)))'
            )
    _names("broadcast", [n for n, _ in (first, *others)], least=1)
    return Constraint("broadcast", (first, *others))


def scale(factors: Sequence[int], var_smaller: str, var_bigger: str) -> Constraint:
    """Cut `var_bigger` in blocks of `factors` cells to each cell of `var_smaller`."""
    _names("scale", (var_smaller, var_bigger), least=2)
    return Constraint("scale", (tuple(factors), var_smaller, var_bigger))


def bloat(var_source: str, var_bloat: str, low_offsets: Sequence[int], high_offsets: Sequence[int]) -> Constraint:
    """Give each tile of `var_bloat` more cells below and above than `var_source` has."""
    _names("bloat", (var_source, var_bloat), least=2)
    return Constraint("bloat", (var_source, var_bloat, tuple(low_offsets), tuple(high_offsets)))


def image(var_function: str, var_range: str, hint: str = "NO_HINT") -> Constraint:
    """Give each tile of `var_range` the cells that `var_function` points to."""
    _names("image", (var_function, var_range), least=2)
    return Constraint("image", (var_function, var_range, hint))


def min_extents(name: str, minimum_extents: Sequence[int]) -> Constraint:
    """Cut no tile of the array smaller than these extents."""
    _names("min_extents", (name,), least=1)
    return Constraint("min_extents", (name, tuple(minimum_extents)))


def _names(kind: str, names: Sequence[object], *, least: int) -> None:
    wrong = [n for n in names if not isinstance(n, str)]
    if wrong or len(names) < least:
        raise SignatureError(
            f"{kind} takes {least} or more names of parameters, got {', '.join(map(repr, names)) or 'none'}",
            hint=f'{kind}("x", "y")' if least > 1 else f'{kind}("x")',
        )


def _axes(name: str, axes: Iterable[object]) -> tuple[int, ...]:
    given = tuple(axes)
    checked = tuple(a for a in given if isinstance(a, int) and a >= 0)
    if checked != given:
        raise SignatureError(f"broadcast of {name!r} takes axes as integers >= 0, got {given!r}", hint="(0, 1)")
    return checked


def roles_of(function: Callable[..., Any]) -> dict[str, Role]:
    """The array parameters of a body that spells its roles out, in order."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except NameError as error:
        raise SignatureError(
            f"an annotation of {function.__name__!r} cannot be evaluated: {error}",
            hint="import In, Out, InOut and Reduce from xpdispatch at module level",
        ) from error
    found: dict[str, Role] = {}
    for name, parameter in parameters.items():
        for extra in get_args(parameter.annotation)[1:]:
            if isinstance(extra, Role):
                found[name] = extra
    return found


def signature_of(roles: dict[str, Role], constraints: Iterable[Constraint]) -> Signature:
    """Build the one :class:`~xpdispatch.notation.Signature` from roles and constraints.

    Parameters
    ----------
    roles : dict of str to Role
        Array parameters in order.
    constraints : iterable of Constraint

    Returns
    -------
    Signature
        Where all arrays are aligned and nothing is broadcast, the very value that
        ``"x[...], y[...] -> z[...]"`` parses to.
    """
    constraints = tuple(constraints)
    for constraint in constraints:
        if not isinstance(constraint, Constraint):
            raise SignatureError(
                f"constraints= holds {constraint!r}, expected align, broadcast, ...",
                hint="use xpdispatch.align and its like, not legate.core's own",
            )
        if constraint.kind not in ("align", "broadcast"):
            raise UnsupportedError(
                f"the constraint {constraint} is not supported yet", hint="only align and broadcast are, so far"
            )
    groups = _groups(roles, constraints)
    whole = {n: axes for c in constraints if c.kind == "broadcast" for n, axes in _broadcasts(c)}
    for name in whole:
        _known(name, roles)
    _check_results(roles, groups, whole)
    one_group = len(set(groups.values())) <= 1 and not whole
    terms = {
        n: Term(n, (Axis("ellipsis", "" if one_group else groups[n]),), r.op, r.kind == "reduce")
        for n, r in roles.items()
    }
    operands = tuple(terms[n] for n, r in roles.items() if r.kind in ("in", "inout"))
    results = tuple(terms[n] for n, r in roles.items() if r.kind != "in")
    return Signature(operands, results, () if one_group else constraints)


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
        if constraint.kind != "align":
            continue
        names = [str(n) for n in constraint.args]
        for name in names:
            _known(name, roles)
        merged = {group[n] for n in names}
        first = next(n for n in roles if group[n] in merged)
        group = {n: (group[first] if g in merged else g) for n, g in group.items()}
    return group


def _broadcasts(constraint: Constraint) -> Iterable[tuple[str, tuple[int, ...] | None]]:
    return constraint.args  # type: ignore[return-value]


def _known(name: str, roles: dict[str, Role]) -> None:
    if name not in roles:
        raise SignatureError(
            f"a constraint names {name!r}, which is no array parameter of the body",
            hint=f"the array parameters are {', '.join(roles)}",
        )


def whole_axes(signature: Signature) -> dict[str, tuple[int, ...] | None]:
    """The axes that broadcast constraints keep whole, by parameter; None means all."""
    found: dict[str, tuple[int, ...] | None] = {}
    for constraint in signature.constraints:
        if constraint.kind == "broadcast":
            found.update(_broadcasts(constraint))
    return found
