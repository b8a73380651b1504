"""The tile executor under given tilings, without any engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conftest import run_tiles
from xpdispatch import kernel
from xpdispatch.running.site import inside_body


@kernel("A[m,k], B[k,n] -> sum C[m,n]")
def matmul(xp, A, B):
    assert 0 not in A.shape
    assert 0 not in B.shape
    return A @ B


def test_ragged_and_empty_tiles() -> None:
    A, B = np.arange(30.0).reshape(5, 6), np.arange(42.0).reshape(6, 7)
    (C,) = run_tiles(matmul, [A, B], m=[1, 1, 4], k=[0, 2], n=[7])
    np.testing.assert_array_equal(C, A @ B)


def test_no_cell_at_all_gives_nothing() -> None:
    assert run_tiles(matmul, [np.ones((5, 0)), np.ones((0, 7))]) == [None]


def test_buffers_get_their_part_and_reductions_a_fresh_identity() -> None:
    seen = []

    @kernel("x[i] -> z[i], max hi[]", dtype=(None, "float64"))
    def write(xp, x, z, hi):
        seen.append(float(hi))
        z[...] = x + 1
        hi[...] = xp.max(x)

    x = np.arange(10.0)
    z = np.full(10, np.nan)
    got, hi = run_tiles(write, [x], targets=[z, None], i=[3, 7])
    assert got is z
    np.testing.assert_array_equal(z, x + 1)
    assert seen == [-np.inf] * 3
    assert hi == 9.0


def test_in_place_in_tiles() -> None:
    inc = kernel("u[i,j], v[j] -> u[i,j]")(lambda xp, u, v: u + v)
    u, v = np.zeros((4, 5)), np.arange(5.0)
    run_tiles(inc, [u, v], i=[1], j=[2, 3])
    np.testing.assert_array_equal(u, np.broadcast_to(v, (4, 5)))


def test_zero_dimensional_arrays_stay_arrays() -> None:
    @kernel("x[i], s[] -> sum t[]")
    def body(xp, x, s):
        assert isinstance(s, np.ndarray)
        return xp.sum(x) * s

    (t,) = run_tiles(body, [np.arange(6.0), np.array(2.0)], i=[2, 4])
    assert t.shape == ()
    assert t == 30.0


def test_tile_says_where_it_is() -> None:
    seen = []

    @kernel("x[i,:c], w[j] -> sum y[i,:c]")
    def body(xp, tile, x, w):
        seen.append(
            (tile.start("i"), tile.size("i"), tile.total("i"), tile.start(("w", 0)), tile.size(("x", -1)), tile.variant)
        )
        np.testing.assert_array_equal(tile.coords("j"), np.arange(tile.start("j"), tile.start("j") + w.shape[0]))
        return x * xp.sum(w)

    run_tiles(body, [np.ones((5, 3)), np.ones(4)], i=[2], j=[1])
    assert seen == [(0, 2, 5, 0, 3, "CPU"), (0, 2, 5, 1, 3, "CPU"), (2, 3, 5, 0, 3, "CPU"), (2, 3, 5, 1, 3, "CPU")]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda tile: tile.start("q"), "tile got index 'q', expected one of i"),
        (lambda tile: tile.start(("q", 0)), "tile got array 'q'"),
        (lambda tile: tile.size(("x", 3)), "tile got axis 3 of 'x', which has 1 axes"),
    ],
)
def test_tile_misuse(ask: Any, message: str) -> None:
    asking = kernel("x[i] -> y[i]")(lambda xp, tile, x: ask(tile))
    with pytest.raises(TypeError, match=message):
        asking(np.ones(3))


def test_tiles_must_agree() -> None:
    moody = kernel("x[i] -> y[i]")(lambda xp, x: x if x[0] < 2 else x.astype(np.float32))
    with pytest.raises(ValueError, match="returned dtype float32 for result 'y', but float64 on another tile"):
        run_tiles(moody, [np.arange(4.0)], i=[2])
    lengths = kernel("x[i] -> sum y[:]")(lambda xp, x: xp.ones(x.shape[0]))
    with pytest.raises(ValueError, match="returned extent 3 on axis 0 of result 'y', but 1 on another tile"):
        run_tiles(lengths, [np.arange(4.0)], i=[1])


def test_errors_name_the_tile_and_the_mark_is_taken_back() -> None:
    def body(xp, x):
        assert inside_body.get()
        if x[0] == 2:
            raise ValueError("two")
        return x

    with pytest.raises(ValueError, match="two") as caught:
        run_tiles(kernel("x[i] -> y[i]")(body), [np.arange(4.0)], i=[2])
    assert caught.value.__notes__ == ["in kernel 'body', tile i = 2:4 of 4, variant CPU"]
    assert not inside_body.get()


def test_inputs_are_read_only_even_as_views_of_views() -> None:
    def body(xp, x):
        x[::2][0] = 5
        return x

    with pytest.raises(ValueError, match="read-only"):
        run_tiles(kernel("x[i] -> y[i]")(body), [np.arange(4.0)])


def test_returned_views_are_copied() -> None:
    x = np.arange(4.0)
    for body in (lambda xp, x: x, lambda xp, x: x[::-1], lambda xp, x: xp.broadcast_to(x[:1], x.shape)):
        y = kernel("x[i] -> y[i]")(body)(x)
        y[...] = 7
        np.testing.assert_array_equal(x, np.arange(4.0))


def test_sums_here_are_the_same_in_every_run() -> None:
    x = np.random.default_rng(0).normal(size=10_000)
    total = kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(x))
    cuts = [100, 1000, 5000]
    assert len({float(run_tiles(total, [x], i=cuts)[0]) for _ in range(20)}) == 1


def test_samples_see_integers_where_the_body_decides_an_extent() -> None:
    repeat = kernel("x[i] -> y[i, :]")(lambda xp, x, n: xp.ones((x.shape[0], n)))
    assert repeat(np.zeros(0), 3).shape == (0, 3)
    assert repeat(np.zeros(0), 5).shape == (0, 5)
    flagged = kernel("x[i] -> sum y[]")(lambda xp, x, single: xp.sum(x, dtype=xp.float32 if single else xp.float64))
    assert flagged(np.zeros(0), True).dtype == np.float32
    assert flagged(np.zeros(0), False).dtype == np.float64


def test_a_tile_has_no_halo_where_none_is_declared() -> None:
    seen = []
    kernel("x[i] -> y[i]")(lambda xp, tile, x: seen.append(tile.halo("x", 0)) or x)(np.ones(3))
    assert seen == [(0, 0)]


def test_results_are_no_arrays_that_something_else_holds() -> None:
    table = np.arange(3.0)
    looked_up = kernel("x[i] -> y[i]")(lambda xp, x, tables: tables["t"])
    y = looked_up(np.ones(3), {"t": table})
    np.testing.assert_array_equal(y, table)
    assert not np.shares_memory(y, table)


def test_enumerations_count_by_value() -> None:
    import enum

    kind = enum.IntEnum("kind", {"single": 0, "double": 1})
    cast = kernel("x[i] -> sum s[]")(lambda xp, x, k: xp.sum(x, dtype=xp.float64 if k is kind.double else xp.float32))
    assert cast(np.ones(0), kind.single).dtype == np.float32
    assert cast(np.ones(0), kind.double).dtype == np.float64


def test_numbers_beyond_int64() -> None:
    same = kernel("s[] -> z[]", dtype="s")(lambda xp, s: s)
    assert same(5).dtype == np.int64
    assert int(same(2**63 + 5)) == 2**63 + 5


def test_out_is_checked_over_no_cell_too() -> None:
    half = kernel("x[i] -> y[i]")(lambda xp, x: x * 0.5)
    with pytest.raises(TypeError, match="cannot be written to int64"):
        half(np.ones(0), out=np.ones(0, int))


def test_byte_order_of_dtype_is_native() -> None:
    assert kernel("x[i] -> y[i]", dtype=">f8")(lambda xp, x: x)(np.ones(3)).dtype == np.dtype("f8")


@pytest.mark.parametrize("notes", [("a",), None, 5])
def test_odd_notes_do_not_replace_the_exception(notes: Any) -> None:
    class Odd(Exception):
        __notes__ = notes

    def body(xp, x):
        raise Odd("mine")

    with pytest.raises(Odd, match="mine") as caught:
        kernel("x[i] -> y[i]")(body)(np.ones(3))
    assert caught.value.__notes__[-1].startswith("in kernel 'body'")
