"""Where a call on arrays of this process runs, and the arrays into which its results go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import unknown_dtype
from xpdispatch.arrays.namespaces import namespace_for, namespace_of, new_beside, refuse_variant
from xpdispatch.errors import ArgumentError, ShapeError
from xpdispatch.planning.arguments import as_arrays, one_library, plan_of
from xpdispatch.planning.definition import Call, Definition
from xpdispatch.planning.plan import Plan
from xpdispatch.running.site import Site


def site_of(call: Call) -> Site:
    """Where a call in this process runs.

    Raises
    ------
    XPDispatchError
        Whatever of the arguments does not fit.
    """
    definition = call.definition
    library, like = one_library(call)
    if definition.libraries and library not in definition.libraries:
        raise ArgumentError(
            f"got arrays of {library}, and the kernel is for {' and '.join(definition.libraries)}",
            hint=f"pass arrays of {definition.libraries[0]}, or write the body in the array API standard alone and "
            "leave out libraries=",
        )
    variant = {"numpy": "CPU", "cupy": "GPU"}.get(library)
    if variant is not None and variant not in definition.variants:
        raise refuse_variant(definition.variants, [variant])
    xp = namespace_of(library, like)
    operands = as_arrays(call, library, xp, like=True)
    given = all_given(definition, operands, call.given)
    plan = plan_of(definition, operands, call.scalars, given)
    casts = definition.casts([a.dtype for a in operands], xp)
    function = definition.body.function_for(variant)
    return Site(plan, definition.body, function, xp, library, "GPU" if library == "cupy" else "CPU", casts)


def site_on_numpy(definition: Definition, plan: Plan, dtypes: Sequence[Any], variant: str = "CPU") -> Site:
    """Where the body of a variant would run, were its arrays NumPy's, with these dtypes of operands."""
    body, casts = definition.body, definition.casts(dtypes, np)
    return Site(plan, body, body.function_for(variant), namespace_for("CPU"), "numpy", variant, casts)


def all_given(definition: Definition, operands: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """The arrays to be written: what the caller gives, and operands that are updated in place."""
    return [operands[u] if u is not None else g for u, g in zip(definition.body.updated, given, strict=True)]


def targets_of(definition: Definition, site: Site, operands: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """Where the executor writes; buffers that the caller left out are allocated."""
    targets = list(given)
    for r in definition.body.buffers:
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
            targets[r] = empty_array(site, layout.shape, site.casts[r], [*operands, *given])
    return targets


def empty_array(site: Site, shape: Sequence[int | None], dtype: Any, beside: Sequence[Any]) -> Any:
    """Room for a result, on the device of the arrays beside it."""
    return site.xp.empty(shape, dtype=dtype) if site.library == "numpy" else new_beside(site.xp, beside, shape, dtype)
