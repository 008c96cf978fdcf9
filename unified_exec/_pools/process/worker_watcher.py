"""Watching the workers of one event loop: their sockets for what they send, their processes for their exit."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..._loops.adapter import call_later_apart
from ..._platform import process_control
from ..._tasks import events
from ..._wire import protocol
from ..._wire.frames import ProtocolError
from ...errors import WorkerStartError
from .answers import AnswerReader
from .inbox import LogPipeEnd
from .reap import reap_worker
from .start_retry import StartFailures
from .worker import Worker
from .worker_group import WorkerGroup
from .worker_registry import WorkerRegistry

READ_MOST = 256
"""Answers read from one worker in one turn of the loop, so that the loop's other work gets its turn."""
LOGS_MOST = 256 * 1024
"""Bytes of log records read from one worker in one turn of the loop."""
LOGS_CLOSE = 0.002
"""Where records come this many seconds after one another, or faster, they are read in groups."""
LOGS_PAUSE = 0.005
"""Seconds until the next group is read; before an answer, all that is there is."""
LOOK_AT_START = 5.0
"""Seconds between two checks of a process that has not become a worker."""
LOOK_AT_LATE = 0.5
"""The same, once its time is over and it waits for a processor."""
LOOK_AGAIN = 0.5
"""Seconds between two checks of a worker whose exit no descriptor tells for certain."""


class WorkerWatcher:
    """Reads what workers send and reaps them when they exit; after each, the group sends what waits.

    Attributes:
        answers: reads their sockets.
    """

    __slots__ = ("_adapter", "_group", "_registry", "_starts", "_workers", "answers")

    def __init__(self, group: WorkerGroup, registry: WorkerRegistry[Any], starts: StartFailures) -> None:
        self.answers = AnswerReader(group, starts, self._watch_logs, registry.decoding)
        self._group = group
        self._adapter = group.adapter
        self._workers = group.workers
        self._registry = registry
        self._starts = starts

    def adopt(self, worker: Worker) -> None:
        """Add a worker to the group: this loop watches it from now on."""
        self._group.attach(worker)
        timeout = self._registry.spec.start_timeout
        if timeout is not None and worker.connection.state is protocol.STARTING:
            wait = min(LOOK_AT_START, timeout)
            self._check_start_in(wait, worker, timeout - wait, None)
        child, add_reader = worker.child, self._adapter.add_reader
        add_reader(child.tasks.fileno(), partial(self._guarded, self._on_answers, worker))
        add_reader(child.control.fileno(), partial(self._guarded, self._on_mailbox, worker))
        if worker.inbox.logs is not None:
            self._watch_logs(worker)
        if child.pidfd is not None:
            add_reader(child.pidfd, partial(self._guarded, self._on_exit, worker))
        else:
            add_reader(child.lifeline.fileno(), partial(self._guarded, self._on_lifeline, worker))
            call_later_apart(self._adapter, LOOK_AGAIN, self._look, worker)

    def _guarded(self, react: Callable[[Worker], None], worker: Worker) -> None:
        """Let a bug of ours cost this worker only: a loop calls a reader that raises again and again, or ends."""
        if worker.ends_with_program:
            self._group.unwatch(worker)
            return
        try:
            react(worker)
        except Exception as exc:
            logging.getLogger("unified_exec").exception("a bug: please report it; worker %d is lost", worker.pid)
            self.answers.broke_protocol(worker, exc)
            if react == self._on_exit and worker in self._workers:
                self._group.detach(worker)

    def _on_answers(self, worker: Worker) -> None:
        try:
            # A task that awaits the answer may be resumed in here: what it sends is on its way before the rest is done.
            self._adapter.deliver(self.answers.read_stream, worker, READ_MOST)
        except ProtocolError as exc:
            self.answers.broke_protocol(worker, exc)
        finally:
            self._group.pump(worker)

    def _on_mailbox(self, worker: Worker) -> None:
        self.answers.read_all(worker)
        if worker.inbox.closed and worker in self._workers:
            # Its end is closed but it may still live: a task closed all descriptors. Nothing more will come.
            self._adapter.remove_reader(worker.child.control.fileno())
        self._group.pump(worker)

    def _watch_logs(self, worker: Worker) -> None:
        if worker.inbox.logs is not None:
            self._adapter.add_reader(worker.inbox.logs.fd, partial(self._guarded, self._on_logs, worker))

    def _on_logs(self, worker: Worker) -> None:
        end = worker.inbox.logs
        if end is None:
            return
        if not self._group.logs.read(worker, LOGS_MOST):
            self._adapter.remove_reader(end.fd)  # its other end is closed
            return
        before, end.read_at = end.read_at, time.monotonic()
        if end.read_at - before < LOGS_CLOSE and not worker.reaped:  # waking up costs more than a record
            self._adapter.remove_reader(end.fd)
            call_later_apart(self._adapter, LOGS_PAUSE, self._watch_again, worker, end)

    def _watch_again(self, worker: Worker, end: LogPipeEnd) -> None:
        if worker in self._workers and worker.inbox.logs is end:
            self._watch_logs(worker)

    def _on_lifeline(self, worker: Worker) -> None:
        """It has closed its end of the lifeline: it has exited, or a task closed all descriptors."""
        worker.kill()
        self._on_exit(worker)

    def _look(self, worker: Worker) -> None:
        """Where no pidfd is: a child that a task forked may hold the lifeline after the worker's exit."""
        if worker in self._workers:
            if worker.child.has_ended():
                self._on_exit(worker)
            else:
                call_later_apart(self._adapter, LOOK_AGAIN, self._look, worker)

    def _check_start_in(self, seconds: float, worker: Worker, left: float, used: float | None) -> None:
        worker.start_timer = call_later_apart(self._adapter, seconds, self._check_start, worker, left, used)

    def _check_start(self, worker: Worker, left: float, used: float | None) -> None:
        """Give up a process that does not become a worker: its time is over, or it sleeps and waits for something else.

        On a machine with more work than processors, what it waits for a processor does not count.

        Args:
            left: seconds until its time is over.
            used: the processor time it had used at the last check, ``None`` if it was not asleep or not checked.
        """
        if worker not in self._workers or worker.connection.state is not protocol.STARTING or worker.has_settings():
            return
        timeout = self._registry.spec.start_timeout or 0.0
        state, now = process_control.state_and_time(worker.pid) or (b"", 0.0)
        if left > 0 and (state != b"S" or now != used):
            wait = min(LOOK_AT_START, left)
            self._check_start_in(wait, worker, left - wait, now if state == b"S" else None)
            return
        if state == b"R" and now < timeout:
            self._check_start_in(LOOK_AT_LATE, worker, 0.0, None)
            return
        seconds = timeout - left
        why = f"{sys.executable} did not become a worker within {seconds:g} s: is it Python? (see start_timeout)"
        self._starts.refused(worker, WorkerStartError(why))
        if events.rows is not None:
            events.emit(events.WORKER_KILLED, worker.pid, 0, "start_timeout")
        worker.kill()

    def _on_exit(self, worker: Worker) -> None:
        """The process has ended."""
        if worker not in self._workers:
            return
        self.answers.read_all(worker)
        if worker not in self._workers:
            return  # settling an answer above ended the pool
        was_starting = worker.connection.state == protocol.STARTING
        exitcode = reap_worker(self._group, self._registry, worker)
        if was_starting and worker.killed_for is None:
            self._starts.died(exitcode)
        self._group.pump()
        if not self._registry.workers:
            self._registry.templates.discard()
