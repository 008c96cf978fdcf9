"""What was measured of a function, and what is advised: plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class Measured:
    """Runs of one kind.

    Attributes:
        place: ``"loop"``, ``"thread"`` or ``"process"``.
        at_once: calls under way at the same time.
        runs: calls that were made.
        seconds: the median call, from its start to its end where it ran.
        cpu: CPU seconds of the median call's own thread.
        span: seconds from the first start to the last value, in the program.
        parallelism: CPU seconds of all calls over `span`: how many cores worked.
        loop_blocked: the longest time, in seconds, in which the event loop could not do anything else.
    """

    place: str
    at_once: int
    runs: int
    seconds: float
    cpu: float
    span: float
    parallelism: float
    loop_blocked: float


@dataclass(frozen=True)
class Travel:
    """The way to a process and back.

    Attributes:
        possible: function, arguments and result can travel.
        why: why not, else "".
        arguments: bytes.
        result: bytes, 0 if unknown.
        pickling: seconds, there and back.
    """

    possible: bool
    why: str = ""
    arguments: int = 0
    result: int = 0
    pickling: float = 0.0


@dataclass(frozen=True)
class Machine:
    """Where it was measured."""

    python: str
    gil: bool
    cores: int


@dataclass
class Facts:
    """Everything the verdict rests on.

    Attributes:
        cpu, wait, gil: of one call alone, in seconds: CPU time, time without CPU, CPU time that held the GIL.
        own_threads: cores that threads of the function's own kept busy.
        weighed: arguments and result were pickled.
        rebound: globals and captured variables it assigns to.
        changed: what it was seen to change beside its result, in words.
        reads: mutable globals it refers to.
        growth: bytes by which the program's peak memory grew in the first run, ``None`` if unknown.
        worker: peak memory of a worker after the runs, ``None`` if unknown.
        pools: threads of numerical libraries that are loaded, by library.
        blocked: the longest time a coroutine held the loop, in seconds; `blocked_at` where, as far as it was seen.
    """

    name: str
    machine: Machine
    is_async: bool
    asked: int
    made: int = 0
    cpu: float = 0.0
    wait: float = 0.0
    gil: float = 0.0
    own_threads: float = 0.0
    measured: list[Measured] = field(default_factory=list)
    travel: Travel = field(default_factory=lambda: Travel(False, "it was not tried"))
    weighed: bool = False
    rebound: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    growth: int | None = None
    worker: int | None = None
    pools: dict[str, int] = field(default_factory=dict)
    blocked: float = 0.0
    blocked_at: str = ""

    @property
    def wall(self) -> float:
        return self.cpu + self.wait


@dataclass(frozen=True)
class Warned:
    """Something that would bite.

    Attributes:
        kind: ``"travel"``, ``"state"``, ``"arguments"``, ``"loop"``, ``"threads"`` or ``"runs"``.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Advice:
    """What to do.

    Attributes:
        backend: ``"direct"`` (call it where you are), ``"loop"``, ``"thread"`` or ``"process"``.
        workers: calls to keep under way at the same time.
        chunk: items that should travel together in a map; 1 where that does nothing.
        reason: in a sentence or two, with figures.
        code: a line to write.
    """

    backend: str
    workers: int
    chunk: int
    reason: str
    code: str
    warnings: tuple[Warned, ...] = ()


def as_json(facts: Facts, advice: Advice) -> dict[str, Any]:
    """The report, as documented in docs/advise.md."""
    return {
        "schema": SCHEMA,
        "function": facts.name,
        "kind": "async" if facts.is_async else "plain",
        "machine": asdict(facts.machine),
        "runs": {"asked": facts.asked, "made": facts.made},
        "advice": {
            "backend": advice.backend,
            "workers": advice.workers,
            "chunk": advice.chunk,
            "reason": advice.reason,
            "code": advice.code,
        },
        "call": {
            "cpu": facts.cpu,
            "wait": facts.wait,
            "gil": facts.gil,
            "own_threads": facts.own_threads,
            "loop_blocked": facts.blocked,
            "loop_blocked_at": facts.blocked_at,
        },
        "measured": [asdict(measured) for measured in facts.measured],
        "travel": asdict(facts.travel),
        "state": {"assigns": facts.rebound, "changed": facts.changed, "reads": facts.reads},
        "memory": {"growth": facts.growth, "worker": facts.worker},
        "libraries": facts.pools,
        "warnings": [asdict(warned) for warned in advice.warnings],
    }
