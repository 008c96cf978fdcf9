"""Reports what holds up an event loop, waits for locks that take long, and lock orders that could deadlock: a thread
that checks the loop, if a scope asked for it (``debug=``).
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from os.path import dirname
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from .._handles.open_scopes import ScopePart
from .._sync.deadlocks import order
from .._sync.deadlocks.known import all_locks
from .._sync.locks.permit_queue import PermitQueue
from .._tasks.holders import describe

if TYPE_CHECKING:
    from .._loops.adapter import LoopAdapter

LIMIT = 0.1
"""Seconds for which the loop may be held up before it is reported."""
STEP = 0.01
"""Seconds between two checks."""
CPU_SHARE = 0.5
"""Share of a delay during which this program must have used the CPU; otherwise the machine was busy with other work."""
LONG_WAIT = 5.0
"""Seconds after which a wait for a lock or a semaphore is reported."""
LOOK = 1.0
"""Seconds between two looks for such waits."""
LOGGER = "unified_exec.watchdog"

_PACKAGE = dirname(dirname(__file__))
_STANDARD = dirname(logging.__file__).removesuffix("logging").rstrip("/\\")
_LOOPS = ("anyio", "trio", "uvloop")
_ASYNC = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR


class Stall(NamedTuple):
    """The event loop or the whole program did not respond for longer than 100 ms, or locks are used so that it may not.

    Attributes:
        kind: ``"coroutine"``: a coroutine blocks the loop; ``"sync"``: a plain function blocks it that a coroutine
            called or that was sent to the loop; ``"starved"``: the loop was free, but threads held the GIL;
            ``"wait"``: a wait for a lock has taken longer than 5 s; ``"order"``: tasks acquire locks in different
            orders, so they could deadlock, and perhaps have not yet.
        seconds: for how long so far; 0 for ``"order"``.
        task: the name of the scope's task that blocks the loop, ``None`` if there is none or it is unknown; for locks
            in words who asks for one.
        where: the line being executed, such as ``"shop.py:12, in total"``; "" if unknown.
        stack: the stack during the stall, outermost call first; for ``"starved"`` the stacks of all busy threads, for
            ``"wait"`` who holds the lock, for ``"order"`` who held and asked for which locks, at which lines.

    Example::

        import logging, sys, time

        import anyio
        from unified_exec import TaskScope

        async def rude():
            time.sleep(0.3)  # instead of `await anyio.sleep(0.3)`

        async def main():
            seen = []
            async with TaskScope(debug=seen.append) as scope:
                scope.spawn(rude)
            print(seen[0].kind, seen[0].task, seen[0].where)

        logging.basicConfig(stream=sys.stdout)  # where the warnings go
        anyio.run(main)
    """

    kind: str
    seconds: float
    task: str | None
    where: str
    stack: str

    def __str__(self) -> str:
        if self.kind == "order":
            return f"locks are acquired in orders that could deadlock; acquire them in one order:\n{self.stack}"
        if self.kind == "wait":
            return f"{self.task} has waited for {self.seconds:.1f} s at {self.where}\n{self.stack}"
        who = f"task {self.task!r}" if self.task else "a coroutine"
        at = f" at {self.where}" if self.where else ""
        if self.kind == "starved":
            return (
                f"the program stood still for {self.seconds:.2f} s: threads held the GIL{at}; send such work to "
                f"processes (on='process')\n{self.stack}"
            )
        if self.kind == "sync":
            text = (
                f"a plain function holds up the event loop{at}, called by {who}; run it in a thread: `await call(...)`"
            )
        else:
            text = f"{who} holds up the event loop{at}; await, or move that part to a thread or process"
        return f"{text} ({self.seconds:.2f} s so far)\n{self.stack}"


Hook = Callable[[Stall], object]

_watchdogs: dict[LoopAdapter, LoopWatchdog] = {}
_lock = threading.Lock()


class Subscription(ScopePart):
    """A scope's subscription to the watchdog of its loop. The watchdog ends with its last subscription.

    Args:
        loop: the event loop.
        thread: the thread the loop runs in.
        task_code: the code that runs each coroutine task; its local variable ``handle`` is the task.
        hook: called with each `Stall`: in the watchdog's thread; for an order of locks, in the one that acquires.
    """

    def __init__(self, loop: LoopAdapter, thread: int, task_code: CodeType, hook: Hook | None) -> None:
        self.hook = hook
        self._loop = loop
        with _lock:
            watchdog = _watchdogs.get(loop)
            if watchdog is None:
                if not _watchdogs:
                    order.begin(_report_order)
                watchdog = _watchdogs[loop] = LoopWatchdog(loop, thread, task_code)
            watchdog.subscriptions = (*watchdog.subscriptions, self)
            self._watchdog = watchdog

    def scope_ended(self) -> None:
        """Unsubscribe: the scope has ended."""
        watchdog = self._watchdog
        with _lock:
            watchdog.subscriptions = tuple([kept for kept in watchdog.subscriptions if kept is not self])
            last = not watchdog.subscriptions and _watchdogs.get(self._loop) is watchdog
            if last:
                del _watchdogs[self._loop]
                if not _watchdogs:
                    order.end()
        if last:
            watchdog.end()


class LoopWatchdog:
    """A thread that sends heartbeats through an event loop and reports if one comes late."""

    def __init__(self, loop: LoopAdapter, thread: int, task_code: CodeType) -> None:
        self.subscriptions: tuple[Subscription, ...] = ()  # replaced as a whole: the thread reads it
        self._loop = loop
        self._loop_thread = thread
        self._task_code = task_code
        self._ending = False
        self._sent = self._received = 0  # numbers of heartbeats
        self._wakeup = threading.Event()
        self._thread = threading.Thread(target=self._run, name="unified_exec watchdog", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the thread; waits for it, but not for a hook that does not return."""
        self._ending = True
        self._wakeup.set()
        self._thread.join(1.0)

    def _on_heartbeat(self, number: int) -> None:
        self._received = number

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._ending:
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                report_long_waits()
            self._sent += 1
            if not self._loop.call_threadsafe(self._on_heartbeat, self._sent):
                return
            self._wait_for(self._sent)
            self._wakeup.wait(STEP)

    def _wait_for(self, number: int) -> None:
        """Wait for a heartbeat; report once if it is late."""
        sent, cpu = time.perf_counter(), time.process_time()
        reported = False
        while not self._ending:
            self._wakeup.wait(STEP)
            # Take the frames first: the thread that held the GIL has just released it and is about to go on.
            frames = sys._current_frames()
            waited = time.perf_counter() - sent
            try:
                if waited > LIMIT and not reported:
                    share = (time.process_time() - cpu) / waited
                    stall = self._examine(frames, waited, share)
                    if stall is not None:
                        reported = True
                        self._report(stall)
            finally:
                del frames
            if self._received == number:
                return

    def _examine(self, frames: dict[int, FrameType], waited: float, share: float) -> Stall | None:
        loop = _lines(frames.get(self._loop_thread), self._task_code)
        if any(line.is_users for line in _coroutine_part(loop)):
            return _stall_of_coroutine(loop, waited)
        if share < CPU_SHARE:
            return None
        others = {thread: _lines(frame) for thread, frame in frames.items() if thread != self._loop_thread}
        others.pop(threading.get_ident(), None)
        return _stall_of_threads(others, waited)

    def _report(self, stall: Stall) -> None:
        _report(stall, self.subscriptions)


