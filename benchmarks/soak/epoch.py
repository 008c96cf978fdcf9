"""One epoch: an event loop (or two at once), pools that come and go, sessions, and somebody who kills workers."""

from __future__ import annotations

import mmap
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from unified_exec import ProcessPool, ThreadPool

from ..engines.base import on_loop
from . import jobs
from .kinds import Kind
from .session import Session, quick_of
from .verdicts import counts, still_running

TOKENS = 1 << 20
TASKS_PER_KILL = 100
"""At least, so that a machine on which starts take long gets something done."""
SHOWN = 5
"""Violations of one epoch that are printed; the rest are counted."""
STARTING = 3.0
"""Seconds for which a worker counts as starting. Three that die so, one after another, are an error by design."""


class Slot:
    """A pool that sessions share for a while; if it `renews`, it starts a worker for each few tasks."""

    def __init__(self, pool: Any, renews: bool = False) -> None:
        self.pool = pool
        self.renews = renews
        self.users = 0


class Epoch:
    """What the sessions of one epoch share.

    Attributes:
        journal: two bytes for each task; see `jobs`.
        killed: pids of the workers that were killed from outside.
        shares_workers: coroutine tasks may be hit by the end of a neighbour.
        violations: what the law forbids and has happened.
        running: sessions that have not ended.
    """

    def __init__(
        self, seed: str, loops: tuple[str, ...], kinds: tuple[Kind, ...], tasks: int, kill: float, bursts: float
    ) -> None:
        self.seed = seed
        self.loops = loops
        self.kinds = kinds
        self.quick_kinds = quick_of(kinds)
        self.tasks = tasks
        self.kill_every = kill
        self.bursts = bursts
        self.rng = random.Random(seed)
        self.shares_workers = any(kind.coroutine and (kind.crashes or kind.deaf) for kind in kinds)
        self.outcomes: Counter[str] = Counter()
        self.violations: list[str] = []
        self.killed: set[int] = set()
        self.kills = 0
        self.sessions = 0
        self.running: set[Session] = set()
        self.beats: dict[str, float] = {}
        self.process_slots: list[Slot] = []
        self.thread_slots: list[Slot] = []
        self.over = threading.Event()
        self._tokens = 0
        self._ended: list[tuple[int, int, int, Kind]] = []
        self._lock = threading.Lock()

    # -- what sessions call

    def new_token(self) -> int:
        with self._lock:
            self._tokens += 1
            return self._tokens

    def count(self, what: str) -> None:
        self.outcomes[what] += 1

    def violation(self, text: str) -> None:
        self.violations.append(text)
        if len(self.violations) <= SHOWN:
            print(f"VIOLATION (epoch seed {self.seed}): {text}", flush=True)

    def session_over(self, ended: list[tuple[int, int, int, Kind]]) -> None:
        with self._lock:
            self._ended += ended

    def take(self, slots: list[Slot], rng: random.Random, burst: bool) -> Slot | None:
        """A pool for a session; ``None`` stands for the default one."""
        if not slots or rng.random() < 0.4:
            return None
        slot = rng.choice(slots)
        if burst and slot.renews:  # thousands of starts, for minutes, with nothing new in them
            return None
        slot.users += 1
        return slot

    @property
    def spawned(self) -> int:
        return self._tokens

    # -- the epoch

    def run(self) -> None:
        """Run the epoch to its end, on all of its loops at once."""
        with self._open_journal():
            killer = threading.Thread(target=self._kill_now_and_then, name="soak killer", daemon=True)
            killer.start()
            others = [
                threading.Thread(target=self._on_one_loop, args=(loop, index), name=f"soak {loop}", daemon=True)
                for index, loop in enumerate(self.loops[1:], 1)
            ]
            for thread in others:
                thread.start()
            try:
                self._on_one_loop(self.loops[0], 0)
                for thread in others:
                    thread.join()
            finally:
                self.over.set()
                killer.join()
            self._close_pools()
            time.sleep(0.05)
            for fault in still_running(self._ended, self.journal):
                self.violation(fault)

    @contextmanager
    def _open_journal(self) -> Iterator[None]:
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

    def _on_one_loop(self, loop: str, index: int) -> None:
        try:
            on_loop(loop, self._serve, f"{loop} {index}", index)
        except BaseException as error:
            import traceback

            self.violation(f"the loop ended with {error!r}\n{''.join(traceback.format_exception(error))}")

    async def _serve(self, name: str, index: int) -> None:
        rng = random.Random(f"{self.seed}/loop {index}")
        async with anyio.create_task_group() as group:
            group.start_soon(self._beat, name)  # to the very end: closing a pool waits for the other loop's sessions
            async with anyio.create_task_group() as pools:
                pools.start_soon(self._change_pools, rng)
                async with anyio.create_task_group() as drivers:
                    for _ in range(rng.randint(1, 6)):
                        drivers.start_soon(self._drive)
                pools.cancel_scope.cancel()
            group.cancel_scope.cancel()
        self.beats.pop(name, None)

    async def _drive(self) -> None:
        while self.spawned < self.tasks and not self.over.is_set():
            with self._lock:
                self.sessions += 1
                session = Session(self, self.sessions)
            self.running.add(session)
            try:
                await session.run()
            finally:
                self.running.discard(session)

    async def _beat(self, name: str) -> None:
        while True:
            self.beats[name] = time.monotonic()
            await anyio.sleep(0.1)

    # -- pools that come and go

    async def _change_pools(self, rng: random.Random) -> None:
        """Open pools of random size and close them again, also while they are in use.

        A pool that is closed under a session takes no more tasks and lets those it has run to their end.
        """
        async with anyio.create_task_group() as closing:
            while True:
                slots, make = rng.choice(
                    ((self.process_slots, _random_processes), (self.thread_slots, _random_threads))
                )
                if len(slots) < 2:
                    slots.append(make(rng))
                elif rng.random() < 0.7:
                    closing.start_soon(self._close_pool, slots.pop(rng.randrange(len(slots))), rng.random() < 0.5)
                await anyio.sleep(rng.uniform(0.05, 0.5))

    async def _close_pool(self, slot: Slot, in_use: bool) -> None:
        # The end of the epoch must not cut this short: what still runs would fail with the pool.
        with anyio.CancelScope(shield=True):
            while slot.users and not in_use:  # noqa: ASYNC110 - looking is all there is
                await anyio.sleep(0.005)
            await slot.pool.aclose()

    def _close_pools(self) -> None:
        for slot in (*self.process_slots, *self.thread_slots):
            slot.pool.close()
        self.process_slots.clear()
        self.thread_slots.clear()

    # -- killing

    def _kill_now_and_then(self) -> None:
        if not self.kill_every:
            return
        rng = random.Random(f"{self.seed}/killer")
        spawned = 0
        while not self.over.wait(rng.expovariate(1 / self.kill_every)):
            if self.spawned - spawned < TASKS_PER_KILL:
                continue
            spawned = self.spawned
            up = [pid for pid, age in _workers() if age > STARTING or rng.random() < 0.1]
            if up:
                pid = rng.choice(up)
                self.killed.add(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                    self.kills += 1
                except ProcessLookupError:
                    pass

    def worker_of(self, token: int) -> tuple[int, int]:
        return counts(self.journal, token)


def _workers() -> Iterator[tuple[int, float]]:
    """The worker processes of this process and their ages in seconds, also of those that are still starting."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    for task in os.listdir("/proc/self/task"):
        try:
            children = Path(f"/proc/self/task/{task}/children").read_text().split()
        except OSError:
            continue
        for child in children:
            try:
                if b"unified_exec._worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    ticks = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[19])
                    yield int(child), now - ticks / os.sysconf("SC_CLK_TCK")
            except OSError:
                pass


def _random_processes(rng: random.Random) -> Slot:
    most = rng.choice((None, None, 1, 7, 100))
    pool = ProcessPool(
        rng.randint(1, 3),
        grace=rng.choice((0.05, 0.2, 0.5)),
        max_tasks_per_worker=most,
        idle_timeout=rng.choice((None, 60.0, 0.5, 0.05)),
        max_worker_memory=rng.choice((None, None, None, 30 << 20)),
    )
    return Slot(pool, renews=most is not None and most < 100)


def _random_threads(rng: random.Random) -> Slot:
    return Slot(ThreadPool(rng.choice((1, 2, 5, 40)), interruptible=rng.random() < 0.2))
