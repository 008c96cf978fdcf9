"""Cancels running process tasks at random moments and checks from the outside what became of each.

python -m tests.stress.cancellations 10000 [asyncio|uvloop|trio] [seed]
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from tests.stress import victims
from unified_exec import Collect, ProcessPool, TaskHandle, TaskScope, TaskState, observe

WORKERS = 2
AT_ONCE = 24
"""Tasks in flight: more than there are workers, so that some wait in the queue or are sent ahead."""
GRACE = 60.0
"""So long that a kill would be seen: it is no stopping of the pool that makes this pass."""

Victim = tuple[str, Callable[..., Any], tuple[Any, ...]]


def victim(number: int, dice: random.Random) -> Victim:
    """Choose a task at random."""
    roll = dice.random()
    if roll < 0.40:
        return "endless", victims.endless, (number, dice.randrange(len(victims.BODIES)))
    if roll < 0.60:
        return "brief", victims.brief, (number, dice.choice((1, 100, 3000, 30000)))
    if roll < 0.72:
        return "bare", victims.bare, (number,)
    if roll < 0.78:
        return "unpickling", victims.takes, (number, victims.Slow(number))
    if roll < 0.84:
        return "keeps", victims.keeps_its_value, (number,)
    if roll < 0.855:
        return "import", victims.imports, (number,)
    if roll < 0.98:
        return "coroutine", victims.sleeper, (number, dice.choice((0.0, 0.001, 600.0)))
    return "blocker", victims.blocker, (number,)


class Report:
    """What was seen, from the parent's side and in the journal of the workers."""

    def __init__(self) -> None:
        self.kinds: dict[int, str] = {}
        self.asked: set[int] = set()
        self.outcomes: dict[int, str] = {}
        self.ends: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.journal: dict[int, list[str]] = defaultdict(list)
        self.pids: dict[int, set[int]] = defaultdict(set)
        self.problems: list[str] = []

    def read(self, path: Path) -> None:
        for line in path.read_text().splitlines():
            number, pid, what = line.split(" ", 2)
            self.journal[int(number)].append(what)
            self.pids[int(number)].add(int(pid))

    def check(self) -> None:
        for number, kind in self.kinds.items():
            for problem in self._problems(number, kind):
                self.problems.append(f"task {number} ({kind}): {problem}; {self.journal[number]}")
        self._check_workers()

    def _problems(self, number: int, kind: str) -> list[str]:
        lines, outcome = self.journal[number], self.outcomes.get(number)
        asks = [line for line in lines if line.startswith("asked")]
        found = []
        if self.ends[f"t{number}"] != 1:
            found.append(f"settled {self.ends[f't{number}']} times")
        if lines.count("begun") > 1 or len(self.pids[number]) > 1:
            found.append("ran twice")
        if "begun" in lines and "finally" not in lines:
            found.append("its finally block did not run")
        if len(asks) > 1 or (asks and asks != [f"asked for {number} in t{number}"]):
            found.append(f"got what was meant for another: {asks}")
        if asks and number not in self.asked:
            found.append("was asked though nobody cancelled it")
        allowed = {"cancelled", "kept"} if kind == "keeps" else {"cancelled", "value"}
        if outcome not in allowed:
            found.append(f"ended as {outcome}")
        if outcome == "cancelled" and number not in self.asked:
            found.append("was cancelled by nobody")
        return found

    def _check_workers(self) -> None:
        """No worker is replaced, not even for a request in an import."""
        for loops in (False, True):
            mine = [n for n, kind in self.kinds.items() if (kind in ("coroutine", "blocker")) is loops]
            pids = set().union(*(self.pids[n] for n in mine))
            if len(pids) > WORKERS:
                self.problems.append(f"{len(pids)} workers in place of {WORKERS} (coroutines: {loops})")

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [0.0] * 99
        replaced = len(set().union(*self.pids.values())) - 2 * WORKERS
        imports = sum(1 for n, kind in self.kinds.items() if kind == "import" and len(self.journal[n]) == 3)
        return (
            f"{len(self.kinds)} tasks, {len(self.asked)} cancelled, {len(self.seconds)} of them while they ran: "
            f"cancel to done p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms, "
            f"max {max(self.seconds, default=0.0) * 1000:.1f} ms; "
            f"{max(0, replaced)} workers replaced, {imports} requests in imports; {len(self.problems)} problems"
        )


