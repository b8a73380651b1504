"""Where tiles run, and with what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xpdispatch.machine.caches import BoundedCache
from xpdispatch.planning.body import Body
from xpdispatch.planning.plan import Plan


class Fusing:
    """What is known of a body that may be run as a program, without the arrays that it makes on the way.

    Attributes
    ----------
    why_not : str
        What stands against it; empty while nothing is known to.
    trusted : dict
        By the structures of programs that did what the body does, how they are run; on CuPy arrays the kernels that
        stand for them.
    """

    def __init__(self) -> None:
        self.why_not = ""
        self.trusted: dict[Any, Any] = BoundedCache()


@dataclass(frozen=True, slots=True)
class Site:
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
    cut : bool
        Operands with a halo are given as the tile's own windows already, so that there is one tile alone.
    fusing : Fusing or None
        None where the body is always run itself.
    """

    plan: Plan
    body: Body
    function: Callable[..., Any]
    xp: Any
    library: str
    variant: str
    casts: tuple[Any, ...]
    dtypes: tuple[Any, ...] = ()
    cut: bool = False
    fusing: Fusing | None = field(default=None, compare=False)

    @property
    def may_fuse(self) -> bool:
        """Whether NumPy may run the body as a program, as far as that is known."""
        return self.fusing is not None and not self.fusing.why_not and self.library == "numpy"
