"""Bodies that do arithmetic on single cells, run without the arrays that they would make on the way.

What the body does is written down for each call (:mod:`xpdispatch.tracing`). NumPy's functions then write where their
results belong, tile by tile, and the numbers in between keep to the cache. The same functions get the same numbers, so
that the same bits come out; and that is tried on the first tile, before a program is trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Literal

import numpy as np

from xpdispatch.body import Body
from xpdispatch.parts import allocated, operand_part, window_part
from xpdispatch.plan import Layout, Plan
from xpdispatch.returned import note, values_of
from xpdispatch.scalars import copied
from xpdispatch.site import Fusing, Site
from xpdispatch.tiling import Region
from xpdispatch.tracing import Constant, Input, Namespace, Program, Symbol, Trace, Untraceable, finished

_ALL = slice(None)


def can_fuse(body: Body, plan: Plan) -> bool:
    """Whether a body may turn out to do arithmetic on single cells alone."""
    plain = not (body.wants_tile or plan.images or plan.least)
    return plain and not any(layout.op or layout.joined for layout in plan.results)


def write_down(
    site: Site,
    sizes: Sequence[int],
    operands: Sequence[Any],
    buffers: Mapping[int, Any],
    targets: Sequence[Any],
    scalars: Sequence[Any],
) -> Program | None:
    """What the body does on a tile of these sizes; None where it does more than that, or fails.

    Parameters
    ----------
    site : Site
    sizes : sequence of int
    operands : sequence of array
        Their shapes and dtypes count.
    buffers : mapping of int to array
        What the body may write, by result.
    targets : sequence of (array or None)
        Where the results go, as far as that is known; their dtypes count.
    scalars : sequence of object
        The body gets copies.
    """
    trace = Trace()
    try:
        given = [trace.array((0, p), a.shape, a.dtype, buffer=False) for p, a in enumerate(operands)]
        written = {r: trace.array((1, r), a.shape, a.dtype, buffer=True) for r, a in buffers.items()}
        xp = Namespace(trace, site.xp if site.library == "numpy" else None)
        values = values_of(site, site.body.call(site.function, xp, None, given, written, copied(scalars)), written)
        results = [_result(trace, site, r, value, sizes, targets[r]) for r, value in enumerate(values)]
        program = finished(trace, results)
    except Untraceable:
        pass
    except Exception:  # noqa: BLE001  the body itself runs next, and says what is wrong
        return None
    if trace.why_not:
        if site.fusing is not None:
            site.fusing.why_not = trace.why_not
        return None
    return program


def _result(trace: Trace, site: Site, r: int, value: Any, sizes: Sequence[int], target: Any) -> Symbol:
    """A result in the dtype in which it is stored."""
    if not isinstance(value, Symbol):
        trace.give_up(f"a result is a {type(value).__name__}")
    result: Symbol = value
    shape = site.plan.results[r].tile_shape(sizes)
    if len(shape) != result.ndim or any(n not in (None, m) for n, m in zip(shape, result.shape, strict=True)):
        trace.give_up("a result does not have the tile's shape")
    cast, planned = site.casts[r], site.dtypes[r] if site.dtypes else None
    if cast is not None and cast != result.dtype:
        result = trace.cast(result, np.dtype(cast))
    if planned is not None and planned != result.dtype:
        trace.give_up("a result does not have the dtype of the plan")
    if target is not None and target.dtype != result.dtype:
        if not np.can_cast(result.dtype, target.dtype, "same_kind"):
            trace.give_up("a result cannot be stored")
        result = trace.cast(result, np.dtype(target.dtype))
    return result


def programs_of(
    site: Site,
    operands: Sequence[Any],
    scalars: Sequence[Any],
    results: list[Any],
    domain: Region,
    regions: Sequence[Region],
) -> Programs | None:
    """What a call's tiles are computed by instead of the body; None where nothing but the body can."""
    if site.fusing is None or site.fusing.why_not or site.library != "numpy":
        return None
    return Programs(site, site.fusing, operands, scalars, results, domain, regions)


