"""What is known of a call that is to be explained: all but the machine and the values of its arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import np_dtype
from xpdispatch.arrays.namespaces import library_of, namespace_for, refuse_variant
from xpdispatch.explain.cuts import READ, REDUCE, WRITE, Cuts, Member, Rule, Turned, cuts_of
from xpdispatch.language.boundaries import check_constant
from xpdispatch.legate.recipe import Recipe, recipe_of_call, with_results
from xpdispatch.planning.arguments import as_arrays, one_library, refuse_empty
from xpdispatch.planning.definition import Call, Definition
from xpdispatch.planning.plan import Plan, Shape
from xpdispatch.planning.windows import Region
from xpdispatch.running.cutting import Cutter
from xpdispatch.running.dry_run import ResultTypes, result_types
from xpdispatch.running.images import check_pointers
from xpdispatch.running.local import all_given
from xpdispatch.running.ownership import known_to
from xpdispatch.running.site import Site

_MAX_DIM = 6
"""Legate's greatest number of dimensions, in the builds that there are."""
_UNBOUND = 99
_SAMPLED = 1 << 22
"""A body is tried out on arrays of so many bytes at most."""


_CELLS = ("__array_namespace__", "__array__", "__dlpack__", "__legate_data_interface__")
"""What only an object with cells has, one of them at least."""


def stand_in(shape: Sequence[int], dtype: Any) -> np.ndarray[Any, Any]:
    """An array of this shape and dtype that has the memory of one cell."""
    return np.broadcast_to(np.zeros((), np_dtype(dtype)), tuple(shape))


def with_stand_ins(call: Call) -> Call:
    """The call, with an array for each object that has nothing of one but a shape and a dtype."""
    return replace(call, operands=tuple(map(_array_like, call.operands)), given=tuple(map(_array_like, call.given)))


def _array_like(value: Any) -> Any:
    described = hasattr(value, "shape") and hasattr(value, "dtype")
    return stand_in(value.shape, value.dtype) if described and not any(hasattr(value, n) for n in _CELLS) else value


