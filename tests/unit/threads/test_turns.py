"""Whose turn it is: fairness between scopes, and nested calls, on every event loop."""

from __future__ import annotations

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.unit.threads.driving import Blocker, Crowd, Owner, driver, happens

pytestmark = pytest.mark.every_loop


async def test_a_scope_with_many_queued_tasks_does_not_delay_another() -> None:
    ran: list[str] = []
    async with driver(1) as it:
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        for _ in range(2_000):
            it.spawn(ran.append, "many", owner=it)
        last = it.spawn(ran.append, "single", owner=Owner())
        blocker.go.set()
        await last.value()
        assert ran.index("single") <= 2


async def test_within_a_scope_first_come_first_served() -> None:
    ran: list[int] = []
    async with driver(1) as it:
        for n in range(200):
            it.spawn(ran.append, n)
    assert ran == list(range(200))


async def test_nested_tasks_of_one_parent_are_limited_like_a_pool() -> None:
    crowd = Crowd()
    async with driver(3) as it:

        async def children() -> None:
            for job in [it.spawn(crowd, nested=True) for _ in range(100)]:
                await job.value()

        await it.spawn(anyio.from_thread.run, children).value()
        assert crowd.most <= 3
        assert not it.lane.scheduler.queues._nested
