"""A channel that several processes share: how its threads and coroutines wait."""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import ref

from ..._loops.current import current_adapter
from ..._tasks.current import current, sleepers
from ..deadlocks import patrol
from ..shared.bells import Bell, poll_of, sleep, thread_bell
from ..shared.pipes import waiting
from ..shared.sleepers import QueueSleeper
from ..shared.travel import SharedFormBase
from .memory import ChannelMemory
from .slots import Slots

if TYPE_CHECKING:
    from ..._loops.adapter import LoopAdapter, Waiter

LOOK = 0.05
"""Seconds of waiting after which a waiter looks for dead processes that hold an item or a slot."""
LOOK_AGAIN = 0.25
PATIENCE = 0.005
"""Seconds for which an audit may hold up an event loop."""
_DRAINING = 0.001
"""Seconds between two looks at a closed channel whose last sender is in the midst of its send."""


class SharedForm(Slots, SharedFormBase):
    """Slots, and who of this process waits for them."""

    __slots__ = ("_sides", "_threads", "known", "page")

    def __init__(self, memory: ChannelMemory) -> None:
        super().__init__(memory)
        self.page = memory
        self.known = False
        self._sides: dict[LoopAdapter, LoopSide] = {}
        self._threads: list[QueueSleeper] = []
        self.take_part()

    def after_fork(self) -> None:
        """In a forked child: it is another participant."""
        self._sides = {}
        self._threads = []
        self.sit_down()

    def descriptors(self) -> Sequence[int]:
        return self.memory.on_wire()

    def asleep(self) -> list[QueueSleeper]:
        """Return who waits, and has for a moment."""
        sides = list(self._sides.values())
        return [*self._threads, *[each for side in sides for each in list(side.long_waits.values())]]

    def has_come(self, wait: int) -> bool:
        """Tell whether there is room (1), or an item (0), or the channel is closed."""
        return self.closed or bool(waiting(self.memory.fds[0 if wait else 2]))

    def wait_sync(self, sending: bool, deadline: float | None) -> None:
        """Sleep until there may be room, or an item.

        Raises:
            Cancelled: the task was requested to stop.
            TimeoutError: the deadline has passed.
        """
        task = current.get()
        bell: Bell | None = None
        sleeper: QueueSleeper | None = None
        fds = (self.memory.fds[0 if sending else 2], *([] if self.closed else [self.memory.fds[5]]))
        if task is not None:
            bell = thread_bell()
            poll = bell.poll(*fds)
            sleepers[bell] = task
        else:
            poll = poll_of(*fds)
        try:
            pause = _DRAINING if self.closed else LOOK
            while not sleep(poll, task, deadline, pause):
                self.look_for_dead()
                if self.closed:
                    return
                pause = LOOK_AGAIN
                if sleeper is None:
                    sleeper = QueueSleeper()
                    sleeper.since -= LOOK
                    self._threads.append(sleeper)
                    patrol.note_shared(self)
                patrol.watch_by_the_way(sleeper)
                if sleeper.error is not None:
                    raise sleeper.error
        finally:
            if sleeper is not None:
                self._threads.remove(sleeper)
            if bell is not None:
                sleepers.pop(bell, None)
                bell.silence()

    def wait(self, sending: bool) -> Coroutine[Any, Any, None]:
        """Wait until there may be room, or an item."""
        adapter = current_adapter()
        side = self._sides.get(adapter)
        if side is None:
            for other in [known for known in self._sides if known.ended()]:
                del self._sides[other]
            side = self._sides[adapter] = LoopSide(adapter, self)
        return side.wait(sending)

    def stop_reading(self) -> None:
        """Have every loop stop reading the descriptors, which will be closed: nobody waits any more."""
        for adapter, side in list(self._sides.items()):
            if adapter.ended():
                continue
            if side.thread == get_ident() and not adapter.elsewhere():
                side.stop()
            else:
                adapter.call_threadsafe(side.stop)
        self._sides.clear()


