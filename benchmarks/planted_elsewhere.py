"""Planted bugs on JAX, dask and Legate: what surrounds the bodies is written from the notation.

A body runs in a task of legate.core with constraints, in jax.shard_map with specs, or in dask's blockwise. Arrays are
cut in two along the index to blame, on Legate along the axis that it likes.
"""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import array_api_compat.numpy as xnp
import numpy as np

from planted_cases import CannotBeSaid, Case, in_one_tile, outside_of, part, told
from xpdispatch.arrays.reductions import identity
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.tiles import Tile, is_empty, whole
from xpdispatch.planning.windows import WHOLE, Bounds, Layout
from xpdispatch.proving.trial import quiet

UFUNCS = {"sum": np.add, "max": np.maximum}


def merged(case: Case, partials: list[Any]) -> np.ndarray:
    """Partial results, stacked along their first axis, folded by the kernel's own function."""
    total = partials[0][0]
    for value in partials[0][1:]:
        total = case.kernel.definition.body.merge(xnp, total, value)
    return np.asarray(total)


# -- JAX ---------------------------------------------------------------------------------------------------------------


def jax_answer(case: Case, count: int) -> list[Any]:
    import jax
    import jax.numpy as jnp
    from jax.sharding import Mesh, PartitionSpec

    jax.config.update("jax_enable_x64", True)  # noqa: FBT003
    plan, cut, body = case.plan, case.cut, case.kernel.definition.body
    size = plan.extents[cut] // count
    if body.merge and body.results > 1:
        raise CannotBeSaid("not run: a fold of several results")

    class Here(Tile):
        __slots__ = ()

        def start(self, index: Any) -> Any:
            return jax.lax.axis_index("i") * size if self._place(index)[0] == cut else 0

        def coords(self, index: Any) -> Any:
            return self.start(index) + jnp.arange(self.size(index))

    class Buffer:
        """What a body can write with JAX, whose arrays are immutable."""

        def __init__(self, array: Any) -> None:
            self.array = array

        def __setitem__(self, place: Any, value: Any) -> None:
            self.array = self.array.at[place].set(value)

    region = tuple((0, size if a == cut else n) for a, n in enumerate(plan.extents))
    operands = []
    for array, layout in zip(case.operands, plan.operands, strict=True):
        if outside_of(layout) == "clip":
            raise CannotBeSaid("shards have one shape, and clipped halos have not")
        operands.append(part(array, layout, whole(plan)) if outside_of(layout) is not None else array)

    def spec(layout: Layout) -> Any:
        return PartitionSpec(*("i" if a == cut and outside_of(layout) is None else None for a in layout.axes))

    def out_spec(layout: Layout) -> Any:
        return PartitionSpec("i") if layout.concatenated or layout.op == "fold" else spec(layout)

    def shard(*parts: Any) -> Any:
        own = list(parts)
        for p, layout in enumerate(plan.operands):
            for axis in [axis for axis, a in enumerate(layout.axes) if a == cut and outside_of(layout) is not None]:
                low, high = layout.window(axis, 0, size)
                own[p] = jax.lax.dynamic_slice_in_dim(own[p], jax.lax.axis_index("i") * size, high - low, axis)
        buffers = {r: Buffer(jnp.asarray(b)) for r, b in case.buffers(region).items()}
        got = case.call(jnp, Here(plan, region, jnp, "CPU"), own, buffers)
        for r, layout in enumerate(plan.results):
            value = jnp.asarray(got[r].array if isinstance(got[r], Buffer) else got[r])
            if layout.op == "fold":
                value = value[None]
            elif layout.op and cut not in layout.axes:
                value = {"sum": jax.lax.psum, "max": jax.lax.pmax}[layout.op](value, "i")
            got[r] = value
        return tuple(got)

    mesh = Mesh(np.asarray(jax.devices()[:count]), ("i",))
    specs = tuple(map(spec, plan.operands)), tuple(map(out_spec, plan.results))
    run = jax.jit(jax.shard_map(shard, mesh=mesh, in_specs=specs[0], out_specs=specs[1], check_vma=True))
    got = run(*map(jnp.asarray, operands))
    case.later()
    return [merged(case, [np.asarray(got[0])])] if body.merge else list(got)


# -- dask --------------------------------------------------------------------------------------------------------------


