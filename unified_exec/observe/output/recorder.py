"""Recording a run: what the trace and the report are made of."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..live.pools import describe_pools
from ..live.samples import usage
from ..recording.ring import Row, ring

SAMPLE_SECONDS = 0.25
ROWS_MAX = 3_000_000
"""Events that one recording keeps; later ones are counted as dropped."""


@dataclass
class Sample:
    """What the pools and processes used at one moment.

    Attributes:
        at: instant of `time.monotonic`.
        pools: as in the tree of `observe.look`.
        memory: resident bytes of the program itself.
        seconds: processor time of the program itself so far.
        stalled: seconds for which threads of the program (0) and of its workers waited for a core so far, by process
            id; empty where the system does not tell.
    """

    at: float
    pools: list[dict[str, Any]]
    memory: int = 0
    seconds: float = 0.0
    stalled: dict[int, float] = field(default_factory=dict)


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
        collections: runs of the garbage collector: start, end, generation.
        dropped: events that are missing.
        open_tasks: the tasks that had not ended, as in the tree.
    """

    pid: int = field(default_factory=os.getpid)
    argv: list[str] = field(default_factory=lambda: [str(each)[:200] for each in sys.argv[:20]])
    python: str = field(default_factory=lambda: sys.version.split()[0])
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    wall: float = field(default_factory=time.time)
    rows: list[Row] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
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
        from ..recording.schema import TYPES

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
        self._end: Callable[[], None] | None = None
        self._over = threading.Event()
        self._sampler: threading.Thread | None = None
        self._collecting = 0.0
        self._dropped_before = 0

    def start(self) -> None:
        """Begin to record."""
        self.recording = Recording()
        self._dropped_before = ring.dropped
        self._end = ring.subscribe(self.recording.add, moves=False)
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
            recording.samples.append(_take_sample())
            self._end()
            self._end = None
            gc.callbacks.remove(self._on_collection)
            self._over.set()
            if self._sampler is not None:
                self._sampler.join()
            recording.dropped += max(0, ring.dropped - self._dropped_before)
        return recording

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.monotonic()
        elif self._collecting:
            self.recording.collections.append((self._collecting, time.monotonic(), info["generation"]))

    def _sample(self) -> None:
        while True:
            self.recording.samples.append(_take_sample())
            if self._over.wait(SAMPLE_SECONDS):
                return


def _take_sample() -> Sample:
    used = usage(os.getpid())
    pools = describe_pools({})
    pids = [worker["pid"] for pool in pools for worker in pool.get("workers", ())]
    stalled = {0: _stalled(os.getpid()), **{pid: _stalled(pid) for pid in pids}}
    return Sample(time.monotonic(), pools, used.memory, used.seconds, stalled)


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
