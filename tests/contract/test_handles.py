"""Design §2: what a handle tells and does, at every place."""

from __future__ import annotations

import os
import threading
import time

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.contract import tasks
from tests.contract.conftest import Folder, Place
from unified_exec import Collect, TaskCancelled, TaskHandle, TaskScope, TaskState, call, current_task
from unified_exec._tasks.types import NEXT


async def test_awaiting_gives_the_value_any_number_of_times(place: Place) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.value, 7)
        assert [await handle, await handle, handle.result()] == [7, 7, 7]
        assert handle.exception() is None
    assert await handle == 7


async def test_many_may_wait_at_the_same_time(place: Place, folder: Folder) -> None:
    async def wait() -> None:
        got.append(await handle)

    got: list[str] = []
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a")
        for _ in range(3):
            scope.start_soon(wait)
        await folder.started("a")
        folder.release("a")
    assert got == ["a"] * 3


async def test_awaiting_a_failed_task_raises_its_own_exception(place: Place) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = place.spawn(scope, tasks.fail, "mine")
        for _ in range(2):
            with pytest.raises(ValueError, match="mine") as caught:
                await handle
            assert caught.value is handle.exception()
        frames = [entry.name for entry in caught.traceback]
        assert frames.count("a_fail" if place.coroutine else "fail") == 1


async def test_wait_raises_nothing_of_the_task(place: Place, folder: Folder) -> None:
    async with TaskScope(policy=Collect()) as scope:
        failing = place.spawn(scope, tasks.fail, "mine")
        await failing.wait()
        assert failing.done()
        cancelled = place.spawn(scope, tasks.hold, folder.path, "a")
        await folder.started("a")
        cancelled.cancel()
        await cancelled.wait()
        await cancelled.wait()


async def test_awaiting_a_cancelled_task_raises_task_cancelled(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a", name="held")
        await folder.started("a")
        handle.cancel("not needed")
        with pytest.raises(anyio.TaskCancelled) as caught:
            await handle
        assert isinstance(caught.value, TaskCancelled)
        assert str(caught.value) == "task 'held' was cancelled: not needed"
        for ask in (handle.result, handle.exception):
            with pytest.raises(TaskCancelled):
                ask()
        assert handle.cancelled()
        handle.cancel("again")
        assert handle.stop_reason == "not needed"


async def test_result_and_exception_need_an_end(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a", name="held")
        for ask in (handle.result, handle.exception):
            with pytest.raises(anyio.TaskNotFinished, match="'held' has not finished yet: `await` the handle first"):
                ask()
        assert not handle.done()
        assert not handle.cancelled()
        folder.release("a")


async def test_cancelling_the_waiter_leaves_the_task_alone(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a")
        await folder.started("a")
        for wait in (handle.wait, handle.__await__):
            with anyio.CancelScope() as waiting:
                waiting.cancel()
                await (handle.wait() if wait == handle.wait else handle)
            assert waiting.cancelled_caught
        assert handle._waiters in (None, [])
        assert not handle.done()
        folder.release("a")
        assert await handle == "a"
        with anyio.CancelScope() as waiting:
            waiting.cancel()
            await handle
        assert waiting.cancelled_caught


async def test_a_task_goes_from_queued_over_running_to_done(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a")
        assert handle.state in (TaskState.QUEUED, TaskState.RUNNING)
        await folder.started("a")
        assert handle.state is TaskState.RUNNING
        assert repr(handle).endswith(f" id={handle.id} on {place.on}: running>")
        folder.release("a")
    assert handle.state is TaskState.DONE
    assert repr(handle).endswith(": finished>")
    assert NEXT[handle.state] == frozenset()


async def test_a_task_that_was_asked_is_stopping(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a")
        await folder.started("a")
        handle.cancel()
        assert handle.state is TaskState.STOPPING
    assert handle.state is TaskState.DONE
    assert repr(handle).endswith(": cancelled>")


async def test_timing_tells_when_it_was_queued_started_and_finished(place: Place, folder: Folder) -> None:
    before = time.monotonic()
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a")
        assert handle.timing.finished is None
        await folder.started("a")
        seen = time.monotonic()
        folder.release("a")
    queued, started, finished = handle.timing
    assert started is not None
    assert finished is not None
    assert before <= queued <= started <= seen <= finished <= time.monotonic()


async def test_worker_and_backend_tell_where_it_ran(place: Place) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.who_am_i, name="asks")
        name, backend, pid = await handle
    assert (name, backend, handle.backend) == ("asks", place.on, place.on)
    assert (pid == os.getpid()) == (place.on != "process")
    if place.on == "process":
        assert handle.worker == pid
    elif place.on in ("thread", "interpreter"):
        assert handle.worker not in (None, threading.get_ident())
    else:
        assert handle.worker is None


async def test_names_and_ids(place: Place) -> None:
    async with TaskScope() as scope:
        first, second = place.spawn(scope, tasks.value, 1), place.spawn(scope, tasks.value, 2, name="two")
    assert (first.name, second.name) == ("a_value" if place.coroutine else "value", "two")
    assert first.id < second.id


async def test_a_handle_knows_no_task_outside_of_tasks() -> None:
    assert current_task() is None


async def test_a_task_may_wait_for_another(place: Place) -> None:
    async def twice(other: TaskHandle[int]) -> int:
        return 2 * await other

    async with TaskScope() as scope:
        handle = scope.spawn(twice, place.spawn(scope, tasks.value, 21))
    assert handle.result() == 42


# --- call ---


async def test_call_returns_the_value(place: Place) -> None:
    assert await place.call(tasks.value, 3) == 3


async def test_call_raises_the_calls_own_exception_in_no_group(place: Place) -> None:
    with pytest.raises(ValueError, match="mine"):
        await place.call(tasks.fail, "mine")


async def test_cancelling_the_caller_stops_the_call_and_waits_for_it(place: Place, folder: Folder) -> None:
    async def caller() -> None:
        with caller_scope:
            await place.call(tasks.hold, folder.path, "a")
        assert folder.ended("a")
        ended.set()

    caller_scope, ended = anyio.CancelScope(), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(caller)
        await folder.started("a")
        caller_scope.cancel()
        await ended.wait()


async def test_call_refuses_misuse_in_no_group() -> None:
    with pytest.raises(TypeError, match=r"write spawn\(f, x\)"):
        await call(3)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="did you mean on='process'"):
        await call(tasks.value, 1, on="proces")  # type: ignore[call-overload]


async def test_call_can_time_out(place: Place, folder: Folder) -> None:
    with pytest.raises(TimeoutError, match="did not end within its timeout"):
        await place.call(tasks.hold, folder.path, "a", timeout=0.05)
    await checkpoint()
