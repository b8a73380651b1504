"""What runs of a body have told of it, and whether that still holds: kept for calls that are alike but for extents.

A trace is kept with the numbers that the body was given. It does for another call if the body can only do the same
again: if all that its code names is known to be the same each time, and what it reads from around it has not changed.
"""

from __future__ import annotations

import builtins
import marshal
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from xpdispatch.arrays.namespaces import is_default
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.running.ownership import Look, is_constant, read_by, reads_of

_PURE = frozenset({"array_api_compat", "array_api_compat.numpy", "cmath", "math", "numpy", "operator"})
"""Modules of which code may use what :data:`_ATTRIBUTES` has."""

_ATTRIBUTES = frozenset(
    "acos acosh asarray asin asinh astype atan atan2 atanh bool clip complex128 complex64 copy cosh dtype e eps erf "  # noqa: SIM905
    "erfc euler_gamma finfo float16 float32 float64 gamma iinfo imag inf int16 int32 int64 int8 isdtype itemsize "
    "lgamma max min nan ndim newaxis pi pow real result_type shape size tau tiny uint16 uint32 uint64 uint8 "
    "where".split()
) | {name for name in vars(np) if isinstance(getattr(np, name), np.ufunc)}
"""Attributes that give the same each time: no random numbers, no clocks, no settings, no files."""

_BUILTINS = frozenset(
    "abs all any bool complex divmod enumerate float int isinstance len max min pow range reversed round sorted sum "  # noqa: SIM905
    "tuple zip".split()
)
"""The same of Python's own functions."""

_PLAIN = frozenset(
    {bool, int, float, complex, str, *(t for t in np.sctypeDict.values() if issubclass(t, np.number | np.bool))}
)
"""Types of scalars whose bytes say all else."""


WORTH = 1 << 26
"""Steps of single elements after which calls in one piece are traced, and loops are compiled: NumPy takes some 40 ms
for so many, LLVM 30 for a loop."""

CALLED = 2000
"""Steps of single elements that take as long as a call of one of NumPy's functions does beside them."""


class Learned:
    """What is known of a body on arrays of certain dtypes.

    Parameters
    ----------
    dtypes : sequence of dtype
        The operands'.
    given : sequence of (dtype or None)
        Of the arrays that are written.
    worth : int, optional
        Steps of single elements after which it pays to compile loops.

    Attributes
    ----------
    itemsizes : sequence of int
        Of operands and results, as far as they are known before a dry run; empty before anybody asked.
    why_not : str
        What stands against tracing it; empty while nothing is known to.
    restless : bool
        Whether most calls had scalars that no call had before, so that the body was traced in each.
    dry_runs : BoundedCache
        What dry runs tell, by extents of unsplit axes and scalars (:func:`~xpdispatch.arrays.scalars.scalars_key`).
    trusted : BoundedCache
        By the outlines of programs, whether they did what the body does.
    codes : BoundedCache
        How programs are run, by their structure.
    """

    def __init__(self, dtypes: Sequence[Any], given: Sequence[Any], worth: int | None = None) -> None:
        self.dtypes, self.given = tuple(dtypes), tuple(given)
        self._left = WORTH if worth is None else worth
        self.itemsizes: Sequence[int] = ()
        self.why_not = ""
        self.restless = False
        self.dry_runs = BoundedCache()
        self.trusted = BoundedCache()
        self.codes = BoundedCache()
        self._programs = BoundedCache()
        """Programs that are trusted, by scalars, dtypes and shapes."""
        self._reads: tuple[tuple[Look, Any], ...] | None = ()
        self._looked = False
        self._found = self._made = 0

    @property
    def busy(self) -> bool:
        """Whether calls have done so much that it pays to look for a quicker way."""
        return self._left <= 0

    def does(self, steps: int) -> None:
        """Count steps of single elements, or what takes as long."""
        self._left -= steps

    def repeats(self, function: Callable[..., Any]) -> bool:
        """Whether it can be told that a body does the same again."""
        if not self._looked:
            self._look(function)
        return self._reads is not None

    def _look(self, function: Callable[..., Any]) -> None:
        self._programs.clear()
        self._reads, self._looked = repeatable(function), True

    def program(self, *keys: Any) -> Any:
        """What was kept of an earlier call under one of the keys, if the body would do the same again; else None."""
        found = next((self._programs[key] for key in keys if key in self._programs), None)
        return found if found is not None and self.still_holds() else None

    def still_holds(self) -> bool:
        """Whether the body would do the same again as when programs were kept."""
        self._found += 1
        return self._reads is not None and self._is_as_before()

    def keep(self, function: Callable[..., Any], make: Callable[[], tuple[Any, Any]]) -> Any:
        """What `make` finds out of a body by running it, kept under the key that it gives.

        That is, if it can be told whether the body would do the same again.
        """
        if not self._looked or not self._is_as_before():
            self._look(function)
        self._made += 1
        self.restless = self._made > 8 and 4 * self._made > self._found
        key, found = make()
        if found is not None and self._reads is not None and self._is_as_before():
            self._programs[key] = found
        return found

    def _is_as_before(self) -> bool:
        """Whether the body reads what it read when programs were kept."""
        return all([look() is seen for look, seen in self._reads or ()])  # noqa: C419  a list is quicker


def key_of(scalars: Sequence[Any]) -> Any:
    """The scalars by type and all bits; None where that cannot be told."""
    if not scalars:
        return ()
    kinds = (*map(type, scalars),)
    try:
        bits = marshal.dumps(tuple(scalars), 2)  # of what is none of Python's own, the bytes alone
        return (*kinds, bits) if _PLAIN.issuperset(kinds) else (*kinds, bits, pickle.dumps(scalars))
    except Exception:  # noqa: BLE001  whatever a user's __reduce__ raises
        return None


def repeatable(function: Callable[..., Any]) -> tuple[tuple[Look, Any], ...] | None:
    """What a function reads that may change, how to look it up, and what it is; None if it may do as it likes."""
    reads: list[tuple[Look, Any]] = []
    return tuple(reads) if is_default("CPU") and _does_the_same(function, reads, set()) else None


def _does_the_same(value: Any, reads: list[tuple[Look, Any]], seen: set[int]) -> bool:
    if is_constant(value) or id(value) in seen or isinstance(value, np.ufunc):
        return True
    seen.add(id(value))
    if isinstance(value, ModuleType):
        return value.__name__ in _PURE
    if isinstance(value, type) and issubclass(value, np.generic):
        return True
    if isinstance(value, type | BuiltinFunctionType):
        name = value.__name__
        return name in _BUILTINS and value is getattr(builtins, name)
    if not isinstance(value, FunctionType):
        return False
    # Tools that reload modules, such as IPython's, put new code into functions that others have imported.
    own = [(name, getattr(value, name)) for name in ("__code__", "__defaults__", "__kwdefaults__")]
    reads += [(partial(getattr, value, name), read) for name, read in own if read is not None]
    names, _, attributes, _, imports = reads_of(value.__code__)
    if imports or not _ATTRIBUTES.issuperset(attributes):
        return False
    if any(name not in value.__globals__ and name not in _BUILTINS for name in names):
        return False
    for look, read in read_by(value):
        if look is not None:
            reads.append((look, read))
        if not _does_the_same(read, reads, seen):
            return False
    return True
