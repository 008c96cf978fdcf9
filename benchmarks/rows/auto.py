"""``on="auto"``: against the best fixed backend on the workloads of `unified-exec bench`, and what it costs a call."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

from unified_exec import ProcessPool, TaskScope, ThreadPool
from unified_exec._auto.placer import forget, record_of
from unified_exec.cli.bench.io_servers import serving
from unified_exec.cli.bench.workloads import WORKLOADS, Setting, Workload

from .. import work
from ..engines.engine import WORKERS, on_loop
from ..row import BEST_PEER, OURS, Bar, Contender, Row, Settings

WARM_UP_MOST = 12
TIMES, ENOUGH = 15, 0.3
"""Once warm, the items are run `TIMES` times, or for `ENOUGH` seconds."""
CALLS = 10_000
PLACES: tuple[Any, ...] = ("auto", "thread", "process")


def _contender(workload: Workload, on: Any) -> Contender:
    def measure(settings: Settings) -> float:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            ports = stack.enter_context(serving())
            setting = Setting(True, WORKERS, ports.http, ports.smtp, folder)
            return float(on_loop(settings.loop, _timed, workload.fn, workload.items(setting), on))

    return Contender(OURS if on == "auto" else f"on={on}", measure, workload.needs, peer=on != "auto")


async def _timed(fn: Callable[[Any], Any], items: Sequence[Any], on: Any) -> float:
    """Return the seconds for all items, spawned at once, when everything is warm and ``auto`` has settled.

    It is a median of several times, since some workloads take only milliseconds.
    """
    settled = 0
    seconds: list[float] = []
    forget()
    async with ProcessPool(WORKERS) as processes, ThreadPool() as threads:
        for warm_up in range(WARM_UP_MOST + TIMES):
            began = time.perf_counter()
            async with TaskScope(processes=processes, threads=threads) as scope:
                for item in items:
                    scope.spawn(fn, item, on=on)
            taken = time.perf_counter() - began
            settled += on != "auto" or record_of(fn).model.settled
            if settled > 2 or warm_up >= WARM_UP_MOST:  # two rounds to warm up, and none in which `auto` still measures
                seconds.append(taken)
                if len(seconds) == TIMES or sum(seconds) > ENOUGH:
                    break
    return median(seconds)


async def _spawned(calls: int) -> dict[str, float]:
    """Return the CPU seconds of the loop's thread per `spawn` of a settled function, with and without ``auto``."""
    taken = {"auto": 0.0, "thread": 0.0}
    forget()
    async with ThreadPool(1) as pool:
        for number in range(12):
            for on in ("auto", "thread") if number % 2 else ("thread", "auto"):
                async with TaskScope(threads=pool) as scope:
                    began = time.thread_time()
                    for _ in range(calls // 10):
                        scope.spawn(work.nothing, on=on)  # type: ignore[arg-type]
                    if number > 1:
                        taken[on] += time.thread_time() - began
    each = {on: seconds / calls for on, seconds in taken.items()}
    return {**each, "what auto adds": max(0.0, each["auto"] - each["thread"])}


def _call(settings: Settings) -> dict[str, float]:
    return dict(on_loop(settings.loop, functools.partial(_spawned, settings.calls(CALLS))))


ROWS = [
    Row(
        "auto-call",
        'what on="auto" adds to a spawn once settled',
        "s",
        f"CPU time of the loop's thread per spawn of a no-op: {CALLS:,} in batches, auto and thread in turn.",
        (Contender(OURS, _call),),
        (Bar(5e-6, figure=f"{OURS}: what auto adds"), Bar(2.0, f"{OURS}: thread", f"{OURS}: auto")),
        rounds_most=5,
    ),
    *(
        Row(
            f"auto-{workload.key}",
            f'on="auto" against fixed backends: {workload.title}',
            "s",
            f"{workload.about} All items of the quick suite spawned at once, warm, after auto has settled.",
            tuple(_contender(workload, on) for on in PLACES),
            (Bar(1.15, BEST_PEER),),
            rounds_most=5,
        )
        for workload in WORKLOADS
        if workload.fn_apart is None and workload.quick
    ),
]
