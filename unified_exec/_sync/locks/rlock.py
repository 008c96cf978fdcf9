"""`RLock`: a lock that its holder may acquire again."""

from __future__ import annotations

from collections.abc import Awaitable
from sys import _getframe
from types import FrameType

from ..._tasks.holders import me
from ..shared.calls import DONE
from .lock import Lock


class RLock(Lock):
    """A `Lock` that the task which holds it may acquire again; it is free after as many releases.

    Args:
        name, on_abandoned: see `Lock`.

    Example:
        lock = RLock()

        def outer():
            with lock:
                inner()

        def inner():
            with lock:                                    # does not wait: the task holds it
                ...
    """

    __slots__ = ("_again",)

    def __init__(self, *, name: str | None = None, on_abandoned: str = "warn") -> None:
        super().__init__(name=name, on_abandoned=on_abandoned)
        self._again = 0

    def acquire_nowait(self) -> None:
        if self._holder is me():
            self._again += 1
        elif not self._acquire_now(me(), _getframe(1)):
            raise self._taken()

    def release(self) -> None:
        if self._again and self._holder is me():
            self._again -= 1
        else:
            super().release()

    async def acquire(self, *, timeout: float | None = None) -> None:
        if self._holder is me():
            self._again += 1
        else:
            await self._acquire(_getframe(1), timeout)

    def __aenter__(self) -> Awaitable[None]:
        if self._holder is not me():
            return self._enter(_getframe(1))
        self._again += 1
        return DONE

    def __aexit__(self, kind: object, error: object, traceback: object) -> Awaitable[None]:
        self.release()
        return DONE

    def acquire_sync(self, *, timeout: float | None = None) -> None:
        holder = me()
        if self._holder is holder:
            self._again += 1
        else:
            self._acquire_sync(holder, _getframe(1), timeout)

    def __enter__(self) -> None:
        holder = me()
        if self._holder is holder:
            self._again += 1
        else:
            super()._enter_sync(_getframe(1))

    async def _enter(self, frame: FrameType) -> None:
        if self._holder is me():
            self._again += 1
        else:
            await super()._enter(frame)

    def _enter_sync(self, frame: FrameType) -> None:
        if self._holder is me():
            self._again += 1
        else:
            super()._enter_sync(frame)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.release()

    def _release_all(self) -> int:
        again, self._again = self._again, 0
        super().release()
        return again

    def _acquired_again(self, count: int) -> None:
        self._again = count
