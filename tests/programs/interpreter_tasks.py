"""Functions for the tasks of an `InterpreterPool`: nothing that is imported here is an extension that refuses."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextvars import copy_context
from pathlib import Path

from unified_exec import Channel, SharedValue, check_cancelled, current_task, from_task

settings: list[str] = []
_kept: list[memoryview] = []


def pid() -> int:
    return os.getpid()


def where() -> tuple[str, int]:
    task = current_task()
    assert task is not None
    settings.append("seen here alone")
    return task.backend, os.getpid()


def recurse() -> None:
    recurse()


def exhaust() -> None:
    raise MemoryError


def send_and_add(channel: Channel[int], total: SharedValue[int], item: int) -> None:
    channel.send_sync(item)
    total.add(item)


def spin(folder: Path, name: str) -> None:
    try:
        (folder / f"{name}.started").touch()
        while True:
            pass
    finally:
        (folder / f"{name}.ended").touch()


def spin_in_functions(folder: Path, name: str) -> None:
    try:
        (folder / f"{name}.started").touch()
        while True:
            _short()
    finally:
        (folder / f"{name}.ended").touch()


def _short() -> None:
    sum(n * n for n in range(100))


def spin_in_a_loop(folder: Path, name: str) -> None:
    async def wait() -> None:
        try:
            (folder / f"{name}.started").touch()
            await asyncio.sleep(1000)
        finally:
            (folder / f"{name}.ended").touch()

    asyncio.run(wait())


class _Entered:
    open = 0

    def __enter__(self) -> None:
        _Entered.open += 1

    def __exit__(self, *exc: object) -> None:
        _Entered.open -= 1


def enter_and_leave(calls: bool) -> None:
    begun = ended = 0
    _Entered.open = 0
    try:
        while True:
            begun += 1
            try:
                with _Entered():
                    if calls:
                        _short()
            finally:
                ended += 1
    finally:
        raise RuntimeError(begun - ended, _Entered.open)


def nap_and_look(folder: Path, name: str) -> None:
    try:
        while True:
            time.sleep(0.01)
            check_cancelled()
    finally:
        (folder / f"{name}.ended").touch()


def ask_for_the_sum(numbers: list[int]) -> int:
    return from_task.run_sync(sum, numbers)


def ask_in_a_thread(numbers: list[int]) -> int:
    found: list[int] = []
    here = copy_context()
    thread = threading.Thread(target=here.run, args=(lambda: found.append(ask_for_the_sum(numbers)),))
    thread.start()
    thread.join()
    return found[0]


def variable(name: str) -> str | None:
    return os.environ.get(name)


def mark(what: str) -> None:
    settings.append(what)


def marked() -> str:
    return settings[0]


def keep(view: memoryview) -> None:
    _kept.append(view)


def let_go() -> int:
    """Release the view that was kept, and return its first byte."""
    return int(_kept.pop()[0])


def keep_out_of_reach(view: memoryview) -> memoryview:
    view[0] = 8
    return view


def leave_a_thread(folder: Path, name: str) -> None:
    def run() -> None:
        time.sleep(0.1)
        (folder / f"{name}.ended").touch()

    threading.Thread(target=run).start()
