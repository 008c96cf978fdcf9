"""A process pool as one event loop sees it: pickles in the caller, then hands over to the crew that can run it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..._loops.adapter import LoopAdapter
from ..._rules.dispatch import is_async
from ..._tasks.task import Task
from ..._wire.pickling.functions import encode_call
from ...abc import Lane
from .dispatcher import Dispatcher
from .worker import Worker

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
        self.prepare(task)
        self.enqueue(task)

    def prepare(self, task: Task) -> None:
        """Pickle the call; in any thread.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the function or an argument cannot travel.
        """
        if self.pool.guarded:
            self.pool.admit()
        fn, args = task.fn, task.args
        assert fn is not None and args is not None  # noqa: PT018
        call = task.backend_data = encode_call(fn, args)
        coroutine = call.card.coroutine
        if coroutine is None:
            coroutine = call.card.coroutine = is_async(fn)
        task.coroutine = coroutine

    def enqueue(self, task: Task) -> None:
        """Send or queue a task that was prepared; in the loop's thread.

        Raises:
            PoolClosed: the pool was closed since.
        """
        if self.pool.guarded:
            self.pool.admit()
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

    def give_credit(self, task: Task, count: int) -> None:
        if isinstance(task.location, Worker):
            task.location.give_credit(task.id, count)
            if not count:
                task.location.ring()

    def loop_ended(self) -> None:
        self.pool.loop_ended(self.port)
