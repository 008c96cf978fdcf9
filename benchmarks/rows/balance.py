"""Short tasks that are queued after a long one, while another worker is free."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from unified_exec import ProcessPool, TaskHandle, TaskScope

from .. import work
from ..engines.engine import on_loop
from ..row import OURS, Bar, Contender, Row, Settings

SLOW = 2.0
SHORT = 0.001
SHORTS = 200


def _after_a_slow_one(settings: Settings) -> dict[str, float]:
    return on_loop(settings.loop, _serve, work.pause)


def _of_one_function(settings: Settings) -> dict[str, float]:
    """The slow task and the short ones are calls of one function, which misleads the estimate of its duration."""
    return on_loop(settings.loop, _serve, _pause_or_count)


def _pause_or_count(seconds: float, turns: int = 0) -> None:
    if turns:
        work.count(turns)
    else:
        work.pause(seconds)


async def _serve(slow: Callable[..., None]) -> dict[str, float]:
    turns = work.turns_for(SHORT, tries=20)
    short: Callable[..., Any] = work.count if slow is work.pause else slow
    arguments = (turns,) if slow is work.pause else (0.0, turns)
    async with ProcessPool(2) as pool, TaskScope(processes=pool) as scope:
        for handle in [scope.spawn(work.pause, 0.05, on="process") for _ in range(4)]:
            await handle
        for handle in [scope.spawn(short, *arguments, on="process") for _ in range(50)]:
            await handle
        began = perf_counter()
        long = scope.spawn(slow, SLOW, on="process")
        shorts = [scope.spawn(short, *arguments, on="process") for _ in range(SHORTS)]
        seconds = await _all(shorts) - began
        before = not long.done()
        await long
    return {"": seconds, "before the slow one": float(before)}


def _on_one_free_worker(settings: Settings) -> float:
    return on_loop(settings.loop, _serve_alone)


async def _serve_alone() -> float:
    seconds = 0.0
    turns = work.turns_for(SHORT, tries=20)
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        for handle in [scope.spawn(work.count, turns, on="process") for _ in range(50)]:
            await handle
        began = perf_counter()
        seconds = await _all([scope.spawn(work.count, turns, on="process") for _ in range(SHORTS)]) - began
    return seconds


async def _all(handles: list[TaskHandle[Any]]) -> float:
    for handle in handles:
        await handle
    return perf_counter()


_ONE = "one free worker"
_SAME = f"{OURS}, one function for both"

ROWS = [
    Row(
        "balance",
        "one slow task (2 s) and then 200 short ones, two workers",
        "s",
        "The slow task sleeps, the short ones work for 1 ms. Measured until the last short one is done, against the "
        "same 200 on a pool of one worker.",
        (
            Contender(OURS, _after_a_slow_one),
            Contender(_SAME, _of_one_function),
            Contender(_ONE, _on_one_free_worker, peer=False),
        ),
        (
            Bar(1.0, figure=f"{OURS}: before the slow one", at_least=True),
            Bar(1.5, _ONE),
            Bar(1.0, figure=f"{_SAME}: before the slow one", at_least=True),
            Bar(1.5, _ONE, figure=_SAME),
        ),
        units={f"{OURS}: before the slow one": "", f"{_SAME}: before the slow one": ""},
        rounds_most=5,
    )
]
