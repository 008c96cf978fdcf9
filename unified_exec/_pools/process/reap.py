"""The end of a worker: what it finished is kept, what it had not begun moves, what it had begun fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._tasks.task import Task
from ..._tasks.types import Outcome, TaskState
from ..._wire import protocol
from ...errors import WorkerCrashed
from .decode_result import ENDING
from .worker import Worker

if TYPE_CHECKING:
    from .dispatcher import Dispatcher


def reap_worker(crew: Dispatcher, worker: Worker) -> int | None:
    """Bury a worker whose process has ended and settle or move what it owes; returns its exit code."""
    worker.end.state = protocol.OVER
    unclaimed = worker.take_back()
    begun = worker.started()
    crew.detach(worker)
    exitcode = worker.reap_worker()
    crew.pool.forget(worker)
    lost = list(worker.tasks.values())
    worker.tasks.clear()
    if not crew.coroutines:
        # It begins them in order. One before `begun` has run too, if its answer was lost after some nonsense.
        first = next((at for at, task in enumerate(lost, 1) if task.id == begun), 0)
        lost, unclaimed = lost[:first], lost[first:] + unclaimed
    stopped = [task for task in unclaimed if task.state is TaskState.STOPPING or task.expired]
    # Settling one of them may cancel the others; they are in no queue and in no worker.
    for task in (*lost, *stopped):
        task.location = ENDING
    crew.requeue([task for task in unclaimed if task.location is not ENDING])
    for task in stopped:
        task.settle_cancelled()
    for task in lost:
        _lose(worker, task, exitcode)
    return exitcode


def _lose(worker: Worker, task: Task, exitcode: int | None) -> None:
    culprit = worker.culprit
    if culprit is task:
        task.settle_cancelled()
        return
    detail = worker.detail
    if culprit is not None:
        detail = f"it was killed to stop task {culprit.name!r}, which shared it and did not end within its grace"
    task.settle(Outcome(error=WorkerCrashed(task.name, worker.pid, exitcode, detail)))
