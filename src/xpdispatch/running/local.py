"""Calls in this process: NumPy arrays in tiles for cache and threads, any other array-API library in one tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from xpdispatch.arrays.dtypes import check_cast, no_promotion, np_dtype, own_dtype, unknown_dtype
from xpdispatch.arrays.namespaces import library_of, namespace_of, refuse_variant, share_memory
from xpdispatch.arrays.reductions import combined, identity
from xpdispatch.errors import ArgumentError, EngineError, ShapeError, read_only
from xpdispatch.language.boundaries import check_constant
from xpdispatch.machine.threads import thread_count
from xpdispatch.planning.body import inside_body
from xpdispatch.planning.tiles import Region, whole
from xpdispatch.running.cutting import Cutter, same_cells
from xpdispatch.running.executor import run
from xpdispatch.running.images import check_pointers
from xpdispatch.running.returned import write
from xpdispatch.running.short import make_warm
from xpdispatch.running.site import Site

if TYPE_CHECKING:
    from xpdispatch.calling.kernel import Arguments, Kernel
    from xpdispatch.language.signature import Signature
    from xpdispatch.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class LocalCall:
    """A call of known types, dtypes and shapes, ready for its values.

    Parameters
    ----------
    kernel : Kernel
    site : Site
    domain : Region
    simple : bool
        Nothing but to run it: no array to be written, no number to be turned into an array, some cell.
    numbers : bool
        Some operand is a Python number or a NumPy scalar.
    writes : bool
        Some result goes to an array that the caller passes.
    cutter : Cutter or None
        Says where a large call on NumPy arrays is cut.
    """

    kernel: Kernel
    site: Site
    domain: Region
    simple: bool
    numbers: bool
    writes: bool
    cutter: Cutter | None

    def __call__(self, arguments: Arguments) -> list[Any]:
        """Run the call and return the results in order."""
        site, kernel = self.site, self.kernel
        operands, given = arguments.operands, arguments.given
        if self.simple:
            return run(site, operands, given, arguments.scalars, self.domain, (self.domain,))
        if self.numbers:
            operands = as_arrays(kernel, operands, site.library, site.xp)
        if self.writes:
            given = _all_given(kernel, operands, given)
            _check_given(kernel, site.library, given)
            operands = _apart(kernel, site, operands, given, cut=self.cutter is not None)
        like = next((a for a in (*operands, *given) if a is not None), None)
        targets = targets_of(kernel, site, given, like) if kernel.body.buffers else given
        if site.plan.empty:
            results = _empty(kernel, site, operands, targets, arguments.scalars, like)
        elif self.cutter is None:
            results = run(site, operands, targets, arguments.scalars, self.domain, (self.domain,))
        else:
            results = self._run_cut(self.cutter, operands, targets, arguments.scalars)
        if not self.writes:
            return results
        return [_stored(site, r, result, given[r]) for r, result in enumerate(results)]

    def warm(self, arguments: Arguments) -> Callable[[Sequence[Any], Any], Any] | None:
        """A shorter way for calls that are plain."""
        arrays = [a for a in (*arguments.operands, *arguments.given) if a is not None]
        plain = not (self.numbers or self.cutter or self.site.plan.empty or self.kernel.body.updates)
        return make_warm(self.site, self.domain) if plain and all(type(a) is np.ndarray for a in arrays) else None

    def _run_cut(
        self, cutter: Cutter, operands: Sequence[Any], targets: Sequence[Any], scalars: Sequence[Any]
    ) -> list[Any]:
        threads = 1 if inside_body.get() else thread_count()
        new = not self.writes and not self.kernel.body.buffers
        cuts, workers = cutter.cuts(self.domain, operands, scalars).on(threads, new=new)
        return run(self.site, operands, targets, scalars, self.domain, cuts.regions(self.domain), workers)


def prepare(kernel: Kernel, arguments: Arguments) -> LocalCall:
    """Settle library, namespace, plan and dtypes of a call."""
    library, like = one_library(kernel, arguments)
    variant = {"numpy": "CPU", "cupy": "GPU"}.get(library)
    if variant is not None and variant not in kernel.variants:
        raise refuse_variant(kernel.variants, [variant])
    xp = namespace_of(library, like)
    operands = as_arrays(kernel, arguments.operands, library, xp)
    given = _all_given(kernel, operands, arguments.given)
    plan = kernel.plan(
        [tuple(a.shape) for a in operands], arguments.scalars, [None if g is None else tuple(g.shape) for g in given]
    )
    site = Site(
        plan,
        kernel.body,
        kernel.body.function_for(variant),
        xp,
        library,
        "GPU" if library == "cupy" else "CPU",
        kernel.casts([a.dtype for a in operands], xp),
        fusing=kernel.fusing(plan),
    )
    if plan.images:
        check_pointers(plan, [np_dtype(a.dtype) for a in operands])
    for layout, array in zip(plan.operands, operands, strict=True):
        if layout.boundary is not None:
            check_constant(layout.name, layout.boundary, np_dtype(array.dtype))
    numbers = any(library_of(v) == "number" or isinstance(v, np.generic) for v in arguments.operands)
    writes = any(g is not None for g in given)
    domain = whole(plan)
    cutter = _cutter(kernel, site, domain, operands, given)
    simple = not (numbers or writes or plan.empty or kernel.body.buffers or cutter)
    return LocalCall(kernel, site, domain, simple, numbers, writes, cutter)


def _cutter(kernel: Kernel, site: Site, domain: Region, operands: Sequence[Any], given: Sequence[Any]) -> Cutter | None:
    if not kernel.cut or site.library != "numpy":
        return None
    cutter = Cutter(site, [a.dtype for a in operands], [None if g is None else g.dtype for g in given])
    return cutter if cutter.candidate(domain) else None


def _all_given(kernel: Kernel, operands: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """The arrays to be written: what the caller gives, and operands that are updated in place."""
    return [operands[u] if u is not None else g for u, g in zip(kernel.body.updated, given, strict=True)]


def one_library(kernel: Kernel, arguments: Arguments) -> tuple[str, Any]:
    """The one library of a call's arrays, and one of them."""
    found: dict[str, tuple[str, Any]] = {}
    for name, value in arguments.arrays(kernel):
        library = library_of(value)
        if library != "number":
            found.setdefault(library, (name, value))
    if len(found) > 1:
        (first, (a, _)), (second, (b, _)) = list(found.items())[:2]
        raise ArgumentError(
            f"argument {b!r} is a {second} array, but {a!r} is a {first} array",
            hint="pass arrays of one library; convert with xp.asarray or from_dlpack first",
        )
    for library, (name, value) in found.items():
        if library == "legate":
            raise EngineError(
                f"argument {name!r} is a Legate array in a call inside a kernel's body, which runs in this process",
                hint=f"pass {name!r} to the outer kernel as an argument",
            )
        return library, value
    return "numpy", None


