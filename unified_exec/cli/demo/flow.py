"""The hybrid run: every file goes from a coroutine over a process to a thread, all in one pipeline."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import anyio
import httpx

from unified_exec import Failure, Pipeline, ProcessPool, ThreadPool, WorkerCrashed

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
        self.lost: list[Lost] = []
        self.cancelled = False
        self.most_in_flight = 0
        self.started = self.ended = 0.0
        # A thread that kills itself takes the program along, so what is to crash must be a process.
        self._in_processes = has_gil() or job.doomed is not None
        self.fetching = Stage("fetched", "fetching", "coroutines", job.connections)
        self.parsing = Stage("parsed", "parsing", "processes" if self._in_processes else "threads", job.workers)
        self.storing = Stage("stored", "storing", "threads", job.threads)
        self.stages = (self.fetching, self.parsing, self.storing)

    @property
    def seconds(self) -> float:
        """Seconds from the first file to the last, or until now."""
        return (self.ended or time.monotonic()) - self.started if self.started else 0.0

    def tasks(self) -> int:
        """How many tasks have not come to their end; a pipeline that was left promises none."""
        return sum(stage.stats.tasks() for stage in self.stages)

    async def run(self, show: Callable[[], object]) -> None:
        """Do the job; call `show` now and then meanwhile."""
        job = self.job
        async with (
            httpx.AsyncClient(base_url=job.url, trust_env=False) as client,
            ProcessPool(job.workers) as processes,
            ThreadPool(job.threads) as threads,
            anyio.create_task_group() as beside,
        ):
            beside.start_soon(_each, SHOW_EVERY, show)
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
                        self._watch(pipeline)
                        async for _ in stored:
                            pass
                self.cancelled = clock.cancelled_caught
            finally:
                self.ended = time.monotonic()
                beside.cancel_scope.cancel()

    def _watch(self, pipeline: Pipeline[Any]) -> None:
        for stage, stats in zip(self.stages, pipeline.stats, strict=True):
            stage.stats = stats

    def _paths(self) -> Iterator[str]:
        for begun, path in enumerate(self.job.paths, 1):
            in_flight = begun - self.storing.stats.finished - len(self.lost)
            self.most_in_flight = max(self.most_in_flight, in_flight)
            yield path

    def _lose(self, failure: Failure) -> None:
        """The dead letter office of the crash: the pipeline goes on without that file."""
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


def has_gil() -> bool:
    """Whether this interpreter runs one thread at a time, so that ``on="cpu"`` means processes."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())
