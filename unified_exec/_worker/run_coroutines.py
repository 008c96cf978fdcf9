"""The worker that runs coroutine functions, many at a time, in an asyncio event loop of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from _contextvars import Context
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from .._platform.posix import DONTWAIT
from .._tasks.current import current
from .._wire import frames
from .._wire.pickling.function_table import FunctionTable, decode_call
from . import forked, send_result
from .cancel_signal import NOT_REQUESTED
from .connection import WorkerConnection
from .context import WorkerContext, WorkerTask
from .context_state import ContextState
from .loop_cancel_signal import LoopCancelSignal
from .process_state import ProcessState
from .run_calls import learn_only, unpack
from .settings import CONTROL_FD, TASKS_FD, Settings

_BATCH = 32
"""Tasks begun in one turn of the loop, so that running ones get their turn."""


class CoroutineRunner:
    """Starts every task it is sent at once; each is answered when it ends.

    Attributes:
        signal: cancels the running tasks.
        context: what the tasks need of this worker.
        variables: makes the context in which each task runs.
        process: what tasks must leave as it was; set before the first task.
        functions: the functions this worker has learnt.
        running: the running tasks by id.
        done: how many tasks have ended.
        leaving: no more tasks are taken.
    """

    def __init__(self, connection: WorkerConnection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self.running: dict[int, tuple[asyncio.Task[None], WorkerTask]] = {}
        code = CoroutineRunner._run.__code__
        self.signal = LoopCancelSignal(connection, self.running, self._cancel, self.leave, code)
        self.context = WorkerContext(connection, self.signal)
        self.process: ProcessState
        self.functions = FunctionTable()
        self.variables = ContextState()
        self.functions.on_context = self.variables.learn
        self.done = 0
        self.leaving = False
        self._last = monotonic()

    def serve(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        signal, idle = self.signal, self._settings.idle
        self._loop = signal.loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self.process.forget_handler = self._loop.remove_signal_handler
        signal.install()
        self._loop.add_reader(TASKS_FD, self._take)
        self._loop.add_reader(CONTROL_FD, signal.poll)
        signal.poll()
        if idle is not None:
            self._loop.call_later(idle, self._check_idle, idle)
        await self._over.wait()
        self._loop.remove_reader(TASKS_FD)
        self._loop.remove_reader(CONTROL_FD)
        signal.loop = None  # a signal that comes now finds no loop to tell

    def in_forked_child(self) -> None:
        """Called in the child of a fork: it ends when its coroutine hands over to the loop, before any other runs."""
        loop = self.signal.loop
        if loop is not None:
            getattr(loop, "_ready", deque()).clear()  # there is no public way to drop what the loop has to call
            loop.call_soon(forked.end_in_loop)

    def _take(self) -> None:
        try:
            for _ in range(_BATCH):
                received = self._connection.next_task(DONTWAIT)
                if received is None:
                    self.leave()
                    for running, _ in list(self.running.values()):
                        running.cancel()
                    return
                self._begin(*received)
        except BlockingIOError:
            pass
        except (OSError, frames.ProtocolError):
            os._exit(1)
        except BaseException as exc:
            forked.end(exc)  # as below: the task at hand is known to nobody

    def _begin(self, message: memoryview, fd: int | None) -> None:
        """Rebuild the call while its message is still in the buffer, and start it."""
        self._last = monotonic()
        task = frames.unpack_task(message)
        signal, id, name = self.signal, task.id, task.name
        self.context.watched = task.flags & frames.WATCHED != 0
        if not signal.state.claim(id):
            learn_only(self.functions, task, fd)
            now = monotonic()
            self._connection.answer(frames.pack_done(id, frames.UNSTARTED, now, now))
            return
        error: BaseException | None = None
        fn: Any = None
        args: Any = ()
        view = WorkerTask(id, name, task.deadline or None, self.context)
        context = self.variables.base.copy()
        try:
            payload, buffers = unpack(self.functions, task, fd)
            context = self.variables.new_context(task.flags & frames.IN_CONTEXT != 0)
            context.run(current.set, view)
            fn, args = context.run(decode_call, self.functions, task.function_id, payload, buffers, name)
        except BaseException as exc:  # also what a __setstate__ of the user's raises to end the program
            error = exc
        running = self._loop.create_task(self._run(view, context, fn, args, error), name=name, context=context)
        self.running[id] = (running, view)
        if signal.state.early:
            signal.deliver(None)  # requested while its arguments were rebuilt

    async def _run(
        self,
        task: WorkerTask,
        context: Context,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        error: BaseException | None,
    ) -> None:
        started = monotonic()
        value: Any = None
        if error is None:
            try:
                value = await fn(*args)
            except BaseException as exc:
                error = exc
        if forked.happened:
            forked.end(error)
        signal = self.signal
        if signal.trace is not None:  # a raise that found no opcode to land on; it would hit the next Python call
            if sys.gettrace() is signal.trace:
                sys.settrace(None)
            signal.trace = None
        finished = monotonic()
        del fn, args
        del self.running[task.id]
        signal.state.early.pop(task.id, None)
        if not self.running:
            self.process.quieten()
        self.done += 1
        cancelled = signal.was_cancelled(task, error, asyncio.CancelledError)
        send_result.flush()
        signal.install()
        if self._settings.worn_out(self.done):
            self.leave()
        try:
            # A copy: this one is entered.
            flags = self._connection.log_flags() if self._connection.logs is not None else 0
            send_result.send(
                self._connection, context.copy(), task.id, task.name, value, error, cancelled, started, finished, flags
            )
        except OSError:
            os._exit(1)
        except BaseException as exc:
            forked.end(exc)  # a task without an answer would never end
        error = value = None
        if not self.running and not self.process.restore(finished):
            self.leave()
        self._last = monotonic()
        self._maybe_over()

    def _cancel(self, id: int) -> None:
        """Cancel a task that was requested to stop, unless it was interrupted meanwhile or has ended."""
        reason = self.signal.state.early.pop(id, NOT_REQUESTED)
        if reason is not NOT_REQUESTED and id in self.running:
            self.running[id][0].cancel(reason)

    def leave(self) -> None:
        """Take no more tasks; the worker exits when the running ones have ended."""
        if not self.leaving:
            self.leaving = True
            self._loop.remove_reader(TASKS_FD)
            try:
                self._connection.answer(frames.pack_payload(frames.RETIRED))
            except OSError:
                pass  # the parent has closed its end
        self._maybe_over()

    def _maybe_over(self) -> None:
        if self.leaving and not self.running:
            self._over.set()

    def _check_idle(self, idle: float) -> None:
        left = self._last + idle - monotonic()
        if self.running:
            left = idle
        if left <= 0:
            self.leave()
        else:
            self._loop.call_later(left, self._check_idle, idle)
