"""Design §1, clause 5: one deadline."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from types import ModuleType

import anyio
import pytest

from tests.contract import tasks
from tests.contract.conftest import Folder, Place
from tests.contract.groups import leaves
from tests.waiting import until_async
from unified_exec import Collect, Race, TaskScope, TaskTimeout, time_left
from unified_exec._scope.block import engine_of

pytestmark = pytest.mark.every_loop

FAR = 1000.0
ROUNDING = 1e-9
"""A deadline is a sum and what is left of it a difference: both are rounded."""


async def pass_the_deadline(scope: TaskScope) -> None:
    """Move the scope's deadline into the past: it strikes at the next turn of the loop."""
    now = engine_of(scope).ending.ends_at = anyio.current_time()  # first: a thread may ask for the reason at once
    scope.cancel_scope.deadline = now


# --- the scope's own timeout ---


async def test_the_scopes_timeout_stops_every_task_and_the_body(place: Place, folder: Folder) -> None:
    with pytest.raises(TaskTimeout) as caught:
        async with TaskScope("slow", timeout=FAR) as scope:
            handle = place.spawn(scope, tasks.hold, folder.path, "a")
            await folder.started("a")
            await pass_the_deadline(scope)
            await anyio.sleep_forever()
    assert str(caught.value) == "scope 'slow' did not end within its timeout of 1000 s"
    assert isinstance(caught.value, TimeoutError)
    assert handle.cancelled()
    assert folder.ended("a")
    assert handle.stop_reason == "the timeout of its scope (1000 s) is over"


async def test_it_strikes_too_while_the_block_is_being_left(place: Place, folder: Folder) -> None:
    async def pass_it() -> None:
        await folder.started("a")
        await pass_the_deadline(scope)

    with pytest.raises(TaskTimeout):
        async with TaskScope(timeout=FAR) as scope:
            handle = place.spawn(scope, tasks.hold, folder.path, "a")
            scope.spawn(pass_it)
    assert handle.cancelled()


async def test_a_short_timeout_strikes_by_itself(place: Place, folder: Folder) -> None:
    with pytest.raises(TaskTimeout, match=r"the scope did not end within its timeout of 0\.05 s"):
        async with TaskScope(timeout=0.05) as scope:
            handle = place.spawn(scope, tasks.hold, folder.path, "a")
    assert handle.cancelled()


async def test_with_real_failures_the_timeout_is_in_the_group(place: Place, folder: Folder) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(timeout=FAR) as scope:
            handle = place.spawn(scope, tasks.fail_when_asked, folder.path, "a")
            await folder.started("a")
            await pass_the_deadline(scope)
            await anyio.sleep_forever()
    assert [type(error) for error in leaves(caught.value)] == [ValueError, TaskTimeout]
    assert leaves(caught.value)[0] is handle.exception()


async def test_with_failures_of_anyios_own_verbs_too() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError

    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(timeout=FAR) as scope:
            scope.start_soon(fail_when_cancelled)
            await anyio.wait_all_tasks_blocked()
            await pass_the_deadline(scope)
            await anyio.sleep_forever()
    assert {type(error) for error in leaves(caught.value)} == {ValueError, TaskTimeout}


@pytest.mark.parametrize("policy", [Collect(), Race()])
async def test_the_timeout_is_raised_under_every_policy(place: Place, folder: Folder, policy: Collect | Race) -> None:
    with pytest.raises(TaskTimeout):
        async with TaskScope(policy=policy, timeout=FAR) as scope:
            place.spawn(scope, tasks.hold, folder.path, "a")
            await folder.started("a")
            await pass_the_deadline(scope)


async def test_a_scope_that_was_cancelled_or_failed_in_time_did_not_time_out(place: Place, folder: Folder) -> None:
    async with TaskScope(timeout=FAR) as scope:
        place.spawn(scope, tasks.hold, folder.path, "a")
        await folder.started("a")
        scope.cancel()
        await pass_the_deadline(scope)
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(timeout=FAR) as scope:
            place.spawn(scope, tasks.hold, folder.path, "b")
            await folder.started("b")
            failing = place.spawn(scope, tasks.fail, "real")
            await failing.wait()
            await pass_the_deadline(scope)
    assert leaves(caught.value) == [failing.exception()]


async def test_a_scope_that_ends_in_time_does_not_time_out(place: Place) -> None:
    async with TaskScope(timeout=FAR) as scope:
        assert await place.spawn(scope, tasks.value, 1) == 1
    async with TaskScope(timeout=math.inf) as scope:
        assert await place.spawn(scope, tasks.value, 1, timeout=math.inf) == 1


# --- a task's own timeout ---


async def test_a_tasks_own_timeout_is_that_tasks_failure(place: Place, folder: Folder) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = place.spawn(scope, tasks.hold, folder.path, "a", timeout=0.05, name="slow")
        other = place.spawn(scope, tasks.hold, folder.path, "b")
        await handle.wait()
        folder.release("b")
    error = handle.exception()
    assert isinstance(error, TaskTimeout)
    assert str(error) == "task 'slow' did not end within its timeout of 0.05 s"
    assert error.seconds == 0.05
    assert not handle.cancelled()
    assert other.result() == "b"


