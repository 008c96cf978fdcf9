"""Clause 9: an item, a result or a message may bring a channel, a send end or a shared object to its receiver."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from typing import Any

import anyio
import pytest

from tests.waiting import until
from unified_exec import (
    Channel,
    ChannelSender,
    Event,
    Lock,
    LockTaken,
    ProcessPool,
    Shared,
    SharedValue,
    TaskScope,
    share,
)
from unified_exec._worker import passing


@pytest.fixture(autouse=True)
def nothing_is_kept_for_nobody() -> Iterator[None]:
    """What was sent inside a value is let go of as soon as no process has it and no item contains it."""
    yield
    gc.collect()
    assert until(lambda: passing.sweep() == 0)


def serve(requests: Channel[tuple[int, Channel[int]]]) -> None:
    for number, answer in requests:
        answer.send_sync(number * 2)


async def a_serve(requests: Channel[tuple[int, Channel[int]]]) -> None:
    async for number, answer in requests:
        await answer.send(number * 2)


def ask(requests: Channel[tuple[int, Channel[int]]], count: int) -> list[int]:
    got = []
    for number in range(count):
        answer = Channel[int](1)
        requests.send_sync((number, answer))
        got.append(answer.receive_sync())
    return got


@pytest.mark.parametrize(
    ("asker", "server"), [("process", "process"), ("thread", "process"), ("process", "loop"), ("process", "thread")]
)
@pytest.mark.one_loop
async def test_a_request_brings_the_channel_for_its_answer(asker: Any, server: Any) -> None:
    requests = Channel[tuple[int, Channel[int]]](2)
    async with TaskScope() as scope:
        scope.spawn(a_serve if server == "loop" else serve, requests, on=server)
        with anyio.fail_after(30):
            assert await scope.spawn(ask, requests, 20, on=asker) == [2 * n for n in range(20)]
        requests.close()


def hold_what_comes(carrier: Channel[Any], held: Channel[Any]) -> str:
    lock, event, value = carrier.receive_sync()
    try:
        lock.acquire_nowait()
    except LockTaken as exc:
        held.send_sync(lock)
        event.wait_sync(timeout=30)
        lock.acquire_sync(timeout=30)
        value.add(1)
        held.send_sync(lock)
        event.clear()
        lock.release()
        return exc.state
    return "it was free"


async def test_a_lock_inside_an_item_is_the_same_lock_in_both_processes() -> None:
    carrier, held = Channel[Any](1), Channel[Any](1)
    lock, event, value = Lock(name="mine"), Event(), SharedValue(5)
    async with TaskScope() as scope:
        with anyio.fail_after(60):
            async with lock:
                holder = scope.spawn(hold_what_comes, carrier, held, on="process")
                await carrier.send([lock, event, value])
                assert await held.receive() is lock
                event.set()
            assert await held.receive() is lock
            assert value.get() == 6
            async with lock:
                assert not event.is_set()
            assert f"in process {os.getpid()}" in await holder


def give(carrier: Channel[Any]) -> None:
    inner = Channel[int](3)
    inner.send_sync(os.getpid())
    carrier.send_sync({"inner": [inner]})


def take(carrier: Channel[Any]) -> int:
    inner: Channel[int] = carrier.receive_sync()["inner"][0]
    return inner.receive_sync()


@pytest.mark.one_loop
async def test_a_channel_that_its_sender_has_dropped_arrives() -> None:
    carrier = Channel[Any](5)
    async with ProcessPool(1) as first, ProcessPool(1) as second, TaskScope() as scope:
        with anyio.fail_after(60):
            for _ in range(3):
                await scope.spawn(give, carrier, on=first)
            await scope.spawn(gc.collect, on=first)
            pid = await scope.spawn(os.getpid, on=first)
            assert [await scope.spawn(take, carrier, on=second) for _ in range(2)] == [pid, pid]
            assert (await carrier.receive())["inner"][0].receive_nowait() == pid


def nested_give(carrier: Channel[Any]) -> None:
    async def main() -> None:
        async with ProcessPool(1) as pool, TaskScope() as scope:
            await scope.spawn(give, carrier, on=pool)

    anyio.run(main)


def nested_take(carrier: Channel[Any]) -> int:
    async def main() -> int:
        async with ProcessPool(1) as pool, TaskScope() as scope:
            return await scope.spawn(take, carrier, on=pool)

    return anyio.run(main)


@pytest.mark.one_loop
async def test_it_comes_from_and_to_workers_of_workers() -> None:
    carrier = Channel[Any](1)
    async with TaskScope() as scope:
        with anyio.fail_after(60):
            scope.spawn(nested_give, carrier, on="process")
            assert await scope.spawn(nested_take, carrier, on="process") != os.getpid()


def make() -> Channel[int]:
    made = Channel[int](2)
    made.send_sync(7)
    return made


def stream(go_on: Channel[int]) -> Generator[Channel[int]]:
    for _ in range(3):
        yield make()
        go_on.receive_sync()  # what was yielded is sent meanwhile, by the signal handler


async def test_a_result_and_a_stream_item_bring_a_channel() -> None:
    async with TaskScope() as scope:
        made = await scope.spawn(make, on="process")
        assert made.receive_nowait() == 7
        made.send_nowait(8)
        assert await scope.spawn(made.receive_sync, on="process") == 8
        go_on = Channel[int](1)
        async with scope.stream(stream, go_on, on="process") as items:
            async for item in items:
                assert item.receive_nowait() == 7
                await go_on.send(0)


def send_through(ends: Channel[ChannelSender[int]]) -> None:
    ends.receive_sync().send_sync(5)


async def test_an_item_brings_a_send_end() -> None:
    ends, numbers = Channel[ChannelSender[int]](1), Channel[int](1)
    async with TaskScope() as scope:
        with numbers.sender() as end:
            task = scope.spawn(send_through, ends, on="process")
            await ends.send(end)
            await task
        with anyio.fail_after(30):
            assert [number async for number in numbers] == [5]


def share_there(carrier: Channel[Shared[list[int]]], done: Channel[int]) -> None:
    shared = share([1, 2, os.getpid()])
    carrier.send_sync(shared)
    done.receive_sync()


def value_of(carrier: Channel[Shared[list[int]]]) -> list[int]:
    return carrier.receive_sync().value


async def test_an_item_brings_a_shared_object() -> None:
    carrier, done = Channel[Shared[list[int]]](1), Channel[int](1)
    async with TaskScope() as scope:
        ours = share([1, 2, 3])
        task = scope.spawn(value_of, carrier, on="process")
        await carrier.send(ours)
        with anyio.fail_after(30):
            assert await task == [1, 2, 3]
            maker = scope.spawn(share_there, carrier, done, on="process")
            assert (await scope.spawn(value_of, carrier, on="process"))[:2] == [1, 2]
            await done.send(0)
            await maker


async def test_a_channel_may_bring_itself() -> None:
    channel = Channel[Any](1)
    async with TaskScope() as scope:
        task = scope.spawn(channel.receive_sync, on="process")
        await channel.send([channel])
        assert (await task)[0] is channel
