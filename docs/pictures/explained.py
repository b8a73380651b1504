"""Draw docs/_static/pictures: for each form of the notation, and for the tutorial's programs, what is cut and shared.

python docs/pictures/explained.py

Each picture is kernel.explain's own, as SVG, once for light and once for dark pages. It depends on no drawing library,
so that a test can tell whether what is committed is what the code draws.
"""

from pathlib import Path

import numpy as np

from xpdispatch import kernel
from xpdispatch.explain.canvas import DARK, LIGHT, svg
from xpdispatch.explain.picture import picture

FOLDER = Path(__file__).parents[1] / "_static" / "pictures"


def array(*shape, dtype=np.float32):
    """A shape and a dtype, in the memory of one element."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def drawn(notation, body, *arguments, processors=3, **options):
    """One form of the notation, on arrays so small that each element is drawn."""
    return kernel(notation, **options)(body).explain(*arguments).on(processors, partitioning_threshold=1)


def notation():
    """A drawing for each form of an axis."""
    line, wide = array(12), array(9, 8)
    yield "split", drawn("x[i], y[i] -> z[i]", lambda xp, x, y: x + y, line, line)
    yield "whole", drawn("x[i,:] -> y[i,:]", lambda xp, x: x, wide)
    yield "named", drawn("x[i,:n], w[:n] -> y[i]", lambda xp, x, w: x @ w, wide, array(8))
    yield "expression", drawn("x[i,:n] -> y[i,:n//2+1]", lambda xp, x: x[:, : x.shape[1] // 2 + 1], wide)
    yield "space", drawn("-> z[i=n]", lambda xp, n: None, 12, dtype="float32")
    yield (
        "ellipsis",
        drawn("x[...], y[...] -> z[...]", lambda xp, x, y: x + y, array(6, 9), array(9), processors=6),
    )
    yield "halo", drawn("u[i-1..i+1] -> v[i]", lambda xp, u: u[2:] - u[:-2], line, boundary="edge")
    yield "blocks", drawn("u[2*i] -> v[i]", lambda xp, u: u[::2] + u[1::2], array(18))
    yield "unknown", drawn("x[i] -> y[?]", lambda xp, x: x[x > 0], line)
    yield "reduced", drawn("a[i,j] -> sum y[i]", lambda xp, a: xp.sum(a, axis=1), array(6, 8), processors=4)


@kernel("src[...] -> dst[...]", dtype="src")
def copy(xp, src):
    return src


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("data[i] -> sum hist[:bins]", dtype="int64")
def histogram(xp, data, bins):
    raise NotImplementedError


@kernel("A[m,k], B[k,n] -> sum C[m,n]")
def matmul(xp, A, B):  # noqa: N803
    return A @ B


@kernel("src[b,:,:] -> dst[b,:,:]", dtype="src")
def fft2(xp, src):
    return src


def tutorial():
    """The five programs, at sizes of the tutorial that they follow."""
    yield "copy", copy.explain(array(1500, 1000)).on(4, "gpu")
    yield "saxpy", saxpy.explain(array(10**7), array(10**7), 2.0).on(4, "gpu")
    yield "histogram", histogram.explain(array(10**7, dtype=np.int64), 10).on(4, "gpu")
    yield "matmul", matmul.explain(array(1000, 1000), array(1000, 1000)).on(8, "gpu")
    yield "fft", fft2.explain(array(128, 256, 256, dtype=np.complex64)).on(4, "gpu")


def pictures():
    """Name and text of every file."""
    for page, titled, drawings in ("notation", False, notation()), ("tutorial", True, tutorial()):
        for name, answer in drawings:
            scene = picture(answer, titled=titled)
            for mode, colors in ("light", LIGHT), ("dark", DARK):
                yield f"{page}-{name}-{mode}.svg", svg(scene, colors)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pictures():
        (FOLDER / name).write_text(text, encoding="utf-8")
