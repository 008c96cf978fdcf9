"""`Quorum`, `Supervise`, `Collect` with a timeout, and policies of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.scope import many
from tests.scope.many import Gone, Place
from tests.waiting import until_async
from unified_exec import (
    Collect,
    ProcessPool,
    Quorum,
    Retry,
    Supervise,
    Tally,
    TaskScope,
    TaskTimeout,
    Verdict,
    WorkerCrashed,
)

# --- Quorum


async def test_enough_values_win_and_cancel_the_rest(place: Place, tmp_path: Path) -> None:
    async with ProcessPool(3) as pool, TaskScope(policy=Quorum(2, of=4), processes=pool) as scope:
        hold = place.fn(many.hold)
        rest = scope.spawn(hold, tmp_path, "rest", on=place.on)
        assert await until_async((tmp_path / "rest.started").exists, 60)
        scope.spawn(place.fn(many.fail_odd), 1, on=place.on)
        values = [scope.spawn(place.fn(many.double), x, on=place.on) for x in range(2)]
    assert [each.result() for each in values] == [0, 2]
    assert rest.cancelled()


async def test_too_many_failures_cancel_the_rest_and_are_raised(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with ProcessPool(3) as pool, TaskScope(policy=Quorum(2, of=3), processes=pool) as scope:
            rest = scope.spawn(place.fn(many.hold), tmp_path, "rest", on=place.on)
            assert await until_async((tmp_path / "rest.started").exists, 60)
            for x in (1, 3):
                scope.spawn(place.fn(many.fail_odd), x, on=place.on)
    assert sorted(each.args[0] for each in raised.value.exceptions) == [1, 3]
    assert rest.cancelled()


def test_a_quorum_is_pure_arithmetic() -> None:
    judge = Quorum(2, of=4).judge
    assert judge(Tally(values=1, errors=2)) is Verdict.GO_ON
    assert judge(Tally(values=1, errors=3)) is Verdict.CANCEL_SCOPE
    assert judge(Tally(values=0, errors=2, cancelled=1)) is Verdict.CANCEL_SCOPE
    assert judge(Tally(values=2, errors=2)) is Verdict.CANCEL_REST
    assert not Quorum(2, of=4).raises(Tally(values=2, errors=2))
    assert Quorum(2, of=4).raises(Tally(values=1, errors=2))


@pytest.mark.parametrize(("n", "of", "error"), [(0, 1, ValueError), (3, 2, ValueError), (1.5, 2, TypeError)])
def test_an_impossible_quorum_is_refused(n: Any, of: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        Quorum(n, of=of)


# --- Collect


@pytest.mark.loops_in_turn
async def test_collect_keeps_what_was_finished_when_the_time_is_over(place: Place, tmp_path: Path) -> None:
    async with ProcessPool(2) as pool:
        async with TaskScope(processes=pool) as scope:  # the workers are there before the time begins
            for name in "ab":
                scope.spawn(many.hold, tmp_path, name, on="process")
            for name in "ab":
                assert await until_async((tmp_path / f"{name}.started").exists, 60)
            for name in "ab":
                (tmp_path / f"{name}.go").touch()
        with pytest.raises(TaskTimeout):
            async with TaskScope(policy=Collect(), processes=pool, timeout=3.0) as scope:
                handles = [scope.spawn(place.fn(many.fail_odd), x, on=place.on) for x in range(4)]
                late = scope.spawn(place.fn(many.hold), tmp_path, "late", on=place.on)
    assert Collect.values(handles) == [0, 2]
    assert [each.args[0] for each in Collect.errors(handles)] == [1, 3]
    assert late.cancelled()
    assert Collect.values([late]) == Collect.errors([late]) == []


async def test_collect_tells_values_apart_from_what_has_not_ended(tmp_path: Path) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(many.hold, tmp_path, "x")
        assert Collect.values([handle]) == []
        (tmp_path / "x.go").touch()
    assert Collect.values([handle]) == ["x"]


# --- Supervise


async def test_a_failed_service_is_started_again_alone(place: Place, tmp_path: Path) -> None:
    async with ProcessPool(3) as pool, TaskScope(policy=Supervise(3, within=1e6), processes=pool) as scope:
        fn = place.fn(many.serve)
        steady = scope.spawn(fn, tmp_path, "steady", 0, on=place.on)
        shaky = scope.spawn(fn, tmp_path, "shaky", 3, on=place.on)
        for name in ("steady", "shaky"):
            assert await until_async((tmp_path / f"{name}.started").exists, 60)
            (tmp_path / f"{name}.go").touch()
        assert await scope.gather(steady, shaky) == ["steady", "shaky"]
    assert (steady.attempts, shaky.attempts) == (1, 4)


async def test_too_many_restarts_end_the_scope(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with ProcessPool(3) as pool, TaskScope(policy=Supervise(2, within=1e6), processes=pool) as scope:
            fn = place.fn(many.serve)
            steady = scope.spawn(fn, tmp_path, "steady", 0, on=place.on)
            assert await until_async((tmp_path / "steady.started").exists, 60)
            shaky = scope.spawn(fn, tmp_path, "shaky", 99, on=place.on)
    assert [type(each) for each in raised.value.exceptions] == [Gone]
    assert many.runs(tmp_path, "shaky") == shaky.attempts == 3
    assert steady.cancelled()


async def test_the_intensity_counts_for_all_tasks_together(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup):
        async with TaskScope(policy=Supervise(3, within=1e6)) as scope:
            for name in "abc":
                scope.spawn(many.serve, tmp_path, name, 2)
    assert sum(many.runs(tmp_path, name) for name in "abc") <= 3 + 3


async def test_a_crashed_worker_is_a_failure_like_any_other(tmp_path: Path) -> None:
    async with TaskScope(policy=Supervise()) as scope:
        handle = scope.spawn(many.crash_first, tmp_path, "x", on="process")
    assert handle.result() == "x"
    with pytest.raises(ExceptionGroup) as raised:
        async with TaskScope(policy=Supervise(on=Gone)) as scope:
            scope.spawn(many.crash_first, tmp_path, "y", on="process")
    assert raised.group_contains(WorkerCrashed)


async def test_a_supervised_task_can_be_cancelled(place: Place, tmp_path: Path) -> None:
    async with TaskScope(policy=Supervise()) as scope:
        handle = scope.spawn(place.fn(many.serve), tmp_path, "x", 0, on=place.on)
        assert await until_async((tmp_path / "x.started").exists, 60)
        handle.cancel()
        await handle.wait()
    assert handle.cancelled()
    assert many.runs(tmp_path, "x") == 1


async def test_retries_of_the_task_come_first(tmp_path: Path) -> None:
    async with TaskScope(policy=Supervise(0)) as scope:
        handle = scope.spawn(many.needs, tmp_path, "x", 3, retry=Retry(2))
    assert handle.result() == "x"


def test_old_restarts_are_forgotten() -> None:
    policy = Supervise(2, within=5.0, backoff=lambda n: n * 10.0)
    assert policy.restart(Gone(), []) == 10.0
    assert policy.restart(Gone(), [4.9]) == 20.0
    assert policy.restart(Gone(), [4.9, 0.1]) is None
    assert policy.restart(Gone(), [5.0, 0.1]) == 20.0
    for wrong in ({"restarts": -1}, {"within": 0}, {"backoff": -1}):
        with pytest.raises(ValueError):
            Supervise(**wrong)  # type: ignore[arg-type]


# --- policies of one's own


class Majority:
    """Goes on as long as values outnumber failures; a failed task is given one more chance."""

    def judge(self, tally: Tally) -> Verdict:
        return Verdict.CANCEL_SCOPE if tally.errors > max(1, tally.values) else Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return tally.errors > tally.values

    def restart(self, error: Exception, ages: Sequence[float]) -> float | None:
        return 0.0 if not ages else None


async def test_a_small_class_is_a_policy(place: Place, tmp_path: Path) -> None:
    async with TaskScope(policy=Majority()) as scope:
        again = scope.spawn(place.fn(many.needs), tmp_path, "x", 2, on=place.on)
        await again.wait()
        bad = scope.spawn(place.fn(many.fail_odd), 1, on=place.on)
    assert again.result() == "x"
    assert isinstance(bad.exception(), ValueError)
    with pytest.raises(ExceptionGroup):
        async with TaskScope(policy=Majority()) as scope:
            for _ in range(3):
                scope.spawn(place.fn(many.fail_odd), 1, on=place.on)


async def test_a_restart_that_fails_itself_is_the_tasks_failure(place: Place) -> None:
    class Broken(Majority):
        def restart(self, error: Exception, ages: Sequence[float]) -> float | None:
            raise LookupError("the policy itself")

    with pytest.raises(ExceptionGroup) as raised:
        async with TaskScope(policy=Broken()) as scope:
            scope.spawn(place.fn(many.fail_odd), 1, on=place.on)
    assert raised.group_contains(LookupError)
