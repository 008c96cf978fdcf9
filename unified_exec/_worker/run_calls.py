"""The worker that runs plain functions, one after another, in its main thread."""

from __future__ import annotations

import os
from _collections import defaultdict  # type: ignore[import-not-found, unused-ignore]
from _contextvars import Context
from _functools import partial  # type: ignore[import-not-found, unused-ignore]
from _signal import getsignal
from time import monotonic

from .._platform.posix import CANCEL_SIGNAL, DONTWAIT, sched_yield
from .._platform.shared_memory import read_block
from .._platform.shm_cache import KEEP, BlockCache
from .._tasks.current import current
from .._tasks.holders import of_thread, task_ended
from .._wire import frames
from .._wire.pickling.function_table import FunctionTable, decode_call
from . import forked, send_result
from .call_cancel_signal import CallCancelSignal
from .connection import STARTED, WorkerConnection
from .context import WorkerContext, WorkerTask
from .context_state import ContextState
from .process_state import ProcessState
from .settings import Settings

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

SOON = 0.0002
"""A worker whose next task came within this many seconds looks for the one after that before it goes to sleep."""
SPIN = 0.00015
"""Seconds for which it looks."""

_HAS_MORE = frames.IN_SHARED | frames.HANDED_OVER | frames.NEW_FUNCTION | frames.FORGET_FUNCTIONS | frames.WITH_GLOBALS
_NOTHING: Any = object()
_mark_started = STARTED.pack_into


