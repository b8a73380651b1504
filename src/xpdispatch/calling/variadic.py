"""Operands that a call may leave out, and any number of operands with one pattern: each call is one of a plain kernel.

``x[i], w[i] -> y[i]`` over ``body(xp, x, w=None)`` is, in a call without `w`, the kernel ``x[i] -> y[i]`` whose `w` is
a scalar that is None. ``*xs[...] -> y[...]`` over ``body(xp, *xs)`` is, in a call with two arrays, the kernel
``xs0[...], xs1[...] -> y[...]``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import ArgumentError, InShort, XPDispatchError, in_short
from xpdispatch.language.signature import Signature
from xpdispatch.language.terms import Term
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.planning.body import name_of, parameters_of, spelling_of
from xpdispatch.planning.definition import Definition

Function = Callable[..., Any]


def _star(signature: Signature) -> Term | None:
    return next((t for t in signature.operands if t.starred), None)


def _own_parameters(function: Function, signature: Signature) -> dict[str, inspect.Parameter]:
    star = _star(signature)
    return parameters_of(function, None if star is None else star.name)


def _optional(function: Function, signature: Signature) -> tuple[str, ...]:
    named = {t.name for t in signature.operands}
    parameters = _own_parameters(function, signature)
    return tuple(n for n, p in parameters.items() if n in named and p.default is None)


def is_flexible(function: Function, signature: Signature) -> bool:
    """Whether calls can differ in their operands.

    Raises
    ------
    ArgumentError
        The body and the notation do not agree on which operands there can be any number of.
    """
    return bool(_star(signature)) or bool(_optional(function, signature))


class FlexibleKernel(Kernel):
    """A kernel whose operands may be left out, or be any number."""

    def __init__(self, function: Function, signature: Signature, **options: Any) -> None:
        self._written = function, signature
        self._star = _star(signature)
        self._absent = _optional(function, signature)
        # Plain kernels by the operands left out and the number of starred ones; at most 256.
        self._plain = BoundedCache()
        spread_function, spread_signature = _spread(function, signature, 1)
        boundary = self._boundary(options.get("boundary"), 1, ())
        super().__init__(spread_function, spread_signature, **{**options, "boundary": boundary})
        # It shows as it was written.
        self._options, self.__wrapped__ = options, function
        self._parameters = _own_parameters(function, signature)
        self._describe(function, signature)
        self._remake = self._remaker(function, signature)

    @property
    def signature(self) -> Signature:
        """How the arrays relate, as it was written."""
        return self._written[1]

    def __call__(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Run the kernel; see the class for how arguments are passed."""
        try:
            plain = self.plain_for(args, kwargs)
        except XPDispatchError as error:
            in_short(error.complete(self.name, self.notation))
            raise
        with InShort():
            return plain(*args, out=out, **kwargs)

    def plain_for(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Kernel:
        """The kernel that runs a call with these arguments.

        Raises
        ------
        ArgumentError
            No array is given for a starred operand.
        """
        positional = [n for n, p in self._parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        count = max(0, len(args) - len(positional)) if self._star else 0
        if self._star and count == 0:
            raise ArgumentError(
                f"no array is given for '*{self._star.name}', expected one or more",
                hint=f"call {self.name}({', '.join([*positional, 'first', 'second', '...'])})",
            )
        values = {**dict(zip(positional, args, strict=False)), **kwargs}
        absent = tuple(n for n in self._absent if values.get(n) is None)
        found: Kernel | None = self._plain.get((absent, count))
        if found is None:
            found = self._plain[absent, count] = self._make_plain(absent, count)
        return found

    def _make_plain(self, absent: tuple[str, ...], count: int) -> Kernel:
        function, signature = self._written
        body, spread_signature = _spread(function, signature, count)
        kept = tuple(t for t in spread_signature.operands if t.name not in absent)
        if absent:
            _check_defined(kept, signature, absent)
            spread_signature = spread_signature.with_operands(kept, dict.fromkeys(absent, ()))
        options = {**self._options, "boundary": self._boundary(self._options.get("boundary"), count, absent)}
        options["bodies"] = {
            variant: _spread(own, signature, count)[0] for variant, own in (self._options.get("bodies") or {}).items()
        }
        return Kernel(body, spread_signature, **options)

    def _boundary(self, entry: Any, count: int, absent: Sequence[str]) -> Any:
        """``boundary=`` with the names that the operands of a plain kernel have."""
        left = [t for t in self._written[1].operands if t.name not in absent]
        if not any(a.window for t in left for a in t.axes):
            return None
        if not isinstance(entry, Mapping):
            return entry
        found: dict[str, Any] = {}
        for name, mode in entry.items():
            if self._star is not None and name == self._star.name:
                found.update(dict.fromkeys((f"{name}{n}" for n in range(count)), mode))
            elif name not in absent:
                found[name] = mode
        return found

    def _define(self, definition: Definition) -> None:
        super()._define(definition)
        self._plain.clear()


def _check_defined(kept: Sequence[Term], signature: Signature, absent: Sequence[str]) -> None:
    """Refuse a call that leaves out keys, or the only operand which tells an extent.

    Raises
    ------
    ArgumentError
    """
    for term in (*kept, *signature.results):
        for axis in term.keys:
            if axis.key in absent:
                raise ArgumentError(
                    f"{axis.key!r} is left out, and its elements are the keys of {term.name!r}",
                    hint=f"pass {axis.key!r}: where arrays have keys, these are never left out",
                )
    known = {a.name for t in kept for a in t.axes} | {a.name for t in signature.results for a in t.axes if a.extent}
    free = set(signature.free_names)
    lost_names = [name for name in signature.size_names if name not in known | free]
    if lost_names:
        raise ArgumentError(
            f"{', '.join(map(repr, absent))} left out: nothing says what {lost_names[0]} is, "
            "on which a window or a block depends",
            hint="pass it, or make the size a scalar parameter",
        )
    for term in signature.results:
        for axis in term.axes:
            lost = axis.kind == "ellipsis" and not any(t.ellipsis for t in kept)
            named = axis.kind in ("split", "whole") and axis.name and axis.name not in known | free
            if lost or named:
                raise ArgumentError(
                    f"{', '.join(map(repr, absent))} left out: nothing says how long {axis} of result {term.name!r} is",
                    hint="pass it, or name the extent with a scalar",
                )


def _spread(function: Function, signature: Signature, count: int) -> tuple[Function, Signature]:
    """The body and the signature of a call with `count` arrays for the starred operand."""
    star = _star(signature)
    if star is None:
        return function, signature
    names = [f"{star.name}{n}" for n in range(count)]
    terms: list[Term] = []
    for term in signature.operands:
        terms += [replace(term, name=n, starred=False) for n in names] if term is star else [term]
    parameters: list[inspect.Parameter] = []
    for parameter in spelling_of(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            parameters += [inspect.Parameter(n, parameter.POSITIONAL_OR_KEYWORD) for n in names]
        elif parameter.kind is parameter.KEYWORD_ONLY:
            parameters.append(parameter)
        else:
            parameters.append(parameter.replace(default=parameter.empty))  # what follows has none

    @functools.wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    body.__name__ = name_of(function)
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return body, signature.with_operands(terms, {str(star.name): names})
