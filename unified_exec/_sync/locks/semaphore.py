"""`Semaphore`: at most n holders at a time, in coroutines, threads and processes."""

from __future__ import annotations

from sys import _getframe
from types import CodeType

from ..._tasks.holders import describe, has_ended, me
from ...errors import LockAbandoned
from ..shared.place import line_of
from .permits import Permits

_MAX = 4096


class Semaphore(Permits):
    """Lets a number of tasks in at a time: coroutines of any event loop, threads and process tasks.

    A permit belongs to the task that acquired it; one task may have several. It comes back when its holder ends, or its
    process dies, without a release. To signal another task use `Event` or a `Channel`.

    Args:
        permits: how many there are, 1 to 4096.
        name: names the semaphore in errors.
        on_abandoned: what the acquire of a permit does whose holder ended without a release: ``"warn"`` logs a
            warning, ``"raise"`` raises `LockAbandoned`.

    Raises:
        TypeError: `permits` is not an int.
        ValueError: it is out of range.

    Cancelling a waiter, or its timeout, takes it out of the queue; it has no permit.

    Example:
        licences = Semaphore(2)

        def render(scene):                                # in process tasks
            with licences:
                ...
    """

    __slots__ = ("_held",)

    kind = "a semaphore"
    forms = "Semaphore.acquire_sync|await semaphore.acquire()` or `async with semaphore"

    def __init__(self, permits: int, *, name: str | None = None, on_abandoned: str = "warn") -> None:
        from ..._rules.arguments import whole

        super().__init__(whole("Semaphore(permits)", permits, 1, _MAX), on_abandoned, name)
        self._held: dict[object, list[tuple[int, CodeType, int]]] = {}

    # -- for everybody

    @property
    def available(self) -> int:
        """How many permits are free."""
        shared = self._shared
        return len(self._free) if shared is None else shared.free_permits()

    def locked(self) -> bool:
        """Tell whether no permit is free."""
        return not self.available

    def release(self) -> None:
        """Give a permit back.

        Raises:
            RuntimeError: the caller has none; the message names who has.
        """
        self.__exit__(None, None, None)

    # -- in a coroutine

    async def __aenter__(self) -> None:
        try:
            await self._acquire(_getframe(1), None)
        except LockAbandoned:
            self.release()
            raise

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        self.release()

    # -- in a thread or a process task

    def __enter__(self) -> None:
        try:
            self._acquire_sync(me(), _getframe(1), None)
        except LockAbandoned:
            self.release()
            raise

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        had = 0
        try:
            holder = me()
            had = len(self._held.get(holder, ()))
            if not had:
                words = f"{describe(holder)} cannot release {self!r}: it has no permit; it is {self._held_by()}"
                raise RuntimeError(words)
            self._put_back(holder)
        except BaseException as raised:
            self._interrupted(raised, had)
            raise

    # -- for the queue

    def _note(self, number: int, holder: object, code: CodeType, at: int) -> None:
        held = self._held.setdefault(holder, [])
        held += ((number, code, at),)

    def _permits_of(self, holder: object) -> int:
        return len(self._held.get(holder, ()))

    def _put_back(self, holder: object) -> None:
        held = self._held[holder]
        number = held[-1][0]
        del held[-1]
        self._free += (number,)
        if not held:
            del self._held[holder]
        if self._slow:
            self._pass_on(holder)

    def _take_from_ended(self, holder: object, code: CodeType, at: int) -> str | None:
        for last, held in list(self._held.items()):
            if held and has_ended(last):
                number, where, line = held.pop()
                if not held:
                    del self._held[last]
                self._note(number, holder, code, at)
                return f"{describe(last)} (acquired at {line_of(where, line)})"
        return None

    def _may_wait(self, holder: object) -> None:
        pass

    def _set_abandoned(self) -> None:
        pass

    @classmethod
    def _of_total(cls, total: int, name: str | None) -> Semaphore:
        return cls(total, name=name)

    def _forget_holders(self) -> None:
        self._held.clear()

    def holds(self) -> list[tuple[object, str]]:
        return [(holder, line_of(code, at)) for holder, held in list(self._held.items()) for _, code, at in list(held)]

    def holder_ended(self, holder: object) -> None:
        shared = self._shared
        if shared is not None:
            shared.give([number for number, _, _ in self._held.pop(holder, ())], abandoned=True)

    def _held_by(self) -> str:
        shared = self._shared
        names = sorted({describe(holder) for holder in list(self._held)}) if shared is None else shared.holders()
        return f"held by {', '.join(names)}" if names else "not held by anybody"

    def __repr__(self) -> str:
        return f"Semaphore({self.total})" if self._name is None else f"Semaphore({self.total}, name={self._name!r})"
