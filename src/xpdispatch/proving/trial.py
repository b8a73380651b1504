"""Run a kernel on NumPy under a tiling, and watch the body: what it reads, writes, changes and leaves out."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xpdispatch.planning.arguments import as_arrays
from xpdispatch.planning.definition import Call, Definition
from xpdispatch.planning.plan import Plan
from xpdispatch.planning.tiles import whole
from xpdispatch.planning.windows import Bounds
from xpdispatch.proving.tilings import Tiling
from xpdispatch.running.calls import all_given, site_of, targets_of
from xpdispatch.running.cutting import can_be_traced
from xpdispatch.running.executor import ByTile, Strategy, Whole, Work
from xpdispatch.running.learned import Learned
from xpdispatch.running.results import Taking
from xpdispatch.running.site import Site
from xpdispatch.running.traced import Traced

POISONS = (0xA5, 0x5A)
"""What every byte of a result holds before the body runs; the second time another one."""

_LOOPS_FROM = 32
"""Steps of single elements after which a check runs compiled loops."""

HIGHER = {"e": "d", "f": "d", "d": "g", "F": "D", "D": "G"}
"""The next dtype of higher precision, by NumPy's character codes."""


class Fault(Exception):  # noqa: N818  it never leaves this package
    """A body did what no body may; the text is the bare fact.

    Parameters
    ----------
    fact : str
    hint : str
    blame : str
        The argument, result or variable.
    """

    def __init__(self, fact: str, hint: str, blame: str = "") -> None:
        super().__init__(fact)
        self.hint = hint
        self.blame = blame