class Programs:
    """The programs of one call on NumPy arrays, by the shapes of a tile's arrays.

    Parameters
    ----------
    site : Site
    fusing : Fusing
    operands : sequence of array
    scalars : sequence of object
    results : list of (array or None)
        Where the results go; what is None is allocated here when a program first needs it.
    domain : Region
    regions : sequence of Region
    """

    def __init__(
        self,
        site: Site,
        fusing: Fusing,
        operands: Sequence[Any],
        scalars: Sequence[Any],
        results: list[Any],
        domain: Region,
        regions: Sequence[Region],
    ) -> None:
        self._site, self._fusing, self._scalars = site, fusing, scalars
        self._operands, self._results, self._domain, self._regions = operands, results, domain, regions
        self._targets = tuple(results)
        self._replays: dict[Any, Replay | None] = {}
        self._lock = Lock()
        self._first: Replay | None = None
        self._tried: Sequence[Any] | None = None
        self._starts = [start for start, _ in domain]
        # Arrays that are cut alike, by the indices of their axes: positions of operands and of results.
        self._alike: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}
        self._haloed: list[tuple[int, Layout]] = []
        for p, layout in enumerate(site.plan.operands):
            if layout.reaches:
                self._haloed.append((p, layout))
            elif layout.axes:
                self._alike.setdefault(layout.axes, ([], []))[0].append(p)
        for r, layout in enumerate(site.plan.results):
            if layout.axes:
                self._alike.setdefault(layout.axes, ([], []))[1].append(r)

    def run(self, k: int, wait: Callable[[], None] | None) -> bool:
        """Compute tile `k`, if its program is trusted; `wait` returns when the first tile is computed."""
        if self._fusing.why_not:
            return False
        region = self._regions[k]
        slices = [slice(a - o, b - o) for (a, b), o in zip(region, self._starts, strict=True)]
        slices.append(_ALL)  # what WHOLE, which is -1, points to
        chosen = {axes: tuple([slices[a] for a in axes]) for axes in self._alike}
        operands = self._parts(region, chosen)
        replay = self._replay(region, operands, chosen)
        if replay is None:
            return False
        if not replay.trusted:
            if k == 0:  # its body runs next
                self._first, self._tried = replay, replay.tried(operands, self._into(chosen))
                return False
            if wait is not None:
                wait()
            if not replay.is_trusted():
                return False
        if any(a is None for a in self._results):
            self._allocate(replay)
        into = self._into(chosen)
        if not replay.fits(into):
            return False
        try:
            replay(operands, into, into)
        except Exception as error:
            note(error, self._site, region)
            raise
        return True

    def judge(self, values: Sequence[Any]) -> None:
        """Trust the first tile's program, or none of this body's any more, by what it and the body made."""
        if self._first is None:
            return
        if self._tried is not None and all(map(self._same, self._tried, values, self._targets)):
            self._fusing.trusted.add(self._first.structure)
        else:
            self._fusing.why_not = "what was written down is not what the body does"

    def _same(self, tried: Any, value: Any, target: Any) -> bool:
        """Whether two results have the same bits, in the dtype in which they are stored."""
        if target is not None:
            with np.errstate(all="ignore"):
                value = value.astype(target.dtype, copy=False)
        if (tried.dtype, tried.shape) != (value.dtype, value.shape):
            return False
        return np.ascontiguousarray(tried).tobytes() == np.ascontiguousarray(value).tobytes()

    def _parts(self, region: Region, chosen: Mapping[tuple[int, ...], Any]) -> list[Any]:
        parts = list(self._operands)
        for axes, (positions, _) in self._alike.items():
            for p in positions:
                parts[p] = parts[p][chosen[axes]]
        for p, layout in self._haloed:
            part = window_part if self._site.cut else operand_part
            parts[p] = part(self._site, parts[p], layout, region, self._domain)
        return parts

    def _into(self, chosen: Mapping[tuple[int, ...], Any]) -> list[Any]:
        into = list(self._results)
        for axes, (_, positions) in self._alike.items():
            for r in positions:
                if into[r] is not None:
                    into[r] = into[r][chosen[axes]]
        return into

    def _replay(self, region: Region, operands: Sequence[Any], chosen: Mapping[tuple[int, ...], Any]) -> Replay | None:
        sizes = tuple([stop - start for start, stop in region])
        key = (sizes, *[operands[p].shape for p, _ in self._haloed])
        if key not in self._replays:
            site, into = self._site, self._into(chosen)
            buffers = {r: into[r] for r in site.body.buffers}
            program = write_down(site, sizes, operands, buffers, self._targets, self._scalars)
            ranked = [a for a in operands if a.ndim > 1]
            order: Literal["C", "F"] = "F" if ranked and all(a.flags.fnc for a in ranked) else "C"
            self._replays[key] = None if program is None else Replay(program, order, self._fusing)
        return self._replays[key]

    def _allocate(self, replay: Replay) -> None:
        with self._lock:
            for r, layout in enumerate(self._site.plan.results):
                if self._results[r] is None:
                    self._results[r] = allocated(self._site, layout, replay.like(r), self._domain)


