"""The ends of a stream by themselves: credit in the worker's signal handler, and batches that come out of order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from types import FrameType
from typing import Any

import pytest

from unified_exec._pools.process.stream import ProcessStreamReader
from unified_exec._tasks.current import current
from unified_exec._tasks.messages import Batch
from unified_exec._wire import frames
from unified_exec._worker.context import WorkerContext, WorkerTask
from unified_exec._worker.run_generator import AHEAD, run_async_generator

ID = 7


class Signal:
    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {}


class Context(WorkerContext):
    """Counts the batches instead of sending them."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        super().__init__(None, Signal())  # type: ignore[arg-type]
        self.sent = threading.Semaphore(0)

    def send(self, id: int, message: object) -> None:
        self.sent.release()


async def endless() -> AsyncIterator[int]:
    while True:
        yield 1


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")
def test_credit_that_the_signal_handler_reads_wakes_a_loop_that_sleeps() -> None:
    context = Context()
    results: list[bool] = []

    mailbox, parents_end = socket.socketpair()
    mailbox.setblocking(False)

    def on_signal(signum: int, frame: FrameType | None) -> None:
        try:
            credits = len(mailbox.recv(100))
        except BlockingIOError:
            return
        context.signal.handlers[frames.CREDIT](frames.pack_credit(ID, credits), None)

    async def main() -> None:
        current.set(WorkerTask(ID, "endless", None, context))
        task = asyncio.create_task(run_async_generator(endless, ()))
        loop = asyncio.get_running_loop()
        # As in a worker: a signal that comes right before the system call of the loop interrupts nothing.
        loop.add_reader(mailbox, on_signal, 0, None)

        def parent() -> None:
            for _ in range(AHEAD):
                results.append(context.sent.acquire(timeout=30))
            while results[-1] and len(results) < 200:
                parents_end.send(b"1")
                os.kill(os.getpid(), signal.SIGUSR1)
                results.append(context.sent.acquire(timeout=30))
            loop.call_soon_threadsafe(task.cancel)

        thread = threading.Thread(target=parent)
        thread.start()
        with pytest.raises(asyncio.CancelledError):
            await task
        thread.join()
        loop.remove_reader(mailbox)

    previous = signal.signal(signal.SIGUSR1, on_signal)
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGUSR1, previous)
        mailbox.close()
        parents_end.close()
    assert all(results), f"batch {len(results)} was not sent: its credit woke nobody"


def test_an_item_that_cannot_be_rebuilt_waits_for_the_batches_before_its_own() -> None:
    class Lane:
        def cancel(self, tasks: list[object], reason: str) -> None:
            cancelled.append(tasks)

    cancelled: list[list[object]] = []
    lane: Any = Lane()
    reader = ProcessStreamReader(lane, endless, ())
    task: Any = object()
    reader.task = task
    broken = Batch(1, [3])
    broken.error = ValueError()
    for message, items in ((broken, []), (Batch(0, [1, 2]), [1, 2, 3]), (Batch(2, [5]), [1, 2, 3])):
        reader.on_message(message)
        assert list(reader.items) == items
        assert (reader.error is broken.error) == bool(items)
    assert cancelled == [[task]]
