"""Operands and results that share memory: the answer is the one of arrays that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpdispatch as xd
from conftest import Engine, forced_cuts
from xpdispatch import ArgumentError, ResultError, kernel
from xpdispatch.testing import forced_tiles


@kernel("x[i,j], y[i,j] -> z[i,j]")
def combine(xp, x, y):
    return 2 * x - y


@kernel("x[i-1..i+1,j] -> z[i,j]", boundary="wrap")
def neighbours(xp, x):
    return 3 * x[2:] - x[:-2]


@kernel("x[i,j] -> z[j,i]")
def turned(xp, x):
    return x.T + 1


@kernel("x[i,j] -> sum s[i]")
def row_sums(xp, x):
    return xp.sum(x, axis=1)


@kernel("x[i,j], y[i,j] -> z[i,j], w[i,j]")
def two(xp, x, y):
    return x + y, x - y


@kernel("x[i,j], y[i,j] -> z[i,j], w[i,j]")
def views_of_operands(xp, x, y):
    return y, x


@kernel("x[i,j], y[i,j] -> z[i,j]")
def written(xp, x, y, z):
    z[...] = 0
    z += x  # too late, if z is x
    z -= y


@kernel("x[i,j], y[i,j] -> z[i,j], w[i,j]")
def both_written(xp, x, y, z, w):
    z[...] = x + y
    w[...] = x - y


@kernel("u[i,j], x[i,j] -> u[i,j]")
def updated(xp, u, x):
    u *= 2
    u += x  # too late, if x is u


@kernel("u[i-1..i+1,j], x[i,j] -> u[i,j]", boundary="edge")
def stepped(xp, u, x):
    return u[2:] - u[:-2] + x


def view(draw: Any, base: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A part of a square array of this shape: shifted, reversed, transposed, with a step or as overlapping windows."""
    rows, columns = shape
    how = draw(st.sampled_from(["shifted", "reversed", "transposed", "step", "strided"]))
    if how == "transposed":
        return view(draw, base, (columns, rows)).T
    if how == "strided":  # cells that share memory with each other, for reading alone
        flat = base.reshape(-1)[draw(st.integers(0, 3)) :]
        step = flat.strides[0]
        return np.lib.stride_tricks.as_strided(flat, shape, (step * draw(st.integers(0, 3)), step), writeable=False)
    step = draw(st.integers(1, 2)) if how == "step" else 1
    top = draw(st.integers(0, len(base) - step * (rows - 1) - 1))
    left = draw(st.integers(0, len(base) - columns))
    part = base[top : top + step * (rows - 1) + 1 : step, left : left + columns]
    return part[::-1, :: draw(st.sampled_from([1, -1]))] if how == "reversed" else part


CASES = [
    (combine, 2, 1),
    (neighbours, 1, 1),
    (turned, 1, 1),
    (row_sums, 1, 1),
    (two, 2, 2),
    (views_of_operands, 2, 2),
    (written, 2, 1),
    (both_written, 2, 2),
    (updated, 2, 0),
    (stepped, 2, 0),
]


@pytest.mark.parametrize("cuts", ["whole", "cut"])
@given(case=st.sampled_from(CASES), data=st.data())
@settings(max_examples=250)
def test_any_overlap_in_this_process(case: Any, data: Any, cuts: str) -> None:
    made, reads, writes = case
    base = np.random.default_rng(0).integers(-99, 99, (11, 11))
    draw = data.draw
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    operands = [view(draw, base, shape) for _ in range(reads)]
    if writes and draw(st.booleans()):
        operands[-1] = operands[0]
    written_shape = {turned: shape[::-1], row_sums: (shape[0], 1)}.get(made, shape)
    outs = [view(draw, base, written_shape) for _ in range(writes)]
    if made is row_sums:
        outs = [o[:, 0] for o in outs]
    if made.definition.body.updates:
        outs = [operands[0]]
    if not all(o.flags.writeable for o in outs):
        return
    expected = made(*(o.copy() for o in operands), **({"out": tuple(o.copy() for o in outs)} if writes else {}))
    expected = expected if isinstance(expected, tuple) else (expected,)
    arguments = {"out": tuple(outs)} if writes else {}
    if writes == 2 and np.shares_memory(*outs):
        before = base.copy()
        with pytest.raises(ArgumentError, match="results 'z' and 'w' share memory"):
            made(*operands, **arguments)
        np.testing.assert_array_equal(base, before)
        return
    with forced_cuts(2) if cuts == "cut" else xd.threads(1):
        got = made(*operands, **arguments)
    got = got if isinstance(got, tuple) else (got,)
    for g, o, e in zip(got, outs, expected, strict=True):
        assert g is o
        np.testing.assert_array_equal(g, e)


