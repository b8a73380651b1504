"""Calls in this process: NumPy arrays in tiles for cache and threads, any other array-API library in one tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from xpdispatch.arrays.dtypes import check_cast, own_dtype
from xpdispatch.arrays.namespaces import copy_of, device_of, library_of, share_memory
from xpdispatch.arrays.reductions import combined, identity
from xpdispatch.errors import read_only
from xpdispatch.machine.memory import keep_small_blocks
from xpdispatch.machine.thread_pool import alone, thread_count
from xpdispatch.planning.arguments import as_array, as_arrays, refuse_empty, shape_of, shared_results
from xpdispatch.planning.definition import Call, Definition
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.tiles import whole
from xpdispatch.running.calls import all_given, empty_array, site_of, targets_of
from xpdispatch.running.cutting import Cutter, on_the_whole, same_elements
from xpdispatch.running.dry_run import own_result_types, result_types
from xpdispatch.running.executor import Strategy, Work
from xpdispatch.running.learned import Learned
from xpdispatch.running.results import Taking, write
from xpdispatch.running.site import Site, inside_body

if TYPE_CHECKING:
    from xpdispatch.proving.guard import Guard

Runner = Callable[[Sequence[Any]], list[Any]]
"""Runs a call of known types, dtypes and shapes; takes one value for each parameter, then arrays to be written."""

Run = Callable[[Sequence[Any], Sequence[Any], Work], list[Any]]
"""As :meth:`xpdispatch.running.executor.Strategy.run`."""


def prepare(call: Call) -> Callable[[Sequence[Any]], Runner]:
    """Settle library, namespace and dtypes of a call, and how its shapes are settled.

    Raises
    ------
    XPDispatchError
        Whatever of the arguments does not fit.
    """
    return Prepared(call, site_of(call))


class Prepared:
    """Calls that differ in the extents of their arrays alone: makes the runner for the extents of one of them.

    Parameters
    ----------
    call : Call
        Any of them.
    site : Site
        Where it runs.
    """

    def __init__(self, call: Call, site: Site) -> None:
        definition = self.definition = call.definition
        self.site = site
        self.taking = Taking.of(site, call.scalars)
        operands = as_arrays(call, site.library, site.xp, like=True)
        given = all_given(definition, operands, call.given)
        self.learned = Learned([a.dtype for a in operands], [None if g is None else g.dtype for g in given])
        self.numbers = [
            (p, definition.body.operand_at[p])
            for p, value in enumerate(call.operands)
            if library_of(value) == "number" or isinstance(value, np.generic)
        ]
        """The operands that are not arrays, and their parameters."""
        if site.library == "numpy":
            keep_small_blocks()
        self.converted = {p for p, _ in self.numbers}
        self.subclasses = [
            (r, at)
            for r, (at, g) in enumerate(zip(definition.body.written_at, given, strict=True))
            if site.library == "numpy" and type(g) not in (np.ndarray, NoneType)
        ]

    def __call__(self, values: Sequence[Any]) -> Runner:
        """Settle the extents and how the body runs.

        Raises
        ------
        XPDispatchError
            The extents do not fit.
        """
        definition, site = self.definition, self.site
        body = definition.body
        arguments = [*values]
        if site.library == "numpy":  # elsewhere nothing is cut, and shapes are enough
            self._convert(arguments, values)
        operands = [arguments[at] for at in body.operand_at]
        scalars = [values[at] for at in body.scalar_at]
        shapes = [() if p in self.converted else shape_of(a) for p, a in enumerate(operands)]
        given = [None if (g := values[at]) is None else shape_of(g) for at in body.written_at]
        site = site._replace(plan=definition.plan(shapes, scalars, given))
        # New results without an axis are numbers of NumPy's, as its own reductions give.
        results = zip(site.plan.results, given, strict=True) if site.library == "numpy" else ()
        numbers = [r for r, (layout, g) in enumerate(results) if g is None and layout.shape == ()]
        runner = self._runner(site, operands, scalars, numbers)
        return _on_plain_arrays(runner, self.subclasses) if self.subclasses else runner

    def _convert(self, arguments: list[Any], values: Sequence[Any]) -> None:
        """Put arrays in the place of numbers."""
        for p, at in self.numbers:
            value = values[at]
            if isinstance(value, np.generic):
                arguments[at] = np.asarray(value)
            else:
                xp = self.site.xp
                device = device_of(self._arrays_of(values)) if self.site.library != "numpy" else {}
                name, dtype = str(self.definition.operands[p].name), self.learned.dtypes[p]
                arguments[at] = as_array(name, value, dtype, xp, device)

    def _arrays_of(self, values: Sequence[Any]) -> list[Any]:
        """The operands that are arrays, and the arrays to be written."""
        body, numbers = self.definition.body, {at for _, at in self.numbers}
        return [values[at] for at in (*body.operand_at, *body.written_at) if at not in numbers]

    def _runner(self, site: Site, operands: Sequence[Any], scalars: Sequence[Any], numbers: Sequence[int]) -> Runner:
        definition, body = self.definition, self.definition.body
        always = on_the_whole(definition, site, self.taking, self.learned)
        cutter = self._cutter(site, operands, scalars)
        written = [r for r, dtype in enumerate(self.learned.given) if dtype is not None]
        apart = _Apart(definition, site, written, cut=cutter is not None)
        numbered = bool(self.numbers)
        count, places, library = len(body.slots), body.written_at, site.library
        blank, domain = (None,) * body.results, whole(site.plan)
        uncut = Work(domain, (domain,))
        run: Run = always.run
        if cutter is not None:
            run = _Choosing(definition, always, cutter, apart).run
        if site.plan.empty or any(self.learned.given[r] is None for r in body.buffers):
            run = self._completed(site, run)

        def runner(values: Sequence[Any]) -> list[Any]:
            arguments, given = values[:count], blank
            if written:
                given = tuple([values[at] for at in places])
                _check_given(definition, library, written, given)
            if numbered or apart.pairs:
                arguments = [*arguments]
                if numbered:
                    self._convert(arguments, values)
                apart(arguments, given)
            results = run(arguments, given, uncut)
            for r in written:
                if results[r] is not given[r]:
                    results[r] = _stored(site, r, results[r], given[r])
            for r in numbers:
                results[r] = results[r][()]
            return results

        return runner

    def _completed(self, site: Site, run: Run) -> Run:
        """Runs calls over no element, or with buffers that the caller left out."""
        definition, body = self.definition, self.definition.body

        def completed(arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> list[Any]:
            operands = [arguments[at] for at in body.operand_at]
            if any(self.learned.given[r] is None for r in body.buffers):
                targets = targets_of(definition, site, operands, targets)
            if site.plan.empty:
                return _empty(definition, site, operands, targets, [arguments[at] for at in body.scalar_at])
            return run(arguments, targets, work)

        return completed

    def _cutter(self, site: Site, operands: Sequence[Any], scalars: Sequence[Any]) -> Cutter | None:
        """What chooses how each call runs; None where all of them run the body on the whole."""
        if site.library != "numpy":
            return None
        cutter = Cutter(self.definition, site, self.taking, self.learned)
        return None if cutter.fixed(whole(site.plan), operands, scalars) else cutter


class _Choosing:
    """Runs calls of which each may be cut in another way, until it turns out that none is."""

    def __init__(self, definition: Definition, always: Strategy, cutter: Cutter, apart: _Apart) -> None:
        body, learned = definition.body, cutter.learned
        self.definition, self.always, self.apart = definition, always, apart
        self.operand_at, self.scalar_at = body.operand_at, body.scalar_at
        self.cutter: Cutter | None = cutter
        self.learned = learned
        self.undecided = not learned.busy
        self.new = not body.buffers and all(dtype is None for dtype in learned.given)
        self.threads = alone if inside_body.get() else thread_count
        self.guard: Guard | None = None

    def run(self, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> list[Any]:
        """As :meth:`Strategy.run`, on the tiles that are chosen."""
        cutter = self.cutter
        if cutter is None:
            return self.always.run(arguments, targets, work)
        operands = [arguments[at] for at in self.operand_at]
        scalars = [arguments[at] for at in self.scalar_at]
        strategy, work, _ = cutter.choose(work.domain, operands, scalars, self.threads, new=self.new)
        if len(work.regions) > 1:
            self._try(cutter, operands, scalars)
        elif self.undecided and self.learned.busy:
            self.undecided = False
            if cutter.fixed(work.domain, operands, scalars):
                self.cutter = None
                self.apart.settle(cut=False)
        return strategy.run(arguments, targets, work)

    def _try(self, cutter: Cutter, operands: Sequence[Any], scalars: Sequence[Any]) -> None:
        """Try the kernel on a few elements before the first call that is cut."""
        if self.guard is None:
            from xpdispatch.proving.guard import Guard  # which small calls need not import

            self.guard = Guard(self.definition, cutter)
        if self.guard.waits:
            self.guard.before(scalars, operands)


def _on_plain_arrays(runner: Runner, subclasses: Sequence[tuple[int, int]]) -> Runner:
    """The runner, for which a subclass of NumPy's array that is written is an array like others, whatever its size."""

    def plain(values: Sequence[Any]) -> list[Any]:
        found = [*values]
        for _, at in subclasses:
            found[at] = values[at].view(np.ndarray)
        results = runner(found)
        for r, at in subclasses:
            results[r] = values[at]
        return results

    return plain


