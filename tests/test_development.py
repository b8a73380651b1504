"""Kernels on a stand-in that has the names of Legate's development branch, and none that it dropped."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from conftest import run_python

STAND_IN = Path(__file__).parent / "development"
PROGRAM = """
import numpy as np
import xpdispatch as xd
import cupynumeric
import legate.core as lg
from xpdispatch.calling.engines import get_engine

def array(values):
    values = np.asarray(values)
    store = lg.LogicalStore(values.copy())
    return cupynumeric.asarray(store)

def launched():
    names, lg.LAUNCHED[:] = [*lg.LAUNCHED], []
    return names

assert lg.__file__.startswith({stand_in!r})
"""
CALLS = {
    "cuPyNumeric arrays": """
saxpy = xd.kernel("x[i], y[i] -> z[i]")(lambda xp, x, y, a: a * x + y)
z = saxpy(array(np.arange(5.0)), array(np.ones(5)), 2.0)
xd.synchronize()
assert isinstance(z, cupynumeric.ndarray)
assert np.asarray(z).tolist() == [1, 3, 5, 7, 9]
assert [n for _, n in launched()] == [2]
""",
    "stores and NumPy arrays": """
outer = xd.kernel("x[i], y[j] -> z[i,j]")(lambda xp, x, y: x[:, None] * y)
z = lg.LogicalStore(np.zeros((4, 3)))
assert outer(lg.LogicalStore(np.arange(4.0)), np.ones(3), out=z) is z
assert np.asarray(z.get_physical_store()).tolist() == [[i] * 3 for i in range(4)]
assert [n for _, n in launched()] == [2]
""",
    "a sum": """
total = xd.kernel("x[i,:] -> sum s[], sum t[:k]")(lambda xp, x, k: (xp.sum(x), xp.sum(x[:, :k], axis=0)))
s, t = total(array(np.ones((6, 3))), 2)
assert (float(np.asarray(s)), np.asarray(t).tolist()) == (18.0, [6.0, 6.0])
assert 2 in [n for _, n in launched()]
""",
    "a halo": """
mean = xd.kernel("x[i-1..i+1] -> y[i]", boundary="edge")(lambda xp, x: x[:-2] + x[1:-1] + x[2:])
assert np.asarray(mean(array(np.arange(5.0)))).tolist() == [1, 3, 6, 9, 11]
assert 2 in [n for _, n in launched()]
""",
    "results of unknown size": """
kept = xd.kernel("x[i] -> y[?]")(lambda xp, x: x[x > 2])
assert np.asarray(kept(array(np.arange(6.0)))).tolist() == [3, 4, 5]
assert 2 in [n for _, n in launched()]
""",
    "a fold": """
prod = xd.kernel("x[i] -> fold p[]", fold=lambda xp, a, b: a * b)(lambda xp, x: xp.prod(x))
assert float(np.asarray(prod(array(np.arange(1.0, 6.0))))) == 120.0
assert [n for _, n in launched()] == [2, 1]
""",
    "a failure": """
failing = xd.kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: 1 / 0)
failing(array(np.ones(4)))
try:
    xd.synchronize()
except ZeroDivisionError as error:
    assert "tile i = 0:2 of 4" in error.__notes__[0], error.__notes__
else:
    raise AssertionError("no failure")
""",
    "a masked array": """
class Fields:
    @property
    def __legate_data_interface__(self):
        return {"version": 2, "data": {"a": lg.LogicalStore(np.ones(3)), "b": lg.LogicalStore(np.ones(3))}}
try:
    xd.kernel("x[i] -> y[i]")(lambda xp, x: x)(Fields())
except TypeError as error:
    assert "is made of 2 fields" in str(error), error
else:
    raise AssertionError("no refusal")
""",
    "forced tiles": """
half = xd.kernel("x[i] -> y[i]")(lambda xp, x: x / 2)
with get_engine("legate").forced_tiles(4) as tiles:
    half(array(np.ones(6)))
assert [region for _, region in tiles] == [((0, 3),), ((3, 6),)]
""",
}


EACH = """
import traceback
for call, code in {calls!r}.items():
    launched()
    try:
        exec(code, dict(globals()))
    except BaseException:
        print("wrong:", call, flush=True)
        traceback.print_exc()
    else:
        print("right:", call, flush=True)
"""


@pytest.fixture(scope="module")
def done() -> subprocess.CompletedProcess[str]:
    """One process for all calls."""
    path = os.pathsep.join([str(STAND_IN), os.environ.get("PYTHONPATH", "")])
    code = PROGRAM.replace("{stand_in!r}", repr(str(STAND_IN))) + EACH.replace("{calls!r}", repr(CALLS))
    return run_python(code, PYTHONPATH=path)


@pytest.mark.parametrize("call", CALLS)
def test_on_the_development_branch(call: str, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert f"right: {call}\n" in done.stdout, done.stderr


def test_the_stand_in_has_no_name_that_was_dropped() -> None:
    code = """
import legate.core, legate.core.task
gone = ("LogicalArray", "PhysicalArray", "InputArray", "OutputArray", "ReductionArray")
assert not [n for m in (legate.core, legate.core.task) for n in gone if hasattr(m, n)]
assert not hasattr(legate.core.TaskInfo, "from_variants")
"""
    done = run_python(code, PYTHONPATH=str(STAND_IN))
    assert done.returncode == 0, done.stderr
