"""Waiting for a permit in coroutines and threads, and how a lock becomes shared."""

from __future__ import annotations

import os
from sys import _getframe
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from ..._tasks.current import INF, current, sleepers
from ..._tasks.fork_lock import in_forked_child
from ..._tasks.holders import me
from ..._tasks.loaded import loaded
from ...errors import LockAbandoned
from .. import waits
from ..deadlocks import look as deadlocks
from ..deadlocks import order, patrol
from ..deadlocks.known import all_locks
from ..shared.calls import TURNS, check_cancelled, end_of, give_turn, timed_out, within
from ..shared.sleepers import refuse_on_loop
from ..shared.travel import SharedFormBase
from .permit_queue import PermitQueue
from .queue import LOOK, LOOK_AGAIN, LOOK_LATE, CoroutineInQueue, ThreadInQueue, sleep

if TYPE_CHECKING:
    from .shared_permits import SharedPermits


class Permits(PermitQueue):
    """Permits that coroutines and threads wait for, and that go to processes."""

    __slots__ = ()

    forms: str
    """The blocking form, and what a coroutine uses instead of it."""

    def acquire_nowait(self) -> None:
        """Acquire the lock, or a permit of the semaphore, if it is free now.

        Raises:
            LockTaken: it is not.
            LockAbandoned: see the class.
        """
        if not self._acquire_now(me(), _getframe(1)):
            raise self._taken()

    async def acquire(self, *, timeout: float | None = None) -> None:
        """Acquire the lock, or a permit of the semaphore; wait until it is free.

        Args:
            timeout: the seconds to wait at most; ``None`` for no limit.

        Raises:
            TimeoutError: it was not free within `timeout`.
            LockAbandoned: see the class. The caller holds it.
            RuntimeError: the caller holds the lock already.

        If the caller is cancelled, it was not acquired.
        """
        await self._acquire(_getframe(1), timeout)

    def acquire_sync(self, *, timeout: float | None = None) -> None:
        """Acquire it in a thread or a process task; see `acquire`.

        Raises:
            Cancelled: the task was requested to stop. It was not acquired.
            RuntimeError: it would block the event loop that runs in this thread.
        """
        self._acquire_sync(me(), _getframe(1), timeout)

    # -- waiting

    def _taken(self) -> Exception:
        from .would_block import LockTaken

        return LockTaken(repr(self), self._held_by())

    def _acquire_sync(self, holder: object, frame: FrameType, timeout: float | None, *, shielded: bool = False) -> None:
        """Acquire in a thread.

        Args:
            holder: who acquires.
            frame: the line that acquires.
            timeout: seconds to wait at most.
            shielded: a cancellation does not end the wait.
        """
        if self._shared is not None and not shielded:
            check_cancelled()  # a loop around a shared lock is nearly always in here, where no signal may raise
        code, at = frame.f_code, frame.f_lasti
        if order.orders is not None and timeout is None and self.total == 1:
            order.orders.asked(self, holder, code, at)
        if not self._queue and self._try(holder, code, at):
            return
        self._may_wait(holder)
        had = self._permits_of(holder)
        try:
            if self._shared is None and not self._queue and self._try_abandoned(holder, code, at):
                return
            if not shielded:
                refuse_on_loop(*self.forms.split("|"))
            self._wait_sync(holder, code, at, timeout, shielded)
        except LockAbandoned:
            raise
        except BaseException:
            if self._permits_of(holder) > had:  # of a signal handler, after it was acquired
                self._put_back(holder)
            raise

    def _wait_sync(self, holder: object, code: CodeType, at: int, timeout: float | None, shielded: bool) -> None:
        """Queue up and wait in a thread."""
        task = None if shielded else current.get()
        has_deadline = task is not None and task.deadline is not None
        each = ThreadInQueue(holder, code, at, timeout is not None or shielded or has_deadline)
        end = end_of(timeout)
        told = self._begin_wait() if waits.is_told() else None
        try:
            self._join(each)
            if task is not None:
                sleepers[each] = task
            pause = LOOK
            while not self._take_turn(each):
                head = self._queue[0] is each
                shared = self._shared
                if head and shared is not None:
                    woken = shared.sleep(task, end, pause, shielded)
                else:
                    woken = sleep(each, task, end, pause if head else LOOK_LATE, shielded)
                if not woken:
                    pause = LOOK_AGAIN
                    if self._look(each):
                        return
        except BaseException as error:
            self._leave(each)
            if end is not None and type(error) is TimeoutError:
                raise timed_out(end.timeout, *self._missed()) from None
            raise
        finally:
            sleepers.pop(each, None)
            if told is not None:
                told.end()

    async def _acquire(self, frame: FrameType, timeout: float | None) -> None:
        self._turns += 1
        if self._turns > TURNS:
            self._turns = 0
            await give_turn()
        holder = me()
        code, at = frame.f_code, frame.f_lasti
        if order.orders is not None and timeout is None and self.total == 1:
            order.orders.asked(self, holder, code, at)
        if not self._queue and self._try(holder, code, at):
            return
        self._may_wait(holder)
        if self._shared is None and not self._queue and self._try_abandoned(holder, code, at):
            return
        if timeout is None:
            await self._wait(CoroutineInQueue(holder, code, at, _has_deadline()))
        else:
            with within(timeout, self._missed):
                await self._wait(CoroutineInQueue(holder, code, at, True))

    async def _wait(self, each: CoroutineInQueue) -> None:
        told = self._begin_wait() if waits.is_told() else None
        had = self._permits_of(each.holder)
        try:
            self._join(each)
            pause = LOOK
            while not self._take_turn(each):
                head = self._queue[0] is each
                if head and self._shared is not None:
                    looked = await each.wait_for(self._shared.readable, pause)
                else:
                    looked = await each.wait(pause if head else LOOK_LATE)
                if looked:
                    pause = LOOK_AGAIN
                    if self._look(each):
                        return
        except GeneratorExit:  # perhaps the collector has ended the coroutine
            self._late.append(each)
            self._do_late()
            raise
        except BaseException as error:
            self._leave(each)
            if self._permits_of(each.holder) > had and type(error) is not LockAbandoned:
                self._put_back(each.holder)
            raise
        finally:
            if told is not None:
                told.end()

    def _missed(self) -> tuple[str, str]:
        """Say what did not happen within a timeout, and why."""
        held_by = self.held_by()
        return f"{self!r} could not be acquired", held_by and f"held by {held_by}"

    def _begin_wait(self) -> waits.ToldWait:
        return waits.begin(self.kind.partition(" ")[2], repr(self), len(self._queue) + 1, self.held_by())

    # -- between processes

    def share(self) -> None:
        from .shared_permits import SharedPermits

        with self._guard:
            if self._shared is not None:
                return
            form = SharedPermits.create(self.total, self.kind, self._raises)
            self.become(os.urandom(16), form)
            form.begin(self._free)
            for each in self._queue:
                each.wake()
        self._do_late()
        for holder, _ in self.holds():
            self._note_shared(holder)

    @classmethod
    def from_descriptors(cls, name: str | None, fds: list[int]) -> tuple[Permits, SharedPermits]:
        from .page import LockPage
        from .shared_permits import SharedPermits

        form = SharedPermits(LockPage(fds, cls.kind))
        made = cls._of_total(form.total, name)
        made._free.clear()
        made._raises = form.raises
        return made, form

    @classmethod
    def _of_total(cls, total: int, name: str | None) -> Permits:
        raise NotImplementedError

    def become(self, token: bytes, form: SharedFormBase) -> None:
        super().become(token, form)
        all_locks.add(self)


def _has_deadline() -> bool:
    """Tell whether a deadline will end what the calling coroutine does."""
    anyio = loaded("anyio")
    return anyio is not None and anyio.current_effective_deadline() != INF


@in_forked_child
def _after_fork() -> None:
    deadlocks.renew_lock()
    patrol.renew_lock()
    for lock in list(all_locks):
        if lock.token:
            lock.forget()
