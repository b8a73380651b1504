"""Kernels on DataArrays of xarray: axes by the names of dimensions, coordinates where they belong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from test_contract import matmul, saxpy
from xpdispatch import kernel

xr = pytest.importorskip("xarray", reason="pip install xarray")
import pandas as pd  # noqa: E402  which xarray needs

rng = np.random.default_rng(20261130)
TIMES, PLACES = pd.date_range("2026-01-01", periods=4), ["a", "b", "c"]


def field(*dims: str, **sizes: int) -> Any:
    """Random numbers with coordinates along each dimension."""
    extents = {"t": 4, "place": 3, "m": 3, "k": 4, "n": 5, "i": 4, "j": 3, **sizes}
    known = {"t": TIMES, "place": PLACES}
    coords = {d: known.get(d, np.arange(extents[d]) * 10) for d in dims}
    return xr.DataArray(rng.random([extents[d] for d in dims]), coords, dims, attrs={"units": "m"})


def equal(got: Any, expected: Any) -> None:
    """The same numbers, dimensions and coordinates; the name is the notation's."""
    assert type(got) is xr.DataArray
    xr.testing.assert_allclose(got, expected)
    assert set(got.coords) == set(expected.coords)
    assert got.dims == expected.dims


# -- by name -----------------------------------------------------------------------------------------------------------


def test_where_all_names_match_the_order_does_not_matter() -> None:
    A, B = field("m", "k"), field("k", "n")
    expected = xr.dot(A, B, dim="k")
    for left in (A, A.T):
        for right in (B, B.T):
            equal(matmul(left, right), expected)
    assert matmul(A, B).name == "C"
    assert "m" in matmul(A.T, B.T).coords and "k" not in matmul(A, B).coords


def test_named_extents_are_names_too_and_other_whole_axes_take_what_is_left() -> None:
    @kernel("x[i,:n] -> y[i], z[:n,i]")
    def both(xp, x):
        return xp.sum(x, axis=1), x.T

    x = field("n", "i")
    y, z = both(x)
    equal(y, x.sum("n"))
    equal(z, x)
    spread = kernel("x[i,:] -> y[i,:]")(lambda xp, x: x - xp.min(x, axis=1, keepdims=True))
    got = spread(field("t", "i"))
    assert got.dims == ("i", "dim_1") and set(got.coords) == {"i"}


def test_windows_and_blocks_by_name() -> None:
    x = field("j", "i", i=6)
    inside = kernel("x[i-1..i+1,j] -> y[i,j]", boundary="edge")(lambda xp, x: x[2:, :] - x[:-2, :])
    turned = x.transpose("i", "j")
    wide = np.pad(turned.data, ((1, 1), (0, 0)), mode="edge")
    equal(inside(x), turned.copy(data=wide[2:] - wide[:-2]))
    shorter = kernel("x[i..i+1,j] -> y[i,j]", boundary="valid")(lambda xp, x: x[1:, :] - x[:-1, :])
    assert set(shorter(x).coords) == {"j"}, "along i there are fewer, which have no coordinates"
    halves = kernel("x[2*i,j], w[i] -> y[i,j]")(lambda xp, x, w: w[:, None] * x[::2, :])
    w = field("i", i=3)
    assert halves(x, w).i.equals(w.i)


def test_a_mix_of_names_is_refused() -> None:
    A, B = field("m", "k"), field("k", "n")
    with pytest.raises(ValueError) as caught:
        matmul(A, B.rename(n="level"))
    assert str(caught.value) == (
        "kernel 'matmul': argument 'B' has dimensions ('k', 'level'): of the notation's names k is there and n is "
        "not; expected all of k, n in any order, or in no operand any\n"
        "  A[m,k], B[k,n] -> sum C[m,n]\n"
        "          ^\n"
        "Hint: rename them, B.rename({'level': 'n'}), or pass B.data with its axes in the notation's order, "
        "B.transpose(...).data"
    )
    with pytest.raises(
        ValueError, match="'B' has dimensions .*: none has a name of the notation's, and those of 'A' have"
    ):
        matmul(A, B.rename(k="x", n="y"))
    with pytest.raises(
        ValueError, match="'A' has dimensions .*: none has a name of the notation's, and those of 'B' have"
    ):
        matmul(A.rename(m="x", k="y"), B)
    with pytest.raises(
        ValueError, match="argument 'x' has dimensions \\('i', 't'\\), expected 1\n(.*\n)+Hint: select along"
    ):
        saxpy(field("i", "t"), field("i"), 1.0)


@pytest.mark.parametrize(("dims", "along"), [(("i", "j"), "i"), (("j", "i"), "i"), (("row", "column"), "row")])
def test_the_second_axis_of_a_name_has_a_dimension_of_its_own(dims: tuple[str, str], along: str) -> None:
    scaled = kernel("A[i,i], x[i] -> y[i]")(lambda xp, A, x: A * x)
    extents = dict.fromkeys((*dims, "other"), 3)
    A, x = field(*dims, **extents), field(along, **extents)
    equal(scaled(A, x), x.copy(data=np.diag(A.data) * x.data))


