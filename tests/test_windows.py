"""What windows can be: a mode for each axis, blocks with halos, sizes that a call gives, and diagonals."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import find

import xpdispatch as xd
from conftest import Engine, forced_cuts, run_tiles
from xpdispatch import ArgumentError, Kernel, NotationError, PartitionError, ShapeError, Signature, kernel
from xpdispatch.explain.question import stand_in
from xpdispatch.running import cutting
from xpdispatch.testing import arguments, check_partitioning, forced_tiles, suggest

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

    @property
    def sizes(self) -> tuple[int, int, int]:
        return -self.low, self.high, self.scale


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
            slice(k, k + n - sum(r.halo) - r.scale + 1, r.scale)
            for k, n, r in zip(shift, window.shape, reached, strict=True)
        )
        total = 0.7 * total + window[part]
    return total


def drawn(rng: np.random.Generator, scales: list[int], named: bool) -> tuple[Kernel, list[Any], np.ndarray]:
    """A kernel with windows, its arguments, and what NumPy gives; sizes are scalars if they are `named`."""
    names = "ijk"[: rng.integers(1, 4)]
    reached: list[Reached] = []
    modes, shape = [], []
    for _ in names:
        scale = int(rng.choice(scales))
        reach = Reached(-int(rng.integers(0, 5)), scale - 1 + int(rng.integers(0, 5)), scale)
        reach = reached[0] if named and reached else reach
        mode = [*PADS, "valid", 3.0, -1.5][rng.integers(7)] if named or reach.halo != (0, 0) else None
        n = int(rng.integers(1, 12))
        reached.append(reach)
        modes.append(mode)
        shape.append(n * reach.scale + (sum(reach.halo) if mode == "valid" else 0))
    x = rng.random(shape) - 0.5
    x = x if rng.random() < 0.7 else np.asfortranarray(x)
    written = [f"b*{n}-p..b*{n}+q" if named else r.written(n) for r, n in zip(reached, names, strict=True)]
    given = tuple(m for m in modes if m is not None)

    def body(xp: Any, u: Any, p: int = 0, q: int = 0, b: int = 0) -> Any:
        assert not named or (p, q, b) == reached[0].sizes
        return combine(xp, u, reached)

    made = kernel(
        f"u[{', '.join(written)}] -> v[{', '.join(names)}]",
        boundary={"u": given} if given else None,
        fuse=bool(rng.random() < 0.5),
        dtype="u",
    )
    args = [*reached[0].sizes] if named else []
    return made(body), [x, *args], combine(np, padded(x, reached, modes), reached)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize(("scales", "named"), [([1], False), ([1, 2, 3], False), ([1, 2, 3], True)])
def test_random_windows_are_what_one_padded_run_gives(
    seed: int, scales: list[int], named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "_STRIP", -(1 << 60))  # strips at any rate
    rng = np.random.default_rng(seed)
    for _ in range(4):
        made, (x, *args), expected = drawn(rng, scales, named)
        assert str(Signature.parse(made.notation)) == made.notation
        for cuts in (nullcontext(), forced_cuts(1), forced_cuts(2)):
            with cuts:
                assert made(x, *args).tobytes() == expected.tobytes(), made.notation
        for cuts in (nullcontext(), forced_cuts(1)):
            with cuts, forced_tiles(int(rng.integers(1, 4))):
                got = made(cupynumeric.array(x), *args)
                xd.synchronize()
                assert np.asarray(got).tobytes() == expected.tobytes(), made.notation
        with np.errstate(all="ignore"):
            assert made(x, *args, out=np.full(expected.shape, np.nan)).tobytes() == expected.tobytes()
    check_partitioning(made, x, *args)


@pytest.mark.parametrize("engine", ["strict", "numpy-cut", "legate-tiles"], indirect=True)
def test_axes_of_rows_that_legate_cuts(engine: Engine) -> None:
    """Wide enough for the halo to be cut there."""
    reached, rng = [Reached(-2, 2, 2), Reached(-1, 3)], np.random.default_rng(0)
    x = rng.random((20, 70))
    for modes in product(["wrap", "reflect", 7.0, "symmetric"], ["edge", -2.0, "wrap"]):
        made = kernel("u[2*i-2..2*i+2, j-1..j+3] -> v[i, j]", boundary=modes, dtype="u")(
            lambda xp, u: combine(xp, u, reached)
        )
        expected = combine(np, padded(x, reached, list(modes)), reached)
        assert engine.get(made(engine.put(x))).tobytes() == expected.tobytes(), modes
        assert made(x[:2, :1]) == combine(np, padded(x[:2, :1], reached, list(modes)), reached)
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


# -- blocks with halos ---------------------------------------------------------------------------------------------


def test_a_convolution_with_a_stride(engine: Engine) -> None:
    @kernel("x[2*i..2*i+4], f[:5] -> y[i]", boundary="valid")
    def convolve(xp, x, f):
        count = (x.shape[0] - 3) // 2
        return sum(x[k : k + 2 * count - 1 : 2] * f[k] for k in range(5))

    rng = np.random.default_rng(4)
    f = rng.integers(-9, 9, 5)
    for count in (0, 1, 2, 17):
        x = rng.integers(-9, 9, 2 * count + 3)
        expected = [int(x[2 * i : 2 * i + 5] @ f) for i in range(count)]
        assert engine.get(convolve(engine.put(x), engine.put(f))).tolist() == expected


def test_overlapping_pooling(engine: Engine) -> None:
    @kernel("x[2*i-1..2*i+1, 2*j-1..2*j+1] -> y[i, j]", boundary=-1000, dtype="x")
    def pool(xp, x):
        rows, columns = (n - 2 for n in x.shape)
        parts = [x[k : k + rows : 2, m : m + columns : 2] for k in range(3) for m in range(3)]
        largest = parts[0]
        for part in parts[1:]:
            largest = xp.where(part > largest, part, largest)
        return largest

    x = np.random.default_rng(5).integers(0, 99, (12, 18))
    w = np.pad(x, 1, constant_values=-1000)
    expected = [[w[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max() for j in range(9)] for i in range(6)]
    assert engine.get(pool(engine.put(x))).tolist() == np.asarray(expected).tolist()
    assert engine.get(pool(engine.put(x[:2, :2]))).tolist() == [[x[:2, :2].max()]]
    assert engine.get(pool(engine.put(x[:0]))).shape == (0, 9)


def test_halos_of_blocks_that_are_wider_than_the_array() -> None:
    reached = [Reached(-20, 25, 3)]
    made = kernel("x[3*i-20..3*i+25] -> y[i]", boundary="reflect")(lambda xp, x: combine(xp, x, reached))
    for blocks in (1, 2, 5):
        x = np.random.default_rng(blocks).random(3 * blocks)
        expected = combine(np, np.pad(x, (20, 23), mode="reflect"), reached)
        assert made(x).tolist() == expected.tolist()
        with forced_tiles(3):
            assert np.asarray(made(cupynumeric.array(x))).tolist() == expected.tolist()


def test_clipped_blocks() -> None:
    @kernel("x[2*i-1..2*i+2] -> sum s[]", boundary="clip")
    def own(xp, tile, x):
        below, above = tile.halo("x", 0)
        assert tile.stop(("x", 0)) - tile.start(("x", 0)) + below + above == x.shape[0]
        return xp.sum(x[below : x.shape[0] - above])

    check_partitioning(own, np.arange(10))
    assert own(np.arange(10)) == 45


def test_the_checker_under_blocks_with_halos() -> None:
    def right(xp, x):
        return (x[:-3:2] + 2 * x[1:-2:2] + 2 * x[2:-1:2] + x[3::2]) / 6

    def cut_short(xp, x):
        return right(xp, xp.concat([xp.zeros_like(x[:1]), x[1:]]))  # without what a neighbor has

    x = np.random.default_rng(6).random(16)
    line = "x[2*i-1..2*i+2] -> y[i]"
    check_partitioning(kernel(line, boundary="edge")(right), x)
    with pytest.raises(PartitionError, match="along i"):
        check_partitioning(kernel(line, boundary="edge")(cut_short), x)


def test_suggest_finds_a_stride() -> None:
    found = suggest(lambda xp, x: x[:-2:2] + x[1:-1:2] - x[2::2], np.random.default_rng(7).random(21))
    assert found == "x[2*i..2*i+2] -> y[i]"
    assert found.boundary == "valid"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x[2*i-1..2*i] -> y[i]", "'x' has the axis 2*i-1..2*i: a halo from -1 to +0 leaves out some of its block"),
        ("x[2*i+1..2*i+2] -> y[i]", "a halo from +1 to +2 leaves out some of its block"),
        ("x[0*i..0*i+2] -> y[i]", "a block of 0 elements, expected at least 1"),
        ("x[2*i..3*i+2] -> y[i]", "the ends of a halo have two indices, '2*i' and '3*i'"),
        ("x[2*i..i+2] -> y[i]", "the ends of a halo have two indices, '2*i' and 'i'"),
        ("x[i] -> y[2*i..2*i+2]", "a result has a halo, and only operands have"),
    ],
)
def test_blocks_with_halos_that_cannot_be(line: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        Signature.parse(line)
    assert message in str(caught.value)


def test_extents_that_are_no_whole_blocks() -> None:
    valid = kernel("x[2*i..2*i+2] -> y[i]", boundary="valid")(lambda xp, x: x[::2])
    with pytest.raises(ShapeError, match=r"extent 4 on axis 2\*i\.\.2\*i\+2, expected a multiple of 2, and 1 more"):
        valid(np.ones(4))
    with pytest.raises(ShapeError, match="extent 0 on axis .*, expected at least 1"):
        valid(np.ones(0))
    edge = kernel("x[2*i..2*i+2] -> y[i]", boundary="edge")(lambda xp, x: x[::2])
    with pytest.raises(ShapeError, match="extent 5 .* expected a multiple of 2\n"):
        edge(np.ones(5))


# -- sizes that a call gives ---------------------------------------------------------------------------------------


@kernel("x[i..i+w-1] -> y[i]", boundary="valid")
def moving_sum(xp, x, w):
    return sum(x[k : x.shape[0] - w + 1 + k] for k in range(w))


@kernel("x[i..i+k-1], f[:k] -> y[i]", boundary="valid")
def filtered(xp, x, f):
    k = f.shape[0]
    return sum(x[n : x.shape[0] - k + 1 + n] * f[n] for n in range(k))


@kernel("x[b*i] -> y[i]")
def block_sums(xp, x, b):
    return xp.sum(xp.reshape(x, (-1, b)), axis=1)


@kernel("x[i] -> y[b*i]")
def repeated(xp, x, b):
    return xp.repeat(x, b)


def test_a_window_whose_length_is_given(engine: Engine) -> None:
    x = np.random.default_rng(8).integers(0, 99, 30)
    for w in (1, 2, 7, 30, 3):
        expected = np.lib.stride_tricks.sliding_window_view(x, w).sum(axis=1)
        assert engine.get(moving_sum(engine.put(x), w)).tolist() == expected.tolist()
    assert engine.get(moving_sum(engine.put(x), 31)).tolist() == []
    assert engine.get(moving_sum(engine.put(x), w=np.int64(29))).tolist() == [int(x[:29].sum()), int(x[1:].sum())]


def test_a_window_as_long_as_another_operand(engine: Engine) -> None:
    rng = np.random.default_rng(9)
    x = rng.integers(0, 99, 23)
    for k in (1, 4, 23, 2):
        f = rng.integers(0, 9, k)
        expected = np.correlate(x, f, mode="valid")
        assert engine.get(filtered(engine.put(x), engine.put(f))).tolist() == expected.tolist()


def test_blocks_whose_size_is_given(engine: Engine) -> None:
    x = np.random.default_rng(10).integers(0, 99, 24)
    for b in (1, 2, 3, 24):
        assert engine.get(block_sums(engine.put(x), b)).tolist() == x.reshape(-1, b).sum(axis=1).tolist()
        assert engine.get(repeated(engine.put(x), b)).tolist() == np.repeat(x, b).tolist()
    assert engine.get(block_sums(engine.put(x[:0]), 2)).tolist() == []


def test_one_kernel_has_many_sizes_at_once() -> None:
    """The same types and shapes, and windows that differ: nothing of one call is left in another."""
    made = kernel("u[i-w..i+w] -> v[i]", boundary="wrap")(
        lambda xp, u, w: sum(u[k : u.shape[0] - 2 * w + k] for k in range(2 * w + 1))
    )
    x = np.random.default_rng(11).integers(0, 9, 20)
    for _ in range(2):
        for w in (3, 0, 1, 25, 2):
            p = np.pad(x, w, mode="wrap")
            expected = [int(p[i : i + 2 * w + 1].sum()) for i in range(20)]
            assert made(x, w).tolist() == expected
            with forced_tiles(2):
                assert np.asarray(made(cupynumeric.array(x), w)).tolist() == expected
            with forced_cuts(2):
                assert made(x, w).tolist() == expected


def test_a_window_of_nothing_more_updates_in_place() -> None:
    made = kernel("u[i..i+w] -> u[i]", boundary="edge")(lambda xp, u, w: u[w:] + 1)
    for put in (np.array, cupynumeric.array):
        for w in (0, 2):
            u = put(np.arange(6))
            made(u, w)
            xd.synchronize()
            assert np.asarray(u).tolist() == [min(n + w, 5) + 1 for n in range(6)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: moving_sum(x, 0), r"'x' has the axis i\.\.i\+w-1 with w = 0: a halo from \+0 to -1 leaves out the"),
        (lambda x: moving_sum(x, 9), "argument 'x' has extent 6 on axis .* expected at least 8"),
        (lambda x: moving_sum(x, 2**70), "with w = an integer of 71 bits: a halo that is larger than an array can be"),
        (lambda x: filtered(x, x[:0]), "'x' has the axis i..i\\+k-1 with k = 0: a halo from"),
        (lambda x: block_sums(x, 0), r"'x' has the axis b\*i with b = 0: a block of 0 elements, expected at least 1"),
        (lambda x: block_sums(x, -2), "with b = -2: a block of -2 elements"),
        (lambda x: block_sums(x, 4), r"argument 'x' has extent 6 on axis b\*i, expected a multiple of 4"),
        (lambda x: repeated(x, 0), r"'y' has the axis b\*i with b = 0: a block of 0 elements"),
    ],
)
def test_sizes_that_cannot_be(call: Any, message: str) -> None:
    for x in (np.arange(6), cupynumeric.arange(6)):
        with pytest.raises(ShapeError, match=message):
            call(x)
    with pytest.raises(TypeError, match="scalar 'w' = 1.5 is an extent of the notation, expected an integer"):
        moving_sum(np.arange(6), 1.5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x[i..i+j], z[j] -> y[i, j]", "index 'j' is part of the arithmetic of i..i+j in 'x'"),
        ("x[i*b] -> y[i]", "index 'i' is part of the arithmetic of i*b in 'x'"),
        ("x[i..i+w-1] -> y[i]", "neither an operand's axis nor a scalar parameter"),
        ("x[b*i-1..i] -> y[i]", "the ends of a halo have two indices, 'b*i' and 'i'"),
        ("x[2//0*i] -> y[i]", "divides by zero"),
        ("x[2//b] -> y[b]", "expected '*', got ']'"),
    ],
)
def test_arithmetic_that_cannot_be(line: str, message: str) -> None:
    with pytest.raises((NotationError, ArgumentError)) as caught:
        kernel(line, boundary="edge" if "w" in line else None)(lambda xp, x, z=None: x)
    assert message in str(caught.value)


def test_arithmetic_needs_a_boundary_whatever_it_is() -> None:
    with pytest.raises(ArgumentError, match="nothing says what lies outside 'x' under its halo"):
        kernel("x[i..i+w-w] -> y[i]")(lambda xp, x, w: x)
    made = kernel("x[i..i+w-w] -> y[i]", boundary="valid")(lambda xp, x, w: x)
    assert made(np.arange(3), 5).tolist() == [0, 1, 2]
    whole = kernel("x[b*i..b*i+b-1] -> y[b*i]", boundary=0)(lambda xp, x, b: 2 * x)
    assert whole(np.arange(6), 3).tolist() == [0, 2, 4, 6, 8, 10]


def test_a_number_outside_must_fit_at_every_call() -> None:
    made = kernel("x[i..i+w] -> y[i]", boundary=0.5)(lambda xp, x, w: x[w:])
    for w in (0, 1):
        with pytest.raises(TypeError, match="is not a value of dtype int64"):
            made(np.arange(3), w)


def test_the_checker_mends_a_window_whose_length_is_given() -> None:
    check_partitioning(moving_sum, np.arange(20.0), 4)
    with pytest.raises(PartitionError, match="along i"):
        check_partitioning(
            kernel("x[i..i+w-1] -> y[i]", boundary="edge")(lambda xp, x, w: xp.cumulative_sum(x)[w - 1 :]),
            np.arange(1.0, 13.0),
            3,
        )


@pytest.mark.parametrize(
    ("line", "mended"),
    [("x[i..i+w-1]", "x[i..i+w]"), ("x[i..i+3]", "x[i..i+4]"), ("x[i-w+1..i+w-1]", "x[i-w+1..i+w]")],
)
def test_the_checker_proposes_a_window_that_is_right(line: str, mended: str) -> None:
    def longer(xp, tile, x, w):
        first = tile.halo("x", 0)[0]
        p = xp.concat([x[first:], xp.zeros(w, dtype=x.dtype)])
        return sum(p[k : k + tile.size("i")] for k in range(w + 1))

    with pytest.raises(PartitionError) as caught:
        check_partitioning(kernel(f"{line} -> y[i]", boundary="clip")(longer), np.arange(1.0, 30.0), 4)
    assert f"read another halo, {mended}: {mended} -> y[i] (checked: then it is right)" in str(caught.value)


def test_a_window_of_arithmetic_in_words() -> None:
    assert "Each element of i goes with the elements i..i+w-1 of x." in moving_sum.__doc__
    assert "Each element of i goes with a block of b elements of x." in block_sums.__doc__


def test_strategies_draw_sizes() -> None:
    for made in (moving_sum, filtered, block_sums, repeated):
        drawn_values = find(arguments(made, most=5), lambda values: values["x"].size > 3)
        made(**drawn_values)


def test_what_explain_says_of_sizes() -> None:
    told = moving_sum.explain(cupynumeric.ones(1000), 5)
    assert told.arrays["x"].halo == ((0, 4),)
    assert told.arrays["y"].shape == (996,)
    assert block_sums.explain(np.ones(12), 3).arrays["y"].shape == (4,)


# -- diagonals -----------------------------------------------------------------------------------------------------


@kernel("A[i,i] -> d[i]")
def twice_the_diagonal(xp, A):
    return 2 * A


@kernel("A[i,i] -> sum t[]")
def trace(xp, A):
    return xp.sum(A)


def test_a_diagonal(engine: Engine) -> None:
    for n in (0, 1, 2, 13):
        x = np.random.default_rng(n).integers(0, 99, (n, n))
        assert engine.get(twice_the_diagonal(engine.put(x))).tolist() == [2 * int(x[i, i]) for i in range(n)]
        assert int(engine.get(trace(engine.put(x)))) == np.trace(x)


@pytest.mark.parametrize(
    ("notation", "shape", "expected"),
    [
        ("A[i,i,j] -> B[i,j]", (0, 0, 3), (0, 3)),
        ("A[i,i,j] -> B[i,j]", (2, 2, 0), (2, 0)),
        ("A[j,i,i] -> B[j,i]", (2, 0, 0), (2, 0)),
        ("A[j,i,i] -> B[j,i]", (0, 2, 2), (0, 2)),
    ],
)
def test_diagonals_without_an_element(
    notation: str, shape: tuple[int, ...], expected: tuple[int, ...], engine: Engine
) -> None:
    made = kernel(notation, dtype="A")(lambda xp, A: 2 * A)
    assert engine.get(made(engine.put(np.ones(shape)))).shape == expected


def test_diagonals_among_other_axes(engine: Engine) -> None:
    rng = np.random.default_rng(12)

    @kernel("A[i, j, i], B[k, k, :n, j, j], x[i] -> y[i, j, k]")
    def mixed(xp, A, B, x):
        assert A.ndim == 2
        assert B.ndim == 3
        return (A + x[:, None])[:, :, None] + xp.permute_dims(xp.sum(B, axis=1), (1, 0))[None, :, :]

    A, B, x = rng.integers(0, 99, (5, 7, 5)), rng.integers(0, 99, (3, 3, 2, 7, 7)), rng.integers(0, 99, 5)
    expected = (np.einsum("iji->ij", A) + x[:, None])[:, :, None] + np.einsum("kknjj->jk", B)[None]
    assert engine.get(mixed(*map(engine.put, (A, B, x)))).tolist() == expected.tolist()

    @kernel("A[..., i, i] -> sum t[...]")
    def traces(xp, A):
        return xp.sum(A, axis=-1)

    A = rng.integers(0, 99, (4, 3, 6, 6))
    assert engine.get(traces(engine.put(A))).tolist() == np.trace(A, axis1=2, axis2=3).tolist()


def test_a_diagonal_is_a_view_that_cannot_be_written() -> None:
    seen: list[Any] = []
    x = np.arange(9.0).reshape(3, 3)
    kernel("A[i,i] -> d[i]", fuse=False)(lambda xp, A: seen.append(A) or 1 * A)(x)
    assert np.shares_memory(seen[0], x)
    assert seen[0].base is not None
    with pytest.raises(ValueError, match="read-only"):
        kernel("A[i,i] -> d[i]", fuse=False)(lambda xp, A: A.__setitem__(0, 1.0))(x)
    out = x[0]
    assert twice_the_diagonal(x, out=out).tolist() == [0, 8, 16]
    assert twice_the_diagonal(np.asarray([[1.0, 2.0], [3.0, 4.0]]).view(np.matrix)).tolist() == [2, 8]


def test_a_diagonal_on_legate_of_stores_and_views_and_numpy() -> None:
    x = np.arange(30.0).reshape(5, 6)
    array = cupynumeric.array(x)
    with forced_tiles(2):
        assert np.asarray(trace(array[:, 1:])).tolist() == np.trace(x[:, 1:])
        assert np.asarray(trace(array.T[1:])).tolist() == np.trace(x.T[1:])
        store = next(iter(array[:, 1:].__legate_data_interface__["data"].values())).data
        assert np.asarray(trace(store)).tolist() == np.trace(x[:, 1:])
        with xd.engine("legate"):
            assert np.asarray(trace(x[:, 1:])).tolist() == np.trace(x[:, 1:])
    for dtype in (bool, np.int8, np.float16, np.complex128):
        y = np.arange(16).reshape(4, 4).astype(dtype)
        got = kernel("A[i,i] -> d[i]")(lambda xp, A: xp.asarray(A, copy=True))(cupynumeric.array(y))
        assert np.asarray(got).tolist() == np.diag(y).tolist()


def test_a_diagonal_inside_another_kernel() -> None:
    outer = kernel("A[b, :n, :n] -> t[b]")(lambda xp, A: xp.stack([trace(A[k, :, :]) for k in range(A.shape[0])]))
    x = np.random.default_rng(13).integers(0, 99, (4, 3, 3))
    expected = np.trace(x, axis1=1, axis2=2).tolist()
    assert outer(x).tolist() == expected
    with forced_tiles(2):
        assert np.asarray(outer(cupynumeric.array(x))).tolist() == expected


def test_starred_and_left_out_diagonals() -> None:
    total = kernel("*As[i,i], w[i] -> d[i]")(lambda xp, *As, w=None: sum(As) + (0 if w is None else w))
    x = np.arange(9).reshape(3, 3)
    assert total(x, x).tolist() == [0, 8, 16]
    assert total(x, 2 * x, w=np.ones(3, int)).tolist() == [1, 13, 25]


def test_the_checker_under_diagonals() -> None:
    x = np.random.default_rng(14).random((6, 6))
    check_partitioning(twice_the_diagonal, x)
    check_partitioning(trace, x)
    assert "PartitionReport" in type(check_partitioning(trace, x)).__name__
    with pytest.raises(PartitionError, match="along i"):
        check_partitioning(kernel("A[i,i] -> d[i]")(lambda xp, A: A / xp.sum(A)), x)
    assert "Of A a body gets the diagonal along i." in trace.__doc__
    found = find(arguments(trace, most=4), lambda values: values["A"].size > 4)
    assert found["A"].shape[0] == found["A"].shape[1]


def test_what_explain_says_of_diagonals() -> None:
    for array in (np.ones((50, 50)), cupynumeric.ones((50, 50)), stand_in((50, 50), np.float64)):
        told = trace.explain(array)
        assert told.arrays["A"].shape == (50,)
        assert "A[i,i]" in str(told)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("A[i,i,i] -> d[i]", "index 'i' occurs three times in 'A'"),
        ("A[i] -> d[i,i]", "index 'i' occurs twice in 'd'"),
        ("A[i,i] -> A[i,i]", "index 'i' occurs twice in 'A'"),
        ("A[i-1..i+1,i] -> d[i]", "'A' has index 'i' twice, which is its diagonal, and i-1..i+1 beside it"),
        ("A[i,2*i] -> d[i]", "'A' has index 'i' twice, which is its diagonal, and 2*i beside it"),
        ("[i=n,i=n] -> sum d[]", "index 'i' occurs twice in the index space"),
    ],
)
def test_diagonals_that_cannot_be(line: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        Signature.parse(line)
    assert message in str(caught.value)


def test_arrays_that_have_no_diagonal(engine: Engine) -> None:
    with pytest.raises(ShapeError, match="argument 'A' has extents 2 and 3 on its two axes i, expected the same"):
        trace(engine.put(np.ones((2, 3))))
    with pytest.raises(ShapeError, match=r"argument 'A' has 1 axis, shape \(3,\), expected 2"):
        trace(engine.put(np.ones(3)))
    with pytest.raises(ShapeError, match=r"argument 'A' has 0 axes, shape \(\), expected 2"):
        trace(3.0)
    with pytest.raises(ArgumentError, match="argument 'A' is a list, expected an array"):
        trace([[1.0]])