def _report(stall: Stall, subscriptions: Iterable[Subscription]) -> None:
    logger = logging.getLogger(LOGGER)
    logger.warning("%s", stall)
    for hook in {id(each.hook): each.hook for each in subscriptions if each.hook is not None}.values():
        try:
            hook(stall)
        except Exception:
            logger.exception("a hook of the watchdog failed: %r", hook)


def _report_to_all(stall: Stall) -> None:
    _report(stall, [each for watchdog in list(_watchdogs.values()) for each in watchdog.subscriptions])


def _report_order(ring: list[order.Order]) -> None:
    lines = "\n".join([f"  {each}" for each in ring])
    _report_to_all(Stall("order", 0.0, ring[0].who, ring[0].asked_at, lines))


_long: WeakKeyDictionary[PermitQueue, frozenset[float]] = WeakKeyDictionary()
"""Since when those wait whose long wait was reported."""


def report_long_waits() -> None:
    """Report, once each, the waits for locks that take long."""
    now = time.monotonic()
    for lock in list(all_locks):
        waits = [each for each in lock.waits() if now - each[2] > LONG_WAIT]
        known = _long.get(lock, frozenset())
        _long[lock] = frozenset([since for _, _, since in waits])
        for waiter, line, since in waits:
            if since not in known:
                held = [f"  {describe(holder)} holds it since {at}" for holder, at in lock.holds()]
                text = "\n".join([f"  for {lock!r}", *(held or ["  which is held in another process"])])
                _report_to_all(Stall("wait", now - since, describe(waiter), line, text))


