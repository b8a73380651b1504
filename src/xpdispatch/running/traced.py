"""Bodies that do arithmetic on single elements, run without the arrays that they would make on the way.

In each call the body is traced (:mod:`xpdispatch.running.tracing`). NumPy's functions then write where their results
belong, tile by tile, and the numbers in between keep to the cache. The same functions get the same numbers, so that the
same bits come out; and that is tried on random numbers (:mod:`xpdispatch.running.dry_run`) before a trace is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from xpdispatch.arrays.cpu import namespace
from xpdispatch.arrays.dtypes import np_dtype
from xpdispatch.arrays.namespaces import load
from xpdispatch.arrays.scalars import copied, state_of
from xpdispatch.machine import llvm, memory
from xpdispatch.planning.tiles import is_empty
from xpdispatch.planning.windows import WHOLE, Bounds, sizes_of
from xpdispatch.running.bits import random_numbers, same_bits
from xpdispatch.running.code import Code, Steps
from xpdispatch.running.costs import Cost
from xpdispatch.running.counting import Ledger, Measured, counted_region, ledger_for
from xpdispatch.running.dry_run import by_body, stand_ins
from xpdispatch.running.executor import ByTile, Tiles, Work
from xpdispatch.running.fused import fused, saved
from xpdispatch.running.learned import CALLED, Learned, key_of
from xpdispatch.running.parts import full_shape
from xpdispatch.running.results import Taking, note, values_of
from xpdispatch.running.site import Site, inside_body, pass_over
from xpdispatch.running.tracing import (
    IMITATED,
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
        self._ranked = [at for o, at in zip(site.plan.operands, site.body.operand_at, strict=True) if len(o.axes) > 1]
        self._new = (True,) * len(site.plan.results)
        self._last: tuple[Any, Found | None, list[Callable[[], Any]]] = None, None, []
        """What the latest call in one piece was made of: most calls are the same again."""
        self.fixed = {1, *self.unsplit}
        """Extents that a tile's must not be, for the same trace to do for tiles of other sizes."""

    def run(self, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> list[Any]:
        """One value for each result, over the domain; None where every region was empty."""
        domain = work.domain
        if len(work.regions) > 1 or work.regions[0] != domain or is_empty(domain) or self._by_body(arguments, targets):
            return super().run(arguments, targets, work)
        token = inside_body.set(True)
        try:
            given = [*arguments]
            for at in self.plain:
                if type(given[at]) is not np.ndarray:
                    given[at] = given[at].view(np.ndarray)
            if self.takes:
                self.take(given, domain, work)
            apart = self.apart_of(arguments, targets)
            scalars = self.scalars_of(arguments)
            key = (domain, apart, scalars, self.order(given), *[given[at].shape for _, at, _ in self.windowed])
            last, found, makers = self._last
            new = last != key or scalars is None or not self.learned.still_holds()
            if new:
                found = self.find(domain, given, scalars, apart, targets, lambda: targets)
                makers = [] if found is None else self.makers(found.program, given, domain)
            if found is not None:
                results = [make() if t is None else t for make, t in zip(makers, targets, strict=True)]
                if new and not self.fits(found, results):
                    found = None
                elif self.compute(found, given, results, domain, work):
                    self._last = key, found, makers
                    return results
            self._last = key, found, makers
            return Tiles(self, arguments, targets, work).run(1)
        finally:
            inside_body.reset(token)

    def tiles(self, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> Tiles:
        """The tiles of one call: by their trace, where that may be."""
        return (Tiles if self._by_body(arguments, targets) else _TracedTiles)(self, arguments, targets, work)

    def _by_body(self, arguments: Sequence[Any], targets: Sequence[Any]) -> bool:
        """Whether the body itself runs, which may catch floating-point errors that are raised."""
        how = np.geterr().values()
        return (
            "raise" in how
            or "call" in how
            or bool(self.learned.why_not)
            or _would_be_overwritten(self.site, arguments, targets)
            or not all([t is None or _in_rows(t) for t in targets])  # noqa: C419  as below
        )

    def apart_of(self, arguments: Sequence[Any], targets: Sequence[Any]) -> tuple[bool, ...]:
        """For each result whether it may hold other numbers before, for :class:`~xpdispatch.running.code.Code`."""
        if all([t is None for t in targets]):  # noqa: C419  a list is quicker
            return self._new
        operands = [arguments[at] for at in self.site.body.operand_at]
        return tuple(
            [
                t is None or (t.flags.contiguous and not any(np.may_share_memory(a, t) for a in operands))
                for t in targets
            ]
        )

    def scalars_of(self, arguments: Sequence[Any]) -> Any:
        """The scalars as a key; None where they make none."""
        return key_of([arguments[at] for at in self.site.body.scalar_at])

    def find(
        self,
        region: Bounds,
        arguments: Sequence[Any],
        scalars: Any,
        apart: tuple[bool, ...],
        targets: Sequence[Any],
        parts: Callable[[], Sequence[Any]],
    ) -> Found | None:
        """The program of a tile, if there is one that is trusted; `parts` gives what the body may write of it."""
        sizes = sizes_of(region)
        key = (sizes, *[arguments[at].shape for _, at, _ in self.windowed])
        common = scalars, self.unsplit, apart
        here, anywhere = (*common, key), (*common, None if self.does_for_others(sizes) else key)

        def traced() -> tuple[Any, Found | None]:
            program = self.trace(sizes, arguments, parts(), targets)
            if program is None or not self.trusts(program, arguments):
                return here, None
            found = Found(program, self.code_of(program, apart), program.constants)
            return here if program.looked else anywhere, found

        if scalars is None:
            return traced()[1]
        known: Found | None = self.learned.program(anywhere, here)
        return known or self.learned.keep(self.site.function, traced)

    def does_for_others(self, sizes: Sequence[int]) -> bool:
        """Whether tiles of other sizes have the same program, if the body does not look at shapes."""
        return self.told_apart and self.fixed.isdisjoint(sizes) and len({*sizes}) == len(sizes)

    def makers(self, program: Program, arguments: Sequence[Any], domain: Bounds) -> list[Callable[[], Any]]:
        """What makes new results over the domain."""
        values, order = [program.values[n] for n in program.results], self.order(arguments)
        return [
            memory.maker(full_shape(layout, value.shape, domain), value.dtype, order)
            for layout, value in zip(self.site.plan.results, values, strict=True)
        ]

    def order(self, arguments: Sequence[Any]) -> Literal["C", "F"]:
        """The order of axes in memory, which is the operands'."""
        ranked = self._ranked
        return "F" if ranked and all([arguments[at].flags.fnc for at in ranked]) else "C"  # noqa: C419  as above

    def fits(self, found: Found, into: Sequence[Any]) -> bool:
        """Whether a tile of these results is what the program makes."""
        return [a.dtype for a in into] == found.code.dtypes and (self.told_apart or found.program.fits(into))

    def compute(self, found: Found, arguments: Sequence[Any], into: Sequence[Any], region: Bounds, work: Work) -> bool:
        """Compute a tile, unless it fails in a way that the body may catch."""
        try:
            found.code(arguments, into, found.constants)
        except Exception as error:
            # The body may catch it, or tells more of where it comes from; but what it reads must still be there.
            operands = [arguments[at] for at in self.site.body.operand_at]
            if not any(np.may_share_memory(a, t) for a in operands for t in into):
                return False
            note(error, self.site, work.placed(region))
            raise
        return True

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
        except BaseException as error:  # noqa: BLE001  the body itself runs next, and says what is wrong
            pass_over(error)
            if not trace.why_not:  # some functions raise anew what comes through them
                return None
        finally:
            trace.over = True
        if trace.why_not:
            if trace.for_good:
                self.learned.why_not = trace.why_not
            return None
        return program

    def study(self, scalars: Sequence[Any]) -> Studied | None:
        """Trace a dry run, and compare all bits on random numbers; None where the body does something else."""
        dtypes, given = self.learned.dtypes, self.learned.given
        site = self.site.seen
        region = counted_region(site.plan)
        sizes = sizes_of(region)
        arguments, parts = stand_ins(site, region, dtypes, given, scalars, random_numbers)
        targets = [None if d is None else np.empty(0, np_dtype(d)) for d in given]
        with np.errstate(all="ignore"):
            program = self.trace(sizes, arguments, parts, targets)
            if program is None:
                return None
            into = [np.empty(program.values[n].shape, program.values[n].dtype) for n in program.results]
            try:
                for r, at in site.body.buffer_at.items():
                    into[r][...] = arguments[at]
                Steps(program, site.body.operand_at, (True,) * len(into))(arguments, into, program.constants)
                found = by_body(site, self.ready(arguments), parts)
                for wanted in (site.casts, [None if t is None else t.dtype for t in targets]):
                    found = [a if d is None else a.astype(d) for a, d in zip(found, wanted, strict=True)]
            except BaseException as error:  # noqa: BLE001  the body runs itself then, and says what is wrong
                pass_over(error)
                return None
        if not all(same_bits(a, b) for a, b in zip(found, into, strict=True)):
            self.learned.why_not = self.learned.why_not or "the trace does not do what the body does"
            return None
        self.learned.trusted[program.outline] = True
        gathered = [arguments[site.body.operand_at[p]] for p in self.site.plan.gathered]

        def cost_of(program: Program) -> Measured:
            ledger = ledger_for(site.plan, region)
            for array in gathered:
                ledger.make(array.shape, array.nbytes)
            return _cost_of(program, ledger)

        measured = cost_of(program)
        looped = cost_of(fused(program, lambda _: np.add).program) if llvm.is_there() else measured
        return Studied(measured, looped.cost, program.steps, _saved(program))

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
            code = self.learned.codes[key] = Code(program, self.site.body.operand_at, apart, self.learned)
        return code


class Studied(NamedTuple):
    """What a dry run tells of a body that can be traced.

    Attributes
    ----------
    measured : Measured
        What it costs, step by step.
    cost : Cost
        The same with compiled loops, where there will be some.
    steps : int
    saved : int
        How many of the steps are saved, as it were, where it runs in one piece.
    """

    measured: Measured
    cost: Cost
    steps: int
    saved: int

    def saves(self, elements: int) -> int:
        """Steps of single elements that are saved there, or what takes as long."""
        return self.saved * (elements + (CALLED if llvm.is_there() else 0))


def _namespace(trace: Trace, site: Site) -> Namespace:
    xp = site.xp if site.library == "numpy" else namespace()
    if xp is not namespace():  # to import what it stands for takes longer than all else in a first call
        usual = load("array_api_compat.numpy")
        if any(getattr(xp, name, None) is not getattr(usual, name) for name in IMITATED):
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
            ledger.computes(value.ufunc, value.shape, size, by_row=_by_row(program, value))
        for a in {*value.needs}:
            if a in entries and last[a] == n and a not in program.results:
                ledger.drop(*entries[a])
    cost = ledger.cost([entries[n] for n in program.results])
    return Measured(cost, tuple(program.values[n].dtype for n in program.results))


def _by_row(program: Program, step: Step) -> bool:
    """Whether NumPy goes through the arguments of a step row by row: they are broadcast, or views."""
    arguments = [program.values[a] for a in step.needs]
    return any(v.shape not in ((), step.shape) or (isinstance(v, Input) and v.key is not None) for v in arguments)


def _would_be_overwritten(site: Site, arguments: Sequence[Any], targets: Sequence[Any]) -> bool:
    """Whether one of several results may be written while another's operands are still to be read."""
    if len(targets) == 1:
        return False
    return any(
        target is not None and site.body.updated[r] != p and np.may_share_memory(arguments[at], target)
        for p, at in enumerate(site.body.operand_at)
        for r, target in enumerate(targets)
    )


def _in_rows(array: Any) -> bool:
    """Whether elements lie side by side, as in the new arrays that NumPy makes for a body.

    Where they are written apart, NumPy's functions give other last bits, and isnan of NumPy 2.4 wrong answers.
    """
    if array.flags.forc:
        return True
    return bool(min(s for s, n in zip(array.strides, array.shape, strict=True) if n > 1) == array.itemsize)


def _saved(program: Program) -> int:
    """How many steps less of a trace there are to do, as it were, than NumPy does for the body."""
    if llvm.is_there():
        return saved(program)
    # On rows of views small buffers save a quarter of the time.
    rows = any(isinstance(v, Input) and v.key is not None and len(v.shape) > 1 for v in program.values)
    return program.steps // 4 if rows else 0


class Found(NamedTuple):
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
        self.found: dict[Any, Found | None] = {}
        self.apart = runs.apart_of(arguments, targets)

    def compute(self, k: int, after_first: Callable[[], None] | None = None) -> Sequence[Any]:
        """Compute tile `k` by its trace, if there is one that is trusted, else by the body."""
        return () if self._by_trace(self.regions[k]) else super().compute(k, after_first)

    def _by_trace(self, region: Bounds) -> bool:
        arguments, chosen = self.parts(region)
        found = self._find(region, arguments, chosen)
        if found is None:
            return False
        if any([a is None for a in self.results]):  # noqa: C419  a list is quicker, at every tile
            with self.allocating:
                makers = self.runs.makers(found.program, arguments, self.work.domain)
                self.results = [make() if a is None else a for make, a in zip(makers, self.results, strict=True)]
        own = self.own(self.results, chosen, region)
        return self.runs.fits(found, own) and self.runs.compute(found, arguments, own, region, self.work)

    def _find(self, region: Bounds, arguments: Sequence[Any], chosen: Mapping[Any, Any]) -> Found | None:
        sizes = sizes_of(region)
        key: Any = (sizes, *[arguments[at].shape for _, at, _ in self.runs.windowed])
        alike = self.runs.does_for_others(sizes)
        if alike and None in self.found:
            return self.found[None]
        if key not in self.found:
            if 2 * math.prod(sizes) < math.prod(sizes_of(self.regions[0])):
                return None  # a strip: the body itself takes less time than another trace
            scalars = self.runs.scalars_of(arguments)
            found = self.runs.find(
                region, arguments, scalars, self.apart, self.targets, lambda: self.own(self.results, chosen, region)
            )
            self.found[None if found is not None and alike and not found.program.looked else key] = found
            return found
        return self.found[key]