@dataclass(frozen=True, slots=True)
class Trial:
    """A kernel and one call's arguments, ready to run under any tiling.

    Parameters
    ----------
    definition : Definition
    operands : tuple of numpy.ndarray
    given : tuple of (numpy.ndarray or None)
        The arrays that the caller passes to be written; their content does not count.
    scalars : tuple of object
    pickled : tuple of (bytes or None)
        Each scalar as a task gets it; None where it cannot be pickled.
    site : Site
    traced : Traced or None
        Runs the body by its trace, where it may have one.
    watched : bool
        Whether it is looked at what the body does with what it gets, and warnings are held back; else the body gets
        the arrays that a call gives it. To hold warnings back changes what all threads do, so that a call does not.
    """

    definition: Definition
    operands: tuple[Any, ...]
    given: tuple[Any, ...]
    scalars: tuple[Any, ...]
    pickled: tuple[bytes | None, ...]
    site: Site = field(repr=False)
    traced: Traced | None = field(repr=False, default=None)
    watched: bool = True

    @property
    def plan(self) -> Plan:
        """The plan of the call."""
        return self.site.plan

    @property
    def inexact(self) -> bool:
        """Whether some operand has a dtype that rounds."""
        return any(a.dtype.kind in "fc" for a in self.operands)

    def call(self) -> Call:
        """The call with these values, in arrays of its own."""
        operands = tuple(np.array(a) for a in self.operands)
        return Call(self.definition, operands, self.given, self.scalars)

    def under(self, definition: Definition, **changes: Any) -> Trial:
        """The same call of another definition.

        Raises
        ------
        XPDispatchError
            It does not fit.
        """
        return trial_of(replace(self.call(), definition=definition, **changes))

    def with_operands(self, operands: Sequence[Any]) -> Trial:
        """The same call with other values."""
        return replace(self, operands=tuple(operands))

    def precise(self) -> Trial | None:
        """The same call in the next higher precision; None where there is none."""
        if not any(a.dtype.char in HIGHER for a in (*self.operands, *(g for g in self.given if g is not None))):
            return None
        casts = tuple(None if c is None else _higher(np.dtype(c)) for c in self.site.casts)
        operands = [a.astype(_higher(a.dtype)) for a in self.operands]
        given = [None if g is None else g.astype(_higher(g.dtype)) for g in self.given]
        site, watched = self.site._replace(casts=casts), self.watched
        return trial_at(site, self.definition, operands, given, self.scalars, watched=watched)

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies that calls of this kernel can take under a tiling."""
        return ("by tile",) if self.traced is None or self.traced.learned.why_not else ("by tile", "traced")

    def run(
        self,
        tiling: Tiling | Sequence[Bounds] | None = None,
        poison: int = POISONS[0],
        strategy: str = "by tile",
    ) -> list[np.ndarray[Any, Any]]:
        """The results under a tiling or on the tiles themselves, as new arrays; by default whole.

        Raises
        ------
        Fault
            The body broke a rule that holds on every tile.
        Exception
            What the body raised.
        """
        definition = self.definition
        body, pristine = definition.body, self.operands
        operands = [np.array(a, copy=True, order="K") for a in pristine]
        targets: list[Any] = [None if g is None else _poisoned(g.shape, g.dtype, poison) for g in self.given]
        for r, updated in enumerate(body.updated):
            if updated is not None:
                old = operands[updated]
                targets[r] = old if r in body.buffers else _poisoned(old.shape, old.dtype, poison)
        targets = targets_of(definition, self.site, operands, targets)
        domain = whole(self.plan)
        regions = [domain] if tiling is None else tiling.regions(self.plan) if isinstance(tiling, Tiling) else tiling
        taking = Taking.of(self.site, self.scalars)
        runs: Strategy
        if strategy == "traced" and self.traced is not None:
            runs = self.traced
        else:
            site = self.site._replace(function=_Witness(self, poison)) if self.watched else self.site
            runs = Whole(site, taking) if tiling is None else ByTile(site, taking)
        # The witness gives each tile a copy of the scalars.
        scalars = self.scalars if self.watched else list(map(_unpickled, self.pickled, self.scalars))
        with quiet() if self.watched else np.errstate(all="ignore"):
            results = runs.run(body.arguments(operands, scalars), targets, Work(domain, regions))
        for p, (array, before) in enumerate(zip(operands, pristine, strict=True)):
            if p not in body.in_place and not same_bits(array, before):
                raise written_input(self.plan.operands[p].name)
        return [np.asarray(value) for value in results]


def written_input(name: str) -> Fault:
    """The fault of a body that changes an operand."""
    return Fault(
        f"the body writes to its operand {name!r}",
        f"copy it first, y = xp.asarray({name}, copy=True), or update it in place: {name} on both sides of '->'",
        name,
    )


def trial_of(call: Call) -> Trial:
    """A call on NumPy arrays, ready to run under any tiling.

    Raises
    ------
    XPDispatchError
        Its arguments do not fit.
    """
    site = site_of(call)
    given = tuple(np.asarray(g) if g is not None else None for g in call.given)
    return trial_at(site, call.definition, as_arrays(call, "numpy", site.xp), given, call.scalars)


def trial_at(
    site: Site,
    definition: Definition,
    operands: Sequence[Any],
    given: Sequence[Any],
    scalars: Sequence[Any],
    *,
    watched: bool = True,
) -> Trial:
    """The same, where it is settled where the call runs."""
    traced = None
    if can_be_traced(definition, site.plan):
        written = [None if a is None else a.dtype for a in all_given(definition, operands, given)]
        # So that a check has runs without compiled loops and runs with them; a call in between compiles none.
        learned = Learned([a.dtype for a in operands], written, worth=_LOOPS_FROM if watched else None)
        traced = Traced(site, Taking.of(site, scalars), learned)
    pickled = tuple(_pickled(s) for s in scalars)
    return Trial(definition, tuple(operands), tuple(given), tuple(scalars), pickled, site, traced, watched)


class _Witness:
    """Stands in for the body's function: gives it copies that tell what it did with them.

    Every tile gets its own copy of the scalars, as a Legate task does. Buffers are copies inside larger arrays, so
    that writes outside of the tile show.
    """

    def __init__(self, trial: Trial, poison: int) -> None:
        self.trial = trial
        self.poison = poison
        self.body = trial.definition.body
        self.function = self.body.positional(trial.site.function)
        self.lead = 2 if self.body.wants_tile else 1

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Run the body once; its arguments are the executor's."""
        body, results = self.body, self.trial.plan.results
        values = [*args, *keywords.values()]
        guarded: dict[int, tuple[Any, Any, Any]] = {}
        scalars: list[tuple[int, Any]] = []
        for r, at in body.buffer_at.items():
            real = values[self.lead + at]
            keep = body.updated[r] is not None or results[r].op is not None
            outer, inner = _guarded(real, self.poison, keep=keep)
            guarded[r] = real, outer, inner
            values[self.lead + at] = inner
        for which, at in enumerate(body.scalar_at):
            value = values[self.lead + at] = _unpickled(self.trial.pickled[which], values[self.lead + at])
            scalars.append((which, value))
        try:
            returned = self.function(*values)
        except ValueError as error:
            if "read-only" in str(error) and self._runs_on_copies(values):
                raise written_input(self._operand_names()) from error
            raise
        for which, (real, outer, inner) in guarded.items():
            self._check_guard(results[which].name, outer, inner)
            real[...] = inner
        self._check_scalars(scalars)
        real_of = {id(inner): real for real, _, inner in guarded.values()}
        if isinstance(returned, tuple | list):
            return type(returned)(real_of.get(id(v), v) for v in returned)
        return real_of.get(id(returned), returned)

    def _runs_on_copies(self, values: Sequence[Any]) -> bool:
        """Whether the body runs where it may write its operands, so that these are what it wrote."""
        copies = list(values)
        for at in self.body.operand_at:
            copies[self.lead + at] = np.array(copies[self.lead + at])
        try:
            self.function(*copies)
        except Exception:  # noqa: BLE001  whatever a body raises
            return False
        return True

    def _operand_names(self) -> str:
        names = [o.name for p, o in enumerate(self.trial.plan.operands) if p not in self.body.in_place]
        return names[0] if len(names) == 1 else " or ".join(names)

    def _check_guard(self, name: str, outer: Any, inner: Any) -> None:
        kept = np.array(inner, copy=True)
        inner[...] = _poisoned((), inner.dtype, self.poison)
        if not same_bits(outer, _poisoned(outer.shape, outer.dtype, self.poison)):
            raise Fault(
                f"the body writes outside of its tile of result {name!r}",
                f"write to {name} itself, {name}[...] = ..., and not to its base or beyond its ends",
                name,
            )
        inner[...] = kept

    def _check_scalars(self, scalars: Sequence[tuple[int, Any]]) -> None:
        names = [s.name for s in self.body.slots if s.scalar is not None]
        for which, value in scalars:
            before = self.trial.pickled[which]
            after = _pickled(value)
            # Some objects, such as sets, are pickled in another way once they were unpickled.
            if before is not None and after not in (before, None) and after != _pickled(_unpickled(before, value)):
                name = names[which]
                raise Fault(
                    f"the body changes its scalar argument {name!r}, of which every task gets a copy of its own",
                    f"return what is to be told as a result, or copy {name!r} before changing it",
                    name,
                )


