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
from xpdispatch.running.ownership import Known, known_to
from xpdispatch.running.site import Site

_RETURN = "return the results: array_api_extra.at(z)[...].set(...) is z with other elements, on every library"


def values_of(site: Site, returned: Any, buffers: Mapping[int, Any]) -> Sequence[Any]:
    """What the body returned as one value for each result; a buffer stands for what it wrote."""
    count = site.body.results
    if type(returned) is tuple and len(returned) == count > 1:
        return returned
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
    if isinstance(returned, (tuple, list)):
        if len(returned) == count:
            return returned
        got = f"{len(returned)} results"
    else:
        got = f"one {type(returned).__name__}"
    raise ResultError(
        f"the body returned {got}, expected {count} result{'s' if count > 1 else ''}",
        hint="return as many arrays as the notation has results, in its order",
    )


class Check:
    """Takes the values of one result as arrays of the right library, shape and dtype, cast where ``dtype=`` says so.

    Most have the shape that is wanted and the dtype that was right before, and need no other look.
    """

    __slots__ = ("_fitting", "_layout", "_on_numpy", "_right", "r", "site")

    def __init__(self, site: Site, r: int) -> None:
        self.site, self.r = site, r
        self._layout, self._on_numpy = site.plan.results[r], site.library == "numpy"
        self._fitting: tuple[Any, Any] = (None, None)
        """A shape, and the one that was wanted, with None for an extent that only the body knows."""
        self._right: tuple[Any, Any] = (None, None)
        """Dtypes of a value that was taken as it is, and of the array to which it went, if there was one."""

    def taken(self, value: Any, wanted: tuple[Any, ...], before: Any, target: Any) -> Any:
        """The value; `before` is that of an earlier tile, `target` the array to which it goes, if there is one."""
        if type(value) is not np.ndarray or not self._on_numpy:
            value = as_array(self.site, self._layout, value)
        shape = value.shape
        if before is None and (shape == wanted or (shape, wanted) == self._fitting):
            dtype, into = self._right
            if value.dtype is dtype and (into is None if target is None else target.dtype is into):
                return value
        found = self._look(value, wanted, before, target)
        if found is value and self._on_numpy:  # extents of others may stand for any
            self._fitting = shape, wanted
            self._right = value.dtype, None if target is None else target.dtype
        return found

    def _look(self, value: Any, wanted: tuple[Any, ...], before: Any, target: Any) -> Any:
        site, r, layout = self.site, self.r, self._layout
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
                        hint="return the same extent for every tile, "
                        "or write '?' for an extent that depends on the values",
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


class Taking:
    """How what a body returns is taken; the same for calls that differ in extents alone.

    Attributes
    ----------
    checks : list of callable
        For each result what checks its values (:meth:`Check.taken`).
    unshared : callable
        Copies what may share memory with what outlives the call (:meth:`Unshared.taken`).
    """

    __slots__ = ("checks", "unshared")

    def __init__(self, site: Site, known: Known) -> None:
        self.checks = [Check(site, r).taken for r in range(site.body.results)]
        self.unshared = Unshared(site, known).taken

    @classmethod
    def of(cls, site: Site, scalars: Sequence[Any]) -> Taking:
        """Of a body that runs with these scalars, and may keep what it returned."""
        return cls(site, known_to(site.function, scalars, site.xp))


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


class Unshared:
    """Copies values that may share memory with what outlives the call.

    That is an operand, a buffer or another result, or what else the body can reach again.
    """

    __slots__ = ("_on_numpy", "_reaches", "known", "operand_at", "site")

    def __init__(self, site: Site, known: Known) -> None:
        self.site, self.known = site, known
        self.operand_at = site.body.operand_at
        self._on_numpy = site.library == "numpy"
        self._reaches = bool(known.keeps or known.reads) and site.library != "jax"

    def taken(self, value: Any, arguments: Sequence[Any], others: Sequence[Any]) -> Any:
        """The value itself, or a copy; `others` are the buffers and the results before it."""
        if self._reaches and self.known.shares(self.site.library, value):
            return self._copy(value)
        if self._on_numpy and value.flags.owndata:
            # Then it is not an operand: those are views, though of arrays that a body may ask for.
            for at in self.operand_at:
                if arguments[at].base is value:
                    return self._copy(value)
            for other in others:
                if other is value or other.base is value:
                    return self._copy(value)
            return value
        operands = [arguments[at] for at in self.operand_at]
        return self._copy(value) if self._shares(value, (*operands, *others)) else value

    def _shares(self, value: Any, others: Sequence[Any]) -> bool:
        library = self.site.library
        if library == "jax":
            return False
        if library == "numpy":
            base = value.base
            while isinstance(base, np.ndarray) and base.base is not None:
                base = base.base
            if not value.flags.writeable or not isinstance(base, np.ndarray):
                return True
        elif library == "torch" and 0 in value.stride() and value.numel() > 1:
            return True
        return any(a is not None and share_memory(library, value, a) for a in others)

    def _copy(self, value: Any) -> Any:
        # The namespace of a variant may be anything that bodies need.
        library = self.site.library
        return np.array(value) if library == "numpy" else copy_of(library, self.site.xp, value)


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
