"""Random kills of processes that hold, release and wait for locks, with a check of every section.

A worker forks participants and kills them at random instants; nobody is told of a death, so a waiter finds out. Some
participants are held up around each touch of the pipe and each look at the gate: what happens once in a million runs
then happens every second.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

import anyio

from unified_exec import Collect, Lock, ProcessPool, Semaphore, SharedValue, TaskScope
from unified_exec._platform import posix
from unified_exec._sync.locks import shared_permits
from unified_exec._sync.shared.seats import GATE

PATIENCE = 30.0
"""Seconds without a section after which the lock counts as hung."""
PARTICIPANTS = 5


class SlowOs:
    """Stands in for `os` and holds its process up around reads and writes, one time in 250."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        call = getattr(os, name)
        if name not in ("read", "write"):
            return call

        def slow(*args: Any) -> Any:
            self._hold_up()
            try:
                return call(*args)
            finally:
                self._hold_up()

        return slow

    def _hold_up(self) -> None:
        if self._rng.random() < 0.004:
            time.sleep(self._rng.random() * 0.004)


class SlowWords:
    """Stands in for the words of a page and holds its process up after a look at the gate."""

    def __init__(self, words: Any, rng: random.Random) -> None:
        self._words = words
        self._rng = rng

    def __getitem__(self, at: Any) -> Any:
        found = self._words[at]
        if at == GATE and self._rng.random() < 0.002:
            time.sleep(self._rng.random() * 0.004)
        return found

    def __setitem__(self, at: Any, value: Any) -> None:
        self._words[at] = value


Values = tuple["SharedValue[int]", "SharedValue[int]", "SharedValue[int]", "SharedValue[int]"]


def _participate(lock: Any, permits: int, values: Values, seed: int, slow: bool) -> None:
    """Enter sections until killed: at most `permits` processes may be in one, and those that died there count."""
    inside, wrong, done, told = values
    rng, mine = random.Random(seed), os.getpid()
    if slow:
        shared_permits.os = SlowOs(rng)  # type: ignore[assignment]
        lock._shared.words = SlowWords(lock._shared.words, rng)
    while True:
        with lock:
            if permits == 1:
                told.add(getattr(lock, "abandoned", 0))
                inside.set(mine)
                for _ in range(rng.randrange(60)):
                    pass
                wrong.add(inside.get() != mine)
            done.add(1)


def storm(lock: Any, permits: int, values: Values, kills: int, seed: int, slow: bool) -> float:
    """Fork participants, kill `kills` of them one by one; returns the longest wait for the next section.

    Raises:
        RuntimeError: no section was entered for `PATIENCE` seconds.
    """
    rng, done, worst = random.Random(seed), values[2], 0.0
    children: list[int] = []
    sys.stderr.flush()
    try:
        for kill in range(kills):
            while len(children) < PARTICIPANTS:
                pid = os.fork()
                if not pid:
                    try:
                        os.close(2)  # each abandoned lock logs a warning
                        _participate(lock, permits, values, seed + kill + len(children), slow)
                    finally:
                        os._exit(1)
                children.append(pid)
            began, reached = time.monotonic(), done.get() + 5
            while done.get() < reached:
                time.sleep(0.0005)
                if time.monotonic() - began > PATIENCE:
                    raise RuntimeError(f"hung after {kill} kills, seed {seed}, slow {slow}, {lock!r}")
            worst = max(worst, time.monotonic() - began)
            time.sleep(rng.random() * 0.008)
            pid = children.pop(rng.randrange(len(children)))
            os.kill(pid, signal.SIGKILL)
            if posix.PLAIN or rng.random() < 0.5:
                os.waitpid(pid, 0)  # otherwise a zombie, which the others must take for dead; /proc tells them
    finally:
        end_children(children)
    return worst


def end_children(pids: Iterable[int]) -> None:
    """Kill these children, and reap all there are."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


async def run(kills: int, seed: int, per_round: int = 50) -> str:
    """Run storms until `kills` participants were killed; returns the figures.

    Raises:
        AssertionError: two owners, or a permit was lost or made.
        RuntimeError: something hung.
    """
    rng, killed, sections, abandoned, worst = random.Random(seed), 0, 0, 0, 0.0
    async with ProcessPool(1) as pool:
        while killed < kills:
            permits, number = rng.randint(1, 3), min(per_round, kills - killed)
            lock: Any = Lock(name="storm") if permits == 1 else Semaphore(permits, name="storm")
            values: Values = (SharedValue(0), SharedValue(0), SharedValue(0), SharedValue(0))
            async with TaskScope(policy=Collect()) as scope:
                args = lock, permits, values, number, rng.randrange(1 << 30), rng.random() < 0.5
                worst = max(worst, await scope.spawn(storm, *args, on=pool))
            assert not values[1].get(), f"two owners, seed {seed}"
            with anyio.fail_after(PATIENCE):
                for _ in range(permits):
                    await lock.acquire()
            assert lock.locked(), f"a permit was made, seed {seed}"
            for _ in range(permits):
                lock.release()
            killed, sections, abandoned = killed + number, sections + values[2].get(), abandoned + values[3].get()
    return (
        f"locks: seed {seed}, {killed:,} kills, {sections:,} sections: two owners 0, permits lost or made 0, hung 0; "
        f"{abandoned:,} abandoned and told; longest wait for the next section {worst:.2f} s"
    )