def parts(xp: Any, base: Any) -> dict[str, Any]:
    """Views of a square array of 12 by 12 cells, of 8 by 8 each."""
    return {
        "corner": base[:8, :8],
        "shifted down": base[1:9, :8],
        "shifted right": base[:8, 1:9],
        "transposed": base[:8, :8].T,
        "other corner": base[4:, 4:],
        "transposed and shifted": base[2:10, 1:9].T,
        "apart": base[:8, 4:],
    }


NAMES = list(parts(np, np.zeros((12, 12))))


@pytest.mark.parametrize("out", NAMES)
@pytest.mark.parametrize("made", [combine, neighbours, turned, written], ids=lambda k: k.name)
def test_views_of_cupynumeric_arrays(made: Any, out: str, on_legate: Engine) -> None:
    import cupynumeric

    for first in NAMES:
        values = np.arange(144).reshape(12, 12)
        base = cupynumeric.array(values)
        reads = len(made.definition.operands)
        operands = [parts(cupynumeric, base)[n] for n in (first, "other corner")[:reads]]
        copies = [parts(np, values)[n].copy() for n in (first, "other corner")[:reads]]
        target = parts(np, values)[out]
        target[...] = made(*copies) if made is not written else 2 * 0 + copies[0] - copies[1]
        made(*operands, out=parts(cupynumeric, base)[out])
        xd.synchronize()
        np.testing.assert_array_equal(np.asarray(base), values, err_msg=f"{first} to {out}")


@pytest.mark.parametrize("made", [two, both_written, views_of_operands], ids=lambda k: k.name)
def test_two_results_in_one_cupynumeric_array(made: Any, on_legate: Engine) -> None:
    import cupynumeric

    for first in NAMES:
        for second in NAMES:
            values = np.arange(144).reshape(12, 12)
            base = cupynumeric.array(values)
            here, there = parts(cupynumeric, base), parts(np, values)
            operands = here["corner"], here["transposed and shifted"]
            copies = there["corner"].copy(), there["transposed and shifted"].copy()
            outs = here[first], here[second]
            if np.shares_memory(there[first], there[second]):
                with pytest.raises(ArgumentError, match="results 'z' and 'w' share memory"):
                    made(*operands, out=outs)
                continue
            out = np.empty((8, 8), int), np.empty((8, 8), int)
            there[first][...], there[second][...] = made(*copies, out=out)
            made(*operands, out=outs)
            xd.synchronize()
            np.testing.assert_array_equal(np.asarray(base), values, err_msg=f"{first}, {second}")


@pytest.mark.parametrize("made", [updated, stepped], ids=lambda k: k.name)
def test_updated_in_place_beside_views_of_itself(made: Any, on_legate: Engine) -> None:
    import cupynumeric

    for name in NAMES:
        values = np.arange(144).reshape(12, 12)
        base = cupynumeric.array(values)
        u, x = parts(cupynumeric, base)["corner"], parts(cupynumeric, base)[name]
        expected = made(parts(np, values)["corner"].copy(), parts(np, values)[name].copy())
        parts(np, values)["corner"][...] = expected
        made(u, x)
        xd.synchronize()
        np.testing.assert_array_equal(np.asarray(base), values, err_msg=name)


def test_the_same_array_several_times(engine: Engine) -> None:
    x = engine.put(np.arange(20).reshape(4, 5))
    np.testing.assert_array_equal(engine.get(combine(x, x)), np.arange(20).reshape(4, 5))
    if engine.mutable:
        combine(x, x, out=x)
        np.testing.assert_array_equal(engine.get(x), np.arange(20).reshape(4, 5))