def as_arrays(kernel: Kernel, values: Sequence[Any], library: str, xp: Any) -> list[Any]:
    """The operands as arrays; Python numbers take the dtype that promotion gives."""
    arrays = [np.asarray(v) if isinstance(v, np.generic) else v for v in values]
    known = [v for v in arrays if library_of(v) != "number"]
    device = {} if not known or library == "numpy" else {"device": array_api_compat.device(known[0])}
    for position, value in enumerate(arrays):
        if library_of(value) == "number":
            try:
                dtype = (np if library == "numpy" else xp).result_type(*(a.dtype for a in known), value)
                arrays[position] = xp.asarray(value, dtype=dtype, **device)
            except (OverflowError, TypeError, RuntimeError) as error:  # torch's overflow is a RuntimeError
                raise no_promotion(str(kernel.operands[position].name), value, error) from error
    return arrays


def _check_given(kernel: Kernel, library: str, given: Sequence[Any]) -> None:
    for r, target in enumerate(given):
        if target is None:
            continue
        name = kernel.signature.results[r].name
        if library == "jax" or (library == "numpy" and not target.flags.writeable):
            raise read_only(str(name), "JAX arrays are immutable" if library == "jax" else "it is read-only")
        for other in range(r):
            if given[other] is not None and share_memory(library, target, given[other]):
                raise shared_results(kernel.signature, other, r)


def shared_results(signature: Signature, first: int, second: int) -> ArgumentError:
    """The error for two results that would be written over each other."""
    names = signature.results[first].name, signature.results[second].name
    return ArgumentError(
        f"the arrays given for results {names[0]!r} and {names[1]!r} share memory",
        hint="pass arrays that do not overlap",
    )


