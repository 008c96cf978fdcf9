"""The hybrid run: every file goes from a coroutine over a process to a thread, all in one scope."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

import anyio
import httpx

from unified_exec import Collect, FailFast, ProcessPool, TaskScope, ThreadPool, WorkerCrashed

from . import metrics
from .stages import Stage
from .store import Store

SHOW_EVERY = 0.1  # seconds


class Job(NamedTuple):
    """What to do, and with how much.

    Attributes:
        paths: the files, as the server at `url` names them.
        workers: processes that parse.
        threads: threads that store.
        connections: files fetched at once.
        doomed: the file whose worker is killed, or ``None``.
        cancel_after: seconds until everything is cancelled, or ``None``.
    """

    paths: tuple[str, ...]
    url: str
    workers: int
    threads: int
    connections: int
    doomed: str | None = None
    cancel_after: float | None = None

    @property
    def in_flight(self) -> int:
        """How many files may be on their way at once: enough that no worker waits, and no more sources in memory."""
        return self.connections + 4 * self.workers


class Lost(NamedTuple):
    """A file that cost a worker."""

    path: str
    error: WorkerCrashed
    stored_before: int


class HybridRun:
    """One run of the job over all three backends; its numbers are right also when it did not end by itself.

    Args:
        job: what to do.
        store: where the results go.
    """

    def __init__(self, job: Job, store: Store) -> None:
        self.job = job
        self.store = store
        self.bytes = 0
        self.begun = 0
        self.lost: list[Lost] = []
        self.cancelled = False
        self.left_over_tasks = 0
        self.started = self.ended = 0.0
        self.fetching = Stage("fetched", "fetching", "coroutines", job.connections)
        # A thread that kills itself takes the program along, so what is to crash must be a process.
        self._cpu = "process" if job.doomed else "cpu"
        in_threads = self._cpu == "cpu" and not has_gil()
        self.parsing = Stage("parsed", "parsing", "threads" if in_threads else "processes", job.workers)
        self.storing = Stage("stored", "storing", "threads", job.threads)
        self.stages = (self.fetching, self.parsing, self.storing)

    @property
    def seconds(self) -> float:
        """Seconds from the first file to the last, or until now."""
        return (self.ended or time.monotonic()) - self.started if self.started else 0.0

    async def run(self, show: Callable[[], object]) -> None:
        """Do the job; call `show` now and then meanwhile."""
        async with (
            httpx.AsyncClient(base_url=self.job.url, trust_env=False) as client,
            ProcessPool(self.job.workers) as processes,
            ThreadPool(self.job.threads) as threads,
            anyio.create_task_group() as beside,
        ):
            # A worker that dies is one task's failure: with Collect the others go on, with FailFast they would not.
            policy = Collect() if self.job.doomed else FailFast()
            self.started = time.monotonic()
            try:
                async with TaskScope("demo", policy=policy, processes=processes, threads=threads) as scope:
                    beside.start_soon(_each, SHOW_EVERY, show)
                    if self.job.cancel_after is not None:
                        beside.start_soon(self._cancel_after, scope, self.job.cancel_after)
                    await self._feed(scope, client)
            finally:
                self.ended = time.monotonic()
                self.left_over_tasks = sum(stage.close() for stage in self.stages)
                beside.cancel_scope.cancel()

    async def _feed(self, scope: TaskScope, client: httpx.AsyncClient) -> None:
        places = anyio.Semaphore(self.job.in_flight)
        connections = anyio.Semaphore(self.job.connections)
        for path in self.job.paths:
            await places.acquire()
            scope.start_soon(self._one_file, scope, client, path, connections, places)
            self.begun += 1

    async def _one_file(
        self,
        scope: TaskScope,
        client: httpx.AsyncClient,
        path: str,
        connections: anyio.Semaphore,
        places: anyio.Semaphore,
    ) -> None:
        try:
            async with connections:
                source = await self.fetching.run(scope, fetch, client, path, name=f"fetch {path}")
            self.bytes += len(source)
            parse = metrics.crash if path == self.job.doomed else metrics.measure
            measured = await self.parsing.run(scope, parse, path, source, on=self._cpu, name=f"parse {path}")
            del source
            await self.storing.run(scope, self.store.add, measured, name=f"store {path}")
        except WorkerCrashed as error:
            self.lost.append(Lost(path, error, self.storing.finished))
        finally:
            places.release()

    async def _cancel_after(self, scope: TaskScope, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.cancelled = True
        scope.cancel("--cancel-after")


async def fetch(client: httpx.AsyncClient, path: str) -> bytes:
    """Get one file from the server."""
    response = await client.get(f"/{quote(path)}")
    return response.raise_for_status().content


async def _each(seconds: float, call: Callable[[], object]) -> None:
    while True:
        call()
        await anyio.sleep(seconds)


def has_gil() -> bool:
    """Whether this interpreter runs one thread at a time, so that ``on="cpu"`` means processes."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())
