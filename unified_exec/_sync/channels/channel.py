"""`Channel`: items go from any number of senders to any number of receivers, each to one, first in, first out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from ..._tasks.current import current
from ...errors import ChannelClosed
from ..shared.calls import TURNS, check_cancelled, end_of, give_turn, within
from ..shared.sleepers import refuse_on_loop
from .core import ChannelCore, note_sent
from .local_form import NOTHING
from .sender import ChannelSender

T = TypeVar("T")


class Channel(ChannelCore, Generic[T]):
    """Passes items between tasks: coroutines of any event loop, threads and process tasks, any number of each.

    Each item arrives once, at one receiver, in the order in which the items were sent. Within one process items are
    handed over by reference. `send` and `receive` are for coroutines, `send_sync` and `receive_sync` for threads and
    process tasks; the `_nowait` forms are for all.

    Args:
        capacity: how many items it holds before senders wait, at least 1.
        name: names the channel in errors.

    Raises:
        TypeError: `capacity` is not an int.
        ValueError: `capacity` is less than 1.

    Cancelling a waiting sender or receiver leaves the channel as it was: an item is either in the channel or in the
    hands of the caller. A signal handler should not use a channel: it may have interrupted its thread in a `send`.

    Example:
        pages = Channel[str](100)

        async def produce():
            for url in urls:
                await pages.send(await fetch(url))
            pages.close()

        def consume():                                    # in a thread
            for page in pages:                            # ends when the channel is closed and empty
                store(page)
    """

    __slots__ = ()

    def __init__(self, capacity: int, *, name: str | None = None) -> None:
        from ..._rules.arguments import whole  # a worker that is sent a channel does without it

        super().__init__(whole("Channel(capacity)", capacity), name=name)

    # -- for everybody

    @property
    def capacity(self) -> int:
        """How many items the channel holds before senders wait."""
        return self._capacity

    @property
    def closed(self) -> bool:
        """The channel takes no more items. Receivers may still find some in it."""
        return self._form.closed

    @property
    def lost(self) -> int:
        """Items that receivers had taken out when their process died, before `receive` returned them."""
        return self._form.lost

    def __len__(self) -> int:
        return len(self._form)

    def __bool__(self) -> bool:
        return True  # an empty channel is a channel

    def close(self) -> None:
        """Close the channel: receivers get what is in it and then `ChannelClosed`, senders get `ChannelClosed` at once.

        Waiting senders get it too. Closing twice is fine. From any thread.
        """
        self._close()

    def sender(self) -> ChannelSender[T]:
        """Return a counted send end. When the last one has ended, the channel is closed.

        Use it in a ``with`` block, or pass it to the task that sends: it ends with that task, or with its process.

        Raises:
            ChannelClosed: the channel is closed.
        """
        return self._sender()

    def send_nowait(self, item: T) -> None:
        """Send an item if there is room now.

        Raises:
            ChannelFull: there is none.
            ChannelClosed: the channel is closed.
        """
        if not self._try_send(item):
            from .would_block import ChannelFull

            raise ChannelFull(repr(self))

    def receive_nowait(self) -> T:
        """Receive the oldest item if there is one now.

        Raises:
            ChannelEmpty: there is none.
            ChannelClosed: there is none, and the channel is closed.
        """
        item = self._try_receive()
        if item is NOTHING:
            from .would_block import ChannelEmpty

            raise ChannelEmpty(repr(self))
        return item  # type: ignore[no-any-return]

    # -- in a coroutine

    async def send(self, item: T, *, timeout: float | None = None) -> None:
        """Send an item; wait for room if the channel is full.

        Args:
            item: the item.
            timeout: the seconds to wait for room at most; ``None`` for no limit.

        Raises:
            ChannelClosed: the channel is closed, or was closed during the wait. The item was not sent.
            TimeoutError: there was no room within `timeout`. The item was not sent.

        If the caller is cancelled, the item was not sent.
        """
        form = self._form
        form.sends += 1
        if form.sends > TURNS:
            form.sends = 0
            await give_turn()
            form = self._form
        if not form.try_send(item):
            await self._send(item, timeout)

    async def receive(self, *, timeout: float | None = None) -> T:
        """Receive the oldest item; wait for one if the channel is empty.

        Args:
            timeout: the seconds to wait at most; ``None`` for no limit.

        Raises:
            ChannelClosed: the channel is closed and every item has been received.
            TimeoutError: there was no item within `timeout`.

        If the caller is cancelled, nothing was received.
        """
        form = self._form
        form.receives += 1
        if form.receives > TURNS:
            form.receives = 0
            await give_turn()
            form = self._form
        item = form.try_receive()
        if item is NOTHING:
            item = await self._receive(timeout)
        return item  # type: ignore[no-any-return]

    async def send_many(self, items: Iterable[T], *, timeout: float | None = None) -> None:
        """Send items in order, many at once where there is room; cheaper than one `send` for each.

        Args:
            items: the items.
            timeout: the seconds that all of them may take; ``None`` for no limit.

        Raises:
            ChannelClosed: the channel is closed.
            TimeoutError: not all were sent within `timeout`.

        An error that comes when a part has been sent, also a cancellation, has a note that says how many.
        """
        await give_turn()
        if timeout is not None:
            with within(timeout, lambda: (f"{self!r} had no room for all items", "nothing more was sent")):
                return await self.send_many(items)
        batch = list(items)
        sent = 0
        try:
            while sent < len(batch):
                count = self._try_send_many(batch, sent)
                sent += count
                if not count:
                    await self._wait(True)
        except BaseException as exc:
            note_sent(exc, sent, len(batch))
            raise
        return None

    async def receive_many(self, most: int, *, timeout: float | None = None) -> list[T]:
        """Receive up to `most` items that are there; wait for one if the channel is empty.

        Args:
            most: the most items to return, at least 1.
            timeout: the seconds to wait for the first at most; ``None`` for no limit.

        Raises:
            TypeError, ValueError: `most` is not a whole number, or less than 1.
            ChannelClosed: the channel is closed and every item has been received.
            TimeoutError: there was no item within `timeout`.

        If the caller is cancelled, nothing was received.
        """
        await give_turn()
        found = self._try_receive_many(most)
        if not found and timeout is not None:
            with within(timeout, lambda: self._missed(False)):
                return await self.receive_many(most)
        while not found:
            await self._wait(False)
            found = self._try_receive_many(most)
        return found

    def __aiter__(self) -> Channel[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.receive()
        except ChannelClosed:
            raise StopAsyncIteration from None

    # -- in a thread or a process task

    def send_sync(self, item: T, *, timeout: float | None = None) -> None:
        """Send an item from a thread or a process task; see `send`.

        Raises:
            ChannelClosed: the channel is closed, or was closed during the wait. The item was not sent.
            TimeoutError: there was no room within `timeout`. The item was not sent.
            Cancelled: the task was requested to stop. The item was not sent.
            RuntimeError: it would block the event loop that runs in this thread.
        """
        task = current.get()
        if task is not None and task.cancel_requested:
            task.raise_cancelled()
        if self._form.try_send(item):
            return
        end = end_of(timeout)
        sent = self._form.closed and self._try_send(item)
        while not sent:
            refuse_on_loop("Channel.send_sync", "await channel.send(item)")
            self._wait_sync(True, end)
            sent = self._try_send(item)

    def receive_sync(self, *, timeout: float | None = None) -> T:
        """Receive the oldest item in a thread or a process task; see `receive`.

        Call it directly: ``item = channel.receive_sync()``. Under a wrapper written in C, such as ``map``, a
        cancellation may come between the wrapper and your code, and an item would be lost.

        Raises:
            ChannelClosed: the channel is closed and every item has been received.
            TimeoutError: there was no item within `timeout`.
            Cancelled: the task was requested to stop. Nothing was received.
            RuntimeError: it would block the event loop that runs in this thread.
        """
        task = current.get()
        if task is not None and task.cancel_requested:
            task.raise_cancelled()
        item = self._form.try_receive()
        if item is not NOTHING:
            return item  # type: ignore[no-any-return]
        end = end_of(timeout)
        if self._form.closed:
            item = self._try_receive()
        while item is NOTHING:
            refuse_on_loop("Channel.receive_sync", "await channel.receive()")
            self._wait_sync(False, end)
            item = self._try_receive()
        return item  # type: ignore[no-any-return]

    def send_many_sync(self, items: Iterable[T], *, timeout: float | None = None) -> None:
        """Send items in order from a thread or a process task; see `send_many` and `send_sync`."""
        batch = list(items)
        end = end_of(timeout)
        sent = 0
        try:
            check_cancelled()
            while sent < len(batch):
                count = self._try_send_many(batch, sent)
                sent += count
                if not count:
                    refuse_on_loop("Channel.send_many_sync", "await channel.send_many(items)")
                    self._wait_sync(True, end)
        except BaseException as exc:
            note_sent(exc, sent, len(batch))
            raise

    def receive_many_sync(self, most: int, *, timeout: float | None = None) -> list[T]:
        """Receive up to `most` items in a thread or a process task; see `receive_many` and `receive_sync`."""
        check_cancelled()
        end = end_of(timeout)
        while not (found := self._try_receive_many(most)):
            refuse_on_loop("Channel.receive_many_sync", "await channel.receive_many(most)")
            self._wait_sync(False, end)
        return found

    def __iter__(self) -> Channel[T]:
        return self

    def __next__(self) -> T:
        try:
            return self.receive_sync()
        except ChannelClosed:
            raise StopIteration from None
