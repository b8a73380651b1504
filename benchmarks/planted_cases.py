"""The planted bugs of the table, made anew for every run, and what the runs share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import array_api_compat.numpy as xnp
import numpy as np

import planted
import right
from xpdispatch import Kernel
from xpdispatch.language.boundaries import Boundary
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.tiles import Tile, whole
from xpdispatch.planning.windows import Bounds, Layout
from xpdispatch.proving.trial import quiet
from xpdispatch.running.parts import padded
from xpdispatch.testing.trials import make_trial

ROOT = Path(__file__).parents[1]
_BUGS = """
histogram with edges of the tile; scaled by the largest of the tile; divided by the length of the tile;
position within the tile; positions found in the tile; trace of the tile; whole operand indexed by local position;
sort along a split axis; cumulative sum along a split axis; fft along a split axis; softmax along a split axis;
median along a split axis; stencil without halo; halo too narrow; two steps in a halo of one;
total variation with a clipped halo; off by one in a block; mean for a sum; fold by means of means;
maximum that loses nan; zero padding under a maximum; zero where a tile has no hit; unique in every tile;
extent from the values; dtype from the values; missing align; reduction that overwrites;
whole result written by every tile; first cell never written; written where positive; one cell beyond the tile;
input written; two cells needed; noise seeded in every tile; generator as a scalar; list popped;
counter in a closure; running sum in the order of tiles; global that changes
"""
NAMES = [" ".join(name.split()) for name in _BUGS.split(";")]
RIGHT = [f"right: {kernel.name}" for kernel in right.RIGHT]
"""Kernels without a bug, for which the same runs must give the right answer."""
_MAKERS: dict[str, Any] = {bug.name: bug for bug in planted.PLANTED} | dict(zip(RIGHT, right.RIGHT, strict=True))
Outcome = dict[str, Any]


class CannotBeSaid(Exception):  # noqa: N818  it is an outcome
    """The library has nothing that the notation's piece could become."""


@dataclass
class Case:
    """One planted bug with its arguments, made anew for every run."""

    name: str
    kernel: Kernel
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        trial = make_trial(self.kernel, self.args, self.kwargs)
        self.plan: Plan = trial.plan
        self.operands = [np.array(a) for a in trial.operands]
        self.scalars = trial.scalars
        self.dtypes = {r: g.dtype for r, g in enumerate(trial.given) if g is not None}
        names = [n for n in self.plan.indices if n in self.words]
        self.cut = self.plan.indices.index(names[0]) if names else 0

    def call(self, xp: Any, tile: Tile, operands: list[Any], buffers: dict[int, Any], scalars: Any = None) -> list[Any]:
        """One run of the body."""
        body = self.kernel.definition.body
        arguments = body.arguments(operands, self.scalars if scalars is None else scalars)
        for r, at in body.buffer_at.items():
            if arguments[at] is None:
                arguments[at] = buffers[r]
        got = body.positional(body.function)(xp, *[tile] * body.wants_tile, *arguments)
        if got is None:
            return [buffers[r] for r in range(body.results)]
        return list(got) if isinstance(got, tuple) else [got]

    def buffers(self, region: Bounds) -> dict[int, Any]:
        sizes = [stop - start for start, stop in region]
        return {r: np.zeros(self.plan.results[r].tile_shape(sizes), dtype=t) for r, t in self.dtypes.items()}

    def label(self, index: int) -> int:
        """The index that stands for this one where arrays without a constraint between them are cut alike."""
        return next(space.index(index) for space in self.plan.spaces if index in space)

    def later(self) -> None:
        """What the caller does between the call and the reading of its results."""
        if "global" in self.name:
            planted.set_gain(7.0)


def make(name: str) -> Case:
    """The case with the first seed whose extents can be cut into two odd halves."""
    planted.set_gain(1.5)
    maker = _MAKERS[name]
    for seed in range(200):
        case = Case(name, *maker.make(np.random.default_rng(seed)), getattr(maker, "words", ()))
        if all(case.plan.extents[a] % 4 == 2 for space in case.plan.spaces for a in space if case.label(a) == case.cut):
            return case
    raise CannotBeSaid("not run: no such extents")


def in_one_tile(name: str) -> list[np.ndarray]:
    """The body's own answer on one tile, which may write what it is given."""
    case = make(name)
    region = whole(case.plan)
    parts = [part(a, o, region).copy() for a, o in zip(case.operands, case.plan.operands, strict=True)]
    got = case.call(xnp, Tile(case.plan, region, xnp, "CPU"), parts, case.buffers(region))
    return [np.asarray(v) for v in got]


def part(array: np.ndarray, layout: Layout, region: Bounds) -> np.ndarray:
    """An operand's elements that go with a region."""
    slices, outside = layout.cut(region, tuple((0, stop) for _, stop in region))
    found = array[slices]
    for beyond in outside:
        found = padded(np, found, beyond)
    return found


def outside_of(layout: Layout) -> Boundary | None:
    """What lies outside an operand with a halo: these cases have one mode for all axes."""
    return next(iter(layout.boundaries), None)


def verdict(case: Case, got: list[Any]) -> Outcome:
    """Compare an answer with that of one tile."""
    expected = in_one_tile(case.name)
    for r, (e, g) in enumerate(zip(expected, map(np.asarray, got), strict=True)):
        if e.shape != g.shape:
            return {"said": "silent", "detail": f"shape {g.shape}, expected {e.shape}"}
        small = 1e-4 if e.dtype.char in "fF" else 1e-9
        with quiet():
            wrong = ~np.isclose(e, g, rtol=small, atol=small, equal_nan=True)
        if wrong.any():
            where = tuple(int(n) for n in np.argwhere(wrong)[0])
            shown = f"{case.plan.results[r].name}{list(where)} = {g[where]:.6g}, expected {e[where]:.6g}"
            return {"said": "silent", "detail": shown}
    for layout, now, before in zip(case.plan.operands, case.operands, make(case.name).operands, strict=True):
        if not np.array_equal(now, before, equal_nan=True):
            return {"said": "silent", "detail": f"{layout.name} has changed"}
    return {"said": "hidden", "detail": ""}


def told(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
