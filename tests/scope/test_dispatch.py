"""Where a call goes: seen by running it there."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

import unified_exec
from unified_exec import ProcessPool, TaskScope, ThreadPool, blocking, cpu_bound, current_task
from unified_exec._handles.open_scopes import OpenScope
from unified_exec._pools import default_pools
from unified_exec._tasks import loaded


def place() -> str:
    task = current_task()
    assert task is not None
    return task.backend


async def a_place() -> str:
    await checkpoint()
    return place()


@cpu_bound
def marked_cpu() -> str:
    return place()


@cpu_bound
async def a_marked_cpu() -> str:
    return place()


@blocking
def marked_blocking() -> str:
    return place()


class Callable_:
    def __init__(self) -> None:
        self.made_in = place()

    def __call__(self) -> str:
        return place()

    def method(self) -> str:
        return place()

    async def a_method(self) -> str:
        return await a_place()

    @staticmethod
    def static() -> str:
        return place()

    @cpu_bound
    def cpu_method(self) -> str:
        return place()


class AsyncCallable:
    def __init__(self) -> None:
        task = current_task()
        self.made_in = task.backend if task is not None else "nowhere"

    async def __call__(self) -> str:
        return await a_place()


class CpuCallable:
    @cpu_bound
    def __call__(self) -> str:
        return place()


async def runs_in(fn: Any, **options: Any) -> str:
    async with TaskScope() as scope:
        handle = scope.spawn(fn, **options)
    found: str = handle.result()
    assert found == handle.backend
    return found


async def test_the_kind_of_function_decides() -> None:
    assert await runs_in(place) == "thread"
    assert await runs_in(a_place) == "loop"
    assert await runs_in(lambda: place()) == "thread"
    assert await runs_in(functools.partial(place)) == "thread"
    assert await runs_in(functools.partial(functools.partial(a_place))) == "loop"


async def test_methods_classes_and_callable_objects_are_seen_through() -> None:
    async with TaskScope() as scope:
        plain = await scope.spawn(Callable_)
        asynchronous = await scope.spawn(AsyncCallable)
    assert (plain.made_in, asynchronous.made_in) == ("thread", "thread")
    assert await runs_in(plain) == "thread"
    assert await runs_in(plain.method) == "thread"
    assert await runs_in(plain.static) == "thread"
    assert await runs_in(plain.a_method) == "loop"
    assert await runs_in(asynchronous) == "loop"
    assert await runs_in(functools.partial(asynchronous)) == "loop"


async def test_a_marker_beats_the_kind() -> None:
    cpu = "process" if getattr(sys, "_is_gil_enabled", lambda: True)() else "thread"
    assert await runs_in(marked_cpu) == cpu
    assert await runs_in(a_marked_cpu) == "process"
    assert await runs_in(marked_blocking) == "thread"
    assert await runs_in(functools.partial(marked_cpu)) == cpu
    assert await runs_in(CpuCallable()) == cpu
    assert await runs_in(cpu_bound(functools.partial(place))) == cpu


async def test_an_explicit_place_beats_a_marker() -> None:
    assert await runs_in(marked_cpu, on="thread") == "thread"
    assert await runs_in(a_marked_cpu, on="loop") == "loop"
    assert await runs_in(marked_blocking, on="process") == "process"
    assert await runs_in(a_place, on="process") == "process"


async def test_a_pool_is_a_place() -> None:
    async with ThreadPool(1) as threads, ProcessPool(1) as processes:
        assert await runs_in(place, on=threads) == "thread"
        assert await runs_in(place, on=processes) == "process"
        assert await runs_in(a_place, on=processes) == "process"


async def test_the_pools_of_the_scope_are_used() -> None:
    async with ThreadPool(1) as threads, ProcessPool(1) as processes:
        async with TaskScope(threads=threads, processes=processes) as scope:
            idents = {await scope.spawn(threading.get_ident) for _ in range(3)}
            pids = {await scope.spawn(os.getpid, on="process") for _ in range(3)}
            other = await scope.spawn(threading.get_ident, on=default_pools.default_threads())
    assert len(idents) == len(pids) == 1
    assert other not in idents


@pytest.mark.parametrize(("free", "expected"), [(False, "process"), (True, "thread")])
async def test_cpu_is_processes_or_threads_where_there_is_no_gil(
    monkeypatch: pytest.MonkeyPatch, free: bool, expected: str
) -> None:
    monkeypatch.setattr(loaded, "gil_is_off", lambda: free)
    assert await runs_in(place, on="cpu") == expected
    assert await runs_in(marked_cpu) == expected


async def test_without_a_gil_cpu_tasks_are_interruptible_and_limited_to_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spin() -> None:
        started.set()
        while True:
            pass

    monkeypatch.setattr(loaded, "gil_is_off", lambda: True)
    monkeypatch.setattr("unified_exec._platform.cpu_count.cpu_count", lambda: 3)
    started = threading.Event()
    async with TaskScope() as scope:
        handle = scope.spawn(spin, on="cpu")
        await scope.spawn(started.wait)
        scope.cancel()
    assert handle.cancelled()
    assert default_pools.default_cores().max_workers == 3


@pytest.mark.asyncio
async def test_a_coroutine_task_costs_no_more_than_fourteen_calls_of_this_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing() -> None: ...

    monkeypatch.setattr(OpenScope, "ranked", False)  # another test may have used priorities
    called: list[str] = []
    package = str(Path(unified_exec.__file__).parent)

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            called.append(frame.f_code.co_qualname)

    async with TaskScope() as scope:
        await scope.spawn(nothing)
        sys.setprofile(note)
        try:
            handle = scope.spawn(nothing)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            sys.setprofile(None)
        assert handle.done()
    assert len(called) <= 14, called
