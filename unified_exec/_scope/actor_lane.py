"""The calls of one actor: they wait here until its object has been made, and go to its worker in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .._handles.handle import TaskHandle
from .._tasks.types import Outcome
from .._worker.actor_objects import ActorMissing, Missing
from ..abc import Backend, Lane, StreamReader
from .actor_rings import QueuedCall

if TYPE_CHECKING:
    from .._loops.adapter import LoopAdapter
    from .._tasks.task import Task


class ActorCall(QueuedCall):
    """A call of an actor in a worker or a thread."""

    __slots__ = ("lane",)
    lane: ActorLane

    def settle(self, outcome: Outcome[Any]) -> None:
        missing = outcome.is_value and type(outcome.unwrap()) is Missing
        if (missing or isinstance(outcome.error, ActorMissing)) and not self.cancel_requested:
            self.lane.put_back(self)
        else:
            super().settle(outcome)


class ActorLane(Lane):
    """A lane in front of that of the actor's own worker.

    Args:
        inner: the lane of the worker.
        window: how many calls may be in the worker.
        on_ended: called with each call that has ended.
        on_missing: called when the worker has no object any more.

    Attributes:
        is_up: the object is there.
        running: the calls that were sent to the worker.
        queue: those that wait.
    """

    def __init__(
        self, inner: Lane, window: int, on_ended: Callable[[Task], object], on_missing: Callable[[], object]
    ) -> None:
        self._inner = inner
        self._window = window
        self._on_ended = on_ended
        self._on_missing = on_missing
        self.is_up = False
        self.running: dict[Task, object] = {}
        self.queue: deque[tuple[Task, object]] = deque()

    def submit(self, task: Task) -> None:
        self.enqueue(task, self._inner.prepare(task))

    def prepare(self, task: Task) -> object:
        return self._inner.prepare(task)

    def enqueue(self, task: Task, prepared: object) -> None:
        assert isinstance(task, TaskHandle)
        task.when_done(lambda: self._ended(task))
        self.queue.append((task, prepared))
        self.pump()

    def pump(self) -> None:
        """Send what may be sent."""
        while self.is_up and self.queue and len(self.running) < self._window:
            task, prepared = self.queue.popleft()
            self.running[task] = prepared
            try:
                self._inner.enqueue(task, prepared)
            except Exception as error:  # the pool was closed
                task.settle(Outcome(error=error))

    def ahead(self, call: QueuedCall) -> list[Any] | None:
        """The calls that have the turn of one that has not begun."""
        if not self.is_up or (call in self.running and _has_begun(call)):
            return None
        return [other for other in self.running if other is not call and _has_begun(other)]

    def put_back(self, task: Task) -> None:
        """Let a call wait for the next object: the worker that had the last one has died before the call began."""
        self.queue.append((task, self.running.pop(task)))
        self.queue = deque(sorted(self.queue, key=lambda entry: entry[0].id))
        task.location = task.worker = None
        self._on_missing()

    def _ended(self, task: Task) -> None:
        if self.running.pop(task, self) is not self:
            self._on_ended(task)
            self.pump()

    def fail_all(self, error: BaseException) -> None:
        """Fail the calls that wait: there will be no object."""
        queue, self.queue = self.queue, deque()
        for task, _ in queue:
            task.settle(Outcome(error=error))

    def cancel(self, tasks: Iterable[Task], reason: str | None) -> None:
        chosen = {task for task in tasks if task.outcome is None}
        waiting = [task for task, _ in self.queue if task in chosen]
        self.queue = deque(entry for entry in self.queue if entry[0] not in chosen)
        sent = [task for task in chosen if task in self.running]
        if sent:
            self._inner.cancel(sent, reason)
        for task in waiting:
            task.settle_cancelled()

    def abandon(self, task: Task) -> None:
        if task in self.running:
            self._inner.abandon(task)

    def open_stream(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> StreamReader:
        return self._inner.open_stream(fn, args)


def _has_begun(call: Task) -> bool:
    return call.location is not None and call.location.is_running(call)


class ActorBackend(Backend):
    """The worker or thread of one actor, as its scope sees it.

    Args:
        pool: the pool of that one worker.
        lane: its lane, for the one event loop that uses it.
    """

    def __init__(self, pool: Backend, lane: ActorLane) -> None:
        self.kind = pool.kind
        self.capabilities = pool.capabilities
        self.max_workers = 1
        self._pool = pool
        self._lane = lane

    @property
    def closed(self) -> bool:
        return self._pool.closed

    def lane(self, adapter: LoopAdapter) -> ActorLane:
        return self._lane

    def close(self) -> None:
        self._pool.close()

    async def aclose(self) -> None:
        await self._pool.aclose()
