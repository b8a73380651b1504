"""The journeys of docs/how-it-works.rst: the functions that a call goes through, in order, with their files."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from xpdispatch import kernel
from xpdispatch.testing import check_partitioning

ROOT = Path(xd.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "how-it-works.rst"
STEP = re.compile(r"^\s*\d+\. ``(\S+) \((\S+)\)``", re.MULTILINE)
MOST = 15

Functions = list[tuple[str, str]]


def journey(title: str) -> tuple[Functions, Functions]:
    """The functions of a journey, and those that a call goes through again."""
    text = re.split(rf"^{title}\n~+$", PAGE.read_text(), flags=re.MULTILINE)[1]
    text = re.split(r"^[~-]{3,}$", text, flags=re.MULTILINE)[0]
    steps: Functions = STEP.findall(text)
    assert 5 < len(steps) <= MOST
    again = re.search(r"Again: ([\d, ]+)\.", text)
    return steps, [steps[int(n) - 1] for n in again[1].split(",")] if again else []


@contextmanager
def followed(into: Functions) -> Iterator[None]:
    """Note down the package's functions in the order of their first calls, in this thread."""

    def called(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)):
            function = code.co_qualname, Path(code.co_filename).relative_to(ROOT).as_posix()
            if not function[0].endswith(">") and function not in into:
                into.append(function)

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        yield
    finally:
        sys.setprofile(before)


def assert_in_order(steps: Functions, called: Functions) -> None:
    assert not [step for step in steps if step not in called]
    assert sorted(steps, key=called.index) == steps


def saxpy() -> Any:
    @kernel("x[i], y[i] -> z[i]")
    def saxpy(xp, x, y, a):
        return a * x + y

    return saxpy


def first_and_third_call(made: Any, x: Any) -> tuple[Functions, Functions]:
    first: Functions = []
    third: Functions = []
    with followed(first):
        made(x, x, 2.0)
    made(x, x, 2.0)
    with followed(third):
        made(x, x, 2.0)
    return first, third


def test_a_call_in_this_process() -> None:
    steps, again = journey("A call in this process")
    first, third = first_and_third_call(saxpy(), np.arange(5.0))
    assert_in_order(steps, first)
    assert_in_order(again, third)
    assert len(third) <= MOST


def test_a_launch() -> None:
    import cupynumeric

    steps, again = journey("A launch")
    x = cupynumeric.arange(5.0)
    saxpy()(x, x, 2.0)  # Legate is there, and its engine
    first, third = first_and_third_call(saxpy(), x)
    xd.synchronize()
    assert_in_order(steps, first)
    assert_in_order(again, third)


def test_a_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    import cupynumeric

    from xpdispatch.legate import tasks

    called: list[Functions] = []
    make_leaf = tasks.make_leaf

    def make(definition: Any, variant: str) -> Any:
        leaf = make_leaf(definition, variant)

        def in_the_task(context: Any) -> None:
            called.append([])
            with followed(called[-1]):
                leaf(context)

        in_the_task.__name__ = leaf.__name__
        return in_the_task

    monkeypatch.setattr(tasks, "make_leaf", make)
    made, x = saxpy(), cupynumeric.arange(5.0)
    for _ in range(2):
        made(x, x, 2.0)
        xd.synchronize()
    steps, again = journey("A leaf")
    first, second = called
    assert_in_order(steps, first)
    assert_in_order(again, second)


def test_a_check() -> None:
    steps, again = journey("A check")
    called: Functions = []
    x = np.arange(5.0)
    with followed(called):
        check_partitioning(saxpy(), x, x, 2.0)
    assert_in_order(steps, called)
    assert not again
