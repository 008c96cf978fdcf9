"""Design §1, clause 3: whatever cancels, and wherever a task runs, it is reached, hears why, and is waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from tests.contract import tasks
from tests.contract.conftest import PLACES, Folder, Place
from tests.contract.test_3_process_tasks import NEVER
from tests.contract.test_5_deadlines import FAR, pass_the_deadline
from unified_exec import Collect, ProcessPool, TaskHandle, TaskScope, TaskTimeout, ThreadPool

pytestmark = pytest.mark.every_loop


class Reached:
    """A task that is under way, and all that can be used to cancel it."""

    def __init__(self, outer: anyio.CancelScope, scope: TaskScope, handle: TaskHandle[str]) -> None:
        self.outer = outer
        self.scope = scope
        self.handle = handle


async def by_handle(it: Reached) -> None:
    it.handle.cancel("by handle")


async def by_scope(it: Reached) -> None:
    it.scope.cancel("by scope")


async def by_cancel_scope(it: Reached) -> None:
    it.scope.cancel_scope.cancel()


async def by_enclosing_scope(it: Reached) -> None:
    it.outer.cancel()


async def by_deadline(it: Reached) -> None:
    await pass_the_deadline(it.scope)
    await anyio.sleep_forever()


async def by_sibling(it: Reached) -> None:
    it.scope.spawn(tasks.a_fail, "first")
    await anyio.sleep_forever()


async def by_body(it: Reached) -> None:
    raise ValueError("in the body")


WAYS: dict[Callable[[Reached], Awaitable[None]], str] = {
    by_handle: "by handle",
    by_scope: "by scope",
    by_cancel_scope: "its scope was cancelled",
    by_enclosing_scope: "its scope was cancelled",
    by_deadline: f"the timeout of its scope ({FAR:g} s) is over",
    by_sibling: "another task of the scope failed with ValueError",
    by_body: "its scope was cancelled",
}


@pytest.mark.loops_in_turn("process")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_every_way_of_cancelling_asks_the_task_and_tells_why(
    place: Place, folder: Folder, way: Callable[[Reached], Awaitable[None]]
) -> None:
    async with ProcessPool(1, grace=NEVER) as pool:
        try:
            with anyio.CancelScope() as outer:
                async with TaskScope(processes=pool, timeout=FAR) as scope:
                    handle = place.spawn(scope, tasks.hold_and_tell, folder.path, "task")
                    await folder.started("task")
                    await way(Reached(outer, scope, handle))
        except* (ValueError, TaskTimeout):
            pass
        assert handle.cancelled()
        assert handle.stop_reason == WAYS[way]
        assert folder.ended("task")
        if place.on != "loop":  # there it is anyio's own cancellation, with a text of anyio's
            # A thread that looks before the event loop has delivered the cancellation is told that there is one.
            early = {"its scope was cancelled"} if place.on == "thread" else set()
            assert (folder.path / "task.asked").read_text() in {WAYS[way]} | early


@pytest.mark.parametrize("place", [PLACES["thread"], PLACES["process"]], ids=["thread", "process"])
async def test_a_queued_task_that_is_cancelled_never_starts(place: Place, folder: Folder) -> None:
    async with (
        ProcessPool(1, grace=NEVER) as processes,
        ThreadPool(1) as threads,
        TaskScope(policy=Collect(), processes=processes, threads=threads) as scope,
    ):
        first = place.spawn(scope, tasks.hold, folder.path, "first")
        await folder.started("first")
        queued = [place.spawn(scope, tasks.hold, folder.path, f"queued{n}") for n in range(10)]
        last = queued.pop()  # a queue in which nothing waits any more is thrown away
        for handle in queued:
            handle.cancel()
        assert all(handle.cancelled() for handle in queued)
        folder.release("first", "queued9")
        assert await first == "first"
        assert await last == "queued9"
        assert [path.name for path in folder.path.glob("queued*.started")] == ["queued9.started"]
        assert all(handle.timing.started is None for handle in queued)


async def test_cancelling_one_task_leaves_the_others_alone(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        stopped, kept = (place.spawn(scope, tasks.hold, folder.path, name) for name in "ab")
        await folder.started("a", "b")
        stopped.cancel()
        await stopped.wait()
        assert stopped.cancelled()
        assert not kept.done()
        folder.release("b")
        assert await kept == "b"


@pytest.mark.loops_in_turn("process")
async def test_cancelling_a_task_that_has_ended_changes_nothing(place: Place) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.value, 1)
        assert await handle == 1
        handle.cancel("too late")
        assert not handle.cancelled()
        assert await place.spawn(scope, tasks.value, 2) == 2
    assert handle.result() == 1
