"""What functions compute and what they wait for, made out of what processes and threads used while they ran.

A thread that has not computed has waited for a core, for the GIL, or for something else. The first is told by the
system, the second by looks at the threads; see `threads`. Where there are none, the threads of a process that computes
all the time are taken to wait for the GIL, and for nothing else.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from ..._platform.cpu_count import cpu_count
from .recorder import Recording, Sample
from .threads import BLOCKED, RUNS, WANTS_GIL, Used

SATURATED, LEAST_USED = 0.8, 0.04
"""A process computes all the time if it uses this share of a core, or waits so long for one that others have and uses
at least the second share."""
LOOKS_LEAST = 5
"""With fewer looks at the threads that run a function nothing is concluded from them."""
CROWDED = 0.1
"""If threads wait for a core for a larger share of the time while the program does not use the cores, others do. Then a
thread that wants the GIL is often on its way to a core and seems to run: all that it computes counts as holding it."""
BUSY = 0.5
"""Only while the program wants this many cores it shows how many it can have."""
_ROUNDS = 30

Function = tuple[str, str]
"""Its name and where it runs."""


class Demand(NamedTuple):
    """Shares of the run of a function. What is missing to 1 is waiting for the GIL.

    Attributes:
        python: it computes and holds the GIL.
        released: it computes without the GIL. Not known of processes, where nobody else wants it: 0.
        waits: it waits for something else.
    """

    python: float
    released: float
    waits: float


WAITS = Demand(0.0, 0.0, 1.0)
"""What a function needs of which nothing is known."""


def demands(recording: Recording, tasks: list[Any], left_out: Container[int] = ()) -> dict[Function, Demand]:
    """What each function needs, by name and backend.

    Args:
        recording: has the samples of what was used, and the looks at the threads.
        tasks: what ran.
        left_out: ids of tasks; nothing is concluded from what their workers used meanwhile.
    """
    samples = recording.samples
    processes = [task for task in tasks if task.backend == "process"]
    used = [_of_workers(before, after) for before, after in pairwise(samples)]
    shares = _shares(_rows(used, samples, processes, left_out))
    found = {(fn, "process"): Demand(share, 0.0, max(0.0, 1 - share)) for fn, share in shares.items()}
    threads = [task for task in tasks if task.backend == "thread"]
    steps = [_of_threads(before, after) for before, after in pairwise(samples)]
    shares = _shares(_rows([step.computed for step in steps], samples, threads))
    seen, full = _seen(recording, threads), _full(steps, samples, threads)
    released = _released(recording, steps, seen)
    for fn, share in shares.items():
        found[fn, "thread"] = _split(share, released, seen[fn], fn in full)
    return found


class Cores(NamedTuple):
    """What the program had of the machine.

    Attributes:
        capacity: how many of those that compute could do so at the pace at which they did.
        slowness: by how much longer they took, since other programs had the cores.
    """

    capacity: float
    slowness: float


def cores_of(recording: Recording) -> Cores:
    """Tell what the other programs left, while this one computed: what it had, and what was idle.

    A system shares its cores between programs, not between their processes: one more gets no more.
    """
    got = idle = wanted = seconds = 0.0
    for before, after in pairwise(recording.samples):
        if before.idle is None or after.idle is None:
            continue
        wants = sum(_of_threads(before, after).computed.values()) + sum(_of_workers(before, after).values())
        if wants >= BUSY * (after.at - before.at):
            got += after.seconds - before.seconds + sum(_computed(before, after).values())
            idle += after.idle - before.idle
            wanted += wants
            seconds += after.at - before.at
    if got <= 0:
        return Cores(cpu_count(), 1.0)
    slowness = max(1.0, wanted / got)
    return Cores(min(cpu_count(), max(1.0, (got + idle) * slowness / seconds)), slowness)


# -- what was used between two samples, by worker


def _computed(before: Sample, after: Sample) -> dict[int, float]:
    """Seconds in which each worker computed."""
    earlier = {worker["pid"]: worker["seconds"] for pool in before.pools for worker in pool.get("workers", ())}
    workers = [worker for pool in after.pools for worker in pool.get("workers", ()) if worker["pid"] in earlier]
    return {worker["pid"]: max(0.0, worker["seconds"] - earlier[worker["pid"]]) for worker in workers}


def _of_workers(before: Sample, after: Sample) -> dict[int, float]:
    """Seconds in which each worker computed, or would have if others had not had the cores."""
    used: dict[int, float] = {}
    for pid, computed in _computed(before, after).items():
        stalled = after.stalled.get(pid, 0.0) - before.stalled.get(pid, 0.0)
        used[pid] = _wanted(computed, stalled, after.at - before.at)
    return used


def _wanted(computed: float, stalled: float, seconds: float) -> float:
    saturated = computed + stalled >= SATURATED * seconds and computed >= LEAST_USED * seconds
    return seconds if saturated else max(0.0, computed)


class _Step(NamedTuple):
    """What the threads computed between two samples, by ident; `full` if they did all the time together, `crowded` if
    others had the cores."""

    computed: dict[int, float]
    full: bool
    crowded: bool


def _of_threads(before: Sample, after: Sample) -> _Step:
    """Where others had the cores, the threads would have computed for longer, but one at a time has the GIL."""
    pairs = {ident: (now, before.threads.get(ident, Used(0.0, 0.0))) for ident, now in after.threads.items()}
    computed = {ident: max(0.0, now.seconds - then.seconds) for ident, (now, then) in pairs.items()}
    stalled = {ident: max(0.0, now.stalled - then.stalled) for ident, (now, then) in pairs.items()}
    seconds, total = after.at - before.at, sum(computed.values())
    waited = sum(stalled.values())
    wanted = max(total, _wanted(total, waited, seconds))
    grown = wanted / max(1e-9, total)
    crowded = waited > CROWDED * seconds and total < SATURATED * cpu_count() * seconds
    return _Step({ident: used * grown for ident, used in computed.items()}, wanted >= SATURATED * seconds, crowded)


def _rows(
    used: list[dict[int, float]], samples: list[Sample], tasks: list[Any], left_out: Container[int] = ()
) -> list[tuple[float, dict[str, float]]]:
    """For each worker between two samples: the seconds it used, and how long each function ran there."""
    by_place: dict[int, list[Any]] = defaultdict(list)
    for task in tasks:
        by_place[task.worker].append(task)
    instants = [sample.at for sample in samples]
    overlaps: dict[tuple[int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    covered: dict[tuple[int, int], tuple[float, float]] = {}
    skipped: set[tuple[int, int]] = set()
    for place, members in by_place.items():
        for task in members:
            for step, begin, end in _steps_of(task, instants):
                if end > begin and task.task in left_out:
                    skipped.add((place, step))
                elif end > begin:
                    overlaps[place, step][task.fn] += end - begin
                    known = covered.get((place, step), (begin, end))
                    covered[place, step] = min(known[0], begin), max(known[1], end)
    return [
        # Before the first task and after the last one something else has used the processor.
        (min(used[step][place], covered[place, step][1] - covered[place, step][0]), dict(found))
        for (place, step), found in overlaps.items()
        if place in used[step] and (place, step) not in skipped
    ]


def _steps_of(task: Any, instants: list[float]) -> Iterator[tuple[int, float, float]]:
    """The intervals between two samples in which a task ran: number of the first sample, begin and end of the run."""
    first = max(0, bisect_right(instants, task.started) - 1)
    for step in range(first, min(len(instants) - 1, bisect_left(instants, task.finished))):
        yield step, max(task.started, instants[step]), min(task.finished, instants[step + 1])


def _full(steps: list[_Step], samples: list[Sample], threads: list[Any]) -> set[str]:
    """The functions that mostly ran while the threads computed all the time."""
    instants = [sample.at for sample in samples]
    ran: dict[str, float] = defaultdict(float)
    for task in threads:
        for step, begin, end in _steps_of(task, instants):
            ran[task.fn] += end - begin if steps[step].full else begin - end
    return {fn for fn, seconds in ran.items() if seconds > 0}


# -- what functions needed


def _shares(rows: list[tuple[float, dict[str, float]]]) -> dict[str, float]:
    """The shares of their run that explain best what was used in all intervals."""
    shares = {fn: 0.5 for _, overlaps in rows for fn in overlaps}
    for _ in range(_ROUNDS):
        shares = _better(shares, rows)
    return shares


def _better(shares: dict[str, float], rows: list[tuple[float, dict[str, float]]]) -> dict[str, float]:
    up: dict[str, float] = defaultdict(float)
    ran: dict[str, float] = defaultdict(float)
    for used, overlaps in rows:
        told = sum(overlap * shares[fn] for fn, overlap in overlaps.items())
        for fn, overlap in overlaps.items():
            up[fn] += overlap * used / max(1e-9, told)
            ran[fn] += overlap
    return {fn: min(1.0, share * up[fn] / max(1e-9, ran[fn])) for fn, share in shares.items()}


@dataclass(slots=True)
class _Seen:
    """How often threads that ran a function were seen to compute without the GIL, to wait for it, and to wait for else;
    and for how many seconds it ran."""

    looks: int = 0
    runs: float = 0.0
    wants: float = 0.0
    blocked: float = 0.0
    seconds: float = 0.0

    @property
    def share_of_runs(self) -> float:
        return self.runs / self.looks if self.looks >= LOOKS_LEAST else 1.0


def _seen(recording: Recording, threads: list[Any]) -> dict[str, _Seen]:
    by_thread: dict[int, list[Any]] = defaultdict(list)
    found: dict[str, _Seen] = defaultdict(_Seen)
    for task in sorted(threads, key=lambda task: task.started):
        by_thread[task.worker].append(task)
        found[task.fn].seconds += task.finished - task.started
    starts = {ident: [task.started for task in members] for ident, members in by_thread.items()}
    for look in recording.looks:
        wanting = sum(state == WANTS_GIL for state in look.states.values())
        for ident, state in look.states.items():
            number = bisect_right(starts.get(ident, ()), look.at) - 1
            if number < 0 or by_thread[ident][number].finished < look.at:
                continue
            seen = found[by_thread[ident][number].fn]
            seen.looks += 1
            seen.runs += state == RUNS
            # The reader has the GIL: one of those that want it had it until just now, and did not wait.
            seen.wants += (wanting - 1) / wanting if state == WANTS_GIL else 0
            seen.blocked += state == BLOCKED
    return found


def _released(recording: Recording, steps: list[_Step], seen: dict[str, _Seen]) -> float:
    """By how much a thread that was seen to run computed without the GIL.

    All threads together did so for the seconds they computed minus those in which somebody had the GIL. A look comes
    when the GIL is given away, often because a thread goes on without it: the looks tell whose those seconds are, but
    not how many there are.
    """
    seconds = 0.0
    for step, (before, after) in zip(steps, pairwise(recording.samples), strict=True):
        looks = [look for look in recording.looks if before.at <= look.at < after.at]
        held = sum(WANTS_GIL in look.states.values() for look in looks) / len(looks) if looks else 1.0
        held = 1.0 if step.crowded else held
        seconds += max(0.0, sum(step.computed.values()) - held * (after.at - before.at))
    ran = sum(each.seconds * each.share_of_runs for each in seen.values())
    return seconds / ran if ran else 0.0


def _split(share: float, released: float, seen: _Seen, full: bool) -> Demand:
    """Tell apart what a function computes with and without the GIL, and waiting for the GIL from other waiting."""
    without = min(share, released * seen.share_of_runs)
    if seen.looks < LOOKS_LEAST:
        return Demand(share - without, without, 0.0 if full else 1 - share)
    late = max(0.0, seen.runs / seen.looks - share)  # woken up, and not on a core yet
    not_blocked = seen.wants / seen.looks + late
    blocked = seen.blocked / seen.looks
    return Demand(share - without, without, (1 - share) * blocked / max(1e-9, blocked + not_blocked))
