"""What pools need of an event loop: call back soon, later, or when a descriptor is readable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any


class Timer:
    """Something scheduled. Loops bring their own; only this method is used."""

    def cancel(self) -> object:
        raise NotImplementedError


class LoopAdapter(ABC):
    """What a backend needs of the loop it serves. All but `call_threadsafe` belong to the loop's own thread."""

    @abstractmethod
    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        """Run `fn(*args)` at the next turn of the loop."""

    @abstractmethod
    def call_threadsafe(self, fn: Callable[..., object], *args: Any) -> bool:
        """Like `call_soon`, from any thread; ``False`` if the loop has ended and nobody will call `fn`."""

    @abstractmethod
    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Run `fn(*args)` after `delay` seconds unless the timer is cancelled."""

    @abstractmethod
    def add_reader(self, fd: int, fn: Callable[[], object]) -> None:
        """Call `fn()` whenever `fd` is readable, until `remove_reader`."""

    @abstractmethod
    def remove_reader(self, fd: int) -> None: ...

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
        """Tell whether the loop is running, but not in the calling thread."""

    @abstractmethod
    def on_end(self, fn: Callable[[], object]) -> None:
        """Call the bound method `fn` in the loop's thread when the loop ends; not every loop tells, see `ended`.

        Held weakly: a loop may outlive many pools.
        """

    def guard(self, *classes: type) -> None:  # noqa: B027  most loops need none
        """Keep Ctrl-C out of the methods of `classes`, where the loop can raise it between any two bytecodes."""

    def deliver(self, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)`, which brings results, from a callback of the loop.

        A loop that makes a woken task wait for its next turn may resume it right after `fn` instead. So the caller
        must be as ready for any code of the user's as at its end. If several were woken they wait as ever.
        """
        fn(*args)

    @abstractmethod
    def waiter(self) -> Waiter:
        """Make something one task can wait on and any code in the loop's thread can wake."""


class Waiter(ABC):
    """Woken once; waiting is a checkpoint of the loop and can be cancelled."""

    @abstractmethod
    def wake(self) -> None: ...

    @abstractmethod
    def __await__(self) -> Generator[Any, Any, Any]: ...
