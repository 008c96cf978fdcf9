"""A long queue costs no more for each task than a short one."""

from __future__ import annotations

from ..engines.ours import OurCoroutines, OurProcesses, OurThreads
from ..model import Bar, Contender, Row
from .plans import all_at_once


def _row(name: str, kind: str, engine: OurProcesses) -> Row:
    few = engine.contender(all_at_once(1_000, repeat=20))
    many = engine.contender(all_at_once(100_000))
    return Row(
        f"queue-{name}",
        f"cost per task, 100,000 queued against 1,000 ({kind})",
        "s",
        "No-op calls given out at once, as many as said, and all values taken; time divided by their number.",
        (
            Contender("100,000", many.measure, many.needs, peer=False),
            Contender("1,000", few.measure, few.needs, peer=False),
        ),
        (Bar(1.3, "1,000", figure="100,000"),),
        rounds_most=5,
    )


ROWS = [
    _row("process", "processes", OurProcesses()),
    _row("thread", "threads", OurThreads()),
    _row("loop", "coroutines", OurCoroutines()),
]
