"""The checks as pytest, the shell, Hypothesis and real Legate see them."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xpdispatch as xd
from conftest import Engine
from planted import PLANTED, Planted
from right import RIGHT, Right
from xpdispatch import kernel
from xpdispatch.shell.arguments import make_arguments
from xpdispatch.shell.cli import main
from xpdispatch.testing import (
    KernelCase,
    arguments,
    check_kernel,
    check_on_legate,
    check_partitioning,
    checking,
    forced_tiles,
    kernel_cases,
)

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[1]

# -- real Legate ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("good", RIGHT, ids=lambda good: good.name)
def test_right_kernels_are_right_on_legate(good: Right) -> None:
    made, args, kwargs = good.make(np.random.default_rng(1))
    if args and isinstance(args[0], np.ndarray) and args[0].size > 10**5:
        pytest.skip("larger than this test needs")
    done = check_on_legate(made, *args, **kwargs)
    assert done.tilings == 4


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_planted_bugs_do_on_legate_what_numpy_says_of_the_same_tiles(bug: Planted) -> None:
    """No planted bug makes Legate and its simulation disagree; what differs from one tile is a PartitionError."""
    made, args, kwargs = bug.make(np.random.default_rng(1))
    try:
        check_on_legate(made, *args, **kwargs)
    except xd.EngineError:
        raise
    except Exception as error:
        assert isinstance(error, xd.PartitionError) or made.name in "".join(getattr(error, "__notes__", [made.name]))


def test_a_disagreement_is_called_a_defect_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.legate.leaf import Task

    def wrong(self, *args):
        region, results = run(self, *args)
        if results:
            results[0][...] = 7.0
        return region, results

    run = Task.run
    monkeypatch.setattr(Task, "run", wrong)
    double = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    with pytest.raises(xd.EngineError, match="y\\[0\\] = 2.0 with NumPy on the same tiles, and 7.0 on Legate") as e:
        check_on_legate(double, np.ones(9))
    assert "please report it" in str(e.value)
    assert "tiles: i = 0:" in str(e.value)


def is_elsewhere() -> bool:
    """Whether this is one of Legate's own threads."""
    return threading.current_thread() is not threading.main_thread()


@kernel("x[i, j] -> y[i, j]")
def centred(xp, x):
    return x - xp.mean(x, axis=1, keepdims=True)


@kernel("x[i, j] -> y[i, j]")
def centred_with_numpy_alone(xp, x):
    return x - xp.mean(x, axis=1, keepdims=True) + is_elsewhere() * (x.shape[1] == 9)


@kernel("x[i] -> y[i]")
def above_the_least(xp, x):
    return x - xp.min(x)


@kernel("x[i] -> y[i]")
def above_the_least_with_numpy_alone(xp, x):
    return x - xp.min(x) + is_elsewhere() * (x.shape[0] == 40)


def hint_of(check: Callable[..., Any], made: xd.Kernel, x: np.ndarray) -> str:
    with pytest.raises(xd.PartitionError) as raised:
        check(made, x)
    return raised.value.hint


def test_a_remedy_is_tried_on_legate_before_it_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.legate import engine

    x = np.random.default_rng(0).normal(size=(7, 9))
    rows = "keep j whole: x[i, :j] -> y[i, :j] (checked: then it is right)"
    for made in (centred, centred_with_numpy_alone):
        assert hint_of(check_partitioning, made, x).startswith(rows)
    launched = []
    prepare = engine.prepare
    monkeypatch.setattr(engine, "prepare", lambda call: launched.append(call.definition.notation) or prepare(call))
    assert hint_of(check_on_legate, centred, x).startswith(rows)
    assert launched == ["x[i, j] -> y[i, j]"] + 4 * ["x[i, :j] -> y[i, :j]"]
    assert hint_of(check_on_legate, centred_with_numpy_alone, x).startswith("look for what the body takes from its")


