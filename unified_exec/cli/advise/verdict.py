"""From the facts to the advice. Pure: the rule is that of ``on="auto"``, defined in `_auto.cost_model`."""

from __future__ import annotations

import math

from ..._auto.cost_model import (
    CHUNK,
    ENTER_GAIN,
    ENTER_TRANSFER,
    PER_BYTE,
    THREADS,
    WORTH,
    CallStats,
    PlacementCost,
    duration,
    explain,
    placement_cost,
)
from ..._rules.chunking import ITEMS_MAX
from .facts import Advice, Facts, Warned

DIRECT = 0.00005
"""A call shorter than this, in seconds, takes less time than handing it to a thread or a process."""
COROUTINES = 100
"""Number of coroutines to keep running where nothing else limits it."""
BLOCKS = 0.05
"""Blocking the event loop for at least this many seconds is worth a warning."""
IN_INTERPRETER = 0.001
"""A shorter call, in seconds, gains nothing in an interpreter: it costs what a call to a process costs."""
SEVERAL = 0.3
"""A function whose own threads keep at least this many cores busy counts as parallel by itself."""


def advise(facts: Facts) -> Advice:
    """Return where the function should run, how, and why."""
    advice = _async(facts) if facts.is_async else _plain(facts)
    return Advice(
        advice.backend,
        advice.workers,
        advice.chunk,
        advice.reason,
        advice.code,
        tuple(_warnings(facts, advice.backend)),
    )


def stats_of(facts: Facts) -> CallStats:
    """Return the measurements in the form that the rule of ``on="auto"`` takes."""
    transfer = facts.transfer
    pickle_cost = transfer.pickling + (transfer.arguments + transfer.result) * PER_BYTE if transfer.possible else None
    return CallStats(facts.cpu, facts.wait, facts.gil, pickle_cost)


def _plain(facts: Facts) -> Advice:
    stats = stats_of(facts)
    cores = max(1, round(facts.machine.cores / (1 + facts.own_threads)))
    cost = placement_cost(stats, cores)
    name = facts.name.rpartition(":")[2]
    chunk = max(1, min(ITEMS_MAX, round(CHUNK / max(facts.wall, 1e-7))))
    if facts.wall < DIRECT:
        batched = placement_cost(stats, cores, batched=True)
        pays = _pays(facts, stats, batched, cores)
        code = f'scope.map({name}, items, on="process", chunk={chunk})' if pays else f"{name}(...)"
        reason = (
            f"a call takes {duration(facts.wall)}, less than handing it to a thread or a process: call it directly"
            + (f"; for thousands of items, chunks of {chunk} in processes pay off" if pays else "")
        )
        return Advice("direct", 1, chunk, reason, code)
    if _pays(facts, stats, cost, cores):
        code = f'scope.map({name}, items, on="process")' if chunk > 1 else f'scope.spawn({name}, ..., on="process")'
        reason = explain("process", stats, cost, cores) + _or_interpreters(facts)
        return Advice("process", cores, chunk, reason, code)
    batched = placement_cost(stats, cores, batched=True)
    if chunk > 1 and _pays(facts, stats, batched, cores):
        reason = explain("process", stats, batched, cores, True)
        reason += f"; this holds for many items in chunks of {chunk}, a single call is too short"
        return Advice("process", cores, chunk, reason, f'scope.map({name}, items, on="process")')
    workers = _threads(facts, cores)
    return Advice(
        "thread", workers, chunk, _why_threads(facts, stats, cost, cores), f'scope.spawn({name}, ..., on="thread")'
    )


def _or_interpreters(facts: Facts) -> str:
    if facts.interpreter is None or not facts.interpreter.possible or facts.wall < IN_INTERPRETER:
        return ""
    return '. It runs in interpreters as well: on="interpreter" needs less memory, and a crash there ends the program'


def _pays(facts: Facts, stats: CallStats, cost: PlacementCost, cores: int) -> bool:
    if not facts.machine.gil or cores < 2 or not facts.transfer.possible or facts.rebound or facts.changed:
        return False
    # The items of a chunk share the cost of sending a call; their own arguments and results are not shared.
    return cost.gain >= ENTER_GAIN and cost.transfer_cost <= ENTER_TRANSFER * facts.wall


