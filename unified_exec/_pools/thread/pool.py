"""Blocking calls in threads."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from _thread import LockType, allocate_lock, start_new_thread
from collections import deque
from collections.abc import Callable
from time import sleep

from ..._loops.adapter import LoopAdapter
from ..._loops.current import current_adapter
from ..._tasks.current import current
from ...abc import Backend, Capabilities
from ...errors import PoolClosed
from .call import LEFT, OVER, RUNNING, ThreadCall
from .from_thread import enter
from .lane import ThreadLane
from .queues import FairCallQueues

MAX_WORKERS = 40
IDLE_SECONDS = 10.0
LOOKS = 100
"""How often a thread looks whether the pool's lock is free before it sleeps until it is."""

_pools: weakref.WeakSet[ThreadPool] = weakref.WeakSet()


class IdleThread:
    """A thread's place in the pool.

    Attributes:
        bell: what the idle thread waits for; held but for the moment it rings.
        summoned: it is on its way to look for work, and no other is summoned before it has looked.
        over: the thread ends after what it does now.
    """

    __slots__ = ("bell", "over", "started", "summoned")

    def __init__(self) -> None:
        self.bell = allocate_lock()
        self.bell.acquire()
        self.summoned = True
        self.started = self.over = False


class ThreadPool(Backend):
    """Threads for blocking calls; any number of event loops and scopes may share a pool.

    Threads are started when needed, and end when they were idle for ten seconds. They are daemon threads: the
    end of the program waits for none. Scopes take turns. A task that was spawned from inside a thread task never
    waits for a thread that its parent holds: such tasks, and the first of each event loop, run beyond `max_workers`.

    Args:
        max_workers: how many tasks run at the same time, 40 unless said otherwise.
        name: shown in errors and in the names of the threads.
        interruptible: every task of this pool may be interrupted when it is cancelled, as with ``interrupt=True``.

    Raises:
        TypeError, ValueError: `max_workers` is no whole number above 0.

    Example::

        import anyio
        from pathlib import Path
        from unified_exec import TaskScope, ThreadPool

        async def main():
            async with ThreadPool(4) as pool, TaskScope(threads=pool) as scope:
                print(await scope.spawn(Path(__file__).read_text))

        anyio.run(main)
    """

    kind = "thread"
    capabilities = Capabilities(interrupt=True, abandon=True, streams=True)
    closed = False

    def __init__(self, max_workers: int | None = None, *, name: str | None = None, interruptible: bool = False) -> None:
        if max_workers is None:
            max_workers = MAX_WORKERS
        if type(max_workers) is not int:
            raise TypeError(f"max_workers must be a whole number or None, got {max_workers!r}")
        if max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, got {max_workers}")
        self.max_workers = max_workers
        self.name = f"thread pool {name!r}" if name else "the thread pool"
        self.interruptible = interruptible
        self._thread_name = f"unified_exec {name or 'thread'}"
        self._start_afresh()
        _pools.add(self)

    def _start_afresh(self) -> None:
        self.lock = allocate_lock()  # guards all below, and the lanes' and calls' states
        self._lanes: dict[LoopAdapter, ThreadLane] = {}
        self.turns = FairCallQueues(self.max_workers)
        self._idle: list[IdleThread] = []  # the newest last: it is the next to work, so that the oldest can retire
        self._threads = 0  # but for those of abandoned calls
        self._summoning = False
        self._at_end: list[Callable[[], object]] = []
        # Calls, and what spawned them, that came while the lock was held: appended without it, taken in with it.
        self.inbox: deque[tuple[ThreadCall, object]] = deque()

    def lane(self, port: LoopAdapter) -> ThreadLane:
        if self.closed:
            raise PoolClosed(self.name)
        lane = self._lanes.get(port)
        if lane is None:
            made = ThreadLane(self, port)
            with self.lock:
                self.take_in()
                for ended in [known for known in self._lanes if known.ended()]:
                    for call in self._lanes.pop(ended).queue.drain():
                        call.state = OVER
                lane = self._lanes.setdefault(port, made)
        return lane

    # --- closing ---

    def close(self, *, wait: bool = True) -> None:
        """Take no more tasks, and wait for those the pool has unless told not to; abandoned ones are not waited for.

        Raises:
            RuntimeError: called from inside a task of this pool, or in the thread of an event loop whose tasks
                still run here; there `await pool.aclose()` waits without blocking the loop.
        """
        if not wait:
            self._close(_nothing)
            return
        self._check_closable()
        ended = allocate_lock()
        ended.acquire()
        if self._close(ended.release):
            ended.acquire()

    async def aclose(self) -> None:
        """Like `close`, without blocking the event loop. When cancelled it stops waiting; the pool stays closed."""
        port = current_adapter()
        waiter = port.waiter()
        if self._close(lambda: port.call_threadsafe(waiter.wake)):
            await waiter

    def _close(self, tell: Callable[[], object]) -> bool:
        """Close; ``False`` if nothing is left to wait for, else `tell` is called when the last thread ends."""
        with self.lock:
            self.closed = True
            self.take_in()
            called = self.summon()
            idle, self._idle = self._idle, []
            waiting = self._threads > 0
            if waiting:
                self._at_end.append(tell)
        for seat in idle:
            seat.bell.release()
        if called is not None:
            self.wake(called)
        return waiting

    def _check_closable(self) -> None:
        call = current.get()
        if isinstance(call, ThreadCall) and call.lane.pool is self and call.state == RUNNING:
            raise RuntimeError(f"{self.name} cannot be closed by one of its own tasks: it would wait for itself")
        with self.lock:
            self.take_in()
        for port, lane in list(self._lanes.items()):
            if (lane.running or len(lane.queue)) and not port.ended() and not port.elsewhere():
                raise RuntimeError(f"{self.name} still runs tasks of this event loop: use `await pool.aclose()`")

    def __enter__(self) -> ThreadPool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> ThreadPool:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def describe(self) -> str:
        state = "closed" if self.closed else f"{self.turns.busy} of {self.max_workers} busy"
        return f"<ThreadPool: {self.name}, {state}>"

    # --- threads ---

    def take_in(self) -> None:
        """Queue the calls in the inbox, with the lock held."""
        inbox = self.inbox
        while inbox:
            self.turns.add(*inbox.popleft())

    def look_again(self) -> None:
        """Take in what came while the caller held the lock, unless another holds it now, who will look too."""
        while self.inbox and self.lock.acquire(False):
            try:
                self.take_in()
                seat = self.summon()
            finally:
                self.lock.release()
            if seat is not None:
                self.wake(seat)

    def summon(self) -> IdleThread | None:
        """Choose a thread to look for work, if there is some and no other is on its way. With the lock held.

        One at a time: it calls the next before it begins its own call if there is more to do. So a thousand
        calls of a microsecond each do not start forty threads, and forty that block run at once.
        """
        if self._summoning or not self.turns.waiting():
            return None
        self._summoning = True
        if self._idle:
            seat = self._idle.pop()
            seat.summoned = True
            return seat
        self._threads += 1
        return IdleThread()

    def wake(self, seat: IdleThread) -> bool:
        """Send the chosen thread on its way, without waiting for it; ``False`` if the system has no room for it."""
        if seat.started:
            seat.bell.release()
            return True
        try:
            start_new_thread(self._thread, (seat,))  # threading.Thread.start would wait for it
        except (RuntimeError, MemoryError):
            with self.lock:
                self._summoning = False
                at_end = self.thread_ended()
            _tell(at_end)
            return False
        return True

    def thread_ended(self) -> list[Callable[[], object]]:
        """Count a thread out, with the lock held; returns whom to tell after."""
        self._threads -= 1
        if self._threads:
            return []
        at_end, self._at_end = self._at_end, []
        return at_end

    def alone(self) -> bool:
        """Tell whether there is no thread that could take what is queued."""
        return not self._threads

    def _thread(self, seat: IdleThread) -> None:
        """What each thread of the pool does. Between calls it holds no reference to any."""
        seat.started = True
        threading.current_thread().name = self._thread_name
        if threading.gettrace() is not None:  # a debugger or a coverage tool
            sys.settrace(threading.gettrace())
        if threading.getprofile() is not None:
            sys.setprofile(threading.getprofile())
        lock, token, call = self.lock, None, None
        while lock is self.lock:  # else this is the only thread of a forked child, whose pool began afresh
            call = self._next(seat, call)
            if call is not None:
                if call.lane.token is not token:
                    token = call.lane.token
                    enter(token)
                call.run()
            elif seat.over or (not seat.bell.acquire(True, IDLE_SECONDS) and self._retire(seat)):
                self.look_again()
                return

    def _next(self, seat: IdleThread, ended: ThreadCall | None) -> ThreadCall | None:
        """Hand over what has ended and take the next call; without one the thread is idle, or `seat.over`."""
        lane, at_end, lock = None, None, self.lock
        if not lock.acquire(False):
            _wait_for(lock)
        try:
            if seat.summoned:
                seat.summoned = self._summoning = False
            if ended is not None:
                if ended.state == LEFT:  # counted out when it was abandoned
                    seat.over = True
                    return None
                ended.state = OVER
                self.turns.release(ended)
                ended.lane.done.append(ended)
                if not ended.lane.rung:
                    ended.lane.rung = True
                    lane = ended.lane
            call = self.turns.take()
            if call is None:
                if self.closed:
                    seat.over = True
                    at_end = self.thread_ended()
                else:
                    self._idle.append(seat)
            other = self.summon()
        finally:
            lock.release()
        if lane is not None and not lane.port.call_threadsafe(lane.drain):
            lane.done.clear()  # the loop has ended: nobody waits
        if other is not None:
            self.wake(other)
        if at_end:
            _tell(at_end)
        if self.inbox:
            self.look_again()
        return call

    def _retire(self, seat: IdleThread) -> bool:
        """End an idle thread, unless it was called at the last moment."""
        with self.lock:
            if seat in self._idle:
                self._idle.remove(seat)
                at_end = self.thread_ended()
            else:
                at_end = None
        if at_end is None:
            seat.bell.acquire()
            return False
        _tell(at_end)
        return True


def _wait_for(lock: LockType) -> None:
    """Acquire the pool's lock by looking again. Who waits inside of `acquire` has the lock before it has the GIL, and
    whoever has the GIL then waits for the lock: a convoy, in which each step of each thread takes two switches."""
    for _ in range(LOOKS):
        sleep(0)  # the GIL goes to another thread, in the end to the one that has the lock
        if lock.acquire(False):
            return
    lock.acquire()  # it is busy in there: a finalizer, say


def _nothing() -> None:
    pass


def _tell(whom: list[Callable[[], object]] | None) -> None:
    for tell in whom or ():
        tell()


def _after_fork() -> None:
    for pool in _pools:
        pool._start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
