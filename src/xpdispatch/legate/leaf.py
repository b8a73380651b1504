"""Inside a Legate task: from a TaskContext to the tile executor."""

from __future__ import annotations

import hashlib
import marshal
import math
import pickle
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from xpdispatch.arrays import namespaces
from xpdispatch.arrays.namespaces import load, namespace_for
from xpdispatch.arrays.reductions import combine, identity, needs_sort_keys, sort_keys
from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import XPDispatchError
from xpdispatch.legate import device, failures
from xpdispatch.legate.failures import Failure
from xpdispatch.legate.recipe import SMALL, Fit, Recipe, is_simple
from xpdispatch.legate.releases import data_of
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.machine.threads import thread_count
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.tiles import describe, is_empty, whole
from xpdispatch.planning.windows import Layout, Region
from xpdispatch.running.cutting import Cutter
from xpdispatch.running.executor import run
from xpdispatch.running.gathered import Gathered
from xpdispatch.running.parts import operand_part, part_of
from xpdispatch.running.returned import add_notes, checked, note, values_of
from xpdispatch.running.site import Site, inside_body


@dataclass(frozen=True, slots=True)
class Header:
    """All that a leaf needs besides its stores.

    It is sent with every launch, so that a task means the same on every rank.

    Parameters
    ----------
    plan : Plan
    recipe : Recipe
    operands : tuple of numpy.dtype
    dtypes : tuple of numpy.dtype
        Of each result.
    cast : tuple of bool
        For each result whether the body may return another dtype, because it goes to a buffer.
    """

    plan: Plan
    recipe: Recipe
    operands: tuple[np.dtype[Any], ...]
    dtypes: tuple[np.dtype[Any], ...]
    cast: tuple[bool, ...]


class Prepared(NamedTuple):
    """What tasks with the same header have in common.

    Attributes
    ----------
    header : Header
    site : Site
    cutter : Cutter or None
        Cuts Legate's tile further, for the cache of the core that runs it.
    short : callable or None
        A way to run small tiles of whole arrays with one result, on which it answers True.
    """

    header: Header
    site: Site
    cutter: Cutter | None
    short: Callable[[Any, tuple[Any, ...]], bool] | None


recorder: list[tuple[Kernel, Region]] | None = None
"""Where the tiles of this process' tasks are noted down, for the checks that run the same ones with NumPy."""


_PICKLED = pickle.dumps(None, pickle.HIGHEST_PROTOCOL)[0]
"""How a pickle begins; nothing that is marshalled does."""

_DIGEST = 16
"""Bytes before the pickle of a header that stand for all of it."""

_PLACES = -1
"""Stands for the store in which tiles note down their places, among those of partial results."""


def packed_header(header: Header) -> bytes:
    """What :func:`header_of` reads, after a digest by which tasks look up what they know of it."""
    pickled = pickle.dumps(header, pickle.HIGHEST_PROTOCOL)
    return hashlib.blake2b(pickled, digest_size=_DIGEST).digest() + pickled


def header_of(sent: Any) -> Header:
    """What came with a launch for all that are alike."""
    header: Header = pickle.loads(sent[_DIGEST:])
    return header


def packed_plain(payload: tuple[Any, ...]) -> bytes:
    """What :func:`unpacked` reads, of numbers, texts and tuples alone; quicker than by pickle."""
    return marshal.dumps(payload)


def unpacked(sent: Any) -> Any:
    """What came with a launch, from the same program: its pickle, or the marshalled form of what is plain."""
    return pickle.loads(sent) if sent[0] == _PICKLED else marshal.loads(sent)  # noqa: S302  as said


