"""A call's arguments, before anything runs: what is refused, their one library, and numbers as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import name_of, nearest, no_promotion
from xpdispatch.arrays.namespaces import REFUSED, conversion_of, device_of, library_of, namespace_of
from xpdispatch.errors import ArgumentError, DTypeError, EngineError, ShapeError
from xpdispatch.language.boundaries import check_constant
from xpdispatch.language.signature import Signature
from xpdispatch.language.terms import Term
from xpdispatch.planning.definition import Call, Definition
from xpdispatch.planning.patterns import check_rank
from xpdispatch.planning.plan import Plan

quick_kinds: dict[type, Callable[[Any], Any]] = {}
"""For types of arrays that tell their shape slowly, what tells type, dtype and shape quickly; engines add theirs."""


def check_call(call: Call, shown: str) -> None:
    """Refuse what is not an array where one is wanted, and arrays where none is.

    `shown` is how such a call is written.

    Raises
    ------
    ArgumentError
    """
    definition = call.definition
    body = definition.body
    for slot in body.slots:
        if slot.scalar is not None:
            sized = any(slot.name == name for name, _ in definition.sized)
            _check_scalar(call, slot.name, call.scalars[slot.scalar], shown, sized=sized)
    for p, (term, value) in enumerate(zip(definition.operands, call.operands, strict=True)):
        _check_array(str(term.name), value, number_ok=p not in body.updated)
    for term, value in zip(definition.signature.results, call.given, strict=True):
        if value is not None:
            _check_array(str(term.name), value, number_ok=False)


def _check_scalar(call: Call, name: str, value: Any, shown: str, *, sized: bool) -> None:
    library = library_of(value)
    if library in ("number", "object", "list", "tuple") or isinstance(value, np.generic):
        return
    hint = f"add {_term_for(call, name, value)} to the notation, or check the order: {shown}"
    if sized:
        hint = f"{name!r} is an extent of the notation: pass int({name})"
    raise ArgumentError(
        f"argument {name!r} is an array, but the notation does not name it, so it is a scalar", hint=hint
    )


def _term_for(call: Call, name: str, value: Any) -> str:
    """How the notation would name an array: cut as an operand of its shape, or whole in every tile."""
    shape = tuple(getattr(value, "shape", ()))
    whole = f"{name}[{', '.join(':' for _ in shape)}]"
    for term, operand in zip(call.definition.operands, call.operands, strict=True):
        if shape and tuple(getattr(operand, "shape", ())) == shape and not term.haloed:
            cut = f"{name}[{', '.join(map(str, term.axes))}]"
            return f"{cut} (cut as {term.name!r}) or {whole} (whole in every tile; {name}[] is 0-d)"
    return f"{whole} (whole in every tile; {name}[] is 0-d)" if shape else f"{name}[] (0-d)"


def _check_array(name: str, value: Any, *, number_ok: bool) -> None:
    library = library_of(value)
    if library in REFUSED:
        raise ArgumentError(f"argument {name!r} is a {library}, expected an array", hint=REFUSED[library])
    if library == "object" or (not number_ok and (library == "number" or isinstance(value, np.generic))):
        kind = type(value).__name__
        of, remedy = conversion_of(value)
        what = "None" if value is None else f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"
        raise ArgumentError(f"argument {name!r} is {what}{of}, expected an array", hint=remedy)


def one_library(call: Call) -> tuple[str, Any]:
    """The one library of a call's arrays, and one of them.

    Raises
    ------
    ArgumentError, EngineError
    """
    found: dict[str, tuple[str, Any]] = {}
    for name, value in call.arrays():
        library = library_of(value)
        if library != "number":
            found.setdefault(library, (name, value))
    if len(found) > 1:
        (first, (a, _)), (second, (b, _)) = list(found.items())[:2]
        raise ArgumentError(
            f"argument {b!r} is a {second} array, but {a!r} is a {first} array",
            hint="pass arrays of one library; convert with xp.asarray or from_dlpack first",
        )
    for library, (name, value) in found.items():
        if library in ("legate", "dask"):
            kind = "Legate" if library == "legate" else library
            raise EngineError(
                f"argument {name!r} is a {kind} array in a call inside a kernel's body, which runs in this process",
                hint=f"pass {name!r} to the outer kernel as an argument",
            )
        return library, value
    return "numpy", None


def as_arrays(call: Call, library: str, xp: Any, *, like: bool = False) -> list[Any]:
    """The operands as arrays; Python numbers take the dtype that promotion gives, with keys left out of it.

    Where arrays `like` them are enough, numbers need not have their values: torch.export keeps what is made of a value,
    and before torch 2.10 it fails on what nothing uses.

    Raises
    ------
    DTypeError
    """
    arrays = [np.asarray(v) if isinstance(v, np.generic) else v for v in call.operands]
    names, keys = [str(term.name) for term in call.definition.operands], call.definition.signature.keys
    present = {name: v for name, v in zip(names, arrays, strict=True) if library_of(v) != "number"}
    known: list[Any] = [v for name, v in present.items() if name not in keys]
    device = device_of((*present.values(), *call.given))
    for position, (name, value) in enumerate(zip(names, arrays, strict=True)):
        if name not in present:
            dtype = None
            if known and name not in keys:
                try:
                    dtype = _promoted(library, xp, known, value)
                except (OverflowError, TypeError, RuntimeError) as error:
                    raise no_promotion(name, value, error) from error
            if like and library == "torch" and dtype is not None:
                arrays[position] = known[0].new_empty((), dtype=dtype)
            else:
                arrays[position] = as_array(name, value, dtype, xp, device)
    return arrays


def diagonal_of(term: Term, array: Any, take: Callable[[Any, int, int], Any] | None = None) -> Any:
    """What a body gets of an array: along a pair of axes with the same index the diagonal, at the first of them.

    `take` does that for two axes; without it the array's own library does.

    Raises
    ------
    ShapeError
        The array does not have these axes, or the extents of a pair differ.
    """
    library = library_of(array)
    if not term.diagonals or library in ("object", "xarray", *REFUSED):  # the checks have words for them
        return array
    shape = shape_of(array) if library != "number" else ()
    check_rank(term, shape, len(term.written))
    lead = len(shape) - len(term.written)
    for first, second in reversed(term.diagonals):
        rows, columns = (shape[lead + place] for place in (first, second))
        if rows != columns:
            raise ShapeError(
                f"argument {term.name!r} has extents {rows} and {columns} on its two axes {term.written[first]}, "
                "expected the same",
                column=term.written[second].column,
                hint=f"pass a square array, of which {term.name}[{term.written[first]}, {term.written[first]}] "
                "is the diagonal",
            )
    for first, second in reversed(term.diagonals):  # so that places before the second stay what they are
        array = (take or _diagonal)(array, lead + first, lead + second)
    return array


def _diagonal(array: Any, first: int, second: int) -> Any:
    library = library_of(array)
    if library in ("numpy", "dask"):
        plain = array if library == "dask" else np.asarray(array)  # of a matrix, which always has two axes
        return np.moveaxis(np.diagonal(plain, 0, first, second), -1, first)
    xp = namespace_of(library, array)
    others = [axis for axis in range(array.ndim) if axis not in (first, second)]
    found = xp.linalg.diagonal(xp.permute_dims(array, (*others, first, second)))
    return xp.permute_dims(found, moved_to(first, array.ndim - 1))


def moved_to(place: int, rank: int) -> tuple[int, ...]:
    """The order of axes that puts the last one at this place."""
    return (*range(place), rank - 1, *range(place, rank - 1))


def as_array(name: str, value: Any, dtype: Any, xp: Any, device: Mapping[str, Any]) -> Any:
    """A Python number as an array.

    Raises
    ------
    DTypeError
    """
    try:
        return xp.asarray(value, dtype=dtype, **device)
    except (OverflowError, TypeError, RuntimeError) as error:  # torch's overflow is a RuntimeError
        raise no_promotion(name, value, error) from error


def _promoted(library: str, xp: Any, known: Sequence[Any], number: Any) -> Any:
    """The dtype to which the arrays and a Python number promote, whatever the shapes."""
    if library != "torch":
        return (np if library == "numpy" else xp).result_type(*(a.dtype for a in known), number)
    # Of a dtype the namespace would make a tensor that nothing uses.
    all_of_them = known[0].new_empty(1)
    for array in known[1:]:
        all_of_them = array.new_empty(1, dtype=xp.result_type(all_of_them, array.new_empty(1)))
    return xp.result_type(all_of_them, number)


def plan_of(definition: Definition, operands: Sequence[Any], scalars: Sequence[Any], given: Sequence[Any]) -> Plan:
    """The plan of a call on arrays, or on what has their shapes and dtypes; `given` are those that are written.

    Raises
    ------
    DTypeError
        Of pointers that are no integers, or of an operand that cannot hold its boundary.
    XPDispatchError
        Whatever of the shapes does not fit.
    """
    shapes = [shape_of(a) for a in operands]
    plan = definition.plan(shapes, scalars, [None if g is None else shape_of(g) for g in given])
    if plan.images or plan.keyed:
        _check_pointers(plan, [nearest(a.dtype) for a in operands])
    for term, array in zip(definition.operands, operands, strict=True):
        for boundary in definition.boundaries.get(str(term.name), ()):
            if boundary is not None:
                check_constant(str(term.name), boundary, nearest(array.dtype), name_of(array.dtype))
    return plan


def shape_of(array: Any) -> tuple[int, ...]:
    """The shape of an array of any library, in integers: torch.compile may give symbols for them."""
    return array.shape if type(array) is np.ndarray else tuple(map(int, array.shape))


def _check_pointers(plan: Plan, dtypes: Sequence[np.dtype[Any]]) -> None:
    pointers = [(image.function, plan.operands[image.ranges[0]].name) for image in plan.images]
    pointers += [(p, o.name) for o in (*plan.operands, *plan.results) if o.keys for p in o.keys.operands]
    for p, pointed in pointers:
        dtype, name = dtypes[p], plan.operands[p].name
        if dtype.kind not in "iu":
            raise DTypeError(
                f"argument {name!r} points to elements of {pointed!r} and has dtype {dtype}, expected integers",
                hint=f"pass {name}.astype('int64')",
            )


def shared_results(signature: Signature, first: int, second: int) -> ArgumentError:
    """The error for two results that would be written over each other."""
    names = signature.results[first].name, signature.results[second].name
    return ArgumentError(
        f"the arrays given for results {names[0]!r} and {names[1]!r} share memory",
        hint="pass arrays that do not overlap",
    )


def refuse_empty(plan: Plan) -> None:
    """Max and min over no element have no answer.

    Raises
    ------
    ShapeError
    """
    for layout in plan.results:
        if layout.combined and layout.op in ("max", "min", "fold") and not layout.accumulate:
            # Without keys all cells hold the identity.
            kept = () if layout.keys is None else (*layout.axes, *(d.cut for d in layout.keys.dims))
            gone = [n for a, n in enumerate(plan.indices) if plan.extents[a] == 0 and a not in kept]
            if not gone:
                continue
            raise ShapeError(
                f"{layout.op} of result {layout.name!r} over no element: {', '.join(gone)} has extent 0",
                hint="pass arrays with at least one element, or handle the empty case before the call",
            )
