"""Clause 9: Ctrl-C in a wait for a lock leaves no seat in its queue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from unified_exec import Lock, Semaphore
from unified_exec._sync.locks.permit_queue import PermitQueue


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
