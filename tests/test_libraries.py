"""Kernels on torch and JAX: under their transformations, with gradients, in bfloat16, and over no element."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import xpdispatch as xd
from conftest import make_engine, run_python
from xpdispatch import kernel

X = np.asarray([3.0, -1.0, 2.0, 0.5, 4.0, -2.5], np.float32)
Y = X[::-1] + 1

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")  # torch's own, under jvp


# -- kernels, each beside the same in a library's own functions ---------------------------------------------------


class Case(NamedTuple):
    """A kernel of one 1-D operand, and what it is in plain functions of NumPy's namespace, torch's or JAX's."""

    name: str
    kernel: Callable[..., Any]
    plain: Callable[..., Any]
    extent: int = 6


def laplacian(mode: Any, low: Any, high: Any) -> Case:
    """`low` and `high` make what stands outside, of the operand."""

    @kernel("u[i-1..i+1] -> v[i]", boundary=mode)
    def second(xp, u):
        return u[2:] * u[1:-1] - 2 * u[1:-1] + u[:-2]

    def plain(xp: Any, u: Any) -> Any:
        def end(value: Any) -> Any:
            return xp.reshape(value if not isinstance(value, float) else u[:1] * 0 + value, (1,))

        padded = xp.concat([end(low(u)), u, end(high(u))])
        return padded[2:] * padded[1:-1] - 2 * padded[1:-1] + padded[:-2]

    return Case(f"halo {mode}", second, plain)


@kernel("u[i-1..i+1] -> v[i]", boundary="valid")
def between(xp, u):
    return u[2:] * u[:-2]


@kernel("x[i] -> y[i]")
def same(xp, x):
    return x


@kernel("x[i] -> y[i], z[i]")
def twice(xp, x):
    return x, x


@kernel("x[i] -> sum s[], max m[]")
def total(xp, x):
    return xp.sum(x * x), xp.max(x)


def log_add(xp: Any, a: Any, b: Any) -> Any:
    m = xp.maximum(a, b)
    return m + xp.log(xp.exp(a - m) + xp.exp(b - m))


@kernel("x[i] -> fold l[]", fold=log_add)
def log_sum(xp, x):
    m = xp.max(x)
    return m + xp.log(xp.sum(xp.exp(x - m)))


@kernel("x[i] -> z[i]", dtype="x")
def into(xp, x, z):
    return x * x


@kernel("x[i] -> sum s[]", dtype="x")
def into_sum(xp, x, s):
    return s + xp.sum(x * x)


@kernel("x[i], a[] -> y[i]")
def scaled(xp, x, a):
    return a * x * x


@kernel("x[i] -> y[i]")
def placed(xp, tile, x):
    return x * xp.astype(tile.coords("i"), x.dtype)


@kernel("x[...] -> sum s[]")
def outer(xp, x):
    return xp.sum(scaled(x, 2.0))


CASES = [
    laplacian("edge", lambda u: u[0], lambda u: u[-1]),
    laplacian("wrap", lambda u: u[-1], lambda u: u[0]),
    laplacian("reflect", lambda u: u[1], lambda u: u[-2]),
    laplacian("symmetric", lambda u: u[0], lambda u: u[-1]),
    laplacian(1.5, lambda u: 1.5, lambda u: 1.5),
    laplacian(np.True_, lambda u: 1.0, lambda u: 1.0),
    Case("halo valid", between, lambda xp, u: u[2:] * u[:-2]),
    Case("view", same, lambda xp, x: x + 0),
    Case("two views", twice, lambda xp, x: (x + 0, x + 0)),
    Case("reductions", total, lambda xp, x: (xp.sum(x * x), xp.max(x))),
    Case("fold", log_sum, lambda xp, x: xp.log(xp.sum(xp.exp(x)))),
    Case("buffer left out", into, lambda xp, x: x * x),
    Case("buffer under sum", into_sum, lambda xp, x: xp.sum(x * x)),
    Case("number", lambda x: scaled(x, 2.0), lambda xp, x: 2 * x * x),
    Case("tile", placed, lambda xp, x: x * xp.arange(6)),
    Case("kernel in a kernel", outer, lambda xp, x: xp.sum(2 * x * x)),
]
CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@kernel("A[m,k], B[k,n] -> sum C[m,n]")
def matmul(xp, A, B):
    return A @ B


def leaves(got: Any) -> tuple[Any, ...]:
    return got if isinstance(got, tuple) else (got,)


def assert_equal(got: Any, expected: Any) -> None:
    for g, e in zip(leaves(got), leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(g), np.asarray(e), rtol=1e-5, atol=1e-5)
        assert g.dtype == e.dtype


# -- JAX -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def jax() -> Any:
    make_engine("jax")
    import jax

    return jax


