"""Bodies that do arithmetic on single cells, run without the arrays that they would make on the way.

What the body does is written down for each call (:mod:`xpdispatch.running.tracing`). NumPy's functions then write where
their results belong, tile by tile, and the numbers in between keep to the cache. The same functions get the same
numbers, so that the same bits come out; and that is tried on random numbers before a program is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from xpdispatch.arrays.namespaces import load
from xpdispatch.arrays.scalars import copied, state_of
from xpdispatch.planning.body import Body
from xpdispatch.planning.plan import WHOLE, Layout, Plan
from xpdispatch.planning.tiles import Region, slices_of
from xpdispatch.running.parts import operand_part, protected, room, window_part, window_shape
from xpdispatch.running.returned import note, values_of
from xpdispatch.running.site import Site
from xpdispatch.running.tracing import (
    IMITATED,
    Constant,
    Input,
    Namespace,
    Program,
    Step,
    Symbol,
    Trace,
    Untraceable,
    finished,
)

_TRIED = 33
"""Cells of each index on which a program is tried: some vectors of the processor, and a rest."""

_FEW = 1 << 17
"""Cells of all operands on which a program is tried at most, but where it takes so many for :data:`_LEAST`."""

_LEAST = 2
"""Cells of each index at least."""

_RARE = (0.0, -0.0, -1.0, -2.5, 0.5, 1e-310, 1e300, -1e300, np.inf, -np.inf, np.nan)
"""Numbers that functions which are the same elsewhere may take in different ways."""


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
        xp = _namespace(trace, site)
        own = copied(scalars)
        before = state_of(own)
        returned = site.body.call(site.function, xp, None, given, written, own)
        if before != state_of(own):
            trace.give_up("the body changes a scalar")
        values = (returned,) if type(returned) is Symbol else values_of(site, returned, written)
        results = [_result(trace, site, r, value, sizes, targets[r]) for r, value in enumerate(values)]
        program = finished(trace, results)
    except Untraceable:
        pass
    except Exception:  # noqa: BLE001  the body itself runs next, and says what is wrong
        if not trace.why_not:  # some functions raise anew what comes through them
            return None
    finally:
        trace.over = True
    if trace.why_not:
        if site.fusing is not None and trace.for_good:
            site.fusing.why_not = trace.why_not
        return None
    return program


def _namespace(trace: Trace, site: Site) -> Namespace:
    usual = load("array_api_compat.numpy")
    xp = site.xp if site.library == "numpy" else usual
    if any(getattr(xp, name, None) is not getattr(usual, name) for name in IMITATED):
        trace.give_up("the namespace is none of ours")
    return Namespace(trace, xp)


def _result(trace: Trace, site: Site, r: int, value: Any, sizes: Sequence[int], target: Any) -> Symbol:
    """A result in the dtype in which it is stored."""
    if type(value) is not Symbol or value.trace is not trace:
        trace.give_up(f"a result is a {type(value).__name__}")
    result: Symbol = value
    shape = site.plan.results[r].tile_shape(sizes)
    if len(shape) != result.ndim or any(n not in (None, m) for n, m in zip(shape, result.cells, strict=True)):
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


def code_of(
    site: Site, program: Program, operands: Sequence[Any], targets: Sequence[Any], scalars: Sequence[Any]
) -> Code | None:
    """How programs of this structure are run; None where they do not do what the body does.

    That is tried once for each structure, on a small tile.
    """
    fusing = site.fusing
    if fusing is None or fusing.why_not:
        return None
    structure = program.structure
    code: Code | None = fusing.trusted.get(structure)
    if code is None:
        if not _does_the_same(site, program, operands, targets, scalars):
            fusing.why_not = fusing.why_not or "what was written down is not what the body does"
            return None
        code = fusing.trusted[structure] = Code(program)
    return code


def _does_the_same(
    site: Site, program: Program, operands: Sequence[Any], targets: Sequence[Any], scalars: Sequence[Any]
) -> bool:
    """Run the body and its program on random numbers, and compare all bits."""
    plan, body = site.plan, site.body
    sizes, region = _tried(plan)
    with np.errstate(all="ignore"):
        arrays = [
            _random(window_shape(layout, region), a.dtype, p)
            for p, (layout, a) in enumerate(zip(plan.operands, operands, strict=True))
        ]
        buffers = {r: _random(plan.results[r].tile_shape(sizes), targets[r].dtype, -1 - r) for r in body.buffers}
        for r in body.buffers:
            updated = body.updated[r]
            if updated is not None:
                arrays[updated] = buffers[r]
        small = write_down(site, sizes, arrays, buffers, targets, scalars)
        if small is None or small.outline != program.outline:
            return False
        made = [np.empty(small.values[n].shape, small.values[n].dtype) for n in small.results]
        try:
            Code(small)(arrays, buffers, made, small.constants)
            given = protected(site, arrays), buffers, copied(scalars)
            found = [np.asarray(v) for v in values_of(site, body.call(site.function, site.xp, None, *given), buffers)]
            for dtypes in (site.casts, [None if t is None else t.dtype for t in targets]):
                found = [a if d is None else a.astype(d) for a, d in zip(found, dtypes, strict=True)]
        except Exception:  # noqa: BLE001  the body runs itself then, and says what is wrong
            return False
    return all((a.dtype, a.shape, _bits(a)) == (m.dtype, m.shape, _bits(m)) for a, m in zip(found, made, strict=True))


def _tried(plan: Plan) -> tuple[tuple[int, ...], Region]:
    """The tile on which a program is tried: smaller where there are many indices, or whole axes that go far."""
    most = _TRIED
    while True:
        sizes = tuple(min(n, most) for n in plan.extents)
        region = tuple((0, n) for n in sizes)
        cells = sum(math.prod(window_shape(layout, region)) for layout in plan.operands)
        if cells <= _FEW or most <= _LEAST:
            return sizes, region
        most = max(_LEAST, most // 2)


def _random(shape: Sequence[int], dtype: np.dtype[Any], seed: int) -> Any:
    """Numbers that no two arrays have in common: between 1 and 8, and of floats one in four out of the ordinary."""
    rng = np.random.default_rng(seed % 2**32)
    drawn = rng.random(tuple(shape)) * 7 + 1
    if dtype.kind == "b":
        return drawn > 4
    if dtype.kind in "fc":
        drawn = np.where(rng.random(drawn.shape) < 0.25, rng.choice(_RARE, drawn.shape), drawn)
    return (drawn * (1 + 0.5j) if dtype.kind == "c" else drawn).astype(dtype)


def _bits(array: Any) -> bytes:
    """All bits, but that one NaN is as good as another."""
    if array.dtype.kind == "c":
        return _bits(array.real) + _bits(array.imag)
    found = np.where(np.isnan(array), array.dtype.type(np.nan), array) if array.dtype.kind == "f" else array
    return bytes(found.tobytes())


def may_be_programs(site: Site, operands: Sequence[Any], results: Sequence[Any]) -> bool:
    """Whether a call's tiles may be computed without the body.

    Not so where floating-point errors are raised, which the body may catch.
    """
    if not site.may_fuse:
        return False
    raised = not {"raise", "call"}.isdisjoint(np.geterr().values())
    return not (raised or _would_be_overwritten(site, operands, results))


def _would_be_overwritten(site: Site, operands: Sequence[Any], results: Sequence[Any]) -> bool:
    """Whether one of several results may be written while another's operands are still to be read."""
    return len(results) > 1 and any(
        target is not None and site.body.updated[r] != p and np.may_share_memory(operand, target)
        for p, operand in enumerate(operands)
        for r, target in enumerate(results)
    )


