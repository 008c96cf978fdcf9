"""Design §1, clause 1: nothing a scope started outlives it."""

from __future__ import annotations

import asyncio
import logging
import threading

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.contract import tasks
from tests.contract.conftest import PLACES, Folder, Place
from tests.waiting import until_async
from unified_exec import ProcessPool, TaskScope, TaskState, ThreadPool


async def test_leaving_the_block_waits_for_every_task(place: Place, folder: Folder) -> None:
    async def release() -> None:
        await folder.started("a", "b")
        await checkpoint()
        assert not left
        folder.release("a", "b")

    left = False
    async with anyio.create_task_group() as outside:
        outside.start_soon(release)
        async with TaskScope() as scope:
            handles = [place.spawn(scope, tasks.hold, folder.path, name) for name in "ab"]
        left = True
        assert [handle.result() for handle in handles] == ["a", "b"]


async def test_an_empty_scope_ends() -> None:
    async with TaskScope():
        pass


async def test_what_a_task_spawns_while_the_scope_is_left_is_waited_for(place: Place, folder: Folder) -> None:
    async def late() -> None:
        await folder.started("a")
        folder.release("a")
        await handles[0].wait()
        handles.append(place.spawn(scope, tasks.hold, folder.path, "b"))
        folder.release("b")

    async with TaskScope() as scope:
        handles = [place.spawn(scope, tasks.hold, folder.path, "a")]
        scope.spawn(late)
    assert [handle.result() for handle in handles] == ["a", "b"]


async def test_a_body_that_raises_stops_every_task_and_waits_for_it(place: Place, folder: Folder) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = place.spawn(scope, tasks.hold, folder.path, "a")
            await folder.started("a")
            raise KeyError("body")
    assert [repr(error) for error in caught.value.exceptions] == ["KeyError('body')"]
    assert handle.cancelled()
    assert folder.ended("a")


async def test_an_outer_cancel_scope_stops_every_task_and_waits_for_it(place: Place, folder: Folder) -> None:
    with anyio.CancelScope() as outer:
        async with TaskScope() as scope:
            handle = place.spawn(scope, tasks.hold, folder.path, "a")
            await folder.started("a")
            outer.cancel()
    assert outer.cancelled_caught
    assert handle.cancelled()
    assert folder.ended("a")


async def test_an_outer_cancel_while_the_block_is_being_left_does_too(place: Place, folder: Folder) -> None:
    async def cancel() -> None:
        await folder.started("a")
        outer.cancel()

    async with anyio.create_task_group() as outside:
        outside.start_soon(cancel)
        with anyio.CancelScope() as outer:
            async with TaskScope() as scope:
                handle = place.spawn(scope, tasks.hold, folder.path, "a")
        assert outer.cancelled_caught
        assert handle.cancelled()
        assert folder.ended("a")


