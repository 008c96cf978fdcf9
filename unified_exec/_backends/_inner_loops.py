"""Event loops that a thread task runs itself (`anyio.run`, `asyncio.run`, `trio.run`), and how to stop them.

A raise that lands in the loop's own code would be logged and lost, or leave the loop in pieces; one aimed at a loop
that waits in the selector never lands. So the loop's main task is cancelled through the loop, in the loop's own way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, NamedTuple


class InnerLoop(NamedTuple):
    """An event loop on the stack of a thread.

    Attributes:
        cancel: cancels its main task; in any thread.
        above: the innermost code of the loop's libraries, above which only the user's runs; ``None`` if they run now.
    """

    cancel: Callable[[], object]
    above: CodeType | None


def find(frame: FrameType, end: CodeType) -> InnerLoop | None:
    """Find the innermost event loop on the stack from `frame` out to `end`."""
    machinery = _machinery()
    above: CodeType | None = None
    at: FrameType | None = frame
    while at is not None and at.f_code is not end:
        if at.f_code.co_filename.startswith(machinery):
            above = above or at.f_code
            cancel = _canceller(at)
            if cancel is not None:
                return InnerLoop(cancel, None if above is frame.f_code else above)
        at = at.f_back
    return None


def find_waiting(ident: int) -> Callable[[], object] | None:
    """Find the asyncio loop that thread `ident` runs, where its stack cannot be read; slow."""
    if "asyncio" not in sys.modules:
        return None
    import asyncio
    import gc

    for thing in gc.get_objects():
        if isinstance(thing, asyncio.BaseEventLoop) and getattr(thing, "_thread_id", None) == ident:
            return lambda loop=thing: _in_loop(loop, _cancel_all, loop)  # type: ignore[misc]
    return None


def cancellations() -> tuple[type[BaseException], ...]:
    """What a main task that was cancelled ends with."""
    kinds: list[type[BaseException]] = []
    if "asyncio" in sys.modules:
        kinds.append(sys.modules["asyncio"].CancelledError)
    if "trio" in sys.modules:
        kinds.append(sys.modules["trio"].Cancelled)
    return tuple(kinds)


def _machinery() -> tuple[str, ...]:
    """Folders of the libraries that event loops are made of, as far as they are loaded."""
    names = [name for name in ("asyncio", "trio", "anyio") if name in sys.modules]
    folders = [os.path.dirname(sys.modules[name].__file__ or "") + os.sep for name in names]
    return tuple(folder for folder in folders if folder != os.sep)


def _canceller(frame: FrameType) -> Callable[[], object] | None:
    """What cancels the main task of the loop that `frame` runs, if it is the one that started it."""
    name, names = frame.f_code.co_name, frame.f_locals
    if name == "run_until_complete":
        future, loop = names.get("future"), names.get("self")
        return None if future is None or loop is None else lambda: _in_loop(loop, future.cancel)
    if name == "run" and "task" in names:  # of asyncio.Runner: also of a loop that is not written in Python
        task = names["task"]
        return lambda: _in_loop(task.get_loop(), task.cancel)
    if name == "run_forever" and frame.f_back is not None and frame.f_back.f_code.co_name != "run_until_complete":
        loop = names.get("self")
        return None if loop is None else lambda: _in_loop(loop, loop.stop)
    if name in ("run", "unrolled_run") and hasattr(names.get("runner"), "entry_queue"):
        runner = names["runner"]
        return lambda: _cancel_trio(runner)
    return None


def _in_loop(loop: Any, fn: Callable[..., object], *args: object) -> None:
    try:
        loop.call_soon_threadsafe(fn, *args)
    except RuntimeError:
        pass  # it has just ended


def _cancel_all(loop: Any) -> None:
    import asyncio

    for task in asyncio.all_tasks(loop):
        task.cancel()


def _cancel_trio(runner: Any) -> None:
    trio: Any = sys.modules["trio"]

    def cancel() -> None:
        main = runner.main_task
        if main is not None and main.parent_nursery is not None:
            main.parent_nursery.cancel_scope.cancel()

    try:
        runner.entry_queue.run_sync_soon(cancel)
    except trio.RunFinishedError:
        pass
