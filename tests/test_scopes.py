"""Legate's own scopes around calls, where calls come from in what Legate writes, and Legate's options of a task."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import registered_options, run_python
from xpdispatch import In, Reduce, broadcast, kernel
from xpdispatch.testing import forced_tiles

import cupynumeric  # isort: skip  after xpdispatch, which makes it importable without a driver
import legate.core as lg  # isort: skip

from xpdispatch.legate import launch  # isort: skip

DEFERRED, IGNORED = lg.ExceptionMode.DEFERRED, lg.ExceptionMode.IGNORED


@kernel("x[i] -> y[i]", dtype="x")
def fail_above(xp, x, limit):
    if xp.any(x > limit):
        raise ValueError(f"above {limit}")
    return x


def tiles_of(scope: lg.Scope) -> list[int]:
    """The lengths of the tiles that a call in the scope makes of twelve cells."""
    seen: list[int] = []

    @kernel("x[i] -> y[i]", dtype="x", guard=False)
    def spy(xp, x):
        seen.append(x.shape[0])
        return x

    x = cupynumeric.arange(12.0)
    with forced_tiles(1), scope:
        spy(x)
    xd.synchronize()
    return sorted(seen)


def one_cpu() -> Any:
    return lg.get_machine().only(lg.TaskTarget.CPU)[:1]


def policy(factor: int) -> Any:
    return lg.ParallelPolicy(overdecompose_factor=factor, partitioning_threshold={lg.TaskTarget.CPU: 1})


# -- machine, policy, priority -----------------------------------------------------------------------


def test_a_machine_of_one_cpu_out_of_two_gets_one_tile() -> None:
    assert tiles_of(lg.Scope()) == [6, 6]
    assert tiles_of(lg.Scope(machine=one_cpu())) == [12]


def test_a_parallel_policy_changes_the_tiles() -> None:
    assert tiles_of(lg.Scope(parallel_policy=policy(3))) == [2] * 6


def test_the_same_call_in_another_scope() -> None:
    """What was prepared for a call in one scope serves in another."""
    seen: list[int] = []

    @kernel("x[i] -> y[i]", dtype="x", guard=False)
    def spy(xp, x):
        seen.append(x.shape[0])
        return x

    counts = []
    for scope in (lg.Scope(), lg.Scope(machine=one_cpu()), lg.Scope(parallel_policy=policy(3)), lg.Scope()):
        x = cupynumeric.arange(12.0)
        with forced_tiles(1), scope:
            spy(x)
        xd.synchronize()
        counts.append(len(seen))
        seen.clear()
    assert counts == [2, 1, 6, 2]


def test_a_priority_reaches_our_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    priorities: list[int] = []
    real = launch.submit
    monkeypatch.setattr(launch, "submit", lambda task: priorities.append(lg.Scope.priority()) or real(task))
    x = cupynumeric.arange(12.0)
    with lg.Scope(priority=7):
        y = fail_above(x, 20)
    xd.synchronize()
    np.testing.assert_array_equal(np.asarray(y), np.arange(12.0))
    assert priorities == [7]


def test_a_machine_without_a_processor_of_the_kernels_kinds_is_refused() -> None:
    gpu = kernel("x[i] -> y[i]", dtype="x", variants=("GPU",))(lambda xp, x: x)
    with (
        lg.Scope(machine=one_cpu()),
        pytest.raises(NotImplementedError, match="the kernel has variants for GPU alone, and here it would run on CPU"),
    ):
        gpu(cupynumeric.arange(3.0))


def test_a_streaming_scope() -> None:
    x = cupynumeric.arange(40.0)
    streaming = policy(4)
    streaming.streaming_mode = lg.StreamingMode.RELAXED
    double = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    with lg.Scope(parallel_policy=streaming):
        y = double(double(x))
    xd.synchronize()
    np.testing.assert_array_equal(np.asarray(y), 4 * np.arange(40.0))


# -- exceptions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 4])
def test_leaving_a_deferred_scope_raises_what_the_body_raised(factor: int) -> None:
    x = cupynumeric.arange(17.0)
    with forced_tiles(factor):
        inside = False
        with pytest.raises(ValueError, match="above 3") as caught, lg.Scope(exception_mode=DEFERRED):
            fail_above(x, 3)
            fail_above(x, 2)
            inside = True
        assert inside, "calls do not wait"
        assert str(caught.value) == "above 3"
        assert "in kernel 'fail_above', tile i = " in caught.value.__notes__[0]
        assert f"called at {__file__}:" in caught.value.__notes__[1]
        assert "In the task:" in caught.value.__notes__[2]
        assert caught.value.__suppress_context__, "Legate's own exception is bytes to a reader"
        xd.synchronize()  # it was told once


def test_synchronize_in_a_deferred_scope_raises_there() -> None:
    x = cupynumeric.arange(17.0)
    with lg.Scope(exception_mode=DEFERRED):
        fail_above(x, 3)
        with pytest.raises(ValueError, match="above 3"):
            xd.synchronize()
    xd.synchronize()


def test_on_error_immediate_in_a_deferred_scope() -> None:
    at_once = kernel("x[i] -> y[i]", dtype="x", on_error="immediate")(fail_above.__wrapped__)
    with lg.Scope(exception_mode=DEFERRED), pytest.raises(ValueError, match="above 3"):
        at_once(cupynumeric.arange(17.0), 3)
    xd.synchronize()


def test_a_failure_before_many_launches_in_a_deferred_scope() -> None:
    """After a hundred launches a call waits, which must not take the failure away from the scope."""
    x = cupynumeric.arange(17.0)
    with pytest.raises(ValueError, match="above 3"), lg.Scope(exception_mode=DEFERRED):
        fail_above(x, 3)
        for _ in range(250):
            fail_above(x, 20)
    xd.synchronize()


def test_both_the_users_own_error_and_the_bodys_are_shown() -> None:
    with pytest.raises(ValueError, match="above 3") as caught, lg.Scope(exception_mode=DEFERRED):
        fail_above(cupynumeric.arange(17.0), 3)
        raise KeyError("mine")
    error: BaseException | None = caught.value
    chain = []
    while error is not None:
        assert not error.__suppress_context__
        chain.append(type(error).__name__)
        error = error.__context__
    assert chain == ["ValueError", "LegatePyTaskException", "KeyError"]


@pytest.mark.parametrize("options", [{}, {"has_allocations": True}], ids=str)
@pytest.mark.parametrize(("size", "kind"), [(2700, ValueError), (20_000, xd.KernelError)])
def test_an_exception_that_is_too_long_for_legate_is_shortened(size: int, kind: type, options: dict) -> None:
    @kernel("x[i] -> y[i]", dtype="x", options=options)
    def long_text(xp, x):
        raise ValueError("long" + "!" * size)

    with pytest.raises(kind, match="long!!") as caught, lg.Scope(exception_mode=DEFERRED):
        long_text(cupynumeric.arange(3.0))
    assert type(caught.value) is kind
    xd.synchronize()


def test_failures_in_the_second_task_of_a_deferred_scope() -> None:
    def merge(xp, a, b):
        raise ValueError("no merging")

    folded = kernel("x[i] -> fold s[]", fold=merge, dtype="x")(lambda xp, x: xp.sum(x))
    with forced_tiles(), pytest.raises(ValueError, match="no merging"), lg.Scope(exception_mode=DEFERRED):
        folded(cupynumeric.arange(17.0))
    xd.synchronize()


@pytest.mark.parametrize("mode", ["DEFERRED", "IGNORED"])
@pytest.mark.parametrize("factor", [1, 4])
@pytest.mark.parametrize("line", ["x[i] -> y[?]", "x[i] -> y[?], z[?]", "x[i] -> fold y[]", "x[i] -> sum s[], y[?]"])
def test_a_body_that_raises_where_parts_have_any_size(line: str, factor: int, mode: str) -> None:
    """Legate binds what is unbound itself where a task hands it an exception; where it does not, the task must."""
    more = {"fold": lambda xp, a, b: a + b} if "fold" in line else {}
    several = "," in line

    def body(xp, x):
        if xp.any(x > 3):
            raise ValueError("above 3")
        return (xp.sum(x) if "sum" in line else x, x) if several else xp.sum(x) if more else x

    made = kernel(line, dtype=("x", "x") if several else "x", **more)(body)
    x = cupynumeric.arange(17.0)
    with forced_tiles(factor):
        with suppress(ValueError), lg.Scope(exception_mode=lg.ExceptionMode[mode]):
            made(x)
        xd.synchronize()
        with pytest.raises(ValueError, match="above 3"):
            made(x), xd.synchronize()
        right = made(cupynumeric.arange(3.0))
        assert float(right[0].sum() if several else right.sum()) == 3.0


def test_an_ignored_scope_drops_failures_as_legate_does() -> None:
    x = cupynumeric.arange(17.0)
    with lg.Scope(exception_mode=IGNORED):
        fail_above(x, 3)
    xd.synchronize()
    fail_above(x, 5)
    with pytest.raises(ValueError, match="above 5"):
        xd.synchronize()


def test_other_scopes_leave_failures_to_the_next_synchronisation() -> None:
    x = cupynumeric.arange(17.0)
    with lg.Scope(priority=1):
        fail_above(x, 3)
    with pytest.raises(ValueError, match="above 3"):
        xd.synchronize()


def test_a_deferred_scope_that_is_never_left_tells_at_the_end_of_the_program() -> None:
    done = run_python(
        "import xpdispatch as xd, cupynumeric, legate.core as lg\n"
        "lg.Scope(exception_mode=lg.ExceptionMode.DEFERRED).__enter__()\n"
        "k = xd.kernel('x[i] -> y[i]', dtype='x')(lambda xp, x: 1 / 0)\n"
        "k(cupynumeric.ones(3))\n"
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


# -- provenance ---------------------------------------------------------------------------------------

PROGRAM = """\
import xpdispatch as xd, cupynumeric, legate.core as lg
from xpdispatch.legate import leaf