def dask_answer(case: Case, count: int) -> list[Any]:
    import dask.array as da

    plan, cut = case.plan, case.cut
    (layout,) = plan.results
    expected = in_one_tile(case.name)[0]
    apart = cut not in map(case.label, [a for a in layout.axes if a != WHOLE]) and not layout.concatenated
    if "beyond" in case.name:
        raise CannotBeSaid("not run: it would write beyond the block's own memory")
    if apart and layout.op is None:
        raise CannotBeSaid("a block has its own part of the result, and no whole result")

    def region_of(places: np.ndarray) -> Bounds:
        own = int(places[0]), int(places[-1]) + 1
        return tuple(own if case.label(a) == cut else (0, n) for a, n in enumerate(plan.extents))

    def block(places: np.ndarray, *parts: np.ndarray) -> np.ndarray:
        region = region_of(places)
        value = np.asarray(case.call(xnp, Tile(plan, region, xnp, "CPU"), list(parts), case.buffers(region))[0])
        return value[None] if apart else value

    cells = plan.extents[cut]
    pairs: list[Any] = [da.from_array(np.arange(cells), chunks=cells // count), (cut,)]
    for p, (array, o) in enumerate(zip(case.operands, plan.operands, strict=True)):
        labels = tuple(100 + 10 * p + axis if a == WHOLE else case.label(a) for axis, a in enumerate(o.axes))
        chunks = []
        for axis, label in enumerate(labels):
            n = array.shape[axis]
            # Arrays that no constraint ties together are chunked apart.
            step = n // count + (o.axes[axis] not in plan.spaces[0]) if label == cut else n
            chunks.append((step, n - step) if step < n else n)
        blocks = da.from_array(array, chunks=tuple(chunks))
        if outside_of(o) is not None:
            reaches = {(r.below, r.above) for r in o.reaches}
            if outside_of(o) == "valid" or len(o.axes) > 1 or any(below != above for below, above in reaches):
                raise CannotBeSaid("not run: such a halo")
            mode = {"clip": "none", "edge": "nearest"}.get(outside_of(o), outside_of(o))
            blocks = da.overlap.overlap(blocks, {0: o.reaches[0].below}, {0: mode})
        pairs += [blocks, labels]
    out = tuple(1000 + axis if a == WHOLE else case.label(a) for axis, a in enumerate(layout.axes))
    adjust = {cut: 1} if apart else {cut: float("nan")} if layout.concatenated else {}
    out = (cut, *out) if apart else (cut, *out[1:]) if layout.concatenated else out
    new = {label: expected.shape[label - 1000] for label in out if label >= 1000}
    result = da.blockwise(
        *(block, out, *pairs),
        concatenate=True,
        new_axes=new,
        adjust_chunks=adjust,
        align_arrays=len(plan.spaces) > 1,
        meta=np.empty((0,) * len(out), expected.dtype),
    )
    if apart and layout.op != "fold":
        result = getattr(result, layout.op)(axis=0)
    case.later()
    with quiet():
        got = result.compute()
    return [merged(case, [got])] if layout.op == "fold" else [got]


# -- Legate ------------------------------------------------------------------------------------------------------------


def legate_answer(case: Case) -> list[Any]:
    """The task that @task would make: it declares no exceptions, and its arrays may be cut however small they are."""
    import cupynumeric as cn
    import legate.core as lg
    from legate.core.task import InputStore, OutputStore, PyTask, ReductionStore

    from xpdispatch.legate.stores import fill, hold, legate_type, new_store, to_numpy

    plan = case.plan
    if any(layout.op == "fold" for layout in plan.results):
        raise CannotBeSaid("Legate has no reductions by a function of one's own in Python")
    if any(outside_of(o) in ("valid", "wrap") for o in plan.operands) or any(plan.results[r].op for r in case.dtypes):
        raise CannotBeSaid("not run: such a halo or buffer")
    runtime = lg.get_legate_runtime()
    library, _ = runtime.find_or_create_library("planted", config=lg.ResourceConfig(max_tasks=2000, max_dyn_tasks=1999))
    expected = in_one_tile(case.name)
    held = [cn.array(a).copy() for a in case.operands]
    layouts = (*plan.operands, *plan.results)
    rank = max(len(o.axes) for o in layouts if _plain(o) or o.reaches)
    inputs = []
    for a, o in zip(held, plan.operands, strict=True):
        store = hold(o.name, a).store
        for dim in range(a.ndim, rank if _plain(o) else 0):  # one task's aligned arrays have one rank
            store = store.promote(dim, expected[0].shape[dim])
        inputs.append(store)
    lead = [] if any(_plain(o) for o in (*plan.operands, *plan.results)) else [inputs[0]]  # what a halo goes around
    sent = pickle.dumps(case.scalars)

    def leaf(*args: Any, **kwargs: Any) -> None:
        stores = [*args, *kwargs.values()]
        first, stores = stores[0], stores[len(lead) :]
        given = stores[: len(inputs)]
        region = []
        for a in range(len(plan.extents)):
            sources = [(s, o) for s, o in zip(stores, layouts, strict=True) if a in o.axes and _plain(o)]
            store, axis = (sources[0][0], sources[0][1].axes.index(a)) if sources else (first, a)
            region.append((store.domain.lo[axis], store.domain.hi[axis] + 1))
        if is_empty(tuple(region)):
            return
        parts = [_outside(np.asarray(s), o, region) for s, o in zip(given, plan.operands, strict=True)]
        parts = [p[(..., *[0] * (p.ndim - len(o.axes)))] for p, o in zip(parts, plan.operands, strict=True)]
        buffers = {r: np.asarray(stores[len(given) + r]) for r in case.dtypes}
        tile = Tile(plan, tuple(region), xnp, "CPU")
        try:
            values = case.call(xnp, tile, parts, buffers, pickle.loads(sent))
            for r, (store, o) in enumerate(zip(stores[len(given) :], plan.results, strict=True)):
                if o.concatenated:
                    store = store.create_output_buffer(values[r].shape)  # noqa: PLW2901
                target = np.asarray(store)
                target[...] = UFUNCS[o.op](target, values[r]) if o.op else values[r]
        except Exception as error:
            print("BODY", told(error), flush=True)
            raise

    kinds = [InputStore] * len([*lead, *inputs])
    kinds += [ReductionStore[_kind(lg, o.op)] if o.op else OutputStore for o in plan.results]
    leaf.__signature__ = inspect.Signature(
        [inspect.Parameter(f"a{n}", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=k) for n, k in enumerate(kinds)]
    )
    options = lg.VariantOptions(has_allocations=any(o.concatenated for o in plan.results))
    made = PyTask(func=leaf, variants=(lg.VariantCode.CPU,), options=options, library=library)
    policy = lg.ParallelPolicy(overdecompose_factor=1, partitioning_threshold={lg.TaskTarget.CPU: 1})
    with lg.Scope(parallel_policy=policy):
        task = runtime.create_auto_task(made.library, made.task_id)
        parts = [task.declare_partition() for _ in range(len(lead) + len(inputs) + len(plan.results))]
        for store, variable in zip([*lead, *inputs], parts, strict=False):
            task.add_input(store, variable)
        outputs = []
        for r, o in enumerate(plan.results):
            variable, dtype = parts[len(lead) + len(inputs) + r], expected[r].dtype
            store = runtime.create_store(legate_type(dtype)) if o.concatenated else new_store(expected[r].shape, dtype)
            outputs.append(store)
            if not o.concatenated:
                fill(store, np.asarray(identity(o.op, dtype) if o.op else 0, dtype)[()])
            if o.op:
                task.add_reduction(store, int(_kind(lg, o.op)), variable)
            else:
                task.add_output(store, variable)
        _constrain(lg, task, plan, parts)
        task.execute()
        case.later()
        runtime.issue_execution_fence(block=True)
    case.operands = [np.asarray(a) for a in held]
    shapes = [
        tuple(s.shape) if o.concatenated else e.shape for s, e, o in zip(outputs, expected, plan.results, strict=True)
    ]
    return [to_numpy(store, shape) for store, shape in zip(outputs, shapes, strict=True)]


def _kind(lg: Any, op: str | None) -> Any:
    return {"sum": lg.ReductionOpKind.ADD, "max": lg.ReductionOpKind.MAX}[str(op)]


def _plain(layout: Layout) -> bool:
    return not layout.reaches and not layout.concatenated and any(a != WHOLE for a in layout.axes)


def _constrain(lg: Any, task: Any, plan: Plan, parts: list[Any]) -> None:
    layouts = (*plan.operands, *plan.results)
    variables = parts[-len(layouts) :]
    for p, o in enumerate(layouts):
        if o.axes and (fixed := [axis for axis, a in enumerate(o.axes) if a == WHOLE]) and not o.concatenated:
            task.add_constraint(*[lg.broadcast(variables[p], fixed)])
    for space in plan.spaces:
        members = [p for p, o in enumerate(layouts) if set(o.axes) & set(space) and not o.concatenated]
        plain = [p for p in members if _plain(layouts[p])]
        first = variables[plain[-1]] if plain else parts[0]  # what a halo goes around
        for p in members:
            if layouts[p].reaches:
                below, above, scale = layouts[p].reaches[0]
                other = lg.scale((scale,), first, variables[p]) if scale > 1 else None
                task.add_constraint(other or lg.bloat(first, variables[p], (below,), (above,)))
            elif p != plain[-1]:
                for constraint in lg.align(first, variables[p]):
                    task.add_constraint(constraint)


def _outside(array: np.ndarray, layout: Layout, region: Any) -> np.ndarray:
    """Legate's bloat clips at the ends: there the leaf adds what lies outside."""
    if outside_of(layout) in (None, "clip"):
        return array
    low, high = layout.window(0, *region[layout.axes[0]])
    width = max(0, -low), max(0, high - int(layout.shape[0] or 0))
    return np.pad(array, width, mode=outside_of(layout) if isinstance(outside_of(layout), str) else "constant")
