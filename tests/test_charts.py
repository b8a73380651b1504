"""The pictures of docs/performance.rst show what benchmarks/results hold."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "docs"))

import charts
from figures import DOCS, here, on_legate


def test_bars_are_times_over_numpy_s_whatever_the_table_is_over() -> None:
    found = charts.read("table")
    table = {name: dict(zip(here(found)[0][1:], cells, strict=True)) for name, *cells in here(found)[1:]}
    for name, own in charts.times_here(found).items():
        assert f"{own['ours, 2 threads']:.2f}" == table[name]["NumPy body, 2 threads"]
        if ratio := table[name]["dask, 2"]:
            assert own["ours, 2 threads"] / own["dask, 2 threads"] == pytest.approx(float(ratio), abs=0.01)
        assert own["limit"] / own["ours, 2 threads"] == pytest.approx(float(table[name]["limit, 2"]), abs=0.01)
    (_, *heads), *rows = on_legate(found)
    last = {name: cells[heads.index("cuPyNumeric", 3)] for name, *cells in rows}
    for name, own in charts.times_on_legate(found).items():
        if ratio := last[name]:
            assert own["ours, 2 CPUs"] / own["cuPyNumeric, 2 CPUs"] == pytest.approx(float(ratio), abs=0.01)


@pytest.mark.parametrize("name", charts.CHARTS)
def test_each_chart_is_drawn_for_both_modes_and_shown(name: str, tmp_path: Path) -> None:
    charts.save(name, tmp_path)
    kinds = {path.name: set(re.findall(r"#[0-9a-f]{6}", path.read_text())) for path in tmp_path.iterdir()}
    assert kinds[f"{name}-light.svg"] ^ kinds[f"{name}-dark.svg"] == {"#22272e", "#6b7480", "#e6e9ed", "#9aa4b0"}
    assert {*kinds} <= {path.name for path in charts.PICTURES.iterdir()}
    assert f".. chart:: {name}\n" in (DOCS / "performance.rst").read_text()
