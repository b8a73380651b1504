"""What windows can be: a mode for each axis, blocks with halos, sizes that a call gives, and diagonals."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest

import xpdispatch as xd
from conftest import Engine, forced_cuts, run_tiles
from xpdispatch import ArgumentError, Kernel, PartitionError, Signature, kernel
from xpdispatch.running import cutting
from xpdispatch.testing import check_partitioning, forced_tiles

import cupynumeric  # isort: skip  after xpdispatch, which makes it importable without a driver

PADS = ["edge", "reflect", "symmetric", "wrap"]


def test_a_tile_knows_where_it_stops(engine: Engine) -> None:
    @kernel("x[2*i,:] -> left[i], stops[i], wide[i]", guard=False)
    def ends(xp, tile, x):
        left = tile.stop("i") - tile.coords("i")
        stops = xp.full_like(left, tile.stop(("x", 0)))
        return left, stops, xp.full_like(left, tile.stop(("x", 1)))

    left, stops, wide = (engine.get(v) for v in ends(engine.put(np.ones((14, 3)))))
    assert ((left + np.arange(7)) * 2 == stops).all()
    assert stops[-1] == 14
    assert (wide == 3).all()
    assert len({*stops.tolist()}) > 1 or engine.name not in ("numpy-cut", "legate-tiles")


def test_stops_are_those_of_coords() -> None:
    @kernel("x[i] -> y[i]")
    def left(xp, tile, x):
        return tile.stop("i") - tile.coords("i")

    assert run_tiles(left, [np.ones(5)], i=[2])[0].tolist() == [2, 1, 3, 2, 1]


# -- windows, by hand ----------------------------------------------------------------------------------------------


class Reached(NamedTuple):
    """An axis as a test writes it: elements from `scale * i + low` to `scale * i + high` go with element i."""

    low: int
    high: int
    scale: int = 1

    @property
    def halo(self) -> tuple[int, int]:
        return -self.low, self.high - self.scale + 1

    def written(self, index: str) -> str:
        scaled = index if self.scale == 1 else f"{self.scale}*{index}"
        if self.halo == (0, 0):
            return scaled
        low = f"{self.low}" if self.low else ""
        return f"{scaled}{low}..{scaled}" + (f"+{self.high}" if self.high else "")


def padded(x: np.ndarray, reached: list[Reached], modes: list[Any]) -> np.ndarray:
    """What NumPy's own pad makes of an operand, one axis after the other."""
    for axis, (reach, mode) in enumerate(zip(reached, modes, strict=True)):
        if mode not in ("valid", None):
            how = {"mode": mode} if isinstance(mode, str) else {"constant_values": mode}
            x = np.pad(x, [reach.halo if a == axis else (0, 0) for a in range(x.ndim)], **how)
    return x


