"""What holds where several processes run one program, each of them with these tests: ``test_several_processes.py``.

``xpdispatch run --ranks-per-node 2 --launcher mpirun --cpus 1 -m pytest tests/several.py``
"""

from __future__ import annotations

import pickle
from typing import Any

import cupynumeric as cn
import legate.core as lg
import numpy as np
import pytest

import xpdispatch as xd
from xpdispatch import kernel
from xpdispatch.legate import agreement, collective, stores
from xpdispatch.machine import hardware, progress
from xpdispatch.testing import check_on_legate, forced_tiles

RANK, COUNT = collective.rank, collective.runtime.node_count


def everywhere(value: Any) -> list[Any]:
    """What all processes have here, by rank."""
    told = collective.of_all(value)
    assert sorted(told) == list(range(COUNT))
    return [told[rank] for rank in range(COUNT)]


@kernel("x[i] -> y[i]", dtype="x")
def refuse(xp: Any, x: Any, value: float) -> Any:
    if xp.any(x == value):
        raise ValueError(f"there is {value}")
    return x + 1


class Mute(Exception):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise pickle.PicklingError("never")


def raised() -> tuple[str, str, list[str]]:
    with pytest.raises(Exception) as caught:
        xd.synchronize()
    return type(caught.value).__name__, str(caught.value), list(caught.value.__notes__)


def test_there_are_several_processes_and_each_has_tiles() -> None:
    assert COUNT > 1
    ran: list[int] = []

    @kernel("x[i] -> y[i]", guard=False)
    def double(xp, tile, x):
        ran.append(tile.start("i"))
        return 2 * x

    with forced_tiles(2) as tiles:
        np.testing.assert_array_equal(np.asarray(double(cn.arange(40.0))), 2 * np.arange(40.0))
        xd.synchronize()
    starts = sorted(start for _, ((start, _),) in tiles)
    own = [{*s} - {0} for s in everywhere(ran)]  # each has tried the body on stand-ins, where 0 is the start
    assert all(own)
    assert sorted(start for s in own for start in s) == starts[1:]
    assert len({tuple(t) for t in everywhere(tiles)}) == 1, "all know the same tiles"
    assert len(tiles) == 2 * COUNT


# -- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 17, 39], ids=["first tile", "middle", "last tile"])
def test_a_failure_on_one_tile_is_raised_in_every_process(value: int) -> None:
    x = cn.arange(40.0)
    with forced_tiles(2):
        refuse(x, value)
        good = refuse(x, -1)
        found = raised()
        assert found[:2] == ("ValueError", f"there is {value}")
        assert "kernel 'refuse', tile i = " in found[2][0]
        assert len({repr(f) for f in everywhere(found)}) == 1
        xd.synchronize()
        np.testing.assert_array_equal(np.asarray(good), np.arange(40.0) + 1)
        np.testing.assert_array_equal(np.asarray(refuse(x, 99)), np.arange(40.0) + 1)


