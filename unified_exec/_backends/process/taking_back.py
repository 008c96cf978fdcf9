"""Taking back what waits in a worker behind a task that turns out long, when another worker could run it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..._rules import ahead
from ..ports import Timer

if TYPE_CHECKING:
    from .crew import Crew


class TakingBack:
    """Looks after the workers of one crew as long as tasks wait in one of them."""

    __slots__ = ("_crew", "_timer")

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._timer: Timer | None = None

    def watch(self) -> None:
        """A task was sent ahead: look whether it moves."""
        if self._timer is None:
            self._timer = self._crew.port.call_later(ahead.STUCK, self._look)

    def _look(self) -> None:
        self._timer = None
        crew = self._crew
        if crew.idle or len(crew.workers) < crew.pool.max_workers:
            now = time.monotonic()
            for worker in crew.workers:
                if len(worker.tasks) > 1 and now - worker.heard >= ahead.STUCK:
                    worker.stuck = True  # or they would be sent there again
                    crew.requeue(worker.take_back())
                    crew.rest(worker)  # it had not claimed a single one: no answer will come to free it
            crew.pump()
        if any(len(worker.tasks) > 1 for worker in crew.workers):
            self.watch()
