"""An event loop in a background thread that keeps one scope open: what `SyncTaskScope` is built on."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future, wait
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, overload

import anyio
from anyio.from_thread import BlockingPortal
from anyio.lowlevel import checkpoint_if_cancelled

from .._loops.current import current_adapter
from .._platform.posix import StandardTaken
from .._rules.arguments import seconds_left
from .._tasks.current import CurrentTask, Sleeper, current, sleepers

if TYPE_CHECKING:
    from .._loops.adapter import LoopAdapter
    from .._scope.scope import TaskScope

T = TypeVar("T")

TURN = 0.5
"""Seconds after which a wait begins anew: a signal that comes just before a wait begins does not interrupt it, and its
handler, that of Ctrl-C too, would not run until the wait has ended."""
TOO_LATE = "the scope has ended: take the results of its map() and stream() inside the block"


def has_ended(future: Future[Any], timeout: float | None = None, task: CurrentTask | None = None) -> bool:
    """Wait for the end of a future, however it ends; ``False`` if `timeout` seconds were not enough.

    Raises:
        Cancelled: `task` was requested to stop; seen at the latest after `TURN`.
    """
    end = None if timeout is None else monotonic() + seconds_left("timeout", timeout)
    while not future.done():
        if task is not None and task.cancel_requested:
            task.raise_cancelled()
        left = TURN if end is None else min(TURN, end - monotonic())
        try:
            future.exception(left)
        except CancelledError:
            pass
        except TimeoutError:
            if left < TURN:
                return future.done()
    return True


def current_thread_task() -> CurrentTask | None:
    """Return the task that runs in this thread, if it is one that only its own waits can tell to stop."""
    task = current.get()
    return task if task is not None and task.holds_thread else None


class LoopThread(Sleeper):
    """Runs an event loop in a thread and keeps a scope open on it, until the block in the caller's thread has ended.

    If a thread task has opened the scope and is requested to stop, the scope is cancelled.
    """

    def __init__(self, scope: TaskScope) -> None:
        self._scope = scope
        self._task = current_thread_task()
        self._portal: BlockingPortal | None = None
        self._adapter: LoopAdapter | None = None
        self._opened: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._left: anyio.Event
        self._error: Exception | None = None
        self._failed: BaseException | None = None
        self.is_left = False  # the scope was told that its block has ended

    def open(self) -> None:
        """Start the loop and enter the scope on it.

        Raises:
            RuntimeError: the scope was open before.
        """
        threading.Thread(target=self._run, name="unified_exec sync scope", daemon=True).start()
        wait((self._opened, self._ended), return_when="FIRST_COMPLETED")
        if not self._opened.done():
            self._ended.result()

    def interrupt(self) -> None:
        """Cancel the scope: the task that has opened it was requested to stop."""
        assert self._task is not None
        self.call_soon(self._scope.cancel, self._task.reason)

    def give_up(self) -> None:
        """Exit the scope as soon as it is open: the block will not run."""
        self._opened.add_done_callback(lambda _: self.call_soon(self._leave, None))

    def close(self, exc: BaseException | None) -> bool:
        """Exit the scope: wait for its tasks, or cancel them if the block raised `exc`.

        What a signal handler raises while it waits (Ctrl-C, `SystemExit`) cancels the tasks, as in the block; the
        second time it is raised at once.

        Returns:
            whether `exc` was only a cancellation by the scope itself, which is not raised again.

        Raises:
            BaseException: what the scope raises; Ctrl-C and `SystemExit` outside of a group if no task failed.
            Cancelled: the thread task that has opened the scope was requested to stop, and no task failed.
        """
        interrupt = None if exc is None or isinstance(exc, Exception) else exc
        while True:
            try:
                if not self.is_left:
                    self.call_soon(self._leave, exc)
                    self.is_left = True
                has_ended(self._ended)
                break
            except BaseException as raised:
                if interrupt is not None:
                    raise
                interrupt = raised
                ctrl_c = isinstance(raised, KeyboardInterrupt)
                self.call_soon(self._scope.cancel, "Ctrl-C" if ctrl_c else f"{type(raised).__name__} was raised")
        failed = self._ended.exception()
        self._ended = Future()  # no cycle from the error over its traceback to the future that holds it
        try:
            if interrupt is not None and isinstance(failed, BaseExceptionGroup):
                raise BaseExceptionGroup(failed.message, [interrupt, *failed.exceptions])
            failed = interrupt or failed
            if failed is not None and failed is not exc:
                raise failed
            if failed is None and self._task is not None and self._task.cancel_requested:
                self._task.raise_cancelled()
            return failed is None
        finally:
            del exc, interrupt, failed

    @overload
    def call(self, fn: Callable[[], Awaitable[T]]) -> T: ...

    @overload
    def call(self, fn: Callable[[], T]) -> T: ...

    def call(self, fn: Callable[[], Any]) -> Any:
        """Call `fn` in the loop's thread and wait for what it returns.

        Raises:
            RuntimeError: the loop has ended, or the caller is in its thread.
        """
        assert self._portal is not None
        if self.is_current():
            assert self._adapter is not None
            raise RuntimeError(TOO_LATE if self._adapter.ended() else would_wait_for_itself("this"))
        future = self._portal.start_task_soon(fn)
        has_ended(future)
        return future.result()

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn(*args)`` in the loop's thread without waiting for it, so Ctrl-C cannot interrupt the call."""
        assert self._adapter is not None
        self._adapter.call_threadsafe(fn, *args)

    def is_current(self) -> bool:
        """Tell whether the caller is in the loop's thread."""
        return self._adapter is not None and not self._adapter.elsewhere()

    def _leave(self, exc: BaseException | None) -> None:
        if isinstance(exc, Exception):
            self._error = exc
        elif exc is not None:  # raised on the loop it would end the loop instead of the scope
            self._scope.cancel(f"its block was left by {type(exc).__name__}")
        self._left.set()

    def _run(self) -> None:
        failed: BaseException | None = None
        try:
            with StandardTaken() as taken:  # until the loop has opened its descriptors
                anyio.run(self._live, taken)
            failed, self._failed = self._failed, None
        except BaseException as exc:
            failed = exc
        try:
            if failed is not None:
                self._ended.set_exception(failed)
            else:
                self._ended.set_result(None)
        finally:
            del failed

    async def _live(self, standard: StandardTaken) -> None:
        """Keep the scope open. What the scope raises is stored in `_failed`: raised by this task, the error
        would be in a reference cycle through its traceback."""
        standard.release()
        self._left = anyio.Event()
        async with BlockingPortal() as self._portal:
            try:
                async with self._scope:
                    self._adapter = current_adapter()
                    if self._task is not None:
                        sleepers[self] = self._task
                        if self._task.cancel_requested:
                            self.interrupt()
                    self._opened.set_result(None)
                    with anyio.CancelScope(shield=True):  # a cancelled scope waits for the caller's block all the same
                        await self._left.wait()
                    await self._raise()
            except Exception as exc:
                self._failed = exc  # the portal's task group would wrap it in another group
            finally:
                sleepers.pop(self, None)

    async def _raise(self) -> None:
        """End the scope's block with what the caller's block raised."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            await checkpoint_if_cancelled()
        finally:
            del error


def would_wait_for_itself(what: str) -> str:
    """The message for a wait in the thread of the scope's loop, where nothing else can go on meanwhile."""
    return (
        f"{what} would wait for itself: it was called in the thread of the scope's event loop, where callbacks run and "
        "the items of map() are read; give map() a list: scope.map(f, [handle.result() for handle in handles])"
    )
