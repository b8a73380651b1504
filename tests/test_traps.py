"""What ends a process of Legate's, or is silently wrong there, asked for through our API.

docs/reliability.rst lists these traps with the tests that show what becomes of them; many are elsewhere.
"""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import Engine, run_python
from xpdispatch import In, InOut, Out, Reduce, align, broadcast, image, kernel
from xpdispatch.testing import forced_tiles

import cupynumeric  # isort: skip  after xpdispatch, which makes it importable without a driver
import legate.core as lg  # isort: skip
from xpdispatch.legate import tasks  # isort: skip

plus = kernel("x[i] -> y[i]")(lambda xp, x: x + 1)
plus_float = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: x + 1)


# -- arrays that Legate cannot take as they are ----------------------------------------------------------


def odd_complex() -> np.ndarray:
    """Sixteen bytes to a cell, the first at eight more than a multiple of sixteen."""
    raw = np.zeros(16 * 21 + 8, np.uint8)
    start = (8 - raw.ctypes.data) % 16
    array = raw[start : start + 16 * 20].view(np.complex128)
    assert array.ctypes.data % 16 == 8
    array[:] = np.arange(20) * 1j
    return array


def packed_field() -> np.ndarray:
    record = np.zeros(20, dtype=[("a", "u1"), ("b", "f8")])
    record["b"] = np.arange(20)
    return record["b"]


@pytest.mark.parametrize(
    "make",
    [
        odd_complex,
        packed_field,
        lambda: np.arange(40.0)[::-2],
        lambda: np.arange(20.0).astype(">f8"),
        lambda: np.broadcast_to(np.float64(3), (20,)),
        lambda: np.asfortranarray(np.arange(40.0).reshape(2, 20))[1],
    ],
    ids=["complex at 8 mod 16", "packed", "backwards", "other byte order", "stretched", "strided"],
)
def test_numpy_arrays_of_any_address_and_layout(make: Any, on_legate: Engine) -> None:
    with xd.engine("legate"):
        array = make()
        before = array.copy()
        np.testing.assert_array_equal(on_legate.get(plus(array)), before + 1)
        np.testing.assert_array_equal(array, before)
        if array.flags.writeable:
            assert plus(cupynumeric.ones(20), out=array) is array
            np.testing.assert_array_equal(array, np.full(20, 2))
            assert kernel("u[i] -> u[i]")(lambda xp, u: u * 3)(array) is array
            np.testing.assert_array_equal(array, np.full(20, 6))


# -- one array in several places of a launch --------------------------------------------------------------


def test_an_operand_that_is_reduced_into_as_well(on_legate: Engine) -> None:
    @kernel(constraints=[align("x", "s")])
    def add(xp, x: In, s: Reduce["sum"]):
        s[...] = x

    @kernel(constraints=[broadcast("s")])
    def add_all(xp, x: In, s: Reduce["sum"]):
        s[...] = xp.full(s.shape, xp.sum(x))

    a = cupynumeric.arange(50.0)
    np.testing.assert_array_equal(on_legate.get(add(a, a)), 2 * np.arange(50.0))
    a = cupynumeric.arange(5.0)
    np.testing.assert_array_equal(on_legate.get(add_all(a, a)), 10 + np.arange(5.0))
    b = cupynumeric.ones((8, 8))
    sums = kernel("x[i,j] -> sum s[j]")(lambda xp, x: xp.sum(x, axis=0))
    sums(b, out=b[0])
    np.testing.assert_array_equal(on_legate.get(b)[:2], [[8.0] * 8, [1.0] * 8])


def test_one_array_for_two_results_of_any_role(on_legate: Engine) -> None:
    @kernel(constraints=[align("x", "s"), align("x", "t")])
    def two_operators(xp, x: In, s: Reduce["sum"], t: Reduce["max"]):
        s[...], t[...] = x, x

    @kernel(constraints=[align("x", "s"), align("x", "t")])
    def written_and_reduced(xp, x: In, s: Out, t: Reduce["max"]):
        s[...], t[...] = x, x

    @kernel(constraints=[align("x", "s"), align("x", "t")])
    def updated_and_reduced(xp, x: In, s: InOut, t: Reduce["sum"]):
        s[...] += x
        t[...] = x

    a, x = cupynumeric.arange(50.0), cupynumeric.ones(50)
    for each in (two_operators, written_and_reduced, updated_and_reduced):
        with pytest.raises(xd.ArgumentError, match="given for results 's' and 't' share memory"):
            each(x, a, a)
    np.testing.assert_array_equal(on_legate.get(a), np.arange(50.0))


