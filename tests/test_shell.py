"""The shell: ``xpdispatch doctor`` and ``xpdispatch run``, on real Legate and where things are missing."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xpdispatch as xd
from xpdispatch.calling import engines
from xpdispatch.legate import companions, startup
from xpdispatch.legate import nvidia_libraries as driver
from xpdispatch.machine import hardware as machine
from xpdispatch.shell import run as cli_run
from xpdispatch.shell.cli import main
from xpdispatch.shell.doctor import Diagnosis, Finding, diagnose, sections
from xpdispatch.shell.run import engine_of, legate_command

NO_DRIVER = pytest.mark.skipif(driver.has_driver(), reason="this machine has an NVIDIA driver")
OWN = ("LEGATE_CONFIG", "LEGION_DEFAULT_ARGS", "LD_LIBRARY_PATH")


def shell(*words: str, text: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """``xpdispatch`` in a process of its own, without this suite's settings of Legate."""
    clean = {k: v for k, v in os.environ.items() if k not in OWN}
    line = [sys.executable, "-m", "xpdispatch", *words]
    return subprocess.run(
        line, capture_output=True, text=True, timeout=120, check=False, input=text, env={**clean, **environment}
    )


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    def write(code: str) -> str:
        path = tmp_path / "script.py"
        path.write_text(code)
        return str(path)

    return write


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in OWN:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


# -- run: the command line that Legate's launcher gets ------------------------------------------------------


SEVERAL = ["--nodes", "2", "--ranks-per-node", "2", "--launcher", "srun", "--launcher-extra=-A=lab", "--gpus", "4"]


