"""The events, version 1. Within a version fields are only added, at the end; none is removed or changes its meaning.

Each begins with ``n``, the number of the event (a gap means that events were dropped), ``kind``, and ``at``, an instant
of `time.monotonic`, which all processes of a machine share. Ids count from 1 in each process; 0 is none. A ``worker``
is a process id or the ident of a thread. Sizes are bytes, durations seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from ..._tasks.events import PLAIN_ANSWER, PLAIN_SPAWN, PLAIN_VALUE, TASK_SETTLED, TASK_SPAWNED

VERSION = 1

Row = tuple[Any, ...]
"""The fields of one event."""
Told = list[Any]
"""What the sites told: the fields of some events but their numbers, one after the other; see `split`."""


class Event(Protocol):
    """What every event has."""

    @property
    def n(self) -> int: ...

    @property
    def kind(self) -> str: ...

    @property
    def at(self) -> float: ...


class ScopeOpened(NamedTuple):
    """The block of a scope was entered, by the code of task `task`, on an event loop in thread `thread`."""

    n: int
    kind: str
    at: float
    scope: int
    name: str
    policy: str
    task: int
    thread: int
    loop: str
    timeout: float | None


class ScopeClosed(NamedTuple):
    """The block was left; `outcome` is the name of the exception it raised, or "". The three numbers count tasks."""

    n: int
    kind: str
    at: float
    scope: int
    outcome: str
    values: int
    errors: int
    cancelled: int


class TaskSpawned(NamedTuple):
    """A task was spawned by the code of task `parent`. `fn` is ``module:qualname``; `items` counts those of a chunk."""

    n: int
    kind: str
    at: float
    task: int
    name: str
    fn: str
    backend: str
    scope: int
    parent: int
    items: int
    deadline: float | None


class TaskQueued(NamedTuple):
    """It could not be sent at once: `ahead` tasks wait before it for a worker of `pool`."""

    n: int
    kind: str
    at: float
    task: int
    pool: str
    ahead: int


class TaskSent(NamedTuple):
    """It was sent to a worker process, which has `ahead` others to run first."""

    n: int
    kind: str
    at: float
    task: int
    worker: int
    bytes: int
    ahead: int


class TaskReturned(NamedTuple):
    """It was taken back from a worker that had not started it."""

    n: int
    kind: str
    at: float
    task: int
    worker: int


class TaskStarted(NamedTuple):
    """Its function was called. `late`: the worker's own clock, told with the answer; sort by `at`."""

    n: int
    kind: str
    at: float
    task: int
    worker: int
    attempt: int
    late: bool


class TaskAsked(NamedTuple):
    """It was requested to stop while it ran or might run."""

    n: int
    kind: str
    at: float
    task: int
    reason: str


class TaskTried(NamedTuple):
    """An attempt has failed with an exception of class `error`; the next follows in `delay` seconds."""

    n: int
    kind: str
    at: float
    task: int
    attempt: int
    error: str
    delay: float


class TaskSettled(NamedTuple):
    """The task has ended; its whole life. Told once for each task.

    `outcome` is ``"value"``, ``"error"``, ``"cancelled"``, ``"crashed"``, ``"timed_out"``, or ``"refused"`` if it could
    not be submitted. `error` is the name of the exception's class. `traceback` is there for the first failure of its
    class from its line.
    """

    n: int
    kind: str
    at: float
    task: int
    name: str
    fn: str
    backend: str
    scope: int
    parent: int
    items: int
    spawned: float
    sent: float | None
    worker: int
    attempts: int
    outcome: str
    error: str
    started: float | None
    finished: float
    bytes_sent: int
    bytes_received: int
    traceback: str


class WaitBegun(NamedTuple):
    """A task waits for `name`, number `place` in its queue (0: not known), since `at`. It may be told later than that.

    `on` is ``"limit"``, ``"rate"``, ``"lock"``, ``"semaphore"``, ``"channel"``, ``"event"``, ``"condition"`` or
    ``"barrier"``. `held_by` says in words who held it then. Only waits of 10 ms and more are told, but for limits and
    rates. Those in a worker process are told when they have ended.
    """

    n: int
    kind: str
    at: float
    task: int
    name: str
    place: int
    on: str
    held_by: str


