"""DataArrays of xarray: a call on the arrays in them, with dimensions that go with the notation's names.

Either all names that the notation has for an operand's axes, indices and extents of whole axes, are dimensions of the
operand, and then these say which axis is which; or none is, and axes go by position. In both cases one dimension stands
for a name in all operands, and results have it, too. Axes of ``...`` go by the names of their dimensions as in xarray.
The second axis of a name that an operand has twice is one without a name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from xpdispatch.arrays.namespaces import library_of
from xpdispatch.errors import ArgumentError, ShapeError, UnsupportedError
from xpdispatch.language.terms import Axis, Term
from xpdispatch.planning.definition import Definition


class Operand(NamedTuple):
    """A DataArray and the dimensions of its axes: those of ``...``, and one for each axis after them."""

    term: Term
    array: Any
    more: tuple[Hashable, ...]
    dims: tuple[Hashable, ...]

    @property
    def named(self) -> Iterator[tuple[Axis, Hashable]]:
        """The axes that have a name of their own, each with its dimension."""
        found = zip(self.term.written, _names_in(self.term), self.dims, strict=True)
        return ((axis, dim) for axis, name, dim in found if name)


class Names(NamedTuple):
    """What the dimensions of a call's DataArrays say.

    Attributes
    ----------
    operands : list of Operand
    dims : dict of str to hashable
        By index, or extent of a whole axis, its dimension.
    more : tuple of hashable
        The dimensions of ``...``.
    """

    operands: list[Operand]
    dims: dict[str, Hashable]
    more: tuple[Hashable, ...]


def run(definition: Definition, kernel: Callable[..., Any], values: Sequence[Any]) -> list[Any]:
    """The results of a call of a kernel, with dimensions and coordinates.

    Raises
    ------
    XPDispatchError
        Dimensions or coordinates do not fit; or whatever the call on the arrays raises.
    """
    names, arrays = by_position(definition, values)
    body, count = definition.body, len(definition.body.slots)
    written = [None if at is None else arrays[at] for at in body.written_at]
    outs = tuple([None if at is None or at < count else arrays[at] for at in body.given_at])
    out = None if all(o is None for o in outs) else outs
    parameters = [slot.name for slot in body.slots]
    found = kernel(**dict(zip(parameters, arrays, strict=False)), out=out)
    results = [found] if body.results == 1 else found
    coords = _coords(definition, names)
    return [
        _with_dims(term, result, names, coords) if target is None else result
        for term, result, target in zip(definition.signature.results, results, written, strict=True)
    ]


def by_position(definition: Definition, values: Sequence[Any]) -> tuple[Names, list[Any]]:
    """What the dimensions say, and the values with arrays in the place of DataArrays: axes as the notation has them."""
    body, arrays = definition.body, list(values)
    for r, (at, updated) in enumerate(zip(body.written_at, body.updated, strict=True)):
        if at is not None and library_of(values[at]) == "xarray":
            name = definition.signature.results[r].name
            what = "is read and written in place" if updated is not None else "is to be written"
            raise ArgumentError(
                f"result {name!r} {what}, and got a DataArray", hint=f"pass its array, {name}.data, axes by position"
            )
    found = [
        (term, at, values[at])
        for term, at in zip(definition.operands, body.operand_at, strict=True)
        if library_of(values[at]) == "xarray"
    ]
    matched = [(term, at, array, _is_matched(term, array)) for term, at, array in found]
    by_name = [term for term, _, _, how in matched if how]
    for term, _, array, how in matched:
        if how is False and by_name:
            raise _mixed(term, array, f"none has a name of the notation's, and those of {by_name[0].name!r} have")
    operands = [_operand(term, array, by_name=bool(how)) for term, _, array, how in matched]
    names = _names_of(operands)
    _check_coords(definition, names)
    for (_, at, _), operand in zip(found, operands, strict=True):
        arrays[at] = _in_order(operand, names)
    return names, arrays


def _names_in(term: Term) -> list[str | None]:
    """The name of each axis; None where it has none, or that of an axis before it."""
    names = [axis.name for axis in term.written]
    return [None if name in names[:n] else name for n, name in enumerate(names)]


def _is_matched(term: Term, array: Any) -> bool | None:
    """Whether dimensions have the names of the notation; None where it has none for this operand's axes."""
    wanted = [name for name in _names_in(term) if name]
    hits = [name for name in wanted if name in array.dims]
    if hits and len(hits) < len(wanted):
        missing = [name for name in wanted if name not in hits]
        raise _mixed(term, array, f"of the notation's names {_listed(hits)} is there and {_listed(missing)} is not")
    return bool(hits) if wanted else None


def _mixed(term: Term, array: Any, which: str) -> ShapeError:
    wanted = [name for name in _names_in(term) if name]
    missing = [name for name in wanted if name not in array.dims]
    others = [dim for dim in array.dims if dim not in wanted]
    new = dict(zip(others, missing, strict=True)) if len(missing) == len(others) else "{...}"
    return ShapeError(
        f"argument {term.name!r} has dimensions {array.dims}: {which}; expected all of {_listed(wanted)} in any order, "
        "or in no operand any",
        column=term.column,
        hint=f"rename them, {term.name}.rename({new}), or pass {term.name}.data with its axes in the notation's order, "
        f"{term.name}.transpose(...).data",
    )


def _listed(names: Sequence[str | None]) -> str:
    return ", ".join(map(str, names))


