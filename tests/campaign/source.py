"""The source of a program: body, oracle and call.

Bodies come from a small grammar. Each operand is brought to one axis for each index of the kernel: windows under a
halo and the cells of a block are added up with weights, whole axes are summed. The operands are then combined by
arithmetic to ``v``, and every result is ``v`` combined over what it leaves out, scanned, or sent to the cells of keys.
The body does so with what it gets of a tile; the oracle does so over whole arrays, halos made by :func:`numpy.pad`,
gathers by indices, scans by `accumulate` and scatters by `at` of NumPy's ufuncs, and knows nothing of xpdispatch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .programs import NUMBERS, Ax, Key, Operand, Program, Result


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
    rank = len(o.lead or ()) + len(p.seen(o))
    yield f"low, high = tile.halo({o.name!r}, {place if p.seed % 2 else place - rank})"
    yield f"shape = list({t}.shape)"
    yield f"shape[{place}] = {a.below} - low"
    yield f"zeros = xp.zeros(tuple(shape), dtype={t}.dtype)"
    yield f"shape[{place}] = {a.above} - high"
    yield f"{t} = xp.concat([zeros, {t}, xp.zeros(tuple(shape), dtype={t}.dtype)], axis={place})"


def _as_seen(p: Program, o: Operand) -> Iterator[str]:
    """An operand as the body should get it, of whole arrays: with what lies outside, its diagonal, or gathered."""
    t, lead = f"t_{o.name}", len(o.lead or ())
    modes = p.axis_modes(o)
    for k, mode in sorted(modes.items(), key=lambda found: found[1] == "clip"):  # which the body pads, at last
        widths = [(0, 0)] * (lead + len(o.axes))
        widths[lead + k] = o.axes[k].below, o.axes[k].above
        named = isinstance(mode, str) and mode != "clip"
        how = f"mode={mode!r}" if named else f"constant_values={0 if mode == 'clip' else mode!r}"
        if mode != "valid":
            yield f"{t} = np.pad({t}, {widths}, {how})"
    again = next((k for k, a in enumerate(o.axes) if a.kind == "again"), None)
    if again is not None:
        first = next(k for k, a in enumerate(o.axes) if a.index == o.axes[again].index)
        yield f"{t} = np.moveaxis(np.diagonal({t}, 0, {lead + first}, {lead + again}), -1, {lead + first})"
    if any(a.kind == "key" for a in o.axes):
        wanted = [a.index or f":{k}" for k, a in enumerate(p.seen(o))]
        whole = iter([label for label in wanted if label[0] == ":" and label[1:].isdigit()])
        places = [
            _spread(p, f"@{a.index}" if a.kind == "key" else a.index or next(whole), wanted, f"{t}.shape[{k}]")
            for k, a in enumerate(o.axes)
        ]
        yield f"{t} = {t}[{', '.join(places)}]"


def _spread(p: Program, axis: str, wanted: list[str], extent: str) -> str:
    """The places along an axis, for each element of an array with axes of these names."""
    if not axis.startswith("@"):
        return f"np.arange({extent})[{_indexed(wanted, [axis])}]"
    key = p.key(axis[1:])
    ordered = [label for label in wanted if label in key.labels]
    turned = f".transpose({tuple(key.labels.index(label) for label in ordered)})" if ordered != key.labels else ""
    return f"{key.name}{turned}[{_indexed(wanted, ordered)}]"


def _operand(p: Program, o: Operand, xp: str) -> Iterator[str]:
    """Bring an operand to the axes of ``v``."""
    t = f"t_{o.name}"
    yield f"{t} = {o.name}"
    lead = len(o.lead or ())
    boolean = o.dtype == "bool"
    if xp == "np":
        yield from _as_seen(p, o)
    modes = {id(o.axes[k]): mode for k, mode in p.axis_modes(o).items()}
    gone, left = [], [f"...{k - lead}" for k in range(lead)]
    for place, a in enumerate(p.seen(o), start=lead):
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
        if halo == 0 and a.scale == 1:
            continue
        if modes.get(id(a)) == "clip" and xp != "np":
            yield from _clipped(p, o, a, place)
        yield f"m = {t}.shape[{place}] - {halo + a.scale - 1}"
        every = f":{a.scale}" if a.scale > 1 else ""
        terms = [f"{t}[{before}{k}:{k}+m{every}]" for k in range(halo + a.scale)]
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
        if p.stop and xp == "xp":
            cells = f"xp.flip(tile.stop({i!r}) - 1 - xp.arange(tile.size({i!r}))) % 3"
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
    if p.kind == "b" and (r.op in ("sum", "prod") or r.merge == "add"):
        counts = r.op != "prod" and axes
        yield f"{name} = {xp}.count_nonzero({name}, axis={axes})" if counts else f"{name} = {name} * 1"
        if counts:
            return
    if r.op == "prod" and p.kind in "fc":  # which no order of multiplying rounds
        yield f"{name} = {xp}.where({xp}.real({name}) > 0, {name} * 0 + 1, {name} * 0 - 1)"
    if r.op in ("any", "all"):
        yield f"{name} = {name} != 0"
    if not axes:
        return
    if r.op == "sum" or r.merge == "add":
        yield f"{name} = {xp}.sum({name}, axis={axes}{own})"
    elif r.op == "prod":
        yield f"{name} = {xp}.prod({name}, axis={axes}{own})"
    elif r.op in ("max", "min", "any", "all"):
        yield f"{name} = {xp}.{r.op}({name}, axis={axes})"
    elif r.op == "xor":
        yield f"{name} = np.bitwise_xor.reduce({name}, axis={axes})"
    elif r.op == "fold":
        yield f"{name} = {name}[{':, ' * axes[0]}{0 if r.merge == 'first' else -1}]"


UFUNCS = {
    **{"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum", "any": "logical_or", "all": "logical_and"},
    **{"xor": "bitwise_xor", "fold": "add"},
}


def _scanned(p: Program, r: Result, xp: str, axis: int) -> Iterator[str]:
    """A result's scan: by the oracle's `accumulate`, and in the body by steps that double."""
    name, before = f"r_{r.name}", ":, " * axis
    if r.merge in ("factor", "value"):
        yield from _recurrence(p, r, xp, axis)
    elif xp == "np":
        flipped = (f"np.flip({name}, {axis})", f"{name} = np.flip({name}, {axis})")
        ufunc = f"np.{UFUNCS[r.op]}.accumulate"
        yield f"{name} = {ufunc}({flipped[0] if r.backward else name}, axis={axis}, dtype={name}.dtype)"
        if r.backward:
            yield flipped[1]
    elif r.op == "sum" and p.seed % 2 and not r.backward:
        yield f"{name} = xp.cumulative_sum({name}, axis={axis}, dtype={name}.dtype)"
    else:
        first, second = f"{name}[{before}:-step]", f"{name}[{before}step:]"
        both = f"xp.{UFUNCS[r.op]}({first}, {second})"
        yield "step = 1"
        yield f"while step < {name}.shape[{axis}]:"
        parts = f"{both}, {name}[{before}-step:]" if r.backward else f"{name}[{before}:step], {both}"
        yield f"    {name} = xp.concat([{parts}], axis={axis})"
        yield "    step *= 2"


def _recurrence(p: Program, r: Result, xp: str, axis: int) -> Iterator[str]:
    """``y[i] = f[i] * y[i-1] + c[i]``, by the oracle in a loop; of it the products of ``f``, or ``y``."""
    name, before = f"r_{r.name}", ":, " * axis
    if p.kind == "b":
        yield f"{name} = {name} * 1"
    other = "- 1" if p.kind in "fc" else "+ 3"
    positive = f"{xp}.real({name}) > 0" if p.kind in "fc" else f"{name} > 0"
    yield f"f, c = {xp}.where({positive}, {name} * 0 + 1, {name} * 0 {other}), {name}"
    if xp == "np":
        yield f"f, c = (np.moveaxis(part, {axis}, 0).copy() for part in (f, c))"
        if r.backward:
            yield "for t in range(len(f) - 2, -1, -1):"
            yield "    f[t], c[t] = f[t] * f[t + 1], f[t + 1] * c[t] + c[t + 1]"
        else:
            yield "for t in range(1, len(f)):"
            yield "    f[t], c[t] = f[t - 1] * f[t], f[t] * c[t - 1] + c[t]"
        yield f"f, c = (np.moveaxis(part, 0, {axis}) for part in (f, c))"
    else:
        products = f"f[{before}:-step] * f[{before}step:]"
        values = f"f[{before}step:] * c[{before}:-step] + c[{before}step:]"
        if r.backward:
            parts = f"[{products}, f[{before}-step:]]", f"[{values}, c[{before}-step:]]"
        else:
            parts = f"[f[{before}:step], {products}]", f"[c[{before}:step], {values}]"
        yield "step = 1"
        yield f"while step < f.shape[{axis}]:"
        yield f"    f, c = {', '.join(f'xp.concat({part}, axis={axis})' for part in parts)}"
        yield "    step *= 2"
    yield f"{name} = {'f' if r.merge == 'factor' else 'c'}"


IDENTITIES = {
    "max": "-np.inf if {0}.dtype.kind == 'f' else np.iinfo({0}.dtype).min if {0}.dtype.kind != 'b' else False",
    "min": "np.inf if {0}.dtype.kind == 'f' else np.iinfo({0}.dtype).max if {0}.dtype.kind != 'b' else True",
    **{"sum": "0", "prod": "1", "any": "False", "all": "True"},
}


def _labels(p: Program, r: Result) -> list[str]:
    """The axes of what the body returns for a result with keys, each once, at its first place."""
    found = [label for a in r.order for label in (p.key(a[1:]).labels if a[0] == "@" else [a])]
    return [*dict.fromkeys(found)]


def _scattered(p: Program, r: Result, labels: list[str]) -> Iterator[str]:
    """By NumPy's own `ufunc.at`."""
    name = f"r_{r.name}"
    shape = p.result_shape(replace(r, tail="named" if "n" in labels else ""))
    axes = [*r.order, *(["n"] if "n" in labels else [])]
    places = [_spread(p, a, labels, str(n)) for a, n in zip(axes, shape, strict=True)]
    yield f"cells = np.full({shape}, {IDENTITIES[r.op].format(name)}, {name}.dtype)"
    yield f"np.{UFUNCS[r.op]}.at(cells, ({', '.join(places)},), {name})"
    yield f"{name} = cells"


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
        order = _labels(p, r) if r.keyed else list(r.order)
        left = [a for a in axes if a == "n" or a in order or (r.lead and a.startswith("..."))]
        if r.op:
            yield from _combined(p, r, xp, tuple(k for k, a in enumerate(axes) if a not in left))
        if r.scan:
            yield from _scanned(p, r, xp, left.index(r.scan))
        for a in (a for a in order if a.startswith(":")):  # the key has more than one element
            yield f"{name} = {xp}.repeat({name}[..., None], {p.key(a[1:]).fixed}, axis=-1)"
            left.append(a)
        wanted = [a for a in left if a.startswith("...")] + order + [a for a in left if a == "n"]
        yield from _permuted(xp, name, left, wanted)
        if r.block:
            yield f"{name} = {xp}.repeat({name}, 2, axis={wanted.index(r.block)})"
        if r.keyed and xp == "np":
            yield from _scattered(p, r, wanted)
    if r.tail in ("expr", "bare"):
        yield f"{name} = {xp}.repeat({name}[..., None], {_n(p, xp)} // 2 + 1, axis=-1)"


