"""Clause 9, actors: state that lives elsewhere, and what becomes of its calls."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.contract.actor_classes import BadlyClosed, BadlyMade, Counter, Entered, Hanging, Teller, Waiter
from tests.waiting import until_async
from unified_exec import (
    Actor,
    Collect,
    DeadlockError,
    ProcessPool,
    SerializationError,
    Supervise,
    SyncTaskScope,
    TaskHandle,
    TaskScope,
    TaskTimeout,
    WorkerCrashed,
    from_task,
)
from unified_exec._sync.deadlocks import look

PLACES: list[Any] = ["process", "thread", "loop"]
everywhere = pytest.mark.parametrize("on", PLACES)
remotely = pytest.mark.parametrize("on", ["process", "thread"])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines()


@everywhere
async def test_calls_are_served_one_at_a_time_in_order_by_one_object(on: Any, log: Path) -> None:
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 10, str(log), on=on)
        calls = [counter.call(Counter.add, 1) for _ in range(40)]
        assert await scope.gather(*calls) == list(range(11, 51))
        assert (await counter.call(Counter.pid) != os.getpid()) == (on == "process")
        late = scope.spawn(calls_later, counter)  # may call it after the block has ended
    assert late.result() == 52
    assert lines(log) == ["made", "closed at 52"]


async def calls_later(counter: Actor[Counter]) -> int:
    await counter.call(Counter.add, 1)
    return await counter.call(Counter.add, 1)


@everywhere
async def test_what_a_method_raises_is_raised_where_the_call_is_awaited_and_nowhere_else(on: Any) -> None:
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 1, on=on)
        unseen = counter.call(Counter.fail)
        with pytest.raises(KeyError):
            await counter.call(Counter.fail)
        assert await counter.call(Counter.add, 1) == 2
    assert isinstance(unseen.exception(), KeyError)


@remotely
async def test_a_call_that_is_cancelled_before_its_turn_never_starts(on: Any, log: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 1, str(log), on=on)
        first = counter.call(Counter.wait, str(go))
        second, third = counter.call(Counter.add, 10), counter.call(Counter.add, 100)
        late = counter.call(Counter.add, 1000, timeout=0.01)
        assert await until_async(lambda: log.exists() and "waiting" in lines(log), 60)
        second.cancel()
        with pytest.raises(TaskTimeout):
            await late
        go.touch()
        assert await first == 1
        assert await third == 101
    assert second.cancelled()


async def test_a_running_call_is_interrupted_and_the_object_lives_on(log: Path, tmp_path: Path) -> None:
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 1, str(log))
        running = counter.call(Counter.wait, str(tmp_path / "never"))
        assert await until_async(lambda: log.exists() and "waiting" in lines(log), 60)
        running.cancel()
        assert await counter.call(Counter.add, 1) == 2
    assert running.cancelled()
    assert lines(log)[-1] == "closed at 2"


async def test_a_call_that_ignores_its_cancellation_costs_the_object_and_the_error_names_it(log: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            counter = scope.actor(Counter, 1, str(log), grace=0.05)
            running = counter.call(Counter.swallow, "")
            assert await until_async(lambda: log.exists() and "swallowing" in lines(log), 60)
            running.cancel()
            await running.wait()
            await counter.call(Counter.add, 1)
    text = str(caught.value.exceptions[0])
    assert "it was killed to stop Counter.swallow(), which did not end within its grace" in text


async def test_a_crash_fails_the_actor_and_the_calls_it_had() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            counter = scope.actor(Counter, 1)
            await counter.call(Counter.add, 1)
            calls: list[TaskHandle[Any]] = [counter.call(Counter.die)]
            calls += [counter.call(Counter.add, 1) for _ in range(3)]
            await calls[3].wait()
    assert [type(error) for error in caught.value.exceptions] == [WorkerCrashed]
    assert not any(call.done() and call.outcome is not None and call.outcome.is_value for call in calls)


async def test_a_dead_actor_refuses_calls_and_says_why() -> None:
    async with TaskScope(policy=Collect()) as scope:
        counter = scope.actor(Counter, 1)
        calls: list[TaskHandle[Any]] = [counter.call(Counter.die), counter.call(Counter.add, 1)]
        for call in calls:
            with pytest.raises(WorkerCrashed):
                await call
        with pytest.raises(RuntimeError, match=r"actor 'Counter' takes no calls: it has failed: the worker"):
            counter.call(Counter.add, 1)


@pytest.mark.every_loop
async def test_under_supervise_the_object_is_made_anew_and_no_call_runs_twice(log: Path) -> None:
    async with TaskScope(policy=Supervise(3, within=60)) as scope:
        counter = scope.actor(Counter, 1, str(log))
        assert await counter.call(Counter.add, 1) == 2
        dying = counter.call(Counter.die)
        later = [counter.call(Counter.add, 10) for _ in range(20)]
        with pytest.raises(WorkerCrashed):
            await dying
        assert await scope.gather(*later) == [1 + 10 * n for n in range(1, 21)]
        os.kill(await counter.call(Counter.pid), 9)  # while it has no call
        assert await counter.call(Counter.add, 1) in (2, 202)
        assert await counter.call(Counter.add, 1) == 3
    assert lines(log) == ["made", "made", "made", "closed at 3"]


async def test_too_many_crashes_under_supervise_fail_the_scope() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope(policy=Supervise(1, within=60)) as scope:
            counter = scope.actor(Counter, 1)
            for _ in range(2):
                await counter.call(Counter.die).wait()
            await counter.call(Counter.add, 1)
    assert all(isinstance(error, WorkerCrashed) for error in caught.value.exceptions)


@remotely
async def test_an_object_that_cannot_be_made_fails_the_actor_and_its_calls(on: Any) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            actor = scope.actor(BadlyMade, on=on)
            await actor.call(Counter.add, 1)
    assert [type(error) for error in caught.value.exceptions] == [LookupError]


@everywhere
async def test_it_is_entered_and_exited_or_closed_after_all_tasks(on: Any, log: Path) -> None:
    async with TaskScope() as scope:
        scope.actor(Entered, 1, str(log), on=on)
    assert lines(log) == ["made", "entered", "exited"]


@everywhere
async def test_an_error_of_closing_is_raised_by_the_scope(on: Any) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            await scope.actor(BadlyClosed, 1, on=on).call(Counter.add, 1)
    assert [str(error) for error in caught.value.exceptions] == ["the disk is full"]


async def test_closing_has_the_grace_and_no_longer(log: Path) -> None:
    async with TaskScope() as scope:
        await scope.actor(Hanging, 1, str(log), grace=0.2).call(Counter.add, 1)
    assert lines(log)[-1] == "closing"


@everywhere
async def test_a_cancelled_scope_closes_its_actors_too(on: Any, log: Path) -> None:
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 1, str(log), on=on)
        await counter.call(Counter.add, 1)
        scope.cancel()
    assert lines(log) == ["made", "closed at 2"]


@pytest.mark.parametrize("on", ["process", "loop"])
async def test_coroutine_methods_run_together_up_to_concurrency(on: Any, log: Path) -> None:
    async with TaskScope() as scope:
        waiter = scope.actor(Waiter, str(log), on=on, concurrency=3)
        calls = [waiter.call(Waiter.meet, 3) for _ in range(9)]
        assert await scope.gather(*calls) == [3] * 9
        assert await waiter.call(Waiter.plain) == 3
        assert [n async for n in waiter.stream(Waiter.count, 3)] == [0, 1, 2]
    assert log.read_text() == "aclosed"


@pytest.mark.one_loop
async def test_a_crash_fails_all_calls_that_had_begun() -> None:
    async with TaskScope(policy=Supervise(3, within=60)) as scope:
        waiter = scope.actor(Waiter, concurrency=3)
        calls: list[TaskHandle[Any]] = [waiter.call(Waiter.meet, 9), waiter.call(Waiter.meet, 9)]
        calls.append(waiter.call(Waiter.die))
        for call in calls:
            with pytest.raises(WorkerCrashed):
                await call
        assert await waiter.call(Waiter.meet, 1) == 1


@pytest.mark.parametrize("on", ["process", "loop"])
@pytest.mark.parametrize("method", [Teller.tell, Teller.tell_async])
async def test_the_next_call_comes_after_the_end_of_a_stream_that_was_left(on: Any, method: Any) -> None:
    async with TaskScope() as scope:
        teller = scope.actor(Teller, on=on)
        async with teller.stream(method) as stream:
            assert await anext(stream) == 0
            has_ended = teller.call(Teller.has_ended)
        assert await has_ended


@everywhere
async def test_a_generator_method_is_streamed(on: Any) -> None:
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 1, on=on)
        assert [n async for n in counter.stream(Counter.count, 3)] == [2, 3, 4]
        assert await counter.call(Counter.add, 1) == 5


@remotely
async def test_a_method_may_use_the_way_back(on: Any) -> None:
    async with TaskScope() as scope:
        assert await scope.actor(Counter, 1, on=on).call(Counter.asks, 4) == 5


class Caller:
    """Its methods call actors, also its own, and need the answer."""

    def ask(self, *way: str) -> int:
        return from_task.run(ask, *way) if way else 7


class LoopCaller:
    async def ask(self, *way: str) -> int:
        return await ask(*way) if way else 7


callers: dict[str, Any] = {}


async def ask(name: str, *way: str) -> int:
    answer: int = await callers[name].call(type_of(name).ask, *way)
    return answer


def type_of(name: str) -> Any:
    return LoopCaller if name.startswith("loop") else Caller


@pytest.mark.parametrize(
    "way",
    [
        ("thread", "thread"),
        ("loop", "loop"),
        ("loop 2", "loop", "loop 2"),
        ("process", "loop", "thread", "process"),
    ],
    ids=" ".join,
)
@pytest.mark.one_loop
async def test_actors_that_call_each_other_in_a_ring_are_told(
    way: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "AFTER", 0.05)
    async with TaskScope() as scope:
        for name in way:
            callers[name] = scope.actor(type_of(name), on=name.split()[0], name=name)  # type: ignore[call-overload]
        with pytest.raises(DeadlockError, match="waits for its turn after") as caught:
            await ask(*way)
        assert f"'{way[0]}.ask' waits for its turn after" in str(caught.value)
        assert await ask(way[0]) == 7  # they go on
        callers.clear()


async def test_several_actors_share_the_calls_the_least_busy_first(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with TaskScope() as scope:
        counters = scope.actors(Counter, 0, count=2, on="thread")
        busy = counters.call(Counter.wait, str(go))
        values = [await counters.call(Counter.add, 1) for _ in range(4)]
        assert values == [1, 2, 3, 4]  # all by the other one
        go.touch()
        await busy
        assert sorted(await scope.gather(*counters.broadcast(Counter.add, 0))) == [0, 4]
        assert len(counters) == len(list(counters)) == 2


async def test_it_may_have_the_settings_of_a_pool_and_a_worker_beyond_its_number() -> None:
    async with ProcessPool(1, env={"FLAVOUR": "mint"}) as pool, TaskScope() as scope:
        assert await scope.spawn(os.getenv, "FLAVOUR", on=pool) == "mint"
        untyped: Any = scope.actor
        assert await untyped(os.getenv, "FLAVOUR", on=pool).call(str.upper) == "MINT"


async def test_what_does_not_fit_is_refused_with_what_to_do() -> None:
    async with TaskScope() as scope:
        untyped: Any = scope.actor
        with pytest.raises(TypeError, match="needs coroutine methods; for plain ones use actors"):
            untyped(Counter, 1, concurrency=2)
        with pytest.raises(TypeError, match='which need an event loop: use on="loop"'):
            untyped(Waiter, on="thread")
        with pytest.raises(ValueError, match='on must be "process"'):
            untyped(Counter, 1, on="gpu")
        with pytest.raises(TypeError, match=r"write actor\(Model, x\)"):
            untyped(Counter(1))
        with pytest.raises(SerializationError):
            untyped(Counter, threading.Lock())
        counter = untyped(Counter, 1, on="thread")
        with pytest.raises(TypeError, match=r"write actor.call\(Counter.method, ...\)"):
            counter.call(len)
        remote = untyped(Counter, 1)
        with pytest.raises(SerializationError, match=r"an argument of Counter.add\(\)"):
            remote.call(Counter.add, threading.Lock())
    with pytest.raises(RuntimeError, match="its scope has ended"):
        counter.call(Counter.add, 1)


def test_a_blocking_scope_has_actors_too(log: Path) -> None:
    with SyncTaskScope() as scope:
        counter = scope.actor(Counter, 1, str(log))
        assert counter.call(Counter.add, 2).result() == 3
        assert list(counter.stream(Counter.count, 2)) == [4, 5]
        several = scope.actors(Counter, 1, count=2, on="thread")
        assert [several.call(Counter.add, 1).result() for _ in range(2)] == [2, 2]
    assert lines(log) == ["made", "closed at 5"]
