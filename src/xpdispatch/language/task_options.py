"""``options=`` of the decorator: Legate's options of a task, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from xpdispatch.errors import ArgumentError

OPTIONS = ("concurrent", "has_side_effect", "has_allocations", "elide_device_ctx_sync")
"""Those of Legate's ``VariantOptions`` that a kernel can have; each is True or False."""

_REFUSED = {
    "may_throw_exception": "every body may raise; on_error= says when the exception arrives",
    "communicators": "a body has no way to reach a communicator; leave it out",
}


def check_options(options: Mapping[str, bool] | None) -> Mapping[str, bool]:
    """The options as a mapping that nobody changes.

    Raises
    ------
    ArgumentError
    """
    if options is None:
        return MappingProxyType({})
    if not isinstance(options, Mapping):
        raise ArgumentError(
            f"options= got a {type(options).__name__}, expected a mapping",
            hint="write options={'concurrent': True}, with the names of Legate's VariantOptions",
        )
    for name, value in options.items():
        if name in _REFUSED:
            raise ArgumentError(f"options= sets {name!r}, which a kernel cannot have", hint=_REFUSED[name])
        if name not in OPTIONS:
            raise ArgumentError(
                f"options= sets {name!r}, which is unknown", hint=f"use one of {', '.join(map(repr, OPTIONS))}"
            )
        if not isinstance(value, bool):
            raise ArgumentError(
                f"option {name!r} is {value!r}, expected True or False", hint=f"write options={{{name!r}: True}}"
            )
    return MappingProxyType(dict(options))
