"""Kernels in many threads, in forked and spawned processes, under signals; and Legate in what was forked."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import forced_cuts, run_python
from xpdispatch import kernel


@pytest.fixture
def switching() -> Any:
    """Python changes threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_first_calls_race_and_later_ones_too(cut: bool, switching: Any) -> None:
    """Many threads call fresh kernels at once: planning, caches, samples and runners, with other shapes each."""
    problems: list[Any] = []
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 5)) for n in range(1, 41)]

    def race(count: int) -> None:
        barrier = threading.Barrier(count)
        rows = kernel("x[i,j], w[j] -> sum y[i], sum s[j]")(
            lambda xp, x, w, a: (a * xp.sum(x * w, axis=1), xp.sum(x, axis=0))
        )
        plain = kernel("x[i,j] -> y[i,j]")(lambda xp, x, a: a * x)
        parts = kernel("x[i,:] -> y[?]")(lambda xp, x: xp.reshape(x, (-1,))[xp.reshape(x, (-1,)) > 0])

        def work(seed: int) -> None:
            try:
                order = np.random.default_rng(seed)
                barrier.wait()
                for n in order.permutation(len(arrays)):
                    x, w = arrays[n], arrays[n][0]
                    y, s = rows(x, w, seed)
                    np.testing.assert_allclose(y, seed * (x * w).sum(axis=1), rtol=1e-9, atol=1e-12)
                    np.testing.assert_allclose(s, x.sum(axis=0), rtol=1e-9, atol=1e-12)
                    for _ in range(3):
                        np.testing.assert_array_equal(plain(x, float(seed)), seed * x)
                    np.testing.assert_array_equal(parts(x), x[x > 0])
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    if cut:
        with forced_cuts(2):
            race(4)
    else:
        for _ in range(3):
            race(8)
    assert not problems, problems[0]


