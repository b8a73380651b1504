"""Kernels as the tutorial of Legate writes them: a body of NumPy calls under legate.core.task."""

import numpy as np

import xpdispatch  # before Legate, for machines without a driver  # noqa: F401  # isort: skip
import legate.core as lg
from legate.core import align, broadcast
from legate.core.task import ADD, InputArray, OutputArray, ReductionArray, task


def on_cpus(*constraints):
    return task(variants=(lg.VariantCode.CPU,), constraints=constraints)


@on_cpus(align("src", "dst"))
def copy(src: InputArray, dst: OutputArray) -> None:
    np.asarray(dst)[:] = np.asarray(src)[:]


@on_cpus(align("x", "y"), align("y", "z"))
def saxpy(x: InputArray, y: InputArray, z: OutputArray, a: float) -> None:
    np.asarray(z)[:] = a * np.asarray(x) + np.asarray(y)


@on_cpus(broadcast("hist"))
def histogram(data: InputArray, hist: ReductionArray[ADD], bins: int) -> None:
    counts, _ = np.histogram(np.asarray(data), bins=bins, range=(0, bins))  # without a range tiles would differ
    np.asarray(hist)[:] += counts


@on_cpus(align("c", "a"), align("c", "b"))
def matmul(c: ReductionArray[ADD], a: InputArray, b: InputArray) -> None:
    part = np.asarray(c)[:, 0, :]
    part += np.matmul(np.asarray(a)[:, :, 0], np.asarray(b)[0, :, :])


@on_cpus(align("c", "a"), align("c", "b"))
def matmul_cast(c: ReductionArray[ADD], a: InputArray, b: InputArray) -> None:
    part = np.asarray(c)[:, 0, :]
    part += np.matmul(np.asarray(a)[:, :, 0].astype(np.float64), np.asarray(b)[0, :, :].astype(np.float64))


@on_cpus(align("dst", "src"), broadcast("src", (1, 2)))
def fft2(dst: OutputArray, src: InputArray) -> None:
    np.asarray(dst)[:] = np.fft.fftn(np.asarray(src), axes=(1, 2))


@on_cpus(align("spot", "strike"), align("strike", "years"), align("years", "call"))
def black_scholes(spot: InputArray, strike: InputArray, years: InputArray, call: OutputArray) -> None:
    s, k, t = np.asarray(spot), np.asarray(strike), np.asarray(years)
    root = 0.3 * np.sqrt(t)
    d1 = (np.log(s / k) + (0.02 + 0.5 * 0.09) * t) / root
    n1, n2 = 1 / (1 + np.exp(-1.702 * d1)), 1 / (1 + np.exp(-1.702 * (d1 - root)))
    np.asarray(call)[:] = s * n1 - k * np.exp(-0.02 * t) * n2


@on_cpus(align("x", "s"), broadcast("x", (1,)))
def softmax(x: InputArray, s: OutputArray) -> None:
    part = np.asarray(x)
    e = np.exp(part - np.max(part, axis=1, keepdims=True))
    np.asarray(s)[:] = e / np.sum(e, axis=1, keepdims=True)


TASKS = {
    "copy": copy,
    "saxpy": saxpy,
    "histogram": histogram,
    "matmul": matmul,
    "matmul, cast": matmul_cast,
    "fft2": fft2,
    "black_scholes": black_scholes,
    "softmax": softmax,
}
