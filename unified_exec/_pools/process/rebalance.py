"""Taking back what waits in a worker behind a task that turns out long, when another worker could run it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..._loops.adapter import Timer
from ..._rules import prefetch

if TYPE_CHECKING:
    from .dispatcher import Dispatcher


class StuckTaskRecall:
    """Looks after the workers of one crew as long as tasks wait in one of them."""

    __slots__ = ("_crew", "_timer")

    def __init__(self, crew: Dispatcher) -> None:
        self._crew = crew
        self._timer: Timer | None = None

    def watch(self) -> None:
        """A task was sent ahead: look whether it moves."""
        if self._timer is None:
            self._timer = self._crew.port.call_later(prefetch.STUCK, self._look)

    def _look(self) -> None:
        self._timer = None
        crew = self._crew
        if crew.idle or len(crew.workers) < crew.pool.max_workers:
            now = time.monotonic()
            for worker in crew.workers:
                if len(worker.tasks) > 1 and now - worker.heard >= prefetch.STUCK:
                    worker.stuck = True  # or they would be sent there again
                    crew.requeue(worker.take_back())
                    crew.rest(worker)  # it had not claimed a single one: no answer will come to free it
            crew.pump()
        if any(len(worker.tasks) > 1 for worker in crew.workers):
            self.watch()
