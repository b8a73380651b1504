"""Inside a Legate task: from a TaskContext to the tile executor."""

from __future__ import annotations

import gc
import hashlib
import marshal
import math
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from sys import getrefcount
from types import FrameType
from typing import Any
from weakref import WeakValueDictionary, finalize, ref

import numpy as np

from xpdispatch.arrays import namespaces
from xpdispatch.arrays.namespaces import load, namespace_for
from xpdispatch.arrays.reductions import (
    combine,
    failed_partial,
    failed_value,
    identity,
    needs_sort_keys,
    sort_keys,
)
from xpdispatch.errors import XPDispatchError
from xpdispatch.legate import device, failures
from xpdispatch.legate.alignment import Fit, Recipe
from xpdispatch.legate.bodies import Surroundings
from xpdispatch.legate.failures import Failure
from xpdispatch.legate.releases import data_of
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.machine.memory import keep_small_blocks
from xpdispatch.machine.thread_pool import alone, thread_count
from xpdispatch.planning.body import shown_file
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.tiles import describe, is_empty, whole
from xpdispatch.planning.windows import Bounds, Layout, sizes_of
from xpdispatch.running import cutting
from xpdispatch.running.cutting import Choice, Cutter, on_the_whole
from xpdispatch.running.executor import NOWHERE, Work
from xpdispatch.running.gathered import Gathered, apply_carry, carries, scanned_together
from xpdispatch.running.learned import Learned
from xpdispatch.running.ownership import AT_ONCE
from xpdispatch.running.parts import Seam, Window, part_of
from xpdispatch.running.results import Taking, add_notes
from xpdispatch.running.site import Site


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
    sample : str
        On what the body ran to tell the dtypes; empty where it did not.
    """

    plan: Plan
    recipe: Recipe
    operands: tuple[np.dtype[Any], ...]
    dtypes: tuple[np.dtype[Any], ...]
    cast: tuple[bool, ...]
    sample: str


class Recorder:
    """The tiles of tasks, for the checks that run the same ones with NumPy.

    Attributes
    ----------
    tiles : list of (str, Bounds)
        Names of kernels and tiles: first those that all processes know, then this one's own.
    known : int
        How many all know.
    """

    def __init__(self) -> None:
        self.tiles: list[tuple[str, Bounds]] = []
        self.known = 0

    def note(self, definition: Definition, tile: Bounds) -> None:
        """Note a tile of this process down, of a kernel that is not the library's own."""
        if not str(getattr(definition.body.function, "__module__", "")).startswith("xpdispatch."):
            self.tiles.append((definition.name, tile))

    def own(self) -> list[tuple[str, Bounds]]:
        """Those of this process since :meth:`learn`."""
        return self.tiles[self.known :]

    def learn(self, told: Iterable[list[tuple[str, Bounds]]]) -> None:
        """Put those of all processes in place of this one's own."""
        self.tiles[self.known :] = [tile for tiles in told for tile in tiles]
        self.known = len(self.tiles)


recorder: Recorder | None = None

