"""How much work to send ahead, and how long a call of a function takes. Pure arithmetic."""

from __future__ import annotations

BUDGET = 0.002
"""Seconds of work that may wait at one worker: enough to hide a turn of the parent's loop."""
TASKS_MAX = 128
"""Tasks that may wait at one worker, however short they are."""
FORGET = 0.2
"""Weight of the newest measurement."""
STUCK = 0.003
"""Seconds without an answer after which what waits behind a task is worth taking back."""


def may_prefetch(waiting: int, load: float, cost: float | None) -> bool:
    """May a task be sent to a worker that has `waiting` tasks of `load` seconds in all?

    An idle worker always takes one. A function never measured is sent alone: it may be a long one.
    """
    if waiting == 0:
        return True
    return cost is not None and waiting < TASKS_MAX and load + cost <= BUDGET


def update_estimate(cost: float | None, seconds: float) -> float:
    """Return the new estimate after a call took `seconds`. A long one counts in full: better alone than in a queue."""
    if cost is None or seconds > 4 * cost + 0.0005:
        return seconds
    return cost + FORGET * (seconds - cost)
