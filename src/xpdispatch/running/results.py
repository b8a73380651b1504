"""What comes out of a body: arrays of the right library, shape and dtype, that share memory with nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import check_cast
from xpdispatch.arrays.namespaces import copy_of, library_of, share_memory
from xpdispatch.arrays.reductions import check_dtype
from xpdispatch.errors import ResultError
from xpdispatch.planning.plan import show_shape
from xpdispatch.planning.tiles import describe
from xpdispatch.planning.windows import Bounds, Layout
from xpdispatch.running.ownership import Known
from xpdispatch.running.site import Site

_RETURN = "return the results: array_api_extra.at(z)[...].set(...) is z with other elements, on every library"


def values_of(site: Site, returned: Any, buffers: Mapping[int, Any]) -> Sequence[Any]:
    """What the body returned as one value for each result; a buffer stands for what it wrote."""
    count = site.body.results
    if returned is None:
        if buffers and site.library == "jax":
            raise ResultError("the body returned None, and JAX arrays cannot be written", hint=_RETURN)
        if len(buffers) == count:
            return [buffers[r] for r in range(count)]
        raise ResultError(
            f"the body returned None, expected {count} result{'s' if count > 1 else ''}",
            hint="return the results, in the order of the notation",
        )
    if count == 1:
        if not isinstance(returned, (tuple, list)):
            return (returned,)
        got = f"a {type(returned).__name__} of {len(returned)}, expected the array itself"
        raise ResultError(f"the body returned {got}", hint="return x, and not (x,) or [x]; make arrays with xp.asarray")
    if isinstance(returned, tuple | list):
        if len(returned) == count:
            return returned
        got = f"{len(returned)} results"
    else:
        got = f"one {type(returned).__name__}"
    raise ResultError(
        f"the body returned {got}, expected {count} result{'s' if count > 1 else ''}",
        hint="return as many arrays as the notation has results, in its order",
    )


def checked(site: Site, r: int, value: Any, wanted: tuple[Any, ...], before: Any, target: Any) -> Any:
    """The value as an array of the right library, shape and dtype, cast where ``dtype=`` says so.

    `before` is the same result of an earlier tile, `target` the array to which it goes, if there is one.
    """
    layout = site.plan.results[r]
    if type(value) is not np.ndarray or site.library != "numpy":
        value = as_array(site, layout, value)
    shape = value.shape
    if shape != wanted and (
        len(shape) != len(wanted) or any(w not in (None, s) for w, s in zip(wanted, shape, strict=True))
    ):
        raise ResultError(
            f"the body returned shape {tuple(shape)} for result {layout.name!r}, "
            f"expected {show_shape(wanted)} on this tile",
            hint="change the body, or the result's axes in the notation",
        )
    if site.casts[r] is not None and value.dtype != site.casts[r]:
        value = site.xp.astype(value, site.casts[r])
    if layout.op and layout.op != "fold":
        check_dtype(layout.op, layout.name, value.dtype)
    if before is not None and len(shape) == len(before.shape):
        for axis, (w, s) in enumerate(zip(wanted, shape, strict=True)):
            if w is None and s != before.shape[axis] and not (layout.concatenated and axis == 0):
                raise ResultError(
                    f"the body returned extent {s} on axis {axis} of result {layout.name!r}, "
                    f"but {before.shape[axis]} on another tile",
                    hint="return the same extent for every tile, or write '?' for an extent that depends on the values",
                )
    planned = site.dtypes[r] if site.dtypes else None
    if planned is not None and planned != value.dtype:
        raise ResultError(
            f"the body returned dtype {value.dtype} for result {layout.name!r}, "
            f"but {planned} on a sample of {site.sample}",
            hint="return one dtype for all values, or pass dtype= to the decorator",
        )
    if before is not None and (layout.op or target is None) and before.dtype != value.dtype:
        raise ResultError(
            f"the body returned dtype {value.dtype} for result {layout.name!r}, but {before.dtype} on another tile",
            hint="return one dtype for all values, or pass dtype= to the decorator",
        )
    if target is not None and not layout.op:
        check_cast(layout.name, value.dtype, target.dtype)
    return value


def as_array(site: Site, layout: Layout, value: Any) -> Any:
    """A value as an array of the site's library."""
    if site.library == "numpy" and isinstance(value, np.generic):
        return np.asarray(value)  # which takes a quarter of the time of the namespace's own
    library = library_of(value)
    if library == "number":
        return site.xp.asarray(value)
    if library != site.library:
        raise ResultError(
            f"the body returned a {type(value).__module__}.{type(value).__qualname__} for result {layout.name!r}, "
            f"expected an array of {site.library}",
            hint="compute with xp alone, and return arrays",
        )
    return value


