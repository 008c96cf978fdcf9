"""Whether the report's advice for the whole program comes true: programs, as they are and as it wants them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio

from unified_exec import Limit, ProcessPool, TaskScope, ThreadPool
from unified_exec.observe.output.recorder import Recorder
from unified_exec.observe.output.what_if import Step, WhatIf, what_if

DATA = bytes(1_000_000)
TOLERANCE = 0.2
"""How far a prediction may be from what the changed program takes."""


def computes(rounds: int) -> int:
    total = 0
    for number in range(rounds):
        total += number * number
    return total


def waits(seconds: float) -> None:
    time.sleep(seconds)


def hashes(rounds: int) -> None:
    """Computes without the GIL."""
    for _ in range(rounds):
        hashlib.sha256(DATA).digest()


def waits_and_computes(seconds: float, rounds: int) -> int:
    time.sleep(seconds)
    return computes(rounds)


def computes_and_hashes(rounds: int, hashed: int) -> None:
    computes(rounds)
    hashes(hashed)


async def bound_by_the_gil(place: str) -> None:
    """Threads that compute; the change is to run them in processes."""
    async with _pools() as scope:
        for _ in range(24):
            scope.spawn(computes, 2_000_000, on=place)  # type: ignore[call-overload]


async def bound_by_the_gil_in_part(place: str) -> None:
    """Threads that compute for one part of their time with the GIL, and for another without it."""
    async with _pools() as scope:
        for _ in range(100):
            scope.spawn(computes_and_hashes, 300_000, 6, on=place)  # type: ignore[call-overload]


async def bound_by_the_gil_after_waiting(place: str) -> None:
    """Threads that wait for as long as they compute; in processes there are fewer places to wait in."""
    async with _pools() as scope:
        for _ in range(100):
            scope.spawn(waits_and_computes, 0.015, 300_000, on=place)  # type: ignore[call-overload]


async def bound_by_the_gil_next_to_others(place: str) -> None:
    """Some threads compute, others do so without the GIL or wait; the change concerns the first."""
    async with _pools() as scope:
        for _ in range(40):
            scope.spawn(computes, 500_000, on=place)  # type: ignore[call-overload]
            scope.spawn(hashes, 10, on="thread")
            scope.spawn(waits, 0.05, on="thread")


async def bound_by_a_limit(permits: str) -> None:
    """Coroutines that wait for a limit; the change is a higher one."""
    limit = Limit(int(permits))

    async def request() -> None:
        async with limit:
            await anyio.sleep(0.1)

    async with TaskScope() as scope:
        for _ in range(60):
            scope.spawn(request)


async def bound_by_waiting(place: str) -> None:
    """Workers that wait; the change is to wait in threads, of which there are more."""
    async with ProcessPool(2) as processes, TaskScope(processes=processes) as scope:
        for _ in range(60):
            scope.spawn(waits, 0.1, on=place)  # type: ignore[call-overload]


@asynccontextmanager
async def _pools() -> AsyncIterator[TaskScope]:
    async with ProcessPool(2) as processes, ThreadPool(8) as threads:
        async with TaskScope(processes=processes, threads=threads) as scope:
            yield scope


class Example(NamedTuple):
    """A program, and the change that is expected to be advised.

    Attributes:
        program: takes the place or number that is changed.
        now, then: its values.
    """

    program: Callable[[str], Awaitable[None]]
    now: str
    then: str


EXAMPLES = (
    Example(bound_by_the_gil, "thread", "process"),
    Example(bound_by_the_gil_in_part, "thread", "process"),
    Example(bound_by_the_gil_after_waiting, "thread", "process"),
    Example(bound_by_the_gil_next_to_others, "thread", "process"),
    Example(bound_by_a_limit, "3", "12"),
    Example(bound_by_waiting, "process", "thread"),
)


class Result(NamedTuple):
    """What came of one example; `wrong` says what is not as it must be."""

    name: str
    measured: float
    replayed: float
    predicted: float
    changed: float
    wrong: str


def run(example: Example) -> Result:
    """Record a program, have its change predicted, and make it."""
    anyio.run(example.program, example.then)  # what is imported on first use is not a part of it
    found, seconds = _recorded(example)
    name = example.program.__name__
    if found is None or not found.trusted:
        return Result(name, seconds, 0.0 if found is None else found.replayed, 0.0, 0.0, "the replay does not agree")
    step = _step(found, example.then)
    began = time.monotonic()
    anyio.run(example.program, example.then)
    changed = time.monotonic() - began
    if step is None:
        return Result(name, seconds, found.replayed, 0.0, changed, f"{example.then!r} was not replayed")
    off = step.seconds / changed - 1
    wrong = f"{100 * off:+.0f} % off" if abs(off) > TOLERANCE else ""
    return Result(name, seconds, found.replayed, step.seconds, changed, wrong)


def _recorded(example: Example) -> tuple[WhatIf | None, float]:
    recorder = Recorder()
    recorder.start()
    anyio.run(example.program, example.now)
    recording = recorder.stop()
    return what_if(recording, recording.of_kind("task.settled")), recording.ended - recording.began


def _step(found: WhatIf, then: str) -> Step | None:
    """The change that is expected, advised or not: the first of its kind, of the function that takes most time."""
    steps = [*found.plan[:1], *found.alone]
    return next((step for step in steps if step.change.then == then), None)


def main() -> int:
    """Run all examples; returns how many predictions failed."""
    failed = 0
    for example in EXAMPLES:
        result = run(example)
        failed += bool(result.wrong)
        print(
            f"{result.name:31} took {result.measured:6.2f} s (replayed {result.replayed:.2f}), predicted "
            f"{result.predicted:6.2f} s, changed {result.changed:6.2f} s  {result.wrong or 'ok'}",
            flush=True,
        )
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
