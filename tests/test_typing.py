"""Type checkers read kernels as tests/typing says: each line marked ``# wrong`` is an error, and no other is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpdispatch
from xpdispatch.testing import suggest

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


BODY = """
def body(xp, x: Nowhere, *, n: int = 3) -> Nowhere:
    return n * x
"""
"""With an annotation that only a type checker knows."""


@pytest.mark.parametrize("future", [True, False], ids=["future annotations", "plain"])
def test_annotations_that_only_a_type_checker_knows(*, future: bool) -> None:
    made: dict[str, Any] = {}
    code = compile(
        ("from __future__ import annotations\n" if future else "") + BODY, "body.py", "exec", dont_inherit=True
    )
    if not future and sys.version_info < (3, 14):
        with pytest.raises(NameError):
            exec(code, made)
        return
    exec(code, made)
    triple = xpdispatch.kernel("x[i] -> y[i]", dtype=lambda x: x)(made["body"])
    triple.cpu_variant(made["body"])
    assert triple(np.ones(3)).tolist() == [3.0, 3.0, 3.0]
    assert list(triple.__annotations__) == ["x", "n", "return"]
    assert "Nowhere" in triple.__doc__
    assert str(suggest(made["body"], np.ones(3))) == "x[i] -> y[i]"
