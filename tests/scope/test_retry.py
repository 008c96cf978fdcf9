"""`retry=` of `spawn` and `call`: the handle ends once, with the last outcome, at every place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.scope import many
from tests.scope.many import PLACES, Gone, Place
from tests.waiting import until_async
from unified_exec import (
    Collect,
    PoolClosed,
    ProcessPool,
    Retry,
    SerializationError,
    TaskScope,
    TaskState,
    TaskTimeout,
    ThreadPool,
    WorkerCrashed,
    call,
    exponential,
    observe,
)

FOREVER = 9e8  # seconds


async def test_a_failed_call_is_tried_again(place: Place, tmp_path: Path) -> None:
    async with TaskScope() as scope:
        handle = scope.spawn(place.fn(many.needs), tmp_path, "x", 3, on=place.on, retry=Retry(5, on=Gone))
        assert await handle == "x"
    assert handle.attempts == many.runs(tmp_path, "x") == 3
    assert handle.state is TaskState.DONE
    queued, started, finished = handle.timing
    assert queued <= started <= finished  # type: ignore[operator]


async def test_the_last_failure_is_the_tasks(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with TaskScope() as scope:
            handle = scope.spawn(place.fn(many.needs), tmp_path, "x", 9, on=place.on, retry=Retry(2, on=Gone))
    assert raised.group_contains(Gone, match="x")
    assert len(raised.value.exceptions) == 1
    assert handle.attempts == many.runs(tmp_path, "x") == 3


async def test_what_is_not_named_is_not_tried_again(place: Place, tmp_path: Path) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(place.fn(many.needs), tmp_path, "x", 9, on=place.on, retry=Retry(2, on=OSError))
    assert isinstance(handle.exception(), Gone)
    assert handle.attempts == 1


async def test_call_takes_it_too(place: Place, tmp_path: Path) -> None:
    assert await call(place.fn(many.needs), tmp_path, "x", 2, on=place.on, retry=Retry(1)) == "x"


async def test_a_crash_counts_only_where_it_is_named(tmp_path: Path) -> None:
    async with TaskScope(policy=Collect()) as scope:
        named = scope.spawn(many.crash_first, tmp_path, "named", on="process", retry=Retry(2, on=(Gone, WorkerCrashed)))
        other = scope.spawn(many.crash_first, tmp_path, "other", on="process", retry=Retry(2, on=Exception))
    assert named.result() == "named"
    assert named.attempts == 2
    assert isinstance(other.exception(), WorkerCrashed)
    assert many.runs(tmp_path, "other") == 1


async def test_a_cancelled_call_is_never_tried_again(place: Place, tmp_path: Path) -> None:
    async with TaskScope(policy=Collect()) as scope:
        fn = place.fn(many.hold_and_fail)
        handle = scope.spawn(fn, tmp_path, "x", on=place.on, retry=Retry(5, on=Exception))
        assert await until_async((tmp_path / "x.started").exists, 60)
        handle.cancel()
        await handle.wait()
    assert isinstance(handle.exception(), Gone)  # what it raised when it was asked
    assert many.runs(tmp_path, "x") == 1


@pytest.mark.parametrize("how", ["handle", "scope", "timeout", "scope timeout", "enclosing"])
async def test_a_wait_between_tries_can_be_ended(place: Place, tmp_path: Path, how: str) -> None:
    seconds = 2.0  # long enough for a worker to start
    with anyio.move_on_after(seconds if how == "enclosing" else None) as around:
        try:
            async with TaskScope(policy=Collect(), timeout=seconds if how == "scope timeout" else None) as scope:
                handle = scope.spawn(
                    place.fn(many.needs),
                    tmp_path,
                    "x",
                    9,
                    on=place.on,
                    retry=Retry(5, backoff=FOREVER),
                    timeout=seconds if how == "timeout" else None,
                )
                assert await until_async(lambda: many.runs(tmp_path, "x") == 1, 60)
                if how == "handle":
                    handle.cancel()
                elif how == "scope":
                    scope.cancel()
        except TaskTimeout:
            assert how == "scope timeout"
    assert around.cancelled_caught == (how == "enclosing")
    if how == "timeout":
        assert isinstance(handle.exception(), TaskTimeout)
    elif how == "handle":
        assert handle.cancelled() or isinstance(handle.exception(), Gone)  # it came before the failure was seen
    else:
        assert handle.cancelled() or isinstance(handle.exception(), Gone)
    assert many.runs(tmp_path, "x") == 1


async def test_waits_follow_the_backoff(place: Place, tmp_path: Path) -> None:
    asked = []

    def backoff(retry: int) -> float:
        asked.append(retry)
        return 0.0

    async with TaskScope() as scope:
        await scope.spawn(place.fn(many.needs), tmp_path, "x", 4, on=place.on, retry=Retry(9, backoff=backoff))
    assert asked == [1, 2, 3]


async def test_a_backoff_that_fails_is_the_tasks_failure(place: Place, tmp_path: Path) -> None:
    def broken(retry: int) -> float:
        raise LookupError(retry)

    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(place.fn(many.needs), tmp_path, "x", 4, on=place.on, retry=Retry(9, backoff=broken))
        other = scope.spawn(place.fn(many.needs), tmp_path, "y", 1, on=place.on)
    assert isinstance(handle.exception(), LookupError)
    assert other.result() == "y"


async def test_every_try_gets_the_arguments_as_they_were(tmp_path: Path) -> None:
    items = ["x"]
    async with TaskScope() as scope:
        handle = scope.spawn(many.needs_list, tmp_path, items, on="process", retry=Retry(3))
        items.append("y")
        assert await handle == ["x"]


async def test_what_cannot_travel_is_said_at_once() -> None:
    async with TaskScope() as scope:
        with pytest.raises(SerializationError):
            scope.spawn(many.double, (x for x in ()), on="process", retry=Retry(3))  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["thread", "process", "process-coroutine"])
async def test_a_pool_that_closes_meanwhile_is_the_tasks_failure(kind: str, tmp_path: Path) -> None:
    pool = ThreadPool(1) if kind == "thread" else ProcessPool(1)
    waits = anyio.Event()

    def wait(retry: int) -> float:
        waits.set()
        return 0.2

    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(PLACES[kind].fn(many.needs), tmp_path, "x", 9, on=pool, retry=Retry(5, backoff=wait))
        await waits.wait()
        await pool.aclose()
        await handle.wait()
    assert isinstance(handle.exception(), PoolClosed)
    assert many.runs(tmp_path, "x") == 1


async def test_who_watches_sees_one_task(place: Place, tmp_path: Path) -> None:
    told: list[Any] = []
    stop = observe.watch(told.extend)
    try:
        async with TaskScope() as scope:
            handle = scope.spawn(place.fn(many.needs), tmp_path, "x", 3, on=place.on, retry=Retry(5))
    finally:
        stop()
    of_tasks = [event for event in told if event.kind.startswith("task.")]
    assert {event.task for event in of_tasks} == {handle.id}
    assert [event.attempts for event in of_tasks if event.kind == "task.settled"] == [3]


async def test_without_it_nothing_of_it_is_made() -> None:
    async with TaskScope() as scope:
        handle = scope.spawn(many.double, 1)
        assert handle.plan is None
        assert handle.attempts == 1


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Retry(0), ValueError),
        (lambda: Retry(1, on="all"), TypeError),  # type: ignore[arg-type]
        (lambda: Retry(1, backoff=-1), ValueError),
        (lambda: exponential(factor=0.5), ValueError),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


async def test_spawn_refuses_what_is_no_retry() -> None:
    async with TaskScope() as scope:
        with pytest.raises(TypeError, match=r"Retry\(3\)"):
            scope.spawn(many.double, 1, retry=3)  # type: ignore[call-overload]


def test_exponential_backoff_doubles_up_to_its_most() -> None:
    plain = exponential(1.0, factor=2.0, most=5.0, jitter=0.0)
    assert [plain(n) for n in range(1, 6)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    spread = exponential(1.0, jitter=0.5)
    assert all(0.5 <= spread(1) <= 1.5 for _ in range(100))
    assert plain(10_000) == 5.0
