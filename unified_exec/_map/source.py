"""The items of a map, read no faster than asked for."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from contextvars import Context
from itertools import islice
from typing import Any


class Source:
    """A plain or an async iterable.

    Attributes:
        exhausted: nothing more will come.
        error: what it raised behind its last item.
        total: how many items there are, if it can say so.
        left: how many of them are still to be read.
    """

    def __init__(self, items: Iterable[Any] | AsyncIterable[Any], context: Context) -> None:
        self.is_async = not isinstance(items, Iterable)
        self.exhausted = False
        self.error: BaseException | None = None
        self.total: int | None = None
        self.left: int | None = None
        self._context = context
        if isinstance(items, Iterable):
            try:
                self.total = self.left = len(items)  # type: ignore[arg-type]
            except TypeError:
                pass
            self._items: Any = iter(items)
        else:
            self._items = aiter(items)

    def read(self, most: int) -> list[Any]:
        """Read up to `most` items of a plain iterable; fewer mean that it has ended, or raised `error`."""
        taken: list[Any] = []
        try:
            self._context.run(taken.extend, islice(self._items, most))
        except BaseException as exc:  # what is no `Exception` too: this may run in a callback of the loop
            self.error = exc
        if self.left is not None:
            self.left = max(0, self.left - len(taken))
        if len(taken) < most:
            self.exhausted = True
        return taken

    async def read_async(self) -> Any:
        """Read one item of an async iterable.

        Raises:
            StopAsyncIteration: it has ended.
        """
        return await anext(self._items)

    def more_at_once(self, most: int) -> list[Any]:
        """Take what an async iterable has at hand, if it is of a kind that tells."""
        take = getattr(self._items, "take", None)
        return take(most) if take is not None and most > 0 and hasattr(self._items, "_engine") else []

    def close(self) -> None:
        """Close a plain generator."""
        self.exhausted = True
        if not self.is_async and hasattr(self._items, "close"):
            try:
                self._context.run(self._items.close)
            except ValueError:
                pass  # it is running right now: it has stopped the map itself
            except RuntimeError:
                pass  # the same, of the context

    async def aclose(self) -> None:
        """Close an async generator."""
        self.exhausted = True
        if self.is_async and hasattr(self._items, "aclose"):
            await self._items.aclose()
