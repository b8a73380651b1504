"""What benchmarks/ measures is still there to be measured; the figures themselves are made by hand."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from ablations import MECHANISMS, kmeans, sides_of, without
from planted_cases import NAMES, RIGHT, make, verdict
from planted_elsewhere import dask_answer
from xpdispatch import kernel


def several(got: Any) -> list[Any]:
    return list(got) if isinstance(got, tuple) else [got]


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_bug_does_not_show_in_one_piece(name: str) -> None:
    case = make(name)
    if name == "input written":
        with pytest.raises(ValueError, match="read-only"):
            case.kernel(*case.args, **case.kwargs)
        return
    got = several(case.kernel(*case.args, **case.kwargs))
    case.later()
    assert verdict(case, got)["said"] == "hidden"


def test_right_kernels_are_right_on_dask_too() -> None:
    """So that what surrounds the bodies there is right, halos and what lies outside of arrays included."""
    said, boundaries = Counter(), set()
    for name in RIGHT:
        try:
            case = make(name)
            outcome = verdict(case, dask_answer(case, 2))
        except Exception:  # of several results, or of a body that asks for more than dask has
            continue
        said[outcome["said"]] += 1
        boundaries |= {b for o in case.plan.operands for b in o.boundaries}
    assert said == {"hidden": said.total()}
    assert said.total() > 45
    assert boundaries >= {"edge", 0.0}


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_answer_needs_no_mechanism(mechanism: str) -> None:
    transform = kernel("x[b, :] -> y[b, :]")(lambda xp, x: xp.fft.fft(x, axis=1))
    rng = np.random.default_rng(0)
    calls: list[tuple[Any, tuple[Any, ...]]] = [
        (kmeans, (rng.normal(size=(50_000, 2)), rng.normal(size=(8, 2)))),
        (transform, (rng.normal(size=(2000, 64)).astype(complex),)),
    ]
    for made, values in calls:
        own, scope = without(mechanism, made)
        with scope():
            got = own(*values)
        for g, e in zip(several(got), several(made(*values)), strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-9, atol=1e-9)
    assert f"without {mechanism}" in sides_of("fft2", transform, calls[1][1], 2)
