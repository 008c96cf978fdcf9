"""What a process task says on its way and its answer take two ways to the parent, by their size: none overtakes."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import until
from unified_exec import ProcessPool, Progress, TaskScope, report

pytestmark = pytest.mark.one_loop

LARGE = 200_000
PATIENT = 60.0


async def own_pid() -> int:
    return os.getpid()


def large_items(folder: Path) -> Iterator[bytes]:
    for n in range(3):
        yield bytes([n]) * LARGE
    (folder / "end").touch()


async def a_large_items(folder: Path) -> AsyncIterator[bytes]:
    for item in large_items(folder):
        yield item


def says(folder: Path, sizes: list[int], result: int) -> bytes:
    for n, size in enumerate(sizes):
        report(n, text="." * size)
    (folder / "end").touch()
    return bytes(result)


async def a_says(folder: Path, sizes: list[int], result: int) -> bytes:
    return says(folder, sizes, result)


def stand_still(folder: Path, pid: int) -> None:
    """Hold up the event loop until the worker has nothing more to say: all of it lies in the sockets."""
    assert until((folder / "end").exists, PATIENT)
    assert until(lambda: psutil.Process(pid).status() == psutil.STATUS_SLEEPING, PATIENT)


@pytest.mark.parametrize("fn", [large_items, a_large_items])
async def test_the_end_of_a_stream_waits_for_its_large_items(fn: Any, tmp_path: Path) -> None:
    pid_of = own_pid if fn is a_large_items else os.getpid
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        pid: int = await scope.spawn(pid_of, on="process")  # type: ignore[arg-type]
        stream = scope.stream(fn, tmp_path, on="process")
        stand_still(tmp_path, pid)
        assert [item[0] async for item in stream] == [0, 1, 2]
        assert await scope.spawn(pid_of, on="process") == pid  # type: ignore[arg-type]


@pytest.mark.parametrize("fn", [says, a_says])
@pytest.mark.parametrize("result", [0, LARGE], ids=["small result", "large result"])
@pytest.mark.parametrize("sizes", [[LARGE], [LARGE, 1, 1], [1, LARGE, 1], [1, 1, LARGE, 1, LARGE]], ids=str)
async def test_reports_come_in_order_and_before_the_answer(
    fn: Any, sizes: list[int], result: int, tmp_path: Path
) -> None:
    pid_of = own_pid if fn is a_says else os.getpid
    got: list[Progress] = []
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        pid: int = await scope.spawn(pid_of, on="process")  # type: ignore[arg-type]
        said = scope.spawn(fn, tmp_path, sizes, result, on="process", progress=got.append)
        stand_still(tmp_path, pid)
        assert len(await said) == result
        assert await scope.spawn(pid_of, on="process") == pid  # type: ignore[arg-type]
    assert [each.done for each in got if not each.ended] == [*range(len(sizes))]


def leave_a_thread(folder: Path) -> int:
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(say_later, folder), daemon=True).start()
    return os.getpid()


def say_later(folder: Path) -> None:
    until((folder / "go").exists, PATIENT)
    report(1, text="late")
    report(2, text="." * LARGE)
    (folder / "said").touch()


def wait_for_the_thread(folder: Path) -> int:
    (folder / "go").touch()
    assert until((folder / "said").exists, PATIENT)
    return os.getpid()


async def test_a_thread_that_a_task_left_behind_may_still_report(tmp_path: Path) -> None:
    """Nobody listens any more; it costs neither the worker nor the task that runs there now."""
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        pid = await scope.spawn(leave_a_thread, tmp_path, on="process")
        assert await scope.spawn(wait_for_the_thread, tmp_path, on="process") == pid
        assert await scope.spawn(os.getpid, on="process") == pid