def test_broadcast_views(on_legate: Engine) -> None:
    import cupynumeric

    row = np.arange(5)
    wide = cupynumeric.broadcast_to(cupynumeric.array(row), (4, 5))
    got = combine(wide, wide)
    np.testing.assert_array_equal(on_legate.get(got), np.broadcast_to(row, (4, 5)))
    column = cupynumeric.broadcast_to(cupynumeric.array(np.arange(4))[:, None], (4, 5))
    np.testing.assert_array_equal(on_legate.get(combine(wide, column)), 2 * row - np.arange(4)[:, None])
    with pytest.raises(ResultError, match="result 'z' cannot be written"):
        combine(got, got, out=wide)


@pytest.mark.parametrize("n", [6, 100_000])
@pytest.mark.parametrize("step", [2, 3, -2])
def test_an_operand_that_is_returned_and_lies_there_at_another_step(n: int, step: int) -> None:
    """NumPy alone gets this assignment wrong."""
    same = kernel("x[i] -> y[i]")(lambda xp, x: x)
    for start in range(9):
        array = np.arange(4.0 * n)
        x, y = array[::step][:n], array[start : start + n]
        wanted = x.copy()
        assert same(x, out=y) is y
        np.testing.assert_array_equal(y, wanted)


def test_one_array_for_a_buffer_and_an_operand(engine: Engine) -> None:
    if not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    x = engine.put(np.arange(20).reshape(4, 5))
    y = engine.put(np.ones((4, 5), int))
    written(x, y, x)
    np.testing.assert_array_equal(engine.get(x), np.arange(20).reshape(4, 5) - 1)
    with pytest.raises(ArgumentError, match="results 'z' and 'w' share memory"):
        both_written(x, y, y, y)
    np.testing.assert_array_equal(engine.get(y), np.ones((4, 5)))


@kernel("x[:,:n], y[i,:n] -> u[i]", dtype="x")
def whole_and_cut(xp, x, y):
    return xp.sum(x) + 8 * xp.sum(y, axis=1)


@kernel("x[i,k], y[k,j] -> sum z[i,j]")
def product(xp, x, y):
    return x @ y


@kernel("x[i-1..i+1,:n], y[i,:n] -> u[?]", boundary="wrap", dtype="x")
def halo_and_cut(xp, x, y):
    return xp.sum(x[2:] - 3 * x[:-2] + 9 * y, axis=1)


@pytest.mark.parametrize("made", [whole_and_cut, product, halo_and_cut], ids=lambda k: k.name)
def test_no_launch_has_one_array_both_whole_and_cut(
    made: Any, on_legate: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Legate 26.6 runs such a task, now and then, before its cells have been copied: one call of a hundred was wrong.
    import cupynumeric

    from xpdispatch.legate import engine
    from xpdispatch.legate.stores import store_behind
    from xpdispatch.testing import forced_tiles

    real, launched = engine.issue, []

    def spy(launch: Any, entries: Any, *rest: Any) -> None:
        if launch.definition is made.definition:
            first, second = map(store_behind, entries)
            launched.append(first.overlaps(second))
        real(launch, entries, *rest)

    monkeypatch.setattr(engine, "issue", spy)
    x = np.arange(16).reshape(4, 4)
    expected = made(x, x)
    with forced_tiles(2):  # one task may have all of it twice
        for _ in range(50):
            array = cupynumeric.array(x)
            np.testing.assert_array_equal(on_legate.get(made(array, array)), expected)
    assert launched == [False] * 50


def test_an_array_with_a_halo_that_nothing_else_is_aligned_with() -> None:
    # As above, where the array itself was to be cut a second time, so that there is something to cut.
    import cupynumeric

    @kernel("x[i-1..i+1,:] -> u[?]", boundary=0, dtype="x")
    def windows(xp, x):
        return xp.sum(x[:-2] + 2 * x[1:-1] + 4 * x[2:], axis=1)

    rng = np.random.default_rng(0)
    for _ in range(300):
        x = np.asfortranarray(rng.integers(1, 99, (2, 1)).astype(np.uint32))
        with forced_tiles(4):
            got = windows(cupynumeric.array(x))
            xd.synchronize()
        np.testing.assert_array_equal(np.asarray(got), windows(x))