_kept: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""The parts of stores that bodies keep, by id: to drop one after Legate has ended ends the process."""

_OURS = 3
"""References to a part that no body keeps: of the list of parts, and of the loop and the call that count them."""

_PICKLED = pickle.dumps(None, pickle.HIGHEST_PROTOCOL)[0]
"""How a pickle begins; nothing that is marshalled does."""

_DIGEST = 16
"""Bytes before the pickle of a header that stand for all of it."""

_IMAGES = ("image", "window")

_NO_VIEW = ("inline", "unbound", "gathered")


def packed_header(header: Header) -> bytes:
    """What :func:`header_of` reads, after a digest by which tasks look up what they know of it."""
    pickled = pickle.dumps(header, pickle.HIGHEST_PROTOCOL)
    return hashlib.blake2b(pickled, digest_size=_DIGEST).digest() + pickled


def header_of(sent: Any) -> Header:
    """What came with a launch for all that are alike."""
    header: Header = pickle.loads(sent[_DIGEST:])
    return header


def unpacked(sent: Any) -> Any:
    """What came with a launch, from the same program: its pickle, or the marshalled form of what is plain."""
    return pickle.loads(sent) if sent[0] == _PICKLED else marshal.loads(sent)  # noqa: S302  as said


def make_leaf(definition: Definition, variant: str) -> Callable[[Any], None]:
    """The function that Legate calls for one variant of a kernel, which whoever launches it keeps alive."""
    found, name = ref(definition), definition.name
    tasks = BoundedCache()  # by a header's digest, the namespaces and whether tiles are forced; at most 256
    finalize(definition, tasks.clear)

    def leaf(context: Any) -> None:
        definition = found()
        assert definition is not None  # noqa: S101  as said
        _run_task(definition, variant, tasks, context)

    leaf.__name__ = name
    return leaf


def _run_task(definition: Definition, variant: str, tasks: BoundedCache, context: Any) -> None:
    failure: Failure | None = None
    launch, site_of_call, ignored = -1, ("", 0), False
    region: Bounds = ()
    task: Task | None = None
    stores: list[Any] = []
    unbound: Sequence[int] = ()
    bound: dict[int, Any] = {}
    parts: list[Any] = []
    values: Sequence[Any] = ()
    try:
        sent = context.scalars
        packed = sent[0].value()
        key = bytes(packed[:_DIGEST]), namespaces.registered, cutting.forced
        task = tasks.get(key)
        if task is None:
            task = tasks[key] = Task(header_of(packed))
        stores = task.stores(context)
        unbound = task.unbound  # of all that can fail for the user's sake nothing comes before: these must be bound
        launch, site_of_call, ignored, inline, scalars = unpacked(sent[1].value())
        if task.site is None:
            task.prepare(definition, variant)
        assert task.around is not None  # noqa: S101  it is prepared
        task.around.check()
        if variant == "GPU":
            with device.on_task_stream(variant, context):
                region, values = task.run(stores, parts, inline, scalars)
        else:
            region, values = _QUIET.copy().run(task.run, stores, parts, inline, scalars)
        if recorder is not None and values:
            recorder.note(definition, task.place(stores))
        if unbound and values:
            bound = task.parts(stores, values)
    except BaseException as error:  # noqa: BLE001  whatever leaves a leaf ends the process
        where = f"kernel {definition.name!r}, variant {variant}"
        if task is not None and stores:
            region = task.place(stores)
            where += f", tile {describe(task.plan, region)}"
            _mark_failed(variant, context, task.marked(stores), error)
        failure = _failure(definition, context, error, where, launch, site_of_call, region)
    carried = failure is not None and context.can_raise_exception()  # with it Legate binds all that is unbound
    for at in unbound:
        if at in bound:
            with device.on_task_stream(variant, context):
                _bind(variant, stores[at], bound[at])
        elif not carried:
            stores[at].create_output_buffer((0,), True)  # noqa: FBT003
    values = ()
    bound.clear()
    _note_kept(parts)
    if failure is not None:
        failures.hand_over(failure, context, ignored=ignored)


def _mark_failed(
    variant: str, context: Any, stores: Iterable[tuple[Any, Callable[[Any], Any]]], error: BaseException
) -> None:
    """Put in the place of what a failed task was to write what does not read as a plausible number."""
    try:
        arrays = load("cupy") if variant == "GPU" else np
        with device.on_task_stream(variant, context):
            for store, mark_of in stores:
                part = view(arrays, store)
                mark = mark_of(np.dtype(part.dtype))
                if mark is not None:
                    part[...] = mark
    except BaseException as another:  # noqa: BLE001  the exception of the body is the one to be told
        if isinstance(error, Exception):
            add_notes(error, [f"its result could not be marked as failed: {type(another).__name__}: {another}"])


def _failure(
    definition: Definition,
    context: Any,
    error: BaseException,
    where: str,
    launch: int,
    site_of_call: tuple[str, int],
    region: Bounds,
) -> Failure:
    """What is told of an exception, with the call that it belongs to."""
    if isinstance(error, XPDispatchError):
        error.complete(definition.name, definition.notation)
    if launch >= 0 and isinstance(error, Exception):
        file, line = site_of_call
        add_notes(error, [f"called at {shown_file(file)}:{line}"])
    place = tuple(start for start, _ in region)
    return failures.describe(launch, place, error, where, short=context.can_raise_exception())


def _make_quiet() -> Context:
    """A context without floating-point warnings: nobody would see them, and NumPy takes Python's lock anew to give one.

    Legate's tasks share threads, and with it two of them can wait for that lock for ever.
    """
    made = copy_context()
    made.run(lambda: np.seterr(all="ignore"))
    return made


_QUIET = _make_quiet()


class Task:
    """What tasks with the same header have in common, and how they run.

    Stores are in one list: of operands, results, the grid, rects, what wraps around, and the places of tiles; None for
    what is inline.
    """

    def __init__(self, header: Header) -> None:
        plan, recipe = self.plan, self.recipe = header.plan, header.recipe
        self.header = header
        self.site: Site | None = None
        self.around: Surroundings | None = None
        hows = self.hows = [fit.how for fit in (*recipe.operands, *recipe.results)]
        count = self.count = len(recipe.operands)
        grid = [] if recipe.grid is None else [len(hows)]
        rects = len(hows) + len(grid)
        last = rects + sum(not b.instead for b in recipe.rects)
        written = [n for n in range(count, len(hows)) if hows[n] != "inline"]
        self.folded = [
            n for n in written if plan.results[n - count].combined and not recipe.one_piece and hows[n] != "gathered"
        ]
        self.seams = list(enumerate(recipe.seams, last))
        """The stores of what wraps around, and whose it is."""
        last += len(self.seams)
        self.told = range(last, last + recipe.second + len(recipe.carried))
        """What a second task is told: where the tile lies, if it has to know, and the ends of scans."""
        self.read = [*(n for n in range(count) if hows[n] != "inline"), *grid, *range(rects, last)]
        self.written = [n for n in written if n not in self.folded] + [*self.told]
        self.length, self.end = self.told.stop, len(hows)
        self.joined = [r for r in range(len(plan.results)) if hows[count + r] in ("unbound", "gathered")]
        self.unbound = [*(count + r for r in self.joined), *self.told]
        """The stores that every task must give a part."""
        self.reduced = [
            (r, layout)
            for r, layout in enumerate(plan.results)
            if layout.op and hows[count + r] not in ("gathered", "inline")
        ]
        self.views = [n for n, how in enumerate(hows) if how not in _NO_VIEW and n not in recipe.replaced]
        fits = list(enumerate((*recipe.operands, *recipe.results)))
        self.turned = [(n, fit) for n, fit in fits if n in self.views and fit.how not in _IMAGES and not fit.is_plain]
        """The stores whose parts are turned back to the axes that the body knows."""
        self.special = [
            (p, fit, plan.operands[p])
            for p, fit in fits[:count]
            if fit.how in ("inline", *_IMAGES) or p in recipe.replaced
        ]
        """The operands that are not the parts of their stores."""
        self.inline = [(r, plan.results[r]) for r, how in enumerate(hows[count:]) if how == "inline"]
        self.pointed = [r for r, how in enumerate(hows[count:]) if how == "image"]
        self.extents = list(zip(recipe.sources, plan.extents, strict=True))

    def prepare(self, definition: Definition, variant: str) -> None:
        """Settle where the body runs, and how."""
        header = self.header
        body, site = definition.body, _site(definition, variant, header)
        self.arrays = np if site.library == "numpy" else load("cupy")
        halos = any(layout.haloed for layout in self.plan.operands)
        pointed = self.plan.images or self.recipe.images
        moved = body.wants_tile or halos or pointed or self.recipe.grid or self.recipe.second
        self.anywhere = not moved and site.library == "numpy"
        """Whether the body does the same wherever a tile lies: to look that up takes 3 us an index."""
        self.updated = [(p, r) for r, p in enumerate(body.updated) if p is not None and r in body.buffers]
        self.threads = thread_count if variant == "OMP" else alone
        # One thread may run the task while another still prepares it, and sets all once more.
        numpy, learned = site.library == "numpy", Learned(header.operands, header.dtypes)
        if numpy:
            keep_small_blocks()
        self.cutter = Cutter(definition, site, None, learned, threaded=variant == "OMP") if numpy else None
        self.strategy = on_the_whole(definition, site, Taking(site, AT_ONCE), learned)
        self.choices = BoundedCache()
        self.around = Surroundings(site.function)
        self.site = site

    def stores(self, context: Any) -> list[Any]:
        """The stores of a task."""
        found: list[Any] = [None] * self.length
        inputs, outputs = context.inputs, context.outputs
        for k, n in enumerate(self.read):
            found[n] = data_of(inputs[k])
        for k, n in enumerate(self.written):
            found[n] = data_of(outputs[k])
        if self.folded:
            for n, argument in zip(self.folded, context.reductions, strict=True):
                found[n] = data_of(argument)
        return found

    def parts(self, stores: Sequence[Any], values: Sequence[Any]) -> dict[int, Any]:
        """What a tile gives to stores of unknown size."""
        found = {self.count + r: values[r] for r in self.joined}
        if self.told:
            scans = [(self.plan.results[r].scan, values[r]) for r in self.recipe.carried]
            told = [self.place(stores), *(scan.end(value) for scan, value in scans if scan)]
            found |= zip(self.told, told, strict=True)
        return found

    def marked(self, stores: Sequence[Any]) -> Iterator[tuple[Any, Callable[[Any], Any]]]:
        """The stores of results that tell of a failure themselves, and what they then hold, by dtype."""
        for r, layout in enumerate(self.plan.results):
            n = self.count + r
            if self.hows[n] in _NO_VIEW:
                continue
            if layout.op is None or layout.scan:
                yield stores[n], failed_value
            else:
                yield stores[n], partial(failed_partial, layout.op, self.header.dtypes[r])

    def place(self, stores: Sequence[Any]) -> Bounds:
        """The tile."""
        region = []
        for source, extent in self.extents:
            if source is None:
                region.append((0, extent))
                continue
            position, dim, stretch = source
            domain = stores[position].domain
            low, high = domain.lo[dim], domain.hi[dim]
            # An empty domain's upper end can be -1, read as an unsigned number.
            high = high + 1 if high < 2**63 else low
            region.append((low, high) if stretch == 1 else (low * stretch, min(high * stretch, extent)))
        return tuple(region)

    def run(
        self, stores: Sequence[Any], parts: list[Any], inline: Sequence[Any], scalars: Sequence[Any]
    ) -> tuple[Bounds, Sequence[Any]]:
        """Run the body on the tile, and write what goes to stores of a known size; the tile, and all results.

        The tile begins at 0 where it does not matter where it lies; an empty one has no results. What the body gets of
        stores is added to the parts.
        """
        views: list[Any] = [None] * self.length
        for n in self.views:
            views[n] = _part(self.arrays, stores[n], parts)
        if self.anywhere:
            region = tuple([(0, n if at is None else views[at[0]].shape[at[1]]) for at, n in self.extents])
        else:
            region = self.place(stores)
        if is_empty(region):
            return region, ()
        assert self.site is not None  # noqa: S101  it is prepared
        for n, fit in self.turned:
            views[n] = fit.turn_back(views[n])
        operands, targets = views[: self.count], views[self.count : self.end]
        origins = self._take(self.site, region, stores, operands, inline) if self.special else NOWHERE
        for r, layout in self.inline:
            shape = layout.tile_shape(sizes_of(region))
            targets[r] = self.arrays.empty(shape, dtype=self.header.dtypes[r])
        for p, r in self.updated:
            operands[p] = targets[r]
        chosen = self._choice(region, operands, scalars)
        arguments = self.site.body.arguments(operands, scalars)
        work = chosen.work
        if self.anywhere:
            work = work._replace(place=lambda: self.place(stores))
        elif origins or self.pointed:
            cells = {r: self._cells(r, stores, targets) for r in self.pointed}
            work = work._replace(origins=origins, seams=self._wrapped(region, stores, parts), cells=cells)
        results = chosen.strategy.run(arguments, targets, work)
        for r, layout in self.reduced:
            _fold(layout, targets[r], results[r], one_piece=self.recipe.one_piece)
        return region, results

    def _cells(self, r: int, stores: Sequence[Any], targets: Sequence[Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The first cell that is there of a result that keys point to, and the shape of its part."""
        return (int(stores[self.count + r].domain.lo[0]),), targets[r].shape

    def _wrapped(self, region: Bounds, stores: Sequence[Any], parts: list[Any]) -> Mapping[int, Seam]:
        """What wraps around, by operand; nothing for a tile away from the ends, whose part of such a store is empty."""
        found: dict[int, Seam] = {}
        for n, rects in self.seams:
            layout, axis = self.plan.operands[rects.operand], rects.axis
            assert axis is not None  # noqa: S101  they are of a halo
            low, high = layout.window(axis, *region[layout.axes[axis]])
            if low < 0 or high > int(layout.shape[axis] or 0):
                part = _part(self.arrays, stores[n], parts)
                found[rects.operand] = Seam(axis, int(stores[n].domain.lo[axis]), part)
        return found

    def _choice(self, region: Bounds, operands: Sequence[Any], scalars: Sequence[Any]) -> Choice:
        """The strategy, the tiles and the threads for a tile."""
        if region not in self.choices:
            fixed = self.cutter is None or self.cutter.fixed(region, operands, scalars)
            self.choices[region] = Choice(self.strategy, Work(region, (region,))) if fixed else None
        found: Choice | None = self.choices[region]
        if found is None and self.cutter is not None:
            found = self.cutter.choose(region, operands, scalars, self.threads, new=False)
        assert found is not None  # noqa: S101  see above
        return found

    def _take(
        self, site: Site, region: Bounds, stores: Sequence[Any], operands: list[Any], inline: Sequence[Any]
    ) -> Mapping[int, Sequence[int]]:
        """Put in place the operands that are not the parts of their stores; the first elements of those that are there.

        That is of those that do not begin where the tile says.
        """
        origins: dict[int, Sequence[int]] = {}
        for p, fit, layout in self.special:
            if fit.how == "inline":
                operands[p] = _inline(site, self.arrays, inline[p], layout, region)
            elif fit.how == "window":
                origins[p] = tuple([int(stores[p].domain.lo[axis]) for axis in range(len(layout.axes))])
            elif fit.how == "image":
                part = fit.turn_back(operands[p])
                # Where nothing points to it, its other axes come empty too.
                operands[p] = part if part.size else part.reshape((0, *layout.shape[1:]))
                origins[p] = (int(stores[p].domain.lo[0]),)
            else:
                operands[p] = _borders(self.arrays, stores[p], fit, self.header.operands[p])
                origins[p] = layout.held_from(region)
        return origins


