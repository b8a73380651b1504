"""Other notations for a kernel, near its own: those that might fix it, and those that might split it more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from typing import Any, Literal, NamedTuple

from xpdispatch.errors import XPDispatchError
from xpdispatch.language.constraints import BESIDE, Constraint, align, broadcast
from xpdispatch.language.explicit import signature_of
from xpdispatch.language.signature import Role, Signature
from xpdispatch.language.terms import OPERATORS, Axis, Extent, Size, Term, names_of
from xpdispatch.planning.definition import Definition

_PLAIN_OPERATORS = tuple(op for op in OPERATORS if op != "fold")


class Change(NamedTuple):
    """Another signature, and what was done to get it."""

    definition: Definition
    words: str


def fixes(definition: Definition, blamed: Sequence[str], result: int | None) -> Iterator[Change]:
    """Changes that might make a kernel right, the freest first.

    Parameters
    ----------
    definition : Definition
    blamed : sequence of str
        The indices that the smallest failing tiling cuts.
    result : int or None
        The result that differs.
    """
    signature = definition.signature
    named = [i for i in blamed if "..." not in i]
    if _explicit(signature):
        yield from _made(definition, _constraint_changes(signature))
        return
    yield from _made(definition, _operator_changes(signature, result))
    yield from _made(definition, _halo_changes(signature, named))
    if result not in definition.body.buffers:  # which would begin with the identity
        yield from _made(definition, _scan_changes(signature, named, result))
    groups = [g for count in range(1, len(named) + 1) for g in combinations(named, count)]
    # Another index may be at fault as well, which a smallest tiling does not show.
    groups += [(*named, i) for i in signature.indices if named and i not in named]
    for group in groups:
        changed = signature
        for index in group:
            changed = _whole(changed, index)
        yield from _made(definition, [(changed, f"keep {' and '.join(group)} whole")])


def freer(definition: Definition) -> Iterator[Change]:
    """Changes that split one axis more, and combine nothing that was not combined before."""
    signature = definition.signature
    taken = set(signature.indices) | {s.name for s in definition.body.slots}
    fresh = next(n for n in "ijklmnpqrstuvwabc" if n not in taken)
    names: dict[str, list[tuple[int, int]]] = {}
    anonymous: list[list[tuple[int, int]]] = []
    for t, term in enumerate(signature.operands):
        for a, axis in enumerate(term.axes):
            if axis.kind == "whole" and axis.name:
                names.setdefault(axis.name, []).append((t, a))
            elif axis.kind == "whole" and not (axis.extent or axis.key):
                anonymous.append([(t, a)])
    used = {n for t in signature.results for x in t.axes for n in names_of(x.extent)} | {*signature.size_names}
    for name, places in [*names.items(), *((fresh, p) for p in anonymous)]:
        if name not in used:
            yield from _made(definition, _split(signature, name, places))


def with_axis(term: Term, place: int, axis: Axis) -> Term:
    """The term with another axis at this place."""
    return replace(term, axes=(*term.axes[:place], axis, *term.axes[place + 1 :]))


def _made(definition: Definition, changes: Any) -> Iterator[Change]:
    for signature, words in changes:
        with suppress(XPDispatchError):  # a notation that contradicts itself fixes nothing
            yield Change(definition.with_signature(_read_again(signature)), words)


def _read_again(signature: Signature) -> Signature:
    """A changed notation, once more through the checks of the parser."""
    return signature if _explicit(signature) else Signature.parse(signature.line, signature.constraints)


def _explicit(signature: Signature) -> bool:
    return any(c.kind not in BESIDE for c in signature.constraints)


def _with(signature: Signature, operands: Sequence[Term], results: Sequence[Term]) -> Signature:
    return replace(signature, operands=tuple(operands), results=tuple(results))


def _operator_changes(signature: Signature, result: int | None) -> Iterator[tuple[Signature, str]]:
    if result is None or signature.results[result].op in (None, "fold"):
        return
    for op in _PLAIN_OPERATORS:
        if op != signature.results[result].op:
            results = list(signature.results)
            results[result] = replace(results[result], op=op)
            yield _with(signature, signature.operands, results), f"combine by {op}"


def _scan_changes(signature: Signature, indices: Sequence[str], result: int | None) -> Iterator[tuple[Signature, str]]:
    """A scan along a blamed index of a result that is none, or the other way of one that is."""
    if result is None:
        return
    term = signature.results[result]
    ways: tuple[Literal["up to"], Literal["from"]] = "up to", "from"
    for place, axis in enumerate(term.axes):
        if axis.name not in indices or axis.scale != 1 or axis.extent or (term.op and not axis.scan):
            continue
        for way in ways:
            for op in _PLAIN_OPERATORS if term.op is None else (term.op,) if axis.scan != way else ():
                results = list(signature.results)
                results[result] = replace(with_axis(term, place, replace(axis, scan=way)), op=op)
                yield _with(signature, signature.operands, results), f"scan along {axis.name}"


def _halo_changes(signature: Signature, indices: Sequence[str]) -> Iterator[tuple[Signature, str]]:
    """Wider and narrower halos of the operands that have one along a blamed index."""
    haloed = [
        (t, a)
        for t, term in enumerate(signature.operands)
        for a, axis in enumerate(term.axes)
        if axis.name in indices and axis.window
    ]
    if not haloed:
        return
    for below, above in ((0, -1), (-1, 0), (1, 0), (0, 1), (1, 1), (-1, -1), (2, 2)):
        operands = list(signature.operands)
        for t, a in haloed:
            operands[t] = with_axis(operands[t], a, _widened(operands[t].axes[a], below, above))
        if all(isinstance(n, Extent) or n >= 0 for t, a in haloed for n in operands[t].axes[a].sizes):
            shown = ", ".join(str(operands[t]) for t, _ in haloed)
            yield _with(signature, operands, signature.results), f"read another halo, {shown}"


def _widened(axis: Axis, below: int, above: int) -> Axis:
    """The axis with a window that holds so many elements more at both ends; arithmetic is yet to be read."""
    if isinstance(axis.below, Extent):
        low: Size = _shifted(axis.below, -below)
    else:
        low = axis.below + below
    high = _shifted(axis.above, above) if isinstance(axis.above, Extent) else axis.above + above
    return replace(axis, below=low, above=high, written=False)


def _shifted(bound: Extent, by: int) -> Extent:
    """What is added to an index, and `by` more."""
    number = re.search(r"(^|(?<=[\w)]))[+-]\d+$", bound.text)
    kept, more = (bound.text[: number.start()], int(number.group()) + by) if number else (bound.text, by)
    return Extent(f"{kept}{more:+}" if more else kept, bound.code)


def _whole(signature: Signature, index: str) -> Signature:
    """The signature with an index kept whole in every array."""

    def axis_of(axis: Axis) -> Axis:
        if axis.kind != "split" or axis.name != index:
            return axis
        return Axis("whole", extent=axis.extent) if axis.extent else Axis("whole", name)

    def term_of(term: Term) -> Term:
        return replace(term, axes=tuple(map(axis_of, term.axes)))

    axes = [a for t in (*signature.operands, *signature.results) for a in t.axes if a.name == index]
    plain = all(a.scale == 1 and not (a.below or a.above) for a in axes)
    name = index if plain and len(axes) > 1 else None
    operands = [term_of(t) for t in signature.operands if t.name or any(a.name != index for a in t.axes)]
    free = any(t.ellipsis for t in operands)
    left = {a.name for t in (*operands, *signature.results) for a in t.axes if a.kind == "split"} - {index}
    results = []
    for term in map(term_of, signature.results):
        kept = {a.name for a in term.axes if a.kind == "split"}
        combines = bool(left - kept) or (free and not term.ellipsis)
        results.append(replace(term, op=term.op if combines or term.keys else None))
    return _with(signature, operands, results)


def _constraint_changes(signature: Signature) -> Iterator[tuple[Signature, str]]:
    """Changes in the explicit spelling: one array more is aligned, combined or kept whole."""
    read = {t.name for t in signature.operands}
    roles = signature.roles
    groups = [c for c in signature.constraints if c.kind == "align"]
    others = [c for c in signature.constraints if c.kind != "align"]
    loose = [n for n in roles if n not in {m for c in groups for m in c.names}]
    changes: list[tuple[dict[str, Role], list[Constraint], str]] = []
    for name in loose:
        if name not in read and roles[name].kind == "out":
            for op in _PLAIN_OPERATORS:
                changed = {**roles, name: Role("reduce", op)}
                changes.append((changed, [*groups, *others], f'annotate {name!r} with Reduce["{op}"]'))
    for name in loose:
        if groups:
            more = align(*groups[0].names, name)
            changes.append((roles, [more, *groups[1:], *others], f"write {more}"))
    if loose and not groups and len(roles) > 1:
        changes.append((roles, [align(*roles), *others], f"write {align(*roles)}"))
    changes += [
        (roles, [*groups, *others, broadcast(name)], f"add {broadcast(name)}") for name in loose if name in read
    ]
    for changed, constraints, words in changes:
        with suppress(XPDispatchError):
            yield signature_of(changed, constraints), words


def _split(signature: Signature, name: str, places: Sequence[tuple[int, int]]) -> Iterator[tuple[Signature, str]]:
    """Split the whole axes at these places of the operands, and one whole axis of each result that has one."""
    operands = list(signature.operands)
    for t, a in places:
        operands[t] = with_axis(operands[t], a, Axis("split", name))
    choices: list[Signature] = [_with(signature, operands, signature.results)]
    for r, term in enumerate(signature.results):
        # A result has the new index too, on a whole axis that it has now, or else combines it as it does others.
        free = [a for a, axis in enumerate(term.axes) if axis.kind == "whole" and not axis.key]
        options = [a for a in free if term.axes[a].name in (None, name)]
        more = []
        for chosen in choices:
            for a in options:
                results = list(chosen.results)
                results[r] = with_axis(term, a, Axis("split", name))
                more.append(_with(chosen, chosen.operands, results))
            if term.op:
                more.append(chosen)
        choices = more[:8]
    shown = ", ".join(str(signature.operands[t]) for t, _ in places)
    for chosen in choices:
        yield chosen, f"axis {name} of {shown} is kept whole, and could be split"
