"""The Legate engine: translates a plan into one task launch, and decides nothing."""

from __future__ import annotations

import json
import marshal
import math
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations, count
from operator import itemgetter
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import no_promotion
from xpdispatch.arrays.namespaces import VARIANTS, library_of, load, refuse_variant, share_memory
from xpdispatch.arrays.reductions import combined, from_sort_keys, identity, sort_keys
from xpdispatch.arrays.scalars import scalars_key
from xpdispatch.errors import ArgumentError, EngineError, MissingError, UnsupportedError
from xpdispatch.language.signature import Signature
from xpdispatch.language.terms import Term
from xpdispatch.machine.blas import one_thread_each
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.machine.packages import install_command
from xpdispatch.machine.settings import settings
from xpdispatch.planning.arguments import quick_kinds, shared_results
from xpdispatch.planning.definition import Call, Definition, call_of, define
from xpdispatch.planning.plan import Shape
from xpdispatch.planning.windows import Bounds
from xpdispatch.proving.guard import Guard, was_tried
from xpdispatch.running.calls import site_on_numpy
from xpdispatch.running.cutting import Cutter
from xpdispatch.running.learned import Learned

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
        hint=install_command("legate"),
    ) from error


from xpdispatch.legate import agreement, cells, fences, leaf
from xpdispatch.legate.bodies import check_bodies
from xpdispatch.legate.collective import several
from xpdispatch.legate.fences import IGNORED, call_site, runtime, synchronize
from xpdispatch.legate.launch import Launch, check_room, issue, issue_carrier, issue_joiner, make_launch
from xpdispatch.legate.releases import STORES, cuts_as_usual, cutting, least_size
from xpdispatch.legate.stores import (
    Held,
    bound,
    check_wrappable,
    check_writable,
    copied,
    diagonal,
    fill,
    hold,
    like,
    new_store,
    own_store,
    to_numpy,
    unbound_store,
    wrap,
)

__all__ = ["copied", "diagonal", "forced_tiles", "machine_here", "prepare", "several", "synchronize"]

