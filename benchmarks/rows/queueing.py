"""A long queue costs no more for each task than a short one."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import replace

from ..engines import threads
from ..engines.base import Engine
from ..engines.ours import OurCoroutines, OurProcesses, OurThreads
from ..model import Bar, Contender, Row, Settings
from .plans import all_at_once

_FEW = all_at_once(1_000, repeat=20)
_MANY = all_at_once(100_000)


def _uncollected(contender: Contender) -> Contender:
    """The same without Python's cyclic collector, which looks at all there is whenever that has grown by a quarter."""

    def measure(settings: Settings) -> float | Mapping[str, float]:
        gc.disable()
        try:
            return contender.measure(settings)
        finally:
            gc.enable()

    return replace(contender, measure=measure)


def _named(contender: Contender, name: str) -> Contender:
    return replace(contender, name=name, peer=False)


def _row(name: str, kind: str, engine: Engine, peer: Engine | None = None) -> Row:
    few, many = engine.contender(_FEW), engine.contender(_MANY)
    contenders = [
        _named(many, "100,000"),
        _named(few, "1,000"),
        _named(_uncollected(many), "100,000, cyclic collector off"),
        _named(_uncollected(few), "1,000, cyclic collector off"),
    ]
    if peer is not None:
        contenders.append(_named(peer.contender(_MANY), f"{peer.name}, 100,000"))
        contenders.append(_named(peer.contender(_FEW), f"{peer.name}, 1,000"))
    return Row(
        f"queue-{name}",
        f"cost per task, 100,000 queued against 1,000 ({kind})",
        "s",
        "No-op calls given out at once, as many as said, and all values taken; time divided by their number.",
        tuple(contenders),
        (Bar(1.3, "1,000", figure="100,000"),),
        rounds_most=5,
    )


ROWS = [
    _row("process", "processes", OurProcesses()),
    _row("thread", "threads", OurThreads(), threads.ExecutorThreads()),
    _row("loop", "coroutines", OurCoroutines(), threads.AnyioTasks()),
]
