"""The end of a pool: it is closed or dropped, or the program exits or forks."""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from ..._loops.adapter import LoopAdapter
from ..._wire.protocol import STARTING
from . import disband, prestart
from .worker import Worker
from .worker_registry import WorkerRegistry

_registries: weakref.WeakSet[WorkerRegistry[Any]] = weakref.WeakSet()


def track(registry: WorkerRegistry[Any]) -> None:
    """Have the workers reaped if the registry is dropped, killed at the end of the program, and left after a fork."""
    _registries.add(registry)
    weakref.finalize(registry, _drop, registry.workers, registry.pool).atexit = False


def dismiss_all(registry: WorkerRegistry[Any]) -> list[Worker]:
    """Let every worker exit; the caller reaps those that are returned, see `reap_all`.

    One that still runs a task is killed and stays with its group, which tells the task.
    """
    disband.reap_left()
    workers, lanes = registry.take_all()
    for adapter, lane in lanes.items():
        workers -= disband.disband(adapter, lane.groups, registry.grace)
    for worker in workers:
        worker.dismiss()
    return list(workers)


def end(registry: WorkerRegistry[Any], adapter: LoopAdapter, tell: Callable[[], object]) -> None:
    """Let every worker exit without blocking, in the thread of the one loop that uses the pool.

    Its tasks must have ended. When the last worker was reaped, `tell()` is called in that thread.
    """
    registry.closing = True
    lane = registry.lanes.get(adapter)
    lent = [worker for group in lane.groups for worker in group.workers] if lane is not None else []
    for worker in registry.take_free():
        worker.reap()
        registry.forget(worker)
    for worker in lent:
        if worker.connection.state == STARTING:
            worker.kill()  # its initializer may take long
        worker.dismiss()

    def kill() -> None:
        for worker in lent:
            worker.kill()

    timer = adapter.call_later(registry.grace, kill)
    registry.on_gone(timer.cancel, lambda: registry.lanes.pop(adapter, None), lambda: adapter.call_soon(tell))


def kill(registry: WorkerRegistry[Any]) -> None:
    """Kill every worker at once."""
    for worker in list(registry.workers):
        worker.kill()


def reap_the_rest() -> None:
    """Reap workers that no pool has: those of closed pools whose loops have ended, and those started ahead."""
    disband.reap_left()
    prestart.discard()


def _drop(workers: set[Worker], pool: str) -> None:
    """Reap the workers of a pool that can no longer be closed.

    Called through a weak reference that holds the workers, not by the registry's own finalizer: in a cycle the
    collector finalizes their sockets and the registry in any order.
    """
    if not workers:
        return
    for worker in workers:
        worker.reap()
    workers.clear()
    warnings.warn(f"unclosed {pool}: use `async with`, `with` or close()", ResourceWarning, stacklevel=2)


@atexit.register
def _kill_all() -> None:
    for registry in list(_registries):
        kill(registry)


def _after_fork() -> None:
    disband.after_fork()
    for registry in list(_registries):
        registry.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
