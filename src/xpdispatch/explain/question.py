"""A call that is to be explained, and the machine it is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import nearest
from xpdispatch.arrays.namespaces import library_of, namespace_for
from xpdispatch.legate.alignment import Images, Recipe, recipe_of_call
from xpdispatch.legate.companions import CHUNK
from xpdispatch.legate.stretches import stays_whole
from xpdispatch.planning.arguments import as_arrays, diagonal_of, one_library, plan_of, refuse_empty
from xpdispatch.planning.definition import Call, Definition
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.tiles import whole
from xpdispatch.running.calls import all_given, site_on_numpy
from xpdispatch.running.cutting import Cutter
from xpdispatch.running.dry_run import ResultTypes, result_types
from xpdispatch.running.learned import Learned
from xpdispatch.running.results import Taking

_MAX_DIM = 6
"""Legate's greatest number of dimensions, in the builds that there are."""
_UNBOUND = 99
"""Stores of unknown size that a launch may have."""
_USUAL = int(CHUNK)
"""Elements of a tile at least, unless somebody wants tiles to be smaller."""

_ARRAYS = ("__array_namespace__", "__array__", "__dlpack__", "__legate_data_interface__")
"""What only an object with elements has, one of them at least."""


def stand_in(shape: Sequence[int], dtype: Any) -> np.ndarray[Any, Any]:
    """An array of this shape and dtype that has the memory of one element."""
    return np.broadcast_to(np.zeros((), nearest(dtype)), tuple(shape))


def with_stand_ins(call: Call) -> Call:
    """The call, with an array for each object that has nothing of one but a shape and a dtype, and for dask's."""
    return replace(call, operands=tuple(map(_array_like, call.operands)), given=tuple(map(_array_like, call.given)))


def _array_like(value: Any) -> Any:
    if library_of(value) == "dask":
        return stand_in(value.shape, value.dtype)
    described = hasattr(value, "shape") and hasattr(value, "dtype")
    return stand_in(value.shape, value.dtype) if described and not any(hasattr(value, n) for n in _ARRAYS) else value


def _plain(value: Any) -> Any:
    """NumPy arrays and numbers as they are, any other array as its stand-in."""
    if value is None or library_of(value) in ("numpy", "number"):
        return value
    dtype = value.dtype if hasattr(value, "dtype") else value.type.to_numpy_dtype()  # a Legate store has a type
    return stand_in(value.shape, dtype)


