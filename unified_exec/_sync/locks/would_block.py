"""What `acquire_nowait` raises. A module of its own: only who meets this error imports anyio."""

from __future__ import annotations

from anyio import WouldBlock

from ...errors import UnifiedExecError


class LockTaken(UnifiedExecError, WouldBlock):
    """`acquire_nowait` found a lock or a semaphore taken.

    Args:
        lock: the lock, as its ``repr`` names it.
        state: who holds it.
    """

    def __init__(self, lock: str, state: str) -> None:
        super().__init__(lock, state)
        self.lock = lock
        self.state = state

    def __str__(self) -> str:
        return f"{self.lock} is {self.state}; wait with `await lock.acquire()` or, in a thread, lock.acquire_sync()"
