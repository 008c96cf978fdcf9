"""Asking workers what they are doing; the answers come through the event loop that has them."""

from __future__ import annotations

import json
import time
from typing import Any

from ..._loops.adapter import LoopAdapter
from ..._wire import frames
from ..._wire.protocol import UP
from .mailbox_signal import signal_until_read
from .shutdown import registries
from .worker import Worker

LOOK_EVERY = 0.002


def ask_workers(seconds: float) -> dict[int, dict[str, Any]]:
    """Ask every busy worker what it is doing, and wait for the answers; not in the thread of an event loop.

    Args:
        seconds: how long to wait at most. A worker that is in C code, or whose event loop is busy, does not answer.

    Returns:
        the answers by process id; see `_worker.where`.
    """
    began = time.monotonic()
    asked: list[Worker] = []
    for registry in registries():
        for adapter, lane in list(registry.lanes.items()):
            for group in lane.groups:
                busy = [each for each in list(group.workers) if each.tasks and each.connection.state is UP]
                asked += [worker for worker in busy if adapter.call_threadsafe(_ask, adapter, worker)]
    while time.monotonic() - began < seconds and not all(_has_answered(worker, began) for worker in asked):
        time.sleep(LOOK_EVERY)
    found: dict[int, dict[str, Any]] = {}
    for worker in asked:
        if _has_answered(worker, began) and worker.found is not None:
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