async def test_under_fail_fast_it_ends_the_scope(place: Place, folder: Folder) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = place.spawn(scope, tasks.hold, folder.path, "a", timeout=0.05)
            with pytest.raises(TaskTimeout):
                await handle
    assert leaves(caught.value) == [handle.exception()]


async def test_a_task_that_ends_in_time_keeps_its_value(place: Place) -> None:
    async with TaskScope() as scope:
        assert await place.spawn(scope, tasks.value, 1, timeout=FAR) == 1


async def test_a_task_that_failed_in_time_keeps_its_failure(place: Place) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = place.spawn(scope, tasks.fail, "mine", timeout=FAR)
    assert repr(handle.exception()) == "ValueError('mine')"


async def test_a_value_that_was_returned_after_the_timeout_is_kept(place: Place, folder: Folder) -> None:
    async with TaskScope() as scope:
        handle = place.spawn(scope, tasks.keep_value, folder.path, "a", timeout=FAR)
        await folder.started("a")
        if place.on == "loop":
            handle.cancel()  # what the passing of its deadline does
        else:
            handle._expire()
    assert handle.result() == "kept"


async def test_a_task_that_was_cancelled_before_its_timeout_was_cancelled() -> None:
    """Also if the timeout strikes while it is on its way out."""

    def linger() -> None:
        started.set()
        go.wait()
        from unified_exec import check_cancelled

        check_cancelled()

    started, go = threading.Event(), threading.Event()
    async with TaskScope() as scope:
        handle = scope.spawn(linger, timeout=FAR)
        assert await until_async(started.is_set, 60)
        handle.cancel()
        handle._expire()
        go.set()
    assert handle.cancelled()


async def test_a_queued_task_can_time_out(folder: Folder) -> None:
    from unified_exec import ThreadPool

    async with ThreadPool(1) as pool, TaskScope(policy=Collect(), threads=pool) as scope:
        scope.spawn(tasks.hold, folder.path, "first")
        await folder.started("first")
        queued = scope.spawn(tasks.hold, folder.path, "queued", timeout=0)
        await queued.wait()
        folder.release("first")
    assert isinstance(queued.exception(), TaskTimeout)
    assert not folder.has_started("queued")


# --- enclosing deadlines ---


async def test_an_enclosing_anyio_deadline_stays_anyios(place: Place, folder: Folder) -> None:
    with anyio.move_on_after(FAR) as outer:
        async with TaskScope(timeout=2 * FAR) as scope:
            handle = place.spawn(scope, tasks.hold, folder.path, "a")
            await folder.started("a")
            outer.deadline = anyio.current_time()
            await anyio.sleep_forever()
    assert outer.cancelled_caught
    assert handle.cancelled()
    with pytest.raises(TimeoutError) as caught:
        with anyio.fail_after(FAR) as outer:
            async with TaskScope() as scope:
                place.spawn(scope, tasks.hold, folder.path, "b")
                await folder.started("b")
                outer.deadline = anyio.current_time()
    assert type(caught.value) is TimeoutError


# --- time_left ---


async def test_time_left_tells_the_nearest_deadline(place: Place) -> None:
    async with TaskScope() as scope:
        assert await place.spawn(scope, tasks.seconds_left) == math.inf
    async with TaskScope(timeout=100) as scope:
        assert 0 < await place.spawn(scope, tasks.seconds_left) <= 100 + ROUNDING
        assert 0 < await place.spawn(scope, tasks.seconds_left, timeout=50) <= 50 + ROUNDING
        assert 50 < await place.spawn(scope, tasks.seconds_left, timeout=1000) <= 100 + ROUNDING
        assert 0 < time_left() <= 100 + ROUNDING
    with anyio.fail_after(70):
        async with TaskScope(timeout=100) as scope:
            assert 0 < await place.spawn(scope, tasks.seconds_left) <= 70 + ROUNDING
            assert 0 < await place.spawn(scope, tasks.seconds_left, timeout=50) <= 50 + ROUNDING
            with anyio.fail_after(20):  # around the body alone: the task goes on after it
                assert 20 < await place.spawn(scope, tasks.seconds_left) <= 70 + ROUNDING
                assert 0 < time_left() <= 20 + ROUNDING
    assert time_left() == math.inf


async def test_nested_scopes_pass_their_deadlines_on(place: Place) -> None:
    async with TaskScope(timeout=60):
        async with TaskScope(timeout=100) as inner:
            assert 0 < await place.spawn(inner, tasks.seconds_left) <= 60 + ROUNDING
        assert 0 < await place.call(tasks.seconds_left) <= 60 + ROUNDING


def test_time_left_is_infinite_outside_of_everything() -> None:
    assert time_left() == math.inf


def test_time_left_knows_the_enclosing_deadline_in_a_program_that_imports_nothing_else() -> None:
    program = (
        "import anyio\n"
        "from unified_exec import time_left\n"
        "async def main():\n"
        "    with anyio.fail_after(1000):\n"
        "        assert 0 < time_left() <= 1000, time_left()\n"
        "anyio.run(main)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_time_left_is_no_error_while_another_thread_imports_an_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("asyncio", "trio", "anyio"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # as far as an import has come that just began
    assert time_left() == math.inf
