"""The checker: every planted bug is found, every right kernel passes, and the messages say what to do."""

from __future__ import annotations

import sys
import warnings
from functools import partial

import numpy as np
import pytest

import xpdispatch as xd
from planted import PLANTED, Planted
from right import RIGHT, Right
from xpdispatch import In, Out, align, broadcast, kernel
from xpdispatch.proving.comparison import Reruns, compare
from xpdispatch.proving.search import Experiment
from xpdispatch.testing import Tiling, check_partitioning, checking, draw, suggest, tilings
from xpdispatch.testing.trials import make_trial

rng = np.random.default_rng(20261124)
x = rng.normal(size=17)


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_planted_bugs_are_found(bug: Planted) -> None:
    for seed in range(3):
        made, args, kwargs = bug.make(np.random.default_rng(seed))
        with pytest.raises(xd.PartitionError) as caught, checking(seed=seed):
            check_partitioning(made, *args, **kwargs)
        message = str(caught.value)
        assert made.name in message
        assert "Hint: " in message
        for word in bug.words:
            assert word in message


@pytest.mark.parametrize("good", RIGHT, ids=lambda good: good.name)
def test_right_kernels_pass(good: Right) -> None:
    for seed in range(3):
        made, args, kwargs = good.make(np.random.default_rng(seed))
        before = [np.array(a) for a in args if isinstance(a, np.ndarray)]
        with checking(seed=seed):
            done = check_partitioning(made, *args, **kwargs)
        assert done.tilings > 5 or not made.signature.indices
        for a, b in zip([a for a in args if isinstance(a, np.ndarray)], before, strict=True):
            np.testing.assert_array_equal(a, b)


# -- messages -------------------------------------------------------------------------------------------------------


def message_of(made: xd.Kernel, *args, **options) -> str:
    with pytest.raises(xd.PartitionError) as caught, checking(**options):
        check_partitioning(made, *args)
    return str(caught.value)


def test_the_whole_message() -> None:
    @kernel("x[i] -> y[i]")
    def scaled(xp, x):
        return x / xp.max(x)

    assert message_of(scaled, np.asarray([1.0, 2.0, 4.0, 3.0]), data="the arguments") == (
        "kernel 'scaled': the answer depends on how the arrays are cut along i\n"
        "  x[i] -> y[i]\n"
        "    ^\n"
        "  y[0] = 0.25 in one tile, 1.0 in these tiles\n"
        "  y[0] comes from tile i = 0:1 of 4\n"
        "  i |=|---|  0:1 1:4\n"
        "  data: the arguments as given\n"
        '  reproduce: with checking(seed=0, tiling="i: 1", data="the arguments"): check_partitioning(scaled, ...)\n'
        "Hint: keep i whole: x[:i] -> y[:i] (checked: then it is right); "
        "nothing is parallel any more, all runs in one piece"
    )


def test_the_reproduce_line_reproduces() -> None:
    bad = kernel("x[i], y[j] -> z[i, j]")(lambda xp, x, y: x[:, None] - xp.sort(y)[None, :])
    message = message_of(bad, x, x[:5], seed=3)
    line = next(row for row in message.splitlines() if "reproduce" in row)
    tiling, data = line.split('tiling="')[1].split('"')[0], line.split('data="')[1].split('"')[0]
    again = message_of(bad, x, x[:5], seed=3, tiling=tiling, data=data)
    assert again.splitlines()[3:8] == message.splitlines()[3:8]


def test_what_was_never_cut_is_not_called_right() -> None:
    double = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    with checking(tiling="one tile"):
        done = check_partitioning(double, x)
    assert done.tilings == 0
    assert repr(done) == "<nothing was cut; skipped all tilings: checking(tiling='one tile') makes one tile>"
    assert "no index has two elements; pass larger arrays" in repr(check_partitioning(double, x[:1]))
    mean = kernel("x[:] -> y[]")(lambda xp, x: xp.mean(x))
    assert repr(check_partitioning(mean, x)) == "<nothing was cut; skipped all tilings: the notation splits no axis>"


