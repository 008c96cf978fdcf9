"""The worker that runs coroutine functions, many at a time, in an asyncio event loop of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from time import monotonic
from types import FrameType
from typing import Any

from . import answers
from .bell import Bell
from .calls import learn_only, load
from .link import CONTROL_FD, DONTWAIT, TASKS_FD, Link
from .settings import Settings
from .._model.current import CurrentTask, current
from .._wire import frames
from .._wire.functions import FunctionTable
from ..errors import Cancelled

_ASYNCIO = os.path.dirname(asyncio.__file__)
_BATCH = 32  # tasks begun in one turn of the loop, so that running ones get theirs


class CoroutineRunner:
    """Starts every task it is sent at once; each is answered when it ends."""

    def __init__(self, link: Link, settings: Settings, bell: Bell) -> None:
        self.link = link
        self.settings = settings
        self.end = bell.end
        self.bell = _LoopBell(link, self)
        self.functions = FunctionTable()
        self.running: dict[int, tuple[asyncio.Task[None], CurrentTask]] = {}
        self.done = 0
        self.leaving = False
        self._early = bell.end.early
        self._last = monotonic()

    def serve(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.over = asyncio.Event()
        self.bell.install()
        self.bell.end.early.update(self._early)
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
        except Exception as exc:
            error = exc
        task.card = task.payload = b""  # views into the buffer, which the next message overwrites
        view = CurrentTask(task.id, task.name, "process", task.deadline or None)
        running = self.loop.create_task(self._run(task, view, fn, args, error), name=task.name)
        self.running[task.id] = (running, view)

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
        finished = monotonic()
        del fn, args
        self.bell.end_trace()
        del self.running[task.id]
        self.done += 1
        stopped = view.asked and isinstance(error, (asyncio.CancelledError, Cancelled))
        answers.flush()
        self.bell.install()
        if self.bell.poisoned or self.settings.worn_out(self.done):
            self.leave()
        try:
            answers.send(self.link, task, value, error, stopped, started, finished, False)
        except OSError:
            os._exit(1)
        error = value = None
        self._last = monotonic()
        self._maybe_over()

    def stop(self, id: int, reason: str | None) -> None:
        """Cancel a running task."""
        if id in self.running:
            self.running[id][1].ask(reason)
            self.running[id][0].cancel(reason)

    def leave(self) -> None:
        """Take no more tasks; end when the running ones have ended."""
        if not self.leaving:
            self.leaving = True
            self.loop.remove_reader(TASKS_FD)
            try:
                self.link.answer(frames.pack_blob(frames.RETIRED))
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


class _LoopBell(Bell):
    """Cancels through the loop; raises only in a task that blocks the loop with plain code."""

    __slots__ = ("_runner",)

    def __init__(self, link: Link, runner: CoroutineRunner) -> None:
        super().__init__(link)
        self._runner = runner

    def look_on_loop(self) -> None:
        self.look()
        self.deliver(None)

    def deliver(self, frame: FrameType | None) -> None:
        runner = self._runner
        for id in [id for id in self.end.early if id in runner.running]:
            reason = self.end.early.pop(id)
            task, view = runner.running[id]
            view.ask(reason)
            if frame is not None and task is asyncio.current_task(runner.loop) and _in_user_code(frame):
                self.raise_in(frame, reason)
            else:
                runner.loop.call_soon_threadsafe(runner.stop, id, reason)
        if self.stop:
            runner.loop.call_soon_threadsafe(runner.leave)


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


