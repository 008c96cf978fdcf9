"""Clause 9 between processes: a channel goes along with a task and works from there as it does here."""

from __future__ import annotations

import gc
import os
import signal
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.contract.conftest import PLACES
from tests.waiting import until_async
from unified_exec import (
    Channel,
    ChannelClosed,
    Collect,
    ProcessPool,
    SerializationError,
    TaskScope,
    TaskState,
    WorkerCrashed,
    observe,
)

pytestmark = pytest.mark.one_loop

BOTH = [(s, r) for s in PLACES for r in PLACES if "process" in s + r]


async def a_send(channel: Channel[Any], items: list[Any]) -> None:
    for item in items:
        await channel.send(item)


def send(channel: Channel[Any], items: list[Any]) -> None:
    for item in items:
        channel.send_sync(item)


async def a_receive(channel: Channel[Any]) -> list[Any]:
    return [item async for item in channel]


def receive(channel: Channel[Any]) -> list[Any]:
    return list(channel)


@pytest.mark.parametrize(("sender", "receiver"), BOTH, ids=["-to-".join(pair) for pair in BOTH])
async def test_items_arrive_once_and_in_order(sender: str, receiver: str) -> None:
    channel = Channel[tuple[int, int]](3)
    to, out = PLACES[sender], PLACES[receiver]
    async with TaskScope() as scope:
        handles: list[Any] = [
            scope.spawn(a_receive if out.coroutine else receive, channel, on=out.on)  # type: ignore[call-overload]
            for _ in range(2)
        ]
        async with TaskScope() as senders:
            for n in range(2):
                items = [(n, k) for k in range(150)]
                senders.spawn(a_send if to.coroutine else send, channel, items, on=to.on)  # type: ignore[call-overload]
        channel.close()
        got = [await handle for handle in handles]
    assert sorted(got[0] + got[1]) == [(n, k) for n in range(2) for k in range(150)]
    for part in got:
        for n in range(2):
            mine = [k for m, k in part if m == n]
            assert mine == sorted(mine)
    assert channel.lost == 0


async def test_what_was_in_it_comes_along_and_waiters_go_on() -> None:
    channel = Channel[str](3)
    channel.send_nowait("before")
    async with TaskScope() as scope:
        assert await scope.spawn(channel_receive, channel, on="process") == "before"
    local = Channel[int](1)
    async with TaskScope() as scope:
        waits = scope.spawn(local.receive)
        in_thread = scope.spawn(local.receive_sync)
        await anyio.lowlevel.checkpoint()
        await scope.spawn(send, local, [1, 2], on="process")
        assert sorted([await waits, await in_thread]) == [1, 2]


def channel_receive(channel: Channel[Any]) -> Any:
    return channel.receive_sync()


async def test_an_item_that_cannot_travel_leaves_the_channel_local() -> None:
    channel = Channel[Any](3)
    lock = __import__("threading").Lock()
    channel.send_nowait(lock)
    async with TaskScope() as scope:
        with pytest.raises(SerializationError):
            scope.spawn(send, channel, [1], on="process")
    assert channel.receive_nowait() is lock
    await channel.send(2)
    assert await channel.receive() == 2


async def test_it_travels_inside_arguments_and_in_captured_variables() -> None:
    channel = Channel[int](10)

    def captured(n: int) -> None:
        channel.send_sync(n)

    async with TaskScope() as scope:
        await scope.spawn(send_from, {"there": [channel]}, 1, on="process")
        await scope.spawn(partial(channel_send, channel), 2, on="process")
        for n in range(3, 6):
            await scope.spawn(captured, n, on="process")
    assert await channel.receive_many(10) == [1, 2, 3, 4, 5]


def send_from(box: dict[str, list[Channel[int]]], n: int) -> None:
    box["there"][0].send_sync(n)


def channel_send(channel: Channel[int], n: int) -> None:
    channel.send_sync(n)


kept: list[Any] = []


def keep(channel: Channel[int]) -> None:
    kept.append(channel)


def use_kept(channel: Channel[int], n: int) -> bool:
    kept[0].send_sync(n)
    return kept[0] is channel


async def test_it_comes_with_an_initializer_into_every_new_worker_and_is_the_same_object() -> None:
    channel = Channel[int](10)
    async with ProcessPool(1, initializer=keep, initargs=(channel,), max_tasks_per_worker=1) as pool:
        async with TaskScope() as scope:
            for n in range(3):
                assert await scope.spawn(use_kept, channel, n, on=pool)
    assert await channel.receive_many(10) == [0, 1, 2]


def nested(channel: Channel[int], own: int) -> int:
    async def main() -> int:
        async with ProcessPool(1) as pool, TaskScope() as scope:
            return await scope.spawn(channel_exchange, channel, own, on=pool)

    return anyio.run(main)


def channel_exchange(channel: Channel[int], own: int) -> int:
    channel.send_sync(own)
    return os.getppid()


async def test_it_goes_on_to_nested_workers() -> None:
    channel = Channel[int](1)
    async with TaskScope() as scope:
        handle = scope.spawn(nested, channel, 5, on="process")
        assert await channel.receive() == 5
        assert await handle != os.getpid()


