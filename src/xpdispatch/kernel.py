"""``@kernel`` and :class:`Kernel`: bind the arguments, plan, and hand both to an engine."""

from __future__ import annotations

import inspect
import operator
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xpdispatch.body import Body, make_body, parameters_of
from xpdispatch.constraints import roles_of, signature_of
from xpdispatch.engines import chosen, get_engine
from xpdispatch.errors import (
    ArgumentError,
    DTypeError,
    NotationError,
    SignatureError,
    UnsupportedError,
    XPDispatchError,
)
from xpdispatch.executor import Site, inside_body, np_dtype, run
from xpdispatch.namespaces import library_of, namespace_for
from xpdispatch.notation import Axis, Constraint, Signature, Term, parse
from xpdispatch.plan import Plan, Shape, plan

_CACHE_SIZE = 256


class BoundedCache(dict[Any, Any]):
    """A dict that forgets its oldest entry instead of growing beyond 256."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if len(self) >= _CACHE_SIZE:
            del self[next(iter(self))]
        super().__setitem__(key, value)


@dataclass(frozen=True, slots=True)
class Arguments:
    """One call, bound: operands in the notation's order, given results or None, scalars."""

    operands: list[Any]
    given: list[Any]
    scalars: tuple[Any, ...]

    def arrays(self, kernel: Kernel) -> Iterator[tuple[str, Any]]:
        """Name and value of every array of the call."""
        for term, value in zip(kernel.operands, self.operands, strict=True):
            yield str(term.name), value
        for term, value in zip(kernel.signature.results, self.given, strict=True):
            if value is not None:
                yield str(term.name), value


