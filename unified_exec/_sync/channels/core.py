"""The steps that all forms of the operations of a channel are made of."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ...errors import ChannelClosed
from .. import waits
from ..shared.calls import End, timed_out, within
from ..shared.travel import SharedFormBase, Traveller
from .local_form import NOTHING, LocalForm
from .send_ends import OpenEnds, close_cell, open_cell
from .sender import ChannelSender

if TYPE_CHECKING:
    from .shared_form import SharedForm

BATCH_MAX = 1024
"""The most items that are moved in one step."""


class ChannelCore(Traveller):
    """A channel by its form. Every step looks at the form anew: it may have changed from local to shared meanwhile."""

    __slots__ = ("_capacity", "_ends", "_form")

    kind = "a channel"

    def __init__(self, capacity: int, *, name: str | None) -> None:
        super().__init__(name)
        self._capacity = capacity
        self._form: LocalForm | SharedForm = LocalForm(capacity)
        self._ends = OpenEnds()

    # -- between processes

    def share(self) -> None:
        form = self._form
        if isinstance(form, LocalForm):
            with self._ends.lock:
                form.move(self._take_over)

    def _take_over(self, items: list[Any], closed: bool) -> None:
        from .memory import create
        from .packing import pack
        from .shared_form import SharedForm

        packed = [pack(item) for item in items]
        shared = SharedForm(create(self._capacity))
        sent = 0
        while sent < len(packed):
            sent += shared.try_put_many(packed[sent:])
        if closed:
            shared.close()
        else:
            self._ends.share(shared)
        self.become(os.urandom(16), shared)

    def become(self, token: bytes, form: SharedFormBase) -> None:
        self._form = form  # type: ignore[assignment]
        super().become(token, form)

    @classmethod
    def from_descriptors(cls, name: str | None, fds: list[int]) -> tuple[ChannelCore, SharedForm]:
        from .memory import ChannelMemory, whole
        from .shared_form import SharedForm

        form = SharedForm(ChannelMemory(whole(fds)))
        return cls(form.capacity, name=name), form

    # -- send ends, and the close

    def _sender(self) -> ChannelSender[Any]:
        with self._ends.lock:
            form: Any = self._form
            if form.closed:
                raise ChannelClosed(repr(self), True)
            end = ChannelSender[Any](self, None if isinstance(form, LocalForm) else open_cell(form))
            self._ends.add(end)
        return end

    def _end_closed(self, end: ChannelSender[Any], dropped: bool) -> None:
        """A send end that was opened in this process is closed; if `dropped`, by a finalizer, which must not wait."""
        self._ends.remove(end)
        form: Any = self._form
        if end.place is not None:
            close_cell(end.place, ours=True)
        elif not self._ends and isinstance(form, LocalForm):
            if dropped:
                form.do_late(self._close)
            else:
                self._close()

    def _close(self) -> None:
        while True:
            form: Any = self._form
            form.close()
            if form is self._form:
                return

    # -- one look, without waiting

    def _try_send(self, item: object) -> bool:
        while True:
            form = self._form
            if form.try_send(item):
                return True
            if form.closed:
                raise ChannelClosed(repr(self), True)
            if form is self._form:
                return False

    def _try_receive(self) -> Any:
        while True:
            form = self._form
            drained = form.drained()  # first: what was sent before the close is found by the look after it
            item = form.try_receive()
            if item is not NOTHING:
                return item
            if form is self._form:
                if drained:
                    raise ChannelClosed(repr(self))
                return NOTHING

    def _try_send_many(self, batch: list[Any], start: int) -> int:
        form: Any = self._form
        count: int = form.try_put_many([form.pack(item) for item in batch[start : start + BATCH_MAX]])
        if not count and form.closed:
            raise ChannelClosed(repr(self), True)
        return count

    def _try_receive_many(self, most: int) -> list[Any]:
        if type(most) is not int or most < 1:
            from ..._rules.arguments import whole  # a worker does without it

            most = whole("receive_many(most)", most)
        form = self._form
        drained = form.drained()
        found = form.try_receive_many(min(most, BATCH_MAX))
        if not found and drained and form is self._form:
            raise ChannelClosed(repr(self))
        return found

    async def _send(self, item: object, timeout: float | None) -> None:
        """Send an item after a first try has failed."""
        if timeout is not None:
            with within(timeout, lambda: self._missed(True)):
                return await self._send(item, None)
        sent = self._form.closed and self._try_send(item)
        while not sent:
            await self._wait(True)
            sent = self._try_send(item)
        return None

    async def _receive(self, timeout: float | None) -> Any:
        """Receive an item after a first try has failed."""
        if timeout is not None:
            with within(timeout, lambda: self._missed(False)):
                return await self._receive(None)
        item = self._try_receive() if self._form.closed else NOTHING
        while item is NOTHING:
            await self._wait(False)
            item = self._try_receive()
        return item

    def _wait(self, sending: bool) -> Coroutine[Any, Any, None]:
        """Wait until there may be room, or an item."""
        return self._wait_told(sending) if waits.is_told() else self._form.wait(sending)

    async def _wait_told(self, sending: bool) -> None:
        told = self._begin_wait(sending)
        try:
            await self._form.wait(sending)
        finally:
            told.end()

    def _missed(self, sending: bool) -> tuple[str, str]:
        """Say what did not happen within a timeout, and what that means."""
        if sending:
            return f"{self!r} had no room", "nothing more was sent"
        return f"{self!r} had no item", "nothing was received"

    def _wait_sync(self, sending: bool, end: End | None) -> None:
        """Sleep until there may be room, or an item; see `LocalForm.wait_sync`."""
        told = self._begin_wait(sending) if waits.is_told() else None
        try:
            self._form.wait_sync(sending, end)
        except TimeoutError:
            if end is None:
                raise
            raise timed_out(end.timeout, *self._missed(sending)) from None
        finally:
            if told is not None:
                told.end()

    def _begin_wait(self, sending: bool) -> waits.ToldWait:
        return waits.begin("channel", self.wait_words("send" if sending else "receive"))

    def wait_words(self, call: str) -> str:
        return f"{call} on {self!r}"

    def __repr__(self) -> str:
        return f"Channel({self._capacity})" if self._name is None else f"Channel({self._capacity}, name={self._name!r})"


def note_sent(exc: BaseException, sent: int, count: int) -> None:
    """Note on an error how many items of a batch had been sent, unless none was."""
    if sent:
        exc.add_note(f"{sent} of {count} items had been sent")