class CallRunner:
    """Takes tasks off the stream until it is closed, the worker retires, or nothing came for the idle time.

    Attributes:
        signal: cancels the running task.
        context: what the tasks need of this worker.
        variables: makes the context in which each task runs.
        process: what a task must leave as it was; set before the first task.
        functions: the functions this worker has learnt.
        done: how many tasks have run.
    """

    signal_type = CallCancelSignal

    def __init__(self, connection: WorkerConnection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._may_wear_out = settings.max_tasks is not None or settings.max_memory is not None
        self.signal = self.signal_type(connection, CallRunner.run_task.__code__)
        self.context = WorkerContext(connection, self.signal)
        self.process: ProcessState
        self.functions = FunctionTable()
        self.variables = ContextState()
        self.functions.on_context = self.variables.learn
        self.blocks = connection.blocks = BlockCache()
        self.done = 0
        self._finished = 0.0
        self._mapped = False  # a large task has come: there may be blocks to look after
        self._lingers = self._soon = False

    def serve(self) -> None:
        """Answer each task before the next is begun: if the worker dies, only the begun task is lost."""
        connection, signal = self._connection, self.signal
        waits: float | None = None
        while not signal.stop:
            wait = self._settings.idle
            if self._mapped and self.blocks:
                if self.blocks.keeps_for() > 0:
                    wait = KEEP
                else:  # checked here, for small tasks may leave no time to wait
                    self.blocks.forget()
            if wait != waits:
                connection.wait_at_most(wait)
                waits = wait
            try:
                received = self._next_soon() if self._lingers else connection.next_task()
            except BlockingIOError:
                if self._mapped and self.blocks:
                    continue
                break  # the idle time is over; what is sent right now will be taken back
            if received is None:
                break
            if self.run_task(*received):
                return
            if not self.process.restore(self._finished):
                break
        connection.answer(frames.pack_payload(frames.RETIRED))

    def in_forked_child(self) -> None:
        """Called in the child of a fork: nothing more is to be done, for `run_task` looks."""

    def _next_soon(self) -> tuple[memoryview, int | None] | None:
        """Wait for the next message. Waking up takes longer than a short call: where one call follows another at once
        the worker looks for the next before it goes to sleep.

        Raises:
            BlockingIOError: nothing came within the socket's timeout.
        """
        began = monotonic()
        spins = self._soon
        while spins and monotonic() - began < SPIN:
            try:
                return self._connection.next_task(DONTWAIT)
            except BlockingIOError:
                sched_yield()  # another thread or process may need this core
        received = self._connection.next_task()
        self._soon = not spins and monotonic() - began < SOON
        return received

    def run_task(self, message: memoryview, fd: int | None) -> bool:
        """Run one task, with the signal able to interrupt it, and answer it; ``True`` if the worker must exit now."""
        task = flags, id, name, function_id, _, _, deadline = frames.unpack_task(message)
        payload: Any = task.payload
        self._lingers, self.context.watched = flags & frames.LINGER != 0, flags & frames.WATCHED != 0
        signal = self.signal
        cancelled_early = signal.state.early
        if cancelled_early and not signal.state.claim(id):
            self._refuse(task, fd)
            return False
        _mark_started(self._connection.status, 0, id)
        view = WorkerTask(id, name, deadline or None, self.context)
        fn: Any
        args: Any
        value: Any = _NOTHING
        error: BaseException | None = None
        started = monotonic()
        context = self.variables.base.copy()  # what the task sets goes with it
        try:
            try:
                buffers: Any = ()
                if flags & _HAS_MORE:
                    # Before a raise may land: the parent relies on the function that came with the task being learnt.
                    self._mapped = self._mapped or flags & (frames.IN_SHARED | frames.HANDED_OVER) != 0
                    payload, buffers = unpack(self.functions, task, fd, self.blocks)
                if flags & frames.IN_CONTEXT or self.variables.decimal is not None:
                    context = self.variables.new_context(flags & frames.IN_CONTEXT != 0)
                context.run(current.set, view)
                signal.task = view
                signal.loop_notified = False
                signal.running = id  # inside the try: from here on a raise may land at any instruction
                if cancelled_early:
                    signal.deliver(None)
                fn, args = context.run(decode_call, self.functions, function_id, payload, buffers, name)
                # A subscript, no call: after that the interpreter looks for signals, and a raise would lose the value.
                call: Any = partial(context.run, fn, *args)  # a look for endless waits finds what the task has in it
                value = defaultdict(call)[0]
                signal.running = 0
            except BaseException as exc:
                error = exc
                signal.running = 0
            self.process.quieten()
        except BaseException as late:
            # A signal came between the end of the function and the line that bars it: what happened stands.
            signal.running = 0
            if error is None and value is _NOTHING:
                error = late.__context__ or late
            self.process.quieten()
        if forked.happened:
            forked.end(error)
        if signal.loop_notified:
            cancelled_early.pop(id, None)
        signal.task = signal.trace = None
        fn = args = call = payload = buffers = None  # what is built on a large call's block can serve the answer
        finished = self._finished = monotonic()
        try:
            if value is not _NOTHING:
                error = None
            return self._answer(view, context, value, error, started, finished)
        finally:
            del error, value  # no cycle over its traceback to this frame: it would hold the arguments

    def _answer(
        self,
        task: WorkerTask,
        context: Context,
        value: Any,
        error: BaseException | None,
        started: float,
        finished: float,
    ) -> bool:
        signal = self.signal
        if of_thread.holder is not None:
            task_ended()
        send_result.flush()
        self.done += 1
        if signal.by_signal and getsignal(CANCEL_SIGNAL) is not signal.handler:
            signal.install()
        leaving = self._may_wear_out and self._settings.worn_out(self.done)
        cancelled = task.cancel_requested and signal.was_cancelled(task, error)
        flags = frames.RETIRING if leaving else 0
        if (logs := self._connection.logs) is not None and logs.has_news:
            flags |= logs.flags()
        try:
            send_result.send(
                self._connection, context, task.id, task.name, value, error, cancelled, started, finished, flags
            )
        finally:
            del error
        return leaving

    def _refuse(self, task: frames.TaskMessage, fd: int | None) -> None:
        """Answer a task that was cancelled before it came. The function it brought is learnt all the same."""
        learn_only(self.functions, task, fd)
        now = monotonic()
        self._connection.answer(frames.pack_done(task.id, frames.UNSTARTED, now, now))


def learn_only(functions: FunctionTable, task: frames.TaskMessage, fd: int | None) -> None:
    """Learn the function that came with a cancelled task: the parent relies on it."""
    try:
        unpack(functions, task, fd)
    except (OSError, MemoryError):
        pass  # no memory to map it; the next call of the function fails with an error that says so


def unpack(
    functions: FunctionTable, task: frames.TaskMessage, fd: int | None, blocks: BlockCache | None = None
) -> tuple[frames.Bytes, list[memoryview]]:
    """Find the payload of `task`, in the message or in the shared block, and learn the function it brought.

    Raises:
        ProtocolError: the block did not come with it.
        OSError: no memory is left to map it.
    """
    packed: frames.Bytes = task.payload
    buffers: list[memoryview] = []
    function = task.function
    if task.flags & frames.IN_SHARED:
        if fd is None:
            raise frames.ProtocolError("a task in shared memory came without it")
        try:
            packed, buffers = read_block(fd, task.payload, blocks=blocks)
        except (OSError, MemoryError):
            if task.flags & frames.WITH_GLOBALS and functions.on_context is not None:
                functions.on_context(b"")  # the parent may rely on a context in it
            raise
        if task.flags & frames.FUNCTION_IN_SHARED:
            function = buffers.pop(0)
    elif task.flags & frames.HANDED_OVER:
        from .._platform import handed_over

        packed, buffers = handed_over.take(memoryview(task.payload))
        if fd is not None:
            os.close(fd) if blocks is None else blocks.give(fd)
    if task.flags & frames.FORGET_FUNCTIONS:
        functions.clear()
    if task.flags & frames.WITH_GLOBALS:
        function = functions.learn_globals(function)
    if task.flags & frames.NEW_FUNCTION:
        functions.learn(task.function_id, bytes(function))
    return packed, buffers
