"""Draws a program from one integer."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np

from .arrays import COMPLEX, DTYPES, LAYOUTS, LONG, PLACES, SUBCLASS
from .growing import HALOS, grown
from .programs import MODES, Ax, Operand, Program, Result, dtypes_of

EXTENTS = (0, 1, 1, 2, 3, 4, 5, 7, 8, 11, 13)
CELLS = ("in place", "assigned", "cast", "clip", "error state", "square")
KEPT = "kept"  # a body keeps what it makes, and returns a view of it
WRONG = (
    *("raises everywhere", "raises in one tile", "raises in one tile", "raises no Exception", "cannot be pickled"),
    *("writes an operand", "dtype by tile", "returns None", "returns text", "returns a list"),
    *("returns another shape", "returns nothing", "returns an object", "returns objects"),
    *("shape", "dtype", "missing", "unexpected", "list", "none", "text", "masked", "array for scalar", "letters"),
    *("letters", "letters", "out shape", "out dtype", "out twice", "boundary", "operator", "object dtype", "datetime"),
)


class _Choice(Random):
    """Random choices, and what the parts of a program must know of each other."""

    indices: dict[str, int]
    lead: tuple[int, ...] | None
    unknown: bool
    update: bool
    base: str
    mixed: bool
    special: bool

    def chance(self, share: float) -> bool:
        return self.random() < share


def program(seed: int) -> Program:
    """The program of an integer."""
    rng = _Choice(seed)
    count = rng.choice((0, 1, 1, 2, 2, 3))
    rng.indices = {i: rng.choice(EXTENTS) for i in "ijk"[:count]}
    rng.unknown = count == 1 and rng.chance(0.2)
    rng.lead = None
    if not rng.unknown and (rng.chance(0.25) or count == 0):
        rng.lead = tuple(rng.choice(EXTENTS[1:]) for _ in range(rng.choice((0, 1, 1, 2))))
    n = rng.choice((1, 2, 3, 5) if rng.unknown else (0, 1, 2, 3, 5, 6))
    rng.base, rng.mixed = rng.choice(DTYPES), rng.chance(0.25)
    more = _Choice(seed + 2**40)  # what came later leaves what was drawn before
    names = "xyz"[: rng.choice((0, 1, 1, 2, 2, 3))]
    rng.update = bool(count and names) and rng.chance(0.12)
    rng.special = rng.chance(0.25) and not rng.update
    boundary: dict[str, Any] = {}
    operands = tuple(_operand(rng, name, boundary) for name in names)
    if not any(o.lead is not None for o in operands):
        rng.lead = None
    covered = {a.index for o in operands for a in o.axes}
    if not operands and not rng.indices:  # nothing at all: one index space
        rng.indices["i"] = rng.choice(EXTENTS)
    spaces = tuple(i for i in rng.indices if i not in covered)
    dtypes = dtypes_of(operands)
    kind = np.result_type(*dtypes).kind if operands else "i"
    named = any(a.kind == "named" for o in operands for a in o.axes)
    n_from = "operand" if named else rng.choice(("scalar", ""))
    results = _results(rng, kind, n_from)
    updated = _updated(rng, operands)
    if updated is not None:
        results = [updated, *results[1:]]
    fixed = not any(r.unknown or r.op == "fold" or r.tail == "bare" for r in results)
    if n_from == "scalar" and not any(r.tail == "expr" for r in results):
        n_from = ""
    last = _Choice(seed + 2**41)
    operands = tuple(_as_subclass(last, o) if o.kind == "array" else o for o in operands)
    results = [_as_subclass(last, r) for r in results]
    made = Program(
        seed=seed,
        indices=tuple(rng.indices.items()),
        spaces=spaces,
        lead=rng.lead or (),
        n=n,
        n_from=n_from,
        operands=operands,
        results=tuple(results),
        boundary=tuple(boundary.items()),
        combine=_ways(rng, dtypes),
        scalar=rng.choice((2, 1, 3.0, None, None) if kind in "fc" else (2, 3, None)),
        tile=rng.chance(0.2),
        buffers=fixed and updated is None and rng.chance(0.2),
        update="x" if updated is not None else "",
        options=tuple(
            option
            for option, share in (
                (("deterministic", True), 0.15),
                (("cut", False), 0.1),
                (("on_error", "immediate"), 0.1),
            )
            if rng.chance(share)
        )
        + ((("fuse", False),) if more.chance(0.15) else ()),
        factor=rng.choice((1, 2, 4, 7)),
        wrong=rng.choice(WRONG) if rng.chance(0.2) else "",
        place=rng.randrange(2**31),
        cells=(*(more.sample(CELLS, more.choice((1, 2, 4))) if more.chance(0.5) else ()), *[KEPT] * last.chance(0.15)),
    )
    return grown(made)


def _as_subclass(rng: _Choice, array: Any) -> Any:
    return replace(array, layout=SUBCLASS) if array.layout == "plain" and rng.chance(0.1) else array


def _operand(rng: _Choice, name: str, boundary: dict[str, Any]) -> Operand:
    first = name == "x"
    update = first and rng.update
    every = first and (update or rng.chance(0.6))
    axes: list[Ax] = []
    for i in rng.sample(list(rng.indices), len(rng.indices) if every else rng.randint(0, len(rng.indices))):
        what = rng.random()
        if what < 0.2:
            axes.append(Ax("split", i, *rng.choice(HALOS)))
        else:
            axes.append(Ax("split", i, scale=rng.choice((2, 3)) if what < 0.32 else 1))
    if any(a.below or a.above for a in axes):
        mode = rng.choice(MODES)
        boundary[name] = rng.choice((0, 1)) if mode == "constant" else "edge" if mode == "valid" and update else mode
    for _ in range(0 if update else rng.choice((0, 0, 0, 1, 1, 2))):
        kind = rng.choice(("whole", "fixed", "named", "named"))
        if kind != "named" or all(a.kind != "named" for a in axes):
            extent = 3 if kind == "fixed" else rng.choice((0, 1, 2, 4))
            axes.insert(rng.randint(0, len(axes)), Ax(kind, extent=extent))
    lead = None
    if rng.lead is not None and (first or rng.chance(0.7)):
        own = rng.lead if first else rng.lead[rng.randint(0, len(rng.lead)) :]
        lead = tuple(1 if not first and rng.chance(0.25) else extent for extent in own)
    kind = "array"
    if not axes and not lead and not update and rng.chance(0.6):
        kind = rng.choice(("number", "scalar"))
    dtype = rng.choice(DTYPES) if rng.mixed and not rng.update else rng.base
    if rng.chance(0.02) and not rng.update:
        dtype = rng.choice(LONG)
    layout = rng.choice(LAYOUTS) if rng.chance(0.6) else "plain"
    if update and layout in ("broadcast", "read-only", "swapped"):
        layout = "plain"
    return Operand(name, tuple(axes), lead, dtype, layout, rng.choice(PLACES), rng.randrange(2**31), rng.special, kind)


def _ways(rng: _Choice, dtypes: list[np.dtype]) -> tuple[str, ...]:
    """How each operand is combined with those before it, in a way that NumPy has for their dtypes."""
    found = []
    for k in range(len(dtypes)):
        kind = np.result_type(*dtypes[: k + 1]).kind
        if kind == "b":
            found.append(rng.choice("&|^"))
            continue
        ways = ["+", "*", "where"] + (["max"] if kind != "c" else [])
        found.append(rng.choice(ways + (["-"] if all(d.kind != "b" for d in dtypes) else [])))
    return tuple(found)


def _updated(rng: _Choice, operands: tuple[Operand, ...]) -> Result | None:
    """The result that is the first operand, updated in place; None where it lacks an axis or has others."""
    if not rng.update:
        return None
    x = operands[0]
    blocks = [a for a in x.axes if a.scale > 1]
    if {a.index for a in x.axes} != set(rng.indices) or len(blocks) > 1 or any(a.scale > 2 for a in blocks):
        return None
    order = tuple(a.index for a in x.axes)
    return Result("x", "", x.lead is not None, order, block=blocks[0].index if blocks else "")


def _results(rng: _Choice, kind: str, n_from: str) -> list[Result]:
    found: list[Result] = []
    for name in ("u", "v2", "w")[: rng.choice((1, 1, 1, 2, 3))]:
        tail = ""
        if n_from and rng.chance(0.35):
            tail = rng.choice(("named", "expr")) if n_from == "operand" else "expr"
        if rng.unknown and (name == "u" or rng.chance(0.5)):
            found.append(Result(name, "", False, (), tail, unknown=True))
            continue
        if not tail and rng.chance(0.08):
            tail = "bare"
        found.append(_result(rng, name, kind, tail, next((r for r in found if r.op == "fold"), None)))
    return found


def _result(rng: _Choice, name: str, kind: str, tail: str, folded: Result | None) -> Result:
    every = rng.chance(0.25)
    order = tuple(rng.sample(list(rng.indices), len(rng.indices) if every else rng.randint(0, len(rng.indices))))
    lead = rng.lead is not None and (every or rng.chance(0.5))
    made = Result(name, "", lead, order, tail)
    gone = len(rng.indices) - len(order)
    if gone or (rng.lead is not None and not lead):
        operators = ["sum", "sum", "prod", "any", "all", "fold"]
        operators += (["xor"] if kind in "biu" else []) + (["max", "min"] if kind != "c" else [])
        made = replace(made, op=rng.choice(operators))
        if made.op == "fold" and folded is not None:  # folds have the same indices
            made = replace(folded, name=name, tail=tail)
        elif made.op == "fold":
            ordered = gone == 1 and lead == (rng.lead is not None)
            made = replace(made, merge=rng.choice(("first", "last")) if ordered else "add")
    if made.order and rng.chance(0.1):
        made = replace(made, block=rng.choice(made.order))
    # Integers that wrap around before they are cast are not what is cast before it wraps around.
    if (not made.op or (made.op in ("sum", "fold") and kind not in "iu")) and rng.chance(0.15):
        cast = rng.choice({"c": COMPLEX, "f": ("float64", "complex128")}.get(kind, ("int64", "float64")))
        made = replace(made, cast=cast)
    if tail != "bare" and rng.chance(0.2):
        made = replace(made, out=rng.choice(("equal", "wider", "operand")), layout=rng.choice(LAYOUTS[:5]))
    return made
