"""What happens when a body raises inside a Legate task.

Legate ends the process on an exception that it cannot hand on, so the leaf never lets one out as it is: it
makes a pickled record, and the next synchronisation point of the program raises it.

The record is kept in the process of the task, which costs a launch nothing. Where several processes run the program,
all of them must raise alike, or they would go separate ways: at a synchronisation point they tell one another of
theirs (``collective.py``). In a ``Scope`` with deferred exceptions that the user opened, Legate takes the record to
every process, inside an exception of its own that may hold 4,096 bytes, text and all, and raises it where the scope is
left.
"""

from __future__ import annotations

import pickle
import sys
import threading
import traceback
from bisect import insort
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from xpdispatch.errors import KernelError
from xpdispatch.planning.body import shown_file

_MOST_TEXT = 1200
_MOST_CARRIED = 3500
_PACKAGE = str(Path(__file__).parents[1])


class Failure(NamedTuple):
    """One failed tile: which launch of the program, where in it, and the pickled exception.

    Of the failures that are kept together, the first has its exception and the others, which are only counted, b"".
    """

    launch: int
    start: tuple[int, ...]
    pickled: bytes


class Carrier(Exception):  # noqa: N818  it is not an error of its own
    """Takes a failure through Legate to every process.

    It comes out as itself where :func:`collecting`, and elsewhere, where Legate raises it to the user, as what the
    body raised.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return "an exception in the body of an xpdispatch kernel"

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (tuple(self.failure),)


_collecting = False


@contextmanager
def collecting() -> Iterator[None]:
    """While we look for what Legate carries, to keep it until it is its turn."""
    global _collecting  # noqa: PLW0603
    _collecting = True
    try:
        yield
    finally:
        _collecting = False


def _arrived(failure: tuple[int, tuple[int, ...], bytes]) -> Exception:
    found = Failure(*failure)
    if _collecting:
        return Carrier(found)
    error = _revived(found)
    # Legate raises it while it handles one of its own, which is bytes to a reader; unless that hides the user's.
    handled = sys.exc_info()[1]
    error.__suppress_context__ = handled is None or handled.__context__ is None
    return error


_own: list[Failure] = []
"""Of tasks of this process, since the processes told one another last, in their order."""
_lock = threading.Lock()
_known: list[Failure] = []
"""Those that all processes know."""
_MOST_KEPT = 1000


def describe(launch: int, start: tuple[int, ...], error: BaseException, where: str, *, short: bool) -> Failure:
    """Make a record of an exception from a leaf, a short one where Legate carries it; never raises."""
    try:
        pickled = dump(error, where, short=short)
    except BaseException:  # noqa: BLE001  an exception whose own methods fail
        stand_in = KernelError(f"the body raised {type(error).__name__}, and describing it failed")
        stand_in.add_note(where)
        pickled = pickle.dumps(stand_in)
    return Failure(launch, start, pickled)


def hand_over(failure: Failure, context: Any, *, ignored: bool) -> None:
    """Give a record to Legate, or keep it for this process; or forget it, as the user's ``Scope`` says."""
    if context.can_raise_exception():
        # Raised, it would have a traceback, whose text counts.
        context.set_exception(Carrier(failure))
    elif not ignored:
        keep(failure)


def keep(failure: Failure) -> None:
    """Keep a record of a task of this process; of very many, the first ones; of exceptions, the very first."""
    with _lock:
        if _own and _place(_own[0]) <= _place(failure):
            failure = failure._replace(pickled=b"")
        elif _own:
            _own[0] = _own[0]._replace(pickled=b"")
        insort(_own, failure, key=_place)
        del _own[_MOST_KEPT:]


def own() -> list[Failure]:
    """What :func:`keep` kept."""
    return list(_own)


def forget_own() -> None:
    """Forget what :func:`keep` kept: all processes know it, or nobody is to."""
    _own.clear()


def learn(told: Iterable[Failure]) -> None:
    """Keep records that all processes have, until :func:`take`."""
    _known.extend(told)
    _known.sort(key=_place)
    del _known[_MOST_KEPT:]


def _place(failure: Failure) -> tuple[int, tuple[int, ...]]:
    return failure[:2]


def dump(error: BaseException, where: str, *, short: bool) -> bytes:
    """Pickle an exception with its traceback as text.

    What no process can hand on becomes a :class:`~xpdispatch.errors.KernelError`: an exception that does not
    survive pickling, or is too long where Legate carries it, and what is no ``Exception`` at all, such as
    ``KeyboardInterrupt``. Where it carries it, the traceback is left out first.
    """
    text = _in_the_task(_users(error.__traceback__))
    if isinstance(error, Exception):
        # The traceback holds the leaf's arrays, which must not outlive it.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        notes = getattr(error, "__notes__", None)
        notes = notes if isinstance(notes, list) and notes else [where]
        for told in ([*notes, text], [*notes]) if text else ([*notes],):
            error.__notes__ = told
            pickled = _round_trip(error)
            error.__notes__ = []  # the same object may be raised again, and would collect them
            if pickled and not (short and len(pickled) > _MOST_CARRIED):
                return pickled
    stand_in = KernelError(
        f"the body raised {type(error).__name__}: {str(error)[:_MOST_TEXT]}",
        hint="raise a short Exception that can be pickled",
    )
    stand_in.add_note(where)
    if text:
        stand_in.add_note(text[-_MOST_TEXT:])
    return pickle.dumps(stand_in)


def _in_the_task(trace: TracebackType | None) -> str:
    """The frames as text, with a notebook's cells by their names."""
    if trace is None:
        return ""
    text = "".join(["In the task:\n", *traceback.format_tb(trace)]).rstrip()
    for file in {frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)}:
        text = text.replace(f'File "{file}"', f'File "{shown_file(file)}"')
    return text


def _users(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the user's own code on, without the frames that led there; None where all are ours."""
    start = trace
    while start is not None and start.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        start = start.tb_next
    return start


def _round_trip(error: Exception) -> bytes | None:
    """The pickled exception, or None where it does not come back as itself."""
    try:
        pickled = pickle.dumps(error)
        return pickled if type(pickle.loads(pickled)) is type(error) else None
    except BaseException:  # noqa: BLE001  whatever a user's __reduce__ raises
        return None


def take() -> Exception | None:
    """The first failure that all processes know, by launch and then by tile, and forget all; None without any."""
    if not _known:
        return None
    found = list(_known)
    _known.clear()
    error = _revived(found[0])
    if len(found) > 1:
        more, calls = len(found) - 1, len({f.launch for f in found})
        least = "at least " * (len(found) == _MOST_KEPT)
        tiles, of = "tile" + "s" * (more > 1), "call" + "s" * (calls > 1)
        error.add_note(f"{least}{more} more {tiles} failed, in {calls} {of} altogether")
    return error


def _revived(failure: Failure) -> Exception:
    error = pickle.loads(failure.pickled)
    return error if isinstance(error, Exception) else KernelError(repr(error))


def raise_first() -> None:
    """Raise the first failure, if any."""
    __tracebackhide__ = True  # it tells nothing: the notes say where the body raised, and in which call
    error = take()
    if error is not None:
        raise error
