"""`anyio.from_thread` inside a call, on every event loop."""

from __future__ import annotations

import threading
import time
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.unit.threads.driving import driver, happens

pytestmark = pytest.mark.every_loop


async def test_anyio_from_thread_works_in_a_task() -> None:
    loop_thread = threading.get_ident()

    async def on_loop(value: int) -> tuple[int, int]:
        await anyio.lowlevel.checkpoint()
        return value, threading.get_ident()

    def work() -> tuple[Any, Any]:
        return anyio.from_thread.run(on_loop, 5), anyio.from_thread.run_sync(threading.get_ident)

    async with driver() as it:
        assert await it.spawn(work).value() == ((5, loop_thread), loop_thread)


async def test_cancelling_reaches_what_the_thread_waits_for_on_the_loop() -> None:
    ended = []

    async def forever(began: threading.Event) -> None:
        try:
            began.set()
            await anyio.sleep_forever()
        finally:
            ended.append(1)

    async with driver() as it:
        for _ in range(5):
            began = threading.Event()
            job = it.spawn(anyio.from_thread.run, forever, began)
            await happens(began)
            it.cancel(job)
            assert (await job.wait()).cancelled
    assert len(ended) == 5


async def test_anyio_check_cancelled_tells_of_the_ask() -> None:
    began = threading.Event()

    def work() -> None:
        began.set()
        while True:
            anyio.from_thread.check_cancelled()
            time.sleep(0.0001)

    async with driver() as it:
        job = it.spawn(work)
        await happens(began)
        it.cancel(job)
        assert (await job.wait()).cancelled
