"""What code inside a task can find out about its task. Light: workers import it too."""

from __future__ import annotations

import time
from _contextvars import ContextVar

from ..errors import Cancelled
from .loaded import loaded
from .messages import Report

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

    from .messages import Waited
    from .requests import Pending, Request

INF = float("inf")
MOST_UNITS = 1e300
_members_of = vars(BaseExceptionGroup)["exceptions"].__get__


class Sleeper:
    """A thread that sleeps inside this package on behalf of a task."""

    __slots__ = ()

    def interrupt(self) -> None:
        """Wake it: its task was requested to stop. From any thread."""


sleepers: dict[Sleeper, CurrentTask] = {}
"""What sleeps now, with its task. An entry is added before `cancel_requested` is read, so that no request is missed."""


class CurrentTask:
    """The task the calling code runs in.

    Attributes:
        id: number of the task, unique in the process that spawned it.
        name: name of the task.
        backend: ``"loop"``, ``"thread"``, ``"process"`` or ``"interpreter"``.
        deadline: instant of `time.monotonic` at which the task will be cancelled, ``None`` for never.
        nested: a thread task may be waiting for it; see `Task.nested`.
        holds_thread: it occupies a thread of a pool of this process until it returns.
        priority: of the task; what it spawns and a scope that it opens have the same.
        polls_on_loop: `check_cancelled` works in its coroutines, too: it is a task of a worker process.
        asked_by: the request of another task in whose function it was started, if there is one.
    """

    __slots__ = ("__weakref__", "backend", "cancel_requested", "deadline", "id", "name", "nested", "reason")

    priority = 0
    asked_by: Request | None = None
    holds_thread = False
    polls_on_loop = False

    def __init__(self, id: int, name: str, backend: str, deadline: float | None, nested: bool = False) -> None:
        self.id = id
        self.name = name
        self.backend = backend
        self.deadline = deadline
        self.nested = nested
        self.cancel_requested = False
        self.reason: str | None = None

    def request_cancel(self, reason: str | None) -> None:
        """Request the task to stop. `reason` is set first: other threads read `cancel_requested` before it."""
        self.reason = reason
        self.cancel_requested = True
        if sleepers:
            for sleeper, task in list(sleepers.items()):
                if task is self:
                    sleeper.interrupt()

    def raise_cancelled(self) -> None:
        """Raise `Cancelled` in a waiting form of this package, after `cancel_requested` was found true.

        A task of a worker process raises once for each request; others raise each time.

        Raises:
            Cancelled: now.
        """
        raise Cancelled(self.reason)

    def send(self, message: object) -> None:
        """Send `message` to the listener of the task's handle. Backends implement this."""

    def send_wait(self, wait: Waited) -> None:
        """Tell the process that spawned the task that it has waited, if that is another one and somebody listens."""

    def send_request(self, pending: Pending) -> None:
        """Send a request to the scope of the task; its answer goes to `pending`, maybe before this returns.

        Raises:
            RuntimeError: the task has ended, was abandoned, or has no scope.
            SerializationError: the function or an argument cannot travel.
        """
        raise RuntimeError(f"task {self.name!r} runs where from_task does not reach its scope")

    def wait_for(self, pending: Pending) -> None:
        """Block the calling thread until a request has been answered.

        Raises:
            Cancelled: the task was requested to stop (in a process; a thread waits for the answer all the same).
        """
        pending.lock.acquire()

    def withdraw(self, pending: Pending) -> None:
        """Let the scope know that nobody waits for the answer any more: the function is cancelled."""

    def is_cancelled(self) -> bool:
        return self.cancel_requested

    def check_cancelled(self) -> None:
        if self.cancel_requested:
            raise Cancelled(self.reason)

    def time_left(self) -> float:
        return INF if self.deadline is None else self.deadline - time.monotonic()

    def __repr__(self) -> str:
        return f"<CurrentTask {self.name!r} id={self.id} on {self.backend}>"


def consists_of(exc: BaseException | None, kinds: tuple[type[BaseException], ...]) -> bool:
    """Tell whether an exception is one of `kinds`, or a group of nothing else.

    A task that runs its own event loop is stopped inside of it, where a task group turns the exception into a group.
    """
    waiting = [exc]  # no `split`: that runs the `derive` of a group of the user's
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup) and not isinstance(one, kinds):
            waiting += _members_of(one)
        elif not isinstance(one, kinds):
            return False
    return True


