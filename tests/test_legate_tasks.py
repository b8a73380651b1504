"""What Legate's own tests of Python tasks cover, said as kernels: on NumPy, and on real Legate in forced tiles.

``docs/legate-tasks.rst`` says which case each test stands for.
"""

from __future__ import annotations

import functools
import gc
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import xpdispatch as xd
from conftest import run_python, tiles_of
from xpdispatch import In, InOut, Kernel, Out, Reduce, align, broadcast, kernel
from xpdispatch.testing import check_partitioning, forced_tiles

import cupynumeric  # isort: skip  after xpdispatch, which makes it importable without a driver
import legate.core as lg  # isort: skip

rng = np.random.default_rng(20261124)
runtime = lg.get_legate_runtime()

SHAPES = [(37,), (1, 29), (9, 5), (4, 1, 11), (3, 5, 2, 4), (2, 3, 1, 2, 3), (1, 2, 2, 3, 2, 2)]
NUMBERS = {
    "bool": True,
    "int8": -7,
    "int16": -300,
    "int32": 70_000,
    "int64": -(2**40),
    "uint8": 200,
    "uint16": 60_000,
    "uint32": 2**32 - 2,
    "uint64": 2**63 + 5,
    "float16": 0.25,
    "float32": -2.5,
    "float64": 1 / 3,
    "complex64": 2 - 3j,
    "complex128": 0.1 + 7j,
}
"""A value for each dtype that Legate has."""


@pytest.fixture(autouse=True)
def _waited() -> Iterator[None]:
    yield
    xd.synchronize()


def on_both(made: Kernel, *args: Any, pieces: int = 2, **kwargs: Any) -> Any:
    """The answer, which is the same on NumPy and on Legate in `pieces` tiles or more."""
    here = made(*[own(a) for a in args], **{n: own(a) for n, a in kwargs.items()})
    xd.synchronize()
    with forced_tiles() as tiles:
        there = made(*map(put, args), **{n: put(a) for n, a in kwargs.items()})
        xd.synchronize()
    # A kernel whose operands may be left out runs as another one, of the same name.
    assert len(tiles_of(made, tiles)) >= pieces
    for n, t in zip(as_tuple(here), as_tuple(there), strict=True):
        assert isinstance(t, cupynumeric.ndarray)
        assert t.dtype == n.dtype
        assert_same(np.asarray(t), n)
    return here


def own(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def put(value: Any) -> Any:
    return cupynumeric.array(value) if isinstance(value, np.ndarray) else value


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def assert_same(got: np.ndarray, expected: Any) -> None:
    if got.dtype.kind in "fc":
        np.testing.assert_allclose(got, expected, rtol=1e-3 if got.dtype.itemsize < 8 else 1e-12)
    else:
        np.testing.assert_array_equal(got, expected)


def values(dtype: str, *shape: int) -> np.ndarray:
    """Some numbers of a dtype, which every reduction can take without an overflow."""
    return rng.integers(0, 2 if dtype == "bool" else 4, shape).astype(dtype)


def filled(shape: tuple[int, ...], value: float, kind: Any = lg.float64) -> Any:
    store = runtime.create_store(kind, shape)
    store.fill(value)
    return store


def content(store: Any) -> np.ndarray:
    xd.synchronize()
    return np.asarray(store.get_physical_store()).copy()


@kernel("src[...] -> dst[...]")
def copied(xp, src):
    return xp.asarray(src, copy=True)


@kernel(constraints=[align("src", "dst")])
def copied_into(xp, src: In, dst: Out):
    dst[...] = src


@kernel("x[i] -> y[i]")
def shifted(xp, x, by):
    return x + by


# -- bodies --------------------------------------------------------------------------------------


class Hidden(type):
    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            raise AttributeError(name)
        return super().__getattribute__(name)


class Body(metaclass=Hidden):
    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, xp, x):
        return x + self.by

    def method(self, xp, x):
        return x + self.by

    @staticmethod
    def static(xp, x):
        return x + 3

    @classmethod
    def of_class(cls, xp, x):
        return x + 3


class NamedBody(Body):
    __name__ = "named"


def adds(xp, x, by, also=0):
    return x + by + also


def bodies() -> dict[str, Callable[..., Any]]:
    def nested(xp, x):
        return x + 3

    return {
        "nested": nested,
        "<lambda>": lambda xp, x: x + 3,
        "Body": Body(3),
        "named": NamedBody(3),
        "method": Body(3).method,
        "static": Body.static,
        "of_class": Body.of_class,
        "adds": functools.partial(adds, by=3),
    }


@pytest.mark.parametrize("name", bodies())
def test_bodies_that_are_functions_methods_objects_and_partials(name: str) -> None:
    x = rng.normal(size=21)
    made = kernel("x[i] -> y[i]")(bodies()[name])
    assert made.name == made.__name__ == name
    assert_same(on_both(made, x), x + 3)
    check_partitioning(made, x)


def test_a_partial_keeps_its_keywords_as_defaults() -> None:
    made = kernel("x[i] -> y[i]")(functools.partial(adds, also=1))
    assert_same(on_both(made, np.zeros(9), 4), np.full(9, 5.0))
    assert_same(on_both(made, np.zeros(9), by=4, also=2), np.full(9, 6.0))


def test_an_object_whose_operand_may_be_left_out() -> None:
    class Weigh:
        def __call__(self, xp, x, w=None):
            return x if w is None else x * w

    made = kernel("x[i], w[i] -> y[i]")(Weigh())
    assert made.name == "Weigh"
    x, w = rng.normal(size=(2, 12))
    assert_same(on_both(made, x), x)
    assert_same(on_both(made, x, w), x * w)


