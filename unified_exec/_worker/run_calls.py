"""The worker that runs plain functions, one after another, in its main thread."""

from __future__ import annotations

from _collections import defaultdict  # type: ignore[import-not-found, unused-ignore]
from _functools import partial  # type: ignore[import-not-found, unused-ignore]
from time import monotonic
from typing import Any

from .._platform.posix import DONTWAIT, sched_yield
from .._platform.shared_memory import read_block
from .._platform.shm_cache import KEEP, BlockCache
from .._tasks.current import CurrentTask, current
from .._wire import frames
from .._wire.pickling.functions import FunctionTable, decode_call
from ..errors import Cancelled
from . import send_result
from .call_cancel_signal import CallCancelSignal
from .connection import WorkerConnection
from .messages import WorkerTask
from .settings import Settings

SOON = 0.0002
"""A worker whose next task came within so many seconds looks for the one after that before it goes to sleep."""
SPIN = 0.00015
"""Seconds for which it looks."""

_NOTHING: Any = object()


class CallRunner:
    """Takes tasks off the stream until it is closed, the worker retires, or nothing came for the idle time."""

    __slots__ = ("bell", "blocks", "done", "functions", "linger", "link", "settings", "soon")

    def __init__(self, link: WorkerConnection, settings: Settings, bell: CallCancelSignal) -> None:
        self.link = link
        self.settings = settings
        self.bell = bell
        bell.outermost = CallRunner.run.__code__
        self.functions = FunctionTable()
        self.blocks = link.blocks = BlockCache()
        self.done = 0
        self.linger = self.soon = False

    def serve(self) -> None:
        """Answer each task before the next is begun, so that a death costs only the one that was."""
        blocks, waits = self.blocks, None
        while not self.bell.stop:
            wait = self.settings.idle
            if blocks:
                if blocks.keeps_for() > 0:
                    wait = KEEP
                else:  # looked at here, for small tasks may leave no time to wait
                    blocks.forget()
            if wait != waits:
                self.link.wait_at_most(wait)
                waits = wait
            try:
                received = self.next_task()
            except BlockingIOError:
                if blocks:
                    continue
                break  # the idle time is over; what is sent right now will be taken back
            if received is None:
                break
            if self.handle(*received):
                return
        self.link.answer(frames.pack_payload(frames.RETIRED))

    def next_task(self) -> tuple[memoryview, int | None] | None:
        """Wait for the next message. To be woken takes longer than a short call: where one call follows another at once
        the next is looked for before the worker goes to sleep.

        Raises:
            BlockingIOError: nothing came within the socket's timeout.
        """
        began = monotonic()
        lingers = self.linger and self.soon
        while lingers and monotonic() - began < SPIN:
            try:
                return self.link.next_task(DONTWAIT)
            except BlockingIOError:
                sched_yield()  # whoever else wants this core has it
        received = self.link.next_task()
        self.soon = not lingers and monotonic() - began < SOON
        return received

    def handle(self, message: memoryview, fd: int | None) -> bool:
        """Run one task and answer it; ``True`` if the worker must go now."""
        task = frames.unpack_task(message)
        self.linger = task.flags & frames.LINGER != 0
        if not self.bell.end.claim(task.id):
            self.refuse(task, fd)
            return False
        self.link.mark_started(task.id)
        view = WorkerTask(task.id, task.name, "process", task.deadline or None)
        started = monotonic()
        value, error = self.run(task, fd, view)
        finished = monotonic()
        send_result.flush()
        self.done += 1
        self.bell.install()
        leaving = self.bell.poisoned or self.settings.worn_out(self.done)
        stopped = self.bell.stopped(view, error)
        send_result.send(self.link, task, value, error, stopped, started, finished, leaving)
        del error  # as in `run`, which had this frame behind it
        return leaving

    def refuse(self, task: frames.TaskMessage, fd: int | None) -> None:
        """Answer a task that was cancelled before it came. The function it brought is learnt all the same."""
        learn_only(self.functions, task, fd)
        now = monotonic()
        self.link.answer(frames.pack_done(task.id, frames.UNSTARTED, now, now))

    def run(self, task: frames.TaskMessage, fd: int | None, view: CurrentTask) -> tuple[Any, BaseException | None]:
        """Call the function with the bell able to interrupt it: its value, or what it raised."""
        bell = self.bell
        value: Any = _NOTHING
        error: BaseException | None = None
        token = current.set(view)
        try:
            try:
                # Before a raise may land: the parent counts on it that what came with the task is learnt.
                packed, buffers = unpack(self.functions, task, fd, self.blocks)
                bell.view = view
                bell.told = False
                bell.running = task.id  # inside the try: from here on a raise may land at any instruction
                if bell.end.early:
                    bell.deliver(None)
                fn, args = decode_call(self.functions, task.function_id, packed, buffers, f"{task.name}()")
                # A subscript instead of a call: behind a call the interpreter looks for signals, and a raise there
                # would lose the value of a function that has returned.
                value = defaultdict(partial(fn, *args))[0]
                bell.running = 0
            except BaseException as exc:
                error = exc
                bell.running = 0
        except Cancelled as late:
            # The bell rang between the end of the function and the line that bars it: what happened stands.
            bell.running = 0
            if error is None and value is _NOTHING:
                error = late.__context__ or late
        bell.end_trace()
        if bell.told:
            bell.end.early.pop(task.id, None)
        bell.view = None
        current.reset(token)
        try:
            return (value, None) if value is not _NOTHING else (None, error)
        finally:
            del error  # no cycle over its traceback to this frame: it would hold the arguments


def learn_only(functions: FunctionTable, task: frames.TaskMessage, fd: int | None) -> None:
    """Learn the function that came with a task nobody wants any more: the parent counts on it."""
    try:
        unpack(functions, task, fd)
    except OSError:
        pass  # no memory to map it; whoever calls the function is told that it was never learnt


def load(functions: FunctionTable, task: frames.TaskMessage, fd: int | None) -> tuple[Any, Any]:
    """Rebuild the function and the arguments of `task`; learn the function it brought.

    Raises:
        SerializationError: one of them cannot be rebuilt here.
    """
    packed, buffers = unpack(functions, task, fd)
    return decode_call(functions, task.function_id, packed, buffers, f"{task.name}()")


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
        packed, buffers = read_block(fd, task.payload, blocks=blocks)
        if task.flags & frames.FUNCTION_IN_SHARED:
            function = buffers.pop(0)
    if task.flags & frames.FORGET_FUNCTIONS:
        functions.clear()
    if task.flags & frames.NEW_FUNCTION:
        functions.learn(task.function_id, bytes(function))
    return packed, buffers
