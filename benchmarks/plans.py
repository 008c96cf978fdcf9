"""What is timed, independent of the library that performs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import work
from .engines.engine import Batch, Plan
from .row import Settings

WARM = 50


def warm_up() -> Plan:
    """Start and use both workers: first tasks long enough that one worker cannot take them all, then short ones."""
    yield Batch(work.pause, (0.05,), calls=6, together=True)
    yield Batch(work.nothing, (), calls=WARM)
    return 0.0


def one_by_one(calls: int, least: int = 1) -> Callable[[Settings], Plan]:
    """Return the seconds of one no-op call, each awaited before the next."""

    def plan(settings: Settings) -> Plan:
        yield from warm_up()
        number = settings.calls(calls, least)
        seconds = yield Batch(work.nothing, (), number)
        return seconds / number

    return plan


def all_at_once(calls: int, repeat: int = 1) -> Callable[[Settings], Plan]:
    """Return the seconds per call of no-op calls submitted at once."""

    def plan(settings: Settings) -> Plan:
        yield from warm_up()
        yield Batch(work.nothing, (), WARM, together=True)
        total = 0.0
        for _ in range(repeat):
            total += yield Batch(work.nothing, (), calls, together=True)
        return total / (calls * repeat)

    return plan


def cpu_tasks(calls: int, seconds: float) -> Callable[[Settings], Plan]:
    """Return the seconds for tasks of a fixed amount of work, calibrated once per run."""

    def plan(settings: Settings) -> Plan:
        yield from warm_up()
        turns = _calibrated(seconds)
        yield Batch(work.count, (turns // 50,), 4, together=True)
        return (yield Batch(work.count, (turns,), settings.calls(calls, 16), together=True))

    return plan


_turns: dict[float, int] = {}


def _calibrated(seconds: float) -> int:
    """Return the same number of turns to every contender in every round."""
    if seconds not in _turns:
        _turns[seconds] = work.turns_for(seconds, tries=20)
    return _turns[seconds]


def smallest_efficient_task(calls: int, steps: int = 4) -> Callable[[Settings], Plan]:
    """METG(50 %) of two workers, after Slaughter et al., "Task Bench" (SC20): seconds of the smallest efficient task.

    Two workers at 50 % efficiency finish a task of length d every d seconds. The wall time per task, as a function of
    d, has a slope of at most one half, so that replacing d by it `steps` times converges to that d.
    """

    def plan(settings: Settings) -> Plan:
        yield from warm_up()
        number = settings.calls(calls, 200)
        length = yield Batch(work.nothing, (), number, together=True)
        length /= number
        for _ in range(steps):
            # Calibrated each time: when the machine slows down, the tasks and the engine slow down alike.
            turns = work.turns_for(length)
            length = yield Batch(work.count, (turns,), number, together=True)
            length /= number
        return length

    return plan


def round_trip(make: Callable[[], Any], check: Callable[[Any], None], calls: int) -> Callable[[Settings], Plan]:
    """Return the seconds to send a value to a worker and receive it back."""

    def plan(settings: Settings) -> Plan:
        yield from warm_up()
        value = make()
        yield Batch(work.same, (value,), 1, check=check)
        seconds = yield Batch(work.same, (value,), calls, check=check)
        return seconds / calls

    return plan
