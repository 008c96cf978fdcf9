"""Where a map reads its items from, no faster than its bounds allow: a plain iterable, or an async one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Sequence
from contextvars import Context
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from .._handles.cancelled import TaskCancelled
from .closing import close_shielded, log_failure
from .result_stream import ResultStream

if TYPE_CHECKING:
    from .._handles.owner import Launcher
    from .._loops.adapter import Waiter


class Room(Protocol):
    """How much a source may read now. The map answers."""

    name: str

    @property
    def is_short_of_work(self) -> bool:
        """A worker may soon be idle, so that a chunk should be sent even if it is not full."""

    def room(self) -> int:
        """How many items may be read now."""

    def chunk_size(self, left: int | None) -> int:
        """How many items the next chunk should have, if `left` of them are unread (``None`` if unknown)."""

    def source_ended(self, error: BaseException | None) -> None:
        """Called once, when all items have been read or reading has raised `error`."""


Deliver = Callable[[list[Any]], None]


class Source(ABC):
    """The items of a map.

    Attributes:
        exhausted: nothing more will be read.
        total: the number of items, ``None`` if unknown.
        left: how many of them are still unread, ``None`` if unknown.
        gathered: items that were read but not delivered yet.
    """

    exhausted = False
    total: int | None = None
    left: int | None = None
    gathered: Sequence[Any] = ()

    @abstractmethod
    def pump(self, room: Room, deliver: Deliver) -> None:
        """Read as much as there is room for and deliver it in chunks, now or as it arrives."""

    def flush(self, deliver: Deliver) -> None:  # noqa: B027  optional
        """Deliver what has been gathered."""

    @abstractmethod
    def stop(self, name: str) -> None:
        """Read nothing more; close what can be closed without waiting. The map is called `name` in the log."""

    async def aclose(self, name: str) -> None:  # noqa: B027  optional
        """Close the rest, after `stop`."""


class SyncSource(Source):
    """A plain iterable, read in the thread of the loop."""

    def __init__(self, items: Iterable[Any], context: Context) -> None:
        self.total = self.left = length_of(items)
        self._items = iter(items)
        self._context = context
        self._reading = False

    def pump(self, room: Room, deliver: Deliver) -> None:
        while not self.exhausted and (free := room.room()) > 0:
            size = room.chunk_size(self.left)
            if free < size and not room.is_short_of_work:
                break  # there will soon be room for a whole chunk
            items, error = self._read(min(free, size))
            if items:
                deliver(items)
            if error is not None:
                room.source_ended(error)

    def _read(self, most: int) -> tuple[list[Any], BaseException | None]:
        """Read up to `most` items. Fewer mean that the iterable has ended, or raised the exception that is returned."""
        items: list[Any] = []
        error: BaseException | None = None
        self._reading = True
        try:
            self._context.run(items.extend, islice(self._items, most))
        except BaseException as exc:  # not only `Exception`: this may run in a callback of the loop
            error = exc
        finally:
            self._reading = False
        if self.left is not None:
            self.left = max(0, self.left - len(items))
        if len(items) < most:
            self.exhausted = True
        return items, error

    def stop(self, name: str) -> None:
        self.exhausted = True
        items = self._items  # what is no generator but can be closed, such as a file, is its owner's
        if isinstance(items, Generator) and not self._reading:  # else it has stopped the map itself
            try:
                self._context.run(items.close)
            except Exception:
                log_failure(items, name)


class AsyncSource(Source):
    """An async iterable, read item by item in a task of the scope.

    It does not refer to the map, which refers to it: only its running task does.
    """

    def __init__(self, items: AsyncIterable[Any], scope: Launcher) -> None:
        self.gathered: list[Any] = []
        self._items = aiter(items)
        self._scope = scope
        self._task_scope: anyio.CancelScope | None = None  # around the reading task, once it has been started
        self._task: object = None  # that reads
        self._read_and_closed = anyio.Event()
        self._waiter: Waiter | None = None  # the reading task waits for room

    def pump(self, room: Room, deliver: Deliver) -> None:
        if self._task_scope is None:
            self._task_scope = anyio.CancelScope()
            reading = self._read(room, deliver, self._task_scope)
            self._scope.create_task(reading, name=f"{room.name}, reading its source")
        elif self._waiter is not None:
            self._waiter.wake()

    def flush(self, deliver: Deliver) -> None:
        if self.gathered:
            items, self.gathered = self.gathered, []
            deliver(items)

    def stop(self, name: str) -> None:
        self.exhausted = True
        if self._task_scope is not None:
            self._task_scope.cancel()

    async def aclose(self, name: str) -> None:
        if self._task_scope is None:
            await close_shielded(self._items, name)
        elif self._task is not self._scope.adapter.current_task():
            await self._read_and_closed.wait()

    async def _read(self, room: Room, deliver: Deliver, task_scope: anyio.CancelScope) -> None:
        cancelled = TaskCancelled(room.name, "the reading of its source was cancelled")
        cancelled.scope = self._scope
        error: BaseException | None = cancelled
        self._task = self._scope.adapter.current_task()
        try:
            with task_scope:
                while True:
                    await self._wait_for(room)
                    item = await anext(self._items)  # meanwhile `gathered` may have been replaced
                    self.gathered.append(item)
                    size = room.chunk_size(None)
                    if isinstance(self._items, ResultStream):
                        self.gathered += self._items.take(min(room.room(), size - len(self.gathered)))
                    if len(self.gathered) >= size or room.is_short_of_work:
                        self.flush(deliver)
        except StopAsyncIteration:
            error = None
        except Exception as exc:
            error = exc
        finally:
            self._waiter = None
            self.exhausted = True
            room.source_ended(error)
            await close_shielded(self._items, room.name)
            self._read_and_closed.set()

    async def _wait_for(self, room: Room) -> None:
        while room.room() <= 0:  # `stop` cancels this wait too
            self._waiter = self._scope.adapter.waiter()
            await self._waiter
            self._waiter = None


def length_of(items: Any) -> int | None:
    """Return the number of items, ``None`` if it is not known."""
    try:
        return len(items)
    except (TypeError, OverflowError):  # an iterator; range(10**20)
        return None


def source_of(items: Iterable[Any] | AsyncIterable[Any], context: Context, scope: Launcher) -> Source:
    """Return the source for `items`; plain iterables are read in `context`."""
    return SyncSource(items, context) if isinstance(items, Iterable) else AsyncSource(items, scope)
