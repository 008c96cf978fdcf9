"""The end of a pool: every worker is dismissed or killed, and buried."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

from ..._loops.adapter import LoopAdapter
from .worker import Worker

if TYPE_CHECKING:
    from .lane import ProcessLane
    from .pool import ProcessPool


_left_to_loops: list[tuple[LoopAdapter, ProcessLane]] = []


def after_fork() -> None:
    """In a forked child: all of them are the parent's."""
    for _, lane in _left_to_loops:
        for crew in lane.crews:
            for worker in crew.workers:
                worker.asked.clear()
                worker.close()
    _left_to_loops.clear()


def sweep() -> None:
    """Bury the workers that were left to a loop which ended before it came to it."""
    for entry in list(_left_to_loops):
        port, lane = entry
        workers = [worker for crew in lane.crews for worker in crew.workers]
        if workers and not port.ended():
            continue
        try:
            _left_to_loops.remove(entry)  # ours, if another thread was not faster
        except ValueError:
            continue
        for crew in lane.crews:
            for worker in list(crew.workers):
                crew.detach(worker)
        for worker in workers:
            worker.abandon()
            worker.reap_worker()


def has_tasks(lane: ProcessLane) -> bool:
    """Tell whether tasks wait or run there. Certain in the loop's own thread only: see `IdleCheck`."""
    return any(len(crew.queue) or any(worker.tasks for worker in crew.workers) for crew in lane.crews)


class IdleCheck:
    """Asks the loops of other threads, each in its own thread, whether they have tasks in a pool that looks idle: from
    here a task on its way from the queue to a worker is seen in neither. The pool is guarded, or closed, meanwhile.

    Attributes:
        refused: work was let in since.
    """

    def __init__(self, pool: ProcessPool) -> None:
        self._pool = pool
        self._until = time.monotonic() + pool.grace
        self._asked: list[tuple[LoopAdapter, list[bool]]] = []
        self.refused = False

    def ask(self) -> None:
        with self._pool._lock:
            lanes = list(self._pool._lanes.items())
        for port, lane in lanes:
            if port.elsewhere():
                answer: list[bool] = []
                if port.call_threadsafe(_confirm, lane, answer):
                    self._asked.append((port, answer))

    def is_due(self) -> bool:
        """Tell whether an answer is still to come. A loop that is blocked for long moves no task: none is awaited."""
        over = self.refused or time.monotonic() >= self._until
        return not over and any(not answer and not port.ended() for port, answer in self._asked)

    def is_idle(self) -> bool:
        return not self.refused and not any(answer == [True] for _, answer in self._asked)


def _confirm(lane: ProcessLane, answer: list[bool]) -> None:
    answer.append(has_tasks(lane))


def dismiss_all(pool: ProcessPool) -> list[Worker]:
    """Tell every worker of a closed pool to end; the caller buries those that are returned.

    One that still runs a task is killed and stays with its crew, which tells the task.
    """
    sweep()
    pool.over = True
    with pool._lock:
        workers = set(pool._workers)
        pool._workers.clear()
        lanes, pool._lanes = pool._lanes, {}
        pool._free = []
    _left_to_loops.extend(lanes.items())
    for port, lane in lanes.items():
        mine = {worker for crew in lane.crews for worker in crew.workers}
        # Only its own thread may touch that loop's readers.
        if port.elsewhere() and port.call_threadsafe(_disband, lane, pool.grace):
            workers -= mine
            continue
        workers -= {worker for worker in mine if worker.tasks}
        _disband(lane, None)
    for worker in workers:
        worker.dismiss()
    return list(workers)


def _disband(lane: ProcessLane, grace: float | None) -> None:
    """Let go of a loop's workers, in its thread; with a `grace`, bury the idle ones too."""
    for crew in lane.crews:
        busy = [worker for worker in crew.workers if worker.tasks]
        rest = [worker for worker in crew.workers if not worker.tasks]
        for worker in busy:
            worker.detail = "its pool was closed"
            worker.kill()
        for worker in rest:
            crew.detach(worker)
            worker.dismiss()
        if grace is not None:
            wait_for(rest, grace)
        crew.pump()  # what waits for a worker will get none


def wait_for(workers: list[Worker], grace: float) -> None:
    """Bury workers that were told to end; those that have not within `grace` seconds are killed."""
    end = time.monotonic() + grace
    for worker in workers:
        if not worker.buried:
            worker.child.wait_for_end(end)
        worker.reap_worker()


def drop(workers: set[Worker], pool: str) -> None:
    """Bury the workers of a pool that nobody can close any more.

    Called through a weak reference that holds the workers, not by the pool's own finalizer: in a cycle the collector
    finalizes their sockets and the pool in any order.
    """
    if not workers:
        return
    for worker in workers:
        worker.reap_worker()
    workers.clear()
    warnings.warn(f"unclosed {pool}: use `async with`, `with` or close()", ResourceWarning, stacklevel=2)
