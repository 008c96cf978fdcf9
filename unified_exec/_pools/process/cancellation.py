"""Stopping tasks: take back what has not begun, ask what runs, kill what does not listen.

Like all of a crew it runs in the loop's thread, and settling a task may call back into it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..._tasks.task import Task
from .decode_result import ENDING
from .worker import Worker

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

RING_AGAIN = 0.05
"""Seconds an ask may go unanswered before the bell is rung again and a spare worker started for a kill."""
POST_AGAIN = 0.005
"""Seconds until an ask that found the worker's mailbox full is tried again."""


class TaskCanceller:
    """Cancels the tasks of one crew: ask, grace, kill."""

    __slots__ = ("_crew",)

    def __init__(self, crew: Dispatcher) -> None:
        self._crew = crew

    def cancel(self, tasks: Iterable[Task], reason: str | None, running: bool) -> None:
        """Settle the tasks that have not started, ask those that have; unless `running`, leave those alone.

        Alone is then left, too, what a worker is about to start.
        """
        crew = self._crew
        sent: dict[Worker, list[Task]] = {}
        for task in tasks:
            if task.outcome is not None:
                continue
            place = task.location
            if place is None:
                crew.queue.forget_one()
                task.settle_cancelled()
            elif type(place) is Worker:
                sent.setdefault(place, []).append(task)
        for worker, chosen in sent.items():
            self._cancel_sent(worker, chosen, reason, running)
        if sent:
            crew.port.call_soon(crew.pump)

    def _cancel_sent(self, worker: Worker, chosen: list[Task], reason: str | None, running: bool) -> None:
        wanted = {task.id for task in chosen}
        if not running:
            wanted.discard(next(iter(worker.tasks)))
        back = worker.take_back()
        ended = [task for task in back if task.id in wanted]
        for task in ended:
            task.location = ENDING  # no longer in a worker and not in the queue: nobody may count it there
        self._crew.requeue([task for task in back if task.id not in wanted])
        self._crew.rest(worker)
        for task in chosen if running else ():
            if task.id in worker.tasks and task.mark_stopping(reason):
                self._ask(worker, task, reason)
        for task in ended:
            task.settle_cancelled()

    def _ask(self, worker: Worker, task: Task, reason: str | None) -> None:
        crew = self._crew
        self._post(worker, task, reason)
        grace = crew.pool.grace
        over = time.monotonic() + grace
        worker.asked[task.id] = crew.port.call_later(min(RING_AGAIN, grace), self._not_heard, worker, task, over)

    def _post(self, worker: Worker, task: Task, reason: str | None) -> None:
        if task.id in worker.tasks and not worker.buried and not worker.ask(task.id, reason):
            self._crew.port.call_later(POST_AGAIN, self._post, worker, task, reason)

    def _not_heard(self, worker: Worker, task: Task, over: float) -> None:
        if task.id not in worker.tasks or worker.buried:
            return
        rest = over - time.monotonic()
        if rest <= 0:
            self._grace_over(worker, task)
            return
        self._crew.pool.start_spare(self._crew.coroutines)
        worker.ring()  # a coroutine may have begun to block its loop after the first
        worker.asked[task.id] = self._crew.port.call_later(min(RING_AGAIN, rest), self._not_heard, worker, task, over)

    def _grace_over(self, worker: Worker, task: Task) -> None:
        crew = self._crew
        if worker.buried or worker not in crew.workers:
            return
        # Its answer may lie in the socket, and the worker be at its next task, if this loop was busy. What it has not
        # claimed must not begin now, and what it has answered is read first: then the kill hits this task alone.
        crew.requeue(worker.take_back())
        crew.hear(worker)
        if task.id in worker.tasks and not worker.buried:
            worker.culprit = task
            worker.end.dismissed()
            worker.kill()
        crew.rest(worker)
        crew.pump()
