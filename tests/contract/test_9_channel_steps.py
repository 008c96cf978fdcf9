"""Clause 9, step by step: a participant of a shared channel dies, or is held up, before each line of an operation.

A thread stands for a process: it has a seat of its own and stops for ever at a given line, so that none of its clean-up
runs. Its seat is then given a wrong start time, as if another process had its pid by now: the process it was is dead.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from _thread import get_ident
from collections.abc import Callable, Iterator
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from tests.profiles import examples
from unified_exec import Channel, Event, Lock
from unified_exec._sync.channels import audit, slots
from unified_exec._sync.channels.local_form import NOTHING
from unified_exec._sync.channels.memory import ChannelMemory, create
from unified_exec._sync.channels.slots import Slots
from unified_exec._sync.locks import shared_permits
from unified_exec._sync.shared import gate, seats
from unified_exec._sync.shared.pipes import drain, fill
from unified_exec._sync.shared.seats import DUE, IN_USE, OWN, START, STATE

FILES = (slots.__file__, audit.__file__, gate.__file__, seats.__file__)


class Held:
    """Runs an operation in a thread that stops before its line number `at`, and further on at `then`."""

    def __init__(self, operation: Callable[[], Any], at: int, then: int = 1 << 30) -> None:
        self._stops = [at, then, 1 << 31]
        self._lines = 0
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self.finished = False
        self.result: Any = None
        self._operation = operation
        self._end = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self._stopped.acquire()

    def _run(self) -> None:
        sys.settrace(self._trace)
        try:
            self.result = self._operation()
        except BaseException:
            if not self._end:  # the dead may find what they held given away
                raise
        finally:
            sys.settrace(None)
            self.finished = True
            self._stopped.release()

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename not in FILES or frame.f_code.co_name == "_state_and_start":
            return None
        if event == "line":
            if frame.f_code.co_name == "_wait_for_gate" or self._lines == self._stops[0]:
                self._stop(f"{frame.f_code.co_name}:{frame.f_lineno}")
            self._lines += 1
        return self._trace

    def _stop(self, line: str = "") -> None:
        self.line = line
        if len(self._stops) > 1:
            self._stops.pop(0)
            self._stopped.release()
            self._go.acquire()
        if self._end:
            raise SystemExit

    def go_on(self) -> None:
        """Let it run to its next stop, to the gate, or to its end."""
        self._go.release()
        self._stopped.acquire()

    def finish(self) -> None:
        while not self.finished:
            self._stops = [1 << 30]
            self.go_on()
        self.thread.join()

    def bury(self) -> None:
        """End the thread, after all was checked."""
        self._end = True
        self.finish()


def die(slots: Slots) -> None:
    slots.words[slots.seat + START] += 1


@pytest.fixture
def memory() -> Iterator[Callable[[int], ChannelMemory]]:
    made: list[ChannelMemory] = []

    def make(capacity: int) -> ChannelMemory:
        made.append(create(capacity))
        return made[-1]

    yield make
    for each in made:
        for fd in set(each.fds):
            os.close(fd)
    made.clear()


def numbers_are_whole(memory: ChannelMemory) -> None:
    """Each number is in one of the pipes, once; those in the second have an item."""
    free, filled = drain(memory.fds[0]), drain(memory.fds[2])
    assert sorted([*free, *filled]) == list(range(memory.capacity))
    fill(memory.fds[1], free)
    fill(memory.fds[3], filled)


def send(slots: Slots) -> Any:
    return slots.try_put_many([slots.pack(item) for item in ("new", "b" * 3000)])


def receive(slots: Slots) -> Any:
    return slots.try_receive_many(2)


def send_one(slots: Slots) -> Any:
    slots._thread = get_ident()
    return int(slots.try_send({"new": 1}))


def send_beside(slots: Slots) -> Any:
    """Another thread of the process is the one that needs no lock."""
    slots._thread = 1
    return int(slots.try_send({"new": 1}))


def receive_one(slots: Slots) -> Any:
    slots._thread = get_ident()
    item = slots.try_receive()
    return [] if item is NOTHING else [item]


def receive_beside(slots: Slots) -> Any:
    """Meanwhile the thread rebuilds an item that is not in the channel any more."""
    slots.words[slots.seat + OWN] = 1 << 2
    return receive_one(slots)


NEW: dict[Any, list[Any]] = {send: ["new", "b" * 3000], send_one: [{"new": 1}], send_beside: [{"new": 1}]}
MOST = {receive: 2, receive_one: 1, receive_beside: 1}
EACH = pytest.mark.parametrize("operation", [*NEW, *MOST])


def lost(slots: Slots, operation: Any) -> int:
    return slots.lost - (operation is receive_beside)


def deaths(
    memory: Callable[[int], ChannelMemory], operation: Any
) -> Iterator[tuple[ChannelMemory, Slots, Slots, Held]]:
    for line in range(200):
        shared = memory(4)
        victim, other = Slots(shared), Slots(shared)
        for item in ("old 1", "old 2"):
            assert other.try_send(item)
        held = Held(lambda victim=victim: operation(victim), line)  # type: ignore[misc]
        if held.finished:
            assert line > 10
            return
        yield shared, victim, other, held
        held.bury()


@EACH
def test_a_death_before_any_line_loses_no_number_and_doubles_nothing(memory: Any, operation: Any) -> None:
    for shared, victim, other, held in deaths(memory, operation):
        die(victim)
        Slots(shared)  # it takes no seat of one that had something in its hands
        assert other.look_for_dead()
        numbers_are_whole(shared)
        got = other.try_receive_many(10)
        if operation in NEW:
            assert got in [["old 1", "old 2", *NEW[operation][:count]] for count in range(3)]
            assert other.lost == 0
        else:
            most = MOST[operation]
            returned = most if len(got) == 2 - most and held.line.startswith(("_give", "try_receive_many")) else 0
            assert len(got) + lost(other, operation) in (2, 2 - returned), held.line
            assert got == ["old 1", "old 2"][2 - len(got) :]
        for n in range(shared.capacity):
            assert other.try_send(n)
        assert not other.try_send(5)
        assert not held.finished


@EACH
def test_an_audit_that_dies_before_any_line_is_carried_on(memory: Any, operation: Any) -> None:
    for step in (5, 12, 18, 21):
        for line in range(0, 300, examples(4, nightly=1)):
            shared = memory(4)
            victim, auditor, other = Slots(shared), Slots(shared), Slots(shared)
            for item in ("old 1", "old 2"):
                assert other.try_send(item)
            held = Held(lambda: operation(victim), step)  # noqa: B023
            if held.finished:
                break
            die(victim)
            dying = Held(auditor.look_for_dead, line)
            over = dying.finished
            die(auditor)
            seats.renew_lock()
            assert other.look_for_dead()
            numbers_are_whole(shared)
            got = other.try_receive_many(10)
            if operation in NEW:
                assert got[:2] == ["old 1", "old 2"]
            else:
                assert len(got) + lost(other, operation) == 2
            held.bury()
            dying.bury()
            if over:
                break


@EACH
def test_an_audit_waits_for_the_living_who_are_busy(memory: Any, operation: Any) -> None:
    """They are held up before each line, go on in the midst of the audit, are held up again, and end after it."""
    for first in (*range(12), *range(12, 200, 2)):
        for second in range(first + 1, first + 24, 3):
            shared = memory(4)
            victim, living, auditor = Slots(shared), Slots(shared), Slots(shared)
            for item in ("old 1", "old 2"):
                assert auditor.try_send(item)
            dead = Held(lambda: send(victim), 12)  # noqa: B023
            die(victim)
            held = Held(lambda: operation(living), first, second)  # noqa: B023
            if held.finished:
                dead.bury()
                return
            reached = audit_with(auditor, held.go_on)
            if not reached:
                assert not auditor.words[0], "the gate is open again"
            held.finish()
            assert auditor.look_for_dead()
            numbers_are_whole(shared)
            got = auditor.try_receive_many(10)
            if operation in NEW:
                expected = ["old 1", "old 2", *NEW[operation][: held.result]]
                assert sorted(got, key=str) == sorted(expected, key=str)
            else:
                assert held.result + got == ["old 1", "old 2"]
            dead.bury()


def audit_with(auditor: Slots, between: Callable[[], None]) -> bool:
    """Audit, and call `between` just before the pipes are drained; tell whether it came to that."""
    reached = []

    def before_the_drain(fd: int) -> list[int]:
        if not reached:
            reached.append(fd)
            between()
        return drain(fd)

    original = audit.drain
    audit.drain = before_the_drain
    try:
        auditor.look_for_dead(0.0)
    finally:
        audit.drain = original
    return bool(reached)


def test_what_was_given_back_comes_in_the_order_in_which_it_was_sent(memory: Any) -> None:
    shared = memory(4)
    other = Slots(shared)
    assert other.try_send("first")
    for line in range(200):
        victim = Slots(shared)
        held = Held(victim.try_receive, line)
        if not len(other):  # it has taken the number, and is not done
            break
        held.bury()
        die(victim)  # it may have ended in the midst of its first step
    die(victim)
    assert other.try_send("second")
    assert other.look_for_dead()
    assert other.try_receive_many(5) == ["first", "second"]
    held.bury()


def test_an_item_that_came_back_from_two_dead_receivers_is_not_lost(memory: Any) -> None:
    for line in range(200):
        shared = memory(4)
        second, first, other = Slots(shared), Slots(shared), Slots(shared)
        for item in ("old 1", "old 2"):
            assert other.try_send(item)
        held = []
        for victim in first, second:
            held.append(Held(lambda: receive(victim), line))  # noqa: B023
            if held[0].finished:
                return
            die(victim)
            assert other.look_for_dead()
        missing = 2 - len(other.try_receive_many(10)) - other.lost
        assert not missing or held[0].line.startswith("_give"), held[0].line  # the first had just returned them
        for each in held:
            each.bury()


@pytest.mark.parametrize("capacity", [1023, 1024, 1025, 4096, 16384])
def test_a_pipe_always_has_room_for_the_numbers(memory: Any, capacity: int) -> None:
    shared = Slots(memory(capacity))
    assert fill_up(shared) == capacity
    for n in range(2100):  # over two pages
        shared.try_receive()
        assert shared.try_send(n)
    for size in (7, 1000):
        for _ in range(min(capacity, 5000) // size + 3):
            got = shared.try_receive_many(size)
            assert shared.try_put_many([shared.pack(item) for item in got]) == len(got)
    assert len(shared) == capacity


def fill_up(shared: Slots) -> int:
    count = 0
    while sent := shared.try_put_many([shared.pack(n) for n in range(1000)]):
        count += sent
    return count


@pytest.mark.parametrize(("operation", "same"), [(send_one, False), (send_one, True), (send_beside, False)])
def test_a_channel_is_not_drained_while_a_sender_is_in_the_midst_of_a_send(
    memory: Any, operation: Any, same: bool
) -> None:
    for line in range(200):
        shared = memory(2)
        sender = Slots(shared)
        receiver = sender if same else Slots(shared)
        held = Held(lambda: operation(sender), line)  # noqa: B023
        if held.finished:
            assert receiver.try_receive() == {"new": 1}
            return
        receiver.close()
        over = receiver.drained()
        held.finish()
        if over:
            assert not held.result
            assert not len(receiver)
        else:
            assert bool(held.result) is bool(len(receiver))


@pytest.mark.parametrize("operation", [send_one, receive_one])
def test_a_thread_beside_leaves_the_word_of_the_one_that_needs_no_lock_alone(memory: Any, operation: Any) -> None:
    for first in range(10):
        for second in (15, 18):  # in the midst of its operation
            shared = memory(4)
            living, victim, auditor = Slots(shared), Slots(shared), Slots(shared)
            dead = Held(lambda: send(victim), 12)  # noqa: B023
            die(victim)
            assert auditor.try_send("old")
            beside = Held(lambda: living.try_send(1) if operation is send_one else living.try_receive(), first)  # noqa: B023
            held = Held(lambda: send_one(living), second)  # noqa: B023
            beside.finish()
            audit_with(auditor, lambda: None)
            held.finish()
            assert auditor.look_for_dead()
            numbers_are_whole(shared)
            dead.bury()


def rebuilt() -> Any:
    """Receive, send and audit while an item is rebuilt."""
    receiver, other = IN_REBUILD
    done = [receiver.try_receive(), receiver.try_send("third"), other.look_for_dead(0.0)]
    return [*done, bool(receiver.words[receiver.seat + OWN])]


IN_REBUILD: list[Slots] = []


class Rebuilt:
    def __reduce__(self) -> Any:
        return rebuilt, ()


def test_while_an_item_is_rebuilt_others_come_and_go_and_audits_go_on(memory: Any) -> None:
    shared = memory(4)
    receiver, victim, other = Slots(shared), Slots(shared), Slots(shared)
    IN_REBUILD[:] = receiver, other
    for item in (Rebuilt(), "second"):
        assert other.try_send(item)
    held = Held(lambda: send_one(victim), 10)
    die(victim)
    assert receive_one(receiver) == [["second", True, True, True]]
    assert other.lost == 0
    numbers_are_whole(shared)
    held.bury()
    IN_REBUILD.clear()


def test_an_audit_leaves_a_seat_alone_that_another_one_has_freed(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one was faster, and a new process has taken the seat and is busy."""
    shared = memory(2)
    auditor, victim, other = Slots(shared), Slots(shared), Slots(shared)
    held = Held(lambda: send_one(victim), 12)
    die(victim)
    lock, made = seats.record_lock, list[Slots]()

    def late(fd: int, wait: bool) -> Any:
        if not made:
            monkeypatch.setattr(seats, "record_lock", lock)
            assert other.look_for_dead()
            made.append(Slots(shared))
            made[0].words[made[0].seat + STATE] = IN_USE
        return lock(fd, wait)

    monkeypatch.setattr(seats, "record_lock", late)
    assert auditor.look_for_dead(0.0)
    assert made[0].seat == victim.seat
    assert made[0].words[made[0].seat + STATE] == IN_USE
    held.bury()


