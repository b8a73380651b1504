"""What a body must not touch inside a task, found before Legate ends the process over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any
from weakref import ref

import numpy as np

from xpdispatch.arrays.namespaces import library_of
from xpdispatch.errors import ArgumentError
from xpdispatch.planning.closures import constants_in, imports_in, lookups, names_in
from xpdispatch.planning.definition import Definition
from xpdispatch.running.ownership import is_constant, is_of_library
from xpdispatch.running.tracing import Tracer

_MOST_DEEP = 4
"""How far containers, attributes and functions are followed."""
_MOST_LOOKED = 300
"""How many values are looked at, elements of containers among them."""
_STORES = ("cupynumeric", "legate")
_NUMBERS = frozenset({int, float, complex, str, bool, type(None)})


def check_bodies(definition: Definition) -> None:
    """Refuse bodies that name Legate's arrays or cuPyNumeric's functions: no task can use them.

    Raises
    ------
    ArgumentError
    """
    functions = {definition.body.function_for(variant) for variant in definition.variants}
    for function in (*functions, definition.body.merge):
        if function is not None:
            Surroundings(function).look()


class Surroundings:
    """What a function reads from around it, and the functions of the same package that it calls.

    What is read may be a Legate array: a variable, an element of a container, or an attribute of an object. It is
    looked at when a call is prepared, and again before each task, since a variable may hold another value by then.
    That takes no time where nothing is read, 0.1 us for a variable, and 10 to 30 us where the value of one has places
    of its own, as a list has.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.looked = False
        self.kinds: list[tuple[Callable[[str], Any], str, type]] = []
        """How to look up variables whose values have no place for an array, as long as they are of these types."""
        self.same: list[tuple[Callable[[str], Any], str, Callable[[], Any]]] = []
        """And those of what was looked through, which is held weakly: no task may drop what holds an array."""
        self.places = False
        """Whether there are values with places of their own."""

    def check(self) -> None:
        """Look again where something may have changed.

        Raises
        ------
        ArgumentError
        """
        if self.places or not self.looked:
            self.look()
            return
        for get, name, kind in self.kinds:
            if type(get(name)) is not kind:
                self.look()
                return
        for get, name, held in self.same:
            if get(name) is not held():
                self.look()
                return

    def look(self) -> None:
        """Look at all there is.

        Raises
        ------
        ArgumentError
            Some of it is a Legate array, or a function of cuPyNumeric's.
        """
        found = _Look(self.function)
        self.kinds, self.same, self.places = found.kinds, found.same, found.places
        self.looked = True


