"""What must not happen during a soak run: hangs, leaks, growing memory."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import sys
import threading
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from tests.leaks import KINDS, mappings, who_holds
from tests.waiting import until
from unified_exec import TaskHandle
from unified_exec.abc import Backend

from ..engines.engine import on_loop
from .epoch import Epoch
from .session import Session

HANGS = 60.0
"""Seconds after which a session without progress, or an unresponsive loop, counts as hanging."""
GROWTH = 32 << 20
"""Bytes by which the memory of the process may grow; see `Baseline.growth`."""


class Watchdog:
    """Ends the program as soon as something hangs, with the state of what hangs and the stacks of all threads."""

    def __init__(self, seconds: float = HANGS) -> None:
        self.seconds = seconds
        self.epoch: Epoch | None = None
        # Weak: sessions of a finished epoch, and the results in them, must not be kept alive until the next check.
        self._moved: WeakKeyDictionary[Session, tuple[tuple[int, int], float]] = WeakKeyDictionary()
        threading.Thread(target=self._watch, name="soak watchdog", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            # If this thread itself is starved, faulthandler's C thread still works.
            faulthandler.dump_traceback_later(2 * self.seconds, exit=True)
            epoch = self.epoch
            if epoch is None:
                continue
            now = time.monotonic()
            hanging = self._hanging(epoch, now)
            silent = [name for name, beat in list(epoch.beats.items()) if now - beat > self.seconds]
            if hanging or silent:
                self._report(epoch, hanging, silent)
                sys.stdout.flush()
                os._exit(4)

    def _hanging(self, epoch: Epoch, now: float) -> list[Session]:
        """Return the sessions in which no task was spawned and none has ended for too long."""
        moved: WeakKeyDictionary[Session, tuple[tuple[int, int], float]] = WeakKeyDictionary()
        for session in list(epoch.running):
            at = (len(session.tasks), sum(1 for task in list(session.tasks) if task.handle.done()))
            before, since = self._moved.get(session, (at, now))
            moved[session] = (at, since if at == before else now)
        self._moved = moved
        return [session for session, (_, since) in moved.items() if now - since > self.seconds]

    def _report(self, epoch: Epoch, hanging: list[Session], silent: list[str]) -> None:
        print(f"HANG (epoch seed {epoch.state.seed}): unresponsive loops: {silent or 'none'}")
        for session in hanging:
            print(f"  {session!r}, leaving {session.leaving}, stopped {session.stopped}")
            for task in session.tasks:
                handle = task.handle
                if not handle.done():
                    place = handle.location
                    print(
                        f"    {handle!r} kind {task.kind.name!r} cancel_requested {task.cancel_requested} "
                        f"reason {handle.stop_reason!r} worker {handle.worker} place {place!r} "
                        f"running {place and place.is_running(handle)} journal {epoch.state.runs_of(task.token)}"
                    )
        for backend in [thing for thing in gc.get_objects() if isinstance(thing, Backend)]:
            print(f"  {backend!r}")
        for line in _workers():
            print(f"  {line}")
        for loop in [thing for thing in gc.get_objects() if isinstance(thing, asyncio.AbstractEventLoop)]:
            if loop.is_running():
                for waiting in asyncio.all_tasks(loop):
                    waiting.print_stack(limit=6, file=sys.stdout)
        sys.stdout.flush()
        faulthandler.dump_traceback(file=sys.stdout, all_threads=True)


def _handles() -> int:
    gc.collect()
    return sum(1 for thing in gc.get_objects() if type(thing) is TaskHandle)


def _workers() -> list[str]:
    """Describe every worker object that exists and what holds it, to find out why something hangs or was left."""
    found = []
    for thing in gc.get_objects():
        if type(thing).__name__ == "Worker" and hasattr(thing, "connection"):
            holders = {type(holder).__name__ for holder in gc.get_referrers(thing)} - {"list_iterator", "frame"}
            state = f"reaped {thing.reaped}, {thing.connection.state}, has {list(thing.tasks)}"
            found.append(f"worker object {thing.pid}, {state}, held by {sorted(holders)}")
    return found


async def _nothing() -> None:
    pass


class Baseline:
    """What existed before the first epoch: after each epoch nothing else may exist."""

    def __init__(self, loops: Sequence[str]) -> None:
        for loop in loops:
            on_loop(loop, _nothing)  # libuv keeps a pipe for signals for the life of the process
        gc.collect()
        self._before: list[dict[Hashable, Any]] = [kind.look() for kind in KINDS]
        self.memory: list[tuple[int, int]] = []

    def left(self, patience: float = 15.0) -> list[str]:
        """Return what is left behind, and what holds it, after giving the system time to release it."""

        def new() -> bool:
            gc.collect()  # each time: objects that end later may have held a cycle until now
            if any(kind.look().keys() - old.keys() for kind, old in zip(KINDS, self._before, strict=True)):
                return True
            return _handles() > 0

        left = []
        if not until(lambda: not new(), patience):
            for kind, old in zip(KINDS, self._before, strict=True):
                left += [kind.describe(thing) for key, thing in kind.look().items() if key not in old]
                if kind.look is mappings:
                    left += who_holds(kind.look().keys() - old.keys())
            left.append(f"{_handles()} task handles")
        if left:
            left += _workers()
        return left

    def record_memory(self, tasks: int) -> int:
        """Record and return the resident memory of this process after this number of tasks."""
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self.memory.append((tasks, resident))
        return resident

    def growth(self) -> tuple[float, str | None]:
        """Return the bytes per task (the slope of a straight line), and the fault if the memory has grown.

        The first third counts as warm-up. Of the rest, the minimum of the first half is compared with that of the
        second half: memory that was needed at a peak and released again does not count as growth.
        """
        calm = self.memory[len(self.memory) // 3 :]
        if len(calm) < 4:
            return 0.0, None
        slope = _slope(calm)
        half = len(calm) // 2
        early, late = (min(memory for _, memory in part) for part in (calm[:half], calm[half:]))
        if late - early > GROWTH:
            return slope, f"memory grew from {early >> 20} to {late >> 20} MiB ({slope:.1f} bytes for each task)"
        return slope, None


def _slope(points: list[tuple[int, int]]) -> float:
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0.0
