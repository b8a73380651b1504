"""The Legate engine: translates a plan into one task launch, and decides nothing."""

from __future__ import annotations

import json
import math
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, zip_longest
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import no_promotion
from xpdispatch.arrays.namespaces import VARIANTS, library_of, load, refuse_variant, share_memory
from xpdispatch.arrays.reductions import combined, from_sort_keys, identity, sort_keys
from xpdispatch.arrays.scalars import scalars_key
from xpdispatch.calling.decorator import kernel
from xpdispatch.calling.kernel import Arguments, Kernel, quick_kinds
from xpdispatch.errors import ArgumentError, EngineError, MissingError, UnsupportedError
from xpdispatch.language.constraints import HINTS
from xpdispatch.legate import driver, failures, garbage
from xpdispatch.machine import exits
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.planning.plan import Layout
from xpdispatch.running.local import shared_results
from xpdispatch.running.short import COLD

if "legate.core" not in sys.modules and threading.current_thread() is not threading.main_thread():
    raise EngineError(
        f"thread {threading.current_thread().name!r} would start Legate, which must be started from the main thread",
        hint="write import legate.core in the main thread first, and use Legate there",
    )
try:
    import legate.core as lg
except ModuleNotFoundError as error:
    raise MissingError(
        f"package {error.name!r} is not installed, so there is no Legate here",
        hint="pip install 'xpdispatch[legate]' (Legate and cuPyNumeric)",
    ) from error


from xpdispatch.legate import leaf
from xpdispatch.legate.bodies import check_bodies
from xpdispatch.legate.launch import Launch, check_room, make_launch
from xpdispatch.legate.recipe import Boxes
from xpdispatch.legate.rects import boxes_of
from xpdispatch.legate.releases import STORES, cutting, cutting_cells, least_extents, least_size, type_of_bytes
from xpdispatch.legate.stores import (
    Held,
    bound,
    check_wrappable,
    check_writable,
    fill,
    grid_store,
    hold,
    new_store,
    to_numpy,
    unbound_store,
    wrap,
)
from xpdispatch.legate.tasks import joiner_of, library

_LARGEST_SCALAR = 1_000_000
_REDUCTIONS = {"sum": "ADD", "prod": "MUL", "max": "MAX", "min": "MIN", "any": "MAX", "all": "MIN", "xor": "XOR"}
"""Legate's operator for each of ours. On bool, any and all are MAX and MIN: OR ends the process there."""

_HINTS = {name: lg.ImageComputationHint[name] for name in HINTS}
_HINTS["NO_HINT"] = lg.ImageComputationHint.MIN_MAX
"""Bodies get all from the first to the last cell; and along a promoted store Legate's exact image is wrong."""