class _Found(NamedTuple):
    """A program that is trusted, ready to be run."""

    program: Program
    code: Code
    constants: list[Any]


class Programs:
    """The programs of one call on NumPy arrays.

    One does for all tiles, but where the body asks for shapes, or shapes of other tiles could be alike in other ways.

    Parameters
    ----------
    site : Site
    operands : sequence of array
    scalars : sequence of object
    results : list of (array or None)
        Where the results go; what is None is allocated here when a program first needs it.
    domain : Region
    regions : sequence of Region
    allocating : lock
        Held while a result is allocated.
    """

    def __init__(
        self,
        site: Site,
        operands: Sequence[Any],
        scalars: Sequence[Any],
        results: list[Any],
        domain: Region,
        regions: Sequence[Region],
        allocating: AbstractContextManager[Any],
    ) -> None:
        self._site, self._scalars, self.results = site, scalars, results
        self._operands, self._domain, self._regions = operands, domain, regions
        self._targets = tuple(results)
        self._found: dict[Any, _Found | None] = {}
        self._allocating = allocating
        self._starts = [start for start, _ in domain]
        # Arrays that are cut alike, by the indices of their axes: positions of operands and of results.
        self._alike: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}
        self._haloed: list[tuple[int, Layout]] = []
        layouts = site.plan.operands, site.plan.results
        for p, layout in enumerate(layouts[0]):
            if layout.reaches:
                self._haloed.append((p, layout))
            elif layout.axes:
                self._alike.setdefault(layout.axes, ([], []))[0].append(p)
        for r, layout in enumerate(layouts[1]):
            if layout.axes:
                self._alike.setdefault(layout.axes, ([], []))[1].append(r)
        whole = [n for o in (*layouts[0], *layouts[1]) for a, n in zip(o.axes, o.shape, strict=True) if a == WHOLE]
        self._told_apart = not self._haloed and None not in whole
        self._fixed = {1, *whole}
        """Extents that a tile's must not be, for the same program to do for tiles of other sizes."""

    def run(self, k: int) -> bool:
        """Compute tile `k`, if there is a program for it that is trusted."""
        region = self._regions[k]
        slices = slices_of(region, self._starts)
        chosen = {axes: tuple([slices[a] for a in axes]) for axes in self._alike}
        operands = self._parts(region, chosen)
        sizes = tuple([stop - start for start, stop in region])
        found = self._program(sizes, operands, chosen)
        if found is None:
            return False
        program, code, constants = found
        if any([a is None for a in self.results]):  # noqa: C419  a list is quicker, at every tile
            self._allocate(program, operands)
        into = self._into(chosen)
        if [a.dtype for a in into] != code.dtypes or not (self._told_apart or program.fits(into)):
            return False
        try:
            code(operands, into, into, constants)
        except Exception as error:
            # The body may catch it, or tells more of where it comes from; but what it reads must still be there.
            if not any(np.may_share_memory(a, t) for a in operands for t in into):
                return False
            note(error, self._site, region)
            raise
        return True

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
        into = list(self.results)
        for axes, (_, positions) in self._alike.items():
            for r in positions:
                if into[r] is not None:
                    into[r] = into[r][chosen[axes]]
        return into

    def _program(
        self, sizes: tuple[int, ...], operands: Sequence[Any], chosen: Mapping[tuple[int, ...], Any]
    ) -> _Found | None:
        key: Any = (sizes, *[operands[p].shape for p, _ in self._haloed])
        alike = self._told_apart and self._fixed.isdisjoint(sizes) and len({*sizes}) == len(sizes)
        if alike and None in self._found:
            return self._found[None]
        if key not in self._found:
            site, into = self._site, self._into(chosen)
            buffers = {r: into[r] for r in site.body.buffers}
            program = write_down(site, sizes, operands, buffers, self._targets, self._scalars)
            code = None if program is None else code_of(site, program, operands, self._targets, self._scalars)
            found = None if program is None or code is None else _Found(program, code, program.constants)
            self._found[None if found is not None and alike and not found.program.looked else key] = found
            return found
        return self._found[key]

    def _allocate(self, program: Program, operands: Sequence[Any]) -> None:
        ranked = [a for a in operands if a.ndim > 1]
        order: Literal["C", "F"] = "F" if ranked and all(a.flags.fnc for a in ranked) else "C"
        with self._allocating:
            for r, (layout, n) in enumerate(zip(self._site.plan.results, program.results, strict=True)):
                if self.results[r] is None:
                    value = program.values[n]
                    self.results[r] = room(layout, value.shape, value.dtype, self._domain, order)


