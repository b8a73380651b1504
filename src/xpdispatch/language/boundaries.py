"""What lies outside an array under a halo: what ``boundary=`` may say.

The modes are numpy.pad's, with its meanings (https://numpy.org/doc/stable/reference/generated/numpy.pad.html),
beside ``"clip"``, ``"valid"`` and a constant.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from xpdispatch.errors import ArgumentError, DTypeError
from xpdispatch.language.signature import Signature

PADS = ("edge", "reflect", "symmetric", "wrap")
MODES = ("clip", "valid", *PADS)
Boundary: TypeAlias = Literal["clip", "valid", "edge", "reflect", "symmetric", "wrap"] | complex
"""One operand's mode, or the constant that lies outside it."""


def boundaries_of(signature: Signature, entry: Any) -> dict[str, Boundary]:
    """Read ``boundary=``: one mode for each operand with a halo.

    Parameters
    ----------
    signature : Signature
    entry : str, number, None, or a mapping of these by operand

    Raises
    ------
    ArgumentError
        It is left out where a halo needs it, given where none does, or is not a mode.
    """
    haloed = {str(t.name): t for t in signature.operands if t.haloed}
    if not haloed:
        if entry is None:
            return {}
        raise ArgumentError(
            f"boundary={entry!r} is given, and no operand has a halo",
            hint="leave it out, or write a halo: i-1..i+1",
        )
    given = dict(entry) if isinstance(entry, Mapping) else dict.fromkeys(haloed, entry)
    for name in given:
        if name not in haloed:
            raise ArgumentError(
                f"boundary= names {name!r}, which is not an operand with a halo",
                hint=f"the operands with a halo are {', '.join(haloed)}",
            )
    for name, term in haloed.items():
        mode = given.get(name)
        if mode is None:
            raise ArgumentError(
                f"nothing says what lies outside {name!r} under its halo",
                column=term.column,
                hint=f"pass boundary=: one of {', '.join(map(repr, MODES))}, or a constant",
            )
        if not (mode in MODES if isinstance(mode, str) else isinstance(mode, numbers.Number | np.bool)):
            raise ArgumentError(
                f"boundary={mode!r} of {name!r} is not a mode",
                column=term.column,
                hint=f"pass one of {', '.join(map(repr, MODES))}, or a constant",
            )
        if mode == "valid" and any(r.name == name for r in signature.results):
            raise ArgumentError(
                f"{name!r} is read and written, and cannot be longer than its index, as boundary='valid' says",
                column=term.column,
                hint="choose another boundary, or give the result a name of its own",
            )
    for constraint in signature.constraints:
        if constraint.kind == "image" and given.get(constraint.names[0], "valid") != "valid":
            raise ArgumentError(
                f"{constraint} follows borders of ranges, of which there is one more than there are ranges",
                hint=f'pass boundary="valid" for {constraint.names[0]!r}',
            )
    return given


def default_boundaries(signature: Signature) -> dict[str, Boundary]:
    """What lies outside the arrays that bloat gives a halo: nothing, as in Legate; borders of ranges are one more."""
    functions = {c.names[0] for c in signature.constraints if c.kind == "image"}
    return {str(t.name): "valid" if t.name in functions else "clip" for t in signature.operands if t.haloed}


def check_constant(name: str, boundary: Boundary, dtype: np.dtype[Any], shown: str) -> None:
    """Refuse a constant that the operand's dtype, which is called `shown`, cannot hold.

    Raises
    ------
    DTypeError
    """
    if isinstance(boundary, str):
        return
    fits = dtype.kind == "c" or not np.iscomplexobj(boundary)
    if fits:
        try:
            with np.errstate(all="ignore"):
                held = np.asarray(boundary).astype(dtype, casting="unsafe")[()]
            fits = dtype.kind in "fc" or bool(held == boundary)
        except (OverflowError, TypeError, ValueError):
            fits = False
    if not fits:
        raise DTypeError(
            f"boundary={boundary!r} is not a value of dtype {shown}, which argument {name!r} has",
            hint="pass another constant, or an array of another dtype",
        )
