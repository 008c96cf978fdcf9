"""Clause 9: what a process keeps of a shared channel for its next operations is never missed by anybody else."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tests.contract.test_9_channel_steps import die, memory, numbers_are_whole
from unified_exec import Channel, ChannelFull, ProcessPool, TaskScope
from unified_exec._sync.channels import kept, slots
from unified_exec._sync.channels.local_form import NOTHING
from unified_exec._sync.channels.slots import Slots
from unified_exec._sync.shared import seats

__all__ = ["memory"]

CAPACITY = 64


def send_all(slots: Slots, items: Any) -> None:
    for item in items:
        assert slots.try_send(item)


def test_who_finds_no_room_gets_the_free_slots_that_others_keep(memory: Any) -> None:
    shared = memory(CAPACITY)
    sender, receiver, keeper = Slots(shared), Slots(shared), Slots(shared)
    send_all(keeper, [0])
    sent = 1
    while sender.try_send(sent):
        sent += 1
    assert sent < CAPACITY, "the other one keeps some"
    assert sender.recall()
    while sender.try_send(sent):
        sent += 1
    assert sent == CAPACITY == len(sender)
    assert not sender.recall()
    for n in range(3):
        assert receiver.try_receive() == n
        assert sender.try_send(CAPACITY + n), "room is not kept while somebody waits for it"


def test_the_items_that_a_process_keeps_go_to_another_that_begins_to_receive_in_order(memory: Any) -> None:
    shared = memory(CAPACITY)
    sender, first, second = Slots(shared), Slots(shared), Slots(shared)
    send_all(sender, range(20))
    assert first.try_receive() == 0
    assert len(sender) == len(second) == 19
    assert [second.try_receive() for _ in range(5)] == [1, 2, 3, 4, 5]
    assert [first.try_receive(), second.try_receive(), first.try_receive()] == [6, 7, 8]
    sender.close()
    assert not first.drained()
    assert not second.drained()
    assert second.try_receive_many(50) == list(range(9, 20))
    assert first.drained()


@pytest.mark.parametrize("ends", ["dies", "lets go"])
def test_what_an_idle_process_kept_is_given_back_when_it_is_gone(memory: Any, ends: str) -> None:
    shared = memory(CAPACITY)
    sender, keeper, other = Slots(shared), Slots(shared), Slots(shared)
    send_all(sender, range(20))
    assert keeper.try_receive() == 0
    send_all(keeper, [20])
    if ends == "dies":
        die(keeper)
    else:
        seats.free_seat(shared, keeper.seat)
    assert seats.has_gone(shared, keeper.seat)
    assert other.look_for_dead()
    numbers_are_whole(shared)
    assert other.try_receive_many(50) == list(range(1, 21))
    assert other.lost == 0
    assert not shared.words[keeper.seat + seats.PID], "its seat is free"


def test_a_process_that_is_no_longer_alone_or_was_audited_uses_nothing_that_it_kept(memory: Any) -> None:
    shared = memory(CAPACITY)
    one, auditor = Slots(shared), Slots(shared)
    send_all(one, range(10))
    assert one.try_receive() == 0
    assert auditor.look_for_dead(force=True)
    numbers_are_whole(shared)
    send_all(one, range(10, 12))
    assert one.try_receive_many(50) == list(range(1, 12))
    assert auditor.look_for_dead(force=True)
    numbers_are_whole(shared)


def interrupted(operation: Callable[[], Any], at: int) -> bool:
    """Raise Ctrl-C before line number `at` of the steps of an operation; ``False`` if it has fewer."""
    lines = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in (slots.__file__, kept.__file__) or frame.f_code.co_name == "_passes":
            return None
        if event == "line":
            lines += 1
            if lines == at:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        operation()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def test_what_ctrl_c_leaves_in_no_pipe_is_found_by_the_next_operation(memory: Any) -> None:
    for line in range(1, 200):
        shared = memory(4)
        one, other = Slots(shared), Slots(shared)
        send_all(one, ["a", "b"])
        assert other._become_receiver()
        assert one._become_receiver()  # nobody audits from here on without a cause
        if not interrupted(other.try_receive, line):
            break
        got = [one.try_receive(), one.try_receive()]
        assert got in (["a", "b"], ["b", NOTHING])
        numbers_are_whole(shared)
    assert line > 10


def test_a_thread_that_waits_gets_what_another_one_of_its_process_would_keep() -> None:
    channel = Channel[int](CAPACITY)
    channel.share()
    form: Any = channel._form
    found: list[list[int]] = [[], []]
    ready = threading.Semaphore(0)

    def receive(who: int) -> None:
        while (item := channel.receive_sync(timeout=30)) >= 0:
            found[who].append(item)
            ready.release()
            assert item != 1 or both.wait(30), "the other one got nothing meanwhile"
            if item == 2:
                both.set()

    both = threading.Event()
    threads = [threading.Thread(target=receive, args=(who,)) for who in range(2)]
    for thread in threads:
        thread.start()
    while form.waiters[False] < 2:
        pass
    channel.send_many_sync([1, 2, -1, -1])
    for thread in threads:
        thread.join()
    assert sorted(found[0] + found[1]) == [1, 2]


def receive_some(channel: Channel[int], count: int) -> list[int]:
    return [channel.receive_sync() for _ in range(count)]


def send_some(channel: Channel[int], count: int) -> None:
    for n in range(count):
        channel.send_sync(n)


async def test_process_tasks_that_come_and_go_leave_no_slot_behind() -> None:
    channel = Channel[int](CAPACITY)
    async with ProcessPool(2) as pool, TaskScope(processes=pool) as scope:
        await scope.spawn(send_some, channel, 10, on="process")
        assert await scope.spawn(receive_some, channel, 5, on="process") == [0, 1, 2, 3, 4]
        assert len(channel) == 5
        assert await channel.receive() == 5
        for n in range(10, 70):
            channel.send_nowait(n)
        with pytest.raises(ChannelFull):
            channel.send_nowait(70)
        assert await scope.spawn(receive_some, channel, 64, on="process") == [6, 7, 8, 9, *range(10, 70)]
        assert not len(channel)
