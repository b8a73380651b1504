"""The package as such: the order of its packages, imports, the driver's stand-in and the shell."""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import xpdispatch
from conftest import run_python
from xpdispatch import kernel
from xpdispatch.legate import nvidia_libraries as driver
from xpdispatch.legate import startup
from xpdispatch.machine import hardware, memory
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.shell.cli import main

ROOT = Path(xpdispatch.__file__).parent
PACKAGES = [
    "errors",
    "folds",
    "machine",
    "language",
    "arrays",
    "planning",
    "running",
    "proving",
    "legate",
    "explain",
    "calling",
    "__init__",
    "testing",
    "shell",
    "__main__",
]
"""In the direction the data flows: each imports from those before it alone."""

BY_NAME = {
    "calling.runtime": {"cupynumeric"},  # array_module(), in a program that a Legate launcher started
    "running.generated": {"cupy"},  # for calls on CuPy arrays
    "shell.probes": {"legate"},  # a process of its own
    "shell.run": {"legate"},  # the launcher's words
}
"""Who outside of `legate` loads Legate, cuPyNumeric or CuPy by their names, and why."""

DOTTED = re.compile(r"[A-Za-z_]\w*(\.\w+)*\.?")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in ROOT.rglob("*.py")}


def package_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def written_in(text: str, module: str = "planning.plan") -> tuple[set[str], set[str]]:
    """What a module imports by statements, wherever they stand, and all names that its strings hold."""
    statements: set[str] = set()
    strings: set[str] = set()
    above = ["xpdispatch", *module.split(".")]
    if module not in MODULES or MODULES[module].name != "__init__.py":
        above.pop()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            statements |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = above[: len(above) + 1 - node.level] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            statements |= {f"{source}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
            strings.add(node.value)
    return statements, strings


def own_modules(names: set[str], module: str) -> set[str]:
    """The modules of this package behind dotted names; what a name adds to a module's is something in it."""
    found = set()
    for name in names:
        root, _, rest = name.partition(".")
        if root == "xpdispatch":
            parts = rest.rstrip(".").split(".")
            known = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
            found.add(next((m for m in known if m in MODULES), "__init__"))
    return found - {module}


def imports_of(text: str, module: str) -> set[str]:
    """The modules that a module imports: at its top, in functions, for type checkers only, or by name."""
    statements, strings = written_in(text, module)
    by_name = {name for name in strings if name.startswith("xpdispatch.")}
    return own_modules(statements, module) | (own_modules(by_name, module) - {"__init__"})


IMPORTS = {module: imports_of(path.read_text(), module) for module, path in MODULES.items()}


def test_a_package_imports_from_those_before_it_only() -> None:
    assert {package_of(module) for module in MODULES} == set(PACKAGES)
    for module, others in IMPORTS.items():
        before = PACKAGES[: PACKAGES.index(package_of(module)) + 1]
        wrong = sorted(other for other in others if package_of(other) not in before)
        assert not wrong, f"{module} imports {', '.join(wrong)}"


def test_a_package_says_what_enters_what_leaves_and_what_each_module_is_for() -> None:
    for module, path in MODULES.items():
        package, _, own = module.partition(".")
        if own:
            page = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
            assert re.search(rf"\b{own}\b", page), f"{package} says nothing of {own}"
            assert "enters" in page, path
            assert "leaves" in page, path


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = dict(IMPORTS)
    while free := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in free}
    while free := left.keys() - {other for others in left.values() for other in others}:
        left = {module: others for module, others in left.items() if module not in free}
    assert not sorted(left), "these import each other in a circle, or lie between two"