def test_bodies_that_are_none() -> None:
    with pytest.raises(TypeError, match="kernel 'str': @kernel got 'text', expected a function"):
        kernel("x[i] -> y[i]")("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="kernel 'Body': the first parameter of the body is 'by', expected 'xp'"):
        kernel("x[i] -> y[i]")(Body)
    with pytest.raises(TypeError, match="kernel 'copied': the first parameter of the body is 'src', expected 'xp'"):
        kernel("src[i] -> y[i]")(copied)


def test_a_kernel_has_a_result() -> None:
    with pytest.raises(ValueError, match="there is neither a notation nor a parameter annotated"):
        kernel()(lambda xp: None)
    with pytest.raises(ValueError, match="expected the name of an array, got the end"):
        kernel("x[i] ->")(lambda xp, x: None)

    with pytest.raises(TypeError, match="the body writes no parameter"):

        @kernel()
        def reads(xp, x: In):
            pass


def test_a_kernel_with_no_array_among_its_arguments() -> None:
    count = kernel("[i=n] -> sum hits[]")(lambda xp, tile, n: xp.sum(tile.coords("i") % 3))
    assert count(31) == 30
    with xd.engine("legate"):
        assert int(count(31)) == 30


# -- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_result_alone_of_every_rank(shape: tuple[int, ...]) -> None:
    @kernel()
    def clear(xp, z: Out):
        z[...] = 0

    assert_same(on_both(clear, rng.normal(size=shape)), np.zeros(shape))
    extents = ", ".join(f"i{n}={e}" for n, e in enumerate(shape))
    made = kernel(f"-> z[{extents}]", dtype="float64")(clear.__wrapped__)
    assert_same(on_both(made, z=rng.normal(size=shape)), np.zeros(shape))
    assert made().shape == shape


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_copy_of_every_rank(shape: tuple[int, ...]) -> None:
    x = rng.normal(size=shape)
    assert_same(on_both(copied, x), x)
    assert_same(on_both(copied_into, x, np.zeros(shape)), x)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_a_copy_of_every_dtype(dtype: str) -> None:
    x = values(dtype, 7, 5)
    x[0, 0] = NUMBERS[dtype]
    for got in (on_both(copied, x), on_both(copied_into, x, np.zeros_like(x))):
        assert got.dtype == dtype
        assert_same(got, x)


class OnlyDlpack:
    """Gives its array away by the first form of DLPack, as older libraries do."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, stream: Any = None, dl_device: Any = None, copy: Any = None) -> Any:
        return self.array.__dlpack__(stream=stream, dl_device=dl_device, copy=copy)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stores_made_by_dlpack(shape: tuple[int, ...]) -> None:
    x, z = rng.normal(size=shape), np.zeros(shape)
    source, target = lg.from_dlpack(x), lg.from_dlpack(OnlyDlpack(z))
    with forced_tiles():
        assert copied(source, out=target) is target
        xd.synchronize()
    assert_same(z, x)
    copied_into(source, target)
    assert_same(content(target), x)


def test_one_kernel_called_again_and_again() -> None:
    for n in range(3):
        assert_same(on_both(shifted, np.full(9, float(n)), 10.0 * n), np.full(9, 11.0 * n))


def test_operands_of_three_ranks_are_broadcast() -> None:
    a, b, z = rng.normal(size=(4, 2)), rng.normal(size=(3, 4, 2)), np.zeros((5, 3, 4, 2))

    @kernel(constraints=[broadcast("a", "b", "z")])
    def add_whole(xp, a: In, b: In, z: Out):
        z[...] = a + b

    @kernel(constraints=[align("a", "b", "z")])
    def add_cut(xp, a: In, b: In, z: Out):
        z[...] = a + b

    add = kernel("a[...], b[...] -> z[...]")(lambda xp, a, b: a + b)
    assert_same(on_both(add_whole, a, b, z, pieces=1), np.broadcast_to(a + b, z.shape))
    assert_same(on_both(add_cut, a, b, z[0]), a + b)
    for put_in in (own, put):
        with pytest.raises(ValueError, match="given for result 'z' has shape \\(5, 3, 4, 2\\), expected \\(3, 4, 2\\)"):
            add_cut(put_in(a), put_in(b), put_in(z))
    assert_same(on_both(add, a, b), a + b)


def test_one_tile_of_a_store_is_an_array_and_a_partition_is_none() -> None:
    x = rng.normal(size=(6, 8))
    parts = lg.from_dlpack(x).partition_by_tiling((4, 4))
    for color in [(0, 0), (1, 1)]:
        expected = x[4 * color[0] :, 4 * color[1] :][:4, :4]
        z = filled(expected.shape, 0.0)
        with forced_tiles():
            copied(parts.get_child_store(*color), out=z)
            assert_same(content(z), expected)
            copied_into(parts.get_child_store(*color), z)
    with pytest.raises(TypeError, match="argument 'src' is a LogicalStorePartition, expected an array"):
        copied(parts)
    with pytest.raises(TypeError, match="argument 'dst' is a LogicalStorePartition, expected an array"):
        copied_into(x, parts)


def test_tiles_of_a_store_written_one_after_the_other() -> None:
    z = filled((6, 8), 0.0)
    parts = z.partition_by_tiling((3, 8))
    for n in range(2):
        copied(np.full((3, 8), n + 1.0), out=parts.get_child_store(n, 0))
    assert_same(content(z), np.repeat([[1.0], [2.0]], 3, axis=0) * np.ones(8))


def test_results_of_one_kernel_are_operands_of_the_next() -> None:
    add = kernel(constraints=[align("a", "b"), align("b", "z")])(add_three)
    with forced_tiles():
        first = copied(cupynumeric.arange(320))
        got = add(first, cupynumeric.full(320, 2), cupynumeric.zeros(320, dtype=int))
        xd.synchronize()
    np.testing.assert_array_equal(np.asarray(got), np.arange(320) + 2)


def add_three(xp, a: In, b: In, z: Out):
    z[...] = a + b


def test_more_tiles_than_cells() -> None:
    @kernel(constraints=[align("part", "total")])
    def add_to(xp, part: In, total: InOut):
        assert part.shape == total.shape
        assert 0 not in part.shape
        total += part

    for shape in [(3,), (1, 5), (2, 2)]:
        part, total = rng.normal(size=(2, *shape))
        assert_same(on_both(add_to, part, total), part + total)


def test_arrays_without_a_cell() -> None:
    for shape in [(0,), (1, 0, 3), (0, 0, 0), (9, 0)]:
        assert on_both(copied, np.zeros(shape, np.float32), pieces=0).shape == shape
        assert on_both(copied_into, np.zeros(shape), np.zeros(shape), pieces=0).shape == shape


# -- objects with Legate's data interface ----------------------------------------------------------


class Column:
    """An array that knows nothing but how to show its store."""

    def __init__(self, interface: Any) -> None:
        self.interface = interface

    @property
    def __legate_data_interface__(self) -> Any:
        return self.interface


def column(store: Any) -> Column:
    return Column({"version": 1, "data": {"field": lg.LogicalArray.from_store(store)}})


def test_objects_with_a_data_interface() -> None:
    for store in (filled((9,), 4.0), filled((5,), 3.0), filled((5, 2), 6, lg.int32)):
        for made in (column(store), Column({"version": 2, "data": {"field": store}})):
            with forced_tiles():
                got = copied(made)
                xd.synchronize()
            assert_same(np.asarray(got), content(store))
            assert got.dtype == content(store).dtype
    target = filled((9,), 0.0)
    wrapped = column(target)
    assert copied(column(filled((9,), 4.0)), out=wrapped) is wrapped
    assert_same(content(target), np.full(9, 4.0))


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        ({}, "has the Legate data interface {}, expected one of version 1 or 2 with 'data'"),
        ("text", "has the Legate data interface 'text', expected"),
        ({"data": {}}, "has the Legate data interface {'data': {}}, expected"),
        ({"version": 1}, "has the Legate data interface {'version': 1}, expected"),
        ({"version": 1, "data": 3}, "has the Legate data interface {'version': 1, 'data': 3}, expected"),
        ({"version": "one", "data": {}}, "has the Legate data interface {'version': 'one', 'data': {}}, expected"),
        ({"version": 1.5, "data": {}}, "has the Legate data interface {'version': 1.5, 'data': {}}, expected"),
        ({"version": 0, "data": {}}, "has the Legate data interface {'version': 0, 'data': {}}, expected"),
        ({"version": 3, "data": {}}, "has the Legate data interface {'version': 3, 'data': {}}, expected"),
        ({"version": 1, "data": {}}, "is made of 0 fields, expected one plain array"),
        ({"version": 1, "data": {"a": 1}}, "has the fields [1], expected a store"),
        ({"version": 1, "data": {"a": 1, "b": 2}}, "has the fields [1, 2], expected a store"),
    ],
)
def test_objects_whose_data_interface_is_wrong(interface: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"kernel 'copied': argument 'src' .*{re.escape(message)}"):
        copied(Column(interface))


def test_stores_that_are_no_plain_arrays() -> None:
    fields = {n: lg.LogicalArray.from_store(filled((3,), 1.0)) for n in "ab"}
    with pytest.raises(TypeError, match="argument 'src' is made of 2 fields, expected one plain array"):
        copied(Column({"version": 1, "data": fields}))
    with pytest.raises(TypeError, match="argument 'src' is masked, expected one plain array"):
        copied(runtime.create_array(lg.float64, (3,), nullable=True))
    for store in (runtime.create_store(lg.binary_type(3), (4,)), runtime.create_store(lg.null_type, (4,))):
        with pytest.raises(TypeError, match="argument 'src' has Legate type .*, which arrays cannot have"):
            copied(store)
    for call in (copied, lambda s: copied(np.ones(3), out=s)):
        with pytest.raises(TypeError, match="is a store of unknown size that nothing has written"):
            call(runtime.create_store(lg.float64))


# -- scalars -------------------------------------------------------------------------------------

SCALARS = [
    *NUMBERS.values(),
    None,
    "text with ünïcode",
    b"abcdefghijklmnopqrstuvwxyz",
    (),
    (1, 2, 3),
    [],
    [1.5, "two", None],
    {"a": 1, 2.5: (3,), frozenset({4}): {"b": b"c"}},
    {5, 6},
    slice(1, None),
    range(4),
    np.datetime64("2026-11-24"),
    lg.VariantCode.GPU,
    *(np.dtype(d).type(v) for d, v in NUMBERS.items()),
]


class Other(Exception):
    pass


@kernel("x[i] -> y[i]", dtype="x")
def checked(xp, x, value, kind, text):
    if type(value) is not kind or repr(value) != text:
        raise Other(f"got {value!r}, a {type(value)}")
    return x + 1


@kernel(constraints=[align("x", "y")])
def checked_into(xp, x: In, y: Out, value: None, kind: type, text: str):
    if type(value) is not kind or repr(value) != text:
        raise Other(f"got {value!r}, a {type(value)}")
    y[...] = x + 1


@pytest.mark.parametrize("value", SCALARS, ids=lambda v: f"{type(v).__name__} {v!r}")
def test_scalars_of_every_type_arrive_as_they_are(value: Any) -> None:
    expected = np.full(9, 2.0)
    assert_same(on_both(checked, np.ones(9), value, type(value), repr(value)), expected)
    assert_same(on_both(checked_into, np.ones(9), np.zeros(9), value, type(value), repr(value)), expected)
    with pytest.raises(Other, match="got "):
        on_both(checked, np.ones(9), value, type(value), "another text")


@pytest.mark.parametrize("dtype", NUMBERS)
def test_a_number_fills_an_array_of_its_dtype(dtype: str) -> None:
    @kernel()
    def fill(xp, z: Out, value):
        z[...] = value

    number = np.dtype(dtype).type(NUMBERS[dtype])
    z = np.zeros((3, 1, 4), dtype)
    for value in (number, NUMBERS[dtype]):
        assert_same(on_both(fill, z, value), np.full_like(z, number))


def test_a_number_is_rounded_to_the_dtype_of_the_array() -> None:
    @kernel()
    def fill(xp, z: Out, value):
        z[...] = value

    assert_same(on_both(fill, np.zeros((4, 3), np.float16), 12345), np.full((4, 3), 12344.0, np.float16))


def test_legates_own_scalars_are_unpacked_by_the_caller() -> None:
    scalar = lg.Scalar(4, lg.int32)
    with pytest.raises(TypeError, match="scalar 'by' is a Scalar that cannot be sent to a task"):
        shifted(put(np.ones(3)), scalar)
    assert_same(on_both(shifted, np.ones(9), scalar.value()), np.full(9, 5.0))


@pytest.mark.parametrize("dtype", NUMBERS)
def test_numpy_arrays_beside_the_others_are_operands(dtype: str) -> None:
    table, x = values(dtype, 3, 5), np.ones((4, 1, 5))

    @kernel(constraints=[broadcast("table"), align("x", "y")])
    def pick(xp, x: In, y: Out, table: In):
        y[...] = table[1, 2]

    take = kernel("x[...], table[:, :] -> y[...]", dtype="table")(lambda xp, x, table: x * 0 + table[1, 2])
    y = np.zeros(x.shape, dtype)
    assert_same(on_both(pick, x, y, table), np.full_like(y, table[1, 2]))
    with forced_tiles():
        got = take(put(x), table)
        table[...] = 0
        xd.synchronize()
    assert got.dtype == dtype
    with pytest.raises(TypeError, match="argument 'by' is an array, but the notation does not name it"):
        shifted(np.ones(3), table)


def test_dtypes_that_legate_does_not_have() -> None:
    for dtype in ("S26", "U3", object, "datetime64[s]", [("a", "i4")]):
        with pytest.raises(TypeError, match="Legate has no type for dtype"), xd.engine("legate"):
            copied(np.zeros((3, 1), dtype))


# -- how arguments are given -----------------------------------------------------------------------


@kernel("x[i], w[i] -> y[i], sum s[]")
def mixed(xp, x, w, a, b=2.0, *, c="none"):
    return a * x + b * w + len(c), xp.sum(x)


@kernel(constraints=[align("x", "w", "y"), broadcast("s")])
def mixed_into(xp, x: In, w: In, y: Out, s: Reduce["sum"], a, b=2.0, c="none"):
    y[...] = a * x + b * w + len(c)
    s += xp.sum(x)


def test_positions_keywords_and_defaults_mixed() -> None:
    x, w = rng.normal(size=(2, 19))
    expected = 3 * x + 2 * w + 4, x.sum()
    by_name = {"c": "four", "b": 2.0, "a": 3, "w": w, "x": x}
    for args, kwargs in [((x, w, 3), {}), ((x,), {"a": 3, "w": w}), ((), by_name)]:
        for got, e in zip(on_both(mixed, *args, **kwargs), expected, strict=True):
            assert_same(got, e)
    for kwargs in ({"a": 3}, {"c": "some", "a": 3, "b": 2.0}):
        got = on_both(mixed_into, s=np.zeros(()), y=np.zeros(19), w=w, x=x, **kwargs)
        for g, e in zip(got, expected, strict=True):
            assert_same(g, e)


@pytest.mark.parametrize("put_in", [own, put], ids=["numpy", "legate"])
def test_too_many_too_few_unknown_and_twice(put_in: Callable[[Any], Any]) -> None:
    x, y, s = put_in(np.ones(5)), put_in(np.ones(5)), put_in(np.zeros(()))
    for call, message in [
        (mixed, "argument 'x' is missing"),
        (lambda: mixed(x), "argument 'w' is missing"),
        (lambda: mixed(w=x, a=3), "argument 'x' is missing"),
        (lambda: mixed(x, x), "argument 'a' is missing"),
        (lambda: mixed(x, x, 3, 2.0, "five"), "got 5 positional arguments, expected at most 4"),
        (lambda: mixed_into(x, x, y, s, *"abcdefghijk"), "got 15 positional arguments, expected at most 7"),
        (lambda: mixed(x, x, 3, lorem="ipsum"), "unexpected argument 'lorem'"),
        (lambda: mixed(lorem="ipsum", x=x, w=x, a=3), "unexpected argument 'lorem'"),
        (lambda: mixed_into(x, x, y, s, 3, lorem="ipsum"), "unexpected argument 'lorem'"),
        (lambda: mixed(x, x, 3, x=x), "argument 'x' is given twice"),
        (lambda: mixed_into(x, x, y, s, 3, y=y), "argument 'y' is given twice"),
        (lambda: mixed(x, 3, x), "argument 'a' is an array, but the notation does not name it"),
        (lambda: mixed(1, x, 3), "argument 'x' has 0 axes, shape \\(\\), expected 1"),
        (lambda: mixed("one", x, 3), "argument 'x' is a str, expected an array"),
        (lambda: mixed(x, None, 3), "argument 'w' is None, expected an array"),
        (lambda: mixed_into(x, x, 3.0, s, 3), "argument 'y' is a float, expected an array"),
    ]:
        with pytest.raises((TypeError, ValueError), match=f"kernel 'mixed(_into)?': {message}"):
            call()


def test_one_array_for_two_operands() -> None:
    x = rng.normal(size=19)
    add = kernel("a[i], b[i] -> z[i]")(lambda xp, a, b: a + b)
    assert_same(on_both(add, x, x), 2 * x)
    a = put(x)
    with forced_tiles():
        assert add(a, a, out=a) is a
        xd.synchronize()
    assert_same(np.asarray(a), 2 * x)
    b = put(x)
    with forced_tiles():
        kernel(constraints=[align("a", "b", "z")])(add_three)(b, b, b)
        xd.synchronize()
    assert_same(np.asarray(b), 2 * x)


def test_defaults_stay_what_they_were() -> None:
    def counted(xp, x, table={"n": 1.5}):  # noqa: B006  it is what this test is about
        table["n"] += 1
        return x + table["n"]

    made = kernel("x[i] -> y[i]", dtype="x")(counted)
    x = put(np.zeros(5))
    for _ in range(2):
        y = made(x)
        assert np.asarray(synchronized(y)).tolist() == [2.5] * 5
    assert np.asarray(synchronized(made(x, {"n": 5.5}))).tolist() == [6.5] * 5
    assert np.asarray(synchronized(made(table={"n": 6.5}, x=x))).tolist() == [7.5] * 5


def synchronized(value: Any) -> Any:
    xd.synchronize()
    return value


def test_arrays_that_may_be_left_out() -> None:
    def weigh(xp, x: In, y: Out, w: In | None = None):
        y[...] = x if w is None else w * x

    def weigh_turned(xp, x: In, y: Out, w: None | In = None):  # noqa: RUF036  the order is what is tested
        y[...] = x if w is None else w * x

    def weigh_plain(xp, x: In, y: Out, w: In = None):
        y[...] = x if w is None else w * x

    x, w = rng.normal(size=(2, 12))
    for body in (weigh, weigh_turned, weigh_plain):
        made = kernel(constraints=[align("x", "y", "w")])(body)
        for args, expected in [((), x), ((None,), x), ((w,), w * x)]:
            assert_same(on_both(made, x, np.zeros(12), *args), expected)


def test_arrays_with_another_default() -> None:
    for role in (In, Out, InOut, Reduce["sum"]):

        def body(xp, z: Out, x=np.ones(3)):  # noqa: B008  it is refused
            z[...] = 1

        body.__annotations__["x"] = role
        with pytest.raises(TypeError, match="array parameter 'x' has the default array\\(.*\\), expected None or no"):
            kernel(constraints=[align("x", "z")])(body)


# -- results of unknown size -----------------------------------------------------------------------


@pytest.mark.parametrize("row", [(), (3,), (2, 3), (1, 1, 2)], ids=str)
def test_results_of_unknown_size_of_every_rank(row: tuple[int, ...]) -> None:
    axes = "".join(f", :{e}" for e in row)
    chosen = kernel(f"x[i{axes}] -> y[?{axes}]")(lambda xp, x: x[xp.reshape(x, (x.shape[0], -1))[:, 0] > 0])
    x = rng.normal(size=(23, *row))
    expected = x[x.reshape(23, -1)[:, 0] > 0]
    assert_same(on_both(chosen, x), expected)


def test_parts_of_a_buffer_as_results_of_unknown_size() -> None:
    @kernel("x[i] -> first[?], rest[?]", dtype=("int32", "int32"), guard=False)
    def parts(xp, x):
        buffer = xp.asarray(xp.stack([x, x + 1]), dtype=xp.int32)
        return buffer[0, :1], buffer[1]

    x = np.full(16, 54)
    first, rest = parts(x)
    assert first.tolist() == [54]
    assert rest.tolist() == [55] * 16
    with forced_tiles() as tiles:
        first, rest = parts(put(x))
    assert np.asarray(first).tolist() == [54] * len(tiles_of(parts, tiles))
    assert np.asarray(rest).tolist() == [55] * 16


def test_one_array_for_two_results_of_unknown_size() -> None:
    @kernel("x[i] -> y[?], z[?]")
    def twice(xp, x):
        chosen = x[x > 0]
        return chosen, chosen

    x = rng.normal(size=17)
    for got in on_both(twice, x):
        assert_same(got, x[x > 0])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda xp, x: None, "returned None, expected 1 result"),
        (lambda xp, x: xp.sum(x), "returned shape \\(\\) for result 'y', expected \\(any,\\)"),
        (lambda xp, x: (x, x), "returned a tuple of 2, expected the array itself"),
        (lambda xp, x: xp.reshape(x, (-1, 1)), "returned shape \\(\\d+, 1\\) for result 'y', expected \\(any,\\)"),
        (
            lambda xp, x: x if x.shape[0] == 1 else xp.astype(x, xp.float32),
            "returned dtype float32 for result 'y', but float64 on a sample of ones",
        ),
    ],
)
def test_results_of_unknown_size_that_are_none(body: Callable[..., Any], message: str) -> None:
    made = kernel("x[i] -> y[?]")(body)
    with forced_tiles(1), pytest.raises(ValueError, match=message):
        made(put(np.ones(8)))
    assert on_both(kernel("x[i] -> y[?]")(lambda xp, x: x), np.ones(8)).shape == (8,)


# -- reductions ------------------------------------------------------------------------------------

OPERATORS = {
    "sum": (np.add, [d for d in NUMBERS if d != "bool"]),
    "prod": (np.multiply, [d for d in NUMBERS if d != "bool"]),
    "max": (np.maximum, [d for d in NUMBERS if not d.startswith("complex")]),
    "min": (np.minimum, [d for d in NUMBERS if not d.startswith("complex")]),
    "any": (np.logical_or, ["bool"]),
    "all": (np.logical_and, ["bool"]),
    "xor": (np.bitwise_xor, [d for d in NUMBERS if "int" in d or d == "bool"]),
}


@pytest.mark.parametrize("op", OPERATORS)
def test_every_operator_on_every_dtype_that_it_takes(op: str) -> None:
    ufunc, dtypes = OPERATORS[op]

    def returned(xp, x):
        return np.asarray(ufunc.reduce(x, axis=0, dtype=x.dtype))

    def reduced(xp, x: In, r: Reduce[op]):
        r[...] = ufunc(r, ufunc.reduce(x, axis=(0, 1), dtype=x.dtype))

    reduced.__annotations__["r"] = Reduce[op]
    columns = kernel(f"x[i, :] -> {op} r[:]")(returned)
    whole = kernel(constraints=[broadcast("r")])(reduced)
    for dtype in dtypes:
        x = values(dtype, 11, 3)
        if op == "prod":  # small enough for float16 and int8
            x = np.ones_like(x)
            x[::5, 0] = 2
            x[1, 1] = 3
        assert_same(on_both(columns, x), ufunc.reduce(x, axis=0, dtype=dtype))
        held = values(dtype, 1)
        assert_same(
            on_both(whole, x, held, pieces=1 if dtype == "complex128" else 2),
            ufunc(held, ufunc.reduce(x, axis=None, dtype=dtype)),
        )


@pytest.mark.parametrize("bits", range(16))
def test_all_of_four_bools(bits: int) -> None:
    x = np.array([bits >> n & 1 for n in range(4)], dtype=bool)
    every = kernel("x[i] -> all r[]")(lambda xp, x: xp.all(x))
    assert_same(on_both(every, x), x.all())


def test_bits_are_combined_by_xor_alone() -> None:
    for op in ("or", "and", "bitwise_or"):
        with pytest.raises(TypeError, match=f"Reduce\\['{op}'\\] does not name an operator"):
            Reduce[op]
    both = kernel("x[i] -> fold r[]", fold=lambda xp, a, b: xp.bitwise_or(a, b))(lambda xp, x: np.bitwise_or.reduce(x))
    x = 1 << rng.integers(0, 60, 9)
    assert_same(on_both(both, x, pieces=1), np.bitwise_or.reduce(x))


def test_a_reduction_without_an_operator() -> None:
    def body(xp, x: In, r: Reduce):
        r += xp.sum(x)

    with pytest.raises(TypeError, match="parameter 'r' is a Reduce without an operator"):
        kernel(constraints=[broadcast("r")])(body)


def test_reductions_accumulate_by_role_and_overwrite_by_notation() -> None:
    @kernel(constraints=[broadcast("r")])
    def add(xp, x: In, r: Reduce["sum"]):
        r += xp.sum(x)

    total = kernel("x[i] -> sum r[]")(lambda xp, x: xp.sum(x))
    x = np.arange(12.0)
    for r in (np.zeros(1), np.full(1, 5.0), np.full(12, 7.0), np.zeros(0)):
        assert_same(on_both(add, x, r, pieces=1 if r.size else 0), r + 66)
    held = put(np.asarray(9.0))
    total(put(x), out=held)
    assert float(synchronized(held)) == 66.0


def test_a_reduction_into_the_array_alone() -> None:
    @kernel(constraints=[broadcast("r")])
    def count(xp, r: Reduce["sum"]):
        r += 1

    assert_same(on_both(count, np.full(10, 4.0), pieces=1), np.full(10, 5.0))


# -- constraints -----------------------------------------------------------------------------------


def test_a_chain_of_aligns() -> None:
    @kernel(constraints=[align("x", "y"), align("y", "z")])
    def add(xp, x: In, y: In, z: Out):
        assert x.shape == y.shape == z.shape
        z[...] = x + y

    assert_same(on_both(add, np.ones(14), np.full(14, 2.0), np.zeros(14)), np.full(14, 3.0))


@pytest.mark.parametrize("shape", [(10,), (6, 7), (3, 4, 5)], ids=str)
def test_a_whole_operand_beside_a_cut_result(shape: tuple[int, ...]) -> None:
    @kernel(constraints=[broadcast("x")])
    def into(xp, tile, x: In, y: Out):
        assert x.shape == shape
        y[...] = x[tuple(slice(tile.start(("y", n)), tile.start(("y", n)) + e) for n, e in enumerate(y.shape))]

    x = rng.normal(size=shape)
    assert_same(on_both(into, x, np.zeros(shape), pieces=1), x)
    letters = "ijk"[: len(shape)]
    axes = ", ".join(f":n{i}" for i in letters)
    made = kernel(f"x[{axes}] -> y[{', '.join(f'{i}=n{i}' for i in letters)}]")(
        lambda xp, tile, x: x[tuple(slice(tile.start(i), tile.start(i) + tile.size(i)) for i in letters)]
    )
    assert_same(on_both(made, x), x)


def body_of_constraints(xp, x: In, y: Out, factor=1):
    y[...] = factor * x


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([align("x", "foo")], "align\\('x', 'foo'\\) names 'foo', which is not an array parameter of the body"),
        ([align("factor", "y")], "align\\('factor', 'y'\\) names 'factor', which is not an array parameter"),
        ([broadcast("foo")], "broadcast\\('foo'\\) names 'foo'"),
        ((1,), "constraints= holds 1, expected a constraint such as align"),
        ([None], "constraints= holds None, expected a constraint such as align"),
        (1, "constraints= got 1, expected a list of constraints"),
        (None, "constraints= got None, expected a list of constraints"),
        (align("x", "y"), "constraints= got one constraint, expected several"),
        ([lg.align("x", "y")], "use xpdispatch.align and its like, not legate.core's own"),
        (lg.broadcast("x"), "use xpdispatch.align and its like, not legate.core's own"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_constraints_that_are_wrong(constraints: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        kernel(constraints=constraints)(body_of_constraints)


def test_a_broadcast_axis_that_is_not_there() -> None:
    made = kernel(constraints=[align("x", "y"), broadcast("y", (1,))])(body_of_constraints)
    for put_in in (own, put):
        with pytest.raises(ValueError, match="broadcast names axis 1 of 'y', which has 1 axes"):
            made(put_in(np.ones(5)), put_in(np.ones(5)))


# -- parameters ------------------------------------------------------------------------------------


def test_annotations_that_say_no_role() -> None:
    def stores(xp, x: lg.LogicalStore, y: Out):
        y[...] = 1

    def tasks(xp, x: lg.task.InputStore, y: lg.task.OutputStore):
        y[...] = x

    def cannot(xp, x: In, y: Out, n: int[3]):
        y[...] = x

    def nowhere(xp, x: In, y: Missing):  # noqa: F821  it is refused
        y[...] = x

    with pytest.raises(TypeError, match="argument 'x' is an array, but the notation does not name it, so it is a scal"):
        kernel()(stores)(filled((3,), 1.0), filled((3,), 1.0))
    with pytest.raises(
        ValueError, match="there is neither a notation nor a parameter annotated with In, Out, InOut or"
    ):
        kernel()(tasks)
    with pytest.raises(TypeError, match="kernel 'cannot': an annotation cannot be evaluated: type 'int' is not subsc"):
        kernel()(cannot)
    with pytest.raises(TypeError, match="kernel 'nowhere': an annotation cannot be evaluated: name 'Missing' is not"):
        kernel()(nowhere)


def test_annotations_are_not_needed_in_index_notation() -> None:
    def untyped(xp, x, n):
        return x * n

    def typed(xp: Any, x: np.ndarray, n: int[3]) -> int:
        return x * n  # type: ignore[return-value]

    for body in (untyped, typed):
        assert_same(on_both(kernel("x[i] -> y[i]")(body), np.ones(9), 3), np.full(9, 3.0))


def test_star_parameters_that_the_notation_does_not_name() -> None:
    with pytest.raises(TypeError, match="the body takes \\*x, which the notation does not name"):
        kernel("-> y[i=3]")(lambda xp, *x: x)
    with pytest.raises(TypeError, match="the body takes \\*\\*x, which the notation does not name"):
        kernel("-> y[i=3]")(lambda xp, **x: x)

    def body(xp, y: Out, *x: In):
        y[...] = 1

    with pytest.raises(TypeError, match="the body takes \\*x"):
        kernel()(body)
    assert_same(
        on_both(kernel("*x[...] -> y[...]")(lambda xp, *x: x[0] + x[1]), np.ones((3, 4)), np.ones(4)),
        np.full((3, 4), 2.0),
    )


def test_results_are_returned_or_written() -> None:
    def both(xp, x: In, y: Out, z: Out):
        y[...] = x
        return x, 2 * x

    def one(xp, x: In, y: Out):
        return 2 * x

    x = rng.normal(size=9)
    assert_same(on_both(kernel(constraints=[align("x", "y")])(one), x, np.zeros(9)), 2 * x)
    y, z = on_both(kernel(constraints=[align("x", "y", "z")])(both), x, np.zeros(9), np.zeros(9))
    assert_same(z, 2 * x)
    assert_same(y, x)


# -- variants --------------------------------------------------------------------------------------


def test_a_body_for_each_variant() -> None:
    def nobody(xp, x):
        pytest.fail("every variant has its own body")

    made = kernel("x[i] -> which[i]", dtype="int64")(nobody)
    made.cpu_variant(lambda xp, x: xp.asarray(x * 0 + 1, dtype=xp.int64))
    made.omp_variant(lambda xp, x: xp.asarray(x * 0 + 2, dtype=xp.int64))
    made.gpu_variant(lambda xp, x: xp.asarray(x * 0 + 3, dtype=xp.int64))
    assert_same(on_both(made, np.ones(9)), np.ones(9, int))
    with pytest.raises(TypeError, match="the OMP body has parameters \\(xp, y\\), expected \\(xp, x\\)"):
        made.omp_variant(lambda xp, y: y)


def test_a_body_given_after_the_first_launch() -> None:
    made = kernel("x[i] -> y[i]")(lambda xp, x: x + 1)
    assert_same(on_both(made, np.ones(9)), np.full(9, 2.0))
    made.cpu_variant(lambda xp, x: x + 2)
    assert_same(on_both(made, np.ones(9)), np.full(9, 3.0))


@pytest.mark.parametrize("variants", [(), [], None, 345, ("TPU",), "CPU", (345,), (lg.VariantCode.CPU,), ([],)])
def test_variants_that_are_none(variants: Any) -> None:
    with pytest.raises(TypeError, match="variants=.* are not some of Legate's"):
        kernel("x[i] -> y[i]", variants=variants)(lambda xp, x: x)


def test_a_variant_for_which_there_is_no_processor() -> None:
    assert runtime.machine.count(lg.TaskTarget.OMP) == 0
    made = kernel("x[i] -> y[i]", variants=("OMP",))(lambda xp, x: x)
    with pytest.raises(
        NotImplementedError, match="the kernel has variants for OMP alone, and here it would run on CPU"
    ):
        made(put(np.ones(3)))


# -- exceptions ------------------------------------------------------------------------------------


class Own(Exception):
    pass


@kernel("x[i] -> y[i]", dtype="x")
def raises(xp, x, kind):
    raise kind("peace is over")


@kernel(constraints=[align("x", "y")], on_error="immediate")
def raises_at_once(xp, x: In, y: Out, kind):
    raise kind("peace is over")


@pytest.mark.parametrize("kind", [Own, ValueError, TypeError, RuntimeError, IndexError])
def test_exceptions_keep_their_type(kind: type[Exception]) -> None:
    x = put(np.ones(9))
    with pytest.raises(kind, match="peace is over"):
        raises(np.ones(9), kind)
    for _ in range(2):
        with forced_tiles():
            raises(x, kind)
            with pytest.raises(kind, match="peace is over"):
                xd.synchronize()
            with pytest.raises(kind, match="peace is over"):
                raises_at_once(x, put(np.ones(9)), kind)


def test_exceptions_and_the_mode_of_a_scope() -> None:
    with lg.Scope(exception_mode=lg.ExceptionMode.IMMEDIATE):
        raises(put(np.ones(9)), Own)
    with pytest.raises(Own, match="peace is over"):
        xd.synchronize()
    with pytest.raises(Own, match="peace is over"), lg.Scope(exception_mode=lg.ExceptionMode.DEFERRED):
        raises(put(np.ones(9)), Own)
    with lg.Scope(exception_mode=lg.ExceptionMode.IGNORED):
        raises(put(np.ones(9)), Own)
    xd.synchronize()


class Watched(Exception):
    seen: ClassVar[list[bool]] = []

    def __reduce__(self) -> Any:
        self.seen.append(gc.isenabled())
        return type(self), self.args


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_off_while_a_task_hands_its_exception_on(enabled: bool) -> None:
    xd.synchronize()
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    Watched.seen.clear()
    try:
        raises(put(np.ones(9)), Watched)
        with pytest.raises(Watched):
            xd.synchronize()
        in_the_task = Watched.seen[:]
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
    assert in_the_task
    assert not any(in_the_task)


def test_extents_that_differ_are_refused_before_the_launch() -> None:
    made = kernel(constraints=[align("x", "y")])(body_of_constraints)
    with pytest.raises(ValueError, match="the array given for result 'y' has shape \\(5,\\), expected \\(4,\\)"):
        made(put(np.ones(4)), put(np.ones(5)))


# -- what a body knows about its task ----------------------------------------------------------------


def test_a_body_knows_its_tile_and_variant() -> None:
    @kernel("x[i] -> place[i], variant[i]", dtype=("int64", "bool"))
    def told(xp, tile, x):
        assert tile.total("i") == 22
        assert 0 < tile.size("i") == x.shape[0] <= 22
        return tile.coords("i"), xp.full(x.shape, tile.variant == "CPU")

    place, variant = on_both(told, np.ones(22))
    assert_same(place, np.arange(22))
    assert variant.all()
    with pytest.raises(TypeError, match="parameter 'tile' has a name that kernels use themselves"):
        kernel("x[i] -> y[i]")(lambda xp, x, tile: x)


def test_whether_code_runs_in_a_task() -> None:
    inside = kernel("x[i] -> y[i]", dtype="bool")(lambda xp, x: xp.full(x.shape, lg.is_running_in_task()))
    assert not lg.is_running_in_task()
    assert not inside(np.ones(3)).any()
    assert np.asarray(synchronized(inside(put(np.ones(3))))).all()


def test_a_range_for_the_profiler_in_a_body() -> None:
    def ranged(xp, x):
        with lg.ProfileRange("shift"):
            return x + 1

    assert_same(on_both(kernel("x[i] -> y[i]")(ranged), np.ones(9)), np.full(9, 2.0))


def test_scopes_of_provenance_and_machine() -> None:
    with lg.Scope(provenance="from here", machine=runtime.machine.only(lg.TaskTarget.CPU)):
        assert_same(on_both(shifted, np.ones(9), 1), np.full(9, 2.0))


def test_waiting_inside_a_strict_streaming_scope() -> None:
    x, z = cupynumeric.ones(9), np.zeros(9)
    policy = lg.ParallelPolicy(streaming_mode=lg.StreamingMode.STRICT, overdecompose_factor=2)
    message = "a wait, inside a Scope of StreamingMode.STRICT"
    with lg.Scope(parallel_policy=policy):
        with pytest.raises(RuntimeError, match=message):
            xd.synchronize()
        with pytest.raises(RuntimeError, match=f"kernel 'shifted': {message}"):
            shifted(x, 1, out=z)
        for array in (put(z), lg.from_dlpack(z)):
            with pytest.raises(
                RuntimeError, match="kernel 'shifted': an array that lies in memory of NumPy's, inside a S"
            ):
                shifted(array, 1)
    xd.synchronize()
    np.testing.assert_array_equal(np.asarray(synchronized(shifted(x, 1))), np.full(9, 2.0))


def test_globals_are_read_when_a_body_runs() -> None:
    seen: list[int] = []

    @kernel("x[i] -> y[i]", dtype="x", guard=False)
    def count(xp, x):
        seen.append(x.shape[0])
        return x + len(seen) * 0

    with forced_tiles():
        count(put(np.ones(40)))
        xd.synchronize()
    assert sum(seen) == 40
    assert len(seen) > 2


def test_kernels_in_shutdown_callbacks() -> None:
    done = run_python(
        "import xpdispatch as xd, cupynumeric as cn, legate.core as lg\n"
        "k = xd.kernel('x[i] -> y[i]', dtype='x')(lambda xp, x: x + 1)\n"
        "runtime = lg.get_legate_runtime()\n"
        "x = cn.ones(9)\n"
        "xd.synchronize()\n"
        "def last():\n"
        "    y = k(x)\n"
        "    xd.synchronize()\n"
        "    print('sum', int(sum(y.tolist())), flush=True)\n"
        "runtime.add_shutdown_callback(last)\n"
        "k(x); xd.synchronize()\n"
        "runtime.finish()\n"
        "print('finished')\n"
    )
    assert done.returncode == 0, done.stderr
    assert "sum 18" in done.stdout
    assert "finished" in done.stdout


# -- the table -------------------------------------------------------------------------------------


def test_the_table_names_tests_that_exist_and_every_test() -> None:
    page = (Path(__file__).parents[1] / "docs" / "legate-tasks.rst").read_text()
    named = set(re.findall(r"``(test_\w+)``", page))
    there = {name for name in globals() if name.startswith("test_")}
    assert named == there - {"test_the_table_names_tests_that_exist_and_every_test"}
