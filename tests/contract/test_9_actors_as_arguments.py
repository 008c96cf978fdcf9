"""Clause 9: an actor that was passed to tasks in other places, and to other actors, is called from there."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.contract.actor_classes import (
    Chief,
    Counter,
    a_add,
    add,
    add_and_forget,
    add_in_nested_scopes,
    cancel_call,
    keep,
    meet_errors,
    time_out,
)
from unified_exec import Actor, Channel, Collect, DeadlockError, SyncTaskScope, TaskScope
from unified_exec._sync.deadlocks import look
from unified_exec.executor import ProcessExecutor

everywhere = pytest.mark.parametrize("on", ["process", "thread", "loop"])


@everywhere
@pytest.mark.one_loop
async def test_tasks_and_other_actors_call_it(on: Any) -> None:
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 0, on=on)
        assert await scope.spawn(add, counter, 1, on="thread") == 1
        assert await scope.spawn(add, counter, 1, on="process") == 2
        assert await scope.spawn(a_add, counter, 1, on="process") == 3
        assert await scope.spawn(a_add, counter, 1) == 4
        for chief_on in ("process", "thread"):
            chief = scope.actor(Chief, counter, on=chief_on)
            assert await chief.call(Chief.add, 1) in (5, 6)
        assert await counter.call(Counter.add, 0) == 6


@pytest.mark.fresh_pool
@pytest.mark.parametrize("on", ["process", "thread"])
@pytest.mark.one_loop
async def test_tasks_of_tasks_call_it(on: Any) -> None:
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 0, on="loop")
        assert await scope.spawn(add_in_nested_scopes, counter, 1, on=on) == [1, 2]


async def test_it_comes_with_items_in_groups_and_back_as_itself() -> None:
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 0, on="loop")
        assert await scope.spawn(keep, counter, on="process") is counter
        assert pickle.loads(pickle.dumps(counter)) is counter
        both = scope.actors(Counter, 0, count=2, on="loop")
        assert [await scope.spawn(add, both, 1, on="process") for _ in range(2)] == [1, 1]
        channel = Channel[Any](1)
        receiver = scope.spawn(add_received, channel, on="process")
        await channel.send(counter)
        assert await receiver == 5


def add_received(channel: Channel[Any]) -> int:
    return add(channel.receive_sync(), 5)


async def test_a_call_may_be_named_by_a_number_as_a_task_may() -> None:
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 0, on="loop")
        assert [await scope.spawn(add_named, counter, on=on) for on in ("process", "thread")] == [1, 2]


def add_named(counter: Any) -> int:
    found: int = counter.call(Counter.add, 1, name=3).result()
    return found


async def test_its_calls_are_timed_and_cancelled_and_outlive_the_task_that_made_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 0, str(log))
        assert await scope.spawn(time_out, counter, str(tmp_path / "never"), on="process") == "timeout"
        assert await scope.spawn(cancel_call, counter, str(tmp_path / "go"), on="process") == "TaskCancelled"
        await scope.spawn(add_and_forget, counter, 7, on="process")
    assert log.read_text().splitlines()[-1] == "closed at 7"


@pytest.mark.parametrize("place", ["process", "thread"])
async def test_its_errors_are_raised_where_the_answer_is_asked_for(place: Any) -> None:
    async with TaskScope() as scope:
        failed, none, stream, module = await scope.spawn(meet_errors, scope.actor(Counter, 3), on=place)
        assert failed == "KeyError: 3"
        assert "is not a method of Counter: write actor.call(Counter.method, ...)" in none
        assert "pass the method a Channel" in stream
        assert module.startswith("SerializationError")


async def test_actors_that_have_each_other_and_wait_in_a_ring_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "AFTER", 0.05)
    async with TaskScope() as scope:
        one, two = scope.actor(Chief, name="one"), scope.actor(Chief, on="thread", name="two")
        with pytest.raises(DeadlockError, match=r"'one\.\w+' waits for its turn after"):
            await one.call(Chief.ask, two, one)
        assert await one.call(Chief.ask, two) == 1  # they go on


async def test_where_it_does_not_work_the_error_says_why() -> None:
    async with TaskScope() as scope:
        counter = scope.actor(Counter, 0, on="loop")
        found: list[str] = []

        def outside(actor: Actor[Counter]) -> None:
            try:
                actor.call(Counter.add, 1)
            except RuntimeError as error:
                found.append(str(error))

        thread = threading.Thread(target=outside, args=(counter,))
        thread.start()
        thread.join()
        assert "start this function with scope.spawn(...)" in found[0]
        with ProcessExecutor(1) as executor, pytest.raises(RuntimeError, match="submitted to an executor"):
            executor.submit(add, counter, 1).result()
    async with TaskScope(policy=Collect()) as scope:
        with pytest.raises(RuntimeError, match="actor 'Counter' takes no calls: its scope has ended"):
            await scope.spawn(add, counter, 1, on="process")
        token = counter.token
        del counter
        from unified_exec._handles import actor_refs

        assert token is not None
        gone = actor_refs.arrived(token, "Counter", Counter)
        with pytest.raises(RuntimeError, match="takes no calls: its scope has ended"):
            await scope.spawn(add, gone, 1, on="process")


def test_tasks_of_a_blocking_scope_call_its_actors() -> None:
    with SyncTaskScope() as scope:
        counter = scope.actor(Counter, 1, on="thread")
        assert [scope.spawn(add, counter, 1, on=on).result() for on in ("thread", "process")] == [2, 3]
        assert counter.call(Counter.add, 1).result() == 4
