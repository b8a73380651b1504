"""The threads that run the tiles of one call in this process.

They wait for the next call, since to start one takes ten times as long as to wake it. A forked process inherits none.
Where Legate is loaded, no thread but its own may drop a store, nor collect garbage: a thread here holds nothing of a
call that has ended, and runs no Python while it waits.
"""

from __future__ import annotations

import operator
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any

from xpdispatch.errors import ArgumentError
from xpdispatch.machine.blas import one_thread_each
from xpdispatch.machine.collector import collector, legate_runs
from xpdispatch.machine.hardware import processors

_wanted: ContextVar[int | None] = ContextVar("wanted", default=None)
in_pool: ContextVar[bool] = ContextVar("in_pool", default=False)
"""True in a call that several threads run: libraries should start no threads of their own."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Choose how many threads the calls in this process use inside the ``with`` block.

    Results do not depend on it. Outside of such a block it is what the environment has as
    ``XPDISPATCH_NUM_THREADS``, or the number of processors that this process may use.

    Parameters
    ----------
    count : int
        1 runs all tiles one after another, in the thread that calls.

    Raises
    ------
    ArgumentError
        `count` is not an integer of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from xpdispatch import kernel, threads
    >>> @kernel("x[i] -> sum total[]")
    ... def total(xp, x):
    ...     return xp.sum(x)
    >>> with threads(2):
    ...     total(np.ones(1000))
    np.float64(1000.0)
    """
    try:
        number = 0 if isinstance(count, bool) else operator.index(count)
    except TypeError:
        number = 0
    if number < 1:
        raise ArgumentError(
            f"threads({count!r}): expected an integer of at least 1",
            hint="write threads(2), or threads(1) to run serially",
        )
    token = _wanted.set(number)
    try:
        yield
    finally:
        _wanted.reset(token)


def thread_count() -> int:
    """How many threads a call may use here and now."""
    wanted = _wanted.get()
    return processors() if wanted is None else wanted


def alone() -> int:
    """The same where no other thread may help."""
    return 1


class Stopped(Exception):  # noqa: N818  not an error: another tile had one
    """A tile gives up, since an earlier one failed."""


Compute = Callable[[int, Callable[[], None]], Any]
"""Computes a step; its second argument waits until the first step is computed."""