async def storm(count: int, seed: int, folder: Path) -> Report:
    """Run `count` tasks and cancel most of them at a random moment."""
    dice, report, journal = random.Random(seed), Report(), folder / "journal"
    journal.touch()
    (folder / "a_slow_module.py").write_text(victims.MODULE)

    def settled(events: list[Any]) -> None:
        report.ends.update(event.name for event in events)

    unwatch = observe.watch(settled, kinds={"task.settled"})
    try:
        async with ProcessPool(
            WORKERS, grace=GRACE, initializer=victims.open_journal, initargs=(str(journal), str(folder))
        ) as pool:
            async with TaskScope(policy=Collect(), processes=pool) as scope:
                await _run(scope, count, dice, report)
    finally:
        unwatch()
    report.read(journal)
    report.check()
    return report


async def _run(scope: TaskScope, count: int, dice: random.Random, report: Report) -> None:
    room = anyio.Semaphore(AT_ONCE)
    warm = [scope.spawn(victims.bare, 0, on="process"), scope.spawn(victims.sleeper, 0, 0.0, on="process")]
    for handle in warm:
        await handle

    async def one(number: int) -> None:
        kind, fn, args = victim(number, dice)
        report.kinds[number] = kind
        handle = scope.spawn(fn, *args, on="process", name=f"t{number}")
        await _end(handle, number, dice, report)
        room.release()

    async with anyio.create_task_group() as group:
        for number in range(1, count + 1):
            await room.acquire()
            group.start_soon(one, number)


async def _end(handle: TaskHandle[int], number: int, dice: random.Random, report: Report) -> None:
    roll = dice.random()
    endless = report.kinds[number] not in ("brief", "bare")
    if roll < 0.2:
        pass
    elif roll < 0.6:
        await anyio.sleep(dice.random() * 0.004)
    elif not handle.done():
        while handle.state is TaskState.QUEUED:
            await anyio.sleep(0.0005)
        await anyio.sleep(dice.random() * 0.001)
    if not handle.done() and (endless or roll < 0.9):
        report.asked.add(number)
        running = handle.state is TaskState.RUNNING
        asked = time.perf_counter()
        handle.cancel(str(number))
        await handle.wait()
        if running and report.kinds[number] not in ("coroutine", "blocker"):  # who waits for a blocker measures that
            report.seconds.append(time.perf_counter() - asked)
    await handle.wait()
    if handle.cancelled():
        report.outcomes[number] = "cancelled"
    elif (error := handle.exception()) is not None:
        report.outcomes[number] = repr(error)
    else:
        value = handle.result()
        report.outcomes[number] = "value" if value == number else "kept" if value == -number else f"value {value!r}"


def main() -> None:
    count, loop, seed = int(sys.argv[1]), "asyncio", time.time_ns() % 100_000
    if len(sys.argv) > 2:
        loop = sys.argv[2]
    if len(sys.argv) > 3:
        seed = int(sys.argv[3])
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    backend = "trio" if loop == "trio" else "asyncio"
    with tempfile.TemporaryDirectory() as folder:
        report = anyio.run(storm, count, seed, Path(folder), backend=backend, backend_options=options)
    print(f"{sys.version.split()[0]} {loop} seed {seed} load {os.getloadavg()[0]:.1f}: {report}")
    for problem in report.problems[:20]:
        print(" ", problem)
    sys.exit(bool(report.problems))


if __name__ == "__main__":
    main()
