"""The threads of a pool: how many, when, and what they share, on every event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.unit.threads.driving import Blocker, Crowd, Driver, Job, comes_true, driver, happens
from unified_exec._loops.current import current_adapter
from unified_exec._pools.thread import scheduler
from unified_exec._pools.thread.pool import ThreadPool
from unified_exec.errors import WorkerStartError

pytestmark = pytest.mark.every_loop


@pytest.mark.parametrize("known_as_short", [False, True])
async def test_forty_calls_that_wait_for_each_other_all_run_at_once(known_as_short: bool) -> None:
    blocking = False
    barrier = threading.Barrier(40)

    def work() -> None:
        if blocking:
            barrier.wait(30)

    async with driver() as it:
        if known_as_short:
            for job in [it.spawn(work) for _ in range(3000)]:
                await job.value()
        blocking = True
        for job in [it.spawn(work) for _ in range(40)]:
            await job.value()


async def test_never_more_than_max_workers_run() -> None:
    crowd = Crowd()
    async with driver(3) as it:
        for job in [it.spawn(crowd) for _ in range(300)]:
            await job.value()
    assert 1 <= crowd.most <= 3


async def test_one_call_after_another_uses_one_thread() -> None:
    async with driver() as it:
        workers = set()
        for _ in range(100):
            workers.add(await it.spawn(threading.get_ident).value())
        assert len(workers) <= 2  # the first may still be on its way to idle when the second call comes


def whoami() -> tuple[threading.Thread, str, str]:
    system = f"/proc/self/task/{threading.get_native_id()}/comm"
    shown = Path(system).read_text().strip() if os.path.exists(system) else ""
    return threading.current_thread(), threading.current_thread().name, shown


async def test_threads_are_daemons_and_carry_the_name_of_the_task_while_it_runs() -> None:
    async with driver(name="crew") as it:
        for name in ("load the orders", "whoami"):
            me, in_python, in_system = await it.spawn(whoami, name=name).value()
            assert me.daemon
            assert in_python == name
            assert in_system in (name[:15], "")
        await comes_true(lambda: me.name == "unified_exec crew")


async def test_idle_threads_retire_and_new_ones_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "IDLE_SECONDS", 0.01)
    async with driver() as it:
        barrier = threading.Barrier(5)
        for _ in range(3):
            for job in [it.spawn(barrier.wait) for _ in range(5)]:
                await job.value()
            await comes_true(lambda: not it.lane.scheduler._threads)


async def test_completions_share_a_wake_up() -> None:
    async with driver(1) as it:
        rings = 0
        ring = it.lane.adapter.call_threadsafe

        def counted(fn: Callable[..., object], *args: Any) -> bool:
            nonlocal rings
            rings += 1
            return ring(fn, *args)

        blocker = Blocker()
        first = it.spawn(blocker)
        await happens(blocker.began)
        last = threading.Event()
        for _ in range(500):
            it.spawn(int)
        it.spawn(last.set)
        it.lane.adapter.call_threadsafe = counted  # type: ignore[method-assign]
        try:
            blocker.go.set()
            last.wait(30)  # the loop is busy meanwhile
            for job in it.jobs:
                await job.wait()
        finally:
            it.lane.adapter.call_threadsafe = ring  # type: ignore[method-assign]
        assert first.outcome is not None
        assert rings <= 3


async def test_a_broken_handle_costs_no_other_task_its_result(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Job):
        __slots__ = ()

        def settled(self) -> None:
            super().settled()
            raise LookupError("broken handle")

    if current_adapter().__class__.__name__ == "TrioAdapter":
        pytest.skip("trio ends the run for a callback that raises")
    loop = asyncio.get_running_loop()
    seen: list[Any] = []
    loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))
    async with ThreadPool(1) as pool:
        it = Driver(pool)
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        broken = Broken("broken", int, (), "thread", it.owner)
        broken.adapter, broken.waiters, broken.settlements = it.adapter, [], 0
        it.lane.submit(broken)
        last = it.spawn(int)
        blocker.go.set()
        assert await last.value() == 0
    assert [type(exc) for exc in seen] == [LookupError]


async def test_without_room_for_a_thread_submit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise RuntimeError("can't start new thread")

    async with driver() as it:
        with monkeypatch.context() as patch:
            patch.setattr(scheduler, "start_new_thread", refuse)
            with pytest.raises(WorkerStartError, match="no room"):
                it.spawn(int)
        assert await it.spawn(int, 3).value() == 3


async def test_a_task_that_finds_no_room_for_a_thread_waits_for_those_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise RuntimeError("can't start new thread")

    async with driver() as it:
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        with monkeypatch.context() as patch:
            patch.setattr(scheduler, "start_new_thread", refuse)
            job = it.spawn(int, 3)
            await anyio.lowlevel.checkpoint()
        assert await job.value() == 3  # tried again
        blocker.go.set()


async def test_nested_tasks_of_one_parent_are_limited_like_a_pool() -> None:
    crowd = Crowd()
    async with driver(3) as it:

        async def children() -> None:
            for job in [it.spawn(crowd, nested=True) for _ in range(100)]:
                await job.value()

        await it.spawn(anyio.from_thread.run, children).value()
        assert crowd.most <= 3
        assert not it.lane.scheduler.queues._nested
