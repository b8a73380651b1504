"""What a body makes and holds: a dry run on arrays that keep a ledger of what is made of them.

It has some elements for each index. The extents are primes far apart, so that the shape of each array tells with which
indices it grows. No data are read, so that all machines come to the same costs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpdispatch.arrays.dtypes import np_dtype
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.tiles import Tile
from xpdispatch.planning.windows import WHOLE, Bounds, sizes_of
from xpdispatch.running.costs import Cost, Growth, Products
from xpdispatch.running.dry_run import body_values, samples, stand_ins
from xpdispatch.running.site import Site, pass_over

_DECOMPOSITION = 1 / 2
"""Bytes that memory moves while LAPACK works on one, for each column of the matrix."""

_DECOMPOSING = frozenset(
    "cholesky cond det eig eigh eigvals eigvalsh inv lstsq matrix_norm matrix_power matrix_rank pinv qr slogdet solve "  # noqa: SIM905
    "svd svdvals".split()
)
"""The functions that do."""

_DEAR = 8
"""The same for functions that take longer than arithmetic, such as powers and those of scipy.special: 5 to 50 ns."""

_QUICKER, _QUICK = frozenset(("exp", "exp2", "log", "log2", "log10", "logaddexp", "sqrt")), 2
"""Functions for which NumPy uses the widest registers, and what they take."""

_REDUCED, _ACCUMULATED = 1 / 4, 4
"""The same for each byte that a reduction reads, and that a running one does."""

_ROW, _REDUCED_ROW = 100, 200
"""The same for each row of an array that NumPy goes through row by row, since it is broadcast or a view: some 8 ns; and
of one that is reduced: 14 ns to 40."""

_FUNCTIONS = {
    **dict.fromkeys(("argsort", "lexsort", "sort", "unique"), 20),
    **dict.fromkeys(("digitize", "histogram", "interp", "searchsorted"), 15),
    **dict.fromkeys(("argpartition", "median", "partition", "percentile", "quantile"), 5),
    **dict.fromkeys(("fft", "hfft", "ifft", "ihfft", "irfft", "rfft"), 3),
    **dict.fromkeys(("bincount", "einsum", "take", "take_along_axis", "where"), 1 / 2),
    **dict.fromkeys(("argmax", "argmin", "count_nonzero", "nonzero"), _REDUCED),
}
"""The same for other functions of NumPy's, for each byte of the arrays that they take and make."""

_ARITHMETIC = frozenset(
    "add subtract multiply divide square negative positive absolute fabs reciprocal conjugate sign copysign "  # noqa: SIM905
    "maximum minimum fmax fmin floor ceil trunc rint isnan isfinite isinf signbit equal not_equal less less_equal "
    "greater greater_equal logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor invert "
    "left_shift right_shift bitwise_count".split()
)
"""NumPy's functions that go about as fast as memory."""

_MOVING = frozenset(
    "atleast_1d broadcast_arrays broadcast_to clip concatenate copy diagonal expand_dims flip full_like imag moveaxis "  # noqa: SIM905
    "ones_like pad real repeat reshape roll sort squeeze stack swapaxes take take_along_axis tile transpose where "
    "zeros_like".split()
)
"""NumPy's functions that are no ufuncs, and neither add nor multiply."""

_ASKING = frozenset(("ndim", "result_type", "shape", "size"))
"""Those that do not go through any element."""

_TELLING = frozenset(
    "all amax amin any cumprod cumsum cumulative_prod cumulative_sum diff max mean min prod std sum var".split()  # noqa: SIM905
)
"""Those that call ufuncs, which tell of themselves."""

_LINES = {
    **dict.fromkeys(("argmax", "argmin", "count_nonzero"), None),
    **dict.fromkeys(("argsort", "fft", "hfft", "ifft", "ihfft", "irfft", "rfft"), -1),
}
"""Those that go through an array line by line, each as if it were alone, and along which axis if nothing is said."""

_PRODUCT = 1 / 16
"""The same for BLAS, by elements of the result and length of the sums: it does two flops for each."""

