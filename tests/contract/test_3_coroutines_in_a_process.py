"""Law 1.3 for coroutines that share a worker process: each is stopped alone, as far as it lets go of the loop."""

from __future__ import annotations

import psutil
import pytest

from tests.contract import stops
from tests.contract.conftest import Folder
from tests.contract.test_3_process_tasks import NEVER, running
from unified_exec import Collect, FailFast, ProcessPool, TaskScope, WorkerCrashed

pytestmark = pytest.mark.every_loop


async def test_each_of_many_coroutines_in_a_worker_can_be_cancelled(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handles = [scope.spawn(stops.a_in_a_finally, folder.path, f"t{n}", on="process") for n in range(40)]
        await folder.started(*(f"t{n}" for n in range(40)))
        for n, handle in enumerate(handles[:20]):
            handle.cancel(f"reason {n}")
        for n, handle in enumerate(handles[:20]):
            await handle.wait()
            assert handle.cancelled()
            assert folder.ended(f"t{n}")
            assert (folder.path / f"t{n}.asked").read_text() == f"reason {n}"
        assert not any(handle.done() for handle in handles[20:])
        folder.release(*(f"t{n}" for n in range(20, 40)))
        assert [await handle for handle in handles[20:]] == [f"t{n}" for n in range(20, 40)]
        assert len({handle.worker for handle in handles}) == 1


@pytest.mark.loops_in_turn
async def test_a_thousand_coroutines_are_cancelled_at_once(folder: Folder) -> None:
    """More asks than a mailbox holds, while nobody reads it."""
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        worker = await scope.spawn(stops.a_pid, on="process")
        handles = [scope.spawn(stops.a_sleep, on="process") for _ in range(999)]
        assert await scope.spawn(stops.a_pid, on="process") == worker
        process = psutil.Process(worker)
        process.suspend()
        for handle in handles:
            handle.cancel()
        process.resume()
        for handle in handles:
            await handle.wait()
        assert all(handle.cancelled() for handle in handles)
        assert await scope.spawn(stops.a_pid, on="process") == worker


@pytest.mark.loops_in_turn
async def test_a_coroutine_that_blocks_its_loop_is_interrupted_and_its_neighbours_go_on(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        neighbour = scope.spawn(stops.a_in_a_finally, folder.path, "neighbour", on="process")
        await folder.started("neighbour")
        blocker = scope.spawn(stops.a_blocks, folder.path, "blocker", on="process")
        other = scope.spawn(stops.a_in_a_finally, folder.path, "other", on="process")
        await folder.started("blocker")
        other.cancel()  # reaches its task as soon as the loop is free again
        blocker.cancel("enough")
        await blocker.wait()
        await other.wait()
        assert blocker.cancelled()
        assert other.cancelled()
        assert folder.ended("blocker")
        folder.release("neighbour")
        assert await neighbour == "neighbour"
        assert neighbour.worker == blocker.worker


@pytest.mark.loops_in_turn
async def test_an_ask_that_comes_before_a_coroutine_blocks_its_loop_is_not_lost(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        await scope.spawn(stops.a_pid, on="process")
        for n in range(30):
            blocker = scope.spawn(stops.a_blocks, folder.path, f"task{n}", on="process")
            if n % 3:
                await running(blocker)
            blocker.cancel()
            await blocker.wait()
            assert blocker.cancelled()


@pytest.mark.parametrize("policy", [Collect(), FailFast()], ids=["collect", "fail fast"])
@pytest.mark.loops_in_turn
async def test_the_neighbours_of_a_killed_coroutine_are_told_whose_fault_it_was(
    policy: Collect | FailFast, folder: Folder
) -> None:
    async with ProcessPool(1, grace=0.2) as pool:
        try:
            async with TaskScope(processes=pool, policy=policy) as scope:
                names = [f"t{n}" for n in range(3)]
                crashed = [scope.spawn(stops.a_in_a_finally, folder.path, name, on="process") for name in names]
                await folder.started(*names)
                culprit = scope.spawn(stops.a_deaf, folder.path, "deaf", on="process", name="the deaf one")
                await folder.started("deaf")
                culprit.cancel()
                await culprit.wait()
        except* WorkerCrashed as group:
            assert set(group.exceptions) == {handle.exception() for handle in crashed}
        assert culprit.cancelled()
        for handle in crashed:
            assert isinstance(handle.exception(), WorkerCrashed)
            assert "the deaf one" in str(handle.exception())
        async with TaskScope(processes=pool) as scope:
            assert await scope.spawn(stops.a_pid, on="process") != culprit.worker
