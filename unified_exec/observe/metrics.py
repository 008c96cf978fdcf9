"""Metrics of the tasks and workers of this process for Prometheus, by ``prometheus_client`` (extra ``prometheus``)."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from .counting import BOUNDS, FunctionLabels, count_active_tasks, count_pools, end_reason
from .recording.ring import Batch, ring
from .recording.schema import Row

_FN, _BACKEND, _SPAWNED, _OUTCOME, _STARTED, _FINISHED = 5, 6, 10, 14, 16, 17  # of `schema.TaskSettled`
_CODE = 4  # of `schema.WorkerDied`


class Histogram:
    """Counts of observations by their size."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(BOUNDS, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """The cumulated counts, as Prometheus wants them."""
        told: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip([f"{bound:g}" for bound in BOUNDS] + ["+Inf"], self.counts, strict=True):
            so_far += count
            told.append((bound, so_far))
        return told


class TaskCollector:
    """Gives the metrics of this process to a registry of ``prometheus_client``; see `observe.prometheus_collector`.

    Counting begins when it is made. A task's name is never a label, its function is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._durations: dict[tuple[str, str, str], Histogram] = defaultdict(Histogram)
        self._waits: dict[str, Histogram] = defaultdict(Histogram)
        self._ends: Counter[str] = Counter()
        self._starts: Counter[str] = Counter()
        self._functions = FunctionLabels()
        self._stop = ring.subscribe(self._take, moves=False)

    def close(self) -> None:
        """Count no more."""
        self._stop()

    def _take(self, batch: Batch) -> None:
        with self._lock:
            for row in batch.rows:
                kind = row[1]
                if kind == "task.settled":
                    self._settled(row)
                elif kind == "worker.died":
                    self._ends[end_reason(row[_CODE])] += 1
                elif kind == "worker.started":
                    self._starts[row[5]] += 1

    def _settled(self, row: Row) -> None:
        function, backend, started = self._functions.label_of(row[_FN]), row[_BACKEND], row[_STARTED]
        ran = 0.0 if started is None else max(0.0, row[_FINISHED] - started)
        self._durations[function, backend, row[_OUTCOME]].add(ran)
        if started is not None:
            self._waits[backend].add(max(0.0, started - row[_SPAWNED]))

    def collect(self) -> Iterator[Any]:
        """Give the metrics as they are now; called by a registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        ring.drain()
        with self._lock:
            durations = HistogramMetricFamily(
                "unified_exec_task_duration_seconds",
                "How long tasks ran.",
                labels=["function", "backend", "outcome"],
            )
            for labels, histogram in self._durations.items():
                durations.add_metric([_label(each) for each in labels], histogram.buckets(), histogram.total)
            waits = HistogramMetricFamily(
                "unified_exec_task_wait_seconds", "How long tasks waited before they ran.", labels=["backend"]
            )
            for backend, histogram in self._waits.items():
                waits.add_metric([backend], histogram.buckets(), histogram.total)
            ends = CounterMetricFamily("unified_exec_worker_ends", "Worker processes that ended.", labels=["reason"])
            for reason, count in self._ends.items():
                ends.add_metric([reason], count)
            starts = CounterMetricFamily("unified_exec_worker_starts", "Workers that were started.", labels=["backend"])
            for backend, count in self._starts.items():
                starts.add_metric([backend], count)
        yield from (durations, waits, ends, starts)
        active = GaugeMetricFamily("unified_exec_task_active", "Tasks that have not ended.", labels=["backend"])
        for backend, count in count_active_tasks().items():
            active.add_metric([backend], count)
        yield active
        yield from _of_pools(GaugeMetricFamily)


def _of_pools(gauge: Any) -> list[Any]:
    queue = gauge("unified_exec_pool_queue_length", "Tasks that wait for a worker.", labels=["pool"])
    workers = gauge("unified_exec_pool_workers", "Workers of a pool.", labels=["pool", "state"])
    memory = gauge("unified_exec_worker_memory_bytes", "Resident memory of the workers of a pool.", labels=["pool"])
    found = count_pools(_label)
    for name, count in found.queued.items():
        queue.add_metric([name], count)
    for labels, count in found.workers.items():
        workers.add_metric(list(labels), count)
    for name, size in found.memory.items():
        memory.add_metric([name], size)
    return [queue, workers, memory]


def _label(text: str) -> str:
    """A value of a label: short, and encodable."""
    return text[:200].encode("utf-8", "replace").decode()


_collector: TaskCollector | None = None


def prometheus_collector() -> TaskCollector:
    """Return the collector of this process, for a registry of ``prometheus_client``; it counts from the first call on.

    Raises:
        ImportError: ``prometheus_client`` is not installed (extra ``prometheus``).

    Example:
        from prometheus_client import REGISTRY
        from unified_exec import observe

        REGISTRY.register(observe.prometheus_collector())
    """
    global _collector
    import prometheus_client  # noqa: F401  now, and not when it is scraped

    if _collector is None:
        _collector = TaskCollector()
    return _collector


def prometheus() -> str:
    """Return the metrics of this process in the text format of Prometheus. Counting begins with the first call.

    Raises:
        ImportError: ``prometheus_client`` is not installed (extra ``prometheus``).
    """
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(prometheus_collector())
    text: str = generate_latest(registry).decode()
    return text
