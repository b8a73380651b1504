"""What may be loaded, unpickled and evaluated."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import xpdispatch as xd
from conftest import run_python
from xpdispatch import kernel
from xpdispatch.legate import nvidia_libraries as driver

PACKAGE = Path(xd.__file__).parent
ELF = b"\x7fELF"


def calls_in(path: Path) -> set[str]:
    """The names of all that a module calls, with what they are attributes of; not of calls without pickle."""
    tree = ast.parse(path.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {ast.unparse(c.func) for c in calls if "allow_pickle=False" not in map(ast.unparse, c.keywords)}


def users_of(*names: str) -> set[str]:
    """The modules that call one of these names."""
    return {path.name for path in PACKAGE.rglob("*.py") if calls_in(path) & set(names)}


# -- code and data --------------------------------------------------------------------------------------


def test_nothing_is_unpickled_from_files_or_the_network() -> None:
    """Only bytes that this very program pickled are, in one of its processes: in tasks, and what comes out of them."""
    readers = {"pickle.load", "pickle.Unpickler", "marshal.load", "shelve.open", "numpy.load", "np.load", "joblib.load"}
    assert users_of(*readers) == set()
    assert users_of("pickle.loads", "marshal.loads") <= {
        *("leaf.py", "rects.py", "failures.py", "scalars.py", "collective.py"),
        *("libraries.py", "trial.py"),  # the checks, which run a body on copies
    }
    imported = {
        (alias.name if isinstance(node, ast.Import) else str(node.module)).split(".")[0]
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not imported & {"socket", "http", "urllib", "ftplib", "multiprocessing", "requests"}


def test_nothing_is_evaluated() -> None:
    assert users_of("eval", "exec", "compile", "__import__", "os.system", "os.popen") == set()
    shells = {
        (path.name, ast.unparse(keyword.value))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "shell"
    }
    assert shells == set()


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "(lambda: 1)()",
        "n.__class__",
        "open('/etc/passwd')",
        "[1][0]",
        "n if n else 1",
        "1; import os",
        "n**n**n",
        "'a'*9",
        "f'{n}'",
        "n<<9",
        "n\0",
        "n//0",
        "9" * 10_000,
        "(" * 5000 + "n" + ")" * 5000,
        "-" * 5000 + "n",
        "+".join(["n"] * 20_000),
    ],
    ids=lambda text: text[:20],
)
def test_expressions_that_are_no_arithmetic_are_refused(expression: str) -> None:
    start = time.perf_counter()
    with pytest.raises((xd.XPDispatchError, MemoryError)):
        kernel(f"x[i] -> y[i, :{expression}]", dtype="x")(lambda xp, x, n: x)(np.ones(3), 3)
    assert time.perf_counter() - start < 5


def test_huge_extents_are_answered_at_once() -> None:
    power = "*".join(["n"] * 200)
    tall = kernel(f"x[i] -> y[i, :{power}]", dtype="x")(lambda xp, x, n: xp.zeros(n**200))
    start = time.perf_counter()
    with pytest.raises((xd.XPDispatchError, ValueError, MemoryError, OverflowError)):
        tall(np.ones(3), 10**300)
    assert time.perf_counter() - start < 5


# -- the driver's stand-in -------------------------------------------------------------------------------


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(driver, "has_driver", lambda: False)
    return tmp_path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_directories_of_the_stand_in_are_the_user_s_alone(cache: Path) -> None:
    old = os.umask(0)
    try:
        library = driver.shim()
    finally:
        os.umask(old)
    for directory in (library.parent, library.parent.parent, cache / "xpdispatch"):
        assert mode_of(directory) == 0o700
    assert mode_of(library) == 0o500
    (cache / "xpdispatch").chmod(0o777)
    driver.shim()
    assert mode_of(cache / "xpdispatch") == 0o700


@pytest.mark.parametrize("how", ["other content", "one byte", "truncated", "link", "hard link", "writable", "fifo"])
def test_a_hostile_file_in_the_place_of_the_stand_in_is_not_loaded(how: str, cache: Path) -> None:
    library = driver.shim()
    good = library.read_bytes()
    hostile = cache / "hostile.so"
    hostile.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    library.unlink()
    if how == "link":
        hostile.write_bytes(good)
        library.symlink_to(hostile)
    elif how == "hard link":
        library.hardlink_to(hostile)
    elif how == "fifo":
        os.mkfifo(library)
    else:
        library.write_bytes({"other content": b"hostile", "one byte": hostile.read_bytes()}.get(how, good[:100]))
        library.chmod(0o777 if how == "writable" else 0o500)
    made = driver.shim()
    assert made.read_bytes() == good
    assert stat.S_ISREG(made.lstat().st_mode)
    assert made.lstat().st_nlink == 1


def test_directories_of_others_and_links_are_not_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = cache / "elsewhere"
    elsewhere.mkdir()
    (cache / "xpdispatch").symlink_to(elsewhere)
    library = driver.shim()
    assert not library.resolve().is_relative_to(cache)
    assert library.read_bytes()[:4] == ELF
    assert not any(elsewhere.iterdir())
    (cache / "xpdispatch").unlink()
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)  # so it is another's
    assert not driver._private_directory("tag").is_relative_to(cache)


@pytest.mark.parametrize("home", ["/proc/none", "/dev/null/x"])
def test_a_home_that_cannot_be_written_leaves_nothing_behind(home: str) -> None:
    code = (
        "from xpdispatch.legate import nvidia_libraries as driver\n"
        "library = driver.shim()\n"
        "assert library.stat().st_mode & 0o777 == 0o500 and library.parent.stat().st_mode & 0o777 == 0o700\n"
        "print(library)\n"
    )
    done = run_python(code, XDG_CACHE_HOME=home)
    assert done.returncode == 0, done.stderr
    library = Path(done.stdout.strip())
    assert library.name == "libcuda.so.1"
    assert not library.exists(), "it goes with the process"


def test_several_processes_make_the_stand_in_at_once(cache: Path) -> None:
    code = (
        "import ctypes\nfrom xpdispatch.legate import nvidia_libraries\n"
        "path = nvidia_libraries.shim(); ctypes.CDLL(str(path)); print(path)"
    )
    line = [sys.executable, "-c", code]
    running = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=100) for process in running]
    assert all(process.returncode == 0 for process in running), answers
    assert len({out for out, _ in answers}) == 1
    assert [p.name for p in cache.rglob("*.so.1")] == ["libcuda.so.1"]
