"""Kernels beside what people use: cuPyNumeric, DLPack, array-api-extra, SciPy, scikit-learn, dask, pandas."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import xpdispatch as xd
from conftest import Engine, make_engine, run_python
from xpdispatch import kernel
from xpdispatch.testing import check_kernel, check_partitioning, checking

SOURCE = Path(xd.__file__).parent.parent


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a=2.0):
    return a * x + y


# -- cuPyNumeric ---------------------------------------------------------------------------------------------------


def test_cupynumeric_before_between_and_after_copies_nothing(on_legate: Engine) -> None:
    """What one kernel writes lies where cuPyNumeric changes it, and where the next kernel reads it."""
    import cupynumeric as cpn

    wrote: dict[int, int] = {}
    read: dict[int, int] = {}

    @kernel("x[i] -> z[i]", cut=False)
    def first(xp, tile, x, z):
        if tile.total("i") == n:  # and not on the sample
            wrote[tile.start("i")] = z.ctypes.data
        z[...] = x + 1

    @kernel("x[i] -> y[i]", cut=False)
    def second(xp, tile, x):
        if tile.total("i") == n:
            read[tile.start("i")] = x.ctypes.data
        return 2 * x

    n = 1_000_000
    x = cpn.arange(n, dtype=np.float64) * 3
    y = first(x, cpn.empty(n))
    cpn.add(y, 1, out=y)
    z = second(y)
    total = cpn.sum(z - 2 * y)
    assert float(total) == 0.0
    np.testing.assert_array_equal(np.asarray(y), np.arange(n) * 3.0 + 2)
    assert wrote == read
    assert len(read) >= (8 if on_legate.name == "legate-tiles" else 2)


def test_results_on_legate_are_cupynumeric_s_own(on_legate: Engine) -> None:
    import cupynumeric as cpn

    z = saxpy(cpn.ones(4), cpn.ones(4))
    assert type(z) is cpn.ndarray
    assert float(cpn.linalg.norm(z)) == 6.0
    z += 1
    assert saxpy(z[1:3], z.reshape(2, 2)[:, 0]).tolist() == [12.0, 12.0]


# -- DLPack --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torch", "jax", "strict"])
def test_dlpack_in_and_out(name: str) -> None:
    engine = make_engine(name)
    x = np.arange(4.0)
    z = saxpy(engine.put(x), engine.put(x))
    back = np.from_dlpack(z)
    np.testing.assert_array_equal(back, 3 * x)
    np.testing.assert_array_equal(saxpy(back, back), 9 * x)


def test_results_share_by_dlpack() -> None:
    z = saxpy(np.ones(3), np.ones(3))
    shared = np.from_dlpack(z)
    assert np.shares_memory(shared, z)
    out = np.from_dlpack(np.zeros(3), copy=True)
    assert saxpy(shared, shared, out=out) is out
    assert out.tolist() == [9.0] * 3


def test_dlpack_to_and_from_legate(on_legate: Engine) -> None:
    import cupynumeric as cpn
    import legate.core as lg

    x = np.arange(6.0)
    store = lg.from_dlpack(x)
    z = saxpy(store, store)
    xd.synchronize()
    np.testing.assert_array_equal(np.from_dlpack(cpn.asarray(z)), 3 * x)


# -- functions of other packages as bodies ------------------------------------------------------------------------


def test_array_api_extra_in_a_body(engine: Engine) -> None:
    xpx = pytest.importorskip("array_api_extra", reason="pip install array-api-extra")

    @kernel("x[i,:] -> y[i,:]")
    def centered(xp, x):
        x = xpx.atleast_nd(x, ndim=2, xp=xp)
        safe = xpx.apply_where(x != 0, x, lambda v: 1 / v, fill_value=0.0, xp=xp)
        return safe - xp.mean(safe, axis=1, keepdims=True)

    x = np.asarray([[0.0, 1.0, 2.0], [4.0, 0.0, 0.5]] * 3)
    safe = np.divide(1.0, x, out=np.zeros_like(x), where=x != 0)
    np.testing.assert_allclose(engine.get(centered(engine.put(x))), safe - safe.mean(1, keepdims=True))


def test_array_api_extra_is_portable() -> None:
    xpx = pytest.importorskip("array_api_extra", reason="pip install array-api-extra")
    widths = kernel("x[i,:] -> y[i]")(lambda xp, x: xp.max(x, axis=1) - xpx.nunique(x[0, :1], xp=xp))
    with checking(engines=("numpy", "array_api_strict")):
        check_kernel(kernel("x[i] -> y[i]")(lambda xp, x: xpx.sinc(x, xp=xp)), np.linspace(-2, 2, 9))
        assert widths(np.eye(3)).tolist() == [0.0] * 3


def test_scipy_special_in_a_body(engine: Engine) -> None:
    special = pytest.importorskip("scipy.special", reason="pip install 'xpdispatch[fast]'")
    if engine.name in ("strict", "torch", "jax"):
        pytest.skip("scipy wants SCIPY_ARRAY_API=1 before it is imported: the next test")
    normal = kernel("x[i] -> y[i]")(lambda xp, x: 0.5 * (1 + special.erf(x / math.sqrt(2))))
    x = np.linspace(-3, 3, 50)
    np.testing.assert_allclose(engine.get(normal(engine.put(x))), special.ndtr(x), atol=1e-15)


def test_scipy_special_is_portable_with_its_array_api() -> None:
    pytest.importorskip("scipy", reason="pip install 'xpdispatch[fast]'")
    done = run_python(
        "import numpy as np\n"
        "from scipy import special\n"
        "from xpdispatch import kernel\n"
        "from xpdispatch.testing import check_kernel, checking\n"
        "normal = kernel('x[i] -> y[i]')(lambda xp, x: 0.5 * (1 + special.erf(x / 2**0.5)))\n"
        "total = kernel('x[i,:] -> y[i]')(lambda xp, x: special.xlogy(x, x)[:, 0])\n"
        "with checking(engines=('numpy', 'array_api_strict')):\n"
        "    print(check_kernel(normal, np.linspace(-3, 3, 9))[1], check_kernel(total, np.ones((4, 3)))[1])\n",
        SCIPY_ARRAY_API="1",
    )
    assert done.stdout == "<portable: array_api_strict, numpy> <portable: array_api_strict, numpy>\n", done.stderr


def test_scikit_learn_in_a_body(engine: Engine) -> None:
    pairwise = pytest.importorskip("sklearn.metrics.pairwise", reason="pip install scikit-learn")
    if engine.name in ("strict", "torch", "jax"):
        pytest.skip("scikit-learn wants config_context(array_api_dispatch=True), and SCIPY_ARRAY_API=1")
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 3)), rng.random((20, 3))

    @kernel("x[i,:], y[j,:] -> d[i,j]")
    def cosine(xp, x, y):
        return pairwise.cosine_similarity(x, y)

    @kernel("x[i,:], y[j,:] -> d[i,j]")
    def kernel_rbf(xp, x, y, gamma):
        return pairwise.rbf_kernel(x, y, gamma=gamma)

    put = engine.put
    np.testing.assert_allclose(engine.get(cosine(put(x), put(y))), pairwise.cosine_similarity(x, y), rtol=1e-12)
    np.testing.assert_allclose(engine.get(kernel_rbf(put(x), put(y), 0.5)), pairwise.rbf_kernel(x, y, gamma=0.5))
    if engine.name == "numpy":
        check_partitioning(cosine, x, y)


def test_scikit_learn_takes_other_arrays_with_its_array_api() -> None:
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    done = run_python(
        "import numpy as np, sklearn\n"
        "from sklearn.metrics import pairwise\n"
        "from xpdispatch import kernel\n"
        "import array_api_strict as strict\n"
        "sklearn.set_config(array_api_dispatch=True)\n"
        "d = kernel('x[i,:], y[j,:] -> d[i,j]')(lambda xp, x, y: pairwise.cosine_similarity(x, y))\n"
        "x = np.random.default_rng(0).random((6, 3))\n"
        "got = d(strict.asarray(x), strict.asarray(x[:4] + 1))\n"
        "print(type(got) is type(strict.ones(1)), np.allclose(np.from_dlpack(got), d(x, x[:4] + 1)))\n",
        SCIPY_ARRAY_API="1",
    )
    assert done.stdout == "True True\n", done.stderr


# -- what is no array: a pointer to what to do --------------------------------------------------------------------


def refused(value: object) -> str:
    with pytest.raises(TypeError) as caught:
        saxpy(value, np.ones(2))
    return str(caught.value)


def test_dask_sends_kernels_of_a_script_to_its_processes(tmp_path: Path) -> None:
    pytest.importorskip("dask.array", reason="pip install dask")
    script = tmp_path / "script.py"
    script.write_text(
        "import dask, dask.array as da\n"
        "from xpdispatch import kernel\n"
        "@kernel('x[i] -> y[i]')\n"
        "def double(xp, x):\n"
        "    return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    with dask.config.set(scheduler='processes', num_workers=1):\n"
        "        print(da.map_blocks(double, da.arange(4., chunks=2), dtype=float).compute())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout == "[0. 2. 4. 6.]\n", done.stderr


def test_pandas_gets_a_pointer_and_the_pointer_works() -> None:
    pd = pytest.importorskip("pandas", reason="pip install pandas")
    series = pd.Series([1.0, 2.0])
    for value, kind in [
        (series, "Series"),
        (pd.DataFrame({"a": series}), "DataFrame"),
        (series.array, "NumpyExtensionArray"),
    ]:
        assert refused(value) == (
            f"kernel 'saxpy': argument 'x' is a {kind} of pandas, expected an array\n"
            "  x[i], y[i] -> z[i]\n"
            "Hint: pass its values, x.to_numpy()"
        )
    assert saxpy(series.to_numpy(), series.to_numpy()).tolist() == [3.0, 6.0]


def test_sparse_matrices_and_files_get_a_pointer() -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="pip install 'xpdispatch[fast]'")
    assert refused(sparse.csr_array(np.eye(2))).endswith(
        "argument 'x' is a csr_array of scipy, expected an array\n  x[i], y[i] -> z[i]\n"
        "Hint: pass x.toarray(), or x.data, x.indices and x.indptr as operands of their own"
    )
    # Not installed in every environment; the type's module decides.
    for module in ("h5py._hl.dataset", "zarr.core"):
        root = module.split(".")[0]
        dataset = type("Dataset", (), {"__module__": module})()
        assert refused(dataset).endswith(
            f"Dataset of {root}, expected an array\n  x[i], y[i] -> z[i]\nHint: read it first, x[...]"
        )
    assert "is a Series of polars" in refused(type("Series", (), {"__module__": "polars.series"})())


@pytest.mark.parametrize("value", [range(3), memoryview(b"abc"), {1: 2}, "abc"])
def test_other_containers_are_to_be_converted(value: object) -> None:
    assert refused(value).endswith("Hint: convert it first, with numpy.asarray or your library's own asarray")


@pytest.mark.parametrize("value", [None, {1, 2}, iter([1]), ModuleType("m")])
def test_what_is_no_container_either(value: object) -> None:
    assert refused(value).endswith(
        "Hint: pass an array of NumPy, cuPyNumeric, CuPy, torch, JAX or another array-API library"
    )
