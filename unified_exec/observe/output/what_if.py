"""Advice for the whole program: where each function should run, and how long the program would take then."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from .recorder import Recording
from .replay import moved, replay
from .schedule import Schedule, schedule_of

JOBS_MAX = 10_000
"""More tasks than this are not replayed."""
AGREES = 0.15
"""How far the replay of the run as it was may be from the run itself."""
WORTH, STEPS_MAX, FUNCTIONS_MAX = 0.05, 3, 12
LEAST_SHARE = 0.01
"""Functions with a smaller share of what ran in threads and processes stay where they are."""
WIDER = (2, 4)
"""Factors by which limits and pools are widened."""


class Change(NamedTuple):
    """One thing to change.

    Attributes:
        what: a function, a limit, or a kind of pool.
        now, then: its place or number.
        text: the advice.
    """

    what: str
    now: str
    then: str
    text: str


class Step(NamedTuple):
    """A change and the seconds that the program would take with it, and with those before it."""

    change: Change
    seconds: float


class WhatIf(NamedTuple):
    """What the replay tells.

    Attributes:
        measured: seconds that the run took.
        replayed: seconds that the replay of the run as it was takes.
        trusted: the two agree.
        alone: each change by itself, the best for its function, limit or pool.
        plan: the changes to make together, in order; empty if nothing helps.
        cores: how many cores there were for the program.
    """

    measured: float
    replayed: float
    trusted: bool
    alone: list[Step]
    plan: list[Step]
    cores: float


def what_if(recording: Recording, tasks: list[Any]) -> WhatIf | None:
    """Replay a recording with other places and limits; ``None`` if it cannot be replayed."""
    if not tasks or len(tasks) > JOBS_MAX or recording.dropped:
        return None
    measured = recording.ended - recording.began
    return judge(schedule_of(recording, tasks), measured)


def judge(schedule: Schedule, measured: float) -> WhatIf | None:
    """Try the changes of a schedule, one by one and together.

    Args:
        schedule: what ran.
        measured: seconds that the run took; predictions are scaled to it.
    """
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    replayed, cores = replay(schedule, gil), min(schedule.cores, schedule.capacity)
    if replayed <= 0 or measured <= 0:
        return None
    if abs(replayed / measured - 1) > AGREES:
        return WhatIf(measured, replayed, False, [], [], cores)
    scale = measured / replayed
    best: dict[tuple[str, str], Step] = {}
    tried = _tried(schedule, scale, gil)
    for seconds, change, _ in tried:
        step = Step(change, seconds)
        key = change.what, change.now
        if key not in best or step.seconds < best[key].seconds * (1 - WORTH):
            best[key] = step
    plan: list[Step] = []
    now, seconds = schedule, measured
    for number in range(STEPS_MAX):
        if number:
            tried = _tried(now, scale, gil)
        # Of changes that are nearly as good as the best, the first: the smaller one.
        least = min((each[0] for each in tried), default=seconds)
        if least > seconds * (1 - WORTH):
            break
        gained, change, now = next(each for each in tried if each[0] <= least * (1 + WORTH))
        seconds = gained
        plan.append(Step(change, seconds))
    return WhatIf(measured, replayed, True, sorted(best.values(), key=lambda step: step.seconds), plan, cores)


def _tried(schedule: Schedule, scale: float, gil: bool) -> list[tuple[float, Change, Schedule]]:
    return [(scale * replay(changed, gil), change, changed) for change, changed in changes(schedule)]


def changes(schedule: Schedule) -> Iterator[tuple[Change, Schedule]]:
    """What can be changed in a schedule: the places of functions, then limits, then the sizes of pools."""
    weights: dict[tuple[str, str], float] = defaultdict(float)
    for job in schedule.jobs:
        if job.backend in ("thread", "process"):
            weights[job.fn, job.backend] += job.python + job.released + job.waits
    least = LEAST_SHARE * sum(weights.values())
    heavy = [each for each in weights if weights[each] >= least]
    for fn, backend in sorted(heavy, key=lambda each: -weights[each])[:FUNCTIONS_MAX]:
        to = "process" if backend == "thread" else "thread"
        name = fn.partition(":")[2] or fn
        yield Change(fn, backend, to, f'Run {name} with on="{to}"'), moved(schedule, fn, backend, to)
    for name, permits in schedule.limits.items():
        for factor in WIDER:
            wider = {**schedule.limits, name: permits * factor}
            text = f"Raise {name} to {permits * factor}, if what it protects allows"
            yield Change(name, str(permits), str(permits * factor), text), replace(schedule, limits=wider)
    used = {job.backend for job in schedule.jobs}
    for kind, size in schedule.places.items():
        sizes = [size * factor for factor in WIDER] if kind == "thread" else [schedule.cores]
        for wanted in sizes:
            if kind in used and wanted > size:
                title = "ThreadPool" if kind == "thread" else "ProcessPool"
                change = Change(title, str(size), str(wanted), f"Give the {title} {wanted} workers")
                yield change, replace(schedule, places={**schedule.places, kind: wanted})