told = []
run = leaf._run_task
leaf._run_task = lambda *given: told.append(given[-1].provenance) or run(*given)

@xd.kernel("x[i] -> y[i]")
def twice(xp, x):
    return 2 * x

@xd.kernel("x[i] -> sum s[]", deterministic=True)
def whole(xp, x):
    return xp.sum(x)

@xd.kernel("x[i] -> sum s[]")
def total(xp, x):
    return xp.sum(x)

x = cupynumeric.ones(10)
twice(x)
with lg.Scope(provenance="phase one"):
    whole(x)
    print("TOLD still", lg.Scope.provenance())

@lg.track_provenance()
def tracked():
    twice(x)

tracked()
total(x, out=cupynumeric.zeros((), dtype="float32"))  # a task that sums, and one that casts
xd.synchronize()
print("TOLD left", repr(lg.Scope.provenance()))
print(*(f"TOLD {line}" for line in told), sep="\\n")
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "script.py"
    path.write_text(PROGRAM)
    return path


def run_script(script: Path, flags: str) -> list[str]:
    """What a run of the program says it told Legate, sorted: tasks run in any order."""
    config = f"--cpus 2 --gpus 0 --sysmem 500 {flags}"
    done = run_python(f"import runpy; runpy.run_path({str(script)!r})", LEGATE_CONFIG=config)
    assert done.returncode == 0, done.stderr
    return sorted(line.removeprefix("TOLD ") for line in done.stdout.splitlines() if line.startswith("TOLD "))


