"""What random programs and the parser's fuzzer found, once mended: each case as small as it was when it failed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import fuzz_notation
import xpdispatch as xd
from conftest import Engine
from xpdispatch import NotationError, ShapeError, Signature, kernel
from xpdispatch.planning.patterns import Patterns
from xpdispatch.testing import check_partitioning, suggest

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
            Patterns(signature).plan([], {"n": value}, [None])
    assert Patterns(Signature.parse("-> z[i=n*n*n*n//(n*n*n)]")).plan([], {"n": 10**9}, [None]).extents == (10**9,)


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


# -- lengths of 0 and 1, in every role ----------------------------------------------------------------------------

ROLES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "rows": ("x[i,:] -> y[i]", lambda xp, x: xp.sum(x, axis=1), {}),
    "columns summed": ("x[i,j] -> sum y[j]", lambda xp, x: xp.sum(x, axis=0), {}),
    "all": ("x[i,j] -> sum y[]", lambda xp, x: xp.sum(x), {}),
    "any axes": ("x[...] -> y[...]", lambda xp, x: x + 1, {}),
    "chosen": ("x[i,:] -> y[?,:]", lambda xp, x: xp.take(x, xp.nonzero(x[:, 0] >= 0)[0], axis=0), {}),
    "chosen of the whole": ("x[:,:] -> y[?,:]", lambda xp, x: xp.take(x, xp.nonzero(x[:, 0] >= 0)[0], axis=0), {}),
    "a halo": ("x[i-1..i+1,:] -> y[i,:]", lambda xp, x: x[:-2, :] + x[2:, :], {"boundary": "wrap"}),
    "clipped": (
        "x[i-1..i,:] -> y[i,:]",
        lambda xp, tile, x: x[tile.halo("x", 0)[0] :, :] + 0,
        {"boundary": "clip"},
    ),
    "an index space": ("[i=n], x[:,:] -> z[i]", lambda xp, tile, x, n: tile.coords("i") + x.shape[0], {}),
}


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 3), (3, 1), (1, 1), (1, 0), (0, 1)], ids=str)
@pytest.mark.parametrize("role", ROLES)
def test_lengths_of_0_and_1_in_every_role(role: str, shape: tuple[int, int], engine: Engine) -> None:
    notation, body, options = ROLES[role]
    made = kernel(notation, **options)(body)
    x = np.arange(float(np.prod(shape))).reshape(shape)
    more = (shape[0],) if "n" in made.__signature__.parameters else ()
    xp = xd.namespace_for("CPU")
    if role in ("chosen", "chosen of the whole") and 0 in shape[1:]:
        pytest.skip("rows without an element cannot be counted on Legate")
    if role == "a halo":
        padded = np.concatenate([x[-1:], x, x[:1]]) if shape[0] else np.zeros((2, shape[1]))
        expected = body(xp, padded)
    elif role == "clipped":
        expected = x
    else:
        expected = np.arange(shape[0]) + shape[0] if more else body(xp, x)
    np.testing.assert_array_equal(engine.get(made(engine.put(x), *more)), expected)
    if engine.name == "numpy":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xd.PartitionWarning)  # that more could be split
            check_partitioning(made, x, *more)
        assert str(made.explain(x, *more))
        assert str(made.explain(x, *more).on(processors=4, partitioning_threshold=1))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 3), (3, 1), (1, 1), (0,), (1,)], ids=str)
def test_suggest_on_lengths_of_0_and_1(shape: tuple[int, ...]) -> None:
    assert suggest(lambda xp, x: x + 1, np.zeros(shape))
    assert suggest(lambda xp, x: xp.sum(x, axis=0), np.zeros(shape))


# -- subclasses of NumPy's array ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 2000])
@pytest.mark.parametrize("kind", [np.matrix, np.recarray])
def test_subclasses_mean_the_same_whatever_the_size(size: int, kind: Any) -> None:
    def odd(value: float) -> Any:
        return np.full((size, size), value).view(kind)

    @kernel("x[i,j] -> x[i,j]")
    def squared_in_place(xp, x):
        x *= x

    @kernel("x[i,j] -> y[i,j]")
    def squared_into(xp, x, y):
        y[...] = x
        y *= y

    squared = kernel("x[i,j] -> x[i,j]")(lambda xp, x: x * x)
    new = kernel("x[i,j] -> y[i,j]")(lambda xp, x: x * x)
    for made in (squared_in_place, squared):
        x = odd(3.0)
        assert made(x) is x
        assert type(x) is kind
        assert (np.asarray(x) == 9).all()
    for made in (squared_into, new):
        out = odd(0.0)
        assert made(odd(3.0), out=out) is out
        assert (np.asarray(out) == 9).all()
    assert type(new(odd(3.0))) is np.ndarray
    assert (new(odd(3.0)) == 9).all()


# -- results of unknown size in one piece ---------------------------------------------------------------------------


def test_results_of_unknown_size_from_whole_axes(engine: Engine) -> None:
    if engine.name == "jax":
        pytest.skip("JAX has no shapes that depend on values under its own transformations")
    unique = kernel("x[:] -> u[?], n[]")(lambda xp, x: (xp.unique_values(x), xp.asarray(x.shape[0])))
    for values in ([3, 1, 3, 2], [5], [], [7] * 9):
        found, n = unique(engine.put(np.asarray(values, dtype=np.int64)))
        assert sorted(engine.get(found).tolist()) == sorted(set(values))
        assert int(engine.get(n)) == len(values)


def test_the_remedy_for_unique_is_right_where_it_is_followed(on_legate: Engine) -> None:
    values = np.asarray([4, 4, 1, 1, 4, 2, 2])
    with pytest.raises(xd.PartitionError) as raised:
        check_partitioning(kernel("x[i] -> u[?]")(lambda xp, x: np.unique(x)), values)
    assert "keep i whole: x[:] -> u[?] (checked: then it is right); nothing is parallel any more" in str(raised.value)
    followed = kernel("x[:] -> u[?]")(lambda xp, x: np.unique(x))
    assert on_legate.get(followed(on_legate.put(values))).tolist() == [1, 2, 4]
    assert suggest(lambda xp, x: np.unique(np.round(x)), np.linspace(0, 3, 20)) == "x[:] -> y[?]"


# -- what messages advise --------------------------------------------------------------------------------------------


def advice_of(error: xd.XPDispatchError) -> str:
    return str(error).split("Hint: ")[1]


def test_what_is_wrong_with_a_fold_is_told() -> None:
    def first_of_least(xp, x):
        place = xp.argmin(x)
        return xp.stack([x[place], xp.asarray(place, dtype=x.dtype)])

    def lesser(xp, a, b):
        return a if a[0] <= b[0] else b

    def half_way(xp, a, b):
        return (a + b) / 2

    x = np.asarray([5.0, 2.0, 8.0, 1.0, 9.0, 4.0])
    cases = {
        "fold= is associative on these parts": (first_of_least, lesser, x),
        "a part is NaN": (
            lambda xp, x: xp.stack([xp.min(x), xp.min(x)]),
            lesser,
            np.where(np.arange(6) < 3, np.nan, 1.0),
        ),
        "fold= must be associative": (lambda xp, x: xp.stack([xp.max(x), x[0]]), half_way, x),
    }
    for text, (body, merge, values) in cases.items():
        with pytest.raises(xd.PartitionError) as raised:
            check_partitioning(kernel("x[i] -> fold p[:2]", fold=merge)(body), values)
        assert advice_of(raised.value).startswith(text), raised.value


def test_the_advice_for_an_array_in_a_scalars_place_can_be_followed() -> None:
    body = lambda xp, x, e: x + e  # noqa: E731
    x = np.arange(4.0)
    for e in (x, np.ones(1), np.asarray(2.0)):
        with pytest.raises(xd.ArgumentError) as raised:
            kernel("x[i] -> y[i]")(body)(x, e)
        advised = advice_of(raised.value).removeprefix("add ").split("]")[0] + "]"
        assert "e[]" in advice_of(raised.value)
        got = kernel(f"x[i], {advised} -> y[i]")(body)(x, e)
        np.testing.assert_array_equal(got, x + e)


def test_other_advice() -> None:
    with pytest.raises(NotationError, match=r"an index stands last in a product: 2\*i, b\*i or \(n\+1\)\*i"):
        Signature.parse("x[b*w] -> y[b]")
    with pytest.raises(NotationError, match=r"write sum m\[\] .* or w\[:i\] to keep the axis whole"):
        Signature.parse("v[:i], w[i] -> m[]")
    with pytest.raises(xd.ArgumentError, match="tile got index 'i', and none is split\n.*an array and its axis"):
        suggest(lambda xp, tile, x: x + tile.coords("i"), np.arange(4.0))
    alone = kernel("x[i] -> y[i]")(lambda xp, x: x)
    assert "too small to gain by it\n" in str(alone.explain(np.ones(1)))
    assert "no index is split" in str(kernel("x[:] -> y[:]")(lambda xp, x: x).explain(np.ones(5)))
    stacked = kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(xp.stack([x] * 9)))
    assert (stacked.explain(np.ones(10**6)).temporaries or 0) > 0
