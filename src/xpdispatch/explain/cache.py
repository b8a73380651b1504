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
    strips : int
        Strips along borders of arrays that run apart from these tiles; on Legate those of the first task.
    """

    sizes: tuple[int, ...]
    count: int
    why: str = ""
    strips: int = 0


def cut_for_cache(question: Question, machine: Machine, sizes: tuple[int, ...]) -> CacheCut:
    """How a tile of these sizes is cut, as the library itself decides it."""
    why = _why_never(question, machine)
    if why:
        return CacheCut((), 1, why)
    local, body = machine.engine == "local", question.definition.body
    region = tuple((0, n) for n in sizes)
    cutter = question.cutter(machine.variant, planned=not local)
    strips = 0 if question.plan.empty else len(cutter.borders(region, question.scalars)[1])
    if not cutter.cut:
        return CacheCut((), 1, "its arrays are not aligned, are cut by pointers, or have min_extents", strips)
    if question.plan.empty or not (cutter.candidate(region) or cutter.dear(region, question.scalars)):
        return CacheCut((), 1, "it is too small to gain by it", strips)
    threads = machine.processors if local else 1 + (machine.kind == "omp")
    cuts = cutter.cuts(region, question.operands, question.scalars, threads)
    if cuts.tile is None:
        return CacheCut((), 1, "tiles would cost more than the cache saves", strips)
    new = local and not strips and not body.buffers and not body.updates and all(g is None for g in question.given)
    cuts, _ = cuts.on(threads, new=new)
    if cuts.tile is None:
        return CacheCut((), 1, "one thread does as well in one piece", strips)
    return CacheCut(cuts.tile, costs.count(sizes, cuts.tile), strips=strips)


def _why_never(question: Question, machine: Machine) -> str:
    """Why calls like this one are never cut; empty where they may be."""
    if question.definition.cut is False:
        return "the kernel says cut=False"
    if machine.kind == "gpu":
        return "tiles on GPUs are not cut further"
    if machine.engine == "local" and question.library != "numpy":
        return f"{question.library} arrays are not cut"
    return "" if question.plan.indices else "no index is split"


def temporaries_of(question: Question, machine: Machine, sizes: tuple[int, ...]) -> int | None:
    """Bytes that a body needs besides its arrays on a tile of these sizes, by a dry run in NumPy.

    None where the body cannot be run so.
    """
    plan, local = question.plan, machine.engine == "local"
    variant = "CPU" if local else machine.variant
    own_for_gpu = variant == "GPU" and "GPU" in question.definition.body.variants
    if plan.empty or plan.images or own_for_gpu or not sizes:
        return None
    measured = question.cutter(variant, planned=not local).measured(question.scalars)
    return None if measured is None else round(measured.cost.live(sizes))
