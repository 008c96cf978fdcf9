"""What must happen before the program ends or forks: CPython crashes if an interpreter is there, or runs code, then."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import time
import weakref
from typing import Any

from ..._tasks.weak_sets import members
from ..process.disband import reap_all
from ..process.shutdown import end_workers
from ..process.worker import Worker
from ..process.worker_registry import WorkerRegistry
from . import carrier

IDLE_SECONDS = 5.0
"""What closing idle interpreters may take at the end of the program."""
FORK_SECONDS = 10.0
"""What closing idle interpreters may take before a fork: milliseconds, and seconds on a very busy machine."""
EXIT_CODE = 70
"""The exit code of a program that ends while a call into C keeps an interpreter from being stopped."""

_registries: weakref.WeakSet[WorkerRegistry[Any]] = weakref.WeakSet()
_warned = False


def track(registry: WorkerRegistry[Any]) -> None:
    """Have the idle workers of a pool end before a fork."""
    _registries.add(registry)


def _end_with_program() -> None:
    """End the workers, and stop those that run a task for good."""
    carrier.refuse()
    busy = {worker.child for registry in members(_registries) for worker in list(registry.workers) if worker.tasks}
    idle = [child for child in list(carrier.alive) if child not in busy and not child.is_let_go]
    end_workers()
    until = time.monotonic() + IDLE_SECONDS
    for child in idle:
        child.wait_for_end(until)
    left = [child for child in list(carrier.alive) if not child.has_ended()]
    if left:
        import warnings

        warnings.filterwarnings("ignore", "remaining subinterpreters", RuntimeWarning)  # they cannot be closed
    parked = [child.park() for child in left]
    if not all(parked):
        why = "a call into C keeps an interpreter busy (on 3.15 also: a task has left a thread in it)"
        print(f"unified_exec: the program ends while {why}", file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(EXIT_CODE)


def _before_fork() -> None:
    """Close the idle interpreters whose event loop is in this thread: with one of them the child would crash."""
    global _warned
    for registry in members(_registries):
        idle: list[Worker] = []
        for adapter, lane in list(registry.lanes.items()):
            if adapter.elsewhere() and not adapter.ended():
                continue
            for group in lane.groups:
                for worker in [worker for worker in group.workers if not worker.tasks]:
                    group.detach(worker)
                    idle.append(worker)
        idle += registry.take_free()
        for worker in idle:
            worker.dismiss()
        reap_all(idle, FORK_SECONDS)
        for worker in idle:
            registry.forget(worker)
    carrier.sweep()
    left = sum(not child.has_ended() for child in list(carrier.alive))
    if left and not _warned:
        _warned = True
        logging.getLogger("unified_exec").warning(
            "os.fork() while %d workers of an InterpreterPool run: CPython crashes in the child. Start processes with "
            "subprocess, or multiprocessing's 'spawn'",
            left,
        )


atexit.unregister(end_workers)
atexit.register(_end_with_program)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=carrier.after_fork)
