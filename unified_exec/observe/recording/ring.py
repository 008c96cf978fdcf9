"""Where events go when somebody listens: a list of their fields, which a thread empties twenty times a second."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count, islice
from sys import getrefcount
from typing import Any

from ..._sync import waits
from ..._tasks import events
from ..._tasks.fork_lock import in_forked_child
from .schema import Row, Told, cut, split

FIELDS_MAX = 4_000_000
"""Fields taken out at a time; the oldest events are dropped first."""
DRAIN_SECONDS = 0.05
HELD_SECONDS = 1.0
"""How long a list waits for a site that is about to extend it."""

Full = tuple[Told, events.Sink, float]
"""A list that no site finds any more, the sink that extends it, and since when."""


def _references(full: Full) -> int:
    return getrefcount(full[1])


_UNUSED = _references(((told := list[Any]()), told.extend, 0.0))
"""The references to a sink that no site is about to call."""


class Batch:
    """Some events. They are made, and numbered, when the first subscriber asks for them.

    Attributes:
        fields: how many fields the sites told.
    """

    __slots__ = ("_numbers", "_rows", "_told", "fields")

    def __init__(self, told: Told, numbers: Iterator[int]) -> None:
        self.fields = len(told)
        self._told = told
        self._numbers = numbers
        self._rows: list[Row] | None = None

    @property
    def rows(self) -> list[Row]:
        """The events; the same list for all."""
        told, rows = self._told, self._rows  # in this order: another thread may make them just now
        if rows is None:
            rows = self._rows = split(told, self._numbers)
            self._told = []
        return rows


class Ring:
    """Gives the events to its subscribers, in batches.

    A site extends the list and does nothing else: no subscriber, however slow, delays a task.

    Attributes:
        dropped: how many events were lost since the first subscriber came, because there were too many.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # guards the subscribers, the sinks and their list
        self._draining = threading.RLock()  # one thread takes events out at a time
        self._told: Told = []
        self._extend = self._told.extend
        self._full: deque[Full] = deque()
        self._subscribers: dict[object, tuple[Callable[[Batch], object], bool]] = {}
        self._stopping: threading.Event | None = None
        self._numbers = count(1)
        self.dropped = 0

    def subscribe(self, take: Callable[[Batch], object], moves: bool) -> Callable[[], None]:
        """Have `take` called with each batch, in the ring's thread or in the one that ends a subscription.

        Args:
            take: gets some events. It must be quick, for events are kept meanwhile, and must not raise.
            moves: it wants each step of each task.

        Returns:
            a function that ends the subscription, after everything that was told before has been given to `take`.
        """
        key = object()
        with self._lock:
            if not self._subscribers:
                self._full.clear()
                self._begin_list()
                self.dropped = 0
                events.forget_tracebacks()
            self._subscribers[key] = take, moves
            self._set_sinks()
            if self._stopping is None:
                self._stopping = threading.Event()
                threading.Thread(
                    target=self._run, args=(self._stopping,), name="unified_exec events", daemon=True
                ).start()

        def end() -> None:
            self.drain(wait=True)
            with self._lock:
                if self._subscribers.pop(key, None) is None:
                    return
                self._set_sinks()
                if not self._subscribers and self._stopping is not None:
                    self._stopping.set()
                    self._stopping = None

        return end

    def _set_sinks(self) -> None:
        extend = self._extend
        events.rows = extend if self._subscribers else None
        events.moves = extend if any(moves for _, moves in self._subscribers.values()) else None

    def _begin_list(self) -> None:
        self._told = []
        self._extend = self._told.extend
        self._set_sinks()

    def drain(self, wait: bool = False) -> None:
        """Give what has been told to the subscribers.

        Args:
            wait: a moment, for sites that are about to extend a list. Without it such a list is kept for the next time.
        """
        waits.tell_long_waits()
        with self._draining:
            with self._lock:
                if self._told:
                    self._full.append((self._told, self._extend, time.monotonic()))
                    self._begin_list()
            while self._full:
                until = self._full[0][2] + HELD_SECONDS
                while _references(self._full[0]) > _UNUSED and time.monotonic() < until:
                    if not wait:
                        return
                    time.sleep(0.001)
                told, *_ = self._full.popleft()
                if len(told) > FIELDS_MAX:
                    dropped = cut(told, FIELDS_MAX)
                    self.dropped += dropped
                    next(islice(self._numbers, dropped, dropped), None)
                batch = Batch(told, self._numbers)
                for take, _ in list(self._subscribers.values()):
                    take(batch)

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.wait(DRAIN_SECONDS):
            self.drain()

    def reset(self) -> None:
        """In a forked child: nobody listens."""
        events.rows = events.moves = events.in_span = None
        self.__init__()  # type: ignore[misc]


ring = Ring()
"""The one ring of this process."""
in_forked_child(ring.reset)