def energy(jax: Any, function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: sum(jax.numpy.sum(jax.numpy.cos(v)) for v in leaves(function(x)))


JAX: dict[str, Callable[[Any, Callable[[Any], Any]], Callable[[Any], Any]]] = {
    "jit": lambda jax, f: jax.jit(f),
    "grad": lambda jax, f: jax.grad(energy(jax, f)),
    "jit of grad": lambda jax, f: jax.jit(jax.grad(energy(jax, f))),
    "vmap": lambda jax, f: lambda x: jax.vmap(f)(jax.numpy.stack([x, 2 * x])),
    "scan": lambda jax, f: lambda x: jax.lax.scan(lambda c, row: (c, f(row)), 0, jax.numpy.stack([x, 2 * x]))[1],
    "jvp": lambda jax, f: lambda x: jax.jvp(f, (x,), (2 * x,))[1],
    "jacfwd": lambda jax, f: jax.jacfwd(f),
    "checkpoint": lambda jax, f: jax.grad(energy(jax, jax.checkpoint(f))),
    "while": lambda jax, f: lambda x: jax.lax.cond(x[0] > 0, f, f, x),
}


@CASE
@pytest.mark.parametrize("name", JAX)
def test_jax_transformations(jax: Any, case: Case, name: str) -> None:
    x = jax.numpy.asarray(X)
    transformed = JAX[name]
    with jax.check_tracer_leaks():
        got = transformed(jax, case.kernel)(x)
    assert_equal(got, transformed(jax, lambda v: case.plain(jax.numpy, v))(x))


@CASE
def test_jax_eval_shape(jax: Any, case: Case) -> None:
    x = jax.ShapeDtypeStruct((6,), np.float32)
    wanted = jax.eval_shape(lambda v: case.plain(jax.numpy, v), x)
    assert jax.eval_shape(case.kernel, x) == wanted
    lowered = jax.jit(case.kernel).lower(x)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), lowered.out_info) == jax.tree.map(
        lambda a: (a.shape, a.dtype), wanted
    )


def test_jax_batches_of_some_operands(jax: Any) -> None:
    A = jax.numpy.ones((3, 4))
    B = jax.numpy.arange(40.0).reshape(2, 4, 5)
    assert_equal(jax.vmap(matmul, in_axes=(None, 0))(A, B), A @ B)


def test_jax_over_no_element_under_jit(jax: Any) -> None:
    x = jax.numpy.asarray(X)[:0]
    assert jax.jit(same)(x).shape == (0,)
    assert jax.jit(into_sum)(x) == 0
    assert jax.grad(into_sum)(x).shape == (0,)
    assert jax.vmap(scaled, in_axes=(0, None))(x[None], 2.0).shape == (1, 0)


def test_jax_shard_map_and_sharded_arrays(jax: Any) -> None:
    done = run_python(
        "import jax, numpy as np\n"
        "from jax import numpy as jnp\n"
        "from jax.sharding import Mesh, NamedSharding, PartitionSpec as P\n"
        "from xpdispatch import kernel\n"
        "mesh = Mesh(np.asarray(jax.devices()), ('d',))\n"
        "two = kernel('x[i], a[] -> y[i]')(lambda xp, x, a: a * x)\n"
        "sums = kernel('x[i] -> sum s[]')(lambda xp, x: xp.sum(x))\n"
        "laps = {b: kernel('u[i-1..i+1] -> v[i]', boundary=b)(lambda xp, u: u[2:] - 2 * u[1:-1] + u[:-2])\n"
        "        for b in ('edge', 'wrap', 1.5)}\n"
        "x = jnp.asarray(np.random.default_rng(0).random(8))\n"
        "half = NamedSharding(mesh, P('d'))\n"
        "sharded = jax.device_put(x, half)\n"
        "def mapped(f, out=P('d')):\n"
        "    return jax.jit(jax.shard_map(f, mesh=mesh, in_specs=P('d'), out_specs=out))\n"
        "assert np.allclose(mapped(lambda v: two(v, 2.0))(sharded), 2 * x)\n"
        "assert np.allclose(mapped(lambda v: jax.lax.psum(sums(v), 'd'), P())(sharded), x.sum())\n"
        "for b, lap in laps.items():\n"
        "    wanted = np.concatenate([lap(x[:4]), lap(x[4:])])\n"
        "    assert np.allclose(mapped(lap)(sharded), wanted), b\n"
        "    for f in (lap, jax.jit(lap)):\n"
        "        assert np.allclose(f(sharded), lap(x)), b\n"
        "assert two(sharded, 2.0).sharding == half\n"
        "other = jax.devices()[1]\n"
        "there = jax.device_put(x, other)\n"
        "for got in (two(there, 2.0), two(there[:0], 2.0), sums(there[:0]), laps['edge'](there)):\n"
        "    assert got.devices() == {other}\n"
        "print('done', len(mesh.devices))\n",
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )
    assert done.stdout == "done 2\n", done.stderr


@kernel("x[i] -> z[i]", dtype="x")
def writes(xp, x, z):
    z[...] = x


@kernel("x[i] -> sum s[]", dtype="x")
def adds(xp, x, s):
    s += xp.sum(x)


