"""What a random program is made of: operands, results, and how a kernel with them is called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

MODES = ("clip", "valid", "edge", "reflect", "symmetric", "wrap", "constant")


@dataclass(frozen=True)
class Ax:
    """An axis of an operand: ``split`` (with a halo, or in blocks), ``whole``, ``fixed`` or ``named``."""

    kind: str
    index: str = ""
    below: int = 0
    above: int = 0
    scale: int = 1
    extent: int = 0

    def text(self) -> str:
        if self.kind != "split":
            return {"whole": ":", "fixed": f":{self.extent}", "named": ":n"}[self.kind]
        if self.below or self.above:
            low = f"{self.index}-{self.below}" if self.below else self.index
            return f"{low}..{self.index}" + (f"+{self.above}" if self.above else "")
        return f"{self.scale}*{self.index}" if self.scale > 1 else self.index


@dataclass(frozen=True)
class Operand:
    name: str
    axes: tuple[Ax, ...]
    lead: tuple[int, ...] | None  # extents under '...'
    dtype: str
    layout: str
    place: str
    seed: int
    special: bool = False
    kind: str = "array"  # or number, scalar: a Python number, a NumPy scalar

    def text(self) -> str:
        return f"{self.name}[{', '.join(['...'] * (self.lead is not None) + [a.text() for a in self.axes])}]"


NUMBERS = {"b": True, "i": 2, "u": 2, "f": 1.5, "c": 2j}


def dtypes_of(operands: Sequence[Operand]) -> list[np.dtype]:
    """The operands' dtypes; a Python number has the one that promotion with all arrays gives."""
    known = [np.dtype(o.dtype) for o in operands if o.kind != "number"]
    return [
        np.result_type(*known, NUMBERS[np.dtype(o.dtype).kind]) if o.kind == "number" else np.dtype(o.dtype)
        for o in operands
    ]


@dataclass(frozen=True)
class Result:
    name: str
    op: str
    lead: bool
    order: tuple[str, ...]
    tail: str = ""  # "", named, expr, bare
    block: str = ""  # the index that stands in blocks of two
    cast: str = ""
    unknown: bool = False
    out: str = ""  # "", equal, wider, operand
    layout: str = "plain"
    merge: str = ""

    def text(self, n: str) -> str:
        axes = ["..."] * self.lead + (["?"] if self.unknown else [])
        axes += [f"2*{i}" if i == self.block else i for i in self.order]
        axes += {"": [], "named": [":n"], "expr": [f":{n}//2+1"], "bare": [":"]}[self.tail]
        op = f"{self.op} " if self.op else ""
        return f"{op}{self.name}[{', '.join(axes)}]"


