"""What a running task asks its scope for: both sides of the way back. Light: workers import it too."""

from __future__ import annotations

from _thread import allocate_lock
from itertools import count

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any, Protocol

    from .types import Outcome

    class Asker(Protocol):
        """A task, as far as a chain of requests shows it."""

        name: str
        asked_by: Request | None

        @property
        def priority(self) -> int:
            """Of the tasks that it spawns without one."""


RUN, RUN_SYNC, SPAWN, WAIT, CANCEL, STOP, CALL, LOOK_UP = range(8)
"""Run a coroutine function; call a plain function; spawn a task, wait for it, cancel it; stop an earlier request; call
an actor, which is waited for and cancelled as a spawned task is; bring a global of the program."""

DEEPEST = 64
"""How many tasks may wait for each other, each through a function that the one before it asked for."""

_numbers = count(1)


class Pending:
    """A request as the task that has made it sees it.

    Args:
        verb: what is asked for.
        fn: the function; for `RUN`, `RUN_SYNC` and `SPAWN`, else ``None``.
        args: its arguments; for `WAIT`, `CANCEL` and `STOP` the number of the request that is meant; for `CALL` the
            actor (or its token and name), the method's name and its arguments; for `LOOK_UP` the token of the module's
            home, and the name.
        options: for `SPAWN`, those of `TaskScope.spawn`; for `CALL`, those of `Actor.call`; for `CANCEL`, the reason.
        wake: called, in any thread, when the request has been answered; without it the thread sleeps in `lock`.

    Attributes:
        number: names the request; unique in this process.
        found: returns the outcome; ``None`` until the request has been answered.
        sleeps: a thread waits for the answer, not a coroutine.
        lock: acquired by the thread that waits, released by the answer.
    """

    __slots__ = ("args", "fn", "found", "lock", "number", "options", "sleeps", "verb", "wake")

    def __init__(
        self,
        verb: int,
        fn: Callable[..., Any] | None,
        args: tuple[Any, ...] = (),
        options: Any = None,
        wake: Callable[[], object] | None = None,
    ) -> None:
        self.number = next(_numbers)
        self.verb = verb
        self.fn = fn
        self.args = args
        self.options = options
        self.found: Callable[[], Outcome[Any]] | None = None
        self.lock = allocate_lock()
        self.lock.acquire()
        self.sleeps = wake is None
        self.wake = wake or self.lock.release

    def answer(self, found: Callable[[], Outcome[Any]]) -> None:
        """Note the answer and wake the code that waits for it. Called once."""
        self.found = found
        self.wake()

    def is_answered(self) -> bool:
        """Tell whether an answer will come."""
        return self.verb in (RUN, RUN_SYNC, WAIT, LOOK_UP) or (self.verb in (SPAWN, CALL) and self.sleeps)

    def stop(self) -> Pending:
        """What tells the scope that nobody waits for the answer."""
        return Pending(STOP, None, (self.number,))


class Request:
    """A request as the scope of the task sees it. Every method is called in the thread of the scope's event loop.

    Attributes:
        verb, fn, args, options, number: see `Pending`.
        asker: the task that waits, ``None`` once it was answered.
        late: the task had been requested to stop before it asked.
        cancelled_by_itself: the task learns of its own cancellation without an answer, and must not get one before.
        waits: the task sends a request to spawn only if it waits for the answer; else a refusal fails the scope.
        context: of the thread that asks; ``None`` for that of the scope.
    """

    __slots__ = ("args", "asker", "context", "fn", "late", "number", "options", "verb", "waits")

    cancelled_by_itself = False

    def __init__(
        self,
        number: int,
        verb: int,
        fn: Callable[..., Any] | None,
        args: tuple[Any, ...],
        options: Any,
        context: Context | None = None,
    ) -> None:
        self.number = number
        self.verb = verb
        self.fn = fn
        self.args = args
        self.options = options
        self.context = context
        self.asker: Asker | None = None
        self.late = False
        self.waits = True

    def answer(self, outcome: Outcome[Any]) -> None:
        """Answer; called at most once."""
        raise NotImplementedError


class LocalRequest(Request):
    """A request of a task in this process. Its function runs in a copy of the context of the code that asks.

    The code always waits for the answer, also when its task is cancelled: the function may use what is the task's.
    """

    __slots__ = ("_pending",)

    def __init__(self, pending: Pending, context: Context) -> None:
        super().__init__(pending.number, pending.verb, pending.fn, pending.args, pending.options, context)
        self._pending = pending
        self.waits = pending.is_answered()

    def answer(self, outcome: Outcome[Any]) -> None:
        self._pending.answer(lambda: outcome)


def chain_of(task: Asker) -> list[str]:
    """Name the tasks that wait for `task`, each through a request that is still open, and `task` itself at the end."""
    names = [task.name]
    request = task.asked_by
    while request is not None and request.asker is not None:
        task = request.asker
        names.append(task.name)
        request = task.asked_by
    return names[::-1]
