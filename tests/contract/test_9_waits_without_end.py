"""Clause 9: who waits for what nobody can send, set or notify any more is told, and nobody else is."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.contract.looks import until_looked
from unified_exec import (
    Barrier,
    Channel,
    Condition,
    DeadlockError,
    Event,
    Lock,
    SyncTaskScope,
    TaskScope,
)
from unified_exec._sync.deadlocks import look, patrol, reach

NEWER = sys.version_info >= (3, 14)  # a running frame may refer to objects without counting that
pytestmark = pytest.mark.skipif(NEWER and not reach.can_count(), reason="references cannot be counted")
IN_THREADS = pytest.mark.skipif(NEWER, reason="what a running frame has cannot be counted")
PATIENCE = 30


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "AFTER", 0.0)
    monkeypatch.setattr(look, "PERIOD", 0.05)
    monkeypatch.setattr(patrol, "SHARE", 0)


async def a_receive(channel: Channel[int]) -> None:
    await channel.receive()


async def a_iterate(channel: Channel[int]) -> None:
    async for _ in channel:
        pass


def receive(channel: Channel[int]) -> None:
    channel.receive_sync()


def iterate(channel: Channel[int]) -> None:
    for _ in channel:
        pass


async def a_receive_of(owner: Any) -> None:
    await owner.channel.receive()


def wait_sync(waited: Any) -> None:
    waited.wait_sync()


def the_one(error: BaseException) -> DeadlockError:
    """The one error in any number of groups."""
    while isinstance(error, BaseExceptionGroup):
        assert len(error.exceptions) == 1, error
        error = error.exceptions[0]
    assert isinstance(error, DeadlockError), error
    return error


async def told(*calls: tuple[Callable[..., Any], Any]) -> DeadlockError:
    """Run the calls in a scope, one after another begins to wait; returns what is told to one of them."""
    calls_left = list(calls)
    del calls
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            while calls_left:
                fn, args = calls_left.pop(0)
                scope.spawn(fn, *args, name=fn.__name__, on="loop" if fn.__name__.startswith("a_") else "thread")
                del args
                await anyio.wait_all_tasks_blocked()
            del fn
    return the_one(caught.value)


@pytest.mark.parametrize(
    "fn", [a_receive, a_iterate, *(pytest.param(each, marks=IN_THREADS) for each in (receive, iterate))]
)
async def test_a_receiver_is_told_that_nobody_is_left_who_could_send(fn: Callable[..., Any]) -> None:
    error = await told((fn, (Channel(1, name="pages"),)))
    assert f"task '{fn.__name__}' in process" in error.ring[0]
    assert f"waits for an item of Channel(1, name='pages') at {__file__}:" in error.ring[0]
    assert "close a channel" in str(error)


async def test_what_only_waiters_have_may_be_in_an_object_or_a_closure() -> None:
    await told((a_receive_of, (SimpleNamespace(channel=Channel(1)),)))
    channel = Channel[int](1)

    async def a_closure() -> None:
        await channel.receive()

    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            scope.spawn(a_closure)
    the_one(caught.value)


async def a_fill(full: Channel[int], empty: Channel[int]) -> None:
    await full.send(1)
    await full.send(2)
    await empty.send(3)


def fill(full: Channel[int], empty: Channel[int]) -> None:
    full.send_sync(1)
    full.send_sync(2)
    empty.send_sync(3)


async def a_drain(full: Channel[int], empty: Channel[int]) -> None:
    await empty.receive()
    await full.receive()


def drain(full: Channel[int], empty: Channel[int]) -> None:
    empty.receive_sync()
    full.receive_sync()


@pytest.mark.parametrize("sender", [a_fill, pytest.param(fill, marks=IN_THREADS)])
@pytest.mark.parametrize("receiver", [a_drain, pytest.param(drain, marks=IN_THREADS)])
async def test_a_ring_of_a_full_and_an_empty_channel_is_found(sender: Any, receiver: Any) -> None:
    error = await told(
        *[
            (fn, channels)
            for channels in [(Channel(1, name="full"), Channel(1, name="empty"))]
            for fn in (sender, receiver)
        ]
    )
    text = str(error)
    assert "waits for room in Channel(1, name='full')" in text
    assert "waits for an item of Channel(1, name='empty')" in text


async def a_hold_and_receive(lock: Lock, channel: Channel[int]) -> None:
    async with lock:
        await channel.receive()


async def a_lock_and_send(lock: Lock, channel: Channel[int]) -> None:
    async with lock:
        await channel.send(1)


async def test_a_ring_of_a_lock_and_an_empty_channel_is_found_at_the_one_that_came_last() -> None:
    both = [(Lock(name="mine"), Channel[int](1, name="pages"))]
    error = await told((a_hold_and_receive, both[0]), (a_lock_and_send, both.pop()))
    assert "task 'a_lock_and_send'" in error.ring[0]
    assert "waits for Lock(name='mine')" in error.ring[0]
    assert "holds Lock(name='mine') acquired at" in str(error)
    assert "waits for an item of Channel(1, name='pages')" in str(error)


async def a_wait(waited: Any) -> None:
    await waited.wait()


async def a_wait_for_change(condition: Condition) -> None:
    async with condition:
        await condition.wait()


@pytest.mark.parametrize("fn", [a_wait, pytest.param(wait_sync, marks=IN_THREADS)])
@pytest.mark.parametrize("kind", [Event, Barrier])
async def test_who_waits_for_an_event_or_a_barrier_that_nobody_else_has_is_told(kind: Any, fn: Any) -> None:
    error = await told((fn, (Barrier(2, name="x") if kind is Barrier else Event(name="x"),)))
    assert f"waits for {kind.__name__}(" in error.ring[0]


async def test_who_waits_for_a_condition_that_nobody_else_has_is_told() -> None:
    error = await told((a_wait_for_change, (Condition(name="changed"),)))
    assert "waits for Condition(name='changed')" in error.ring[0]


@IN_THREADS
def test_threads_without_a_loop_of_the_program_are_told() -> None:
    with pytest.raises(ExceptionGroup) as caught, SyncTaskScope() as scope:
        channel = Channel[int](1)
        scope.spawn(receive, channel, on="thread")
    the_one(caught.value)


_global: list[Any] = []


async def test_who_has_what_is_waited_for_and_could_act_means_no_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each receiver waits for one who sleeps, runs, is a timer or a global, or gives up by itself."""
    done = anyio.Event()
    free = threading.Event()

    async def a_sleeper(channel: Channel[int]) -> None:
        await done.wait()
        await channel.send(1)

    def in_another_wait(channel: Channel[int]) -> None:
        assert free.wait(PATIENCE)
        channel.send_sync(1)

    async def with_a_deadline(channel: Channel[int]) -> None:
        with anyio.move_on_after(PATIENCE):
            await channel.receive()

    async def with_a_timeout(channel: Channel[int]) -> None:
        await channel.receive(timeout=PATIENCE)

    async with TaskScope() as scope:
        channels = [Channel[int](1, name=str(number)) for number in range(7)]
        held, running, timed, known, late, timing, in_object = channels
        channels.clear()
        _global.append(known)
        thing = SimpleNamespace(channel=in_object)
        scope.spawn(a_receive, held)
        scope.spawn(a_sleeper, held)
        scope.spawn(a_receive, running)
        scope.spawn(in_another_wait, running, on="thread")
        timer = threading.Timer(PATIENCE, timed.send_nowait, (1,))
        timer.start()
        scope.spawn(a_receive, timed)
        scope.spawn(a_receive, known)
        scope.spawn(with_a_deadline, late)
        scope.spawn(with_a_timeout, timing)
        scope.spawn(a_receive, in_object)
        del held, running, timed, known, late, timing, in_object
        await until_looked(monkeypatch, looks=4, within=PATIENCE)
        done.set()
        free.set()
        timer.cancel()
        timer.function(1)
        _global.pop().send_nowait(1)
        thing.channel.send_nowait(1)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()


async def test_a_timer_of_the_loop_can_set_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    async with TaskScope() as scope:
        scope.spawn(a_wait, _event_set_by_a_timer(scope))
        await until_looked(monkeypatch, looks=4, within=PATIENCE)
        scope.cancel()


def _event_set_by_a_timer(scope: TaskScope) -> Event:
    event = Event()
    try:
        asyncio.get_running_loop().call_later(PATIENCE, event.set)
    except RuntimeError:
        scope.spawn(a_set_late, event)
    return event


async def a_set_late(event: Event) -> None:
    await anyio.sleep(PATIENCE)
    event.set()
