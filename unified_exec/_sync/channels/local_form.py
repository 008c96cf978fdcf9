"""A channel inside one process: threads and coroutines of any number of loops hand over objects by reference.

An item goes into the deque, then one waiter is woken, who looks again. A sleeper is never handed an item, so cancelling
one loses nothing; a woken waiter that leaves passes the wake on.

Senders have the lock, so that there is never an item too many, nor one after the close. Receivers need none to take an
item: `deque.popleft` is atomic.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..._tasks.current import current, sleepers
from ..deadlocks import patrol
from ..shared.sleepers import LoopSleeper, QueueSleeper, ThreadSleeper, sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOTHING: Any = object()
"""Stands for "there is no item"."""


class LocalForm:
    """Items and waiters of a local channel. Every method may be called by any thread.

    Attributes:
        capacity: the most items it holds; 0 once it is closed or has moved, so that a send looks no further.
        closed: it takes no more items.
        known: it is known that somebody waits, or has waited lately.
        moved: the channel has taken its shared form; code that meets this looks at the channel again.
        sends: how often coroutines have sent since one of them gave the loop a turn.
        receives: the same for `receive`.
    """

    __slots__ = (
        "__weakref__",
        "_items",
        "_late",
        "_lock",
        "_mover",
        "_receivers",
        "_senders",
        "capacity",
        "closed",
        "known",
        "moved",
        "receives",
        "sends",
    )

    lost = 0

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.closed = self.moved = self.known = False
        self._mover = 0
        self.sends = self.receives = 0
        self._items: deque[Any] = deque()
        self._lock = allocate_lock()
        self._late: deque[Callable[[], object]] = deque()  # what finalizers want done; see `do_late`
        self._receivers: deque[QueueSleeper] = deque()
        self._senders: deque[QueueSleeper] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def pack(self, item: object) -> object:
        """Make an item ready for `try_put`."""
        return item

    def try_send(self, item: object) -> bool:
        with self._lock:
            if len(self._items) >= self.capacity:
                return False
            self._items.append(item)
            if self._receivers:
                _wake_one(self._receivers)
        if self._late:
            self.do_late()
        return True

    try_put = try_send

    def try_receive(self) -> Any:
        """Return the oldest item, `NOTHING` if there is none."""
        try:
            item = self._items.popleft()
        except IndexError:
            return self.try_receive() if self._has_just_moved() else NOTHING
        if self._senders:
            with self._lock:
                _wake_one(self._senders)
            self.do_late()
        return item

    def try_put_many(self, packed: Sequence[object]) -> int:
        """Send as many of the items as there is room for, and return their number."""
        with self._lock:
            count = min(len(packed), self.capacity - len(self._items))
            if count <= 0:
                return 0
            self._items.extend(islice(packed, count))
            for _ in range(min(count, len(self._receivers))):
                _wake_one(self._receivers)
        self.do_late()
        return count

    def try_receive_many(self, most: int) -> list[Any]:
        """Return up to `most` items."""
        found: list[Any] = []
        while len(found) < most and (item := self.try_receive()) is not NOTHING:
            found.append(item)
        return found

    def drained(self) -> bool:
        """Tell whether it is closed and every item has been received."""
        return self.closed and not self._items and not self._mover

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self.capacity = 0
            self._wake_all()
        self.do_late()

    def do_late(self, action: Callable[[], object] | None = None) -> None:
        """Do what finalizers want done, and `action`, soon. The calling thread may hold the lock, for the collector
        runs between any two instructions; then the holder does it after its release.
        """
        if action is not None:
            self._late.append(action)
        while self._late and self._lock.acquire(False):
            self._lock.release()
            try:
                late = self._late.popleft()
            except IndexError:
                return  # another thread does it
            late()

    def move(self, take_over: Callable[[list[Any], bool], None]) -> None:
        """Give the items to the channel's other form, and wake every waiter to look at the channel again.

        Args:
            take_over: called with the items, and whether the channel is closed. If it raises, nothing has changed.
        """
        if self._mover == get_ident():
            raise RuntimeError("an item of the channel contains the channel itself")
        with self._lock:
            if not self.moved:
                self._mover = get_ident()
                items: list[Any] = []
                try:
                    with suppress(IndexError):
                        while True:  # others receive meanwhile
                            items.append(self._items.popleft())
                    take_over(items, self.closed)
                except BaseException:
                    self._items.extend(items)
                    raise
                finally:
                    self._mover = 0
                self.capacity = 0
                self.moved = True
                self._wake_all()
        self.do_late()

    def _has_just_moved(self) -> bool:
        """Wait while another thread moves the channel; ``False`` if none does."""
        if self._mover in (0, get_ident()):
            return False
        with self._lock:
            return True

    # -- waiting: each returns when it is worth looking again

    def wait_sync(self, sending: bool, deadline: float | None) -> None:
        """Sleep until there may be room, or an item.

        Raises:
            Cancelled: the task was requested to stop.
            TimeoutError: the deadline has passed.
        """
        sleeper = ThreadSleeper()
        if not self._join(sending, sleeper):
            return
        task = current.get()
        if task is not None:
            sleepers[sleeper] = task
        try:
            while not sleep(sleeper, task, deadline, patrol.watch_from(sleeper.since)):
                pass
            if sleeper.error is not None:
                raise sleeper.error
        except BaseException:
            self._leave(sending, sleeper)
            raise
        finally:
            sleepers.pop(sleeper, None)

    async def wait(self, sending: bool) -> None:
        """Wait until there may be room, or an item."""
        sleeper = LoopSleeper()
        if not self._join(sending, sleeper):
            return
        if not sleeper.adapter.watched:
            patrol.begin(sleeper.adapter)
        try:
            await sleeper.waiter
            if sleeper.error is not None:
                raise sleeper.error
        except GeneratorExit:  # perhaps the collector has ended the coroutine
            self.do_late(partial(self._leave, sending, sleeper))
            raise
        except BaseException:
            self._leave(sending, sleeper)
            raise

    def _join(self, sending: bool, sleeper: QueueSleeper) -> bool:
        """Queue up, unless there is something to do by now."""
        queue = self._senders if sending else self._receivers
        with self._lock:
            queue.append(sleeper)  # first: who receives after the look below sees it, and wakes it
            waits = not (self.closed or self.moved or (len(self._items) < self.capacity if sending else self._items))
            if not waits:
                queue.pop()
        self.do_late()
        if waits and not self.known:
            patrol.note(self)
        return waits

    def asleep(self) -> list[QueueSleeper]:
        return [*self._receivers, *self._senders]

    def _leave(self, sending: bool, sleeper: QueueSleeper) -> None:
        with self._lock:
            queue = self._senders if sending else self._receivers
            try:
                queue.remove(sleeper)
            except ValueError:
                _wake_one(queue)  # it was woken to look; another one must

    def _wake_all(self) -> None:
        for queue in (self._receivers, self._senders):
            while queue:
                _wake_one(queue)


def _wake_one(queue: deque[QueueSleeper]) -> None:
    """Wake the first waiter whose event loop still runs. With the lock held."""
    while queue and not queue.popleft().wake():
        pass
