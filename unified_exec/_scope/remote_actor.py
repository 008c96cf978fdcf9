"""An actor in a worker process, here or on a node of a cluster, or in a thread of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from .._handles.handle import TaskHandle
from .._pools.thread.pool import ThreadPool
from .._tasks import events
from .._tasks.task import Task
from .._tasks.types import Outcome
from .._worker import actor_objects
from ..abc import ProcessBackend
from ..errors import NodeLost, SerializationError, WorkerCrashed
from .actor import Actor
from .actor_lane import ActorBackend, ActorCall, ActorLane
from .actor_rings import watch

if TYPE_CHECKING:
    from .._handles.owner import Launcher
    from .._loops.adapter import Timer
    from .._map.generator_stream import GeneratorStream
    from ..abc import Backend

A = TypeVar("A")

AHEAD = 16
"""Calls sent ahead to a worker that runs one at a time; short ones only, see `_rules.prefetch`."""


class RemoteActor(Actor[A]):
    """An actor in a process or a thread of its own."""

    def __init__(
        self,
        scope: Launcher,
        cls: Callable[..., A],
        args: tuple[Any, ...],
        name: str | None,
        pool: Backend,
        on_loop: bool,
        concurrency: int,
        grace: float,
    ) -> None:
        super().__init__(scope, cls, args, name)
        self._pool = pool
        self._token = secrets.token_hex(8)
        self._grace = grace
        self._pid = 0
        self._culprit: str | None = None
        self._timer: Timer | None = None
        self._on_loop = on_loop
        window = concurrency if on_loop else (AHEAD if pool.capabilities.isolated else 1)
        self._inner = pool.lane(scope.adapter)
        self._lane = ActorLane(self._inner, window, self._call_ended, self._missing)
        self._backend = ActorBackend(pool, self._lane)
        try:
            self._make()
        except BaseException:
            scope.detach(self)
            pool.close()
            raise

    def _make(self) -> None:
        """Have the object made by the worker."""
        self.state = "making"
        self._timer = None
        fn = actor_objects.make_async if self._on_loop else actor_objects.make
        args = (self._token, self._cls, self._args)
        handle: TaskHandle[int] = TaskHandle(self.name, fn, args, self._pool.kind, self._scope)
        handle.private = True
        if events.rows is not None:
            handle.fn_name = events.function_name(self._cls)
        handle.when_done(lambda: self._made(handle))
        self._scope.launch(handle, self._pool, None)

    def _made(self, handle: TaskHandle[int]) -> None:
        outcome = handle.outcome
        assert outcome is not None
        if outcome.is_value:
            self._pid = outcome.unwrap()
            self.state = "up"
            self._lane.is_up = True
            self._lane.pump()
        elif outcome.error is not None:
            self._lost(outcome.error)
        else:
            self.state = "ended"  # it was cancelled with its scope, and so are the calls

    def _call_ended(self, task: Task) -> None:
        outcome = task.outcome
        assert outcome is not None
        error = outcome.error
        if (
            isinstance(error, WorkerCrashed)
            and self.state == "up"
            and (error.pid == self._pid or type(error) is NodeLost)
        ):
            self._lost(error)
        elif outcome.cancelled:
            self._culprit = task.name

    def _missing(self) -> None:
        """The worker has died while no call ran in it, or was killed to stop one."""
        if self.state != "up":  # that is known: the call was sent ahead
            if self._error is not None:
                self._lane.fail_all(self._error)
            return
        detail = "while it had no call"
        if self._culprit is not None:
            detail = f"it was killed to stop {self._culprit}(), which did not end within its grace"
        self._lost(WorkerCrashed(self.name, self._pid, None, detail))

    def _lost(self, error: BaseException) -> None:
        """The object is gone, or could not be made: make it anew if the policy restarts, else end."""
        self._lane.is_up = False
        self._culprit = None
        delay = self._scope.restart_delay(error) if isinstance(error, Exception) and not self._scope.decided else None
        if delay is not None:
            self.state = "lost"
            self._timer = self._scope.adapter.call_later(delay, self._make_again)
            return
        self.state = "ended"
        self._error = error
        self._lane.fail_all(error)
        self._report(error)

    def _make_again(self) -> None:
        try:
            self._make()
        except Exception as error:
            self._lost(error)

    def _start(self, name: str, method: str, args: tuple[Any, ...], timeout: float | None) -> TaskHandle[Any]:
        fn = actor_objects.call_async if self._on_loop else actor_objects.call
        handle = ActorCall(name, fn, (self._token, method, args), self._backend.kind, self._scope)
        handle.private = True
        handle.lane = self._lane
        handle.ahead, handle.deadlock = self._lane.ahead, None
        if events.rows is not None:
            handle.fn_name = self.method_name(method)
        try:
            self._scope.launch(handle, self._backend, timeout)
            if handle.asked_by is not None:
                watch(self._scope.adapter, handle)
            return handle
        except SerializationError as error:
            raise SerializationError(f"an argument of {name}()", error.why, error.hint) from error

    def stream(self, method: Callable[..., Any], /, *args: Any) -> GeneratorStream[Any]:
        from .._map.generator_stream import make_stream

        fn = actor_objects.items_async if self._on_loop else actor_objects.items
        stream: GeneratorStream[Any] = make_stream(
            self._scope, fn, (self._token, self._check(method), args), self._backend
        )
        return stream

    @property
    def pending(self) -> int:
        return len(self._lane.queue) + len(self._lane.running)

    async def last_of_all(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        was_up = self.state == "up"
        self.state = "ended"
        with anyio.CancelScope(shield=True):
            if was_up:
                with anyio.move_on_after(self._grace):
                    closing = _Closing(self.name, self._on_loop, self._token, self._pool.kind, self._scope)
                    try:
                        self._inner.submit(closing)
                    except Exception as error:  # its pool was closed before the scope
                        closing.settle(Outcome(error=error))
                    await closing.waiter
                    if closing.outcome is not None and closing.outcome.error is not None:
                        self._report(closing.outcome.error)
            if isinstance(self._pool, ProcessBackend):
                self._pool.kill()
                await self._pool.aclose()
            elif isinstance(self._pool, ThreadPool):
                self._pool.close(wait=False)


class _Closing(Task):
    """Closes the object of an actor when the scope takes no more tasks."""

    __slots__ = ("waiter",)

    def __init__(self, name: str, on_loop: bool, token: str, kind: str, scope: Launcher) -> None:
        fn = actor_objects.close_async if on_loop else actor_objects.close
        super().__init__(f"{name}.close", fn, (token,), kind, scope)
        self.waiter = scope.adapter.waiter()

    def settled(self) -> None:
        self.waiter.wake()
