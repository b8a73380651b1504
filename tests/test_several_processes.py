"""One program as several processes on this machine, started by ``xpdispatch run``.

They need a Legate with a network and Open MPI: ``.ci/run`` installs both in an environment of their own, and runs this
file there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from test_examples import EXAMPLES, ROOT, SIZES, assert_right
from xpdispatch.errors import MissingError
from xpdispatch.legate import companions
from xpdispatch.shell.run import networks

SMALL = SIZES | {
    "jacobi": ["--size", "150", "--sweeps", "20"],
    "waves": ["--size", "150", "--steps", "20"],
    "life": ["--size", "150", "--steps", "20"],
    "conjugate_gradients": ["--size", "60", "--steps", "40"],
    "tridiagonal": ["--size", "150", "--steps", "20"],
    "multigrid": ["--levels", "5"],
}
LEAST = "4"  # elements of a tile: before Legate 26.3 those along the indices that may be cut


def missing() -> str:
    """What several processes lack here; empty where they run."""
    try:
        companions.check("mpirun", networks())
    except MissingError as error:
        return f"{error.problem}: {error.hint}"
    return ""


@pytest.fixture(scope="module", autouse=True)
def required() -> None:
    why = missing()
    if why and "processes" in os.environ.get("XPDISPATCH_REQUIRE", "").split(","):
        pytest.fail(why)
    if why:
        pytest.skip(why)


def start(count: int, *words: str, timeout: int = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run words of Python's command line in so many processes."""
    own = ("LEGATE", "OMPI", "PMIX", "REALM", "UCX", "LEGION")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    line = ["run", "--ranks-per-node", str(count), "--launcher", "mpirun", "--cpus", "1", "--gpus", "0"]
    return subprocess.run(
        [sys.executable, "-m", "xpdispatch", *line, "--sysmem", "1000", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=ROOT,
        env={**clean, **environment},
    )


# -- programs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, str]]]:
    """What each of two processes prints in all programs, and how many tiles ran in it."""
    record = tmp_path_factory.mktemp("several") / "record.json"
    programs = [[str(p), *SMALL[p.stem], "--check"] for p in EXAMPLES]
    words = ("tests/in_one_process.py", str(record), json.dumps(programs))
    done = start(2, *words, LEGATE_MIN_CPU_CHUNK=LEAST)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(record.with_suffix(f".{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("example", [p.stem for p in EXAMPLES])
def test_an_example_in_two_processes(example: str, records: list[dict[str, dict[str, str]]]) -> None:
    """Both print what one process prints, and each has computed tiles."""
    outcomes = [record[example] for record in records]
    for outcome in outcomes:
        assert not outcome["failed"], outcome["failed"]
        assert_right(example, outcome["printed"])
        assert int(outcome["tiles"]) > 0
    timed = re.compile(r"^Time elapsed.*$|\d+\.\d+ (?:s|ms|milliseconds)\b.*", re.M)
    assert len({timed.sub("", outcome["printed"]) for outcome in outcomes}) == 1


def test_a_program_in_four_processes_and_by_mpirun_itself() -> None:
    words = ("examples/histogram.py", *SIZES["histogram"], "--check")
    done = start(4, *words, LEGATE_MIN_CPU_CHUNK=LEAST)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("equal to NumPy") == 4
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LEGATE", "OMPI", "PMIX", "REALM", "UCX"))}
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    same = {"XPDISPATCH_CHECK_PROCESSES": "1"}  # nothing differs
    line = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", "2", sys.executable, *words]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=120, cwd=ROOT, env={**clean, **root, **same}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("equal to NumPy") == 2


# -- tests that every process runs ------------------------------------------------------------------------------------


def test_every_process_runs_the_same_tests() -> None:
    files = (f"tests/{name}.py" for name in ("several", "test_contract", "test_pieces", "test_halos"))
    line = (
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--color",
        "no",
        *files,
        "-k",
        "several or legate or halos",
    )
    done = start(2, *line, LEGATE_MIN_CPU_CHUNK="1")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"(\d+) passed", done.stdout)
    assert len(passed) == 2
    assert len(set(passed)) == 1


# -- ends -------------------------------------------------------------------------------------------------------------

FAILS = """
import xpdispatch as xd
np = xd.array_module()

@xd.kernel("x[i] -> y[i]", dtype="x")
def refuse(xp, x):
    if xp.any(x == 39):
        raise ValueError("there is 39")
    return x

refuse(np.arange(40.0))
"""


def test_a_failure_that_nobody_looked_at_ends_all_with_status_1(tmp_path: Path) -> None:
    program = tmp_path / "fails.py"
    program.write_text(FAILS)
    done = start(2, str(program), LEGATE_MIN_CPU_CHUNK="1")
    assert done.returncode == 1
    assert done.stderr.count("ValueError: there is 39") == 1, "one process tells of it"
    assert "tile i = 20:40 of 40" in done.stderr


LEAVES = """
import sys
import xpdispatch as xd
from xpdispatch.legate import collective

xd.array_module()
xd.synchronize()
if collective.rank: sys.exit(3)
xd.synchronize()
"""


def test_a_process_that_leaves_before_the_others_is_found(tmp_path: Path) -> None:
    program = tmp_path / "leaves.py"
    program.write_text(LEAVES)
    done = start(2, str(program), timeout=60, XPDISPATCH_CHECK_PROCESSES="1")
    assert done.returncode != 0
    said = f"process 0 comes to a synchronisation at {program}:9, and process 1 to the end of the program"
    assert said in done.stderr
    assert "Hint: all processes run one program and must make the same calls" in done.stderr
