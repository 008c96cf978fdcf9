"""Workers that fail to start: how often another one is tried, and when the tasks that wait for one fail."""

from __future__ import annotations

import time

from ..._tasks.types import Outcome
from ..._wire import protocol
from ...errors import WorkerStartError
from .decode_result import ENDING
from .worker import Worker
from .worker_group import WorkerGroup

TRIES = 3
"""Workers that may end by themselves while they start, one after another, before the waiting tasks fail."""
PAUSE = 1.0
"""Seconds until another try when starting fails while other workers are at work; doubled each time."""
_SIGKILLED = -9
KILLED_TRIES = 5
KILLED_SECONDS = 10.0
"""Failed starts and seconds, both, before the waiting tasks fail if something else kills the workers that start."""
KILLED_PAUSE, KILLED_PAUSE_MAX = 0.05, 2.0
"""Seconds until another try after a starting worker was killed; doubled each time, up to a limit."""


class StartFailures:
    """Counts the failed starts of one group.

    Attributes:
        failures: workers that failed to start by themselves since the last one that did start.
    """

    __slots__ = ("_group", "_in_a_row", "_kill_pause", "_pause", "_pausing", "_since", "failures")

    def __init__(self, group: WorkerGroup) -> None:
        self._group = group
        self._pausing = False
        self.succeeded()

    @property
    def is_hopeless(self) -> bool:
        """No further worker is to be started for now."""
        return self._pausing or self.failures >= TRIES

    def succeeded(self) -> None:
        self.failures = self._in_a_row = 0
        self._since: float | None = None
        self._pause = PAUSE
        self._kill_pause = KILLED_PAUSE

    def died(self, exitcode: int | None) -> None:
        """Note that a worker has died before it was up."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        self._in_a_row += 1
        if exitcode == _SIGKILLED:
            # Killed from outside, by the out-of-memory killer or a person: the next one may well start.
            if self._in_a_row < KILLED_TRIES or now - self._since < KILLED_SECONDS:
                self._try_again_in(self._kill_pause)
                self._kill_pause = min(2 * self._kill_pause, KILLED_PAUSE_MAX)
                return
        else:
            self.failures += 1
            if self.failures < TRIES:
                return
        if not self._wait_for_others():
            self.fail_waiting(self._error(now - self._since, exitcode))

    def _error(self, seconds: float, exitcode: int | None) -> WorkerStartError:
        tries = f"; {self._in_a_row} starts in a row have failed, in {seconds:.1f} s" if self._in_a_row > 1 else ""
        return WorkerStartError(f"it died before it was ready{tries}", exitcode)

    def refused(self, worker: Worker, error: BaseException) -> None:
        """Note that a worker has reported that it cannot start: no other could."""
        worker.killed_for = worker.killed_for or next(iter(worker.tasks.values()), None)
        self._group.give_back(worker)
        if not self._wait_for_others():
            self.fail_waiting(error)

    def _wait_for_others(self) -> bool:
        """Start no more workers for a while if others are at work: the tasks can wait for those."""
        if not self._group.has_worker_up():
            return False
        self._try_again_in(self._pause)
        self._pause *= 2
        return True

    def _try_again_in(self, seconds: float) -> None:
        if not self._pausing:
            self._pausing = True
            self._group.adapter.call_later(seconds, self._try_again)

    def _try_again(self) -> None:
        self._pausing = False
        self.failures = 0
        self._group.pump()

    def fail_waiting(self, error: BaseException) -> None:
        """Fail every task that waits for a worker."""
        group = self._group
        self.failures = self._in_a_row = 0
        self._since = None
        for worker in group.workers:
            if worker.connection.state is protocol.STARTING:  # its tasks would otherwise have three more tries
                group.recall(worker)
        waiting = list(group.queue.drain())
        for task in waiting:
            task.location = ENDING  # settling one may cancel the others
        for task in waiting:
            task.settle(Outcome(error=error))
