"""Bodies as CUDA kernels: what the text means is tried on the CPU, and that it is CUDA by NVIDIA's compiler.

The stand-in for CuPy launches on NumPy arrays; that it runs on a GPU is not shown here.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import array_api_compat.numpy as xnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import elementwise
import test_gpu_control_flow as gpu
import xpdispatch as xd
from elementwise import ElementwiseKernel
from test_gpu_control_flow import OnDevice, Store, Stream, fake_cupy, run_leaf  # noqa: F401  one is a fixture
from xpdispatch import generated, kernel, namespaces
from xpdispatch.engines.legate import failures
from xpdispatch.engines.legate.recipe import make_recipe
from xpdispatch.generated import PREAMBLE, TABLE, NoSource, constants_of, source_of
from xpdispatch.tracing import Namespace, Program, Trace, Untraceable, finished

DTYPES = [np.dtype(name) for name in generated._CTYPES]
NAMES = sorted({name for table in TABLE.values() for name in table})
EITHER_ZERO = {"maximum", "minimum", "fmax", "fmin"}
"""Which of two zeros they take hangs on the instructions in NumPy too."""
ROUNDED = set(generated._OF_C) - {"fabs", "sqrt", "floor", "ceil", "trunc", "rint"} | {"hypot", "arctan2", "power"}


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    ElementwiseKernel.folder = tmp_path_factory.mktemp("kernels")
    ElementwiseKernel.launches = []


def made(program: Program) -> ElementwiseKernel:
    return ElementwiseKernel(*source_of(program), "k", preamble=PREAMBLE, options=("--fmad=false",))


def program_of(body: Callable[..., Any], arrays: list[np.ndarray]) -> Program:
    """What a body does that makes one result or a tuple of some."""
    trace = Trace()
    symbols = [trace.array((0, p), a.shape, a.dtype, buffer=False) for p, a in enumerate(arrays)]
    results = body(Namespace(trace), *symbols)
    return finished(trace, results if isinstance(results, tuple) else (results,))


def answers(program: Program, arrays: list[np.ndarray], launched: ElementwiseKernel | None = None) -> list[np.ndarray]:
    """What the kernel makes of arrays."""
    inputs = [v for v in program.values if hasattr(v, "place")]
    given = [arrays[v.place[1]] if v.key is None else arrays[v.place[1]][v.key] for v in inputs]
    into = [np.empty(program.values[n].shape, program.values[n].dtype) for n in program.results]
    (launched or made(program))(*given, *constants_of(program), *into)
    return into


def nasty(dtype: np.dtype) -> np.ndarray:
    """Values at which something may go wrong, and some others."""
    rng = np.random.default_rng(5)
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        special = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.7, 10.0, 88.0, 1e10, np.inf]
        special += [limits.max, limits.tiny, limits.smallest_subnormal, limits.tiny / 2, limits.eps]
        values = np.array([np.nan, *special, *(-v for v in special), *rng.normal(0, 3, 20)], dtype)
    elif dtype.kind == "b":
        values = np.array([False, True])
    else:
        limits = np.iinfo(dtype)
        near = [limits.min, limits.min + 1, limits.min // 2, 0, 1, 2, 3, 7, 8, 31, 63, limits.max // 2, limits.max - 1]
        some = rng.integers(limits.min, limits.max, 20, dtype=dtype)
        values = np.array([*near, *([-1, -2, -7, -8] if limits.min else []), limits.max, *some], dtype)
    return values


def pairs(dtype: np.dtype, count: int) -> list[np.ndarray]:
    values = nasty(dtype)
    return [values] if count == 1 else [a.ravel().copy() for a in np.meshgrid(values, values)]


def ulps(found: np.ndarray, expected: np.ndarray) -> int:
    """How far apart floats are, in steps from one to the next."""
    kind = np.int32 if found.dtype == np.float32 else np.int64

    def place(x: np.ndarray) -> np.ndarray:
        bits = x.view(kind).astype(object)
        return np.where(bits < 0, np.iinfo(kind).min - bits, bits)

    return int(np.max(np.abs(place(found) - place(expected)), initial=0))


def check(name: str, found: np.ndarray, expected: np.ndarray, given: Any = None) -> None:
    """Bit for bit the same, NaN but for their bits; what NumPy rounds itself to a few steps."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, f"{name} of {given}")
        return
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan, f"{name} of {given}")
    found, expected = found[~nan], expected[~nan]
    if name in EITHER_ZERO:
        np.testing.assert_array_equal(found, expected)
    else:
        assert ulps(found, expected) <= (4 if name in ROUNDED else 0), f"{name} of {given}"


