"""Cancelling calls that are queued or run in a thread, on every event loop."""

from __future__ import annotations

import logging
import sys
import threading

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.unit.threads.driving import Blocker, comes_true, driver, happens

pytestmark = pytest.mark.every_loop


async def test_a_c_function_that_returns_with_a_request_pending_keeps_its_value() -> None:
    lock = threading.Lock()
    async with driver() as it:
        for _ in range(20):
            lock.acquire()
            job = it.spawn(lock.acquire, interrupt=True)  # C: the interrupt is pending when it returns
            while job.backend_data is None or job.backend_data.token is None:
                await anyio.lowlevel.checkpoint()
            it.cancel(job)
            lock.release()
            outcome = await job.wait()
            if outcome.cancelled:  # it was asked before it began, or the lock stayed free
                assert lock.acquire(False)
            else:
                assert outcome.unwrap() is True
            lock.release()


async def test_an_abandoned_task_is_settled_at_once_and_frees_its_place(caplog: pytest.LogCaptureFixture) -> None:
    blocker = Blocker()
    async with driver(1) as it:
        job = it.spawn(blocker, abandon=True)
        job.name = "the slow one"
        await happens(blocker.began)
        with caplog.at_level(logging.WARNING, "unified_exec"):
            it.cancel(job)
        assert job.outcome is not None
        assert job.outcome.cancelled
        assert "the slow one" in caplog.text
        assert await it.spawn(int, 5).value() == 5
        worker = job.worker
    blocker.go.set()  # closing has not waited for it
    await comes_true(lambda: worker not in sys._current_frames())
    assert job.settlements == 1


async def test_closing_does_not_hang_on_abandoned_tasks_that_end_first() -> None:
    async with driver(2) as it:
        blocker = Blocker()
        job = it.spawn(blocker, abandon=True)
        await happens(blocker.began)
        it.cancel(job)
        blocker.go.set()
        await comes_true(lambda: job.worker not in sys._current_frames())


async def test_the_error_of_an_abandoned_task_that_fails_later_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    began, go = threading.Event(), threading.Event()

    def fail() -> None:
        began.set()
        go.wait()
        raise OSError("disk full")

    async with driver() as it:
        job = it.spawn(fail, abandon=True)
        await happens(began)
        it.cancel(job)
        assert job.outcome is not None
        go.set()
        await comes_true(lambda: "has failed" in caplog.text)
    assert "OSError: disk full" in caplog.text
