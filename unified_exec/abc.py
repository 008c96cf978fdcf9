"""The contract between a scope and what runs its tasks: a new backend implements `Backend` and `Lane`.

A backend states in `Backend.capabilities` what it can do. Rules ask for a capability and never compare names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ._loops.adapter import LoopAdapter
from ._tasks.task import Task
from ._tasks.types import Outcome


class Capabilities:
    """What a backend can do; immutable. Everything is ``False`` unless stated.

    Attributes:
        coroutines: it runs coroutine functions.
        streams: it runs generators whose items arrive one after another, see `Lane.open_stream`; with `coroutines` also
            async generators.
        interrupt: it can raise `Cancelled` inside running Python code without ending the worker.
        kill: it can end a running call that does not react to cancellation. Every cancelled call is then interrupted
            and, after the grace, killed; without it threads interrupt a call only if its task asks for that with
            ``interrupt=True``, and interpreters always do.
        abandon: a scope may go on without a running call, see ``abandon=True``.
        copies: arguments and results are pickled, so a call may be refused (`SerializationError`) and what it changes
            is not seen by the caller.
        isolated: the workers are processes: a crash fails one task, and `Task.worker` is a process id.
    """

    __slots__ = ("abandon", "copies", "coroutines", "interrupt", "isolated", "kill", "streams")

    coroutines: bool
    streams: bool
    interrupt: bool
    kill: bool
    abandon: bool
    copies: bool
    isolated: bool

    def __init__(
        self,
        *,
        coroutines: bool = False,
        streams: bool = False,
        interrupt: bool = False,
        kill: bool = False,
        abandon: bool = False,
        copies: bool = False,
        isolated: bool = False,
    ) -> None:
        values = (abandon, copies, coroutines, interrupt, isolated, kill, streams)
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"capabilities of a backend are fixed, cannot set {name!r}")

    def __repr__(self) -> str:
        return f"Capabilities({', '.join(f'{name}=True' for name in self.__slots__ if getattr(self, name))})"


class StreamReader(ABC):
    """The consumer's end of a generator that runs as a task. Every method is called in the loop's thread.

    The opener makes a task of `fn` and `args`, sets `task`, submits it to the lane, and passes each message of the
    task to `on_message`.

    Attributes:
        fn: the function for the task to run.
        args: its arguments.
        items: the items that have arrived and were not taken yet.
        task: the task, set before it is submitted.
        error: why items that were sent could not be rebuilt here; those after them do not arrive.
    """

    error: Exception | None = None
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    items: deque[Any]
    task: Task

    @abstractmethod
    def on_message(self, message: Any) -> bool:
        """Take a message of the task; returns whether the consumer is to be woken, since items have arrived."""

    def item_taken(self) -> None:  # noqa: B027  optional
        """Note that one item was taken out of `items`."""

    def has_item(self) -> bool:
        """Tell whether there is an item to take; called before each wait for one, so it may also ask for items."""
        return bool(self.items)

    def flush(self) -> None:  # noqa: B027  optional
        """Ask the generator to send the items it has gathered so far: the consumer has been waiting for a while."""

    def is_complete(self, outcome: Outcome[Any]) -> bool:
        """Tell whether every item has arrived that the generator yielded before it ended with `outcome`."""
        return True


class Lane(ABC):
    """One pool as one event loop sees it. Every method is called in that loop's thread and returns at once.

    A lane settles each submitted task exactly once, in the loop's thread (see `Task.settle`), and never from inside
    `submit`.
    """

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Queue the task; it runs as soon as a worker is free.

        Raises:
            PoolClosed: the pool is closed.
            SerializationError: the function or an argument cannot be pickled (where `Capabilities.copies`).
        """

    def prepare(self, task: Task) -> object:
        """Do the first half of `submit`, which must happen in the caller (pickling), and return its result.

        The result is for `enqueue`, which may follow much later, and more than once: with this task, or with another
        that has the same function and arguments.

        Raises:
            PoolClosed: the pool is closed.
            SerializationError: the function or an argument cannot be pickled.
        """
        return None

    def enqueue(self, task: Task, prepared: object) -> None:
        """Do the second half of `submit` with the result of `prepare`.

        Raises:
            PoolClosed: the pool is closed.
        """
        self.submit(task)

    @abstractmethod
    def cancel(self, tasks: Iterable[Task], reason: str | None) -> None:
        """Cancel the tasks: a queued one is settled as cancelled at once, a running one is asked to stop.

        If a task returns a value nevertheless, the value is kept. Tasks that are done are skipped.
        """

    def abandon(self, task: Task) -> None:  # noqa: B027  only what cannot be stopped is abandoned
        """Settle a task as cancelled that was asked to stop and has not: Ctrl-C was pressed again and again."""

    def open_stream(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> StreamReader:
        """Prepare a task that runs the generator function `fn` and sends its items (where `Capabilities.streams`).

        Args:
            fn: a generator function, or an async one where `Capabilities.coroutines`.
            args: its positional arguments.

        Raises:
            NotImplementedError: the backend cannot stream.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot stream the items of a generator")


class Backend(ABC):
    """A pool of workers that any number of event loops share.

    Attributes:
        kind: what `Task.backend` says of its tasks: ``"thread"``, ``"process"``, ... Shown to users; no rule reads it.
        capabilities: what it can do.
        max_workers: how many tasks it runs at the same time.
    """

    kind: str
    capabilities: Capabilities
    max_workers: int

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it takes no more tasks."""

    @abstractmethod
    def lane(self, adapter: LoopAdapter) -> Lane:
        """Return the lane of this pool for the loop of `adapter`; always the same one.

        Raises:
            PoolClosed: the pool is closed.
        """

    @abstractmethod
    def close(self) -> None:
        """Take no more tasks, and release the workers once they have none. Does nothing if it is closed."""

    @abstractmethod
    async def aclose(self) -> None:
        """Like `close`, and wait for the running tasks without blocking the event loop."""

    def describe(self) -> str:
        """Return one line for errors and listings: what it is, how large, and whether it is closed."""
        return f"<{type(self).__name__} max_workers={self.max_workers}{' closed' if self.closed else ''}>"

    def __repr__(self) -> str:
        return self.describe()


class ProcessBackend(Backend):
    """A backend whose workers are processes, on this machine or elsewhere: what ``TaskScope(processes=...)`` takes.

    Attributes:
        grace: seconds between requesting a running task to stop and killing its worker.
    """

    kind = "process"
    grace: float

    def alone(self, name: str, grace: float | None) -> ProcessBackend:
        """Return a backend of one worker, for an actor. It starts as those of this one, and never retires.

        Args:
            name: shown in errors.
            grace: its grace; that of this backend if it is ``None``.

        Raises:
            ValueError: actors cannot run here.
        """
        raise ValueError(f'{self!r} cannot run an actor: use on="process" or a ProcessPool')

    def kill(self) -> None:
        """Stop every worker at once."""