class Replay:
    """A program as calls of NumPy's functions, which write to scratch arrays and, in the end, to the results.

    Parameters
    ----------
    program : Program
    order : {"C", "F"}
        Which axis of the tile lies closest in memory.
    fusing : Fusing

    Attributes
    ----------
    structure : tuple
        That of the program.
    trusted : bool
        A program of this structure is known to do what the body does.
    """

    def __init__(self, program: Program, order: Literal["C", "F"], fusing: Fusing) -> None:
        values = program.values
        self.structure = program.structure
        self._fusing, self._order = fusing, order
        self.trusted = self.structure in fusing.trusted
        self._kinds = [(values[n].shape, values[n].dtype) for n in program.results]
        self._inputs = [(n, v.place, v.key) for n, v in enumerate(values) if isinstance(v, Input)]
        self._outputs = program.results
        # Registers: one for each value, then the constants and the scratch arrays as they come.
        self._template: list[Any] = [None] * len(values)
        self._scratch: list[tuple[int, tuple[int, ...], np.dtype[Any]]] = []
        self._code: list[tuple[Callable[..., Any], tuple[int, ...], int]] = []
        self._compile(program)

    def _compile(self, program: Program) -> None:
        last: dict[int, int] = {}  # the step that needs a value last
        for n, value in enumerate(program.values):
            if not isinstance(value, Input):
                last.update({a: n for a in value.arguments if isinstance(a, int)})
        held = {n: n for n, _, _ in self._inputs}  # the register that a value is in
        free: dict[Any, list[int]] = {}
        # Where the body reads and writes the same arrays, no result is written before all reading is over.
        late = len(self._outputs) > 1 and any(where == 1 for _, (where, _), _ in self._inputs)
        for n, step in enumerate(program.values):
            if isinstance(step, Input):
                continue
            arguments = tuple(self._constant(a) if isinstance(a, Constant) else held[a] for a in step.arguments)
            used = dict.fromkeys(a for a in step.arguments if isinstance(a, int))
            # Inputs and results are no scratch that others may have.
            over = [a for a in used if last[a] == n and held[a] != a and a not in self._outputs]
            # A choice writes before it has read its condition and its second argument.
            early = [a for a in over if step.kind != "choose" or a not in step.arguments[:2]]
            for a in early:
                free.setdefault(_kind(program.values[a]), []).append(held[a])
            if n in self._outputs and not late:
                held[n] = n
            else:
                kind = _kind(step)
                held[n] = free[kind].pop() if free.get(kind) else self._new_scratch(kind)
            for a in over:
                if a not in early:
                    free.setdefault(_kind(program.values[a]), []).append(held[a])
            function: Callable[..., Any] = step.ufunc or (_cast if step.kind == "cast" else _choose)
            self._code.append((function, arguments, held[n]))
        if late:
            self._code += [(_cast, (held[n],), n) for n in self._outputs]

    def _constant(self, constant: Constant) -> int:
        self._template.append(constant.value)
        return len(self._template) - 1

    def _new_scratch(self, kind: tuple[tuple[int, ...], np.dtype[Any]]) -> int:
        self._template.append(None)
        self._scratch.append((len(self._template) - 1, *kind))
        return len(self._template) - 1

    def is_trusted(self) -> bool:
        """Whether it is trusted by now."""
        self.trusted = self.trusted or self.structure in self._fusing.trusted
        return self.trusted

    def like(self, r: int) -> Any:
        """An array like a tile's part of a result."""
        return np.empty(*self._kinds[r], self._order)

    def fits(self, results: Sequence[Any]) -> bool:
        """Whether the program can write to these arrays."""
        return [(a.shape, a.dtype) for a in results] == self._kinds

    def tried(self, operands: Sequence[Any], buffers: Sequence[Any]) -> Sequence[Any] | None:
        """What it makes of a tile; None where it fails, as the body then does."""
        results = [self.like(r) for r in range(len(self._kinds))]
        try:
            with np.errstate(all="ignore"):
                self(operands, buffers, results)
        except Exception:  # noqa: BLE001  as said
            return None
        return results

    def __call__(self, operands: Sequence[Any], buffers: Sequence[Any], results: Sequence[Any]) -> None:
        """Compute a tile, and write its results."""
        registers = self._template.copy()
        for n, (where, position), key in self._inputs:
            array = buffers[position] if where else operands[position]
            registers[n] = array if key is None else array[key]
        for n, shape, dtype in self._scratch:
            registers[n] = np.empty(shape, dtype, self._order)
        for n, array in zip(self._outputs, results, strict=True):
            registers[n] = array
        for function, arguments, out in self._code:
            function(*[registers[a] for a in arguments], out=registers[out])


def _kind(value: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return value.shape, value.dtype


def _cast(source: Any, out: Any) -> None:
    np.copyto(out, source, casting="unsafe")


def _choose(condition: Any, yes: Any, no: Any, out: Any) -> None:
    np.copyto(out, no, casting="unsafe")
    np.copyto(out, yes, casting="unsafe", where=condition)
