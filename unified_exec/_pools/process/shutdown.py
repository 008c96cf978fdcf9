"""The end of a pool: it is closed or dropped, or the program exits or forks."""

from __future__ import annotations

import atexit
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from ..._loops.adapter import LoopAdapter
from ..._tasks.fork_lock import in_forked_child
from ..._tasks.loaded import loaded
from ..._tasks.weak_sets import members
from ..._wire.protocol import STARTING
from ..._worker import context
from . import disband
from .templates import Templates
from .worker import Worker
from .worker_registry import WorkerRegistry

EXIT_SECONDS = 1.0
"""What the `atexit` functions of idle workers may take at the end of the program, all together."""
NESTED_EXIT_SECONDS = 0.5
"""The same in a worker, which has pools of its own: its own end must be over within `EXIT_SECONDS`."""
SIGNAL_AGAIN = 0.05

_registries: weakref.WeakSet[WorkerRegistry[Any]] = weakref.WeakSet()
_leaving: list[tuple[float, Worker]] = []
"""Workers that were dismissed at the end of the program, each with the instant at which it is killed."""


def registries() -> list[WorkerRegistry[Any]]:
    """The workers of each pool that is in use. From any thread."""
    return members(_registries)


def track(registry: WorkerRegistry[Any]) -> None:
    """Have the workers reaped if the registry is dropped, ended with the program, and left after a fork."""
    _registries.add(registry)
    weakref.finalize(registry, _drop, registry.workers, registry.templates, registry.pool).atexit = False


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
    registry.on_gone(
        timer.cancel,
        registry.templates.discard,
        lambda: registry.lanes.pop(adapter, None),
        lambda: adapter.call_soon(tell),
    )


def kill(registry: WorkerRegistry[Any]) -> None:
    """Kill every worker at once."""
    for worker in list(registry.workers):
        worker.kill()


def _drop(workers: set[Worker], templates: Templates, pool: str) -> None:
    """Reap the workers of a pool that can no longer be closed.

    Called through a weak reference that holds the workers, not by the registry's own finalizer: in a cycle the
    collector finalizes their sockets and the registry in any order.
    """
    templates.discard()
    if not workers:
        return
    for worker in workers:
        worker.reap()
    workers.clear()
    warnings.warn(f"unclosed {pool}: use `async with`, `with` or close()", ResourceWarning, stacklevel=2)


def _dismiss_free() -> None:
    """Let the workers exit that no event loop has: the end of the program has begun.

    They run their `atexit` functions while the program waits for its threads and runs its own.
    """
    until = time.monotonic() + (EXIT_SECONDS if context.worker is None else NESTED_EXIT_SECONDS)
    for registry in registries():
        registry.all_lanes()  # frees the workers of loops that have ended
        for worker in registry.take_free():
            registry.forget(worker)
            _leaving.append((until, worker))
            _dismiss(registry, worker)


def _dismiss(registry: WorkerRegistry[Any], worker: Worker) -> None:
    if worker.connection.state == STARTING and registry.spec.initializer is None:
        worker.kill()  # it has run nothing yet
    worker.dismiss()


@atexit.register
def end_workers() -> None:
    """End all workers: idle ones run their `atexit` functions, busy ones are requested to stop; then kill."""
    _dismiss_free()
    until = time.monotonic() + (EXIT_SECONDS if context.worker is None else NESTED_EXIT_SECONDS)
    lent: list[tuple[float, Worker]] = []
    for registry in registries():
        for worker in list(registry.workers):  # an event loop that has not ended has them, maybe in another thread
            worker.ends_with_program = True
            tasks = list(worker.tasks)
            for id in tasks:
                worker.request_cancel(id, "the program ends")
            _dismiss(registry, worker)
            lent.append((until - EXIT_SECONDS + registry.grace if tasks else until, worker))
    for instant, worker in sorted([*_leaving, *lent], key=lambda entry: entry[0]):
        while not (worker.reaped or worker.child.has_ended()) and (now := time.monotonic()) < instant:
            worker.child.wait_for_end(min(instant, now + SIGNAL_AGAIN))
            for _, other in lent:
                other.signal()
        worker.kill()
    for _, worker in _leaving:
        worker.reap()
    _leaving.clear()
    template = loaded("unified_exec._pools.process.template")
    if template is not None:
        template.end_all()


@in_forked_child
def _after_fork() -> None:
    disband.after_fork()
    for _, worker in _leaving:
        worker.close_after_fork()
    _leaving.clear()
    for registry in list(_registries):
        registry.after_fork()


try:
    # Before the end of the program waits for its threads, as concurrent.futures does; `atexit` runs after that.
    getattr(threading, "_register_atexit", atexit.register)(_dismiss_free)
except RuntimeError:
    pass  # the end of the program has begun
