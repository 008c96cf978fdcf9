"""What `anyio.from_thread` uses in the threads of a pool: the event loop that the task was spawned on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from ..._tasks.current import current
from ...errors import Cancelled
from .call import ThreadCall

try:
    from anyio._core._eventloop import threadlocals
except ImportError:  # then anyio.from_thread asks for its `token` argument
    import threading

    threadlocals = threading.local()


class FromThread:
    """Takes the place of an anyio backend class, and cancels what a task runs on the loop along with the task."""

    def __init__(self, token: EventLoopToken) -> None:
        self._backend: Any = token.backend_class
        self._native = token.native_token

    def run_async_from_thread(
        self, func: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], token: object
    ) -> Any:
        call = current.get()
        if not isinstance(call, ThreadCall):  # the user's code runs in another context
            return self._backend.run_async_from_thread(func, args, token=self._native)
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

        value = self._backend.run_async_from_thread(serve, (), token=self._native)
        if not done:
            raise Cancelled(call.reason)
        return value

    def run_sync_from_thread(self, func: Callable[..., Any], args: tuple[Any, ...], token: object) -> Any:
        return self._backend.run_sync_from_thread(func, args, token=self._native)

    def check_cancelled(self) -> None:
        call = current.get()
        if call is not None:
            call.check_cancelled()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def token_for_threads() -> EventLoopToken | None:
    """Return a token for the lane of the running loop; ``None`` if anyio does not know the loop."""
    try:
        token = current_token()
    except RuntimeError:
        return None
    return EventLoopToken(FromThread(token), token.native_token)  # type: ignore[arg-type]


def enter(token: EventLoopToken | None) -> None:
    """Let `anyio.from_thread` use `token` in this thread; ``None`` for no loop."""
    if token is not None:
        threadlocals.current_token = token
    elif hasattr(threadlocals, "current_token"):
        del threadlocals.current_token