_runtime = lg.get_legate_runtime()
_thread = threading.main_thread().ident
"""The thread that may use Legate; None in a forked process, in which it does not run."""
_kept: list[Any] = []
"""Stores of unknown size since the last blocking fence.

To drop one whose tasks have not ended waits for them, with Python's lock held, without which they cannot end.
"""
_launches = count()
_ahead = 0
"""Launches since the last blocking fence."""
_MOST_AHEAD = max(100, driver.window() // 16)
_AHEAD_IN_STREAMS = 100
"""How many there may be, and how many in Scopes whose tasks are kept back.

To drop a store is an operation for Legion, which holds the program up while too many operations are under way;
and Python drops stores with its lock held, without which no task in Python can end. A program that runs that far
ahead stands still for ever. The driver module widens Legion's window, but not where Legate was imported first.
"""
_IMMEDIATE = int(lg.ExceptionMode.IMMEDIATE)
_DEFERRED, _IGNORED = int(lg.ExceptionMode.DEFERRED), int(lg.ExceptionMode.IGNORED)
_tells: bool = _runtime.config().provenance
"""Whether Legate is told where each call comes from: it costs a launch 4 us, so only where Legate keeps it itself.

That is with ``--provenance``, ``--profile`` or ``--nsys``.
"""
_provenance = ""
"""What the call that is being made last told Legate of itself."""
failures.joined = _runtime.node_count > 1


@dataclass(frozen=True, slots=True)
class LegateCall:
    """A call of known types, dtypes and shapes, ready for its values.

    Parameters
    ----------
    kernel : Kernel
    kind : {"cupynumeric", "store", "numpy"}
        What the caller passes.
    launches : BoundedCache
        By scalars, of which those that are no numbers can decide a result's dtype.
    operands, given : list of Held
        The first call's, without their stores; empty before it.
    """

    kernel: Kernel
    kind: str
    launches: BoundedCache
    operands: list[Held]
    given: list[Held | None]

    def __call__(self, arguments: Arguments) -> list[Any]:
        """Launch one task and return the results, which need not be computed yet."""
        _check_thread()
        site = _call_site()
        if not _tells:
            return self._run(arguments, site)
        told = lg.Scope.provenance()
        if told and told == _provenance:  # another kernel that is a step of this call
            return self._run(arguments, site)
        with lg.Scope(provenance=_tell(told, self.kernel.name, site)):
            return self._run(arguments, site)

    def _run(self, arguments: Arguments, site: tuple[str, int]) -> list[Any]:
        kernel = self.kernel
        if kernel.variants != VARIANTS:
            _check_variants(kernel)
        if kernel.options.get("concurrent"):
            _check_concurrent()
        operands = _hold_operands(kernel, arguments, self.operands)
        given = _hold_given(kernel, arguments, operands, self.given)
        if not self.given:
            self.operands[:] = [Held(None, None, h.shape, h.dtype) for h in operands]
            self.given[:] = [None if g is None else Held(None, None, g.shape, g.dtype) for g in given]
        payload = _payload(kernel, site, operands, arguments.scalars)
        key = scalars_key(arguments.scalars, integers=kernel.signature.open_ended)
        launch = self.launches.get(key)
        if launch is None:
            launch = self.launches[key] = make_launch(kernel, operands, given, arguments.scalars)
        elif launch.tight:
            check_room(launch.plan, launch.types, operands, given)
        _set_apart(kernel, launch, operands, given)
        stores = [_begin(launch, r, g) for r, g in enumerate(given)]
        if not launch.plan.empty:
            places = _unbound(np.dtype(np.int64)) if launch.recipe.gathered else None
            _execute(kernel, launch, operands, stores, places, payload)
            if places is not None:
                _put_together(kernel, launch, site, stores, places, given)
        results = [
            _finish(launch, arguments, r, store, g, self.kind)
            for r, (store, g) in enumerate(zip(stores, given, strict=True))
        ]
        if kernel.on_error == "immediate":
            synchronize()
        return [
            value if updated is None else arguments.operands[updated]
            for value, updated in zip(results, kernel.body.updated, strict=True)
        ]

    def warm(self, arguments: Arguments) -> Callable[[Sequence[Any], Any], Any] | None:
        """A shorter way for calls on whole cuPyNumeric arrays, with numbers besides and one result."""
        kernel, launch = self.kernel, next(iter(self.launches.values()))
        arrays = [a for a in (*arguments.operands, *arguments.given) if a is not None]
        plain = (
            not (
                _tells
                or kernel.options
                or kernel.body.updates
                or kernel.body.buffers
                or kernel.signature.open_ended
                or failures.joined
            )
            and kernel.variants == VARIANTS
            and kernel.on_error == "deferred"
            and kernel.body.results == 1
            and not (launch.plan.empty or launch.plan.results[0].op or launch.tight)
            and launch.recipe.is_plain
            and all(type(a) is load("cupynumeric").ndarray for a in arrays)
            and all(type(s) in (float, int, complex) for s in arguments.scalars)
        )
        if self.kind != "cupynumeric" or not plain:
            return None
        quick_kinds.setdefault(load("cupynumeric").ndarray, _kind_of_array)
        return make_warm(kernel, launch)


def _kind_of_array(array: Any) -> Any:
    """Type, dtype and shape of a cuPyNumeric array, in half the time that its own shape takes."""
    try:
        shape = next(iter(array.__legate_data_interface__["data"].values())).extents
    except (AssertionError, AttributeError, NotImplementedError):  # other releases, of some views
        shape = tuple(array.shape)
    return type(array), array.dtype, shape


def make_warm(kernel: Kernel, launch: Launch) -> Callable[[Sequence[Any], Any], Any]:
    """A way to launch calls that differ in their arrays and numbers alone, which does what :class:`LegateCall` does.

    Where more is to be decided, as for views and arrays that overlap, it says so.
    """
    slots = kernel.body.slots
    places = {s.operand: p for p, s in enumerate(slots)}
    positions = [places[n] for n in range(len(kernel.operands))]
    numbers = [p for p, s in enumerate(slots) if s.scalar is not None]
    fits = (*launch.recipe.operands, *launch.recipe.results)
    # One array may be several operands, and then has one partition unless more are declared.
    alike = all(fit == fits[0] for fit in fits)
    whole = [(n, fit.keep_whole) for n, fit in enumerate(fits) if fit.how == "broadcast" or fit.keep_whole]
    aligned, unlike = launch.recipe.aligned, launch.unlike
    nothing_inline = (None,) * len(positions)
    dtype, shape = launch.types[0]
    header, task_id = lg.Scalar(launch.header), launch.task
    create, mode = _runtime.create_auto_task, lg.Scope.exception_mode

    def warm(args: Sequence[Any], out: Any) -> Any:
        global _ahead  # noqa: PLW0603
        # Now and then the long way looks whether the Scope keeps tasks back.
        may_wait = _ahead >= _MOST_AHEAD or _ahead % _AHEAD_IN_STREAMS == _AHEAD_IN_STREAMS - 1
        if may_wait or threading.get_ident() != _thread or mode() != _IMMEDIATE:
            return COLD
        site = _call_site(3)
        try:
            entering = [next(iter(args[p].__legate_data_interface__["data"].values())) for p in positions]
        except (NotImplementedError, AssertionError):  # cuPyNumeric before 26.6, of what was sliced with a step
            return COLD
        stores = [array.data for array in entering]
        if True in [store.transformed for store in stores]:
            return COLD
        if unlike and True in [stores[p].overlaps(stores[q]) for p, q in unlike]:
            return COLD
        if out is None:
            written = new_store(shape, dtype)
        else:
            written = next(iter(out.__legate_data_interface__["data"].values())).data
            overlaps = [store.overlaps(written) for store in stores]
            if written.transformed or True in overlaps or not out.flags["W"]:
                return COLD
        payload = (next(_launches), site, False, nothing_inline, tuple([args[p] for p in numbers]))
        _ahead += 1
        garbage.pause()
        task = create(library, task_id)
        if alike:
            variables = [task.add_input(array) for array in entering]
            variables.append(task.add_output(written))
        else:
            variables = [task.add_input(array, task.declare_partition()) for array in entering]
            variables.append(task.add_output(written, task.declare_partition()))
        for n, axes in whole:
            task.add_constraint(lg.broadcast(variables[n], axes) if axes else lg.broadcast(variables[n]))
        for group in aligned:
            task.add_constraint(lg.align(*[variables[n] for n in group]))
        task.add_scalar_arg(header)
        packed = leaf.packed_plain(payload)
        task.add_scalar_arg(packed, type_of_bytes(len(packed)))
        _submit(task)
        return wrap(written, "cupynumeric") if out is None else out

    return warm


def prepare(kernel: Kernel, arguments: Arguments) -> LegateCall:
    """Check that one task can take the arguments, and settle what comes back."""
    _check_thread()
    check_bodies(kernel)
    kind = _kind_of(kernel, arguments)
    if any(g is None and u is None for g, u in zip(arguments.given, kernel.body.updated, strict=True)):
        check_wrappable(kind)
    return LegateCall(kernel, kind, BoundedCache(), [], [])


def machine_here(variants: Sequence[str]) -> tuple[int, str, int, int]:
    """Number and kind of the processors that a kernel with these variants would run on, tiles to each, and least size.

    Raises
    ------
    UnsupportedError
        There is none.
    """
    machine = _runtime.machine
    there = [v for v in ("GPU", "OMP", "CPU") if machine.count(lg.TaskTarget[v])]
    found = next((v for v in there if v in variants), None)
    if found is None:
        raise refuse_variant(variants, there)
    policy, target = lg.Scope.parallel_policy(), lg.TaskTarget[found]
    return machine.count(target), found.lower(), policy.overdecompose_factor, least_size(policy, target)


def synchronize() -> None:
    """Wait for every launch so far, and raise the first exception of a body, if any."""
    if _thread is None:
        return  # a forked process has launched nothing
    _check_thread()
    if _streams_strictly():
        raise _cannot_stream("a wait")
    _settle()
    garbage.resume()
    failures.raise_first()


def _settle() -> None:
    """Wait for every launch so far, and fetch the failure that Legate carries for us or for the user's Scope."""
    _wait()
    if lg.Scope.exception_mode() == _DEFERRED:
        _fetch()


def _wait() -> None:
    """Wait for every launch so far, and fetch the failure that Legate carries for us, if any."""
    global _ahead  # noqa: PLW0603
    _runtime.issue_execution_fence(block=True)
    _ahead = 0
    _kept.clear()
    # In the user's own deferred scope it stays with Legate, which raises it where that is left.
    if failures.joined and lg.Scope.exception_mode() != _DEFERRED:
        _fetch()


def _fetch() -> None:
    """Keep the first failure that Legate carries, and let it forget all."""
    try:
        # Legate raises what is pending on leaving a deferred scope into immediate mode, and nowhere else.
        with (
            failures.collecting(),
            lg.Scope(exception_mode=lg.ExceptionMode.IMMEDIATE),
            lg.Scope(exception_mode=lg.ExceptionMode.DEFERRED),
        ):
            pass
    except failures.Carrier as carrier:
        failures.keep(carrier.failure)


def _streams_strictly() -> bool:
    """Whether Legate keeps launches back, so that to wait for them is an error."""
    modes = getattr(lg, "StreamingMode", None)  # since 26.01
    return modes is not None and lg.Scope.parallel_policy().streaming_mode == modes.STRICT


def _cannot_stream(what: str) -> EngineError:
    return EngineError(
        f"{what}, inside a Scope of StreamingMode.STRICT, whose tasks start when it is left",
        hint="make arrays by cuPyNumeric, and wait and read results after the Scope; or use StreamingMode.RELAXED",
    )


def _check_thread() -> None:
    if _thread is None:
        raise EngineError(
            "Legate is used in a process that was forked from one in which it runs, and has none of its threads",
            hint="use multiprocessing's start method 'spawn', or NumPy arrays in the forked process",
        )
    if threading.get_ident() != _thread:
        raise EngineError(
            f"Legate is used from thread {threading.current_thread().name!r}, but another thread started it",
            hint="use Legate from the thread that started it, and not inside a kernel's body",
        )


def _check_variants(kernel: Kernel) -> None:
    """Refuse a launch on a machine, or in a Scope, that has no processor of the kinds that the kernel has."""
    machine = _runtime.machine
    there = [v for v in VARIANTS if machine.count(lg.TaskTarget[v])]
    if not set(there) & set(kernel.variants):
        raise refuse_variant(kernel.variants, there)


def _check_concurrent() -> None:
    """Refuse a concurrent launch where Legate would end the process over it.

    All of its tiles run at once, so that each needs a processor of its own.
    """
    policy = lg.Scope.parallel_policy()
    if policy.overdecompose_factor > 1 or policy.streaming:
        raise UnsupportedError(
            "the kernel has the option 'concurrent', and the Scope has a parallel policy that "
            + ("streams" if policy.streaming else f"makes {policy.overdecompose_factor} tiles to a processor"),
            hint="all tiles of a concurrent launch run at once: call it outside that Scope",
        )


def _kind_of(kernel: Kernel, arguments: Arguments) -> str:
    """What the caller passed: cuPyNumeric arrays, Legate stores or only NumPy arrays."""
    kinds = set()
    for name, value in arguments.arrays(kernel):
        library = library_of(value)
        if library not in ("legate", "numpy", "number"):
            raise ArgumentError(
                f"argument {name!r} is a {library} array beside a cuPyNumeric array",
                hint="pass arrays of one library; NumPy arrays may stand beside cuPyNumeric's",
            )
        if library == "legate":
            kinds.add("store" if isinstance(value, STORES) else "cupynumeric")
    return "cupynumeric" if "cupynumeric" in kinds else "store" if kinds else "numpy"


def _hold_operands(kernel: Kernel, arguments: Arguments, known: Sequence[Held]) -> list[Held]:
    held: list[Any] = []
    numbers = []
    for p, (term, value) in enumerate(zip(kernel.operands, arguments.operands, strict=True)):
        if library_of(value) == "number":
            numbers.append(p)
            held.append(None)
        else:
            like = known[p] if known else None
            held.append(hold(str(term.name), value, like, written=p in kernel.body.updated))
    if numbers:
        dtypes = [h.dtype for h in held if h is not None]
        for p in numbers:
            held[p] = _hold_number(str(kernel.operands[p].name), arguments.operands[p], dtypes)
    return held


def _hold_number(name: str, value: Any, known: Sequence[np.dtype[Any]]) -> Held:
    try:
        return hold(name, np.asarray(value, dtype=np.result_type(*known, value)))
    except (OverflowError, TypeError) as error:
        raise no_promotion(name, value, error) from error


def _hold_given(
    kernel: Kernel, arguments: Arguments, operands: Sequence[Held], known: Sequence[Held | None]
) -> list[Held | None]:
    """The arrays to be written: what the caller gives, and operands that are updated in place.

    ``value`` is the NumPy array into which the answer is copied in the end, if it is one.
    """
    given: list[Held | None] = []
    for r, (value, updated) in enumerate(zip(arguments.given, kernel.body.updated, strict=True)):
        name = str(kernel.signature.results[r].name)
        array = arguments.operands[updated] if updated is not None else value
        if array is None:
            given.append(None)
            continue
        check_writable(name, array)
        if isinstance(array, np.ndarray):
            store = None if updated is None else operands[updated].store
            given.append(Held(store, array, array.shape, array.dtype))
        else:
            like = known[r] if known else None
            given.append(hold(name, array, like, written=True) if updated is None else operands[updated])
    for r, g in enumerate(given):
        for other in range(r):
            if g is not None and _overlap(g, given[other]):
                raise shared_results(kernel.signature, other, r)
    return given


def _overlap(left: Held, right: Held | None) -> bool:
    if right is None:
        return False
    if left.value is not None and right.value is not None:
        return share_memory("numpy", left.value, right.value)
    return left.store is not None and right.store is not None and bool(left.store.overlaps(right.store))


def _payload(kernel: Kernel, site: tuple[str, int], operands: Sequence[Held], scalars: tuple[Any, ...]) -> bytes:
    """Number and place of the call, operands that are no stores, and the scalars as they are now, for the leaf."""
    inline = [h.to_send() for h in operands]
    ignored = lg.Scope.exception_mode() == _IGNORED
    try:
        return pickle.dumps((next(_launches), site, ignored, inline, scalars), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        names = [s.name for s in kernel.body.slots if s.scalar is not None]
        for name, value in zip(names, scalars, strict=True):
            try:
                pickle.dumps(value)
            except Exception as reason:  # noqa: BLE001  whatever a user's __reduce__ raises
                raise ArgumentError(
                    f"scalar {name!r} is a {type(value).__name__} that cannot be sent to a task: {reason}",
                    hint="scalars are pickled on Legate: pass plain values, or a function defined at module level",
                ) from error
        raise


def _call_site(above: int = 1) -> tuple[str, int]:
    """File and line of the call in the user's own code, which is so many frames above this one, or more."""
    frame: Any = sys._getframe(above)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("xpdispatch."):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _tell(told: str, name: str, site: tuple[str, int]) -> str:
    """What Legate shall show for the operations of a call, after what the user's own ``Scope`` says."""
    global _provenance  # noqa: PLW0603
    own = f"{name} at {site[0]}:{site[1]}"
    if not told:
        _provenance = own
    elif told.startswith("["):  # as Legate's own track_provenance writes it: a text and a mapping in JSON
        human, *rest = json.loads(told)
        _provenance = json.dumps([f"{human}: {own}", *rest])
    else:
        _provenance = f"{told}: {own}"
    return _provenance


def _set_apart(kernel: Kernel, launch: Launch, operands: list[Held], given: Sequence[Held | None]) -> None:
    """Copy the operands that a result would overwrite while tiles still read them, and views that are pointed to.

    Copy, too, what shares memory with another operand that is cut in another way. Legate 26.6 can run a task of such a
    launch before its cells have been copied.
    """
    for _, ranges, _ in launch.recipe.images:
        for p in ranges:  # Legate has no image for views; boxes among these are none
            if p < len(operands) and operands[p].store.transformed:
                operands[p] = _copied(operands[p])
    for r, g in enumerate(given):
        if g is None or g.store is None:
            continue
        for p, held in enumerate(operands):
            in_place = kernel.body.updated[r] == p and r in kernel.body.buffers
            if held.store is None or in_place or not held.store.overlaps(g.store):
                continue
            fit, other = launch.recipe.operands[p], launch.recipe.results[r]
            same_cells = (
                len(given) == 1
                and not kernel.body.buffers
                and launch.plan.results[r].op is None
                and fit == other
                and held.shape == g.shape
                and not (held.store.transformed or g.store.transformed)
                and held.store.equal_storage(g.store)
            )
            if not same_cells:
                operands[p] = _copied(held)
    for p, q in launch.unlike:
        if not (operands[p].inline or operands[q].inline) and operands[p].store.overlaps(operands[q].store):
            operands[q] = _copied(operands[q])


def _copied(held: Held) -> Held:
    copy = new_store(tuple(held.store.shape), held.dtype)
    assign(held.store, out=copy)
    return Held(copy, None, held.shape, held.dtype)


def _begin(launch: Launch, r: int, given: Held | None) -> Any:
    """The store that the launch writes, made ready: a reduction starts from the identity.

    Only where it accumulates into an array of the partial results' own dtype does it start from what is there.
    """
    layout, (dtype, shape) = launch.plan.results[r], launch.types[r]
    if layout.joined:
        return _unbound(dtype) if not launch.plan.empty else new_store(shape, dtype)
    if r in launch.recipe.gathered and not launch.plan.empty:
        return _unbound(dtype)
    keyed = launch.keyed[r]
    own = np.dtype(f"i{dtype.itemsize}") if keyed else dtype
    # A leaf casts what it writes; what it reduces into must have the dtype of the partial results.
    direct = given is not None and given.store is not None and (given.dtype == own or not layout.op)
    store = given.store if direct and given is not None else new_store(shape, own)
    if layout.op and layout.op != "fold" and not (direct and layout.accumulate):
        start = np.asarray(identity(layout.op, dtype))
        fill(store, sort_keys(layout.op, start)[()] if keyed else start[()])
    return store


def _finish(launch: Launch, arguments: Arguments, r: int, store: Any, given: Held | None, kind: str) -> Any:
    """The answer in the array that the caller gave, or as a new one."""
    layout, (dtype, shape) = launch.plan.results[r], launch.types[r]
    if launch.keyed[r]:
        floats = new_store(shape, dtype)
        from_keys(store, dtype.name, out=floats)
        store = floats
    if layout.joined and not launch.plan.empty:
        synchronize()  # the extent is not known before
        store = bound(store, shape[1:], dtype)
    if given is None:
        return wrap(store, kind)
    if given.value is not None:
        synchronize()
        part = to_numpy(store, given.shape)
        if layout.op and layout.accumulate:
            part = combined(np, layout.op, given.value, part.astype(given.dtype))
        np.copyto(given.value, part, casting="same_kind")
    elif store is not given.store:
        if layout.accumulate:
            fold(arguments.given[r], store, layout.op)
        else:
            assign(store, out=arguments.given[r])
    return arguments.given[r]


def _unbound(dtype: np.dtype[Any]) -> Any:
    store = unbound_store(dtype)
    _kept.append(store)
    return store


def _put_together(
    kernel: Kernel,
    launch: Launch,
    site: tuple[str, int],
    stores: list[Any],
    places: Any,
    given: Sequence[Held | None],
) -> None:
    """Launch the task that makes results of partial ones, and put its stores in the place of theirs."""
    task = _runtime.create_auto_task(library, joiner_of(kernel))
    gathered = launch.recipe.gathered
    for store in (places, *(stores[r] for r in gathered)):
        task.add_constraint(lg.broadcast(task.add_input(store)))
    for r in gathered:
        dtype, shape = launch.types[r]
        held = given[r]
        direct = held is not None and held.store is not None and held.dtype == dtype
        stores[r] = held.store if direct and held is not None else new_store(shape, dtype)
        variable = task.add_output(stores[r])
        if stores[r].ndim:
            task.add_constraint(lg.broadcast(variable))
    task.add_scalar_arg(launch.header)
    ignored = lg.Scope.exception_mode() == _IGNORED
    task.add_scalar_arg(pickle.dumps((next(_launches), site, ignored)))
    _submit(task)


def _execute(
    kernel: Kernel, launch: Launch, operands: Sequence[Held], stores: Sequence[Any], places: Any, payload: bytes
) -> None:
    global _ahead  # noqa: PLW0603
    too_far = _ahead >= _MOST_AHEAD or (_ahead >= _AHEAD_IN_STREAMS and lg.Scope.parallel_policy().streaming)
    if too_far and not _streams_strictly():
        _wait()
    _ahead += 1
    garbage.pause()
    boxes = [(b, boxes_of(operands[b.operand].store, b)) for b in launch.recipe.boxes]
    task = _runtime.create_auto_task(library, launch.task)
    if kernel.options:
        task.set_concurrent(kernel.options.get("concurrent", False))
        task.set_side_effect(kernel.options.get("has_side_effect", False))
    _add_arrays(task, launch, operands, stores, places, boxes)
    task.add_scalar_arg(launch.header)
    if len(payload) <= _LARGEST_SCALAR:
        task.add_scalar_arg(payload)
    else:
        task.add_scalar_arg(payload, (lg.uint8,))
    if not launch.recipe.cells:
        _submit(task)
        return
    shares = [n / extent for n, extent in zip(launch.recipe.cells, launch.plan.extents, strict=True) if n]
    with cutting_cells(math.prod(shares)):
        _submit(task)


def _submit(task: Any) -> None:
    """Launch a task; Legate carries its failures where the user's Scope defers them, or for several processes."""
    mode = lg.Scope.exception_mode()
    try:
        if failures.joined and mode not in (_DEFERRED, _IGNORED):
            with lg.Scope(exception_mode=lg.ExceptionMode.IGNORED), lg.Scope(exception_mode=lg.ExceptionMode.DEFERRED):
                task.throws_exception(Exception)
                task.execute()
        else:
            if mode == _DEFERRED:
                task.throws_exception(Exception)
            task.execute()
    except ValueError as error:
        if not _streams_strictly():
            raise
        raise _cannot_stream("an array that lies in memory of NumPy's") from error


def _add_arrays(
    task: Any,
    launch: Launch,
    operands: Sequence[Held],
    stores: Sequence[Any],
    places: Any,
    boxes: Sequence[tuple[Boxes, Any]],
) -> None:
    """Give a task its stores and constraints, as the recipe says."""
    recipe = launch.recipe
    instead = {b.operand: store for b, store in boxes if b.instead}
    extra = [] if recipe.grid is None else [(grid_store(recipe.grid[0]), recipe.grid[1])]
    extra += [(s, b.fit) for b, s in boxes if not b.instead]
    fits = (*recipe.operands, *recipe.results, *(fit for _, fit in extra))
    variables = []
    for p, (held, fit) in enumerate(zip(operands, recipe.operands, strict=True)):
        store = instead.get(p, held.store)
        variables.append(None if fit.how == "inline" else task.add_input(fit.turn(store), task.declare_partition()))
    for store, layout, fit in zip(stores, launch.plan.results, recipe.results, strict=True):
        variables.append(
            None if fit.how == "inline" else _add_result(task, store, layout, fit, one_piece=recipe.one_piece)
        )
    if places is not None:
        task.add_output(places)
    for store, fit in extra:
        variables.append(task.add_input(fit.turn(store), task.declare_partition()))
    ranks = [None if s is None else s.ndim for s in (*(h.store for h in operands), *stores)]
    for variable, fit, rank in zip_longest(variables, fits, ranks):
        if fit.how == "broadcast" or (fit.how == "free" and rank):
            task.add_constraint(lg.broadcast(variable))
        elif fit.keep_whole:
            task.add_constraint(lg.broadcast(variable, fit.keep_whole))
    for group in recipe.aligned:
        task.add_constraint(lg.align(*(variables[p] for p in group)))
    for function, ranges, hint in recipe.images:
        for p in ranges:
            task.add_constraint(lg.image(variables[function], variables[p], _HINTS[hint]))
    if recipe.least:
        first = next(v for v, fit in zip(variables, fits, strict=True) if fit.how == "align")
        task.add_constraint(least_extents(first, recipe.least))


def _add_result(task: Any, store: Any, layout: Layout, fit: Any, *, one_piece: bool) -> Any:
    if fit.how in ("unbound", "gathered"):
        return task.add_output(store)
    turned = fit.turn(store)
    if layout.op and not one_piece:
        return task.add_reduction(turned, int(lg.ReductionOpKind[_REDUCTIONS[layout.op]]), task.declare_partition())
    variable = task.add_output(turned, task.declare_partition())
    if layout.accumulate:
        task.add_input(turned, variable)
    return variable


@kernel("src[...] -> dst[...]", cut=False)
def assign(xp: Any, src: Any) -> Any:
    """Copy one store to another, casting to its dtype."""
    return src


@kernel("total[...], part[...] -> total[...]", cut=False)
def fold(xp: Any, total: Any, part: Any, op: Any) -> Any:
    """Combine partial results with what an array holds, in the array's dtype."""
    return combined(np, op, total, part.astype(total.dtype))


@kernel("keys[...] -> values[...]", cut=False)
def from_keys(xp: Any, keys: Any, dtype: str) -> Any:
    """The floats that sort keys came from."""
    return from_sort_keys(keys, np.dtype(dtype))


@contextmanager
def forced_tiles(factor: int, tiles: list[Any] | None = None) -> Iterator[list[Any]]:
    """Let Legate cut arrays into so many tiles to a processor, however small they are; notes the tiles down.

    Parameters
    ----------
    factor : int
    tiles : list, optional
        Where the tiles are appended.

    Yields
    ------
    list of (Kernel, Region)
        The tiles of all tasks that have ended by the next synchronisation.
    """
    tiles = [] if tiles is None else tiles
    before, leaf.recorder = leaf.recorder, tiles
    try:
        with cutting(factor):
            yield tiles
    finally:
        leaf.recorder = before


def _after_fork() -> None:
    global _thread  # noqa: PLW0603
    _thread = None
    failures.take()  # they are the parent's to tell


os.register_at_fork(after_in_child=_after_fork)


def _report_at_exit() -> None:
    if _thread is None:
        return
    _settle()
    error = failures.take()
    if error is not None:
        exits.fail()
        with suppress(Exception):  # nobody may be there to read it
            traceback.print_exception(error, file=sys.stderr)


_runtime.add_shutdown_callback(_report_at_exit)
exits.watch(_report_at_exit, _runtime.finish)
