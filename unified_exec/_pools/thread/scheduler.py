"""The threads of a pool: started when there is work, idle for a while, then gone."""

from __future__ import annotations

import sys
import threading
import weakref
from _thread import LockType, allocate_lock, get_ident, start_new_thread
from collections import deque
from collections.abc import Callable, Iterable
from time import sleep

from ..._platform.thread_name import name_thread
from ..._tasks import events, loaded
from ..._tasks.fork_lock import in_forked_child
from .from_thread import enter
from .queues import ABANDONED, ENDED, RUNNING, Call, FairCallQueues

IDLE_SECONDS = 10.0
NAMED_SECONDS = 0.2
"""Seconds for which an idle thread keeps the name of its last task: a call of the same function comes often, and to
rename a thread takes a few microseconds."""
LOCK_TRIES = 100
"""How often a thread tries to get the scheduler's lock before it blocks on it."""
LOCK_SLEEP = 0.00002
"""Seconds between two tries. A thread that only lets go of the GIL has it again before the holder of the lock, which
waits for the GIL, has woken up: on two idle cores bursts took ten times as long now and then."""

_schedulers: weakref.WeakSet[Scheduler] = weakref.WeakSet()


class IdleThread:
    """A thread of the scheduler. It is in the list of idle ones while it has no call.

    Attributes:
        wakeup: what the idle thread waits for: a lock that is held except at the moment of a wake-up.
        picked: it is on its way to take a call, and no other thread is picked before it has.
        exits: the thread exits after what it does now.
    """

    __slots__ = ("exits", "picked", "wakeup")

    def __init__(self) -> None:
        self.wakeup = allocate_lock()
        self.wakeup.acquire()
        self.picked = True
        self.exits = False


