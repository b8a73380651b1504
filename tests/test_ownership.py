"""What a call returns is the caller's alone: it shares memory with nothing that a body can reach again."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from enum import Enum
from functools import lru_cache, partial, wraps
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conftest import Engine, make_engine
from xpdispatch import kernel
from xpdispatch.testing import Tiling
from xpdispatch.testing.trials import make_trial

SMALL, LARGE = 5, 650_000
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
LIBRARIES = pytest.mark.parametrize("library", ["numpy", "strict", "torch"])

LISTED: list[Any] = []
LAST: Any = None


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    LISTED.clear()
    globals()["LAST"] = None
    globals().pop("LATER", None)


Kept = tuple[Callable[..., Any], tuple[Any, ...], Callable[[], list[Any]]]
"""A body, what it is called with beside its array, and the arrays that it can reach afterwards."""


def in_a_list(_: Any) -> Kept:
    kept: list[Any] = []

    def body(xp, x):
        kept.append(x + 1)
        return kept[-1]

    return body, (), lambda: kept


def in_a_global_list(_: Any) -> Kept:
    def body(xp, x):
        LISTED.append(x + 1)
        return LISTED[-1]

    return body, (), lambda: LISTED


def in_a_global(_: Any) -> Kept:
    def body(xp, x):
        global LAST  # noqa: PLW0603  what is tested
        LAST = x + 1
        return LAST

    return body, (), lambda: [LAST]


def in_a_variable_around(_: Any) -> Kept:
    last = None

    def body(xp, x):
        nonlocal last
        last = x + 1
        return last

    return body, (), lambda: [last]


def in_a_function_inside(_: Any) -> Kept:
    kept: list[Any] = []

    def body(xp, x):
        def keep(y):
            kept.append(y)
            return y

        return keep(x + 1)

    return body, (), lambda: kept


def in_a_function_around(_: Any) -> Kept:
    kept: list[Any] = []

    def keep(y):
        kept.append(y)
        return y

    return lambda xp, x: keep(x + 1), (), lambda: kept


def in_a_method_of_a_list(_: Any) -> Kept:
    kept: list[Any] = []
    keep = kept.append

    def body(xp, x):
        y = x + 1
        keep(y)
        return y

    return body, (), lambda: kept


def in_an_argument(_: Any) -> Kept:
    store: dict[str, Any] = {}

    def body(xp, x, store):
        store["y"] = x + 1
        return store["y"]

    return body, (store,), lambda: [*store.values()]


def in_a_default(_: Any) -> Kept:
    kept: list[Any] = []

    def body(xp, x, kept=kept):
        kept.append(x + 1)
        return kept[-1]

    return body, (), lambda: kept


def in_a_default_around(_: Any) -> Kept:
    kept: list[Any] = []

    def keep(y, kept=kept):
        kept.append(y)
        return y

    return lambda xp, x: keep(x + 1), (), lambda: kept


def in_a_partial(_: Any) -> Kept:
    kept: list[Any] = []

    def keep(kept, y):
        kept.append(y)
        return y

    keeping = partial(keep, kept)
    return lambda xp, x: keeping(x + 1), (), lambda: kept


def in_an_attribute(_: Any) -> Kept:
    holder = SimpleNamespace(y=None)

    def body(xp, x):
        holder.y = x + 1
        return holder.y

    return body, (), lambda: [holder.y]


def in_an_attribute_of_the_body(_: Any) -> Kept:
    def body(xp, x):
        body.y = x + 1
        return body.y

    return body, (), lambda: [body.y]


def in_an_object_that_is_the_body(_: Any) -> Kept:
    class Body:
        y: Any = None

        def __call__(self, xp, x):
            self.y = x + 1
            return self.y

    body = Body()
    return body, (), lambda: [body.y]


def in_a_cache(_: Any) -> Kept:
    made: list[Any] = []

    @lru_cache
    def ones(xp, n):
        made.append(xp.ones(n))
        return made[-1]

    return lambda xp, x: ones(xp, x.shape[0]), (), lambda: made


def in_a_cache_of_a_constant(engine: Engine) -> Kept:
    table = lru_cache(lambda n: engine.put(np.ones(n)))
    return lambda xp, x: table(x.shape[0]), (), lambda: [table(SMALL)]


def in_an_array_around(engine: Engine) -> Kept:
    table = engine.put(np.ones(SMALL))
    return lambda xp, x: table, (), lambda: [table]


def in_an_iterator(engine: Engine) -> Kept:
    table = engine.put(np.ones(SMALL))
    tables = itertools.repeat(table)
    return lambda xp, x: next(tables), (), lambda: [table]


def in_a_method_of_an_array(engine: Engine) -> Kept:
    table = engine.put(np.ones((SMALL, 1)))
    look = partial(table.reshape, (SMALL,)) if engine.name == "torch" else getattr(table, "_array", table).ravel
    if engine.name == "strict":
        return lambda xp, x: xp.asarray(look(), copy=False), (), lambda: [table]
    return lambda xp, x: look(), (), lambda: [table]


def in_a_polynomial(engine: Engine) -> Kept:
    line = np.poly1d(np.ones(SMALL))
    table = engine.put(line.coeffs)
    holder = line if engine.name == "numpy" else SimpleNamespace(coeffs=table)
    return lambda xp, x: holder.coeffs, (), lambda: [holder.coeffs]


def in_a_tuple(engine: Engine) -> Kept:
    tables = (engine.put(np.ones(SMALL)),)
    return lambda xp, x: tables[0], (), lambda: list(tables)


def in_an_array_that_another_call_puts_there(engine: Engine) -> Kept:
    tables = [engine.put(np.ones(SMALL))]
    table = tables[0]

    def body(xp, x):
        return table

    def held() -> list[Any]:
        nonlocal table
        before, table = table, engine.put(np.ones(SMALL))
        tables.append(table)
        return [before, *tables]

    return body, (), held


def in_a_global_that_held_nothing_at_first(engine: Engine) -> Kept:
    tables: list[Any] = []

    def body(xp, x):
        return xp.ones(SMALL) if LAST is None else LAST

    def held() -> list[Any]:
        globals()["LAST"] = engine.put(np.ones(SMALL))
        tables.append(LAST)
        return tables

    return body, (), held


def in_a_global_that_was_not_there_at_first(engine: Engine) -> Kept:
    there, tables = 0, []

    def body(xp, x):
        return LATER if there else xp.ones(SMALL)  # type: ignore[name-defined]  # noqa: F821

    def held() -> list[Any]:
        nonlocal there
        there = 1
        tables.append(engine.put(np.ones(SMALL)))
        globals()["LATER"] = tables[-1]
        return tables

    return body, (), held


def in_one_of_two_variables_that_held_one_array(engine: Engine) -> Kept:
    first = second = engine.put(np.ones(SMALL))
    tables = [first]

    def body(xp, x):
        return first if first is second else second

    def held() -> list[Any]:
        nonlocal second
        second = engine.put(np.ones(SMALL))
        tables.append(second)
        return tables

    return body, (), held


def in_a_function_that_another_call_puts_there(engine: Engine) -> Kept:
    table = engine.put(np.ones(SMALL))
    ones = abs

    def body(xp, x):
        return ones(x) + 1 if ones is abs else ones(x)

    def held() -> list[Any]:
        nonlocal ones
        ones = lambda x: table  # noqa: E731
        return [table]

    return body, (), held


def in_the_body_of_another_kernel(_: Any) -> Kept:
    kept: list[Any] = []

    @kernel("x[i] -> y[i]")
    def keeping(xp, x):
        kept.append(x + 1)
        return kept[-1]

    return lambda xp, x: keeping.__wrapped__(xp, 1 * x), (), lambda: kept


def in_an_attribute_of_a_kernel(engine: Engine) -> Kept:
    other: Any = kernel("x[i] -> y[i]")(lambda xp, x: x)
    other.table = engine.put(np.ones(SMALL))
    return lambda xp, x: other.table, (), lambda: [other.table]


def in_an_enumeration(engine: Engine) -> Kept:
    tables = Enum("tables", {"ONES": engine.put(np.ones(SMALL))})  # type: ignore[misc]
    return lambda xp, x, table: table.value, (tables.ONES,), lambda: [tables.ONES.value]


def in_a_text(engine: Engine) -> Kept:
    class Name(str):
        __slots__ = ("table",)

    name = Name("ones")
    name.table = engine.put(np.ones(SMALL))
    return lambda xp, x, name: name.table, (name,), lambda: [name.table]


def in_a_cache_with_the_name_of_another_function(_: Any) -> Kept:
    made: dict[int, Any] = {}

    @wraps(np.linalg.norm)
    def ones(x):
        return made.setdefault(x.shape[0], x + 1)

    return lambda xp, x: ones(x), (), lambda: [*made.values()]


KEEPING = {
    f.__name__.replace("_", " "): f
    for f in (
        in_a_list,
        in_a_global_list,
        in_a_global,
        in_a_variable_around,
        in_a_function_inside,
        in_a_function_around,
        in_a_method_of_a_list,
        in_an_argument,
        in_a_default,
        in_a_default_around,
        in_a_partial,
        in_an_attribute,
        in_an_attribute_of_the_body,
        in_an_object_that_is_the_body,
        in_a_cache,
        in_a_cache_with_the_name_of_another_function,
        in_the_body_of_another_kernel,
    )
}
HELD = {
    f.__name__.replace("_", " "): f
    for f in (
        in_a_cache_of_a_constant,
        in_an_array_around,
        in_an_iterator,
        in_a_method_of_an_array,
        in_a_polynomial,
        in_a_tuple,
        in_an_array_that_another_call_puts_there,
        in_a_global_that_held_nothing_at_first,
        in_a_global_that_was_not_there_at_first,
        in_one_of_two_variables_that_held_one_array,
        in_a_function_that_another_call_puts_there,
        in_an_attribute_of_a_kernel,
        in_an_enumeration,
        in_a_text,
    )
}


def viewed(body: Callable[..., Any]) -> Callable[..., Any]:
    """The same body, but that it returns a view of what it keeps."""

    def view(xp, x, *rest):
        return body(xp, x, *rest)[...]

    view.__signature__ = inspect.signature(body)  # type: ignore[attr-defined]
    return view


def share(left: Any, right: Any) -> bool:
    if hasattr(left, "untyped_storage"):
        return bool(left.untyped_storage().data_ptr() == right.untyped_storage().data_ptr())
    return np.shares_memory(getattr(left, "_array", left), getattr(right, "_array", right))


def check(engine: Engine, kept: Kept, size: int) -> None:
    body, more, held = kept
    made = kernel("x[i] -> y[i]")(body)
    x = engine.put(np.zeros(size))
    results: list[Any] = []
    for _ in range(3):
        got = made(x, *more)
        np.testing.assert_array_equal(engine.get(got), np.ones(size))
        assert not any(share(got, array) for array in (*held(), *results, x) if type(array) is type(got))
        results.append(got)


@LIBRARIES
@SIZES
@pytest.mark.parametrize("kept", KEEPING)
def test_what_a_body_keeps(kept: str, size: int, library: str) -> None:
    engine = make_engine(library)
    check(engine, KEEPING[kept](engine), size)


@LIBRARIES
@SIZES
@pytest.mark.parametrize("kept", ["in a list", "in a global", "in an argument", "in an attribute", "in a cache"])
def test_views_of_what_a_body_keeps(kept: str, size: int, library: str) -> None:
    engine = make_engine(library)
    body, more, held = KEEPING[kept](engine)
    check(engine, (viewed(body), more, held), size)


@LIBRARIES
@pytest.mark.parametrize("view", [False, True], ids=["itself", "a view"])
@pytest.mark.parametrize("kept", HELD)
def test_what_is_there_before(kept: str, view: bool, library: str) -> None:
    engine = make_engine(library)
    body, more, held = HELD[kept](engine)
    check(engine, (viewed(body) if view else body, more, held), SMALL)


@pytest.mark.parametrize(
    "body", [lambda xp, x: x, lambda xp, x: x[...], lambda xp, x: x.base], ids=["x", "view", "base"]
)
@SIZES
def test_operands(body: Callable[..., Any], size: int) -> None:
    x = np.zeros(size)
    for _ in range(3):
        got = kernel("x[i] -> y[i]", cut=False)(body)(x)
        assert got.flags.writeable
        assert not np.shares_memory(got, x)


@pytest.mark.parametrize("kept", [k for k in KEEPING if k not in ("in an argument", "in a default")])
def test_what_a_body_keeps_while_it_is_checked(kept: str) -> None:
    body, more, held = KEEPING[kept](make_engine("numpy"))
    trial = make_trial(kernel("x[i] -> y[i]")(body), (np.zeros(6), *more), {})
    for tiling in (None, Tiling((("i", (2,)),)), Tiling(())):
        for strategy in trial.strategies:
            (got,) = trial.run(tiling, strategy=strategy)
            np.testing.assert_array_equal(got, np.ones(6))
            assert not any(share(got, array) for array in held() if isinstance(array, np.ndarray))


@SIZES
def test_what_no_one_else_can_reach_is_handed_on_as_it_is(size: int) -> None:
    @kernel("x[i] -> y[i], place[i]", cut=False)
    def told(xp, x):
        y = x + 1
        return y, xp.full(x.shape, y.__array_interface__["data"][0])

    noted = np.zeros(1, np.int64)

    @kernel("x[i] -> y[i]", cut=False)
    def written(xp, x):
        y = x + 1
        noted[0] = y.__array_interface__["data"][0]
        return y

    x = np.zeros(size)
    for _ in range(3):
        y, place = told(x)
        assert y.ctypes.data == place[0]
        assert written(x).ctypes.data == noted[0]
