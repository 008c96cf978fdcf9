"""Where events go when somebody listens: a bounded deque, which a thread empties twenty times a second."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..._sync import waits
from ..._tasks import events

Row = tuple[Any, ...]

ROWS_MAX = 200_000
"""Events kept until the thread comes; the oldest are dropped first."""
DRAIN_SECONDS = 0.05
NEARLY = 100
"""Among so many of the newest events is the one with the highest number."""


class Ring:
    """Gives the events to its subscribers, in batches.

    A site appends to the deque and does nothing else: no subscriber, however slow, delays a task.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the subscribers and the sinks
        self._draining = threading.RLock()  # one thread takes events out at a time
        self._rows: deque[Row] = deque(maxlen=ROWS_MAX)
        self._subscribers: dict[object, tuple[Callable[[list[Row]], object], bool]] = {}
        self._stopping: threading.Event | None = None
        self._received = 0
        self._base = 0
        self._highest = 0

    @property
    def dropped(self) -> int:
        """How many events were lost since the first subscriber came, because there were too many."""
        return max(0, self._highest - self._base - self._received)

    def subscribe(self, take: Callable[[list[Row]], object], moves: bool) -> Callable[[], None]:
        """Have `take` called with each batch, in the ring's thread or in the one that ends a subscription.

        Args:
            take: must be quick and must not raise.
            moves: it wants each step of each task.

        Returns:
            a function that ends the subscription, after everything that was told before has been given to `take`.
        """
        key = object()
        with self._lock:
            if not self._subscribers:
                self._rows.clear()
                self._received = 0
                self._base = self._highest = next(events.numbers)
                events.forget_tracebacks()
            self._subscribers[key] = take, moves
            self._set_sinks()
            if self._stopping is None:
                self._stopping = threading.Event()
                threading.Thread(
                    target=self._run, args=(self._stopping,), name="unified_exec events", daemon=True
                ).start()

        def end() -> None:
            self.drain()
            with self._lock:
                if self._subscribers.pop(key, None) is None:
                    return
                self._set_sinks()
                if not self._subscribers and self._stopping is not None:
                    self._stopping.set()
                    self._stopping = None

        return end

    def _set_sinks(self) -> None:
        append = self._rows.append
        events.rows = append if self._subscribers else None
        events.moves = append if any(moves for _, moves in self._subscribers.values()) else None

    def drain(self) -> None:
        """Give everything that has been told to the subscribers."""
        waits.tell_long_waits()
        with self._draining:
            popleft = self._rows.popleft
            try:
                batch = [popleft() for _ in range(len(self._rows))]
            except IndexError:  # the oldest were dropped, or a subscriber came
                return
            if not batch:
                return
            self._received += len(batch)
            # Threads append in nearly the order of the numbers.
            self._highest = max(self._highest, max(batch[-NEARLY:])[0])
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

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ring.reset)