def _operands(call: Call) -> tuple[Any, ...]:
    """Those that a body gets, without their elements."""
    return tuple(diagonal_of(t, _plain(v)) for t, v in zip(call.definition.operands, call.operands, strict=True))


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a call runs.

    Parameters
    ----------
    engine : {"local", "legate"}
    processors : int
        Legate's processors, or threads of this process.
    kind : {"cpu", "omp", "gpu"}
    overdecompose_factor : int
        Tiles to a processor, as in Legate's ParallelPolicy.
    partitioning_threshold : int
        Elements below which nothing is cut, as there.
    predicted : bool
        It is not the machine that the call would run on as things are.
    """

    engine: str
    processors: int
    kind: str
    overdecompose_factor: int = 1
    partitioning_threshold: int = 0
    predicted: bool = False

    @property
    def variant(self) -> str:
        """The variant of the body that runs."""
        return self.kind.upper()

    def __str__(self) -> str:
        local = self.engine == "local"
        what = "thread" if local else {"cpu": "CPU", "omp": "OpenMP processor", "gpu": "GPU"}[self.kind]
        where = "in this process" if local else "on Legate"
        plural = "" if self.processors == 1 else "s"
        return f"{where}, {self.processors:,} {what}{plural}{' (predicted)' if self.predicted else ''}"


@dataclass(frozen=True, slots=True)
class Question:
    """A call as far as it decides how its arrays are cut.

    Parameters
    ----------
    definition : Definition
    engine : {"local", "legate"}
        The engine that runs the call here.
    library : str
        Whose arrays they are.
    plan : Plan
    operands : list of numpy.ndarray
        Arrays or stand-ins.
    given : tuple of (numpy.dtype or None)
        Of the arrays that are written.
    types : list of (numpy.dtype, tuple of int)
        Of each result.
    sample : str
        On what the body ran to tell these; empty where it did not.
    scalars : tuple
    copied : tuple of bool
        For each operand whether the engine copies it from NumPy, so that Legate has not cut it before.
    views : tuple of bool
        For each operand whether its store shows the elements of another.
    """

    definition: Definition
    engine: str
    library: str
    plan: Plan
    operands: list[Any]
    given: tuple[np.dtype[Any] | None, ...]
    types: ResultTypes
    sample: str
    scalars: tuple[Any, ...]
    copied: tuple[bool, ...]
    views: tuple[bool, ...]
    _cutters: dict[tuple[str, bool], Cutter] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def title(self) -> tuple[str, str]:
        """The kernel's name and its notation."""
        return self.definition.name, self.definition.notation

    def cutter(self, variant: str, *, planned: bool) -> Cutter:
        """What cuts a tile for the cache; on Legate the results' dtypes are planned before."""
        found = self._cutters.get((variant, planned))
        if found is None:  # once, for it runs the body
            dtypes = [a.dtype for a in self.operands]
            # With NumPy in place of CuPy.
            site, given = site_on_numpy(self.definition, self.plan, dtypes, variant), self.given
            if planned:
                given = tuple(dtype for dtype, _ in self.types)
                site = site._replace(dtypes=given)
            taking = Taking.of(site, self.scalars)
            found = self._cutters[variant, planned] = Cutter(
                self.definition, site, taking, Learned(dtypes, given), threaded=variant == "OMP" or not planned
            )
        return found

    def for_one_task(self, machine: Machine) -> bool:
        """Whether the call does so little that it is one task on this machine."""
        as_usual = machine.overdecompose_factor == 1 and machine.partitioning_threshold >= _USUAL
        if machine.kind != "cpu" or not as_usual:
            return False
        return self.cutter("CPU", planned=True).for_one_task(whole(self.plan), self.scalars)

    def recipe(self, *, small: bool = False) -> Recipe:
        """How the arrays enter a launch on Legate; `small` says that it is one task."""
        views = [p for p, view in enumerate(self.views) if view]
        pointers = tuple(p for p, a in enumerate(self.operands) if a.dtype == np.int64 and p not in views)
        inline = [
            0 in a.shape or (a.ndim == 0 and copied) for a, copied in zip(self.operands, self.copied, strict=True)
        ]
        return recipe_of_call(
            self.plan,
            self.types,
            inline,
            _MAX_DIM,
            deterministic=self.definition.deterministic,
            most_unbound=_UNBOUND,
            possible=Images(pointers, uncut=tuple(p for p in views if stays_whole(self.operands[p].shape))),
            small=small,
        )


def ask(call: Call, engine: str) -> Question:
    """All that a call's types, dtypes, shapes and scalars decide; runs the body on a sample, as a call on Legate does.

    Raises
    ------
    XPDispatchError
        Whatever of them does not fit.
    """
    definition, scalars = call.definition, call.scalars
    library = "legate" if engine == "legate" else one_library(call)[0]
    copied = tuple(engine == "legate" and library_of(a) in ("numpy", "number") for a in call.operands)
    views = tuple(_is_view(a) for a in call.operands)
    plain = replace(call, operands=_operands(call), given=tuple(map(_plain, call.given)))
    operands = as_arrays(plain, "numpy", namespace_for("CPU"))
    given = all_given(definition, operands, plain.given)
    dtypes = [a.dtype for a in operands]
    plan = plan_of(definition, operands, scalars, given)
    if plan.empty:
        refuse_empty(plan)
    known = tuple(None if g is None else g.dtype for g in given)
    types, sample = result_types(definition, plan, dtypes, scalars, known)
    complete = plan.with_result_shapes([shape for _, shape in types])
    return Question(definition, engine, library, complete, operands, known, types, sample, scalars, copied, views)


def _is_view(value: Any) -> bool:
    if library_of(value) != "legate":
        return False
    from xpdispatch.legate.stores import is_view  # Legate has started: here is an array of its own

    return is_view(value)