def test_jax_buffers_cannot_be_written(jax: Any) -> None:
    x = jax.numpy.asarray(X)
    remedy = r"return the results: array_api_extra.at\(z\)"
    with pytest.raises(TypeError, match="immutable") as caught:
        writes(x)
    assert "JAX arrays cannot be written: return the results" in "\n".join(caught.value.__notes__)
    with pytest.raises(TypeError, match="immutable"):
        jax.jit(writes)(x)
    with pytest.raises(
        xd.ResultError, match=f"the body returned None, and JAX arrays cannot be written(.|\n)*{remedy}"
    ):
        adds(x)  # which binds s anew
    with pytest.raises(xd.ResultError, match="JAX arrays are immutable"):
        into(x, x)
    with pytest.raises(xd.ResultError, match="JAX arrays are immutable"):
        kernel("x[i] -> x[i]")(lambda xp, x: x + 1)(x)


def test_jax_buffers_that_are_left_out_and_returned(jax: Any) -> None:
    @kernel("x[i] -> z[i], max m[]", dtype=("float64", "x"))
    def both(xp, x, z, m):
        z = z.at[...].set(x) if hasattr(z, "at") else xp.asarray(x, copy=True)
        return 2 * z, xp.maximum(m, xp.max(x))

    z, m = both(jax.numpy.asarray(X))
    assert (z.dtype, m.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(z, 2 * X)
    assert m == 4
    assert [a.shape for a in jax.vmap(both)(jax.numpy.asarray([X, X]))] == [(2, 6), (2,)]


# -- torch -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    make_engine("torch")
    import torch

    return torch


def torch_energy(torch: Any, function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: sum(torch.cos(v).sum() for v in leaves(function(x)))


def backward(torch: Any, function: Callable[..., Any]) -> Callable[[Any], Any]:
    def gradient(x: Any) -> Any:
        x = x.clone().requires_grad_()
        torch_energy(torch, function)(x).backward()
        return x.grad

    return gradient


def compiled(torch: Any, function: Callable[..., Any]) -> Callable[[Any], Any]:
    torch._dynamo.reset()
    return torch.compile(lambda x: function(x + 1), backend="aot_eager", fullgraph=True)


TORCH: dict[str, Callable[[Any, Callable[[Any], Any]], Callable[[Any], Any]]] = {
    "backward": backward,
    "vmap": lambda torch, f: lambda x: torch.vmap(f)(torch.stack([x, 2 * x])),
    "func.grad": lambda torch, f: torch.func.grad(torch_energy(torch, f)),
    "vmap of grad": lambda torch, f: (
        lambda x: torch.vmap(torch.func.grad(torch_energy(torch, f)))(torch.stack([x, 2 * x]))
    ),
    "jacrev": lambda torch, f: torch.func.jacrev(f),
    "jvp": lambda torch, f: lambda x: torch.func.jvp(f, (x,), (2 * x,))[1],
    "hessian": lambda torch, f: torch.func.hessian(torch_energy(torch, f)),
    "checkpoint": lambda torch, f: backward(
        torch, lambda x: torch.utils.checkpoint.checkpoint(f, x, use_reentrant=False)
    ),
    "functionalize": lambda torch, f: torch.func.functionalize(f),
    "inference mode": lambda torch, f: torch.inference_mode()(f),
}


def torch_plain(torch: Any, case: Case) -> Callable[[Any], Any]:
    import array_api_compat.torch as xp

    return lambda v: case.plain(xp, v)


@CASE
@pytest.mark.parametrize("name", TORCH)
def test_torch_transformations(torch: Any, case: Case, name: str) -> None:
    import torch.utils.checkpoint

    x = torch.asarray(X)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script. is deprecated")
        got = TORCH[name](torch, case.kernel)(x)
        wanted = TORCH[name](torch, torch_plain(torch, case))(x)
    assert_equal(tuple(g.detach() for g in leaves(got)), tuple(w.detach() for w in leaves(wanted)))


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.kernel, xd.Kernel)], ids=lambda case: case.name)
def test_torch_compiles_a_kernel_into_its_graph(torch: Any, case: Case) -> None:
    run = compiled(torch, torch.compiler.allow_in_graph(case.kernel))
    plain = torch_plain(torch, case)
    for n in (6, 6) if case.name == "tile" else (6, 8, 9):  # from the second extent on torch takes symbols for them
        x = torch.asarray(np.resize(X, n))
        assert_equal(run(x), plain(x + 1))
        assert_equal(backward(torch, run)(x), backward(torch, lambda v: plain(v + 1))(x))


@CASE
def test_torch_compile_goes_around_a_kernel(torch: Any, case: Case) -> None:
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dynamo's own, where it leaves the graph
        run = torch.compile(lambda x: case.kernel(x + 1), backend="aot_eager")
        x = torch.asarray(X)
        assert_equal(run(x), torch_plain(torch, case)(x + 1))
        assert_equal(backward(torch, run)(x), backward(torch, lambda v: torch_plain(torch, case)(v + 1))(x))


