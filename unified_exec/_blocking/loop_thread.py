"""A scope on an event loop of its own, in a background thread: what `SyncTaskScope` stands on."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar, overload

import anyio
from anyio.from_thread import BlockingPortal
from anyio.lowlevel import checkpoint_if_cancelled

if TYPE_CHECKING:
    from .._scope.scope import TaskScope

T = TypeVar("T")


class Host:
    """Keeps one scope open in a thread of its own until the block in the caller's thread is left."""

    def __init__(self, scope: TaskScope) -> None:
        self._scope = scope
        self._portal: BlockingPortal | None = None
        self._opened: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._left: anyio.Event
        self._error: Exception | None = None
        self._failed: BaseException | None = None

    def open(self) -> None:
        """Start the loop and open the scope on it.

        Raises:
            RuntimeError: the scope was open before.
        """
        threading.Thread(target=self._run, name="unified_exec sync scope", daemon=True).start()
        wait((self._opened, self._ended), return_when="FIRST_COMPLETED")
        if not self._opened.done():
            self._ended.result()

    def close(self, exc: BaseException | None) -> bool:
        """Leave the scope: its tasks end, or are cancelled if `exc` came out of the block.

        The first Ctrl-C while it waits cancels the tasks; the second one is raised at once.

        Returns:
            whether `exc` was no more than a cancellation by the scope itself, and ends here.

        Raises:
            BaseException: what the scope raises; Ctrl-C and `SystemExit` bare, if no task failed.
        """
        interrupt = exc if not isinstance(exc, Exception) else None
        self._tell(self._leave, exc)
        while not self._ended.done():
            try:
                wait((self._ended,))
            except KeyboardInterrupt as again:
                if interrupt is not None:
                    raise
                interrupt = again
                self._tell(self._scope.cancel, "Ctrl-C")
        failed = self._ended.exception()
        self._ended = Future()  # or what is raised here would lead to itself
        try:
            if interrupt is not None and isinstance(failed, BaseExceptionGroup):
                raise BaseExceptionGroup(failed.message, [interrupt, *failed.exceptions])
            failed = interrupt or failed
            if failed is not None and failed is not exc:
                raise failed
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
            RuntimeError: the loop has ended.
        """
        assert self._portal is not None
        return self._portal.call(fn)

    def here(self) -> bool:
        """Tell whether this is the loop's own thread."""
        return self._scope._port is not None and not self._scope._port.elsewhere()

    def _tell(self, fn: Callable[..., object], *args: Any) -> None:
        # Without waiting: Ctrl-C has no moment to come in between.
        assert self._scope._port is not None
        self._scope._port.call_threadsafe(fn, *args)

    def _leave(self, exc: BaseException | None) -> None:
        if isinstance(exc, Exception):
            self._error = exc
        elif exc is not None:  # raised on the loop it would end that instead of the scope
            self._scope.cancel(f"its block was left by {type(exc).__name__}")
        self._left.set()

    def _run(self) -> None:
        failed: BaseException | None = None
        try:
            anyio.run(self._live)
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

    async def _live(self) -> None:
        """Keep the scope open. What it raises is not the outcome of this loop's task, or it would lead to itself."""
        self._left = anyio.Event()
        async with BlockingPortal() as self._portal:
            try:
                async with self._scope:
                    self._opened.set_result(None)
                    with anyio.CancelScope(shield=True):  # what is cancelled does not end the block
                        await self._left.wait()
                    await self._raise()
            except Exception as exc:
                self._failed = exc  # the portal's own group would put it into another

    async def _raise(self) -> None:
        """End the scope's block as the caller's block has ended."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            await checkpoint_if_cancelled()
        finally:
            del error
