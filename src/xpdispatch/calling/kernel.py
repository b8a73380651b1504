""":class:`Kernel`: bind the arguments, and hand them to an engine."""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar, overload

import numpy as np

from xpdispatch.arrays import namespaces
from xpdispatch.arrays.dtypes import casts, rules
from xpdispatch.arrays.namespaces import REFUSED, VARIANTS, check_variants, conversion_of, library_of
from xpdispatch.calling.engines import chosen, get_engine
from xpdispatch.errors import ArgumentError, UnsupportedError, XPDispatchError
from xpdispatch.language.boundaries import boundaries_of
from xpdispatch.language.signature import Signature
from xpdispatch.language.task_options import check_options
from xpdispatch.language.terms import Term
from xpdispatch.language.words import in_words
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.planning.body import Body, core_of, inside_body, make_body, name_of, parameters_of, place_of
from xpdispatch.planning.plan import Plan, Shape, plan
from xpdispatch.running.fusing import can_fuse
from xpdispatch.running.sample import ResultTypes, result_types
from xpdispatch.running.short import COLD
from xpdispatch.running.site import Fusing

if TYPE_CHECKING:  # with defaults, so that Kernel alone means Kernel[..., Any]
    from typing_extensions import ParamSpec
    from typing_extensions import TypeVar as DefaultTypeVar

    P = ParamSpec("P", default=...)
    R = DefaultTypeVar("R", default=Any)
else:
    from typing import ParamSpec

    P, R = ParamSpec("P"), TypeVar("R")

if TYPE_CHECKING:
    from xpdispatch.explain import Explanation

_MISSING = inspect.Parameter.empty
_UNKNOWN = None, None


class Arguments(NamedTuple):
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


class Prepared(Protocol):
    """What an engine makes of a call: how calls with the same types, dtypes, shapes and extents are run."""

    def __call__(self, arguments: Arguments) -> list[Any]:
        """Run one such call."""

    def warm(self, arguments: Arguments) -> Warm | None:
        """A shorter way for what is plain; None where there is none."""


Warm = Callable[[Sequence[Any], Any], Any]
"""Takes a call's arguments, in the order of the body, and ``out=``; gives the one result, or ``COLD`` to say no."""


