"""`Lock`: one holder at a time, in coroutines, threads and processes."""

from __future__ import annotations

from collections.abc import Awaitable
from sys import _getframe
from types import CodeType, FrameType

from ..._tasks import holders
from ..._tasks.holders import describe, has_ended, me, of_thread
from ...errors import LockAbandoned
from ..shared.calls import DONE, TURNS
from ..shared.place import line_of
from .permits import Permits


class Lock(Permits):
    """A lock that one task holds at a time: a coroutine of any event loop, a thread, or a process task.

    It belongs to the task that acquired it; a thread outside of tasks holds for itself. Only the holder releases it.
    Within a process waiters are served first come, first served. Passed to a process task it becomes shared, as a
    `Channel` does.

    Args:
        name: names the lock in errors.
        on_abandoned: what the next acquire does if the last holder ended, or its process died, without a release:
            ``"warn"`` logs a warning and sets `abandoned`, ``"raise"`` raises `LockAbandoned`.

    Cancelling a waiter, or its timeout, takes it out of the queue; the lock was not acquired.

    Example:
        lock = Lock(name="accounts")

        async def transfer():
            async with lock:
                ...

        def report():                                     # in a thread, or a process task
            with lock:
                ...
    """

    __slots__ = ("_abandoned", "_at", "_code", "_holder")

    forms = "Lock.acquire_sync|await lock.acquire()` or `async with lock"

    def __init__(self, *, name: str | None = None, on_abandoned: str = "warn") -> None:
        super().__init__(1, on_abandoned, name)
        self._abandoned = False
        self._holder: object = None
        self._code: CodeType | None = None
        self._at = 0

    # -- for everybody

    @property
    def abandoned(self) -> bool:
        """The last holder had ended without releasing it. False again once it is released."""
        return self._abandoned

    def locked(self) -> bool:
        """Tell whether anybody holds it, in any process."""
        shared = self._shared
        return self._holder is not None or (not self._free if shared is None else shared.all_taken())

    def release(self) -> None:
        """Release the lock.

        Raises:
            RuntimeError: the caller does not hold it; the message names who does.
        """
        try:
            holder = (of_thread.holder if holders.running_loop() is None else None) or me()
            if self._holder is not holder:
                raise self._not_held()
            self._abandoned = False
            self._holder = None
            self._free.append(0)
            if self._slow:
                self._pass_on(holder)
        except BaseException as error:
            self._interrupted(error)
            raise

    # -- in a coroutine

    def __aenter__(self) -> Awaitable[None]:
        if self._slow or self._turns >= TURNS:
            return self._enter(_getframe(1))
        self._turns += 1
        try:
            holder = holders.current_coroutine()
        except RuntimeError:
            holder = me()
        frame = _getframe(1)
        try:
            del self._free[0]  # no signal is handled from here to the return
        except IndexError:
            return self._enter(frame)
        self._holder = holder
        self._code = frame.f_code
        self._at = frame.f_lasti
        return DONE

    async def _enter(self, frame: FrameType) -> None:
        try:
            await self._acquire(frame, None)
        except LockAbandoned:
            self.release()
            raise

    def __aexit__(self, kind: object, error: object, traceback: object) -> Awaitable[None]:
        try:
            try:
                holder = holders.current_coroutine()
            except RuntimeError:
                holder = me()
            if self._holder is not holder:
                raise self._not_held()
            self._abandoned = False
            self._holder = None
            self._free.append(0)
            if self._slow:
                self._pass_on(holder)
        except BaseException as error:
            self._interrupted(error)
            raise
        return DONE

    # -- in a thread or a process task

    def __enter__(self) -> None:
        frame = _getframe(1)
        if not self._slow:
            holder = (of_thread.holder if holders.running_loop() is None else None) or me()
            try:
                del self._free[0]  # no signal is handled from here to the return
            except IndexError:
                pass
            else:
                self._holder = holder
                self._code = frame.f_code
                self._at = frame.f_lasti
                return
        self._enter_sync(frame)

    def _enter_sync(self, frame: FrameType) -> None:
        try:
            self._acquire_sync(me(), frame, None)
        except LockAbandoned:
            self.release()
            raise

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            holder = (of_thread.holder if holders.running_loop() is None else None) or me()
            if self._holder is not holder:
                raise self._not_held()
            self._abandoned = False
            self._holder = None
            self._free.append(0)
            if self._slow:
                self._pass_on(holder)
        except BaseException as error:
            self._interrupted(error)
            raise

    # -- for the queue

    def _note(self, number: int, holder: object, code: CodeType, at: int) -> None:
        self._code = code
        self._at = at
        self._holder = holder

    def _permits_of(self, holder: object) -> int:
        return int(self._holder is holder)

    def _put_back(self, holder: object) -> None:
        self._abandoned = False
        self._holder = None
        self._free += (0,)
        self._pass_on(holder)

    def _take_from_ended(self, holder: object, code: CodeType, at: int) -> str | None:
        last = self._holder
        if last is None or not has_ended(last):
            return None
        text = f"{describe(last)} (acquired at {line_of(self._code, self._at)})"
        self._note(0, holder, code, at)
        return text

    def _may_wait(self, holder: object) -> None:
        if self._holder is holder:
            raise RuntimeError(
                f"{describe(holder)} holds {self!r} already, since {line_of(self._code, self._at)}; use RLock() if one "
                "task may acquire it again"
            )

    def _set_abandoned(self) -> None:
        self._abandoned = True

    @classmethod
    def _of_total(cls, total: int, name: str | None) -> Lock:
        return cls(name=name)

    def _forget_holders(self) -> None:
        self._holder = None

    def holds(self) -> list[tuple[object, str]]:
        holder = self._holder
        return [] if holder is None else [(holder, line_of(self._code, self._at))]

    def holder_ended(self, holder: object) -> None:
        shared = self._shared
        if shared is not None and self._holder is holder:
            self._holder = None
            shared.give([0], abandoned=True)

    # -- for `Condition`

    def _is_mine(self) -> bool:
        return self._holder is me()

    def _release_all(self) -> int:
        """Release it however often it was acquired; returns what `_acquired_again` needs."""
        self.release()
        return 0

    def _acquired_again(self, count: int) -> None:
        """It was acquired after a `_release_all`."""

    # -- for errors

    def _held_by(self) -> str:
        holder = self._holder
        if holder is not None:
            return f"held by {describe(holder)} since {line_of(self._code, self._at)}"
        shared = self._shared
        others = [] if shared is None else shared.holders()
        return f"held by {others[0]}" if others else "not held by anybody"

    def _not_held(self) -> RuntimeError:
        return RuntimeError(f"{describe(me())} cannot release {self!r}: it is {self._held_by()}")
