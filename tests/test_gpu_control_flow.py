"""The GPU variant's control flow with a stand-in for CuPy over NumPy; that it runs on a GPU is not shown here."""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import xpdispatch as xd
from conftest import registered_options
from xpdispatch import kernel
from xpdispatch.legate import device, fences
from xpdispatch.legate.alignment import Fit, make_recipe
from xpdispatch.legate.leaf import Header, _borders, make_joiner, make_leaf, packed_header


class OnDevice(np.ndarray):
    """Device memory: all work with it must go to the task's stream, and nothing may wait for it or copy it."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **kwargs: Any) -> Any:
        in_order()
        plain = [a.view(np.ndarray) if isinstance(a, OnDevice) else a for a in inputs]
        if out:
            getattr(ufunc, method)(*plain, out=tuple(a.view(np.ndarray) for a in out), **kwargs)
            return out[0]
        return np.asarray(getattr(ufunc, method)(*plain, **kwargs)).view(OnDevice)

    def __setitem__(self, key: Any, value: Any) -> None:
        in_order()
        super().__setitem__(key, value)


def waits(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("this waits for the device, or copies")


for name in ("item", "copy", "astype", "__bool__", "__float__", "__int__", "__index__", "__complex__"):
    setattr(OnDevice, name, waits)

TASK_STREAM = 77
entered: list[int] = []
"""Pointers of the streams that are current, innermost last."""


def in_order() -> None:
    assert entered[-1:] == [TASK_STREAM], "work that is not on the task's stream"


class Stream:
    made: ClassVar[list[int]] = []

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer
        self.made.append(pointer)

    def __enter__(self) -> None:
        entered.append(self.pointer)

    def __exit__(self, *error: object) -> None:
        entered.pop()


class Pool:
    def __init__(self, limit: int = 0) -> None:
        self.limits = [limit]

    def get_limit(self) -> int:
        return self.limits[-1]

    def set_limit(self, *, size: int) -> None:
        self.limits.append(size)


def as_device_array(value: Any, **kwargs: Any) -> Any:
    if isinstance(value, OnDevice):
        return value
    if hasattr(value, "__cuda_array_interface__"):
        in_order()
        interface = value.__cuda_array_interface__
        assert "stream" not in interface, "CuPy would wait for the stream"
        assert 0 not in interface["shape"], "CuPy would look up the pointer of nothing"
        return np.asarray(SimpleNamespace(__array_interface__=interface)).view(OnDevice)
    return np.array(value).view(OnDevice)


class Store:
    """A PhysicalStore over a NumPy array that begins at `low`, or memory that a task asks for."""

    def __init__(self, array: np.ndarray, low: tuple[int, ...] | None = None) -> None:
        self.array = array
        low = low or (0,) * array.ndim
        high = tuple(a + n - 1 for a, n in zip(low, array.shape, strict=True))
        self.domain = SimpleNamespace(lo=low, hi=high)

    def data(self) -> Store:
        return self

    def __dlpack__(self, **kwargs: Any) -> Any:
        raise AssertionError("DLPack has the wrong dtype for float16")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.array.__array_interface__, "strides": self.array.strides, "stream": TASK_STREAM}


class Unbound(Store):
    """A store of unknown size; `bound` has what tasks bound to it."""

    def __init__(self, dtype: Any = float) -> None:
        super().__init__(np.zeros(0, dtype))
        self.bound: list[np.ndarray] = []

    def create_output_buffer(self, shape: tuple[int, ...], bind: bool) -> Store:
        assert bind
        self.bound.append(np.zeros(shape, self.array.dtype))
        return Store(self.bound[-1])


def scalar(data: bytes) -> Any:
    return SimpleNamespace(value=lambda: memoryview(data))


def context_of(header: Header, payload: Any, inputs: list, outputs: list, reductions: list) -> Any:
    return SimpleNamespace(
        scalars=[scalar(packed_header(header)), scalar(pickle.dumps(payload))],
        inputs=inputs,
        outputs=outputs,
        reductions=reductions,
        task_stream=TASK_STREAM,
        can_raise_exception=lambda: False,
    )


def header_of(inputs: list, call: dict[str, Any]) -> Header:
    kinds = tuple(s.array.dtype for s in inputs)
    return Header(call["plan"], call["recipe"], kinds, call["dtypes"], (False,) * len(call["dtypes"]), "")


def run_leaf(made: xd.Kernel, variant: str, inputs: list, outputs: list, reductions: list, **call: Any) -> None:
    """Run the function that Legate would call for one tile."""
    payload = (0, ("script.py", 1), False, [None] * len(call["plan"].operands), call["scalars"])
    make_leaf(made.definition, variant)(context_of(header_of(inputs, call), payload, inputs, outputs, reductions))
    assert not entered


@pytest.fixture
def fake_cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    pool = Pool()
    fake = SimpleNamespace(
        asarray=as_device_array,
        empty=lambda *args, **kwargs: np.empty(*args, **kwargs).view(OnDevice),
        may_share_memory=np.may_share_memory,
        get_default_memory_pool=lambda: pool,
        cuda=SimpleNamespace(
            Stream=SimpleNamespace(),
            ExternalStream=Stream,
            runtime=SimpleNamespace(memGetInfo=lambda: (1000, 80_000)),
        ),
    )
    monkeypatch.setattr(device, "_streams", {})
    monkeypatch.setattr(Stream, "made", [])
    monkeypatch.setattr("xpdispatch.running.results.library_of", lambda value: "cupy")
    monkeypatch.setitem(sys.modules, "cupy", fake)
    own = SimpleNamespace(__name__="array_api_compat.cupy", name="fake", float64=np.float64, asarray=as_device_array)
    xd.register_namespace("GPU", own)  # type: ignore[arg-type]
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

    plan = body.definition.plan([(20,), (20,)], (2.0,), [None, None])
    recipe = make_recipe(plan, [False] * 4, 6, one_piece=False)
    x, y, z, s = np.arange(5.0), np.ones(5), np.zeros(5), np.zeros(())
    inputs, outputs = [Store(x, (10,)), Store(y, (10,))], [Store(z, (10,))]
    kinds = (np.dtype(float),) * 2
    run_leaf(body, "GPU", inputs, outputs, [Store(s)], plan=plan, recipe=recipe, dtypes=kinds, scalars=(2.0,))
    fences.synchronize()
    assert seen == [("fake", "GPU", 10)]
    np.testing.assert_array_equal(z, 2 * x + 1)
    assert s == 10.0


def test_a_gpu_task_binds_results_of_unknown_size(fake_cupy: Any) -> None:
    made = kernel("x[i] -> y[?], n[i]", dtype=("x", "x"))(lambda xp, x: (x[x > 2], 2 * x))
    plan = made.definition.plan([(20,)], (), [None, None])
    recipe = make_recipe(plan, [False] * 3, 6, one_piece=False)
    call = {"plan": plan, "recipe": recipe, "dtypes": (np.dtype(float),) * 2, "scalars": ()}
    y, n = Unbound(), np.zeros(5)
    run_leaf(made, "GPU", [Store(np.arange(5.0), (10,))], [y, Store(n, (10,))], [], **call)
    fences.synchronize()
    assert y.bound[0].tolist() == [3.0, 4.0]
    assert n.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    # An empty tile, and one whose body fails, bind as well: Legate ends the process where nothing does.
    run_leaf(made, "GPU", [Store(np.zeros(0), (10,))], [y, Store(np.zeros(0), (10,))], [], **call)
    failing = kernel("x[i] -> y[?], n[i]", dtype=("x", "x"))(lambda xp, x: 1 / 0)
    run_leaf(failing, "GPU", [Store(np.ones(5))], [y, Store(n)], [], **call)
    assert [len(r) for r in y.bound] == [2, 0, 0]
    assert np.isnan(n).all()
    with pytest.raises(ZeroDivisionError):
        fences.synchronize()


def doubled(x: np.ndarray, y: np.ndarray) -> None:
    """Run a tile of a kernel that doubles `x` into `y`."""
    made = kernel("x[i,j] -> y[i,j]")(lambda xp, x: 2 * x)
    plan = made.definition.plan([(20, x.shape[1])], (), [None])
    recipe = make_recipe(plan, [False] * 2, 6, one_piece=False)
    run_leaf(made, "GPU", [Store(x)], [Store(y)], [], plan=plan, recipe=recipe, dtypes=(x.dtype,), scalars=())
    fences.synchronize()


def test_float16_and_strides_and_nothing_at_all_on_a_gpu(fake_cupy: Any) -> None:
    x, y = np.arange(12, dtype=np.float16).reshape(3, 4)[:, ::2], np.zeros((3, 2), np.float16)
    doubled(x, y)
    np.testing.assert_array_equal(y, 2 * x)
    doubled(np.zeros((3, 0)), np.zeros((3, 0)))


def test_one_stream_object_for_each_stream_of_realms(fake_cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for pointer in (77, 88, 77, 99, 88, 77):
        monkeypatch.setattr(sys.modules[__name__], "TASK_STREAM", pointer)
        doubled(np.ones((3, 2)), np.zeros((3, 2)))
    assert Stream.made == [77, 88, 99]


def test_the_newer_spelling_of_a_stream(fake_cupy: Any) -> None:
    def from_external(obj: Any) -> Stream:
        version, pointer = obj.__cuda_stream__()
        assert version == 0
        return Stream(pointer)

    fake_cupy.cuda.Stream.from_external = from_external
    fake_cupy.cuda.ExternalStream = waits
    doubled(np.ones((3, 2)), np.zeros((3, 2)))
    assert Stream.made == [TASK_STREAM]


def test_cupys_pool_is_limited_once_to_a_part_of_what_legate_left(
    fake_cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = fake_cupy.get_default_memory_pool()
    for pointer in (77, 88):
        monkeypatch.setattr(sys.modules[__name__], "TASK_STREAM", pointer)
        doubled(np.ones((3, 2)), np.zeros((3, 2)))
    assert pool.limits == [0, 750]


def test_a_limit_that_the_user_set_stays(fake_cupy: Any) -> None:
    pool = Pool(5)
    fake_cupy.get_default_memory_pool = lambda: pool
    doubled(np.ones((3, 2)), np.zeros((3, 2)))
    assert pool.limits == [5]


def test_partial_results_are_put_together_on_the_stream_of_the_second_task(fake_cupy: Any) -> None:
    made = kernel("x[i] -> sum s[]", dtype="x", deterministic=True)(lambda xp, x: np.sum(x))
    plan = made.definition.plan([(9,)], (), [None])
    recipe = make_recipe(plan, [False] * 2, 6, one_piece=False, gathered=(0,))
    call = {"plan": plan, "recipe": recipe, "dtypes": (np.dtype(float),), "scalars": ()}
    x, parts, places, total = np.arange(9.0), Unbound(), Unbound(np.int64), np.zeros(1)
    for low, high in ((5, 9), (0, 5)):
        run_leaf(made, "GPU", [Store(x[low:high], (low,))], [parts, places], [], **call)
    fences.synchronize()
    assert [p.tolist() for p in places.bound] == [[5, 9], [0, 5]]
    given = [Store(np.concatenate(places.bound)), Store(np.concatenate(parts.bound))]
    context = context_of(header_of([Store(x)], call), (1, ("script.py", 1), False), given, [Store(total)], [])
    make_joiner(made.definition, "GPU")(context)
    fences.synchronize()
    assert total[0] == 36.0
    given = [Store(places.bound[0]), Store(parts.bound[0])]  # the other tile failed
    make_joiner(made.definition, "GPU")(
        context_of(header_of([Store(x)], call), (2, ("script.py", 1), False), given, [Store(total)], [])
    )
    fences.synchronize()
    assert np.isnan(total[0])
    assert not entered


@pytest.mark.parametrize("rank", [1, 2])
def test_borders_of_ranges_on_a_gpu(fake_cupy: Any, rank: int) -> None:
    """Rects stand for the ranges [0, 3), [3, 3) and [3, 7) along the first of so many axes."""
    rects = np.zeros((3, 2, rank), np.int64)
    rects[:, :, 0] = [[0, 2], [3, 2], [3, 6]]
    rects[:, :, 1:] = [[0], [9]]
    store = Store(rects.reshape(3, -1).view(np.dtype(("V", 16 * rank)))[:, 0])
    fake_cupy.concatenate = lambda parts, **kwargs: in_order() or np.concatenate(parts, **kwargs)
    with Stream(TASK_STREAM):
        borders = _borders(fake_cupy, store, Fit("align", dims=(0,)), np.dtype(np.int32))
    assert borders.tolist() == [0, 3, 3, 7]
    assert borders.dtype == np.int32


def options_of(made: xd.Kernel, monkeypatch: pytest.MonkeyPatch, notation: str = "") -> Any:
    """The options under which a task of the kernel is registered on a machine with GPUs, or None."""
    from xpdispatch.legate import tasks

    given = registered_options(monkeypatch)
    monkeypatch.setattr(tasks, "_has_gpus", True)
    x = np.arange(5.0)
    with xd.engine("legate"):
        np.testing.assert_array_equal(made(x), x + 1)
    return given[0] if given else None


def add_one(**options: Any) -> xd.Kernel:
    return kernel("x[i] -> y[i]", **options)(lambda xp, x: x + 1)


def test_where_all_work_is_on_the_tasks_stream_legate_need_not_synchronise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options_of(add_one(), monkeypatch).elide_device_ctx_sync
    assert options_of(add_one(variants=("CPU",)), monkeypatch) is None
    assert options_of(add_one(options={"elide_device_ctx_sync": False}), monkeypatch) is None


def test_a_body_of_its_own_may_use_other_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    own = add_one()
    own.gpu_variant(lambda xp, x: x + 1)
    assert options_of(own, monkeypatch) is None
    told = add_one(options={"elide_device_ctx_sync": True})
    told.gpu_variant(lambda xp, x: x + 1)
    assert options_of(told, monkeypatch).elide_device_ctx_sync


def test_another_namespace_may_use_other_streams(fake_cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert options_of(add_one(), monkeypatch) is None


def test_a_gpu_body_that_is_set_later_gets_a_task_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpdispatch.legate import tasks

    made = add_one()
    assert options_of(made, monkeypatch).elide_device_ctx_sync
    before = made.definition
    made.gpu_variant(lambda xp, x: x + 1)
    assert options_of(made, monkeypatch) is None
    assert made.definition is not before
    assert {made.definition, before} <= {*tasks._tasks}


def test_a_gpu_task_without_cupy_binds_what_legate_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    made = kernel("x[i] -> y[?]", dtype="x")(lambda xp, x: x)
    plan = made.definition.plan([(5,)], (), [None])
    recipe = make_recipe(plan, [False] * 2, 6, one_piece=False)
    y = Unbound()
    run_leaf(made, "GPU", [Store(np.ones(5))], [y], [], plan=plan, recipe=recipe, dtypes=(np.dtype(float),), scalars=())
    assert [len(r) for r in y.bound] == [0]
    with pytest.raises(ImportError, match="package 'cupy' is not installed"):
        fences.synchronize()


def test_a_gpu_task_without_cupy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    made = kernel("x[i] -> y[i]")(lambda xp, x: x)
    plan = made.definition.plan([(5,)], (), [None])
    recipe = make_recipe(plan, [False] * 2, 6, one_piece=False)
    stores = [Store(np.ones(5))], [Store(np.zeros(5))], []
    run_leaf(made, "GPU", *stores, plan=plan, recipe=recipe, dtypes=(np.dtype(float),), scalars=())
    with pytest.raises(ImportError, match="package 'cupy' is not installed(.|\n)*pip install 'xpdispatch\\[cuda\\]'"):
        fences.synchronize()
