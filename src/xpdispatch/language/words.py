"""A signature in words, for ``help(kernel)``: one sentence for each thing that the line says."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from xpdispatch.language.boundaries import PADS, Boundaries, Boundary
from xpdispatch.language.constraints import Constraint
from xpdispatch.language.signature import Signature
from xpdispatch.language.terms import Axis, Term, names_of

_COMBINED = {
    "sum": "summed",
    "prod": "multiplied",
    "max": "combined by their maximum",
    "min": "combined by their minimum",
    "any": "combined by or",
    "all": "combined by and",
    "xor": "combined by exclusive or",
    "fold": "merged by the kernel's own fold=, in the order of the tiles",
}

_CUT = ("split", "ellipsis")


def parallel(signature: Signature) -> str:
    """Along which indices the tiles of a call may be computed at once.

    Examples
    --------
    >>> from xpdispatch import Signature
    >>> parallel(Signature.parse("A[m,k], B[k,n] -> sum C[m,n]"))
    'parallel along m, k and n'
    >>> parallel(Signature.parse("x[:] -> y[:]"))
    'in one piece'
    """
    along, uncut = list(signature.indices), _uncut(signature)
    if any(t.ellipsis for t in signature.operands if t.name not in uncut):
        along.insert(0, "the axes under '...'")
    return f"parallel along {_listed(along)}" if along else "in one piece"


def in_words(
    signature: Signature, boundaries: Boundaries = MappingProxyType({}), scalars: Sequence[str] = ()
) -> tuple[str, ...]:
    r"""What a line of index notation says, in sentences.

    Parameters
    ----------
    signature : Signature
    boundaries : Boundaries, optional
        What lies outside the operands with a halo.
    scalars : sequence of str, optional
        The parameters that are not arrays.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from xpdispatch import Signature
    >>> print(*in_words(Signature.parse("x[i], y[i] -> z[i]")), sep="\n")
    It runs parallel along i.
    x and y are cut along i, at the same places.
    z is put together from the tiles along i.
    >>> print(*in_words(Signature.parse("data[i] -> sum hist[:bins]"), scalars=["bins"]), sep="\n")
    It runs parallel along i.
    data is cut along i.
    hist is whole in every tile, and the tiles' hist are summed. It has bins elements.
    bins is the same in every tile.
    """
    said = [*_indices(signature), *_ellipses(signature)]
    how = parallel(signature)
    uncut, imaged = _uncut(signature), {c.names[1] for c in signature.constraints if c.kind == "image"}
    kept = [
        _shown(t)
        for t in signature.operands
        if t.name
        and not t.keys
        and t.name not in imaged
        and (t.name in uncut or not any(a.kind in _CUT for a in t.axes))
    ]
    if kept and said:
        said.append(f"{_listed(kept)} {_be(kept)} whole in every tile.")
    for term in signature.operands:
        said += _operand(term, boundaries.get(str(term.name), ()))
    said += [_result(signature, term) for term in signature.results]
    for constraint in signature.constraints:
        said += _constraint(constraint)
    if scalars:
        said.append(f"{_listed(scalars)} {_be(scalars)} the same in every tile.")
    return f"It runs {how}.", *said


def _indices(signature: Signature) -> list[str]:
    """One sentence for all indices that cut the same operands."""
    by_operands: dict[tuple[str, ...], list[str]] = {}
    for index in signature.indices:
        cut = [_shown(t) for t in signature.operands if t.name and any(_is(a, index) for a in t.axes)]
        by_operands.setdefault(tuple(cut), []).append(index)
    said = []
    for names, indices in by_operands.items():
        if names:
            together = ", at the same places" if _be(names) == "are" else ""
            said.append(f"{_listed(names)} {_be(names)} cut along {_listed(indices)}{together}.")
        for index in indices:
            axes = (a for t in (*signature.operands, *signature.results) for a in t.axes if _is(a, index))
            extent = next((a.extent for a in axes if a.extent), None)
            if extent and not names:
                said.append(f"{index} runs over {extent} elements, of which no array is needed.")
            elif extent:
                said.append(f"{index} has {extent} elements.")
    return said


def _ellipses(signature: Signature) -> list[str]:
    groups: dict[str, list[Term]] = {}
    uncut = _uncut(signature)
    for term in signature.operands:
        if term.ellipsis and term.name not in uncut:
            groups.setdefault(str(term.ellipsis.name), []).append(term)
    said = []
    for terms in groups.values():
        cut = [_shown(t) for t in terms]
        axes = "all their axes" if all(not t.named for t in terms) else "their leading axes"
        if len(cut) > 1 or terms[0].starred:
            said.append(f"{_listed(cut)} are cut along {axes}, at the same places, and broadcast as in NumPy.")
        else:
            said.append(f"{cut[0]} is cut along {axes.replace('their', 'its')}.")
    return said


def _operand(term: Term, boundaries: Sequence[Boundary | None]) -> list[str]:
    if not term.name:
        return []
    said = [f"Of {_shown(term)} a body gets the diagonal along {term.written[n].name}." for n, _ in term.diagonals]
    for axis in term.keys:
        place = term.axes.index(axis)
        where = f" along axis {place - len(term.axes) if term.ellipsis else place}" if len(term.axes) > 1 else ""
        said.append(f"A tile of {_shown(term)} has the elements that {axis.key} names{where}.")
    if term.keys or any(a.kind in _CUT for a in term.axes):
        uncut = [n for n, a in enumerate(term.axes) if a.kind == "whole" and not a.key]
        whole = [n - len(term.axes) if term.ellipsis else n for n in uncut]
        if whole:
            said.append(_all_of(_shown(term), [str(n) for n in whole]))
    for axis in term.axes:
        if axis.window and names_of(*axis.sizes):
            said.append(f"Each element of {axis.name} goes with the elements {axis} of {_shown(term)}.")
            continue
        if axis.scale != 1:
            said.append(f"Each element of {axis.name} goes with a block of {axis.scale} elements of {_shown(term)}.")
        if axis.below or axis.above:
            below, above, _ = axis.sized({})
            seen = [f"{_elements(n)} {where}" for n, where in ((below, "below"), (above, "above")) if n]
            said.append(f"Along {axis.name} a tile of {_shown(term)} also has {' and '.join(seen)} its own.")
        if axis.kind == "whole" and axis.extent and not axis.extent.names:
            said.append(f"An axis of {_shown(term)} has {axis.extent} elements.")
    outside = [(str(a.name), mode) for a, mode in zip(term.named, boundaries, strict=False) if mode is not None]
    if len({mode for _, mode in outside}) == 1:
        said.append(_outside(_shown(term), outside[0][1]))
    else:
        said += [_outside(f"{_shown(term)} along {index}", mode) for index, mode in outside]
    return said


def _outside(name: str, boundary: Boundary) -> str:
    if boundary == "clip":
        return f"Nothing lies outside {name}: the tiles at its ends are smaller."
    if boundary == "valid":
        return f"{name} is longer than its index by the elements around it."
    if boundary in PADS:
        return f"Outside {name} are the elements that numpy.pad puts there with mode {boundary!r}."
    return f"Outside {name} is {boundary!r}."


def _result(signature: Signature, term: Term) -> str:
    name = term.name
    if term.scan:
        return _scanned(term, term.scan)
    if any(a.kind == "unknown" for a in term.axes):
        return f"{name} has as many elements as the bodies return, joined in the order of the tiles."
    held = [str(a.name) for a in term.axes if a.kind == "split"] + (["..."] if term.ellipsis else [])
    updated = any(t.name == name for t in signature.operands)
    if updated:
        said = f"{name} is read and written"
    elif term.keys:
        named = _listed([str(a.key) for a in term.keys])
        said = f"Each element that the body returns goes to the cell of {name} that {named} "
        said += f"name{'' if len(term.keys) > 1 else 's'}, and those of one cell are {_COMBINED[str(term.op)]}"
    elif term.op is None:
        along = [n for n in held if n != "..."]
        said = f"{name} is put together from the tiles" if held else f"{name} is what the body returns"
        said += f" along {_listed(along)}" if along else ""
    else:
        axes = f"{'its leading' if term.named else 'all its'} axes"
        held = [axes if n == "..." else n for n in held]
        lies = "whole in every tile" if not held or name in _uncut(signature) else f"cut along {_listed(held)}"
        said = f"{name} is {lies}, and the tiles' {name} are {_COMBINED[term.op]}"
        if term.accumulate:
            said += ", with what it held before the call"
    sizes = [str(a.extent or a.name) for a in term.axes if a.kind == "whole" and (a.extent or a.name)]
    if len(sizes) == len(term.axes) == 1 and term.keys:
        said += f". Every tile has all {sizes[0]} cells"
    elif len(sizes) == len(term.axes) == 1:
        said += f". It has {sizes[0]} elements"
    elif sizes and not updated:
        said += f". Its whole {'axis has' if len(sizes) == 1 else 'axes have'} {_listed(sizes)} elements"
    blocks = [f"a block of {a.scale} elements for each element of {a.name}" for a in term.axes if a.scale != 1]
    if blocks and not updated:
        said += f". It has {_listed(blocks)}"
    return said + "."


def _scanned(term: Term, scan: Axis) -> str:
    how = _COMBINED[str(term.op)].removesuffix(", in the order of the tiles")
    carry = "the last element before it" if scan.scan == "up to" else "the first element after it"
    return f"{term.name} is a scan along {scan.name}: what a tile gives and {carry} are {how}."


def _uncut(signature: Signature) -> set[str]:
    """The arrays that a constraint of the explicit spelling keeps whole."""
    return {name for c in signature.constraints for name, axes in c.kept_whole.items() if axes is None}


def _constraint(constraint: Constraint) -> list[str]:
    names = constraint.names
    match constraint.kind:
        case "align":
            return [f"{_listed(names)} are cut at the same places."]
        case "broadcast":
            return [_all_of(n, [str(a) for a in axes]) for n, axes in constraint.kept_whole.items() if axes is not None]
        case "image":
            return [f"A tile has the part of {_listed(names[1:])} that its part of {names[0]} points to."]
        case "min_extents":
            return [f"Legate makes tiles of {_listed(names)} of at least {constraint.extents} elements, where it can."]
    return [f"The constraint {constraint} holds."]


def _all_of(name: str, axes: Sequence[str]) -> str:
    return f"Along {'axis' if len(axes) == 1 else 'axes'} {_listed(axes)} every tile has all of {name}."


def _elements(n: int) -> str:
    return "the element" if n == 1 else f"the {n} elements"


def _shown(term: Term) -> str:
    return f"all of {term.name}" if term.starred else str(term.name)


def _is(axis: Axis, index: str) -> bool:
    return axis.kind == "split" and axis.name == index


def _be(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 or names[0].startswith("all of ") else "is"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
