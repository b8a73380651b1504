"""Every misuse is a Python exception that says kernel, argument, notation, got, expected and remedy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from conftest import Engine, run_python
from xpdispatch import In, Out, Reduce, align, bloat, broadcast, image, kernel, min_extents, scale


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("A[m,k], B[k,n] -> sum C[m,n]")
def matmul(xp, A, B):
    return A @ B


def test_the_whole_message(engine: Engine) -> None:
    with pytest.raises(ValueError) as caught:
        matmul(engine.put(np.ones((3, 4))), engine.put(np.ones((5, 2))))
    assert str(caught.value) == (
        "kernel 'matmul': argument 'B' has axis k = 5, but 'A' fixed k = 4\n"
        "  A[m,k], B[k,n] -> sum C[m,n]\n"
        "            ^\n"
        "Hint: indices and named extents never broadcast: transpose or slice 'B', "
        "or check which array is passed first"
    )


# -- at decoration -----------------------------------------------------------------------------


def decorate(notation: str, body=lambda xp, x, n: x, **options) -> xd.Kernel:
    body.__name__ = "body"
    return kernel(notation, **options)(body)


@pytest.mark.parametrize(
    ("notation", "options", "kind", "message"),
    [
        ("x[i], q[i] -> z[i]", {}, TypeError, "reads 'q', which is not a parameter of the body"),
        ("x[i] -> z[:bins]", {}, ValueError, "leaves out 'i'"),
        ("x[i] -> sum z[:bins]", {}, TypeError, "extent 'bins', which is neither"),
        ("x[i-1..i+1] -> z[i]", {}, TypeError, "nothing says what lies outside 'x' under its halo"),
        ("x[i-1..i+1] -> z[i]", {"boundary": "mirror"}, TypeError, "boundary='mirror' of 'x' is not a mode"),
        ("x[i-1..i+1] -> z[i]", {"boundary": {"y": 0}}, TypeError, "boundary= names 'y', which is not an operand with"),
        ("x[i-1..i] -> x[i]", {"boundary": "valid"}, TypeError, "'x' is read and written, and cannot be longer"),
        ("x[i] -> z[i]", {"boundary": "clip"}, TypeError, "boundary='clip' is given, and no operand has a halo"),
        ("x[i] -> fold z[]", {}, TypeError, "nothing says how to fold 'z'"),
        ("x[i] -> fold z[]", {"fold": 3}, TypeError, "fold=3 is not a function"),
        ("x[i] -> z[i]", {"fold": max}, TypeError, "fold= is given, and no result is folded"),
        ("x[i] -> fold n[]", {"fold": max}, TypeError, "result 'n' is folded, which has no identity, and cannot be"),
        ("x[i] -> n[?]", {}, TypeError, "result 'n' has an extent that only the body knows, and cannot be a"),
        ("x[i,j] -> fold y[i], fold z[j]", {"fold": max}, TypeError, "folded results 'y' and 'z' have different indi"),
        ("x[i] -> sum z[?]", {}, ValueError, "sum of 'z' combines nothing: tiles are joined along '\\?'"),
        ("x[i] -> z[i]", {"dtype": "no such"}, TypeError, "dtype='no such' is not a dtype"),
        ("x[i] -> z[i]", {"dtype": ("x", "x")}, TypeError, "dtype= got 2 entries, expected 1"),
        ("x[i] -> z[i]", {"on_error": "later"}, TypeError, "on_error='later' is unknown"),
        ("x[i] -> z[i]", {"options": ["concurrent"]}, TypeError, "options= got a list, expected a mapping"),
        ("x[i] -> z[i]", {"options": {"leaf": True}}, TypeError, "options= sets 'leaf', which is unknown"),
        ("x[i] -> z[i]", {"options": {"concurrent": 1}}, TypeError, "option 'concurrent' is 1, expected True or False"),
        ("x[i] -> z[i]", {"options": {"communicators": ()}}, TypeError, "sets 'communicators', which a kernel cannot"),
        ("x[i] -> z[i]", {"options": {"may_throw_exception": True}}, TypeError, "sets 'may_throw_exception', which"),
    ],
)
def test_at_decoration(notation: str, options: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        decorate(notation, **options)
    assert isinstance(caught.value, xd.XPDispatchError)
    assert "kernel 'body'" in str(caught.value)
    assert "Hint: " in str(caught.value)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([bloat("y", "x", (1,), (1,)), align("x", "y")], "align\\('x', 'y'\\) starts from 'x', which has a halo"),
        ([bloat("y", "x", (1,), (1,)), bloat("x", "w", (1,), (1,))], "bloat\\('x', 'w', .* starts from 'x'"),
        (
            [bloat("y", "x", (1,), (1,)), bloat("w", "x", (1,), (1,))],
            "bloat\\('w', .* gives 'x' a second halo",
        ),
        ([bloat("x", "x", (1,), (1,))], "gives 'x' a second halo or block"),
        ([bloat("x", "y", (1,), (1,))], "gives 'y' a halo, which the body writes"),
        ([bloat("y", "x", (1,), (1,)), scale((2, 2), "y", "w")], "is for 2 axes, and another constraint .* for 1"),
        ([bloat("y", "x", (1,), (1,)), broadcast("y")], "an axis of 'x' has a halo or blocks and is kept whole"),
        ([bloat("y", "x", (1,), (1,)), scale((2,), "z", "u")], "no operand gives the extents of 'z'"),
        ([align("w", "y"), image("w", "y")], "image\\('w', 'y'\\) names 'y', which the body writes"),
        ([image("w", "x"), image("y", "x")], "image\\('y', 'x'\\) names 'y', which the body writes"),
        ([image("w", "w")], "says a second time which part of 'w' a tile gets"),
        ([image("w", "x"), image("x", "w")], "image constraints form a circle: 'x' follows 'w' follows 'x'"),
        ([scale((2,), "y", "w"), image("w", "x")], "follows 'w', which has a halo or blocks"),
    ],
)
def test_constraints_that_contradict_each_other(constraints, message: str) -> None:
    with pytest.raises(TypeError, match=message):

        @kernel(constraints=constraints)
        def body(xp, x: In, w: In, y: Out, z: Out, u: Out):
            y[...] = x


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (align("x", "y"), "align\\('x', 'y'\\) is given beside a notation, which can express it"),
        (image("x", "q"), "image\\('x', 'q'\\) names 'q', which is not an array parameter"),
        (image("x", "w"), "image\\('x', 'w'\\) cuts 'w', which has an axis that is cut otherwise"),
        ("image", "constraints= holds 'image'"),
    ],
    ids=str,
)
def test_constraints_beside_a_notation(constraint, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        kernel("x[i], w[i] -> y[i]", constraints=[constraint])(lambda xp, x, w: x)
    with pytest.raises(TypeError, match="follows borders of ranges, of which there is one more"):
        kernel("s[i..i+1], x[:] -> y[i]", boundary="clip", constraints=[image("s", "x")])(lambda xp, s, x: s)
    with pytest.raises(TypeError, match="image.* names 'xs', which stands for any number of arrays"):
        kernel("*xs[i], x[:] -> y[i]", constraints=[image("xs", "x")])(lambda xp, x, *xs: x)


def test_arguments_of_constraints() -> None:
    for wrong, message in [
        (lambda: scale((0,), "x", "y"), "scale got factors=\\(0,\\), expected integers >= 1"),
        (lambda: scale(2, "x", "y"), "scale got factors=2, expected integers >= 1"),
        (lambda: bloat("x", "y", (1,), (1, 1)), "bloat got 1 low_offsets and 2 high_offsets"),
        (lambda: bloat("x", "y", (1,)), "bloat got low_offsets=None"),
        (lambda: bloat("x", (1,), (1,)), "bloat got 'x', expected 2 or more names of parameters"),
        (lambda: image("x"), "missing 1 required positional argument"),
        (lambda: image("x", "y", hint="SOON"), "image got hint='SOON'"),
        (lambda: min_extents("x"), "min_extents got minimum_extents=None"),
    ]:
        with pytest.raises(TypeError, match=message):
            wrong()
    assert image("x", "y", "MIN_MAX") == image("x", "y", hint="MIN_MAX") != image("x", "y")
    assert bloat("x", "y", "z", (1,), (2,)) == bloat("x", "y", "z", low_offsets=(1,), high_offsets=(2,))
    assert min_extents("x", "y", (3,)) == min_extents("x", "y", minimum_extents=[3])


def test_pointers_to_nowhere() -> None:
    gather = kernel("p[i], x[:] -> y[i]", constraints=[image("p", "x")])(lambda xp, p, x: x[p])
    x = np.arange(4.0)
    with pytest.raises(IndexError, match="argument 'p' holds 4, which points to no element of 'x': there are 4"):
        gather(np.asarray([0, 4]), x)
    with pytest.raises(xd.PointerError, match="argument 'p' holds -1, which points to no element"):
        gather(np.asarray([-1, 2]), x)
    with pytest.raises(
        TypeError, match="argument 'p' points to elements of 'x' and has dtype float64, expected integers"
    ):
        gather(np.ones(2), x)
    ranges = kernel("s[i..i+1], x[:] -> y[i]", boundary="valid", constraints=[image("s", "x")])(lambda xp, s, x: s[1:])
    with pytest.raises(IndexError, match="'s' holds borders of ranges, and they are not in ascending order"):
        ranges(np.asarray([0, 3, 1, 4]), x)
    with pytest.raises(ValueError, match="min_extents\\('x', \\(2, 2\\)\\) is for 2 axes, and 'x' has 1"):
        kernel("x[i] -> y[i]", constraints=[min_extents("x", (2, 2))])(lambda xp, x: x)(x)


def test_bodies_that_cannot_be_kernels() -> None:
    with pytest.raises(TypeError, match="first parameter of the body is 'x', expected 'xp'"):
        kernel("x[i] -> y[i]")(lambda x: x)
    with pytest.raises(TypeError, match="first parameter of the body is missing"):
        kernel("-> y[i=3]")(lambda: 1)
    with pytest.raises(TypeError, match="the body takes \\*more, which the notation does not name"):
        kernel("x[i] -> y[i]")(lambda xp, x, *more: x)
    with pytest.raises(TypeError, match="the body takes \\*\\*more, which the notation does not name"):
        kernel("x[i] -> y[i]")(lambda xp, x, **more: x)
    with pytest.raises(TypeError, match="the notation has '\\*x', and the body has no '\\*x'"):
        kernel("*x[i] -> y[i]")(lambda xp, x: x)
    with pytest.raises(ValueError, match="'\\*x' stands for any number of operands, expected one such name"):
        kernel("*x[i], *w[i] -> y[i]")(lambda xp, *x: x)
    with pytest.raises(ValueError, match="'\\*x' stands for any number of operands"):
        kernel("*x[i] -> x[i]")(lambda xp, *x: x)
    with pytest.raises(TypeError, match="array parameter 'x' has the default 3, expected None or no default"):
        kernel("x[i] -> y[i]")(lambda xp, x=3: x)
    with pytest.raises(TypeError, match="a name that kernels use themselves"):
        kernel("x[i] -> y[i]")(lambda xp, x, out: x)
    with pytest.raises(TypeError, match="got the function itself"):
        kernel(lambda xp, x: x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the GPU body has parameters"):
        saxpy.gpu_variant(lambda xp, x: x)


# -- at the call -------------------------------------------------------------------------------


def ones(engine: Engine, *shape: int):
    return engine.put(np.ones(shape))


def test_extents_and_ranks(engine: Engine) -> None:
    with pytest.raises(ValueError, match="argument 'y' has axis i = 4, but 'x' fixed i = 3"):
        saxpy(ones(engine, 3), ones(engine, 4), 2.0)
    with pytest.raises(ValueError, match="argument 'y' has axis i = 1, but 'x' fixed i = 3"):
        saxpy(ones(engine, 3), ones(engine, 1), 2.0)
    with pytest.raises(ValueError, match="argument 'x' has 2 axes, shape \\(3, 1\\), expected 1"):
        saxpy(ones(engine, 3, 1), ones(engine, 3), 2.0)
    three = kernel("x[:3, ] -> y[:3]")(lambda xp, x: x)
    with pytest.raises(ValueError, match="argument 'x' has an axis of extent 4, expected 3"):
        three(ones(engine, 4))
    add = kernel("x[...], y[...] -> z[...]")(lambda xp, x, y: x + y)
    with pytest.raises(ValueError, match="argument 'y' has extent 4 on axis -1 of its '...', but 'x' has 3 there"):
        add(ones(engine, 2, 3), ones(engine, 4))
    sized = kernel("x[i] -> sum y[:n-5]")(lambda xp, x, n: x)
    with pytest.raises(ValueError, match="extent 'n-5' is -2, expected 0 or more"):
        sized(ones(engine, 3), 3)
    with pytest.raises(TypeError, match="scalar 'n' = 2.5 is an extent of the notation, expected an integer"):
        sized(ones(engine, 3), 2.5)
    divided = kernel("x[i] -> sum y[:8//n]")(lambda xp, x, n: x)
    with pytest.raises(ValueError, match="extent '8//n' divides by zero"):
        divided(ones(engine, 3), 0)


def test_binding(engine: Engine) -> None:
    x = ones(engine, 3)
    with pytest.raises(TypeError, match="argument 'a' is missing"):
        saxpy(x, x)
    with pytest.raises(TypeError, match="got 4 positional arguments, expected at most 3 \\(x, y, a\\)"):
        saxpy(x, x, 2.0, x)
    with pytest.raises(TypeError, match="unexpected argument 'b'"):
        saxpy(x, x, b=2.0)
    with pytest.raises(TypeError, match="argument 'x' is given twice"):
        saxpy(x, x, 2.0, x=x)
    with pytest.raises(
        TypeError, match="argument 'a' is an array, but the notation does not name it.*\n.*\nHint: add a\\[\\]"
    ):
        saxpy(x, x, ones(engine))
    with pytest.raises(TypeError, match="out= got 2 arrays, expected 1"):
        saxpy(x, x, 2.0, out=(x, x))
    two = kernel("x[i] -> y[i], z[i]")(lambda xp, x: (x, x))
    with pytest.raises(TypeError, match="out= got one object, expected a tuple of 2"):
        two(x, out=x)


def test_what_is_no_array(engine: Engine) -> None:
    x = ones(engine, 3)
    with pytest.raises(TypeError, match="argument 'y' is a list, expected an array\n.*\nHint: convert it first"):
        saxpy(x, [1.0, 2.0, 3.0], 2.0)
    with pytest.raises(TypeError, match="argument 'y' is a masked array"):
        saxpy(x, np.ma.ones(3), 2.0)
    with pytest.raises(TypeError, match="argument 'y' is a str, expected an array"):
        saxpy(x, "no", 2.0)
    with pytest.raises(ValueError, match="argument 'y' has 0 axes, shape \\(\\), expected 1"):
        saxpy(x, 2.0, 2.0)
    with pytest.raises(TypeError, match="argument 'y' = 300 does not go with the other operands"):
        kernel("x[i], y[] -> z[i]")(lambda xp, x, y: x + y)(engine.put(np.ones(3, np.uint8)), 300)


def test_out_of_the_wrong_kind(engine: Engine) -> None:
    if not engine.mutable:
        with pytest.raises(ValueError, match="cannot be written: JAX arrays are immutable"):
            saxpy(ones(engine, 3), ones(engine, 3), 2.0, out=ones(engine, 3))
        return
    x = ones(engine, 3)
    with pytest.raises(ValueError, match="the array given for result 'z' has shape \\(4,\\), expected \\(3,\\)"):
        saxpy(x, x, 2.0, out=ones(engine, 4))
    with pytest.raises(TypeError, match="cannot be written to .*int64 \\(casting same_kind\\)"):
        engine.get(saxpy(x, x, 2.0, out=engine.put(np.ones(3, int))))
    with pytest.raises(TypeError, match="argument 'z' is a float, expected an array"):
        saxpy(x, x, 2.0, out=2.0)
    two = kernel("x[i] -> y[i], z[i]")(lambda xp, x: (x, x))
    y = ones(engine, 3)
    with pytest.raises(TypeError, match="share memory"):
        two(x, out=(y, y))
    inc = kernel("u[i] -> u[i]")(lambda xp, u: u + 1)
    with pytest.raises(TypeError, match="out= gives another array for 'u'"):
        inc(x, out=y)


def test_read_only_out() -> None:
    z = np.zeros(3)
    z.flags.writeable = False
    with pytest.raises(ValueError, match="the array given for result 'z' cannot be written: it is read-only"):
        saxpy(np.ones(3), np.ones(3), 2.0, out=z)


def test_read_only_out_on_legate(on_legate: Engine) -> None:
    import cupynumeric

    view = cupynumeric.broadcast_to(cupynumeric.zeros(1), (3,))
    with pytest.raises(ValueError, match="the array given for result 'z' cannot be written: it is read-only"):
        saxpy(ones(on_legate, 3), ones(on_legate, 3), 2.0, out=view)


def test_a_buffer_left_out_needs_a_dtype(engine: Engine) -> None:
    fill = kernel("x[i] -> z[i]")(lambda xp, x, z: None)
    with pytest.raises(
        TypeError, match="result 'z' is written by the body and was left out, so its dtype is not known"
    ):
        fill(ones(engine, 3))


# -- what bodies return --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notation", "body", "kind", "message"),
    [
        ("x[i] -> y[i]", lambda xp, x: x[:1], ValueError, r"returned shape \(1,\) for result 'y', expected \(\d+,\)"),
        (
            "x[i] -> sum y[:4]",
            lambda xp, x: x[:1],
            ValueError,
            r"returned shape \(1,\) for result 'y', expected \(4,\)",
        ),
        ("x[i] -> y[i]", lambda xp, x: (x, x), ValueError, "returned a tuple of 2, expected the array itself"),
        ("x[i] -> y[i], z[i]", lambda xp, x: x, ValueError, "expected 2 results"),
        ("x[i] -> y[i], z[i]", lambda xp, x: (x, x, x), ValueError, "returned 3 results, expected 2 results"),
        ("x[i] -> y[i]", lambda xp, x: None, ValueError, "returned None, expected 1 result"),
        ("x[i] -> y[i]", lambda xp, x: "text", ValueError, "returned a builtins.str for result 'y'"),
        (
            "x[i] -> any y[]",
            lambda xp, x: xp.sum(x),
            TypeError,
            "any of result 'y' got partial results of dtype float64, expected bool",
        ),
        (
            "x[i] -> sum y[]",
            lambda xp, x: xp.any(x > 0),
            TypeError,
            "sum of result 'y' got partial results of dtype bool",
        ),
        (
            "x[i] -> xor y[]",
            lambda xp, x: xp.sum(x),
            TypeError,
            "xor of result 'y' got partial results of dtype float64",
        ),
        (
            "x[i] -> max y[]",
            lambda xp, x: xp.sum(x) * 1j,
            TypeError,
            "max of result 'y' got partial results of dtype complex128",
        ),
    ],
)
def test_results(engine: Engine, notation: str, body, kind: type, message: str) -> None:
    body.__name__ = "body"
    with pytest.raises(kind, match=message) as caught:
        result = kernel(notation)(body)(ones(engine, 9))
        engine.get(result[0] if isinstance(result, tuple) else result)
    assert "kernel 'body'" in str(caught.value)


@pytest.mark.parametrize("dtype", ["U3", "datetime64[s]", object])
@pytest.mark.parametrize(("op", "extent"), [("max", 9), ("sum", 0), ("sum", 9)])
def test_buffers_of_what_an_operator_does_not_combine(on_legate: Engine, op: str, extent: int, dtype: Any) -> None:
    made = kernel(f"x[i] -> {op} y[]")(filled)
    for x in (np.ones(extent), on_legate.put(np.ones(extent))):
        with pytest.raises(xd.DTypeError, match=f"{op} of result 'y' got partial results of dtype"):
            made(x, out=np.zeros((), dtype))


def filled(xp: Any, x: Any, y: Any) -> None:
    y[...] = xp.sum(x)


def test_a_dtype_that_depends_on_the_values(on_legate: Engine) -> None:
    moody = kernel("x[i] -> y[i]")(lambda xp, x: x if xp.max(x) == 1 else xp.astype(x, xp.float32))
    with pytest.raises(ValueError, match="returned dtype float32 for result 'y', but float64 on a sample of ones"):
        on_legate.get(moody(on_legate.put(np.arange(20.0) + 2)))


def test_a_sample_that_raises_asks_for_dtype(on_legate: Engine) -> None:
    @kernel("x[i] -> y[i]")
    def shy(xp, x):
        if xp.any(x == 1):
            raise ZeroDivisionError("no ones, please")
        return x

    with pytest.raises(ZeroDivisionError) as caught:
        shy(on_legate.put(np.zeros(5)))
    assert "pass dtype= to the decorator" in caught.value.__notes__[-1]
    known = kernel("x[i] -> y[i]", dtype="x")(shy.__wrapped__)
    np.testing.assert_array_equal(on_legate.get(known(on_legate.put(np.zeros(5)))), np.zeros(5))


def test_writing_an_input_fails(engine: Engine) -> None:
    if engine.name in ("strict", "torch", "jax"):
        pytest.skip(f"{engine.name} has no read-only arrays")

    @kernel("x[i] -> y[i]", dtype="x")
    def vandal(xp, x):
        x[...] = 0
        return x + 1

    x = engine.put(np.ones(17))
    with pytest.raises(ValueError, match="read-only"):
        engine.get(vandal(x))
    np.testing.assert_array_equal(engine.get(x), np.ones(17))


# -- libraries and engines -------------------------------------------------------------------------


def test_mixed_libraries() -> None:
    import array_api_strict
    import cupynumeric

    strict = array_api_strict.ones(3)
    with pytest.raises(TypeError, match="argument 'y' is a array_api_strict array, but 'x' is a numpy array"):
        saxpy(np.ones(3), strict, 2.0)
    with pytest.raises(TypeError, match="argument 'y' is a array_api_strict array beside a cuPyNumeric array"):
        saxpy(cupynumeric.ones(3), strict, 2.0)


def test_unsupported_dtypes_on_legate(on_legate: Engine) -> None:
    import cupynumeric

    identity = kernel("x[i], y[i] -> z[i]", dtype="y")(lambda xp, x, y: y)
    for kind in (np.longdouble, "datetime64[s]", "S3", object):
        with pytest.raises(TypeError, match="Legate has no type for dtype"):
            identity(np.zeros(3, kind), cupynumeric.ones(3))


def test_unpicklable_scalars_on_legate(on_legate: Engine) -> None:
    apply = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x, f: f(x))
    with pytest.raises(TypeError, match="scalar 'f' is a function that cannot be sent to a task"):
        apply(on_legate.put(np.ones(3)), lambda x: x)


def test_engine_names() -> None:
    import cupynumeric

    with pytest.raises(TypeError, match="there is no engine 'spark'"), xd.engine("spark"):
        pass
    with xd.engine("local"), pytest.raises(TypeError, match="got a cuPyNumeric array under engine\\('local'\\)"):
        saxpy(cupynumeric.ones(3), cupynumeric.ones(3), 2.0)


def test_legate_arrays_inside_a_body_are_refused(on_legate: Engine) -> None:
    captured = on_legate.put(np.ones(3))
    bad = kernel("x[i] -> y[i]", dtype="x")(lambda xp, x: saxpy(captured, captured, 1.0))
    with pytest.raises(RuntimeError, match="is a Legate array in a call inside a kernel's body"):
        bad(np.ones(3))


def test_missing_packages_are_answered_with_the_command() -> None:
    done = run_python(
        "import sys; sys.modules['legate'] = None\n"
        "import xpdispatch as xd\n"
        "try:\n    with xd.engine('legate'): pass\n"
        "except ImportError as error: print(error)"
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'xpdispatch[legate]'" in done.stdout


def test_cupynumeric_missing_beside_legate() -> None:
    done = run_python(
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'cupynumeric' else real(name, *a)\n"
        "import numpy as np, xpdispatch as xd\n"
        "k = xd.kernel('x[i] -> y[i]')(lambda xp, x: x + 1)\n"
        "with xd.engine('legate'):\n"
        "    try: k(np.ones(3))\n"
        "    except ImportError as error: print(error)\n"
        "    print(k(np.ones(3), out=np.zeros(3)))\n"
    )
    assert done.returncode == 0, done.stderr
    assert "pip install nvidia-cupynumeric" in done.stdout
    assert "[2. 2. 2.]" in done.stdout


def test_registering_a_namespace() -> None:
    with pytest.raises(TypeError, match="variant 'TPU' is none of Legate's"):
        xd.register_namespace("TPU", "numpy")
    mine = SimpleNamespace(double=lambda x: 2 * x)
    xd.register_namespace("CPU", mine)  # type: ignore[arg-type]
    try:
        assert kernel("x[i] -> y[i]")(lambda xp, x: xp.double(x))(np.ones(2)).tolist() == [2.0, 2.0]
    finally:
        xd.register_namespace("CPU", "array_api_compat.numpy")
    xd.register_namespace("CPU", "no_such_package.numpy")
    try:
        with pytest.raises(ImportError, match="package 'no_such_package' is not installed"):
            saxpy(np.ones(2), np.ones(2), 1.0)
    finally:
        xd.register_namespace("CPU", "array_api_compat.numpy")


def test_small_misuse() -> None:
    with pytest.raises(ValueError, match="the notation says i = n = 4, but 'x' fixed i = 3"):
        kernel("x[i] -> y[i=n]")(lambda xp, x, n: x)(np.ones(3), 4)
    with pytest.raises(ValueError, match="extent 'n' is an integer of 65 bits, expected 0 or more"):
        kernel("-> y[i=n]")(lambda xp, n: n)(2**64)
    with pytest.raises(TypeError, match="argument 'y' is None, expected an array"):
        saxpy(np.ones(3), None, 2.0)
    with pytest.raises(TypeError, match="argument 'y' is an int, expected an array"):
        kernel("x[i] -> y[i]")(lambda xp, x: x)(np.ones(3), out=3)
    with pytest.raises(TypeError, match="which tells no parameters"):
        kernel("x[i] -> y[i]")(max)
    with pytest.raises(TypeError, match="a function that does not take 1 dtypes"):
        kernel("x[i] -> y[i]", dtype=lambda a, b: a)(lambda xp, x: x)
    with pytest.raises(TypeError, match="tile got 0"):
        kernel("x[i] -> y[i]")(lambda xp, tile, x: tile.start(0))(np.ones(3))
    with pytest.raises(TypeError, match="a name that kernels use themselves"):
        kernel("out[i] -> y[i]")(lambda xp, out: out)
    with pytest.raises(TypeError, match="constraints= got one constraint"):
        kernel(constraints=xd.align("x", "y"))  # type: ignore[arg-type]


def test_halos_and_blocks_that_do_not_fit() -> None:
    diff = kernel("x[i..i+2] -> y[i]", boundary="valid")(lambda xp, x: x[2:] - x[:-2])
    with pytest.raises(ValueError, match="has extent 1 on axis i..i\\+2, expected at least 2 with boundary='valid'"):
        diff(np.ones(1))
    halves = kernel("x[2*i] -> y[i]")(lambda xp, x: x[::2])
    with pytest.raises(ValueError, match="has extent 5 on axis 2\\*i, expected a multiple of 2"):
        halves(np.ones(5))
    ringed = kernel("x[i-1..i+1] -> y[i]", boundary=0.5)(lambda xp, x: x[1:-1])
    with pytest.raises(TypeError, match="boundary=0.5 is not a value of dtype int64, which argument 'x' has"):
        ringed(np.arange(3))
    with pytest.raises(NotImplementedError, match="'s' accumulates by fold, which is not supported yet"):

        @kernel(constraints=[broadcast("s")], fold=max)
        def add_up(xp, x: In, s: Reduce["fold"]):  # noqa: F821  it is no name but an operator
            return xp.sum(x)


def test_merge_that_does_not_give_what_it_gets() -> None:
    from conftest import run_tiles

    x = np.arange(6.0)
    for merge, message in [
        (lambda xp, a, b: xp.stack([a, b]), "fold= returned shape \\(2,\\) and dtype float64 for result 's', expected"),
        (lambda xp, a, b: xp.astype(a, xp.int64), "fold= returned shape \\(\\) and dtype int64"),
    ]:
        folded = kernel("x[i] -> fold s[]", fold=merge)(lambda xp, x: xp.sum(x))
        with pytest.raises(ValueError, match=message) as caught:
            run_tiles(folded, [x], i=[2, 3])
        assert "in fold= of kernel '<lambda>'" in caught.value.__notes__[0]
    both = kernel("x[i] -> fold s[], fold n[]", fold=lambda xp, a, b: a[0])(lambda xp, x: (xp.sum(x), xp.max(x)))
    with pytest.raises(ValueError, match="fold= returned a .*, expected a tuple of 2 arrays"):
        run_tiles(both, [x], i=[2])


def test_results_of_unknown_size_are_returned_alone(engine: Engine) -> None:
    positive = kernel("x[i] -> y[?]")(lambda xp, x: x[x > 0])
    with pytest.raises(ValueError, match="an array is given for result 'y', whose extent is known only when the body"):
        positive(engine.put(np.ones(3)), out=engine.put(np.zeros(3)))


def test_rows_without_a_cell_on_legate(on_legate: Engine) -> None:
    nothing = kernel("x[i] -> y[?, :]")(lambda xp, x: xp.zeros((x.shape[0], 0)))
    assert nothing(np.ones(3)).shape == (3, 0)
    with pytest.raises(ValueError, match="result 'y' has shape \\(any, 0\\): Legate cannot count empty rows"):
        nothing(on_legate.put(np.ones(3)))


def test_tables_are_no_arrays() -> None:
    table = type("DataFrame", (), {"shape": (3, 2)})()
    with pytest.raises(TypeError, match="argument 'x' is a DataFrame, expected an array"):
        kernel("x[i, j] -> y[i, j]")(lambda xp, x: x)(table)


def test_number_subclasses_are_numbers() -> None:
    import enum

    level = enum.IntEnum("level", {"two": 2})
    add = kernel("x[i], s[] -> y[i]")(lambda xp, x, s: x + s)
    np.testing.assert_array_equal(add(np.ones(2), level.two), [3.0, 3.0])


def test_many_threads_may_call_one_kernel() -> None:
    # In a process of its own: a thread that collects garbage must not find Legate's stores in it.
    done = run_python(
        "import sys, numpy as np, xpdispatch as xd\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "double = xd.kernel('x[i] -> y[i]')(lambda xp, x: 2 * x)\n"
        "sys.setswitchinterval(1e-6)\n"
        "with ThreadPoolExecutor(6) as pool:\n"
        "    sizes = [y.size for y in pool.map(lambda n: double(np.ones(n % 400 + 1)), range(3000))]\n"
        "print(sizes == [n % 400 + 1 for n in range(3000)])\n"
    )
    assert done.stdout.strip() == "True", done.stderr


def test_registering_a_namespace_changes_calls_that_were_made_before() -> None:
    which = kernel("x[i] -> y[i]")(lambda xp, x: x * getattr(xp, "factor", 1))
    assert which(np.ones(1)).tolist() == [1.0]
    assert which(np.ones(0)).dtype == np.float64
    xd.register_namespace("CPU", SimpleNamespace(factor=3j, empty=np.empty, complex128=np.complex128))  # type: ignore[arg-type]
    try:
        assert which(np.ones(1)).tolist() == [3j]
        assert which(np.ones(0)).dtype == np.complex128
    finally:
        xd.register_namespace("CPU", "array_api_compat.numpy")
    assert which(np.ones(1)).tolist() == [1.0]
    assert which(np.ones(0)).dtype == np.float64
