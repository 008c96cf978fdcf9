"""The cancel signal of a worker that runs coroutines: cancels through the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from types import CodeType, FrameType
from typing import Any

from .._tasks import shielded
from .._tasks.current import CurrentTask
from ..errors import Cancelled
from .cancel_signal import NOT_REQUESTED, CancelSignal, importer
from .connection import WorkerConnection

_ASYNCIO = os.path.dirname(asyncio.__file__)
_BLOCKS = 0.02
"""Seconds a request may wait for the loop until a task that keeps the loop busy counts as blocking it."""


class LoopCancelSignal(CancelSignal):
    """Cancels through the loop; raises only in a task that blocks the loop with plain code.

    Args:
        connection: the sockets.
        running: the running tasks by id.
        cancel: cancels a running task by its id; called in the loop.
        leave: called in the loop when the parent wants the worker to exit.
        outermost: the code of the coroutine that runs each task.

    Attributes:
        loop: the event loop, once it runs.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        running: Mapping[int, tuple[asyncio.Task[None], CurrentTask]],
        cancel: Callable[[int], object],
        leave: Callable[[], object],
        outermost: CodeType,
    ) -> None:
        super().__init__(connection)
        self._running = running
        self._cancel = cancel
        self._leave = leave
        self._outermost = outermost
        self._requested_at = 0.0  # when the newest request was handed to the loop
        self.loop: asyncio.AbstractEventLoop | None = None

    def deliver(self, frame: FrameType | None) -> None:
        loop = self.loop
        if loop is None:  # not running yet: all that came waits for it
            return
        blocking = 0
        now = monotonic()
        importing = importer(frame, self._outermost)
        for id in list(self.state.early):
            entry = self._running.get(id)
            if entry is None:
                continue
            running, task = entry
            if not task.cancel_requested:
                self._requested_at = now
                task.request_cancel(self.state.early.get(id))
                # Until then it stays requested: if the task, or another, blocks the loop, the next signal finds it.
                loop.call_soon_threadsafe(self._cancel, id)
            elif now - self._requested_at > _BLOCKS and self._blocked_by(running, importing or frame):
                blocking = id
        if blocking:
            self.task = self._running[blocking][1]
            self._raise_in_blocking(blocking, frame, importing)
        if self.stop:
            loop.call_soon_threadsafe(self._leave)

    def coroutines(self) -> dict[int, Any]:
        return {id: task.get_coro() for id, (task, _) in list(self._running.items())}

    def _raise_in_blocking(self, id: int, frame: FrameType | None, importing: FrameType | None) -> None:
        if importing is not None:
            self.raise_after_import(importing, self.state.early[id], partial(self.state.early.pop, id, None))
        elif (reason := self.state.early.pop(id, NOT_REQUESTED)) is not NOT_REQUESTED:
            self.raise_in(frame, reason)

    def _blocked_by(self, running: asyncio.Task[None], frame: FrameType | None) -> bool:
        return frame is not None and running is asyncio.current_task(self.loop) and self._in_user_code(frame)

    def _in_user_code(self, frame: FrameType) -> bool:
        """A raise inside asyncio itself could leave the loop broken."""
        if shielded.in_shield(frame):
            return False
        at: FrameType | None = frame
        while at is not None:
            if at.f_code is self._outermost:
                return at is not frame
            if at.f_code.co_filename.startswith(_ASYNCIO):
                return False
            at = at.f_back
        return False

    def on_swallowed(self, unraisable: Any) -> bool:
        """Cancel through the loop what could not be interrupted."""
        task = self.task
        if not isinstance(unraisable.exc_value, Cancelled) or task is None or self.loop is None:
            return False
        self.loop.call_soon_threadsafe(self._cancel, task.id)
        self.state.early[task.id] = task.reason  # last: a signal before this would raise where it is swallowed again
        return True