def test_a_remedy_of_the_guard_is_tried_on_legate_as_well() -> None:
    """On equal integers the check itself finds nothing: the guard does, on numbers that it makes."""
    x = np.zeros(40, np.int64)
    assert hint_of(check_on_legate, above_the_least, x).startswith("keep i whole: x[:i] -> y[:i] (checked: then it is")
    assert hint_of(check_on_legate, above_the_least_with_numpy_alone, x).startswith("look for what the body takes from")


def test_several_processes_try_no_remedy_for_each_would_try_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.legate import engine

    monkeypatch.setattr(engine, "several", True)
    x = np.random.default_rng(0).normal(size=(7, 9))
    assert hint_of(check_on_legate, centred, x).startswith("look for what the body takes from its tile alone")


def test_the_tiles_that_legate_made_are_noted(on_legate: Engine) -> None:
    @kernel("x[i] -> y[i]")
    def double(xp, x):
        return 2 * x

    xd.synchronize()
    with forced_tiles(4) as tiles:
        double(on_legate.put(np.ones(17)))
        xd.synchronize()
    assert len(tiles) > 2
    assert {name for name, _ in tiles} == {"double"}
    edges = sorted(rect[0] for _, rect in tiles)
    assert edges[0][0] == 0
    assert edges[-1][1] == 17
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    with forced_tiles(2):
        double(on_legate.put(np.ones(17)))
        xd.synchronize()
    assert len(tiles) == len(edges)


def test_tiles_of_the_library_s_own_kernels_are_left_out(on_legate: Engine) -> None:
    """Maxima of floats travel as integers that sort alike, and another kernel turns them back."""
    largest = kernel("x[i, j] -> max y[j]")(lambda xp, x: xp.max(x, axis=0))
    with forced_tiles(4) as tiles:
        largest(on_legate.put(np.arange(34.0).reshape(17, 2)))
        xd.synchronize()
    assert {name for name, _ in tiles} == {largest.name}


# -- check_kernel and cases -------------------------------------------------------------------------------------------


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("x[i] -> y[i]")
def ranks(xp, x):
    return xp.argsort(xp.argsort(x))


x = np.random.default_rng(0).normal(size=12)


def test_check_kernel_on_chosen_engines() -> None:
    with checking(engines=("numpy", "array_api_strict", "legate")):
        done = check_kernel(saxpy, x, x, 2.0)
    assert len(done) == 3
    assert "tilings" in repr(done[0])
    with checking(engines=("numpy",)), pytest.raises(xd.PartitionError):
        check_kernel(ranks, x)
    with checking(engines=("spark",)), pytest.raises(TypeError, match="there is no engine 'spark' to check on"):
        check_kernel(saxpy, x, x, 2.0)


@pytest.mark.parametrize("case", kernel_cases((saxpy, x, x, 2.0), KernelCase(saxpy, x, y=x, a=3.0)))
def test_cases(case: KernelCase) -> None:
    case.check()


def test_ids_of_cases() -> None:
    ids = [case.id for case in kernel_cases((saxpy, x, x, 2.0))]
    assert ids == [f"saxpy-{n}" for n in ("numpy", "array_api_strict", "torch", "jax.numpy", "cupy", "legate")]