class Code:
    """How programs of one structure are run: NumPy's functions, which write to scratch arrays and at last to results.

    Parameters
    ----------
    program : Program

    Attributes
    ----------
    dtypes : list of numpy.dtype
        Of the results.
    """

    def __init__(self, program: Program) -> None:
        self.dtypes = [program.values[n].dtype for n in program.results]
        self._inputs = [(n, v.place, v.key) for n, v in enumerate(program.values) if isinstance(v, Input)]
        self._outputs = program.results
        # Registers: one for each value, then the constants in order, then the scratch arrays.
        self._constants = slice(len(program.values), len(program.values) + len(program.constants))
        self._registers = self._constants.stop
        # What is called, with the registers of its arguments; the one that it makes an array for, or that it writes to.
        self._steps: list[tuple[Callable[..., Any], tuple[int, ...], int, bool]] = []
        self._compile(program)

    def _compile(self, program: Program) -> None:
        values, outputs = program.values, self._outputs
        last: dict[int, int] = {}  # the step that needs a value last
        for n, value in enumerate(values):
            if isinstance(value, Step):
                last.update({a: n for a in value.arguments if isinstance(a, int)})
        tile = values[outputs[0]].shape
        constants = iter(range(self._constants.start, self._constants.stop))
        held = {n: n for n, _, _ in self._inputs}  # the register that a value is in
        free: dict[Any, list[int]] = {}  # scratch arrays as large as the tile, by dtype
        # Where the body reads and writes the same arrays, no result is written before all reading is over.
        late = len(outputs) > 1 and any(where == 1 for _, (where, _), _ in self._inputs)
        for n, step in enumerate(values):
            if isinstance(step, Input):
                continue
            arguments = tuple([next(constants) if isinstance(a, Constant) else held[a] for a in step.arguments])
            used = dict.fromkeys(a for a in step.arguments if isinstance(a, int))
            over = [a for a in used if last[a] == n and held[a] != a and a not in outputs and values[a].shape == tile]
            # A choice writes before it has read its condition and its second argument.
            early = [a for a in over if step.kind != "choose" or a not in step.arguments[:2]]
            for a in early:
                free.setdefault(values[a].dtype, []).append(held[a])
            writes = True
            if n in outputs and not late:
                held[n] = n
            elif step.shape == tile and free.get(step.dtype):
                held[n] = free[step.dtype].pop()
            else:
                held[n], self._registers, writes = self._registers, self._registers + 1, False
            for a in over:
                if a not in early:
                    free.setdefault(values[a].dtype, []).append(held[a])
            self._steps.append((_function(program, step, writes=writes), arguments, held[n], writes))
        if late:
            self._steps += [(_cast, (held[n],), n, True) for n in outputs]

    def __call__(self, operands: Sequence[Any], buffers: Any, results: Sequence[Any], constants: Sequence[Any]) -> None:
        """Compute a tile, and write its results."""
        registers: list[Any] = [None] * self._registers
        registers[self._constants] = constants
        for n, (where, position), key in self._inputs:
            array = buffers[position] if where else operands[position]
            registers[n] = array if key is None else array[key]
        for n, array in zip(self._outputs, results, strict=True):
            registers[n] = array
        for function, arguments, n, writes in self._steps:
            if writes:
                function(*[registers[a] for a in arguments], out=registers[n])
            else:
                registers[n] = function(*[registers[a] for a in arguments])


