"""What it costs to record: the processor time of the program for each task, with a recorder and without. And whether
what the report predicts comes true."""

from __future__ import annotations

import gc
import time
from statistics import median
from typing import Any

from unified_exec import ProcessPool, TaskScope, ThreadPool
from unified_exec.observe.output.recorder import Recorder

from .. import work
from ..engines.engine import WORKERS, on_loop
from ..row import OURS, Bar, Contender, Row, Settings
from ..soak.predictions import EXAMPLES, TOLERANCE, Example, run

TASKS = 6_000
PAIRS = 9
OFF, ON = "not recorded", "recorded"
PREDICTED, CHANGED = "predicted", "changed"


async def _nothing() -> None:
    pass


def _contender(place: str) -> Contender:
    def measure(settings: Settings) -> dict[str, float]:
        return on_loop(settings.loop, _pairs, place, settings.calls(PAIRS, 3))

    return Contender(OURS, measure)


async def _pairs(place: str, pairs: int) -> dict[str, float]:
    """Processor time for each task, not recorded, and that time the median ratio of bursts that follow each other."""
    fn: Any = _nothing if place == "loop" else work.nothing
    async with ProcessPool(WORKERS) as processes, ThreadPool(4) as threads:

        async def burst() -> float:
            gc.collect()
            began = time.process_time()
            async with TaskScope(processes=processes, threads=threads) as scope:
                for _ in range(TASKS):
                    scope.spawn(fn, on=place)  # type: ignore[call-overload]
            return (time.process_time() - began) / TASKS

        await burst()
        off: list[float] = []
        ratios: list[float] = []
        for _ in range(pairs):
            off.append(await burst())
            recorder = Recorder()
            recorder.start()
            try:
                on = await burst()
            finally:
                recorder.stop()
            ratios.append(on / off[-1])
    each = median(off)
    return {OFF: each, ON: each * median(ratios)}


def _row(place: str, bar: float) -> Row:
    return Row(
        f"recorded-{place}",
        f"recording no-op {place} tasks",
        "s",
        f"Bursts of {TASKS:,} no-op tasks, in turn without and with a recorder; processor time of the program for "
        "each task, the thread that takes the events included; the median of the ratios.",
        (_contender(place),),
        (Bar(bar, f"{OURS}: {OFF}", f"{OURS}: {ON}"),),
        rounds_most=5,
    )


def _prediction(example: Example) -> Row:
    def measure(_settings: Settings) -> dict[str, float]:
        result = run(example)
        return {PREDICTED: result.predicted, CHANGED: result.changed}

    predicted, changed, most = f"{OURS}: {PREDICTED}", f"{OURS}: {CHANGED}", 1 + TOLERANCE
    return Row(
        f"prediction-{example.program.__name__.replace('_', '-')}",
        f"a program {example.program.__name__.replace('_', ' ')}",
        "s",
        f"The program is recorded, the report predicts its time with {example.then} instead of {example.now}, and the "
        "changed program is run. Workers are started by each program.",
        (Contender(OURS, measure, loops=("asyncio",)),),
        (Bar(most, predicted, changed), Bar(most, changed, predicted)),
        rounds_most=5,
    )


ROWS = [_row("process", 1.10), _row("thread", 1.15), _row("loop", 1.10), *map(_prediction, EXAMPLES)]
