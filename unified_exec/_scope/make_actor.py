"""Where an actor lives: on the loop, or in a worker or a thread that is its alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from .._handles.handle import TaskHandle
from .._pools.thread.pool import ThreadPool
from .._rules.arguments import check_seconds, text, whole
from .._rules.dispatch import call_name, is_async
from .._tasks import events
from .._tasks.current import current
from .._worker.actor_objects import each
from ..abc import Backend, ProcessBackend
from .actor import Actor, ActorGroup
from .actor_rings import QueuedCall, watch
from .remote_actor import RemoteActor

if TYPE_CHECKING:
    from .._handles.owner import Launcher
    from .._map.generator_stream import GeneratorStream

A = TypeVar("A")


class Turns:
    """Who may go on, first come, first served. A semaphore would not do: trio starts new tasks in any order.

    Args:
        most: how many at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._turns: list[anyio.Event] = []

    def __len__(self) -> int:
        return len(self._turns)

    def enqueue(self) -> anyio.Event:
        """Return what is set when it is the caller's turn. Call `end` with it in any case."""
        turn = anyio.Event()
        self._turns.append(turn)
        self._grant()
        return turn

    def granted(self) -> list[anyio.Event]:
        """Those whose turn it is."""
        return self._turns[: self._most]

    def end(self, turn: anyio.Event) -> None:
        self._turns.remove(turn)
        self._grant()

    def _grant(self) -> None:
        for turn in self.granted():
            turn.set()


class LoopActor(Actor[A]):
    """An actor on the event loop of its scope."""

    def __init__(
        self, scope: Launcher, cls: Callable[..., A], args: tuple[Any, ...], name: str | None, concurrency: int
    ) -> None:
        self._turns = Turns(concurrency)
        self._calls: dict[anyio.Event, QueuedCall] = {}
        made: Any = cls(*args)
        super().__init__(scope, cls, args, name)
        self._entered = made if not hasattr(made, "aclose") and hasattr(made, "__exit__") else None
        self._object = made.__enter__() if self._entered is not None else made
        self.state = "up"

    def _start(self, name: str, method: str, args: tuple[Any, ...], timeout: float | None) -> TaskHandle[Any]:
        turn = self._turns.enqueue()
        handle = QueuedCall(name, self._serve, (turn, method, args), "loop", self._scope)
        handle.private = True
        handle.ahead, handle.deadlock = partial(self._ahead, turn), None
        self._calls[turn] = handle
        if events.rows is not None:
            handle.fn_name = self.method_name(method)
        handle.when_done(partial(self._ended, turn))
        self._scope.launch(handle, None, timeout)
        if not turn.is_set() and current.get() is not None:
            watch(self._scope.adapter, handle)
        return handle

    def _ended(self, turn: anyio.Event) -> None:
        del self._calls[turn]
        self._turns.end(turn)

    def _ahead(self, turn: anyio.Event, call: QueuedCall) -> list[Any] | None:
        """The calls that have the turn of one that has not begun; ``None`` if a stream has it."""
        if turn.is_set():
            return None
        have = self._turns.granted()
        return [self._calls[each] for each in have] if all(each in self._calls for each in have) else None

    async def _serve(self, turn: anyio.Event, method: str, args: tuple[Any, ...]) -> Any:
        await turn.wait()
        value = getattr(self._object, method)(*args)
        return await value if hasattr(value, "__await__") else value

    def stream(self, method: Callable[..., Any], /, *args: Any) -> GeneratorStream[Any]:
        from .._map.generator_stream import make_stream

        stream: GeneratorStream[Any] = make_stream(self._scope, self._items, (self._check(method), args), "loop")
        return stream

    async def _items(self, method: str, args: tuple[Any, ...]) -> Any:
        turn, items = self._turns.enqueue(), None
        try:
            await turn.wait()
            items = each(getattr(self._object, method)(*args))
            async for item in items:
                yield item
        finally:
            try:
                if items is not None:
                    await items.aclose()
            finally:
                self._turns.end(turn)

    @property
    def pending(self) -> int:
        return len(self._turns)

    async def last_of_all(self) -> None:
        self.state = "ended"
        made = self._object
        try:
            with anyio.CancelScope(shield=True):
                if hasattr(made, "aclose"):
                    with anyio.move_on_after(1.0):
                        await made.aclose()
                elif self._entered is not None:
                    self._entered.__exit__(None, None, None)
                elif hasattr(made, "close"):
                    made.close()
        except Exception as error:
            self._report(error)


def make_actor(
    scope: Launcher,
    cls: Callable[..., A],
    args: tuple[Any, ...],
    on: object,
    name: str | None,
    concurrency: int,
    grace: float | None,
) -> Actor[A]:
    """Check the arguments of `TaskScope.actor` and make the actor."""
    if not callable(cls):
        raise TypeError(f"actor() takes a class and the arguments of its instance, got {cls!r}: write actor(Model, x)")
    if is_async(cls):
        raise TypeError(f"actor() takes a class, and {call_name(cls)}() is async: a class may have coroutine methods")
    if grace is not None:
        check_seconds("grace", grace)
    concurrency = whole("concurrency", concurrency)
    name = text(name)
    on_loop = any(iscoroutinefunction(member) or isasyncgenfunction(member) for member in _members(cls))
    if on == "loop":
        return LoopActor(scope, cls, args, name, concurrency)
    if concurrency > 1 and not on_loop:
        raise TypeError(f"concurrency={concurrency} needs coroutine methods; for plain ones use actors(..., count=n)")
    pool = scope.process_pool() if on == "process" else scope.thread_pool() if on == "thread" else on
    title = f"of actor {name or call_name(cls)}"
    if isinstance(pool, ProcessBackend):
        alone = pool.alone(title, grace)
        return RemoteActor(scope, cls, args, name, alone, on_loop, concurrency, alone.grace)
    if isinstance(pool, ThreadPool):
        if on_loop:
            raise TypeError(
                f'{call_name(cls)} has coroutine methods, which need an event loop: use on="loop" or "process"'
            )
        thread = ThreadPool(1, name=title, interruptible=pool.interruptible)
        return RemoteActor(scope, cls, args, name, thread, False, 1, 1.0 if grace is None else grace)
    if isinstance(pool, Backend):
        raise ValueError(f'{pool!r} cannot run an actor: use on="process" or a ProcessPool')
    raise ValueError(f'on must be "process", "thread", "loop" or a pool, got {on!r}')


def make_actors(
    scope: Launcher,
    cls: Callable[..., A],
    args: tuple[Any, ...],
    count: int,
    on: object,
    name: str | None,
    concurrency: int,
    grace: float | None,
) -> ActorGroup[A]:
    """Check the arguments of `TaskScope.actors` and make the actors."""
    count = whole("count", count)
    title = name or call_name(cls)
    names = [f"{title} {number}" for number in range(count)]
    return ActorGroup([make_actor(scope, cls, args, on, each, concurrency, grace) for each in names])


def _members(cls: Any) -> list[Any]:
    return [getattr(cls, name, None) for name in dir(cls) if not name.startswith("__")]
