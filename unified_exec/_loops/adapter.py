"""What pools need of an event loop: call back soon, later, or when a descriptor is readable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyio import CancelScope


class Timer:
    """A scheduled call. Each loop has its own class; only this method is used."""

    def cancel(self) -> object:
        raise NotImplementedError


def call_later_apart(adapter: LoopAdapter, delay: float, fn: Callable[..., object], *args: Any) -> Timer:
    """Like `LoopAdapter.call_later`, in an empty context: a timer that outlives the request which started it must not
    keep what that had in its context. A cancelled timer may: asyncio forgets it once it is the next one due."""
    return Context().run(adapter.call_later, delay, fn, *args)


class LoopAdapter(ABC):
    """What a backend needs of an event loop. For the loop's own thread, except where a method says otherwise.

    Attributes:
        kind: what the event loop is: ``"asyncio"``, ``"uvloop"``, ``"trio"``, ...
        watched: a timer looks for deadlocks of its coroutines.
    """

    kind = "other"
    watched = False

    @abstractmethod
    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        """Run `fn(*args)` in the next iteration of the loop."""

    @abstractmethod
    def call_threadsafe(self, fn: Callable[..., object], *args: Any) -> bool:
        """Like `call_soon`, from any thread; ``False`` if the loop has ended and `fn` will not be called."""

    @abstractmethod
    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Run `fn(*args)` after `delay` seconds unless the timer is cancelled."""

    @abstractmethod
    def add_reader(self, fd: int, fn: Callable[[], object]) -> None:
        """Call `fn()`, in an empty context, whenever `fd` is readable, until `remove_reader`."""

    @abstractmethod
    def remove_reader(self, fd: int) -> None: ...

    def is_cancelled(self, scope: CancelScope) -> bool:
        """Tell, from any thread, whether `scope` or one around it was cancelled, delivered to its tasks or not yet."""
        return scope.cancel_called

    def check_readers(self) -> None:  # noqa: B027  most loops have readers
        """Check that `add_reader` works on this loop.

        Raises:
            WorkerStartError: it does not, so the loop cannot use worker processes.
        """

    @abstractmethod
    def ended(self) -> bool:
        """Tell, from any thread, whether the loop will never run again."""

    @abstractmethod
    def elsewhere(self) -> bool:
        """Tell, from any thread, whether the loop is running in another thread than the caller's."""

    @abstractmethod
    def on_end(self, fn: Callable[[], object]) -> None:
        """Call the bound method `fn` in the loop's thread when the loop ends; not every loop can, see `ended`.

        `fn` is referenced weakly: a loop may outlive many pools.
        """

    def guard(self, *classes: type) -> None:  # noqa: B027  most loops need none
        """Keep Ctrl-C out of the methods of `classes`, where the loop can raise it between any two bytecodes."""

    def on_second_ctrl_c(self, fn: Callable[[], object]) -> Callable[[], object]:
        """Call `fn` in the loop's thread at the second Ctrl-C from now on, if this loop itself would wait on for ever;
        returns a function that ends this."""
        return int

    def deliver(self, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)`, which delivers results, from a callback of the loop.

        A loop that would resume a woken task only in its next iteration may resume it right after `fn` instead, so any
        user code may run before this returns. If several tasks were woken, they wait for the next iteration.
        """
        fn(*args)

    def current_task(self) -> object:
        """Return the running task, to be compared with `is`; ``None`` if the loop has no tasks."""
        return None

    def task_has_ended(self, task: object) -> bool:
        """Tell whether a task that `current_task` returned has ended; ``False`` if that is not known."""
        return False

    def tasks(self) -> list[Any]:
        """Return the tasks of the loop, from any thread; those that begin or end meanwhile may be missing."""
        return []

    @abstractmethod
    def waiter(self) -> Waiter:
        """Return something that one task can wait for and any code in the loop's thread can wake."""


class Waiter(ABC):
    """Woken once; waiting is a checkpoint of the loop and can be cancelled."""

    @abstractmethod
    def wake(self) -> None: ...

    @abstractmethod
    def __await__(self) -> Generator[Any, Any, Any]: ...
