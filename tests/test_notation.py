"""Text to Signature and back, and where the caret points."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpdispatch import (
    ArgumentError,
    In,
    InOut,
    NotationError,
    Out,
    Reduce,
    Signature,
    align,
    bloat,
    broadcast,
    image,
    kernel,
    min_extents,
    scale,
)
from xpdispatch.language.constraints import Constraint
from xpdispatch.language.terms import Axis, Extent, Term

EVERYTHING = [
    "x[i], y[i] -> z[i]",
    "src[...] -> dst[...]",
    "data[i] -> sum hist[:bins]",
    "A[m,k], B[k,n] -> sum C[m,n]",
    "src[b, :, :] -> dst[b, :, :]",
    "u[i-1..i+1, j-2..j] -> v[i, j]",
    "u[i..i+2] -> v[i]",
    "u[i-1..i+1] -> u[i]",
    "x[2*i, 2*j] -> y[i, j]",
    "x[i] -> y[2*i]",
    "x[i] -> y[?]",
    "x[i, :] -> y[?, :], n[i]",
    "-> z[i=n, j=m]",
    "[i=n] -> sum hits[]",
    "x[:n] -> y[:n//2+1, :(n-1)*2%5, :-n+3]",
    "A[i, :3] -> prod p[], max hi[], min lo[], any a[], all b[], xor c[], fold d[]",
    "x[..., i] -> sum s[...]",
    "A[i, :i] -> y[i]",
    "A[i,i], B[j, i, j] -> y[i, j]",
    "x[i..i], w[2*i-1..2*i+2] -> y[i]",
    "x[i-w//2..i+w//2], z[b*i, (n+1)*j] -> y[i, b*j]",
    "s[] -> t[]",
    "sum[i] -> max[i]",
    "x[i] -> sum sum[]",
]


@pytest.mark.parametrize("text", EVERYTHING)
def test_prints_back_to_itself(text: str) -> None:
    signature = Signature.parse(text)
    assert str(signature) == text
    loose = Signature.parse(text.replace(",", " , "))
    assert loose == signature
    assert hash(loose) == hash(signature)


@pytest.mark.parametrize("text", EVERYTHING)
def test_knows_where_its_parts_stand(text: str) -> None:
    signature = Signature.parse(text.replace("]", " ]"))
    for term in (*signature.operands, *signature.results):
        assert str(signature)[term.column :].startswith(str(term).removeprefix(f"{term.op} "))
        for axis in term.axes:
            assert str(signature)[axis.column :].startswith(str(axis))
    if signature.operands[1:]:
        fewer = replace(signature, operands=signature.operands[1:])
        assert str(fewer)[fewer.operands[0].column :].startswith(str(fewer.operands[0]))


def test_the_explicit_spelling_knows_where_its_parts_stand() -> None:
    @kernel(constraints=[align("xx", "x")])
    def body(xp, xx: In, x: In, s: Out):
        pass

    signature = body.signature
    assert str(signature) == "xx: In, x: In, s: Out; align('xx', 'x')"
    assert [t.column for t in (*signature.operands, *signature.results)] == [0, 8, 15]
    assert signature.operands[1].axes[0].column == 8


@pytest.mark.parametrize(
    ("constraint", "written"),
    [
        (align("x", "y"), "align('x', 'y')"),
        (broadcast("x"), "broadcast('x')"),
        (broadcast("x", (0, 1)), "broadcast('x', (0, 1))"),
        (broadcast("x", ("y", (0,)), "z"), "broadcast('x', ('y', (0,)), 'z')"),
        (scale((2, 2), "y", "x"), "scale((2, 2), 'y', 'x')"),
        (bloat("y", "u", "v", (1,), (0,)), "bloat('y', 'u', 'v', (1,), (0,))"),
        (image("p", "x"), "image('p', 'x')"),
        (image("p", "x", "FIRST_LAST"), "image('p', 'x', 'FIRST_LAST')"),
        (min_extents("x", "y", (64,)), "min_extents('x', 'y', (64,))"),
    ],
    ids=str,
)
def test_constraints_print_as_they_are_written(constraint: Constraint, written: str) -> None:
    assert str(constraint) == repr(constraint) == written


def test_values() -> None:
    signature = Signature.parse("u[i-1..i+2, 2*j, :n] -> sum y[:n//2]")
    (u,), (y,) = signature.operands, signature.results
    assert u == Term(
        "u",
        (Axis("split", "i", below=1, above=2), Axis("split", "j", scale=2), Axis("whole", "n")),
    )
    assert y.op == "sum"
    assert y.axes[0].extent == Extent("n//2", ())
    assert signature.indices == ("i", "j")
    assert Signature.parse("data[i] -> sum hist[:bins]").free_names == ("bins",)
    assert Signature.parse("-> z[i=n*m]").free_names == ("n", "m")


@pytest.mark.parametrize(
    ("text", "value"),
    [("n", 7), ("n//2+1", 4), ("2*(n-3)", 8), ("-n+8", 1), ("n%4*2", 6), ("n-1-1", 5), ("n-(1-1)", 7), ("12//2//3", 2)],
)
def test_extent_arithmetic(text: str, value: int) -> None:
    extent = Signature.parse(f"x[:n] -> y[:n, :({text})]").results[0].axes[1].extent
    assert extent is not None
    assert extent.value({"n": 7}) == value


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("x[i] > y[i]", "unexpected character '>'", 5),
        ("x[i], y[i]", "expected '->', got the end", 10),
        ("x[i] -> y[i", "expected ']', got the end", 11),
        ("x[i] -> y[i] z", "expected ',' or the end, got 'z'", 13),
        ("x -> y[i]", "expected '[', got '->'", 2),
        ("x[i] -> [i]", "expected the name of an array, got '['", 8),
        ("x[i] -> mean y[]", "'mean' is not an operator", 8),
        ("sum x[i] -> y[i]", "an operand has no operator", 0),
        ("x[i, ...] -> y[i]", "'...' is not the first axis", 5),
        ("x[?] -> y[i]", "'?' is not the first axis of a result", 2),
        ("x[i, :] -> y[i, ?]", "'?' is not the first axis of a result", 16),
        ("x[3] -> y[i]", "expected '*', got ']'", 3),
        ("x[0*i] -> y[i]", "a block of 0 elements, expected at least 1", 2),
        ("x[i*2] -> y[i]", "expected ',' or ']', got '*'", 3),
        ("x[i=3] -> y[i]", "already gives the extent of 'i'", 2),
        ("x[:n//2] -> y[:n]", "has arithmetic in its extent, expected one name or integer", 2),
        ("x[i-1] -> y[i]", "expected '..', got ']'", 5),
        ("x[i-1..j+1] -> y[i]", "the ends of a halo have two indices, 'i' and 'j', expected the same", 7),
        ("x[i+1..i+2] -> y[i]", "a halo from +1 to +2 leaves out the index itself", 2),
        ("x[i] -> y[i-1..i+1]", "a result has a halo, and only operands have", 10),
        ("x[i], x[i] -> y[i]", "operand 'x' is named twice", 6),
        ("x[i] -> y[i], y[i]", "result 'y' is named twice", 14),
        ("A[i] -> y[i,i]", "index 'i' occurs twice in 'y'", 12),
        ("u[i] -> sum u[]", "read and written, and has the operator sum", 12),
        ("u[i] -> u[:]", "has other axes on the right of '->' than on the left", 8),
        ("x[i] -> y[j]", "nothing gives the extent of index 'j' of result 'y'", 10),
        ("x[i] -> y[...]", "'...' in result 'y' has no operand", 10),
        ("x[i] -> y[]", "leaves out 'i' and does not say how to combine", 8),
        ("x[...] -> y[]", "leaves out '...'", 10),
        ("x[i] -> sum y[i]", "sum of 'y' combines nothing", 12),
        ("x[i, j] -> y[?]", "at most one index and no '...'", 13),
        ("[:] -> y[i=3]", "expected an index, got ':'", 1),
        ("x[i] -> y[i, :" + "(" * 60 + "i" + ")" * 60 + "]", "a simpler extent", 65),
        ("x[i] -> y[i, :1" + "0" * 30 + "]", "an integer below 10**18", 14),
        ("", "expected the name of an array, got the end", 0),
    ],
)
def test_errors_point_at_the_column(text: str, message: str, column: int) -> None:
    with pytest.raises(NotationError) as caught:
        Signature.parse(text)
    assert message in str(caught.value)
    assert caught.value.column == column
    assert isinstance(caught.value, ValueError)


def test_a_reduced_index_offers_both_ways_out() -> None:
    with pytest.raises(NotationError) as caught:

        @kernel("A[i,k] -> y[i]")
        def rows(xp, A):
            return A.sum(axis=1)

    assert str(caught.value) == (
        "kernel 'rows': result 'y' leaves out 'k' and does not say how to combine the tiles\n"
        "  A[i,k] -> y[i]\n"
        "            ^\n"
        "Hint: write sum y[i] (or another operator) to combine, or A[i, :k] to keep the axis whole"
    )


@given(st.text(alphabet="xyij[]:,.->=+*/%() ?n0123\u00e9#", max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        signature = Signature.parse(text)
    except NotationError as error:
        assert error.column is None or 0 <= error.column <= len(" ".join(text.split()))
    else:
        assert Signature.parse(str(signature)) == signature


def test_both_spellings_give_one_value() -> None:
    @kernel(constraints=[align("x", "y"), align("y", "z")])
    def explicit(xp, x: In, y: In, z: Out, a: float):
        z[...] = a * x + y

    @kernel(constraints=[align("u", "x")])
    def update(xp, u: InOut, x: In):
        u += x

    assert explicit.signature == Signature.parse("x[...], y[...] -> z[...]")
    assert update.signature == Signature.parse("u[...], x[...] -> u[...]")
    assert str(explicit.signature) == "x[...], y[...] -> z[...]"


def test_what_the_notation_cannot_say_prints_as_constraints() -> None:
    @kernel(constraints=[broadcast("hist")])
    def count(xp, data: In, hist: Reduce["sum"]):
        hist += data.size

    assert str(count.signature) == "data: In, hist: Reduce['sum']; broadcast('hist')"


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([align("x", "q")], "names 'q', which is not an array parameter"),
        ([broadcast("q")], "broadcast\\('q'\\) names 'q'"),
        ([], "'s' is neither aligned nor broadcast"),
        (["align"], "constraints= holds 'align'"),
    ],
)
def test_explicit_misuse(constraints: list, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):

        @kernel(constraints=constraints)
        def body(xp, x: In, s: Reduce["sum"]):
            s += x.sum()


def test_constraint_arguments() -> None:
    with pytest.raises(ArgumentError, match="align got 'x', expected 2 or more names"):
        align("x")
    with pytest.raises(ArgumentError, match="does not name an operator"):
        Reduce["mean"]
    with pytest.raises(ArgumentError, match="got axes \\(-1,\\), expected integers >= 0"):
        broadcast("x", (-1,))
    assert broadcast("a", ("b", (0,))).kept_whole == {"a": None, "b": (0,)}
    assert broadcast("a", (1, 2)).kept_whole == {"a": (1, 2)}


def test_explicit_needs_a_written_parameter() -> None:
    with pytest.raises(ArgumentError, match="the body writes no parameter"):

        @kernel()
        def body(xp, x: In):
            return x

    with pytest.raises(NotationError, match="neither a notation nor a parameter annotated"):

        @kernel()
        def other(xp, x):
            return x


def test_reduce_without_quotes() -> None:
    assert Reduce[sum] == Reduce["sum"]
    assert Reduce[max] == Reduce["max"]
