"""The contract between a scope and whatever runs its tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from ._loops.adapter import LoopAdapter
from ._tasks.task import Task


class Capabilities:
    """What a backend can do; rules ask for these, never for names.

    Attributes:
        interrupt: it can raise inside running Python code without ending the worker.
        kill: it can end work that does not react.
        isolated: arguments and results are copies; a crash stays in the worker.
        coroutines: it runs coroutine functions.
    """

    __slots__ = ("coroutines", "interrupt", "isolated", "kill")

    def __init__(self, *, interrupt: bool, kill: bool, isolated: bool, coroutines: bool) -> None:
        self.interrupt = interrupt
        self.kill = kill
        self.isolated = isolated
        self.coroutines = coroutines


class Lane(ABC):
    """One pool as one event loop sees it. Every method is called in that loop's thread and returns at once.

    A lane settles each task it was given exactly once, in the loop's thread (see `Task.settle`), and never
    calls back from inside `submit`.
    """

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Take the task and run it as soon as a worker is free.

        Raises:
            PoolClosed: the pool takes no more work.
        """

    def prepare(self, task: Task) -> None:  # noqa: B027  not every lane has something to prepare
        """Do what of `submit` must be done at once, in the caller: it is followed by `enqueue`, maybe much later. What
        it leaves in `backend_data` may be given to another task with the same call.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the call cannot travel.
        """

    def enqueue(self, task: Task) -> None:
        """Do the rest of `submit`.

        Raises:
            PoolClosed: the pool takes no more work.
        """
        self.submit(task)

    @abstractmethod
    def cancel(self, tasks: Iterable[Task], reason: str | None) -> None:
        """Stop the tasks: those that have not started are settled as cancelled at once, the rest are asked.

        What a task returned all the same is kept. Tasks that are done are passed over.
        """

    def give_credit(self, task: Task, count: int) -> None:
        """Allow a running task so many more messages; 0 asks for what it has gathered.

        Raises:
            NotImplementedError: tasks of this backend take no credit.
        """
        raise NotImplementedError


class Backend(ABC):
    """A pool of workers that any number of event loops share."""

    kind: str
    capabilities: Capabilities

    @abstractmethod
    def lane(self, port: LoopAdapter) -> Lane:
        """Return the lane of this pool for the loop behind `port`; the same one each time.

        Raises:
            PoolClosed: the pool is closed.
        """