def test_checks_need_no_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    ranks = kernel("x[i] -> y[i]")(lambda xp, x: xp.argsort(xp.argsort(x)))
    assert "Hint: keep i whole: x[:i] -> y[:i] (checked: then it is right)" in message_of(ranks, x)
    assert check_partitioning(kernel("x[i] -> y[i]")(lambda xp, x: 2 * x), x).tilings > 50


def test_what_is_found_is_made_small() -> None:
    long = np.arange(60.0)
    first = kernel("x[i], y[j] -> z[i, j]")(lambda xp, x, y: x[:, None] * 0 + (y[:1] < 0) + y[None, :])
    for tiling in ("i: 5 9 14, j: 9 33; backward", "j: 0 17 17 50 60; 12", "j: 59"):
        trial = make_trial(first, (x, -long), {})
        experiment = Experiment("the arguments", trial, trial.run())
        found = experiment.attempt(Tiling.parse(tiling))
        assert str(experiment.smallest(found).tiling) == "j: 1"


def total_variation(xp, x):
    return xp.sum(xp.abs(x[1:] - x[:-1]))


def add(xp, x: In, y: In, z: Out):
    z[...] = x + y


def overwrite(xp, x: In, s: Out):
    s[...] = xp.sum(x)


@pytest.mark.parametrize(
    ("made", "args", "hint"),
    [
        (kernel("x[i] -> sum y[]")(lambda xp, x: xp.max(x)), (x,), "combine by max: x[i] -> max y[]"),
        (kernel("x[i] -> sum y[]")(lambda xp, x: xp.mean(x)), (x,), "keep i whole: x[:] -> y[]"),
        (kernel("x[i, j] -> y[i, j]")(lambda xp, x: xp.sort(x, axis=0)), (x.reshape(1, 17).T @ x.reshape(1, 17),),
         "keep i whole: x[:i, j] -> y[:i, j]"),
        (kernel("x[i-1..i+1] -> sum tv[]", boundary="clip")(total_variation), (x,),
         "read another halo, x[i-1..i]: x[i-1..i] -> sum tv[]"),
        (kernel("x[i] -> y[?]")(lambda xp, x: np.unique(np.round(x))), (x,), "keep i whole: x[:] -> y[?]"),
        (kernel("x[2*i] -> y[i]")(lambda xp, x: x[1::2] - xp.roll(x[::2], -1)), (x[:16],),
         "keep i whole: x[:] -> y[:]"),
        (kernel(constraints=[align("x", "z")])(add), (x, x, np.zeros(17)), "write align('x', 'z', 'y'): x[...], y"),
        (kernel(constraints=[broadcast("s")])(overwrite), (x, np.zeros(())), "annotate 's' with Reduce[\"sum\"]"),
    ],
    ids=lambda value: value.notation if isinstance(value, xd.Kernel) else "",
)  # fmt: skip
def test_the_hint_fixes_the_kernel(made: xd.Kernel, args: tuple, hint: str) -> None:
    message = message_of(made, *args)
    assert f"Hint: {hint}" in message
    assert "(checked: then it is right)" in message


def test_what_a_body_must_not_do() -> None:
    def only(notation, body, *args):
        return message_of(kernel(notation)(body), *args)

    def partly(xp, x, y):
        y[1:] = x[1:]

    def reads(xp, x, y):
        y[...] = x + y % 2

    def beyond(xp, x, y):
        y[...] = x
        y.base[...] = 0

    def behind(xp, x):
        x.base[0] = 1
        return x * 1

    assert "leaves 1 of 17 elements of result 'y' unwritten, the first is y[0]" in only(
        "x[i] -> y[i]", partly, x, np.zeros(17)
    )
    assert "the answer depends on what result 'y' held before the call" in only(
        "x[i] -> y[i]", reads, np.arange(9), np.zeros(9, int)
    )
    assert "writes outside of its tile of result 'y'" in only("x[i] -> y[i]", beyond, x, np.zeros(17))
    assert "the body writes to its operand 'x'" in only("x[i] -> y[i]", behind, x)
    assert "two calls with the same arguments give two answers in result 'y'" in only(
        "x[i] -> y[i]", lambda xp, x: x + np.random.default_rng().normal(), x
    )


