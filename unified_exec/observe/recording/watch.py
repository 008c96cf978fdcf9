"""Calling a function of the user with events. It may be slow, block or raise: that harms nobody."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from ..._rules.arguments import check_callback
from . import schema
from .ring import Batch, ring
from .schema import Row

WAITING_MAX = 200_000
"""Events kept for a listener that is slow; the oldest are dropped first."""
SLOW = 1.0
FLUSH_SECONDS = 2.0


def watch(fn: Callable[[list[Any]], object], *, kinds: Iterable[str] | None = None) -> Callable[[], None]:
    """Call ``fn(events)`` with lists of events as they happen, in a thread of its own.

    Args:
        fn: gets a list of events (see `observe.Event`), oldest first. One that raises is logged and called no more.
        kinds: the kinds it wants, all by default. Without those that tell each step of a task (``task.spawned``,
            ``task.queued``, ``task.sent``, ``task.returned``, ``task.started``) watching costs less.

    Returns:
        a function that ends the watching. It waits until `fn` has been given what happened before, 2 s at most.

    Raises:
        TypeError: `fn` cannot be called, or `kinds` is a single string.
        ValueError: there is no such kind.

    Example::

        from unified_exec import observe

        def failures(events):
            for event in events:
                if event.outcome == "error":
                    print(event.name, event.error)

        stop = observe.watch(failures, kinds={"task.settled"})
        ...
        stop()
    """
    if not callable(fn):
        raise TypeError(f"watch() takes a function of a list of events, got {fn!r}")
    check_callback("watch()", fn)
    if isinstance(kinds, str) or not isinstance(kinds, Iterable | None):
        raise TypeError(f"kinds must be a set of kinds of events, such as {{'task.settled'}}, got {kinds!r}")
    wanted = frozenset(schema.TYPES if kinds is None else kinds)
    unknown = wanted - schema.TYPES.keys()
    if unknown:
        raise ValueError(f"there are no events {', '.join(sorted(unknown))}; the kinds are {', '.join(schema.TYPES)}")
    listener = _Listener(fn, wanted)
    return listener.start()


class _Listener:
    def __init__(self, fn: Callable[[list[Any]], object], kinds: frozenset[str]) -> None:
        self._fn = fn
        self._kinds = kinds
        self._rows: deque[Row] = deque(maxlen=WAITING_MAX)
        self._wake = threading.Event()
        self._ended = False
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="unified_exec listener", daemon=True)
        self._unsubscribe: Callable[[], object] = int

    def start(self) -> Callable[[], None]:
        self._thread.start()
        self._unsubscribe = ring.subscribe(self._take, bool(self._kinds & schema.MOVES))
        return self.stop

    def _take(self, batch: Batch) -> None:
        kinds = self._kinds
        self._rows.extend([row for row in batch.rows if row[1] in kinds])
        self._wake.set()

    def stop(self) -> None:
        self._unsubscribe()
        self._ended = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            last = self._ended  # read before the rows: nothing comes after it is set
            batch: list[Row] = []
            try:
                while True:
                    batch.append(self._rows.popleft())
            except IndexError:
                pass
            if batch and not self._call(batch):
                self._unsubscribe()
                return
            if last:
                return

    def _call(self, batch: list[Row]) -> bool:
        began = monotonic()
        try:
            self._fn(schema.build(batch))
        except Exception:
            logging.getLogger("unified_exec").exception("a listener failed and is called no more: %r", self._fn)
            return False
        if monotonic() - began > SLOW and not self._warned:
            self._warned = True
            logging.getLogger("unified_exec").warning(
                "the listener %r took %.1f s for %d events; if it is too slow, events are dropped",
                self._fn,
                monotonic() - began,
                len(batch),
            )
        return True
