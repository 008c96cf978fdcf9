"""Design §1, clause 2: one failure policy."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from typing import Any

import anyio
import pytest

from tests.contract import tasks
from tests.contract.conftest import PLACES, Folder, Place
from tests.waiting import until_async
from unified_exec import Collect, FailFast, Race, Tally, TaskCancelled, TaskHandle, TaskScope, Verdict, check_cancelled


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


async def own_failure(handle: TaskHandle[Any]) -> BaseException:
    await handle.wait()
    error = handle.exception()
    assert error is not None
    return error


# --- FailFast ---


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


# --- Collect ---


async def test_collect_lets_every_task_finish_and_raises_nothing(place: Place) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handles = [place.spawn(scope, tasks.fail, "no"), place.spawn(scope, tasks.value, 1)]
        await handles[0].wait()
        handles.append(place.spawn(scope, tasks.value, 2))
    assert [repr(handles[0].exception()), handles[1].result(), handles[2].result()] == ["ValueError('no')", 1, 2]


async def test_collect_raises_what_the_body_raises(place: Place) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(policy=Collect()) as scope:
            handle = place.spawn(scope, tasks.fail, "awaited")
            await handle
    assert leaves(caught.value) == [handle.exception()]


# --- Race ---


async def test_the_first_values_win_a_race_and_the_rest_is_cancelled(place: Place, folder: Folder) -> None:
    async with TaskScope(policy=Race(2)) as scope:
        failing = place.spawn(scope, tasks.fail, "no matter")
        await failing.wait()
        losers = [place.spawn(scope, tasks.hold, folder.path, name) for name in ("a", "b")]
        await folder.started("a", "b")
        winners = [place.spawn(scope, tasks.value, n) for n in (1, 2)]
        for handle in losers:
            await handle.wait()
        await anyio.lowlevel.checkpoint()  # the body goes on
        late = place.spawn(scope, tasks.hold, folder.path, "late")
    assert [handle.result() for handle in winners] == [1, 2]
    assert all(handle.cancelled() for handle in [*losers, late])
    assert folder.ended("a")
    assert folder.ended("b")


async def test_awaiting_the_loser_of_a_race_is_no_failure(place: Place, folder: Folder) -> None:
    async with TaskScope(policy=Race()) as scope:
        loser = place.spawn(scope, tasks.hold, folder.path, "a")
        await folder.started("a")
        place.spawn(scope, tasks.value, 1)
        await loser
    assert loser.cancelled()


async def test_a_race_with_too_few_values_raises_the_failures(place: Place) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(policy=Race(2)) as scope:
            value = place.spawn(scope, tasks.value, 1)
            failing = [place.spawn(scope, tasks.fail, name) for name in ("x", "y")]
    assert sorted(map(repr, leaves(caught.value))) == ["ValueError('x')", "ValueError('y')"]
    assert {id(handle.exception()) for handle in failing} == {id(leaf) for leaf in leaves(caught.value)}
    assert value.result() == 1


async def test_a_race_that_too_few_have_entered_raises_nothing(place: Place) -> None:
    async with TaskScope(policy=Race(2)) as scope:
        handle = place.spawn(scope, tasks.value, 1)
    assert handle.result() == 1


async def test_the_losers_failures_do_not_matter_once_the_race_is_won(place: Place, folder: Folder) -> None:
    async with TaskScope(policy=Race()) as scope:
        loser = place.spawn(scope, tasks.fail_when_asked, folder.path, "a")
        await folder.started("a")
        winner = place.spawn(scope, tasks.value, 1)
    assert winner.result() == 1
    assert repr(loser.exception()) == "ValueError('a')"


# --- policies in general ---


async def test_anyios_own_verbs_fail_fast_under_every_policy(place: Place, folder: Folder) -> None:
    for policy in (Collect(), Race(), FailFast()):
        name = type(policy).__name__
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskScope(policy=policy) as scope:
                handle = place.spawn(scope, tasks.hold, folder.path, name)
                await folder.started(name)
                scope.start_soon(tasks.a_fail, name)
                await anyio.sleep_forever()
        assert [repr(error) for error in leaves(caught.value)] == [f"ValueError('{name}')"]
        assert handle.cancelled()


async def test_a_won_race_leaves_what_anyios_verbs_started_alone() -> None:
    async with TaskScope(policy=Race()) as scope:
        event = anyio.Event()
        other = scope.start_soon(event.wait)
        await scope.spawn(tasks.a_value, 1)
        await anyio.wait_all_tasks_blocked()
        event.set()
        await other


class UpToOneFailure:
    """A policy of the user's own; it inherits nothing."""

    def judge(self, tally: Tally) -> Verdict:
        return Verdict.CANCEL_SCOPE if tally.errors > 1 else Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return tally.errors > 1


