"""Drives the thread backend by itself: its lane is used as a scope would."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel

from unified_exec._loops.adapter import LoopAdapter, Waiter
from unified_exec._loops.current import current_adapter
from unified_exec._pools.thread.pool import ThreadPool
from unified_exec._tasks.task import Task


class Job(Task):
    """Stands for a handle."""

    __slots__ = ("__weakref__", "adapter", "settlements", "waiters")

    adapter: LoopAdapter
    settlements: int
    waiters: list[Waiter]

    def settled(self) -> None:
        self.settlements += 1
        for waiter in self.waiters:
            waiter.wake()

    async def wait(self) -> Any:
        while self.outcome is None:
            waiter = self.adapter.waiter()
            self.waiters.append(waiter)
            await waiter
        return self.outcome

    async def value(self) -> Any:
        outcome = await self.wait()
        assert not outcome.cancelled
        return outcome.unwrap()


class Driver:
    """Hands calls to a lane of the running loop."""

    def __init__(self, pool: ThreadPool) -> None:
        self.pool = pool
        self.adapter = current_adapter()
        self.lane = pool.lane(self.adapter)
        self.owner: Any = object()  # stands for a scope
        self.jobs: list[Job] = []

    def spawn(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Job:
        job = Job(getattr(fn, "__name__", "job"), fn, args, "thread", self.owner)
        job.adapter, job.waiters, job.settlements = self.adapter, [], 0
        for name, value in options.items():
            setattr(job, name, value)
        self.lane.submit(job)
        self.jobs.append(job)
        return job

    def cancel(self, *jobs: Job, reason: str | None = None) -> None:
        self.lane.cancel(jobs, reason)


@asynccontextmanager
async def driver(max_workers: int | None = None, **options: Any) -> AsyncIterator[Driver]:
    async with ThreadPool(max_workers, **options) as pool:
        it = Driver(pool)
        yield it
        for job in it.jobs:
            await job.wait()
            assert job.settlements == 1


async def comes_true(condition: Callable[[], bool]) -> None:
    """Wait for what a thread does, without blocking the loop."""
    with anyio.fail_after(30):
        while not condition():  # nothing tells the loop
            await anyio.sleep(0.0005)


async def happens(event: threading.Event) -> None:
    await comes_true(event.is_set)


class Crowd:
    """A call that counts how many of it run at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = self.most = 0

    def __call__(self) -> None:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
        time.sleep(0.0002)
        with self._lock:
            self._running -= 1


class Blocker:
    """A call that has begun, and goes on until it is let go."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.go.wait(30)
        return "let go"
