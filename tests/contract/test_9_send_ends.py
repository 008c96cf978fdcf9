"""Clause 9: receivers are told when the last counted send end has ended, by its task's end or its process's death."""

from __future__ import annotations

import gc
import os
import signal
import threading
from functools import partial
from typing import Any

import anyio
import pytest

from tests.contract.conftest import PLACES, Place
from unified_exec import (
    Channel,
    ChannelClosed,
    ChannelSender,
    Collect,
    Retry,
    TaskScope,
    TaskState,
    WorkerCrashed,
)

EACH = pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))


async def a_produce(send: ChannelSender[int], items: list[int]) -> None:
    await send.send_many(items)


def produce(send: ChannelSender[int], items: list[int]) -> None:
    for item in items:
        send.send_sync(item)


async def a_fail(send: ChannelSender[int], items: list[int]) -> None:
    await a_produce(send, items)
    raise ValueError("no more")


def fail(send: ChannelSender[int], items: list[int]) -> None:
    produce(send, items)
    raise ValueError("no more")


async def a_receive(channel: Channel[int]) -> list[int]:
    return [item async for item in channel]


def receive(channel: Channel[int]) -> list[int]:
    return list(channel)


def spawn(scope: TaskScope, place: Place, plain: Any, twin: Any, *args: Any, **options: Any) -> Any:
    return scope.spawn(twin if place.coroutine else plain, *args, on=place.on, **options)  # type: ignore[call-overload]


@EACH
@pytest.mark.one_loop
async def test_receivers_end_when_the_last_sender_has_ended(place: Place) -> None:
    channel = Channel[int](2)
    async with TaskScope() as scope:
        receivers = [spawn(scope, where, receive, a_receive, channel) for where in PLACES.values()]
        for n in range(3):
            spawn(scope, place, produce, a_produce, channel.sender(), [n, n + 10])
    got = [item for handle in receivers for item in await handle]
    assert sorted(got) == [0, 1, 2, 10, 11, 12]
    assert channel.closed
    with pytest.raises(ChannelClosed):
        channel.sender()


@EACH
async def test_a_task_that_fails_ends_its_send_end_though_its_error_is_kept(place: Place) -> None:
    channel = Channel[int](10)
    async with TaskScope(policy=Collect()) as scope:
        handle = spawn(scope, place, fail, a_fail, channel.sender(), [1])
        with anyio.fail_after(30):
            assert [item async for item in channel] == [1]
    assert isinstance(handle.exception(), ValueError)


def kill_me(send: ChannelSender[int]) -> None:
    send.send_sync(1)
    os.kill(os.getpid(), signal.SIGKILL)


def open_and_die(channel: Channel[int]) -> None:
    kill_me(channel.sender())


@pytest.mark.parametrize("opens", [False, True])
async def test_the_death_of_its_process_ends_a_send_end(opens: bool) -> None:
    channel = Channel[int](10)
    async with TaskScope(policy=Collect()) as scope:
        handle = (
            scope.spawn(open_and_die, channel, on="process")
            if opens
            else scope.spawn(kill_me, channel.sender(), on="process")
        )
        with anyio.fail_after(30):
            assert [item async for item in channel] == [1]
    assert isinstance(handle.exception(), WorkerCrashed)


def end_and_wait(send: ChannelSender[int], go_on: Channel[int]) -> bool:
    with send:
        send.send_sync(1)
    go_on.receive_sync()
    return send.closed


@pytest.mark.parametrize("on", ["thread", "process"])
async def test_the_end_of_a_with_block_ends_it_while_its_task_goes_on(on: Any) -> None:
    channel, go_on = Channel[int](1), Channel[int](1)
    async with TaskScope() as scope:
        handle = scope.spawn(end_and_wait, channel.sender(), go_on, on=on)
        with anyio.fail_after(30):
            assert [item async for item in channel] == [1]
        assert handle.state is TaskState.RUNNING
        await go_on.send(0)
        assert await handle


async def test_a_send_end_that_is_dropped_has_ended() -> None:
    local, shared = Channel[int](1), Channel[int](1)
    async with TaskScope() as scope:
        await scope.spawn(len, [shared], on="process")
        for channel in (local, shared):
            kept = channel.sender()
            cycle: list[Any] = [channel.sender()]
            cycle.append(cycle)
            del cycle
            gc.collect()
            assert not channel.closed
            del kept
            assert channel.closed


async def test_a_send_end_of_several_tasks_ends_with_the_last() -> None:
    channel = Channel[int](1)
    send = channel.sender()
    async with TaskScope() as scope:
        first = scope.spawn(partial(send.send_sync, 1))
        last = scope.spawn(send.send_many, [2, 3])
        assert await channel.receive() + await channel.receive() + await channel.receive() == 6
        await first
        await last
        assert send.closed
        assert channel.closed


def fail_once(send: ChannelSender[int], path: str) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        send.send_sync(2)
    else:
        send.send_sync(1)
        raise OSError("again")


async def test_a_task_that_is_tried_again_keeps_its_send_end(tmp_path: Any) -> None:
    channel = Channel[int](10)
    async with TaskScope() as scope:
        scope.spawn(fail_once, channel.sender(), str(tmp_path / "tried"), on="process", retry=Retry(2))
        assert [item async for item in channel] == [1, 2]


async def test_a_closed_send_end_sends_nothing_though_others_are_open() -> None:
    channel = Channel[int](5)
    with channel.sender() as first:
        async with first.clone() as second:
            await second.send(1)
        for send in (second.send_sync, second.send_nowait):
            with pytest.raises(ChannelClosed, match="a send end of Channel"):
                send(2)
        with pytest.raises(ChannelClosed):
            await second.send(2)
        second.close()
        first.send_many_sync([3, 4])
        assert not channel.closed
    assert await channel.receive_many(9) == [1, 3, 4]
    assert channel.closed


def test_send_ends_survive_the_move_to_the_shared_form() -> None:
    """Ends are opened and closed in threads at any instant of the move; the channel closes when all are closed."""
    for _ in range(30):
        channel = Channel[int](1)
        first = channel.sender()
        go = threading.Barrier(3)

        def other(channel: Channel[int] = channel, go: threading.Barrier = go) -> None:
            go.wait()
            for _ in range(20):
                channel.sender().close()

        threads = [threading.Thread(target=other) for _ in range(2)]
        for thread in threads:
            thread.start()
        go.wait()
        channel.share()
        for thread in threads:
            thread.join()
        assert not channel.closed
        first.close()
        assert channel.closed


def pass_on(sends: list[ChannelSender[int]]) -> list[ChannelSender[int]]:
    return sends


async def test_what_comes_back_is_the_same_send_end() -> None:
    channel = Channel[int](1)
    with channel.sender() as send:
        async with TaskScope() as scope:
            handle = scope.spawn(pass_on, [send], on="process")
            assert (await handle)[0] is send
        assert not channel.closed
    assert channel.closed
