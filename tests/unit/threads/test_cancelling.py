"""Cancelling calls that are queued or run in a thread, on every event loop."""

from __future__ import annotations

import logging
import sys
import threading
import time

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.unit.threads.driving import Blocker, comes_true, driver, happens
from unified_exec._tasks.current import check_cancelled, is_cancelled
from unified_exec._tasks.types import TaskState
from unified_exec.errors import Cancelled, RemoteError

pytestmark = pytest.mark.every_loop


async def test_a_queued_task_never_starts_and_is_settled_at_once() -> None:
    ran: list[object] = []
    async with driver(1) as it:
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        queued = [it.spawn(ran.append, n, nested=bool(n % 2)) for n in range(100)]
        kept = it.spawn(ran.append, "kept")
        it.cancel(*(job for job in queued if not job.nested))
        assert all(job.outcome.cancelled for job in queued if not job.nested)  # type: ignore[union-attr]
        blocker.go.set()
        await kept.value()
    assert [n for n in ran if isinstance(n, str)] == ["kept"]
    assert sorted(n for n in ran if isinstance(n, int)) == list(range(1, 100, 2))


async def test_a_running_task_is_asked_and_hears_why() -> None:
    began = threading.Event()

    def work() -> None:
        began.set()
        while not is_cancelled():
            time.sleep(0.0001)
        check_cancelled()

    async with driver() as it:
        job = it.spawn(work)
        await happens(began)
        it.cancel(job, reason="enough")
        assert job.state is TaskState.STOPPING
        assert (await job.wait()).cancelled
        assert job.stop_reason == "enough"
        it.cancel(job)  # done: passed over


async def test_a_value_returned_after_the_ask_is_kept() -> None:
    async with driver() as it:
        for interrupt in (False, True):
            blocker = Blocker()
            job = it.spawn(threading.Event.wait, blocker.go, 30, interrupt=interrupt)  # C code: cannot be interrupted
            began = it.spawn(blocker)
            await happens(blocker.began)
            if not interrupt:
                it.cancel(job, reason="too late")
            blocker.go.set()
            assert await job.value() is True
            assert await began.value() == "let go"


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


async def test_a_cancelled_ask_of_another_task_is_an_error() -> None:
    """`Cancelled` raised by hand counts as a cancellation only if the task was asked."""

    def work() -> None:
        raise Cancelled("by hand")

    async with driver() as it:
        assert type((await it.spawn(work).wait()).error) is RemoteError


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
