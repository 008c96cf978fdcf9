"""The cancel signal of a worker that runs plain functions: how the running one is stopped."""

from __future__ import annotations

import sys
from time import monotonic
from types import CodeType, FrameType

from .._tasks import inner_loops, shielded
from .._tasks.current import CurrentTask
from .._wire import frames
from ..errors import Cancelled
from .cancel_signal import CancelSignal, importer
from .connection import WorkerConnection

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

LOOP_BUSY = 0.04
"""Seconds after which the raise lands in code that keeps the event loop of its task busy."""
LOOP_SETUP = 0.3
"""Seconds after which the raise lands in code of an event loop's library that runs without the loop."""


class CallCancelSignal(CancelSignal):
    """Raises in the task that runs in the main thread. If the task runs an event loop, that is told to cancel its main
    task instead: a raise in the loop's own code would be lost, or leave the loop broken for later tasks.

    Attributes:
        outermost: the code that calls each task.
        loop_notified: the event loop of the running task was told to cancel.
    """

    def __init__(self, connection: WorkerConnection, outermost: CodeType) -> None:
        super().__init__(connection)
        self.outermost = outermost
        self.loop_notified = False
        self._requested_at = 0.0

    def deliver(self, frame: FrameType | None) -> None:
        """Stop the running task if it was requested to stop; `frame` is what it runs.

        Raises:
            Cancelled: in the task, right now. At most once for each request.
        """
        id, task = self.running, self.task
        if not id or task is None or id not in self.state.early:
            return
        reason = self.state.early[id]
        if not task.cancel_requested:
            self._requested_at = monotonic()
            task.request_cancel(reason)
        importing = importer(frame, self.outermost)
        frame = importing or frame
        if frame is not None and self._must_wait(frame, task):
            return
        if importing is not None:
            if importing.f_code is not self.outermost:  # else the import is all that the task does
                self.raise_after_import(importing, reason, self._delivered)
            return
        self._delivered()
        self.raise_in(frame, reason)

    def _delivered(self) -> None:
        """Note, right before the raise, that the running task gets no other one for this request."""
        id, self.running = self.running, 0
        self.state.early.pop(id, None)

    def _must_wait(self, frame: FrameType, task: CurrentTask) -> bool:
        """Tell whether the raise must wait for the next signal; the parent repeats it while the task goes on."""
        waited = monotonic() - self._requested_at
        if shielded.in_shield(frame):
            return True
        loop = inner_loops.find(frame, self.outermost)
        if loop is None:
            if waited >= LOOP_SETUP or not inner_loops.is_between(frame, self.outermost):
                return False
            self._request_signal(task)
            return True
        if not self.loop_notified:
            self.loop_notified = True
            loop.cancel()
            return True
        return loop.above is None or waited < LOOP_BUSY

    def _request_signal(self, task: CurrentTask) -> None:
        """Have the parent send the signal again in a moment."""
        try:
            self._connection.control.send(frames.pack_id(frames.AGAIN, task.id))
        except OSError:
            pass

    def on_swallowed(self, unraisable: Any) -> bool:
        """Raise again after the finalizer that swallowed it, or have the parent send the signal again."""
        task = self.task
        if not isinstance(unraisable.exc_value, Cancelled) or task is None:
            return False
        frame = sys._getframe(2)  # what runs the finalizer; between are this method and the hook
        if self._is_in_the_task(frame) and sys.gettrace() is None:
            self.raise_at_next_opcode(frame, Cancelled(task.reason))
            return True
        self.state.early[task.id] = task.reason
        self._request_signal(task)
        # Last: a signal that came before this would raise where the exception is swallowed again.
        self.running = task.id
        return True

    def _is_in_the_task(self, frame: FrameType) -> bool:
        at: FrameType | None = frame.f_back
        while at is not None and at.f_code is not self.outermost:
            at = at.f_back
        return at is not None

    def was_cancelled(self, task: CurrentTask, error: BaseException | None, *own: type[BaseException]) -> bool:
        return super().was_cancelled(task, error, *own, *(inner_loops.cancellations() if self.loop_notified else ()))