# Torch's own until 2.8, of any module that has a constant in it.
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node", "ignore:Node lifted_tensor")
def test_torch_exports_and_traces_a_kernel(torch: Any) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    class Module(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return scaled(x, 2.0)

    x = torch.asarray(X)
    assert_equal(torch.export.export(Module(), (x,), strict=False).module()(x), 2 * x * x)

    def call_of(case: Case) -> Callable[[Any], Any]:  # make_fx asks for the code of what it traces
        def call(v: Any) -> Any:
            return case.kernel(v)

        return call

    for case in (CASES[0], CASES[7]):
        for mode in ("real", "fake"):
            assert_equal(make_fx(call_of(case), tracing_mode=mode)(x)(2 * x), case.kernel(2 * x))
    assert same(x.to("meta")).shape == x.shape


def test_torch_traces_no_tensor_that_nothing_uses(torch: Any) -> None:
    """torch.export fails on one, or warns of it, before torch 2.10."""
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(lambda x: scaled(x, 2.0))(torch.asarray(X)).graph
    assert sum(node.op == "get_attr" for node in graph.nodes) == 1


@pytest.mark.parametrize("number", [True, 3, 2.5, 1j])
def test_torch_promotes_numbers_as_its_namespace_does(torch: Any, number: complex) -> None:
    import array_api_compat.torch as xp

    dtypes_seen: list[Any] = []

    @kernel("x[i], y[], a[] -> z[i]", dtype="x")
    def promoted(xp, x, y, a):
        dtypes_seen.append(a.dtype)
        return x

    for left, right in (("uint8", "int16"), ("int64", "float32"), ("float32", "int64"), ("bool", "bool")):
        x, y = torch.ones(3, dtype=getattr(torch, left)), torch.ones((), dtype=getattr(torch, right))
        promoted(x, y, number)
        assert dtypes_seen[-1] == xp.result_type(x.dtype, y.dtype, number)


def test_torch_results_under_vmap_are_no_views(torch: Any) -> None:
    x = torch.asarray(np.stack([X, X]))
    for got in (torch.vmap(same)(x), *torch.vmap(twice)(x), torch.vmap(lambda v: same(v[1:]))(x)):
        got += 1
    np.testing.assert_array_equal(x, [X, X])
    y, z = torch.vmap(twice)(x)
    y += 1
    assert_equal(z, x)


def test_torch_batches_of_some_operands(torch: Any) -> None:
    A, B = torch.ones(3, 4), torch.arange(40.0).reshape(2, 4, 5)
    assert_equal(torch.vmap(matmul, in_dims=(None, 0))(A, B), A @ B)


def test_torch_writes_buffers_under_vmap_and_with_gradients(torch: Any) -> None:
    x = torch.asarray(np.stack([X, 2 * X]))
    into_mixed = kernel("a[], x[i] -> z[i]", dtype="x")(_writes_product)
    assert_equal(torch.vmap(into_mixed, in_dims=(None, 0))(torch.tensor(2.0), x), 2 * x)
    assert_equal(torch.vmap(into_mixed, in_dims=(0, None))(torch.tensor([2.0, 3.0]), x[0])[1], 3 * x[0])
    assert_equal(torch.vmap(lambda a: into_mixed(2.0, a))(x), 2 * x)
    for made in (writes, kernel("x[i] -> z[i], sum s[]", dtype="x")(_writes_both)):
        got = leaves(torch.vmap(made)(x))
        assert_equal(got[0], x)
    assert_equal(got[1], x.sum(1))
    assert_equal(torch.func.grad(lambda v: writes(v).pow(2).sum())(x[0]), 2 * x[0])
    out = torch.zeros(6)
    v = x[0].clone().requires_grad_()
    assert_equal(torch.autograd.grad(scaled(v, 3.0, out=out).sum(), v)[0], 6 * x[0])


def _writes_product(xp, a, x, z):
    z[...] = a * x


def _writes_both(xp, x, z, s):
    z[...] = x
    s[...] = xp.sum(x)


@kernel("x[i] -> y[i]", dtype="float32")
def cast(xp, x):
    return x * x


def test_torch_gradients_pass_views_copies_and_casts(torch: Any) -> None:
    x = torch.asarray(X).double()
    a = torch.nn.Parameter(x.clone())
    for made in (same, between, lambda v: twice(v)[1], lambda v: same(v[::2]), lambda v: same(v.expand(2, 6)[1])):
        assert torch.autograd.gradcheck(made, (a,))
    row = kernel("x[i,:] -> y[i]")(lambda xp, x: x[:, 0])
    assert torch.autograd.gradcheck(lambda v: row(v.reshape(2, 3)), (a,))
    same_extent = kernel("x[i] -> y[i, :2]")(lambda xp, x: xp.broadcast_to(x[:, None], (x.shape[0], 2)))
    assert torch.autograd.gradcheck(same_extent, (a,))
    (cast(a).sum()).backward()
    assert_equal(a.grad, 2 * x)


@pytest.mark.parametrize("value", [2, 1.5, True])
def test_numbers_alone_beside_an_array_for_the_result(torch: Any, value: Any) -> None:
    made = kernel("a[], b[] -> c[]")(lambda xp, a, b: a + b)
    out = torch.zeros((), dtype=torch.float64)
    assert made(value, 3, out=out) is out
    assert out == value + 3


# -- bfloat16 --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["torch", "jax", "numpy"])
def brain(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any, Callable[[Any], Any]]]:
    """A namespace, its bfloat16, and what makes arrays of it."""
    if request.param == "numpy":
        dtype = np.dtype(pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes").bfloat16)
        yield np, dtype, lambda values: np.asarray(values).astype(dtype)
        return
    make_engine(request.param)
    if request.param == "torch":
        import torch

        yield torch, torch.bfloat16, lambda values: torch.asarray(values).to(torch.bfloat16)
    else:
        from jax import numpy as jnp

        yield jnp, np.dtype(jnp.bfloat16), lambda values: jnp.asarray(values, dtype=jnp.bfloat16)


def as_float(array: Any) -> Any:
    return np.asarray(array.float() if hasattr(array, "float") else array, dtype=np.float32)


@pytest.mark.parametrize("case", CASES[:11], ids=lambda case: case.name)
def test_bfloat16_bodies(brain: Any, case: Case) -> None:
    _, dtype, make = brain
    x = np.asarray([1, 2, -1, 3, 0, 2], np.float32)
    for got, wanted in zip(leaves(case.kernel(make(x))), leaves(case.plain(np, x)), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(as_float(got), wanted, rtol=2**-7)


@pytest.mark.parametrize("op", ["sum", "prod", "max", "min"])
def test_bfloat16_is_combined(brain: Any, op: str) -> None:
    _, dtype, make = brain
    made = kernel(f"x[i,:] -> {op} s[:]")(lambda xp, x: getattr(xp, op)(x, axis=0))
    x = np.asarray([[1, 2, -1], [3, 0, 2]], np.float32)
    got = made(make(x))
    assert got.dtype == dtype
    np.testing.assert_array_equal(as_float(got), getattr(np, op)(x, axis=0))
    if op in ("sum", "prod"):
        got = made(make(x)[:0])
        assert got.dtype == dtype
        np.testing.assert_array_equal(as_float(got), getattr(np, op)(x[:0], axis=0))


def test_bfloat16_products(brain: Any) -> None:
    _, _, make = brain
    A, B = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    got = matmul(make(A), make(B))
    assert got.dtype == (make(A) @ make(B)).dtype  # on NumPy ml_dtypes gives float32
    np.testing.assert_array_equal(as_float(got), A @ B)
    assert matmul(make(A)[:, :0], make(B)[:0]).dtype == got.dtype


def test_bfloat16_is_asked_for(brain: Any) -> None:
    xp, dtype, make = brain
    x = make(X)
    body = lambda xp, x: xp.astype(x, xp.float32) * 2  # noqa: E731
    entries = ["x", "bfloat16", lambda d: d, dtype]
    if xp.__name__.startswith("jax"):
        entries.append(xp.bfloat16)
    for entry in entries:
        made = kernel("x[i] -> y[i]", dtype=entry)(body)
        assert made(x).dtype == made(x[:0]).dtype == dtype
    summed = kernel("x[i] -> sum y[]", dtype="bfloat16")(lambda xp, x: xp.sum(x))
    assert summed(make(X[:0]) if xp is np else xp.ones(3)).dtype == dtype
    if xp is not np:  # with which ml_dtypes has no rules for Python's numbers
        assert scaled(x, 2.0).dtype == dtype


def test_bfloat16_is_written(brain: Any) -> None:
    xp, _, make = brain
    if xp.__name__.startswith("jax"):
        pytest.skip("JAX arrays are immutable")
    out = make(np.zeros(6))
    assert same(make(X), out=out) is out
    np.testing.assert_array_equal(as_float(out), X)
    assert same(xp.asarray(X), out=out) is out  # float32: of the same kind
    half = xp.zeros(6, dtype=xp.float16)
    assert same(make(X), out=half) is half
    np.testing.assert_array_equal(as_float(half), X)
    with pytest.raises(xd.DTypeError, match=r"bfloat16, which cannot be written to .*int32 \(casting same_kind\)"):
        same(make(X), out=xp.zeros(6, dtype=xp.int32))


def test_bfloat16_is_refused_where_it_does_not_fit(brain: Any) -> None:
    _, _, make = brain
    with pytest.raises(xd.DTypeError, match=r"any of result 's' got partial results of dtype bfloat16, expected bool"):
        kernel("x[i] -> any s[]")(lambda xp, x: x[0])(make(X))
    lap = kernel("u[i-1..i+1] -> v[i]", boundary=1j)(lambda xp, u: u[1:-1])
    with pytest.raises(xd.DTypeError, match=r"boundary=1j is not a value of dtype bfloat16, which argument 'u' has"):
        lap(make(X))


def test_bfloat16_of_array_libraries_that_lack_it() -> None:
    strict = pytest.importorskip("array_api_strict", reason="pip install 'xpdispatch[testing]'")
    made = kernel("x[i] -> y[i]", dtype="bfloat16")(lambda xp, x: x)
    with pytest.raises(xd.DTypeError, match="array_api_strict has no dtype bfloat16"):
        made(strict.ones(3))


def test_bfloat16_in_a_large_call_and_in_tiles() -> None:
    dtype = np.dtype(pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes").bfloat16)
    from xpdispatch.testing import check_partitioning

    x = np.arange(2_000_000) % 8
    with xd.threads(2):
        np.testing.assert_array_equal(CASES[0].kernel(x.astype(dtype)), CASES[0].plain(np, x).astype(dtype))
        assert kernel("x[i] -> max m[]")(lambda xp, x: xp.max(x))(x.astype(dtype)) == 7
    assert check_partitioning(CASES[0].kernel, X.astype(dtype))
    assert check_partitioning(total, np.asarray([1, 2, 3]).astype(dtype))


def test_bfloat16_without_ml_dtypes(torch: Any) -> None:
    done = run_python(
        "import sys, torch\n"
        "sys.modules['ml_dtypes'] = None\n"
        "from xpdispatch import kernel\n"
        "mm = kernel('A[m,k], B[k,n] -> sum C[m,n]')(lambda xp, A, B: A @ B)\n"
        "lap = kernel('u[i-1..i+1] -> v[i]', boundary=1)(lambda xp, u: u[1:-1] * 2)\n"
        "top = kernel('x[i] -> max m[], min n[]', dtype='x')(lambda xp, x: (xp.max(x), xp.min(x)))\n"
        "x = torch.ones(3, 3, dtype=torch.bfloat16)\n"
        "results = [mm(x, x), mm(x[:, :0], x[:0]), lap(x[0]), *top(x[0]), lap(x[0], out=torch.empty(3))]\n"
        "print(*[str(r.dtype)[6:] for r in results], lap.explain(x[0]).arrays['u'].dtype)\n"
        "import numpy as np\n"
        "try:\n"
        "    kernel('x[i] -> y[i]', dtype='bfloat16')(lambda xp, x: x)(np.ones(3))\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    said, *error = done.stdout.splitlines() or [""]
    assert said == "bfloat16 bfloat16 bfloat16 bfloat16 bfloat16 float32 float16", done.stderr
    assert "package 'ml_dtypes' is not installed" in error[0]
    assert "pip install ml_dtypes" in error[-1]


# -- over no element -------------------------------------------------------------------------------------------------

EMPTY: dict[str, tuple[str, Callable[..., Any], tuple[str, ...]]] = {
    "quotient": ("x[i] -> y[i]", lambda xp, x: x / 2, ("int64",)),
    "quotient of bool": ("x[i] -> y[i]", lambda xp, x: x / 1, ("bool",)),
    "mixed": ("x[i], y[i] -> z[i]", lambda xp, x, y: x * y, ("float16", "int32")),
    "mixed wide": ("x[i], y[i] -> z[i]", lambda xp, x, y: x + y, ("float32", "int64")),
    "complex": ("x[i], y[i] -> z[i]", lambda xp, x, y: x + y, ("float16", "complex64")),
    "half": ("x[i] -> y[i]", lambda xp, x: xp.exp(x), ("float16",)),
    "brain": ("x[i] -> y[i]", lambda xp, x: xp.exp(x), ("bfloat16",)),
    "brain and half": ("x[i], y[i] -> z[i]", lambda xp, x, y: x + y, ("bfloat16", "float16")),
    "sum": ("x[i] -> sum y[]", lambda xp, x: xp.sum(x), ("int32",)),
    "sum of rows": ("x[i] -> sum y[:2]", lambda xp, x: xp.stack([xp.sum(x), xp.sum(x)]), ("float16",)),
    "prod": ("x[i] -> prod y[]", lambda xp, x: xp.prod(x), ("bfloat16",)),
    "mean": ("x[i,j] -> sum y[j]", lambda xp, x: xp.sum(x, axis=0) / 3, ("int32",)),
    "halo": ("x[i-1..i+1] -> y[i]", lambda xp, x: (x[2:] + x[:-2]) / 2, ("int16",)),
    "unknown": ("x[i] -> y[?]", lambda xp, x: x[x > 0] / 2, ("int64",)),
    "in a kernel": ("x[...] -> y[...]", lambda xp, x: scaled(x, 2), ("int32",)),
}


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("name", EMPTY)
def test_dtypes_over_no_element_are_the_library_s(library: str, name: str) -> None:
    make_engine(library)
    notation, body, dtypes = EMPTY[name]
    xp: Any = __import__("torch") if library == "torch" else __import__("jax.numpy", fromlist=["numpy"])
    made = kernel(notation, boundary="edge" if "-1.." in notation else None)(body)
    shape = (3, 2) if "j" in notation else 3
    full = [xp.ones(shape, dtype=getattr(xp, dtype)) for dtype in dtypes]
    empty, some = made(*[x[:0] for x in full]), made(*full)
    assert empty.dtype == some.dtype
    assert len(empty.shape) == len(some.shape)


def test_bodies_over_no_element_have_a_library_s_methods(torch: Any) -> None:
    methods: list[tuple[str, Callable[..., Any]]] = [
        ("x[i] -> y[i]", lambda xp, x: x.clamp(min=0)),
        ("x[i] -> sum y[]", lambda xp, x: x.relu().sum()),
        ("x[i,:] -> y[i]", lambda xp, x: torch.nn.functional.softmax(x, dim=1)[:, 0]),
    ]
    for notation, body in methods:
        made = kernel(notation)(body)
        x = torch.ones((0, 3) if ":" in notation else 0)
        assert made(x).dtype == torch.float32


def test_settings_of_a_library_count_over_no_element(torch: Any) -> None:
    half = kernel("x[i] -> y[i]")(lambda xp, x: x / 2)
    x = torch.ones(0, dtype=torch.int64)
    assert half(x).dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert half(x).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_body_that_fails_on_a_sample_says_so(torch: Any) -> None:
    made = kernel("x[i] -> y[i]")(lambda xp, x: x.no_such_method())
    with pytest.raises(AttributeError) as caught:
        made(torch.ones(0))
    assert "The body was running on a sample" in "\n".join(caught.value.__notes__)


def test_buffers_over_no_element(torch: Any) -> None:
    assert into(torch.ones(0)).dtype == torch.float32
    assert writes(torch.ones(0, dtype=torch.bfloat16)).dtype == torch.bfloat16
    out = torch.ones(0)
    assert into(torch.ones(0), out) is out


# -- random numbers --------------------------------------------------------------------------------------------------


@kernel("x[i,j] -> y[i,j]")
def noise(xp, tile, x, seed):
    return tile.random("i", "j", seed=seed) + 0 * x


@pytest.mark.parametrize("seed", [0, 7, -1, 2**63, 2**64 - 1, 12345678901234567890])
@pytest.mark.parametrize("name", ["torch", "jax", "strict"])
def test_random_numbers_have_the_same_bits_everywhere(name: str, seed: int) -> None:
    engine = make_engine(name)
    zeros = np.zeros((5, 4))
    got = engine.get(noise(engine.put(zeros), seed))
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, noise(zeros, seed))


def test_random_numbers_under_transformations(jax: Any, torch: Any) -> None:
    zeros = np.zeros((5, 4))
    wanted = noise(zeros, 3)
    np.testing.assert_array_equal(jax.jit(lambda x: noise(x, 3))(zeros), wanted)
    np.testing.assert_array_equal(jax.vmap(lambda x: noise(x, 3))(zeros[None])[0], wanted)
    np.testing.assert_array_equal(torch.vmap(lambda x: noise(x, 3))(torch.asarray(zeros)[None])[0], wanted)
    spread = kernel("x[i] -> y[i]")(lambda xp, tile, x: x + xp.astype(tile.random("i", seed=1), x.dtype))
    assert spread(torch.zeros(3, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_random_numbers_without_64_bits(jax: Any) -> None:
    done = run_python(
        "import warnings; warnings.simplefilter('error')\n"
        "import jax, numpy as np\n"
        "from jax import numpy as jnp\n"
        "from xpdispatch import kernel\n"
        "noise = kernel('x[i,j] -> y[i,j]')(lambda xp, tile, x: tile.random('i', 'j', seed=7) + 0 * x)\n"
        "coords = kernel('x[i] -> c[i]')(lambda xp, tile, x: tile.coords('i'))\n"
        "x = np.zeros((300, 200))\n"
        "wanted = noise(x)\n"
        "for f in (noise, jax.jit(noise)):\n"
        "    got = f(jnp.asarray(x, dtype=jnp.float32))\n"
        "    assert got.dtype == np.float32 and float(got.max()) < 1\n"
        "    assert (np.asarray(got, float) == np.floor(wanted * 2**24) / 2**24).all()\n"
        "print(coords(jnp.ones(3)).dtype)\n",
        JAX_ENABLE_X64="0",
    )
    assert done.stdout == "int32\n", done.stderr


# -- numba, and numbers of NumPy's ------------------------------------------------------------------------------------


def test_numba_signatures_want_read_only_operands() -> None:
    numba = pytest.importorskip("numba", reason="pip install 'xpdispatch[test-all]'")
    writable, readonly = numba.float64[:], numba.types.Array(numba.float64, 1, "A", readonly=True)

    def double(x: Any) -> Any:
        return 2 * x

    for signature in (writable(writable), [writable(writable)], numba.float64[::1](numba.float64[::1])):
        compiled = numba.njit(signature)(double)
        with pytest.raises(TypeError) as caught:
            kernel("x[i] -> y[i]")(lambda xp, x, compiled=compiled: compiled(x))(np.ones(3))
        assert "Operands are read-only in a body: pass read_only=False" in "\n".join(caught.value.__notes__)
        found = kernel("x[i] -> y[i]", read_only=False)(lambda xp, x, compiled=compiled: compiled(x))(np.ones(3))
        np.testing.assert_array_equal(found, [2.0] * 3)
    for right in (numba.njit(double), numba.njit(numba.float64[::1](readonly))(double), numba.vectorize(double)):
        np.testing.assert_array_equal(
            kernel("x[i] -> y[i]")(lambda xp, x, right=right: right(x))(np.ones(3)), [2.0] * 3
        )


@pytest.mark.parametrize("constant", [np.True_, np.float32(1), np.int8(1), np.complex64(1), 1])
def test_boundaries_are_numbers_of_any_kind(constant: Any) -> None:
    lap = kernel("u[i-1..i+1] -> v[i]", boundary=constant)(lambda xp, u: u[2:] + u[:-2])
    dtype = np.complex64 if isinstance(constant, np.complex64) else np.float32
    np.testing.assert_array_equal(lap(np.asarray([5, 6], dtype)), [7, 6])
    flag = kernel("u[i-1..i+1] -> v[i]", boundary=np.bool(constant))(lambda xp, u: u[2:] & u[:-2])
    np.testing.assert_array_equal(flag(np.asarray([True, True])), [True, True])
    assert "u" in str(lap.explain(np.ones(4, dtype)))


def test_switches_take_numpy_s_booleans() -> None:
    made = kernel("x[i] -> sum s[]", deterministic=np.True_, cut=np.False_, fuse=np.True_)(lambda xp, x: xp.sum(x))
    assert made(np.ones(3)) == 3
    with xd.settings(guard=np.False_):
        assert xd.settings.guard is False


@pytest.mark.parametrize("count", [np.int64(2), np.uint8(2), np.asarray(2)])
def test_threads_take_any_integer(count: Any) -> None:
    from xpdispatch.machine.thread_pool import thread_count

    with xd.threads(count):
        assert thread_count() == 2


@pytest.mark.parametrize("variable", ["XPDISPATCH_NUM_THREADS", "XPDISPATCH_CACHE", "XPDISPATCH_GUARD"])
@pytest.mark.parametrize("text", ["", " "])
def test_empty_variables_are_unset(variable: str, text: str) -> None:
    done = run_python(
        "import numpy as np, xpdispatch as xd\n"
        "x = np.ones(2_000_000)\n"
        "print(xd.kernel('x[i] -> y[i]')(lambda xp, x: 2 * xp.exp(x))(x).shape, xd.settings.guard)\n",
        **{variable: text},
    )
    assert done.stdout == "(2000000,) True\n", done.stderr


# -- which gradients there are: docs/calling.rst ----------------------------------------------------------------------


def test_gradients_of_what_the_pages_name(jax: Any, torch: Any) -> None:
    """Reductions, folds, halos, matrix products and gathers, against those of the library's own functions."""
    A, B = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    a = torch.asarray(A).requires_grad_()
    matmul(a, torch.asarray(B)).sum().backward()
    assert_equal(a.grad, torch.ones(2, 4, dtype=torch.float64) @ torch.asarray(B).T)
    got = jax.grad(lambda v: matmul(v, jax.numpy.asarray(B)).sum())(jax.numpy.asarray(A))
    np.testing.assert_allclose(got, np.ones((2, 4)) @ B.T)
    ties = jax.numpy.asarray([2.0, 2.0, 1.0])
    top = kernel("x[i] -> max m[]")(lambda xp, x: xp.max(x))
    assert_equal(jax.grad(top)(ties), jax.grad(jax.numpy.max)(ties))
    assert math.isclose(float(jax.grad(log_sum)(ties).sum()), 1.0)
    others: list[tuple[str, Callable[..., Any], Callable[..., Any]]] = [
        ("x[i] -> y[?]", lambda xp, x: x[x > 0] ** 2, lambda x: x[x > 0] ** 2),
        ("x[2*i] -> y[i]", lambda xp, x: x[::2] * x[1::2], lambda x: x[::2] * x[1::2]),
        ("x[i] -> y[2*i]", lambda xp, x: xp.concat([x, x * x]), lambda x: jax.numpy.concat([x, x * x])),
        ("x[i] -> y[i, :]", lambda xp, x: x[:, None] * xp.arange(3), lambda x: x[:, None] * jax.numpy.arange(3)),
        ("x[i] -> prod p[]", lambda xp, x: xp.prod(x), jax.numpy.prod),
        ("x[i] -> min p[]", lambda xp, x: xp.min(x), jax.numpy.min),
    ]
    x = jax.numpy.asarray(X.astype(np.float64))
    for notation, body, plain in others:
        assert_equal(jax.grad(energy(jax, kernel(notation)(body)))(x), jax.grad(energy(jax, plain))(x))
        leaf = torch.asarray(X.astype(np.float64)).requires_grad_()
        torch_energy(torch, kernel(notation)(body))(leaf).backward()
        np.testing.assert_allclose(leaf.grad, jax.grad(energy(jax, plain))(x), rtol=1e-12)


def test_traced_numbers_are_operands(jax: Any) -> None:
    by_scalar = kernel("x[i] -> y[i]")(lambda xp, x, a: a * x)
    with pytest.raises(TypeError, match=r"argument 'a' is an array(.|\n)*add a\[\] \(0-d\)"):
        jax.jit(by_scalar)(jax.numpy.asarray(X), 2.0)
    assert_equal(jax.jit(by_scalar, static_argnums=1)(jax.numpy.asarray(X), 2.0), 2 * jax.numpy.asarray(X))
    assert jax.grad(lambda a: scaled(jax.numpy.asarray(X), a).sum())(2.0) == (X * X).sum()