current: ContextVar[CurrentTask | None] = ContextVar("unified_exec_current_task", default=None)
get_current, set_current = current.get, current.set  # for hot paths: a method of an imported name is made for each call


def on_event_loop() -> bool:
    """Tell whether the calling code runs inside an event loop. Imports none: what is not loaded does not run."""
    running_loop = getattr(loaded("asyncio"), "_get_running_loop", None)
    if running_loop is not None and running_loop() is not None:
        return True
    in_trio_task = getattr(getattr(loaded("trio"), "lowlevel", None), "in_trio_task", None)
    return in_trio_task is not None and bool(in_trio_task())


def _loop_time_left() -> float | None:
    """Seconds until the nearest enclosing deadline of the calling coroutine; ``None`` if there is no coroutine."""
    if not on_event_loop():
        return None
    left = INF
    anyio = loaded("anyio")
    if anyio is not None:
        try:
            left = anyio.current_effective_deadline() - anyio.current_time()
        except RuntimeError:
            return None  # a callback of the loop, not a task
    task = current.get()
    return left if task is None else min(left, task.time_left())


def current_task() -> CurrentTask | None:
    """Return the task the calling code runs in, or ``None`` outside of tasks.

    Works inside coroutine, thread and process tasks.
    """
    return current.get()


def is_cancelled() -> bool:
    """Tell whether the thread or process task the caller runs in was requested to stop.

    Raises:
        RuntimeError: outside of a thread or process task.
    """
    return _here("is_cancelled").is_cancelled()


def check_cancelled() -> None:
    """Raise `Cancelled` if the thread or process task the caller runs in was requested to stop.

    Call it regularly during long work in a thread, which cannot be stopped from outside::

        def copy(rows):
            for row in rows:
                check_cancelled()
                write(row)

    Raises:
        Cancelled: the task was requested to stop. Do not suppress it.
        RuntimeError: outside of a thread or process task.
    """
    _here("check_cancelled").check_cancelled()


def time_left() -> float:
    """Return the seconds until the task the caller runs in will be cancelled; ``inf`` if never.

    The nearest of the task's own timeout, the scope's and every enclosing deadline counts. Works in coroutines,
    thread tasks and process tasks alike; negative when the time is over.
    """
    on_loop = _loop_time_left()
    if on_loop is not None:
        return on_loop
    task = current.get()
    return INF if task is None else task.time_left()


def report(done: float, total: float | None = None, text: str | None = None) -> None:
    """Report the progress of the current task; works in coroutine, thread and process tasks.

    Args:
        done: units of work done so far.
        total: units in all, ``None`` if unknown.
        text: what is being done.

    Does nothing outside of tasks, and in tasks without a listener (see ``progress=`` of `TaskScope.spawn`).

    Raises:
        TypeError: `done` or `total` is not a number, or `text` is not a text.
        ValueError: `done` or `total` is negative, infinite, or not a number in the sense of IEEE 754.
    """
    done = _units("done", done)
    if total is not None:
        total = _units("total", total)
    if text is not None and not isinstance(text, str):
        raise TypeError(f"text of report() must be a str or None, got {text!r}")
    task = current.get()
    if task is not None:
        task.send(Report(done, total, text))


def _units(what: str, value: Any) -> float:
    """Return units of work as a number that can be counted with and drawn, wherever it arrives."""
    if type(value) is not int and type(value) is not float:
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise TypeError(f"{what} of report() must be a number, got {value!r}: write report(done, total, text)")
        value = float(value)
    if not 0 <= value < MOST_UNITS:
        unknown = "; leave it out if it is unknown" if what == "total" else ""
        raise ValueError(f"{what} of report() must be a finite number from 0, got {value!r}{unknown}")
    number: float = value
    return number


def _here(verb: str) -> CurrentTask:
    task = current.get()
    if _loop_time_left() is not None and (task is None or not task.polls_on_loop):
        raise RuntimeError(
            f"{verb}() is for thread and process tasks; in a coroutine use `await anyio.lowlevel.checkpoint()`, "
            "which raises if the coroutine was cancelled"
        )
    if task is None:
        raise RuntimeError(f"{verb}() works inside a task only: start this function with scope.spawn(...)")
    return task
