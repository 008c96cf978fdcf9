"""What the package tells while it runs, for `unified_exec.observe`. While nobody listens a site costs one test.

A site reads `rows` or `moves`, and builds an event only if that is not ``None``, never while it holds a lock. It puts
numbers and text into the event, never a task, a function or an exception: what is kept keeps nothing alive.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import TaskTimeout, WorkerCrashed

V = TypeVar("V")

if TYPE_CHECKING:
    from typing import Protocol

    from .messages import Waited

    T = TypeVar("T")

    class InSpan(Protocol):
        def __call__(self, task: Any, launch: Callable[[], T]) -> T:
            """Call `launch`, which starts `task`, and return what it returns."""


Sink = Callable[[tuple[Any, ...]], object]
"""Takes the fields of an event. It is the `extend` of a list: one list of fields costs less than the tuples of all
events, which the garbage collector would look at. `observe.recording.schema.split` makes events of it."""

rows: Sink | None = None
"""Gets what is told once for each task, and whatever is rare: scopes, workers, waits, cancellations."""
moves: Sink | None = None
"""Gets each step of each task as well. Only set while `rows` is."""

in_span: InSpan | None = None
"""Calls a function that starts a task, in a span of that task; see `observe.instrument`. Only set while `rows` is."""

scope_numbers = itertools.count(1)
"""The numbers of the scopes and executors of this process."""

SCOPE_OPENED, SCOPE_CLOSED = "scope.opened", "scope.closed"
TASK_SPAWNED, TASK_QUEUED, TASK_SENT, TASK_RETURNED = "task.spawned", "task.queued", "task.sent", "task.returned"
TASK_STARTED, TASK_ASKED, TASK_TRIED, TASK_SETTLED = "task.started", "task.asked", "task.tried", "task.settled"
PLAIN_SPAWN, PLAIN_VALUE, PLAIN_ANSWER = "plain.spawn", "plain.value", "plain.answer"
"""Told in place of TASK_SPAWNED and TASK_SETTLED of a task of which nothing was noted, and that ended with a value;
the last of those that were sent to a worker. They lack the fields that are the same for all such tasks."""
WAIT_BEGUN, WAIT_ENDED = "wait.begun", "wait.ended"
WORKER_STARTED, WORKER_READY, WORKER_RETIRED = "worker.started", "worker.ready", "worker.retired"
WORKER_KILLED, WORKER_DIED = "worker.killed", "worker.died"

TRACEBACKS_MAX = 200
TRACEBACK_LINES = 40
_places_told: set[tuple[str, str, int]] = set()
"""Where the failures were raised whose tracebacks have been told: type, file and line."""


class Notes:
    """What events tell of some tasks. Most tasks have none: what is looked up in vain takes time.

    Attributes:
        attempts: the number of its attempt, the last one if it has ended: 1 unless it was tried again.
        fn_name: the name of its function; "" for the function's own.
        in_span: `in_span` has been called for it.
        items: how many items of a map it carries, 1 if it is not a chunk.
        parent: id of the task that spawned it, 0 for none.
        silent: nothing is told of it.
        told_as: the id that it is given; 0 for its own.
    """

    attempts = items = 1
    fn_name = ""
    in_span = silent = False
    parent = told_as = 0


class Noted(Generic[V]):
    """An attribute of a task that is kept in its `Notes`."""

    def __init__(self, default: V) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, task: Any, owner: type | None = None) -> V:
        return getattr(task.notes, self._name, self._default)

    def __set__(self, task: Any, value: V) -> None:
        if task.notes is None:
            task.notes = Notes()
        setattr(task.notes, self._name, value)


def emit(kind: str, *fields: Any) -> None:
    """Tell an event of `rows`, now."""
    sink = rows  # read once: another thread may switch it off
    if sink is not None:
        sink((kind, monotonic(), *fields))


def emit_move(kind: str, *fields: Any, at: float | None = None) -> None:
    """Tell an event of `moves`, with the instant `at` or now."""
    sink = moves
    if sink is not None:
        sink((kind, monotonic() if at is None else at, *fields))


def emit_wait(task: int, wait: Waited) -> None:
    """Tell a wait of a task: that it has begun, and that it has ended if it has."""
    sink = rows
    if sink is not None:
        sink((WAIT_BEGUN, wait.began, task, wait.name, wait.place, wait.on, wait.held_by))
        if wait.ended is not None:
            sink((WAIT_ENDED, wait.ended, task, wait.name, wait.on, wait.began))


def function_name(fn: Any) -> str:
    """The function that the user named, as ``module:qualname``; "" if it has no name."""
    for _ in range(8):
        if isinstance(fn, partial):
            # A call of ours carries the user's function as its first argument.
            ours = getattr(fn.func, "__module__", "").startswith("unified_exec.")
            fn = fn.args[0] if ours and fn.args and callable(fn.args[0]) else fn.func
        else:
            break
    name = getattr(fn, "__qualname__", None) or getattr(type(fn), "__qualname__", "")
    return f"{getattr(fn, '__module__', None) or '?'}:{name}"[:200]


def outcome_name(error: BaseException | None, cancelled: bool) -> str:
    if cancelled:
        return "cancelled"
    if error is None:
        return "value"
    if isinstance(error, WorkerCrashed):
        return "crashed"
    return "timed_out" if isinstance(error, TaskTimeout) else "error"


def traceback_text(error: BaseException | None) -> str:
    """The traceback of a failure, if it is the first from its line; "" for all others."""
    if error is None or len(_places_told) >= TRACEBACKS_MAX:
        return ""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = type(error).__name__, last.tb_frame.f_code.co_filename if last else "", last.tb_lineno if last else 0
    if place in _places_told:
        return ""
    _places_told.add(place)
    import traceback  # with the first failure

    try:
        lines = "".join(traceback.format_exception(error, limit=TRACEBACK_LINES))
    except Exception:  # a `__str__` of the user's
        return ""
    return lines[-8000:]


def forget_tracebacks() -> None:
    """Begin anew: somebody begins to listen."""
    _places_told.clear()