def test_a_channel_is_not_drained_while_an_audit_has_its_numbers(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = memory(2)
    auditor, receiver = Slots(shared), Slots(shared)
    assert auditor.try_send("last")
    auditor.close()
    auditor.words[DUE] = 1  # as after Ctrl-C: no process has died
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(receiver.drained()))

    def before_the_fill(fd: int, numbers: list[int]) -> None:
        if thread.ident is None:
            thread.start()
            thread.join(0.05)  # it waits for the end of the audit
        fill(fd, numbers)

    monkeypatch.setattr(audit, "fill", before_the_fill)
    assert auditor.look_for_dead()
    thread.join()
    assert found == [False]
    assert receiver.try_receive() == "last"
    assert receiver.drained()


@pytest.mark.parametrize("call", ["send_nowait", "send_many_sync", "set", "acquire_nowait"])
def test_a_signal_handler_that_uses_what_its_thread_is_using_never_hangs(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works, or gets an error that says so, and what it interrupts is done."""
    made = {"set": Event, "acquire_nowait": Lock}.get(call, lambda: Channel[int](4))()
    made.share()
    told: list[str] = []

    def handle(*_: object) -> None:
        try:
            getattr(made, call)(*arguments)
        except RuntimeError as error:
            told.append(str(error))

    def read(fd: int, size: int) -> bytes:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGUSR2)
        return os.read(fd, size)

    def lockf(*args: Any) -> None:
        monkeypatch.undo()
        fcntl_lockf(*args)
        signal.raise_signal(signal.SIGUSR2)

    arguments = {"send_nowait": [1], "send_many_sync": [[2, 3]]}.get(call, [])
    fcntl_lockf = fcntl.lockf
    before = signal.signal(signal.SIGUSR2, handle)
    try:
        for module in (slots, shared_permits):
            monkeypatch.setattr(module, "os", SimpleNamespace(read=read, write=os.write))
        if call == "set":
            monkeypatch.setattr(fcntl, "lockf", lockf)
        getattr(made, call)(*arguments)
    finally:
        signal.signal(signal.SIGUSR2, before)
    if call == "send_nowait":  # the word of this thread needs no lock
        assert not told
        assert [made.receive_nowait(), made.receive_nowait()] == [1, 1]
        return
    assert "is being used by this thread, and a signal handler cannot use it" in told[0]
    if call == "send_many_sync":
        assert made.receive_many_sync(4) == [2, 3]
    elif call == "set":
        assert made.is_set()
    else:
        made.release()
