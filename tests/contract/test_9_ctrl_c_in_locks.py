"""Clause 9: Ctrl-C in a lock or a shared channel leaves it whole, at whichever instant it comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.ctrl_c import CtrlC
from tests.profiles import examples
from unified_exec import Channel, Lock, Semaphore
from unified_exec._sync.locks.permit_queue import PermitQueue

STEP = examples(4, nightly=1)


def hold(lock: Any, done: threading.Event) -> None:
    with lock:
        done.wait(30)


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("make", [Lock, lambda: Semaphore(1)], ids=["Lock", "Semaphore"])
def test_ctrl_c_just_after_a_waiter_has_queued_up_gives_its_seat_up(
    make: Callable[[], Any], is_shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = make()
    if is_shared:
        lock.share()
    done = threading.Event()
    holder = threading.Thread(target=hold, args=(lock, done))
    holder.start()
    while not lock.locked():
        pass
    late = PermitQueue._do_late
    seen: list[int] = []

    def interrupt_once(queue: Any) -> None:
        late(queue)
        if queue is lock and not seen:
            seen.append(len(queue.waiters()))
            raise KeyboardInterrupt

    monkeypatch.setattr(PermitQueue, "_do_late", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        lock.acquire_sync(timeout=30)
    assert seen == [1]
    assert not lock.waiters()
    done.set()
    holder.join()
    lock.acquire_sync(timeout=30)
    lock.release()


def use(lock: Any) -> None:
    with lock:
        pass


class Holder:
    """A thread that has all permits until somebody waits for one."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._has_all, self._is_over = threading.Event(), False
        self._thread = threading.Thread(target=self._hold)
        self._thread.start()
        assert self._has_all.wait(30)

    def _hold(self) -> None:
        for _ in range(self._lock.total):
            self._lock.acquire_sync()
        self._has_all.set()
        while not self._lock.waiters() and not self._is_over:
            time.sleep(0)
        for _ in range(self._lock.total):
            self._lock.release()

    def end(self) -> None:
        self._is_over = True
        self._thread.join()


def use_all(lock: Any, done: list[int]) -> None:
    for _ in range(lock.total):
        lock.acquire_sync(timeout=30)
        done.append(1)
    for _ in range(lock.total):
        lock.release()


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after a wait"])
@pytest.mark.parametrize("is_shared", [False, True], ids=["local", "shared"])
@pytest.mark.parametrize("make", [Lock, lambda: Semaphore(2)], ids=["Lock", "Semaphore"])
def test_ctrl_c_at_any_instant_loses_no_permit(make: Callable[[], Any], is_shared: bool, waits: bool) -> None:
    for at in range(0, 1000, STEP if waits else 1):
        lock = make()
        if is_shared:
            lock.share()
        holder = Holder(lock) if waits else None
        ctrl_c = CtrlC(at)
        try:
            with ctrl_c:
                use(lock)
        except KeyboardInterrupt:
            pass
        if holder is not None:
            holder.end()
        if not ctrl_c.place:
            assert at > 10
            return
        done: list[int] = []
        other = threading.Thread(target=use_all, args=(lock, done))
        other.start()
        other.join()
        assert len(done) == lock.total, ctrl_c.place
        assert not lock.waiters()


def send(channel: Channel[int], got: list[int]) -> None:
    channel.send_sync(3)


def send_many(channel: Channel[int], got: list[int]) -> None:
    channel.send_many_sync([3, 4])


def receive(channel: Channel[int], got: list[int]) -> None:
    got.append(channel.receive_sync())


def receive_many(channel: Channel[int], got: list[int]) -> None:
    got += channel.receive_many_sync(2)


def receive_last(channel: Channel[int], got: list[int]) -> None:
    channel.close()
    got += channel


OPERATIONS = [send, send_many, receive, receive_many]


@pytest.mark.parametrize("operation", examples(OPERATIONS, nightly=[*OPERATIONS, receive_last]))
def test_ctrl_c_at_any_instant_leaves_a_shared_channel_whole(operation: Any) -> None:
    """What was not returned may be gone, as after a death; no slot is, and nothing comes twice or in another order."""
    for at in range(1000):
        channel, got = Channel[int](4), list[int]()
        channel.share()
        for item in (1, 2):
            channel.send_sync(item)
        ctrl_c = CtrlC(at)
        try:
            with ctrl_c:
                operation(channel, got)
        except KeyboardInterrupt:
            pass
        if not ctrl_c.place:
            assert at > 7
            return
        assert channel._shared is not None
        assert channel._shared.look_for_dead()
        left = list[int]()
        while len(channel):
            left.append(channel.receive_nowait())
        if operation in (send, send_many):
            assert left in ([1, 2], [1, 2, 3], [1, 2, 3, 4]), ctrl_c.place
        else:
            assert got + left == [1, 2][2 - len(got + left) :] or got == [1], ctrl_c.place
        if not channel.closed:
            for item in range(4):
                channel.send_nowait(item)
