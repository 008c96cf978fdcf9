"""What a running task and its parent say to each other beside the answer: reports up, credit down."""

from __future__ import annotations

import sys
from typing import Any

from .._platform import shared_memory
from .._tasks.current import CurrentTask
from .._wire import frames
from .._wire.pickling import codec
from .cancel_signal import CancelSignal
from .connection import CONTROL_FD, WorkerConnection

here: TaskMessenger | None = None
"""This worker's talk; ``None`` in any other process."""


class TaskMessenger:
    """Sends a task's messages and keeps the credit its parent gave it."""

    __slots__ = ("bell", "link")

    def __init__(self, link: WorkerConnection, bell: CancelSignal) -> None:
        self.link = link
        self.bell = bell

    def send(self, id: int, message: Any) -> None:
        """Send `message` for the handle of task `id`; returns when it has left.

        Raises:
            SerializationError: it cannot travel.
            OSError: the parent is gone.
        """
        packed = codec.encode_value(message, "the message")
        if not packed.buffers and len(packed.data) <= frames.INLINE_MAX:
            self.link.report(id, frames.pack_report(id, packed.data))
            return
        fd, table = shared_memory.write_block(packed.data, packed.buffers, self.link.blocks)
        self.link.report(id, frames.pack_report(id, table, frames.IN_SHARED), fd)

    def wait_for_credit(self, id: int, used: int) -> None:
        """Wait until the parent has given the task more credit than it has used.

        Raises:
            Cancelled: the task was asked to stop.
        """
        bell = self.bell
        poll: Any = None
        while bell.credit.get(id, 0) <= used:
            if poll is None:
                import select

                poll = select.poll()
                poll.register(CONTROL_FD, select.POLLIN)
            poll.poll()
            bell.ring(0, sys._getframe())


class WorkerTask(CurrentTask):
    """The task as its own code sees it."""

    __slots__ = ()

    polls_on_loop = True

    def send(self, message: object) -> None:
        if here is not None:
            here.send(self.id, message)
