"""asyncio's face, and that of every loop that speaks its language (uvloop, winloop)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from .ports import Port, Timer, Waiter

if TYPE_CHECKING:
    from .lent_readers import LentReaders


class _FutureWaiter(Waiter):
    __slots__ = ("_future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._future: asyncio.Future[None] = loop.create_future()

    def wake(self) -> None:
        # No `done()` before: the SIGINT handler of `asyncio.Runner` may cancel the future between two bytecodes.
        try:
            self._future.set_result(None)
        except asyncio.InvalidStateError:
            pass

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._future.__await__()


class AsyncioPort(Port):
    """asyncio and whatever speaks its language (uvloop, winloop)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._lent: LentReaders | None = None
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
        if self._lent is None:
            try:
                self.loop.add_reader(fd, fn)
                return
            except NotImplementedError:  # Windows' Proactor
                from .lent_readers import LentReaders

                self._lent = LentReaders(self)
        self._lent.add(fd, fn)

    def remove_reader(self, fd: int) -> None:
        if self._lent is not None:
            self._lent.remove(fd)
        elif not self.loop.is_closed():
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
