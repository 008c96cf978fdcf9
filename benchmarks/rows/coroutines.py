"""Coroutines on the loop: what a scope adds to a task group."""

from __future__ import annotations

from ..engines import threads
from ..engines.ours import OurCoroutines
from ..model import Bar, Row
from .plans import all_at_once

_MANY = all_at_once(20_000)

ROWS = [
    Row(
        "coroutines",
        "20,000 coroutines spawned and joined",
        "s",
        "Coroutines that return at once, started in one scope (task group) and joined by its end; time divided by "
        "20,000. `create_task` gives a handle that keeps the value, as `spawn` does; `start_soon` keeps neither.",
        tuple(engine.contender(_MANY) for engine in (OurCoroutines(), *threads.TASK_GROUPS)),
        (Bar(1.15, "anyio create_task"), Bar(1.15, "anyio start_soon")),
    )
]
