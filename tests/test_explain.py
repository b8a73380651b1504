"""What kernel.explain says: the tiles that Legate really makes, the bytes by hand, and every form it is shown in."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import explained
import xpdispatch as xd
from conftest import forced_cuts
from explained import (
    add,
    copy,
    fft2,
    histogram,
    matmul,
    ordered_matmul,
    positive,
    saxpy,
    slopes,
    smooth,
    some_rows,
    whole_products,
)
from right import RIGHT, Right
from xpdispatch import kernel
from xpdispatch.explain import Explanation
from xpdispatch.explain.canvas import DARK, LIGHT, Shape, svg
from xpdispatch.explain.legate_rule import count_pieces
from xpdispatch.explain.picture import PALETTE, picture
from xpdispatch.explain.question import Machine, stand_in
from xpdispatch.explain.sentences import size
from xpdispatch.explain.tiling import Pieces
from xpdispatch.legate.alignment import THRESHOLDS
from xpdispatch.shell.cli import main

HERE = Path(__file__).parent


def f4(*shape: int) -> np.ndarray:
    return stand_in(shape, "float32")


def at_once(*arrays: np.ndarray) -> Explanation:
    """A product of matrices that eight processors cut along all three indices."""
    return matmul.explain(*(arrays or (f4(1000, 800), f4(800, 1200)))).on(8, partitioning_threshold=10**7)


# -- against real Legate -----------------------------------------------------------------------------


@pytest.fixture
def ruled() -> None:
    """Legate whose rule is the one that is foretold."""
    import legate.core as lg

    if not hasattr(lg, "min_extents"):
        pytest.skip("the rule is that of Legate 26.6, and this release is older")


@pytest.mark.usefixtures("ruled")
@pytest.mark.parametrize("factor", [None, 1, 4])
def test_legate_makes_the_tiles_that_are_foretold(factor: int | None) -> None:
    count, wrong = explained.compare(factor)
    assert count > 70
    assert wrong == []


@pytest.mark.usefixtures("ruled")
@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)
def test_every_right_kernel_is_cut_as_foretold(case: Right) -> None:
    import cupynumeric

    def put(value):
        # A copy of Legate's own, which has been cut before; what comes from NumPy has not.
        return (lambda: cupynumeric.array(value).copy()) if isinstance(value, np.ndarray) else value

    body, args, kwargs = case.make(np.random.default_rng(3))
    given, named = [put(a) for a in args], {name: put(a) for name, a in kwargs.items()}
    assert explained.difference(body, given, 4, named) == ""


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)
def test_every_right_kernel_can_be_shown(case: Right) -> None:
    body, args, kwargs = case.make(np.random.default_rng(3))
    here = body.explain(*args, **kwargs)
    there = here.on(8, partitioning_threshold=1)
    for answer in here, there:
        assert body.name in str(answer)
        ET.fromstring(re.search(r"<svg.*</svg>", answer._repr_html_(), re.DOTALL)[0])
    assert sum(share.tiles for share in there.shares) == there.count == len(list(there.tiles()))


@pytest.mark.usefixtures("ruled")
@pytest.mark.parametrize("cpus", [1, 4, 6, 7])
def test_and_on_other_numbers_of_processors(cpus: int) -> None:
    environment = {**os.environ, "LEGATE_CONFIG": f"--cpus {cpus} --gpus 0 --sysmem 1000"}
    line = [sys.executable, str(HERE / "explained.py")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^3\d\d compared$", done.stdout, re.MULTILINE)


def test_a_prediction_for_this_machine_is_what_is_said_of_it() -> None:
    import cupynumeric

    A, B = cupynumeric.ones((300, 200), "f4"), cupynumeric.ones((200, 4000), "f4")
    here = matmul.explain(A, B)
    there = matmul.explain(f4(300, 200), f4(200, 4000)).on(2)
    assert there.count == 2
    assert str(here.machine) == "on Legate, 2 CPUs"
    assert str(there.machine) == "on Legate, 2 CPUs (predicted)"
    assert list(here.tiles()) == list(there.tiles())


def test_arrays_of_legate_stores_and_numpy_copies_are_told_apart() -> None:
    import cupynumeric

    with xd.engine("legate"):
        fresh = matmul.explain(np.ones((400, 400)), np.ones((400, 399)))
    kept = matmul.explain(cupynumeric.ones((400, 400)), cupynumeric.ones((400, 399)))
    assert not fresh.cuts.kept
    assert kept.cuts.kept
    store = cupynumeric.ones((200, 200)).__legate_data_interface__["data"]
    answer = copy.explain(next(iter(store.values())))
    assert answer.arrays["src"].shape == (200, 200)
    assert answer.machine.engine == "legate"


# -- Legate's rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("processors", "extents", "full", "pieces"),
    [
        (1, (10**6,), (), ()),
        (4, (16_383,), (), ()),
        (4, (16_384,), (), (4,)),
        (1024, (10**9,), (), (1024,)),
        (4, (300, 400), (), (1, 4)),  # the sources round twice down, so that it is not a square
        (8, (1000, 1000), (), (2, 4)),
        (6, (300, 400), (), (2, 3)),
        (6, (400, 300), (), (3, 2)),
        (7, (300, 400), (), (1, 7)),
        (8, (1000, 1000, 1000), (), (2, 2, 2)),
        (12, (128, 256, 256), (), (2, 3, 2)),
        (13, (200, 200, 200), (), (1, 1, 1)),  # 13 is not a product of 2, 3, 5, 7 and 11
        (26, (200, 200, 200), (), (2, 1, 1)),
        (8, (1000, 1000, 40), (2,), (2, 4, 1)),
        (8, (128, 256, 256), (1, 2), (8, 1, 1)),
        (64, (20, 100, 100), (1, 2), (20, 1, 1)),
        (8, (10**6, 10), (0, 1), ()),
    ],
)
def test_the_rule(processors: int, extents: tuple, full: tuple, pieces: tuple) -> None:
    machine = Machine("legate", processors, "cpu", 1, THRESHOLDS["cpu"])
    assert count_pieces(machine, extents, frozenset(full)) == pieces


def test_pieces_are_rounded_up_and_the_last_ones_can_be_empty() -> None:
    assert Pieces(17, 4, 5).borders.tolist() == [0, 5, 10, 15, 17]
    assert Pieces(18, 16, 2).borders.tolist()[8:] == [16, *[18] * 8]
    answer = saxpy.explain(f4(18), f4(18), 2.0).on(16, partitioning_threshold=1)
    assert (answer.count, answer.tiling.launched) == (9, 16)
    assert "9 tiles and 7 empty; 7 without one" in str(answer)
    assert list(answer.tiles())[-1] == ((16, 18),)


def test_kinds_of_processors_have_thresholds_of_their_own() -> None:
    call = saxpy.explain(f4(900_000), f4(900_000), 2.0)
    counts = {kind: call.on(4, kind).count for kind in ("cpu", "omp", "gpu")}
    assert counts == {"cpu": 4, "omp": 4, "gpu": 1}
    assert "900,000 elements, and below 1,048,576 Legate cuts nothing" in str(call.on(4, "gpu"))


def test_what_does_little_is_one_task() -> None:
    def count(made: xd.Kernel, *args: object, **options: object) -> int:
        return made.explain(*args).on(4, **options).count

    small = f4(200_000), f4(200_000), 2.0
    assert count(saxpy, *small) == 1
    assert "so little to do that several tasks would take longer than one" in str(saxpy.explain(*small).on(4))
    assert count(saxpy, *small, kind="omp") == 4
    assert count(saxpy, *small, partitioning_threshold=1) == 4
    assert count(saxpy, *small, overdecompose_factor=2) == 8
    assert count(kernel("x[i] -> y[i]", dtype="x", cut="work")(lambda xp, x: x + 1), f4(200_000)) == 4
    dear = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: xp.tanh(x**1.5) ** 1.5)
    assert count(dear, f4(200_000)) == 4
    steps = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x, steps: x * 2.0**steps)
    assert count(steps, f4(200_000), 3) == 4, "another call may do more steps"


def test_it_says_why_nothing_is_cut() -> None:
    def why(body: xd.Kernel, *arguments: np.ndarray, processors: int = 4) -> str:
        return body.explain(*arguments).on(processors, partitioning_threshold=1).assumptions[0]

    assert why(copy, f4(1, 1)) == "No axis may be cut: each is full in every tile, or has one element."
    assert why(copy, f4(9, 9), processors=1) == "One processor, so that nothing is cut."
    assert "the prime factors 2 to 11 alone, and 13 has none of them" in why(copy, f4(200, 200, 200), processors=13)
    assert why(explained.in_long_tiles, f4(100, 1)) == "Tiles would have fewer elements than min_extents asks for."
    assert why(explained.loose, f4(9), f4(9)).startswith("All runs in one tile")


# -- what moves, by hand -----------------------------------------------------------------------------


def test_a_product_of_matrices() -> None:
    answer = at_once()
    assert answer.counts == (2, 2, 2)
    A, B, C = answer.arrays.values()
    assert (A.pieces, A.part, A.part_bytes, A.shared_by, A.shared_over) == ((2, 2), (500, 400), 800_000, 2, ("n",))
    assert (B.part, B.shared_over) == ((400, 600), ("m",))
    assert (C.part, C.partials, C.op, C.shared_over) == ((500, 600), 2, "sum", ("k",))
    assert A.received == 400_000  # half of the part lies with the other one that reads it
    assert C.received == 600_000
    share = answer.shares[0]
    assert (share.tiles, share.reads, share.writes) == (1, 4 * (500 * 400 + 400 * 600), 4 * 500 * 600)
    assert share.receives == (share.reads + share.writes) // 2
    assert share.memory == share.reads + share.writes + answer.temporaries
    assert len(answer.shares) == 8


def test_all_that_is_read_and_written_is_the_arrays() -> None:
    answer = saxpy.explain(f4(10**6 + 1), f4(10**6 + 1), 2.0).on(7)
    assert sum(s.reads for s in answer.shares) == 2 * 4 * (10**6 + 1)
    assert sum(s.writes for s in answer.shares) == 4 * (10**6 + 1)
    assert sum(s.receives for s in answer.shares) == 0


def test_a_histogram_is_full_in_every_tile_and_added() -> None:
    answer = histogram.explain(stand_in((10**6,), "int64"), 10).on(4)
    hist = answer.arrays["hist"]
    assert (hist.pieces, hist.part, hist.partials, hist.op) == ((1,), (10,), 4, "sum")
    assert "full; sum of 4 partial results, over i" in str(answer)
    assert hist.received == 60


def test_unsplit_axes_are_shared() -> None:
    answer = whole_products.explain(f4(4000, 1000), f4(1000, 100)).on(4)
    assert answer.counts == (4, 1)
    b = answer.arrays["b"]
    assert (b.how, b.shared_by, b.shared_over, b.received) == ("full", 4, ("i",), b.nbytes - b.nbytes // 4)


def test_halos_are_read_from_neighbors_and_the_longest_index_alone_is_cut() -> None:
    answer = smooth.explain(f4(400, 300)).on(6, partitioning_threshold=1)
    assert answer.counts == (6, 1)
    u = answer.arrays["u"]
    assert u.halo == ((1, 1), (1, 1))
    assert u.part == (69, 300)  # in the middle of i
    assert u.layout.boundaries == (0.0, 0.0)
    assert u.halo_bytes == u.received == 4 * 2 * 300
    assert u.held == 4 * 69 * 300
    assert smooth.explain(f4(3000, 3000)).on(6).counts == (6, 1)
    assert smooth.explain(f4(3000, 3001)).on(6).counts == (1, 6)
    assert "cut 6 x 1, halo 1 below and 1 above, 1 below and 1 above" in str(answer)
    assert "u: 2.3 KiB of other tiles' elements around a tile; boundary 0.0" in str(answer)
    assert smooth.explain(f4(400, 300)).arrays["u"].held < 2 * u.nbytes
    assert smooth.explain(f4(400, 300)).on(6).counts == (1, 1), "it does little"
    line = kernel("u[i-1..i+1] -> v[i]", boundary=0)(lambda xp, u: u[2:] - u[:-2])
    answer = line.explain(f4(10**6)).on(4)
    assert answer.arrays["u"].held == 4 * (250_000 + 2)
    answer = line.explain(f4(9_999_991)).on(4)  # a prime number: 65,790 stretches of 152, of which the last is shorter
    assert answer.arrays["u"].held == 4 * (16_448 * 152 + 2)
    outer = kernel("u[i-1..i+1], w[j..j+3] -> v[i,j]", boundary="wrap")(lambda xp, u, w: u[2:, None] - w[:-3])
    assert "each processor gets all of it: it wraps around, and other indices are cut too" in str(
        outer.explain(f4(400), f4(400)).on(4, partitioning_threshold=1)
    )
    assert "each processor gets all of it: it is small" in str(line.explain(f4(63)).on(4, partitioning_threshold=1))


def test_ordered_sums_are_put_together_by_one_processor() -> None:
    answer = ordered_matmul.explain(f4(1000, 800), f4(800, 1200)).on(8)
    assert answer.counts == (1, 1, 8)  # the longest index alone is cut
    lone = kernel("x[i] -> sum s[]", deterministic=True)(lambda xp, x: xp.sum(x))
    answer = lone.explain(f4(10**7)).on(4)
    assert [s.receives for s in answer.shares] == [12, 0, 0, 0]
    assert "put together by one processor" in str(answer)


def test_results_of_unknown_size() -> None:
    answer = some_rows.explain(f4(100_000, 3)).on(4, partitioning_threshold=1)
    assert answer.arrays["y"].shape == (None, 3)
    assert answer.arrays["y"].part == (None, 3)
    assert answer.arrays["y"].part_bytes == 25_000 * 3 * 4
    assert "y: known when the body has returned" in str(answer)
    assert positive.explain(f4(100_000)).on(4).arrays["y"].how == "concatenated"


def test_empty_calls_and_single_tiles() -> None:
    answer = saxpy.explain(f4(0), f4(0), 2.0).on(8)
    assert answer.count == 0
    assert "no element, so no body runs" in str(answer)
    assert list(answer.tiles()) == []
    assert "no element" in answer._repr_html_()
    answer = saxpy.explain(f4(100), f4(100), 2.0).on(8)
    assert (answer.count, [s.tiles for s in answer.shares]) == (1, [1, 0, 0, 0, 0, 0, 0, 0])


def test_many_processors_and_large_arrays_need_no_memory() -> None:
    x = stand_in((10**12,), "float32")
    answer = saxpy.explain(x, x, 2.0).on(1024, "gpu")
    assert answer.count == 1024
    assert answer.largest.reads == 2 * 4 * 976_562_500
    assert "On GPUs nothing was run" in str(answer)
    assert answer.on(4).count == 4


def test_a_call_here_may_have_any_number_of_tiles() -> None:
    u = stand_in((10**11,), "float32")
    begin = time.perf_counter()
    answer = slopes.explain(u)
    most = answer.largest
    assert answer.count > 10**4
    assert sum(s.tiles for s in answer.shares) == answer.count
    assert sum(s.reads for s in answer.shares) == 4 * (10**11 + 2 * (answer.count - 1))
    assert most.receives == 0
    assert "a thread, at most" in str(answer)
    assert time.perf_counter() - begin < 10  # it was a minute when tiles were counted one by one
    assert slopes.explain(stand_in((10**15,), "float32")).on(4).count == 4


# -- the cache ---------------------------------------------------------------------------------------


def test_the_tiles_of_a_call_here_are_those_that_run() -> None:
    seen: list[int] = []

    @kernel("x[i] -> y[i]", dtype="x", fuse=False)
    def spy(xp, x):
        seen.append(x.shape[0])
        return x + 1

    x = np.ones(100)
    with forced_cuts(2, cache=128):
        answer = spy.explain(x)
        seen.clear()
        spy(x)
        real = list(seen)
        assert answer.machine.processors == 2
    assert answer.count == answer.cache.count > 3
    tiles = sorted(b - a for ((a, b),) in answer.tiles())
    assert [n for n in tiles if real.count(n) < tiles.count(n)] == []
    assert sum(s.tiles for s in answer.shares) == answer.count


@pytest.mark.parametrize("size", [800_000, 4_000_000])
def test_a_task_is_cut_for_the_cache_as_is_said(size: int) -> None:
    import cupynumeric

    seen: list[int] = []

    @kernel("x[i] -> y[i]", dtype="x", fuse=False, guard=False)
    def spy(xp, x):
        seen.append(x.shape[0])
        return x + 1

    with forced_cuts(1, cache=1 << 16):
        answer = spy.explain(cupynumeric.ones(size))
        seen.clear()
        spy(cupynumeric.ones(size))
        xd.synchronize()
    assert answer.count == 2
    assert seen.count(answer.cache.sizes[0]) >= 2 * (answer.cache.count - 1)
    assert len(seen) - 4 <= 2 * answer.cache.count <= len(seen)  # runs on ones, to measure the body, are among them


def test_strips_along_borders_are_told() -> None:
    made = kernel("u[i-1..i+1,j-1..j+1] -> v[i,j]", boundary="edge", dtype="u")(lambda xp, u: u[:-2, 1:-1] + u[2:, 2:])
    answer = made.explain(f4(2000, 2000))
    assert answer.cache.strips == 4
    assert "; 4 strips along borders run apart" in str(answer)
    assert answer.on(2).cache.strips == 3
    assert made.explain(f4(20, 20)).cache.strips == 0
    assert made.explain(f4(0, 20)).cache.strips == 0


def test_it_says_why_the_cache_decides_nothing() -> None:
    uncut = kernel("x[i] -> y[i]", cut=False)(lambda xp, x: x)
    assert uncut.explain(f4(10**7)).cache.why == "the kernel says cut=False"
    assert copy.explain(f4(10**7)).on(2, "gpu").cache.why == "tiles on GPUs are not cut further"
    assert "too small" in copy.explain(f4(10)).cache.why
    unsplit = kernel("x[:] -> y[:]", dtype="x")(lambda xp, x: x)
    assert unsplit.explain(f4(10**7)).cache.why == "no index is split"
    torch = pytest.importorskip("torch")
    assert copy.explain(torch.ones(10)).cache.why == "torch arrays are not cut"


def test_temporaries_are_measured() -> None:
    @kernel("x[i] -> y[i]", dtype="x")
    def two(xp, x):
        a = x * 2
        return a + x * 3

    answer = two.explain(stand_in((10_000,), "float64")).on(1)
    assert 2 * 80_000 <= answer.temporaries <= 2 * 80_000 + 1000


# -- arguments ---------------------------------------------------------------------------------------


@dataclass
class Duck:
    shape: tuple[int, ...]
    dtype: str


def test_anything_with_a_shape_and_a_dtype_stands_for_an_array() -> None:
    answer = saxpy.explain(Duck((1000,), "float32"), Duck((1000,), "float32"), a=2.0)
    assert answer.arrays["z"].dtype == "float32"
    assert answer.machine.engine == "local"
    # Told apart from arrays by what it lacks, whatever library it is from.
    foreign = type("Spec", (Duck,), {"__module__": "jax._src.core"})
    assert saxpy.explain(foreign((9,), "int8"), foreign((9,), "int8"), 2).arrays["y"].dtype == "int8"
    jax = pytest.importorskip("jax")
    spec = jax.ShapeDtypeStruct((1000,), "float32")
    assert saxpy.explain(spec, spec, 2.0).on(2).arrays["x"].shape == (1000,)


def test_arguments_are_those_of_a_call() -> None:
    @kernel("x[i] -> y[i]", dtype="x")
    def spread(xp, x, processors, kind):
        return x

    answer = spread.explain(f4(40_000), processors=3, kind="any").on(processors=2)
    assert answer.machine.processors == 2
    given = saxpy.explain(f4(9), f4(9), 2.0, out=np.empty(9, "float64"))
    assert given.arrays["z"].dtype == "float32"  # what the body makes

    @kernel("*xs[...] -> y[...]")
    def total(xp, *xs):
        return sum(xs)

    assert list(total.explain(f4(5), f4(5)).arrays) == ["xs0", "xs1", "y"]


def test_an_operand_and_a_result_of_one_name_are_told_apart() -> None:
    @kernel("u[i-1..i+1] -> u[i]", boundary="edge", dtype="u")
    def relax(xp, u):
        return (u[2:] + u[:-2]) / 2

    assert list(relax.explain(np.ones(9)).arrays) == ["u", "u'"]


def test_errors_are_those_of_a_call_and_of_machines() -> None:
    with pytest.raises(xd.ShapeError, match=r"kernel 'saxpy': argument 'y' has axis i = 4, but 'x' fixed i = 5"):
        saxpy.explain(f4(5), f4(4), 2.0)
    with pytest.raises(xd.ArgumentError, match=r"kernel 'saxpy': argument 'x' is a list"):
        saxpy.explain([1.0], f4(1), 2.0)
    answer = saxpy.explain(f4(5), f4(5), 2.0)
    with pytest.raises(
        xd.ArgumentError, match=r"kernel 'saxpy': kind='tpu' is not a kind of processor\n.*\nHint: use one of"
    ):
        answer.on(8, "tpu")
    with pytest.raises(
        xd.ArgumentError, match=r"processors=0, expected an integer >= 1\n.*\nHint: write an integer, 1 or more"
    ):
        answer.on(0)
    with pytest.raises(xd.ArgumentError, match=r"partitioning_threshold=-1, expected an integer >= 1"):
        answer.on(2, partitioning_threshold=-1)
    alone = kernel("x[i] -> y[i]", variants=("CPU",))(lambda xp, x: x)
    with pytest.raises(xd.UnsupportedError, match=r"has variants for CPU alone, and here it would run on GPU"):
        alone.explain(f4(5)).on(8, "gpu")


# -- how it is shown ---------------------------------------------------------------------------------


def test_as_text() -> None:
    text = str(at_once())
    assert text.startswith(
        "matmul: A[m,k], B[k,n] -> sum C[m,n]\n"
        "on Legate, 8 CPUs (predicted): 8 tiles (2 x 2 x 2); parallel along m, k and n\n"
        "\n"
        "  index  extent  pieces  elements in each\n"
        "  m       1,000       2  500\n"
        "  k         800       2  400\n"
        "  n       1,200       2  600\n"
        "\n"
    )
    assert "  A[m,k]      1,000 x 800    float32  3.1 MiB  cut 2 x 2, shared by 2 " in text
    assert "cut 2 x 2; sum of 2 partial results, over k" in text
    assert "reads 1.7 MiB, writes 1.1 MiB, receives 1.4 MiB" in text
    assert "Legate cuts the common space of 1,000 x 800 x 1,200 elements anew" in text
    assert size(1023) == "1023 B"
    assert size(3 << 40) == "3.0 TiB"


def test_as_tables_for_a_terminal() -> None:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        console.print(at_once())
    said = captured.get()
    assert "sum of 2 partial results, over k" in said
    assert "8 tiles (2 x 2 x 2)" in said


def test_as_html_without_anything_from_outside() -> None:
    html = at_once()._repr_html_()
    assert re.findall(r"(?:src|href|url)\s*[=(]", html) == []
    assert set(re.findall(r"https?://[^\"]*", html)) == {"http://www.w3.org/2000/svg"}
    assert "currentColor" in html
    assert "#22272e" not in html  # no color that would be lost on a dark page
    assert "A[m,k]" in html


def test_as_a_page(tmp_path: Path) -> None:
    at_once().to_html(tmp_path / "answer.html")
    page = (tmp_path / "answer.html").read_text()
    assert "color-scheme: light dark" in page
    assert page.count("<svg") == 1


ARRAYS = [
    (matmul, (f4(1000, 800), f4(800, 1200))),
    (copy, (f4(3, 400, 500, 20),)),
    (copy, (f4(),)),
    (fft2, (f4(128, 256, 256),)),
    (histogram, (stand_in((10**6,), "int64"), 10)),
    (slopes, (f4(10**6),)),
    (smooth, (f4(1000, 1000),)),
    (some_rows, (f4(10**6, 3),)),
    (add, (f4(300, 1), f4(400))),
    (saxpy, (f4(0), f4(0), 2.0)),
]


@pytest.mark.parametrize(("body", "arguments"), ARRAYS, ids=lambda v: getattr(v, "name", ""))
@pytest.mark.parametrize("processors", [1, 4, 1000])
def test_every_array_can_be_drawn(body, arguments, processors: int) -> None:
    scene = picture(body.explain(*arguments).on(processors, partitioning_threshold=1))
    for item in scene.items:
        points = item.points if isinstance(item, Shape) else [item.at]
        assert all(0 <= p.real <= scene.width and 0 <= p.imag <= scene.height for p in points), item
    root = ET.fromstring(svg(scene, LIGHT))
    assert len(root) == len(scene.items) + 1
    assert "ink" not in svg(scene, DARK)


def test_what_goes_together_has_one_color() -> None:
    scene = picture(saxpy.explain(f4(10**6), f4(10**6), 2.0).on(3))
    fills = [item.fill for item in scene.items if isinstance(item, Shape) and item.fill in PALETTE]
    assert fills == list(PALETTE[:3]) * 3  # x, y and z, from left to right


def test_plot_gives_a_figure_and_a_file(tmp_path: Path) -> None:
    answer = at_once()
    figure = answer.plot(tmp_path / "answer.png")
    assert (tmp_path / "answer.png").read_bytes()[:4] == b"\x89PNG"
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"A[m,k]", "B[k,n]", "sum C[m,n]", "matmul: A[m,k], B[k,n] -> sum C[m,n]"} <= texts
    assert len(figure.axes[0].patches) >= sum(hasattr(i, "points") for i in picture(answer).items)


def test_plot_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        xd.MissingError, match=r"'matplotlib' is not installed.*\nHint: pip install 'xpdispatch\[plot\]'"
    ):
        at_once().plot()


# -- in the shell ------------------------------------------------------------------------------------

EXPLAIN = ["explain", str(HERE / "explained.py") + ":matmul"]


def test_explain_in_the_shell(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page, plot = tmp_path / "answer.html", tmp_path / "answer.svg"
    words = ["A=1000000,1000:float32", "B=1000,1000:float32", "--processors", "8", "--kind", "gpu"]
    assert main([*EXPLAIN, *words, "--html", str(page), "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert "on Legate, 8 GPUs (predicted): 8 tiles" in out
    assert "3.7 GiB" in out
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert plot.read_text().startswith("<?xml")


def test_explain_in_the_shell_without_processors_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EXPLAIN, "A=10,10", "B=10,10"]) == 0
    assert "in this process, " in capsys.readouterr().out


def test_explain_in_the_shell_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EXPLAIN, "A=10,10", "B=11,10"]) == 1
    assert "argument 'B' has axis k = 11, but 'A' fixed k = 10" in capsys.readouterr().err
    assert main([*EXPLAIN, "A=10,10", "B=10,10", "--processors", "0"]) == 1
    assert "processors=0, expected an integer >= 1" in capsys.readouterr().err


# -- the pictures of the documentation ----------------------------------------------------------------


def test_committed_pictures_are_what_the_code_draws() -> None:
    docs = HERE.parent / "docs"
    spec = importlib.util.spec_from_file_location("docs_pictures", docs / "pictures" / "explained.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = dict(module.pictures())
    folder = docs / "_static" / "pictures"
    ours = {p.name: p.read_text() for p in folder.glob("*.svg") if p.name.startswith(("notation-", "tutorial-"))}
    assert ours.keys() == drawn.keys()
    stale = [name for name, text in ours.items() if text != drawn[name]]
    assert stale == [], "python docs/pictures/explained.py"
    pages = "".join(p.read_text() for p in (*docs.glob("*.rst"), *docs.glob("*.rst.inc")))
    assert [name for name in ours if f"_static/pictures/{name}" not in pages] == []
