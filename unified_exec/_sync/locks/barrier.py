"""`Barrier`: a number of tasks wait for each other, in coroutines, threads and processes."""

from __future__ import annotations

from collections import deque

from ...errors import BrokenBarrier
from ..shared.sleepers import refuse_on_loop
from .meeting import Meeting
from .tickets import BROKEN, GO, CoroutineTicket, ThreadTicket, Ticket, tell_first

_ALL = 1 << 60


class Barrier(Meeting):
    """Lets a number of tasks wait for each other: coroutines of any event loop, threads and process tasks.

    When the last one comes all go on, and the barrier serves again. Passed to a process task it becomes shared, as a
    `Channel` does.

    Args:
        parties: how many tasks wait for each other, 1 to 1000.
        name: names the barrier in errors.

    Raises:
        TypeError: `parties` is not an int.
        ValueError: it is out of range.

    If a waiter is cancelled, times out, or its process dies, the barrier is broken for all.

    Example:
        start = Barrier(3)

        def measure():                                    # in each of three process tasks
            prepare()
            start.wait_sync()
            ...
    """

    __slots__ = ("_parties",)

    kind = "a barrier"

    def __init__(self, parties: int, *, name: str | None = None) -> None:
        from ..._rules.arguments import whole

        super().__init__(name)
        self._parties = whole("Barrier(parties)", parties, 1, 1000)

    # -- for everybody

    @property
    def parties(self) -> int:
        """How many tasks wait for each other."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many wait now."""
        return self._waiting()

    @property
    def broken(self) -> bool:
        """It is broken: nobody can wait for it any more."""
        return self._is_flagged()

    def abort(self) -> None:
        """Break the barrier: those that wait, and those that come, get `BrokenBarrier`."""
        self._tell(_ALL, BROKEN, True)

    # -- waiting

    async def wait(self, *, timeout: float | None = None) -> int:
        """Wait until all parties have come.

        Args:
            timeout: the seconds to wait at most; ``None`` for no limit.

        Returns:
            how many had come before, 0 to ``parties - 1``: a different number for each.

        Raises:
            BrokenBarrier: it is broken, or was broken during the wait.
            TimeoutError: not all came within `timeout`. The barrier is broken.

        Cancelling a waiter breaks the barrier.
        """
        ticket = CoroutineTicket()
        place = self._join(ticket)
        if place < 0:
            return self._came_last()
        try:
            await self._wait(ticket, timeout)
        except BaseException:
            self._gone(ticket)
            raise
        return self._went_on(ticket, place)

    def wait_sync(self, *, timeout: float | None = None) -> int:
        """Wait in a thread or a process task until all parties have come; see `wait`.

        Raises:
            Cancelled: the task was requested to stop. The barrier is broken.
            RuntimeError: it would block the event loop that runs in this thread.
        """
        if self._parties > 1:
            refuse_on_loop("Barrier.wait_sync", "await barrier.wait()")
        ticket = ThreadTicket()
        place = self._join(ticket)
        if place < 0:
            return self._came_last()
        try:
            self._wait_sync(ticket, timeout)
        except BaseException:
            self._gone(ticket)
            raise
        return self._went_on(ticket, place)

    # -- for the meeting

    def _missed(self) -> tuple[str, str]:
        return f"the wait for {self!r} did not end", "the other parties have not come, and it is broken now"

    def _may_join(self, waiting: int, flag: bool) -> bool:
        if flag:
            raise BrokenBarrier(repr(self))
        return waiting + 1 < self._parties

    def _passed(self, tickets: deque[Ticket]) -> None:
        tell_first(tickets, _ALL, GO)

    def _came_last(self) -> int:
        return self._parties - 1

    def _went_on(self, ticket: Ticket, place: int) -> int:
        if ticket.told == BROKEN:
            raise BrokenBarrier(repr(self))
        return place

    def _gone(self, ticket: Ticket) -> None:
        if not self._leave(ticket):
            self.abort()

    def _parties_or_none(self) -> int:
        return self._parties

    @classmethod
    def _of_parties(cls, parties: int, name: str | None) -> Barrier:
        return cls(parties, name=name)

    def __repr__(self) -> str:
        return f"Barrier({self._parties})" if self._name is None else f"Barrier({self._parties}, name={self._name!r})"