class Scheduler:
    """Gives queued calls to threads.

    Attributes:
        lock: guards everything here, and the states of lanes and calls.
        queues: the calls that wait for a thread.
        inbox: calls that were submitted while the lock was held, each with its parent. Appended without the lock,
            queued by the next holder of the lock.
        closed: no more calls are submitted; threads exit when they find none.
        picking: a picked thread is on its way.
    """

    def __init__(self, max_workers: int, thread_name: str) -> None:
        self.closed = False
        self._max_workers = max_workers
        self._thread_name = thread_name
        self.reset()
        _schedulers.add(self)

    def reset(self) -> None:
        """Begin anew; in a forked child, where the threads do not exist and the lock may be held for ever."""
        self.lock = allocate_lock()
        self.queues = FairCallQueues(self._max_workers)
        self.inbox: deque[tuple[Call, object]] = deque()
        self._idle: list[IdleThread] = []  # the newest last: it works next, so that the oldest can exit
        self._threads = 0  # without those of abandoned calls
        self.picking = False
        self._at_end: list[Callable[[], object]] = []

    # --- in any thread, with the lock held ---

    def queue_inbox(self) -> None:
        inbox = self.inbox
        while inbox:
            call, parent = inbox[0]
            self.queues.add(call, parent)
            # Not `popleft`: a signal handler may raise after a call, and none comes after the last in `add`.
            del inbox[0]

    def take_in(self) -> bool:
        """Queue the inbox and send a thread; see `send_thread`."""
        self.queue_inbox()
        return self.send_thread()

    def send_thread(self) -> bool:
        """Wake or start a thread to take a queued call, if there is one and no other thread is on its way.

        One at a time: it sends the next before it begins its own call if there is more to do. So a thousand calls of
        a microsecond each do not start forty threads, and forty that block run at once.

        Returns:
            ``False`` if the system cannot start a thread.
        """
        if self.picking or not self.queues.waiting():
            return True
        # A signal handler may raise after each call: none is made between the first change and the start.
        if self._idle:
            thread = self._idle[-1]
            del self._idle[-1]
            self.picking = thread.picked = True
            thread.wakeup.release()
            return True
        thread = IdleThread()
        self.picking = True
        self._threads += 1
        try:
            start_new_thread(self._run_thread, (thread,))  # threading.Thread.start would wait for it
        except (RuntimeError, MemoryError):
            self.picking = False
            self._threads -= 1
            return False
        return True

    def abandon(self, call: Call) -> list[Callable[[], object]] | None:
        """Count out a running call whose scope goes on without it, and its thread.

        Returns:
            what `take_at_end` returns; ``None`` if the call does not run.
        """
        if call.state != RUNNING:
            return None
        call.state = ABANDONED
        self.queues.release(call)
        self._threads -= 1
        self.send_thread()
        return self.take_at_end()

    def give_place(self, call: Call) -> None:
        """Let another call run in the place of `call`, which waits for a queued one; its own thread runs on beyond
        `max_workers`."""
        if call.state == RUNNING and not call.extra:
            call.extra = True
            self.queues.busy -= 1
        self.send_thread()

    def take_at_end(self) -> list[Callable[[], object]]:
        """Return what is to be called, without the lock, if no thread is left."""
        if self._threads:
            return []
        at_end, self._at_end = self._at_end, []
        return at_end

    @property
    def threads(self) -> int:
        """How many threads there are, without those of abandoned calls."""
        return self._threads

    def has_threads(self) -> bool:
        """Tell whether there is a thread that may take what is queued."""
        return self._threads > 0

    # --- in any thread, without the lock ---

    def recheck_inbox(self) -> None:
        """Queue what was submitted while the caller held the lock, unless another thread holds it now and will."""
        while self.inbox and self.lock.acquire(False):
            try:
                self.queue_inbox()
                self.send_thread()
            finally:
                self.lock.release()

    def close(self, on_end: Callable[[], object] | None) -> bool:
        """Let the threads exit when they find no more calls.

        Returns ``False`` if there is no thread; else `on_end` is called when the last one exits.
        """
        with self.lock:
            self.closed = True
            self.queue_inbox()
            self.send_thread()
            while self._idle:
                thread = self._idle[-1]
                del self._idle[-1]
                thread.wakeup.release()
            if self._threads and on_end is not None:
                self._at_end.append(on_end)
            return self._threads > 0

    # --- the threads ---

    def _run_thread(self, thread: IdleThread) -> None:
        """What each thread does. Between calls it holds no reference to any."""
        name_thread(self._thread_name)
        if events.rows is not None:
            events.emit(events.WORKER_STARTED, get_ident(), self._thread_name, "thread", "queue")
        if threading.gettrace() is not None:  # a debugger or a coverage tool
            sys.settrace(threading.gettrace())
        if threading.getprofile() is not None:
            sys.setprofile(threading.getprofile())
        lock, link, call, name = self.lock, None, None, self._thread_name
        while lock is self.lock:  # else this is the only thread of a forked child, where the scheduler was reset
            call = self._next(thread, call)
            if call is not None:
                if call.lane.link is not link:
                    link = call.lane.link
                    enter(link)
                if call.name is not name and call.lane.names_threads:
                    name = call.name
                    name_thread(name)
                call.run()
            elif not thread.exits and thread.wakeup.acquire(True, NAMED_SECONDS):
                pass
            else:
                if name is not self._thread_name:
                    name = self._thread_name
                    name_thread(name)
                if not thread.exits and (thread.wakeup.acquire(True, IDLE_SECONDS) or not self._retire(thread)):
                    continue
                self.recheck_inbox()
                if events.rows is not None:
                    events.emit(events.WORKER_RETIRED, get_ident())
                return

    def _next(self, thread: IdleThread, ended: Call | None) -> Call | None:
        """Hand over the call that has ended and take the next; if there is none, the thread is idle or exits."""
        lane, at_end, lock = None, None, self.lock
        late: Call | None = None
        if not lock.acquire(False):
            _wait_for(lock)
        try:
            if thread.picked:
                thread.picked = self.picking = False
            if ended is not None:
                if ended.state == ABANDONED:  # counted out at that time
                    thread.exits = True
                    late = ended
                    return None
                ended.state = ENDED
                self.queues.release(ended)
                ended.lane.ended.append(ended)
                if not ended.lane.woken:
                    ended.lane.woken = True
                    lane = ended.lane
            call = self.queues.take()
            if call is None:
                if self.closed:
                    thread.exits = True
                    self._threads -= 1
                    at_end = self.take_at_end()
                else:
                    self._idle.append(thread)
            elif not self.picking:
                self.send_thread()
        finally:
            lock.release()
            if late is not None:
                late.log_abandoned()
        if lane is not None and not lane.wake():
            lane.ended.clear()  # the loop has ended: nobody waits for them
        if at_end:
            call_all(at_end)
        if self.inbox:
            self.recheck_inbox()
        return call

    def _retire(self, thread: IdleThread) -> bool:
        """Let an idle thread exit, unless it was picked, or told to exit, at the last moment."""
        with self.lock:
            idle = thread in self._idle
            if idle:
                self._idle.remove(thread)
                self._threads -= 1
                at_end = self.take_at_end()
        if idle:
            call_all(at_end)
        else:
            thread.wakeup.acquire()
        return idle


def call_all(callbacks: Iterable[Callable[[], object]]) -> None:
    for callback in callbacks:
        callback()


def _wait_for(lock: LockType) -> None:
    """Acquire the lock by trying again. A thread that blocks in `acquire` gets the lock before it gets the GIL, and the
    thread that has the GIL then waits for the lock: a convoy, in which each step of each thread takes two
    switches. Where there is no GIL, forty threads that try again keep all cores busy instead."""
    for _ in range(0 if loaded.gil_is_off() else LOCK_TRIES):
        sleep(LOCK_SLEEP)  # the GIL goes to another thread, in the end to the one that has the lock
        if lock.acquire(False):
            return
    lock.acquire()  # its holder takes long: a finalizer runs in there, say


@in_forked_child
def _after_fork() -> None:
    for scheduler in _schedulers:
        scheduler.reset()
