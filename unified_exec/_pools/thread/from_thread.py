"""What `anyio.from_thread` uses in the threads of a pool: the event loop that the task was spawned on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from ..._tasks.current import current
from ..._tasks.loaded import loaded
from ...errors import Cancelled
from .call import ThreadCall
from .queues import Link

if TYPE_CHECKING:
    from .from_thread_trio import TrioHost

try:
    from anyio._core._eventloop import threadlocals
except ImportError:  # then anyio.from_thread asks for its `token` argument
    import threading

    threadlocals = threading.local()


class FromThread:
    """Takes the place of an anyio backend class, and cancels what a task runs on the loop along with the task."""

    def __init__(self, token: EventLoopToken) -> None:
        self._backend: Any = token.backend_class
        self._native: Any = token.native_token

    def forget_loop(self) -> None:
        """Drop the loop, which has ended: idle threads keep this object until their next task."""
        self._native = None

    def _loop(self) -> Any:
        if self._native is None:
            raise RuntimeError("the event loop that this task was spawned on has ended")
        return self._native

    def run_async_from_thread(
        self, func: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], token: object
    ) -> Any:
        call = current.get()
        if not isinstance(call, ThreadCall):  # the user's code runs in another context
            return self._backend.run_async_from_thread(func, args, token=self._loop())
        call.check_cancelled()
        scopes = call.loop_scopes = set() if call.loop_scopes is None else call.loop_scopes
        done = False

        async def serve() -> Any:
            nonlocal done
            with anyio.CancelScope() as scope:
                scopes.add(scope)  # in the loop's thread, as is the cancelling
                try:
                    if call.cancel_requested:
                        scope.cancel()
                    value = await func(*args)
                    done = True
                    return value
                finally:
                    scopes.discard(scope)

        value = self._backend.run_async_from_thread(serve, (), token=self._loop())
        if not done:
            raise Cancelled(call.reason)
        return value

    def run_sync_from_thread(self, func: Callable[..., Any], args: tuple[Any, ...], token: object) -> Any:
        return self._backend.run_sync_from_thread(func, args, token=self._loop())

    def check_cancelled(self) -> None:
        call = current.get()
        if call is not None:
            call.check_cancelled()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class LoopLink:
    """The event loop of a lane, as its threads reach it.

    Attributes:
        token: what `anyio.from_thread` uses.
        trio_host: what `trio.from_thread` uses; ``None`` on other loops.
    """

    __slots__ = ("_from_thread", "token", "trio_host")

    def __init__(self, token: EventLoopToken) -> None:
        # The backend class is ours, and reaches the loop. Idle threads keep the token: it must not keep the loop.
        self._from_thread = FromThread(token)
        self.token = EventLoopToken(self._from_thread, None)  # type: ignore[arg-type]
        self.trio_host: TrioHost | None = None
        if type(token.native_token).__name__ == "TrioToken":
            from .from_thread_trio import TrioHost

            self.trio_host = TrioHost(token.native_token)  # type: ignore[arg-type]

    def forget_loop(self) -> None:
        """Drop the loop, which has ended."""
        self._from_thread.forget_loop()


def link_to_loop() -> LoopLink | None:
    """Return the link for the lane of the running loop; ``None`` if anyio does not know the loop."""
    try:
        return LoopLink(current_token())
    except RuntimeError:
        return None


def enter(link: Link | None) -> None:
    """Let `anyio.from_thread` and `trio.from_thread` use `link` in this thread; ``None`` for no loop."""
    if link is not None:
        threadlocals.current_token = link.token
    elif hasattr(threadlocals, "current_token"):
        del threadlocals.current_token
    if link is not None and link.trio_host is not None:
        link.trio_host.enter()
    elif (from_thread_trio := loaded(FROM_THREAD_TRIO)) is not None:
        from_thread_trio.leave()


FROM_THREAD_TRIO = f"{__package__}.from_thread_trio"
