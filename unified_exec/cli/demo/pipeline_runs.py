"""The two runs of the demo: all files in one pipeline over coroutines, processes and threads; and sequentially."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import anyio
import httpx

from unified_exec import Failure, Pipeline, ProcessPool, StageStats, ThreadPool, WorkerCrashed

from ..measuring.clocks import frozen_garbage
from ..measuring.machine import gil_is_on
from . import metrics
from .store import Store

SHOW_EVERY = 0.1
"""Seconds between two updates of the display."""


class Job(NamedTuple):
    """The work to do and the number of workers.

    Attributes:
        paths: the files, by their paths on the server.
        url: the address of the server.
        workers: number of processes that parse.
        threads: number of threads that store.
        connections: number of files fetched at once.
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


class Lost(NamedTuple):
    """A file that was lost with the worker that parsed it."""

    path: str
    error: WorkerCrashed
    stored_before: int


class Stage:
    """One step of the pipeline.

    Args:
        verb: what it does to a file, e.g. ``"fetched"``.
        doing: the same while it runs, e.g. ``"fetching"``.
        backend: what runs it, in words.
        workers: number of its tasks that can run at once.

    Attributes:
        stats: its statistics, once the pipeline runs.
    """

    def __init__(self, verb: str, doing: str, backend: str, workers: int) -> None:
        self.verb = verb
        self.doing = doing
        self.backend = backend
        self.workers = workers
        self.stats = StageStats(doing, backend)

    def busy_share(self, seconds: float) -> float:
        """Return the share of its workers' time that its tasks took, in a run of `seconds`: 0 to 1."""
        return self.stats.busy_seconds / (seconds * self.workers) if seconds else 0.0


class HybridRun:
    """One run of the job over all three backends; its counts are also right if it was interrupted.

    Args:
        job: what to do.
        store: where the results go.
    """

    def __init__(self, job: Job, store: Store) -> None:
        self.job = job
        self.store = store
        self.lost: list[Lost] = []
        self.cancelled = False
        self.most_in_flight = 0
        self.started = self.ended = 0.0
        # A crashing thread would end the program, so the doomed file needs a process even where there is no GIL.
        self._in_processes = gil_is_on() or job.doomed is not None
        self.fetching = Stage("fetched", "fetching", "coroutines", job.connections)
        self.parsing = Stage("parsed", "parsing", "processes" if self._in_processes else "threads", job.workers)
        self.storing = Stage("stored", "storing", "threads", job.threads)
        self.stages = (self.fetching, self.parsing, self.storing)

    @property
    def seconds(self) -> float:
        """Seconds from the start to the end, or until now."""
        return (self.ended or time.monotonic()) - self.started if self.started else 0.0

    def tasks(self) -> int:
        """Return the number of unfinished tasks; after the pipeline's end there must be none."""
        return sum(stage.stats.tasks() for stage in self.stages)

    async def run(self, show: Callable[[], object]) -> None:
        """Do the job; call `show` at intervals meanwhile."""
        job = self.job
        async with (
            # `verify`: loading the certificates, which HTTP needs none of, would take longer than fetching.
            httpx.AsyncClient(base_url=job.url, trust_env=False, verify=False) as client,
            ProcessPool(job.workers) as processes,
            ThreadPool(job.threads) as threads,
            anyio.create_task_group() as display,
        ):
            display.start_soon(_each, SHOW_EVERY, show)
            parse = partial(metrics.parse, doomed=job.doomed)
            pipeline = (
                Pipeline(self._paths(), "demo")
                .map(partial(fetch, client), limit=job.connections, buffer=job.connections)
                .map(parse, on=processes if self._in_processes else "cpu", chunk=1, on_error=self._lose)
                .map(self.store.add, on=threads)
            )
            self.started = time.monotonic()
            try:
                with anyio.move_on_after(job.cancel_after) as clock:
                    async with pipeline as stored:
                        self._connect_stats(pipeline)
                        async for _ in stored:
                            pass
                self.cancelled = clock.cancelled_caught
            finally:
                self.ended = time.monotonic()
                display.cancel_scope.cancel()

    def _connect_stats(self, pipeline: Pipeline[Any]) -> None:
        for stage, stats in zip(self.stages, pipeline.stats, strict=True):
            stage.stats = stats

    def _paths(self) -> Iterator[str]:
        for begun, path in enumerate(self.job.paths, 1):
            in_flight = begun - self.storing.stats.finished - len(self.lost)
            self.most_in_flight = max(self.most_in_flight, in_flight)
            yield path

    def _lose(self, failure: Failure) -> None:
        """Record the file whose worker was killed; the pipeline continues without it."""
        if not isinstance(failure.error, WorkerCrashed) or not self.job.doomed:
            raise failure.error
        self.lost.append(Lost(failure.item.path, failure.error, self.storing.stats.finished))


async def fetch(client: httpx.AsyncClient, path: str) -> metrics.Page:
    """Get one file from the server."""
    response = await client.get(f"/{quote(path)}")
    return metrics.Page(path, response.raise_for_status().content)


async def _each(seconds: float, call: Callable[[], object]) -> None:
    while True:
        call()
        await anyio.sleep(seconds)


class SequentialRun:
    """One run of the job without concurrency: the same server, the same functions, another database.

    Attributes:
        done: number of files so far.
        fetch_seconds: time spent on fetching; `parse_seconds` and `store_seconds` likewise.
    """

    def __init__(self, paths: tuple[str, ...], url: str, store: Store) -> None:
        self.paths = paths
        self.url = url
        self.store = store
        self.done = 0
        self.seconds = self.fetch_seconds = self.parse_seconds = self.store_seconds = 0.0

    def run(self, show: Callable[[], object]) -> None:
        """Do the job; call `show` after each file."""
        with frozen_garbage():  # a worker's garbage collector does not scan this program's objects either
            self._run(show)

    def _run(self, show: Callable[[], object]) -> None:
        clock = time.monotonic
        with httpx.Client(base_url=self.url, trust_env=False, verify=False) as client:
            started = clock()
            for path in self.paths:
                begun = clock()
                source = client.get(f"/{quote(path)}").raise_for_status().content
                fetched = clock()
                measured = metrics.measure(path, source)
                parsed = clock()
                self.store.add(measured)
                stored = clock()
                self.fetch_seconds += fetched - begun
                self.parse_seconds += parsed - fetched
                self.store_seconds += stored - parsed
                self.done += 1
                show()
            self.seconds = clock() - started
