"""Values and errors whose own code raises. Workers import this module by name."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, NoReturn


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """Refuses to have an attribute set, be it `__traceback__`."""

    code: int


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Underivable(BaseExceptionGroup[BaseException]):
    def derive(self, excs: Sequence[BaseException]) -> NoReturn:
        raise ValueError("no part of it")


def raise_frozen() -> NoReturn:
    raise Frozen(3)


def raise_mute() -> NoReturn:
    raise Mute


def raise_underivable() -> NoReturn:
    raise Underivable("several", [SystemExit(1)])


async def wait_and_raise_underivable(path: str) -> NoReturn:
    import asyncio

    try:
        open(path, "w").close()
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise Underivable("several", [SystemExit(1)]) from None
    raise AssertionError


def check_and_raise_underivable(path: str) -> NoReturn:
    from unified_exec import Cancelled, is_cancelled

    try:
        open(path, "w").close()
        while not is_cancelled():
            time.sleep(0.001)
    except Cancelled:
        pass
    raise Underivable("several", [SystemExit(1)])


class RebuildsBadly:
    def __init__(self, size: int = 0) -> None:
        self.content = "x" * size

    def __reduce__(self) -> Any:
        return _rebuild, (self.content,)


def _rebuild(content: str) -> NoReturn:
    raise Mute


def rebuilds_badly(size: int) -> RebuildsBadly:
    return RebuildsBadly(size)


def text(size: int) -> list[str]:
    return ["x" * size]


def length(texts: object) -> int:
    return len(str(texts))


def die_at_the_next_message() -> None:
    """As an initializer: the worker ends as soon as it has received a task."""
    from unified_exec._worker.connection import WorkerConnection

    receive: Any = WorkerConnection.next_task

    def next_task(self: WorkerConnection, flags: int = 0) -> Any:
        received = receive(self, flags)
        os._exit(9 if received is not None else 0)

    WorkerConnection.next_task = next_task  # type: ignore[method-assign]


def break_the_answers() -> None:
    """Let no answer of this worker leave, and leave a thread behind that the end of an interpreter would wait for."""
    from unified_exec._worker import send_result

    def send(*args: object) -> NoReturn:
        raise MemoryError

    send_result.send = send  # type: ignore[assignment]
    sys.stderr = open(os.devnull, "w")
    threading.Thread(target=time.sleep, args=(600,)).start()


async def break_the_answers_on_the_loop() -> None:
    break_the_answers()


def check_and_stop(path: str) -> NoReturn:
    from unified_exec import check_cancelled

    open(path, "w").close()
    while True:
        check_cancelled()
        time.sleep(0.001)


def open_after_a_message_that_was_interrupted() -> int:
    """Return how many descriptors a large message has left that was interrupted before it was sent."""
    from unified_exec import current_task
    from unified_exec._worker.connection import WorkerConnection

    def interrupted(self: object, message: bytes, fd: int | None, sockets: int) -> NoReturn:
        assert fd is not None
        raise KeyError("interrupted")

    task, before = current_task(), len(os.listdir("/proc/self/fd"))
    assert task is not None
    kept, WorkerConnection._send_in_order = WorkerConnection._send_in_order, interrupted  # type: ignore[method-assign]
    try:
        task.send(["x" * 100_000])
    except KeyError:
        pass
    finally:
        WorkerConnection._send_in_order = kept  # type: ignore[method-assign]
    return len(os.listdir("/proc/self/fd")) - before


def take(objects: list[Any]) -> None:
    assert [each.value for each in objects] == list(range(len(objects)))


def log_strangely(field: object) -> int:
    """Log a record that a filter has given something strange; returns the process id."""
    import logging

    def put(record: logging.LogRecord) -> bool:
        record.funcName = field  # type: ignore[assignment]
        return True

    log = logging.getLogger("strange")
    log.addFilter(put)
    try:
        log.warning("a record with a strange field")
    finally:
        log.removeFilter(put)
    return os.getpid()


def log_what_cannot_travel() -> int:
    return log_strangely(threading.Lock())


def log_what_cannot_be_rebuilt() -> int:
    return log_strangely(RebuildsBadly())