def test_square_matrices_with_a_named_extent() -> None:
    solve = kernel("A[i,:n,:n], b[i,:n] -> x[i,:n]")(lambda xp, A, b: xp.linalg.solve(A, b[..., None])[..., 0])
    A, b = field("i", "n", "m", n=3), field("i", "n", n=3)
    x = solve(A.transpose("m", "i", "n"), b.T)
    assert x.dims == ("i", "n")
    np.testing.assert_allclose(A.data @ x.data[..., None], b.data[..., None])


# -- by position -------------------------------------------------------------------------------------------------------


def test_where_no_name_matches_axes_go_by_position_and_results_take_the_names() -> None:
    A, B = field("t", "place"), field("place", "n").rename(n="level")
    equal(matmul(A, B), xr.dot(A, B, dim="place"))
    x = field("t")
    equal(saxpy(x, x, 2.0), 3 * x)
    total = kernel("x[i,j] -> sum s[j], sum all[]")(lambda xp, x: (xp.sum(x, axis=0), xp.sum(x)))
    s, everything = total(A)
    equal(s, A.sum("t"))
    equal(everything, A.sum())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("level", "t"), "argument 'B' has dimension 'level' along k, but 'A' has 'place'"),
        (("place", "t"), "result 'C' would have dimensions \\('t', 't'\\), expected different ones"),
    ],
)
def test_one_index_has_one_dimension(names: tuple[str, str], said: str) -> None:
    B = xr.DataArray(rng.random((3, 4)), dims=names)
    with pytest.raises(ValueError, match=f"{said}\n(.*\n)+Hint: "):
        matmul(field("t", "place"), B)


def test_a_square_that_is_turned_is_no_silent_transposition() -> None:
    add = kernel("x[i,j], y[i,j] -> z[i,j]")(lambda xp, x, y: x + y)
    x = xr.DataArray(rng.random((3, 3)), dims=("t", "place"))
    with pytest.raises(ValueError, match="argument 'y' has dimension 'place' along i, but 'x' has 't'"):
        add(x, x.T)
    equal(add(x, x.T.transpose("t", "place")), 2 * x)
    by_name = x.rename(t="i", place="j")
    equal(add(by_name, by_name.T), 2 * by_name)


def test_beside_arrays_of_numpy() -> None:
    x = field("t")
    equal(saxpy(x, np.ones(4), 2.0), 2 * x + 1)
    assert saxpy(np.ones(4), field("i"), 1.0).dims == ("i",)
    outer = kernel("x[i], y[j] -> z[i,j]")(lambda xp, x, y: x[:, None] * y)
    assert outer(x, np.ones(2)).dims == ("t", "j")
    out = np.zeros(4)
    assert kernel("u[i], x[i] -> u[i]")(lambda xp, u, x: u + x)(out, x) is out
    assert saxpy(x, x, 2.0, out=out) is out
    np.testing.assert_array_equal(out, 3 * x.data)


# -- ``...`` -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [("t", "place"), ("place", "t"), ("place",), ("n", "t"), ("n",), ()])
def test_axes_of_an_ellipsis_are_broadcast_by_name(dims: tuple[str, ...]) -> None:
    hypot = kernel("x[...], y[...] -> z[...]")(lambda xp, x, y: xp.sqrt(x * x + y * y))
    x, y = field("t", "place"), field(*dims)
    equal(hypot(x, y), np.sqrt(x * x + y * y))
    equal(hypot(y, x), np.sqrt(y * y + x * x))


def test_an_ellipsis_before_other_axes() -> None:
    last = kernel("x[..., i], w[i] -> sum s[...]")(lambda xp, x, w: xp.sum(x * w, axis=-1))
    x, w = field("i", "t", "place"), field("i")
    equal(last(x, w), xr.dot(x, w, dim="i"))
    rows = kernel("x[..., :] -> y[...], z[..., :]")(lambda xp, x: (xp.max(x, axis=-1), x))
    y, z = rows(field("t", "place"))
    assert (y.dims, z.dims) == (("t",), ("t", "dim_1"))
    with pytest.raises(ValueError, match="argument 'y' has extent 1 along 't', but 'x' has 4"):
        kernel("x[...], y[...] -> z[...]")(lambda xp, x, y: x + y)(field("t"), field("t")[:1].drop_vars("t"))


# -- coordinates, names, attributes ----------------------------------------------------------------------------------


def test_coordinates_that_differ_are_refused() -> None:
    x = field("t")
    later = x.assign_coords(t=TIMES + pd.Timedelta("1D"))
    with pytest.raises(ValueError) as caught:
        saxpy(x, later, 1.0)
    assert str(caught.value) == (
        "kernel 'saxpy': argument 'y' has other coordinates along 't' than 'x'\n"
        "  x[i], y[i] -> z[i]\n"
        "        ^\n"
        "Hint: align them first, xarray.align(x, y, join=...), or drop one's, y.drop_vars('t')"
    )
    equal(saxpy(x, later.drop_vars("t"), 1.0), 2 * x)
    A, B = field("m", "k"), field("k", "n")
    with pytest.raises(ValueError, match="argument 'B' has other coordinates along 'k' than 'A'"):
        matmul(A, B.assign_coords(k=[4, 5, 6, 7]))


