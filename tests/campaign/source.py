"""The source of a program: body, oracle and call.

Bodies come from a small grammar. Each operand is brought to one axis for each index of the kernel: windows under a
halo and the cells of a block are added up with weights, whole axes are summed. The operands are then combined by
arithmetic to ``v``, and every result is ``v`` combined over what it leaves out. The body does so with what it gets of
a tile; the oracle does so over whole arrays, halos made by :func:`numpy.pad`, and knows nothing of xpdispatch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .programs import NUMBERS, Ax, Operand, Program, Result


def _indexed(axes: list[str], held: list[str]) -> str:
    """An index that gives an array with some of these axes all of them."""
    return ", ".join(":" if a in held else "None" for a in axes) or "..."


def _permuted(xp: str, array: str, axes: list[str], wanted: list[str]) -> Iterator[str]:
    if axes != wanted:
        function = "transpose" if xp == "np" else "permute_dims"
        yield f"{array} = {xp}.{function}({array}, {tuple(axes.index(a) for a in wanted)})"


def _clipped(p: Program, o: Operand, a: Ax, place: int) -> Iterator[str]:
    """Zeros in the place of the cells that a tile at the edge does not have."""
    t = f"t_{o.name}"
    rank = len(o.lead or ()) + len(o.axes)
    yield f"low, high = tile.halo({o.name!r}, {place if p.seed % 2 else place - rank})"
    yield f"shape = list({t}.shape)"
    yield f"shape[{place}] = {a.below} - low"
    yield f"zeros = xp.zeros(tuple(shape), dtype={t}.dtype)"
    yield f"shape[{place}] = {a.above} - high"
    yield f"{t} = xp.concat([zeros, {t}, xp.zeros(tuple(shape), dtype={t}.dtype)], axis={place})"


def _operand(p: Program, o: Operand, xp: str) -> Iterator[str]:
    """Bring an operand to the axes of ``v``."""
    t = f"t_{o.name}"
    yield f"{t} = {o.name}"
    lead = len(o.lead or ())
    boolean = o.dtype == "bool"
    mode = p.modes.get(o.name)
    if xp == "np" and mode not in ("valid", None):
        widths = [(0, 0)] * lead + [(a.below, a.above) for a in o.axes]
        named = isinstance(mode, str) and mode != "clip"
        how = f"mode={mode!r}" if named else f"constant_values={0 if mode == 'clip' else mode!r}"
        yield f"{t} = np.pad({t}, {widths}, {how})"
    gone, left = [], [f"...{k - lead}" for k in range(lead)]
    for place, a in enumerate(o.axes, start=lead):
        before, halo = ":, " * place, a.below + a.above
        if a.kind != "split":
            if a.kind == "named" and p.keeps_n:
                left.append("n")
                continue
            more = f"axis={place}, keepdims=True"
            yield f"{t} = {xp}.{f'any({t}, {more})' if boolean else f'sum({t}, {more}, dtype={xp}.{o.dtype})'}"
            gone.append(place)
            continue
        left.append(a.index)
        if halo:
            if mode == "clip" and xp != "np":
                yield from _clipped(p, o, a, place)
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
    if gone:
        yield f"{t} = {xp}.squeeze({t}, axis={tuple(gone)})"
    wanted = [c for c in p.canonical if c in left]
    yield from _permuted(xp, t, left, wanted)
    if wanted != p.canonical:
        yield f"{t} = {t}[{_indexed(p.canonical, wanted)}]"


def _v(p: Program, xp: str) -> Iterator[str]:
    """The operands combined, and the coordinates of indices that no operand has."""
    for o in p.operands:
        yield from _operand(p, o, xp)
    for k, (o, how) in enumerate(zip(p.operands, p.combine, strict=True)):
        t = f"t_{o.name}"
        if k == 0:
            yield f"v = {t}"
        elif how == "max":
            yield f"v = {xp}.maximum(v, {t})"
        elif how == "where":
            yield f"v = {xp}.where(v == {t}, v, {t})"
        else:
            yield f"v = v {how} {t}"
    counted = p.spaces or (tuple(p.extents)[:1] if p.tile else ())
    for k, i in enumerate(counted):
        cells = f"np.arange({p.extents[i]}) % 3" if xp == "np" else f"tile.coords({i!r}) % 3"
        place = _indexed(p.canonical, [i])
        if k == 0 and not p.operands:
            yield f"v = ({cells})[{place}]"
        else:
            cast = f"({cells}).astype(v.dtype)" if xp == "np" else f"xp.astype({cells}, v.dtype)"
            yield f"v = v {'^' if p.kind == 'b' else '+'} {cast}[{place}]"
    if p.scalar is not None and p.kind != "b":
        yield "v = v * a"
    for how in p.cells:
        yield from _done_to_cells(p, how, xp)


def _done_to_cells(p: Program, how: str, xp: str) -> Iterator[str]:
    """What keeps ``v`` in its dtype, and its numbers small."""
    number = p.kind != "b"
    if how == "kept" and xp == "xp":
        yield "kept[id(v)] = v"
        yield "v = kept[id(v)][...]"
    if how == "in place":
        yield f"c_0 = v {'*' if number else '&'} v"
        yield "c_1 = c_0"
        yield f"c_0 {'-' if number else '^'}= v"
        yield f"v = {xp}.where(c_0 == v, c_1, v)"
    elif how == "assigned":
        yield f"c_0 = {xp}.asarray(v, copy=True)"
        yield f"c_0[...] = v {'+ v' if number else '^ v'}"
        yield f"v = {xp}.where(c_0 == v, c_0, v)"
    elif how == "cast":
        yield f"c_0 = {xp}.astype(v, {xp}.{p.dtype}, copy=True)"
        yield f"v = {xp}.where(c_0 != v, c_0, v)"
    elif how == "clip" and p.kind in "iuf":  # array-api-compat's own has no other byte order
        yield f"v = {xp}.clip(v * 1, {'0' if p.kind == 'u' else '-4'}, {4 if p.seed % 2 else None})"
    elif how == "error state":
        yield "with np.errstate(all='ignore'):"
        yield f"    v = {xp}.where(v == v, v {'+' if number else '^'} v, v)"
    elif how == "square" and number:
        yield "v = v + 0 * v**2"


def _combined(p: Program, r: Result, xp: str, axes: tuple[int, ...]) -> Iterator[str]:
    """``v``, called by the result's name, combined over the axes that the result leaves out."""
    name = f"r_{r.name}"
    own = f", dtype={xp}.{p.dtype}" if p.seed % 3 and p.kind != "b" else ""
    if r.op == "sum" or r.merge == "add":
        if p.kind == "b":
            yield f"{name} = {xp}.count_nonzero({name}, axis={axes})" if axes else f"{name} = {name} * 1"
        else:
            yield f"{name} = {xp}.sum({name}, axis={axes}{own})"
    elif r.op == "prod":
        if p.kind in "fc":  # which no order of multiplying rounds
            yield f"{name} = {xp}.where({xp}.real({name}) > 0, {name} * 0 + 1, {name} * 0 - 1)"
        elif p.kind == "b":
            yield f"{name} = {name} * 1"
        yield f"{name} = {xp}.prod({name}, axis={axes}{own})"
    elif r.op in ("max", "min"):
        yield f"{name} = {xp}.{r.op}({name}, axis={axes})"
    elif r.op in ("any", "all"):
        yield f"{name} = {xp}.{r.op}({name} != 0, axis={axes})"
    elif r.op == "xor":
        yield f"{name} = np.bitwise_xor.reduce({name}, axis={axes})"
    elif r.op == "fold":
        yield f"{name} = {name}[{':, ' * axes[0]}{0 if r.merge == 'first' else -1}]"


