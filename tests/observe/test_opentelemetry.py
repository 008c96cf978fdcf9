"""Spans and metrics of OpenTelemetry, with its real SDK: who is whose child, over threads and processes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

import anyio
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import StatusCode

from tests.observe import workloads
from tests.observe.patience import until_async
from unified_exec import Collect, Limit, ProcessPool, Retry, TaskScope, observe
from unified_exec._tasks import events
from unified_exec.executor import ProcessExecutor, ThreadExecutor

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]


class Telemetry:
    """The SDK, with exporters in memory."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(**options)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("tests")
        self.stop = observe.instrument(self.tracers, self.meters)

    def spans(self) -> dict[str, Any]:
        """The spans that have ended, by the name of their task or their own."""
        self.stop()
        return {str(span.attributes.get("unified_exec.task.name", span.name)): span for span in self.found()}

    def found(self) -> tuple[Any, ...]:
        return self.exporter.get_finished_spans()

    def metrics(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.stop()
    made.meters.shutdown()
    assert events.rows is None
    assert events.in_span is None


def current_span() -> tuple[int, int]:
    """Trace and id of the current span, as a task sees them."""
    found = trace.get_current_span().get_span_context()
    return found.trace_id, found.span_id


async def current_span_in_coroutine() -> tuple[int, int]:
    return current_span()


def set_up_worker() -> None:
    trace.set_tracer_provider(TracerProvider())


def inner_span() -> tuple[int, int]:
    """Trace and parent of a span that the worker's own provider makes."""
    with trace.get_tracer("worker").start_as_current_span("inner") as span:
        parent: Any = span
        return span.get_span_context().trace_id, parent.parent.span_id


def some_baggage() -> object:
    return baggage.get_baggage("tenant")


CALLS: list[tuple[str, Callable[..., Any]]] = [
    ("loop", current_span_in_coroutine),
    ("thread", current_span),
    ("process", current_span),
    ("process", current_span_in_coroutine),
]


@pytest.mark.parametrize(("on", "fn"), CALLS)
async def test_the_current_span_of_a_task_is_its_own_and_a_child_of_its_spawners(
    telemetry: Telemetry, on: Any, fn: Callable[..., Any]
) -> None:
    async with TaskScope(name="outer") as scope:
        with telemetry.tracer.start_as_current_span("request") as request:
            seen = await scope.spawn(fn, on=on, name="it")
            assert trace.get_current_span() is request
    spans = telemetry.spans()
    span = spans["it"]
    assert seen == (span.context.trace_id, span.context.span_id)
    assert span.parent.span_id == spans["request"].context.span_id
    assert span.context.trace_id == spans["request"].context.trace_id
    assert span.name == fn.__name__
    assert span.attributes["code.function.name"] == f"{__name__}.{fn.__name__}"
    assert span.attributes["unified_exec.backend"] == on
    assert span.attributes["unified_exec.scope.name"] == "outer"
    assert span.attributes["unified_exec.outcome"] == "value"
    assert span.status.status_code is StatusCode.UNSET
    times = {event.name: event.timestamp for event in span.events}
    assert span.start_time <= times["started"] <= times["finished"] <= span.end_time
    assert ("sent" in times) == (on == "process")


async def test_the_spans_of_a_worker_are_children_of_its_task(telemetry: Telemetry) -> None:
    async with ProcessPool(1, initializer=set_up_worker) as pool, TaskScope(processes=pool) as scope:
        handles = [scope.spawn(inner_span, on="process", name=str(number)) for number in range(3)]
        parents = [await handle for handle in handles]
    spans = telemetry.spans()
    assert parents == [(spans[str(n)].context.trace_id, spans[str(n)].context.span_id) for n in range(3)]


async def test_a_worker_that_imports_opentelemetry_in_the_task_sees_its_span(telemetry: Telemetry) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        imported_before, *seen = await scope.spawn(workloads.imports_opentelemetry, on="process", name="it")
    span = telemetry.spans()["it"]
    assert not imported_before
    assert seen == [span.context.trace_id, span.context.span_id]


async def test_baggage_travels_to_a_worker(telemetry: Telemetry) -> None:
    async with TaskScope() as scope:
        token = context.attach(baggage.set_baggage("tenant", "blue"))
        try:
            handle = scope.spawn(some_baggage, on="process")
        finally:
            context.detach(token)
        assert await handle == "blue"


async def test_tasks_of_tasks_are_one_trace(telemetry: Telemetry) -> None:
    async def outer() -> None:
        async with TaskScope() as inner:
            inner.spawn(workloads.value, on="thread", name="inner")

    async with TaskScope() as scope:
        scope.spawn(outer, name="outer")
    spans = telemetry.spans()
    assert spans["inner"].parent.span_id == spans["outer"].context.span_id
    assert spans["outer"].parent is None


@pytest.mark.parametrize(
    ("fn", "on", "outcome", "error"),
    [
        (workloads.fails, "thread", "error", "ValueError"),
        (workloads.fails, "process", "error", "ValueError"),
        (workloads.crashes, "process", "crashed", "WorkerCrashed"),
    ],
)
async def test_a_failure_is_told(telemetry: Telemetry, fn: Any, on: Any, outcome: str, error: str) -> None:
    async with TaskScope(policy=Collect()) as scope:
        scope.spawn(fn, on=on, name="it")
    span = telemetry.spans()["it"]
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, error)
    assert span.attributes["unified_exec.outcome"] == outcome
    [exception] = [event for event in span.events if event.name == "exception"]
    assert exception.attributes["exception.type"] == error
    assert error in exception.attributes["exception.stacktrace"]