def _site(definition: Definition, variant: str, header: Header) -> Site:
    xp = namespace_for(variant)
    library = "cupy" if variant == "GPU" else "numpy"
    body = definition.body
    casts = definition.casts(header.operands, xp)
    planned = tuple(None if cast else dtype for dtype, cast in zip(header.dtypes, header.cast, strict=True))
    return Site(header.plan, body, body.function_for(variant), xp, library, variant, casts, planned, header.sample)


def _bind(variant: str, store: Any, value: Any) -> None:
    """Give a result of unknown size this tile's part, elements in a row; Legate ends the process where none comes."""
    arrays = load("cupy") if variant == "GPU" else np
    elements = arrays.asarray(value).reshape(-1)
    room = store.create_output_buffer((int(elements.size),), True)  # noqa: FBT003  Legate's own way to say: bind it
    if elements.size:
        (np.asarray(room) if arrays is np else device.view(arrays, room))[...] = elements


def make_joiner(definition: Definition, variant: str) -> Callable[[Any], None]:
    """The function of a second task, which puts partial results together in the order of their tiles."""
    return _make_second(definition, variant, _put_together)


def make_carrier(definition: Definition, variant: str) -> Callable[[Any], None]:
    """The function of a second task, which combines each tile of scans with what stands before it."""
    return _make_second(definition, variant, _carry_on)