def _check_given(definition: Definition, library: str, written: Sequence[int], given: Sequence[Any]) -> None:
    for n, r in enumerate(written):
        target = given[r]
        if library == "jax" or (library == "numpy" and not target.flags.writeable):
            name = definition.signature.results[r].name
            raise read_only(str(name), "JAX arrays are immutable" if library == "jax" else "it is read-only")
        for other in written[:n]:
            if share_memory(library, target, given[other]):
                raise shared_results(definition.signature, other, r)


class _Apart:
    """Copies the operands that a result would overwrite while the body still reads them.

    A single result that the body returns is written when all reading is over. In several tiles a result is written
    while other tiles read; that needs no copy where each reads just the elements that it writes.
    """

    def __init__(self, definition: Definition, site: Site, written: Sequence[int], *, cut: bool) -> None:
        body = self.body = definition.body
        self.site, self.written = site, written
        self.never_in_step = body.results > 1 or bool(body.buffers)
        self.pairs: list[tuple[int, int, int]] = []
        """Operands, their parameters and results that may share memory."""
        self.settle(cut=cut)

    def settle(self, *, cut: bool) -> None:
        """Say whether calls may run in several tiles."""
        body = self.body
        self.pairs = [
            (p, at, r)
            for p, at in enumerate(body.operand_at)
            for r in self.written
            if (cut or self.never_in_step) and not (body.updated[r] == p and (r in body.buffers or not cut))
        ]

    def __call__(self, arguments: list[Any], given: Sequence[Any]) -> None:
        site = self.site
        for p, at, r in self.pairs:
            operand, target = arguments[at], given[r]
            if not share_memory(site.library, operand, target):
                continue
            if self.never_in_step or not _in_step(site.plan, p, r, operand, target):
                arguments[at] = copy_of(site.library, site.xp, operand)


