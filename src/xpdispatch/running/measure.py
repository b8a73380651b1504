"""What a body needs besides its arrays, found out by running it on ones.

The arrays of the run tell a ledger what is made of them, and when that is gone. So it counts what this thread does
and nothing else, and comes to the same numbers on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import np_dtype
from xpdispatch.arrays.reductions import identity
from xpdispatch.arrays.scalars import copied
from xpdispatch.planning.body import inside_body
from xpdispatch.planning.tiles import Tile
from xpdispatch.running.blocking import Cost, Growth
from xpdispatch.running.fusing import code_of, write_down
from xpdispatch.running.parts import window_shape
from xpdispatch.running.returned import values_of
from xpdispatch.running.site import Site

_VARIED = 3
"""Indices that are told apart, by two runs for each combination of them."""

_NOTHING = 1e-3
"""Bytes for each cell that come from rounding alone."""

_DECOMPOSITION = 1 / 2
"""Bytes that memory moves while LAPACK works on one, for each column of the matrix."""

_DEAR = 8
"""The same for functions that take longer than arithmetic, such as powers and those of scipy.special: 5 to 50 ns."""

_ARITHMETIC = frozenset(
    "add subtract multiply divide sqrt square negative positive absolute fabs reciprocal conjugate sign copysign "  # noqa: SIM905
    "maximum minimum fmax fmin floor ceil trunc rint isnan isfinite isinf signbit equal not_equal less less_equal "
    "greater greater_equal logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor invert "
    "left_shift right_shift bitwise_count".split()
)
"""NumPy's functions that go about as fast as memory."""

_PRODUCT = 1 / 8
"""The same for BLAS, by elements of the result and length of the sums: it does two flops for each."""


class Ledger:
    """What one run of a body makes.

    Attributes
    ----------
    live, most : int
        Bytes of the arrays that are there, now and at most.
    made, work : float
    rounds : bool
        Something was done that is not done to single cells.
    """

    def __init__(self) -> None:
        self.live = self.most = 0
        self.made = self.work = 0.0
        self.rounds = False

    def make(self, size: int) -> None:
        """An array of so many bytes comes into being."""
        self.made += size
        self.live += size
        self.most = max(self.most, self.live)


class Counted(np.ndarray[Any, Any]):
    """An array that keeps a :class:`Ledger`, and so do all that are made of it."""

    __array_priority__ = 1.0
    _ledger: Ledger | None
    _own: int

    def __array_finalize__(self, source: Any) -> None:
        self._ledger, self._own = getattr(source, "_ledger", None), 0
        if self._ledger is not None and self.flags.owndata:  # a copy of some kind, made by no ufunc
            self._own = self.nbytes
            self._ledger.make(self._own)

    def __del__(self) -> None:
        if self._own and self._ledger is not None:
            self._ledger.live -= self._own

    def __array_ufunc__(self, ufunc: np.ufunc, method: Any, *inputs: Any, out: Any = (), **options: Any) -> Any:
        ledger = _ledger_of((*inputs, *out, *options.values()))
        plain = tuple(_plain(v) for v in inputs)
        options = {name: _plain(v) for name, v in options.items()}
        if out:
            options["out"] = tuple(_plain(v) for v in out)
        result = getattr(ufunc, method)(*plain, **options)
        called = method == "__call__"
        if ledger is not None:
            ledger.rounds |= not called or ufunc.signature is not None
            if called and isinstance(result, np.ndarray):
                ledger.work += result.nbytes * _effort(ufunc, plain)
        if out:
            if ledger is not None:
                ledger.made += sum(v.nbytes for v in out if v is not None)
            return out[0] if len(out) == 1 else out
        return counted(result, ledger)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        ledger = self._ledger
        if ledger is not None:
            ledger.rounds = True
            if function.__module__ == "numpy.linalg":
                ledger.work += _DECOMPOSITION * self.nbytes * max(self.shape[-1:], default=1)
        return counted(super().__array_function__(function, types, args, kwargs), ledger)