def make_leaf(kernel: Kernel, variant: str) -> Callable[[Any], None]:
    """The function that Legate calls for one variant of a kernel."""
    prepared = BoundedCache()  # by a header's digest; at most 256
    who = f"kernel {kernel.name!r}, variant {variant}"

    def prepare(key: Any, header: Header) -> Prepared:
        site = _site(kernel, variant, header)
        made = prepared[key] = Prepared(header, site, _cutter(kernel, header, site), _short_way(header, site))
        return made

    def leaf(context: Any) -> None:
        failure: Failure | None = None
        launch, site_of_call, ignored, where = -1, ("", 0), False, who
        region: Region = ()
        joined: dict[int, Any] = {}
        unbound: dict[int, Any] = {}
        short: Any = None
        try:
            sent = context.scalars
            packed = sent[0].value()
            key = bytes(packed[:_DIGEST]), namespaces.registrations, kernel.body.function_for(variant)
            found: Prepared | None = prepared.get(key)
            header = header_of(packed) if found is None else found.header
            short = None if found is None or recorder is not None else found.short
            if short is None:  # before all that can fail for the user's sake: what is unbound must be bound
                stores, inputs, outputs = _stores(context, header)
                unbound = _unbound(header.recipe, outputs)
            launch, site_of_call, ignored, inline, scalars = unpacked(sent[1].value())
            if short is not None:
                if short(context, scalars):
                    return
                stores, inputs, outputs = _stores(context, header)
            found = found or prepare(key, header)
            region = _region(header, stores)
            if not is_empty(region):
                if recorder is not None:
                    recorder.append((kernel, region))
                with _quiet(), device.on_task_stream(variant, context):
                    results = _run(found, region, inputs, outputs, inline, scalars)
                joined = {r: region if r == _PLACES else results[r] for r in unbound}
        except BaseException as error:  # noqa: BLE001  whatever leaves a leaf ends the process
            if short is not None and not region:
                region = _tile_of(context, header)
            if region:
                where += f", tile {describe(header.plan, region)}"
            failure = _failure(kernel, context, error, where, launch, site_of_call, region)
        for r, store in unbound.items():
            if r in joined:
                with device.on_task_stream(variant, context):
                    _bind(variant, store, joined[r])
            else:
                store.create_output_buffer((0,), True)  # noqa: FBT003
        if failure is not None:
            failures.hand_over(failure, context, ignored=ignored)

    leaf.__name__ = kernel.name
    return leaf


def _failure(
    kernel: Kernel,
    context: Any,
    error: BaseException,
    where: str,
    launch: int,
    site_of_call: tuple[str, int],
    region: Region,
) -> Failure:
    """What is told of an exception, with the call that it belongs to."""
    if isinstance(error, XPDispatchError):
        error.complete(kernel.name, kernel.notation)
    if launch >= 0 and isinstance(error, Exception):
        add_notes(error, ["called at {}:{}".format(*site_of_call)])
    place = tuple(start for start, _ in region)
    return failures.describe(launch, place, error, where, short=context.can_raise_exception())


def _unbound(recipe: Recipe, outputs: list[Any]) -> dict[int, Any]:
    """The stores that every task must give a part, by result; that of the places is taken from the outputs."""
    unbound = {r: outputs[r] for r, fit in enumerate(recipe.results) if fit.how in ("unbound", "gathered")}
    if recipe.gathered:
        unbound[_PLACES] = outputs.pop()
    return unbound


def _quiet() -> Any:
    """No floating-point warnings: nobody would see them, and NumPy takes Python's lock anew to give one.

    Legate's tasks share threads, and with it two of them can wait for that lock for ever.
    """
    return np.errstate(all="ignore")


def _stores(context: Any, header: Header) -> tuple[list[Any], list[Any], list[Any]]:
    """Stores of operands, results and the grid, None for what is inline; then what is read and written."""
    given = iter(context.inputs)
    inputs = [None if fit.how == "inline" else data_of(next(given)) for fit in header.recipe.operands]
    grid = [] if header.recipe.grid is None else [data_of(next(given))]
    written, folded = iter(context.outputs), iter(context.reductions)
    outputs: list[Any] = []
    for layout, fit in zip(header.plan.results, header.recipe.results, strict=True):
        if fit.how == "inline":
            outputs.append(None)
        else:
            reduced = layout.op and not header.recipe.one_piece and fit.how != "gathered"
            outputs.append(data_of(next(folded if reduced else written)))
    stores = [*inputs, *outputs, *grid]
    if header.recipe.gathered:
        outputs.append(data_of(next(written)))
    return stores, inputs, outputs


def _tile_of(context: Any, header: Header) -> Region:
    return _region(header, _stores(context, header)[0])


