"""What the tests of `observe` run: functions that processes and threads call."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anyio

from unified_exec import TaskScope, check_cancelled, from_task, is_cancelled

gates: dict[str, threading.Event] = {}


def value(x: Any = 1) -> Any:
    return x


async def coroutine(x: Any = 1) -> Any:
    return x


def imports_opentelemetry() -> tuple[bool, int, int]:
    """Whether it was there before, and trace and id of the current span."""
    before = "opentelemetry" in sys.modules
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    return before, found.trace_id, found.span_id


def fails() -> None:
    raise ValueError("wrong")


def crashes() -> None:
    os._exit(3)


def until_cancelled() -> None:
    while True:
        check_cancelled()
        time.sleep(0.001)


def flaky(path: str) -> int:
    """Fails the first time."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return 1
    raise OSError("not yet")


async def locks(lock: Any) -> None:
    async with lock:
        pass


def locks_in_a_thread(lock: Any) -> None:
    with lock:
        pass


async def receives(channel: Any) -> None:
    await channel.receive()


def receives_in_a_thread(channel: Any) -> None:
    channel.receive_sync()


async def sends(channel: Any) -> None:
    await channel.send(1)


def sends_in_a_thread(channel: Any) -> None:
    channel.send_sync(1)


async def event() -> None:
    await asyncio.Event().wait()


async def sleeps() -> None:
    await anyio.sleep_forever()


async def opens() -> None:
    async with TaskScope() as scope:
        scope.spawn(sleeps, name="deep sleeper")


def runs_a_loop() -> None:
    asyncio.run(opens())


async def computes() -> None:
    while not is_cancelled():
        pass


async def begins_and_sleeps(begun: Path) -> None:
    begun.touch()
    await anyio.sleep_forever()


def asks_for_ever(begun: Path) -> None:
    """Wait in a call of the package; `begun` is there when all that this imports has been imported."""
    from_task.run(begins_and_sleeps, begun)
