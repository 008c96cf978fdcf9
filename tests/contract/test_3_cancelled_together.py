"""Design §1, clause 3: a cancellation that makes its scope cancel others leaves the pool's books in order."""

from __future__ import annotations

import pytest

from tests.contract import stops
from tests.contract.conftest import Folder
from tests.contract.test_3_process_tasks import NEVER
from unified_exec import ProcessPool, Tally, TaskScope, Verdict, WorkerStartError

pytestmark = pytest.mark.every_loop


class OneForAll:
    """Everything ends with the first task that ends."""

    def judge(self, tally: Tally) -> Verdict:
        return Verdict.CANCEL_REST

    def raises(self, tally: Tally) -> bool:
        return False


async def test_a_cancellation_that_causes_others_counts_each_task_once(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool:
        for _ in range(3):
            async with TaskScope(processes=pool, policy=OneForAll()) as scope:
                handles = [scope.spawn(stops.maybe_hold, folder.path, "x", False, on="process") for n in range(300)]
                handles[0].cancel()
            assert all(handle.done() for handle in handles)
        async with TaskScope(processes=pool) as scope:
            assert [await scope.spawn(abs, -n, on="process") for n in range(5)] == list(range(5))


@pytest.mark.loops_in_turn
async def test_tasks_that_are_taken_back_together_count_each_once(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool:
        for attempt in range(30):
            if await _sent_ahead_and_taken_back(pool, folder, f"held-{attempt}"):
                break  # else the machine is so busy that the function does not count as short
        else:
            pytest.fail("they were not sent ahead")
        async with TaskScope(processes=pool) as scope:
            assert [await scope.spawn(abs, -n, on="process") for n in range(5)] == list(range(5))


async def _sent_ahead_and_taken_back(pool: ProcessPool, folder: Folder, name: str) -> bool:
    async with TaskScope(processes=pool) as scope:
        for _ in range(100):  # known as a short function from now on
            await scope.spawn(stops.maybe_hold, folder.path, "", False, on="process")
    async with TaskScope(processes=pool, policy=OneForAll()) as scope:
        held = scope.spawn(stops.maybe_hold, folder.path, name, True, on="process")
        ahead = [scope.spawn(stops.maybe_hold, folder.path, "", False, on="process") for _ in range(10)]
        await folder.started(name)
        sent_ahead = all(handle.worker is not None for handle in ahead)
        scope.cancel()
    assert all(handle.cancelled() for handle in (held, *ahead))
    return sent_ahead


def refuse() -> None:
    raise RuntimeError("no")


@pytest.mark.loops_in_turn
async def test_tasks_that_fail_together_count_each_once() -> None:
    """A failing start fails all that wait; the first failure makes the scope cancel the rest meanwhile."""
    async with ProcessPool(1, initializer=refuse) as pool:
        for _ in range(3):
            with pytest.raises(ExceptionGroup) as caught:
                async with TaskScope(processes=pool) as scope:
                    handles = [scope.spawn(abs, n, on="process") for n in range(5)]
            assert {type(error) for error in caught.value.exceptions} == {WorkerStartError}
            assert all(handle.done() for handle in handles)
