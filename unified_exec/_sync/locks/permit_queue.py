"""What locks and semaphores are made of: permits, a queue, and holders.

A release puts the permit back and wakes the head of the queue, which takes it itself: a sleeper is never handed
anything, so cancelling one loses nothing. A newcomer joins the queue if there is one: first come, first served. The
fast ways of `Lock` pass the queue by while `_slow` is false. A release puts the permit back before it looks at `_slow`,
and a waiter sets it before it looks for a permit: so no wake is missed.

In the main thread a signal handler may raise, Ctrl-C first of all: after a call into C, at the start of a function and
at a jump backwards. Between taking a permit and noting who has it there is none of these, or a ``try`` that puts the
permit back. So an acquire that raises has taken nothing, and a release that raises has released.
"""

from __future__ import annotations

import time
from _thread import allocate_lock
from abc import abstractmethod
from collections import deque
from itertools import islice
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from ..._tasks.holders import ThreadHolder, describe, me, note_hold, note_release
from ...errors import LockAbandoned
from ..deadlocks import look as deadlocks
from ..deadlocks import order
from ..deadlocks.known import all_locks
from ..shared.place import line_of
from ..shared.travel import SharedFormBase, Traveller
from .queue import CoroutineInQueue, ThreadInQueue

if TYPE_CHECKING:
    from .shared_permits import SharedPermits

HOLDERS_NAMED = 4


