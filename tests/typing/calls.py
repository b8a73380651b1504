"""What mypy and pyright see of kernels: exact without ``out=``, loose with it. Checked by tests/test_typing.py."""

from collections.abc import Sequence
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

from xpdispatch import In, Kernel, Out, Tile, kernel

Floats = npt.NDArray[np.float64]
x = np.ones(3)


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp: Any, x: Floats, y: Floats, a: float = 1.0) -> Floats:
    return a * x + y


assert_type(saxpy(x, x, 2.0), Floats)
assert_type(saxpy(x, y=x), Floats)
assert_type(saxpy(x, x, 2.0, out=x), Any)
saxpy(x)  # wrong: y is missing
saxpy(x, x, b=2.0)  # wrong: there is no b
saxpy(x, x, "2")  # wrong: a is a number
saxpy(x, [1.0])  # wrong: y is an array


@kernel("x[i] -> lo[i], hi[i]")
def both(xp: Any, x: Floats, *, width: int) -> tuple[Floats, Floats]:
    return x - width, x + width


assert_type(both(x, width=3), tuple[Floats, Floats])
both(x, 3)  # wrong: width is passed by name


@kernel("*xs[...] -> y[...]")
def mean(xp: Any, *xs: Floats) -> Floats:
    return xs[0]


assert_type(mean(x, x, x), Floats)
mean(x, 2)  # wrong: arrays only


@kernel("x[i] -> y[i]")
def places(xp: object, tile: Tile, x: Sequence[float], n: int) -> int:
    return 0


assert_type(places([1.0], 3), int)
places([1.0])  # wrong: n is missing


@kernel("x[i] -> y[i]")
def untyped(xp, x, a):  # type: ignore[no-untyped-def]
    return a * x


assert_type(untyped(x, 2.0), Any)


@kernel()
def writes(xp: Any, x: In, z: Out) -> None:
    z[...] = x


assert_type(writes(x), Any)
assert_type(writes(x, out=x), Any)


@saxpy.gpu_variant
def saxpy_on_gpus(xp: Any, x: Floats, y: Floats, a: float = 1.0) -> Floats:
    return a * x + y


assert_type(saxpy_on_gpus(x, x), Floats)
bare: Kernel = saxpy
assert_type(bare(x, 1, 2, 3), Any)
