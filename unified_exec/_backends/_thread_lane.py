"""A pool of threads as one event loop sees it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._model.current import current
from .._model.task import Task
from .._rules.fairness import FairQueue
from ..errors import PoolClosed, WorkerStartError
from ._from_thread import token_for_threads
from ._interrupt import RETRY, fire
from ._thread_call import LEFT, QUEUED, RUNNING, ThreadCall
from .base import Lane
from .ports import Port

if TYPE_CHECKING:
    from .thread import ThreadPool


class ThreadLane(Lane):
    """A pool as one event loop sees it."""

    def __init__(self, pool: ThreadPool, port: Port) -> None:
        self.pool = pool
        self.port = port
        self.token = token_for_threads()
        self.queue: FairQueue[ThreadCall] = FairQueue()
        self.listed = False  # in the pool's `turns`
        self.running = 0
        self.done: list[ThreadCall] = []
        self.rung = False

    def submit(self, task: Task) -> None:
        pool = self.pool
        call = ThreadCall(task, self)
        with pool.lock:
            if pool.closed:
                raise PoolClosed(pool.name)
            task.cargo = task.place = call
            pool.turns.add(call, current.get() if task.nested else None)
            seat = pool.summon()
        if seat is not None and not pool.wake(seat):
            self._no_thread(call)

    def _no_thread(self, call: ThreadCall) -> None:
        """The system refused a thread: try again later if others are at work, else give up."""
        with self.pool.lock:
            if not self.pool.alone():
                self.port.call_later(RETRY, self._call_again)
                return
            self.pool.turns.forget(call)
        if call.task is not None:
            call.task.cargo = call.task.place = None
        raise WorkerStartError("the system has no room for another thread")

    def _call_again(self) -> None:
        with self.pool.lock:
            seat = self.pool.summon()
        if seat is not None and not self.pool.wake(seat):
            self.port.call_later(10 * RETRY, self._call_again)

    def cancel(self, tasks: Iterable[Task], reason: str | None) -> None:
        for task in tasks:
            if task.outcome is None and task.cargo is not None:
                self._cancel(task, task.cargo, reason)

    def _cancel(self, task: Task, call: ThreadCall, reason: str | None) -> None:
        pool, seat, ended = self.pool, None, None
        with pool.lock:
            state, left = call.state, False
            if state == QUEUED:
                pool.turns.forget(call)
            elif state == RUNNING:
                if call.asked:
                    return
                call.ask(reason)
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
            task.stopping(reason)
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

    def fire(self, call: ThreadCall, tries: int = 0) -> None:
        """Interrupt the function as soon as that is possible; in vain, and harmless, if it has ended."""
        with self.pool.lock:
            shot = call.shot  # none yet: the thread sees `asked` when it arms
        if shot is not None and not fire(shot, call.reason, tries):
            self.port.call_later(RETRY * min(tries + 1, 100), self.fire, call, tries + 1)

    def drain(self) -> None:
        """Settle what has ended since the last ring."""
        # No lost wake-up: both sides hold the lock. A thread that finds `rung` set put its call into the very
        # list that is taken here; one that comes after finds it cleared, and rings again.
        with self.pool.lock:
            done, self.done, self.rung = self.done, [], False
        calls = iter(done)
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
                self.done[:0] = rest
                self.port.call_soon(self.drain)
