"""What the sessions of an epoch share: its seed, its pools, the journal, and what was found."""

from __future__ import annotations

import mmap
import os
import random
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from . import jobs
from .kinds import Kind, quick_of

TOKENS = 1 << 20
SHOWN = 5
"""Number of violations of one epoch that are printed; the rest are only counted."""


class Slot:
    """A pool that sessions share for a while; if it `renews`, it starts a new worker every few tasks."""

    def __init__(self, pool: Any, renews: bool = False) -> None:
        self.pool = pool
        self.renews = renews
        self.users = 0


class Finished(NamedTuple):
    """A task at the end of its scope: its token, how often it had started and ended, its kind."""

    token: int
    started: int
    ended: int
    kind: Kind


class EpochState:
    """The state of one epoch; sessions on several loops use it at once.

    Attributes:
        journal: two bytes for each task; see `jobs`.
        path: the journal's file.
        killed: process ids of the workers that were killed from outside.
        shares_workers: coroutine tasks may fail with another task in the same worker.
        violations: breaches of the law.
    """

    journal: mmap.mmap
    path: str

    def __init__(self, seed: str, kinds: tuple[Kind, ...], bursts: float) -> None:
        self.seed = seed
        self.kinds = kinds
        self.quick_kinds = quick_of(kinds)
        self.bursts = bursts
        self.shares_workers = any(kind.coroutine and (kind.crashes or kind.deaf) for kind in kinds)
        self.outcomes: Counter[str] = Counter()
        self.violations: list[str] = []
        self.killed: set[int] = set()
        self.kills = 0
        self.spawned = 0
        self.finished: list[Finished] = []
        self.process_slots: list[Slot] = []
        self.thread_slots: list[Slot] = []
        self._lock = threading.Lock()

    def new_token(self) -> int:
        """Number a new task."""
        with self._lock:
            self.spawned += 1
            return self.spawned

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] += 1

    def violation(self, text: str) -> None:
        self.violations.append(text)
        if len(self.violations) <= SHOWN:
            print(f"VIOLATION (epoch seed {self.seed}): {text}", flush=True)

    def add_finished(self, tasks: list[Finished]) -> None:
        with self._lock:
            self.finished += tasks

    def take_slot(self, slots: list[Slot], rng: random.Random, burst: bool) -> Slot | None:
        """Return a pool for a session; ``None`` stands for the default pool."""
        if not slots or rng.random() < 0.4:
            return None
        slot = rng.choice(slots)
        if burst and slot.renews:  # thousands of worker starts take minutes and test nothing new
            return None
        slot.users += 1
        return slot

    def runs_of(self, token: int) -> tuple[int, int]:
        """Return how often a task started and ended."""
        return self.journal[2 * token], self.journal[2 * token + 1]

    @contextmanager
    def open_journal(self) -> Iterator[None]:
        handle, self.path = tempfile.mkstemp(prefix="unified_exec-soak-")
        try:
            os.ftruncate(handle, 2 * TOKENS)
            self.journal = mmap.mmap(handle, 0)
            yield
        finally:
            self.journal.close()
            jobs.forget_journal()
            os.close(handle)
            os.unlink(self.path)
