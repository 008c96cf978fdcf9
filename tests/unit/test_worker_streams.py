"""The worker's end of a stream: credit that arrives in the signal handler wakes a generator that waits for it."""

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

from unified_exec._tasks.current import current
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
