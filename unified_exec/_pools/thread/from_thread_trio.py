"""What `trio.from_thread` uses in the threads of a pool: trio keeps it in one thread-local object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
from trio.lowlevel import Abort, TrioToken

from ..._tasks.current import current
from .call import ThreadCall

try:
    from trio._threads import PARENT_TASK_DATA as _parent_task_data
except ImportError:  # then trio.from_thread asks for its `trio_token` argument

    class _Unused:
        pass

    _parent_task_data = _Unused()  # type: ignore[assignment]


class _CancelRegister:
    """Takes the place of a list whose only item raises the cancellation of the calling thread's task."""

    def __getitem__(self, index: int) -> Callable[[], object] | None:
        call = current.get()
        return call.check_cancelled if call is not None and call.is_cancelled() else None


class TrioHost:
    """Runs on the loop what a thread sends there. To trio it is the token of the run, and the register of the task that
    waits for the thread."""

    def __init__(self, token: TrioToken) -> None:
        self._token = token
        self._task: trio.lowlevel.Task | None = None

    def enter(self) -> None:
        """Let `trio.from_thread` use this in the calling thread."""
        data: Any = _parent_task_data
        data.token = data.task_register = self
        data.abandon_on_cancel = False
        data.cancel_register = _CANCEL_REGISTER

    def __getitem__(self, index: int) -> trio.lowlevel.Task | None:
        return self._task

    def run_sync_soon(self, deliver: Callable[[], object]) -> None:
        """Start a task on the loop and hand it the message: `deliver` wakes the task of the register with it.

        Raises:
            Cancelled: the thread's task was cancelled.
            trio.RunFinishedError: the run has ended.
        """
        call = current.get()
        if isinstance(call, ThreadCall):
            call.check_cancelled()
        self._token.run_sync_soon(self._start, call, deliver)

    def _start(self, call: object, deliver: Callable[[], object]) -> None:
        try:
            trio.lowlevel.spawn_system_task(self._serve, call, deliver)
        except RuntimeError:  # the run is ending
            for cell in getattr(deliver, "__closure__", None) or ():
                if hasattr(cell.cell_contents, "queue"):
                    cell.cell_contents.queue.put_nowait(_Ended())

    async def _serve(self, call: object, deliver: Callable[[], object]) -> None:
        """Be the task that waits for the thread, until it has sent its message, and do what the message says."""
        import anyio

        with anyio.CancelScope() as scope:
            scopes: set[anyio.CancelScope] = set()
            if isinstance(call, ThreadCall):
                scopes = call.loop_scopes = set() if call.loop_scopes is None else call.loop_scopes
                if call.cancel_requested:
                    scope.cancel()
            scopes.add(scope)
            try:
                self._token.run_sync_soon(self._deliver, trio.lowlevel.current_task(), deliver)
                message: Any = await trio.lowlevel.wait_task_rescheduled(lambda _: Abort.FAILED)
                if hasattr(message, "run"):
                    await message.run()
                else:
                    message.run_sync()
            finally:
                scopes.discard(scope)

    def _deliver(self, task: trio.lowlevel.Task, deliver: Callable[[], object]) -> None:
        self._task = task
        try:
            deliver()
        finally:
            self._task = None


class _Ended:
    def unwrap(self) -> None:
        raise trio.RunFinishedError("the run is ending")


_CANCEL_REGISTER = _CancelRegister()


def leave() -> None:
    """Let `trio.from_thread` find no run in the calling thread."""
    for name in ("token", "task_register", "abandon_on_cancel", "cancel_register"):
        if hasattr(_parent_task_data, name):
            delattr(_parent_task_data, name)
