"""What a body does to single elements, traced by running it on tracers instead of arrays.

A tracer has a shape and a dtype and no elements. What NumPy's functions do to it becomes a step of a program; what
cannot be traced (a sum over an axis, a decision that hangs on an element) ends the attempt, and the body runs as it is.
Its Python runs for each call anew, on the call's own scalars, so that nothing is remembered that could have changed.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Never

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from xpdispatch.arrays.namespaces import load

_LONGEST = 256
"""Steps of a program at most: one that is longer was not written by hand."""

_KINDS = "biufc"
"""Kinds of dtypes whose elements are numbers."""

Kind = Literal["apply", "cast", "choose"]


class Constant(NamedTuple):
    """A number among the arguments of a step: Python's own, which takes the arrays' dtype, or one of NumPy's."""

    value: Any

    @property
    def kind(self) -> Any:
        """What decides the dtypes of what it is combined with."""
        return getattr(self.value, "dtype", type(self.value))


class Input(NamedTuple):
    """An array that the body is given, or a view of one.

    Attributes
    ----------
    place : (int, int)
        0 operands or 1 buffers, and the position there.
    key : tuple or None
        The basic indices that make the view.
    shape : tuple of int
    dtype : numpy.dtype
    """

    place: tuple[int, int]
    key: tuple[Any, ...] | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Step(NamedTuple):
    """What is done to each element.

    Attributes
    ----------
    kind : {"apply", "cast", "choose"}
        A ufunc; a copy in another dtype or shape, or the same; or the second argument where the first is true, else
        the third.
    ufunc : numpy.ufunc or None
    arguments : tuple of (int or Constant)
        Positions among the program's values.
    loop : tuple of numpy.dtype
        What the arguments are computed in.
    shape : tuple of int
    dtype : numpy.dtype
    errors : tuple of (str, str) or None
        What the body set :func:`numpy.errstate` to meanwhile; None where it is as outside.
    """

    kind: Kind
    ufunc: np.ufunc | None
    arguments: tuple[int | Constant, ...]
    loop: tuple[np.dtype[Any], ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    errors: tuple[tuple[str, str], ...] | None = None

    @property
    def needs(self) -> list[int]:
        """The values among the arguments."""
        return [a for a in self.arguments if isinstance(a, int)]

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The arguments, of constants what decides dtypes alone."""
        return tuple([a.kind if isinstance(a, Constant) else a for a in self.arguments])


class Program(NamedTuple):
    """All that a body does.

    Attributes
    ----------
    values : tuple of (Input or Step)
        In order: each step needs values before it alone.
    results : tuple of int
        The positions of the steps that make the results; no two are the same.
    looked : bool
        The body asked for shapes, so that it may do something else with others.
    """

    values: tuple[Input | Step, ...]
    results: tuple[int, ...]
    looked: bool

    @property
    def steps(self) -> int:
        """How many there are."""
        return sum(isinstance(value, Step) for value in self.values)

    @property
    def last_uses(self) -> dict[int, int]:
        """By value that steps need, the one that needs it last."""
        return {a: n for n, value in enumerate(self.values) if isinstance(value, Step) for a in value.needs}

    @property
    def constants(self) -> list[Any]:
        """The numbers among the arguments of all steps, in order."""
        steps = [value for value in self.values if isinstance(value, Step)]
        return [a.value for step in steps for a in step.arguments if isinstance(a, Constant)]

    @property
    def structure(self) -> tuple[Any, ...]:
        """What programs have in common that differ in the values of constants, and in shapes that are alike, alone."""
        tile = self.values[self.results[0]].shape
        parts = [
            (value.shape == tile, str(value.key))
            if isinstance(value, Input)
            else (value.shape == tile, self.is_broadcast(value) and value.shape, value.errors)
            for value in self.values
        ]
        return (self.outline, *parts)

    @property
    def outline(self) -> tuple[Any, ...]:
        """What of the structure is the same for tiles of all sizes, however errors are handled outside."""
        parts = [
            (value.place, value.key is None, value.dtype)
            if isinstance(value, Input)
            else (value.kind, value.ufunc, value.kinds, value.dtype)
            for value in self.values
        ]
        return (self.results, *parts)

    def fits(self, arrays: Sequence[Any]) -> bool:
        """Whether arrays have the shapes of the results."""
        return all(a.shape == self.values[n].shape for a, n in zip(arrays, self.results, strict=True))

    def is_broadcast(self, step: Step) -> bool:
        """Whether a cast also makes its argument larger."""
        (argument, *_) = step.arguments
        return step.kind == "cast" and (isinstance(argument, Constant) or self.values[argument].shape != step.shape)


_KEPT = "a kernel's body kept an array of an earlier call"


class Untraceable(BaseException):
    """The body does something that is not traced; no Exception, so that no body catches it."""


class Trace:
    """A program while it is written.

    Attributes
    ----------
    why_not : str
        What could not be traced, if anything.
    for_good : bool
        That holds for other calls as well.
    looked : bool
        Shapes were asked for.
    over : bool
        The body has returned; whatever tracers it left somewhere are of no use.
    """

    def __init__(self) -> None:
        self.values: list[Input | Step] = []
        self.why_not = ""
        self.for_good = True
        self.looked = self.over = False
        self._outside = _error_state(), np.geterrcall(), warnings.filters

    def give_up(self, why: str) -> Never:
        """End the attempt."""
        if self.over:
            raise TypeError(_KEPT)
        self.why_not = self.why_not or why
        raise Untraceable(why)

    def array(self, place: tuple[int, int], shape: Sequence[int], dtype: np.dtype[Any], *, buffer: bool) -> Tracer:
        """A tracer for an array that the body is given."""
        if dtype.kind not in _KINDS or not dtype.isnative:
            self.give_up(f"there is an array of dtype {dtype}")
        return self._symbol(Input(place, None, tuple(shape), dtype), "buffer" if buffer else "operand")

    def apply(self, ufunc: np.ufunc, arguments: Sequence[Any]) -> Tracer:
        """What a ufunc makes of its arguments."""
        taken = [self._argument(a) for a in arguments]
        kinds = tuple(a if isinstance(a, type) else np.dtype(a) for _, a, _ in taken)
        try:
            *loop, dtype = _resolved(ufunc, kinds)
        except TypeError as error:
            self.give_up(str(error))
        if dtype.kind not in _KINDS:
            self.give_up(f"{ufunc.__name__} makes {dtype}")
        if ufunc not in _COMPARISONS:
            for (argument, kind, _), own in zip(taken, loop, strict=True):
                if kind is int and isinstance(argument, Constant) and own.kind in "iu":
                    own.type(argument.value)  # which raises what NumPy does
        if ufunc is np.power and loop[1].kind == "i":
            (exponent, *_) = taken[1]
            if not isinstance(exponent, Constant) or exponent.value < 0:
                self.give_up("integers may be raised to negative powers, which fails")
        return self._step("apply", ufunc, taken, tuple(loop), dtype)

    def cast(self, value: Any, dtype: np.dtype[Any], shape: tuple[int, ...] | None = None) -> Tracer:
        """A copy in this dtype, and spread over this shape."""
        if dtype.kind not in _KINDS or not dtype.isnative:
            self.give_up(f"an array is cast to {dtype}")
        taken = [self._argument(value)]
        return self._step("cast", None, taken, (dtype,), dtype, shape)

    def choose(self, condition: Any, yes: Any, no: Any) -> Tracer:
        """Elements of two arrays, as a condition has it."""
        if not isinstance(condition, Tracer) or condition.dtype != np.bool_:
            self.give_up("where() has a condition that is not an array of bool")
        taken = [self._argument(v) for v in (condition, yes, no)]
        dtype = np.result_type(*(v.dtype if isinstance(v, Tracer) else v for v in (yes, no)))
        # NumPy's where() has its own way with numbers that do not fit.
        taken[1:] = [
            (Constant(np.where(_TRUE, a.value, np.empty((), dtype))[()]), *rest)
            if isinstance(a, Constant)
            else (a, *rest)
            for a, *rest in taken[1:]
        ]
        return self._step("choose", None, taken, (condition.dtype, dtype, dtype), dtype)

    def view(self, source: Tracer, key: Any) -> Tracer:
        """A part of an array that the body is given."""
        keys = key if isinstance(key, tuple) else (key,)
        if not all(k is None or k is ... or isinstance(k, slice | int | np.integer) for k in keys) or any(
            isinstance(k, bool) for k in keys
        ):
            self.give_up("an array is indexed by another one")
        if all(k is ... or k == _ALL for k in keys):
            return source
        try:
            shape = np.broadcast_to(_CELL, source.extents)[keys].shape
        except IndexError:
            self.looked = True  # the body may catch it
            raise
        if shape == source.extents and all(k is ... or (isinstance(k, slice) and (k.step or 1) > 0) for k in keys):
            self.looked = True  # with another shape it would not be all of it
            return source
        value = self.values[source.node]
        if not isinstance(value, Input) or value.key is not None or source.role != "operand":
            self.give_up("what the body made itself is indexed")
        return self._symbol(Input(value.place, keys, shape, value.dtype), "operand")

    def _step(
        self,
        kind: Kind,
        ufunc: np.ufunc | None,
        taken: Sequence[tuple[int | Constant, Any, tuple[int, ...]]],
        loop: tuple[np.dtype[Any], ...],
        dtype: np.dtype[Any],
        shape: tuple[int, ...] | None = None,
    ) -> Tracer:
        if len(self.values) >= _LONGEST:
            self.give_up(f"the body does more than {_LONGEST} things")
        shapes = {s for _, _, s in taken} - {()}
        if shape is None:
            try:
                shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
            except ValueError:
                self.looked = True  # the body may catch it
                raise
        arguments = tuple(a for a, _, _ in taken)
        return self._symbol(Step(kind, ufunc, arguments, loop, shape, dtype, self._errors()), "made")

    def _errors(self) -> tuple[tuple[str, str], ...] | None:
        """How the body has floating-point errors handled here, where it is in another way than outside."""
        errors, callback, filters = self._outside
        now = _error_state()
        if warnings.filters is not filters or np.geterrcall() is not callback:
            self.for_good = False  # filters are the whole process': it may have been another thread
            self.give_up("the body catches warnings")
        if now == errors:
            return None
        if any(how != "ignore" for _, how in {*now} - {*errors}):
            self.give_up("the body has floating-point errors told")
        return now

    def _symbol(self, value: Input | Step, role: Literal["operand", "buffer", "made"]) -> Tracer:
        self.values.append(value)
        return Tracer(self, len(self.values) - 1, value.shape, value.dtype, role)

    def _argument(self, value: Any) -> tuple[int | Constant, Any, tuple[int, ...]]:
        """An argument of a step, its dtype or its Python type, and its shape."""
        if isinstance(value, Tracer):
            if value.trace is not self:
                self.give_up("there is an array of another call")
            return value.node, value.dtype, value.extents
        if type(value) in (int, float, complex):
            return Constant(value), type(value), ()
        if type(value) is bool:
            return Constant(value), np.dtype(bool), ()
        number = isinstance(value, np.generic) or (type(value) is np.ndarray and value.ndim == 0)
        if not number or value.dtype.kind not in _KINDS:
            self.give_up(f"there is a {type(value).__name__} that is not an argument")
        return Constant(value[()]), value.dtype, ()


def _error_state() -> tuple[tuple[str, str], ...]:
    return tuple([(name, str(how)) for name, how in np.geterr().items()])


_COMPARISONS = frozenset({np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal})
"""NumPy's functions that take integers of any size."""

_TRUE = np.ones((), bool)
_ALL = slice(None)
_CELL = np.empty(())
_CELL.flags.writeable = False


@lru_cache(maxsize=1024)
def _resolved(ufunc: np.ufunc, kinds: tuple[Any, ...]) -> tuple[np.dtype[Any], ...]:
    """The dtypes that a ufunc computes in, and that of its result."""
    found: tuple[np.dtype[Any], ...] = ufunc.resolve_dtypes((*kinds, None))
    return found


class Tracer(NDArrayOperatorsMixin):
    """Stands for an array while a body is traced.

    Attributes
    ----------
    trace : Trace
    node : int
        The position among the trace's values of what its elements are now.
    extents : tuple of int
        The shape, for us; the body asks for `shape`.
    dtype : numpy.dtype
    role : {"operand", "buffer", "made"}
        What it stands for: an array that must not be written, one that may, or one that the body made.
    """

    __slots__ = ("dtype", "extents", "node", "role", "trace")

    def __init__(
        self,
        trace: Trace,
        node: int,
        extents: tuple[int, ...],
        dtype: np.dtype[Any],
        role: Literal["operand", "buffer", "made"],
    ) -> None:
        self.trace, self.node, self.extents, self.dtype, self.role = trace, node, extents, dtype, role

    @property
    def shape(self) -> tuple[int, ...]:
        """As NumPy's."""
        self.trace.looked = True
        return self.extents

    @property
    def ndim(self) -> int:
        """As NumPy's."""
        return len(self.extents)

    @property
    def size(self) -> int:
        """As NumPy's."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """As NumPy's."""
        return self.size * self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """As NumPy's."""
        return self.dtype.itemsize

    def __len__(self) -> int:
        if not self.extents:
            self.trace.give_up("the length of a 0-d array is asked for")
        return self.shape[0]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if method != "__call__" or options or ufunc.signature is not None or ufunc.nout != 1:
            self.trace.give_up(f"{ufunc.__name__} is called in a way that does more than one element at a time")
        made = self.trace.apply(ufunc, inputs)
        if out is None:
            return made
        target = out[0]
        if not isinstance(target, Tracer) or target.trace is not self.trace:
            self.trace.give_up("an array from elsewhere is written")
        if not np.can_cast(made.dtype, target.dtype, "same_kind"):
            self.trace.give_up(f"{made.dtype} is written to {target.dtype}")
        target.write(made)
        return target

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        if function is not np.where or len(args) != 3 or kwargs:
            self.trace.give_up(f"numpy.{getattr(function, '__name__', function)} works on more than single elements")
        return self.trace.choose(*args)

    def __pow__(self, exponent: Any) -> Any:
        if not self.extents and self.role == "made":
            self.trace.give_up("a number is raised to a power, for which NumPy has another function")
        if isinstance(exponent, Tracer):
            if not exponent.extents and _power(self.dtype, np.full((), 2, exponent.dtype))[0] is not np.power:
                self.trace.give_up("an array is raised to a power that is one number of an array")
        elif isinstance(exponent, int | float | complex | np.generic) or (
            isinstance(exponent, np.ndarray) and not exponent.ndim
        ):
            ufunc, dtype = _power(self.dtype, exponent)
            if ufunc is not np.power:
                return self.trace.apply(ufunc, (self if dtype == self.dtype else self.astype(dtype),))
        return NDArrayOperatorsMixin.__pow__(self, exponent)

    def __ipow__(self, exponent: Any) -> Any:
        self.trace.give_up("an array is raised to a power in place")

    def __getitem__(self, key: Any) -> Tracer:
        return self.trace.view(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.trace.view(self, key) is not self:
            self.trace.give_up("a part of an array is written")
        self.write(value)

    def write(self, value: Any) -> None:
        """Take new extents, as an assignment to all of an array does."""
        if self.role == "operand":
            self.trace.give_up("an operand is written")
        if self.role == "made" and not self.extents:
            self.trace.give_up("a number is written, which has no element for it")
        extents = value.extents if isinstance(value, Tracer) else ()
        if extents != self.extents:
            self.trace.looked = True  # it is spread over this shape
            if np.broadcast_shapes(extents, self.extents) != self.extents:
                self.trace.give_up("an array is written that does not fit")
        if not isinstance(value, Tracer):
            cell = np.empty((), self.dtype)
            cell[...] = value  # which raises what NumPy does
            value = cell
        if not isinstance(value, Tracer) or value.dtype != self.dtype or extents != self.extents:
            value = self.trace.cast(value, self.dtype, self.extents)
        elif value.role != "made":
            value = self.trace.cast(value, self.dtype)
        self.node = value.node

    def astype(self, dtype: Any, *, copy: bool = True, **options: Any) -> Tracer:
        """As NumPy's."""
        if options:
            self.trace.give_up(f"astype() gets {', '.join(options)}")
        wanted = np.dtype(dtype)
        return self if wanted == self.dtype and not copy else self.trace.cast(self, wanted)

    def copy(self) -> Tracer:
        """As NumPy's."""
        return self.trace.cast(self, self.dtype)

    def __reduce_ex__(self, protocol: Any) -> Any:
        self.trace.give_up("an array is copied or pickled")

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What is asked for where this is not an array of NumPy's, and the body may decide by that."""
        if not self.trace.over:
            self.trace.give_up("the body hangs on the type of an array")
        return Tracer

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        self.trace.give_up("an array is made of another one")

    def __iter__(self) -> Any:
        self.trace.give_up("the body goes through the elements of an array")

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return Namespace(self.trace)

    def __getattr__(self, name: str) -> Any:
        if self.trace.over:  # whoever looks for a protocol finds none
            raise AttributeError(f"{_KEPT}, and asks it for {name!r}")
        self.trace.give_up(f"{name} of an array is asked for")

    def _asked(self, *args: Any) -> Any:
        self.trace.give_up("the body hangs on an element of an array")

    __bool__ = __int__ = __float__ = __complex__ = __index__ = __contains__ = _asked


class _Seen(np.ndarray[Any, Any]):
    """An array that tells which function is called with it, and as what."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: Any, *inputs: Any, **options: Any) -> Any:
        return ufunc, inputs[0].dtype


def _power(dtype: np.dtype[Any], exponent: Any) -> tuple[np.ufunc, np.dtype[Any]]:
    """What ``**`` of NumPy's arrays calls, and for what dtype: for some numbers not :data:`numpy.power`.

    Which these are hangs on the release.
    """
    found: tuple[np.ufunc, np.dtype[Any]] = np.ones(1, dtype).view(_Seen) ** exponent
    return found


IMITATED = "asarray", "astype", "where", "clip"
"""Functions of array-api-compat's namespace for NumPy that are not NumPy's universal ones."""


class Namespace:
    """The namespace of NumPy with the functions that make arrays of tracers; all others are NumPy's own.

    Parameters
    ----------
    trace : Trace
    xp : namespace
    """

    def __init__(self, trace: Trace, xp: Any = None) -> None:
        self._trace, self._xp = trace, load("array_api_compat.numpy") if xp is None else xp

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def asarray(self, value: Any, /, *, dtype: Any = None, copy: bool | None = None, **options: Any) -> Any:
        """As the standard has it."""
        if not isinstance(value, Tracer):
            return self._xp.asarray(value, dtype=dtype, copy=copy, **options)
        wanted = value.dtype if dtype is None else np.dtype(dtype)
        if wanted == value.dtype and not copy:
            return value
        if copy is False:
            self._trace.give_up("asarray() may not copy, and must")
        return self._trace.cast(value, wanted)

    def astype(self, value: Any, dtype: Any, /, *, copy: bool = True, **options: Any) -> Any:
        """As the standard has it."""
        if not isinstance(value, Tracer):
            return self._xp.astype(value, dtype, copy=copy, **options)
        return value.astype(dtype, copy=copy)

    def where(self, condition: Any, yes: Any, no: Any, /) -> Any:
        """As the standard has it."""
        if not any(isinstance(v, Tracer) for v in (condition, yes, no)):
            return self._xp.where(condition, yes, no)
        return self._trace.choose(condition, yes, no)

    def clip(self, value: Any, /, min: Any = None, max: Any = None, **options: Any) -> Any:  # noqa: A002  its names
        """As the standard has it, between numbers."""
        if not isinstance(value, Tracer):
            return self._xp.clip(value, min, max, **options)
        bounds = [None if bound is None else _within(bound, value.dtype) for bound in (min, max)]
        if options or any(own is None and bound is not None for own, bound in zip(bounds, (min, max), strict=True)):
            self._trace.give_up("clip() gets what is not a number, or does not fit the array's dtype")
        low, high = bounds
        # Of equal zeros of two signs NumPy's own functions give the bound's or the array's, each in its way.
        if low is not None and high is not None and value.dtype.kind == "f":
            value = self._trace.choose(np.less(value, low), low, value)
            return self._trace.choose(np.greater(value, high), high, value)
        if low is not None:
            value = np.maximum(value, low)
        if high is not None:
            value = np.minimum(value, high)
        return value.copy() if low is high is None else value


def _within(bound: Any, dtype: np.dtype[Any]) -> Any:
    """A number in an array's dtype; None where it changes on the way, or is not a number."""
    if type(bound) not in (int, float) or dtype.kind not in "iuf":
        return None
    if dtype.kind == "f":
        return dtype.type(bound) if np.isfinite(bound) and np.isfinite(dtype.type(bound)) else None
    limits = np.iinfo(dtype)
    fits = type(bound) is int and limits.min < bound < limits.max
    return dtype.type(operator.index(bound)) if fits else None


def finished(trace: Trace, results: Sequence[Tracer]) -> Program:
    """The program, without what no result needs; each result is a step of its own."""
    last: list[int] = []
    for tracer in results:
        fresh = isinstance(trace.values[tracer.node], Step) and tracer.node not in last
        last.append((tracer if fresh else trace.cast(tracer, tracer.dtype)).node)
    needed = set(last)
    for node in range(len(trace.values) - 1, -1, -1):
        value = trace.values[node]
        if node in needed and isinstance(value, Step):
            needed.update(value.needs)
    if len(needed) == len(trace.values):
        return Program(tuple(trace.values), tuple(last), trace.looked)
    order = sorted(needed)
    moved = {node: n for n, node in enumerate(order)}

    def renumbered(value: Input | Step) -> Input | Step:
        if isinstance(value, Input):
            return value
        arguments = tuple(moved[a] if isinstance(a, int) else a for a in value.arguments)
        return value._replace(arguments=arguments)

    return Program(tuple(renumbered(trace.values[n]) for n in order), tuple(moved[n] for n in last), trace.looked)
