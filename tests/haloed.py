"""Random kernels with halos and blocks, and what they give."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from xpdispatch import Kernel, kernel


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
