"""A queue that is fair between owners: they take turns, however much one of them has queued."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar


class Owned(Protocol):
    @property
    def owner(self) -> object: ...

    @property
    def outcome(self) -> object | None: ...


T = TypeVar("T", bound=Owned)


class FairQueue(Generic[T]):
    """First in, first out within an owner; round robin between owners. Every operation is O(1).

    Items that are done (`outcome` is set) are passed over when their turn comes; code that ends a queued item
    must call `forget_one`, so that the length stays right.

    Attributes:
        length: how many items wait; `len` of the queue.
    """

    __slots__ = ("_lines", "_turns", "length")

    def __init__(self) -> None:
        self._lines: dict[int, deque[T]] = {}
        self._turns: deque[int] = deque()
        self.length = 0

    def __len__(self) -> int:
        return self.length

    def push(self, item: T) -> None:
        key = id(item.owner)  # safe: the queued items keep their owner alive
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = deque()
            self._turns.append(key)
        line.append(item)
        self.length += 1

    def push_front(self, items: Iterable[T]) -> None:
        """Put items that were taken from the queue back, in their order, before all others of their owners."""
        for item in reversed(list(items)):
            key = id(item.owner)
            line = self._lines.get(key)
            if line is None:
                line = self._lines[key] = deque()
                self._turns.appendleft(key)
            line.appendleft(item)
            self.length += 1

    def take(self) -> T | None:
        """Take the item whose turn it is, ``None`` if there is none; its owner goes to the end of the line."""
        turns, lines = self._turns, self._lines
        while turns:
            key = turns[0]
            line = lines[key]
            while line:
                item = line.popleft()
                if item.outcome is None:
                    self.length -= 1
                    if not line:
                        del lines[turns.popleft()]
                    elif len(turns) > 1:
                        turns.rotate(-1)
                    return item
            del lines[turns.popleft()]
        return None

    def put_back(self, item: T) -> None:
        """Undo the `take` that has just returned `item`: it is still its turn."""
        key = id(item.owner)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = deque()
            self._turns.appendleft(key)
        elif self._turns[-1] == key:
            self._turns.rotate(1)
        line.appendleft(item)
        self.length += 1

    def forget_one(self) -> None:
        """Note that a queued item was ended by somebody else."""
        self.length -= 1

    def drain(self) -> Iterator[T]:
        """Take all items."""
        while (item := self.take()) is not None:
            yield item
