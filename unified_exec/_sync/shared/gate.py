"""How an operation on a shared channel or lock enters and leaves: with the seat busy, and past the gate.

The threads of a process share one seat, under one lock.
"""

from __future__ import annotations

import time
from _thread import LockType
from collections.abc import Callable
from typing import Any

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
        _rest: the state between operations.
        _gate: the number of the gate at the last operation.
    """

    __slots__ = ()
    memory: seats.Page
    words: memoryview
    _lock: LockType
    _state: int
    _rest: int
    _gate: int

    def look_for_dead(self, patience: float = PATIENCE) -> bool:
        """Give back what dead processes held; ``False`` if that must be tried again."""
        raise NotImplementedError

    def _busy(self, step: Callable[..., Any], *args: Any) -> Any:
        """Run a step of an operation with the lock held, the state "busy", and the gate open.

        An error in its midst, such as Ctrl-C, may leave a number in no pipe: the next audit finds where it belongs, and
        the gate is shut until then.
        """
        words, state = self.words, self._state
        while True:
            with self._lock:
                try:
                    words[state] = self._rest | IN_USE
                    if words[GATE] == self._gate or self._passes():
                        return step(*args)
                except BaseException:
                    words[GATE] |= 1
                    raise
                finally:
                    words[state] = self._rest
            self._wait_for_gate()

    def _passes(self) -> bool:
        """The gate has another number. Tell whether it is open; then what was kept is lost."""
        gate = self.words[GATE]
        if gate & 1:
            return False
        self._gate = gate  # type: ignore[misc]  # of a subclass
        return True

    def _wait_for_gate(self) -> None:
        since = time.monotonic()
        while self.words[GATE] & 1:
            time.sleep(_SHUT_PAUSE)
            if time.monotonic() - since > _GATE_STUCK:
                self.look_for_dead()
                since = time.monotonic()

    def _audit(self, patience: float, give_back: Callable[[list[int]], None], force: bool = False) -> bool:
        """Audit if a process died in an operation, or an audit was begun and not ended; see `seats.audit`."""
        dead = seats.find_dead(self.memory)
        if not dead and not force and not seats.audit_is_due(self.memory):
            return True
        with self._lock:
            return seats.audit(self.memory, dead, patience, give_back, force)
