"""`scope.stream`: a generator that runs in a pool, its items as an async iterator."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, TypeVar

from .._handles.handle import TaskHandle
from .._handles.open_scopes import ScopePart
from .._handles.validation import wrong_loop
from .._rules.dispatch import AUTO, call_name, unwrap
from ..abc import Backend
from .closing import close_shielded
from .result_stream import ResultStream, raise_failure
from .waiting_consumers import WaitingConsumers

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


class _Engine(ScopePart):
    """The consumer's end: the reader of the items and the task that runs the generator."""

    def __init__(
        self, scope: Launcher, name: str, fn: Callable[..., Any], args: tuple[Any, ...], pool: Backend
    ) -> None:
        self.loop = scope.adapter
        self.left = self._cut_short = False
        self._scope = scope
        self._waiting = WaitingConsumers(self.loop)
        self.reader = reader = pool.lane(self.loop).open_stream(fn, args)
        self.items = reader.items
        self.handle: TaskHandle[Any] = TaskHandle(name, reader.fn, reader.args, pool.kind, scope)
        reader.task = self.handle
        self.handle.private = True
        self.handle.listener = self._on_message
        if priority := scope.default_priority():
            self.handle.priority = priority
        scope.launch(self.handle, pool, None)
        scope.attach(self)
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
            self._scope.detach(self)
        self._waiting.wake()

    async def more(self) -> None:
        """Wait for an item.

        Raises:
            StopAsyncIteration: the generator has ended.
            Exception: what the generator raised.
        """
        if self.loop.elsewhere():
            raise RuntimeError(wrong_loop(self.handle.name))
        timer = self.loop.call_later(IMPATIENT, self.reader.flush)
        try:
            while not self.reader.has_item():
                if self._cut_short:
                    raise RuntimeError(taken_too_late(self.handle.name))
                if self.left:
                    raise StopAsyncIteration
                if self.handle.done() and self.all_here():
                    self.left = True
                    self.wake()  # other consumers
                    try:
                        if self.reader.error is not None:
                            raise self.reader.error
                        self.handle.result()
                    except StopAsyncIteration as error:
                        raise_failure(error, self.handle.name)
                    raise StopAsyncIteration
                await self._waiting.wait()
        finally:
            timer.cancel()
            del self  # no cycle from the error over its traceback to this frame

    def stop(self) -> None:
        self.left = True
        self.handle.cancel("its stream was left")

    def running(self) -> int:
        return 0 if self.handle.done() else 1

    def scope_ended(self) -> None:
        self._cut_short = not self.left
        self.stop()

    consumers_left = scope_ended

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

    def __init__(self, scope: Launcher, name: str, items: Any) -> None:
        self._generator = _LoopGenerator(scope, name, items)

    async def __anext__(self) -> T:
        generator = self._generator
        if generator.cut_short:
            raise RuntimeError(taken_too_late(generator.name))
        try:
            item: T = await anext(generator.items)
            return item
        except BaseException:
            generator.detach()
            raise

    async def aclose(self) -> None:
        self._generator.detach()
        await self._generator.items.aclose()

    def __del__(self) -> None:
        self._generator.abandon()


class _LoopGenerator(ScopePart):
    """The generator of a `_LoopStream`, which its scope closes if the consumer does not take all items.

    Attributes:
        cut_short: the scope has closed it.
    """

    def __init__(self, scope: Launcher, name: str, items: Any) -> None:
        self.name = name
        self.items = items
        self.cut_short = False
        self._scope: Launcher | None = scope
        scope.attach(self)

    def detach(self) -> None:
        """It ends without the scope."""
        scope, self._scope = self._scope, None
        if scope is not None:
            scope.detach(self)

    def abandon(self) -> None:
        """Close it in a task of the scope. Called by the garbage collector, in any thread."""
        scope = self._scope
        if scope is not None and not scope.adapter.ended():
            scope.adapter.call_threadsafe(self._close_soon)

    def _close_soon(self) -> None:
        scope = self._scope
        if scope is not None and scope.awaits_new_tasks():  # else `last_of_all` is next
            self.detach()
            scope.create_task(close_shielded(self.items, self.name), name=f"{self.name}, closing it")

    async def last_of_all(self) -> None:
        """Close it, unless a task of another scope waits for its next item. The tasks of this scope have ended."""
        self.cut_short = True
        self._scope = None
        if not self.items.ag_running:
            await close_shielded(self.items, self.name)

    def scope_ended(self) -> None:
        self._scope = None


def taken_too_late(name: str) -> str:
    """The message for an item that is wanted after the scope."""
    return f"the scope of this {name} has ended: take its items inside the block"


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
        return _LoopStream(scope, f"stream of {call_name(fn)}", fn(*args))
    _, backend = scope.resolve(fn, on)
    if backend is None or not backend.capabilities.streams or (is_async and not backend.capabilities.coroutines):
        raise TypeError(
            f"{call_name(fn)}() cannot be streamed with on={on!r}: "
            + ("an async generator runs on the loop or in a process" if is_async else "use on='thread' or on='process'")
        )
    return GeneratorStream(_Engine(scope, f"stream of {call_name(fn)}", fn, args, backend))
