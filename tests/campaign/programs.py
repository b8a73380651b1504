"""A random program from one integer: notation, body, call, and the answer in plain NumPy over whole arrays.

Bodies come from a small grammar. Each operand is brought to one axis for each index of the kernel: windows under a
halo and the cells of a block are added up with weights, whole axes are summed. The operands are then combined by
arithmetic to ``v``, and every result is ``v`` combined over what it leaves out. The body does so with what it gets of
a tile; the oracle does so over whole arrays, halos made by :func:`numpy.pad`, and knows nothing of xpdispatch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from .arrays import COMPLEX, DTYPES, LAYOUTS, LONG, PLACES

EXTENTS = (0, 1, 1, 2, 3, 4, 5, 7, 8, 11, 13)
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

    # -- the notation ---------------------------------------------------------------------------------------

    @property
    def extents(self) -> dict[str, int]:
        return dict(self.indices)

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
    def empty(self) -> bool:
        return 0 in [*self.lead, *self.extents.values()]

    def with_other_values(self) -> Program:
        """The same program on other numbers."""
        return replace(self, operands=tuple(replace(o, seed=o.seed + 1) for o in self.operands))

    # -- what the arrays are --------------------------------------------------------------------------------

    def shape(self, o: Operand) -> tuple[int, ...]:
        found = []
        for a in o.axes:
            if a.kind == "split":
                valid = dict(self.boundary).get(o.name) == "valid"
                found.append(self.extents[a.index] * a.scale + (a.below + a.above if valid else 0))
            else:
                found.append(self.n if a.kind == "named" else a.extent)
        return (*(o.lead or ()), *found)

    # -- source ---------------------------------------------------------------------------------------------

    def _canonical_operand(self, o: Operand, *, oracle: bool) -> Iterator[str]:
        """Lines that bring an operand to the axes of ``v``."""
        xp = "np" if oracle else "xp"
        t = f"t_{o.name}"
        yield f"{t} = {o.name}"
        lead = len(o.lead or ())
        boolean = o.dtype == "bool"
        mode = dict(self.boundary).get(o.name)
        if oracle and mode not in ("valid", None):
            widths = [(0, 0)] * lead + [(a.below, a.above) for a in o.axes]
            padded = isinstance(mode, str) and mode != "clip"
            how = f"mode={mode!r}" if padded else f"constant_values={0 if mode == 'clip' else mode!r}"
            yield f"{t} = np.pad({t}, {widths}, {how})"
        squeezed, left = [], [f"...{k - lead}" for k in range(lead)]
        for place, a in enumerate(o.axes, start=lead):
            before = ":, " * place
            if a.kind != "split":
                if a.kind == "named" and self.keeps_n:
                    left.append("n")
                    continue
                yield (
                    f"{t} = {xp}.any({t}, axis={place}, keepdims=True)"
                    if boolean
                    else f"{t} = {xp}.sum({t}, axis={place}, keepdims=True, dtype={xp}.{o.dtype})"
                )
                squeezed.append(place)
                continue
            left.append(a.index)
            halo = a.below + a.above
            if halo:
                if mode == "clip" and not oracle:
                    at = place if self.seed % 2 else place - lead - len(o.axes)
                    yield f"low, high = tile.halo({o.name!r}, {at})"
                    yield f"shape = list({t}.shape)"
                    yield f"shape[{place}] = {a.below} - low"
                    yield f"zeros = xp.zeros(tuple(shape), dtype={t}.dtype)"
                    yield f"shape[{place}] = {a.above} - high"
                    yield f"{t} = xp.concat([zeros, {t}, xp.zeros(tuple(shape), dtype={t}.dtype)], axis={place})"
                yield f"m = {t}.shape[{place}] - {halo}"
                terms = [f"{t}[{before}{k}:{k}+m]" for k in range(halo + 1)]
            elif a.scale > 1:
                terms = [f"{t}[{before}{k}::{a.scale}]" for k in range(a.scale)]
            else:
                continue
            if boolean:
                yield f"{t} = {' ^ '.join(terms)}"
            else:
                yield f"{t} = {' + '.join(term if k % 2 else f'2 * {term}' for k, term in enumerate(terms))}"
        if squeezed:
            yield f"{t} = {xp}.squeeze({t}, axis={tuple(squeezed)})"
        wanted = [c for c in self.canonical if c in left]
        if wanted != left:
            yield f"{t} = {xp}.{'transpose' if oracle else 'permute_dims'}({t}, {tuple(left.index(c) for c in wanted)})"
        if wanted != self.canonical:
            yield f"{t} = {t}[{', '.join(':' if c in wanted else 'None' for c in self.canonical) or '...'}]"

    def _v(self, *, oracle: bool) -> Iterator[str]:
        xp = "np" if oracle else "xp"
        for o in self.operands:
            yield from self._canonical_operand(o, oracle=oracle)
        first = True
        for o, how in zip(self.operands, self.combine, strict=False):
            t = f"t_{o.name}"
            if first:
                yield f"v = {t}"
            elif how == "max":
                yield f"v = {xp}.maximum(v, {t})"
            elif how == "where":
                yield f"v = {xp}.where(v == {t}, v, {t})"
            else:
                yield f"v = v {how} {t}"
            first = False
        counted = self.spaces or (tuple(self.extents)[:1] if self.tile and self.extents else ())
        for i in counted:
            where = ", ".join(":" if c == i else "None" for c in self.canonical)
            cells = f"np.arange({self.extents[i]})" if oracle else f"tile.coords({i!r})"
            cast = f"({cells} % 3).astype(v.dtype)" if oracle else f"xp.astype({cells} % 3, v.dtype)"
            if first:
                yield f"v = ({cells} % 3)[{where}]"
                first = False
            else:
                yield f"v = v ^ {cast}[{where}]" if self.kind == "b" else f"v = v + {cast}[{where}]"
        if self.scalar is not None and self.kind != "b":
            yield "v = v * a"

    @property
    def dtype(self) -> str:
        """The dtype of ``v``."""
        return np.result_type(*dtypes_of(self.operands)).name if self.operands else "int64"

    @property
    def kind(self) -> str:
        """The kind of the dtype of ``v``."""
        return np.dtype(self.dtype).kind

    def _result(self, r: Result, *, oracle: bool) -> Iterator[str]:
        xp = "np" if oracle else "xp"
        name = f"r_{r.name}"
        yield f"{name} = v"
        canonical = self.canonical
        kept = [
            c for c in canonical if (c.startswith("...") and r.lead) or c in r.order or (c == "n" and r.tail == "named")
        ]
        if r.unknown:
            row = "v[:, 0]" if self.keeps_n else "v"
            mask = row if self.kind == "b" else f"{xp}.real({row}) > 0" if self.kind == "c" else f"{row} > 0"
            yield f"{name} = v[{mask}]"
            if self.keeps_n and r.tail != "named":
                yield f"{name} = {name}[:, 0]"
            yield from self._tail(r, name, xp)
            return
        if self.keeps_n and r.tail != "named":
            whole = "any({}, axis=-1)" if self.kind == "b" else f"sum({{}}, axis=-1, dtype={xp}.{self.dtype})"
            yield f"{name} = {xp}.{whole.format(name)}"
            canonical = canonical[:-1]
        axes = tuple(k for k, c in enumerate(canonical) if c not in kept)
        if r.op == "sum" or (r.op == "fold" and r.merge == "add"):
            if self.kind == "b":
                yield f"{name} = {xp}.count_nonzero({name}, axis={axes})" if axes else f"{name} = {name} * 1"
            else:
                yield f"{name} = {xp}.sum({name}, axis={axes}{f', dtype={xp}.{self.dtype}' if self.seed % 3 and self.kind != 'b' else ''})"
        elif r.op == "prod":
            if self.kind in "fc":
                positive = f"{xp}.real({name}) > 0"
                yield f"{name} = {xp}.where({positive}, {name} * 0 + 1, {name} * 0 - 1)"
            elif self.kind == "b":
                yield f"{name} = {name} * 1"
            yield f"{name} = {xp}.prod({name}, axis={axes}{f', dtype={xp}.{self.dtype}' if self.seed % 3 and self.kind != 'b' else ''})"
        elif r.op in ("max", "min"):
            yield f"{name} = {xp}.{r.op}({name}, axis={axes})"
        elif r.op in ("any", "all"):
            yield f"{name} = {xp}.{r.op}({name} != 0, axis={axes})"
        elif r.op == "xor":
            yield f"{name} = np.bitwise_xor.reduce({name}, axis={axes})"
        elif r.op == "fold" and r.merge in ("first", "last"):
            yield f"{name} = {name}[{':, ' * axes[0]}{0 if r.merge == 'first' else -1}]"
        left = [c for c in canonical if c in kept]
        wanted = [c for c in left if c.startswith("...")] + list(r.order) + (["n"] if r.tail == "named" else [])
        if left != wanted:
            yield f"{name} = {xp}.{'transpose' if oracle else 'permute_dims'}({name}, {tuple(left.index(c) for c in wanted)})"
        if r.block:
            yield f"{name} = {xp}.repeat({name}, 2, axis={wanted.index(r.block)})"
        yield from self._tail(r, name, xp)

    def _tail(self, r: Result, name: str, xp: str) -> Iterator[str]:
        if r.tail in ("expr", "bare"):
            yield f"{name} = {xp}.repeat({name}[..., None], {self.n_value} // 2 + 1, axis=-1)"

    @property
    def n_value(self) -> str:
        """How a body knows n."""
        if self.n_from == "scalar":
            return "n"
        for o in self.operands:
            for place, a in enumerate(o.axes):
                if a.kind == "named":
                    return f"{o.name}.shape[{place - len(o.axes)}]"
        return str(self.n)

    @property
    def parameters(self) -> list[str]:
        names = [o.name for o in self.operands]
        if self.buffers:
            names += [r.name for r in self.results if r.name not in names]
        if self.n_from == "scalar":
            names.append("n")
        names += [f"size_{i}" for i in self.spaces]
        return names + (["a"] if self.scalar is not None else [])

    @property
    def wants_tile(self) -> bool:
        return self.tile or bool(self.spaces) or "clip" in dict(self.boundary).values() or bool(self.wrong)

    def body_source(self) -> str:
        lead = ["xp", "tile"] if self.wants_tile else ["xp"]
        lines = [f"def body({', '.join([*lead, *self.parameters])}):"]
        inside = list(self._wrong_before())
        inside += self._v(oracle=False)
        for r in self.results:
            inside += self._result(r, oracle=False)
        values = [f"r_{r.name}" for r in self.results]
        if self.update:
            values = [
                f"xp.astype({v}, {self.update}.dtype)" if r.name == self.update else v
                for r, v in zip(self.results, values, strict=True)
            ]
        if self.buffers and self.seed % 3:
            inside += [f"{r.name}[...] = {v}" for r, v in zip(self.results, values, strict=True)]
            returned = "return None"
        else:
            returned = f"return {', '.join(values)}"
        inside += self._wrong_after()
        inside.append(self._wrong_return(returned))
        return "\n".join([*lines, *(f"    {line}" for line in inside)]) + "\n"

    def oracle_source(self) -> str:
        head = f"def oracle({', '.join(['np', *self.parameters])}):"
        inside = list(self._v(oracle=True))
        for r in self.results:
            inside += self._result(r, oracle=True)
        values = [f"np.asarray(r_{r.name}){f'.astype({r.cast!r})' if r.cast else ''}" for r in self.results]
        inside.append(f"return v, [{', '.join(values)}]")
        return "\n".join([head, *(f"    {line}" for line in inside)]) + "\n"

    def merge_source(self) -> str:
        folds = [r for r in self.results if r.op == "fold"]
        if not folds:
            return ""
        one = {"add": "{a} + {b}", "first": "{a}", "last": "{b}"}
        if len(folds) == 1:
            return f"def merge(xp, a, b):\n    return {one[folds[0].merge].format(a='a', b='b')}\n"
        parts = ", ".join(one[r.merge].format(a=f"a[{k}]", b=f"b[{k}]") for k, r in enumerate(folds))
        return f"def merge(xp, a, b):\n    return {parts}\n"

    # -- programs that are wrong ----------------------------------------------------------------------------

    def _wrong_before(self) -> Iterator[str]:
        i = next(iter(self.extents), None)
        if self.wrong == "raises everywhere":
            yield "raise Boom(tile)"
        elif self.wrong == "raises in one tile" and i:
            yield f"if tile.start({i!r}) <= {self.place % max(1, self.extents[i])} < tile.start({i!r}) + tile.size({i!r}):"
            yield "    raise Boom(tile)"
        elif self.wrong == "raises no Exception":
            yield "raise Gone(tile)"
        elif self.wrong == "cannot be pickled":
            yield "raise Stuck(lambda: tile)"
        elif self.wrong == "writes an operand" and self.operands:
            yield f"{self.operands[0].name}[...] = 0"

    def _wrong_after(self) -> Iterator[str]:
        i = next(iter(self.extents), None)
        first = f"r_{self.results[0].name}"
        if self.wrong == "dtype by tile" and i:
            yield f"if tile.start({i!r}) > 0:"
            yield f"    {first} = xp.astype({first}, xp.complex64)"

    def _wrong_return(self, returned: str) -> str:
        first = f"r_{self.results[0].name}"
        return {
            "returns None": "return None",
            "returns text": "return 'text'",
            "returns a list": f"return [{first}, {first}, {first}, {first}]",
            "returns another shape": f"return {', '.join(f'r_{r.name}[..., None]' for r in self.results)}",
            "returns nothing": "return ()",
            "returns an object": "return object()",
            "returns objects": f"return {', '.join(['np.array(None)'] * len(self.results))}",
        }.get(self.wrong, returned)

    # -- the call -------------------------------------------------------------------------------------------

    def array_source(self, o: Operand) -> str:
        if o.kind == "array":
            return f"make({o.seed}, {o.dtype!r}, {self.shape(o)}, {o.layout!r}, {o.special})"
        if o.kind == "scalar":
            return f"make({o.seed}, {o.dtype!r}, ())[()]"
        return repr(NUMBERS[np.dtype(o.dtype).kind])

    def kernel_source(self) -> str:
        options = [f"{k}={v!r}" for k, v in self.options]
        modes = {name: mode for name, mode in self.boundary}
        if modes:
            options.append(f"boundary={next(iter(modes.values()))!r}" if len(modes) == 1 else f"boundary={modes!r}")
        if any(r.cast for r in self.results):
            casts = tuple(r.cast or None for r in self.results)
            options.append(
                f"dtype={casts[0] if len(casts) == 1 else casts!r}" if len(casts) > 1 else f"dtype={casts[0]!r}"
            )
        if any(r.op == "fold" for r in self.results):
            options.append("fold=merge")
        return f"kernel({', '.join([repr(self.notation), *options])})(body)"

    def snippet(self) -> str:
        """The program as a script."""
        return "\n".join(
            [
                f"# program {self.seed}{f', which is wrong: {self.wrong}' if self.wrong else ''}; run in tests/",
                "import numpy as np",
                "from campaign.arrays import make",
                "from campaign.outcomes import Boom, Gone, Stuck",
                "from xpdispatch import kernel",
                "",
                self.body_source(),
                self.merge_source(),
                self.oracle_source(),
                f"made = {self.kernel_source()}",
                f"arguments = dict({', '.join(f'{k}={v}' for k, v in self.argument_sources().items())})",
                "print(made(**arguments))" if not self.results_given() else f"# results given: {self.results_given()}",
                "print(oracle(np, **arguments)[1])" if not self.buffers else "",
            ]
        )

    def argument_sources(self) -> dict[str, str]:
        found = {o.name: self.array_source(o) for o in self.operands}
        if self.n_from == "scalar":
            found["n"] = str(self.n)
        found |= {f"size_{i}": str(self.extents[i]) for i in self.spaces}
        if self.scalar is not None:
            found["a"] = repr(self.scalar)
        return found

    def results_given(self) -> dict[str, tuple[str, str]]:
        return {r.name: (r.out, r.layout) for r in self.results if r.out}

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
                    mode = dict(self.boundary)[o.name]
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
        if self.empty:
            yield "values", "no cell"
        if self.wrong:
            yield "wrong", self.wrong


WRONG = (
    *("raises everywhere", "raises in one tile", "raises in one tile", "raises no Exception", "cannot be pickled"),
    *("writes an operand", "dtype by tile", "returns None", "returns text", "returns a list"),
    *("returns another shape", "returns nothing", "returns an object", "returns objects"),
    *("shape", "dtype", "missing", "unexpected", "list", "none", "text", "masked", "array for scalar", "letters"),
    *("letters", "letters", "out shape", "out dtype", "out twice", "boundary", "operator", "object dtype", "datetime"),
)


def program(seed: int) -> Program:
    """The program of an integer."""
    rng = Random(seed)
    chance = lambda p: rng.random() < p  # noqa: E731
    count = rng.choice((0, 1, 1, 2, 2, 3))
    indices = {i: rng.choice(EXTENTS) for i in "ijk"[:count]}
    unknown = count == 1 and chance(0.2)
    lead: tuple[int, ...] = ()
    has_lead = not unknown and (chance(0.25) or count == 0)
    if has_lead:
        lead = tuple(rng.choice(EXTENTS[1:]) for _ in range(rng.choice((0, 1, 1, 2))))
    n = rng.choice((0, 1, 2, 3, 5, 6)) if not unknown else rng.choice((1, 2, 3, 5))
    base = rng.choice(DTYPES)
    mixed = chance(0.25)
    how_many = rng.choice((0, 1, 1, 2, 2, 3))
    update = count and how_many and chance(0.12)
    special = chance(0.25) and not update

    def dtype() -> str:
        if chance(0.02) and not update:
            return rng.choice(LONG)
        return rng.choice(DTYPES) if mixed and not update else base

    operands, boundary, named_there = [], {}, False
    for name in "xyz"[:how_many]:
        first = name == "x"
        axes: list[Ax] = []
        mode: Any = rng.choice(MODES)
        if mode == "valid" and first and update:
            mode = "edge"
        haloed = False
        for i in rng.sample(
            list(indices), len(indices) if first and (update or chance(0.6)) else rng.randint(0, count)
        ):
            what = rng.random()
            if what < 0.2:
                below, above = rng.choice(((1, 1), (0, 1), (2, 0), (1, 3), (2, 2)))
                axes.append(Ax("split", i, below, above))
                haloed = True
            elif what < 0.32:
                axes.append(Ax("split", i, scale=rng.choice((2, 3))))
            else:
                axes.append(Ax("split", i))
        if not (first and update):
            for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
                kind = rng.choice(("whole", "fixed", "named", "named"))
                if kind == "named" and any(a.kind == "named" for a in axes):
                    continue
                named_there |= kind == "named"
                axes.insert(
                    rng.randint(0, len(axes)), Ax(kind, extent=3 if kind == "fixed" else rng.choice((0, 1, 2, 4)))
                )
        own = None
        if has_lead and (chance(0.7) or (first and lead)):
            ranks = len(lead) if first or update else rng.randint(0, len(lead))
            own = tuple(1 if not (first or update) and chance(0.25) else e for e in lead[len(lead) - ranks :])
        if haloed:
            boundary[name] = rng.choice((0, 1, 2.0)) if mode == "constant" else mode
        kind = "array"
        if not axes and own in (None, ()) and not (first and update) and chance(0.6):
            kind = rng.choice(("number", "scalar"))
        layout = rng.choice(LAYOUTS) if chance(0.6) else "plain"
        if first and update and layout in ("broadcast", "read-only", "swapped"):
            layout = "plain"
        own_dtype = dtype()
        if kind == "number":
            own_dtype = {"b": "bool", "i": "int64", "u": "int64", "f": "float64", "c": "complex128"}[
                np.dtype(own_dtype).kind
            ]
        operands.append(
            Operand(name, tuple(axes), own, own_dtype, layout, rng.choice(PLACES), rng.randrange(2**31), special, kind)
        )
    if boundary and any(mode == 2.0 or mode == 1 for mode in boundary.values()):
        boundary = {k: (1 if not isinstance(m, str) and m else m) for k, m in boundary.items()}
    if has_lead and not any(o.lead is not None for o in operands):
        has_lead, lead = False, ()
    covered = {a.index for o in operands for a in o.axes}
    spaces = tuple(i for i in indices if i not in covered)
    if not operands and not spaces:  # nothing at all: one index space
        indices["i"] = rng.choice(EXTENTS)
        spaces = ("i",)
    dtypes = dtypes_of(operands)
    kinds = [d.kind for d in dtypes]
    kind = np.result_type(*dtypes).kind if operands else "i"
    combine = []
    for k in range(len(operands)):
        so_far = np.result_type(*dtypes[: k + 1]).kind
        both_bool = so_far == "b"
        ways = (
            ["&", "|", "^"]
            if both_bool
            else ["+", "*", "where"] + (["-"] if "b" not in kinds else []) + (["max"] if so_far != "c" else [])
        )
        combine.append(rng.choice(ways))
    n_from = "operand" if named_there else rng.choice(("scalar", ""))
    results = _results(rng, indices, has_lead, kind, n_from, unknown, chance)
    updated = ""
    if update and operands and set(indices) == {a.index for a in operands[0].axes}:
        updated = "x"
        x = operands[0]
        plain = Result("x", "", has_lead and x.lead is not None, tuple(a.index for a in x.axes))
        blocks = [a.index for a in x.axes if a.scale > 1]
        good = len(blocks) <= 1 and all(a.scale <= 2 for a in x.axes) and (not has_lead or x.lead is not None)
        if good:
            results = [replace(plain, block=blocks[0] if blocks else ""), *[r for r in results[1:] if r.name != "x"]]
        else:
            updated = ""
    results = [r if r.name != "x" or updated else replace(r, name="u") for r in results]
    buffers = (
        not unknown
        and not any(r.unknown or r.op == "fold" or r.tail == "bare" for r in results)
        and chance(0.2)
        and not updated
    )
    if all(not r.tail for r in results) and n_from == "scalar":
        n_from = ""
    if any(r.tail == "expr" for r in results) and not n_from:
        results = [replace(r, tail="") for r in results]
    scalar = rng.choice((2, 1, 3.0, None, None)) if kind in "fc" else rng.choice((2, 3, None))
    options: list[tuple[str, Any]] = []
    if chance(0.15):
        options.append(("deterministic", True))
    if chance(0.1):
        options.append(("cut", False))
    if chance(0.1):
        options.append(("on_error", "immediate"))
    wrong = rng.choice(WRONG) if chance(0.2) else ""
    return Program(
        seed,
        tuple(indices.items()),
        spaces,
        lead,
        n,
        n_from,
        tuple(operands),
        tuple(results),
        tuple(boundary.items()),
        tuple(combine),
        scalar,
        chance(0.2),
        buffers,
        updated,
        tuple(options),
        rng.choice((1, 2, 4, 7)),
        wrong,
        rng.randrange(2**31),
    )


def _results(
    rng: Random, indices: dict[str, int], has_lead: bool, kind: str, n_from: str, unknown: bool, chance: Any
) -> list[Result]:
    found = []
    folds: Result | None = None
    for name in ("u", "v2", "w")[: rng.choice((1, 1, 1, 2, 3))]:
        tail = rng.choice(("named", "expr")) if n_from and chance(0.35) else "bare" if chance(0.08) else ""
        if tail == "named" and n_from != "operand":
            tail = "expr"
        if unknown and (name == "u" or chance(0.5)):
            found.append(Result(name, "", False, (), tail if tail != "bare" else "", unknown=True))
            continue
        everything = chance(0.25)
        order = tuple(rng.sample(list(indices), len(indices) if everything else rng.randint(0, len(indices))))
        lead = has_lead and (everything or chance(0.5))
        op, merge = "", ""
        if len(order) < len(indices) or (has_lead and not lead):
            ops = ["sum", "sum", "prod", "any", "all", "fold"]
            ops += ["xor"] if kind in "biu" else []
            ops += ["max", "min"] if kind != "c" else []
            op = rng.choice(ops)
            if op == "fold":
                one = len(indices) - len(order) == 1 and not (has_lead and not lead)
                merge = rng.choice(("first", "last")) if one else "add"
                if folds is not None:
                    order, lead, merge = folds.order, folds.lead, folds.merge
        block = rng.choice(order) if order and chance(0.1) else ""
        cast = ""
        if (not op or (op in ("sum", "fold") and kind not in "iu")) and chance(
            0.15
        ):  # integers would wrap around before
            cast = (
                rng.choice(COMPLEX)
                if kind == "c"
                else rng.choice(("float64", "complex128") if kind == "f" else ("int64", "float64"))
            )
        made = Result(
            name,
            op,
            lead,
            order,
            tail,
            block,
            cast,
            False,
            rng.choice(("equal", "wider", "operand")) if chance(0.2) and tail != "bare" else "",
            rng.choice(LAYOUTS[:5]),
            merge,
        )
        if op == "fold" and folds is None:
            folds = made
        found.append(made)
    return found
