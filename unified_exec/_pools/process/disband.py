"""Taking the workers of a closed pool away from the event loops that have them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ..._loops.adapter import LoopAdapter
from .worker import Worker
from .worker_group import WorkerGroup

_left: list[tuple[LoopAdapter, tuple[WorkerGroup, ...]]] = []
"""Groups of closed pools, which their event loops have still to disband."""


def disband(adapter: LoopAdapter, groups: tuple[WorkerGroup, ...], grace: float) -> set[Worker]:
    """Dismiss the workers of one event loop's groups; in any thread.

    Returns:
        those that are reaped by the loop, or by `reap_left` if it ends before.
    """
    _left.append((adapter, groups))
    workers = {worker for group in groups for worker in group.workers}
    # Only its own thread may touch that loop's readers.
    if adapter.elsewhere() and adapter.call_threadsafe(_disband, groups, grace):
        return workers
    busy = {worker for worker in workers if worker.tasks}
    _disband(groups, None)
    return busy


def _disband(groups: tuple[WorkerGroup, ...], grace: float | None) -> None:
    """Let go of a loop's workers, in its thread; with a `grace`, reap the idle ones too."""
    for group in groups:
        busy = [worker for worker in group.workers if worker.tasks]
        rest = [worker for worker in group.workers if not worker.tasks]
        for worker in busy:
            worker.detail = "its pool was closed"
            worker.kill()
        for worker in rest:
            group.detach(worker)
            worker.dismiss()
        if grace is not None:
            reap_all(rest, grace)
        group.pump()  # what waits for a worker will get none


def reap_left() -> None:
    """Reap the workers of closed pools whose event loop ended before it could do so."""
    for entry in list(_left):
        adapter, groups = entry
        workers = [worker for group in groups for worker in group.workers]
        if workers and not adapter.ended():
            continue
        try:
            _left.remove(entry)  # ours, if another thread was not faster
        except ValueError:
            continue
        for group in groups:
            for worker in list(group.workers):
                group.detach(worker)
        for worker in workers:
            worker.abandon()
            worker.reap()


def after_fork() -> None:
    """In a forked child: all of them are the parent's."""
    for _, groups in _left:
        for group in groups:
            for worker in group.workers:
                worker.close_after_fork()
    _left.clear()


def reap_all(workers: Iterable[Worker], grace: float) -> None:
    """Reap workers that were dismissed; those that have not exited within `grace` seconds are killed."""
    end = time.monotonic() + grace
    for worker in workers:
        if not worker.reaped:
            worker.child.wait_for_end(end)
        worker.reap()
