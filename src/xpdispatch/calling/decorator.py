"""``@kernel``: from a body and its notation, or its roles and constraints, to a kernel."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Literal, Never, ParamSpec, Protocol, TypeVar, cast, overload

from xpdispatch.arrays.namespaces import VARIANTS
from xpdispatch.calling.kernel import Kernel
from xpdispatch.calling.variadic import FlexibleKernel, is_flexible
from xpdispatch.errors import ArgumentError, NotationError, XPDispatchError, in_short
from xpdispatch.language.boundaries import default_boundaries
from xpdispatch.language.constraints import Constraint
from xpdispatch.language.explicit import roles_of, signature_of
from xpdispatch.language.signature import Signature
from xpdispatch.planning.body import name_of, spelling_of

if TYPE_CHECKING:
    from xpdispatch.planning.tiles import Tile

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _WithTile(Protocol[P, R_co]):
    """A body with ``tile``."""

    def __call__(self, xp: Any, tile: Tile, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Decorator(Protocol):
    """What ``kernel(...)`` returns, for type checkers: a call takes what the body takes after ``xp`` and ``tile``.

    A body that returns None writes its results, which a call may leave out, so that its calls are typed loosely.
    """

    @overload
    def __call__(self, body: Callable[Concatenate[Any, P], None], /) -> Kernel[..., Any]: ...
    @overload
    def __call__(self, body: _WithTile[P, R], /) -> Kernel[P, R]: ...
    @overload
    def __call__(self, body: Callable[Concatenate[Any, P], R], /) -> Kernel[P, R]: ...


def kernel(
    notation: str | None = None,
    *,
    constraints: Iterable[Constraint] = (),
    dtype: Any = None,
    boundary: Any = None,
    fold: Callable[..., Any] | None = None,
    variants: Sequence[str] = VARIANTS,
    deterministic: bool = False,
    on_error: Literal["deferred", "immediate"] = "deferred",
    cut: bool | Literal["work"] = True,
    fuse: bool = True,
    guard: bool = True,
    libraries: Sequence[str] = (),
    read_only: bool = True,
    options: Mapping[str, bool] | None = None,
    **unknown: Never,
) -> Decorator:
    """Make a kernel of a function over a generic array namespace.

    Parameters
    ----------
    notation : str, optional
        How the arrays relate, axis by axis: ``"A[m,k], B[k,n] -> sum C[m,n]"``. Left out, the body's
        parameters carry ``In``, ``Out``, ``InOut`` or ``Reduce["sum"]`` and `constraints` says the rest.
    constraints : iterable of Constraint, optional
        ``align(...)``, ``broadcast(...)``, ``scale(...)`` and ``bloat(...)`` of the explicit spelling;
        ``image(...)`` and ``min_extents(...)`` stand beside a notation as well.
    dtype : dtype, str, callable or tuple, optional
        Casts results, before they are combined: a dtype, the name of an operand whose dtype is taken, or a
        function of the operands' dtypes; a tuple for several results. By default a result's dtype is what the
        body returns.
    boundary : str, number, tuple of these, or mapping of any of these by operand, optional
        What lies outside the operands under a halo: ``"clip"`` (nothing: the tile is smaller there), ``"valid"``
        (the operand is that much longer than its index), a constant, or one of numpy.pad's modes ``"edge"``,
        ``"reflect"``, ``"symmetric"`` and ``"wrap"``; a tuple has one for each axis with ``..``. Required where an
        operand has a halo in the notation; ``bloat`` clips by default, as in Legate.
    fold : callable, optional
        ``merge(xp, a, b)``, which makes one partial result of two for results under ``fold``. It must be associative,
        and gets the parts in the order of the tiles. Where several results are folded, `a`, `b` and what it
        returns are tuples.
    variants : sequence of str, optional
        The variants of Legate that the kernel has, of ``"CPU"``, ``"OMP"`` and ``"GPU"``; by default all. A call that
        would run elsewhere is an error.
    deterministic : bool, optional
        On Legate, give sums that are the same to the last bit in every run on the same tiles: the parts are added
        in the order of the tiles. In this process sums always are.
    on_error : {"deferred", "immediate"}, optional
        When an exception in a Legate task reaches the caller: at the next synchronisation point, or in the
        call itself, which then waits for the task. ``xpdispatch.settings.on_error`` holds for all kernels.
    cut : bool or "work", optional
        Whether large calls on NumPy arrays, and the tiles of Legate's CPU tasks, are cut into smaller tiles that the
        cache holds. Pass False for a body that does much the same work however small its tile is. Pass ``"work"`` for
        one that computes much in functions that are not NumPy's, such as compiled ones: then calls on few bytes, too,
        are cut for several threads.
    fuse : bool, optional
        Whether a body that does arithmetic on single elements alone may be traced and run
        without the arrays that it makes on the way: in tiles by NumPy's functions, with the same bits, and on a GPU by
        one generated kernel. Pass False where the body's Python must run for each tile.
    guard : bool, optional
        Whether the body is tried on a few elements, whole and in tiles, before the first call of a kind that is cut; a
        difference is a :class:`PartitionError`. Pass False for a body with side effects or unseeded random numbers.
        With the options ``"concurrent"`` and ``"has_side_effect"`` none is tried.
    libraries : tuple of str, optional
        Whose arrays the body is for, such as ``("numpy", "cupy")``, where it calls what is not in the array API
        standard. Arrays of others are refused then, and :func:`~xpdispatch.testing.check_portable` leaves others out.
    read_only : bool, optional
        Whether the body gets NumPy operands as arrays that cannot be written. Pass False for one that never writes them
        and hands them to what refuses such arrays, as compiled functions do, or copies them, as ``numpy.bincount``
        does. The guard and :func:`~xpdispatch.testing.check_partitioning` find a body that writes them after all.
    options : mapping of str to bool, optional
        Options of Legate's tasks under Legate's own names, of ``"concurrent"``, ``"has_side_effect"``,
        ``"has_allocations"`` and ``"elide_device_ctx_sync"``. In this process they mean nothing.

    Returns
    -------
    callable
        A decorator that turns ``body(xp[, tile], ...)`` into a :class:`Kernel`.

    Raises
    ------
    NotationError, ArgumentError
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
        raise ArgumentError("@kernel got the function itself", hint='write @kernel("x[i] -> y[i]")')

    for name in unknown:
        import difflib

        known = [n for n in inspect.signature(kernel).parameters if n not in ("notation", "unknown")]
        near = difflib.get_close_matches(name, known, n=1)
        raise ArgumentError(
            f"@kernel has no option {name!r}",
            hint=f"write {near[0]}=" if near else f"the options are {', '.join(known)}",
        )
    if isinstance(constraints, Constraint):
        raise ArgumentError(
            "constraints= got one constraint, expected several", hint=f"write constraints=[{constraints}]"
        )
    if not isinstance(constraints, Iterable):
        raise ArgumentError(
            f"constraints= got {constraints!r}, expected a list of constraints",
            hint='write constraints=[align("x", "y")]',
        )

    def decorate(function: Callable[..., Any]) -> Kernel:
        signature: Signature | None = None
        try:
            if notation is not None:
                signature = Signature.parse(notation, constraints)
            else:
                signature = _explicit(function, tuple(constraints))
            modes = {} if notation is not None else default_boundaries(signature)
            return (FlexibleKernel if is_flexible(function, signature) else Kernel)(
                function,
                signature,
                dtype=dtype,
                boundary=(modes or None) if boundary is None else boundary,
                fold=fold,
                variants=variants,
                deterministic=deterministic,
                on_error=on_error,
                cut=cut,
                fuse=fuse,
                guard=guard,
                libraries=libraries,
                read_only=read_only,
                options=options,
            )
        except XPDispatchError as error:
            shown = error.notation or (str(signature) if signature else notation or "")
            in_short(error.complete(name_of(function), shown))
            raise

    return cast(Decorator, decorate)


def _explicit(function: Callable[..., Any], constraints: tuple[Constraint, ...]) -> Signature:
    roles = roles_of(function)
    if not roles:
        raise NotationError(
            "there is neither a notation nor a parameter annotated with In, Out, InOut or Reduce",
            hint='write @kernel("x[i] -> y[i]"), or annotate the arrays: def body(xp, x: In, y: Out)',
        )
    return signature_of(roles, constraints, spelling_of(function).parameters)
