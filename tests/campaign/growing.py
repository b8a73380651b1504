"""Gives a program scans, keys, diagonals and more kinds of windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from .arrays import INTEGERS, LAYOUTS, PLACES
from .programs import MODES, Ax, Key, Operand, Program, Result

HALOS = ((1, 1), (0, 1), (2, 0), (1, 3), (2, 2))
NUMBER = "number"
"""A key that is Python's own integer, in the place of a memory layout."""
SCATTERED = ("sum", "sum", "prod", "max", "min", "any", "all")


def grown(p: Program) -> Program:
    """The program with some of these, or as it is."""
    rng = Random(p.seed + 2**42)
    if rng.random() < 0.4:
        return p
    steps: tuple[tuple[Callable[[Random, Program], Program], float], ...] = (
        (_with_windows, 0.4),
        (_with_a_diagonal, 0.15),
        (_with_a_gather, 0.25),
        (_with_a_scatter, 0.3),
        (_with_a_scan, 0.4),
    )
    for step, share in steps:
        if rng.random() < share:
            p = step(rng, p)
    return replace(p, stop=rng.random() < 0.5)


def _with_windows(rng: Random, p: Program) -> Program:
    """Halos around blocks, sizes that are scalars or named, and a boundary for each axis."""
    modes = p.modes
    found = []
    for o in p.operands:
        fixed = o.name == p.update
        axes = [_window(rng, p, a, fixed=fixed) for a in o.axes]
        at = [k for k, a in enumerate(axes) if a.kind == "split" and (a.window or a.scale > 1)]
        at = [k for k in at if not fixed or axes[k].scale == 1]  # the result has the same block, in numbers
        if at and rng.random() < 0.4:  # one of them, since it names its sizes after the operand
            k = rng.choice(at)
            axes[k] = replace(axes[k], sizes=axes[k].sizes or "scalars")
        windows = [a for a in axes if a.window]
        if windows:
            wanted = [m for m in MODES if m != "valid" or not fixed]
            drawn = tuple(_mode(rng, rng.choice(wanted)) for _ in windows)
            alone = o.name in modes and rng.random() < 0.3
            modes[o.name] = modes[o.name] if alone else drawn if rng.random() < 0.8 else drawn[0]
        found.append(replace(o, axes=tuple(axes)))
    return replace(p, operands=tuple(found), boundary=tuple(modes.items()))


def _mode(rng: Random, mode: str) -> Any:
    return rng.choice((0, 1)) if mode == "constant" else mode


def _window(rng: Random, p: Program, a: Ax, *, fixed: bool) -> Ax:
    if a.kind != "split" or (fixed and a.scale > 1) or rng.random() < 0.4:
        return a
    if p.n_from and p.n and not fixed and rng.random() < 0.15:
        return replace(a, below=0, above=p.n - 1, scale=1, sizes="n")
    below, above = (a.below, a.above) if a.window else rng.choice(HALOS)
    return replace(a, below=below, above=above, scale=a.scale if fixed or a.scale > 1 else rng.choice((1, 1, 2, 3)))


def _free(p: Program) -> list[tuple[int, Operand, list[int]]]:
    """Operands that may be changed, and their axes that an index alone stands for."""
    found = []
    for n, o in enumerate(p.operands):
        plain = [k for k, a in enumerate(o.axes) if a.plain]
        if plain and o.kind == "array" and o.name != p.update:
            found.append((n, o, plain))
    return found


def _replaced(p: Program, n: int, o: Operand) -> tuple[Operand, ...]:
    return (*p.operands[:n], o, *p.operands[n + 1 :])


def _with_a_diagonal(rng: Random, p: Program) -> Program:
    free = _free(p)
    if not free:
        return p
    n, o, plain = rng.choice(free)
    first = rng.choice(plain)
    axes = list(o.axes)
    axes.insert(rng.randint(first + 1, len(axes)), Ax("again", axes[first].index))
    return replace(p, operands=_replaced(p, n, replace(o, axes=tuple(axes))))