_SHARED_BY_BLAS = 10_000, 9_216, 1 << 18
"""Multiplications of a product of vectors, of a matrix with a vector, and of matrices, from which on OpenBLAS shares
it among threads. Stacks of smaller ones it does one after the other, on one thread."""

_PRIMES = (
    (37, 53, 83),
    (19, 29, 43),
    (11, 17, 23, 29),
    (7, 11, 13, 17, 19),
    (5, 7, 11, 13, 17),
    (3, 5, 7),
    (2, 3, 5),
    (2, 3),
    (2,),
)
"""Extents of the indices in a counted run, from the longest on; all further ones have the last."""

_FEW = 1 << 18
"""Elements of all operands in a counted run at most, but where even the smallest extents give more."""


def counted_region(plan: Plan) -> Bounds:
    """The tile for a counted run."""
    order = sorted(range(len(plan.extents)), key=lambda i: (-plan.extents[i], i))
    region: Bounds = ()
    fixed = _unsplit(plan)
    for primes in _PRIMES:
        sizes = {i: primes[min(place, len(primes) - 1)] for place, i in enumerate(order)}
        region = tuple(
            (0, _apart(min(n, max(sizes[i], least)), max(2, least), fixed))
            for i, (n, least) in enumerate(zip(plan.extents, plan.fewest, strict=True))
        )
        if sum(math.prod(o.held_shape(region)) for o in plan.operands) <= _FEW:
            break
    return region


def _apart(size: int, least: int, fixed: Collection[int]) -> int:
    """A size that is not also an extent that belongs to no index, if there is one that is not larger."""
    return next((n for n in range(size, least - 1, -1) if n not in fixed), size)


def _unsplit(plan: Plan) -> frozenset[int]:
    """The extents of axes that belong to no index."""
    layouts = (*plan.operands, *plan.results)
    return frozenset([int(n or 0) for o in layouts for a, n in zip(o.axes, o.shape, strict=True) if a == WHOLE])


