"""The process that a model runs in: it opens the workers, does the turns it is ordered to, and reports what they took.

Each model has a process of its own, so that none pays for another's threads, memory or imports. `model_process` starts
it; each line of its stdin is an order in JSON, each line of its stdout the answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..measuring.clocks import Stopwatch, frozen_garbage
from .model_costs import model_costs, quantiles, stamped
from .models import by_key as model_by_key
from .models.model import Kind, Opened, opened
from .workloads import Group, Setting
from .workloads import by_key as workload_by_key

_UNSTAMPED = (Group.TINY, Group.ARRAYS, Group.SHARED)


class ModelHost:
    """One model; its workers stay open from one order to the next."""

    def __init__(self, key: str) -> None:
        self.model = model_by_key(key)
        self._stack = contextlib.ExitStack()
        self._workers = 0
        self._warm: set[str] = set()
        self._opened: Opened | None = None

    def close(self) -> None:
        self._stack.close()
        self._opened, self._workers = None, 0
        self._warm.clear()

    def open(self, workers: int) -> Opened:
        """Open `workers` workers, unless that many are open already."""
        if self._opened is None or workers != self._workers:
            self.close()
            self._opened = self._stack.enter_context(opened(self.model, workers))
            self._workers = workers
        return self._opened

    def turn(self, workload: str, workers: int, setting: dict[str, Any]) -> dict[str, Any]:
        """Do a workload once."""
        work, size = workload_by_key(workload), Setting(**setting)
        ready = self.open(workers or work.workers(self.model, size))
        function: Any = work.function(self.model)
        if work.key not in self._warm:
            # Imports, caches and functions sent to workers for the first time are not part of the model's own time.
            ready.perform(function, work.share(self.model, size, work.items(size))[: 2 * min(self._workers, 8)])
            self._warm.add(work.key)
        items = work.items(size)
        share = work.share(self.model, size, items)
        # The hybrid's function is a triple; and on cheap tasks the stamps would dominate the cost.
        stamps = self.model.kind is not Kind.HYBRID and work.group not in _UNSTAMPED
        watch = Stopwatch()
        with frozen_garbage():
            watch.start()
            began = time.monotonic()
            results = ready.perform(stamped(function) if stamps else function, share)
            wall, cpu = watch.stop()
        latencies: Sequence[float] = ()
        if stamps:
            latencies = [end - began for _, end in results]
            results = [value for value, _ in results]
        if not work.right(share, results):
            raise AssertionError(f"{work.key} on {self.model.key}: wrong results")
        return {
            "seconds": wall * len(items) / len(share),
            "cpu": cpu,
            "wall": wall,
            "parallelism": cpu / wall if wall else None,
            "tasks": len(items),
            "done": len(share),
            "workers": self._workers,
            "latency": quantiles(latencies),
        }

    def profile(self, workers: int, quick: bool) -> dict[str, Any]:
        """Measure what the model itself costs; see `model_costs`."""
        self.close()
        return model_costs(self.model, workers, quick)

    def ready(self) -> dict[str, Any]:
        return {"lines": self.model.lines}


def main(key: str) -> None:
    """Execute orders from stdin until it ends."""
    warnings.simplefilter("ignore")
    # Output of a library must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    host = ModelHost(key)
    orders: dict[str, Callable[..., dict[str, Any]]] = {"turn": host.turn, "profile": host.profile, "ready": host.ready}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = orders[order.pop("do")](**order)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    host.close()
