"""A process pool as one event loop sees it: pickles in the caller, then hands over to the crew that can run it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..._loops.adapter import LoopAdapter
from ..._rules.dispatch import is_async
from ..._tasks.task import Task
from ..._wire.pickling.functions import EncodedCall, encode_call
from ...abc import Lane, StreamReader
from .dispatcher import Dispatcher
from .stream import ProcessStreamReader

if TYPE_CHECKING:
    from .pool import ProcessPool


class ProcessLane(Lane):
    """Plain functions go to workers that run one at a time, coroutine functions to workers with an event loop."""

    def __init__(self, pool: ProcessPool, port: LoopAdapter) -> None:
        self.pool = pool
        self.port = port
        self.calls = Dispatcher(pool, port, coroutines=False)
        self.coroutines = Dispatcher(pool, port, coroutines=True)

    @property
    def crews(self) -> tuple[Dispatcher, Dispatcher]:
        return self.calls, self.coroutines

    def submit(self, task: Task) -> None:
        """Pickle the call here and now, then send or queue it.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the function or an argument cannot travel.
        """
        self.enqueue(task, self.prepare(task))

    def prepare(self, task: Task) -> EncodedCall:
        """Pickle the call and return it; in any thread.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the function or an argument cannot travel.
        """
        if self.pool.guarded:
            self.pool.admit()
        fn, args = task.fn, task.args
        assert fn is not None and args is not None  # noqa: PT018
        call = encode_call(fn, args)
        if call.entry.coroutine is None:
            call.entry.coroutine = is_async(fn)
        return call

    def enqueue(self, task: Task, prepared: Any) -> None:
        """Send or queue a task with its pickled call; in the loop's thread.

        Raises:
            PoolClosed: the pool was closed since.
        """
        if self.pool.guarded:
            self.pool.admit()
        task.backend_data = prepared
        task.coroutine = prepared.entry.coroutine
        (self.coroutines if task.coroutine else self.calls).submit(task)

    def cancel(self, tasks: Iterable[Task], reason: str | None, *, running: bool = True) -> None:
        """Stop the tasks; unless `running`, those that have begun go on."""
        plain: list[Task] = []
        loops: list[Task] = []
        for task in tasks:
            if task.outcome is None:
                (loops if task.coroutine else plain).append(task)
        if plain:
            self.calls.cancel(plain, reason, running)
        if loops:
            self.coroutines.cancel(loops, reason, running)

    def open_stream(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> StreamReader:
        return ProcessStreamReader(self, fn, args)

    def loop_ended(self) -> None:
        self.pool.loop_ended(self.port)
