"""A queue that is fair between owners: they take turns, however much one of them has queued.

Items of a higher priority come before those of a lower one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush, heapreplace
from typing import Generic, Protocol, TypeVar

AGING = 1.0
"""Seconds after which waiting items get a turn before those of a higher priority, once in each such time."""


class Owned(Protocol):
    @property
    def owner(self) -> object: ...

    @property
    def priority(self) -> int: ...

    @property
    def outcome(self) -> object | None: ...


T = TypeVar("T", bound=Owned)


class _Level(Generic[T]):
    """The items of one priority: a line for each owner, and the order in which the owners have their turns.

    Attributes:
        served_at: when it last had a turn, or began to wait for one; kept only while there is another level.
        served_before: `served_at` before the last turn, which may be undone.
        listed: it is in the queue's list of levels by waiting time.
    """

    __slots__ = ("lines", "listed", "priority", "served_at", "served_before", "turns")

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.lines: dict[int, deque[T]] = {}
        self.turns: deque[int] = deque()
        self.served_at = self.served_before = 0.0
        self.listed = False


class FairQueue(Generic[T]):
    """First in, first out within an owner; round robin between owners; a higher priority before a lower one.

    A priority that has waited for `AGING` seconds without a turn gets one, so none starves. Every operation takes the
    same time however many items wait, and little more with thousands of priorities.

    Items that are done (`outcome` is set) are passed over when their turn comes; code that ends a queued item
    must call `forget_one`, so that the length stays right.

    Args:
        clock: returns the time in seconds; read only while items of several priorities wait.

    Attributes:
        length: how many items wait; `len` of the queue.
    """

    __slots__ = ("_by_priority", "_by_wait", "_clock", "_others", "_usual", "length")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.length = 0
        self._reset()

    def _reset(self) -> None:
        self._usual: _Level[T] = _Level(0)
        self._others: dict[int, _Level[T]] = {}  # by priority, without 0; while it is empty, so are the next two
        self._by_priority: list[int] = []  # those with a turn, the highest last
        self._by_wait: list[tuple[float, int]] = []  # a heap: `served_at`, or an earlier time, and the priority

    def __len__(self) -> int:
        return self.length

    def push(self, item: T) -> None:
        level = self._level_of(item.priority) if item.priority else self._usual
        key = id(item.owner)  # safe: the queued items keep their owner alive
        line = level.lines.get(key)
        # A signal handler may raise after each call: a line has its turn then, and the length counts its items.
        if line is None:
            line = deque()
            if self._others and not level.turns:
                level.served_at = self._clock()
                self._list(level)
            level.lines[key] = line
            level.turns.append(key)
        self.length += 1
        line += (item,)  # no call, after which a signal handler may raise: the caller knows that it is queued

    def push_front(self, items: Iterable[T]) -> None:
        """Put items that were taken from the queue back, in their order, before all others of their owners."""
        for item in reversed(list(items)):
            level = self._level_of(item.priority)
            key = id(item.owner)
            line = level.lines.get(key)
            if line is None:
                line = self._new_line(level, key)
            line.appendleft(item)
            self.length += 1

    def take(self) -> T | None:
        """Take the item whose turn it is, ``None`` if there is none; its owner goes to the end of the line."""
        while True:
            level = self._next_level() if self._others else self._usual
            turns, lines = level.turns, level.lines
            while turns:
                line = lines[turns[0]]
                item = None
                while line and item is None:
                    item = line.popleft()
                    if item.outcome is None:
                        self.length -= 1
                    else:
                        item = None
                if not line:
                    del lines[turns.popleft()]
                    if self._others and not turns:
                        self._unlist(level)
                elif len(turns) > 1:
                    turns.rotate(-1)
                if item is not None:
                    return item
            if not self._others:
                return None

    def put_back(self, item: T) -> None:
        """Undo the `take` that has just returned `item`: it is still its turn."""
        level = self._level_of(item.priority)
        level.served_at = level.served_before
        key = id(item.owner)
        line = level.lines.get(key)
        if line is None:
            line = self._new_line(level, key)
        elif level.turns[-1] == key:
            level.turns.rotate(1)
        line.appendleft(item)
        self.length += 1

    def forget_one(self) -> None:
        """Note that a queued item was ended by somebody else."""
        self.length -= 1
        if not self.length:  # nobody may take the rest, which is done, for long: it keeps its owners alive
            self._reset()

    def drain(self) -> Iterator[T]:
        """Take all items."""
        while (item := self.take()) is not None:
            yield item

    def _level_of(self, priority: int) -> _Level[T]:
        if not priority:
            return self._usual
        level = self._others.get(priority)
        if level is None:
            now = self._clock()
            level = _Level(priority)
            level.served_at = level.served_before = now
            if not self._others:
                self._usual.served_at = now
                if self._usual.turns:
                    self._list(self._usual)
            self._others[priority] = level
        return level

    def _new_line(self, level: _Level[T], key: int) -> deque[T]:
        """Make the line of an owner whose turn is the next."""
        line: deque[T] = deque()
        if self._others and not level.turns:
            self._list(level)
        level.lines[key] = line
        level.turns.appendleft(key)
        return line

    def _list(self, level: _Level[T]) -> None:
        """Note that a level begins to wait for a turn."""
        insort(self._by_priority, level.priority)
        if not level.listed:
            level.listed = True
            heappush(self._by_wait, (level.served_at, level.priority))

    def _unlist(self, level: _Level[T]) -> None:
        index = bisect_left(self._by_priority, level.priority)
        if self._by_priority[index : index + 1] == [level.priority]:
            del self._by_priority[index]

    def _next_level(self) -> _Level[T]:
        """Give a turn to the highest priority, or to the one that has waited for `AGING` seconds, the longest first."""
        level = self._longest_waiting()
        if level is None:
            return self._usual
        now = self._clock()
        if now - level.served_at < AGING:
            while not (level := self._level_of(self._by_priority[-1])).turns:  # a signal handler has cut its push short
                del self._by_priority[-1]
        level.served_before, level.served_at = level.served_at, now
        return level

    def _longest_waiting(self) -> _Level[T] | None:
        waits = self._by_wait
        while waits:
            since, priority = waits[0]
            level = self._level_of(priority)
            if not level.turns:
                heappop(waits)
                level.listed = False
                self._others.pop(priority, None)
            elif since != level.served_at:
                heapreplace(waits, (level.served_at, priority))
            else:
                return level
        self._reset()
        return None
