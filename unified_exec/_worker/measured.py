"""Running a call and measuring it where it runs: in a thread of the program, or in a worker."""

from __future__ import annotations

import _thread
from _collections import defaultdict  # type: ignore[import-not-found, unused-ignore]
from _functools import partial  # type: ignore[import-not-found, unused-ignore]
from time import perf_counter, process_time, thread_time

from .._model.current import current
from ..errors import Cancelled
from . import weighing

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Figures = tuple[float, float, float | None, float, weighing.Weight | None]

STEP = 0.0005
"""Seconds between two looks whether the interpreter's lock is free."""
SLACK = 0.0003
"""Seconds a look may be late for reasons of its own: the clock's grain, the way to a core."""
LONGEST = 0.25
"""Seconds of a call that are looked at; the rest is taken to be alike."""

MEASURED = "measured"
"""The first word of what a measured process task says to its handle."""


class LockWatch:
    """A thread that wants the interpreter's lock now and then, and notes how long it could not have it.

    It ends with `stop`, at the latest after `LONGEST` seconds.
    """

    __slots__ = ("_began", "_bell", "_blocked", "_due")

    def __init__(self) -> None:
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._blocked = 0.0
        self._began = self._due = perf_counter()
        _thread.start_new_thread(self._watch, ())

    def _watch(self) -> None:
        # The thread's own start is the first look: a short call that holds the lock is over before it begins.
        self._looked()
        while self._due - self._began < LONGEST:
            self._due = perf_counter() + STEP
            if self._bell.acquire(True, STEP):
                return
            self._looked()
        self._due = float("inf")

    def _looked(self) -> None:
        self._blocked += max(0.0, perf_counter() - self._due - SLACK)

    def stop(self) -> float | None:
        """End the watch; the share of the time in which the lock could not be had, ``None`` if it was too short."""
        now = perf_counter()
        due, watched = self._due, now - self._began
        if due == float("inf"):
            watched = min(watched, LONGEST)
        blocked = self._blocked + max(0.0, now - due - SLACK if due <= now else 0.0)
        self._bell.release()
        if watched < 2 * SLACK:
            return None
        return min(1.0, (blocked + SLACK) / watched) if blocked else 0.0


def run_measured(
    fn: Callable[..., Any], note: Callable[[Figures], object] | None, watch: bool, weigh: bool, *args: Any
) -> Any:
    """Return ``fn(*args)`` and tell what it took: `note` if there is one, else the handle of the task.

    Told are CPU seconds, wall seconds, seconds the interpreter's lock could not be had (if `watch`), CPU seconds of
    other threads, and what the call weighs (if `weigh`). A call that raises tells nothing.
    """
    before = weighing.weigh_call(fn, args, note is not None) if weigh else None
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
        weight = weighing.compare(before, box[0]) if before is not None else None
        figures = (own, wall, None if share is None else share * wall, max(0.0, all_threads - own), weight)
        if note is not None:
            note(figures)
        elif (task := current.get()) is not None:
            task.say((MEASURED, *figures))
    except Cancelled:
        if not box:
            raise
    return box[0]