def test_the_profilers_log_names_kernel_and_call_site(script: Path, tmp_path: Path) -> None:
    run_script(script, f"--profile --logdir {tmp_path}")
    (log,) = tmp_path.glob("*.prof")
    written = log.read_bytes()
    assert f"twice at {script}:21".encode() in written
    assert f"phase one: whole at {script}:23".encode() in written
    assert f'["{script}:30: twice at {script}:28", '.encode() in written


def test_provenance_in_tasks(script: Path) -> None:
    assert run_script(script, "--provenance") == sorted(
        [
            "still phase one",
            "left ''",
            f"twice at {script}:21",
            f"phase one: whole at {script}:23",
            f"{script}:30: twice at {script}:28",
            *[f"total at {script}:31"] * 2,
        ]
    )


def test_no_provenance_where_legate_keeps_none(script: Path) -> None:
    assert run_script(script, "") == ["", "", "", "", "left ''", "phase one", "still phase one"]


# -- options ------------------------------------------------------------------------------------------


def test_all_tiles_of_a_concurrent_launch_run_at_once() -> None:
    barrier = threading.Barrier(2)

    @kernel("x[i] -> y[i]", dtype="x", options={"concurrent": True})
    def meet(xp, x):
        barrier.wait(timeout=30)
        return x + 1

    with forced_tiles(1):
        y = meet(cupynumeric.arange(12.0))
    xd.synchronize()
    np.testing.assert_array_equal(np.asarray(y), np.arange(1.0, 13.0))


CONCURRENT = """
import xpdispatch as xd, cupynumeric, legate.core as lg
from xpdispatch.legate import engine
engine._check_concurrent = lambda: None
k = xd.kernel("x[i] -> y[i]", options={"concurrent": %s})(lambda xp, x: x + 1)
policy = lg.ParallelPolicy(overdecompose_factor=2, partitioning_threshold={lg.TaskTarget.CPU: 1})
with lg.Scope(parallel_policy=policy):
    y = k(cupynumeric.arange(12.0))
xd.synchronize()
print(y)
"""