def _result(p: Program, r: Result, xp: str) -> Iterator[str]:
    name = f"r_{r.name}"
    yield f"{name} = v"
    axes = p.canonical
    if r.unknown:
        row = "v[:, 0]" if p.keeps_n else "v"
        mask = row if p.kind == "b" else f"{xp}.real({row}) > 0"
        yield f"{name} = v[{mask}]"
        if p.keeps_n and r.tail != "named":
            yield f"{name} = {name}[:, 0]"
    else:
        if p.keeps_n and r.tail != "named":
            whole = f"any({name}, axis=-1)" if p.kind == "b" else f"sum({name}, axis=-1, dtype={xp}.{p.dtype})"
            yield f"{name} = {xp}.{whole}"
            axes = axes[:-1]
        left = [a for a in axes if a == "n" or a in r.order or (r.lead and a.startswith("..."))]
        yield from _combined(p, r, xp, tuple(k for k, a in enumerate(axes) if a not in left))
        wanted = [a for a in left if a.startswith("...")] + list(r.order) + [a for a in left if a == "n"]
        yield from _permuted(xp, name, left, wanted)
        if r.block:
            yield f"{name} = {xp}.repeat({name}, 2, axis={wanted.index(r.block)})"
    if r.tail in ("expr", "bare"):
        yield f"{name} = {xp}.repeat({name}[..., None], {_n(p)} // 2 + 1, axis=-1)"


def _n(p: Program) -> str:
    """How a body knows the extent called n."""
    if p.n_from == "scalar":
        return "n"
    places = [(o, k) for o in p.operands for k, a in enumerate(o.axes) if a.kind == "named"]
    return f"{places[0][0].name}.shape[{places[0][1] - len(places[0][0].axes)}]" if places else str(p.n)


def _function(head: str, lines: list[str]) -> str:
    return "\n".join([f"def {head}:", *(f"    {line}" for line in lines)]) + "\n"


def body(p: Program) -> str:
    """The body's source."""
    lead = ["xp", "tile"] if p.wants_tile else ["xp"]
    lines = list(_wrong_before(p))
    lines += _v(p, "xp")
    for r in p.results:
        lines += _result(p, r, "xp")
    values = [f"xp.astype(r_{r.name}, {r.name}.dtype)" if r.name == p.update else f"r_{r.name}" for r in p.results]
    returned = f"return {', '.join(values)}"
    if p.buffers and p.seed % 3:
        lines += [f"{r.name}[...] = {v}" for r, v in zip(p.results, values, strict=True)]
        returned = "return None"
    lines += _wrong_after(p)
    return _function(f"body({', '.join([*lead, *p.parameters])})", [*lines, _wrong_return(p, returned)])