def _plain(value: Any) -> Any:
    """NumPy arrays and numbers as they are, any other array as its stand-in."""
    if value is None or library_of(value) in ("numpy", "number"):
        return value
    dtype = value.dtype if hasattr(value, "dtype") else value.type.to_numpy_dtype()  # a Legate store has a type
    return stand_in(value.shape, dtype)


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
    scalars : tuple
    copied : tuple of bool
        For each operand whether the engine copies it from NumPy, so that Legate has not cut it before.
    """

    definition: Definition
    engine: str
    library: str
    plan: Plan
    operands: list[Any]
    given: tuple[np.dtype[Any] | None, ...]
    types: ResultTypes
    scalars: tuple[Any, ...]
    copied: tuple[bool, ...]
    _cutters: dict[tuple[str, bool], Cutter] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def itemsizes(self) -> tuple[int, ...]:
        """Of each operand and each result."""
        return tuple(a.dtype.itemsize for a in self.operands) + tuple(dtype.itemsize for dtype, _ in self.types)

    def site(self, variant: str) -> Site:
        """Where the tiles would run, with NumPy in place of CuPy."""
        dtypes = [a.dtype for a in self.operands]
        xp = namespace_for("CPU")
        function = self.definition.body.function_for(variant)
        casts = self.definition.casts(dtypes, xp)
        return Site(self.plan, self.definition.body, function, xp, "numpy", variant, casts)

    def cutter(self, variant: str, *, planned: bool) -> Cutter:
        """What cuts a tile for the cache; on Legate the results' dtypes are planned before."""
        found = self._cutters.get((variant, planned))
        if found is None:  # once, for it runs the body
            site, given = self.site(variant), self.given
            if planned:
                given = tuple(dtype for dtype, _ in self.types)
                site = replace(site, dtypes=given)
            known = known_to(site.function, self.scalars, site.xp)
            dtypes = [a.dtype for a in self.operands]
            found = self._cutters[variant, planned] = Cutter(self.definition, site, known, dtypes, given)
        return found

    def recipe(self) -> Recipe:
        """How the arrays enter a launch on Legate."""
        pointers = [p for p, a in enumerate(self.operands) if a.dtype == np.int64]
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
            pointers=pointers,
        )

    def cuts(self, recipe: Recipe, rule: Rule) -> Cuts | None:
        """Where Legate cuts the aligned arrays; None where there are none."""
        members = list(self._members(recipe, rule))
        if not members or recipe.one_piece or self.plan.empty:
            return None
        whole = frozenset(d for fit in _aligned(recipe) for d in fit.keep_whole)
        if recipe.grid is not None:  # the least size of a tile counts for the cells that the grid stands for
            shares = [n / extent for n, extent in zip(recipe.cells, self.plan.extents, strict=True) if n]
            rule = replace(rule, threshold=max(1, int(rule.threshold * float(np.prod(shares)))))
        return cuts_of(members, whole, recipe.least, rule)

    def _members(self, recipe: Recipe, rule: Rule) -> Any:
        def member(name: str, shape: Shape, itemsize: int, mode: int, fit: Any, *, known: bool) -> Member:
            turned = fit.turn(Turned(shape, tuple(range(len(shape)))))
            cells = int(np.prod(shape, dtype=object))
            return Member(name, shape, cells * itemsize, mode, turned, rule.cut(shape) if known else ())

        boxes = {b.operand for b in recipe.rects if b.instead}
        sizes = self.itemsizes
        for p, (a, fit) in enumerate(zip(self.operands, recipe.operands, strict=True)):
            if fit.how == "align" and p not in boxes:
                yield member(self.plan.operands[p].name, a.shape, sizes[p], READ, fit, known=not self.copied[p])
        for r, ((dtype, shape), layout, fit) in enumerate(
            zip(self.types, self.plan.results, recipe.results, strict=True)
        ):
            if fit.how == "align":
                mode = REDUCE if layout.op else WRITE
                known = bool(layout.op) or self.given[r] is not None
                yield member(layout.name, shape, dtype.itemsize, mode, fit, known=known)
        if recipe.grid is not None:
            yield member("grid", recipe.grid[0], 1, READ, recipe.grid[1], known=True)
        for b in recipe.rects:
            layout = self.plan.operands[b.operand]
            shape = tuple(self.plan.extents[a] for a in layout.axes)
            yield member(f"boxes of {layout.name}", shape, 16 * (1 + len(b.tail)), READ, b.fit, known=True)


def _aligned(recipe: Recipe) -> list[Any]:
    grid = () if recipe.grid is None else (recipe.grid[1],)
    boxes = (b.fit for b in recipe.rects)
    return [fit for fit in (*recipe.operands, *recipe.results, *grid, *boxes) if fit.how == "align"]


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
    plain = replace(call, operands=tuple(map(_plain, call.operands)), given=tuple(map(_plain, call.given)))
    operands = as_arrays(plain, "numpy", namespace_for("CPU"))
    given = all_given(definition, operands, plain.given)
    dtypes = [a.dtype for a in operands]
    plan = definition.plan([a.shape for a in operands], scalars, [None if g is None else g.shape for g in given])
    check_pointers(plan, dtypes)
    for layout, dtype in zip(plan.operands, dtypes, strict=True):
        if layout.boundary is not None:
            check_constant(layout.name, layout.boundary, dtype)
    if plan.empty:
        refuse_empty(plan)
    known = tuple(None if g is None else g.dtype for g in given)
    types = result_types(definition, plan, dtypes, scalars, known)
    return Question(definition, engine, library, with_results(plan, types), operands, known, types, scalars, copied)


def check_variant(definition: Definition, variant: str) -> None:
    """Refuse a kind of processor for which the kernel has no variant.

    Raises
    ------
    UnsupportedError
    """
    if variant not in definition.variants:
        raise refuse_variant(definition.variants, [variant]).complete(definition.name, definition.notation)


def whole_of(sizes: Sequence[int]) -> Region:
    """The region of a tile of these sizes, wherever it lies."""
    return tuple((0, n) for n in sizes)
