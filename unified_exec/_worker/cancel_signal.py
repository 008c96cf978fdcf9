"""The doorbell: a signal that means "look at your mailbox", and the raise between two bytecodes.

The signal's default action is to be ignored, so a bell that rings too early or too late hurts nobody.
"""

from __future__ import annotations

import _signal
import os
import sys
from collections.abc import Callable
from opcode import opname
from types import FrameType
from typing import Any

from .._platform.posix import BELL as SIGNAL
from .._platform.shared_memory import open_block
from .._tasks.current import CurrentTask, consists_of
from .._wire import frames, shared_object
from .._wire.frames import ProtocolError
from .._wire.protocol import WorkerConnectionState
from ..errors import Cancelled, SerializationError
from .connection import WorkerConnection

NOT_ASKED: Any = object()
_BACK_JUMPS = frozenset(code for code, name in enumerate(opname) if "JUMP_BACKWARD" in name)


class CancelSignal:
    """Delivers cancellations to the task that runs in the main thread.

    Attributes:
        running: id of the task that may be interrupted now; 0 between tasks.
        flushes: called when the parent wants what a task has gathered.
        events: set when a coroutine task has been given credit.
        credit: how many messages each task may send in all; only ever grows, and only under `_busy`.
        view: what the running task sees of itself.
        poisoned: a raise landed while an import was on the stack; the worker must retire after this task.
    """

    __slots__ = (
        "_again",
        "_buffer",
        "_busy",
        "_handler",
        "_link",
        "_trace",
        "credit",
        "end",
        "events",
        "flushes",
        "poisoned",
        "running",
        "stop",
        "view",
    )

    def __init__(self, link: WorkerConnection) -> None:
        self._link = link
        self._buffer = bytearray(frames.MESSAGE_MAX)
        self._busy = False
        self._again = False
        self._handler = self.ring
        self._trace: Any = None
        self.credit: dict[int, int] = {}
        self.flushes: dict[int, Callable[[], object]] = {}
        self.events: dict[int, Any] = {}  # asyncio's
        self.end = WorkerConnectionState()
        self.running = 0
        self.view: CurrentTask | None = None
        self.poisoned = False
        self.stop = False

    def install(self) -> None:
        """Take the signal (again: a task may have put a handler of its own there)."""
        if SIGNAL is not None and _signal.getsignal(SIGNAL) is not self._handler:
            _signal.signal(SIGNAL, self._handler)

    def ring(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self._busy:  # bells nest: the one at work looks again, and delivers
            self._again = True
            return
        self.look()
        self.deliver(frame)

    def look(self) -> None:
        """Read the mailbox and note what it says. The signal handler may come in between at any instruction."""
        while True:
            self._busy, self._again = True, False
            try:
                for message, fd in self._link.control_messages(self._buffer):
                    self.note(message, fd)
            finally:  # a signal handler of the task's own may raise in here
                self._busy = False
            if not self._again:
                return

    def note(self, message: bytes, fd: int | None = None) -> None:
        if message[0] == frames.STOP:
            self.stop = True
            return
        if message[0] in (frames.SHARE, frames.DROP):
            note_shared(message, fd)
            return
        if message[0] not in (frames.CANCEL, frames.CREDIT):
            return
        try:
            id, text = frames.unpack_id(memoryview(message))
        except ProtocolError:
            return
        if message[0] == frames.CANCEL:
            self.end.cancelled(id, text)
        else:
            self.credit[id] = self.credit.get(id, 0) + int(text or 0)
            self.credited(id)

    def credited(self, id: int) -> None:
        """The parent has given task `id` credit, or wants what it has gathered."""
        if id in self.flushes:
            self.flushes[id]()
        if id in self.events:
            self.events[id].set()

    def deliver(self, frame: FrameType | None) -> None:
        """Stop the task that runs in `frame` if it was asked to stop; how is the affair of each kind of worker.

        Raises:
            Cancelled: it was, and is hit now.
        """
        raise NotImplementedError

    def raise_in(self, frame: FrameType | None, reason: str | None) -> None:
        """Raise `Cancelled` in the code that `frame` runs.

        Raises:
            Cancelled: now, or a moment later where a raise now could escape a `try` of the task.
        """
        if importing(frame):
            self.poisoned = True
        if frame is not None and sys.gettrace() is None and at_back_jump(frame):
            self.raise_at_next_opcode(frame, Cancelled(reason))
            return
        raise Cancelled(reason)

    def raise_at_next_opcode(self, frame: FrameType, error: Cancelled) -> None:
        def trace(here: FrameType, event: str, arg: object) -> Any:
            if event == "opcode" or event == "call":
                frame.f_trace = None
                frame.f_trace_opcodes = False
                sys.settrace(None)
                raise error
            return trace

        self._trace = trace
        frame.f_trace = trace
        frame.f_trace_opcodes = True
        sys.settrace(trace)

    def end_trace(self) -> None:
        """Forget a raise that found no instruction to land on. No Python call may come before this one."""
        if self._trace is not None:
            if sys.gettrace() is self._trace:
                sys.settrace(None)
            self._trace = None

    def stopped(self, view: CurrentTask, error: BaseException | None, *own: type[BaseException]) -> bool:
        """Tell whether a task ended as it did because it was asked to stop; `own` are its runner's cancellations."""
        if not view.cancel_requested:
            return False
        if self.poisoned:  # C code that imports makes an `ImportError` of whatever was raised in there
            error = error.__cause__ if isinstance(error, SerializationError) else error
            own = (*own, ImportError)
        return consists_of(error, (Cancelled, *own))

    def watch_swallowed(self) -> None:
        """Hear of every `Cancelled` that a ``__del__`` swallows."""
        previous = sys.unraisablehook

        def hook(unraisable: Any) -> None:
            # A bell that rings while an event loop of the task closes finds the far end of that loop's pipe closed.
            of_a_closing_loop = "signal wakeup fd" in (unraisable.err_msg or "")
            if not of_a_closing_loop and not self.swallowed(unraisable):
                previous(unraisable)

        sys.unraisablehook = hook

    def swallowed(self, unraisable: Any) -> bool:
        """Stop the task all the same if a finalizer swallowed its `Cancelled`; ``False`` if none did."""
        raise NotImplementedError


def note_shared(message: bytes, fd: int | None) -> None:
    """Take in a shared object, or let go of one."""
    if message[0] == frames.DROP:
        shared_object.forget(message[2:])
    elif fd is not None:
        token, size, table = frames.unpack_share(memoryview(message))
        shared_object.arrive(shared_object.Shared(token, fd, table, size, open_block))


def importing(frame: FrameType | None) -> bool:
    """Tell whether an import is going on below `frame`; a half-done one leaves a broken module behind."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def at_back_jump(frame: FrameType) -> bool:
    """Tell whether a raise here could escape the `try` around a loop (cpython#130279)."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return 0 <= at < len(code) and code[at] in _BACK_JUMPS


def ring(pid: int) -> None:
    """Ring the bell of a worker.

    Raises:
        ProcessLookupError: there is no such process any more.
    """
    if SIGNAL is not None:
        os.kill(pid, SIGNAL)
