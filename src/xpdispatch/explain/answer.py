"""The numbers that answer a question: how one call is cut on one machine, and what moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from xpdispatch.arrays.namespaces import refuse_variant
from xpdispatch.explain.arrays import ArrayCut, Share, shares_of
from xpdispatch.explain.cache import CacheCut, cut_for_cache, temporaries_of
from xpdispatch.explain.legate_rule import Decision, decide
from xpdispatch.explain.question import Machine, Question
from xpdispatch.explain.tiling import Pieces, Tiles
from xpdispatch.machine.thread_pool import thread_count
from xpdispatch.planning.windows import Bounds


@dataclass(frozen=True, eq=False)
class Answer:
    """How one call is cut, shared, reduced and moved, as numbers."""

    question: Question = field(repr=False)
    machine: Machine
    tiling: Tiles
    cuts: Decision | None = field(repr=False)
    """What Legate decides; None in this process."""
    arrays: dict[str, ArrayCut] = field(repr=False)
    cache: CacheCut
    temporaries: int | None

    @classmethod
    def here(cls, question: Question) -> Self:
        """The answer for the machine that the call would run on as things are."""
        if question.engine == "legate":
            from xpdispatch.legate.engine import machine_here  # which starts Legate

            count, kind, factor, threshold = machine_here(question.definition.variants)
            return cls.on_legate(question, Machine("legate", count, kind, factor, threshold))
        machine = Machine(
            "local",
            thread_count() if question.library == "numpy" else 1,
            "gpu" if question.library == "cupy" else "cpu",
        )
        _check_variant(question, machine)
        plan = question.plan
        cache = cut_for_cache(question, machine, plan.extents)
        sizes = cache.sizes or plan.extents
        cuts = [Pieces(n, -(-n // size) if size else 1, size) for n, size in zip(plan.extents, sizes, strict=True)]
        tiling = Tiles(plan.indices, tuple(cuts), tuple(range(len(cuts))))
        fits = [("", None)] * (len(plan.operands) + len(plan.results))
        return cls._of(question, machine, tiling, None, fits, cache)

    @classmethod
    def on_legate(cls, question: Question, machine: Machine) -> Self:
        """The answer for a machine of Legate's, which need not be here."""
        _check_variant(question, machine)
        small = question.for_one_task(machine)
        plan, recipe = question.plan, question.recipe(small=small)
        decision = decide(question, recipe, machine, small=small)
        # By index the dimension of the common space along which Legate cuts it, or one after all of them.
        dims = [len(plan.extents) if source is None else source[1] for source in recipe.sources]
        numbers = [1 if s is None or not decision.counts else decision.counts[s[1]] for s in recipe.sources]
        stretches = recipe.stretches or [1] * len(dims)
        cuts = [Pieces(n, k, -(-n // (k * s)) * s) for n, k, s in zip(plan.extents, numbers, stretches, strict=True)]
        order = sorted(range(len(dims)), key=dims.__getitem__)
        tiling = Tiles(plan.indices, tuple(cuts), tuple(order))
        axes = {b.operand: b.axis for b in recipe.rects}
        fits = [(fit.how, axes.get(n)) for n, fit in enumerate((*recipe.operands, *recipe.results))]
        return cls._of(question, machine, tiling, decision, fits, cut_for_cache(question, machine, tiling.sizes))

    @classmethod
    def _of(
        cls,
        question: Question,
        machine: Machine,
        tiling: Tiles,
        decision: Decision | None,
        fits: Sequence[tuple[str, int | None]],
        cache: CacheCut,
    ) -> Self:
        """With all that the environment decides looked up now."""
        temporaries = temporaries_of(question, machine, cache.sizes or tiling.sizes)
        return cls(question, machine, tiling, decision, _arrays(question, tiling, fits), cache, temporaries)

    @property
    def pieces(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """For each index where its pieces begin and end; empty ones do not count."""
        return self.tiling.pieces

    @property
    def counts(self) -> tuple[int, ...]:
        """Into how many pieces each index is cut."""
        return self.tiling.counts

    @property
    def count(self) -> int:
        """How many tiles there are, empty ones aside."""
        return self.tiling.count

    def tiles(self) -> Iterator[Bounds]:
        """The tiles that have elements, each with a first element and the one after the last for each index."""
        return self.tiling.regions()

    @cached_property
    def shares(self) -> tuple[Share, ...]:
        """What each processor does; those without a tile do nothing."""
        return shares_of(list(self.arrays.values()), self.tiling, self.machine, self.temporaries or 0)

    @property
    def largest(self) -> Share:
        """At most, of each number, what a processor does."""
        return Share(*(max(getattr(s, name) for s in self.shares) for name in Share.__slots__))


def _arrays(question: Question, tiling: Tiles, fits: Sequence[tuple[str, int | None]]) -> dict[str, ArrayCut]:
    plan, definition = question.plan, question.definition
    terms = (*definition.operands, *definition.signature.results)
    dtypes = [*(a.dtype for a in question.operands), *(dtype for dtype, _ in question.types)]
    layouts = (*plan.operands, *plan.results)
    found: dict[str, ArrayCut] = {}
    for n, (layout, term, dtype, (fit, axis)) in enumerate(zip(layouts, terms, dtypes, fits, strict=True)):
        name = f"{layout.name}'" if layout.name in found else layout.name
        is_result = n >= len(plan.operands)
        is_view = bool(fit) and not is_result and question.views[n]
        found[name] = ArrayCut(layout, str(term), dtype, is_result, fit, tiling, axis, is_view)
    return found


def _check_variant(question: Question, machine: Machine) -> None:
    if machine.variant not in question.definition.variants:
        raise refuse_variant(question.definition.variants, [machine.variant]).complete(*question.title)