def _function(program: Program, step: Step, *, writes: bool) -> Callable[..., Any]:
    """What does a step, into an array or into a new one."""
    function: Callable[..., Any]
    if step.ufunc is not None:
        function = step.ufunc
    elif step.kind == "choose":
        function = _choose if writes else np.where
    elif writes:
        function = _cast
    elif program.is_spread(step):
        function = partial(_spread, shape=step.shape, dtype=step.dtype)
    else:
        function = partial(_new, step.dtype)
    return function if step.errors is None else _under(dict(step.errors), function)


def _under(errors: dict[str, Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with floating-point errors handled as the body has it."""

    def under(*arguments: Any, **options: Any) -> Any:
        with np.errstate(**errors):
            return function(*arguments, **options)

    return under


def _cast(source: Any, out: Any) -> None:
    np.copyto(out, source, casting="unsafe")


def _new(dtype: np.dtype[Any], source: Any) -> Any:
    return source.astype(dtype)


def _spread(source: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    out = np.empty(shape, dtype)
    _cast(source, out)
    return out


def _choose(condition: Any, yes: Any, no: Any, out: Any) -> None:
    if any(isinstance(a, np.ndarray) and np.may_share_memory(a, out) for a in (condition, yes)):
        out[...] = np.where(condition, yes, no)  # an operand that is updated in place
        return
    np.copyto(out, no, casting="unsafe")
    np.copyto(out, yes, casting="unsafe", where=condition)
