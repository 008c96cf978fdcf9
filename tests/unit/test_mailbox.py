"""What a worker has sent is read, however it ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from mmap import mmap
from typing import Any

import pytest

from unified_exec._pools.process.answers import AnswerReader
from unified_exec._pools.process.child import Child
from unified_exec._pools.process.mailbox_signal import signal_until_read
from unified_exec._pools.process.start_retry import StartFailures
from unified_exec._pools.process.worker import Worker
from unified_exec._pools.process.worker_group import WorkerGroup
from unified_exec._tasks.task import Task
from unified_exec._wire import frames, protocol
from unified_exec._wire.pickling.functions import encode_call
from unified_exec._worker.settings import CALLS


@pytest.fixture
def ends() -> Iterator[tuple[Worker, Task, socket.socket]]:
    """A worker that was sent a task, and the other end of its mailbox."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
    (tasks, claims), (control, theirs), (lifeline, _) = pairs
    tasks.setblocking(False)
    control.setblocking(False)
    with mmap(-1, 4096) as status:
        worker = Worker(Child(os.getpid(), tasks, claims, control, lifeline, status, None), CALLS)
        worker.connection.state = protocol.UP
        task = Task("abs", abs, (-1,), "process", None)
        task.backend_data = encode_call(abs, (-1,))
        assert worker.send(task)
        yield worker, task, theirs
        for pair in pairs:
            for end in pair:
                end.close()


def test_an_answer_is_read_although_the_worker_ended_with_something_unread(
    ends: tuple[Worker, Task, socket.socket],
) -> None:
    worker, task, theirs = ends
    theirs.send(frames.pack_done(task.id, frames.VALUE, 0.0, 1.0, encode_call(abs, ()).data))
    worker.child.control.send(frames.pack_id(frames.CANCEL, task.id))
    theirs.close()
    adapter: Any = None
    group = WorkerGroup(adapter, CALLS, int)
    AnswerReader(group, StartFailures(group), lambda worker: None).read_mailbox(worker)
    assert task.outcome is not None
    assert task.outcome.unwrap() == ()
    assert worker.inbox.closed


class Timers:
    """An event loop of which only the timers are used."""

    def __init__(self) -> None:
        self.due: list[tuple[Any, ...]] = []

    def call_later(self, delay: float, fn: Any, *args: Any) -> None:
        self.due.append((fn, *args))


def test_a_worker_that_another_loop_closes_meanwhile_is_not_signalled_again(
    ends: tuple[Worker, Task, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, timers, signals = ends[0], Timers(), []
    monkeypatch.setattr(Worker, "signal", lambda self: signals.append(self))
    signal_until_read(timers, worker)  # type: ignore[arg-type]
    worker.child.control.close()  # by another thread, which has not noted yet that it is reaped
    ((look, *args),) = timers.due
    look(*args)
    assert signals == [worker]
    assert len(timers.due) == 1
