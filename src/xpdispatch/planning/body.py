"""A body: the user's function, and which of its parameters is what."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from xpdispatch.errors import ArgumentError
from xpdispatch.language.signature import Signature
from xpdispatch.language.terms import Term, names_of

_HIDDEN = ("xp", "tile")
_NO_SELF = (
    "a kernel in a class is a static method: write def body(xp, ...), and pass what it needs of self as arguments"
)


class Slot(NamedTuple):
    """What one parameter is: positions among the operands, results and scalars, or None.

    A parameter that is read and written is both an operand and a result.
    """

    name: str
    operand: int | None
    result: int | None
    scalar: int | None


@dataclass(frozen=True, slots=True)
class Body:
    """The functions of a kernel and how to call them.

    Parameters
    ----------
    name : str
    function : callable
        ``function(xp[, tile], *parameters)``, for every variant without one of its own.
    slots : tuple of Slot
        The parameters after ``xp`` and ``tile``, in order.
    keyword : tuple of str
        Those that are keyword-only.
    wants_tile : bool
    results : int
        How many results there are.
    buffers : tuple of int
        The results that are parameters too, so that the body may write them.
    updated : tuple of (int or None)
        For each result the operand that it updates in place. One that the body reads with a halo is not a buffer: the
        body reads old values and returns new ones.
    merge : callable or None
        ``merge(xp, a, b)``, which folds two partial results.
    variants : dict of str to callable
        Functions of their own for some of Legate's variants.
    read_only : bool
        Whether NumPy operands cannot be written in it.
    """

    name: str
    function: Callable[..., Any]
    slots: tuple[Slot, ...]
    keyword: tuple[str, ...]
    wants_tile: bool
    results: int
    buffers: tuple[int, ...]
    updated: tuple[int | None, ...]
    merge: Callable[..., Any] | None = None
    variants: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    read_only: bool = True
    operand_at: tuple[int, ...] = field(init=False)
    """For each operand the position of its parameter."""
    scalar_at: tuple[int, ...] = field(init=False)
    """For each scalar the same."""
    buffer_at: dict[int, int] = field(init=False)
    """For each buffer, by result, the same."""
    given_at: tuple[int | None, ...] = field(init=False)
    """For each result where a call has the array to be written: the position of a parameter, or one after them all.

    None where the result is an operand, too.
    """
    written_at: tuple[int, ...] = field(init=False)
    """The same, but that an operand's parameter stands where the result is an operand."""
    in_place: frozenset[int] = field(init=False)
    """The operands that the body may write."""
    order: tuple[int, ...] = field(init=False)
    """For each parameter its position among operands, then scalars, then one for all others."""

    def __post_init__(self) -> None:
        found: dict[str, dict[int, int]] = {"operand": {}, "result": {}, "scalar": {}}
        for position, slot in enumerate(self.slots):
            for what, places in found.items():
                n = getattr(slot, what)
                if n is not None:
                    places[n] = position
        results, more = found["result"], count(len(self.slots))
        operand_at = tuple(found["operand"][p] for p in range(len(found["operand"])))
        written = tuple(
            operand_at[u] if u is not None else results[r] if r in results else next(more)
            for r, u in enumerate(self.updated)
        )
        given = (at if u is None else None for at, u in zip(written, self.updated, strict=True))
        scalar_at = tuple(found["scalar"].values())
        read = (*operand_at, *scalar_at)
        object.__setattr__(self, "order", tuple(read.index(n) if n in read else -1 for n in range(len(self.slots))))
        object.__setattr__(self, "operand_at", operand_at)
        object.__setattr__(self, "scalar_at", scalar_at)
        object.__setattr__(self, "buffer_at", {r: results[r] for r in self.buffers})
        object.__setattr__(self, "given_at", tuple(given))
        object.__setattr__(self, "written_at", written)
        object.__setattr__(self, "in_place", frozenset(self.updated[r] for r in self.buffers))

    def function_for(self, variant: str | None) -> Callable[..., Any]:
        """The function for a Legate variant, or for another array library (None)."""
        return self.variants.get(variant, self.function) if variant else self.function

    @property
    def updates(self) -> bool:
        """Whether some operand is a result, too."""
        return any(operand is not None for operand in self.updated)

    def arguments(self, operands: Sequence[Any], scalars: Sequence[Any]) -> list[Any]:
        """One value for each parameter; None for buffers that are not operands."""
        given = (*operands, *scalars, None)
        return [given[n] for n in self.order]

    def positional(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the body's variants that takes all of its parameters by position."""
        if not self.keyword:
            return function
        last = -len(self.keyword)

        def call(*arguments: Any) -> Any:
            return function(*arguments[:last], **dict(zip(self.keyword, arguments[last:], strict=True)))

        return call


def core_of(function: Any) -> Any:
    """The function that a functools.partial is made of, which has the name, the doc and the place."""
    while isinstance(function, partial):
        function = function.func
    return function


def name_of(function: object) -> str:
    """A body's name in messages and as a Legate task; objects have none of their own."""
    core = core_of(function)
    own = getattr(core, "__name__", None)
    return own if isinstance(own, str) else type(core).__name__


def place_of(function: Callable[..., Any]) -> str:
    """Where a body is defined: ``file:line`` or a notebook's cell."""
    function = inspect.unwrap(core_of(function))
    code = getattr(function if hasattr(function, "__code__") else type(function).__call__, "__code__", None)
    if code is None:
        return "built in"
    return f"{shown_file(code.co_filename)}:{code.co_firstlineno}"


def shown_file(file: str) -> str:
    """The name of a file, or of a notebook's cell."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    names_of_cells = getattr(getattr(shell, "compile", None), "format_code_name", lambda file: None)  # IPython 8
    cell = names_of_cells(file)
    return " ".join(cell) if cell else file


def spelling_of(function: Callable[..., Any]) -> inspect.Signature:
    """The parameters of a function as they are written; annotations that cannot be evaluated are kept by their names.

    Python evaluates them from 3.14 on when it is asked for them, and not where the function is defined.

    Raises
    ------
    ValueError
        It tells no parameters.
    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def parameters_of(function: Callable[..., Any], star: str | None = None) -> dict[str, inspect.Parameter]:
    """The parameters that callers see: all but the leading ``xp`` and ``tile``.

    `star` is the one that stands for any number of operands.

    Raises
    ------
    ArgumentError
        The first parameter is not ``xp``.
    """
    if isinstance(function, classmethod):
        raise ArgumentError("@kernel got a classmethod, expected a function", hint=_NO_SELF)
    if not callable(function):
        raise ArgumentError(
            f"@kernel got {function!r}, expected a function",
            hint='write @kernel("x[i] -> y[i]") on the line before def',
        )
    try:
        parameters = dict(spelling_of(function).parameters)
    except ValueError as error:
        raise ArgumentError(f"@kernel got {function!r}, which tells no parameters", hint="write a def") from error
    names = list(parameters)
    if not names or names[0] != "xp":
        raise ArgumentError(
            f"the first parameter of the body is {repr(names[0]) if names else 'missing'}, expected 'xp'",
            hint=_NO_SELF
            if names[:1] in (["self"], ["cls"])
            else f"write def {name_of(function)}(xp, ...): the array namespace comes first",
        )
    for name in names[: 2 if names[1:2] == ["tile"] else 1]:
        del parameters[name]
    for parameter in parameters.values():
        variable = parameter.kind is parameter.VAR_POSITIONAL and parameter.name != star
        if variable or parameter.kind is parameter.VAR_KEYWORD:
            raise ArgumentError(
                f"the body takes {parameter}, which the notation does not name",
                hint="write '*xs[...]' in the notation for any number of operands, and name each scalar",
            )
    if star is not None and (star not in parameters or parameters[star].kind is not inspect.Parameter.VAR_POSITIONAL):
        raise ArgumentError(
            f"the notation has '*{star}', and the body has no '*{star}'",
            hint=f"write def {name_of(function)}(xp, *{star})",
        )
    return parameters


def make_body(
    function: Callable[..., Any],
    signature: Signature,
    merge: Callable[..., Any] | None,
    variants: Mapping[str, Callable[..., Any]],
    *,
    read_only: bool,
) -> Body:
    """Tie a function's parameters to a signature's operands and results.

    Raises
    ------
    ArgumentError
        The notation names what is not a parameter.
    """
    parameters = parameters_of(function)
    operands = [str(t.name) for t in signature.operands if t.name]
    results = [str(t.name) for t in signature.results]
    for term in signature.operands:
        if term.name and term.name not in parameters:
            raise ArgumentError(
                f"the notation reads {term.name!r}, which is not a parameter of the body",
                column=term.column,
                hint=f"the parameters are {', '.join(parameters) or 'none'}; names left of '->' are parameters",
            )
    slots = []
    scalars = 0
    for name, parameter in parameters.items():
        operand = operands.index(name) if name in operands else None
        result = results.index(name) if name in results else None
        is_scalar = operand is None and result is None
        if name in _HIDDEN or (name == "out" and result is None):
            hint = "make it the second parameter, after xp, or rename it" if name == "tile" else "rename it"
            raise ArgumentError(f"parameter {name!r} has a name that kernels use themselves", hint=hint)
        if not is_scalar and parameter.default is not parameter.empty and parameter.default is not None:
            raise ArgumentError(
                f"array parameter {name!r} has the default {parameter.default!r}, expected None or no default",
                hint=f"write {name}=None, and let the body see whether it is None",
            )
        slots.append(Slot(name, operand, result, scalars if is_scalar else None))
        scalars += is_scalar
    known = [s.name for s in slots if s.scalar is not None]
    for name in signature.free_names:
        if name not in known:
            raise ArgumentError(
                f"the notation uses extent {name!r}, which is neither an operand's axis nor a scalar parameter",
                column=_column_of(signature, name),
                hint=f"the scalar parameters are {', '.join(known) or 'none'}; give the body a parameter {name!r}",
            )
    return Body(
        name=name_of(function),
        function=function,
        slots=tuple(slots),
        keyword=tuple(n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY),
        wants_tile=list(spelling_of(function).parameters)[1:2] == ["tile"],
        results=len(results),
        buffers=_buffers(signature, parameters),
        updated=tuple(operands.index(n) if n in operands else None for n in results),
        merge=merge,
        variants=variants,
        read_only=read_only,
    )


def _buffers(signature: Signature, parameters: Mapping[str, object]) -> tuple[int, ...]:
    """The results that the body may write."""
    haloed = {t.name for t in signature.operands if t.haloed}
    found = []
    for r, term in enumerate(signature.results):
        if term.name not in parameters or term.name in haloed:
            continue
        if what := _why_not_written(term):
            raise ArgumentError(
                f"result {term.name!r} {what}, and cannot be a parameter",
                column=term.column,
                hint=f"take {term.name!r} out of the body's parameters, and return the value",
            )
        found.append(r)
    return tuple(found)


def _why_not_written(term: Term) -> str:
    """Why a body cannot write a result; empty where it can."""
    if any(a.kind == "unknown" for a in term.axes):
        return "has an extent that only the body knows"
    if term.op == "fold":
        return "is folded, which has no identity"
    return "is scattered by keys" if term.keys else ""


def _column_of(signature: Signature, name: str) -> int | None:
    for term in (*signature.operands, *signature.results):
        for axis in term.axes:
            if axis.name == name or name in names_of(axis.extent, *axis.sizes):
                return axis.column
    return None
