"""The same job one after another, in this process: what the hybrid run is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote

import httpx

from . import metrics
from .store import Store


class SequentialRun:
    """One run of the job without any concurrency: the same server, the same functions, an own database.

    Attributes:
        done: files so far.
        fetch_seconds: time spent on fetching, and likewise for parsing and storing.
    """

    def __init__(self, paths: tuple[str, ...], url: str, store: Store) -> None:
        self.paths = paths
        self.url = url
        self.store = store
        self.done = 0
        self.seconds = self.fetch_seconds = self.parse_seconds = self.store_seconds = 0.0

    def run(self, show: Callable[[], object]) -> None:
        """Do the job; call `show` after each file."""
        clock = time.monotonic
        with httpx.Client(base_url=self.url, trust_env=False) as client:
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
