"""Text to Signature and back, and where the caret points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpdispatch import ArgumentError, In, InOut, NotationError, Out, Reduce, Signature, align, broadcast, kernel
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
    "s[] -> t[]",
    "sum[i] -> max[i]",
    "x[i] -> sum sum[]",
]


@pytest.mark.parametrize("text", EVERYTHING)
def test_prints_back_to_itself(text: str) -> None:
    signature = Signature.parse(text)
    assert str(signature) == text
    canonical = Signature(signature.operands, signature.results)
    assert Signature.parse(str(canonical)) == signature
    assert hash(canonical) == hash(signature)


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
        ("x[i] -> mean y[]", "'mean' is no operator", 8),
        ("sum x[i] -> y[i]", "an operand takes no operator", 0),
        ("x[i, ...] -> y[i]", "'...' stands first or not at all", 5),
        ("x[?] -> y[i]", "'?' is the first axis of a result", 2),
        ("x[i, :] -> y[i, ?]", "'?' is the first axis of a result", 16),
        ("x[3] -> y[i]", "expected '*', got ']'", 3),
        ("x[0*i] -> y[i]", "a block holds at least one cell, got 0", 2),
        ("x[i*2] -> y[i]", "expected ',' or ']', got '*'", 3),
        ("x[i=3] -> y[i]", "already gives the extent of 'i'", 2),
        ("x[:n//2] -> y[:n]", "whole axis takes one name or integer", 2),
        ("x[i-1] -> y[i]", "expected '..', got ']'", 5),
        ("x[i-1..j+1] -> y[i]", "both ends of a halo need the same index, got 'i' and 'j'", 7),
        ("x[i+1..i+2] -> y[i]", "from the index or below it", 2),
        ("x[i] -> y[i-1..i+1]", "results have no halo", 10),
        ("x[i], x[i] -> y[i]", "operand 'x' stands twice", 6),
        ("x[i] -> y[i], y[i]", "result 'y' stands twice", 14),
        ("A[i,i] -> y[i]", "index 'i' stands twice in 'A'", 4),
        ("u[i] -> sum u[]", "read and written, and takes no operator", 12),
        ("u[i] -> u[:]", "needs the same axes on both sides", 8),
        ("x[i] -> y[j]", "how long index 'j' of result 'y' is", 10),
        ("x[i] -> y[...]", "'...' in result 'y' has no operand", 10),
        ("x[i] -> y[]", "leaves out 'i' and does not say how to combine", 8),
        ("x[...] -> y[]", "leaves out '...'", 10),
        ("x[i] -> sum y[i]", "sum of 'y' combines nothing", 12),
        ("x[i, j] -> y[?]", "exactly one split index and no '...'", 13),
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
        ([align("x", "q")], "a constraint names 'q', which is no array parameter"),
        ([broadcast("q")], "a constraint names 'q'"),
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
    with pytest.raises(ArgumentError, match="align takes 2 or more names"):
        align("x")
    with pytest.raises(ArgumentError, match="names no operator"):
        Reduce["mean"]
    with pytest.raises(ArgumentError, match="axes as integers >= 0"):
        broadcast("x", (-1,))
    assert broadcast("a", ("b", (0,))).args == (("a", None), ("b", (0,)))
    assert broadcast("a", (1, 2)).args == (("a", (1, 2)),)


def test_explicit_needs_a_written_parameter() -> None:
    with pytest.raises(ArgumentError, match="no parameter is written"):

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