def unshared(site: Site, known: Known, value: Any, arguments: Sequence[Any], others: Sequence[Any]) -> Any:
    """The value itself, or a copy where it may share memory with what outlives the call.

    That is an operand, a buffer or another result (`others`), or what else the body can reach again.
    """
    library = site.library
    if library == "jax":
        return value
    shared = (known.keeps or known.reads) and known.shares(library, value)
    if not shared and library == "numpy":
        if value.flags.owndata:  # then it is not an operand: those are views, though of arrays that a body may ask for
            for at in site.body.operand_at:
                if arguments[at].base is value:
                    break
            else:
                if not any([a is value or a.base is value for a in others]):  # noqa: C419  a list is quicker
                    return value
        else:
            base = value.base
            while isinstance(base, np.ndarray) and base.base is not None:
                base = base.base
            shared = not value.flags.writeable or not isinstance(base, np.ndarray)
    elif library == "torch":
        shared = shared or (0 in value.stride() and value.numel() > 1)
    operands = [arguments[at] for at in site.body.operand_at]
    if shared or any(a is not None and share_memory(library, value, a) for a in (*operands, *others)):
        # The namespace of a variant may be anything that bodies need.
        return np.array(value) if library == "numpy" else copy_of(library, site.xp, value)
    return value


def apart(site: Site, values: Sequence[Any], buffers: Mapping[int, Any], targets: Sequence[Any]) -> list[Any]:
    """The values, copied where writing one result would change another before it is written itself."""
    layouts, library = site.plan.results, site.library
    written = [t for t, layout in zip(targets, layouts, strict=True) if t is not None and layout.op is None]
    return [
        copy_of(library, site.xp, v)
        if v is not buffers.get(r) and any(share_memory(library, v, t) for t in written)
        else v
        for r, v in enumerate(values)
    ]


def write(site: Site, target: Any, value: Any) -> None:
    """Assign a result to an array that the caller gave, whose dtype can take it."""
    if site.library == "numpy":
        # NumPy minds overlaps itself, but not of arrays with one axis that go through memory at different steps.
        if target.ndim == 1 and value.strides != target.strides and np.may_share_memory(value, target):
            value = value.copy()
    elif value.dtype != target.dtype:  # NumPy alone casts in an assignment of any two dtypes
        value = site.xp.astype(value, target.dtype)
    elif share_memory(site.library, value, target):
        value = copy_of(site.library, site.xp, value)
    target[...] = value


def add_notes(error: Exception, more: Sequence[str]) -> None:
    """Add lines to what an exception tells, whatever its class did with them."""
    notes = getattr(error, "__notes__", None)
    notes = [*notes] if isinstance(notes, list) else []  # anew: the list may be the class' own
    with suppress(Exception):  # a class that takes none
        error.__notes__ = [*notes, *more]


_NOT_TAKEN = ("readonly array(", "buffer source array is read-only")
"""In what functions say that want arrays that can be written: numba's with explicit signatures, and Cython's."""


def note(error: Exception, site: Site, region: Bounds) -> None:
    """Say where the exception comes from."""
    notes = []
    with suppress(Exception):  # an exception whose text cannot be had
        if isinstance(error, ValueError) and "read-only" in str(error) and "buffer source" not in str(error):
            notes.append("Operands are read-only in a body: copy first, or write x[i] -> x[i] to update in place")
        elif isinstance(error, TypeError | ValueError) and any(words in str(error) for words in _NOT_TAKEN):
            notes.append(
                "Operands are read-only in a body: pass read_only=False to @kernel, if none of them is written"
            )
        if isinstance(error, TypeError) and site.library == "jax" and "immutable" in str(error):
            notes.append(f"JAX arrays cannot be written: {_RETURN}")
    notes.append(f"in kernel {site.body.name!r}, tile {describe(site.plan, region)}, variant {site.variant}")
    add_notes(error, notes)