class _Line(NamedTuple):
    """A line of a stack, with the name of the task if it is the frame that runs a scope's task."""

    code: CodeType
    number: int
    task: str | None

    @property
    def is_users(self) -> bool:
        """Whether it is the user's own code, as far as the file name tells."""
        name = self.code.co_filename
        if name.startswith((_PACKAGE, "<frozen")):
            return False
        _, installed, rest = name.replace("\\", "/").rpartition("/site-packages/")
        return rest.split("/")[0] not in _LOOPS if installed else not name.startswith(_STANDARD)

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.number}, in {self.code.co_qualname}"


def _lines(frame: FrameType | None, task_code: CodeType | None = None) -> list[_Line]:
    """Copy a stack, innermost line first: its thread goes on meanwhile."""
    found: list[_Line] = []
    while frame is not None:
        task: str | None = None
        if frame.f_code is task_code:
            handle: Any = frame.f_locals.get("handle")
            task = getattr(handle, "name", None)
        found.append(_Line(frame.f_code, frame.f_lineno or 0, task))
        frame = frame.f_back
    return found


def _coroutine_part(loop: list[_Line]) -> list[_Line]:
    """Return the part of a loop's stack that belongs to coroutines; empty while the loop waits."""
    outermost = max((index for index, line in enumerate(loop) if line.code.co_flags & _ASYNC), default=-1)
    return loop[: outermost + 1]


def _stall_of_coroutine(loop: list[_Line], waited: float) -> Stall:
    task = next((line.task for line in loop if line.task is not None), None)
    culprit = next(line for line in loop if line.is_users)
    sync = not culprit.code.co_flags & _ASYNC
    return Stall("sync" if sync else "coroutine", waited, task, str(culprit), _format(_coroutine_part(loop)))


def _stall_of_threads(threads: dict[int, list[_Line]], waited: float) -> Stall | None:
    busy = {thread: lines for thread, lines in threads.items() if any(line.is_users for line in lines)}
    if not busy:
        return None
    by_stack: dict[str, list[int]] = {}
    for thread, lines in busy.items():
        by_stack.setdefault(_format(lines), []).append(thread)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    texts = [
        f"{len(idents)} thread{'s' if idents[1:] else ''} ({names.get(idents[0], idents[0])}):\n{text}"
        for text, idents in by_stack.items()
    ]
    first = next(line for line in next(iter(busy.values())) if line.is_users)
    return Stall("starved", waited, None, str(first), "\n".join(texts))


def _format(lines: Iterable[_Line]) -> str:
    import linecache

    text: list[str] = []
    for line in reversed(list(lines)):
        # Leave out this package, and the event loop up to the first line of the user's.
        if line.code.co_filename.startswith(_PACKAGE) or (not text and not line.is_users):
            continue
        text.append(f'  File "{line.code.co_filename}", line {line.number}, in {line.code.co_qualname}')
        source = linecache.getline(line.code.co_filename, line.number).strip()
        text += [f"    {source}"] if source else []
    return "\n".join(text)
