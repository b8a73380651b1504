"""Several processes of one program issue the same Legate operations in the same order.

Legate cannot be started on several processes everywhere, but what it depends on can be: each program runs in two
processes with other hash seeds and other pauses, and all that they ask of Legate is compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SIZES = {
    "quick": ["--size", "1000"],
    "saxpy": ["--size", "1000"],
    "histogram": ["--size", "1000"],
    "matmul": ["-m", "20", "-k", "30", "-n", "10"],
    "fft": ["--shape", "4,8,8"],
    "terrain": [],
    "jacobi": ["--size", "20", "--sweeps", "120"],  # past the launches after which a call waits for all
    "waves": ["--size", "20", "--steps", "20"],
    "kmeans": ["--size", "200", "--steps", "3"],
    "black_scholes": ["--size", "1000"],
    "monte_carlo_pi": ["--size", "1000"],
    "life": ["--size", "20", "--steps", "10"],
    "pooling": ["--levels", "2"],
    "compaction": ["--size", "1000"],
    "conjugate_gradients": ["--size", "10", "--steps", "15"],
    "digits": [],
    "eigendigits": [],
    "edges": [],
    "palette": ["--steps", "2"],
    "tridiagonal": ["--size", "20", "--steps", "3"],
    "filters": [],
    "multigrid": ["--levels", "3"],
    "groupby": [],
}
DISORDERLY = """
from xpdispatch import array_module, kernel

@kernel("x[i] -> y[i]")
def double(xp, x):
    return 2 * x

np = array_module()
for word in {str(number) for number in range(20)}:
    double(np.full(10, float(word)))
"""
Record = dict[str, list[str]]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """What two processes asked of Legate, by program."""
    folder = tmp_path_factory.mktemp("records")
    disorderly = folder / "disorderly.py"
    disorderly.write_text(DISORDERLY)
    programs = [[str(ROOT / "examples" / f"{name}.py"), *sizes] for name, sizes in SIZES.items()]
    command = [sys.executable, str(ROOT / "tests" / "issued.py")]
    started, found = [], []
    for seed in ("0", "4321"):
        record = folder / f"{seed}.json"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "LEGATE_CONFIG": "--cpus 2 --gpus 0 --sysmem 1000"}
        arguments = [str(record), json.dumps([*programs, [str(disorderly)]])]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append((record, subprocess.Popen([*command, *arguments], env=environment, **pipes)))
    for record, process in started:
        out, _ = process.communicate(timeout=200)
        assert process.returncode == 0, out
        found.append(json.loads(record.read_text()))
    return found


def first_difference(records: list[Record], program: str) -> tuple[int, tuple[str, ...]] | None:
    for n, operations in enumerate(zip_longest(*(record[program] for record in records), fillvalue="nothing")):
        if len(set(operations)) > 1:
            return n, operations
    return None


@pytest.mark.parametrize("program", sorted(path.stem for path in (ROOT / "examples").glob("*.py")))
def test_every_process_issues_the_same_operations(records: list[Record], program: str) -> None:
    operations = records[0][program]
    launches = [n for n, text in enumerate(operations) if text.startswith("runtime.create_auto_task(")]
    assert sum(text == "task.execute()" for text in operations) == len(launches) > 1
    assert first_difference(records, program) is None


def test_an_order_that_depends_on_hashes_is_seen(records: list[Record]) -> None:
    """The comparison itself: a loop over a set of strings differs from process to process."""
    difference = first_difference(records, "disorderly")
    assert difference is not None
    assert all("issue_fill" in text for text in difference[1])
    assert [len(record["disorderly"]) for record in records] == [len(records[0]["disorderly"])] * 2