@pytest.mark.parametrize(
    "text",
    [
        "import xpdispatch.running.calls",
        "import xpdispatch.running.calls as here",
        "from xpdispatch.running.calls import prepare",
        "from xpdispatch.running import calls",
        "from ..running.calls import prepare",
        "from ..running import calls",
        "def late():\n    from xpdispatch.running import calls",
        "class Late:\n    def late(self):\n        import xpdispatch.running.calls",
        "if TYPE_CHECKING:\n    from xpdispatch.running.calls import Runner",
        "try:\n    pass\nexcept ImportError:\n    import xpdispatch.running.calls",
        "calls = import_module('xpdispatch.running.calls')",
        "ENGINES = {'local': ('xpdispatch.running.calls', 'prepare')}",
        "calls = sys.modules['xpdispatch.running.calls']",
    ],
)
def test_every_way_to_import_is_seen(text: str) -> None:
    assert imports_of(text, "planning.plan") == {"running.calls"}
    assert imports_of("module = import_module(f'xpdispatch.running.{name}')", "planning.plan") == {"running"}


def test_only_the_legate_engine_imports_legate() -> None:
    libraries = {"legate", "cupynumeric", "cupy"}
    by_name = {}
    for module, path in MODULES.items():
        if package_of(module) == "legate":
            continue
        statements, _ = written_in(path.read_text(), module)
        roots = {name.split(".")[0] for name in statements}
        assert not roots & libraries, module
        loaded = {
            str(call.args[0].value).split(".")[0]
            for call in ast.walk(ast.parse(path.read_text()))
            if isinstance(call, ast.Call)
            and ast.unparse(call.func).split(".")[-1] in ("import_module", "__import__", "load")
            and call.args
            and isinstance(call.args[0], ast.Constant)
        }
        if loaded & libraries:
            by_name[module] = loaded & libraries
    assert by_name == BY_NAME


def test_import_is_light() -> None:
    heavy = ["legate", "cupynumeric", "cupy", "torch", "jax", "array_api_strict", "scipy", "matplotlib"]
    own = ["xpdispatch.explain", "xpdispatch.shell", "xpdispatch.testing"]
    done = run_python(f"import sys, xpdispatch; print([m for m in {heavy + own} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_a_local_call_imports_nothing_heavy_either() -> None:
    done = run_python(
        "import sys, numpy as np, xpdispatch as xd\n"
        "k = xd.kernel('x[i] -> y[i]')(lambda xp, x: x + 1)\n"
        "k(np.ones(3)); xd.synchronize()\n"
        "print([m for m in ('legate', 'cupynumeric', 'cupy', 'torch') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("a * x + xp.where(x > y, xp.exp(x), xp.sum(y))", []),
        ("x + xp.asarray(y)", ["array_api_compat.numpy", "numpy.f2py"]),
    ],
)
def test_a_small_call_imports_what_it_runs_alone(body: str, found: list[str]) -> None:
    """All else takes longer than NumPy itself."""
    late = ["array_api_compat.numpy", "numpy.f2py", "xpdispatch.proving", "xpdispatch.running.traced"]
    done = run_python(
        "import sys, numpy as np, xpdispatch as xd\n"
        f"k = xd.kernel('x[i], y[i] -> z[i]')(lambda xp, x, y, a: {body})\n"
        "k(np.ones(3), np.ones(3), 2.0)\n"
        f"print([m for m in {late} if m in sys.modules])"
    )
    assert done.stdout.strip() == str(found), done.stderr


def test_version_and_typing_marker() -> None:
    assert xpdispatch.__version__ == "0.1.0"
    assert (ROOT / "py.typed").exists()
    assert set(xpdispatch.__all__) <= set(dir(xpdispatch))


def test_the_release_is_told_alike_everywhere() -> None:
    """In the package, the change log and the citation; and all of it goes into the source distribution."""
    checkout = Path(__file__).parents[1]
    citation = dict(re.findall(r'^([a-z-]+): "?([^"\n]+)"?$', (checkout / "CITATION.cff").read_text(), re.M))
    heading = f"## [{citation['version']}] - {citation['date-released']}"
    assert citation["version"] == xpdispatch.__version__
    assert re.findall(r"^## \[\d.*", (checkout / "CHANGELOG.md").read_text(), re.M)[0] == heading
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    assert citation["license"] == project["project"]["license"]
    included = {
        checkout / name.lstrip("/") for name in project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    }
    assert set(checkout.glob("[A-Z]*")) <= included
    assert all(path.exists() for path in included)