def _n(p: Program, xp: str) -> str:
    """How a body knows the extent called n."""
    if p.n_from == "scalar":
        return "n"
    for o in p.operands if xp == "xp" else ():
        axes = [a.kind for a in p.seen(o)]
        if "named" in axes:
            return f"{o.name}.shape[{axes.index('named') - len(axes)}]"
    return str(p.n)


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
    if "factor" in folds:
        return _function("merge(xp, a, b)", ["return a[0] * b[0], b[0] * a[1] + b[1]"])
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
    found |= {k.name: _keys(p, k) for k in p.keys}
    found |= {f"size_{i}": str(p.extents[i]) for i in p.spaces}
    found |= {name: str(size) for name, size in p.sizes.items()}
    if p.scalar is not None:
        found["a"] = repr(p.scalar)
    return found


def _array(p: Program, o: Operand) -> str:
    if o.kind == "array":
        return f"make({o.seed}, {o.dtype!r}, {p.shape(o)}, {o.layout!r}, {o.special})"
    return f"make({o.seed}, {o.dtype!r}, ())[()]" if o.kind == "scalar" else repr(NUMBERS[np.dtype(o.dtype).kind])


def _keys(p: Program, k: Key) -> str:
    shape = (*(p.extents[i] for i in k.axes), *([k.fixed] if k.fixed else []))
    made = f"make_keys({k.seed}, {k.dtype!r}, {shape}, {k.layout!r}, {k.extent})"
    return f"int({made})" if k.layout == "number" else made


def snippet(p: Program) -> str:
    """The program as a script, to be run in this package's parent folder; arrays given for results are only told of."""
    given = {r.name: f"{r.out or 'buffer'}, {r.layout}" for r in p.results if r.out or p.buffers}
    return "\n".join(
        [
            f"# program {p.seed}{f', which is wrong: {p.wrong}' if p.wrong else ''}",
            "import numpy as np",
            "from campaign.arrays import make, make_keys",
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
