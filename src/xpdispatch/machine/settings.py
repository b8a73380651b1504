"""``settings``: what holds for all kernels, in place of what each of them says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from xpdispatch.errors import ArgumentError

OnError = Literal["deferred", "immediate"]


class _Setting(NamedTuple):
    """One setting: its variable in the environment, how the text there is read, and what may be set."""

    variable: str
    read: Callable[[str], Any]
    is_right: Callable[[Any], bool]
    expected: str
    example: str


_SETTINGS = {
    "guard": _Setting(
        "XPDISPATCH_GUARD",
        {"": True, "1": True, "0": False}.get,
        lambda v: isinstance(v, bool | np.bool),
        "True or False (1 or 0 in the environment)",
        "guard=False",
    ),
    "on_error": _Setting(
        "XPDISPATCH_ON_ERROR",
        {"": None, "deferred": "deferred", "immediate": "immediate"}.get,
        lambda v: v in ("deferred", "immediate", None),
        "'deferred', 'immediate' or None",
        "on_error='immediate'",
    ),
}


class Settings:
    """What holds for all kernels: ``xpdispatch.settings`` is the only one.

    Set an attribute for the whole process, or write ``with xpdispatch.settings(...)`` for what is called inside the
    block. Where neither says anything, the environment does.

    Attributes
    ----------
    guard : bool
        Whether kernels are tried on a few elements before their first call that is cut; ``XPDISPATCH_GUARD=0`` turns
        it off. A kernel's own ``guard=False`` holds, whatever is set here.
    on_error : {None, "deferred", "immediate"}
        When failures of bodies on Legate are raised, whatever kernels say; None, as long as nothing is set here, leaves
        it to their own ``on_error=``. ``XPDISPATCH_ON_ERROR`` in the environment.

    Examples
    --------
    >>> import xpdispatch
    >>> with xpdispatch.settings(on_error="immediate", guard=False):
    ...     xpdispatch.settings.on_error
    'immediate'
    >>> print(xpdispatch.settings)
    settings(guard=True, on_error=None)
    """

    __slots__ = ("_inside", "_process")

    def __init__(self) -> None:
        object.__setattr__(self, "_process", {})
        object.__setattr__(self, "_inside", ContextVar("settings", default=MappingProxyType({})))

    _process: dict[str, Any]
    _inside: ContextVar[Mapping[str, Any]]

    if TYPE_CHECKING:
        guard: bool
        on_error: OnError | None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no setting {name!r}; the settings are {', '.join(_SETTINGS)}")

    def __setattr__(self, name: str, value: Any) -> None:
        self._process[name] = _checked(name, value)

    def __dir__(self) -> list[str]:
        return [*_SETTINGS]

    def __repr__(self) -> str:
        return f"settings({', '.join(f'{name}={getattr(self, name)!r}' for name in _SETTINGS)})"

    @contextmanager
    def __call__(self, **changes: Any) -> Iterator[Settings]:
        """Settings for what is called inside the ``with`` block.

        Raises
        ------
        ArgumentError
            There is no such setting, or it cannot have that value.
        """
        changes = {name: _checked(name, value) for name, value in changes.items()}
        token = self._inside.set({**self._inside.get(), **changes})
        try:
            yield self
        finally:
            self._inside.reset(token)


def _checked(name: str, value: Any) -> Any:
    if name not in _SETTINGS:
        raise ArgumentError(f"there is no setting {name!r}", hint=f"the settings are {', '.join(_SETTINGS)}")
    setting = _SETTINGS[name]
    if not setting.is_right(value):
        raise ArgumentError(
            f"{name}= got {value!r}, expected {setting.expected}", hint=f"write settings({setting.example})"
        )
    return value.item() if isinstance(value, np.bool) else value


def _from_environment(name: str) -> Any:
    setting = _SETTINGS[name]
    text = os.environ.get(setting.variable, "").strip()
    value = setting.read(text)
    if value is None and text:
        raise ArgumentError(
            f"{setting.variable}={text!r} in the environment, expected {setting.expected}",
            hint=f"unset {setting.variable}, or set it to one of these",
        )
    return value


def _attribute(name: str) -> property:
    """Looks a setting up, in a third of the time that ``__getattr__`` takes: every launch does."""

    def get(self: Settings) -> Any:
        inside, process = self._inside.get(), self._process
        if name in inside:
            return inside[name]
        if name not in process:
            process[name] = _from_environment(name)
        return process[name]

    return property(get)


for _name in _SETTINGS:
    setattr(Settings, _name, _attribute(_name))

settings = Settings()
"""What holds for all kernels: see :class:`Settings`."""
