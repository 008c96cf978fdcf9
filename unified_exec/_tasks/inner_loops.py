"""Event loops that a task runs itself (`anyio.run`, `asyncio.run`, `trio.run`), and how to stop them.

An exception raised in the loop's own code would be logged and lost, or leave the loop broken; one aimed at a loop that
waits in the selector never lands. So the loop's main task is cancelled through the loop, in the loop's own way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import CodeType, FrameType

from .loaded import loaded

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

_WAITING = (os.path.join("anyio", "from_thread.py"), os.path.join("trio", "_threads.py"))
"""Files of these libraries in which a thread waits for a loop of another thread."""
_COROUTINE = 0x80 | 0x100 | 0x200  # CO_COROUTINE, CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR


class InnerLoop:
    """An event loop on the stack of a thread.

    Attributes:
        cancel: cancels its main task; may be called in any thread.
        above: the innermost code of the loop's libraries that a coroutine of the user runs above; ``None`` if none
            runs now.
    """

    __slots__ = ("above", "cancel")

    def __init__(self, cancel: Callable[[], object], above: CodeType | None) -> None:
        self.cancel = cancel
        self.above = above


def find(frame: FrameType, end: CodeType | None) -> InnerLoop | None:
    """Find the innermost event loop on the stack from `frame` out to `end`."""
    machinery = _machinery()
    above: CodeType | None = None
    in_a_coroutine = False
    at: FrameType | None = frame
    while at is not None and at.f_code is not end:
        code = at.f_code
        if code.co_filename.startswith(machinery):
            above = above or code
            cancel = _canceller(at)
            if cancel is not None:
                return InnerLoop(cancel, above if in_a_coroutine else None)
        elif above is None:
            # Code that is not a coroutine may be part of the loop, from elsewhere: a selector, a container.
            in_a_coroutine |= bool(code.co_flags & _COROUTINE)
        at = at.f_back
    return None


def is_between(frame: FrameType, end: CodeType | None) -> bool:
    """Tell whether code of these libraries runs on the stack where `find` finds no loop: one is being created or
    closed, and a raise would leave it open."""
    machinery = _machinery()
    at: FrameType | None = frame
    while at is not None and at.f_code is not end:
        name = at.f_code.co_filename
        if name.startswith(machinery) and not name.endswith(_WAITING):
            return True
        at = at.f_back
    return False


def wake_all() -> None:
    """Wake every event loop of this process, whose stacks cannot be read from here: each then runs some of its code.

    Slow, as it looks through all objects; for a thread that was requested to stop and has not run any Python code for
    a while.
    """
    import gc

    asyncio, trio = loaded("asyncio"), loaded("trio")
    for thing in gc.get_objects():
        if asyncio is not None and isinstance(thing, asyncio.AbstractEventLoop):
            if thing.is_running():
                _in_loop(thing, int)
        elif trio is not None and type(thing).__name__ == "Runner" and type(thing).__module__ == "trio._core._run":
            _in_trio(thing, int)


def cancellations() -> tuple[type[BaseException], ...]:
    """The exceptions that end a main task that was cancelled."""
    kinds: list[type[BaseException]] = []
    if (asyncio := loaded("asyncio")) is not None:
        kinds.append(asyncio.CancelledError)
    if (trio := loaded("trio")) is not None:
        kinds.append(trio.Cancelled)
    return tuple(kinds)


def _machinery() -> tuple[str, ...]:
    """Folders of the event loop libraries that are loaded."""
    found = [module.__file__ for name in ("asyncio", "trio", "anyio") if (module := loaded(name)) is not None]
    return tuple([os.path.dirname(path) + os.sep for path in found if path])


def _canceller(frame: FrameType) -> Callable[[], object] | None:
    """Return what cancels the main task of a loop, if `frame` is the one that started the loop."""
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


def _cancel_trio(runner: Any) -> None:
    def cancel() -> None:
        main = runner.main_task
        if main is not None and main.parent_nursery is not None:
            main.parent_nursery.cancel_scope.cancel()

    _in_trio(runner, cancel)


def _in_trio(runner: Any, fn: Callable[[], object]) -> None:
    try:
        runner.entry_queue.run_sync_soon(fn)
    except RuntimeError:
        pass  # it has just ended