def _region(header: Header, stores: Sequence[Any]) -> Region:
    region = []
    for source, extent in zip(header.recipe.sources, header.plan.extents, strict=True):
        if source is None:
            region.append((0, extent))
            continue
        position, dim = source
        domain = stores[position].domain
        low, high = domain.lo[dim], domain.hi[dim]
        # An empty domain's upper end can be -1, read as an unsigned number.
        region.append((low, high + 1 if high < 2**63 else low))
    for i, cells in enumerate(header.recipe.cells):
        if cells:
            start, stop = region[i]
            extent = header.plan.extents[i]
            region[i] = (start * extent // cells, stop * extent // cells)
    return tuple(region)


def _site(kernel: Kernel, variant: str, header: Header) -> Site:
    xp = namespace_for(variant)
    library = "cupy" if variant == "GPU" else "numpy"
    function = kernel.body.function_for(variant)
    casts = kernel.casts(header.operands, xp)
    planned = tuple(None if cast else dtype for dtype, cast in zip(header.dtypes, header.cast, strict=True))
    fusing = kernel.fusing(header.plan)
    return Site(header.plan, kernel.body, function, xp, library, variant, casts, planned, cut=True, fusing=fusing)


def _cutter(kernel: Kernel, header: Header, site: Site) -> Cutter | None:
    return Cutter(site, header.operands, header.dtypes) if kernel.cut and site.library == "numpy" else None


def _short_way(header: Header, site: Site) -> Callable[[Any, tuple[Any, ...]], bool] | None:
    """The short way, or None where there is none.

    It does what :func:`_run` does of them, with nothing left to decide.
    """
    plan, recipe, body = header.plan, header.recipe, site.body
    if site.library != "numpy" or not is_simple(plan, recipe, body):
        return None
    function, xp, places, planned = site.function, site.xp, body.places, header.dtypes[0]
    quiet = copy_context()
    quiet.run(_in_body)

    def short(context: Any, scalars: tuple[Any, ...]) -> bool:
        target = _view(np, data_of(context.outputs[0]))
        if target.nbytes > SMALL:
            return False
        if not target.size:
            return True
        operands = [_view(np, data_of(array)) for array in context.inputs]
        for operand in operands:
            operand.setflags(False)  # noqa: FBT003  to write; by name it takes twice as long, and by .flags three times
        given = operands, (), scalars
        try:
            value = quiet.copy().run(function, xp, *[given[where][p] for where, p in places])
            if type(value) is not np.ndarray or value.shape != target.shape or value.dtype != planned:
                region = _tile_of(context, header)
                sizes = [stop - start for start, stop in region]
                value = checked(site, 0, values_of(site, value, {})[0], sizes, None, target)
        except Exception as error:
            note(error, site, _tile_of(context, header))
            raise
        target[...] = value
        return True

    return short


def _in_body() -> None:
    """What holds in this context from here on."""
    inside_body.set(True)
    np.seterr(all="ignore")


def _run(
    prepared: Prepared,
    region: Region,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    inline: Sequence[Any],
    scalars: tuple[Any, ...],
) -> list[Any]:
    header, site, cutter, _ = prepared
    plan, recipe = header.plan, header.recipe
    arrays = np if site.library == "numpy" else load("cupy")
    sizes = [stop - start for start, stop in region]
    operands = [
        _inline(site, arrays, inline[p], layout, region)
        if store is None
        else _borders(arrays, store, fit, header.operands[p])
        if p in recipe.replaced
        else _windowed(site, layout, fit, region, _view(arrays, store))
        for p, (store, fit, layout) in enumerate(zip(inputs, recipe.operands, plan.operands, strict=True))
    ]
    targets = [
        None
        if fit.how in ("unbound", "gathered")
        else arrays.empty(layout.tile_shape(sizes), dtype=dtype)
        if store is None
        else fit.turn_back(_view(arrays, store))
        for store, fit, layout, dtype in zip(outputs, recipe.results, plan.results, header.dtypes, strict=True)
    ]
    for r in site.body.buffers:
        updated = site.body.updated[r]
        if updated is not None:
            operands[updated] = targets[r]
    origins = {p: int(inputs[p].domain.lo[0]) for p, fit in enumerate(recipe.operands) if fit.how == "image"}
    regions: Sequence[Region] = (region,)
    workers = 1
    if cutter is not None and cutter.candidate(region):
        threads = thread_count() if site.variant == "OMP" else 1
        cuts, workers = cutter.cuts(region, operands, scalars).on(threads, new=False)
        regions = cuts.regions(region)
    results = run(site, operands, targets, scalars, region, regions, workers, origins)
    for r, (layout, target, value) in enumerate(zip(plan.results, targets, results, strict=True)):
        if recipe.results[r].how not in ("gathered", "inline"):
            _fold(layout, target, value, one_piece=recipe.one_piece)
    return results


def _bind(variant: str, store: Any, value: Any) -> None:
    """Give a result of unknown size this tile's part, cells in a row; Legate ends the process where none comes."""
    arrays = load("cupy") if variant == "GPU" else np
    cells = arrays.asarray(value).reshape(-1)
    room = store.create_output_buffer((int(cells.size),), True)  # noqa: FBT003  Legate's own way to say: bind it
    if cells.size:
        (np.asarray(room) if arrays is np else device.view(arrays, room))[...] = cells


def make_joiner(kernel: Kernel, variant: str) -> Callable[[Any], None]:
    """The function of the second task, which puts partial results together in the order of their tiles."""

    def joiner(context: Any) -> None:
        failure: Failure | None = None
        launch, ignored, where = -1, False, f"kernel {kernel.name!r}, variant {variant}"
        try:
            launch, site_of_call, ignored = pickle.loads(context.scalars[1].value())
            header = header_of(context.scalars[0].value())
            site = _site(kernel, variant, header)
            with _quiet(), device.on_task_stream(variant, context):
                _put_together(header, site, [data_of(s) for s in context.inputs], [data_of(s) for s in context.outputs])
        except BaseException as error:  # noqa: BLE001  whatever leaves a leaf ends the process
            failure = _failure(kernel, context, error, where, launch, site_of_call, ())
        if failure is not None:
            failures.hand_over(failure, context, ignored=ignored)

    joiner.__name__ = kernel.name
    return joiner


def _put_together(header: Header, site: Site, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    plan = header.plan
    arrays = np if site.library == "numpy" else load("cupy")
    places, *parts = [_view(arrays, store) for store in inputs]
    # As one list: from a device, every single number would be a copy of its own.
    regions = [tuple((a, b) for a, b in row) for row in places.reshape(-1, len(plan.extents), 2).tolist()]
    gathered = Gathered()
    results: list[Any] = [None] * len(plan.results)
    for r, cells, store in zip(header.recipe.gathered, parts, outputs, strict=True):
        layout = plan.results[r]
        target = results[r] = _view(arrays, store).reshape(layout.shape)
        # Where every tile failed there is nothing; the failure is told elsewhere.
        target[...] = 0 if layout.op in (None, "fold") else identity(layout.op, np.dtype(cells.dtype))
        first, values = 0, []
        for region in regions:
            shape = layout.tile_shape([stop - start for start, stop in region])
            values.append((region, cells[first : first + math.prod(shape)].reshape(shape)))
            first += math.prod(shape)
        for region, value in sorted(values, key=itemgetter(0)):
            if layout.op in (None, "fold"):
                gathered.add(r, region, value)
            else:
                combine(layout.op, part_of(target, layout, region, whole(plan)), value)
    gathered.finish(site, results, whole(plan))


def _windowed(site: Site, layout: Layout, fit: Fit, region: Region, array: Any) -> Any:
    """An operand's part of the tile: with a halo it is cut out here, for the task got all of the array."""
    array = fit.turn_back(array)
    if fit.how == "image" and not array.size:
        return array.reshape((0, *layout.shape[1:]))  # where nothing points to it, its other axes come empty too
    return array if layout.boundary is None else operand_part(site, array, layout, region, whole(site.plan))


def _borders(arrays: Any, store: Any, fit: Fit, dtype: np.dtype[Any]) -> Any:
    """The borders of ranges that boxes were made of."""
    if arrays is not np:
        lows, highs = (fit.turn_back(ends) for ends in device.ends_of(arrays, store))
        return arrays.concatenate((lows, highs[-1:] + 1), dtype=dtype, casting="unsafe")
    boxes = fit.turn_back(np.asarray(store))
    ends = np.ascontiguousarray(boxes).view(np.int64).reshape(len(boxes), 2, -1)[:, :, 0]
    return np.append(ends[:, 0], ends[-1:, 1] + 1).astype(dtype)


def _view(arrays: Any, store: Any) -> Any:
    """A store's part as an array, without a copy."""
    if arrays is not np:
        return device.view(arrays, store)
    try:
        return np.from_dlpack(store)
    except RuntimeError:
        return np.asarray(store)  # float16, which NumPy does not take by DLPack from Legate; four times slower


def _fold(layout: Layout, target: Any, value: Any, *, one_piece: bool) -> None:
    op = layout.op
    if op is None:
        return  # the executor wrote it
    if not one_piece and needs_sort_keys(op, value.dtype):
        value = sort_keys(op, value)
    if one_piece and not layout.accumulate:
        target[...] = value
    else:
        combine(op, target, value)


def _inline(site: Site, arrays: Any, value: Any, layout: Layout, region: Region) -> Any:
    """A 0-d operand that came with the scalars, or this tile's part of an operand without a cell."""
    if value.size:
        return arrays.asarray(value)
    return operand_part(site, arrays.empty(value.shape, dtype=value.dtype), layout, region, whole(site.plan))
