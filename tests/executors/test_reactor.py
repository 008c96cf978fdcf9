"""The reactor: an event loop in a thread, for pools that are used without one."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.waiting import until
from unified_exec.executor import reactor
from unified_exec.executor.reactor import ReactorAdapter

PATIENT = 30.0


@pytest.fixture
def adapter() -> Iterator[ReactorAdapter]:
    lent = reactor.acquire()
    yield lent
    reactor.release(lent)
    lent.join()


def run_inside(adapter: ReactorAdapter, fn: object, *args: object) -> object:
    """Call `fn` in the reactor's thread and return its value."""
    box: list[object] = []
    done = threading.Event()

    def call() -> None:
        box.append(fn(*args))  # type: ignore[operator]
        done.set()

    assert adapter.call_threadsafe(call)
    assert done.wait(PATIENT)
    return box[0]


def test_no_wake_up_is_lost_when_many_threads_call_in(adapter: ReactorAdapter) -> None:
    ran: list[int] = []

    def call_in(start: int) -> None:
        for n in range(start, start + 2000):
            assert adapter.call_threadsafe(ran.append, n)

    threads = [threading.Thread(target=call_in, args=(2000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert until(lambda: len(ran) == 8000, PATIENT)
    assert sorted(ran) == list(range(8000))
    for start in range(0, 8000, 2000):  # each thread's in their order
        mine = [n for n in ran if start <= n < start + 2000]
        assert mine == sorted(mine)


def test_one_call_after_another_each_wakes_it(adapter: ReactorAdapter) -> None:
    for n in range(500):
        assert run_inside(adapter, abs, -n) == n


def test_timers_run_in_their_order_and_not_when_cancelled(adapter: ReactorAdapter) -> None:
    ran: list[str] = []
    done = threading.Event()

    def schedule() -> None:
        adapter.call_later(0.02, ran.append, "second")
        adapter.call_later(0.01, ran.append, "first")
        adapter.call_later(0.015, ran.append, "never").cancel()
        adapter.call_later(0.03, done.set)

    adapter.call_threadsafe(schedule)
    assert done.wait(PATIENT)
    assert ran == ["first", "second"]


def test_a_reader_is_called_until_it_is_removed(adapter: ReactorAdapter) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        got: list[bytes] = []
        run_inside(adapter, adapter.add_reader, ours.fileno(), lambda: got.append(ours.recv(1)))
        for letter in (b"a", b"b"):
            theirs.send(letter)
            assert until(lambda wanted=letter: got[-1:] == [wanted], PATIENT)  # type: ignore[misc]
        run_inside(adapter, adapter.remove_reader, ours.fileno())
        theirs.send(b"c")
        run_inside(adapter, abs, 1)
        assert got == [b"a", b"b"]


def test_a_reader_removed_by_another_in_the_same_round_is_not_called(adapter: ReactorAdapter) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    try:
        called: list[int] = []
        done = threading.Event()

        def readable(which: int) -> None:
            called.append(which)
            for ours, _ in pairs:
                adapter.remove_reader(ours.fileno())
            adapter.call_soon(done.set)

        def watch() -> None:
            for which, (ours, theirs) in enumerate(pairs):
                theirs.send(b"x")
                adapter.add_reader(ours.fileno(), lambda which=which: readable(which))  # type: ignore[misc]

        run_inside(adapter, watch)
        assert done.wait(PATIENT)
        assert len(called) == 1
    finally:
        for pair in pairs:
            for end in pair:
                end.close()


def test_a_callback_that_fails_is_logged_and_the_rest_goes_on(
    adapter: ReactorAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    adapter.call_threadsafe(lambda: 1 / 0)
    assert run_inside(adapter, abs, -2) == 2
    assert "ZeroDivisionError" in caplog.text


def test_what_was_handed_in_before_the_end_runs_and_later_calls_are_refused() -> None:
    adapter = reactor.acquire()
    ran: list[int] = []
    for n in range(1000):
        adapter.call_threadsafe(ran.append, n)
    reactor.release(adapter)
    adapter.join()
    assert ran == list(range(1000))
    assert adapter.ended()
    assert not adapter.call_threadsafe(ran.append, -1)


def test_it_tells_of_its_end_those_that_still_live() -> None:
    told: list[str] = []

    class Listener:
        def __init__(self, name: str) -> None:
            self.name = name

        def tell(self) -> None:
            told.append(self.name)

    adapter = reactor.acquire()
    lives, dead = Listener("lives"), Listener("dead")
    adapter.on_end(lives.tell)
    adapter.on_end(dead.tell)
    del dead
    reactor.release(adapter)
    adapter.join()
    assert told == ["lives"]


def test_users_share_one_and_the_last_ends_it() -> None:
    first, second = reactor.acquire(), reactor.acquire()
    assert first is second
    reactor.release(first)
    assert run_inside(second, abs, -1) == 1
    reactor.release(second)
    second.join()
    third = reactor.acquire()
    assert third is not first
    assert run_inside(third, abs, -1) == 1
    reactor.release(first)  # an old one: nothing happens
    assert run_inside(third, abs, -1) == 1
    reactor.release(third)
    third.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_one_of_its_own(adapter: ReactorAdapter) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            own = reactor.acquire()
            if own is not adapter and not adapter.call_threadsafe(abs, 1) and run_inside(own, abs, -2) == 2:
                code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert run_inside(adapter, abs, -3) == 3
