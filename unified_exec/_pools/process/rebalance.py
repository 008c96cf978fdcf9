"""Taking back tasks that wait in a worker after a long one, when another worker could run them."""

from __future__ import annotations

import time
from typing import Any

from ..._loops.adapter import Timer, call_later_apart
from ..._rules import prefetch
from .worker_group import WorkerGroup
from .worker_registry import WorkerRegistry


class StuckTaskRecall:
    """Checks the workers of one group while more than one task is in any of them.

    Attributes:
        timer: the next check, ``None`` if none is due.
    """

    __slots__ = ("_group", "_registry", "timer")

    def __init__(self, group: WorkerGroup, registry: WorkerRegistry[Any]) -> None:
        self._group = group
        self._registry = registry
        self.timer: Timer | None = None

    def watch(self) -> None:
        """Check soon: a task was sent to a busy worker."""
        if self.timer is None:
            self.timer = call_later_apart(self._group.adapter, prefetch.STUCK, self._check)

    def _check(self) -> None:
        self.timer = None
        group = self._group
        if group.idle or len(group.workers) < self._registry.spec.max_workers:
            now = time.monotonic()
            for worker in group.workers:
                if len(worker.tasks) > 1 and now - worker.answered_at >= prefetch.STUCK:
                    worker.stuck = True  # or they would be sent there again
                    group.recall(worker)  # if it had not claimed a single one, no answer will come to free it
            group.pump()
        if any(len(worker.tasks) > 1 for worker in group.workers):
            self.watch()