class WaitEnded(NamedTuple):
    """It waits no more, as it has since `began`: it passed, or was cancelled."""

    n: int
    kind: str
    at: float
    task: int
    name: str
    on: str
    began: float


class WorkerStarted(NamedTuple):
    """A process was spawned or a thread begun. `why`: tasks wait (``"queue"``) or one may be killed (``"spare"``)."""

    n: int
    kind: str
    at: float
    worker: int
    pool: str
    backend: str
    why: str


class WorkerReady(NamedTuple):
    """The process has become a worker, `took` seconds after it was spawned."""

    n: int
    kind: str
    at: float
    worker: int
    took: float


class WorkerRetired(NamedTuple):
    """The worker takes no more tasks and ends by itself."""

    n: int
    kind: str
    at: float
    worker: int


class WorkerKilled(NamedTuple):
    """The worker is killed: to stop task `task` (``"grace"``), or for `why` else."""

    n: int
    kind: str
    at: float
    worker: int
    task: int
    why: str


class WorkerDied(NamedTuple):
    """Its process has ended, with `code` (minus the signal that killed it); `task` ran there, 0 if none did."""

    n: int
    kind: str
    at: float
    worker: int
    code: int | None
    task: int
    why: str


TYPES: dict[str, Any] = {
    "scope.opened": ScopeOpened,
    "scope.closed": ScopeClosed,
    "task.spawned": TaskSpawned,
    "task.queued": TaskQueued,
    "task.sent": TaskSent,
    "task.returned": TaskReturned,
    "task.started": TaskStarted,
    "task.asked": TaskAsked,
    "task.tried": TaskTried,
    "task.settled": TaskSettled,
    "wait.begun": WaitBegun,
    "wait.ended": WaitEnded,
    "worker.started": WorkerStarted,
    "worker.ready": WorkerReady,
    "worker.retired": WorkerRetired,
    "worker.killed": WorkerKilled,
    "worker.died": WorkerDied,
}
"""The class of each kind."""

MOVES = frozenset({"task.spawned", "task.queued", "task.sent", "task.returned", "task.started"})
"""The kinds that are told for each step of each task; the others are told once for each task, or are rare."""


_PLAIN = {PLAIN_SPAWN: 9, PLAIN_VALUE: 12, PLAIN_ANSWER: 15}
_WIDTHS = {kind: len(each.__match_args__) - 1 for kind, each in TYPES.items()} | _PLAIN
"""How many fields the sites tell: all but the number."""


def split(told: Told, numbers: Iterator[int]) -> list[Row]:
    """Make the events of what the sites told, each with the next of `numbers`."""
    rows: list[Row] = []
    at = 0
    while at < len(told):
        kind = told[at]
        end = at + _WIDTHS[kind]
        fields = told[at:end]
        rows.append((next(numbers), *(_whole(kind, fields) if kind in _PLAIN else fields)))
        at = end
    return rows


def _whole(kind: str, fields: Told) -> Row:
    """All fields of an event that was told in short."""
    _, at, task, title, name, backend, scope, *rest, module = fields
    head = at, task, title, _full_name(module, name), backend, scope, 0, 1
    if kind == PLAIN_SPAWN:
        return TASK_SPAWNED, *head, *rest
    spawned, worker, started, finished, *sent = rest
    at_worker, bytes_sent, bytes_received = sent or (None, 0, 0)
    ran = spawned, at_worker, worker, 1, "value", "", started, finished
    return TASK_SETTLED, *head, *ran, bytes_sent, bytes_received, ""


def cut(told: Told, most: int) -> int:
    """Drop the oldest events until there are no more than `most` fields; returns how many."""
    at = dropped = 0
    while len(told) - at > most:
        at += _WIDTHS[told[at]]
        dropped += 1
    del told[:at]
    return dropped


@lru_cache(1000)
def _full_name(module: str, name: str) -> str:
    return f"{module}:{name}"[:200] if module != "" else name


def build(rows: Iterable[Row]) -> list[Any]:
    """Make named tuples of events."""
    return [TYPES[row[1]]._make(row) for row in rows]
