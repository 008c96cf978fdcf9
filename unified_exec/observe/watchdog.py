"""Who holds up the event loop? A thread that looks, only where a scope asked for it."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from os.path import dirname
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from .._scope.coroutine import run_coroutine

if TYPE_CHECKING:
    from .._loops.adapter import LoopAdapter

LIMIT = 0.1
"""Seconds for which the loop may be held up before that is reported."""
STEP = 0.01
"""Seconds between two looks."""
OURS = 0.5
"""Share of a delay that this program must have computed in; else the machine was busy with something else."""
LOGGER = "unified_exec.watchdog"

_PACKAGE = dirname(dirname(__file__))
_STANDARD = dirname(logging.__file__).removesuffix("logging").rstrip("/\\")
_LOOPS = ("anyio", "trio", "uvloop")
_ASYNC = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR


class Stall(NamedTuple):
    """The event loop, or the whole program, stood still for longer than 100 ms.

    Attributes:
        kind: ``"coroutine"``: a coroutine holds the loop; ``"sync"``: a plain function that a coroutine called, or
            that was sent to the loop, holds it; ``"starved"``: the loop was free, but threads held the GIL.
        seconds: for how long by now.
        task: the name of the task of a scope that holds it, ``None`` if it is none or unknown.
        where: the line it stands in, such as ``"shop.py:12, in total"``; "" if unknown.
        stack: the stack, taken while it stood still, outermost call first; for ``"starved"`` those of all busy threads.

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

_watching: dict[LoopAdapter, Watchdog] = {}
_lock = threading.Lock()


class Watch:
    """One scope's share of the watcher of its loop, which ends with the last of them.

    Args:
        port: the loop.
        thread: the thread it runs in.
        hook: is called with each `Stall`, in the watcher's thread.
    """

    def __init__(self, port: LoopAdapter, thread: int, hook: Hook | None) -> None:
        self.hook = hook
        self._port = port
        with _lock:
            dog = _watching.get(port)
            if dog is None:
                dog = _watching[port] = Watchdog(port, thread)
            dog.watches = (*dog.watches, self)
            self._dog = dog

    def scope_ended(self) -> None:
        """The scope has ended; with the last one the watcher's thread."""
        dog = self._dog
        with _lock:
            dog.watches = tuple(kept for kept in dog.watches if kept is not self)
            last = not dog.watches and _watching.get(self._port) is dog
            if last:
                del _watching[self._port]
        if last:
            dog.end()


class Watchdog:
    """Asks the loop again and again for a sign of life."""

    def __init__(self, port: LoopAdapter, thread: int) -> None:
        self.watches: tuple[Watch, ...] = ()  # replaced as a whole: the thread reads it
        self._port = port
        self._loop = thread
        self._over = False
        self._heard = self._asked = 0
        self._bell = threading.Event()
        self._thread = threading.Thread(target=self._run, name="unified_exec watchdog", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the thread; waits for it, but not for a hook that does not return."""
        self._over = True
        self._bell.set()
        self._thread.join(1.0)

    def _beat(self, number: int) -> None:
        self._heard = number

    def _run(self) -> None:
        while not self._over:
            self._asked += 1
            if not self._port.call_threadsafe(self._beat, self._asked):
                return
            self._wait_for(self._asked)
            self._bell.wait(STEP)

    def _wait_for(self, number: int) -> None:
        """Wait for a sign of life; report once if it does not come in time."""
        asked, computed = time.perf_counter(), time.process_time()
        reported = False
        while not self._over:
            self._bell.wait(STEP)
            # First of all the frames: whoever held the GIL has just let it go, and is about to go on.
            frames = sys._current_frames()
            waited = time.perf_counter() - asked
            try:
                if waited > LIMIT and not reported:
                    share = (time.process_time() - computed) / waited
                    stall = self._looked(frames, waited, share)
                    if stall is not None:
                        reported = True
                        self._report(stall)
            finally:
                del frames
            if self._heard == number:
                return

    def _looked(self, frames: dict[int, FrameType], waited: float, share: float) -> Stall | None:
        loop = _lines(frames.get(self._loop))
        if any(line.users for line in _inside(loop)):
            return _of_coroutine(loop, waited)
        if share < OURS:
            return None
        others = {thread: _lines(frame) for thread, frame in frames.items() if thread != self._loop}
        others.pop(threading.get_ident(), None)
        return _of_threads(others, waited)

    def _report(self, stall: Stall) -> None:
        logger = logging.getLogger(LOGGER)
        logger.warning("%s", stall)
        for hook in {id(watch.hook): watch.hook for watch in self.watches if watch.hook is not None}.values():
            try:
                hook(stall)
            except Exception:
                logger.exception("a hook of the watchdog failed: %r", hook)


class _Line(NamedTuple):
    """A line of a stack, with the name of the scope's task if it is the frame that runs one."""

    code: CodeType
    number: int
    task: str | None

    @property
    def users(self) -> bool:
        """It is in a file of the user's, as far as that can be told."""
        name = self.code.co_filename
        if name.startswith((_PACKAGE, "<frozen")):
            return False
        _, installed, rest = name.replace("\\", "/").rpartition("/site-packages/")
        return rest.split("/")[0] not in _LOOPS if installed else not name.startswith(_STANDARD)

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.number}, in {self.code.co_qualname}"


def _lines(frame: FrameType | None) -> list[_Line]:
    """The stack as plain data, innermost first: the thread it belongs to goes on meanwhile."""
    found: list[_Line] = []
    while frame is not None:
        task: str | None = None
        if frame.f_code is run_coroutine.__code__:
            handle: Any = frame.f_locals.get("handle")
            task = getattr(handle, "name", None)
        found.append(_Line(frame.f_code, frame.f_lineno or 0, task))
        frame = frame.f_back
    return found


def _inside(loop: list[_Line]) -> list[_Line]:
    """The part of a loop's stack that its coroutines have made; empty while it waits."""
    outermost = max((index for index, line in enumerate(loop) if line.code.co_flags & _ASYNC), default=-1)
    return loop[: outermost + 1]


def _of_coroutine(loop: list[_Line], waited: float) -> Stall:
    task = next((line.task for line in loop if line.task is not None), None)
    culprit = next(line for line in loop if line.users)
    sync = not culprit.code.co_flags & _ASYNC
    return Stall("sync" if sync else "coroutine", waited, task, str(culprit), _written(_inside(loop)))


def _of_threads(threads: dict[int, list[_Line]], waited: float) -> Stall | None:
    busy = {thread: lines for thread, lines in threads.items() if any(line.users for line in lines)}
    if not busy:
        return None
    alike: dict[str, list[int]] = {}
    for thread, lines in busy.items():
        alike.setdefault(_written(lines), []).append(thread)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    texts = [
        f"{len(idents)} thread{'s' if idents[1:] else ''} ({names.get(idents[0], idents[0])}):\n{text}"
        for text, idents in alike.items()
    ]
    first = next(line for line in next(iter(busy.values())) if line.users)
    return Stall("starved", waited, None, str(first), "\n".join(texts))


def _written(lines: Iterable[_Line]) -> str:
    import linecache

    text: list[str] = []
    for line in reversed(list(lines)):
        # Nothing of ours, nor of the loop's own way to the first line of the user's.
        if line.code.co_filename.startswith(_PACKAGE) or (not text and not line.users):
            continue
        text.append(f'  File "{line.code.co_filename}", line {line.number}, in {line.code.co_qualname}')
        source = linecache.getline(line.code.co_filename, line.number).strip()
        text += [f"    {source}"] if source else []
    return "\n".join(text)
