"""Workers that fail to start: how often another one is tried, and when the tasks that wait for one fail."""

from __future__ import annotations

from ..._tasks.types import Outcome
from ..._wire import protocol
from ...errors import WorkerStartError
from .decode_result import ENDING
from .worker import Worker
from .worker_group import WorkerGroup

TRIES = 3
"""Workers that may die while they start, one after another, before the waiting tasks fail."""
PAUSE = 1.0
"""Seconds until another try when starting fails while other workers are at work; doubled each time."""


class StartFailures:
    """Counts the failed starts of one group.

    Attributes:
        failures: workers that failed to start since the last one that did.
    """

    __slots__ = ("_group", "_pause", "failures")

    def __init__(self, group: WorkerGroup) -> None:
        self._group = group
        self._pause = PAUSE
        self.failures = 0

    @property
    def is_hopeless(self) -> bool:
        """No further worker is to be started for now."""
        return self.failures >= TRIES

    def succeeded(self) -> None:
        self.failures = 0
        self._pause = PAUSE

    def died(self, exitcode: int | None) -> None:
        """Note that a worker has died before it was up."""
        self.failures += 1
        if self.is_hopeless and not self._wait_for_others():
            self.fail_waiting(WorkerStartError("it died before it was ready", exitcode))

    def refused(self, worker: Worker, error: BaseException) -> None:
        """Note that a worker has reported that it cannot start: no other could."""
        worker.killed_for = worker.killed_for or next(iter(worker.tasks.values()), None)
        self._group.give_back(worker)
        self.failures = TRIES
        if not self._wait_for_others():
            self.fail_waiting(error)

    def _wait_for_others(self) -> bool:
        """Start no more workers for a while if others are at work: the tasks can wait for those."""
        if not self._group.has_worker_up():
            return False
        self._group.adapter.call_later(self._pause, self._try_again)
        self._pause *= 2
        return True

    def _try_again(self) -> None:
        self.failures = 0
        self._group.pump()

    def fail_waiting(self, error: BaseException) -> None:
        """Fail every task that waits for a worker."""
        group = self._group
        self.failures = 0
        for worker in group.workers:
            if worker.connection.state is protocol.STARTING:  # its tasks would otherwise have three more tries
                group.recall(worker)
        waiting = list(group.queue.drain())
        for task in waiting:
            task.location = ENDING  # settling one may cancel the others
        for task in waiting:
            task.settle(Outcome(error=error))
