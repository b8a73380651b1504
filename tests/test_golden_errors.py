"""Every message word by word, as somebody meets it who is new here: tests/golden_errors.txt.

That file holds what is typed and what is answered. ``python tests/test_golden_errors.py`` writes the answers anew, and
tells which places that raise no case reaches. Read what changed as someone in a hurry: does it say what to do?
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import conftest  # noqa: F401  chooses Legate's configuration
import xpdispatch as xd
from xpdispatch import errors
from xpdispatch.arrays import namespaces
from xpdispatch.calling import engines
from xpdispatch.proving.trial import Fault
from xpdispatch.shell.cli import main

GOLDEN = Path(__file__).parent / "golden_errors.txt"
SOURCE = Path(xd.__file__).parent
KINDS = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, xd.XPDispatchError)}
MAKERS = KINDS | {"Fault"}
IN_THE_PARSER = {"fail", "expect", "integer", "name"}
OF_THE_BODY = {"BodyError", "IndexError", "ZeroDivisionError"}
FILES = {
    "broken": "import numpy as np\nnp.no_such_function\n",
    "plain": "def saxpy(xp, x):\n    return x\n",
    "needs_more": "import no_such_package\n",
}
ELSEWHERE = {
    "legate/nvidia_libraries.py:_compile": "there is a compiler here: tests/test_package.py",
    "legate/nvidia_libraries.py:cuda_runtime": "Legate finds its CUDA runtime here: tests/test_package.py",
    "arrays/dtypes.py:np_dtype": "torch and JAX have dtypes that NumPy lacks, and need not be here",
    "arrays/reductions.py:scattered": "dask, sparse and the like need not be here: tests/test_keys.py",
    "running/results.py:values_of": "JAX arrays cannot be written: tests/test_libraries.py",
    "legate/agreement.py:check": "there is one process: tests/test_several_processes.py",
    "legate/companions.py:check": "several processes, of a Legate that lacks something: tests/test_shell.py",
    "shell/run.py:legate_command": "several processes without a launcher: tests/test_shell.py",
    "legate/engine.py:": "Legate is installed, and was started from the main thread: tests/test_legate.py",
    "legate/failures.py:describe": "an exception that cannot be described: tests/test_legate.py",
    "legate/failures.py:_revived": "an exception of another process that is none here",
    "legate/releases.py:interface_of": "an earlier release of cuPyNumeric",
    "legate/releases.py:cutting": "an earlier release of Legate: tests/test_legate.py",
    "legate/stores.py:hold": "a Legate type that arrays cannot have: tests/test_legate_tasks.py",
    "legate/stores.py:_column_of": "a masked array of Legate's: tests/test_legate_tasks.py",
    "legate/stores.py:check_wrappable": "cuPyNumeric is installed",
    "legate/tasks.py:_registered": "a hundred thousand kernels",
}
"""What no case can reach, by file and function, and why; where a test is named, it matches the message."""


@dataclass(frozen=True)
class Case:
    """A block of the file: perhaps a headline, what is typed, and what is answered."""

    head: str
    typed: str
    answer: str

    def __str__(self) -> str:
        typed = self.typed if self.typed.startswith("$") else re.sub("^", ">>> ", self.typed, flags=re.M)
        return f"{self.head}{typed}\n{self.answer}".rstrip()


def read() -> list[Case]:
    cases = []
    for block in GOLDEN.read_text().strip("\n").split("\n\n\n"):
        head, typed, answer = re.fullmatch(r"(# .*\n\n)?((?:>>> .*(?:\n|$))+|\$ .*(?:\n|$))((?:.|\n)*)", block).groups()
        cases.append(Case(head or "", re.sub("^>>> ", "", typed, flags=re.M).strip("\n"), answer))
    return cases


class Places:
    """The places in the sources that made an error of ours while this watched."""

    def __init__(self) -> None:
        self.found: set[tuple[str, int]] = set()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        with (
            patch.object(xd.XPDispatchError, "__init__", self._noting(xd.XPDispatchError.__init__)),
            patch.object(Fault, "__init__", self._noting(Fault.__init__)),
        ):
            yield

    def _noting(self, init: Any) -> Any:
        def noting(error: Any, *args: Any, **kwargs: Any) -> None:
            frame = sys._getframe(1)
            for _ in range(4):  # a helper, and who called it
                path = Path(frame.f_code.co_filename)
                if path.is_relative_to(SOURCE):
                    self.found.add((str(path.relative_to(SOURCE)), frame.f_lineno))
                frame = frame.f_back or frame
            init(error, *args, **kwargs)

        return noting

    def missed(self) -> list[tuple[str, int, str]]:
        """File, line and function of each call that makes an error and was not seen."""
        missed = []
        for path in SOURCE.rglob("*.py"):
            name = str(path.relative_to(SOURCE))
            lines = {line for file, line in self.found if file == name}
            tree = ast.parse(path.read_text())
            functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
            for node in ast.walk(tree) if name != "errors.py" else ():
                makers = MAKERS | IN_THE_PARSER if name == "language/notation.py" else MAKERS
                if not isinstance(node, ast.Call) or _callee(node) not in makers:
                    continue
                own = range(node.lineno, node.end_lineno + 1)
                around = [f.name for f in functions if f.lineno <= node.lineno <= f.end_lineno]
                if not lines & set(own):
                    missed.append((name, node.lineno, around[-1] if around else ""))
        return sorted(missed)


def _callee(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def answers(cases: list[Case]) -> tuple[list[Case], Places]:
    """The cases with what is answered now. The first one makes the kernels that all others use."""
    places = Places()
    with TemporaryDirectory() as folder, places.watched():
        for name, text in {"kernels": cases[0].typed, **FILES}.items():
            Path(folder, f"{name}.py").write_text(text)
        return [
            cases[0],
            *(replace(case, answer=answer(case.typed, cases[0].typed, folder)) for case in cases[1:]),
        ], places


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """What ``xpdispatch run --engine local`` changes in its process, which ends with the program."""
    with patch.dict(os.environ), patch.dict(engines.instead), pytest.MonkeyPatch.context() as process:
        for name in ("argv", "meta_path", "path"):
            process.setattr(sys, name, [*getattr(sys, name)])
        yield


def answer(typed: str, kernels: str, folder: str) -> str:
    said = io.StringIO()
    if typed.startswith("$ xpdispatch"):
        with kept(), contextlib.chdir(folder), contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            try:
                status = main(shlex.split(typed.removeprefix("$ xpdispatch")))
            except SystemExit as stop:
                status = stop.code
        for name in ("kernels", *FILES):
            sys.modules.pop(name, None)
        # Its usage, and how it lists choices, is argparse's own, which changes from release to release.
        own = re.sub(r"^usage:(.|\n)*?(?=^xpdispatch.*: error)| \(choose from .*\)", "", said.getvalue(), flags=re.M)
        text = f"{own.rstrip()}\n(status {status})"
    else:
        text = "(no error)"
        names: dict[str, Any] = {"__name__": "typed"}
        exec(compile(kernels, "<typed>", "exec", dont_inherit=True), names)
        registry = patch.object(namespaces, "registered", namespaces.registered)
        with registry, pytest.MonkeyPatch.context() as names["environment"], np.errstate(all="ignore"):
            try:
                exec(compile(typed, "<typed>", "exec", dont_inherit=True), names)
            except Exception as error:
                text = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
        namespaces.namespace_for.cache_clear()
    text = text.replace(folder, "FOLDER").replace(str(SOURCE), "xpdispatch")
    text = re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"'[^']*/golden_errors.txt'", "", text))
    return re.sub(r"\n{2,}", "\n", re.sub(r"[ \t]+$", "", text, flags=re.M))


# -- tests ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def now() -> tuple[list[Case], Places]:
    return answers(read())


def test_messages_are_word_by_word_what_they_were(now: tuple[list[Case], Places]) -> None:
    for before, after in zip(read(), now[0], strict=True):
        assert str(after) == str(before), "python tests/test_golden_errors.py writes the file anew"


def test_each_says_what_to_do(now: tuple[list[Case], Places]) -> None:
    for case in now[0][1:]:
        kind = case.answer.split(":")[0]
        assert "\nHint: " in case.answer or case.answer.endswith("(status 2)") or kind in OF_THE_BODY, str(case)


def test_each_kind_of_error_is_there(now: tuple[list[Case], Places]) -> None:
    met = {case.answer.split(":")[0] for case in now[0]}
    assert KINDS - met == {"XPDispatchError"}


def test_each_place_that_raises_is_there(now: tuple[list[Case], Places]) -> None:
    missed = {f"{name}:{function}" for name, _, function in now[1].missed()}
    assert missed == set(ELSEWHERE)


def regenerate() -> None:
    cases, places = answers(read())
    GOLDEN.write_text("\n\n\n".join(map(str, cases)) + "\n")
    for name, line, function in places.missed():
        print(f"{name}:{line} {function}: no case reaches it")


if __name__ == "__main__":
    regenerate()