def test_concurrent_reaches_legion() -> None:
    """Legion ends the process over more tiles than processors where, and only where, it was told."""
    told, not_told = run_python(CONCURRENT % True), run_python(CONCURRENT % False)
    assert "illegal mapping of concurrent index space task" in told.stdout + told.stderr
    assert told.returncode != 0
    assert not_told.returncode == 0, not_told.stderr


def test_concurrent_with_several_tiles_to_a_processor_is_refused() -> None:
    k = kernel("x[i] -> y[i]", options={"concurrent": True})(lambda xp, x: x)
    x = cupynumeric.arange(12.0)
    with forced_tiles(3), pytest.raises(NotImplementedError, match="parallel policy that makes 3 tiles to a processor"):
        k(x)
    streaming = lg.ParallelPolicy(streaming_mode=lg.StreamingMode.RELAXED)
    with lg.Scope(parallel_policy=streaming), pytest.raises(NotImplementedError, match="parallel policy that streams"):
        k(x)
    xd.synchronize()


class Told:
    """Legate's runtime, noting what its tasks are told."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def create_auto_task(self, *args: Any) -> Any:
        task, calls = self.real.create_auto_task(*args), self.calls

        class Task:
            def __getattr__(self, name: str) -> Any:
                if name.startswith("set_"):
                    return lambda value: (calls.append((name, value)), getattr(task, name)(value))
                return getattr(task, name)

        return Task()


def test_has_side_effect_reaches_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(launch.runtime)
    monkeypatch.setattr(launch, "runtime", told)
    k = kernel("x[] -> y[]", options={"has_side_effect": True})(lambda xp, x: x + 1)
    assert float(k(cupynumeric.zeros(()))) == 1.0
    assert told.calls == [("set_concurrent", False), ("set_side_effect", True)]
    told.calls.clear()
    kernel("x[] -> y[]")(lambda xp, x: x + 1)(cupynumeric.zeros(()))
    assert told.calls == []
    xd.synchronize()


@pytest.mark.parametrize("name", ["has_allocations", "elide_device_ctx_sync"])
def test_options_of_registered_tasks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = registered_options(monkeypatch)

    @kernel("x[i], w[] -> sum s[], y[i], max m[]", options={name: True})
    def body(xp, x, w, note):
        assert len(note) == 2_000_000
        return xp.sum(x), w * x, xp.max(x)

    x = np.arange(17.0)
    with forced_tiles():
        for _ in range(2):
            s, y, m = body(cupynumeric.array(x), cupynumeric.full((), 2.0), "n" * 2_000_000)
            xd.synchronize()
    assert (float(s), float(m)) == (x.sum(), 16.0)
    np.testing.assert_array_equal(np.asarray(y), 2 * x)
    assert [getattr(options, name) for options in given] == [True]
    other = {"has_allocations", "elide_device_ctx_sync"} - {name}
    assert not any(getattr(given[0], o) for o in other)


@pytest.mark.parametrize("deterministic", [False, True])
def test_accumulating_in_a_task_with_options(deterministic: bool) -> None:
    """Legate counts the arrays of such a task, and ends the process over one too many."""

    @kernel(constraints=[broadcast("s")], deterministic=deterministic, options={"has_allocations": True})
    def body(xp, x: In, s: Reduce["sum"]):
        s[...] = xp.sum(x)

    s = cupynumeric.full((), 5.0)
    with forced_tiles():
        body(cupynumeric.arange(10.0), s)
    xd.synchronize()
    assert float(s) == 50.0


def test_options_mean_nothing_in_this_process() -> None:
    k = kernel("x[i] -> y[i]", options={"concurrent": True, "has_side_effect": True})(lambda xp, x: x + 1)
    assert dict(k.definition.options) == {"concurrent": True, "has_side_effect": True}
    np.testing.assert_array_equal(k(np.zeros(3)), np.ones(3))


def test_options_stay_with_kernels_made_of_a_kernel() -> None:
    k = kernel("*xs[i] -> y[i]", options={"has_side_effect": True})(lambda xp, *xs: sum(xs))
    assert k.plain_for((np.ones(3), np.ones(3)), {}).definition.options == {"has_side_effect": True}
    plain = kernel("x[i] -> y[i]", options={"concurrent": True})(lambda xp, x: x)
    assert plain.with_signature(plain.signature).definition.options == {"concurrent": True}
