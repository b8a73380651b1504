"""Bodies that do arithmetic on single elements, run without the arrays that they would make on the way.

In each call the body is traced (:mod:`xpdispatch.running.tracing`). NumPy's functions then write where their results
belong, tile by tile, and the numbers in between keep to the cache. The same functions get the same numbers, so that the
same bits come out; and that is tried on random numbers (:mod:`xpdispatch.running.dry_run`) before a trace is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from xpdispatch.arrays.dtypes import np_dtype
from xpdispatch.arrays.fourier import namespace
from xpdispatch.arrays.namespaces import load
from xpdispatch.arrays.scalars import copied, state_of
from xpdispatch.planning.windows import WHOLE, Bounds, sizes_of
from xpdispatch.running.counting import Ledger, Measured, counted_region, ledger_for
from xpdispatch.running.dry_run import by_body, stand_ins
from xpdispatch.running.executor import ByTile, Tiles, Work
from xpdispatch.running.learned import Learned, key_of
from xpdispatch.running.parts import room
from xpdispatch.running.results import Taking, note, values_of
from xpdispatch.running.site import Site, is_interrupt
from xpdispatch.running.tracing import (
    IMITATED,
    Constant,
    Input,
    Namespace,
    Program,
    Step,
    Trace,
    Tracer,
    Untraceable,
    finished,
)


class Traced(ByTile):
    """By tile, with the functions that the body called in its place.

    Parameters
    ----------
    site : Site
    taking : Taking
    learned : Learned
        What calls with these dtypes have told.
    """

    def __init__(self, site: Site, taking: Taking, learned: Learned) -> None:
        super().__init__(site, taking)
        self.learned = learned
        layouts = (*site.plan.operands, *site.plan.results)
        self.unsplit = tuple([n for o in layouts for a, n in zip(o.axes, o.shape, strict=True) if a == WHOLE])
        """Extents of unsplit axes."""
        self.told_apart = not self.windowed and None not in self.unsplit
        self.fixed = {1, *self.unsplit}
        """Extents that a tile's must not be, for the same trace to do for tiles of other sizes."""

    def tiles(self, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> Tiles:
        """The tiles of one call: by their trace, unless floating-point errors are raised, which the body may catch."""
        raised = not {"raise", "call"}.isdisjoint(np.geterr().values())
        by_body = raised or self.learned.why_not or _would_be_overwritten(self.site, arguments, targets)
        return (Tiles if by_body else _TracedTiles)(self, arguments, targets, work)

    def trace(
        self, sizes: Sequence[int], arguments: Sequence[Any], parts: Sequence[Any], targets: Sequence[Any]
    ) -> Program | None:
        """What the body does on a tile of these sizes; None where it does more than that, or fails.

        `parts` are what the body may write, by result; `targets` where results go, as far as that is known.
        """
        site = self.site
        trace = Trace()
        try:
            xp = _namespace(trace, site)
            given, own = list(arguments), copied([arguments[at] for at in site.body.scalar_at])
            for at, scalar in zip(site.body.scalar_at, own, strict=True):
                given[at] = scalar
            for p, at in enumerate(site.body.operand_at):
                given[at] = trace.array((0, p), given[at].shape, given[at].dtype, buffer=False)
            written = {}
            for r, at in site.body.buffer_at.items():
                written[r] = given[at] = trace.array((1, r), parts[r].shape, parts[r].dtype, buffer=True)
            before = state_of(own)
            returned = self.function(xp, *given)
            if before != state_of(own):
                trace.give_up("the body changes a scalar")
            values = (returned,) if type(returned) is Tracer else values_of(site, returned, written)
            results = [_result(trace, site, r, value, sizes, targets[r]) for r, value in enumerate(values)]
            program = finished(trace, results)
        except Untraceable:
            pass
        except BaseException as error:  # the body itself runs next, and says what is wrong
            if is_interrupt(error):
                raise
            if not trace.why_not:  # some functions raise anew what comes through them
                return None
        finally:
            trace.over = True
        if trace.why_not:
            if trace.for_good:
                self.learned.why_not = trace.why_not
            return None
        return program

    def study(self, scalars: Sequence[Any]) -> tuple[Program, Measured] | None:
        """Trace a dry run, and compare all bits on random numbers; None where the body does something else."""
        dtypes, given = self.learned.dtypes, self.learned.given
        site = self.site.seen
        region = counted_region(site.plan)
        sizes = sizes_of(region)
        arguments, parts = stand_ins(site, region, dtypes, given, scalars, _random)
        targets = [None if d is None else np.empty(0, np_dtype(d)) for d in given]
        with np.errstate(all="ignore"):
            program = self.trace(sizes, arguments, parts, targets)
            if program is None:
                return None
            into = [np.empty(program.values[n].shape, program.values[n].dtype) for n in program.results]
            try:
                for r, at in site.body.buffer_at.items():
                    into[r][...] = arguments[at]
                self.code_of(program, (True,) * len(into))(arguments, into, program.constants)
                found = by_body(site, self.ready(arguments), parts)
                for wanted in (site.casts, [None if t is None else t.dtype for t in targets]):
                    found = [a if d is None else a.astype(d) for a, d in zip(found, wanted, strict=True)]
            except BaseException as error:  # the body runs itself then, and says what is wrong
                if is_interrupt(error):
                    raise
                return None
        if not all(_same_bits(a, b) for a, b in zip(found, into, strict=True)):
            self.learned.why_not = self.learned.why_not or "the trace does not do what the body does"
            return None
        self.learned.trusted[program.outline] = True
        ledger = ledger_for(site.plan, region)
        for p in self.site.plan.gathered:
            copied = arguments[site.body.operand_at[p]]
            ledger.make(copied.shape, copied.nbytes)
        return program, _cost_of(program, ledger)

    def trusts(self, program: Program, arguments: Sequence[Any]) -> bool:
        """Whether programs of this outline do what the body does."""
        outline = program.outline
        known: bool | None = self.learned.trusted.get(outline)
        if known is None:
            self.study([arguments[at] for at in self.site.body.scalar_at])
            if outline not in self.learned.trusted:
                self.learned.trusted[outline] = False
            known = bool(self.learned.trusted[outline])
        return known

    def code_of(self, program: Program, apart: tuple[bool, ...]) -> Code:
        """How a program is run; `apart` says of each result that it may hold other numbers before."""
        key = program.structure, apart
        code: Code | None = self.learned.codes.get(key)
        if code is None:
            code = self.learned.codes[key] = Code(program, self.site.body.operand_at, apart)
        return code


def _namespace(trace: Trace, site: Site) -> Namespace:
    usual, ours = load("array_api_compat.numpy"), namespace()
    xp = site.xp if site.library == "numpy" else usual
    if xp is not ours and any(getattr(xp, name, None) is not getattr(usual, name) for name in IMITATED):
        trace.give_up("the namespace is none of ours")
    return Namespace(trace, xp)


def _result(trace: Trace, site: Site, r: int, value: Any, sizes: Sequence[int], target: Any) -> Tracer:
    """A result in the dtype in which it is stored."""
    if type(value) is not Tracer or value.trace is not trace:
        trace.give_up(f"a result is a {type(value).__name__}")
    result: Tracer = value
    shape = site.plan.results[r].tile_shape(sizes)
    if len(shape) != result.ndim or any(n not in (None, m) for n, m in zip(shape, result.extents, strict=True)):
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


def _cost_of(program: Program, ledger: Ledger) -> Measured:
    """What the body makes and drops where it runs itself, by its trace."""
    last, entries = program.last_uses, {}
    for n, value in enumerate(program.values):
        if not isinstance(value, Step):
            continue
        size = math.prod(value.shape) * value.dtype.itemsize
        entries[n] = ledger.make(value.shape, size)
        if value.ufunc is not None:
            ledger.calls += 1
            ledger.computes(value.ufunc, value.shape, size)
        for a in {*value.needs}:
            if a in entries and last[a] == n and a not in program.results:
                ledger.drop(*entries[a])
    cost = ledger.cost([entries[n] for n in program.results])
    return Measured(cost, tuple(program.values[n].dtype for n in program.results))


_RARE = (0.0, -0.0, -1.0, -2.5, 0.5, 1e-310, 1e300, -1e300, np.inf, -np.inf, np.nan)
"""Numbers that functions which are the same elsewhere may take in different ways."""


def _random(shape: Sequence[int], dtype: np.dtype[Any], seed: int) -> Any:
    """Numbers that no two arrays have in common: between 1 and 8, and of floats one in four out of the ordinary."""
    rng = np.random.default_rng(seed % 2**32)
    drawn = rng.random(tuple(shape)) * 7 + 1
    if dtype.kind == "b":
        return drawn > 4
    with np.errstate(all="ignore"):
        if dtype.kind in "fc":
            drawn = np.where(rng.random(drawn.shape) < 0.25, rng.choice(_RARE, drawn.shape), drawn)
        return (drawn * (1 + 0.5j) if dtype.kind == "c" else drawn).astype(dtype)


def _same_bits(left: Any, right: Any) -> bool:
    """All bits, but that one NaN is as good as another, and those of long doubles that mean nothing do not count."""
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    if left.dtype.kind == "c":
        return _same_bits(left.real, right.real) and _same_bits(left.imag, right.imag)
    if left.dtype.kind != "f":
        return bool(left.tobytes() == right.tobytes())
    nan = np.isnan(left)
    signs = np.array_equal(np.signbit(left) | nan, np.signbit(right) | nan)
    return signs and np.array_equal(left, right, equal_nan=True)


def _would_be_overwritten(site: Site, arguments: Sequence[Any], targets: Sequence[Any]) -> bool:
    """Whether one of several results may be written while another's operands are still to be read."""
    if len(targets) == 1:
        return False
    return any(
        target is not None and site.body.updated[r] != p and np.may_share_memory(arguments[at], target)
        for p, at in enumerate(site.body.operand_at)
        for r, target in enumerate(targets)
    )


class _Found(NamedTuple):
    """A program that is trusted, ready to be run."""

    program: Program
    code: Code
    constants: list[Any]


class _TracedTiles(Tiles):
    """The tiles of one call on NumPy arrays.

    One trace does for all tiles, but where the body asks for shapes, or shapes of other tiles could be alike in other
    ways.
    """

    runs: Traced

    def __init__(self, runs: Traced, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> None:
        super().__init__(runs, arguments, targets, work)
        self.found: dict[Any, _Found | None] = {}
        operands = [arguments[at] for at in runs.site.body.operand_at]
        self.apart = tuple(
            [
                t is None or (t.flags.contiguous and not any(np.may_share_memory(a, t) for a in operands))
                for t in targets
            ]
        )

    def compute(self, k: int, after_first: Callable[[], None] | None = None) -> Sequence[Any]:
        """Compute tile `k` by its trace, if there is one that is trusted, else by the body."""
        return () if self._by_trace(self.regions[k]) else super().compute(k, after_first)

    def _by_trace(self, region: Bounds) -> bool:
        arguments, chosen = self.parts(region)
        found = self._program(region, arguments, chosen)
        if found is None:
            return False
        program, code, constants = found
        if any([a is None for a in self.results]):  # noqa: C419  a list is quicker, at every tile
            self._make_room(program, arguments)
        into = self.own(self.results, chosen, region)
        if [a.dtype for a in into] != code.dtypes or not (self.runs.told_apart or program.fits(into)):
            return False
        try:
            code(arguments, into, constants)
        except Exception as error:
            # The body may catch it, or tells more of where it comes from; but what it reads must still be there.
            operands = [arguments[at] for at in self.runs.site.body.operand_at]
            if not any(np.may_share_memory(a, t) for a in operands for t in into):
                return False
            note(error, self.runs.site, self.work.placed(region))
            raise
        return True

    def _program(self, region: Bounds, arguments: Sequence[Any], chosen: Mapping[Any, Any]) -> _Found | None:
        sizes = sizes_of(region)
        key: Any = (sizes, *[arguments[at].shape for _, at, _ in self.runs.windowed])
        alike = self.runs.told_apart and self.runs.fixed.isdisjoint(sizes) and len({*sizes}) == len(sizes)
        if alike and None in self.found:
            return self.found[None]
        if key not in self.found:
            if 2 * math.prod(sizes) < math.prod(sizes_of(self.regions[0])):
                return None  # a strip: the body itself takes less time than another trace
            runs = self.runs
            scalars = key_of([arguments[at] for at in runs.site.body.scalar_at])
            common = scalars, runs.unsplit, self.apart
            here, anywhere = (*common, key), (*common, None if alike else key)

            def traced() -> tuple[Any, _Found | None]:
                found = self._traced(sizes, arguments, self.own(self.results, chosen, region))
                return here if found is None or found.program.looked else anywhere, found

            if scalars is None:
                _, found = traced()
            else:
                found = runs.learned.program(anywhere, here) or runs.learned.keep(runs.site.function, traced)
            self.found[None if found is not None and alike and not found.program.looked else key] = found
            return found
        return self.found[key]

    def _traced(self, sizes: Sequence[int], arguments: Sequence[Any], parts: Sequence[Any]) -> _Found | None:
        runs = self.runs
        program = runs.trace(sizes, arguments, parts, self.targets)
        if program is None or not runs.trusts(program, arguments):
            return None
        return _Found(program, runs.code_of(program, self.apart), program.constants)

    def _make_room(self, program: Program, arguments: Sequence[Any]) -> None:
        site = self.runs.site
        ranked = [arguments[at] for at in site.body.operand_at if arguments[at].ndim > 1]
        order: Literal["C", "F"] = "F" if ranked and all(a.flags.fnc for a in ranked) else "C"
        with self.allocating:
            for r, (layout, n) in enumerate(zip(site.plan.results, program.results, strict=True)):
                if self.results[r] is None:
                    value = program.values[n]
                    self.results[r] = room(layout, value.shape, value.dtype, self.work.domain, order)


class Code:
    """How programs of one structure are run: NumPy's functions, which write to scratch arrays and at last to results.

    Parameters
    ----------
    program : Program
    operand_at : sequence of int
        For each operand the position of its parameter.
    apart : sequence of bool
        For each result whether it may hold other numbers before: it is contiguous, and apart from all operands.

    Attributes
    ----------
    dtypes : list of numpy.dtype
        Of the results.
    """

    def __init__(self, program: Program, operand_at: Sequence[int], apart: Sequence[bool]) -> None:
        self.dtypes = [program.values[n].dtype for n in program.results]
        self._inputs = [
            (n, (where, position if where else operand_at[position]), key)
            for n, (where, position), key in (
                (n, v.place, v.key) for n, v in enumerate(program.values) if isinstance(v, Input)
            )
        ]
        self._outputs = program.results
        # Registers: one for each value, then the constants in order, then the scratch arrays.
        self._constants = slice(len(program.values), len(program.values) + len(program.constants))
        self._registers = self._constants.stop
        # What is called, with the registers of its arguments; the one that it makes an array for, or that it writes to.
        self._steps: list[tuple[Callable[..., Any], tuple[int, ...], int, bool]] = []
        self._compile(program, apart)

    def _compile(self, program: Program, apart: Sequence[bool]) -> None:
        values, outputs = program.values, self._outputs
        last = program.last_uses
        tile = values[outputs[0]].shape
        constants = iter(range(self._constants.start, self._constants.stop))
        held = {n: n for n, _, _ in self._inputs}  # the register that a value is in
        free: dict[Any, list[int]] = {}  # scratch arrays as large as the tile, by dtype
        # Where the body reads and writes the same arrays, no result is written before all reading is over.
        late = len(outputs) > 1 and any(where == 1 for _, (where, _), _ in self._inputs)
        # Results hold what is needed no more when they are computed themselves, as long as nothing else is in them.
        read = {position for _, (where, position), _ in self._inputs if where == 1}
        rooms = [n for r, n in enumerate(outputs) if apart[r] and r not in read and values[n].shape == tile]

        def room_for(a: int, dtype: Any) -> int | None:
            for n in () if late else rooms:
                result = values[n]
                overwritten = isinstance(result, Step) and result.kind == "choose" and a in result.arguments[:2]
                if result.dtype == dtype and a < n and last.get(a, n) <= n and not overwritten:
                    rooms.remove(n)
                    return n
            return None

        def let_go(a: int) -> None:
            if held[a] in outputs:
                rooms.append(held[a])
            else:
                free.setdefault(values[a].dtype, []).append(held[a])

        for n, step in enumerate(values):
            if isinstance(step, Input):
                continue
            arguments = tuple([next(constants) if isinstance(a, Constant) else held[a] for a in step.arguments])
            used = dict.fromkeys(step.needs)
            over = [a for a in used if last[a] == n and held[a] != a and a not in outputs and values[a].shape == tile]
            # A choice writes before it has read its condition and its second argument.
            early = [a for a in over if step.kind != "choose" or a not in step.arguments[:2]]
            for a in early:
                let_go(a)
            writes = True
            if n in outputs and not late:
                held[n] = n
            elif step.shape == tile and free.get(step.dtype):
                held[n] = free[step.dtype].pop()
            elif step.shape == tile and (room := room_for(n, step.dtype)) is not None:
                held[n] = room
            else:
                held[n], self._registers, writes = self._registers, self._registers + 1, False
            for a in over:
                if a not in early:
                    let_go(a)
            self._steps.append((_function(program, step, writes=writes), arguments, held[n], writes))
        if late:
            self._steps += [(_cast, (held[n],), n, True) for n in outputs]

    def __call__(self, arguments: Sequence[Any], results: Sequence[Any], constants: Sequence[Any]) -> None:
        """Compute a tile, and write its results."""
        registers: list[Any] = [None] * self._registers
        registers[self._constants] = constants
        for n, (where, position), key in self._inputs:
            array = results[position] if where else arguments[position]
            registers[n] = array if key is None else array[key]
        for n, array in zip(self._outputs, results, strict=True):
            registers[n] = array
        for function, taken, n, writes in self._steps:
            if writes:
                function(*[registers[a] for a in taken], out=registers[n])
            else:
                registers[n] = function(*[registers[a] for a in taken])


def _function(program: Program, step: Step, *, writes: bool) -> Callable[..., Any]:
    """What does a step, into an array or into a new one."""
    function: Callable[..., Any]
    if step.ufunc is not None:
        function = step.ufunc
    elif step.kind == "choose":
        function = _choose if writes else np.where
    elif writes:
        function = _cast
    elif program.is_broadcast(step):
        function = partial(_broadcast, shape=step.shape, dtype=step.dtype)
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


def _broadcast(source: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    out = np.empty(shape, dtype)
    _cast(source, out)
    return out


def _choose(condition: Any, yes: Any, no: Any, out: Any) -> None:
    if any(isinstance(a, np.ndarray) and np.may_share_memory(a, out) for a in (condition, yes)):
        out[...] = np.where(condition, yes, no)  # an operand that is updated in place
        return
    np.copyto(out, no, casting="unsafe")
    np.copyto(out, yes, casting="unsafe", where=condition)
