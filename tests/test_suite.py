"""The programs of benchmarks/suite.py answer as NumPy does, however they are cut; the suite tells what it measures."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import forced_cuts

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import measuring
import suite
from suite_programs import PROGRAMS, SIZES
from suite_programs.program import check, program


def tiny(name: str) -> tuple[Any, ...]:
    """The program's values at a size of a few elements and steps."""
    made = PROGRAMS[name]
    return made.arguments(*(min(number, 20) for number in made.sizes["small"]))


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_in_tiles_answer_as_numpy_does(name: str) -> None:
    made, values = PROGRAMS[name], tiny(name)
    before = [np.copy(value) for value in values]
    expected = made.drive(made.plain(np), *values)
    with forced_cuts(2, cache=16):
        check(made.drive(made.ours, *values), expected, name)
    for value, old in zip(values, before, strict=True):
        np.testing.assert_array_equal(value, old, err_msg="a driver leaves its values as they are")


@pytest.mark.parametrize("name", [name for name, made in PROGRAMS.items() if made.loop])
def test_plain_loops_answer_as_numpy_does(name: str) -> None:
    made, values = PROGRAMS[name], tiny(name)
    assert made.loop is not None
    check(made.loop(*values), made.drive(made.plain(np), *values), name)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("iir", []),  # which writes its operand
        ("floyd_warshall", []),  # to an `out`; with `parallel` numba is wrong of its sizes
        ("advection", []),  # by hand
        ("heat_insulated", []),  # a body by hand that pads, which numba cannot compile, around one that it can
        ("power_spectrum", ["power_of_rows"]),
        ("network", ["softmax"]),
    ],
)
def test_bodies_by_numba_answer_as_numpy_does(name: str, left_out: list[str]) -> None:
    pytest.importorskip("numba", reason="pip install 'xpdispatch[test-all]'")
    from suite_programs.compiled import Compiled, bodies_of

    made, values = PROGRAMS[name], tiny(name)
    call, found = bodies_of(made, values, parallel=False)
    assert found == left_out
    assert not any(isinstance(run, Compiled) for run in vars(call).values())
    expected = made.drive(made.plain(np), *values)
    check(made.drive(call, *values), expected, name)
    call, found = bodies_of(made, values, parallel=True)
    check(made.drive(call, *values), expected, name)


def test_numba_is_the_best_of_its_loop_and_bodies() -> None:
    made = PROGRAMS["jacobi_1d"]
    found = {"NumPy, 1": 10e-6, "ours, 1": 6e-6, "ours, 2": 6e-6, "limit": 5e-6}
    assert "over numba" not in suite.figures(made, "small", 2, found)
    assert suite.figures(made, "small", 2, found | {"numba, bodies": 3e-6})["over numba"] == pytest.approx(2)
    row = suite.figures(made, "small", 2, found | {"numba": 4e-6, "numba, bodies": 3e-6, "numba, parallel": 2e-6})
    assert row["over numba"] == pytest.approx(3)
    assert row["seconds"].keys() >= set(suite.BY_NUMBA)


def test_sizes_rise() -> None:
    assert len(PROGRAMS) >= 34
    for made in PROGRAMS.values():
        volumes = [np.prod(made.sizes[size], dtype=float) for size in SIZES]
        assert volumes == sorted(volumes), made.name


def test_a_function_by_hand_stands_for_a_kernel() -> None:
    def plain_other(xp: Any) -> None: ...

    def drive(call: Any) -> None: ...

    make = program(arguments=tuple, small=(), middle=(), large=(), by_hand={"other": plain_other})
    with pytest.raises(TypeError, match=r"program 'drive': there is no kernel \['other'\]"):
        make(drive)
    assert "drive" not in PROGRAMS


def test_a_wrong_answer_ends_the_suite() -> None:
    made = PROGRAMS["gemm"]
    wrong = replace(made, by_hand={"scaled_product": lambda xp, a, b, c, alpha, beta: a @ b})
    with pytest.raises(AssertionError, match="gemm, small, ours, 1"):
        suite.row_here(wrong, "small", 1)
    with pytest.raises(AssertionError, match=r"float32 \(2,\), and not float64 \(2,\)"):
        check(np.ones(2, np.float32), np.ones(2), "an answer")


def test_it_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "suite.json"
    options = ["--only", "gemm", "--sizes", "small", "--rounds", "1", "--no-legate"]
    monkeypatch.setattr(sys, "argv", ["suite.py", *options, "--json", str(figures)])
    monkeypatch.setattr(suite, "WITHIN", 0.01)
    suite.main()
    told = capsys.readouterr().out
    assert all(column in told for column in ("gemm", "small", "over NumPy, 1", "limit", "geometric means"))
    (row,) = json.loads(figures.read_text())["rows"]
    assert row["calls"] == 1
    assert row["seconds"].keys() == {"NumPy, 1", "NumPy, 2", "ours, 1", "ours, 2", "limit"}


def test_it_tells_what_numba_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("numba", reason="pip install 'xpdispatch[test-all]'")
    figures = tmp_path / "suite.json"
    options = ["--only", "softmax", "variance", "--sizes", "small", "--rounds", "1", "--numba-bodies", "--no-legate"]
    monkeypatch.setattr(sys, "argv", ["suite.py", *options, "--json", str(figures)])
    monkeypatch.setattr(suite, "WITHIN", 0.01)
    monkeypatch.setattr(measuring, "WARM", 0)
    suite.main()
    assert "leaves to NumPy:\n  softmax: softmax\n" in capsys.readouterr().out
    softmax, variance = json.loads(figures.read_text())["rows"]
    assert softmax["numba leaves out"] == ["softmax"]
    assert "over numba" not in softmax
    by_numba = [variance["seconds"][side] for side in ("numba, bodies", "numba, parallel")]
    assert variance["over numba"] == variance["seconds"]["ours, 1"] / min(by_numba)
    assert "numba leaves out" not in variance


def test_it_measures_on_legate() -> None:
    row = suite.row_on_legate(PROGRAMS["go_fast"], "small", 1)
    assert row["over cuPyNumeric"] == row["seconds"]["ours"] / row["seconds"]["cuPyNumeric"]


def test_what_is_slower_is_named() -> None:
    made = PROGRAMS["gemm"]

    def row(ours: float) -> suite.Row:
        found = {"NumPy, 1": 10e-6, "ours, 1": ours, "ours, 2": 10e-6, "limit": 5e-6}
        return suite.figures(made, "small", 2, found)

    assert suite.slower([row(18e-6)]) == []
    assert suite.slower([row(20e-6)]) == ["gemm, small, 1 thread: 2.00"]
    assert row(18e-6)["us a call"] == pytest.approx(4)


def test_traffic_counts_each_array_of_a_call_once() -> None:
    a, c = np.ones((3, 4)), np.ones((3, 3))
    assert suite.traffic(PROGRAMS["syrk"], (a, c, 1.0, 1.0)) == [a.nbytes + 2 * c.nbytes]