def _why_threads(facts: Facts, stats: CallStats, cost: PlacementCost, cores: int) -> str:
    shown = f"{duration(facts.cpu)} of CPU in {duration(facts.wall)}"
    if not facts.machine.gil:
        return f"this interpreter has no GIL: threads run in parallel and nothing is pickled ({shown})"
    faster = facts.cpu > 0.5 * facts.wall and facts.cpu >= WORTH and facts.gil > 0.5 * facts.cpu and cores > 1
    if faster and (facts.rebound or facts.changed):
        what = " and ".join([*(f"{name!r}" for name in facts.rebound), *facts.changed])
        return f"it computes ({shown}) and processes would be {cost.gain:.1f} times as fast, but it changes {what}"
    if faster and not facts.transfer.possible:
        return (
            f"it computes ({shown}) and processes would be faster, but it cannot be sent to one: {facts.transfer.why}"
        )
    return explain("thread", stats, cost, cores)


def _threads(facts: Facts, cores: int) -> int:
    """Return the number of threads that keep the bottleneck busy: the GIL, the cores, or what the calls wait for."""
    bottleneck = max(facts.gil, facts.cpu / cores, facts.wall / THREADS)
    return max(1, min(THREADS, math.ceil(facts.wall / bottleneck))) if bottleneck else 1


def _async(facts: Facts) -> Advice:
    name = facts.name.rpartition(":")[2]
    shown = f"{duration(facts.cpu)} of CPU in {duration(facts.wall)}"
    stats = stats_of(facts)
    cores = facts.machine.cores
    computes = facts.cpu >= 0.5 * facts.wall and facts.cpu >= WORTH
    if computes and _pays(facts, stats, placement_cost(stats._replace(gil=facts.cpu), cores), cores):
        reason = f"it computes ({shown}) and blocks the event loop meanwhile; {cores} processes run it without blocking"
        return Advice("process", cores, 1, reason, f'scope.spawn({name}, ..., on="process")')
    many = max(1, min(COROUTINES, int(facts.wall / facts.cpu))) if facts.cpu else COROUTINES
    if computes:
        reason = f"it computes ({shown}) and blocks the event loop meanwhile"
    else:
        reason = f"it is async and waits most of the time ({shown}): one event loop can run {many} at once"
    return Advice("loop", many, 1, reason, f"scope.spawn({name}, ...)")


def _warnings(facts: Facts, backend: str) -> list[Warned]:
    found: list[Warned] = []
    if not facts.transfer.possible and facts.transfer.why:
        found.append(Warned("travel", f"it cannot be sent to a process: {facts.transfer.why}"))
    if facts.rebound:
        names = ", ".join(facts.rebound)
        found.append(Warned("state", f"it assigns to {names}: in a process the program would not see the change"))
    for change in facts.changed:
        kind = "arguments" if change == "its arguments" else "state"
        found.append(
            Warned(kind, f"it changes {change}: a process would change only its copy, and threads need a lock")
        )
    quiet = [name for name in facts.reads if not any(name in change for change in facts.changed)]
    if quiet and backend == "process":
        names = ", ".join(quiet)
        found.append(Warned("state", f"it reads {names}: a worker sees the values from when it imported the module"))
    if facts.is_async and facts.blocked >= BLOCKS:
        where = f" at {facts.blocked_at}" if facts.blocked_at else ""
        what = "computes" if facts.cpu >= 0.5 * facts.wall else "makes a blocking call"
        found.append(
            Warned(
                "loop",
                f"it {what} and blocks the event loop for {duration(facts.blocked)}{where}; "
                "await that part with `call(...)`, which runs it in a thread, or make the function a plain `def`",
            )
        )
    if not facts.is_async and facts.blocked >= BLOCKS:
        text = f"a call holds the GIL and blocks the event loop for {duration(facts.blocked)}"
        found.append(
            Warned(
                "loop", text + (" when it runs in a thread; in a process it does not" if backend == "thread" else "")
            )
        )
    found += _own_threads(facts, backend)
    if facts.made < 4:
        found.append(
            Warned(
                "runs",
                f"this advice is based on {facts.made} run{'s' * (facts.made > 1)}: --runs 7 measures every place",
            )
        )
    return found


def _own_threads(facts: Facts, backend: str) -> list[Warned]:
    pools = {library: threads for library, threads in facts.pools.items() if threads > 1}
    if facts.own_threads < SEVERAL:
        return []
    names = ", ".join(f"{library} ({threads} threads)" for library, threads in pools.items()) or "its own threads"
    busy = f"{1 + facts.own_threads:.1f}"
    hint = (
        "the workers of a ProcessPool share the cores automatically"
        if backend == "process"
        else "several calls at once would compete for the cores: set OMP_NUM_THREADS=1, or make one call at a time"
    )
    return [Warned("threads", f"a call keeps {busy} cores busy with {names}; {hint}")]
