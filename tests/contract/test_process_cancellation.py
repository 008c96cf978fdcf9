"""Law 1.3 for processes: ask, grace, kill; and the worker stays warm where it can."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import psutil
import pytest

from tests.contract import stops
from tests.contract.conftest import Folder
from tests.waiting import until_async
from unified_exec import (
    Collect,
    FailFast,
    ProcessPool,
    Tally,
    TaskCancelled,
    TaskHandle,
    TaskScope,
    TaskState,
    Verdict,
    WorkerCrashed,
    WorkerStartError,
)

NEVER = 600.0
"""A grace so long that only the ask can end a task."""


async def running(handle: TaskHandle[Any]) -> None:
    assert await until_async(lambda: handle.state is TaskState.RUNNING, 60)


async def gone(pid: int) -> bool:
    def ended() -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return await until_async(ended, 60)


@pytest.mark.parametrize("body", range(len(stops.BODIES)), ids=[body.__name__ for body in stops.BODIES])
async def test_an_asked_task_runs_its_finally_block_and_its_worker_stays_warm(body: int, folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.in_a_finally, folder.path, "task", body, on="process")
        await folder.started("task")
        worker = handle.worker
        handle.cancel("enough")
        with pytest.raises(TaskCancelled, match="enough"):
            await handle
        assert folder.ended("task")
        assert (folder.path / "task.before").read_text() == "False"
        assert (folder.path / "task.asked").read_text() == "True enough"
        assert await scope.spawn(os.getpid, on="process") == worker


async def test_a_task_that_swallows_the_ask_is_killed_after_the_grace_with_its_children(folder: Folder) -> None:
    async with ProcessPool(1, grace=0.3) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.deaf, folder.path, "task", on="process")
        await folder.started("task")
        worker = handle.worker
        assert worker is not None
        child = int((folder.path / "task.child").read_text())
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        assert await gone(worker)
        assert await gone(child)
        assert await scope.spawn(os.getpid, on="process") != worker


async def test_a_call_that_keeps_the_gil_is_killed_and_a_spare_worker_takes_over(folder: Folder) -> None:
    async with ProcessPool(1, grace=0.5) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.in_c, folder.path, "task", on="process")
        await folder.started("task")
        handle.cancel()
        await handle.wait()
        killed = time.time()
        assert handle.cancelled()
        successor = await scope.spawn(os.getpid, on="process")
        assert successor != handle.worker
        assert psutil.Process(successor).create_time() < killed, "no spare had been started for the kill"


async def test_a_spare_worker_is_no_more_than_that(folder: Folder) -> None:
    """A pool of one runs one task at a time, also while its worker is being asked."""
    async with ProcessPool(1, grace=0.5) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        deaf = scope.spawn(stops.deaf, folder.path, "task", on="process")
        await folder.started("task")
        after = [scope.spawn(stops.mark, folder.path, f"after{n}", on="process") for n in range(5)]
        deaf.cancel()
        for handle in after:
            await handle
            assert deaf.done()
            assert handle.timing.started is not None
            assert deaf.timing.finished is not None
            assert handle.timing.started > deaf.timing.finished - 0.4


async def test_an_ask_during_an_import_retires_the_worker(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.in_an_import, folder.path, "task", on="process")
        await folder.started("task")
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        assert folder.ended("task")
        assert await scope.spawn(os.getpid, on="process") != handle.worker


async def test_an_ask_that_a_del_swallowed_is_repeated(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.in_a_del, folder.path, "task", on="process")
        await folder.started("task")
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        assert folder.ended("task")
        assert await scope.spawn(os.getpid, on="process") == handle.worker


async def test_an_ask_reaches_a_task_whose_arguments_are_being_rebuilt(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.take, stops.SlowToRebuild(folder.path, "task"), on="process")
        await folder.started("task")
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        assert folder.ended("task")
        assert await scope.spawn(stops.take, 1, on="process") == "taken"
        assert await scope.spawn(os.getpid, on="process") == handle.worker


async def test_a_task_cancelled_while_its_worker_starts_never_starts(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.mark, folder.path, "task", on="process")
        handle.cancel()
        assert handle.cancelled()
        await anyio.lowlevel.checkpoint()
        second = scope.spawn(stops.mark, folder.path, "second", on="process")
        await anyio.lowlevel.checkpoint()
        second.cancel()
        assert second.cancelled()
        await scope.spawn(os.getpid, on="process")
        assert not folder.has_started("task")
        assert not folder.has_started("second")


async def test_a_queued_task_never_starts(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        first = scope.spawn(stops.in_a_finally, folder.path, "first", 0, on="process")
        await folder.started("first")
        queued = [scope.spawn(stops.mark, folder.path, f"queued{n}", on="process") for n in range(10)]
        for handle in queued:
            handle.cancel()
        assert all(handle.cancelled() for handle in queued)
        first.cancel()
        await scope.spawn(os.getpid, on="process")
        assert not list(folder.path.glob("queued*"))


async def test_tasks_that_were_sent_ahead_are_taken_back(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        for _ in range(100):  # known as a short function from now on
            await scope.spawn(stops.maybe_hold, folder.path, "", False, on="process")
        held = scope.spawn(stops.maybe_hold, folder.path, "held", True, on="process")
        ahead = [scope.spawn(stops.maybe_hold, folder.path, f"ahead{n}", False, on="process") for n in range(10)]
        assert any(handle.worker is not None for handle in ahead), "nothing was sent ahead"
        await folder.started("held")
        for handle in ahead[:9]:
            handle.cancel()
        assert all(handle.cancelled() for handle in ahead[:9])
        assert not held.done()
        folder.release("held")
        assert await ahead[9] == await held
        assert all(handle.timing.started is None for handle in ahead[:9])


async def test_a_c_function_that_returned_after_the_ask_keeps_its_value() -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        await scope.spawn(hashlib.pbkdf2_hmac, "sha256", b"", b"", 1, on="process")  # imports what it needs
        handle = scope.spawn(hashlib.pbkdf2_hmac, "sha256", b"", b"", 500_000, on="process")
        await running(handle)
        handle.cancel()
        assert len(await handle) == 32


async def test_an_exception_of_the_cleanup_is_the_outcome(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.fails_in_cleanup, folder.path, "task", on="process")
        await folder.started("task")
        handle.cancel()
        with pytest.raises(ValueError, match="cleanup"):
            await handle


async def _handle(scope: TaskScope, handle: TaskHandle[Any]) -> None:
    handle.cancel("by handle")


async def _scope(scope: TaskScope, handle: TaskHandle[Any]) -> None:
    scope.cancel("by scope")


async def _cancel_scope(scope: TaskScope, handle: TaskHandle[Any]) -> None:
    scope.cancel_scope.cancel()


async def _failure(scope: TaskScope, handle: TaskHandle[Any]) -> None:
    raise LookupError


WAYS = {_handle: "by handle", _scope: "by scope", _cancel_scope: "its scope was cancelled", _failure: "cancelled"}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_every_way_of_cancelling_asks_and_tells_the_reason(
    way: Callable[[TaskScope, TaskHandle[Any]], Awaitable[None]], folder: Folder
) -> None:
    async with ProcessPool(1, grace=NEVER) as pool:
        try:
            async with TaskScope(processes=pool) as scope:
                handle = scope.spawn(stops.in_a_finally, folder.path, "task", 0, on="process")
                await folder.started("task")
                await way(scope, handle)
        except* LookupError:
            pass
        assert handle.cancelled()
        assert (folder.path / "task.asked").read_text().endswith(WAYS[way])
        async with TaskScope(processes=pool) as scope:
            assert await scope.spawn(os.getpid, on="process") == handle.worker


async def test_a_worker_is_not_killed_for_an_answer_that_the_busy_loop_had_not_read(folder: Folder) -> None:
    """The grace is over, but so was the task: the worker may be at another one already."""
    async with ProcessPool(1, grace=0.05) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        for _ in range(100):
            await scope.spawn(stops.maybe_hold, folder.path, "", False, on="process")
        asked = scope.spawn(stops.in_a_finally, folder.path, "asked", 0, on="process")
        await folder.started("asked")
        asked.cancel()
        after = [scope.spawn(stops.maybe_hold, folder.path, f"after{n}", False, on="process") for n in range(10)]
        ended = folder.path / "asked.ended"
        while not ended.exists():
            pass  # keeps the event loop busy, as a careless body does
        time.sleep(0.2)
        assert {await handle for handle in after} == {asked.worker}
        assert asked.cancelled()


# -- coroutines in a process


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


# -- the parent's own books, when a settled task makes its scope cancel others


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


def refuse() -> None:
    raise RuntimeError("no")


async def test_tasks_that_fail_together_count_each_once() -> None:
    """A failing start fails all that wait; the first failure makes the scope cancel the rest meanwhile."""
    async with ProcessPool(1, initializer=refuse) as pool:
        for _ in range(3):
            with pytest.raises(ExceptionGroup) as caught:
                async with TaskScope(processes=pool) as scope:
                    handles = [scope.spawn(abs, n, on="process") for n in range(5)]
            assert {type(error) for error in caught.value.exceptions} == {WorkerStartError}
            assert all(handle.done() for handle in handles)