def small_integers(trial: Trial, seed: int) -> Trial:
    """The same call on small integers in the dtypes and shapes of its inexact operands.

    Where all of an operand's values are positive, or none is negative, or they are sorted along an axis, that stays so.
    """
    rng = np.random.default_rng(seed)

    multiplied = any(layout.op == "prod" for layout in trial.plan.results)

    def drawn(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if array.dtype.kind not in "fc":
            return array
        low, high = -9, 9
        if array.dtype.kind == "f" and array.size and array.min() >= 0:
            low = 1 if array.min() > 0 else 0
        values = rng.integers(low, high + 1, array.shape)
        if multiplied:  # a product of many would overflow
            values = rng.choice(np.array([1, -1] if low < 0 else [1]), array.shape)
            values.flat[rng.integers(0, max(values.size, 1), 4 if values.size else 0)] = 2
        values = _ordered_as(array, values)
        if array.dtype.kind == "c":
            return np.asarray(values + 1j * rng.integers(low, high + 1, array.shape)).astype(array.dtype)
        return np.asarray(values).astype(array.dtype)

    return trial.with_operands([drawn(a) for a in trial.operands])


def _ordered_as(array: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values sorted, strictly or not, along an axis along which the array is."""
    for axis, extent in enumerate(array.shape if array.size else ()):
        if extent < 3 or array.dtype.kind == "c":  # two elements are sorted by chance
            continue
        steps = np.diff(array, axis=axis)
        for sign in (1, -1):
            if (sign * steps > 0).all():
                # From the smallest that was drawn up by one to three.
                rising = np.cumsum(1 + np.abs(values) % 3, axis=axis) + values.min()
                return rising if sign > 0 else np.flip(rising, axis=axis)
            if (sign * steps >= 0).all():
                return sign * np.sort(sign * values, axis=axis)
    return values


def with_nan(trial: Trial, seed: int) -> Trial:
    """The same call with a NaN among the elements of every operand of floats."""
    rng = np.random.default_rng(seed)
    operands = []
    for array in trial.operands:
        changed = array
        if array.dtype.kind == "f" and array.size > 1:
            changed = np.array(array, copy=True)
            changed.flat[int(rng.integers(array.size))] = np.nan
        operands.append(changed)
    return trial.with_operands(operands)


def jittered(trial: Trial, seed: int, *, coarse: bool = False) -> Trial:
    """The same call with every inexact operand changed by a unit in its last place, or in that of float32."""
    rng = np.random.default_rng(seed)

    def moved(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if array.dtype.kind not in "fc":
            return array
        unit = max(np.finfo(array.dtype).eps, np.finfo(np.float32).eps) if coarse else np.finfo(array.dtype).eps
        step = unit * rng.choice(np.array([-1, 1]), array.shape)
        return np.asarray(array * (1 + step.astype(array.real.dtype)), dtype=array.dtype)

    return trial.with_operands([moved(a) for a in trial.operands])


def same_bits(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays of one dtype hold the same bytes, NaN and the sign of zero included."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if left.dtype.char in "gG":  # long doubles have bytes that mean nothing
        return bool(np.array_equal(left, right, equal_nan=True))
    return left.tobytes() == right.tobytes()


def _higher(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(HIGHER.get(dtype.char, dtype))


def _pickled(value: Any) -> bytes | None:
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001  whatever a user's __reduce__ raises
        return None


def _unpickled(data: bytes | None, value: Any) -> Any:
    return value if data is None else pickle.loads(data)


def _poisoned(shape: tuple[int, ...], dtype: np.dtype[Any], poison: int) -> np.ndarray[Any, Any]:
    array = np.empty(shape, dtype)
    if dtype.kind == "b":
        array[...] = poison == POISONS[0]
    elif not dtype.hasobject:
        array[...] = np.frombuffer(bytes([poison]) * dtype.itemsize, dtype)[0]
    return array


def _guarded(real: np.ndarray[Any, Any], poison: int, *, keep: bool) -> tuple[Any, Any]:
    """An array with two more elements around it on every side, and the part of it that stands for `real`."""
    outer = _poisoned(tuple(n + 4 for n in real.shape or (1,)), real.dtype, poison)
    inner = outer[tuple(slice(2, 2 + n) for n in real.shape or (1,))].reshape(real.shape)
    if keep:
        inner[...] = real
    return outer, inner


@contextmanager
def quiet() -> Iterator[None]:
    """Run bodies without the warnings that NumPy gives for odd values."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