_launches = count()
_tells: bool = runtime.config().provenance
"""Whether Legate is told where each call comes from: it costs a launch 4 us, so only where Legate keeps it itself.

That is with ``--provenance``, ``--profile`` or ``--nsys``.
"""
_provenance = ""
"""What the call that is being made last told Legate of itself."""
_CUT_BY_TASKS = 1 << 15
"""Elements from which on a task on one processor may cut its part of an array for the cache."""
_Arrays = tuple[list[Any], list[Any], dict[int, Held]]
"""Of operands and results their stores and what is added to a task; by place those of which there is more to know."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
"""Types of scalars that are sent by marshal, which is quicker than pickle."""


def prepare(call: Call) -> Callable[[Sequence[Any]], Callable[[Sequence[Any]], list[Any]]]:
    """Check that one task can take the arguments, and settle what comes back.

    Raises
    ------
    XPDispatchError
        Whatever of them does not fit.
    """
    fences.check_thread()
    cells.watch()
    if runtime.machine.count(lg.TaskTarget.CPU) > 1:
        one_thread_each.hold()  # or each task would start as many as there are cores
    definition = call.definition
    check_bodies(definition)
    learned = BoundedCache()

    def runner_for(values: Sequence[Any]) -> Callable[[Sequence[Any]], list[Any]]:
        runner = _Runner(call_of(definition, values), learned)
        return runner if not _tells else runner.told

    return runner_for


class _Runner:
    """Launches calls of known types, dtypes and shapes."""

    def __init__(self, call: Call, learned: BoundedCache) -> None:
        self.learned = learned
        """What is known of the body, by dtypes; the same for calls that differ in extents alone."""
        definition = self.definition = call.definition
        body = definition.body
        self.kind = _kind_of(call)
        if any(g is None and u is None for g, u in zip(call.given, body.updated, strict=True)):
            check_wrappable(self.kind)
        self.some_variants = definition.variants != VARIANTS
        self.concurrent = bool(definition.options.get("concurrent"))
        self.launches = BoundedCache()
        """By whether there are to be several tasks however little they do, and by scalars: those that are not numbers
        can decide a result's dtype."""
        numbers = all(type(s) in (float, int, complex) for s in call.scalars)
        self.one_launch = numbers and not definition.signature.open_ended
        self.plain = all(type(s) in _PLAIN for s in call.scalars)
        self.dump: Callable[[Any], bytes] | None = None
        self.scalars_of, self.written_of = _taking(body.scalar_at), _taking(body.written_at)
        if self.kind == "cupynumeric":
            quick_kinds.setdefault(load("cupynumeric").ndarray, _kind_of_array)
        self.count = len(call.operands)
        written = [g if u is None else call.operands[u] for g, u in zip(call.given, body.updated, strict=True)]
        self.known = [_known(value) for value in (*call.operands, *written)]
        """Of operands, and then of results: places are counted through both."""
        self.nothing: list[Any] = [None] * len(self.known)
        self.nothing_inline = (None,) * self.count
        operands = enumerate(zip(definition.operands, body.operand_at, call.operands, strict=True))
        results = enumerate(zip(definition.signature.results, body.written_at, written, strict=True), self.count)
        self.numbers: list[tuple[int, Term, int]] = []
        """Place, term and parameter of operands that are numbers."""
        self.taken: list[tuple[int, Term, int, bool, bool]] = []
        """The same of arrays that come by themselves, whether they are written, and whether they are known."""
        self.derived: list[tuple[int, Term, int, int | None]] = []
        """The same of results that are NumPy arrays or operands, and the operand."""
        for p, (term, at, value) in operands:
            if library_of(value) == "number":
                self.numbers.append((p, term, at))
            else:
                self.taken.append((p, term, at, p in body.updated, self.known[p] is not None))
        for (p, (term, at, value)), updated in zip(results, body.updated, strict=True):
            if updated is not None or isinstance(value, np.ndarray):
                self.derived.append((p, term, at, updated))
            elif value is not None:
                self.taken.append((p, term, at, True, self.known[p] is not None))
        self.pairs = list(combinations([p for p, value in enumerate(written, self.count) if value is not None], 2))
        """Of results that are given: they must not share memory."""

    def told(self, values: Sequence[Any]) -> list[Any]:
        """Launch one task, and tell Legate where the call comes from."""
        told = lg.Scope.provenance()
        if told and told == _provenance:  # another kernel that is a step of this call
            return self(values)
        with lg.Scope(provenance=_tell(told, self.definition.name, call_site())):
            return self(values)

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Launch one task and return the results, which need not be computed yet."""
        fences.check_thread()
        definition = self.definition
        site = call_site(2)
        if agreement.wanted:
            agreement.check(f"kernel {definition.name!r}", site, _names(definition), values)
        if self.some_variants:
            _check_variants(definition)
        if self.concurrent:
            _check_concurrent()
        scalars = self.scalars_of(values)
        arrays = stores, entries, others = self._arrays(values)
        payload = self._payload(site, others, scalars)
        launch = self._launch(arrays, scalars)
        if launch.mixed:
            _set_apart(launch, stores, entries)
        if launch.task is not None:
            fences.before_launch(definition)
        count = self.count
        entering, results = entries[:count], entries[count:]
        for r, fresh in launch.to_finish:
            results[r] = new_store(*fresh) if fresh else _begin(launch, r, self._held(count + r, arrays))
        if launch.second:
            _issue_both(launch, entering, results, self._all_held(arrays)[count:], site, payload)
        elif launch.task is not None:
            issue(launch, entering, results, (), payload)
        found = [*self.written_of(values)]
        for r, fresh in launch.to_finish:
            found[r] = (
                wrap(results[r], self.kind)
                if fresh
                else _finish(launch, r, results[r], self._held(count + r, arrays), found[r], self.kind)
            )
        if (settings.on_error or definition.on_error) == "immediate" and definition not in _OWN:
            synchronize()
        return found

    def _arrays(self, values: Sequence[Any]) -> _Arrays:
        """How Legate takes operands and results."""
        stores, entries = self.nothing.copy(), self.nothing.copy()
        others: dict[int, Held] = {}
        for p, term, at, written, known in self.taken:
            array = values[at]
            if written:
                check_writable(term, array)
            if known and (found := own_store(array)) is not None:
                stores[p], entries[p] = found
            else:
                others[p] = held = hold(term, array, written=written)
                stores[p], entries[p] = held.store, held.entry
        arrays = stores, entries, others
        if self.numbers:
            self._hold_numbers(values, arrays)
        for p, term, at, updated in self.derived:
            array = values[at]
            if updated is None:
                check_writable(term, array)
            else:
                stores[p], entries[p] = stores[updated], entries[updated]
            if isinstance(array, np.ndarray):
                others[p] = Held(stores[p], array, array.shape, array.dtype)
            elif updated in others:
                others[p] = others[updated]
        for p, q in self.pairs:
            if _overlap(self._held(p, arrays), self._held(q, arrays)):
                raise shared_results(self.definition.signature, p - self.count, q - self.count)
        return arrays

    def _hold_numbers(self, values: Sequence[Any], arrays: _Arrays) -> None:
        keys, others = self.definition.signature.keys, arrays[-1]
        dtypes = [
            self._held(p, arrays).dtype for p, term, *_ in self.taken if p < self.count and str(term.name) not in keys
        ]
        for p, term, at in self.numbers:
            others[p] = _hold_number(term, values[at], () if str(term.name) in keys else dtypes)

    def _held(self, p: int, arrays: _Arrays) -> Any:
        """The array that has a place; None for a result that is not given."""
        stores, entries, others = arrays
        known = self.known[p]
        if p in others or known is None:
            return others.get(p)
        return Held(stores[p], None, *known, entries[p])

    def _all_held(self, arrays: _Arrays) -> list[Any]:
        return [self._held(p, arrays) for p in range(len(self.known))]

    def _launch(self, arrays: _Arrays, scalars: tuple[Any, ...]) -> Launch:
        cut = not cuts_as_usual()
        by_scalars = () if self.one_launch else scalars_key(scalars, integers=self.definition.signature.open_ended)
        key = cut, *by_scalars
        launch: Launch | None = self.launches.get(key)
        if launch is None or launch.tight:
            held = self._all_held(arrays)
            operands, given = held[: self.count], held[self.count :]
            if launch is not None:
                check_room(launch.plan, launch.types, operands, given)
                return launch
            dtypes = *[h.dtype for h in operands], *[None if g is None else g.dtype for g in given]
            learned = self.learned.get(dtypes)
            if learned is None:
                learned = self.learned[dtypes] = Learned(dtypes[: self.count], dtypes[self.count :])
            _, kind, _, _ = machine_here(self.definition.variants)
            launch = make_launch(self.definition, operands, given, scalars, learned, cut=cut or kind != "cpu")
            _guard(launch, operands, learned, scalars)
            self.launches[key] = launch
            if self.plain and not any(h.inline for h in operands):
                self.dump = marshal.dumps
        return launch

    def _payload(self, site: tuple[str, int], others: Mapping[int, Held], scalars: tuple[Any, ...]) -> bytes:
        """Number and place of the call, operands that are not stores, and the scalars as they are now, for the leaf."""
        ignored = lg.Scope.exception_mode() == IGNORED
        if self.dump is not None:
            return self.dump((next(_launches), site, ignored, self.nothing_inline, scalars))
        inline = [others[p].to_send() if p in others else None for p in range(self.count)]
        try:
            return pickle.dumps((next(_launches), site, ignored, inline, scalars), protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            names = [s.name for s in self.definition.body.slots if s.scalar is not None]
            for name, value in zip(names, scalars, strict=True):
                try:
                    pickle.dumps(value)
                except Exception as reason:  # noqa: BLE001  whatever a user's __reduce__ raises
                    raise ArgumentError(
                        f"scalar {name!r} is a {type(value).__name__} that cannot be sent to a task: {reason}",
                        hint="scalars are pickled on Legate: pass plain values, or a function defined at module level",
                    ) from error
            raise


def _taking(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """What takes the values at these places."""
    if len(places) > 1:
        return itemgetter(*places)
    first = places[0] if places else 0
    return itemgetter(slice(first, first + len(places)))


def _issue_both(
    launch: Launch,
    entries: Sequence[Any],
    results: list[Any],
    given: Sequence[Held | None],
    site: tuple[str, int],
    payload: bytes,
) -> None:
    """Launch the task of a call, and another that puts together what its tasks tell."""
    recipe = launch.recipe
    told = [_unbound(dtype) for dtype in (np.dtype(np.int64), *(launch.types[r][0] for r in recipe.carried))]
    issue(launch, entries, results, told, payload)
    second = pickle.dumps((next(_launches), site, lg.Scope.exception_mode() == IGNORED))
    if recipe.gathered:
        into = [_joined_into(launch, r, given[r]) for r in recipe.gathered]
        issue_joiner(launch, results, told[0], into, second)
    if recipe.carried:
        issue_carrier(launch, results, told, second)


def _guard(launch: Launch, operands: Sequence[Held], learned: Learned, scalars: Sequence[Any]) -> None:
    """Try the kernel on a few elements, if the launch may be cut: all processes do, or none."""
    definition, plan = launch.definition, launch.plan
    if not (definition.guard and settings.guard) or plan.empty or launch.recipe.one_piece:
        return
    if "CPU" not in definition.variants:
        return
    count, _, factor, least = machine_here(definition.variants)
    sizes = [math.prod(shape) for _, shape in launch.types] + [math.prod(h.shape) for h in operands]
    if max(sizes) < (least if count * factor > 1 else _CUT_BY_TASKS):
        return
    if not was_tried(definition, learned.dtypes, learned.given, scalars):
        cutter = Cutter(definition, site_on_numpy(definition, plan, learned.dtypes), None, learned)
        Guard(definition, cutter).before(scalars)


def _kind_of_array(array: Any) -> Any:
    """Type, dtype and shape of a cuPyNumeric array, in half the time that its own shape takes."""
    try:
        (column,) = array.__legate_data_interface__["data"].values()
        shape = column.extents
    except (AssertionError, AttributeError, NotImplementedError):  # other releases, of some views
        shape = tuple(array.shape)
    return type(array), array.dtype, shape


def _known(array: Any) -> tuple[Shape, np.dtype[Any]] | None:
    """Shape and dtype of a cuPyNumeric array; None for other arrays, and where there is more to ask."""
    if type(array) not in quick_kinds or not array.shape or 0 in array.shape or array.dtype.kind not in "biufc":
        return None
    return tuple(array.shape), array.dtype


def _hold_number(term: Term, value: Any, known: Sequence[np.dtype[Any]]) -> Held:
    try:
        return hold(term, np.asarray(value, dtype=np.result_type(*known, value)))
    except (OverflowError, TypeError) as error:
        raise no_promotion(str(term.name), value, error) from error


def _kind_of(call: Call) -> str:
    """What the caller passed: cuPyNumeric arrays, Legate stores or only NumPy arrays."""
    kinds = set()
    for name, value in call.arrays():
        library = library_of(value)
        if library not in ("legate", "numpy", "number"):
            raise ArgumentError(
                f"argument {name!r} is a {library} array beside a cuPyNumeric array",
                hint="pass arrays of one library; NumPy arrays may stand beside cuPyNumeric's",
            )
        if library == "legate":
            kinds.add("store" if isinstance(value, STORES) else "cupynumeric")
    return "cupynumeric" if "cupynumeric" in kinds else "store" if kinds else "numpy"


def _check_variants(definition: Definition) -> None:
    """Refuse a launch on a machine, or in a Scope, that has no processor of the kinds that the kernel has."""
    machine = runtime.machine
    there = [v for v in VARIANTS if machine.count(lg.TaskTarget[v])]
    if not set(there) & set(definition.variants):
        raise refuse_variant(definition.variants, there)


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


def _names(definition: Definition) -> list[str]:
    """Of all values of a call: parameters, and the results that are none."""
    slots = definition.body.slots
    out = zip(definition.signature.results, definition.body.written_at, strict=True)
    return [*(s.name for s in slots), *(str(term.name) for term, at in out if at >= len(slots))]


def _overlap(left: Held, right: Held) -> bool:
    if left.value is not None and right.value is not None:
        return share_memory("numpy", left.value, right.value)
    return left.store is not None and right.store is not None and bool(left.store.overlaps(right.store))


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


# -- stores: what a launch reads and writes, and what becomes of it -----------------------------------------------


def _set_apart(launch: Launch, stores: Sequence[Any], entries: list[Any]) -> None:
    """Put copies in the place of operands' stores where needed: of what a result would overwrite while tiles read it.

    Copied, too, are views that are pointed to, and what shares memory with another operand that is cut in another way:
    Legate 26.6 can run a task of such a launch before its elements have been copied.
    """
    apart: set[int] = set()
    for p in launch.pointed:  # Legate has no image for views
        if stores[p].transformed:
            apart.add(p)
    for p, q, in_step in launch.written:
        store, written = stores[p], stores[q]
        if store.overlaps(written):
            same = in_step and not (store.transformed or written.transformed)
            if not (same and store.equal_storage(written)):
                apart.add(p)
    for p, q in launch.unlike:
        if not (p in apart or q in apart) and stores[p].overlaps(stores[q]):
            apart.add(q)
    for p in apart:
        entries[p] = made = like(stores[p])
        _run(_ASSIGN, stores[p], made)


def _begin(launch: Launch, r: int, given: Held | None) -> Any:
    """The store that the launch writes, made ready: a reduction starts from the identity.

    Only where it accumulates into an array of the partial results' own dtype does it start from what is there.
    """
    layout, (dtype, shape) = launch.plan.results[r], launch.types[r]
    if not launch.plan.empty and (layout.concatenated or r in launch.recipe.gathered):
        return _unbound(dtype)
    keyed = launch.keyed[r]
    own = np.dtype(f"i{dtype.itemsize}") if keyed else dtype
    # A leaf casts what it writes; what it reduces into must have the dtype of the partial results.
    pointed = launch.recipe.results[r].how == "image"
    direct = (
        given is not None
        and given.store is not None
        and (given.dtype == own or not layout.op)
        and not (pointed and given.store.transformed)  # Legate has no image for views
    )
    store = given.store if direct and given is not None else new_store(shape, own)
    if layout.op and layout.combined and layout.op != "fold" and not (direct and layout.accumulate):
        start = np.asarray(identity(layout.op, dtype))
        fill(store, sort_keys(layout.op, start)[()] if keyed else start[()])
    return store


def _joined_into(launch: Launch, r: int, given: Held | None) -> Any:
    """Where the second task puts a result that it makes of partial ones."""
    dtype, shape = launch.types[r]
    direct = given is not None and given.store is not None and given.dtype == dtype
    return given.store if direct and given is not None else new_store(shape, dtype)


def _finish(launch: Launch, r: int, store: Any, given: Held | None, array: Any, kind: str) -> Any:
    """The answer in the array that the caller gave, or as a new one."""
    layout, (dtype, shape) = launch.plan.results[r], launch.types[r]
    if launch.keyed[r]:
        floats = new_store(shape, dtype)
        _run(_FROM_KEYS, store, dtype.name, floats)
        store = floats
    if layout.concatenated and not launch.plan.empty:
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
            _run(_FOLD, given.store, store, layout.op)
        else:
            _run(_ASSIGN, store, given.store)
    return array


def _unbound(dtype: np.dtype[Any]) -> Any:
    store = unbound_store(dtype)
    fences.keep(store)
    return store


# -- launches of our own ------------------------------------------------------------------------------------------


def assign(xp: Any, src: Any) -> Any:
    """Copy one store to another, casting to its dtype."""
    return src


def fold(xp: Any, total: Any, part: Any, op: Any) -> Any:
    """Combine partial results with what an array holds, in the array's dtype."""
    return combined(np, op, total, part.astype(total.dtype))


