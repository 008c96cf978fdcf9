"""`ChannelSender`: a counted send end. When the last one of a channel has ended, the channel is closed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from ..._tasks.bound import Bound, live
from ..._wire.pickling.shared_refs import Unchanging
from ...errors import ChannelClosed
from .send_ends import Place, close_cell

T = TypeVar("T")


class ChannelSender(Bound, Unchanging, Generic[T]):
    """A send end of a channel, made by `Channel.sender`. When the last one has ended, the channel is closed.

    It ends by `close`, at the end of its ``with`` block, when the tasks it was passed to have ended (also by the death
    of their process), or when it is dropped. So receivers that iterate over the channel end by themselves::

        async with TaskScope() as scope:
            for url in urls:
                scope.spawn(fetch, url, pages.sender())
            scope.spawn(parse, pages, on="process")     # for page in pages: ends after the last fetch

    Passed as an argument (of the call, of a `functools.partial`, or as the object of a bound method) it belongs to that
    task, and ends with it. In a container or a captured variable it is not seen: use a ``with`` block then.
    """

    __slots__ = ("__weakref__", "_channel", "_closed", "_pid", "place")

    def __init__(self, channel: Any, place: Place | None = None, opened_here: bool = True) -> None:
        self._channel = channel
        self._closed = False
        self._pid = os.getpid() if opened_here else 0
        self.place = place
        if opened_here:
            super().__init__()
        else:
            self.tasks = set()

    @property
    def closed(self) -> bool:
        """It takes no more items."""
        place = self.place
        return self._closed or (place is not None and place[0].memory.words[place[1]] != place[2])

    def clone(self) -> ChannelSender[T]:
        """Return another send end of the same channel, for one more task; see `Channel.sender`."""
        end: ChannelSender[T] = self._channel.sender()
        return end

    def close(self) -> None:
        """End it. If it was the last one of its channel, the channel is closed. Closing twice is fine."""
        self._close(False)

    def _close(self, dropped: bool) -> None:
        self._closed = True
        place = self.place
        if self._pid != os.getpid():  # opened by another process, or by the one that this was forked from
            if place is not None and not dropped:
                close_cell(place, ours=False)
            return
        try:
            live.remove(id(self))
        except KeyError:
            return  # another thread does it, or has done it
        self._channel._end_closed(self, dropped)

    def __del__(self) -> None:
        if not self._closed:
            self._close(True)

    def _check(self) -> None:
        if self.closed:
            raise ChannelClosed(f"a send end of {self._channel!r}", True)

    async def send(self, item: T, *, timeout: float | None = None) -> None:
        """Send an item; see `Channel.send`."""
        self._check()
        await self._channel.send(item, timeout=timeout)

    async def send_many(self, items: Iterable[T], *, timeout: float | None = None) -> None:
        """Send items in order; see `Channel.send_many`."""
        self._check()
        await self._channel.send_many(items, timeout=timeout)

    def send_sync(self, item: T, *, timeout: float | None = None) -> None:
        """Send an item from a thread or a process task; see `Channel.send_sync`."""
        self._check()
        self._channel.send_sync(item, timeout=timeout)

    def send_many_sync(self, items: Iterable[T], *, timeout: float | None = None) -> None:
        """Send items in order from a thread or a process task; see `Channel.send_many_sync`."""
        self._check()
        self._channel.send_many_sync(items, timeout=timeout)

    def send_nowait(self, item: T) -> None:
        """Send an item if there is room now; see `Channel.send_nowait`."""
        self._check()
        self._channel.send_nowait(item)

    def __enter__(self) -> ChannelSender[T]:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()

    async def __aenter__(self) -> ChannelSender[T]:
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        self._channel.share()
        if self.place is None:  # it was closed before the channel became shared
            return _arrived, (self._channel, 0, 0)
        _, cell, value = self.place
        _known[self._channel.token, value] = self
        return _arrived, (self._channel, cell, value)

    def __repr__(self) -> str:
        return f"<{'closed ' if self.closed else ''}send end of {self._channel!r}>"


_known: WeakValueDictionary[tuple[bytes, int], ChannelSender[Any]] = WeakValueDictionary()


def _arrived(channel: Any, cell: int, value: int) -> ChannelSender[Any]:
    """Return the send end that another process has sent: always the same object in one process."""
    key = channel.token, value
    found = _known.get(key)
    if found is None:
        found = ChannelSender(channel, (channel._form, cell, value) if value else None, opened_here=False)
        found._closed = not value
        found = _known.setdefault(key, found)
    return found