heights = np.random.default_rng(1).random((9, 7)) * 100
EXAMPLES = {
    "quick.py:copy": (heights,),
    "saxpy.py:saxpy": (x, x, 2.0),
    "histogram.py:histogram": (np.random.default_rng(2).integers(0, 10, 50), 10),
    "matmul.py:matmul": (heights, heights.T.copy()),
    "fft.py:fft2": (np.random.default_rng(3).random((4, 6, 5)) + 0j,),
    "terrain.py:extremes": (heights,),
    "terrain.py:histogram": (heights, np.arange(0.0, 120.0, 20.0)),
    "terrain.py:lowpass": (heights, np.asarray([100.0, 300.0, 900.0]), 30.0, 25.0),
    "terrain.py:remainder": (heights, np.stack([heights / 2, heights / 3])),
    "terrain.py:light": (heights, 30.0, 25.0, 5.5, 0.8),
    "jacobi.py:sweep": (heights, heights[::-1].copy(), 0.1),
    "jacobi.py:largest_change": (heights, heights[::-1].copy()),
    "waves.py:leap": (heights, heights[::-1].copy(), 0.5),
    "waves.py:energy": (heights, heights[::-1].copy(), 0.5),
    "kmeans.py:assign": (heights, heights[:3].copy()),
    "black_scholes.py:black_scholes": (x + 10, x[::-1] + 9, np.arange(1.0, 13.0), 0.02, 0.3),
    "monte_carlo_pi.py:count_hits": (50, 7),
    "life.py:generation": ((heights > 60).astype(np.int8),),
    "life.py:population": ((heights > 60).astype(np.int8),),
    "pooling.py:pool": (np.random.default_rng(4).random((8, 6, 3)),),
    "pooling.py:upsample": (np.random.default_rng(4).random((4, 5, 3)),),
    "pooling.py:squared_difference": (heights, heights[::-1].copy()),
    "compaction.py:peaks": (x, 0.1),
    "compaction.py:runs": (x > 0.1,),
    "conjugate_gradients.py:product": (np.asarray([0, 2, 2, 5, 9]), np.asarray([0, 11, 3, 4, 3, 7, 8, 9, 6]), x[:9], x),
    "conjugate_gradients.py:dot": (x, x[::-1].copy()),
    "conjugate_gradients.py:axpy": (x, x[::-1].copy(), np.asarray(0.5)),
    "conjugate_gradients.py:divide": (np.asarray(3.0), np.asarray(0.5)),
}


@pytest.mark.parametrize("target", EXAMPLES)
def test_kernels_of_the_examples(target: str) -> None:
    from xpdispatch.shell.arguments import load_kernel

    made = load_kernel(str(ROOT / "examples" / target))
    with checking(engines=("numpy", "array_api_strict", "legate")):
        assert len(check_kernel(made, *EXAMPLES[target])) == 3


# -- the plugin --------------------------------------------------------------------------------------------------------

SUITE = """
import numpy as np
import pytest
from xpdispatch import kernel
from xpdispatch.testing import check_kernel as plain, checking, kernel_cases
from xpdispatch.testing.options import current

@kernel("x[i] -> y[i]")
def ranks(xp, x):
    return xp.argsort(xp.argsort(x))

@kernel("x[i] -> y[i]")
def double(xp, x):
    return 2 * x

def test_by_fixture(check_kernel):
    check_kernel(ranks, np.arange(9.0))

def test_by_function():
    plain(ranks, np.arange(9.0))

def test_right(check_kernel):
    check_kernel(double, np.arange(9.0))

@pytest.mark.parametrize("case", kernel_cases((double, np.arange(9.0))))
def test_cases(case):
    case.check()
"""