def from_keys(xp: Any, keys: Any, dtype: str) -> Any:
    """The floats that sort keys came from."""
    return from_sort_keys(keys, np.dtype(dtype))


_ASSIGN = define(assign, Signature.parse("src[...] -> dst[...]"), cut=False, guard=False)
_FOLD = define(fold, Signature.parse("total[...], part[...] -> total[...]"), cut=False, guard=False)
_FROM_KEYS = define(from_keys, Signature.parse("keys[...] -> values[...]"), cut=False, guard=False)
_OWN = (_ASSIGN, _FOLD, _FROM_KEYS)
_runners = BoundedCache()
"""Of these, by definition and by the types and shapes of their stores; at most 256."""


def _run(definition: Definition, *values: Any) -> None:
    kinds = [(v.type.code, tuple(v.shape)) if isinstance(v, lg.LogicalStore) else v for v in values]
    key = (definition, *kinds)
    runner = _runners.get(key)
    if runner is None:
        runner = _runners[key] = prepare(call_of(definition, values))(values)
    runner(values)


# -- the machine --------------------------------------------------------------------------------------------------


def machine_here(variants: Sequence[str]) -> tuple[int, str, int, int]:
    """Number and kind of the processors that a kernel with these variants would run on, tiles to each, and least size.

    Raises
    ------
    UnsupportedError
        There is none.
    """
    machine = runtime.machine
    there = [v for v in ("GPU", "OMP", "CPU") if machine.count(lg.TaskTarget[v])]
    found = next((v for v in there if v in variants), None)
    if found is None:
        raise refuse_variant(variants, there)
    policy, target = lg.Scope.parallel_policy(), lg.TaskTarget[found]
    return machine.count(target), found.lower(), policy.overdecompose_factor, least_size(policy, target)


@contextmanager
def forced_tiles(factor: int) -> Iterator[list[tuple[str, Bounds]]]:
    """Let Legate cut arrays into so many tiles to a processor, however small they are; notes the tiles down.

    Parameters
    ----------
    factor : int

    Yields
    ------
    list of (str, Bounds)
        The kernels' names and the tiles of all tasks that have ended by the next synchronisation, in every process;
        those that the library launches for its own work are left out.
    """
    before = leaf.recorder
    leaf.recorder = recorder = leaf.Recorder()
    try:
        with cutting(factor):
            yield recorder.tiles
    finally:
        leaf.recorder = before
