"""Bodies as CUDA kernels: what the text means is tried on the CPU, and that it is CUDA by NVIDIA's compiler.

The stand-in for CuPy launches on NumPy arrays; that it runs on a GPU is not shown here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import array_api_compat.numpy as xnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import elementwise
import test_gpu_control_flow as gpu
import xpdispatch as xd
from elementwise import ElementwiseKernel
from test_gpu_control_flow import OnDevice, Store, Stream, fake_cupy, run_leaf  # noqa: F401  one is a fixture
from xpdispatch import kernel
from xpdispatch.arrays import namespaces
from xpdispatch.legate import fences
from xpdispatch.legate.alignment import make_recipe
from xpdispatch.running import cuda, generated
from xpdispatch.running.cuda import CTYPES, PREAMBLE, TABLE, NoSource
from xpdispatch.running.generated import constants_of, source_of
from xpdispatch.running.tracing import Namespace, Program, Trace, Untraceable, finished

DTYPES = [np.dtype(name) for name in CTYPES]
NAMES = sorted({name for table in TABLE.values() for name in table})
EITHER_ZERO = {"maximum", "minimum", "fmax", "fmin"}
"""Which of two zeros they take hangs on the instructions in NumPy too."""
ROUNDED = set(cuda._OF_C) - {"fabs", "sqrt", "floor", "ceil", "trunc", "rint"} | {"hypot", "arctan2", "power"}


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
    return finished(trace, results if type(results) is tuple else (results,))


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
    choices = [(d, program_of(lambda xp, x, y: xp.where(x != y, x, y), pairs(d, 2))) for d in DTYPES]
    return found + [("choice", dtype, program) for dtype, program in choices]


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


@pytest.fixture(scope="module")
def nvrtc() -> Any:
    library = elementwise.nvrtc()
    if library is None:
        pytest.skip("NVIDIA's runtime compiler (nvidia-cuda-nvrtc) is not installed")
    return library


def test_all_of_it_is_cuda(nvrtc: Any) -> None:
    kernels = [made(program) for _, _, program in [*cases(), *conversions()]]
    elementwise.compile_for_gpus(nvrtc, kernels, "compute_80")


def test_a_gpu_rounds_each_step_as_numpy_does(nvrtc: Any) -> None:
    """No product is fused with a sum, and nothing is approximated or flushed to zero."""
    for dtype in (np.float32, np.float64):
        arrays = [np.ones(3, dtype)] * 3
        program = program_of(lambda xp, x, y, z: xp.sqrt(xp.abs(x * y + z)) / (x - y * z), arrays)
        code = elementwise.compile_for_gpus(nvrtc, [made(program)], "compute_80")
        for instruction in ("mul.rn", "add.rn", "sub.rn", "div.rn", "sqrt.rn"):
            assert f"{instruction}.f{8 * np.dtype(dtype).itemsize}" in code
        assert not [word for word in ("fma.rn", "approx", "ftz", "div.full") if word in code]


# -- random programs ------------------------------------------------------------------------------------------

EXACT = [name for name in NAMES if name not in ROUNDED | EITHER_ZERO] + ["where", "clip", "astype"]
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
    for _ in range(draw(st.integers(5, 25))):
        name, dtype = draw(st.sampled_from(EXACT)), draw(st.sampled_from(DTYPES))
        taken = {"where": "b", "clip": "if", "astype": "biuf" if dtype.kind in "bf" else "biu"}.get(name, "biuf")
        known = [(n,) for n in range(len(values))]
        fitting = [(n,) for (n,) in known if values[n].dtype.kind in taken]
        if not fitting:
            continue
        first, second = draw(st.sampled_from(fitting)), draw(st.sampled_from([*known, *known, *NUMBERS]))
        if name == "astype":
            arguments: tuple[Any, ...] = (first, dtype)
        elif name == "where":
            arguments = (first, draw(st.sampled_from(known)), second)
        elif name == "clip":
            arguments = (first, draw(st.integers(-5, 0)), draw(st.integers(1, 5)))
        else:
            arguments = (first, second)[: getattr(np, name).nin]
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


@settings(max_examples=40)
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
        check("program", own, np.asarray(value), script)


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
        (lambda xp, x: x < 300, "int8", "300"),
        (lambda xp, x: np.nextafter(x, x), "float64", "nextafter of float64, float64"),
        (lambda xp, x: x < xp.astype(x, xp.uint64), "int64", "less of int64, uint64"),
        (lambda xp, x: tuple([x + k for k in range(150)]), "float32", "more arrays and numbers than a kernel takes"),
    ],
)
def test_what_is_left_out(body: Any, dtype: str, why: str) -> None:
    program = program_of(body, [np.ones(3, dtype)])
    with pytest.raises(NoSource, match=why):
        answers(program, [np.ones(3, dtype)], made(program))


# -- control flow ---------------------------------------------------------------------------------------------


class OnGpu:
    """The namespace of CuPy's arrays; what makes arrays makes them on the device."""

    def __getattr__(self, name: str) -> Any:
        return getattr(xnp, name)

    def asarray(self, value: Any, *, copy: bool = False, **options: Any) -> Any:
        options.pop("device", None)
        if isinstance(value, OnDevice):
            return value + np.zeros((), value.dtype) if copy else value
        return xnp.asarray(value, **options).view(OnDevice)

    def empty(self, *args: Any, device: Any = None, **options: Any) -> Any:
        return np.empty(*args, **options).view(OnDevice)