class PermitQueue(Traveller):
    """A number of permits, and who waits for one.

    Attributes:
        total: how many there are.
    """

    __slots__ = (
        "_free",
        "_guard",
        "_late",
        "_queue",
        "_raises",
        "_slow",
        "_turns",
        "total",
    )

    kind = "a lock"
    _shared: SharedPermits | None

    def __init__(self, total: int, on_abandoned: str, name: str | None) -> None:
        if on_abandoned not in ("warn", "raise"):
            raise ValueError(f"on_abandoned must be 'warn' or 'raise', got {on_abandoned!r}")
        super().__init__(name)
        self.total = total
        self._raises = on_abandoned == "raise"
        self._free = list(range(total))
        self._guard = allocate_lock()
        self._queue: deque[ThreadInQueue | CoroutineInQueue] = deque()
        self._late: list[CoroutineInQueue] = []
        self._slow = order.made(self)
        self._turns = 0

    # -- what a kind of lock adds

    @abstractmethod
    def _note(self, number: int, holder: object, code: CodeType, at: int) -> None:
        """Note who has a permit from now on, and where it was acquired."""

    @abstractmethod
    def _permits_of(self, holder: object) -> int:
        """Return how many permits a holder of this process has."""

    @abstractmethod
    def _put_back(self, holder: object) -> None:
        """Release one permit of `holder`."""

    @abstractmethod
    def _take_from_ended(self, holder: object, code: CodeType, at: int) -> str | None:
        """Note `holder` as the holder of a permit whose holder has ended; returns a text that names the latter."""

    @abstractmethod
    def holder_ended(self, holder: object) -> None:
        """Give back what `holder` has, which ended in this process without releasing it, as abandoned."""

    @abstractmethod
    def _may_wait(self, holder: object) -> None:
        """Refuse a wait that could never end: for what the caller holds.

        Raises:
            RuntimeError: it holds it.
        """

    @abstractmethod
    def _set_abandoned(self) -> None:
        """Note that the permit just acquired had been abandoned."""

    @abstractmethod
    def _held_by(self) -> str:
        """Say who holds it."""

    @abstractmethod
    def holds(self) -> list[tuple[object, str]]:
        """Return the holders in this process, with the line where each acquired."""

    def tell(self) -> None:
        """Have every acquire take the way that tells `order` of it."""
        self._slow = True

    def become(self, token: bytes, form: SharedFormBase) -> None:
        super().become(token, form)
        self._slow = True

    def tell_no_more(self) -> None:
        """Let an acquire take the fast way again, unless somebody waits."""
        with self._guard:
            if not self._queue and self._shared is None:
                self._slow = order.orders is not None

    def waiters(self) -> list[ThreadInQueue | CoroutineInQueue]:
        """Return who waits in this process, the first of the queue first."""
        return list(self._queue)

    def waits(self) -> list[tuple[object, str, float]]:
        """Return who waits in this process: holder, line, and since when (`time.monotonic`)."""
        return [(each.holder, line_of(each.code, each.at), each.since) for each in list(self._queue)]

    def wait_words(self, call: str) -> str:
        held_by = self.held_by()
        return f"{self!r}, held by {held_by}" if held_by else repr(self)

    def held_by(self) -> str:
        """The holders in words, in whichever process they are; "" for none."""
        holders = [f"{describe(holder)} ({line})" for holder, line in self.holds()]
        if not holders and self._shared is not None:
            holders = self._shared.holders()
        more = f" and {len(holders) - HOLDERS_NAMED} more" if len(holders) > HOLDERS_NAMED else ""
        return ", ".join(holders[:HOLDERS_NAMED]) + more

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"{kind}()" if self._name is None else f"{kind}(name={self._name!r})"

    def _note_shared(self, holder: object) -> None:
        """Note that a task of this process holds it, and it is shared: others cannot see when the task ends, or what it
        waits for."""
        note_hold(holder, self)
        if type(holder) is not ThreadHolder:
            deadlocks.tell_holds(all_locks)

    def forget(self) -> None:
        """In a forked child: what the parent holds is not the child's, and its other threads are not there."""
        self._guard = allocate_lock()
        self._queue.clear()
        self._late.clear()
        self._forget_holders()

    @abstractmethod
    def _forget_holders(self) -> None: ...

    # -- one look

    def _try(self, holder: object, code: CodeType, at: int) -> bool:
        """Take a permit if there is one, for somebody whose turn it is."""
        shared = self._shared
        taken: list[int] = []
        is_noted = False
        try:
            abandoned = None
            if shared is None:
                self._pop_free(taken)
            else:
                abandoned = shared.try_take(describe(holder), taken)
            if not taken:
                return False
            self._note(taken[0], holder, code, at)
            is_noted = True
            if shared is not None:
                self._note_shared(holder)
                if abandoned is not None:
                    self._report(abandoned)
        except BaseException as error:
            if is_noted and type(error) is not LockAbandoned:
                self._put_back(holder)
            elif not is_noted:
                self._free += taken
                if shared is not None:
                    self._give_free(shared)
            raise
        return True

    def _pop_free(self, taken: list[int]) -> None:
        """Move a permit that is free in this process to `taken`, if there is one: in one instruction."""
        try:
            taken += islice(iter(self._free.pop, None), 1)
        except IndexError:
            pass

    def _try_abandoned(self, holder: object, code: CodeType, at: int, patience: float = 1.0) -> bool:
        """Take over a permit whose holder has ended, if there is one. In the shared form, which needs up to `patience`
        seconds, it is only made free."""
        if self._shared is not None:
            self._shared.look_for_dead(patience)
            return False
        with self._guard:
            ended = self._take_from_ended(holder, code, at) if not self.token else None  # not if it was just shared
        if ended is None:
            return False
        self._report(ended)
        return True

    def _report(self, ended: str) -> None:
        """Tell the new holder that the permit was abandoned, by whom `ended` names.

        Raises:
            LockAbandoned: the lock was made to raise. The permit is the caller's all the same.
        """
        self._set_abandoned()
        if self._raises:
            raise LockAbandoned(repr(self), ended)
        import logging

        logging.getLogger("unified_exec").warning("%s was abandoned: %s ended without releasing it", repr(self), ended)

    def _acquire_now(self, holder: object, frame: FrameType) -> bool:
        code, at = frame.f_code, frame.f_lasti
        if not self._queue and self._try(holder, code, at):
            return True
        if self._queue:
            return False
        return self._try_abandoned(holder, code, at) or (self._shared is not None and self._try(holder, code, at))

    def _pass_on(self, holder: object) -> None:
        """A permit of `holder` was put back, and there is a queue, or the lock is shared."""
        shared = self._shared
        if shared is not None:
            note_release(holder, self)
            self._give_free(shared)
            return
        with self._guard:
            self._wake_head()
        self._do_late()

    def _give_free(self, shared: SharedPermits) -> None:
        """Give the permits that were put back here to all processes."""
        taken: list[int] = []
        try:
            while self._free:
                self._pop_free(taken)
                shared.give(taken)
        except BaseException:
            self._free += taken  # what is left of them
            raise

    def _interrupted(self, error: BaseException, had: int = 1) -> None:
        """A release raised this: release all the same, unless the caller, who had `had` permits, had none."""
        if type(error) is not RuntimeError:
            holder = me()
            if self._permits_of(holder) >= (had or 1):
                self._put_back(holder)
            else:
                self._pass_on(holder)

    # -- the queue

    def _join(self, each: ThreadInQueue | CoroutineInQueue) -> None:
        with self._guard:
            self._slow = True
            self._queue.append(each)
        self._do_late()
        all_locks.add(self)

    def _take_turn(self, each: ThreadInQueue | CoroutineInQueue) -> bool:
        """Take a permit if it is the turn of this waiter and there is one. It leaves the queue then."""
        with self._guard:
            if each.error is not None:
                raise each.error
            each.renew()
            if self._queue[0] is not each:
                return False
        return self._try(each.holder, each.code, each.at) and self._leave(each)

    def _look(self, each: ThreadInQueue | CoroutineInQueue) -> bool:
        """Take over an abandoned permit if it is the turn of this waiter. It leaves the queue then.

        After a while it also looks for deadlocks, and wakes the waiter that is to raise.
        """
        if time.monotonic() - each.since >= deadlocks.AFTER:
            deadlocks.look(all_locks, each)
        patience = 1.0 if type(each) is ThreadInQueue else 0.005  # an audit must not hold up an event loop
        return (
            self._queue[0] is each
            and self._try_abandoned(each.holder, each.code, each.at, patience)
            and self._leave(each)
        )

    def _leave(self, each: ThreadInQueue | CoroutineInQueue) -> bool:
        """Take a waiter out of the queue, and pass on a wake that was meant for it."""
        with self._guard:
            try:
                self._queue.remove(each)
            except ValueError:
                pass
            self._wake_head()
            if not self._queue and self._shared is None:
                self._slow = order.orders is not None
        self._do_late()
        return True

    def _wake_head(self) -> None:
        """Wake the first waiter if there may be something for it. With the guard held."""
        queue = self._queue
        while queue and (self._free or self._shared is not None):
            if queue[0].woken or queue[0].wake():
                return
            queue.popleft()  # its event loop has ended

    def _do_late(self) -> None:
        """Take out of the queue whom the collector has ended while the guard was held."""
        while self._late:
            try:
                each = self._late.pop()
            except IndexError:
                return
            if not self._guard.acquire(False):
                self._late.append(each)
                return  # who holds it looks after its release
            self._guard.release()
            self._leave(each)