def cases() -> list[tuple[str, np.dtype, Program]]:
    """Every function of the table for every dtype that NumPy computes it in."""
    found = []
    for name, dtype in itertools.product(NAMES, DTYPES):
        ufunc = getattr(np, name)
        try:
            loop = ufunc.resolve_dtypes((*[dtype] * ufunc.nin, None))
        except TypeError:
            continue
        if loop[0] == dtype and name in TABLE[dtype.kind]:
            found.append((name, dtype, program_of(lambda xp, *x, u=ufunc: u(*x), pairs(dtype, ufunc.nin))))
    return found


def conversions() -> list[tuple[str, np.dtype, Program]]:
    """All casts but those that are left out, and choices."""
    found = []
    for dtype, to in itertools.product(DTYPES, DTYPES):
        if dtype.kind == "f" and to.kind in "iu":
            continue
        found.append((f"cast to {to}", dtype, program_of(lambda xp, x, to=to: xp.astype(x, to), pairs(dtype, 1))))
    for dtype in DTYPES:
        found.append(("choice", dtype, program_of(lambda xp, x, y: xp.where(x != y, x, y), pairs(dtype, 2))))
    return found


def test_every_function_of_the_table_does_on_every_dtype_what_numpys_does() -> None:
    all_cases = cases()
    assert {(d.kind, name) for name, d, _ in all_cases} == {(k, name) for k, table in TABLE.items() for name in table}
    kernels = [made(program) for _, _, program in all_cases]
    elementwise.compile_all(kernels)
    for (name, dtype, program), compiled in zip(all_cases, kernels, strict=True):
        arrays = pairs(dtype, getattr(np, name).nin)
        with np.errstate(all="ignore"):
            expected = getattr(np, name)(*arrays)
        check(name, answers(program, arrays, compiled)[0], expected, dtype)


def test_casts_and_choices_are_numpys() -> None:
    all_cases = conversions()
    kernels = [made(program) for _, _, program in all_cases]
    elementwise.compile_all(kernels)
    for (name, dtype, program), compiled in zip(all_cases, kernels, strict=True):
        arrays = pairs(dtype, 2 if name == "choice" else 1)
        with np.errstate(all="ignore"):
            whole = np.where(arrays[0] != arrays[-1], *arrays) if name == "choice" else arrays[0].astype(name[8:])
        check(name, answers(program, arrays, compiled)[0], whole, dtype)


@pytest.mark.parametrize("architecture", ["compute_80", "compute_90"])
def test_all_of_it_is_cuda(architecture: str) -> None:
    library = elementwise.nvrtc()
    if library is None:
        pytest.skip("NVIDIA's runtime compiler (nvidia-cuda-nvrtc) is not installed")
    kernels = [made(program) for _, _, program in [*cases(), *conversions()]]
    elementwise.compile_for_gpus(library, kernels, architecture)


# -- random programs ------------------------------------------------------------------------------------------

EXACT = [
    *("add subtract multiply divide negative positive abs square sqrt sign floor ceil trunc minimum maximum").split(),
    *("equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor logical_not").split(),
    *("bitwise_and bitwise_or bitwise_xor bitwise_invert isnan isinf isfinite signbit copysign remainder").split(),
    *("floor_divide where astype bitwise_left_shift bitwise_right_shift reciprocal clip").split(),
]
NUMBERS = [0, 1, -1, 2, 3, 0.5, -2.5, 1e30, True, np.float32(1.5), np.int8(-7), np.uint16(9), np.float64(0.1)]
Script = list[tuple[str, tuple[Any, ...]]]


def done(xp: Any, script: Script, values: list[Any]) -> list[Any]:
    """What a script makes of arrays; each line calls a function with earlier values or with numbers."""
    values = list(values)
    for name, arguments in script:
        taken = [values[a[0]] if isinstance(a, tuple) else a for a in arguments]
        values.append(getattr(xp, name)(*taken))
    return values


