"""The bell of a worker that runs plain functions: how the one that runs is stopped."""

from __future__ import annotations

import sys
from time import monotonic
from types import CodeType, FrameType
from typing import Any

from .._tasks import inner_loops
from .._tasks.current import CurrentTask
from .._wire import frames
from ..errors import Cancelled
from .cancel_signal import CancelSignal
from .connection import WorkerConnection

UNHEARD = 0.04
"""Seconds after which code that keeps the event loop of its task busy is hit itself."""
BETWEEN = 0.3
"""Seconds after which code of an event loop's library that runs without the loop is hit."""


class CallCancelSignal(CancelSignal):
    """Raises in the task that runs in the main thread. An event loop that the task runs is told to cancel its main task
    instead: a raise in the loop's own code would be lost, or leave the loop in pieces for the tasks that come after.

    Attributes:
        outermost: the code that calls each task.
        told: the running task's event loop was told.
    """

    __slots__ = ("_asked_at", "outermost", "told")

    def __init__(self, link: WorkerConnection) -> None:
        super().__init__(link)
        self.outermost: CodeType | None = None
        self.told = False
        self._asked_at = 0.0

    def deliver(self, frame: FrameType | None) -> None:
        """Stop the running task if it was asked to; `frame` is where it is.

        Raises:
            Cancelled: it was, and is hit now. At most once for each ask.
        """
        id, view = self.running, self.view
        if not id or view is None or id not in self.end.early:
            return
        reason = self.end.early[id]
        if not view.cancel_requested:
            self._asked_at = monotonic()
            view.request_cancel(reason)
        if frame is not None and self._is_bad_moment(frame, view):
            return
        self.running = 0
        self.end.early.pop(id, None)
        self.raise_in(frame, reason)

    def _is_bad_moment(self, frame: FrameType, view: CurrentTask) -> bool:
        """Tell whether the raise must wait for another bell; the parent rings again while the task goes on."""
        waited = monotonic() - self._asked_at
        loop = inner_loops.find(frame, self.outermost)
        if loop is None:
            if waited >= BETWEEN or not inner_loops.is_between(frame, self.outermost):
                return False
            self.want_another(view)
            return True
        if not self.told:
            self.told = True
            loop.cancel()
            return True
        return loop.above is None or waited < UNHEARD

    def want_another(self, view: CurrentTask) -> None:
        """Let the parent ring again in a moment."""
        try:
            self._link.control.send(frames.pack_id(frames.AGAIN, view.id))
        except OSError:
            pass

    def swallowed(self, unraisable: Any) -> bool:
        """Raise again behind the finalizer that swallowed it, or ask the parent to ring again."""
        view = self.view
        if not isinstance(unraisable.exc_value, Cancelled) or view is None:
            return False
        frame = sys._getframe(2)  # what runs the finalizer; between are this method and the hook
        if self._is_in_the_task(frame) and sys.gettrace() is None:
            self.raise_at_next_opcode(frame, Cancelled(view.reason))
            return True
        self.end.early[view.id] = view.reason
        self.want_another(view)
        # Last: a bell that rang in here would raise where it is swallowed again.
        self.running = view.id
        return True

    def _is_in_the_task(self, frame: FrameType) -> bool:
        at: FrameType | None = frame.f_back
        while at is not None and at.f_code is not self.outermost:
            at = at.f_back
        return at is not None

    def stopped(self, view: CurrentTask, error: BaseException | None, *own: type[BaseException]) -> bool:
        return super().stopped(view, error, *own, *(inner_loops.cancellations() if self.told else ()))
