"""What watching costs: nothing while nobody does, little while a recorder or a listener of all steps is there; what a
large trace takes. And whether what the report predicts comes true."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from statistics import median
from timeit import repeat
from types import ModuleType
from typing import Any

from unified_exec import ProcessPool, TaskScope, ThreadPool
from unified_exec._tasks import events
from unified_exec.observe.output.recorder import Recorder
from unified_exec.observe.output.trace_file import perfetto
from unified_exec.observe.recording.ring import ring

from .. import work
from ..engines.engine import WORKERS, on_loop
from ..row import OURS, Bar, Contender, Row, Settings
from ..soak.predictions import EXAMPLES, TOLERANCE, Example, run

TASKS = 1_000
BLOCKS = 120
TRACED = 100_000
OFF, AGAIN, ON, STEPS, GUARDED = "not watched", "not watched again", "recorded", "all steps", "watching switched off"
PREDICTED, CHANGED = "predicted", "changed"
Burst = Callable[[], Awaitable[float]]


async def _nothing() -> None:
    pass


def _contender(place: str) -> Contender:
    def measure(settings: Settings) -> dict[str, float]:
        return on_loop(settings.loop, _blocks, place, settings.calls(BLOCKS, 24))

    return Contender(OURS, measure)


async def _blocks(place: str, blocks: int) -> dict[str, float]:
    """Processor time for each task: short bursts of each kind follow each other, in an order that changes.

    Bursts are compared with those next to them, and the ratios' medians are taken: what slows the machine for a while
    slows both. Two bursts of a block are not watched; their ratio tells how far a figure may be off.
    """
    fn: Any = _nothing if place == "loop" else work.nothing
    async with ProcessPool(WORKERS) as processes, ThreadPool(4) as threads:

        async def burst() -> float:
            gc.collect()
            began = time.process_time()
            async with TaskScope(processes=processes, threads=threads) as scope:
                spawn: Any = scope.spawn
                for _ in range(TASKS):
                    spawn(fn, on=place)
            ring.drain()
            return (time.process_time() - began) / TASKS

        kinds: dict[str, Burst] = {
            OFF: burst,
            AGAIN: burst,
            ON: lambda: _recorded(burst),
            STEPS: lambda: _followed(burst),
        }
        for kind in kinds.values():
            await kind()
        names, found = list(kinds), dict[str, list[float]]()
        for number in range(blocks):
            turn = number % len(names)
            for name in (names[turn:] + names[:turn])[:: -1 if number % 2 else 1]:
                found.setdefault(name, []).append(await kinds[name]())
        guards = await _guards(burst)
    pairs = list(zip(found[OFF], found[AGAIN], strict=True))
    each = median(sum(pair) / 2 for pair in pairs)
    result = {OFF: each, AGAIN: each * median(again / off for off, again in pairs)}
    for name in (ON, STEPS):
        result[name] = each * median(2 * took / sum(pair) for took, pair in zip(found[name], pairs, strict=True))
    return {**result, GUARDED: each + guards * _guard_seconds()}


async def _recorded(burst: Burst) -> float:
    recorder = _recorder()
    try:
        return await burst()
    finally:
        recorder.stop()


def _recorder() -> Recorder:
    """A recorder that has begun: the first sample is taken at once, and others four times a second."""
    recorder = Recorder()
    recorder.start()
    while not recorder.recording.samples:
        time.sleep(0.001)
    return recorder


async def _followed(burst: Burst) -> float:
    told: list[Any] = []
    end = ring.subscribe(told.extend, moves=True)
    try:
        return await burst()
    finally:
        end()


class _Counting(ModuleType):
    """The module of the events, while it is counted how often a site asks whether somebody listens."""

    asked = 0

    def __getattribute__(self, name: str) -> Any:
        if name in ("rows", "moves"):
            _Counting.asked += 1
        return super().__getattribute__(name)


async def _guards(burst: Burst) -> float:
    """How many tests a task makes of whether somebody listens."""
    before = _Counting.asked
    events.__class__ = _Counting
    try:
        await burst()
    finally:
        events.__class__ = ModuleType
    return (_Counting.asked - before) / TASKS


def _guard_seconds() -> float:
    """The time of one such test."""
    number, tests = 10_000, "if events.rows is not None: pass\n" * 20
    return min(repeat(tests, number=number, repeat=10, globals={"events": events})) / (20 * number)


def _row(place: str, bar: float) -> Row:
    off = f"{OURS}: {OFF}"
    return Row(
        f"watched-{place}",
        f"watching no-op {place} tasks",
        "s",
        f"Bursts of {TASKS:,} no-op tasks in turn: twice not watched, with a recorder, with a listener of each step; "
        "processor time of the program for each task, that of the thread which takes the events included; medians of "
        f"the ratios of bursts that follow each other. '{AGAIN}' tells how far they may be off. '{GUARDED}': the "
        "tests whether somebody listens are counted and timed.",
        (_contender(place),),
        (
            Bar(1.01, off, f"{OURS}: {GUARDED}"),
            Bar(bar, off, f"{OURS}: {ON}"),
            Bar(1.25, off, f"{OURS}: {STEPS}"),
        ),
        rounds_most=3,
    )


def _trace(settings: Settings) -> dict[str, float]:
    recorder = _recorder()
    on_loop(settings.loop, _spawn_many, TRACED)
    recording = recorder.stop()
    began = time.process_time()
    written = perfetto(recording)
    return {"": time.process_time() - began, "its size": float(len(written))}


async def _spawn_many(tasks: int) -> None:
    places: list[tuple[str, Any]] = [("loop", _nothing), ("thread", work.nothing), ("process", work.nothing)]
    async with ProcessPool(WORKERS) as processes, ThreadPool(4) as threads:
        for part in range(0, tasks, TASKS):
            async with TaskScope(processes=processes, threads=threads) as scope:
                spawn: Any = scope.spawn
                for number in range(part, min(part + TASKS, tasks)):
                    place, fn = places[number % len(places)]
                    spawn(fn, on=place)


_TRACE = Row(
    "trace",
    f"writing the trace of {TRACED:,} tasks",
    "s",
    "No-op tasks, as many on the event loop, in threads and in workers, are recorded; processor time to write the "
    "file for Perfetto, and its size.",
    (Contender(OURS, _trace),),
    (Bar(3.0), Bar(6e6, figure=f"{OURS}: its size")),
    units={f"{OURS}: its size": "bytes"},
    rounds_most=3,
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


ROWS = [_row("process", 1.10), _row("thread", 1.15), _row("loop", 1.10), _TRACE, *map(_prediction, EXAMPLES)]