async def test_being_cancelled_is_not_an_error(telemetry: Telemetry) -> None:
    async with TaskScope() as scope:
        handle = scope.spawn(anyio.sleep_forever, name="it")
        await anyio.lowlevel.checkpoint()
        handle.cancel("enough")
    span = telemetry.spans()["it"]
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["unified_exec.outcome"] == "cancelled"
    assert [dict(event.attributes) for event in span.events if event.name == "cancel requested"] == [
        {"reason": "enough"}
    ]


async def test_attempts_are_events_of_one_span(telemetry: Telemetry, tmp_path: Path) -> None:
    async with TaskScope() as scope:
        retry = Retry(2, backoff=lambda n: 0.0)
        scope.spawn(workloads.flaky, str(tmp_path / "once"), on="process", retry=retry, name="it")
    spans = telemetry.spans()
    assert [name for name in spans if name == "it"] == ["it"]
    assert spans["it"].attributes["unified_exec.attempt"] == 2
    assert [event.name for event in spans["it"].events].count("retry") == 1


async def test_chunks_of_a_map_have_spans(telemetry: Telemetry) -> None:
    async with TaskScope() as scope:
        assert [x async for x in scope.map(workloads.value, range(20), on="thread", chunk=10)] == [*range(20)]
    telemetry.stop()
    assert [(span.name, span.attributes["unified_exec.items"]) for span in telemetry.found()] == [("value", 10)] * 2


@pytest.mark.parametrize("executor", [ThreadExecutor, ProcessExecutor])
def test_calls_of_executors_have_spans(telemetry: Telemetry, executor: Any) -> None:
    with executor(1) as pool, telemetry.tracer.start_as_current_span("request"):
        seen = pool.submit(current_span).result()
        failed = pool.submit(workloads.fails)
        assert isinstance(failed.exception(), ValueError)
    telemetry.stop()
    spans = {span.name: span for span in telemetry.found()}
    span = spans["current_span"]
    assert seen == (span.context.trace_id, span.context.span_id)
    assert span.parent.span_id == spans["request"].context.span_id
    assert span.attributes["unified_exec.outcome"] == "value"
    assert spans["fails"].attributes["unified_exec.outcome"] == "error"


async def test_calls_of_actors_are_named_after_their_method(telemetry: Telemetry) -> None:
    async with TaskScope() as scope:
        for on in ("process", "thread"):
            counter = scope.actor(Counter, on=on)
            await counter.call(Counter.add, 2)
    telemetry.stop()
    assert [span.name for span in telemetry.found()] == ["Counter", "Counter.add"] * 2


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self, n: int) -> int:
        self.count += n
        return self.count


async def test_what_cannot_be_submitted_has_a_span_that_failed(telemetry: Telemetry) -> None:
    async with TaskScope() as scope:
        with pytest.raises(Exception, match="pickle"):
            scope.spawn(workloads.value, threading.Lock(), on="process", name="it")
    span = telemetry.spans()["it"]
    assert span.attributes["unified_exec.outcome"] == "refused"
    assert span.status.status_code is StatusCode.ERROR


async def test_a_task_that_was_not_sampled_still_carries_its_trace() -> None:
    unsampled = Telemetry(sampler=ALWAYS_OFF)
    try:
        async with TaskScope() as scope:
            with unsampled.tracer.start_as_current_span("request") as request:
                traced, _ = await scope.spawn(current_span, on="process")
        assert traced == request.get_span_context().trace_id
    finally:
        unsampled.stop()
    assert unsampled.found() == ()


async def test_a_task_that_runs_at_the_end_is_told_as_lost(telemetry: Telemetry) -> None:
    async with TaskScope() as scope:
        handle = scope.spawn(anyio.sleep_forever, name="it")
        await anyio.lowlevel.checkpoint()
        span = telemetry.spans()["it"]
        handle.cancel()
    assert span.attributes["unified_exec.outcome"] == "lost"