class Kernel:
    """A body with its signature: call it like a NumPy function.

    Made by :func:`kernel`. Positional and keyword arguments follow the body's own parameters without
    ``xp`` and ``tile``; ``out=`` is an array, or a tuple for several results.

    Attributes
    ----------
    signature : Signature
    notation : str
        The signature as text.
    body : Body
    deterministic : bool
    on_error : {"deferred", "immediate"}
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Signature,
        *,
        dtype: Any = None,
        deterministic: bool = False,
        on_error: Literal["deferred", "immediate"] = "deferred",
    ) -> None:
        self.signature = signature
        self.body: Body = make_body(function, signature)
        self.deterministic = deterministic
        self.on_error = on_error
        self.operands: tuple[Term, ...] = tuple(t for t in signature.operands if t.name)
        self._parameters = parameters_of(function)
        self._functions: dict[str, Callable[..., Any]] = {}
        self._dtype_rules = _dtype_rules(dtype, self.operands, self.body.results)
        self._sized = [
            (s.name, s.scalar) for s in self.body.slots if s.scalar is not None and s.name in _extent_names(signature)
        ]
        self._plans = BoundedCache()
        self._types = BoundedCache()
        self.notation = f"{signature}"
        for name in ("__module__", "__qualname__", "__name__", "__doc__"):
            setattr(self, name, getattr(function, name))
        self.__wrapped__ = function

    @property
    def name(self) -> str:
        """The body's name."""
        return self.body.name

    @property
    def __signature__(self) -> inspect.Signature:
        out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
        own = [p for p in self._parameters.values() if p.name != "out"]
        return inspect.Signature([*own, out])

    def __repr__(self) -> str:
        own = f", own bodies: {', '.join(self._functions)}" if self._functions else ""
        return f"<kernel {self.name}: {self.notation}{own}>"

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Run the kernel; see the class for how arguments are passed."""
        try:
            arguments = self._bind(args, kwargs, out)
            results = get_engine(self._engine_for(arguments)).call(self, arguments)
        except XPDispatchError as error:
            error.complete(self.name, self.notation)
            raise
        return results[0] if len(results) == 1 else tuple(results)

    # -- variants -------------------------------------------------------------------------------

    def cpu_variant(self, function: Callable[..., Any]) -> Kernel:
        """Decorator: use this body, with the same parameters, on CPUs."""
        return self._set_variant("CPU", function)

    def omp_variant(self, function: Callable[..., Any]) -> Kernel:
        """Decorator: use this body, with the same parameters, on OpenMP processors."""
        return self._set_variant("OMP", function)

    def gpu_variant(self, function: Callable[..., Any]) -> Kernel:
        """Decorator: use this body, with the same parameters, on GPUs."""
        return self._set_variant("GPU", function)

    def _set_variant(self, variant: str, function: Callable[..., Any]) -> Kernel:
        wanted, got = list(inspect.signature(self.__wrapped__).parameters), list(inspect.signature(function).parameters)
        if wanted != got:
            raise SignatureError(
                f"the {variant} body has parameters ({', '.join(got)}), expected ({', '.join(wanted)})",
                hint="give every variant's body the same parameters",
            ).complete(self.name, self.notation)
        self._functions[variant] = function
        return self

    def function_for(self, variant: str | None) -> Callable[..., Any]:
        """The body's function for a Legate variant, or for another array library (None)."""
        return self._functions.get(variant, self.body.function) if variant else self.body.function

    # -- binding --------------------------------------------------------------------------------

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Arguments:
        body = self.body
        values = self._by_parameter(args, kwargs)
        operands: list[Any] = [None] * len(self.operands)
        given: list[Any] = [None] * body.results
        scalars: list[Any] = []
        for slot, value in zip(body.slots, values, strict=True):
            if slot.scalar is not None:
                if value is inspect.Parameter.empty:
                    raise self._missing(slot.name)
                _check_scalar(slot.name, value)
                scalars.append(value)
                continue
            if value is not inspect.Parameter.empty and value is not None:
                _check_array(slot.name, value, number_ok=slot.result is None)
            if slot.operand is not None:
                if value is inspect.Parameter.empty or value is None:
                    raise self._missing(slot.name)
                operands[slot.operand] = value
            elif value is not inspect.Parameter.empty:
                given[slot.result] = value  # type: ignore[index]
        if out is not None:
            self._bind_out(out, operands, given)
        return Arguments(operands, given, tuple(scalars))

    def _by_parameter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Any]:
        """One value for each parameter, ``Parameter.empty`` where the call gives none."""
        parameters = self._parameters
        if not kwargs and len(args) == len(parameters) and not self.body.keyword:
            return args
        positional = [n for n in parameters if n not in self.body.keyword]
        if len(args) > len(positional):
            raise ArgumentError(
                f"got {len(args)} positional arguments, expected at most {len(positional)} ({', '.join(positional)})",
                hint="results are given by out=",
            )
        values = dict(zip(positional, args, strict=False))
        for name, value in kwargs.items():
            if name not in parameters:
                raise ArgumentError(
                    f"unexpected argument {name!r}",
                    hint=f"the parameters are {', '.join(parameters) or 'none'}, and out",
                )
            if name in values:
                raise ArgumentError(f"argument {name!r} is given twice", hint="by position or by name, not both")
            values[name] = value
        return [values.get(n, p.default) for n, p in parameters.items()]

    def _missing(self, name: str) -> ArgumentError:
        return ArgumentError(f"argument {name!r} is missing", hint=f"call {self.name}({', '.join(self._parameters)})")

    def _bind_out(self, out: Any, operands: list[Any], given: list[Any]) -> None:
        count = self.body.results
        if isinstance(out, tuple):
            outs = out
        elif count == 1:
            outs = (out,)
        else:
            raise ArgumentError(
                f"out= got one object, expected a tuple of {count}", hint="one entry, or None, for each result"
            )
        if len(outs) != count:
            raise ArgumentError(
                f"out= got {len(outs)} arrays, expected {count}", hint="one entry, or None, for each result"
            )
        for r, array in enumerate(outs):
            if array is None:
                continue
            name = str(self.signature.results[r].name)
            _check_array(name, array, number_ok=False)
            updated = self.body.updated[r]
            if updated is not None and array is not operands[updated]:
                raise ArgumentError(
                    f"out= gives another array for {name!r}, which is read and written in place",
                    hint=f"pass the array as argument {name!r} alone",
                )
            if given[r] is not None and given[r] is not array:
                raise ArgumentError(f"result {name!r} is given twice", hint="as argument or by out=, not both")
            if updated is None:
                given[r] = array

    def _engine_for(self, arguments: Arguments) -> str:
        wanted = chosen.get()
        libraries = {library_of(v) for _, v in arguments.arrays(self)}
        if inside_body.get():
            return "local"
        if "legate" in libraries:
            if wanted == "local":
                raise ArgumentError(
                    "got a cuPyNumeric array under engine('local')",
                    hint="convert with numpy.asarray(x), or leave the engine to the arguments",
                )
            return "legate"
        return "legate" if wanted == "legate" and libraries <= {"numpy", "number"} else "local"

    # -- planning: pure, cached by what decides the answer ------------------------------------------

    def plan(self, shapes: Sequence[Shape], scalars: Sequence[Any], given: Sequence[Shape | None]) -> Plan:
        """The plan of a call; cached by shapes and by the scalars that extents use, at most 256 plans."""
        sizes = tuple(_extent_of(name, scalars[s]) for name, s in self._sized)
        key = (tuple(shapes), sizes, tuple(given))
        found: Plan | None = self._plans.get(key)
        if found is None:
            names = {name: size for (name, _), size in zip(self._sized, sizes, strict=True)}
            found = self._plans[key] = plan(self.signature, shapes, names, given)
        return found

    def casts(self, dtypes: Sequence[Any], xp: Any) -> tuple[Any, ...]:
        """For each result the dtype that ``dtype=`` asks for, in the namespace's own terms, or None."""
        return tuple(rule and rule(dtypes, xp) for rule in self._dtype_rules)

    def result_types(
        self,
        plan: Plan,
        dtypes: Sequence[np.dtype[Any]],
        scalars: Sequence[Any],
        given: Sequence[np.dtype[Any] | None],
    ) -> list[tuple[np.dtype[Any], Shape]]:
        """NumPy dtype and full shape of every result, known before any tile runs.

        `given` has the dtypes of the arrays that the caller passes to be written.

        From ``dtype=`` and the notation where they say it all; otherwise the body runs once on a sample of
        ones with one cell per split index. Cached by dtypes, extents of whole axes and scalars (numbers by
        type, others by value), at most 256 entries.
        """
        casts = self.casts(dtypes, np)
        if plan.complete and all(c is not None for c in casts):
            return [(np.dtype(c), layout.shape) for c, layout in zip(casts, plan.results, strict=True)]  # type: ignore[misc]
        ones = [1] * len(plan.indices)
        shapes = tuple(layout.tile_shape(ones) for layout in (*plan.operands, *plan.results))
        key = (tuple(dtypes), shapes, scalars_key(scalars), tuple(given))
        sampled = self._types.get(key)
        if sampled is None:
            sampled = self._sample(plan, dtypes, scalars, given)
            self._types[key] = sampled
        return [
            (dtype, tuple(s if n is None else n for n, s in zip(layout.shape, shape, strict=True)))
            for layout, (dtype, shape) in zip(plan.results, sampled, strict=True)
        ]

    def _sample(
        self,
        plan: Plan,
        dtypes: Sequence[np.dtype[Any]],
        scalars: Sequence[Any],
        given: Sequence[np.dtype[Any] | None],
    ) -> list[tuple[np.dtype[Any], Shape]]:
        region = ((0, 1),) * len(plan.indices)
        ones = [1] * len(plan.indices)
        casts = self.casts(dtypes, np)
        site = Site(plan, self.body, self.function_for("CPU"), namespace_for("CPU"), "numpy", "CPU", casts)
        operands = [np.ones(o.tile_shape(ones), d) for o, d in zip(plan.operands, dtypes, strict=True)]
        targets: list[Any] = [None] * len(plan.results)
        for r in self.body.buffers:
            updated = self.body.updated[r]
            kind = casts[r] if casts[r] is not None else given[r]
            if updated is not None:
                targets[r] = operands[updated]
            elif kind is not None:
                targets[r] = np.ones(plan.results[r].tile_shape(ones), kind)
            else:
                raise DTypeError(
                    f"result {plan.results[r].name!r} is written by the body, so its dtype is not known before",
                    hint=f"pass an array as {plan.results[r].name!r} or out=, or dtype= to the decorator",
                )
        try:
            with np.errstate(all="ignore"):
                results = run(site, operands, targets, scalars, region, [region])
        except Exception as error:
            error.add_note(
                "This was a run on a sample of ones, one cell per split index, to learn the dtypes of the results. "
                "Hint: pass dtype= to the decorator (and name all extents), and no sample is run"
            )
            raise
        return [(np_dtype(v.dtype), v.shape) for v in results]


