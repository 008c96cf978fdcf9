"""Actors on the nodes of a cluster: each is the only one in its worker, which holds one seat."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import installed
from tests.cluster.conftest import OpenPool
from tests.contract.actor_classes import Counter, Waiter
from tests.waiting import is_alive, until_async
from unified_exec import Collect, Supervise, SyncTaskScope, TaskScope, WorkerCrashed
from unified_exec.cluster import NodeLost

installed.needed("distributed", "DaskPool needs Dask: pip install distributed")
pytestmark = [pytest.mark.one_loop, pytest.mark.timeout(120)]


async def test_an_actor_keeps_its_state_on_a_node_and_is_closed_with_its_scope(
    open_pool: OpenPool, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with open_pool(grace=30) as pool:
        async with TaskScope(processes=pool) as scope:
            untyped: Any = scope
            counter = untyped.actor(Counter, 10, str(log), on="process")
            waiter = untyped.actor(Waiter, on=pool, concurrency=3)
            calls = [counter.call(Counter.add, 1) for _ in range(40)]
            assert await scope.gather(*calls) == list(range(11, 51))
            pid = await counter.call(Counter.pid)
            assert calls[0].worker == pid
            assert calls[0].worker.node in {node.address for node in pool.nodes()}
            assert [n async for n in counter.stream(Counter.count, 3)] == [51, 52, 53]
            with pytest.raises(KeyError):
                await counter.call(Counter.fail)
            meetings = [waiter.call(Waiter.meet, 3) for _ in range(3)]
            assert await scope.gather(*meetings) == [3, 3, 3]
        assert log.read_text().splitlines() == ["made", "closed at 53"]
        assert not is_alive(pid)
        async with TaskScope(processes=pool) as scope:
            assert await scope.spawn(int, on="process") == 0  # its seat was given back


def add_in_task(counter: Any, n: int) -> Any:
    return counter.call(Counter.add, n).result()


async def add_in_coroutine(counter: Any, n: int) -> Any:
    return await counter.call(Counter.add, n)


async def test_tasks_on_other_nodes_call_an_actor_that_they_were_given(open_pool: OpenPool) -> None:
    async with open_pool(grace=30) as pool, TaskScope() as scope:
        untyped: Any = scope
        counter = untyped.actor(Counter, 10, on=pool)
        assert await untyped.spawn(add_in_task, counter, 5, on=pool) == 15
        assert await untyped.spawn(add_in_coroutine, counter, 5, on=pool) == 20


async def test_an_actor_whose_worker_dies_is_made_anew_under_supervise(open_pool: OpenPool, tmp_path: Path) -> None:
    async with open_pool(grace=30) as pool, TaskScope(policy=Supervise(backoff=0.0)) as scope:
        untyped: Any = scope
        counter = untyped.actor(Counter, 10, on=pool)
        assert await counter.call(Counter.add, 1) == 11
        died = counter.call(Counter.die)
        await died.wait()
        assert type(died.exception()) is WorkerCrashed
        assert await counter.call(Counter.add, 1) == 11


async def test_an_actor_whose_node_is_lost_is_made_anew_on_another(open_pool: OpenPool, tmp_path: Path) -> None:
    async with open_pool(grace=30) as pool, TaskScope(policy=Supervise(backoff=0.0)) as scope:
        untyped: Any = scope
        counter = untyped.actor(Counter, 10, str(tmp_path / "log"), on=pool)
        pid = await counter.call(Counter.pid)
        running = counter.call(Counter.wait, str(tmp_path / "never"))
        assert await until_async(lambda: "waiting" in (tmp_path / "log").read_text(), 60)
        agent = psutil.Process(pid).parent()
        assert agent is not None
        os.kill(agent.pid, signal.SIGKILL)
        await running.wait()
        assert type(running.exception()) is NodeLost
        assert not is_alive(pid)
        assert await counter.call(Counter.add, 1) == 11


async def test_without_supervise_a_crash_ends_the_actor_and_a_call_that_ignores_its_end_is_killed(
    open_pool: OpenPool, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with open_pool(grace=30) as pool, TaskScope(policy=Collect()) as scope:
        untyped: Any = scope
        counter = untyped.actor(Counter, 10, str(log), on=pool, grace=0.1)
        pid = await counter.call(Counter.pid)
        ignores = counter.call(Counter.swallow, str(log))
        assert await until_async(lambda: "swallowing" in log.read_text(), 60)
        ignores.cancel()
        await ignores.wait()
        assert ignores.cancelled()
        assert not is_alive(pid)
        lost = counter.call(Counter.add, 1)
        await lost.wait()
        assert type(lost.exception()) is WorkerCrashed
        assert counter.state == "ended"


def test_blocking_scopes_have_actors_on_nodes_too(open_pool: OpenPool) -> None:
    with open_pool() as pool, SyncTaskScope(processes=pool) as scope:
        untyped: Any = scope
        group = untyped.actors(Counter, 0, count=2, on="process")
        assert sorted(call.result() for call in [group.call(Counter.add, n) for n in (1, 2)]) == [1, 2]
