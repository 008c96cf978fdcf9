"""The steps that all forms of the operations of a channel are made of."""

from __future__ import annotations

from typing import Any

from ...errors import ChannelClosed
from .local_form import NOTHING, LocalForm

__all__ = ["BATCH_MAX", "ChannelCore"]

BATCH_MAX = 1024
"""The most items that are moved in one step."""


class ChannelCore:
    """A channel by its form. Every step looks at the form anew: it may have changed from local to shared meanwhile."""

    __slots__ = ("__weakref__", "_capacity", "_form", "_name")

    def __init__(self, capacity: int, name: str | None) -> None:
        self._capacity = capacity
        self._name = name
        self._form: LocalForm = LocalForm(capacity)

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
        form = self._form
        count = form.try_put_many([form.pack(item) for item in batch[start : start + BATCH_MAX]])
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