@dataclass(frozen=True)
class Program:
    """What a program is made of; everything else follows."""

    seed: int
    indices: tuple[tuple[str, int], ...]
    spaces: tuple[str, ...]  # indices that no operand has
    lead: tuple[int, ...]  # the broadcast extents under '...'
    n: int  # the extent called n
    n_from: str  # "operand" or "scalar", or "" where nothing is called n
    operands: tuple[Operand, ...]
    results: tuple[Result, ...]
    boundary: tuple[tuple[str, Any], ...]
    combine: tuple[str, ...]
    scalar: Any
    tile: bool
    buffers: bool
    update: str  # the operand that is updated in place
    options: tuple[tuple[str, Any], ...]
    factor: int = 4
    wrong: str = ""
    place: int = 0
    cells: tuple[str, ...] = ()  # what is done to single cells of ``v`` at last

    @property
    def extents(self) -> dict[str, int]:
        return dict(self.indices)

    @property
    def modes(self) -> dict[str, Any]:
        return dict(self.boundary)

    @property
    def notation(self) -> str:
        left = [o.text() for o in self.operands]
        if self.spaces:
            left.insert(self.seed % (len(left) + 1), f"[{', '.join(f'{i}=size_{i}' for i in self.spaces)}]")
        return f"{', '.join(left)} -> {', '.join(r.text('n') for r in self.results)}"

    @property
    def canonical(self) -> list[str]:
        """The axes of ``v``."""
        lead = [f"...{k - len(self.lead)}" for k in range(len(self.lead))]
        return [*lead, *(i for i, _ in self.indices), *(["n"] if self.keeps_n else [])]

    @property
    def keeps_n(self) -> bool:
        return any(r.tail == "named" for r in self.results)

    @property
    def dtype(self) -> str:
        """The dtype of ``v``."""
        return np.result_type(*dtypes_of(self.operands)).name if self.operands else "int64"

    @property
    def kind(self) -> str:
        """The kind of the dtype of ``v``."""
        return np.dtype(self.dtype).kind

    @property
    def empty(self) -> bool:
        return 0 in self.extents.values()

    @property
    def wants_tile(self) -> bool:
        return self.tile or bool(self.spaces) or "clip" in self.modes.values() or bool(self.wrong)

    @property
    def parameters(self) -> list[str]:
        """The body's, without ``xp`` and ``tile``."""
        names = [o.name for o in self.operands]
        if self.buffers:
            names += [r.name for r in self.results if r.name not in names]
        if self.n_from == "scalar":
            names.append("n")
        names += [f"size_{i}" for i in self.spaces]
        return names + (["a"] if self.scalar is not None else [])

    def shape(self, o: Operand) -> tuple[int, ...]:
        found = []
        for a in o.axes:
            if a.kind == "split":
                valid = self.modes.get(o.name) == "valid"
                found.append(self.extents[a.index] * a.scale + (a.below + a.above if valid else 0))
            else:
                found.append(self.n if a.kind == "named" else a.extent)
        return (*(o.lead or ()), *found)

    def result_shape(self, r: Result) -> tuple[int, ...]:
        """The shape of a result, with nothing along ``?``."""
        found = [0] if r.unknown else [*(self.lead if r.lead else ())]
        found += [self.extents[i] * (2 if i == r.block else 1) for i in r.order]
        return (*found, *([self.n if r.tail == "named" else self.n // 2 + 1] if r.tail else []))

    def with_other_values(self) -> Program:
        """The same program on other numbers."""
        return replace(self, operands=tuple(replace(o, seed=o.seed + 1) for o in self.operands))

    def features(self) -> Iterator[tuple[str, str]]:
        """What the program covers."""
        for o in self.operands:
            yield "dtype", o.dtype
            yield "layout", o.layout if o.kind == "array" else o.kind
            yield "place on Legate", o.place
            if o.lead is not None:
                yield "axis", "..."
            if not o.axes and o.lead is None:
                yield "axis", "0-d"
            for a in o.axes:
                halo = a.below or a.above
                yield (
                    "axis",
                    {
                        "split": "halo" if halo else "k*i" if a.scale > 1 else "i",
                        "whole": ":",
                        "fixed": ":3",
                        "named": ":n",
                    }[a.kind],
                )
                if halo:
                    mode = self.modes[o.name]
                    yield "boundary", mode if isinstance(mode, str) else "constant"
            if o.special:
                yield "values", "NaN, infinities, -0.0, subnormals"
        for _ in self.spaces:
            yield "axis", "index space"
        for r in self.results:
            yield "operator", r.op or "none"
            yield (
                "result",
                "?" if r.unknown else "in place" if r.name == self.update else "buffer" if self.buffers else "returned",
            )
            if r.tail:
                yield "result", {"named": ":n", "expr": ":EXPR", "bare": "bare :"}[r.tail]
            if r.block:
                yield "result", "k*i"
            if r.cast:
                yield "result", "dtype="
            if r.out:
                yield "result", f"out= {r.out}"
        for name, value in self.options:
            yield "option", f"{name}={value}"
        for how in self.cells:
            yield "cells", how
        if self.empty:
            yield "values", "no cell"
        if self.wrong:
            yield "wrong", self.wrong
