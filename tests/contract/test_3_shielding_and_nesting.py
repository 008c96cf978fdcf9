"""Design §1, clause 3, as far as the scope goes: what reaches which task."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.contract import tasks
from tests.contract.conftest import Folder, Place
from unified_exec import TaskCancelled, TaskScope, TaskState

pytestmark = pytest.mark.every_loop


async def test_a_shielded_scope_is_not_reached_from_outside(place: Place, folder: Folder) -> None:
    with anyio.CancelScope() as outer:
        with anyio.CancelScope(shield=True):
            async with TaskScope() as scope:
                handle = place.spawn(scope, tasks.hold, folder.path, "a")
                await folder.started("a")
                outer.cancel()
                for _ in range(5):
                    await checkpoint()
                assert not handle.done()
                assert handle.state is TaskState.RUNNING
                folder.release("a")
                assert await handle == "a"
        await checkpoint()
    assert outer.cancelled_caught


async def test_a_scope_that_shields_itself_is_not_reached_either(place: Place, folder: Folder) -> None:
    with anyio.CancelScope() as outer:
        async with TaskScope() as scope:
            scope.cancel_scope.shield = True
            handle = place.spawn(scope, tasks.hold, folder.path, "a")
            await folder.started("a")
            outer.cancel()
            for _ in range(5):
                await checkpoint()
            folder.release("a")
            assert await handle == "a"
        await checkpoint()
    assert outer.cancelled_caught


async def test_a_shield_inside_the_body_does_not_protect_the_tasks(place: Place, folder: Folder) -> None:
    with anyio.CancelScope() as outer:
        async with TaskScope() as scope:
            handle = place.spawn(scope, tasks.hold, folder.path, "a")
            await folder.started("a")
            with anyio.CancelScope(shield=True):
                outer.cancel()
                await handle.wait()
    assert handle.cancelled()


async def test_what_is_spawned_into_a_cancelled_scope_is_cancelled_whenever_it_comes(
    place: Place, folder: Folder
) -> None:
    async with TaskScope() as scope:
        with anyio.CancelScope(shield=True):
            first = place.spawn(scope, tasks.hold, folder.path, "a")
            scope.cancel()
            await first.wait()
            for _ in range(5):
                await checkpoint()
            late = place.spawn(scope, tasks.hold, folder.path, "b")
            await late.wait()
    assert late.cancelled()


async def test_cancelling_an_outer_scope_stops_the_tasks_of_inner_ones(place: Place, folder: Folder) -> None:
    async with TaskScope() as outer:
        async with TaskScope() as inner:
            handles = [
                place.spawn(scope, tasks.hold, folder.path, name) for scope, name in ((outer, "a"), (inner, "b"))
            ]
            await folder.started("a", "b")
            outer.cancel()
    assert all(handle.cancelled() for handle in handles)
    assert folder.ended("a")
    assert folder.ended("b")


async def test_cancelling_an_inner_scope_leaves_the_outer_one_alone(place: Place, folder: Folder) -> None:
    async with TaskScope() as outer:
        kept = place.spawn(outer, tasks.hold, folder.path, "a")
        async with TaskScope() as inner:
            stopped = place.spawn(inner, tasks.hold, folder.path, "b")
            await folder.started("a", "b")
            inner.cancel()
        assert stopped.cancelled()
        assert not kept.done()
        folder.release("a")
    assert kept.result() == "a"


async def test_a_failure_passes_from_scope_to_scope(place: Place, folder: Folder) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as outer:
            bystander = place.spawn(outer, tasks.hold, folder.path, "a")
            await folder.started("a")
            async with TaskScope() as inner:
                failing = place.spawn(inner, tasks.fail, "deep")
    group = caught.value.exceptions[0]
    assert isinstance(group, ExceptionGroup)
    assert list(group.exceptions) == [failing.exception()]
    assert bystander.cancelled()


async def test_a_scope_in_a_task_of_a_scope_obeys(place: Place, folder: Folder) -> None:
    async def nested() -> None:
        async with TaskScope() as inner:
            handles.append(place.spawn(inner, tasks.hold, folder.path, "a"))

    handles = []  # type: ignore[var-annotated]
    async with TaskScope() as outer:
        task = outer.spawn(nested)
        await folder.started("a")
        task.cancel()
        with pytest.raises(TaskCancelled):
            await task
        assert handles[0].cancelled()
        assert folder.ended("a")


async def test_a_value_returned_after_the_ask_is_kept(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        kept = place.spawn(scope, tasks.keep_value, folder.path, "a")
        await folder.started("a")
        kept.cancel()
        assert await kept == "kept"
        assert not kept.cancelled()
        again = place.spawn(scope, tasks.keep_value, folder.path, "b")
        await folder.started("b")
        scope.cancel()
    assert again.result() == "kept"
