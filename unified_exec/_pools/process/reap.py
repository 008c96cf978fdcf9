"""A worker has exited: what it finished is kept, what it had not started is requeued, what it had started fails."""

from __future__ import annotations

from typing import Any

from ..._tasks.task import Task
from ..._tasks.types import Outcome, TaskState
from ..._wire import protocol
from ..._worker import passing
from ...errors import WorkerCrashed
from .decode_result import ENDING
from .worker import Worker
from .worker_group import WorkerGroup
from .worker_registry import WorkerRegistry

FATAL_CLAIMS = 3
"""Workers that may die as soon as they have received a task; then it fails, for the next ones would die, too."""


def reap_worker(group: WorkerGroup, registry: WorkerRegistry[Any], worker: Worker) -> int | None:
    """Reap a worker whose process has ended and settle or requeue its tasks; returns its exit code."""
    worker.connection.state = protocol.OVER
    unclaimed = worker.take_back()
    started = worker.started()
    group.detach(worker)
    exitcode = worker.reap()
    registry.forget(worker)
    for ref in worker.shares.values():
        shared = ref()
        if shared is not None:
            shared.holder_died()
    passing.sweep()
    lost = list(worker.tasks.values())
    worker.tasks.clear()
    if not group.kind.concurrent:
        # It starts them in order. One before `started` has run too, if its answer was lost after an invalid message.
        first = next((at for at, task in enumerate(lost, 1) if task.id == started), 0)
        lost, claimed = lost[:first], lost[first:]
        if lost:
            lost[-1].started_at = worker.answered_at  # about; the worker tells the instant with its answer
        if claimed and worker.killed_for is None and worker.detail is None:
            claimed[0].fatal_claims += 1
            if claimed[0].fatal_claims >= FATAL_CLAIMS:
                lost.append(claimed.pop(0))
        unclaimed = claimed + unclaimed
    stopped = [task for task in unclaimed if task.state is TaskState.STOPPING or task.expired]
    # Settling one of them may cancel the others; they are in no queue and in no worker.
    for task in (*lost, *stopped):
        task.location = ENDING
    group.requeue([task for task in unclaimed if task.location is not ENDING])
    for task in stopped:
        task.settle_cancelled()
    for task in lost:
        _fail(worker, task, exitcode)
    return exitcode


def _fail(worker: Worker, task: Task, exitcode: int | None) -> None:
    if worker.killed_for is task:
        task.settle_cancelled()
        return
    detail = worker.detail
    if worker.killed_for is not None:
        detail = (
            f"it was killed to stop task {worker.killed_for.name!r}, which shared it and did not end within its grace"
        )
    task.settle(Outcome(error=WorkerCrashed(task.name, worker.pid, exitcode, detail)))
