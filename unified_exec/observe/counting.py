"""What the metrics of this process count, for Prometheus and OpenTelemetry alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from .._handles.open_scopes import open_scopes
from .live.pools import describe_pools

BOUNDS = [10.0**power * step for power in range(-4, 2) for step in (1.0, 2.5, 5.0)] + [100.0]
"""Upper bounds of the histograms in seconds: three a decade, from 0.1 ms to 100 s."""
FUNCTIONS_MAX = 200
"""Functions that have a label of their own; the tasks of all later ones are counted as ``other``."""


class FunctionLabels:
    """The functions that have a label of their own."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label_of(self, function: str) -> str:
        """Return the function, or ``other`` if it came too late."""
        if function not in self._known:
            if len(self._known) >= FUNCTIONS_MAX:
                return "other"
            self._known.add(function)
        return function


def end_reason(exitcode: int | None) -> str:
    """Say in a word how a worker ended."""
    return "exited" if exitcode in (0, None) else "killed" if exitcode < 0 else "failed"


def count_active_tasks() -> Counter[str]:
    """Count the tasks that have not ended, by backend."""
    return Counter(handle.backend for scope in open_scopes() for handle, _ in scope.lanes())


class PoolCounts(NamedTuple):
    """The pools of this process, by name.

    Attributes:
        queued: tasks that wait for a worker.
        workers: by name and state, which is ``starting``, ``busy`` or ``idle``.
        memory: of the workers, in bytes.
    """

    queued: Counter[str]
    workers: Counter[tuple[str, str]]
    memory: Counter[str]


def count_pools(label_of: Callable[[Any], str] = str) -> PoolCounts:
    """Look at all pools; `label_of` makes a label of a name."""
    found = PoolCounts(Counter(), Counter(), Counter())
    for pool in describe_pools({}):
        name = label_of(pool["name"])
        found.queued[name] += pool["queued"]
        if pool["kind"] == "thread":
            found.workers[name, "busy"] += pool["busy"]
            found.workers[name, "idle"] += max(0, pool["threads"] - pool["busy"])
        for worker in pool.get("workers", ()):
            starting = worker["state"] == "starting"
            found.workers[name, "starting" if starting else "busy" if worker["tasks"] else "idle"] += 1
            found.memory[name] += worker["memory"]
    return found
