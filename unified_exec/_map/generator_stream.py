"""`scope.stream`: a generator that runs elsewhere, its items as an async iterator."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._handles.handle import TaskHandle
from .._loops.adapter import Waiter
from .._rules.dispatch import AUTO, call_name, unwrap
from .._scope import placement
from .._tasks.current import check_cancelled, current
from .._worker.run_generator import run_async_generator, run_generator
from ..abc import Backend

if TYPE_CHECKING:
    from .._scope.scope import TaskScope

T = TypeVar("T")

ITEMS_AHEAD = 256
"""Items a thread may have ready before one of them has been taken."""
IMPATIENT = 0.005
"""Seconds a consumer waits before it asks for what the generator has gathered."""
POLL = 0.02
"""Seconds between two looks of a waiting thread whether it was cancelled."""


class GeneratorStream(AsyncIterator[T], Generic[T]):
    """The items of `TaskScope.stream`: iterate it with ``async for``.

    Leaving the loop early cancels the generator, whose ``finally`` blocks run where it runs; the scope waits for
    that. `aclose` waits at once.
    """

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._items = engine.items

    def __aiter__(self) -> GeneratorStream[T]:
        return self

    async def __anext__(self) -> T:
        if not self._items:
            try:
                await self._engine.more()
            except BaseException:
                del self  # no cycle from the error over its traceback to this frame
                raise
        item: T = self._items.popleft()
        self._engine.taken()
        return item

    def take(self, most: int) -> list[T]:
        """Take up to `most` items that are here now, without waiting."""
        taken: list[T] = []
        while self._items and len(taken) < most:
            taken.append(self._items.popleft())
            self._engine.taken()
        return taken

    async def aclose(self) -> None:
        """Cancel the generator and wait for its end. Does nothing if it has ended."""
        await self._engine.aclose()

    async def __aenter__(self) -> GeneratorStream[T]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._engine.abandon()


class _Engine:
    """The consumer's end: items that came, and the task they come from."""

    def __init__(self, scope: TaskScope, name: str) -> None:
        assert scope._port is not None
        self.items: deque[Any] = deque()
        self.port = scope._port
        self.scope = scope
        self.name = name
        self.left = False
        self._waiter: Waiter | None = None
        self.handle: TaskHandle[Any]

    def launch(self, fn: Callable[..., Any], args: tuple[Any, ...], place: str, backend: Backend) -> None:
        self.handle = TaskHandle(self.name, fn, args, place, self.scope, self.port)
        self.handle.private = True
        self.handle.listener = self.heard
        self.scope.launch(self.handle, backend, None)
        self.handle.when_done(self.wake)

    def heard(self, message: Any) -> None:
        raise NotImplementedError

    def taken(self) -> None:
        """An item was taken: there is room for another."""

    def all_here(self) -> bool:
        """Has everything come that the generator gave?"""
        return True

    def ask_for_more(self) -> bool:
        """Called before each wait, whatever the last one was ended by: is an item here, after all?"""
        return bool(self.items)

    def impatient(self) -> None:
        """The consumer waits for a while now."""

    def wake(self) -> None:
        if self.handle.done():
            self.handle.listener = None  # no cycle of the two, which would keep what was not taken
        if self._waiter is not None:
            self._waiter.wake()

    async def more(self) -> None:
        """Wait for an item.

        Raises:
            StopAsyncIteration: the generator has ended.
            Exception: what the generator raised.
        """
        timer = self.port.call_later(IMPATIENT, self.impatient)
        try:
            while not self.ask_for_more():
                if self.left:
                    raise StopAsyncIteration
                if self.handle.done() and (self.all_here() or not self.handle.outcome.is_value):  # type: ignore[union-attr]
                    self.left = True
                    self.handle.result()
                    raise StopAsyncIteration
                self._waiter = self.port.waiter()
                await self._waiter
        finally:
            self._waiter = None
            timer.cancel()
            del self  # no cycle from the error over its traceback to this frame

    def stop(self) -> None:
        self.left = True
        self.handle.cancel("its stream was left")

    def abandon(self) -> None:
        """Like `stop`, from the collector, which may run anywhere."""
        if not self.left and not self.handle.done() and not self.port.ended():
            self.port.call_threadsafe(self.stop)

    async def aclose(self) -> None:
        if not self.handle.done():
            self.stop()
            await self.handle.wait()
        self.left = True


