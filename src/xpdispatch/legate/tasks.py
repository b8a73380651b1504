"""The tasks of kernels, registered with Legate when first launched."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import legate.core as lg
from legate.core.task import ADD, InputStore, OutputStore, PyTask, ReductionStore, VariantInvoker

from xpdispatch.errors import EngineError
from xpdispatch.legate.alignment import Recipe
from xpdispatch.legate.device import keeps_to_stream
from xpdispatch.legate.leaf import make_carrier, make_joiner, make_leaf
from xpdispatch.legate.releases import streams_strictly, task_info
from xpdispatch.planning.definition import Definition

_MOST_KERNELS = 100_000

library = lg.get_legate_runtime().find_or_create_library(
    "xpdispatch", config=lg.ResourceConfig(max_tasks=_MOST_KERNELS, max_dyn_tasks=_MOST_KERNELS - 1)
)[0]
_tasks: WeakKeyDictionary[Definition, dict[object, Any]] = WeakKeyDictionary()
"""By kernel, and where Legate must know options when it registers the task by these and by how many stores there are;
or by ``"joiner"`` and ``"carrier"``. Legate keeps a task for ever, but its function holds the kernel weakly."""

_made = 0
"""How many tasks there are."""

_has_gpus = lg.get_machine().count(lg.TaskTarget.GPU) > 0


def task_of(definition: Definition, recipe: Recipe) -> Any:
    """The kernel's task, with all of its variants."""
    options = _options_of(definition, recipe)
    if not options:
        return _registered(definition, None, lambda: _register(definition, make_leaf))
    counts = _counts(definition, recipe)
    return _registered(definition, (counts, options), lambda: _register_with(definition, counts, options))


def _options_of(definition: Definition, recipe: Recipe) -> tuple[str, ...]:
    """The options that Legate must know when it registers the task; others are set at each launch."""
    allocates = bool(recipe.carried) or any(fit.how in ("unbound", "gathered") for fit in recipe.results)
    on_stream = _has_gpus and "GPU" in definition.variants and keeps_to_stream(definition)
    wanted = {"has_allocations": allocates, "elide_device_ctx_sync": on_stream, **definition.options}
    wanted["has_allocations"] |= allocates
    return tuple(name for name in ("has_allocations", "elide_device_ctx_sync") if wanted[name])


def joiner_of(definition: Definition) -> Any:
    """The task that puts a kernel's partial results together."""
    return _registered(definition, "joiner", lambda: _register(definition, make_joiner))


def carrier_of(definition: Definition) -> Any:
    """The task that combines each tile of a kernel's scans with what stands before it."""
    return _registered(definition, "carrier", lambda: _register(definition, make_carrier))


def _registered(definition: Definition, which: object, register: Callable[[], Any]) -> Any:
    global _made  # noqa: PLW0603
    own = _tasks.setdefault(definition, {})
    task = own.get(which)
    if task is None:
        try:
            task = own[which] = register()
            _made += 1
        except OverflowError:
            raise EngineError(
                f"this program has launched {_made} different kernels on Legate, and there is room for no more",
                hint="decorate a body once, at module level, and not in a loop",
            ) from None
    return task


@cache
def own_task(name: str, leaf: Callable[[Any], None], variants: Sequence[str] = ("CPU", "OMP", "GPU")) -> Any:
    """A task of the library's own that is no kernel, registered when it is first asked for."""
    return _add(f"xpdispatch.{name}", [(lg.VariantCode[v], leaf) for v in variants])


def _register(definition: Definition, make: Callable[[Definition, str], Any]) -> Any:
    return _add(definition.name, [(lg.VariantCode[v], make(definition, v)) for v in definition.variants])


def _add(name: str, variants: Sequence[tuple[Any, Any]]) -> Any:
    _let_none_be_mapped()
    task = library.get_new_task_id()
    library.register_task(task_info(library, task, name, variants))
    return task


def _let_none_be_mapped() -> None:
    """Wait for the tasks under way before one more is registered.

    Legate 26.6 has a library's tasks in a table in which it looks up each one that it maps, on a thread of its own
    and without a lock. While that table grows a task that is there can be missed, which ends the process;
    ``benchmarks/legate_registration.py`` shows it.
    """
    if not streams_strictly():  # then most tasks are kept back, and to wait for others is an error
        lg.get_legate_runtime().issue_execution_fence(block=True)


def _counts(definition: Definition, recipe: Recipe) -> tuple[int, int, int]:
    """How many inputs, outputs and reductions a launch has."""
    inputs = sum(fit.how != "inline" for fit in recipe.operands)
    inputs += sum(not b.instead for b in recipe.rects) + len(recipe.seams) + (recipe.grid is not None)
    outputs, reductions = recipe.second + len(recipe.carried), 0
    for term, fit in zip(definition.signature.results, recipe.results, strict=True):
        if fit.how == "inline":
            continue
        reduces = bool(term.op) and not (term.scan or recipe.one_piece) and fit.how != "gathered"
        outputs, reductions = outputs + (not reduces), reductions + reduces
        # What is combined with the old content in the leaf reads it.
        inputs += term.accumulate and not reduces and fit.how not in ("unbound", "gathered")
    return inputs, outputs, reductions


class _ToLeaf(VariantInvoker):  # type: ignore[misc]  # Legate's class is not typed
    """Hands a task's context on as it is, where Legate would take it apart."""

    def __call__(self, context: Any, function: Any) -> None:
        function(context)


def _register_with(definition: Definition, counts: tuple[int, int, int], options: Sequence[str]) -> Any:
    """Register a task with options.

    Only Legate's own class for tasks in Python takes them, and with them a function whose parameters are counted
    at every launch.
    """
    leaves = {lg.VariantCode[v]: make_leaf(definition, v) for v in definition.variants}

    def function(context: Any) -> None:
        leaves[lg.VariantCode(context.get_variant_kind())](context)

    kinds = (InputStore, OutputStore, ReductionStore[ADD])
    annotations = [kind for kind, n in zip(kinds, counts, strict=True) for _ in range(n)] + [bytes, bytes]
    function.__name__ = function.__qualname__ = definition.name
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(f"p{n}", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
            for n, annotation in enumerate(annotations)
        ],
        return_annotation=None,
    )
    _let_none_be_mapped()
    return PyTask(
        func=function,
        variants=tuple(leaves),
        options=lg.VariantOptions(**dict.fromkeys(options, True)),
        invoker=_ToLeaf(function),
        library=library,
    ).task_id
