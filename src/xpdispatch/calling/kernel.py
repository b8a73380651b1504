"""``Kernel``: a definition that is called like a NumPy function."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from numpy import ndarray

from xpdispatch.arrays import namespaces
from xpdispatch.arrays.namespaces import library_of
from xpdispatch.calling import labels
from xpdispatch.calling.binding import DECIDED, MISSING, bind, call_shown, kind_of
from xpdispatch.calling.engines import chosen, engine_for, get_engine, prepare
from xpdispatch.calling.local import Runner
from xpdispatch.errors import ArgumentError, XPDispatchError, in_short
from xpdispatch.language.boundaries import boundaries_under
from xpdispatch.language.signature import Signature
from xpdispatch.language.words import in_words, parallel
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.planning.arguments import check_call, diagonal_of, quick_kinds
from xpdispatch.planning.body import core_of, name_of, parameters_of, place_of, spelling_of
from xpdispatch.planning.definition import Call, Definition, call_of, define, extent_of
from xpdispatch.running import cutting
from xpdispatch.running.site import inside_body

if TYPE_CHECKING:  # with defaults, so that Kernel alone means Kernel[..., Any]
    from typing_extensions import ParamSpec
    from typing_extensions import TypeVar as DefaultTypeVar

    from xpdispatch.explain.explanation import Explanation

    P = ParamSpec("P", default=...)
    R = DefaultTypeVar("R", default=Any)
else:
    from typing import ParamSpec

    P, R = ParamSpec("P"), TypeVar("R")


class Kernel(Generic[P, R]):
    """A body with its signature: call it like a NumPy function.

    Made by :func:`xpdispatch.kernel`. Positional and keyword arguments follow the body's own parameters without
    ``xp`` and ``tile``; ``out=`` is an array, or a tuple for several results.

    Attributes
    ----------
    definition : Definition
        What engines get of it.
    """

    def __init__(self, function: Callable[..., Any], signature: Signature, **options: Any) -> None:
        self._options = options
        self.__wrapped__ = function
        self._parameters = parameters_of(function)
        self._define(define(function, signature, **options))
        self._describe(function, signature)
        self._remake = self._remaker(function, signature)

    def _define(self, definition: Definition) -> None:
        self.definition = definition
        body = definition.body
        self._more = tuple(at for at in body.given_at if at is not None and at >= len(body.slots))
        self._sized = tuple((name, body.scalar_at[s]) for name, s in definition.sized)
        self._blank = (None,) * len(self._more)
        self._one_more = len(self._more) == 1 == body.results
        places = zip(definition.operands, body.operand_at, strict=True)
        self._diagonals = tuple((term, at) for term, at in places if term.diagonals)
        self._by_position = -1 if body.keyword or self._diagonals else len(body.slots)
        # By engine, types and dtypes of arrays, their numbers of axes and types of scalars, what makes runners; and
        # these by shapes, too, and extents that scalars give.
        self._prepared, self._runners = BoundedCache(), BoundedCache()
        self._runners.bound = 4096  # of some 3 kB: programs that go through many shapes mostly come back to them

    def _describe(self, function: Callable[..., Any], signature: Signature) -> None:
        core, name = core_of(function), name_of(function)
        self.__name__, self.__qualname__ = name, getattr(core, "__qualname__", name)
        self.__module__ = getattr(core, "__module__", None) or type(core).__module__
        shown = {*self._parameters, "return"}
        spelled = spelling_of(core)
        annotations = {n: p.annotation for n, p in spelled.parameters.items()} | {"return": spelled.return_annotation}
        self.__annotations__ = {n: a for n, a in annotations.items() if n in shown and a is not spelled.empty}
        scalars = [slot.name for slot in self.definition.body.slots if slot.scalar is not None]
        own = inspect.cleandoc(core.__doc__ or "")
        words = "\n".join(in_words(signature, self.definition.boundaries, scalars))
        parts = (f"{self.name}{self.__signature__}", own, f"    {signature}", words)
        self.__doc__ = "\n\n".join(part for part in parts if part)

    def _remaker(self, function: Callable[..., Any], signature: Signature) -> Callable[[], Kernel]:
        """What a pickle of the kernel holds: a function, so that each pickler treats the kernel as it does functions.

        pickle and multiprocessing look it up by its name, and so find the kernel that a module made when it was
        imported. cloudpickle takes functions of ``__main__``, notebooks and closures along, and so makes the kernel
        anew.
        """
        kind, options = type(self), self._options

        def remake() -> Kernel:
            return kind(function, signature, **options)

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
        return self.definition.name

    @property
    def signature(self) -> Signature:
        """How the arrays relate."""
        return self.definition.signature

    @property
    def notation(self) -> str:
        """The signature as text."""
        return str(self.signature)

    @property
    def __signature__(self) -> inspect.Signature:
        out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
        own = [p for p in self._parameters.values() if p.name != "out"]
        slots = self.definition.body.slots
        results = {s.name for s in slots if s.operand is None and s.result is not None}
        # A result may be left out, which Python can say where what follows may be left out too.
        for n, parameter in reversed(list(enumerate(own))):
            if parameter.default is MISSING and parameter.kind is not parameter.VAR_POSITIONAL:
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
            boundary = boundaries_under(signature, self.definition.boundaries)
        return Kernel(self.__wrapped__, signature, **{**self._options, "boundary": boundary})

    def plain_for(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Kernel:
        """The kernel that runs a call with these arguments: itself, but where operands may be left out."""
        return self

    def __repr__(self) -> str:
        definition = self.definition
        variants = [f"{v} (own body)" if v in definition.body.variants else v for v in definition.variants]
        how, place = parallel(self.signature), place_of(self.__wrapped__)
        return f"<kernel {self.name}: {self.notation}; {how}; {', '.join(variants)}; {place}>"

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(self, /, *args: Any, out: Any, **kwargs: Any) -> Any: ...

    def __call__(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Run the kernel; see the class for how arguments are passed."""
        try:
            if kwargs or len(args) != self._by_position:
                values = self._bound(args, kwargs, out)
            elif out is None:
                values = args + self._blank
            elif self._one_more and type(out) is not tuple:
                values = (*args, out)
            else:
                values = self._bound(args, kwargs, out)
            kinds: list[Any] = [namespaces.registered, chosen.get(), inside_body.get(), cutting.forced]
            for v in values:  # in less time than in a comprehension
                kind = type(v)
                kinds.append(
                    (v.dtype, v.shape)
                    if kind is ndarray
                    else kind
                    if kind in DECIDED
                    else quick_kinds.get(kind, kind_of)(v)
                )
            for name, at in self._sized:
                kinds.append(extent_of(name, values[at]))
            key = tuple(kinds)
            runners = self._runners  # read before the definition: another thread may set a variant meanwhile
            runner: Runner | None = runners.get(key)
            if runner is None:
                runner = self._prepare(values, key)
                results = runner(values)
                runners[key] = runner
            else:
                results = runner(values)
        except XPDispatchError as error:
            in_short(error.complete(self.name, self.notation))
            raise
        except Exception as error:  # a body's
            in_short(error)
            raise
        return results[0] if len(results) == 1 else tuple(results)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any = None) -> Call:
        """The call with these arguments, checked but for shapes and dtypes.

        Raises
        ------
        ArgumentError
        """
        call = call_of(self.definition, self._bound(args, kwargs, out))
        check_call(call, call_shown(self.definition, self._parameters))
        return call

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> tuple[Any, ...]:
        values = self._given(args, kwargs, out)
        if not self._diagonals:
            return values
        found = [*values]
        for term, at in self._diagonals:
            on_legate = library_of(found[at]) == "legate"
            if not (on_legate and inside_body.get()):  # where such an array is refused
                found[at] = diagonal_of(term, found[at], get_engine("legate").diagonal if on_legate else None)
        return tuple(found)

    def _given(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> tuple[Any, ...]:
        return bind(self.definition, self._parameters, (*self._options, "boundary", "dtype"), args, kwargs, out)

    def _prepare(self, values: tuple[Any, ...], key: tuple[Any, ...]) -> Runner:
        """The runner of a call that is new: most such calls differ from others in extents alone."""
        alike = (*key[:4], *[(v.dtype, v.ndim) if type(v) is ndarray else kind_of(v) for v in values])
        prepared: Callable[[Sequence[Any]], Runner] | None = self._prepared.get(alike)
        if prepared is None:
            call = call_of(self.definition, values)
            check_call(call, call_shown(self.definition, self._parameters))
            if any(library_of(v) == "xarray" for _, v in call.arrays()):
                return partial(labels.run, self.definition, self)
            prepared = prepare(call)
            runner = prepared(values)
            self._prepared[alike] = prepared
            return runner
        return prepared(values)

    def explain(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Explanation:
        """How the arrays of such a call are cut, which are shared, what is reduced, and how many bytes move.

        Parameters
        ----------
        *args, out, **kwargs
            As in a call. In place of an array may stand anything that has a shape and a dtype, such as a
            ``jax.ShapeDtypeStruct``: no element is read, and no array is made.

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
        from xpdispatch.explain.explanation import explain_call
        from xpdispatch.explain.question import with_stand_ins

        kernel: Kernel = self
        try:
            kernel = self.plain_for(args, kwargs)
            _, values = labels.by_position(kernel.definition, kernel._given(args, kwargs, out))
            call = with_stand_ins(call_of(kernel.definition, values))
            check_call(call, call_shown(kernel.definition, kernel._parameters))
            return explain_call(call, engine_for(call))
        except XPDispatchError as error:
            in_short(error.complete(kernel.name, kernel.notation))
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
        wanted, got = list(spelling_of(self.__wrapped__).parameters), list(spelling_of(function).parameters)
        if wanted != got:
            raise ArgumentError(
                f"the {variant} body has parameters ({', '.join(got)}), expected ({', '.join(wanted)})",
                hint="give every variant's body the same parameters",
            ).complete(self.name, self.notation)
        if variant not in self.definition.variants:
            raise ArgumentError(
                f"the kernel has no {variant} variant, only {', '.join(self.definition.variants)}",
                hint=f"leave out variants=, or add {variant!r} to it",
            ).complete(self.name, self.notation)
        self._options["bodies"] = {**(self._options.get("bodies") or {}), variant: function}
        definition = self.definition
        body = replace(definition.body, variants={**definition.body.variants, variant: function})
        self._define(replace(definition, body=body))
        return self


def unpickled(remake: Callable[[], Kernel], module: str, qualname: str) -> Kernel:
    """The kernel of a pickle: the one that its module has, where the pickle refers to that."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, Kernel) and found._remake is remake else remake()
