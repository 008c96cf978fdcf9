"""No-op calls in threads: one after another, and many at once."""

from __future__ import annotations

from ..engines import threads
from ..engines.ours import OurThreads
from ..model import Bar, Row
from .plans import all_at_once, one_by_one

_ONE = one_by_one(1000)
_MANY = all_at_once(10_000)
_ENGINES = (OurThreads(), *threads.PEERS)

ROWS = [
    Row(
        "thread-call",
        "thread call, no-op, one after another",
        "s",
        "1,000 calls of a function without arguments, each awaited before the next; time of one call.",
        tuple(engine.contender(_ONE) for engine in _ENGINES),
        (Bar(0.85, "asyncio.to_thread"),),
    ),
    Row(
        "thread-burst",
        "10,000 no-op thread calls at once",
        "s",
        "10,000 calls given out at once, each library with its own number of threads, and all values taken; time "
        "divided by 10,000.",
        tuple(engine.contender(_MANY) for engine in _ENGINES),
        (Bar(0.2, "run_in_executor"), Bar(0.1, "anyio.to_thread")),
    ),
]