def _key(rng: Random, p: Program, axes: list[str]) -> Key:
    """A key with these indices, in another order."""
    none = any(p.extents[i] == 0 for i in axes)
    made = Key(
        name="gh"[len(p.keys)],
        axes=tuple(rng.sample(axes, len(axes))),
        extent=rng.choice((0, 1, 4) if none else (1, 1, 2, 4, 7)),
        dtype=rng.choice(INTEGERS),
        layout=rng.choice(LAYOUTS[:-1]),
        place=rng.choice(PLACES),
        seed=rng.randrange(2**31),
        fixed=rng.choice((0, 0, 0, 2)),
    )
    return made if made.labels or rng.random() < 0.5 else replace(made, layout=NUMBER)


def _with_a_gather(rng: Random, p: Program) -> Program:
    """An axis of an operand along which a key says the place, which has the axis' index, and another one, perhaps."""
    taken = lambda o: o.lead is not None or any(a.window or a.scale > 1 or a.kind == "again" for a in o.axes)  # noqa: E731
    free = [f for f in _free(p) if not taken(f[1])]
    if not free or len(p.keys) > 1:
        return p
    n, o, plain = rng.choice(free)
    at = rng.choice(plain)
    others = [i for i in p.extents if i != o.axes[at].index and i not in p.spaces]
    key = _key(rng, p, [o.axes[at].index, *rng.sample(others, rng.randint(0, min(1, len(others))))])
    axes = list(o.axes)
    axes[at] = Ax("key", key.name)
    return replace(p, operands=_replaced(p, n, replace(o, axes=tuple(axes))), keys=(*p.keys, key))


def _changed(rng: Random, p: Program) -> int | None:
    """A result that may become another."""
    places = [k for k, r in enumerate(p.results) if r.name != p.update]
    return rng.choice(places) if places else None


def _with_a_scatter(rng: Random, p: Program) -> Program:
    """A result whose cells one or two keys name."""
    at = _changed(rng, p)
    known = [i for i in p.extents if i not in p.spaces]
    if at is None or len(p.keys) > 1 or not p.operands:
        return p
    keys = [*p.keys] if rng.random() < 0.3 else []
    new = _key(rng, p, rng.sample(known, rng.randint(0 if rng.random() < 0.1 else min(1, len(known)), len(known))))
    keys.append(new)
    beside = rng.sample([*p.extents], rng.randint(0, len(p.extents)))
    order = [*(f"@{k.name}" for k in keys), *beside]
    r = p.results[at]
    operators = [op for op in SCATTERED if p.kind != "c" or op not in ("max", "min")]
    made = Result(
        r.name,
        rng.choice(operators),
        lead=False,
        order=tuple(rng.sample(order, len(order))),
        tail=r.tail if r.tail != "bare" else "",
        cast=r.cast if p.kind in "fc" else "",
        out="" if r.unknown else r.out,
        layout=r.layout,
    )
    made = replace(made, cast=made.cast if made.op == "sum" else "")
    return replace(p, results=(*p.results[:at], made, *p.results[at + 1 :]), keys=(*p.keys, new), buffers=False)


def _with_a_scan(rng: Random, p: Program) -> Program:
    at = _changed(rng, p)
    if at is None or not p.extents or p.results[at].keyed:
        return p
    operators = ["sum", "prod", "any", "all", "fold", "fold", "pair", "pair"]
    operators += ["xor"] * (p.kind in "biu") + ["max", "min"] * (p.kind != "c")
    op, r = rng.choice(operators), p.results[at]
    made = replace(
        r,
        op="fold" if op == "pair" else op,
        merge={"fold": "add", "pair": "factor"}.get(op, ""),
        lead=any(o.lead is not None for o in p.operands),
        order=tuple(rng.sample([*p.extents], len(p.extents))),
        scan=rng.choice([*p.extents]),
        backward=rng.random() < 0.5,
        block="",
        unknown=False,
        cast=r.cast if op == "sum" and p.kind in "fc" else "",
        out="" if r.unknown else r.out,
    )
    results = [*p.results]
    if made.op == "fold":  # all folds are scans, or none is
        results = [replace(r, op="sum", merge="", cast="") if r.op == "fold" else r for r in results]
    results[at] = made
    if op == "pair":
        results.append(replace(made, name="s2", merge="value"))
    return replace(p, results=tuple(results), buffers=p.buffers and made.op != "fold")
