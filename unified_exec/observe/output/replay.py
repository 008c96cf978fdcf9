"""Replays a schedule: how long would the program take with other places and other limits? Pure arithmetic.

Threads that compute share one core while they need the GIL. Without it, and in workers, they have one each, as far as
there are cores. Whatever waits takes as long as it took, wherever it is.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from .schedule import INF, Schedule


def replay(schedule: Schedule, gil: bool = True) -> float:
    """Return how many seconds the run takes.

    Args:
        schedule: the jobs, with their places and limits.
        gil: there is a GIL.
    """
    return _Replay(schedule, gil).run()


class _Shared:
    """Jobs that compute at the same pace, as one shared clock tells it."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.pace = 0.0
        self.ends: list[tuple[float, int]] = []

    def next_end(self, now: float) -> float:
        return now + (self.ends[0][0] - self.clock) / self.pace if self.ends else float("inf")


class _Replay:
    def __init__(self, schedule: Schedule, gil: bool) -> None:
        self.schedule = schedule
        self.gil = gil
        self.now = 0.0
        self.last = 0.0
        self._order = count()
        self._timers: list[tuple[float, int, Callable[[int], None], int]] = []
        self._computing = {"gil": _Shared(), "free": _Shared()}
        self._released: set[int] = set()
        self._free = dict(schedule.places)
        self._queues: dict[str, deque[int]] = {"thread": deque(), "process": deque()}
        self._permits = dict(schedule.limits)
        self._waiting: dict[str, deque[int]] = {name: deque() for name in schedule.limits}
        self._workers_ready = 0.0
        self._followers: dict[tuple[str, int], list[int]] = {}
        self._children_left = [len(job.children) for job in schedule.jobs]
        self._own_part_done = [False] * len(schedule.jobs)
        self._parent: dict[int, int] = {}
        for number, job in enumerate(schedule.jobs):
            for child in job.children:
                self._parent[child] = number
            if job.after == "begin":
                self._at(job.gap, self._spawn, number)
            else:
                self._followers.setdefault((job.after, job.cause), []).append(number)

    def _at(self, instant: float, fn: Callable[[int], None], number: int) -> None:
        heapq.heappush(self._timers, (instant, next(self._order), fn, number))

    def run(self) -> float:
        while True:
            timer = self._timers[0][0] if self._timers else float("inf")
            place, end = min(
                ((name, shared.next_end(self.now)) for name, shared in self._computing.items()),
                key=lambda each: each[1],
            )
            until = min(timer, end)
            if until == float("inf"):
                return self.last + self.schedule.tail
            for shared in self._computing.values():
                shared.clock += shared.pace * (until - self.now)
            self.now = until
            if timer <= end:
                _, _, fn, number = heapq.heappop(self._timers)
                fn(number)
            else:
                _, number = heapq.heappop(self._computing[place].ends)
                self._leave_core(number)

    def _set_paces(self) -> None:
        """Share the cores between what computes now."""
        held, free = (len(self._computing[kind].ends) for kind in ("gil", "free"))
        cores = min(self.schedule.cores, self.schedule.capacity)
        share = min(1.0, cores / max(1, min(1, held) + free))
        self._computing["gil"].pace = share / max(1, held)
        self._computing["free"].pace = share

    # -- the life of a job

    def _tell(self, what: str, number: int) -> None:
        for follower in self._followers.get((what, number), ()):
            self._at(self.now + self.schedule.jobs[follower].gap, self._spawn, follower)

    def _spawn(self, number: int) -> None:
        self._tell("spawn", number)
        limit = self.schedule.jobs[number].limit
        if limit not in self._permits:
            self._queue(number)
        elif self._permits[limit] > 0:
            self._permits[limit] -= 1
            self._queue(number)
        else:
            self._waiting[limit].append(number)

    def _queue(self, number: int) -> None:
        backend = self.schedule.jobs[number].backend
        if backend not in self._free:
            self._start(number)
        elif self._free[backend] > 0:
            self._free[backend] -= 1
            self._enter(number)
        else:
            self._queues[backend].append(number)

    def _enter(self, number: int) -> None:
        """Take a place; a worker may have to be started first."""
        if self.schedule.jobs[number].backend == "process":
            if not self._workers_ready:
                self._workers_ready = self.now + self.schedule.worker_start
            if self._workers_ready > self.now:
                self._at(self._workers_ready, self._start, number)
                return
        self._start(number)

    def _start(self, number: int) -> None:
        self._tell("start", number)
        if self.schedule.jobs[number].holds < INF:
            self._at(self.now + self.schedule.jobs[number].holds, self._release, number)
        job = self.schedule.jobs[number]
        overhead = job.travels if job.backend == "process" else 0.0
        waits = 0.0 if job.children else job.waits
        self._at(self.now + waits + overhead, self._compute, number)

    def _compute(self, number: int) -> None:
        job = self.schedule.jobs[number]
        if job.backend == "thread" and self.gil:
            self._enter_core("gil", number, job.python)
        elif job.backend in self._free:
            self._released.add(number)
            self._enter_core("free", number, job.python + job.released)
        else:
            self._end_of_place(number)

    def _enter_core(self, kind: str, number: int, seconds: float) -> None:
        shared = self._computing[kind]
        heapq.heappush(shared.ends, (shared.clock + seconds, number))
        self._set_paces()

    def _leave_core(self, number: int) -> None:
        """It has computed. A thread that had the GIL goes on without it."""
        self._set_paces()
        if number in self._released or not self.schedule.jobs[number].released:
            self._end_of_place(number)
        else:
            self._released.add(number)
            self._enter_core("free", number, self.schedule.jobs[number].released)

    def _end_of_place(self, number: int) -> None:
        """Its own part is done: the next may have its place."""
        backend = self.schedule.jobs[number].backend
        self._own_part_done[number] = True
        if backend in self._free:
            if self._queues[backend]:
                self._enter(self._queues[backend].popleft())
            else:
                self._free[backend] += 1
        if not self._children_left[number]:
            self._end(number)

    def _end(self, number: int) -> None:
        job = self.schedule.jobs[number]
        self.last = max(self.last, self.now)
        if job.holds == INF:
            self._release(number)
        self._tell("end", number)
        parent = self._parent.get(number)
        if parent is not None:
            self._children_left[parent] -= 1
            if not self._children_left[parent] and self._own_part_done[parent]:
                self._at(self.now + self.schedule.jobs[parent].tail, self._end, parent)

    def _release(self, number: int) -> None:
        limit = self.schedule.jobs[number].limit
        if limit not in self._permits:
            return
        if self._waiting[limit]:
            self._queue(self._waiting[limit].popleft())
        else:
            self._permits[limit] += 1


def moved(schedule: Schedule, fn: str, backend: str, to: str) -> Schedule:
    """Return the schedule with the jobs of a function in another place."""
    jobs = [replace(job, backend=to) if (job.fn, job.backend) == (fn, backend) else job for job in schedule.jobs]
    return replace(schedule, jobs=jobs)