def test_other_coordinates_come_along_unless_they_contradict_each_other() -> None:
    x = field("t").assign_coords(season=("t", list("wwss")), height=2.0)
    equal(saxpy(x, x, 1.0), 2 * x)
    z = saxpy(x, x.assign_coords(height=3.0), 1.0)
    assert set(z.coords) == {"t", "season"}
    levels = pd.MultiIndex.from_product([[1, 2], ["u", "v"]], names=["run", "kind"])
    stacked = x.drop_vars(["t", "season"]).assign_coords(xr.Coordinates.from_pandas_multiindex(levels, "t"))
    equal(saxpy(stacked, stacked, 1.0), 2 * stacked)
    assert set(kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(x))(stacked).coords) == {"height"}


def test_attributes_stay_where_xarray_is_told_to_keep_them() -> None:
    x = field("t")
    assert saxpy(x, x, 1.0).attrs == {}
    with xr.set_options(keep_attrs=True):
        assert saxpy(x, x, 1.0).attrs == {"units": "m"}


def test_results_of_several_names_make_a_dataset() -> None:
    split = kernel("x[i] -> whole[i], part[i]")(lambda xp, x: (xp.floor(x), x - xp.floor(x)))
    made = xr.merge(split(10 * field("t")))
    assert set(made.data_vars) == {"whole", "part"}
    one = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    dataset = xr.Dataset({"a": field("t"), "b": field("t")})
    xr.testing.assert_allclose(dataset.map(one), 2 * dataset)
    equal(xr.apply_ufunc(one, dataset.a), 2 * dataset.a)


# -- what is in them, and what is refused -----------------------------------------------------------------------------


def test_dask_arrays_in_them_stay_lazy() -> None:
    da = pytest.importorskip("dask.array", reason="pip install 'dask[array]'")
    A, B = field("m", "k"), field("k", "n")
    lazy = matmul(A.chunk(m=2, k=3).T, B)
    assert type(lazy.data) is da.Array
    equal(lazy.compute(), xr.dot(A, B, dim="k"))
    some, x = kernel("x[i] -> y[?]")(lambda xp, x: x[x > 0.5]), field("t")
    assert some(x).dims == ("dim_0",)
    with pytest.raises(NotImplementedError, match="the extent of result 'y' is not known before dask computes it"):
        some(x.chunk(t=3))


def test_arrays_of_cupynumeric_in_them() -> None:
    import cupynumeric as cpn

    z = saxpy(field("t"), xr.DataArray(cpn.arange(4.0), dims="t"), 0.0)
    assert type(z.data) is cpn.ndarray
    assert z.dims == ("t",)
    np.testing.assert_array_equal(xd.to_numpy(z.data), np.arange(4.0))


def test_each_call_looks_at_the_dimensions_anew() -> None:
    """Calls that are alike in types, dtypes and shapes share what was prepared."""
    A = xr.DataArray(rng.random((3, 3)), dims=("m", "k"))
    B = xr.DataArray(rng.random((3, 3)), dims=("k", "n"))
    for _ in range(2):
        for left in (A, A.T):
            np.testing.assert_allclose(matmul(left, B).data, A.data @ B.data)
    with pytest.raises(ValueError, match="of the notation's names"):
        matmul(A, B.rename(n="other"))


def test_what_is_written_and_what_is_no_data_array() -> None:
    x = field("t")
    with pytest.raises(
        TypeError, match="result 'z' is to be written, and got a DataArray\n.*\nHint: pass its array, z.data"
    ):
        saxpy(x, x, 1.0, out=x)
    with pytest.raises(TypeError, match="result 'u' is read and written in place, and got a DataArray"):
        kernel("u[i] -> u[i]")(lambda xp, u: u + 1)(x)
    with pytest.raises(
        TypeError, match="is a Dataset of xarray, expected an array\n.*\nHint: pass a DataArray: ds\\['name'\\]"
    ):
        saxpy(x.to_dataset(name="a"), x, 1.0)
    with pytest.raises(TypeError, match="argument 'a' is an array, but the notation does not name it"):
        saxpy(x, x, x)
    with pytest.raises(TypeError, match="expected a NumPy array\n.*\nHint: checks run on NumPy"):
        xd.testing.check_partitioning(saxpy, x, x, 1.0)


def test_explain_goes_by_name_too() -> None:
    told = matmul.explain(field("k", "m"), field("n", "k"))
    assert [told.arrays[name].shape for name in "ABC"] == [(3, 4), (4, 5), (3, 5)]
    assert type(xd.to_numpy(saxpy(field("t"), field("t"), 1.0))) is np.ndarray