def scalars_key(scalars: Sequence[Any]) -> tuple[Any, ...]:
    """What of the scalars can decide a dtype: numbers by type, others by value."""
    number = bool | int | float | complex | np.generic
    return tuple(type(v) if isinstance(v, number) else _by_value(v) for v in scalars)


def _by_value(value: Any) -> Any:
    if isinstance(value, str | bytes) or value is None:
        return value
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001  whatever a user's __reduce__ raises: equal only to itself, then
        return object()


def _extent_names(signature: Signature) -> set[str]:
    """Every name that extents define or use."""
    names = set(signature.free_names)
    for term in signature.operands:
        names |= {a.name for a in term.axes if a.kind in ("split", "whole") and a.name}
    return names


def _extent_of(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ArgumentError(
            f"scalar {name!r} = {value!r} is an extent of the notation, expected an integer",
            hint=f"pass an int as {name!r}",
        ) from None


def _check_scalar(name: str, value: Any) -> None:
    library = library_of(value)
    if library in ("number", "object") or library.startswith("refused: a list") or isinstance(value, np.generic):
        return
    raise ArgumentError(
        f"argument {name!r} is an array, but the notation does not name it, so it is a scalar",
        hint=f"add {name}[] (0-d) or {name}[...] to the notation, or pass {name}.item()",
    )


def _check_array(name: str, value: Any, *, number_ok: bool) -> None:
    library = library_of(value)
    if library.startswith("refused"):
        raise ArgumentError(
            f"argument {name!r} is {library.removeprefix('refused: ').split(';')[0]}, expected an array",
            hint=library.split("; ")[1],
        )
    if library == "object" or (not number_ok and (library == "number" or isinstance(value, np.generic))):
        raise ArgumentError(
            f"argument {name!r} is a {type(value).__name__}, expected an array",
            hint="pass an array of NumPy, cuPyNumeric, CuPy, torch, JAX or another array-API library",
        )


def _dtype_rules(dtype: Any, operands: Sequence[Term], count: int) -> tuple[Any, ...]:
    """One function of the operands' dtypes and the namespace for each result, or None."""
    entries = dtype if isinstance(dtype, tuple) else (dtype,) * count
    if len(entries) != count:
        raise SignatureError(
            f"dtype= got {len(entries)} entries, expected {count}", hint="one, or None, for each result"
        )
    return tuple(None if e is None else _dtype_rule(e, [str(t.name) for t in operands]) for e in entries)


def _dtype_rule(entry: Any, names: Sequence[str]) -> Callable[[Sequence[Any], Any], Any]:
    if isinstance(entry, str) and entry in names:
        position = names.index(entry)
        return lambda dtypes, xp: _own(dtypes[position], xp)
    if callable(entry) and not isinstance(entry, type):
        return lambda dtypes, xp: _own(entry(*dtypes), xp)
    try:
        fixed = np_dtype(entry) if not isinstance(entry, str | type) else np.dtype(entry)
    except TypeError as error:
        raise SignatureError(
            f"dtype={entry!r} is no dtype",
            hint=f"a dtype, a function of the operands' dtypes, or one of {', '.join(names)}",
        ) from error
    return lambda dtypes, xp: _own(fixed, xp)


def _own(dtype: Any, xp: Any) -> Any:
    """The namespace's own dtype of that name; NumPy-like namespaces take NumPy's."""
    wanted = np_dtype(dtype) if not isinstance(dtype, type) else np.dtype(dtype)
    if xp is np:
        return wanted
    own = getattr(xp, "bool" if wanted.kind == "b" else wanted.name, wanted)
    return np.dtype(own) if isinstance(own, type) and issubclass(own, np.generic) else own


def kernel(
    notation: str | None = None,
    *,
    constraints: Iterable[Constraint] = (),
    dtype: Any = None,
    boundary: Any = None,
    fold: Callable[..., Any] | None = None,
    deterministic: bool = False,
    on_error: Literal["deferred", "immediate"] = "deferred",
) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a kernel of a function over a generic array namespace.

    Parameters
    ----------
    notation : str, optional
        How the arrays relate, axis by axis: ``"A[m,k], B[k,n] -> sum C[m,n]"``. Left out, the body's
        parameters carry ``In``, ``Out``, ``InOut`` or ``Reduce["sum"]`` and `constraints` says the rest.
    constraints : iterable of Constraint, optional
        ``align(...)`` and ``broadcast(...)`` of the explicit spelling.
    dtype : dtype, str, callable or tuple, optional
        Casts results, before they are combined: a dtype, the name of an operand whose dtype is taken, or a
        function of the operands' dtypes; a tuple for several results. By default a result's dtype is what the
        body returns.
    boundary, fold : optional
        Not there yet.
    deterministic : bool, optional
        On Legate, give sums that are the same to the last bit in every run. The kernel then runs in
        one piece there. In this process sums always are.
    on_error : {"deferred", "immediate"}, optional
        When an exception in a Legate task reaches the caller: at the next synchronisation point, or in the
        call itself, which then waits for the task.

    Returns
    -------
    callable
        A decorator that turns ``body(xp[, tile], ...)`` into a :class:`Kernel`.

    Raises
    ------
    NotationError, SignatureError
        The notation is wrong, or does not fit the body's parameters.
    UnsupportedError
        A piece of the notation that no engine can do yet.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import kernel
    >>> @kernel("x[i], y[i] -> z[i]")
    ... def saxpy(xp, x, y, a):
    ...     return a * x + y
    >>> saxpy(np.arange(3.0), np.ones(3), 2.0)
    array([1., 3., 5.])
    """
    if callable(notation):
        raise SignatureError("@kernel got the function itself", hint='write @kernel("x[i] -> y[i]")')

    def decorate(function: Callable[..., Any]) -> Kernel:
        signature: Signature | None = None
        try:
            parameters_of(function)
            if notation is not None:
                signature = parse(notation)
                if constraints:
                    raise UnsupportedError(
                        "constraints= beside a notation are not there yet", hint="say it in the notation"
                    )
            else:
                signature = _explicit(function, tuple(constraints))
            _check_supported(signature, boundary, fold)
            if on_error not in ("deferred", "immediate"):
                raise SignatureError(f"on_error={on_error!r} is unknown", hint="'deferred' or 'immediate'")
            return Kernel(function, signature, dtype=dtype, deterministic=deterministic, on_error=on_error)
        except XPDispatchError as error:
            shown = error.notation or (str(signature) if signature else notation or "")
            error.complete(getattr(function, "__name__", repr(function)), shown)
            raise

    return decorate


def _explicit(function: Callable[..., Any], constraints: tuple[Constraint, ...]) -> Signature:
    roles = roles_of(function)
    if not roles:
        raise NotationError(
            "there is neither a notation nor a parameter annotated with In, Out, InOut or Reduce",
            hint='write @kernel("x[i] -> y[i]"), or annotate the arrays: def body(xp, x: In, y: Out)',
        )
    return signature_of(roles, constraints)


def _check_supported(signature: Signature, boundary: Any, fold: Any) -> None:
    """Refuse, at decoration, each piece that no engine can do yet."""
    if boundary is not None:
        raise UnsupportedError("boundary= is not there yet", hint="pad the array before the call")
    if fold is not None:
        raise UnsupportedError("fold= is not there yet", hint="combine by sum, prod, max, min, any, all or xor")
    for term in (*signature.operands, *signature.results):
        if term.op == "fold":
            raise UnsupportedError(
                f"fold of {term.name!r} is not there yet",
                column=term.column,
                hint="combine by sum, prod, max, min, any, all or xor",
            )
        if term.name is None:
            raise UnsupportedError(
                f"the index space {term} is not there yet", column=term.column, hint="pass an array over the indices"
            )
        for axis in term.axes:
            piece, hint = _unsupported_axis(axis)
            if piece:
                raise UnsupportedError(
                    f"the {piece} {axis} of {term.name!r} is not there yet", column=axis.column, hint=hint
                )


def _unsupported_axis(axis: Axis) -> tuple[str, str]:
    """The name of a piece that no engine can do yet, and what to write instead; empty for all others."""
    if axis.below or axis.above:
        return "halo", f"keep the axis whole (':' in place of {axis}), or pass shifted slices as operands of their own"
    if axis.scale != 1:
        return "block", f"reshape the axis to blocks before the call, and write {axis.name}, :{axis.scale} for it"
    if axis.kind == "unknown":
        return "unknown extent", "return a mask of the operand's extent, and compress after the call"
    return "", ""
