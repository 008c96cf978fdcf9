"""The task that reads the async source of a map, no faster than its bounds allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from .._handles.cancelled import TaskCancelled

if TYPE_CHECKING:
    from .._loops.adapter import Waiter
    from .engine import MapEngine


class Feed:
    """Reads item by item, and gives them to the engine in chunks. It does not hold the engine, which holds it.

    Attributes:
        gathered: items that were read and not sent yet.
    """

    __slots__ = ("_around", "_room", "gathered")

    def __init__(self) -> None:
        self._around: anyio.CancelScope | None = None
        self._room: Waiter | None = None
        self.gathered: list[Any] = []

    @property
    def runs(self) -> bool:
        """It was started: it closes the source itself."""
        return self._around is not None

    def go_on(self, engine: MapEngine) -> None:
        """There may be room for more: start, or read on."""
        if self._around is None:
            self._around = anyio.CancelScope()
            engine.scope.create_task(self._read(engine, self._around), name=f"{engine.name}, reading its source")
        elif self._room is not None:
            self._room.wake()

    def stop(self) -> None:
        if self._around is not None:
            self._around.cancel()

    def send_gathered(self, engine: MapEngine) -> None:
        if self.gathered:
            items, self.gathered = self.gathered, []
            engine.expect(items)

    async def _read(self, engine: MapEngine, around: anyio.CancelScope) -> None:
        """It ends with the source or the map."""
        source = engine.source
        cut_short: BaseException | None = TaskCancelled(engine.name, "the reading of its source was cancelled")
        cut_short.scope = engine.scope  # type: ignore[union-attr]
        try:
            with around:
                while True:
                    await self._wait_for_room(engine)
                    item = await source.read_async()  # what was gathered before may be gone by now
                    self.gathered.append(item)
                    size = engine.chunking.size
                    self.gathered += source.more_at_once(min(engine.may_send(), size - len(self.gathered)))
                    if len(self.gathered) >= size or engine.is_short_of_work:
                        self.send_gathered(engine)
        except StopAsyncIteration:
            cut_short = None
        except Exception as exc:
            cut_short = exc
        finally:
            self._room = None
            source.exhausted = True
            if not engine.ended:
                self.send_gathered(engine)
                if cut_short is not None:
                    engine.source_failed(cut_short)
                engine.wake()
            with anyio.CancelScope(shield=True):
                await source.aclose()

    async def _wait_for_room(self, engine: MapEngine) -> None:
        while engine.may_send() <= 0:  # `stop` cancels this wait too
            self._room = engine.port.waiter()
            await self._room
            self._room = None
