"""All scopes and tasks of this program in short, for a viewer that keeps the rest by itself from the events."""

from __future__ import annotations

import os
import time
from typing import Any

from ..._handles.open_scopes import open_scopes
from ..._tasks import events
from .look import Look
from .pools import describe_pools
from .samples import usage

TASKS_MAX = 50_000
NAME_MAX = 200
IDS_MAX = 200


def roster() -> dict[str, Any]:
    """List what is open: tasks with the fields of ``task.spawned``, scopes with those of ``scope.opened``, and more."""
    now = time.monotonic()
    scopes: list[tuple[Any, ...]] = []
    tasks: list[tuple[Any, ...]] = []
    more = 0
    for scope in open_scopes():
        place = scope.number, (scope.name or "")[:NAME_MAX], scope.policy, scope.opener, scope.thread
        scopes.append((*place, scope.adapter.kind, scope.timeout, scope.opened_at))
        for handle, _ in scope.lanes():
            if handle.outcome is not None:
                continue
            if len(tasks) >= TASKS_MAX:
                more += 1
                continue
            fn = events.function_name(handle.fn) if handle.fn is not None else ""
            life = handle.items, handle.queued_at, handle.started_at, handle.worker or 0, handle.cancel_requested
            tasks.append((handle.id, handle.name[:NAME_MAX], fn, handle.backend, scope.number, handle.parent, *life))
    return {"type": "roster", "at": now, "scopes": scopes, "tasks": tasks, "more": more}


def gauges() -> dict[str, Any]:
    """What changes all the time: the queues, the workers and what they use."""
    used = usage(os.getpid())
    return {
        "type": "gauges",
        "at": time.monotonic(),
        "pools": describe_pools({}),
        "memory": used.memory,
        "cpu_seconds": used.seconds,
    }


def tasks(ids: object) -> dict[str, Any]:
    """Where some tasks are and why they wait: those that a viewer shows just now."""
    known = ids[:IDS_MAX] if isinstance(ids, list) else []
    wanted = frozenset(each for each in known if isinstance(each, int))
    return {"type": "tasks", "tasks": Look(workers=0.0).of(wanted)}
