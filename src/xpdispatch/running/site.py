"""Where tiles run, and with what."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

from xpdispatch.planning.body import Body
from xpdispatch.planning.plan import Plan

inside_body: ContextVar[bool] = ContextVar("inside_body", default=False)
"""True while a body runs: kernels called there stay in this process, on full arrays."""


class Site(NamedTuple):
    """Where tiles run: what stays the same for all tiles of one run.

    Parameters
    ----------
    plan : Plan
    body : Body
    function : callable
        The body's function for this variant.
    xp : namespace
    library : str
        Whose arrays these are (:func:`xpdispatch.arrays.namespaces.library_of`).
    variant : str
    casts : tuple
        For each result the dtype that ``dtype=`` asks for, in the library's own terms, or None.
    dtypes : tuple
        For each result the dtype that was planned; empty where nothing was.
    sample : str
        On what the body ran to tell these; empty where it did not.
    """

    plan: Plan
    body: Body
    function: Callable[..., Any]
    xp: Any
    library: str
    variant: str
    casts: tuple[Any, ...]
    dtypes: tuple[Any, ...] = ()
    sample: str = ""

    @property
    def seen(self) -> Site:
        """The same for arrays as the body sees them, where keys stand for others: for dry runs of the body alone."""
        return self._replace(plan=self.plan.seen)


def is_interrupt(error: BaseException) -> bool:
    """Whether a user stops the program by Control-C: Python gives no words to it, as bodies of their own accord would.

    All else that a body raises in a trial run is its own affair, and is raised where it runs in earnest.
    """
    return isinstance(error, KeyboardInterrupt) and not error.args