@dataclass(slots=True)
class Ledger:
    """What one run of a body makes, and with which indices that grows.

    Parameters
    ----------
    sizes : tuple of int
        Of each index.
    fixed : frozenset of int
        Extents of axes that belong to no index.
    """

    sizes: tuple[int, ...]
    fixed: frozenset[int]
    made: dict[tuple[int, ...], float] = field(default_factory=dict)
    work: dict[tuple[int, ...], float] = field(default_factory=dict)
    products: list[tuple[Growth, Growth]] = field(default_factory=list)
    live: dict[tuple[int, ...], float] = field(default_factory=dict)
    peaks: dict[tuple[tuple[tuple[int, ...], float], ...], None] = field(default_factory=dict)
    rounds: bool = False
    """Something was done that is done neither to single elements nor to lines of elements, each by itself."""
    rows: bool = False
    """Rows were added up, each by itself."""
    rising: bool = False
    calls: int = 0
    """How many array functions were called."""

    def indices(self, extents: Sequence[int]) -> tuple[int, ...]:
        """The indices with which an array of these extents grows."""
        found: set[int] = set()
        for n in extents:
            if n in self.fixed or n <= 1:
                continue
            free = [i for i, size in enumerate(self.sizes) if size > 1 and i not in found]
            exact = [i for i in free if n % self.sizes[i] == 0]
            found.update(exact or [i for i in free if self._is_near(n, self.sizes[i])][:1])
        return tuple(sorted(found))

    @staticmethod
    def _is_near(n: int, size: int) -> bool:
        """Whether an extent is that of an index, or some blocks of it, but for a halo that was cut off or added."""
        blocks = max(1, round(n / size))
        return blocks <= 8 and abs(n - blocks * size) <= min(4, size // 4)

    def growth(self, indices: tuple[int, ...], amount: float) -> float:
        """An amount for each element of these indices."""
        return amount / math.prod(self.sizes[i] for i in indices)

    def make(self, extents: Sequence[int], size: int) -> tuple[tuple[int, ...], float]:
        """An array of so many bytes comes into being; what :meth:`drop` is to be told."""
        indices = self.indices(extents)
        amount = self.growth(indices, size)
        self.made[indices] = self.made.get(indices, 0.0) + amount
        self.live[indices] = self.live.get(indices, 0.0) + amount
        self.rising = True
        return indices, amount

    def drop(self, indices: tuple[int, ...], amount: float) -> None:
        """The array is gone."""
        self.peak()
        self.live[indices] -= amount

    def peak(self) -> None:
        """Note down what is there, if it is more than before."""
        if self.rising:
            self.peaks[tuple([(i, round(a, 6)) for i, a in sorted(self.live.items()) if a > 1e-6])] = None
        self.rising = False

    def cost(self, results: Sequence[tuple[tuple[int, ...], float]]) -> Cost:
        """What was entered; a result is not a temporary, for it is counted among the arrays of the call."""
        self.peak()
        return Cost(
            peaks=tuple(Growth(peak) for peak in self.peaks),
            kept=Growth(tuple(results)),
            made=Growth(tuple(sorted(self.made.items()))),
            work=Growth(tuple(sorted(self.work.items()))),
            products=Products(tuple(self.products)),
            rounds=self.rounds,
            rows=self.rows,
            calls=self.calls,
        )

    def computes(self, ufunc: np.ufunc, extents: Sequence[int], size: int, *, by_row: bool) -> None:
        """A function that goes element by element makes so many bytes, row by row or all at once."""
        if ufunc.__name__ not in _ARITHMETIC:
            self.does(extents, (_QUICK if ufunc.__name__ in _QUICKER else _DEAR) * size)
        if by_row:
            self.goes_through_rows(extents, _ROW)

    def reduces(self, method: str, extents: Sequence[int], size: int) -> None:
        """A method of a function that goes element by element reads so many bytes, to put them together."""
        self.does(extents, (_ACCUMULATED if method == "accumulate" else _REDUCED) * size)
        self.goes_through_rows(extents, _REDUCED_ROW)

    def puts_together(self, method: str, array: Any, result: Any, axis: Any) -> None:
        """A method of a ufunc: whether what it makes of a line depends on the other lines."""
        if self.takes_lines(array, axis) and not (
            method == "accumulate" or (method == "reduce" and result.dtype.kind in "iub")
        ):
            count = array.ndim if axis is None else np.size(axis)
            last = axis is None or {a % array.ndim for a in np.atleast_1d(axis)} == {*range(array.ndim)[-count:]}
            self.rows = True
            in_rows = method == "reduce" and last and array.flags.c_contiguous and array.dtype == result.dtype
            self.rounds |= not in_rows

    def takes_lines(self, array: Any, axis: Any) -> bool:
        """Lines along an axis are gone through; whether they are whole in every tile."""
        extents = array.shape if axis is None else [array.shape[a] for a in np.atleast_1d(axis)]
        whole = not self.indices(extents)
        self.rounds |= not whole
        return whole

    def goes_through_rows(self, extents: Sequence[int], each: float) -> None:
        """An array is gone through row by row."""
        if len(extents) > 1:
            self.does(extents[:-1], each * math.prod(extents[:-1]))

    def decomposes(self, array: np.ndarray[Any, Any]) -> None:
        """A function of linear algebra works on matrices."""
        columns = array.shape[-1:]
        self.does((*array.shape, *columns), _DECOMPOSITION * array.nbytes * max(columns, default=1))

    def does(self, extents: Sequence[int], amount: float) -> None:
        """Computing beyond making arrays."""
        indices = self.indices(extents)
        self.work[indices] = self.work.get(indices, 0.0) + self.growth(indices, amount)

    def multiplies(self, extents: Sequence[int], size: int, axes: int, *, blas: bool) -> None:
        """Products of matrices make so many bytes; the last of the extents is that of the sums.

        `axes` are those of one product before it; those before them are of a stack.
        """
        amount = _PRODUCT * size * max(extents[-1:], default=1)
        if blas:
            every, one = self.indices(extents), extents[len(extents) - 1 - axes :]
            indices, part = self.indices(one), math.prod(one) / _SHARED_BY_BLAS[axes]
            terms = Growth(((every, self.growth(every, amount)),)), Growth(((indices, self.growth(indices, part)),))
            self.products.append(terms)
        self.does(extents, amount)


class Counted(np.ndarray[Any, Any]):
    """An array that keeps a :class:`Ledger`, and so do all that are made of it."""

    __array_priority__ = 1.0
    _ledger: Ledger | None
    _entry: tuple[tuple[int, ...], float] | None

    def __array_finalize__(self, source: Any) -> None:
        self._ledger, self._entry = getattr(source, "_ledger", None), None
        if self._ledger is not None and self.flags.owndata:  # a copy of some kind, made by no ufunc
            self._entry = self._ledger.make(self.shape, self.nbytes)

    def __del__(self) -> None:
        if self._entry is not None and self._ledger is not None:
            self._ledger.drop(*self._entry)

    def __array_ufunc__(self, ufunc: np.ufunc, method: Any, *inputs: Any, out: Any = (), **options: Any) -> Any:
        ledger = _ledger_of((*inputs, *out, *options.values()))
        plain = tuple(_plain(v) for v in inputs)
        options = {name: _plain(v) for name, v in options.items()}
        if out:
            options["out"] = tuple(_plain(v) for v in out)
        result = getattr(ufunc, method)(*plain, **options)
        called = method == "__call__"
        if ledger is not None:
            ledger.calls += 1
            ledger.rounds |= ufunc.signature is not None
            arrays = [v for v in plain if isinstance(v, np.ndarray) and v.ndim]
            if not called:
                for array in arrays[:1]:
                    ledger.reduces(method, array.shape, array.nbytes)
                    ledger.puts_together(method, array, result, options.get("axis", 0))
            elif isinstance(result, np.ndarray):
                if ufunc.signature is not None:
                    extents = (*result.shape, *np.shape(plain[0])[-1:])
                    ledger.multiplies(extents, result.nbytes, _axes(ufunc, plain), blas=result.dtype.char in "fdFD")
                else:
                    by_row = any(v.shape != result.shape or not v.flags.forc for v in arrays)
                    ledger.computes(ufunc, result.shape, result.nbytes, by_row=by_row)
        if out:
            if ledger is not None:
                for v in out:
                    if v is not None:
                        indices = ledger.indices(v.shape)
                        ledger.made[indices] = ledger.made.get(indices, 0.0) + ledger.growth(indices, v.nbytes)
            return out[0] if len(out) == 1 else out
        return counted(result, ledger)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        ledger, name = self._ledger, function.__name__
        before = 0 if ledger is None else ledger.calls
        result = counted(super().__array_function__(function, types, args, kwargs), ledger)
        if ledger is not None:
            told = ledger.calls > before
            ledger.calls += not told and name not in _ASKING
            if name in _LINES and len(args) == 1:
                ledger.takes_lines(self, kwargs.get("axis", _LINES[name]))
            else:
                ledger.rounds |= not (name in _MOVING or name in _ASKING or (told and name in _TELLING))
            if function.__module__ == "numpy.linalg" and name in _DECOMPOSING:
                ledger.decomposes(self)
            elif name in _FUNCTIONS:
                for array in (*args, result):
                    if isinstance(array, Counted):
                        ledger.does(array.shape, _FUNCTIONS[name] * array.nbytes)
        return result


def _axes(ufunc: np.ufunc, factors: Sequence[Any]) -> int:
    """How many axes a product has, without those of a stack."""
    if ufunc is np.matmul:
        return sum(min(np.ndim(factor), 2) for factor in factors) - 2
    return 0 if str(ufunc.signature).endswith("()") else 1


def counted(value: Any, ledger: Ledger | None, *, new: bool = True) -> Any:
    """The array, or each array of a tuple or list, with the ledger; a new one is entered there."""
    if isinstance(value, tuple | list):
        items = [counted(v, ledger, new=new) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    lost = isinstance(value, Counted) and value._ledger is None  # as numpy.concatenate makes them
    if ledger is None or not (lost or type(value) is np.ndarray):
        return value
    view = value if lost else value.view(Counted)
    view._ledger = ledger
    if new and value.base is None:
        view._entry = ledger.make(value.shape, value.nbytes)
    return view


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def _ledger_of(values: Sequence[Any]) -> Ledger | None:
    return next((v._ledger for v in values if isinstance(v, Counted) and v._ledger is not None), None)


class _CountedLinalg:
    """The body's linear algebra, of which some functions drop the ledger."""

    def __init__(self, linalg: Any, ledger: Ledger) -> None:
        self._linalg, self._ledger = linalg, ledger

    def __getattr__(self, name: str) -> Any:
        function, ledger = getattr(self._linalg, name), self._ledger
        if name not in _DECOMPOSING:
            return function

        def call(*args: Any, **kwargs: Any) -> Any:
            arrays = [a for a in args if isinstance(a, Counted)]
            ledger.calls += 1
            ledger.rounds = True
            if arrays:
                ledger.decomposes(arrays[0])
            return counted(function(*map(_plain, args), **kwargs), ledger)

        return call


class _CountedNamespace:
    """The body's namespace, but that its ``asarray`` keeps the ledger, which NumPy's drops, and its ``linalg``."""

    def __init__(self, xp: Any, ledger: Ledger) -> None:
        self._xp, self._ledger = xp, ledger

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._xp, name)
        if name == "linalg":
            found = self.linalg = _CountedLinalg(found, self._ledger)
        return found

    def asarray(self, *args: Any, **kwargs: Any) -> Any:
        return counted(self._xp.asarray(*args, **kwargs), self._ledger)


class _CountedTile(Tile):
    """A tile whose coordinates are entered in a ledger, too."""

    ledger: Ledger

    def coords(self, index: str | tuple[str, int]) -> Any:
        return counted(Tile.coords(self, index), self.ledger)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a counted run tells.

    Parameters
    ----------
    cost : Cost
    dtypes : tuple of numpy.dtype
        Of each result.
    seconds : float
        That the run took of this thread's time, for each element of its tile; 0 where the body itself did not run.
        Nothing that all processes must decide alike may ask for it.
    """

    cost: Cost
    dtypes: tuple[np.dtype[Any], ...]
    seconds: float = 0.0


def ledger_for(plan: Plan, region: Bounds) -> Ledger:
    """An empty ledger for a run on a region."""
    return Ledger(sizes_of(region), _unsplit(plan))


def count(
    site: Site, region: Bounds, arguments: Sequence[Any], targets: Sequence[Any], gathered: Sequence[int] = ()
) -> Measured:
    """Run the body on :func:`stand_ins` for a region, and count what it makes, and the operands that are gathered."""
    plan, body = site.plan, site.body
    ledger = ledger_for(plan, region)
    given = list(arguments)
    copies = [body.operand_at[p] for p in gathered]
    for at in (*body.operand_at, *body.buffer_at.values()):
        given[at] = counted(given[at], ledger, new=at in copies)
    buffers = {r: given[at] for r, at in body.buffer_at.items()}
    tile = _CountedTile(plan, region, site.xp, site.variant)
    object.__setattr__(tile, "ledger", ledger)
    leading = (_CountedNamespace(site.xp, ledger), tile) if body.wants_tile else (_CountedNamespace(site.xp, ledger),)
    started = time.thread_time()
    arrays = body_values(site, leading, given, buffers)
    seconds = (time.thread_time() - started) / max(1, math.prod(ledger.sizes))
    ledger.rounds |= not all(isinstance(a, Counted) for a in arrays) or any(r.op for r in plan.results)
    cost = ledger.cost([a._entry for a in arrays if isinstance(a, Counted) and a._entry is not None])
    dtypes = tuple(np_dtype(a.dtype if c is None else c) for a, c in zip(arrays, site.casts, strict=True))
    return Measured(cost, dtypes, seconds)


def measure(site: Site, dtypes: Sequence[Any], given: Sequence[Any], scalars: Sequence[Any]) -> Measured | None:
    """A counted run on samples; None where the body runs on none. That is not an error: nobody asked it to."""
    gathered, site = site.plan.gathered, site.seen
    region = counted_region(site.plan)
    for _, fill in samples(site.plan, np):
        try:
            return count(site, region, *stand_ins(site, region, dtypes, given, scalars, fill), gathered)
        except BaseException as error:  # noqa: BLE001  see above
            pass_over(error)
    return None
