"""What tasks get of operands with a halo, and random kernels with halos and blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest

from xpdispatch import Kernel, kernel


class Part(NamedTuple):
    """What a task gets of an operand: the shape, where it begins, and the same of what wraps around."""

    shape: tuple[int, ...]
    start: tuple[int, ...]
    wrapped: tuple[int, ...] = (0,)
    wrapped_from: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape) + math.prod(self.wrapped)


@contextmanager
def parts() -> Iterator[list[Part]]:
    """What each task gets of its first operand, where that has a halo or is pointed to; in the end of all processes."""
    from xpdispatch.legate import collective, leaf  # which start Legate

    found: list[Part] = []
    take = leaf.Task._take

    def spy(self: Any, site: Any, region: Any, stores: Any, operands: Any, inline: Any) -> Any:
        origins = take(self, site, region, stores, operands, inline)
        if 0 in origins:
            seams = self._wrapped(region, stores, [])
            wrapped = [(seam.array.shape, seam.first) for p, seam in seams.items() if p == 0]
            found.append(Part(operands[0].shape, tuple(origins[0]), *(wrapped[0] if wrapped else ())))
        return origins

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaf.Task, "_take", spy)
        yield found
        found[:] = [part for told in collective.of_all(found).values() for part in told]


def drawn(rng: np.random.Generator) -> tuple[Kernel, list[np.ndarray], np.ndarray]:
    """A kernel with halos and blocks, operands, and what its body gives on all that NumPy pads."""
    extents = {name: int(n) for name, n in zip("ijk", rng.integers(1, 14, rng.integers(1, 4)), strict=False)}
    terms, boundaries, operands, padded = [], {}, [], []
    reaches: list[dict[str, tuple[int, int, int]]] = []
    for name in "uw"[: rng.integers(1, 3)]:
        own = {index: (*map(int, rng.integers(0, 5, 2)), 1) for index in rng.permutation(list(extents)).tolist()}
        for index in [*own][1:]:
            own[index] = [own[index], (0, 0, 1), (0, 0, 2)][rng.integers(3)]
        if not any(below or above for below, above, _ in own.values()):
            own[next(iter(own))] = (1, 0, 1)
        axes = [f"{k}-{b}..{k}+{a}" if a or b else f"{scale}*{k}" for k, (b, a, scale) in own.items()]
        x = rng.random([extents[k] * scale for k, (_, _, scale) in own.items()]) - 0.5
        boundary = boundaries[name] = ["edge", "reflect", "symmetric", "wrap", 3][rng.integers(5)]
        mode = {"mode": boundary} if isinstance(boundary, str) else {"constant_values": boundary}
        terms.append(f"{name}[{','.join(axes)}]")
        operands.append(x if rng.random() < 0.7 else np.asfortranarray(x))
        padded.append(np.pad(x, [(b, a) for b, a, _ in own.values()], **mode))
        reaches.append(own)

    def body(xp: Any, *windows: Any) -> Any:
        total = 0
        for window, own in zip(windows, reaches, strict=True):
            counts = [(n - b - a) // scale for n, (b, a, scale) in zip(window.shape, own.values(), strict=True)]
            for shifts in product(*({0, b + a, scale - 1} for b, a, scale in own.values())):
                part = window[
                    tuple(
                        slice(k, k + n * scale, scale)
                        for k, n, (_, _, scale) in zip(shifts, counts, own.values(), strict=True)
                    )
                ]
                total = 0.7 * total + xp.permute_dims(part, [[*own].index(k) for k in extents])
        return total

    def of_one(xp: Any, u: Any) -> Any:
        return body(xp, u)

    def of_two(xp: Any, u: Any, w: Any) -> Any:
        return body(xp, u, w)

    made = kernel(
        f"{', '.join(terms)} -> v[{','.join(extents)}]", boundary=boundaries, fuse=bool(rng.random() < 0.5), dtype="u"
    )
    return made(of_one if len(terms) == 1 else of_two), operands, body(np, *padded)