def _in_step(plan: Plan, position: int, r: int, operand: Any, target: Any) -> bool:
    """Whether both are the same elements in the same memory."""
    same_memory = operand.ctypes.data == target.ctypes.data and operand.strides == target.strides
    return (
        same_memory
        and plan.results[r].op is None
        and operand.dtype == target.dtype
        and same_elements(plan.operands[position], plan.results[r])
    )


def _empty(
    definition: Definition,
    site: Site,
    operands: Sequence[Any],
    targets: Sequence[Any],
    scalars: Sequence[Any],
) -> list[Any]:
    """Results over no element: no body runs, operators give their identity."""
    refuse_empty(site.plan)
    given = [None if t is None else t.dtype for t in targets]
    beside = [*operands, *targets]
    if site.library == "numpy":
        found, _ = result_types(definition, site.plan, [a.dtype for a in operands], scalars, given)
        types = [(own_dtype(dtype, site.xp), shape) for dtype, shape in found]
    else:
        types = own_result_types(site, [a.dtype for a in operands], scalars, given, device_of(beside))
    results = list(targets)
    for r, (layout, (dtype, shape)) in enumerate(zip(site.plan.results, types, strict=True)):
        if layout.op is None and results[r] is not None:
            check_cast(layout.name, dtype, results[r].dtype)
            continue
        results[r] = empty_array(site, shape, dtype if site.casts[r] is None else site.casts[r], beside)
        if layout.op and layout.combined:
            results[r] = site.xp.full_like(results[r], identity(layout.op, dtype).item())
    return results


def _stored(site: Site, r: int, result: Any, given: Any) -> Any:
    """The result in the array that the caller gave. ``out=`` overwrites; Reduce accumulates."""
    layout = site.plan.results[r]
    check_cast(layout.name, result.dtype, given.dtype)
    if layout.op and layout.accumulate:
        result = combined(site.xp, layout.op, given, site.xp.astype(result, given.dtype))
    write(site, given, result)
    return given
