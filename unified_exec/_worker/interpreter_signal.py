"""The cancel signal of a worker that is an interpreter: the signals of a process reach its main interpreter only.

A second thread waits for the parent's bell. It has the thread that runs the tasks read the mailbox at its next line;
a cancellation is then raised at a safe point. A call into C is not reached: then the second thread reads the mailbox,
so that what came is known.
"""

from __future__ import annotations

import sys
from _thread import RLock, allocate_lock, get_ident
from time import monotonic
from types import CodeType, FrameType

from .._stacks import safe_points
from .._tasks import inner_loops, shielded
from .call_cancel_signal import CallCancelSignal
from .cancel_signal import importer
from .connection import WorkerConnection

IN_C = 0.02
"""Seconds after which a thread that has run no line is taken to be in a call into C."""


class Shot:
    """One cancellation on its way to a safe point; see `safe_points.Target`."""

    __slots__ = ("ident", "over", "reason", "watched")

    def __init__(self, ident: int, reason: str | None) -> None:
        self.ident = ident
        self.reason = reason
        self.over = False
        self.watched: set[CodeType] = set()


class InterpreterSignal(CallCancelSignal):
    """Raises in the task that runs in the thread that has made it; `wake` takes the place of the signal."""

    by_signal = False

    def __init__(self, connection: WorkerConnection, outermost: CodeType) -> None:
        super().__init__(connection, outermost)
        self._thread = get_ident()
        self._at_line = False
        self._shot: Shot | None = None
        self._mailbox = RLock()  # a handler may wait for an answer, and read it
        self._reached = allocate_lock()

    def install(self) -> None:
        """Do nothing: there is no signal."""

    def wake(self) -> None:
        """Have the mailbox read. Called in the second thread."""
        if safe_points.available():
            self._reached.acquire(False)
            safe_points.call_soon(self._thread, self._on_line)
            frame = sys._current_frames().get(self._thread)
            if self.running and frame is not None and inner_loops.find(frame, self.outermost) is not None:
                inner_loops.wake_all()  # it may be in the selector
            if self._reached.acquire(True, IN_C):
                return
        self.read()
        self._note_request()

    def _on_line(self, frame: FrameType) -> None:
        if not self._reached.locked():
            self._reached.acquire(False)
        self._reached.release()
        self._at_line = True
        try:
            self.on_signal(0, frame)
        finally:
            self._at_line = False

    def _read_mailbox(self, buffer: bytearray) -> None:
        with self._mailbox:  # what was read first is handled first
            super()._read_mailbox(buffer)

    def _note_request(self) -> None:
        """Let the running task see that it was requested to stop, and wake what it sleeps in."""
        id, task = self.running, self.task
        if id and task is not None and id in self.state.early and not task.cancel_requested:
            self._requested_at = monotonic()
            task.request_cancel(self.state.early.get(id))

    def deliver(self, frame: FrameType | None) -> None:
        super().deliver(frame)
        shot = self._shot
        if shot is None or shot.over or frame is None or not self._at_line:
            return
        if importer(frame, self.outermost) is None and not shielded.in_shield(frame):
            safe_points.arm(shot, frame, self.outermost)  # it runs other functions by now than those that are watched

    def raise_in(self, frame: FrameType | None, reason: str | None) -> None:
        if self._at_line and frame is not None:  # a line may begin where a raise would skip an `__exit__`
            self._shot = Shot(self._thread, reason)
            safe_points.arm(self._shot, frame, self.outermost)
        else:
            super().raise_in(frame, reason)

    def end_shot(self) -> None:
        """Raise no more in a task that has ended."""
        if self._shot is not None:
            safe_points.disarm(self._shot)
            self._shot = None
