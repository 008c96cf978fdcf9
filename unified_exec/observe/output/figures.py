"""The figures of a recording: per function, worker and pool, for the report and its advice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from ..._platform.cpu_count import cpu_count
from .advice import Facts, Function, WaitedFor
from .demands import cores_of
from .recorder import Recording, Wait

GROWS_IN = 0.8
"""The share of steps in which a worker's memory must grow to be told as growing."""


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the sorted `values` lies; 0 for none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def parts_of(task: Any) -> tuple[float, float, float, float]:
    """Seconds for which a settled task was queued, travelled, ran, and its result travelled."""
    started = task.finished if task.started is None else task.started
    left = started if task.sent is None else max(task.sent, task.spawned)
    back = max(0.0, task.at - task.finished)
    return max(0.0, left - task.spawned), max(0.0, started - left), max(0.0, task.finished - started), back


def functions(tasks: Iterable[Any], waited: dict[int, float]) -> list[Function]:
    """The settled tasks by function and backend, the longest running first.

    Args:
        tasks: the tasks.
        waited: see `waited_inside`.
    """
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for task in tasks:
        groups[task.fn, task.backend].append(task)
    found: list[Function] = []
    for (name, backend), members in groups.items():
        parts = [parts_of(task) for task in members]
        runs = sorted(part[2] for part in parts)
        overheads = sorted(part[1] + part[3] for part in parts)
        found.append(
            Function(
                name,
                backend,
                len(members),
                sum(task.items for task in members),
                sum(runs),
                sum(part[0] for part in parts),
                sum(part[1] for part in parts),
                sum(part[3] for part in parts),
                percentile(runs, 0.5),
                percentile(overheads, 0.5),
                sum(task.bytes_sent for task in members),
                sum(task.bytes_received for task in members),
                sum(waited.get(task.task, 0.0) for task in members),
            )
        )
    return sorted(found, key=lambda fn: -fn.run)


def waits(found: Iterable[Wait]) -> list[WaitedFor]:
    """What tasks waited for, the longest first."""
    groups: dict[tuple[str, str], list[Wait]] = defaultdict(list)
    for wait in found:
        groups[wait.on, wait.name].append(wait)
    told: list[WaitedFor] = []
    for (on, name), members in groups.items():
        held: dict[str, float] = defaultdict(float)
        for wait in members:
            held[wait.held_by] += wait.end - wait.begin
        mostly = max(held, key=lambda holder: held[holder]) if on in ("lock", "semaphore") else ""
        told.append(WaitedFor(on, name, sum(wait.end - wait.begin for wait in members), len(members), mostly))
    return sorted(told, key=lambda each: -each.seconds)


def waited_inside(found: Iterable[Wait], tasks: Iterable[Any]) -> dict[int, float]:
    """Seconds that tasks waited for limits, locks and channels while they ran, by task."""
    ran = {task.task: (task.started, task.finished) for task in tasks if task.started is not None}
    waited: dict[int, float] = defaultdict(float)
    for wait in found:
        if wait.task in ran:
            begin, end = ran[wait.task]
            waited[wait.task] += max(0.0, min(end, wait.end) - max(begin, wait.begin))
    return waited


def processor_seconds(recording: Recording) -> float:
    """Processor time of the program and its workers during the recording."""
    if len(recording.samples) < 2:
        return 0.0
    own = recording.samples[-1].seconds - recording.samples[0].seconds
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    for sample in recording.samples:
        for pool in sample.pools:
            for worker in pool.get("workers", ()):
                first.setdefault(worker["pid"], 0.0 if sample is not recording.samples[0] else worker["seconds"])
                last[worker["pid"]] = worker["seconds"]
    return own + sum(last[pid] - first[pid] for pid in last)


def idle_seconds(recording: Recording) -> float:
    """Seconds for which cores had nothing to do. What other programs used is not known on all systems."""
    samples = recording.samples
    unused = max(0.0, cpu_count() * (recording.ended - recording.began) - processor_seconds(recording))
    if len(samples) < 2 or samples[0].idle is None or samples[-1].idle is None:
        return unused
    return min(unused, samples[-1].idle - samples[0].idle)


def thread_seconds(recording: Recording, tasks: Iterable[Any]) -> float:
    """Processor time during the recording of the threads that ran these tasks."""
    idents = {task.worker for task in tasks}
    total = 0.0
    for before, after in pairwise(recording.samples):
        for ident in idents & after.threads.keys():
            earlier = before.threads[ident].seconds if ident in before.threads else 0.0
            total += max(0.0, after.threads[ident].seconds - earlier)
    return total


def growth(recording: Recording) -> dict[int, float]:
    """By worker whose memory grew in most steps, the share by which it has grown since its first tasks."""
    memory: dict[int, list[int]] = defaultdict(list)
    for sample in recording.samples:
        for pool in sample.pools:
            for worker in pool.get("workers", ()):
                if worker["memory"] and worker["state"] == "up":
                    memory[worker["pid"]].append(worker["memory"])
    found: dict[int, float] = {}
    for pid, values in memory.items():
        values = values[len(values) // 5 :]  # the first imports are not growth
        steps = [later > earlier for earlier, later in pairwise(values)]
        if len(steps) >= 8 and sum(steps) >= GROWS_IN * len(steps):
            found[pid] = values[-1] / values[0] - 1
    return found


def straggler(tasks: list[Any]) -> tuple[float, str]:
    """Seconds at the end in which one task alone ran, and its name."""
    ran = [task for task in tasks if task.started is not None and task.backend != "loop"]
    if len(ran) < 2:
        return 0.0, ""
    last, before = sorted(ran, key=lambda task: -task.finished)[:2]
    return max(0.0, last.finished - max(before.finished, last.started)), last.name


def facts(recording: Recording, tasks: list[Any]) -> Facts:
    """What the advice rests on."""
    seconds = max(1e-6, recording.ended - recording.began)
    queued: dict[tuple[str, str], int] = defaultdict(int)
    for sample in recording.samples:
        for pool in sample.pools:
            # More processes than cores would not help: its workers wait for the cores.
            if pool["kind"] != "process" or pool["max"] < cpu_count():
                queued[pool["name"], pool["kind"]] += pool["queued"] > 0
    threads = [task for task in tasks if task.backend == "thread" and task.started is not None]
    remote = [task for task in tasks if task.backend != "loop" and task.started is not None]
    places = len({task.worker for task in remote})
    died = [event for event in recording.of_kind("worker.died") if event.code not in (0, None)]
    starts = recording.of_kind("worker.ready")
    found = recording.waits()
    waited = waited_inside(found, tasks)
    ran = sum(task.finished - task.started - waited.get(task.task, 0.0) for task in remote)
    return Facts(
        seconds,
        cpu_count(),
        processor_seconds(recording),
        idle_seconds(recording),
        thread_seconds(recording, threads) * cores_of(recording).slowness,
        functions(tasks, waited),
        {name: (kind, count / max(1, len(recording.samples))) for (name, kind), count in queued.items()},
        waits(found),
        min(1.0, ran / max(1e-9, places * seconds)),
        sum(task.finished - task.started for task in threads) / max(1e-9, covered(threads)),
        len(died),
        len(starts),
        sum(event.took for event in starts),
        growth(recording),
        straggler(tasks),
    )


def covered(tasks: Iterable[Any]) -> float:
    """Seconds in which at least one of the tasks ran."""
    total, end = 0.0, float("-inf")
    for begin, finish in sorted((task.started, task.finished) for task in tasks):
        total += max(0.0, finish - max(begin, end))
        end = max(end, finish)
    return total
