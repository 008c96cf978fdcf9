"""`observe.instrument`: spans and metrics of this process through the API of OpenTelemetry (extra ``otel``)."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..._tasks import events
from ..recording.watch import watch

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from .meters import TaskMeters
    from .spans import TaskSpans

KINDS = ("task.settled", "task.tried", "task.asked", "wait.ended", "worker.started", "worker.died")
_active: _Instrumentation | None = None


def instrument(
    tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Callable[[], None]:
    """Tell OpenTelemetry about the tasks and workers of this process, from now on.

    Each task has a span, which is a child of the span in which it was spawned, and which is the current span of its
    code: in a coroutine, in a thread, and in a worker process once that has imported OpenTelemetry. A worker exports
    its own spans if the ``initializer`` of its pool sets up a provider.

    Args:
        tracer_provider, meter_provider: where spans and metrics go; the global ones by default.

    Returns:
        a function that ends it. Spans of tasks that still run are ended with the outcome ``lost``, as they are when
        the process exits.

    Raises:
        ImportError: ``opentelemetry-api`` is not installed (extra ``otel``).
        RuntimeError: it is in force already.

    Example::

        from opentelemetry import trace
        from unified_exec import observe

        stop = observe.instrument()
        with trace.get_tracer("shop").start_as_current_span("import prices"):
            ...  # tasks that are spawned here belong to this span
        stop()
    """
    global _active
    from opentelemetry import metrics, trace  # before anything is begun

    from .meters import TaskMeters
    from .spans import TaskSpans

    if _active is not None and _active.pid == os.getpid():
        raise RuntimeError("observe.instrument() is in force already; the function that it returned ends it")
    tracer = trace.get_tracer("unified_exec", tracer_provider=tracer_provider)
    meter = metrics.get_meter("unified_exec", meter_provider=meter_provider)
    made = _active = _Instrumentation(TaskSpans(tracer), TaskMeters(meter))
    made.begin()
    return made.stop


class _Instrumentation:
    def __init__(self, spans: TaskSpans, meters: TaskMeters) -> None:
        self.pid = os.getpid()
        self._spans = spans
        self._meters = meters
        self._unsubscribe: Callable[[], None] = int  # type: ignore[assignment]

    def begin(self) -> None:
        from . import travel

        travel.begin()
        self._unsubscribe = watch(self._take, kinds=KINDS)
        events.in_span = self._spans.start
        atexit.register(self.stop)

    def _take(self, told: list[Any]) -> None:
        try:
            self._meters.take(told)
            self._spans.take(told)
        except Exception:  # an exporter or processor of the user's
            logging.getLogger("unified_exec").exception("OpenTelemetry failed: events are missing there")

    def stop(self) -> None:
        """End it; does nothing if it has ended, or in a forked child."""
        global _active
        if _active is not self or self.pid != os.getpid():
            return
        from . import travel

        _active = None
        atexit.unregister(self.stop)
        events.in_span = None
        self._unsubscribe()
        travel.end()
        self._spans.end_all()
        self._meters.end()