async def test_cancel_of_the_scope_stops_every_task_and_waits_for_it(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a")
        await folder.started("a")
        scope.cancel("enough")
        await anyio.sleep_forever()
    assert handle.cancelled()
    assert folder.ended("a")
    assert handle.stop_reason == "enough"


async def test_cancel_scope_cancel_is_as_good(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a")
        await folder.started("a")
        scope.cancel_scope.cancel()
    assert handle.cancelled()
    assert folder.ended("a")


@pytest.mark.asyncio
@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
@pytest.mark.parametrize("leaving", [False, True], ids=["in the body", "while leaving"])
async def test_asyncio_cancel_stops_every_task_and_waits_for_it(place: Place, folder: Folder, leaving: bool) -> None:
    async def main() -> None:
        async with TaskScope() as scope:
            handles.append(place.spawn(scope, tasks.hold, folder.path, "a"))
            if not leaving:
                await asyncio.Event().wait()

    handles = []  # type: ignore[var-annotated]
    task = asyncio.create_task(main())
    await folder.started("a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert handles[0].cancelled()
    assert folder.ended("a")


@pytest.mark.asyncio
async def test_no_number_of_asyncio_cancels_makes_an_orphan() -> None:
    """Not even those that hit the scope's own supervisor."""

    def ignore_the_ask() -> str:
        started.set()
        go.wait()
        return "done"

    async def main() -> None:
        async with TaskScope() as scope:
            handles.append(scope.spawn(ignore_the_ask))
            await asyncio.Event().wait()

    handles = []  # type: ignore[var-annotated]
    started, go = threading.Event(), threading.Event()
    task = asyncio.create_task(main())
    try:
        assert await until_async(started.is_set, 60)
        for _ in range(5):
            for each in asyncio.all_tasks() - {asyncio.current_task()}:
                each.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert not task.done()
    finally:
        go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handles[0].result() == "done"


async def test_an_abandoned_thread_task_alone_may_outlive_its_scope(caplog: pytest.LogCaptureFixture) -> None:
    def deaf() -> None:
        started.set()
        go.wait()
        ended.set()

    started, go, ended = threading.Event(), threading.Event(), threading.Event()
    try:
        with caplog.at_level(logging.WARNING, "unified_exec"):
            async with TaskScope() as scope:
                handle = scope.spawn(deaf, abandon=True, name="deaf")
                assert await until_async(started.is_set, 60)
                scope.cancel()
        assert handle.cancelled()
        assert not ended.is_set()
        assert "task 'deaf' was abandoned" in caplog.text
    finally:
        go.set()
        assert await until_async(ended.is_set, 60)


async def test_a_thread_task_that_does_not_look_is_waited_for(folder: Folder) -> None:
    def deaf() -> str:
        started.set()
        go.wait()
        return "done"

    async def release() -> None:
        assert await until_async(started.is_set, 60)
        scope.cancel()
        for _ in range(10):
            await checkpoint()
        assert not left
        go.set()

    started, go, left = threading.Event(), threading.Event(), False
    async with anyio.create_task_group() as outside:
        async with TaskScope() as scope:
            outside.start_soon(release)
            handle = scope.spawn(deaf)
        left = True
    assert handle.result() == "done"


@pytest.mark.parametrize("place", [PLACES["thread"], PLACES["process"]], ids=["thread", "process"])
async def test_queued_tasks_of_a_cancelled_scope_never_start(place: Place, folder: Folder) -> None:
    async with ProcessPool(1) as processes, ThreadPool(1) as threads:
        async with TaskScope(processes=processes, threads=threads) as scope:
            first = place.spawn(scope, tasks.hold, folder.path, "first")
            queued = [place.spawn(scope, tasks.hold, folder.path, f"queued{n}") for n in range(3)]
            await folder.started("first")
            assert {handle.state for handle in queued} == {TaskState.QUEUED}
            scope.cancel()
    assert first.cancelled()
    assert all(handle.cancelled() and handle.timing.started is None for handle in queued)
    assert not any(folder.has_started(f"queued{n}") for n in range(3))


async def test_a_task_spawned_in_a_cancelled_scope_never_starts(remote_place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        scope.cancel()
        handle = remote_place.spawn(scope, tasks.hold, folder.path, "a")
        assert handle.cancelled()
    assert not folder.has_started("a")


async def test_a_task_spawned_under_an_outer_cancellation_is_stopped(remote_place: Place, folder: Folder) -> None:
    with anyio.CancelScope() as outer:
        async with TaskScope() as scope:
            first = remote_place.spawn(scope, tasks.hold, folder.path, "a")
            await folder.started("a")
            outer.cancel()
            with anyio.CancelScope(shield=True):
                await first.wait()
                second = remote_place.spawn(scope, tasks.hold, folder.path, "b")
                await second.wait()
    assert first.cancelled()
    assert second.cancelled()


async def test_what_outlived_a_broken_supervisor_is_still_waited_for(
    remote_place: Place, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unified_exec._scope.remote_tasks import RemoteTasks

    async def broken(self: RemoteTasks) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(RemoteTasks, "_watch", broken)
    with pytest.raises(ExceptionGroup):
        async with TaskScope() as scope:
            handle = remote_place.spawn(scope, tasks.hold, folder.path, "a")
            await anyio.sleep_forever()
    assert handle.cancelled()
    assert folder.ended("a") or not folder.has_started("a")
