"""Operands with a halo: away from borders nothing is copied, and a call is cut into strips along them and the rest."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import product
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import cutter_of, forced_cuts
from haloed import drawn
from xpdispatch import Kernel, kernel
from xpdispatch.planning.tiles import whole
from xpdispatch.planning.windows import Layout, Reach, borders
from xpdispatch.running import calls, cutting
from xpdispatch.running.parts import Seam, Window
from xpdispatch.running.site import Site
from xpdispatch.testing import forced_tiles

import cupynumeric  # isort: skip  after xpdispatch, which makes it importable without a driver


@contextmanager
def padded_elements() -> Iterator[list[int]]:
    """How many elements each window has that is made where an operand has nothing."""
    found: list[int] = []
    taken = Window.__call__

    def spy(self: Window, site: Site, array: Any, seam: Any = None) -> Any:
        window = taken(self, site, array, seam)
        if not np.shares_memory(window, array):
            found.append(window.size)
        return window

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Window, "__call__", spy)
        yield found


def cross(boundary: Any, **options: Any) -> Kernel:
    """Of two operands with halos of different widths; the axes of the second are the other way round."""

    @kernel("u[i-1..i+1,j-1..j+1], w[j-2..j,i..i+3] -> v[i,j]", boundary=boundary, **options)
    def around(xp, u, w):
        return u[:-2, 1:-1] + 2 * u[2:, 1:-1] + 3 * u[1:-1, :-2] + 4 * u[1:-1, 2:] + 5 * w[:-2, 3:].T - w[2:, :-3].T

    return around


@pytest.mark.parametrize("boundary", [0.5, "edge", "reflect", "symmetric", "wrap"])
@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("cut", ["for the cache", "not for the cache", "on Legate"])
def test_away_from_borders_nothing_is_copied(
    cut: str, fuse: bool, boundary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cut == "not for the cache":
        monkeypatch.setenv("XPDISPATCH_CACHE", "0")
    x, y = (np.random.default_rng(seed).random(shape) for seed, shape in enumerate([(900, 1100), (1100, 900)]))
    made = cross(boundary, fuse=fuse)
    mode = {"mode": boundary} if isinstance(boundary, str) else {"constant_values": boundary}
    expected = made.__wrapped__(np, np.pad(x, 1, **mode), np.pad(y, ((2, 0), (0, 3)), **mode))
    for _ in range(2):
        with padded_elements() as found:
            if cut == "on Legate":
                got = np.asarray(made(cupynumeric.array(x).copy(), cupynumeric.array(y).copy()))
                xd.synchronize()
            else:
                got = made(x, y)
        assert got.tobytes() == expected.tobytes()
        assert (
            0 < sum(found) < (x.size + y.size) / 20
        )  # of 1 + 3 rows of the window, and 2 + 1 columns, and their halos
        assert max(found) < (x.size + y.size) / 100


def of_seam(layout: Layout, region: Any, domain: Any, cut: int) -> Any:
    """What a window takes from an array that is cut along an axis, and from what wraps around along it."""
    extent = int(layout.shape[cut] or 0)
    low, high = layout.window(cut, *region[cut])
    start, stop = max(low, 0), min(high, extent)
    ends = sorted(
        {min(k % extent for k in range(low, high) if not 0 <= k < extent)} if low < start or high > stop else ()
    )

    def take(site: Site, array: Any) -> Any:
        before = (slice(None),) * cut
        part = array[(*before, slice(start, stop))]
        origin = tuple(start if axis == cut else 0 for axis in range(array.ndim))
        seam = Seam(cut, ends[0], array[(*before, slice(ends[0], None))]) if ends else None
        return Window(layout, region, domain, origin, seam)(site, part, seam)

    return take


def test_windows_of_every_kind_are_those_of_pad() -> None:
    rng = np.random.default_rng(0)
    made = kernel("u[i-1..i+1] -> v[i]", boundary="edge")(lambda xp, u: u[1:-1])
    site = calls.site_of(made.bind([np.ones(3)], {}))
    for _ in range(3000):
        rank = int(rng.integers(1, 4))
        boundary = rng.choice(["edge", "reflect", "symmetric", "wrap", "0.5"])
        shape = tuple(map(int, rng.integers(1, 7, rank)))
        outside = 0.5 if boundary == "0.5" else str(boundary)
        reaches = tuple(Reach(*map(int, rng.integers(0, 9, 2)), 1, outside) for _ in shape)
        layout = Layout("u", tuple(range(rank)), shape, reaches=reaches)
        mode = {"constant_values": 0.5} if boundary == "0.5" else {"mode": boundary}
        array = rng.random(shape)
        array = array if rng.random() < 0.5 else np.asfortranarray(array)
        domain = tuple((0, n) for n in shape)
        bounds = [sorted(map(int, rng.choice(n + 1, 2, replace=False))) for n in shape]
        region = domain if rng.random() < 0.3 else tuple((a, b) for a, b in bounds)
        padded = np.pad(array, [(r.below, r.above) for r in reaches], **mode)
        expected = padded[tuple(slice(a, b + r.below + r.above) for (a, b), r in zip(region, reaches, strict=True))]
        found = Window(layout, region, domain)(site, array)
        assert found.tobytes() == expected.tobytes(), (boundary, shape, reaches, region)
        assert np.shares_memory(found, array) or not found.flags.writeable
        if boundary == "wrap":
            cut = int(rng.integers(rank))
            for where in (site, site._replace(library="another")):
                assert of_seam(layout, region, domain, cut)(where, array).tobytes() == expected.tobytes()


def test_what_a_body_gets_inside_is_the_caller_s_memory() -> None:
    seen: list[tuple[tuple[int, ...], bool]] = []
    x = np.random.default_rng(0).random((600, 500))

    @kernel("u[i-1..i+1,j-2..j] -> v[i,j]", boundary="edge", fuse=False)
    def spy(xp, u):
        seen.append((u.shape, np.shares_memory(u, x)))
        return u[1:-1, 2:] - u[2:, :-2]

    spy(x)
    seen.clear()
    spy(x)
    assert seen == [((600, 500), True), ((3, 502), False), ((3, 502), False), ((600, 4), False)]


def test_strips_are_taken_off_where_it_pays_and_may_be() -> None:
    def strips(line: str, boundary: Any, n: int = 1000, **options: Any) -> int:
        def ones(xp: Any, tile: Any, u: Any) -> Any:
            sizes = {"i": tile.size("i"), "j": tile.size("j") if "j" in line else 0, ":": u.shape[1], "?": 5}
            return xp.ones([sizes[axis] for axis in line.split("v[")[1][:-1].split(",")])

        cutter = cutter_of(kernel(line, boundary=boundary, dtype="u", **options)(ones), np.ones((n, n)))
        return len(cutter.borders(whole(cutter.site.plan), ())[1])

    assert strips("u[i-1..i+1,j-1..j+1] -> v[i,j]", "edge") == 4
    assert strips("u[i-1..i+1,j-1..j+1] -> v[i,j]", "edge", 300) == 0
    assert strips("u[i-1..i+1,:] -> v[i,:]", 0) == 2
    assert strips("u[i,j..j+3] -> v[i,j]", "wrap") == 1
    assert strips("u[2*i,j-1..j+1] -> v[i,j]", "wrap") == 2
    assert strips("u[i-1..i+1,j-490..j+490] -> v[i,j]", "edge") == 0
    assert strips("u[i-1..i+1,j-600..j+600] -> v[i,j]", "edge") == 0
    for boundary in ("clip", "valid"):
        assert strips("u[i-1..i+1,j-1..j+1] -> v[i,j]", boundary) == 0
    assert strips("u[i-1..i+1,j-1..j+1] -> sum v[i]", "edge") == 0
    assert strips("u[i-1..i+1,:] -> v[?]", "edge") == 0
    assert strips("u[i-1..i+1,j-1..j+1] -> v[i,j]", "edge", cut=False) == 0


def test_no_strips_where_a_body_makes_much_anew_in_each() -> None:
    def strips(body: Any) -> int:
        made = kernel("u[i-1..i+1,:], T[:m,:m] -> v[i,:]", boundary="edge")(body)
        cutter = cutter_of(made, np.ones((1000, 400)), np.eye(300))
        return len(cutter.borders(whole(cutter.site.plan), ())[1])

    assert strips(lambda xp, u, T: u[1:-1] * T[0, 0]) == 2
    assert strips(lambda xp, u, T: u[1:-1] * (T @ T)[0, 0]) == 0
    assert strips(lambda xp, u, T: u[1:-1] * xp.linalg.inv(T)[0, 0]) == 0
    assert strips(lambda xp, u, T: sum(u[1:-1] for _ in range(200))) == 0


def test_strips_and_what_is_inside_are_all_there_is() -> None:
    rng = np.random.default_rng(5)
    for _ in range(500):
        extents = [int(n) for n in rng.integers(1, 9, rng.integers(1, 4))]
        operands = []
        for n in range(rng.integers(1, 3)):
            axes = [int(a) for a in rng.permutation(len(extents))]
            reaches = [Reach(*(int(r) for r in rng.integers(0, 4, 2)), int(rng.integers(1, 4)), "wrap") for _ in axes]
            shape = tuple(extents[a] * r.scale for a, r in zip(axes, reaches, strict=True))
            operands.append(Layout(f"u{n}", tuple(axes), shape, reaches=tuple(reaches)))
        domain = tuple((a, b) for a, b in (sorted(map(int, rng.choice(n + 1, 2, replace=False))) for n in extents))
        inside, strips = borders(domain, operands)
        counts = dict.fromkeys(product(*(range(*ends) for ends in domain)), 0)
        for region in (inside, *strips):
            for place in product(*(range(*ends) for ends in region)):
                counts[place] += 1
        assert {*counts.values()} == {1}
        beyond = {place: any(u.cut(tuple((n, n + 1) for n in place), domain)[1] for u in operands) for place in counts}
        if strips:
            assert {place for place in counts if not beyond[place]} == {*product(*(range(*ends) for ends in inside))}
        else:
            assert len({*beyond.values()}) == 1


@pytest.mark.parametrize("seed", range(40))
def test_random_halos_are_what_one_padded_run_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_STRIP", -(1 << 60))  # strips at any rate
    rng = np.random.default_rng(seed)
    for _ in range(4):
        made, operands, expected = drawn(rng)
        for cuts in (nullcontext(), forced_cuts(1), forced_cuts(2)):
            with cuts:
                assert made(*operands).tobytes() == expected.tobytes(), made.notation
                out = np.full(expected.shape, np.nan)
                assert made(*operands, out=out).tobytes() == expected.tobytes(), made.notation
        for cuts in (nullcontext(), forced_cuts(1)):
            with cuts, forced_tiles(int(rng.integers(1, 4))):
                got = made(*(cupynumeric.array(x) for x in operands))
                xd.synchronize()
                assert np.asarray(got).tobytes() == expected.tobytes(), made.notation


def test_strips_do_not_take_more_memory() -> None:
    peaks = {}
    x = np.random.default_rng(0).random((1500, 1500))
    for boundary, array in (("valid", np.pad(x, 1)), ("edge", x), (0.5, x)):
        made = kernel("u[i-1..i+1,j-1..j+1] -> v[i,j]", boundary=boundary)(lambda xp, u: u[1:-1, 2:] - u[:-2, 1:-1])
        out = np.empty(x.shape)
        with xd.threads(1):
            made(array, out=out)
            tracemalloc.start()
            made(array, out=out)
            peaks[boundary] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peaks["edge"] < peaks["valid"] + x.nbytes / 50
    assert peaks[0.5] < peaks["valid"] + x.nbytes / 50
