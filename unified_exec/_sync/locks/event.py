"""`Event`: a flag that tasks wait for, in coroutines, threads and processes."""

from __future__ import annotations

from ..shared.sleepers import refuse_on_loop
from .meeting import Meeting
from .tickets import GO, CoroutineTicket, ThreadTicket

_ALL = 1 << 60


class Event(Meeting):
    """A flag that any task sets, and that others wait for: coroutines of any event loop, threads and process tasks.

    Passed to a process task it becomes shared, as a `Channel` does.

    Args:
        name: names the event in errors.

    Example:
        ready = Event()

        async def serve():
            await ready.wait()
            ...

        def load(path):                                   # in a process task
            ...
            ready.set()
    """

    __slots__ = ()

    kind = "an event"

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name)

    def is_set(self) -> bool:
        """Tell whether it is set."""
        return self._is_flagged()

    def set(self) -> None:
        """Set it. All that wait go on, also if it is cleared right after."""
        self._tell(_ALL, GO, True)

    def clear(self) -> None:
        """Clear it: from now on `wait` waits."""
        self._tell(0, GO, False)

    async def wait(self, *, timeout: float | None = None) -> None:
        """Wait until the event is set.

        Args:
            timeout: the seconds to wait at most; ``None`` for no limit.

        Raises:
            TimeoutError: it was not set within `timeout`.
        """
        if self._is_flagged():
            return
        ticket = CoroutineTicket()
        if self._join(ticket) < 0:
            return
        try:
            await self._wait(ticket, timeout)
        except Exception:
            if not self._leave(ticket):
                raise
        except BaseException:
            self._leave(ticket)
            raise

    def wait_sync(self, *, timeout: float | None = None) -> None:
        """Wait in a thread or a process task until the event is set; see `wait`.

        Raises:
            Cancelled: the task was requested to stop.
            RuntimeError: it would block the event loop that runs in this thread.
        """
        if self._is_flagged():
            return
        refuse_on_loop("Event.wait_sync", "await event.wait()")
        ticket = ThreadTicket()
        if self._join(ticket) < 0:
            return
        try:
            self._wait_sync(ticket, timeout)
        except TimeoutError:
            if not self._leave(ticket):
                raise
        except BaseException:
            self._leave(ticket)
            raise

    @classmethod
    def _of_parties(cls, parties: int, name: str | None) -> Event:
        return cls(name=name)

    def _missed(self) -> tuple[str, str]:
        return f"the wait for {self!r} did not end", "nobody has set it"

    def _may_join(self, waiting: int, flag: bool) -> bool:
        return not flag
