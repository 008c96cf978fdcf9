"""The adapter of asyncio, and of every loop with its interface (uvloop, winloop)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

from ..errors import WorkerStartError
from .adapter import LoopAdapter, Timer, Waiter

if TYPE_CHECKING:
    from anyio import CancelScope


class _Future(asyncio.Future[None]):
    """Remembers how the task that awaits it is resumed."""

    resume: tuple[Callable[[Any], object], Context | None] | None = None

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        self.resume = (fn, context) if self.resume is None else None
        super().add_done_callback(fn, context=context)


class _FutureWaiter(Waiter):
    __slots__ = ("_adapter", "_future")

    def __init__(self, adapter: AsyncioAdapter) -> None:
        self._adapter = adapter
        self._future = _Future(loop=adapter.loop)

    def wake(self) -> None:
        woken = self._adapter.woken
        if woken is None:
            self.finish()
        else:
            woken.append(self)

    def finish(self) -> None:
        """Have the loop resume the waiting task in its next iteration."""
        # Not checked with `done()`: the SIGINT handler of `asyncio.Runner` may cancel the future between two bytecodes.
        try:
            self._future.set_result(None)
        except asyncio.InvalidStateError:
            pass

    def resume(self) -> None:
        """Resume the waiting task here and now. Only from a callback of the loop, outside of any task."""
        future = self._future
        if future.resume is None or future.done():
            self.finish()
            return
        fn, context = future.resume
        removed: int | None = None
        resuming = False
        try:
            removed = future.remove_done_callback(fn)
            future.set_result(None)
            resuming = True
            # No signal handler runs between here and the first instruction of the task.
            if context is None:
                fn(future)
            else:
                context.run(fn, future)
        except asyncio.InvalidStateError:
            if resuming:
                raise
        finally:
            if not resuming and removed != 0:  # Ctrl-C in between: leave it to the loop, unless that knows already
                future.remove_done_callback(fn)
                future.add_done_callback(fn, context=context)
                self.finish()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._future.__await__()


class AsyncioAdapter(LoopAdapter):
    """Adapts asyncio and loops with its interface (uvloop, winloop).

    Args:
        loop: the running loop.
        forget: called with it and ``None`` when it ends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, forget: Callable[[Any, None], object]) -> None:
        self.loop = loop
        self.kind = type(loop).__module__.partition(".")[0]
        self._forget = forget
        self._at_end: list[WeakMethod[Callable[[], object]]] = []
        self._end_signal: AsyncGenerator[None, None] | None = None
        self.woken: list[_FutureWaiter] | None = None  # by the callback that `deliver` runs
        self.call_soon = loop.call_soon  # type: ignore[method-assign, assignment]
        self.call_later = loop.call_later  # type: ignore[method-assign, assignment]

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        raise NotImplementedError

    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Timer:
        raise NotImplementedError

    def call_threadsafe(self, fn: Callable[..., object], *args: Any) -> bool:
        try:
            self.loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:
            if self.loop.is_closed():
                return False
            raise
        return True

    def add_reader(self, fd: int, fn: Callable[[], object]) -> None:
        Context().run(self.loop.add_reader, fd, fn)  # the reader outlives the request that needed it first

    def remove_reader(self, fd: int) -> None:
        if not self.loop.is_closed():
            self.loop.remove_reader(fd)

    def check_readers(self) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            return  # too few descriptors: the start of a worker says so
        try:
            self.loop.add_reader(ours, int)
            self.loop.remove_reader(ours)
        except NotImplementedError:
            raise WorkerStartError(
                f"{type(self.loop).__name__} cannot watch file descriptors (add_reader), which process tasks need; run "
                "them on asyncio's SelectorEventLoop, uvloop or trio"
            ) from None
        finally:
            ours.close()
            theirs.close()

    def is_cancelled(self, scope: CancelScope) -> bool:
        at: Any = scope  # there is no public way from a scope to the one around it
        try:
            while at is not None:
                if at._cancel_called:
                    return True
                at = None if at._shield else at._parent_scope
        except AttributeError:
            return scope.cancel_called
        return False

    def ended(self) -> bool:
        return self.loop.is_closed()

    def elsewhere(self) -> bool:
        if not self.loop.is_running():
            return False
        try:
            return asyncio.get_running_loop() is not self.loop
        except RuntimeError:
            return True

    def on_end(self, fn: Callable[[], object]) -> None:
        if self._end_signal is None:
            self._end_signal = self._signal_end()
            try:
                Context().run(self._end_signal.asend(None).send, None)
            except StopIteration:
                pass  # it has reached its `yield`
            except ResourceWarning:
                return  # as an error: the loop closes its generators already
        self._at_end = [*(kept for kept in self._at_end if kept() is not None), WeakMethod(fn)]

    async def _signal_end(self) -> AsyncGenerator[None, None]:
        """asyncio has no hook for the end of a run, but it closes the async generators that were started in it."""
        try:
            yield
        finally:
            for hook in self._at_end:
                fn = hook()
                if fn is not None:
                    fn()
            self._forget(self.loop, None)

    def current_task(self) -> object:
        return asyncio.current_task(self.loop)

    def task_has_ended(self, task: object) -> bool:
        return isinstance(task, asyncio.Future) and task.done()

    def tasks(self) -> list[Any]:
        return list(asyncio.all_tasks(self.loop))

    def waiter(self) -> Waiter:
        return _FutureWaiter(self)

    def deliver(self, fn: Callable[..., object], *args: Any) -> None:
        if self.woken is not None or asyncio.current_task(self.loop) is not None:
            fn(*args)
            return
        woken = self.woken = []
        try:
            fn(*args)
        finally:
            self.woken = None
            if len(woken) == 1:
                woken[0].resume()
            else:
                for waiter in woken:
                    waiter.finish()
