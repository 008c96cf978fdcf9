"""Design §1, clause 2: one failure policy. By default the first failure cancels all others and is raised, each once."""

from __future__ import annotations

import threading

import anyio
import pytest

from tests.contract import tasks
from tests.contract.conftest import PLACES, Folder, Place
from tests.contract.groups import leaves
from tests.waiting import until_async
from unified_exec import Collect, TaskCancelled, TaskHandle, TaskScope, check_cancelled


async def test_the_first_failure_cancels_all_others_at_every_place_and_the_body(place: Place, folder: Folder) -> None:
    others: dict[str, TaskHandle[str]] = {}
    body_was_cancelled = False
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            for name, other in PLACES.items():
                others[name] = other.spawn(scope, tasks.hold, folder.path, name)
            await folder.started(*PLACES)
            failing = place.spawn(scope, tasks.fail, "first")
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                body_was_cancelled = True
                raise
    assert [repr(error) for error in caught.value.exceptions] == ["ValueError('first')"]
    assert caught.value.exceptions[0] is failing.exception()
    assert body_was_cancelled
    assert all(handle.cancelled() for handle in others.values())
    assert all(folder.ended(name) for name in PLACES)
    assert {handle.stop_reason for handle in others.values()} == {"another task of the scope failed with ValueError"}


async def test_every_real_failure_is_in_the_group_once(place: Place, folder: Folder) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope("job") as scope:
            second = place.spawn(scope, tasks.fail_when_asked, folder.path, "second")
            bystander = place.spawn(scope, tasks.hold, folder.path, "bystander")
            await folder.started("second", "bystander")
            first = place.spawn(scope, tasks.fail, "first")
    assert list(caught.value.exceptions) == [first.exception(), second.exception()]
    assert caught.value.message == "unhandled errors in TaskScope 'job'"
    assert bystander.cancelled()


async def test_a_failure_that_the_body_awaited_is_in_the_group_once(place: Place) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = place.spawn(scope, tasks.fail, "once")
            with pytest.raises(ValueError, match="once"):
                await handle
            await handle
    assert leaves(caught.value) == [handle.exception()]


async def test_a_failure_that_the_body_awaited_and_ended_with_is_in_the_group_once(place: Place) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = place.spawn(scope, tasks.fail, "once")
            await handle
    assert leaves(caught.value) == [handle.exception()]


async def test_a_failure_that_a_child_task_awaited_is_in_the_group_once(place: Place) -> None:
    async def child() -> None:
        await handle

    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = place.spawn(scope, tasks.fail, "once")
            scope.spawn(child)
            scope.start_soon(child)
            await handle
    assert leaves(caught.value) == [handle.exception()]


async def test_a_failure_awaited_in_a_nested_group_is_in_the_group_once(place: Place) -> None:
    async def child() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(wait)

    async def wait() -> None:
        await handle

    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = place.spawn(scope, tasks.fail, "once")
            scope.spawn(child)
            async with TaskScope() as inner:
                inner.spawn(child)
                await handle
    assert leaves(caught.value) == [handle.exception()]


async def test_a_task_that_failed_with_a_group_is_in_the_group_once() -> None:
    async def fail_twice() -> None:
        raise ExceptionGroup("two", [ValueError(1), KeyError(2)])

    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = scope.spawn(fail_twice)
            await handle
    assert [repr(error) for error in leaves(caught.value)] == ["ValueError(1)", "KeyError(2)"]


async def test_awaiting_a_sibling_that_the_scope_cancelled_is_no_failure(place: Place, folder: Folder) -> None:
    async def wait_for_sibling() -> None:
        with anyio.CancelScope(shield=True):
            await sibling

    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            sibling = place.spawn(scope, tasks.hold, folder.path, "sibling")
            await folder.started("sibling")
            waiting = scope.spawn(wait_for_sibling)
            failing = place.spawn(scope, tasks.fail, "real")
            with anyio.CancelScope(shield=True):
                await sibling
    assert leaves(caught.value) == [failing.exception()]
    assert sibling.cancelled()
    error = waiting.exception()
    assert isinstance(error, TaskCancelled)
    assert error.task == "a_hold" if place.coroutine else "hold"


async def test_awaiting_a_sibling_whose_handle_was_cancelled_is_a_failure(place: Place, folder: Folder) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            sibling = place.spawn(scope, tasks.hold, folder.path, "sibling")
            await folder.started("sibling")
            sibling.cancel()
            await sibling
    assert [type(error) for error in leaves(caught.value)] == [TaskCancelled]


async def test_a_handle_that_was_cancelled_before_its_scope_stays_cancelled_by_that() -> None:
    def linger() -> None:
        started.set()
        go.wait()
        check_cancelled()

    started, go = threading.Event(), threading.Event()
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = scope.spawn(linger)
            assert await until_async(started.is_set, 60)
            handle.cancel("mine")
            scope.cancel("the scope's")
            go.set()
            with anyio.CancelScope(shield=True):
                await handle
    assert [str(error) for error in leaves(caught.value)] == [f"task {handle.name!r} was cancelled: mine"]


async def test_a_cancelled_handle_fails_nobody(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a")
        await folder.started("a")
        handle.cancel()
        await handle.wait()
        assert await place.spawn(scope, tasks.value, 5) == 5


async def test_a_scope_that_was_cancelled_raises_the_failures_it_had(place: Place, folder: Folder) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = place.spawn(scope, tasks.fail_when_asked, folder.path, "late")
            await folder.started("late")
            scope.cancel()
    assert leaves(caught.value) == [handle.exception()]


async def test_a_failure_beats_an_outer_cancellation(place: Place, folder: Folder) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        with anyio.CancelScope() as outer:
            async with TaskScope() as scope:
                handle = place.spawn(scope, tasks.fail_when_asked, folder.path, "late")
                await folder.started("late")
                outer.cancel()
    assert leaves(caught.value) == [handle.exception()]


async def test_failures_of_a_group_inside_a_task_and_its_cancellation_are_told_apart() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("nested")

    async def task() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail_when_cancelled)
            group.start_soon(anyio.sleep_forever)
            running.set()
            await anyio.sleep_forever()

    async def fail() -> None:
        await running.wait()
        await anyio.wait_all_tasks_blocked()
        raise KeyError("first")

    running = anyio.Event()
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = scope.spawn(task)
            scope.spawn(fail)
    assert sorted(repr(error) for error in leaves(caught.value)) == ["KeyError('first')", "ValueError('nested')"]
    assert isinstance(handle.exception(), ExceptionGroup)


async def test_what_is_no_exception_ends_the_scope_as_in_anyio() -> None:
    class Alarm(BaseException):
        pass

    async def raise_alarm() -> None:
        raise Alarm

    with pytest.raises(BaseExceptionGroup) as caught:
        async with TaskScope(policy=Collect()) as scope:
            handle = scope.spawn(raise_alarm)
            await anyio.sleep_forever()
    assert [type(error) for error in leaves(caught.value)] == [Alarm]
    assert type(handle.exception()) is Alarm
