"""Running a call and measuring it where it runs: in a thread of the program, or in a worker."""

from __future__ import annotations

import _thread
from _collections import defaultdict  # type: ignore[import-not-found, unused-ignore]
from _functools import partial  # type: ignore[import-not-found, unused-ignore]
from time import perf_counter, process_time, thread_time

from .._tasks.current import current
from .._tasks.messages import Measurement
from ..errors import Cancelled
from . import payload

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Figures = tuple[float, float, float | None, float, payload.Weight | None]

STEP = 0.0003
"""Seconds between two looks whether the interpreter's lock is free."""
SLACK = 0.0003
"""Seconds a look may be late for reasons of its own: the clock's grain, the way to a core."""
LONGEST = 0.25
"""Seconds of a call that are looked at; the rest is taken to be alike."""


class LockWatch:
    """A thread that wants the interpreter's lock now and then, and notes how long it could not have it.

    It ends with `stop`, at the latest after `LONGEST` seconds.
    """

    __slots__ = ("_began", "_bell", "_blocked", "_due", "_ready")

    def __init__(self) -> None:
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._ready = _thread.allocate_lock()
        self._ready.acquire()
        self._blocked = 0.0
        self._began = self._due = perf_counter()
        _thread.start_new_thread(self._watch, ())
        self._ready.acquire(True, LONGEST)  # a thread's start takes longer than many a call
        self._began = perf_counter()

    def _watch(self) -> None:
        self._due = perf_counter() + STEP
        self._ready.release()
        while self._due - self._began < LONGEST:
            if self._bell.acquire(True, STEP):
                return
            self._blocked += _blocked(perf_counter() - self._due)
            self._due = perf_counter() + STEP
        self._due = float("inf")

    def stop(self) -> float | None:
        """End the watch; the share of the time in which the lock could not be had, ``None`` if it was too short."""
        now = perf_counter()
        due, watched = self._due, now - self._began
        self._bell.release()
        if due == float("inf"):
            watched = min(watched, LONGEST)
        if watched < 2 * (STEP + SLACK):
            return None
        return min(1.0, (self._blocked + _blocked(now - due)) / watched)


def _blocked(late: float) -> float:
    """How long the lock was held, if a look was so many seconds late: most of the time before it, too."""
    late = max(0.0, late - SLACK)
    return late + min(late, STEP + SLACK)


def run_measured(
    fn: Callable[..., Any], note: Callable[[Figures], object] | None, watch: bool, weigh: int, *args: Any
) -> Any:
    """Return ``fn(*args)`` and tell what it took: `note` if there is one, else the handle of the task.

    Told are CPU seconds, wall seconds, seconds the interpreter's lock could not be had (if `watch`), CPU seconds of
    other threads, and what the call weighs (if `weigh`, the bytes up to which arguments are compared). A call that
    raises tells nothing.
    """
    before = payload.weigh_call(fn, args, note is not None, weigh) if weigh else None
    looking = LockWatch() if watch else None
    cpu, everybody, began = thread_time(), process_time(), perf_counter()
    # A subscript instead of a call, as in the worker's own loop: a request to stop that lands behind the function's
    # end finds the value in the box.
    box = defaultdict(partial(fn, *args))
    try:
        try:
            box[0]
        finally:
            wall, own, all_threads = perf_counter() - began, thread_time() - cpu, process_time() - everybody
            share = looking.stop() if looking is not None else None
        weight = payload.compare(before, box[0]) if before is not None else None
        figures = (own, wall, None if share is None else share * wall, max(0.0, all_threads - own), weight)
        if note is not None:
            note(figures)
        elif (task := current.get()) is not None:
            task.send(Measurement(figures))
    except Cancelled:
        if not box:
            raise
    return box[0]
