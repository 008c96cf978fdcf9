"""The tickets of coroutines and threads that wait for an event, a condition or a barrier."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from ..shared.sleepers import LoopSleeper, ThreadSleeper

GO, BROKEN = 1, 2
"""What a ticket is told."""


class ThreadTicket(ThreadSleeper):
    """A thread that waits.

    Attributes:
        told: 0, `GO` or `BROKEN`.
        row: of the shared form, -1 in the local one.
    """

    __slots__ = ("row", "told")

    def __init__(self) -> None:
        super().__init__()
        self.told = 0
        self.row = -1


class CoroutineTicket(LoopSleeper):
    """A coroutine that waits; see `ThreadTicket`."""

    __slots__ = ("row", "told")

    def __init__(self) -> None:
        super().__init__()
        self.told = 0
        self.row = -1


Ticket: TypeAlias = ThreadTicket | CoroutineTicket


def tell_first(tickets: deque[Ticket], count: int, told: int) -> int:
    done = 0
    while tickets and done < count:
        ticket = tickets.popleft()
        ticket.told = told
        done += ticket.wake()  # not if its event loop has ended
    return done
