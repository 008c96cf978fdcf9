"""Which call gets a thread next. Pure bookkeeping: the scheduler holds its lock around each use."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any, Protocol

from ..._rules.fair_queue import FairQueue
from ..._tasks.task import Task
from ..._tasks.types import CANCELLED, Outcome

# Where a call is. Every move is made under the scheduler's lock: a thread and a canceller may race for it.
QUEUED, RUNNING, ENDED, ABANDONED = range(4)


class Call(Protocol):
    """A call as the queues and the threads see it.

    Attributes:
        lane: the lane it was submitted to.
        state: `QUEUED`, `RUNNING`, `ENDED` or `ABANDONED`.
        name: of the task.
        owner: the scope that spawned it.
        priority: of the task.
        siblings: the queue it stands in if it was spawned from inside a thread task, else ``None``.
        extra: it runs beyond `max_workers`.
        outcome: its result; set before its lane is woken.
        finished_at: instant of `time.monotonic`.
        task: the task, until it is settled.
    """

    state: int
    siblings: NestedCalls | None
    extra: bool
    outcome: Outcome[object] | None
    finished_at: float
    task: Task | None

    @property
    def name(self) -> str: ...

    @property
    def lane(self) -> LaneQueue: ...

    @property
    def owner(self) -> object: ...

    @property
    def priority(self) -> int: ...

    def run(self) -> None: ...

    def log_abandoned(self) -> None:
        """Log the error of a call that was abandoned and has failed since; no scope is there to raise it."""


class Link(Protocol):
    """The event loop of a lane, as the threads of its pool reach it; see `from_thread.LoopLink`."""

    token: Any
    trio_host: Any

    def forget_loop(self) -> None: ...


class LaneQueue:
    """The calls of one event loop, as the queues and the threads see its lane.

    Attributes:
        calls: those that are queued.
        listed: it stands in the list of lanes with queued calls.
        running: how many of its calls run.
        ended: calls that have ended and are not settled yet.
        woken: the loop has been woken for them.
        link: what `anyio.from_thread` and `trio.from_thread` use in the threads of its calls; ``None`` for no loop.
        names_threads: a thread carries the name of the call it runs.
    """

    names_threads = True

    def __init__(self, link: Link | None) -> None:
        self.calls: FairQueue[Call] = FairQueue(monotonic)
        self.listed = False
        self.running = 0
        self.ended: deque[Call] = deque()
        self.woken = False
        self.link = link

    def wake(self) -> bool:
        """Have the loop settle what has ended; ``False`` if the loop itself has ended."""
        raise NotImplementedError


class NestedCalls:
    """The calls that one running task has spawned and may wait for. They have as many threads as a pool, of their own:
    however deep calls nest, none waits for a thread that a caller of it holds."""

    __slots__ = ("calls", "listed", "parent", "running")

    def __init__(self, parent: object) -> None:
        self.parent = parent
        self.calls: FairQueue[Call] = FairQueue(monotonic)
        self.running = 0
        self.listed = False


class FairCallQueues:
    """The queues of a pool. Loops take turns, and within a loop its scopes, the
    higher priorities first. Each operation is O(1) in the number of calls.

    Attributes:
        busy: running calls that count against `max_workers`. Nested ones, and the one call that each loop may run at
            any time, count only if there is room.
    """

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        self.busy = 0
        self._lanes: deque[LaneQueue] = deque()  # those with queued calls
        self._nested: dict[object, NestedCalls] = {}  # by parent
        self._startable: deque[NestedCalls] = deque()  # those with queued calls that may run now
        self._starving: deque[LaneQueue] = deque()  # had queued calls and not one thread, when listed
        self._nested_first = True

    def waiting(self) -> bool:
        """Tell whether a call may be waiting that could run now."""
        return bool((self._lanes and self.busy < self.max_workers) or self._startable or self._starving)

    def add(self, call: Call, parent: object) -> None:
        """Queue a call; `parent` is the task it was spawned from inside of, if any."""
        lane = call.lane
        if parent is not None:
            siblings = self._nested.get(parent)
            if siblings is None:
                siblings = self._nested[parent] = NestedCalls(parent)
            call.siblings = siblings
            if not siblings.listed and siblings.running < self.max_workers:
                siblings.listed = True
                self._startable.append(siblings)
            siblings.calls.push(call)
            return
        if not lane.listed:
            lane.listed = True
            self._lanes.append(lane)
        if not lane.running and self.busy >= self.max_workers:
            self._starving.append(lane)
        lane.calls.push(call)  # last, as above: a signal handler may raise after each call

    def forget(self, call: Call) -> None:
        """End a queued call. Its queue skips it when its turn comes."""
        call.state = ENDED
        call.outcome = CANCELLED
        (call.lane if call.siblings is None else call.siblings).calls.forget_one()

    def take(self) -> Call | None:
        """Take the call whose turn it is. Nested and other calls alternate while there is room for both."""
        room = self.busy < self.max_workers
        call = self._take_nested() if self._startable and (self._nested_first or not room) else None
        if call is None:
            call = self._take_queued() if room else self._take_starving()
        if call is None and self._startable:
            call = self._take_nested()
        if call is None:
            return None
        self._nested_first = call.siblings is None
        call.state = RUNNING
        call.lane.running += 1
        if room:
            self.busy += 1
        else:
            call.extra = True
        return call

    def release(self, call: Call) -> None:
        """Give back what a call held that no longer runs."""
        lane, siblings = call.lane, call.siblings
        lane.running -= 1
        if not call.extra:
            self.busy -= 1
        if siblings is not None:
            siblings.running -= 1
            self._list(siblings)
        if not lane.running and lane.calls.length and self.busy >= self.max_workers:
            self._starving.append(lane)

    def _list(self, nested: NestedCalls) -> None:
        if nested.calls.length:
            if not nested.listed and nested.running < self.max_workers:
                nested.listed = True
                self._startable.append(nested)
        elif not nested.running:
            self._nested.pop(nested.parent, None)

    def _take_nested(self) -> Call | None:
        while self._startable:
            nested = self._startable.popleft()
            nested.listed = False
            call = nested.calls.take()
            if call is not None:
                nested.running += 1
            self._list(nested)
            if call is not None:
                return call
        return None

    def _take_queued(self) -> Call | None:
        lanes = self._lanes
        while lanes:
            lane = lanes[0]
            call = lane.calls.take()
            if call is None or not lane.calls.length:
                lanes.popleft()
                lane.listed = False
            elif len(lanes) > 1:
                lanes.rotate(-1)
            if call is not None:
                return call
        return None

    def _take_starving(self) -> Call | None:
        while self._starving:
            lane = self._starving.popleft()
            call = None if lane.running else lane.calls.take()
            if call is not None:
                return call
        return None
