"""The figures of a board as plain data, for `top` and for the dashboard. Names are cut, but are else as they were."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ..live.text import busy_count, busy_text
from .board import Board

FUNCTIONS_SHOWN = 40
FAILURES_SHOWN = 20
TEXT_MAX = 300


def summary(board: Board) -> dict[str, Any]:
    """Describe everything but the single tasks. Hold the lock of the board."""
    counts = Counter((task.backend, task.state) for task in board.tasks.values())
    slowest = sorted(board.functions.values(), key=lambda totals: -totals.total)[:FUNCTIONS_SHOWN]
    tree = board.tree
    return {
        "pid": board.hello.get("pid"),
        "argv": [str(each)[:TEXT_MAX] for each in board.hello.get("argv", ())],
        "python": str(board.hello.get("python", ""))[:20],
        "version": str(board.hello.get("version", ""))[:40],
        "control": board.hello.get("control") is True,
        "now": time.monotonic(),
        "note": board.note,
        "ended": board.ended_at if board.ended else None,
        "summed": board.summed,
        "open": len(board.tasks) + board.more,
        "more": board.more,
        "states": [[backend, state, count] for (backend, state), count in sorted(counts.items())],
        "outcomes": dict(board.outcomes),
        "rate": board.rate,
        "rates": list(board.rates),
        "queues": list(board.queues),
        "functions": [totals.describe() for totals in slowest],
        "failures": [{**each, "name": each["name"][:TEXT_MAX]} for each in list(board.failures)[-FAILURES_SHOWN:]],
        "worker_events": list(board.worker_events),
        "pools": _pools(board),
        "memory": [*board.memory.get(0, ())],
        "held": [_held(loop) for loop in tree.get("loops", ()) if loop.get("held")],
        "rings": [[_ring_name(board, id) for id in [*ring, ring[0]]] for ring in tree.get("rings", ()) if ring],
        "stuck": sorted({id for ring in tree.get("rings", ()) for id in ring}),
    }


def _pools(board: Board) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for pool in board.gauges.get("pools", ()):
        workers: list[dict[str, Any]] = []
        for worker in pool.get("workers", ()):
            running = board.tasks.get(worker["running"])
            one = {**worker, "name": running.name[:TEXT_MAX] if running else "", "fn": running.fn if running else ""}
            one["memories"] = [*board.memory.get(worker["pid"], ())]
            workers.append(one)
        one = {key: value for key, value in pool.items() if key != "workers"}
        busy = busy_count(pool)
        found.append({**one, "busy": busy, "load": busy_text(busy, pool["max"]), "workers": workers})
    return found


def _held(loop: dict[str, Any]) -> str:
    at = loop.get("at")
    return str(loop.get("kind", ""))[:20] + (f" at {at[0]}:{at[1]} in {at[2]}"[:TEXT_MAX] if at else "")


def _ring_name(board: Board, id: int) -> str:
    if id < 0:
        return f"the block of scope {-id}"
    task = board.tasks.get(id)
    return f"#{id}" + (f" {task.name[:60]}" if task else "")
