"""What is timed, independent of who performs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import work
from ..engines.base import Batch, Plan
from ..model import Settings

WARM = 50


def warm_up() -> Plan:
    """Get both workers started and used: tasks long enough that one worker cannot take them all, then short ones."""
    yield Batch(work.pause, (0.05,), calls=6, together=True)
    yield Batch(work.nothing, (), calls=WARM)
    return 0.0


def one_by_one(calls: int, least: int = 1) -> Callable[[Settings], Plan]:
    """Seconds of one no-op call, each awaited before the next."""

    def plan(settings: Settings) -> Plan:
        yield from warm_up()
        number = settings.calls(calls, least)
        seconds = yield Batch(work.nothing, (), number)
        return seconds / number

    return plan


def all_at_once(calls: int, repeat: int = 1) -> Callable[[Settings], Plan]:
    """Seconds for each of so many no-op calls given out at once."""

    def plan(settings: Settings) -> Plan:
        yield from warm_up()
        yield Batch(work.nothing, (), WARM, together=True)
        total = 0.0
        for _ in range(repeat):
            total += yield Batch(work.nothing, (), calls, together=True)
        return total / (calls * repeat)

    return plan


def cpu_tasks(calls: int, seconds: float) -> Callable[[Settings], Plan]:
    """Seconds for so many tasks of a fixed amount of work, calibrated once for the whole run."""

    def plan(settings: Settings) -> Plan:
        yield from warm_up()
        turns = _calibrated(seconds)
        yield Batch(work.count, (turns // 50,), 4, together=True)
        return (yield Batch(work.count, (turns,), settings.calls(calls, 16), together=True))

    return plan


_turns: dict[float, int] = {}


def _calibrated(seconds: float) -> int:
    """The same number of turns for every contender and round."""
    if seconds not in _turns:
        _turns[seconds] = work.turns_for(seconds, tries=20)
    return _turns[seconds]


def smallest_efficient_task(calls: int, steps: int = 4) -> Callable[[Settings], Plan]:
    """METG(50 %) of two workers, after Slaughter et al., "Task Bench" (SC20): seconds of the smallest efficient task.

    With two workers at 50 % a task of length d is through every d seconds. The wall time for each task, as a function
    of d, grows by half of d at most, so that putting its value in again and again (`steps` times) leads to that d.
    """

    def plan(settings: Settings) -> Plan:
        yield from warm_up()
        number = settings.calls(calls, 200)
        length = yield Batch(work.nothing, (), number, together=True)
        length /= number
        for _ in range(steps):
            # Of this moment's core: a slower machine makes the tasks and the engine slower alike.
            turns = work.turns_for(length)
            length = yield Batch(work.count, (turns,), number, together=True)
            length /= number
        return length

    return plan


def round_trip(make: Callable[[], Any], check: Callable[[Any], None], calls: int) -> Callable[[Settings], Plan]:
    """Seconds to send a value to a worker and have it back."""

    def plan(settings: Settings) -> Plan:
        yield from warm_up()
        value = make()
        yield Batch(work.same, (value,), 1, check=check)
        seconds = yield Batch(work.same, (value,), calls, check=check)
        return seconds / calls

    return plan
