"""Closing, loops that end, forks, on every event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.unit.threads.driving import Blocker, Driver, driver, happens
from unified_exec._pools.thread.pool import ThreadPool

pytestmark = pytest.mark.every_loop


async def test_closing_leaves_the_loop_running() -> None:
    pool = ThreadPool()
    it = Driver(pool)
    blocker = Blocker()
    job = it.spawn(blocker)
    await happens(blocker.began)
    turns = 0
    async with anyio.create_task_group() as group:
        group.start_soon(pool.aclose)
        for _ in range(10):
            await anyio.sleep(0.001)
            turns += 1
        assert not job.outcome
        blocker.go.set()
    await job.value()
    assert turns == 10


async def test_a_pool_cannot_be_closed_where_it_would_wait_for_itself() -> None:
    async with driver() as it:
        with pytest.raises(RuntimeError, match="by one of its own tasks"):
            await it.spawn(it.pool.close).value()
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        with pytest.raises(RuntimeError, match="aclose"):
            it.pool.close()
        blocker.go.set()


def test_a_pool_serves_one_loop_after_another_and_forgets_the_ended() -> None:
    with ThreadPool() as pool:

        async def once() -> int:
            it = Driver(pool)
            assert pool.lane(it.adapter) is it.lane
            value: int = await it.spawn(int, 9).value()
            return value

        for _ in range(5):
            assert anyio.run(once) == 9
            assert not pool._lanes


@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_loop_gets_its_lane_while_others_end(has_ended: bool) -> None:
    class Ending:
        """Stands for a loop of another thread, which ends as soon as somebody asks it."""

        def ended(self) -> bool:
            pool._forget(self, None)  # type: ignore[arg-type]
            return has_ended

    async with ThreadPool() as pool:
        for _ in range(3):
            pool._lanes[Ending()] = None  # type: ignore[index, assignment]
        assert await Driver(pool).spawn(int, 4).value() == 4


def test_a_loop_that_ends_with_tasks_in_the_pool_harms_nobody() -> None:
    blocker = Blocker()
    with ThreadPool(1) as pool:

        async def leave() -> None:
            it = Driver(pool)
            it.spawn(blocker)
            for _ in range(3):
                it.spawn(int)
            await happens(blocker.began)

        async def after() -> int:
            value: int = await Driver(pool).spawn(int, 4).value()
            return value

        anyio.run(leave)
        assert anyio.run(after) == 4  # every loop has a thread
        blocker.go.set()


@pytest.mark.parametrize("workers", [0, -1, 1.5, "3", True])
def test_a_senseless_number_of_workers_is_refused(workers: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_workers"):
        ThreadPool(workers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_afresh() -> None:
    pool = ThreadPool(1)
    blocker = Blocker()

    async def hold() -> None:
        it = Driver(pool)
        it.spawn(blocker)
        await happens(blocker.began)
        lock = it.lane.scheduler.lock
        lock.acquire()  # as another thread might at the moment of the fork
        child = os.fork()
        if child == 0:
            os._exit(await_in_child())
        lock.release()
        blocker.go.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def await_in_child() -> int:
        ok = []

        def run() -> None:
            async def use() -> None:
                ok.append(await Driver(pool).spawn(int, 3).value())

            asyncio.run(use())

        other = threading.Thread(target=run)
        other.start()
        other.join(20)
        return 0 if ok == [3] else 1

    asyncio.run(hold())
    pool.close()
