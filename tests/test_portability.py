"""check_portable: right kernels pass on every library, and bodies that leave the standard are told what to write."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import run_python
from right import RIGHT
from xpdispatch import MissingError, kernel
from xpdispatch.errors import ArgumentError, PortabilityError
from xpdispatch.testing import PortabilityReport, check_kernel, check_portable, checking
from xpdispatch.testing.libraries import backends
from xpdispatch.testing.portable_spellings import DTYPES, EXTRA, FUNCTIONS, METHODS

STRICT = "array_api_strict"
UNSIGNED = {"noise by position", "dropout by position", "monte carlo pi"}
"""Right kernels on uint64, on which torch has no arithmetic."""

X = np.asarray([3.0, -1.0, 2.0, 0.5])
A = np.arange(12.0).reshape(4, 3)
N = np.asarray([2, 0, 1, 0])


@pytest.fixture(autouse=True)
def strict() -> Any:
    return pytest.importorskip(STRICT, reason="array-api-strict is not installed: pip install 'xpdispatch[testing]'")


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)
def test_right_kernels_pass_wherever_they_can_run(case: Any) -> None:
    made, args, kwargs = case.make(np.random.default_rng(0))
    names = [n for n, reason in backends().items() if not reason and not (n == "torch" and case.name in UNSIGNED)]
    with checking(engines=names):
        done = check_portable(made, *args, **kwargs)
    assert set(done.ran) | {name for name, _ in done.skipped} == set(names)
    assert "numpy" in done.ran
    assert STRICT in done.ran or "float16" in dict(done.skipped)[STRICT]
    if "torch" in names:
        assert "torch" in done.ran


# -- bodies that leave the standard -----------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, Any, tuple[Any, ...], list[str]]] = {
    "bincount": (
        "n[i] -> sum counts[:3]",
        lambda xp, n: xp.bincount(n, minlength=3),
        (N,),
        ["xp.bincount is not in the array API standard", "xp.arange"],
    ),
    "concatenate": (
        "x[i] -> y[2*i]",
        lambda xp, x: xp.concatenate([x, x]),
        (X,),
        ["xp.concatenate", "use xp.concat"],
    ),
    "absolute": ("x[i] -> y[i]", lambda xp, x: xp.absolute(x), (X,), ["xp.absolute", "use xp.abs"]),
    "power": ("x[i] -> y[i]", lambda xp, x: xp.power(x, 2), (X,), ["xp.power", "use xp.pow"]),
    "transpose": ("x[i, :3] -> y[:3, i]", lambda xp, x: xp.transpose(x), (A,), ["xp.transpose", "xp.permute_dims"]),
    "amax": ("x[i] -> max y[]", lambda xp, x: xp.amax(x), (X,), ["xp.amax", "use xp.max"]),
    "arcsin": ("x[i] -> y[i]", lambda xp, x: xp.arcsin(x / 9), (X,), ["xp.arcsin", "use xp.asin"]),
    "dot": ("x[i], y[i] -> sum s[]", lambda xp, x, y: xp.dot(x, y), (X, X), ["xp.dot", "xp.vecdot", "x @ y"]),
    "pad": ("x[:n] -> y[:n+2]", lambda xp, x: xp.pad(x, 1), (X,), ["xp.pad", "array_api_extra.pad"]),
    "nan_to_num": ("x[i] -> y[i]", lambda xp, x: xp.nan_to_num(x), (X,), ["use array_api_extra.nan_to_num"]),
    "isclose": ("x[i] -> y[i]", lambda xp, x: xp.isclose(x, 0.5), (X,), ["use array_api_extra.isclose"]),
    "partition": ("x[:n] -> y[:n]", lambda xp, x: xp.partition(x, 2), (X,), ["use array_api_extra.partition"]),
    "median": ("x[:n] -> m[]", lambda xp, x: xp.median(x), (X,), ["xp.median", "xp.sort"]),
    "linalg": (
        "A[:m, :n], b[:m] -> x[:n]",
        lambda xp, A, b: xp.linalg.lstsq(A, b)[0],
        (A, X),
        ["xp.linalg.lstsq is not in", "xp.linalg.pinv"],
    ),
    "random": ("x[i] -> y[i]", lambda xp, x: x + xp.random.random(4), (X,), ["xp.random", "tile.coords"]),
    "method sum": ("x[i] -> sum s[]", lambda xp, x: x.sum(), (X,), ["x.sum is not in", "use xp.sum(x)"]),
    "method mean": ("x[:n] -> s[]", lambda xp, x: x.mean(), (X,), ["x.mean is not in", "use xp.mean(x)"]),
    "method astype": ("x[i] -> y[i]", lambda xp, x: x.astype(xp.float32), (X,), ["x.astype", "xp.astype(x, dtype)"]),
    "method copy": ("x[i] -> y[i]", lambda xp, x: x.copy(), (X,), ["x.copy", "xp.asarray(x, copy=True)"]),
    "method reshape": (
        "x[:4] -> y[:2, :2]",
        lambda xp, x: x.reshape(2, 2),
        (X,),
        ["x.reshape", "xp.reshape(x, shape)"],
    ),
    "method argsort": ("x[:n] -> y[:n]", lambda xp, x: x.argsort(), (X,), ["x.argsort", "use xp.argsort(x)"]),
    "method cumsum": ("x[:n] -> y[:n]", lambda xp, x: x.cumsum(), (X,), ["x.cumsum", "xp.cumulative_sum"]),
    "mask": ("x[i] -> sum s[]", lambda xp, x: xp.sum(x[x > 0]), (X,), ["indexing by a mask", "xp.where", "'?'"]),
    "nonzero": (
        "x[i] -> sum s[]",
        lambda xp, x: xp.sum(xp.unique_values(x)),
        (X,),
        ["a shape that depends on values", "xp.where"],
    ),
    "list as index": ("x[:4] -> y[:2]", lambda xp, x: x[[0, 1]], (X,), ["IndexError", "use xp.take("]),
    "list as array": (
        "x[:n] -> s[]",
        lambda xp, x: xp.sum([x[0], x[1]]),
        (X,),
        ["a list in place of an array is not in", "xp.asarray(values), or xp.stack"],
    ),
    "list as mask": (
        "x[:4] -> y[:4]",
        lambda xp, x: xp.where([True, False] * 2, x, 0.0),
        (X,),
        ["a list in place of an array is not in", "xp.asarray(values)"],
    ),
    "default_dtype": (
        "x[i] -> y[i]",
        lambda xp, x: xp.astype(x, xp.default_dtype()),
        (X,),
        ["xp.default_dtype", "array_api_extra.default_dtype(xp)"],
    ),
    "fewer indices": ("x[:4, :3] -> y[:3]", lambda xp, x: x[0], (A,), ["fewer indices than axes", "x[i, ...]"]),
    "mixed kinds": (
        "x[i], n[i] -> y[i]",
        lambda xp, x, n: x + n,
        (X, N),
        ["mixing kinds of dtype", "xp.astype(n, x.dtype)"],
    ),
    "float times int": (
        "n[i] -> y[i]",
        lambda xp, n: 0.5 * n,
        (N,),
        ["mixing kinds of dtype", "xp.astype(n, x.dtype)"],
    ),
    "sqrt of int": ("n[i] -> y[i]", lambda xp, n: xp.sqrt(n), (N,), ["this operation on this dtype", "cast it"]),
    "axis by position": ("x[i, j] -> max y[j]", lambda xp, x: xp.max(x, 0), (A,), ["by position", "axis=0"]),
    "where=": ("x[i] -> sum s[]", lambda xp, x: xp.sum(x, where=x > 0), (X,), ["out= or where=", "xp.where"]),
    "dtype by name": ("x[i] -> y[i]", lambda xp, x: xp.asarray(x, dtype="float32"), (X,), ["dtype", "xp.float64"]),
    "dtype kind": (
        "x[i] -> y[i]",
        lambda xp, x: x if x.dtype.kind == "f" else -x,
        (X,),
        ["x.dtype.kind", "xp.isdtype"],
    ),
    "len": ("x[:n] -> y[:n]", lambda xp, x: x / len(x), (X,), ["len(x) is not in", "use x.shape[0]"]),
    "shape no tuple": (
        "x[:n] -> y[:n]",
        lambda xp, x: xp.reshape(x, -1),
        (X,),
        ["not a tuple", "xp.reshape(x, (-1,))"],
    ),
    "a NumPy array": ("x[:4] -> y[:4]", lambda xp, x: x * np.arange(4.0), (X,), ["an array of NumPy", "xp.asarray"]),
    "NumPy itself": ("x[i] -> y[i]", lambda xp, x: np.exp(np.asarray(x)), (X,), ["numpy.ndarray", "with xp alone"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_in_the_standard_is_told_with_its_remedy(name: str) -> None:
    notation, body, args, words = WRONG[name]
    made = kernel(notation)(body)
    with pytest.raises(PortabilityError) as caught:
        check_portable(made, *args)
    text = str(caught.value)
    for word in [*words, notation, "array_api_strict: ", "Hint: "]:
        assert word in text, text
    if name not in ("NumPy itself",):  # there the executor sees it, after the body
        assert re.search(r"test_portability.py, line \d+: ", text), text


def test_the_whole_message() -> None:
    @kernel("data[i] -> sum hist[:bins]")
    def histogram(xp, data, bins):
        return xp.bincount(data, minlength=bins)

    with checking(engines=(STRICT,)), pytest.raises(PortabilityError) as caught:
        check_portable(histogram, N, 3)
    line = histogram.__wrapped__.__code__.co_firstlineno + 2
    lead = " " * len(f"    test_portability.py, line {line}: return ")
    assert str(caught.value) == (
        "kernel 'histogram': xp.bincount is not in the array API standard\n"
        "  data[i] -> sum hist[:bins]\n"
        "  array_api_strict: AttributeError: module 'array_api_strict' has no attribute 'bincount'\n"
        f"    test_portability.py, line {line}: return xp.bincount(data, minlength=bins)\n"
        f"{lead}^^^^^^^^^^^\n"
        "Hint: use xp.sum(xp.astype(x[:, None] == xp.arange(n)[None, :], xp.int64), axis=0); "
        "the page 'From np to xp' of the documentation has more"
    )
    assert isinstance(caught.value.__cause__, AttributeError)


def test_one_error_tells_of_all_libraries_the_strictest_first() -> None:
    @kernel("x[i] -> y[i]")
    def wrong(xp, x):
        return x.no_such_thing()

    with pytest.raises(PortabilityError, match=r"x\.no_such_thing is not in the array API standard") as caught:
        check_portable(wrong, X)
    told = re.findall(r"^  ([a-z_.]+): AttributeError", str(caught.value), re.MULTILINE)
    usable = [name for name, reason in backends().items() if not reason and name != "cupy"]
    assert [name for name in told if name != "cupy"] == usable


def test_the_line_is_the_body_s_own_and_not_a_library_s() -> None:
    @kernel("x[i] -> y[i]")
    def through_a_helper(xp, x):
        return helper(xp, x)

    with pytest.raises(PortabilityError, match=r"test_portability.py, line \d+: return xp.arctan\(x\)"):
        check_portable(through_a_helper, X)


def helper(xp: Any, x: Any) -> Any:
    return xp.arctan(x)


# -- other answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notation", "other", "words"),
    [
        ("x[i] -> y[i]", lambda xp, x: xp.where(x > 2.5, x + 1e-3, x), ["y[0] = 3.001, and 3.0 on NumPy"]),
        ("x[:n] -> y[:]", lambda xp, x: x[1:], ["has shape (3,) on array_api_strict, and (4,) on NumPy"]),
        (
            "x[i] -> y[i]",
            lambda xp, x: xp.astype(x, xp.int32),
            ["has dtype int32 on array_api_strict, and float64 on NumPy", "pass dtype="],
        ),
    ],
    ids=["values", "shape", "dtype"],
)
def test_another_answer_is_a_fault(notation: str, other: Any, words: list[str]) -> None:
    def body(xp, x):
        return other(xp, x) if xp.__name__ == STRICT else x

    with checking(engines=(STRICT,)), pytest.raises(PortabilityError) as caught:
        check_portable(kernel(notation)(body), X)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_rounding_is_none() -> None:
    @kernel("x[i] -> sum s[]")
    def total(xp, x):
        return xp.sum(xp.flip(x)) if xp.__name__ == STRICT else xp.sum(x)

    assert STRICT in check_portable(total, np.asarray([1e16, 1.0, -1e16, 3.7, 1e-3])).ran


# -- what the check leaves alone ------------------------------------------------------------------------------------


def test_arguments_stay_as_they_were() -> None:
    @kernel("u[i], x[i] -> u[i]")
    def add(xp, u, x, seen):
        u += x
        seen.append(1)

    u, seen = X.copy(), []
    done = check_portable(add, u, X, seen)
    assert STRICT in done.ran
    np.testing.assert_array_equal(u, X)
    assert seen == []


def test_unknown_extents_may_depend_on_values_and_the_flags_come_back(strict: Any) -> None:
    @kernel("x[i] -> kept[?]")
    def positive(xp, x):
        return x[x > 0]

    before = strict.get_array_api_strict_flags()
    assert STRICT in check_portable(positive, X).ran
    assert strict.get_array_api_strict_flags() == before


def test_kernels_without_arrays_run_on_every_library_too() -> None:
    @kernel("-> z[i=n]")
    def ramp(xp, tile, n):
        return xp.square_root(tile.coords("i")) if xp.__name__ == STRICT else tile.coords("i")

    with pytest.raises(PortabilityError, match="xp.square_root is not in the array API standard"):
        check_portable(ramp, 5)


def test_a_dtype_that_a_library_lacks_is_skipped() -> None:
    double = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    assert dict(check_portable(double, X.astype(np.float16)).skipped)[STRICT] == "it has no dtype float16"
    cast = kernel("x[i] -> y[i]", dtype="float16")(lambda xp, x: 2 * x)
    assert dict(check_portable(cast, X).skipped)[STRICT] == "array_api_strict has no dtype float16"


def test_a_body_that_does_not_run_is_not_called_portable() -> None:
    @kernel("x[i] -> y[i]")
    def wrong(xp, x):
        return xp.concatenate([x])

    done = check_portable(wrong, X[:0])
    assert done.ran == ("numpy",)
    assert dict(done.skipped)[STRICT] == "the body does not run over extent 0; give it an element"


def test_what_the_body_raises_on_numpy_is_raised() -> None:
    @kernel("x[i] -> y[i]")
    def broken(xp, x):
        return x / (1 // 0)

    with pytest.raises(ZeroDivisionError):
        check_portable(broken, X)
    with pytest.raises(xd.ArgumentError, match="argument 'x' is missing"):
        check_portable(broken)


def test_a_body_that_writes_its_operand_is_told_on_numpy() -> None:
    @kernel("x[i] -> y[i]")
    def greedy(xp, x):
        x[0] = 1.0
        return x

    with pytest.raises(PortabilityError, match=r"writing to an operand(.|\n)*copy it first"):
        check_portable(greedy, X)


@pytest.mark.skipif(not find_spec("jax"), reason="jax is not installed: pip install jax")
def test_immutable_arrays_are_no_fault() -> None:
    in_place = kernel("u[i] -> u[i]")(lambda xp, u: u / 2)
    assert "immutable" in dict(check_portable(in_place, X.copy()).skipped)["jax.numpy"]

    @kernel("x[i] -> y[i]")
    def pinned(xp, x):
        y = xp.asarray(x, copy=True)
        y[0] = 0.0
        return y

    assert "array_api_extra.at" in dict(check_portable(pinned, X).skipped)["jax.numpy"]
    given = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    assert "jax.numpy" in check_portable(given, X, out=np.zeros(4)).ran


# -- which libraries ------------------------------------------------------------------------------------------------


def test_looking_for_libraries_imports_none() -> None:
    done = run_python(
        "import sys\nfrom xpdispatch.testing.libraries import backends\nbackends()\n"
        "print([m for m in ('torch', 'jax', 'cupy', 'array_api_strict') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert list(backends()) == [STRICT, "numpy", "torch", "jax.numpy", "cupy"]


def test_a_missing_library_is_skipped_or_where_it_is_asked_for_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    double = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    monkeypatch.setattr("xpdispatch.testing.libraries.find_spec", lambda name: name == "numpy" or None)
    done = check_portable(double, X)
    assert done.ran == ("numpy",)
    assert dict(done.skipped)[STRICT] == "array_api_strict is not installed: pip install 'xpdispatch[testing]'"
    assert repr(done).startswith("<portable: numpy; skipped array_api_strict: array_api_strict is not installed: pip")
    assert isinstance(check_kernel(double, X)[-1], PortabilityReport)
    with checking(engines=(STRICT,)), pytest.raises(MissingError, match=re.escape("pip install 'xpdispatch[testing]'")):
        check_portable(double, X)
    unknown = pytest.raises(ArgumentError, match="there is no array library 'nympy' to check on")
    with checking(engines=("nympy",)), unknown:
        check_portable(double, X)


def test_a_library_that_does_not_load_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        if name == "numpy":
            return np
        raise ImportError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr("xpdispatch.testing.libraries.import_module", fail)
    monkeypatch.setattr("xpdispatch.testing.libraries.find_spec", lambda name: True)
    double = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    with checking(engines=("cupy",)):
        done = check_portable(double, X)
    assert done.ran == ()
    assert "cannot be used here: ImportError: libcudart.so.13" in dict(done.skipped)["cupy"]


def test_the_spellings_are_names_that_there_are(strict: Any) -> None:
    for text in (*FUNCTIONS.values(), *METHODS.values(), *DTYPES.values()):
        for name in re.findall(r"\bxp\.((?:\w+\.)?\w+)", text):
            owner = strict
            for part in name.split("."):
                assert hasattr(owner, part), f"{name} in {text!r}"
                owner = getattr(owner, part)
    extra = pytest.importorskip("array_api_extra")
    named = {n for t in (*FUNCTIONS.values(), *METHODS.values()) for n in re.findall(r"array_api_extra\.(\w+)", t)}
    assert (EXTRA | named) <= set(extra.__all__)


def test_a_kernel_for_some_libraries_is_checked_on_these_alone() -> None:
    body = lambda xp, x: xp.median(x, axis=1)  # noqa: E731  which the standard lacks
    with pytest.raises(xd.PortabilityError, match=r"xp\.median is not in the array API standard"):
        check_portable(kernel("x[i,:] -> y[i]")(body), np.ones((3, 5)))
    made = kernel("x[i,:] -> y[i]", libraries=("numpy", "cupy"))(body)
    report = check_portable(made, np.ones((3, 5)))
    assert report.ran == ("numpy",)
    assert ("array_api_strict", "the kernel is for numpy and cupy") in report.skipped
    np.testing.assert_array_equal(made(np.ones((3, 5))), np.ones(3))
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(xd.ArgumentError, match="got arrays of array_api_strict, and the kernel is for numpy and cupy"):
        made(strict.ones((3, 5)))
