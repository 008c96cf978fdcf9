"""Clause 9: waits of process tasks that nobody can end any more are told, and none that anybody could."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract import waits_elsewhere as waits
from tests.contract.looks import act_later, send_by_id, the_ones
from tests.waiting import until, until_async
from unified_exec import (
    Barrier,
    Channel,
    Condition,
    Event,
    Lock,
    ProcessPool,
    SyncTaskScope,
    TaskScope,
)
from unified_exec._sync.deadlocks import frames, reach
from unified_exec._sync.deadlocks.graph import HAS, Node
from unified_exec._sync.shared import board

pytestmark = [
    pytest.mark.skipif(not (frames.KNOWN and reach.can_count()), reason="what a running frame has cannot be counted"),
    pytest.mark.usefixtures("looks_at_once"),
]
PATIENCE = 30


ALONE = {
    "item": (waits.receive, lambda: Channel(1, name="x"), "an item of Channel(1, name='x')"),
    "item-coroutine": (waits.a_receive, lambda: Channel(1, name="x"), "an item of Channel(1, name='x')"),
    "room": (waits.send_two, lambda: Channel(1, name="x"), "room in Channel(1, name='x')"),
    "event": (waits.wait, lambda: Event(name="x"), "Event(name='x')"),
    "event-coroutine": (waits.a_wait, lambda: Event(name="x"), "Event(name='x')"),
    "barrier": (waits.wait, lambda: Barrier(2, name="x"), "Barrier(2, name='x')"),
    "condition": (waits.a_wait_for_change, lambda: Condition(name="x"), "Condition(name='x')"),
}


@pytest.mark.parametrize(("fn", "make", "words"), ALONE.values(), ids=ALONE)
async def test_a_process_task_that_alone_has_what_it_waits_for_is_told(fn: Any, make: Any, words: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            scope.spawn(fn, make(), on="process")
    (error,) = the_ones(caught.value)
    assert error.ring[0].startswith(f"task '{fn.__name__}' in process ")
    assert f"in process {os.getpid()} waits" not in error.ring[0]
    assert f"waits for {words} at {waits.__file__}:" in error.ring[0]
    assert "close a channel" in str(error)


def test_a_program_without_an_event_loop_is_told() -> None:
    with pytest.raises(ExceptionGroup) as caught, SyncTaskScope() as scope:
        scope.spawn(waits.receive, Channel[int](1), on="process")
    assert len(the_ones(caught.value)) == 1


def cross(relay: Any, other: Any) -> Callable[[TaskScope], None]:
    def spawn(scope: TaskScope) -> None:
        one, two = Channel[int](1, name="one"), Channel[int](1, name="two")
        scope.spawn(relay, one, two, on="process")
        scope.spawn(other, two, one, on="process" if other is not relay_here else "loop")

    return spawn


async def relay_here(source: Channel[int], target: Channel[int]) -> None:
    await target.send(await source.receive())


def event_and_channel(scope: TaskScope) -> None:
    event = Event(name="one")
    scope.spawn(waits.receive_and_set, Channel[int](1, name="two"), event, on="process")
    scope.spawn(wait_here, event)


async def wait_here(event: Event) -> None:
    await event.wait()


def lock_and_channel(scope: TaskScope) -> None:
    lock, channel, held = Lock(name="one"), Channel[int](1, name="two"), Event()
    scope.spawn(waits.hold_and_receive, lock, channel, held, on="process")
    scope.spawn(waits.lock_and_send, lock, channel, held, on="process")


RINGS = {
    "processes": cross(waits.relay, waits.relay),
    "coroutines": cross(waits.a_relay, waits.a_relay),
    "both": cross(waits.a_relay, waits.relay),
    "loop": cross(waits.relay, relay_here),
    "event": event_and_channel,
    "lock": lock_and_channel,
}


@pytest.mark.parametrize("spawn", RINGS.values(), ids=RINGS)
async def test_of_tasks_in_several_processes_that_wait_for_one_another_one_is_told(spawn: Any) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            spawn(scope)
    (error,) = the_ones(caught.value)
    assert "name='one'" in str(error)
    assert "name='two'" in str(error)


# -- who could end a wait


class CouldEnd:
    """Each spawns a task that waits, and has somebody end that later, when the path is there."""

    def __init__(self, scope: TaskScope, alone: ProcessPool, path: Path) -> None:
        self.scope, self.alone, self.path = scope, alone, path

    def spawn(self, fn: Any, *args: Any, on: Any = "process") -> None:
        self.scope.spawn(fn, *args, on=on)

    def a_coroutine(self) -> None:
        channel = Channel[int](1)
        self.spawn(waits.receive, channel)
        self.spawn(send_late, channel, self.path, on="loop")

    def another_process(self) -> None:
        channel = Channel[int](1)
        self.spawn(waits.receive, channel)
        self.spawn(waits.send_slowly, channel, self.path)

    def a_ring_but_for_one(self) -> None:
        one, two = Channel[int](1), Channel[int](2)
        self.spawn(waits.relay, one, two)
        self.spawn(waits.relay, two, one)
        self.spawn(waits.send_slowly, two, self.path, on="thread")

    def a_thread_of_the_worker(self) -> None:
        self.spawn(waits.receive_from_a_thread, Channel[int](1), self.path)

    def a_task_of_the_worker(self) -> None:
        self.spawn(waits.receive_beside_a_thread, Channel[int](1), self.path)

    def a_signal_handler_of_the_worker(self) -> None:
        self.spawn(waits.receive_from_a_signal_handler, Channel[int](1), self.path)

    def a_timeout(self) -> None:
        channel = Channel[int](1)
        self.spawn(waits.receive_in_time, channel, self.path)
        later.append(send_by_id(channel))

    def a_deadline(self) -> None:
        channel = Channel[int](1)
        self.scope.spawn(waits.a_receive, channel, on="process", timeout=PATIENCE)
        later.append(send_by_id(channel))

    def a_slow_holder_of_a_lock(self) -> None:
        lock, channel, held = Lock(), Channel[int](1), Event()
        self.spawn(waits.hold_slowly, lock, channel, held, self.path)
        self.spawn(waits.lock_and_receive, lock, channel, held)
        self.a_coroutine()  # a wait for a lock alone has nobody look

    def a_function_of_the_program(self) -> None:
        channel = Channel[int](1)
        self.spawn(waits.receive, channel)
        self.spawn(waits.ask_for_an_item, channel, self.path)

    def the_host_of_the_scope(self) -> None:
        """It may cancel, for the body has not ended."""
        self.spawn(waits.receive, Channel[int](1))
        later.append(lambda: None)

    async def a_thread_of_an_idle_worker(self) -> None:
        """The task that has started it has ended."""
        channel = Channel[int](1)
        self.spawn(waits.receive, channel)
        await self.scope.spawn(waits.start_sending_slowly, channel, self.path, on="process")

    async def a_thread_of_an_idle_worker_that_has_told_of_it_before(self) -> None:
        """What the worker told was true, and is no more."""
        channel, other = Channel[int](1), Channel[int](1)
        async with TaskScope(processes=self.alone) as scope:
            await scope.spawn(waits.send_slowly, channel, self.path.parent, on="process")
            scope.spawn(waits.receive, other, on="process")
            threading.Thread(target=send_when_told, args=(other, channel.token)).start()
        channel.receive_nowait()
        await self.scope.spawn(waits.start_sending_slowly, channel, self.path, on=self.alone)
        self.spawn(waits.receive, channel)


def send_when_told(channel: Channel[int], token: bytes) -> None:
    """Send when a worker has told that none of its tasks has the object of this token."""
    told = Node((0, 0), 0.0, 0, HAS, (token,), (), "")

    def is_told() -> bool:
        rows = board.exchange([]).values()
        return any(Node(*each)._replace(key=(0, 0)) == told for _, nodes in rows for each in nodes)

    assert until(is_told, PATIENCE)
    channel.send_sync(1)


later: list[Callable[[], object]] = []


async def send_late(channel: Channel[int], path: Path) -> None:
    assert await until_async(path.exists, PATIENCE)
    await channel.send(1)


@pytest.mark.parametrize("case", [name for name in vars(CouldEnd) if name[0] != "_" and name != "spawn"])
@pytest.mark.one_loop
async def test_who_could_end_the_wait_of_a_process_task_means_no_deadlock(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "go"
    async with ProcessPool(3) as pool, ProcessPool(1) as alone:
        async with TaskScope(processes=pool) as scope:
            awaitable = getattr(CouldEnd(scope, alone, path), case)()
            if awaitable is not None:
                await awaitable
                del awaitable
            act_later(monkeypatch, lambda: [path.touch(), *[each() for each in later]])
            if case == "the_host_of_the_scope":
                assert await until_async(path.exists, PATIENCE)
                scope.cancel()
    later.clear()
