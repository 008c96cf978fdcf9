"""One epoch: one or two event loops with sessions, pools that open and close, and a thread that kills workers."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import anyio

from unified_exec import ProcessPool, ThreadPool

from ..engines.engine import on_loop
from .epoch_state import EpochState, Slot
from .session import Session
from .verdicts import still_running

TASKS_PER_KILL = 100
"""Minimum between two kills, so that work gets done even on a machine where workers start slowly."""
STARTING = 3.0
"""Seconds for which a worker counts as starting. Three in a row that die while starting are an error by design."""


class Epoch:
    """Runs the sessions of one epoch.

    Args:
        state: what the sessions share.
        loops: the event loops, each in a thread of its own.
        tasks: number of tasks after which no new session starts.
        kill_every: mean seconds between kills of workers; 0 for none.

    Attributes:
        running: sessions that have not ended.
        beats: when each loop was last known to be responsive.
    """

    def __init__(self, state: EpochState, loops: tuple[str, ...], tasks: int, kill_every: float) -> None:
        self.state = state
        self.loops = loops
        self.tasks = tasks
        self.kill_every = kill_every
        self.sessions = 0
        self.running: set[Session] = set()
        self.beats: dict[str, float] = {}
        self.over = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Run the epoch to its end, on all of its loops at once."""
        with self.state.open_journal():
            killer = threading.Thread(target=self._kill_workers, name="soak killer", daemon=True)
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
            for fault in still_running(self.state):
                self.state.violation(fault)

    def _on_one_loop(self, loop: str, index: int) -> None:
        try:
            on_loop(loop, self._serve, f"{loop} {index}", index)
        except BaseException as error:
            trace = "".join(traceback.format_exception(error))
            self.state.violation(f"the loop ended with {error!r}\n{trace}")

    async def _serve(self, name: str, index: int) -> None:
        rng = random.Random(f"{self.state.seed}/loop {index}")
        async with anyio.create_task_group() as group:
            group.start_soon(self._beat, name)  # until the very end: closing a pool waits for the other loop's sessions
            async with anyio.create_task_group() as pools:
                pools.start_soon(self._change_pools, rng)
                async with anyio.create_task_group() as drivers:
                    for _ in range(rng.randint(1, 6)):
                        drivers.start_soon(self._drive)
                pools.cancel_scope.cancel()
            group.cancel_scope.cancel()
        self.beats.pop(name, None)

    async def _drive(self) -> None:
        while self.state.spawned < self.tasks and not self.over.is_set():
            with self._lock:
                self.sessions += 1
                session = Session(self.state, self.sessions)
            self.running.add(session)
            try:
                await session.run()
            finally:
                self.running.discard(session)

    async def _beat(self, name: str) -> None:
        while True:
            self.beats[name] = time.monotonic()
            await anyio.sleep(0.1)

    # -- pools that open and close

    async def _change_pools(self, rng: random.Random) -> None:
        """Open pools of random size and close them again, also while they are in use.

        A pool that is closed under a session accepts no more tasks and finishes those it has.
        """
        state = self.state
        async with anyio.create_task_group() as closing:
            while True:
                slots, make = rng.choice(
                    ((state.process_slots, _random_processes), (state.thread_slots, _random_threads))
                )
                if len(slots) < 2:
                    slots.append(make(rng))
                elif rng.random() < 0.7:
                    closing.start_soon(self._close_pool, slots.pop(rng.randrange(len(slots))), rng.random() < 0.5)
                await anyio.sleep(rng.uniform(0.05, 0.5))

    async def _close_pool(self, slot: Slot, in_use: bool) -> None:
        # The end of the epoch must not cancel this: tasks that still run would fail with the pool.
        with anyio.CancelScope(shield=True):
            while slot.users and not in_use:  # noqa: ASYNC110 - there is no event to wait for
                await anyio.sleep(0.005)
            await slot.pool.aclose()

    def _close_pools(self) -> None:
        for slots in (self.state.process_slots, self.state.thread_slots):
            for slot in slots:
                slot.pool.close()
            slots.clear()

    # -- killing

    def _kill_workers(self) -> None:
        if not self.kill_every:
            return
        state = self.state
        rng = random.Random(f"{state.seed}/killer")
        spawned = 0
        while not self.over.wait(rng.expovariate(1 / self.kill_every)):
            if state.spawned - spawned < TASKS_PER_KILL:
                continue
            spawned = state.spawned
            up = [pid for pid, age in _workers() if age > STARTING or rng.random() < 0.1]
            if up:
                pid = rng.choice(up)
                state.killed.add(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                    state.kills += 1
                except ProcessLookupError:
                    pass


def _workers() -> Iterator[tuple[int, float]]:
    """Yield the worker processes of this process and their ages in seconds, including those that are still starting."""
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
