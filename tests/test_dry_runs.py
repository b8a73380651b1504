"""How often a body runs on stand-ins for its arrays, and that what it returns there is never seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from xpdispatch import kernel

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
