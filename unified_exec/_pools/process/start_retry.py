"""Workers that do not come up: how often another is tried, and when the tasks that wait for one fail.

Like all of a crew it runs in the loop's thread, and settling a task may call back into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._tasks.types import Outcome
from ..._wire import protocol
from ...errors import WorkerStartError
from .decode_result import ENDING
from .worker import Worker

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

TRIES = 3
"""Workers that may die before they are up, one after another, before the waiting tasks fail."""
PAUSE = 1.0
"""Seconds until another try when starting fails while other workers are at work; doubled with each."""


class StartFailures:
    """Counts the failed starts of one crew.

    Attributes:
        failures: workers that did not come up since the last one that did.
    """

    __slots__ = ("_crew", "_pause", "failures")

    def __init__(self, crew: Dispatcher) -> None:
        self._crew = crew
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
        """A worker has died before it was up."""
        self.failures += 1
        if self.is_hopeless and not self._wait_for_others():
            self.fail_waiting(WorkerStartError("it died before it was ready", exitcode))

    def refused(self, worker: Worker, error: BaseException) -> None:
        """A worker has said that it cannot start: no other could."""
        worker.culprit = worker.culprit or next(iter(worker.tasks.values()), None)
        self._crew.give_back(worker)
        self.failures = TRIES
        if not self._wait_for_others():
            self.fail_waiting(error)

    def _wait_for_others(self) -> bool:
        """Start no more workers for a while if others are at work: the tasks can wait for those."""
        if not any(worker.end.state == protocol.UP for worker in self._crew.workers):
            return False
        self._crew.port.call_later(self._pause, self._try_again)
        self._pause *= 2
        return True

    def _try_again(self) -> None:
        self.failures = 0
        self._crew.pump()

    def fail_waiting(self, error: BaseException) -> None:
        """Fail every task that waits for a worker."""
        crew = self._crew
        self.failures = 0
        for worker in crew.workers:
            if worker.end.state is protocol.STARTING:  # what waits for that one would have three more tries
                crew.requeue(worker.take_back())
                crew.rest(worker)
        waiting = list(crew.queue.drain())
        for task in waiting:
            task.location = ENDING  # settling one may cancel the others
        for task in waiting:
            task.settle(Outcome(error=error))
