"""What random programs and the parser's fuzzer found, once mended: each case as small as it was when it failed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fuzz_notation
import xpdispatch as xd
from conftest import Engine
from xpdispatch import NotationError, ShapeError, Signature, kernel
from xpdispatch.planning.plan import plan
from xpdispatch.testing import check_partitioning

# -- the notation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [10**5000, -(10**5000)], ids=["above", "below"])
def test_an_extent_of_thousands_of_digits_is_told_without_printing_it(value: int) -> None:
    ramp = kernel("-> z[i=n]")(lambda xp, tile, n: tile.coords("i"))
    with pytest.raises(ShapeError, match=r"extent 'n' is an integer of 16610 bits, expected 0 or more"):
        ramp(value)
    same = kernel("x[:n] -> y[:n]")(lambda xp, x, n: x)
    with pytest.raises(ShapeError, match=r"scalar 'n' = an integer of 16610 bits, but 'x' fixed n = 3"):
        same(np.ones(3), value)


@pytest.mark.parametrize("text", ["x[i] -> y[:\u00b2]", "x[n\u00b2] -> y[n\u00b2]", "x\u00b9[i] -> y[i]"])
def test_superscripts_are_word_characters_and_no_names(text: str) -> None:
    with pytest.raises(NotationError, match="is not a name\n"):
        Signature.parse(text)


@pytest.mark.parametrize(
    "name", ["\u00b5", "\ufb01t", "\u05e1\u05bc", "\u0939\u093f\u0928\u094d\u0926\u0940", "e\u0301"]
)
def test_names_are_those_of_pythons_parameters(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def body(xp, {name}):\n    return 2 * {name}", scope)
    made = kernel(f"{name}[i] -> y[i]")(scope["body"])
    np.testing.assert_array_equal(made(np.arange(3)), [0, 2, 4])
    fuzz_notation.check(f"{name}[i] -> y[i]")


@pytest.mark.parametrize("text", ["-> z[i=n, j=j]", "-> z[i=j, j=i]", "-> z[i=2*j, j=n]", "[i=j], [j=i] -> sum z[]"])
def test_extents_that_are_made_of_extents_to_come(text: str) -> None:
    with pytest.raises(NotationError, match="whose own extent is not known before it"):
        Signature.parse(text)


def test_extents_that_are_made_of_extents_before() -> None:
    ramp = kernel("-> z[j=n, i=2*j]")(lambda xp, tile, n: xp.zeros((tile.size("j"), tile.size("i"))))
    assert ramp(3).shape == (3, 6)


def test_lines_that_would_take_long_to_read_are_refused() -> None:
    with pytest.raises(NotationError, match="the notation has 10006 characters, expected at most 10000") as caught:
        Signature.parse(" " * 50 + "x" * 10_000 + "-> y[]")
    assert len(str(caught.value)) < 300
    for text in ("(" * 9_990, "x[i] -> y[:" + "-" * 9_000 + "n]", "-> z[i=" + "n*" * 4_000 + "n]"):
        fuzz_notation.check(text)


def test_extents_that_would_take_long_to_compute_are_refused() -> None:
    signature = Signature.parse("-> z[i=" + "n*" * 4_000 + "n]")
    for value in (3, 10**5000):
        with pytest.raises(ShapeError, match="is an integer of [0-9]+ bits, expected 0 or more"):
            plan(signature, [], {"n": value}, [None])
    assert plan(Signature.parse("-> z[i=n*n*n*n//(n*n*n)]"), [], {"n": 10**9}, [None]).extents == (10**9,)


def test_every_notation_of_the_tests_and_documentation_survives_the_fuzzers_checks() -> None:
    texts = fuzz_notation.corpus()
    assert len([t for t in texts if fuzz_notation.check(t)]) > 200


# -- programs -----------------------------------------------------------------------------------------------


def add(xp: Any, a: Any, b: Any) -> Any:
    return a + b


def test_a_fold_over_an_index_space_took_the_places_of_its_tiles_for_the_tile(engine: Engine) -> None:
    cells = kernel("[i=n, j=m] -> fold u[]", fold=add)(
        lambda xp, tile, n, m: xp.asarray(tile.size("i") * tile.size("j"))
    )
    with xd.engine("legate") if engine.on_legate else xd.engine("local"):
        assert engine.get(cells(5, 6)) == 30


def test_a_fold_over_an_index_that_only_an_operand_with_a_halo_has(engine: Engine) -> None:
    total = kernel("x[i-1..i+1] -> fold u[]", boundary=0, fold=add)(lambda xp, x: xp.sum(x[1:-1]))
    assert engine.get(total(engine.put(np.arange(17)))) == 136


def test_a_product_over_no_index_is_put_together_of_no_index(engine: Engine) -> None:
    product = kernel("x[...] -> prod u[]")(lambda xp, x: xp.prod(x))
    assert engine.get(product(engine.put(np.asarray(2 + 1j)))) == 2 + 1j


def test_blocks_beside_a_halo_that_no_other_array_has(engine: Engine) -> None:
    total = kernel("x[3*j, k..k+1] -> sum u[j]", boundary=0)(
        lambda xp, x: xp.sum(xp.reshape(x[:, :-1], (-1, 3 * (x.shape[1] - 1))), axis=1)
    )
    x = np.arange(60).reshape(12, 5)
    np.testing.assert_array_equal(engine.get(total(engine.put(x))), x.reshape(4, -1).sum(axis=1))


@pytest.mark.parametrize("shape", [(4, 3, 1, 1, 2, 6), (4, 3, 1, 2, 2, 6), (4, 3, 5, 2, 1, 6)], ids=str)
def test_blocks_of_an_array_of_as_many_axes_as_legate_has(shape: tuple[int, ...], engine: Engine) -> None:
    halves = kernel("x[a,b,:,j,:,2*i] -> y[a,b,j,i]")(
        lambda xp, x: xp.sum(xp.sum(x[..., ::2] + x[..., 1::2], axis=4), axis=2)
    )
    x = np.arange(np.prod(shape)).reshape(shape)
    expected = x.reshape(*shape[:-1], 3, 2).sum(axis=(2, 4, 6))
    np.testing.assert_array_equal(engine.get(halves(engine.put(x))), expected)


def test_a_fold_to_a_result_without_a_cell(engine: Engine) -> None:
    sums = kernel("x[i], y[:n] -> fold u[:n]", fold=add)(lambda xp, x, y: xp.sum(x) + y)
    assert engine.get(sums(engine.put(np.ones(17)), engine.put(np.ones(0)))).shape == (0,)


@pytest.mark.parametrize("boundary", ["clip", "edge", "wrap", 1.0])
def test_a_halo_of_an_operand_without_a_cell(boundary: Any, engine: Engine) -> None:
    @kernel("x[i-2..i+1, :n] -> y[i]", boundary=boundary)
    def rows(xp, tile, x):
        below, above = tile.halo("x", 0)
        assert x.shape == (below + tile.size("i") + above, 0)
        return xp.ones(tile.size("i")) + xp.sum(x)

    np.testing.assert_array_equal(engine.get(rows(engine.put(np.ones((9, 0))))), np.ones(9))


def test_checking_a_kernel_on_arrays_of_objects() -> None:
    doubled = kernel("x[i] -> x[i]")(lambda xp, x: x + x)
    assert check_partitioning(doubled, np.array([1, 2, 3], object)).tilings > 0
