"""Asking workers what they are doing; the answers come through the event loop that has them."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..._loops.adapter import LoopAdapter
from ..._platform.posix import bytes_unread
from ..._tasks.task import Task
from ..._tasks.weak_sets import members
from ..._wire import frames
from ..._wire.protocol import UP
from .mailbox_signal import signal_until_read
from .shutdown import registries
from .worker import Worker
from .worker_registry import WorkerRegistry

LOOK_EVERY = 0.002


class Elsewhere(NamedTuple):
    """Where a task is that runs on another machine.

    Attributes:
        begun: it runs, as far as is known.
        text: the worker, or what it waits for.
        answer: what its worker has told; ``None`` if nothing. Only ``state`` if the worker did not answer there.
        silent: "", or that the machine has not answered.
    """

    begun: bool
    text: str
    answer: dict[str, Any] | None = None
    silent: str = ""


class Machine(Protocol):
    """Something else that has workers which can be asked: a node of a cluster. It is used in any thread."""

    def ask(self) -> bool:
        """Ask all its busy workers; ``False`` if there is none."""

    def has_answered(self, since: float) -> bool:
        """Tell whether an answer came since that instant."""

    def whereabouts(self, task: Task, since: float | None) -> Elsewhere:
        """Tell where a task is; `since` is when the machine was asked, ``None`` if it was not."""

    def summary(self) -> dict[str, Any] | None:
        """Describe it in plain data; ``None`` if it is gone."""


_machines: weakref.WeakSet[Any] = weakref.WeakSet()


def track_machine(machine: Machine) -> None:
    """Have a machine asked with the workers here, while it exists."""
    _machines.add(machine)


def forget_machine(machine: Machine) -> None:
    """Ask a machine no more: it was lost or let go."""
    _machines.discard(machine)


def machines() -> list[Machine]:
    """The other machines that have workers of this program."""
    return members(_machines)


def ask_workers(seconds: float) -> dict[int, dict[str, Any]]:
    """Ask every busy worker what it is doing, and wait for the answers; not in the thread of an event loop.

    Other machines are asked in the same time, and keep what they are told.

    Args:
        seconds: how long to wait at most. A worker that is in C code, or whose event loop is busy, does not answer.

    Returns:
        the answers by process id; see `_worker.where`.
    """
    began = time.monotonic()
    remote = [machine for machine in machines() if machine.ask()]
    asked: list[Worker] = []
    for registry in registries():
        for adapter, _ in list(registry.lanes.items()):
            asked += [each for each in _busy(registry, adapter) if adapter.call_threadsafe(_ask, adapter, each)]
    while time.monotonic() - began < seconds:
        if all(_has_answered(each, began) for each in asked) and all(each.has_answered(began) for each in remote):
            break
        time.sleep(LOOK_EVERY)
    return _answers(asked, began)


def ask_in_loop(
    registry: WorkerRegistry[Any],
    adapter: LoopAdapter,
    seconds: float,
    tell: Callable[[list[int], dict[int, dict[str, Any]]], object],
) -> None:
    """Ask the busy workers of one event loop, in its thread; then call ``tell(in_c, answers)`` with process ids."""
    began = time.monotonic()
    asked = _busy(registry, adapter)
    for worker in asked:
        _ask(adapter, worker)

    def look() -> None:
        if time.monotonic() - began < seconds and not all(_has_answered(worker, began) for worker in asked):
            adapter.call_later(LOOK_EVERY, look)
        else:
            tell([worker.pid for worker in asked if not has_read(worker)], _answers(asked, began))

    look()


def has_read(worker: Worker) -> bool:
    """Tell whether a worker has read its mailbox: then it is not in C code, and will answer."""
    try:
        return bytes_unread(worker.child.control.fileno()) == 0
    except (OSError, ValueError):  # it has exited
        return False


def _busy(registry: WorkerRegistry[Any], adapter: LoopAdapter) -> list[Worker]:
    lane = registry.lanes.get(adapter)
    workers = [worker for group in (lane.groups if lane is not None else ()) for worker in list(group.workers)]
    return [worker for worker in workers if worker.tasks and worker.connection.state is UP]


def _answers(asked: list[Worker], since: float) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for worker in asked:
        if _has_answered(worker, since) and worker.found is not None:
            try:
                found[worker.pid] = json.loads(worker.found[1])
            except ValueError:
                continue  # a worker that is broken
    return found


def _has_answered(worker: Worker, since: float) -> bool:
    return worker.found is not None and worker.found[0] >= since


def _ask(adapter: LoopAdapter, worker: Worker) -> None:
    try:
        worker.child.control.send(frames.pack_payload(frames.WHERE))
    except OSError:
        return  # its mailbox is full, or it has exited
    signal_until_read(adapter, worker)