@pytest.fixture
def cupy(fake_cupy: Any, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: F811  the fixture
    """The stand-in for CuPy, whose arrays are given in this process too, with kernels that are compiled."""
    monkeypatch.setitem(namespaces._DEFAULTS, "GPU", OnGpu())
    xd.register_namespace("GPU", namespaces._DEFAULTS["GPU"])  # type: ignore[arg-type]
    known = namespaces._library_of_type
    monkeypatch.setattr(
        namespaces, "_library_of_type", lambda kind: "cupy" if issubclass(kind, OnDevice) else known(kind)
    )
    pointer = property(lambda array: type("Pointer", (), {"ptr": array.ctypes.data}))
    monkeypatch.setattr(OnDevice, "data", pointer, raising=False)
    monkeypatch.setattr(generated, "SMALLEST", 0)
    monkeypatch.setattr(generated, "_kernels", {})
    monkeypatch.setattr(ElementwiseKernel, "launches", [])
    fake_cupy.ElementwiseKernel = OnStream
    return fake_cupy


class OnStream(ElementwiseKernel):
    def __call__(self, *args: Any) -> None:
        gpu.in_order()
        super().__call__(*args)


def launches() -> int:
    """How often a kernel was launched since this was last asked."""
    count = len(ElementwiseKernel.launches)
    ElementwiseKernel.launches.clear()
    return count


def launched_into(count: int) -> list[int]:
    """Where the results of the last launch went."""
    return [a.ctypes.data for a in ElementwiseKernel.launches[-1][-count:]]


def call(made: xd.Kernel, *args: Any, **options: Any) -> Any:
    """A call in this process on arrays of the device."""
    with Stream(gpu.TASK_STREAM):
        given = [a.view(OnDevice) if isinstance(a, np.ndarray) else a for a in args]
        found = made(*given, **options)
    results = found if isinstance(found, tuple) else (found,)
    assert all(isinstance(r, OnDevice) for r in results)
    plain = tuple(r.view(np.ndarray) for r in results)
    return plain if isinstance(found, tuple) else plain[0]


def saxpy_body(xp: Any, x: Any, y: Any, a: Any) -> Any:
    return a * x + y


X, Y = np.linspace(-1, 1, 7, dtype=np.float32), np.linspace(3, 4, 7, dtype=np.float32)


def test_a_call_on_cupy_arrays_is_one_launch(cupy: Any) -> None:
    saxpy = kernel("x[i], y[i] -> z[i]")(saxpy_body)
    for a in (2.0, 0.1, 3):
        np.testing.assert_array_equal(call(saxpy, X, Y, a), a * X + Y)
        assert launches() == 1
    np.testing.assert_array_equal(call(saxpy, X[::-2], Y[::2], 0.1), np.float32(0.1) * X[::-2] + Y[::2])
    assert len(generated._kernels) == 1


def test_a_call_writes_where_it_is_told(cupy: Any) -> None:
    saxpy = kernel("x[i], y[i] -> z[i]")(saxpy_body)
    z = np.zeros(14, np.float32)
    assert np.shares_memory(call(saxpy, X, Y, 0.1, out=z[::2].view(OnDevice)), z)
    np.testing.assert_array_equal(z[::2], np.float32(0.1) * X + Y)
    assert not np.any(z[1::2])
    wide = np.zeros(7)
    call(saxpy, X, Y, 0.1, out=wide.view(OnDevice))
    np.testing.assert_array_equal(wide, np.float32(0.1) * X + Y)
    assert launches() == 2
    with pytest.raises(TypeError):
        call(saxpy, X, Y, 0.1, out=np.zeros(7, np.int32).view(OnDevice))
    assert launches() == 0


@pytest.mark.parametrize("place", [slice(0, 7), slice(1, 8), slice(2, 9), slice(None, None, -1)])
def test_operands_that_overlap_the_target(cupy: Any, place: slice) -> None:
    """Whether the target begins at the operand, after it or before it, or goes through it backwards."""
    memory = np.arange(9.0)
    x = memory[1:8] if place.step is None else memory
    y, target = np.ones(len(x)), memory[place]
    expected = 2 * x + y
    saxpy = kernel("x[i], y[i] -> z[i]")(saxpy_body)
    call(saxpy, x, y, 2.0, out=target.view(OnDevice))
    np.testing.assert_array_equal(target, expected)
    assert (launched_into(1) == [target.ctypes.data]) == (place == slice(1, 8)), "a copy only where it must be"
    assert launches() == 1


def test_an_operand_that_is_spread_over_the_target_that_it_is_in(cupy: Any) -> None:
    table = np.arange(12.0).reshape(3, 4)
    expected = table - table[1]
    less = kernel("t[m,j], row[j] -> d[m,j]")(lambda xp, t, row: t - row)
    call(less, table, table[1], out=table.view(OnDevice))
    np.testing.assert_array_equal(table, expected)
    assert launches() == 1


def test_several_results_and_one_of_them_an_operand(cupy: Any) -> None:
    both = kernel("x[i], y[i] -> s[i], d[i], x2[i]", dtype=(None, "float64", None))(
        lambda xp, x, y: (x + y, x - y, x),
    )
    s, d, same = call(both, X, Y)
    np.testing.assert_array_equal(s, X + Y)
    np.testing.assert_array_equal(d, (X - Y).astype(float))
    np.testing.assert_array_equal(same, X)
    assert not np.shares_memory(same, X)
    assert launches() == 1
    x, y, d = X.copy(), Y.copy(), np.empty(7)
    call(both, x, y, out=(y.view(OnDevice), d.view(OnDevice), x.view(OnDevice)))
    for found, expected in ((y, X + Y), (d, X - Y), (x, X)):
        np.testing.assert_array_equal(found, expected)


def test_results_of_several_shapes_are_left_to_the_body(cupy: Any) -> None:
    made = kernel("x[i,:], y[i] -> z[i,:], w[i]")(lambda xp, x, y: (x + y[:, None], 2 * y))
    x, y = np.arange(6.0).reshape(2, 3), np.arange(2.0)
    z, w = call(made, x, y)
    np.testing.assert_array_equal(z, x + y[:, None])
    np.testing.assert_array_equal(w, 2 * y)
    assert launches() == 0


def test_broadcasting_numbers_as_operands_and_nothing_but_one_cell(cupy: Any) -> None:
    made = kernel("x[...], y[...] -> z[...]")(lambda xp, x, y: xp.where(x > y, x, y * y))
    x, y = np.arange(6.0).reshape(2, 1, 3), np.arange(4.0).reshape(4, 1)
    np.testing.assert_array_equal(call(made, x, y), np.where(x > y, x, y * y))
    np.testing.assert_array_equal(call(made, x, 2), np.where(x > 2, x, 4))
    np.testing.assert_array_equal(call(made, x, np.array(2)), np.where(x > 2, x, 4))
    found = call(made, np.array(3.0), np.array(2.0))
    assert (found.shape, float(found)) == ((), 3.0)
    assert launches() == 4


def test_halos_and_dtypes(cupy: Any) -> None:
    made = kernel("u[i-1..i+1] -> v[i]", boundary="valid", dtype="float64")(lambda xp, u: u[2:] - u[:-2])
    np.testing.assert_array_equal(call(made, X), (X[2:] - X[:-2]).astype(float))
    assert launches() == 1


def test_a_body_that_writes(cupy: Any) -> None:
    @kernel("x[i], y[i] -> y[i]")
    def add(xp, x, y):
        y[...] = x * 0.5 + y

    y = Y.copy()
    call(add, X, y)
    np.testing.assert_array_equal(y, X * np.float32(0.5) + Y)
    assert launched_into(1) == [y.ctypes.data]
    assert launches() == 1
    y = np.arange(8.0)
    call(add, y[:-1], y[1:])
    np.testing.assert_array_equal(y, np.arange(8.0) + np.r_[0, np.arange(7) * 0.5])


def test_results_that_are_operands_of_each_other(cupy: Any) -> None:
    u, v = np.arange(5.0), np.arange(5.0) + 10
    call(kernel("u[i], v[i] -> u[i], v[i]")(lambda xp, u, v: (v, u)), u, v)
    np.testing.assert_array_equal(u, np.arange(5.0) + 10)
    np.testing.assert_array_equal(v, np.arange(5.0))
    assert launches() == 1


def test_no_launch_without_a_cell(cupy: Any) -> None:
    saxpy = kernel("x[i,:], y[i,:] -> z[i,:]")(saxpy_body)
    for shape in ((0, 3), (3, 0)):
        assert call(saxpy, np.zeros(shape), np.zeros(shape), 2.0).shape == shape
    assert launches() == 0


@pytest.mark.parametrize(
    "body",
    [
        lambda xp, x: x - xp.sum(x),
        lambda xp, x: xp.nextafter(x, x),
        lambda xp, x: xp.asarray([1.0] * 7, dtype=xp.float32).view(OnDevice) * x,
    ],
)
def test_what_is_no_arithmetic_on_cells_runs_as_it_is(cupy: Any, body: Any) -> None:
    runs = []
    made = kernel("x[i] -> y[i]")(lambda xp, x: runs.append(x) or body(xp, x))
    with Stream(gpu.TASK_STREAM):
        expected = body(xnp, X.view(OnDevice)).view(np.ndarray)
    for _ in range(2):
        np.testing.assert_array_equal(call(made, X), expected)
    assert launches() == 0
    assert len(runs) == 3, "it is tried once"


def test_what_stands_against_it(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    call(kernel("x[i], y[i] -> z[i]", fuse=False)(saxpy_body), X, Y, 2.0)
    own = kernel("x[i], y[i] -> z[i]")(saxpy_body)
    own.gpu_variant(saxpy_body)
    call(own, X, Y, 2.0)
    xd.register_namespace("GPU", OnGpu())  # type: ignore[arg-type]
    call(kernel("x[i], y[i] -> z[i]")(saxpy_body), X, Y, 2.0)
    xd.register_namespace("GPU", namespaces._DEFAULTS["GPU"])  # type: ignore[arg-type]
    monkeypatch.setattr(generated, "SMALLEST", 1000)
    call(kernel("x[i], y[i] -> z[i]")(saxpy_body), X, Y, 2.0)
    assert launches() == 0


def test_what_a_body_reads_elsewhere_is_read_at_every_call(cupy: Any) -> None:
    scale = [1.0]
    made = kernel("x[i] -> y[i]")(lambda xp, x: x * scale[0])
    for scale[0] in (1.0, 2.0):
        np.testing.assert_array_equal(call(made, X), X * np.float32(scale[0]))
    assert launches() == 2


def test_a_body_that_is_new_in_every_call_is_not_compiled_for_ever(cupy: Any) -> None:
    def powers(xp: Any, x: Any, n: Any) -> Any:
        y = x
        for _ in range(n):
            y = y * x
        return y

    made = kernel("x[i] -> y[i]")(powers)
    for n in range(1, 12):
        np.testing.assert_array_equal(call(made, X, n), powers(np, X, n))
    assert launches() == len(generated._kernels) == 8


def test_a_kernel_that_cannot_be_compiled_leaves_it_to_the_body(cupy: Any) -> None:
    def fails(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no compiler")

    cupy.ElementwiseKernel = fails
    saxpy = kernel("x[i], y[i] -> z[i]")(saxpy_body)
    np.testing.assert_array_equal(call(saxpy, X, Y, 2.0), 2 * X + Y)


def test_a_body_that_fails_says_so_itself(cupy: Any) -> None:
    made = kernel("x[i] -> y[i]")(lambda xp, x: x / len(None))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="NoneType"):
        call(made, X)

    def grows(xp: Any, x: Any, y: Any) -> Any:
        total = y + 1
        total += x
        return total * x

    with pytest.raises(ValueError, match="output operand"):
        call(kernel("x[i,:], y[i,:] -> z[i,:]")(grows), np.ones((2, 3)), np.ones((2, 1)))
    with pytest.raises(ValueError, match="expected .7,. on this tile"):
        call(kernel("x[i] -> y[i]")(lambda xp, x: x[1:] * 2), X)
    assert launches() == 0


def test_a_gpu_task_is_one_launch_on_its_stream(cupy: Any) -> None:
    made = kernel("x[i], y[i] -> z[i], w[i]", dtype=(None, "float32"))(lambda xp, x, y, a: (a * x + y, x - y))
    plan = made.definition.plan([(20,), (20,)], (0.1,), [None, None])
    recipe = make_recipe(plan, [False] * 4, 6, one_piece=False)
    x, y, z, w = np.arange(5.0), np.ones(5), np.zeros(5), np.zeros(5, np.float32)
    kinds = np.dtype(float), np.dtype(np.float32)
    inputs, outputs = [Store(x, (10,)), Store(y, (10,))], [Store(z, (10,)), Store(w, (10,))]
    for _ in range(2):
        run_leaf(made, "GPU", inputs, outputs, [], plan=plan, recipe=recipe, dtypes=kinds, scalars=(0.1,))
    fences.synchronize()
    np.testing.assert_array_equal(z, 0.1 * x + y)
    np.testing.assert_array_equal(w, (x - y).astype(np.float32))
    assert launched_into(2) == [z.ctypes.data, w.ctypes.data]
    assert launches() == 2
    assert len(generated._kernels) == 1


def test_a_gpu_task_with_an_operator_or_a_tile_runs_its_body(cupy: Any) -> None:
    made = kernel("x[i] -> sum s[]", dtype="x")(lambda xp, x: xp.sum(x * x))
    plan = made.definition.plan([(5,)], (), [None])
    recipe = make_recipe(plan, [False] * 2, 6, one_piece=False)
    total = np.zeros(())
    call = {"plan": plan, "recipe": recipe, "dtypes": (np.dtype(float),), "scalars": ()}
    run_leaf(made, "GPU", [Store(np.arange(5.0))], [], [Store(total)], **call)
    fences.synchronize()
    assert total == 30
    assert launches() == 0