def _make_second(
    definition: Definition, variant: str, work: Callable[[Header, Site, list[Any], list[Any], list[Any]], None]
) -> Callable[[Any], None]:
    found, name = ref(definition), definition.name

    def second(context: Any) -> None:
        definition = found()
        assert definition is not None  # noqa: S101  whoever launches it keeps it
        failure: Failure | None = None
        launch, site_of_call, ignored = -1, ("", 0), False
        parts: list[Any] = []
        try:
            launch, site_of_call, ignored = pickle.loads(context.scalars[1].value())
            header = header_of(context.scalars[0].value())
            site = _site(definition, variant, header)
            if definition.body.merge is not None:
                Surroundings(definition.body.merge).look()
            with np.errstate(all="ignore"), device.on_task_stream(variant, context):
                stores = [data_of(s) for s in context.inputs], [data_of(s) for s in context.outputs]
                work(header, site, *stores, parts)
        except BaseException as error:  # noqa: BLE001  whatever leaves a leaf ends the process
            where = f"kernel {name!r}, variant {variant}"
            _mark_failed(variant, context, [(data_of(s), failed_value) for s in context.outputs], error)
            failure = _failure(definition, context, error, where, launch, site_of_call, ())
        _note_kept(parts)
        if failure is not None:
            failures.hand_over(failure, context, ignored=ignored)

    second.__name__ = name
    return second


