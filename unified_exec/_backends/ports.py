"""One face for every event loop: call back soon, later, or when a descriptor is readable."""

from __future__ import annotations

import asyncio
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import trio


class Timer(Protocol):
    def cancel(self) -> object: ...


class Port(ABC):
    """What a backend needs of the loop it serves. All but `call_threadsafe` belong to the loop's own thread."""

    @abstractmethod
    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        """Run `fn(*args)` at the next turn of the loop."""

    @abstractmethod
    def call_threadsafe(self, fn: Callable[..., object], *args: Any) -> bool:
        """Like `call_soon`, from any thread; ``False`` if the loop has ended and nobody will call `fn`."""

    @abstractmethod
    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Run `fn(*args)` after `delay` seconds unless the timer is cancelled."""

    @abstractmethod
    def add_reader(self, fd: int, fn: Callable[[], object]) -> None:
        """Call `fn()` whenever `fd` is readable, until `remove_reader`."""

    @abstractmethod
    def remove_reader(self, fd: int) -> None: ...

    @abstractmethod
    def ended(self) -> bool:
        """Tell, from any thread, whether the loop will never run again."""

    @abstractmethod
    def elsewhere(self) -> bool:
        """Tell whether the loop is running, but not in the calling thread."""

    @abstractmethod
    def on_end(self, fn: Callable[[], object]) -> None:
        """Call `fn()` in the loop's thread when the loop ends, where the loop tells so; else see `ended`."""

    @abstractmethod
    def waiter(self) -> Waiter:
        """Make something one task can wait on and any code in the loop's thread can wake."""


class Waiter(ABC):
    """Woken once; waiting is a checkpoint of the loop and can be cancelled."""

    @abstractmethod
    def wake(self) -> None: ...

    @abstractmethod
    def __await__(self) -> Generator[Any, Any, Any]: ...


class _FutureWaiter(Waiter):
    __slots__ = ("_future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._future: asyncio.Future[None] = loop.create_future()

    def wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._future.__await__()


class AsyncioPort(Port):
    """asyncio and whatever speaks its language (uvloop, winloop)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
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
        self.loop.add_reader(fd, fn)

    def remove_reader(self, fd: int) -> None:
        if not self.loop.is_closed():
            self.loop.remove_reader(fd)

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
        pass  # asyncio does not tell

    def waiter(self) -> Waiter:
        return _FutureWaiter(self.loop)


class _TrioWaiter(Waiter):
    __slots__ = ("_event",)

    def __init__(self, event: trio.Event) -> None:
        self._event = event

    def wake(self) -> None:
        self._event.set()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._event.wait().__await__()


class _TrioTimer:
    __slots__ = ("scope",)

    def __init__(self, scope: trio.CancelScope) -> None:
        self.scope = scope

    def cancel(self) -> None:
        self.scope.cancel()


class TrioPort(Port):
    """trio: each reader and each timer is a small system task, which ends with the run."""

    def __init__(self) -> None:
        import trio

        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self._readers: dict[int, trio.CancelScope] = {}
        self._at_end: list[Callable[[], object]] = []
        self._ended = False
        trio.lowlevel.spawn_system_task(self._watch_end)

    async def _watch_end(self) -> None:
        try:
            await self._trio.sleep_forever()
        finally:
            self._ended = True
            for fn in self._at_end:
                fn()

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        self._token.run_sync_soon(fn, *args)

    def call_threadsafe(self, fn: Callable[..., object], *args: Any) -> bool:
        try:
            self._token.run_sync_soon(fn, *args)
        except self._trio.RunFinishedError:
            return False
        return not self._ended

    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Timer:
        scope = self._trio.CancelScope()

        async def wait() -> None:
            with scope:
                await self._trio.sleep(delay)
                fn(*args)

        self._trio.lowlevel.spawn_system_task(wait)
        return _TrioTimer(scope)

    def add_reader(self, fd: int, fn: Callable[[], object]) -> None:
        scope = self._readers[fd] = self._trio.CancelScope()

        async def read() -> None:
            with scope:
                while True:
                    try:
                        await self._trio.lowlevel.wait_readable(fd)
                    except self._trio.ClosedResourceError:
                        return
                    if scope.cancel_called:
                        return
                    fn()

        self._trio.lowlevel.spawn_system_task(read)

    def remove_reader(self, fd: int) -> None:
        scope = self._readers.pop(fd, None)
        if scope is not None and not self._ended:
            scope.cancel()
            self._trio.lowlevel.notify_closing(fd)

    def ended(self) -> bool:
        return self._ended

    def elsewhere(self) -> bool:
        if self._ended:
            return False
        return not self._trio.lowlevel.in_trio_run() or self._trio.lowlevel.current_trio_token() is not self._token

    def on_end(self, fn: Callable[[], object]) -> None:
        self._at_end.append(fn)

    def waiter(self) -> Waiter:
        return _TrioWaiter(self._trio.Event())


_asyncio_ports: dict[asyncio.AbstractEventLoop, AsyncioPort] = {}
_ports_lock = threading.Lock()
_trio_port: Any = None  # trio.lowlevel.RunVar[TrioPort]


def current_port() -> Port:
    """Return the port of the running event loop; the same one each time for the same run.

    Raises:
        RuntimeError: no asyncio or trio event loop runs in this thread.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _current_trio_port()
    port = _asyncio_ports.get(loop)
    if port is None:
        with _ports_lock:
            for other in [known for known in _asyncio_ports if known.is_closed()]:
                del _asyncio_ports[other]
            port = _asyncio_ports[loop] = AsyncioPort(loop)
    return port


def _current_trio_port() -> Port:
    global _trio_port
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        raise RuntimeError("no event loop is running: call this from inside anyio.run(...) or asyncio.run(...)")
    if _trio_port is None:
        _trio_port = trio.lowlevel.RunVar("unified_exec_port")
    try:
        port: Port = _trio_port.get()
    except LookupError:
        port = TrioPort()
        _trio_port.set(port)
    return port
