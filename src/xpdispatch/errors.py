"""The exceptions of xpdispatch and the one shape that their messages have.

::

    XPDispatchError
    ├── NotationError      (ValueError)           the line cannot be read, or contradicts itself
    ├── ArgumentError      (TypeError)            an argument, of a call or of @kernel, is missing or of a wrong kind
    ├── DTypeError         (TypeError)            a dtype that a result, an operator or an engine cannot have
    ├── ShapeError         (ValueError)           numbers of axes, or extents, that do not fit
    ├── PointerError       (IndexError)           pointers or keys to no element; a ValueError as well
    ├── ResultError        (ValueError)           a body returned something else than declared, or it cannot be written
    ├── KernelError        (RuntimeError)         a body failed with an exception that cannot leave its task
    ├── EngineError        (RuntimeError)         an engine cannot run here, lacks memory, or is wrong
    ├── UnsupportedError   (NotImplementedError)  all is right, but no engine can do it yet
    ├── MissingError       (ImportError)          a package, a driver or a compiler is missing
    ├── PartitionError     (AssertionError)       a check: the answer depends on how the arrays are cut
    └── PortabilityError   (AssertionError)       a check: the body leaves the array API standard

    PartitionWarning (UserWarning)                a check passed, and has something to say

Code that finds a fault raises the bare fact; the kernel that was called adds its name and its
notation (:meth:`XPDispatchError.complete`).
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

_OURS = str(Path(__file__).parent)


class XPDispatchError(Exception):
    """Base of every error that xpdispatch raises.

    Parameters
    ----------
    problem : str
        What was got and what was expected, in one sentence.
    column : int, optional
        Where in the notation the caret points.
    hint : str, optional
        The remedy.
    details : str, optional
        More lines, between the notation and the remedy.
    """

    def __init__(self, problem: str, *, column: int | None = None, hint: str = "", details: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.column = column
        self.hint = hint
        self.details = details
        self.kernel: str | None = None
        self.notation = ""

    def complete(self, kernel: str, notation: str) -> XPDispatchError:
        """Say which kernel and which notation, unless an inner kernel already did."""
        if self.kernel is None:
            self.kernel = kernel
            self.notation = notation
        return self

    def __str__(self) -> str:
        head = self.problem if not self.kernel else f"kernel {self.kernel!r}: {self.problem}"
        lines = [head]
        if self.notation:
            lines.append("  " + self.notation)
            if self.column is not None:
                lines.append("  " + " " * self.column + "^")
        if self.details:
            lines.append(self.details)
        if self.hint:
            lines.append("Hint: " + self.hint)
        return "\n".join(lines)


class NotationError(XPDispatchError, ValueError):
    """A line of index notation cannot be read, or contradicts itself."""


class ArgumentError(XPDispatchError, TypeError):
    """An argument is missing, one too many, or of the wrong kind: in a call, or where a kernel is made.

    To the second kind belong names in the notation and in constraints that do not fit the body's parameters.
    """


class DTypeError(XPDispatchError, TypeError):
    """A dtype that a result, an operator, an engine or ``out=`` cannot have."""


class ShapeError(XPDispatchError, ValueError):
    """Numbers of axes, or extents, that do not fit the notation."""


class PointerError(XPDispatchError, IndexError, ValueError):
    """An operand's elements point to no element of another operand, or to no cell of a result."""


class ResultError(XPDispatchError, ValueError):
    """A body returned another number, kind, shape or dtype of results than declared, or a result cannot be written."""


def in_short(error: Exception) -> None:
    """Take out the frames of ours between a caller's line and a body's, which tell nothing to either.

    Where a bare ``raise`` follows, the frame that it stands in is left out, too. What is neither a body's nor an error
    of ours keeps them all. A body's that comes from a task of Legate's is raised by a frame that hides itself.
    """
    # Whatever its class makes of it.
    trace: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
    last = None
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        last, trace = trace, trace.tb_next
    from_task = last is not None and "__tracebackhide__" in last.tb_frame.f_locals
    if trace is not None or from_task or isinstance(error, XPDispatchError):
        BaseException.with_traceback(error, trace)


class InShort:
    """A block whose exceptions are :func:`in_short`, without the frame that it stands in."""

    def __enter__(self) -> None:
        """Nothing is to be done."""

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, Exception):
            in_short(error)


def read_only(name: str, why: str) -> ResultError:
    """The error for an array that is given for a result and cannot be written."""
    return ResultError(
        f"the array given for result {name!r} cannot be written: {why}",
        hint="pass a writable array (a broadcast view is not one), or leave it out and take the returned one",
    )


class KernelError(XPDispatchError, RuntimeError):
    """A body failed with an exception that cannot leave its task; its type and text are kept."""


class EngineError(XPDispatchError, RuntimeError):
    """An engine cannot run here: off its thread, inside a task, or with arrays larger than its memory."""


class UnsupportedError(XPDispatchError, NotImplementedError):
    """The notation and the call are right, but no engine can do this piece of it yet."""


class MissingError(XPDispatchError, ImportError):
    """A package, a driver or a compiler is missing; the hint is the command that installs it."""


class PartitionError(XPDispatchError, AssertionError):
    """A check failed: the answer depends on how arrays are cut, on the order of tiles, or on earlier calls."""

    remedy: Any = None
    """The :class:`Signature` that the hint proposes; None where it proposes none."""


class PortabilityError(XPDispatchError, AssertionError):
    """A check failed: the body leaves the array API standard, or gives another answer on another library."""


class PartitionWarning(UserWarning):
    """A check passed, but the notation is stricter than it need be, or a part of the check could not be made."""
