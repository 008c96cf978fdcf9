"""`scope.stream`: a generator that runs in a pool, its items as an async iterator."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, TypeVar

from .._handles.handle import TaskHandle
from .._loops.adapter import Waiter
from .._rules.dispatch import AUTO, call_name, unwrap
from ..abc import Backend
from .result_stream import ResultStream

if TYPE_CHECKING:
    from .._handles.owner import Launcher

T = TypeVar("T")

IMPATIENT = 0.005
"""Seconds a consumer waits before it asks for the items that the generator has gathered."""


class GeneratorStream(ResultStream[T]):
    """The items of `TaskScope.stream`: iterate over it with ``async for``.

    Leaving the loop early cancels the generator, whose ``finally`` blocks run where it runs; the scope waits for
    them. `aclose` waits at once.
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
        self._engine.reader.item_taken()
        return item

    def take(self, most: int) -> list[T]:
        """Take up to `most` items that have arrived, without waiting."""
        taken: list[T] = []
        while self._items and len(taken) < most:
            taken.append(self._items.popleft())
            self._engine.reader.item_taken()
        return taken

    async def aclose(self) -> None:
        """Cancel the generator and wait for its end. Does nothing if it has ended."""
        await self._engine.aclose()

    def __del__(self) -> None:
        self._engine.abandon()


class _Engine:
    """The consumer's end: the reader of the items and the task that runs the generator."""

    def __init__(
        self, scope: Launcher, name: str, fn: Callable[..., Any], args: tuple[Any, ...], pool: Backend
    ) -> None:
        self.loop = scope.adapter
        self.left = False
        self._waiter: Waiter | None = None
        self.reader = reader = pool.lane(self.loop).open_stream(fn, args)
        self.items = reader.items
        self.handle: TaskHandle[Any] = TaskHandle(name, reader.fn, reader.args, pool.kind, scope)
        reader.task = self.handle
        self.handle.private = True
        self.handle.listener = self._on_message
        if priority := scope.default_priority():
            self.handle.priority = priority
        scope.launch(self.handle, pool, None)
        self.handle.when_done(self.wake)

    def all_here(self) -> bool:
        """Tell whether everything has arrived that the generator yielded."""
        outcome = self.handle.outcome
        assert outcome is not None
        return not outcome.is_value or self.reader.is_complete(outcome)

    def _on_message(self, message: Any) -> None:
        if self.reader.on_message(message):
            self.wake()

    def wake(self) -> None:
        if self.handle.done():
            self.handle.listener = None  # no reference cycle, which would keep the items not taken
        if self._waiter is not None:
            self._waiter.wake()

    async def more(self) -> None:
        """Wait for an item.

        Raises:
            StopAsyncIteration: the generator has ended.
            Exception: what the generator raised.
        """
        timer = self.loop.call_later(IMPATIENT, self.reader.flush)
        try:
            while not self.reader.has_item():
                if self.left:
                    raise StopAsyncIteration
                if self.handle.done() and self.all_here():
                    self.left = True
                    self.handle.result()
                    raise StopAsyncIteration
                self._waiter = self.loop.waiter()
                await self._waiter
        finally:
            self._waiter = None
            timer.cancel()
            del self  # no cycle from the error over its traceback to this frame

    def stop(self) -> None:
        self.left = True
        self.handle.cancel("its stream was left")

    def abandon(self) -> None:
        """Like `stop`, but called by the garbage collector, in any thread."""
        if not self.left and not self.handle.done() and not self.loop.ended():
            self.loop.call_threadsafe(self.stop)

    async def aclose(self) -> None:
        if not self.handle.done():
            self.stop()
            await self.handle.wait()
        self.left = True


class _LoopStream(ResultStream[T]):
    """An async generator that runs on the consumer's own loop."""

    def __init__(self, items: Any) -> None:
        self._items = items

    async def __anext__(self) -> T:
        item: T = await anext(self._items)
        return item

    async def aclose(self) -> None:
        await self._items.aclose()


def make_stream(scope: Launcher, fn: Callable[..., Any], args: tuple[Any, ...], on: Any) -> Any:
    """Check the arguments of `TaskScope.stream` and start the generator.

    Raises:
        RuntimeError: the scope is not open.
        TypeError: `fn` cannot run there.
    """
    if not callable(fn):
        raise TypeError(f"stream() takes a generator function and its arguments, got {fn!r}: write stream(fn, x)")
    is_async = isasyncgenfunction(unwrap(fn))
    if on == AUTO:  # generators are not measured
        on = None
    if on is None and is_async:
        on = "loop"
    if is_async and on == "loop":
        return _LoopStream(fn(*args))
    _, backend = scope.resolve(fn, on)
    if backend is None or not backend.capabilities.streams or (is_async and not backend.capabilities.coroutines):
        raise TypeError(
            f"{call_name(fn)}() cannot be streamed with on={on!r}: "
            + ("an async generator runs on the loop or in a process" if is_async else "use on='thread' or on='process'")
        )
    return GeneratorStream(_Engine(scope, f"stream of {call_name(fn)}", fn, args, backend))
