"""The process a model lives in: it opens the workers, does what it is told, and tells what that took.

Each model has one of its own, so that none pays for another's threads, memory or imports. Started as
``python -m unified_exec.cli.bench.host MODEL``; each line of its stdin is an order in JSON, each line of its stdout the
answer.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .clocks import Stopwatch
from .models import by_key as model_by_key
from .models.base import Kind, Opened, opened
from .probes import profile
from .stamps import Stamped, quantiles, split
from .workloads import Group, Setting
from .workloads import by_key as workload_by_key

_UNSTAMPED = (Group.TINY, Group.ARRAYS, Group.SHARED)


class Host:
    """One model, its workers kept open from one order to the next."""

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
        """Open so many workers, or use those that are."""
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
            # Imports, caches, functions on their way to the workers: none of it is the model's own time.
            ready.perform(function, work.share(self.model, size, work.items(size))[: 2 * min(self._workers, 8)])
            self._warm.add(work.key)
        items = work.items(size)
        share = work.share(self.model, size, items)
        # A hybrid's function is three; what is cheap would be made dear by the stamps.
        stamped = self.model.kind is not Kind.HYBRID and work.group not in _UNSTAMPED
        wall, cpu, began, results = _timed(ready, Stamped(function) if stamped else function, share)
        latencies: Sequence[float] = ()
        if stamped:
            results, ends = split(results)
            latencies = [end - began for end in ends]
        if not work.right(share, results):
            raise AssertionError(f"{work.key} on {self.model.key}: wrong results")
        return {
            "seconds": wall * len(items) / len(share),
            "cpu": cpu,
            "wall": wall,
            "tasks": len(items),
            "done": len(share),
            "workers": self._workers,
            "latency": quantiles(latencies),
        }

    def profile(self, workers: int, quick: bool) -> dict[str, Any]:
        """What the model itself costs; see `probes`."""
        self.close()
        return profile(self.model, workers, quick)

    def ready(self) -> dict[str, Any]:
        return {"lines": self.model.lines}


def _timed(ready: Opened, function: Any, items: Sequence[Any]) -> tuple[float, float, float, list[Any]]:
    gc.collect()
    gc.freeze()
    watch = Stopwatch()
    watch.start()
    from time import monotonic

    began = monotonic()
    try:
        results = ready.perform(function, items)
        wall, cpu = watch.stop()
    finally:
        gc.unfreeze()
    return wall, cpu, began, results


def main(key: str) -> None:
    """Do what stdin says until it ends."""
    warnings.simplefilter("ignore")
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    host = Host(key)
    orders: dict[str, Callable[..., dict[str, Any]]] = {"turn": host.turn, "profile": host.profile, "ready": host.ready}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = orders[order.pop("do")](**order)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    host.close()


if __name__ == "__main__":
    main(sys.argv[1])
