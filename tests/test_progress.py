"""Long work shows a bar on a terminal, and says nothing elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import xpdispatch as xd
from xpdispatch.machine import progress
from xpdispatch.machine.progress import progress_bar

ROOT = Path(__file__).parents[1]
SOURCE = Path(xd.__file__).parent.parent
SLOW = """
import time
import numpy as np
from xpdispatch import kernel
from xpdispatch.machine import progress
from xpdispatch.testing import check_kernel, checking, suggest

progress._AFTER = 0.1

@kernel("x[i] -> y[i]")
def slow(xp, x):
    time.sleep(0.01)
    return xp.sin(x)

if __name__ == "__main__":
    with checking(engines=("numpy",), seconds=3):
        print(check_kernel(slow, np.arange(9.0)))
    with checking(seconds=1):
        print(suggest(slow, np.arange(9.0)))
"""


def on_a_terminal(command: list[str], tmp_path: Path) -> tuple[str, str, int]:
    """What a program writes to standard output, which is not a terminal, and to a terminal,
    colors left out; and its status."""
    ours, theirs = pty.openpty()
    shown = b""
    with (tmp_path / "output").open("w+") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=theirs, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(SOURCE), "TERM": "xterm", "COLUMNS": "100"},
        )  # fmt: skip
        os.close(theirs)
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
        status = child.wait(timeout=60)
        os.close(ours)
        output.seek(0)
        return output.read(), re.sub(r"\x1b\[[\d;?]*[A-JL-Za-z]", "", shown.decode()), status


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    path = tmp_path / "slow.py"
    path.write_text(SLOW)
    return path


def test_checks_from_python_show_a_bar_on_a_terminal(slow: Path, tmp_path: Path) -> None:
    output, shown, status = on_a_terminal([sys.executable, str(slow)], tmp_path)
    assert status == 0, shown
    assert "small integers ━" in shown
    assert "sets of axes, together ━" in shown, "suggest shows one, too"
    assert "\x1b[2K" in shown, "in the end it is taken away"
    assert "right under" in output
    assert "x[i] -> y[i]" in output
    assert "━" not in output


def test_checks_in_the_shell_show_a_bar_on_a_terminal(slow: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xpdispatch", "check", f"{slow}:slow", "x=9", "--seconds", "3"]
    output, shown, status = on_a_terminal(command, tmp_path)
    assert status == 0, shown
    assert "small integers ━" in shown
    assert "right under" in output


def test_they_are_quiet_where_there_is_no_terminal(slow: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(slow)], capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2


class Terminal:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        pass


@contextmanager
def a_terminal() -> Iterator[Terminal]:
    with pytest.MonkeyPatch.context() as patch:
        found = Terminal()
        patch.setattr(sys, "stderr", found)
        patch.setenv("TERM", "xterm")
        patch.setattr(progress, "_EVERY", 0.0)
        yield found


def test_one_bar_at_a_time() -> None:
    with a_terminal() as terminal:
        with progress_bar(after=0.0) as outer:
            outer(1, 4, "outer")
            with progress_bar(after=0.0) as inner:
                inner(1, 2, "inner")
        assert "outer" in terminal.text
        assert "inner" not in terminal.text
        with progress_bar(after=0.0) as later:
            later(1, 2, "later")
        assert "later" in terminal.text


def test_short_work_shows_nothing() -> None:
    with a_terminal() as terminal, progress_bar() as tell:
        for n in range(100):
            tell(n, 100, "short")
    assert terminal.text == ""


def test_without_rich_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    with a_terminal() as terminal, progress_bar(after=0.0) as tell:
        tell(1, 2, "no bar")
    assert terminal.text == ""


def test_a_notebook_shows_a_bar_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not progress._can_show(), "standard error of this test is not a terminal"
    module = ModuleType("IPython")
    shell = type("ZMQInteractiveShell", (), {})()
    module.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setattr(progress, "find_spec", lambda name: None if name == "ipywidgets" else SimpleNamespace())
    assert not progress._can_show(), "rich would warn that it has no ipywidgets"
    monkeypatch.setattr(progress, "find_spec", lambda name: SimpleNamespace())
    assert progress._can_show()
    shell = None
    assert not progress._can_show()


def test_the_table_of_benchmarks_shows_a_bar(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        f"import sys, time\nsys.path.insert(0, {str(ROOT / 'benchmarks')!r})\nimport table\n"
        "table.find_spec = lambda name: None\n"
        "def sides(name):\n"
        "    time.sleep(1.5)\n"
        "    return {'1 thread': int, '2 threads': int, 'NumPy': int}\n"
        "table.local_sides = sides\n"
        "table.main()\n"
    )
    command = [sys.executable, str(script), "--rounds", "1", "--only", "copy", "saxpy", "fft2"]
    output, shown, status = on_a_terminal(command, tmp_path)
    assert status == 0, shown
    assert "fft2, here ━" in shown
    assert "our time over theirs" in output