def _apart(kernel: Kernel, site: Site, operands: list[Any], given: Sequence[Any], *, cut: bool) -> list[Any]:
    """Copies of the operands that a result would overwrite while the body still reads them.

    A single result that the body returns is written when all reading is over, and needs no copy. In several tiles it
    is written while other tiles read, and needs none where each reads just the cells that it writes.
    """
    body = kernel.body
    if len(given) == 1 and not body.buffers and not cut:
        return operands
    apart = list(operands)
    for position, operand in enumerate(operands):
        for r, target in enumerate(given):
            in_place = body.updated[r] == position and (r in body.buffers or not cut)
            if target is None or in_place or not share_memory(site.library, operand, target):
                continue
            if len(given) > 1 or body.buffers or not _in_step(site.plan, position, r, operand, target):
                apart[position] = array_api_compat.array_namespace(operand).asarray(operand, copy=True)
                break
    return apart


def _in_step(plan: Plan, position: int, r: int, operand: Any, target: Any) -> bool:
    """Whether both are the same cells in the same memory."""
    same_memory = operand.ctypes.data == target.ctypes.data and operand.strides == target.strides
    return (
        same_memory
        and plan.results[r].op is None
        and operand.dtype == target.dtype
        and same_cells(plan.operands[position], plan.results[r])
    )


def targets_of(kernel: Kernel, site: Site, given: Sequence[Any], like: Any) -> list[Any]:
    """Where the executor writes; buffers that the caller left out are allocated."""
    targets = list(given)
    for r in kernel.body.buffers:
        if targets[r] is not None:
            continue
        layout = site.plan.results[r]
        if site.casts[r] is None:
            raise unknown_dtype(layout.name)
        if None in layout.shape:
            raise ShapeError(
                f"result {layout.name!r} is written by the body and was left out, so its shape is not known",
                hint=f"pass an array as {layout.name!r} or out=, or name its extents in the notation",
            )
        if layout.op is None:
            targets[r] = _empty_array(site, layout.shape, site.casts[r], like)
    return targets


def _empty(
    kernel: Kernel, site: Site, operands: Sequence[Any], targets: Sequence[Any], scalars: Sequence[Any], like: Any
) -> list[Any]:
    """Results over no cell: no body runs, operators give their identity."""
    refuse_empty(site.plan)
    given = [None if t is None else np_dtype(t.dtype) for t in targets]
    types = kernel.result_types(site.plan, [np_dtype(a.dtype) for a in operands], scalars, given)
    results = list(targets)
    for r, (layout, (dtype, shape)) in enumerate(zip(site.plan.results, types, strict=True)):
        if layout.op is None and results[r] is not None:
            check_cast(layout.name, dtype, results[r].dtype)
            continue
        own = site.casts[r] if site.casts[r] is not None else own_dtype(dtype, site.xp)
        results[r] = _empty_array(site, shape, own, like)
        if layout.op:
            results[r] = site.xp.full_like(results[r], identity(layout.op, dtype).item())
    return results


def refuse_empty(plan: Plan) -> None:
    """Max and min over no cell have no answer.

    Raises
    ------
    ShapeError
    """
    for layout in plan.results:
        if layout.op in ("max", "min", "fold") and not layout.accumulate:
            gone = [n for n, extent in zip(plan.indices, plan.extents, strict=True) if extent == 0]
            raise ShapeError(
                f"{layout.op} of result {layout.name!r} over no cell: {', '.join(gone)} has extent 0",
                hint="pass arrays with at least one cell, or handle the empty case before the call",
            )


def _empty_array(site: Site, shape: Sequence[int | None], dtype: Any, like: Any) -> Any:
    if like is None or site.library == "numpy":
        return site.xp.empty(shape, dtype=dtype)
    return site.xp.empty(shape, dtype=dtype, device=array_api_compat.device(like))


def _stored(site: Site, r: int, result: Any, given: Any) -> Any:
    """The result in the array that the caller gave, if any. ``out=`` overwrites; Reduce accumulates."""
    if given is None or given is result:
        return result
    layout = site.plan.results[r]
    check_cast(layout.name, result.dtype, given.dtype)
    if layout.op and layout.accumulate:
        result = combined(site.xp, layout.op, given, site.xp.astype(result, given.dtype))
    write(site, given, result)
    return given