async def test_a_sampler_that_raises_harms_no_task(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Sampler):
        def should_sample(self, *args: Any, **more: Any) -> Any:
            raise ValueError("sampler")

        def get_description(self) -> str:
            return "broken"

    stop = observe.instrument(TracerProvider(sampler=Broken()), MeterProvider())
    try:
        async with TaskScope() as scope:
            assert await scope.spawn(workloads.value, 5, on="thread") == 5
    finally:
        stop()
    assert "tasks have no spans" in caplog.text


def test_it_is_begun_once(telemetry: Telemetry) -> None:
    with pytest.raises(RuntimeError, match="in force already"):
        observe.instrument()


async def test_metrics_of_tasks_and_workers(telemetry: Telemetry) -> None:
    limit = Limit(1)
    async with ProcessPool(1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        for number in range(3):
            scope.spawn(workloads.value, number, on="process")
        scope.spawn(workloads.fails, on="thread")
        release = anyio.Event()
        holder = scope.spawn(release.wait, limit=limit)
        await until_async(lambda: limit.free == 0)
        waiting = scope.spawn(workloads.value, on="thread", limit=limit)
        active = {dict(p.attributes)["unified_exec.backend"]: p.value for p in telemetry.metrics()[ACTIVE]}
        assert active["loop"] == 1
        assert active["thread"] >= 1
        await until_async(lambda: sum(p.value for p in telemetry.metrics()[WORKERS]) >= 1)
        release.set()
        await waiting
        await holder
    telemetry.stop()
    found = telemetry.metrics()
    durations = {
        tuple(dict(point.attributes)[key] for key in ("code.function.name", "unified_exec.backend", OUTCOME)): point
        for point in found["unified_exec.task.duration"]
    }
    assert durations["tests.observe.workloads.value", "process", "value"].count == 3
    failed = durations["tests.observe.workloads.fails", "thread", "error"]
    assert (failed.count, dict(failed.attributes)["error.type"]) == (1, "ValueError")
    waits = {dict(point.attributes)["unified_exec.wait.kind"] for point in found["unified_exec.task.wait.duration"]}
    assert waits == {"queue", "travel", "limit"}
    [ended] = found["unified_exec.worker.ends"]
    assert (ended.value, dict(ended.attributes)) == (1, {"unified_exec.end.reason": "exited"})
    assert {dict(p.attributes)["unified_exec.direction"] for p in found["unified_exec.message.size"]} == {
        "sent",
        "received",
    }


ACTIVE, WORKERS, OUTCOME = "unified_exec.task.active", "unified_exec.worker.count", "unified_exec.outcome"


async def test_a_request_of_an_instrumented_application_is_one_trace_down_to_the_worker(telemetry: Telemetry) -> None:
    asgi = pytest.importorskip("opentelemetry.instrumentation.asgi", reason="opentelemetry-instrumentation-asgi")
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")
    starlette = pytest.importorskip("starlette.applications", reason="starlette is not installed")
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async with ProcessPool(1, initializer=set_up_worker) as pool:

        async def report(request: Any) -> Any:
            async with TaskScope(processes=pool) as scope:
                return JSONResponse(await scope.spawn(inner_span, on="process", name="work"))

        app = starlette.Starlette(routes=[Route("/report", report)])
        traced = asgi.OpenTelemetryMiddleware(app, tracer_provider=telemetry.tracers)
        transport = httpx.ASGITransport(app=traced)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            with telemetry.tracer.start_as_current_span("client") as caller:
                headers: dict[str, str] = {}
                propagate.inject(headers)
                answer = await client.get("/report", headers=headers)
    trace_id, parent = answer.json()
    spans = telemetry.spans()
    assert trace_id == spans["work"].context.trace_id == caller.get_span_context().trace_id
    assert parent == spans["work"].context.span_id
    assert spans["work"].parent.span_id == spans["GET /report"].context.span_id


def test_a_collector_gets_the_spans_over_http(telemetry: Telemetry) -> None:
    exporters = pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http.trace_exporter", reason="the OTLP exporter is not installed"
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        exporter = exporters.OTLPSpanExporter(endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces")
        telemetry.tracers.add_span_processor(SimpleSpanProcessor(exporter))
        with ThreadExecutor(1) as pool, telemetry.tracer.start_as_current_span("request"):
            pool.submit(workloads.value, 1).result()
        telemetry.stop()
        telemetry.tracers.shutdown()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    spans = [
        span
        for request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    by_name = {span.name: span for span in spans}
    assert by_name["value"].parent_span_id == by_name["request"].span_id
    attributes = {each.key: each.value for each in by_name["value"].attributes}
    assert attributes["unified_exec.outcome"].string_value == "value"
