"""Where tiles run, and with what."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import FrameType
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


def pass_over(error: BaseException) -> None:
    """Pass over what a body raised in a trial run: what it raises where it runs in earnest is raised there.

    It may be this very object again, in a task, which must not hold frames of ours. A user who stops the program by
    Control-C is heard: Python gives no words to that, as bodies of their own accord would. What the caller is handling
    meanwhile, which Python adds to the exceptions of the body, is left as it is.
    """
    if isinstance(error, KeyboardInterrupt) and not error.args:
        raise error
    running: set[FrameType] = set()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        running.add(frame)
        frame = frame.f_back
    BaseException.with_traceback(error, None)
    others = [error.__cause__, error.__context__]
    while others:
        told = others.pop()
        if told is not None and told.__traceback__ is not None and told.__traceback__.tb_frame not in running:
            BaseException.with_traceback(told, None)
            others += [told.__cause__, told.__context__]
