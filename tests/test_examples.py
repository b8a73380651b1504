"""Every program runs in its three ways, and equals NumPy in each."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from xpdispatch import Kernel
from xpdispatch.testing import check_partitioning

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SIZES = {
    "quick": ["--size", "100000"],
    "saxpy": ["--size", "100000"],
    "histogram": ["--size", "100003"],
    "matmul": ["-m", "120", "-k", "110", "-n", "90"],
    "fft": ["--shape", "8,32,64"],
    "terrain": [],
    "jacobi": ["--size", "150", "--sweeps", "120"],
    "waves": ["--size", "150", "--steps", "60"],
    "kmeans": ["--size", "50000"],
    "black_scholes": ["--size", "50000"],
    "monte_carlo_pi": ["--size", "50000"],
    "life": ["--size", "150", "--steps", "60"],
    "pooling": [],
    "compaction": ["--size", "100003"],
    "conjugate_gradients": ["--size", "150"],
    "digits": [],
    "eigendigits": [],
    "edges": [],
    "palette": ["--steps", "3"],
    "tridiagonal": ["--size", "150", "--steps", "40"],
    "filters": [],
    "multigrid": ["--levels", "6"],
    "groupby": [],
}
BIN = Path(sys.executable).parent


def run(command: list[str], **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k != "LEGATE_CONFIG"}
    clean["PATH"] = f"{BIN}{os.pathsep}{clean['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT, env={**clean, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


LAUNCHERS = {
    "python": [sys.executable],
    "xpdispatch run": [sys.executable, "-m", "xpdispatch", "run", "--cpus", "2", "--gpus", "0"],
    "xpdispatch run --engine local": [sys.executable, "-m", "xpdispatch", "run", "--engine", "local"],
    "legate": [str(BIN / "legate"), "--cpus", "1", "--gpus", "0"],
}
COMPARED = ("python", "xpdispatch run")
WAYS = (*COMPARED, "legate")


@dataclass(frozen=True)
class Outcomes:
    """What all programs print under each launcher, which runs them in one process when it is first asked for."""

    folder: Path

    def of(self, launcher: str) -> dict[str, dict[str, str]]:
        record = self.folder / f"{list(LAUNCHERS).index(launcher)}.json"
        if not record.exists():
            drawn = {"terrain": ["--output", str(self.picture(launcher))]} if launcher in COMPARED else {}
            programs = [[str(p), *SIZES[p.stem], "--check", *drawn.get(p.stem, ())] for p in EXAMPLES]
            run([*LAUNCHERS[launcher], "tests/in_one_process.py", str(record), json.dumps(programs)])
        return json.loads(record.read_text())

    def picture(self, launcher: str) -> Path:
        """Of the terrain."""
        return self.folder / f"{list(LAUNCHERS).index(launcher)}.png"


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return Outcomes(tmp_path_factory.mktemp("programs"))


def assert_right(example: str, out: str) -> None:
    assert re.search("^equal to (NumPy|scipy)$", out, re.M)
    assert re.search(rf"^Time elapsed for {example}: \d+\.\d{{6}} milliseconds$", out, re.M)


@pytest.mark.parametrize("example", [p.stem for p in EXAMPLES])
@pytest.mark.parametrize("launcher", WAYS)
def test_example(example: str, launcher: str, outcomes: Outcomes) -> None:
    outcome = outcomes.of(launcher)[example]
    assert not outcome["failed"], outcome["failed"]
    assert_right(example, outcome["printed"])


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_starts_a_program(launcher: str) -> None:
    """A process of its own."""
    assert_right("saxpy", run([*LAUNCHERS[launcher], "examples/saxpy.py", *SIZES["saxpy"], "--check"]))


def test_terrain_says_the_same_on_numpy_and_legate(outcomes: Outcomes) -> None:
    numbers, pictures = [], []
    for launcher in COMPARED:
        out = outcomes.of(launcher)["terrain"]["printed"]
        numbers.append([line for line in out.splitlines() if re.search("m rms| m, |cells|degrees", line)])
        pictures.append(outcomes.picture(launcher).read_bytes())
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 7
    assert pictures[0] == pictures[1]
    assert pictures[0][:8] == b"\x89PNG\r\n\x1a\n"
    assert len(pictures[0]) > 100_000


COUNTED = re.compile(r"^(?:hits|pi|population|glider|peaks|runs|digits|misread|colors|PSNR) .*", re.M)


@pytest.mark.parametrize("program", ["monte_carlo_pi", "life", "compaction", "digits", "palette"])
def test_what_is_counted_is_the_same_on_numpy_and_legate(program: str, outcomes: Outcomes) -> None:
    here, there = (COUNTED.findall(outcomes.of(launcher)[program]["printed"]) for launcher in COMPARED)
    assert here == there
    assert len(here) == 2


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_bodies_are_generic(example: Path) -> None:
    """No cupy anywhere, and no kernel body that looks at the device or the engine."""
    text = example.read_text()
    assert "cupy" not in text.replace("cuPyNumeric", "")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.args.args[:1] and node.args.args[0].arg == "xp":
            assert not [n for n in ast.walk(node) if isinstance(n, ast.If | ast.IfExp | ast.Import | ast.ImportFrom)]


random = np.random.default_rng(0)
LOW, HIGH, ROWS = -random.random(13), -random.random(13), random.random((13, 3))
GRID, HALF, KEYS = random.random((12, 10)), random.random((6, 5)), random.integers(0, 4, 13)
CHECKED = {
    "tridiagonal": {
        "continued": (LOW, 1 - LOW - HIGH, HIGH),
        "half_step": (ROWS, -LOW, -HIGH),
        "forward": (ROWS, LOW, 2 - LOW),
        "backward": (ROWS, HIGH, 2 - HIGH),
    },
    "filters": {
        "states": (ROWS, random.random((2, 2, 2)) / 2, random.random((2, 2))),
        "output": (ROWS, random.random((13, 2, 2, 3)), random.random(2)),
    },
    "multigrid": {
        "sweep": (GRID, GRID[::-1].copy(), 0.8),
        "residual": (GRID, GRID[::-1].copy()),
        "restrict": (GRID,),
        "corrected": (HALF, GRID),
        "dot": (GRID, GRID[::-1].copy()),
    },
    "groupby": {
        "totals": (ROWS, KEYS, 4),
        "deviations": (ROWS, KEYS, random.random((4, 3))),
        "spread": (ROWS, KEYS, 4),
    },
}


@pytest.mark.parametrize("example", CHECKED)
def test_kernels_with_scans_keys_and_windows_do_not_depend_on_tiles(example: str) -> None:
    program = runpy.run_path(str(ROOT / "examples" / f"{example}.py"))
    assert {name for name, value in program.items() if isinstance(value, Kernel)} == set(CHECKED[example])
    for name, args in CHECKED[example].items():
        assert check_partitioning(program[name], *args).tilings > 20


def test_readme_blocks_print_exactly_this() -> None:
    pairs = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(pairs) == 2
    for code, expected in pairs:
        assert run([sys.executable, "-c", code]) == expected


def test_all_options_are_shown() -> None:
    assert "--check" in run([sys.executable, "examples/fft.py", "--help"])
    assert "equal to NumPy" in run([sys.executable, "examples/fft.py", "--shape", "4", "8", "8", "--check"])