class _Look:
    """One look at what a function reads."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.kinds: list[tuple[Callable[[str], Any], str, type]] = []
        self.same: list[tuple[Callable[[str], Any], str, Callable[[], Any]]] = []
        self.places = False
        self.seen: set[int] = set()
        self.left = _MOST_LOOKED
        self.root = _root_of(function)
        self.value(getattr(function, "__name__", type(function).__name__), function, function, 0)

    def read_by(self, function: FunctionType, depth: int) -> None:
        """What a function reads from around it."""
        for module in imports_in(function.__code__):
            if module.split(".")[0] in _STORES:
                raise _refused("imports", module)
        for variable, get in lookups(function):
            path, value, names = variable.name, get(variable.name), names_in(function.__code__)
            self.watch(get, variable.name, value)
            for attribute in variable.attributes:
                if isinstance(value, ModuleType) and not is_of_library(value.__name__):
                    inside = vars(value).get
                    value = inside(attribute)
                    self.watch(inside, attribute, value)
                elif _has_places(value) and not isinstance(value, ModuleType):
                    self.places = True
                    value = _attribute(value, attribute)
                else:
                    break
                path += f".{attribute}"
            self.value(path, value, function, depth, names)
        for n, value in enumerate(function.__defaults__ or ()):
            self.value(f"{function.__name__}.__defaults__[{n}]", value, function, depth)
        for name, value in (function.__kwdefaults__ or {}).items():
            self.value(f"{function.__name__}.__kwdefaults__[{name!r}]", value, function, depth)

    def watch(self, get: Callable[[str], Any], name: str, value: Any) -> None:
        """Note down how to see that a variable holds another value."""
        if is_constant(value) or isinstance(value, np.ndarray):
            self.kinds.append((get, name, type(value)))
            return
        try:
            self.same.append((get, name, ref(value)))
        except TypeError:  # some types have no weak references
            self.places = True

    def value(self, path: str, value: Any, reader: Any, depth: int, names: Sequence[str] = ()) -> None:
        """One value that is read; `names` are those of attributes that its reader reads of anything."""
        if isinstance(value, Tracer):  # kept by a body that is being traced: to ask it for anything ends that
            return
        if library_of(value) == "legate":
            raise ArgumentError(
                f"the body reads {path!r}, a Legate array of the surrounding program, which no task can touch",
                hint=f"pass {path!r} as an argument, with a place in the notation",
            )
        # Its universal functions are objects.
        made_by = f"{getattr(value, '__module__', '')} {type(value).__module__}"
        if callable(value) and not isinstance(value, type) and "cupynumeric" in made_by:
            raise _refused("calls", path)
        if id(value) in self.seen or depth > _MOST_DEEP or self.left <= 0 or is_constant(value):
            return
        self.seen.add(id(value))
        self.left -= 1
        if isinstance(value, partial) and isinstance(value.func, FunctionType):
            names = (*names, *names_in(value.func.__code__))
        for name, inner in self.inside(value, reader, names):
            self.value(f"{path}{name}", inner, reader, depth + 1, names)
        if isinstance(value, FunctionType) and _root_of(value) == self.root:
            self.read_by(value, depth + 1)

    def inside(self, value: Any, reader: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """What a value holds that its reader may reach, each with how it is written after the value."""
        if isinstance(value, partial):
            yield ".func", value.func
            yield from ((f".args[{n}]", argument) for n, argument in enumerate(value.args))
            yield from ((f".keywords[{name!r}]", argument) for name, argument in value.keywords.items())
        elif isinstance(value, MethodType):
            yield "", value.__func__
            self.places = True
            for name in names_in(value.__func__.__code__) if isinstance(value.__func__, FunctionType) else ():
                yield f".__self__.{name}", _attribute(value.__self__, name)
        elif isinstance(value, dict):
            self.places = True
            constants = constants_in(reader.__code__) if isinstance(reader, FunctionType) else ()
            named = [(text, dict.get(value, text)) for text in constants if dict.__contains__(value, text)]
            found = named or self.first(dict.items(value))
            yield from ((f"[{key!r}]", element) for key, element in found if type(element) not in _NUMBERS)
        elif isinstance(value, list | tuple):
            self.places = True
            elements = self.first(value)
            yield from ((f"[{n}]", element) for n, element in enumerate(elements) if type(element) not in _NUMBERS)
        elif type(value).__module__.split(".")[0] == "xpdispatch":
            body = getattr(value, "__wrapped__", None)  # a kernel in a body runs its own
            if body is not None:
                yield "", body
        elif _has_places(value) and not isinstance(value, ModuleType | FunctionType):
            self.places = True
            own = () if isinstance(value, type) else ("__call__",)
            yield from ((f".{name}", _attribute(value, name)) for name in (*names, *own))

    def first(self, container: Iterable[Any]) -> list[Any]:
        """As many elements of a container as may still be looked at, at once: the program goes on meanwhile."""
        found = list(islice(container, max(self.left, 0)))
        self.left -= len(found)
        return found


def _refused(does: str, path: str) -> ArgumentError:
    return ArgumentError(
        f"the body {does} {path}, and no task can call cuPyNumeric",
        hint="use xp, the namespace that the body is given",
    )


def _root_of(function: Any) -> str:
    """The package that a function was written in."""
    function = getattr(function, "func", function)
    around = getattr(function, "__globals__", None)
    return str(type(function).__module__ if around is None else around.get("__name__")).split(".")[0]


def _has_places(value: Any) -> bool:
    """Whether a value has attributes that a program may have given it."""
    kind = value if isinstance(value, type) else type(value)
    return not is_of_library(kind.__module__) and (hasattr(value, "__dict__") or hasattr(value, "__slots__"))


def _attribute(value: Any, name: str) -> Any:
    """An attribute, without running code of its class, a method as one of this object; None where there is none."""
    is_class = isinstance(value, type)
    own: Mapping[str, Any] = {} if is_class else getattr(value, "__dict__", {})
    if name in own:
        return own[name]
    for kind in (value if is_class else type(value)).__mro__:
        held = vars(kind).get(name)
        if held is None:
            continue
        if isinstance(held, MemberDescriptorType) and not is_class:
            return getattr(value, name, None)
        function = getattr(held, "fget", getattr(held, "__func__", held))  # of a property, a static or a class method
        if not isinstance(function, FunctionType):
            return held
        return function if is_class or isinstance(held, staticmethod) else MethodType(function, value)
    return None
