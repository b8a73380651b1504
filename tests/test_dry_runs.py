"""How often a body runs on stand-ins for its arrays, and that what it returns there is never seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import Engine, cutter_of
from xpdispatch import kernel
from xpdispatch.arrays.scalars import coarse

LARGE = np.random.default_rng(0).random(4 << 20)


def counted(notation: str, body: Any, **options: Any) -> tuple[xd.Kernel, list[Any]]:
    """A kernel, and what its body was given each time that it ran."""
    runs: list[Any] = []

    def noting(xp, *arrays):
        runs.append(arrays)
        return body(xp, *arrays)

    noting.__signature__ = __import__("inspect").signature(body)
    return kernel(notation, guard=False, **options)(noting), runs


CASES = {
    "arithmetic": ("x[i], y[i] -> z[i]", lambda xp, x, y: 2 * x + y, {}, (LARGE, LARGE)),
    "a stencil": ("u[i-1..i+1] -> v[i]", lambda xp, u: u[2:] - u[:-2], {"boundary": "edge"}, (LARGE,)),
    "a sum": ("x[i] -> sum s[]", lambda xp, x: xp.sum(x), {}, (LARGE,)),
    "a product": ("A[m,k], B[k,n] -> sum C[m,n]", lambda xp, A, B: A @ B, {}, (np.ones((900, 900)),) * 2),
    "rows": ("x[i,:] -> y[i,:]", lambda xp, x: xp.sort(x, axis=1), {}, (LARGE.reshape(-1, 64),)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_first_call_in_this_process_runs_the_body_on_stand_ins_at_most_three_times(case: str) -> None:
    notation, body, options, args = CASES[case]
    made, runs = counted(notation, body, **options)
    with xd.threads(2):
        got = made(*args)
        rounds = len(runs)
        again = made(*args)
    np.testing.assert_array_equal(got, again)

    def on_data(arrays: Any) -> bool:
        return all(type(a) is np.ndarray and any(np.shares_memory(a, b) for b in args) for a in arrays)

    # Under a halo two strips share no memory with the argument, and the last tile, a smaller one, has its own trace.
    others = 3 if "boundary" in options else 0
    stand_ins = sum(not on_data(arrays) for arrays in runs[:rounds]) - others
    assert stand_ins <= 3
    assert len(runs) - rounds <= rounds, "a later call runs it no more often"


def test_a_small_call_runs_the_body_on_its_data_alone() -> None:
    made, runs = counted("x[i] -> y[i]", lambda xp, x: x + 1)
    made(np.ones(5))
    assert len(runs) == 1


def test_dtypes_on_legate_are_learnt_by_one_run() -> None:
    import cupynumeric

    made, runs = counted("x[i] -> y[i]", lambda xp, x: x + 1)
    x = cupynumeric.arange(5.0)
    made(x)
    xd.synchronize()
    assert sorted(arrays[0].size for arrays in runs) == [1, 5]
    made(x)
    xd.synchronize()
    assert len(runs) == 3


# -- bodies that raise on ones -------------------------------------------------------------------------------------


def transposed(xp: Any, A: Any) -> Any:
    return xp.matrix_transpose(A)


rng = np.random.default_rng(0)
SQUARE = rng.normal(size=(9, 4, 4))
DEFINITE = SQUARE @ np.swapaxes(SQUARE, 1, 2) + np.eye(4)
RIGHT = rng.normal(size=(9, 4))
LINEAR: dict[str, tuple[str, Any, tuple[np.ndarray, ...], Any]] = {
    "inv": ("A[b, :n, :n] -> y[b, :n, :n]", lambda xp, A: xp.linalg.inv(A), (DEFINITE,), np.linalg.inv(DEFINITE)),
    "cholesky": (
        "A[b, :n, :n] -> y[b, :n, :n]",
        lambda xp, A: xp.linalg.cholesky(A),
        (DEFINITE,),
        np.linalg.cholesky(DEFINITE),
    ),
    "solve": (
        "A[b, :n, :n], x[b, :n] -> y[b, :n]",
        lambda xp, A, x: xp.linalg.solve(A, x[..., None])[..., 0],
        (DEFINITE, RIGHT),
        np.linalg.solve(DEFINITE, RIGHT[..., None])[..., 0],
    ),
    "one system of many": (
        "A[:n, :n], x[b, :n] -> y[b, :n]",
        lambda xp, A, x: transposed(xp, xp.linalg.solve(A, transposed(xp, x))),
        (DEFINITE[0], RIGHT),
        np.linalg.solve(DEFINITE[0], RIGHT.T).T,
    ),
    "axes apart": (
        "A[:n, b, :n] -> y[b, :n, :n]",
        lambda xp, A: xp.linalg.inv(xp.moveaxis(A, 1, 0)),
        (np.ascontiguousarray(np.moveaxis(DEFINITE, 0, 1)),),
        np.linalg.inv(DEFINITE),
    ),
    "written": (
        "A[b, :n, :n] -> A[b, :n, :n]",
        lambda xp, A: xp.linalg.inv(A),
        (DEFINITE,),
        np.linalg.inv(DEFINITE),
    ),
    "qr": (
        "A[b, :n, :n] -> y[b, :n, :n]",
        lambda xp, A: xp.matmul(*xp.linalg.qr(A)),
        (SQUARE,),
        SQUARE,
    ),
    "eigh": (
        "A[b, :n, :n] -> y[b, :n]",
        lambda xp, A: xp.linalg.eigh(A)[0],
        (DEFINITE,),
        np.linalg.eigh(DEFINITE)[0],
    ),
}
RAISING = ("inv", "cholesky", "solve", "one system of many", "axes apart")


@pytest.mark.parametrize("case", LINEAR)
def test_linear_algebra_needs_no_dtype(case: str, engine: Engine) -> None:
    """Also over no matrix, where torch and JAX run the sample too."""
    if case == "written" and not engine.mutable:
        pytest.skip("JAX arrays are immutable")
    notation, body, args, expected = LINEAR[case]
    made = kernel(notation)(body)
    np.testing.assert_allclose(engine.get(made(*(engine.put(a.copy()) for a in args))), expected, atol=1e-9)
    none = [np.take(a, [], axis=a.shape.index(9)) if 9 in a.shape else a for a in args]
    got = engine.get(made(*map(engine.put, none)))
    assert (got.shape, got.dtype) == ((0, *expected.shape[1:]), expected.dtype)


@pytest.mark.parametrize("case", RAISING)
def test_what_raises_on_ones_runs_on_identities(case: str) -> None:
    import cupynumeric

    notation, body, args, _ = LINEAR[case]
    made, runs = counted(notation, body)
    there = [cupynumeric.array(a) for a in args]
    said = "sample                ones on diagonals and zeros elsewhere: on them the body runs once"
    assert said in str(made.explain(*there))
    ones, identities = (arrays[0] for arrays in runs[:2])
    np.testing.assert_array_equal(ones, np.ones(ones.shape))
    matrix = np.moveaxis(identities, 1, 0)[0] if case == "axes apart" else identities.reshape(4, 4)
    np.testing.assert_array_equal(matrix, np.eye(4))
    assert not any(a.any() for a in runs[1][1:])
    before = len(runs)
    made(*there)
    xd.synchronize()
    assert len(runs) == before + 1, "the sample is kept"
    assert cutter_of(made, *args).measured(()) is not None


def test_a_sample_of_ones_is_said_too() -> None:
    import cupynumeric

    made = kernel("x[i] -> y[i]")(lambda xp, x: x + 1)
    assert "sample                ones: on them the body runs once" in str(made.explain(cupynumeric.ones(5)))
    assert "sample  " not in str(made.explain(np.ones(5)))
    told = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: x + 1)
    assert "sample  " not in str(told.explain(cupynumeric.ones(5)))


def test_a_dtype_that_is_not_the_samples() -> None:
    import cupynumeric

    @kernel("A[:n, :n] -> B[:n, :n]")
    def inverse(xp, A):
        B = xp.linalg.inv(A)
        return xp.astype(B, xp.float32) if B[0, 0] == 1 else B

    inverse(cupynumeric.array(DEFINITE[0]))
    said = "returned dtype float64 for result 'B', but float32 on a sample of ones on diagonals and zeros elsewhere"
    with pytest.raises(xd.ResultError, match=said):
        xd.synchronize()


def test_a_body_that_raises_on_both() -> None:
    import cupynumeric

    @kernel("x[:n, :n] -> y[:n, :n]")
    def refuses(xp, x):
        if x[0, 1] == 1:
            raise ValueError("ones are too large")
        raise KeyError("no such band")

    with pytest.raises(ValueError, match="ones are too large") as caught:
        refuses(cupynumeric.ones((5, 5)))
    (note,) = (n for n in caught.value.__notes__ if "sample" in n)
    assert "On ones on diagonals and zeros elsewhere it raised KeyError: 'no such band'" in note
    assert "pass dtype= to the decorator" in note


def test_a_counter_that_grows_has_few_dry_runs() -> None:
    runs: list[int] = []

    @kernel("x[i] -> y[i]", guard=False)
    def plus(xp: Any, x: Any, k: Any) -> Any:
        runs.append(k)
        return x + k

    x = np.zeros(100_000)
    plus(x, 0.5)
    runs.clear()
    for k in range(1, 400):
        np.testing.assert_array_equal(plus(x, k)[:2], k)
    assert len(runs) < 399 + 30
    runs.clear()
    plus(x, np.int64(300))
    assert set(map(type, runs)) == {np.int64}


@pytest.mark.parametrize(
    ("value", "rounded"), [(8, 8), (9, 8), (-100, -64), (np.uint8(255), 128), (True, True), (9.5, 9.5)]
)
def test_integers_are_rounded_for_dry_runs(value: Any, rounded: Any) -> None:
    (found,), (exact,) = coarse([value], []), coarse([value], [0])
    assert found == rounded
    assert type(found) is type(value)
    assert exact is value
