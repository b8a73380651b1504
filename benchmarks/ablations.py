"""Calls with one of the library's mechanisms switched off, for ``table.py --ablate``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from unittest import mock

import numpy as np

from xpdispatch import Kernel, kernel, threads
from xpdispatch.arrays import cpu
from xpdispatch.machine import llvm, memory
from xpdispatch.running import costs
from xpdispatch.running.cutting import Cutter

MECHANISMS = ("fusing", "compiled loops", "cutting", "measuring", "reuse of blocks", "threads", "scipy's FFT")


@kernel("points[i, :d], centers[:k, :d] -> sum sums[:k, :d], sum counts[:k], sum inertia[]")
def kmeans(xp, points, centers):
    """As in examples/kmeans.py."""
    distance = xp.sum((points[:, None, :] - centers[None, :, :]) ** 2, axis=2)
    nearest = xp.argmin(distance, axis=1)
    member = nearest[:, None] == xp.arange(centers.shape[0], dtype=nearest.dtype)[None, :]
    sums = xp.astype(member, points.dtype).T @ points
    return sums, xp.count_nonzero(member, axis=0), xp.sum(xp.min(distance, axis=1))


def points_and_centers() -> tuple[object, ...]:
    draw = np.random.default_rng(1).normal
    return draw(size=(2 * 10**5, 2)), draw(size=(8, 2))


def without(mechanism: str, made: Kernel) -> tuple[Kernel, Callable[[], AbstractContextManager[object]]]:
    """A kernel with caches of its own and what its calls are to stand in, so that they do without a mechanism.

    No other function here knows the library's internals. An empty name switches nothing off.
    """
    options = {**made._options, "fuse": mechanism != "fusing", "cut": mechanism != "cutting"}
    own = Kernel(made.__wrapped__, made.signature, **options)
    study = Cutter._dry_run

    def unmeasured(cutter: Cutter, scalars: Sequence[object]) -> tuple[object, None]:
        studied, _ = study(cutter, scalars)
        return studied and studied._replace(cost=costs.guess(cutter.volumes)), None

    scopes: dict[str, Callable[[], AbstractContextManager[object]]] = {
        # What is guessed of a body's costs stays, and whether it can be traced.
        "measuring": partial(mock.patch.object, Cutter, "_dry_run", unmeasured),
        "compiled loops": partial(mock.patch.object, llvm, "is_there", lambda: False),
        "reuse of blocks": partial(mock.patch.object, memory, "_SMALLEST", sys.maxsize),
        "threads": partial(threads, 1),
        "scipy's FFT": partial(mock.patch.object, cpu, "_takes", lambda _: False),
    }
    return own, scopes.get(mechanism, nullcontext)


def sides_of(name: str, made: Kernel, values: tuple[object, ...], count: int) -> dict[str, Callable[[], object]]:
    """The call on so many threads with all mechanisms, and without each that can matter to it."""
    names = [m for m in MECHANISMS if (m != "threads" or count > 1) and (m != "scipy's FFT" or name == "fft2")]

    def side(mechanism: str) -> Callable[[], object]:
        own, scope = without(mechanism, made)

        def call() -> object:
            with threads(count), scope():
                return own(*values)

        return call

    return {"all": side("")} | {f"without {m}": side(m) for m in names}