def give_back(channel: Channel[int]) -> Channel[int]:
    return channel


async def test_what_comes_back_is_the_same_channel() -> None:
    channel = Channel[int](1)
    async with TaskScope() as scope:
        assert await scope.spawn(give_back, channel, on="process") is channel


@pytest.mark.parametrize("size", [0, 1000, 5000, 70_000, 3 << 20])
async def test_items_of_every_size_arrive_whole(size: int) -> None:
    channel = Channel[Any](2)
    items = [bytes(size), bytearray(b"y" * size), [b"z" * size, "s" * size], {"a": size}]
    async with TaskScope() as scope:
        handle = scope.spawn(receive, channel, on="process")
        await channel.send_many(items)
        channel.close()
        assert await handle == items
    back = Channel[Any](2)
    async with TaskScope() as scope:
        scope.spawn(send, back, items, on="process")
        got = [await back.receive() for _ in items]
    assert got == items
    got[1][:1] = b"!"  # it is the receiver's own


def hang(channel: Channel[int]) -> None:
    channel.receive_sync()


@pytest.mark.parametrize("place", ["process", "process-coroutine"])
async def test_cancelling_a_waiting_process_task_takes_nothing(place: str) -> None:
    channel = Channel[int](1)
    where = PLACES[place]
    async with TaskScope() as scope:
        handle: Any = scope.spawn(a_receive if where.coroutine else hang, channel, on=where.on)  # type: ignore[call-overload]
        while "on Channel(" not in await anyio.to_thread.run_sync(observe.dump):
            pass
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
    await channel.send(1)
    assert await channel.receive() == 1


async def test_closing_tells_receivers_and_senders_in_every_process() -> None:
    channel = Channel[int](1)
    async with TaskScope() as scope:
        waits = [scope.spawn(receive, channel, on="process") for _ in range(2)]
        here = scope.spawn(a_receive, channel)
        await until_async(lambda: all(handle.state is TaskState.RUNNING for handle in waits))
        channel.close()
        assert [await handle for handle in (*waits, here)] == [[], [], []]
        with pytest.raises(ChannelClosed):
            await channel.send(1)
    full = Channel[int](1)
    full.send_nowait(0)
    with pytest.raises(ExceptionGroup) as failed:
        async with TaskScope() as scope:
            handle = scope.spawn(send, full, [1], on="process")
            await until_async(lambda: handle.state is TaskState.RUNNING)
            full.close()
    assert failed.group_contains(ChannelClosed)
    assert full.receive_nowait() == 0


async def test_a_timeout_between_processes_leaves_the_channel_as_it_was() -> None:
    channel = Channel[int](1)
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(receive_with_timeout, channel, on="process")
        await handle.wait()
    assert isinstance(handle.exception(), TimeoutError)
    with pytest.raises(TimeoutError):
        await channel.receive(timeout=0.01)
    with pytest.raises(TimeoutError):
        channel_sync = partial(channel.receive_sync, timeout=0.01)
        await anyio.to_thread.run_sync(channel_sync)


def receive_with_timeout(channel: Channel[int]) -> int:
    return channel.receive_sync(timeout=0.05)


def die_after(channel: Channel[int], count: int) -> None:
    for n in range(count):
        channel.send_sync(n)
    os.kill(os.getpid(), signal.SIGKILL)


async def test_what_a_dead_sender_had_sent_arrives() -> None:
    channel = Channel[int](10)
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(die_after, channel, 7, on="process")
        await handle.wait()
    assert isinstance(handle.exception(), WorkerCrashed)
    assert await channel.receive_many(10) == list(range(7))
    assert channel.lost == 0


class Bomb:
    """Kills the process that unpickles it: the item is out of the channel and `receive` has not returned."""

    def __reduce__(self) -> Any:
        return os.kill, (Pid(), signal.SIGKILL)


class Pid:
    def __reduce__(self) -> Any:
        return os.getpid, ()


async def test_what_a_dead_receiver_had_taken_out_is_counted() -> None:
    channel = Channel[Any](10)
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(receive, channel, on="process")
        await channel.send_many([1, Bomb(), 2])
        await handle.wait()
    assert channel.lost == 1
    assert await channel.receive() == 2


def test_a_channel_that_is_dropped_gives_its_descriptors_back() -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:  # whose descriptors go with it
            for n in range(30):
                channel = Channel[int](1)
                scope.spawn(send, channel, [n], on="process")
                assert await channel.receive() == n

    anyio.run(main)
    gc.collect()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    anyio.run(main)
    gc.collect()
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_a_capacity_beyond_the_pipes_is_refused_when_it_would_be_shared() -> None:
    channel = Channel[int](10_000_000)

    async def main() -> None:
        async with TaskScope() as scope:
            with pytest.raises(SerializationError, match="capacity"):
                scope.spawn(send, channel, [1], on="process")

    anyio.run(main)
    channel.send_nowait(1)
    assert channel.receive_nowait() == 1
