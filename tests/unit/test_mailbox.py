"""What a worker has sent is read, however it ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from mmap import mmap

import pytest

from unified_exec._pools.process.child import Child
from unified_exec._pools.process.worker import Worker
from unified_exec._wire import frames, protocol


@pytest.fixture
def ends() -> Iterator[tuple[Worker, socket.socket]]:
    """A worker that was sent task 7, and the other end of its mailbox."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
    (tasks, claims), (control, theirs), (lifeline, _) = pairs
    control.setblocking(False)
    with mmap(-1, 4096) as status:
        worker = Worker(Child(os.getpid(), tasks, claims, control, lifeline, status, None), False)
        worker.end.state = protocol.UP
        worker.end.sent(7, None)
        yield worker, theirs
        for pair in pairs:
            for end in pair:
                end.close()


def test_an_answer_is_read_although_the_worker_ended_with_something_unread(ends: tuple[Worker, socket.socket]) -> None:
    worker, theirs = ends
    theirs.send(frames.pack_done(7, frames.VALUE, 0.0, 1.0, b"value"))
    worker.child.control.send(frames.pack_id(frames.CANCEL, 7))
    theirs.close()
    (answer,) = [event for event, _ in worker.read_control()]
    assert isinstance(answer, protocol.Answer)
    assert (answer.id, bytes(answer.payload)) == (7, b"value")
    assert worker.deaf
