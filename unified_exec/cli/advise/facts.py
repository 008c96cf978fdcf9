"""What was measured of a function, and the advice: plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class Measured:
    """Runs of one kind.

    Attributes:
        place: ``"loop"``, ``"thread"`` or ``"process"``.
        at_once: number of concurrent calls.
        runs: number of calls.
        seconds: duration of the median call, measured where it ran.
        cpu: CPU seconds of the median call, of its own thread.
        span: seconds from the first start to the last result, measured in the program.
        parallelism: CPU seconds of all calls over `span`: the number of cores in use.
        loop_blocked: the longest time, in seconds, for which the event loop was blocked.
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
class Transfer:
    """Sending the call to a process and its result back.

    Attributes:
        possible: function, arguments and result can be pickled.
        why: the reason why not, else "".
        arguments: size in bytes.
        result: size in bytes, 0 if unknown.
        pickling: seconds for both directions.
    """

    possible: bool
    why: str = ""
    arguments: int = 0
    result: int = 0
    pickling: float = 0.0


@dataclass(frozen=True)
class InInterpreter:
    """A call in an interpreter of a process.

    Attributes:
        possible: all modules of the function load there, and the call succeeded.
        why: the reason why not, else "".
    """

    possible: bool
    why: str = ""


@dataclass(frozen=True)
class Machine:
    """The machine it was measured on."""

    python: str
    gil: bool
    cores: int


@dataclass
class Facts:
    """Everything the verdict is based on.

    Attributes:
        asked: number of calls that were allowed.
        made: number of calls that were made.
        cpu, wait, gil: of a single call, in seconds: CPU time, time without CPU, CPU time that held the GIL.
        own_threads: number of cores that the function's own threads kept busy.
        weighed: arguments and result were pickled.
        interpreter: what became of a call in an interpreter, ``None`` if none was made.
        rebound: globals and captured variables that it assigns to.
        changed: what it was seen to change besides its result, in words.
        reads: mutable globals that it refers to.
        growth: bytes by which the program's peak memory grew in the first run, ``None`` if unknown.
        worker: peak memory of a worker after the runs, ``None`` if unknown.
        pools: number of threads of the loaded numerical libraries, by library.
        blocked: the longest time, in seconds, for which a call blocked the loop.
        blocked_at: the line that blocked it, if it was seen.
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
    transfer: Transfer = field(default_factory=lambda: Transfer(False, "it was not tried"))
    weighed: bool = False
    interpreter: InInterpreter | None = None
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
    """A pitfall.

    Attributes:
        kind: ``"travel"``, ``"state"``, ``"arguments"``, ``"loop"``, ``"threads"`` or ``"runs"``.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Advice:
    """What to do.

    Attributes:
        backend: ``"direct"`` (an ordinary call), ``"loop"``, ``"thread"`` or ``"process"``.
        workers: number of calls to keep running at the same time.
        chunk: number of items to send together in a map; 1 where chunks do not help.
        reason: one or two sentences with figures.
        code: a line of code.
    """

    backend: str
    workers: int
    chunk: int
    reason: str
    code: str
    warnings: tuple[Warned, ...] = ()


def as_json(facts: Facts, advice: Advice) -> dict[str, Any]:
    """Return the report in the form that docs/advise.md describes."""
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
        "travel": asdict(facts.transfer),
        "interpreter": asdict(facts.interpreter) if facts.interpreter else None,
        "state": {"assigns": facts.rebound, "changed": facts.changed, "reads": facts.reads},
        "memory": {"growth": facts.growth, "worker": facts.worker},
        "libraries": facts.pools,
        "warnings": [asdict(warned) for warned in advice.warnings],
    }
