"""The GPU variant's control flow with a stand-in for CuPy over NumPy; that it runs on a GPU is not shown here."""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from xpdispatch import kernel
from xpdispatch.engines.legate import failures
from xpdispatch.engines.legate.leaf import Header, make_leaf
from xpdispatch.engines.legate.recipe import make_recipe


class Store:
    """A PhysicalStore over a NumPy array that begins at `low`."""

    def __init__(self, array: np.ndarray, low: tuple[int, ...] | None = None) -> None:
        self.array = array
        low = low or (0,) * array.ndim
        high = tuple(a + n - 1 for a, n in zip(low, array.shape, strict=True))
        self.domain = SimpleNamespace(lo=low, hi=high)

    def data(self) -> Store:
        return self

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def scalar(data: bytes) -> Any:
    return SimpleNamespace(value=lambda: memoryview(data))


def run_leaf(made: xd.Kernel, variant: str, inputs: list, outputs: list, reductions: list, **call: Any) -> None:
    """Run the function that Legate would call for one tile."""
    header = Header(
        call["plan"], call["recipe"], (np.dtype(float),) * len(inputs), call["dtypes"], (False,) * len(call["dtypes"])
    )
    context = SimpleNamespace(
        scalars=[
            scalar(pickle.dumps(header)),
            scalar(pickle.dumps((0, ("script.py", 1), [None] * len(call["plan"].operands), call["scalars"]))),
        ],
        inputs=inputs,
        outputs=outputs,
        reductions=reductions,
    )
    make_leaf(made, variant)(context)


@pytest.fixture
def fake_cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = SimpleNamespace(
        from_dlpack=np.from_dlpack, asarray=np.asarray, empty=np.empty, may_share_memory=np.may_share_memory
    )
    monkeypatch.setattr("xpdispatch.returned.library_of", lambda value: "cupy")
    monkeypatch.setitem(sys.modules, "cupy", fake)
    xd.register_namespace("GPU", SimpleNamespace(name="fake"))  # type: ignore[arg-type]
    yield fake
    xd.register_namespace("GPU", "array_api_compat.cupy")


def test_a_gpu_task_gets_the_gpu_namespace_and_body(fake_cupy: Any) -> None:
    seen: list[Any] = []

    @kernel("x[i], y[i] -> z[i], sum s[]", dtype=("x", "x"))
    def body(xp, tile, x, y, a):
        raise AssertionError("the GPU has its own body")

    @body.gpu_variant
    def gpu_body(xp, tile, x, y, a):
        seen.append((xp.name, tile.variant, tile.start("i")))
        return a * x + y, np.sum(x)

    plan = body.plan([(20,), (20,)], (2.0,), [None, None])
    recipe = make_recipe(plan, [False] * 4, 6, one_piece=False)
    x, y, z, s = np.arange(5.0), np.ones(5), np.zeros(5), np.zeros(())
    inputs, outputs = [Store(x, (10,)), Store(y, (10,))], [Store(z, (10,))]
    kinds = (np.dtype(float),) * 2
    xd.register_namespace("GPU", SimpleNamespace(name="fake", float64=np.float64))  # type: ignore[arg-type]
    run_leaf(body, "GPU", inputs, outputs, [Store(s)], plan=plan, recipe=recipe, dtypes=kinds, scalars=(2.0,))
    failures.raise_first()
    assert seen == [("fake", "GPU", 10)]
    np.testing.assert_array_equal(z, 2 * x + 1)
    assert s == 10.0


def test_a_gpu_task_binds_results_of_unknown_size(fake_cupy: Any) -> None:
    made = kernel("x[i] -> y[?], n[i]", dtype=("x", "x"))(lambda xp, x: (x[x > 2], 2 * x))
    plan = made.plan([(20,)], (), [None, None])
    recipe = make_recipe(plan, [False] * 3, 6, one_piece=False)
    room: list[np.ndarray] = []

    class Unbound(Store):
        def create_output_buffer(self, shape: tuple[int, ...], bind: bool) -> np.ndarray:
            assert bind
            room.append(np.zeros(shape))
            return room[-1]

    xd.register_namespace("GPU", SimpleNamespace(name="fake", float64=np.float64))  # type: ignore[arg-type]
    call = {"plan": plan, "recipe": recipe, "dtypes": (np.dtype(float),) * 2, "scalars": ()}
    n = np.zeros(5)
    run_leaf(made, "GPU", [Store(np.arange(5.0), (10,))], [Unbound(np.zeros(0)), Store(n, (10,))], [], **call)
    failures.raise_first()
    assert room[0].tolist() == [3.0, 4.0]
    assert n.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    # An empty tile, and one whose body fails, bind as well: Legate ends the process where nothing does.
    run_leaf(made, "GPU", [Store(np.zeros(0), (10,))], [Unbound(np.zeros(0)), Store(np.zeros(0), (10,))], [], **call)
    failing = kernel("x[i] -> y[?], n[i]", dtype=("x", "x"))(lambda xp, x: 1 / 0)
    run_leaf(failing, "GPU", [Store(np.ones(5))], [Unbound(np.zeros(0)), Store(n)], [], **call)
    assert [len(r) for r in room] == [2, 0, 0]
    with pytest.raises(ZeroDivisionError):
        failures.raise_first()


def test_a_gpu_task_without_cupy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    made = kernel("x[i] -> y[i]")(lambda xp, x: x)
    plan = made.plan([(5,)], (), [None])
    recipe = make_recipe(plan, [False] * 2, 6, one_piece=False)
    stores = [Store(np.ones(5))], [Store(np.zeros(5))], []
    run_leaf(made, "GPU", *stores, plan=plan, recipe=recipe, dtypes=(np.dtype(float),), scalars=())
    with pytest.raises(ImportError, match="package 'cupy' is not installed(.|\n)*pip install 'xpdispatch\\[cuda\\]'"):
        failures.raise_first()