# -- the driver's stand-in ---------------------------------------------------------------------------

NO_DRIVER = pytest.mark.skipif(driver.has_driver(), reason="this machine has an NVIDIA driver")


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(driver, "has_driver", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_stand_in_is_private_and_made_once(no_driver: Path) -> None:
    library = driver.shim()
    assert library.is_relative_to(no_driver)
    assert stat.S_IMODE(library.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(library.stat().st_mode) == 0o500
    made = library.stat().st_mtime_ns
    assert driver.shim() == library
    assert library.stat().st_mtime_ns == made


def test_a_stand_in_that_others_can_write_is_made_anew(no_driver: Path) -> None:
    library = driver.shim()
    library.chmod(0o777)
    library.write_bytes(b"not a library")
    assert driver.shim().read_bytes()[:4] == b"\x7fELF"
    library.unlink()
    library.symlink_to("/etc/passwd")
    assert driver.shim().read_bytes()[:4] == b"\x7fELF"
    assert not library.is_symlink()


def test_a_home_that_cannot_be_written(no_driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert driver.shim().exists()


def test_without_a_compiler_the_error_says_what_to_install(no_driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(driver.shutil, "which", lambda name: None)
    with pytest.raises(
        ImportError, match="no C compiler was found(.|\n)*Hint: install a C compiler \\(apt-get install gcc"
    ):
        driver.shim()
    monkeypatch.setenv("CC", "false")
    with pytest.raises(ImportError, match="making the stand-in failed"):
        driver.shim()


_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@NO_DRIVER
@pytest.mark.skipif(
    not _PAGES.exists() or "[never]" in _PAGES.read_text(), reason="this system hands out no huge pages"
)
def test_arrays_on_legate_are_in_huge_pages() -> None:
    done = run_python(
        "import xpdispatch, cupynumeric\n"
        "x = cupynumeric.ones(1 << 23).copy()\n"
        "assert float(x.sum()) == 1 << 23\n"
        "huge, large = 0, False\n"
        "for line in open('/proc/self/smaps'):\n"
        "    first = line.split()[0]\n"
        "    if '-' in first:\n"
        "        start, stop = (int(end, 16) for end in first.split('-'))\n"
        "        large = stop - start >= 3000 << 20\n"
        "    elif first == 'AnonHugePages:' and large:\n"
        "        huge += int(line.split()[1])\n"
        "print('KiB', huge)",
        keep_config=False,
        LEGATE_CONFIG="--cpus 1 --gpus 0 --sysmem 3000",
    )
    assert int(done.stdout.split()[-1]) >= 64 << 10, done.stdout + done.stderr


def test_large_memory_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "7f0000000000-7f0010000000 rw-p 00000000 00:00 0 \n"
        "7f1000000000-7f1010000000 rw-p 00000000 00:00 17 /a file\n"
        "7f2000000000-7f2010000000 ---p 00000000 00:00 0 \n"
        "7f3000000000-7f3000100000 rw-p 00000000 00:00 0 \n"
        "7f4000000000-7f4004000000 rw-p 00000000 00:00 0 [heap]\n"
    )
    monkeypatch.setattr(memory, "_MAPPINGS", maps)
    assert memory.mappings() == {(0x7F0000000000, 0x7F0010000000), (0x7F4000000000, 0x7F4004000000)}
    maps.unlink()
    assert memory.mappings() == set()


def test_where_there_is_a_driver_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "has_driver", lambda: True)
    monkeypatch.setattr(driver, "_stands_in", False)  # where other tests have started Legate
    monkeypatch.setattr(driver, "shim", lambda: pytest.fail("the stand-in was asked for"))
    monkeypatch.setenv("LEGATE_CONFIG", "")
    monkeypatch.setenv("LEGION_DEFAULT_ARGS", "-ll:force_kthreads")
    startup.prepare()
    assert os.environ["LEGATE_CONFIG"] == ""
    assert os.environ["LEGION_DEFAULT_ARGS"] == "-ll:force_kthreads -lg:window 65536 -level threads=5"
    startup.prepare()
    assert os.environ["LEGION_DEFAULT_ARGS"] == "-ll:force_kthreads -lg:window 65536 -level threads=5"


def test_missing_flags_are_added_and_given_ones_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(hardware, "free_memory", lambda: 4 << 30)
    assert startup.missing_flags([]) == ["--gpus", "0", "--cpus", "2", "--sysmem", "3072"]
    assert startup.missing_flags(["--gpus=0", "--omps", "1"]) == []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert startup.missing_flags(["--sysmem", "100"]) == ["--gpus", "0"]
    assert startup.missing_flags(["--cpus", "3"]) == ["--gpus", "0", "--sysmem", "3072"]
    monkeypatch.setattr(hardware, "free_memory", lambda: 0)
    assert startup.missing_flags([]) == ["--gpus", "0"], "nobody knows how much is free"


@pytest.fixture
def lacks_a_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Legate whose plug-in links a library that the linker does not find, and NVIDIA's package with that library."""
    name = f"libcudart-of-{tmp_path.name}.so.1"  # once loaded, the linker would find it
    wheel, deps = tmp_path / "nvidia" / "cuda_runtime" / "lib", tmp_path / "legate" / "lib64" / "legate" / "deps"
    wheel.mkdir(parents=True)
    deps.mkdir(parents=True)
    source = tmp_path / "empty.c"
    source.write_text("int xpdispatch_none(void) { return 0; }")
    cc = [os.environ.get("CC", "cc"), "-shared", "-fPIC", str(source)]
    subprocess.run([*cc, f"-Wl,-soname,{name}", "-o", str(wheel / name)], check=True)
    linked = ["-Wl,--no-as-needed", str(wheel / name), "-o", str(deps / "libhdf5_vfd_gds.so.1")]
    subprocess.run([*cc, *linked], check=True)
    monkeypatch.setattr(driver, "_CUDA_RUNTIMES", {name: ("nvidia-cuda-runtime-cu12", "cuda_runtime/lib")})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(driver, "has_driver", lambda: True)
    return tmp_path


def test_a_cuda_runtime_that_legate_lacks_is_loaded_from_nvidias_wheel(lacks_a_runtime: Path) -> None:
    package = lacks_a_runtime / "legate"
    found = driver.cuda_runtime(package)
    assert found == next((lacks_a_runtime / "nvidia").rglob("*.so.1"))
    startup.prepare(package)
    assert str(found) in Path("/proc/self/maps").read_text()
    assert driver.cuda_runtime(package) is None, "now it is there"
    assert driver.cuda_runtime(lacks_a_runtime) is None, "a build without the plug-in"


def test_without_that_wheel_the_error_says_what_to_install(lacks_a_runtime: Path) -> None:
    next((lacks_a_runtime / "nvidia").rglob("*.so.1")).unlink()
    needs = "needs libcudart-of-.*(.|\n)*Hint: pip install 'nvidia-cuda-runtime-cu12'"
    with pytest.raises(ImportError, match=needs):
        startup.prepare(lacks_a_runtime / "legate")


def test_a_plug_in_that_fails_otherwise_is_left_to_legate(lacks_a_runtime: Path) -> None:
    package = lacks_a_runtime / "legate"
    next(package.rglob("*.so.1")).write_bytes(b"not a library")
    assert driver.cuda_runtime(package) is None


@NO_DRIVER
def test_the_stand_in_is_loaded_when_legate_is_imported_and_not_before() -> None:
    code = (
        "import xpdispatch\n"
        "def loaded(): return any('libcuda.so.1' in line for line in open('/proc/self/maps'))\n"
        "before = loaded()\n"
        "import importlib.util\n"
        "importlib.util.find_spec('legate')\n"
        "looked = loaded()\n"
        "import legate\n"
        "print(before, looked, loaded())\n"
    )
    done = run_python(code, LEGATE_CONFIG="")
    assert done.stdout.split() == ["False", "False", "True"], done.stderr


@NO_DRIVER
def test_plain_python_just_works() -> None:
    code = "import xpdispatch, cupynumeric; print(int(cupynumeric.arange(10).sum()))"
    environment = {k: v for k, v in os.environ.items() if k not in ("LEGATE_CONFIG", "LD_LIBRARY_PATH")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "45" in done.stdout.split(), done.stderr


# -- the machine ---------------------------------------------------------------------------------------


def test_a_cache_forgets_its_older_half_at_its_bound() -> None:
    cache = BoundedCache()
    cache.bound = 3
    for n in range(5):
        cache[n] = n
    assert list(cache) == [2, 3, 4]
    cache[5] = 5
    assert list(cache) == [4, 5]
    assert BoundedCache().bound == 256


def test_a_forked_child_holds_nothing_for_calls_of_its_parent() -> None:
    """A call that is interrupted twice leaves threads behind, which a child does not have."""
    done = run_python(
        "import gc, os, threading, warnings\n"
        "import xpdispatch\n"
        "from xpdispatch.machine import thread_pool as threads\n"
        "from xpdispatch.machine.collector import collector\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "threads.legate_runs = lambda: True\n"
        "wait = threading.Event()\n"
        "slow = threads._Worker()\n"
        "slow.lock.acquire()\n"
        "slow.tasks.put(wait.wait)\n"
        "slow.tasks.put(slow.lock.release)\n"
        "collector.hold()\n"
        "threads._left.append((None, [slow], True))\n"
        "threads._idle.append(threads._Worker())\n"
        "child = os.fork()\n"
        "wait.set()\n"
        "assert not threads._idle\n"
        "if child: slow.wait()\n"
        "states = []\n"
        "for _ in range(2):\n"
        "    threads.run_in_order(4, lambda k, first: states.append(gc.isenabled()), None, 2)\n"
        "assert states == 8 * [False] and gc.isenabled() and not threads._left, states\n"
        "os._exit(3) if child == 0 else print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert done.stdout == "3\n", done.stderr


# -- the shell -----------------------------------------------------------------------------------------


def test_run_takes_scripts_that_import_cupynumeric_first(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys, cupynumeric\nprint(int(cupynumeric.arange(10).sum()), sys.argv[1:])\nsys.exit(3)\n")
    command = [sys.executable, "-m", "xpdispatch", "run", "--cpus", "2", "--gpus", "0", str(script), "--size", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "45 ['--size', '5']" in done.stdout, done.stderr
    assert done.returncode == 3


def test_run_without_legate_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("xpdispatch.shell.run.find_spec", lambda name: None)
    assert main(["run", "script.py"]) == 1
    assert "pip install 'xpdispatch[legate]'" in capsys.readouterr().err


def test_version_in_the_shell(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == "xpdispatch 0.1.0\n"
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


# -- kernels as Python objects ---------------------------------------------------------------------------


def test_a_kernel_is_called_like_a_function() -> None:
    @kernel("x[i] -> y[i]")
    def scaled(xp, tile, x, factor=2.0, *, offset=0.0):
        return factor * x + offset

    np.testing.assert_array_equal(scaled(np.ones(2)), [2.0, 2.0])
    np.testing.assert_array_equal(scaled(x=np.ones(2), factor=3, offset=1), [4.0, 4.0])
    np.testing.assert_array_equal(scaled(np.ones(2), 3, offset=1), [4.0, 4.0])


def test_plans_are_bounded() -> None:
    made = kernel("x[i] -> y[i]")(lambda xp, x: x + 1)
    for n in range(5000):
        made(np.ones(n + 1))
    assert 2048 <= len(made._runners) <= 4096
