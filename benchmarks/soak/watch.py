"""What must not happen in the meantime: hanging, leaking, growing."""

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

from ..engines.base import on_loop
from .epoch import Epoch
from .session import Session

HANGS = 60.0
"""Seconds after which a session in which nothing happens, or a loop without a beat, counts as hanging."""
GROWTH = 32 << 20
"""Bytes by which the process may grow from its first calm moments to its last."""


class Watchdog:
    """Ends the program, with the stacks of all threads and the state of what hangs, once something does."""

    def __init__(self, seconds: float = HANGS) -> None:
        self.seconds = seconds
        self.epoch: Epoch | None = None
        # Weak: a session of an epoch that is over, and the results in it, must not live until the next look.
        self._moved: WeakKeyDictionary[Session, tuple[tuple[int, int], float]] = WeakKeyDictionary()
        threading.Thread(target=self._watch, name="soak watchdog", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            # Should this thread itself get no turn any more: the C code behind it does.
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
        """The sessions in which nothing was spawned and nothing has ended for too long."""
        moved: WeakKeyDictionary[Session, tuple[tuple[int, int], float]] = WeakKeyDictionary()
        for session in list(epoch.running):
            at = (len(session.tasks), sum(1 for task in list(session.tasks) if task.handle.done()))
            before, since = self._moved.get(session, (at, now))
            moved[session] = (at, since if at == before else now)
        self._moved = moved
        return [session for session, (_, since) in moved.items() if now - since > self.seconds]

    def _report(self, epoch: Epoch, hanging: list[Session], silent: list[str]) -> None:
        print(f"HANG (epoch seed {epoch.seed}): loops without a beat: {silent or 'none'}")
        for session in hanging:
            print(f"  {session!r}, leaving {session.leaving}, stopped {session.stopped}")
            for task in session.tasks:
                handle = task.handle
                if not handle.done():
                    place = handle.location
                    print(
                        f"    {handle!r} kind {task.kind.name!r} asked {task.asked} reason {handle.stop_reason!r} "
                        f"worker {handle.worker} place {place!r} running {place and place.is_running(handle)} "
                        f"journal {epoch.worker_of(task.token)}"
                    )
        for pool in {id(pool): pool for pool in _pools()}.values():
            print(f"  {pool!r}")
            for lane in list(getattr(pool, "lanes", {}).values()):
                for group in getattr(lane, "groups", ()):
                    print(f"    group {group.kind} queued {len(group.queue)} idle {len(group.idle)}")
                    for worker in group.workers:
                        state = f"{_state(worker.pid)} {worker.connection.state}"
                        print(f"      worker {worker.pid} {state} has {list(worker.tasks)}")
        for loop in [thing for thing in gc.get_objects() if isinstance(thing, asyncio.AbstractEventLoop)]:
            if loop.is_running():
                for waiting in asyncio.all_tasks(loop):
                    waiting.print_stack(limit=6, file=sys.stdout)
        sys.stdout.flush()
        faulthandler.dump_traceback(file=sys.stdout, all_threads=True)


def _pools() -> list[Any]:
    from unified_exec._pools.process import worker_registry as processes
    from unified_exec._pools.thread import pool as threads

    return [*processes._registries, *threads._pools]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def _handles() -> int:
    gc.collect()
    return sum(1 for thing in gc.get_objects() if type(thing) is TaskHandle)


def _workers_that_live() -> list[str]:
    """Every worker object there still is, and who holds it: helps to find out why something was left."""
    found = []
    for thing in gc.get_objects():
        if type(thing).__name__ == "Worker" and hasattr(thing, "reaped"):
            holders = {type(holder).__name__ for holder in gc.get_referrers(thing)} - {"list_iterator", "frame"}
            state = f"reaped {thing.reaped}, {thing.connection.state}"
            found.append(f"worker object {thing.pid}, {state}, held by {sorted(holders)}")
    return found


async def _nothing() -> None:
    pass


class Ground:
    """What was there before the first epoch: after each one nothing else may be there."""

    def __init__(self, loops: Sequence[str]) -> None:
        for loop in loops:
            on_loop(loop, _nothing)  # libuv keeps a pipe for its signals as long as the process lives
        gc.collect()
        self._before: list[dict[Hashable, Any]] = [kind.look() for kind in KINDS]
        self.memory: list[tuple[int, int]] = []

    def left(self, patience: float = 15.0) -> list[str]:
        """What is left behind, and who holds it, once the system had its time to end it."""

        def new() -> bool:
            gc.collect()  # with each look: what ends in its own time may have held a cycle until now
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
            left += _workers_that_live()
        return left

    def weigh(self, tasks: int) -> int:
        """Note the memory of this process after so many tasks."""
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self.memory.append((tasks, resident))
        return resident

    def growth(self) -> tuple[float, str | None]:
        """Bytes for each task (the slope of a straight line), and the fault if the process has really grown.

        The first third is warming up. After that the least of the first half is compared with the least of the last:
        what was needed at the worst moment and given back is no growth.
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
