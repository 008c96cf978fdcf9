"""The order in which locks are acquired while a scope is open with ``debug=True``: what could deadlock.

Who waits for a lock while it holds another one has an order. An order that, with those seen before, makes a ring is
reported once, whether anybody waits or not.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from itertools import pairwise
from types import CodeType
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary, ref

from ..._tasks.holders import describe
from ..shared.place import line_of
from .known import all_locks


class Order(NamedTuple):
    """A lock was asked for while another one was held.

    Attributes:
        who: asked for it.
        first, second: the locks, in words.
        held_at: the line where the first was acquired.
        asked_at: the line where the second was asked for.
    """

    who: str
    first: str
    held_at: str
    second: str
    asked_at: str

    def __str__(self) -> str:
        return f"{self.who} holds {self.first} acquired at {self.held_at} and asks for {self.second} at {self.asked_at}"


Report: TypeAlias = Callable[[list[Order]], object]
"""Called with the orders of a ring, the new one first."""


class Orders:
    """The orders that were seen.

    Args:
        report: called with each ring, from any thread.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._guard = allocate_lock()
        self._seen: WeakKeyDictionary[Any, WeakKeyDictionary[Any, Order]] = WeakKeyDictionary()
        self._told: set[frozenset[int]] = set()

    def asked(self, lock: Any, holder: object, code: CodeType, at: int) -> None:
        """Note that `holder` asks for a lock, and will wait for it."""
        held = [
            (other, line)
            for other in all_locks
            if other is not lock and other.total == 1
            for who, line in other.holds()
            if who is holder
        ]
        all_locks.add(lock)
        for other, line in held:
            if lock not in self._seen.get(other, ()):
                self._add(other, lock, Order(describe(holder), repr(other), line, repr(lock), line_of(code, at)))

    def _add(self, first: Any, second: Any, order: Order) -> None:
        with self._guard:
            self._seen.setdefault(first, WeakKeyDictionary())[second] = order
            path = self._path(second, first)
            locks = frozenset(map(id, path))
            if not path or locks in self._told:
                return
            self._told.add(locks)
            ring = [order, *(self._seen[one][other] for one, other in pairwise(path))]
        self._report(ring)

    def _path(self, start: Any, end: Any) -> list[Any]:
        """Return the locks on a way of orders from one lock to another, nothing if there is none."""
        paths = [[start]]
        met = {id(start)}
        while paths:
            path = paths.pop(0)
            if path[-1] is end:
                return path
            for following in list(self._seen.get(path[-1], ())):
                if id(following) not in met:
                    met.add(id(following))
                    paths.append([*path, following])
        return []


orders: Orders | None = None
"""Set while orders are watched."""


_locks: set[ref[Any]] = set()
"""All that were made and live. Each change is one operation of the set: the collector and any thread may make one."""


def made(lock: Any) -> bool:
    """Note a lock that is being made; tells whether it has to tell of its acquires."""
    _locks.add(ref(lock, _locks.discard))
    return orders is not None


def begin(report: Report) -> None:
    """Watch the order of locks, also of those that exist.

    Args:
        report: see `Orders`.
    """
    global orders
    orders = Orders(report)
    for each in _locks.copy():
        if (lock := each()) is not None:
            lock.tell()


def end() -> None:
    """Watch it no more."""
    global orders
    orders = None
    for each in _locks.copy():
        if (lock := each()) is not None:
            lock.tell_no_more()