def _put_together(header: Header, site: Site, inputs: Sequence[Any], outputs: Sequence[Any], parts: list[Any]) -> None:
    plan = header.plan
    arrays = np if site.library == "numpy" else load("cupy")
    places, *found = [_part(arrays, store, parts) for store in inputs]
    regions = _regions(plan, places)
    gathered = Gathered()
    results: list[Any] = [None] * len(plan.results)
    for r, elements, store in zip(header.recipe.gathered, found, outputs, strict=True):
        layout = plan.results[r]
        target = results[r] = _part(arrays, store, parts).reshape(layout.shape)
        target[...] = 0 if layout.op in (None, "fold") else identity(layout.op, np.dtype(elements.dtype))
        shapes = [layout.tile_shape(sizes_of(region)) for region in regions]
        values = list(zip(regions, _taken_apart(elements, shapes), strict=True))
        for region, value in sorted(values, key=itemgetter(0)):
            if layout.op in (None, "fold"):
                gathered.add(r, region, value)
            else:
                combine(layout.op, part_of(target, layout, region, whole(plan)), value)
    gathered.finish(site, results, whole(plan))
    if sum(map(_volume, regions)) < math.prod(plan.extents):  # of tiles that failed there is nothing
        for r in header.recipe.gathered:
            mark = failed_value(np.dtype(results[r].dtype))
            if mark is not None:
                results[r][arrays.asarray(_incomplete(plan, plan.results[r], regions))] = mark


