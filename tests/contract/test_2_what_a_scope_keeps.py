"""Design §1, clause 2: what a scope keeps of tasks that have ended, and whether a failure comes in a group."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.contract import tasks
from tests.contract.conftest import Folder, Place
from tests.contract.groups import leaves
from unified_exec import (
    Collect,
    FailFast,
    Policy,
    Quorum,
    Race,
    Supervise,
    SyncTaskScope,
    Tally,
    TaskScope,
    TaskTimeout,
    Verdict,
)


class Lenient:
    """A policy of a user: it never cancels, and raises if more than `most` tasks failed."""

    def __init__(self, most: float = float("inf")) -> None:
        self.most = most

    def judge(self, tally: Tally) -> Verdict:
        return Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return tally.errors > self.most


class Silent(Lenient):
    kept_failures = 0


# --- what is kept ---


async def fail_and_forget(place: Place, scope: TaskScope) -> weakref.ref[BaseException]:
    handle = place.spawn(scope, tasks.fail_weakly)
    await handle.wait()
    error = handle.exception()
    assert error is not None
    return weakref.ref(error)


@pytest.mark.parametrize("policy", [Collect(), Silent()], ids=["Collect", "a user's own"])
async def test_a_policy_that_never_raises_keeps_no_failure_whose_handle_is_dropped(
    place: Place, policy: Policy
) -> None:
    async with TaskScope(policy=policy) as scope:
        gone = [await fail_and_forget(place, scope) for _ in range(3)]
        await anyio.lowlevel.checkpoint()
        gc.collect()
        assert [error() for error in gone] == [None] * 3


@pytest.mark.parametrize(
    "policy", [Lenient(), Race(1000), Quorum(1000, of=2000)], ids=["a user's own", "Race", "Quorum"]
)
async def test_an_undecided_policy_keeps_a_bounded_number_of_failures(policy: Policy) -> None:
    try:
        async with TaskScope(policy=policy) as scope:
            place = Place("loop", True)
            kept = [await fail_and_forget(place, scope) for _ in range(50)]
            await anyio.lowlevel.checkpoint()
            gc.collect()
            assert [error() is not None for error in kept] == [True] * 32 + [False] * 18
    except* tasks.Failure as group:
        assert len(leaves(group)) == 32
        assert ["18 more tasks failed" in note for note in group.__notes__] == [True]


async def test_a_policy_says_how_many_failures_are_kept_for_its_group() -> None:
    policy = Lenient(most=3)
    policy.kept_failures = 2  # type: ignore[attr-defined]
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(policy=policy) as scope:
            for n in range(5):
                await scope.spawn(tasks.fail, str(n)).wait()
    assert [str(error) for error in leaves(caught.value)] == ["0", "1"]
    assert caught.value.__notes__[0].startswith("3 more tasks failed; before it has decided, ")


async def test_a_policy_that_keeps_nothing_and_raises_is_not_silent() -> None:
    policy = Lenient(most=0)
    policy.kept_failures = 0  # type: ignore[attr-defined]
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(policy=policy) as scope:
            await scope.spawn(tasks.fail, "x").wait()
    assert "1 tasks failed, and " in str(caught.value.exceptions[0])


@pytest.mark.parametrize("wrong", [-1, 1.5, None, True])
def test_kept_failures_is_a_whole_number(wrong: Any) -> None:
    policy = Lenient()
    policy.kept_failures = wrong  # type: ignore[attr-defined]
    with pytest.raises(
        (TypeError, ValueError), match=r"kept_failures of policy=.* must be (a whole number|at least 0)"
    ):
        TaskScope(policy=policy)


async def test_a_number_as_a_limit_keeps_no_function_that_has_run() -> None:
    async with TaskScope() as scope:

        async def spawn_local() -> weakref.ref[Any]:
            def local() -> None: ...

            await scope.spawn(local, limit=2)
            return weakref.ref(local)

        gone = await spawn_local()
        await scope.spawn(tasks.value, 1)
        gc.collect()
        assert gone() is None


async def test_a_number_as_a_limit_holds_for_all_running_calls_of_a_function(folder: Folder) -> None:
    async with TaskScope() as scope:
        first = scope.spawn(tasks.a_hold, folder.path, "a", limit=1)
        await folder.started("a")
        second = scope.spawn(tasks.a_hold, folder.path, "b", limit=1)
        assert await scope.spawn(tasks.value, 1) == 1
        assert not (folder.path / "b.started").exists()
        folder.release("a", "b")
        await first
        await second


async def test_a_cancelled_scope_does_not_blame_a_failure_that_its_policy_bears(folder: Folder) -> None:
    async with TaskScope(policy=Collect()) as scope:
        await scope.spawn(tasks.fail, "borne").wait()
        held = scope.spawn(tasks.a_hold, folder.path, "a")
        await folder.started("a")
        scope.cancel("shut down")
    with pytest.raises(Exception, match="was cancelled: shut down"):
        held.result()


# --- unwrap ---


async def fail_late() -> None:
    try:
        await anyio.sleep_forever()
    finally:
        raise ValueError("late")


UNWRAPPING = [
    FailFast(unwrap=True),
    Race(unwrap=True),
    Quorum(1, of=1, unwrap=True),
    Supervise(0, unwrap=True),
]


@pytest.mark.parametrize("policy", UNWRAPPING, ids=repr)
async def test_a_failure_that_is_alone_is_raised_itself(place: Place, policy: Policy) -> None:
    with pytest.raises(ValueError, match="alone"):
        async with TaskScope(policy=policy) as scope:
            place.spawn(scope, tasks.fail, "alone")


async def test_an_awaited_failure_and_one_of_the_body_are_raised_themselves(place: Place) -> None:
    for awaits in (True, False):
        with pytest.raises(ValueError, match="alone") as caught:
            async with TaskScope(policy=FailFast(unwrap=True)) as scope:
                if awaits:
                    await place.spawn(scope, tasks.fail, "alone")
                raise ValueError("alone")
        assert caught.value.__context__ is None or not isinstance(caught.value.__context__, ExceptionGroup)


async def test_several_failures_come_in_a_group_though_unwrapped() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(policy=FailFast(unwrap=True)) as scope:
            scope.spawn(fail_late)
            scope.spawn(tasks.a_fail, "first")
    assert sorted(str(error) for error in leaves(caught.value)) == ["first", "late"]


async def test_a_group_that_a_task_raised_stays_whole_though_unwrapped() -> None:
    async def fail() -> None:
        raise ExceptionGroup("its own", [ValueError()])

    with pytest.raises(ExceptionGroup, match="its own"):
        async with TaskScope(policy=FailFast(unwrap=True)) as scope:
            scope.spawn(fail)


async def test_an_unwrapped_failure_keeps_what_it_was_raised_from() -> None:
    async def fail() -> None:
        try:
            raise KeyError("context")
        except KeyError:
            raise ValueError("implicit")  # noqa: B904

    async def fail_from() -> None:
        raise ValueError("explicit") from KeyError("cause")

    for fn, cause in ((fail, "NoneType"), (fail_from, "KeyError")):
        with pytest.raises(ValueError) as caught:
            async with TaskScope(policy=FailFast(unwrap=True)) as scope:
                scope.spawn(fn)
        assert type(caught.value.__cause__).__name__ == cause
        assert type(caught.value.__context__).__name__ == ("KeyError" if fn is fail else "NoneType")


async def test_a_timeout_and_a_failure_come_in_a_group_though_unwrapped() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(policy=FailFast(unwrap=True), timeout=0.01) as scope:
            scope.spawn(fail_late)
            await anyio.sleep_forever()
    assert {type(error) for error in leaves(caught.value)} == {ValueError, TaskTimeout}


def test_a_blocking_scope_unwraps() -> None:
    with pytest.raises(ValueError, match="alone"), SyncTaskScope(policy=FailFast(unwrap=True)) as scope:
        scope.spawn(tasks.fail, "alone")
    with pytest.raises(KeyError), SyncTaskScope(policy=FailFast(unwrap=True)):
        raise KeyError


async def test_a_users_own_policy_unwraps() -> None:
    policy = Lenient(most=0)
    policy.unwrap = True  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="alone"):
        async with TaskScope(policy=policy) as scope:
            scope.spawn(tasks.a_fail, "alone")


def test_policies_show_that_they_unwrap() -> None:
    shown = (
        "FailFast(unwrap=True) Race(1, unwrap=True) Quorum(1, of=1, unwrap=True) Supervise(0, within=5, unwrap=True)"
    )
    assert " ".join(map(repr, UNWRAPPING)) == shown