class Kernel(Generic[P, R]):
    """A body with its signature: call it like a NumPy function.

    Made by :func:`xpdispatch.kernel`. Positional and keyword arguments follow the body's own parameters without
    ``xp`` and ``tile``; ``out=`` is an array, or a tuple for several results.

    Attributes
    ----------
    signature : Signature
    notation : str
        The signature as text.
    body : Body
    variants : tuple of str
        The variants that there are: of ``"CPU"``, ``"OMP"`` and ``"GPU"``.
    deterministic : bool
    on_error : {"deferred", "immediate"}
    cut, fuse : bool
    options : mapping of str to bool
        Legate's options for its tasks, as far as they are set.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Signature,
        *,
        dtype: Any = None,
        boundary: Any = None,
        fold: Callable[..., Any] | None = None,
        variants: Sequence[str] = VARIANTS,
        deterministic: bool = False,
        on_error: Literal["deferred", "immediate"] = "deferred",
        cut: bool = True,
        fuse: bool = True,
        options: Mapping[str, bool] | None = None,
    ) -> None:
        self.signature = signature
        self.notation = str(signature)
        self._options = {
            "dtype": dtype,
            "fold": fold,
            "variants": variants,
            "deterministic": deterministic,
            "on_error": on_error,
            "cut": cut,
            "fuse": fuse,
            "options": options,
        }
        self.variants = check_variants(variants)
        self.boundaries = boundaries_of(signature, boundary)
        _check_fold(signature, fold)
        self.body: Body = make_body(function, signature, fold)
        self.deterministic = deterministic
        self.on_error = on_error
        self.cut, self.fuse = cut, fuse
        self.options = check_options(options)
        self.operands: tuple[Term, ...] = tuple(t for t in signature.operands if t.name)
        self._rules = rules(dtype, [str(t.name) for t in self.operands], self.body.results)
        self._parameters = parameters_of(function)
        slots = self.body.slots
        self._scalars = tuple(p for p, s in enumerate(slots) if s.scalar is not None)
        self._arrays = tuple((p, s) for p, s in enumerate(slots) if s.scalar is None)
        extents = _extent_names(signature)
        self._sized = tuple((s.name, s.scalar) for s in slots if s.scalar is not None and s.name in extents)
        # Prepared calls, with their warm way or None, by what decides them: chosen engine, types, dtypes, shapes and
        # extents; at most 256. Plans by shapes and extents, and samples as result_types says, likewise.
        self._prepared, self._plans, self._samples = BoundedCache(), BoundedCache(), BoundedCache()
        self.__wrapped__ = function
        self._describe(function)
        self._remake = self._remaker(type(self), function, signature, self.boundaries or None)

    def _describe(self, function: Callable[..., Any]) -> None:
        core, name = core_of(function), name_of(function)
        self.__name__, self.__qualname__ = name, getattr(core, "__qualname__", name)
        self.__module__ = getattr(core, "__module__", None) or type(core).__module__
        shown = {*self._parameters, "return"}
        self.__annotations__ = {n: a for n, a in getattr(core, "__annotations__", {}).items() if n in shown}
        scalars = [slot.name for slot in self.body.slots if slot.scalar is not None]
        own = inspect.cleandoc(core.__doc__ or "")
        words = "\n".join(in_words(self.signature, self.boundaries, scalars))
        parts = (f"{self.name}{self.__signature__}", own, f"    {self.notation}", words)
        self.__doc__ = "\n\n".join(part for part in parts if part)

    def _remaker(
        self, kind: type[Kernel], function: Callable[..., Any], signature: Signature, boundary: Any
    ) -> Callable[[], Kernel]:
        """What a pickle of the kernel holds: a function, so that each pickler treats the kernel as it does functions.

        pickle and multiprocessing look it up by its name, and so find the kernel that a module made when it was
        imported. cloudpickle takes functions of ``__main__``, notebooks and closures along, and so makes the kernel
        anew.
        """
        options, variants = self._options, self.body.variants

        def remake() -> Kernel:
            kernel = kind(function, signature, boundary=boundary, **options)
            kernel.body.variants.update(variants)
            return kernel

        remake.__module__, remake.__qualname__ = self.__module__, f"{self.__qualname__}._remake"
        return remake

    def __reduce_ex__(self, protocol: Any) -> str | tuple[Any, ...]:
        if protocol < 4:  # which cannot look up a function in a kernel
            return self.__qualname__
        return unpickled, (self._remake, self.__module__, self.__qualname__)

    def __copy__(self) -> Kernel[P, R]:
        return self  # as a function

    def __deepcopy__(self, memo: object) -> Kernel[P, R]:
        return self

    @property
    def name(self) -> str:
        """The body's name."""
        return self.body.name

    @property
    def __signature__(self) -> inspect.Signature:
        out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
        own = [p for p in self._parameters.values() if p.name != "out"]
        results = {s.name for s in self.body.slots if s.operand is None and s.result is not None}
        # A result may be left out, which Python can say where what follows may be left out too.
        for n, parameter in reversed(list(enumerate(own))):
            if parameter.default is _MISSING and parameter.kind is not parameter.VAR_POSITIONAL:
                if parameter.name in results:
                    own[n] = parameter.replace(default=None)
                elif parameter.kind is not parameter.KEYWORD_ONLY:
                    break
        return inspect.Signature([*own, out])

    def with_signature(self, signature: Signature, boundary: Any = None) -> Kernel:
        """The same body and options under another signature; `boundary` is by default what it was.

        Raises
        ------
        ArgumentError
        """
        if boundary is None:
            haloed = {t.name for t in signature.operands if t.haloed}
            boundary = {name: mode for name, mode in self.boundaries.items() if name in haloed} or None
        made = Kernel(self.__wrapped__, signature, boundary=boundary, **self._options)
        made.body.variants.update(self.body.variants)
        return made

    def plain_for(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Kernel:
        """The kernel that runs a call with these arguments: itself, but where operands may be left out."""
        return self

    def __repr__(self) -> str:
        variants = [f"{v} (own body)" if v in self.body.variants else v for v in self.variants]
        return f"<kernel {self.name}: {self.notation}; {', '.join(variants)}; {place_of(self.__wrapped__)}>"

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(self, /, *args: Any, out: Any, **kwargs: Any) -> Any: ...

    def __call__(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Run the kernel; see the class for how arguments are passed."""
        try:
            if kwargs or len(args) != len(self._parameters) or self.body.keyword:
                args = self._by_parameter(args, kwargs)
            if type(out) is tuple and len(out) == 1 == self.body.results:
                (out,) = out
            key = (
                namespaces.registrations,
                chosen.get(),
                inside_body.get(),
                tuple([_kind(args[p]) for p, _ in self._arrays]),
                tuple([_kind(a) for a in out]) if type(out) is tuple else _kind(out),
                tuple([type(args[p]) for p in self._scalars]),
                tuple([_extent_of(name, args[self._scalars[s]]) for name, s in self._sized]) if self._sized else (),
            )
            warm, prepared = self._prepared.get(key, _UNKNOWN)
            if warm is not None:
                result = warm(args, out)
                if result is not COLD:
                    return result
            arguments = self._sorted(args, out)
            if prepared is None:
                prepared = self._prepare(arguments)
                results = prepared(arguments)
                self._prepared[key] = prepared.warm(arguments), prepared
            else:
                results = prepared(arguments)
        except XPDispatchError as error:
            error.complete(self.name, self.notation)
            raise
        return results[0] if len(results) == 1 else tuple(results)

    def explain(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Explanation:
        """How the arrays of such a call are cut, which are shared, what is reduced, and how many bytes move.

        Parameters
        ----------
        *args, out, **kwargs
            As in a call. In place of an array may stand anything that has a shape and a dtype, such as a
            ``jax.ShapeDtypeStruct``: no cell is read, and no array is made.

        Returns
        -------
        Explanation
            For the processors that the call would run on here; ``explain(...).on(processors=8, kind="gpu")`` is for
            others. Print it, show it in a notebook, or ask it for a picture.

        Examples
        --------
        >>> import numpy as np
        >>> from xpdispatch import kernel
        >>> @kernel("x[i], y[i] -> z[i]", dtype="x")
        ... def saxpy(xp, x, y, a):
        ...     return a * x + y
        >>> x = np.ones(10**6)
        >>> told = saxpy.explain(x, x, 2.0).on(processors=4)
        >>> told.count, told.arrays["x"].part
        (4, (250000,))
        """
        from xpdispatch.explain.explanation import explain_here
        from xpdispatch.explain.question import ask, with_stand_ins

        kernel: Kernel = self
        try:
            kernel = self.plain_for(args, kwargs)
            arguments = with_stand_ins(kernel.bind(args, kwargs, out))
            kernel._check(arguments)
            return explain_here(ask(kernel, arguments, kernel._engine_for(arguments)))
        except XPDispatchError as error:
            error.complete(kernel.name, kernel.notation)
            raise

    # -- variants -------------------------------------------------------------------------------

    def cpu_variant(self, function: Callable[..., Any]) -> Kernel[P, R]:
        """Decorator: use this body, with the same parameters, on CPUs."""
        return self._set_variant("CPU", function)

    def omp_variant(self, function: Callable[..., Any]) -> Kernel[P, R]:
        """Decorator: use this body, with the same parameters, on OpenMP processors."""
        return self._set_variant("OMP", function)

    def gpu_variant(self, function: Callable[..., Any]) -> Kernel[P, R]:
        """Decorator: use this body, with the same parameters, on GPUs."""
        return self._set_variant("GPU", function)

    def _set_variant(self, variant: str, function: Callable[..., Any]) -> Kernel[P, R]:
        if not callable(function):
            raise ArgumentError(
                f"the {variant} body is {function!r}, expected a function",
                hint=f"write @{self.name}.{variant.lower()}_variant on the line before its def",
            ).complete(self.name, self.notation)
        wanted, got = list(inspect.signature(self.__wrapped__).parameters), list(inspect.signature(function).parameters)
        if wanted != got:
            raise ArgumentError(
                f"the {variant} body has parameters ({', '.join(got)}), expected ({', '.join(wanted)})",
                hint="give every variant's body the same parameters",
            ).complete(self.name, self.notation)
        if variant not in self.variants:
            raise ArgumentError(
                f"the kernel has no {variant} variant, only {', '.join(self.variants)}",
                hint=f"leave out variants=, or add {variant!r} to it",
            ).complete(self.name, self.notation)
        self.body.variants[variant] = function
        self._prepared.clear()
        self._samples.clear()
        return self

    # -- binding --------------------------------------------------------------------------------

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Arguments:
        """Sort a call's arguments into operands, given results and scalars."""
        return self._sorted(self._by_parameter(args, kwargs), out)

    def _sorted(self, args: Sequence[Any], out: Any) -> Arguments:
        operands: list[Any] = [None] * len(self.operands)
        given: list[Any] = [None] * self.body.results
        for position, slot in self._arrays:
            value = args[position]
            if slot.operand is not None:
                operands[slot.operand] = value
            elif value is not _MISSING:
                given[slot.result] = value  # type: ignore[index]
        if out is not None:
            self._bind_out(out, operands, given)
        return Arguments(operands, given, tuple([args[p] for p in self._scalars]))

    def _by_parameter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """One value for each parameter; results that are left out are missing, and nothing else is."""
        parameters = self._parameters
        positional = [n for n in parameters if n not in self.body.keyword]
        if len(args) > len(positional):
            raise ArgumentError(
                f"got {len(args)} positional arguments, expected at most {len(positional)} ({', '.join(positional)})",
                hint=f"call {self._call_shown()}: xp is not passed, and results are given by out=",
            )
        values = dict(zip(positional, args, strict=False))
        for name, value in kwargs.items():
            if name not in parameters:
                hint = f"the parameters are {', '.join(parameters) or 'none'}, and out"
                if name in self._options or name == "boundary":
                    hint = f"{name}= is an option of the decorator: @kernel(..., {name}=...)"
                raise ArgumentError(f"unexpected argument {name!r}", hint=hint)
            if name in values:
                raise ArgumentError(
                    f"argument {name!r} is given twice", hint="pass it by position or by name, not both"
                )
            values[name] = value
        bound = tuple(values.get(n, p.default) for n, p in parameters.items())
        for slot, value in zip(self.body.slots, bound, strict=True):
            if value is _MISSING and (slot.scalar is not None or slot.operand is not None):
                raise ArgumentError(f"argument {slot.name!r} is missing", hint=f"call {self._call_shown()}")
        return bound

    def _bind_out(self, out: Any, operands: list[Any], given: list[Any]) -> None:
        count = self.body.results
        if isinstance(out, tuple):
            outs = out
        elif count == 1:
            outs = (out,)
        else:
            raise ArgumentError(
                f"out= got one object, expected a tuple of {count}", hint="give one entry, or None, for each result"
            )
        if len(outs) != count:
            raise ArgumentError(
                f"out= got {len(outs)} arrays, expected {count}", hint="give one entry, or None, for each result"
            )
        for r, array in enumerate(outs):
            if array is None:
                continue
            name = str(self.signature.results[r].name)
            updated = self.body.updated[r]
            if updated is None:
                if given[r] is not None and given[r] is not array:
                    raise ArgumentError(
                        f"result {name!r} is given twice", hint="pass it as argument or by out=, not both"
                    )
                given[r] = array
            elif array is not operands[updated]:
                raise ArgumentError(
                    f"out= gives another array for {name!r}, which is read and written in place",
                    hint=f"pass the array as argument {name!r} alone",
                )

    # -- preparing: all that types, dtypes, shapes and extents decide --------------------------------------

    def _prepare(self, arguments: Arguments) -> Prepared:
        self._check(arguments)
        prepared: Prepared = get_engine(self._engine_for(arguments)).prepare(self, arguments)
        return prepared

    def _check(self, arguments: Arguments) -> None:
        """Refuse what is no array where one is wanted, and arrays where none is."""
        for slot in self.body.slots:
            if slot.scalar is not None:
                self._check_scalar(slot.name, arguments.scalars[slot.scalar])
        for p, (term, value) in enumerate(zip(self.operands, arguments.operands, strict=True)):
            _check_array(str(term.name), value, number_ok=p not in self.body.updated)
        for term, value in zip(self.signature.results, arguments.given, strict=True):
            if value is not None:
                _check_array(str(term.name), value, number_ok=False)

    def _check_scalar(self, name: str, value: Any) -> None:
        library = library_of(value)
        if library in ("number", "object", "list", "tuple") or isinstance(value, np.generic):
            return
        hint = f"add {name}[] (0-d) or {name}[...] to the notation, or check the order: {self._call_shown()}"
        if any(name == sized for sized, _ in self._sized):
            hint = f"{name!r} is an extent of the notation: pass int({name})"
        raise ArgumentError(
            f"argument {name!r} is an array, but the notation does not name it, so it is a scalar", hint=hint
        )

    def _call_shown(self) -> str:
        return f"{self.name}({', '.join(self._parameters)})"

    def _engine_for(self, arguments: Arguments) -> str:
        if inside_body.get():
            return "local"
        wanted = chosen.get()
        libraries = {library_of(v) for _, v in arguments.arrays(self)}
        if "legate" in libraries:
            if wanted == "local":
                raise ArgumentError(
                    "got a cuPyNumeric array under engine('local')",
                    hint="convert with numpy.asarray(x), or leave the engine to the arguments",
                )
            return "legate"
        return "legate" if wanted == "legate" and libraries <= {"numpy", "number"} else "local"

    def plan(self, shapes: Sequence[Shape], scalars: Sequence[Any], given: Sequence[Shape | None]) -> Plan:
        """The plan of a call."""
        sizes = self.sizes(scalars)
        key = (tuple(shapes), tuple(sizes.values()), tuple(given))
        found: Plan | None = self._plans.get(key)
        if found is None:
            found = self._plans[key] = plan(self.signature, shapes, sizes, given, self.boundaries)
        return found

    def sizes(self, scalars: Sequence[Any]) -> dict[str, int]:
        """The scalars that extents use, by name."""
        return {name: _extent_of(name, scalars[s]) for name, s in self._sized}

    def fusing(self, plan: Plan) -> Fusing | None:
        """For a body that may turn out to do arithmetic on single cells alone what is known of it: nothing yet."""
        return Fusing() if self.fuse and can_fuse(self.body, plan) else None

    def casts(self, dtypes: Sequence[Any], xp: Any) -> tuple[Any, ...]:
        """For each result the dtype that ``dtype=`` asks for, in the namespace's own terms, or None."""
        return casts(self._rules, dtypes, xp)

    def result_types(
        self,
        plan: Plan,
        dtypes: Sequence[np.dtype[Any]],
        scalars: Sequence[Any],
        given: Sequence[np.dtype[Any] | None],
    ) -> ResultTypes:
        """Dtype and shape of every result, before any tile runs: :func:`xpdispatch.running.sample.result_types`."""
        return result_types(self.body, self._rules, self._samples, plan, dtypes, scalars, given)


def unpickled(remake: Callable[[], Kernel], module: str, qualname: str) -> Kernel:
    """The kernel of a pickle: the one that its module has, where the pickle refers to that."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, Kernel) and found._remake is remake else remake()


quick_kinds: dict[type, Callable[[Any], Any]] = {}
"""For types of arrays that tell their shape slowly, what tells type, dtype and shape more quickly."""


def _kind(value: Any) -> Any:
    """What of an argument decides how a call is prepared."""
    kind = type(value)
    if kind is np.ndarray:
        return value.dtype, value.shape
    if value is None or value is _MISSING:
        return value
    if kind is int:
        return kind, -(2**63) <= value < 2**63  # NumPy's dtype for it
    try:
        if kind in quick_kinds:
            return quick_kinds[kind](value)
        dtype = getattr(value, "dtype", None)
        return kind, value.type.code if dtype is None else dtype, tuple(value.shape)  # a Legate store has a type
    except Exception:  # noqa: BLE001  no array, or none that has a shape yet
        return kind, *_kinds_behind(value)


def _kinds_behind(value: Any) -> list[Any]:
    """The same of the stores behind an object that has nothing but Legate's data interface."""
    try:
        columns = value.__legate_data_interface__["data"].values()
        return [(c.type.code, tuple(c.shape)) for c in columns]
    except Exception:  # noqa: BLE001  the checks have words for it
        return []


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


def _check_array(name: str, value: Any, *, number_ok: bool) -> None:
    library = library_of(value)
    if library in REFUSED:
        raise ArgumentError(f"argument {name!r} is a {library}, expected an array", hint=REFUSED[library])
    if library == "object" or (not number_ok and (library == "number" or isinstance(value, np.generic))):
        kind = type(value).__name__
        of, remedy = conversion_of(value)
        what = "None" if value is None else f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"
        raise ArgumentError(f"argument {name!r} is {what}{of}, expected an array", hint=remedy)


def _check_fold(signature: Signature, merge: Callable[..., Any] | None) -> None:
    """``fold=`` is there where a result is folded and only there, and folded results have the same indices."""
    folds = [t for t in signature.results if t.op == "fold"]
    if merge is not None and not callable(merge):
        raise ArgumentError(f"fold={merge!r} is no function", hint="write def merge(xp, a, b), and fold=merge")
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