def combine(xp: Any, window: Any, reached: list[Reached]) -> Any:
    """One number for each element of the indices, made of some of the window's elements that go with it."""
    total = 0
    shifts = product(*({0, (r.high - r.low) // 2, r.high - r.low} for r in reached))
    for shift in sorted(shifts):
        part = tuple(
            slice(k, k + n - sum(r.halo), r.scale) for k, n, r in zip(shift, window.shape, reached, strict=True)
        )
        total = 0.7 * total + window[part]
    return total


def drawn(rng: np.random.Generator, scales: list[int]) -> tuple[Kernel, np.ndarray, np.ndarray]:
    """A kernel with windows, an operand, and what NumPy gives."""
    names = "ijk"[: rng.integers(1, 4)]
    reached, modes, shape = [], [], []
    for _ in names:
        scale = int(rng.choice(scales))
        reach = Reached(-int(rng.integers(0, 5)), scale - 1 + int(rng.integers(0, 5)), scale)
        mode = [*PADS, "valid", 3.0, -1.5][rng.integers(7)] if reach.halo != (0, 0) else None
        n = int(rng.integers(1, 12))
        reached.append(reach)
        modes.append(mode)
        shape.append(n * scale + (sum(reach.halo) if mode == "valid" else 0))
    x = rng.random(shape) - 0.5
    x = x if rng.random() < 0.7 else np.asfortranarray(x)
    axes = ", ".join(r.written(n) for r, n in zip(reached, names, strict=True))
    given = tuple(m for m in modes if m is not None)

    def body(xp: Any, u: Any) -> Any:
        return combine(xp, u, reached)

    made = kernel(
        f"u[{axes}] -> v[{', '.join(names)}]",
        boundary={"u": given} if given else None,
        fuse=bool(rng.random() < 0.5),
        dtype="u",
    )
    return made(body), x, combine(np, padded(x, reached, modes), reached)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("scales", [[1]], ids=str)
def test_random_windows_are_what_one_padded_run_gives(
    seed: int, scales: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "_STRIP", -(1 << 60))  # strips at any rate
    rng = np.random.default_rng(seed)
    for _ in range(4):
        made, x, expected = drawn(rng, scales)
        assert str(Signature.parse(made.notation)) == made.notation
        for cuts in (nullcontext(), forced_cuts(1), forced_cuts(2)):
            with cuts:
                assert made(x).tobytes() == expected.tobytes(), made.notation
        for cuts in (nullcontext(), forced_cuts(1)):
            with cuts, forced_tiles(int(rng.integers(1, 4))):
                got = made(cupynumeric.array(x))
                xd.synchronize()
                assert np.asarray(got).tobytes() == expected.tobytes(), made.notation
    check_partitioning(made, x)


@pytest.mark.parametrize("engine", ["strict", "numpy-cut", "legate-tiles"], indirect=True)
def test_axes_of_rows_that_legate_cuts(engine: Engine) -> None:
    """Wide enough for the halo to be cut there."""
    reached, rng = [Reached(-2, 1), Reached(-1, 3)], np.random.default_rng(0)
    x = rng.random((20, 70))
    for modes in product(["wrap", "reflect", 7.0, "symmetric"], ["edge", -2.0, "wrap"]):
        made = kernel("u[i-2..i+1, j-1..j+3] -> v[i, j]", boundary=modes, dtype="u")(
            lambda xp, u: combine(xp, u, reached)
        )
        expected = combine(np, padded(x, reached, list(modes)), reached)
        assert engine.get(made(engine.put(x))).tobytes() == expected.tobytes(), modes
        assert made(x[:1, :1]) == combine(np, padded(x[:1, :1], reached, list(modes)), reached)
        assert made(x[:0]).shape == (0, 70)


# -- a mode for each axis ------------------------------------------------------------------------------------------


def test_clip_beside_another_mode(engine: Engine) -> None:
    @kernel("u[i-1..i+1, j-1..j+1] -> v[i, j]", boundary=("clip", "wrap"), dtype="u")
    def rows(xp, tile, u):
        below, above = tile.halo("u", 0)
        assert tile.halo("u", 1) == (1, 1)
        up = u if above else xp.concat([u, xp.zeros_like(u[:1, :])])
        up = up if below else xp.concat([xp.zeros_like(u[:1, :]), up])
        return up[:-2, 1:-1] + 2 * up[2:, 1:-1] + 3 * up[1:-1, :-2] + 4 * up[1:-1, 2:]

    x = np.random.default_rng(1).integers(0, 9, (9, 8)).astype(float)
    w = np.pad(np.pad(x, ((1, 1), (0, 0))), ((0, 0), (1, 1)), mode="wrap")
    expected = w[:-2, 1:-1] + 2 * w[2:, 1:-1] + 3 * w[1:-1, :-2] + 4 * w[1:-1, 2:]
    np.testing.assert_array_equal(engine.get(rows(engine.put(x))), expected)


def test_corners_of_numbers_are_those_of_the_last_axis() -> None:
    made = kernel("u[i..i+1, j..j+1] -> v[i, j]", boundary=(1.0, 2.0))(lambda xp, u: u[1:, 1:])
    expected = [[0.0, 2.0], [1.0, 2.0]]
    for array in (np.zeros((2, 2)), Engine("strict").put(np.zeros((2, 2)))):
        assert np.asarray(Engine("strict").get(made(array))).tolist() == expected


def test_a_window_of_zeros_counts_among_the_axes() -> None:
    made = kernel("u[i..i, j-1..j, k-0..k+0] -> v[i, j, k]", boundary=("wrap", "edge", 0))(lambda xp, u: u[:, 1:])
    assert made.notation == "u[i..i, j-1..j, k..k] -> v[i, j, k]"
    x = np.random.default_rng(2).random((3, 4, 2))
    np.testing.assert_array_equal(made(x), x)
    plain = kernel("u[i..i] -> v[i]")(lambda xp, u: 2 * u)
    assert plain(np.ones(3)).tolist() == [2, 2, 2]
    assert kernel("u[i..i] -> v[i]", boundary="valid")(lambda xp, u: 2 * u)(np.ones(3)).tolist() == [2, 2, 2]


def test_modes_stay_with_their_axes_under_another_notation() -> None:
    made = kernel("u[i-1..i+1, j-1..j+1] -> v[i, j]", boundary=("wrap", "edge"))(lambda xp, u: u[1:-1, 1:-1])
    fewer = made.with_signature(Signature.parse("u[:m, j-1..j+1] -> v[:m, j]"))
    assert fewer.definition.boundaries == {"u": (None, "edge")}
    assert "Outside u along i are the elements that numpy.pad puts there with mode 'wrap'." in made.__doc__
    assert "Outside u along j are the elements that numpy.pad puts there with mode 'edge'." in made.__doc__
    assert "boundary wrap, edge" in str(made.explain(cupynumeric.ones((50, 60))).on(processors=4))


def test_the_checker_under_several_modes() -> None:
    def right(xp, u):
        return u[:-2, 1:-1] + u[2:, 1:-1] - u[1:-1, 2:]

    def wrong(xp, u):
        return right(xp, u) / u.shape[0]

    x = np.random.default_rng(3).random((8, 9))
    line = "u[i-1..i+1, j-1..j+1] -> v[i, j]"
    check_partitioning(kernel(line, boundary=("wrap", 0.0))(right), x)
    with pytest.raises(PartitionError, match=r"along i\n"):
        check_partitioning(kernel(line, boundary=("wrap", 0.0))(wrong), x)


@pytest.mark.parametrize(
    ("boundary", "message"),
    [
        (("wrap",), r"boundary=\('wrap',\) of 'u' says 1 modes, and 2 of its axes are written with '\.\.'"),
        ({"u": ("wrap", "edge", "edge")}, "says 3 modes, and 2 of its axes"),
        (("wrap", "round"), "boundary='round' of 'u' is not a mode"),
        (("wrap", None), "boundary=None of 'u' is not a mode"),
    ],
)
def test_modes_that_do_not_fit(boundary: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        kernel("u[i-1..i+1, j-1..j] -> v[i, j]", boundary=boundary)(lambda xp, u: u)


def test_modes_that_do_not_fit_an_update_or_a_dtype() -> None:
    with pytest.raises(ArgumentError, match="cannot be longer than its index"):
        kernel("u[i-1..i+1, j-1..j] -> u[i, j]", boundary=("wrap", "valid"))(lambda xp, u: u)
    made = kernel("u[i-1..i, j-1..j] -> v[i, j]", boundary=("wrap", 0.5))(lambda xp, u: u[1:, 1:])
    with pytest.raises(TypeError, match=r"boundary=0\.5 is not a value of dtype int64"):
        made(np.ones((3, 3), int))
