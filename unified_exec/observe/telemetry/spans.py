"""A span of OpenTelemetry for each task.

The span is started where the task is spawned, since its identity must travel; the code of the task, in whatever thread
or process, finds it as its current span. The events of the task end it, in the observer's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import context, trace
from opentelemetry.trace import Span, StatusCode, Tracer

from ..._tasks import events
from ..recording import schema

if TYPE_CHECKING:
    from ..._tasks.task import Task

T = TypeVar("T")

FAILURES = frozenset({"error", "crashed", "timed_out", "refused"})
"""Outcomes that are told as errors; being cancelled is none."""


class TaskSpans:
    """The spans of the tasks that have not ended.

    Args:
        tracer: makes them.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[int, Span] = {}
        self._warned = False

    def start(self, task: Task, launch: Callable[[], T]) -> T:
        """Call `launch`, which starts `task`, with the task's span as the current one."""
        task.in_span = True
        try:
            span = self._make(task)
            token = context.attach(trace.set_span_in_context(span))
        except Exception:  # a sampler or a processor of the user's
            if not self._warned:
                self._warned = True
                logging.getLogger("unified_exec").exception("OpenTelemetry failed: tasks have no spans")
            return launch()
        if span.is_recording():
            self._open[task.id] = span
        try:
            return launch()
        except BaseException as error:
            self._end_failed(task.id, error)
            raise
        finally:
            context.detach(token)

    def _make(self, task: Task) -> Span:
        function = task.fn_name or events.function_name(task.fn)
        attributes: dict[str, str | int] = {
            "code.function.name": function.replace(":", "."),
            "unified_exec.task.id": task.id,
            "unified_exec.task.name": task.name[:200],
            "unified_exec.backend": task.backend,
        }
        scope = getattr(task.owner, "name", None)
        if isinstance(scope, str):
            attributes["unified_exec.scope.name"] = scope[:200]
        if task.items > 1:
            attributes["unified_exec.items"] = task.items
        name = function.partition(":")[2] or function
        return self._tracer.start_span(name, attributes=attributes, start_time=_clock_offset() + _ns(task.queued_at))

    def _end_failed(self, task: int, error: BaseException) -> None:
        """End the span of a task that could not be started."""
        span = self._open.pop(task, None)
        if span is not None:
            span.set_attribute("unified_exec.outcome", "refused")
            span.record_exception(error)
            span.set_status(StatusCode.ERROR, type(error).__name__)
            span.end()

    def take(self, told: Iterable[Any]) -> None:
        """Add what has happened to the spans; ends those of the tasks that have ended."""
        offset = _clock_offset()
        for event in told:
            if event.kind == "task.settled":
                span = self._open.pop(event.task, None)
                if span is not None:
                    _end(span, event, offset)
            elif event.kind == "task.tried" and (span := self._open.get(event.task)) is not None:
                notes: dict[str, str | int | float] = {"unified_exec.attempt": event.attempt, "error.type": event.error}
                notes["unified_exec.retry.delay"] = event.delay
                span.add_event("retry", notes, offset + _ns(event.at))
            elif event.kind == "task.asked" and (span := self._open.get(event.task)) is not None:
                span.add_event("cancel requested", {"reason": event.reason}, offset + _ns(event.at))

    def end_all(self) -> None:
        """End the spans of the tasks that have not ended."""
        while self._open:
            _, span = self._open.popitem()
            span.set_attribute("unified_exec.outcome", "lost")
            span.end()


def _end(span: Span, task: schema.TaskSettled, offset: int) -> None:
    span.set_attribute("unified_exec.outcome", task.outcome)
    if task.attempts > 1:
        span.set_attribute("unified_exec.attempt", task.attempts)
    if task.backend == "process" and task.worker:
        span.set_attribute("unified_exec.worker.pid", int(task.worker))
        node = getattr(task.worker, "node", "")
        if node:
            span.set_attribute("unified_exec.node", node)
    elif task.backend == "thread" and task.worker:
        span.set_attribute("thread.id", task.worker)
    for name, at in (("sent", task.sent), ("started", task.started), ("finished", task.finished)):
        if at is not None and not (name == "finished" and task.started is None):
            span.add_event(name, timestamp=offset + _ns(at))
    if task.outcome in FAILURES:
        span.set_attribute("error.type", task.error)
        told = {"exception.type": task.error, "exception.stacktrace": task.traceback}
        span.add_event("exception", {name: text for name, text in told.items() if text}, offset + _ns(task.at))
        span.set_status(StatusCode.ERROR, task.error)
    span.end(offset + _ns(task.at))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _clock_offset() -> int:
    """Nanoseconds from `time.monotonic` to the time of day."""
    return time.time_ns() - time.monotonic_ns()
