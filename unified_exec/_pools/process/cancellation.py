"""Stopping tasks: take back what has not started, request what runs to stop, kill what does not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..._tasks import events
from ..._tasks.task import Task
from .decode_result import ENDING
from .mailbox_signal import POST_AGAIN
from .reap import reap_worker
from .worker import Worker
from .worker_group import WorkerGroup
from .worker_registry import WorkerRegistry

SIGNAL_AGAIN = 0.05
"""Seconds without an answer after which the worker is signalled again and a spare one is started, in case of a kill."""


class TaskCanceller:
    """Cancels the tasks of one group: request, grace, kill."""

    __slots__ = ("_group", "_read_all", "_registry")

    def __init__(self, group: WorkerGroup, registry: WorkerRegistry[Any], read_all: Callable[[Worker], object]) -> None:
        self._group = group
        self._registry = registry
        self._read_all = read_all

    def cancel(self, tasks: Iterable[Task], reason: str | None, running: bool) -> None:
        """Settle the tasks that have not started, and request the others to stop.

        Args:
            running: ``False`` leaves alone what runs, and also what a worker is about to start.
        """
        group = self._group
        rest = list(tasks)
        while rest:
            sent: dict[Worker, list[Task]] = {}
            for task in rest:
                if task.outcome is not None:
                    continue
                location = task.location
                if location is None:
                    group.queue.forget_one()
                    task.settle_cancelled()
                elif type(location) is Worker:
                    sent.setdefault(location, []).append(task)
            for worker, chosen in sent.items():
                if not running:
                    first = next(iter(worker.tasks), None)
                    chosen[:] = [task for task in chosen if task.id != first]
                self._cancel_sent(worker, chosen, reason, running)
            if sent:
                group.adapter.call_soon(group.pump)
            # To settle one may have cancelled others: then these here may have left the worker they were in.
            rest = [task for worker, chosen in sent.items() for task in chosen if task.location is not worker]

    def _cancel_sent(self, worker: Worker, chosen: list[Task], reason: str | None, running: bool) -> None:
        wanted = {task.id for task in chosen}
        back = worker.take_back()
        ended = [task for task in back if task.id in wanted]
        for task in ended:
            task.location = ENDING  # no longer in a worker and not in the queue: nobody may count it there
        self._group.requeue([task for task in back if task.id not in wanted])
        self._group.rest(worker)
        for task in chosen if running else ():
            if task.id in worker.tasks and task.mark_stopping(reason):
                self._request(worker, task, reason)
        for task in ended:
            task.settle_cancelled()

    def _request(self, worker: Worker, task: Task, reason: str | None) -> None:
        self._post(worker, task, reason)
        grace = self._registry.grace
        self._check_later(worker, task, grace, time.monotonic() + grace)

    def _post(self, worker: Worker, task: Task, reason: str | None) -> None:
        if task.id in worker.tasks and not worker.reaped and not worker.request_cancel(task.id, reason):
            self._group.adapter.call_later(POST_AGAIN, self._post, worker, task, reason)

    def _check_later(self, worker: Worker, task: Task, left: float, grace_ends: float) -> None:
        delay = min(SIGNAL_AGAIN, left)
        timer = self._group.adapter.call_later(delay, self._check, worker, task, grace_ends)
        worker.cancel_timers[task.id] = timer

    def _check(self, worker: Worker, task: Task, grace_ends: float) -> None:
        if task.id not in worker.tasks or worker.reaped:
            return
        left = grace_ends - time.monotonic()
        if worker.child.can_kill:
            if left <= 0:
                self._kill(worker, task)
                return
            self._registry.start_spare(self._group.kind)
        worker.signal()  # a coroutine may have begun to block its loop after the first signal
        self._check_later(worker, task, left if left > 0 else SIGNAL_AGAIN, grace_ends)

    def _kill(self, worker: Worker, task: Task) -> None:
        group = self._group
        if worker.reaped or worker not in group.workers:
            return
        # If this loop was busy, the answer may lie in the socket and the worker may be at its next task. What it has
        # not claimed must not start now, and what it has answered is read first: then the kill hits this task alone.
        group.requeue(worker.take_back())
        self._read_all(worker)
        if task.id in worker.tasks and not worker.reaped:
            worker.killed_for = task
            if events.rows is not None:
                events.emit(events.WORKER_KILLED, worker.pid, task.event_id, "grace")
            worker.connection.dismissed()
            worker.kill()
        group.rest(worker)
        group.pump()

    def abandon(self, task: Task) -> None:
        """Settle a running task whose worker cannot be killed, and go on without that worker."""
        worker = task.location
        if type(worker) is not Worker or worker.child.can_kill:
            return
        self._read_all(worker)
        if worker.reaped or not worker.is_running(task):
            return
        worker.killed_for = task
        reap_worker(self._group, self._registry, worker)
        logging.getLogger("unified_exec").warning(
            "task %r was abandoned: its scope goes on, its %s ends when the function returns",
            task.name,
            worker.child.place,
        )
        self._group.pump()
