"""`Rate`: how often something starts."""

from __future__ import annotations

import sys
import time
from collections import deque

from .._rules.arguments import whole
from .limit import Gate
from .waiters import Permit, Waiter


class Rate(Gate):
    """Allows at most `n` starts within any `per` seconds, wherever they happen.

    It limits how often work starts, not how much runs at once: exiting the block releases nothing. A rate may be
    shared as a `Limit` may. Work for a pool counts when it is sent.

    Args:
        n: the number of starts, at least 1.
        per: the period in seconds.

    Raises:
        TypeError: `n` is not an int, or `per` not a number.
        ValueError: an argument is out of its range.

    Cancelling a task that waits for the rate takes it out of the queue.

    Example:
        async for page in scope.map(fetch, urls, limit=Rate(10, per=1.0)): ...
    """

    kind = "rate"

    def __init__(self, n: int, per: float = 1.0) -> None:
        super().__init__()
        self.n = whole("Rate(n)", n, 1, sys.maxsize)
        if isinstance(per, bool) or not hasattr(per, "__float__"):
            raise TypeError(f"Rate(n, per) needs a number of seconds, got per={per!r}")
        if not 0 < per < float("inf"):
            raise ValueError(f"Rate(n, per) needs per > 0, got per={per}")
        self.per = per
        self._starts: deque[float] = deque(maxlen=self.n)
        self._clock = time.monotonic

    def acquire_nowait_or_enqueue(self, waiter: Waiter, *, enqueue: bool = True) -> bool:
        with self._lock:
            self._drop_cancelled()
            if not self._queue and self._seconds_to_next() <= 0:
                self._starts.append(self._clock())
                waiter.granted = True
                return True
            if not enqueue:
                return False
            self._queue.append(waiter)
        self._admit()
        return waiter.granted and not waiter.notified

    def cancel(self, waiter: Waiter) -> None:
        with self._lock:
            waiter.cancelled = True
        self._admit()

    def release(self, permit: Permit | None) -> None:
        pass  # a start is not taken back

    def _leave(self) -> None:
        pass

    def _seconds_to_next(self) -> float:
        """Seconds until the next start is allowed. With the lock held."""
        if len(self._starts) < self.n:
            return 0.0
        return self._starts[0] + self.per - self._clock()

    def _admit(self, fired: Waiter | None = None) -> None:
        """Admit the waiters that may start; set a timer for the first of the others.

        Args:
            fired: the waiter whose timer has fired.
        """
        if fired is not None:
            fired.timer_set = False
        while True:
            with self._lock:
                self._drop_cancelled()
                if not self._queue:
                    return
                waiter, seconds = self._queue[0], self._seconds_to_next()
                if seconds <= 0:
                    self._queue.popleft()
                    self._starts.append(self._clock())
                    waiter.granted = waiter.notified = True
                elif waiter.timer_set:
                    return
                else:
                    waiter.timer_set = True
            if seconds <= 0:
                if not waiter.notify():
                    with self._lock:
                        self._starts.pop()
            elif waiter.call_later(seconds, self._admit):
                return
            else:
                waiter.cancelled = True  # its loop has ended

    def __repr__(self) -> str:
        return f"Rate({self.n}, per={self.per:g})"
