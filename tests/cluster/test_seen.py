"""What `observe` tells of tasks on other nodes."""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import psutil
import pytest

from tests import installed
from tests.cluster.conftest import OpenPool
from tests.cluster.tasks import a_inner_span, inner_span, open_a_scope, set_up_opentelemetry, spin
from tests.waiting import until, until_async
from unified_exec import Collect, TaskScope, observe
from unified_exec.cluster import WorkerRef
from unified_exec.cluster.pool import ClusterPool
from unified_exec.observe.live.text import render

installed.needed("distributed", "DaskPool needs Dask: pip install distributed")
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


async def test_events_of_tasks_on_nodes_are_those_of_local_ones_and_name_the_node(pool: ClusterPool) -> None:
    told: list[Any] = []
    stop = observe.watch(told.extend)
    try:
        async with TaskScope(processes=pool) as scope:
            handles = [scope.spawn(bytes, bytearray(1000), on="process") for _ in range(20)]
        ids = {handle.id for handle in handles}

        def settled() -> set[int]:
            return {event.task for event in told if event.kind == "task.settled"}

        assert await until_async(lambda: settled() >= ids, 60)
    finally:
        stop()
    kinds: dict[int, list[str]] = defaultdict(list)
    for event in told:
        if getattr(event, "task", None) in ids:
            kinds[event.task].append(event.kind)
            if event.kind in ("task.started", "task.settled", "task.sent"):
                assert event.worker.node in {node.address for node in pool.nodes()} | {handles[0].worker.node}
            if event.kind == "task.sent":
                assert event.bytes > 1000
    for seen in kinds.values():
        assert {"task.spawned", "task.sent", "task.started", "task.settled"} <= set(seen)
    assert any("task.queued" in seen for seen in kinds.values())


async def test_a_look_tells_on_which_node_a_task_runs(pool: ClusterPool, tmp_path: Path) -> None:
    async with TaskScope(processes=pool, policy=Collect()) as scope:
        handle: Any = scope.spawn(spin, str(tmp_path), "task", on="process")
        assert await until_async(lambda: handle.state.value == "running", 60)
        told = observe.look()["tasks"][str(handle.id)]
        assert told["state"] == "runs"
        assert f"in worker {int(handle.worker)} on {handle.worker.node}" in told["why"]["text"]
        handle.cancel()


async def test_a_look_asks_the_workers_of_nodes_for_stacks_and_scopes_while_the_programs_loop_is_busy(
    pool: ClusterPool, tmp_path: Path
) -> None:
    looks: list[dict[str, Any]] = []
    async with TaskScope(processes=pool, policy=Collect()) as scope:
        spins: Any = scope.spawn(spin, str(tmp_path), "task", on="process")
        nests: Any = scope.spawn(open_a_scope, str(tmp_path), on="process")
        files = [Path(tmp_path, name) for name in ("task.begun", "nested")]
        assert await until_async(lambda: all(map(Path.exists, files)) and spins.worker and nests.worker, 60)

        def is_told() -> bool:
            looks.append(observe.look())  # in a thread, while this code holds up the event loop
            spinning, nesting = (looks[-1]["tasks"][str(handle.id)] for handle in (spins, nests))
            inner = nesting.get("look", {"tasks": {}})["tasks"].values()
            return bool(spinning["stack"] and any(each["why"]["kind"] == "sleep" for each in inner))

        seen: list[bool] = []
        looker = Thread(target=lambda: seen.append(until(is_told, 60)))
        looker.start()
        looker.join()
        spins.cancel()
        nests.cancel()
    assert seen == [True]
    tasks = looks[-1]["tasks"]
    assert looks[-1]["loops"][0]["held"]
    assert [line[2] for line in tasks[str(spins.id)]["stack"]] == ["spin"]
    assert tasks[str(spins.id)]["at"][2] == "spin"
    [inner] = tasks[str(nests.id)]["look"]["tasks"].values()
    assert (inner["name"], inner["why"]["kind"]) == ("forever", "sleep")
    assert "forever" in render(looks[-1])


async def test_a_node_that_does_not_answer_is_told_as_such_and_holds_up_no_look(
    pool: ClusterPool, tmp_path: Path
) -> None:
    async with TaskScope(processes=pool, policy=Collect()) as scope:
        handle: Any = scope.spawn(spin, str(tmp_path), "task", on="process")
        assert await until_async(lambda: handle.state.value == "running", 60)
        agent = psutil.Process(int(handle.worker)).parent()
        assert agent is not None
        agent.suspend()
        try:
            found = await anyio.to_thread.run_sync(observe.look)
        finally:
            agent.resume()
        handle.cancel()
    told = found["tasks"][str(handle.id)]
    assert told["why"]["kind"] == "runs"
    assert f"on {handle.worker.node}, which does not answer: last heard of" in told["why"]["text"]
    [node] = [node for node in found["nodes"] if node["address"] == handle.worker.node]
    assert node["running"] == 1
    assert f"node {node['name']}: 1 run" in render(found)


@pytest.mark.parametrize("fn", [inner_span, a_inner_span])
async def test_the_spans_of_a_task_on_a_node_are_of_the_spawners_trace(open_pool: OpenPool, fn: Any) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    stop = observe.instrument(provider)
    try:
        async with open_pool(initializer=set_up_opentelemetry) as pool, TaskScope(processes=pool) as scope:
            with provider.get_tracer("tests").start_as_current_span("request"):
                handles = [scope.spawn(fn, on="process") for _ in range(3)]
            seen = [await handle for handle in handles]
    finally:
        stop()
    spans = {span.attributes.get("unified_exec.task.id", 0): span for span in exporter.get_finished_spans()}
    request = spans.pop(0).context
    assert seen == [(request.trace_id, spans[handle.id].context.span_id) for handle in handles]
    assert {span.parent.span_id for span in spans.values()} == {request.span_id}
    for handle in handles:
        attributes = spans[handle.id].attributes
        assert attributes["unified_exec.outcome"] == "value"
        assert attributes["unified_exec.worker.pid"] == int(handle.worker)
        assert attributes["unified_exec.node"] == handle.worker.node


async def test_a_worker_of_a_node_survives_pickling() -> None:
    worker = pickle.loads(pickle.dumps(WorkerRef(7, "tcp://node:1")))
    assert (worker, worker.node) == (WorkerRef(7, "tcp://node:1"), "tcp://node:1")
