"""Make a failing program smaller, as long as it fails in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .outcomes import Failure, check
from .programs import Program


def shrunk(program: Program, failure: Failure, engines: tuple[str, ...]) -> tuple[Program, Failure]:
    """The smallest program that was found, and how it fails."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _simpler(program):
            try:
                found = check(candidate, engines)
            except Exception:  # a change that made no program
                continue
            if found is not None and (found.engine, found.kind) == (failure.engine, failure.kind):
                program, failure, smaller = candidate, found, True
                break
    return program, failure


def _simpler(p: Program) -> Iterator[Program]:
    for k in range(len(p.results)):
        if len(p.results) > 1 and p.results[k].name != p.update:
            yield replace(p, results=(*p.results[:k], *p.results[k + 1 :]))
    if len(p.operands) > 1:
        last = p.operands[-1]
        others = {a.index for o in p.operands[:-1] for a in o.axes}
        if all(a.kind != "split" or a.index in others for a in last.axes):
            yield replace(p, operands=p.operands[:-1], combine=p.combine[:-1])
    used = {a.index for o in p.operands for a in o.axes if a.kind == "key"} | {
        a[1:] for r in p.results for a in r.order
    }
    kept = tuple(k for k in p.keys if k.name in used)
    nothing = (("options", ()), ("scalar", None), ("tile", False), ("buffers", False), ("cells", ()), ("keys", kept))
    for name, empty in (*nothing, ("stop", False)):
        if getattr(p, name) not in (empty,):
            yield replace(p, **{name: empty})
    for k, o in enumerate(p.operands):
        for change in ({"layout": "plain"}, {"place": "cupynumeric"}, {"special": False}, {"kind": "array"}):
            if any(getattr(o, name) != value for name, value in change.items()):
                yield replace(p, operands=(*p.operands[:k], replace(o, **change), *p.operands[k + 1 :]))
        for at, a in enumerate(o.axes):
            if a.kind != "split" and not (a.kind == "named" and p.n_from == "operand"):
                axes = (*o.axes[:at], *o.axes[at + 1 :])
                yield replace(p, operands=(*p.operands[:k], replace(o, axes=axes), *p.operands[k + 1 :]))
    for k, r in enumerate(p.results):
        for change in ({"tail": ""}, {"block": ""}, {"cast": ""}, {"out": ""}, {"layout": "plain"}):
            if any(getattr(r, name) != value for name, value in change.items()) and r.name != p.update:
                yield replace(p, results=(*p.results[:k], replace(r, **change), *p.results[k + 1 :]))
    for k, (i, extent) in enumerate(p.indices):
        for fewer in {1, 2, extent // 2, extent - 1} - {0}:
            if 0 < fewer < extent:
                yield replace(p, indices=(*p.indices[:k], (i, fewer), *p.indices[k + 1 :]))
    if p.factor > 2:
        yield replace(p, factor=2)