def test_an_array_that_points_to_itself(on_legate: Engine) -> None:
    gather = kernel("p[i], x[:] -> y[i]", constraints=[image("p", "x")])(lambda xp, p, x: x[p])
    p = np.random.default_rng(0).permutation(40)
    on = cupynumeric.array(p)
    np.testing.assert_array_equal(on_legate.get(gather(on, on)), p[p])
    gather(on, on, out=on)
    np.testing.assert_array_equal(on_legate.get(on), p[p])


def test_pointers_out_of_range_and_out_of_order(on_legate: Engine) -> None:
    """Legate drops the former, and with the hint FIRST_LAST believes that the latter are in order."""
    p = np.random.default_rng(0).permutation(40)
    x = cupynumeric.arange(40.0)
    gather = kernel("p[i], x[:] -> y[i]", constraints=[image("p", "x")])(lambda xp, p, x: x[p])
    for shift, text in ((1, "'p' holds 40"), (-1, "'p' holds -1")):
        gather(cupynumeric.array(p + shift), x)
        with pytest.raises(xd.PointerError, match=text):
            xd.synchronize()
    np.testing.assert_array_equal(on_legate.get(gather(cupynumeric.array(p.astype(np.int32)), x)), p)


def test_a_grid_given_as_the_result_of_its_own_stencil(on_legate: Engine) -> None:
    blur = kernel("x[i-1..i+1] -> y[i]", boundary="edge")(lambda xp, x: x[:-2] + x[2:])
    x = np.arange(20.0)
    expected, on = blur(x), cupynumeric.array(x)
    blur(on, out=on)
    np.testing.assert_array_equal(on_legate.get(on), expected)
    blur(on[1:], out=on[:-1])
    np.testing.assert_array_equal(on_legate.get(on)[:-1], blur(expected[1:]))


# -- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("values", [[math.inf], [-math.inf], [math.nan, 1.0], [1.0, math.nan], [-0.0], [1.0, math.inf]])
def test_extremes_of_infinities_and_nans(values: list[float], dtype: str, on_legate: Engine) -> None:
    x = np.asarray([values[0]] * 19 + [values[-1]], dtype=dtype)
    for op in ("max", "min"):
        extreme = kernel(f"x[i] -> {op} s[]")(lambda xp, x, op: getattr(xp, op)(x))
        np.testing.assert_array_equal(on_legate.get(extreme(cupynumeric.array(x), op)), getattr(np, op)(x))


def test_large_results_of_unknown_size(on_legate: Engine) -> None:
    twenty = kernel("x[i] -> y[?]", guard=False)(lambda xp, x: xp.concat([x] * 20))
    got = on_legate.get(twenty(cupynumeric.ones(500_000)))
    assert got.shape == (10_000_000,)
    assert got.sum() == 1e7


# -- what a body must not touch -----------------------------------------------------------------------------

surrounding = cupynumeric.arange(9.0)


def test_a_body_that_reads_a_legate_array_of_the_surrounding_program(on_legate: Engine) -> None:
    around = cupynumeric.arange(9.0)
    message = "the body reads '{}', a Legate array of the surrounding program, which no task can touch"
    for name, body in [
        ("surrounding", lambda xp, x: x + surrounding),
        ("around", lambda xp, x: x + around),
        ("around", lambda xp, x: sum(x + around for _ in range(2))),
    ]:
        with pytest.raises(
            xd.ArgumentError, match=f"{message.format(name)}(.|\n)*Hint: pass '{name}' as an argument, with a place"
        ):
            kernel("x[i] -> y[i]", dtype="x")(body)(cupynumeric.ones(9))
    later = plus_float.with_signature(plus_float.signature)
    later.cpu_variant(lambda xp, x: x + around)
    with pytest.raises(xd.ArgumentError, match=message.format("around")):
        later(cupynumeric.ones(9))


