"""A scope with much queued work does not hold up another scope's single task."""

from __future__ import annotations

import time

import anyio
import pytest

from unified_exec import ProcessPool, TaskScope, ThreadPool

pytestmark = pytest.mark.every_loop

QUEUED = 5000
A_FEW = 8
"""Tasks of the other scope that may end first: those that run, and what was sent ahead for some milliseconds."""


def nap() -> None:
    time.sleep(0.005)


def nothing() -> None:
    pass


@pytest.mark.parametrize("place", ["process", "thread"])
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
