"""The consumers of a map or stream that wait for its next item."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._loops.adapter import LoopAdapter, Waiter


class WaitingConsumers:
    """Any number of consumers, on one event loop."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: LoopAdapter) -> None:
        self._loop = loop
        self._waiting: list[Waiter] = []

    async def wait(self) -> None:
        waiter = self._loop.waiter()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.wake()
