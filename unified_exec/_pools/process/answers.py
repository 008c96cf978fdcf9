"""Reading what the workers of one event loop send: answers, reports, and that they are up or about to exit."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..._platform.shared_memory import close_all
from ..._rules import prefetch
from ..._tasks import events
from ..._tasks.types import Outcome
from ..._wire import frames, protocol
from ..._wire.frames import ProtocolError
from ..._worker import passing, received
from ..._worker.connection import receive_all
from ...errors import SerializationError, WorkerCrashed
from .decode_result import HERE, Decoding, decode_start_error
from .requests import on_ask, on_offer
from .start_retry import StartFailures
from .task_requests import RequestReader
from .worker import Worker
from .worker_group import WorkerGroup
from .worker_logs import READ_MOST

EVERYTHING = 1 << 30
SWALLOWED = 0.001
"""Seconds until a worker is signalled again, which could not raise the cancellation: it was in a ``__del__``."""


class AnswerReader:
    """Reads the sockets of the workers of one group, and settles the tasks that are answered.

    Settling a task runs the code of its scope, which may submit and cancel others, or end the pool.
    """

    def __init__(
        self,
        group: WorkerGroup,
        starts: StartFailures,
        watch_logs: Callable[[Worker], object],
        decoding: Decoding = HERE,
    ) -> None:
        self._group = group
        self._starts = starts
        self._watch_logs = watch_logs
        self._decoding = decoding
        self._outcome_of = decoding.outcome_of
        self._requests = RequestReader(group, decoding.unread)
        self._learn = not group.kind.concurrent  # a coroutine's duration says little about its cost
        self._buffer = bytearray(frames.MESSAGE_MAX)
        self._view = memoryview(self._buffer)

    def read_stream(self, worker: Worker, most: int) -> None:
        """Read up to `most` messages of the task stream.

        Raises:
            ProtocolError: the worker sent an invalid message.
        """
        read, buffer, view, parse = worker.child.tasks.recv_into, self._buffer, self._view, worker.connection.receive
        on_event = self._on_event
        for _ in range(most):
            try:
                size = read(buffer)
            except BlockingIOError:
                return
            except OSError as exc:
                raise ProtocolError(f"its socket failed: {exc}") from exc
            if not size:
                return
            message = view[:size]
            if buffer[1] & frames.LOGGED and frames.is_logged(view[:size]):
                message = memoryview(bytes(message))  # the user's handlers may have this buffer used
                self._read_logs(worker)
            on_event(worker, parse(message), None)
            if not worker.tasks or worker.reaped:
                return

    def read_mailbox(self, worker: Worker) -> None:
        """Read the mailbox. What the same task has sent on the task stream before comes first.

        Raises:
            ProtocolError: the worker sent an invalid message.
        """
        while (received := self._next_mail(worker)) is not None:
            message, fds = received
            try:
                if frames.is_after_stream(message):
                    self.read_stream(worker, EVERYTHING)
                if frames.is_logged(message):
                    self._read_logs(worker)
                event = worker.connection.receive(message)
                if len(fds) > 1 and type(event) is not protocol.Offer:
                    raise ProtocolError("a message brought more than one descriptor")
            except BaseException:
                close_all(fds)
                raise
            if type(event) is protocol.Offer:
                on_offer(self._group.adapter, worker, event, fds, self._decoding.unread)
            else:
                self._on_event(worker, event, fds[0] if fds else None)

    def _next_mail(self, worker: Worker) -> tuple[memoryview, list[int]] | None:
        """Return the next message of the mailbox and its descriptors; ``None`` if there is none for now.

        Raises:
            ProtocolError: the worker sent an invalid message.
        """
        if worker.inbox.mail and not worker.reaped:
            return worker.inbox.mail.popleft()
        buffer = bytearray(frames.MESSAGE_MAX)
        while not worker.reaped:
            try:
                size, fds = receive_all(worker.child.control, buffer)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                # It exited with unread messages of ours. The system says so once, before what it had sent can be read.
                continue
            except ConnectionError:
                size = 0
            if not size:
                worker.inbox.closed = True
                return None
            return memoryview(buffer)[:size], fds
        return None

    def _read_logs(self, worker: Worker) -> None:
        """Handle the log records that came before the message at hand: a task's before its outcome is seen."""
        if worker.inbox.logs is None:
            # The pipe is in the mailbox. The messages before it wait for their turn.
            ahead = []
            while (received := self._next_mail(worker)) is not None:
                if received[0][0] == frames.LOGS:
                    self._on_event(worker, worker.connection.receive(received[0]), next(iter(received[1]), None))
                    break
                ahead.append(received)
            worker.inbox.mail.extendleft(reversed(ahead))
            if worker.inbox.mail:
                self._group.adapter.call_soon(self.read_all, worker)
        self._group.logs.read(worker, READ_MOST)

    def read_all(self, worker: Worker) -> None:
        """Read everything the worker has sent so far, on both sockets."""
        try:
            # An answer in the mailbox may be newer than the worker's READY on the other socket.
            self.read_stream(worker, EVERYTHING)
            self.read_mailbox(worker)
            self._group.logs.read(worker, READ_MOST)
        except (ProtocolError, OSError) as exc:
            self.broke_protocol(worker, exc)

    def broke_protocol(self, worker: Worker, exc: Exception) -> None:
        """Kill a worker that sent an invalid message; it is reaped when it has exited."""
        if not worker.reaped:
            worker.detail = worker.detail or str(exc)
            worker.connection.state = protocol.OVER
            self._group.not_idle(worker)
            if events.rows is not None:
                events.emit(events.WORKER_KILLED, worker.pid, 0, "protocol")
            worker.kill()

    def _on_event(self, worker: Worker, event: protocol.Event, fd: int | None) -> None:
        if type(event) is not protocol.Answer:
            self._on_other(worker, event, fd)
            return
        id, kind, started, finished, data, in_shared = event
        task = worker.tasks.pop(id)
        stats = task.backend_data.entry.stats
        worker.load = worker.load - (stats.cost or 0.0) if worker.tasks else 0.0
        worker.stuck = False
        if worker.blocked_by is not None:
            self._requests.task_ended(worker)
        worker.answered_at = time.monotonic()
        if worker.cancel_timers and (timer := worker.cancel_timers.pop(id, None)) is not None:
            timer.cancel()
        if self._learn:
            stats.cost = prefetch.update_estimate(stats.cost, finished - started)
        task.started_at = started if kind != frames.UNSTARTED else None
        task.finished_at = finished
        if events.rows is not None:
            task.bytes_received = len(data)
            if events.moves is not None and kind != frames.UNSTARTED:
                task.emit_started(late=True)
        if worker.connection.state is not protocol.UP:
            self._group.give_back(worker)
        elif not worker.tasks:
            self._group.idle.append(worker)
        if not in_shared:
            task.settle(self._outcome_of(task.name, kind, data, ()))
            return
        try:
            content, buffers = worker.payload(event, fd)
        except (OSError, MemoryError) as exc:
            why = f"it could not be received: {type(exc).__name__}: {exc}".removesuffix(": ")
            error = SerializationError(f"the result of {task.name}()", why, sent=True)
            error.__cause__ = exc
            task.settle(Outcome(error=error))
            return
        except (ProtocolError, ValueError) as exc:
            task.settle(Outcome(error=WorkerCrashed(task.name, worker.pid, None, f"its answer was lost: {exc}")))
            self.broke_protocol(worker, exc)
            return
        self._decoding.settle(self._group.adapter, task, kind, content, buffers)

    def _on_other(self, worker: Worker, event: protocol.Event, fd: int | None) -> None:
        if type(event) is protocol.Ready:
            worker.stop_start_timer()
            if events.rows is not None:
                events.emit(events.WORKER_READY, worker.pid, time.monotonic() - worker.answered_at)
            self._starts.succeeded()
            self._group.not_starting(worker)
            self._group.rest(worker)
        elif type(event) is protocol.Leaving:
            if events.rows is not None:
                events.emit(events.WORKER_RETIRED, worker.pid)
            self._group.give_back(worker)
        elif type(event) is protocol.SignalAgain:
            self._group.adapter.call_later(SWALLOWED, worker.signal)
        elif type(event) is protocol.Report:
            message = self._decoding.message_of(*worker.payload(event, fd))
            task = worker.tasks.get(event.id)
            if task is not None:
                task.take_message(message)
        elif type(event) is protocol.Ask:
            on_ask(self._group.adapter, worker, event)
        elif type(event) is protocol.Dropped:
            passing.dropped(event.token, worker)
        elif type(event) is protocol.Here:
            worker.found = time.monotonic(), bytes(event.payload)
        elif type(event) is protocol.Waits:
            received.heard(self._group.adapter, worker, event.mark)
        elif type(event) is protocol.TaskAsks:
            self._requests.read(worker, event, fd)
        elif type(event) is protocol.Logs:
            if fd is None:
                raise ProtocolError("the pipe of log records came without it")
            worker.inbox.logs = self._group.logs.open(fd)
            self._watch_logs(worker)
        elif type(event) is protocol.StartFailed:
            self._starts.refused(worker, decode_start_error(event.error))
