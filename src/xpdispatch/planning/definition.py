"""What a decorator and a body say (:class:`Definition`), and one call with its arguments (:class:`Call`)."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from xpdispatch.arrays.namespaces import VARIANTS, check_variants
from xpdispatch.errors import ArgumentError, UnsupportedError
from xpdispatch.language.boundaries import Boundaries, boundaries_of, boundaries_under
from xpdispatch.language.signature import Signature
from xpdispatch.language.task_options import check_options
from xpdispatch.language.terms import Term
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.planning.body import Body, make_body
from xpdispatch.planning.dtype_option import Rule, casts, rules
from xpdispatch.planning.patterns import Patterns
from xpdispatch.planning.plan import Plan, Shape

LIBRARIES = "numpy", "cupy", "torch", "jax", "sparse", "ndonnx", "array_api_strict"
"""Those of array-api-compat, by what a body may be for."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Definition:
    """All that is known of a kernel before it is called. Engines get it with each call; two are equal if they are one.

    Parameters
    ----------
    signature : Signature
    body : Body
    boundaries : Boundaries
        What lies outside the operands with a halo.
    dtype : object
        What ``dtype=`` says.
    rules : tuple of (Rule or None)
        What that means for each result.
    variants : tuple of str
    deterministic : bool
    on_error : {"deferred", "immediate"}
    cut : bool or "work"
    fuse, guard : bool
        `guard` says whether the body may be tried: not where it has side effects, or tiles that wait for each other.
    options : mapping of str to bool
        Legate's options for its tasks, as far as they are set.
    libraries : tuple of str
        Whose arrays the body is for, if not for those of all.
    """

    signature: Signature
    body: Body
    boundaries: Boundaries
    dtype: Any
    rules: tuple[Rule | None, ...]
    variants: tuple[str, ...]
    deterministic: bool
    on_error: Literal["deferred", "immediate"]
    cut: bool | Literal["work"]
    fuse: bool
    guard: bool
    options: Mapping[str, bool]
    libraries: tuple[str, ...] = ()
    operands: tuple[Term, ...] = field(init=False)
    """The operands that have a name."""
    sized: tuple[tuple[str, int], ...] = field(init=False)
    """The scalars that extents use: name, and position among the scalars."""
    patterns: Patterns = field(init=False, repr=False)
    """What plans have in common."""
    samples: BoundedCache = field(init=False, repr=False)
    """What the body returns on samples, by namespaces, dtypes, extents of unsplit axes and scalars."""
    guarded: BoundedCache = field(init=False, repr=False)
    """The kinds of calls that were tried on a few elements, by namespaces, dtypes and kinds of scalars."""

    def __post_init__(self) -> None:
        extents = _extent_names(self.signature)
        sized = ((s.name, s.scalar) for s in self.body.slots if s.scalar is not None and s.name in extents)
        object.__setattr__(self, "operands", tuple(t for t in self.signature.operands if t.name))
        object.__setattr__(self, "sized", tuple(sized))
        object.__setattr__(self, "patterns", Patterns(self.signature, self.boundaries))
        object.__setattr__(self, "samples", BoundedCache())
        object.__setattr__(self, "guarded", BoundedCache())

    @property
    def name(self) -> str:
        """The body's name."""
        return self.body.name

    @property
    def notation(self) -> str:
        """The signature as text."""
        return str(self.signature)

    def plan(self, shapes: Sequence[Shape], scalars: Sequence[Any], given: Sequence[Shape | None]) -> Plan:
        """The plan of a call with these shapes of operands and of arrays to be written."""
        sizes = {name: extent_of(name, scalars[s]) for name, s in self.sized}
        return self.patterns.plan(shapes, sizes, given)

    def with_signature(self, signature: Signature) -> Definition:
        """The same body and options under another signature.

        Raises
        ------
        ArgumentError
        """
        options = {**self.said, "boundary": boundaries_under(signature, self.boundaries)}
        return define(self.body.function, signature, **options)

    def __reduce__(self) -> Any:
        """A pickle holds the kernel that a module has under the body's name, as that is pickled; else what was said."""
        function = self.body.function
        found: Any = sys.modules.get(str(getattr(function, "__module__", "")))
        for part in str(getattr(function, "__qualname__", "")).split("."):
            found = getattr(found, part, None)
        if getattr(found, "definition", None) is self:
            return operator.attrgetter("definition"), (found,)
        return partial(define, function, self.signature, **self.said), ()

    @property
    def said(self) -> dict[str, Any]:
        """What the decorator said, as :func:`define` takes it."""
        return {
            "dtype": self.dtype,
            "boundary": boundaries_under(self.signature, self.boundaries),
            "fold": self.body.merge,
            "variants": self.variants,
            "deterministic": self.deterministic,
            "on_error": self.on_error,
            "cut": self.cut,
            "fuse": self.fuse,
            "guard": self.guard,
            "options": self.options,
            "libraries": self.libraries,
            "read_only": self.body.read_only,
            "bodies": self.body.variants,
        }

    def casts(self, dtypes: Sequence[Any], xp: Any) -> tuple[Any, ...]:
        """For each result the dtype that ``dtype=`` asks for, in the namespace's own terms, or None."""
        return casts(self.rules, dtypes, xp)


