"""The report of a recording: one page that holds everything, asks for nothing, and can be sent by mail."""

from __future__ import annotations

import base64
import json
import os
import time
import zlib
from collections import Counter, defaultdict
from importlib import resources
from typing import Any

from .advice import advise
from .figures import facts, parts_of, percentile
from .recorder import Recording
from .trace_file import lanes, nanoseconds
from .what_if import what_if

OUTCOMES = ("value", "cancelled", "error", "crashed", "timed_out", "refused")
"""Those from the third on are failures."""
SLOWEST, OPEN_MAX, FAILURES_MAX, SCOPES_MAX, LANES_MAX = 20, 40, 50, 2000, 60
LOAD_STEPS = 600


def page(recording: Recording) -> str:
    packed = json.dumps(_data(recording), separators=(",", ":"), default=str)
    data = base64.b64encode(zlib.compress(packed.encode("utf-8", "backslashreplace"), 6)).decode("ascii")
    template = resources.files(__package__).joinpath("report.html").read_text("utf-8")
    return template.replace("@DATA@", data)


def _data(recording: Recording) -> dict[str, Any]:
    tasks = recording.of_kind("task.settled")
    found = facts(recording, tasks)
    command = [os.path.basename(recording.argv[0]) if recording.argv else "python", *recording.argv[1:]]
    peak = 0
    for sample in recording.samples:
        of_workers = sum(worker["memory"] for pool in sample.pools for worker in pool.get("workers", ()))
        peak = max(peak, sample.memory + of_workers)
    return {
        "program": " ".join(command)[:200],
        "when": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(recording.wall)),
        "seconds": found.seconds,
        "python": recording.python,
        "cores": found.cores,
        "cpu": found.cpu,
        "peak": peak,
        "dropped": recording.dropped,
        "tasks": len(tasks),
        "outcomes": dict(Counter(task.outcome for task in tasks)),
        "advice": [each._asdict() for each in advise(found)],
        "whatIf": _what_if(recording, tasks),
        "functions": _functions(tasks, found.functions),
        "waits": [wait._asdict() for wait in found.waits[:20]],
        "scopes": _scopes(recording),
        "open": _open(recording),
        "openTasks": len(recording.open_tasks),
        "slowest": _slowest(tasks),
        "workers": _workers(recording, tasks),
        "failures": _failures(tasks),
        **_timeline(recording, tasks),
    }


def _what_if(recording: Recording, tasks: list[Any]) -> dict[str, Any] | None:
    found = what_if(recording, tasks)
    if found is None:
        return None
    return {
        "measured": found.measured,
        "replayed": found.replayed,
        "trusted": found.trusted,
        "cores": round(found.cores, 1),
        "plan": [(step.change.text, step.seconds) for step in found.plan],
        "alone": [(*step.change[:3], step.seconds) for step in found.alone],
    }