def _regions(plan: Plan, places: Any) -> list[Bounds]:
    """Where the tiles lie, as they have noted it down."""
    # As one list: from a device, every single number would be a copy of its own.
    return [tuple((a, b) for a, b in row) for row in places.reshape(-1, len(plan.extents), 2).tolist()]


def _taken_apart(elements: Any, shapes: Iterable[Sequence[int]]) -> list[Any]:
    """The arrays of these shapes whose elements follow each other."""
    found, first = [], 0
    for shape in shapes:
        found.append(elements[first : first + math.prod(shape)].reshape(shape))
        first += math.prod(shape)
    return found


def _carry_on(header: Header, site: Site, inputs: Sequence[Any], outputs: Sequence[Any], parts: list[Any]) -> None:
    plan, recipe = header.plan, header.recipe
    arrays = np if site.library == "numpy" else load("cupy")
    first = plan.results[recipe.carried[0]]
    assert first.scan is not None  # noqa: S101  or nothing would be carried
    index, bounds = first.axes[first.scan.axis], outputs[0].domain
    dim = recipe.results[recipe.carried[0]].dims[first.scan.axis]
    low, high = bounds.lo[dim], bounds.hi[dim]
    if not low <= high < 2**63:  # an empty domain's upper end can be -1, read as an unsigned number
        return
    end = high + 1
    # Of the other indices each task has all.
    own = tuple([(low, end) if i == index else (0, n) for i, n in enumerate(plan.extents)])
    regions = _regions(plan, view(arrays, inputs[0]))
    ends, own_of = {}, {}
    for r, told, written in zip(recipe.carried, inputs[1:], outputs, strict=False):
        sizes = [[1 if i == index else stop - start for i, (start, stop) in enumerate(region)] for region in regions]
        ends[r] = _taken_apart(_part(arrays, told, parts), map(plan.results[r].tile_shape, sizes))
        own_of[r] = recipe.results[r].turn_back(_part(arrays, written, parts))
    for scans in scanned_together(plan):
        if scans[0] not in recipe.carried:
            continue
        tiles = list(zip(regions, zip(*[ends[r] for r in scans], strict=True), strict=True))
        for region, carry in carries(site, scans, tiles):
            start, stop = max(region[index][0], low), min(region[index][1], end)
            if start < stop:
                here = tuple([(start, stop) if i == index else whole for i, whole in enumerate(region)])
                apply_carry(site, scans, carry, tuple([part_of(own_of[r], plan.results[r], here, own) for r in scans]))
    for r, part in own_of.items():
        lost, mark = _behind_gaps(plan, plan.results[r], regions, own), failed_value(np.dtype(part.dtype))
        if lost is not None and mark is not None:
            part_of(part, plan.results[r], lost, own)[...] = mark


