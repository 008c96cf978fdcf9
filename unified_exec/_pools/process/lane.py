"""A process pool as one event loop sees it: encodes a call in the caller, then dispatches it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from contextvars import copy_context
from typing import Any

from ..._loops.adapter import LoopAdapter
from ..._rules.dispatch import is_async
from ..._tasks.task import Task
from ..._wire.pickling.carried import private
from ..._wire.pickling.functions import EncodedCall, encode_call, encode_call_by_name, in_context
from ..._worker.settings import CALLS, COROUTINES
from ...abc import StreamReader
from .admission import Admission
from .dispatcher import Dispatcher
from .mailbox_signal import POST_AGAIN, signal_until_read
from .stream import CreditLane, ProcessStreamReader
from .worker import Worker
from .worker_group import WorkerGroup
from .worker_registry import WorkerRegistry


class ProcessLane(CreditLane):
    """Plain functions go to workers that run one at a time, coroutine functions to workers with an event loop.

    Attributes:
        adapter: the event loop.
        groups: its workers, one group for each kind.
    """

    def __init__(self, registry: WorkerRegistry[Any], admission: Admission, adapter: LoopAdapter) -> None:
        self.adapter = adapter
        self._encode = encode_call if registry.spec.main is None else encode_call_by_name
        self._registry = registry
        self._admission = admission
        self._calls = Dispatcher(registry, adapter, CALLS)
        self._coroutines = Dispatcher(registry, adapter, COROUTINES)
        self.groups: tuple[WorkerGroup, ...] = (self._calls.group, self._coroutines.group)
        adapter.on_end(self._loop_ended)

    def submit(self, task: Task) -> None:
        """Encode the call here and now, then send or queue it.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the function or an argument cannot travel.
        """
        if self._admission.guarded:
            self._admission.admit()
        fn = task.fn
        call = self._encode(fn, task.args)  # type: ignore[arg-type]  # both are there until settled
        context = copy_context()
        if not private.issuperset(context):
            call = in_context(call, context)
        task.backend_data = call
        if (coroutine := call.entry.coroutine) is None:
            coroutine = call.entry.coroutine = is_async(fn)
        (self._coroutines if coroutine else self._calls).submit(task)

    def prepare(self, task: Task) -> EncodedCall:
        """Encode the call and return it; in any thread.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the function or an argument cannot travel.
        """
        if self._admission.guarded:
            self._admission.admit()
        fn = task.fn
        call = self._encode(fn, task.args)  # type: ignore[arg-type]  # both are there until it is settled
        context = copy_context()
        if not private.issuperset(context):
            call = in_context(call, context)
        if call.entry.coroutine is None:
            call.entry.coroutine = is_async(fn)
        return call

    def enqueue(self, task: Task, prepared: Any) -> None:
        """Send or queue a task whose call was encoded; in the loop's thread.

        Raises:
            PoolClosed: the pool was closed since.
        """
        if self._admission.guarded:
            self._admission.admit()
        task.backend_data = prepared
        (self._coroutines if prepared.entry.coroutine else self._calls).submit(task)

    def cancel(self, tasks: Iterable[Task], reason: str | None, *, running: bool = True) -> None:
        """Stop the tasks; with ``running=False``, those that have started go on."""
        calls: list[Task] = []
        coroutines: list[Task] = []
        for task in tasks:
            if task.outcome is None:
                (coroutines if task.backend_data.entry.coroutine else calls).append(task)
        if calls:
            self._calls.cancel(calls, reason, running)
        if coroutines:
            self._coroutines.cancel(coroutines, reason, running)

    def abandon(self, task: Task) -> None:
        (self._coroutines if task.backend_data.entry.coroutine else self._calls).abandon(task)

    def give_credit(self, task: Task, count: int) -> None:
        worker = task.location
        if isinstance(worker, Worker):
            if not worker.give_credit(task.id, count):
                self.adapter.call_later(POST_AGAIN, self.give_credit, task, count)
            elif not count:
                signal_until_read(self.adapter, worker)

    def signal_workers(self, tasks: Container[Task], signum: int, besides: Container[int] = ()) -> set[int]:
        """Send a signal to every worker that one of `tasks` was sent to, except those whose process id is in `besides`;
        returns the process ids."""
        signalled: set[int] = set()
        for group in self.groups:
            for worker in list(group.workers):
                pid = worker.child.pid
                if pid not in besides and any(task in tasks for task in worker.tasks.values()):
                    worker.child.send_signal(signum)
                    signalled.add(pid)
        return signalled

    def open_stream(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> StreamReader:
        return ProcessStreamReader(self, fn, args)

    def _loop_ended(self) -> None:
        # asyncio tells before its loop is closed: what still runs then is freed by the next user of the pool.
        if self.adapter.ended() or not any(group.has_tasks() for group in self.groups):
            self._registry.loop_ended(self.adapter)
