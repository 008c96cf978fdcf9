"""The worker that runs coroutine functions, many at a time, in an asyncio event loop of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from time import monotonic
from types import FrameType
from typing import Any

from .._platform.posix import DONTWAIT
from .._tasks.current import CurrentTask, current
from .._wire import frames, shared_object
from .._wire.pickling.functions import FunctionTable
from ..errors import Cancelled
from . import messages, send_result
from .cancel_signal import NOT_ASKED, CancelSignal
from .connection import CONTROL_FD, TASKS_FD, WorkerConnection
from .messages import WorkerTask
from .run_calls import learn_only, load
from .settings import Settings

_ASYNCIO = os.path.dirname(asyncio.__file__)
_BLOCKS = 0.02
"""Seconds an ask may wait for the loop until a task that keeps the loop counts as blocking it."""
_BATCH = 32  # tasks begun in one turn of the loop, so that running ones get theirs


class CoroutineRunner:
    """Starts every task it is sent at once; each is answered when it ends."""

    def __init__(self, link: WorkerConnection, settings: Settings, bell: CancelSignal) -> None:
        self.link = link
        self.settings = settings
        self.end = bell.end
        self.bell = _LoopBell(link, self)
        messages.here = messages.TaskMessenger(link, self.bell)
        shared_object.look = self.bell.look_on_loop
        self.bell.end = self.end
        self.bell.credit = bell.credit  # some may have come while we started
        self.bell.watch_swallowed()
        self.functions = FunctionTable()
        self.running: dict[int, tuple[asyncio.Task[None], CurrentTask]] = {}
        self.done = 0
        self.leaving = False
        self._last = monotonic()

    def serve(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.over = asyncio.Event()
        self.bell.install()
        self.loop.add_reader(TASKS_FD, self._take)
        self.loop.add_reader(CONTROL_FD, self.bell.look_on_loop)
        if self.settings.idle is not None:
            self.loop.call_later(self.settings.idle, self._check_idle, self.settings.idle)
        await self.over.wait()
        self.loop.remove_reader(TASKS_FD)
        self.loop.remove_reader(CONTROL_FD)

    def _take(self) -> None:
        try:
            for _ in range(_BATCH):
                received = self.link.next_task(DONTWAIT)
                if received is None:
                    self.leave()
                    for task, _view in list(self.running.values()):
                        task.cancel()
                    return
                self._begin(*received)
        except BlockingIOError:
            pass
        except (OSError, frames.ProtocolError):
            os._exit(1)

    def _begin(self, message: memoryview, fd: int | None) -> None:
        """Rebuild the call while its message is still in the buffer, and start it."""
        self._last = monotonic()
        task = frames.unpack_task(message)
        if not self.bell.end.claim(task.id):
            learn_only(self.functions, task, fd)
            now = monotonic()
            self.link.answer(frames.pack_done(task.id, frames.UNSTARTED, now, now))
            return
        error: BaseException | None = None
        fn: Any = None
        args: Any = ()
        try:
            fn, args = load(self.functions, task, fd)
        except BaseException as exc:  # also what a __setstate__ of the user's raises to end the program
            error = exc
        task.function = task.payload = b""  # views into the buffer, which the next message overwrites
        view = WorkerTask(task.id, task.name, "process", task.deadline or None)
        running = self.loop.create_task(self._run(task, view, fn, args, error), name=task.name)
        self.running[task.id] = (running, view)
        if self.end.early:
            self.bell.deliver(None)  # asked while its arguments were rebuilt

    async def _run(
        self,
        task: frames.TaskMessage,
        view: CurrentTask,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        error: BaseException | None,
    ) -> None:
        current.set(view)
        started = monotonic()
        value: Any = None
        if error is None:
            try:
                value = await fn(*args)
            except BaseException as exc:
                error = exc
        self.bell.end_trace()
        finished = monotonic()
        del fn, args
        del self.running[task.id]
        self.end.early.pop(task.id, None)
        self.done += 1
        stopped = self.bell.stopped(view, error, asyncio.CancelledError)
        send_result.flush()
        self.bell.install()
        if self.bell.poisoned or self.settings.worn_out(self.done):
            self.leave()
        try:
            send_result.send(self.link, task, value, error, stopped, started, finished, False)
        except OSError:
            os._exit(1)
        error = value = None
        self._last = monotonic()
        self._maybe_over()

    def stop(self, id: int) -> None:
        """Cancel a task that was asked to stop, unless it was interrupted meanwhile or has ended."""
        reason = self.end.early.pop(id, NOT_ASKED)
        if reason is not NOT_ASKED and id in self.running:
            self.running[id][0].cancel(reason)

    def leave(self) -> None:
        """Take no more tasks; end when the running ones have ended."""
        if not self.leaving:
            self.leaving = True
            self.loop.remove_reader(TASKS_FD)
            try:
                self.link.answer(frames.pack_payload(frames.RETIRED))
            except OSError:
                pass  # the parent has closed its end
        self._maybe_over()

    def _maybe_over(self) -> None:
        if self.leaving and not self.running:
            self.over.set()

    def _check_idle(self, idle: float) -> None:
        rest = self._last + idle - monotonic()
        if self.running:
            rest = idle
        if rest <= 0:
            self.leave()
        else:
            self.loop.call_later(rest, self._check_idle, idle)


class _LoopBell(CancelSignal):
    """Cancels through the loop; raises only in a task that blocks the loop with plain code."""

    __slots__ = ("_runner", "asked_at")

    def __init__(self, link: WorkerConnection, runner: CoroutineRunner) -> None:
        super().__init__(link)
        self._runner = runner
        self.asked_at = 0.0  # when the newest ask was handed to the loop

    def look_on_loop(self) -> None:
        self.look()
        self.deliver(None)

    def deliver(self, frame: FrameType | None) -> None:
        runner = self._runner
        blocking = 0
        now = monotonic()
        for id in list(self.end.early):
            entry = runner.running.get(id)
            if entry is None:
                continue
            task, view = entry
            if not view.cancel_requested:
                self.asked_at = now
                view.request_cancel(self.end.early.get(id))
                # Until then it stays asked: if the task, or another, blocks the loop, the next bell finds it.
                runner.loop.call_soon_threadsafe(runner.stop, id)
            elif now - self.asked_at > _BLOCKS and self._blocked_by(task, frame):
                blocking = id
        if blocking and (reason := self.end.early.pop(blocking, NOT_ASKED)) is not NOT_ASKED:
            self.view = runner.running[blocking][1]
            self.raise_in(frame, reason)
        if self.stop:
            runner.loop.call_soon_threadsafe(runner.leave)

    def _blocked_by(self, task: asyncio.Task[None], frame: FrameType | None) -> bool:
        return frame is not None and task is asyncio.current_task(self._runner.loop) and _in_user_code(frame)

    def swallowed(self, unraisable: Any) -> bool:
        """Cancel through the loop what could not be interrupted."""
        if not isinstance(unraisable.exc_value, Cancelled) or self.view is None:
            return False
        view = self.view
        self._runner.loop.call_soon_threadsafe(self._runner.stop, view.id)
        self.end.early[view.id] = view.reason  # last: a bell in here would raise where it is swallowed again
        return True


def _in_user_code(frame: FrameType) -> bool:
    """A raise inside asyncio itself could leave the loop in pieces."""
    here: FrameType | None = frame
    while here is not None:
        name = here.f_code.co_filename
        if name == __file__:
            return here.f_code.co_name == "_run" and here is not frame
        if name.startswith(_ASYNCIO):
            return False
        here = here.f_back
    return False
