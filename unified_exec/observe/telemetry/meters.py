"""Metrics of tasks, pools and workers through the API of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from ..counting import BOUNDS, FunctionLabels, count_active_tasks, count_pools, end_reason
from ..recording import schema

SIZES = [float(4**power) for power in range(3, 16)]
"""Upper bounds of the histogram of sizes, 64 B to 1 GiB."""


class TaskMeters:
    """Counts what the events tell, and observes the pools when metrics are collected.

    Args:
        meter: makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        seconds, bounds = "s", BOUNDS
        self._duration = meter.create_histogram(
            "unified_exec.task.duration",
            seconds,
            "How long tasks ran.",
            explicit_bucket_boundaries_advisory=bounds,
        )
        self._wait = meter.create_histogram(
            "unified_exec.task.wait.duration",
            seconds,
            "How long tasks waited: in a queue, on their way to a worker, or for a limit.",
            explicit_bucket_boundaries_advisory=bounds,
        )
        self._size = meter.create_histogram(
            "unified_exec.message.size",
            "By",
            "Sizes of calls and results of process tasks.",
            explicit_bucket_boundaries_advisory=SIZES,
        )
        self._starts = meter.create_counter("unified_exec.worker.starts", "{worker}", "Workers that were started.")
        self._ends = meter.create_counter("unified_exec.worker.ends", "{worker}", "Worker processes that ended.")
        meter.create_observable_up_down_counter(
            "unified_exec.task.active", [self._active], "{task}", "Tasks that have not ended."
        )
        meter.create_observable_gauge(
            "unified_exec.pool.queue.length", [self._queues], "{task}", "Tasks that wait for a worker."
        )
        meter.create_observable_up_down_counter(
            "unified_exec.worker.count", [self._workers], "{worker}", "Workers of a pool."
        )
        meter.create_observable_gauge(
            "unified_exec.worker.memory.usage", [self._memory], "By", "Resident memory of the workers of a pool."
        )
        self._functions = FunctionLabels()
        self._on = True

    def end(self) -> None:
        """Observe no more."""
        self._on = False

    def take(self, told: Iterable[Any]) -> None:
        """Count events."""
        for event in told:
            if event.kind == "task.settled":
                self._settled(event)
            elif event.kind == "wait.ended":
                self._wait.record(max(0.0, event.at - event.began), {"unified_exec.wait.kind": event.on})
            elif event.kind == "worker.started":
                self._starts.add(1, {"unified_exec.backend": event.backend, "unified_exec.start.reason": event.why})
            elif event.kind == "worker.died":
                self._ends.add(1, {"unified_exec.end.reason": end_reason(event.code)})

    def _settled(self, task: schema.TaskSettled) -> None:
        told = {
            "code.function.name": self._functions.label_of(task.fn.replace(":", ".")),
            "unified_exec.backend": task.backend,
            "unified_exec.outcome": task.outcome,
        }
        if task.error:
            told["error.type"] = task.error
        self._duration.record(0.0 if task.started is None else max(0.0, task.finished - task.started), told)
        if task.started is None:
            return
        left = task.started if task.sent is None else max(task.spawned, task.sent)
        for kind, seconds in (("queue", left - task.spawned), ("travel", task.started - left)):
            if kind == "queue" or task.sent is not None:
                labels = {"unified_exec.backend": task.backend, "unified_exec.wait.kind": kind}
                self._wait.record(max(0.0, seconds), labels)
        for direction, size in (("sent", task.bytes_sent), ("received", task.bytes_received)):
            if size:
                self._size.record(size, {"unified_exec.direction": direction})

    def _active(self, options: CallbackOptions) -> list[Observation]:
        counts = count_active_tasks() if self._on else {}
        return [Observation(count, {"unified_exec.backend": backend}) for backend, count in counts.items()]

    def _queues(self, options: CallbackOptions) -> list[Observation]:
        counts = count_pools().queued if self._on else {}
        return [Observation(count, {"unified_exec.pool.name": name}) for name, count in counts.items()]

    def _workers(self, options: CallbackOptions) -> list[Observation]:
        counts = count_pools().workers if self._on else {}
        return [
            Observation(count, {"unified_exec.pool.name": name, "unified_exec.worker.state": state})
            for (name, state), count in counts.items()
        ]

    def _memory(self, options: CallbackOptions) -> list[Observation]:
        sizes = count_pools().memory if self._on else {}
        return [Observation(size, {"unified_exec.pool.name": name}) for name, size in sizes.items()]