@pytest.fixture
def network(clean: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Legate that can run as several processes, and Open MPI."""
    clean.setattr(cli_run, "networks", lambda: ["ucx"])
    clean.setattr(cli_run, "is_open_mpi", lambda: True)
    clean.setattr(companions, "version_of", lambda name: {"legate": "26.1.0", "libucx-cu12": "1.19.0"}[name])
    clean.setattr(companions, "_has_mpi", lambda: True)
    clean.setattr(companions.shutil, "which", lambda name: f"/usr/bin/{name}")
    clean.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    return clean


def test_flags_for_several_nodes_arrive_as_they_are(network: pytest.MonkeyPatch) -> None:
    """Nothing of this machine, which may be a login node, is put into a program on others."""
    clean = network
    clean.setattr(driver, "has_driver", lambda: False)
    clean.setattr(driver, "shim", lambda: pytest.fail("the stand-in was asked for"))
    line, environment = legate_command([*SEVERAL, "not_here.py", "--gpus", "x"])
    assert line[1:] == ["-m", "legate.driver.driver_exec", *SEVERAL, "not_here.py", "--gpus", "x"]
    assert "LEGATE_CONFIG" not in environment
    assert "LD_LIBRARY_PATH" not in environment
    assert "-lg:window 65536" in environment["LEGION_DEFAULT_ARGS"]
    assert "gpu=" not in environment["LEGION_DEFAULT_ARGS"]
    assert environment["UCX_LOG_LEVEL"] == "error"
    assert "REALM_DEFAULT_ARGS" not in environment


def test_legates_launcher_makes_of_them_what_it_makes_of_its_own(network: pytest.MonkeyPatch) -> None:
    import legate.install_info
    from legate.driver import Config, LegateDriver
    from legate.util.system import System

    network.setattr(legate.install_info, "networks", ["ucx"])
    line, _ = legate_command([*SEVERAL, "script.py", "--size", "5"])
    made = LegateDriver(Config(["legate", *line[3:]]), System())
    assert made.cmd[:6] == ("srun", "-n", "4", "--ntasks-per-node", "2", "-A=lab")
    assert made.cmd[-4:] == ("python", "script.py", "--size", "5")
    assert made.env["LEGATE_CONFIG"].startswith("--gpus 4")
    assert "--sysmem" not in made.env["LEGATE_CONFIG"]


def test_what_nobody_says_is_chosen(clean: pytest.MonkeyPatch, script: Callable[[str], str]) -> None:
    path = script("")
    clean.setattr(driver, "has_driver", lambda: False)
    clean.setattr(machine, "free_memory", lambda: 8 << 30)
    clean.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    def chosen(*flags: str, config: str = "") -> str:
        clean.setenv("LEGATE_CONFIG", config)
        line, environment = legate_command([*flags, path, "--sysmem", "1"])
        assert line[3:] == [*flags, path, "--sysmem", "1"]
        assert str(driver.shim().parent) in environment["LD_LIBRARY_PATH"]
        assert environment["PATH"].startswith(str(Path(sys.executable).parent))
        return environment["LEGATE_CONFIG"]

    assert chosen() == "--gpus 0 --cpus 2 --sysmem 6144"
    assert chosen("--cpus", "1") == "--gpus 0 --sysmem 6144"
    assert chosen("--sysmem=100", "--cpus=2", "--gpus=0") == ""
    assert chosen(config="--cpus 1 --sysmem 99") == "--cpus 1 --sysmem 99 --gpus 0"
    assert chosen("--omps", "1") == "--gpus 0"


def test_with_a_driver_legate_chooses(clean: pytest.MonkeyPatch, script: Callable[[str], str]) -> None:
    clean.setattr(driver, "has_driver", lambda: True)
    _, environment = legate_command([script("")])
    assert "LEGATE_CONFIG" not in environment
    assert environment["LEGION_DEFAULT_ARGS"] == "-lg:window 65536 -level threads=5"


TWO = ["--ranks-per-node", "2", "--launcher", "mpirun"]


def test_several_processes_on_this_machine_get_what_they_need(
    network: pytest.MonkeyPatch, script: Callable[[str], str]
) -> None:
    network.setattr(driver, "has_driver", lambda: False)
    network.setattr(machine, "free_memory", lambda: 8 << 30)
    network.setattr(os, "geteuid", lambda: 0)
    path = script("")
    line, environment = legate_command([*TWO, path])
    assert line[3:] == ["--launcher-extra=--oversubscribe", *TWO, path]
    assert environment["LEGATE_CONFIG"] == "--gpus 0 --cpus 1 --sysmem 3072"
    assert environment["OMPI_ALLOW_RUN_AS_ROOT"] == environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] == "1"
    assert environment["OMPI_MCA_mpi_yield_when_idle"] == "1"
    assert environment["REALM_DEFAULT_ARGS"] == "-ll:bgwork 1"
    assert environment["UCX_WARN_UNUSED_ENV_VARS"] == "n"
    assert "LEGATE_MIN_CPU_CHUNK" not in environment
    network.setattr(companions, "release_of", lambda _: (26, 1))
    assert legate_command([*TWO, path])[1]["LEGATE_MIN_CPU_CHUNK"] == "1024"
    assert str(driver.shim().parent) in environment["LD_LIBRARY_PATH"]
    assert "OMPI_MCA_mpi_warn_on_fork" in environment
    for name, value in (("REALM_DEFAULT_ARGS", "-ll:bgwork 3"), ("UCX_LOG_LEVEL", "info")):
        network.setenv(name, value)
    network.setattr(os, "geteuid", lambda: 1000)
    network.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    network.setattr(cli_run, "is_open_mpi", lambda: False)
    line, environment = legate_command([*TWO, "--cpus", "2", path])
    assert line[3:] == [*TWO, "--cpus", "2", path]
    assert environment["LEGATE_CONFIG"] == "--gpus 0 --sysmem 3072"
    assert environment["REALM_DEFAULT_ARGS"] == "-ll:bgwork 3", "what the user sets stays"
    assert environment["UCX_LOG_LEVEL"] == "info"
    assert "OMPI_ALLOW_RUN_AS_ROOT" not in environment
    assert "OMPI_MCA_mpi_yield_when_idle" not in environment, "there are four cores for each"


@pytest.mark.parametrize(
    ("given", "said", "remedy"),
    [
        ({"networks": []}, "Legate 26.1.0 was built without a network", "pip install 'legate==26.1.*'"),
        ({"ucx": "1.22.0"}, "ends when several processes of it start with libucx-cu12 1.22.0", "libucx-cu12==1.19.*"),
        ({"which": None}, "there is no program 'mpirun' here", "apt-get install"),
        ({"mpi": False}, "Legate loads libmpi.so, which the linker does not find", "libopenmpi-dev"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_several_processes_lack_is_said(
    given: dict[str, Any], said: str, remedy: str, network: pytest.MonkeyPatch, script: Callable[[str], str]
) -> None:
    if "networks" in given:
        network.setattr(cli_run, "networks", lambda: given["networks"])
    if "ucx" in given:
        network.setattr(companions, "version_of", lambda name: given["ucx"] if "ucx" in name else "26.1.0")
    if "which" in given:
        network.setattr(companions.shutil, "which", lambda name: None)
    if "mpi" in given:
        network.setattr(companions, "_has_mpi", lambda: given["mpi"])
    with pytest.raises(xd.MissingError, match=re.escape(said)) as caught:
        legate_command([*TWO, script("")])
    assert remedy in str(caught.value.hint)


def test_several_processes_need_a_launcher(network: pytest.MonkeyPatch, script: Callable[[str], str]) -> None:
    with pytest.raises(xd.ArgumentError, match="nothing starts 2 processes") as caught:
        legate_command(["--ranks-per-node", "2", script("")])
    assert "--launcher mpirun" in str(caught.value.hint)
    network.setenv("OMPI_COMM_WORLD_SIZE", "2")  # this line is what mpirun starts
    assert legate_command(["--ranks-per-node", "2", script("")])[0][3:5] == ["--ranks-per-node", "2"]


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, (1, 1, 0)),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, (1, 1, 0)),
        (
            {"OMPI_COMM_WORLD_SIZE": "6", "OMPI_COMM_WORLD_LOCAL_SIZE": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "2"},
            (6, 3, 2),
        ),
        ({"PMI_SIZE": "4", "MPI_LOCALNRANKS": "4", "MPI_LOCALRANKID": "1"}, (4, 4, 1)),
        (
            {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_LOCALID": "3"},
            (8, 4, 3),
        ),
        ({"SLURM_STEP_NUM_TASKS": "8"}, (8, 1, 0)),
        ({"SLURM_NTASKS": "8", "SLURM_TASKS_PER_NODE": "8", "SLURM_LOCALID": "0"}, (1, 1, 0)),  # in a job's script
    ],
)
def test_a_process_knows_its_place(
    variables: dict[str, str], place: tuple[int, ...], clean: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        clean.setenv(name, value)
    assert companions.place() == place


def test_processes_of_one_machine_share_its_cores(clean: pytest.MonkeyPatch) -> None:
    taken: list[list[int]] = []
    clean.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4})
    clean.setattr(os, "cpu_count", lambda: 5)
    clean.setattr(os, "sched_setaffinity", lambda _, cores: taken.append(list(cores)))
    for rank in range(2):
        companions.take_share(companions.Place(2, 2, rank))
    assert taken == [[0, 1], [2, 3, 4]]
    taken.clear()
    for rank in range(10):
        companions.take_share(companions.Place(10, 10, rank))
    assert taken == [[n // 2] for n in range(10)]
    taken.clear()
    companions.take_share(companions.ALONE)
    clean.setattr(os, "cpu_count", lambda: 8)
    companions.take_share(companions.Place(2, 2, 1))
    assert not taken, "where somebody else has bound it, it stays"


@pytest.mark.parametrize(
    ("before", "config", "gpus", "added"),
    [
        ("", [], False, "-level gpu=6,threads=5"),
        ("", [], True, "-level threads=5"),
        ("", ["--cpus", "2"], False, "-level gpu=6,threads=5"),
        ("", ["--cpus", "3"], False, "-level gpu=6"),  # more than there are: the warning is one
        ("", ["--logging", "gpu=info"], False, "-level threads=5"),
        ("", ["--logging=legate=info,threads=2"], False, "-level gpu=6"),
        ("", ["--logging", "debug"], False, ""),
        ("-level gpu=1", [], False, "-level threads=5"),
    ],
)
def test_start_up_lines_are_left_out_unless_somebody_asks(
    clean: pytest.MonkeyPatch, before: str, config: list[str], gpus: bool, added: str
) -> None:
    clean.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    clean.setenv("LEGION_DEFAULT_ARGS", before)
    expected = f"{before} -lg:window 65536 {added}".split()
    assert startup.legion_arguments(config, gpus=gpus).split() == expected
    clean.setenv("LEGION_DEFAULT_ARGS", " ".join(expected))
    assert startup.legion_arguments(config, gpus=gpus).split() == expected, "the script itself does it again"


# -- run: real Legate ---------------------------------------------------------------------------------------

SUM = "import cupynumeric, sys\nprint(int(cupynumeric.arange(10).sum()), file=sys.stdout)\n"


@NO_DRIVER
def test_a_run_prints_what_the_script_prints_and_nothing_else(script: Callable[[str], str]) -> None:
    done = shell("run", script(SUM))
    assert (done.stdout, done.stderr, done.returncode) == ("45\n", "", 0)


@NO_DRIVER
def test_plain_python_is_as_quiet(clean: pytest.MonkeyPatch) -> None:
    line = [sys.executable, "-c", "import xpdispatch\n" + SUM]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("45\n", "", 0)


@NO_DRIVER
def test_warnings_and_errors_of_legates_are_kept(script: Callable[[str], str]) -> None:
    path = script(SUM)
    many = shell("run", "--cpus", str(machine.cores() + 6), path)
    assert "45" in many.stdout
    assert "cannot be satisfied" in many.stdout + many.stderr
    assert "{gpu}" not in many.stdout + many.stderr
    told = shell("run", "--logging", "gpu=info", path)
    assert "{gpu}: cuInit(0) returned 100" in told.stdout + told.stderr
    large = shell("run", "--sysmem", "900000000", path)
    assert "insufficient system memory" in large.stdout + large.stderr
    assert large.returncode != 0


@NO_DRIVER
def test_memory_is_a_share_of_what_is_free(script: Callable[[str], str]) -> None:
    code = (
        "import os, shlex, xpdispatch\n"
        "from legate.core import get_legate_runtime\n"
        "get_legate_runtime()\n"
        "from xpdispatch.legate import releases\n"
        "print(releases.memory('sysmem') >> 20)\n"
    )
    path = script(code)
    given = [int(shell(*line, LEGATE_AUTO_CONFIG=auto).stdout) for line in (["run", path],) for auto in ("0", "1")]
    for megabytes in given:
        assert 0.5 < megabytes / (machine.free_memory() >> 20) < 1
    assert int(shell("run", path, LEGATE_CONFIG="--sysmem 300").stdout) == 300
    assert int(shell("run", "--sysmem", "400", path, LEGATE_CONFIG="--sysmem 300").stdout) == 400


def test_a_run_keeps_input_status_and_traceback(script: Callable[[str], str]) -> None:
    done = shell("run", script("import sys\nprint(sys.stdin.read().upper())\nraise ValueError('mine')\n"), text="hello")
    assert done.stdout == "HELLO\n"
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("ValueError: mine\n")
    assert done.returncode == 1
    assert shell("run", "-m", "this").stdout.startswith("The Zen of Python")


def test_a_run_is_ended_by_a_signal(script: Callable[[str], str]) -> None:
    path = script("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    line = [sys.executable, "-m", "xpdispatch", "run", path]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) != 0


def test_legates_own_help_and_dry_run(script: Callable[[str], str]) -> None:
    shown = shell("run", "--help").stdout
    assert "--engine local" in shown
    assert "--ranks-per-node RANKS_PER_NODE" in shown
    dry = shell("run", "--dry-run", "--verbose", "--cpus", "1", script("print('ran')"), "--mine")
    assert dry.returncode == 0, dry.stderr
    assert "--mine" in dry.stdout
    assert "--cpus 1" in dry.stdout
    assert "ran\n" not in dry.stdout


# -- run: without Legate ------------------------------------------------------------------------------------

LOCAL = """
import pickle, sys
import numpy as np
import xpdispatch
from xpdispatch import array_module, kernel

@kernel("x[i] -> y[i]")
def double(xp, x):
    return 2 * x

def plain():
    return 2

with xpdispatch.engine("legate"):
    y = double(np.ones(3))
xpdispatch.synchronize()
assert pickle.loads(pickle.dumps(plain)) is plain, "the script is __main__"
print(type(y).__module__, y.tolist(), array_module().__name__, sys.argv[1:], __name__, "legate" in sys.modules)
"""


@pytest.mark.parametrize("flag", [["--engine", "local"], ["--engine=local"]])
def test_a_script_for_legate_runs_without_it(script: Callable[[str], str], flag: list[str]) -> None:
    done = shell("run", *flag, script(LOCAL), "--engine", "5", LEGATE_CONFIG="--cpus 2")
    assert done.stdout == "numpy [2.0, 2.0, 2.0] numpy ['--engine', '5'] __main__ False\n", done.stderr


def test_modules_beside_the_script_are_found(script: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 3\n")
    done = shell("run", "--engine", "local", script("import beside, sys\nprint(beside.VALUE, len(sys.argv))"))
    assert done.stdout == "3 1\n", done.stderr


@pytest.mark.parametrize(
    ("end", "status", "text"),
    [("sys.exit(7)", 7, ""), ("sys.exit('bye')", 1, "bye\n"), ("sys.exit()", 0, ""), ("", 0, "")],
)
def test_the_status_is_the_scripts(script: Callable[[str], str], end: str, status: int, text: str) -> None:
    done = shell("run", "--engine", "local", script("import sys\n" + end))
    assert (done.returncode, done.stderr) == (status, text)


@pytest.mark.parametrize("fault", ["import cupynumeric", "import legate.core", "from cupynumeric import zeros"])
def test_cupynumeric_is_refused(script: Callable[[str], str], fault: str) -> None:
    path = script(f"import numpy\n{fault}\n")
    done = shell("run", "--engine", "local", path)
    assert done.returncode == 1
    name = "legate" if "legate" in fault else "cupynumeric"
    assert (
        f"the program imports {name!r}, and 'xpdispatch run --engine local' runs programs without Legate" in done.stderr
    )
    assert "Hint: build the arrays with numpy, or with xpdispatch.array_module()" in done.stderr
    first = f'Traceback (most recent call last):\n  File "{path}", line 2, in <module>\n    {fault}\n'
    assert done.stderr.startswith(first), "no line of ours or of runpy's before the script's own"


def test_a_script_that_falls_back_to_numpy_does(script: Callable[[str], str]) -> None:
    path = script("try:\n    import cupynumeric as np\nexcept ImportError:\n    import numpy as np\nprint(np.__name__)")
    assert shell("run", "--engine", "local", path).stdout == "numpy\n"


def test_our_own_errors_keep_their_traceback(script: Callable[[str], str]) -> None:
    done = shell("run", "--engine", "local", script(LOCAL + "double([1])\n"))
    assert done.returncode == 1
    assert "double([1])" in done.stderr
    assert "xpdispatch.errors.ArgumentError: kernel 'double': argument 'x'" in done.stderr


def test_a_script_that_cannot_be_read_is_shown_as_python_does(script: Callable[[str], str]) -> None:
    path = script("x = = 1\n")
    done = shell("run", "--engine", "local", path)
    assert done.stderr.startswith(f'  File "{path}", line 1\n    x = = 1\n')
    assert done.stderr.endswith("SyntaxError: invalid syntax\n")
    assert done.returncode == 1


def test_modules_run_by_m(tmp_path: Path) -> None:
    done = shell("run", "--engine", "local", "-m", "this")
    assert done.stdout.startswith("The Zen of Python")
    done = shell("run", "--engine", "local", "-m", "json.nothing")
    hint = "run from the folder that holds it, and name what python -m can run"
    assert done.stderr == f"xpdispatch: No module named json.nothing\nHint: {hint}\n"


# -- run: misuse --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.py"], "there is no file 'nothing.py'\nHint: give the script's path"),
        (["--cpus", "2", "nothing"], "there is no program 'nothing'\nHint: a script's name ends in .py"),
        (["--cpus", "two", "a.py"], "Legate's launcher says: argument --cpus: invalid int value: 'two'"),
        (
            ["--cpu", "2", "a.py"],
            "Legate's launcher says: unrecognized arguments: --cpu\nHint: 'xpdispatch run --help'",
        ),
        (["-c", "print(1)"], "unrecognized arguments: -c\nHint: put the program in a file, or name a module by -m"),
        (["--engine", "dask", "a.py"], "there is no engine 'dask'\nHint: --engine is one of local, legate"),
        (["--engine"], "'--engine' needs the name of an engine"),
        (["--engine", "local"], "'xpdispatch run --engine local' needs a script\nHint: xpdispatch run --engine local"),
        (["--engine", "local", "-m"], "needs a script"),
        (["--engine", "local", "--module"], "needs a script"),
        (["--engine", "local", "nothing.py"], "there is no file 'nothing.py'"),
        (["--engine", "local", "-c", "print(1)"], "'xpdispatch run' does not take -c\nHint: put the program in a file"),
        (["--engine", "local", "--cpus", "2", "a.py"], "'--cpus' before the script is a flag of Legate's launcher"),
    ],
)
def test_misuse_of_run(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *words]) == 1
    assert capsys.readouterr().err.startswith("xpdispatch: ")
    assert main(["run", *words]) == 1
    assert message in capsys.readouterr().err
    assert not engines.instead


def test_the_engine_is_read_before_the_script_alone() -> None:
    assert engine_of(["--cpus", "2", "--engine", "local", "a.py"]) == ("local", ["--cpus", "2", "a.py"])
    assert engine_of(["a.py", "--engine", "local"]) == ("legate", ["a.py", "--engine", "local"])
    assert engine_of(["-m", "a", "--engine=local"]) == ("legate", ["-m", "a", "--engine=local"])


def test_reading_legates_flags_leaves_nothing_behind(script: Callable[[str], str]) -> None:
    code = (
        "import sys, xpdispatch\n"
        "from xpdispatch.shell.run import legate_command\n"
        "finders = list(sys.meta_path)\n"
        "legate_command(['--logdir', '.', __file__])\n"
        "print(sys.meta_path == finders, [m for m in sys.modules if m.startswith('legate')])\n"
    )
    done = subprocess.run([sys.executable, script(code)], capture_output=True, text=True, check=False)
    assert done.stdout == "True []\n", done.stderr


# -- free memory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True], ids=["version 2", "version 1"])
def test_free_memory_is_what_the_control_groups_leave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: bool
) -> None:
    memory, groups, limits = tmp_path / "meminfo", tmp_path / "groups", tmp_path / "cgroup"
    memory.write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    own = limits / ("memory/a/b" if old else "a/b")
    own.mkdir(parents=True)
    for name, path in (("_MEMORY", memory), ("_GROUPS", groups), ("_LIMITS", limits)):
        monkeypatch.setattr(machine, name, path)
    assert machine.free_memory() == 8000 << 10, "no groups"
    groups.write_text("4:cpu,memory:/x\n3:memory:/a/b\n" if old else "0::/a/b\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    limit, used, kept = names if old else ("memory.max", "memory.current", "inactive_file")
    (own / limit).write_text("max\n")
    (own / used).write_text("3000000\n")
    (own / "memory.stat").write_text(f"anon 1\n{kept} 500000\n")
    assert machine.free_memory() == 8000 << 10, "no limit"
    (own / limit).write_text("5000000\n")
    assert machine.free_memory() == 2_500_000
    for name in (limit, used, "memory.stat"):
        (own / name).rename(own.parent / name)
    assert machine.free_memory() == 2_500_000, "a limit of the group above"
    memory.unlink()
    assert machine.free_memory() == 0


# -- doctor -------------------------------------------------------------------------------------------------


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """Put a package of our own in the place of a real one, for this process and those that the doctor starts."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)

    return make


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with NumPy alone."""
    for name in ("cupy", "torch", "jax", "array_api_strict", "dask", "legate", "cupynumeric"):
        monkeypatch.setitem(sys.modules, name, None)
    return monkeypatch


def finding(found: Diagnosis, name: str) -> Finding:
    return next(f for f in (*found.engines, *found.namespaces) if f.name == name)


@NO_DRIVER
def test_doctor_on_real_legate() -> None:
    done = shell("doctor", "--json", "--require", "local,legate,numpy,cupynumeric")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    legate = found["legate"]
    assert [(f["name"], f["works"]) for f in found["engines"][:2]] == [("local", True), ("legate", True)]
    several = found["engines"][2]
    assert several["name"] == "several processes"
    assert several["works"] or several["remedy"].startswith(("pip install", "apt-get install"))
    assert legate["processors"] == {"CPUs": machine.cores(), "GPUs": 0, "OMPs": 0} or machine.cores() > 2
    assert legate["nodes"] == 1
    if legate["abilities"]["min_extents is Legate's own"]:  # the release whose wheels link it
        assert "libcudart.so.13" in legate["cuda_runtime"]
    assert shlex.split(legate["config"])[:2] == ["--gpus", "0"]
    assert set(legate["abilities"]) >= {"min_extents is Legate's own", "small arrays are cut in a Scope"}
    assert found["machine"]["driver"] == f"none; Legate gets a stand-in: {driver.shim()}"
    assert found["versions"]["xpdispatch"] == xd.__version__
    screen = shell("doctor", LEGATE_CONFIG="--cpus 1 --gpus 0 --sysmem 512")
    assert "1 CPU, 512.0 MiB of memory" in screen.stdout
    assert len(screen.stdout.splitlines()) < 40, "one screen"


def test_doctor_with_numpy_alone(alone: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = diagnose()
    assert [f.name for f in (*found.engines, *found.namespaces) if f.works] == ["local", "numpy"]
    others = ["legate", "cupy", "torch", "jax", "array_api_strict", "dask", "cupynumeric"]
    assert [f.name for f in (*found.engines, *found.namespaces) if not f.works] == others
    for name, command in [
        ("legate", "pip install 'xpdispatch[legate]'"),
        ("cupynumeric", "pip install nvidia-cupynumeric"),
        ("cupy", "pip install 'xpdispatch[cuda]' (CUDA 13"),
        ("torch", "pip install torch"),
        ("jax", "pip install jax"),
        ("array_api_strict", "pip install 'xpdispatch[testing]'"),
    ]:
        assert finding(found, name).remedy.startswith(command)
        assert finding(found, name).note == "not installed"
    assert found.legate == {}
    assert [title for title, _ in sections(found)] == ["", "Engines", "Namespaces", "This machine"]
    assert main(["doctor"]) == 0
    assert "   no  torch             not installed: pip install torch\n" in capsys.readouterr().out
    assert main(["doctor", "--require", "numpy,torch"]) == 1
    assert capsys.readouterr().err == "xpdispatch: torch is required: not installed. pip install torch\n"
    assert main(["doctor", "--require", "numppy"]) == 1
    assert "there is no engine and no namespace 'numppy'" in capsys.readouterr().err


@NO_DRIVER
def test_doctor_without_a_compiler(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean.setenv("XDG_CACHE_HOME", str(tmp_path))
    clean.setenv("PATH", "")
    clean.delenv("CC", raising=False)
    found = diagnose()
    assert found.engines[0].works
    for name in ("legate", "cupynumeric"):
        assert not finding(found, name).works
        assert finding(found, name).remedy.startswith("install a C compiler (apt-get install gcc")
    assert found.machine["compiler"].startswith("none; Legate without an NVIDIA driver needs one: apt-get install gcc")
    assert "no C compiler was found" in found.machine["driver"]


@NO_DRIVER
def test_doctor_where_legate_ends_its_process(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("LEGATE_CONFIG", "--gpus 0 --cpus 1 --sysmem 900000000")
    legate = finding(diagnose(), "legate")
    assert not legate.works
    assert "its process ends with SIGABRT" in legate.note
    assert "insufficient system memory" in legate.note
    assert legate.remedy == "unset LEGATE_CONFIG, or fix it: it is '--gpus 0 --cpus 1 --sysmem 900000000'"
    clean.setenv("LEGATE_CONFIG", "--nonsense 1")
    assert finding(diagnose(), "legate").note.endswith("Unknown argument: --nonsense")
    clean.setenv("LEGATE_CONFIG", "--gpus 1")
    note = finding(diagnose(), "legate").note
    assert re.match("RuntimeError: .*CUDA_ERROR_NO_DEVICE", note), "not Legate's first line, which is a rule"
    assert "\n" not in note


def test_doctor_outlives_every_library(library: Callable[[str, str], None], alone: pytest.MonkeyPatch) -> None:
    for name in ("torch", "jax", "cupy", "array_api_strict"):
        alone.delitem(sys.modules, name)
    library("torch", "import os; os.kill(os.getpid(), 11)")
    library("jax", "import time; time.sleep(600)")
    library("cupy", "__version__ = '13.6'\nraise OSError('libcudart.so.13: cannot open shared object file')")
    library("array_api_strict", "import sys\n__version__ = '1'\nsys.exit('what strict says')")
    found = diagnose(seconds=8)
    assert found.engines[0].works
    assert finding(found, "torch").note.startswith("its process ends with SIGSEGV")
    assert finding(found, "torch").remedy == "pip install --force-reinstall torch"
    assert finding(found, "jax").note == "no answer in 8 seconds"
    assert finding(found, "jax").remedy == "give it more time: xpdispatch doctor --seconds 600"
    assert finding(found, "cupy").note == "OSError: libcudart.so.13: cannot open shared object file"
    assert finding(found, "cupy").remedy.startswith("needs an NVIDIA GPU with its driver")
    assert "status 1: what strict says" in finding(found, "array_api_strict").note


def test_doctor_looks_at_what_a_kernel_answers(library: Callable[[str, str], None], alone: pytest.MonkeyPatch) -> None:
    alone.delitem(sys.modules, "torch")
    library("torch", "import numpy\n__version__ = '9'\nclass cuda: is_available = staticmethod(lambda: False)\n"
            "def arange(n): return numpy.ones(4)")  # fmt: skip
    wrong = finding(diagnose(), "torch")
    assert (wrong.works, wrong.version) == (False, "9")
    assert wrong.note == "ArithmeticError: 2 * x + x is [3.0, 3.0, 3.0, 3.0] for x = 0, 1, 2, 3"


def test_doctor_tells_of_an_environment_that_no_call_can_run_in(
    alone: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone.setenv("XPDISPATCH_NUM_THREADS", "many")
    assert main(["doctor"]) == 1
    assert "   no  local   the environment has XPDISPATCH_NUM_THREADS='many', expected an integer >= 1" in (
        capsys.readouterr().out
    )


def test_doctor_without_rich_and_on_a_terminal(alone: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    alone.setattr("sys.stdout.isatty", lambda: True)
    alone.setenv("COLUMNS", "200")
    assert main(["doctor"]) == 0
    with_rich = capsys.readouterr().out
    alone.setitem(sys.modules, "rich", None)
    assert main(["doctor"]) == 0
    plain = capsys.readouterr().out

    def words(text: str) -> list[str]:
        return [
            word for word in re.sub(r"\x1b\[\d*m", "", text).split() if not word[0].isdigit()
        ]  # but the memory that is free just then

    assert words(with_rich) == words(plain)
    assert "Namespaces\n  yes  numpy" in plain


def test_doctor_says_whether_loops_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.shell import doctor

    def refuse() -> bool:
        raise OSError("no such library")

    for version, can, said in (
        ("", None, "none; faster: pip install 'xpdispatch[fast]'"),
        ("0.50.0", lambda: True, "llvmlite 0.50.0"),
        ("0.43.0", lambda: False, "none; llvmlite 0.43.0 is too old: 0.44 or later"),
        ("0.50.0", refuse, "none; llvmlite 0.50.0 does not load: no such library"),
    ):
        monkeypatch.setattr(doctor, "version_of", lambda _, version=version: version)
        monkeypatch.setattr(doctor.llvm, "can_compile", can)
        assert doctor._loops() == said
