"""What a user sees of a mistake: the caller's line, the body's and the message, in 15 lines at most, none of ours."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import run_python
from xpdispatch import kernel
from xpdispatch.calling import local

import cupynumeric  # isort: skip  after xpdispatch, which makes it importable without a driver

from xpdispatch.legate import fences  # isort: skip

OURS = str(Path(xd.__file__).parent)
MOST = 15


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("x[i] -> max hi[]")
def highest(xp, x):
    return xp.max(x)


@kernel("*xs[i] -> y[i]")
def added(xp, *xs):
    return xs[0] + xs[1]


@kernel("x[i] -> y[i]", dtype="x")
def fails(xp, x):
    return helper(x)


def helper(x):
    return x.nothing


def helper_of(xp, x):
    return helper(x)


def within_timed(arrays: Any) -> None:
    with xd.timed():
        fails(arrays.ones(3))


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "a shape": lambda a: saxpy(a.ones(3), a.ones(4), 1.0),
    "a list": lambda a: saxpy(a.ones(3), [1.0], 1.0),
    "a missing argument": lambda a: saxpy(a.ones(3)),
    "out= of another shape": lambda a: saxpy(a.ones(3), a.ones(3), 1.0, out=a.ones(4)),
    "out= of another dtype": lambda a: saxpy(a.ones(3), a.ones(3), 1.0, out=a.ones(3, dtype=int)),
    "a dtype without an order": lambda a: highest(a.ones(3) * 1j),
    "starred operands": lambda a: added(a.ones(3), a.ones(4)),
    "no operands": lambda _: added(),
    "a notation": lambda _: kernel("x[i] -> y[j]")(saxpy.__wrapped__),
    "an explanation": lambda a: saxpy.explain(a.ones(3), a.ones(4), 1.0),
    "a body": lambda a: kernel("x[i] -> y[i]")(helper_of)(a.ones(3)),
    "a body, on tiles": lambda a: xd.to_numpy(fails(a.ones(4_000_000))),
    "a body, until synchronize()": lambda a: (fails(a.ones(3)), xd.synchronize()),
    "a body, until a copy": lambda a: xd.to_numpy(fails(a.ones(3))),
    "a body, within timed()": within_timed,
    "a body, into NumPy's": lambda a: fails(a.ones(3), out=np.ones(3)),
    "a body, at once": lambda a: kernel("x[i] -> y[i]", dtype="x", on_error="immediate")(helper_of)(a.ones(3)),
}


@pytest.mark.parametrize("arrays", [np, cupynumeric], ids=["NumPy", "Legate"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_traceback_has_the_caller_s_line_the_body_s_and_the_message(mistake: str, arrays: ModuleType) -> None:
    with pytest.raises((xd.XPDispatchError, AttributeError)) as caught:
        MISTAKES[mistake](arrays)
        xd.synchronize()
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [f.filename for f in frames if f.filename.startswith(OURS)] == []
    assert frames[1].filename == __file__
    lines = "".join(traceback.format_exception(caught.value)).splitlines()
    assert len(lines) <= MOST + 3, "with three of this test's own"
    if isinstance(caught.value, AttributeError):
        assert any("return x.nothing" in line for line in lines)


def test_what_is_nobody_s_mistake_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "all_given", partial(int, "ours"))
    with pytest.raises(TypeError, match="int") as caught:
        kernel("x[i] -> y[i]")(helper_of)(np.ones(3))
    assert [entry.name for entry in caught.traceback][-3:] == ["prepare", "prepare", "__init__"]
    monkeypatch.setattr(fences, "_settle", partial(int, "ours"))
    with pytest.raises(ValueError, match="ours") as caught:
        xd.synchronize()
    assert [entry.name for entry in caught.traceback][-2:] == ["_wait", "synchronize"]


PROGRAM = """
import numpy as np, xpdispatch as xd
from xpdispatch import kernel
import {arrays} as a

@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, s):
    return s * x + y

@kernel("x[i] -> max hi[]")
def highest(xp, x):
    return xp.max(x)

@kernel("x[i] -> y[i]", dtype="x")
def fails(xp, x):
    smallest = xp.min(x)
    largest = xp.max(x)
    return x.nothing / (largest - smallest)

x = a.ones(100)
"""
CELLS = (
    "saxpy(x, a.ones(101), 1.0)",
    "highest(x * 1j)",
    "fails(x); 0",
    "fails(x)\nxd.synchronize()",
    "xd.to_numpy(fails(x))",
    "with xd.timed():\n    fails(x)",
    "fails(x, out=np.ones(100))",
    "kernel('x[i] -> y[j]')(saxpy.__wrapped__)",
)


@pytest.mark.parametrize("arrays", ["numpy", "cupynumeric"])
def test_in_a_notebook_too(arrays: str) -> None:
    done = run_python(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(colors='nocolor')\n"
        f"for text in {[PROGRAM.format(arrays=arrays), *CELLS]!r}:\n"
        "    print('next cell')\n"
        "    shell.run_cell(text, store_history=True)\n"
    )
    _, first, *shown = done.stdout.split("next cell\n")
    assert first == "", done.stdout + done.stderr
    assert len(shown) == len(CELLS)
    for number, (cell, text) in enumerate(zip(CELLS, shown, strict=True), 2):
        assert len(text.splitlines()) <= MOST + 1, text  # the line of dashes above
        assert f"Cell In[{number}]" in text
        assert OURS not in text
        assert "ipython-input" not in text
        if "fails" in cell:
            assert "return x.nothing / (largest - smallest)" in text
            assert "in kernel 'fails', tile i = 0:100 of 100, variant CPU" in text


def test_at_the_end_of_a_program_too(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    text = PROGRAM.format(arrays="cupynumeric") + "fails(x)\n"
    script.write_text(text)
    done = run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) <= MOST, done.stderr
    assert lines[0] == "AttributeError: 'numpy.ndarray' object has no attribute 'nothing'"
    assert f"called at {script}:{text.count(chr(10))}" in lines
    assert OURS not in done.stderr


def test_what_the_caller_is_handling_keeps_its_frames() -> None:
    """A dry run in which the body raises is passed over, and with it the exceptions of the body alone."""

    @kernel("x[i] -> y[i]", guard=False)
    def scaled(xp, x):
        if x.size < 1000:
            try:
                raise KeyError("the body's own")
            except KeyError as error:
                raise TypeError("on a stand-in") from error
        return 2 * x

    def own() -> None:
        raise ValueError("the caller's own")

    with pytest.raises(ValueError, match="the caller's own") as caught:
        try:
            own()
        except ValueError:
            scaled(np.ones(1 << 20))
            raise
    assert caught.traceback[-1].name == "own"
