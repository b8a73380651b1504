"""Waiting for Legate: the thread that may use it, how far the program may run ahead, and failures that arrive late."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any

import legate.core as lg

from xpdispatch.errors import EngineError
from xpdispatch.legate import agreement, collective, failures, garbage, leaf, startup
from xpdispatch.legate.releases import streams_strictly
from xpdispatch.machine import exits, progress

runtime = lg.get_legate_runtime()
_thread = threading.main_thread().ident
"""The thread that may use Legate; None in a forked process, in which it does not run."""
_kept: list[Any] = []
"""Stores of unknown size, and kernels with tasks under way, since the last blocking fence.

To drop such a store whose tasks have not ended waits for them, with Python's lock held, without which they cannot end.
"""
_ahead = 0
"""Launches since the last blocking fence."""
_MOST_AHEAD = max(100, startup.window() // 16)
_AHEAD_IN_STREAMS = 100
"""How many there may be, and after how many to look whether a Scope keeps tasks back, where fewer may be.

To drop a store is an operation for Legion, which holds the program up while too many operations are under way;
and Python drops stores with its lock held, without which no task in Python can end. A program that runs that far
ahead stands still for ever. ``startup.py`` widens Legion's window, but not where Legate was imported first.
"""
progress.elsewhere = collective.rank > 0
DEFERRED, IGNORED = int(lg.ExceptionMode.DEFERRED), int(lg.ExceptionMode.IGNORED)


def check_thread() -> None:
    """Refuse Legate on other threads than its own, where it would end the process.

    Raises
    ------
    EngineError
    """
    if threading.get_ident() == _thread:
        return
    if _thread is None:
        raise EngineError(
            "Legate is used in a process that was forked from one in which it runs, and has none of its threads",
            hint="use multiprocessing's start method 'spawn', or NumPy arrays in the forked process",
        )
    raise EngineError(
        f"Legate is used from thread {threading.current_thread().name!r}, but another thread started it",
        hint="use Legate from the thread that started it, and not inside a kernel's body",
    )


def call_site(depth: int = 1) -> tuple[str, int]:
    """File and line of the call in the user's own code, which is so many calls behind the caller, or more."""
    frame: Any = sys._getframe(depth + 1)  # Python makes one of each frame that is asked for
    while frame.f_globals.get("__name__", "").startswith("xpdispatch.") and (back := frame.f_back) is not None:
        frame = back
    return frame.f_code.co_filename, frame.f_lineno


def keep(store: Any) -> None:
    """Keep a store until its tasks have ended."""
    _kept.append(store)


def before_launch(definition: Any) -> None:
    """Wait where the program is too far ahead; keep the kernel, and the garbage collector off, until the next wait."""
    global _ahead  # noqa: PLW0603
    looks = _ahead % _AHEAD_IN_STREAMS == _AHEAD_IN_STREAMS - 1
    too_far = _ahead >= _MOST_AHEAD or (looks and lg.Scope.parallel_policy().streaming)
    if too_far and not streams_strictly():
        wait()
    _ahead += 1
    _kept.append(definition)  # only here: to wait drops all that is kept
    garbage.pause()


def submit(task: Any) -> None:
    """Launch a task; Legate carries its failures where the user's Scope defers them."""
    deferred = lg.Scope.exception_mode() == DEFERRED
    try:
        if deferred:
            task.throws_exception(Exception)
        task.execute()
    except ValueError as error:
        if not streams_strictly():
            raise
        raise _cannot_stream("an array that lies in memory of NumPy's") from error
    if deferred and collective.several:
        runtime.issue_execution_fence(block=False)  # without it several processes can stand still


def synchronize() -> None:
    """Wait for every launch so far, and raise the first exception of a body, if any."""
    if _thread is None:
        return  # a forked process has launched nothing
    check_thread()
    if streams_strictly():
        raise _cannot_stream("a wait")
    if agreement.wanted:
        agreement.check("a synchronisation", call_site())
    _settle()
    garbage.resume()
    failures.raise_first()


def _settle() -> None:
    """Wait for every launch so far, and learn of all failures, and of the one that Legate carries for a Scope."""
    wait()
    own = failures.own()
    if collective.total(len(own)):
        told = collective.of_all(own)
        for found in told.values():
            failures.learn(found)
        if collective.rank in told:
            failures.forget_own()
    if leaf.recorder is not None and collective.several:
        leaf.recorder.learn(collective.of_all(leaf.recorder.own()).values())
    if lg.Scope.exception_mode() == DEFERRED:
        _fetch()


def wait() -> None:
    """Wait for every launch so far."""
    global _ahead  # noqa: PLW0603
    runtime.issue_execution_fence(block=True)
    _ahead = 0
    _kept.clear()


def _fetch() -> None:
    """Learn of the first failure that Legate carries, and let it forget all."""
    try:
        # Legate raises what is pending on leaving a deferred scope into immediate mode, and nowhere else.
        with (
            failures.collecting(),
            lg.Scope(exception_mode=lg.ExceptionMode.IMMEDIATE),
            lg.Scope(exception_mode=lg.ExceptionMode.DEFERRED),
        ):
            pass
    except failures.Carrier as carrier:
        failures.learn([carrier.failure])


def may_have_failed() -> bool:
    """Whether there are launches whose failures nobody has looked for yet, and this thread can wait for them."""
    return _ahead > 0 and threading.get_ident() == _thread and not streams_strictly()


def _cannot_stream(what: str) -> EngineError:
    return EngineError(
        f"{what}, inside a Scope of StreamingMode.STRICT, whose tasks start when it is left",
        hint="make arrays by cuPyNumeric, and wait and read results after the Scope; or use StreamingMode.RELAXED",
    )


def _after_fork() -> None:
    global _thread  # noqa: PLW0603
    _thread = None
    failures.forget_own()  # they are the parent's to report
    failures.take()


os.register_at_fork(after_in_child=_after_fork)


def _report_at_exit() -> None:
    if _thread is None:
        return
    if agreement.wanted:
        try:
            agreement.check("the end of the program", None)
        except EngineError as reason:
            failures.learn([failures.describe(0, (), reason, "at the end of the program", short=False)])
    _settle()
    gc.collect()  # what Legate's own collection finds when it has ended, parts of results, ends the process
    for kept in leaf.kept_by_bodies():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))  # never to be dropped
    error = failures.take()
    if error is not None:
        exits.fail()
        if collective.rank:
            return  # one of the processes tells of it
        with suppress(Exception):  # nobody may be there to read it
            traceback.print_exception(error, file=sys.stderr)


runtime.add_shutdown_callback(_report_at_exit)
exits.watch(_report_at_exit, runtime.finish)
