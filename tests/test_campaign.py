"""The campaign of random programs, short; ``python -m campaign`` in this folder is the long one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from campaign.arrays import DTYPES, INTEGERS, LAYOUTS, SUBCLASS
from campaign.calls import ENGINES, LIBRARIES, can_run_on
from campaign.drawing import CELLS, KEPT, WRONG, program
from campaign.growing import NUMBER, SCATTERED
from campaign.outcomes import check
from campaign.programs import MODES
from campaign.shrinking import shrunk
from campaign.source import snippet
from campaign.stress import stress
from xpdispatch.planning import arguments as call_arguments
from xpdispatch.planning.tiles import Tile
from xpdispatch.planning.windows import Layout
from xpdispatch.running import gathered, parts
from xpdispatch.running.keys import Keyed


@pytest.mark.parametrize("first", range(0, 500, 100))
def test_programs_in_this_process(first: int) -> None:
    for seed in range(first, first + 100):
        made = program(seed)
        failure = check(made, ENGINES[:3])
        assert failure is None, f"{failure}\n{snippet(made)}"


@pytest.mark.parametrize("name", LIBRARIES)
def test_programs_on_other_libraries(name: str) -> None:
    count = 100 if name.startswith("torch") else 20  # JAX compiles each function for each shape
    able = [made for made in map(program, range(2000)) if can_run_on(name, made)]
    for made in able[:count]:
        failure = check(made, (name,))
        assert failure is None, f"{failure}\n{snippet(made)}"
    assert len(able) >= count


@pytest.mark.parametrize("first", range(1000, 1200, 50))
def test_programs_on_legate(first: int) -> None:
    for seed in range(first, first + 50):
        made = program(seed)
        failure = check(made, ENGINES[-1:])
        assert failure is None, f"{failure}\n{snippet(made)}"


@pytest.mark.parametrize("seed", range(4))
def test_launches_that_depend_on_each_other_among_failing_ones(seed: int) -> None:
    stress(seed)


def test_a_program_follows_from_its_seed() -> None:
    assert program(7) == program(7)
    assert snippet(program(7)) == snippet(program(7))
    assert program(7) != program(8)


def test_every_kind_of_program_is_drawn() -> None:
    drawn = Counter(feature for seed in range(2000) for feature in program(seed).features())
    axes: tuple[str, ...] = ("i", "halo", "k*i", ":", ":n", ":3", "...", "0-d", "index space", "i, i", "gather")
    axes += ("k*i with a halo", "halo of scalars", "halo of n", "k*i of scalars", "k*i with a halo of scalars")
    results = ("?", "in place", "buffer", "returned", ":n", ":EXPR", "bare :", "k*i", "dtype=")
    operators = ("none", "sum", "prod", "max", "min", "any", "all", "xor", "fold")
    wanted = [("axis", a) for a in axes] + [("result", r) for r in results] + [("operator", o) for o in operators]
    scans = ("sum", "prod", "max", "min", "any", "all", "xor", "add", "factor", "value")
    wanted += [(f"scan {way}", op) for way in ("up to", "from") for op in scans]
    wanted += [(what, n) for what in ("scan of extent", "cells") for n in "012"] + [("tile", "stop")]
    wanted += [("key", d) for d in (*INTEGERS, NUMBER)] + [("scatter", op) for op in SCATTERED]
    wanted += [("dtype", d) for d in DTYPES] + [("boundary", m) for m in (*MODES, "one for each axis")]
    wanted += [("layout", n) for n in (*LAYOUTS, SUBCLASS)]
    wanted += [("wrong", w) for w in WRONG] + [("cells", c) for c in (*CELLS, KEPT)] + [("option", "fuse=False")]
    assert {w: drawn[w] for w in wanted if drawn[w] < 3} == {}


def lost_carry(real: Any) -> Any:
    return lambda site, scans, ends: real(site, scans, ends)[:-1]


def merged_the_other_way(real: Any) -> Any:
    return lambda site, folds, left, right, like: real(site, folds, right, left, like)


def key_off_by_one(real: Any) -> Any:
    return lambda self, *args: np.maximum(real(self, *args) - 1, 0)


def window_one_off(real: Any) -> Any:
    def shifted(self: Any, axis: int, start: int, stop: int) -> tuple[int, int]:
        low, high = real(self, axis, start, stop)
        off = bool(self.reaches and self.reaches[axis].below)
        return low + off, high + off

    return shifted


def stride_of_the_elements_before(real: Any) -> Any:
    """Blocks with a halo count from the tile before."""

    def other(self: Any, axis: int, start: int, stop: int) -> tuple[int, int]:
        reach = self.reaches[axis] if self.reaches else None
        low, high = real(self, axis, start, stop)
        off = start if reach is not None and reach.scale > 1 and reach.boundary == "valid" else 0
        return low - off, high - off

    return other


def another_diagonal(real: Any) -> Any:
    return lambda array, first, second: np.flip(real(array, first, second), first)


def boundaries_of_other_axes(real: Any) -> Any:
    def cut(self: Any, *args: Any) -> Any:
        slices, outside = real(self, *args)
        modes = [beyond.boundary for beyond in reversed(outside)]
        return slices, [beyond._replace(boundary=mode) for beyond, mode in zip(outside, modes, strict=True)]

    return cut


def stop_of_all(real: Any) -> Any:
    return lambda self, where: self.total(where)


FAULTS = [
    (lost_carry, gathered, "carries"),
    (merged_the_other_way, gathered, "_merge"),
    (key_off_by_one, Keyed, "places"),
    (window_one_off, Layout, "window"),
    (stride_of_the_elements_before, Layout, "window"),
    (another_diagonal, call_arguments, "_diagonal"),
    (boundaries_of_other_axes, Layout, "cut"),
    (stop_of_all, Tile, "stop"),
]


@pytest.mark.parametrize(("fault", "owner", "name"), FAULTS, ids=[f[0].__name__ for f in FAULTS])
def test_a_fault_of_the_library_is_found(fault: Any, owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, fault(getattr(owner, name)))
    found = next((s for s in range(1000) if check(program(s), ENGINES[:2]) is not None), None)
    assert found is not None


def test_a_fault_is_found_and_its_program_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    real = parts.source_elements

    def one_off(low: int, high: int, extent: int, boundary: Any) -> Any:
        found = real(low, high, extent, boundary)
        return np.minimum(found + 1, extent - 1) if boundary == "wrap" else found

    monkeypatch.setattr(parts, "source_elements", one_off)
    monkeypatch.setattr(parts, "_elements_of_strip", parts._elements_of_strip.__wrapped__)  # which keeps right ones
    for seed in range(200):
        failure = check(program(seed), ENGINES[:1])
        if failure is not None:
            break
    assert failure is not None
    assert failure.kind == "wrong answer"
    small, again = shrunk(program(seed), failure, ENGINES[:1])
    assert again.kind == "wrong answer"
    assert "wrap" in snippet(small)
    assert len(small.results) == 1
    xd.synchronize()