def oracle(p: Program) -> str:
    """The source of the same over whole arrays; it returns ``v`` and a list of the results."""
    lines = list(_v(p, "np"))
    for r in p.results:
        lines += _result(p, r, "np")
    values = [f"np.asarray(r_{r.name}){f'.astype({r.cast!r})' if r.cast else ''}" for r in p.results]
    return _function(f"oracle({', '.join(['np', *p.parameters])})", [*lines, f"return v, [{', '.join(values)}]"])


def merge(p: Program) -> str:
    """The source of what folds partial results; empty where none is folded."""
    ways = {"add": "a{k} + b{k}", "first": "a{k}", "last": "b{k}"}
    folds = [r.merge for r in p.results if r.op == "fold"]
    if not folds:
        return ""
    places = [""] if len(folds) == 1 else [f"[{k}]" for k in range(len(folds))]
    parts = [ways[fold].format(k=k) for fold, k in zip(folds, places, strict=True)]
    return _function("merge(xp, a, b)", [f"return {', '.join(parts)}"])


def _wrong_before(p: Program) -> Iterator[str]:
    i = next(iter(p.extents), None)
    if p.wrong == "raises everywhere":
        yield "raise Boom(tile)"
    elif p.wrong == "raises in one tile" and i:
        cell = p.place % max(1, p.extents[i])
        yield f"if tile.start({i!r}) <= {cell} < tile.start({i!r}) + tile.size({i!r}):"
        yield "    raise Boom(tile)"
    elif p.wrong == "raises no Exception":
        yield "raise Gone(tile)"
    elif p.wrong == "cannot be pickled":
        yield "raise Stuck(lambda: tile)"
    elif p.wrong == "writes an operand" and p.operands:
        yield f"{p.operands[0].name}[...] = 0"


def _wrong_after(p: Program) -> Iterator[str]:
    i = next(iter(p.extents), None)
    if p.wrong == "dtype by tile" and i:
        first = f"r_{p.results[0].name}"
        yield f"if tile.start({i!r}) > 0:"
        yield f"    {first} = xp.astype({first}, xp.complex64)"


def _wrong_return(p: Program, returned: str) -> str:
    first = f"r_{p.results[0].name}"
    return {
        "returns None": "return None",
        "returns text": "return 'text'",
        "returns a list": f"return [{first}, {first}, {first}, {first}]",
        "returns another shape": f"return {', '.join(f'r_{r.name}[..., None]' for r in p.results)}",
        "returns nothing": "return ()",
        "returns an object": "return object()",
        "returns objects": f"return {', '.join(['np.array(None)'] * len(p.results))}",
    }.get(p.wrong, returned)


def kernel(p: Program) -> str:
    """The expression that makes the kernel of its body."""
    options = [f"{k}={v!r}" for k, v in p.options]
    modes, casts = p.modes, [r.cast or None for r in p.results]
    if modes:
        options.append(f"boundary={(next(iter(modes.values())) if len(modes) == 1 else modes)!r}")
    if any(casts):
        options.append(f"dtype={(casts[0] if len(casts) == 1 else tuple(casts))!r}")
    if any(r.op == "fold" for r in p.results):
        options.append("fold=merge")
    return f"kernel({', '.join([repr(p.notation), *options])})(body)"


def arguments(p: Program) -> dict[str, str]:
    """The expressions for operands and scalars, by name."""
    found = {o.name: _array(p, o) for o in p.operands}
    if p.n_from == "scalar":
        found["n"] = str(p.n)
    found |= {f"size_{i}": str(p.extents[i]) for i in p.spaces}
    if p.scalar is not None:
        found["a"] = repr(p.scalar)
    return found


def _array(p: Program, o: Operand) -> str:
    if o.kind == "array":
        return f"make({o.seed}, {o.dtype!r}, {p.shape(o)}, {o.layout!r}, {o.special})"
    return f"make({o.seed}, {o.dtype!r}, ())[()]" if o.kind == "scalar" else repr(NUMBERS[np.dtype(o.dtype).kind])


def snippet(p: Program) -> str:
    """The program as a script, to be run in this package's parent folder; arrays given for results are only told of."""
    given = {r.name: f"{r.out or 'buffer'}, {r.layout}" for r in p.results if r.out or p.buffers}
    return "\n".join(
        [
            f"# program {p.seed}{f', which is wrong: {p.wrong}' if p.wrong else ''}",
            "import numpy as np",
            "from campaign.arrays import make",
            "from campaign.raised import Boom, Gone, Stuck",
            "from xpdispatch import kernel\n",
            "kept = {}\n",
            *(part for part in (body(p), merge(p), oracle(p)) if part),
            f"made = {kernel(p)}",
            f"arguments = dict({', '.join(f'{k}={v}' for k, v in arguments(p).items())})",
            f"# arrays given for results: {given}" if given else "print(made(**arguments))",
            "" if p.buffers else "print(oracle(np, **arguments)[1])",
        ]
    )
