"""What a recording suggests to change. Pure rules over figures: each tells what it rests on, or nothing.

No rule speaks of less than a second, or of less than a fiftieth of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

ADVICE_MAX = 5
LEAST_SECONDS, LEAST_SHARE = 1.0, 0.02


class Function(NamedTuple):
    """The tasks of one function on one backend; seconds are sums over its tasks.

    Attributes:
        name: ``module:qualname``.
        backend: where they ran.
        tasks: how many; `items` counts those of chunks.
        run, queued, travel, back: seconds spent so.
        run_p50: the median of the seconds that one task ran.
        overhead_p50: the median of the seconds that one task travelled, both ways.
        sent, received: bytes.
        waited: those of the seconds in `run` in which the tasks waited for limits, locks and channels.
    """

    name: str
    backend: str
    tasks: int
    items: int
    run: float
    queued: float
    travel: float
    back: float
    run_p50: float
    overhead_p50: float
    sent: int
    received: int
    waited: float = 0.0


class WaitedFor(NamedTuple):
    """A limit, lock or channel that tasks waited for.

    Attributes:
        on, name: see `schema.WaitBegun`.
        seconds: how long, in all.
        times: how often.
        held_by: who held it during most of that, in words; "" if that is not known.
    """

    on: str
    name: str
    seconds: float
    times: int
    held_by: str


class Facts(NamedTuple):
    """What the rules look at.

    Attributes:
        seconds: the length of the run.
        cores: those the program may use.
        cpu: seconds of processor time of the program and its workers together.
        idle: seconds for which the cores had nothing to do, all together.
        thread_cpu: those of the threads of the program that ran tasks, as if other programs had not had the cores.
        functions: what ran.
        starved: by pool, its kind and the share of the samples in which tasks were queued.
        waits: what tasks waited for.
        busy: the share of the workers' and threads' time in which they ran tasks that did not wait.
        threads: how many thread tasks ran at the same time, on average while any ran.
        deaths: how many workers ended by something else than themselves; `starts` counts those that began.
        start_seconds: what their starts took, in all.
        growth: by worker that grew most of the time, the share by which its memory has grown.
        straggler: seconds at the end of the run in which one task alone ran, and its name.
    """

    seconds: float
    cores: int
    cpu: float
    idle: float
    thread_cpu: float
    functions: list[Function]
    starved: dict[str, tuple[str, float]]
    waits: list[WaitedFor]
    busy: float
    threads: float
    deaths: int
    starts: int
    start_seconds: float
    growth: dict[int, float]
    straggler: tuple[float, str]


class Advice(NamedTuple):
    """One piece of advice.

    Attributes:
        title: in a few words.
        text: what to do.
        figures: what it rests on.
        seconds: what it is about; the larger come first.
    """

    title: str
    text: str
    figures: str
    seconds: float


def short(name: str) -> str:
    """The function without its module."""
    return name.partition(":")[2] or name


def too_short(facts: Facts) -> list[Advice]:
    """Process tasks that take less than their transport."""
    return [
        Advice(
            f"The tasks of {short(fn.name)} are short for processes",
            "Send many items at once with scope.map, or run it in threads if it releases the GIL.",
            f"{fn.tasks:,} tasks, median run {1e6 * fn.run_p50:,.0f} µs, median transport "
            f"{1e6 * fn.overhead_p50:,.0f} µs",
            fn.travel + fn.back,
        )
        for fn in facts.functions
        if fn.backend == "process" and fn.tasks >= 1000 and fn.items == fn.tasks and fn.run_p50 < 5 * fn.overhead_p50
    ]


def starved(facts: Facts) -> list[Advice]:
    """Tasks queue while cores idle. More threads do not help those that share one core."""
    used = 1 - facts.idle / max(1e-9, facts.seconds * facts.cores)
    useless = "thread" if gil(facts) else ""
    return [
        Advice(
            f"{pool} starves while cores idle",
            "Raise its max_workers, or send a part of the work elsewhere with on=.",
            f"tasks were queued {100 * share:.0f} % of the time, {100 * used:.0f} % of {facts.cores} cores were used",
            share * facts.seconds * (1 - used),
        )
        for pool, (kind, share) in facts.starved.items()
        if share > 0.5 and used < 0.5 and kind != useless
    ]


_LIMIT = "Hold it for a shorter time, or raise its number if what it protects allows."
_LOCK = "Hold it for a shorter time, or use several locks, each for a part of what it protects."
_RECEIVERS = "Its receivers are too slow: have more of them, or give each less to do for an item."


def idle_behind(facts: Facts) -> list[Advice]:
    """Workers idle while tasks wait for a limit or a lock, or for room in a channel."""
    found: list[Advice] = []
    for wait in facts.waits:
        text = {"limit": _LIMIT, "rate": _LIMIT, "semaphore": _LIMIT, "lock": _LOCK}.get(wait.on)
        if wait.on == "channel" and wait.name.startswith("send"):
            text = _RECEIVERS
        if text is not None and wait.seconds > 0.3 * facts.seconds and facts.busy < 0.7:
            title = f"Workers idle behind {wait.name}" if text is _LOCK else f"Much waits for {wait.name}"
            figures = f"tasks waited {wait.seconds:.1f} s for it in all, {wait.times:,} times"
            figures += f", mostly held by {wait.held_by}" if wait.held_by else ""
            figures += f"; workers and threads were busy {100 * facts.busy:.0f} %"
            found.append(Advice(title, text, figures, min(wait.seconds, facts.seconds)))
    return found


def gil(facts: Facts) -> list[Advice]:
    """Threads that compute share one core."""
    per_core = facts.thread_cpu / max(1e-9, facts.seconds)
    threads = [fn for fn in facts.functions if fn.backend == "thread"]
    if facts.threads <= 1.5 or not 0.7 <= per_core <= 1.15 or facts.cores < 2 or not threads:
        return []
    most = max(threads, key=lambda fn: fn.run)
    return [
        Advice(
            f"Threads that run {short(most.name)} share one core",
            'Run it in processes: on="process" or on="cpu".',
            f"{facts.threads:.1f} thread tasks ran at once on average, and used {per_core:.2f} cores together",
            facts.seconds * (1 - 1 / min(facts.threads, facts.cores)),
        )
    ]


def big_messages(facts: Facts) -> list[Advice]:
    """Data that takes longer to travel than to process."""
    found: list[Advice] = []
    for fn in facts.functions:
        size = (fn.sent + fn.received) / max(1, fn.tasks)
        if fn.backend == "process" and fn.travel + fn.back > fn.run and size > 1 << 20:
            found.append(
                Advice(
                    f"The data of {short(fn.name)} takes longer to travel than to process",
                    "Share it once with unified_exec.share, or send a path instead of its content.",
                    f"{size / (1 << 20):.1f} MiB a task, {fn.travel + fn.back:.1f} s of transport, {fn.run:.1f} s work",
                    fn.travel + fn.back,
                )
            )
    return found


def restarts(facts: Facts) -> list[Advice]:
    """Workers that die, or whose start takes a good part of the run."""
    tasks = sum(fn.tasks for fn in facts.functions if fn.backend == "process")
    found: list[Advice] = []
    if facts.deaths > 1 and facts.deaths > tasks / 100:
        figures = f"{facts.deaths} of {facts.starts} workers died or were killed, {tasks:,} tasks"
        each = facts.start_seconds / max(1, facts.starts)
        found.append(Advice("Workers die often", "See the failures below.", figures, facts.deaths * each + 1.0))
    if facts.start_seconds > 0.1 * facts.seconds * max(1, facts.starts):
        found.append(
            Advice(
                "The start of workers takes a good part of the run",
                "Start them ahead with unified_exec.prestart, import less in them, or keep the pool for longer.",
                f"{facts.starts} starts took {facts.start_seconds:.1f} s in all, the run {facts.seconds:.1f} s",
                facts.start_seconds / max(1, facts.starts),
            )
        )
    return found


def memory(facts: Facts) -> list[Advice]:
    """Workers whose memory grows all the time."""
    grown = {pid: share for pid, share in facts.growth.items() if share > 0.2}
    if not grown:
        return []
    figures = ", ".join(f"worker {pid} + {100 * share:.0f} %" for pid, share in list(grown.items())[:3])
    text = "Look for what is kept between tasks; max_tasks_per_worker or max_worker_memory replaces workers."
    return [Advice("The memory of workers grows", text, figures, facts.seconds)]


def one_straggler(facts: Facts) -> list[Advice]:
    """One task runs alone at the end."""
    seconds, name = facts.straggler
    if seconds < 0.1 * facts.seconds:
        return []
    text = "Split it, or start it first."
    return [
        Advice(f"{name} runs alone at the end", text, f"the last {seconds:.1f} s of {facts.seconds:.1f} s", seconds)
    ]


RULES: tuple[Callable[[Facts], list[Advice]], ...] = (
    too_short,
    starved,
    idle_behind,
    gil,
    big_messages,
    restarts,
    memory,
    one_straggler,
)


def advise(facts: Facts) -> list[Advice]:
    """Return the advice that matters most, the weightiest first."""
    found = [advice for rule in RULES for advice in rule(facts)]
    least = max(LEAST_SECONDS, LEAST_SHARE * facts.seconds)
    found = [advice for advice in found if advice.seconds >= least]
    return sorted(found, key=lambda advice: -advice.seconds)[:ADVICE_MAX]
