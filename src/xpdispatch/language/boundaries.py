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
from xpdispatch.language.terms import Term

PADS = ("edge", "reflect", "symmetric", "wrap")
MODES = ("clip", "valid", *PADS)
Boundary: TypeAlias = Literal["clip", "valid", "edge", "reflect", "symmetric", "wrap"] | complex
"""What lies outside along one axis: a mode, or a constant."""
Boundaries: TypeAlias = Mapping[str, tuple[Boundary | None, ...]]
"""By operand with a halo: for each axis after the ``...`` what lies outside, None where it has no halo."""


def boundaries_of(signature: Signature, entry: Any) -> dict[str, tuple[Boundary | None, ...]]:
    """Read ``boundary=``: one mode for each operand with a halo, or one for each of its axes with ``..``.

    Parameters
    ----------
    signature : Signature
    entry : str, number, None, a tuple of these, or a mapping of any of these by operand

    Raises
    ------
    ArgumentError
        It is left out where a halo needs it, given where none does, or is not a mode.
    """
    windowed = {str(t.name): t for t in signature.operands if any(a.window for a in t.named)}
    if not windowed:
        if entry is None:
            return {}
        raise ArgumentError(
            f"boundary={entry!r} is given, and no operand has a halo",
            hint="leave it out, or write a halo: i-1..i+1",
        )
    given = dict(entry) if isinstance(entry, Mapping) else dict.fromkeys(windowed, entry)
    for name in given:
        if name not in windowed:
            raise ArgumentError(
                f"boundary= names {name!r}, which is not an operand with a halo",
                hint=f"the operands with a halo are {', '.join(windowed)}",
            )
    found = {}
    for name, term in windowed.items():
        modes = _modes(term, given.get(name))
        if modes is not None:
            found[name] = modes
            if "valid" in modes and any(r.name == name for r in signature.results):
                raise ArgumentError(
                    f"{name!r} is read and written, and cannot be longer than its index, as boundary='valid' says",
                    column=term.column,
                    hint="choose another boundary, or give the result a name of its own",
                )
    for constraint in signature.constraints:
        if constraint.kind == "image" and found.get(constraint.names[0], ("valid",)) != ("valid",):
            raise ArgumentError(
                f"{constraint} follows borders of ranges, of which there is one more than there are ranges",
                hint=f'pass boundary="valid" for {constraint.names[0]!r}',
            )
    return found


def _modes(term: Term, entry: Any) -> tuple[Boundary | None, ...] | None:
    """What lies outside an operand along each of its axes; None where nothing is said, and nothing need be."""
    if entry is None:
        if not term.haloed:
            return None
        raise ArgumentError(
            f"nothing says what lies outside {term.name!r} under its halo",
            column=term.column,
            hint=f"pass boundary=: one of {', '.join(map(repr, MODES))}, or a constant",
        )
    windows = sum(axis.window for axis in term.named)
    modes = tuple(entry) if isinstance(entry, tuple | list) else (entry,) * windows
    for mode in modes:
        if not (mode in MODES if isinstance(mode, str) else isinstance(mode, numbers.Number | np.bool)):
            raise ArgumentError(
                f"boundary={mode!r} of {term.name!r} is not a mode",
                column=term.column,
                hint=f"pass one of {', '.join(map(repr, MODES))}, or a constant",
            )
    if len(modes) != windows:
        raise ArgumentError(
            f"boundary={entry!r} of {term.name!r} says {len(modes)} modes, "
            f"and {windows} of its axes {'is' if windows == 1 else 'are'} written with '..'",
            column=term.column,
            hint="give one mode for each of these axes, in their order, or one for all",
        )
    following = iter(modes)
    return tuple(next(following) if axis.window else None for axis in term.named)


def boundaries_under(signature: Signature, boundaries: Boundaries) -> dict[str, Any] | None:
    """What ``boundary=`` says of the same operands under another signature; None where none of these has a halo."""
    found: dict[str, Any] = {}
    for term in signature.operands:
        modes = boundaries.get(str(term.name), ())
        different = {mode for mode in modes if mode is not None}
        if different and any(axis.window for axis in term.named):
            kept = tuple(m for m, axis in zip(modes, term.named, strict=False) if axis.window)
            found[str(term.name)] = kept if len(different) > 1 else different.pop()
    return found or None


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
