"""The recorded run as jobs that can be replayed elsewhere: what each needs, and what its spawn and its end depended on.

What is assumed: a task was spawned because another of the same spawner had ended if that was just before; a function
that waited for a limit needs it for each of its tasks, until their end; the tasks of a function all need the same share
of their run for computing; see `demands`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ..._platform.cpu_count import cpu_count
from .demands import WAITS, cores_of, demands
from .recorder import Recording, Sample

CAUSAL = 0.005
"""Seconds after the end of a task within which a spawn is taken for its consequence."""
WORKER_START = 0.2
"""Seconds until a worker is ready, where the recording tells nothing."""
PROCESS_CALL = 0.0002
"""Seconds that arguments and result travel, where the recording tells nothing."""
THREADS = 40
"""Threads of a pool, where the recording tells nothing."""
WHOLE = 0.8
"""A function that holds a limit for this share of its run, or more, holds it until its end."""
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
        python, released, waits: seconds of its run in which it computes and holds the GIL, computes without it, and
            waits for something else than the GIL.
        limit: name of the limit that it needs, or "".
        holds: seconds for which it has the limit; infinity: until its end.
        travels: seconds that arguments and result take to a worker and back; what runs in a thread does not travel.
        children: numbers of the jobs it spawned whose end it waits for.
        tail: seconds from the end of its last child to its own.
    """

    fn: str
    backend: str
    after: str
    cause: int
    gap: float
    python: float
    released: float
    waits: float
    limit: str = ""
    holds: float = INF
    travels: float = PROCESS_CALL
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
        capacity: how many of the cores the program can have; see `Cores`.
    """

    jobs: list[Job]
    cores: int
    places: dict[str, int]
    limits: dict[str, int]
    worker_start: float
    tail: float
    capacity: float = INF


def schedule_of(recording: Recording, tasks: list[Any]) -> Schedule:
    """Make a schedule of the settled `tasks` of a recording."""
    tasks = sorted((task for task in tasks if task.started is not None), key=lambda task: (task.spawned, task.task))
    first = _first_of_workers(tasks)
    needs = demands(recording, tasks, first)
    limits_of = _limits_of(recording, tasks)
    holds = _holds(recording, tasks)
    travels = _travels(tasks)
    waited = _waited(recording, tasks)
    jobs: list[Job] = []
    last = max((task.finished for task in tasks), default=recording.began)
    causes = _causes(tasks, recording.began, waited)
    for task, (after, cause, gap) in zip(tasks, causes, strict=True):
        run = max(0.0, task.finished - max(task.started, task.spawned) - waited.get(task.task, 0.0))
        run = max(0.0, run - first.get(task.task, 0.0))
        python, released, waits = (run * share for share in needs.get((task.fn, task.backend), WAITS))
        limit, travel = limits_of.get(task.fn, ""), travels.get(task.fn, PROCESS_CALL)
        jobs.append(
            Job(
                task.fn,
                task.backend,
                after,
                cause,
                gap,
                python,
                released,
                waits,
                limit,
                holds.get(task.fn, INF),
                travel,
            )
        )
    _add_children(tasks, jobs)
    warm = any(pool["kind"] == "process" and pool["workers"] for pool in _pools(recording.samples[:1]))
    took = [event.took for event in recording.of_kind("worker.ready")]
    cores, places = cores_of(recording), _places(recording)
    usual = WORKER_START * cores.slowness * max(1.0, min(places["process"], cpu_count()) / cores.capacity)
    start = 0.0 if warm else (median(took) if took else usual) + (median(first.values()) if first else 0.0)
    limits = {name: int(found[1]) for name in limits_of.values() if (found := _LIMIT.search(name))}
    tail = max(0.0, recording.ended - last)
    return Schedule(jobs, cpu_count(), places, limits, start, tail, cores.capacity)


def _travels(tasks: list[Any]) -> dict[str, float]:
    """Seconds that arguments and result of a function take to a worker and back: what they took when nothing held them
    up there, another task or an event loop that computes."""
    there: dict[str, float] = {}
    back: dict[str, float] = {}
    for task in tasks:
        if task.backend == "process" and task.sent is not None:
            there[task.fn] = min(there.get(task.fn, INF), max(0.0, task.started - task.sent))
            back[task.fn] = min(back.get(task.fn, INF), max(0.0, task.at - task.finished))
    return {fn: there[fn] + back[fn] for fn in there}


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


def _causes(tasks: list[Any], began: float, waited: dict[int, float]) -> list[tuple[str, int, float]]:
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
                since = at - tasks[number[parent]].started - waited.get(parent, 0.0)
                found[index] = "start", number[parent], max(0.0, since)
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


def _holds(recording: Recording, tasks: list[Any]) -> dict[str, float]:
    """Seconds for which a function holds the limit it waits for, where that is only a part of its run.

    While others wait, a limit passes on each permit as soon as it is free: so its holders have it for the number of its
    permits by the number of those who get one in a second.
    """
    by_task = {task.task: task for task in tasks}
    got: dict[str, list[Any]] = defaultdict(list)
    for event in recording.of_kind("wait.ended"):
        if event.task in by_task and _LIMIT.search(event.name):
            got[event.name].append(event)
    found: dict[str, float] = {}
    for name, events in got.items():
        events.sort(key=lambda event: event.at)
        permits = int(_LIMIT.search(name)[1])  # type: ignore[index]
        each = permits * (events[-1].at - events[0].at) / max(1, len(events) - 1)
        rest = sum(by_task[event.task].finished - event.at for event in events) / len(events)
        if len(events) > 2 * permits and each < WHOLE * rest:
            found.update({by_task[event.task].fn: each for event in events})
    return found


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