class LoopSide:
    """What the coroutines of one event loop wait for. A descriptor is read while somebody waits for it.

    Each time it is found readable one waiter is woken, who tries; it is read until the first time that nobody waits.

    Attributes:
        adapter: the event loop.
        long_waits: those who have waited for a moment, by the waiter of each.
        thread: of the event loop.
    """

    __slots__ = (
        "__weakref__",
        "_form",
        "_looked_at",
        "_reading",
        "_timer_set",
        "_waiters",
        "_woken",
        "adapter",
        "long_waits",
        "thread",
    )

    def __init__(self, adapter: LoopAdapter, form: SharedForm) -> None:
        self.adapter = adapter
        self.long_waits: dict[Waiter | None, LongWait] = {}
        self._form = form
        self.thread = get_ident()
        self._waiters: tuple[deque[Waiter], deque[Waiter]] = (deque(), deque())  # for items, for room
        self._woken = [0, 0]  # those that have been woken and have not tried yet
        self._reading: set[int] = set()
        self._timer_set = False
        self._looked_at = 0.0

    async def wait(self, sending: bool) -> None:
        adapter, form = self.adapter, self._form
        waiter = adapter.waiter()
        if form.closed:  # somebody is in the midst of the last send
            adapter.call_later(_DRAINING, waiter.wake)
            await waiter
            form.look_for_dead(PATIENCE)
            return
        self._waiters[sending].append(waiter)
        fds = form.memory.fds
        self._read(fds[0 if sending else 2], self._room_ready if sending else self._item_ready)
        self._read(fds[5], self._closed)
        if not self._timer_set:
            self._timer_set, self._looked_at = True, monotonic()
            adapter.call_later(LOOK, _look, ref(self))
        try:
            await waiter
        finally:
            if waiter in self._waiters[sending]:
                self._waiters[sending].remove(waiter)
                if not any(self._waiters):
                    self.stop()
            else:
                self._woken[sending] -= 1
            long = self.long_waits.pop(waiter, None)
        if long is not None and long.error is not None:
            raise long.error

    def _read(self, fd: int, ready: object) -> None:
        if fd not in self._reading:
            self._reading.add(fd)
            self.adapter.add_reader(fd, ready)  # type: ignore[arg-type]

    def _item_ready(self) -> None:
        self._ready(False, self._form.memory.fds[2])

    def _room_ready(self) -> None:
        self._ready(True, self._form.memory.fds[0])

    def _ready(self, sending: bool, fd: int) -> None:
        waiters = self._waiters[sending]
        if not waiters and not self._woken[sending]:
            self._unread(fd)
        elif waiters and waiting(fd) > self._woken[sending]:
            self._woken[sending] += 1
            waiters.popleft().wake()

    def _closed(self) -> None:
        self._unread(self._form.memory.fds[5])
        for sending in (False, True):
            while self._waiters[sending]:
                self._woken[sending] += 1
                self._waiters[sending].popleft().wake()

    def look(self) -> None:
        """Look for dead processes while somebody waits."""
        self._timer_set = any(self._waiters)
        if self._timer_set:
            self._form.look_for_dead(PATIENCE)
            for sending in (False, True):
                for waiter in self._waiters[sending]:
                    if waiter not in self.long_waits:
                        self.long_waits[waiter] = LongWait(self, waiter, sending, self._looked_at)
            self._looked_at = monotonic()
            patrol.note_shared(self._form, self.adapter)
            first = next(iter(self.long_waits.values()), None)
            if first is not None:
                patrol.tell(first)
            self.adapter.call_later(LOOK_AGAIN, _look, ref(self))

    def give_up(self, long: LongWait) -> None:
        """Wake one who is told that the wait has no end, unless it was woken."""
        waiters = self._waiters[long.sending]
        if long.waiter in waiters:
            waiters.remove(long.waiter)
            self._woken[long.sending] += 1
            long.waiter.wake()

    def _unread(self, fd: int) -> None:
        if fd in self._reading:
            self._reading.discard(fd)
            self.adapter.remove_reader(fd)

    def stop(self) -> None:
        for fd in list(self._reading):
            self._unread(fd)


class LongWait(QueueSleeper):
    """A coroutine that has waited for a moment, at most since the instant that is given."""

    __slots__ = ("_side", "sending", "waiter")

    def __init__(self, side: LoopSide, waiter: Waiter, sending: bool, since: float) -> None:
        super().__init__()
        self.since = since
        self._side = side
        self.waiter = waiter
        self.sending = sending

    def wake(self) -> bool:
        return self._side.adapter.call_threadsafe(self._side.give_up, self)


def _look(side: ref[LoopSide]) -> None:
    found = side()
    if found is not None:  # a timer must not keep the channel
        found.look()
