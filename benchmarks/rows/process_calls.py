"""No-op calls in processes: one after another, and many at once."""

from __future__ import annotations

from ..engines import processes
from ..engines.bare import PingPong
from ..engines.ours import OurCoroutineWorkers, OurProcesses
from ..model import Bar, Row
from .plans import all_at_once, one_by_one

_ONE = one_by_one(1000, least=100)
_MANY = all_at_once(10_000)

ROWS = [
    Row(
        "process-call",
        "process call, no-op, one after another",
        "s",
        "1,000 calls of a function without arguments, each awaited before the next, two warm workers; time of one.",
        (
            *[engine.contender(_ONE) for engine in (OurProcesses(), *processes.PEERS, PingPong())],
            OurCoroutineWorkers().contender(_ONE),
        ),
        (Bar(0.75, "anyio.to_process"), Bar(0.4, "ProcessPoolExecutor"), Bar(1.4, "bare ping-pong")),
    ),
    Row(
        "process-burst",
        "10,000 no-op process calls spawned at once",
        "s",
        "10,000 calls given out at once to two warm workers, and all values taken; time divided by 10,000.",
        tuple(engine.contender(_MANY) for engine in (OurProcesses(), *processes.PEERS, OurCoroutineWorkers())),
        (Bar(0.3, "multiprocessing.Pool"), Bar(0.08, "ProcessPoolExecutor")),
        rounds_most=7,
    ),
]