class _ProcessEngine(_Engine):
    """Batches come numbered, on two sockets; credit goes back as they are taken."""

    def __init__(self, scope: TaskScope, name: str) -> None:
        super().__init__(scope, name)
        self._early: dict[int, list[Any]] = {}
        self._next = 0
        self._sizes: deque[int] = deque()
        self._given = 0

    def start(self, fn: Callable[..., Any], args: tuple[Any, ...], backend: Backend) -> None:
        run = run_async_generator if isasyncgenfunction(unwrap(fn)) else run_generator
        self.backend = backend
        self.launch(partial(run, fn), (args,), "process", backend)

    def _give(self, count: int) -> None:
        self.backend.lane(self.port).give_credit(self.handle, count)

    def impatient(self) -> None:
        self._give(0)

    def heard(self, message: Any) -> None:
        if isinstance(message, Exception):
            self.handle.cancel("a batch could not be rebuilt")
            return
        self._early[message.number] = message.items
        while self._next in self._early:
            items = self._early.pop(self._next)
            self._next += 1
            self.items.extend(items)
            self._sizes.append(len(items))
        self.wake()

    def taken(self) -> None:
        self._sizes[0] -= 1
        if not self._sizes[0]:
            self._sizes.popleft()
            if not self.handle.done():
                self._give(1)

    def all_here(self) -> bool:
        outcome = self.handle.outcome
        return outcome is None or not outcome.is_value or outcome.unwrap() == self._next


class _Channel:
    """Between a generator in a thread and its consumer on the loop."""

    def __init__(self, items: deque[Any]) -> None:
        self.items = items
        self.room = threading.Condition()
        self.hungry = True

    def run(self, fn: Callable[..., Iterator[Any]], args: tuple[Any, ...]) -> None:
        view = current.get()
        assert view is not None
        items = fn(*args)
        try:
            for item in items:
                self.items.append(item)
                if self.hungry:
                    self.hungry = False
                    view.send(None)
                while len(self.items) >= ITEMS_AHEAD:
                    check_cancelled()
                    with self.room:
                        if len(self.items) >= ITEMS_AHEAD:
                            self.room.wait(POLL)
                check_cancelled()
        finally:
            if hasattr(items, "close"):
                items.close()


class _ThreadEngine(_Engine):
    def start(self, fn: Callable[..., Any], args: tuple[Any, ...], backend: Backend) -> None:
        self._channel = _Channel(self.items)
        self.launch(self._channel.run, (fn, args), "thread", backend)

    def heard(self, message: Any) -> None:
        self.wake()

    def ask_for_more(self) -> bool:
        # In this order: a generator that puts an item there after the look sees the hunger. It may still answer the
        # hunger before with a wake-up for an item that was taken since: hence anew before each wait.
        self._channel.hungry = True
        return bool(self.items)

    def taken(self) -> None:
        if len(self.items) == ITEMS_AHEAD // 2:
            with self._channel.room:
                self._channel.room.notify()


class _LoopStream(AsyncIterator[T], Generic[T]):
    """An async generator on the consumer's own loop needs no carrying."""

    def __init__(self, items: Any) -> None:
        self._items = items

    async def __anext__(self) -> T:
        item: T = await anext(self._items)
        return item

    async def aclose(self) -> None:
        await self._items.aclose()

    async def __aenter__(self) -> _LoopStream[T]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


def make_stream(scope: TaskScope, fn: Callable[..., Any], args: tuple[Any, ...], on: Any) -> Any:
    """Check the arguments of `TaskScope.stream` and start it.

    Raises:
        RuntimeError: the scope is not open.
        TypeError: `fn` cannot run there.
    """
    if not scope._open:
        raise RuntimeError(placement.not_open(scope, fn))
    if not callable(fn):
        raise TypeError(f"stream() takes a generator function and its arguments, got {fn!r}: write stream(fn, x)")
    is_async = isasyncgenfunction(unwrap(fn))
    if on == AUTO:  # nothing is measured of a generator
        on = None
    if on is None and is_async:
        on = "loop"
    if is_async and on == "loop":
        return _LoopStream(fn(*args))
    place, backend = placement.resolve(scope, fn, on)
    if backend is None or (is_async and place == "thread"):
        raise TypeError(
            f"{call_name(fn)}() cannot be streamed with on={on!r}: "
            + ("an async generator runs on the loop or in a process" if is_async else "use on='thread' or on='process'")
        )
    name = f"stream of {call_name(fn)}"
    engine = _ProcessEngine(scope, name) if place == "process" else _ThreadEngine(scope, name)
    engine.start(fn, args, backend)
    return GeneratorStream(engine)
