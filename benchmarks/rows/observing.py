"""What watching costs: nothing while nobody does, little while a recorder or a listener of all steps is there; what a
large trace and a dashboard take. And whether what the report predicts comes true."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from timeit import repeat
from types import ModuleType
from typing import Any

import anyio

from unified_exec import ProcessPool, TaskScope, ThreadPool
from unified_exec._tasks import events
from unified_exec.observe.output.recorder import Recorder
from unified_exec.observe.output.trace_file import perfetto
from unified_exec.observe.recording.ring import ring
from unified_exec.observe.viewer.board import Board
from unified_exec.observe.viewer.feed import Feed
from unified_exec.observe.viewer.frames import Frames

from .. import work
from ..engines.engine import WORKERS, on_loop
from ..row import OURS, Bar, Contender, Row, Settings
from ..soak.predictions import EXAMPLES, TOLERANCE, Example, run

TASKS = 1_000
BLOCKS = 120
TRACED = 100_000
LIVE = 10_000
WATCHED_SECONDS = 5.0
A_FRAME = "a frame"
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
    end = ring.subscribe(told.append, moves=True)
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


def view(pid: int) -> None:
    """Follow a program as a dashboard does; once all tasks are known, print a line, and at the end the time of a frame.

    Run in a process of its own.
    """
    feed = Feed(pid, Board())
    feed.start()
    frames = Frames(feed.board)
    while len(feed.board.tasks) < LIVE:
        time.sleep(0.01)
    print("ready", flush=True)
    took: list[float] = []
    end = time.monotonic() + WATCHED_SECONDS
    while (began := time.monotonic()) < end:
        json.dumps(frames.next())
        took.append(time.monotonic() - began)
        time.sleep(max(0.0, 0.1 - took[-1]))
    feed.stop()
    print(sorted(took)[-2], flush=True)  # the first frame, which has everything, is the longest


async def _live() -> dict[str, float]:
    async with TaskScope() as scope:
        for _ in range(LIVE):
            scope.spawn(anyio.sleep_forever)
        await anyio.sleep(0.1)
        alone = await _busy(scope)
        code = f"from {__name__} import view; view({os.getpid()})"
        async with await anyio.open_process([sys.executable, "-c", code]) as viewer:
            assert viewer.stdout is not None
            assert (await viewer.stdout.receive()).strip() == b"ready"
            watched = await _busy(scope)
            frame = float(await viewer.stdout.receive())
        scope.cancel()
    return {"": max(0.0, watched - alone), A_FRAME: frame}


async def _busy(scope: TaskScope) -> float:
    """Processor time a second, while a hundred tasks a second come and go."""
    began, at = time.process_time(), time.monotonic()
    while time.monotonic() < at + WATCHED_SECONDS - 1:
        scope.spawn(_nothing)
        await anyio.sleep(0.01)
    return (time.process_time() - began) / (time.monotonic() - at)


_DASHBOARD = Row(
    "dashboard",
    f"a dashboard on a program with {LIVE:,} live tasks",
    "s",
    "A viewer's process makes ten frames a second, while a hundred tasks a second come and go. What the program's "
    "processor time a second grows by, and the longest frame but the first.",
    (Contender(OURS, lambda settings: on_loop(settings.loop, _live)),),
    (Bar(0.10), Bar(0.10, figure=f"{OURS}: {A_FRAME}")),
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


ROWS = [
    _row("process", 1.10),
    _row("thread", 1.15),
    _row("loop", 1.10),
    _TRACE,
    _DASHBOARD,
    *map(_prediction, EXAMPLES),
]
