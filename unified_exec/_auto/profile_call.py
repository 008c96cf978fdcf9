"""Runs a call and measures it where it runs: in a thread of the program, or in a worker."""

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

    Figures = tuple[float, float, float | None, float, payload.Payload | None]

STEP = 0.0003
"""Seconds between two attempts to get the GIL."""
SLACK = 0.0003
"""Seconds an attempt may be late for other reasons: the clock's resolution, scheduling."""
LONGEST = 0.25
"""Seconds of a call that are monitored; the rest is assumed to be alike."""


class GilMonitor:
    """A thread that regularly tries to get the GIL and measures how long it is refused.

    It ends with `stop`, at the latest after `LONGEST` seconds.
    """

    __slots__ = ("_began", "_blocked", "_due", "_ready", "_wakeup")

    def __init__(self) -> None:
        self._wakeup = _thread.allocate_lock()
        self._wakeup.acquire()
        self._ready = _thread.allocate_lock()
        self._ready.acquire()
        self._blocked = 0.0
        self._began = self._due = perf_counter()
        _thread.start_new_thread(self._run, ())
        self._ready.acquire(True, LONGEST)  # starting a thread takes longer than many calls
        self._began = perf_counter()

    def _run(self) -> None:
        self._due = perf_counter() + STEP
        self._ready.release()
        while self._due - self._began < LONGEST:
            if self._wakeup.acquire(True, STEP):
                return
            self._blocked += _blocked(perf_counter() - self._due)
            self._due = perf_counter() + STEP
        self._due = float("inf")

    def stop(self) -> float | None:
        """End the thread; returns the fraction of time in which the GIL was refused, ``None`` if it was too short."""
        now = perf_counter()
        due, monitored = self._due, now - self._began
        self._wakeup.release()
        if due == float("inf"):
            monitored = min(monitored, LONGEST)
        if monitored < 2 * (STEP + SLACK):
            return None
        return min(1.0, (self._blocked + _blocked(now - due)) / monitored)


def _blocked(late: float) -> float:
    """Estimate how long the GIL was held if an attempt was `late` seconds late: also during most of the step before."""
    late = max(0.0, late - SLACK)
    return late + min(late, STEP + SLACK)


def run_measured(
    fn: Callable[..., Any],
    note: Callable[[Figures], object] | None,
    monitor_gil: bool,
    payload_bytes: int,
    *args: Any,
) -> Any:
    """Return ``fn(*args)`` and report what it took. A call that raises is not reported.

    The figures are CPU seconds, wall seconds, seconds in which the GIL was refused to other threads, CPU seconds of
    other threads, and the payload of the call.

    Args:
        fn: the function.
        note: called with the figures; ``None`` to send them to the handle of the task.
        monitor_gil: measure how long the GIL is refused.
        payload_bytes: pickle arguments and result, and compare the arguments after the call up to this size; 0 not to.
        args: its arguments.
    """
    __tracebackhide__ = True
    before = payload.snapshot_call(fn, args, note is not None, payload_bytes) if payload_bytes else None
    monitor = GilMonitor() if monitor_gil else None
    cpu, everybody, began = thread_time(), process_time(), perf_counter()
    # A subscript instead of a call, as in the worker's own loop: if a request to cancel arrives right after the
    # function has returned, its value is in the box already.
    box = defaultdict(partial(fn, *args))
    try:
        try:
            box[0]
        finally:
            wall, own, all_threads = perf_counter() - began, thread_time() - cpu, process_time() - everybody
            share = monitor.stop() if monitor is not None else None
        carried = payload.measure_payload(before, box[0]) if before is not None else None
        figures = (own, wall, None if share is None else share * wall, max(0.0, all_threads - own), carried)
        if note is not None:
            note(figures)
        elif (task := current.get()) is not None:
            task.send(Measurement(figures))
    except Cancelled:
        if not box:
            raise
    return box[0]
