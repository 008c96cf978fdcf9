"""An event loop of our own in a thread: for pools that are used where neither asyncio nor trio runs."""

from __future__ import annotations

import heapq
import os
import selectors
import socket
import threading
import time
import weakref
from _thread import get_ident
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from .._loops.adapter import LoopAdapter, Timer, Waiter

_Call = tuple[Callable[..., object], tuple[Any, ...]]


class ReactorAdapter(LoopAdapter):
    """Runs callbacks, timers and readers in a daemon thread; see `acquire`.

    A callback that raises is logged, and the rest goes on.

    Attributes:
        ending: the thread has been told to end.
    """

    def __init__(self) -> None:
        # Reentrant: a signal handler or a finalizer may call in while its own thread is inside.
        self._lock = threading.RLock()
        self._handed_in: list[_Call] = []
        self._rung = False
        self._over = False
        self.ending = False
        self._ready: deque[_Call] = deque()
        self._timers: list[tuple[float, int, ReactorTimer]] = []
        self._numbers = count()
        self._readers: dict[int, Callable[[], object]] = {}
        self._at_end: list[weakref.WeakMethod[Callable[[], object]]] = []
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self.add_reader(self._bell.fileno(), self._answer_bell)
        self._thread = threading.Thread(target=self._run, name="unified_exec reactor", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self.close()
            raise

    # -- from any thread

    def call_threadsafe(self, fn: Callable[..., object], *args: Any) -> bool:
        # One byte for each batch, and no wake-up is lost: both sides hold the lock. Who finds `_rung` set has put its
        # call into the list that the reactor will take after that byte; who comes after the taking finds it cleared.
        call = (fn, args)
        with self._lock:
            if self._over:
                return False
            self._handed_in.append(call)
            if self._rung:
                return True
            self._rung = True
        try:
            self._ringer.send(b"\0")
        except OSError:
            pass  # full: a byte is there already; or closed: it has ended meanwhile, after it ran the call
        return True

    def ended(self) -> bool:
        return self._over

    def elsewhere(self) -> bool:
        return not self._over and get_ident() != self._thread.ident

    def is_here(self) -> bool:
        """Tell whether the caller is the reactor's thread."""
        return get_ident() == self._thread.ident

    def end(self) -> None:
        """End the thread after what has been handed in."""
        self.ending = True
        self.call_threadsafe(self._end)

    def join(self) -> None:
        """Wait for the end of the thread, which somebody has told to end."""
        self._thread.join()

    # -- in the reactor's thread

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        self._ready.append((fn, args))

    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Timer:
        timer = ReactorTimer((fn, args))
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._numbers), timer))
        return timer

    def add_reader(self, fd: int, fn: Callable[[], object]) -> None:
        if fd in self._readers:
            self._selector.modify(fd, selectors.EVENT_READ, fn)
        else:
            self._selector.register(fd, selectors.EVENT_READ, fn)
        self._readers[fd] = fn

    def remove_reader(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self._selector.unregister(fd)

    def on_end(self, fn: Callable[[], object]) -> None:
        with self._lock:
            self._at_end = [*(kept for kept in self._at_end if kept() is not None), weakref.WeakMethod(fn)]

    def waiter(self) -> Waiter:
        raise NotImplementedError("no coroutine runs in the reactor")

    def _run(self) -> None:
        try:
            while not self._over:
                self._serve(self._selector.select(self._patience()))
                self._run_timers()
                for _ in range(len(self._ready)):
                    _call(*self._ready.popleft())
        finally:
            self._over = True
            for hook in self._at_end:
                end = hook()
                if end is not None:
                    _call(end, ())
            self.close()

    def _serve(self, readable: list[tuple[selectors.SelectorKey, int]]) -> None:
        for key, _ in readable:
            # One that was removed by another callback of this round is not called: its number may be reused.
            fn = self._readers.get(key.fd)
            if fn is not None and fn is key.data:
                _call(fn, ())

    def _patience(self) -> float | None:
        if self._ready:
            return 0
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _run_timers(self) -> None:
        if not self._timers:
            return
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            call, timer = None, heapq.heappop(self._timers)[2]
            call, timer.call = timer.call, None
            if call is not None:
                _call(*call)

    def _answer_bell(self) -> None:
        try:
            self._bell.recv(4096)
        except BlockingIOError:
            pass
        self._take_in()

    def _take_in(self) -> None:
        with self._lock:
            self._rung = False  # first: a finalizer between these two lines may hand in more
            calls, self._handed_in = self._handed_in, []
        for fn, args in calls:
            _call(fn, args)

    def _end(self) -> None:
        with self._lock:
            self._over = True
        self._take_in()

    def close(self) -> None:
        """Close the descriptors; after a fork, that is all the child may do with its parent's reactor."""
        self._over = True
        self._selector.close()
        self._bell.close()
        self._ringer.close()


class ReactorTimer(Timer):
    """A call that waits for its time; ``None`` once it was made or cancelled."""

    __slots__ = ("call",)

    def __init__(self, call: _Call) -> None:
        self.call: _Call | None = call

    def cancel(self) -> None:
        self.call = None


def _call(fn: Callable[..., object], args: tuple[Any, ...]) -> None:
    try:
        fn(*args)
    except BaseException:  # nobody else is there to hear of it
        import logging

        logging.getLogger("unified_exec").exception("a callback in the reactor failed: %r", fn)


# --- one for all ---

_lock = threading.RLock()
_shared: ReactorAdapter | None = None
_users = 0


def acquire() -> ReactorAdapter:
    """Return the process's one reactor, started if need be; it lives until each `acquire` had its `release`."""
    global _shared, _users
    with _lock:
        if _shared is None:
            _shared = ReactorAdapter()
        _users += 1
        return _shared


def release(port: ReactorAdapter) -> None:
    """Give a reactor back. The last one to do so ends it; does nothing for one that a fork has left behind."""
    global _shared, _users
    with _lock:
        if port is not _shared:
            return
        _users -= 1
        if _users:
            return
        _shared = None
    port.end()


def _after_fork() -> None:
    global _lock, _shared, _users
    _lock = threading.RLock()
    port, _shared, _users = _shared, None, 0
    if port is not None:
        port._lock = threading.RLock()
        port.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
