"""Both ends of the conversation, in memory: whatever the worker sends, the parent knows which tasks are pending."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.profiles import examples
from unified_exec._wire import frames, protocol
from unified_exec._wire.frames import ProtocolError
from unified_exec._wire.protocol import LEAVING, OVER, STARTING, UP, ParentConnection
from unified_exec._wire.worker_protocol import WorkerConnectionState


def view(message: bytes) -> memoryview:
    return memoryview(message)


def up() -> ParentConnection:
    end = ParentConnection()
    end.receive(view(frames.pack_payload(frames.READY)))
    return end


def test_a_worker_says_ready_once_and_then_answers() -> None:
    end = ParentConnection()
    assert end.state == STARTING
    end.sent(5, 3)
    assert not end.known
    assert end.receive(view(frames.pack_payload(frames.READY))) == protocol.Ready()
    assert end.state == UP
    event = end.receive(view(frames.pack_done(5, frames.VALUE, 1.0, 2.0, b"payload")))
    assert isinstance(event, protocol.Answer)
    assert (event.id, bytes(event.payload), event.shared) == (5, b"payload", False)
    assert not end.pending
    assert end.known == {3}


def test_functions_sent_before_the_worker_was_told_to_forget_do_not_count() -> None:
    end = up()
    end.sent(1, 7)
    end.forget_functions()
    end.sent(2, 8)
    for id in (1, 2):
        end.receive(view(frames.pack_done(id, frames.VALUE, 0.0, 0.0)))
    assert end.known == {8}


def test_an_answer_may_say_that_it_is_the_last() -> None:
    end = up()
    end.sent(1, None)
    end.sent(2, None)
    end.receive(view(frames.pack_done(1, frames.VALUE, 0.0, 0.0, b"", frames.RETIRING)))
    assert end.state == LEAVING
    assert not end.open
    assert list(end.pending) == [2]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        frames.pack_payload(frames.READY),
        frames.pack_payload(frames.SETUP, b"x"),
        frames.pack_payload(frames.FAILED, b"x"),
        frames.pack_task(1, b"n", 0, b"", b"", None),
        frames.pack_id(frames.CANCEL, 1),
        frames.pack_done(2, frames.VALUE, 0.0, 0.0),
        frames.pack_done(1, 100, 0.0, 0.0),
        frames.pack_done(1, frames.VALUE, 0.0, 0.0)[:-1],
        frames.pack_id(frames.AGAIN, 1)[:-1],
        bytes([0]),
        bytes([255]) * 100,
    ],
    ids=range(12),
)
def test_what_no_correct_worker_sends_ends_the_conversation(message: bytes) -> None:
    end = up()
    end.sent(1, None)
    with pytest.raises(ProtocolError):
        end.receive(view(message))
    assert end.state == OVER
    assert not end.open
    with pytest.raises(ProtocolError):
        end.receive(view(frames.pack_done(1, frames.VALUE, 0.0, 0.0)))


def test_a_second_answer_for_the_same_task_ends_the_conversation() -> None:
    end = up()
    end.sent(1, None)
    end.receive(view(frames.pack_done(1, frames.VALUE, 0.0, 0.0)))
    with pytest.raises(ProtocolError):
        end.receive(view(frames.pack_done(1, frames.VALUE, 0.0, 0.0)))


def test_an_answer_for_a_task_that_was_taken_back_ends_the_conversation() -> None:
    end = up()
    end.sent(1, 7)
    end.taken_back(1)
    assert not end.known
    with pytest.raises(ProtocolError):
        end.receive(view(frames.pack_done(1, frames.VALUE, 0.0, 0.0)))


def test_a_dismissed_worker_may_still_answer_and_a_dead_one_stays_dead() -> None:
    end = up()
    end.sent(1, None)
    end.dismissed()
    assert end.state == LEAVING
    end.receive(view(frames.pack_done(1, frames.VALUE, 0.0, 0.0)))
    end.receive(view(frames.pack_payload(frames.RETIRED)))
    dead = ParentConnection()
    dead.receive(view(frames.pack_payload(frames.FAILED, b"why")))
    dead.dismissed()
    assert dead.state == OVER


MESSAGES = st.one_of(
    st.binary(max_size=60),
    st.builds(
        frames.pack_done, st.integers(0, 12), st.integers(0, 5), st.just(0.0), st.just(0.0), st.binary(max_size=9)
    ),
    st.builds(frames.pack_payload, st.integers(0, 12), st.binary(max_size=9)),
    st.builds(frames.pack_id, st.integers(0, 12), st.integers(0, 12)),
)


@given(st.lists(st.tuples(MESSAGES, st.integers(0, 40)), max_size=30))
@settings(max_examples=examples(150, nightly=5000))
def test_garbage_truncated_and_reordered_raises_protocol_errors_and_nothing_else(
    messages: list[tuple[bytes, int]],
) -> None:
    end = ParentConnection()
    answered: set[int] = set()
    for number in range(10):
        end.sent(number, None)
    for message, cut in messages:
        was = end.state
        try:
            event = end.receive(view(message[: len(message) - cut] if cut < 20 else message))
        except ProtocolError:
            assert end.state == OVER
        else:
            assert was != OVER
            if isinstance(event, protocol.Answer):
                assert event.id not in answered
                answered.add(event.id)
        assert answered.isdisjoint(end.pending)
        assert answered | set(end.pending) == set(range(10))


class Pair:
    """A parent's end and a worker's end with two queues between them, as the two sockets are."""

    def __init__(self) -> None:
        self.parent, self.worker = ParentConnection(), WorkerConnectionState()
        self.tasks: deque[bytes] = deque()
        self.control: deque[bytes] = deque()
        self.answers: deque[bytes] = deque([frames.pack_payload(frames.READY)])
        self.known: set[int] = set()
        self.ran: list[int] = []

    def send(self, id: int, function: int) -> None:
        new = function not in self.parent.known
        flags = frames.NEW_FUNCTION if new else 0
        self.tasks.append(frames.pack_task(id, b"n", function, b"c" if new else b"", b"", None, flags))
        self.parent.sent(id, function if new else None)

    def take_back(self) -> list[int]:
        back = []
        while self.tasks:
            task = frames.unpack_task(view(self.tasks.popleft()))
            self.parent.taken_back(task.id)
            back.append(task.id)
        return back

    def work(self) -> None:
        """The worker claims one task, after it has read some of its mailbox."""
        while self.control:
            id, reason = frames.unpack_id(view(self.control.popleft()))
            self.worker.cancelled(id, reason)
        if not self.tasks:
            return
        task = frames.unpack_task(view(self.tasks.popleft()))
        if task.flags & frames.NEW_FUNCTION:
            self.known.add(task.function_id)
        assert task.function_id in self.known, "a function was not sent"
        runs = self.worker.claim(task.id)
        if runs:
            self.ran.append(task.id)
        self.answers.append(frames.pack_done(task.id, frames.VALUE if runs else frames.UNSTARTED, 0.0, 0.0))


@given(st.integers(0, 2**32))
@settings(max_examples=200)
def test_two_ends_that_send_take_back_and_cancel_in_any_order_agree(seed: int) -> None:
    choose = random.Random(seed)
    pair = Pair()
    waiting, cancelled, answered = list(range(40)), set[int](), list[int]()
    functions = {id: choose.randrange(4) for id in waiting}
    for _ in range(2000):
        step = choose.randrange(5)
        if step == 0 and waiting:
            id = waiting.pop(0)
            pair.send(id, functions[id])
        elif step == 1 and choose.random() < 0.3:
            waiting[:0] = pair.take_back()
        elif step == 2 and pair.parent.pending and choose.random() < 0.2:
            id = choose.choice(list(pair.parent.pending))
            cancelled.add(id)
            pair.control.append(frames.pack_id(frames.CANCEL, id))
        elif step == 3:
            pair.work()
        elif pair.answers:
            event = pair.parent.receive(view(pair.answers.popleft()))
            if isinstance(event, protocol.Answer):
                answered.append(event.id)
        if not waiting and not pair.tasks and not pair.answers and not pair.parent.pending:
            break
    assert sorted(answered) == list(range(40))
    assert len(pair.ran) == len(set(pair.ran))
    assert set(range(40)) - set(pair.ran) <= cancelled


def test_a_cancellation_that_overtakes_its_task_is_remembered_and_the_memory_is_bounded() -> None:
    end = WorkerConnectionState()
    end.cancelled(5, "why")
    assert end.claim(4)
    assert not end.claim(5)
    assert end.claim(5)
    for id in range(3 * WorkerConnectionState.EARLY_MAX):
        end.cancelled(id, None)
    assert len(end.early) <= WorkerConnectionState.EARLY_MAX
    assert not end.claim(3 * WorkerConnectionState.EARLY_MAX - 1)