@st.composite
def scripts(draw: Any) -> tuple[Script, list[np.ndarray], int]:
    """A script that NumPy runs, its arrays, and how many of its last values of one shape are results."""
    arrays = []
    for _ in range(draw(st.integers(1, 3))):
        dtype = draw(st.sampled_from(DTYPES))
        shape = draw(st.sampled_from([(), (7,), (5, 7), (5, 1)]))
        cells = np.random.default_rng(draw(st.integers(0, 99))).choice(nasty(dtype), shape)
        arrays.append(np.asarray(cells, dtype))
    script: Script = []
    values: list[Any] = list(arrays)
    for _ in range(draw(st.integers(3, 25))):
        name = draw(st.sampled_from(EXACT))
        known = st.integers(0, len(values) - 1).map(lambda n: (n,))
        either = st.one_of(known, known, st.sampled_from(NUMBERS))
        if name == "astype":
            arguments = (draw(known), draw(st.sampled_from(DTYPES)))
        elif name == "where":
            arguments = (draw(known), draw(known), draw(either))
        elif name == "clip":
            arguments = (draw(known), *sorted(draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))))
        else:
            count = getattr(np, {"abs": "absolute"}.get(name, name)).nin
            arguments = (draw(known), draw(either))[:count]
        try:
            with np.errstate(all="ignore"):
                value = done(xnp, [(name, arguments)], values)[-1]
        except (TypeError, OverflowError, ValueError):
            continue
        if isinstance(value, np.ndarray | np.generic) and value.dtype in DTYPES:
            script.append((name, arguments))
            values.append(value)
    results = 1
    while results < min(3, len(script)) and values[-1 - results].shape == values[-1].shape:
        results += 1
    return script, arrays, results


@given(scripts())
def test_random_programs_give_numpys_bits(drawn: tuple[Script, list[np.ndarray], int]) -> None:
    script, arrays, results = drawn
    try:
        program = program_of(lambda xp, *x: tuple(done(xp, script, list(x))[-results:]), arrays)
        found = answers(program, arrays)
    except (Untraceable, NoSource):
        return
    with np.errstate(all="ignore"):
        expected = done(xnp, script, arrays)[-results:]
    for own, value in zip(found, expected, strict=True):
        value = np.asarray(value)
        np.testing.assert_array_equal(np.isnan(own), np.isnan(value), str(script))
        # Which zero a minimum has may show in what comes after it.
        if any(name in EITHER_ZERO for name, _ in script):
            continue
        check("program", own, value, script)


def test_a_number_is_no_part_of_the_text() -> None:
    x = np.ones(3, np.float32)
    one, other = (program_of(lambda xp, x, a=a: a * x + 0.1, [x]) for a in (2.0, 3.0))
    assert source_of(one) == source_of(other)
    assert [type(c) for c in constants_of(one)] == [np.float32, np.float32]
    assert source_of(one).in_params == "float32 a0, float32 c0, float32 c1"


@pytest.mark.parametrize(
    ("body", "dtype", "why"),
    [
        (lambda xp, x: x + 1j, "float32", "complex"),
        (lambda xp, x: x + 1, "float16", "float16"),
        (lambda xp, x: x + 1, "longdouble", "longdouble|float128"),
        (lambda xp, x: xp.astype(x, xp.int32), "float32", "float32 is cast to int32"),
        (lambda xp, x: x**3, "int64", "power of int64, int64"),
        (lambda xp, x: x + 300, "int8", "300"),
        (lambda xp, x: np.nextafter(x, x), "float64", "nextafter of float64, float64"),
        (lambda xp, x: x < xp.astype(x, xp.uint64), "int64", "less of int64, uint64"),
        (lambda xp, x: tuple([x + k for k in range(150)]), "float32", "more arrays and numbers than a kernel takes"),
    ],
)
def test_what_is_left_out(body: Any, dtype: str, why: str) -> None:
    program = program_of(body, [np.ones(3, dtype)])
    with pytest.raises(NoSource, match=why):
        answers(program, [np.ones(3, dtype)], made(program))