def test_a_body_that_calls_cupynumeric(on_legate: Engine) -> None:
    for name, body in [
        ("cupynumeric.sqrt", lambda xp, x: cupynumeric.sqrt(x)),
        ("cupynumeric.linalg.norm", lambda xp, x: x + cupynumeric.linalg.norm(x)),
        ("cupynumeric.where", lambda xp, x: [cupynumeric.where(x > n, x, n) for n in range(2)][1]),
    ]:
        with pytest.raises(xd.ArgumentError, match=f"the body calls {name}, and no task can call cuPyNumeric"):
            kernel("x[i] -> y[i]", dtype="x")(body)(cupynumeric.ones(9))
    with pytest.raises(xd.ArgumentError, match="the body calls cupynumeric.maximum"):
        kernel("x[i] -> fold y[]", dtype="x", fold=lambda xp, a, b: cupynumeric.maximum(a, b))(lambda xp, x: xp.sum(x))(
            cupynumeric.ones(9)
        )
    names = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: x.astype(cupynumeric.float64) * cupynumeric.pi)
    np.testing.assert_array_equal(on_legate.get(names(cupynumeric.ones(9))), np.full(9, np.pi))


# -- memory, and how many kernels there may be ----------------------------------------------------------------

SMALL = """
import json, numpy as np, xpdispatch as xd, cupynumeric as cn
k = xd.kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: x + 1)
two = xd.kernel("x[i], w[i] -> y[i]", dtype="x")(lambda xp, x, w: x + w)
half = 7_000_000  # 53 MiB
a, b = cn.ones(half), cn.ones(half)
said = {{}}
for call in {calls!r}:
    try:
        exec(call)
        said[call] = "no error"
    except RuntimeError as error:
        said[call] = f"{{type(error).__name__}} {{error}}"
    xd.synchronize()
print(json.dumps(said))
"""
TOO_LARGE = {
    "k(cn.ones(2 * half))": "the call needs 214 MiB for its arrays, 107 MiB of them for new ones",
    "k(cn.array(np.ones(2 * half)))": "the call needs 214 MiB for its arrays, 107 MiB of them for new ones",
    "two(a, b)": "the call needs 160 MiB for its arrays, 53 MiB of them for new ones",
    "two(a, a); two(a, a); two(a, a); two(a, b)": "the call needs 160 MiB for its arrays, 53 MiB",
}
LARGE = "two(a, a, out=b); two(a, a, out=b)"
FLAG = "Hint: start Legate with more memory (--sysmem takes MiB, in LEGATE_CONFIG or on the launcher's line)"


@pytest.fixture(scope="module")
def small_memory() -> dict[str, str]:
    """What is said of each call in a process whose Legate has little memory."""
    done = run_python(SMALL.format(calls=[*TOO_LARGE, LARGE]), LEGATE_CONFIG="--cpus 2 --gpus 0 --sysmem 150")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("call", TOO_LARGE)
def test_calls_whose_arrays_do_not_fit_are_refused(call: str, small_memory: dict[str, str]) -> None:
    told = small_memory[call]
    assert told.startswith(f"EngineError kernel '<lambda>': {TOO_LARGE[call]}")
    assert "and Legate has 150 MiB in all" in told
    assert FLAG in told


def test_calls_whose_arrays_just_fit_are_not_refused(small_memory: dict[str, str]) -> None:
    assert small_memory[LARGE] == "no error"


