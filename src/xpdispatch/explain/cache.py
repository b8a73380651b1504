"""How a tile, or a call in this process, is cut further for the cache, and what its body needs besides its arrays."""

from __future__ import annotations

from dataclasses import dataclass

from xpdispatch.explain.question import Machine, Question
from xpdispatch.running import costs


@dataclass(frozen=True, slots=True)
class CacheCut:
    """How a tile, or a call in this process, is cut further for the cache.

    Parameters
    ----------
    sizes : tuple of int
        Elements of each index in one of the tiles; empty where it is not cut.
    count : int
    why : str
        Why it is not cut; empty where it is.
    """

    sizes: tuple[int, ...]
    count: int
    why: str = ""


def cut_for_cache(question: Question, machine: Machine, sizes: tuple[int, ...]) -> CacheCut:
    """How a tile of these sizes is cut, as the library itself decides it."""
    tile, why = _tile(question, machine, sizes)
    return CacheCut(tile, costs.count(sizes, tile)) if tile else CacheCut((), 1, why)


def _tile(question: Question, machine: Machine, sizes: tuple[int, ...]) -> tuple[tuple[int, ...] | None, str]:
    """The sizes of a tile for the cache, or why there is none."""
    local, plan, body = machine.engine == "local", question.plan, question.definition.body
    if question.definition.cut is False:
        return None, "the kernel says cut=False"
    if machine.kind == "gpu":
        return None, "tiles on GPUs are not cut further"
    if local and question.library != "numpy":
        return None, f"{question.library} arrays are not cut"
    if not plan.indices:
        return None, "no index is split"
    region = tuple((0, n) for n in sizes)
    cutter = question.cutter(machine.variant, planned=not local)
    if plan.empty or not cutter.candidate(region):
        return None, "it is too small to gain by it, or its parts depend on each other"
    cuts = cutter.cuts(region, question.operands, question.scalars)
    if cuts.tile is None:
        return None, "tiles would cost more than the cache saves"
    new = local and not body.buffers and not body.updates and all(g is None for g in question.given)
    cuts, _ = cuts.on(machine.processors if local else 1 + (machine.kind == "omp"), new=new)
    return cuts.tile, "one thread does as well in one piece"


def temporaries_of(question: Question, machine: Machine, sizes: tuple[int, ...]) -> int | None:
    """Bytes that a body needs besides its arrays on a tile of these sizes, by a run on ones in NumPy.

    None where the body cannot be run so.
    """
    plan, local = question.plan, machine.engine == "local"
    variant = "CPU" if local else machine.variant
    own_for_gpu = variant == "GPU" and "GPU" in question.definition.body.variants
    if plan.empty or plan.images or own_for_gpu or not sizes:
        return None
    cost = question.cutter(variant, planned=not local).cost(question.scalars)
    return None if cost is None else round(cost.live(sizes))
