"""The steps that all forms of the operations of a channel are made of."""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, WeakValueDictionary, finalize

from ..._wire import frames
from ..._wire.pickling.shared_refs import ByDescriptors, pickled_here
from ..._worker import context, shared_object
from ...errors import ChannelClosed
from .local_form import NOTHING, LocalForm
from .send_ends import OpenEnds, close_cell, open_cell
from .sender import ChannelSender

if TYPE_CHECKING:
    from .shared_form import SharedForm

__all__ = ["BATCH_MAX", "ChannelCore"]

BATCH_MAX = 1024
"""The most items that are moved in one step."""


class ChannelCore(ByDescriptors):
    """A channel by its form. Every step looks at the form anew: it may have changed from local to shared meanwhile.

    Attributes:
        token: names the channel in every process, once it is shared.
        holders: the workers that have been sent its descriptors.
    """

    __slots__ = ("__weakref__", "_capacity", "_ends", "_form", "_name", "holders", "token")

    def __init__(self, capacity: int, name: str | None) -> None:
        self._capacity = capacity
        self._name = name
        self._form: LocalForm | SharedForm = LocalForm(capacity)
        self._ends = OpenEnds()
        self.token = b""

    # -- between processes

    def __reduce__(self) -> tuple[Any, ...]:
        self._share()
        pickled_here().append(self)
        return arrived, (type(self), self.token)

    def _share(self) -> None:
        """Take the shared form, for good.

        Raises:
            SerializationError: an item in the channel cannot travel, or the capacity is too large. It stays local.
            OSError: no descriptor or no memory is left. It stays local.
        """
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
        self._become(os.urandom(16), shared)

    def _become(self, token: bytes, form: SharedForm) -> None:
        self.token = token
        self.holders: WeakSet[Any] = WeakSet()
        self._form = form
        _known[token] = self
        finalize(self, _let_go, token, form, self.holders).atexit = False

    def message(self) -> tuple[bytes, Sequence[int]]:
        form: Any = self._form
        return frames.pack_channel(self.token, (self._name or "").encode()), form.memory.on_wire()

    def holder_died(self) -> None:
        form: Any = self._form
        form.look_for_dead()

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
        if most < 1:
            raise ValueError(f"receive_many(most) needs most >= 1, got {most}")
        form = self._form
        drained = form.drained()
        found = form.try_receive_many(min(most, BATCH_MAX))
        if not found and drained and form is self._form:
            raise ChannelClosed(repr(self))
        return found

    async def _send(self, item: object, timeout: float | None) -> None:
        if timeout is not None:
            from anyio import fail_after

            with fail_after(timeout):
                return await self._send(item, None)
        while not self._try_send(item):
            await self._form.wait(True)
        return None

    async def _receive(self, timeout: float | None) -> Any:
        if timeout is not None:
            from anyio import fail_after

            with fail_after(timeout):
                return await self._receive(None)
        while (item := self._try_receive()) is NOTHING:
            await self._form.wait(False)
        return item

    def __repr__(self) -> str:
        return f"Channel({self._capacity})" if self._name is None else f"Channel({self._capacity}, name={self._name!r})"


_known: WeakValueDictionary[bytes, ChannelCore] = WeakValueDictionary()
_arriving = allocate_lock()


def arrived(cls: Any, token: bytes) -> ChannelCore:
    """Return the channel of this token: always the same object in one process.

    Raises:
        LookupError: this process does not have it.
    """
    found = _known.get(token)
    if found is not None:
        return found
    if token not in shared_object.channels and context.worker is not None:
        context.worker.signal.poll()
    with _arriving:
        entry = shared_object.channels.get(token)
        if entry is None:
            raise LookupError(
                "a channel is not known here: keep it until its tasks are done, and make a channel in the process that "
                "starts the tasks, for a worker cannot give one to its parent"
            )
        if type(entry) is tuple:
            entry = shared_object.channels[token] = _make(cls, token, *entry)
    channel: ChannelCore = entry
    return channel


def _make(cls: Any, token: bytes, name: bytes, fds: list[int]) -> ChannelCore:
    from .memory import ChannelMemory, whole
    from .shared_form import SharedForm

    form = SharedForm(ChannelMemory(whole(fds)))
    channel: ChannelCore = cls(form.capacity, name=name.decode() or None)
    channel._become(token, form)
    return channel


def _let_go(token: bytes, form: SharedForm, holders: WeakSet[Any]) -> None:
    for holder in list(holders):
        holder.drop_share(token)
    form.stop_reading()
