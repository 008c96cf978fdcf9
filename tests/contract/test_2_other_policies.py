"""Design §1, clause 2: one failure policy; `Collect`, `Race` and policies of one's own decide otherwise."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref

import anyio
import anyio.lowlevel
import pytest

from tests.contract import tasks
from tests.contract.conftest import Folder, Place
from tests.contract.groups import leaves
from tests.this_python import HAS_GIL
from unified_exec import Collect, FailFast, Policy, Race, Tally, TaskScope, Verdict

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


@pytest.mark.parametrize("policy", [Collect(), FailFast()])
async def test_a_task_that_awaits_what_others_cancelled_is_cancelled_alone(
    place: Place, folder: Folder, policy: Policy, anyio_backend_name: str
) -> None:
    if anyio_backend_name == "trio":
        pytest.skip("trio raises Cancelled in nothing but cancelled scopes")

    async def await_it() -> None:
        others = asyncio.get_running_loop().create_future()
        others.cancel()
        await others

    async with TaskScope(policy=policy) as scope:
        other = place.spawn(scope, tasks.hold, folder.path, "a")
        await folder.started("a")
        lost = scope.spawn(await_it)
        await lost.wait()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        folder.release("a")
    assert lost.cancelled()
    assert other.result() == "a"  # not in the block: a scope that is cancelled leaves it without an error


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


@pytest.mark.skipif(not hasattr(sys, "getrefcount"), reason="this interpreter counts no references")
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
            if not HAS_GIL:  # what an idle thread has made, and another drops, is freed when it runs again
                async with TaskScope() as scope:
                    await place.spawn(scope, tasks.value, 1)
        error = gone()
        assert error is None, gc.get_referrers(error)
    finally:
        gc.enable()