def test_caches_stay_bounded_under_threads(switching: Any) -> None:
    plain = kernel("x[i] -> y[i]")(lambda xp, x: x + 1)
    plain._runners.bound = 256

    def work(first: int) -> None:
        for n in range(first, first + 400):
            plain(np.ones(n))

    threads = [threading.Thread(target=work, args=(1 + 400 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(plain._runners) <= plain._runners.bound + len(threads)


def test_exceptions_stay_with_the_thread_that_called(switching: Any) -> None:
    told: dict[int, list[str]] = {}

    @kernel("x[i] -> y[i]")
    def picky(xp, x, who):
        if x[0] % 3 == 0:
            raise ValueError(f"{who} at {x[0]}")
        return x

    def work(who: int) -> None:
        told[who] = []
        for n in range(60):
            try:
                picky(np.full(4, float(n)), who)
            except ValueError as error:
                told[who].append(str(error))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {who: [f"{who} at {float(n)}" for n in range(0, 60, 3)] for who in range(6)}


def test_kernels_in_kernels_with_threads_do_not_stand_still() -> None:
    inner = kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(xp.sqrt(x)))
    middle = kernel("x[i] -> sum s[]")(lambda xp, x: inner(x) + inner(2 * x))
    outer = kernel("x[i] -> y[i]")(lambda xp, x: x + middle(x) * 0)
    x = np.random.default_rng(0).random(300)
    answers: list[Any] = []
    with forced_cuts(4):
        threads = [threading.Thread(target=lambda: answers.append(outer(x)), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "it stands still"
    for answer in answers:
        np.testing.assert_array_equal(answer, x)


SCRIPT = """
import multiprocessing, os, sys, warnings
import numpy as np, xpdispatch as xd
from xpdispatch.running import cutting
warnings.simplefilter("ignore", DeprecationWarning)
cutting.forced = 64

@xd.kernel("x[i] -> y[i], sum s[]")
def both(xp, x, a):
    return a * x, xp.sum(x)

def call(a):
    with xd.threads(2):
        y, s = both(np.arange(400.0), float(a))
    return os.getpid(), float(y[-1]), float(s)

if __name__ == "__main__":
    call(1)
    {before}
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        for round in range(2):
            answers = pool.map(call, range(20))
            call(1)
    assert [a[1:] for a in answers] == [(399.0 * n, 79800.0) for n in range(20)], answers
    assert os.getpid() not in {{a[0] for a in answers}}
    {after}
    print("all right")
"""
WITH_LEGATE = "import cupynumeric; both(cupynumeric.ones(9), 2.0); xd.synchronize()"


@pytest.mark.parametrize(("before", "after"), [("pass", "pass"), (WITH_LEGATE, WITH_LEGATE)], ids=["alone", "Legate"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_after_threads_were_used(method: str, before: str, after: str, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(SCRIPT.format(method=method, before=before, after=after))
    done = run_python(
        f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, {str(path)!r}], timeout=100))"
    )
    assert "all right" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr


FORKED = """
import os, sys, warnings
import numpy as np, xpdispatch as xd, cupynumeric
warnings.simplefilter("ignore", DeprecationWarning)
k = xd.kernel("x[i] -> y[i]", dtype="x")(lambda xp, x, bad: 1 / 0 if bad else x + 1)
x = cupynumeric.ones(5)
for _ in range(3): k(x, 0)
xd.synchronize()
child = os.fork()
if child == 0:
    for _ in range(2):
        try:
            k(x, 0)
        except xd.EngineError as error:
            print(error, flush=True)
    xd.synchronize()
    with xd.timed():
        print("here", k(np.ones(2), 0).tolist(), flush=True)
    os._exit(5)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("parent", k(x, 0))
"""


def test_legate_in_a_forked_process_is_refused_and_numpy_is_not() -> None:
    done = run_python(FORKED)
    assert done.returncode == 0, done.stderr
    message = "Legate is used in a process that was forked from one in which it runs, and has none of its threads"
    assert done.stdout.count(message) == 2
    assert "Hint: use multiprocessing's start method 'spawn', or NumPy arrays in the forked process" in done.stdout
    assert "here [2.0, 2.0]" in done.stdout
    assert "child 5" in done.stdout
    assert "parent [2. 2. 2. 2. 2.]" in done.stdout


INTERRUPTED = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell that started the tests may ignore it
import numpy as np, xpdispatch as xd
from xpdispatch.running import cutting
cutting.forced = 64

@xd.kernel("x[i] -> y[i]")
def slow(xp, x):
    if x[0] == 1:  # on ones, in a dry run
        return xp.sqrt(x) + x * x
    time.sleep(0.05)
    return xp.sqrt(x) + x * x

out = np.zeros(1000)
x = np.full(1000, 4.0)
for round in range(3):
    out[:] = 0
    at = []
    def interrupt():
        at.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.3, interrupt).start()
    try:
        with xd.threads(int(sys.argv[1])):
            slow(x, out=out)
        print("not interrupted")
    except KeyboardInterrupt:
        print("took", time.perf_counter() - at[0])
    assert set(out) <= {0.0, 18.0} and (x == 4).all(), "cells are what they were, or the answer"
    done = out.copy()
    time.sleep(0.3)
    assert (out == done).all(), "nothing writes any more"
assert threading.active_count() == int(sys.argv[1]), "threads that wait for the next call"
assert (slow(np.full(3, 4.0)) == 18).all()
print("all right")
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_leaves_arrays_valid_and_threads_usable(threads: int) -> None:
    done = run_python(f"import sys; sys.argv = ['-', '{threads}']\n{INTERRUPTED}")
    assert "all right" in done.stdout, done.stderr + done.stdout
    took = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("took")]
    assert len(took) == 3
    assert max(took) < 0.05 + 0.2 + 0.25  # the tile in flight, what is allowed, a busy machine


def test_an_interrupt_where_legate_runs_ends_the_program() -> None:
    """Legate puts its own handler in the place of Python's, so that no KeyboardInterrupt comes."""
    done = run_python(
        "import os, signal, threading, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # the tests' shell may ignore it
        "import xpdispatch as xd, cupynumeric as cn\n"
        "def body(xp, x):\n    time.sleep(3)\n    return x + 1\n"
        "y = xd.kernel('x[i] -> y[i]', dtype='x')(body)(cn.ones(3))\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "xd.synchronize(); print('went on')\n"
    )
    assert done.returncode == -signal.SIGINT
    assert "went on" not in done.stdout


def test_kernels_that_nobody_holds_are_collected() -> None:
    """Here nothing keeps them: caches are their own."""
    done = subprocess.run([sys.executable, "-c", COLLECTED], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.strip() == "0 alive", done.stdout + done.stderr


COLLECTED = """
import gc, weakref
import numpy as np, xpdispatch as xd
references = []
for n in range(200):
    big = np.zeros(1000)
    def body(xp, x, n=n):
        return x + n + big[0]
    k = xd.kernel("x[i] -> y[i]")(body)
    for _ in range(3):
        k(np.ones(4))
    xd.kernel("x[i] -> sum s[]", fold=None)(lambda xp, x: xp.sum(x) + big[0])(np.ones(100_000))
    references += [weakref.ref(k), weakref.ref(body)]
del k, body, big
gc.collect()
print(sum(r() is not None for r in references), "alive")
"""
