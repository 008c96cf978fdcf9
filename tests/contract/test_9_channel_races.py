"""Clause 9: threads that meet in the midst of their steps at a channel lose nothing, double nothing, and wake."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from unified_exec import Channel, ChannelClosed, SerializationError


class Calls(deque[Any]):
    """Calls a function before each element is appended."""

    def __init__(self, fn: Callable[[], object]) -> None:
        super().__init__()
        self.fn = fn

    def append(self, element: Any) -> None:
        self.fn()
        super().append(element)


def test_room_that_comes_while_a_sender_queues_up_is_seen() -> None:
    channel = Channel[int](1)
    channel.send_nowait(0)
    form: Any = channel._form
    found: list[int] = []
    form._senders = Calls(lambda: found.append(channel.receive_nowait()))
    channel.send_sync(1, timeout=30)
    assert [*found, channel.receive_nowait()] == [0, 1]


class Meets:
    """Has another thread receive while it is pickled."""

    def __init__(self, channel: Channel[Any], error: Exception | None) -> None:
        self.channel, self.error = channel, error
        self.found: list[Any] = []
        self.thread = threading.Thread(target=self.receive)

    def receive(self) -> None:
        try:
            self.found.append(self.channel.receive_nowait())
        except Exception as error:
            self.found.append(error)

    def __reduce__(self) -> Any:
        if self.thread.ident is None:
            self.thread.start()
            self.thread.join(0.05)  # it must not end now
        if self.error is not None:
            raise self.error
        return int, (7,)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_who_receives_while_the_channel_becomes_shared_gets_the_oldest_item(closed: bool, fails: bool) -> None:
    channel = Channel[Any](3)
    item = Meets(channel, RuntimeError("it stays here") if fails else None)
    for each in (1, item, 3):
        channel.send_nowait(each)
    if closed:
        channel.close()
    if fails:
        with pytest.raises(SerializationError, match="it stays here"):
            channel.share()
    else:
        channel.share()
    item.thread.join()
    assert item.found == [1]
    assert [channel.receive_nowait(), channel.receive_nowait()] == [item if fails else 7, 3]


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("capacity", [1, 3])
@pytest.mark.parametrize("shares", [False, True])
def test_threads_that_send_receive_share_and_close_lose_and_double_nothing(capacity: int, shares: bool) -> None:
    channel = Channel[tuple[int, int]](capacity)
    sent: list[list[int]] = [[], [], []]
    found: list[list[tuple[int, int]]] = [[], [], []]
    enough = threading.Event()

    def send(who: int) -> None:
        try:
            for n in range(1_000_000):
                channel.send_sync((who, n), timeout=30)
                sent[who].append(n)
        except ChannelClosed:
            pass

    def receive(who: int) -> None:
        for item in channel:
            assert len(channel) <= capacity
            found[who].append(item)
            if len(found[who]) == 150:
                enough.set()

    threads = [threading.Thread(target=each, args=(who,)) for each in (send, receive) for who in range(3)]
    for thread in threads:
        thread.start()
    if shares:
        channel.share()
    assert enough.wait(30)
    channel.close()
    for thread in threads:
        thread.join()
    for who in range(3):
        assert sorted(n for each in found for sender, n in each if sender == who) == sent[who]
        for each in found:
            mine = [n for sender, n in each if sender == who]
            assert mine == sorted(mine)