@dataclass(frozen=True, slots=True)
class Call:
    """One call with its arguments, bound.

    Parameters
    ----------
    definition : Definition
    operands : tuple of object
        In the notation's order.
    given : tuple of (object or None)
        For each result the array that the caller passes to be written. An operand that is updated in place stands
        among the operands alone.
    scalars : tuple of object
    """

    definition: Definition
    operands: tuple[Any, ...]
    given: tuple[Any, ...]
    scalars: tuple[Any, ...]

    @property
    def values(self) -> tuple[Any, ...]:
        """One for each parameter of the body, then the other arrays to be written."""
        body = self.definition.body
        found = {at: value for at, value in zip(body.given_at, self.given, strict=True) if at is not None}
        found |= dict(zip((*body.operand_at, *body.scalar_at), (*self.operands, *self.scalars), strict=True))
        return tuple(found[at] for at in range(len(found)))

    def arrays(self) -> Iterator[tuple[str, Any]]:
        """Name and value of every array."""
        for term, value in zip(self.definition.operands, self.operands, strict=True):
            yield str(term.name), value
        for term, value in zip(self.definition.signature.results, self.given, strict=True):
            if value is not None:
                yield str(term.name), value


def call_of(definition: Definition, values: Sequence[Any]) -> Call:
    """The call whose arguments are these: one for each parameter of the body, then the other arrays to be written."""
    body = definition.body
    return Call(
        definition,
        tuple([values[p] for p in body.operand_at]),
        tuple([None if p is None else values[p] for p in body.given_at]),
        tuple([values[p] for p in body.scalar_at]),
    )


def define(
    function: Callable[..., Any],
    signature: Signature,
    *,
    dtype: Any = None,
    boundary: Any = None,
    fold: Callable[..., Any] | None = None,
    variants: Sequence[str] = VARIANTS,
    deterministic: bool = False,
    on_error: Literal["deferred", "immediate"] = "deferred",
    cut: bool | Literal["work"] = True,
    fuse: bool = True,
    guard: bool = True,
    options: Mapping[str, bool] | None = None,
    libraries: Sequence[str] = (),
    read_only: bool = True,
    bodies: Mapping[str, Callable[..., Any]] | None = None,
) -> Definition:
    """Check what a decorator says of a body, and put it together. The options are those of :func:`xpdispatch.kernel`.

    Parameters
    ----------
    bodies : mapping of str to callable, optional
        By variant, the functions that stand in for `function` there.

    Raises
    ------
    ArgumentError, UnsupportedError
    """
    if not (isinstance(cut, bool | np.bool) or (isinstance(cut, str) and cut == "work")):
        raise ArgumentError(f"cut= got {cut!r}, expected True, False or 'work'", hint="write cut=True or cut=False")
    switches = {"deterministic": deterministic, "fuse": fuse, "guard": guard, "read_only": read_only}
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool):
            raise ArgumentError(f"{name}= got {value!r}, expected True or False", hint=f"write {name}=True or False")
    if on_error not in ("deferred", "immediate"):
        raise ArgumentError(f"on_error={on_error!r} is unknown", hint="write on_error='deferred' or 'immediate'")
    checked, task_options = check_variants(variants), check_options(options)
    boundaries = boundaries_of(signature, boundary)
    _check_fold(signature, fold)
    body = make_body(function, signature, fold, bodies or {}, read_only=bool(read_only))
    names = [str(t.name) for t in signature.operands if t.name]
    return Definition(
        signature,
        body,
        boundaries,
        dtype,
        rules(dtype, names, body.results),
        checked,
        bool(deterministic),
        on_error,
        "work" if isinstance(cut, str) else bool(cut),
        bool(fuse),
        bool(guard) and not (task_options.get("concurrent") or task_options.get("has_side_effect")),
        task_options,
        _checked_libraries(libraries),
    )


def _checked_libraries(libraries: Sequence[str]) -> tuple[str, ...]:
    known = ", ".join(LIBRARIES)
    if isinstance(libraries, str) or not all(name in LIBRARIES for name in libraries):
        raise ArgumentError(
            f"libraries= got {libraries!r}, expected some of {known}", hint='write libraries=("numpy", "cupy")'
        )
    return tuple(libraries)


def extent_of(name: str, value: Any) -> int:
    """A scalar that an extent uses, as an integer.

    Raises
    ------
    ArgumentError
    """
    try:
        return operator.index(value)
    except TypeError:
        raise ArgumentError(
            f"scalar {name!r} = {value!r} is an extent of the notation, expected an integer",
            hint=f"pass an int as {name!r}",
        ) from None


def _extent_names(signature: Signature) -> set[str]:
    """Every name that extents define or use."""
    names = set(signature.free_names)
    for term in signature.operands:
        names |= {a.name for a in term.axes if a.kind in ("split", "whole") and a.name}
    return names


def _check_fold(signature: Signature, merge: Callable[..., Any] | None) -> None:
    """``fold=`` is there where a result is folded and only there, and folded results have the same indices."""
    folds = [t for t in signature.results if t.op == "fold"]
    if merge is not None and not callable(merge):
        raise ArgumentError(f"fold={merge!r} is not a function", hint="write def merge(xp, a, b), and fold=merge")
    if not folds:
        if merge is not None:
            raise ArgumentError("fold= is given, and no result is folded", hint="write fold before a result's name")
        return
    first = folds[0]
    if merge is None:
        raise ArgumentError(
            f"nothing says how to fold {first.name!r}",
            column=first.column,
            hint="pass fold=merge to the decorator, with def merge(xp, a, b)",
        )
    for term in folds:
        if term.accumulate:
            raise UnsupportedError(
                f"{term.name!r} accumulates by fold, which is not supported yet",
                hint="write the kernel in index notation, and merge with the old content after the call",
            )
        if {a.name for a in term.axes if a.kind == "split"} != {a.name for a in first.axes if a.kind == "split"}:
            raise ArgumentError(
                f"folded results {first.name!r} and {term.name!r} have different indices",
                column=term.column,
                hint="give them the same indices: fold= merges all folded results at once",
            )
