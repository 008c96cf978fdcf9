"""The workers of one kind that one event loop has, and the tasks that wait for them. No policy: see `dispatcher`.

Everything here runs in the loop's thread. Settling a task runs the code of its scope, which may submit and cancel
other tasks: no code relies on state that it read before a settle.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from mmap import mmap

from ..._loops.adapter import LoopAdapter, Timer, call_later_apart
from ..._platform.shm_cache import KEEP, Block, BlockCache
from ..._rules.fair_queue import FairQueue
from ..._tasks.task import Task
from ..._wire import protocol
from ..._worker.settings import WorkerKind
from .worker import Worker
from .worker_logs import LogReader

BLOCKED = 0.01
"""Seconds for which all workers must have waited for replies until one more is started, which takes longer."""


class WorkerGroup:
    """Workers, and a queue of tasks for them.

    Attributes:
        adapter: the event loop.
        kind: what the workers run.
        pump: sends tasks of the queue to the workers, and gets another worker for the rest.
        queue: the tasks that wait for a worker.
        workers: all workers of the group.
        starting: those that are not up yet.
        early: those of `starting` that were sent a task all the same.
        idle: those without a task; the newest last, so that the oldest may reach their idle timeout.
        blocks: shared memory for large arguments.
        logs: handles the log records of the workers.
        unblocked: workers that all waited for replies may have had help from one more, which is too many now.
    """

    def __init__(
        self, adapter: LoopAdapter, kind: WorkerKind, pump: Callable[..., object], logs: LogReader | None = None
    ) -> None:
        self.adapter = adapter
        self.kind = kind
        self.pump = pump
        self.queue: FairQueue[Task] = FairQueue(time.monotonic)
        self.workers: list[Worker] = []
        self.starting: set[Worker] = set()
        self.early: set[Worker] = set()
        self.idle: list[Worker] = []
        self.blocks = LoopBlockCache(adapter)
        self.logs = logs or LogReader(adapter)
        self.unblocked = False

    def attach(self, worker: Worker) -> None:
        """Add a worker. The caller watches its descriptors."""
        if worker.connection.state is protocol.UP or not self.has_worker_up():
            self.idle.insert(0, worker)  # otherwise it gets work when it is up: the others are faster
        self.workers.append(worker)
        if worker.connection.state is protocol.STARTING:
            self.starting.add(worker)
        worker.answered_at = time.monotonic()
        worker.blocks = self.blocks

    def detach(self, worker: Worker) -> None:
        """Remove a worker and stop watching its descriptors: another loop may have it."""
        worker.blocks = None
        if self.adapter.ended():
            worker.start_timer = None  # it went with the loop
        else:
            worker.stop_start_timer()
        self.unwatch(worker)
        self.logs.say_cut()
        self.workers.remove(worker)
        self.not_starting(worker)
        self.not_idle(worker)
        if not self.workers:
            self.blocks.forget()

    def unwatch(self, worker: Worker) -> None:
        """Stop watching a worker's descriptors."""
        child = worker.child
        if worker.inbox.logs is not None:
            self.adapter.remove_reader(worker.inbox.logs.fd)
        self.adapter.remove_reader(child.tasks.fileno())
        self.adapter.remove_reader(child.control.fileno())
        self.adapter.remove_reader(child.lifeline.fileno() if child.pidfd is None else child.pidfd)

    def has_tasks(self) -> bool:
        """Tell whether tasks wait or run here. Certain in the loop's own thread only."""
        return bool(self.queue.length) or any(worker.tasks for worker in self.workers)

    def is_blocked(self) -> bool:
        """Tell whether every worker has waited for the answer to a request for a while, and runs nothing else."""
        latest = time.monotonic() - BLOCKED / 2
        return all(worker.blocked_at is not None and worker.blocked_at <= latest for worker in self.workers)

    def has(self, worker: Worker) -> bool:
        return worker.blocks is self.blocks

    def not_starting(self, worker: Worker) -> None:
        """Note that the worker has come up, or will not."""
        self.starting.discard(worker)
        self.early.discard(worker)

    def has_worker_up(self) -> bool:
        return len(self.starting) < len(self.workers) and any(
            worker.connection.state is protocol.UP for worker in self.workers
        )

    def requeue(self, tasks: Iterable[Task]) -> None:
        """Put tasks that were taken back from a worker at the front of the queue."""
        self.queue.push_front(task for task in tasks if task.outcome is None)

    def rest(self, worker: Worker) -> None:
        """Note that the worker may have become idle because its tasks were taken back."""
        if not worker.tasks:
            self.early.discard(worker)
            if worker.connection.open and self.has(worker) and worker not in self.idle:
                self.idle.append(worker)

    def recall(self, worker: Worker) -> None:
        """Put what the worker has not claimed back into the queue; it may be idle then."""
        self.requeue(worker.take_back())
        self.rest(worker)

    def not_idle(self, worker: Worker) -> None:
        if worker in self.idle:
            self.idle.remove(worker)

    def give_back(self, worker: Worker) -> None:
        """Requeue what the worker has not claimed: it takes no more tasks."""
        self.not_idle(worker)
        self.not_starting(worker)
        self.requeue(worker.take_back())


class LoopBlockCache(BlockCache):
    """Keeps the blocks in which answers arrived for the arguments that are sent next; freed a moment after the last."""

    __slots__ = ("_adapter", "_timer")

    def __init__(self, adapter: LoopAdapter) -> None:
        super().__init__()
        self._adapter = adapter
        self._timer: Timer | None = None

    def map(self, fd: int, found: os.stat_result) -> mmap | None:
        block = super().map(fd, found)
        if block is not None and self._timer is None:
            self._timer = call_later_apart(self._adapter, KEEP, self._check)
        return block

    def dropped(self, block: Block) -> None:
        super().dropped(block)
        if self._adapter.ended():
            self.forget()

    def _check(self) -> None:
        seconds = self.keeps_for()
        if seconds > 0:
            self._timer = call_later_apart(self._adapter, seconds, self._check)
        else:
            self._timer = None
            self.forget()