def test_what_varies_must_be_an_argument() -> None:
    gain = [1.0]
    made = kernel("x[i] -> y[i]")(lambda xp, x: gain[0] * x)
    check_partitioning(made, x)
    gain[0] = 2.0
    assert "closure variable 'gain', which has changed since the last check" in message_of(made, x)
    counted = kernel("x[i] -> y[i]")(lambda xp, x: x + gain.append(0.0) if False else x * len(gain))
    check_partitioning(counted, x)


def test_dtypes_and_extents_on_the_sample() -> None:
    by_value = kernel("x[i] -> y[i]")(lambda xp, x: x if xp.any(x < 0) else xp.astype(x, xp.float32))
    message = message_of(by_value, -np.abs(x), data="the arguments", tiling="one tile")
    assert "result 'y' has dtype float64, but dtype float32 on a sample of ones, from which Legate learns it" in message
    refuses = kernel("x[i] -> y[i]")(lambda xp, x: x[: 10 // (x.shape[0] - 1)] if x.shape[0] == 1 else x)
    assert "ZeroDivisionError" in message_of(refuses, x)


def test_an_axis_that_could_be_split_is_a_warning() -> None:
    with pytest.warns(xd.PartitionWarning, match=r"axis j of x\[i, :\] is kept whole, and could be split: x\[i, j\]"):
        check_partitioning(kernel("x[i, :] -> y[i, :]")(lambda xp, x: x + 1), rng.normal(size=(5, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_partitioning(kernel("x[i, :] -> y[i, :]")(lambda xp, x: xp.sort(x, axis=1)), rng.normal(size=(5, 4)))


def test_the_body_s_own_error_is_raised_as_it_is() -> None:
    def broken(xp, x):
        raise KeyError("no such band")

    with pytest.raises(KeyError, match="no such band"):
        check_partitioning(kernel("x[i] -> y[i]")(broken), x)


def test_misuse() -> None:
    saxpy = kernel("x[i], y[i] -> z[i]")(lambda xp, x, y, a: a * x + y)
    with pytest.raises(TypeError, match="expected a kernel"):
        check_partitioning(lambda xp, x: x, x)
    with pytest.raises(ValueError, match="kernel '<lambda>': argument 'y' has axis i = 3, but 'x' fixed i = 17"):
        check_partitioning(saxpy, x, x[:3], 2.0)
    with pytest.raises(TypeError, match="checks run on NumPy: pass numpy.asarray"):
        import array_api_strict

        check_partitioning(saxpy, array_api_strict.asarray(x), array_api_strict.asarray(x), 2.0)
    with pytest.raises(TypeError, match="checking\\(\\) has no option 'speed'"), checking(speed=3):
        pass
    with pytest.raises(TypeError, match="data='mine' is unknown"), checking(data="mine"):
        pass
    for text, message in [("i 3", "is not a cut of an index"), ("i: 3; sideways", "is not an order of tiles")]:
        with pytest.raises(TypeError, match=message):
            Tiling.parse(text)
    with pytest.raises(ValueError, match="cuts i at \\(99,\\), which has extent 17"), checking(tiling="i: 99"):
        check_partitioning(saxpy, x, x, 2.0)
    assert "an index has no element" in repr(check_partitioning(saxpy, x[:0], x[:0], 2.0))


def test_what_was_skipped_is_said() -> None:
    def careful(xp, x):
        if not xp.all(x == x[0]):
            raise ValueError("this is no constant field")
        return x

    done = check_partitioning(kernel("x[i] -> y[i]")(careful), np.full(9, 2.5))
    assert done.data == ("the arguments",)
    assert "small integers: the body raised ValueError on them" in repr(done)


# -- comparing --------------------------------------------------------------------------------------------------------


def never(*_):
    raise AssertionError("no rerun was needed")


def test_comparing_exactly_and_within_rounding() -> None:
    reruns = Reruns(never, never)
    assert compare([np.asarray([1, 2])], [np.asarray([1, 2])], reruns) is None
    found = compare([np.asarray([1, 2])], [np.asarray([1, 3])], reruns)
    assert (found.where, found.expected, found.got) == ((1,), "2", "3")
    third = np.asarray([1 / 3, np.nan, np.inf])
    assert compare([third], [third * (1 + 2e-16)], reruns) is None
    assert compare([third], [third.astype("f4")], reruns).where is None


@pytest.mark.parametrize("wrong", [0.5, np.inf, -np.inf, np.nan])
def test_an_infinity_in_place_of_a_number_is_a_difference(wrong: float) -> None:
    right = np.asarray([1.0, np.inf, -np.inf])
    for place in range(3):
        other = np.where(np.arange(3) == place, wrong, right)
        reruns = Reruns(partial(tuple, ([right], [other])))
        same = np.array_equal(other, right)
        assert (compare([right], [other]) is None) == same
        assert (compare([right], [other], reruns) is None) == same


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_rounding_shrinks_with_precision_and_mistakes_do_not(scale: float) -> None:
    big = np.asarray([1e16, 1.0, -1e16, 3.0] * 8) * scale

    def reruns(wrong: float) -> Reruns:
        exact = big.astype(np.longdouble)
        pair = [np.asarray(exact.sum())], [np.asarray(exact[::2].sum() + exact[1::2].sum() + np.longdouble(wrong))]
        low = np.asarray(big.sum())
        return Reruns(lambda: pair, lambda seed, **_: ([low], [low + wrong], pair))

    whole, tiled = np.asarray(big.sum()), np.asarray(big[::2].sum() + big[1::2].sum())
    assert compare([whole], [tiled], reruns(0.0)) is None
    assert compare([whole], [whole + 500 * scale], reruns(500 * scale)) is not None


def test_a_wrong_kernel_does_not_hide_behind_another_column() -> None:
    scales = 10.0 ** np.arange(-150, 150, 50)
    data = rng.normal(size=(12, 6)) * scales

    @kernel("x[i, j] -> sum y[j]")
    def means(xp, x):
        total = xp.sum(x, axis=0)
        return xp.where(xp.asarray([True, False, False, False, False, False])[: x.shape[1]], xp.mean(x, axis=0), total)

    with pytest.raises(xd.PartitionError, match="y\\[0\\]"), checking(data="the arguments", tiling="i: 5"):
        check_partitioning(means, data)


# -- tilings ---------------------------------------------------------------------------------------------------------


def test_tilings_as_text() -> None:
    for text in ("one tile", "i: 5 11", "i: 5 11, j: 2; backward", "...-1: 0 3; 17"):
        assert str(Tiling.parse(text)) == text
    plan = kernel("x[i] -> y[i]")(lambda xp, x: x).definition.plan([(9,)], (), [None])
    assert Tiling.parse("i: 3 3; backward").regions(plan) == [((3, 9),), ((3, 3),), ((0, 3),)]
    assert draw(plan, Tiling.parse("i: 4"), [((0, 4),)]) == ["  i |====|-----|  0:4 4:9"]
    long = kernel("x[i] -> y[i]")(lambda xp, x: x).definition.plan([(1000,)], (), [None])
    assert len(draw(long, Tiling.parse("i: 1 500"))[0]) < 80


def test_arrays_that_nothing_aligns_are_cut_apart() -> None:
    made = kernel(constraints=[align("x", "z")])(add)
    plan = make_trial(made, (x, x, np.zeros(17)), {}).plan
    regions = Tiling((("x...-1", (5,)), ("y...-1", (8,)))).regions(plan)
    assert regions == [((0, 5), (0, 8)), ((5, 17), (8, 17))]


def test_the_strategy_draws_tilings_of_the_plan() -> None:
    from hypothesis import find

    plan = kernel("A[m, k], B[k, n] -> sum C[m, n]")(lambda xp, A, B: A @ B).definition.plan(
        [(4, 5), (5, 6)], (), [None]
    )
    found = find(tilings(plan), lambda t: len(t.indices) == 2 and len(t.regions(plan)) >= 6)
    assert len(found.regions(plan)) >= 6


# -- suggest ----------------------------------------------------------------------------------------------------------


def table(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


SUGGESTED = [
    (lambda xp, x, y, a: a * x + y, (table(17), table(17), 2.0), "x[i], y[i] -> z[i]"),
    (lambda xp, A, B: A @ B, (table(4, 5), table(5, 6)), "A[i, j], B[j, k] -> sum y[i, k]"),
    (lambda xp, a, b: a @ b, (table(5, 5), table(5, 5)), "a[i, j], b[j, k] -> sum y[i, k]"),
    (lambda xp, x: xp.fft.fftn(x, axes=(1, 2)), (table(4, 6, 8) + 0j,), "x[i, :, :] -> y[i, :, :]"),
    (lambda xp, x: x[1:] - x[:-1], (table(17),), "x[i..i+1] -> y[i]"),
    (lambda xp, x: xp.max(xp.reshape(x, (x.shape[0] // 2, 2)), axis=1), (table(18),), "x[2*i] -> y[i]"),
    (lambda xp, x: xp.repeat(x, 2), (table(9),), "x[i] -> y[2*i]"),
    (lambda xp, x: x[x > 0], (table(17),), "x[i] -> y[?]"),
    (lambda xp, x: x[x > 0.5], (rng.random(17),), "x[i] -> y[?]"),
    (
        lambda xp, x: (xp.sum(x, axis=0), xp.max(x), xp.mean(x, axis=1)),
        (table(6, 7),),
        "x[i, :] -> sum y0[:], max y1[], y2[i]",
    ),
    (lambda xp, x: xp.any(x > 1), (table(6, 4),), "x[i, j] -> any y[]"),
    (lambda xp, x: xp.prod(x), (table(6),), "x[i] -> prod y[]"),
    (lambda xp, x: x.T, (table(6, 4),), "x[i, j] -> y[j, i]"),
    (lambda xp, x: xp.cumulative_sum(x), (table(9),), "x[i] -> sum y[..i]"),
    (lambda xp, tile, x: x * tile.coords(("x", 0)), (table(9),), "x[i] -> y[i]"),
    (lambda xp, x, w: x * w, (table(6, 4), table(1, 4)), "x[i, j], w[:, j] -> y[i, j]"),
    (
        lambda xp, x, n: xp.sum(xp.astype(x[:, None] == xp.arange(n)[None, :], xp.int64), axis=0),
        (rng.integers(0, 9, 50), 9),
        "x[i] -> sum y[:n]",
    ),
]


@pytest.mark.parametrize(("body", "args", "notation"), SUGGESTED, ids=[s[2] for s in SUGGESTED])
def test_suggest(body, args, notation) -> None:
    found = suggest(body, *args)
    assert found == notation
    made = kernel(found, boundary=found.boundary)(body)
    check_partitioning(made, *args)


def test_suggest_says_what_it_could_not_decide() -> None:
    found = suggest(lambda xp, x, w: x * w, table(6, 4), table(1, 4))
    assert found.undecided == ("axis 0 of 'w' has extent 1: nothing can be said of it",)
    found = suggest(lambda xp, x: x[1:] - x[:-1], table(9))
    assert found.boundary == "valid"
    with pytest.raises(TypeError, match="the body returned None"):
        suggest(lambda xp, x: None, table(3))
    with pytest.raises(TypeError, match="the arguments do not fit the body"):
        suggest(lambda xp, x: x)
    with pytest.raises(TypeError, match="no argument is a NumPy array"):
        suggest(lambda xp, x: x, 3.0)


# -- found by trying to break the checker ------------------------------------------------------------------------------

RIGHT_AFTER_ALL = {
    "interpolation in a table": (
        "x[i], g[:n], v[:n] -> y[i]",
        lambda xp, x, g, v: np.interp(x, g, v),
        (x, np.linspace(-3, 3, 9), rng.normal(size=9)),
    ),
    "search in a sorted table": (
        "x[i], g[:n] -> j[i]",
        lambda xp, x, g: xp.searchsorted(g, x),
        (x, np.sort(rng.normal(size=9))),
    ),
    "counts in sorted data": (
        "x[i], q[j] -> sum c[j]",
        lambda xp, x, q: xp.searchsorted(x, q),
        (np.sort(rng.normal(size=30)), rng.normal(size=9)),
    ),
    "integers that cancel as floats": ("n[i] -> sum s[]", lambda xp, n: xp.sum(n * 0.1), (np.arange(-20, 21),)),
    "float32 inside": (
        "x[i] -> sum s[]",
        lambda xp, x: xp.astype(xp.sum(xp.astype(x, xp.float32)), xp.float64),
        (rng.random(400),),
    ),
    "a product in float16": ("x[i] -> prod p[]", lambda xp, x: xp.prod(x), (rng.normal(size=60).astype("e"),)),
    "a set as a scalar": ("x[i] -> y[i]", lambda xp, x, o: x, (x, {8, 0, 16, 24, 1})),
    "whole rows of one cell": (
        "x[:, i] -> y[:, i]",
        lambda xp, x: xp.cumulative_sum(x, axis=0),
        (x.reshape(1, 17),),
    ),
}


@pytest.mark.parametrize("name", RIGHT_AFTER_ALL)
def test_no_false_alarm(name: str) -> None:
    notation, body, args = RIGHT_AFTER_ALL[name]
    for seed in range(4):
        with checking(seed=seed), warnings.catch_warnings():
            warnings.simplefilter("error", xd.PartitionWarning)
            check_partitioning(kernel(notation)(body), *args)


def test_a_read_only_array_of_the_body_s_own_is_not_blamed_on_an_operand() -> None:
    def own(xp, x):
        np.broadcast_to(np.asarray(1.0), (3,))[0] = 2
        return x

    with pytest.raises(ValueError, match="read-only") as caught:
        check_partitioning(kernel("x[i] -> y[i]")(own), x)
    assert not isinstance(caught.value, xd.XPDispatchError)


def test_a_body_that_ignores_its_tile_is_not_fixed_by_max() -> None:
    @kernel("[i=n] -> sum hits[]")
    def every(xp, n):
        return xp.sum(xp.astype(xp.arange(n) % 3 == 0, xp.int64))

    message = message_of(every, 30)
    assert "every tile gives the whole result" in message
    assert "max" not in message


def test_checks_inside_a_hypothesis_test() -> None:
    from hypothesis import given, settings

    from xpdispatch.testing import arguments

    @settings(max_examples=20)
    @given(arguments(kernel("x[i] -> y[i]")(lambda xp, x: 2 * x), least=3))
    def inside(values: dict) -> None:
        check_partitioning(kernel("x[i] -> y[i]")(lambda xp, x: 2 * x), **values)
        with pytest.raises(xd.PartitionError):
            check_partitioning(kernel("x[i] -> sum y[]")(lambda xp, x: xp.sum(x) + 1), **values)

    inside()


def test_suggest_tells_what_a_body_must_not_do() -> None:
    def double(xp, u):
        u *= 2
        return u

    with pytest.raises(xd.PartitionError, match="kernel 'double': the body writes to its operand 'u'"):
        suggest(double, x)


def test_two_indices_at_fault_are_fixed_together() -> None:
    mean = kernel("img[y, x] -> sum lum[]")(lambda xp, img: xp.mean(img))
    assert "Hint: keep y and x whole: img[:, :] -> lum[] (checked: then it is right)" in message_of(
        mean, rng.normal(size=(6, 5))
    )


def test_a_halo_that_goes_takes_its_boundary_along() -> None:
    ranks = kernel("x[i-1..i+1] -> y[i]", boundary="clip")(lambda xp, x: xp.argsort(xp.argsort(x)))
    assert "Hint: keep i whole: x[:] -> y[:] without boundary= (checked: then it is right)" in message_of(ranks, x)


def test_a_seed_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    double = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    monkeypatch.setenv("XPDISPATCH_SEED", "7")
    check_partitioning(double, x)
    monkeypatch.setenv("XPDISPATCH_SEED", "foo")
    with pytest.raises(TypeError, match="XPDISPATCH_SEED='foo' is not a seed"):
        check_partitioning(double, x)


def test_a_tiling_of_no_index() -> None:
    with pytest.raises(ValueError, match="the tiling cuts 'q', which is not an index"), checking(tiling="q: 9"):
        check_partitioning(kernel("x[i] -> y[i]")(lambda xp, x: x), x)