def _behind_gaps(plan: Plan, layout: Layout, regions: Sequence[Bounds], own: Bounds) -> Bounds | None:
    """What of a scan on a tile lies behind tiles that failed, so that it is not known; None where all is known."""
    assert layout.scan is not None  # noqa: S101  it is asked of scans alone
    index, backward = layout.axes[layout.scan.axis], layout.scan.backward
    reached = plan.extents[index] if backward else 0
    for start, stop in sorted((region[index] for region in regions), reverse=backward):
        if (stop if backward else start) != reached:
            break
        reached = start if backward else stop
    start, stop = own[index]
    lost = (start, min(stop, reached)) if backward else (max(start, reached), stop)
    return (*own[:index], lost, *own[index + 1 :]) if lost[0] < lost[1] else None


def _volume(region: Iterable[tuple[int, int]]) -> int:
    return math.prod(stop - start for start, stop in region)


def _incomplete(plan: Plan, layout: Layout, regions: Sequence[Bounds]) -> Any:
    """For each element of a result whether tiles are missing of which it is made."""
    inner = [i for i in range(len(plan.extents)) if i not in layout.axes]
    missing = np.full(tuple(int(n or 0) for n in layout.shape), math.prod(plan.extents[i] for i in inner))
    for region in regions:
        part = part_of(missing, layout, region, whole(plan))
        part -= _volume(region[i] for i in inner)
    return missing > 0


def _borders(arrays: Any, store: Any, fit: Fit, dtype: np.dtype[Any]) -> Any:
    """The borders of ranges that boxes were made of."""
    if arrays is not np:
        lows, highs = (fit.turn_back(ends) for ends in device.ends_of(arrays, store))
        return arrays.concatenate((lows, highs[-1:] + 1), dtype=dtype, casting="unsafe")
    boxes = fit.turn_back(np.asarray(store))
    ends = np.ascontiguousarray(boxes).view(np.int64).reshape(len(boxes), 2, -1)[:, :, 0]
    return np.append(ends[:, 0], ends[-1:, 1] + 1).astype(dtype)


def view(arrays: Any, store: Any) -> Any:
    """A store's part as an array, without a copy."""
    if arrays is not np:
        return device.view(arrays, store)
    try:
        return np.from_dlpack(store)
    except RuntimeError:
        return np.asarray(store)  # float16, which NumPy does not take by DLPack from Legate; four times slower


def _part(arrays: Any, store: Any, parts: list[Any]) -> Any:
    """The same for a body, added to the parts."""
    part = view(arrays, store)
    if arrays is np:
        parts.append(part)
    return part


def _note_kept(parts: Iterable[Any]) -> None:
    """Note down which parts a body keeps, for the end of the program."""
    for part in parts:
        if getrefcount(part) > _OURS:
            _kept[id(part)] = part


def kept_by_bodies() -> list[Any]:
    """What bodies keep of tasks: parts of stores, and frames of this module, which their own frames hold."""
    frames = [o for o in gc.get_objects() if type(o) is FrameType and o.f_globals is globals()]
    return [*_kept.values(), *frames]


def _fold(layout: Layout, target: Any, value: Any, *, one_piece: bool) -> None:
    op = layout.op
    assert op is not None  # noqa: S101  the executor wrote the others
    if layout.scan or (one_piece and not layout.accumulate):
        target[...] = value
        return
    if not one_piece and needs_sort_keys(op, value.dtype):
        value = sort_keys(op, value)
    combine(op, target, value)


def _inline(site: Site, arrays: Any, value: Any, layout: Layout, region: Bounds) -> Any:
    """A 0-d operand that came with the scalars, or this tile's part of an operand without an element.

    With a halo that is all of it, of which the executor takes the tile's.
    """
    if value.size:
        return arrays.asarray(value)
    nothing = arrays.empty(value.shape, dtype=value.dtype)
    return nothing if layout.haloed else Window(layout, region, whole(site.plan))(site, nothing)
