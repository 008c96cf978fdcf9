"""Laying a recording out as a trace: which tracks there are, and what lies on each."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable
from typing import Any

from .perfetto import Writer
from .recorder import Recording

LANES_MAX = 50
SPAWN = 1 << 60
"""The bit of the numbers of arrows from a spawn to the run."""

Interval = tuple[int, int, Any]


def nanoseconds(instant: float) -> int:
    """An instant of `time.monotonic` as a whole number."""
    return int(instant * 1e9)


def lanes(intervals: Iterable[Interval]) -> list[tuple[int, Interval]]:
    """Give each interval the first lane that is free, so that what overlaps lies in different ones."""
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    placed: list[tuple[int, Interval]] = []
    most = 0
    for interval in sorted(intervals, key=lambda each: each[:2]):
        while busy and busy[0][0] <= interval[0]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, most = most, most + 1
        heapq.heappush(busy, (max(interval[1], interval[0] + 1), lane))
        placed.append((lane, interval))
    return placed


def perfetto(recording: Recording) -> bytes:
    """Return a recording as a file for https://ui.perfetto.dev."""
    return _Layout(recording).write()


class _Layout:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._out = Writer()
        command = " ".join(os.path.basename(each) if not at else each for at, each in enumerate(recording.argv))
        self._program = self._out.process(recording.pid, command[:100] or "python")
        self._workers: dict[int, tuple[int, int]] = {}
        self._pools: dict[int, str] = {}
        self._settled = recording.of_kind("task.settled")
        told = *self._settled, *recording.of_kind("worker.started")
        self._interpreters = {each.worker: 0 for each in told if each.backend == "interpreter"}

    def write(self) -> bytes:
        self._coroutines()
        self._scopes()
        self._threads()
        self._processes()
        self._waits()
        self._collections()
        self._counters()
        return self._out.finish()

    # -- tasks

    def _coroutines(self) -> None:
        tasks = [task for task in self._settled if task.backend == "loop" and task.started is not None]
        intervals = [(nanoseconds(task.started), nanoseconds(task.finished), task) for task in tasks]
        intervals += [(each["begin"], each["end"], each) for each in self._open("loop")]
        self._on_lanes("event loop", self._program, intervals)

    def _open(self, backend: str) -> list[dict[str, Any]]:
        """The tasks that had not ended when the recording did."""
        found: list[dict[str, Any]] = []
        end = nanoseconds(self._recording.ended)
        for task in self._recording.open_tasks:
            if task["backend"] == backend and task.get("state") == "runs":
                begin = max(nanoseconds(self._recording.began), end - nanoseconds(task["age"]))
                found.append({**task, "begin": begin, "end": end})
        return found

    def _on_lanes(self, title: str, parent: int, intervals: list[Interval]) -> None:
        if not intervals:
            return
        group = self._out.track(title, parent)
        tracks: dict[int, int] = {}
        for lane, (begin, end, task) in lanes(intervals):
            lane = min(lane, LANES_MAX)
            if lane not in tracks:
                tracks[lane] = self._out.track(f"{title} {lane + 1}" if lane < LANES_MAX else "more", group)
            if lane < LANES_MAX:
                self._task(tracks[lane], begin, end, task)

    def _task(self, track: int, begin: int, end: int, task: Any) -> None:
        if isinstance(task, dict):
            name = str(task["name"])[:200]
            self._out.slice(
                track, begin, end, name, {"task": task["id"], "outcome": "still running"}, SPAWN | task["id"]
            )
            return
        notes: dict[str, Any] = {
            "task": task.task,
            "name": task.name,
            "scope": task.scope,
            "outcome": task.outcome,
            "waited_us": max(0, (begin - nanoseconds(task.spawned)) // 1000),
            "back_us": max(0, (nanoseconds(task.at) - end) // 1000),
        }
        if task.error:
            notes["error"] = task.error
        if task.attempts > 1:
            notes["attempts"] = task.attempts
        if task.items > 1:
            notes["items"] = task.items
        if task.bytes_sent or task.bytes_received:
            notes["bytes_sent"], notes["bytes_received"] = task.bytes_sent, task.bytes_received
        failed = "" if task.outcome in ("value", "cancelled") else "failed: "
        name = failed + (task.fn.partition(":")[2] or task.name)
        self._out.slice(track, begin, end, name, notes, SPAWN | task.task)

    def _threads(self) -> None:
        by_thread: dict[int, list[Interval]] = {}
        for task in self._settled:
            if task.backend == "thread" and task.started is not None:
                interval = nanoseconds(task.started), nanoseconds(task.finished), task
                by_thread.setdefault(task.worker, []).append(interval)
        for each in self._open("thread"):
            by_thread.setdefault(each["worker"], []).append((each["begin"], each["end"], each))
        if by_thread:
            group = self._out.track("threads", self._program)
            for number, intervals in enumerate(by_thread.values(), 1):
                track = self._out.track(f"thread {number}", group)
                for begin, end, task in intervals:
                    self._task(track, begin, end, task)

    # -- workers

    def _worker(self, pid: int) -> tuple[int, int]:
        """The tracks of a worker: of its process, and of its life."""
        tracks = self._workers.get(pid)
        if tracks is None and pid in self._interpreters:
            group = self._interpreters[pid] = max(self._interpreters.values()) or self._out.track(
                "interpreters", self._program
            )
            number = sum(map(bool, self._interpreters.values()))
            track = self._out.track(f"interpreter {number}", group)
            tracks = self._workers[pid] = track, self._out.track("life", track)
        elif tracks is None:
            name = f"worker of {self._pools[pid]}" if pid in self._pools else "worker"
            process = self._out.process(pid, name)
            tracks = self._workers[pid] = process, self._out.track("life", process)
        return tracks

    def _processes(self) -> None:
        out, recording = self._out, self._recording
        started: dict[int, float] = {}
        for event in recording.of_kind("worker.started"):
            if event.backend == "process":
                self._pools[event.worker] = event.pool
                started[event.worker] = event.at
        for event in recording.of_kind("worker.ready"):
            begin = started.get(event.worker, event.at - event.took)
            life = self._worker(event.worker)[1]
            out.slice(life, nanoseconds(begin), nanoseconds(event.at), "start", {})
        for kind in ("worker.retired", "worker.killed", "worker.died"):
            for event in recording.of_kind(kind):
                if kind != "worker.retired" or event.worker in self._pools or event.worker in self._workers:
                    notes = {name: value for name, value in event._asdict().items() if name not in ("n", "kind", "at")}
                    out.instant(self._worker(event.worker)[1], nanoseconds(event.at), kind[7:], notes)
        by_worker: dict[int, list[Interval]] = {}
        for task in self._settled:
            if task.backend not in ("loop", "thread") and task.started is not None and task.worker:
                interval = nanoseconds(task.started), nanoseconds(task.finished), task
                by_worker.setdefault(task.worker, []).append(interval)
        for each in self._open("process"):
            by_worker.setdefault(each["worker"], []).append((each["begin"], each["end"], each))
        for pid, intervals in sorted(by_worker.items()):
            self._on_lanes("tasks", self._worker(pid)[0], intervals)

    # -- scopes, waits, collections, counters

    def _scopes(self) -> None:
        recording, out = self._recording, self._out
        closed = {event.scope: event for event in recording.of_kind("scope.closed")}
        intervals: list[Interval] = []
        for event in recording.of_kind("scope.opened"):
            end = closed[event.scope].at if event.scope in closed else recording.ended
            intervals.append((nanoseconds(event.at), nanoseconds(end), event))
        if not intervals:
            return
        group = out.track("scopes", self._program)
        tracks: dict[int, int] = {}
        of_scope: dict[int, int] = {}
        for lane, (begin, end, event) in lanes(intervals):
            if lane not in tracks:
                tracks[lane] = out.track(f"scopes {lane + 1}", group)
            notes: dict[str, Any] = {"scope": event.scope, "policy": event.policy, "loop": event.loop}
            if event.scope in closed:
                last = closed[event.scope]
                notes |= {"values": last.values, "errors": last.errors, "cancelled": last.cancelled}
            of_scope[event.scope] = tracks[lane]
            out.slice(tracks[lane], begin, end, event.name or "scope", notes)
        spawns = {task.scope: out.track("spawns", group) for task in self._settled[:1]}
        track = next(iter(spawns.values()), 0)
        for task in self._settled:
            if task.started is not None:
                name = f"spawn {task.fn.partition(':')[2]}"
                out.instant(track, nanoseconds(task.spawned), name, {"task": task.task}, SPAWN | task.task)

    def _waits(self) -> None:
        intervals = [(nanoseconds(wait.begin), nanoseconds(wait.end), wait) for wait in self._recording.waits()]
        if intervals:
            started = {task.task for task in self._settled if task.started is not None}
            group = self._out.track("waits", self._program)
            tracks: dict[int, int] = {}
            for lane, (begin, end, wait) in lanes(intervals):
                if lane < LANES_MAX:
                    if lane not in tracks:
                        tracks[lane] = self._out.track(f"waits {lane + 1}", group)
                    notes: dict[str, Any] = {"task": wait.task, "for": wait.on, "place": wait.place}
                    if wait.held_by:
                        notes["held by"] = wait.held_by
                    flow = SPAWN | wait.task if wait.task in started else 0
                    self._out.slice(tracks[lane], begin, end, wait.name, notes, flow)

    def _collections(self) -> None:
        if self._recording.collections:
            track = self._out.track("garbage collections", self._program)
            for begin, end, generation in self._recording.collections:
                self._out.slice(track, nanoseconds(begin), nanoseconds(end), f"generation {generation}", {})

    def _counters(self) -> None:
        tracks: dict[tuple[int, str], int] = {}

        def count(parent: int, name: str, at: float, value: float) -> None:
            if (parent, name) not in tracks:
                tracks[parent, name] = self._out.counter(name, parent)
            self._out.count(tracks[parent, name], nanoseconds(at), value)

        before: dict[int, tuple[float, float]] = {}
        for sample in self._recording.samples:
            count(self._program, "memory, MiB", sample.at, round(sample.memory / (1 << 20), 1))
            for pool in sample.pools:
                count(self._program, f"queued: {pool['name']}", sample.at, pool["queued"])
                if "busy" in pool:
                    count(self._program, f"busy: {pool['name']}", sample.at, pool["busy"])
                for worker in pool.get("workers", ()):
                    if worker["pid"] in self._interpreters:
                        continue  # its memory and processor time are those of the program
                    process = self._worker(worker["pid"])[0]
                    count(process, "memory, MiB", sample.at, round(worker["memory"] / (1 << 20), 1))
                    last = before.get(worker["pid"])
                    before[worker["pid"]] = sample.at, worker["seconds"]
                    if last is not None and sample.at > last[0]:
                        share = (worker["seconds"] - last[1]) / (sample.at - last[0])
                        count(process, "CPU, % of a core", sample.at, round(100 * max(0.0, share), 1))
