"""What code in a worker needs of its process: the way to the parent, and what the parent has sent to running tasks."""

from __future__ import annotations

import sys
from _functools import partial  # type: ignore[import-not-found, unused-ignore]
from _thread import get_ident
from collections.abc import Callable

from .._tasks.current import CurrentTask, current
from .._wire import frames
from .._wire.pickling import codec
from .._wire.pickling.shared_refs import pickled_here
from ..errors import Cancelled
from . import passing
from .cancel_signal import CancelSignal
from .connection import WorkerConnection

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

    from .._tasks.messages import Waited
    from .._tasks.requests import Pending
    from .requests import WorkerRequests


class WorkerContext:
    """The two directions of what a running task and its handle exchange: messages up, credit down.

    A running task has it as `WorkerTask.context`. Another kind of exchange adds a method that sends, and a handler
    for what comes back to ``signal.handlers``.

    Attributes:
        connection: the sockets.
        thread: the main thread, where the signal arrives.
        signal: reads what the parent sends to running tasks, and cancels them.
        credit: how many messages each task may send in all; only ever grows, and only while the mailbox is read.
        flushes: called, by task id, when the parent wants what a task has gathered.
        on_credit: called, by task id, when a coroutine task has been given credit; maybe in the signal handler.
        watched: somebody listens to the events of the parent; as the task that came last tells.
        backend: what its tasks say of the kind of their pool.
    """

    __slots__ = ("_requests", "backend", "connection", "credit", "flushes", "on_credit", "signal", "thread", "watched")

    def __init__(self, connection: WorkerConnection, signal: CancelSignal) -> None:
        self.connection = connection
        self.signal = signal
        self.backend = "process"
        self.thread = get_ident()
        self.credit: dict[int, int] = {}
        self.flushes: dict[int, Callable[[], object]] = {}
        self.on_credit: dict[int, Callable[[], object]] = {}
        self.watched = False
        self._requests: WorkerRequests | None = None
        signal.handlers[frames.CREDIT] = self._on_credit

    def send(self, id: int, message: object) -> None:
        """Send `message` to the handle of task `id`; returns when it has left.

        Raises:
            SerializationError: it cannot travel.
            OSError: the parent is gone.
        """
        met = pickled_here()
        met.clear()
        packed = codec.encode_value(message, "the message")
        if met:
            passing.offer(met.taken(), True)
        flags = self.connection.log_flags()
        self.connection.report(id, partial(frames.pack_report, id), packed, flags)

    @property
    def requests(self) -> WorkerRequests:
        """What the tasks have asked of their scopes."""
        if self._requests is None:
            from .requests import WorkerRequests  # loaded with the first request

            made = WorkerRequests(self.connection, self.signal, self.thread)
            # Threads that ask for the first time all at once get the same one.
            handler: Any = self.signal.handlers.setdefault(frames.REPLY, made.on_reply)
            self._requests = handler.__self__
        return self._requests

    def wait_for_credit(self, id: int, used: int) -> None:
        """Wait until the parent has given the task more credit than it has used.

        Raises:
            Cancelled: the task was requested to stop.
        """
        signal = self.signal
        poll: Any = None
        while self.credit.get(id, 0) <= used:
            if poll is None:
                import select

                poll = select.poll()
                poll.register(self.connection.control, select.POLLIN)
            poll.poll()
            signal.on_signal(0, sys._getframe())

    def _on_credit(self, message: bytes, fds: list[int]) -> None:
        id, count = frames.unpack_id(memoryview(message))
        self.credit[id] = self.credit.get(id, 0) + int(count or 0)
        if id in self.flushes:
            self.flushes[id]()
        if id in self.on_credit:
            self.on_credit[id]()


worker: WorkerContext | None = None
"""The context of this worker; ``None`` in any other process. Set once, in `main`."""


def running_task() -> CurrentTask | None:
    """Return the task that the calling code belongs to; in a thread that a task has started, the one that runs."""
    task = current.get()
    return task if task is not None or worker is None else worker.signal.task


class WorkerTask(CurrentTask):
    """The task as its own code sees it."""

    __slots__ = ("context",)
    nested = False
    polls_on_loop = True

    def __init__(self, id: int, name: str, deadline: float | None, context: WorkerContext) -> None:
        # All that the class above does, without the call: one is made for each task.
        self.id = id
        self.name = name
        self.deadline = deadline
        self.cancel_requested = False
        self.reason = None
        self.context = context

    @property
    def backend(self) -> str:  # type: ignore[override]  # not known to each task: one is made for every call
        return self.context.backend

    def send(self, message: object) -> None:
        self.context.send(self.id, message)

    def send_wait(self, wait: Waited) -> None:
        """Tell the parent that the task has waited, if somebody listens there. Nothing fails because of it."""
        if self.context.watched:
            try:
                self.context.send(self.id, wait)
            except OSError:
                pass  # the parent is gone

    def send_request(self, pending: Pending) -> None:
        self.context.requests.send(self.id, self.name, pending)

    def wait_for(self, pending: Pending) -> None:
        self.context.requests.wait(pending)

    def withdraw(self, pending: Pending) -> None:
        if self.context.requests.forget(pending) and not self.cancel_requested:
            self.context.requests.send(self.id, self.name, pending.stop())

    def raise_cancelled(self) -> None:
        if get_ident() != self.context.thread:
            raise Cancelled(self.reason)
        self.context.signal.deliver(None)  # raises unless it has done so: once for each request
