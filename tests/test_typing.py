"""Type checkers read kernels as tests/typing says: each line marked ``# wrong`` is an error, and no other is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import xpdispatch

CALLS = Path(__file__).parent / "typing" / "calls.py"
SOURCE = Path(xpdispatch.__file__).parent.parent
WRONG = {n for n, line in enumerate(CALLS.read_text().splitlines(), 1) if "# wrong" in line}


def lines_told(command: list[str]) -> tuple[set[int], str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=SOURCE.parent)
    told = done.stdout + done.stderr
    return {int(n) for n in re.findall(rf"{CALLS.name}:(\d+):(?:\d+)?[ -]+error", told)}, told


def test_mypy(tmp_path: Path) -> None:
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed: pip install 'xpdispatch[dev]'")
    config = tmp_path / "mypy.ini"
    path = "" if SOURCE.name == "site-packages" else f"mypy_path = {SOURCE}\n"  # where mypy looks by itself
    config.write_text(f"[mypy]\nstrict = True\n{path}cache_dir = {tmp_path}\nfollow_imports = silent\n")
    found, told = lines_told([sys.executable, "-m", "mypy", "--config-file", str(config), str(CALLS)])
    assert found == WRONG, told


def test_pyright(tmp_path: Path) -> None:
    command = shutil.which("pyright")
    if command is None:
        pytest.skip("pyright is not installed: pip install pyright")
    shutil.copy(CALLS, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{SOURCE}"]}}')
    found, told = lines_told([command, "--pythonpath", sys.executable, "--project", str(tmp_path)])
    assert found == WRONG, told
