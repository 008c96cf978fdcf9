"""How many tasks to send to a worker before it is idle, and how long a call of a function takes. Pure arithmetic."""

from __future__ import annotations

BUDGET = 0.002
"""Seconds of work that may be queued in one worker: enough to keep it busy during a turn of the parent's loop."""
TASKS_MAX = 128
"""How many tasks may be queued in one worker, however short they are."""
FORGET = 0.2
"""Weight of the newest measurement."""
STUCK = 0.003
"""Seconds without an answer after which the tasks queued after the running one are taken back."""


def room(waiting: int, load: float, cost: float | None, budget: float = BUDGET) -> int:
    """Return how many tasks may be sent to a worker that has `waiting` tasks of `load` seconds in all.

    An idle worker always takes one. A function that was never measured (`cost` is ``None``) is sent alone: it may
    take long.
    """
    most = 0
    if cost is not None and load + cost <= budget:
        most = TASKS_MAX - waiting
        if load + cost * most > budget:
            most = int((budget - load) / cost)
    return max(most, 0 if waiting else 1)


def update_estimate(cost: float | None, seconds: float) -> float:
    """Return the new estimate after a call took `seconds`. A much longer call replaces it: better send it alone."""
    if cost is None or seconds > 4 * cost + 0.0005:
        return seconds
    return cost + FORGET * (seconds - cost)
