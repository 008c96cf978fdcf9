"""A scope with much queued work does not hold up another scope's single task, nor a task of a higher priority."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from unified_exec import Collect, ProcessPool, TaskHandle, TaskScope, ThreadPool, from_task
from unified_exec._tasks.current import current

pytestmark = pytest.mark.every_loop

QUEUED = 5000
A_FEW = 8
"""Tasks of the other scope that may end first: those that run, and what was sent ahead for some milliseconds."""


def nap() -> None:
    time.sleep(0.005)


def nothing() -> None:
    pass


@pytest.mark.parametrize("place", ["process", "thread"])
@pytest.mark.loops_in_turn
async def test_a_single_task_waits_for_a_few_of_another_scopes_tasks_only(place: str) -> None:
    async with ProcessPool(1) as processes, ThreadPool(1) as threads:
        async with TaskScope(processes=processes, threads=threads) as crowded:
            handles = [crowded.spawn(nap, on=place) for _ in range(QUEUED)]
            await handles[9]
            async with TaskScope(processes=processes, threads=threads) as single:
                before = sum(handle.done() for handle in handles)
                await single.spawn(nothing, on=place)
                assert sum(handle.done() for handle in handles) - before <= A_FEW
            crowded.cancel()
        await anyio.lowlevel.checkpoint()


async def behind(scope: TaskScope, place: str, handles: list[TaskHandle[None]]) -> int:
    """How many of `handles` end before a task that `scope` is given now."""
    before = sum(handle.done() for handle in handles)
    await scope.spawn(nothing, on=place)
    return sum(handle.done() for handle in handles) - before


async def in_a_scope_of_its_own(
    processes: ProcessPool, threads: ThreadPool, place: str, handles: list[TaskHandle[None]]
) -> int:
    async with TaskScope(processes=processes, threads=threads) as scope:
        return await behind(scope, place, handles)


@pytest.mark.parametrize("place", ["process", "thread"])
@pytest.mark.loops_in_turn
async def test_a_task_of_a_higher_priority_does_not_wait_for_queued_ones(place: str) -> None:
    async with (
        ProcessPool(1) as processes,
        ThreadPool(1) as threads,
        TaskScope(processes=processes, threads=threads, policy=Collect()) as crowded,
    ):
        handles = [crowded.spawn(nap, on=place) for _ in range(QUEUED)]
        handles += [crowded.spawn(nap, on=place, priority=1) for _ in range(QUEUED)]
        await handles[-QUEUED + 9]
        before = sum(handle.done() for handle in handles)
        await crowded.spawn(nothing, on=place, priority=2)  # the same scope: without a priority it would be the last
        assert sum(handle.done() for handle in handles) - before <= A_FEW
        async with TaskScope(processes=processes, threads=threads, priority=2) as urgent:
            assert await behind(urgent, place, handles) <= A_FEW
        inherited = crowded.spawn(in_a_scope_of_its_own, processes, threads, place, handles, priority=2)
        assert await inherited <= A_FEW
        assert await crowded.spawn(behind, crowded, place, handles, priority=2) <= A_FEW
        assert sum(handle.done() for handle in handles[:QUEUED]) < QUEUED  # the low ones wait
        crowded.cancel()
    await anyio.lowlevel.checkpoint()


async def own_priority() -> int:
    task = current.get()
    assert task is not None
    return task.priority


def of_what_it_spawns() -> list[int]:
    return [from_task.spawn(own_priority).result(), from_task.spawn(own_priority, priority=1).result()]


@pytest.mark.parametrize("place", ["process", "thread"])
async def test_what_a_thread_or_a_process_spawns_has_its_priority(place: str) -> None:
    async with TaskScope() as scope:
        assert await scope.spawn(of_what_it_spawns, on=place, priority=4) == [4, 1]
        assert await scope.spawn(of_what_it_spawns, on=place) == [0, 1]
        assert await scope.spawn(own_priority) == 0
    async with TaskScope(priority=3) as scope:
        assert await scope.spawn(of_what_it_spawns, on=place, priority=0) == [0, 1]
        assert await scope.spawn(of_what_it_spawns, on=place) == [3, 1]


@pytest.mark.parametrize("wrong", ["high", 1.5, True])
async def test_a_priority_is_a_whole_number(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"priority must be a whole number.*got {wrong!r}"):
        TaskScope(priority=wrong)
    async with TaskScope() as scope:
        with pytest.raises(TypeError, match="priority must be a whole number"):
            scope.spawn(nothing, priority=wrong)
        with pytest.raises(TypeError, match="priority must be a whole number"):
            scope.map(abs, [1], priority=wrong)
