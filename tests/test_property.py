"""Random signatures, shapes, dtypes and strides: here, under any tiling, and on Legate, the answer is NumPy's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xpdispatch as xd
from conftest import run_tiles
from xpdispatch import kernel
from xpdispatch.arrays.reductions import combine, identity
from xpdispatch.planning.tiles import grid
from xpdispatch.testing import forced_tiles

EXACT = ["int8", "int32", "int64", "uint8", "uint64"]
INEXACT = ["float16", "float32", "float64", "complex64", "complex128"]


class Program(NamedTuple):
    """A random kernel with its arguments, and the answer by einsum-like NumPy."""

    kernel: xd.Kernel
    args: tuple[np.ndarray, ...]
    expected: np.ndarray


def strided(draw: Any, array: np.ndarray) -> np.ndarray:
    """The same values with other strides: reversed, Fortran order, or every second cell of a larger array."""
    how = draw(st.sampled_from(["plain", "reversed", "fortran", "holes"]))
    if how == "reversed" and array.ndim:
        return np.ascontiguousarray(array[::-1])[::-1]
    if how == "fortran" and array.ndim:
        return np.asfortranarray(array)
    if how == "holes" and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    return array


def values(draw: Any, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Small integers in any dtype, so that sums and products of a few are exact."""
    low = 0 if np.dtype(dtype).kind in "bu" else -2
    high = 1 if dtype == "bool" else 2
    array = draw(hnp.arrays(np.int64, shape, elements=st.integers(low, high))).astype(dtype)
    return strided(draw, array)


@st.composite
def contractions(draw: Any) -> Program:
    """Products of operands over random indices, summed over those that the result leaves out: elementwise,
    broadcast, outer products and contractions."""
    indices = draw(st.lists(st.sampled_from("ijkl"), min_size=1, max_size=3, unique=True))
    extents = {i: draw(st.integers(0, 6)) for i in indices}
    count = draw(st.integers(1, 3))
    subsets = [draw(st.permutations(indices))[: draw(st.integers(0, len(indices)))] for _ in range(count)]
    missing = [i for i in indices if not any(i in s for s in subsets)]
    subsets[0] = [*subsets[0], *missing]
    kept = draw(st.permutations(indices))[: draw(st.integers(0, len(indices)))]
    dtype = draw(st.sampled_from(EXACT + INEXACT))
    args = tuple(values(draw, dtype, tuple(extents[i] for i in s)) for s in subsets)
    names = [f"x{n}" for n in range(count)]
    op = "" if len(kept) == len(indices) else "sum "
    left = ", ".join(f"{n}[{','.join(s)}]" for n, s in zip(names, subsets, strict=True))
    formula = ",".join("".join(s) for s in subsets) + "->" + "".join(kept)
    # einsum wants letters for at least one axis; NumPy alone is the oracle here and in the bodies.
    scope: dict[str, Any] = {"np": np}
    exec(f"def body(xp, {', '.join(names)}):\n    return np.asarray(np.einsum({formula!r}, {', '.join(names)}))", scope)
    made = kernel(f"{left} -> {op}y[{','.join(kept)}]")(scope["body"])
    return Program(made, args, np.asarray(np.einsum(formula, *args)))


@st.composite
def reductions(draw: Any) -> Program:
    """One operator over some axes of one array."""
    op = draw(st.sampled_from(["sum", "prod", "max", "min", "any", "all", "xor"]))
    kinds = {"any": ["bool"], "all": ["bool"], "xor": ["bool", *EXACT], "max": ["bool", *EXACT, *INEXACT[:3]]}
    dtype = draw(st.sampled_from(kinds.get("max" if op == "min" else op, EXACT + INEXACT)))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=7))
    array = values(draw, dtype, shape)
    if np.dtype(dtype).kind == "f" and op in ("max", "min"):
        special = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 9)))
        array = np.where(special == 0, np.nan, np.where(special == 1, np.inf, np.where(special == 2, -np.inf, array)))
        array = array.astype(dtype)
    letters = "ijk"[: len(shape)]
    kept = [i for i in letters if draw(st.booleans())]
    if len(kept) == len(shape):
        kept.pop()
    axes = tuple(n for n, i in enumerate(letters) if i not in kept)

    def body(xp: Any, x: Any) -> Any:
        return reduced(op, x, axes)

    made = kernel(f"x[{','.join(letters)}] -> {op} y[{','.join(kept)}]")(body)
    return Program(made, (array,), reduced(op, array, axes))


UFUNCS = {
    "sum": "add",
    "prod": "multiply",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
    "xor": "bitwise_xor",
}


def reduced(op: str, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    ufunc = getattr(np, UFUNCS[op])
    start = {"initial": identity(op, x.dtype)} if op in ("max", "min") else {}
    return np.asarray(ufunc.reduce(x, axis=axes, dtype=x.dtype, **start))


@st.composite
def broadcasts(draw: Any) -> Program:
    """Elementwise arithmetic under '...' with NumPy's broadcasting."""
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=5, min_side=0))
    dtype = draw(st.sampled_from(EXACT + INEXACT))
    args = tuple(values(draw, dtype, s) for s in shapes.input_shapes)

    def body(xp: Any, x: Any, y: Any) -> Any:
        return x * x - y

    made = kernel("x[...], y[...] -> z[...]")(body)
    return Program(made, args, np.asarray(args[0] * args[0] - args[1]))


programs = st.one_of(contractions(), reductions(), broadcasts())


def check(got: Any, expected: np.ndarray) -> None:
    got = np.asarray(got)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@given(programs)
@settings(max_examples=400)
def test_local(program: Program) -> None:
    check(program.kernel(*program.args), program.expected)


@given(programs, st.data())
@settings(max_examples=300)
def test_local_under_any_tiling(program: Program, data: Any) -> None:
    made, args = program.kernel, program.args
    plan = made.definition.plan([a.shape for a in args], (), [None])
    if plan.empty:
        return
    cuts = {
        n: data.draw(st.lists(st.integers(0, e), max_size=3)) for n, e in zip(plan.indices, plan.extents, strict=True)
    }
    regions = data.draw(st.permutations(list(grid(plan, cuts))))
    (got,) = run_tiles(made, args, regions=regions)
    check(got, program.expected)


@given(programs)
@settings(max_examples=150)
def test_on_legate(program: Program) -> None:
    with xd.engine("legate"):
        check(program.kernel(*program.args), program.expected)


@given(programs, st.sampled_from([2, 4, 7]))
@settings(max_examples=250)
def test_on_legate_in_tiles(program: Program, factor: int) -> None:
    with forced_tiles(factor), xd.engine("legate"):
        check(program.kernel(*program.args), program.expected)
        xd.synchronize()


@given(st.sampled_from(["max", "min"]), hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(width=32)))
def test_sort_keys_order_as_floats_do(op: str, array: np.ndarray) -> None:
    from xpdispatch.arrays.reductions import from_sort_keys, sort_keys

    keys = sort_keys(op, array)
    total = np.asarray(sort_keys(op, np.asarray(identity(op, array.dtype))))
    for key in keys:
        combine(op, total, key)
    expected = getattr(np, UFUNCS[op]).reduce(array)
    np.testing.assert_array_equal(from_sort_keys(total, array.dtype), expected)
    np.testing.assert_array_equal(from_sort_keys(keys, array.dtype), array)