def counted(value: Any, ledger: Ledger | None, *, new: bool = True) -> Any:
    """The array, or each array of a tuple or list, with the ledger; a new one is entered there."""
    if isinstance(value, tuple | list):
        items = [counted(v, ledger, new=new) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if type(value) is not np.ndarray or ledger is None:
        return value
    view = value.view(Counted)
    view._ledger = ledger
    if new and value.base is None:
        view._own = value.nbytes
        ledger.make(value.nbytes)
    return view


def _effort(ufunc: np.ufunc, inputs: Sequence[Any]) -> float:
    """Bytes that memory moves meanwhile, for each byte of the result."""
    if ufunc.signature is not None:
        return _PRODUCT * max(np.shape(inputs[0])[-1:], default=1)
    return 0 if ufunc.__name__ in _ARITHMETIC else _DEAR


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def _ledger_of(values: Sequence[Any]) -> Ledger | None:
    return next((v._ledger for v in values if isinstance(v, Counted) and v._ledger is not None), None)


class _CountedNamespace:
    """The body's namespace, but that its ``asarray`` keeps the ledger, which NumPy's drops."""

    def __init__(self, xp: Any, ledger: Ledger) -> None:
        self._xp, self._ledger = xp, ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def asarray(self, *args: Any, **kwargs: Any) -> Any:
        return counted(self._xp.asarray(*args, **kwargs), self._ledger)


class _CountedTile(Tile):
    """A tile whose coordinates are entered in a ledger, too."""

    ledger: Ledger

    def coords(self, index: str | tuple[str, int]) -> Any:
        return counted(Tile.coords(self, index), self.ledger)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run on ones tells.

    Parameters
    ----------
    cost : Cost
    dtypes : tuple of numpy.dtype
        Of each result.
    steps : int
        Of its program; 0 where the body is no program.
    """

    cost: Cost
    dtypes: tuple[np.dtype[Any], ...]
    steps: int


def measure(
    site: Site, dtypes: Sequence[Any], given: Sequence[Any], scalars: Sequence[Any], sizes: Sequence[int]
) -> Measured | None:
    """Run the body on a tile of these sizes and on smaller ones, to tell with which indices its needs grow.

    Parameters
    ----------
    site : Site
    dtypes : sequence of dtype
        The operands'.
    given : sequence of (dtype or None)
        Of the arrays that are written.
    scalars : sequence of object
        The body gets copies.
    sizes : sequence of int

    Returns
    -------
    Measured or None
        None where the body does not run on ones, or on such a tile. That is no error, for nobody asked it to.
    """
    levels = _levels(site, sizes)
    token = inside_body.set(True)
    try:
        with np.errstate(all="ignore"):
            runs = [_run(site, dtypes, given, copied(scalars), tile) for tile in product(*levels)]
            steps = _steps(site, dtypes, given, scalars, sizes)
    except Exception:  # noqa: BLE001  see above
        return None
    finally:
        inside_body.reset(token)
    largest, result_dtypes = runs[-1]
    ledgers = [ledger for ledger, _ in runs]
    live, made, work = (_growth([getattr(ledger, n) for ledger in ledgers], levels) for n in ("most", "made", "work"))
    return Measured(Cost(live, made, work, largest.rounds), result_dtypes, steps)


def _steps(
    site: Site, dtypes: Sequence[Any], given: Sequence[Any], scalars: Sequence[Any], sizes: Sequence[int]
) -> int:
    if site.fusing is None:
        return 0
    region = tuple((0, n) for n in sizes)
    operands = [np.empty(window_shape(o, region), d) for o, d in zip(site.plan.operands, dtypes, strict=True)]
    targets = [None if d is None else np.empty(0, d) for d in given]
    buffers = {r: np.empty(site.plan.results[r].tile_shape(sizes), given[r]) for r in site.body.buffers}
    program = write_down(site, sizes, operands, buffers, targets, scalars)
    return 0 if program is None or code_of(site, program, operands, targets, scalars) is None else program.steps


def _levels(site: Site, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """The sizes to run with, by index: two for those that go farthest, and for all others one."""
    extents = site.plan.extents
    far = sorted(range(len(sizes)), key=lambda i: (-extents[i], i))[:_VARIED]
    levels: list[tuple[int, ...]] = []
    for i, n in enumerate(sizes):
        high = max(2, n)
        levels.append((max(1, high // 4), high) if i in far and extents[i] > 1 else (n,))
    return levels


def _growth(found: Sequence[float], levels: Sequence[tuple[int, ...]]) -> Growth:
    """The sum of products that is what was found, at all of the sizes.

    What grows with an index that had one size is taken to grow with all of them.
    """
    values = np.asarray(found, dtype=float).reshape([len(level) for level in levels])
    for axis, level in enumerate(levels):
        if len(level) == 2:
            low, high = np.moveaxis(values, axis, 0)
            slope = (high - low) / (level[1] - level[0])
            values = np.stack([low - slope * level[0], slope], axis)
    fixed = tuple(i for i, level in enumerate(levels) if len(level) == 1 and level[0] > 1)
    share = math.prod(levels[i][0] for i in fixed)
    terms = []
    for place, factor in np.ndenumerate(values):
        if factor > _NOTHING:
            indices = sorted({*fixed, *(i for i, n in enumerate(place) if n)})
            terms.append((tuple(indices), round(float(factor) / share, 6)))
    return Growth(tuple(terms))


def _run(
    site: Site, dtypes: Sequence[Any], given: Sequence[Any], scalars: Sequence[Any], sizes: Sequence[int]
) -> tuple[Ledger, tuple[np.dtype[Any], ...]]:
    plan, body, ledger = site.plan, site.body, Ledger()
    region = tuple((0, n) for n in sizes)
    operands = [
        counted(np.ones(window_shape(layout, region), d), ledger, new=False)
        for layout, d in zip(plan.operands, dtypes, strict=True)
    ]
    buffers: dict[int, Any] = {}
    for r in body.buffers:
        layout, updated = plan.results[r], body.updated[r]
        if updated is not None:
            buffers[r] = operands[updated]
            continue
        dtype = np.dtype(site.casts[r] if site.casts[r] is not None else given[r])
        start = identity(layout.op, dtype) if layout.op else 1
        buffers[r] = counted(np.full(layout.tile_shape(sizes), start, dtype), ledger, new=False)
    tile = _CountedTile(plan, region, site.xp, site.variant)
    object.__setattr__(tile, "ledger", ledger)
    xp = _CountedNamespace(site.xp, ledger)
    values = values_of(site, body.call(site.function, xp, tile, operands, buffers, scalars), buffers)
    arrays = [np.asanyarray(v) for v in values]
    # A result is no temporary: it is counted among the arrays.
    ledger.most = max(0, ledger.most - sum(a.nbytes for a in arrays if isinstance(a, Counted) and a._own))
    ledger.rounds |= not all(isinstance(a, Counted) for a in arrays) or any(r.op for r in plan.results)
    casts = zip(arrays, site.casts, strict=True)
    return ledger, tuple(np_dtype(a.dtype if cast is None else cast) for a, cast in casts)
