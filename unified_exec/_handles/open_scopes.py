"""The scopes whose blocks are entered, for those who look at the running program."""

from __future__ import annotations

import weakref
from _thread import get_ident
from collections.abc import Iterable
from contextvars import copy_context
from time import monotonic
from typing import Any

from .._loops.adapter import LoopAdapter
from .._rules.policies import Tally
from .._tasks import events
from .._tasks.current import current
from .handle import TaskHandle


class ScopePart:
    """Something that must not outlive its scope, though it is not a task."""

    def running(self) -> int:
        """How many tasks of the scope are its own, and of no use when its consumers have left."""
        return 0

    def consumers_left(self) -> None:
        """Called when the body has ended, and every task that has not is one of a map or stream."""

    async def last_of_all(self) -> None:
        """Close what stays open until every task of the scope has ended."""

    def scope_ended(self) -> None:
        """Called when the scope has exited: start nothing more in it."""


_open: set[weakref.ref[OpenScope]] = set()


class OpenScope:
    """A scope as those see it who look at the program. Made when the block is entered; read from any thread.

    Attributes:
        ranked: some scope or task of the program has a priority: a task may spawn in any scope.
        number: of the scope in this process, from 1.
        name: the name it was given, or ``None``.
        policy: the class of its policy.
        opener: id of the task whose code entered the block, 0 if that is not a task of a scope.
        outer: the opener is the task of this worker process: its id is the parent's, not one of this process.
        priority: of what the scope's body, or code outside of every task, spawns; by default that of its opener, or 0.
        opened_at: instant of `time.monotonic`.
        thread: ident of the thread of its event loop.
        timeout: in seconds, ``None`` for none.
        host: the event loop's own task that entered the block; ``None`` once it has been left.
        adapter: the event loop.
        is_open: tasks may be spawned.
        body_has_ended: it waits for its tasks.
        context: that of the code which has entered the block.
        tally: how its tasks have ended so far.
        parts: what is told of its end.
        broken: what a function of the user's raised that ends the scope.
    """

    ranked = False
    broken: BaseException | None = None
    tally: Tally

    def __init__(
        self, adapter: LoopAdapter, name: str | None, policy: object, timeout: float | None, priority: int | None
    ) -> None:
        opener = current.get()
        self.adapter = adapter
        self.is_open = True
        self.body_has_ended = False
        self.context = copy_context()
        self.name = name
        self.number = next(events.scope_numbers)
        self.policy = type(policy).__name__
        self.opener = 0 if opener is None else opener.id
        self.outer = opener is not None and opener.polls_on_loop
        self.priority = priority if priority is not None else 0 if opener is None else opener.priority
        if self.priority:
            OpenScope.ranked = True
        self.opened_at = monotonic()
        self.thread = get_ident()
        self.parts: set[ScopePart] = set()
        self.timeout = timeout
        self.host = adapter.current_task()
        _open.add(weakref.ref(self, _open.discard))
        if events.rows is not None:
            fields = (self.number, name or "", self.policy, self.opener, self.thread, adapter.kind, timeout)
            events.emit(events.SCOPE_OPENED, *fields)

    def emit_closed(self, error: BaseException | None) -> None:
        """Tell that its block has been left, with `error` if it raised one."""
        tally = self.tally
        outcome = "" if error is None else type(error).__name__
        events.emit(events.SCOPE_CLOSED, self.number, outcome, tally.values, tally.errors, tally.cancelled)

    def default_priority(self) -> int:
        """Return the priority of a task that the calling code spawns without one."""
        task = current.get()
        return self.priority if task is None or task.id == self.opener else task.priority

    def attach(self, part: ScopePart) -> None:
        """Tell `part` when the scope has exited."""
        self.parts.add(part)

    def detach(self, part: ScopePart) -> None:
        """Forget `part`: it has ended before the scope."""
        self.parts.discard(part)

    def awaits_new_tasks(self) -> bool:
        """Tell whether the scope is sure to wait for a task that is started now, by code that is not one of its own."""
        return not self.body_has_ended or any(self.lanes())

    def fail(self, error: BaseException) -> None:
        """Cancel everything in the scope, which raises `error` in the end."""
        self.broken = error
        self.cancel(None)

    def cancel(self, reason: str | None) -> None:
        """Cancel everything in the scope. Called in the thread of its loop."""
        raise NotImplementedError

    def lanes(self) -> Iterable[tuple[TaskHandle[Any], object]]:
        """The tasks that have not ended, each with the lane it was submitted to; ``None`` for coroutines."""
        raise NotImplementedError


def open_scopes() -> list[OpenScope]:
    """The scopes that are open now, oldest first. From any thread."""
    found = [scope for ref in list(_open) if (scope := ref()) is not None and scope.host is not None]
    return sorted(found, key=lambda scope: scope.number)
