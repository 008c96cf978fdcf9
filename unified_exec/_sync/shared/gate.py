"""How an operation on a shared channel or lock runs: with the seat busy, and past the gate.

The threads of a process share one seat, under one lock; one of them has a word of its own there for what is done most
often, and needs no lock for that. A signal handler may raise in the main thread after any call,
Ctrl-C first of all. The lock and the seat are given back then. A number that was read from a pipe may be in nobody's
hands: a word of the page asks for an audit, which puts it back.
"""

from __future__ import annotations

import time
from _thread import RLock
from collections.abc import Callable
from typing import Any

from . import seats
from .seats import DUE, GATE, IN_USE

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
        _rest: the state between operations: what the process has in its hands.
    """

    __slots__ = ()
    memory: seats.Page
    words: memoryview
    _lock: RLock
    _state: int
    _rest: int

    def look_for_dead(self, patience: float = PATIENCE) -> bool:
        """Give back what dead processes held; ``False`` if that must be tried again."""
        raise NotImplementedError

    def _give_back(self, dead: list[int]) -> None:
        """Give back what the processes of these seats had in their hands; see `seats.audit`."""
        raise NotImplementedError

    def _in_turn(self, step: Callable[[Any], Any], argument: Any) -> Any:
        """Call a step with the lock held, the seat busy, and the gate open.

        Raises:
            RuntimeError: this code has interrupted such a step in its own thread.
        """
        words = self.words
        with self._lock:
            if words[self._state] & IN_USE:
                raise seats.used_by_interrupted(self.memory.kind)
            words[self._state] = self._rest + IN_USE  # first: who shuts the gate looks at it then
            try:
                if words[GATE]:
                    self._wait_for_gate(self._state, self._rest)
                return step(argument)
            except BaseException:
                words[DUE] = 1
                raise
            finally:
                words[self._state] = self._rest

    def _wait_for_gate(self, at: int, rest: int) -> None:
        """Be busy no more until the gate is open: the word `at` of the seat is `rest` then."""
        words = self.words
        while words[GATE]:
            words[at] = rest
            since = time.monotonic()
            while words[GATE]:
                time.sleep(_SHUT_PAUSE)
                if time.monotonic() - since > _GATE_STUCK:
                    seats.audit(self.memory, PATIENCE, self._give_back)
                    since = time.monotonic()
            words[at] = rest + IN_USE

    def _audit(self, patience: float) -> bool:
        """Audit if a process died in an operation, or was interrupted, or an audit was begun and not ended."""
        if not seats.audit_is_due(self.memory):
            return True
        with self._lock:
            return seats.audit(self.memory, patience, self._give_back)
