"""What `observe` tells of tasks on other nodes."""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.tasks import spin
from tests.waiting import until_async
from unified_exec import Collect, TaskScope, observe
from unified_exec.cluster import WorkerRef
from unified_exec.cluster.pool import ClusterPool

pytest.importorskip("distributed", reason="DaskPool needs Dask: pip install distributed")
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


async def test_a_worker_of_a_node_survives_pickling() -> None:
    worker = pickle.loads(pickle.dumps(WorkerRef(7, "tcp://node:1")))
    assert (worker, worker.node) == (WorkerRef(7, "tcp://node:1"), "tcp://node:1")
