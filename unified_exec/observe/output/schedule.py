"""The recorded run as jobs that can be replayed elsewhere: what each needs, and what its spawn and its end depended on.

What is assumed: a task was spawned because another of the same spawner had ended if that was just before; a function
that waited for a limit needs it for each of its tasks, until their end; what a function computes is the share of the
processor time of its process, or of its worker, while it ran; what it does not compute it waits for.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from ..._platform.cpu_count import cpu_count
from .recorder import Recording, Sample

CAUSAL = 0.005
"""Seconds after the end of a task within which a spawn is taken for its consequence."""
SATURATED, LEAST_USED = 0.8, 0.04
"""A process computes all the time if it uses this share of a core, or waits so long for one that others have and uses
at least the second share. Then its threads wait for the GIL, and for nothing else."""
WORKER_START = 0.2
"""Seconds until a worker is ready, where the recording tells nothing."""
THREADS = 40
"""Threads of a pool, where the recording tells nothing."""
_ROUNDS = 30
INF = float("inf")
_LIMIT = re.compile(r"Limit\((\d+)\)")


@dataclass(slots=True)
class Job:
    """A task.

    Attributes:
        fn, backend: as in the events.
        after: what its spawn waits for: ``"begin"``, or ``"spawn"``, ``"start"`` or ``"end"`` of the job `cause`.
        cause: number of a job.
        gap: seconds from there to the spawn.
        computes, waits: seconds of its run.
        limit: name of the limit that it needs, or "".
        children: numbers of the jobs it spawned whose end it waits for.
        tail: seconds from the end of its last child to its own.
    """

    fn: str
    backend: str
    after: str
    cause: int
    gap: float
    computes: float
    waits: float
    limit: str = ""
    children: list[int] = field(default_factory=list)
    tail: float = 0.0


@dataclass(slots=True)
class Schedule:
    """The jobs of a run and what they share.

    Attributes:
        jobs: in the order of their spawns.
        cores: of the machine.
        places: by backend, how many jobs run at the same time.
        limits: how many jobs a limit lets pass.
        worker_start: seconds until a worker process is ready; 0 if the run began with warm ones.
        tail: seconds from the end of the last job to the end of the run.
    """

    jobs: list[Job]
    cores: int
    places: dict[str, int]
    limits: dict[str, int]
    worker_start: float
    tail: float


def schedule_of(recording: Recording, tasks: list[Any]) -> Schedule:
    """Make a schedule of the settled `tasks` of a recording."""
    tasks = sorted((task for task in tasks if task.started is not None), key=lambda task: (task.spawned, task.task))
    first = _first_of_workers(tasks)
    computing = demands(recording.samples, tasks, first)
    limits_of = _limits_of(recording, tasks)
    waited = _waited(recording, tasks)
    jobs: list[Job] = []
    last = max((task.finished for task in tasks), default=recording.began)
    causes = _causes(tasks, recording.began)
    for task, (after, cause, gap) in zip(tasks, causes, strict=True):
        run = max(0.0, task.finished - max(task.started, task.spawned) - waited.get(task.task, 0.0))
        run = max(0.0, run - first.get(task.task, 0.0))
        computes, waits = computing.get((task.fn, task.backend), (0.0, 1.0))
        limit = limits_of.get(task.fn, "")
        jobs.append(Job(task.fn, task.backend, after, cause, gap, run * computes, run * waits, limit))
    _add_children(tasks, jobs)
    warm = any(pool["kind"] == "process" and pool["workers"] for pool in _pools(recording.samples[:1]))
    took = [event.took for event in recording.of_kind("worker.ready")]
    start = 0.0 if warm else (median(took) if took else WORKER_START) + (median(first.values()) if first else 0.0)
    limits = {name: int(found[1]) for name in limits_of.values() if (found := _LIMIT.search(name))}
    return Schedule(jobs, cpu_count(), _places(recording), limits, start, max(0.0, recording.ended - last))


def _first_of_workers(tasks: list[Any]) -> dict[int, float]:
    """The first task of each worker, and the seconds by which it took longer than the others: the worker imported."""
    runs: dict[str, list[float]] = defaultdict(list)
    first: dict[int, Any] = {}
    for task in tasks:
        if task.backend == "process":
            runs[task.fn].append(task.finished - task.started)
            if task.worker not in first or task.started < first[task.worker].started:
                first[task.worker] = task
    return {task.task: max(0.0, task.finished - task.started - median(runs[task.fn])) for task in first.values()}


def _causes(tasks: list[Any], began: float) -> list[tuple[str, int, float]]:
    """For each task, what its spawn is counted from."""
    number = {task.task: index for index, task in enumerate(tasks)}
    siblings: dict[int, list[int]] = defaultdict(list)
    for index, task in enumerate(tasks):
        siblings[task.parent].append(index)
    found: list[tuple[str, int, float]] = [("begin", 0, 0.0)] * len(tasks)
    for parent, members in siblings.items():
        ends = sorted((tasks[index].at, index) for index in members)
        instants = [at for at, _ in ends]
        before: int | None = None
        for earlier, index in enumerate(members):
            at = tasks[index].spawned
            ended = bisect_right(instants, at)
            just_ended = before is not None and ended and instants[ended - 1] > max(at - CAUSAL, tasks[before].spawned)
            if just_ended or 0 < ended == earlier:  # the spawner went on because of it, or had waited for all
                found[index] = "end", ends[ended - 1][1], at - instants[ended - 1]
            elif before is not None:
                found[index] = "spawn", before, at - tasks[before].spawned
            elif parent in number:
                found[index] = "start", number[parent], max(0.0, at - tasks[number[parent]].started)
            else:
                found[index] = "begin", 0, max(0.0, at - began)
            before = index
    return found


def _add_children(tasks: list[Any], jobs: list[Job]) -> None:
    """Find the coroutines that ended because what they had spawned had ended."""
    number = {task.task: index for index, task in enumerate(tasks)}
    last: dict[int, float] = {}
    for index, task in enumerate(tasks):
        parent = number.get(task.parent)
        if parent is not None and parent != index and tasks[parent].backend == "loop":
            jobs[parent].children.append(index)
            last[parent] = max(last.get(parent, 0.0), task.at)
    for parent, at in last.items():
        if tasks[parent].finished >= at - 0.001:
            jobs[parent].tail = max(0.0, tasks[parent].finished - at)
        else:
            jobs[parent].children.clear()  # it did not wait for them


def _limits_of(recording: Recording, tasks: list[Any]) -> dict[str, str]:
    """The limit that the tasks of a function wait for, by function."""
    fn_of = {task.task: task.fn for task in tasks}
    return {
        fn_of[event.task]: event.name
        for event in recording.of_kind("wait.begun")
        if event.task in fn_of and _LIMIT.search(event.name)
    }


def _waited(recording: Recording, tasks: list[Any]) -> dict[int, float]:
    """Seconds that each task waited for limits after it had started. Other waits are a part of its run."""
    found: dict[int, float] = defaultdict(float)
    started = {task.task: task.started for task in tasks}
    for wait in recording.waits():
        if wait.on in ("limit", "rate") and wait.begin >= started.get(wait.task, INF):
            found[wait.task] += wait.end - wait.begin
    return found


def _pools(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    return [{"workers": (), **pool} for sample in samples for pool in sample.pools]


def _places(recording: Recording) -> dict[str, int]:
    most: dict[str, dict[str, int]] = {"thread": {}, "process": {}}
    for pool in _pools(recording.samples):
        if pool["kind"] in most:
            most[pool["kind"]][pool["name"]] = pool["max"]
    defaults = {"thread": THREADS, "process": cpu_count()}
    return {kind: sum(found.values()) or defaults[kind] for kind, found in most.items()}


# -- what a function computes


def demands(
    samples: list[Sample], tasks: list[Any], left_out: Container[int] = ()
) -> dict[tuple[str, str], tuple[float, float]]:
    """The shares of its run that a function computes and waits, by function and backend.

    What is neither is waiting for the GIL, which the replay itself makes out.

    Args:
        samples: what the processes used.
        tasks: what ran.
        left_out: ids of tasks; nothing is concluded from what their workers used meanwhile.
    """
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for backend in ("thread", "process"):
        rows = _rows(samples, [task for task in tasks if task.backend == backend], backend, left_out)
        computed: dict[str, float] = defaultdict(float)  # minus seconds in which the process was not busy
        for used, overlaps in rows:
            crowded = backend == "thread" and used.rate >= SATURATED and sum(overlaps.values()) > 1.2 * used.seconds
            for fn, overlap in overlaps.items():
                computed[fn] += overlap if crowded else -overlap
        # Where a function mostly computed, the rest is the noise of short samples.
        rows = [
            (used, overlaps)
            for used, overlaps in rows
            if used.rate >= SATURATED or any(computed[fn] <= 0 for fn in overlaps)
        ]
        shares = {fn: 0.5 for _, overlaps in rows for fn in overlaps}
        for _ in range(_ROUNDS):
            shares = _better(shares, rows)
        for fn, share in shares.items():
            found[fn, backend] = share, 0.0 if computed[fn] > 0 else max(0.0, 1 - share)
    return found


@dataclass(slots=True)
class _Used:
    demand: float
    seconds: float

    @property
    def rate(self) -> float:
        return self.demand / max(1e-9, self.seconds)


def _rows(
    samples: list[Sample], tasks: list[Any], backend: str, left_out: Container[int]
) -> list[tuple[_Used, dict[str, float]]]:
    """For each process between two samples: the processor time it wanted, and how long each function ran there."""
    by_place: dict[int, list[Any]] = defaultdict(list)
    for task in tasks:
        by_place[0 if backend == "thread" else task.worker].append(task)
    rows: list[tuple[_Used, dict[str, float]]] = []
    instants = [sample.at for sample in samples]
    overlaps: dict[tuple[int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    covered: dict[tuple[int, int], tuple[float, float]] = {}
    skipped: set[tuple[int, int]] = set()
    for place, members in by_place.items():
        for task in members:
            first = max(0, bisect_right(instants, task.started) - 1)
            for step in range(first, min(len(samples) - 1, bisect_left(instants, task.finished))):
                begin, end = max(task.started, instants[step]), min(task.finished, instants[step + 1])
                if end > begin and task.task in left_out:
                    skipped.add((place, step))
                elif end > begin:
                    overlaps[place, step][task.fn] += end - begin
                    known = covered.get((place, step), (begin, end))
                    covered[place, step] = min(known[0], begin), max(known[1], end)
    wanted = [_wanted(before, after) for before, after in pairwise(samples)]
    for (place, step), found in overlaps.items():
        if place in wanted[step] and (place, step) not in skipped:
            begin, end = covered[place, step]
            # Before the first task and after the last one something else has used the processor.
            rows.append((_Used(min(wanted[step][place], end - begin), end - begin), dict(found)))
    return rows


def _wanted(before: Sample, after: Sample) -> dict[int, float]:
    """Seconds in which the program (0) and each worker computed, or would have if others had not had the cores."""
    used = {0: after.seconds - before.seconds}
    earlier = {worker["pid"]: worker["seconds"] for pool in before.pools for worker in pool.get("workers", ())}
    for pool in after.pools:
        for worker in pool.get("workers", ()):
            if worker["pid"] in earlier:
                used[worker["pid"]] = worker["seconds"] - earlier[worker["pid"]]
    seconds = after.at - before.at
    told: dict[int, float] = {}
    for pid, cpu in used.items():
        stalled = after.stalled.get(pid, 0.0) - before.stalled.get(pid, 0.0)
        saturated = cpu + stalled >= SATURATED * seconds and cpu >= LEAST_USED * seconds
        told[pid] = seconds if saturated else max(0.0, cpu)
    return told


def _better(shares: dict[str, float], rows: list[tuple[_Used, dict[str, float]]]) -> dict[str, float]:
    """One round of finding the shares that explain the processor time of all intervals best."""
    up: dict[str, float] = defaultdict(float)
    ran: dict[str, float] = defaultdict(float)
    for used, overlaps in rows:
        told = sum(overlap * shares[fn] for fn, overlap in overlaps.items())
        ratio = used.demand / max(1e-9, told)
        for fn, overlap in overlaps.items():
            up[fn] += overlap * ratio
            ran[fn] += overlap
    return {fn: min(1.0, share * up[fn] / max(1e-9, ran[fn])) for fn, share in shares.items()}