class _Job:
    """Steps of one call: computed on any thread, finished one at a time and in order.

    Each thread takes a run of neighbours at once, so that two seldom write to one page of memory. Steps from `limit`
    on are not computed any more; those before a failed one are, so that `error` is in the end that of the first.
    """

    def __init__(self, count: int, workers: int, compute: Compute, finish: Callable[[int, Any], None] | None) -> None:
        self.compute, self.finish = compute, finish
        run = max(1, min(8, count // (4 * workers)))
        self.runs = deque(range(n, min(n + run, count)) for n in range(0, count, run))
        self.limit = count
        self.error: BaseException | None = None
        self.values: dict[int, Any] = {}
        self.finished = 0
        self.lock = threading.RLock()
        self.first = threading.Event()

    def work_on_a_thread(self) -> None:
        """As `work`, but nothing is raised where nobody would see it."""
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001  raised when all threads are done
            self.stop(-1, error)

    def work(self) -> None:
        """Take steps until none is left."""
        while True:
            try:
                run = self.runs.popleft()
            except IndexError:
                return
            for step in run:
                if step >= self.limit:
                    return
                self._take(step)

    def _take(self, step: int) -> None:
        try:
            value = self.compute(step, self._after_first)
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001  raised when all threads are done
            self.stop(step, error)
            return
        if step == 0:
            self.first.set()
        if self.finish is None:
            return
        with self.lock:
            self.values[step] = value
            del value  # which may be the last to hold an array
            while self.finished in self.values:
                step = self.finished
                try:
                    self.finish(step, self.values.pop(step))
                except Exception as error:  # noqa: BLE001  as above
                    self.stop(step, error)
                self.finished += 1

    def _after_first(self) -> None:
        if not self.first.is_set():
            self.first.wait()
        if self.limit <= 0:
            raise Stopped

    def stop(self, step: int, error: BaseException | None) -> None:
        """Begin none of the steps from this one on, for it failed; -1 for all of them."""
        with self.lock:
            if step < self.limit:
                self.limit, self.error = step, error
        if step <= 0:
            self.first.set()


def _one_by_one(calls: Iterable[Callable[[], Any]]) -> None:
    """Make the calls, with no Python in between: no interrupt divides them, and no garbage is collected."""
    deque(map(operator.call, calls), maxlen=0)


class _Worker:
    """A thread that does one task after the other, up to None; its lock is free while it has none."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self.lock = threading.Lock()
        served: Iterable[Callable[[], Any]] = iter(self.tasks.get, None)
        self.thread = threading.Thread(target=_one_by_one, args=(served,), daemon=True)
        self.thread.name = f"xpdispatch-{self.thread.name}"
        self.thread.start()

    def begin(self, job: _Job) -> None:
        """Work on a job; when the lock is free again, nothing of it is held any more."""
        put, work = self.tasks.put, partial(copy_context().run, job.work_on_a_thread)
        _one_by_one((self.lock.acquire, partial(put, work), partial(put, self.lock.release)))

    def wait(self) -> None:
        """Until it has no task."""
        _one_by_one((self.lock.acquire, self.lock.release))


_idle: list[_Worker] = []


def _end_idle() -> None:
    """Before a fork, of which Python warns where there are threads."""
    while _idle:
        worker = _idle.pop()
        worker.tasks.put(None)
        worker.thread.join()


_left: list[tuple[_Job, list[_Worker], bool]] = []
"""What calls that were interrupted twice left running, so that their threads never drop an array that is last held;
with whether the garbage collector is held for them."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_end_idle, after_in_child=_left.clear)
    os.register_at_fork(after_in_child=_idle.clear)  # of calls that ended between the two


def run_in_order(count: int, compute: Compute, finish: Callable[[int, Any], None] | None, workers: int) -> None:
    """Call ``compute(k, after_first)`` for each k below `count` on several threads; ``finish(k, result)`` in order.

    Parameters
    ----------
    count : int
    compute : callable
        ``after_first()`` waits until step 0 is computed.
    finish : callable or None
        Never runs on two threads at once.
    workers : int
        Threads, with the one that calls.

    Raises
    ------
    BaseException
        That of the first step, in order, that fails; then later ones are not begun.
    """
    if _left:
        _look_at_those_left()
    job = _Job(count, workers, compute, finish)
    held = legate_runs()
    if held:
        collector.hold()
    started: list[_Worker] = []
    token = in_pool.set(True)
    try:
        with one_thread_each:
            try:
                _start(job, workers - 1, started)
                job.work()
                _join(started)
            except BaseException:  # an interrupt, perhaps one more while it is dealt with
                job.stop(-1, None)
                _join(started)
                raise
    finally:
        in_pool.reset(token)
        _give_back(job, started, held=held)
    error, job.error = job.error, None  # its traceback holds the job
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback holds this frame


def _start(job: _Job, count: int, started: list[_Worker]) -> None:
    for _ in range(min(count, len(job.runs) - 1)):
        if not job.runs:
            return  # the first threads were quick
        try:
            worker = _idle.pop()
        except IndexError:
            try:
                worker = _Worker()
            except RuntimeError:
                return  # no room for another thread: fewer do the same
        started.append(worker)
        worker.begin(job)


def _join(started: Sequence[_Worker]) -> None:
    for worker in started:
        worker.wait()


def _give_back(job: _Job, started: list[_Worker], *, held: bool) -> None:
    if any(worker.lock.locked() for worker in started):
        _left.append((job, started, held))
        return
    _idle.extend(started)
    if held:
        collector.release()


def _look_at_those_left() -> None:
    for entry in list(_left):
        if not any(worker.lock.locked() for worker in entry[1]):
            _left.remove(entry)
            _give_back(*entry[:2], held=entry[2])