async def test_a_policy_of_ones_own_decides(place: Place, folder: Folder) -> None:
    async with TaskScope(policy=UpToOneFailure()) as scope:
        place.spawn(scope, tasks.fail, "forgiven")
        value = place.spawn(scope, tasks.value, 1)
    assert value.result() == 1
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(policy=UpToOneFailure()) as scope:
            bystander = place.spawn(scope, tasks.hold, folder.path, "a")
            await folder.started("a")
            for n in range(2):
                place.spawn(scope, tasks.fail, str(n))
            await anyio.sleep_forever()
    assert len(leaves(caught.value)) == 2
    assert bystander.cancelled()


class Broken:
    def __init__(self, method: str) -> None:
        self.method = method

    def judge(self, tally: Tally) -> Verdict:
        if self.method == "judge":
            raise ZeroDivisionError("judge")
        return None if self.method == "no verdict" else Verdict.GO_ON  # type: ignore[return-value]

    def raises(self, tally: Tally) -> bool:
        if self.method == "raises":
            raise ZeroDivisionError("raises")
        return False


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("judge", "ZeroDivisionError('judge')"),
        ("raises", "ZeroDivisionError('raises')"),
        ("no verdict", "TypeError('Broken.judge() must return a Verdict, got None')"),
    ],
)
async def test_a_broken_policy_fails_its_scope_and_nothing_else(
    place: Place, folder: Folder, method: str, error: str
) -> None:
    async with TaskScope() as healthy:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskScope(policy=Broken(method)) as scope:
                handle = place.spawn(scope, tasks.value, 1)
                bystander = place.spawn(scope, tasks.hold, folder.path, "a")
                await handle.wait()
                if method == "raises":
                    folder.release("a")
        assert [repr(each) for each in leaves(caught.value)] == [error]
        assert bystander.cancelled() == (method != "raises")
        assert await place.spawn(healthy, tasks.value, 2) == 2


async def test_a_policy_may_go_from_cancelling_the_rest_to_cancelling_all(folder: Folder) -> None:
    class Steps:
        def judge(self, tally: Tally) -> Verdict:
            return (Verdict.GO_ON, Verdict.CANCEL_REST, Verdict.CANCEL_SCOPE)[min(tally.values, 2)]

        def raises(self, tally: Tally) -> bool:
            return False

    async with TaskScope(policy=Steps()) as scope:
        second = scope.spawn(tasks.a_keep_value, folder.path, "second")
        await folder.started("second")
        scope.spawn(tasks.a_value, 1)
        await second.wait()
        await anyio.sleep_forever()
    assert second.result() == "kept"


@pytest.mark.skipif(not hasattr(sys, "getrefcount"), reason="counts references")
async def test_a_failed_scope_leaves_no_reference_cycle(place: Place) -> None:
    async def run() -> weakref.ref[BaseException]:
        try:
            async with TaskScope() as scope:
                await place.spawn(scope, tasks.fail_weakly)
        except BaseExceptionGroup as group:
            return weakref.ref(group.exceptions[0])
        raise AssertionError

    await run()
    gc.collect()
    gc.disable()
    try:
        gone = await run()
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        error = gone()
        assert error is None, gc.get_referrers(error)
    finally:
        gc.enable()
