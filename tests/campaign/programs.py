"""What a random program is made of: operands, results, and how a kernel with them is called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

MODES = ("clip", "valid", "edge", "reflect", "symmetric", "wrap", "constant")


@dataclass(frozen=True)
class Ax:
    """An axis of an operand: ``split`` (with a halo, or in blocks), ``whole``, ``fixed`` or ``named``.

    An axis that is split ``again`` makes a diagonal, and along a ``key`` the key called `index` says the place.
    """

    kind: str
    index: str = ""
    below: int = 0
    above: int = 0
    scale: int = 1
    extent: int = 0
    sizes: str = ""  # what the halo and the block are called: "" numbers, "scalars", or "n", which is the window

    def text(self, name: str) -> str:
        i = self.index
        if self.kind not in ("split", "again"):
            return {"whole": ":", "fixed": f":{self.extent}", "named": ":n", "key": f"@{i}"}[self.kind]
        named = self.sizes == "scalars"
        scaled = f"by_{name}*{i}" if named and self.scale > 1 else f"{self.scale}*{i}" if self.scale > 1 else i
        if self.sizes == "n":
            return f"{i}..{i}+n-1"
        if named and self.window:
            return f"{scaled}-low_{name}..{scaled}+high_{name}"
        if self.window:
            low, high = f"-{self.below}" if self.below else "", self.scale - 1 + self.above
            return f"{scaled}{low}..{scaled}" + (f"+{high}" if high else "")
        return scaled

    @property
    def window(self) -> bool:
        """Whether it is written with ``..``, and so has a boundary."""
        return bool(self.below or self.above or self.sizes == "n")

    @property
    def plain(self) -> bool:
        return self.kind == "split" and not self.window and self.scale == 1


@dataclass(frozen=True)
class Key:
    """An operand of places among `extent` cells, with one element for each of some indices, or `fixed` elements."""

    name: str
    axes: tuple[str, ...]
    extent: int
    dtype: str
    layout: str
    place: str
    seed: int
    fixed: int = 0

    def text(self) -> str:
        return f"{self.name}[{', '.join([*self.axes, *([f':{self.fixed}'] if self.fixed else [])])}]"

    @property
    def labels(self) -> list[str]:
        """What its axes are called: indices, and a name of its own."""
        return [*self.axes, *([f":{self.name}"] if self.fixed else [])]


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
        return f"{self.name}[{', '.join(['...'] * (self.lead is not None) + [a.text(self.name) for a in self.axes])}]"


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
    scan: str = ""  # the index that is scanned
    backward: bool = False

    @property
    def keyed(self) -> bool:
        return any(a.startswith("@") for a in self.order)

    def text(self, n: str, cells: dict[str, str]) -> str:
        scanned = f"{self.scan}.." if self.backward else f"..{self.scan}"
        axes = ["..."] * self.lead + (["?"] if self.unknown else [])
        axes += [
            cells.get(i, f"2*{i}" if i == self.block else scanned if i == self.scan else i) for i in self.order
        ]  # fmt: skip
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
    keys: tuple[Key, ...] = ()
    stop: bool = False  # coordinates are counted from the tile's end

    @property
    def extents(self) -> dict[str, int]:
        return dict(self.indices)

    @property
    def modes(self) -> dict[str, Any]:
        return dict(self.boundary)

    @property
    def notation(self) -> str:
        left = [o.text() for o in self.operands]
        for key in self.keys:
            left.insert(key.seed % (len(left) + 1), key.text())
        if self.spaces:
            left.insert(self.seed % (len(left) + 1), f"[{', '.join(f'{i}=size_{i}' for i in self.spaces)}]")
        return f"{', '.join(left)} -> {', '.join(r.text('n', self.cells_of_keys) for r in self.results)}"

    @property
    def cells_of_keys(self) -> dict[str, str]:
        """How axes with keys are written, by ``@`` and the name of the key."""
        ways = ("{0}", "cells_{1}", "2*cells_{1}-{0}")
        return {f"@{k.name}": f"@{k.name}={ways[k.seed % 3].format(k.extent, k.name)}" for k in self.keys}

    @property
    def sizes(self) -> dict[str, int]:
        """Scalars that the notation names: of windows and blocks, and numbers of cells."""
        scattered = {a for r in self.results for a in r.order}
        found = {f"cells_{k.name}": k.extent for k in self.keys if f"@{k.name}" in scattered and k.seed % 3}
        for o in self.operands:
            for a in o.axes:
                if a.sizes == "scalars" and a.window:
                    found |= {f"low_{o.name}": a.below, f"high_{o.name}": a.scale - 1 + a.above}
                if a.sizes == "scalars" and a.scale > 1:
                    found[f"by_{o.name}"] = a.scale
        return found

    def key(self, name: str) -> Key:
        return next(k for k in self.keys if k.name == name)

    def axis_modes(self, o: Operand) -> dict[int, Any]:
        """The boundary of each axis of an operand that is written with ``..``."""
        mode, windows = self.modes.get(o.name), [k for k, a in enumerate(o.axes) if a.window]
        return dict(zip(windows, mode if isinstance(mode, tuple) else [mode] * len(windows), strict=True))

    def seen(self, o: Operand) -> list[Ax]:
        """The axes of an operand as the body sees it."""
        found: list[Ax] = []
        for a in o.axes:
            if a.kind == "key":
                key = self.key(a.index)
                found += [Ax("split", i) for i in key.axes]
                found += [Ax("whole", f":{key.name}", extent=key.fixed)] if key.fixed else []
            elif a.kind != "again":
                found.append(a)
        keyed = any(a.kind == "key" for a in o.axes)
        return [a for k, a in enumerate(found) if not keyed or not a.index or a not in found[:k]]

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
        return self.tile or bool(self.spaces) or self._clips or bool(self.wrong)

    @property
    def _clips(self) -> bool:
        return any("clip" in self.axis_modes(o).values() for o in self.operands)

    @property
    def parameters(self) -> list[str]:
        """The body's, without ``xp`` and ``tile``."""
        names = [o.name for o in (*self.operands, *self.keys)]
        if self.buffers:
            names += [r.name for r in self.results if r.name not in names]
        if self.n_from == "scalar":
            names.append("n")
        names += [*(f"size_{i}" for i in self.spaces), *self.sizes]
        return names + (["a"] if self.scalar is not None else [])

    def shape(self, o: Operand) -> tuple[int, ...]:
        found = []
        modes = self.axis_modes(o)
        for k, a in enumerate(o.axes):
            if a.kind in ("split", "again"):
                valid = modes.get(k) == "valid"
                found.append(self.extents[a.index] * a.scale + (a.below + a.above if valid else 0))
            else:
                extent = self.key(a.index).extent if a.kind == "key" else a.extent
                found.append(self.n if a.kind == "named" else extent)
        return (*(o.lead or ()), *found)

    def result_shape(self, r: Result) -> tuple[int, ...]:
        """The shape of a result, with nothing along ``?``."""
        found = [0] if r.unknown else [*(self.lead if r.lead else ())]
        extents = self.extents | {f"@{k.name}": k.extent for k in self.keys}
        found += [extents[i] * (2 if i == r.block else 1) for i in r.order]
        return (*found, *([self.n if r.tail == "named" else self.n // 2 + 1] if r.tail else []))

    def with_other_values(self) -> Program:
        """The same program on other numbers."""
        operands, keys = (tuple(replace(o, seed=o.seed + 3) for o in each) for each in (self.operands, self.keys))
        return replace(self, operands=operands, keys=keys)

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
            modes = self.axis_modes(o)
            if len({*modes.values()}) > 1:
                yield "boundary", "one for each axis"
            for k, a in enumerate(o.axes):
                split = ("k*i with a halo" if a.scale > 1 else "halo") if a.window else "k*i" if a.scale > 1 else "i"
                kinds = {"whole": ":", "fixed": ":3", "named": ":n", "again": "i, i", "key": "gather"}
                yield "axis", kinds.get(a.kind, split)
                if a.sizes:
                    yield "axis", f"{split} of {a.sizes}"
                if a.window:
                    yield "boundary", modes[k] if isinstance(modes[k], str) else "constant"
            if o.special:
                yield "values", "NaN, infinities, -0.0, subnormals"
        for _ in self.spaces:
            yield "axis", "index space"
        for key in self.keys:
            yield "key", "number" if key.layout == "number" else key.dtype
            yield "key of axes", str(len(key.labels))
            yield "cells", str(min(key.extent, 2))
        if self.stop:
            yield "tile", "stop"
        for r in self.results:
            yield "operator", r.op or "none"
            if r.scan:
                yield ("scan from" if r.backward else "scan up to"), r.merge or r.op
                yield "scan of extent", str(min(self.extents[r.scan], 2))
            if r.keyed:
                yield "scatter", r.op
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