def test_memory_of_gpus_is_that_of_their_framebuffers(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.legate import stores

    class Machine:
        preferred_target = lg.TaskTarget.GPU

        def count(self, target: Any) -> int:
            return 3

    runtime = type("Runtime", (), {"machine": Machine(), "node_count": 1})()
    monkeypatch.setattr(stores, "runtime", runtime)
    monkeypatch.setattr(stores, "memory", lambda flag: {"fbmem": 100, "sysmem": 7}[flag])
    assert stores.memory_limit() == (300, "fbmem")


def test_when_there_is_no_room_for_another_kernel() -> None:
    done = run_python(
        "import xpdispatch as xd, cupynumeric as cn, legate.core as lg\n"
        "real = lg.ResourceConfig\n"
        "lg.ResourceConfig = lambda **_: real(max_tasks=4, max_dyn_tasks=3)\n"
        "made = []\n"
        "try:\n"
        "    for n in range(9):\n"
        "        k = xd.kernel('x[i] -> y[i]', dtype='x')(lambda xp, x, n=n: x + n)\n"
        "        made.append(k(cn.zeros(3)))\n"
        "except RuntimeError as error: print(error)\n"
        "xd.synchronize()\n"
        "print([int(y[0]) for y in made])\n"
    )
    assert done.returncode == 0, done.stderr
    assert "this program has launched 3 different kernels on Legate, and there is room for no more" in done.stdout
    assert "Hint: decorate a body once, at module level, and not in a loop" in done.stdout
    assert "[0, 1, 2]" in done.stdout


@pytest.mark.parametrize(
    "line",
    ["x[i] -> y[i]", "x[i] -> y[?]", "x[i] -> sum y[]", "x[i] -> sum y[..i]"],
    ids=["plain", "unknown size", "joined", "carried"],
)
def test_no_task_is_registered_while_others_run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    seen: list[int] = []

    @kernel("x[i] -> y[i]", dtype="x", guard=False)
    def slow(xp, x):
        time.sleep(0.1)
        ended.append(len(x))
        return x + 1

    body = {"x[i] -> sum y[]": lambda xp, x: xp.sum(x), "x[i] -> sum y[..i]": lambda xp, x: xp.cumulative_sum(x)}
    other = kernel(line, dtype="x", guard=False, deterministic=True)(
        body.get(line, lambda xp, x: xp.asarray(x, copy=True))
    )
    x = cupynumeric.ones(40)

    def spy(register: Any) -> Any:
        return lambda *args, **named: seen.append(sum(ended)) or register(*args, **named)

    with forced_tiles(1):
        slow(x)
        xd.synchronize()
        monkeypatch.setattr(tasks, "task_info", spy(tasks.task_info))
        monkeypatch.setattr(tasks, "PyTask", spy(tasks.PyTask))
        slow(x)
        other(x)
        xd.synchronize()
    assert seen == [80] * (1 + ("sum" in line))


def test_memory_stays_flat() -> None:
    """The long run, made short; its command is in docs/reliability.rst."""
    program = Path(__file__).with_name("long_run.py")
    done = run_python(
        f"import runpy, sys; sys.argv = ['-', '--calls', '500']; runpy.run_path({str(program)!r}, run_name='__main__')"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("after the first fifth") == 5


# -- the page ---------------------------------------------------------------------------------------------------


def test_every_test_that_the_page_names_is_there() -> None:
    here = Path(__file__).parent
    pages = [(here.parent / "docs" / name).read_text() for name in ("reliability.rst", "reliability-fuzzing.rst.inc")]
    named = set(re.findall(r"``(test_\w+)``", "".join(pages)))
    there = {name for path in here.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)}
    assert len(named) > 40
    assert named <= there, sorted(named - there)


def test_kernels_that_are_made_in_a_loop_are_collected() -> None:
    done = run_python(
        "import gc, weakref, numpy as np, xpdispatch as xd, cupynumeric as cn\n"
        "x, refs, bodies = cn.arange(6.0), [], []\n"
        "for n in range(30):\n"
        "    body = lambda xp, x, n=n: x + n\n"
        "    k = xd.kernel('x[i] -> y[i]')(body)\n"
        "    refs.append(weakref.ref(k)), bodies.append(weakref.ref(body))\n"
        "    y = k(x)\n"
        "del k, body\n"
        "assert np.asarray(y).tolist() == [29, 30, 31, 32, 33, 34]\n"
        "xd.synchronize()\n"
        "gc.collect()\n"
        "print(sum(r() is not None for r in refs), sum(b() is not None for b in bodies))\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "0"], "tasks hold kernels weakly, and nothing else holds them"