@pytest.mark.parametrize(
    ("thrown", "name"),
    [
        (Mute("mute"), "KernelError"),
        (KeyboardInterrupt("stop"), "KernelError"),
        (SystemExit(3), "KernelError"),
        (KeyError("long " * 20_000), "KeyError"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_cannot_be_handed_on_as_it_is(thrown: BaseException, name: str) -> None:
    @kernel("x[i] -> y[i]", dtype="x")
    def throw(xp, tile, x):
        if tile.start("i"):
            raise thrown
        return x

    with forced_tiles(1):
        throw(cn.arange(40.0))
        assert raised()[0] == name
        xd.synchronize()


def test_a_thousand_failures() -> None:
    x = cn.arange(40.0)
    with forced_tiles(2):
        for _ in range(1000):
            refuse(x, 3)
        name, _, notes = raised()
    assert name == "ValueError"
    assert notes[-1] == "at least 999 more tiles failed, in 1000 calls altogether"
    xd.synchronize()


def test_failures_while_other_launches_wait() -> None:
    """Of many launches, some of which fail, the first in the order of the program is raised."""
    x = cn.arange(40.0)
    with forced_tiles(2):
        for n in range(30):
            x = refuse(x, 25 if n == 7 else -1)
            refuse(x, n + 39)
        assert raised()[1] == "there is 39", "the largest element of the first of them"
    xd.synchronize()


def test_a_body_with_a_result_of_unknown_size_fails() -> None:
    @kernel("x[i] -> y[?]", dtype="x")
    def some(xp, x):
        if xp.any(x == 5):
            raise ValueError("there is 5")
        return x[x > 2]

    with forced_tiles(1):
        with pytest.raises(ValueError, match="there is 5"):
            some(cn.arange(40.0))
        np.testing.assert_array_equal(np.asarray(some(cn.arange(5.0))), [3.0, 4.0])


@pytest.mark.parametrize("mode", ["DEFERRED", "IGNORED"])
def test_failures_in_a_scope_of_legate_s_own(mode: str) -> None:
    x, told = cn.arange(40.0), ""
    with forced_tiles(1):
        try:
            with lg.Scope(exception_mode=lg.ExceptionMode[mode]):
                for _ in range(7):
                    refuse(x, 3)
        except ValueError as error:
            told = str(error)
        assert everywhere(told) == ["there is 3" if mode == "DEFERRED" else ""] * COUNT
        xd.synchronize()


def test_failures_are_found_in_a_scope_of_fewer_processors() -> None:
    """A part of the machine cannot ask the others: what failed there is told when all are asked."""
    x = cn.arange(40.0)
    machine = lg.get_machine()
    with forced_tiles(1):
        with lg.Scope(machine=machine[:1]):
            refuse(x, 3)
            assert raised()[1] == "there is 3"
        refuse(x, 39)
        with lg.Scope(machine=machine[:1]):
            xd.synchronize()
        assert raised()[1] == "there is 39"


# -- what each process has for itself -------------------------------------------------------------------------------


def test_each_process_has_its_own_copy_of_numpy_arrays() -> None:
    """Tasks read the NumPy array of the process that they run in, and every process gets all of the answer."""
    x, out = np.arange(40.0), np.zeros(40)
    with xd.engine("legate"), forced_tiles(1):
        refuse(x, -1, out=out)
    np.testing.assert_array_equal(out, x + 1)

    @kernel("x[i] -> sum s[]")
    def total(xp, x):
        return xp.sum(x)

    into = np.zeros(())
    with xd.engine("legate"), forced_tiles(1):
        total(x, out=into)
    assert into == x.sum()
    assert everywhere(out.tolist()) == [out.tolist()] * COUNT


def test_results_of_no_axes_and_what_is_asked_of_the_runtime() -> None:
    np_ = xd.array_module()
    assert np_ is cn

    @kernel("x[i] -> sum s[], max hi[]", deterministic=True)
    def both(xp, x):
        return xp.sum(x), xp.max(x)

    values = np.random.default_rng(0).normal(size=1001)
    with forced_tiles(2):
        s, hi = both(cn.array(values))
        assert float(hi) == values.max()
    assert len(set(everywhere(float(s)))) == 1, "the same bits in every process"
    with xd.timed() as t:
        both(cn.array(values))
    assert t.milliseconds > 0


def test_check_and_explain_see_the_tiles_of_all_processes() -> None:
    assert check_on_legate(refuse, np.arange(40.0), -1.0).tilings > 0
    with forced_tiles(3) as tiles, xd.engine("legate"):
        answer = refuse.explain(cn.arange(40.0), -1.0)
        refuse(cn.arange(40.0), -1.0)
        xd.synchronize()
    assert sorted(tile for _, tile in tiles) == sorted(answer.tiles())
    assert answer.count == 3 * COUNT


def test_a_call_that_does_not_fit_is_refused_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one process has less memory than the others, all refuse."""
    monkeypatch.setattr(stores, "memory", lambda flag: 4096 << RANK)
    stores._least_memory.cache_clear()
    try:
        with pytest.raises(xd.EngineError, match="Legate has 0 MiB in all"):
            refuse(cn.arange(float(1024 * COUNT)), -1.0)
    finally:
        stores._least_memory.cache_clear()


def test_one_process_shows_the_progress() -> None:
    assert everywhere(progress.elsewhere) == [False] + [True] * (COUNT - 1)


def test_each_process_has_its_share_of_the_cores() -> None:
    import os

    if (os.cpu_count() or 1) < COUNT:
        pytest.skip(f"{COUNT} processes share {os.cpu_count()} cores")
    shares = everywhere(sorted(os.sched_getaffinity(0)))
    assert len({core for share in shares for core in share}) == sum(map(len, shares)), "no core has two processes"
    assert hardware.cores() == len(shares[RANK])


def test_what_processes_tell_one_another_may_be_large() -> None:
    sent = np.full(3_000_000, RANK, np.uint8).tobytes()
    assert [len(told) for told in everywhere(sent)] == [3_000_000] * COUNT
    assert [told[-1] for told in everywhere(sent)] == list(range(COUNT))
    assert collective.total(RANK) == sum(range(COUNT))


def test_a_kernel_that_depends_on_its_tiles_is_refused_in_every_process() -> None:
    """Before the launch, on numbers that all make alike: nobody waits for another, and the next call is right."""

    @kernel("x[i] -> sum m[]")
    def mean(xp, x):
        return xp.mean(x)

    total = kernel("x[i] -> sum m[]")(lambda xp, x: xp.sum(x))
    for _ in range(2):
        with forced_tiles(2), pytest.raises(xd.PartitionError, match="depends on how the arrays are cut") as caught:
            mean(cn.ones(40))
        assert len(set(everywhere(str(caught.value)))) == 1
    assert float(xd.to_numpy(total(cn.ones(40)))) == 40


# -- what differs -----------------------------------------------------------------------------------------------------


@kernel("x[i] -> y[i]", dtype="x")
def scale(xp: Any, x: Any, a: float) -> Any:
    return a * x


@kernel("x[i] -> y[i]", dtype="x")
def shift(xp: Any, x: Any, a: float) -> Any:
    return a + x


@pytest.mark.parametrize(
    ("differ", "said"),
    [
        (
            lambda x: scale(x, 1.0 + RANK),
            "kernel 'scale': argument 'a' is 1.0 in process 0, and 2.0 in process 1 at FILE",
        ),
        (lambda x: scale(np.arange(4.0) + RANK, 1.0), "kernel 'scale': argument 'x' is an array of shape (4,)"),
        (
            lambda x: (scale, shift)[min(RANK, 1)](x, 2.0),
            "process 0 comes to kernel 'scale' at FILE, and process 1 to kernel 'shift' at FILE",
        ),
        (
            lambda x: scale(x, 2.0) if RANK else xd.synchronize(),
            "process 0 comes to a synchronisation at FILE, and process 1 to kernel 'scale' at FILE",
        ),
    ],
    ids=["scalar", "NumPy array", "kernel", "synchronisation"],
)
def test_what_differs_between_processes_is_found(differ: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = cn.arange(40.0)
    monkeypatch.setattr(agreement, "wanted", True)
    with xd.engine("legate"):
        scale(x, 2.0)
        xd.synchronize()
        with pytest.raises(xd.EngineError) as caught:
            differ(x)
    told = str(caught.value)
    assert said.replace("FILE", f"{__file__}:{differ.__code__.co_firstlineno}") in told
    assert "Hint: all processes run one program and must make the same calls" in told
    assert not agreement.wanted


# -- scans, windows and keys ----------------------------------------------------------------------------------------


def add_up(xp: Any, a: Any, b: Any) -> Any:
    return a[0] * b[0], b[0] * a[1] + b[1]


@kernel("m[i], c[i] -> fold p[i..], fold y[i..], sum s[..i]", fold=add_up)
def recurrence(xp: Any, m: Any, c: Any) -> Any:
    p, y, step = m, c, 1
    while step < m.shape[0]:
        both = add_up(xp, (p[:-step], y[:-step]), (p[step:], y[step:]))
        p, y = (xp.concat([new, old[-step:]]) for new, old in zip(both, (p, y), strict=True))
        step *= 2
    return p, y, xp.cumulative_sum(c)


@kernel("x[b*i-1..b*i+w, j-1..j+1] -> y[i, j]", boundary=("wrap", 7))
def strided(xp: Any, x: Any, b: int, w: int) -> Any:
    count = (x.shape[0] - w - 2) // b + 1
    return sum(x[k : k + b * count : b, 1:-1] * (k + 1) for k in range(w + 2)) + x[: b * count : b, 2:]


@kernel("x[i], g[i] -> sum total[@g=n], max most[@g=n]")
def grouped(xp: Any, x: Any, g: Any, n: int) -> Any:
    return x, x


@kernel("A[i, i], p[i], t[@p, :] -> y[i]")
def looked_up(xp: Any, A: Any, p: Any, t: Any) -> Any:
    return A * xp.sum(t, axis=1)


def test_scans_windows_and_keys() -> None:
    rng = np.random.default_rng(1)
    m, c, g = rng.integers(1, 3, 19), rng.integers(-9, 9, 19), rng.integers(0, 5, 19)
    x, A, t = rng.integers(-9, 9, (8, 6)), rng.integers(-9, 9, (19, 19)), rng.integers(-9, 9, (5, 2))
    p, y, s = (np.asarray(a) for a in recurrence(cn.array(m), cn.array(c)))
    values = [(m[18], c[18])]
    for n in range(17, -1, -1):
        values.insert(0, add_up(np, (m[n], c[n]), values[0]))
    np.testing.assert_array_equal(p, [v[0] for v in values])
    np.testing.assert_array_equal(y, [v[1] for v in values])
    np.testing.assert_array_equal(s, c.cumsum())
    w = np.pad(np.pad(x, ((1, 1), (0, 0)), mode="wrap"), ((0, 0), (1, 1)), constant_values=7)
    expected = sum(w[k : k + 8 : 2, 1:-1] * (k + 1) for k in range(4)) + w[:8:2, 2:]
    np.testing.assert_array_equal(np.asarray(strided(cn.array(x), 2, 2)), expected)
    total, most = (np.asarray(a) for a in grouped(cn.array(c), cn.array(g), 6))
    np.testing.assert_array_equal(total, np.bincount(g, c, 6).astype(int))
    np.testing.assert_array_equal(most, [c[g == k].max(initial=np.iinfo(c.dtype).min) for k in range(6)])
    found = np.asarray(looked_up(cn.array(A), cn.array(g), cn.array(t)))
    np.testing.assert_array_equal(found, np.diagonal(A) * t[g].sum(1))
    with pytest.raises(xd.PointerError, match="argument 'g' holds the key 9"):
        grouped(cn.array(c), cn.array(np.where(g == g[18], 9, g)), 6)
        xd.synchronize()