def test_the_plugin_without_any_configuration(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    done = pytester.runpytest_subprocess("-rs", "-p", "no:cacheprovider")
    outcomes = done.parseoutcomes()
    assert outcomes["failed"] == 2
    assert outcomes["passed"] >= 3
    done.stdout.fnmatch_lines(
        [
            "*xpdispatch*",
            "seed: 0",
            "reproduce: pytest '*::test_by_fixture' --xpdispatch-seed=0",
            "SKIPPED*Legate is checked where it is asked for: --xpdispatch-engines=numpy,legate",
        ],
        consecutive=False,
    )
    assert done.stdout.str().count("SKIPPED") >= 2


def test_the_plugin_s_options(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE + "\n\ndef test_seed():\n    assert current().chosen_seed == 7\n")
    done = pytester.runpytest_subprocess("-rs", "--xpdispatch-engines=numpy", "--xpdispatch-seed=7")
    assert done.parseoutcomes()["failed"] == 2
    done.stdout.fnmatch_lines(["reproduce: *--xpdispatch-seed=7 --xpdispatch-engines=numpy"])
    done.stdout.fnmatch_lines(["SKIPPED*--xpdispatch-engines leaves torch out"])


def test_an_engine_that_does_not_exist_ends_pytest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    done = pytester.runpytest_subprocess("--xpdispatch-engines=nunpy")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "there is no engine 'nunpy', only array_api_strict, numpy, torch" in done.stderr.str()


def test_the_plugin_beside_xdist_and_fixtures_called_xp(pytester: pytest.Pytester) -> None:
    """array-api-extra and scipy have fixtures called xp of their own, parametrized and with marks."""
    pytester.makeconftest(
        "import numpy as np, pytest, array_api_extra\n"
        "@pytest.fixture(params=[pytest.param(np, id='numpy')])\n"
        "def xp(request):\n    return request.param\n"
    )
    pytester.makepyfile(
        SUITE[: SUITE.index("def test_by_fixture")]
        + "def test_both(xp, check_kernel):\n    check_kernel(double, xp.arange(9.0))\n"
        + "@pytest.mark.parametrize('case', kernel_cases((double, np.arange(9.0))))\n"
        + "def test_cases(xp, case):\n    case.check()\n"
    )
    done = pytester.runpytest_subprocess("-n", "2", "--xpdispatch-engines=numpy,array_api_strict")
    assert done.parseoutcomes()["passed"] == 3
    assert "failed" not in done.parseoutcomes()


def test_the_plugin_has_no_fixture_called_xp(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_subprocess("--fixtures", "-q")
    assert "check_kernel" in done.stdout.str()
    assert not [line for line in done.stdout.lines if line.startswith("xp ")]


# -- strategies ------------------------------------------------------------------------------------------------------


@given(arguments(kernel("x[...], y[...] -> z[...]")(lambda xp, x, y: x + y), dtype={"x": "f4", "y": "i2"}))
def test_drawn_arguments_broadcast(values: dict) -> None:
    assert values["x"].dtype == np.float32
    assert values["y"].dtype == np.int16
    np.broadcast_shapes(values["x"].shape, values["y"].shape)


def test_drawn_arguments_fit_the_notation() -> None:
    made = kernel("A[m, :k], B[:k, n], w[2*m], u[n-1..n+1] -> D[m, n], sum E[:bins]", boundary="valid")(
        lambda xp, A, B, w, u, bins, factor=1.0: (A @ B + u[2:], xp.zeros(bins))
    )

    @given(arguments(made, most=4, factor=st.floats(0, 1)))
    def fits(values: dict) -> None:
        assert values["A"].shape[1] == values["B"].shape[0]
        assert values["w"].shape[0] == 2 * values["A"].shape[0]
        assert values["u"].shape[0] == values["B"].shape[1] + 2
        assert made(**values)[1].shape == (values["bins"],)

    fits()
    with pytest.raises(TypeError, match="kernel 'saxpy': scalar argument 'a' is left out"):
        arguments(saxpy)


# -- the shell --------------------------------------------------------------------------------------------------------


def test_check_in_the_shell(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from xpdispatch import kernel\n"
        "@kernel('data[i] -> sum hist[:bins]')\n"
        "def histogram(xp, data, bins):\n"
        "    return xp.sum(xp.astype(data[:, None] == xp.arange(bins)[None, :], xp.int64), axis=0)\n"
        "@kernel('x[i] -> y[i]')\n"
        "def ranks(xp, x):\n"
        "    return xp.argsort(xp.argsort(x))\n"
    )
    assert main(["check", f"{path}:histogram", "data=50:int64:0..9", "bins=10"]) == 0
    assert "right under" in capsys.readouterr().out
    assert main(["check", f"{path}:ranks", "x=9:float32", "--seed", "3"]) == 1
    assert "kernel 'ranks': the answer depends on how the arrays are cut along i" in capsys.readouterr().err
    for words, message in [
        ([f"{path}:nothing"], "has no kernel 'nothing'\nHint: its kernels are histogram, ranks"),
        ([str(path)], "does not name a kernel"),
        ([f"{path}x.py:a"], "there is no file"),
        (["no.such.module:a"], "there is no module"),
        ([f"{path}:ranks", "z=3"], "'z=3' is not an argument"),
        ([f"{path}:ranks", "x=3:text"], "x=3:text is not an array"),
        ([f"{path}:ranks", "x=3", "--data", "mine"], "data='mine' is unknown"),
    ]:
        assert main(["check", *words]) == 1
        assert message in capsys.readouterr().err


KINDS = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 >i4 float16 float32 float64 complex64 complex128"


@pytest.mark.parametrize("kind", KINDS.split())
def test_arrays_in_words_hold_what_is_said_of_them(kind: str) -> None:
    body = kernel("x[i] -> y[i]")(lambda xp, x: x)
    dtype = np.dtype(kind)
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype) if dtype.kind in "fc" else None
    low, high = (0, 1) if limits is None else (limits.min, limits.max)
    found = {
        said: make_arguments(body, [f"x=500:{kind}{said}"], 0)["x"]
        for said in ("", ":0..1", f":{low}..{high}", ":1", ":0", ":sorted", ":0..1:sorted")
    }
    assert {(x.dtype, x.shape) for x in found.values()} == {(dtype, (500,))}
    parts = {said: np.stack([x.real, x.imag]) if dtype.kind == "c" else x for said, x in found.items()}
    assert all(((parts[said] >= 0) & (parts[said] <= 1)).all() for said in (":0..1", ":0..1:sorted"))
    whole = parts[f":{low}..{high}"].astype(np.longdouble)
    assert np.isfinite(whole).all()
    assert np.ptp(whole) > 0.9 * (np.longdouble(high) - np.longdouble(low))
    assert (parts[":1"] == (1 + 0 * parts[":1"])).all()
    assert not parts[":0"].any()
    for said in (":sorted", ":0..1:sorted"):
        assert (found[said] == np.sort(found[said])).all()
        assert len(set(found[said].tolist())) > 1


def test_keys_in_words_are_in_range_and_may_rise() -> None:
    taken = kernel("t[@g], g[i] -> y[i]")(lambda xp, t, g: t)
    g = make_arguments(taken, ["t=5", "g=40:sorted"], 0)["g"]
    assert g.dtype == np.int64
    assert g.tolist() == sorted(g)
    assert {*g.tolist()} == {*range(5)}


def test_arrays_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.arange(40, dtype=np.float32).reshape(8, 5))
    np.savez("several.npz", a=np.ones(3), b=np.ones(3))
    np.save("objects.npy", np.asarray([{}]))
    Path("empty.npy").touch()
    Path("mine.py").write_text(
        "from xpdispatch import kernel\n@kernel('x[i,j] -> y[i,j]')\ndef twice(xp, x):\n    return x + x\n"
    )
    assert main(["check", "mine.py:twice", "x=@x.npy"]) == 0
    assert main(["explain", "mine.py:twice", "x=@x.npy"]) == 0
    out = capsys.readouterr().out
    assert "right under" in out
    assert re.search(r"x\[i,j\] +8 x 5 +float32 ", out)
    for file, why in [
        ("none.npy", "No such file or directory"),
        ("", "No such file or directory"),
        (".", "Is a directory"),
        *((f, "it holds none that can be read without pickle") for f in ("several.npz", "objects.npy", "empty.npy")),
    ]:
        for command in ("check", "explain"):
            assert main([command, "mine.py:twice", f"x=@{file}"]) == 1
            assert f"x=@{file} is not the file of one array: {why}" in capsys.readouterr().err


def test_check_in_the_shell_on_an_example() -> None:
    line = [sys.executable, "-m", "xpdispatch", "check", "examples/matmul.py:matmul", "A=8,9", "B=9,7"]
    done = subprocess.run([*line, "--seconds", "1"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "right under" in done.stdout


def test_progress_is_told() -> None:
    told = []
    with checking(progress=lambda *step: told.append(step)):
        check_partitioning(saxpy, x, x, 2.0)
    assert {data for _, _, data in told} == {"small integers", "the arguments"}
    assert all(0 <= done < of for done, of, _ in told)


def test_checks_do_not_warn_on_legate() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_partitioning(saxpy, x, x, 2.0)
