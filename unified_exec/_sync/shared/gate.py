"""How an operation on a shared channel or lock enters and leaves: with the seat busy, and past the gate.

The threads of a process share one seat, under one lock.
"""

from __future__ import annotations

import time
from _thread import LockType
from collections.abc import Callable

from . import seats
from .seats import GATE, IN_USE

__all__ = ["PATIENCE", "Gated"]

PATIENCE = 1.0
"""Seconds that an audit waits for living processes that are busy."""
_GATE_STUCK = 0.02
"""Seconds at a shut gate after which a waiter finds out whether the auditor has died."""
_SHUT_PAUSE = 0.0002


class Gated:
    """A participant in a shared channel or lock. Subclasses have the attributes.

    Attributes:
        memory: the page, with whatever belongs to it.
        words: the words of the page.
        _lock: of the seat of this process.
        _state: the word that holds the state of the seat.
    """

    __slots__ = ()
    memory: seats.Page
    words: memoryview
    _lock: LockType
    _state: int

    def look_for_dead(self, patience: float = PATIENCE) -> bool:
        """Give back what dead processes held; ``False`` if that must be tried again."""
        raise NotImplementedError

    def _enter(self) -> None:
        """Take the lock and the state "busy", with the gate open. The caller leaves by `_exit`, also if it raises."""
        words = self.words
        while True:
            self._lock.acquire()
            words[self._state] += IN_USE
            if not words[GATE]:
                return
            self._exit()
            self._wait_for_gate()

    def _exit(self) -> None:
        raise NotImplementedError

    def _wait_for_gate(self) -> None:
        since = time.monotonic()
        while self.words[GATE]:
            time.sleep(_SHUT_PAUSE)
            if time.monotonic() - since > _GATE_STUCK:
                self.look_for_dead()
                since = time.monotonic()

    def _audit(self, patience: float, give_back: Callable[[list[int]], None]) -> bool:
        """Audit if a process died in an operation, or an audit was begun and not ended; see `seats.audit`."""
        dead = seats.find_dead(self.memory)
        if not dead and not seats.audit_is_due(self.memory):
            return True
        with self._lock:
            return seats.audit(self.memory, dead, patience, give_back)