def _operand(term: Term, array: Any, *, by_name: bool) -> Operand:
    """Which dimension each axis has."""
    names = [name if by_name else None for name in _names_in(term)]
    rest = [dim for dim in array.dims if dim not in names]
    lead = len(rest) - names.count(None)
    if lead < 0 or (lead and not term.ellipsis):
        raise ShapeError(
            f"argument {term.name!r} has dimensions {array.dims}, expected {len(term.written)}"
            f"{' or more' if term.ellipsis else ''}",
            column=term.column,
            hint=f"select along the others, {term.name}.isel(...), or add '...' to the notation",
        )
    following = iter(rest[lead:])
    dims = tuple([name or next(following) for name in names])
    return Operand(term, array, tuple(rest[:lead]), dims)


def _names_of(operands: Sequence[Operand]) -> Names:
    """One dimension for each name, and those of ``...`` in the order of their appearance."""
    dims: dict[str, tuple[Hashable, Operand]] = {}
    sizes: dict[Hashable, tuple[int, Operand]] = {}
    for operand in operands:
        name, array = operand.term.name, operand.array
        for axis, dim in operand.named:
            seen, first = dims.setdefault(str(axis.name), (dim, operand))
            if seen != dim:
                raise ShapeError(
                    f"argument {name!r} has dimension {dim!r} along {axis.name}, but {first.term.name!r} has {seen!r}",
                    column=operand.term.column,
                    hint=f"put its axes in the notation's order, {name}.transpose(...); or, if they are, rename them, "
                    f"{name}.rename({{{dim!r}: {seen!r}}}), or pass {name}.data",
                )
        for dim in operand.more:
            extent = array.sizes[dim]
            size, first = sizes.setdefault(dim, (extent, operand))
            if size != extent:
                raise ShapeError(
                    f"argument {name!r} has extent {extent} along {dim!r}, but {first.term.name!r} has {size}",
                    column=operand.term.column,
                    hint="select the same part of both, or rename one: only dimensions of other names are broadcast",
                )
    return Names(list(operands), {name: dim for name, (dim, _) in dims.items()}, tuple(sizes))


def _in_order(operand: Operand, names: Names) -> Any:
    """The array with its axes in the notation's order, and an axis of extent 1 for what it lacks of ``...``."""
    more = [dim for dim in names.more if dim in operand.more]
    data = operand.array.transpose(*more, *operand.dims).data
    after = names.more[names.more.index(more[0]) :] if more else ()
    places = [slice(None) if dim in more else None for dim in after]
    return data[(*places, ...)] if None in places else data


# -- coordinates -------------------------------------------------------------------------------------------------------


def _kept(definition: Definition, operand: Operand) -> set[Hashable]:
    """The dimensions along which the operand has one element for each of its index."""
    found = {*operand.more}
    boundaries = dict(zip(operand.term.named, definition.boundaries.get(str(operand.term.name), ()), strict=False))
    for axis, dim in operand.named:
        if axis.scale == 1 and boundaries.get(axis) != "valid":
            found.add(dim)
    return found


def _check_coords(definition: Definition, names: Names) -> None:
    """Refuse operands whose indexes differ, as xarray's exact join does."""
    seen: dict[Hashable, tuple[Any, str]] = {}
    for operand in names.operands:
        kept, array = _kept(definition, operand), operand.array
        for name, index in array.xindexes.items():
            if not kept.issuperset(array.coords[name].dims):
                continue
            first, other = seen.setdefault(name, (index, str(operand.term.name)))
            if type(first) is not type(index) or not first.equals(index):
                raise ShapeError(
                    f"argument {operand.term.name!r} has other coordinates along {name!r} than {other!r}",
                    column=operand.term.column,
                    hint=f"align them first, xarray.align({other}, {operand.term.name}, join=...), or drop one's, "
                    f"{operand.term.name}.drop_vars({name!r})",
                )


def _coords(definition: Definition, names: Names) -> Any:
    """The coordinates of all operands, merged as xarray's arithmetic does: without those that contradict each other."""
    merged = sys.modules["xarray"].Dataset()
    for operand in names.operands:
        own = operand.array.coords.to_dataset()
        kept = _kept(definition, operand)
        merged = merged.coords.merge(own.drop_dims([dim for dim in own.sizes if dim not in kept]).coords)
    return merged


def _with_dims(term: Term, result: Any, names: Names, coords: Any) -> Any:
    xarray: Any = sys.modules["xarray"]
    if any(n != n for n in result.shape):  # noqa: PLR0124  NaN
        raise UnsupportedError(
            f"the extent of result {term.name!r} is not known before dask computes it, and xarray needs it",
            column=term.column,
            hint="call x.compute() of the DataArrays before, or pass their dask arrays, x.data",
        )
    lead = result.ndim - len(term.written)
    more = names.more[max(0, len(names.more) - lead) :] if term.ellipsis else ()
    dims: list[Hashable] = [f"dim_{n}" for n in range(lead - len(more))] + list(more)
    for axis in term.written:
        dims.append(names.dims.get(axis.name, axis.name) if axis.name else f"dim_{len(dims)}")
    if len({*dims}) < len(dims):
        raise ShapeError(
            f"result {term.name!r} would have dimensions {tuple(dims)}, expected different ones",
            column=term.column,
            hint="rename a dimension of an operand, or pass .data",
        )
    sizes: Mapping[Hashable, int] = dict(zip(dims, result.shape, strict=True))
    own = coords.drop_dims([dim for dim, size in coords.sizes.items() if sizes.get(dim) != size])
    keeps = xarray.get_options()["keep_attrs"] is True
    attrs = names.operands[0].array.attrs if keeps else None
    return xarray.DataArray(result, own.coords, dims, str(term.name), attrs)
