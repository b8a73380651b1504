"""The texts of :class:`~xpdispatch.PartitionError`: what differs, where, which index is to blame, what fixes it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xpdispatch.errors import PartitionError
from xpdispatch.planning.definition import Definition
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.tiles import describe, is_empty, shown, whole
from xpdispatch.planning.windows import WHOLE, Bounds, Layout
from xpdispatch.proving.comparison import Arrays, Difference, compare
from xpdispatch.proving.notation_changes import Change
from xpdispatch.proving.search import Failure
from xpdispatch.proving.tilings import Tiling
from xpdispatch.proving.trial import POISONS, Fault, Trial, quiet
from xpdispatch.running.parts import part_of

LOOK = "look for what the body takes from its tile alone: its length, its extremes, its first element or its edges"
"""The advice where nothing is known but that the answer depends on the tiles."""

_WIDTH = 48
_DATA = {
    "small integers": "small integers in place of the inexact operands",
    "the arguments": "the arguments as given",
    "a NaN": "the arguments with a NaN among them",
    "a few elements": "a few elements, tried before the first call that is cut (guard=False leaves that out)",
}


def different(
    trial: Trial, found: Failure, fixed: Change | None, seed: int, *, whole_from_each: bool
) -> PartitionError:
    """The answer is another one in tiles, or there is none; `whole_from_each` tile came the whole result."""
    definition, plan = trial.definition, trial.plan
    indices = found.tiling.indices or plan.indices
    blamed = " and ".join(shown(i) for i in indices)
    unaligned = _unaligned(plan, indices)
    if found.difference is None:
        error = found.error
        text = str(error).splitlines()[0] if str(error) else ""
        problem = f"the body fails in tiles along {blamed}, and not in one tile: {type(error).__name__}: {text}"
    else:
        problem = f"the answer depends on how the arrays are cut along {blamed}"
    if unaligned:
        problem += f"; {unaligned}"
    regions = found.tiling.regions(plan)
    hit = _regions_of(trial, found, regions)
    details = [*_values(plan, found, hit), *draw(plan, found.tiling, hit)]
    details += [f"  order: {found.tiling.order}"] if found.tiling.order != "forward" else []
    details += [f"  data: {_DATA[found.data]}", f"  reproduce: {_reproduce(definition, found, seed)}"]
    hint = _advice(trial, found)
    if fixed:
        gone = " without boundary=" if definition.boundaries and not fixed.definition.boundaries else ""
        price = _price(definition, fixed)
        hint = f"{fixed.words}: {fixed.definition.notation}{gone} (checked: then it is right){price}"
    if whole_from_each:
        hint = "every tile gives the whole result: let the body work on its tile alone, tile.size and tile.coords"
    return PartitionError(problem, column=_column(definition, indices), hint=hint, details="\n".join(details))


def _price(definition: Definition, fixed: Change) -> str:
    """What a remedy costs: the indices along which nothing can be cut any more."""
    before, after = definition.signature, fixed.definition.signature
    gone = [i for i in before.indices if i not in after.indices]
    if not gone:
        return ""
    if not after.indices:
        return "; nothing is parallel any more, all runs in one piece"
    return f"; nothing is parallel any more along {' and '.join(gone)}"


def _values(plan: Plan, found: Failure, hit: Sequence[Bounds]) -> list[str]:
    where = f"tile {describe(plan, hit[0])}" if len(hit) == 1 else f"{len(hit)} tiles"
    if found.difference is None:
        return [f"  in {where}"] if hit else []
    layout = plan.results[found.difference.result]
    element, op = found.difference.element(plan), layout.op
    if found.difference.where is None:
        return [f"  {element}: {found.difference.expected} in one tile, {found.difference.got} in these tiles"]
    line = f"  {element} = {found.difference.expected} in one tile, {found.difference.got} in these tiles"
    if hit and layout.scan:
        stands = "after" if layout.scan.backward else "before"
        return [line, f"  {element} comes from {where}, combined by {op} with what stands {stands} it"]
    if hit and op:
        return [line, f"  {element} is combined from {len(hit)} tile{'s' if len(hit) > 1 else ''} by {op}"]
    return [line, f"  {element} comes from {where}"] if hit else [line]


def _regions_of(trial: Trial, found: Failure, regions: Sequence[Bounds]) -> list[Bounds]:
    """The tiles that the first differing element comes from, or the one in which the body failed."""
    if found.difference is None:
        notes = "\n".join(getattr(found.error, "__notes__", []))
        return [r for r in regions if f"tile {describe(trial.plan, r)}," in notes][:1]
    layout, where = trial.plan.results[found.difference.result], found.difference.where
    if where is None or layout.concatenated:
        return []
    return [r for r in regions if not is_empty(r) and _holds(layout, r, where)]


def _holds(layout: Layout, region: Bounds, where: Sequence[int]) -> bool:
    for axis, (a, place) in enumerate(zip(layout.axes, where, strict=True)):
        if a != WHOLE:
            low, high = layout.window(axis, *region[a])
            if not low <= place < high:
                return False
    return True


def draw(plan: Plan, tiling: Tiling, hit: Sequence[Bounds] = ()) -> list[str]:
    """Each index that is cut as a bar; the tiles in `hit` are drawn bold.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import kernel
    >>> from xpdispatch.testing import Tiling, draw
    >>> plan = kernel("x[i] -> y[i]")(lambda xp, x: x).definition.plan([(12,)], (), [None])
    >>> draw(plan, Tiling.parse("i: 4 6"), [((4, 6),)])
    ['  i |----|==|------|  0:4 4:6 6:12']
    """
    cuts = dict(tiling.cuts)
    lines = []
    names = [shown(name) for name in plan.indices if cuts.get(name)]
    for index, (name, extent) in enumerate(zip(plan.indices, plan.extents, strict=True)):
        if not cuts.get(name):
            continue
        edges = [0, *sorted(cuts[name]), extent]
        bar, labels = "|", []
        for start, stop in pairwise(edges):
            width = stop - start if extent <= _WIDTH else round((stop - start) * _WIDTH / extent)
            bold = any(region[index] == (start, stop) for region in hit)
            bar += ("=" if bold else "-") * max(width, min(stop - start, 1)) + "|"
            labels.append(f"{start}:{stop}")
        text = " ".join(labels if len(labels) <= 8 else [*labels[:4], "...", *labels[-2:]])
        lines.append(f"  {shown(name):>{max(map(len, names))}} {bar}  {text}")
    return lines


def _reproduce(definition: Definition, found: Failure, seed: int) -> str:
    if found.data == "a few elements":
        return f"check_partitioning({definition.name}, ...)"
    return (
        f'with checking(seed={seed}, tiling="{found.tiling}", data="{found.data}"): '
        f"check_partitioning({definition.name}, ...)"
    )


def _column(definition: Definition, names: Sequence[str]) -> int | None:
    """Where an index, or an array, stands first in the notation."""
    signature = definition.signature
    for name in names:
        for term in (*signature.operands, *signature.results):
            if term.name == name:
                return term.column
            for axis in term.axes:
                if axis.name == name or (axis.kind == "ellipsis" and "..." in name):
                    return axis.column
    return None


def _unaligned(plan: Plan, indices: Sequence[str]) -> str:
    """Which arrays nothing aligns with the others, in words."""
    if len(plan.spaces) < 2:
        return ""
    cut = {plan.indices.index(i) for i in indices if i in plan.indices}
    for space in plan.spaces:
        if cut & set(space):
            found = (repr(x.name) for x in (*plan.operands, *plan.results) if set(x.axes) & set(space))
            names = dict.fromkeys(found)
            return f"nothing aligns {' and '.join(names)} with the others, so that Legate cuts them at other places"
    return ""


def _advice(trial: Trial, found: Failure) -> str:
    """What to look for where no change of the notation was found that fixes the kernel."""
    if found.error is not None:
        return "change the body so that it works on a tile of any size, or keep the axis whole"
    plan = trial.plan
    layout = plan.results[found.difference.result] if found.difference else plan.results[0]
    if found.data == "a NaN":
        return f"let NaN win in the body, as {layout.op} does between tiles: xp.{layout.op}, and not nan{layout.op}"
    if layout.op == "fold" and (advice := _advice_on_fold(trial, found.tiling)):
        return advice
    if layout.scan:
        last = "first" if layout.scan.backward else "last"
        return (
            f"the body must return its own tile's scan, whose {last} element is what all of the tile gives; "
            "an exclusive scan is shifted after the call"
        )
    if isinstance(found.tiling.order, int | str) and found.tiling.order != "forward":
        return "the order of tiles must not matter: keep nothing from one tile for the next"
    return LOOK


def _advice_on_fold(trial: Trial, tiling: Tiling) -> str:
    """Whether the merge is to blame, or the parts that it gets; nothing where there are not two to be merged."""
    parts = _parts_of_folds(trial, [r for r in tiling.regions(trial.plan) if not is_empty(r)])
    if any(np.isnan(v).any() for part in parts for v in part if v.dtype.kind in "fc"):
        return "a part is NaN: let fold= and the body treat NaN alike, in whichever of the parts it is"
    if len(parts) < 2:
        return ""
    if len(parts) == 2:  # three parts tell more, be it of elements that come twice
        parts.append(parts[1])
    with quiet():
        left = _merged(trial, _merged(trial, parts[0], parts[1]), parts[2])
        right = _merged(trial, parts[0], _merged(trial, parts[1], parts[2]))
    if compare(left, right):
        return "fold= must be associative: merging the parts of two halves must give the part of the whole"
    if any(layout.scan for layout in trial.plan.results):
        return ""
    return (
        "fold= is associative on these parts, so look at what the body returns for a tile alone: places must count "
        "from tile.start, and lengths be results of their own"
    )


def _parts_of_folds(trial: Trial, regions: Sequence[Bounds]) -> list[Arrays]:
    """What tiles give to the folds; of scans their ends, of tiles that follow each other."""
    plan = trial.plan
    folds = [(r, layout) for r, layout in enumerate(plan.results) if layout.op == "fold"]
    first = folds[0][1]
    if first.scan is None:
        return [[found[r] for r, _ in folds] for found in (trial.run([region]) for region in regions)]
    index = first.axes[first.scan.axis]
    row = [g for g in regions if (g[:index], g[index + 1 :]) == (regions[0][:index], regions[0][index + 1 :])]
    return [
        [o.scan.end(part_of(found[r], o, g, whole(plan))) for r, o in folds if o.scan]
        for g, found in ((g, trial.run([g])) for g in sorted(row))
    ]


def _merged(trial: Trial, left: Arrays, right: Arrays) -> Arrays:
    merge: Any = trial.definition.body.merge
    found = merge(trial.site.xp, *((tuple(s) if len(s) > 1 else s[0]) for s in (left, right)))
    return [np.asarray(v) for v in (found if isinstance(found, tuple | list) else [found])]


def fault_error(definition: Definition, fault: Fault) -> PartitionError:
    """The body breaks a rule that holds on every tile."""
    return PartitionError(str(fault), column=_column(definition, [fault.blame]), hint=fault.hint)


def outside_error(name: str, what: str) -> PartitionError:
    """A closure or a global varies."""
    return PartitionError(
        f"the answer depends on {name}, which {what}: tasks run later, and in other processes",
        hint="what varies must be an argument of the kernel, and what is computed a result",
    )


def unwritten_error(
    definition: Definition, r: int, first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]
) -> PartitionError:
    """Elements of a buffer keep what they held, or the body reads them."""
    name = definition.signature.results[r].name
    unwritten = _holds_poison(first, POISONS[0]) & _holds_poison(second, POISONS[1])
    if unwritten.any():
        where = ", ".join(map(str, np.argwhere(unwritten)[0])) if first.ndim else ""
        problem = f"the body leaves {int(unwritten.sum())} of {first.size} elements of result {name!r} unwritten"
        problem += f", the first is {name}[{where}]"
        hint = f"write all of it, or start with {name}[...] = 0"
    else:
        problem = f"the answer depends on what result {name!r} held before the call"
        hint = f"write {name} before reading it, or write {name} on both sides of '->' to update it"
    return PartitionError(problem, column=_column(definition, [str(name)]), hint=hint)


def _holds_poison(array: np.ndarray[Any, Any], poison: int) -> np.ndarray[Any, Any]:
    if array.dtype.kind == "b":
        return np.asarray(array == (poison == POISONS[0]))
    plain = np.ascontiguousarray(array).reshape(array.shape)
    data = plain.reshape(-1).view(np.uint8).reshape(*array.shape, array.dtype.itemsize)
    return np.asarray((data == poison).all(axis=-1))


def unsteady_error(trial: Trial, found: Difference) -> PartitionError:
    """Two calls with the same arguments give two answers."""
    name = trial.plan.results[found.result].name
    values = f"{found.expected} in the first call, {found.got} in the second"
    return PartitionError(
        f"two calls with the same arguments give two answers in result {name!r}",
        column=_column(trial.definition, [name]),
        hint="a body must be a function of its arguments: keep no state between calls, and derive random numbers from "
        "a seed and the global position, tile.coords",
        details=f"  {found.element(trial.plan)} = {values}",
    )


def sample_error(layout: Layout, answer: str, there: str, sample: str) -> PartitionError:
    """The dtype or an open extent depends on the values."""
    return PartitionError(
        f"result {layout.name!r} has {answer}, but {there} on a sample of {sample}, from which Legate learns it",
        hint="return one dtype and one extent for all values, or pass dtype= to the decorator and name the extent",
    )
