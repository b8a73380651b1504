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
from xpdispatch.running import parts


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
