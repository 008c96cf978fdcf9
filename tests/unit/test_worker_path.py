"""From task to task a worker runs little Python: the one measure of its speed that is exact."""

from __future__ import annotations

import sys
from contextvars import Context
from itertools import pairwise
from types import FrameType
from typing import Any

import anyio

from unified_exec import ProcessPool, TaskScope

CALLS_MAX = 16

_calls: list[str] = []


def count_calls() -> None:
    def profile(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            _calls.append(frame.f_code.co_name)

    sys.setprofile(profile)


def quick(n: int) -> int:
    return n


def calls() -> list[str]:
    sys.setprofile(None)
    return _calls


def test_a_worker_makes_few_calls_from_task_to_task() -> None:
    async def main() -> Any:
        # What a task sets is undone after it; what the initializer sets stays.
        async with ProcessPool(1, initializer=count_calls) as pool, TaskScope() as scope:
            for n in range(500):
                scope.spawn(quick, n, on=pool)
            return await scope.spawn(calls, on=pool)

    found = Context().run(anyio.run, main)  # other tests have set variables: they would travel
    tasks = [at for at, name in enumerate(found) if name == quick.__name__]
    assert len(tasks) == 500
    # The fewest: where the parent is slow the worker looks for the next task again and again.
    assert min(later - at for at, later in pairwise(tasks)) <= CALLS_MAX, found