def _functions(tasks: list[Any], known: list[Any]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for task in tasks:
        groups[task.fn, task.backend].append(task)
    told: list[dict[str, Any]] = []
    for fn in known:
        members = groups[fn.name, fn.backend]
        runs = sorted(parts_of(task)[2] for task in members)
        one = fn._asdict() | {"max": runs[-1], "failed": sum(OUTCOMES.index(task.outcome) >= 2 for task in members)}
        told.append(one | {f"p{share}": percentile(runs, share / 100) for share in (50, 95, 99)})
    return told


def _timeline(recording: Recording, tasks: list[Any]) -> dict[str, Any]:
    """The columns of the timeline: a lane for each worker and thread, and one with the load of the event loops."""
    began = recording.began
    ran = [task for task in tasks if task.started is not None]
    by_place: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for task in ran:
        if task.backend != "loop":
            by_place[2 if task.backend == "thread" else 1, task.worker].append(task)
    titles: list[str] = []
    loads: list[list[tuple[float, int]] | None] = []
    columns: dict[str, list[int]] = {name: [] for name in ("begin", "run", "wait", "name", "lane", "outcome")}
    names: dict[str, int] = {}
    coroutines = [task for task in ran if task.backend == "loop"]
    if coroutines:
        titles.append("event loop, tasks")
        loads.append(_load(coroutines, began, recording.ended))
    threads = 0
    for (kind, worker), members in sorted(by_place.items(), key=lambda each: (each[0][0], each[1][0].started)):
        threads += kind == 2
        title = f"thread {threads}" if kind == 2 else f"worker {worker}"
        intervals = [(nanoseconds(task.started), nanoseconds(task.finished), task) for task in members]
        placed = lanes(intervals) if kind == 1 else [(0, each) for each in sorted(intervals, key=lambda each: each[0])]
        first = len(titles)
        for lane, (_, _, task) in placed:
            if first + lane >= LANES_MAX:
                continue
            while len(titles) <= first + lane:
                titles.append(title if len(titles) == first else "")
                loads.append(None)
            columns["begin"].append(max(0, int((task.started - began) * 1e6)))
            columns["run"].append(max(0, int((task.finished - task.started) * 1e6)))
            columns["wait"].append(max(0, int((task.started - task.spawned) * 1e6)))
            columns["name"].append(names.setdefault(task.fn, len(names)))
            columns["lane"].append(first + lane)
            columns["outcome"].append(OUTCOMES.index(task.outcome))
    common = Counter(columns["name"]).most_common(12)
    listed = list(names)
    shown = [listed[number] for number, _ in common]
    told = {"lanes": titles, "loads": loads, "names": listed, "shown": shown, "outcomeNames": OUTCOMES}
    return {**told, **columns}


def _load(tasks: list[Any], began: float, ended: float) -> list[tuple[float, int]]:
    """How many of the tasks there were, over time."""
    step = max(1e-9, (ended - began) / LOAD_STEPS)
    changes = [0] * (LOAD_STEPS + 2)
    for task in tasks:
        changes[min(LOAD_STEPS, max(0, int((task.started - began) / step)))] += 1
        changes[min(LOAD_STEPS, max(0, int((task.finished - began) / step))) + 1] -= 1
    level, told = 0, list[tuple[float, int]]()
    for number, change in enumerate(changes):
        level += change
        if change or not number:
            told.append((round(number * step, 6), level))
    return told


def _scopes(recording: Recording) -> list[dict[str, Any]]:
    of_task = {task.task: task.scope for task in recording.of_kind("task.settled")}
    of_task |= {task["id"]: task["scope"] for task in recording.open_tasks}
    tasks = Counter(of_task.values())
    closed = {event.scope: event for event in recording.of_kind("scope.closed")}
    told: list[dict[str, Any]] = []
    known: set[int] = set()
    for event in recording.of_kind("scope.opened")[:SCOPES_MAX]:
        end = closed.get(event.scope)
        parent = of_task.get(event.task, 0) if event.task else 0
        known.add(event.scope)
        told.append(
            {
                "id": event.scope,
                "parent": parent if parent in known else 0,
                "name": event.name,
                "policy": event.policy,
                "seconds": max(0.0, (recording.ended if end is None else end.at) - event.at),
                "tasks": tasks[event.scope],
                "errors": 0 if end is None else end.errors,
                "cancelled": 0 if end is None else end.cancelled,
                "outcome": "" if end is None else end.outcome,
            }
        )
    return told


def _slowest(tasks: list[Any]) -> list[dict[str, Any]]:
    ran = [task for task in tasks if task.started is not None]
    ran.sort(key=lambda task: task.started - task.finished)
    return [
        {
            "id": task.task,
            "name": task.name[:100],
            "run": task.finished - task.started,
            "wait": max(0.0, task.started - task.spawned),
            "where": task.backend + (f" {task.worker}" if task.backend == "process" else ""),
        }
        for task in ran[:SLOWEST]
    ]


def _open(recording: Recording) -> list[dict[str, Any]]:
    """The oldest of the tasks that had not ended, and why they waited."""
    return [
        {
            "id": task["id"],
            "name": task["name"][:100],
            "backend": task["backend"],
            "age": task["age"],
            "why": ("" if task["why"]["kind"] == "runs" else "waits for ") + task["why"]["text"][:300],
            "at": f"{os.path.basename(task['at'][0])}:{task['at'][1]}" if task.get("at") else "",
        }
        for task in sorted(recording.open_tasks, key=lambda task: -task["age"])[:OPEN_MAX]
    ]


def _failures(tasks: list[Any]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for task in tasks:
        if task.error:
            groups[task.fn, task.error].append(task)
    told: list[dict[str, Any]] = [
        {
            "name": fn,
            "error": error,
            "count": len(members),
            "traceback": next((task.traceback for task in members if task.traceback), ""),
        }
        for (fn, error), members in groups.items()
    ]
    return sorted(told, key=lambda each: -each["count"])[:FAILURES_MAX]


def _workers(recording: Recording, tasks: list[Any]) -> list[dict[str, Any]]:
    length = max(1e-9, recording.ended - recording.began)
    ran: dict[int, list[Any]] = defaultdict(list)
    for task in tasks:
        if task.started is not None and task.backend == "process":
            ran[task.worker].append(task)
    told: dict[int, dict[str, Any]] = {}
    nothing = {"pool": "", "at": None, "took": None, "memory": 0, "end": ""}
    for event in recording.of_kind("worker.started"):
        if event.backend == "process":
            told[event.worker] = {
                "pid": event.worker,
                **nothing,
                "at": event.at - recording.began,
                "pool": event.pool[:60],
            }
    for sample in recording.samples:
        for pool in sample.pools:
            for worker in pool.get("workers", ()):
                one = told.setdefault(worker["pid"], {"pid": worker["pid"], **nothing, "pool": pool["name"][:60]})
                one["memory"] = max(one["memory"], worker["memory"])
    for event in recording.of_kind("worker.ready"):
        if event.worker in told:
            told[event.worker]["took"] = event.took
    for kind, word in (("worker.killed", "killed"), ("worker.died", "ended")):
        for event in recording.of_kind(kind):
            if event.worker in told and not told[event.worker]["end"]:
                code = getattr(event, "code", None)
                told[event.worker]["end"] = word if code in (None, 0) else f"exit code {code}"
    for pid, one in told.items():
        one["tasks"] = len(ran[pid])
        one["busy"] = min(1.0, sum(task.finished - task.started for task in ran[pid]) / length)
    return list(told.values())[:200]
