"""The items of a generator that runs in a thread: a bounded deque shared with its consumer on the event loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from ..._tasks.current import check_cancelled, current
from ...abc import StreamReader

ITEMS_AHEAD = 256
"""Items a thread may have ready before one of them has been taken."""
POLL = 0.02
"""Seconds between two checks of a waiting thread whether it was cancelled."""


class ThreadStreamReader(StreamReader):
    """Reads what the generator appends to `items` in its thread.

    Attributes:
        hungry: the consumer waits for an item; the thread clears it and sends one wake-up.
    """

    def __init__(self, fn: Callable[..., Iterator[Any]], args: tuple[Any, ...]) -> None:
        self.fn = self._run
        self.args = (fn, args)
        self.items: deque[Any] = deque()
        self.hungry = True
        self._room = threading.Condition()

    def _run(self, fn: Callable[..., Iterator[Any]], args: tuple[Any, ...]) -> None:
        """Run the generator, in the thread, at most `ITEMS_AHEAD` items ahead of the consumer."""
        task = current.get()
        assert task is not None
        items = fn(*args)
        try:
            for item in items:
                self.items.append(item)
                if self.hungry:
                    self.hungry = False
                    task.send(None)
                while len(self.items) >= ITEMS_AHEAD:
                    check_cancelled()
                    with self._room:
                        if len(self.items) >= ITEMS_AHEAD:
                            self._room.wait(POLL)
                check_cancelled()
        finally:
            if hasattr(items, "close"):
                items.close()

    def on_message(self, message: Any) -> bool:
        return True

    def has_item(self) -> bool:
        # In this order: a generator that appends an item after the check sees `hungry` and sends a wake-up. A wake-up
        # may still be on its way for an item that was taken since, so `hungry` is set again before each wait.
        self.hungry = True
        return bool(self.items)

    def item_taken(self) -> None:
        if len(self.items) == ITEMS_AHEAD // 2:
            with self._room:
                self._room.notify()
