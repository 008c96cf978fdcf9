"""What process tasks wait for in the tests of endless waits, and who could end such a wait. Loads fast."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unified_exec import Channel, Event, Lock, SyncTaskScope, TaskScope, from_task
from unified_exec._sync.channels import shared_form
from unified_exec._sync.deadlocks import look, patrol
from unified_exec._sync.locks import shared_meeting

PATIENCE = 30


@contextmanager
def eager() -> Iterator[None]:
    """In this worker, who waits says so at once, and looks often."""
    before = shared_form.LOOK, shared_form.LOOK_AGAIN, shared_meeting.LOOK, shared_meeting.LOOK_AGAIN
    of_looks = look.AFTER, look.PERIOD, patrol.SHARE
    look.AFTER, look.PERIOD, patrol.SHARE = 0.0, 0.05, 10
    shared_form.LOOK = shared_form.LOOK_AGAIN = shared_meeting.LOOK = shared_meeting.LOOK_AGAIN = 0.02
    try:
        yield
    finally:
        shared_form.LOOK, shared_form.LOOK_AGAIN, shared_meeting.LOOK, shared_meeting.LOOK_AGAIN = before
        look.AFTER, look.PERIOD, patrol.SHARE = of_looks


# -- waits


def receive(channel: Channel[int]) -> None:
    with eager():
        channel.receive_sync()


async def a_receive(channel: Channel[int]) -> None:
    with eager():
        await channel.receive()


def send_two(channel: Channel[int]) -> None:
    with eager():
        channel.send_sync(1)
        channel.send_sync(2)


def wait(waited: Any) -> None:
    with eager():
        waited.wait_sync()


async def a_wait(waited: Any) -> None:
    with eager():
        await waited.wait()


async def a_wait_for_change(condition: Any) -> None:
    with eager():
        async with condition:
            await condition.wait()


def relay(source: Channel[int], target: Channel[int]) -> None:
    with eager():
        item = source.receive_sync()
        target.send_sync(item)


async def a_relay(source: Channel[int], target: Channel[int]) -> None:
    with eager():
        await target.send(await source.receive())


def receive_and_set(channel: Channel[int], event: Event) -> None:
    with eager():
        channel.receive_sync()
        event.set()


def hold_and_receive(lock: Lock, channel: Channel[int], held: Event) -> None:
    with eager(), lock:
        held.set()
        channel.receive_sync()


def lock_and_send(lock: Lock, channel: Channel[int], held: Event) -> None:
    with eager():
        held.wait_sync()
        with lock:
            channel.send_sync(1)


# -- who could act


def until_there(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)


def send_slowly(channel: Channel[int], path: Path) -> None:
    until_there(path)
    channel.send_sync(1)


def start_sending_slowly(channel: Channel[int], path: Path) -> None:
    threading.Thread(target=send_slowly, args=(channel, path)).start()


def receive_from_a_thread(channel: Channel[int], path: Path) -> None:
    start_sending_slowly(channel, path)
    receive(channel)


def receive_from_a_signal_handler(channel: Channel[int], path: Path) -> None:
    def handle(*_: object) -> None:
        if path.exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.send_nowait(1)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        receive(channel)
    finally:
        signal.signal(signal.SIGALRM, before)


def receive_in_time(channel: Channel[int], path: Path) -> None:
    with eager():
        channel.receive_sync(timeout=PATIENCE)


def hold_slowly(lock: Lock, channel: Channel[int], held: Event, path: Path) -> None:
    with eager(), lock:
        held.set()
        until_there(path)
    channel.send_sync(1)


def lock_and_receive(lock: Lock, channel: Channel[int], held: Event) -> None:
    with eager():
        held.wait_sync()
        with lock:
            channel.receive_sync()


def ask_for_an_item(channel: Channel[int], path: Path) -> None:
    """Another task waits; this one's function runs in the program and will send."""
    from_task.run(a_send_slowly, channel, path)


async def a_send_slowly(channel: Channel[int], path: Path) -> None:
    import anyio

    while not path.exists():
        await anyio.sleep(0.01)
    await channel.send(1)


def receive_beside_a_thread(channel: Channel[int], path: Path) -> None:
    with SyncTaskScope() as scope:
        scope.spawn(send_slowly, channel, path, on="thread")
        scope.spawn(receive, channel, on="thread")


# -- tasks of a process task


def hand_on(fn: Any, on: Any, *args: Any) -> None:
    with eager(), SyncTaskScope() as scope:
        scope.spawn(fn, *args, on=on)
        del args


async def a_hand_on(fn: Any, on: Any, *args: Any) -> None:
    with eager():
        async with TaskScope() as scope:
            scope.spawn(fn, *args, on=on)
            del args


def hand_on_aside(*args: Any) -> threading.Thread:
    """In a thread that is no task, and has only the scope in which it does so."""

    def run() -> None:
        with SyncTaskScope() as scope:
            scope.spawn(*left.pop(), on="process")
            begun.set()

    left = [args]
    del args
    begun = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(PATIENCE)
    return thread


def receive_below_a_thread(channel: Channel[int], path: Path) -> None:
    start_sending_slowly(channel, path)
    hand_on(receive, "process", channel)


def receive_beside_another_nested_worker(channel: Channel[int], path: Path) -> None:
    hand_on_aside(send_slowly, channel, path)
    hand_on(receive, "process", channel)


def receive_below_in_time(channel: Channel[int]) -> None:
    with eager(), SyncTaskScope() as scope:
        scope.spawn(receive, channel, on="process", timeout=PATIENCE)
        del channel


def receive_below_who_may_cancel(channel: Channel[int], path: Path) -> None:
    with eager(), SyncTaskScope() as scope:
        scope.spawn(receive, channel, on="process")
        del channel
        threading.Thread(target=cancel_slowly, args=(scope.cancel, path)).start()


def receive_below_beside_a_task(channel: Channel[int], other: Channel[int]) -> None:
    with eager(), SyncTaskScope() as scope:
        scope.spawn(receive, channel, on="process")
        scope.spawn(receive, other, on="thread")
        del channel, other


def cancel_slowly(cancel: Any, path: Path) -> None:
    until_there(path)
    cancel()
