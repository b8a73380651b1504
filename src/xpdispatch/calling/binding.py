"""From ``args``, ``kwargs`` and ``out=`` to values: one for each parameter, then the other arrays to be written."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import numpy as np

from xpdispatch.arrays.namespaces import library_of
from xpdispatch.errors import ArgumentError
from xpdispatch.planning.arguments import quick_kinds
from xpdispatch.planning.definition import Definition

_NUMBERS = "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]
DECIDED = frozenset({float, complex, bool, str, bytes, NoneType, *[np.dtype(c).type for c in _NUMBERS]})
"""Types of arguments that decide all by themselves."""

MISSING = inspect.Parameter.empty


def bind(
    definition: Definition,
    parameters: Mapping[str, inspect.Parameter],
    options: Sequence[str],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    out: Any,
) -> tuple[Any, ...]:
    """The values of a call; None for arrays to be written that are left out. `options` are the decorator's.

    Raises
    ------
    ArgumentError
    """
    values = _by_parameter(definition, parameters, options, args, kwargs)
    body = definition.body
    values += [None] * (body.results - sum(at is None or at < len(body.slots) for at in body.given_at))
    if out is not None:
        _bind_out(definition, values, out)
    return tuple(values)


def _by_parameter(
    definition: Definition,
    parameters: Mapping[str, inspect.Parameter],
    options: Sequence[str],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> list[Any]:
    body = definition.body
    positional = [n for n in parameters if n not in body.keyword]
    shown = call_shown(definition, parameters)
    if len(args) > len(positional):
        raise ArgumentError(
            f"got {len(args)} positional arguments, expected at most {len(positional)} ({', '.join(positional)})",
            hint=f"call {shown}: xp is not passed, and results are given by out=",
        )
    values = dict(zip(positional, args, strict=False))
    for name, value in kwargs.items():
        if name not in parameters:
            hint = f"the parameters are {', '.join(parameters) or 'none'}, and out"
            if name in options:
                hint = f"{name}= is an option of the decorator: @kernel(..., {name}=...)"
            raise ArgumentError(f"unexpected argument {name!r}", hint=hint)
        if name in values:
            raise ArgumentError(f"argument {name!r} is given twice", hint="pass it by position or by name, not both")
        values[name] = value
    bound = [values.get(n, p.default) for n, p in parameters.items()]
    for at, slot in enumerate(body.slots):
        if bound[at] is MISSING:
            if slot.scalar is not None or slot.operand is not None:
                raise ArgumentError(f"argument {slot.name!r} is missing", hint=f"call {shown}")
            bound[at] = None
    return bound


def call_shown(definition: Definition, parameters: Mapping[str, object]) -> str:
    """How a call is written."""
    return f"{definition.name}({', '.join(parameters)})"


def _bind_out(definition: Definition, values: list[Any], out: Any) -> None:
    body = definition.body
    count = body.results
    if isinstance(out, tuple):
        outs = out
    elif count == 1:
        outs = (out,)
    else:
        raise ArgumentError(
            f"out= got one object, expected a tuple of {count}", hint="give one entry, or None, for each result"
        )
    if len(outs) != count:
        raise ArgumentError(
            f"out= got {len(outs)} arrays, expected {count}", hint="give one entry, or None, for each result"
        )
    for r, array in enumerate(outs):
        if array is None:
            continue
        name = str(definition.signature.results[r].name)
        updated, at = body.updated[r], body.given_at[r]
        if at is not None:
            if values[at] is not None and values[at] is not array:
                raise ArgumentError(f"result {name!r} is given twice", hint="pass it as argument or by out=, not both")
            values[at] = array
        elif updated is not None and array is not values[body.operand_at[updated]]:
            raise ArgumentError(
                f"out= gives another array for {name!r}, which is read and written in place",
                hint=f"pass the array as argument {name!r} alone",
            )


def kind_of(value: Any) -> Any:
    """What of an argument decides how a call is prepared."""
    kind = type(value)
    if kind in DECIDED:
        return kind
    if kind is int:
        return kind if -(2**63) <= value < 2**63 else (kind, "object")  # NumPy's dtype for it
    if kind in quick_kinds:
        return quick_kinds[kind](value)
    try:
        dtype = getattr(value, "dtype", None)
        found = kind, value.type.code if dtype is None else dtype, tuple(value.shape)  # a Legate store has a type
        hash(found)  # a scalar may have attributes of these names that are something else
        return found
    except Exception:  # noqa: BLE001  not an array, or none that has a shape yet
        return kind, *_kinds_behind(value)


def _kinds_behind(value: Any) -> list[Any]:
    """The same of the stores behind an object that has nothing but Legate's data interface, and of torch's symbols."""
    if library_of(value) == "torch":
        return [value.dtype, tuple(map(int, value.shape))]
    try:
        columns = value.__legate_data_interface__["data"].values()
        return [(c.type.code, tuple(c.shape)) for c in columns]
    except Exception:  # noqa: BLE001  the checks have words for it
        return []
