"""An event loop in a daemon thread, for pools that are used where neither asyncio nor trio runs."""

from __future__ import annotations

import heapq
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
from .._platform.posix import StandardTaken
from .._tasks.fork_lock import in_forked_child

_Call = tuple[Callable[..., object], tuple[Any, ...]]


class ReactorAdapter(LoopAdapter):
    """Runs callbacks, timers and readers in a daemon thread; see `acquire`.

    A callback that raises is logged, and the rest goes on.

    Attributes:
        ending: the thread was told to end.
    """

    def __init__(self) -> None:
        # Reentrant: a signal handler or a finalizer may call in while its own thread holds it.
        self._lock = threading.RLock()
        self._incoming: list[_Call] = []
        self._woken = False
        self._over = False
        self.ending = False
        self._ready: deque[_Call] = deque()
        self._timers: list[tuple[float, int, ReactorTimer]] = []
        self._numbers = count()
        self._readers: dict[int, Callable[[], object]] = {}
        self._at_end: list[weakref.WeakMethod[Callable[[], object]]] = []
        with StandardTaken():
            self._selector = selectors.DefaultSelector()
            self._wakeup, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="unified_exec reactor", daemon=True)
        try:
            self._wakeup.setblocking(False)
            self._waker.setblocking(False)
            self.add_reader(self._wakeup.fileno(), self._on_wakeup)
            self._thread.start()
        except BaseException:  # no thread can be started, or a signal handler has raised
            if self._thread.ident is None:
                self.close()
            else:
                self.end()
            raise

    # -- from any thread

    def call_threadsafe(self, fn: Callable[..., object], *args: Any) -> bool:
        # One byte for each batch, and no wake-up is lost, as both sides hold the lock: a caller that finds `_woken` set
        # has added its call to the list that the reactor will take after that byte; later ones find it cleared.
        call = (fn, args)
        woken = True
        try:
            with self._lock:
                if self._over:
                    return False
                woken, self._woken = self._woken, True
                self._incoming.append(call)
        finally:  # also if a signal handler raises after the append, or at the end of the block
            if not woken:
                try:
                    self._waker.send(b"\0")
                except OSError:
                    pass  # full: a byte is there already; or closed: it has ended since, after it ran the call
        return True

    def ended(self) -> bool:
        return self._over

    def elsewhere(self) -> bool:
        return not self._over and get_ident() != self._thread.ident

    def is_here(self) -> bool:
        """Tell whether the caller is the reactor's thread."""
        return get_ident() == self._thread.ident

    def end(self) -> None:
        """End the thread after it has run the calls that were made so far."""
        self.ending = True
        self.call_threadsafe(self._end)

    def join(self) -> None:
        """Wait for the end of the thread, after `end`."""
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
                self._serve(self._selector.select(self._time_to_wait()))
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
            # One that another callback of this round removed is not called: its number may be reused.
            fn = self._readers.get(key.fd)
            if fn is not None and fn is key.data:
                _call(fn, ())

    def _time_to_wait(self) -> float | None:
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

    def _on_wakeup(self) -> None:
        try:
            self._wakeup.recv(4096)
        except BlockingIOError:
            pass
        self._run_incoming()

    def _run_incoming(self) -> None:
        with self._lock:
            self._woken = False  # first: a finalizer between these two lines may make a call
            calls, self._incoming = self._incoming, []
        for fn, args in calls:
            _call(fn, args)

    def _end(self) -> None:
        with self._lock:
            self._over = True
        self._run_incoming()

    def close(self) -> None:
        """Close the descriptors; after a fork, the child may do nothing else with its parent's reactor."""
        self._over = True
        self._selector.close()
        self._wakeup.close()
        self._waker.close()


class ReactorTimer(Timer):
    """A scheduled call; `call` is ``None`` once it was made or cancelled."""

    __slots__ = ("call",)

    def __init__(self, call: _Call) -> None:
        self.call: _Call | None = call

    def cancel(self) -> None:
        self.call = None


def _call(fn: Callable[..., object], args: tuple[Any, ...]) -> None:
    try:
        fn(*args)
    except BaseException:  # there is no caller to raise it to
        import logging

        logging.getLogger("unified_exec").exception("a callback in the reactor failed: %r", fn)


# --- one for the process ---

_lock = threading.RLock()
_shared: ReactorAdapter | None = None
_users = 0


def acquire() -> ReactorAdapter:
    """Return the reactor of the process, started if necessary; it runs until each `acquire` had its `release`."""
    global _shared, _users
    lent: ReactorAdapter | None = None
    try:
        with _lock:
            if _shared is None:
                _shared = ReactorAdapter()
            _users += 1
            lent = _shared
    except BaseException:
        if lent is not None:  # a signal handler has raised at the end of the block
            release(lent)
        raise
    return lent


def release(adapter: ReactorAdapter) -> None:
    """Give a reactor back; the last call ends it. Does nothing for the parent's reactor in a forked child."""
    global _shared, _users
    with _lock:
        if adapter is not _shared:
            return
        _users -= 1
        if _users:
            return
        _shared = None
    adapter.end()


@in_forked_child
def _after_fork() -> None:
    global _lock, _shared, _users
    _lock = threading.RLock()
    adapter, _shared, _users = _shared, None, 0
    if adapter is not None:
        adapter._lock = threading.RLock()
        adapter.close()
