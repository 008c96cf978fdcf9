"""Which call gets a thread next. Pure bookkeeping: the pool holds its lock around each use."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..._tasks.types import CANCELLED
from .call import OVER, QUEUED, RUNNING, ThreadCall

if TYPE_CHECKING:
    from .lane import ThreadLane


class NestedCalls:
    """The calls that one running task has spawned and may wait for. It has as many threads as a pool, of its own:
    however deep calls nest, none waits for a thread that one above it holds."""

    __slots__ = ("calls", "listed", "parent", "running")

    def __init__(self, parent: object) -> None:
        self.parent = parent
        self.calls: deque[ThreadCall] = deque()
        self.running = 0
        self.listed = False


class FairCallQueues:
    """The queues of a pool. Loops take turns, and within a loop its scopes. Each operation is O(1).

    Attributes:
        busy: running calls that count against `max_workers`; nested ones, and the one call that each loop may
            run at any time, count only as far as there is room.
    """

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        self.busy = 0
        self._lanes: deque[ThreadLane] = deque()  # those with queued calls
        self._nests: dict[object, NestedCalls] = {}
        self._startable: deque[NestedCalls] = deque()  # those with queued calls that may run now
        self._starving: deque[ThreadLane] = deque()  # had queued calls and not one thread, when listed
        self._nested_first = True

    def waiting(self) -> bool:
        """Tell whether a call may be waiting that could run now."""
        return bool((self._lanes and self.busy < self.max_workers) or self._startable or self._starving)

    def add(self, call: ThreadCall, parent: object) -> None:
        """Queue a call; `parent` is the task it was spawned from inside of, if any."""
        lane = call.lane
        if parent is not None:
            nest = self._nests.get(parent)
            if nest is None:
                nest = self._nests[parent] = NestedCalls(parent)
            call.nest = nest
            nest.calls.append(call)
            self._list(nest)
            return
        lane.queue.push(call)
        if not lane.listed:
            lane.listed = True
            self._lanes.append(lane)
        if not lane.running and self.busy >= self.max_workers:
            self._starving.append(lane)

    def forget(self, call: ThreadCall) -> None:
        """End a queued call. Its queue passes over it when its turn comes."""
        call.state = OVER
        call.outcome = CANCELLED
        if call.nest is None:
            call.lane.queue.forget_one()

    def take(self) -> ThreadCall | None:
        """Take the call whose turn it is. Nested and other calls alternate while there is room for both."""
        room = self.busy < self.max_workers
        call = self._take_nested() if self._startable and (self._nested_first or not room) else None
        if call is None:
            call = self._take_queued() if room else self._take_starving()
        if call is None:
            call = self._take_nested()
        if call is None:
            return None
        self._nested_first = call.nest is None
        call.state = RUNNING
        call.extra = not room
        call.lane.running += 1
        if room:
            self.busy += 1
        return call

    def release(self, call: ThreadCall) -> None:
        """Give back what a call that no longer runs has held."""
        lane, nest = call.lane, call.nest
        lane.running -= 1
        if not call.extra:
            self.busy -= 1
        if nest is not None:
            nest.running -= 1
            self._list(nest)
        if not lane.running and lane.queue.length and self.busy >= self.max_workers:
            self._starving.append(lane)

    def _list(self, nest: NestedCalls) -> None:
        if nest.calls:
            if not nest.listed and nest.running < self.max_workers:
                nest.listed = True
                self._startable.append(nest)
        elif not nest.running:
            self._nests.pop(nest.parent, None)

    def _take_nested(self) -> ThreadCall | None:
        while self._startable:
            nest = self._startable.popleft()
            nest.listed = False
            while nest.calls:
                call = nest.calls.popleft()
                if call.state == QUEUED:
                    nest.running += 1
                    self._list(nest)
                    return call
            self._list(nest)
        return None

    def _take_queued(self) -> ThreadCall | None:
        lanes = self._lanes
        while lanes:
            lane = lanes[0]
            call = lane.queue.take()
            if call is None or not lane.queue.length:
                lanes.popleft()
                lane.listed = False
            elif len(lanes) > 1:
                lanes.rotate(-1)
            if call is not None:
                return call
        return None

    def _take_starving(self) -> ThreadCall | None:
        while self._starving:
            lane = self._starving.popleft()
            call = None if lane.running else lane.queue.take()
            if call is not None:
                return call
        return None
