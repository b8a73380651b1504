"""The exceptions of xpdispatch and the one shape that their messages have.

::

    XPDispatchError
    ├── NotationError      (ValueError)           the line of index notation itself
    ├── SignatureError     (TypeError)            notation and body, or constraints, do not fit
    ├── UnsupportedError   (NotImplementedError)  understood, but no engine can do it yet
    ├── ArgumentError      (TypeError)            a call with the wrong kind of argument
    ├── DTypeError         (TypeError)            a dtype that cannot be had or does not fit
    ├── ShapeError         (ValueError)           ranks and extents that do not fit
    ├── ReadOnlyError      (ValueError)           a result that cannot be written
    ├── PointerError       (IndexError)           pointers to no cell
    ├── ResultError        (ValueError)           what a body returned is not what was declared
    ├── KernelError        (RuntimeError)         a body failed with what no process can hand on
    ├── EngineError        (RuntimeError)         an engine used where it cannot run
    ├── MemoryLimitError   (MemoryError)          arrays that Legate's memory cannot hold
    ├── PartitionError     (AssertionError)       a check: the answer depends on how arrays are cut
    ├── PortabilityError   (AssertionError)       a check: the body leaves the array API standard
    ├── DisagreementError  (AssertionError)       a check: real Legate differs from what NumPy alone predicts
    └── MissingError       (ImportError)          a package or a driver is not there

Code that finds a fault raises the bare fact; the kernel that was called adds its name and its
notation (:meth:`XPDispatchError.complete`).
"""

from __future__ import annotations


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
    """The index notation cannot be read, or contradicts itself."""


class SignatureError(XPDispatchError, TypeError):
    """The notation or the constraints do not fit the body's parameters."""


class UnsupportedError(XPDispatchError, NotImplementedError):
    """The notation is right, but no engine can do this piece of it yet."""


class ArgumentError(XPDispatchError, TypeError):
    """A call gives an argument of the wrong kind, one too many, or leaves one out."""


class DTypeError(XPDispatchError, TypeError):
    """A dtype that the operator, the engine or ``out=`` cannot take."""


class ShapeError(XPDispatchError, ValueError):
    """Ranks or extents that do not fit the notation."""


class ReadOnlyError(XPDispatchError, ValueError):
    """A result that cannot be written: a read-only or an immutable array."""


def read_only(name: str, why: str) -> ReadOnlyError:
    """The error for an array that was given for a result and cannot be written."""
    return ReadOnlyError(
        f"the array given for result {name!r} cannot be written: {why}",
        hint="pass a writable array (a broadcast view is none), or leave it out and take the returned one",
    )


class PointerError(XPDispatchError, IndexError):
    """An operand's cells point to no cell of another operand."""


class ResultError(XPDispatchError, ValueError):
    """The body returned another number, kind, shape or dtype of results than declared."""


class KernelError(XPDispatchError, RuntimeError):
    """A body failed with an exception that cannot leave its task; its type and text are kept."""


class EngineError(XPDispatchError, RuntimeError):
    """An engine used where it cannot run: off its thread, or inside a task."""


class MemoryLimitError(XPDispatchError, MemoryError):
    """A call's own arrays need more memory than Legate was given."""


class PartitionError(XPDispatchError, AssertionError):
    """A kernel's answer depends on how its arrays are cut, on the order of tiles, or on earlier calls."""


class PortabilityError(XPDispatchError, AssertionError):
    """A body does what the array API standard does not have, or gives another answer on another library."""


class DisagreementError(XPDispatchError, AssertionError):
    """Real Legate gave another answer than the simulation with NumPy: a defect of xpdispatch."""


class PartitionWarning(UserWarning):
    """A check passed, but the notation is stricter than it need be, or a part of the check could not be made."""


class MissingError(XPDispatchError, ImportError):
    """A package, a driver or a compiler is missing; the hint is the command that installs it."""
