"""One face for every event loop: call back soon, later, or when a descriptor is readable.

The loops themselves are imported when one of them runs: importing this package must not cost that.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
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


at_first_port: Callable[[LoopAdapter], object] | None = None
"""Called once, in the thread of the first event loop that a port is made for."""
_asyncio_ports: dict[Any, LoopAdapter] = {}
_lock = allocate_lock()
_trio_ports: Any = None  # a trio.lowlevel.RunVar[Port]


def current_port() -> LoopAdapter:
    """Return the port of the running event loop; the same one each time for the same run.

    Raises:
        RuntimeError: no asyncio or trio event loop runs in this thread.
    """
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    if loop is None:
        return _current_trio_port()
    port = _asyncio_ports.get(loop)
    if port is None:
        from .asyncio_loop import AsyncioAdapter

        with _lock:
            for other in [known for known in _asyncio_ports if known.is_closed()]:
                del _asyncio_ports[other]
            port = _asyncio_ports[loop] = AsyncioAdapter(loop)
        _first(port)
    return port


def _current_trio_port() -> LoopAdapter:
    global _trio_ports
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        raise RuntimeError("no event loop is running: call this from inside anyio.run(...) or asyncio.run(...)")
    if _trio_ports is None:
        _trio_ports = trio.lowlevel.RunVar("unified_exec_port")
    port: LoopAdapter | None = _trio_ports.get(None)
    if port is None:
        from .trio_loop import TrioAdapter

        port = TrioAdapter()
        _trio_ports.set(port)
        _first(port)
    return port


def _first(port: LoopAdapter) -> None:
    global at_first_port
    tell, at_first_port = at_first_port, None
    if tell is not None:
        tell(port)
