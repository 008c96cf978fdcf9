"""Recording a run: what the trace and the report are made of."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..._pools.thread.pool import thread_pools
from ..live.pools import describe_pools
from ..live.protocol import command_line
from ..live.samples import usage
from ..recording.ring import Batch, ring
from ..recording.schema import TYPES, Row
from .threads import ThreadReader, Used

SAMPLE_SECONDS = 0.25
LOOK_SECONDS = 0.02
LOOKS_SHARE = 100
"""A look at the threads holds the GIL: after it comes a pause of so many times its length."""
LOOKS_MAX = 50_000
"""Looks that one recording keeps. With more, every second one is dropped, and they are taken half as often."""
ROWS_MAX = 3_000_000
"""Events that one recording keeps; later ones are counted as dropped."""
FIELDS_MAX = 20 * ROWS_MAX
"""Fields of events that are kept until the recording ends."""


@dataclass
class Sample:
    """What the pools and processes used at one moment.

    Attributes:
        at: instant of `time.monotonic`.
        pools: as in the tree of `observe.look`.
        memory: resident bytes of the program itself.
        seconds: processor time of the program itself so far.
        stalled: seconds for which the threads of each worker waited for a core so far, by process id; empty where the
            system does not tell.
        threads: what the threads of the program used so far, by ident.
        idle: seconds for which cores of the machine had nothing to do so far; ``None`` where the system does not tell.
    """

    at: float
    pools: list[dict[str, Any]]
    memory: int = 0
    seconds: float = 0.0
    stalled: dict[int, float] = field(default_factory=dict)
    threads: dict[int, Used] = field(default_factory=dict)
    idle: float | None = None


class Look(NamedTuple):
    """What the threads of the program did at the instant `at`, by ident; see `threads`."""

    at: float
    states: dict[int, str]


class Wait(NamedTuple):
    """A wait of a task for a limit, a lock or a channel; see `schema.WaitBegun`. One that had not ended when the
    recording did ends there."""

    task: int
    on: str
    name: str
    place: int
    held_by: str
    begin: float
    end: float


@dataclass
class Recording:
    """A run, or a part of it.

    Attributes:
        pid: the program.
        argv: its command line.
        python: its version of Python.
        began, ended: instants of `time.monotonic`.
        wall: `time.time` at `began`.
        rows: the events, as the sites told them; see `schema`.
        samples: what was used, four times a second.
        looks: what the threads did.
        collections: runs of the garbage collector: start, end, generation.
        dropped: events that are missing.
        open_tasks: the tasks that had not ended, as in the tree.
    """

    pid: int = field(default_factory=os.getpid)
    argv: list[str] = field(default_factory=command_line)
    python: str = field(default_factory=lambda: sys.version.split()[0])
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    wall: float = field(default_factory=time.time)
    rows: list[Row] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    collections: list[tuple[float, float, int]] = field(default_factory=list)
    dropped: int = 0
    open_tasks: list[dict[str, Any]] = field(default_factory=list)

    def add(self, batch: list[Row]) -> None:
        """Keep a batch of events."""
        room = ROWS_MAX - len(self.rows)
        self.rows.extend(batch if len(batch) <= room else batch[:room])
        self.dropped += max(0, len(batch) - room)

    def of_kind(self, kind: str) -> list[Any]:
        """The events of one kind, as named tuples."""
        make = TYPES[kind]._make
        return [make(row) for row in self.rows if row[1] == kind]

    def waits(self) -> list[Wait]:
        """The waits that were told."""
        ended = {(event.task, event.name, event.began): event.at for event in self.of_kind("wait.ended")}
        return [
            Wait(*told, at, max(at, ended.get((told[0], told[2], at), self.ended)))
            for event in self.of_kind("wait.begun")
            for at, told in [(event.at, (event.task, event.on, event.name, event.place, event.held_by))]
        ]


class Recorder:
    """Records between `start` and `stop`."""

    def __init__(self) -> None:
        self.recording = Recording()
        self._batches: deque[Batch] = deque()
        self._fields = 0
        self._end: Callable[[], None] | None = None
        self._over = threading.Event()
        self._sampler: threading.Thread | None = None
        self._collecting = 0.0
        self._dropped_before = 0
        self._look_seconds = LOOK_SECONDS
        self._threads = ThreadReader()

    def start(self) -> None:
        self.recording = Recording()
        self._dropped_before = ring.dropped
        self._look_seconds = LOOK_SECONDS
        self._end = ring.subscribe(self._take, moves=False)
        gc.callbacks.append(self._on_collection)
        self._sampler = threading.Thread(target=self._sample, name="unified_exec sampler", daemon=True)
        self._sampler.start()

    def stop(self) -> Recording:
        """End the recording and return it."""
        recording = self.recording
        recording.ended = time.monotonic()
        if self._end is not None:
            from ..live.dump import look

            tree = look(stacks="none")
            recording.open_tasks = list(tree["tasks"].values())
            recording.samples.append(self._take_sample())
            self._end()
            self._end = None
            while self._batches:  # nothing is kept twice
                recording.add(self._batches.popleft().rows)
            gc.callbacks.remove(self._on_collection)
            self._over.set()
            if self._sampler is not None:
                self._sampler.join()
            ended = {row[3] for row in recording.rows if row[1] == "task.settled"}  # during the look, too
            recording.open_tasks = [task for task in recording.open_tasks if task["id"] not in ended]
            recording.dropped += max(0, ring.dropped - self._dropped_before)
        return recording

    def _take(self, batch: Batch) -> None:
        self._fields += batch.fields
        if self._fields <= FIELDS_MAX:
            self._batches.append(batch)  # made events at the end: that would slow the program down
        else:
            self.recording.dropped += len(batch.rows)

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.monotonic()
        elif self._collecting:
            self.recording.collections.append((self._collecting, time.monotonic(), info["generation"]))

    def _sample(self) -> None:
        due = 0.0
        while True:
            began = time.monotonic()
            if began >= due:
                self.recording.samples.append(self._take_sample())
                due = time.monotonic() + SAMPLE_SECONDS
            cost = self._look()
            if self._over.wait(min(max(self._look_seconds, LOOKS_SHARE * cost), max(0.0, due - time.monotonic()))):
                return

    def _look(self) -> float:
        """Look at the threads, if tasks run there; returns the seconds for which that held the GIL."""
        if not any(pool.counts()[0] for pool in thread_pools()):
            return 0.0
        began = time.monotonic()
        states = self._threads.states()
        cost = time.monotonic() - began
        if states is not None:
            self._keep(Look(began, states))
        return cost

    def _keep(self, look: Look) -> None:
        looks = self.recording.looks
        if looks and looks[-1].states == look.states:
            look = look._replace(states=looks[-1].states)  # one dictionary for both
        looks.append(look)
        if len(looks) >= LOOKS_MAX:
            del looks[::2]
            self._look_seconds *= 2

    def _take_sample(self) -> Sample:
        threads = self._threads.used()
        at, used, pools = time.monotonic(), usage(os.getpid()), describe_pools({})
        pids = [worker["pid"] for pool in pools for worker in pool.get("workers", ())]
        stalled = {pid: _stalled(pid) for pid in pids}
        return Sample(at, pools, used.memory, used.seconds, stalled, threads, _idle())


def _idle() -> float | None:
    """Seconds for which the cores of the machine had nothing to do, all together."""
    try:
        with open("/proc/stat", "rb") as file:
            fields = file.readline().split()
        return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):  # another system
        return None


def _stalled(pid: int) -> float:
    """Seconds for which the threads of a process were ready to run while others had the cores."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:
                total += int(file.read().split()[1])
    except (OSError, IndexError, ValueError):  # another system, or it has ended just now
        pass
    return total / 1e9
