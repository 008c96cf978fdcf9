"""A pool of threads as one event loop sees it."""

from __future__ import annotations

import logging
from _thread import LockType
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..._loops.adapter import LoopAdapter
from ..._tasks import events
from ..._tasks.current import current
from ..._tasks.task import Task
from ..._tasks.types import CANCELLED
from ...abc import Lane, StreamReader
from ...errors import PoolClosed, WorkerStartError
from .call import CallLane, ThreadCall
from .from_thread import link_to_loop
from .interrupt import RETRY, deliver
from .queues import QUEUED, RUNNING, Call
from .scheduler import Scheduler, call_all
from .stream import ThreadStreamReader

T = TypeVar("T")


class ThreadLane(CallLane, Lane):
    """A pool as one event loop sees it.

    Args:
        scheduler: runs the calls.
        adapter: the loop.
        name: of the pool, for errors.
        interruptible: every call may be interrupted.
        forget: called with the loop and ``None`` when it has ended.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        adapter: LoopAdapter,
        name: str,
        interruptible: bool,
        forget: Callable[[LoopAdapter, None], object],
    ) -> None:
        super().__init__(link_to_loop())
        self.scheduler = scheduler
        self.adapter = adapter
        self.name = name
        self.interruptible = interruptible
        self._retrying = False  # `_try_again` will be called
        self._inside = False  # the loop's thread has the lock, or is about to: see `_cancel`
        self._forget = forget
        adapter.on_end(self._loop_ended)
        self._may_block = adapter.elsewhere()  # the submitter is not an event loop but an executor's caller

    @property
    def lock(self) -> LockType:
        return self.scheduler.lock

    def submit(self, task: Task) -> None:
        scheduler = self.scheduler
        call = ThreadCall(task, self)
        parent = current.get() if task.nested else None
        if not self._may_block and scheduler.lock.locked():
            self._hand_in(task, call, parent)
            return
        before, self._inside = self._inside, True
        try:
            with scheduler.lock:  # no signal handler runs between the lock and its block, as it may after `acquire`
                if scheduler.closed:
                    raise PoolClosed(self.name)
                task.backend_data = task.location = call
                if scheduler.inbox:
                    scheduler.queue_inbox()
                scheduler.queues.add(call, parent)
                has_thread = scheduler.picking or scheduler.send_thread()
        finally:
            self._inside = before
        if (sink := events.moves) is not None:  # `emit_queued`, without the call, and without the clock
            id, ahead = task.id if task.notes is None else task.event_id, self.calls.length - 1
            sink((events.TASK_QUEUED, task.queued_at, id, self.name, ahead))
        if not has_thread:
            self._no_thread(call)

    def _loop_ended(self) -> None:
        """Let nothing of the loop stay alive, unless an abandoned call still runs."""
        if not self.running and not len(self.calls):
            self._forget(self.adapter, None)
            if self.link is not None:
                self.link.forget_loop()

    def _with_lock(self, do: Callable[..., T], *args: Any) -> T:
        before, self._inside = self._inside, True
        try:
            with self.scheduler.lock:  # no context manager of ours: Ctrl-C between it and its block would keep the lock
                return do(*args)
        finally:
            self._inside = before

    def _hand_in(self, task: Task, call: ThreadCall, parent: object) -> None:
        """Leave the call to the thread that has the lock. Waiting for the lock would give the GIL to threads that
        compute: they keep it for 5 ms, and each spawn would take as long."""
        inbox = self.scheduler.inbox
        entry = call, parent
        task.backend_data = task.location = call
        inbox.append(entry)
        if self.scheduler.closed:  # read after the append: `close` sets it, then looks into the inbox
            try:
                inbox.remove(entry)
            except ValueError:
                pass  # queued before the end
            else:
                task.backend_data = task.location = None
                raise PoolClosed(self.name)
        if not self._retrying:
            self._retrying = True
            self.adapter.call_soon(self._try_again)

    def _no_thread(self, call: ThreadCall) -> None:
        """The system refused a thread: try again later if others are at work, else give up."""
        if self._with_lock(self._may_wait, call):
            # The caller of an executor may be in any thread.
            self.adapter.call_threadsafe(self.adapter.call_later, RETRY, self._try_again)
            return
        if call.task is not None:
            call.task.backend_data = call.task.location = None
        raise WorkerStartError("the system has no room for another thread")

    def _may_wait(self, call: ThreadCall) -> bool:
        """Tell whether a thread may come free for a call; if none, it is taken back."""
        has_threads = self.scheduler.has_threads()
        if not has_threads:
            self.scheduler.queues.forget(call)
        return has_threads

    def _try_again(self) -> None:
        self._retrying = False
        if not self._with_lock(self.scheduler.take_in):
            self.adapter.call_later(10 * RETRY, self._try_again)

    def cancel(self, tasks: Iterable[Task], reason: str | None) -> None:
        for task in tasks:
            if task.outcome is None and task.backend_data is not None:
                self._cancel(task, task.backend_data, reason)

    def _cancel(self, task: Task, call: ThreadCall, reason: str | None) -> None:
        if self._inside:  # in a finalizer that the collector ran in there: this thread would wait for itself
            self.adapter.call_soon(self.cancel, [task], reason)
            return
        state = self._with_lock(self._stop, call, reason)
        if state is None:
            return
        if state == QUEUED:
            call.context = call.task = None
            task.settle_cancelled()
        elif state == RUNNING:
            task.mark_stopping(reason)
            for scope in call.loop_scopes or ():
                scope.cancel(reason)
            if call.interruptible:
                self.interrupt(call)
        if task.abandon:
            self.abandon(task)

    def _stop(self, call: ThreadCall, reason: str | None) -> int | None:
        """Return the state that the call was in, ``None`` if it was requested to stop before."""
        self.scheduler.queue_inbox()
        state = call.state
        if state == QUEUED:
            self.scheduler.queues.forget(call)
        elif state == RUNNING:
            if call.cancel_requested:
                return None
            call.request_cancel(reason)
        elif call.outcome is CANCELLED and not call.finished_at:  # Ctrl-C has cut this short before
            return QUEUED
        return state

    def abandon(self, task: Task) -> None:
        call: ThreadCall | None = task.backend_data
        at_end = None if call is None else self._with_lock(self.scheduler.abandon, call)
        if call is None or at_end is None:
            return
        call.task = None
        call_all(at_end)
        task.settle_cancelled()
        logging.getLogger("unified_exec").warning(
            "task %r was abandoned: its scope goes on, its thread runs until the function returns", task.name
        )

    def give_place(self) -> None:
        """Let a queued call run in the place of the call that this code belongs to, which is about to wait for it."""
        call = current.get()
        if not isinstance(call, ThreadCall) or call.lock is not self.lock:
            return
        with self.scheduler.lock:
            self.scheduler.queue_inbox()
            self.scheduler.give_place(call)

    def open_stream(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> StreamReader:
        return ThreadStreamReader(fn, args)

    def interrupt(self, call: ThreadCall, tries: int = 0) -> None:
        """Interrupt the function as soon as possible; does nothing if it has ended."""
        token = call.token  # none yet: the thread sees that it is cancelled when it arms
        if token is not None and not deliver(token, call.reason, tries):
            self.adapter.call_later(RETRY * min(tries + 1, 100), self.interrupt, call, tries + 1)

    def wake(self) -> bool:
        return self.adapter.call_threadsafe(self.settle_ended)

    def settle_ended(self) -> None:
        """Settle the calls that have ended since the last wake-up. A task that awaits one may go on in here."""
        self.adapter.deliver(self._settle_ended)

    def _settle_ended(self) -> None:
        # Without the lock, for the reason in `_hand_in`. No wake-up is lost: a thread appends its call, then reads
        # `woken`. What is appended after the last `popleft` here comes after `woken` was cleared, and wakes again.
        self.woken = False
        ended: list[Call] = []
        try:
            while True:
                ended.append(self.ended.popleft())
        except IndexError:
            pass
        calls = iter(ended)
        try:
            for call in calls:
                task, outcome = call.task, call.outcome
                call.task = call.outcome = None
                if task is not None and outcome is not None:
                    task.finished_at = call.finished_at
                    if outcome.cancelled and not task.cancel_requested:
                        task.note_scope_is_cancelled()
                    task.settle(outcome)
        finally:  # a broken handle costs no other task its result
            rest = list(calls)
            if rest:
                self.ended.extendleft(reversed(rest))
                self.adapter.call_soon(self.settle_ended)
