"""A pool of threads as one event loop sees it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..._loops.adapter import LoopAdapter
from ..._rules.fair_queue import FairQueue
from ..._tasks.current import current
from ..._tasks.task import Task
from ...abc import Lane, StreamReader
from ...errors import PoolClosed, WorkerStartError
from .call import LEFT, QUEUED, RUNNING, ThreadCall
from .from_thread import token_for_threads
from .interrupt import RETRY, fire
from .stream import ThreadStreamReader

if TYPE_CHECKING:
    from .pool import ThreadPool


class ThreadLane(Lane):
    """A pool as one event loop sees it."""

    def __init__(self, pool: ThreadPool, port: LoopAdapter) -> None:
        self.pool = pool
        self.port = port
        self.token = token_for_threads()
        self.queue: FairQueue[ThreadCall] = FairQueue()
        self.listed = False  # in the pool's `turns`
        self.running = 0
        self.done: deque[ThreadCall] = deque()
        self.rung = False
        self.calling = False  # `_call_again` is on its way
        self.inside = False  # the loop's thread has the pool's lock, or is about to: see `_cancel`
        self.may_wait = port.elsewhere()  # who submits is no event loop: an executor's caller

    def submit(self, task: Task) -> None:
        pool = self.pool
        call = ThreadCall(task, self)
        parent = current.get() if task.nested else None
        before, self.inside = self.inside, True
        if not pool.lock.acquire(self.may_wait):
            self.inside = before
            self._hand_in(task, call, parent)
            return
        try:
            if pool.closed:
                raise PoolClosed(pool.name)
            task.backend_data = task.location = call
            if pool.inbox:
                pool.take_in()
            pool.turns.add(call, parent)
            seat = pool.summon()
        finally:
            pool.lock.release()
            self.inside = before
        if seat is not None and not pool.wake(seat):
            self._no_thread(call)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.inside = True
        try:
            with self.pool.lock:
                yield
        finally:
            self.inside = False

    def _hand_in(self, task: Task, call: ThreadCall, parent: object) -> None:
        """Leave the call to whoever holds the lock. Waiting for it would give the GIL to threads that compute:
        they keep it for 5 ms, and each spawn would take as long."""
        pool = self.pool
        entry = call, parent
        task.backend_data = task.location = call
        pool.inbox.append(entry)
        if pool.closed:  # read after the append: who closes looks into the inbox after saying so
            try:
                pool.inbox.remove(entry)
            except ValueError:
                pass  # taken in before the end
            else:
                task.backend_data = task.location = None
                raise PoolClosed(pool.name)
        if not self.calling:
            self.calling = True
            self.port.call_soon(self._call_again)

    def _no_thread(self, call: ThreadCall) -> None:
        """The system refused a thread: try again later if others are at work, else give up."""
        with self._locked():
            if not self.pool.alone():
                self.port.call_later(RETRY, self._call_again)
                return
            self.pool.turns.forget(call)
        if call.task is not None:
            call.task.backend_data = call.task.location = None
        raise WorkerStartError("the system has no room for another thread")

    def _call_again(self) -> None:
        self.calling = False
        with self._locked():
            self.pool.take_in()
            seat = self.pool.summon()
        if seat is not None and not self.pool.wake(seat):
            self.port.call_later(10 * RETRY, self._call_again)

    def cancel(self, tasks: Iterable[Task], reason: str | None) -> None:
        for task in tasks:
            if task.outcome is None and task.backend_data is not None:
                self._cancel(task, task.backend_data, reason)

    def _cancel(self, task: Task, call: ThreadCall, reason: str | None) -> None:
        if self.inside:  # in a finalizer that the collector ran in there: this thread would wait for itself
            self.port.call_soon(self.cancel, [task], reason)
            return
        pool, seat, ended = self.pool, None, None
        with self._locked():
            pool.take_in()
            state, left = call.state, False
            if state == QUEUED:
                pool.turns.forget(call)
            elif state == RUNNING:
                if call.cancel_requested:
                    return
                call.request_cancel(reason)
                if task.abandon:
                    left = True
                    call.state = LEFT
                    pool.turns.release(call)
                    ended = pool.thread_ended()
                    seat = pool.summon()
        if state == QUEUED:
            call.context = call.task = None
            task.settle_cancelled()
        elif state == RUNNING:
            task.mark_stopping(reason)
            for scope in call.serving or ():
                scope.cancel(reason)
            if task.interrupt or pool.interruptible:
                self.fire(call)
        if left:
            call.task = None
            task.settle_cancelled()
            logging.getLogger("unified_exec").warning(
                "task %r was abandoned: its scope goes on, its thread runs until the function returns", task.name
            )
        if seat is not None:
            pool.wake(seat)
        for tell in ended or ():
            tell()

    def open_stream(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> StreamReader:
        return ThreadStreamReader(fn, args)

    def fire(self, call: ThreadCall, tries: int = 0) -> None:
        """Interrupt the function as soon as that is possible; in vain, and harmless, if it has ended."""
        with self._locked():
            shot = call.shot  # none yet: the thread sees `asked` when it arms
        if shot is not None and not fire(shot, call.reason, tries):
            self.port.call_later(RETRY * min(tries + 1, 100), self.fire, call, tries + 1)

    def drain(self) -> None:
        """Settle what has ended since the last ring. A task that awaits it may go on in here."""
        self.port.deliver(self._settle_ended)

    def _settle_ended(self) -> None:
        # Without the pool's lock, for the reason in `_hand_in`. No lost wake-up: a thread appends its call, then
        # reads `rung`. What is appended after the last `popleft` here comes after `rung` was cleared, and rings.
        self.rung = False
        ended: list[ThreadCall] = []
        with suppress(IndexError):
            while True:
                ended.append(self.done.popleft())
        calls = iter(ended)
        try:
            for call in calls:
                task, outcome = call.task, call.outcome
                call.task = call.outcome = None
                if task is not None and outcome is not None:
                    task.finished_at = call.finished_at
                    task.settle(outcome)
        finally:  # a broken handle costs no other task its result
            rest = list(calls)
            if rest:
                self.done.extendleft(reversed(rest))
                self.port.call_soon(self.drain)
