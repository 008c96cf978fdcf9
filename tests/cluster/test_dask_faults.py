"""Nodes, workers, schedulers and programs that die, stop or leave while tasks run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import installed
from tests.cluster.processes import ROOT, DaskCluster, agent_of, started
from tests.cluster.tasks import slow_square, spin, tick
from tests.waiting import is_alive, until, until_async
from unified_exec import Collect, Retry, TaskScope
from unified_exec.cluster import DaskPool, NodeLost

pytestmark = pytest.mark.timeout(120)
installed.needed("distributed", "DaskPool needs Dask: pip install distributed")


@pytest.fixture(scope="module")
def dask_cluster() -> Iterator[DaskCluster]:
    """One of this module's own, which loses nodes, with nannies that start others in their place."""
    with DaskCluster(2) as cluster:
        yield cluster


async def until_it_works(pool: DaskPool) -> None:
    """Wait until a node takes work, however long the cluster takes to start."""
    failed = True
    while failed:
        async with TaskScope(policy=Collect()) as scope:
            untyped: Any = scope
            handle = untyped.spawn(int, on=pool)
        failed = handle.exception() is not None


def starts(folder: Path) -> Counter[str]:
    return Counter((folder / "starts").read_text().split())


def last_tick(folder: Path, name: str) -> float:
    return float((folder / f"{name}.tick").read_text() or 0)


@pytest.mark.asyncio
async def test_what_a_killed_node_had_is_lost_and_the_rest_runs_elsewhere_once(
    dask_cluster: DaskCluster, tmp_path: Path
) -> None:
    async with DaskPool(dask_cluster.address) as pool, TaskScope(policy=Collect()) as scope:
        untyped: Any = scope
        victim = untyped.spawn(tick, str(tmp_path), "victim", 20, on=pool)
        pid = await started(tmp_path, "victim")
        assert await until_async(lambda: victim.state.value == "running")
        others = [untyped.spawn(tick, str(tmp_path), f"other-{n}", 0.02, on=pool) for n in range(30)]
        again = untyped.spawn(tick, str(tmp_path), "again", 0.02, on=pool, retry=Retry(3, on=NodeLost))
        os.kill(agent_of(pid), signal.SIGKILL)
        await victim.wait()
        settled = time.monotonic()
    assert not is_alive(pid)
    assert last_tick(tmp_path, "victim") < settled
    error = victim.exception()
    assert type(error) is NodeLost
    assert error.begun is True
    assert error.address in str(error)
    assert again.result() == "again"
    for handle in others:
        assert handle.exception() is None or type(handle.exception()) is NodeLost
    assert sum(handle.exception() is None for handle in others) >= 25
    counted = starts(tmp_path)
    assert all(counted[f"other-{n}"] <= 1 for n in range(30))


@pytest.mark.asyncio
async def test_a_stopped_node_is_lost_after_its_tasks_were_killed(dask_cluster: DaskCluster, tmp_path: Path) -> None:
    """The agent itself is stopped: its keeper kills the workers before the program is told."""
    async with DaskPool(dask_cluster.address, lease=3, grace=0.5) as pool, TaskScope(policy=Collect()) as scope:
        untyped: Any = scope
        victim = untyped.spawn(tick, str(tmp_path), "victim", 60, on=pool)
        pid = await started(tmp_path, "victim")
        agent = agent_of(pid)
        os.kill(agent, signal.SIGSTOP)
        try:
            await victim.wait()
            settled = time.monotonic()
            assert last_tick(tmp_path, "victim") < settled
            assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        finally:
            os.kill(agent, signal.SIGCONT)
        assert type(victim.exception()) is NodeLost
        assert await untyped.spawn(int, on=pool) == 0
    assert starts(tmp_path) == {"victim": 1}


PROGRAM = """
import sys, json
import anyio
from tests.cluster.tasks import spin
from unified_exec import TaskScope
from unified_exec.cluster import DaskPool

async def main(address, folder):
    async with DaskPool(address) as pool, TaskScope() as scope:
        scope.spawn(spin, folder, "orphan", on=pool)

anyio.run(main, *sys.argv[1:])
"""


def test_when_the_program_dies_its_tasks_end_and_run_their_finally(dask_cluster: DaskCluster, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, dask_cluster.address, str(tmp_path)]
    program = subprocess.Popen(command, cwd=ROOT)
    try:
        assert until(lambda: (tmp_path / "orphan.begun").exists(), 60)
    finally:
        program.kill()
        program.wait()
    assert until(lambda: (tmp_path / "orphan.ended").exists(), 60)
    pid = int((tmp_path / "orphan.pid").read_text())
    assert until(lambda: not is_alive(pid), 60)


@pytest.mark.asyncio
async def test_when_the_scheduler_dies_nothing_hangs_and_nothing_runs_on(tmp_path: Path) -> None:
    with DaskCluster(1) as cluster:
        cluster.wait_until_up()
        async with DaskPool(cluster.address, start_timeout=2, drain=0, grace=30) as pool:
            await until_it_works(pool)
            async with TaskScope(policy=Collect()) as scope:
                untyped: Any = scope
                handles = [untyped.spawn(spin, str(tmp_path), f"task-{n}", on=pool) for n in range(3)]
                await started(tmp_path, "task-0")
                os.kill(cluster.scheduler, signal.SIGKILL)
    kinds = Counter(type(handle.exception()).__name__ for handle in handles)
    assert kinds == {"NodeLost": 1, "WorkerStartError": 2}
    assert (tmp_path / "task-0.ended").exists()


@pytest.mark.asyncio
async def test_the_queue_of_a_node_that_retires_comes_home_and_what_runs_may_finish(
    dask_cluster: DaskCluster, tmp_path: Path
) -> None:
    from distributed import Client

    async with Client(dask_cluster.address, asynchronous=True, set_as_default=False) as client:
        async with DaskPool(client, drain=60) as pool, TaskScope() as scope:
            untyped: Any = scope
            running = untyped.spawn(tick, str(tmp_path), "running", 1, on=pool)
            assert await until_async(lambda: running.worker is not None, 60)
            others = [untyped.spawn(abs, -n, on=pool) for n in range(200)]
            await client.retire_workers([running.worker.node])
            assert await running == "running"
    assert [handle.result() for handle in others] == list(range(200))
    assert starts(tmp_path) == {"running": 1}


@pytest.mark.asyncio
async def test_nodes_join_and_leave_in_the_middle_of_a_map(dask_cluster: DaskCluster) -> None:
    from distributed import Client

    async with Client(dask_cluster.address, asynchronous=True, set_as_default=False) as client:
        async with DaskPool(client, drain=60) as pool, TaskScope() as scope:
            untyped: Any = scope
            await until_it_works(pool)
            before = {node.address for node in pool.nodes()}
            found: list[int] = []
            async for square in untyped.map(slow_square, range(400), on=pool):
                found.append(square)
                if len(found) == 20:
                    dask_cluster.add_worker()
                if len(found) == 200:
                    assert await until_async(lambda: {n.address for n in pool.nodes()} - before, 60)
                    await client.retire_workers(list(before))
    assert found == [n * n for n in range(400)]
